"""Exercises of chapter 11, "Your own model"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eamlab_book.exercises.exercise import Exercise, Mistake

FloatArray = NDArray[np.float64]

_M, _LOG_S, _T0 = -0.7, -0.7, 0.3
_LEAST = 0.8
"""The smallest of seven right 90 % intervals covers more in 99 of 100 sets of 100 studies."""


def _times(s: float = float(np.exp(_LOG_S)), t0: float = _T0) -> FloatArray:
    return t0 + np.exp(_M + s * np.random.default_rng(11).standard_normal(2000))


def _small_school_varied(rng: np.random.Generator) -> Exercise:
    pupils, mean = int(rng.integers(6, 10)), 5 * int(rng.integers(105, 113))
    tau, sigma = int(rng.integers(11, 19)), int(rng.integers(56, 75))
    return _small_school(
        pupils,
        mean,
        tau,
        sigma,
        f"{pupils} pupils of a school have a mean of {mean}. With μ = 500, τ = {tau} and σ = "
        f"{sigma} known: which mean and sd has the posterior of θ? "
        'Hand in {"mean": ..., "sd": ...}.',
    )


def _small_school(
    pupils: int, school_mean: float, tau: float, sigma: float, text: str = ""
) -> Exercise:
    def posterior(of_pupils: float, of_schools: float) -> dict[str, float]:
        precision = of_pupils + of_schools
        mean = (school_mean * of_pupils + 500 * of_schools) / precision
        return {"mean": mean, "sd": precision**-0.5}

    return Exercise(
        "11.2",
        "One small school",
        "check your understanding",
        "named",
        lambda: posterior(pupils / sigma**2, tau**-2),
        {
            "This is what the pupils say by themselves. What do the other schools say?": lambda: (
                posterior(pupils / sigma**2, 0.0)
            ),
            f"You gave the {pupils} pupils the weight of one: their mean varies less.": lambda: (
                posterior(sigma**-2, tau**-2)
            ),
            "The weights are precisions, one over the variance, not over the sd.": lambda: (
                posterior(pupils**0.5 / sigma, 1 / tau)
            ),
        },
        f"Less than half of the way from all schools to this one: {pupils} pupils are few.",
        rtol=0.003,
        vary=_small_school_varied,
        text=text,
    )


def _certificate_varied(rng: np.random.Generator) -> Exercise:
    mean, sd = -int(rng.integers(45, 80)) / 100, int(rng.integers(13, 20)) / 100
    bias, ratio = int(rng.integers(10, 24)) / 20, int(rng.integers(60, 86)) / 100
    return _certificate(
        mean,
        sd,
        bias,
        ratio,
        f"log_kappa was composed with mean {mean:.2f} and sd {sd:.2f}. Its certificate says bias "
        f"{bias:.2f} (standard error 0.20) and sd_ratio {ratio:.2f}. Which mean and sd do you "
        'report? Hand in {"mean": ..., "sd": ...}.',
    )


def _certificate(mean: float, sd: float, bias: float, ratio: float, text: str = "") -> Exercise:
    def corrected(shift: float) -> dict[str, float]:
        return {"mean": mean - shift, "sd": sd / ratio}

    return Exercise(
        "11.4",
        "Read a certificate",
        "check your understanding",
        "named",
        lambda: corrected(bias * sd),
        {
            "The bias is what the composed mean has too much: subtract it.": lambda: corrected(
                -bias * sd
            ),
            "The bias counts in composed sds; multiply first.": lambda: corrected(bias),
            "The ratio is composed over right: a ratio below one is too narrow.": lambda: (
                corrected(bias * sd) | {"sd": sd * ratio}
            ),
        },
        "correct=True is more careful: it shifts a little less, and stretches only where chance "
        "cannot explain the width.",
        rtol=0.005,
        vary=_certificate_varied,
        text=text,
    )


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
    _small_school(5, 540, 20, 55),
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
    _certificate(-0.40, 0.12, 0.80, 0.75),
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
