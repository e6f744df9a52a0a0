"""The exact posteriors that the book overlays: fresh runs agree with the stored ones."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

import eamlab as el
from eamlab_book import studies as demo
from eamlab_book.stored import write_stored

NAMES = el.EAM.prior.names


@pytest.fixture(params=demo.DEMO_SIZES)
def stored(request):
    return demo.load_demo(request.param)


def ess(draws) -> float:
    return draws.diagnostics["ess"]


def z_of_means(first, second):
    """Differences of posterior means in units of their Monte Carlo errors (7,)."""
    gap = np.array([first.mean[k] - second.mean[k] for k in NAMES])
    sd = np.array([second.sd[k] for k in NAMES])
    return gap / sd / np.sqrt(1 / ess(first) + 1 / ess(second))


def test_card_tells_how_it_was_made(stored):
    n_subjects = len(stored.study)
    assert stored.card["settings"] == asdict(demo.DemoSettings(n_subjects=n_subjects))
    assert stored.study.group == demo.DEMO_GROUP
    assert {"eamlab", "numpy", "scipy", "numba", "python"} <= set(stored.card["versions"])
    assert stored.card["seconds"] > 0


def store_demo(exact, folder):
    """Store the draws of ten subjects as `make results` does."""
    settings = demo.DemoSettings(10)
    card = demo.pack_demo(exact, demo.simulate_demo(settings), folder)
    write_stored("demo_J10.json", card, settings, folder)


def test_stored_draws_have_the_stored_moments(stored):
    draws = stored.exact.array
    mean, sd = (np.array(list(m.values())) for m in (stored.exact.mean, stored.exact.sd))
    assert draws.shape == (stored.card["settings"]["num_samples"], len(NAMES))
    # Resampled draws are dependent: effectively no more than the stored effective sample size.
    effective = min(len(draws), ess(stored.exact))
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * sd / np.sqrt(effective))
    assert np.all(np.abs(np.log(draws.std(axis=0) / sd)) < 5 / np.sqrt(effective))


def test_truth_is_plausible_under_the_stored_posterior(stored):
    z = [(stored.study.truth[k] - stored.exact.mean[k]) / stored.exact.sd[k] for k in NAMES]
    assert np.abs(z).max() < 4


def test_smaller_studies_are_the_first_subjects_of_larger_ones():
    small, large = demo.load_demo(10), demo.load_demo(100)
    np.testing.assert_array_equal(small.study.trials, large.study.trials[:10])
    np.testing.assert_array_equal(small.study.truth["nu"], large.study.truth["nu"][:10])


# Another seed, so that only the posterior can make them agree. The largest of 7 normal z-scores
# exceeds 5 in one of 250,000 fresh runs; the posterior is not Gaussian, hence a wide margin.
@pytest.mark.parametrize("n_subjects", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_fresh_run_agrees(n_subjects):
    stored = demo.load_demo(n_subjects)
    fresh = el.exact(stored.study, el.EAM, 500, seed=77, progress=False)
    assert np.abs(z_of_means(fresh, stored.exact)).max() < 5
    ratio = [fresh.sd[k] / stored.exact.sd[k] for k in NAMES]
    assert np.abs(np.log(ratio)).max() < 5 / np.sqrt(min(ess(fresh), ess(stored.exact)))


@pytest.mark.slow
@pytest.mark.parametrize("n_subjects", list(demo.STUDIES))
def test_fresh_run_of_a_drawn_study_agrees(n_subjects):
    studies = demo.load_studies(n_subjects)
    fresh = el.exact(studies.studies[0], el.EAM, 500, seed=78, progress=False)
    error = np.sqrt(1 / ess(fresh) + 1 / studies.card["ess"][0])
    for k in NAMES:
        sd = studies.sd[k][0]
        assert abs(fresh.mean[k] - studies.mean[k][0]) < 5 * error * sd
        # A log spread that the data hardly bound from below has a long tail, and a noisy sd.
        tail = np.sqrt((stats.kurtosis(fresh[k], fisher=False) - 1) / 2)
        assert abs(np.log(fresh.sd[k] / sd)) < 5 * error * max(tail, 1.0) / np.sqrt(2), k


@pytest.mark.parametrize("n_subjects", list(demo.STUDIES))
def test_drawn_studies_have_their_settings_and_cover_their_truths(n_subjects):
    studies = demo.load_studies(n_subjects)
    settings = demo.STUDIES[n_subjects]
    assert studies.card["settings"] == asdict(settings)
    shapes = [study.trials.shape for study in studies.studies]
    assert shapes == [(settings.n_subjects, 30, 2)] * settings.n_studies
    assert min(studies.card["ess"]) > 400
    z = [(studies.truth[k] - studies.mean[k]) / studies.sd[k] for k in NAMES]
    # 56 or 70 z-scores of order one; their mean square has a standard error of at most 0.19.
    assert 0.3 < np.mean(np.square(z)) < 2.0


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="n_subjects must be one of .* got 17"):
        demo.load_demo(17)
    with pytest.raises(ValueError, match="between 1 and 10000, got 10001"):
        demo.simulate_demo(demo.DemoSettings(n_subjects=10_001))


def test_studies_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="n_subjects must be one of .* got 17"):
        demo.load_studies(17)


def test_draws_are_stored_by_name(tmp_path):
    """Written with its columns the other way round, a posterior reads as it was."""
    was = demo.load_demo(10).exact
    turned = el.Draws(
        {k: was[k] for k in NAMES[::-1]},
        mean=was.mean, sd=was.sd, settings=was.settings, diagnostics=was.diagnostics,
    )  # fmt: skip
    store_demo(turned, tmp_path)
    again = demo.load_demo(10, folder=tmp_path).exact
    assert tuple(again) == NAMES and again.settings == was.settings
    for name in NAMES:
        np.testing.assert_array_equal(again[name], was[name])
        assert again.mean[name] == was.mean[name]


def test_studies_survive_writing(tmp_path):
    was = demo.load_studies()
    exact = [
        el.Draws(
            {k: [0.0] for k in NAMES},
            mean={k: was.mean[k][i] for k in NAMES},
            sd={k: was.sd[k][i] for k in NAMES},
            diagnostics={"ess": 1.0},
        )
        for i in range(len(was.studies))
    ]
    card = demo.pack_studies(exact, was.studies)
    write_stored("studies_J1000.json", card, demo.STUDIES[1000], tmp_path)
    again = demo.load_studies(folder=tmp_path)
    for name in NAMES:
        np.testing.assert_array_equal(again.mean[name], was.mean[name])
        np.testing.assert_array_equal(again.sd[name], was.sd[name])


def test_a_posterior_of_other_data_is_refused(tmp_path):
    store_demo(demo.load_demo(10).exact, tmp_path)
    assert demo.load_demo(10, folder=tmp_path).exact.diagnostics["method"] == "mcmc"
    card = tmp_path / "demo_J10.json"
    changed = json.loads(card.read_text(encoding="utf-8"))
    changed["fingerprint"]["mean_rt"] *= 1.01
    card.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(ValueError, match="posterior of other data.*make results ARGS=demo_J10"):
        demo.load_demo(10, folder=tmp_path)


def test_missing_studies_are_refused(tmp_path):
    with pytest.raises(ValueError, match="make results"):
        demo.load_studies(folder=tmp_path)
