"""A study: who did which trials, and what made them if it was simulated.

A `Study` is checked when it is made, and nowhere else: every function that infers takes one, or
several as a list. `simulate` makes one from a model, `eamlab.read_trials` from a file.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from eamlab.model.model import CONDITIONS, DECISION, Model, Seed, check_count

_SHOWN = 10  # people named in a message


@dataclass(frozen=True, eq=False)
class Study:
    """The trials of one study, checked.

    Parameters
    ----------
    trials : array_like (J, n, width), or sequence of J arrays (n_j, width)
        Choice (0 lower, 1 upper) and response time (s) of each person's trials, and the code of
        the condition if there are two. In an array trials of zeros at the end of a person's mark
        missing ones; a sequence holds people with different numbers of trials.
    subjects : sequence, optional
        The people's ids; 0 to J - 1 by default.
    truth : mapping of str to float or ndarray (J,), optional
        The group's and the people's parameters, where known.
    source : str, optional
        Where the trials are from.
    report : pandas.DataFrame, optional
        What was left out when they were read; see `eamlab.read_trials`.
    model : Model, optional
        What simulated them.
    columns : tuple of str, optional
        What a trial consists of; by default ``choice``, ``rt`` and, as a third, ``condition``, or
        what `model` says.
    conditions : tuple of str, optional
        What the conditions with the codes -1/2 and +1/2 are called.

    Attributes
    ----------
    trials : ndarray float32 (J, most, width)
        Filled up at the end with zeros.
    n_trials : ndarray of int (J,)
        Trials of each person.
    subjects : tuple
        Ids.
    truth : dict

    Raises
    ------
    ValueError
        For other shapes, no people, people without trials, times that are not finite and positive,
        choices other than 0 and 1, conditions other than -1/2 and +1/2, or ids that are not as many
        as people.
    """

    trials: Any
    subjects: Any = None
    truth: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    report: pd.DataFrame | None = None
    model: Model | None = None
    columns: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ("-0.5", "0.5")
    n_trials: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        columns = self.columns or (self.model.columns if self.model else None)
        trials, n_trials = _padded(self.trials, columns)
        columns = columns or (*DECISION, "condition")[: trials.shape[-1]]
        _check_trials(trials, n_trials, columns)
        ids = tuple(range(len(trials)) if self.subjects is None else self.subjects)
        if len(ids) != len(trials) or len(set(ids)) < len(ids):
            raise ValueError(
                f"subjects must be {len(trials)} different ids, one for each person, got "
                f"{len(ids)}, {len(set(ids))} of them different."
            )
        values = {
            "trials": trials,
            "n_trials": n_trials,
            "subjects": ids,
            "truth": dict(self.truth),
            "columns": tuple(columns),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.trials)

    def __getitem__(self, which: slice | Sequence[int] | NDArray) -> Study:
        """Return the study of some of the people: a slice, their positions, or a mask."""
        index = np.arange(len(self))[which]
        if np.ndim(index) != 1 or len(index) == 0:
            raise ValueError(
                f"a study is indexed by a slice or a sequence of positions that leaves somebody, "
                f"got {which!r}; study[:1] is its first person."
            )
        truth = {k: v[index] if np.ndim(v) else v for k, v in self.truth.items()}
        most = self.n_trials[index].max()
        ids = [self.subjects[j] for j in index]
        return replace(
            self, trials=self.trials[index, :most], subjects=ids, truth=truth, report=None
        )

    def under(self, condition: str | None) -> Study:
        """Return the choices and times of one condition, or, for None, of both together.

        The people who did it; their true parameters, which are those of both, are left out.

        Raises
        ------
        ValueError
            If the study has no such condition.
        """
        if "condition" not in self.columns or condition not in (None, *self.conditions):
            known = self.conditions if "condition" in self.columns else "none"
            raise ValueError(f"condition must be one of {known}, or None, got {condition!r}.")
        people = self.by_subject
        if condition is not None:
            code = CONDITIONS[self.conditions.index(condition)]
            people = [a[a[:, 2] == np.float32(code)] for a in people]
        left = [j for j, a in enumerate(people) if len(a)]
        if not left:
            raise ValueError(f"condition {condition!r}: nobody did it.")
        ids = [self.subjects[j] for j in left]
        return Study([people[j][:, :2] for j in left], ids, source=self.source)

    @property
    def by_subject(self) -> list[NDArray[np.float32]]:
        """A list of J arrays (n_j, width)."""
        return [a[:n] for a, n in zip(self.trials, self.n_trials, strict=True)]

    @property
    def group(self) -> dict[str, float]:
        """The group parameters of `truth`, empty where they are not known."""
        return {k: float(v) for k, v in self.truth.items() if np.ndim(v) == 0}

    @property
    def design(self) -> dict[str, NDArray[np.float32]]:
        """What a simulator must be told to do this study again: each trial's condition, if any."""
        if "condition" not in self.columns:
            return {}
        return {"condition": self.trials[..., self.columns.index("condition")]}

    @property
    def frame(self) -> pd.DataFrame:
        """The trials as a tidy table: ``subject``, ``choice``, ``rt`` (s), ``condition``."""
        owner = np.repeat(np.arange(len(self)), self.n_trials)
        ids = pd.Series(self.subjects).iloc[owner].reset_index(drop=True)
        return pd.DataFrame({"subject": ids, **self.named(np.concatenate(self.by_subject))})

    def named(self, trials: NDArray) -> dict[str, NDArray]:
        """Return the columns (...) of trials (..., width), conditions by their names."""
        values = dict(zip(self.columns, np.moveaxis(trials, -1, 0), strict=True))
        if "choice" in values:
            values["choice"] = values["choice"].astype(int)
        if "condition" in values:
            values["condition"] = np.where(values["condition"] < 0, *self.conditions)
        return values

    @property
    def table(self) -> pd.DataFrame:
        """One row per person: trials, share of upper choices, and quantiles of the times (s).

        Where a trial is no decision, the mean of each column; with conditions, one row for each
        person and condition.
        """
        frame = self.frame
        keys = ["subject", *({"condition"} & set(frame))]
        people = frame.groupby(keys, sort=False)
        if not set(DECISION) <= set(frame):
            return people.mean().assign(trials=people.size())
        times = people["rt"]
        columns = {
            "trials": people.size(),
            "upper": people["choice"].mean(),
            "fastest": times.min(),
            "median": times.median(),
            "slowest": times.max(),
        }
        return pd.DataFrame(columns)

    @property
    def notes(self) -> tuple[str, ...]:
        """What deserves a thought before the trials are analyzed; empty if nothing does."""
        return () if self.report is None else tuple(self.report.attrs.get("notes", ()))

    def __repr__(self) -> str:
        n = self.n_trials
        people = f"{len(self):,} subject{'' if len(self) == 1 else 's'}"
        each = f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
        lines = [f"Study: {people}, {n.sum():,} trials ({each} each)"]
        if self.source:
            lines.append(f"  read: {self.source}")
        if self.report is not None:
            dropped, total = self.report[1:], self.report["trials"].sum()
            lost = int(dropped["trials"].sum())
            lines.append(f"  dropped: {lost:,} of {total:,} trials ({lost / total:.1%})")
            lines += [f"  {n:>7,}  {reason}" for reason, n in dropped["trials"].items()]
        for note in self.notes:
            lines.append(textwrap.fill(f"  note: {note}", 88, subsequent_indent="    "))
        return "\n".join(lines)


