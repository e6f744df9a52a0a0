"""Make the course folder of an assignment: what students get, and what the grader keeps.

The source is one Markdown file, ``assignments/<name>/<name>.md``, with solutions and hidden tests.
The folder is one that nbgrader works in: ``release/`` is for students, ``source/`` and
``gradebook.db`` are not. Submissions go to ``submitted/<student>/<name>/``; ``--autograde`` grades
them one by one and writes ``grades-<name>.csv``, in which every student has a row, with points or
with the reason why there are none. Making it again keeps submissions and grades, and one folder may
hold several assignments.
"""

import argparse
import ast
import csv
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
COURSE = HERE.parent / "dist" / "assignment"
DEFAULT = "one_mind"
# Notebooks are graded by the interpreter that grades, without a kernel of another name.
GRADER = [sys.executable, "-m", "nbgrader"]
MISSING = 'nbgrader is not installed: python -m pip install "nbgrader>=0.9.5"'
CELL_LIMIT, LIMIT = 60, 600  # seconds for a cell and for a student; right answers take a few
COLUMNS = ("student", "status", "total", "of", "needs a person")
# No answer needs these, and with them one could make a check say yes.
REACHING = {"__builtins__", "builtins", "get_ipython", "IPython", "setattr", "exec", "type"}
KINDS = {
    "answer": {"grade": False, "solution": True, "locked": False},
    "test": {"grade": True, "solution": False, "locked": True},
    "written": {"grade": True, "solution": True, "locked": False},
    None: {"grade": False, "solution": False, "locked": True},
}


def graded(cell: NotebookNode, place: int) -> dict:
    """What the grader must know of a cell, from the short form in the source."""
    short = cell.metadata.pop("course", {})
    kind = next((kind for kind in KINDS if kind in short), None)
    name = f"{kind}_{short[kind]}" if kind else f"text_{place}"
    known = {"grade_id": name, "schema_version": 3, "task": False, **KINDS[kind]}
    if known["grade"]:
        known["points"] = short["points"]
        known["cell_type"] = cell.cell_type
    return known


def source_notebook(source: Path) -> NotebookNode:
    """The notebook with solutions and hidden tests.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    if not source.exists():
        names = ", ".join(sorted(path.stem for path in HERE.glob("*/*.md")))
        raise ValueError(f"there is no assignment {source.stem!r}; choose from {names}.")
    read = jupytext.read(source, fmt="md:myst")
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = read.metadata["kernelspec"]
    for place, cell in enumerate(read.cells):
        cell.metadata["nbgrader"] = graded(cell, place)
        cell.id = cell.metadata["nbgrader"]["grade_id"]
        made.cells.append(cell)
    nbformat.validate(made)
    return made


def grader(course: Path, command: str, name: str, *options: str) -> None:
    """Run a command of nbgrader in a course folder.

    Raises
    ------
    RuntimeError
        If it fails or does not end; with what it said.
    """
    if find_spec("nbgrader") is None:
        raise RuntimeError(MISSING)
    program = [*GRADER, command, name, f"--CourseDirectory.root={course}", *options]
    # nbgrader calls a program of its own environment by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    try:
        run = subprocess.run(
            program, capture_output=True, text=True, cwd=course, env=environment, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"nbgrader {command} took more than {LIMIT} s.") from None
    if run.returncode:
        raise RuntimeError(f"nbgrader {command} failed:\n{run.stdout}{run.stderr}")


def make(name: str, course: Path) -> Path:
    """Write source and release of an assignment; return the students' notebook."""
    notebook = source_notebook(HERE / name / f"{name}.md")
    course = course.resolve()
    folder = course / "source" / name
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    grader(course, "generate_assignment", name, "--force")
    return course / "release" / name / f"{name}.ipynb"


def autograde(name: str, course: Path) -> Path:
    """Grade the submissions one by one and write the table of points; return its path.

    Whatever lies in ``submitted`` has a row. A submission that cannot be graded costs nobody else
    anything: its row says why. The table is written after each row.
    """
    if find_spec("nbgrader") is None:
        raise RuntimeError(MISSING)
    course, rows = course.resolve(), []
    table = course / f"grades-{name}.csv"
    write_table(table, rows)
    for found in sorted((course / "submitted").glob("[!.]*")):
        rows.append({"student": found.name, **graded_alone(found / name, course)})
        print(" ".join(f"{column}: {rows[-1][column]}" for column in COLUMNS), flush=True)
        write_table(table, rows)
    return table


def write_table(table: Path, rows: list[dict[str, object]]) -> None:
    """Write the rows, or leave the table as it is."""
    columns = dict.fromkeys([*COLUMNS, *(column for row in rows for column in row)])
    unfinished = table.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(table)


