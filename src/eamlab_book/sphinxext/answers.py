"""Sphinx extension: what a page needs to judge answers to exercises by itself.

Beside every exercise whose answer is a number, named numbers or a choice stands what
`exercises.cases` returns, encoded, so that nobody reads it by accident; ``exercises.js``, with the
widgets' scripts, makes a form of it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx_exercise.nodes import exercise_node

from eamlab_book.exercises import Exercise, cases, exercises, names
from eamlab_book.exercises.exercise import BY_DATA

__all__ = ["add_answers", "for_page", "setup"]


def for_page(exercise: Exercise) -> dict[str, Any]:
    """Return all that a page needs to ask for an answer and to judge it, as JSON has it."""
    return {
        "id": exercise.id,
        "title": exercise.title,
        "kind": exercise.kind,
        "names": names(exercise.id),
        "cases": [asdict(case) for case in cases(exercise.id)],
    }


def add_answers(document: nodes.document) -> None:
    """Put the data of every exercise of a document that is judged by data at its end."""
    by_label = {e.label: e for e in exercises().values() if e.kind in BY_DATA}
    for node in document.findall(exercise_node):
        exercise = by_label.get(node["label"])
        if exercise is not None:
            text = json.dumps(for_page(exercise), allow_nan=False, separators=(",", ":"))
            data = base64.b64encode(text.encode()).decode()
            node[-1].append(nodes.raw("", f'<div data-eam-answer="{data}"></div>', format="html"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("doctree-read", lambda _, document: add_answers(document))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
