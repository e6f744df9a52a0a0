"""Execute every chapter in a kernel of its own, and watch its memory."""

import contextlib
import time
from pathlib import Path

import build_book
import jupytext
import nbformat
import psutil
import pytest
from contents import pages, with_code
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from memory import Watch
from myst_nb.core.read import myst_nb_reader_plugin
from nbclient import NotebookClient

BOOK = Path(__file__).resolve().parents[2] / "book"
MEMORY_LIMIT_MB = 1500  # hosted sessions have 2 GB, JupyterLab included
CELL_TIMEOUT_S = 600

pytestmark = pytest.mark.book


# A page without code (a glossary, say) has no kernel to start.
CHAPTERS = with_code()


def warnings_in(notebook: nbformat.NotebookNode) -> list[str]:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    printed = [out.text for out in outputs if out.get("name") == "stderr"]
    return [line for text in printed for line in text.splitlines() if "Warning:" in line]


def keep_for_the_book(page: Path, notebook: nbformat.NotebookNode, seconds: float) -> None:
    """Hand the executed chapter to `make book`, which then need not run it again."""
    cache = get_cache(build_book.CACHE)
    bundle = CacheBundleIn(notebook, str(page), data={"execution_seconds": seconds})
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


@pytest.fixture(scope="module", autouse=True)
def current_cache():
    build_book.refresh_cache()


@pytest.mark.timeout(2 * CELL_TIMEOUT_S)
@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_chapter_runs_within_memory(page, record_property):
    # Read as the book reads it, so that the result can be kept for it.
    notebook = myst_nb_reader_plugin(str(page))
    watches = contextlib.ExitStack()
    kernel: list[Watch] = []

    def watch_kernel(**_):
        process = psutil.Process(client.km.provisioner.pid)
        kernel.append(watches.enter_context(Watch(process).running()))

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,  # it would change the key under which the book looks for the result
        resources={"metadata": {"path": str(page.parent)}},
        on_notebook_start=watch_kernel,
    )
    start = time.monotonic()
    try:
        with watches:
            client.execute()  # raises on the first cell that fails
    finally:
        seconds = time.monotonic() - start
        peak_mb = sum(watch.peak_mb for watch in kernel)
        record_property("chapter", page.stem)
        record_property("seconds", seconds)
        record_property("peak_mb", peak_mb)
    assert 0 < peak_mb <= MEMORY_LIMIT_MB
    assert not warnings_in(notebook)
    keep_for_the_book(page, notebook, seconds)


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_jupyterlab_and_the_book_read_the_same_code(page):
    def code(notebook):
        return [cell.source.strip() for cell in notebook.cells if cell.cell_type == "code"]

    notebook = jupytext.read(page)
    assert code(notebook) == code(myst_nb_reader_plugin(str(page)))
    assert notebook.metadata.kernelspec.name == "python3"


def test_every_page_is_in_the_table_of_contents():
    assert {page.name for page in BOOK.glob("*.md")} == {page.name for page in pages()}
