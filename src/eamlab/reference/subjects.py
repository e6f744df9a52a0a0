"""What the quadrature is given: response times by choice, and the order of group parameters."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from eamlab.model.conditions import conditions_log_density
from eamlab.model.density import FloatArray
from eamlab.model.eam import decision_log_density
from eamlab.model.model import CONDITIONS, GroupPrior, Model
from eamlab.model.simulator import BOUNDARY_SHIFT
from eamlab.study import Study


class Subject(NamedTuple):
    """One subject's trials: response times by choice."""

    lower: FloatArray
    upper: FloatArray

    @property
    def first(self) -> float:
        """Fastest response time."""
        return min(self.lower.min(initial=np.inf), self.upper.min(initial=np.inf))

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return self.lower.size + self.upper.size

    @property
    def statistics(self) -> tuple[float, float, float]:
        """Number of lower and of upper choices, and the sum of all response times."""
        return self.lower.size, self.upper.size, self.lower.sum() + self.upper.sum()


class Pair(NamedTuple):
    """One subject's trials in each of two conditions, one of which may be empty."""

    one: Subject
    other: Subject

    @property
    def n_trials(self) -> int:
        """Number of trials in both."""
        return self.one.n_trials + self.other.n_trials

    @property
    def first(self) -> float:
        """Fastest response time."""
        return min(self.one.first, self.other.first)


def subjects_of(study: Study) -> list[Any]:
    """Split each subject's response times by choice: a `Subject`, or with conditions a `Pair`."""
    people = (a.astype(np.float64) for a in study.by_subject)
    if "condition" not in study.columns:
        return [_split(a) for a in people]
    return [Pair(*(_split(a[a[:, 2] == code]) for code in CONDITIONS)) for a in people]


def _split(trials: FloatArray) -> Subject:
    return Subject(*(trials[trials[:, 0] == choice, 1].copy() for choice in (0.0, 1.0)))


def has_conditions(model: Model) -> bool:
    """Whether a model's likelihood is that of two conditions."""
    return model.density is conditions_log_density


def coordinates(model: Model) -> GroupPrior:
    """Return the prior in the order in which the quadrature keeps group parameters.

    Means of drift, log boundary separation and log non-decision time; their log sds; the start.
    With two conditions then the means and log sds of the changes of drift and log boundary.

    Raises
    ------
    ValueError
        If the quadrature does not know the model's likelihood.
    """
    if model.density is not decision_log_density and not has_conditions(model):
        why = (
            "no density, which an exact posterior needs"
            if model.density is None
            else "another density than the quadrature knows, those of eamlab.EAM and its relatives"
        )
        raise ValueError(
            f"model: {model.name} has {why}; judge what you compose by calibration, el.certify and "
            "el.check."
        )
    people = {p.name: p for p in model.people}
    chosen = [people[name] for name in ("nu", "alpha", "t0")]
    names = [p.mean for p in chosen] + [p.log_sd for p in chosen] + ["beta_raw"]
    if has_conditions(model):
        chosen = [people[name] for name in ("nu_change", "log_alpha_change")]
        names += [p.mean for p in chosen] + [p.log_sd for p in chosen]
    return model.prior.ordered(names)


def boundary_shift(em_dt: float | None) -> float:
    """Outward shift of both bounds that stands for looking at a path every em_dt seconds only."""
    if em_dt is None:
        return 0.0
    if not (np.isscalar(em_dt) and 0.0 < em_dt < 0.1):
        raise ValueError(f"em_dt must be a step length in (0, 0.1) seconds or None; got {em_dt!r}.")
    return BOUNDARY_SHIFT * math.sqrt(em_dt)
