"""Explorer and film: in a rendered page, which asks the network itself, and live in JupyterLab."""

import itertools
import re
import statistics

import numpy as np
import psutil
import pytest
from conftest import served_and_on_disk
from tasks import TASK_MS, tasks_ms

import eamlab as el
from eamlab_book.studies import exact_of
from eamlab_book.widgets.composition import SCENES, Sampler, Settings

pytestmark = pytest.mark.browser

PAGE = "book/part/widgets.html"
FILM = ("frame", "n_subjects", "d0", "d1")
FEW = "#composition.n_subjects=10&composition.steps=10"  # answered in a moment
MOVES_MS = 50
ANSWER_MS = 120_000  # perhaps on a busy machine
Z = 4.5  # a comparison of two right samplers fails with probability 7e-6

LABEL = "(box) => box.querySelector('svg[role=img]').getAttribute('aria-label')"
PICTURE = "(box) => box.querySelector('svg[role=img]').innerHTML"
TEXT = "(box) => box.querySelector('svg[role=img]').textContent"
CAPTION = "(box) => box.querySelector('.eam-caption').innerText"
EDGES = """
(box) => {
  const picture = box.querySelector("svg[role=img]").getBoundingClientRect();
  return [picture.right, picture.left, box.getBoundingClientRect().right];
}
"""
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
PRESS_NEW = """
(box) => {
  [...box.querySelectorAll("button")].find((b) => b.innerText === "New study").click();
  return box.querySelector(".eam-caption").innerText;
}
"""
MOVE_TO = """
(box, [name, text]) => {
  const input = box.querySelector(`input[type=range][name=${name}]`);
  for (let i = 0; i <= Number(input.max); i++) {
    input.value = i;
    input.dispatchEvent(new Event("input"));
    if (input.getAttribute("aria-valuetext") === text) return;
  }
  throw new Error(`${name} has no stop ${text}`);
}
"""


def boxes(page, name: str):
    page.wait_for_selector(f"[data-eam-widget={name}][data-eam-ready]")
    return page.locator(f"[data-eam-widget={name}]").all()


def stops(box, name: str) -> int:
    return 1 + int(box.locator(f"input[name={name}]").get_attribute("max"))


def answered(box) -> str:
    """Wait until all draws of the newest question are there; return the label of their picture."""
    caption = box.locator(".eam-caption", has_text=re.compile(r" draws in [\d.]+ s\.")).first
    caption.wait_for(timeout=ANSWER_MS)
    return box.evaluate(LABEL)


def numbers(label: str, pattern: str) -> np.ndarray:
    """The two numbers that the label says of each parameter."""
    found = re.findall(pattern, label)
    return np.array([[float(n.replace("−", "-").replace(",", "")) for n in two] for two in found])


VERSUS_EXACT = r"([−\d.,]+) exact sds off, width ([\d.,]*\d)"
ALONE = r": ([−\d.]+), sd ([\d.]*\d)"


# --- the rendered page ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        ("http", Settings("gaussian", 200, "auto")),
        ("file", Settings("sum", 50, 7, 3, 0.6, 0.3, 50)),
        pytest.param("http", SCENES["5 groups of 100"], marks=pytest.mark.slow),
    ],
    ids=["one group", "uneven groups", "ten thousand"],
    indirect=["address"],
)
def test_the_page_draws_what_python_draws(visit, address, settings):
    """`visit` fails the test where anything is asked of the network or reported as an error."""
    link = "&".join(f"composition.{k}={v}" for k, v in vars(settings).items())
    page = visit(f"{PAGE}#{link}")
    said = numbers(answered(boxes(page, "composition")[0]), VERSUS_EXACT)
    assert bool(page.workers) == address.startswith("http")  # they draw where browsers allow them
    sampler = Sampler(num_samples=400)
    draws, exact = sampler.draw(settings, seed=1), key(settings.n_subjects)
    for (off, width), k, mean, sd in zip(said, draws.group_names, *exact, strict=True):
        theirs = draws.sd[k] / sd
        error = theirs * np.sqrt(1 / 100 + 1 / 400)
        # Half a digit of what is said, and the tails of the widest.
        assert abs(off - (draws.mean[k] - mean) / sd) < Z * error + 0.06, k
        assert abs(np.log(width / theirs)) < 2 * Z * np.sqrt(0.5 / 100 + 0.5 / 400), k


