"""The lab page in Firefox, where it is installed: from a folder and served, under the policy."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from check_pages import serve

from eamlab_book.sphinxext.policy import META
from eamlab_book.widgets.lab import lab_scripts
from eamlab_book.widgets.widget import script_folder, scripts

FIREFOX = shutil.which("firefox") or shutil.which("firefox-esr")
STATIC = Path(__file__).resolve().parents[2] / "book" / "static"
WAIT_S = 300
TAKE_THE_EXAMPLE = """(async () => {
  const found = async (look) => {
    for (;; await new Promise((go) => setTimeout(go, 50))) if (look()) return look();
  };
  const button = (text) => () =>
    [...document.querySelectorAll("button")].find((one) => one.textContent.includes(text));
  (await found(button("Take the example"))).click();
  (await found(button("milliseconds"))).click();
  const status = document.querySelector(".eam-status");
  await found(() => /^Done/.test(status.textContent) || document.querySelector(".eam-question p"));
  return status.textContent + document.querySelectorAll("svg[role=img]").length;
})()"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(2 * WAIT_S),
    pytest.mark.skipif(FIREFOX is None, reason="no Firefox"),
]


@pytest.fixture
def ask(tmp_path):
    """``ask(method, **parameters)``: a command of WebDriver BiDi, and what Firefox answers."""
    client = pytest.importorskip("websocket")
    command = [FIREFOX, "--headless", "--remote-debugging-port=0", "--profile", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as firefox:
        try:
            address = next(filter(None, (re.search(r"ws://\S+", s) for s in firefox.stderr)))[0]
            options = {"timeout": WAIT_S, "suppress_origin": True}
            socket = client.create_connection(f"{address}/session", **options)
            keys = itertools.count()

            def send(method: str, **parameters):
                key = next(keys)
                socket.send(json.dumps({"id": key, "method": method, "params": parameters}))
                while (answer := json.loads(socket.recv())).get("id") != key:
                    pass
                return answer["result"]

            send("session.new", capabilities={})
            yield send
        finally:
            firefox.kill()


@pytest.mark.parametrize("over", ["file", "http"])
def test_the_lab_answers_in_firefox(ask, tmp_path_factory, over):
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(script_folder(), folder, dirs_exist_ok=True)
    shutil.copytree(STATIC / "vendor", folder / "vendor")
    names = (*(f"{name}.js" for name in scripts() if name != "mount"), *lab_scripts(), "mount.js")
    tags = "".join(f'<script defer src="{name}"></script>' for name in names)
    place = '<div data-eam-widget="lab"><script type="application/json">{"settings":{}}</script>'
    html = f'{META}{tags}{place}<p class="eam-fallback"></p></div>'
    page = f"<!doctype html><meta charset=utf-8>{html}"
    (folder / "page.html").write_text(page, encoding="utf-8")
    (tab,) = ask("browsingContext.getTree")["contexts"]
    with serve(folder) as server:
        url = f"{server}page.html" if over == "http" else (folder / "page.html").as_uri()
        ask("browsingContext.navigate", context=tab["context"], url=url, wait="complete")
        target = {"context": tab["context"]}
        found = ask(
            "script.evaluate", expression=TAKE_THE_EXAMPLE, target=target, awaitPromise=True
        )
    assert re.match(
        r"Done: example_trials.csv was read, .* 42 people.*4$", found["result"]["value"]
    )
