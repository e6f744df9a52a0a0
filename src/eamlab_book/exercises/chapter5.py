"""Exercises of chapter 5, "Ten thousand subjects"."""

from __future__ import annotations

import numpy as np

from eamlab.model.eam import EAM
from eamlab_book.exercises.exercise import Exercise, Mistake
from eamlab_book.studies import exact_of

_PRIOR = EAM.prior
_D0 = (0.25, 4.0)
_GROUPS, _BATCHES = 2000, (10, 1000)
_SHARE, _TOLERATED = 0.1, 0.5
_WRONG = 5.0


def _widths(power: float) -> dict[float, float]:
    return {d0: d0**power for d0 in _D0}


def _heat(*, finite: bool = True, of: float = _GROUPS, power: int = 1) -> dict[int, float]:
    left = {M: 1 - M / _GROUPS if finite else 1.0 for M in _BATCHES}
    return {M: float(of * np.sqrt(left[M] / M)) ** power for M in _BATCHES}


def _shift(power: float = 0.5) -> dict[str, float]:
    return {
        "shift": _SHARE * _GROUPS**power,
        "groups": round((_TOLERATED / _SHARE) ** (1 / power), 9) if power else np.inf,
    }


def _narrowing(few: int, many: int, power: int = 1) -> dict[str, float]:
    wide, narrow = exact_of(few).sd, exact_of(many).sd
    return {k: (wide[k] / narrow[k]) ** power for k in _PRIOR.names}


def _correlation(sds: float = _WRONG) -> float:
    error = sds * exact_of(10_000).sd["mu_nu"]
    return float(1 / np.sqrt(1 + (error / _PRIOR["mu_nu"].sd) ** 2))


def _added() -> float:
    error = _WRONG * exact_of(10_000).sd["mu_nu"]
    return 1 / (1 + error / _PRIOR["mu_nu"].sd)


EXERCISES = (
    Exercise(
        "5.1",
        "Predict the width",
        "check your understanding",
        "named",
        lambda: _widths(-0.5),
        {
            "Those are ratios of *variances*. The sd goes with one over the root of d0.": lambda: (
                _widths(-1.0)
            ),
            "The wrong way round: a power below 1 flattens a density, and widens it.": lambda: (
                _widths(0.5)
            ),
            "This is the factor on the score. "
            "A score twice as steep is a variance half as large.": lambda: _widths(1.0),
        },
        "A power of the posterior: wider below 1, narrower above, and neither is what the data "
        "say.",
    ),
    Exercise(
        "5.2",
        "Hot mini-batches",
        "check your understanding",
        "named",
        _heat,
        {
            "These are variances. Take the roots.": lambda: _heat(power=2),
            "Right for ten, but half of all groups know more than that: drawing without "
            "replacement brings the factor (1 − M/G) under the root.": lambda: _heat(finite=False),
            "This is the error of a *mean* over the batch. "
            "It stands for 2,000 groups: scale by G.": lambda: _heat(of=1.0),
        },
        "Hundreds with ten, and still 45 with half of all groups, where one group's score is about "
        "1: that is the noise in which the solver has to find its way.",
        rtol=0.05,  # by 4,000 simulated batches, too
    ),
    Exercise(
        "5.3",
        "A tenth of a standard deviation",
        "check your understanding",
        "named",
        _shift,
        {
            "The shift itself does not grow: "
            "it is the ruler that shrinks, by the root of G.": lambda: _shift(1.0),
            "In units of one group's sd nothing changes. Measure it by the composed sd.": Mistake(
                lambda: {"shift": _SHARE, "groups": _GROUPS},
                where={"shift": (0.99 * _SHARE, 1.01 * _SHARE)},
            ),
            "The shift is right. For the number of groups undo the root: square "
            "the ratio.": lambda: {
                "shift": _shift()["shift"],
                "groups": _TOLERATED / _SHARE,
            },
        },
        "Harmless in one group, absurd in two thousand: what helps is fewer, better terms.",
    ),
    Exercise(
        "5.4",
        "What a hundred times the subjects buys",
        "explore",
        "named",
        lambda: _narrowing(100, 10_000),
        {
            "Upside down: divide the wide sds by the narrow ones.": lambda: _narrowing(10_000, 100),
            "These are ratios of variances.": lambda: _narrowing(100, 10_000, power=2),
            "This compares 10 subjects with 1,000.": lambda: _narrowing(10, 1000),
        },
        "About √100. Where it is clearly more, the posterior of a hundred subjects still has a "
        "long tail.",
        rtol=0.1,  # by the sds of the draws, too
    ),
    Exercise(
        "5.5",
        "How high can a correlation be?",
        "code it",
        "number",
        _correlation,
        {
            "Variances of independent parts add up, not standard deviations.": _added,
            "This is r², the share of variance. Take the root.": lambda: _correlation() ** 2,
            "This is for errors of one exact sd; here they are five.": lambda: _correlation(1.0),
        },
        "Five standard deviations off, and a plot that any reviewer would like.",
        rtol=0.0,
        atol=0.002,  # by 1,000 simulated studies, too
    ),
    Exercise(
        "5.6",
        "Subjects or terms?",
        "explore",
        "choice",
        lambda: "c",
        {
            "The exact posterior has all the subjects, too, and is not off. Compare groups of 5 "
            "with groups of 20.": lambda: "a",
            "Not alone: the same shift counts for more where the posterior is narrow. Compare 200 "
            "terms here with 20 terms of chapter 4.": lambda: "b",
        },
        "More subjects narrow the target, more terms add up more error.",
        options=("a", "b", "c"),
    ),
    Exercise(
        "5.7",
        "How many equal steps?",
        "explore",
        "choice",
        lambda: "c",
        {
            "With so few the width is several times too large. Look at the sd ratio.": lambda: "a",
            "Better, but not there. Go on doubling.": lambda: "b",
        },
        "Equal steps waste most of their number where the score is gentle. The bias of the terms "
        "stays, whatever the steps.",
        options=("a", "b", "c"),
    ),
)
