"""The composition explorer and the film: settings, stored answers, and what Python replies."""

import json
import math

import numpy as np
import pytest
from matplotlib.path import Path

import eamlab as el
import eamlab_book as book
from eamlab_book.results.widgets import cell
from eamlab_book.results.workshop import Workshop
from eamlab_book.stored import write_stored
from eamlab_book.studies import DemoSettings, exact_of
from eamlab_book.widgets import film as films
from eamlab_book.widgets import grid
from eamlab_book.widgets.grid import (
    STOPS,
    Cell,
    GridSettings,
    Settings,
    all_settings,
    cell_of,
    load_grid,
    settings_of,
    summarize,
)

D = len(el.EAM.prior)


@pytest.fixture(scope="module")
def stored():
    return load_grid()


class Page:
    """The front end of a widget: keeps what Python sends."""

    def __init__(self, widget):
        self.widget, self.sent = widget, []
        widget.send = lambda content, buffers=None: self.sent.append(content)

    def say(self, **message):
        self.widget._receive(self.widget, message, [])
        return json.loads(json.dumps(self.sent.pop(), allow_nan=False))


# --- settings and cells ---------------------------------------------------------------------------


def test_every_position_of_the_sliders_is_a_run_that_compose_accepts():
    for settings in all_settings():
        options = settings.options()
        assert settings.n_subjects % options["group_size"] == 0
        assert 1 <= options.get("mini_batch_size", 1) <= settings.n_groups


def test_settings_without_effect_are_one_setting():
    assert len({s.effective() for s in all_settings()}) < len(all_settings()) / 2
    for settings in all_settings():
        effective = settings.effective()
        assert effective.effective() == effective
        assert effective.options() == settings.options()


@pytest.mark.parametrize("bad", [{"d0": 0.5}, {"n_subjects": 50}, {"method": "magic"}])
def test_values_outside_the_grid_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        book.explorer(**bad)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="n_subject'"):
        book.explorer(n_subject=100)
    with pytest.raises(ValueError, match="num_samples"):
        book.explorer(num_samples=1)
    with pytest.raises(ValueError, match="frame must be one of"):
        book.film(frame=99)
    with pytest.raises(ValueError, match="speed"):
        book.film(speed=2)


def test_the_film_begins_with_noise():
    assert films.FilmSettings().times[book.film(live=False)._page["settings"]["frame"]] == 1


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_the_outline_of_the_film_holds_95_percent_of_the_noisy_posterior(t):
    rng = np.random.default_rng(1)
    exact = films._exact(100)
    clean = rng.multivariate_normal(exact["mean"], exact["cov"], size=20_000)
    noise = rng.standard_normal(clean.shape)
    noisy = np.cos(np.pi / 2 * t) * clean + np.sin(np.pi / 2 * t) * noise
    inside = Path(films._outline(exact, t).T).contains_points(noisy)
    assert inside.mean() == pytest.approx(0.95, abs=0.01)  # six standard errors


