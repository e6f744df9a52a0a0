"""The answers of the composition explorer, computed ahead: settings, cells, and their file.

A cell is what the picture needs of one composed posterior: for every parameter a few equally
probable draws, the distance of its mean to the exact one, and the ratio of the two widths. All is
in units of the exact posterior, so that a cell is compact and reads the same at every number of
subjects. ``make results`` writes the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eamlab.draws import Draws
from eamlab.model.eam import EAM
from eamlab.model.model import Model
from eamlab_book.stored import command, load_stored
from eamlab_book.studies import DEMO_SIZES, DemoSettings, exact_of
from eamlab_book.widgets.codec import SCALE, decode, encode, expand, finite, shrink

__all__ = [
    "STOPS",
    "Cell",
    "GridSettings",
    "Settings",
    "all_settings",
    "load_grid",
    "pack_grid",
    "summarize",
]

STOPS: dict[str, tuple[Any, ...]] = {
    "method": ("sum", "gaussian"),
    "n_subjects": DEMO_SIZES,
    "group_size": (5, 20, 100),
    "mini_batch_size": (2, 10, 100),
    "d0": (1.0, 0.1, 0.01),
    "d1": (1.0, 0.1, 0.01),
    "steps": (100, 300),
}
"""The positions of every slider, in the order in which cells are looked up."""

N_POINTS = 25
"""Equally probable draws kept of every parameter."""
_EXACT_POINTS = 49
_NAME = "explorer.json"


@dataclass(frozen=True)
class Settings:
    """Settings of one composition, as the sliders give them.

    Attributes
    ----------
    method : {"sum", "gaussian"}
        Scores added by Euler-Maruyama, or Gaussians multiplied.
    n_subjects, group_size, mini_batch_size, steps : int
        Numbers of subjects, of subjects per group, of groups per estimate of the score, of steps.
    d0, d1 : float
        Bridge at the data end and at the noise end.
    """

    method: str = "sum"
    n_subjects: int = 1000
    group_size: int = 5
    mini_batch_size: int = 10
    d0: float = 1.0
    d1: float = 1.0
    steps: int = 100

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, stops = getattr(self, setting.name), STOPS[setting.name]
            if value not in stops:
                raise ValueError(f"{setting.name} must be one of {stops}, got {value!r}.")

    @property
    def n_groups(self) -> int:
        """Number of composed terms."""
        return self.n_subjects // min(self.group_size, self.n_subjects)

    def effective(self) -> Settings:
        """Return the settings without what plays no part, so that equal runs are equal.

        A group is no larger than the study and a mini-batch no larger than the number of groups;
        a single group is not composed, and products of Gaussians have neither bridge nor
        mini-batch.
        """
        changes: dict[str, Any] = {"group_size": self._least("group_size", self.n_subjects)}
        if self.method == "gaussian":
            changes |= {"steps": STOPS["steps"][0]}
        if self.method == "gaussian" or self.n_groups == 1:
            changes |= {"mini_batch_size": STOPS["mini_batch_size"][0], "d0": 1.0, "d1": 1.0}
        else:
            changes |= {"mini_batch_size": self._least("mini_batch_size", self.n_groups)}
        return replace(self, **changes)

    def _least(self, name: str, there: int) -> int:
        """Return the smallest stop of a slider that takes as many of those there as this one."""
        value: int = getattr(self, name)
        return value if value <= there else next(s for s in STOPS[name] if s >= there)

    def options(self) -> dict[str, Any]:
        """Return the options of `eamlab.compose`."""
        common: dict[str, Any] = {"group_size": min(self.group_size, self.n_subjects)}
        if self.method == "gaussian":
            return common | {"method": "gaussian"}
        common |= {"method": "euler_maruyama", "steps": self.steps}
        if self.n_groups == 1:
            return common
        batch = min(self.mini_batch_size, self.n_groups)
        return common | {"mini_batch_size": batch, "d0": self.d0, "d1": self.d1}


@dataclass(frozen=True)
class GridSettings:
    """What made the stored cells: positions of the sliders, draws, seed, and the studies."""

    stops: Mapping[str, Sequence[Any]] = field(default_factory=STOPS.copy)
    num_samples: int = 100
    seed: int = 11
    demos: tuple[DemoSettings, ...] = tuple(map(DemoSettings, DEMO_SIZES))


def all_settings(stops: Mapping[str, Sequence[Any]] = STOPS) -> list[Settings]:
    """Return every position of the sliders, the last of the `stops` changing fastest."""
    return [settings_of(values) for values in itertools.product(*stops.values())]


@dataclass(frozen=True)
class Cell:
    """What the picture needs of one posterior, in units of the exact one.

    Attributes
    ----------
    points : ndarray (d, N_POINTS)
        (draw - exact mean) / exact sd, at equally spaced probabilities.
    bias, ratio : ndarray (d,)
        (mean - exact mean) / exact sd, and sd / exact sd.
    """

    points: NDArray[np.float64]
    bias: NDArray[np.float64]
    ratio: NDArray[np.float64]

    def packed(self) -> NDArray[np.int16]:
        """Return the cell as int16 (d, N_POINTS + 2)."""
        log_ratio = np.rint(SCALE * np.log(np.clip(self.ratio, 1e-6, 1e6))).astype(np.int16)
        return np.column_stack([shrink(self.points), shrink(self.bias), log_ratio])

    @classmethod
    def unpack(cls, packed: NDArray) -> Cell:
        """Return the cell that `packed` (d, N_POINTS + 2) holds."""
        far = expand(packed[:, :-1])
        return cls(far[:, :-1], far[:, -1], np.exp(packed[:, -1] / SCALE))

    def to_json(self) -> dict[str, list]:
        """Return the cell as lists, for a live answer."""
        return {k: np.round(getattr(self, k), 4).tolist() for k in ("points", "bias", "ratio")}


def summarize(draws: Mapping[str, Any], exact: Draws, *, n_points: int = N_POINTS) -> Cell:
    """Return the cell of a posterior.

    Parameters
    ----------
    draws : Draws
        Of the group parameters. Those that are not finite are moved far out.
    exact : Draws
        The exact posterior of the same study.
    n_points : int, default 25
        Equally probable draws to keep.

    Returns
    -------
    Cell
    """
    z = finite([(draws[k] - exact.mean[k]) / exact.sd[k] for k in EAM.prior.names])
    at = (np.arange(n_points) + 0.5) / n_points
    return Cell(np.quantile(z, at, axis=1).T, z.mean(axis=1), z.std(axis=1))


def pack_grid(cells: Mapping[Settings, Cell], settings: GridSettings) -> dict[str, Any]:
    """Return what the file holds of `cells`, keyed by effective settings, for `write_stored`.

    There must be one for each of ``{s.effective() for s in all_settings(settings.stops)}``.
    """
    number = {key: i for i, key in enumerate(cells)}
    lookup = [number[s.effective()] for s in all_settings(settings.stops)]
    return {
        "names": EAM.prior.names,
        "cells": [list(asdict(key).values()) for key in cells],
        "lookup": encode(np.array(lookup, dtype=np.int16)),
        "packed": encode(np.stack([cell.packed() for cell in cells.values()])),
    }


def load_grid(
    folder: str | Path | None = None,
    *,
    settings: GridSettings | None = None,
    model: Model | None = None,
) -> dict[str, Any]:
    """Load the cells of every position of the sliders.

    Parameters
    ----------
    folder : path, optional
        The package's own data by default.
    settings : GridSettings, optional
        What they must have been made with; those of the shipped ones by default.
    model : Model, optional
        What they must have been made for; `eamlab.EAM` by default.

    Returns
    -------
    dict
        Ready to be sent to the widget, as JSON.

    Raises
    ------
    ValueError
        If the file is missing, or was made with other settings, another model or other weights.
    """
    grid = load_stored(_NAME, settings or GridSettings(), folder, model=model)
    if tuple(grid["names"]) != EAM.prior.names:
        raise ValueError(
            f"{_NAME} was made with another order of parameters than the explorer has now; run "
            f"{command(_NAME)}."
        )
    return grid


def cell_of(grid: Mapping[str, Any], settings: Settings) -> Cell:
    """Return the cell of `settings`."""
    stops = grid["settings"]["stops"]
    position = [stops[k].index(v) for k, v in asdict(settings).items()]
    flat = np.ravel_multi_index(position, [len(stops[k]) for k in STOPS])
    packed = decode(grid["packed"]).reshape(-1, len(EAM.prior), N_POINTS + 2)
    return Cell.unpack(packed[decode(grid["lookup"])[flat]])


@lru_cache(1)
def exact_answers() -> dict[str, Any]:
    """Return the exact posterior of every study, as JSON."""
    return {str(n): exact_answer(exact_of(n)) for n in STOPS["n_subjects"]}


def exact_answer(exact: Draws) -> dict[str, Any]:
    """Return mean, sd and equally probable draws (in exact sds) of an exact posterior, as JSON."""
    cell = summarize(exact, exact, n_points=_EXACT_POINTS)
    return {
        "mean": [exact.mean[k] for k in EAM.prior.names],
        "sd": [exact.sd[k] for k in EAM.prior.names],
        "points": np.round(cell.points, 3).tolist(),
    }


def settings_of(values: Sequence[Any]) -> Settings:
    """Return the settings that one row of the file's ``cells`` holds."""
    return Settings(**dict(zip(STOPS, values, strict=True)))
