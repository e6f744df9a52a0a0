"""Formulas are typeset from the book's own files, wherever the page is and however it is opened."""

import pytest

pytestmark = pytest.mark.browser

PAGES = {"book/index.html": 3, "book/part/page.html": 3}  # formulas on each
PHONE = {"viewport": {"width": 390, "height": 844}}

DRAWN = """
() => [...document.querySelectorAll(".math .katex")].map((formula) => ({
    width: formula.querySelector(".katex-html").getBoundingClientRect().width,
    glyphs: formula.querySelector(".katex-html").textContent.length,
    spoken: formula.querySelector(".katex-mathml semantics > :first-child")?.textContent ?? "",
}))
"""
FONTS = '() => document.fonts.check("16px KaTeX_Math") && document.fonts.size'
UNTOUCHED = '() => document.querySelectorAll(".math:not(:has(.katex)), .katex-error").length'
OVERFLOW = "() => document.scrollingElement.scrollWidth - window.innerWidth"


@pytest.mark.parametrize("name", PAGES)
def test_formulas_are_typeset_and_readable_aloud(visit, name):
    page = visit(name)
    formulas = page.evaluate(DRAWN)
    assert len(formulas) == PAGES[name]
    assert page.evaluate(UNTOUCHED) == 0
    for formula in formulas:
        assert formula["width"] > 20 and formula["glyphs"] >= 5, formula
        assert len(formula["spoken"]) >= 5, formula
    assert page.evaluate(FONTS) >= 5


# Lines, at every width of a phone's column, that begin with the mark after a formula.
ORPHANS = r"""
() => [...document.querySelectorAll("span.math")].flatMap((formula) => {
    const [after, parts] = [formula.nextSibling, formula.querySelectorAll(".katex-base")];
    const at = after?.data?.search(/[,.;:?!)]/) ?? -1;
    if (at < 0 || /\w/.test(after.data.slice(0, at))) return [];
    const [mark, box] = [document.createRange(), formula.closest("p")];
    mark.setStart(after, at);
    mark.setEnd(after, at + 1);
    const found = [];
    for (let width = 100; width < 360; width += 1) {
        box.style.width = `${width}px`;
        const end = parts[parts.length - 1].getBoundingClientRect();
        found.push(mark.getBoundingClientRect().left < end.left);
    }
    return found;
})
"""


def test_no_line_begins_with_the_comma_after_a_formula(visit):
    orphans = visit("book/part/wide.html", **PHONE).evaluate(ORPHANS)
    assert len(orphans) >= 500 and not any(orphans)


def test_numbered_formula_can_be_referred_to(visit):
    page = visit("book/index.html")
    page.click("a.reference[href='#equation-posterior']")
    assert page.locator("#equation-posterior .katex-display").is_visible()


def test_wide_formula_does_not_widen_the_page(visit):
    page = visit("book/part/page.html", **PHONE)
    assert page.evaluate(OVERFLOW) <= 0


def test_what_has_no_formula_loads_nothing_for_any(visit):
    page = visit("book/part/widgets.html")
    assert page.evaluate("() => typeof katex") == "undefined"
