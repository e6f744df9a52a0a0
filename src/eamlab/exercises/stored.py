"""Exact posteriors of the demonstration as stored, without simulating its trials again."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

__all__ = ["exact_draws", "exact_moment"]


@cache
def exact_moment(n_subjects: int, name: str) -> dict[str, float]:
    """Return the exact posterior's "mean" or "sd" by parameter, for the first J subjects."""
    card = json.loads((files("eamlab") / "data" / f"demo_J{n_subjects}.json").read_text())
    return dict(card["exact"][name])


@cache
def exact_draws(n_subjects: int) -> NDArray[np.float64]:
    """Return draws of the exact posterior, (500, 7), in the order of `GROUP_PRIOR.names`."""
    with as_file(files("eamlab") / "data" / f"demo_J{n_subjects}.npz") as path:
        return np.asarray(np.load(path)["samples"], dtype=float)
