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
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from eamlab.study import Study

__all__ = ["COLUMNS", "read_trials"]

COLUMNS = {
    "subject": ("participant_id", "subj_idx", "subject", "subject_id", "participant", "subj"),
    "rt": ("rt", "reaction_time", "response_time"),
    "response": ("response", "choice"),
}
"""Names by which `read_trials` finds its three columns, in upper or lower case."""

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_SHORT, _LONG = 0.02, 20.0  # median times (s) between which a unit is likely
_TOO_LONG = 10 * _LONG  # and up to which it is believed if it was stated
_MOST_NEGATIVE = 0.2  # share of negative times above which they are not slips of a clock
_MUCH_DROPPED = 0.1  # share of the trials
_FEW = 5  # trials of a subject below which its median says nothing of the unit
_BLOCK = 3  # rows that stand together by intention
_SHOWN = 5  # ids, values or lines named in a message
_NOT_TEXT = {".xlsx", ".xls", ".ods", ".sav", ".mat", ".rds", ".parquet", ".feather", ".gz", ".zip"}
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
_LOWER = {"lower", "error", "err", "incorrect", "wrong", "no", "left"}
_UPPER = {"upper", "correct", "corr", "right", "yes"}


# --------------------------------------------------------------------------------------------------
# Reading
# --------------------------------------------------------------------------------------------------


class _Rules(NamedTuple):
    """The options of `read_trials`, checked."""

    columns: Mapping[str, Any]
    unit: str | None
    decimal: str | None
    coding: Mapping[Any, int | None] | None
    missing: tuple[Any, ...]
    rt_range: tuple[float, float] | None
    min_trials: int | None


