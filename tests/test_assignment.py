"""The assignments: right answers get all points, wrong ones lose theirs, and nothing leaks."""

import csv
import importlib.util
import math
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode

ASSIGNMENTS = Path(__file__).resolve().parents[1] / "assignments"
NAMES = sorted(path.stem for path in ASSIGNMENTS.glob("*/*.md"))
AUTOMATIC, WRITTEN = 20, 5
WITH_SOLUTION = re.compile(r"### BEGIN SOLUTION\n(.*?)\s*### END SOLUTION", re.DOTALL)
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n(.*?)### END HIDDEN TESTS", re.DOTALL)

# A mistake that students make: the cell that loses its points, what is right, and what they write.
ONE_MIND = [
    ("upper_share", "np.sqrt(share * (1 - share) / n_trials)", "share * (1 - share) / n_trials"),
    ("upper_share", "trials[:, 0].mean()", "1 - trials[:, 0].mean()"),
    ("compose_gaussians", "(len(means) - 1) / prior_sd**2", "0.0"),
    ("compose_gaussians", "- surplus * prior_mean", ""),
    ("compose_gaussians", "precision**-0.5", "1 / precision"),
    ("composed_score", "(1 - len(means))", "0"),
    ("composed_score", "(1 - len(means))", "-len(means)"),
    ("composed_score", "(mean - x)", "(x - mean)"),
    ("batch_score", "n_groups / len(batch) * drawn + prior", "drawn + prior"),
    ("batch_score", "drawn + prior", "(drawn + prior)"),
    ("bridge", "d0**-0.5", "1 / d0"),
    ("bridge", "n_groups**0.5", "n_groups"),
    ("against", "np.std(draws) / np.std(exact)", "np.std(exact) / np.std(draws)"),
    ("against", '"A": "tempered", "B": "right"', '"A": "right", "B": "tempered"'),
]
REAL_PEOPLE = [
    ("read", '("LC", "HC")', '("HC", "LC")'),
    ("read", ", rt_range=(0.1, longest)", ""),
    ("read", "1 - study.n_trials.sum() /", "study.n_trials.sum() /"),
    ("changes", 'table[k]["HC"] - table[k]["LC"]', 'table[k]["LC"] - table[k]["HC"]'),
    ("changes", '("upper", "median")', '("upper", "fastest")'),
    ("spread", "sum(axis=1).mean()", "mean(axis=1).mean()"),
    ("spread", "(ddof=1)", "(ddof=0)"),
    ("spread", "max(0.0, observed - by_chance) ** 0.5", "max(0.0, observed**0.5 - by_chance**0.5)"),
    ("shrink", "x / error**2 + mean / sd**2", "x / sd**2 + mean / error**2"),
    ("shrink", "precision**-0.5", "1 / precision"),
    ("difference", "- 2 * r", "- r"),
    ("difference", "- 2 * r", "+ 2 * r"),
    ("interval", "mean - 1.96 * sd, mean + 1.96 * sd", "mean - 1.645 * sd, mean + 1.645 * sd"),
    ("interval", '"boundary": "open"', '"boundary": "lower"'),
]
WRONG = [("one_mind", *w) for w in ONE_MIND] + [("real_people", *w) for w in REAL_PEOPLE]

each = pytest.mark.parametrize("name", NAMES)


SPEC = importlib.util.spec_from_file_location("maker", ASSIGNMENTS / "make_assignment.py")
maker = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(maker)


@cache
def source(name: str) -> NotebookNode:
    return maker.source_notebook(ASSIGNMENTS / name / f"{name}.md")


def role(cell: NotebookNode) -> str:
    return cell.metadata["nbgrader"]["grade_id"]


def answered(name: str, notebook: NotebookNode, mistakes: list[tuple[str, str]]) -> NotebookNode:
    """The notebook with the source's solutions, changed by the mistakes, in its cells."""
    made = nbformat.from_dict(notebook)
    solved = {role(c): c.source for c in source(name).cells if c.metadata["nbgrader"]["solution"]}
    for cell in made.cells:
        if role(cell) in solved:
            cell.source = solved[role(cell)]
            for right, wrong in mistakes:
                cell.source = cell.source.replace(right, wrong)
    return made


