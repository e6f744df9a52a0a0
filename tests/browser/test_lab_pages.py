"""The lab page: files, a task and a class, from a folder, with nothing sent."""

import json
import re
from pathlib import Path

import check_pages
import numpy as np
import pandas as pd
import pytest
from check_pages import Watch
from qr_codes import text_of
from small_book import ROOT, build_book, jupyter_book
from tasks import TASK_MS, tasks_ms

import eamlab as el
from eamlab_book.widgets.lab import lab_scripts

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
NEIGHBORS = ("07_individuals", "09_your_own_data")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TRIALS = 3  # of the task, instead of forty
DONE_MS = 120_000


@pytest.fixture(scope="session")
def lab_site(chromium_program, tmp_path_factory) -> Path:
    """The rendered lab page, with a short task, and pages that it links to."""
    if not jupyter_book().exists():
        pytest.skip("Jupyter Book is not installed")
    folder = tmp_path_factory.mktemp("lab")
    source = folder / "source" / "book"
    source.mkdir(parents=True)
    page = (ROOT / "book" / "lab.md").read_text(encoding="utf-8")
    task = 'data-eam-widget="subject"><script type="application/json">{'
    assert task in page
    settings = f'"settings":{{"trials":{TRIALS},"seed":1}}'
    (source / "lab.md").write_text(page.replace(task, task + settings), encoding="utf-8")
    names = ("index", *NEIGHBORS)
    for name in names:
        (source / f"{name}.md").write_text(f"# {name}\n", encoding="utf-8")
    toc = {"format": "jb-book", "root": "book/index"}
    toc["chapters"] = [{"file": f"book/{name}"} for name in (*NEIGHBORS, "lab")]
    (source.parent / "_toc.yml").write_text(json.dumps(toc), encoding="utf-8")
    return build_book(source.parent, folder / "built")


@pytest.fixture
def open_lab(chromium, lab_site):
    """``open_lab(**context_options)``: the page, from its folder.

    Afterwards it asks for nothing but the networks in this folder.
    """
    contexts, asked = [], []

    def open_page(**options):
        watch = Watch((f"{lab_site.as_uri()}/",))
        context = chromium.new_context(**options)
        watch.guard(context)
        page = context.new_page()
        page.goto(f"{lab_site.as_uri()}/book/lab.html")
        page.wait_for_load_state()
        page.locator("[data-eam-ready]").nth(2).wait_for(state="attached")
        page.wait_for_timeout(500)  # the theme's own last ones
        page.on("request", lambda request: asked.append(request.url))
        contexts.append((context, watch))
        return page

    yield open_page
    for context, watch in contexts:
        context.close()
        assert watch.errors == [] and watch.remote == []
    # The browser asks for the icon when it likes, for instance at a download.
    files = r"(engine/[a-z-]+\.weights\.js|favicon\.svg)"
    own = re.compile(f"{lab_site.as_uri()}/_static/{files}|blob:|data:")
    assert [url for url in asked if not own.match(url)] == []


def part(page, name):
    return page.locator(f"[data-eam-widget={name}]")


def give(page, name, content):
    page.locator("#eam-file").set_input_files(
        {"name": name, "mimeType": "text/csv", "buffer": content}
    )


def question(page):
    return part(page, "lab").locator(".eam-question")


def small_study():
    study = el.simulate(el.EAM, 5, n_trials=20, seed=3)
    frame = study.frame.rename(columns={"choice": "response"})
    return frame.assign(rt=(1000 * frame["rt"]).round().astype(int))


def read_small(page, frame=None):
    """Read a small study, and wait for all that is made of it."""
    frame = small_study() if frame is None else frame
    give(page, "mine.csv", frame.to_csv(index=False).encode())
    question(page).get_by_role("button", name="milliseconds").click()
    part(page, "lab").get_by_text("Done: mine.csv").wait_for(timeout=DONE_MS)


# --- a file ---------------------------------------------------------------------------------------


