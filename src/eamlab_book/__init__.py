"""What the chapters need beside the library: figures, stored results, exercises, widgets.

Nothing in `eamlab` imports this package. Names are loaded on first use, as in `eamlab`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

_WHERE = {
    "decision_playground": "widgets.playgrounds",
    "explorer": "widgets.composition",
    "film": "widgets.film",
    "population_playground": "widgets.playgrounds",
    "toy_playground": "widgets.playgrounds",
}
_MODULES = ("exercises", "figures", "report_card", "studies", "toy", "widgets")

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of networks that serve for comparison only, for `eamlab.load_pretrained`."""

__all__ = sorted(["WEIGHTS", *_WHERE, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
