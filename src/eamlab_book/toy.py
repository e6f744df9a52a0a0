r"""A Gaussian toy in which every quantity of compositional diffusion is known in closed form.

One parameter :math:`\theta \sim N(0, 1)` and J observations :math:`y_j \sim N(\theta, s^2)`. Each
observation alone has a Gaussian posterior, diffusion keeps it Gaussian, and so the scores that a
network would have to learn are simple formulas. What still goes wrong is the composition's doing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ENDS", "GaussianToy", "bridge", "noise_levels", "reverse_diffusion"]

FloatArray = NDArray[np.float64]

ENDS = (2 / np.pi * np.arctan(np.exp(-6.0)), 2 / np.pi * np.arctan(np.exp(6.0)))
"""First and last diffusion time: log signal-to-noise ratio 12 and -12, as in BayesFlow."""


def noise_levels(t: ArrayLike) -> tuple[FloatArray, FloatArray]:
    r"""Return signal level alpha_t and noise level sigma_t of the cosine schedule at time `t`."""
    return np.cos(np.pi / 2 * np.asarray(t)), np.sin(np.pi / 2 * np.asarray(t))


def bridge(t: ArrayLike, d0: float = 1.0, d1: float = 1.0) -> FloatArray:
    r"""Return the damping :math:`d(t) = d_0^{1-t} d_1^t`; `d0` and `d1` must be positive."""
    if not (d0 > 0 and d1 > 0):
        raise ValueError(f"d0 and d1 must be positive, got d0 = {d0}, d1 = {d1}.")
    t = np.asarray(t, dtype=float)
    return d0 ** (1 - t) * d1**t


def reverse_diffusion(
    score: Callable[[FloatArray, float], FloatArray],
    num_samples: int,
    *,
    steps: int = 200,
    stochastic: bool = True,
    seed: int,
) -> FloatArray:
    r"""Integrate the reverse diffusion (Song et al., 2021) from noise (t = 1) to data (t = 0).

    Parameters
    ----------
    score : callable
        ``score(x, t)`` with x (num_samples,) returns an array of the same shape.
    num_samples, steps : int
        Number of draws, and of steps, which are equal in t.
    stochastic : bool, default True
        Euler-Maruyama for the reverse SDE; otherwise Euler for the probability-flow ODE.
    seed : int
        Seed of the draws.

    Returns
    -------
    ndarray (num_samples,)

    Raises
    ------
    ValueError
        If `num_samples` or `steps` is below 1.
    """
    if num_samples < 1 or steps < 1:
        raise ValueError(f"num_samples ({num_samples}) and steps ({steps}) must be at least 1.")
    rng = np.random.default_rng(seed)
    times = np.linspace(ENDS[1], ENDS[0], steps + 1)
    x = rng.standard_normal(num_samples)
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        alpha, sigma = noise_levels(t)
        noise = np.pi * sigma / alpha * (t - t_next)  # variance that one forward step adds
        if stochastic:
            x = x + noise * (x / 2 + score(x, t)) + np.sqrt(noise) * rng.standard_normal(x.size)
        else:
            x = x + noise * (x + score(x, t)) / 2
    return x


@dataclass(frozen=True)
class GaussianToy:
    r""":math:`\theta \sim N(0, 1)`, :math:`y_j \sim N(\theta, s^2)`, and all their scores.

    Parameters
    ----------
    y : ndarray (J,)
        The observations; each plays the part of one group.
    noise_sd : float, default 1.0
        The standard deviation s of an observation.
    """

    y: FloatArray
    noise_sd: float = 1.0

    def __post_init__(self) -> None:
        if np.ndim(self.y) != 1 or not np.all(np.isfinite(self.y)) or not self.noise_sd > 0:
            raise ValueError(
                f"y must be finite with shape (J,) and noise_sd positive, got shape "
                f"{np.shape(self.y)} and noise_sd = {self.noise_sd}."
            )

    def posterior(self) -> tuple[float, float]:
        """Return mean and sd of the exact posterior given all observations."""
        precision = 1 + len(self.y) / self.noise_sd**2
        return float(self.y.sum() / self.noise_sd**2 / precision), float(precision**-0.5)

    def exact_score(self, x: FloatArray, t: float) -> FloatArray:
        """Score of the *diffused exact posterior*: what the composed score should be."""
        alpha, sigma = noise_levels(t)
        mean, sd = self.posterior()
        return -(x - alpha * mean) / ((alpha * sd) ** 2 + sigma**2)

    def group_scores(self, x: FloatArray, t: float) -> FloatArray:
        """Score of every diffused single-observation posterior, (J,) + x.shape."""
        alpha, sigma = noise_levels(t)
        variance = self.noise_sd**2 / (1 + self.noise_sd**2)
        means = self.y.reshape(-1, *(1,) * np.ndim(x)) / (1 + self.noise_sd**2)
        return -(x - alpha * means) / (alpha**2 * variance + sigma**2)

    def composed_score(self, x: FloatArray, t: float, prior_weight: float = 1.0) -> FloatArray:
        """Sum of the group scores and (1 - J) times the prior's; the prior stays N(0, 1) at all t.

        `prior_weight` multiplies the prior's score: 1 - t is the weighting of the literature.
        """
        return self.group_scores(x, t).sum(axis=0) + (len(self.y) - 1) * prior_weight * x
