"""Look for known vulnerabilities of what is installed, and list the licenses of what is pinned.

    python scripts/audit.py [--offline | --strict]

Writes ``LICENSES.md`` from the packages' own metadata. Ends with 1 if a vulnerability is known, if
a package that the library needs at run time may be used under the GPL or AGPL only, or if a pinned
package is not installed here. Where the database of vulnerabilities cannot be reached, says so, and
ends with 1 for that only if it was called with ``--strict``.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from lock import LIBRARY, closure, requirements
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
HEAD = """\
# Licenses of the dependencies

Of every package pinned in `constraints.txt`, as its own metadata states it. Packages that the
library needs at run time are marked. Written by `make audit`.

Real data have licenses of their own: `src/eamlab_book/data/cavanagh2011.md`.

| package | license | run time |
|---|---|---|
"""
ELSEWHERE = {"tensorflow", "tensorflow-cpu"}
"""One release under two names, of which a machine has one."""

# Some packages state no more than "BSD" or put the whole text there.
_LONGEST = 60
_CLASSIFIER = "License :: OSI Approved :: "


class Package(NamedTuple):
    name: str
    license: str
    runtime: bool


def pinned() -> set[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(x.split("==")[0]) for x in lines if x and not x.startswith("#")}


def runtime() -> set[str]:
    return set(closure(requirements(LIBRARY)))


def license_of(facts: metadata.PackageMetadata) -> str:
    """Return the license of a package: its expression, its classifiers, or its own words."""
    if expression := facts.get("License-Expression"):
        return expression
    classifiers = facts.get_all("Classifier") or []
    named = [c.removeprefix(_CLASSIFIER) for c in classifiers if c.startswith(_CLASSIFIER)]
    if named:
        return ", ".join(sorted(named))
    text = facts.get("License") or license_file(facts)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "licen" in line.lower()] or lines
    return telling[0][:_LONGEST] if telling else "not stated"


def license_file(facts: metadata.PackageMetadata) -> str:
    """Return the text of the first license file that a package names."""
    distribution = metadata.distribution(facts["Name"])
    names = facts.get_all("License-File") or []
    texts = (distribution.read_text(f"{folder}{n}") for n in names for folder in ("licenses/", ""))
    return next((text for text in texts if text), "")


def copyleft_only(text: str) -> bool:
    """Whether a license leaves no choice but the GPL or AGPL; the LGPL is another matter."""
    choices = re.split(r"\bOR\b|,", text)
    strong = re.compile(r"\bA?GPL|\bGNU (Affero )?General Public", re.IGNORECASE)
    # A linking exception, such as that of the compiler's libraries in NumPy's and SciPy's wheels,
    # allows any use; and parts joined by "AND" count by the strictest.
    return all(
        any(strong.search(part) and " WITH " not in part for part in re.split(r"\bAND\b", choice))
        for choice in choices
    )


def packages() -> tuple[list[Package], list[str]]:
    """Return the pinned packages with their licenses, and the names of those not installed."""
    needed, found, missing = runtime(), [], []
    for name in sorted(pinned()):
        try:
            facts = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            if name not in ELSEWHERE:
                missing.append(name)
            continue
        found.append(Package(name, license_of(facts), name in needed))
    return found, missing


def write_licenses(found: Iterable[Package]) -> Path:
    rows = [f"| {p.name} | {p.license} | {'yes' * p.runtime} |" for p in found]
    file = ROOT / "LICENSES.md"
    file.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    return file


def pip_audit() -> list[dict[str, Any]]:
    """Return what pip-audit says of each pinned package, or nothing where it cannot be asked."""
    command = [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "constraints.txt")),
        *("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
    ]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        return json.loads(run.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return []


def vulnerabilities(listed: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return known vulnerabilities, and the packages of which it could not be found out."""
    known = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in "
        f"{', '.join(found['fix_versions']) or 'no version yet'}"
        for package in listed
        for found in package.get("vulns", [])
    ]
    # Where its database cannot be reached pip-audit skips packages, and calls the rest clean.
    return known, [package["name"] for package in listed if "skip_reason" in package]


def report(listed: list[dict[str, Any]], *, strict: bool = False) -> bool:
    """Print what is known; whether that is nothing bad, and if strict, all that was asked for."""
    known, skipped = vulnerabilities(listed)
    for line in known:
        print(line)
    if len(skipped) == len(listed):
        print(
            "The versions were not compared with known vulnerabilities: pip-audit is not installed "
            "or its database cannot be reached; `pip install pip-audit`, or try again elsewhere."
        )
    elif skipped:
        print(f"not compared with known vulnerabilities: {', '.join(skipped)}")
    if not known and len(skipped) < len(listed):
        print(f"No known vulnerability in the other {len(listed) - len(skipped)} packages.")
    return not known and not (strict and (skipped or not listed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--offline", action="store_true", help="licenses only")
    parser.add_argument("--strict", action="store_true", help="fail if the database is unreachable")
    options = parser.parse_args()
    found, missing = packages()
    if missing:
        print(f"pinned, but not installed here: {', '.join(missing)}; use `make audit`.")
    strict = [p.name for p in found if p.runtime and copyleft_only(p.license)]
    if strict:
        print(f"needed at run time, and under the GPL or AGPL only: {', '.join(strict)}")
    file = write_licenses(found)
    print(f"{len(found)} packages, {sum(p.runtime for p in found)} at run time: {file}")
    clean = options.offline or report(pip_audit(), strict=options.strict)
    return 0 if clean and not strict and not missing else 1


if __name__ == "__main__":
    sys.exit(main())
