"""From a file of responses to trials that every function of this library takes.

`read_trials` knows the columns of the field's tools (HSSM, HDDM), asks where it would have to
guess, counts what it leaves out, and refuses what cannot be right. A file is read as text and
numbers; nothing in it is ever evaluated.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from eamlab.model.model import check_count
from eamlab.study import Study

__all__ = ["COLUMNS", "read_trials"]

COLUMNS = {
    "subject": ("participant_id", "subj_idx", "subject", "subject_id", "participant", "subj"),
    "rt": ("rt", "reaction_time", "response_time"),
    "response": ("response", "choice"),
}
"""Names by which `read_trials` finds its three columns, in upper or lower case."""

_ACCURACY = ("accuracy", "acc", "correct", "corr", "is_correct")
"""Names of a column that says who was right, in upper or lower case."""

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_SHORT, _LONG = 0.02, 20.0  # median times (s) between which a unit is likely
_TOO_LONG = 10 * _LONG  # and up to which it is believed if it was stated
_MOST_NEGATIVE = 0.2  # share of negative times above which they are not slips of a clock
_MUCH_DROPPED = 0.1  # share of the trials
_FEW = 5  # trials of a subject below which its median says nothing of the unit
_BLOCK = 3  # rows that stand together by intention
_OTHER = "other condition"  # a reason to leave out
_SHOWN = 5  # ids, values or lines named in a message
_ONE_TABLE = "of several files make one table: pd.concat(pd.read_csv(f) for f in files)"
_MARKS = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", r"\s+": "spaces"}
_NO_HEADER = re.compile(r'\s*$|[#%]|"?sep=."?[\s,;]*$', re.IGNORECASE)  # blank, comment, Excel's
_DECIMALS = {  # how a number is written with each decimal mark, and what separates thousands
    ".": (re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(,\d{3})+)?(\.\d*)?(e[+-]?\d+)?", re.IGNORECASE), ","),
    ",": (re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+)?(,\d*)?(e[+-]?\d+)?", re.IGNORECASE), "."),
}
_NUMBER = r"\s*[+-]?\d*[.,]?\d+\s*"  # in either writing
_BOOLEANS = ("true", "false")
_LOWER = {"lower", "error", "err", "incorrect", "wrong", "no", "left"}
_UPPER = {"upper", "correct", "corr", "right", "yes"}


class _Rules(NamedTuple):
    """The options of `read_trials`, checked."""

    columns: Mapping[str, Any]
    unit: str | None
    decimal: str | None
    coding: Mapping[Any, int | None]
    conditions: tuple[Any, tuple[Any, ...]] | None  # column and the two values, if they are told
    missing: tuple[Any, ...]
    rt_range: tuple[float, float]
    min_trials: int | None

    @property
    def words(self) -> tuple[str, ...]:
        """Texts that mean "missing" in every column; a number there may be a name."""
        return ("", *(x for x in self.missing if isinstance(x, str)))


def read_trials(
    path_or_frame: Any,
    *,
    columns: Mapping[str, Any] | None = None,
    unit: str | None = None,
    decimal: str | None = None,
    coding: Mapping[Any, int | None] | None = None,
    conditions: Any = None,
    missing: Any = (),
    rt_range: tuple[float, float] | None = None,
    min_trials: int | None = None,
) -> Study:
    """Read a study: one row per trial, with subject, response time and response.

    Rows may come in any order, and subjects may have different numbers of trials. Rows without
    subject, time or response, and with times that are not positive, are left out and counted.
    Nothing else is: times are neither trimmed nor rounded unless you say so.

    Parameters
    ----------
    path_or_frame : str, path or pandas.DataFrame
        A text file, separated by commas, semicolons, tabs, bars or spaces; a Parquet file, which
        needs ``pip install "eamlab[parquet]"``; or a frame. Anything with ``to_pandas`` and a
        mapping of columns will do, too.
    columns : mapping, optional
        Your names of "subject", "rt" and "response", as far as they are not among `COLUMNS`, or if
        several are. The subject may be a list of columns that name a person together, or None if
        all rows are of one person. The response may be the column of the times, if their sign is
        the response (positive: upper). Whole numbers for all three, counted from 0, say that a file
        has no header.
    unit : {"s", "ms", "us"}, optional
        Unit of the times. Default: seconds, and an error that asks if they look like another.
    decimal : {".", ","}, optional
        The decimal mark of times written as text; the other one then separates thousands. Default:
        what fits all of them, and an error that asks if both do.
    coding : mapping, optional
        What the responses mean: value to 0 (lower bound), 1 (upper bound) or None (no response).
        The key ``...`` stands for all other values. Default: 0 and 1 (or false and true), or -1 and
        1.
    conditions : str, or mapping of one column to two values, optional
        The column of two conditions under which the same people worked. Its two values, in the
        order of the alphabet or of numbers, become the codes -1/2 and +1/2; a mapping such as
        ``{"instruction": ("speed", "accuracy")}`` says which is which, and leaves out rows of
        others. Capitals and spaces make no other condition. Default: all rows are of one condition.
    missing : value or sequence of values, optional
        Values of time or response that mean "missing", beside empty fields and the usual "NA".
        Words mean it for subject and condition, too; a number may be a name there.
    rt_range : tuple of two floats, optional
        Shortest and longest time (s) to keep. Default: all positive times.
    min_trials : int, optional
        Leave out subjects with fewer usable trials. Default: keep all, and an error if a subject
        has none.

    Returns
    -------
    Study
        Print it to see what was read and dropped; it goes into every verb as it is. With
        `conditions` its trials have a third column, and ``.conditions`` names the two. ``.report``
        has one row for what was kept and one for each reason to leave something out: number of
        ``trials``, number of ``subjects`` concerned, and ``where`` (the first lines of the file, or
        index labels of the frame). ``.notes`` is what the reader noticed and could not decide.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or it is a folder.
    ImportError
        If the file is a Parquet file, and the package that reads these is missing.
    ValueError
        If the file is not a table of trials, if columns are missing, ambiguous or doubled, if ids
        seem to start again in each group, if times are not numbers, signed by the response or of an
        unclear unit, if responses have another coding, if there are not two conditions, if a
        subject or a condition has no usable trial, or if an option is out of range. The message
        says what to do.
    """
    rules = _rules(columns, unit, decimal, coding, conditions, missing, rt_range, min_trials)
    frame, source, remarks = _frame(path_or_frame, rules.columns)
    names = _found(frame, rules.columns)
    ids = _subject_ids(frame, names["subject"], rules.words)
    times, how = _times(frame[names["rt"]], rules)
    if names["response"] == names["rt"]:  # the sign of the time is the response
        responses = (times > 0).astype(float).where(times.notna())
        times = times if _is_marker(times) else times.abs()
    else:
        responses = _responses(frame[names["response"]], rules)
    rows = pd.DataFrame({"subject": ids, "rt": times, "response": responses})
    labels: tuple[Any, ...] = ()
    if rules.conditions:
        rows["condition"], labels, merged = _conditions(frame, names, rules)
        remarks += merged
    _refuse_signed(rows, names["rt"], rules.columns)
    rows["rt"], unit = _seconds(rows, rules.unit)
    reason = _reasons(rows, rules)
    remarks += [
        *_repeated_ids(frame, ids, names, rules.columns),
        *_far(times[reason == ""], unit, rules),
        *_unlike_accuracy(frame, rows[reason == ""], names, rules.columns),
        *_at_half(frame, rows[reason == ""], names, rules.columns),
    ]
    who = " + ".join(map(str, names["subject"])) or "one subject"
    source = f"{source}; {who}, {names['rt']} ({unit}{how}), {names['response']}"
    if rules.conditions:
        column, told = rules.conditions
        source += ", {} ({!r} -1/2, {!r} +1/2)".format(column, *map(str, labels))
        remarks += _unlike_conditions(rows[reason == ""], column, labels, bool(told))
    return _packed(rows, reason, source, remarks, tuple(map(str, labels)))


def _rules(
    columns: Any, unit: Any, decimal: Any, coding: Any, conditions: Any, missing: Any,
    rt_range: Any, min_trials: Any,
) -> _Rules:  # fmt: skip
    """Check the options: the sentence of the first rule that is broken is raised."""
    named = columns if isinstance(columns, Mapping) else {}
    unknown = [k for k in named if k not in COLUMNS]
    several = [k for k, v in named.items() if k != "subject" and isinstance(v, list | None)]
    means = coding if isinstance(coding, Mapping) else {}
    keyed = {k if k is ... else _key(k): v for k, v in means.items()}
    told = conditions if isinstance(conditions, Mapping) else {str(conditions): ()}
    column, pair = next(iter(told.items()), (None, None))
    pair = tuple(pair) if isinstance(pair, tuple | list) else ()
    try:
        low, high = (0.0, np.inf) if rt_range is None else map(float, rt_range)
    except (TypeError, ValueError):
        low = high = np.nan
    factor = next((size for name, size in _UNITS.items() if name == unit != "s"), 1e-3)
    meant = tuple(round(x * factor, 6) for x in (low, high))
    refusals = {
        f"columns must be a mapping such as {{'rt': 'name'}}, got {columns!r}.": not isinstance(
            columns, Mapping | None
        ),
        f"columns has unknown keys {unknown}; known are {list(COLUMNS)}.": unknown,
        f"columns[{next(iter(several), '')!r}] must be the name of one column.": several,
        f"unit must be 's', 'ms' or 'us', got {unit!r}.": unit not in (None, *_UNITS),
        f"decimal must be '.' or ',', got {decimal!r}.": decimal not in (None, *_DECIMALS),
        f"coding must map to 0 (lower), 1 (upper) or None, got {coding!r}.": (
            not isinstance(coding, Mapping | None)
            or any(v not in (0, 1, None) for v in means.values())
        ),
        f"coding names a value more than once: {dict(means)}.": len(keyed) < len(means),
        "conditions must be the name of a column, or one column and its two values, such as "
        f"{{'instruction': ('speed', 'accuracy')}}, got {conditions!r}.": conditions is not None
        and (
            not isinstance(conditions, str | int | Mapping)
            or len(told) != 1
            or len(set(map(_folded, pair))) != 2 * isinstance(conditions, Mapping)
        ),
        f"rt_range must be (shortest, longest) in seconds, got {rt_range!r}.": not 0 <= low < high,
        f"rt_range is in seconds, whatever the unit of the file, got {rt_range!r}; "
        f"say {_say(rt_range=meant)}?": low >= _TOO_LONG or _TOO_LONG < high < np.inf,
    }
    for sentence, broken in refusals.items():
        if broken:
            raise ValueError(sentence)
    if min_trials is not None:
        check_count("min_trials", min_trials)
    absent = [missing] if pd.api.types.is_scalar(missing) else missing
    absent = tuple(dict.fromkeys(map(_key, absent)))
    kept = None if conditions is None else (column, pair)
    return _Rules(named, unit, decimal, keyed, kept, absent, (low, high), min_trials)


# --------------------------------------------------------------------------------------------------
# The table: encoding, separator, header
# --------------------------------------------------------------------------------------------------


def _frame(path_or_frame: Any, columns: Mapping[str, Any]) -> tuple[pd.DataFrame, str, list[str]]:
    """Return the table, where it is from, and remarks."""
    remarks: list[str] = []
    if isinstance(path_or_frame, str | os.PathLike):
        path = Path(path_or_frame)
        if path.is_dir():
            raise FileNotFoundError(
                f"path_or_frame: {str(path)!r} is a folder; {_ONE_TABLE}, or let el.summarize take "
                "one file after the other."
            )
        if not path.is_file():
            here = sorted(p.name for p in path.parent.glob("*.csv"))
            raise FileNotFoundError(
                f"path_or_frame: there is no file {str(path)!r} (seen from {Path.cwd()}); CSV "
                f"files in its folder: {_some(here) or 'none'}."
            )
        if path.suffix.lower() == ".parquet":
            frame, source = _read_parquet(path), path.name
        else:
            frame, source, remarks = _read_text(path, columns)
    elif isinstance(path_or_frame, pd.DataFrame):
        frame, source = path_or_frame, "a frame"
    elif hasattr(path_or_frame, "to_pandas"):
        frame, source = path_or_frame.to_pandas(), "a frame"
    elif isinstance(path_or_frame, Mapping):
        frame, source = pd.DataFrame(path_or_frame), "a mapping"
    else:
        raise ValueError(
            f"path_or_frame must be a path or a DataFrame, got {type(path_or_frame).__name__}; "
            f"{_ONE_TABLE}."
        )
    names = frame.columns.astype(str).str.strip()
    doubled = sorted(set(names[names.duplicated()]) - {""})
    if doubled:
        raise ValueError(
            f"columns {doubled} occur more than once; rename or remove all but one of each."
        )
    if not frame.index.is_unique:  # of several files, one below the other
        frame = frame.reset_index(drop=True)
    if frame.dropna(how="all").empty:
        raise ValueError(f"{source} has no rows below its header; it needs one row per trial.")
    return frame, source, remarks


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise ImportError(
            f'{path.name}: Parquet files need a package more: pip install "eamlab[parquet]".'
        ) from error
    except (ValueError, OSError) as error:  # of pyarrow
        raise ValueError(f"{path.name} is not a Parquet file: {error}") from error


def _read_text(path: Path, columns: Mapping[str, Any]) -> tuple[pd.DataFrame, str, list[str]]:
    """Read a file as text, with the numbers of its lines as index."""
    text, remarks = _decoded(path)
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if not _NO_HEADER.match(line)), 0)
    separator, fields = _split(lines[first])
    told = [x for v in columns.values() for x in (v if isinstance(v, list) else [v])]
    if len(columns) == len(COLUMNS) and all(isinstance(x, int | None) for x in told):
        names: list[Any] = list(range(len(fields)))
    else:
        known = {name for of_role in COLUMNS.values() for name in of_role} | set(told)
        if not known & {x.strip() for field in fields for x in (field, field.lower())}:
            _refuse_no_header(f"line {first + 1} of {path.name}", lines[first:])
        names = [name.strip() or f"unnamed {i}" for i, name in enumerate(fields)]
        first += 1
    frame, row_names = _table(path.name, lines[first:], separator, names, first + 1)
    how = "" if separator == "," else f", separated by {_SEPARATORS[separator]}"
    return frame, path.name + how + row_names, remarks


def _decoded(path: Path) -> tuple[str, list[str]]:
    """The text of a file, with ends of lines as Python has them, and remarks."""
    data, remarks = path.read_bytes(), []
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and data[1:400:2].count(0) > len(data[:400]) // 4:
        encoding = "utf-16-le"  # Latin letters without a byte order mark
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
        remarks = [
            f"{path.name} is not UTF-8 and was read as Windows' cp1252; if names look wrong, save "
            "it as UTF-8"
        ]
    if "\0" in text:
        raise ValueError(
            f"{path.name} is not a text file; read it with pandas and hand over the frame, or save "
            "it as CSV, UTF-8."
        )
    return io.StringIO(text, newline=None).read(), remarks


def _split(line: str, separator: str | None = None) -> tuple[str, list[str]]:
    """The fields of a line, and what separates them: what makes most of it, if it is not given."""
    fields = {
        mark: next(
            csv.reader(
                [line.strip(" ")],
                delimiter=" " if mark == r"\s+" else mark,
                skipinitialspace=True,
            ),
            [""],
        )
        for mark in ([separator] if separator else _SEPARATORS)
    }
    *marks, last = fields
    best = max(reversed(marks), key=lambda mark: len(fields[mark]), default=last)  # a tie: commas
    best = best if len(fields[best]) > 1 else last
    return best, fields[best]


def _refuse_no_header(line: str, lines: list[str]) -> None:
    """Refuse a first line that holds numbers, or that stands above the header."""
    separator, fields = _split(lines[0])
    line += f" is {lines[0][:80]!r}"
    if any(re.fullmatch(_NUMBER, field) for field in fields):
        broken = (i for i, field in enumerate(fields) if re.search(r"\d[.,]\d", field))
        rt = next(broken, min(1, len(fields) - 2))
        others = [i for i in range(len(fields)) if i != rt] or [rt]
        likely = {"subject": others[0] if others[1:] else None, "rt": rt, "response": others[-1]}
        raise ValueError(
            f"{line}: that looks like data, not like names of columns. If the file has no header, "
            f"say which columns are which, counted from 0: {_say(columns=likely)}?"
        )
    below = next((x for x in lines[1:] if x.strip()), "")
    other, parts = _split(below)
    wider = len(_split(below, separator)[1]) - len(fields)
    if other != separator and wider not in (0, 1) and len(parts) > 1:
        raise ValueError(
            f"{line}: these are not the names of the columns. Delete what stands above them."
        )


def _table(
    file: str, lines: list[str], separator: str, names: list[Any], line: int
) -> tuple[pd.DataFrame, str]:
    """The rows below the header, of which the first is on this line; and what was made of them."""
    width = len(names)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO("\n".join(lines) + "\n"), sep=separator, header=None, dtype=str,
                names=range(width + 1), index_col=False, skip_blank_lines=False,
                skipinitialspace=True,
            )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.ParserWarning):
        frame = None
    if frame is not None:
        frame.index += line
        frame = frame.dropna(how="all")
        more = frame[width].notna()
        if not more.any():
            return frame.drop(columns=width).set_axis(names, axis=1), ""
        quoted = separator != "," or lines[0].startswith('"')
        if more.all() and quoted and len(frame) > 1 and frame[0].is_unique:  # as R writes a table
            return frame.drop(columns=0).set_axis(names, axis=1), ", row names left out"
    widths = {i: len(_split(text, separator)[1]) for i, text in enumerate(lines, line)}
    long = [f"line {i} has {n} fields" for i, n in widths.items() if n > width]
    raise ValueError(
        f"{file} is not a table with one header line and as many fields in each line as names in "
        f"the header ({width}: {_some(map(repr, names))}): "
        f"{long[0] if long else 'a quotation mark is not closed'}."
    )


# --------------------------------------------------------------------------------------------------
# The columns, and who is a person
# --------------------------------------------------------------------------------------------------


def _found(frame: pd.DataFrame, given: Mapping[str, Any]) -> dict[str, Any]:
    """The names of the columns: a list of those of the subject, and one each of the others."""
    names: dict[str, list[Any]] = {}
    for role, usual in COLUMNS.items():
        told = given.get(role, usual)
        names[role] = []
        for wanted in told or () if isinstance(told, list | None) else [told]:
            found = [
                name
                for name in frame.columns
                if (name == wanted if role in given else str(name).strip().lower() in usual)
            ]
            if len(found) != 1:
                asked = {**given, role: wanted} if role in given else given
                raise ValueError(_column_question(role, asked, found, frame, names))
            names[role] += found
    return {role: some if role == "subject" else some[0] for role, some in names.items()}


def _column_question(
    role: str,
    given: Mapping[str, Any],
    found: list[Any],
    frame: pd.DataFrame,
    names: Mapping[str, list[Any]],
) -> str:
    def say(name: Any) -> str:
        return _say(columns={**given, role: name})

    if found:
        return f"{found} could all be the {role} column; say which: {say(found[0])}."
    looked = repr(given[role]) if role in given else f"any of {list(COLUMNS[role])}"
    text = f"no {role} column: looked for {looked}, the table has {list(frame.columns)}."
    if len(frame.columns) >= len(COLUMNS) or role != "subject":
        text += f" Say which it is: {say('your name')}."
    if any(isinstance(x, str) and re.fullmatch(_NUMBER, x) for x in frame.columns):
        text += " If these are the first trial, the file has no header: read it with header=None."
    if role == "subject":
        text += f" If all rows are of one person: {say(None)}."
    if role == "response" and (pd.to_numeric(frame[names["rt"][0]], errors="coerce") < 0).any():
        text += f" If the sign of the times is the response: {say(names['rt'][0])}."
    return text


def _subject_ids(frame: pd.DataFrame, names: list[Any], missing: tuple[str, ...]) -> pd.Series:
    """Who did each trial; several columns are joined."""
    if not names:
        return pd.Series(1, frame.index, dtype=object)
    parts = []
    for name in names:
        codes, found = pd.factorize(frame[name].astype(object))  # -1 where missing
        texts = [None if (text := str(x).strip()) in missing else text for x in found]
        if all(re.fullmatch(r"(0|[1-9]\d{0,17})(\.0)?", x) for x in texts if x is not None):
            ids: list[Any] = [x and int(x.removesuffix(".0")) for x in texts]  # "7" and 7.0 are one
        else:
            both = zip(texts, found, strict=True)
            ids = [text if text is None or isinstance(x, str) else x for text, x in both]
        known = np.array([*ids, None], dtype=object)  # None is last: at -1
        parts.append(pd.Series(known[codes], frame.index, dtype=object))
    if len(parts) == 1:
        return parts[0]
    joined = [None if None in ids else "/".join(map(str, ids)) for ids in zip(*parts, strict=True)]
    return pd.Series(joined, frame.index, dtype=object)


def _repeated_ids(
    frame: pd.DataFrame, ids: pd.Series, names: Mapping[str, Any], given: Mapping[str, Any]
) -> Iterable[str]:
    """Ask, or remark, if ids seem to start again: their rows stand in separate blocks."""
    ids = ids.dropna()
    block = (ids != ids.shift()).cumsum()
    sizes = block.value_counts()
    if len(sizes) == ids.nunique() or sizes.quantile(0.2) < _BLOCK or len(names["subject"]) != 1:
        return
    again = ids[block.drop_duplicates().index].value_counts()
    again = again.index[again > 1]
    text = f"the rows of {_count(len(again), 'subject')} ({_some(again)}) stand in separate blocks"
    others = frame.loc[ids.index].drop(columns=set(names["subject"])).astype(str)
    telling = {  # constant in each block, and another in each block of an id
        name: values.nunique()
        for name, values in others.items()
        if all(
            values.groupby([of, values], dropna=False).ngroups == len(sizes) for of in (block, ids)
        )
    }
    column = min(telling, key=telling.__getitem__, default=None)
    text += f" that differ in {column!r}" if telling else ""
    if not telling or "subject" in given:
        yield f"{text}; each id was taken for one person"
        return
    (name,) = names["subject"]
    people, same = ({**given, "subject": x} for x in ([column, name], name))
    raise ValueError(
        f"{text}. Are these other people with the same ids? Then say {_say(columns=people)}; "
        f"if they are the same people, {_say(columns=same)}."
    )


# --------------------------------------------------------------------------------------------------
# What the values mean
# --------------------------------------------------------------------------------------------------


def _key(value: Any) -> Any:
    """A value as a number if it is one, else as text; true and false are 1 and 0."""
    text = str(value).strip().replace("\u2212", "-")  # a minus sign, where a hyphen is usual
    if text.lower() in _BOOLEANS:
        return float(text.lower() == "true")
    try:
        return text if "_" in text else float(text)  # Python would read 1_5 as 15
    except ValueError:
        return text


def _keys(column: pd.Series, missing: tuple[Any, ...]) -> pd.Series:
    """Each value as `_key` has it, NaN where missing; every distinct value is looked at once."""
    if _is_numbers(column):  # the same at once
        single = column.dtype == np.float32  # 0.1 stands for 0.1, not for what it is in binary
        keys = column.to_numpy().astype(str if single else float).astype(float)
        absent = np.isin(keys, [x for x in missing if isinstance(x, float)])
        return pd.Series(np.where(absent, np.nan, keys), column.index)
    column = column.astype(object)
    keys = {value: _key(value) for value in column.dropna().unique()}
    kept = {value: key for value, key in keys.items() if key not in missing and key == key}
    return column.map(kept)


def _is_numbers(column: pd.Series) -> bool:
    """Whether all values are numbers, or true and false, and not objects or texts."""
    return isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf"


def _times(column: pd.Series, rules: _Rules) -> tuple[pd.Series, str]:
    """Times as numbers in the file's own unit, NaN where missing; and the decimal mark found."""
    keys = _keys(column, (*rules.missing, ""))
    numbers = rules.decimal is None and not any(isinstance(x, str) for x in keys.dropna().unique())
    if numbers or _is_numbers(column):
        return keys.astype(float), ""
    column = column.astype(object)
    values = column[keys.notna()].unique()
    readings = {
        mark: {x: _number(x, mark) for x in values}
        for mark in ([rules.decimal] if rules.decimal else _DECIMALS)
    }
    words = [x for x in values if all(reading[x] is None for reading in readings.values())]
    if words:
        n = int(column.isin(words).sum())
        text = (
            f"column {column.name!r} (rt) has values that are not numbers, in {_count(n, 'row')}: "
            f"{_some(map(repr, words))}; "
        )
        if n > column.notna().sum() / 2 or len(words) > 4 * _SHOWN:
            raise ValueError(text + "is it the right column?")
        remedy = _say(missing=(*rules.missing, *words))
        raise ValueError(text + f"if they mean 'no response', say {remedy}.")
    fitting = [mark for mark, reading in readings.items() if None not in reading.values()]
    if len(fitting) != 1:
        marked = [x for x in values if isinstance(x, str) and re.search("[.,]", x)]
        comma, point = (_say(decimal=mark) for mark in ",.")
        raise ValueError(
            f"column {column.name!r} (rt) has numbers such as {_some(map(repr, marked))}; "
            + (
                f"say {comma} if commas are decimal marks, {point} if they separate thousands."
                if fitting
                else "decimal points and decimal commas are mixed. Mend the file."
            )
        )
    (mark,) = fitting
    times = column.map(readings[mark]).astype(float)
    return times.mask(times.isin(rules.missing)), f", decimal {mark!r}"


