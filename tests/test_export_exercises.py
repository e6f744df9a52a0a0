"""Exercises for learning platforms: Moodle XML and QTI 2.1 say what the check says."""

import re
import zipfile
from collections import Counter
from html import escape
from xml.etree import ElementTree as ET

import export_exercises as export
import numpy as np
import pytest
from contents import chapters

from eamlab_book.exercises import Case, cases, check, exercises
from eamlab_book.exercises.exercise import BY_DATA

IDS = [e.id for e in exercises().values() if e.kind in BY_DATA]
NUMBERS = [id for id in IDS if exercises()[id].kind != "choice"]


@pytest.fixture(scope="module")
def asked() -> dict[str, export.Question]:
    return {q.identifier: q for q in export.questions()}


@pytest.fixture(scope="module")
def quiz(asked, tmp_path_factory) -> dict[str, ET.Element]:
    """Moodle's questions by the first word of their name."""
    file = tmp_path_factory.mktemp("moodle") / "x.xml"
    export.write_moodle(file, list(asked.values()))
    return {q.findtext("name/text").split()[0]: q for q in ET.parse(file).getroot()}


@pytest.fixture(scope="module")
def package(asked, tmp_path_factory) -> dict[str, ET.Element]:
    """Roots of the files of a QTI package, without name spaces, by name."""
    file = tmp_path_factory.mktemp("qti") / "x.zip"
    export.write_qti(file, list(asked.values()))
    with zipfile.ZipFile(file) as opened:
        roots = {name: ET.fromstring(opened.read(name)) for name in opened.namelist()}
    for name, root in roots.items():
        space = export.PACKAGE if name == "imsmanifest.xml" else export.QTI
        for node in root.iter():
            assert node.tag.startswith(f"{{{space}}}")
            node.tag = node.tag.partition("}")[2]
    return roots


def test_every_exercise_and_quick_question_is_there(asked, quiz, package):
    quick = [q for q in asked if q.startswith("quick-")]
    assert [q.removeprefix("exercise-") for q in asked if q not in quick] == IDS
    numbers = Counter(int(q.removeprefix("quick-").partition(".")[0]) for q in quick)
    later = [int(page.stem.partition("_")[0]) for page in chapters()[1:]]
    assert numbers == {1: 2} | dict.fromkeys(later, 3)
    assert len(quiz) == len(asked)
    assert sorted(package) == sorted(["imsmanifest.xml", *(f"items/{q}.xml" for q in asked)])


def test_nothing_of_the_books_markup_is_left(asked):
    for question in asked.values():
        said = "".join(option.text + option.said for option in question.options)
        text = question.text + question.hint + said
        words = re.sub(r"<code.*?</code>|\\\(.*?\\\)|\\\[.*?\\\]", "", text, flags=re.DOTALL)
        assert not re.search(r"\{(math|eq|ref|cite|admonition)|```|\]\(|\*\*|\$", words), words
        ET.fromstring(f"<div>{text}</div>")


def test_a_choice_has_one_right_answer_and_says_something_to_each(quiz, package, asked):
    for question in asked.values():
        if not question.options:
            continue
        made = quiz[question.title.split()[0]]
        assert made.get("type") == "multichoice"
        answers = made.findall("answer")
        assert sorted(a.get("fraction") for a in answers) == ["0"] * (len(answers) - 1) + ["100"]
        assert all(a.findtext("feedback/text") for a in answers)
        item = package[f"items/{question.identifier}.xml"]
        options = [o.get("identifier") for o in item.iter("simpleChoice")]
        assert item.findtext(".//correctResponse/value") in options
        assert [f.get("identifier") for f in item.iter("modalFeedback")] == options


def said_by(item: ET.Element, given: list[float]) -> tuple[float, str]:
    """What an item of QTI makes of numbers: score and message."""
    numbers = {f"NUMBER_{i}": x for i, x in enumerate(given, start=1)}

    def holds(node: ET.Element) -> bool:
        x = numbers[node.find("variable").get("identifier")]
        value = float(node.findtext("baseValue"))
        if node.tag == "equal":
            low, high = map(float, node.get("tolerance").split())
            return value - low <= x <= value + high
        return x >= value if node.tag == "gte" else x <= value

    for branch in item.find("responseProcessing/responseCondition"):
        if all(map(holds, branch.find("and"))):
            told = {
                n.get("identifier"): n.findtext("baseValue") for n in branch.iter("setOutcomeValue")
            }
            message = item.find(f"modalFeedback[@identifier='{told['FEEDBACK']}']")
            return float(told.get("SCORE", 0)), "".join(message.itertext())
    return 0.0, ""


def fits(case: Case, given: list[float]) -> bool:
    if case.where:
        return all(low <= given[place] <= high for place, low, high in case.where)
    return bool(np.all(np.abs(np.subtract(given, case.values)) <= case.tolerance))


@pytest.mark.parametrize("id", NUMBERS)
def test_qti_says_to_numbers_what_the_check_says(package, id):
    item = package[f"items/exercise-{id}.xml"]
    declared = [r.get("identifier") for r in item.iter("responseDeclaration")]
    assert [t.get("responseIdentifier") for t in item.iter("textEntryInteraction")] == declared
    told = [case for case in cases(id) if not case.message.startswith("Right as far as it goes")]
    for case in told:
        between = {place: ends for place, *ends in case.where}
        given = [float(np.clip(x, *between.get(i, (x, x)))) for i, x in enumerate(case.values)]
        first = next(one for one in told if fits(one, given))  # which no rounding makes fit
        assert said_by(item, given) == (first.correct, first.message)
    assert said_by(item, [12345.678] * len(declared))[0] == 0.0


@pytest.mark.parametrize("id", NUMBERS)
def test_moodle_accepts_what_the_check_accepts(quiz, id):
    question, right = quiz[id], cases(id)[0]
    if exercises()[id].kind == "number":
        answers = question.findall("answer")
        assert [a.get("fraction") for a in answers] == ["100"] + ["0"] * (len(answers) - 1)
        told = [(float(a.findtext("text")), float(a.findtext("tolerance"))) for a in answers]
        for value, _ in told:
            first = next(i for i, (x, reach) in enumerate(told) if abs(value - x) <= reach)
            message = answers[first].findtext("feedback/text")
            assert message == escape(check(id, value).message, quote=False)
        found = told[:1]
    else:
        text = question.findtext("questiontext/text")
        found = re.findall(r"\{1:NUMERICAL:=([^:}]+):([^:}]+)\}", text)
        found = [tuple(map(float, pair)) for pair in found]
    assert found == list(zip(right.values, right.tolerance, strict=True))
