"""Bad luck of those who install and serve: each case ends with one sentence; a second run succeeds.

The interpreter is a stand-in that does what the case says, so that nothing is installed.
"""

import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]

PYTHON = """\
#!/usr/bin/env bash
# Stands in for Python: VERSION_OK, VENV_SAYS and PIP_SAYS decide what it does.
case "$*" in
    *sys.version_info*) exit "${VERSION_BAD:-0}" ;;
    --version) echo "Python 3.12.99" ;;
    "-m venv"*)
        if [ -n "${VENV_SAYS:-}" ]; then echo "$VENV_SAYS" >&2; exit 1; fi
        mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *"pip install"*)
        if [ -n "${PIP_SAYS:-}" ]; then echo "$PIP_SAYS" >&2; exit 1; fi ;;
    *scripts/*) ;;
    *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A folder (with a space in its name) that has only what the set-up needs."""
    folder = tmp_path / "my project"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup_venv.sh", folder / "scripts")
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    return folder


def set_up(folder, *, python="./python", path=None, **environment):
    base = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "PYENV_ROOT")}
    base |= {"HOME": str(folder), "PYTHON": python} | environment
    if path is not None:
        base["PATH"] = path
    return subprocess.run(
        ["bash", "scripts/setup_venv.sh", "book"],
        cwd=folder,
        env=base,
        capture_output=True,
        text=True,
        check=False,
    )


def sentence(done):
    """The one sentence of a run that failed."""
    assert done.returncode == 1, done.stderr
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("eamlab: ")]
    assert done.stderr.splitlines()[-1] == line
    return line


