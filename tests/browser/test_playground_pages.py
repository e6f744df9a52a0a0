"""The playgrounds compute in the browser what the library computes, and their pictures follow."""

import itertools
import json
import shutil
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
from check_pages import Watch
from scipy import integrate

import eamlab as el
from eamlab.model.density import defective_cdf
from eamlab_book.toy import GaussianToy, bridge, noise_levels
from eamlab_book.widgets import playgrounds
from eamlab_book.widgets.widget import script_folder, scripts

pytestmark = pytest.mark.browser

NAMES = ("decision", "population", "toy")
Z = 4.5  # a comparison of two right simulations fails with probability 7e-6
MOVES_MS = 50


@pytest.fixture(scope="module")
def widgets() -> dict:
    return {name: getattr(playgrounds, f"{name}_playground")() for name in NAMES}


@pytest.fixture(scope="module")
def page(chromium, widgets, tmp_path_factory) -> Iterator:
    """A page on disk with the three playgrounds; nothing else can be reached."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(script_folder(), folder / "js")
    loaded = "".join(f'<script src="js/{name}.js"></script>' for name in scripts())
    body = "".join(f'<div id="{name}">{widget.html()}</div>' for name, widget in widgets.items())
    (folder / "page.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>p</title>'
        f'<link rel="stylesheet" href="js/widgets.css"><body>{body}{loaded}',
        encoding="utf-8",
    )
    watch = Watch((folder.as_uri(),))
    context = chromium.new_context(viewport={"width": 900, "height": 900})
    watch.guard(context)
    page = context.new_page()
    page.goto((folder / "page.html").as_uri())
    yield page
    context.close()
    assert watch.remote == [] and watch.errors == []


@pytest.fixture
def fresh(page):
    """The page as it is when it opens, every picture complete."""
    page.set_viewport_size({"width": 900, "height": 900})
    page.reload()
    for name in NAMES:
        done(page, name)
    return page


def done(page, name: str) -> str:
    """Wait for a picture to be complete; return its label."""
    amount = {"decision": "4,000 decisions", "population": "40 people", "toy": "500 draws"}[name]
    picture = page.locator(f"#{name} svg[role=img]")
    page.wait_for_function(
        "([name, amount]) => document.querySelector(`#${name} svg[role=img]`)"
        ".getAttribute('aria-label').includes(amount)",
        arg=[name, amount],
    )
    return picture.get_attribute("aria-label")


MOVE = """
([name, slider, index]) => {
  const input = document.querySelector(`#${name} input[name=${slider}]`);
  const moved = (v) => { input.value = v; input.dispatchEvent(new Event("input")); };
  const start = performance.now();
  moved(index < 0 ? Number(input.max) + 1 + index : index);
  document.querySelector(`#${name} svg`).getBoundingClientRect();  // layout is part of a picture
  const ms = performance.now() - start;
  return { ms, life: document.querySelector(`#${name} .eam-tag`).dataset.life };
}
"""


def move(page, name: str, **positions: int) -> str:
    """Put sliders to the stops of these numbers; return the finished picture's label."""
    for slider, index in positions.items():
        page.evaluate(MOVE, [name, slider, index])
    return done(page, name)


def stop(widgets, name: str, slider: str, value: float) -> int:
    return widgets[name]._page["data"]["stops"][slider].index(value)


# --------------------------------------------------------------------------- the exact density


def test_density_is_the_librarys(page):
    rng = np.random.default_rng(1)
    n = 1000
    subject = {
        "nu": rng.uniform(-8, 8, n),
        "alpha": np.exp(rng.uniform(-2, 2, n)),
        "t0": rng.uniform(0.05, 1, n),
        "beta": np.concatenate([rng.uniform(0.02, 0.98, n - 200), rng.uniform(1e-3, 0.02, 200)]),
    }
    choice = rng.integers(0, 2, n)
    decision = np.exp(rng.uniform(np.log(1e-5), np.log(30), n))
    decision[:200] = -rng.uniform(0, 0.04, 200)  # before the non-decision time is over
    # At the switch between the two series, and on both sides of it.
    decision[200:500] = (subject["alpha"][200:500] ** 2) * rng.choice([0.2499999, 0.25, 0.26], 300)
    rt = subject["t0"] + decision
    right = el.log_density(rt, choice, **subject)
    rows = [
        {"rt": t, "choice": int(c), **dict(zip(subject, map(float, values), strict=True))}
        for t, c, *values in zip(rt.tolist(), choice, *subject.values(), strict=True)
    ]
    found = page.evaluate(
        "(rows) => rows.map((row) => String(eamlab.ddm.logDensity(row.rt, row.choice, row)))", rows
    )
    found = np.array([float(x.replace("Infinity", "inf")) for x in found])
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(right))
    assert np.isneginf(right).sum() == 200
    finite = np.isfinite(right)
    assert right[finite].min() < -1000
    np.testing.assert_allclose(found[finite], right[finite], rtol=1e-9, atol=1e-9)


