"""What SECURITY.md says: nothing is evaluated or unpickled, and nothing phones home."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import eamlab as el
from eamlab.reading import read_trials

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
MODULES = sorted(SOURCE.rglob("*.py"))
SCRIPTS = sorted((SOURCE / "eamlab_book" / "widgets" / "js").glob("*.js"))

FORBIDDEN = re.compile(
    r"""^\s*(?:import|from)\s+(?:pickle|cPickle|_pickle|dill|cloudpickle|marshal|shelve)\b
    |^\s*(?:import|from)\s+(?:aiohttp|ftplib|http|httpx|requests|smtplib|socket|ssl|urllib)\b
    |^\s*(?:import|from)\s+(?:ctypes|multiprocessing|pty|subprocess)\b
    |(?<![\w.])(?:__import__|compile|eval|exec)\(|\bos\.(?:system|popen)\(
    |\bjoblib\.(?:load|dump)\(|\.(?:read_pickle|to_pickle|load_model)\(
    |\ballow_pickle\s*=\s*(?!False\b)|\bsafe_mode\s*=\s*(?!True\b)""",
    re.MULTILINE | re.VERBOSE,
)


def test_no_module_evaluates_unpickles_or_connects():
    found = {path: FORBIDDEN.findall(path.read_text(encoding="utf-8")) for path in MODULES}
    assert len(found) > 50 and {path: what for path, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from urllib.request import urlopen",
        "def f():\n    import requests",
        "eval('1')",
        "np.load(x, allow_pickle=True)",
        "pandas.read_pickle(x)",
        "keras.saving.load_model(x)",
        "os.system('ls')",
        "keras.load(x, safe_mode=False)",
    ],
)
def test_the_search_finds_what_it_looks_for(source):
    assert FORBIDDEN.search(source)


def test_scripts_of_the_widgets_fetch_and_evaluate_nothing():
    assert SCRIPTS
    wanted = (
        r"\bfetch\s*\(|XMLHttpRequest|WebSocket|sendBeacon|EventSource|\beval\s*\(|new Function"
    )
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert re.findall(rf"{wanted}|https?://", text) == [], script.name


# --- files of others -----------------------------------------------------------------------------


def test_cells_of_a_table_are_never_evaluated(tmp_path):
    trace = tmp_path / "trace"
    cells = [
        f"__import__('pathlib').Path({str(trace)!r}).touch()",
        f"=cmd|' /C touch {trace}'!A0",
        f"@exec(open({str(trace)!r}, 'w'))",
        "{{7*7}}",
        "!!python/object/apply:os.system ['ls']",
    ]
    frame = pd.DataFrame({"subject": cells, "rt": 0.5, "response": 1})
    frame.to_csv(tmp_path / "trials.csv", index=False)
    assert read_trials(tmp_path / "trials.csv").subjects == tuple(cells)
    frame = pd.DataFrame({"subject": 1, "rt": cells, "response": 1})
    frame.to_csv(tmp_path / "trials.csv", index=False)
    with pytest.raises(ValueError, match="not\\s+numbers"):
        read_trials(tmp_path / "trials.csv")
    assert not trace.exists()


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of the shipped local network, as someone else's folder, that must not be opened."""
    from eamlab import workflows

    def refuse(*arguments, **_):
        raise AssertionError(f"opened {arguments}")

    monkeypatch.setattr(workflows, "workflow_of_card", None)
    monkeypatch.setattr(h5py, "File", refuse)
    for name in ("local.json", "local.weights.h5"):
        shutil.copy(SOURCE / "eamlab" / "weights" / name, tmp_path)
    return tmp_path


def test_weights_are_opened_only_after_their_hash_was_compared(shipped):
    weights = shipped / "local.weights.h5"
    changed = bytearray(weights.read_bytes())
    changed[len(changed) // 2] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(ValueError, match="SHA-256"):
        el.load_pretrained("local", folder=shipped)


def test_weights_of_another_version_are_not_opened(shipped):
    card = json.loads((shipped / "local.json").read_text(encoding="utf-8"))
    card["versions"]["bayesflow"] = "1.0.0"
    (shipped / "local.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ValueError, match=r"BayesFlow 1\.0\.0"):
        el.load_pretrained("local", folder=shipped)


def kinds_of_data(file):
    kinds = set()
    with h5py.File(file) as opened:
        opened.visititems(
            lambda _, x: kinds.add(x.dtype.kind) if isinstance(x, h5py.Dataset) else None
        )
    return kinds


def test_shipped_files_hold_no_objects():
    stored = sorted(SOURCE.rglob("data/*.npz"))
    assert stored
    for file in stored:
        with np.load(file, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype.kind != "O" for name in arrays)
    for file in sorted(SOURCE.rglob("weights/*.h5")):
        assert kinds_of_data(file) <= set("biuf"), file.name


# --- nothing phones home -------------------------------------------------------------------------

WITHOUT_NETWORK = """
import sys
tried = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
                 "urllib.Request", "ftplib.connect", "smtplib.connect", "http.client.connect"):
        tried.append((event, str(arguments)))
        raise OSError("no network in this test")
sys.addaudithook(watch)
"""
SMALL = """
import eamlab as el
import eamlab_book as book
study = el.simulate(el.EAM, 3, n_trials=10, seed=1)
el.exact(study, el.EAM, 20, seed=1, progress=False)
book.explorer()
"""
NETWORKS = """
workflow = el.load_pretrained("global")
draws = el.compose(workflow, study, num_samples=20, seed=1)
el.people(el.load_pretrained("local"), draws, study, seed=1)
"""


@pytest.fixture(scope="session")
def without_network(python):
    """Run in a new process that notes every attempt to connect; in an empty network if allowed."""
    empty = ["unshare", "--map-root-user", "--net"]
    try:
        subprocess.run([*empty, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        empty = []

    def run(code):
        code = f"{WITHOUT_NETWORK}{code}\nprint(len(tried))"
        return python(code, before=empty, options=["-W", "ignore"]).stdout.splitlines()[-1]

    return run


def test_library_connects_to_nothing(without_network):
    assert without_network(SMALL) == "0"


@pytest.mark.slow
def test_networks_connect_to_nothing(without_network):
    assert without_network(SMALL + NETWORKS) == "0"


def test_the_watch_sees_a_connection(without_network):
    code = "import socket\ntry: socket.create_connection(('127.0.0.1', 9))\nexcept OSError: pass"
    assert without_network(code) != "0"


# --- licenses ------------------------------------------------------------------------------------


@pytest.fixture
def audit(script):
    return script("audit")


def test_no_runtime_dependency_is_under_the_gpl_only(audit):
    found, _ = audit.packages()
    runtime = [p for p in found if p.runtime]
    assert len(runtime) > 30
    assert [p for p in runtime if audit.copyleft_only(p.license)] == []
    assert [p.name for p in runtime if p.license == "not stated"] == []


def test_license_list_has_every_runtime_dependency(audit):
    listed = re.findall(
        r"^\| (\S+) \|.*\| yes \|$", (ROOT / "LICENSES.md").read_text(encoding="utf-8"), flags=re.M
    )
    assert {p.name for p in audit.packages()[0] if p.runtime} <= set(listed), "run `make audit`"


def test_a_strict_audit_fails_on_what_it_could_not_compare(audit):
    clean = [{"name": "b", "version": "1", "vulns": []}]
    assert audit.report(clean, strict=True)
    assert not audit.report([], strict=True)
    assert not audit.report([*clean, {"name": "a", "skip_reason": "not found"}], strict=True)
