"""Numbers as short text, for what was computed ahead."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import ArrayLike, NDArray

SCALE = 1000.0
"""int16 per unit of asinh: better than 0.1 %, and room for a million."""
_LARGEST = 1e6
"""Where numbers that are farther out, or none, are moved to."""


def encode(values: NDArray[np.int16]) -> str:
    """Return int16 as text."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<i2").tobytes()).decode()


def pack(values: ArrayLike) -> str:
    """Return numbers of any size as text; what is not finite becomes the largest that is kept."""
    kept = np.clip(np.nan_to_num(values, nan=_LARGEST), -_LARGEST, _LARGEST)
    return encode(np.rint(SCALE * np.arcsinh(kept)).astype(np.int16))


def unpack(text: str) -> NDArray[np.float64]:
    """Return, in one row, what `pack` made a text of."""
    whole = np.frombuffer(base64.b64decode(text), dtype="<i2")
    return np.sinh(whole.astype(float) / SCALE)
