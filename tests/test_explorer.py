"""The composition explorer and the film: settings, stored answers, and what Python replies."""

import json
import math

import numpy as np
import pytest
from matplotlib.path import Path

import eamlab as el
import eamlab_book as book
from eamlab_book.results.widgets import first_subjects
from eamlab_book.results.workshop import Workshop
from eamlab_book.stored import load_stored, write_stored
from eamlab_book.studies import DEMO_SIZES, DemoSettings, exact_of, load_demo
from eamlab_book.widgets import film as films
from eamlab_book.widgets.composition import (
    SCENES,
    KeySettings,
    Sampler,
    Settings,
    key_json,
    load_keys,
)

NAMES = el.EAM.prior.names


class Page:
    """The front end of a widget: keeps what Python sends."""

    def __init__(self, widget):
        self.widget, self.sent = widget, []
        widget.send = lambda content, buffers=None: self.sent.append(content)

    def say(self, **message):
        self.widget._receive(self.widget, message, [])
        return json.loads(json.dumps(self.sent.pop(), allow_nan=False))


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"method": "magic"},
        {"n_subjects": 4},
        {"n_subjects": 10_001},
        {"n_subjects": 10.0},
        {"group_size": 201},
        {"group_size": "all"},
        {"mini_batch_size": True},
        {"d0": 0.0},
        {"d1": 2},
        {"steps": 9},
    ],
    ids=str,
)
def test_values_outside_a_slider_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=rf"^{next(iter(bad))} must be .*, got "):
        book.explorer(**bad)


def test_a_slider_stands_at_any_value_between_its_ends():
    chosen = {"n_subjects": 137, "group_size": 9, "mini_batch_size": 11, "d0": 0.37, "steps": 64}
    settings = book.explorer(**chosen)._page["settings"]
    assert {k: settings[k] for k in chosen} == chosen


@pytest.mark.parametrize(
    ("n_subjects", "group_size", "sizes"),
    [
        (1000, 5, (5,) * 200),
        (23, 10, (8, 8, 7)),
        (10, 200, (10,)),
        (500, "auto", (167, 167, 166)),
        (10_000, "auto", (200,) * 50),
    ],
)
def test_groups_are_the_fewest_of_no_more_than_is_asked(n_subjects, group_size, sizes):
    assert Settings(n_subjects=n_subjects, group_size=group_size).sizes() == sizes


def test_the_trained_sizes_are_those_of_the_shipped_network():
    assert book.explorer()._page["data"]["trained"] == Sampler().network.trained


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


# --- the stored keys ------------------------------------------------------------------------------


def test_every_number_of_subjects_on_the_slider_has_its_exact_posterior():
    keys, stops = load_keys(), book.explorer()._page["data"]["stops"]["n_subjects"]
    assert list(keys) == [str(n) for n in stops]
    for n in DEMO_SIZES:
        assert keys[str(n)] == key_json(exact_of(n))
    # Ten times the people: about a third of the width, whatever the parameter.
    ratio = np.divide(keys["5000"]["sd"], keys["500"]["sd"])
    assert np.all((ratio > 0.2) & (ratio < 0.5))


def test_the_points_of_a_key_are_equally_probable():
    """Of draws spread evenly from 0 to 1: each in the middle of its share, in exact sds."""
    draws = el.Draws({"a": np.linspace(0.0, 1.0, 10_001)})
    key = key_json(draws)
    found = key["mean"][0] + key["sd"][0] * np.array(key["points"][0])
    n = len(found)
    np.testing.assert_allclose(found, (np.arange(n) + 0.5) / n, atol=1e-3)


@pytest.mark.parametrize("n_subjects", [20, 200])
def test_stored_keys_are_what_the_quadrature_gives_today(n_subjects):
    then, demo = load_keys()[str(n_subjects)], DemoSettings(n_subjects)
    now = key_json(first_subjects(Workshop(), demo))
    assert np.all(np.abs(np.subtract(now["mean"], then["mean"])) < 0.05 * np.array(then["sd"]))
    np.testing.assert_allclose(now["sd"], then["sd"], rtol=0.05)


def test_keys_of_other_studies_are_refused(tmp_path):
    write_stored("explorer.json", {"exact": {}}, KeySettings((DemoSettings(7),)), tmp_path)
    with pytest.raises(ValueError, match="other settings: demos was"):
        load_stored("explorer.json", KeySettings(), tmp_path)


def test_films_of_other_positions_are_refused(tmp_path):
    other = films.FilmSettings(stops=films.STOPS | {"d0": (1.0,)})
    write_stored("films.json", films.load_films(), other, tmp_path)
    with pytest.raises(ValueError, match=r"other settings: stops.d0 was \[1.0\], is"):
        load_stored("films.json", films.FilmSettings(), tmp_path)


