"""The network behind a live widget: loaded at the first question, not with the page."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import bayesflow as bf

    from eamlab.composition.summed import LiveSampler
    from eamlab.study import Study

__all__ = ["LazyNetwork"]


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

    def summaries(self, which: Hashable, study: Study, size: int) -> NDArray[np.float32]:
        """Return the summaries (n_groups, summary_dim) of the groups of a study, computed once.

        `which` tells studies apart.
        """
        from eamlab.composition.groups import summarize_groups

        if (which, size) not in self._summaries:
            groups = study.trials.reshape(-1, size, *study.trials.shape[1:])
            self._summaries[which, size] = summarize_groups(self.workflow, [groups])
        return self._summaries[which, size]
