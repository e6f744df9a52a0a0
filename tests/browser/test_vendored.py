"""Vendored files are the recorded ones, carry their license, and are what the book loads."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "book" / "static" / "vendor"


@pytest.fixture
def vendor_js(script):
    return script("vendor_js")


@pytest.fixture
def copy(tmp_path) -> Path:
    return shutil.copytree(VENDOR, tmp_path / "vendor")


def test_files_match_their_record(vendor_js):
    assert vendor_js.faults() == []


def test_changed_missing_and_unknown_files_are_named(vendor_js, copy):
    (copy / "katex" / "katex.min.js").write_text("changed", encoding="utf-8")
    (copy / "katex" / "LICENSE").unlink()
    (copy / "katex" / "new.js").write_text("new", encoding="utf-8")
    assert [fault.partition(":")[0] for fault in vendor_js.faults(copy)] == [
        "katex/new.js",
        "katex/LICENSE",
        "katex/katex.min.js",
    ]


def test_a_version_that_changed_its_contents_stops_the_script(vendor_js):
    package = vendor_js.PACKAGES[0]
    before = {"version": package.version, "files": {"a.js": vendor_js.describe(b"old", "a.js")}}
    vendor_js.same_version_must_be_same(
        package, {"a.js": vendor_js.describe(b"old", "a.js")}, before
    )
    with pytest.raises(SystemExit, match="not what it was"):
        vendor_js.same_version_must_be_same(
            package, {"a.js": vendor_js.describe(b"new", "a.js")}, before
        )


def test_every_package_has_its_license_beside_it():
    record = json.loads((VENDOR / "vendored.json").read_text(encoding="utf-8"))
    assert record
    for name, entry in record.items():
        assert entry["license"] in {"Apache-2.0", "BSD-3-Clause", "MIT"}
        assert (VENDOR / name / "LICENSE").stat().st_size > 500


def test_book_loads_no_widget_loader():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    assert config["nb_ipywidgets_js"] == {}
