"""Exercises of chapter 4, "Composing posteriors"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from eamlab_book.exercises.exercise import Exercise, Mistake
from eamlab_book.toy import ENDS, GaussianToy, bridge, noise_levels, reverse_diffusion

FloatArray = NDArray[np.float64]
Score = Callable[[GaussianToy, FloatArray, float], FloatArray]

_STEPS = 200
_WEAK, _H = 0.01, 0.002


@cache
def _toys() -> dict[int, GaussianToy]:
    """The toys of the chapter."""
    rng = np.random.default_rng(1)
    return {J: GaussianToy(0.8 + rng.standard_normal(J)) for J in (1, 5, 20, 100)}


def _sum_with(prior: Callable[[int, float], float]) -> Score:
    """Sum of the group scores and a multiple of the prior's, -x."""
    return lambda toy, x, t: toy.group_scores(x, t).sum(axis=0) - prior(len(toy.y), t) * x


def _points() -> tuple[tuple[Any, ...], ...]:
    x, other = np.linspace(-1.0, 2.0, 4), GaussianToy(np.array([0.5, -0.3, 1.2]))
    return ((other, x, 0.0), (other, x, 0.4), (_toys()[20], x, 0.7))


def _sampled(toy: GaussianToy, d0: float) -> tuple[float, float]:
    """Mean and sd of `reverse_diffusion` with the damped sum, without drawing.

    All is linear, so both are known after a step from what they were before it.
    """
    times = np.linspace(ENDS[1], ENDS[0], _STEPS + 1)
    mean, variance = 0.0, 1.0
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        alpha, sigma = noise_levels(t)
        noise = np.pi * sigma / alpha * (t - t_next)
        at_0, at_1 = toy.composed_score(np.array([0.0, 1.0]), t) * bridge(t, d0, 1.0)
        factor = 1 + noise * (0.5 + at_1 - at_0)
        mean, variance = factor * mean + noise * at_0, factor**2 * variance + noise
    return float(mean), float(np.sqrt(variance))


@cache
def _right_d0() -> dict[int, float]:
    def root(toy: GaussianToy) -> float:
        sd = toy.posterior()[1]
        return float(brentq(lambda d0: _sampled(toy, d0)[1] / sd - 1, 0.3, 1.5, xtol=1e-4))

    return {J: root(toy) for J, toy in _toys().items()}


def _bridged(d0: float, d1: float) -> Callable[[FloatArray, float], FloatArray]:
    toy = _toys()[5]
    return lambda x, t: bridge(t, d0, d1) * toy.composed_score(x, t)


def _ratio(score: Callable[[FloatArray, float], FloatArray]) -> float:
    draws = reverse_diffusion(score, 2000, seed=1, steps=100)
    return float(draws.std()) / _toys()[5].posterior()[1]


def _clipped(score: Callable[[FloatArray, float], FloatArray]) -> Any:
    def wrapped(x: FloatArray, t: float) -> FloatArray:
        alpha, sigma = noise_levels(t)
        clean = np.clip((x + sigma**2 * score(x, t)) / alpha, -3, 3)
        return (alpha * clean - x) / sigma**2

    return wrapped


def _damped(score: Callable[[FloatArray, float], FloatArray]) -> Any:
    return lambda x, t: bridge(t, 1.0, _WEAK) * score(x, t)


def _clipped_state() -> float:
    damped = _bridged(1.0, _WEAK)
    return _ratio(lambda x, t: damped(np.clip(x, -3, 3), t))


def _langevin(n: int = 50, heat: float = 1.0) -> FloatArray:
    """Quantiles of what Langevin steps leave for J = 100, as good as many draws.

    All is linear, so mean and variance after a step are known from those before it; ``heat`` goes
    with the variance of the noise of a step.
    """
    mean, sd = _toys()[100].posterior()
    center, width = _sampled(_toys()[100], 1.0)
    shrink, variance = 1 - 0.5 * _H / sd**2, width**2
    for _ in range(n):
        variance = shrink**2 * variance + heat * _H
    levels = (np.arange(20_000) + 0.5) / 20_000
    return np.asarray(norm.ppf(levels, mean + shrink**n * (center - mean), variance**0.5))


def _gaussians(prior_terms: Callable[[int], int], *, undo: bool = True) -> Score:
    """Compose Gaussians: undo each one's diffusion, multiply, diffuse the product."""

    def score(toy: GaussianToy, x: FloatArray, t: float) -> FloatArray:
        alpha, sigma = noise_levels(t) if undo else (np.ones(()), np.zeros(()))
        variance = toy.noise_sd**2 / (1 + toy.noise_sd**2)
        means = toy.y / (1 + toy.noise_sd**2)
        precision = len(toy.y) / variance - prior_terms(len(toy.y))
        mean = means.sum() / variance / precision
        return -(x - alpha * mean) / (alpha**2 / precision + sigma**2)

    return score


def _three_into_one_varied(rng: np.random.Generator) -> Exercise:
    means = tuple(rng.integers(1, 8, 3) / 10)
    sds = tuple(rng.choice([0.35, 0.45, 0.55, 0.65, 0.75], 3, replace=False))
    posteriors = ", ".join(f"N({m:g}, {s:g}²)" for m, s in zip(means, sds, strict=True))
    return _three_into_one(
        means,
        sds,
        f"Three groups have the posteriors {posteriors}; the prior is N(0, 1). Which mean and sd "
        'has the composed posterior? Hand in {"mean": ..., "sd": ...}.',
    )


