"""The chapters keep the form in which the book teaches; CONTRIBUTING.md says it in words."""

import re
from pathlib import Path

import pytest

CHAPTERS = sorted((Path(__file__).resolve().parents[1] / "book").glob("0*.md"))
CELL = re.compile(r"^```\{code-cell\} ipython3\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^(```\{code-cell\}|```\{dropdown\}|\|)", re.MULTILINE)
FOLDED = re.compile(r"hide-(input|cell)|source_hidden")

pytestmark = pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)


def body(page: Path) -> str:
    return page.read_text().split("---\n", 2)[2]


def boxes(page: Path, kind: str) -> list[int]:
    """Where the boxes of a kind begin."""
    return [m.start() for m in re.finditer(rf"^:class: {kind}$", body(page), re.MULTILINE)]


def test_a_chapter_asks_before_it_shows(page):
    text, asked = body(page), boxes(page, "predict")
    assert len(asked) >= 4
    for start in asked:
        section = text[start:].split("\n## ", 1)[0]
        assert SHOWN.search(section), section[:80]  # a cell, a table or an answer to open


def test_a_chapter_names_a_misconception(page):
    assert boxes(page, "misconception")


def test_a_chapter_says_its_time_and_what_it_needs_and_ends_with_a_summary(page):
    text = body(page)
    assert re.search(
        r"^\*Time: about \d+ minutes.*?You need:.*?\*$", text, re.MULTILINE | re.DOTALL
    )
    assert len(boxes(page, "takeaway")) == 1
    order = [text.index(":class: takeaway"), text.index("\n## Exercises")]
    assert sorted(order) == order and "\n## Further reading" in text[order[1] :]


def test_a_chapter_is_short(page):
    """Words of prose, exercises included and code not."""
    prose = re.sub(r"```\{code-cell\}.*?```|```python.*?```", "", body(page), flags=re.DOTALL)
    assert len(prose.split()) <= 3000


def test_no_visible_cell_is_long(page):
    cells = [cell for cell in CELL.findall(body(page)) if not FOLDED.search(cell)]
    lines = [[line for line in cell.splitlines() if line.strip(": ")] for cell in cells]
    assert [cell for cell in lines if len(cell) > 15 + cell[0].startswith(":")] == []