def test_drift_is_integrated_exactly(page):
    one = {"nu": 0.4, "alpha": 1.3, "t0": 0.3, "beta": 0.45}
    for choice in (0, 1):
        for rt in (0.34, 0.7, 2.5):
            mass = integrate.quad(
                lambda z, rt=rt, choice=choice: np.exp(
                    el.log_density(rt, choice, **one | {"nu": 0.4 + 1.7 * z}) - z * z / 2
                ),
                -12, 12, epsabs=1e-13,
            )[0]  # fmt: skip
            found = page.evaluate(
                "([rt, choice, one]) => eamlab.ddm.logDensity(rt, choice, one, 1.7)",
                [rt, choice, one],
            )
            np.testing.assert_allclose(found, np.log(mass / np.sqrt(2 * np.pi)), atol=1e-9)


def test_choice_probability_and_mean_time_are_exact(page):
    for nu in (-40.0, -3.0, -1e-4, -1e-9, 0.0, 1e-7, 0.8, 40.0):
        for alpha, beta in ((0.5, 0.1), (1.3, 0.5), (2.5, 0.87)):
            one = {"nu": nu, "alpha": alpha, "t0": 0.3, "beta": beta}
            p, mean = page.evaluate(
                "(one) => [eamlab.ddm.probability(one), eamlab.ddm.meanTime(one)]", one
            )
            np.testing.assert_allclose(p, el.choice_probability(nu, alpha, beta), rtol=1e-12)
            late = sum(
                integrate.quad(
                    lambda t, one=one: 1 - el.defective_cdf(t, [0, 1], **one).sum(), *ends
                )[0]
                for ends in itertools.pairwise((0.3, 0.301, 0.31, 0.4, 1, 4, 60))
            )
            np.testing.assert_allclose(mean, 0.3 + late, atol=2e-6)


# -------------------------------------------------------------------------------- stepped walks

WALKS = """
([one, options, n]) => {
  const walk = eamlab.ddm.walker(one, options);
  const ends = Array.from({ length: n }, () => walk());
  return ends.map(({ n, upper, late }) => [n * options.step, Number(upper), Number(late)]);
}
"""


@pytest.mark.parametrize(
    ("one", "scheme"),
    [
        ((-2.0, 1.6, 0.7), "euler-maruyama"),
        ((1.0, 1.0, 0.5), "euler-maruyama-corrected"),
        ((0.0, 2.2, 0.5), "euler-maruyama-corrected"),
    ],
    ids=["down", "base", "slow"],
)
def test_walks_have_the_laws_of_the_librarys(page, one, scheme):
    subject = dict(zip(("nu", "alpha", "beta"), one, strict=True))
    corrected = scheme.endswith("corrected")
    options = {
        "step": 0.006, "inward": playgrounds.BOUNDARY_SHIFT * corrected, "maxTime": 1.2, "seed": 4,
    }  # fmt: skip
    here = np.array(page.evaluate(WALKS, [subject, options, 20_000]))
    data, late = el.simulate_trials(
        **subject, t0=0.3, n_trials=80_000, seed=5, scheme=scheme, dt=0.006, max_time=1.2
    )
    time = np.minimum(here[:, 0], 1.2)
    there = np.stack([data[:, 1].astype(float) - 0.3, data[:, 0], late], axis=1)
    for mine, library in zip((time, here[:, 1], here[:, 2]), there.T, strict=True):
        error = np.sqrt(mine.var() / len(mine) + library.var() / len(library))
        assert abs(mine.mean() - library.mean()) <= Z * error + 1e-6


