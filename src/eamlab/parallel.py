"""Work spread over threads, over processes, or over the machines of a cluster.

There are two levels. `threaded` is for the parts of one study: compiled code that releases the
interpreter's lock, on memory that the parts share. `each` is for many studies, and leaves it to
joblib where they run: one after the other by default, and otherwise wherever
`joblib.parallel_config` says.

.. code-block:: python

    with joblib.parallel_config(n_jobs=4):  # four processes on this machine
        exact = el.exact_posteriors(sim_data, seed=1)

    client = distributed.Client("tcp://head-node:8786")
    with joblib.parallel_config(backend="dask"):  # the workers of that cluster
        exact = el.exact_posteriors(sim_data, seed=1)

    ray.init(address="auto")
    ray.util.joblib.register_ray()
    with joblib.parallel_config(backend="ray", n_jobs=-1):  # without n_jobs, one after the other
        exact = el.exact_posteriors(sim_data, seed=1)

Results are the same wherever the work runs, as every study has a random stream of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import traceback
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

__all__ = ["Checkpoint", "digest", "each", "jobs", "threaded", "threads"]


_ATTEMPTS = 3
"""How often a pool of processes is started anew after one of them was killed."""

_BLOCK = 8
"""Items per worker that are handed to joblib at once where it answers with whole lists."""

_here = threading.local()


# --------------------------------------------------------------------------------------------------
# The parts of one study: threads
# --------------------------------------------------------------------------------------------------


def threads() -> int:
    """Return how many threads to use here: all cores, or this worker's share of them."""
    limit: int | None = getattr(_here, "limit", None)
    return _cores() if limit is None else limit


def _cores() -> int:
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


@contextmanager
def _limited(limit: int | None) -> Iterator[None]:
    """Use at most so many threads for what this thread calls; None lifts the limit."""
    before = getattr(_here, "limit", None)
    _here.limit = limit
    try:
        yield
    finally:
        _here.limit = before


def threaded(
    work: Callable[[Any], Any], items: Iterable[Any], label: str, progress: bool | None
) -> list[Any]:
    """Map work over items in threads, in order; a bar appears when it takes above two seconds."""
    items = list(items)
    bar = tqdm(total=len(items), desc=label, delay=2.0, disable=progress is False, leave=False)
    with ThreadPoolExecutor(threads()) as pool, bar:
        results = []
        for result in pool.map(work, items):
            results.append(result)
            bar.update()
    return results


# --------------------------------------------------------------------------------------------------
# Many studies: joblib
# --------------------------------------------------------------------------------------------------


def jobs() -> int:
    """Return how many studies run at once here, as `joblib.parallel_config` says; else one."""
    if "joblib" not in sys.modules or getattr(_here, "limit", None) is not None:
        return 1  # nobody can have configured it, or this is a worker, whose work stays with it
    import joblib

    return int(joblib.effective_n_jobs(None))


@dataclass(frozen=True)
class Checkpoint[Item, Result]:
    """A folder that keeps each result as it comes, so that an interrupted run goes on.

    Each result is a file of plain arrays; nothing is pickled. A file is written under another name
    and renamed when complete. One that cannot be read is made again.

    Attributes
    ----------
    folder : path
        Made if it does not exist. Several runs may share it.
    key : callable
        Name of an item's file, which must say all that its result depends on; see `digest`.
    pack, unpack : callable
        A result as named arrays, and back.
    """

    folder: str | os.PathLike[str]
    key: Callable[[Item], str]
    pack: Callable[[Result], Mapping[str, NDArray]]
    unpack: Callable[[Mapping[str, NDArray]], Result]

    def __post_init__(self) -> None:
        try:
            Path(self.folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"checkpoint: {str(self.folder)!r} cannot be made a folder ({error.strerror}); "
                "name another one."
            ) from error

    def load(self, item: Item) -> Result | None:
        """Return the result kept for an item, or None."""
        try:
            with np.load(self._file(item), allow_pickle=False) as stored:
                return self.unpack(stored)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, item: Item, result: Result) -> None:
        """Keep the result of an item."""
        file = self._file(item)
        scratch = file.with_name(f"{file.stem}.{uuid4().hex}.tmp.npz")
        packed: dict[str, Any] = dict(self.pack(result))
        np.savez(scratch, **packed)
        os.replace(scratch, file)

    def _file(self, item: Item) -> Path:
        return Path(self.folder) / f"{self.key(item)}.npz"


