"""Bibliography, glossary, library reference, index of exercises, and the drawn pictures."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
import yaml

import eamlab as el

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
CITATION = re.compile(r"\{cite(?::[pt])?\}`([^`]+)`")
LINK = re.compile(r"\]\(([\w]+)\.md\)")
REFERENCE_PAGES = ("api", "bibliography", "exercise_index", "glossary")


def page(name: str) -> str:
    return (BOOK / f"{name}.md").read_text(encoding="utf-8")


def sphinx_settings() -> dict:
    return yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]


@pytest.fixture
def plain(script):
    return script("plain_markdown")


# --- bibliography ----------------------------------------------------------------------------


def test_every_citation_is_in_the_bibliography(plain):
    cited = {
        (file.name, key.strip())
        for file in BOOK.glob("*.md")
        for keys in CITATION.findall(file.read_text(encoding="utf-8"))
        for key in keys.split(",")
    }
    assert len(cited) > 30
    assert [(name, key) for name, key in sorted(cited) if key not in plain.references()] == []


def test_works_are_named_once_and_completely(plain):
    works = plain.references()
    assert len({(work.authors, work.year, key) for key, work in works.items()}) == len(works)
    addresses = [work.address for work in works.values() if work.address]
    assert len(set(addresses)) == len(addresses) > 20
    assert all(re.fullmatch(r"(19|20)\d\d", work.year) for work in works.values())
    dois = [a.removeprefix("https://doi.org/") for a in addresses if "doi.org" in a]
    assert all(re.fullmatch(r"10\.\d{4,}/\S+", doi) for doi in dois)
    numbers = [a.removeprefix("https://arxiv.org/abs/") for a in addresses if "arxiv.org" in a]
    assert all(re.fullmatch(r"\d{4}\.\d{5}", number) for number in numbers)


def test_works_that_docstrings_name_are_in_the_bibliography(plain):
    known = {(work.authors.split()[0], work.year) for work in plain.references().values()}
    others = r"(?:[A-Z][\w-]+,? )*(?:& [A-Z]\w+|et al\.)"
    named = re.compile(rf"([A-Z][\w-]+),? {others},? \(?(\d{{4}})")
    found = {
        match
        for file in (ROOT / "src" / "eamlab").rglob("*.py")
        for match in named.findall(file.read_text(encoding="utf-8"))
    }
    assert {("Navarro", "2009"), ("Song", "2021")} <= found
    assert found - known == set()


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
def test_citations_are_readable_in_notebooks(plain, myst, markdown):
    assert plain.Converter({}, frozenset()).cell(myst) == markdown


def test_an_unknown_citation_is_refused(plain):
    with pytest.raises(ValueError, match="references.bib: \\['nobody1900'\\]"):
        plain.Converter({}, frozenset()).cell("{cite:t}`ratcliff2008,nobody1900`")


# --- glossary ---------------------------------------------------------------------------------


def glossary_terms() -> dict[str, str]:
    body = page("glossary").split("```{glossary}\n")[1].split("\n```")[0]
    entries = [entry.partition("\n") for entry in body.split("\n\n")]
    return {term: definition for term, _, definition in entries}


def test_terms_are_in_order_and_lead_to_the_chapters_that_explain_them():
    terms = glossary_terms()
    assert len(terms) >= 25
    assert list(terms) == sorted(terms, key=str.lower)
    for term, definition in terms.items():
        chapters = LINK.findall(definition)
        assert chapters, f"{term!r} leads nowhere"
        assert all((BOOK / f"{chapter}.md").exists() for chapter in chapters)


def test_tables_of_symbols_are_made_from_the_library():
    code = re.findall(r"```\{code-cell\} ipython3\n---\n.*?\n---\n(.*?)```", page("glossary"), re.S)
    space: dict = {}
    tables = []
    for cell in code:
        *body, last = ast.parse(cell).body
        exec(compile(ast.Module(body, []), "cell", "exec"), space)
        tables.append(eval(ast.unparse(last), space).data)
    assert len(tables) == 3
    for parameter in el.GROUP_PRIOR.parameters:
        row = f"| ${parameter.symbol}$ | `{parameter.name}` | $N({parameter.mean:g}, "
        assert row in tables[0]
    assert all(f"| `{name}` |" in tables[1] for name in (*el.SUBJECT_NAMES, "beta"))
    assert "`mini_batch_size` of `el.compose`" in tables[2]


def test_glossary_is_readable_in_notebooks(plain):
    entries = "score\n  Gradient, see {term}`bridge`.\n\nbridge\n  A factor\n  {math}`d`."
    shown = plain.Converter({}, frozenset()).cell(f"```{{glossary}}\n{entries}\n```")
    assert shown == "**score**: Gradient, see bridge.\n\n**bridge**: A factor\n  $d$."


# --- the library --------------------------------------------------------------------------------


def documented() -> set[str]:
    return set(re.findall(r"^\.\. auto(?:function|class|data):: eamlab\.(\S+)", page("api"), re.M))


def test_every_public_name_is_described_once():
    entries = documented()
    names = {entry.rpartition(".")[2] for entry in entries}
    assert sorted(set(el.__all__) - names) == []
    assert len(names) == len(entries)


def test_described_names_exist_and_have_a_docstring():
    for entry in documented():
        module, _, name = entry.rpartition(".")
        owner = importlib.import_module(f"eamlab.{module}") if module else el
        assert inspect.getdoc(getattr(owner, name)), entry
        if not module:
            assert name in el.__all__, entry


# --- exercises and pictures --------------------------------------------------------------------


def test_index_of_exercises_leads_to_every_exercise():
    chapters = "\n".join(path.read_text() for path in BOOK.glob("0*.md"))
    labels = set(re.findall(r"^:label: (ex-\S+)$", chapters, re.M))
    table = el.exercises.table()
    assert {f"ex-{id.replace('.', '-')}" for id in table.index} <= labels
    kinds = re.search(r"HAND_IN = (\{.*?\n\})", page("exercise_index"), re.S)
    assert set(table["answer"]) <= set(ast.literal_eval(kinds[1]))


@pytest.mark.parametrize("name", REFERENCE_PAGES)
def test_links_of_reference_pages_lead_to_pages(name):
    assert [link for link in LINK.findall(page(name)) if not (BOOK / f"{link}.md").exists()] == []


def test_pictures_are_those_that_the_script_draws(script, tmp_path):
    drawer = script("draw_logo")
    assert drawer.stale() == [], "run scripts/draw_logo.py"
    assert drawer.stale(tmp_path) == sorted(drawer.vectors())


def test_preview_picture_has_the_size_that_networks_ask_for():
    image = pytest.importorskip("PIL.Image")
    file = BOOK / "static" / "preview.png"
    assert image.open(file).size == (1200, 630)
    assert file.stat().st_size < 200_000


def test_settings_name_pictures_and_works_that_exist():
    settings = sphinx_settings()
    logo = settings["html_theme_options"]["logo"]
    files = [settings["html_favicon"], *settings["bibtex_bibfiles"]]
    files += [f"book/static/{logo[kind]}" for kind in ("image_light", "image_dark")]
    assert [file for file in files if not (ROOT / file).exists()] == []