def test_a_recorded_walk_begins_at_the_start_and_ends_beyond_a_bound(page):
    track, end = page.evaluate(
        "([one, options]) => { const track = [];"
        "const end = eamlab.ddm.walker(one, options)(track); return [track, end]; }",
        [
            {"nu": 1, "alpha": 1.4, "beta": 0.3},
            {"step": 0.01, "inward": 0, "maxTime": 9, "seed": 1},
        ],
    )
    assert len(track) == end["n"] + 1 and track[0] == pytest.approx(0.42)
    inside = np.abs(np.array(track) - 0.7) <= 0.7
    assert inside[:-1].all() and not inside[-1] and end["upper"] == (track[-1] > 0.7)


def test_small_steps_come_closer_to_the_exact_density(fresh, widgets):
    """Readers are asked first: until they move the step nothing says what it does."""
    assert "too slow" not in done(fresh, "decision")
    means = {}
    for dt in (0.002, 0.05):
        label = move(fresh, "decision", dt=stop(widgets, "decision", "dt", dt))
        means[dt] = int(label.split("exact: ")[2].split("; ")[1].split(" ms")[0])
        assert "too slow" in label
    # Predicted errors of the mean: about 24 and 120 ms; 4,000 times have a standard error of 4 ms.
    assert 5 < means[0.002] < 45 and 80 < means[0.05] < 170
    fresh.locator("#decision").get_by_label("moved inward").check()
    label = done(fresh, "decision")
    assert "bounds moved inward" in label and "in steps of 7.4 ms" in label


# --------------------------------------------------------------------------------- Gaussian toy

CASES = [
    {"score": "diffused", "solver": "sde", "d0": 1.0, "d1": 1.0},
    {"score": "diffused", "solver": "ode", "d0": 1.0, "d1": 1.0},
    {"score": "weighted", "solver": "sde", "d0": 0.5, "d1": 0.01},
    {"score": "exact", "solver": "sde", "d0": 1.0, "d1": 1.0},
    {"score": "exact", "solver": "ode", "d0": 0.7, "d1": 0.9},
]


def plan(y, case: dict, steps: int, ends) -> np.ndarray:
    """Coefficients (steps, 3) of x <- a + b x + c z, from the library's scores."""
    toy = GaussianToy(y)
    times = np.linspace(ends[1], ends[0], steps + 1)
    rows = []
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        alpha, sigma = noise_levels(t)
        noise = np.pi * sigma / alpha * (t - t_next)
        x = np.array([0.0, 1.0])
        weight = 1 - t if case["score"] == "weighted" else 1.0
        exact = case["score"] == "exact"
        score = toy.exact_score(x, t) if exact else toy.composed_score(x, t, weight)
        half = 1.0 if case["solver"] == "sde" else 0.5
        moved = x + noise * (x / 2 + half * bridge(t, case["d0"], case["d1"]) * score)
        rows.append([moved[0], moved[1] - moved[0], np.sqrt(noise) * (case["solver"] == "sde")])
    return np.array(rows)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['score']}-{c['solver']}")
def test_toy_steps_are_those_of_the_toy(page, widgets, case):
    y = 0.8 + np.random.default_rng(3).standard_normal(40)
    ends = widgets["toy"]._page["data"]["ends"]
    options = {**case, "noiseSd": 1, "ends": ends, "steps": 25, "seed": 2}
    found = page.evaluate("([y, options]) => eamlab.toy.steps(y, options)", [y.tolist(), options])
    middle = GaussianToy(y).posterior()[0] if case["score"] == "exact" else y.mean()
    found = np.array([[s["pull"] * middle, s["keep"], s["heat"]] for s in found])
    np.testing.assert_allclose(found, plan(y, case, 25, ends), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [40, 5])
