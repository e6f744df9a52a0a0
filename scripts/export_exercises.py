"""Write exercises and quick questions for a learning platform: Moodle XML, or a QTI 2.1 package.

    python scripts/export_exercises.py --moodle exercises.xml --qti exercises.zip

Exported are the quick questions of the chapters and the exercises whose answer is a number, named
numbers or a choice, with the tolerances and the messages of the book. Formulas are TeX between
``\\(`` and ``\\)``, which platforms typeset with MathJax.
"""

import argparse
import html
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from contents import chapters
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from plain_markdown import Converter, equation_numbers

from eamlab_book.exercises import Case, Exercise, cases, check, exercises, names
from eamlab_book.exercises.exercise import BY_DATA

EXERCISE = re.compile(
    r"^`{3,}\{exercise-start\} [^\n]+\n:label: (?P<label>\S+)\n:nonumber:\n`{3,}\n"
    r"(?P<text>.*?)^`{3,}\{exercise-end\}\n",
    re.MULTILINE | re.DOTALL,
)
HINT = re.compile(
    r"^(?P<mark>`{3,})\{admonition\} Hint\n:class: dropdown\n(?P<text>.*?)^(?P=mark)\n",
    re.MULTILINE | re.DOTALL,
)
QUICK = re.compile(r"^\*\*(?P<letter>[A-Z])\. ", re.MULTILINE)
OPTION = re.compile(
    r"^```\{dropdown\} (?P<letter>[a-z])\) (?P<text>.+)\n(?P<said>(?:.*\n)+?)```$", re.MULTILINE
)
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")  # to a page that a platform does not have
QTI = "http://www.imsglobal.org/xsd/imsqti_v2p1"
PACKAGE = "http://www.imsglobal.org/xsd/imscp_v1p1"


@dataclass(frozen=True)
class Option:
    """One answer of a choice, in XHTML, and what is said to it."""

    identifier: str
    text: str
    said: str
    right: bool


@dataclass(frozen=True)
class Question:
    """One question in XHTML: of a choice the options, of numbers their names and cases."""

    identifier: str
    title: str
    text: str
    hint: str = ""
    options: tuple[Option, ...] = ()
    names: tuple[str, ...] = ()
    cases: tuple[Case, ...] = field(default=(), repr=False)


# --- read -----------------------------------------------------------------------------------------


class Reader:
    """Reads the questions of the book's chapters.

    Parameters
    ----------
    texts : dict
        Text of each chapter by its name without ending.
    """

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self._converter = Converter(equation_numbers(texts.items()), frozenset())
        self._markdown = MarkdownIt("commonmark", {"xhtmlOut": True, "html": False})
        self._markdown.use(dollarmath_plugin, renderer=_formula).enable("table")

    def questions(self) -> Iterator[Question]:
        """Yield the questions in the order of the book: quick ones first in each chapter."""
        by_label = {e.label: e for e in exercises().values() if e.kind in BY_DATA}
        for name, source in self.texts.items():
            before = source[: source.index("{exercise-start}")]
            yield from self._quick(int(name[:2]), before)
            for found in EXERCISE.finditer(source):
                if exercise := by_label.get(found["label"]):
                    yield self._exercise(exercise, found["text"])

    def _html(self, source: str) -> str:
        plain = LINK.sub(r"\1", self._converter.cell(source))
        return self._markdown.render(plain).strip()

    def _line(self, source: str) -> str:
        plain = LINK.sub(r"\1", self._converter.cell(source))
        return self._markdown.renderInline(" ".join(plain.split()))

    def _quick(self, chapter: int, before: str) -> Iterator[Question]:
        starts = [*QUICK.finditer(before)]
        ends = [start.start() for start in starts[1:]] + [len(before)]
        for start, end in zip(starts, ends, strict=True):
            part = before[start.end() : end]
            options = tuple(
                Option(
                    o["letter"],
                    self._line(o["text"]),
                    self._html(o["said"]),
                    o["said"].startswith("Yes"),
                )
                for o in OPTION.finditer(part)
            )
            asked = self._html("**" + part.partition("```{dropdown}")[0])
            number = f"{chapter}.{start['letter']}"
            yield Question(f"quick-{number}", f"{number} Quick question", asked, options=options)

    def _exercise(self, exercise: Exercise, source: str) -> Question:
        hint = HINT.search(source)
        said = {option: check(exercise.id, option) for option in exercise.options}
        options = tuple(Option(o, o, _escaped(f.message), f.correct) for o, f in said.items())
        return Question(
            f"exercise-{exercise.id}",
            f"{exercise.id} {exercise.title}",
            self._html(HINT.sub("", source)),
            self._html(hint["text"]) if hint else "",
            options,
            () if options else names(exercise.id),
            () if options else cases(exercise.id),
        )


def _formula(source: str, options: dict) -> str:
    opened, closed = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
    return f"{opened}{_escaped(source.strip())}{closed}"


# --- Moodle ---------------------------------------------------------------------------------------


