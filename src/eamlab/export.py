"""Draws for others to read: tidy tables, and ArviZ's form, which is also written as netCDF.

netCDF files have the groups ``posterior``, ``observed_data``, ``posterior_predictive`` and
``log_likelihood`` with the dimensions ``chain``, ``draw``, ``subject`` and ``obs``. ArviZ 1.0 and
later reads them as `xarray.DataTree`, earlier versions as ``InferenceData``. They need packages
that the library itself does without: ``pip install "eamlab[arviz]"``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eamlab import __version__
from eamlab.draws import check_finite, model_of_draws
from eamlab.files import replaced
from eamlab.model.model import Model, check_count, generator
from eamlab.study import Study, as_study

if TYPE_CHECKING:
    from xarray import DataTree

    from eamlab.draws import Draws

_MOST_VALUES = 20_000_000  # numbers per group kept in memory: 0.1 GB


def write(
    draws: Draws, folder: str | os.PathLike[str], study: Study | None, netcdf: bool, **options: Any
) -> dict[str, Path]:
    """Write draws and summaries of one study into a folder; see `Draws.write`."""
    study = _checked(draws, study)
    # Everything is made before the first file is written, so that an error leaves none.
    tables = _tables(draws, study)
    writers: dict[str, Callable] = {
        f"{name}.csv": partial(table.to_csv, index=False) for name, table in tables.items()
    }
    if netcdf:
        engines = {"h5netcdf": "h5netcdf", "netcdf4": "netCDF4"}
        found = [e for e, module in engines.items() if importlib.util.find_spec(module)]
        if not found:
            raise ImportError(_MISSING.format("h5netcdf"))
        tree = to_datatree(draws, study, **options)
        writers["posterior.nc"] = partial(tree.to_netcdf, engine=found[0])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, writer in writers.items():
        with replaced(folder / name) as scratch:
            writer(scratch)
    return {Path(name).stem: folder / name for name in writers}


def to_datatree(
    draws: Draws, study: Study | None = None, *, predictive_draws: int = 50, seed: int = 0
) -> DataTree:
    """Return draws and data in ArviZ's form.

    Parameters
    ----------
    draws : Draws
        Of a group, or of a group and its people (`eamlab.people`).
    study : Study, optional
        The data.
    predictive_draws : int, default 50
        Draws for which the trials are simulated again and their likelihood is computed, evenly
        spread over those given, and fewer if there would be more than 20 million numbers. Needs
        people's parameters, `study`, and for the likelihood a model with a density.
    seed : int, default 0
        Seed of these simulations.

    Returns
    -------
    xarray.DataTree
        Group ``posterior``: group parameters (chain, draw), people's (chain, draw, subject).
        ``observed_data``: ``choice`` and ``rt``, or what else the study's trials consist of (obs),
        each with its person in the coordinate ``obs_subject`` and its condition, if there are any,
        in ``obs_condition``. ``posterior_predictive``: the same (chain, draw, obs).
        ``log_likelihood``: ``trial`` (chain, draw, obs), with all draws where they fit into
        memory, for ``az.loo``.

    Raises
    ------
    ValueError, ImportError
        If draws are not finite or not those of the study's people; if packages are missing.
    """
    try:
        import xarray
    except ImportError as error:
        raise ImportError(_MISSING.format("xarray")) from error
    if not hasattr(xarray, "DataTree"):
        raise ImportError(_MISSING.format("xarray 2024.10 or later"))
    study = _checked(draws, study)
    groups = {"posterior": _posterior(xarray, draws, study)}
    if study is not None:
        frame = study.frame
        ids = np.asarray(_ids(study.subjects))
        owner = np.repeat(np.arange(len(study)), study.n_trials)
        coords = {"obs": np.arange(len(owner)), "obs_subject": ("obs", ids[owner])}
        if study.design:
            coords["obs_condition"] = ("obs", frame["condition"].to_numpy(dtype=str))
        seen = {k: ("obs", frame[k].to_numpy()) for k in study.columns if k not in study.design}
        groups["observed_data"] = xarray.Dataset(seen, coords)
        if draws.person_names:
            groups |= _per_trial(xarray, draws, study, coords, predictive_draws, seed)
    attributes = {
        "created_at": datetime.now(UTC).isoformat(),
        "creation_library": "eamlab",
        "creation_library_version": __version__,
        "inference_library": "eamlab",
        "inference_library_version": __version__,
        "sample_dims": ["chain", "draw"],
        "settings": json.dumps(draws.settings, default=str),
        "model": "" if draws.model is None else json.dumps(draws.model.description()),
    }
    for dataset in groups.values():
        dataset.attrs |= attributes
    return xarray.DataTree.from_dict(groups)


def predict(draws: Draws, study: Study, *, num_samples: int = 50, seed: int = 0) -> pd.DataFrame:
    """Simulate the same people again: draws of the posterior predictive distribution.

    Everybody makes as many trials as in the data, in the same conditions, with the parameters of a
    joint draw.

    Parameters
    ----------
    draws : Draws
        Of a group and its people, from `eamlab.people`.
    study : Study
        The data.
    num_samples : int, default 50
        Joint draws to simulate from, evenly spread over those given.
    seed : int, default 0
        Seed of the simulations.

    Returns
    -------
    pandas.DataFrame
        For each draw what ``study.frame`` holds of the data, with a first column ``draw``.

    Raises
    ------
    ValueError
        If draws are not finite, have no people, or not those of the study.
    """
    study = _checked(draws, as_study(study))
    if not draws.person_names:
        raise ValueError("draws hold no people's parameters; draw them with el.people.")
    chosen = _spread(draws.num_samples, check_count("num_samples", num_samples))
    again = _predicted(draws, study, chosen, seed)
    ids = study.frame["subject"]
    who = {"draw": np.repeat(chosen, len(ids)), "subject": np.tile(ids, len(chosen))}
    return pd.DataFrame(who | {k: v.ravel() for k, v in study.named(again).items()})


# --------------------------------------------------------------------------------------------------
# What is written
# --------------------------------------------------------------------------------------------------


def _tables(draws: Draws, study: Study | None) -> dict[str, pd.DataFrame]:
    group = draws.group
    tables = {"group_draws": pd.DataFrame(dict(group)).rename_axis("draw").reset_index()}
    tables["group_summary"] = group.summary().reset_index()
    if draws.person_names:
        people = draws.summary().drop(list(draws.group_names), level="parameter").reset_index()
        if study is not None:
            trials = dict(zip(study.subjects or (), study.n_trials.tolist(), strict=True))
            people.insert(2, "n_trials", people["subject"].map(trials))
        order = {j: i for i, j in enumerate(dict.fromkeys(people["subject"]))}
        people = people.sort_values("subject", key=lambda x: x.map(order), kind="stable")
        columns = ["subject", *(c for c in people if c != "subject")]
        tables["subject_summary"] = people[columns]
    return tables


def _posterior(xarray: Any, draws: Draws, study: Study | None) -> Any:
    axes = {1: ("chain", "draw"), 2: ("chain", "draw", "subject")}
    columns = {k: (axes[v.ndim], v[None]) for k, v in draws.items()}
    model = draws.model
    if model is not None and model.natural is not None:
        natural = model.natural(draws, **model.constants)
        columns |= {k: (axes[v.ndim], v[None]) for k, v in natural.items()}
    coords: dict[str, Any] = {"chain": [0], "draw": np.arange(draws.num_samples)}
    if draws.person_names:
        coords["subject"] = _ids(draws.subjects or range(draws.n_subjects))
    return xarray.Dataset(columns, coords)


def _per_trial(
    xarray: Any, draws: Draws, study: Study, coords: Mapping[str, Any], most: int, seed: int
) -> dict[str, Any]:
    """Predictions, and the likelihood of every trial, at some of the draws."""
    dims, n_obs = ("chain", "draw", "obs"), int(study.n_trials.sum())
    affordable = max(1, _MOST_VALUES // n_obs)
    chosen = _spread(draws.num_samples, min(check_count("predictive_draws", most), affordable))
    again = _predicted(draws, study, chosen, seed)
    columns = {k: v for k, v in study.named(again).items() if k not in study.design}
    if "choice" in columns:
        columns["choice"] = columns["choice"].astype("int8")
    groups = {"posterior_predictive": (columns, chosen)}
    if _model(draws).density is not None:
        chosen = _spread(draws.num_samples, affordable)
        groups["log_likelihood"] = ({"trial": _log_likelihood(draws, study, chosen)}, chosen)
    return {
        name: xarray.Dataset(
            {k: (dims, v[None]) for k, v in columns.items()},
            {**coords, "chain": [0], "draw": draw},
        )
        for name, (columns, draw) in groups.items()
    }


def _predicted(draws: Draws, study: Study, chosen: NDArray[np.intp], seed: int) -> NDArray:
    """Trials (n_chosen, n_obs, width) of the people with their parameters of some draws."""
    rng, most, model = generator(seed), study.trials.shape[1], _model(draws)
    there = np.arange(most) < study.n_trials[:, None]
    rows = [
        model.trials_of({k: v[i] for k, v in draws.items()}, most, seed=rng, **study.design)[there]
        for i in chosen
    ]
    return np.stack(rows)


def _log_likelihood(draws: Draws, study: Study, chosen: NDArray[np.intp]) -> NDArray:
    """Log density (n_chosen, n_obs) of each trial."""
    model, trials = _model(draws), np.concatenate(study.by_subject)
    owner = np.repeat(np.arange(len(study)), study.n_trials)
    taken = {
        k: draws[k][chosen][:, owner] if draws[k].ndim == 2 else draws[k][chosen][:, None]
        for k in (*model.person_names, *model.shared)
    }
    values = model.log_density(trials.astype(float), taken)
    impossible = np.isneginf(values)
    if impossible.any():
        people = np.unique(owner[impossible.any(axis=0)])[:5]
        ids = [study.subjects[j] for j in people]
        warnings.warn(
            f"log_likelihood: {impossible.any(axis=1).sum()} of {len(values)} draws make a trial "
            f"of the subjects {ids} impossible (a network's t0 beyond a response); az.loo needs "
            "draws without them, such as those of el.exact_people.",
            UserWarning,
            stacklevel=2,
        )
    return values


# --------------------------------------------------------------------------------------------------
# Checks and files
# --------------------------------------------------------------------------------------------------


def _model(draws: Draws) -> Model:
    """The model of draws that hold everything its trials need."""
    model = model_of_draws(draws)
    needed = (*model.person_names, *model.shared)
    missing = [name for name in needed if name not in draws]
    if missing:
        raise ValueError(f"draws lack {missing}; trials need all of {needed}.")
    return model


def _checked(draws: Draws, study: Any) -> Any:
    """Return the study; refuse draws that are not finite, or of other people or another model."""
    check_finite(draws)
    if study is None:
        return None
    study = as_study(study, model=draws.model)
    if draws.person_names and (draws.subjects or tuple(range(draws.n_subjects))) != study.subjects:
        raise ValueError(
            f"draws are of {draws.n_subjects} people, study has {len(study)}, or other ids; give "
            "the study that the draws were made from."
        )
    return study


def _spread(n: int, most: int) -> NDArray[np.intp]:
    """At most so many of n draws, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.intp))


def _ids(subjects: Any) -> list[Any]:
    """Ids of the people, all numbers or all text."""
    plain = all(type(x) is int for x in subjects)
    return list(subjects) if plain else [str(x) for x in subjects]


_MISSING = (
    '{} is needed for netCDF and ArviZ: pip install "eamlab[arviz]", or write the tables only.'
)
