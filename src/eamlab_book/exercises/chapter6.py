"""Exercises of chapter 6, "Fewer, larger groups; the Jacobian method"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eamlab_book.exercises.exercise import Exercise, Mistake
from eamlab_book.report_card import RECIPES
from eamlab_book.toy import bridge, noise_levels

_GROUPS, _VARIANCE = 100, 0.3
_SUBJECTS = 1501
_COPIES, _ONE = 10, 0.2


def _steepness(t: float, prior_terms: int = _GROUPS - 1) -> tuple[float, float]:
    """Steepness of the summed score (with so many priors taken off), and of the true one."""
    alpha, sigma = noise_levels(t)
    summed = _GROUPS / (alpha**2 * _VARIANCE + sigma**2) - prior_terms
    composed = 1 / (_GROUPS / _VARIANCE - (_GROUPS - 1))
    return float(summed), float(1 / (alpha**2 * composed + sigma**2))


def _needed(prior_terms: int = _GROUPS - 1) -> Callable[[float], float]:
    def damping(t: float) -> float:
        summed, true = _steepness(t, prior_terms)
        return true / summed

    return damping


def _clean_variance(
    scale: Callable[[float, float], float], power: int = 2, sign: float = 1.0
) -> Callable[[float, float, float], float]:
    return lambda slope, alpha, sigma: scale(alpha, sigma) * (1 + sign * sigma**power * slope)


def _sizes(n_groups: int | None = None) -> dict[str, int]:
    n = n_groups or RECIPES["recommended"].n_groups(_SUBJECTS)
    sizes = [len(part) for part in np.array_split(np.arange(_SUBJECTS), n)]
    return {"groups": n, "least": min(sizes), "largest": max(sizes)}


def _whole() -> dict[str, int]:
    """Full groups, and one of those who are left."""
    n, largest = RECIPES["recommended"].n_groups(_SUBJECTS), 200
    return {"groups": n, "least": _SUBJECTS - (n - 1) * largest, "largest": largest}


def _narrower(prior_terms: int = _COPIES - 1) -> float:
    return float(np.sqrt((_COPIES / _ONE - prior_terms) * _ONE))


EXERCISES = (
    Exercise(
        "6.1",
        "The bridge that would be needed",
        "code it",
        "function",
        lambda: _needed(),
        {
            "Upside down: this says how much too steep the sum is. "
            "Damping divides by it.": lambda: lambda t: 1 / _needed()(t),
            "The sum is steeper than that of the text: "
            "take the prior's score off, G − 1 times.": lambda: _needed(prior_terms=0),
            "This is the bridge; what is needed is the "
            "true steepness over the summed one.": lambda: lambda t: float(bridge(t, 1.0, 0.01)),
        },
        "Strongest in the middle, none at both ends: a bridge that is monotone in t can match one "
        "flank only.",
        inputs=lambda: ((0.1,), (0.5,), (0.9,)),
        call="f(t)",
        rtol=1e-3,
    ),
    Exercise(
        "6.2",
        "What a slope knows",
        "code it",
        "function",
        lambda: _clean_variance(lambda alpha, sigma: (sigma / alpha) ** 2),
        {
            "Divide by the square of alpha: the clean parameter "
            "was shrunk before noise came.": lambda: _clean_variance(lambda alpha, sigma: sigma**2),
            "The sign: the slope of a score is negative, and what is known makes the variance "
            "smaller.": lambda: _clean_variance(
                lambda alpha, sigma: (sigma / alpha) ** 2, sign=-1.0
            ),
            "The noise level enters squared: a variance, not a standard deviation.": lambda: (
                _clean_variance(lambda alpha, sigma: sigma / alpha, power=1)
            ),
        },
        "One over this is the precision that adds up over groups.",
        inputs=lambda: ((-1.2, 0.8, 0.6), (-1.0, 0.6, 0.8), (-3.0, 0.95, 0.3)),
        call="f(slope, alpha, sigma)",
        rtol=1e-3,
    ),
    Exercise(
        "6.3",
        "Who goes with whom?",
        "check your understanding",
        "named",
        _sizes,
        {
            "Seven groups would have more than 200 subjects each. Round up.": lambda: _sizes(
                _SUBJECTS // 200
            ),
            "The number is right, but a small rest would be the worst of the terms: make them "
            "nearly equal.": _whole,
            "Fewer terms are better: take as few groups as 200 allows.": Mistake(
                lambda: {"groups": _SUBJECTS / 5, "least": 5, "largest": 5},
                where={"groups": (8.5, np.inf)},
            ),
        },
        "The fewest groups, nearly equal: that is auto_group_sizes.",
        rtol=0.0,
        atol=1e-6,
    ),
    Exercise(
        "6.4",
        "The same group ten times",
        "check your understanding",
        "number",
        _narrower,
        {
            "The prior is in each of the ten. Take it off nine times.": lambda: _narrower(
                prior_terms=0
            ),
            "This is a ratio of variances; take the root.": lambda: _narrower() ** 2,
            "Ten times the data narrows by the root of ten at most, not by ten.": lambda: float(
                _COPIES
            ),
        },
        "The composition trusts that groups are independent, and cannot notice that they are one.",
        rtol=0.005,
    ),
    Exercise(
        "6.5",
        "Steps that each way needs",
        "explore",
        "choice",
        lambda: "Gaussian",
        {
            "With few steps it explodes, and with many it settles at another width.": lambda: (
                "summed"
            ),
            "It comes to the right width, but takes many "
            "times the steps, each of them costlier.": lambda: "Jacobian",
        },
        "Ten groups of 100 are nearly Gaussian, and for Gaussians any number of steps is exact.",
        options=("summed", "Jacobian", "Gaussian"),
    ),
    Exercise(
        "6.6",
        "Other groups",
        "explore",
        "choice",
        lambda: "b",
        {
            "What changes from one split to the next averages out over splits. The network's own "
            "error does not.": lambda: "a",
            "The exact posterior does not know of groups: "
            "its mean is the same for every split.": lambda: "c",
        },
        "You could average the changing part out; the shared one asks for better training.",
        options=("a", "b", "c"),
    ),
)
