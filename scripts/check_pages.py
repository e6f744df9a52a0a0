"""List what is wrong with the pages of a rendered book, for readers and for their privacy.

Opens every page in Chromium as readers meet it: from its folder and below a path of a server, light
and dark, on a wide screen and on a phone, with every folded part unfolded, and without a network.
Prints, and exits with 1 if there is any: what a page asks of another machine, what its
content-security policy refuses, errors of its scripts, and what keeps readers out (axe-core's
serious and critical violations, pictures without words). Without Chromium or Playwright it says so
and exits with 0.
"""

import argparse
import contextlib
import functools
import http.server
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
AXE = ROOT / "tests" / "browser" / "vendor" / "axe-core" / "axe.min.js"
PROGRAMS = ("/usr/bin/chromium", "chromium", "google-chrome")
OPTIONS = [
    "--disable-dev-shm-usage",  # containers give it 64 MB
    "--no-proxy-server",
    # Not even a name is looked up: what a page asks of the network fails, watched or not.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
SCREENS = {
    f"{device}, {colors}": (*size, colors)
    for device, size in {"wide": (1280, 900), "phone": (390, 844)}.items()
    for colors in ("light", "dark")
}
LEADS_ON = re.compile(r"""http-equiv=["']?refresh\b[^>]*url=(?!\w+:|//)""", re.IGNORECASE)
SHOWN = 3  # elements named per rule and page

READY = """async () => {
  for (const part of document.querySelectorAll("details:not([open])")) part.open = true;
  for (const button of document.querySelectorAll("button.toggle-button-hidden")) button.click();
  // The theme looks for what scrolls a third of a second after a page has changed.
  await new Promise((done) => setTimeout(done, 600));
}"""
# What the browser does not report: a page that loads something before its policy, and links by
# which it connects to another machine, or would if a tab showed it.
LINKS = """() => {
  const followed = new Set(("alternate author bookmark canonical help index license me next prev " +
    "search up").split(" "));
  const first = document.querySelector(
    "script, link[rel~=stylesheet], meta[http-equiv=Content-Security-Policy]");
  return [
    ...(first?.tagName === "META" ? [] : ["has no content-security policy before what it loads"]),
    ...[...document.querySelectorAll("link[href]")]
      .filter((link) => /^(https?|wss?|ftp):/.test(link.href) &&
        new URL(link.href).origin !== location.origin)
      .filter((link) => ![...link.relList].every((word) => followed.has(word)))
      .map((link) => `asks for ${link.href}`),
  ];
}"""
EXAMINE = """async () => {
  const { violations } = await axe.run(document, {
    resultTypes: ["violations"], preload: false,  // a policy may forbid to fetch style sheets
  });
  const found = violations.filter((v) => ["serious", "critical"].includes(v.impact))
    .map((v) => [`${v.id}: ${v.help}`, v.nodes.map((n) => n.target.flat().join(" "))]);
  const nameless = [...document.querySelectorAll("main img")]
    .filter((image) => !image.alt.trim() || /\\.(png|svg|jpe?g|gif|webp)$/i.test(image.alt))
    .filter((image) => image.getAttribute("role") !== "presentation")
    .map((image) => image.getAttribute("src").slice(0, 80));
  const words = "figure-alt: Pictures must say in words what they show";
  return nameless.length ? [...found, [words, nameless]] : found;
}"""


def find() -> str | None:
    """Path of this machine's Chromium; CHROMIUM names another one than the usual."""
    named = os.environ.get("CHROMIUM")
    found = [shutil.which(program) for program in ([named] if named else PROGRAMS)]
    return next(filter(None, found), None)


@contextlib.contextmanager
def opened() -> Iterator[Any]:
    """A browser (Playwright's), or None where Chromium or Playwright is missing."""
    program = find()
    with contextlib.ExitStack() as stack:
        try:
            from playwright.sync_api import sync_playwright
        except ImportError:
            program = None
        if program is None:
            yield None
        else:
            driver = stack.enter_context(sync_playwright())
            yield driver.chromium.launch(executable_path=program, args=OPTIONS)


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep the terminal for the report."""


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
    errors: list[str] = field(default_factory=list)  # of scripts, and refusals of the policy

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


def examine(page, screens: Iterable[str]) -> Iterator[str]:
    """Lines on what keeps readers out of an open page (Playwright's) on these screens."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name in screens:
        width, height, colors = SCREENS[name]
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=colors)
        page.evaluate(READY)
        for rule, targets in page.evaluate(EXAMINE):
            found.setdefault((rule, tuple(targets)), []).append(name)
    for (rule, targets), names in found.items():
        more = f" and {len(targets) - SHOWN} more" * (len(targets) > SHOWN)
        yield f"{rule} ({'; '.join(names)}): {', '.join(targets[:SHOWN])}{more}"


def faults_at(browser, base: str, name: str, screens: Iterable[str] = ()) -> Iterator[str]:
    """Lines on one page of the book at an address, examined for its readers on ``screens``."""
    from playwright.sync_api import Error

    watch = Watch((base,))
    with contextlib.closing(browser.new_context(service_workers="block")) as context:
        watch.guard(context)
        page = context.new_page()
        try:
            page.goto(base + name)
            page.wait_for_load_state()
            if screens:
                yield from examine(page, screens)
            else:
                page.evaluate(READY)
            yield from page.evaluate(LINKS)
        except Error as error:  # it does not come to rest, or leads away
            yield str(error).splitlines()[0]
    yield from (f"asks for {address}" for address in watch.remote)
    yield from (error.removeprefix(f"{base}{name}: ") for error in watch.errors)


def pages_of(folder: Path) -> list[str]:
    """Names of the pages that a reader stays on, not of those that lead on nor of templates."""
    pages = [page for page in sorted(folder.rglob("*.html")) if "_static" not in page.parts]
    return [
        page.relative_to(folder).as_posix()
        for page in pages
        if not LEADS_ON.search(page.read_text(encoding="utf-8"))
    ]


def faults(browser, folder: Path) -> Iterator[str]:
    """Lines on every page of a book, each line once."""
    with serve(folder.parent) as server:
        for name in pages_of(folder):
            found = [
                *faults_at(browser, f"{folder.as_uri()}/", name),
                # Served, as axe-core reads the style sheets again, which a folder refuses.
                *faults_at(browser, f"{server}{folder.name}/", name, SCREENS),
            ]
            yield from (f"{name}: {line}" for line in dict.fromkeys(found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", default=ROOT / "_build" / "html", help="rendered book"
    )
    folder = parser.parse_args().folder.resolve()
    pages = pages_of(folder)
    if not pages:
        print(f"{folder} has no pages: build the book first.", file=sys.stderr)
        return 2
    with opened() as browser:
        if browser is None:
            print("No page was opened: it needs Chromium and Playwright.", file=sys.stderr)
            return 0
        number = 0
        for number, line in enumerate(faults(browser, folder), start=1):  # noqa: B007
            print(line, flush=True)
    print(f"{len(pages)} pages opened, {number} faults")
    return bool(number)


if __name__ == "__main__":
    sys.exit(main())
