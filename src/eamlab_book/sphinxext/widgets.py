"""Sphinx extension: the widgets' scripts and style sheet, on every page; the lab's on its own."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config

from eamlab_book.widgets.lab import lab_scripts
from eamlab_book.widgets.widget import script_folder, scripts

__all__ = ["setup"]


def _on_config(_: Sphinx, config: Config) -> None:
    config.html_static_path.append(str(script_folder()))


def _on_page(app: Sphinx, _: str, __: str, context: dict[str, Any], ___: Any) -> None:
    """Load the engine where it is used only; a page asks for networks when a reader needs them."""
    if 'data-eam-widget="lab"' in context.get("body", ""):
        app.add_css_file("lab/lab.css")
        for name in lab_scripts():
            app.add_js_file(name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("config-inited", _on_config)
    app.connect("html-page-context", _on_page)
    app.add_css_file("widgets.css")
    for name in scripts():
        app.add_js_file(f"{name}.js")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
