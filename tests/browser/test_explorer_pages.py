"""Explorer and film: in a rendered page without a kernel, and live in JupyterLab."""

import itertools
import re
import statistics

import psutil
import pytest

pytestmark = pytest.mark.browser

PAGE = "book/part/widgets.html"
SLIDERS = {
    "composition": ("n_subjects", "group_size", "mini_batch_size", "d0", "d1", "steps"),
    "film": ("frame", "n_subjects", "d0", "d1"),
}
# Where every slider plays a part: ten thousand subjects, and half way from noise to data.
BASE = {"composition": ("n_subjects", -1), "film": ("frame", 10)}
MOVES_MS = 50

NUMBERS = r"([−\d.,]+) exact sds off, width ([\d.,]+)"
LABEL = "(box) => box.querySelector('svg[role=img]').getAttribute('aria-label')"
PICTURE = "(box) => box.querySelector('svg[role=img]').innerHTML"
MOVE = """
(box, [name, index]) => {
  const input = box.querySelector(`input[type=range][name=${name}]`);
  const start = performance.now();
  input.value = index < 0 ? Number(input.max) + 1 + index : index;
  input.dispatchEvent(new Event("input"));
  box.querySelector("svg").getBoundingClientRect();  // layout is part of a picture
  return performance.now() - start;
}
"""


def boxes(page, name: str):
    page.wait_for_selector(f"[data-eam-widget={name}][data-eam-ready]")
    return page.locator(f"[data-eam-widget={name}]").all()


def stops(box, name: str) -> int:
    return 1 + int(box.locator(f"input[name={name}]").get_attribute("max"))


# --- the rendered page ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SLIDERS)
def test_every_slider_changes_the_picture(visit, name):
    """`visit` fails the test where anything is asked of the network or reported as an error."""
    box = boxes(visit(PAGE), name)[0]
    for slider in SLIDERS[name]:
        box.evaluate(MOVE, list(BASE[name]))
        seen = []
        for index in range(stops(box, slider)):
            box.evaluate(MOVE, [slider, index])
            seen.append((box.evaluate(LABEL), box.evaluate(PICTURE)))
        labels, pictures = zip(*seen, strict=True)
        assert len(set(labels)) == len(labels) and len(set(pictures)) == len(pictures), slider


def test_the_fallback_goes_and_the_caption_says_precomputed(visit):
    page = visit(PAGE)
    for box in boxes(page, "composition") + boxes(page, "film"):
        assert box.locator(".eam-fallback").count() == 0
        assert box.locator(".eam-tag").inner_text() == "precomputed"


def test_numbers_in_the_label_are_those_of_the_stored_grid(visit):
    import numpy as np

    from eamlab_book.widgets.grid import Settings, cell_of, load_grid

    box = boxes(visit(PAGE), "composition")[0]
    said = np.array(
        [
            [float(number.replace("−", "-").replace(",", "")) for number in pair]
            for pair in re.findall(
                r"([−\d.,]+) exact sds off, width ([\d.,]+)", box.evaluate(LABEL)
            )
        ]
    )
    cell = cell_of(load_grid(), Settings())
    np.testing.assert_allclose(said[:, 0], cell.bias, atol=0.06, rtol=0.06)
    np.testing.assert_allclose(said[:, 1], cell.ratio, atol=0.006, rtol=0.06)


def test_a_picture_follows_within_fifty_milliseconds(visit):
    page = visit(PAGE)
    times = []
    for name, sliders in SLIDERS.items():
        box = boxes(page, name)[0]
        for slider, index in itertools.product(sliders, (0, 1, -1, 0, -1)):
            times.append(box.evaluate(MOVE, [slider, index]))
    assert statistics.quantiles(times, n=20)[-1] <= MOVES_MS


def test_two_explorers_on_a_page_do_not_disturb_each_other(visit):
    one, two = boxes(visit(PAGE), "composition")
    before = two.evaluate(LABEL)
    one.evaluate(MOVE, ["n_subjects", -1])
    assert two.evaluate(LABEL) == before != one.evaluate(LABEL)


def test_the_keyboard_moves_sliders_and_they_have_names(visit):
    page = visit(PAGE)
    box = boxes(page, "composition")[0]
    slider = box.get_by_label("Subjects J")
    before = box.evaluate(LABEL)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert box.evaluate(LABEL) != before
    assert slider.get_attribute("aria-valuetext") == "10,000"


def test_no_position_of_a_slider_changes_nothing(visit):
    """A mini-batch larger than the number of groups, a group larger than the study."""
    box = boxes(visit(PAGE), "composition")[0]
    for subjects, size in itertools.product(range(4), range(3)):
        box.evaluate(MOVE, ["n_subjects", subjects])
        box.evaluate(MOVE, ["group_size", size])
        for slider in ("group_size", "mini_batch_size"):
            if box.locator(f"input[name={slider}]").is_disabled():
                continue
            seen = []
            for index in range(stops(box, slider)):
                box.evaluate(MOVE, [slider, index])
                seen.append(box.evaluate(LABEL))
            assert len(set(seen)) == len(seen), (subjects, size, slider)
            box.evaluate(MOVE, ["group_size", size])


