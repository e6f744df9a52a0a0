"""Sphinx extension: KaTeX typesets the formulas, on the pages that have any.

KaTeX is in the book's folder ``static/vendor``. Browsers may refuse to load fonts for a page that
was opened from a folder, so that its style sheet gets them written into it.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from myst_parser.sphinx_ext.mathjax import html_visit_displaymath
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.ext.mathjax import html_visit_math

__all__ = ["setup", "with_fonts"]

_FACE = re.compile(r"@font-face\{[^}]*?url\(fonts/([^)]+\.woff2)\)[^}]*\}")


def with_fonts(style: str, folder: Path) -> str:
    """Return KaTeX's style sheet with the fonts that are in `folder`, and without all others."""

    def face(found: re.Match[str]) -> str:
        font = folder / found[1]
        if not font.exists():
            return ""
        data = base64.b64encode(font.read_bytes()).decode()
        source = f'src:url(data:font/woff2;base64,{data}) format("woff2")'
        return re.sub(r"src:[^}]*", source, found[0])

    return _FACE.sub(face, style)


def _on_config(_: Sphinx, config: Config) -> None:
    config.html_math_renderer = "katex"


def _on_page(app: Sphinx, page: str, *_: Any) -> None:
    # Not `has_equations`, which is true for a page whose table of contents lists one with formulas.
    if app.env.get_domain("math").data["has_equations"].get(page):
        app.add_css_file("katex.css")
        for script in ("vendor/katex/katex.min.js", "formulas.js"):
            app.add_js_file(script, loading_method="defer")


def _on_finish(app: Sphinx, error: Exception | None) -> None:
    static = Path(app.outdir) / "_static"
    folder = static / "vendor" / "katex"
    if error is None and folder.exists():
        style = (folder / "katex.min.css").read_text(encoding="utf-8")
        (static / "katex.css").write_text(with_fonts(style, folder), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_html_math_renderer(
        "katex",
        inline_renderers=(html_visit_math, None),
        block_renderers=(html_visit_displaymath, None),
    )
    app.connect("config-inited", _on_config)
    app.connect("html-page-context", _on_page)
    app.connect("build-finished", _on_finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