def _number(value: Any, mark: str) -> float | None:
    """A number whose decimal mark is this one, or None."""
    if not isinstance(value, str):
        return key if isinstance(key := _key(value), float) else None
    pattern, thousands = _DECIMALS[mark]
    text = str(value).strip().replace("\u2212", "-")
    if not pattern.fullmatch(text) or not re.search(r"\d", text):
        return None
    return float(text.replace(thousands, "").replace(mark, "."))


def _responses(column: pd.Series, rules: _Rules) -> pd.Series:
    """Responses as 0, 1 or NaN."""
    keys = _keys(column, rules.missing)
    counts = keys.value_counts()
    low = -1.0 if -1.0 in counts.index else 0.0
    coding: Mapping[Any, int | None] = rules.coding or {low: 0, 1.0: 1}
    if ... not in coding and any(value not in coding for value in counts.index):
        raise ValueError(_coding_question(column.name, list(counts.index), rules.coding))
    other = coding.get(...)
    return keys.map({value: coding.get(value, other) for value in counts.index}).astype(float)


def _coding_question(name: Any, frequent: list[Any], coding: Mapping[Any, Any]) -> str:
    """Ask what the values mean, most frequent first; the advice is right where names tell it."""
    values = sorted(frequent, key=str)
    text = f"column {name!r} (response) has the values {_some(map(_literal, values))}; "
    if coding:
        unsaid = [value for value in values if value not in coding]
        text += f"the coding says nothing of {_some(map(_literal, unsaid))}."
        if len(unsaid) < len(values):
            text += f" If they mean 'no response', say {_say(coding={**coding, ...: None})}."
        return text
    lower, upper = ([v for v in frequent if str(v).lower() in words] for words in (_LOWER, _UPPER))
    numbers = [pair for pair in ((-1.0, 1.0), (0.0, 1.0)) if set(pair) <= set(values)]
    numbers.sort(key=lambda pair: frequent.index(pair[0]))  # misses are rarer than errors
    named = list(numbers[0]) if numbers else lower[:1] + upper[:1]
    pair = (named + [value for value in frequent if value not in named])[:2]
    if not numbers:
        pair.sort(key=lambda value: (value in upper[:1], value not in lower[:1], str(value)))
    rest = [value for value in values if value not in pair]
    bounds = (0, 1) if len(pair) > 1 else (int(pair[0] not in lower),)
    advice = dict(zip(pair, bounds, strict=True)) | dict.fromkeys(rest if len(rest) < 2 else [...])
    text += "say which is 0 (lower) and which 1 (upper)"
    if rest:
        text += ", and which are no response (... stands for all others)"
    known = bool(named) and 2 in (len(named), len(values))
    return f"{text}: {_say(coding=advice)}" + ("." if known else "? Or the other way round?")


