"""The files around the code agree with each other and with what the README promises."""

import os
import re
import shutil
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
LARGEST_WHEEL = 3 * 1024**2
PACKAGES = {"eamlab": ROOT, "eamlab_book": ROOT / "src" / "eamlab_book"}


def settings(package: str) -> dict:
    return tomllib.loads((PACKAGES[package] / "pyproject.toml").read_text(encoding="utf-8"))


def pins(lines: list[str]) -> dict[str, str]:
    """Canonical name and version of each exact pin; anything else is an error."""
    pairs = (re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s=]+)", line).groups() for line in lines)
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return pins([line for line in lines if line and not line.startswith("#")])


@pytest.fixture
def needed(script):
    """``needed("arviz")``: what the library with these extras and the whole book ask for."""
    lock = script("lock")

    def requirements(*extras: str) -> list[Requirement]:
        lines = lock.requirements(lock.LIBRARY, *extras) + lock.requirements(lock.BOOK, "*")
        return [Requirement(line) for line in lines]

    return requirements


def test_environment_installs_the_tested_versions_of_what_the_book_needs(constraints, needed):
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    environment = yaml.safe_load(text)["dependencies"]
    hosted = pins(next(entry["pip"] for entry in environment if isinstance(entry, dict)))
    assert hosted.items() <= constraints.items()
    on_binder = {"platform_machine": "x86_64", "sys_platform": "linux"}
    wanted = [r for r in needed("arviz") if not r.marker or r.marker.evaluate(on_binder)]
    assert {canonicalize_name(r.name) for r in wanted} <= hosted.keys()
    python = (ROOT / ".python-version").read_text(encoding="utf-8").strip()
    assert f"python={python}" in environment
    for package in PACKAGES:
        allowed = settings(package)["project"]["requires-python"]
        assert Version(python) in Requirement(f"python{allowed}").specifier


def test_constraints_satisfy_every_requirement(constraints, needed):
    for requirement in needed("*"):
        version = constraints[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_every_document_names_the_same_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == eamlab.__version__
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\]", text, flags=re.MULTILINE)
    released = [Version(h) for h in headings if h != "Unreleased"]
    assert headings[0] == "Unreleased"
    assert released == sorted(released, reverse=True)
    assert all(version <= Version(eamlab.__version__) for version in released)


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", ".ci/run", "Makefile", ".github/workflows/*.yml"]
)
def test_commands_of_the_documents_exist(document, commands):
    text = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob(document))
    named = set(re.findall(r"(?:^ *|`|run: )make ([a-z-]+)", text, flags=re.MULTILINE))
    assert named <= commands
    assert {"book", "test"} <= named or document == "Makefile" or "workflows" in document
    files = re.findall(r"(?<![\w/])(?:scripts|\.ci|\.github)/[\w/.-]+\.(?:py|sh)", text)
    assert (files or document == ".ci/run") and all((ROOT / name).exists() for name in files)


# --- imports -------------------------------------------------------------------------------------

BOOKS_OWN = tuple("IPython anywidget docutils eamlab_book ipywidgets matplotlib sphinx".split())
BLOCKED = f"""
import sys

class Blocked:
    def find_spec(name, *_):
        if name.partition(".")[0] in {BOOKS_OWN}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked)
import eamlab as el
el.simulate(el.EAM, 2, n_trials=3, seed=1)
assert el.exact and el.exact_people and el.read_trials and el.Draws and el.predict
"""


def run(*command, cwd=None, **changes) -> subprocess.CompletedProcess:
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    options = {"capture_output": True, "text": True, "check": False, "cwd": cwd}
    return subprocess.run(command, **options, env=environment | changes)


def test_the_library_needs_nothing_that_only_the_book_needs(python):
    python(BLOCKED)
    # The networks are not started here: BayesFlow is slow, and needs matplotlib itself.
    wanted = re.compile(rf"^\s*(?:from|import) (?:{'|'.join(BOOKS_OWN)})\b", re.MULTILINE)
    modules = (ROOT / "src" / "eamlab").rglob("*.py")
    assert [path for path in modules if wanted.search(path.read_text(encoding="utf-8"))] == []
    asked = {Requirement(line).name for line in settings("eamlab")["project"]["dependencies"]}
    assert not asked & {*BOOKS_OWN, "eamlab-book"}


def test_no_large_file_is_tracked():
    listed = run("git", "ls-files", "-z", cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert [str(f) for f in files if f.is_file() and f.stat().st_size > LARGEST_FILE] == []


# --- the wheels, installed by themselves ---------------------------------------------------------


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Folder of both wheels, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheels")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    source = shutil.copytree(ROOT / "src", folder / "source" / "src", ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    how = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    done = run(sys.executable, "-m", "pip", "wheel", *how, source.parent, source / "eamlab_book")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def bare(wheels, tmp_path_factory):
    """``bare("-c", code)`` in an environment of the wheels and of this one's other packages."""
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    python = folder / "env" / "bin" / "python"
    into = ("--python", python, "install", "--no-deps", "--no-index")
    done = run(sys.executable, "-m", "pip", *into, *wheels.glob("*.whl"))
    assert done.returncode == 0, done.stderr
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    others = {str(Path(sys.modules[m].__file__).parents[1]) for m in ("yaml", "pytest")}
    (packages / "others.pth").write_text("\n".join(others), encoding="utf-8")
    shutil.rmtree(wheels / "source")

    def in_it(*arguments):
        return run(python, *arguments, cwd=folder, PYTHONPATH="")

    in_it.packages = packages
    return in_it


@pytest.mark.slow
def test_wheels_have_the_files_of_their_packages_and_work(bare, wheels):
    def files(folder):
        found = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        names = {str(p.relative_to(folder)) for p in found}
        return {n for n in names if n != "pyproject.toml" and ".egg-info" not in n}

    for package in PACKAGES:
        assert files(bare.packages / package) == files(ROOT / "src" / package)
    library, _ = (next(wheels.glob(f"{name}-{eamlab.__version__}-*.whl")) for name in PACKAGES)
    assert library.stat().st_size < LARGEST_WHEEL
    told = bare("-m", "eamlab", "info")
    assert told.returncode == 0, told.stderr
    assert str(bare.packages) in told.stdout
    done = bare(
        "-c",
        "import eamlab as el, eamlab_book as book\n"
        "study = el.simulate(el.EAM, 10, seed=1)\n"
        "draws = el.compose(el.load_pretrained('global'), study, num_samples=20, seed=1)\n"
        "el.people(el.load_pretrained('local'), draws, study, seed=1)\n"
        "el.load_pretrained('global-pooled', folder=book.WEIGHTS)\n"
        "print(el.__file__, draws['mu_nu'].shape)",
    )
    assert done.returncode == 0, done.stderr
    file, shape = done.stdout.split(maxsplit=1)
    assert Path(file).is_relative_to(bare.packages) and shape.strip() == "(20,)"
