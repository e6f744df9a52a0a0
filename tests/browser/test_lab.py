"""Widgets live in JupyterLab: the fixture that runs notebooks there works, and cleans up."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from lab_server import STOP_S, jupyterlab

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
pytestmark = pytest.mark.browser

COUNTER = '''
import anywidget
import traitlets


class Counter(anywidget.AnyWidget):
    """Counts on the page; Python squares the count."""

    _esm = """
    function render({ model, el }) {
        const button = document.createElement("button");
        const show = () =>
            button.textContent = `${model.get("count")} squared is ${model.get("square")}`;
        button.onclick = () => {
            model.set("count", model.get("count") + 1);
            model.save_changes();
        };
        model.on("change:square", show);
        el.append(button);
        show();
    }
    export default { render };
    """
    count = traitlets.Int(2).tag(sync=True)
    square = traitlets.Int(4).tag(sync=True)

    @traitlets.observe("count")
    def answer(self, change):
        self.square = change.new**2


counter = Counter()
counter
'''


def test_widget_is_answered_by_its_kernel(run_notebook):
    page = run_notebook("start = 2", COUNTER, "assert counter.count == start")
    page.click("text=2 squared is 4")
    page.wait_for_selector("text=3 squared is 9")
    page.click("text=3 squared is 9")
    page.wait_for_selector("text=4 squared is 16")


BAR = """
import time
from eamlab.parallel import threaded, threads

threaded(lambda _: time.sleep(1), range(4 * threads()), "waiting", None);
"""


def test_a_bar_is_still_there_when_the_page_is_loaded_again(run_notebook):
    page = run_notebook(BAR)
    page.get_by_text("waiting").first.wait_for()
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    page.get_by_text("waiting: 100%").wait_for()
    assert page.get_by_text("Error displaying widget").count() == 0


def test_cell_that_raises_fails_the_test(run_notebook):
    with pytest.raises(AssertionError, match="ValueError: no such study"):
        run_notebook("raise ValueError('no such study')")


@pytest.mark.slow  # of the tests' own server
def test_server_and_kernels_are_gone_afterwards(tmp_path):
    with jupyterlab(tmp_path, tmp_path / "home") as server:
        server.start_kernel()
        assert len(server.kernels()) == 1
        server.end_kernels()
        assert server.kernels() == []
        server.start_kernel()
        started = server.kernels()
        assert len(started) == 1
    assert not server.process.is_running()
    assert not started[0].is_running()


KILLED = """
import signal, sys
from pathlib import Path
from lab_server import jupyterlab

folder = Path(sys.argv[1])
with jupyterlab(folder, folder / "home") as server:
    server.start_kernel()
    print(*(process.pid for process in [server.process, *server.kernels()]), flush=True)
    signal.pause()
"""


@pytest.mark.slow
def test_server_and_kernels_do_not_outlive_a_killed_test_run(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    run = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)
    left_behind = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
    assert len(left_behind) == 2
    run.send_signal(signal.SIGKILL)
    run.communicate()
    _, alive = psutil.wait_procs(left_behind, timeout=2 * STOP_S)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert alive == []
