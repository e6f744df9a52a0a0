"""The notebooks beside the chapters: in step, free of outputs, readable without extensions."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import make_notebooks
import nbformat
import plain_markdown
import pytest
import setup_jupyter
from contents import ROOT, with_code
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from jupyter_server.services.contents.largefilemanager import LargeFileManager

MYST = re.compile(r"\{[a-z:-]+\}`|^ *(?:`{3,}|:{3,})\{|^\([\w:-]+\)=", re.MULTILINE)

CHAPTER = """---
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# 4. A chapter

Some text.

```{code-cell} ipython3
print(1)
```

More text.

```{code-cell} ipython3
:tags: [hide-cell]

print(1)
```
"""


def plain(text: str, numbers: dict[str, str] | None = None) -> str:
    """The conversion of one Markdown cell in a book of two notebooks."""
    return plain_markdown.Converter(numbers or {}, frozenset({"01_one", "02_two"})).cell(text)


@pytest.fixture
def root(tmp_path):
    """A book of a chapter, a page without code, and the notebook of the first."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "04_chapter.md").write_text(CHAPTER, encoding="utf-8")
    (tmp_path / "book" / "glossary.md").write_text("# Words\n", encoding="utf-8")
    (tmp_path / "_toc.yml").write_text(
        "root: book/glossary\nchapters: [file: book/04_chapter]\n", encoding="utf-8"
    )
    make_notebooks.write(tmp_path)
    return tmp_path


def test_notebooks_are_those_of_the_chapters():
    assert make_notebooks.stale() == [], "run `make notebooks`"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("04_chapter.md", CHAPTER.replace("More", "Other")),
        ("04_chapter.ipynb", "{}"),
        ("04_chapter.ipynb", None),
        ("04_chapter.md", "# no code any more\n"),
    ],
    ids=["chapter edited", "notebook edited", "notebook missing", "chapter gone"],
)
def test_a_stale_notebook_is_noticed_and_written_anew(name, text, root):
    assert [path.name for path in (root / "book").glob("*.ipynb")] == ["04_chapter.ipynb"]
    assert make_notebooks.stale(root) == []
    path = root / "book" / name
    path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    assert make_notebooks.stale(root) == ["04_chapter.ipynb"]
    make_notebooks.write(root)
    assert make_notebooks.stale(root) == []


def test_an_edit_renames_no_other_cell_and_hidden_ones_are_folded(root):
    def cells():
        return nbformat.read(root / "book" / "04_chapter.ipynb", 4).cells

    hidden = [c.metadata.get("jupyter", {}).get("source_hidden", False) for c in cells()]
    assert hidden == [True, False, False, False, True]  # the cell for Colab comes first
    assert "colab" in cells()[0].metadata.tags
    before = [cell.id for cell in cells()]
    more = CHAPTER.replace("Some", "Quite some")
    (root / "book" / "04_chapter.md").write_text(more, encoding="utf-8")
    make_notebooks.write(root)
    after = [cell.id for cell in cells()]
    assert len(set(before)) == len(before) == len(after)
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


def test_notebooks_have_the_code_of_their_chapters_and_nothing_only_the_book_understands():
    def code(cells):
        return [cell.source for cell in cells if cell.cell_type == "code"]

    made = make_notebooks.notebooks(make_notebooks.pages())
    assert len(made) > 10
    for page in with_code():
        notebook = nbformat.reads(made[page.stem], 4)
        cells = notebook.cells
        chapter = make_notebooks.SOLUTION.sub("", page.read_text(encoding="utf-8"))
        assert code(cells[1:]) == code(jupytext.reads(chapter, "md:myst").cells)
        assert [c for c in cells if c.get("outputs") or c.get("execution_count")] == []
        assert not [c for c in code(cells) if "exercises.check(" in c]  # no solution is run
        assert notebook.metadata["kernelspec"]["name"] == "python3"
        for text in (cell.source for cell in cells if cell.cell_type == "markdown"):
            assert not MYST.search(text), text
            assert text.count("<details>") == text.count("</details>")


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        ("a {math}`x_1` and `{math}` here", "a $x_1$ and `{math}` here"),
        ("{math}`a\nb`", "$a\nb$"),
        ("[two](02_two.md#part)", "[two](02_two.ipynb#part)"),
        ("[words](glossary.md), [web](https://a.org/b.md)",) * 2,
        ("{ref}`there <label>` and {term}`score`", "there and score"),
        ("(label)=\n## Title\n% a comment", "## Title"),
        ("```{math}\nx = 1\n```", "$$\nx = 1\n$$"),
        ("```{math}\nx \\\\\ny\n```", "$$\n\\begin{split}\nx \\\\\ny\n\\end{split}\n$$"),
        ("```{tip}\nWith {math}`x`.\n```", "> **Tip**\n>\n> With $x$."),
        (":::{admonition} On {math}`x`\n:class: note\nYes.\n:::", "> **On $x$**\n>\n> Yes."),
        (
            "````{admonition} Hint\n:class: dropdown\n```python\nf('{math}`x`')\n```\n````",
            "<details>\n<summary><b>Hint</b></summary>\n\n"
            "```python\nf('{math}`x`')\n```\n\n</details>",
        ),
        (
            "```{dropdown} a) This\nNo.\n```",
            "<details>\n<summary><b>a) This</b></summary>\n\nNo.\n\n</details>",
        ),
        ("```{figure} static/a.png\n:alt: A line\nSee.\n```", "![A line](static/a.png)\n\nSee."),
        (
            "```{exercise-start} 1.1 Go\n:label: ex\n```\nDo.\n```{exercise-end}\n```",
            "### Exercise 1.1 Go\n\nDo.",
        ),
        ("- item\n\n  ```{note}\n  Text.\n  ```", "- item\n\n  > **Note**\n  >\n  > Text."),
    ],
)  # fmt: skip
def test_myst_becomes_plain_markdown(myst, markdown):
    assert plain(myst) == markdown