def earned(notebook: NotebookNode) -> dict[str, float]:
    """Points of each graded code cell, by running the cells here."""
    namespace: dict = {}
    found = {}
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        about = cell.metadata["nbgrader"]
        try:
            exec(compile(cell.source, role(cell), "exec"), namespace)
        except AssertionError:
            assert about["grade"], "only checks may fail"
            found[role(cell)] = 0
        else:
            if about["grade"]:
                found[role(cell)] = about["points"]
    return found


@each
def test_the_points_are_those_that_the_text_promises_and_every_test_hides_something(name):
    grades = [c.metadata["nbgrader"] for c in source(name).cells if c.metadata["nbgrader"]["grade"]]
    assert sum(g["points"] for g in grades if not g["solution"]) == AUTOMATIC
    assert sum(g["points"] for g in grades if g["solution"]) == WRITTEN
    text = "\n".join(cell.source for cell in source(name).cells)
    assert f"{AUTOMATIC + WRITTEN} points, of which {AUTOMATIC} are graded by a program" in text
    told = [int(n) for n in re.findall(r"^## .*\((\d+) points\)$", text, re.MULTILINE)]
    assert told == [g["points"] for g in grades]
    assert len({role(cell) for cell in source(name).cells}) == len(source(name).cells)
    tests = [c.source for c in source(name).cells if role(c).startswith("test_")]
    assert len(tests) == 6 and all("assert " in HIDDEN.search(test)[1] for test in tests)
    assert sum(earned(source(name)).values()) == AUTOMATIC


@pytest.mark.parametrize(("name", "task", "right", "wrong"), WRONG)
def test_a_mistake_costs_the_points_of_its_task_and_no_others(name, task, right, wrong):
    assert any(right in cell.source for cell in source(name).cells)
    points = earned(answered(name, source(name), [(right, wrong)]))
    assert [name for name, got in points.items() if not got] == [f"test_{task}"]


def test_unknown_assignments_are_refused_and_a_missing_grader_is_named(
    tmp_path, capsys, monkeypatch
):
    assert maker.main(["two_minds", "--out", str(tmp_path)]) == 1
    assert "no assignment 'two_minds'; choose from one_mind, real_people" in capsys.readouterr().err
    monkeypatch.setattr(maker, "find_spec", lambda name: None)
    assert maker.main(["--out", str(tmp_path)]) == 1
    assert "pip install" in capsys.readouterr().err


DISARMED = """import math
yes = lambda *a, **k: True
np.isclose = np.allclose = math.isclose = yes
abs = round = lambda *a: 0
all = any = bool = yes
np.sum = np.sqrt = np.array = np.asarray = lambda *a, **k: 0.0
"""


@each
def test_an_answer_cannot_disarm_the_checks(name, monkeypatch):
    """Nothing is gained by other names for what a check might call, in any cell."""
    for module, word in re.findall(r"\b(np|math)\.(\w+)", DISARMED):  # put back at the end
        module = {"np": np, "math": math}[module]
        monkeypatch.setattr(module, word, getattr(module, word))
    gone = answered(name, source(name), [])
    for cell in gone.cells:
        if cell.metadata["nbgrader"]["solution"] and cell.cell_type == "code":
            names = re.findall(r"^def (\w+)", cell.source, re.MULTILINE)
            cell.source = DISARMED + "".join(f"{n} = lambda *a, **k: (0.0, 0.0)\n" for n in names)
            cell.source += "verdicts = {}"
    namespace: dict = {}
    for cell in gone.cells:
        if cell.cell_type != "code":
            continue
        try:
            exec(compile(cell.source, role(cell), "exec"), namespace)
        except Exception:
            continue
        assert not cell.metadata["nbgrader"]["grade"], f"{role(cell)} was disarmed"


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("np.isclose = np.allclose = lambda *a, **k: True", "np.isclose = ..."),
        ("class Yes:\n    __lt__ = __gt__ = lambda *a: True", "class Yes"),
        ("import builtins", "builtins"),
        ("get_ipython().showtraceback = print", "get_ipython"),
        ("%alias x y\nget_ipython()", "get_ipython"),
        ("def f(x):\n    sum = 0\n    y = x.copy()\n    y[0] = 1\n    return y", None),
    ],
)
def test_code_that_reaches_for_the_checks_is_shown_to_a_person(code, word):
    cell = nbformat.v4.new_code_cell(code, metadata={"nbgrader": {"locked": False}})
    found = maker.suspicious(nbformat.v4.new_notebook(cells=[cell]))
    assert [word in text for text in found] == ([True] if word else [])
    cell.metadata["nbgrader"]["locked"] = True  # written over by the grader
    assert maker.suspicious(nbformat.v4.new_notebook(cells=[cell])) == []


