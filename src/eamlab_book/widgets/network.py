"""The network behind a live widget: loaded at the first question, not with the page."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import bayesflow as bf

    from eamlab.composition.summed import LiveSampler
    from eamlab.study import Study


class LazyNetwork:
    """A global workflow, its live sampler, and the summaries that it was asked for.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow, optional
        The shipped one by default, loaded when it is first needed.
    num_samples : int
        Draws of the live sampler.
    """

    def __init__(self, workflow: Any = None, *, num_samples: int) -> None:
        self._given, self._num_samples = workflow, num_samples
        self._summaries: dict[Hashable, NDArray[np.float32]] = {}

    @cached_property
    def workflow(self) -> bf.CompositionalWorkflow:
        """The given workflow, or the shipped one."""
        from eamlab.workflows import load_pretrained

        return load_pretrained("global") if self._given is None else self._given

    @cached_property
    def sampler(self) -> LiveSampler:
        """The summed score, compiled once."""
        from eamlab.composition.summed import LiveSampler

        return LiveSampler(self.workflow, num_samples=self._num_samples)

    @property
    def trained(self) -> tuple[int, int]:
        """The smallest and the largest group on which the network was trained."""
        sizes = self.workflow.model_card["training"]["group_sizes"]
        return min(sizes), max(sizes)

    def summaries(self, which: Hashable, study: Study, sizes: Sequence[int]) -> NDArray[np.float32]:
        """Return the summaries (n_groups, summary_dim) of the groups of a study, computed once.

        `which` tells studies apart, `sizes` are those of the groups.
        """
        from eamlab.composition.groups import split_subjects, summarize_groups

        key = (which, tuple(sizes))
        if key not in self._summaries:
            blocks = split_subjects(study.trials, sizes)
            self._summaries[key] = summarize_groups(self.workflow, blocks)
        return self._summaries[key]
