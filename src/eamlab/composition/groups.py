"""Split people into groups, and summarize these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eamlab.backend import bf

import numpy as np

from eamlab.model.model import Model
from eamlab.networks import PooledSummary
from eamlab.study import Study
from eamlab.workflows import model_of

__all__ = [
    "auto_group_sizes",
    "checked_model",
    "group_sizes",
    "split_subjects",
    "summarize_groups",
    "trained_sizes",
]

_SUMMARY_BATCH = 2_000
"""Subjects summarized at once; bounds the memory of the trial network at about 0.1 GB."""


def checked_model(workflow: Any, studies: Sequence[Study] = ()) -> Model:
    """Return the model of a global workflow; refuse another, or studies that it cannot summarize.

    Raises
    ------
    ValueError
        If it is no global workflow, knows no model, or needs as many trials of everybody.
    """
    if not isinstance(workflow, bf.CompositionalWorkflow):
        raise ValueError(
            f"workflow must be a CompositionalWorkflow, got {type(workflow).__name__}; "
            "use global_workflow() or load_pretrained('global')."
        )
    pooled = isinstance(workflow.summary_network, PooledSummary)
    if pooled and any(s.n_trials.min() < s.trials.shape[1] for s in studies):
        raise ValueError(
            "study: the pooled summary network needs the same number of trials for every subject; "
            "use load_pretrained('global')."
        )
    return model_of(workflow)


def trained_sizes(workflow: bf.CompositionalWorkflow) -> Sequence[int]:
    """Return the group sizes that a workflow was trained on, five if its card does not say."""
    training = getattr(workflow, "model_card", {}).get("training", {})
    return training.get("group_sizes", [5])


def group_sizes(
    group_size: int | str | Sequence[int], n_subjects: int, trained: Sequence[int]
) -> tuple[int, ...]:
    """Return the sizes of all groups.

    Parameters
    ----------
    group_size : int, "auto", or tuple of int
        Subjects per group, which must divide J; as `auto_group_sizes`; or the sizes of all groups,
        equal ones next to each other.
    n_subjects : int
        Number of subjects J.
    trained : sequence of int
        Group sizes the network was trained on.

    Raises
    ------
    ValueError
        If J cannot be split so.
    """
    if group_size == "auto":
        return auto_group_sizes(n_subjects, trained)
    if isinstance(group_size, tuple):
        return _given_sizes(group_size, n_subjects)
    if isinstance(group_size, str | bool) or not isinstance(group_size, int | np.integer):
        raise ValueError(f"group_size must be an integer or 'auto', got {group_size!r}.")
    size = int(group_size)
    if size < 1 or n_subjects % size:
        raise ValueError(
            f"group_size must divide the number of subjects: J = {n_subjects}, "
            f"group_size = {size}. Choose a divisor of J or 'auto', or leave out subjects."
        )
    return (size,) * (n_subjects // size)


def _given_sizes(sizes: tuple[int, ...], n_subjects: int) -> tuple[int, ...]:
    together = [size for size in dict.fromkeys(sizes) for _ in range(sizes.count(size))]
    if sum(sizes) != n_subjects or min(sizes, default=0) < 1 or together != list(sizes):
        raise ValueError(
            f"group_size: sizes of groups must be positive, add up to J = {n_subjects}, and stand "
            f"next to their equals, got {len(sizes)} that add up to {sum(sizes)}."
        )
    return sizes


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


def split_subjects(trials: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Split the trials (J, n_trials, 2) of a study into blocks of groups of equal size.

    Parameters
    ----------
    trials : array (J, n_trials, width)
        Of a `Study`.
    sizes : sequence of int
        Sizes of the groups, which add up to J; equal ones stand next to each other.

    Returns
    -------
    list of ndarray (n_groups_of_this_size, size, n_trials, width)
    """
    blocks, start = [], 0
    for size in dict.fromkeys(sizes):
        stop = start + size * sum(s == size for s in sizes)
        blocks.append(trials[start:stop].reshape(-1, size, *trials.shape[1:]))
        start = stop
    return blocks


def summarize_groups(
    workflow: bf.CompositionalWorkflow, blocks: Sequence[np.ndarray]
) -> np.ndarray:
    """Summarize blocks of groups (n_groups, group_size, n_trials, width) piece by piece.

    Returns
    -------
    ndarray (n_groups in all, summary_dim)
    """
    parts = []
    for groups in blocks:
        size = max(1, _SUMMARY_BATCH // groups.shape[1])
        for i in range(0, len(groups), size):
            parts.append(workflow.estimator.summarize({"sim_data": groups[i : i + size]}))
    return np.concatenate(parts)
