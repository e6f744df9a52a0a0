"""The playgrounds send the browser what it needs, and their live answers are the library's."""

import base64
import io
import json
import re
import shutil

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

matplotlib.use("agg")

from eamlab.model.density import log_density
from eamlab.model.eam import EAM, beta_from_raw
from eamlab.model.simulator import simulate_trials
from eamlab.study import simulate
from eamlab_book.toy import GaussianToy
from eamlab_book.widgets import playgrounds, widget
from eamlab_book.widgets.playgrounds import (
    decision_playground,
    population_playground,
    toy_playground,
)
from eamlab_book.widgets.widget import script_folder, scripts

MAKERS = {"decision": decision_playground, "population": population_playground}
MAKERS["toy"] = toy_playground
BINS = {"end": 1.5, "width": 0.02}
END = {"end": 2.0}
EXTRA = {"decision": BINS, "population": END, "toy": {}}


@pytest.fixture(scope="module")
def widgets() -> dict:
    return {name: make() for name, make in MAKERS.items()}


def page_of(widget) -> dict:
    """Data, settings and life as the rendered page holds them."""
    text = re.search(r'<script type="application/json">(.*?)</script>', widget.html(), re.S)[1]
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def ask(widget, **changed) -> dict:
    """A live answer, through JSON as on its way to the browser."""
    settings = page_of(widget)["settings"] | EXTRA[widget._name] | changed
    reply = widget._reply({"settings": settings})
    assert reply["type"] == "answer", reply
    return json.loads(json.dumps(reply["content"], allow_nan=False))


# ----------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nu", 3.1),
        ("nu", float("nan")),
        ("nu", "fast"),
        ("alpha", 0.0),
        ("alpha", -1.0),
        ("t0", None),
        ("t0", 2.0),
        ("beta", 0.0),
        ("beta", True),
        ("dt", 0.0),
        ("dt", 0.1),
    ],
)
def test_a_start_outside_its_slider_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be a number between .* got"):
        decision_playground(**{name: value})


@pytest.mark.parametrize(
    ("which", "name", "value"),
    [
        ("decision", "alpha", -1.0),
        ("decision", "bounds", "absent"),
        ("decision", "seed", 1.5),
        ("decision", "width", 0.0),
        ("decision", "end", float("inf")),
        ("population", "mu_nu", 5.0),
        ("population", "beta_raw", None),
        ("population", "end", -1),
        ("toy", "J", 0),
        ("toy", "J", 20_000),
        ("toy", "mini_batch", 2.5),
        ("toy", "steps", 0),
        ("toy", "d0", 0.0),
        ("toy", "d1", float("nan")),
        ("toy", "score", "best"),
        ("toy", "solver", "euler"),
    ],
)
def test_bad_settings_are_answered_in_words(widgets, which, name, value):
    settings = page_of(widgets[which])["settings"] | EXTRA[which] | {name: value}
    reply = widgets[which]._reply({"settings": settings})
    assert reply["type"] == "error"
    assert reply["text"].startswith(f"{name} must be"), reply["text"]
    missing = {k: v for k, v in settings.items() if k != name}
    assert widgets[which]._reply({"settings": missing})["text"].startswith(f"{name} must be")


# -------------------------------------------------------------------------------- in the page


@pytest.mark.parametrize("name", MAKERS)
def test_page_holds_finite_data_a_still_and_a_sentence(widgets, name):
    page = page_of(widgets[name])
    assert page["live"] is False
    html = widgets[name].html()
    png = base64.b64decode(re.search(r'src="data:image/png;base64,([^"]+)"', html)[1])
    image = matplotlib.pyplot.imread(io.BytesIO(png))
    assert min(image.shape[:2]) > 150 and image[..., :3].std() > 0.02
    sentence = re.search(r"<p>(.*?)(?: <small>.*)?</p>", html)[1]
    assert len(sentence) > 60 and f'alt="{sentence}"' in html
    assert len(html) < 150_000


@pytest.mark.parametrize("name", MAKERS)
def test_every_slider_begins_on_one_of_its_stops(widgets, name):
    page = page_of(widgets[name])
    for key, stops in page["data"]["stops"].items():
        assert page["settings"][key] in stops
        assert stops == sorted(set(stops)) and len(stops) >= 5


def test_a_start_between_two_stops_becomes_one():
    page = page_of(decision_playground(nu=0.123, dt=0.0042))
    assert page["settings"]["nu"] == 0.123 and 0.123 in page["data"]["stops"]["nu"]
    assert 0.0042 in page["data"]["stops"]["dt"]


def test_population_sliders_are_the_prior(widgets):
    data = page_of(widgets["population"])["data"]
    assert [p["name"] for p in data["parameters"]] == list(EAM.prior.names)
    for p in EAM.prior.parameters:
        stops = data["stops"][p.name]
        np.testing.assert_allclose(stops[0], p.mean - 2.5 * p.sd, atol=1e-6)
        np.testing.assert_allclose(stops[-1], p.mean + 2.5 * p.sd, atol=1e-6)
    np.testing.assert_allclose(data["beta"], beta_from_raw(data["stops"]["beta_raw"]), atol=1e-6)
    nodes = np.array(data["nodes"])
    np.testing.assert_allclose(nodes.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(nodes.T), np.eye(2), atol=0.04)


