"""What the exact posterior is given, checked: one study's trials, and group parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eamlab.density import FloatArray
from eamlab.priors import GROUP_PRIOR
from eamlab.simulate import BOUNDARY_SHIFT

__all__ = ["Subject", "boundary_shift", "group_draws", "offsets", "subjects_of"]


class Subject(NamedTuple):
    """One subject's trials: response times by choice."""

    lower: FloatArray
    upper: FloatArray

    @property
    def first(self) -> float:
        """Fastest response time."""
        return min(self.lower.min(initial=np.inf), self.upper.min(initial=np.inf))

    @property
    def statistics(self) -> tuple[float, float, float]:
        """Number of lower and of upper choices, and the sum of all response times."""
        return self.lower.size, self.upper.size, self.lower.sum() + self.upper.sum()


def subjects_of(sim_data: Any) -> list[Subject]:
    """Check one study and split each subject's response times by choice."""
    arrays = _subject_arrays(sim_data)
    trials = np.concatenate(arrays)
    owner = np.repeat(np.arange(len(arrays)), [len(a) for a in arrays])
    choice, rt = trials.T
    _forbid(~np.isin(choice, (0.0, 1.0)), owner, choice, "choices must be 0 (lower) or 1 (upper)")
    _forbid(~(np.isfinite(rt) & (rt > 0.0)), owner, rt, "response times must be finite and > 0 s")
    return [Subject(a[a[:, 0] == 0.0, 1].copy(), a[a[:, 0] == 1.0, 1].copy()) for a in arrays]


def _subject_arrays(sim_data: Any) -> list[FloatArray]:
    if isinstance(sim_data, Mapping):
        raise ValueError("sim_data must be the trials of one study; pass study['sim_data'][0].")
    if hasattr(sim_data, "ndim") and sim_data.ndim != 3:
        raise ValueError(
            f"sim_data must hold one study, shape (J, n, 2) = (choice, rt), or be a list of "
            f"(n_j, 2) arrays; got shape {sim_data.shape}. Pass sim_data[i] for study i of several."
        )
    arrays = [np.asarray(a, dtype=np.float64) for a in sim_data]
    if not arrays:
        raise ValueError("sim_data has no subjects; give at least one.")
    wrong = [j for j, a in enumerate(arrays) if a.ndim != 2 or a.shape[1] != 2 or len(a) == 0]
    if wrong:
        raise ValueError(
            f"sim_data: each subject needs trials of shape (n_j, 2) = (choice, rt) with n_j >= 1; "
            f"subjects {wrong[:10]} have shapes {[arrays[j].shape for j in wrong[:10]]}. Drop them."
        )
    return arrays


def _forbid(
    bad: NDArray[np.bool_], owner: NDArray[np.int64], values: FloatArray, rule: str
) -> None:
    if bad.any():
        raise ValueError(
            f"sim_data: {rule}; got {np.unique(values[bad])[:5].tolist()} in "
            f"{int(bad.sum())} trials of subjects {np.unique(owner[bad])[:10].tolist()}. "
            "Remove these trials."
        )


def boundary_shift(em_dt: float | None) -> float:
    """Outward shift of both bounds that stands for looking at a path every em_dt seconds only."""
    if em_dt is None:
        return 0.0
    if not (np.isscalar(em_dt) and 0.0 < em_dt < 0.1):
        raise ValueError(f"em_dt must be a step length in (0, 0.1) seconds or None; got {em_dt!r}.")
    return BOUNDARY_SHIFT * math.sqrt(em_dt)


def group_draws(group: Mapping[str, ArrayLike]) -> FloatArray:
    """Group parameters as (S, 7)."""
    missing = [name for name in GROUP_PRIOR.names if name not in group]
    if missing:
        raise ValueError(f"group lacks {missing}; it needs all of {list(GROUP_PRIOR.names)}.")
    columns = [np.asarray(group[name], dtype=float).ravel() for name in GROUP_PRIOR.names]
    sizes = {len(column) for column in columns}
    if len(sizes) > 1 or not all(np.isfinite(column).all() for column in columns):
        raise ValueError(f"group must have finite draws, equally many of each; got {sizes} draws.")
    return np.stack(columns, axis=1)


def offsets(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Where each of several arrays starts when laid end to end, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
