"""Exercises of chapter 3, "Amortize a small study"."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from eamlab.model.eam import EAM
from eamlab_book.exercises.exercise import Exercise, Mistake
from eamlab_book.studies import exact_of
from eamlab_book.toy import noise_levels

_PRIOR = EAM.prior
_MU_LOG_T0, _Z = -1.3, 1.5
_TIME = 0.6


def _z_scores(*, power: int = 1, log: bool = False) -> dict[str, float]:
    time, spread = _PRIOR["mu_log_t0"], _PRIOR["log_sigma_nu"]
    log_sigma = spread.mean + _Z * spread.sd
    z = (_MU_LOG_T0 - time.mean) / time.sd**power
    return {"z": z, "sigma_nu": log_sigma if log else float(np.exp(log_sigma))}


def _backward() -> dict[str, float]:
    time = _PRIOR["mu_log_t0"]
    return _z_scores() | {"z": _MU_LOG_T0 * time.sd + time.mean}


def _denoised(
    *, signal: bool = True, sign: float = -1.0, power: int = 1
) -> Callable[[float, float, float], tuple[float, float]]:
    def denoise(z: float, t: float, noise: float) -> tuple[float, float]:
        alpha, sigma = noise_levels(t)
        clean = (z - sigma * noise) / (alpha if signal else 1.0)
        return float(clean), float(sign * noise / sigma**power)

    return denoise


@cache
def _expected_noise() -> NDArray:
    """Noise that least squares expects in z_t = 0, (d,)."""
    alpha, sigma = noise_levels(_TIME)
    z_0 = _PRIOR.standardize(exact_of(10).array)
    noise = np.random.default_rng(0).standard_normal(z_0.shape)
    design = np.column_stack([np.ones(len(z_0)), alpha * z_0 + sigma * noise])
    return np.asarray(np.linalg.lstsq(design, noise, rcond=None)[0][0])


def _sigma() -> float:
    return float(noise_levels(_TIME)[1])


def _coverage(reach: float = norm.ppf(0.95)) -> dict[str, float]:
    return {k: float(2 * norm.cdf(f * reach) - 1) for k, f in {"half": 0.5, "twice": 2.0}.items()}


EXERCISES = (
    Exercise(
        "3.1",
        "In and out of z-scores",
        "check your understanding",
        "named",
        _z_scores,
        {
            "A z-score divides by the prior's standard deviation, not by its variance.": lambda: (
                _z_scores(power=2)
            ),
            "sigma_nu is still on the log scale: the parameter is its logarithm.": lambda: (
                _z_scores(log=True)
            ),
            "z went the wrong way: from the model's units to z-scores one subtracts the mean "
            "first, then divides.": _backward,
        },
        "This is what the adapter does, in both directions.",
    ),
    Exercise(
        "3.2",
        "From the noise to all the rest",
        "code it",
        "function",
        lambda: _denoised(),
        {
            "The clean parameters were shrunk by the signal level before the noise came: divide by "
            "it.": lambda: _denoised(signal=False),
            "The score has the opposite sign: it points back, against the noise.": lambda: (
                _denoised(sign=1.0)
            ),
            "For the score divide the noise by sigma, not by its square: the noise is of unit size "
            "already.": lambda: _denoised(power=2),
        },
        "Guessing the noise, the clean parameters or the score is one and the same.",
        inputs=lambda: ((1.1, 0.3, 0.4), (-0.2, 0.7, 1.5), (0.5, 0.9, -0.8)),
        call="f(z, t, noise)",
        names=("z_0", "score"),
        rtol=1e-3,
    ),
    Exercise(
        "3.3",
        "A score without a network",
        "code it",
        "array",
        lambda: -_expected_noise() / _sigma(),
        {
            "This is the noise to be expected; "
            "the score is minus that, over sigma.": _expected_noise,
            "The sign is the wrong way round: the score points against the noise.": lambda: (
                _expected_noise() / _sigma()
            ),
            "Divide by sigma, not by its square.": lambda: -_expected_noise() / _sigma() ** 2,
            "All zero: without a column of ones the line has to go through the origin.": lambda: (
                np.zeros(len(_PRIOR))
            ),
        },
        "For a Gaussian least squares is linear, and the expected noise is the score. A network "
        "replaces the line where posteriors are not Gaussian.",
        names=_PRIOR.names,
        rtol=0.01,
        atol=1e-4,
    ),
    Exercise(
        "3.4",
        "Too wide, too narrow",
        "explore",
        "named",
        _coverage,
        {
            "The other way round: narrow intervals miss more often.": lambda: dict(
                zip(("half", "twice"), reversed(_coverage().values()), strict=True)
            ),
            "A coverage is no length: half the width does not cover half as often.": Mistake(
                lambda: {"half": 0.45, "twice": 1.0},
                where={"half": (0.445, 0.455)},
            ),
            "Nothing covers more than always: a coverage is no length.": Mistake(
                lambda: {"half": 0.6, "twice": 1.8},
                where={"twice": (1.1, 10.0)},
            ),
            "You let one tail go: a 90 % interval leaves out 5 % at either end.": lambda: _coverage(
                norm.ppf(0.9)
            ),
        },
        "Both are wrong, and the narrow one claims effects that are not there.",
        rtol=0.0,
        atol=0.015,  # by 10,000 simulated posteriors, too
    ),
    Exercise(
        "3.5",
        "Is the anchor worth it?",
        "project",
        "choice",
        lambda: "b",
        {
            "That is what happens with 6,000 groups and few epochs. Look at the gap between the "
            "two curves.": lambda: "a",
            "The training loss cannot rise for long: it is what training brings down.": lambda: "c",
        },
        "The gap is what the network has learned by heart. Fresh simulations for every batch make "
        "that impossible.",
        options=("a", "b", "c"),
    ),
    Exercise(
        "3.6",
        "Other numbers of trials",
        "explore",
        "choice",
        lambda: "b",
        {
            "Yours has met 30 trials only; "
            "with 10 or 150 nothing but luck keeps it near.": lambda: "a",
            "More data do not help a network that has never seen so many. Compare with the exact "
            "posterior.": lambda: "c",
        },
        "A network's calibration holds, if at all, for what it was trained on.",
        options=("a", "b", "c"),
    ),
)
