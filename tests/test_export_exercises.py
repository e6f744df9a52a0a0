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


# --------------------------------------------------------------------------------------------------
# Rules of the formats
# --------------------------------------------------------------------------------------------------

# Children of an element in their order: which may be missing, "?" or "*", and which may not.
ORDER = {
    "manifest": "metadata? organizations resources",
    "metadata": "schema schemaversion",
    "resources": "resource*",
    "resource": "file+",
    "assessmentItem": "responseDeclaration* outcomeDeclaration* itemBody responseProcessing "
    "modalFeedback*",
    "responseDeclaration": "correctResponse",
    "outcomeDeclaration": "defaultValue?",
    "correctResponse": "value+",
    "defaultValue": "value+",
    "choiceInteraction": "simpleChoice+",
    "responseProcessing": "responseCondition* setOutcomeValue*",
    "responseCondition": "responseIf responseElseIf* responseElse?",
}
NEEDED = {
    "manifest": "identifier",
    "resource": "identifier type href",
    "file": "href",
    "assessmentItem": "identifier title adaptive timeDependent",
    "responseDeclaration": "identifier cardinality baseType",
    "outcomeDeclaration": "identifier cardinality baseType",
    "choiceInteraction": "responseIdentifier shuffle maxChoices",
    "simpleChoice": "identifier",
    "textEntryInteraction": "responseIdentifier",
    "modalFeedback": "outcomeIdentifier identifier showHide",
    "baseValue": "baseType",
    "equal": "toleranceMode",
    "variable": "identifier",
    "correct": "identifier",
    "setOutcomeValue": "identifier",
}
OPERANDS = {"match": 2, "equal": 2, "gte": 2, "lte": 2, "setOutcomeValue": 1}
BLOCKS = "div p ul ol pre table choiceInteraction".split()
INSIDE = "li thead tbody tr th td strong em code br a span".split()
IDENTIFIER = re.compile(r"[A-Za-z_][\w.-]*")


def broken(files: dict[str, ET.Element]) -> list[str]:
    """What in a package is against the rules of QTI 2.1 and content packaging 1.1, as stated here.

    These are rules that the specifications state, and by no means all of them. The consortium's own
    schemas may be passed on only by who has registered for it, so that they are not part of this
    project and nothing is validated against them here.
    """
    listing = files["imsmanifest.xml"]
    hrefs = [r.get("href") for r in listing.iter("resource")]
    found = [
        f"{name} is not listed once"
        for name in {*files, *hrefs} - {"imsmanifest.xml"}
        if hrefs.count(name) != 1 or name not in files
    ]
    ids = [n.get("identifier") for n in listing.iter() if n.get("identifier")]
    found += [f"identifier {id} is there twice" for id in ids if ids.count(id) > 1]
    for resource in listing.iter("resource"):
        if resource.get("href") not in [f.get("href") for f in resource.iter("file")]:
            found.append(f"{resource.get('identifier')} does not name its file")
    for name, root in files.items():
        found += [f"{name}: {said}" for said in (*against_structure(root), *against_links(root))]
    return found


def against_structure(root: ET.Element):
    for node in root.iter():
        tags = "".join(f"{child.tag} " for child in node)
        parts = [re.fullmatch(r"(\w+)([?*+]?)", part) for part in ORDER.get(node.tag, "").split()]
        order = "".join(f"({part[1]} ){part[2]}" for part in parts)
        if parts and not re.fullmatch(order, tags):
            yield f"{node.tag} has {tags}"
        yield from (
            f"{node.tag} has no {a}" for a in NEEDED.get(node.tag, "").split() if not node.get(a)
        )
        if len(node) != OPERANDS.get(node.tag, len(node)) or (node.tag == "and" and not len(node)):
            yield f"{node.tag} has {len(node)} operands"
        if node.get("identifier") and not IDENTIFIER.fullmatch(node.get("identifier")):
            yield f"{node.get('identifier')} is no identifier"
    for body in root.iter("itemBody"):
        yield from (f"{c.tag} is no block" for c in body if c.tag not in BLOCKS)
        known = (*INSIDE, *BLOCKS, "itemBody", "simpleChoice", "textEntryInteraction")
        yield from (f"{c.tag} in a body" for c in body.iter() if c.tag not in known)
        if any((text or "").strip() for text in (body.text, *(c.tail for c in body))):
            yield "text beside the blocks of a body"


