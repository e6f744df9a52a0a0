"""Vendored files are the recorded ones, carry their license, and are what the book loads."""

import json
import shutil
from pathlib import Path

import pytest

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
    assert vendor_js.faults(vendor_js.TEST_VENDOR, vendor_js.TEST_PACKAGES) == []


def test_changed_missing_and_unknown_files_are_named(vendor_js, copy):
    (copy / "katex" / "katex.min.js").write_text("changed", encoding="utf-8")
    (copy / "katex" / "LICENSE").unlink()
    (copy / "katex" / "new.js").write_text("new", encoding="utf-8")
    named = [fault.partition(":")[0] for fault in vendor_js.faults(copy)]
    assert named == ["katex/new.js", "katex/LICENSE", "katex/katex.min.js"]


def test_a_version_that_changed_its_contents_stops_the_script(vendor_js):
    package = vendor_js.PACKAGES[0]
    old, new = ({"a.js": vendor_js.describe(text, "a.js")} for text in (b"old", b"new"))
    before = {"version": package.version, "files": old}
    vendor_js.same_version_must_be_same(package, old, before)
    with pytest.raises(SystemExit, match="not what it was"):
        vendor_js.same_version_must_be_same(package, new, before)


def test_every_package_has_its_license_beside_it(vendor_js):
    known = {"Apache-2.0", "BSD-3-Clause", "MIT"}
    for folder, licenses in {VENDOR: known, vendor_js.TEST_VENDOR: known | {"MPL-2.0"}}.items():
        record = json.loads((folder / "vendored.json").read_text(encoding="utf-8"))
        assert record
        for name, entry in record.items():
            assert entry["license"] in licenses
            assert (folder / name / "LICENSE").stat().st_size > 500