def key(n_subjects: int) -> tuple[list[float], list[float]]:
    from eamlab_book.widgets.composition import load_keys

    stored = load_keys()[str(n_subjects)]
    return stored["mean"], stored["sd"]


def test_a_number_of_subjects_without_a_key_is_drawn_without_gray(visit):
    link = "#composition.n_subjects=37&composition.method=gaussian&composition.group_size=auto"
    box = boxes(visit(PAGE + link), "composition")[0]
    said = numbers(answered(box), ALONE)
    assert "not for as many as these" in box.evaluate(CAPTION)
    assert box.locator("path.eam-exact").count() == 0
    exact = exact_of(10)  # of the same population, and wider
    for (mean, sd), k in zip(said, el.EAM.prior.names, strict=True):
        assert 0 < sd < exact.sd[k] * 1.5
        assert abs(mean - exact.mean[k]) < 5 * exact.sd[k], k


def test_a_new_study_is_another_and_never_passes_for_the_first(visit, address):
    page = visit(PAGE + FEW)
    box = boxes(page, "composition")[0]
    first = answered(box)
    at_once = box.evaluate(PRESS_NEW)
    assert at_once.startswith("being drawn New study 1: 10 subjects")
    said = numbers(answered(box), ALONE)
    assert "no gray" in box.evaluate(CAPTION) and len(said) == 7
    assert box.locator("path.eam-exact").count() == 0
    page.wait_for_url("**study=1*")
    again = visit(page.url.removeprefix(address))  # whoever follows the link sees the same
    second = boxes(again, "composition")[0]
    np.testing.assert_array_equal(numbers(answered(second), ALONE), said)
    box.get_by_role("button", name="Back to the first").click()
    assert answered(box) == first


def test_a_moved_slider_ends_what_was_being_drawn(visit):
    long = "#composition.n_subjects=1000&composition.method=gaussian"
    box = boxes(visit(PAGE + long), "composition")[0]
    box.locator("progress").wait_for()
    box.evaluate(MOVE_TO, ["n_subjects", "10"])
    label = answered(box)
    assert "10 subjects" in label
    box.page.wait_for_timeout(300)
    assert box.evaluate(LABEL) == label
    assert not box.locator("progress").is_visible()
    assert box.locator(".eam-picture.eam-former").count() == 0


def test_draws_do_not_depend_on_what_else_the_page_draws(visit):
    same = {"n_subjects": 100, "group_size": 5, "d0": 1, "d1": 1, "steps": 30}
    links = [f"{key}.{k}={v}" for key in ("composition", "composition2") for k, v in same.items()]
    tall = {"width": 1200, "height": 2400}
    page = visit(f"{PAGE}#{'&'.join(links)}", viewport=tall)
    one, two = boxes(page, "composition")
    assert answered(one) == answered(two)
    one.evaluate(MOVE_TO, ["n_subjects", "10"])
    assert answered(one) != answered(two)


def test_every_slider_of_the_film_changes_the_picture(visit):
    box = boxes(visit(PAGE), "film")[0]
    for slider in FILM:
        box.evaluate(MOVE, ["frame", 10])
        seen = []
        for index in range(stops(box, slider)):
            box.evaluate(MOVE, [slider, index])
            seen.append((box.evaluate(LABEL), box.evaluate(PICTURE)))
        labels, pictures = zip(*seen, strict=True)
        assert len(set(labels)) == len(labels) and len(set(pictures)) == len(pictures), slider


def test_the_fallback_goes_and_the_caption_says_whose_answer_one_sees(visit):
    page = visit(PAGE)
    (explorer, _), (film,) = boxes(page, "composition"), boxes(page, "film")
    assert page.locator(".eam-fallback").count() == 0
    assert film.locator(".eam-tag").inner_text() == "precomputed"
    answered(explorer)
    assert explorer.locator(".eam-tag").inner_text() == "live"


def test_a_page_answers_a_slider_within_fifty_milliseconds(visit):
    """The quickest of three passes over all moves: what a move takes, and not what else runs."""
    page = visit(PAGE)
    sliders = {"composition": ("n_subjects", "d0", "steps"), "film": FILM}
    moves = [
        (boxes(page, name)[0], slider, index)
        for name in sliders
        for slider, index in itertools.product(sliders[name], (0, 1, -1, 0, -1))
    ]
    passes = [[box.evaluate(MOVE, [*to]) for box, *to in moves] for _ in range(3)]
    assert statistics.quantiles(map(min, *passes), n=20)[-1] <= MOVES_MS


