"""Work spread over threads, with a progress bar when it takes long.

For compiled code that releases the interpreter's lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm.auto import tqdm

__all__ = ["threaded"]


def _threads() -> int:
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def threaded(
    work: Callable[[Any], Any], items: Iterable[Any], label: str, progress: bool | None
) -> list[Any]:
    """Map work over items in threads, in order; a bar appears when it takes above two seconds."""
    items = list(items)
    bar = tqdm(total=len(items), desc=label, delay=2.0, disable=progress is False, leave=False)
    with ThreadPoolExecutor(_threads()) as pool, bar:
        results = []
        for result in pool.map(work, items):
            results.append(result)
            bar.update()
    return results
