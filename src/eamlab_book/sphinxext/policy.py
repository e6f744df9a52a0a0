"""Sphinx extension: a content-security policy in every page of the book.

A page may load and ask for what is in the book's folder, and nothing on another machine; no string
is evaluated. The policy is the same on every page and travels with it, so that it holds from any
server and from a folder. Scripts and styles within a page are allowed: the theme has some of its
own on each, and nobody but the book's authors writes into a page.

References
----------
Content Security Policy Level 3, https://www.w3.org/TR/CSP3/.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

__all__ = ["META", "setup"]

# What "self" is for a page from a folder the standard leaves to browsers; a page from a server can
# reach no "file:" in any case.
_BOOK = "'self' file:"
_POLICY = {
    "default-src": _BOOK,
    "script-src": f"{_BOOK} 'unsafe-inline'",
    "style-src": f"{_BOOK} 'unsafe-inline'",
    "img-src": f"{_BOOK} data:",  # stills of widgets, icons within style sheets
    "font-src": f"{_BOOK} data:",  # KaTeX's, within its style sheet
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": _BOOK,  # the search
}
META = '<meta http-equiv="Content-Security-Policy" content="{}" />'.format(
    "; ".join(f"{name} {sources}" for name, sources in _POLICY.items())
)


def _on_page(_: Sphinx, __: str, ___: str, context: dict[str, Any], ____: Any) -> None:
    """Put the policy before what it governs: metas come first in the theme's head."""
    context["metatags"] = f"{META}\n{context.get('metatags', '')}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("html-page-context", _on_page)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
