"""What tests of several modules share."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import eamlab as el
from eamlab.model.eam import EAM
from eamlab.model.model import GroupPrior, Model

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"


@pytest.fixture(scope="session")
def python() -> Callable[..., subprocess.CompletedProcess]:
    """``python(code, NAME=value)``: run code in a new process; the test fails where it does.

    What is None is not in its environment; ``before`` stands before the interpreter and
    ``options`` after it.
    """

    def run(code, *, before=(), options=(), path=(), check=True, **changes):
        known = os.environ.get("PYTHONPATH")
        folders = filter(None, [*map(str, path), str(ROOT / "src"), known])
        environ = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        environ |= {"PYTHONPATH": os.pathsep.join(folders), **changes}
        done = subprocess.run(
            [*before, sys.executable, *options, "-c", code],
            env={name: value for name, value in environ.items() if value is not None},
            capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def commands() -> set[str]:
    """The commands of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))


@pytest.fixture(scope="session")
def workflow():
    """The shipped global network, which no test changes."""
    return el.load_pretrained("global")


@pytest.fixture(scope="session")
def local():
    """The shipped local network, which no test changes."""
    return el.load_pretrained("local")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """``script("name")``: scripts/name.py as a module."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    yield load


@pytest.fixture
def wider() -> Model:
    """The tutorial's model with a wider prior of one parameter."""
    first, *others = EAM.prior.parameters
    prior = GroupPrior((replace(first, sd=2 * first.sd), *others))
    return replace(EAM, prior=prior)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """A file of tests stays with one process, which makes what they share once; not the chapters.

    They share nothing, and are half of the time.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFileAndChapter(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            chapter = nodeid.startswith("tests/book/")
            return nodeid if chapter else super()._split_scope(nodeid)

    return ByFileAndChapter(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """After the chapters, list how long each took and how much memory its kernel needed."""
    rows = [
        dict(report.user_properties)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if dict(report.user_properties).get("chapter")
    ]
    if rows:
        terminalreporter.section("chapters")
    for row in rows:
        line = f"{row['chapter']:<28}{row['seconds']:7.1f} s{row['peak_mb']:8.0f} MB"
        terminalreporter.write_line(line)
