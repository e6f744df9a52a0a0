"""Copy JavaScript from published npm packages into the repository: the book's and the tests'.

The rendered book must work without a network, so what its pages load is kept in
``book/static/vendor``; what only the browser tests load is in ``tests/browser/vendor``.
``vendored.json`` beside the files says where each came from: package, version, license, path in
the package, size and SHA-256. To move to another version, change ``PACKAGES`` or
``TEST_PACKAGES`` and run this script with npm installed; ``--check`` compares the files with their
record and needs neither npm nor a network.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "book" / "static" / "vendor"
TEST_VENDOR = ROOT / "tests" / "browser" / "vendor"
RECORD = "vendored.json"


@dataclass(frozen=True)
class Package:
    """A published package, and which of its files are needed here."""

    name: str
    version: str
    files: tuple[str, ...]  # as they are named inside the package
    why: str


# Not script, Fraktur, sans-serif and typewriter letters, which no formula of the book has.
FACES = (
    "AMS-Regular Caligraphic-Regular Main-Bold Main-Italic Main-Regular Math-BoldItalic "
    "Math-Italic Size1-Regular Size2-Regular Size3-Regular Size4-Regular"
).split()

PACKAGES = (
    Package(
        name="katex",
        version="0.19.1",
        files=(
            "dist/katex.min.js",
            "dist/katex.min.css",
            *(f"dist/fonts/KaTeX_{face}.woff2" for face in FACES),
            "LICENSE",
        ),
        why="typesets formulas; a sixth of the size of MathJax, and it breaks long ones",
    ),
    Package(
        name="qrcode-svg",
        version="1.1.0",
        files=("dist/qrcode.min.js", "LICENSE"),
        why="shows a laptop's answer to the class as a QR code; on the lab page only",
    ),
)
TEST_PACKAGES = (
    Package(
        name="axe-core",
        version="4.14.1",
        files=("axe.min.js", "LICENSE", "LICENSE-3RD-PARTY.txt"),
        why="checks the accessibility of rendered pages; part of the tests, not of the book",
    ),
)
FOLDERS = {VENDOR: PACKAGES, TEST_VENDOR: TEST_PACKAGES}


def describe(content: bytes, source: str) -> dict[str, str | int]:
    digest = hashlib.sha256(content).hexdigest()
    return {"from": source, "bytes": len(content), "sha256": digest}


def fetch(package: Package, folder: Path) -> Path:
    """The package as one archive in ``folder``, from the registry that npm is set up for."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is needed to fetch the packages and was not found; install Node.js.")
    # npm checks the archive against the registry's own integrity hash before it writes it.
    command = [npm, "pack", f"{package.name}@{package.version}", "--silent"]
    result = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(f"npm could not fetch {package.name} {package.version}: see its message above.")
    return folder / result.stdout.split()[-1]


def read_members(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Contents of the named files; nothing else of the archive reaches the disk."""
    with tarfile.open(archive) as packed:
        inside = {member.name.partition("/")[2]: member for member in packed if member.isfile()}
        missing = [name for name in names if name not in inside]
        if missing:
            sys.exit(f"{archive.name} has no {', '.join(missing)}; correct the list of packages.")
        return {name: packed.extractfile(inside[name]).read() for name in names}


def same_version_must_be_same(package: Package, files: dict, before: dict) -> None:
    """Stop when a version that was vendored once now comes with other contents."""
    if before.get("version") == package.version:
        for name in files.keys() & before["files"].keys():
            if files[name]["sha256"] != before["files"][name]["sha256"]:
                sys.exit(f"{package.name} {package.version}: {name} is not what it was; look why.")


def vendor(package: Package, before: dict, vendored: Path = VENDOR) -> dict:
    """Write the package's files; return their record. ``before`` is the record of the last time."""
    with tempfile.TemporaryDirectory() as folder:
        archive = fetch(package, Path(folder))
        contents = read_members(archive, (*package.files, "package.json"))
    license_name = json.loads(contents.pop("package.json"))["license"]
    files = {Path(name).name: describe(content, name) for name, content in contents.items()}
    same_version_must_be_same(package, files, before)
    target = vendored / package.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name, content in contents.items():
        (target / Path(name).name).write_bytes(content)
    said = {"version": package.version, "license": license_name, "why": package.why}
    return said | {"files": files}


def read_record(vendored: Path) -> dict:
    record = vendored / RECORD
    return json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}


def faults(vendored: Path = VENDOR, packages: tuple[Package, ...] = PACKAGES) -> list[str]:
    """What differs between the files and their record; empty when all is well."""
    record = read_record(vendored)
    recorded = {
        f"{package}/{name}": file["sha256"]
        for package, entry in record.items()
        for name, file in entry["files"].items()
    }
    present = {
        path.relative_to(vendored).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in vendored.rglob("*")
        if path.is_file() and path.name != RECORD
    }
    found = [f"{name}: not in {RECORD}" for name in sorted(present.keys() - recorded.keys())]
    found += [f"{name}: missing" for name in sorted(recorded.keys() - present.keys())]
    found += [
        f"{name}: not the recorded file"
        for name in sorted(present.keys() & recorded.keys())
        if present[name] != recorded[name]
    ]
    found += [
        f"{package.name}: {RECORD} has another version than this script"
        for package in packages
        if record.get(package.name, {}).get("version") != package.version
    ]
    return found


def vendor_all(vendored: Path, packages: tuple[Package, ...]) -> None:
    """Write every package of a folder, and the record of them."""
    before = read_record(vendored)
    entries = {
        package.name: vendor(package, before.get(package.name, {}), vendored)
        for package in packages
    }
    (vendored / RECORD).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare files and record")
    if not parser.parse_args().check:
        for vendored, packages in FOLDERS.items():
            vendor_all(vendored, packages)
    found = [fault for folder, packages in FOLDERS.items() for fault in faults(folder, packages)]
    print("\n".join(found) or f"Vendored files match {RECORD}.")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
