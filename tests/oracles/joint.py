"""The independent check: group and subject parameters sampled together.

Metropolis within Gibbs on the likelihood of the trials; nothing of the quadrature is used. Group
moves carry the people along (Papaspiliopoulos, Roberts & Skold, 2007).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eamlab.compiled import njit
from eamlab.draws import Draws
from eamlab.model.density import FloatArray, _log_density_scalar
from eamlab.model.model import Model
from eamlab.parallel import threaded
from eamlab.reference.quadrature import beta_table
from eamlab.reference.samplers import N_CHAINS, max_r_hat, min_ess, systematic
from eamlab.reference.subjects import Subject, coordinates, subjects_of
from eamlab.study import Study

__all__ = ["joint_posterior", "sample_joint"]


def joint_posterior(
    study: Study,
    model: Model,
    num_samples: int = 1000,
    *,
    seed: int,
    warmup: int = 4000,
    sweeps: int = 8000,
) -> Draws:
    """Draw group and people together, four chains of `sweeps`; moments are those of all states."""
    rng = np.random.default_rng(seed)
    seeds = rng.integers(2**31, size=N_CHAINS)
    states, latent = sample_joint(subjects_of(study), model, 0.0, seeds, warmup, sweeps, False)
    ess, r_hat = min_ess(states), max_r_hat(states)
    assert r_hat < 1.02 and ess > 200, (r_hat, ess)
    draws = states.reshape(-1, states.shape[-1])
    keep = systematic(np.full(len(draws), 1.0 / len(draws)), num_samples, rng)
    names, people = coordinates(model).names, latent[keep]
    values = {k: draws[keep, i] for i, k in enumerate(names)}
    values |= {"nu": people[..., 0], "alpha": np.exp(people[..., 1]), "t0": np.exp(people[..., 2])}
    mean = dict(zip(names, draws.mean(axis=0).tolist(), strict=True))
    sd = dict(zip(names, draws.std(axis=0).tolist(), strict=True))
    return Draws(values, model=model, subjects=study.subjects, mean=mean, sd=sd)


def sample_joint(
    subjects: Sequence[Subject],
    model: Model,
    shift: float,
    seeds: NDArray[np.int64],
    warmup: int,
    sweeps: int,
    progress: bool | None,
) -> tuple[FloatArray, FloatArray]:
    """Run one chain per seed.

    Returns
    -------
    states : ndarray (chains, sweeps, 7)
        Group parameters.
    latent : ndarray (chains * sweeps, J, 3)
        ``nu``, log alpha and log t0 of every subject.
    """
    starts = np.cumsum([0, *(s.lower.size + s.upper.size for s in subjects)])
    rt = np.concatenate([np.concatenate([s.lower, s.upper]) for s in subjects])
    choice = np.concatenate([np.repeat([0.0, 1.0], [s.lower.size, s.upper.size]) for s in subjects])
    prior = np.stack([coordinates(model).means, coordinates(model).sds])
    grid = beta_table(model.constants["beta_concentration"])

    def chain(key: int) -> tuple[FloatArray, FloatArray]:
        return _run_chain(int(key), warmup, sweeps, starts, rt, choice, prior, grid, shift)

    results = threaded(chain, seeds, "joint chains", progress)
    states = np.stack([r[0] for r in results])
    latent = np.concatenate([r[1] for r in results])
    return states, latent


# Compiled at first use and not cached on disk: `_trials_log_lik` calls a function of another file,
# whose changes numba's cache would not notice.


@njit(nogil=True)
def _trials_log_lik(
    x: FloatArray,
    beta: float,
    j: int,
    starts: NDArray[np.int64],
    rt: FloatArray,
    choice: FloatArray,
    shift: float,
) -> float:
    """Log likelihood of subject j with x = (nu, log alpha, log t0)."""
    alpha = math.exp(x[1])
    a = alpha + 2.0 * shift
    w = (alpha * beta + shift) / a
    t0 = math.exp(x[2])
    total = 0.0
    for i in range(starts[j], starts[j + 1]):
        total += _log_density_scalar(rt[i], choice[i], x[0], a, t0, w)
        if total == -math.inf:
            return total
    return total


@njit(nogil=True)
def _subject_prior(x: FloatArray, eta: FloatArray) -> float:
    """Log density of one subject given the group, up to a constant of x."""
    total = 0.0
    for d in range(3):
        total -= 0.5 * ((x[d] - eta[d]) / math.exp(eta[3 + d])) ** 2
    return total


@njit(nogil=True)
def _move_subjects(
    x: FloatArray,
    lik: FloatArray,
    eta: FloatArray,
    beta: float,
    factors: FloatArray,
    scales: FloatArray,
    warm: bool,
    trace: float,
    starts: NDArray[np.int64],
    rt: FloatArray,
    choice: FloatArray,
    shift: float,
) -> None:
    """Adaptive random-walk step of each subject's three parameters."""
    new = np.empty(3)
    for j in range(x.shape[0]):
        e0, e1, e2 = np.random.normal(), np.random.normal(), np.random.normal()
        for r in range(3):
            step = factors[j, r, 0] * e0 + factors[j, r, 1] * e1 + factors[j, r, 2] * e2
            new[r] = x[j, r] + scales[j] * step
        value = _trials_log_lik(new, beta, j, starts, rt, choice, shift)
        log_ratio = value + _subject_prior(new, eta) - lik[j] - _subject_prior(x[j], eta)
        accept = math.log(np.random.random()) < log_ratio
        if accept:
            x[j] = new
            lik[j] = value
        if warm:
            scales[j] *= math.exp(trace * ((1.0 if accept else 0.0) - 0.3))


