"""Exercises of chapter 13, "The published tutorial"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eamlab.model.eam import EAM
from eamlab_book.exercises.exercise import Exercise

FloatArray = NDArray[np.float64]

_PEOPLE, _IN_GROUP = 10_000, 5
_FEW = 60
_STUDIES, _DRAWS, _SUMMARY, _BYTES = 64, 100, 16, 4
_MU_NU, _TIMES = 0.8, np.array([0.0, 0.5, 1.0])


def _terms(groups: float = _FEW / _IN_GROUP) -> dict[str, float]:
    return {"groups": groups, "power": 1 - groups}


def _gigabytes(
    studies: int = _STUDIES, draws: int = _DRAWS, items: float = _PEOPLE / _IN_GROUP
) -> float:
    return studies * draws * items * _SUMMARY * _BYTES / 1e9


def _score(share: FloatArray | float = 1.0) -> FloatArray:
    prior = EAM.prior["mu_nu"]
    return -(_MU_NU - prior.mean) / prior.sd**2 * share * np.ones(3)


def _in_raw_units() -> FloatArray:
    prior = EAM.prior["mu_nu"]
    a, sigma = np.cos(np.pi * _TIMES / 2), np.sin(np.pi * _TIMES / 2)
    return -(_MU_NU - a * prior.mean) / ((a * prior.sd) ** 2 + sigma**2)


EXERCISES = (
    Exercise(
        "13.1",
        "Terms and priors",
        "check your understanding",
        "named",
        _terms,
        {
            "A term is a posterior of five people, not of one.": lambda: _terms(_FEW),
            "The prior stands in every group's posterior, and once it belongs there.": lambda: (
                _terms() | {"power": -_FEW / _IN_GROUP}
            ),
            "The surplus priors are taken out: the power is negative.": lambda: (
                _terms() | {"power": _FEW / _IN_GROUP - 1}
            ),
        },
        "The tutorial's formula says 1 - J, but its code composes groups: its J is 12 here.",
        rtol=0.001,
    ),
    Exercise(
        "13.2",
        "Why the kernel died",
        "check your understanding",
        "number",
        _gigabytes,
        {
            "You have each study once: the summaries are repeated for every draw.": lambda: (
                _gigabytes(draws=1)
            ),
            "These are all 100 studies at once; a batch holds 64.": lambda: _gigabytes(100),
            "A network sees ten groups a step, but all of them lie in memory.": lambda: _gigabytes(
                items=10
            ),
            "One summary is of five people.": lambda: _gigabytes(items=_PEOPLE),
        },
        "A batch of two studies needs a thirtieth of it.",
        rtol=0.02,
    ),
    Exercise(
        "13.3",
        "A score with a time",
        "code it",
        "array",
        _score,
        {
            "This is weighted by 1 - t: "
            "BayesFlow does so, but only to a score without a time.": lambda: _score(1 - _TIMES),
            "This diffuses the prior in raw units. "
            "What diffuses here is the z-score.": _in_raw_units,
            "This is the score in z. BayesFlow wants it in the parameter's own units.": lambda: (
                -np.ones(3)
            ),
        },
        "In z the diffused prior is N(0, 1) at every time, so that time drops out.",
    ),
    Exercise(
        "13.4",
        "Which picture?",
        "check your understanding",
        "choice",
        lambda: "c",
        {
            "Its ruler is the prior: an exact sd is thinner than a dot.": lambda: "a",
            "Nothing is composed there, and every group is judged alone.": lambda: "b",
            "It falls as well for a network that no sum of scores can bear.": lambda: "d",
        },
        "Ranks ask whether the widths are right, at the size at which you want to use them.",
        options=("a", "b", "c", "d"),
    ),
)