@pytest.mark.parametrize("case", CASES[:4], ids=lambda c: f"{c['score']}-{c['solver']}")
def test_toy_draws_have_the_moments_they_must_have(page, widgets, case, size):
    """All is Gaussian: mean and variance of the draws follow from the steps, step by step."""
    y = 0.8 + np.random.default_rng(3).standard_normal(40)
    ends, n, steps = widgets["toy"]._page["data"]["ends"], 20_000, 60
    options = {**case, "noiseSd": 1, "ends": ends, "steps": steps, "seed": 2}
    draws = page.evaluate(
        "([y, size, options, n]) => { const draw = eamlab.toy.sampler(y, size, options);"
        "return Array.from({ length: n }, draw); }",
        [y.tolist(), size, options, n],
    )
    # What a random mini-batch adds: the pull is proportional to the mean of its y.
    spread = y.var(ddof=1) * (1 / size - 1 / len(y)) if case["score"] != "exact" else 0.0
    mean, variance = 0.0, 1.0
    for a, b, c in plan(y, case, steps, ends):
        mean = a + b * mean
        variance = b**2 * variance + c**2 + (a / y.mean()) ** 2 * spread
    assert abs(np.mean(draws) - mean) < Z * np.sqrt(variance / n)
    assert abs(np.var(draws) / variance - 1) < Z * np.sqrt(2 / n)


def test_exact_score_finds_the_exact_posterior(fresh, widgets):
    fresh.locator("#toy").get_by_label("exact", exact=True).check()
    label = move(fresh, "toy", steps=stop(widgets, "toy", "steps", 500))
    bias, ratio = (float(label.split(word)[1].split()[0].replace("−", "-"))
                   for word in ("Bias: ", "Width: "))  # fmt: skip
    # 500 draws: standard errors 0.045 and 0.032.
    assert abs(bias) < Z * 0.045 and abs(ratio - 1) < Z * 0.032 + 0.02


def test_a_toy_that_diverges_says_so_and_keeps_its_picture(fresh):
    fresh.locator("#toy").get_by_label("sum, (1 − t) prior").check()
    label = done(fresh, "toy")
    assert "The sampler diverged" in label and "draws" in label
    assert "diverged" in fresh.locator("#toy .eam-caption").inner_text()
    assert fresh.locator("#toy svg .eam-exact").count() == 1
    moved = move(fresh, "toy", d1=6)
    assert "Bias" in moved and "d1 = 0.01" in moved


# ------------------------------------------------------------------------------- the controls


def test_every_slider_changes_the_picture(fresh):
    for name in NAMES:
        sliders = fresh.locator(f"#{name} input[type=range]")
        names = [s.get_attribute("name") for s in sliders.all()]
        assert len(names) == {"decision": 5, "population": 7, "toy": 5}[name]
        picture = fresh.locator(f"#{name} svg[role=img]")
        label, drawn, seen = done(fresh, name), picture.inner_html(), set()
        for slider in names:
            start = int(fresh.locator(f"#{name} input[name={slider}]").input_value())
            seen.add(move(fresh, name, **{slider: -1 if start == 0 else 0}))
            assert picture.inner_html() != drawn, slider
            assert move(fresh, name, **{slider: start}) == label, slider
        assert len(seen | {label}) == len(names) + 1


def test_buttons_and_choices_change_the_picture(fresh):
    for name in NAMES:
        buttons = f"#{name} button:not(.eam-links *)"  # those copy the picture's address
        clickable = fresh.locator(f"{buttons}, #{name} input[type=radio]:not(:checked)")
        for i in range(clickable.count()):
            before = fresh.locator(f"#{name} svg[role=img]").inner_html()
            fresh.locator(f"{buttons}, #{name} input[type=radio]").nth(i).click()
            done(fresh, name)
            changed = fresh.locator(f"#{name} svg[role=img]").inner_html() != before
            node = fresh.locator(f"{buttons}, #{name} input[type=radio]").nth(i)
            assert changed or node.get_attribute("type") == "radio"


def test_a_population_from_the_prior_moves_every_slider_within_its_range(fresh, widgets):
    positions = fresh.evaluate(
        """() => Array.from({ length: 40 }, () => {
          document.querySelector("#population button").click();
          const sliders = document.querySelectorAll("#population input[type=range]");
          return [...sliders].map((i) => Number(i.value));
        })"""
    )
    assert len({tuple(row) for row in positions}) == 40
    stops = widgets["population"]._page["data"]["stops"]
    z = np.array(
        [
            [(stops[p.name][i] - p.mean) / p.sd for i in column]
            for p, column in zip(
                el.EAM.prior.parameters, np.transpose(positions).tolist(), strict=True
            )
        ]
    )
    # 280 draws of N(0, 1) cut off at 2.5, whose sd is 0.95: bounds of 4 standard errors.
    assert np.abs(z).max() <= 2.5 + 1e-6 and abs(z.mean()) < 0.23 and abs(z.std() - 0.95) < 0.16


