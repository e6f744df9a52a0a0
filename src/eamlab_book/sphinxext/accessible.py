"""Sphinx extension: what readers who do not see a page need, for every page at once.

The chapters put a caption in italics right after the code cell that draws a figure. It becomes the
figure's text alternative; a figure without a caption is named after its section. The sections that
sphinx-exercise puts into exercises and solutions get ids of their own, and ``accessible.js``, of
the book's static files, is loaded on every page.

The book lists this module among its extensions; nothing else of the library imports it.

References
----------
Web Content Accessibility Guidelines 2.2, success criterion 1.1.1 (non-text content).
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx_exercise.nodes import solution_node

__all__ = [
    "caption_of",
    "name_figures",
    "plain_formula",
    "separate_ids",
    "setup",
    "show_code_of_solutions",
]

_FORMULA = (
    (r"\\(?:mathrm|mathbf|mathcal|text|operatorname|left|right|bigl?|bigr|displaystyle)\b", ""),
    (r"\\[,;:! ]", " "),
    (r"\\%", "%"),
    (r"\\approx\b", "≈"),
    (r"\\times\b", "×"),
    (r"\\sqrt\b\s*", "√"),
    (r"\\(log|exp|min|max)\b\s*", r"\1 "),
    (r"\\([A-Za-z]+)", r"\1"),  # a Greek letter by its name
    (r"[{}\\]", ""),
    (r"\s+", " "),
)
_DOUBLED = frozenset({"exercise-content", "solution-content"})


def plain_formula(latex: str) -> str:
    r"""Return a short formula in words that can be read aloud: ``\mu_{\nu}`` becomes "mu_nu"."""
    for pattern, plain in _FORMULA:
        latex = re.sub(pattern, plain, latex)
    return latex.strip()


def _words(node: nodes.Node) -> str:
    """Return the text of a node on one line, with its formulas in words."""
    if isinstance(node, nodes.math):
        return plain_formula(node.astext())
    if isinstance(node, nodes.Text):
        return str(node.astext())
    return re.sub(r"\s+", " ", "".join(map(_words, node.children)))


def caption_of(cell: nodes.Element) -> str:
    """Return the caption in italics that follows a code cell.

    Parameters
    ----------
    cell : docutils element
        A node of a document, with its siblings.

    Returns
    -------
    str
        Its words on one line; empty where the next node is not a paragraph all in italics.
    """
    siblings = cell.parent.children
    place = siblings.index(cell) + 1
    paragraph = siblings[place] if place < len(siblings) else None
    if not isinstance(paragraph, nodes.paragraph):
        return ""
    parts = [part for part in paragraph.children if _words(part).strip()]
    if len(parts) != 1 or not isinstance(parts[0], nodes.emphasis):
        return ""
    return _words(parts[0]).strip()


def _section_title(node: nodes.Node) -> str:
    """Return the title of the section that a node stands in."""
    while node is not None:
        if isinstance(node, nodes.section) and isinstance(node[0], nodes.title):
            return _words(node[0]).strip()
        node = node.parent
    return ""


def name_figures(document: nodes.document) -> None:
    """Give every picture that a code cell of a document puts out a text alternative."""
    cells = [c for c in document.findall(nodes.container) if c.get("nb_element") == "cell_code"]
    for cell in cells:
        text = caption_of(cell) or f"Figure of the section “{_section_title(cell)}”"
        pictures = [image for image in cell.findall(nodes.image) if not image.get("alt")]
        for number, picture in enumerate(pictures, start=1):
            of = f" ({number} of {len(pictures)})" if len(pictures) > 1 else ""
            picture["alt"] = text + of


def separate_ids(document: nodes.document) -> None:
    """Give the contents of every exercise and solution of a document an id of their own."""
    counts = dict.fromkeys(_DOUBLED, 0)
    for section in document.findall(nodes.section):
        for name in _DOUBLED.intersection(section["ids"]):
            counts[name] += 1
            section["ids"] = [f"{name}-{counts[name]}"]


def show_code_of_solutions(document: nodes.document) -> None:
    """Leave code as it is where a solution folds it already: one click opens a solution."""
    for solution in document.findall(solution_node):
        for cell in solution.findall(nodes.container):
            cell.attributes.pop("hide_mode", None)


def _on_read(_: Sphinx, document: nodes.document) -> None:
    name_figures(document)
    separate_ids(document)
    show_code_of_solutions(document)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("doctree-read", _on_read)
    app.add_js_file("accessible.js")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
