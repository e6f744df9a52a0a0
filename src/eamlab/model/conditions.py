"""The same people under two conditions: `eamlab.TWO_CONDITIONS`.

A trial carries the code of its condition, -1/2 or +1/2. A person's drift rate and log boundary
separation are those between the conditions plus code times change; non-decision time and starting
point are the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eamlab.model.density import log_density
from eamlab.model.eam import beta_from_raw, natural_start
from eamlab.model.laboratory import LABORATORY
from eamlab.model.model import (
    CONDITIONS,
    GroupParameter,
    GroupPrior,
    Model,
    PersonParameter,
    Seed,
    seed_sequence,
)
from eamlab.model.simulator import simulate_trials


def in_condition(parameters: Mapping[str, Any], code: ArrayLike) -> dict[str, Any]:
    """Return a person's drift rate, boundary and non-decision time in a condition.

    Parameters
    ----------
    parameters : mapping
        ``nu``, ``nu_change``, ``alpha``, ``log_alpha_change``, ``t0``.
    code : float or array
        -1/2 or +1/2, broadcast against these.
    """
    code = np.asarray(code, dtype=float)
    return {
        "nu": parameters["nu"] + code * parameters["nu_change"],
        "alpha": parameters["alpha"] * np.exp(code * parameters["log_alpha_change"]),
        "t0": parameters["t0"] + 0.0 * code,
    }


def simulate_conditions(
    parameters: Mapping[str, NDArray],
    n_trials: int,
    *,
    seed: Seed,
    beta_concentration: float,
    scheme: str = "exact",
    condition: ArrayLike | None = None,
    share: float | str = 0.5,
    **options: Any,
) -> NDArray[np.float32]:
    """Simulate choices and times of people under two conditions, as `Model.simulate` is called.

    Parameters
    ----------
    parameters : mapping
        As for `in_condition`, and ``beta_raw``, broadcast to a common shape (...).
    n_trials, seed, scheme, **options
        As in `eamlab.simulate_trials`, but without steps by default.
    beta_concentration : float
        As `beta_from_raw` takes it.
    condition : array (..., n_trials), optional
        The code of each trial's condition, such as that of a real study.
    share : float or "uneven", default 0.5
        Without `condition`: everybody's share of trials in the second one, spread evenly over the
        trials. "uneven" draws each person's: around a half, and for one in ten 0 or 1.

    Returns
    -------
    ndarray float32 (..., n_trials, 3)
        ``choice`` (0 lower, 1 upper), ``rt`` in seconds, ``condition``.

    Raises
    ------
    ValueError
        If `share` is neither between 0 and 1 nor "uneven".
    """
    beta = beta_from_raw(parameters["beta_raw"], beta_concentration)
    shape = np.broadcast_shapes(*(np.shape(v) for v in parameters.values()))
    *seeds, share_seed = seed_sequence(seed).spawn(3)
    if condition is None:
        shares = _shares(share, shape, np.random.default_rng(share_seed))
        steps = np.floor(np.arange(n_trials + 1) * shares[..., None] + 0.5)
        condition = np.where(np.diff(steps, axis=-1) > 0, CONDITIONS[1], CONDITIONS[0])
    trials = np.zeros((*shape, n_trials, 3), dtype=np.float32)
    trials[..., 2] = condition
    for code, own_seed in zip(CONDITIONS, seeds, strict=True):
        here = in_condition(parameters, code)
        people = (here["nu"], here["alpha"], here["t0"], beta)
        how: dict[str, Any] = {"seed": own_seed, "scheme": scheme} | options
        data = simulate_trials(*people, n_trials, **how)[0]
        chosen = trials[..., 2] == np.float32(code)
        trials[..., :2][chosen] = data[chosen]
    return trials


def _shares(share: float | str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray:
    """Return each person's share of trials in the second condition."""
    if share == "uneven":
        one_sided = rng.random(shape) < 0.1
        return np.where(one_sided, rng.integers(0, 2, shape), rng.beta(4.0, 4.0, shape))
    if isinstance(share, str) or not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be a number from 0 to 1 or 'uneven', got {share!r}.")
    return np.full(shape, share)


def conditions_log_density(
    trials: NDArray, parameters: Mapping[str, NDArray], *, beta_concentration: float
) -> NDArray[np.float64]:
    """Log density of trials (..., 3), as `Model.density` is called."""
    beta = beta_from_raw(parameters["beta_raw"], beta_concentration)
    here = in_condition(parameters, trials[..., 2])
    return log_density(trials[..., 1], trials[..., 0], here["nu"], here["alpha"], here["t0"], beta)


_CHANGES = (  # name, symbol, prior mean and sd; meaning, label
    ("mu_nu_change", r"\mu_{\Delta\nu}", 0.0, 0.8,
     "mean change of drift rate", "drift change"),
    ("mu_log_alpha_change", r"\mu_{\Delta\log\alpha}", 0.0, 0.3,
     "mean change of log boundary separation", "boundary change"),
    ("log_sigma_nu_change", r"\log\sigma_{\Delta\nu}", -1.2, 0.6,
     "log sd of changes of drift rate between subjects", "drift change spread"),
    ("log_sigma_log_alpha_change", r"\log\sigma_{\Delta\log\alpha}", -2.0, 0.6,
     "log sd of changes of log boundary separation", "boundary change spread"),
)  # fmt: skip

TWO_CONDITIONS = Model(
    name="TWO_CONDITIONS",
    prior=GroupPrior((*LABORATORY.prior.parameters, *(GroupParameter(*row) for row in _CHANGES))),
    people=(
        *LABORATORY.people,
        PersonParameter("nu_change", r"\Delta\nu", "mu_nu_change", "log_sigma_nu_change"),
        PersonParameter(
            "log_alpha_change",
            r"\Delta\log\alpha",
            "mu_log_alpha_change",
            "log_sigma_log_alpha_change",
        ),
    ),
    simulate=simulate_conditions,
    density=conditions_log_density,
    natural=natural_start,
    constants=LABORATORY.constants,
    columns=("choice", "rt", "condition"),
    conditions=CONDITIONS,
)
"""The laboratory's people under two conditions: eleven group parameters."""
