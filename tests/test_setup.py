"""Bad luck of those who install: each case ends with one sentence; a second run succeeds.

The interpreter is a stand-in that does what the case says, so that nothing is installed.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

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


def program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path):
    """A folder (with a space in its name) that has only what the set-up needs."""
    folder = tmp_path / "my project"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup_venv.sh", folder / "scripts")
    program(folder / "python", PYTHON)
    return folder


def set_up(folder, *, python="./python", path=None, **environment):
    base = {k: v for k, v in os.environ.items() if k not in ("PYTHON", "PYENV_ROOT")}
    base |= {"HOME": str(folder), "PYTHON": python} | environment
    if path is not None:
        base["PATH"] = path
    command = ["bash", "scripts/setup_venv.sh", "book"]
    return subprocess.run(command, cwd=folder, env=base, capture_output=True, text=True)


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
    assert (folder / ".venv" / ".complete").read_text(encoding="utf-8") == f"{folder}\nbook\n"


def only_tools(folder):
    """A PATH without any Python."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "awk", "df", "grep", "head", "mkdir", "cp", "rm", "tail"):
        (tools / name).symlink_to(shutil.which(name))
    return tools


def test_set_up(checkout):
    done = set_up(checkout, python="", path=str(only_tools(checkout)))
    assert "Python 3.12 or later is needed and was not found" in sentence(done)
    succeeds(checkout)
    again = set_up(checkout, python="")
    assert again.returncode == 0
    assert "bringing .venv up to date" in again.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    {
        "ERROR: [Errno 28] No space left on device": "the disk is full",
        "NewConnectionError(': Failed to establish a new connection')": "check the network",
        "ERROR: ResolutionImpossible: conflicting dependencies": "the installation failed",
    }.items(),
)
def test_installation_fails(checkout, words, expected):
    done = set_up(checkout, PIP_SAYS=words)
    assert expected in sentence(done)
    assert words in done.stderr
    assert not (checkout / ".venv" / ".complete").exists()
    succeeds(checkout)


def test_disk_is_nearly_full(checkout):
    tools = only_tools(checkout)
    (tools / "df").unlink()
    program(tools / "df", "#!/usr/bin/env bash\necho h\necho /dev/x 99 9 1048576 9% /\n")
    path = f"{tools}:{os.environ['PATH']}"
    assert "the disk has 1 GB left" in sentence(set_up(checkout, path=path))
    assert not (checkout / ".venv").exists()
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
            (old / ".complete").write_text(f"{place}\nbook\n", encoding="utf-8")
    succeeds(checkout)
    assert not (old / "rest").exists()


# --- make ----------------------------------------------------------------------------------------


def test_make_help_needs_nothing_and_other_commands_stop_at_a_failed_set_up(checkout):
    def make(*command):
        return subprocess.run(["make", *command], cwd=checkout, capture_output=True, text=True)

    shutil.copy(ROOT / "Makefile", checkout)
    listed = re.findall(r"^([a-z-]+) ", make("help").stdout, flags=re.MULTILINE)
    assert {"book", "test", "audit"} <= set(listed)
    (checkout / "src" / "eamlab_book").mkdir(parents=True)
    needed = ("constraints.txt", "pyproject.toml", "scripts/setup_jupyter.py")
    for name in (*needed, "src/eamlab_book/pyproject.toml"):
        (checkout / name).touch()
    done = make("serve", "PYTHON=./missing")
    assert done.returncode != 0
    assert "eamlab: PYTHON=./missing is not a Python 3.12" in done.stderr
    assert "Traceback" not in done.stderr
