"""From a file of responses to trials that every function of this library takes.

`read_trials` knows the columns of the field's tools (HSSM, HDDM), asks where it would have to
guess, counts what it leaves out, and refuses what cannot be right. A file is read as text and
numbers; nothing in it is ever evaluated.
"""

from __future__ import annotations

import csv
import os
import re
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["COLUMNS", "TRAINED_TRIALS", "Trials", "read_trials"]

COLUMNS = {
    "subject": ("participant_id", "subj_idx", "subject", "subject_id", "participant", "subj"),
    "rt": ("rt", "reaction_time", "response_time"),
    "response": ("response", "choice"),
}
"""Names by which `read_trials` finds its three columns, in upper or lower case."""

TRAINED_TRIALS = (10, 200)
"""Fewest and most trials of a subject that the shipped networks were trained on."""

_UNITS = {"s": 1.0, "ms": 1e-3}
_LONG, _SHORT = 20.0, 0.02  # median times (s) beyond which the unit must be wrong, or be stated
_MOST_NEGATIVE = 0.2  # share of negative times above which they are not a marker of missed trials
_MUCH_DROPPED = 0.1  # share of the trials
_SHOWN = 5  # ids, values or lines named in a message
_NOT_TEXT = {".xlsx", ".xls", ".ods", ".sav", ".mat", ".rds", ".parquet", ".feather", ".gz", ".zip"}


