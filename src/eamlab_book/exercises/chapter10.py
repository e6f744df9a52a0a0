"""Exercises of chapter 10, "Two conditions"."""

from __future__ import annotations

import numpy as np
import pandas as pd

from eamlab.model.conditions import in_condition
from eamlab_book.exercises.exercise import Exercise

_NAN = float("nan")
_PERSON = {"nu": 1.2, "nu_change": -0.6, "alpha": 1.8, "log_alpha_change": 0.2, "t0": 0.3}
_TABLE = {
    "participant_id": [1] * 6 + [2] * 6,
    "rt": [0.61, 0.43, 0.55, _NAN, 0.72, 0.39, 0.81, 0.44, 0.52, 0.41, 0.0, 0.38],
    "response": [1, 0, 1, 1, 1, 1, 1, 0, _NAN, 1, 1, 0],
    "cue": ["accuracy", "speed", "neutral"] * 2 + ["accuracy", "speed"] * 2 + ["accuracy", None],
}
_TAU, _NOISY, _NOISE, _CHANGES, _PEOPLE = 0.5, 0.7, 0.3, 0.2, 20


def _both(code: float = 0.5) -> dict[str, float]:
    low, high = in_condition(_PERSON, -code), in_condition(_PERSON, code)
    return {
        f"{name}_{label}": float(here[name])
        for name in ("nu", "alpha")
        for label, here in (("low", low), ("high", high))
    }


def _added() -> dict[str, float]:
    half = _PERSON["log_alpha_change"] / 2
    return _both() | {
        "alpha_low": _PERSON["alpha"] - half,
        "alpha_high": _PERSON["alpha"] + half,
    }


def _left() -> dict[str, int]:
    from eamlab.reading import read_trials

    study = read_trials(pd.DataFrame(_TABLE), conditions={"cue": ("accuracy", "speed")})
    return {k: int((study.frame["condition"] == k).sum()) for k in study.conditions}


def _shrink(sigma: float = _NOISY) -> float:
    return _TAU**2 / (_TAU**2 + sigma**2)


def _needed(between: float) -> float:
    """People in each group, where one person has this variance in a condition."""
    return 2 * between * _PEOPLE / (_CHANGES**2 + 2 * _NOISE**2)


_BETWEEN = _TAU**2 + _CHANGES**2 / 4 + _NOISE**2


def _two_groups_varied(rng: np.random.Generator) -> Exercise:
    small, large = int(rng.integers(8, 15)) / 100, int(rng.integers(25, 40)) / 100
    return _two_groups(
        small,
        large,
        f"Two groups of different people have posterior sds of mu_nu of {small:g} and {large:g}. "
        "What is the sd of the difference? Hand in one number.",
    )


def _two_groups(small: float, large: float, text: str = "") -> Exercise:
    return Exercise(
        "10.2",
        "Two groups",
        "check your understanding",
        "number",
        lambda: float(np.hypot(small, large)),
        {
            "Sds of independent errors do not add up; squares do.": lambda: small + large,
            "Errors do not cancel: the two groups know nothing of each other.": lambda: (
                large - small
            ),
            "This is the variance.": lambda: small**2 + large**2,
        },
        "Less than the sum: that is why intervals may overlap where the difference is clear.",
        rtol=0.002,
        vary=_two_groups_varied,
        text=text,
    )


EXERCISES = (
    Exercise(
        "10.1",
        "Back to two conditions",
        "check your understanding",
        "named",
        _both,
        {
            "You went a whole change to either side; the codes are -1/2 and +1/2.": lambda: _both(
                1.0
            ),
            "The change of the boundary is one of its logarithm: "
            "multiply by its exponential.": _added,
            "The conditions are the wrong way round.": lambda: _both(-0.5),
        },
        "She gathers evidence more slowly under the second condition, and asks for more of it.",
        rtol=0.002,
    ),
    _two_groups(0.10, 0.24),
    Exercise(
        "10.3",
        "Three instructions",
        "code it",
        "named",
        _left,
        {
            "These are all rows of the two. Some have "
            "no time, no response, or a time of zero.": lambda: {
                "accuracy": 5,
                "speed": 4,
            },
            "The two are the wrong way round.": lambda: dict(
                zip(_left(), reversed(_left().values()), strict=True)
            ),
        },
        "And a row without a cue belongs to neither.",
        rtol=0.0,
        atol=1e-6,
    ),
    Exercise(
        "10.4",
        "A tidy mistake",
        "explore",
        "number",
        lambda: 1 / _shrink(),
        {
            "This is lambda: the standard error is multiplied by it, and t divided.": _shrink,
            "lambda is a ratio of variances, not of sds.": lambda: (_TAU + _NOISY) / _TAU,
            "This holds for the noise of the cell above, 0.4; here it is 0.7.": lambda: (
                1 / _shrink(0.4)
            ),
        },
        "The fewer the trials, the tidier the means, and the worse the test.",
        rtol=0.01,
    ),
    Exercise(
        "10.5",
        "How many people?",
        "explore",
        "number",
        lambda: _needed(_BETWEEN),
        {
            "You counted one group's variance only; a difference has those of both.": lambda: (
                _needed(_BETWEEN) / 2
            ),
            "The noise of the estimates is there in both designs.": lambda: _needed(
                _BETWEEN - _NOISE**2
            ),
            "These are the people of both groups.": lambda: 2 * _needed(_BETWEEN),
        },
        "What people have in common with themselves costs nothing if they do both.",
        rtol=0.02,
    ),
)
