"""Both editions of the book: nothing leaks, nothing is missing, nobody's work is lost."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import jupytext
import make_edition
import nbformat
import plain_markdown
import pytest
from contents import chapters

import eamlab_book
from eamlab_book.exercises import exercises

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = {page.stem: page.read_text(encoding="utf-8") for page in chapters()}
WITH_SOLUTION = re.compile(
    r"^`{3,}\{solution-start\} .*?^`{3,}\{solution-end\}\n`{3,}$", re.DOTALL | re.MULTILINE
)
FEWEST = 8  # characters: shorter lines, such as a bracket, give nothing away

HEAD = "---\nkernelspec:\n  display_name: Python 3\n  name: python3\n---\n\n"
CELL = "```{code-cell} ipython3\nimport eamlab as el\n```\n"
EXERCISE = """```{exercise-start} 1.1 Other units · check your understanding
:label: ex-1-1
:nonumber:
```
How many?

```{admonition} Hint
:class: dropdown
Think of 0.1.
```
```{exercise-end}
```
"""
SOLUTION = """```{solution-start} ex-1-1
:class: dropdown
```
```{code-cell} ipython3
:tags: [hide-cell]
:jupyter: {source_hidden: true}

book.exercises.check("1.1", {"nu": 2.5, "alpha": 1.2})
```

Two and a half.
```{solution-end}
```
"""
PAGE = f"{HEAD}# 1. Units\n\nA [guide](instructors_guide.md).\n\n{CELL}\n{EXERCISE}\n{SOLUTION}\n"
GUIDE = f"{HEAD}# The guide\n\n{CELL}\n### 1. Units\n\nAsk {{math}}`x` first.\n\n## More\n\nNo.\n"


@pytest.fixture
def book(tmp_path):
    """A book of a chapter with an exercise, a page with code but without, a guide, a plain page."""
    folder = tmp_path / "book"
    folder.mkdir()
    pages = {"01_units": PAGE, "02_none": f"{HEAD}# 2. None\n\n{CELL}"}
    for name, text in (pages | {"instructors_guide": GUIDE, "words": "# Words\n"}).items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    entries = "".join(f"  - file: book/{name}\n" for name in (*pages, "instructors_guide"))
    toc = f"format: jb-book\nroot: book/words\nchapters:\n{entries}"
    (tmp_path / "_toc.yml").write_text(toc, encoding="utf-8")
    return tmp_path


def decoded(files: dict[str, bytes]) -> dict[str, str]:
    return {Path(n).stem: t.decode() for n, t in files.items() if n.endswith((".ipynb", ".md"))}


@cache
def edition(name: str, markdown: bool = False) -> dict[str, str]:
    return decoded(make_edition.edition_files(name, markdown=markdown))


def cells(notebook: str, kind: str) -> list[str]:
    return [c.source for c in nbformat.reads(notebook, 4).cells if c.cell_type == kind]


def shown_in(written: str, markdown: bool) -> str:
    return written if markdown else "\n".join(cells(written, "code") + cells(written, "markdown"))


def told(text: str) -> set[str]:
    """Lines that say something, without the marks of directives and their options."""
    lines = {line.strip() for line in text.splitlines()}
    return {s for s in lines if len(s) >= FEWEST and not re.match(r"`{3,}|:\w+:|<|\*\*Solution", s)}


def solution_lines(name: str) -> set[str]:
    """Lines of a chapter's solutions that are nowhere else in it, as written and as converted."""
    text = CHAPTERS[name]
    converter = plain_markdown.Converter(
        plain_markdown.equation_numbers(CHAPTERS.items()), frozenset(CHAPTERS)
    )
    solutions, rest = "\n".join(WITH_SOLUTION.findall(text)), WITH_SOLUTION.sub("", text)
    both = [told(t) | told(converter.text(t)) for t in (solutions, rest)]
    return both[0] - both[1]


# --------------------------------------------------------------------------------------------------
# Students
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("markdown", [False, True], ids=["notebooks", "markdown"])
@pytest.mark.parametrize("name", CHAPTERS)
def test_no_line_of_a_solution_reaches_students(name, markdown):
    shown = shown_in(edition("student", markdown)[name], markdown)
    secret = solution_lines(name)
    assert len(secret) > 10
    elsewhere = WITH_SOLUTION.sub("", CHAPTERS[name])
    added = "\n".join(make_edition.ANSWER_CELL.format(id=id) for id in exercises()).split("\n")
    leaks = {line for line in secret if line in shown and line not in elsewhere}
    assert leaks - {*added} == set()
    assert "{solution" not in shown and "<b>Solution" not in shown
    # The same search finds them where they are.
    lines = told(shown_in(edition("instructor", markdown)[name], markdown))
    assert len(secret & lines) >= 0.5 * len(secret)