def _unlike_accuracy(
    frame: pd.DataFrame, kept: pd.DataFrame, names: Mapping[str, Any], given: Mapping[str, Any]
) -> Iterable[str]:
    """Remark on a column that says who was right, if nobody has said that responses are others."""
    for name in frame.columns:
        taken = name in (names["rt"], names["response"], *names["subject"])
        if "response" in given or taken or str(name).strip().lower() not in _ACCURACY:
            continue
        right = _keys(frame[name], ("",))[kept.index]
        known = right.isin([0.0, 1.0])
        unlike = right[known] != kept["response"][known]
        if not unlike.any():
            continue
        people = unlike.groupby(kept["subject"][known], sort=False).any()
        alike = people.index[~people]
        some = f", but is for {_count(len(alike), 'subject')} ({_some(alike)})"
        yield (
            f"{names['response']!r} is not {name!r} in {_count(int(unlike.sum()), 'trial')}"
            f"{some if len(alike) else ''}; where upper should mean right, as with two kinds of "
            f"stimuli, say {_say(columns={**given, 'response': name})}"
        )


def _at_half(
    frame: pd.DataFrame, kept: pd.DataFrame, names: Mapping[str, Any], given: Mapping[str, Any]
) -> Iterable[str]:
    """Remark on people at one half, far below all others: they may be coded by stimulus.

    Of 500 simulated studies of each laboratory model (5 to 40 people, 30 to 500 trials) 5 and 7
    were remarked on. With a fifth to a half of the people coded by stimulus 36 and 34 % were, and
    62 and 66 % where the others are right in more than three quarters of their trials.
    """
    if "response" in given or any(str(x).strip().lower() in _ACCURACY for x in frame.columns):
        return
    people = kept.groupby("subject", sort=False)["response"].agg(["mean", "size"])
    share = np.arcsin(np.sqrt(people["mean"])) - np.pi / 4  # 0 at one half; its sd 0.5 / sqrt(n)
    half = share.abs() < 1.25 / np.sqrt(people["size"])
    if min(half.sum(), (~half).sum()) < 3 or (share[~half] < 0).any():
        return
    two = share.groupby(half)
    within = np.sqrt(((share - two.transform("mean")) ** 2).mean())
    if two.mean()[False] - two.mean()[True] > 3.5 * within:
        yield (
            f"{_count(half.sum(), 'subject')} ({_some(half.index[half])}) chose upper about half "
            "the time, all others far more often: are these coded by stimulus or key, and the "
            "others by accuracy? Then code all alike in the file; if all are, say "
            f"{_say(columns={**given, 'response': names['response']})}"
        )