def _three_into_one(means: Sequence[float], sds: Sequence[float], text: str = "") -> Exercise:
    def composed(prior_terms: int, power: int = 2) -> dict[str, float]:
        precisions = 1 / np.array(sds) ** power
        total = precisions.sum() - prior_terms
        return {"mean": float(precisions @ means / total), "sd": float(total**-0.5)}

    return Exercise(
        "4.1",
        "Three posteriors into one",
        "check your understanding",
        "named",
        lambda: composed(2),
        {
            "Each of the three has used the prior once. Take it off twice: (1 − G) times its "
            "precision.": lambda: composed(0),
            "You took the prior off three times; once it has to stay.": lambda: composed(3),
            "Your sd is a variance.": lambda: composed(2) | {"sd": composed(2)["sd"] ** 2},
            "A precision is one over the variance; you took one over the sd.": lambda: composed(
                2, power=1
            ),
        },
        "Precisions add up, less the prior's where it was counted too often.",
        rtol=0.005,
        vary=_three_into_one_varied,
        text=text,
    )


EXERCISES = (
    _three_into_one((0.4, 0.1, 0.3), (0.5, 0.4, 0.6)),
    Exercise(
        "4.2",
        "The summed score",
        "code it",
        "function",
        lambda: lambda toy, x, t: toy.composed_score(x, t),
        {
            "The prior's term is missing: (1 − J) times its score, which is −x.": lambda: _sum_with(
                lambda J, t: 0.0
            ),
            "You take the prior off J times; J − 1 times is right.": lambda: _sum_with(
                lambda J, t: -float(J)
            ),
            "The prior's term has the wrong sign: it is taken off, not added.": lambda: _sum_with(
                lambda J, t: J - 1.0
            ),
            "This is the weighting of the literature, with 1 − t on the prior. The diffused prior "
            "keeps its full score at all times.": lambda: _sum_with(lambda J, t: (1 - J) * (1 - t)),
        },
        "That is the whole of composing: exact at t = 0, too steep on the way.",
        inputs=_points,
        call="f(toy, x, t)",
        rtol=1e-4,
        atol=1e-6,
    ),
    Exercise(
        "4.3",
        "The right d0",
        "explore",
        "named",
        _right_d0,
        {
            "One half is right for many groups only. A single score is right as it is.": lambda: (
                dict.fromkeys(_toys(), 0.5)
            ),
            "These are the ratios of the sds. The sd grows with "
            "one over the *root* of d0.": lambda: {J: d0**0.5 for J, d0 in _right_d0().items()},
            "These are larger than 1, so they sharpen. The draws were too narrow: d0 has to be "
            "below 1.": Mistake(
                lambda: {J: 1 / d0 for J, d0 in _right_d0().items()},
                where={100: (1.1, np.inf)},
            ),
        },
        "It falls from 1 toward 1/2 as J grows: d0 cannot be set once and for all.",
        rtol=0.0,
        atol=0.07,
    ),
    Exercise(
        "4.4",
        "Clip the denoised parameter",
        "explore",
        "number",
        lambda: _ratio(_clipped(_bridged(1.0, _WEAK))),
        {
            "You damped the wrong end of the bridge: d1 acts "
            "at the noise end, d0 at the data end.": lambda: _ratio(_clipped(_bridged(_WEAK, 1.0))),
            "This is the sampler without clipping. "
            "Is the wrapped score the one you sample with?": lambda: _ratio(_bridged(1.0, _WEAK)),
            "You damp the clipped score. Damp first: wrap the score that has its bridge.": lambda: (
                _ratio(_damped(_clipped(_toys()[5].composed_score)))
            ),
            "You clipped x. Clip the guess of the clean "
            "parameter, then turn it back into a score.": _clipped_state,
        },
        "Nothing explodes any more, and the posterior is still several times too wide.",
        rtol=0.1,
    ),
    Exercise(
        "4.5",
        "Langevin at the end",
        "code it",
        "sample",
        _langevin,
        {
            "Still too narrow by 1/√2: these are the draws before the Langevin steps, or your "
            "steps take the whole score instead "
            "of half of it.": lambda: reverse_diffusion(_toys()[100].composed_score, 4000, seed=1),
            "Better, and not there yet: with only a few steps some of the narrowness is left. Take "
            "all 50.": lambda: _langevin(5),
            "Too wide by √2: with half the score belongs a noise of variance h, not 2 h.": lambda: (
                _langevin(heat=2.0)
            ),
            "Far too narrow: the noise of a step has the variance h; "
            "multiply by its root.": Mistake(
                lambda: _langevin(heat=_H),
                matches=lambda given: bool(given.std() < 0.3 * _toys()[100].posterior()[1]),
            ),
        },
        "Diffusion brings the draws near, and Langevin, made for a score that stands still, "
        "corrects the width.",
        fewest=4000,
    ),
    Exercise(
        "4.6",
        "Compose Gaussians instead of scores",
        "code it",
        "function",
        lambda: _gaussians(lambda J: J - 1),
        {
            "This is the summed score. Compose the clean Gaussians first, and diffuse their "
            "product.": lambda: lambda toy, x, t: toy.composed_score(x, t),
            "The prior is in the product J times; "
            "take its precision, 1, off J − 1 times.": lambda: _gaussians(lambda J: 0),
            "This is the score of the clean product: diffuse it to time t again.": lambda: (
                _gaussians(lambda J: J - 1, undo=False)
            ),
        },
        "Exactly the diffused posterior: for Gaussians, composing this way has no gap.",
        inputs=_points,
        call="f(toy, x, t)",
        rtol=1e-4,
        atol=1e-6,
    ),
)
