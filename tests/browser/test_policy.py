"""Every page of the book carries a content-security policy, passes it, and is held to it."""

import base64
import hashlib
import secrets
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from small_book import serve

from eamlab.sphinxext.policy import pages_of, policy_for, policy_in, with_policy

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_policy.py"
OWN = "window.own = 'a < b && \"c\"';\n// ünïcode"
PAGE = f"""<!DOCTYPE html>
<html lang="en"><head>
<meta charset="utf-8" />
<title>A page</title>
<script>{OWN}</script>
<script type="application/json">{{"data": "<b>"}}</script>
<script src="file.js"></script>
</head><body><button onclick="window.clicked = &quot;x&quot;">Click</button></body></html>
"""


def directives(policy: str) -> dict[str, list[str]]:
    parts = [part.split() for part in policy.split(";")]
    return {name: sources for name, *sources in parts}


def hashed(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


# --- what is written ------------------------------------------------------------------------------


def test_scripts_and_handlers_are_named_by_their_hashes():
    found = directives(policy_for(PAGE))["script-src"]
    assert found == [
        *("'self'", "file:", hashed(OWN), "'unsafe-hashes'", hashed('window.clicked = "x"'))
    ]
    assert "'unsafe-hashes'" not in policy_for("<script>1</script>")


def test_nothing_is_evaluated_and_nothing_is_remote():
    policy = policy_for(PAGE)
    assert "unsafe-eval" not in policy and "*" not in policy and "http" not in policy
    found = directives(policy)
    assert found["default-src"] == ["'self'", "file:"]
    assert found["object-src"] == found["base-uri"] == ["'none'"]
    assert "'unsafe-inline'" not in found["script-src"]


class Order(HTMLParser):
    """Elements of a page in order, metas by what they say."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.found.append(values.get("http-equiv", next(iter(values), "")) if values else tag)


def test_the_policy_comes_before_what_it_governs():
    assert Order(with_policy(PAGE)).found[2:5] == ["charset", "Content-Security-Policy", "title"]
    assert Order(with_policy("<html><head><title>x</title>")).found == [
        *("html", "head", "Content-Security-Policy", "title")
    ]
    assert Order(with_policy('<meta http-equiv="Refresh" content="0">')).found == [
        *("Content-Security-Policy", "Refresh")
    ]


def test_an_older_policy_is_replaced():
    once = with_policy(PAGE)
    assert with_policy(once) == once
    changed = once.replace("window.own", "window.mine")
    assert policy_in(changed) != policy_for(changed)
    assert with_policy(changed) == with_policy(PAGE.replace("window.own", "window.mine"))


# --- the book -------------------------------------------------------------------------------------


@pytest.mark.browser
def test_the_book_passes_its_policy(site, script, chromium):
    checker = script("check_policy")
    names = {page.relative_to(site).as_posix() for page in pages_of(site)}
    assert names >= {"index.html", "search.html", "genindex.html", "book/part/widgets.html"}
    assert list(checker.faults(site)) == []
    assert list(checker.refusals(chromium, site)) == []


@pytest.mark.browser
def test_what_the_theme_offers_still_works(visit):
    """`visit` fails on what a policy refuses, which is an error of the page."""
    page = visit("book/part/page.html")
    mode = page.locator("html").get_attribute("data-mode")
    page.locator(".theme-switch-button:visible").first.click()
    assert page.locator("html").get_attribute("data-mode") != mode
    page.evaluate("() => { window.print = () => { window.printed = true; }; }")
    page.locator("[onclick='window.print()']").first.evaluate("(button) => button.click()")
    assert page.evaluate("() => window.printed")


@pytest.mark.browser
def test_the_search_finds_words(address, script, chromium):
    """Not through `visit`: from a folder the search gets no excerpts, and reports that."""
    context = chromium.new_context()
    try:
        context.add_init_script(script("check_policy").LISTEN)
        page = context.new_page()
        page.goto(f"{address}search.html?q=density")
        page.locator("#search-results li a", has_text="A page in a folder").wait_for()
        assert page.evaluate("() => window.refused") == []
    finally:
        context.close()


# --- what is refused ------------------------------------------------------------------------------

# Each would set window.planted or ask for what is not in the book.
PLANTED = {
    "script": ("<script>window.planted = true</script>", "script-src-elem"),
    "handler": ('<img src="none.png" onerror="window.planted = true">', "script-src-attr"),
    "frame": ('<iframe src="javascript:parent.planted = true"></iframe>', "script-src-elem"),
    "remote script": ('<script src="https://far.invalid/a.js"></script>', "script-src-elem"),
    "remote picture": ('<img src="https://far.invalid/a.png">', "img-src"),
    "remote style": ('<link rel="stylesheet" href="https://far.invalid/a.css">', "style-src-elem"),
    "remote frame": ('<iframe src="https://far.invalid/a.html"></iframe>', "frame-src"),
    "base": ('<base href="https://far.invalid/">', "base-uri"),
    "plugin": ('<embed type="image/png" src="none.png">', "object-src"),
}
# Of the page itself: what a test evaluates in it is not bound by its policy.
RUN = """<script>
const run = async () => {
  try { eval("window.planted = true"); } catch (error) { window.caught = error.name; }
  await fetch("https://far.invalid/data").catch(() => 0);
  await new Promise((done) => setTimeout(done, 100));
  return [window.planted ?? window.caught, window.refused.map((line) => line.split(" ")[0])];
};
window.answer = run();
</script>"""


@pytest.fixture(params=["http", "file"])
def opened(request, script, chromium, tmp_path):
    """``opened(page)``: an open page, which notes what it is refused."""
    context = chromium.new_context()
    context.add_init_script(script("check_policy").LISTEN)

    def open_page(text: str):
        name = f"{secrets.token_hex(4)}.html"  # a known one would come from the browser's cache
        (tmp_path / name).write_text(text)
        page = context.new_page()
        page.goto(f"{address}/{name}")
        return page

    try:
        with serve(tmp_path) as server:
            address = {"http": server.rstrip("/"), "file": tmp_path.as_uri()}[request.param]
            yield open_page
    finally:
        context.close()


@pytest.mark.browser
def test_what_comes_into_a_page_later_is_refused(opened, site):
    real = (site / "book" / "part" / "page.html").read_text()
    for kind, (planted, directive) in PLANTED.items():
        place = "<title>" if kind == "base" else "</body>"
        page = opened(real.replace(place, planted + place, 1))
        ran, refused = page.evaluate("() => [window.planted ?? false, window.refused]")
        assert not ran, kind
        assert directive in {line.split()[0] for line in refused}, (kind, refused)


@pytest.mark.browser
def test_strings_are_not_evaluated_and_nothing_is_fetched(opened):
    ask = "() => window.answer"
    expected = ["EvalError", ["script-src", "connect-src"]]
    assert opened(with_policy(PAGE + RUN)).evaluate(ask) == expected
    assert opened(PAGE + RUN).evaluate(ask) == [True, []]


# --- the command ----------------------------------------------------------------------------------


def run(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True
    )


@pytest.mark.browser
def test_command_names_the_page_and_what_is_wrong(chromium_program, tmp_path):
    (tmp_path / "file.js").touch()
    (tmp_path / "good.html").write_text(with_policy(PAGE))
    assert run(tmp_path).returncode == 0
    (tmp_path / "bare.html").write_text(PAGE)
    (tmp_path / "later.html").write_text(with_policy(PAGE) + "<script>1</script>")
    far = '<img src="https://far.invalid/a.png">'
    (tmp_path / "far.html").write_text(with_policy(PAGE + far))
    result = run(tmp_path)
    assert result.returncode == 1, result.stderr
    lines = result.stdout.splitlines()
    assert "bare.html: has no policy" in lines
    assert "later.html: its policy is not that of the scripts in it" in lines
    assert any(line.startswith("far.html: img-src refuses https://far") for line in lines)
    assert "good.html" not in result.stdout


def test_command_refuses_a_folder_without_pages(tmp_path):
    result = run(tmp_path)
    assert result.returncode == 2 and "build the book first" in result.stderr