def test_population_panels_are_the_models_people(widgets):
    people = page_of(widgets["population"])["data"]["people"]
    assert [(p["name"], p["mean"], p["log_sd"], p["positive"]) for p in people] == [
        (p.name, p.mean, p.log_sd, p.positive) for p in EAM.people
    ]
    truth = simulate(EAM, 2000, 1, seed=1, group=playgrounds.DEMO_GROUP).truth
    for p in people:
        low, high = p["range"]
        assert (low > 0) == p["positive"]
        assert np.mean((truth[p["name"]] > low) & (truth[p["name"]] < high)) > 0.95


def test_toy_observations_travel_unchanged(widgets):
    data = page_of(widgets["toy"])["data"]
    y = np.frombuffer(base64.b64decode(data["y"]), "<i2") * data["unit"]
    np.testing.assert_allclose(y, playgrounds._observations(), atol=1e-12)
    # 10,000 draws of N(truth, noise_sd): a mean beyond 4 standard errors has probability 6e-5.
    assert abs(y.mean() - data["truth"]) < 4 * data["noise_sd"] / 100


# --------------------------------------------------------------------------------------- live


@pytest.mark.parametrize("dt", [0.001, 0.02, 0.05])
@pytest.mark.parametrize("bounds", ["plain", "inward"])
def test_live_decisions_are_the_librarys(widgets, dt, bounds):
    subject = {"nu": -0.7, "alpha": 1.4, "t0": 0.24, "beta": 0.62}
    scheme = {"plain": "euler-maruyama", "inward": "euler-maruyama-corrected"}[bounds]
    data, late = simulate_trials(**subject, n_trials=20_000, seed=3, scheme=scheme, dt=dt)
    settings = subject | {"dt": dt, "bounds": bounds, "seed": 3}
    step = ask(widgets["decision"], **settings)["step"]
    assert step == dt if bounds == "plain" else step <= dt

    per_bin = max(1, round(0.025 / step))
    answer = ask(widgets["decision"], **settings, width=per_bin * step)
    assert answer["n"] == len(data) and answer["late"] == late.sum()
    np.testing.assert_allclose(answer["p_upper"], data[:, 0].mean(dtype=float))
    np.testing.assert_allclose(answer["mean"], data[:, 1].mean(dtype=float))
    # Counted by whole steps: no bin may hold one step's times more than another.
    n = np.rint((data[:, 1] - subject["t0"]) / step).astype(int)
    for choice, side in ((0, "lower"), (1, "upper")):
        counts = np.bincount((n[data[:, 0] == choice] - 1) // per_bin, minlength=1000)
        np.testing.assert_array_equal(answer[side], counts[: len(answer[side])])

    ends = [path[-1] for path in answer["paths"]]
    np.testing.assert_allclose([t for t, _ in ends], data[: len(ends), 1], atol=2e-4)
    upper = [x > subject["alpha"] / 2 for _, x in ends]
    np.testing.assert_array_equal(upper, data[: len(ends), 0])
    np.testing.assert_allclose([path[0][1] for path in answer["paths"]], 1.4 * 0.62, atol=1e-4)


def test_live_population_is_the_librarys(widgets):
    group = {name: page_of(widgets["population"])["settings"][name] for name in EAM.prior.names}
    answer = ask(widgets["population"], seed=5)
    study = simulate(EAM, 2000, 10, seed=5, group=group)
    for name in EAM.person_names:
        np.testing.assert_allclose(answer[name], study.truth[name][:40], atol=1e-4)
    # Bars against the mean density of these 2,000 people. Decisions of one person are alike, but
    # given the people they are independent; 160 bars beyond 5 standard errors: below 1e-4.
    width = answer["histogram"]["width"]
    middle = width * (np.arange(80) + 0.5)
    fine = (middle[:, None] + width * (np.arange(4) - 1.5) / 4).reshape(-1, 1)
    people = [study.truth[name] for name in EAM.person_names]
    beta = beta_from_raw(group["beta_raw"])
    for choice, side in ((0, "lower"), (1, "upper")):
        density = np.exp(log_density(fine, choice, *people, beta)).mean(1).reshape(80, 4).mean(1)
        error = np.sqrt(density / (20_000 * width)) + 1e-3
        assert np.abs((answer["histogram"][side] - density) / error).max() < 5


@pytest.mark.parametrize("kind", ["diffused", "weighted", "exact"])
def test_live_toy_takes_the_scores_of_the_toy(kind):
    y = 0.8 + np.random.default_rng(4).standard_normal(50)
    x, toy = np.linspace(-3, 3, 11), GaussianToy(y)
    score = playgrounds._toy_score(y, kind, len(y), seed=1)
    for t in (0.01, 0.4, 0.99):
        weight = 1 - t if kind == "weighted" else 1.0
        right = toy.exact_score(x, t) if kind == "exact" else toy.composed_score(x, t, weight)
        np.testing.assert_allclose(score(x, t), right, rtol=1e-10)


def test_mini_batches_are_uniform_subsets():
    y = np.array([1.0, 2.0, 4.0, 8.0])
    rng, pool = np.random.default_rng(2), y.copy()
    means = np.concatenate([playgrounds._batch_means(pool, 2, 5000, rng) for _ in range(6)])
    sums, counts = np.unique(np.rint(2 * means), return_counts=True)
    np.testing.assert_array_equal(sums, [3, 5, 6, 9, 10, 12])
    assert stats.chisquare(counts).pvalue > 1e-4  # a true sampler fails once in 10,000 seeds
    np.testing.assert_array_equal(np.sort(pool), y)


def test_a_mini_batch_score_is_unbiased_and_each_particles_own():
    y = 0.8 + np.random.default_rng(4).standard_normal(30)
    x = np.full(40_000, 0.5)
    score = playgrounds._toy_score(y, "weighted", 5, seed=1)(x, 0.3)
    right = GaussianToy(y).composed_score(x[:1], 0.3, 0.7)[0]
    assert abs(score.mean() - right) < 4 * score.std() / 200  # error rate 6e-5
    assert len(np.unique(score)) > 10_000


def test_live_toy_with_the_exact_score_finds_the_exact_posterior(widgets):
    answer = ask(widgets["toy"], score="exact", steps=500, J=20)
    draws = np.array(answer["particles"])
    mean, sd = GaussianToy(playgrounds._observations()[:20]).posterior()
    assert abs(draws.mean() - mean) < 4 * sd / 1000**0.5  # error rate 6e-5
    assert abs(draws.std() / sd - 1) < 0.1  # 4 standard errors, and the steps' own error


def test_a_toy_that_diverges_says_so_without_numbers_beyond_json(widgets):
    answer = ask(widgets["toy"], score="weighted", J=10_000, steps=500)
    draws = np.array(answer["particles"], dtype=float)
    assert len(draws) == 1000
    assert not np.isfinite(draws).all() or np.abs(draws).max() > 1e3


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_settings_get_the_same_answer(widgets, name):
    assert ask(widgets[name]) == ask(widgets[name])
    assert ask(widgets[name]) != ask(widgets[name], seed=77)


def test_a_script_comes_after_what_its_first_line_names():
    order = scripts()
    assert sorted(f"{name}.js" for name in order) == sorted(
        path.name for path in script_folder().glob("*.js")
    )
    assert order[-1] == "mount"
    for place, name in enumerate(order):
        first = (script_folder() / f"{name}.js").read_text(encoding="utf-8").partition("\n")[0]
        needs = first.removeprefix("// needs: ").split() if "needs:" in first else []
        assert set(needs) <= set(order[:place]), name
    assert order.index("ddm") < order.index("decision")


def test_a_widget_is_registered_by_its_two_files(tmp_path, monkeypatch):
    """A script beside the others is loaded by pages and by notebooks, after what it needs."""
    shutil.copytree(script_folder(), tmp_path / "js")
    (tmp_path / "js" / "arrow.js").write_text(
        "// needs: core ddm\n/* An arrow. */\n", encoding="utf-8"
    )
    monkeypatch.setattr(widget, "script_folder", lambda: tmp_path / "js")
    order = widget.scripts()
    assert order.index("arrow") > max(order.index("core"), order.index("ddm"))
    new = widget.Widget("arrow", {}, {}, sentence="An arrow.", still=Figure)
    files = (script_folder() / f"{name}.js" for name in ("core", "ddm"))
    parts = [file.read_text(encoding="utf-8") for file in files]
    assert new._esm.startswith("\n".join(parts)) and "/* An arrow. */" in new._esm


def test_the_toy_playground_shows_what_the_guide_promises():
    """Widths of 500 and more draws, known to 7 %; the seed is fixed."""

    def width(**changes):
        settings = playgrounds._TOY_START | {"seed": 1} | changes
        draws = np.array(
            [np.nan if x is None else x for x in playgrounds._sample_toy(settings)["particles"]]
        )
        with np.errstate(over="ignore"):
            return float(np.nanstd(draws) * (1 + settings["J"] / playgrounds._NOISE_SD**2) ** 0.5)

    assert 0.7 < width() < 0.82
    assert all(
        abs(width(**right) - 1) < 0.08 for right in ({"J": 1}, {"score": "exact"}, {"d0": 0.5})
    )
    assert width(solver="ode") < 0.1
    assert width(mini_batch=5) > 1.3 and width(mini_batch=5, steps=2000) < 0.85
    assert width(J=500) > 1000
