"""What the browser tests share: Chromium, a small book, a way to open its pages, JupyterLab."""

import importlib.util
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import check_pages
import lab_server
import pytest
from check_pages import Watch, serve
from small_book import SOURCE, build_book, jupyter_book

ARRIVED = "html:not(:has(meta[http-equiv=refresh i]))"  # not a page that leads on to another


@pytest.fixture(scope="session")
def chromium_program() -> str:
    """Path of this machine's Chromium; skips the test where there is none, before any work."""
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = check_pages.find()
    if program is None and (named := os.environ.get("CHROMIUM")):
        pytest.fail(f"CHROMIUM={named} is not a program")
    return program or pytest.skip("no Chromium: install Debian's, or set CHROMIUM to its path")


# One browser a module, not a session: while Playwright runs, its event loop counts as running for
# everything else in the process.
@pytest.fixture(scope="module")
def chromium(chromium_program: str) -> Iterator:
    """Headless Chromium, as Playwright's ``Browser``."""
    with check_pages.opened() as browser:
        yield browser


@pytest.fixture(scope="session")
def site(chromium_program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small book's rendered pages."""
    if not jupyter_book().exists():
        pytest.skip("Jupyter Book is not installed")
    return build_book(SOURCE, tmp_path_factory.mktemp("small") / "book")


# Where it matters; what is only looked at on an open page is the same at both.
served_and_on_disk = pytest.mark.parametrize("address", ["http", "file"], indirect=True)


@pytest.fixture
def address(request: pytest.FixtureRequest, chromium, site: Path) -> Iterator[str]:
    """Where the small book is: on disk, or served below a path, as a project's pages are."""
    if getattr(request, "param", "file") == "file":
        yield f"{site.as_uri()}/"
    else:
        with serve(site.parent) as server:
            yield f"{server}{site.name}/"


@pytest.fixture
def watched(chromium) -> Iterator[Callable]:
    """``watched(*addresses)``: a browser context that reaches these only, and its ``Watch``."""
    contexts = []

    def new(*local: str, **options):
        watch = Watch(local)
        context = chromium.new_context(service_workers="block", **options)
        contexts.append(context)
        watch.guard(context)
        return context, watch

    yield new
    for context in contexts:
        context.close()


@pytest.fixture
def visit(watched: Callable, address: str) -> Iterator[Callable]:
    """``visit("book/part/page.html", **context_options)``: an open page of the small book.

    Formulas are typeset when it returns. The test fails at its end if any page so opened asked for
    something that is not in the book, or reported an error.
    """
    watches = []

    def open_page(name: str, **options):
        context, watch = watched(address, **options)
        watches.append(watch)
        page = context.new_page()
        page.goto(address + name)
        page.wait_for_selector(ARRIVED, state="attached")
        page.wait_for_load_state()
        return page

    yield open_page
    assert [url for watch in watches for url in watch.remote] == []
    assert [error for watch in watches for error in watch.errors] == []


@pytest.fixture(scope="session")
def lab(
    chromium_program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[lab_server.Server]:
    """A running JupyterLab; notebooks belong into ``lab.folder``."""
    if not importlib.util.find_spec("jupyterlab"):
        pytest.skip("JupyterLab is not installed")
    base = tmp_path_factory.mktemp("lab")
    (base / "notebooks").mkdir()
    with lab_server.jupyterlab(base / "notebooks", base / "home") as server:
        yield server


def new_notebook(lab: lab_server.Server, *cells: str) -> str:
    """Write a notebook into JupyterLab's folder; return its name."""
    # A name of its own: under a known one JupyterLab would join the kernel of an earlier test.
    name = f"{secrets.token_hex(4)}.ipynb"
    lab_server.write_notebook(lab.folder / name, *cells)
    return name


@pytest.fixture
def open_notebook(lab: lab_server.Server, watched: Callable) -> Iterator[Callable]:
    """``open_notebook("name.ipynb", **context_options)``: JupyterLab's page of it, as it opens.

    Without ``kernels``, none can be started. Fails at the end of the test when a page asked for
    anything that is not this server's.
    """
    watches = []

    def open_page(name: str, *, kernels: bool = True, **options):
        context, watch = watched(lab.address, lab.address.replace("http", "ws", 1), **options)
        watches.append(watch)
        if not kernels:
            context.route("**/api/sessions*", lambda route: route.abort())
        page = context.new_page()
        page.goto(lab.page(name))
        return page

    yield open_page
    lab.end_kernels()
    assert [url for watch in watches for url in watch.remote] == []


@pytest.fixture
def run_notebook(lab: lab_server.Server, open_notebook: Callable) -> Callable:
    """``run_notebook("cell 1", "cell 2", ...)``: JupyterLab's page, every cell of it executed.

    Fails when a cell raised. ``timeout_s`` is for all cells together.
    """

    def run(*cells: str, timeout_s: float = 120, **options):
        name = new_notebook(lab, *cells)
        page = open_notebook(name, **options)
        lab_server.run_all(page, name, timeout_s)
        return page

    return run