def moodle(questions: Iterable[Question]) -> ET.ElementTree:
    """Return Moodle XML: numerical, cloze (named numbers) and multichoice questions.

    Of named numbers each is judged by itself, as Moodle does, so that known mistakes have their
    message where one number or a choice is asked for.
    """
    quiz = ET.Element("quiz")
    for question in questions:
        kind = "multichoice" if question.options else "cloze" if question.names else "numerical"
        made = ET.SubElement(quiz, "question", type=kind)
        _text(ET.SubElement(made, "name"), question.title)
        asked = question.text
        if kind == "cloze":
            asked += "".join(
                f"<p>{n}: {f}</p>" for n, f in zip(question.names, _cloze(question), strict=True)
            )
        _text(ET.SubElement(made, "questiontext", format="html"), asked)
        right = next((c.message for c in question.cases if c.correct), "")
        _text(ET.SubElement(made, "generalfeedback", format="html"), _escaped(right))
        if kind != "cloze":
            ET.SubElement(made, "defaultgrade").text = "1"
        if kind == "multichoice":
            ET.SubElement(made, "single").text = "true"
            ET.SubElement(made, "shuffleanswers").text = "0"
            ET.SubElement(made, "answernumbering").text = "none"
            for option in question.options:
                _answer(made, option.text, option.said, right=option.right, format="html")
        elif kind == "numerical":
            for case in _comparable(question):
                answer = _answer(
                    made, repr(case.values[0]), _escaped(case.message), right=case.correct
                )
                ET.SubElement(answer, "tolerance").text = repr(case.tolerance[0])
        if question.hint:
            _text(ET.SubElement(made, "hint", format="html"), question.hint)
    ET.indent(quiz)
    return ET.ElementTree(quiz)


def _comparable(question: Question) -> list[Case]:
    """Cases that are numbers and how far one may be off; "right, but with few digits" is not."""
    return [c for c in question.cases if not c.where and c.message != question.cases[1].message]


def _cloze(question: Question) -> Iterator[str]:
    right = question.cases[0]
    for value, tolerance in zip(right.values, right.tolerance, strict=True):
        yield f"{{1:NUMERICAL:={value!r}:{tolerance!r}}}"


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def _text(parent: ET.Element, text: str) -> None:
    ET.SubElement(parent, "text").text = text


def _answer(
    parent: ET.Element, text: str, said: str, *, right: bool, **attributes: str
) -> ET.Element:
    answer = ET.SubElement(parent, "answer", fraction="100" if right else "0", **attributes)
    _text(answer, text)
    _text(ET.SubElement(answer, "feedback", format="html"), said)
    return answer


# --- QTI ------------------------------------------------------------------------------------------


def qti(question: Question) -> ET.ElementTree:
    """Return one item of QTI 2.1, with a message for every known answer."""
    item = ET.Element("assessmentItem", identifier=question.identifier, title=question.title)
    item.attrib |= {"adaptive": "false", "timeDependent": "false"}
    (_choice if question.options else _numbers)(item, question)
    for node in item.iter():
        node.tag = f"{{{QTI}}}{node.tag}"
    return ET.ElementTree(item)


def _declare(item: ET.Element, kind: str, values: dict[str, str]) -> None:
    """Declare what is answered, by identifier with the right answer, and what comes of it."""
    for identifier, value in values.items():
        response = ET.SubElement(
            item, "responseDeclaration", identifier=identifier, cardinality="single", baseType=kind
        )
        ET.SubElement(ET.SubElement(response, "correctResponse"), "value").text = value
    for identifier, base in {"SCORE": "float", "FEEDBACK": "identifier"}.items():
        outcome = ET.SubElement(
            item, "outcomeDeclaration", identifier=identifier, cardinality="single", baseType=base
        )
        if base == "float":
            ET.SubElement(ET.SubElement(outcome, "defaultValue"), "value").text = "0"


def _body(item: ET.Element, question: Question) -> ET.Element:
    body = ET.SubElement(item, "itemBody")
    body.append(ET.fromstring(f"<div>{question.text}</div>"))
    return body


def _choice(item: ET.Element, question: Question) -> None:
    right = next(option for option in question.options if option.right)
    _declare(item, "identifier", {"RESPONSE": f"option-{right.identifier}"})
    asked = ET.SubElement(
        _body(item, question), "choiceInteraction", responseIdentifier="RESPONSE", maxChoices="1"
    )
    asked.set("shuffle", "false")
    for option in question.options:
        answer = ET.fromstring(f"<simpleChoice>{option.text}</simpleChoice>")
        answer.set("identifier", f"option-{option.identifier}")
        asked.append(answer)
    processing = ET.SubElement(item, "responseProcessing")
    branch = ET.SubElement(ET.SubElement(processing, "responseCondition"), "responseIf")
    match = ET.SubElement(branch, "match")
    ET.SubElement(match, "variable", identifier="RESPONSE")
    ET.SubElement(match, "correct", identifier="RESPONSE")
    _set(branch, "SCORE", "float", "1")
    told = ET.SubElement(processing, "setOutcomeValue", identifier="FEEDBACK")
    ET.SubElement(told, "variable", identifier="RESPONSE")
    for option in question.options:
        _feedback(item, f"option-{option.identifier}", option.said)


