"""Make an edition of the book: the students', without solutions, or the instructors', with them.

Both come from the chapters, which are the one source. An edition is a folder of notebooks without
outputs (``--markdown``: of MyST Markdown; ``--html``: the rendered book, whose chapters are run for
it). A folder of that name, in which somebody may have worked, is moved aside.
"""

import argparse
import itertools
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import build_book
import contents
import yaml
from contents import ROOT
from make_notebooks import SOLUTION, notebooks

EDITIONS = ("student", "instructor")
GUIDE = "instructors_guide"
FOR_INSTRUCTORS = (GUIDE, "run_sheet", "class_of_a_hundred")

EXERCISE_END = re.compile(
    r"^(?P<mark>`{3,})\{exercise-start\} (?P<id>\S+)(?:(?!\{exercise-start\}).)*?"
    r"^`{3,}\{exercise-end\}\n`{3,}\n",
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

book.exercises.check("{id}", answer)
```
"""
README = """# One Mind to Ten Thousand: {edition} edition

{about} Open the notebooks in JupyterLab, in an environment with `eamlab`. Work on a copy of this
folder: whoever makes the edition anew moves this one aside.
"""
ABOUT = {
    "student": "Each exercise has its hints and a cell for an answer, which is checked there.",
    "instructor": "All solutions are open; each chapter begins with notes. Not for students.",
}


def for_students(text: str, *, to_answer: bool = True) -> str:
    """The chapter without its solutions; after each exercise a cell for the answer, if asked for.

    Raises
    ------
    ValueError
        If something of a solution would remain.
    """
    text = SOLUTION.sub("", text)
    if "{solution" in text:
        raise ValueError("a {solution-start} has no {solution-end}, or another is inside: mend it.")
    if not to_answer:
        return text
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


def texts(edition: str, root: Path, *, html: bool = False) -> dict[str, str]:
    """Every page of the edition by name: those with code, with ``html`` all."""
    found = {page.stem: page.read_text(encoding="utf-8") for page in contents.pages(root)}
    if edition == "instructor":
        guide = notes(found.get(GUIDE, ""))
        made = {name: for_instructors(text, guide) for name, text in found.items()}
    else:
        kept = {name: text for name, text in found.items() if name not in FOR_INSTRUCTORS}
        made = {name: for_students(text, to_answer=not html) for name, text in kept.items()}
    with_code = {page.stem for page in contents.with_code(root)} | set(FOR_INSTRUCTORS)
    return {name: text for name, text in made.items() if html or name in with_code}


def build_html(edition: str) -> Path:
    """Render an edition from a source of its own, in which nothing else stands; return the pages.

    Raises
    ------
    RuntimeError
        If it cannot be built.
    """
    source, made = ROOT / "_build" / edition, texts(edition, ROOT, html=True)
    index, *others = made
    # The cache of executed chapters, in source/_build, is as old as the book's own.
    build_book.refresh_cache(source / "_build")
    shutil.rmtree(source / "book", ignore_errors=True)
    shutil.copytree(
        ROOT / "book", source / "book", ignore=shutil.ignore_patterns("*.md", "*.ipynb")
    )
    for name, text in made.items():
        page = source / "book" / f"{name}.md"
        page.write_text(without_dead_links(text, made), encoding="utf-8")
    toc = {"format": "jb-book", "root": f"book/{index}"}
    toc["chapters"] = [{"file": f"book/{name}"} for name in others]
    (source / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
    build_book.write_config({})  # no links to the repository, where the solutions are
    if build_book.build("-W", "--path-output", str(source), root=source):
        raise RuntimeError("The edition was not built: see the messages above.")
    return source / "_build" / "html"


def edition_files(
    edition: str, chapters: Iterable[str] = (), *, markdown: bool = False, root: Path = ROOT
) -> dict[str, bytes]:
    """Content of every file of an edition, by its place in the folder.

    Raises
    ------
    ValueError
        If a chapter is not one of its pages.
    """
    made = texts(edition, root)
    names = [Path(name).stem for name in chapters] or list(made)
    if unknown := sorted(set(names) - set(made)):
        raise ValueError(
            f"chapters must be among {', '.join(made)}; the {edition} edition has no "
            f"{', '.join(unknown)}."
        )
    made = {name: without_dead_links(text, names) for name, text in made.items()}
    written, ending = (made, "md") if markdown else (notebooks(made), "ipynb")
    book = root / "book"
    used = {book / place for name in names for place in PICTURES.findall(made[name])}
    used |= set((book / "data").glob("*"))  # small, and chapters may read any of it
    used -= {book / "data" / "hosted.json"} if edition == "student" else set()  # for the guide
    files = {p.relative_to(book).as_posix(): p.read_bytes() for p in used if p.is_file()}
    files |= {f"{name}.{ending}": written[name].encode() for name in names}
    files["README.md"] = README.format(edition=edition, about=ABOUT[edition]).encode()
    return dict(sorted(files.items()))


def replace_folder(folder: Path, files: dict[str, bytes]) -> Path | None:
    """Write the files into ``folder``; what stood there is moved aside, to the path returned."""
    kept = None
    if folder.exists():
        kept = next(
            place
            for n in itertools.count(1)
            if not (place := folder.with_name(f"{folder.name}-before-{n}")).exists()
        )
        folder.rename(kept)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return kept


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("edition", choices=EDITIONS)
    parser.add_argument("chapters", nargs="*", help="such as 05_ten_thousand; all if none is named")
    parser.add_argument("--markdown", action="store_true", help="MyST Markdown, not notebooks")
    parser.add_argument("--html", action="store_true", help="the rendered book (half an hour)")
    parser.add_argument("--out", type=Path, help="folder (default: dist/<edition>)")
    options = parser.parse_args(arguments)
    folder = options.out or ROOT / "dist" / f"{options.edition}{'-html' * options.html}"
    try:
        if options.html:
            if options.chapters:
                raise ValueError("--html renders the whole book: leave the chapters out.")
            pages = build_html(options.edition)
            found = (path for path in pages.rglob("*") if path.is_file())
            files = {path.relative_to(pages).as_posix(): path.read_bytes() for path in found}
        else:
            files = edition_files(options.edition, options.chapters, markdown=options.markdown)
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
    kept = replace_folder(folder, files)
    print(f"The {options.edition} edition is in {folder}: {len(files)} files.")
    if kept:
        print(f"The folder that was there is now {kept}.")


if __name__ == "__main__":
    main()
