"""Turn the MyST Markdown of the chapters into the Markdown that every notebook program shows.

JupyterLab and Colab know no directives and no roles. Formulas become ``$...$``, boxes become
quotations, what folds stays folded (``<details>``), equations carry their numbers, citations their
authors, year and address, and links lead to the neighboring notebook. Code is never touched.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

BIBLIOGRAPHY = Path(__file__).resolve().parent.parent / "book" / "references.bib"

FENCE = re.compile(  # a line that opens with backticks may have none after the name
    r"^(?P<indent> *)(?P<mark>`{3,}(?=[^`]*$)|:{3,}(?=\{))(?:\{(?P<name>[\w:-]+)\} *)?(?P<rest>.*)$"
)
OPTION = re.compile(r"^:(?P<key>[\w-]+):(?: +(?P<value>.*))?$")
LEFT_OUT = re.compile(r"^(?:\([\w:-]+\)= *|%.*)$", re.MULTILINE)  # targets and comments
INLINE = re.compile(
    r"\{(?P<role>[\w:-]+)\}(?P<quote>`+)(?P<body>(?:(?!\n\n).)+?)(?P=quote)(?!`)"
    r"|(?P<tick>(?<!`)`+(?!`))(?:(?!\n\n).)+?(?<!`)(?P=tick)(?!`)"
    r"|\]\((?P<page>[^)\s#:]+)\.md(?P<anchor>#[^)\s]*)?\)",
    re.DOTALL,
)
WITH_TARGET = re.compile(r"^(?P<text>.*?)\s*<[^>]+>$", re.DOTALL)
TERM = re.compile(r"^(?P<term>\S.*)\n +(?P<first>\S)", re.MULTILINE)  # an entry of a glossary

SOLUTION = "<details>\n<summary><b>Solution</b></summary>"
VERBATIM = frozenset({"code", "code-block", "code-cell", "list-table", "csv-table", "sourcecode"})
SILENT = frozenset(
    {"bibliography", "contents", "exercise-end", "raw", "tableofcontents", "toctree"}
)
IMAGES = frozenset({"figure", "image"})
CITATIONS = frozenset({"cite", "cite:p", "cite:t"})


@dataclass(frozen=True)
class Block:
    """Running text (``name`` is None), or a directive with its title, options and body."""

    body: str
    name: str | None = None
    title: str = ""
    options: dict[str, str] = field(default_factory=dict)
    indent: str = ""


def closing(lines: list[str], start: int, mark: str) -> int:
    """Index of the line that closes the fence opened at ``start``; the last line if none does."""
    fence = re.compile(rf" *{re.escape(mark[0])}{{{len(mark)},}} *$")
    return next((i for i in range(start + 1, len(lines)) if fence.match(lines[i])), len(lines))


def directive(opening: re.Match, lines: list[str]) -> Block:
    """The block that ``opening`` starts; ``lines`` are those up to its closing fence."""
    indent = opening["indent"]
    lines = [line.removeprefix(indent) for line in lines]
    options = {}
    while lines and (option := OPTION.match(lines[0])):
        options[option["key"]] = option["value"] or ""
        lines = lines[1:]
    body = "\n".join(lines).strip("\n")
    return Block(body, opening["name"], opening["rest"].strip(), options, indent)


def blocks(text: str) -> Iterator[Block]:
    """Split a text into directives, and the running text and the plain fences between them."""
    lines, pending, i = text.split("\n"), [], 0
    while i < len(lines):
        opening = FENCE.match(lines[i])
        if opening is None:
            pending.append(lines[i])
            i += 1
            continue
        yield Block("\n".join(pending))
        end = closing(lines, i, opening["mark"])
        if opening["name"] and opening["name"] not in VERBATIM:
            yield directive(opening, lines[i + 1 : end])
        else:
            yield Block("\n".join(lines[i : end + 1]), "verbatim")
        pending, i = [], end + 1
    yield Block("\n".join(pending))


def equation_numbers(pages: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The number of every labeled formula: chapter and place in it, from pairs of name and text."""
    numbers = {}
    for name, text in pages:
        chapter = re.match(r"0*(\d+)_", name)
        labels = [
            block.options["label"]
            for block in blocks(text)
            if block.name == "math" and "label" in block.options
        ]
        for place, label in enumerate(labels, start=1):
            numbers[label] = f"{chapter[1]}.{place}" if chapter else str(place)
    return numbers


@dataclass(frozen=True)
class Reference:
    """What a citation shows: names of the authors, year, and where to read the work, if known."""

    authors: str
    year: str
    address: str = ""

    def cited(self, *, textual: bool) -> str:
        text = f"{self.authors} ({self.year})" if textual else f"{self.authors}, {self.year}"
        return f"[{text}]({self.address})" if self.address else text