@pytest.mark.slow
def test_no_task_holds_the_page_up_while_it_draws(visit):
    page = visit(f"{PAGE}#composition.n_subjects=1000&composition.method=gaussian")
    box = boxes(page, "composition")[0]
    answered(box)
    box.get_by_label("Group size").focus()

    def move() -> None:
        page.keyboard.press("End")
        assert "5 groups of 200" in answered(box)

    tasks = tasks_ms(page, move)
    assert len(tasks) > 100 and max(tasks) < TASK_MS


# The sd of a drawn curve, in exact sds: the gray of all panels spans 10 of them on either side.
DRAWN_SD = """
(box, k) => {
  const [gray, blue] = ["exact", "composed"].map((name) =>
    box.querySelectorAll(`path.eam-${name}`)[k].getAttribute("d"));
  const pairs = (d) => d.match(/[\\d.]+ [\\d.]+/g).map((pair) => pair.split(" ").map(Number));
  const [all, base] = [pairs(blue), Math.max(...pairs(gray).map(([, y]) => y))];
  const xs = pairs(gray).map(([x]) => x);
  const unit = (Math.max(...xs) - Math.min(...xs)) / 20;
  const mean = (f) => all.reduce((sum, [x, y]) => sum + (base - y) * f(x), 0);
  const middle = mean((x) => x) / mean(() => 1);
  return Math.sqrt(mean((x) => (x - middle) ** 2) / mean(() => 1)) / unit;
}
"""


def test_a_curve_is_as_wide_as_is_said(visit):
    """A few draws far out make a posterior wide, and have to be drawn, too."""
    page = visit(f"{PAGE}#composition.n_subjects=20&composition.steps=50")
    box = boxes(page, "composition")[0]
    widths = numbers(answered(box), VERSUS_EXACT)[:, 1]
    drawn = [box.evaluate(DRAWN_SD, k) for k in range(len(widths))]
    np.testing.assert_allclose(drawn, widths, rtol=0.1)  # smoothed, they are up to 8 % wider


# --- links, scenes, what is hidden ----------------------------------------------------------------


@served_and_on_disk
def test_a_link_holds_every_widget_and_reset_lets_go(visit, address):
    page = visit(PAGE + FEW)
    box, film = boxes(page, "composition")[0], boxes(page, "film")[0]
    box.evaluate(MOVE_TO, ["d0", "0.5"])
    film.evaluate(MOVE, ["frame", 7])
    page.wait_for_url("**film.frame=7*")
    label, other = answered(box), film.evaluate(LABEL)
    again = visit(page.url.removeprefix(address))
    assert answered(boxes(again, "composition")[0]) == label
    assert boxes(again, "film")[0].evaluate(LABEL) == other
    for widget in (box, film):
        widget.get_by_role("button", name="Reset").click()
    assert "#" not in page.url and "=" not in page.url
    assert "100 subjects" in box.evaluate(CAPTION)
    assert film.locator("input[name=frame]").input_value() == "0"


def test_a_link_that_cannot_be_followed_is_said_and_another_one_is_followed(visit):
    page = visit(f"{PAGE}#composition.d0=7")
    box = boxes(page, "composition")[0]
    for link, said in {
        "composition.d0=7": "d0 = 7 is not between",
        "composition.method=magic": "method = magic is not one of its choices",
        "film.n_subjects=7": "n_subjects = 7 is not on its slider",
        "film.speed=7": "there is no speed",
    }.items():
        page.evaluate("(link) => { location.hash = link; }", link)
        said = page.locator(".eam-links .eam-status", has_text=said)
        said.wait_for()
        assert said.count() == 1
    page.evaluate("location.hash = '#composition.n_subjects=20&composition.steps=10'")
    assert "20 subjects" in answered(box)
    page.evaluate("location.hash = '#widgets'")  # a section, and no link of ours
    assert "20 subjects" in box.evaluate(CAPTION)


