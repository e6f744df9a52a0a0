"""Text files are read as UTF-8, whatever encoding the machine's locale has."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
START = """
import locale, warnings
import eamlab as el
import eamlab_book as book

assert locale.getencoding() != "utf-8"
warnings.filterwarnings("error", category=EncodingWarning, module="eamlab")
"""
WIDGETS = """
for widget in (
    book.explorer, book.film, book.decision_playground, book.population_playground,
    book.toy_playground,
):
    widget()
"""
DATA = """
from eamlab_book import studies as demo
from eamlab_book import report_card as grades
from eamlab.__main__ import main

demo.load_demo(10)
demo.load_studies()
demo.exact_of(10)
assert len(grades.grade_table())
assert main(["info"]) == 0
"""


def test_every_kind_of_file_is_read_in_another_locale(python):
    locale = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "POSIX"}
    python(START + WIDGETS + DATA, options=["-X", "warn_default_encoding"], **locale)


def test_no_call_leaves_the_encoding_open():
    """Ruff's PLW1514 sees `open`, and methods of what it knows to be a path."""
    files = [
        file for folder in ("src", "scripts", "tests") for file in (ROOT / folder).rglob("*.py")
    ]
    calls = [
        (file, node)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"read_text", "write_text"}
        and ast.unparse(node.func.value) != "distribution"  # of importlib.metadata, which has none
    ]
    assert len(calls) > 100
    for file, call in calls:
        assert "encoding" in {keyword.arg for keyword in call.keywords}, f"{file}:{call.lineno}"
