"""Write the notebooks that JupyterLab and Colab open: one beside every chapter with code.

The Markdown file stays the source: never edit a notebook by hand. A notebook has no outputs, its
text is plain Markdown (see plain_markdown.py), and the same chapter always gives the same bytes.
``--check`` writes nothing and names the notebooks that are not what their chapters say.
"""

import argparse
import hashlib
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from contents import ROOT, with_code
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from plain_markdown import Converter, equation_numbers

COLAB_CELL = ROOT / "scripts" / "colab_cell.py"
SOLUTION = re.compile(
    r"^(?P<mark>`{3,})\{solution-start\} (?P<label>\S+)\n(?::[^\n]*\n)*(?P=mark)\n"
    r"(?P<body>(?:(?!\{solution-start\}).)*?)^`{3,}\{solution-end\}\n`{3,}(?:\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
IN_SOLUTION = re.compile(r"^```\{code-cell\} ipython3\n(?::[^\n]*\n)*\n*", re.MULTILINE)
HIDDEN = frozenset({"hide-input", "hide-cell"})
# Not jupytext's own entry: it changes with jupytext's version.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def pages(root: Path = ROOT) -> dict[str, str]:
    """Text of every page with code, by name without ending."""
    return {page.stem: page.read_text(encoding="utf-8") for page in with_code(root)}


def colab_cell() -> NotebookNode:
    metadata = {"tags": ["colab", "remove-cell"], **fold()}
    return new_code_cell(COLAB_CELL.read_text(encoding="utf-8").strip(), metadata=metadata)


def fold() -> dict:
    """Metadata by which JupyterLab and Colab show a cell without its source."""
    return {"cellView": "form", "jupyter": {"source_hidden": True}}


def set_identifiers(notebook: NotebookNode) -> None:
    """Name each cell after its content, so that an edit elsewhere does not rename it."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\0{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def clean(cell: NotebookNode) -> NotebookNode:
    """The cell without outputs, with the metadata by which notebook programs fold it."""
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
        if HIDDEN & set(cell.metadata.get("tags", [])):
            cell.metadata.update(fold())
    return cell


def notebook(text: str, converter: Converter) -> str:
    """The notebook of a chapter, as it is written to disk.

    The code of solutions is text, so that running all cells prints none of them.
    """
    text = SOLUTION.sub(lambda found: IN_SOLUTION.sub("```python\n", found[0]), text)
    made = jupytext.reads(text, fmt="md:myst")
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = converter.cell(cell.source)
    shown = [clean(cell) for cell in made.cells if cell.source.strip()]
    made = NotebookNode(cells=[colab_cell(), *shown], nbformat=4, nbformat_minor=5)
    made.metadata = nbformat.from_dict(METADATA)
    set_identifiers(made)
    nbformat.validate(made)
    return nbformat.writes(made).rstrip("\n") + "\n"


def notebooks(texts: dict[str, str]) -> dict[str, str]:
    """The notebook of every page of a book, by name without ending."""
    numbers, names = equation_numbers(texts.items()), frozenset(texts)
    return {name: notebook(text, Converter(numbers, names)) for name, text in texts.items()}


def stale(root: Path = ROOT) -> list[str]:
    """Names of the notebooks that are missing, differ from their chapter, or have none."""
    wanted = {f"{name}.ipynb": text for name, text in notebooks(pages(root)).items()}
    found = {p.name: p.read_text(encoding="utf-8") for p in (root / "book").glob("*.ipynb")}
    return sorted(name for name in wanted | found if wanted.get(name) != found.get(name))


def write(root: Path = ROOT) -> None:
    wanted = notebooks(pages(root))
    for path in (root / "book").glob("*.ipynb"):
        if path.stem not in wanted:
            path.unlink()
    for name, content in wanted.items():
        (root / "book" / f"{name}.ipynb").write_text(content, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only name those out of step")
    if not parser.parse_args().check:
        write()
    if out_of_step := stale():
        print(f"Not what their chapters say: {', '.join(out_of_step)}; run `make notebooks`.")
        return 1
    print(f"The notebooks are those of the chapters: {len(pages())} in book/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
