"""Figures say in words what they show; ids are there once."""

import re

import pytest

from eamlab_book.sphinxext import accessible


@pytest.mark.browser
def test_captions_become_text_alternatives_and_ids_are_there_once(site):
    page = (site / "book" / "part" / "figures.html").read_text(encoding="utf-8")
    assert re.findall(r'<img alt="([^"]*)" src="\.\./\.\./_images', page) == [
        "A line, mu_nu ≈ 3 at its left end.",
        "Figure of the section “Without a caption” (1 of 2)",
        "Figure of the section “Without a caption” (2 of 2)",
        "A line in a solution.",
    ]
    ids = re.findall(r'\sid="([^"]*)"', page)
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