def _named(value: Any) -> Any:
    """A condition as one would write it: a number, or words, which true and false are, too."""
    text, key = " ".join(str(value).split()), _key(value)
    return text if isinstance(key, str) or text.lower() in _BOOLEANS else _plain(key)


def _folded(value: Any) -> Any:
    """What stands for a condition, whatever its capitals and spaces."""
    name = _named(value)
    return name.casefold() if isinstance(name, str) else name


def _conditions(
    frame: pd.DataFrame, names: Mapping[str, Any], rules: _Rules
) -> tuple[pd.Series, tuple[Any, ...], list[str]]:
    """Codes of the two conditions, NaN where missing, infinite for others; names; remarks."""
    column, told = rules.conditions or (None, ())
    found = [name for name in frame.columns if str(name) == str(column)]
    if not found:
        raise ValueError(
            f"no condition column: looked for {column!r}, the table has {list(frame.columns)}."
        )
    if found[0] in (names["rt"], names["response"]) or found == names["subject"]:
        raise ValueError(
            f"conditions: {column!r} is the column of the subject, rt or response already; name "
            "another."
        )
    values = frame[found[0]].astype(object)
    names_of = {x: _named(x) for x in values.dropna().unique()}
    names_of = {x: name for x, name in names_of.items() if name == name and name not in rules.words}
    written: dict[Any, dict[Any, None]] = {}  # the ways to write each condition
    for name in names_of.values():
        written.setdefault(_folded(name), {})[name] = None
    keys = sorted(written, key=lambda x: (isinstance(x, str), x))
    ways = [_some(map(_literal, written[key])) for key in keys]
    text = f"column {column!r} (condition) has "
    text += f"the values {_some(ways)}" if keys else "no values"
    absent = [value for value in told if _folded(value) not in written]
    if absent:
        raise ValueError(f"{text}; nobody did {_some(map(_literal, absent))}.")
    labels = tuple(map(_named, told)) or tuple(next(iter(written[key])) for key in keys)
    if len(labels) > 2:
        pair = _say(conditions={column: labels[:2]})
        raise ValueError(f"{text}; say which two to compare, the lower code first: {pair}?")
    if len(labels) < 2:
        raise ValueError(
            f"{text}: no two conditions to compare, whatever capitals and spaces. Read it without "
            "conditions=."
        )
    low, high = map(_folded, labels)
    codes = dict.fromkeys(keys, np.inf) | {low: -0.5, high: 0.5}
    merged = [way for way, key in zip(ways, keys, strict=True) if len(written[key]) > 1]
    return (
        values.map({x: codes[_folded(name)] for x, name in names_of.items()}).astype(float),
        labels,
        [f"{column!r}: {way} were taken for one condition" for way in merged],
    )


