"""What tests of several modules share."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from eamlab.model.eam import EAM
from eamlab.model.model import GroupPrior, Model

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


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
