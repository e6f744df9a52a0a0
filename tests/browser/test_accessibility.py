"""Figures say in words what they show; ids are there once."""

import re
from pathlib import Path

import check_pages
import pytest
from small_book import build_book, jupyter_book

from eamlab_book.sphinxext import accessible

FIGURES = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# Figures

```{code-cell} ipython3
import matplotlib.pyplot as plt

plt.plot([1, 2], [3, 4]);
```

*A line, {math}`\\mu_\\nu \\approx 3` at its left
end.*

## Without a caption

```{code-cell} ipython3
:tags: [hide-input]
plt.plot([1, 2], [3, 4])  # LONG
plt.show()
plt.plot([1, 2], [3, 4]);
```

Not *all* of this is in italics.

```{exercise-start}
:label: first
```
What is it?
```{exercise-end}
```

```{solution-start} first
:class: dropdown
```
```{code-cell} ipython3
plt.plot([1, 2], [3, 4]);
```

*A line in a solution.*

```{solution-end}
```

```{exercise}
:label: second
Another.
```
""".replace("LONG", "long " * 30)


@pytest.fixture(scope="module")
def figures_page(chromium_program, tmp_path_factory) -> Path:
    """A rendered page with figures, exercises and folded code."""
    if not jupyter_book().exists():
        pytest.skip("Jupyter Book is not installed")
    folder = tmp_path_factory.mktemp("figures")
    (folder / "source" / "book").mkdir(parents=True)
    (folder / "source" / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\n", encoding="utf-8"
    )
    (folder / "source" / "book" / "index.md").write_text(FIGURES, encoding="utf-8")
    return build_book(folder / "source", folder / "built") / "book" / "index.html"


@pytest.mark.browser
def test_figures_and_exercises_have_no_faults(chromium, figures_page):
    with check_pages.serve(figures_page.parents[1]) as server:
        found = check_pages.faults_at(chromium, server, "book/index.html", check_pages.SCREENS)
        assert list(found) == []


@pytest.mark.browser
def test_captions_become_text_alternatives(figures_page):
    main = figures_page.read_text(encoding="utf-8")
    assert re.findall(r'<img alt="([^"]*)" src="\.\./_images', main) == [
        "A line, mu_nu ≈ 3 at its left end.",
        "Figure of the section “Without a caption” (1 of 2)",
        "Figure of the section “Without a caption” (2 of 2)",
        "A line in a solution.",
    ]


@pytest.mark.browser
def test_every_id_of_a_page_is_there_once(figures_page):
    ids = re.findall(r'\sid="([^"]*)"', figures_page.read_text(encoding="utf-8"))
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
