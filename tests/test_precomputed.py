"""The exact posteriors that the book overlays: fresh runs agree with the stored ones."""

import json
from dataclasses import asdict

import numpy as np
import pytest

import eamlab as el
from eamlab import demo

NAMES = el.GROUP_PRIOR.names


@pytest.fixture(params=demo.DEMO_SIZES)
def stored(request):
    return demo.load_demo(request.param)


def z_of_means(first, second):
    """Differences of posterior means in units of their Monte Carlo errors (7,)."""
    gap = np.array([first.mean[k] - second.mean[k] for k in NAMES])
    sd = np.array([second.sd[k] for k in NAMES])
    return gap / sd / np.sqrt(1 / first.ess + 1 / second.ess)


def test_card_tells_how_it_was_made(stored):
    n_subjects = len(stored.sim_data)
    assert stored.card["settings"] == asdict(demo.DemoSettings(n_subjects=n_subjects))
    assert stored.truth == demo.DEMO_GROUP
    assert {"eamlab", "numpy", "scipy", "numba", "python"} <= set(stored.card["versions"])
    assert stored.card["seconds"] > 0


def test_stored_draws_have_the_stored_moments(stored):
    draws = stored.exact.array
    mean, sd = (np.array(list(m.values())) for m in (stored.exact.mean, stored.exact.sd))
    assert draws.shape == (stored.card["settings"]["num_samples"], len(NAMES))
    # Resampled draws are dependent: effectively no more than the stored effective sample size.
    effective = min(len(draws), stored.exact.ess)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * sd / np.sqrt(effective))
    assert np.all(np.abs(np.log(draws.std(axis=0) / sd)) < 5 / np.sqrt(effective))


def test_truth_is_plausible_under_the_stored_posterior(stored):
    z = [(stored.truth[k] - stored.exact.mean[k]) / stored.exact.sd[k] for k in NAMES]
    assert np.abs(z).max() < 4


def test_smaller_studies_are_the_first_subjects_of_larger_ones():
    small, large = demo.load_demo(10), demo.load_demo(100)
    np.testing.assert_array_equal(small.sim_data, large.sim_data[:10])
    np.testing.assert_array_equal(small.subjects["nu"], large.subjects["nu"][:10])


# Another seed, so that only the posterior can make them agree. The largest of 7 normal z-scores
# exceeds 5 in one of 250,000 fresh runs; the posterior is not Gaussian, hence a wide margin.
@pytest.mark.parametrize("n_subjects", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_fresh_run_agrees(n_subjects):
    stored = demo.load_demo(n_subjects)
    fresh = el.exact_posterior(stored.sim_data, 500, seed=77, progress=False)
    assert np.abs(z_of_means(fresh, stored.exact)).max() < 5
    ratio = [fresh.sd[k] / stored.exact.sd[k] for k in NAMES]
    assert np.abs(np.log(ratio)).max() < 5 / np.sqrt(min(fresh.ess, stored.exact.ess))


@pytest.mark.slow
@pytest.mark.parametrize("n_subjects", list(demo.STUDIES))
def test_fresh_run_of_a_drawn_study_agrees(n_subjects):
    studies = demo.load_studies(n_subjects)
    fresh = el.exact_posterior(studies.sim_data[0], 500, seed=78, progress=False)
    error = np.sqrt(1 / fresh.ess + 1 / studies.card["ess"][0])
    for k in NAMES:
        sd = studies.exact_sd[k][0, 0]
        assert abs(fresh.mean[k] - studies.exact_mean[k][0, 0]) < 5 * error * sd
        assert abs(np.log(fresh.sd[k] / sd)) < 5 * error


@pytest.mark.parametrize("n_subjects", list(demo.STUDIES))
def test_drawn_studies_have_their_settings_and_cover_their_truths(n_subjects):
    studies = demo.load_studies(n_subjects)
    settings = demo.STUDIES[n_subjects]
    assert studies.card["settings"] == asdict(settings)
    assert studies.sim_data.shape == (settings.n_studies, settings.n_subjects, 30, 2)
    assert min(studies.card["ess"]) > 400
    z = [(studies.truth[k] - studies.exact_mean[k]) / studies.exact_sd[k] for k in NAMES]
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


def test_a_posterior_of_other_data_is_refused(tmp_path):
    settings = demo.DemoSettings(n_subjects=10)
    demo.save_demo(demo.load_demo(10).exact, settings, tmp_path)
    assert demo.load_demo(10, folder=tmp_path).exact.method == "mcmc"
    card = tmp_path / "demo_J10.json"
    changed = json.loads(card.read_text())
    changed["settings"]["data_seed"] += 1
    card.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="posterior of other data"):
        demo.load_demo(10, folder=tmp_path)


def test_missing_studies_are_refused(tmp_path):
    with pytest.raises(ValueError, match="precompute_exact"):
        demo.load_studies(folder=tmp_path)
