"""Exercises of chapter 1, "One decision"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import kstest

from eamlab.model.density import choice_probability, defective_cdf
from eamlab.model.simulator import BOUNDARY_SHIFT, simulate_trials
from eamlab_book.exercises.exercise import Exercise, Mistake

BASE: dict[str, Any] = {"nu": 1.0, "alpha": 1.2, "t0": 0.3, "beta": 0.5}
_NOISE = 0.1
_ABLE, _HASTY, _MEAN = 3.0, 0.5, 0.6
_WIDER = 0.01
_TRIALS = (500, 2_000, 10_000, 50_000)


def _units_varied(rng: np.random.Generator) -> Exercise:
    nu, alpha = int(rng.integers(27, 50)) / 100, int(rng.integers(14, 20)) / 100
    return _units(
        nu,
        alpha,
        f"An article reports a drift rate of {nu:g} and a boundary separation of {alpha:g} "
        'where the noise is 0.1. What are they in ours? Hand in {"nu": ..., "alpha": ...}.',
    )


def _units(nu: float, alpha: float, text: str = "") -> Exercise:
    def rescaled(power: float) -> dict[str, float]:
        return {"nu": nu / _NOISE**power, "alpha": alpha / _NOISE**power}

    return Exercise(
        "1.1",
        "Other units",
        "check your understanding",
        "named",
        lambda: rescaled(1.0),
        {
            "You multiplied. With noise of 1 instead of 0.1 everything else grows, too.": lambda: (
                rescaled(-1.0)
            ),
            "You divided by the variance of the noise; drift and bounds are in units of its "
            "standard deviation.": lambda: rescaled(2.0),
            "These are still the numbers of the article, in units of its noise.": lambda: rescaled(
                0.0
            ),
        },
        "Dividing the noise, the drift and the bounds by 0.1 together changes no choice and no "
        "time.",
        vary=_units_varied,
        text=text,
    )


def _formula(nu: float, alpha: float, t0: float, beta: float) -> float:
    return t0 + alpha * (float(choice_probability(nu, alpha, beta)) - beta) / nu


def _mean_rt(nu: float, alpha: float, t0: float, beta: float) -> float:
    return _formula(nu, alpha, t0, beta) if nu else t0 + alpha**2 * beta * (1 - beta)


def _at_zero(limit: Callable[[float, float, float], float]) -> Callable[..., float]:
    """The formula of the text with another value at a drift of zero."""
    return lambda nu, alpha, t0, beta: (
        limit(alpha, t0, beta) if nu == 0 else _mean_rt(nu, alpha, t0, beta)
    )


def _mean_rt_inputs() -> tuple[tuple[Any, ...], ...]:
    # NumPy numbers: a division by zero gives NaN, which has a message, and no exception
    rows = [[1.0, 1.2, 0.3, 0.5], [0.0, 1.2, 0.3, 0.5], [0.0, 1.0, 0.2, 0.4], [-0.7, 1.5, 0.2, 0.6]]
    return tuple(tuple(row) for row in np.array(rows))


def _signed(**changes: float) -> NDArray:
    """Response times, those of the lower bound with a minus, (100_000,)."""
    settings: dict[str, Any] = BASE | changes | {"scheme": "euler-maruyama"}
    choice, rt = simulate_trials(**settings, n_trials=100_000, seed=11)[0].astype(float).T
    return np.where(choice == 1, rt, -rt)


def _boundary(nu: float, mean: float) -> float:
    return float(brentq(lambda alpha: _mean_rt(nu, alpha, BASE["t0"], 0.5) - mean, 0.1, 9.0))


def _two_people(mean: float = _MEAN) -> dict[str, float]:
    pairs = {"able": _ABLE, "hasty": _HASTY}
    return {k: float(choice_probability(nu, _boundary(nu, mean), 0.5)) for k, nu in pairs.items()}


def _step(bounds: float = 2.0) -> float:
    return (_WIDER * BASE["alpha"] / (bounds * BOUNDARY_SHIFT)) ** 2


def _first_noticed() -> str:
    def cdf(x: NDArray) -> NDArray:
        return np.asarray(defective_cdf(x, 0, **BASE) + defective_cdf(x, 1, **BASE))

    for n in _TRIALS:
        rt = simulate_trials(**BASE, n_trials=n, seed=8, scheme="euler-maruyama")[0][:, 1]
        if kstest(rt, cdf).pvalue < 0.001:
            return str(n)
    return "none"


EXERCISES = (
    _units(0.25, 0.12),
    Exercise(
        "1.2",
        "No drift at all",
        "code it",
        "function",
        lambda: _mean_rt,
        {
            "For a drift of zero your function divides 0 by 0. Find the limit and treat it as "
            "a case of its own.": Mistake(
                lambda: _formula,
                matches=lambda given: bool(np.isnan(given).any()),
            ),
            "This is the mean decision time: the non-decision time is missing.": lambda: (
                lambda nu, alpha, t0, beta: _mean_rt(nu, alpha, 0.0, beta)
            ),
            "Right for a start in the middle only: at a drift of zero the mean depends on beta as "
            "well.": lambda: _at_zero(lambda alpha, t0, beta: t0 + alpha**2 / 4),
            "A walker without drift does not stop at once: "
            "at a drift of zero you return t0 alone.": lambda: _at_zero(lambda alpha, t0, beta: t0),
        },
        "Without drift the mean decision time is α²β(1 − β), longest from the middle.",
        inputs=_mean_rt_inputs,
        call="f(nu, alpha, t0, beta)",
        rtol=1e-3,
    ),
    Exercise(
        "1.3",
        "One walk",
        "code it",
        "sample",
        _signed,
        {
            "These are choices. Hand in the response times.": Mistake(
                lambda: np.repeat([0.0, 1.0], 2500),
                matches=lambda given: set(np.unique(given)) <= {0.0, 1.0},
            ),
            "No time has a minus: give one to those of the lower bound.": Mistake(
                lambda: np.abs(_signed()),
                matches=lambda given: bool((given > 0).all() and given.std() > 0.1),
            ),
            "They end after a step or two: the drift is evidence per *second*, so a step adds "
            "nu * dt.": Mistake(
                lambda: np.repeat([0.301, 0.302], 2500),
                matches=lambda given: bool(np.abs(given).max() < BASE["t0"] + 0.02),
            ),
            "All times are nearly alike: the noise of a step has the *variance* dt, so "
            "multiply z by its root.": Mistake(
                lambda: np.random.default_rng(0).normal(0.9, 0.025, 5000),
                matches=lambda given: bool(np.abs(given).std() < 0.1 * np.abs(given).mean()),
            ),
            "These are decision times: add the non-decision time t0.": lambda: _signed(t0=1e-9),
            "These are milliseconds; the book counts in seconds.": lambda: 1000 * _signed(),
            "The drift is missing: both bounds are reached equally often.": lambda: _signed(nu=0.0),
            "The walk starts at the lower bound: begin at beta * alpha.": lambda: _signed(
                beta=1e-6
            ),
            "The walk starts at beta; begin at beta * alpha.": lambda: _signed(
                beta=BASE["beta"] / BASE["alpha"]
            ),
        },
        "Your walker and the library's make the same choices and times.",
        fewest=5000,
    ),
    Exercise(
        "1.4",
        "Two people, one mean",
        "explore",
        "named",
        _two_people,
        {
            "These are the boundary separations; go on to the probabilities of the upper "
            "choice.": lambda: {"able": _boundary(_ABLE, _MEAN), "hasty": _boundary(_HASTY, _MEAN)},
            "You gave them 0.6 s to decide. The non-decision time is part of the 0.6 s.": lambda: (
                _two_people(_MEAN + BASE["t0"])
            ),
            "These are the probabilities of the lower bound.": lambda: {
                k: 1 - p for k, p in _two_people().items()
            },
        },
        "Equally fast, and one of them is right far more often: mean times alone say little.",
        rtol=0.005,
    ),
    Exercise(
        "1.5",
        "A step that is small enough",
        "check your understanding",
        "number",
        _step,
        {
            "Both bounds move out, so alpha grows by two shifts.": lambda: _step(1.0),
            "This is the root of the step: "
            "the shift goes with √dt, so square at the end.": lambda: _step() ** 0.5,
            "This is in milliseconds; dt is in seconds.": lambda: 1000 * _step(),
        },
        "About a tenth of a millisecond: ten times as many steps as usual, for one percent.",
    ),
    Exercise(
        "1.6",
        "How many trials notice it?",
        "explore",
        "choice",
        _first_noticed,
        {
            "Too few: the error of the mean is a fraction of its standard error there. Look at the "
            "p-value of the stepped scheme.": lambda: str(_TRIALS[0]),
            "Not quite: with this seed its p-value is still unsuspicious.": lambda: str(_TRIALS[1]),
            "It is found out earlier than that.": lambda: str(_TRIALS[3]),
        },
        "Some hundred subjects of 30 trials: nothing you would see in one person, and far less "
        "than the studies of this book.",
        options=tuple(str(n) for n in _TRIALS),
    ),
)
