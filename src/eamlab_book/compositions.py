r"""Compositions that others published, in few lines, on an anchored score network.

`gauss` and `langevin` are from the literature, `control_variate` needs our anchors, and
`reweighted` an exact likelihood. The summed score and BayesFlow's Jacobian are options of
`eamlab.compose`.

References
----------
Geffner et al. (2023) for the summed score and Langevin steps at falling noise; Linhart et al.
(2024) for GAUSS; Touron et al. (2026) for the step sizes; Vehtari et al. (2024) for the Pareto
smoothing; Li et al. (2024) for reweighting amortized draws where the diagnostic allows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from eamlab.backend import bf

import numpy as np
import tensorflow as tf
from arviz_stats.base import array_stats
from bayesflow.types import Tensor
from numpy.typing import NDArray

from eamlab.composition import gaussian
from eamlab.composition.groups import (
    checked_model,
    group_sizes,
    split_subjects,
    summarize_groups,
    trained_sizes,
)
from eamlab.draws import Draws
from eamlab.model.model import Model, check_count, generator
from eamlab.networks import AnchoredDiffusionModel
from eamlab.reference import posterior, samplers
from eamlab.reference.subjects import coordinates, subjects_of
from eamlab.study import Study, as_study

_NUGGET = 0.01
"""What sbi adds to every precision, too."""

Array = NDArray[np.floating[Any]]


class _Terms(NamedTuple):
    """The groups of a study: their summaries and their anchors."""

    network: Any
    model: Model
    summaries: Array  # (G, summary_dim)
    mean: Array  # (G, d)
    precision: Array  # (G, d, d)
    rng: np.random.Generator


def gauss(
    workflow: bf.CompositionalWorkflow,
    study: Study,
    *,
    group_size: int | str = "auto",
    num_samples: int = 100,
    seed: int | None = None,
    covariance: str = "draws",
    budget: int = 1000,
    steps: int = 200,
) -> Draws:
    r"""Compose as GAUSS does: scores weighted by fixed Gaussian precisions of the groups.

    With group precisions :math:`Q_g`, prior N(0, I), signal-to-noise ratio :math:`s` and denoised
    group means :math:`\mu_g`, the composed denoised mean is

    .. math:: \Lambda^{-1} \Big[\sum_g (Q_g + s I)\, \mu_g
        + (1 - G) \tfrac{\alpha}{\sigma^2} x_t\Big], \qquad
        \Lambda = \sum_g Q_g + (1 - G + s) I,

    which Tweedie's formula makes their composed score; its samples are drawn by the stochastic DDIM
    (eta = 1) of their experiments. ``covariance="draws"`` estimates :math:`Q_g^{-1}` from draws of
    each group's posterior (auto-GAUSS); ``"anchor"`` takes the precisions that the network learned.
    Then the denoised mean is that of ``eamlab.compose(method="gaussian")``, and only the steps
    differ: there the clean parameters are drawn, here they are put at their mean.

    An estimated :math:`\Lambda` need not be positive definite, for a group may seem to know less
    than the prior. As in sbi, its eigenvalues below zero are mirrored, shared by the groups, and
    0.01 is added to each group's precision.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow
        A global workflow with an anchored network, such as ``load_pretrained("global")``.
    study : Study
        Whose population.
    group_size, num_samples, seed
        As in `eamlab.compose`.
    covariance : {"draws", "anchor"}
        Whence the groups' precisions.
    budget : int, default 1000
        Draws of each group for its covariance.
    steps : int, default 200
        Noise levels.

    Returns
    -------
    Draws

    Raises
    ------
    ValueError
        For another network, or an argument out of range.
    """
    if covariance not in ("draws", "anchor"):
        raise ValueError(f"covariance must be 'draws' or 'anchor', got {covariance!r}.")
    terms = _terms(workflow, study, group_size, seed)
    own = terms.precision if covariance == "anchor" else _estimated(terms, budget, seed)
    return _reverse(terms, _weighted(terms, own), num_samples, steps)


def control_variate(
    workflow: bf.CompositionalWorkflow,
    study: Study,
    *,
    group_size: int | str = "auto",
    num_samples: int = 100,
    seed: int | None = None,
    mini_batch_size: int = 10,
    steps: int = 46,
) -> Draws:
    """Compose as `eamlab.compose` does, with the residuals of a mini-batch of groups.

    The anchors are summed exactly: they are a control variate, and only what the network adds to
    them is estimated, from a fresh mini-batch for every draw and step. With all groups it is
    ``eamlab.compose(method="gaussian")``. A mini-batch saves passes of the network, not summaries.

    Parameters
    ----------
    workflow, study, group_size, num_samples, seed
        As in `gauss`.
    mini_batch_size : int, default 10
        Groups whose residuals are seen at a step; all if there are no more.
    steps : int, default 46
        Noise levels.

    Returns
    -------
    Draws

    Raises
    ------
    ValueError
        As in `gauss`.
    """
    terms = _terms(workflow, study, group_size, seed)
    n_groups, eye = len(terms.mean), np.eye(terms.mean.shape[1])
    count = min(check_count("mini_batch_size", mini_batch_size), n_groups)
    total = terms.precision.sum(axis=0) + (1 - n_groups) * eye
    summed = np.einsum("gij,gj->i", terms.precision, terms.mean)

    def clean(x: Array, level: np.float32) -> Array:
        s, (alpha, sigma) = np.exp(level), _alpha_sigma(level)
        index = terms.rng.random((len(x), n_groups)).argsort(axis=1)[:, :count]
        residual = _residuals(terms, x, level, index)
        beyond = np.einsum("smi,smij->sj", residual, terms.precision[index] + s * eye)
        pull = summed + alpha / sigma**2 * x + n_groups / count * beyond
        factor = np.linalg.cholesky(np.linalg.inv(total + s * eye))
        noise = terms.rng.standard_normal(x.shape)
        return np.linalg.solve(total + s * eye, pull.T).T + noise @ factor.T

    return _reverse(terms, clean, num_samples, steps)


def langevin(
    workflow: bf.CompositionalWorkflow,
    study: Study,
    *,
    group_size: int | str = "auto",
    num_samples: int = 100,
    seed: int | None = None,
    bridge: str = "summed",
    levels: int = 20,
    tolerance: float = 0.1,
    preconditioned: bool = True,
    most: int = 1000,
) -> Draws:
    r"""Compose by annealed Langevin: steps along a composed score at falling noise.

    The composed score at a noise level is that of a bridging density. Where it is a Gaussian with
    precisions from m to M, a step :math:`h` widens its narrowest sd by
    :math:`(1 - h M / 2)^{-1/2}`, and k steps leave :math:`(1 - m h)^k` of the distance to it. So
    h is as large, and k as small, as keeps both errors below the tolerance. m and M are those of
    the score's slope at the draws' mean. ``preconditioned=True`` measures lengths by that
    slope, which makes m = M: without it k grows with M / m.

    Touron et al. (2026) derive step sizes and numbers of steps from m and M, too, by Wasserstein
    bounds for approximate scores; this is the same reasoning with the closed form of the Gaussian,
    not their rule to the letter.

    Parameters
    ----------
    workflow, study, group_size, num_samples, seed
        As in `gauss`.
    bridge : {"summed", "gauss"}
        Whose score: the plain sum, or that of `gauss` with the anchors' precisions.
    levels : int, default 20
        Noise levels, even in log-SNR.
    tolerance : float, default 0.1
        Both errors, relative.
    preconditioned : bool, default True
        Whether to measure lengths by the slope.
    most : int, default 1000
        Steps per level at most.

    Returns
    -------
    Draws
        With ``.diagnostics["steps"]``, in all, and ``["capped"]``, levels that asked for more than
        `most`.

    Raises
    ------
    ValueError
        As in `gauss`.
    """
    scores = {"summed": _summed_score, "gauss": _gauss_score}
    if bridge not in scores:
        raise ValueError(f"bridge must be one of {tuple(scores)}, got {bridge!r}.")
    if not 0.0 < tolerance < 1.0:
        raise ValueError(f"tolerance must be between 0 and 1, got {tolerance}.")
    terms, n_steps, capped = _terms(workflow, study, group_size, seed), 0, 0
    x = terms.rng.standard_normal((check_count("num_samples", num_samples), terms.mean.shape[1]))
    for level in _levels("levels", levels):
        score = scores[bridge](terms, level)
        values, axes = np.linalg.eigh(_slope(score, x))
        values = np.maximum(values, 1.0)  # groups know no less than the prior, which is N(0, I)
        lengths = 1.0 / values if preconditioned else np.full(len(values), 1.0 / values[-1])
        h = 2.0 * (1.0 - (1.0 + tolerance) ** -2)
        wanted = math.ceil(math.log(tolerance) / math.log(1.0 - h * (lengths * values).min()))
        k, capped = min(wanted, most), capped + (wanted > most)
        for _ in range(k):
            noise = terms.rng.standard_normal(x.shape) * np.sqrt(2.0 * h * lengths)
            x = x + (score(x) @ axes * (h * lengths) + noise) @ axes.T
        n_steps += k
    return _packed(terms, x, {"steps": n_steps, "capped": capped})


def reweighted(
    draws: Draws, study: Study, *, num_samples: int = 100, seed: int | None = None, n: int = 1500
) -> Draws:
    """Correct composed draws by importance weights with the exact marginal likelihood.

    A Student t with the draws' mean and covariance proposes; its points are weighted by the exact
    posterior density, the largest weights are Pareto-smoothed, and `num_samples` points drawn by
    these weights.

    Parameters
    ----------
    draws : Draws
        Of the group parameters of a model whose likelihood `eamlab.exact` knows.
    study : Study
        What they were composed from.
    num_samples, seed
        As in `eamlab.compose`.
    n : int, default 1500
        Proposed points.

    Returns
    -------
    Draws
        ``.mean`` and ``.sd`` are from all weighted points. Trust them if
        ``.diagnostics["pareto_k"]`` is below 0.7; a warning in ``.warnings`` says if not.

    Raises
    ------
    ValueError
        As in `eamlab.exact`.
    """
    model, rng = draws.model, generator(seed)
    if model is None:
        raise ValueError("draws: draws of no model cannot be weighted; pass those of compose().")
    names = coordinates(model).names
    values = np.stack([draws[k] for k in names], axis=1)
    mean, covariance = values.mean(axis=0), np.cov(values.T)
    study = as_study(study, model=model)
    subjects = subjects_of(study)
    domain = posterior.domain_of(model).around(mean, np.sqrt(np.diag(covariance)))
    likelihood = posterior.likelihood_of(subjects, model, domain, 0.0, False)
    factor = samplers.cholesky_factor(covariance)
    points, log_q = samplers.student_draws(mean, factor, check_count("n", n), rng)
    log_w = likelihood.log_posterior(points) - log_q
    log_w = np.where(np.isfinite(log_w), log_w, -np.inf)
    log_w = np.maximum(log_w - log_w.max(), -690.0)
    # Which takes log likelihoods left out: log weights with the other sign.
    smoothed, k_hat = array_stats.psislw(-log_w)
    weights = np.exp(smoothed - smoothed.max())
    weights /= weights.sum()
    ess = float(1.0 / np.sum(weights**2))
    found = posterior.Sample(points, weights, ess, "reweighted", {"pareto_k": float(k_hat)})
    settings = {"num_samples": check_count("num_samples", num_samples), "seed": seed, "n": n}
    return posterior.packed(found, likelihood, model, settings, rng, study)


# --- what they share ------------------------------------------------------------------------------


def _terms(workflow: Any, study: Study, group_size: int | str, seed: int | None) -> _Terms:
    model = checked_model(workflow, [study])
    network = workflow.inference_network
    if not isinstance(network, AnchoredDiffusionModel):
        raise ValueError(
            f"workflow must have an AnchoredDiffusionModel, got {type(network).__name__}; use "
            "load_pretrained('global')."
        )
    sizes = group_sizes(group_size, len(study), trained_sizes(workflow))
    summaries = summarize_groups(workflow, split_subjects(study.trials, sizes))
    mean, precision = network.anchor(summaries, len(model.prior))
    mean, precision = np.asarray(mean, "float64"), np.asarray(precision, "float64")
    return _Terms(network, model, summaries, mean, precision, np.random.default_rng(seed))


def _estimated(terms: _Terms, budget: int, seed: int | None) -> Array:
    """Precisions of the groups from draws of each, such that their product is a Gaussian."""
    options: dict[str, Any] = {"steps": 46, "seed": seed}
    options |= {"num_samples": check_count("budget", budget, 20)}
    each = list(terms.summaries[:, None])
    draws = gaussian.sample_gaussian_composition(terms.network, each, **options)
    precision = np.linalg.inv(np.stack([np.cov(z.T) for z in draws]))
    n_groups, eye = len(precision), np.eye(precision.shape[-1])
    values, axes = np.linalg.eigh(precision.sum(axis=0) + (1 - n_groups) * eye)
    missing = np.where(values <= 0.0, -values, 0.0) / max(1, n_groups - 1)
    return precision + axes * missing @ axes.T + _NUGGET * eye


def _residuals(terms: _Terms, x: Array, level: np.float32, index: NDArray[Any]) -> Array:
    """What the network adds to the anchors of the groups `index` (S, M): (S, M, d)."""
    own = np.diagonal(terms.precision, axis1=1, axis2=2)
    rows = [a[index].reshape(index.size, -1) for a in (terms.summaries, terms.mean, own)]
    points = np.repeat(x, index.shape[1], axis=0)
    inputs = [tf.constant(a, "float32") for a in (points, [[level]] * index.size, *rows)]
    return _pass(terms.network, *inputs).numpy().reshape(*index.shape, -1)


@tf.function(autograph=False)
def _pass(network: Any, x: Tensor, level: Tensor, summaries: Tensor, mean: Any, own: Any) -> Tensor:
    return network.residual(x, level, summaries, mean=mean, own=own)


def _reverse(
    terms: _Terms, clean: Callable[[Array, np.float32], Array], num_samples: int, steps: int
) -> Draws:
    """Walk from noise to the clean parameters: put these in place, and noise them again."""
    levels = _levels("steps", steps)
    shape = (check_count("num_samples", num_samples), terms.mean.shape[1])
    x = terms.rng.standard_normal(shape)
    for level, after in pairwise(levels):
        now, there = x.astype("float32"), clean(x, level).astype("float32")
        noise = terms.rng.standard_normal(shape, "float32")
        x = np.asarray(gaussian._renoise(now, there, level, after, noise), "float64")
    return _packed(terms, clean(x, levels[-1]), {})


def _weighted(terms: _Terms, own: Array) -> Callable[[Array, np.float32], Array]:
    """GAUSS: the composed denoised mean with the groups' precisions `own`."""
    n_groups, eye = len(own), np.eye(terms.mean.shape[1])
    total = own.sum(axis=0) + (1 - n_groups) * eye
    anchored = np.einsum("gij,gj->gi", terms.precision, terms.mean)

    def clean(x: Array, level: np.float32) -> Array:
        s, (alpha, sigma) = np.exp(level), _alpha_sigma(level)
        kept = (own + s * eye) @ np.linalg.inv(terms.precision + s * eye)
        residual = _residuals(terms, x, level, np.tile(np.arange(n_groups), (len(x), 1)))
        pull = np.einsum("gij,gj->i", kept, anchored)
        pull = pull + alpha / sigma**2 * x @ (kept.sum(axis=0) + (1 - n_groups) * eye).T
        pull = pull + np.einsum("sgi,gij->sj", residual, own + s * eye)
        return np.linalg.solve(total + s * eye, pull.T).T

    return clean