# --- what Python replies --------------------------------------------------------------------------


def test_the_page_holds_data_a_still_and_a_sentence_and_is_small():
    html = book.explorer(n_subjects=137).html()
    assert len(html) < 150_000
    assert "</script" not in html.split("<script")[1].split(">", 1)[1].rsplit("</script", 1)[0]
    assert "data:image/png;base64," in html and "of 100 subjects" in html
    page = json.loads(html.split(">", 2)[2].split("</script>")[0].replace("<\\/", "</"))
    assert page["live"] is False and page["settings"]["n_subjects"] == 137
    assert {*page["data"]["scenes"]} == {*SCENES}


def test_python_answers_with_fresh_draws():
    page = Page(book.explorer(num_samples=50))
    first = page.widget._page
    settings = {**first["settings"], "n_subjects": 100, "method": "gaussian", "group_size": "auto"}
    answers = [page.say(type="ask", key="k", settings=settings) for _ in range(2)]
    assert [a["type"] for a in answers] == ["answer", "answer"]
    one, two = (el.Draws(a["content"]["values"]) for a in answers)
    assert one.num_samples == 50 and one.mean != two.mean
    exact = exact_of(100)
    for k in NAMES:
        assert abs(one.mean[k] - exact.mean[k]) < exact.sd[k]
    assert answers[0]["content"]["exact"] is None  # the page has it
    assert answers[0]["content"]["truth"] == first["data"]["truth"]


def test_a_new_study_has_its_own_truth_and_up_to_a_thousand_its_exact_posterior():
    page = Page(book.explorer(num_samples=50))
    settings = {**page.widget._page["settings"], "n_subjects": 10, "method": "gaussian"}
    answer = page.say(type="ask", key="k", settings=settings | {"study": 1})
    assert answer["type"] == "answer"
    z = np.array(answer["content"]["truth"]) - np.array(answer["content"]["exact"]["mean"])
    assert np.all(np.abs(z / np.array(answer["content"]["exact"]["sd"])) < 5)
    large = page.say(type="ask", key="k", settings=settings | {"study": 1, "n_subjects": 1001})
    assert large["content"]["exact"] is None
    assert large["content"]["truth"] == pytest.approx(answer["content"]["truth"])


def test_one_group_is_its_own_posterior_whatever_the_bridge():
    sampler = Sampler(num_samples=20)
    one, two = (
        sampler.draw(Settings(n_subjects=20, group_size="auto", d0=d0, steps=20), seed=3)
        for d0 in (1.0, 0.1)
    )
    np.testing.assert_array_equal(one.array, two.array)


def test_errors_come_back_in_words():
    page = Page(book.explorer())
    settings = page.widget._page["settings"]
    wrong = page.say(type="ask", key="k", settings=settings | {"d0": -1.0})
    assert wrong["type"] == "error" and wrong["key"] == "k" and "d0 must be a num" in wrong["text"]
    silent = Page(book.film(live=False))
    assert silent.widget._page["live"] is False
    assert "no live" in silent.say(type="ask", key="k", settings=settings)["text"]


def test_a_workflow_of_another_model_is_refused(wider):
    with pytest.raises(ValueError, match="workflow must be a trained CompositionalWorkflow"):
        book.explorer(el.load_pretrained("local"))
    other = el.global_workflow(wider)
    with pytest.raises(ValueError, match="workflow was made with another model.*mu_nu was"):
        book.explorer(other)


def test_a_page_has_the_shipped_weights_only():
    other = el.load_pretrained("global")
    assert book.explorer(other)._page["data"]["network"] == "global"
    other.model_card = other.model_card | {"sha256": "0"}
    assert book.explorer(other)._page["data"]["network"] is None


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_explorer_shows_what_the_guide_promises():
    sampler = Sampler()

    def seen(scene):
        settings = next(s for name, s in SCENES.items() if name.startswith(scene))
        draws, key = sampler.draw(settings), load_demo(settings.n_subjects).exact
        bias = [abs(draws.mean[k] - key.mean[k]) / key.sd[k] for k in key.mean]
        return np.sort(bias), float(np.median([draws.sd[k] / key.sd[k] for k in key.sd]))

    few, many, most = (seen(scene) for scene in "123")
    assert few[0][-1] < few[1] < many[1] < many[0][-1] < most[0][-1]
    bias, width = seen("4")
    assert 8 < width < 10 and all(8 < bias[-3:]) and all(bias[-3:] < 10) and all(bias[:-3] < 3)
    bias, width = seen("5")
    assert bias[-1] < 1 and 2.5 < width < 3.5
    bias, width = seen("6")
    assert all(bias[-2:] > 1) and all(bias[:-2] < 1) and 0.9 < width < 1.1
    assert seen("7")[1] < 0.9 < 1.1 < seen("8")[1]
