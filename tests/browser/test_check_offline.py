"""The checker of rendered pages knows every way to fetch something, and lets links be."""

import subprocess
import sys
from pathlib import Path

import pytest
from remote_kinds import ALONE, FAR, FETCHES, HARMLESS, page

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_offline.py"


@pytest.fixture
def checker(script):
    return script("check_offline")


def run(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True
    )


@pytest.mark.parametrize("kind", [*FETCHES, *ALONE])
def test_every_kind_is_found(checker, kind):
    snippet = (FETCHES | ALONE)[kind]
    found = checker.in_page(page(f"\n\n{snippet}"))
    assert [resource.line for resource in found] == [3]
    assert "far.invalid" in found[0].address.lower()


def test_links_comments_and_text_are_not_resources(checker):
    assert checker.in_page(page(HARMLESS)) == []


def test_style_sheets_pictures_and_modules_are_read_too(checker, tmp_path):
    files = {
        "a.css": f"p {{ color: red }}\n@import url('{FAR}/a.css');",
        "b.svg": f"<svg>\n<image href='{FAR}/b.png'/></svg>",
        "sub/c.js": f"\nexport * from '{FAR}/c.js';",
    }
    (tmp_path / "sub").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = checker.remote_resources(tmp_path)
    assert {str(path): [r.line for r in resources] for path, resources in found.items()} == {
        name: [2] for name in files
    }


def test_command_names_page_line_and_address(tmp_path):
    (tmp_path / "bad.html").write_text(page(FETCHES["script"]))
    (tmp_path / "good.html").write_text(page(HARMLESS))
    result = run(tmp_path)
    assert result.returncode == 1
    assert f"bad.html:1: <script src> {FAR}/script.js" in result.stdout
    assert "good.html" not in result.stdout


def test_command_passes_a_clean_book_and_refuses_an_empty_folder(tmp_path):
    refused = run(tmp_path)
    assert refused.returncode == 2 and "build the book first" in refused.stderr
    (tmp_path / "good.html").write_text(page(HARMLESS))
    passed = run(tmp_path)
    assert passed.returncode == 0 and "0 remote resources" in passed.stdout
