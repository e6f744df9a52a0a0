"""Figures say in words what they show; ids are there once."""

import re

import pytest

from eamlab_book.sphinxext import accessible


@pytest.fixture(scope="session")
def figures_page(site) -> str:
    """A rendered page with figures, exercises and folded code."""
    return (site / "book" / "part" / "figures.html").read_text(encoding="utf-8")


@pytest.mark.browser
def test_captions_become_text_alternatives(figures_page):
    assert re.findall(r'<img alt="([^"]*)" src="\.\./\.\./_images', figures_page) == [
        "A line, mu_nu ≈ 3 at its left end.",
        "Figure of the section “Without a caption” (1 of 2)",
        "Figure of the section “Without a caption” (2 of 2)",
        "A line in a solution.",
    ]


@pytest.mark.browser
def test_every_id_of_a_page_is_there_once(figures_page):
    ids = re.findall(r'\sid="([^"]*)"', figures_page)
    assert len(ids) > 10
    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize(
    ("latex", "words"),
    [
        (r"\mu_{\nu}", "mu_nu"),
        ("t_0", "t_0"),
        (r"\log\sigma \approx 0.3", "log sigma ≈ 0.3"),
        (r"1/\sqrt 2", "1/√2"),
        (r"\mathrm{sd}\,(x)", "sd (x)"),
        (r"95\%", "95%"),
    ],
)
def test_formulas_are_put_into_words(latex, words):
    assert accessible.plain_formula(latex) == words


def test_axe_is_the_recorded_file_with_its_license(script):
    vendor_js = script("vendor_js")
    assert vendor_js.faults(vendor_js.TEST_VENDOR, vendor_js.TEST_PACKAGES) == []
    assert "Mozilla Public License" in (vendor_js.TEST_VENDOR / "axe-core" / "LICENSE").read_text(
        encoding="utf-8"
    )
