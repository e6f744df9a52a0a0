"""One widget, two lives: a picture drawn in the browser, which asks Python where there is one.

In a notebook the widget is an ordinary Jupyter widget. In a rendered page there is no kernel, and
nothing of Jupyter's is loaded: the page holds the widget's data and a still picture, and the book's
own scripts (``js/``) draw on the data. Where scripts are off, the still and its sentence stay.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NEEDS", "SCRIPTS", "Widget", "plain_symbol", "script_folder"]

NEEDS: dict[str, tuple[str, ...]] = {
    "composition": ("core",),
    "film": ("core",),
    "decision": ("core", "playground", "ddm"),
    "population": ("core", "playground", "ddm"),
    "toy": ("core", "playground"),
}
"""Every widget's script in ``js/``, and the scripts it builds on."""

SCRIPTS = (*dict.fromkeys(part for parts in NEEDS.values() for part in parts), *NEEDS, "mount")
"""Scripts of ``js/``, in the order in which a page loads them."""

Answer = Callable[[Mapping[str, Any]], Any]


def script_folder() -> Path:
    """Return the folder of the widgets' scripts and style sheet."""
    return Path(str(files("eamlab"))) / "widgets" / "js"


@lru_cache
def _module(name: str) -> str:
    """Return the scripts of one widget as an ES module."""
    parts = [(script_folder() / f"{part}.js").read_text() for part in (*NEEDS[name], name)]
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
        self._name, self._data, self._settings = name, data, dict(settings)
        self._sentence, self._still, self._answer = sentence, still, answer
        style = (script_folder() / "widgets.css").read_text()
        super().__init__(_esm=_module(name), _css=style)
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: Mapping[str, Any], __: Any) -> None:
        if message.get("type") == "hello":
            live = self._answer is not None
            page = {"data": self._data, "settings": self._settings, "live": live}
            self.send({"type": "data", **page})
        elif message.get("type") == "ask":
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
        page = {"data": self._data, "settings": self._settings, "live": False}
        # "</script>" must not end the script early.
        text = json.dumps(page, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
        sentence = html.escape(self._sentence)
        return (
            f'<div data-eam-widget="{self._name}">'
            f'<script type="application/json">{text}</script>'
            f'<div class="eam-fallback"><img src="{_picture(self._still())}" alt="{sentence}">'
            f"<p>{sentence}</p></div></div>"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**data, "text/html": self.html()}, metadata


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
