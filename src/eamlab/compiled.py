"""numba's `njit` and `vectorize`, with a cache on disk that never stands in the way.

numba itself refuses to compile a function when neither the package's folder nor the home can be
written, stumbles over a file that a full disk or a killed process cut off, every time anew, and
does not notice when a function of another file changes that the compiled one calls.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache as once
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, NullCache

__all__ = ["njit", "vectorize"]


class _Cache(FunctionCache):
    """What cannot be read is compiled and written anew; what cannot be written is left out.

    So is what was compiled before any file of the function's own folder changed.
    """

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        own, folder = self._cache_file, Path(function.__code__.co_filename).parent
        own._source_stamp = own._source_stamp, *_stamps(folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # pickle raises nearly everything on half a file
            try:
                self.flush()
            except OSError:
                self.disable()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):
            super().save_overload(sig, data)


def njit(*, cache: bool = False, **options: Any) -> Callable[[Callable], Any]:
    """`numba.njit`, whose ``cache=True`` needs no folder that can be written.

    Parameters
    ----------
    cache : bool
        Keep the machine code on disk where possible.
    **options
        All others of `numba.njit`.

    Returns
    -------
    callable
        Decorator.
    """

    def decorate(function: Callable) -> Any:
        dispatcher = numba.njit(**options)(function)
        if cache:
            dispatcher._cache = _cache(function)
        return dispatcher

    return decorate


def vectorize(signature: str) -> Callable[[Callable], Any]:
    """`numba.vectorize` with a cache, for one signature that is compiled at once.

    Parameters
    ----------
    signature : str
        Types, as in ``"float64(float64)"``.

    Returns
    -------
    callable
        Decorator.
    """

    def decorate(function: Callable) -> Any:
        ufunc = numba.vectorize(function)
        ufunc._dispatcher.cache = _cache(function)
        ufunc.add(signature)
        ufunc.disable_compile()
        return ufunc

    return decorate


def _cache(function: Callable) -> _Cache | NullCache:
    try:
        return _Cache(function)
    except RuntimeError:  # no locator available
        _warn()
        return NullCache()


@once
def _stamps(folder: Path) -> list[tuple[str, float, int]]:
    files = ((file.name, file.stat()) for file in sorted(folder.glob("*.py")))
    return [(name, stat.st_mtime, stat.st_size) for name, stat in files]


@once
def _warn() -> None:
    warnings.warn(
        "numba finds no folder for its cache that can be written, so every process compiles anew "
        "(up to half a minute); set the environment variable NUMBA_CACHE_DIR to such a folder.",
        stacklevel=2,
    )