def as_studies(study: Any, name: str = "study", model: Model | None = None) -> list[Study]:
    """Return the studies that a function was given: one, or a list of several.

    Raises
    ------
    ValueError
        For anything else, with what to write instead; for trials of another kind than the model's.
    """
    if isinstance(study, Study):
        study = [study]
    if not (isinstance(study, list | tuple) and study and all(isinstance(s, Study) for s in study)):
        raise ValueError(
            f"{name} must be a Study, or a list of several, got {type(study).__name__}; make one: "
            "el.Study(trials) with trials (J, n, 2) = (choice, rt) or a list of (n_j, 2), "
            "el.read_trials(file), or el.simulate(el.EAM, ...)."
        )
    for s in study:
        if model is not None and s.columns != model.columns:
            remedy = "take study.under(condition), or study.under(None) for all trials together"
            if "condition" in model.columns:
                remedy = "read it with el.read_trials(..., conditions=), or take another model"
            raise ValueError(
                f"{name} has trials of {s.columns}, and the model {model.name} is one of "
                f"{model.columns}: {remedy}."
            )
    return list(study)


def as_study(study: Any, name: str = "study", model: Model | None = None) -> Study:
    """Return the one study that a function was given; refuse several, and as `as_studies`."""
    studies = as_studies(study, name, model)
    if len(studies) > 1:
        raise ValueError(f"{name} must be one Study, got {len(studies)}; take one at a time.")
    return studies[0]