def test_other_pages_load_nothing_of_the_lab(lab_site):
    names = (lab_site / "book" / "lab.html").read_text(encoding="utf-8")
    assert all(f"_static/{name}" in names for name in lab_scripts())
    assert "weights.js" not in names
    for other in ("index.html", f"book/{NEIGHBORS[0]}.html", "search.html"):
        text = (lab_site / other).read_text(encoding="utf-8")
        assert not re.search(r"_static/(engine|lab)/|vendor/qrcode", text)


def test_a_file_becomes_posteriors_and_tables_without_a_request(open_lab, tmp_path):
    page = open_lab()
    read_small(page)
    text = part(page, "lab").inner_text()
    assert "mine.csv: 5 people, 100 trials" in text and "Left out: 0 of 100" in text
    assert part(page, "lab").locator("svg[role=img]").count() == 4
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save subject_summary.csv").click()
    saved.value.save_as(tmp_path / "people.csv")
    table = pd.read_csv(tmp_path / "people.csv")
    assert table["subject"].unique().tolist() == [0, 1, 2, 3, 4]
    assert np.isfinite(table.drop(columns="parameter")).all(axis=None)
    python = part(page, "lab").locator("pre").inner_text()
    assert "read_trials('mine.csv', unit='ms')" in python
    # It has no link, and survives one.
    assert page.locator(".eam-links").count() == 0
    assert page.get_by_role("button", name=re.compile("Copy link|Reset")).count() == 0
    page.evaluate("location.hash = '#lab.level=1&subject.trials=2'")
    page.wait_for_timeout(200)
    assert "mine.csv: 5 people" in part(page, "lab").inner_text()
    assert "could not be followed" not in page.locator("main").inner_text()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    part(page, "lab").get_by_role("button", name="Copy the Python").click()
    page.get_by_text("the text is selected").wait_for()
    assert page.evaluate("String(getSelection())").startswith("import eamlab as el")


@pytest.fixture(params=["file", "http"])
def where(request, lab_site):
    """Where the site is: on disk, and served below a path."""
    with check_pages.serve(lab_site.parent) as server:
        yield f"{server}{lab_site.name}" if request.param == "http" else lab_site.as_uri()


def test_a_models_networks_come_when_it_is_chosen_and_nothing_else(chromium, where):
    page, asked = chromium.new_page(), []
    page.goto(f"{where}/book/lab.html")
    page.locator("[data-eam-ready]").nth(2).wait_for(state="attached")
    page.wait_for_load_state("networkidle")
    page.on("request", lambda request: asked.append(request.url))
    lab = part(page, "lab")
    assert lab.get_by_role("radio", name="LABORATORY").is_checked()
    lab.get_by_role("radio", name="EAM").check()
    lab.get_by_text(re.compile("networks of the model EAM.* are in the page")).wait_for()
    page.context.set_offline(True)
    read_small(page)
    scripts = [f"{where}/_static/engine/{name}.weights.js" for name in ("global", "local")]
    assert [url for url in asked if not url.startswith(("blob:", "data:"))] == scripts
    page.close()


def test_networks_that_cannot_be_reached_are_said_in_a_sentence_and_come_later(chromium, lab_site):
    with check_pages.serve(lab_site) as server:
        page, frame = chromium.new_page(), small_study()
        page.goto(f"{server}book/lab.html")
        page.context.set_offline(True)
        give(page, "mine.csv", frame.assign(rt=frame["rt"] / 1000).to_csv(index=False).encode())
        sentence = question(page).locator("p", has_text="could not be loaded; try again when")
        sentence.wait_for()
        assert sentence.count() == 1 and "5 people" in part(page, "lab").inner_text()
        page.context.set_offline(False)
        read_small(page, frame)
        page.close()


def test_the_policy_forbids_to_send(chromium, lab_site):
    with check_pages.serve(lab_site) as server:
        page = chromium.new_page()
        page.goto(f"{server}book/lab.html")
        code = """async () => {
          try { await fetch("lab.html"); return "sent"; } catch { /* refused */ }
          return navigator.sendBeacon("lab.html", "x") ? "sent" : "refused"; }"""
        refused = []
        page.on("console", lambda message: refused.append(message.text))
        page.evaluate(code)
        page.wait_for_timeout(200)
        page.close()
    assert sum("connect-src 'none'" in text for text in refused) == 2