@njit(nogil=True)
def _move_mean_and_sd(x: FloatArray, eta: FloatArray, prior: FloatArray) -> None:
    """Gibbs step of the group means, Metropolis step of the log sds, subjects held."""
    n = x.shape[0]
    for d in range(3):
        precision = math.exp(-2.0 * eta[3 + d])
        tau = n * precision + prior[1, d] ** -2.0
        mode = (precision * x[:, d].sum() + prior[0, d] * prior[1, d] ** -2.0) / tau
        eta[d] = mode + np.random.normal() / math.sqrt(tau)
        square = ((x[:, d] - eta[d]) ** 2).sum()
        for _ in range(3):
            old = eta[3 + d]
            new = old + 1.7 / math.sqrt(2.0 * n) * np.random.normal()
            gain = -n * (new - old) - 0.5 * square * (math.exp(-2 * new) - math.exp(-2 * old))
            z_new = (new - prior[0, 3 + d]) / prior[1, 3 + d]
            z_old = (old - prior[0, 3 + d]) / prior[1, 3 + d]
            if math.log(np.random.random()) < gain - 0.5 * (z_new**2 - z_old**2):
                eta[3 + d] = new


@njit(nogil=True)
def _log_prior(eta: FloatArray, prior: FloatArray) -> float:
    """Log prior of the group parameters, up to a constant."""
    return -0.5 * (((eta - prior[0]) / prior[1]) ** 2).sum()


@njit(nogil=True)
def _move_together(
    x: FloatArray,
    lik: FloatArray,
    eta: FloatArray,
    beta_grid: FloatArray,
    widths: FloatArray,
    warm: bool,
    trace: float,
    prior: FloatArray,
    starts: NDArray[np.int64],
    rt: FloatArray,
    choice: FloatArray,
    shift: float,
) -> None:
    """Move a group mean and sd (or beta) and carry all subjects along."""
    for d in range(4):
        new_eta, new_x = eta.copy(), x.copy()
        if d < 3:
            new_eta[d] += widths[d] * math.exp(eta[3 + d]) * np.random.normal()
            new_eta[3 + d] += 2.0 * widths[d] * np.random.normal()
            ratio = math.exp(new_eta[3 + d] - eta[3 + d])
            new_x[:, d] = new_eta[d] + ratio * (x[:, d] - eta[d])
            # The step in the mean depends on the sd it starts from.
            back = new_eta[d] - eta[d]
            forth_sd, back_sd = math.exp(eta[3 + d]), math.exp(new_eta[3 + d])
            log_ratio = math.log(forth_sd / back_sd) - 0.5 * (back / widths[d]) ** 2 * (
                back_sd**-2.0 - forth_sd**-2.0
            )
        else:
            new_eta[6] += widths[3] * np.random.normal()
            log_ratio = 0.0
        log_ratio += _log_prior(new_eta, prior) - _log_prior(eta, prior)
        beta = np.interp(new_eta[6], beta_grid[0], beta_grid[1])
        new_lik = np.empty(lik.size)
        for j in range(lik.size):
            new_lik[j] = _trials_log_lik(new_x[j], beta, j, starts, rt, choice, shift)
        log_ratio += new_lik.sum() - lik.sum()
        accept = math.log(np.random.random()) < log_ratio
        if accept:
            eta[:], x[:], lik[:] = new_eta, new_x, new_lik
        if warm:
            widths[d] *= math.exp(trace * ((1.0 if accept else 0.0) - 0.3))