def read_trials(
    path_or_frame: Any,
    *,
    columns: Mapping[str, Any] | None = None,
    unit: str | None = None,
    decimal: str | None = None,
    coding: Mapping[Any, int | None] | None = None,
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
        A text file, separated by commas, semicolons, tabs, bars or spaces; or a frame. Anything
        with ``to_pandas`` and a mapping of columns will do, too.
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
    missing : value or sequence of values, optional
        Values of time or response that mean "missing", beside empty fields and the usual "NA".
    rt_range : tuple of two floats, optional
        Shortest and longest time (s) to keep. Default: all positive times.
    min_trials : int, optional
        Leave out subjects with fewer usable trials. Default: keep all, and an error if a subject
        has none.

    Returns
    -------
    Study
        Print it to see what was read and dropped; it goes into every verb as it is. ``.report``
        has one row for what was kept and one for each reason to leave something out: number of
        ``trials``, number of ``subjects`` concerned, and ``where`` (the first lines of the file, or
        index labels of the frame). ``.notes`` is what the reader noticed and could not decide.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a table of trials, if columns are missing, ambiguous or doubled, if ids
        seem to start again in each group, if times are not numbers, signed by the response or of an
        unclear unit, if responses have another coding, if a subject has no usable trial, or if an
        option is out of range. The message says what to do.
    """
    rules = _rules(columns, unit, decimal, coding, missing, rt_range, min_trials)
    frame, source, remarks = _frame(path_or_frame, rules.columns)
    names = _found(frame, rules.columns)
    ids = _subject_ids(frame, names["subject"])
    times, how = _times(frame[names["rt"]], rules)
    if names["response"] == names["rt"]:
        times, responses = _unsigned(times)
    else:
        responses = _responses(frame[names["response"]], rules)
    rows = pd.DataFrame({"subject": ids, "rt": times, "response": responses})
    _refuse_signed(rows, names["rt"], rules.columns)
    rows["rt"], unit = _seconds(rows, rules.unit)
    reason = _reasons(rows, rules)
    remarks += [
        *_repeated_ids(frame, ids, names, rules.columns),
        *_far(times[reason == ""], unit, rules),
    ]
    who = " + ".join(map(str, names["subject"])) or "one subject"
    source = f"{source}; {who}, {names['rt']} ({unit}{how}), {names['response']}"
    return _packed(rows, reason, source, tuple(remarks))


def _rules(
    columns: Mapping[str, Any] | None,
    unit: str | None,
    decimal: str | None,
    coding: Mapping[Any, int | None] | None,
    missing: Any,
    rt_range: tuple[float, float] | None,
    min_trials: int | None,
) -> _Rules:
    columns = _checked_columns(columns)
    if unit not in (None, *_UNITS):
        raise ValueError(f"unit must be 's', 'ms' or 'us', got {unit!r}.")
    if decimal not in (None, *_DECIMALS):
        raise ValueError(f"decimal must be '.' or ',', got {decimal!r}.")
    keyed = _checked_coding(coding)
    absent = [missing] if pd.api.types.is_scalar(missing) else missing
    rt_range = _checked_range(rt_range, unit)
    if min_trials is not None and not _is_count(min_trials):
        raise ValueError(f"min_trials must be a positive integer, got {min_trials!r}.")
    return _Rules(
        columns, unit, decimal, keyed, tuple(dict.fromkeys(map(_key, absent))), rt_range, min_trials
    )


def _is_count(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1


def _checked_columns(columns: Any) -> Mapping[str, Any]:
    if not isinstance(columns, Mapping | None):
        raise ValueError(f"columns must be a mapping such as {{'rt': 'name'}}, got {columns!r}.")
    unknown = [k for k in columns or {} if k not in COLUMNS]
    if unknown:
        raise ValueError(f"columns has unknown keys {unknown}; known are {list(COLUMNS)}.")
    bad = [k for k, v in (columns or {}).items() if k != "subject" and isinstance(v, list | None)]
    if bad:
        raise ValueError(f"columns[{bad[0]!r}] must be the name of one column.")
    return columns or {}


def _checked_coding(coding: Any) -> Mapping[Any, int | None] | None:
    if coding is None:
        return None
    if not isinstance(coding, Mapping) or any(v not in (0, 1, None) for v in coding.values()):
        raise ValueError(f"coding must map to 0 (lower), 1 (upper) or None, got {coding!r}.")
    keyed = {k if k is ... else _key(k): v for k, v in coding.items()}
    if len(keyed) < len(coding):
        raise ValueError(f"coding names a value more than once: {dict(coding)}.")
    return keyed


def _checked_range(
    rt_range: tuple[float, float] | None, unit: str | None
) -> tuple[float, float] | None:
    if rt_range is None:
        return None
    try:
        low, high = map(float, rt_range)
    except (TypeError, ValueError):
        low = high = np.nan
    if not 0 <= low < high:
        raise ValueError(f"rt_range must be (shortest, longest) in seconds, got {rt_range!r}.")
    if low >= _TOO_LONG or _TOO_LONG < high < np.inf:
        factor = 1e-3 if unit in (None, "s") else _UNITS[unit]
        meant = (round(low * factor, 6), round(high * factor, 6))
        raise ValueError(
            f"rt_range is in seconds, whatever the unit of the file, got {rt_range!r}; "
            f"say {_say(rt_range=meant)}?"
        )
    return low, high


# --------------------------------------------------------------------------------------------------
# The table: encoding, separator, header
# --------------------------------------------------------------------------------------------------


def _frame(path_or_frame: Any, columns: Mapping[str, Any]) -> tuple[pd.DataFrame, str, list[str]]:
    """Return the table, where it is from, and remarks."""
    remarks: list[str] = []
    if isinstance(path_or_frame, str | os.PathLike):
        frame, source, remarks = _read_text(Path(path_or_frame), columns)
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
    return frame, source, remarks


def _refuse_doubled(names: Iterable[Any]) -> None:
    names = [str(name).strip() for name in names]
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        raise ValueError(
            f"columns {doubled} occur more than once; rename or remove all but one of each."
        )


def _read_text(path: Path, columns: Mapping[str, Any]) -> tuple[pd.DataFrame, str, list[str]]:
    """Read a file as text, with the numbers of its lines as index."""
    _refuse_other_files(path)
    text, remarks = _decoded(path)
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if not _NO_HEADER.match(line)), 0)
    separator = _separator(lines[first])
    fields = _fields(lines[first], separator)
    if len(columns) == len(COLUMNS) and all(isinstance(x, int) for x in _flat(columns)):
        names: list[Any] = list(range(len(fields)))
    else:
        _refuse_no_header(path, lines, first, separator, columns)
        _refuse_doubled(fields)
        names = [name.strip() or f"unnamed {i}" for i, name in enumerate(fields)]
        first += 1
    frame, row_names = _table(path, lines[first:], separator, names, first + 1)
    how = "" if separator == "," else f", separated by {_SEPARATORS[separator]}"
    return frame, path.name + how + row_names, remarks


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


def _decoded(path: Path) -> tuple[str, list[str]]:
    """The text of a file, with ends of lines as Python has them, and remarks."""
    data, remarks = path.read_bytes(), []
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and data[1:400:2].count(0) > len(data[:400]) // 4:
        encoding = "utf-16-le"  # Latin letters without a byte order mark
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8" or 0 in data:
            raise ValueError(f"{path.name} is not text: {error}.") from error
        text = data.decode("cp1252", errors="replace")
        remarks = [
            f"{path.name} is not UTF-8 and was read as Windows' cp1252; if names look wrong, save "
            "it as UTF-8"
        ]
    if "\0" in text:
        raise ValueError(f"{path.name} is not text: it has bytes of zero. Save it as CSV, UTF-8.")
    return io.StringIO(text, newline=None).read(), remarks


def _separator(line: str) -> str:
    *marks, spaces = _SEPARATORS
    widths = {mark: len(_fields(line, mark)) for mark in reversed(marks)}  # commas yield in a tie
    best = max(widths, key=widths.__getitem__)
    return best if widths[best] > 1 else spaces


def _fields(line: str, separator: str) -> list[str]:
    delimiter = " " if separator == r"\s+" else separator
    return next(csv.reader([line.strip(" ")], delimiter=delimiter, skipinitialspace=True), [""])


def _flat(columns: Mapping[str, Any]) -> list[Any]:
    """All names in `columns`."""
    names = [x if isinstance(x, list) else [x] for x in columns.values() if x is not None]
    return [name for some in names for name in some]


def _refuse_no_header(
    path: Path, lines: list[str], first: int, separator: str, columns: Mapping[str, Any]
) -> None:
    known = {name for names in COLUMNS.values() for name in names} | set(_flat(columns))
    fields = _fields(lines[first], separator)
    if known & {x.strip() for field in fields for x in (field, field.lower())}:
        return
    line = f"line {first + 1} of {path.name} is {lines[first][:80]!r}"
    if any(re.fullmatch(_NUMBER, field) for field in fields):
        raise ValueError(
            f"{line}: that looks like data, not like names of columns. If the file has no header, "
            f"say which columns are which, counted from 0: {_say(columns=_positions(fields))}?"
        )
    below = next((x for x in lines[first + 1 :] if x.strip()), "")
    likely, wider = _separator(below), len(_fields(below, separator)) - len(fields)
    if likely != separator and wider not in (0, 1) and len(_fields(below, likely)) > 1:
        raise ValueError(
            f"{line}: these are not the names of the columns. Delete what stands above them."
        )


def _positions(fields: list[str]) -> dict[str, int | None]:
    """Which column is which, as far as one line tells."""
    broken = (i for i, field in enumerate(fields) if re.search(r"\d[.,]\d", field))
    rt = next(broken, min(1, len(fields) - 2))
    others = [i for i in range(len(fields)) if i != rt] or [rt]
    return {"subject": others[0] if others[1:] else None, "rt": rt, "response": others[-1]}


def _table(
    path: Path, lines: list[str], separator: str, names: list[Any], line: int
) -> tuple[pd.DataFrame, str]:
    """The rows below the header, of which the first is on this line; and what was made of them."""
    width = len(names)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO("\n".join(lines)), sep=separator, header=None, names=range(width + 1),
                index_col=False, dtype=str, skip_blank_lines=False, skipinitialspace=True,
            )  # fmt: skip
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame(columns=range(width + 1), dtype=str)
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise ValueError(_uneven(path, lines, separator, names, line)) from error
    frame.index += line
    frame = frame.dropna(how="all")
    more, quoted = frame[width].notna(), separator != "," or "".join(lines[:1]).startswith('"')
    if not more.any():
        return frame.drop(columns=width).set_axis(names, axis=1), ""
    if more.all() and quoted and len(frame) > 1 and frame[0].is_unique:  # as R writes a table
        return frame.drop(columns=0).set_axis(names, axis=1), ", row names left out"
    raise ValueError(_uneven(path, lines, separator, names, line))


def _uneven(path: Path, lines: list[str], separator: str, names: list[Any], line: int) -> str:
    widths = {i: len(_fields(text, separator)) for i, text in enumerate(lines, line)}
    long = [f"line {i} has {width} fields" for i, width in widths.items() if width > len(names)]
    return (
        f"{path.name} is not a table with one header line and as many fields in each line as names "
        f"in the header ({len(names)}: {_some(map(repr, names))}): "
        f"{long[0] if long else 'a quotation mark is not closed'}."
    )


# --------------------------------------------------------------------------------------------------
# The columns, and who is a person
# --------------------------------------------------------------------------------------------------


def _found(frame: pd.DataFrame, given: Mapping[str, Any]) -> dict[str, Any]:
    """The names of the columns: a list of those of the subject, and one each of the others."""
    names: dict[str, Any] = {}
    for role in COLUMNS:
        if isinstance(given.get(role, ""), list | None):
            wanted = given[role] or ()
            names[role] = [_name(frame, role, {**given, role: x}, names) for x in wanted]
        else:
            name = _name(frame, role, given, names)
            names[role] = [name] if role == "subject" else name
    return names


def _name(
    frame: pd.DataFrame, role: str, given: Mapping[str, Any], names: Mapping[str, Any]
) -> Any:
    if role in given:
        found = [name for name in frame.columns if name == given[role]]
    else:
        found = [name for name in frame.columns if str(name).strip().lower() in COLUMNS[role]]
    if len(found) != 1:
        raise ValueError(_column_question(role, given, found, frame, names))
    return found[0]


def _column_question(
    role: str,
    given: Mapping[str, Any],
    found: list[Any],
    frame: pd.DataFrame,
    names: Mapping[str, Any],
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
    if role == "response" and (pd.to_numeric(frame[names["rt"]], errors="coerce") < 0).any():
        text += f" If the sign of the times is the response: {say(names['rt'])}."
    return text


def _subject_ids(frame: pd.DataFrame, names: list[Any]) -> pd.Series:
    """Who did each trial; several columns are joined."""
    parts = [_plain_ids(frame[name]) for name in names]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return pd.Series(1, frame.index, dtype=object)
    joined = ["/".join(map(str, ids)) for ids in zip(*parts, strict=True)]
    return pd.Series(joined, frame.index, dtype=object).where(frame[names].notna().all(axis=1))


def _plain_ids(column: pd.Series) -> pd.Series:
    """Ids as integers where all are, so that "7" and 7.0 are one subject, else as they stand."""
    there = column.astype(object).dropna()
    texts = there.astype(str).str.strip()
    if texts.str.fullmatch(r"(0|[1-9]\d{0,17})(\.0)?").all():
        ids = texts.str.removesuffix(".0").astype(int).astype(object)
    else:
        ids = texts.astype(object) if all(isinstance(x, str) for x in there) else there
    return ids.reindex(column.index)


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
    column = _telling(frame.loc[ids.index].drop(columns=set(names["subject"])), ids, block)
    if column is not None:
        text += f" that differ in {column!r}"
    if column is not None and "subject" not in given:
        (name,) = names["subject"]
        others, same = ({**given, "subject": x} for x in ([column, name], name))
        raise ValueError(
            f"{text}. Are these other people with the same ids? Then say {_say(columns=others)}; "
            f"if they are the same people, {_say(columns=same)}."
        )
    if not isinstance(given.get("subject"), list):
        yield f"{text}; each id was taken for one person"


def _telling(frame: pd.DataFrame, ids: pd.Series, block: pd.Series) -> Any:
    """The column that is constant in each block and another in each block of an id, if any."""

    def tells(column: pd.Series) -> bool:
        pairs = (pd.DataFrame({"of": of, "value": column}) for of in (block, ids))
        return all(len(pair.drop_duplicates()) == block.iloc[-1] for pair in pairs)

    texts = {name: frame[name].astype(str) for name in frame}
    found = {name: text.nunique() for name, text in texts.items() if tells(text)}
    return min(found, key=found.__getitem__) if found else None


# --------------------------------------------------------------------------------------------------
# What the values mean
# --------------------------------------------------------------------------------------------------


def _key(value: Any) -> Any:
    """A value as a number if it is one, else as text; true and false are 1 and 0."""
    text = str(value).strip().replace("\u2212", "-")  # a minus sign, where a hyphen is usual
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return text if "_" in text else float(text)  # Python would read 1_5 as 15
    except ValueError:
        return text


def _keys(column: pd.Series, missing: tuple[Any, ...]) -> pd.Series:
    """Each value as `_key` has it, NaN where missing; every distinct value is looked at once."""
    column = column.astype(object)
    keys = {value: _key(value) for value in column.dropna().unique()}
    kept = {value: key for value, key in keys.items() if key not in missing and key == key}
    return column.map(kept)


def _times(column: pd.Series, rules: _Rules) -> tuple[pd.Series, str]:
    """Times as numbers in the file's own unit, NaN where missing; and the decimal mark found."""
    column = column.astype(object)
    keys = _keys(column, (*rules.missing, ""))
    values = column[keys.notna()].unique()
    if rules.decimal is None and not any(isinstance(x, str) for x in keys.dropna().unique()):
        return keys.astype(float), ""
    readings = {
        mark: {x: _number(x, mark) for x in values}
        for mark in ([rules.decimal] if rules.decimal else _DECIMALS)
    }
    words = [x for x in values if all(reading[x] is None for reading in readings.values())]
    if words:
        raise ValueError(_not_numbers(column, words, rules.missing))
    fitting = [mark for mark, reading in readings.items() if None not in reading.values()]
    if len(fitting) != 1:
        raise ValueError(_decimal_question(column.name, values, fitting))
    (mark,) = fitting
    times = column.map(readings[mark]).astype(float)
    return times.mask(times.isin(rules.missing)), f", decimal {mark!r}"


def _number(value: Any, mark: str) -> float | None:
    """A number whose decimal mark is this one, or None."""
    if not isinstance(value, str):
        return key if isinstance(key := _key(value), float) else None
    pattern, thousands = _DECIMALS[mark]
    text = str(value).strip().replace("\u2212", "-")
    if text.lower() in ("inf", "-inf", "infinity", "-infinity"):
        return float(text)
    if not pattern.fullmatch(text) or not re.search(r"\d", text):
        return None
    return float(text.replace(thousands, "").replace(mark, "."))


def _not_numbers(column: pd.Series, words: list[Any], missing: tuple[Any, ...]) -> str:
    n = int(column.isin(words).sum())
    text = (
        f"column {column.name!r} (rt) has values that are not numbers, in {_count(n, 'row')}: "
        f"{_some(map(repr, words))}; "
    )
    if n > column.notna().sum() / 2 or len(words) > 4 * _SHOWN:
        return text + "is it the right column?"
    return text + f"if they mean 'no response', say {_say(missing=(*missing, *words))}."


def _decimal_question(name: Any, values: Iterable[Any], fitting: list[str]) -> str:
    marked = [x for x in values if isinstance(x, str) and re.search("[.,]", x)]
    text = f"column {name!r} (rt) has numbers such as {_some(map(repr, marked))}; "
    if not fitting:
        return text + "decimal points and decimal commas are mixed. Mend the file."
    comma, point = (_say(decimal=mark) for mark in ",.")
    return text + f"say {comma} if commas are decimal marks, {point} if they separate thousands."


def _responses(column: pd.Series, rules: _Rules) -> pd.Series:
    """Responses as 0, 1 or NaN."""
    keys = _keys(column, rules.missing)
    counts = keys.value_counts()
    low = -1.0 if -1.0 in counts.index else 0.0
    coding: Mapping[Any, int | None] = rules.coding or {low: 0, 1.0: 1}
    if ... not in coding and any(value not in coding for value in counts.index):
        raise ValueError(_coding_question(column.name, counts, rules.coding))
    other = coding.get(...)
    return keys.map({value: coding.get(value, other) for value in counts.index}).astype(float)


def _coding_question(name: Any, counts: pd.Series, coding: Mapping[Any, Any] | None) -> str:
    values = sorted(counts.index, key=str)
    text = f"column {name!r} (response) has the values {_some(map(_literal, values))}; "
    if coding is not None:
        unsaid = [value for value in values if value not in coding]
        text += f"the coding says nothing of {_some(map(_literal, unsaid))}."
        if len(unsaid) < len(values):
            text += f" If they mean 'no response', say {_say(coding={**coding, ...: None})}."
        return text
    pair, known = _pair(list(counts.index))
    rest = [value for value in values if value not in pair]
    only = int(str(pair[0]).lower() not in _LOWER)
    advice = dict(zip(pair, (0, 1) if len(pair) > 1 else (only,), strict=True))
    advice |= dict.fromkeys(rest if len(rest) < 2 else [...])
    text += "say which is 0 (lower) and which 1 (upper)"
    if rest:
        text += ", and which are no response (... stands for all others)"
    return f"{text}: {_say(coding=advice)}" + ("." if known else "? Or the other way round?")


def _pair(values: list[Any]) -> tuple[list[Any], bool]:
    """Lower and upper among the values, most frequent first; and whether their order is known."""
    for low, high in ((-1.0, 1.0), (0.0, 1.0)):
        if {low, high} <= set(values):
            return [low, high], True
    lower, upper = ([v for v in values if str(v).lower() in words] for words in (_LOWER, _UPPER))
    if lower and upper:
        return [lower[0], upper[0]], True
    named = (lower + upper)[:1]
    others = [value for value in values if value not in named][: 2 - len(named)]
    if named:
        return (named + others if lower else others + named), len(values) == 2
    return sorted(others, key=str), False


def _unsigned(times: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Times and responses, where the sign of the time is the response."""
    responses = (times > 0).astype(float).where(times.notna())
    return times if _is_marker(times) else times.abs(), responses


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
    if known.empty or not negative.any():
        return
    if negative.all():
        raise ValueError("rt: all times are negative; response times are positive.")
    if _is_marker(rows["rt"]):
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
    if not _SHORT <= median * factor <= most:
        raise ValueError(_unit_question(median, unit))
    by_subject = usable.groupby("subject", sort=False)["rt"]
    medians = by_subject.median() * factor
    odd = (medians > most) | ((medians < _SHORT) & (by_subject.size() >= _FEW))
    if odd.any():
        believed = unit is None and medians.max() <= _TOO_LONG
        raise ValueError(
            f"rt: the median time is {median * factor:.3g} s, but outside {_SHORT:g} to {most:g} s "
            f"for the subjects {_some(medians.index[odd])}. Are these milliseconds, or the others? "
            "Mend the file"
            + (f", or say {_say(unit='s')} if all are seconds." if believed else ".")
        )
    return rows["rt"] * factor, unit or "s"


def _unit_question(median: float, unit: str | None) -> str:
    likely = [u for u, factor in _UNITS.items() if _SHORT <= median * factor <= _LONG]
    text = f"rt: the median time is {median:.4g}"
    if unit is not None:
        text += f", in {unit} that is {median * _UNITS[unit]:.4g} s"
    if not likely:
        return f"{text}, which is no response time in any of {list(_UNITS)}; the right column?"
    text += f". These look like {_UNIT_NAMES[likely[0]]}: say {_say(unit=likely[0])}"
    if unit is None and median <= _TOO_LONG:
        text += f", or {_say(unit='s')} if they are seconds"
    return f"{text}."


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
    if len(few) and kept.any() and rules.min_trials is None:
        raise ValueError(
            f"{_count(len(few), 'subject')} without a usable trial: {_some(few)}; say "
            f"{_say(min_trials=1)} (or more) to leave out subjects with fewer trials, and have it "
            "reported."
        )
    reason[kept & rows["subject"].isin(few)] = f"subject with fewer than {rules.min_trials} trials"
    if not (reason == "").any():
        raise ValueError(f"no usable trials are left: {reason.value_counts().to_dict()}.")
    return reason


def _packed(rows: pd.DataFrame, reason: pd.Series, source: str, remarks: Sequence[str]) -> Study:
    kept = rows[reason == ""]
    people = dict(list(kept.groupby("subject", sort=False)[["response", "rt"]]))
    ids = [x.item() if isinstance(x, np.generic) else x for x in people]
    report = _report(rows, reason)
    report.attrs["notes"] = (*remarks, *_notes(kept, rows))
    trials = [x.to_numpy("float32") for x in people.values()]
    return Study(trials, ids, source=source, report=report)


def _notes(kept: pd.DataFrame, rows: pd.DataFrame) -> Iterable[str]:
    if kept["response"].nunique() == 1:
        yield "all responses are the same; check the coding of the column"
    share = 1.0 - len(kept) / len(rows)
    if share > _MUCH_DROPPED:
        yield f"{share:.0%} of the trials were dropped; were these missing at random?"


def _report(rows: pd.DataFrame, reason: pd.Series) -> pd.DataFrame:
    report = {}
    for why in ["", *reason[reason != ""].value_counts().index]:
        part = rows[reason == why]
        where = _some(part.index) if why else ""
        report[why or "kept"] = (len(part), part["subject"].nunique(), where)
    table = pd.DataFrame.from_dict(report, "index", columns=["trials", "subjects", "where"])
    return table.rename_axis("reason")


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
    values = [x.item() if isinstance(x, np.generic) else x for x in values]
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(map(str, values[:_SHOWN])) + more


def _count(n: Any, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