def test_a_scene_sets_all_sliders(visit):
    page = visit(PAGE + FEW)
    box = boxes(page, "composition")[0]
    buttons = box.get_by_role("group", name="Scenes").get_by_role("button")
    assert buttons.all_inner_texts() == list(SCENES)
    for name, scene in SCENES.items():
        buttons.get_by_text(name).click()
        caption = box.evaluate(CAPTION)
        groups, sizes = len(scene.sizes()), set(scene.sizes())
        assert f"{scene.n_subjects:,} subjects, {groups:,} groups of {sizes.pop()}" in caption
        assert ("multiplied" in caption) == (scene.method == "gaussian")
        if scene.method == "sum":
            batch = min(scene.mini_batch_size, groups)
            assert f"mini-batch {batch}, d0 = {scene.d0:g}," in caption
        pressed = box.locator("[aria-pressed=true]").all_inner_texts()
        assert pressed == [name]


def test_the_exact_answer_can_be_hidden(visit):
    box = boxes(visit(PAGE + FEW), "composition")[0]
    label = answered(box)
    box.get_by_label("hide the exact answer").check()
    hidden = box.evaluate(LABEL) + box.evaluate(CAPTION) + box.evaluate(TEXT)
    assert not [word for word in ("exact", "truth", "gray", " off") if word in hidden]
    assert box.locator("path.eam-exact, path.eam-truth").count() == 0
    box.get_by_label("hide the exact answer").uncheck()
    assert box.evaluate(LABEL) == label


def test_the_keyboard_moves_sliders_and_they_have_names(visit):
    page = visit(PAGE)
    box = boxes(page, "composition")[0]
    slider = box.get_by_label("Subjects J")
    before = box.evaluate(CAPTION)
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert box.evaluate(CAPTION) != before
    assert slider.get_attribute("aria-valuetext") == "200"


# In one step: between two the page would draw what nobody looks at.
CAPTIONS = """
(box, name) => {
  const input = box.querySelector(`input[type=range][name=${name}]`);
  return Array.from({ length: Number(input.max) + 1 }, (_, index) => {
    input.value = index;
    input.dispatchEvent(new Event("input"));
    return box.querySelector(".eam-caption").innerText;
  });
}
"""


def test_no_position_of_a_slider_changes_nothing(visit):
    """A mini-batch larger than the number of groups, a group larger than the study."""
    box = boxes(visit(PAGE), "composition")[0]

    def differ(slider: str) -> None:
        seen = box.evaluate(CAPTIONS, slider)
        assert len(set(seen)) == len(seen), slider

    for slider in ("n_subjects", "d0", "d1", "steps"):
        differ(slider)
    for subjects in ("5", "10", "100", "500", "10,000"):
        box.evaluate(MOVE_TO, ["n_subjects", subjects])
        differ("group_size")
        box.evaluate(MOVE, ["group_size", 0])
        differ("mini_batch_size")


DRAWN = """
(box) => [...box.querySelectorAll("path.eam-composed")].slice(0, 7).map((path) => {
  const { height, width } = path.getBBox();
  return [width, height];
})
"""


@pytest.mark.slow
def test_a_posterior_that_flies_away_is_seen(visit):
    """Every panel holds a blue curve of some height, and the caption says how far it is off."""
    link = "#composition.n_subjects=10000&composition.steps=100"
    box = boxes(visit(PAGE + link), "composition")[0]
    off = numbers(answered(box), VERSUS_EXACT)[:, 0]
    assert abs(off).max() > 20
    drawn = box.evaluate(DRAWN)
    assert min(width for width, _ in drawn) > 100
    assert min(height for _, height in drawn) > 3
    assert "times too wide" in box.evaluate(CAPTION)


def test_an_answer_is_announced_when_it_is_there(visit):
    page = visit(PAGE + FEW)
    box = boxes(page, "composition")[0]
    answered(box)
    box.get_by_label("Bridge d0").focus()
    page.keyboard.press("ArrowLeft")
    answered(box)
    heard = box.locator("[aria-live]", has_text="d0 = 0.8")
    heard.filter(has_text="draws in").wait_for(state="attached")
    assert heard.text_content() == box.locator(".eam-caption").text_content()


@served_and_on_disk
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
    assert box.get_by_label("Subjects J").get_attribute("aria-valuetext") in caption
    assert box.get_by_label("multiplying Gaussians").is_checked() == ("multiplied" in caption)