def test_the_same_page_shows_the_same_picture(fresh):
    def shown(name):
        done(fresh, name)
        picture = fresh.locator(f"#{name} svg[role=img]").inner_html()
        return picture.replace("eam-people-2", "eam-people-1")

    before = [shown(name) for name in NAMES]
    fresh.reload()
    assert [shown(name) for name in NAMES] == before


def test_sliders_work_by_keyboard(fresh):
    before = done(fresh, "decision")
    fresh.locator("#decision input[name=nu]").focus()
    fresh.keyboard.press("ArrowRight")
    label = done(fresh, "decision")
    assert "nu = 1.00" in before and "nu = 1.10" in label


def test_a_slider_gets_its_picture_in_time(fresh, record_property):
    """From the input event to the picture laid out, anywhere on any slider."""
    for name in NAMES:
        rng = np.random.default_rng(1)
        sliders = fresh.locator(f"#{name} input[type=range]").all()
        names = [(s.get_attribute("name"), int(s.get_attribute("max"))) for s in sliders]
        times = []
        for _ in range(60):
            slider, most = names[rng.integers(len(names))]
            times.append(fresh.evaluate(MOVE, [name, slider, int(rng.integers(most + 1))])["ms"])
        record_property(f"{name}_p95_ms", float(np.quantile(times, 0.95)))
        # The aim is MOVES_MS, met on a free machine; thrice as much where others compute, too.
        assert np.quantile(times, 0.95) < 3 * MOVES_MS, np.round(np.sort(times)[-6:])


def test_pictures_fit_the_page(fresh):
    for width in (900, 390):
        fresh.set_viewport_size({"width": width, "height": 800})
        fresh.wait_for_function(
            "(most) => [...document.querySelectorAll('svg[role=img]')].every("
            "(svg) => svg.getBoundingClientRect().right < most)",
            arg=width,
        )
        assert fresh.evaluate("document.scrollingElement.scrollWidth") <= width
    texts = "() => [...document.querySelectorAll('svg[role=img] text')].map((t) => t.textContent)"
    assert not [t for t in fresh.evaluate(texts) if "undefined" in t or "NaN" in t]
    paths = "() => [...document.querySelectorAll('svg path')].map((p) => p.getAttribute('d'))"
    assert not [d for d in fresh.evaluate(paths) if "NaN" in d or "Infinity" in d]


# -------------------------------------------------------------------------------- two lives


@pytest.fixture
def live(chromium, page, widgets) -> Iterator:
    """``live(name)``: the widget on a page of its own, talking to Python through its messages."""
    contexts = []

    def python(message: dict) -> dict:
        widget = widgets[message.pop("name")]
        with mock.patch.object(widget, "send") as send:
            widget._receive(None, message, None)
        return json.loads(json.dumps(send.call_args.args[0], allow_nan=False))

    def start(name: str):
        context = chromium.new_context(viewport={"width": 900, "height": 900})
        contexts.append(context)
        tab = context.new_page()
        tab.expose_function("python", python)
        tab.goto(page.url)
        tab.evaluate(
            """async ([name, page]) => {
              const hear = new Set();
              const model = { get: () => page,
                on: (_, f) => hear.add(f), off: (_, f) => hear.delete(f),
                send: async (message) => {
                  const reply = await python({ ...message, name });
                  for (const listener of hear) listener(reply);
                } };
              const el = document.getElementById(name);
              eamlab.entry(name).render({ model, el });
            }""",
            [name, widgets[name]._page],
        )
        return tab

    yield start
    for context in contexts:
        context.close()


LIVE = {"decision": "20,000 decisions", "population": "40 people", "toy": "1,000 draws"}


