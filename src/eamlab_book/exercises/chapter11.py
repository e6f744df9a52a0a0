"""Exercises of chapter 11, "Your own model"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eamlab_book.exercises.exercise import Exercise, Mistake

__all__ = ["EXERCISES"]

FloatArray = NDArray[np.float64]

_M, _LOG_S, _T0 = -0.7, -0.7, 0.3
_PUPILS, _SCHOOL_MEAN, _MU, _TAU, _SIGMA = 5, 540.0, 500.0, 20.0, 55.0
_COMPOSED_MEAN, _COMPOSED_SD, _BIAS, _SD_RATIO = -0.40, 0.12, 0.80, 0.75
_LEAST = 0.8
"""The smallest of seven right 90 % intervals covers more in 99 of 100 sets of 100 studies."""


def _times(s: float = float(np.exp(_LOG_S)), t0: float = _T0) -> FloatArray:
    return t0 + np.exp(_M + s * np.random.default_rng(11).standard_normal(2000))


def _posterior(pupils: float = _PUPILS / _SIGMA**2, schools: float = _TAU**-2) -> dict[str, float]:
    precision = pupils + schools
    mean = (_SCHOOL_MEAN * pupils + _MU * schools) / precision
    return {"mean": mean, "sd": precision**-0.5}


def _corrected(shift: float = _BIAS * _COMPOSED_SD) -> dict[str, float]:
    return {"mean": _COMPOSED_MEAN - shift, "sd": _COMPOSED_SD / _SD_RATIO}


EXERCISES = (
    Exercise(
        "11.1",
        "Late times",
        "code it",
        "sample",
        _times,
        {
            "These are times without the shift: add t0.": lambda: _times(t0=0.0),
            "log_s is the logarithm of s: take its exponential before you multiply.": lambda: (
                _times(s=_LOG_S)
            ),
            "Some of these times are negative: it is the logarithm that is normal.": Mistake(
                lambda: _T0 + np.log(_times() - _T0),
                matches=lambda given: bool((given < 0).any()),
            ),
        },
        "A model of your own in five lines; with a prior and people it can be trained.",
    ),
    Exercise(
        "11.2",
        "One small school",
        "check your understanding",
        "named",
        _posterior,
        {
            "This is what the pupils say by themselves. What do the other schools say?": lambda: (
                _posterior(schools=0.0)
            ),
            "You gave the five pupils the weight of one: their mean varies less.": lambda: (
                _posterior(pupils=_SIGMA**-2)
            ),
            "The weights are precisions, one over the variance, not over the sd.": lambda: (
                _posterior(_PUPILS**0.5 / _SIGMA, 1 / _TAU)
            ),
        },
        "Less than half of the way from all schools to this one: five pupils are few.",
        rtol=0.003,
    ),
    Exercise(
        "11.3",
        "Where the frame ends",
        "check your understanding",
        "choice",
        lambda: "b",
        {
            "A rate that all people share is a group parameter nobody names.": lambda: "a",
            "One more parameter of a person, positive; "
            "its mean and log sd go to the prior.": lambda: "c",
            "A trial may have as many columns as you like.": lambda: "d",
        },
        "A person's trials are a set here: what depends on their order cannot be told from it.",
        options=("a", "b", "c", "d"),
    ),
    Exercise(
        "11.4",
        "Read a certificate",
        "check your understanding",
        "named",
        _corrected,
        {
            "The bias is what the composed mean has too much: subtract it.": lambda: _corrected(
                -_BIAS * _COMPOSED_SD
            ),
            "The bias counts in composed sds; multiply first.": lambda: _corrected(_BIAS),
            "The ratio is composed over right: a ratio below one is too narrow.": lambda: (
                _corrected() | {"sd": _COMPOSED_SD * _SD_RATIO}
            ),
        },
        "correct=True is more careful: it shifts a little less, and stretches only where chance "
        "cannot explain the width.",
        rtol=0.005,
    ),
    Exercise(
        "11.5",
        "Your field's model",
        "project",
        "named",
        lambda: {"coverage": 0.5 * (_LEAST + 1.0)},
        {
            "Hand in a share, not percent.": Mistake(
                lambda: {"coverage": 87.0},
                where={"coverage": (1.001, 100.0)},
            ),
            "Too few of the truths are inside for chance alone. Train longer, or find out "
            "which parameter and which group size it is.": Mistake(
                lambda: {"coverage": 0.6},
                where={"coverage": (0.0, _LEAST - 1e-9)},
            ),
        },
        "As 90 % intervals of 100 studies should be. A person gives the points.",
        rtol=0.0,
        atol=0.5 * (1.0 - _LEAST) + 1e-9,
    ),
)
