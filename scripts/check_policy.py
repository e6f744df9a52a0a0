"""Check that a rendered book passes its own content-security policy; exit 1 if it does not.

Every page must carry the policy that `eamlab.sphinxext.policy` writes into it, with the hashes of
the scripts that it has now. Then Chromium opens each page, from its folder and below a path of a
server, and nothing of it may be refused. Without Chromium or Playwright only the first half is
checked, and it says so.
"""

import argparse
import contextlib
import functools
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import chromium
from serve import Handler

from eamlab.sphinxext.policy import pages_of, policy_for, policy_in

ROOT = Path(__file__).resolve().parent.parent

LISTEN = """
window.refused = [];
window.addEventListener("securitypolicyviolation", (event) => window.refused.push(
  `${event.effectiveDirective} refuses ${event.blockedURI} (line ${event.lineNumber})`));
"""
SETTLE = """async () => {
  await window.MathJax?.startup?.promise;
  // What the page does when it is idle, and the events of it, come a little later.
  await new Promise((done) => setTimeout(done, 200));
}"""


def faults(folder: Path) -> Iterator[str]:
    """Lines on pages without their policy."""
    for file in pages_of(folder):
        page = file.read_text(encoding="utf-8")
        name, policy = file.relative_to(folder), policy_in(page)
        if policy is None:
            yield f"{name}: has no policy"
        elif policy != policy_for(page):
            yield f"{name}: its policy is not that of the scripts in it"


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve what is beside a folder, too; yield the folder's address."""
    handler = functools.partial(Handler, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{folder.name}/"
        finally:
            server.shutdown()
            thread.join()


def refused(page, address: str) -> list[str]:
    """Open an address (in Playwright's page) and list what its policy refuses."""
    page.goto(address)
    page.wait_for_load_state()
    page.evaluate(SETTLE)
    return page.evaluate("() => window.refused")


def refusals(browser, folder: Path) -> Iterator[str]:
    """Lines on what the pages of a folder are refused, from the folder and from a server."""
    names = [file.relative_to(folder).as_posix() for file in chromium.pages_to_open(folder)]
    with served(folder) as server, contextlib.closing(browser.new_context()) as context:
        context.add_init_script(LISTEN)
        page = context.new_page()
        for base in (f"{folder.as_uri()}/", server):
            for name in names:
                yield from (f"{name}: {line}" for line in refused(page, base + name))


def in_chromium(folder: Path) -> list[str]:
    """Lines on what Chromium refuses, or none where there is no Chromium."""
    with chromium.opened() as browser:
        if browser is not None:
            return list(refusals(browser, folder))
    print("No page was opened: it needs Chromium and Playwright.", file=sys.stderr)
    return []


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
    found = [*faults(folder), *in_chromium(folder)]
    for line in dict.fromkeys(found):
        print(line)
    print(f"{len(pages)} pages, {len(set(found))} breaches of the content-security policy")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
