"""Which results are stale and why, how long they take, and making them in order."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

from eamlab import __version__
from eamlab_book.results.registry import NETWORKS, RESULTS
from eamlab_book.results.workshop import Result, Workshop
from eamlab_book.stored import load_stored, sha256_of, write_stored

_NETWORKS = {result.name for result in NETWORKS}

_PACKAGES = ("numpy", "scipy", "numba", "keras", "bayesflow", "tensorflow", "tensorflow-cpu")


class Task(NamedTuple):
    """A stale result, why it is stale, its estimated seconds, and the packages that it lacks."""

    result: Result
    reason: str
    seconds: float
    lacks: tuple[str, ...] = ()


def plan(
    workshop: Workshop, names: Iterable[str] = (), results: Sequence[Result] = RESULTS
) -> list[Task]:
    """Return what is stale, in the order in which it is to be made.

    A result is stale if a file is missing, if it was made with another model, other settings or
    other weights than today's, or if something that it needs is stale.

    Parameters
    ----------
    workshop : Workshop
        Model and folder.
    names : iterable of str, optional
        Of the results to look at, with all that they need; by default all.
    results : sequence of Result
        Those that there are, each after what it needs.

    Returns
    -------
    list of Task

    Raises
    ------
    ValueError
        If there is no result of a name.
    """
    known = {result.name: result for result in results}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no result {unknown}; there are {', '.join(known)}.")
    wanted = set(names) or set(known)
    for result in reversed(results):
        wanted |= set(result.needs) if result.name in wanted else set()
    tasks: dict[str, Task] = {}
    for result in (known[name] for name in known if name in wanted):
        stale = [name for name in result.needs if name in tasks]
        reason = f"needs {', '.join(stale)}" if stale else _reason(workshop, result)
        if reason:
            lacks = tuple(name for name in result.packages if find_spec(name) is None)
            tasks[result.name] = Task(result, reason, _seconds(workshop, result), lacks)
    return list(tasks.values())


def make(workshop: Workshop, tasks: Iterable[Task], say: Callable[[str], Any] = print) -> None:
    """Make what `plan` found, in its order; each is written as soon as it is there.

    Parameters
    ----------
    workshop : Workshop
        Model and folder.
    tasks : iterable of Task
        Of `plan`. Those that lack packages are left out.
    say : callable
        Takes a line for every result.

    Raises
    ------
    RuntimeError
        If an exact posterior's own diagnostics fail, or if a result that was made is still stale.
    """
    for result, _, seconds, lacks in tasks:
        if lacks:
            say(f"{result.name}: left out, it needs {', '.join(lacks)}")
            continue
        say(f"{result.name}: about {in_words(seconds)}")
        own = workshop.of(result)
        content, took = own.timed(result)
        if content is not None:
            record = workshop.path(result.files[0])
            write_stored(
                record.name,
                _made_by(workshop, result) | {"seconds": round(took, 1)} | content,
                result.settings,
                record.parent,
                model=own.model,
            )
        if reason := _reason(workshop, result):
            raise RuntimeError(f"{result.name} was made, but is still stale: {reason}")


def in_words(seconds: float) -> str:
    """Return a time as one reads it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _made_by(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return versions, and hashes of the weights of the networks that a result needs."""
    versions = {"python": platform.python_version(), "eamlab": __version__}
    for name in (*_PACKAGES, *result.packages):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    networks = [name for name in result.needs if name in _NETWORKS]
    hashes = {name: sha256_of(name, workshop.folder) for name in networks}
    return {"versions": versions} | ({"sha256": hashes} if hashes else {})


def _reason(workshop: Workshop, result: Result) -> str:
    """Say why a result is stale by itself; nothing if it is not."""
    missing = [file for file in result.files if not workshop.path(file).exists()]
    if missing:
        return f"there is no {missing[0]}"
    try:
        (result.check or _check)(workshop.of(result), result)
    except ValueError as error:
        return str(error)
    return ""


def _check(workshop: Workshop, result: Result) -> None:
    record = workshop.path(result.files[0])
    load_stored(record.name, result.settings, record.parent, model=workshop.model)


def _seconds(workshop: Workshop, result: Result) -> float:
    """Return the seconds that the stored result took, or else those of the registry."""
    record = workshop.path(result.files[0])
    if record.suffix != ".json" or not record.exists():
        return result.seconds
    content = json.loads(record.read_text(encoding="utf-8"))
    return float(content.get("seconds", content.get("training_seconds", result.seconds)))
