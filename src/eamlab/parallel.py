"""The parts of one study in threads: compiled code that releases the interpreter's lock.

Many studies are joblib's own business, where a worker's share of the cores is numba's number of
threads::

    from joblib import Parallel, delayed

    keys = Parallel(n_jobs=4)(delayed(el.exact)(study, el.EAM, seed=i) for i, study in ...)

Inside ``joblib.parallel_config(backend="dask")`` the same line runs on a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numba import config
from tqdm.auto import tqdm


def threads() -> int:
    """Return how many threads to use: as many as numba would."""
    return int(config.NUMBA_NUM_THREADS)


def threaded(
    work: Callable[[Any], Any], items: Iterable[Any], label: str, progress: bool | None
) -> list[Any]:
    """Map work over items in threads, in order; a bar appears when it takes above two seconds."""
    items = list(items)
    with ThreadPoolExecutor(threads()) as pool:
        results = pool.map(work, items)
        return list(tqdm(results, label, len(items), delay=2.0, disable=progress is False))