@njit(nogil=True)
def _first_state(
    prior: FloatArray,
    starts: NDArray[np.int64],
    rt: FloatArray,
    choice: FloatArray,
    shift: float,
) -> tuple[FloatArray, FloatArray]:
    """Group parameters near their prior, subjects near the group but before their first rt."""
    n = starts.size - 1
    eta = prior[0] + 0.3 * prior[1] * np.random.normal(0.0, 1.0, 7)
    x = np.empty((n, 3))
    for j in range(n):
        x[j] = eta[:3] + 0.3 * np.exp(eta[3:6]) * np.random.normal(0.0, 1.0, 3)
        x[j, 2] = min(x[j, 2], math.log(0.7 * rt[starts[j] : starts[j + 1]].min()))
    return eta, x


@njit(nogil=True)
def _run_chain(
    seed: int,
    warmup: int,
    sweeps: int,
    starts: NDArray[np.int64],
    rt: FloatArray,
    choice: FloatArray,
    prior: FloatArray,
    beta_grid: FloatArray,
    shift: float,
) -> tuple[FloatArray, FloatArray]:
    """One chain: the group's states (sweeps, 7) and the subjects' (sweeps, J, 3)."""
    np.random.seed(seed)
    n = starts.size - 1
    eta, x = _first_state(prior, starts, rt, choice, shift)
    beta = np.interp(eta[6], beta_grid[0], beta_grid[1])
    lik = np.empty(n)
    for j in range(n):
        lik[j] = _trials_log_lik(x[j], beta, j, starts, rt, choice, shift)
    factors = np.zeros((n, 3, 3))
    factors[:] = np.diag(np.array([0.5, 0.1, 0.1]))
    scales, widths = np.full(n, 1.0), np.full(4, 0.2)
    mean, second = np.zeros((n, 3)), np.zeros((n, 3, 3))
    states, latent = np.empty((sweeps, 7)), np.empty((sweeps, n, 3))
    seen = 0
    for i in range(warmup + sweeps):
        warm = i < warmup
        trace = 5.0 / (20.0 + i) ** 0.6 if warm else 0.0
        beta = np.interp(eta[6], beta_grid[0], beta_grid[1])
        for _ in range(2):
            _move_subjects(
                x, lik, eta, beta, factors, scales, warm, trace, starts, rt, choice, shift
            )
        _move_mean_and_sd(x, eta, prior)
        _move_together(
            x, lik, eta, beta_grid, widths, warm, trace, prior, starts, rt, choice, shift
        )
        if warm and i > warmup // 4:
            seen += 1
            for j in range(n):
                mean[j] += (x[j] - mean[j]) / seen
                second[j] += (np.outer(x[j], x[j]) - second[j]) / seen
            # The covariance is refreshed twice, then held.
            if i == warmup // 2 or i == 3 * warmup // 4:
                for j in range(n):
                    cov = second[j] - np.outer(mean[j], mean[j])
                    factors[j] = np.linalg.cholesky(cov + np.diag(1e-8 + 0.01 * np.diag(cov)))
                    scales[j] = 1.3
        if not warm:
            states[i - warmup] = eta
            latent[i - warmup] = x
    return states, latent