def digest(*parts: Any) -> str:
    """Return 16 hexadecimal digits that differ when any of the parts does.

    Parts are arrays, or whatever JSON can hold; sequences and mappings of these, too.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Mapping):
            total.update(digest(*(x for k in sorted(part) for x in (k, part[k]))).encode())
        elif isinstance(part, list | tuple):
            total.update(f"{len(part)}:{digest(*part)}".encode())
        elif isinstance(part, np.ndarray):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).tobytes())
        else:
            total.update(json.dumps(part).encode() + b"\0")
    return total.hexdigest()[:16]


def each[Item, Result](
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    label: str = "studies",
    progress: bool | None = None,
    checkpoint: Checkpoint[Item, Result] | None = None,
) -> list[Result]:
    """Map work over items as joblib is configured, in any order, and return results in order.

    Parameters
    ----------
    work : callable
        A function that a worker can import (or that cloudpickle can send), deterministic in its
        item. What it does in threads is kept to the worker's share of the cores.
    items : iterable
        Its arguments.
    label : str, default "studies"
        Name of the progress bar.
    progress : bool, optional
        Default: a bar when it takes more than two seconds.
    checkpoint : Checkpoint, optional
        Where results are kept as they come, and taken from in a later run.

    Returns
    -------
    list
        One result per item.

    Raises
    ------
    RuntimeError
        If workers were killed again and again, as they are when memory runs out. What was done
        before is in the checkpoint.

    Notes
    -----
    After a worker was killed, its items are done again: by dask itself, or by a new pool on this
    machine and with ray. With ray results come, and are kept, eight per worker at a time.
    """
    items = list(items)
    results = _kept(items, checkpoint)
    done = len(results)
    bar = tqdm(
        total=len(items), initial=done, desc=label, delay=2.0, disable=progress is False,
        leave=False,
    )  # fmt: skip
    with bar:
        for index, result in _resubmitted(work, items, results):
            if checkpoint is not None:
                checkpoint.save(items[index], result)
            results[index] = result
            bar.update()
    return [results[i] for i in range(len(items))]


def _kept[Item, Result](
    items: Sequence[Item], checkpoint: Checkpoint[Item, Result] | None
) -> dict[int, Result]:
    """Results of an earlier run by index."""
    if checkpoint is None:
        return {}
    found = ((i, checkpoint.load(item)) for i, item in enumerate(items))
    return {i: result for i, result in found if result is not None}


def _resubmitted[Item, Result](
    work: Callable[[Item], Result], items: Sequence[Item], results: Mapping[int, Result]
) -> Iterator[tuple[int, Result]]:
    """Yield (index, result) of all items that are not in `results`, which the caller fills."""
    for attempt in range(_ATTEMPTS):
        try:
            yield from _run(work, {i: x for i, x in enumerate(items) if i not in results})
            return
        except _killed() as error:
            if attempt == _ATTEMPTS - 1:
                raise RuntimeError(
                    f"worker processes were killed {_ATTEMPTS} times, most likely for want of "
                    f"memory; {len(results)} of {len(items)} items are done. Use fewer workers "
                    "(joblib.parallel_config(n_jobs=...)), and a checkpoint to go on from there."
                ) from error


def _killed() -> tuple[type[BaseException], ...]:
    """Errors by which this machine's pools and ray, where it is used, say that a worker is gone."""
    ray = sys.modules.get("ray.exceptions")
    return (BrokenProcessPool,) if ray is None else (BrokenProcessPool, ray.RayActorError)


def _run[Item, Result](
    work: Callable[[Item], Result], items: Mapping[int, Item]
) -> Iterator[tuple[int, Result]]:
    """Yield (index, result) of items in the order in which they are done."""
    import joblib

    at_once = jobs()
    if at_once == 1 and getattr(_here, "limit", None) is not None:
        yield from ((i, work(item)) for i, item in items.items())
        return
    limit = None if at_once == 1 else max(1, _cores() // at_once)
    # One tuple, as joblib would scatter large arguments to single workers of a dask cluster, where
    # they are lost with the worker; what is part of the task is sent again.
    tasks = (joblib.delayed(_call)((work, i, item, limit)) for i, item in items.items())
    for index, result, error in _answers(tasks, at_once):
        if error is not None:
            raise error
        yield index, result


def _answers(tasks: Iterable[Any], at_once: int) -> Iterator[tuple[int, Any, Exception | None]]:
    """Yield what joblib's workers answer as it comes, or in blocks where joblib returns lists."""
    import joblib

    backend, _ = joblib.parallel.get_active_backend()
    if getattr(backend, "supports_return_generator", False):
        yield from joblib.Parallel(batch_size=1, return_as="generator_unordered")(tasks)
        return
    with joblib.Parallel(batch_size=1) as pool:  # one pool for all blocks
        for block in batched(tasks, _BLOCK * at_once):
            yield from pool(block)


def _call[Item, Result](
    task: tuple[Callable[[Item], Result], int, Item, int | None],
) -> tuple[int, Any, Exception | None]:
    """Return index and result, or index and error.

    An error takes its turn, as joblib would drop the results that came just before it.
    """
    work, index, item, limit = task
    try:
        with _limited(limit):
            return index, work(item), None
    except Exception as error:
        if limit is not None:  # another process cannot hand over where it was raised
            error.add_note(traceback.format_exc())
        return index, None, error
