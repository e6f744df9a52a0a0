r"""The exact posterior of the group parameters: the answer key for every composed posterior.

.. math:: p(\eta \mid Y) \propto p(\eta) \prod_{j=1}^{J} \int p(Y_j \mid \theta_j, \beta)\,
    p(\theta_j \mid \eta)\, d\theta_j

The integrals are done by quadrature, so that seven parameters remain. Small studies are sampled by
adaptive Metropolis on this marginal posterior, large ones by importance sampling around its mode.
`joint_posterior` is an independent check: it samples group and subject parameters together and
uses no quadrature.

This module has the functions to call and what they return. The work is done in, each using those
before it,

- `eamlab.exact.study`: the input, checked;
- `eamlab.exact.marginal`: the likelihood of group parameters, by quadrature;
- `eamlab.exact.tables`: what the quadrature keeps of each subject;
- `eamlab.exact.samplers`: Markov chains and importance sampling of the group parameters;
- `eamlab.exact.individual`: one subject, given the group parameters;
- `eamlab.exact.joint`: group and subject parameters together.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eamlab import __version__
from eamlab.density import FloatArray
from eamlab.exact.individual import draw_subject
from eamlab.exact.joint import sample_joint
from eamlab.exact.marginal import Likelihood, beta_table
from eamlab.exact.samplers import (
    N_CHAINS,
    chains_from_draws,
    chains_from_prior,
    cholesky_factor,
    importance_sample,
    laplace,
    max_r_hat,
    min_ess,
    sample_chains,
    systematic,
)
from eamlab.exact.study import Subject, boundary_shift, group_draws, subjects_of
from eamlab.exact.tables import Domain, build_tables
from eamlab.parallel import Checkpoint, digest, each
from eamlab.priors import GROUP_PRIOR
from eamlab.simulate import Seed, seed_sequence

__all__ = [
    "ExactPosterior",
    "JointPosterior",
    "ReferenceWarning",
    "exact_posterior",
    "exact_posteriors",
    "joint_posterior",
    "log_likelihood",
    "subject_posterior",
]

# Up to this many subjects chains are used, above it importance sampling.
_MOST_FOR_CHAINS = 60
# Subjects of a large study that show where its posterior lies.
_SCOUTS = 40
_R_HAT_LIMIT = 1.02
# Share of a subject's integral at its window's edge above which the subject is reported; the
# integral's own error is about a tenth of it.
_MOST_AT_EDGE = 0.01


class ReferenceWarning(UserWarning):
    """The exact posterior's own diagnostics failed: do not use it as an answer key unseen."""


# --------------------------------------------------------------------------------------------------
# The answer key
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExactPosterior:
    """Draws from the exact posterior of the group parameters of one study.

    Attributes
    ----------
    samples : dict of str to ndarray (num_samples,)
        Draws, one entry per group parameter in the order of `GROUP_PRIOR.names`.
    mean, sd : dict of str to float
        Posterior moments, from all chain states or weighted draws (not only from `samples`).
    ess : float
        Effective sample size: of the chains (smallest over parameters) or of the weights.
    method : {"mcmc", "importance"}
        How the draws were made.
    warnings : tuple of str
        Failed diagnostics; empty when all is well. Each was also issued as a `ReferenceWarning`.
    diagnostics : dict of str to float
        ``r_hat`` (chains) or ``pareto_k`` (importance sampling), and ``edge``: the largest share of
        any subject's integral at the border of its quadrature window.
    """

    samples: dict[str, FloatArray]
    mean: dict[str, float]
    sd: dict[str, float]
    ess: float
    method: str
    warnings: tuple[str, ...] = ()
    diagnostics: dict[str, float] = field(default_factory=dict)

    @property
    def array(self) -> FloatArray:
        """Draws as an array (num_samples, 7)."""
        return np.stack([self.samples[name] for name in GROUP_PRIOR.names], axis=-1)


