"""Equations are numbered by chapter, (4.1), (4.2), on the page as in the notebooks.

Sphinx would count them through the whole book, (11), (12), as it counts figures.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.config import Config

__all__ = ["setup"]


def _number_by_chapter(app: Sphinx, doctree: nodes.document) -> None:
    page = app.env.docname
    chapter = re.match(r"0*(\d+)_", page.rpartition("/")[2])
    labeled = (node for node in doctree.findall(nodes.math_block) if node.get("label"))
    for place, node in enumerate(labeled, start=1):
        node["number"] = f"{chapter[1]}.{place}" if chapter else str(place)
        app.env.domaindata["math"]["objects"][node["label"]] = page, node["number"]


def _count_apart(app: Sphinx, config: Config) -> None:
    config.math_numfig = False  # not as figures, which the theme numbers


def setup(app: Sphinx) -> dict[str, Any]:
    """Renumber every page after it was read."""
    app.connect("config-inited", _count_apart)
    app.connect("doctree-read", _number_by_chapter)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
