r"""The exact posterior of the group parameters: the answer key for every composed posterior.

.. math:: p(\eta \mid Y) \propto p(\eta) \prod_{j=1}^{J} \int p(Y_j \mid \theta_j, \beta)\,
    p(\theta_j \mid \eta)\, d\theta_j

The integrals are done by quadrature, so that only the group parameters remain. This marginal
posterior is sampled by importance sampling around its mode, and by adaptive Metropolis where the
weights fail.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from eamlab.draws import Draws, group_array
from eamlab.model.density import FloatArray
from eamlab.model.model import Model, check_count, generator
from eamlab.reference.conditions import PairDomain, PairLikelihood, build_pair_tables
from eamlab.reference.quadrature import START, Likelihood, beta_table
from eamlab.reference.samplers import (
    chains_from_draws,
    chains_from_prior,
    cholesky_factor,
    flattened,
    importance_sample,
    laplace,
    max_r_hat,
    min_ess,
    prior_draws,
    sample_chains,
    systematic,
)
from eamlab.reference.subjects import boundary_shift, coordinates, has_conditions, subjects_of
from eamlab.reference.tables import Domain, build_tables
from eamlab.study import Study, as_study, told_ids

# Above so many subjects some show first where the posterior lies: so many, or one in so many of the
# largest studies, whose start would otherwise be a hundred sds away from their mode.
_MOST_AT_ONCE, _SCOUTS, _ONE_OF, _SCOUT_DRAWS = 60, 40, 250, 500
_R_HAT_LIMIT = 1.02
# Share of a subject's integral in doubt (at the edges of its nodes, or between nodes too far apart)
# above which the subject is reported; the integral's own error is about a tenth of it.
_MOST_DOUBT = 0.01


class ReferenceWarning(UserWarning):
    """The exact posterior's own diagnostics failed: do not use it as an answer key unseen."""


# --------------------------------------------------------------------------------------------------
# The answer key
# --------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """What a sampler hands over: draws (n, d), their weights, and its diagnostics."""

    draws: FloatArray
    weights: FloatArray
    ess: float
    method: str
    diagnostics: dict[str, float]


def exact(
    study: Study,
    model: Model,
    num_samples: int = 1000,
    *,
    seed: int | np.random.Generator | None = None,
    em_dt: float | None = None,
    method: str = "auto",
    progress: bool | None = None,
) -> Draws:
    r"""Draw from the exact posterior of the group parameters.

    .. math:: p(\eta \mid Y) \propto p(\eta) \prod_{j=1}^{J} \int p(Y_j \mid \theta_j, \beta)\,
        p(\theta_j \mid \eta)\, d\theta_j

    Parameters
    ----------
    study : Study
        The data.
    model : Model
        Such as `eamlab.EAM` or `eamlab.TWO_CONDITIONS`, or any other prior of the same decisions.
    num_samples : int, default 1000
        Number of draws.
    seed : int or numpy.random.Generator, optional
        Makes the draws reproducible.
    em_dt : float, optional
        Step length in seconds of the Euler-Maruyama simulator that made the data. Such data follow
        the model with both bounds moved outward by ``0.5826 * sqrt(em_dt)``, and that model is
        used. Default: the exact model.
    method : {"auto", "mcmc"}
        Sampler: importance sampling around the mode, with chains where the weights fail, or chains.
    progress : bool, optional
        Default: a bar for every step that takes more than two seconds.

    Returns
    -------
    Draws
        Of the group parameters. ``.mean`` and ``.sd`` are from all chain states or weighted draws,
        not only from those that are kept. ``.diagnostics`` has ``method``, ``ess`` (of the chains,
        smallest over parameters, or of the weights), ``r_hat`` or ``pareto_k``, and ``edge``: the
        largest share of any person's integral that the quadrature may miss. ``.warnings`` has
        what failed.

    Raises
    ------
    ValueError
        For several studies, a model whose likelihood the quadrature does not know, or unusable
        options.

    Warns
    -----
    ReferenceWarning
        When a diagnostic fails: chains that did not mix, uneven weights, or people so odd that
        the quadrature may miss a part of their integral (they are named).

    References
    ----------
    Navarro & Fuss (2009) for the density; Roberts & Rosenthal (2009) for adaptive Metropolis;
    Vehtari et al. (2021) for R-hat and the effective sample size, Vehtari et al. (2024) for the
    Pareto diagnostic; Broadie, Glasserman & Kou (1997) for `em_dt`.
    """
    num_samples = check_count("num_samples", num_samples)
    if method not in ("auto", "mcmc"):
        raise ValueError(f"method must be 'auto' or 'mcmc'; got {method!r}.")
    coordinates(model)  # refuses a model that the quadrature does not know
    rng = generator(seed)
    study = as_study(study, model=model)
    subjects, shift = subjects_of(study), boundary_shift(em_dt)
    domain, start = domain_of(model), None
    if len(subjects) > _MOST_AT_ONCE or any(map(domain.is_narrow, subjects)):
        likelihood, start = _scouted(subjects, model, shift, rng, progress)
    else:
        likelihood = likelihood_of(subjects, model, domain, shift, progress)
    settings = {"num_samples": num_samples, "seed": seed, "em_dt": em_dt, "method": method}
    sample = _draw(likelihood, start, num_samples, method, rng, progress)
    draws = packed(sample, likelihood, model, settings, rng, study)
    for message in draws.warnings:
        warnings.warn(message, ReferenceWarning, stacklevel=2)
    return draws


