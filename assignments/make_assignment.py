"""Make the course folder of an assignment: what students get, and what the grader keeps.

The source is one Markdown file, ``assignments/<name>/<name>.md``, with solutions and hidden tests.
The folder is one that nbgrader works in: ``release/`` is for students, ``source/`` and
``gradebook.db`` are not. Submissions go to ``submitted/<student>/<name>/``; ``--autograde`` grades
them and writes ``grades.csv``. Making it again keeps submissions and grades.
"""

import argparse
import csv
import os
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
        If it fails; with what it said.
    """
    if find_spec("nbgrader") is None:
        raise RuntimeError(MISSING)
    program = [*GRADER, command, name, f"--CourseDirectory.root={course}", *options]
    # nbgrader calls a program of its own environment by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    run = subprocess.run(program, capture_output=True, text=True, cwd=course, env=environment)
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
    """Grade all submissions and write the table of points; return its path."""
    grader(course.resolve(), "autograde", name, "--force", "--ExecutePreprocessor.timeout=120")
    table = course / "grades.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        rows = points(name, course)
        writer.writerow(["student", *next(iter(rows.values()), {})])
        writer.writerows([student, *row.values()] for student, row in rows.items())
    return table


def points(name: str, course: Path) -> dict[str, dict[str, float]]:
    """Points of every student in every graded cell; those of a person's grading are last."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course.resolve() / 'gradebook.db'}") as book:
        found = {}
        for submission in book.assignment_submissions(name):
            grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
            found[submission.student.id] = {grade.name: grade.score for grade in grades}
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default=DEFAULT)
    parser.add_argument("--out", type=Path, default=COURSE, help="course folder (dist/assignment)")
    parser.add_argument("--autograde", action="store_true", help="grade what was handed in")
    options = parser.parse_args(arguments)
    try:
        if options.autograde:
            print(f"Graded: {autograde(options.name, options.out)}")
        else:
            print(f"For students: {make(options.name, options.out)}")
            print(f"Not for students: the rest of {options.out}")
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
