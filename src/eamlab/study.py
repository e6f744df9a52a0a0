"""A study: who did which trials, and what made them if it was simulated.

A `Study` is checked when it is made, and nowhere else: every function that infers takes one, or
several as a list. `simulate` makes one from a model, `eamlab.read_trials` from a file.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from eamlab.model.model import Model, Seed, check_count

__all__ = ["Study", "as_studies", "simulate"]

_SHOWN = 10  # people named in a message


@dataclass(frozen=True, eq=False)
class Study:
    """The trials of one study, checked.

    Parameters
    ----------
    trials : array_like (J, n, 2), or sequence of J arrays (n_j, 2)
        Choice (0 lower, 1 upper) and response time (s) of each person. In an array a time of 0
        at the end of a person's trials marks missing ones; a sequence holds people with different
        numbers of trials.
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

    Attributes
    ----------
    trials : ndarray float32 (J, most, 2)
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
        choices other than 0 and 1, or ids that are not as many as people.
    """

    trials: Any
    subjects: Any = None
    truth: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    report: pd.DataFrame | None = None
    model: Model | None = None
    n_trials: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        trials, n_trials = _padded(self.trials)
        _check_trials(trials, n_trials)
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
        return Study(self.trials[index, :most], ids, truth, self.source, None, self.model)

    @property
    def by_subject(self) -> list[NDArray[np.float32]]:
        """A list of J arrays (n_j, 2)."""
        return [a[:n] for a, n in zip(self.trials, self.n_trials, strict=True)]

    @property
    def group(self) -> dict[str, float]:
        """The group parameters of `truth`, empty where they are not known."""
        return {k: float(v) for k, v in self.truth.items() if np.ndim(v) == 0}

    @property
    def frame(self) -> pd.DataFrame:
        """The trials as a tidy table: ``subject``, ``choice``, ``rt`` (s)."""
        choice, rt = np.concatenate(self.by_subject).T
        owner = np.repeat(np.arange(len(self)), self.n_trials)
        ids = pd.Series(self.subjects).iloc[owner].reset_index(drop=True)
        return pd.DataFrame({"subject": ids, "choice": choice.astype(int), "rt": rt})

    @property
    def table(self) -> pd.DataFrame:
        """One row per person: trials, share of upper choices, and quantiles of the times (s)."""
        rows = [
            (len(a), a[:, 0].mean(), *np.quantile(a[:, 1], (0.0, 0.5, 1.0)))
            for a in self.by_subject
        ]
        index = pd.Index(self.subjects, name="subject")
        return pd.DataFrame(rows, index, ["trials", "upper", "fastest", "median", "slowest"])

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
            lines += _report_lines(self.report)
        for note in self.notes:
            lines.append(textwrap.fill(f"  note: {note}", 88, subsequent_indent="    "))
        return "\n".join(lines)


def _report_lines(report: pd.DataFrame) -> Iterable[str]:
    dropped, total = report[1:], report["trials"].sum()
    lost = int(dropped["trials"].sum())
    yield f"  dropped: {lost:,} of {total:,} trials ({lost / total:.1%})"
    for reason, count in dropped["trials"].items():
        yield f"  {count:>7,}  {reason}"


def as_studies(study: Any, name: str = "study") -> list[Study]:
    """Return the studies that a function was given: one, or a list of several.

    Raises
    ------
    ValueError
        For anything else, with what to write instead.
    """
    if isinstance(study, Study):
        return [study]
    if isinstance(study, list | tuple) and study and all(isinstance(s, Study) for s in study):
        return list(study)
    raise ValueError(
        f"{name} must be a Study, or a list of several, got {type(study).__name__}; make one: "
        "el.Study(trials) with trials (J, n, 2) = (choice, rt) or a list of (n_j, 2), "
        "el.read_trials(file), or el.simulate(el.EAM, ...)."
    )


def as_study(study: Any, name: str = "study") -> Study:
    """Return the one study that a function was given; refuse several."""
    studies = as_studies(study, name)
    if len(studies) > 1:
        raise ValueError(f"{name} must be one Study, got {len(studies)}; take one at a time.")
    return studies[0]


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
    studies = [_simulated(model, drawn, i) for i in range(len(data))]
    return studies[0] if n_studies is None else studies


def _simulated(model: Model, drawn: Mapping[str, NDArray], i: int) -> Study:
    group = {name: float(drawn[name][i, 0]) for name in model.prior.names}
    people = {name: drawn[name][i] for name in model.person_names}
    return Study(drawn["sim_data"][i], truth=group | people, model=model)


# --------------------------------------------------------------------------------------------------
# The one check of trials
# --------------------------------------------------------------------------------------------------


def _padded(trials: Any) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Trials as one array (J, most, 2), filled up with zeros, and the number of each person's."""
    if isinstance(trials, np.ndarray) and trials.ndim == 3 and trials.shape[-1] == 2:
        data = _floats(trials).copy()
        there = (data != 0.0).any(axis=-1)
        last = data.shape[1] - np.argmax(there[:, ::-1], axis=1) if data.size else np.zeros(0)
        n_trials = np.where(there.any(axis=1), last, 0).astype(np.intp)
        return data[:, : max(n_trials, default=0)], n_trials
    if not isinstance(trials, list | tuple) and np.ndim(trials) != 1:
        raise ValueError(
            "trials must be an array (J, n, 2) of (choice, rt), or a list of (n_j, 2) arrays, got "
            f"{_what(trials)}; of several studies make one Study each, and read tables with "
            "el.read_trials."
        )
    people = [_floats(a) for a in trials]
    wrong = [j for j, a in enumerate(people) if a.ndim != 2 or a.shape[1] != 2]
    if wrong:
        raise ValueError(
            f"trials: each person needs an array (n_j, 2) of (choice, rt); {wrong[:_SHOWN]} have "
            f"shapes {[people[j].shape for j in wrong[:_SHOWN]]}."
        )
    n_trials = np.array([len(a) for a in people], dtype=np.intp)
    data = np.zeros((len(people), max(n_trials, default=0), 2), dtype="float32")
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


def _check_trials(data: NDArray[np.float32], n_trials: NDArray[np.intp]) -> None:
    if len(data) == 0:
        raise ValueError("trials has no subjects; give at least one.")
    _forbid(n_trials[:, None] < 1, n_trials[:, None], "each person needs a trial", "Leave them out")
    there = np.arange(data.shape[1]) < n_trials[:, None]
    choice, rt = data[..., 0], data[..., 1]
    good = np.isfinite(rt) & (rt > 0.0)
    rule = "response times must be finite and positive, in seconds"
    _forbid(there & ~good, rt, rule, "Remove missing trials first")
    rule = "choices must be 0 (lower) or 1 (upper)"
    _forbid(there & ~np.isin(choice, (0.0, 1.0)), choice, rule, "Recode them; -1 is 0")


def _forbid(bad: NDArray[np.bool_], values: NDArray, rule: str, remedy: str) -> None:
    if bad.any():
        people = np.flatnonzero(bad.any(axis=1))
        raise ValueError(
            f"trials: {rule}; got {np.unique(values[bad])[:5].tolist()} in {int(bad.sum())} places "
            f"of the subjects {people[:_SHOWN].tolist()}. {remedy}."
        )
