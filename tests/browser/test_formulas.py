"""Formulas are typeset from the book's own files, wherever the page is and however it is opened."""

import pytest
from conftest import served_and_on_disk

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


@served_and_on_disk
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


# At every width of a phone's column: whether a bracket or a comma is in another line than the part
# of the formula that it stands beside.
APART = r"""
() => [...document.querySelectorAll("main p span.math")].flatMap((formula) => {
    const parts = [...formula.querySelectorAll(".katex-base")];
    const marks = [[formula.previousSibling, /[(]$/, parts[0]],
        [formula.nextSibling, /^[,.;:?!)]/, parts[parts.length - 1]]];
    return marks.flatMap(([text, pattern, part]) => {
        const at = text?.data?.search(pattern) ?? -1;
        if (at < 0) return [];
        const [mark, found] = [document.createRange(), []];
        mark.setStart(text, at);
        mark.setEnd(text, at + 1);
        for (let width = 100; width < 360; width += 1) {
            formula.closest("p").style.width = `${width}px`;
            const [one, two] = [mark.getBoundingClientRect(), part.getBoundingClientRect()];
            found.push(one.bottom < two.top || one.top > two.bottom);
        }
        return found;
    });
})
"""


def test_no_line_begins_with_the_comma_after_a_formula(visit):
    apart = visit("book/part/wide.html", **PHONE).evaluate(APART)
    assert len(apart) >= 500 and not any(apart)


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