@pytest.mark.parametrize("name", NAMES)
def test_python_answers_take_the_picture(live, name):
    tab = live(name)
    tab.wait_for_selector(f"#{name} .eam-tag[data-life=live]")
    label = tab.locator(f"#{name} svg[role=img]").get_attribute("aria-label")
    assert LIVE[name] in label
    assert "in Python" in tab.locator(f"#{name} .eam-caption").inner_text()
    slider = tab.locator(f"#{name} input[type=range]").first.get_attribute("name")
    assert tab.evaluate(MOVE, [name, slider, 2])["life"] == "static"
    tab.wait_for_selector(f"#{name} .eam-tag[data-life=live]")
    assert tab.locator(f"#{name} svg[role=img]").get_attribute("aria-label") != label
    assert tab.locator(f"#{name} .eam-status").inner_text() == ""


def test_an_error_of_python_is_shown_beside_the_picture(live, widgets):
    def fail(_):
        raise ValueError("J must be a whole number")

    with mock.patch.object(widgets["toy"], "_answer", fail):
        tab = live("toy")
        tab.wait_for_selector("#toy .eam-status.eam-problem")
        assert tab.locator("#toy .eam-status").inner_text() == "J must be a whole number"
        assert "500 draws" in done(tab, "toy")
    tab.evaluate(MOVE, ["toy", "J", 3])
    tab.wait_for_selector("#toy .eam-tag[data-life=live]")
    assert tab.locator("#toy .eam-problem").count() == 0


@pytest.mark.parametrize("name", NAMES)
def test_notebook_module_needs_nothing_but_its_model(page, widgets, name):
    """The module draws where no page has loaded the scripts."""
    widget = widgets[name]
    tab = page.context.new_page()
    tab.goto("about:blank")
    tab.evaluate(
        """async ([text, page, name]) => {
          const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
          const { default: entry } = await import(url);
          const model = { get: () => page, on() {}, off() {}, send() {} };
          document.body.id = name;
          entry.render({ model, el: document.body });
        }""",
        [widget._esm, widget._page, name],
    )
    tab.wait_for_selector(f"#{name} svg[role=img]")
    assert tab.locator(f"#{name} .eam-tag").get_attribute("data-life") == "static"
    tab.close()


# --- exact trials ---------------------------------------------------------------------------------

TRIALS = """
([subject, n]) => {
  const draw = eamlab.ddm.sampler(subject, eamlab.random(7));
  return Array.from({ length: n }, () => { const { time, upper } = draw(); return [time, upper]; });
}
"""


@pytest.mark.parametrize(
    "subject", [(1.0, 1.0, 0.3, 0.5), (-2.0, 1.7, 0.2, 0.35), (0.2, 0.6, 0.1, 0.9), (0, 2, 0, 0.4)]
)
def test_exact_trials_follow_the_density(page, subject):
    n, names = 20_000, ("nu", "alpha", "t0", "beta")
    times, upper = np.array(page.evaluate(TRIALS, [dict(zip(names, subject, strict=True)), n])).T
    at = np.sort(times[upper == 1])
    want = defective_cdf(at, 1, *subject)
    found = np.arange(1, len(at) + 1) / n
    # Kolmogorov's bound at 1e-5, for the part of the trials that end there.
    assert np.abs(found - want).max() < 2.5 / np.sqrt(n)
    nu, alpha, _, beta = subject
    p = el.choice_probability(nu, alpha, beta)
    assert abs(upper.mean() - p) < Z * np.sqrt(p * (1 - p) / n)


def test_the_values_of_a_population_can_be_hidden(fresh):
    box = fresh.locator("#population")
    assert "β =" in box.locator("svg[role=img]").get_attribute("aria-label")
    box.get_by_label("hide the values").check()
    said = box.locator("svg[role=img]").get_attribute("aria-label") + box.inner_text()
    assert "mu_nu" not in said and "β =" not in said
    assert not box.locator("input[type=range]").first.is_visible()
    before = box.locator("svg[role=img]").inner_html()
    box.get_by_role("button", name="draw a population").click()
    assert box.locator("svg[role=img]").inner_html() != before
    assert not box.locator("input[type=range]").first.is_visible()
    box.get_by_label("hide the values").uncheck()
    assert box.locator("input[type=range]").first.is_visible()