def test_a_swipe_that_begins_on_a_slider_only_scrolls(visit):
    screen = {"width": 390, "height": 844}
    page = visit(PAGE + FEW, viewport=screen, has_touch=True, is_mobile=True)
    box = boxes(page, "composition")[0]
    answered(box)
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


DRAWN_AGAIN = "() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))"
# How far the symbol of each panel is from its name.
GAPS = """
(box) => {
  const picture = box.querySelector("svg[role=img]");
  const names = [...picture.querySelectorAll("text.eam-small[text-anchor=end]")];
  return [...picture.querySelectorAll("text.eam-title")].map((symbol, i) =>
    names[i].getBBox().x - symbol.getBBox().x - symbol.getBBox().width);
}
"""


def test_a_phone_shows_all_of_it_and_names_stand_beside_their_symbols(visit):
    page = visit(PAGE + FEW, viewport={"width": 390, "height": 844})
    for width in (340, 820, 1366, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.evaluate(DRAWN_AGAIN)
        gaps = boxes(page, "composition")[0].evaluate(GAPS)
        assert len(gaps) == 7 and min(gaps) > 1
    for box in boxes(page, "composition") + boxes(page, "film"):
        # In one step: the picture is another one with every draw that arrives.
        right, left, edge = box.evaluate(EDGES)
        assert left >= 0 and right <= 390
        assert edge <= 391


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


def test_a_chapters_explorer_is_live_in_jupyterlab_and_waits_for_the_kernel(run_notebook):
    page = run_notebook("import eamlab_book as book\nbook.explorer(num_samples=50)")
    box = page.locator(".eam-widget")
    wait_live(page, "1,000 subjects")
    for slider, stop, text in (
        ("d1", "0.01", "d1 = 0.01"),
        ("group_size", "20", "50 groups of 20"),
        ("n_subjects", "100", "5 groups of 20"),
    ):
        box.evaluate(MOVE_TO, [slider, stop])  # dragged: only the last position is answered
        wait_live(page, text)
    box.evaluate(MOVE_TO, ["n_subjects", "1,000"])
    assert "1,000 subjects" in wait_live(page, "1,000 subjects")
    assert "1,000 subjects" in box.evaluate(LABEL)
    # Moved while the kernel works, it is answered afterwards.
    page.evaluate(EXECUTE, "import time; time.sleep(3)")
    box.evaluate(MOVE_TO, ["n_subjects", "200"])
    assert box.evaluate(CAPTION).startswith("being drawn 200 subjects")
    wait_live(page, "200 subjects")
    assert box.evaluate(LABEL).startswith("live. 200 subjects")


@pytest.mark.slow
def test_a_new_study_and_a_restart(run_notebook):
    page = run_notebook("import eamlab_book as book\nbook.explorer(n_subjects=10, num_samples=50)")
    box = page.locator(".eam-widget")
    wait_live(page, "10 subjects")
    label = box.evaluate(LABEL)
    assert box.evaluate(PRESS_NEW).startswith("being drawn New study 1: 10 subjects")
    wait_live(page, "New study 1")
    assert box.evaluate(LABEL) != label and "exact sds off" in box.evaluate(LABEL)
    page.evaluate(RESTART)
    box.evaluate(MOVE_TO, ["n_subjects", "20"])
    page.locator(".eam-status.eam-problem", has_text="The kernel is gone").wait_for()
    assert box.evaluate(LABEL).startswith("no answer. New study 1: 20 subjects")


@pytest.mark.slow
def test_two_live_explorers_stay_within_memory(run_notebook, lab):
    page = run_notebook(
        "import eamlab_book as book\nfrom IPython.display import display\n"
        "display(book.explorer(n_subjects=10_000),"
        " book.explorer(n_subjects=1000, method='gaussian'))"
    )
    wait_live(page, "2,000 groups")
    wait_live(page, "Gaussians multiplied")
    for box, (slider, stop) in itertools.product(
        page.locator(".eam-widget").all(),
        (("group_size", "100"), ("n_subjects", "10,000"), ("d0", "0.01")),
    ):
        box.evaluate(MOVE_TO, [slider, stop])
        page.wait_for_function(ALL_LIVE, timeout=LIVE_MS)
    family = psutil.Process(lab.process.pid).children(recursive=True)
    assert 300 < max(child.memory_info().rss for child in family) / 1e6 <= MEMORY_MB
