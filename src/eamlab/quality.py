"""Calibration and recovery of a trained workflow at the scale it was trained on.

These checks need no exact posterior; the comparison with the exact one is ``eamlab.grade``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eamlab.backend import bf, keras

import numpy as np

from eamlab.composition.posterior import compose
from eamlab.study import Study
from eamlab.workflows import TrainingSettings, model_of

_QUALITY_SEED_OFFSET = 1_000_003
"""Keeps the data sets that grade a network apart from those that trained it."""


def calibration_and_recovery(
    samples: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Summarize simulation-based calibration and recovery.

    Parameters
    ----------
    samples : mapping of name to array (n_data_sets, n_draws, 1)
        Posterior draws.
    truth : mapping of name to array (n_data_sets, 1)
        The parameters that made the data.
    names : sequence of str
        Which parameters.

    Returns
    -------
    dict of name to dict
        ``log_gamma`` (below 0: the rank ECDF leaves its simultaneous 95 % band; Modrák et al.,
        2025, doi:10.1214/23-BA1404), ``correlation`` of posterior mean and truth, and ``coverage``
        of the central 90 % interval.
    """
    estimates = {k: np.asarray(samples[k]) for k in names}
    targets = {k: np.asarray(truth[k]) for k in names}
    # The null distribution is drawn from NumPy's global generator; seed it for a repeatable card.
    state = np.random.get_state()
    np.random.seed(0)
    log_gamma = bf.diagnostics.calibration_log_gamma(estimates, targets)["values"]
    np.random.set_state(state)
    result = {}
    for name, value in zip(names, np.atleast_1d(log_gamma), strict=True):
        draws, target = estimates[name][..., 0], targets[name][..., 0]
        low, high = np.quantile(draws, [0.05, 0.95], axis=1)
        result[name] = {
            "log_gamma": round(float(value), 3),
            "correlation": round(float(np.corrcoef(draws.mean(axis=1), target)[0, 1]), 3),
            "coverage": round(float(np.mean((low <= target) & (target <= high))), 3),
        }
    return result


def measure_quality(
    workflow: bf.BasicWorkflow,
    kind: str,
    *,
    settings: TrainingSettings,
    n: int = 300,
) -> dict[str, Any]:
    """Grade a trained workflow on `n` fresh data sets of each group size it was trained on.

    Parameters
    ----------
    workflow : bayesflow.BasicWorkflow
        The trained workflow.
    kind : {"global", "local"}
        What it infers. The local workflow is given the true group parameters.
    settings : TrainingSettings
        Scheme, trials and group sizes of its training.
    n : int, default 300
        Data sets, with 100 posterior draws for each; their seed is derived from the training's.

    Returns
    -------
    dict
        ``seed``, ``n``, ``n_draws`` and, per group size, what `calibration_and_recovery` returns.
    """
    seed, n_draws = settings.seed + _QUALITY_SEED_OFFSET, 100
    model = model_of(workflow)
    result: dict[str, Any] = {"seed": seed, "n": n, "n_draws": n_draws}
    for size in sorted(set(settings.group_sizes)):
        data = model.sample(n, size, settings.n_trials, seed=seed + size, **settings.options)
        draw = people_drawn if kind == "local" else _groups_drawn
        names = model.person_names if kind == "local" else model.prior.names
        drawn = draw(workflow, data, n_draws, seed)
        result[str(size)] = calibration_and_recovery(drawn, data, names)
    return result


def people_drawn(
    workflow: bf.BasicWorkflow, data: Mapping[str, np.ndarray], n_draws: int, seed: int
) -> Mapping[str, np.ndarray]:
    """Draw the first person of each data set by a local workflow, given the true group parameters.

    Parameters
    ----------
    workflow : bayesflow.BasicWorkflow
        The trained workflow.
    data : mapping of name to array
        As `Model.sample` returns it.
    n_draws, seed : int
        Posterior draws of each, and their seed.

    Returns
    -------
    mapping of name to array (n_data_sets, n_draws, 1)
    """
    given = {k: data[k] for k in model_of(workflow).prior.names}
    given["sim_data"] = data["sim_data"][:, 0]
    seeds = keras.random.SeedGenerator(seed)
    drawn: Mapping[str, np.ndarray] = workflow.sample(
        num_samples=n_draws, conditions=given, seed=seeds
    )
    return drawn


def _groups_drawn(
    workflow: bf.CompositionalWorkflow, data: Mapping[str, np.ndarray], n_draws: int, seed: int
) -> Mapping[str, np.ndarray]:
    """Draw each group by itself, likewise."""
    model = model_of(workflow)
    studies = [Study(trials, model=model) for trials in data["sim_data"]]
    size = len(studies[0])
    drawn = compose(workflow, studies, num_samples=n_draws, group_size=size, seed=seed)
    return {k: np.stack([draws[k] for draws in drawn])[..., None] for k in model.prior.names}