def _unlike_conditions(
    kept: pd.DataFrame, column: Any, labels: tuple[Any, ...], told: bool
) -> Iterable[str]:
    """Remark on an order that nobody stated, and on people who did one condition only."""
    if not told:
        low, high = labels
        yield (
            f"{column!r}: changes are those from {str(low)!r} to {str(high)!r}; for the other way "
            f"round, say {_say(conditions={column: (high, low)})}"
        )
    both = kept.groupby("subject", sort=False)["condition"].nunique() == 2
    if not both.any():
        yield (
            f"{column!r}: nobody did both; for other people in each condition, compose "
            "study.under(condition) of each and subtract the draws"
        )
    elif not both.all():
        one = both.index[~both]
        yield f"{_count(len(one), 'subject')} ({_some(one)}) did one condition only"


def _is_marker(times: pd.Series) -> bool:
    """Whether negative times stand for something else, as -1 does for a missed response."""
    negative, positive = times[times < 0], times[times > 0]
    size, fastest, slowest = negative.abs(), positive.min(), positive.max()
    if negative.empty or not size.between(fastest / 5, 5 * slowest).any():
        return True
    counts, unlike = negative.value_counts(), not size.between(fastest, slowest).any()
    return sum([len(counts) == 1, counts.min() > 1, unlike]) >= 2


