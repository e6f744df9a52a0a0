"""The evidence accumulation model of the tutorial: seven group parameters, declared once.

People differ in drift rate, boundary separation and non-decision time; the relative starting point
is shared by all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from eamlab.model.density import log_density
from eamlab.model.model import GroupParameter, GroupPrior, Model, PersonParameter, Seed
from eamlab.model.simulator import simulate_trials

BETA_CONCENTRATION = 50.0
"""Both shape parameters of the Beta prior of the relative starting point."""


def beta_from_raw(beta_raw: Any, concentration: float = BETA_CONCENTRATION) -> np.ndarray:
    r"""Map `beta_raw` ~ N(0, 1) to the relative starting point beta ~ Beta(50, 50).

    The probability integral transform :math:`\beta = F^{-1}_{\mathrm{Beta}(50,50)}(\Phi(x))` gives
    beta exactly its Beta prior while the sampler only ever sees an unbounded normal variable.

    Parameters
    ----------
    beta_raw : array_like
        Values on the real line.
    concentration : float, default 50
        Both shape parameters of the Beta distribution.

    Returns
    -------
    ndarray of the same shape, inside (0, 1).
    """
    x = np.asarray(beta_raw, dtype=float)
    # Phi is evaluated in the lower tail on both sides: 1 - Phi(9) would round to 0.
    lower = stats.beta.ppf(stats.norm.cdf(-np.abs(x)), concentration, concentration)
    return np.where(x > 0, 1.0 - lower, lower)


def simulate_decisions(
    parameters: Mapping[str, NDArray],
    n_trials: int,
    *,
    seed: Seed,
    beta_concentration: float,
    scheme: str = "exact",
    **options: Any,
) -> NDArray[np.float32]:
    """Simulate choices and times of people, as `Model.simulate` is called.

    Parameters
    ----------
    parameters : mapping
        ``nu``, ``alpha``, ``t0`` (s) and ``beta_raw``, broadcast to a common shape (...).
    n_trials, seed, scheme, **options
        As in `eamlab.simulate_trials`, but without steps by default.
    beta_concentration : float
        As `beta_from_raw` takes it.

    Returns
    -------
    ndarray float32 (..., n_trials, 2)
        ``choice`` (0 lower, 1 upper) and ``rt`` in seconds.
    """
    beta = beta_from_raw(parameters["beta_raw"], beta_concentration)
    nu, alpha, t0 = (parameters[name] for name in ("nu", "alpha", "t0"))
    return simulate_trials(nu, alpha, t0, beta, n_trials, seed=seed, scheme=scheme, **options)[0]


def decision_log_density(
    trials: NDArray, parameters: Mapping[str, NDArray], *, beta_concentration: float
) -> NDArray[np.float64]:
    """Log density of trials (..., 2) = (choice, rt), as `Model.density` is called."""
    beta = beta_from_raw(parameters["beta_raw"], beta_concentration)
    nu, alpha, t0 = (parameters[name] for name in ("nu", "alpha", "t0"))
    return log_density(trials[..., 1], trials[..., 0], nu, alpha, t0, beta)


def natural_start(
    parameters: Mapping[str, NDArray], *, beta_concentration: float
) -> dict[str, NDArray]:
    """Return the relative starting point ``beta``, as `Model.natural` is called."""
    return {"beta": beta_from_raw(parameters["beta_raw"], beta_concentration)}


_PRIOR = (  # name, symbol, prior mean and sd; meaning, label
    ("mu_nu", r"\mu_\nu", 0.5, 0.3,
     "mean drift rate of the population", "mean drift"),
    ("mu_log_alpha", r"\mu_{\log\alpha}", 0.0, 0.05,
     "mean log boundary separation", "mean boundary"),
    ("mu_log_t0", r"\mu_{\log t_0}", -1.0, 0.3,
     "mean log non-decision time (log s)", "mean t₀"),
    ("log_sigma_nu", r"\log\sigma_\nu", -1.0, 1.0,
     "log sd of drift rates between subjects", "drift spread"),
    ("log_sigma_log_alpha", r"\log\sigma_{\log\alpha}", -3.0, 1.0,
     "log sd of log boundary separations", "boundary spread"),
    ("log_sigma_log_t0", r"\log\sigma_{\log t_0}", -1.0, 0.3,
     "log sd of log non-decision times", "t₀ spread"),
    ("beta_raw", r"\beta_\mathrm{raw}", 0.0, 1.0,
     "starting point, on the normal scale", "start"),
)  # fmt: skip

EAM = Model(
    name="EAM",
    prior=GroupPrior(tuple(GroupParameter(*row) for row in _PRIOR)),
    people=(
        PersonParameter("nu", r"\nu", "mu_nu", "log_sigma_nu"),
        PersonParameter("alpha", r"\alpha", "mu_log_alpha", "log_sigma_log_alpha", positive=True),
        PersonParameter("t0", r"t_0", "mu_log_t0", "log_sigma_log_t0", positive=True),
    ),
    simulate=simulate_decisions,
    density=decision_log_density,
    natural=natural_start,
    constants={"beta_concentration": BETA_CONCENTRATION},
)
"""The tutorial's model, with names, symbols, means and sds of the seven group parameters."""