def test_bad_files_get_one_sentence_and_lose_nothing(open_lab, tmp_path):
    page = open_lab()
    read_small(page)
    bad = {
        "paper.pdf": (b"%PDF-1.7 ...", "not a text file"),
        "book.xlsx": (b"PK\x03\x04", "not a text file"),
        "large.csv": (b"subject,rt,response\n" + b"1,0.5,1\n" * 2_625_000, "21 MB.*20 MB"),
        "no_time.csv": (b"subject,trial,response\n1,1,1\n", "no rt column"),
        "empty.csv": (b"", "no rows"),
    }
    for name, (content, message) in bad.items():
        (tmp_path / name).write_bytes(content)
        page.locator("#eam-file").set_input_files(tmp_path / name)
        sentence = question(page).locator("p")
        sentence.filter(has_text=re.compile(message)).wait_for()
        assert sentence.count() == 1
        text = part(page, "lab").inner_text()
        assert "still of mine.csv" in text and "mine.csv: 5 people" in text


def test_a_question_about_columns_is_answered_by_choosing_one(open_lab):
    page = open_lab()
    frame = small_study().rename(columns={"rt": "latency"})
    give(page, "mine.csv", frame.to_csv(index=False).encode())
    question(page).get_by_text("no rt column").wait_for()
    question(page).get_by_role("combobox").select_option(label="latency")
    question(page).get_by_role("button", name="milliseconds").click()
    part(page, "lab").get_by_text("Done: mine.csv").wait_for(timeout=DONE_MS)
    assert "columns={'rt': 'latency'}, unit='ms'" in part(page, "lab").locator("pre").inner_text()


def test_two_conditions_become_eleven_parameters(open_lab):
    page = open_lab()
    part(page, "lab").get_by_role("radio", name="TWO_CONDITIONS").check()
    frame = el.simulate(el.TWO_CONDITIONS, 6, n_trials=20, seed=3).frame
    cue = frame.pop("condition").map({"-0.5": "slow", "0.5": "fast"})
    frame = frame.rename(columns={"choice": "response"}).assign(cue=cue)
    give(page, "mine.csv", frame.to_csv(index=False).encode())
    question(page).get_by_text("compares two conditions").wait_for()
    question(page).get_by_role("combobox").select_option(label="cue")
    part(page, "lab").get_by_text("Done: mine.csv").wait_for(timeout=DONE_MS)
    part(page, "lab").get_by_role("button", name="Compare “slow” (-1/2)").click()
    python = part(page, "lab").locator("pre", has_text="('slow', 'fast')")
    python.wait_for(timeout=DONE_MS)
    assert "read_trials('mine.csv', conditions={'cue': ('slow', 'fast')})" in python.inner_text()
    assert 'load_pretrained("two-conditions")' in python.inner_text()
    page.get_by_text("The population as a table").click()
    names = part(page, "lab").get_by_role("region", name="The population").locator("td:first-child")
    assert names.all_inner_texts() == list(el.TWO_CONDITIONS.prior.names)
    assert names.count() == 11


# A file that is dropped on an element; whether the browser was kept from opening it.
DROP = """
(target, [name, text]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([text], name, { type: "text/csv" }));
  return ["dragover", "drop"].map((kind) => !target.dispatchEvent(
    new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true })));
}
"""


def test_a_file_may_be_dropped_on_the_zone_and_beside_it(open_lab):
    page = open_lab()
    frame = small_study()
    text = frame.assign(rt=frame["rt"] / 1000).to_csv(index=False)
    for name, target in {"zone.csv": ".eam-drop", "beside.csv": "body"}.items():
        assert page.locator(target).evaluate(DROP, [name, text]) == [True, True]
        part(page, "lab").get_by_role("heading", name=f"{name}: 5 people").wait_for()
        assert page.locator(".eam-over").count() == 0


