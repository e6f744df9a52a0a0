"""Exercises of chapter 7, "Individuals again"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from eamlab_book.exercises.exercise import Exercise
from eamlab_book.studies import DEMO_GROUP

Shrink = Callable[[float, float, float, float], tuple[float, float]]

_ALPHA = 1.3
_ENOUGH = 0.99


def _non_centered(
    sigma: float = float(np.exp(DEMO_GROUP["log_sigma_log_alpha"])), log: bool = True
) -> float:
    value = np.log(_ALPHA) if log else _ALPHA
    return float((value - DEMO_GROUP["mu_log_alpha"]) / sigma)


def _shrink(power: int = 2, *, swapped: bool = False, variance: bool = False) -> Shrink:
    def posterior(y: float, s: float, mu: float, sigma: float) -> tuple[float, float]:
        data, population = 1 / s**power, 1 / sigma**power
        if swapped:
            data, population = population, data
        spread = 1 / (1 / s**2 + 1 / sigma**2)
        mean = (data * y + population * mu) / (data + population)
        return mean, spread if variance else spread**0.5

    return posterior


def _enough(*, known: bool = False, weight: bool = True, power: float = 2.0) -> int:
    """Smallest J at which plugging in costs less than 1 - _ENOUGH of the sd.

    For s = sigma, the variance given the population is s^2 / 2, and the population's mean, whose
    own variance is 2 s^2 / J (s^2 / J if the subjects were known), enters with the weight 1/2.
    """
    of_mean, w = (1.0 if known else 2.0), (0.5 if weight else 1.0)
    return int(np.ceil(w**2 * of_mean / 0.5 / (_ENOUGH**-power - 1) - 1e-9))


def _spread_of_means_varied(rng: np.random.Generator) -> Exercise:
    people, unknown = int(rng.integers(60, 100)) / 100, int(rng.integers(20, 50)) / 100
    return _spread_of_means(
        people,
        unknown,
        f"True drifts have a standard deviation of {people:g} over people, and every subject's "
        f"posterior one of {unknown:g}. What is the standard deviation of the posterior means?",
    )


def _spread_of_means(people: float, unknown: float, text: str = "") -> Exercise:
    return Exercise(
        "7.3",
        "Why the means lie closer together",
        "check your understanding",
        "number",
        lambda: float(np.sqrt(people**2 - unknown**2)),
        {
            "Variances are subtracted, not standard deviations.": lambda: people - unknown,
            "The variances are subtracted: what is not "
            "known about each is missing in the means.": lambda: float(np.hypot(people, unknown)),
            "This is a variance; take its root.": lambda: people**2 - unknown**2,
        },
        "People's variance is that of the means plus what each posterior leaves open. One draw per "
        "person has both.",
        vary=_spread_of_means_varied,
        text=text,
    )


EXERCISES = (
    Exercise(
        "7.1",
        "Where she stands among the others",
        "check your understanding",
        "number",
        lambda: _non_centered(),
        {
            "The population is normal in log alpha: take the logarithm first.": lambda: (
                _non_centered(log=False)
            ),
            "The spread is still on the log scale: you divide by its logarithm.": lambda: (
                _non_centered(DEMO_GROUP["log_sigma_log_alpha"])
            ),
            "You divide by the variance of the population; a z-score takes the standard "
            "deviation.": lambda: _non_centered(
                float(np.exp(2 * DEMO_GROUP["log_sigma_log_alpha"]))
            ),
        },
        "More cautious than nearly everybody. Whatever the population, the prior of z is N(0, 1).",
    ),
    Exercise(
        "7.2",
        "Shrinkage by hand",
        "code it",
        "function",
        lambda: _shrink(),
        {
            "The weights are swapped: "
            "the smaller its variance, the more a source counts.": lambda: _shrink(swapped=True),
            "Weight by precisions, one over the *variance*; you took one over the sd.": lambda: (
                _shrink(power=1)
            ),
            "The second number is a variance; take its root.": lambda: _shrink(variance=True),
            "These are her trials alone; the population does not come in.": lambda: (
                lambda y, s, mu, sigma: (y, s)
            ),
        },
        "Precisions add up, means are weighted by them: the more uncertain, the stronger the pull.",
        inputs=lambda: ((1.4, 0.5, 0.7, 0.5), (-0.3, 0.2, 0.7, 0.5), (2.0, 1.0, 0.7, 0.3)),
        call="f(y, s, mu, sigma)",
        names=("mean", "sd"),
        rtol=1e-3,
    ),
    _spread_of_means(0.5, 0.3),
    Exercise(
        "7.4",
        "When may one plug in?",
        "explore",
        "number",
        _enough,
        {
            "That is for a population mean of known people. Each of them is uncertain, too: its "
            "variance is (s² + σ²)/J.": lambda: _enough(known=True),
            "The error of the population's mean reaches her only in part: weight it by the share "
            "with which she is pulled.": lambda: _enough(weight=False),
            "Twice as many as are needed: one percent of the *sd* is asked for, so the ratio of "
            "variances has to be 0.99².": lambda: _enough(power=1.0),
        },
        "With some dozens of people plugging in hardly matters any more; with ten it does.",
        rtol=0.0,
        atol=1.01,
    ),
    Exercise(
        "7.5",
        "Who is pulled most?",
        "explore",
        "choice",
        lambda: "b",
        {
            "A fast drift alone is no reason: look at how uncertain the person is.": lambda: "a",
            "Not all alike: in the plot the pull grows to the right.": lambda: "c",
        },
        "The pull grows with the subject's variance and with the distance.",
        options=("a", "b", "c"),
    ),
    Exercise(
        "7.6",
        "Whose error is it?",
        "explore",
        "choice",
        lambda: "b",
        {
            "Then it would go away with the exact draws "
            "of the population. Compare the two tables.": lambda: "a",
            "It is more than that: what Monte Carlo noise alone gives is exercise 8.3.": lambda: (
                "c"
            ),
        },
        "Individuals are the forgiving end: the population's errors hardly reach them.",
        options=("a", "b", "c"),
    ),
    Exercise(
        "7.7",
        "Ten trials",
        "explore",
        "choice",
        lambda: "a",
        {
            "It is told the number of trials, and the sd_ratio compares it with the exact "
            "posterior of ten.": lambda: "b",
            "Fewer trials leave more to the population, but not everything: compare the sds with "
            "those of the population.": lambda: "c",
        },
        "The summary network has seen all numbers from 5 to 500, and is told which it is.",
        options=("a", "b", "c"),
    ),
)
