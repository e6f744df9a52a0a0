"""One widget, two lives: a picture drawn in the browser, which asks Python where there is one.

In a notebook the widget is an ordinary Jupyter widget. In a rendered page there is no kernel, and
nothing of Jupyter's is loaded: the page holds the widget's data and a still picture, and the book's
own scripts (``js/``) draw on the data. Both draw what `Widget` calls the page, at once and without
a question; the kernel is only asked for live answers. Where nothing can be drawn (scripts off, a
notebook opened again, an exported one) the still and its sentence stay.
"""

from __future__ import annotations

import base64
import html
import io
import json
import re
import secrets
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from IPython.display import publish_display_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Answer = Callable[[Mapping[str, Any]], Any]


def script_folder() -> Path:
    """Return the folder of the widgets' scripts and style sheet."""
    return Path(str(files("eamlab_book"))) / "widgets" / "js"


def _parts(name: str) -> tuple[str, ...]:
    """Return a script of ``js/`` after those that it needs, which its first line names."""
    with (script_folder() / f"{name}.js").open(encoding="utf-8") as script:
        needs = re.fullmatch(r"// needs: ([\w ]+)\n", script.readline())
    return (*(needs[1].split() if needs else ()), name)


def scripts() -> tuple[str, ...]:
    """Return the names of the scripts in ``js/``, in the order in which a page loads them."""
    names = sorted(path.stem for path in script_folder().glob("*.js") if path.stem != "mount")
    return (*dict.fromkeys(part for name in names for part in _parts(name)), "mount")


@lru_cache
def _module(name: str) -> str:
    """Return the scripts of one widget as an ES module."""
    parts = [(script_folder() / f"{part}.js").read_text(encoding="utf-8") for part in _parts(name)]
    return "\n".join([*parts, f"export default globalThis.eamlab.entry({json.dumps(name)});\n"])


class Widget(anywidget.AnyWidget):
    """A picture with controls, for a page and for a notebook.

    Parameters
    ----------
    name : str
        Its script in ``js/``.
    data : mapping
        What the picture is drawn from, as JSON.
    settings : mapping
        Where the controls stand at first, as JSON.
    sentence : str
        What the picture shows, for readers who do not see it.
    still : callable
        Returns the matplotlib Figure that stands where scripts are off.
    answer : callable, optional
        ``answer(settings) -> JSON``: the live answer to a position of the controls. What it raises
        as a ``ValueError`` or ``RuntimeError`` is shown in the widget.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    _page = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        name: str,
        data: Mapping[str, Any],
        settings: Mapping[str, Any],
        *,
        sentence: str,
        still: Callable[[], Figure],
        answer: Answer | None = None,
    ) -> None:
        self._name, self._sentence, self._still, self._answer = name, sentence, still, answer
        style = (script_folder() / "widgets.css").read_text(encoding="utf-8")
        page = {
            "data": data,
            "settings": dict(settings),
            "live": answer is not None,
            "still": f"eam-{secrets.token_hex(6)}",  # class of the still that the widget replaces
        }
        super().__init__(_esm=_module(name), _css=style, _page=page)
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: Mapping[str, Any], __: Any) -> None:
        if message.get("type") == "ask":
            self.send({"key": message.get("key"), **self._reply(message)})

    def _reply(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if self._answer is None:
            return {"type": "error", "text": "This widget has no live answers."}
        try:
            return {"type": "answer", "content": self._answer(message.get("settings", {}))}
        except (ValueError, RuntimeError) as error:
            return {"type": "error", "text": str(error)}
        except Exception as error:  # the reader must see any other, too, and the page must go on
            return {"type": "error", "text": f"{type(error).__name__}: {error}"}

    def html(self) -> str:
        """Return what stands in a rendered page: the data, and the still it replaces."""
        # "</script>" must not end the script early.
        page = json.dumps(self._page | {"live": False}, allow_nan=False, separators=(",", ":"))
        sentence = html.escape(self._sentence)
        return (
            f'<div data-eam-widget="{self._name}">'
            f'<script type="application/json">{page.replace("</", "<\\/")}</script>'
            f'<div class="eam-fallback {self._page["still"]}">'
            f'<img src="{_picture(self._still())}" alt="{sentence}"><p>{sentence} '
            "<small>(A still: run the cell, or turn scripts on, to move it.)</small></p>"
            "</div></div>"
        )

    def _ipython_display_(self) -> None:
        """Show the still and, after it, the view that takes its place.

        In one output, JupyterLab would choose the view even where its model is gone, and show an
        error or wait for ever.
        """
        data, metadata = super()._repr_mimebundle_()
        still = f"<style>{_NO_VIEW}</style>{self.html()}"
        publish_display_data({"text/plain": data.pop("text/plain"), "text/html": still})
        publish_display_data(data | {"text/html": ""}, metadata)


_NO_VIEW = (
    ".jp-OutputArea-child:has(.eam-fallback) + "
    ".jp-OutputArea-child:not(:has(.jp-OutputArea-output *)) { display: none; }"
)
"""Hides what JupyterLab writes where the view of a widget should be and is not."""


def _picture(figure: Figure) -> str:
    """Return a figure as a data address of a small PNG."""
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=80)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


_LETTERS = {
    r"\mathrm": "",
    r"\alpha": "α",
    r"\beta": "β",
    r"\sigma": "σ",
    r"\Delta": "Δ",
    r"\mu": "μ",
    r"\nu": "ν",
    r"\log": "log ",
    "t_0": "t₀",
    r"\,": " ",
}


def plain_symbol(latex: str) -> tuple[str, str]:
    r"""Return a symbol and its subscript in plain letters: ``\mu_\nu`` becomes ("μ", "ν")."""
    for command, letter in _LETTERS.items():
        latex = latex.replace(command, letter)
    main, _, below = latex.partition("_")
    return tuple(" ".join(part.strip("{} ").split()) for part in (main, below))  # type: ignore[return-value]
