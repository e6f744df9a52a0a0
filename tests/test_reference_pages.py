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
    assert [
        (name, key) for name, key in sorted(cited) if key not in plain_markdown.references()
    ] == []


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
def test_citations_are_readable_in_notebooks(myst, markdown):
    assert plain_markdown.Converter({}, frozenset()).cell(myst) == markdown


def test_an_unknown_citation_is_refused():
    with pytest.raises(ValueError, match="references.bib: \\['nobody1900'\\]"):
        plain_markdown.Converter({}, frozenset()).cell("{cite:t}`ratcliff2008,nobody1900`")


# --- glossary ---------------------------------------------------------------------------------


def test_tables_of_symbols_are_made_from_the_library():
    code = re.findall(r"```\{code-cell\} ipython3\n---\n.*?\n---\n(.*?)```", page("glossary"), re.S)
    space: dict = {}
    tables = []
    for cell in code:
        *body, last = ast.parse(cell).body
        exec(compile(ast.Module(body, []), "cell", "exec"), space)
        tables.append(eval(ast.unparse(last), space).data)
    assert len(tables) == 3
    for parameter in el.EAM.prior.parameters:
        row = f"| ${parameter.symbol}$ | `{parameter.name}` | $N({parameter.mean:g}, "
        assert row in tables[0]
    assert all(f"| `{name}` |" in tables[1] for name in (*el.EAM.person_names, "beta"))
    assert "`mini_batch_size` of `el.compose`" in tables[2]


def test_glossary_is_readable_in_notebooks():
    entries = "score\n  Gradient, see {term}`bridge`.\n\nbridge\n  A factor\n  {math}`d`."
    shown = plain_markdown.Converter({}, frozenset()).cell(f"```{{glossary}}\n{entries}\n```")
    assert shown == "**score**: Gradient, see bridge.\n\n**bridge**: A factor\n  $d$."


# --- the library --------------------------------------------------------------------------------


def documented() -> set[str]:
    return set(re.findall(r"^\.\. auto(?:function|class|data):: eamlab\.(\S+)", page("api"), re.M))


def test_every_public_name_is_described_once():
    entries = documented()
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