def told_ids(study: Study) -> tuple[Any, ...] | None:
    """Ids that somebody has given: people who are only counted may be anybody."""
    return study.subjects if study.source or study.subjects != tuple(range(len(study))) else None


def simulate(
    model: Model,
    n_subjects: int,
    n_trials: int | Sequence[int] = 30,
    *,
    seed: Seed,
    n_studies: int | None = None,
    group: Mapping[str, ArrayLike] | None = None,
    **options: Any,
) -> Any:
    """Simulate a study, or several, of a model.

    Parameters
    ----------
    model : Model
        Such as `eamlab.EAM`.
    n_subjects : int
        People of the study.
    n_trials : int or sequence of int, default 30
        Trials of every person, or of each.
    seed : int, numpy.random.SeedSequence or numpy.random.Generator
        The same seed gives the same study.
    n_studies : int, optional
        Number of studies, whose populations differ; by default one.
    group : mapping of name to scalar or array (n_studies, 1), optional
        Group parameters to hold fixed; those not named are drawn from the prior.
    **options
        For the model's simulator. That of `eamlab.EAM` takes ``scheme``, ``dt``, ``max_time`` and
        ``num_threads``, as `eamlab.simulate_trials` does, and simulates without steps by default.

    Returns
    -------
    Study, or list of Study if `n_studies` is given
        With the parameters of group and people as ``.truth``.

    Raises
    ------
    ValueError
        If a count is below 1, `group` does not fit, or an option is out of range.
    """
    check_count("n_subjects", n_subjects)
    counts = np.atleast_1d(n_trials)
    if counts.shape not in ((1,), (n_subjects,)):
        raise ValueError(
            f"n_trials must be a number, or one for each of {n_subjects} people, got "
            f"{len(counts)} numbers."
        )
    for n in counts.tolist():
        check_count("n_trials", n)
    drawn = model.sample(
        1 if n_studies is None else n_studies,
        n_subjects,
        int(counts.max()),
        seed=seed,
        group=group,
        **options,
    )
    data = drawn["sim_data"]
    data[:, np.arange(data.shape[2]) >= np.broadcast_to(counts, n_subjects)[:, None]] = 0.0
    studies = []
    for i, trials in enumerate(data):
        group = {name: float(drawn[name][i, 0]) for name in model.prior.names}
        people = {name: drawn[name][i] for name in model.person_names}
        studies.append(Study(trials, truth=group | people, model=model))
    return studies[0] if n_studies is None else studies


# --------------------------------------------------------------------------------------------------
# The one check of trials
# --------------------------------------------------------------------------------------------------