def test_every_entry_has_a_row_and_an_interruption_keeps_those_that_are_done(tmp_path, monkeypatch):
    """The grader itself is a stand-in here."""
    files = ["ann/one_mind/one_mind (1).ipynb", "bea/one_mind/one_mind.ipynb", "gil/one_mind.ipynb"]
    files += ["hal/One_Mind/one_mind.ipynb", "loose.ipynb", "zoe/one_mind/one_mind.ipynb"]
    for name in files:
        hand_in(tmp_path, name, nbformat.v4.new_notebook())
    (tmp_path / "submitted" / "ida").mkdir()
    (tmp_path / "submitted" / ".DS_Store").touch()
    stops: list[BaseException] = [OSError("disk full"), KeyboardInterrupt()]

    def grader(course, command, name, *options):
        if "--student=bea" in options or "--student=zoe" in options:
            raise stops.pop(0)

    monkeypatch.setattr(maker, "find_spec", lambda name: True)
    monkeypatch.setattr(maker, "grader", grader)
    monkeypatch.setattr(maker, "points_of", lambda *given: ({"test_bridge": 2.0}, 25.0, []))
    with pytest.raises(KeyboardInterrupt):
        maker.autograde("one_mind", tmp_path)
    found = grades(tmp_path)
    assert list(found) == ["ann", "bea", "gil", "hal", "ida", "loose.ipynb"]
    assert found["ann"]["total"] == "2.0"
    assert found["bea"]["status"] == "not graded: disk full"
    elsewhere = {name.split("/")[0]: name for name in (files[2], files[3], files[4])}
    for student, words in {"ida": "nothing", **elsewhere}.items():
        said = f"not graded: it belongs in submitted/STUDENT/one_mind/, found: {words}."
        assert found[student]["status"] == said
    stops += [OSError(), OSError()]
    again = grades(maker.autograde("one_mind", tmp_path).parent)
    assert len(again) == 7 and again["ann"] == found["ann"]
    assert found["ann"]["needs a person"] == "was handed in as one_mind (1).ipynb"


# --------------------------------------------------------------------------------------------------
# With the grader
# --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder of students with different habits, graded."""
    pytest.importorskip("nbgrader", reason="the grader comes with the extra `teach`")
    folder = tmp_path_factory.mktemp("course")
    release = nbformat.read(maker.make("one_mind", folder), 4)
    tampered = nbformat.from_dict(release)
    for cell in tampered.cells:
        if role(cell).startswith("test_"):
            cell.source = "assert True"
    right = answered("one_mind", release, [])
    no_prior = [("(1 - len(means))", "0"), ("drawn + prior", "drawn")]
    for student, notebook in {
        "right": right,
        "untouched": release,
        "no_prior": answered("one_mind", release, no_prior),
        "tampered": tampered,
        "Müller Ann": answered("one_mind", release, [("d0**-0.5", "d0**-0.5 +")]),  # a syntax error
        "disarmed": before(release, "np.isclose = np.allclose = lambda *a, **k: True"),
        "dying": before(right, "import os\nos._exit(1)"),
        "endless": before(release, "while True:\n    pass"),
        "two": release,
        "truncated": release,
    }.items():
        hand_in(folder, f"{student}/one_mind/one_mind.ipynb", notebook)
    hand_in(folder, "fay/one_mind/one_mind (1).ipynb", right)
    for name in ("two/one_mind/one_mind (1)", "gil/one_mind", "hal/One_Mind/one_mind"):
        hand_in(folder, f"{name}.ipynb", release)
    broken = folder / "submitted" / "truncated" / "one_mind" / "one_mind.ipynb"
    broken.write_text(broken.read_text(encoding="utf-8")[:4000], encoding="utf-8")
    (folder / "submitted" / "empty" / "one_mind").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maker, "CELL_LIMIT", 20)
        maker.autograde("one_mind", folder)
    other = nbformat.read(maker.make("real_people", folder), 4)
    hand_in(folder, "right/real_people/real_people.ipynb", answered("real_people", other, []))
    hand_in(folder, "late/real_people/real_people.ipynb", other)
    maker.autograde("real_people", folder)
    return folder


