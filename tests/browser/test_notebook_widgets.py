"""A widget in a notebook: there at once, moved by keys, and seen where no kernel is behind it."""

import subprocess
import sys

import lab_server
import nbformat
import pytest
from conftest import new_notebook

pytestmark = pytest.mark.browser

IMPORT = "import eamlab_book as book\nfrom eamlab_book.widgets import playgrounds"
TOY = "playgrounds.toy_playground()"
HOLD = "import pathlib, time\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.1)"
STATUS = "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status"
SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"
NOT_SEEN = ("Error displaying widget", "Loading widget", "no kernel")
MOVABLE = ".eam-widget svg[role=img]"
STILL = ".eam-fallback img"


@pytest.mark.parametrize(
    ("widget", "seconds"),
    [(TOY, 0), pytest.param("book.explorer(num_samples=50)", 30, marks=pytest.mark.slow)],
    ids=["toy", "explorer for long"],
)
def test_run_all_draws_at_once_and_turns_live_when_the_kernel_is_free(
    open_notebook, lab, widget, seconds
):
    name = new_notebook(lab, IMPORT, widget, HOLD)
    go = lab.folder / "go"
    page = open_notebook(name)
    try:
        page.wait_for_function(lab_server.OPENED, arg=name, timeout=60_000)
        page.evaluate(f"() => {{ ({lab_server.RUN_ALL})(); }}")  # not waited for
        page.wait_for_selector(MOVABLE, timeout=60_000)
        page.wait_for_timeout(1000 * seconds)
        assert page.evaluate(STATUS) == "busy"
        assert page.locator(".eam-tag").get_attribute("data-life") != "live"
        assert page.locator(MOVABLE).is_visible() and not page.locator(STILL).is_visible()
        go.touch()
        page.wait_for_selector(".eam-tag[data-life=live]", timeout=60_000)
        assert page.locator(".eam-status").inner_text() == ""
    finally:
        go.touch()
        page.wait_for_function(lab_server.IDLE)
        go.unlink()


WIDGETS = """
from IPython.display import display

display(playgrounds.decision_playground(), playgrounds.population_playground())
display(playgrounds.toy_playground(), book.explorer(), book.film(live=False))
"""
VALUE = "(input) => [input.value, input.checked]"


def test_arrow_keys_belong_to_the_controls(run_notebook):
    """JupyterLab takes them for itself, and goes to another cell."""
    page = run_notebook(IMPORT, WIDGETS, "# below", viewport={"width": 1200, "height": 900})
    page.locator(".eam-widget").nth(4).wait_for()
    inputs = page.query_selector_all(".eam-widget input:enabled:is([type=range], :checked)")
    assert len(inputs) > 25
    for control in inputs:
        kind = control.get_attribute("type")
        control.focus()
        before = control.evaluate(VALUE)
        at_end = kind == "range" and before[0] == control.get_attribute("max")
        page.keyboard.press("ArrowLeft" if at_end else "ArrowRight")
        assert control.evaluate(VALUE) != before, control.get_attribute("name")
        assert page.evaluate("() => document.activeElement.type") == kind
        if kind == "radio":
            page.keyboard.press("ArrowLeft")  # multiplied Gaussians have no bridge to move


def seen(page) -> str:
    """The text of an open notebook's outputs, as far as it is seen."""
    return page.locator(".jp-Notebook").inner_text()


def still(page) -> None:
    page.locator(STILL).wait_for()
    assert page.locator(STILL).bounding_box()["width"] > 200
    assert not [text for text in NOT_SEEN if text in seen(page)]


@pytest.mark.slow
def test_a_saved_notebook_shows_the_still(run_notebook, open_notebook, lab):
    """Opened with another kernel, without any, and changed elsewhere, so that it is not trusted."""
    page = run_notebook(IMPORT, TOY)
    page.wait_for_selector(".eam-tag[data-life=live]")
    page.evaluate(SAVE)
    name = page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path")
    page.close()
    lab.end_kernels()

    page = open_notebook(name)
    page.get_by_text("model not found").wait_for(state="attached", timeout=60_000)
    still(page)

    page.close()
    lab.end_kernels()
    page = open_notebook(name, kernels=False)
    page.get_by_text("Loading widget").wait_for(state="attached", timeout=60_000)
    still(page)

    page.close()
    notebook = nbformat.read(lab.folder / name, 4)
    notebook.cells.append(nbformat.v4.new_code_cell("1 + 1"))  # not as it was signed
    nbformat.write(notebook, lab.folder / name)
    page = open_notebook(name)
    still(page)
    assert page.locator("style", has_text="eam-fallback").count() == 0


def test_an_exported_notebook_is_not_blank(lab, watched, tmp_path):
    """As HTML, executed on the way, and opened without a network."""
    lab_server.write_notebook(tmp_path / "toy.ipynb", IMPORT, TOY)
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "toy.ipynb"]
    env = lab_server.environment(tmp_path / "home")
    subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True)
    context, _ = watched(tmp_path.as_uri())
    page = context.new_page()
    page.goto((tmp_path / "toy.html").as_uri())
    still(page)
