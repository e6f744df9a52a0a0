"""Answers computed ahead: numbers as short text, and the files that hold them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SCALE", "decode", "encode", "expand", "finite", "load_stored", "shrink", "write_stored"]

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


def write_stored(name: str, content: Mapping[str, Any], file: str | Path | None) -> None:
    """Write a file of the package's data, or another one, whole or not at all."""
    target = _path(name, file)
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(content) + "\n")
    partial.replace(target)


def load_stored(name: str, script: str, file: str | Path | None) -> dict[str, Any]:
    """Load what `write_stored` wrote; refuse what was made with other weights than those shipped.

    `script` is what makes the file anew.
    """
    source = _path(name, file)
    if not source.exists():
        raise ValueError(f"file: no {source}; run {script}.")
    content = json.loads(source.read_text())
    shipped = json.loads((_package() / "weights" / "global.json").read_text())
    if content["sha256"] != shipped["sha256"]:
        raise ValueError(
            f"file: {source.name} was made with other weights than those shipped; run {script} "
            "again."
        )
    return content


def _path(name: str, file: str | Path | None) -> Path:
    return _package() / "data" / name if file is None else Path(file)


def _package() -> Path:
    return Path(str(files("eamlab")))
