"""The files around the code agree with each other and with what the README promises."""

import glob
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


IMPORT = """
import sys, time
start = time.process_time()
import eamlab
seconds = time.process_time() - start
dir(eamlab)
heavy = {"tensorflow", "keras", "bayesflow", "ipywidgets", "anywidget", "matplotlib", "numba"}
print(seconds, *sorted(heavy & set(sys.modules)))
"""


def test_import_is_quick_and_starts_nothing_heavy():
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    seconds = []
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-c", IMPORT],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        first, *heavy = run.stdout.split()
        assert heavy == []
        seconds.append(float(first))
    # Processor time, of which a busy machine takes little more: 0.01 s is usual.
    assert min(seconds) <= 1.0


def test_package_is_typed():
    assert (Path(eamlab.__file__).parent / "py.typed").exists()


def test_every_data_file_is_in_the_wheel():
    package = ROOT / "src" / "eamlab"
    everything = (p for p in package.rglob("*") if "__pycache__" not in p.parts)
    files = {p for p in everything if p.is_file() and p.suffix != ".py"}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["eamlab"]
    found = {
        package / name
        for pattern in patterns
        for name in glob.glob(pattern, root_dir=package, recursive=True)
    }
    assert len(files) > 10
    assert files - found == set()


def test_every_folder_of_modules_is_a_package():
    modules = list((ROOT / "src").rglob("*.py"))
    assert {str(p.parent) for p in modules if not (p.parent / "__init__.py").exists()} == set()


def test_changelog_is_about_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[([^\]]+)\]", text, flags=re.MULTILINE)
    released = [Version(h) for h in headings if h != "Unreleased"]
    assert headings[0] == "Unreleased"
    assert released == sorted(released, reverse=True)
    assert all(version <= Version(eamlab.__version__) for version in released)
    kinds = set(re.findall(r"^### (.+)$", text, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_version_stands_in_one_place():
    assert project()["dynamic"] == ["version"]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["dynamic"]["version"] == {"attr": "eamlab.__version__"}


def test_no_large_file_is_tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    large = [str(f) for f in files if f.is_file() and f.stat().st_size > LARGEST_FILE]
    assert not large


# --- the wheel, installed by itself --------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Run code in an environment that has the wheel, and this one's other packages."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", source / "src", ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run(build, check=True, capture_output=True, cwd=folder)
    (wheel,) = folder.glob("eamlab-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    install = [*pip, "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True, cwd=folder)
    shutil.rmtree(source)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    others = dict.fromkeys(
        str(Path(sys.modules[m].__file__).parents[1]) for m in ("yaml", "pytest")
    )
    (packages / "others.pth").write_text("\n".join(others))

    def run(*arguments):
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [python, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env=environment | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    run.folder = packages
    return run


@pytest.mark.slow
def test_wheel_has_the_files_of_the_package(bare):
    def files(folder):
        found = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return {str(p.relative_to(folder)) for p in found}

    assert files(bare.folder / "eamlab") == files(ROOT / "src" / "eamlab")


@pytest.mark.slow
def test_wheel_imports_quickly(bare):
    done = bare("-c", IMPORT + "print(eamlab.__file__)")
    assert done.returncode == 0, done.stderr
    (first, *heavy), file = (line.split() for line in done.stdout.splitlines())
    assert heavy == []
    assert Path(file[0]).is_relative_to(bare.folder)
    assert float(first) <= 1.0


@pytest.mark.slow
def test_wheel_has_explorer_and_command_line(bare):
    done = bare("-c", "import eamlab as el; print(type(el.explorer()).__name__)")
    assert done.returncode == 0, done.stderr
    done = bare("-m", "eamlab", "info")
    assert done.returncode == 0, done.stderr
    assert str(bare.folder) in done.stdout
    assert "global-pooled" in done.stdout


@pytest.mark.slow
def test_wheel_has_its_weights(bare):
    done = bare(
        "-c",
        "import eamlab as el\n"
        "for name in ('global', 'global-pooled', 'local'): workflow = el.load_pretrained(name)\n"
        "data = el.simulate_studies(1, 10, 30, seed=1, scheme='exact')['sim_data']\n"
        "draws = el.compose(el.load_pretrained('global'), data, num_samples=20, seed=1)\n"
        "print(draws['mu_nu'].shape)",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "(1, 20, 1)"
