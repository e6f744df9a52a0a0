"""From trials to summaries: check the data, split the subjects into groups, summarize these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bayesflow as bf
import numpy as np

__all__ = [
    "auto_group_sizes",
    "check_sim_data",
    "group_subjects",
    "split_subjects",
    "summarize_groups",
]

_SUMMARY_BATCH = 2_000
"""Subjects summarized at once; bounds the memory of the trial network at about 0.1 GB."""


def check_sim_data(sim_data: Any) -> np.ndarray:
    """Check trials and return them as a float32 array (n_studies, J, n_trials, 2).

    Parameters
    ----------
    sim_data : array (n_studies, J, n_trials, 2) or (J, n_trials, 2), or list of arrays (n_j, 2)
        Choice (0 or 1) and response time (s). A list holds the subjects of one study, who may
        have different numbers of trials; missing ones get a time of zero.

    Raises
    ------
    ValueError
        For other shapes, times that are not finite and positive, or choices other than 0 and 1.
    """
    if isinstance(sim_data, list | tuple):
        return _padded([_check_trials(_subject(a, j)) for j, a in enumerate(sim_data)])
    data = np.asarray(sim_data, dtype="float32")
    if data.ndim == 3:
        data = data[None]
    if data.ndim != 4 or data.shape[-1] != 2 or 0 in data.shape:
        raise ValueError(
            "sim_data must have shape (n_studies, J, n_trials, 2) or (J, n_trials, 2) with (choice,"
            f" rt) on the last axis, or be a list of (n_j, 2) arrays, got {np.shape(sim_data)}."
        )
    return _check_trials(data)


def _subject(trials: Any, index: int) -> np.ndarray:
    array = np.asarray(trials, dtype="float32")
    if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
        raise ValueError(
            f"sim_data: subject {index} of the list must have trials of shape (n_j, 2) = (choice, "
            f"rt) with n_j >= 1, got {array.shape}; leave out subjects without trials."
        )
    return array


def _check_trials(data: np.ndarray) -> np.ndarray:
    choice, rt = data[..., 0], data[..., 1]
    bad = int(np.sum(~(np.isfinite(rt) & (rt > 0))))
    if bad:
        raise ValueError(
            f"sim_data: {bad} response times are not finite and positive; times are in seconds. "
            "Remove missing trials first: a list of (n_j, 2) arrays may have different lengths."
        )
    if not np.all((choice == 0) | (choice == 1)):
        raise ValueError(
            f"sim_data: choices must be 0 (lower) or 1 (upper), got {np.unique(choice)[:5]}; "
            "recode -1 to 0."
        )
    return data


def _padded(subjects: Sequence[np.ndarray]) -> np.ndarray:
    if not subjects:
        raise ValueError("sim_data has no subjects; give at least one.")
    data = np.zeros((1, len(subjects), max(map(len, subjects)), 2), dtype="float32")
    for row, trials in zip(data[0], subjects, strict=True):
        row[: len(trials)] = trials
    return data


def group_subjects(sim_data: Any, group_size: int) -> np.ndarray:
    """Split the subjects of each study into equal groups.

    Parameters
    ----------
    sim_data : array (n_studies, J, n_trials, 2) or (J, n_trials, 2)
        Choice (0 or 1) and response time (s).
    group_size : int
        Subjects per group; must divide J.

    Returns
    -------
    ndarray (n_studies, J / group_size, group_size, n_trials, 2)
    """
    return _equal_groups(check_sim_data(sim_data), group_size)


def _equal_groups(data: np.ndarray, group_size: int) -> np.ndarray:
    n_studies, n_subjects = data.shape[:2]
    if group_size < 1 or n_subjects % group_size:
        raise ValueError(
            f"group_size must divide the number of subjects: J = {n_subjects}, "
            f"group_size = {group_size}. Choose a divisor of J or 'auto', or leave out subjects."
        )
    return data.reshape(n_studies, -1, group_size, *data.shape[2:])


def auto_group_sizes(n_subjects: int, trained: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes of the fewest, nearly equal groups that the network was trained for.

    Fewer terms accumulate less error, and larger groups have posteriors closer to a Gaussian.

    Parameters
    ----------
    n_subjects : int
        Number of subjects J.
    trained : sequence of int
        Group sizes the network was trained on; all between the least and the largest will do.

    Returns
    -------
    tuple of int
        They add up to J and differ by at most one.

    Raises
    ------
    ValueError
        If J cannot be split so.
    """
    n_groups = -(-n_subjects // max(trained))
    least, larger = divmod(n_subjects, n_groups)
    if least < min(trained):
        raise ValueError(
            f"group_size='auto': J = {n_subjects} subjects cannot be split into groups of "
            f"{min(trained)} to {max(trained)}, which the network was trained on; leave out "
            f"{n_subjects % max(trained)} subjects or give group_size."
        )
    return (least + 1,) * larger + (least,) * (n_groups - larger)


def split_subjects(data: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Split checked data (n_studies, J, n_trials, 2) into blocks of groups of equal size.

    Parameters
    ----------
    data : array
        As `check_sim_data` returns it.
    sizes : sequence of int
        Sizes of the groups, equal ones next to each other.

    Returns
    -------
    list of ndarray (n_studies, n_groups_of_this_size, size, n_trials, 2)
    """
    if len(set(sizes)) == 1:
        return [_equal_groups(data, sizes[0])]
    blocks, start = [], 0
    for size in dict.fromkeys(sizes):
        stop = start + size * sum(s == size for s in sizes)
        blocks.append(_equal_groups(data[:, start:stop], size))
        start = stop
    return blocks


def summarize_groups(
    workflow: bf.CompositionalWorkflow, blocks: Sequence[np.ndarray]
) -> np.ndarray:
    """Summarize blocks of groups (n_studies, n_groups, group_size, n_trials, 2) piece by piece.

    Returns
    -------
    ndarray (n_studies, n_groups in all, summary_dim)
    """
    return np.concatenate([_summarize_block(workflow, block) for block in blocks], axis=1)


def _summarize_block(workflow: bf.CompositionalWorkflow, groups: np.ndarray) -> np.ndarray:
    flat = groups.reshape(-1, *groups.shape[2:])
    per_batch = max(1, _SUMMARY_BATCH // groups.shape[2])
    parts = [
        workflow.estimator.summarize({"sim_data": flat[i : i + per_batch]})
        for i in range(0, len(flat), per_batch)
    ]
    return np.concatenate(parts).reshape(*groups.shape[:2], -1)