def succeeds(folder):
    done = set_up(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "eamlab: .venv is ready"
    assert (folder / ".venv" / ".complete").read_text() == f"{folder}\nbook\n"


def only_tools(folder):
    """A PATH without any Python."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "awk", "df", "grep", "head", "mkdir", "cp", "rm", "tail"):
        (tools / name).symlink_to(shutil.which(name))
    return tools


def test_set_up(checkout):
    succeeds(checkout)
    again = set_up(checkout, python="")
    assert again.returncode == 0
    assert "bringing .venv up to date" in again.stdout


def test_no_python(checkout):
    tools = only_tools(checkout)
    done = set_up(checkout, python="", path=str(tools))
    assert "Python 3.12 or later is needed and was not found" in sentence(done)
    succeeds(checkout)


def test_python_on_the_path_is_too_old(checkout):
    tools = only_tools(checkout)
    shutil.copy(checkout / "python", tools / "python3")
    done = set_up(checkout, python="", path=str(tools), VERSION_BAD="1")
    assert "Python 3.12 or later is needed" in sentence(done)
    assert set_up(checkout, python="", path=str(tools)).returncode == 0


@pytest.mark.parametrize("python", ["./missing", "./scripts"])
def test_python_that_was_named_is_none(checkout, python):
    assert f"PYTHON={python} is not a Python 3.12" in sentence(set_up(checkout, python=python))
    succeeds(checkout)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
        ("OSError: [Errno 122] Disk quota exceeded", "the disk is full"),
        ("NewConnectionError(': Failed to establish a new connection')", "check the network"),
        ("[Errno -3] Temporary failure in name resolution", "check the network"),
        ("ReadTimeoutError: Read timed out.", "check the network"),
        ("ERROR: ResolutionImpossible: conflicting dependencies", "the installation failed"),
        ("ERROR: Failed building wheel for x", "the installation failed"),
    ],
)
def test_installation_fails(checkout, words, expected):
    done = set_up(checkout, PIP_SAYS=words)
    assert expected in sentence(done)
    assert words in done.stderr
    assert not (checkout / ".venv" / ".complete").exists()
    succeeds(checkout)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Error: [Errno 28] No space left on device", "the disk is full"),
        ("ensurepip is not available", "install its venv module"),
    ],
)
def test_environment_cannot_be_made(checkout, words, expected):
    assert expected in sentence(set_up(checkout, VENV_SAYS=words))
    succeeds(checkout)


def test_disk_is_nearly_full(checkout):
    tools = only_tools(checkout)
    (tools / "df").unlink()
    (tools / "df").write_text("#!/usr/bin/env bash\necho h\necho /dev/x 99 9 1048576 9% /\n")
    (tools / "df").chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    assert "the disk has 1 GB left" in sentence(set_up(checkout, path=path))
    assert not (checkout / ".venv").exists()
    succeeds(checkout)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_cannot_be_written(checkout):
    checkout.chmod(0o555)
    try:
        assert "cannot be written to" in sentence(set_up(checkout))
    finally:
        checkout.chmod(0o755)
    succeeds(checkout)


@pytest.mark.parametrize("state", ["interrupted", "moved", "no interpreter", "a file"])
def test_stale_environment_is_made_anew(checkout, state):
    old = checkout / ".venv"
    if state == "a file":
        old.touch()
    else:
        (old / "bin").mkdir(parents=True)
        (old / "rest").touch()
        if state != "no interpreter":
            shutil.copy(checkout / "python", old / "bin" / "python")
        if state != "interrupted":
            place = checkout if state == "no interpreter" else "/elsewhere"
            (old / ".complete").write_text(f"{place}\nbook\n")
    succeeds(checkout)
    assert not (old / "rest").exists()


# --- serving -------------------------------------------------------------------------------------


@pytest.fixture
def serve(script, tmp_path, monkeypatch):
    module = script("serve")
    monkeypatch.setattr(module, "PAGES", tmp_path)
    monkeypatch.delenv("PORT", raising=False)
    return module


def test_port_in_use_is_passed_over(serve):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve.Handler) as other:
        first = other.server_port
        with serve.server(first) as pages:
            assert first < pages.server_port < first + 20


def test_no_port_is_free(serve, monkeypatch):
    def taken(*_):
        raise OSError("in use")

    monkeypatch.setattr(serve.http.server, "ThreadingHTTPServer", taken)
    with pytest.raises(SystemExit, match="name another: make serve PORT="):
        serve.server(8000)


@pytest.mark.parametrize("port", ["abc", "0", "65536", "-1", "80.5", " "])
def test_port_that_is_none(serve, monkeypatch, port):
    monkeypatch.setenv("PORT", port)
    with pytest.raises(SystemExit, match="PORT must be a number"):
        serve.port_asked_for()


def test_port_is_that_of_the_environment(serve, monkeypatch):
    assert serve.port_asked_for() == 8000
    monkeypatch.setenv("PORT", "9000")
    assert serve.port_asked_for() == 9000


def test_no_book_to_serve(serve):
    with pytest.raises(SystemExit, match="run `make book` first"):
        serve.main()


# --- make ----------------------------------------------------------------------------------------


def test_make_help_needs_nothing_and_lists_the_commands(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = subprocess.run(
        ["make", "help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert {"book", "test", "audit"} <= set(re.findall(r"^([a-z-]+) ", done.stdout, flags=re.M))


def test_make_stops_at_a_failed_set_up(checkout):
    shutil.copy(ROOT / "Makefile", checkout)
    for name in ("constraints.txt", "pyproject.toml", "scripts/setup_jupyter.py"):
        (checkout / name).touch()
    command = ["make", "serve", "PYTHON=./missing"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "eamlab: PYTHON=./missing is not a Python 3.12" in done.stderr
    assert "Traceback" not in done.stderr


# --- building the book ---------------------------------------------------------------------------

CHAPTER = """\
---
file_format: mystnb
kernelspec:
  name: python3
---

# A chapter

```{code-cell}
import pathlib, time
pathlib.Path("STARTED").touch()
time.sleep(5)
print(6 * 7)
```
"""


@pytest.fixture
def book(tmp_path):
    """A book of one slow chapter, with the settings of the real one for executing chapters."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    (tmp_path / "src").mkdir()
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())
    small = {"title": "Small", "only_build_toc_files": True, "execute": settings["execute"]}
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(small))
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (tmp_path / "index.md").write_text(CHAPTER.replace("STARTED", str(tmp_path / "started")))
    return tmp_path


def build(folder):
    return subprocess.Popen(
        [sys.executable, "scripts/build_book.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_interrupted_book_is_built_by_the_next_run(book, name):
    first = build(book)
    deadline = time.monotonic() + 120
    while not (book / "started").exists() and time.monotonic() < deadline:
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.1)
    os.killpg(first.pid, getattr(signal, name))
    assert first.wait(60) != 0
    assert not (book / "_build" / "html" / "index.html").exists()
    second = build(book)
    said, _ = second.communicate(timeout=240)
    assert second.returncode == 0, said
    assert "The book is built" in said
    assert "42" in (book / "_build" / "html" / "index.html").read_text()