def test_the_code_of_the_reference_answers_does_not_reach_students():
    shown = "\n".join(edition("student", True).values())
    for exercise in exercises().values():
        assert exercise.right not in shown
    for name, chapter in CHAPTERS.items():
        module = importlib.import_module(f"eamlab_book.exercises.chapter{int(name[:2])}")
        code = inspect.getsource(module).splitlines()
        reference = {s for line in code if len(s := line.strip()) > 30 and "import" not in s}
        outside = WITH_SOLUTION.sub("", chapter)
        assert [line for line in reference if line in shown and line not in outside] == []


def test_every_exercise_has_its_hint_and_a_cell_for_the_answer():
    found = {}
    for name in CHAPTERS:
        notebook = edition("student")[name]
        text = "\n".join(cells(notebook, "markdown"))
        assert text.count("<summary><b>Hint</b></summary>") == text.count("### Exercise ")
        for code in cells(notebook, "code"):
            if match := re.search(r'^book\.exercises\.check\("(.+)", answer\)\Z', code, re.M):
                found[match[1]] = code
    assert list(found) == list(exercises())
    for code in found.values():  # an empty one runs, and is not right
        *before, last = ast.parse(code).body
        namespace = {"book": eamlab_book}
        exec(compile(ast.Module(before, []), "cell", "exec"), namespace)
        assert not eval(compile(ast.Expression(last.value), "cell", "eval"), namespace).correct


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_students_run_needs_nothing_of_the_solutions(name):
    code = "\n".join(cells(edition("student")[name], "code"))
    ruff = ["--isolated", "--select", "F821", "--config", 'builtins = ["display", "get_ipython"]']
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *ruff, "-"],
        input=code, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_solution_that_is_not_closed_is_refused():
    broken = PAGE.replace("```{solution-end}\n```\n", "")
    for text in (broken, broken + EXERCISE + SOLUTION):
        with pytest.raises(ValueError, match="no {solution-end}"):
            make_edition.for_students(text)


def test_students_book_in_html_has_nothing_of_the_solutions(monkeypatch, tmp_path):
    """Its source has every page of the book that is not for instructors, and no answer to write."""
    built = []
    monkeypatch.setattr(make_edition, "ROOT", tmp_path)
    for name in ("_toc.yml", "book"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr(make_edition.build_book, "write_config", built.append)
    monkeypatch.setattr(make_edition.build_book, "build", lambda *a, root: built.append(root) or 0)
    assert make_edition.build_html("student") == tmp_path / "_build/student/_build/html"
    settings, source = built
    assert settings == {} and source == tmp_path / "_build" / "student"
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (source / "book").glob("*.md")}
    listed = (source / "_toc.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"book/(\w+)", listed)) == set(pages) > {"api", "bibliography", "index"}
    assert not set(make_edition.FOR_INSTRUCTORS) & set(pages)
    for name in CHAPTERS:
        elsewhere = WITH_SOLUTION.sub("", CHAPTERS[name])
        assert {s for s in solution_lines(name) if s in pages[name] and s not in elsewhere} == set()
        assert ", answer)" not in pages[name].partition("{exercise-start}")[2]
    assert not list((source / "book").glob("*.ipynb"))
    assert (source / "book" / "static" / "eamlab.css").exists()


def test_students_get_no_guide_no_promise_of_solutions_and_no_dead_links(book):
    files = make_edition.edition_files("student", root=book)
    assert sorted(files) == ["01_units.ipynb", "02_none.ipynb", "README.md"]
    assert "A guide." in files["01_units.ipynb"].decode()
    assert not set(make_edition.FOR_INSTRUCTORS) & set(edition("student"))
    for written in edition("student").values():
        assert "solutions" not in written.casefold()
        links = re.findall(r"\]\(([\w-]+)\.(?:ipynb|md)", written)
        assert set(links) <= set(edition("student"))


# --------------------------------------------------------------------------------------------------
# Instructors
# --------------------------------------------------------------------------------------------------


def test_instructors_get_every_solution_open():
    labels = set()
    for name in CHAPTERS:
        notebook = nbformat.reads(edition("instructor")[name], 4)
        text = "\n".join(cell.source for cell in notebook.cells)
        labels |= set(re.findall(r"\*\*Solution of exercise (\S+)\*\*", text))
        assert "open this cell" not in text and "<b>Solution" not in text
        for cell in notebook.cells:
            if "book.exercises.check(" in cell.source and cell.cell_type == "code":
                assert not cell.metadata.get("jupyter", {}).get("source_hidden", False)
        code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        chapter = jupytext.reads(CHAPTERS[name], "md:myst").cells
        assert code[1:] == [cell.source for cell in chapter if cell.cell_type == "code"]
    assert labels == set(exercises())


def test_instructors_get_notes_below_the_title_and_the_guide(book):
    files = decoded(make_edition.edition_files("instructor", root=book))
    assert set(files) == {"01_units", "02_none", "instructors_guide", "README"}
    assert "(run_sheet.ipynb)" in edition("instructor")["instructors_guide"]
    assert "front page" in edition("instructor")["run_sheet"]
    first = cells(files["01_units"], "markdown")[0]
    assert first.startswith(
        "# 1. Units\n\n> **For the instructor**\n>\n> Ask $x$ first.\n\nA [guide]"
    )
    assert "(instructors_guide.ipynb)" in first
    assert "For the instructor" not in files["02_none"] + files["instructors_guide"]


def test_the_guide_has_notes_on_every_chapter_and_names_exercises_that_exist():
    for name in CHAPTERS:
        assert "> **For the instructor**" in cells(edition("instructor")[name], "markdown")[0]
    guide = (ROOT / "book" / "instructors_guide.md").read_text(encoding="utf-8")
    by_name = " ".join(re.findall(r"[Ee]xercises? ([\d., and]*\d)", guide))
    weeks = re.search(r"^## Four weeks\n(.*?)^## ", guide, re.DOTALL | re.MULTILINE)[1]
    named, listed = re.findall(r"\b\d\.\d\b", by_name), re.findall(r"(?<![=\d] )\b\d\.\d\b", weeks)
    assert len(named) > 12 and len(listed) > 25
    assert {*named, *listed} <= set(exercises())


# --------------------------------------------------------------------------------------------------
# Files
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["student", "instructor"])
def test_notebooks_are_valid_and_without_outputs(name):
    assert set(CHAPTERS) < set(edition(name))
    for content in (text for page, text in edition(name).items() if page != "README"):
        notebook = nbformat.reads(content, 4)
        nbformat.validate(notebook)
        assert [c for c in notebook.cells if c.get("outputs") or c.get("execution_count")] == []


