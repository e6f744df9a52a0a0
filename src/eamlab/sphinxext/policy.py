"""Sphinx extension: a content-security policy in every page of the book.

A page may load what is in the book's folder and run the scripts that were written into it by the
time the book was built, which the policy knows by their hashes. Anything else is refused: a script
that came into the page in another way, a string that is to be evaluated, whatever is on another
machine. The policy travels with the page, so that it holds from any server and from a folder.

The book lists this module among its extensions; nothing else of the library imports it.

References
----------
Content Security Policy Level 3, https://www.w3.org/TR/CSP3/.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

__all__ = ["pages_of", "policy_for", "policy_in", "setup", "with_policy"]

# What "self" is for a page from a folder the standard leaves to browsers; a page from a server can
# reach no "file:" in any case.
_BOOK = "'self' file:"

_DIRECTIVES = {
    "default-src": _BOOK,
    "script-src": _BOOK,
    # MathJax, the theme and the widgets set sizes and colors as they go.
    "style-src": f"{_BOOK} 'unsafe-inline'",
    "img-src": f"{_BOOK} data:",  # stills of widgets, icons within style sheets
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": _BOOK,  # the search
}
_META = '<meta http-equiv="Content-Security-Policy" content="{}" />'
_PRESENT = re.compile(_META.format('([^"]*)') + "\n?")
# After the page says how it is encoded, which browsers look for in its first 1024 bytes.
_PLACES = (re.compile(r"<meta charset=[^>]*>\n?"), re.compile(r"<head\b[^>]*>\n?"))
# Scripts of any other type are data, which no browser runs.
_RUN = frozenset({"", "application/javascript", "importmap", "module", "text/javascript"})


class _Code(HTMLParser):
    """Collects what a page runs without loading it: its own scripts and event handlers."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.handlers += [code or "" for name, code in attrs if name.startswith("on")]
        runs = (values.get("type") or "").strip().lower() in _RUN
        self._inside = tag == "script" and "src" not in values and runs
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[-1] += data


def _hashes(codes: list[str]) -> list[str]:
    """Return the sources by which a policy names pieces of code, each once."""
    digests = (hashlib.sha256(code.encode()).digest() for code in codes)
    return sorted({f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests})


def policy_for(page: str) -> str:
    """Return the content-security policy of a page.

    Parameters
    ----------
    page : str
        Its HTML, every line end a single newline, as browsers make them.

    Returns
    -------
    str
        The policy; scripts in the page and event handlers of its elements are named by hash.
    """
    code = _Code()
    code.feed(page)
    code.close()
    handlers = ["'unsafe-hashes'", *_hashes(code.handlers)] if code.handlers else []
    scripts = " ".join([_DIRECTIVES["script-src"], *_hashes(code.scripts), *handlers])
    directives = _DIRECTIVES | {"script-src": scripts}
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def policy_in(page: str) -> str | None:
    """Return the policy that a page carries, or None."""
    found = _PRESENT.search(page)
    return found[1] if found else None


def with_policy(page: str) -> str:
    """Return a page with its policy, in place of one that it had before."""
    page = _PRESENT.sub("", page)
    found = next(filter(None, (place.search(page) for place in _PLACES)), None)
    end = found.end() if found else 0
    return f"{page[:end]}{_META.format(policy_for(page))}\n{page[end:]}"


def pages_of(folder: Path) -> list[Path]:
    """Return the pages of a rendered book, without the templates among the theme's files."""
    return [page for page in sorted(folder.rglob("*.html")) if "_static" not in page.parts]


def _on_finish(app: Sphinx, error: Exception | None) -> None:
    """Write policies when no more pages come; those of an earlier build have theirs."""
    if error or app.builder.format != "html":
        return
    for file in pages_of(Path(app.outdir)):
        before = file.read_text(encoding="utf-8")
        after = with_policy(before)
        if after != before:
            file.write_text(after, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx, after what else writes pages at the end (`sphinx_external_toc`)."""
    app.connect("build-finished", _on_finish, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
