"""Write posterior draws for others to read: tidy tables, and netCDF for ArviZ.

netCDF files have the groups ``posterior``, ``observed_data`` and ``posterior_predictive`` with the
dimensions ``chain``, ``draw`` and ``subject``. ArviZ 1.0 and later reads them as `xarray.DataTree`,
earlier versions as ``InferenceData``. They need packages that the library itself does without:
``pip install "eamlab[arviz]"``.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from eamlab.priors import GROUP_PRIOR, SUBJECT_NAMES, beta_from_raw
from eamlab.simulate import simulate_trials
from eamlab.trials import Trials

__all__ = ["predict_trials", "to_datatree", "write_results"]

_MOST_PREDICTED = 20_000_000  # responses kept in memory: 0.1 GB
_QUANTILES = {"q05": 0.05, "median": 0.5, "q95": 0.95}


def write_results(
    folder: str | os.PathLike[str],
    group_draws: Mapping[str, ArrayLike],
    *,
    subject_draws: Mapping[str, ArrayLike] | None = None,
    trials: Trials | None = None,
    netcdf: bool = True,
    predictive_draws: int = 50,
    seed: int = 0,
) -> dict[str, Path]:
    """Write draws and summaries of one study into a folder.

    Each file is written under another name first and renamed when complete, so that a file that is
    there is whole. Files of an earlier call are replaced.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    group_draws : mapping of name to array (1, S, 1) or (S,)
        Draws of the group parameters, from `compose` or as ``exact_posterior(...).samples``.
    subject_draws : mapping of name to array (1, J, S) or (J, S), optional
        Draws of "nu", "alpha" and "t0", from `sample_subject_parameters` with the same
        `group_draws`.
    trials : Trials, optional
        The data: gives the subjects their ids, and goes into the netCDF file.
    netcdf : bool, default True
        Whether to write ``posterior.nc``, too.
    predictive_draws, seed
        As in `to_datatree`.

    Returns
    -------
    dict of str to Path
        ``"group_draws"`` (one row per draw, one column per parameter), ``"group_summary"`` (one row
        per parameter), ``"subject_summary"`` (one row per subject and parameter, if given) and
        ``"posterior"``. Summaries hold mean, sd, and the 5 %, 50 % and 95 % quantiles.

    Raises
    ------
    ValueError
        If draws are of several studies, not finite, or do not belong together.
    ImportError
        If the packages for netCDF are missing; nothing is written then.
    """
    # Everything is made before the first file is written, so that an error leaves none.
    writers = {
        f"{name}.csv": partial(table.to_csv, index=False)
        for name, table in _tables(group_draws, subject_draws, trials).items()
    }
    if netcdf:
        engine = _engine()
        tree = to_datatree(
            group_draws, subject_draws=subject_draws, trials=trials,
            predictive_draws=predictive_draws, seed=seed,
        )  # fmt: skip
        writers["posterior.nc"] = partial(tree.to_netcdf, engine=engine)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in writers.items():
        _replace(folder / name, write)
    return {Path(name).stem: folder / name for name in writers}


def to_datatree(
    group_draws: Mapping[str, ArrayLike],
    *,
    subject_draws: Mapping[str, ArrayLike] | None = None,
    trials: Trials | None = None,
    predictive_draws: int = 50,
    seed: int = 0,
) -> Any:
    """Return draws and data in ArviZ's form.

    Parameters
    ----------
    group_draws, subject_draws, trials
        As in `write_results`.
    predictive_draws : int, default 50
        Draws for which the trials are simulated again, evenly spread over those given and fewer if
        there would be more than 20 million responses. Needs `subject_draws` and `trials`.
    seed : int, default 0
        Seed of these simulations.

    Returns
    -------
    xarray.DataTree
        Group ``posterior``: group parameters and ``beta`` (chain, draw), subject parameters (chain,
        draw, subject). ``observed_data``: ``choice`` and ``rt`` (obs), each with its subject in the
        coordinate ``obs_subject``. ``posterior_predictive``: the same (chain, draw, obs).

    Raises
    ------
    ValueError, ImportError
        As in `write_results`.
    """
    xarray = _xarray()
    group, subjects = _group(group_draws), _subjects(subject_draws, group_draws, trials)
    groups: dict[str, Any] = {"posterior": _posterior(xarray, group, subjects, trials)}
    if trials is not None:
        observed = trials.frame
        coords = _obs_coords(trials)
        seen = {k: ("obs", observed[k].to_numpy()) for k in ("choice", "rt")}
        groups["observed_data"] = xarray.Dataset(seen, coords)
        if subjects is not None:
            most = min(predictive_draws, max(1, _MOST_PREDICTED // len(observed)))
            chosen = _spread(len(group["beta_raw"]), most)
            choice, rt = _predicted(group, subjects, trials, chosen, seed)
            dims, coords = ("chain", "draw", "obs"), coords | {"chain": [0], "draw": chosen}
            again = {"choice": (dims, choice[None]), "rt": (dims, rt[None])}
            groups["posterior_predictive"] = xarray.Dataset(again, coords)
    for dataset in groups.values():
        dataset.attrs |= _attributes(group_draws)
    return xarray.DataTree.from_dict(groups)


def predict_trials(
    group_draws: Mapping[str, ArrayLike],
    subject_draws: Mapping[str, ArrayLike],
    trials: Trials,
    *,
    num_draws: int = 50,
    seed: int = 0,
) -> pd.DataFrame:
    """Simulate the same subjects again: draws of the posterior predictive distribution.

    Every subject makes as many trials as in the data, with the parameters of a joint draw.

    Parameters
    ----------
    group_draws, subject_draws, trials
        As in `write_results`.
    num_draws : int, default 50
        Joint draws to simulate from, evenly spread over those given.
    seed : int, default 0
        Seed of the simulations.

    Returns
    -------
    pandas.DataFrame
        Columns ``draw``, ``subject``, ``choice`` and ``rt`` (s), like ``trials.frame`` for each
        draw.

    Raises
    ------
    ValueError
        If draws are of several studies, not finite, or do not belong together.
    """
    group, subjects = _group(group_draws), _subjects(subject_draws, group_draws, trials)
    if subjects is None:
        raise ValueError("subject_draws are None; draw them with sample_subject_parameters.")
    chosen = _spread(len(group["beta_raw"]), num_draws)
    choice, rt = _predicted(group, subjects, trials, chosen, seed)
    ids = trials.frame["subject"]
    return pd.DataFrame(
        {
            "draw": np.repeat(chosen, len(ids)),
            "subject": np.tile(ids, len(chosen)),
            "choice": choice.ravel(),
            "rt": rt.ravel(),
        }
    )


def _predicted(
    group: Mapping[str, NDArray],
    subjects: Mapping[str, NDArray],
    trials: Trials,
    chosen: NDArray[np.intp],
    seed: int,
) -> tuple[NDArray, NDArray]:
    """Choices and times (n_chosen, n_obs) of the subjects with their parameters of some draws."""
    rng, most = np.random.default_rng(seed), trials.sim_data.shape[1]
    there = np.arange(most) < trials.n_trials[:, None]
    choice = np.empty((len(chosen), there.sum()), dtype="int8")
    rt = np.empty(choice.shape, dtype="float32")
    for row, draw in enumerate(chosen):
        nu, alpha, t0 = (subjects[name][:, draw] for name in SUBJECT_NAMES)
        beta = beta_from_raw(group["beta_raw"][draw])
        data, _ = simulate_trials(nu, alpha, t0, beta, most, seed=rng, scheme="exact")
        choice[row], rt[row] = data[there].T
    return choice, rt


# --------------------------------------------------------------------------------------------------
# Input
# --------------------------------------------------------------------------------------------------


def _group(draws: Mapping[str, ArrayLike]) -> dict[str, NDArray]:
    """Group draws as {name: (S,)}."""
    missing = [name for name in GROUP_PRIOR.names if name not in draws]
    if missing:
        raise ValueError(f"group_draws lacks {missing}; needed are {GROUP_PRIOR.names}.")
    flat = {}
    for name in GROUP_PRIOR.names:
        array = np.asarray(draws[name], dtype=float)
        if array.size != max(array.shape, default=0):
            raise ValueError(
                f"group_draws[{name!r}] must hold one study, shape (1, S, 1) or (S,), got "
                f"{array.shape}; take {{k: v[i:i + 1] for k, v in draws.items()}}."
            )
        flat[name] = _finite(array.ravel(), f"group_draws[{name!r}]")
    if len({len(x) for x in flat.values()}) > 1:
        sizes = {name: len(x) for name, x in flat.items()}
        raise ValueError(f"group_draws must hold equally many draws of each, got {sizes}.")
    return flat


def _subjects(
    draws: Mapping[str, ArrayLike] | None,
    group_draws: Mapping[str, ArrayLike],
    trials: Trials | None,
) -> dict[str, NDArray] | None:
    """Subject draws as {name: (J, S)}, with S as in the group draws and J as in the trials."""
    if draws is None:
        return None
    missing = [name for name in SUBJECT_NAMES if name not in draws]
    if missing:
        raise ValueError(f"subject_draws lacks {missing}; needed are {SUBJECT_NAMES}.")
    arrays = {name: np.asarray(draws[name], dtype=float) for name in SUBJECT_NAMES}
    arrays = {k: a[0] if a.ndim == 3 and len(a) == 1 else a for k, a in arrays.items()}
    n_draws = np.size(group_draws[GROUP_PRIOR.names[0]])
    for name, array in arrays.items():
        n_subjects = len(trials) if trials is not None else len(arrays[SUBJECT_NAMES[0]])
        if array.shape != (n_subjects, n_draws):
            raise ValueError(
                f"subject_draws[{name!r}] must have shape (J, S) = ({n_subjects}, {n_draws}): the "
                f"subjects of the trials, and a draw for each group draw; got {array.shape}."
            )
        _finite(array, f"subject_draws[{name!r}]")
    return arrays


def _finite(array: NDArray, what: str) -> NDArray:
    bad = int(np.sum(~np.isfinite(array)))
    if bad or not array.size:
        raise ValueError(f"{what} has {bad} of {array.size} draws that are not finite.")
    return array


def _spread(n: int, most: int) -> NDArray[np.intp]:
    """At most so many of n draws, evenly spread."""
    if most < 1:
        raise ValueError(f"the number of predictive draws must be at least 1, got {most}.")
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.intp))


def _names_of(subjects: Mapping[str, NDArray] | None, trials: Trials | None) -> list[Any]:
    """Ids of the subjects, all numbers or all text."""
    if trials is None:
        return list(range(len(subjects["nu"]))) if subjects is not None else []
    plain = all(type(x) is int for x in trials.subjects)
    return list(trials.subjects) if plain else [str(x) for x in trials.subjects]


# --------------------------------------------------------------------------------------------------
# Output
# --------------------------------------------------------------------------------------------------


def _tables(
    group_draws: Mapping[str, ArrayLike],
    subject_draws: Mapping[str, ArrayLike] | None,
    trials: Trials | None,
) -> dict[str, pd.DataFrame]:
    group, subjects = _group(group_draws), _subjects(subject_draws, group_draws, trials)
    tables = {"group_draws": pd.DataFrame(group).rename_axis("draw").reset_index()}
    tables["group_summary"] = pd.concat([_summary(k, x[None]) for k, x in group.items()])
    if subjects is not None:
        tables["subject_summary"] = _subject_summary(subjects, trials)
    return tables


def _summary(name: str, draws: NDArray) -> pd.DataFrame:
    """Summaries of draws (n, S) of a parameter, one row for each of n."""
    columns: dict[str, Any] = {"parameter": name, "mean": draws.mean(-1), "sd": draws.std(-1)}
    quantiles = np.quantile(draws, list(_QUANTILES.values()), axis=-1)
    return pd.DataFrame(columns | dict(zip(_QUANTILES, quantiles, strict=True)))


def _subject_summary(subjects: Mapping[str, NDArray], trials: Trials | None) -> pd.DataFrame:
    table = pd.concat([_summary(name, draws) for name, draws in subjects.items()])
    names = pd.Series(_names_of(subjects, trials))
    table.insert(0, "subject", names[table.index])
    if trials is not None:
        table.insert(1, "n_trials", trials.n_trials[table.index])
    return table.sort_index(kind="stable")  # all parameters of the first subject come first


def _posterior(
    xarray: Any,
    group: Mapping[str, NDArray],
    subjects: Mapping[str, NDArray] | None,
    trials: Trials | None,
) -> Any:
    columns: dict[str, Any] = {name: (("chain", "draw"), x[None]) for name, x in group.items()}
    columns["beta"] = (("chain", "draw"), beta_from_raw(group["beta_raw"])[None])
    coords: dict[str, Any] = {"chain": [0], "draw": np.arange(len(group["beta_raw"]))}
    if subjects is not None:
        coords["subject"] = _names_of(subjects, trials)
        for name, x in subjects.items():
            columns[name] = (("chain", "draw", "subject"), x.T[None])
    return xarray.Dataset(columns, coords)


def _obs_coords(trials: Trials) -> dict[str, Any]:
    owner = np.repeat(np.arange(len(trials)), trials.n_trials)
    ids = np.asarray(_names_of(None, trials))[owner]
    return {"obs": np.arange(len(owner)), "obs_subject": ("obs", ids)}


def _attributes(group_draws: Mapping[str, ArrayLike]) -> dict[str, str]:
    from eamlab import __version__

    settings = getattr(group_draws, "settings", {})
    return {
        "inference_library": "eamlab",
        "inference_library_version": __version__,
        "settings": json.dumps(settings, default=str),
    }


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under another name beside its place, then move it there."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(scratch)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError(_MISSING.format("xarray")) from error
    if not hasattr(xarray, "DataTree"):
        raise ImportError(_MISSING.format("xarray 2024.10 or later"))
    return xarray


def _engine() -> str:
    for engine, module in {"h5netcdf": "h5netcdf", "netcdf4": "netCDF4"}.items():
        if importlib.util.find_spec(module) is not None:
            return engine
    raise ImportError(_MISSING.format("h5netcdf"))


_MISSING = (
    '{} is needed for netCDF and ArviZ: pip install "eamlab[arviz]", or write the tables only with '
    "netcdf=False."
)
