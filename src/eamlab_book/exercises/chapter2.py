"""Exercises of chapter 2, "Many minds"."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eamlab.model.eam import EAM
from eamlab_book.exercises.exercise import Exercise, Mistake

_PRIOR = EAM.prior
_DIM = len(_PRIOR)
_FAST_DRIFT = 2.0


def _lognormal(shift: float) -> dict[str, float]:
    prior = _PRIOR["log_sigma_log_t0"]
    return {"median": float(np.exp(prior.mean)), "mean": float(np.exp(prior.mean + shift))}


def _score(x: Any) -> NDArray:
    return np.asarray(_PRIOR.score(np.asarray(x)))


def _diffused(
    mean: Callable[[float], float], variance: Callable[[float, float, float], float]
) -> Callable[[float, float, float], float]:
    """Score of a diffused prior of mu_nu with such a mean and variance."""
    prior = _PRIOR["mu_nu"]

    def score(x: float, a: float, sigma: float) -> float:
        return -(x - mean(a) * prior.mean) / variance(a, prior.sd, sigma)

    return score


@cache
def _studies(drift: float | None = None) -> dict[str, NDArray]:
    group = None if drift is None else {"mu_nu": drift}
    return EAM.sample(500, 20, 30, seed=1, group=group)


def _log_median(rt: NDArray) -> NDArray:
    return np.asarray(np.log(np.median(rt, axis=-1)))


def _joint(
    measure: Callable[[NDArray], NDArray] = np.corrcoef,
    of_rt: Callable[[NDArray], NDArray] = _log_median,
) -> NDArray:
    """Parameters against four statistics of each study, (d, 4)."""
    choice, rt = np.moveaxis(_studies()["sim_data"].astype(float), -1, 0)
    share, time = choice.mean(-1), of_rt(rt)
    statistics = [share.mean(-1), share.std(-1), time.mean(-1), time.std(-1)]
    columns = [*_PRIOR.to_array(_studies()).T, *statistics]
    return measure(np.stack(columns))[:_DIM, _DIM:]


def _always_alike(drift: float | None, axis: int | tuple[int, ...] = -1) -> float:
    share = _studies(drift)["sim_data"][..., 0].mean(axis)
    return float(np.mean((share == 0) | (share == 1)))


def _with_data_varied(rng: np.random.Generator) -> Exercise:
    groups, tau = 50 * int(rng.integers(2, 11)), int(rng.integers(2, 6))
    z = float(rng.integers(11, 20)) / 10
    return _with_data(
        groups,
        tau,
        z,
        f"{groups} groups contribute a likelihood N(z; y, τ²) each, with y = 0 and τ = {tau}, to a "
        f"standard normal prior. What is the composed score at t = 0 and z = {z:g}?",
    )


def _with_data(groups: int, tau: int, z: float, text: str = "") -> Exercise:
    return Exercise(
        "2.5",
        "A test with data",
        "check your understanding",
        "number",
        lambda: -(1 + groups / tau**2) * z,
        {
            f"The prior is still in there {groups} times: its score must be added (1 − G) "
            "times.": lambda: -groups * (1 + 1 / tau**2) * z,
            "You took off the prior G times. Of G priors one has to stay.": lambda: (
                -groups / tau**2 * z
            ),
            "A precision is one over the *variance* τ², not over τ.": lambda: (
                -(1 + groups / tau) * z
            ),
        },
        "At the data end both weightings are exact; they differ only on the way.",
        rtol=0.002,
        vary=_with_data_varied,
        text=text,
    )


EXERCISES = (
    Exercise(
        "2.1",
        "Undo the logarithm",
        "check your understanding",
        "named",
        lambda: _lognormal(_PRIOR["log_sigma_log_t0"].sd ** 2 / 2),
        {
            "Median and mean of a log-normal variable differ: large values weigh more in the mean. "
            "Half the variance comes into the exponent.": lambda: _lognormal(0.0),
            "Half the *variance* belongs into the exponent of the mean; you took half the standard "
            "deviation.": lambda: _lognormal(_PRIOR["log_sigma_log_t0"].sd / 2),
            "Half the variance belongs into the exponent; you took all of it.": lambda: _lognormal(
                _PRIOR["log_sigma_log_t0"].sd ** 2
            ),
            "These are on the log scale; a standard deviation is never negative.": Mistake(
                lambda: {k: float(np.log(v)) for k, v in _lognormal(0.045).items()},
                where={"median": (-np.inf, 0.0)},
            ),
        },
        "The median survives any monotone map, the mean does not.",
        rtol=0.004,
    ),
    Exercise(
        "2.2",
        "The score by differences",
        "code it",
        "function",
        lambda: _score,
        {
            "You get one number per draw. A gradient has one for each of the seven parameters: "
            "step them one at a time.": Mistake(
                lambda: lambda x: _score(x).sum(axis=-1),
                matches=lambda given: given.size < 5 * _DIM,
            ),
            "The parameters are in the rows of your answer, and the draws in its columns; "
            "transpose it, as x has them.": lambda: lambda x: _score(x).T,
            "Twice too steep: between x + h and x − h lie two steps.": lambda: (
                lambda x: 2 * _score(x)
            ),
            "The sign is the wrong way round: "
            "the score points to where the prior is denser.": lambda: lambda x: -_score(x),
            "Divided by the standard deviation once; the slope of a normal's score is one over its "
            "variance.": lambda: lambda x: _score(x) * _PRIOR.sds,
        },
        "Formula, automatic differentiation and plain differences agree.",
        inputs=lambda: ((_PRIOR.to_array(_PRIOR.sample(5, np.random.default_rng(2))),),),
        call="f(x) with x of shape (5, 7)",
        names=_PRIOR.names,
        rtol=2e-3,
        atol=2e-3,
    ),
    Exercise(
        "2.3",
        "The diffused prior",
        "code it",
        "function",
        lambda: _diffused(lambda a: a, lambda a, s, sigma: (a * s) ** 2 + sigma**2),
        {
            "This is the score of the prior before any noise was added.": lambda: _diffused(
                lambda a: 1.0, lambda a, s, sigma: s**2
            ),
            "The mean shrinks, too: at signal level a it is a times the prior's.": lambda: (
                _diffused(lambda a: 1.0, lambda a, s, sigma: (a * s) ** 2 + sigma**2)
            ),
            "Variances of independent parts add up, not standard deviations.": lambda: _diffused(
                lambda a: a, lambda a, s, sigma: (a * s + sigma) ** 2
            ),
            "You divide by the standard deviation; the slope is one over the variance.": lambda: (
                _diffused(lambda a: a, lambda a, s, sigma: np.hypot(a * s, sigma))
            ),
        },
        "This is what el.EAM.prior.diffused_score does, for all seven at once.",
        inputs=lambda: ((1.0, 0.8, 0.6), (-0.5, 0.6, 0.8), (0.3, 1.0, 0.0), (2.0, 0.1, 0.995)),
        call="f(x, a, sigma)",
        rtol=1e-3,
    ),
    Exercise(
        "2.4",
        "What twenty subjects tell",
        "explore",
        "array",
        _joint,
        {
            "These are covariances; divide by both standard deviations.": lambda: _joint(np.cov),
            "The last two columns are off: take the logarithm of each subject's median "
            "time.": lambda: _joint(of_rt=lambda rt: np.median(rt, axis=-1)),
            "The last two columns are off: take each subject's median, not the mean.": lambda: (
                _joint(of_rt=lambda rt: np.log(rt.mean(axis=-1)))
            ),
        },
        "Means and spreads of drift and non-decision time show plainly, those of the boundary "
        "hardly at all.",
        names=_PRIOR.names,
        rtol=0.0,
        atol=0.002,
    ),
    _with_data(200, 3, 1.0),
    Exercise(
        "2.6",
        "People who are too good",
        "explore",
        "number",
        lambda: _always_alike(_FAST_DRIFT),
        {
            "This is the share under the prior as it is; hold mu_nu at 2 with group=.": lambda: (
                _always_alike(None)
            ),
            "This is the share of *studies* in which all 600 choices are alike. Average over the "
            "trials of each subject.": lambda: _always_alike(_FAST_DRIFT, axis=(1, 2)),
            "This is the share of subjects with both kinds of choices.": lambda: (
                1 - _always_alike(_FAST_DRIFT)
            ),
        },
        "For people who never err the data bound the drift from below only, and the population has "
        "to say the rest.",
        rtol=0.1,  # another seed is right, too
    ),
)