def test_a_cell_survives_packing():
    rng = np.random.default_rng(0)
    cell = Cell(
        np.sort(rng.normal(size=(D, 25)) * 100.0 ** rng.normal(size=(D, 1)), axis=1),
        rng.normal(size=D) * 30,
        np.exp(rng.normal(size=D) * 3),
    )
    back = Cell.unpack(cell.packed())
    np.testing.assert_allclose(back.points, cell.points, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(back.bias, cell.bias, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(back.ratio, cell.ratio, rtol=1e-3)


def test_a_diverged_solver_is_shown_far_out_and_not_left_out():
    exact = exact_of(10)
    draws = {k: np.full(50, np.nan) for k in exact}
    cell = Cell.unpack(summarize(draws, exact).packed())
    assert np.all(cell.points > 1e5) and np.all(np.isfinite(cell.ratio))


def test_the_exact_posterior_is_its_own_best_cell():
    exact = exact_of(1000)
    cell = summarize(exact, exact)
    assert np.all(np.abs(cell.bias) < 0.2) and np.all(np.abs(np.log(cell.ratio)) < 0.1)


# --- the stored grid ------------------------------------------------------------------------------


def test_the_grid_is_complete_and_belongs_to_the_shipped_weights(stored):
    assert stored["settings"]["num_samples"] >= 100
    for settings in (Settings(), Settings("gaussian", 10_000, 100), Settings(n_subjects=10)):
        cell = cell_of(stored, settings)
        assert cell.points.shape == (D, grid.N_POINTS)
        assert np.all(np.diff(cell.points, axis=1) >= 0)


def test_a_grid_of_other_positions_or_in_another_order_is_refused(stored, tmp_path):
    other = GridSettings(stops=STOPS | {"d0": (1.0, 0.5)})
    write_stored("explorer.json", stored, other, tmp_path)
    with pytest.raises(ValueError, match=r"other settings: stops.d0 was \[1.0, 0.5\], is"):
        load_grid(tmp_path)
    turned = stored | {"names": el.EAM.prior.names[::-1]}
    write_stored("explorer.json", turned, GridSettings(), tmp_path)
    with pytest.raises(ValueError, match="another order of parameters"):
        load_grid(tmp_path)


def test_a_grid_survives_writing(stored, tmp_path):
    rows = {settings_of(row): row for row in stored["cells"]}
    cells = {settings: cell_of(stored, settings) for settings in rows}
    write_stored("explorer.json", grid.pack_grid(cells, GridSettings()), GridSettings(), tmp_path)
    again = load_grid(tmp_path)
    for key in ("lookup", "packed", "names"):
        assert again[key] == stored[key]


def test_films_of_other_positions_are_refused(tmp_path):
    other = films.FilmSettings(stops=films.STOPS | {"d0": (1.0,)})
    write_stored("films.json", films.load_films(), other, tmp_path)
    with pytest.raises(ValueError, match=r"other settings: stops.d0 was \[1.0\], is"):
        films.load_films(tmp_path)


def test_the_grid_says_what_is_known_to_go_wrong(stored):
    """Tempering widens, many terms go wrong, and larger groups are better than small ones."""
    wide = Settings(n_subjects=1000, group_size=100, d0=0.01, d1=0.01, mini_batch_size=10)
    assert np.median(cell_of(stored, wide).ratio) > 3
    small, large = (
        cell_of(stored, Settings("gaussian", 10_000, size)).bias
        for size in STOPS["group_size"][::2]
    )
    assert np.sqrt(np.mean(large**2)) < np.sqrt(np.mean(small**2))


CHECKED = (
    Settings("sum", 100, 20, 2, 0.1, 1.0, 100),
    Settings("sum", 1000, 100, 10, 0.1, 0.1, 100),
    Settings("gaussian", 1000, 100),
)


@pytest.mark.parametrize("settings", CHECKED, ids=str)
def test_stored_cells_are_what_the_sampler_gives_today(stored, settings):
    """Same seed, other processor: equal up to a little float noise, amplified on the way."""
    made, demo = GridSettings(), DemoSettings(settings.n_subjects)
    now = cell(Workshop(), settings.effective(), demo, made.num_samples, made.seed)
    then = cell_of(stored, settings)
    assert np.all(np.abs(now.bias - then.bias) < 0.15 * np.maximum(1, then.ratio))
    assert np.all(np.abs(np.log(now.ratio / then.ratio)) < 0.15)


# --- what Python replies --------------------------------------------------------------------------


def test_the_page_holds_data_a_still_and_a_sentence_and_is_small():
    html = book.explorer().html()
    assert len(html) < 500_000
    assert "</script" not in html.split("<script")[1].split(">", 1)[1].rsplit("</script", 1)[0]
    assert "data:image/png;base64," in html and "exact standard deviations off" in html
    page = json.loads(html.split(">", 2)[2].split("</script>")[0].replace("<\\/", "</"))
    assert page["live"] is False and page["settings"]["n_subjects"] == 1000


def test_python_answers_with_fresh_draws_and_their_exact_posterior():
    page = Page(book.explorer(num_samples=50))
    first = page.widget._page
    assert first["live"] and first["data"]["stops"]["d0"] == STOPS["d0"]
    settings = {**first["settings"], "n_subjects": 100, "study": 0}
    answers = [page.say(type="ask", key="k", settings=settings) for _ in range(2)]
    assert [a["type"] for a in answers] == ["answer", "answer"]
    one, two = (np.array(a["content"]["cell"]["points"]) for a in answers)
    assert one.shape == (D, grid.N_POINTS) and not np.array_equal(one, two)
    assert answers[0]["content"]["exact"]["mean"] == pytest.approx(
        list(exact_of(100).mean.values())
    )


def test_a_new_study_has_its_own_truth_and_exact_posterior():
    page = Page(book.explorer(num_samples=50))
    settings = {**page.widget._page["settings"], "n_subjects": 10, "method": "gaussian"}
    answer = page.say(type="ask", key="k", settings=settings | {"study": 1})
    assert answer["type"] == "answer"
    z = np.array(answer["content"]["truth"]) - np.array(answer["content"]["exact"]["mean"])
    assert np.all(np.abs(z / np.array(answer["content"]["exact"]["sd"])) < 5)
    refused = page.say(type="ask", key="k", settings=settings | {"study": 1, "n_subjects": 10_000})
    assert refused["type"] == "error" and "minutes" in refused["text"]


def test_errors_come_back_in_words():
    page = Page(book.explorer())
    settings = page.widget._page["settings"]
    wrong = page.say(type="ask", key="k", settings=settings | {"d0": -1.0})
    assert wrong["type"] == "error" and wrong["key"] == "k" and "d0 must be one of" in wrong["text"]
    silent = Page(book.explorer(live=False))
    assert silent.widget._page["live"] is False
    assert "no live" in silent.say(type="ask", key="k", settings=settings)["text"]


def test_a_workflow_of_another_model_is_refused(wider):
    with pytest.raises(ValueError, match="workflow must be a trained CompositionalWorkflow"):
        book.explorer(el.load_pretrained("local"))
    other = el.global_workflow(wider)
    with pytest.raises(ValueError, match="workflow was made with another model.*mu_nu was"):
        book.explorer(other)


def test_other_weights_have_no_stored_answers():
    other = el.load_pretrained("global")
    other.model_card = other.model_card | {"sha256": "0"}
    data = book.explorer(other)._page["data"]
    assert data["packed"] is None and len(data["exact"]) == 4
    assert "exact standard deviations off" not in book.explorer(other).html()


# --- the film -------------------------------------------------------------------------------------


def test_the_film_starts_in_noise_and_ends_at_the_posterior():
    stored = films.load_films()
    for key in ("10|1|1", "100|1|0.1"):
        shot = stored["films"][key]
        points = films.unpack(shot["particles"]).reshape(len(shot["times"]), -1, 2)
        exact = films._exact(shot["n_subjects"])
        assert shot["times"][0] > 0.99 and shot["times"][-1] < 0.01
        # Fifty particles: the sd is known within a tenth or so, the mean within 0.13 sds.
        assert np.all(np.abs(points[0].std(axis=0) - 1) < 0.4)
        sds = np.sqrt(np.diag(exact["cov"]))
        assert np.all(np.abs(points[-1].mean(axis=0) - exact["mean"]) < 1.5 * sds)
        assert np.all(points[-1].std(axis=0) < 2.5 * sds)


def test_tempering_widens_the_last_frame():
    stored = films.load_films()["films"]
    last = {
        d0: films.unpack(stored[f"100|{d0}|1"]["particles"]).reshape(21, -1, 2)[-1].std(axis=0)
        for d0 in ("1", "0.1")
    }
    assert np.all(last["0.1"] > 1.5 * last["1"])


def test_python_shoots_a_new_film():
    page = Page(book.film())
    answer = page.say(
        type="ask", key="k", settings={"n_subjects": 10, "d0": 1.0, "d1": 1.0, "seed": 3}
    )
    assert answer["type"] == "answer"
    shot = answer["content"]
    assert films.unpack(shot["particles"]).size == 2 * shot["n_particles"] * len(shot["times"])
    assert all(math.isfinite(v) for v in films.unpack(shot["field"]))
    wrong = page.say(type="ask", key="k", settings={"n_subjects": 7, "d0": 1.0, "d1": 1.0})
    assert "n_subjects must be one of" in wrong["text"]
