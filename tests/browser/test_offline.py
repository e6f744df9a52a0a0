"""Opening a page of the book asks nothing of any other machine."""

import re

import pytest
from remote_kinds import FETCHES, page
from small_book import serve

pytestmark = pytest.mark.browser

PAGES = ["index.html", "book/index.html", "book/part/page.html", "search.html", "genindex.html"]
# A connection without a request, and what belongs to the frame of a window.
NEVER_ASKED_FOR = {"icon", "preconnect", "manifest"}


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_without_errors_or_remote_requests(visit, name):
    """The assertions are those of ``visit``; a page must also be there."""
    assert visit(name).title()


@pytest.fixture(params=["http", "file"])
def broken_page(request, tmp_path):
    """Address of a page that fetches in every known way."""
    (tmp_path / "page.html").write_text(page("\n".join(FETCHES.values())))
    if request.param == "file":
        yield f"{tmp_path.as_uri()}/page.html"
    else:
        with serve(tmp_path) as server:
            yield f"{server}page.html"


def test_every_remote_request_is_refused_and_recorded(watched, broken_page):
    context, watch = watched(broken_page.removesuffix("page.html"), device_scale_factor=2)
    opened = context.new_page()
    opened.goto(broken_page)
    opened.evaluate("() => fetch('https://far.invalid/fetched').catch(() => 0)")
    opened.evaluate(
        "() => new Promise((end) => new WebSocket('wss://far.invalid/ws').onclose = end)"
    )
    named = {
        kind: re.search(r"far\.invalid/([\w.-]*)", text, re.I) for kind, text in FETCHES.items()
    }
    asked = {url.rpartition("/")[2] for url in watch.remote}
    expected = {name[1] for kind, name in named.items() if kind not in NEVER_ASKED_FOR}
    assert expected - asked == set()
    assert {"fetched", "ws"} <= asked