def _refuse_signed(rows: pd.DataFrame, name: Any, given: Mapping[str, Any]) -> None:
    """Refuse times that carry the response in their sign, or that are mostly negative."""
    known = rows.dropna(subset=["rt", "response"])
    negative, lower = known["rt"] < 0, known["response"] == 0
    if known.empty or not negative.any() or _is_marker(rows["rt"]):
        return
    if (negative == lower).all() or negative.mean() > _MOST_NEGATIVE:
        raise ValueError(
            f"rt: {negative.mean():.0%} of the times are negative, as if their sign were the "
            "response (HDDM's flip_errors). If so, say "
            f"{_say(columns={**given, 'response': name})}; if the sign means something else, take "
            "it away in the file."
        )


def _seconds(rows: pd.DataFrame, unit: str | None) -> tuple[pd.Series, str]:
    """Times in seconds; asks where the unit is not clear."""
    usable = rows[np.isfinite(rows["rt"]) & (rows["rt"] > 0)]
    if usable.empty:
        raise ValueError(f"rt: none of {len(rows)} times is positive; is it the right column?")
    factor, most = _UNITS[unit or "s"], _LONG if unit is None else _TOO_LONG
    median = usable["rt"].median()
    seconds = _say(unit="s")
    if not _SHORT <= median * factor <= most:
        likely = [u for u, size in _UNITS.items() if _SHORT <= median * size <= _LONG]
        text = f"rt: the median time is {median:.4g}"
        if unit is not None:
            text += f", in {unit} that is {median * factor:.4g} s"
        if not likely:
            units = list(_UNITS)
            raise ValueError(
                f"{text}, which is no response time in any of {units}; the right column?"
            )
        text += f". These look like {_UNIT_NAMES[likely[0]]}: say {_say(unit=likely[0])}"
        or_not = (
            f", or {seconds} if they are seconds" if unit is None and median <= _TOO_LONG else ""
        )
        raise ValueError(f"{text}{or_not}.")
    by_subject = usable.groupby("subject", sort=False)["rt"]
    medians = by_subject.median() * factor
    odd = (medians > most) | ((medians < _SHORT) & (by_subject.size() >= _FEW))
    if odd.any():
        believed = unit is None and medians.max() <= _TOO_LONG
        raise ValueError(
            f"rt: the median time is {median * factor:.3g} s, but outside {_SHORT:g} to {most:g} s "
            f"for the subjects {_some(medians.index[odd])}. Are these milliseconds, or the others? "
            f"Mend the file{f', or say {seconds} if all are seconds' if believed else ''}."
        )
    return rows["rt"] * factor, unit or "s"


