"""Sphinx extension: makes small what every page loads.

The theme's ``fontawesome.js`` holds two thousand icons, 1.5 MB: those that pages show are kept.
Figures get a palette of 256 colors, of which they have few, and are a third as large. Widgets have
their data beside them, so that the state of the notebook's widgets would be a second copy.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from myst_nb.sphinx_ import NbMetadataCollector
from PIL import Image
from sphinx.application import Sphinx

__all__ = ["only_icons", "setup", "with_palette"]

# name: [width, height, [aliases and code points], "code point", "outline" or two outlines]
_ICON = re.compile(
    r'"?([a-z0-9][\w-]*)"?:\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]*",(?:"[^"]*"|\[[^\]]*\])\],?'
)
_NAMED = re.compile(r"\bfa-([a-z0-9-]+)")
_ALIAS = re.compile(r'"([^"]+)"')


def only_icons(script: str, names: set[str]) -> str:
    """Return Font Awesome's script with the icons of these names, under any of their names."""

    def kept(found: re.Match[str]) -> str:
        return found[0] if names & {found[1], *_ALIAS.findall(found[2])} else ""

    return _ICON.sub(kept, script)


def with_palette(picture: Image.Image) -> Image.Image:
    """Return an opaque picture with at most 256 colors, each off by hardly more than is seen."""
    return picture.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def _on_page(app: Sphinx, page: str, *_: Any) -> None:
    scripts = NbMetadataCollector.get_js_files(app.env, page)
    scripts.pop("ipywidgets_state", None)


def _on_finish(app: Sphinx, error: Exception | None) -> None:
    out = Path(app.outdir)
    icons = out / "_static" / "scripts" / "fontawesome.js"
    if error or not icons.exists():
        return
    # Scripts put icons into pages too.
    users = [*out.rglob("*.html"), *out.rglob("_static/**/*.js")]
    texts = [user.read_text(encoding="utf-8") for user in users if user != icons]
    names = {name for text in texts for name in _NAMED.findall(text)}
    icons.write_text(only_icons(icons.read_text(encoding="utf-8"), names), encoding="utf-8")
    for file in (out / "_images").glob("*.png"):
        with Image.open(file) as picture:
            if picture.mode in ("RGB", "RGBA") and _is_opaque(picture):
                with_palette(picture).save(file, optimize=True)


def _is_opaque(picture: Image.Image) -> bool:
    return picture.mode == "RGB" or picture.getchannel("A").getextrema()[0] == 255


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("html-page-context", _on_page, priority=400)  # before MyST-NB writes them
    app.connect("build-finished", _on_finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
