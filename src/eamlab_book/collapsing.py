"""A decision model without a density in closed form: bounds that close in while one waits.

Chapter 11 writes such a model, and ``make results ARGS=collapsing`` trains its networks.

References
----------
Hawkins, Forstmann, Wagenmakers, Ratcliff & Brown (2015), *Journal of Neuroscience* 35, 2476-2484.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eamlab.compiled import njit
from eamlab.model.model import GroupParameter, GroupPrior, Model, PersonParameter


@njit(cache=True)
def _decide(
    nu: NDArray, alpha: NDArray, t0: NDArray, kappa: NDArray, dt: float, rng: Any, trials: NDArray
) -> None:
    for j in range(len(nu)):
        shrink = math.exp(-kappa[j] * dt)
        for trial in trials[j]:
            x, t, bound = 0.0, 0.0, alpha[j] / 2
            while abs(x) < bound:
                x += nu[j] * dt + math.sqrt(dt) * rng.standard_normal()
                t += dt
                bound *= shrink
            trial[0] = x > 0
            trial[1] = t0[j] + t - dt * rng.random()  # somewhere within the last step


def decide(parameters: Mapping[str, Any], n_trials: int, *, seed: Any, dt: float) -> NDArray:
    """Simulate choices and times (s) of people, (..., n_trials, 2): as `eamlab.Model` asks for.

    Parameters
    ----------
    parameters : mapping
        ``nu``, ``alpha``, ``t0`` (s) and ``log_kappa`` (1/s), broadcast to a common shape (...).
    n_trials : int
        Trials of each person.
    seed : int, numpy.random.SeedSequence or numpy.random.Generator
        Of the random numbers.
    dt : float
        Length of a step (s).
    """
    names = ("nu", "alpha", "t0", "log_kappa")
    people = np.broadcast_arrays(*(parameters[name] for name in names))
    nu, alpha, t0, log_kappa = (np.ravel(x).astype(float) for x in people)
    trials = np.empty((nu.size, n_trials, 2), dtype="float32")
    _decide(nu, alpha, t0, np.exp(log_kappa), dt, np.random.default_rng(seed), trials)
    return trials.reshape(*people[0].shape, n_trials, 2)


COLLAPSING = Model(
    "COLLAPSING",
    prior=GroupPrior(
        (
            GroupParameter("mu_nu", r"\mu_\nu", 1.0, 0.7, "mean drift rate"),
            GroupParameter("log_sigma_nu", r"\log\sigma_\nu", -0.7, 0.5, "its log sd"),
            GroupParameter(
                "mu_log_alpha", r"\mu_{\log\alpha}", 0.5, 0.3, "mean log boundary at the start"
            ),
            GroupParameter(
                "log_sigma_log_alpha", r"\log\sigma_{\log\alpha}", -1.5, 0.5, "its log sd"
            ),
            GroupParameter("mu_log_t0", r"\mu_{\log t_0}", -1.2, 0.3, "mean log non-decision time"),
            GroupParameter("log_sigma_log_t0", r"\log\sigma_{\log t_0}", -1.5, 0.4, "its log sd"),
            GroupParameter("log_kappa", r"\log\kappa", -0.5, 0.7, "log rate of the collapse (1/s)"),
        )
    ),
    people=(
        PersonParameter("nu", r"\nu", "mu_nu", "log_sigma_nu"),
        PersonParameter("alpha", r"\alpha", "mu_log_alpha", "log_sigma_log_alpha", positive=True),
        PersonParameter("t0", "t_0", "mu_log_t0", "log_sigma_log_t0", positive=True),
    ),
    simulate=decide,
    constants={"dt": 0.01},
)
"""Drift between two bounds, alpha exp(-kappa t) apart: everybody's collapse at the same rate."""
