"""Make an edition of the book: the students', without solutions, or the instructors', with them.

Both come from the chapters, which are the one source. An edition is a folder of notebooks without
outputs (``--markdown``: of MyST Markdown) that replaces the one made before, at once and whole. A
folder in which somebody has worked since is left alone.
"""

import argparse
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from make_notebooks import notebooks, pages

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
EDITIONS = ("student", "instructor")
GUIDE = "instructors_guide"
RECORD = ".edition.json"
PASSING = frozenset({".ipynb_checkpoints", "__pycache__"})  # what Jupyter leaves behind

EXERCISE_END = re.compile(
    r"^(?P<mark>`{3,})\{exercise-start\} (?P<id>\S+)(?:(?!\{exercise-start\}).)*?"
    r"^`{3,}\{exercise-end\}\n`{3,}\n",
    re.DOTALL | re.MULTILINE,
)
SOLUTION = re.compile(
    r"^(?P<mark>`{3,})\{solution-start\} (?P<label>\S+)\n(?::[^\n]*\n)*(?P=mark)\n"
    r"(?P<body>(?:(?!\{solution-start\}).)*?)^`{3,}\{solution-end\}\n`{3,}(?:\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
FOLDED = re.compile(
    r"^:tags: \[hide-(?:cell|input)\]\n(?::jupyter: \{source_hidden: true\}\n)?\n*", re.MULTILINE
)
LINK = re.compile(r"(?<!!)\[(?P<text>[^\[\]]+)\]\((?P<page>[^)\s#:/]+)\.md(?:#[^)\s]*)?\)")
PICTURES = re.compile(r"\bstatic/[\w./-]+\.\w+")
ANSWER_CELL = """
```{{code-cell}} ipython3
# Your answer to exercise {id}
answer = ...

el.exercises.check("{id}", answer)
```
"""
README = """# One Mind to Ten Thousand: {edition} edition

{about} Open the notebooks in JupyterLab, in an environment with `eamlab`. Work on a copy of this
folder: it is made anew from the book by `make {edition}`.
"""
ABOUT = {
    "student": "Each exercise has its hints and a cell for an answer, which is checked there.",
    "instructor": "All solutions are open; each chapter begins with notes. Not for students.",
}


def for_students(text: str) -> str:
    """The chapter without its solutions, with a cell for the answer after each exercise.

    Raises
    ------
    ValueError
        If something of a solution would remain.
    """
    text = SOLUTION.sub("", text)
    if "{solution" in text:
        raise ValueError("a {solution-start} has no {solution-end}, or another is inside: mend it.")
    return EXERCISE_END.sub(lambda found: found[0] + ANSWER_CELL.format(id=found["id"]), text)


def opened(solution: re.Match) -> str:
    """A solution that does not fold."""
    number = solution["label"].removeprefix("ex-").replace("-", ".")
    return f"**Solution of exercise {number}**\n\n{FOLDED.sub('', solution['body'])}"


def notes(guide: str) -> dict[str, str]:
    """What the guide says on each chapter, by the chapter's title."""
    parts = re.split(r"^#{2,3} (.+)$", guide, flags=re.MULTILINE)[1:]
    return {title: text.strip() for title, text in zip(parts[::2], parts[1::2], strict=True)}


def for_instructors(text: str, guide: dict[str, str]) -> str:
    """The chapter with open solutions, and below its title what the guide says on it."""
    text = SOLUTION.sub(opened, text)
    title = re.search(r"^# (.+)\n", text, re.MULTILINE)
    if title is None or not (note := guide.get(title[1])):
        return text
    box = f"\n::::{{admonition}} For the instructor\n{note}\n::::\n"
    return text[: title.end()] + box + text[title.end() :]


def without_dead_links(text: str, names: Iterable[str]) -> str:
    """The text with links to pages outside of the edition turned into words."""
    return LINK.sub(lambda link: link[0] if link["page"] in names else link["text"], text)


def chosen(book: Path, edition: str, chapters: Iterable[str]) -> list[str]:
    """Names of the pages of the edition.

    Raises
    ------
    ValueError
        If a chapter is not one of them.
    """
    names = [name for name in pages(book) if edition == "instructor" or name != GUIDE]
    chapters = [Path(name).stem for name in chapters]
    if unknown := sorted(set(chapters) - set(names)):
        raise ValueError(
            f"chapters must be among {', '.join(names)}; the {edition} edition has no "
            f"{', '.join(unknown)}."
        )
    return [name for name in names if not chapters or name in chapters]


def texts(book: Path, edition: str) -> dict[str, str]:
    """Every page with code as the edition has it, by name."""
    if edition == "student":
        return {name: for_students(text) for name, text in pages(book).items() if name != GUIDE}
    guide = book / f"{GUIDE}.md"
    about = notes(guide.read_text(encoding="utf-8")) if guide.exists() else {}
    return {name: for_instructors(text, about) for name, text in pages(book).items()}


def as_notebooks(book: Path, changed: dict[str, str]) -> dict[str, str]:
    """Notebooks of changed pages, made as those of the book."""
    with tempfile.TemporaryDirectory() as folder:
        for path in book.iterdir():
            if path.is_file() and path.suffix not in {".ipynb", ".md"}:
                shutil.copy(path, folder)  # what the conversion may look up, such as references
        for name, text in changed.items():
            (Path(folder) / f"{name}.md").write_text(text, encoding="utf-8")
        return {path.name: content for path, content in notebooks(Path(folder)).items()}


def edition_files(
    edition: str, chapters: Iterable[str] = (), *, markdown: bool = False, book: Path = BOOK
) -> dict[str, bytes]:
    """Content of every file of an edition, by its place in the folder."""
    names = chosen(book, edition, chapters)
    changed = {n: without_dead_links(t, names) for n, t in texts(book, edition).items()}
    ending = "md" if markdown else "ipynb"
    written = {f"{n}.md": t for n, t in changed.items()}
    if not markdown:
        written = as_notebooks(book, changed)
    written = {f"{name}.{ending}": written[f"{name}.{ending}"] for name in names}
    used = {book / place for name in names for place in PICTURES.findall(changed[name])}
    used |= set((book / "data").glob("*"))  # small, and chapters may read any of it
    files = {p.relative_to(book).as_posix(): p.read_bytes() for p in used if p.is_file()}
    files |= {name: text.encode() for name, text in written.items()}
    files["README.md"] = README.format(edition=edition, about=ABOUT[edition]).encode()
    return dict(sorted(files.items()))


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def check_replaceable(folder: Path) -> None:
    """Refuse a folder with anything that was not made here.

    Raises
    ------
    ValueError
        If a file was changed or added since the folder was made.
    """
    if not folder.exists():
        return
    record = folder / RECORD
    made = json.loads(record.read_text()) if record.exists() else {}
    places = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    present = {
        place.as_posix(): (folder / place).read_bytes()
        for place in places
        if place.name != RECORD and not PASSING & set(place.parts)
    }
    if foreign := sorted(set(digests(present).items()) - set(made.items())):
        raise ValueError(
            f"{folder} holds work of somebody ({foreign[0][0]}): move it, or give another --out."
        )


def replace_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files beside ``folder`` and then put them in its place."""
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    files = files | {RECORD: json.dumps(digests(files), indent=1).encode() + b"\n"}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        for name, content in files.items():
            path = Path(beside) / "new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if folder.exists():
            folder.rename(Path(beside) / "old")
        try:
            (Path(beside) / "new").rename(folder)
        except OSError:
            (Path(beside) / "old").rename(folder)
            raise


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("edition", choices=EDITIONS)
    parser.add_argument("chapters", nargs="*", help="such as 05_ten_thousand; all if none is named")
    parser.add_argument("--markdown", action="store_true", help="MyST Markdown, not notebooks")
    parser.add_argument("--out", type=Path, help="folder (default: dist/<edition>)")
    options = parser.parse_args(arguments)
    folder = options.out or ROOT / "dist" / options.edition
    try:
        files = edition_files(options.edition, options.chapters, markdown=options.markdown)
        replace_folder(folder, files)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The {options.edition} edition is in {folder}: {len(files)} files.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