class _Sample(NamedTuple):
    """What a sampler hands over: draws (n, 7), their weights, and its diagnostics."""

    draws: FloatArray
    weights: FloatArray
    ess: float
    method: str
    diagnostics: dict[str, float]


def exact_posterior(
    sim_data: ArrayLike | Sequence[ArrayLike],
    num_samples: int = 1000,
    *,
    seed: int | np.random.Generator | None = None,
    em_dt: float | None = None,
    method: str = "auto",
    progress: bool | None = None,
) -> ExactPosterior:
    r"""Draw from the exact posterior of the seven group parameters.

    .. math:: p(\eta \mid Y) \propto p(\eta) \prod_{j=1}^{J} \int p(Y_j \mid \theta_j, \beta)\,
        p(\theta_j \mid \eta)\, d\theta_j

    Parameters
    ----------
    sim_data : array_like (J, n, 2), or sequence of J arrays (n_j, 2)
        One study: ``choice`` (0 or 1) and ``rt`` (seconds) of every trial. Subjects may differ in
        their number of trials when given as a sequence.
    num_samples : int, default 1000
        Number of draws.
    seed : int or numpy.random.Generator, optional
        Makes the draws reproducible.
    em_dt : float, optional
        Step length in seconds of the Euler-Maruyama simulator that made the data. Such data follow
        the model with both bounds moved outward by ``0.5826 * sqrt(em_dt)``, and that model is
        used. Default: the exact model.
    method : {"auto", "mcmc", "importance"}
        Sampler; "auto" takes chains up to 60 subjects and importance sampling above, and chains
        again where the importance weights fail.
    progress : bool, optional
        Default: a bar for every step that takes more than two seconds.

    Returns
    -------
    ExactPosterior
        ``.samples``, ``.mean``, ``.sd``, ``.ess``, ``.method``, ``.warnings``.

    Raises
    ------
    ValueError
        For data of the wrong shape, NaN or non-positive times, choices other than 0 and 1,
        subjects without trials, or unusable options.

    Warns
    -----
    ReferenceWarning
        When a diagnostic fails: chains that did not mix, uneven weights, or subjects so odd that
        the quadrature's window cuts their integral (they are named).

    References
    ----------
    Navarro & Fuss (2009) for the density; Roberts & Rosenthal (2009) for adaptive Metropolis;
    Vehtari et al. (2024) for the Pareto diagnostic; Broadie, Glasserman & Kou (1997) for `em_dt`.
    """
    _check_options(num_samples, method)
    subjects, shift = subjects_of(sim_data), boundary_shift(em_dt)
    posterior = _exact(subjects, num_samples, np.random.default_rng(seed), shift, method, progress)
    for message in posterior.warnings:
        warnings.warn(message, ReferenceWarning, stacklevel=2)
    return posterior


def _check_options(num_samples: int, method: str) -> None:
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1; got {num_samples}.")
    if method not in ("auto", "mcmc", "importance"):
        raise ValueError(f"method must be 'auto', 'mcmc' or 'importance'; got {method!r}.")


def _exact(
    subjects: Sequence[Subject],
    num_samples: int,
    rng: np.random.Generator,
    shift: float,
    method: str,
    progress: bool | None,
) -> ExactPosterior:
    """Draw from the exact posterior of checked data; failed diagnostics are kept, not issued."""
    if len(subjects) <= _MOST_FOR_CHAINS:
        likelihood = Likelihood(build_tables(subjects, Domain.prior(), shift, progress), progress)
        start = None
    else:
        likelihood, start = _scouted(subjects, shift, rng, progress)
    if method == "auto":
        method = "mcmc" if start is None else "importance"
    sample = _draw(likelihood, start, num_samples, method, rng, progress)
    return _packed(sample, likelihood, num_samples, rng)


# --------------------------------------------------------------------------------------------------
# Many studies
# --------------------------------------------------------------------------------------------------