def likelihood_of(
    subjects: Sequence[Any], model: Model, domain: Domain, shift: float, progress: bool | None
) -> Likelihood:
    """Return the marginal likelihood of people, with tables for what `domain` holds plausible."""
    kind = PairLikelihood if has_conditions(model) else Likelihood
    build: Any = build_pair_tables if has_conditions(model) else build_tables
    tables = build(subjects, domain, shift, progress)
    grid = beta_table(model.constants["beta_concentration"])
    return kind(subjects, tables, coordinates(model), grid, progress)


def domain_of(model: Model) -> Domain:
    """Return the region of group parameters for which a model's tables must be right."""
    return (PairDomain if has_conditions(model) else Domain).of(model)


# --------------------------------------------------------------------------------------------------
# The likelihood by itself
# --------------------------------------------------------------------------------------------------


def log_likelihood(
    study: Study, model: Model, group: Mapping[str, ArrayLike], *, em_dt: float | None = None
) -> FloatArray:
    """Marginal log likelihood of a study, with all people's parameters integrated out.

    Parameters
    ----------
    study, model, em_dt
        As in `exact`.
    group : mapping of str to float or array_like (S,)
        All group parameters: one value each, or equally many of each.

    Returns
    -------
    ndarray (S,)
        Log likelihoods; ``-inf`` where ``|beta_raw|`` exceeds 5. Within the range of the prior a
        subject's error is about 1e-5 for 30 trials and below 0.01 for 10,000.

    Raises
    ------
    ValueError
        As in `exact`, and for missing group parameters.

    Warns
    -----
    ReferenceWarning
        When the quadrature misses a part of a subject's integral: odd subjects, or group parameters
        at which these subjects are next to impossible.
    """
    etas = group_points(group, model)
    study = as_study(study, model=model)
    subjects = subjects_of(study)
    domain = domain_of(model).within(etas[:, START], subjects)
    likelihood = likelihood_of(subjects, model, domain, boundary_shift(em_dt), None)
    values = likelihood(etas)
    doubts = likelihood.doubts.copy()
    # The error of a table varies with beta: from one end of the draws to the other.
    places = np.linspace(0, len(etas) - 1, min(len(etas), 20)).astype(int)
    few = np.argsort(etas[:, START])[places]
    within = etas[few][np.isfinite(values[few])]
    for text in doubtful(np.maximum(doubts, likelihood.check(within)), study.subjects):
        warnings.warn(f"log_likelihood: {text}.", ReferenceWarning, stacklevel=2)
    return values


def group_points(group: Any, model: Model) -> FloatArray:
    """Group parameters (S, d) in the order of `coordinates`; numbers or draws of each."""
    if not isinstance(group, Draws):
        group = Draws({k: np.ravel(v) for k, v in group.items()})
    values = group_array(group, model, "group")
    columns = [model.prior.names.index(name) for name in coordinates(model).names]
    return np.ascontiguousarray(values[:, columns])


