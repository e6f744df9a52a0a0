"""Show that a hosted session (Binder) works, on a machine without a container engine.

    python scripts/check_binder.py [--env FOLDER] [--memory-mb 2048] [CHAPTER ...]

Does what repo2docker does, in a folder of its own: installs the pins of environment.yml into a
virtual environment (or takes a finished one: ``--env``), copies the repository, runs ``postBuild``,
and starts JupyterLab through ``start``. Then it opens each chapter's launch link, runs the notebook
on one CPU, and stops everything when JupyterLab and kernel together exceed the memory limit. One
JSON line for each chapter says how long it took and how much memory it needed; exit status 1 says
that a chapter failed, or was stopped. ``--out book/data/hosted.json`` keeps the figures that the
README and the page on teaching a class show; those of chapters that were not run stay.

The limit is kept by watching the processes every 50 ms, which needs no rights. It is stricter than
a container's: memory that two processes share counts twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import websocket
import yaml
from contents import ROOT, with_code
from memory import Watch, stop

START_S = 120
CELL_S = 600
# Printed beside what was measured; timings are no reason to fail, since machines differ.
TARGETS = {"seconds": 120, "peak_mb": 1500, "environment_gb": 2.5}


@dataclass
class Report:
    """What one chapter took."""

    chapter: str
    lab_ready_s: float = 0.0
    first_figure_s: float | None = None
    seconds: float = 0.0
    peak_mb: float = 0.0
    kernel_peak_mb: float = 0.0
    kernel_threads: int = 0
    error: str | None = None


# The image


def dependencies() -> list:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["dependencies"]


def pins() -> list[str]:
    return next(entry["pip"] for entry in dependencies() if isinstance(entry, dict))


def python_of_the_image() -> str:
    """This interpreter when it has the version that environment.yml asks for."""
    wanted = next(e for e in dependencies() if str(e).startswith("python=")).partition("=")[2]
    if "{}.{}".format(*sys.version_info) != wanted:
        sys.exit(f"environment.yml asks for Python {wanted}: run this script with that version.")
    return sys.executable


def build_environment(folder: Path) -> None:
    """Install the pins, and nothing else, as ``conda env update`` has pip do it."""
    subprocess.run([python_of_the_image(), "-m", "venv", str(folder)], check=True)
    requirements = folder / "pins.txt"
    requirements.write_text("\n".join(pins()) + "\n", encoding="utf-8")
    install = ["-m", "pip", "install", "--quiet", "--requirement", str(requirements)]
    subprocess.run([str(folder / "bin" / "python"), *install], check=True)


def differing(environment: Path) -> list[str]:
    """Pins that a finished environment does not keep."""
    command = [str(environment / "bin" / "python"), "-m", "pip", "list", "--format", "freeze"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    installed = {line.lower().replace("_", "-").replace(".", "-") for line in listed.splitlines()}
    return [pin for pin in pins() if pin.replace("_", "-").replace(".", "-") not in installed]


def copy_repository(target: Path) -> None:
    """What a clone would hold: files that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def settings(environment: Path, home: Path) -> dict[str, str]:
    """Environment variables of a session: the image's programs first, nothing of ours."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JUPYTER"))}
    path = os.pathsep.join([str(environment / "bin"), os.environ.get("PATH", "")])
    prefix = {"VIRTUAL_ENV": str(environment), "CONDA_DEFAULT_ENV": "notebook"}
    return inherited | prefix | {"PATH": path, "HOME": str(home), "JUPYTER_PREFER_ENV_PATH": "1"}


def disk_gb(folder: Path) -> float:
    return sum(f.lstat().st_size for f in folder.rglob("*") if not f.is_dir()) / 1e9


# The session


@dataclass(frozen=True)
class Server:
    """A JupyterLab that answers."""

    port: int
    token: str
    process: psutil.Process

    def ask(self, path: str, content: dict | None = None) -> bytes:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}",
            data=None if content is None else json.dumps(content).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=START_S) as answer:
            return answer.read()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def lab(repository: Path, environ: dict[str, str], cpus: int) -> Iterator[Server]:
    """JupyterLab as a hosted session starts it, on as many CPUs; ended with all its kernels."""
    port, token = free_port(), secrets.token_hex(16)
    command = ["./start", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"]
    command += [f"--IdentityProvider.token={token}", "--ServerApp.port_retries=0"]
    command += ["--allow-root"] if os.geteuid() == 0 else []
    allowed = sorted(os.sched_getaffinity(0))[:cpus]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=repository,
            env=environ,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, allowed),
        )
        server = Server(port, token, psutil.Process(process.pid))
        try:
            wait_until_ready(server, process)
            yield server
        except ConnectionError:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace")[-3000:])
            raise
        finally:
            stop(server.process)
            process.wait()


def wait_until_ready(server: Server, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            server.ask("api/status")
            return
        time.sleep(0.1)
    raise ConnectionError("JupyterLab did not start.")


@dataclass
class Kernel:
    """The kernel of an opened notebook, spoken to through the server as JupyterLab does."""

    connection: websocket.WebSocket
    session: str = field(default_factory=lambda: uuid.uuid4().hex)

    def execute(self, code: str) -> Iterator[dict]:
        """Run a cell; hand out each message about it as it comes."""
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
        header |= {"username": "", "session": self.session, "date": ""}
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.connection.send(json.dumps(message | {"channel": "shell", "buffers": []}))
        ended: set[str] = set()
        while ended != {"reply", "idle"}:
            answer = self.receive()
            if answer.get("parent_header", {}).get("msg_id") != header["msg_id"]:
                continue
            yield answer
            if answer["msg_type"] == "execute_reply":
                ended.add("reply")
            elif answer["content"].get("execution_state") == "idle":
                ended.add("idle")

    def receive(self) -> dict:
        kind, data = self.connection.recv_data()
        if kind != websocket.ABNF.OPCODE_BINARY:
            return json.loads(data)
        # Widgets send buffers: a table of big-endian offsets, the first of them that of the JSON.
        count = int.from_bytes(data[:4], "big")
        offsets = [int.from_bytes(data[4 * i : 4 * i + 4], "big") for i in range(1, count + 1)]
        return json.loads(data[offsets[0] : offsets[1] if count > 1 else None])


@contextlib.contextmanager
def opened(server: Server, path: str) -> Iterator[tuple[Kernel, list[str]]]:
    """Open a notebook by its launch link; its kernel and the code of its cells."""
    page = server.ask(f"lab/tree/{path}")
    if b"jupyter-config-data" not in page:
        raise RuntimeError(f"lab/tree/{path} is not JupyterLab's page")
    cells = json.loads(server.ask(f"api/contents/{path}"))["content"]["cells"]
    content = {"path": path, "name": "", "type": "notebook", "kernel": {"name": "python3"}}
    kernel = json.loads(server.ask("api/sessions", content))["kernel"]["id"]
    connection = websocket.create_connection(
        f"ws://127.0.0.1:{server.port}/api/kernels/{kernel}/channels",
        header=[f"Authorization: token {server.token}"],
        timeout=CELL_S,
    )
    try:
        yield Kernel(connection), [c["source"] for c in cells if c["cell_type"] == "code"]
    finally:
        connection.close()


def has_figure(message: dict) -> bool:
    return "image/png" in message["content"].get("data", {})


def run_cells(kernel: Kernel, cells: list[str], report: Report, start: float) -> None:
    """Run all cells; stop at the first that fails and note its error."""
    for code in cells:
        for message in kernel.execute(code):
            if report.first_figure_s is None and has_figure(message):
                report.first_figure_s = round(time.monotonic() - start, 1)
            if message["msg_type"] == "error":
                report.error = f"{message['content']['ename']}: {message['content']['evalue']}"
        if report.error:
            return


def check(
    chapter: str, repository: Path, environ: dict[str, str], *, cpus: int, limit_mb: float
) -> Report:
    """Open one chapter in a fresh session and run it."""
    report = Report(chapter)
    start = time.monotonic()
    with (
        lab(repository, environ, cpus) as server,
        Watch(server.process, limit_mb).running() as watch,
    ):
        report.lab_ready_s = round(time.monotonic() - start, 1)
        try:
            with opened(server, f"book/{chapter}.ipynb") as (kernel, cells):
                opened_at = time.monotonic()
                run_cells(kernel, cells, report, start)
                report.seconds = round(time.monotonic() - opened_at, 1)
        except (OSError, websocket.WebSocketException) as error:
            report.error = f"stopped: above {limit_mb} MB" if watch.exceeded else repr(error)
        report.peak_mb, report.kernel_peak_mb = round(watch.peak_mb), round(watch.children_peak_mb)
        report.kernel_threads = watch.children_threads
    return report


def prepare(folder: Path, environment: Path | None) -> tuple[Path, dict[str, str], dict]:
    """Make the image: environment, copy, ``postBuild``; the copy, its variables, and figures."""
    if environment is None:
        environment = folder / "env"
        build_environment(environment)
    elif other := differing(environment):
        print(f"{environment} has other versions than environment.yml: {other}", file=sys.stderr)
    repository = folder / "home"
    copy_repository(repository)
    environ = settings(environment.resolve(), repository)
    begun = time.monotonic()
    if subprocess.run(["./postBuild"], cwd=repository, env=environ, stdout=sys.stderr).returncode:
        sys.exit("postBuild failed: see its messages above.")
    image = {"post_build_s": round(time.monotonic() - begun, 1)}
    return repository, environ, image | {"environment_gb": round(disk_gb(environment), 2)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="such as 05_ten_thousand; all by default")
    parser.add_argument("--env", type=Path, help="an environment to use instead of a new one")
    parser.add_argument("--memory-mb", type=float, default=2048)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    return parser.parse_args()


def with_earlier(file: Path, reports: list[dict], known: list[str]) -> list[dict]:
    """Reports with those that ``file`` holds of other chapters, in the order of the chapters."""
    earlier = json.loads(file.read_text(encoding="utf-8"))["chapters"] if file.exists() else []
    by_name = {report["chapter"]: report for report in [*earlier, *reports]}
    return [by_name[chapter] for chapter in known if chapter in by_name]


def main() -> int:
    args = arguments()
    known = [page.stem for page in with_code()]
    if unknown := set(args.chapters) - set(known):
        sys.exit(f"No notebook of this name: {', '.join(sorted(unknown))}; there are {known}.")
    limits = {"cpus": args.cpus, "limit_mb": args.memory_mb}
    with tempfile.TemporaryDirectory(prefix="binder-") as folder:
        repository, environ, image = prepare(Path(folder), args.env)
        figures = {"targets": TARGETS, "image": image, "limits": limits, "chapters": []}
        print(json.dumps({"targets": TARGETS, "image": image}), flush=True)
        for chapter in args.chapters or known:
            report = asdict(check(chapter, repository, environ, **limits))
            print(json.dumps(report), flush=True)
            figures["chapters"].append(report)
    failed = any(report["error"] for report in figures["chapters"])
    if args.out:
        figures["chapters"] = with_earlier(args.out, figures["chapters"], known)
        args.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