def test_files_that_chapters_read_come_along():
    files = make_edition.edition_files("student", ["09_your_own_data"])
    data = {f"data/{path.name}": path.read_bytes() for path in (ROOT / "book" / "data").iterdir()}
    del data["data/hosted.json"]  # for a page of the instructors
    assert {name: text for name, text in files.items() if name.startswith("data/")} == data
    assert sorted(files)[0] == "09_your_own_data.ipynb" and "01_one_decision.ipynb" not in files


def test_one_chapter_alone_and_one_without_exercises(book):
    files = make_edition.edition_files("student", ["02_none.md"], root=book)
    assert sorted(files) == ["02_none.ipynb", "README.md"]
    assert "check(" not in files["02_none.ipynb"].decode()
    for name in ("03_none", "words", "instructors_guide"):
        with pytest.raises(ValueError, match=f"01_units, 02_none; .* no {name}"):
            make_edition.edition_files("student", [name], root=book)


def test_an_edition_is_made_anew_but_no_work_is_lost(tmp_path):
    folder = tmp_path / "dist" / "student"
    assert make_edition.replace_folder(folder, {"a.ipynb": b"1", "data/b.csv": b"2"}) is None
    assert (folder / "data" / "b.csv").read_bytes() == b"2"
    for number in (1, 2):
        (folder / "mine.ipynb").write_text(f"work {number}", encoding="utf-8")
        kept = make_edition.replace_folder(folder, {"a.ipynb": b"3"})
        assert [p.name for p in folder.iterdir()] == ["a.ipynb"]
        assert kept.name == f"student-before-{number}"
        assert (kept / "mine.ipynb").read_text(encoding="utf-8") == f"work {number}"


def test_the_command(tmp_path, capsys):
    out = tmp_path / "out"
    for _ in range(2):
        make_edition.main(["student", "05_ten_thousand", "--markdown", "--out", str(out)])
    said = capsys.readouterr().out
    assert "student edition is in" in said and f"is now {out}-before-1" in said
    assert (out / "05_ten_thousand.md").read_text(encoding="utf-8").count('", answer)') == 7
    with pytest.raises(SystemExit, match="no 05_ten."):
        make_edition.main(["student", "05_ten", "--out", str(tmp_path / "no")])
    assert not (tmp_path / "no").exists()