DRAWN = """
(box) => [...box.querySelectorAll("path.eam-composed")].slice(0, 7).map((path) => {
  const { height, width } = path.getBBox();
  return [width, height];
})
"""


def test_a_posterior_that_flies_away_is_seen(visit):
    """Every panel holds a blue curve of some height, anywhere on the sliders of the bridge."""
    box = boxes(visit(PAGE), "composition")[0]
    box.evaluate(MOVE, ["n_subjects", -1])
    for d0, d1, steps in itertools.product(range(3), range(3), range(2)):
        for name, index in (("d0", d0), ("d1", d1), ("steps", steps)):
            box.evaluate(MOVE, [name, index])
        drawn = box.evaluate(DRAWN)
        assert min(width for width, _ in drawn) > 100, (d0, d1, steps)
        assert min(height for _, height in drawn) > 3, (d0, d1, steps, drawn)


def test_the_caption_says_how_blue_differs_from_gray(visit):
    from eamlab_book.widgets.grid import Settings, cell_of, load_grid

    cell = cell_of(load_grid(), Settings())
    caption = boxes(visit(PAGE), "composition")[0].locator(".eam-caption").inner_text()
    found = r"At worst ([\d.]+) times too wide \(drift spread\) and ([\d.]+) exact sds off"
    wide, off = map(float, re.search(found, caption).groups())
    assert wide == pytest.approx(cell.ratio.max(), abs=0.006)
    assert off == pytest.approx(abs(cell.bias).max(), abs=0.06)


def test_a_moved_slider_is_announced_once_it_rests(visit):
    page = visit(PAGE)
    box = boxes(page, "composition")[0]
    assert box.locator("[aria-live] >> text=subjects").count() == 0
    box.get_by_label("Subjects J").focus()
    page.keyboard.press("ArrowRight")
    heard = box.locator("[aria-live]", has_text="exact sds off")
    heard.wait_for(state="attached")
    assert heard.text_content() == box.locator(".eam-caption").text_content()


def test_on_the_way_back_sliders_and_picture_agree(visit, address):
    page = visit(PAGE)
    box = boxes(page, "composition")[0]
    box.get_by_label("Subjects J").focus()
    page.keyboard.press("ArrowRight")
    box.get_by_label("multiplying Gaussians").check()
    page.goto(f"{address}book/part/page.html")
    page.go_back()
    box = boxes(page, "composition")[0]
    caption = box.locator(".eam-caption").inner_text()
    assert f"{box.locator('output').first.inner_text()} subjects" in caption
    at = int(box.get_by_label("Subjects J").input_value())
    assert ("10,000 subjects" if at == 3 else "1,000 subjects") in caption
    assert box.get_by_label("multiplying Gaussians").is_checked() == ("multiplied" in caption)


