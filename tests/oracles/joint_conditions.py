"""The independent check of two conditions: group and people sampled together, in NumPy.

Metropolis within Gibbs on `Model.log_density`, several chains at once; group moves carry the people
along. Nothing of the quadrature is used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eamlab.model.model import Model
from eamlab.study import Study

__all__ = ["sample_jointly"]


def sample_jointly(
    study: Study, model: Model, *, seed: int, warmup: int, sweeps: int, chains: int = 8
) -> dict[str, NDArray]:
    """Return draws (chains, sweeps) of each group parameter."""
    rng = np.random.default_rng(seed)
    there = np.arange(study.trials.shape[1]) < study.n_trials[:, None]
    n, d = len(study), len(model.people)
    positive = np.array([p.positive for p in model.people])
    means = [model.prior[p.mean] for p in model.people]
    log_sds = [model.prior[p.log_sd] for p in model.people]
    m0, s0, l0, r0 = (
        np.array([getattr(p, k) for p in of]) for of in (means, log_sds) for k in ("mean", "sd")
    )

    def likelihood(x: NDArray, beta: NDArray) -> NDArray:
        natural = np.where(positive, np.exp(np.minimum(x, 20.0)), x)
        values = {p.name: natural[..., i, None] for i, p in enumerate(model.people)}
        values["beta_raw"] = beta[:, None, None]
        log_p = model.log_density(study.trials[None], values)
        return np.where(there, log_p, 0.0).sum(axis=-1)  # (chains, J)

    def accepted(log_ratio: NDArray) -> NDArray:
        return np.log(rng.random(log_ratio.shape)) < log_ratio

    mean = m0 + 0.3 * s0 * rng.standard_normal((chains, d))
    log_sd = l0 + 0.3 * r0 * rng.standard_normal((chains, d))
    beta = 0.3 * rng.standard_normal(chains)
    x = mean[:, None] + 0.3 * np.exp(log_sd)[:, None] * rng.standard_normal((chains, n, d))
    fastest = np.where(there, study.trials[..., 1], np.inf).min(axis=1)
    t0 = model.person_names.index("t0")
    x[..., t0] = np.minimum(x[..., t0], np.log(0.7 * fastest))
    lik = likelihood(x, beta)
    factors = np.broadcast_to(np.diag([0.4, 0.1, 0.1, 0.4, 0.1]), (n, d, d)).copy()
    scales, widths = np.ones(n), np.full(d + 1, 0.2)
    past, states = [], np.empty((sweeps, chains, 2 * d + 1))
    for i in range(warmup + sweeps):
        warm = i < warmup
        trace = 3.0 / (10.0 + i) ** 0.6 if warm else 0.0
        for _ in range(2):
            step = np.einsum("nij,cnj->cni", factors, rng.standard_normal(x.shape))
            new = x + scales[:, None] * step
            value = likelihood(new, beta)
            z = [(v - mean[:, None]) / np.exp(log_sd)[:, None] for v in (new, x)]
            yes = accepted(value - lik - 0.5 * (z[0] ** 2 - z[1] ** 2).sum(axis=-1))
            x, lik = np.where(yes[..., None], new, x), np.where(yes, value, lik)
            scales *= np.exp(trace * (yes.mean(axis=0) - 0.27))
        precision = np.exp(-2.0 * log_sd)
        tau = n * precision + s0**-2.0
        mean = (precision * x.sum(axis=1) + m0 / s0**2) / tau
        mean = mean + rng.standard_normal(mean.shape) / np.sqrt(tau)
        square = ((x - mean[:, None]) ** 2).sum(axis=1)
        for _ in range(4):
            new = log_sd + 1.7 / np.sqrt(2.0 * n) * rng.standard_normal(log_sd.shape)
            heights = [
                -n * v - 0.5 * square * np.exp(-2.0 * v) - 0.5 * ((v - l0) / r0) ** 2
                for v in (new, log_sd)
            ]
            log_sd = np.where(accepted(heights[0] - heights[1]), new, log_sd)
        # Carry all people along with a mean and an sd, each in turn; then the start by itself.
        for k in range(d + 1):
            new_mean, new_sd, new, new_beta = mean.copy(), log_sd.copy(), x.copy(), beta
            log_ratio = np.zeros(chains)
            if k < d:
                new_mean[:, k] += widths[k] * s0[k] * rng.standard_normal(chains)
                new_sd[:, k] += widths[k] * rng.standard_normal(chains)
                ratio = np.exp(new_sd - log_sd)[:, k, None]
                new[..., k] = new_mean[:, k, None] + ratio * (x[..., k] - mean[:, k, None])
                # The people's density changes by ratio^-n, the volume by ratio^n.
            else:
                new_beta = beta + widths[k] * rng.standard_normal(chains)
            for a, b, m, s in ((new_mean, mean, m0, s0), (new_sd, log_sd, l0, r0)):
                log_ratio -= 0.5 * (((a - m) / s) ** 2 - ((b - m) / s) ** 2).sum(axis=1)
            log_ratio -= 0.5 * (new_beta**2 - beta**2)
            value = likelihood(new, new_beta)
            yes = accepted(log_ratio + (value - lik).sum(axis=1))
            mean, log_sd, beta = (
                np.where(yes[:, None] if a.ndim > 1 else yes, a, b)
                for a, b in ((new_mean, mean), (new_sd, log_sd), (new_beta, beta))
            )
            x, lik = np.where(yes[:, None, None], new, x), np.where(yes[:, None], value, lik)
            widths[k] *= np.exp(trace * (yes.mean() - 0.3))
        if warm and i > warmup // 4:
            past.append(x)
            if i in (warmup // 2, 3 * warmup // 4):
                for j in range(n):
                    cov = np.cov(np.concatenate([v[:, j] for v in past[len(past) // 2 :]]).T)
                    factors[j] = np.linalg.cholesky(cov + np.diag(1e-8 + 0.01 * np.diag(cov)))
                scales[:] = 1.0
        if not warm:
            states[i - warmup] = np.column_stack([mean, log_sd, beta])
    names = [p.name for p in (*means, *log_sds)] + ["beta_raw"]
    return dict(zip(names, states.transpose(2, 1, 0), strict=True))
