"""Exercises for learning platforms: Moodle XML and QTI 2.1 say what the check says."""

import copy
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
        assert item.findtext(".//correctResponse/value") in options and len({*options}) > 1
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


# --------------------------------------------------------------------------------------------------
# Rules of the formats, as far as they stand here: no schema may be passed on with this project
# --------------------------------------------------------------------------------------------------

# Children of an element in their order: which may be missing, "?" or "*", and which may not.
ORDER = {
    "manifest": "metadata? organizations resources",
    "resource": "file+",
    "assessmentItem": "responseDeclaration* outcomeDeclaration* itemBody responseProcessing "
    "modalFeedback*",
    "responseDeclaration": "correctResponse",
    "choiceInteraction": "simpleChoice+",
    "responseProcessing": "responseCondition* setOutcomeValue*",
    "responseCondition": "responseIf responseElseIf* responseElse?",
}
NEEDED = {
    "resource": "identifier type href",
    "assessmentItem": "identifier title adaptive timeDependent",
    "responseDeclaration": "identifier cardinality baseType",
    "outcomeDeclaration": "identifier cardinality baseType",
    "choiceInteraction": "responseIdentifier shuffle maxChoices",
    "textEntryInteraction": "responseIdentifier",
    "modalFeedback": "outcomeIdentifier identifier showHide",
    "equal": "toleranceMode tolerance",
    **dict.fromkeys(("simpleChoice", "variable", "correct", "setOutcomeValue"), "identifier"),
}
OPERANDS = {"match": 2, "equal": 2, "gte": 2, "lte": 2, "setOutcomeValue": 1}
BLOCKS = set("div p ul ol pre table choiceInteraction".split())
INSIDE = set("li thead tbody tr th td strong em code br a span".split())
INSIDE |= {"itemBody", "simpleChoice", "textEntryInteraction"} | BLOCKS


def faults(root: ET.Element):
    """What in a file of a QTI 2.1 package is against these rules, or refers to nothing."""
    for node in root.iter():
        tags = "".join(f"{child.tag} " for child in node)
        parts = [re.fullmatch(r"(\w+)([?*+]?)", part) for part in ORDER.get(node.tag, "").split()]
        order = "".join(f"({part[1]} ){part[2]}" for part in parts)
        if parts and not re.fullmatch(order, tags):
            yield f"{node.tag} has {tags}"
        needed = NEEDED.get(node.tag, "").split()
        yield from (f"{node.tag} has no {a}" for a in needed if not node.get(a))
        if len(node) != OPERANDS.get(node.tag, len(node)) or (node.tag == "and" and not len(node)):
            yield f"{node.tag} has {len(node)} operands"
        if not re.fullmatch(r"[A-Za-z_][\w.-]*", node.get("identifier", "x")):
            yield f"{node.get('identifier')} is no identifier"
    for body in root.iter("itemBody"):
        yield from (f"{c.tag} is no block" for c in body if c.tag not in BLOCKS)
        yield from (f"{c.tag} in a body" for c in body.iter() if c.tag not in INSIDE)
        if any((text or "").strip() for text in (body.text, *(c.tail for c in body))):
            yield "text beside the blocks of a body"

    def named(*tags: str, by: str = "identifier") -> list[str]:
        return sorted(node.get(by) for tag in tags for node in root.iter(tag))

    asked, made = named("responseDeclaration"), named("outcomeDeclaration")
    used = named("choiceInteraction", "textEntryInteraction", by="responseIdentifier")
    outcomes = {*named("setOutcomeValue"), *named("modalFeedback", by="outcomeIdentifier")}
    if used != asked or len({*asked, *made}) < len(asked + made):
        yield f"interactions for {used}, declared {asked} and {made}"
    yield from {*named("variable"), *named("correct")} - {*asked, *made}
    yield from outcomes - {*made}


def test_a_qti_package_keeps_the_rules_of_its_format(package):
    listing = package["imsmanifest.xml"]
    hrefs = [r.get("href") for r in listing.iter("resource")]
    assert sorted(["imsmanifest.xml", *hrefs]) == sorted(package)
    assert [r.find("file").get("href") for r in listing.iter("resource")] == hrefs
    ids = [n.get("identifier") for n in listing.iter() if n.get("identifier")]
    assert len({*ids}) == len(ids)
    assert {name: said for name, root in package.items() if (said := [*faults(root)])} == {}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda item, first: item.attrib.pop("adaptive"), "has no adaptive"),
        (lambda item, first: item.insert(0, first("modalFeedback")), "assessmentItem has"),
        (lambda item, first: first("variable").set("identifier", "X"), "X"),
        (lambda item, first: first("equal").remove(first("baseValue")), "1 operands"),
        (lambda item, first: ET.SubElement(first("p"), "script"), "script in a body"),
        (lambda item, first: first("itemBody").set("identifier", "1 a"), "is no identifier"),
    ],
)
def test_an_item_against_the_rules_is_noticed(package, spoil, words):
    item = copy.deepcopy(package["items/exercise-1.1.xml"])
    spoil(item, lambda tag: next(item.iter(tag)))
    assert any(words in said for said in faults(item))


def test_moodle_questions_have_what_moodle_asks_for(quiz):
    """Element by element as Moodle's documentation of its XML format has them."""
    for question in quiz.values():
        kind, answers = question.get("type"), question.findall("answer")
        for path in ("name/text", "questiontext/text"):
            assert len(question.findall(path)) == 1 and question.findtext(path).strip()
        assert {n.get("format") for n in question.iter() if n.get("format")} == {"html"}
        fractions = [float(a.get("fraction")) for a in answers]
        assert not fractions if kind == "cloze" else max(fractions) == 100 and min(fractions) >= 0
        if kind == "multichoice":
            assert question.findtext("single") in ("true", "false")
            assert question.findtext("answernumbering") == "none" and len(fractions) > 1
        elif kind == "numerical":
            told = [float(a.findtext(name)) for a in answers for name in ("text", "tolerance")]
            assert np.isfinite(told).all() and min(told[1::2]) >= 0
        else:
            assert kind == "cloze" and "{1:NUMERICAL:=" in question.findtext("questiontext/text")