def _gauss_score(terms: _Terms, level: np.float32) -> Callable[[Array], Array]:
    """Score of GAUSS with the anchors' precisions, at a noise level."""
    clean, (alpha, sigma) = _weighted(terms, terms.precision), _alpha_sigma(level)
    return lambda x: (alpha * clean(x, level) - x) / sigma**2


def _summed_score(terms: _Terms, level: np.float32) -> Callable[[Array], Array]:
    """Sum of the groups' scores, less the prior's all but once, at a noise level."""
    (alpha, sigma), n_groups, dim = _alpha_sigma(level), *terms.mean.shape
    spread = np.linalg.inv(terms.precision + np.exp(level) * np.eye(dim))
    known = np.einsum("gij,gjk,gk->i", spread, terms.precision, terms.mean)
    every = np.arange(n_groups)

    def score(x: Array) -> Array:
        residual = _residuals(terms, x, level, np.tile(every, (len(x), 1))).sum(axis=1)
        clean = known + alpha / sigma**2 * x @ spread.sum(axis=0) + residual
        return (alpha * clean - n_groups * x) / sigma**2 + (n_groups - 1) * x

    return score


def _levels(name: str, count: int) -> NDArray[np.float32]:
    return np.linspace(*gaussian._LOG_SNR, check_count(name, count)).astype("float32")


def _slope(score: Callable[[Array], Array], x: Array) -> Array:
    """Minus the score's Jacobian at the mean of x, made symmetric."""
    moves = 0.1 * np.diag(x.std(axis=0))
    above, below = np.split(score(x.mean(axis=0) + np.concatenate([moves, -moves])), 2)
    jacobian = (above - below) / (2.0 * np.diag(moves)[:, None])
    return -0.5 * (jacobian + jacobian.T)


def _alpha_sigma(level: np.float32) -> tuple[float, float]:
    alpha, sigma = gaussian._alpha_sigma(level)
    return float(alpha), float(sigma)


def _packed(terms: _Terms, z: Array, diagnostics: dict[str, Any]) -> Draws:
    values = terms.model.prior.unstandardize(z)
    named = dict(zip(terms.model.prior.names, values.T, strict=True))
    diagnostics |= {"n_groups": len(terms.mean)}
    return Draws(named, model=terms.model, summaries=terms.summaries, diagnostics=diagnostics)
