"""Bibliography, glossary, library reference, index of exercises, and the drawn pictures."""

import ast
import re
from pathlib import Path

import plain_markdown
import pytest
from contents import chapters

import eamlab as el
import eamlab_book as book

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
CITATION = re.compile(r"\{cite(?::[pt])?\}`([^`]+)`")


def page(name: str) -> str:
    return (BOOK / f"{name}.md").read_text(encoding="utf-8")


# --- bibliography ----------------------------------------------------------------------------


def test_every_citation_is_in_the_bibliography():
    cited = {
        (file.name, key.strip())
        for file in BOOK.glob("*.md")
        for keys in CITATION.findall(file.read_text(encoding="utf-8"))
        for key in keys.split(",")
    }
    assert len(cited) > 30
    assert [(name, key) for name, key in cited if key not in plain_markdown.references()] == []


@pytest.mark.parametrize(
    ("myst", "markdown"),
    [
        (
            "{cite:t}`ratcliff2008` say",
            "[Ratcliff and McKoon (2008)](https://doi.org/10.1162/neco.2008.12-06-420) say",
        ),
        (
            "so {cite:p}`geffner2023, devroye2009`",
            "so ([Geffner et al., 2023](https://arxiv.org/abs/2209.14249); Devroye, 2009)",
        ),
        ("{cite}`devroye2009`", "(Devroye, 2009)"),
        ("`{cite:t}` and `` {cite}`x` ``",) * 2,
    ],
)
def test_citations_are_readable_in_notebooks_and_unknown_ones_refused(myst, markdown):
    convert = plain_markdown.Converter({}, frozenset()).cell
    assert convert(myst) == markdown
    with pytest.raises(ValueError, match="references.bib: \\['nobody1900'\\]"):
        convert("{cite:t}`ratcliff2008,nobody1900`")


# --- glossary ---------------------------------------------------------------------------------


def test_glossary_is_readable_in_notebooks():
    entries = "score\n  Gradient, see {term}`bridge`.\n\nbridge\n  A factor\n  {math}`d`."
    shown = plain_markdown.Converter({}, frozenset()).cell(f"```{{glossary}}\n{entries}\n```")
    assert shown == "**score**: Gradient, see bridge.\n\n**bridge**: A factor\n  $d$."


# --- the library --------------------------------------------------------------------------------


def test_every_public_name_is_described_once():
    entries = re.findall(r"^\.\. auto(?:function|class|data):: eamlab\.(\S+)", page("api"), re.M)
    names = {entry.rpartition(".")[2] for entry in entries}
    assert sorted(set(el.__all__) - names) == []
    assert len(names) == len(entries)


# --- exercises and pictures --------------------------------------------------------------------


def test_index_of_exercises_leads_to_every_exercise():
    text = "\n".join(path.read_text(encoding="utf-8") for path in chapters())
    labels = set(re.findall(r"^:label: (ex-\S+)$", text, re.M))
    table = book.exercises.table()
    assert {f"ex-{id.replace('.', '-')}" for id in table.index} <= labels
    kinds = re.search(r"HAND_IN = (\{.*?\n\})", page("exercise_index"), re.S)
    assert set(table["answer"]) <= set(ast.literal_eval(kinds[1]))


def test_pictures_are_those_that_the_script_draws(script, tmp_path):
    drawer = script("draw_logo")
    assert drawer.stale() == [], "run scripts/draw_logo.py"
    assert drawer.stale(tmp_path) == sorted(drawer.vectors())