def _numbers(item: ET.Element, question: Question) -> None:
    right = question.cases[0]
    identifiers = [f"NUMBER_{i}" for i in range(1, len(right.values) + 1)]
    _declare(item, "float", dict(zip(identifiers, map(repr, right.values), strict=True)))
    body = _body(item, question)
    for identifier, name in zip(identifiers, question.names or ("Your answer",), strict=True):
        field_ = ET.SubElement(body, "p")
        field_.text = f"{name}: "
        ET.SubElement(field_, "textEntryInteraction", responseIdentifier=identifier)
    condition = ET.SubElement(ET.SubElement(item, "responseProcessing"), "responseCondition")
    told = [c for c in question.cases if c.where or c in _comparable(question)]
    for place, case in enumerate(told):
        branch = ET.SubElement(condition, "responseElseIf" if place else "responseIf")
        _matches(ET.SubElement(branch, "and"), case, identifiers)
        if case.correct:
            _set(branch, "SCORE", "float", "1")
        _set(branch, "FEEDBACK", "identifier", f"case-{place}")
    for place, case in enumerate(told):
        _feedback(item, f"case-{place}", f"<p>{_escaped(case.message)}</p>")


def _matches(parent: ET.Element, case: Case, identifiers: list[str]) -> None:
    """Say when an answer is that of a case."""
    for place, low, high in case.where:
        for operator, end in (("gte", low), ("lte", high)):
            compared = ET.SubElement(parent, operator)
            ET.SubElement(compared, "variable", identifier=identifiers[place])
            ET.SubElement(compared, "baseValue", baseType="float").text = repr(end)
    if case.where:
        return
    for identifier, value, reach in zip(identifiers, case.values, case.tolerance, strict=True):
        equal = ET.SubElement(parent, "equal", toleranceMode="absolute")
        equal.set("tolerance", f"{reach!r} {reach!r}")
        ET.SubElement(equal, "variable", identifier=identifier)
        ET.SubElement(equal, "baseValue", baseType="float").text = repr(value)


def _set(parent: ET.Element, outcome: str, base: str, value: str) -> None:
    made = ET.SubElement(parent, "setOutcomeValue", identifier=outcome)
    ET.SubElement(made, "baseValue", baseType=base).text = value


def _feedback(item: ET.Element, identifier: str, said: str) -> None:
    made = ET.fromstring(f"<modalFeedback>{said}</modalFeedback>")
    made.attrib |= {"outcomeIdentifier": "FEEDBACK", "showHide": "show", "identifier": identifier}
    item.append(made)


def manifest(questions: Iterable[Question]) -> ET.ElementTree:
    """Return the table of contents of a package."""
    root = ET.Element("manifest", identifier="eamlab-exercises")
    metadata = ET.SubElement(root, "metadata")
    ET.SubElement(metadata, "schema").text = "QTIv2.1 Package"
    ET.SubElement(metadata, "schemaversion").text = "1.0.0"
    ET.SubElement(root, "organizations")
    resources = ET.SubElement(root, "resources")
    for question in questions:
        resource = ET.SubElement(
            resources, "resource", identifier=f"resource-{question.identifier}"
        )
        href = f"items/{question.identifier}.xml"
        resource.attrib |= {"type": "imsqti_item_xmlv2p1", "href": href}
        ET.SubElement(resource, "file", href=href)
    for node in root.iter():
        node.tag = f"{{{PACKAGE}}}{node.tag}"
    ET.indent(root)
    return ET.ElementTree(root)


# --- write ----------------------------------------------------------------------------------------


def questions() -> list[Question]:
    """Return all questions of the book."""
    texts = {page.stem: page.read_text(encoding="utf-8") for page in chapters()}
    return [*Reader(texts).questions()]


def write_moodle(file: Path, asked: list[Question]) -> None:
    moodle(asked).write(file, encoding="UTF-8", xml_declaration=True)


def write_qti(file: Path, asked: list[Question]) -> None:
    parts = {f"items/{q.identifier}.xml": (qti(q), QTI) for q in asked}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as package:
        for name, (tree, space) in {"imsmanifest.xml": (manifest(asked), PACKAGE), **parts}.items():
            ET.register_namespace("", space)
            text = ET.tostring(tree.getroot(), encoding="UTF-8", xml_declaration=True)
            package.writestr(zipfile.ZipInfo(name), text)  # the same bytes whenever it is written


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moodle", type=Path, metavar="FILE", help="Moodle XML, such as x.xml")
    parser.add_argument("--qti", type=Path, metavar="FILE", help="QTI 2.1 package, such as x.zip")
    options = parser.parse_args()
    if options.moodle is None and options.qti is None:
        parser.error("say what to write: --moodle FILE, --qti FILE, or both.")
    asked = questions()
    for file, write in ((options.moodle, write_moodle), (options.qti, write_qti)):
        if file is not None:
            write(file, asked)
            print(f"{file}: {len(asked)} questions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
