"""Samplers of the group posterior: Markov chains, and importance sampling around the mode.

Both know the posterior only through `eamlab.reference.quadrature`. Their diagnostics are here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import multivariate_t, norm

from eamlab.model.density import FloatArray
from eamlab.model.model import GroupPrior
from eamlab.parallel import threaded
from eamlab.reference.quadrature import Likelihood

N_CHAINS = 4
_STUDENT_DF = 6.0
# The data leave a parameter open if its posterior sd is above this share of the prior's; share of
# the draws that are moved along one of these.
_OPEN, _MOVED = 0.25, 0.3
_STEEP = 1e4  # a fall of the log density within half an sd beyond which it need not be known
_LogPosterior = Callable[[FloatArray], FloatArray]


# --------------------------------------------------------------------------------------------------
# Markov chains
# --------------------------------------------------------------------------------------------------


@dataclass
class Chains:
    """Several adaptive Metropolis chains on the marginal posterior of one study."""

    _likelihood: Likelihood
    _states: FloatArray  # (chains, d + 1)
    _factor: FloatArray
    _rng: np.random.Generator
    _progress: bool | None

    def run(self, n: int, label: str) -> FloatArray:
        """Continue all chains by n steps: states (chains, n, d + 1)."""
        shape, d = (len(self._states), n), len(self._factor)
        normals = self._rng.standard_normal((*shape, d))
        log_uniforms = np.log(self._rng.random(shape))
        states = np.empty((*shape, d + 1))

        def chain(c: int) -> float:
            args = (self._factor, normals[c], log_uniforms[c], states[c])
            return self._likelihood.walk(self._states[c], *args)

        self.acceptance = np.mean(threaded(chain, range(shape[0]), label, self._progress))
        self._states = states[:, -1].copy()
        return states

    def adapt(self, rounds: Sequence[int]) -> None:
        """Learn the proposal's covariance and scale; these steps are thrown away."""
        d = len(self._factor)
        scale = 2.38 / math.sqrt(d)
        for n in rounds:
            states = self.run(n, "adapting")[:, n // 3 :, :-1]
            # Aim at the acceptance rate that is best for a normal target in several dimensions.
            scale *= math.exp(np.clip(2.0 * (self.acceptance - 0.27), -1.0, 0.7))
            self._factor = scale * cholesky_factor(np.cov(states.reshape(-1, d).T))


def cholesky_factor(cov: FloatArray) -> FloatArray:
    """Lower Cholesky factor after a ridge that keeps a collapsed sample usable."""
    return np.linalg.cholesky(0.999 * cov + np.diag(1e-3 * np.diag(cov) + 1e-10))


def chains_from_prior(
    likelihood: Likelihood, rng: np.random.Generator, progress: bool | None
) -> Chains:
    """Start points and proposal from weighted draws of the prior."""
    prior = likelihood.prior
    etas, log_lik, weights = prior_draws(likelihood, rng)
    chosen = rng.choice(len(etas), size=N_CHAINS, p=weights)
    cov = np.cov(etas.T, aweights=weights) + np.diag((0.05 * prior.sds) ** 2)
    states = _start_states(prior, etas[chosen], log_lik[chosen])
    return Chains(likelihood, states, 0.5 * cholesky_factor(cov), rng, progress)


def prior_draws(
    likelihood: Likelihood, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draws of the prior (n, d), their log likelihoods, and these as weights, flattened."""
    prior = likelihood.prior
    etas = prior.means + prior.sds * rng.standard_normal((1000, len(prior)))
    log_lik = likelihood(etas, "prior draws")
    log_lik = np.where(np.isfinite(log_lik), log_lik, -np.inf)
    if not np.isfinite(log_lik).any():
        raise ValueError("study: no draw from the prior gives these data a positive likelihood.")
    return etas, log_lik, _tempered(log_lik, 40.0)


def chains_from_draws(
    likelihood: Likelihood,
    draws: FloatArray,
    weights: FloatArray,
    rng: np.random.Generator,
    progress: bool | None,
) -> Chains:
    """Chains that start from an importance sample that was not good enough."""
    flat = flattened(weights, 60.0)
    etas = draws[rng.choice(len(draws), N_CHAINS, p=flat)]
    states = _start_states(likelihood.prior, etas, likelihood(etas))
    factor = 0.8 * cholesky_factor(np.cov(draws.T, aweights=flat))
    return Chains(likelihood, states, factor, rng, progress)


def _start_states(prior: GroupPrior, etas: FloatArray, log_lik: FloatArray) -> FloatArray:
    """States (n, d + 1) of `metropolis`, whose log posterior lacks the prior's constant."""
    log_post = log_lik - 0.5 * (prior.standardize(etas) ** 2).sum(axis=1)
    return np.column_stack([etas, log_post])


def flattened(weights: FloatArray, least: float) -> FloatArray:
    """Weights whose effective number is at least `least`."""
    return _tempered(np.log(np.maximum(weights, 1e-300)), least)


def _tempered(log_lik: FloatArray, least: float) -> FloatArray:
    """Likelihood weights, flattened until their effective number is at least `least`."""
    power = 1.0
    while True:
        weights: FloatArray = softmax(power * log_lik)
        if 1.0 / np.sum(weights**2) >= least or power < 1e-6:
            return weights
        power *= 0.8


def sample_chains(chains: Chains, num_samples: int, most: int) -> FloatArray:
    """Run adapted chains until they are long and mixed enough: (chains, n, d)."""
    block = 2500
    states = chains.run(block, "sampling")[:, :, :-1]
    target = max(500.0, 0.5 * num_samples)
    while states.shape[1] < most:
        enough = states[..., 0].size >= num_samples
        if enough and min_ess(states) >= target and max_r_hat(states) <= 1.01:
            break
        states = np.concatenate([states, chains.run(block, "sampling")[:, :, :-1]], axis=1)
    return states


def max_r_hat(states: FloatArray) -> float:
    """Largest split R-hat (Gelman et al., 2013) of any parameter; inf if a chain never moved.

    Not the rank-normalized one of ArviZ: it decides how long the chains run, and the stored
    results are of chains that ran so long.
    """
    half = states.shape[1] // 2
    parts = np.concatenate([states[:, :half], states[:, -half:]])
    spread = parts.var(axis=1, ddof=1)
    if not spread.all():
        return math.inf
    within = spread.mean(axis=0)
    between = parts.mean(axis=1).var(axis=0, ddof=1)
    return float(np.sqrt((half - 1) / half + between / np.maximum(within, 1e-300)).max())


def min_ess(states: FloatArray) -> float:
    """Smallest effective sample size of any parameter (Geyer's initial positive sequence)."""
    return min(_ess(states[:, :, i]) for i in range(states.shape[2]))


def _ess(x: FloatArray) -> float:
    """Effective sample size of one quantity; x (chains, n)."""
    chains, n = x.shape
    centered = x - x.mean()
    spectrum = np.fft.rfft(centered, 2 * n, axis=1)
    autocov = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=1)[:, :n].mean(axis=0) / n
    rho = autocov / max(autocov[0], 1e-300)
    pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    stop = int(np.argmax(pairs < 0.0)) if (pairs < 0.0).any() else len(pairs)
    return float(chains * n / max(2.0 * pairs[:stop].sum() - 1.0, 1.0))


# --------------------------------------------------------------------------------------------------
# Mode, Laplace approximation, importance sampling
# --------------------------------------------------------------------------------------------------


def _quadratic_fit(
    log_post: _LogPosterior, x: FloatArray, factor: FloatArray
) -> tuple[float, FloatArray, FloatArray]:
    """Value, gradient and Hessian at x in coordinates z with eta = x + factor z.

    The differences span half a posterior sd: curvature at that scale is what a proposal needs.
    """
    h, d = 0.5, len(x)
    rows, cols = np.triu_indices(d, 1)
    eye = np.eye(d)
    moves = np.concatenate([np.zeros((1, d)), eye, -eye, eye[rows] + eye[cols]])
    moves = np.concatenate([moves, -(eye[rows] + eye[cols])])
    values = log_post(x + h * moves @ factor.T)
    values = np.maximum(values, values[0] - _STEEP)  # also where the evaluator's range is left
    f, plus, minus, above, below = np.split(values, np.cumsum([1, d, d, len(rows)]))
    f, both = f[0], above + below
    gradient = (plus - minus) / (2.0 * h)
    second = (plus + minus - 2.0 * f) / h**2
    hessian = np.diag(second)
    mixed = (both - 2.0 * f) / (2.0 * h**2) - 0.5 * (second[rows] + second[cols])
    hessian[rows, cols] = hessian[cols, rows] = mixed
    return float(f), gradient, hessian


def laplace(
    log_post: _LogPosterior, x: FloatArray, factor: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Mode and covariance factor by damped Newton steps with a batched line search."""
    lengths = np.array([1.0, 0.5, 0.2, 0.05, 0.01])
    for _ in range(12):
        f, gradient, hessian = _quadratic_fit(log_post, x, factor)
        values, vectors = np.linalg.eigh(-hessian)
        # Where the posterior is flat or convex the step is limited, not divided by zero.
        values = np.clip(values, 0.05, None)
        step = vectors @ ((vectors.T @ gradient) / values)
        step *= min(1.0, 8.0 / max(float(np.linalg.norm(step)), 1e-12))
        trials = x + lengths[:, None] * (factor @ step)
        heights = log_post(trials)
        factor = factor @ (vectors / np.sqrt(values))
        if np.nanmax(heights) <= f:
            break
        x = trials[int(np.nanargmax(heights))]
        if np.nanmax(heights) < f + 0.01:
            break
    return x, cholesky_factor(factor @ factor.T)


def student_draws(
    center: FloatArray, factor: FloatArray, n: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draws of a multivariate Student t and their log density, up to a constant."""
    d = len(center)
    z = rng.standard_normal((n, d)) / np.sqrt(rng.chisquare(_STUDENT_DF, (n, 1)) / _STUDENT_DF)
    log_q = -0.5 * (_STUDENT_DF + d) * np.log1p((z**2).sum(axis=1) / _STUDENT_DF)
    return center + z @ factor.T, log_q


def _proposal_draws(
    center: FloatArray, factor: FloatArray, prior: GroupPrior, n: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draws of a Student t, a share of them moved along one parameter that the data leave open.

    A log spread that is small may be smaller still: its posterior is that of the prior on one side,
    where a t of the mode's width hardly goes. A moved draw has the prior's distribution in one such
    parameter, and in the others what the t has for them given that one.
    """
    draws, log_q = student_draws(center, factor, n, rng)
    cov = factor @ factor.T
    left_open = np.flatnonzero(np.diag(cov) > (_OPEN * prior.sds) ** 2)
    if not left_open.size:
        return draws, log_q
    slopes = cov / np.diag(cov)[:, None]  # row i: of all parameters on parameter i
    for part, i in enumerate(left_open):
        rows = slice(part, round(_MOVED * n), left_open.size)
        places = prior.means[i] + prior.sds[i] * rng.standard_normal((n, 1))[rows]
        draws[rows] += (places - draws[rows, [i]]) * slopes[i]
    off = draws - center
    parts = [multivariate_t(shape=cov, df=_STUDENT_DF).logpdf(off) + math.log1p(-_MOVED)]
    for i in left_open:
        rest = np.arange(len(cov)) != i
        shape = cov[rest][:, rest] - np.outer(slopes[i, rest], cov[i, rest])
        beside = off[:, rest] - off[:, [i]] * slopes[i, rest]
        part = multivariate_t(shape=shape, df=_STUDENT_DF).logpdf(beside)
        part += math.log(_MOVED / left_open.size)
        parts.append(part + norm.logpdf(draws[:, i], prior.means[i], prior.sds[i]))
    return draws, np.logaddexp.reduce(parts, axis=0)


def importance_sample(
    likelihood: Likelihood, x: FloatArray, factor: FloatArray, n: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, float]:
    """Importance sample (n, d), its normalized weights, and the Pareto k of these.

    The proposal is refitted to its own weighted sample while the weights are too uneven.
    """
    for _ in range(4):
        draws, log_q = _proposal_draws(x, 1.05 * factor, likelihood.prior, n, rng)
        log_w = likelihood.log_posterior(draws) - log_q
        weights = softmax(np.where(np.isfinite(log_w), log_w, -np.inf))
        # Which takes log likelihoods left out: log weights with the other sign.
        k_hat = float(array_stats.psislw(-np.log(np.maximum(weights, 1e-300)))[1])
        if 1.0 / np.sum(weights**2) > 0.35 * n and k_hat < 0.7:
            break
        flat = flattened(weights, 100.0)
        x = flat @ draws
        factor = cholesky_factor(np.cov(draws.T, aweights=flat))
    return draws, weights, k_hat


def systematic(weights: FloatArray, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Systematic resampling: each index about n * weight times, in random order."""
    positions = (np.arange(n) + rng.random()) / n
    index = np.searchsorted(np.cumsum(weights), positions)
    return rng.permutation(np.minimum(index, weights.size - 1))