@cache
def references(bibliography: Path = BIBLIOGRAPHY) -> dict[str, Reference]:
    """The works of the bibliography by key, named as the rendered book names them."""
    from pybtex.database import parse_file  # not at the top: only citations need it

    found = {}
    for key, entry in parse_file(str(bibliography), bib_format="bibtex").entries.items():
        names = [" ".join(p.prelast_names + p.last_names) for p in entry.persons["author"]]
        authors = " and ".join(names) if len(names) < 3 else f"{names[0]} et al."
        address = ""
        if "doi" in entry.fields:
            address = f"https://doi.org/{entry.fields['doi']}"
        elif "eprint" in entry.fields:
            address = f"https://arxiv.org/abs/{entry.fields['eprint']}"
        found[key] = Reference(authors, entry.fields["year"], address)
    return found


def citation(role: str, keys: str) -> str:
    """Readable text of ``{cite:t}`` (part of the sentence) or ``{cite:p}`` (in parentheses)."""
    known, named = references(), [key.strip() for key in keys.split(",")]
    if unknown := [key for key in named if key not in known]:
        raise ValueError(
            f"not in {BIBLIOGRAPHY.name}: {unknown}; add the work, or correct {{cite}}."
        )
    textual = role.endswith(":t")
    shown = [known[key].cited(textual=textual) for key in named]
    return ", ".join(shown) if textual else f"({'; '.join(shown)})"


def quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def folded(title: str, text: str) -> str:
    return f"<details>\n<summary><b>{title}</b></summary>\n\n{text}\n\n</details>"


@dataclass
class Converter:
    """Converts the Markdown cells of one notebook.

    Parameters
    ----------
    numbers : dict
        Number of each labeled formula of the book.
    notebooks : frozenset of str
        Names, without ending, of the pages that have a notebook.
    """

    numbers: dict[str, str]
    notebooks: frozenset[str]

    def cell(self, text: str) -> str:
        """The text of a Markdown cell."""
        return self.text(text).strip()

    def text(self, text: str) -> str:
        parts = [self.block(block) for block in blocks(text)]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(part for part in parts if part.strip("\n")))

    def block(self, block: Block) -> str:
        if block.name is None:
            return INLINE.sub(self.inline, LEFT_OUT.sub("", block.body))
        if block.name == "verbatim":
            return block.body
        shown = f"\n{self.directive(block)}\n"
        return "\n".join(f"{block.indent}{line}".rstrip() for line in shown.split("\n"))

    def directive(self, block: Block) -> str:
        title = INLINE.sub(self.inline, block.title)
        if block.name in SILENT:
            return ""
        if block.name == "math":
            return self.formula(block)
        if block.name in IMAGES:
            return f"![{block.options.get('alt', '')}]({block.title})\n\n{self.text(block.body)}"
        if block.name in {"solution-start", "solution-end"}:
            return SOLUTION if block.name == "solution-start" else "</details>"
        if block.name in {"exercise-start", "exercise"}:
            return f"### Exercise {title}\n\n{self.text(block.body)}"
        if block.name == "glossary":
            return TERM.sub(r"**\g<term>**: \g<first>", self.text(block.body))
        title = title or block.name.capitalize()
        if block.name == "dropdown" or "dropdown" in block.options.get("class", ""):
            return folded(title, self.text(block.body))
        return quoted(f"**{title}**\n\n{self.text(block.body)}")

    def number(self, label: str) -> str:
        if label not in self.numbers:
            raise ValueError(f"no formula has the label {label!r}: correct the name in {{eq}}.")
        return self.numbers[label]

    def formula(self, block: Block) -> str:
        # Sphinx lets a formula have several lines; notebooks need to be told.
        body = block.body
        if "\\\\" in body:
            body = f"\\begin{{split}}\n{body}\n\\end{{split}}"
        label = block.options.get("label")
        return f"$$\n{body}\n" + (f"\\tag{{{self.number(label)}}}\n" if label else "") + "$$"

    def inline(self, match: re.Match) -> str:
        if match["page"]:
            ending = "ipynb" if match["page"] in self.notebooks else "md"
            return f"]({match['page']}.{ending}{match['anchor'] or ''})"
        role, body = match["role"], match["body"]
        if role is None:
            return match[0]
        if role == "math":
            return f"${body.strip()}$"
        if role == "eq":
            return f"({self.number(body)})"
        if role in CITATIONS:
            return citation(role, body)
        named = WITH_TARGET.match(body)
        return named["text"] if named else body