def _padded(
    trials: Any, columns: tuple[str, ...] | None
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Trials as one array (J, most, width), filled up with zeros, and the number of each person's.

    The width is that of `columns`, or two or three.
    """
    widths = (len(columns),) if columns else (2, 3)
    what = "choice, rt" if columns is None else ", ".join(columns)
    if isinstance(trials, np.ndarray) and trials.ndim == 3 and trials.shape[-1] in widths:
        data = _floats(trials).copy()
        answer = data[..., :2] if columns is None or "rt" in columns else data  # not the condition
        there = (answer != 0.0).any(axis=-1)
        last = data.shape[1] - np.argmax(there[:, ::-1], axis=1) if data.size else np.zeros(0)
        n_trials = np.where(there.any(axis=1), last, 0).astype(np.intp)
        data[np.arange(data.shape[1]) >= n_trials[:, None]] = 0.0
        return data[:, : max(n_trials, default=0)], n_trials
    if not isinstance(trials, list | tuple) and np.ndim(trials) != 1:
        raise ValueError(
            f"trials must be an array (J, n, {widths[0]}) of ({what}), or a list of "
            f"(n_j, {widths[0]}) arrays, got {_what(trials)}; of several studies make one Study "
            "each, and read tables with el.read_trials."
        )
    people = [_floats(a) for a in trials]
    width = people[0].shape[-1] if people and people[0].ndim == 2 else widths[0]
    width = width if width in widths else widths[0]
    wrong = [j for j, a in enumerate(people) if a.ndim != 2 or a.shape[1] != width]
    if wrong:
        raise ValueError(
            f"trials: each person needs an array (n_j, {width}) of ({what}); {wrong[:_SHOWN]} have "
            f"shapes {[people[j].shape for j in wrong[:_SHOWN]]}."
        )
    n_trials = np.array([len(a) for a in people], dtype=np.intp)
    data = np.zeros((len(people), max(n_trials, default=0), width), dtype="float32")
    for row, a in zip(data, people, strict=True):
        row[: len(a)] = a
    return data, n_trials


def _floats(trials: Any) -> NDArray[np.float32]:
    try:
        return np.asarray(trials, dtype="float32")
    except (TypeError, ValueError):
        raise ValueError(
            f"trials must be numbers, got {_what(trials)}; read tables with el.read_trials."
        ) from None


def _what(trials: Any) -> str:
    shape = getattr(trials, "shape", None)
    kind = type(trials).__name__
    return f"{kind} of shape {shape}" if shape is not None else kind


_RULES: dict[str, tuple[str, str, Callable[[NDArray], NDArray[np.bool_]]]] = {
    "choice": (
        "choices must be 0 (lower) or 1 (upper)",
        "Recode them; -1 is 0",
        lambda x: np.isin(x, (0.0, 1.0)),
    ),
    "rt": (
        "response times must be finite and positive, in seconds",
        "Remove missing trials first",
        lambda x: np.isfinite(x) & (x > 0.0),
    ),
    "condition": (
        "conditions must be -0.5 or 0.5",
        "Recode them",
        lambda x: np.isin(x, CONDITIONS),
    ),
}
"""What each column must hold, the remedy, and whether it does."""


def _check_trials(
    data: NDArray[np.float32], n_trials: NDArray[np.intp], columns: Sequence[str]
) -> None:
    if len(data) == 0:
        raise ValueError("trials has no subjects; give at least one.")
    _forbid(n_trials[:, None] < 1, n_trials[:, None], "each person needs a trial", "Leave them out")
    there = np.arange(data.shape[1]) < n_trials[:, None]
    for i, name in sorted(enumerate(columns), key=lambda column: column[1] != "rt"):
        finite = (f"{name} must be finite", "Remove missing trials first", np.isfinite)
        rule, remedy, holds = _RULES.get(name, finite)
        _forbid(there & ~holds(data[..., i]), data[..., i], rule, remedy)
    zeros = there & ~(data != 0.0).any(axis=-1)
    remedy = "Give your trials a further column of ones"
    _forbid(zeros, data[..., 0], "a trial of zeros only stands for a missing one", remedy)


def _forbid(bad: NDArray[np.bool_], values: NDArray, rule: str, remedy: str) -> None:
    if bad.any():
        people = np.flatnonzero(bad.any(axis=1))
        raise ValueError(
            f"trials: {rule}; got {np.unique(values[bad])[:5].tolist()} in {int(bad.sum())} places "
            f"of the subjects {people[:_SHOWN].tolist()}. {remedy}."
        )
