"""Exercises of chapter 9, "Your own data"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from eamlab.model.density import choice_probability, defective_cdf
from eamlab.model.eam import EAM, beta_from_raw
from eamlab_book.exercises.exercise import Exercise, Mistake
from eamlab_book.studies import exact_of

FloatArray = NDArray[np.float64]

_PRIOR = EAM.prior
_NAN = float("nan")
_TABLE = {
    "subj_idx": ["A"] * 5 + ["B"] * 5,
    "rt": [512, 0, 634, _NAN, 480, 701, 655, 530, 5210, 590],
    "response": [1, 1, -1, 1, _NAN, -1, 1, 1, 1, -1],
}
_RANGE = (0.15, 3.0)
_PERSON = {"nu": 0.8, "alpha": 1.2, "t0": 0.3, "beta": 0.65}
_DEADLINE = 0.8
_PEOPLE = 100


def _usable(rt_range: tuple[float, float] | None = _RANGE) -> dict[str, int]:
    from eamlab.reading import read_trials

    study = read_trials(pd.DataFrame(_TABLE), unit="ms", rt_range=rt_range)
    return {str(k): int(n) for k, n in study.table["trials"].items()}


def _unsigned(
    scale: float = 1e-3, *, upper: float = 1.0, lower: float = 0.0, keep_sign: bool = False
) -> Callable[[float], tuple[float, float]]:
    def convert(rt: float) -> tuple[float, float]:
        choice = upper if rt > 0 else lower
        return choice, scale * (rt if keep_sign else abs(rt))

    return convert


def _in_time() -> tuple[float, float]:
    """Shares of lower and upper responses before the deadline."""
    lower, upper = (float(defective_cdf(_DEADLINE, c, **_PERSON)) for c in (0, 1))
    return lower, upper


def _deadline() -> dict[str, float]:
    lower, upper = _in_time()
    return {"lost": 1 - lower - upper, "upper": upper / (lower + upper)}


def _unconditional() -> float:
    return float(choice_probability(_PERSON["nu"], _PERSON["alpha"], _PERSON["beta"]))


def _means() -> FloatArray:
    return _PRIOR.to_array(exact_of(_PEOPLE).mean)


def _mirrored() -> FloatArray:
    """Posterior means when the two responses are taken for each other: the model is symmetric."""
    signs = [-1.0 if k in ("mu_nu", "beta_raw") else 1.0 for k in _PRIOR.names]
    return _means() * np.array(signs)


def _readers_units_varied(rng: np.random.Generator) -> Exercise:
    raw, mean = -int(rng.integers(6, 15)) / 10, int(rng.integers(5, 40)) / 100
    sd = int(rng.integers(11, 30)) / 100
    return _readers_units(
        raw,
        mean,
        sd,
        f"A posterior has a mean of beta_raw of {raw:g}, and mu_log_alpha is Gaussian with mean "
        f"{mean:g} and sd {sd:g}. Which beta is the first, and what is the 95 % interval of the "
        "median boundary separation, exp(mu_log_alpha)? "
        'Hand in {"beta": ..., "low": ..., "high": ...}.',
    )


def _readers_units(raw: float, mean: float, sd: float, text: str = "") -> Exercise:
    beta, center, reach = float(beta_from_raw(raw)), float(np.exp(mean)), norm.ppf(0.975) * sd

    def reported(low: float, high: float) -> dict[str, float]:
        return {"beta": beta, "low": float(low), "high": float(high)}

    def right(reach: float = reach) -> dict[str, float]:
        return reported(*np.exp([mean - reach, mean + reach]))

    return Exercise(
        "9.4",
        "In the reader's units",
        "check your understanding",
        "named",
        right,
        {
            "beta needs both maps: the normal distribution function, then the quantile function of "
            "Beta(50, 50).": lambda: right() | {"beta": float(norm.cdf(raw))},
            "The interval is on the log scale still. Take the exponential of both ends.": lambda: (
                reported(mean - reach, mean + reach)
            ),
            "One sd to both sides is a 68 % interval; 95 % takes 1.96.": lambda: right(sd),
            "You took the exponential of the mean, and its sd by a slope: that interval is "
            "symmetric, and this one is not. Take the exponential of both ends.": lambda: reported(
                center * (1 - reach), center * (1 + reach)
            ),
        },
        "Transform the ends of an interval, or every draw; never the sd.",
        rtol=0.005,
        vary=_readers_units_varied,
        text=text,
    )


EXERCISES = (
    Exercise(
        "9.1",
        "What is left of ten rows",
        "code it",
        "named",
        _usable,
        {
            "You kept a response of five seconds: give the range of times, in seconds.": lambda: (
                _usable(None)
            ),
            "These are all rows. Some have no time, no response, or a time of zero.": lambda: {
                "A": 5,
                "B": 5,
            },
            "These are the rows that were dropped.": lambda: {
                k: 5 - n for k, n in _usable().items()
            },
        },
        "And study.report says why the others are gone: put that into your paper.",
        rtol=0.0,
        atol=1e-6,
    ),
    Exercise(
        "9.2",
        "Signed times",
        "code it",
        "function",
        lambda: _unsigned(),
        {
            "These times are milliseconds still.": lambda: _unsigned(1.0),
            "A time keeps its minus sign. "
            "The sign said which bound, and has done its work.": lambda: _unsigned(keep_sign=True),
            "The choices are the wrong way round: a minus means the lower bound, 0.": lambda: (
                _unsigned(upper=0.0, lower=1.0)
            ),
            "The choice keeps its minus sign, as HSSM codes it. "
            "Here the lower bound is 0.": lambda: _unsigned(lower=-1.0),
            "Choice first, then the time.": lambda: lambda rt: _unsigned()(rt)[::-1],
        },
        "Now read_trials takes the table without a question.",
        inputs=lambda: ((640.0,), (-512.0,), (-1033.0,)),
        call="f(rt)",
        names=("choice", "rt"),
        rtol=1e-6,
    ),
    Exercise(
        "9.3",
        "A deadline",
        "explore",
        "named",
        _deadline,
        {
            "The share of upper choices is that of all trials. Those in time are another "
            "selection.": lambda: _deadline() | {"upper": _unconditional()},
            "The share of upper choices counts the lost trials in its denominator.": lambda: (
                _deadline() | {"upper": _in_time()[1]}
            ),
            "This is the share that came in time; asked is for the share that is lost.": lambda: (
                _deadline() | {"lost": 1 - _deadline()["lost"]}
            ),
        },
        "More of the lower than of the upper choices are gone: missing, but not at random.",
        rtol=0.0,
        atol=0.0125,  # by 10,000 simulated trials, too
    ),
    _readers_units(-0.5, 0.03, 0.2),
    Exercise(
        "9.5",
        "There and back",
        "project",
        "named",
        lambda: dict(zip(_PRIOR.names, _means(), strict=True)),
        {
            "Upper and lower are swapped: the drift and the start have the wrong sign. Check "
            "the coding.": Mistake(
                lambda: dict(zip(_PRIOR.names, _mirrored(), strict=True)),
                where={"mu_nu": (-np.inf, 0.0)},  # the network is lost there, too
            ),
            "These are z-scores; hand in the parameters in their own units.": Mistake(
                lambda: dict(zip(_PRIOR.names, _PRIOR.standardize(_means()), strict=True)),
                where={"mu_log_t0": (-0.9, -0.2), "log_sigma_log_alpha": (-0.5, 1.5)},
            ),
            "These are standard deviations; asked is for the means.": Mistake(
                lambda: exact_of(_PEOPLE).sd,
                where={"mu_log_t0": (0.0, np.inf), "log_sigma_log_alpha": (0.0, np.inf)},
            ),
        },
        "Within one exact sd for every parameter: nothing was lost on the way.",
        rtol=0.0,
        atol=lambda: _PRIOR.to_array(exact_of(_PEOPLE).sd),
    ),
)