def _scouted(
    subjects: Sequence[Any],
    model: Model,
    shift: float,
    rng: np.random.Generator,
    progress: bool | None,
) -> tuple[Likelihood, tuple[FloatArray, FloatArray]]:
    """Likelihood of a study, with tables made for where a few of its subjects point to."""
    count = min(max(_SCOUTS, len(subjects) // _ONE_OF), len(subjects))
    some = [subjects[j] for j in rng.choice(len(subjects), count, replace=False)]
    scout = likelihood_of(some, model, domain_of(model), shift, progress)
    draws, weights, _ = _around_the_mode(scout, None, _SCOUT_DRAWS, rng)
    flat = flattened(weights, 100.0)
    mean, cov = flat @ draws, np.cov(draws.T, aweights=flat)
    domain = domain_of(model).around(mean, np.sqrt(np.diag(cov)))
    likelihood = likelihood_of(subjects, model, domain, shift, progress)
    return likelihood, (mean, cholesky_factor(cov * count / len(subjects)))


def _around_the_mode(
    likelihood: Likelihood,
    start: tuple[FloatArray, FloatArray] | None,
    n: int,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray, float]:
    """Importance sample as from `importance_sample`; start at the best of many prior draws."""
    if start is None:
        etas, log_lik, weights = prior_draws(likelihood, rng)
        start = etas[log_lik.argmax()], cholesky_factor(np.cov(etas.T, aweights=weights))
    return importance_sample(likelihood, *laplace(likelihood.log_posterior, *start), n, rng)


def _draw(
    likelihood: Likelihood,
    start: tuple[FloatArray, FloatArray] | None,
    num_samples: int,
    method: str,
    rng: np.random.Generator,
    progress: bool | None,
) -> Sample:
    """Importance sampling, or chains if asked for or if the weights fail."""
    chains = None
    if method == "auto":
        n = max(1500, int(1.5 * num_samples))
        draws, weights, k_hat = _around_the_mode(likelihood, start, n, rng)
        ess = float(1.0 / np.sum(weights**2))
        if k_hat < 0.7 and ess > 0.1 * n:
            return Sample(draws, weights, ess, "importance", {"pareto_k": k_hat})
        chains = chains_from_draws(likelihood, draws, weights, rng, progress)
    if chains is None:
        chains = chains_from_prior(likelihood, rng, progress)
    chains.adapt((400, 400, 800, 1200))
    states = sample_chains(chains, num_samples, most=20_000)
    draws = states.transpose(1, 0, 2).reshape(-1, states.shape[-1])
    weights = np.full(len(draws), 1.0 / len(draws))
    return Sample(draws, weights, min_ess(states), "mcmc", {"r_hat": max_r_hat(states)})


def packed(
    sample: Sample,
    likelihood: Likelihood,
    model: Model,
    settings: dict[str, Any],
    rng: np.random.Generator,
    study: Study,
) -> Draws:
    """Resample or thin to num_samples draws, run the last diagnostics, name the parameters."""
    mean = sample.weights @ sample.draws
    sd = np.sqrt(sample.weights @ (sample.draws - mean) ** 2)
    chosen = sample.draws[systematic(sample.weights, settings["num_samples"], rng)]
    edge = float(likelihood.check(chosen[:20]).max())
    names = likelihood.prior.names
    values = dict(zip(names, chosen.T, strict=True))
    return Draws(
        {name: values[name] for name in model.prior.names},
        model=model,
        subjects=told_ids(study),
        settings=settings,
        mean=dict(zip(names, mean.tolist(), strict=True)),
        sd=dict(zip(names, sd.tolist(), strict=True)),
        warnings=_messages(sample, likelihood, chosen, study.subjects),
        diagnostics={"method": sample.method, "ess": sample.ess}
        | sample.diagnostics
        | {"edge": edge},
    )


def _messages(
    sample: Sample, likelihood: Likelihood, chosen: FloatArray, ids: Sequence[Any]
) -> tuple[str, ...]:
    """Failed diagnostics in words."""
    found = []
    if sample.ess < 200.0:
        found.append(f"the effective sample size is only {sample.ess:.0f}")
    if not sample.diagnostics.get("r_hat", 1.0) <= _R_HAT_LIMIT:  # it may be NaN
        found.append(f"the chains did not mix (split R-hat {sample.diagnostics['r_hat']:.3f})")
    if sample.diagnostics.get("pareto_k", 0.0) > 0.7:
        found.append(f"importance weights are uneven (k = {sample.diagnostics['pareto_k']:.2f})")
    found += doubtful(likelihood.doubts, ids)
    mid, half = likelihood.tables.beta_range
    far = np.abs(np.interp(chosen[:, START], *likelihood.beta_grid) - mid) > 0.95 * half
    if far.mean() > 1e-3:
        found.append("beta_raw reaches the end of the tabulated range")
    return tuple(f"exact: {text}." for text in found)


def doubtful(doubts: FloatArray, ids: Sequence[Any]) -> list[str]:
    """Name the subjects whose integrals are in doubt, if any, by their ids."""
    odd = np.flatnonzero(doubts > _MOST_DOUBT)
    if not odd.size:
        return []
    return [
        f"the quadrature misses a part of the integrals of {odd.size} subjects "
        f"({[ids[j] for j in odd[:10]]}, up to {doubts.max():.1%}): check their data"
    ]
