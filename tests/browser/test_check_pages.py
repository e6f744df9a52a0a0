"""Pages that are fine pass, and each thing that can be wrong with a page is named."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import check_pages
import pytest
from conftest import served_and_on_disk

from eamlab_book.sphinxext.policy import META

SCRIPT = Path(check_pages.__file__)
FAR = "https://far.invalid"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"

# What stands in the page, by kind. Each names an address of its own below FAR.
FETCHES = {
    "script": f'<script src="{FAR}/script.js"></script>',
    "module": f'<script type="module">import x from "{FAR}/module.js"; x();</script>',
    "dynamic import": f'<script>import("{FAR}/dynamic.js").catch(() => 0);</script>',
    "style sheet": f'<link rel="stylesheet" href="{FAR}/style.css">',
    "alternate sheet": f'<link rel="alternate stylesheet" title="x" href="{FAR}/other.css">',
    "icon": f'<link rel="shortcut icon" href="{FAR}/icon.png">',
    "preload": f'<link rel="preload" as="image" href="{FAR}/preload.png">',
    "module preload": f'<link rel="modulepreload" href="{FAR}/preloaded.js">',
    "preconnect": f'<link rel="preconnect" href="{FAR}/">',
    "manifest": f'<link rel="manifest" href="{FAR}/manifest.json">',
    "image": f'<img src="{FAR}/image.png" alt="">',
    "other case": f"<IMG SRC='{FAR.upper()}/CASE.PNG' alt=''>",
    "protocol-relative": '<img src="//far.invalid/relative.png" alt="">',
    "srcset": f'<img srcset="near.png 9x, {FAR}/sharp.png 1x" alt="">',
    "source": f'<picture><source srcset="{FAR}/source.webp"><img src="near.png" alt=""></picture>',
    "audio": f'<audio preload="auto"><source src="{FAR}/audio.ogg"></audio>',
    "video": f'<video preload="auto" src="{FAR}/video.mp4"></video>',
    "poster": f'<video poster="{FAR}/poster.png"></video>',
    "iframe": f'<iframe src="{FAR}/frame.html"></iframe>',
    "srcdoc": f"<iframe srcdoc=\"<img src='{FAR}/inner.png'>\"></iframe>",
    "embed": f'<embed type="image/png" src="{FAR}/embed.png">',
    "object": f'<object data="{FAR}/object.png"></object>',
    "button": f'<input type="image" src="{FAR}/button.png" alt="">',
    "svg image": f'<svg><image href="{FAR}/drawn.png" width="9" height="9"/></svg>',
    "inline style": f"<p style=\"background: url('{FAR}/ground.png')\">x</p>",
    "@import": f'<style>@import "{FAR}/imported.css";</style>',
    "@import url": f"<style>@import url({FAR}/imported-url.css) screen;</style>",
    "font-face": f'<style>@font-face {{ font-family: "F"; src: url("{FAR}/font.woff2"); }}'
    ' body { font-family: "F"; }</style>',
}
# Each of these would change the other addresses, or leave the page.
ALONE = {
    "base": f'<base href="{FAR}/elsewhere/"><img src="near.png" alt="">',
    "refresh": f'<meta http-equiv="refresh" content="0; url={FAR}/next.html">',
}
# Nothing of this is fetched by opening the page.
HARMLESS = f"""
<a href="{FAR}/link.html">a link</a>
<link rel="canonical" href="{FAR}/canonical.html">
<link rel="next" href="next.html">
<!-- <script src="{FAR}/comment.js"></script> -->
<style>/* @import "{FAR}/comment.css"; */ p {{ background: url(near.png); }}</style>
<script>const address = "{FAR}/text.js"; // a text, not an import</script>
<img src="data:image/png;base64,//8=" srcset="near.png 1x, far,//near.png 2x" alt="">
<svg xmlns="http://www.w3.org/2000/svg"><use href="#here"/></svg>
<p>url({FAR}/prose.png)</p>
"""
# What readers cannot use, by axe-core's rule.
UNREADABLE = {
    "image-alt": f'<img src="{PIXEL}" width="9" height="9">',
    "figure-alt": f'<img src="{PIXEL}" width="9" height="9" alt="../_images/ab12.png">',
    "color-contrast": '<p style="color:#bbb">Pale words.</p>',
    "label": '<input type="range">',
    "button-name": "<details><summary>Folded</summary><button></button></details>",
    "scrollable-region-focusable": (
        '<div style="width:9em;overflow:auto;white-space:nowrap">' + "wide " * 40 + "</div>"
    ),
}
BROKEN = {
    "broken": "<script>throw new Error('broken')</script>",
    "unsafe-eval": "<script>eval('1')</script>",
    "connect-src": f"<script>fetch('{FAR}/data').catch(() => 0)</script>",
    "object-src": '<embed type="image/png" src="near.png">',
}


def page(body: str, head: str = META) -> str:
    return (
        f"<!DOCTYPE html><html lang='en'><head>{head}<title>A page</title></head>"
        f"<body style='background:#fff;color:#000'><main><h1>A page</h1>{body}</main></body></html>"
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of a server, with the picture that the pages of the tests show."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "near.png").write_bytes(base64.b64decode(PIXEL.partition(",")[2]))
    return tmp_path / "book"


@pytest.fixture
def faults(chromium, folder):
    """``faults(text, ...)``: what is wrong with a page of this text."""

    def find(text: str, *screens: str) -> str:
        (folder / "page.html").write_text(text, encoding="utf-8")
        assert check_pages.pages_of(folder) == ["page.html"]
        with check_pages.serve(folder) as server:
            both = [server] if screens else [f"{folder.as_uri()}/", server]
            found = [check_pages.faults_at(chromium, at, "page.html", screens) for at in both]
            return "\n".join(line for lines in found for line in lines)

    return find


@pytest.mark.browser
def test_the_small_book_has_no_faults(chromium, site, monkeypatch):
    """On each device and in each color scheme, if not in each pair of them."""
    both = {name: check_pages.SCREENS[name] for name in ("wide, light", "phone, dark")}
    monkeypatch.setattr(check_pages, "SCREENS", both)
    names = ("index", "01_chapter", "part/figures", "part/page", "part/wide", "part/widgets")
    pages = {"search.html", "genindex.html", *(f"book/{name}.html" for name in names)}
    assert set(check_pages.pages_of(site)) >= pages
    assert list(check_pages.faults(chromium, site)) == []


@pytest.mark.browser
@pytest.mark.parametrize("head", [META, ""], ids=["refused", "asked for"])
def test_every_way_to_ask_another_machine_is_reported_and_nothing_else(faults, head):
    assert not head or faults(page(HARMLESS)) == ""
    found = faults(page("\n".join(FETCHES.values()), head)).lower()
    found = found.replace("framing 'https://far.invalid/'", "far.invalid/frame.html")  # if refused
    names = [re.search(r"far\.invalid/[\w.-]*", text, re.I)[0] for text in FETCHES.values()]
    assert [name for name in names if name.lower() not in found] == []
    for kind, text in ALONE.items():
        assert "far.invalid" in faults(page(text, head)), kind


@pytest.mark.browser
def test_errors_refusals_and_what_keeps_readers_out_are_reported(faults):
    found = faults(page("".join(UNREADABLE.values())), "wide, light")
    assert [rule for rule in UNREADABLE if f"{rule}: " not in found] == []
    found = faults(page("", META + "".join(BROKEN.values())))
    assert [fault for fault in BROKEN if fault not in found] == []
    assert "no content-security policy" in faults(page("", ""))


@pytest.mark.browser
def test_what_the_theme_offers_works(visit):
    """`visit` fails on what a policy refuses, which is an error of the page."""
    opened = visit("book/part/page.html")
    button, names = opened.locator(".theme-switch-button:visible").first, []
    for _ in range(3):
        button.click()
        names.append(button.get_attribute("aria-label"))
    assert {*names} == {f"Color mode: {mode}" for mode in ("Light", "Dark", "System Settings")}
    opened.evaluate("() => { window.print = () => { window.printed = true; }; }")
    opened.locator("[onclick='window.print()']").first.evaluate("(button) => button.click()")
    assert opened.evaluate("() => window.printed")


@pytest.mark.browser
@served_and_on_disk
def test_the_search_finds_words(address, chromium):
    """Not through `visit`: from a folder the search gets no excerpts, and reports that."""
    opened = chromium.new_page()
    try:
        opened.goto(f"{address}search.html?q=density")
        opened.locator("#search-results li a", has_text="A page in a folder").wait_for()
    finally:
        opened.close()


# --- the command ----------------------------------------------------------------------------------


def run(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.browser
def test_command_names_the_page_and_what_is_wrong(chromium_program, folder):
    (folder / "good.html").write_text(page("<p>Words.</p>"), encoding="utf-8")
    (folder / "index.html").write_text(
        '<meta http-equiv="Refresh" content="0; url=good.html">', encoding="utf-8"
    )
    (folder / "bad.html").write_text(page(UNREADABLE["color-contrast"]), encoding="utf-8")
    result = run(folder)
    assert result.returncode == 1, result.stderr
    assert result.stdout.endswith("\n2 pages opened, 1 faults\n")
    (line,) = [line for line in result.stdout.splitlines() if "html" in line]
    assert re.fullmatch(r"bad\.html: color-contrast: .*\(wide, light; .*phone, dark\): p", line)


def test_command_says_so_where_there_is_no_browser_or_no_page(folder, monkeypatch):
    monkeypatch.setenv("CHROMIUM", "no-such-program")
    result = run(folder)
    assert result.returncode == 2 and "build the book first" in result.stderr
    (folder / "good.html").write_text(page("<p>Words.</p>"), encoding="utf-8")
    result = run(folder)
    assert result.returncode == 0 and "No page was opened" in result.stderr