def test_data_from_beyond_the_prior_are_warned_of(open_lab):
    page = open_lab()
    part(page, "lab").get_by_role("radio", name="EAM").check()
    frame = small_study()
    read_small(page, frame.assign(rt=frame["rt"] * 6))
    warned = part(page, "lab").locator(".eam-problem")
    assert "do not trust the draws" in warned.inner_text()
    assert "the model expects" in part(page, "lab").inner_text()


def test_two_tabs_do_not_know_of_each_other(open_lab):
    one, two = open_lab(), open_lab()
    read_small(one)
    two.wait_for_timeout(200)
    assert "mine.csv" not in two.locator("main").inner_text()


# --- the task -------------------------------------------------------------------------------------


def play(page, answer, trials=TRIALS):
    """Answer so many trials, each 300 ms after its dots are there."""
    told = part(page, "subject").locator(".eam-told")
    for _ in range(trials):
        told.filter(has_text=re.compile(r"^$")).wait_for(state="attached", timeout=10_000)
        page.wait_for_timeout(300)
        answer()


def test_a_player_with_a_keyboard_gets_a_posterior(open_lab, tmp_path):
    page = open_lab(reduced_motion="reduce")
    task = part(page, "subject")
    assert task.get_by_role("radio", name="at rest").is_checked()
    task.locator(".eam-stage").focus()
    page.keyboard.press("Enter")
    play(page, lambda: page.keyboard.press("ArrowLeft"))
    task.get_by_text("Your 90 % intervals").wait_for(timeout=DONE_MS)
    assert task.locator("svg[role=img]").count() == 1
    assert "have 3 to 3 trials" in task.inner_text()  # fewer than the networks know
    task.get_by_role("radio", name="10,000").check()
    with page.expect_download() as saved:
        task.get_by_role("button", name="Save the trials").click()
    saved.value.save_as(tmp_path / "mine.csv")
    study = el.read_trials(tmp_path / "mine.csv", unit="s")
    assert study.n_trials.tolist() == [TRIALS]
    assert np.all((study.frame["rt"] > 0.25) & (study.frame["rt"] < 2.9))


def test_a_finger_will_do_and_a_tab_in_the_background_loses_nothing(open_lab):
    page = open_lab(**PHONE)
    task = part(page, "subject")
    task.get_by_role("button", name="Start").tap()
    play(page, task.get_by_role("button", name="right").tap, TRIALS - 1)
    page.wait_for_timeout(200)
    page.evaluate("window.dispatchEvent(new Event('blur'))")
    assert "does not count, the others are kept" in task.inner_text()
    page.wait_for_timeout(4000)  # longer than a trial
    assert "does not count" in task.inner_text()
    task.get_by_role("button", name="Go on").tap()
    play(page, task.get_by_role("button", name="right").tap, 1)
    task.get_by_text(re.compile(rf"of {TRIALS} correct")).wait_for(timeout=DONE_MS)


def test_early_and_late_answers_are_told_and_come_again(open_lab):
    page = open_lab()
    task = part(page, "subject")
    task.get_by_role("button", name="Start").click()
    early = task.get_by_text("Too early")
    for _ in range(200):  # the first trial waits for the networks
        page.keyboard.press("ArrowLeft")
        if early.is_visible():
            break
        page.wait_for_timeout(50)
    early.wait_for()
    task.get_by_text("Too slow").wait_for(timeout=8000)
    task.get_by_text(f"1 of {TRIALS}").wait_for()


# Begin a second task beside the page's, and end it once its first trial is announced.
ENDED = """
async () => {
  const box = document.createElement("div");
  document.querySelector("main").append(box);
  const stop = eamlab.widgets.subject(box, { settings: { trials: 2, seed: 1 } });
  const told = box.querySelector(".eam-told");
  box.querySelector("button:not(.eam-side)").click();
  while (!told.textContent.startsWith("1 of")) await new Promise((go) => setTimeout(go, 20));
  stop();
  dispatchEvent(new Event("blur"));
  const before = told.textContent;
  await new Promise((go) => setTimeout(go, 1500));  // longer than a pause
  return [before, told.textContent];
}
"""


