"""The chapters keep the form in which the book teaches; CONTRIBUTING.md says it in words."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from contents import ROOT, chapters, with_code

CELL = re.compile(r"^```\{code-cell\} ipython3\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^(```\{code-cell\}|```\{dropdown\}|\|)", re.MULTILINE)
FOLDED = re.compile(r"hide-(input|cell)|source_hidden")

each = pytest.mark.parametrize("page", chapters(), ids=lambda page: page.stem)


def body(page: Path) -> str:
    return page.read_text(encoding="utf-8").split("---\n", 2)[2]


@each
def test_a_chapter_asks_before_it_shows(page):
    text = body(page)
    asked = [m.start() for m in re.finditer(r"^:class: predict$", text, re.MULTILINE)]
    assert asked
    for start in asked:
        section = text[start:].split("\n## ", 1)[0]
        assert SHOWN.search(section), section[:80]  # a cell, a table or an answer to open


@each
def test_a_chapter_says_its_time_and_what_it_needs_and_ends_with_exercises(page):
    text = body(page)
    assert re.search(
        r"^\*Time: about \d+ minutes.*?You need:.*?\*$", text, re.MULTILINE | re.DOTALL
    )
    assert ":class: takeaway" in text.split("\n## Exercises")[0]
    assert "{exercise-start}" in text.split("\n## Exercises")[1]


@each
def test_no_visible_cell_is_long_and_no_sentence_ends_up_in_a_list(page):
    """Markdown takes a line that begins with "1. ", "- " or "+ " for a list amid a paragraph."""
    assert re.findall(r"^[A-Za-z(].*[^:\n]\n(?:1\.|[-+*]) .*", body(page), re.MULTILINE) == []
    cells = [cell for cell in CELL.findall(body(page)) if not FOLDED.search(cell)]
    lines = [[line for line in cell.splitlines() if line.strip(": ")] for cell in cells]
    assert [cell for cell in lines if len(cell) > 15 + cell[0].startswith(":")] == []


def test_a_tenth_chapter_is_held_to_the_rules(tmp_path):
    """A page and a line of _toc.yml are enough for a chapter to be seen, and to be found bad."""
    for name in ("scripts/contents.py", "tests/test_teaching.py", "_toc.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("static"))
    toc = (tmp_path / "_toc.yml").read_text(encoding="utf-8")
    last = f"  - file: book/{chapters()[-1].stem}\n"
    assert last in toc
    more = toc.replace(last, f"{last}  - file: book/10_racing\n")
    (tmp_path / "_toc.yml").write_text(more, encoding="utf-8")
    good = chapters()[0].read_text(encoding="utf-8")
    tenth = tmp_path / "book" / "10_racing.md"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "10_racing"]
    for text, outcome in {
        good: "3 passed",
        good.replace(":class: predict", ":class: tip"): "1 failed, 2 passed",
    }.items():
        tenth.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [*command, "--rootdir", tmp_path, "-c", "/dev/null", "tests/test_teaching.py"],
            cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "scripts")},
            capture_output=True, text=True,
        )  # fmt: skip
        assert outcome in done.stdout, done.stdout
    assert [page.name for page in chapters(tmp_path)][-1] == "10_racing.md"
    assert tenth in with_code(tmp_path)  # so that it gets a notebook and a place in both editions
