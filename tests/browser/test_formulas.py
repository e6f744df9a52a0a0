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