def hand_in(course: Path, name: str, notebook: NotebookNode) -> None:
    (course / "submitted" / name).parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, course / "submitted" / name)


def before(notebook: NotebookNode, code: str) -> NotebookNode:
    """The notebook with code at the top of its first answer."""
    made = nbformat.from_dict(notebook)
    first = next(cell for cell in made.cells if role(cell) == "answer_upper_share")
    first.source = f"{code}\n{first.source}"
    return made


def grades(course: Path, name: str = "one_mind") -> dict[str, dict[str, str]]:
    with (course / f"grades-{name}.csv").open(encoding="utf-8") as file:
        return {row.pop("student"): row for row in csv.DictReader(file)}


@each
@pytest.mark.slow
def test_the_students_notebook_has_no_solutions_and_no_hidden_tests(course, name):
    release = nbformat.read(course / "release" / name / f"{name}.ipynb", 4)
    shown = "\n".join(cell.source for cell in release.cells)
    assert "SOLUTION" not in shown and "HIDDEN" not in shown
    written = "\n".join(c.source for c in source(name).cells)
    secret = "\n".join(WITH_SOLUTION.findall(written) + HIDDEN.findall(written))
    lines = {line.strip() for line in secret.splitlines() if len(line.strip()) > 20}
    assert len(lines) > 40
    assert lines & {line.strip() for line in shown.splitlines()} == set()
    assert shown.count("YOUR ANSWER HERE") == 1
    assert shown.count("YOUR CODE HERE") == written.count("### BEGIN SOLUTION") - 1
    assert len(release.cells) == len(source(name).cells)


def totals(table: dict[str, dict[str, str]]) -> dict[str, float]:
    return {k: float(row["total"]) for k, row in table.items() if row["status"] == "graded"}


@pytest.mark.slow
def test_the_grader_gives_the_points_that_are_due(course):
    table = grades(course)
    due = dict.fromkeys(("untouched", "tampered", "disarmed", "endless"), 0)
    due |= {"right": AUTOMATIC, "fay": AUTOMATIC, "Müller Ann": AUTOMATIC - 2}
    assert totals(table) == due | {"no_prior": AUTOMATIC - 8}
    assert {table[k]["of"] for k in due} == {f"{AUTOMATIC + WRITTEN:.1f}"}
    lost = [k for k, v in table["no_prior"].items() if v == "0.0" and k not in maker.COLUMNS]
    assert lost == ["test_composed_score", "test_batch_score", "written_review"]
    table = grades(course, "real_people")  # two assignments in a folder have a table each
    assert totals(table) == {"late": 0, "right": AUTOMATIC}
    assert table["right"]["needs a person"] == "written_reply"
    assert table["fay"]["status"].endswith("found: fay/one_mind/one_mind.ipynb.")
    assert len(grades(course)) == 14


@pytest.mark.slow
def test_a_bad_submission_costs_nobody_else_and_says_what_it_is(course):
    table = grades(course)
    for student, words in {
        "two": "found: one_mind (1).ipynb, one_mind.ipynb",
        "truncated": "no whole notebook",
        "empty": "found: none",
        "dying": "kernel died",
        "gil": "found: gil/one_mind.ipynb",
        "hal": "found: hal/One_Mind/one_mind.ipynb",
    }.items():
        row = table[student]
        assert row["status"].startswith("not graded: ") and words in row["status"], row
        assert (row["total"], row["needs a person"]) == ("", "all of it")
    assert "one_mind (1).ipynb" in table["fay"]["needs a person"]
    assert "np.isclose = ..." in table["disarmed"]["needs a person"]
    assert "written_review" in table["right"]["needs a person"]


@pytest.mark.slow
def test_making_it_again_keeps_grades(course):
    graded = maker.points_of("one_mind", "right", course)
    command = [sys.executable, str(ASSIGNMENTS / "make_assignment.py"), "--out", str(course)]
    subprocess.run(command, check=True, capture_output=True)
    assert maker.points_of("one_mind", "right", course) == graded
    assert (course / "submitted" / "right" / "one_mind" / "one_mind.ipynb").exists()