def test_a_task_that_is_ended_stands_still(open_lab):
    assert open_lab().evaluate(ENDED) == ["1 of 2", "1 of 2"]


# --- the class ------------------------------------------------------------------------------------


MODULES = r"""
(svg) => {
  const n = svg.viewBox.baseVal.width - 8;
  const dark = Array.from({ length: n }, () => Array(n).fill(0));
  const path = svg.querySelector("path").getAttribute("d");
  for (const [, c, r] of path.matchAll(/M(\d+) (\d+)/g)) dark[r][c] = 1;
  return dark;
}
"""


def test_a_class_adds_its_answers_up(open_lab):
    page = open_lab()
    read_small(page)
    room = part(page, "classroom")
    room.get_by_role("button", name="Answer for mine.csv").click()
    room.locator(".eam-qr svg").wait_for(timeout=DONE_MS)
    text = room.get_by_label("The answer of this machine").input_value()
    assert len(text) < 200
    dark = room.locator(".eam-qr svg").evaluate(MODULES)
    assert text_of(np.array(dark)) == text
    box = room.get_by_label(re.compile("Paste the texts"))
    add = room.get_by_role("button", name="Add", exact=True)
    for given, message in {
        text: "1 answer, 5 people",
        text + " ": "there already",
        text[:-3]: "cut off",
        "hello": "no answer of a group",
        "": "no text to add",
    }.items():
        box.fill(given)
        add.click()
        room.get_by_text(message).wait_for()
    assert "1 answer, 5 people" in room.inner_text()
    assert room.locator("svg[role=img]").count() == 2  # the code and the sum
    room.get_by_role("button", name="Take out answer 1").click()
    assert room.locator("ol").count() == 0


@pytest.mark.slow
def test_no_task_holds_the_page_up(open_lab):
    page = open_lab()
    frame = small_study()
    many = [frame.assign(subject=frame["subject"] + 5 * i) for i in range(12)]
    tasks = tasks_ms(page, lambda: read_small(page, pd.concat(many)))
    assert len(tasks) > 100 and max(tasks) < TASK_MS


# --- everybody ------------------------------------------------------------------------------------


def test_the_page_has_no_faults(chromium, lab_site):
    """On each device and in each color scheme, if not in each pair of them."""
    with check_pages.serve(lab_site) as server:
        screens = ("wide, light", "phone, dark")
        assert list(check_pages.faults_at(chromium, server, "book/lab.html", screens)) == []


def test_results_have_no_faults(open_lab):
    page = open_lab(viewport={"width": 390, "height": 844}, color_scheme="light")
    read_small(page)
    part(page, "classroom").get_by_role("button", name="Answer for").click()
    part(page, "classroom").locator(".eam-qr svg").wait_for(timeout=DONE_MS)
    part(page, "classroom").get_by_role("button", name="Add it to the sum").click()
    page.evaluate(check_pages.AXE.read_text(encoding="utf-8"))  # ours, which fetches nothing
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(check_pages.READY)
        assert page.evaluate(check_pages.EXAMINE) == [], scheme
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_work_can_be_cancelled_and_the_page_answers_meanwhile(open_lab):
    page = open_lab()
    frame = pd.concat([small_study().assign(subject=lambda f, i=i: f["subject"] + 5 * i)
                       for i in range(300)])  # fmt: skip
    give(page, "mine.csv", frame.to_csv(index=False).encode())
    question(page).get_by_role("button", name="milliseconds").click()
    cancel = part(page, "lab").get_by_role("button", name="Cancel")
    page.evaluate("window.turns = 0; setInterval(() => { window.turns += 1; }, 1)")
    page.wait_for_timeout(1500)
    assert page.evaluate("window.turns") > 15
    cancel.click()
    part(page, "lab").get_by_text("Cancelled").wait_for()
