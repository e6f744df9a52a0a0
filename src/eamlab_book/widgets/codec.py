"""Numbers as short text, for what was computed ahead."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SCALE", "decode", "encode", "expand", "finite", "shrink"]

SCALE = 1000.0
"""int16 per unit of asinh: better than 0.1 %, and room for a million."""
_LARGEST = 1e6
"""Where numbers that are farther out, or none, are moved to."""


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """Move what is not finite, or absurdly far out, to the largest number that is kept."""
    return np.clip(np.nan_to_num(values, nan=_LARGEST), -_LARGEST, _LARGEST)


def shrink(values: ArrayLike) -> NDArray[np.int16]:
    """Return numbers of any size as int16."""
    return np.rint(SCALE * np.arcsinh(values)).astype(np.int16)


def expand(whole: ArrayLike) -> NDArray[np.float64]:
    """Undo `shrink`."""
    return np.sinh(np.asarray(whole, dtype=float) / SCALE)


def encode(values: NDArray[np.int16]) -> str:
    """Return int16 as text."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<i2").tobytes()).decode()


def decode(text: str) -> NDArray[np.int16]:
    """Undo `encode`; the result is flat."""
    return np.frombuffer(base64.b64decode(text), dtype="<i2")
