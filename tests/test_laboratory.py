"""The shipped networks of laboratory models: against the exact posterior, and by their grades."""

import numpy as np
import pytest

import eamlab as el
from eamlab_book.report_card import MODEL_GRADES, certificate_frame
from eamlab_book.results.models import model_key
from eamlab_book.results.workshop import Workshop
from eamlab_book.stored import load_stored

MODEL = el.LABORATORY
NAMES = MODEL.prior.names


@pytest.fixture(scope="module")
def network():
    return el.load_pretrained("laboratory")


@pytest.fixture(scope="module")
def people_network():
    return el.load_pretrained("laboratory-local")


def test_prior_covers_published_experiments():
    """Shares of 0.5 to 0.99, medians of 0.3 to 2 s, boundaries of 0.5 to 3: well inside."""
    data = MODEL.sample(2000, 10, 60, seed=1)
    share = data["sim_data"][..., 0].mean(axis=(1, 2))
    median = np.median(data["sim_data"][..., 1], axis=(1, 2))
    boundary = np.exp(data["mu_log_alpha"][:, 0])
    for values, low, high in ((share, 0.5, 0.99), (median, 0.3, 2.0), (boundary, 0.5, 3.0)):
        below, above = np.mean(values < low), np.mean(values > high)
        assert 0.01 < below < 0.45 and 0.003 < above < 0.45, (low, below, high, above)


# One study with a fixed seed. The grades below say what is usual; a bias of one exact sd, or a
# width off by half, would be the worst of sixty studies.
def test_composed_is_near_the_exact_posterior(network):
    counts = np.random.default_rng(3).integers(30, 300, 12).tolist()
    study = el.simulate(MODEL, 12, counts, seed=5)
    key = el.exact(study, MODEL, 1000, seed=1, progress=False)
    draws = el.compose(network, study, num_samples=500, seed=1)
    assert not key.warnings and not draws.warnings
    for name in NAMES:
        assert abs(draws.mean[name] - key.mean[name]) < key.sd[name], name
        assert 0.65 < draws.sd[name] / key.sd[name] < 1.5, name


def test_people_are_near_their_exact_posteriors(people_network):
    group = dict(zip(NAMES, MODEL.prior.means.tolist(), strict=True))
    study = el.simulate(MODEL, 6, [20, 60, 100, 150, 300, 500], seed=3, group=group)
    exact = el.exact_people(group, study, model=MODEL, num_samples=300, seed=1)
    known = el.Draws({k: np.full(300, v) for k, v in group.items()}, model=MODEL)
    draws = el.people(people_network, known, study, seed=1)
    for name in MODEL.person_names:
        bias = (draws[name].mean(axis=0) - exact[name].mean(axis=0)) / exact[name].std(axis=0)
        ratio = draws[name].std(axis=0) / exact[name].std(axis=0)
        assert np.all(np.abs(bias) < 1.5) and np.all((ratio > 0.6) & (ratio < 1.7)), name


def test_order_of_people_and_of_the_prior_does_not_matter(network):
    study = el.simulate(MODEL, 8, 60, seed=7)
    draws = el.compose(network, study, num_samples=200, seed=1)
    turned = el.compose(network, study[::-1], num_samples=200, seed=1)
    for name in NAMES:
        np.testing.assert_allclose(draws[name], turned[name], rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_a_stored_key_is_what_the_exact_posterior_gives():
    settings = MODEL_GRADES["laboratory"][1].keys
    stored = load_stored("keys_laboratory.json", settings, model=MODEL)["rows"][3]
    fresh = model_key(Workshop(model=MODEL), settings, stored["J"], stored["study"])
    for name in NAMES:
        assert abs(fresh["mean"][name] - stored["mean"][name]) < 0.002 * stored["sd"][name]
        assert fresh["sd"][name] == pytest.approx(stored["sd"][name], rel=0.002)


MISSED = pytest.mark.xfail(strict=True, reason="of 200 people two conditions tell too little yet")
GRADED = [(name, n) for name in MODEL_GRADES for n in (10, 20, 50, 200)]


def model_grades(name, n_subjects=None):
    """Names of the parameters; biases and sd ratios of graded studies, (studies, parameters)."""
    model, settings = MODEL_GRADES[name]
    rows = load_stored(f"grades_{name}.json", settings, model=model)["rows"]
    some = [row for row in rows if n_subjects in (None, row["J"])]
    names = model.prior.names
    return names, *(
        np.array([[row[what][k] for k in names] for row in some]) for what in ("bias", "sd_ratio")
    )


# Bounds for each parameter that is a person's own: median and 90th percentile of the absolute bias,
# and how far a median sd ratio may be from 1; and for the start, which all share and in which
# small errors about each person add up: median, and root mean square over all studies.
@pytest.mark.parametrize(
    ("name", "n_subjects"), [*GRADED[:-1], pytest.param(*GRADED[-1], marks=MISSED)]
)
def test_grades_tell_medians_and_tails(name, n_subjects):
    median, tail, width = (0.25, 0.7, 0.15) if name == "laboratory" else (0.3, 0.8, 0.2)
    names, bias, ratio = model_grades(name, n_subjects)
    bias, own = np.abs(bias), [i for i, k in enumerate(names) if k != "beta_raw"]
    assert len(bias) == 60
    assert np.median(bias, axis=0)[own].max() < median
    assert np.quantile(bias, 0.9, axis=0)[own].max() < tail
    assert np.quantile(bias, 0.9) < 0.6  # of all pairs of study and parameter
    assert np.median(bias, axis=0).max() < 0.45
    assert np.all(np.abs(np.median(ratio, axis=0)[own] - 1) < width)
    assert np.median(ratio, axis=0).max() < 1.35


@pytest.mark.parametrize(
    ("name", "rms"), [("laboratory", 0.6), pytest.param("two-conditions", 0.65, marks=MISSED)]
)
def test_the_starts_errors_are_small_over_all_studies(name, rms):
    names, bias, _ = model_grades(name)
    assert np.sqrt(np.mean(np.square(bias[:, names.index("beta_raw")]))) < rms


@pytest.mark.parametrize(
    ("name", "median", "tail", "width"),
    [("laboratory", 0.25, 0.7, 0.15), ("two-conditions", 0.3, 0.8, 0.2)],
)
def test_a_certificate_mends_what_adds_up_over_two_hundred_people(name, median, tail, width):
    """Bounds for every parameter, the start with them."""
    part = certificate_frame(name).query("J == 200").assign(off=lambda x: x["corrected"].abs())
    of = part.groupby("parameter")
    assert set(of.size()) == {60}
    assert of["off"].median().max() < median
    assert of["off"].quantile(0.9).max() < tail
    assert (of["corrected_ratio"].median() - 1).abs().max() < width
    assert part["off"].max() < 0.6 * part["true"].abs().max()
    held = ((part["bias"] - part["true"]).abs() < 1.645 * part["bias_se"]).mean()
    assert held > 0.85