def graded_alone(folder: Path, course: Path) -> dict[str, object]:
    """Grade one submission: its row of the table, without the student's name."""
    name, student = folder.name, folder.parent.name
    try:
        notebook, person = handed_in(folder)
        limit = f"--ExecutePreprocessor.timeout={CELL_LIMIT}"
        grader(course, "autograde", name, "--force", f"--student={student}", limit)
        points, of, by_hand = points_of(name, student, course)
    except Exception as error:  # whatever is wrong with this one, the others are graded
        status = f"not graded: {reason(str(error) or repr(error))}"
        return {"status": status, "total": "", "of": "", "needs a person": "all of it"}
    person += suspicious(notebook) + by_hand
    total = sum(points.values())
    return dict(zip(COLUMNS[1:], ("graded", total, of, "; ".join(person)), strict=True)) | points


def reason(said: str) -> str:
    """The line that says why, of all that a grader says before it gives up."""
    if "DeadKernelError" in said:
        return "the kernel died: its code ends it, or takes too much memory."
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no reason given"]
    return next(
        (line for line in reversed(lines) if re.search(r"\w(Error|Exception): ", line)), lines[-1]
    )


def handed_in(folder: Path) -> tuple[NotebookNode, list[str]]:
    """The one notebook of a submission, under the name that the grader knows, and what was changed.

    Raises
    ------
    ValueError
        If there is none, or more than one, or it cannot be read.
    """
    found, wanted = sorted(folder.glob("*.ipynb")), folder / f"{folder.name}.ipynb"
    if not folder.is_dir():
        student, place = folder.parent, f"submitted/STUDENT/{folder.name}/"
        elsewhere = [student] if student.is_file() else sorted(student.rglob("*.ipynb"))
        names = ", ".join(str(path.relative_to(student.parent)) for path in elsewhere) or "nothing"
        raise ValueError(f"it belongs in {place}, found: {names}.")
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(f"one notebook is expected in the folder, found: {names}.")
    try:
        notebook = nbformat.read(found[0], 4)
        nbformat.validate(notebook)
    except Exception as error:  # whatever a broken file makes of it
        why = str(error).partition(":")[0].splitlines()[0]
        raise ValueError(f"{found[0].name} is no whole notebook ({why}).") from None
    if found[0] != wanted:
        found[0].rename(wanted)
        notebook.metadata["handed_in_as"] = found[0].name  # known when it is graded again, too
        nbformat.write(notebook, wanted)
    was = notebook.metadata.get("handed_in_as")
    return notebook, [f"was handed in as {was}"] if was else []


def suspicious(notebook: NotebookNode) -> list[str]:
    """What a person should look at: code by which an answer could make its check say yes."""
    found: dict[str, None] = {}
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if cell.cell_type != "code" or about.get("locked", False):
            continue  # locked cells are the grader's own again
        try:
            nodes = list(ast.walk(ast.parse(cell.source)))
        except SyntaxError:  # magics, and what earns no points anyway
            nodes = []
            found |= dict.fromkeys(word for word in sorted(REACHING) if word in cell.source)
        for node in nodes:
            match node:
                case ast.Attribute(ctx=ast.Store() | ast.Del()):
                    found[f"{ast.unparse(node)} = ..."] = None
                case ast.ClassDef(name=word):
                    found[f"class {word}"] = None
                case ast.Name(id=word) if word in REACHING:
                    found[word] = None
                case ast.Import(names=names) | ast.ImportFrom(names=names):
                    words = {alias.name.split(".")[0] for alias in names} & REACHING
                    found |= dict.fromkeys(sorted(words))
    return [f"look at its code: {', '.join(found)}"] if found else []


def points_of(name: str, student: str, course: Path) -> tuple[dict[str, float], float, list[str]]:
    """A student's points in every graded cell, the most there are, and what a person grades."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course.resolve() / 'gradebook.db'}") as book:
        submission = book.find_submission(name, student)
        grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
        by_hand = [grade.name for grade in grades if grade.needs_manual_grade]
        return {grade.name: grade.score for grade in grades}, submission.max_score, by_hand


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default=DEFAULT, help=f"such as {DEFAULT}, the default")
    parser.add_argument("--out", type=Path, default=COURSE, help="course folder (dist/assignment)")
    parser.add_argument("--autograde", action="store_true", help="grade what was handed in")
    options = parser.parse_args(arguments)
    try:
        if options.autograde:
            print(f"The table: {autograde(options.name, options.out)}")
        else:
            print(f"For students: {make(options.name, options.out)}")
            print(f"Not for students: the rest of {options.out}")
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