def exact_posteriors(
    sim_data: Sequence[ArrayLike | Sequence[ArrayLike]] | NDArray,
    num_samples: int = 1000,
    *,
    seed: Seed,
    em_dt: float | None = None,
    method: str = "auto",
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> list[ExactPosterior]:
    """Draw from the exact posteriors of many studies, one after the other or many at once.

    joblib runs them: ``with joblib.parallel_config(n_jobs=4):`` uses four processes, and
    ``backend="dask"``, or ``backend="ray", n_jobs=-1``, a cluster (see `eamlab.parallel`). The
    draws are the same.

    Parameters
    ----------
    sim_data : array_like (n_studies, J, n, 2), or sequence of studies
        Each as `exact_posterior` takes it; studies may differ in size.
    num_samples, em_dt, method
        As in `exact_posterior`.
    seed : int, numpy.random.SeedSequence or numpy.random.Generator
        Every study gets a seed of its own, spawned from this one.
    progress : bool, optional
        Default: a bar over studies when it takes more than two seconds.
    checkpoint : path, optional
        A folder that keeps each study's result as it comes. The same call with the same folder
        takes from there what is done, and goes on with the rest.

    Returns
    -------
    list of ExactPosterior
        One per study.

    Raises
    ------
    ValueError
        As in `exact_posterior`, for the first study that is malformed, before any is computed.

    Warns
    -----
    ReferenceWarning
        As in `exact_posterior`, with the number of the study.
    """
    _check_options(num_samples, method)
    studies = [_numbered(i, study) for i, study in enumerate(sim_data)]
    seeds = seed_sequence(seed).spawn(len(studies))
    shift = boundary_shift(em_dt)
    tasks = [
        _Task(study, num_samples, child, shift, method)
        for study, child in zip(studies, seeds, strict=True)
    ]
    kept = None if checkpoint is None else Checkpoint(checkpoint, _key, _arrays, _from_arrays)
    posteriors = each(
        _exact_of_task, tasks, label="exact posteriors", progress=progress, checkpoint=kept
    )
    for i, posterior in enumerate(posteriors):
        for message in posterior.warnings:
            warnings.warn(f"study {i}: {message}", ReferenceWarning, stacklevel=2)
    return posteriors


class _Task(NamedTuple):
    """One of many studies, checked, and how to draw from its posterior."""

    subjects: list[Subject]
    num_samples: int
    seed: np.random.SeedSequence
    shift: float
    method: str


def _numbered(index: int, study: Any) -> list[Subject]:
    try:
        return subjects_of(study)
    except ValueError as error:
        raise ValueError(f"study {index}: {error}") from error


def _exact_of_task(task: _Task) -> ExactPosterior:
    rng = np.random.default_rng(task.seed)
    return _exact(task.subjects, task.num_samples, rng, task.shift, task.method, False)


def _key(task: _Task) -> str:
    seed = [str(task.seed.entropy), list(task.seed.spawn_key)]
    settings = [task.num_samples, task.shift, task.method, __version__]
    return f"exact-{digest(task.subjects, seed, settings)}"


def _arrays(posterior: ExactPosterior) -> dict[str, NDArray]:
    """An `ExactPosterior` as named arrays."""
    names = ("mean", "sd", "ess", "method", "warnings", "diagnostics")
    rest = json.dumps({name: getattr(posterior, name) for name in names})
    return {"draws": posterior.array, "rest": np.array(rest)}


def _from_arrays(stored: Mapping[str, NDArray]) -> ExactPosterior:
    """Undo `_arrays`."""
    draws, rest = stored["draws"], json.loads(str(stored["rest"]))
    samples = {name: draws[:, i].copy() for i, name in enumerate(GROUP_PRIOR.names)}
    return ExactPosterior(samples, **rest | {"warnings": tuple(rest["warnings"])})


# --------------------------------------------------------------------------------------------------
# The likelihood by itself
# --------------------------------------------------------------------------------------------------


def log_likelihood(
    sim_data: ArrayLike | Sequence[ArrayLike],
    group: Mapping[str, ArrayLike],
    *,
    em_dt: float | None = None,
) -> FloatArray:
    """Marginal log likelihood of a study, with all subject parameters integrated out.

    Parameters
    ----------
    sim_data, em_dt
        As in `exact_posterior`.
    group : mapping of str to float or array_like
        The seven group parameters: one value each, or equally many of each (any shape).

    Returns
    -------
    ndarray (S,)
        Log likelihoods, accurate to about 1e-5 per subject within the range of the prior; ``-inf``
        where ``|beta_raw|`` exceeds 5.

    Raises
    ------
    ValueError
        As in `exact_posterior`, and for missing group parameters.
    """
    subjects = subjects_of(sim_data)
    tables = build_tables(subjects, Domain.prior(), boundary_shift(em_dt), None)
    return Likelihood(tables)(group_draws(group))


def _scouted(
    subjects: Sequence[Subject], shift: float, rng: np.random.Generator, progress: bool | None
) -> tuple[Likelihood, tuple[FloatArray, FloatArray]]:
    """Likelihood of a large study, with tables made for where a few of its subjects point to."""
    some = [subjects[j] for j in rng.choice(len(subjects), _SCOUTS, replace=False)]
    scout = Likelihood(build_tables(some, Domain.prior(), shift, progress), progress)
    chains = chains_from_prior(scout, rng, progress)
    chains.adapt((300, 300, 500))
    draws = chains.run(1500, "scouting")[:, :, :7].reshape(-1, 7)
    mean, cov = draws.mean(axis=0), np.cov(draws.T)
    domain = Domain.around(mean, np.sqrt(np.diag(cov)))
    likelihood = Likelihood(build_tables(subjects, domain, shift, progress), progress)
    return likelihood, (mean, cholesky_factor(cov * _SCOUTS / len(subjects)))


def _draw(
    likelihood: Likelihood,
    start: tuple[FloatArray, FloatArray] | None,
    num_samples: int,
    method: str,
    rng: np.random.Generator,
    progress: bool | None,
) -> _Sample:
    """Importance sampling if asked for, chains if asked for or if the weights fail."""
    chains = None
    if method == "importance":
        if start is None:
            chains = chains_from_prior(likelihood, rng, progress)
            chains.adapt((300, 300, 500))
            draws = chains.run(1000, "scouting")[:, :, :7].reshape(-1, 7)
            start = draws.mean(axis=0), cholesky_factor(np.cov(draws.T))
        x, factor = laplace(likelihood.log_posterior, *start)
        n = max(1500, int(1.5 * num_samples))
        draws, weights, k_hat = importance_sample(likelihood.log_posterior, x, factor, n, rng)
        ess = float(1.0 / np.sum(weights**2))
        if k_hat < 0.7 and ess > 0.1 * n:
            return _Sample(draws, weights, ess, "importance", {"pareto_k": k_hat})
        chains = chains_from_draws(likelihood, draws, weights, rng, progress)
    if chains is None:
        chains = chains_from_prior(likelihood, rng, progress)
    chains.adapt((400, 400, 800, 1200))
    states = sample_chains(chains, num_samples, most=20_000)
    draws = states.transpose(1, 0, 2).reshape(-1, 7)
    weights = np.full(len(draws), 1.0 / len(draws))
    return _Sample(draws, weights, min_ess(states), "mcmc", {"r_hat": max_r_hat(states)})


def _packed(
    sample: _Sample, likelihood: Likelihood, num_samples: int, rng: np.random.Generator
) -> ExactPosterior:
    """Resample or thin to num_samples draws, run the last diagnostics, name the parameters."""
    mean = sample.weights @ sample.draws
    sd = np.sqrt(sample.weights @ (sample.draws - mean) ** 2)
    chosen = sample.draws[systematic(sample.weights, num_samples, rng)]
    likelihood.edges[:] = 0.0
    likelihood(chosen[:20])
    edge = float(likelihood.edges.max())
    messages = _messages(sample, likelihood, chosen)
    names = GROUP_PRIOR.names
    return ExactPosterior(
        samples={k: chosen[:, i].copy() for i, k in enumerate(names)},
        mean=dict(zip(names, mean.tolist(), strict=True)),
        sd=dict(zip(names, sd.tolist(), strict=True)),
        ess=sample.ess,
        method=sample.method,
        warnings=messages,
        diagnostics={**sample.diagnostics, "edge": edge},
    )


def _messages(sample: _Sample, likelihood: Likelihood, chosen: FloatArray) -> tuple[str, ...]:
    """Failed diagnostics in words."""
    found = []
    if sample.ess < 200.0:
        found.append(f"the effective sample size is only {sample.ess:.0f}")
    if sample.diagnostics.get("r_hat", 1.0) > _R_HAT_LIMIT:
        found.append(f"the chains did not mix (split R-hat {sample.diagnostics['r_hat']:.3f})")
    if sample.diagnostics.get("pareto_k", 0.0) > 0.7:
        found.append(f"importance weights are uneven (k = {sample.diagnostics['pareto_k']:.2f})")
    odd = np.flatnonzero(likelihood.edges > _MOST_AT_EDGE)
    if odd.size:
        found.append(
            f"the quadrature's window cuts the integrals of {odd.size} subjects "
            f"({odd[:10].tolist()}, by up to {likelihood.edges.max():.1%}): check their data"
        )
    mid, half = likelihood.tables.beta_range
    far = np.abs(np.interp(chosen[:, 6], *beta_table()) - mid) > 0.95 * half
    if far.mean() > 1e-3:
        found.append("beta_raw reaches the end of the tabulated range")
    return tuple(f"exact_posterior: {text}." for text in found)


# --------------------------------------------------------------------------------------------------
# One subject, given the group parameters
# --------------------------------------------------------------------------------------------------


def subject_posterior(
    trials: ArrayLike,
    group: Mapping[str, ArrayLike],
    num_samples: int | None = None,
    *,
    seed: int | np.random.Generator | None = None,
    em_dt: float | None = None,
) -> dict[str, FloatArray]:
    r"""Draw from the exact posterior of one subject's parameters, given group parameters.

    .. math:: p(\nu, \alpha, t_0 \mid Y_j, \eta) \propto p(Y_j \mid \nu, \alpha, t_0, \beta)\,
        N(\nu; \mu_\nu, \sigma_\nu^2)\, N(\log\alpha; \mu_a, \sigma_a^2)\,
        N(\log t_0; \mu_t, \sigma_t^2)

    With draws of the group posterior as `group` this is ancestral sampling done exactly: one draw
    of the subject for each of them.

    Parameters
    ----------
    trials : array_like (n, 2)
        ``choice`` (0 or 1) and ``rt`` (seconds) of the subject.
    group : mapping of str to float or array_like
        The seven group parameters: one value each, or equally many draws of each (any shape).
    num_samples : int, optional
        Number of draws for fixed group parameters; default 1000. With several group draws it must
        be left out.
    seed : int or numpy.random.Generator, optional
        Makes the draws reproducible.
    em_dt : float, optional
        As in `exact_posterior`.

    Returns
    -------
    dict of str to ndarray (num_samples,)
        ``nu``, ``alpha``, and ``t0`` (seconds).

    Raises
    ------
    ValueError
        For bad trials, missing group parameters, or a start far outside its prior.
    """
    (subject,) = subjects_of([trials])
    etas = group_draws(group)
    if len(etas) == 1:
        etas = np.repeat(etas, 1000 if num_samples is None else num_samples, axis=0)
    elif num_samples not in (None, len(etas)):
        raise ValueError(f"num_samples must be left out with {len(etas)} group draws.")
    rng = np.random.default_rng(seed)
    shift = boundary_shift(em_dt)
    return draw_subject(subject, etas, shift, rng)


# --------------------------------------------------------------------------------------------------
# The independent check: group and subject parameters together
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JointPosterior(ExactPosterior):
    """Draws of group and subject parameters together.

    Attributes
    ----------
    subjects : dict of str to ndarray (num_samples, J)
        ``nu``, ``alpha``, ``t0`` of every subject, in step with `samples`.
    """

    subjects: dict[str, FloatArray] = field(default_factory=dict)


def joint_posterior(
    sim_data: ArrayLike | Sequence[ArrayLike],
    num_samples: int = 1000,
    *,
    seed: int | np.random.Generator | None = None,
    em_dt: float | None = None,
    warmup: int = 4000,
    sweeps: int = 8000,
    progress: bool | None = None,
) -> JointPosterior:
    """Draw group and subject parameters together by Metropolis within Gibbs.

    Slower than `exact_posterior` and independent of its quadrature; it serves as a check of it,
    and gives the exact posterior of every subject of a small study.

    Parameters
    ----------
    sim_data, num_samples, seed, em_dt, progress
        As in `exact_posterior`. The time grows with the number of trials; up to 50 subjects is
        sensible.
    warmup : int, default 4000
        Sweeps per chain that adapt the proposals and are thrown away.
    sweeps : int, default 8000
        Sweeps per chain (four chains) after that.

    Returns
    -------
    JointPosterior
        As `ExactPosterior`, with ``.subjects``.

    Raises
    ------
    ValueError
        As in `exact_posterior`.

    Warns
    -----
    ReferenceWarning
        When the chains did not mix.

    References
    ----------
    Papaspiliopoulos, Roberts & Skold (2007) for moves of the group parameters that carry the
    subjects along.
    """
    subjects = subjects_of(sim_data)
    shift = boundary_shift(em_dt)
    if num_samples < 1 or N_CHAINS * sweeps < num_samples:
        raise ValueError(f"num_samples must be in [1, {N_CHAINS} * sweeps]; got {num_samples}.")
    rng = np.random.default_rng(seed)
    seeds = rng.integers(2**31, size=N_CHAINS)
    states, latent = sample_joint(subjects, shift, seeds, warmup, sweeps, progress)
    return _packed_joint(states, latent, num_samples, rng)


def _packed_joint(
    states: FloatArray, latent: FloatArray, num_samples: int, rng: np.random.Generator
) -> JointPosterior:
    """Thin the chains (chains, n, 7) and (chains * n, J, 3), check them, and name the columns."""
    draws = states.reshape(-1, 7)
    ess, r_hat = min_ess(states), max_r_hat(states)
    messages: tuple[str, ...] = ()
    if r_hat > _R_HAT_LIMIT or ess < 200.0:
        messages = (f"joint_posterior: not mixed (R-hat {r_hat:.3f}, ESS {ess:.0f}).",)
        warnings.warn(messages[0], ReferenceWarning, stacklevel=3)
    keep = systematic(np.full(len(draws), 1.0 / len(draws)), num_samples, rng)
    names, chosen = GROUP_PRIOR.names, latent[keep]
    return JointPosterior(
        samples={k: draws[keep, i] for i, k in enumerate(names)},
        mean=dict(zip(names, draws.mean(axis=0).tolist(), strict=True)),
        sd=dict(zip(names, draws.std(axis=0).tolist(), strict=True)),
        ess=ess,
        method="metropolis-within-gibbs",
        warnings=messages,
        diagnostics={"r_hat": r_hat},
        subjects={
            "nu": chosen[:, :, 0],
            "alpha": np.exp(chosen[:, :, 1]),
            "t0": np.exp(chosen[:, :, 2]),
        },
    )