def against_links(root: ET.Element):
    asked = [n.get("identifier") for n in root.iter("responseDeclaration")]
    made = [n.get("identifier") for n in root.iter("outcomeDeclaration")]
    ids = asked + made
    yield from (f"{id} is declared twice" for id in ids if ids.count(id) > 1)
    used = [n.get("responseIdentifier") for n in root.iter() if n.get("responseIdentifier")]
    if sorted(used) != sorted(asked):
        yield f"interactions for {used}, declared {asked}"
    yield from (
        f"variable {n.get('identifier')}"
        for n in root.iter("variable")
        if n.get("identifier") not in ids
    )
    yield from (
        f"correct {n.get('identifier')}"
        for n in root.iter("correct")
        if n.get("identifier") not in asked
    )
    outcomes = [n.get("identifier") for n in root.iter("setOutcomeValue")]
    outcomes += [n.get("outcomeIdentifier") for n in root.iter("modalFeedback")]
    yield from (f"outcome {id}" for id in outcomes if id not in made)
    choices = [n.get("identifier") for n in root.iter("simpleChoice")]
    yield from (f"choice {id} twice" for id in choices if choices.count(id) > 1)
    for declared in root.iter("responseDeclaration"):
        value, kind = declared.findtext("correctResponse/value"), declared.get("baseType")
        if kind not in ("identifier", "float") or declared.get("cardinality") != "single":
            yield f"a response of type {kind}"
        elif kind == "identifier" and value not in choices:
            yield f"the right choice {value} is none"
    for node in root.iter():
        if (
            node.get("baseType") == "float"
            and node.tag == "baseValue"
            and not np.isfinite(float(node.text))
        ):
            yield f"the number {node.text}"
        if node.get("showHide") not in (None, "show", "hide"):
            yield f"showHide {node.get('showHide')}"
        if node.get("toleranceMode") == "absolute" and len(node.get("tolerance", "").split()) != 2:
            yield "equal without a tolerance"


def test_a_qti_package_keeps_the_rules_of_its_format(package):
    assert broken(package) == []


def first(root: ET.Element, tag: str) -> ET.Element:
    return next(root.iter(tag))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda item: item.attrib.pop("adaptive"), "has no adaptive"),
        (lambda item: item.remove(item.find("itemBody")), "assessmentItem has"),
        (lambda item: item.insert(0, item.find("modalFeedback")), "assessmentItem has"),
        (lambda item: first(item, "variable").set("identifier", "X"), "variable X"),
        (lambda item: first(item, "setOutcomeValue").set("identifier", "X"), "outcome X"),
        (lambda item: first(item, "equal").remove(first(item, "baseValue")), "1 operands"),
        (lambda item: first(item, "equal").attrib.pop("tolerance"), "without a tolerance"),
        (lambda item: first(item, "itemBody").set("identifier", "1 a"), "is no identifier"),
        (lambda item: ET.SubElement(first(item, "p"), "script"), "script in a body"),
        (lambda item: ET.SubElement(first(item, "itemBody"), "em"), "em is no block"),
        (lambda item: setattr(first(item, "itemBody"), "text", "So:"), "text beside"),
        (lambda item: item.find("itemBody").set("responseIdentifier", "Y"), "interactions for"),
        (lambda item: first(item, "modalFeedback").set("showHide", "maybe"), "showHide"),
    ],
)
def test_an_item_against_the_rules_is_noticed(package, spoil, words):
    name = "items/exercise-1.1.xml"
    item = copy.deepcopy(package[name])
    spoil(item)
    assert any(words in said for said in broken(package | {name: item}))


def test_a_package_whose_manifest_is_wrong_is_noticed(package):
    name, *_ = (n for n in package if n != "imsmanifest.xml")
    lost = {n: root for n, root in package.items() if n != name}
    assert broken(lost) == [f"{name} is not listed once"]
    listing = copy.deepcopy(package["imsmanifest.xml"])
    one, other, *_ = listing.iter("resource")
    one.set("identifier", other.get("identifier"))
    first(other, "file").set("href", "items/other.xml")
    said = broken(package | {"imsmanifest.xml": listing})
    assert len(said) == 3 and "twice" in said[0] and "does not name its file" in said[2]


def test_moodle_questions_have_what_moodle_asks_for(quiz):
    """Element by element as Moodle's documentation of its XML format has them."""
    for question in quiz.values():
        kind = question.get("type")
        assert kind in ("multichoice", "numerical", "cloze")
        for path in ("name/text", "questiontext/text"):
            assert len(question.findall(path)) == 1 and question.findtext(path).strip()
        formats = [n.get("format") for n in question.iter() if n.get("format")]
        assert set(formats) == {"html"}
        fractions = [float(a.get("fraction")) for a in question.findall("answer")]
        assert not fractions if kind == "cloze" else max(fractions) == 100 and min(fractions) >= 0
        if kind == "numerical":
            for answer in question.findall("answer"):
                assert np.isfinite(float(answer.findtext("text")))
                assert float(answer.findtext("tolerance")) >= 0
        if kind == "multichoice":
            assert question.findtext("single") in ("true", "false")
            assert question.findtext("answernumbering") == "none"
            assert len(fractions) > 1
        if kind == "cloze":
            assert re.search(r"\{1:NUMERICAL:=", question.findtext("questiontext/text"))
