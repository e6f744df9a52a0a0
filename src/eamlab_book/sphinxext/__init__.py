"""Sphinx extension of the book: alt texts, answers, formulas, numbers, policy, weight, widgets.

The book's settings list it; nothing else imports it.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

__all__ = ["setup"]


def setup(app: Sphinx) -> dict[str, Any]:
    """Set up the parts."""
    parts = ("accessible", "answers", "equations", "formulas", "lighter", "policy", "widgets")
    for part in parts:
        app.setup_extension(f"{__name__}.{part}")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
