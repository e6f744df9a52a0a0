"""A small book with the settings of the real one: built, served, and opened without a network."""

import contextlib
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("pages")


def jupyter_book() -> Path:
    return Path(sys.executable).with_name("jupyter-book")


def settings() -> dict:
    """The book's own settings, with the paths in them made independent of the folder."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    sphinx = config["sphinx"]
    for name in ("html_static_path", "templates_path", "bibtex_bibfiles"):
        if name in sphinx["config"]:
            sphinx["config"][name] = [str(ROOT / path) for path in sphinx["config"][name]]
    if "html_favicon" in sphinx["config"]:
        sphinx["config"]["html_favicon"] = str(ROOT / sphinx["config"]["html_favicon"])
    return config


def build_book(source: Path, folder: Path) -> Path:
    """Build the pages of ``source`` below ``folder``, warnings being errors; return the HTML."""
    shutil.copytree(source, folder, dirs_exist_ok=True)
    (folder / "_config.yml").write_text(yaml.safe_dump(settings()))
    path = os.pathsep.join([str(jupyter_book().parent), os.environ.get("PATH", "")])
    python_path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    built = subprocess.run(
        [str(jupyter_book()), "build", str(folder), "-W", "--keep-going"],
        env={**os.environ, "PATH": path, "PYTHONPATH": python_path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if built.returncode:
        raise RuntimeError(f"the small book was not built:\n{built.stdout[-4000:]}")
    return folder / "_build" / "html"


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep the test report readable."""


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of this machine; yield the address."""
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Watch:
    """Lets pages load what is under the local addresses; refuses and records everything else."""

    local: tuple[str, ...]
    remote: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def guard(self, context) -> None:
        """Watch every page of a browser context (Playwright's)."""
        # A pattern, not a function: local requests, hundreds for JupyterLab, never come here.
        known = "|".join(map(re.escape, (*self.local, "data:", "blob:", "about:")))
        elsewhere = re.compile(f"^(?!{known})")
        context.route(elsewhere, self._request)
        context.route_web_socket(elsewhere, self._socket)
        context.on("page", self._page)

    def _request(self, route) -> None:
        self.remote.append(route.request.url)
        route.abort()

    def _socket(self, socket) -> None:
        self.remote.append(socket.url)
        socket.close()

    def _page(self, page) -> None:
        page.on("pageerror", lambda error: self.errors.append(f"{page.url}: {error}"))
        page.on("console", self._console)

    def _console(self, message) -> None:
        if message.type == "error":
            self.errors.append(f"{message.page.url}: {message.text}")
