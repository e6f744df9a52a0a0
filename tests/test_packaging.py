"""The files around the code agree with each other and with what the README promises."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import eamlab

ROOT = Path(__file__).resolve().parents[1]
LARGEST_FILE = 10 * 1024**2  # bytes
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lines: list[str]) -> dict[str, str]:
    """Canonical name and version of each exact pin; anything else is an error."""
    pairs = (re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s=]+)", line).groups() for line in lines)
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return pins([line for line in lines if line and not line.startswith("#")])


@pytest.fixture(scope="module")
def environment() -> list:
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def requirements(*extras: str) -> list[Requirement]:
    optional = project()["optional-dependencies"]
    lines = project()["dependencies"] + [line for extra in extras for line in optional[extra]]
    return [Requirement(line) for line in lines]


def test_environment_installs_the_tested_versions(environment, constraints):
    hosted = pins(next(entry["pip"] for entry in environment if isinstance(entry, dict)))
    assert hosted.items() <= constraints.items()


def test_environment_has_what_the_book_needs_and_the_same_python(environment):
    hosted = pins(next(entry["pip"] for entry in environment if isinstance(entry, dict)))
    on_binder = {"platform_machine": "x86_64", "sys_platform": "linux"}
    needed = [r for r in requirements("book") if not r.marker or r.marker.evaluate(on_binder)]
    assert {canonicalize_name(r.name) for r in needed} <= hosted.keys()
    assert f"python={(ROOT / '.python-version').read_text().strip()}" in environment


@pytest.mark.parametrize("extra", ["book", "test", "bench", "dev"])
def test_constraints_satisfy_every_requirement(extra, constraints):
    for requirement in requirements(extra):
        version = constraints[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_python_version_is_allowed():
    wanted = (ROOT / ".python-version").read_text().strip()
    assert Version(wanted) in Requirement(f"python{project()['requires-python']}").specifier


def test_citation_has_the_package_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == eamlab.__version__
    assert citation["license"] == project()["license"]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_commands_of_the_documents_exist(document):
    text = (ROOT / document).read_text()
    commands = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE))
    assert {"book", "test"} <= commands
    assert commands <= TARGETS


def test_ci_runs_the_commands_of_the_readme():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert {"make lint", "make test", "make book"} <= set(lines)
    assert "set -euo pipefail" in lines
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_scripts_of_the_makefile_exist():
    named = set(re.findall(r"scripts/\w+\.(?:py|sh)", MAKEFILE))
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_import_does_not_start_tensorflow():
    code = (
        "import sys, eamlab; dir(eamlab); "
        "print(sorted({'tensorflow', 'keras', 'bayesflow'} & set(sys.modules)))"
    )
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert run.stdout.strip() == "[]"


def test_package_is_typed():
    assert (Path(eamlab.__file__).parent / "py.typed").exists()


def test_no_large_file_is_tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    large = [str(f) for f in files if f.is_file() and f.stat().st_size > LARGEST_FILE]
    assert not large