# --------------------------------------------------------------------------------------------------
# What is handed back
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Trials:
    """The usable trials of a study.

    Attributes
    ----------
    sim_data : ndarray float32 (J, most trials, 2)
        Choice (0 lower, 1 upper) and response time (s). Subjects with fewer trials are filled up at
        the end with a time of 0, which marks a missing trial.
    subjects : tuple
        The subjects' ids, in the order of `sim_data`: that of their first rows.
    n_trials : ndarray of int (J,)
        Trials of each subject.
    report : pandas.DataFrame
        One row for what was kept and one for each reason to leave something out: number of
        ``trials``, number of ``subjects`` concerned, and ``where`` (the first lines of the file, or
        index labels of the frame).
    source : str
        Which file and columns, and how they were read.
    """

    sim_data: NDArray[np.float32]
    subjects: tuple[Any, ...]
    n_trials: NDArray[np.intp]
    report: pd.DataFrame
    source: str

    @property
    def by_subject(self) -> list[NDArray[np.float32]]:
        """A list of J arrays (n_j, 2): the form for functions that take subjects of any length."""
        return [a[:n] for a, n in zip(self.sim_data, self.n_trials, strict=True)]

    @property
    def frame(self) -> pd.DataFrame:
        """The usable trials as a tidy table: ``subject``, ``choice``, ``rt`` (s)."""
        choice, rt = np.concatenate(self.by_subject).T
        owner = np.repeat(np.arange(len(self.subjects)), self.n_trials)
        ids = pd.Series(self.subjects).iloc[owner].reset_index(drop=True)
        return pd.DataFrame({"subject": ids, "choice": choice.astype(int), "rt": rt})

    @property
    def table(self) -> pd.DataFrame:
        """One row per subject: trials, share of upper choices, and quantiles of the times (s)."""
        rows = [
            (len(a), a[:, 0].mean(), *np.quantile(a[:, 1], (0.0, 0.5, 1.0)))
            for a in self.by_subject
        ]
        index = pd.Index(self.subjects, name="subject")
        return pd.DataFrame(rows, index, ["trials", "upper", "fastest", "median", "slowest"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What deserves a thought before the trials are analyzed; empty if nothing does."""
        return tuple(_notes(self))

    def __len__(self) -> int:
        return len(self.subjects)

    def __repr__(self) -> str:
        n, dropped = self.n_trials, self.report[1:]
        total = self.report["trials"].sum()
        lost = int(dropped["trials"].sum())
        lines = [
            f"Trials: {len(self):,} subjects, {n.sum():,} trials ({n.min()} to {n.max()} each)",
            f"  read: {self.source}",
            f"  dropped: {lost:,} of {total:,} trials ({lost / total:.1%})",
            *(f"  {count:>7,}  {reason}" for reason, count in dropped["trials"].items()),
            *(
                textwrap.fill(f"  note: {note}", 88, subsequent_indent="    ")
                for note in self.notes
            ),
        ]
        return "\n".join(lines)


def _notes(trials: Trials) -> Iterable[str]:
    fewest, most = TRAINED_TRIALS
    n, upper = trials.n_trials, trials.table["upper"].to_numpy()
    outside = {f"fewer than {fewest}": n < fewest, f"more than {most}": n > most}
    for what, which in outside.items():
        if which.any():
            yield (
                f"{_count(which, 'subject')} with {what} trials ({_some(_ids(trials, which))}); "
                f"the shipped networks were trained on {fewest} to {most} and extrapolate here"
            )
    if np.all(upper == upper[0]) and upper[0] in (0.0, 1.0):
        yield "all responses are the same; check the coding of the column"
    share = 1.0 - trials.report["trials"].iloc[0] / trials.report["trials"].sum()
    if share > _MUCH_DROPPED:
        yield f"{share:.0%} of the trials were dropped; were these missing at random?"


def _ids(trials: Trials, which: NDArray[np.bool_]) -> list[Any]:
    return [trials.subjects[j] for j in np.flatnonzero(which)]


# --------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------


class _Rules(NamedTuple):
    """The options of `read_trials`, checked."""

    columns: Mapping[str, str]
    unit: str | None
    coding: Mapping[Any, int | None] | None
    missing: frozenset[Any]
    rt_range: tuple[float, float] | None
    min_trials: int | None


def read_trials(
    path_or_frame: Any,
    *,
    columns: Mapping[str, str] | None = None,
    unit: str | None = None,
    coding: Mapping[Any, int | None] | None = None,
    missing: Sequence[Any] = (),
    rt_range: tuple[float, float] | None = None,
    min_trials: int | None = None,
) -> Trials:
    """Read a study: one row per trial, with subject, response time and response.

    Rows may come in any order, and subjects may have different numbers of trials. Rows without
    subject, time or response, and with times that are not positive, are left out and counted.
    Nothing else is: times are neither trimmed nor rounded unless you say so.

    Parameters
    ----------
    path_or_frame : str, path or pandas.DataFrame
        A text file with a header, separated by commas, semicolons or tabs; or a frame. Anything
        with ``to_pandas`` and a mapping of columns will do, too.
    columns : mapping, optional
        Your names of "subject", "rt" and "response", as far as they are not among `COLUMNS`, or if
        several are.
    unit : {"s", "ms"}, optional
        Unit of the times. Default: seconds, and an error that asks if they look like milliseconds.
    coding : mapping, optional
        What the responses mean: value to 0 (lower bound), 1 (upper bound) or None (no response).
        Default: 0 and 1 (or false and true), or -1 and 1.
    missing : sequence, optional
        Values of time or response that mean "missing", beside empty fields and the usual "NA".
    rt_range : tuple of two floats, optional
        Shortest and longest time (s) to keep. Default: all positive times.
    min_trials : int, optional
        Leave out subjects with fewer usable trials. Default: keep all, and an error if a subject
        has none.

    Returns
    -------
    Trials
        Print it to see what was read and dropped. ``.by_subject`` is for `compose`,
        `sample_subject_parameters` and `exact_posterior`, ``.sim_data`` for `predictive_check`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a table of trials, if columns are missing, ambiguous or doubled, if times
        are not numbers, signed by the response or of an unclear unit, if responses have another
        coding, if a subject has no usable trial, or if an option is out of range. The message says
        what to do.
    """
    rules = _rules(columns, unit, coding, missing, rt_range, min_trials)
    frame, source = _frame(path_or_frame)
    names = _found(frame, rules.columns)
    rows = pd.DataFrame(
        {
            "subject": _subject_ids(frame[names["subject"]]),
            "rt": _times(frame[names["rt"]], rules.missing),
            "response": _responses(frame[names["response"]], rules),
        }
    )
    _refuse_signed(rows)
    rows["rt"], unit = _seconds(rows, rules.unit)
    reason = _reasons(rows, rules)
    source = f"{source}; {names['subject']}, {names['rt']} ({unit}), {names['response']}"
    return _packed(rows, reason, source)


def _rules(
    columns: Mapping[str, str] | None,
    unit: str | None,
    coding: Mapping[Any, int | None] | None,
    missing: Sequence[Any],
    rt_range: tuple[float, float] | None,
    min_trials: int | None,
) -> _Rules:
    unknown = [k for k in columns or {} if k not in COLUMNS]
    if unknown:
        raise ValueError(f"columns has unknown keys {unknown}; known are {list(COLUMNS)}.")
    if unit not in (None, *_UNITS):
        raise ValueError(f"unit must be 's' or 'ms', got {unit!r}.")
    if coding is not None and not {v for v in coding.values() if v is not None} <= {0, 1}:
        raise ValueError(f"coding must map to 0 (lower), 1 (upper) or None, got {dict(coding)}.")
    if isinstance(missing, str):
        raise ValueError(f"missing must be a sequence of values; write missing=({missing!r},).")
    if rt_range is not None and not (len(rt_range) == 2 and 0 <= rt_range[0] < rt_range[1]):
        raise ValueError(f"rt_range must be (shortest, longest) in seconds, got {rt_range!r}.")
    if min_trials is not None and not (isinstance(min_trials, int) and min_trials >= 1):
        raise ValueError(f"min_trials must be a positive integer, got {min_trials!r}.")
    keyed = None if coding is None else {_key(k): v for k, v in coding.items()}
    absent = frozenset(map(_key, missing))
    return _Rules(columns or {}, unit, keyed, absent, rt_range, min_trials)


# --------------------------------------------------------------------------------------------------
# The table
# --------------------------------------------------------------------------------------------------


def _frame(path_or_frame: Any) -> tuple[pd.DataFrame, str]:
    """Return the table and where it is from."""
    if isinstance(path_or_frame, str | os.PathLike):
        path = Path(path_or_frame)
        frame, source = _read_text(path), path.name
    elif isinstance(path_or_frame, pd.DataFrame):
        frame, source = path_or_frame, "a frame"
    elif hasattr(path_or_frame, "to_pandas"):
        frame, source = path_or_frame.to_pandas(), "a frame"
    elif isinstance(path_or_frame, Mapping):
        frame, source = pd.DataFrame(path_or_frame), "a mapping"
    else:
        raise ValueError(
            f"path_or_frame must be a path or a DataFrame, got {type(path_or_frame).__name__}."
        )
    _refuse_doubled(frame.columns)
    if not frame.index.is_unique:  # of several files, one below the other
        frame = frame.reset_index(drop=True)
    if frame.dropna(how="all").empty:
        raise ValueError(f"{source} has no rows below its header; it needs one row per trial.")
    return frame, source


def _refuse_doubled(names: Iterable[Any]) -> None:
    names = [str(name).strip() for name in names]
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        raise ValueError(
            f"columns {doubled} occur more than once; rename or remove all but one of each."
        )


def _read_text(path: Path) -> pd.DataFrame:
    """Read a file as text, with the numbers of its lines as index."""
    _refuse_other_files(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            separator = max(",;\t", key=header.count)
            names = _header(header, separator)
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = pd.read_csv(
                    file, sep=separator, header=None, names=names, index_col=False, dtype=str,
                    skip_blank_lines=False, skipinitialspace=True,
                )  # fmt: skip
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is not UTF-8 text; if it is a text file of another encoding, try "
            "read_trials(pandas.read_csv(path, encoding='latin-1'))."
        ) from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"{path.name} is not a table with one header line and as many fields in each line as "
            f"names in the header: {error}. Its header: {header.strip()[:80]!r}."
        ) from error
    frame.index += 2  # the line of a row: the header is line 1
    return frame.dropna(how="all")


def _header(line: str, separator: str) -> list[str]:
    names = next(csv.reader([line], delimiter=separator), [])
    _refuse_doubled(names)
    return [name.strip() or f"unnamed {i}" for i, name in enumerate(names)] or ["unnamed"]


def _refuse_other_files(path: Path) -> None:
    if not path.is_file():
        here = sorted(p.name for p in path.parent.glob("*.csv"))
        raise FileNotFoundError(
            f"path_or_frame: there is no file {str(path)!r} (seen from {Path.cwd()}); CSV files in "
            f"its folder: {_some(here) or 'none'}."
        )
    if path.suffix.lower() in _NOT_TEXT:
        raise ValueError(
            f"{path.name} is not a text file; read it with pandas and hand over the frame, or save "
            "it as CSV."
        )


def _found(frame: pd.DataFrame, given: Mapping[str, str]) -> dict[str, Any]:
    """The names of the three columns."""
    names = {}
    for role, known in COLUMNS.items():
        if role in given:
            found = [name for name in frame.columns if name == given[role]]
        else:
            found = [name for name in frame.columns if str(name).strip().lower() in known]
        if len(found) != 1:
            raise ValueError(_column_question(role, given.get(role), found, frame))
        names[role] = found[0]
    return names


def _column_question(role: str, given: str | None, found: list[Any], frame: pd.DataFrame) -> str:
    if found:
        return (
            f"{found} could all be the {role} column; say which: "
            f"columns={{{role!r}: {found[0]!r}}}."
        )
    looked = f"{given!r}" if given is not None else f"any of {list(COLUMNS[role])}"
    text = (
        f"no {role} column: looked for {looked}, the table has {list(frame.columns)}. Say which it "
        f"is: columns={{{role!r}: 'your name'}}."
    )
    if role == "response":
        text += (
            " If the sign of the times is the response, as in HDDM's plots, make one: "
            "frame['response'] = (frame['rt'] > 0).astype(int); frame['rt'] = frame['rt'].abs()."
        )
    return text


# --------------------------------------------------------------------------------------------------
# The three columns
# --------------------------------------------------------------------------------------------------


def _key(value: Any) -> Any:
    """A value as a number if it is one, else as text; true and false are 1 and 0."""
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return text if "_" in text else float(text)  # Python would read 1_5 as 15
    except ValueError:
        return text


def _subject_ids(column: pd.Series) -> pd.Series:
    """Ids as integers where all are, so that "7" and 7.0 are one subject, else as they stand."""
    there = column.dropna()
    texts = there.astype(str).str.strip()
    if texts.str.fullmatch(r"(0|[1-9]\d{0,17})(\.0)?").all():
        ids = texts.str.removesuffix(".0").astype(int).astype(object)
    else:
        ids = texts.astype(object) if all(isinstance(x, str) for x in there) else there
    return ids.reindex(column.index)


def _times(column: pd.Series, missing: frozenset[Any]) -> pd.Series:
    """Times as numbers in the file's own unit, NaN where missing."""
    keys = _keys(column, missing)
    words = [key for key in keys.dropna().unique() if isinstance(key, str)]
    if words:
        comma = all(re.fullmatch(r"\d+,\d+", word) for word in words)
        remedy = (
            "these have decimal commas: read_trials(pandas.read_csv(path, sep=';', decimal=','))"
            if comma
            else f"if they mean 'no response', say missing={tuple(words[:_SHOWN])}"
        )
        raise ValueError(
            f"column {column.name!r} (rt) has {int(keys.isin(words).sum())} values that are not "
            f"numbers: {_some(words)}; {remedy}."
        )
    return keys.astype(float)


def _responses(column: pd.Series, rules: _Rules) -> pd.Series:
    """Responses as 0, 1 or NaN."""
    keys = _keys(column, rules.missing)
    values = sorted(keys.dropna().unique(), key=str)
    if rules.coding is not None:
        coding = dict(rules.coding)
    else:
        low = -1.0 if -1.0 in values else 0.0
        coding = {low: 0, 1.0: 1}
    if any(value not in coding for value in values):
        raise ValueError(_coding_question(column.name, values, rules.coding))
    return keys.map(coding).astype(float)


def _keys(column: pd.Series, missing: frozenset[Any]) -> pd.Series:
    """Each value as `_key` has it, NaN where missing; every distinct value is looked at once."""
    keys = {value: _key(value) for value in column.dropna().unique()}
    kept = {value: key for value, key in keys.items() if key not in missing and key == key}
    return column.astype(object).map(kept)


def _coding_question(name: Any, values: list[Any], coding: Mapping[Any, Any] | None) -> str:
    values = [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
    text = f"column {name!r} (response) has the values {_some(values)}; "
    if coding is not None:
        return text + f"coding={dict(coding)} says nothing of some; None means no response."
    if values == [-1, 0, 1]:
        return text + (
            "if 0 means no response, say coding={-1: 0, 1: 1, 0: None}, which maps to 0 (lower), "
            "1 (upper) and missing."
        )
    if len(values) == 2:
        low, high = values
        return text + f"say which is 0 (lower) and 1 (upper): coding={{{low!r}: 0, {high!r}: 1}}?"
    return text + (
        "the model has two choices. Say which value is 0 (lower), 1 (upper) or None (no response): "
        "coding={value: 0, ...}."
    )


def _refuse_signed(rows: pd.DataFrame) -> None:
    """Refuse times that carry the response in their sign, or that are mostly negative."""
    known = rows.dropna(subset=["rt", "response"])
    negative, lower = known["rt"] < 0, known["response"] == 0
    if known.empty or not negative.any():
        return
    if negative.all():
        raise ValueError("rt: all times are negative; response times are positive.")
    if (negative == lower).all() or negative.mean() > _MOST_NEGATIVE:
        raise ValueError(
            f"rt: {negative.mean():.0%} of the times are negative, as if their sign were the "
            "response (HDDM's flip_errors). Take it away: frame['rt'] = frame['rt'].abs(); the "
            "response stands in its own column."
        )


def _seconds(rows: pd.DataFrame, unit: str | None) -> tuple[pd.Series, str]:
    """Times in seconds; asks where the unit is not clear."""
    usable = rows[np.isfinite(rows["rt"]) & (rows["rt"] > 0)]
    if usable.empty:
        raise ValueError(f"rt: none of {len(rows)} times is positive; is it the right column?")
    median = usable["rt"].median()
    if unit is None:
        _ask_unit(usable, median)
    seconds = rows["rt"] * _UNITS[unit or "s"]
    if unit == "ms" and median * 1e-3 < _SHORT:
        raise ValueError(
            f"unit='ms', but the median time is {median:.3g}: these look like seconds, unit='s'."
        )
    return seconds, unit or "s"


def _ask_unit(usable: pd.DataFrame, median: float) -> None:
    if median > _LONG:
        raise ValueError(
            f"rt: the median time is {median:.4g}. Are these milliseconds? Say unit='ms', or "
            "unit='s' if they are seconds."
        )
    medians = usable.groupby("subject", sort=False)["rt"].median()
    long = medians.index[medians > _LONG].tolist()
    if long:
        raise ValueError(
            f"rt: the median time is {median:.3g}, but above {_LONG:.0f} for the subjects "
            f"{_some(long)}. Are these milliseconds and the others seconds? Mend the file, or say "
            "unit='s' if all are seconds."
        )


# --------------------------------------------------------------------------------------------------
# What is left out, and what stays
# --------------------------------------------------------------------------------------------------


def _reasons(rows: pd.DataFrame, rules: _Rules) -> pd.Series:
    """Why each row is left out: the first reason that holds, or an empty text."""
    rt = rows["rt"]
    low, high = rules.rt_range or (0.0, np.inf)
    tests = {
        "no subject": rows["subject"].isna(),
        "no response time": rt.isna(),
        "no response": rows["response"].isna(),
        "response time not finite": np.isinf(rt),
        "response time not positive": rt <= 0,
        f"response time outside {low:g} to {high:g} s": (rt < low) | (rt > high),
    }
    reason = pd.Series(np.select(list(tests.values()), list(tests), ""), rows.index)
    kept = reason == ""
    counts = kept.groupby(rows["subject"], sort=False).sum()
    few = counts.index[counts < (rules.min_trials or 1)]
    if len(few) and rules.min_trials is None:
        raise ValueError(
            f"{_count(counts < 1, 'subject')} without a usable trial: {_some(few)}; say min_trials "
            "(1 or more) to leave out subjects with fewer trials, and have it reported."
        )
    reason[kept & rows["subject"].isin(few)] = f"subject with fewer than {rules.min_trials} trials"
    if not (reason == "").any():
        raise ValueError(f"no usable trials are left: {reason.value_counts().to_dict()}.")
    return reason


def _packed(rows: pd.DataFrame, reason: pd.Series, source: str) -> Trials:
    kept = rows[reason == ""]
    owner, subjects = pd.factorize(kept["subject"])
    n_trials = np.bincount(owner)
    place = kept.groupby("subject", sort=False).cumcount().to_numpy()
    sim_data = np.zeros((len(subjects), n_trials.max(), 2), dtype="float32")
    sim_data[owner, place, 0], sim_data[owner, place, 1] = kept["response"], kept["rt"]
    ids = tuple(x.item() if isinstance(x, np.generic) else x for x in subjects)
    return Trials(sim_data, ids, n_trials, _report(rows, reason), source)


def _report(rows: pd.DataFrame, reason: pd.Series) -> pd.DataFrame:
    report = {}
    for why in ["", *reason[reason != ""].value_counts().index]:
        part = rows[reason == why]
        where = _some(part.index) if why else ""
        report[why or "kept"] = (len(part), part["subject"].nunique(), where)
    table = pd.DataFrame.from_dict(report, "index", columns=["trials", "subjects", "where"])
    return table.rename_axis("reason")


def _some(values: Iterable[Any]) -> str:
    values = [x.item() if isinstance(x, np.generic) else x for x in values]
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(map(str, values[:_SHOWN])) + more


def _count(which: Any, noun: str) -> str:
    n = int(np.sum(which))
    return f"{n} {noun}{'' if n == 1 else 's'}"
