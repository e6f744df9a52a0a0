"""Every page can be used without seeing it well, without a mouse, and on a phone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docutils import nodes
from small_book import build_book, jupyter_book

from eamlab.sphinxext import accessible

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "check_accessibility.py"
PAGES = [
    "book/index.html",
    "book/part/page.html",
    "book/part/widgets.html",
    "search.html",
    "genindex.html",
]
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"

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


@pytest.fixture
def checker(script):
    return script("check_accessibility")


@pytest.fixture(scope="module")
def figures_page(chromium_program, tmp_path_factory) -> Path:
    """A rendered page with figures, exercises and folded code."""
    if not jupyter_book().exists():
        pytest.skip("Jupyter Book is not installed")
    folder = tmp_path_factory.mktemp("figures")
    (folder / "source" / "book").mkdir(parents=True)
    (folder / "source" / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (folder / "source" / "book" / "index.md").write_text(FIGURES)
    return build_book(folder / "source", folder / "built") / "book" / "index.html"


def rules(checker, browser, page: Path, screens=None):
    found = [
        violation
        for screen in screens or checker.SCREENS
        for violation in checker.examine_on(browser, page.as_uri(), screen)
    ]
    return {violation.rule: violation.targets for violation in found}


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_pages_have_no_serious_violation(checker, chromium, site, name):
    assert rules(checker, chromium, site / name) == {}


@pytest.mark.browser
def test_figures_and_exercises_have_no_serious_violation(checker, chromium, figures_page):
    assert rules(checker, chromium, figures_page) == {}


@pytest.mark.browser
def test_the_mode_button_says_which_mode_is_on(chromium, figures_page):
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(figures_page.as_uri())
        button = page.locator(".theme-switch-button:visible").first
        names = []
        for _ in range(3):
            button.click()
            names.append(button.get_attribute("aria-label"))
    finally:
        context.close()
    assert {*names} == {f"Color mode: {mode}" for mode in ("Light", "Dark", "System Settings")}


def test_captions_become_text_alternatives(figures_page):
    main = figures_page.read_text()
    assert re.findall(r'<img alt="([^"]*)" src="\.\./_images', main) == [
        "A line, mu_nu ≈ 3 at its left end.",
        "Figure of the section “Without a caption” (1 of 2)",
        "Figure of the section “Without a caption” (2 of 2)",
        "A line in a solution.",
    ]


def test_every_id_of_a_page_is_there_once(figures_page):
    ids = re.findall(r'\sid="([^"]*)"', figures_page.read_text())
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


def document_with(*after):
    cell = nodes.container("", nodes.image(uri="a.png"), nb_element="cell_code")
    return nodes.section("", nodes.title("", "Title"), cell, *after), cell


def paragraph(*children):
    return nodes.paragraph("", "", *children)


@pytest.mark.parametrize(
    ("after", "caption"),
    [
        ([], ""),
        ([paragraph(nodes.Text("No."))], ""),
        ([paragraph(nodes.emphasis("", "Some"), nodes.Text(" words"))], ""),
        ([paragraph(nodes.strong("", "Bold"))], ""),
        ([nodes.literal_block("", "code"), paragraph(nodes.emphasis("", "Late"))], ""),
        ([paragraph(nodes.emphasis("", "Two\nlines"))], "Two lines"),
    ],
)
def test_only_a_paragraph_in_italics_right_after_the_cell_is_a_caption(after, caption):
    section, cell = document_with(*after)
    assert accessible.caption_of(cell) == caption
    accessible.name_figures(section)
    expected = caption or "Figure of the section “Title”"
    assert next(section.findall(nodes.image))["alt"] == expected


def test_a_text_alternative_that_the_author_gave_stays():
    section, cell = document_with(paragraph(nodes.emphasis("", "Caption")))
    cell[0]["alt"] = "given"
    accessible.name_figures(section)
    assert cell[0]["alt"] == "given"


PAGE = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title></head>'
    '<body style="background:#fff;color:#000"><main><h1>A page</h1>{}</main></body></html>'
)
PLANTED = {
    "image-alt": f'<img src="{PIXEL}" width="9" height="9">',
    "figure-alt": f'<img src="{PIXEL}" width="9" height="9" alt="../_images/ab12.png">',
    "color-contrast": '<p style="color:#bbb">Pale words.</p>',
    "label": '<input type="range">',
    "button-name": "<details><summary>Folded</summary><button></button></details>",
    "scrollable-region-focusable": (
        '<div style="width:9em;overflow:auto;white-space:nowrap">' + "wide " * 40 + "</div>"
    ),
}


@pytest.mark.browser
@pytest.mark.parametrize("rule", PLANTED)
def test_what_is_wrong_is_found(checker, chromium, tmp_path, rule):
    (tmp_path / "page.html").write_text(PAGE.format(PLANTED[rule]))
    found = rules(checker, chromium, tmp_path / "page.html", checker.SCREENS[:1])
    assert rule in found and len(found[rule]) == 1


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.browser
def test_command_names_page_rule_and_element(chromium_program, tmp_path):
    (tmp_path / "bad.html").write_text(PAGE.format(PLANTED["color-contrast"]))
    (tmp_path / "good.html").write_text(PAGE.format("<p>Words.</p>"))
    (tmp_path / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=good.html">')
    result = run(tmp_path, CHROMIUM=chromium_program)
    assert result.returncode == 1, result.stderr
    assert re.search(r"^bad\.html: color-contrast: .*\n    p$", result.stdout, re.MULTILINE)
    assert "good.html" not in result.stdout
    assert result.stdout.endswith("2 pages on 4 screens, 1 accessibility violations\n")
    (tmp_path / "bad.html").unlink()
    assert run(tmp_path, CHROMIUM=chromium_program).returncode == 0


def test_command_refuses_a_folder_without_pages(tmp_path):
    result = run(tmp_path)
    assert result.returncode == 2 and "build the book first" in result.stderr


def test_command_says_so_where_there_is_no_browser(tmp_path):
    (tmp_path / "good.html").write_text(PAGE.format("<p>Words.</p>"))
    result = run(tmp_path, CHROMIUM="no-such-program")
    assert result.returncode == 0 and "Accessibility was not checked" in result.stderr


def test_axe_is_the_recorded_file_with_its_license(script):
    vendor_js = script("vendor_js")
    assert vendor_js.faults(vendor_js.TEST_VENDOR, vendor_js.TEST_PACKAGES) == []
    assert "Mozilla Public License" in (vendor_js.TEST_VENDOR / "axe-core" / "LICENSE").read_text()