def test_formulas_keep_their_numbers_across_chapters():
    text = "```{math}\n:label: a\nx\n```\n```{math}\ny\n```\n```{math}\n:label: b\nz\n```\n"
    numbers = plain_markdown.equation_numbers([("04_four", text), ("index", "none")])
    assert numbers == {"a": "4.1", "b": "4.2"}
    assert plain("See {eq}`b`.", numbers) == "See (4.2)."
    assert "\\tag{4.1}" in plain(text, numbers)
    with pytest.raises(ValueError, match="no formula has the label 'c'"):
        plain("{eq}`c`", numbers)


SOLVED = """```{solution-start} ex
:class: dropdown
```
It is {math}`x`:

```{code-cell} ipython3
:tags: [hide-cell]
:jupyter: {source_hidden: true}

print(42)
```

As said.
```{solution-end}
```
"""


def test_solutions_are_folded_text_so_that_running_all_cells_prints_none(root):
    both = f"{CHAPTER}\nWhich?\n\n{SOLVED}\nAnd which?\n\n{SOLVED}"
    (root / "book" / "04_chapter.md").write_text(both, encoding="utf-8")
    make_notebooks.write(root)
    *_, last = nbformat.read(root / "book" / "04_chapter.ipynb", 4).cells
    folded = (
        "<details>\n<summary><b>Solution</b></summary>\n\nIt is $x$:\n\n"
        "```python\nprint(42)\n```\n\nAs said.\n\n</details>"
    )
    assert last.cell_type == "markdown"
    assert last.source == f"Which?\n\n{folded}\n\nAnd which?\n\n{folded}"


def test_a_notebook_shows_what_python_prints_and_nothing_below_it(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    setup_jupyter.write(tmp_path / "tried" / "kernel.json", setup_jupyter.KERNEL)
    specs = KernelSpecManager(kernel_dirs=[str(tmp_path)])
    manager = KernelManager(kernel_name="tried", kernel_spec_manager=specs)
    shown = []
    manager.start_kernel(stderr=subprocess.DEVNULL)
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        code = "import os, sys; os.write(2, b'below'); print(1); print(2, file=sys.stderr)"
        client.execute_interactive(code, output_hook=shown.append, timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    texts = [message["content"]["text"] for message in shown if message["msg_type"] == "stream"]
    assert "".join(sorted(texts)).split() == ["1", "2"]


def test_jupyterlab_lists_one_file_a_chapter():
    """Where the settings are read: the listing of a folder of notebooks and their sources."""
    settings = setup_jupyter.SERVER_SETTINGS["ContentsManager"]
    manager = LargeFileManager(root_dir=str(ROOT / "book"), **settings)
    names = [entry["name"] for entry in manager.get("")["content"]]
    stems = [name.partition(".")[0] for name in names if name.endswith((".md", ".ipynb"))]
    assert {page.stem for page in with_code()} < set(stems)
    assert len(stems) == len(set(stems))
    assert manager.hide_globs[: len(setup_jupyter.USUALLY_HIDDEN)] == LargeFileManager().hide_globs


def test_equations_have_the_same_numbers_on_the_page_and_in_the_notebook(tmp_path):
    """A small book, of which one page is read again later."""
    formula = "```{{math}}\n:label: {}\nx\n```\n\n```{{math}}\ny\n```\n\n"
    book = tmp_path / "book"
    book.mkdir()
    pages = {
        "index": "# Start\n\n```{toctree}\n01_one\n04_four\n```\n",
        "01_one": "# One\n\n" + formula.format("a"),
        "04_four": f"# Four\n\n{formula.format('b')}{formula.format('c')}See {{eq}}`a`, {{eq}}`c`.",
    }
    for name, text in pages.items():
        (book / f"{name}.md").write_text(text, encoding="utf-8")
    extensions = "['myst_parser', 'sphinx.ext.mathjax', 'eamlab_book.sphinxext.equations']"
    (book / "conf.py").write_text(f"extensions = {extensions}\nnumfig = True\n", encoding="utf-8")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", str(book), str(tmp_path / "html")]
    for again in (False, True):
        if again:
            (book / "04_four.md").write_text(pages["04_four"] + " Yes.\n", encoding="utf-8")
        subprocess.run(build, check=True, capture_output=True)
        page = (tmp_path / "html" / "04_four.html").read_text(encoding="utf-8")
        assert re.findall(r'class="eqno">\(([\d.]+)\)', page) == ["4.1", "4.2"]
        assert re.findall(r">\(([\d.]+)\)</", page.partition("See")[2]) == ["1.1", "4.2"]
    numbers = plain_markdown.equation_numbers(pages.items())
    assert numbers == {"a": "1.1", "b": "4.1", "c": "4.2"}