def _far(times: pd.Series, unit: str, rules: _Rules) -> Iterable[str]:
    """Remark on times so far above the others that they may stand for something else."""
    values, counts = np.unique(times, return_counts=True)
    high = values > 5 * times.median()
    nines = np.isin(values, 10.0 ** np.arange(2, 9) - 1)
    round_ = high & (values % 1 == 0) & ((counts > 1) | nines)
    far = round_ & (values > 2 * values[~round_].max())
    far |= high & (values * _UNITS[unit] > _LONG)
    if far.any():
        found = tuple(map(_plain, values[far]))
        few = len(found) <= _SHOWN
        remedy = _say(missing=(*rules.missing, *found)) if few else _say(rt_range=(0, int(_LONG)))
        n = counts[far].sum()
        yield (
            f"{_count(n, 'time')} far above the rest ({_some(found)}); to leave out what is no "
            f"response time, say {remedy}"
        )
    elif len(values) > 2 * _FEW and counts[-1] >= max(_FEW, 3 * counts[-2]):
        longest = _plain(values[-1])
        yield (
            f"{counts[-1]} times are exactly the longest ({longest}), as at a deadline; to leave "
            f"out what is no response, say {_say(missing=(*rules.missing, longest))}"
        )


# --------------------------------------------------------------------------------------------------
# What is left out, and what stays
# --------------------------------------------------------------------------------------------------