def test_a_swipe_that_begins_on_a_slider_only_scrolls(visit):
    screen = {"width": 390, "height": 844}
    page = visit(PAGE, viewport=screen, has_touch=True, is_mobile=True)
    box = boxes(page, "composition")[0]
    slider = box.get_by_label("Bridge d0")
    # At the end of the screen: the picture covers the rest of it.
    slider.evaluate("(e) => e.scrollIntoView({ block: 'end', behavior: 'instant' })")
    before, label, top = slider.input_value(), box.evaluate(LABEL), page.evaluate("scrollY")
    place = slider.bounding_box()
    x, y = place["x"] + 0.05 * place["width"], place["y"] + place["height"] / 2
    finger = page.context.new_cdp_session(page)
    for kind, rise in [("touchStart", 0), *(("touchMove", 20 * k) for k in range(1, 12))]:
        points = [{"x": x, "y": y - rise}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(16)
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert page.evaluate("scrollY") > top + 50
    assert (slider.input_value(), box.evaluate(LABEL)) == (before, label)


def test_the_film_plays(visit):
    page = visit(PAGE)
    box = boxes(page, "film")[0]
    box.evaluate(MOVE, ["frame", -4])
    before = box.evaluate(LABEL)
    box.get_by_role("button", name="Play").click()
    page.wait_for_function(
        "() => document.querySelector('[data-eam-widget=film] input[name=frame]').value === '20'"
    )
    assert box.evaluate(LABEL) != before
    box.get_by_role("button", name="Play").wait_for()


def test_a_phone_shows_all_of_it(visit):
    page = visit(PAGE, viewport={"width": 390, "height": 844})
    for box in boxes(page, "composition") + boxes(page, "film"):
        frame = box.bounding_box()
        picture = box.locator("svg[role=img]").bounding_box()
        assert picture["x"] >= 0 and picture["x"] + picture["width"] <= 390
        assert frame["x"] + frame["width"] <= 391


def test_without_scripts_a_still_and_a_sentence_stay(visit):
    page = visit(PAGE, java_script_enabled=False)
    stills = page.locator("[data-eam-widget] .eam-fallback img")
    assert stills.count() >= 3
    for still in stills.all():
        assert still.bounding_box()["width"] > 200
        assert len(still.get_attribute("alt")) > 60


# --- JupyterLab -----------------------------------------------------------------------------------

LIVE = ".eam-widget .eam-tag[data-life=live]"
ALL_LIVE = """
() => [...document.querySelectorAll(".eam-widget .eam-tag")].every((e) => e.innerText === "live")
"""
RESTART = "() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
EXECUTE = """
(code) => {
  const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
  kernel.requestExecute({ code });
}
"""
MEMORY_MB = 1600
LIVE_MS = 60_000  # the first answer loads TensorFlow and compiles, perhaps on a busy machine


def wait_live(page, text: str, timeout: float = LIVE_MS) -> str:
    """Wait until a caption says live and holds `text`; return it."""
    caption = page.locator(".eam-caption", has_text=text).filter(has=page.locator(LIVE[12:]))
    caption.first.wait_for(timeout=timeout)
    return caption.first.inner_text()


def test_a_chapters_explorer_is_live_in_jupyterlab(run_notebook):
    page = run_notebook("import eamlab_book as book\nbook.explorer(num_samples=50)")
    box = page.locator(".eam-widget")
    wait_live(page, "1,000 subjects")
    for slider, index, text in (
        ("d1", 0, "d1 = 0.01"),
        ("group_size", 1, "50 groups of 20"),
        ("n_subjects", 1, "5 groups of 20"),
    ):
        box.evaluate(MOVE, [slider, index])
        wait_live(page, text)
    # Dragged fast: only the last position is answered.
    for index in (0, 1, 2, 3, 2, 1, 0, 1, 2):
        box.evaluate(MOVE, ["n_subjects", index])
    assert "1,000 subjects" in wait_live(page, "1,000 subjects")
    assert "1,000 subjects" in box.evaluate(LABEL)


@pytest.mark.slow
def test_a_new_study_and_a_refused_one_and_a_restart(run_notebook):
    page = run_notebook("import eamlab_book as book\nbook.explorer(n_subjects=10, num_samples=50)")
    box = page.locator(".eam-widget")
    first = wait_live(page, "10 subjects")
    label = box.evaluate(LABEL)
    box.get_by_role("button", name="New study").click()
    assert box.locator(".eam-caption").inner_text().startswith("former New study 1: 10 subjects")
    page.wait_for_function(
        "([label]) => document.querySelector('.eam-widget svg[role=img]')"
        ".getAttribute('aria-label') !== label",
        arg=[label],
        timeout=LIVE_MS,
    )
    box.evaluate(MOVE, ["n_subjects", -1])
    page.locator(".eam-status.eam-problem", has_text="takes minutes").wait_for(timeout=LIVE_MS)
    assert box.evaluate(LABEL).startswith("precomputed. 10,000 subjects")
    assert box.get_by_role("button", name="Back to the first study").is_disabled()
    page.evaluate(RESTART)
    box.evaluate(MOVE, ["n_subjects", 2])
    page.locator(".eam-status.eam-problem", has_text="The kernel is gone").wait_for()
    assert box.evaluate(LABEL).startswith("precomputed. 1,000 subjects")
    assert first != box.locator(".eam-caption").inner_text()


def test_a_slider_moved_while_the_kernel_works_is_answered_afterwards(run_notebook):
    page = run_notebook("import eamlab_book as book\nbook.explorer(n_subjects=10, num_samples=50)")
    box = page.locator(".eam-widget")
    wait_live(page, "10 subjects")
    page.evaluate(EXECUTE, "import time; time.sleep(3)")
    for index in (1, 2, 1):
        box.evaluate(MOVE, ["n_subjects", index])
    assert box.evaluate(LABEL).startswith("precomputed. 100 subjects")
    wait_live(page, "100 subjects")
    assert box.evaluate(LABEL).startswith("live. 100 subjects")


@pytest.mark.slow
def test_two_live_explorers_stay_within_memory(run_notebook, lab):
    page = run_notebook(
        "import eamlab_book as book\nfrom IPython.display import display\n"
        "display(book.explorer(n_subjects=10_000),"
        " book.explorer(n_subjects=1000, method='gaussian'))"
    )
    wait_live(page, "2,000 groups")
    wait_live(page, "Gaussians multiplied")
    for box, (slider, index) in itertools.product(
        page.locator(".eam-widget").all(), (("group_size", 2), ("n_subjects", -1), ("d0", 0))
    ):
        box.evaluate(MOVE, [slider, index])
        page.wait_for_function(ALL_LIVE, timeout=LIVE_MS)
    family = psutil.Process(lab.process.pid).children(recursive=True)
    assert 300 < max(child.memory_info().rss for child in family) / 1e6 <= MEMORY_MB
