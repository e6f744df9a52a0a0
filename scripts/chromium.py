"""This machine's Chromium, as the checks of a rendered book open pages in it."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eamlab.sphinxext.policy import pages_of

PROGRAMS = ("/usr/bin/chromium", "chromium", "google-chrome")
OPTIONS = [
    "--disable-dev-shm-usage",  # containers give it 64 MB
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


def find() -> str | None:
    """Path of the program; CHROMIUM names another one than the usual."""
    named = os.environ.get("CHROMIUM")
    found = [shutil.which(program) for program in ([named] if named else PROGRAMS)]
    return next(filter(None, found), None)


@contextlib.contextmanager
def opened() -> Iterator[Any]:
    """A browser (Playwright's), or None where Chromium or Playwright is missing."""
    program = find()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        yield None
        return
    with sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=program, args=OPTIONS)


def leads_on(path: Path) -> bool:
    """Whether a page does nothing but lead on to another."""
    return 'http-equiv="refresh"' in path.read_text(encoding="utf-8").lower()[:2000]


def pages_to_open(folder: Path) -> list[Path]:
    """Pages below a folder that a reader stays on."""
    return [path for path in pages_of(folder) if not leads_on(path)]