def _reasons(rows: pd.DataFrame, rules: _Rules) -> pd.Series:
    """Why each row is left out: the first reason that holds, or an empty text."""
    rt = rows["rt"]
    low, high = rules.rt_range
    tests = {
        "no subject": rows["subject"].isna(),
        "no response time": rt.isna(),
        "no response": rows["response"].isna(),
        "response time not finite": np.isinf(rt),
        "response time not positive": rt <= 0,
        f"response time outside {low:g} to {high:g} s": (rt < low) | (rt > high),
    }
    if "condition" in rows:
        tests |= {
            "no condition": rows["condition"].isna(),
            _OTHER: np.isinf(rows["condition"]),
        }
    reason = pd.Series(np.select(list(tests.values()), list(tests), ""), rows.index)
    kept = reason == ""
    counts = kept.groupby(rows["subject"], sort=False).sum()
    few = counts.index[counts < (rules.min_trials or 1)]
    if len(few) and kept.any() and rules.min_trials is None:
        raise ValueError(
            f"{_count(len(few), 'subject')} without a usable trial: {_some(few)}; say "
            f"{_say(min_trials=1)} (or more) to leave out subjects with fewer trials, and have it "
            "reported."
        )
    reason[kept & rows["subject"].isin(few)] = f"subject with fewer than {rules.min_trials} trials"
    if not (reason == "").any():
        raise ValueError(f"no usable trials are left: {reason.value_counts().to_dict()}.")
    if rules.conditions:
        gone = {-0.5, 0.5} - set(rows["condition"][reason == ""])
        if gone:
            lost = reason[rows["condition"].isin(gone)].value_counts().to_dict()
            raise ValueError(
                f"conditions: no usable trial is left of one of the two in "
                f"{rules.conditions[0]!r}: {lost}."
            )
    return reason


def _packed(
    rows: pd.DataFrame, reason: pd.Series, source: str, remarks: list[str],
    labels: tuple[str, ...],
) -> Study:  # fmt: skip
    """The study of the rows that stay, with the report of those that do not."""
    kept = rows[reason == ""]
    columns = ["response", "rt", *({"condition"} & set(rows))]
    owner, people = pd.factorize(kept["subject"])
    ids = [x.item() if isinstance(x, np.generic) else x for x in people]
    values = kept[columns].to_numpy("float32")[np.argsort(owner, kind="stable")]
    trials = np.split(values, np.cumsum(np.bincount(owner))[:-1])
    lines = {}
    for why in ["", *reason[reason != ""].value_counts().index]:
        part = rows[reason == why]
        where = _some(part.index) if why else ""
        lines[why or "kept"] = (len(part), part["subject"].nunique(), where)
    report = pd.DataFrame.from_dict(lines, "index", columns=["trials", "subjects", "where"])
    report = report.rename_axis("reason")
    share = 1.0 - len(kept) / (reason != _OTHER).sum()
    if kept["response"].nunique() == 1:
        remarks.append("all responses are the same; check the coding of the column")
    if share > _MUCH_DROPPED:
        remarks.append(f"{share:.0%} of the trials were dropped; were these missing at random?")
    report.attrs["notes"] = tuple(remarks)
    return Study(
        trials, ids, source=source, report=report,
        conditions=labels or Study.conditions,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------
# Words
# --------------------------------------------------------------------------------------------------


def _say(**options: Any) -> str:
    """Options as one would write them; the terminal finds and translates what is in backticks."""
    return f"`{', '.join(f'{name}={_literal(value)}' for name, value in options.items())}`"


def _literal(value: Any) -> str:
    if value is ...:
        return "..."
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_literal(k)}: {_literal(v)}' for k, v in value.items())}}}"
    return repr(_plain(value))


def _plain(value: Any) -> Any:
    """A number without the marks of NumPy, and whole where it is."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _some(values: Iterable[Any]) -> str:
    texts = list(map(str, values))
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _count(n: Any, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
