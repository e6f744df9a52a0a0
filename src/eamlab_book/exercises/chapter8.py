"""Exercises of chapter 8, "Can you trust it?"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp, kstest, norm

from eamlab.model.eam import EAM
from eamlab.model.simulator import BOUNDARY_SHIFT
from eamlab_book import report_card as grades
from eamlab_book.exercises.exercise import Exercise, Mistake
from eamlab_book.studies import DEMO_GROUP

FloatArray = NDArray[np.float64]

_PRIOR = EAM.prior
_NARROW, _SHIFT = 5.0, 3.0
_STEPS = (1e-3, 1e-2)
_MANY = 10_000


def _coverage(reach: float = norm.ppf(0.95)) -> dict[str, float]:
    return {
        "narrow": float(2 * norm.cdf(reach / _NARROW) - 1),
        "shifted": float(norm.cdf(reach - _SHIFT) - norm.cdf(-reach - _SHIFT)),
    }


def _truth() -> FloatArray:
    """The true values of the chapter's forged posteriors, (300, 1)."""
    prior = _PRIOR["mu_nu"]
    return np.random.default_rng(8).normal(prior.mean, prior.sd, (300, 1))


def _draws(center: FloatArray | float, sd: float) -> FloatArray:
    return center + sd * np.random.default_rng(1).standard_normal((300, 200))


def _ranks_p(draws: FloatArray) -> float:
    """P-value of uniform ranks."""
    if (draws == draws[0]).all():  # 200 draws for all: their own error is in every rank
        return float(ks_2samp(draws[0], _truth()[:, 0]).pvalue)
    return float(kstest((draws < _truth()).mean(axis=1), "uniform").pvalue)


def _follows(draws: FloatArray) -> bool:
    """Whether posterior means recover the truth."""
    if np.ptp(draws.mean(axis=1)) == 0:
        return False
    return abs(float(np.corrcoef(draws.mean(axis=1), _truth()[:, 0])[0, 1])) > 0.3


def _prior_draws(factor: float = 1.0) -> FloatArray:
    prior = _PRIOR["mu_nu"]
    return _draws(prior.mean, factor * prior.sd)


def _excess(bounds: int = 2, power: float = 0.5, *, log: bool = True) -> dict[float, float]:
    alpha = float(np.exp(DEMO_GROUP["mu_log_alpha"]))
    shift = {dt: bounds * BOUNDARY_SHIFT * dt**power for dt in _STEPS}
    return {dt: float(np.log1p(x / alpha)) if log else x for dt, x in shift.items()}


def _inside(share: Callable[[NDArray], NDArray]) -> dict[str, float]:
    sbc = grades.exact_sbc()
    return {k: float(share(np.asarray(r)).mean()) for k, r in sbc.ranks.items()}


def _biases() -> list[str]:
    """Parameters in the order of their median bias at the largest J, as recommended."""
    frame = grades.grade_frame(_MANY)
    rows = frame[frame["recipe"] == "recommended"].set_index("parameter")
    return [str(name) for name in rows["bias"].sort_values().index]


EXERCISES = (
    Exercise(
        "8.1",
        "How often does a forgery hold the truth?",
        "check your understanding",
        "named",
        _coverage,
        {
            "A coverage does not scale with the width: look up how much of a normal lies within "
            "1.645/5 sds.": lambda: _coverage() | {"narrow": 0.9 / _NARROW},
            "You let one tail go: a 90 % interval leaves out 5 % at either end.": lambda: _coverage(
                norm.ppf(0.9)
            ),
            "These are the shares that miss.": lambda: {k: 1 - v for k, v in _coverage().items()},
        },
        "As in the chapter's table, and the correlations of all three are above 0.99.",
        rtol=0.0,
        atol=0.015,  # by 10,000 simulated studies, too, or by the chapter's table
    ),
    Exercise(
        "8.2",
        "Calibrated and useless",
        "code it",
        "array",
        lambda: _prior_draws(),
        {
            "This one is useful: its means follow the truth. Forge one that has learned "
            "nothing.": Mistake(
                lambda: _draws(_truth() + 0.02, 0.02),
                matches=_follows,
            ),
            "Useless, but not calibrated: the truths lie in the middle too often. The draws "
            "are too wide.": Mistake(
                lambda: _prior_draws(2.0),
                matches=lambda given: bool(given.std() > 1.3 * _PRIOR["mu_nu"].sd),
            ),
            "Useless, but not calibrated: the truths fall outside too often. The draws are too "
            "narrow.": Mistake(
                lambda: _prior_draws(0.5),
                matches=lambda given: bool(given.std() < 0.7 * _PRIOR["mu_nu"].sd),
            ),
        },
        "The prior is perfectly calibrated. A recovery plot would have caught it: use both.",
        accepts=lambda draws: not _follows(draws) and _ranks_p(draws) > 0.005,
    ),
    Exercise(
        "8.3",
        "What noise alone gives",
        "code it",
        "function",
        lambda: lambda n: (2 / n) ** 0.5,
        {
            "Both sides are noisy: the variances of two means add up.": lambda: (
                lambda n: (1 / n) ** 0.5
            ),
            "This is a variance; take its root.": lambda: lambda n: 2 / n,
            "Noise falls with more draws; yours grows.": lambda: lambda n: (n / 2) ** 0.5,
        },
        "With 200 draws on both sides, a bias of 0.1 says nothing.",
        inputs=lambda: ((100,), (200,), (1000,)),
        call="f(n)",
        rtol=0.005,
    ),
    Exercise(
        "8.4",
        "Coarse steps",
        "explore",
        "named",
        _excess,
        {
            "Both bounds move out: twice that.": lambda: _excess(bounds=1),
            "The shift goes with the *root* of the step.": lambda: _excess(power=1.0),
            "This is the excess of alpha. "
            "The parameter is its logarithm: log of wider over true.": lambda: _excess(log=False),
        },
        "Constant, whatever the number of subjects: with enough of them it is the largest error "
        "you have.",
        rtol=0.01,
    ),
    Exercise(
        "8.5",
        "Coverage from ranks",
        "code it",
        "named",
        lambda: _inside(lambda r: (r >= 10) & (r < 190)),
        {
            "These are the shares outside of the interval.": lambda: _inside(
                lambda r: (r < 10) | (r >= 190)
            ),
            "You left out one tail only: a central 90 "
            "% interval leaves out 5 % at either end.": lambda: _inside(lambda r: r < 180),
            "This is an 80 % interval: 10 % are gone at either end.": lambda: _inside(
                lambda r: (r >= 20) & (r < 180)
            ),
        },
        "Near 0.9; with 500 studies chance alone moves each of them by about 0.013.",
        rtol=0.0,
        atol=0.0051,
    ),
    Exercise(
        "8.6",
        "Where would you be wrong?",
        "project",
        "choice",
        lambda: _biases()[-1],
        {
            "This is the parameter with the *least* bias.": lambda: _biases()[0],
            "Another one is a little farther off. Take J = 10,000, the recipe recommended, and the "
            "column bias.": lambda: _biases()[-2],
        },
        "Report this one with a word of warning, or from the exact likelihood.",
        options=_PRIOR.names,
    ),
)
