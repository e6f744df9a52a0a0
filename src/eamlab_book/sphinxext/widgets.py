"""Sphinx extension: the widgets' scripts and style sheet, on every page."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

from eamlab_book.widgets.widget import script_folder, scripts

__all__ = ["setup"]


def _on_config(_: Sphinx, config: Config) -> None:
    config.html_static_path.append(str(script_folder()))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("config-inited", _on_config)
    app.add_css_file("widgets.css")
    for name in scripts():
        app.add_js_file(f"{name}.js")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
