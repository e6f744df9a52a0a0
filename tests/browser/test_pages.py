"""Pages on a phone, on paper, and how much of them has to be loaded."""

from urllib.parse import unquote, urlparse

import pytest

pytestmark = pytest.mark.browser

WIDE = "book/part/wide.html"
PHONE = {"viewport": {"width": 390, "height": 844}}

CUT = """
() => [...document.querySelectorAll("main *")]
    .filter((box) => box.clientWidth > 1 && box.scrollWidth > box.clientWidth + 1)
    .filter((box) => getComputedStyle(box).overflowX !== "visible")
    .map((box) => [box.className, getComputedStyle(box).maskImage])
"""
LIGHT = """(selector) => {
    const { color, backgroundColor } = getComputedStyle(document.querySelector(selector));
    const light = (rgb) => rgb.match(/[0-9]+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 765;
    return [light(color), light(backgroundColor)];
}"""
MOST = {"book/index.html": 1_700_000, "book/part/widgets.html": 2_460_000}
"""Bytes of a page's first load, its own file not counted: with formulas, and with the network."""


def test_what_is_cut_on_a_phone_fades_at_the_cut(visit):
    page = visit(WIDE, **PHONE)
    right = "() => Math.max(...[...document.querySelectorAll('span.math .katex-base')]"
    right += ".map((part) => part.getBoundingClientRect().right))"
    assert 100 < page.evaluate(right) <= 390  # some formulas, and none in a line is wider
    cut = page.evaluate(CUT)
    for kind in ("katex-display", "output"):
        assert any(kind in name for name, _ in cut)
    assert len(cut) >= 3  # and code
    assert all("more-after" in name and "gradient" in mask for name, mask in cut), cut
    # What was scrolled to its end fades at its beginning.
    box = page.locator(".katex-display.more-after")
    box.evaluate("(box) => box.scrollTo({ left: box.scrollWidth, behavior: 'instant' })")
    page.wait_for_selector(".katex-display.more-before:not(.more-after)")


def test_a_table_takes_the_room_of_a_very_wide_screen(visit):
    page = visit(WIDE, viewport={"width": 1920, "height": 1080})
    table = page.locator(".cell_output .text_html", has=page.locator("table")).first
    shown, needed = table.evaluate("(box) => [box.clientWidth, box.scrollWidth]")
    assert 50 * 16 < needed <= shown  # wider than the text


def test_a_formula_scrolls_only_while_the_screen_is_too_narrow(visit):
    page = visit(WIDE, viewport={"width": 130, "height": 844})
    page.wait_for_selector("span.math.unbroken")
    page.set_viewport_size(PHONE["viewport"])
    page.wait_for_selector("span.math.unbroken", state="detached")


def test_a_figure_opens_alone(visit):
    page = visit(WIDE, **PHONE)
    with page.expect_navigation():
        page.click(".figure-alone")
    assert page.url.endswith(".png")
    assert page.evaluate("() => document.images[0].naturalWidth") > 600


def test_dark_pages_are_printed_dark_on_light_and_solutions_closed(visit):
    page = visit(WIDE, color_scheme="dark")
    ink, paper = page.evaluate(LIGHT, "body")
    assert ink > 0.7 and paper < 0.2
    page.evaluate(
        f"() => window.addEventListener('beforeprint', () => {{ window.printed = "
        f"['body', 'p', 'h1', 'div.highlight pre'].map({LIGHT}); }})"
    )
    page.evaluate(
        "() => window.addEventListener('beforeprint', () => { window.hidden = "
        "document.querySelectorAll('.solution.toggle-hidden').length; })"
    )
    page.pdf()
    assert page.evaluate("() => window.hidden") == 1  # solutions stay closed on paper
    printed = page.evaluate("() => window.printed")
    assert all(ink < 0.45 and (paper > 0.9 or paper == 0) for ink, paper in printed), printed
    assert page.evaluate(LIGHT, "body")[1] < 0.2


def test_notes_of_the_margin_are_whole_where_there_is_none(visit):
    page = visit(WIDE)
    for media, width in (("print", 1366), ("screen", 390)):
        page.set_viewport_size({"width": width, "height": 768})
        page.emulate_media(media=media)
        note, text = page.evaluate(
            "() => ['aside.margin', '.bd-article p']"
            ".map((part) => document.querySelector(part).getBoundingClientRect())"
            ".map((box) => [box.left, box.right])"
        )
        assert note == pytest.approx(text, abs=1), media


def test_pictures_of_widgets_fit_the_paper(visit):
    page = visit("book/part/widgets.html")
    page.emulate_media(media="print")
    fits = page.locator(".eam-picture").first.evaluate("""(picture) => {
        const drawn = picture.querySelector("svg");
        drawn.setAttribute("width", 3000);
        return drawn.getBoundingClientRect().width < picture.clientWidth + 1;
    }""")
    assert fits


def test_one_click_opens_a_solution(visit):
    page = visit(WIDE)
    answer = page.get_by_text("the answer is 2")
    code = page.locator(".solution .cell_input")
    assert not answer.is_visible() and not code.is_visible()
    page.click(".solution .admonition-title")
    page.wait_for_timeout(400)  # it opens slowly
    assert answer.is_visible() and code.is_visible()
    assert page.locator(".solution details").count() == 0


def test_icons_are_there_and_the_keyboard_is_seen_on_a_folded_solution(visit):
    page = visit(WIDE)
    icons = page.evaluate(
        "() => [...document.querySelectorAll('svg.svg-inline--fa')]"
        ".map((icon) => [icon.dataset.icon, icon.querySelectorAll('path').length])"
    )
    # One that is unknown becomes a question mark of several outlines.
    assert len(icons) >= 5 and all(outlines == 1 for _, outlines in icons), icons
    assert page.locator("i[class*=fa-]").count() == 0
    button = page.locator(".solution button.toggle-button")
    for _ in range(200):
        page.keyboard.press("Tab")
        if button.evaluate("(button) => button === document.activeElement"):
            break
    assert button.evaluate("(button) => getComputedStyle(button).outlineStyle") != "none"


@pytest.mark.parametrize("address", ["http"], indirect=True)  # files cannot read each other
def test_search_quotes_text(visit):
    page = visit("search.html?q=comma")
    quote = page.locator("#search-results .context").inner_text()
    assert "ends with a comma" in quote
    assert "\\" not in quote and "Contents" not in quote


@pytest.mark.parametrize("name", MOST)
def test_first_load_is_small(chromium, site, name):
    loaded = set()
    page = chromium.new_page()
    page.on("request", lambda request: loaded.add(urlparse(request.url).path))
    page.goto((site / name).as_uri())
    page.wait_for_load_state()
    page.close()
    sizes = {path: (site / unquote(path)).stat().st_size for path in loaded if "." in path}
    own = (site / name).stat().st_size
    assert own < sum(sizes.values()) < MOST[name] + own, sizes
