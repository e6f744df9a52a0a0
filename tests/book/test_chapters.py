"""Execute every chapter in a kernel of its own, one at a time, and watch its memory."""

import importlib.util
import threading
import time
from pathlib import Path

import jupytext
import nbformat
import psutil
import pytest
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import myst_nb_reader_plugin
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
MEMORY_LIMIT_MB = 1500  # hosted sessions have 2 GB, JupyterLab included
CELL_TIMEOUT_S = 600

pytestmark = pytest.mark.book


def load_build_script():
    spec = importlib.util.spec_from_file_location("build_book", ROOT / "scripts" / "build_book.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def toc_entries() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    parts = toc.get("parts", [toc])
    return [toc["root"], *(entry["file"] for part in parts for entry in part.get("chapters", []))]


PAGES = [ROOT / f"{entry}.md" for entry in toc_entries()]
# A page without code (a glossary, say) has no kernel to start.
CHAPTERS = [page for page in PAGES if not page.exists() or "{code-cell}" in page.read_text()]


class MemoryWatch:
    """Peak resident memory (MB) of a kernel and its child processes, sampled from a thread."""

    def __init__(self, every_s: float = 0.1) -> None:
        self.every_s = every_s
        self.peak_mb = 0.0
        self.done = threading.Event()

    def start(self, pid: int) -> None:
        self.thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.done.set()
        if hasattr(self, "thread"):
            self.thread.join()

    def _watch(self, pid: int) -> None:
        while not self.done.wait(self.every_s):
            try:
                kernel = psutil.Process(pid)
                children = sum(resident_mb(child) for child in kernel.children(recursive=True))
                self.peak_mb = max(self.peak_mb, peak_mb(kernel) + children)
            except psutil.Error:
                return


def resident_mb(process: psutil.Process) -> float:
    try:
        return process.memory_info().rss / 1e6
    except psutil.Error:
        return 0.0


def peak_mb(process: psutil.Process) -> float:
    """High-water mark where the system keeps one (Linux), else the memory of this moment."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return resident_mb(process)
    marks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return float(marks[0]) * 1024 / 1e6 if marks else resident_mb(process)


def warnings_in(notebook: nbformat.NotebookNode) -> list[str]:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    printed = [out.text for out in outputs if out.get("name") == "stderr"]
    return [line for text in printed for line in text.splitlines() if "Warning:" in line]


def keep_for_the_book(page: Path, notebook: nbformat.NotebookNode, seconds: float) -> None:
    """Hand the executed chapter to `make book`, which then need not run it again."""
    cache = get_cache(load_build_script().CACHE)
    bundle = CacheBundleIn(notebook, str(page), data={"execution_seconds": seconds})
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


@pytest.fixture(scope="module", autouse=True)
def current_cache():
    load_build_script().refresh_cache()


@pytest.mark.timeout(2 * CELL_TIMEOUT_S)
@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_chapter_runs_within_memory(page, record_property):
    # Read as the book reads it, so that the result can be kept for it.
    notebook = myst_nb_reader_plugin(str(page))
    watch = MemoryWatch()
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,  # it would change the key under which the book looks for the result
        resources={"metadata": {"path": str(page.parent)}},
        on_notebook_start=lambda **_: watch.start(client.km.provisioner.pid),
    )
    start = time.monotonic()
    try:
        client.execute()  # raises on the first cell that fails
    finally:
        watch.stop()
        seconds = time.monotonic() - start
        record_property("chapter", page.stem)
        record_property("seconds", seconds)
        record_property("peak_mb", watch.peak_mb)
    assert 0 < watch.peak_mb <= MEMORY_LIMIT_MB
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
    assert {page.name for page in BOOK.glob("*.md")} == {page.name for page in PAGES}
