"""JupyterLab for a test: a server of its own, notebooks run in Chromium, nothing left behind."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from small_book import ROOT

START_S = 60  # a cold start on a busy machine
STOP_S = 15

# Read by the server when it starts. A test run that is killed cannot clean up; the server then
# notices that its parent is gone, and stops itself and its kernels.
SERVER_CONFIG = """
import os
import signal
import threading
import time

PARENT = os.getppid()


def stop_with_parent():
    while os.getppid() == PARENT:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


threading.Thread(target=stop_with_parent, daemon=True).start()
"""
# No question whether to fetch news.
NOTIFICATIONS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}

RUN_ALL = """
() => window.jupyterapp.commands.execute("notebook:run-all-cells")
"""
IDLE = """
() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === "idle"
"""
OPENED = """
(name) => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return panel?.context?.path === name && panel.context.isReady
        && panel.sessionContext?.session?.kernel?.status === "idle";
}
"""
ERRORS = """
() => [...window.jupyterapp.shell.currentWidget.content.model.cells].flatMap((cell) =>
    (cell.type === "code" ? cell.outputs.toJSON() : [])
        .filter((output) => output.output_type === "error")
        .map((output) => `${output.ename}: ${output.evalue}`))
"""


@dataclass(frozen=True)
class Server:
    """A running JupyterLab."""

    process: psutil.Popen
    folder: Path  # of the notebooks
    address: str  # ends in a slash
    token: str

    def page(self, name: str) -> str:
        """Address at which JupyterLab opens one notebook, in a workspace of its own."""
        return f"{self.address}lab/workspaces/{secrets.token_hex(4)}/tree/{name}?token={self.token}"

    def ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        """Answer of the server's own interface; raises when it refuses."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=START_S) as answer:
            return answer.read()

    def start_kernel(self) -> None:
        self.ask("POST", "api/kernels", b"{}")

    def end_kernels(self) -> None:
        for kernel in json.loads(self.ask("GET", "api/kernels")):
            self.ask("DELETE", f"api/kernels/{kernel['id']}")

    def kernels(self) -> list[psutil.Process]:
        family = self.process.children(recursive=True)
        return [child for child in family if "ipykernel_launcher" in child.cmdline()]


def write_notebook(path: Path, *cells: str) -> Path:
    """A notebook of code cells, without outputs."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in cells],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, path)
    return path


def environment(home: Path) -> dict[str, str]:
    """The present one, with all that Jupyter reads or writes about the user moved to ``home``."""
    folders = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
    }
    for folder in folders.values():
        folder.mkdir(parents=True)
    search = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])
        ),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    return os.environ | {name: str(folder) for name, folder in folders.items()} | search


def launch(folder: Path, home: Path) -> tuple[psutil.Popen, str]:
    """Start the server; return its process and token."""
    variables = environment(home)
    (home / "config" / "jupyter_server_config.py").write_text(SERVER_CONFIG, encoding="utf-8")
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        json.dumps(NOTIFICATIONS), encoding="utf-8"
    )
    token = secrets.token_hex(16)
    options = [
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=18888",  # the next free one after it, where it is taken
        "--ServerApp.port_retries=200",
        f"--ServerApp.root_dir={folder}",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")
    with (home / "server.log").open("w", encoding="utf-8") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the tests alone, which then stop the server
        )
    return process, token


def listens(address: str) -> bool:
    """Whether something accepts connections there; the server's file may be a little early."""
    where = urllib.parse.urlsplit(address)
    with contextlib.suppress(OSError), socket.create_connection((where.hostname, where.port), 1):
        return True
    return False


def wait_for_address(process: psutil.Popen, home: Path) -> str:
    """Where the server listens, from the file that it writes when it starts to."""
    record = home / "runtime" / f"jpserver-{process.pid}.json"
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, json.JSONDecodeError):
            address = json.loads(record.read_text(encoding="utf-8"))["url"].replace(
                "localhost", "127.0.0.1"
            )
            if listens(address):
                return address
        time.sleep(0.1)
    log = (home / "server.log").read_text(encoding="utf-8")[-3000:]
    raise RuntimeError(f"JupyterLab did not start within {START_S} s:\n{log}")


def stop(process: psutil.Popen) -> None:
    """Ask the server to stop, which ends its kernels; end by force what is still there."""
    family = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
        process.terminate()
    _, left = psutil.wait_procs(family, timeout=STOP_S)
    for survivor in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            survivor.kill()
    psutil.wait_procs(left, timeout=STOP_S)


@contextlib.contextmanager
def jupyterlab(folder: Path, home: Path) -> Iterator[Server]:
    """Run JupyterLab on the notebooks of ``folder``; ``home`` takes its settings and its log."""
    process, token = launch(folder, home)
    try:
        address = wait_for_address(process, home)
        yield Server(process, folder, address, token)
    finally:
        stop(process)


def run_all(page, name: str, timeout_s: float) -> None:
    """Execute every cell of the notebook that ``page`` (Playwright's) is opening; wait for idle."""
    page.wait_for_function(OPENED, arg=name, timeout=1000 * START_S)
    page.set_default_timeout(1000 * timeout_s)
    page.evaluate(RUN_ALL)
    page.wait_for_function(IDLE)
    raised = page.evaluate(ERRORS)
    assert not raised, f"{name}: {'; '.join(raised)}"
