"""The exact posterior agrees with software that is not ours: HSSM's likelihood, NumPyro's NUTS.

The other side is stored, as `make results ARGS=independent` made it; ours is computed again. Had
all seeds been drawn at random, a right posterior would fail each test of a study with probability
below 1e-3. Three standard errors alone are exceeded by one of 14 means and sds in 4 % of cases; the
tolerance adds another three or more.
"""

import numpy as np
import pytest

from eamlab.model.eam import EAM
from eamlab.reference.posterior import exact
from eamlab_book import report_card as grades
from eamlab_book.results.independent import compared
from eamlab_book.stored import load_stored
from eamlab_book.studies import DemoSettings, fingerprint, simulate_demo

MEAN_TOLERANCE = 0.1  # exact sds
SD_TOLERANCE = 0.1
STORED = load_stored("independent.json", grades.ComparisonSettings())
STUDIES = {study["settings"]["n_subjects"]: study for study in STORED["studies"]}


def data(n_subjects):
    return simulate_demo(DemoSettings(n_subjects))


def column(study, side, key):
    return np.array([study["parameters"][k][side][key] for k in EAM.prior.names])


def assert_agree(mean, sd, study):
    """Means and sds (7,) of our posterior against the stored independent ones."""
    mean_se = np.hypot(*(column(study, k, "mean_se") for k in ("exact", "independent"))) / sd
    sd_se = np.hypot(*(column(study, k, "sd_se") for k in ("exact", "independent"))) / sd
    gap = (column(study, "independent", "mean") - mean) / sd
    assert np.all(np.abs(gap) < MEAN_TOLERANCE + 3 * mean_se), f"means differ by {gap} sds"
    ratio = column(study, "independent", "sd") / sd
    assert np.all(np.abs(ratio - 1) < SD_TOLERANCE + 3 * sd_se), f"sds differ: {ratio}"


def test_stored_comparisons_are_those_of_the_settings():
    assert [study["settings"] for study in STORED["studies"]] == [
        vars(settings) for settings in grades.INDEPENDENT
    ]


@pytest.mark.parametrize("n_subjects", STUDIES)
def test_stored_comparison_belongs_to_the_data_of_today(n_subjects):
    # Statistics instead of a hash: the last bit of a response time may differ between machines.
    now = fingerprint([data(n_subjects)])
    assert STUDIES[n_subjects]["fingerprint"] == pytest.approx(now, rel=1e-3)


@pytest.mark.parametrize("n_subjects", STUDIES)
def test_independent_sampler_has_converged(n_subjects):
    study = STUDIES[n_subjects]
    assert study["divergences"] == 0
    assert column(study, "independent", "r_hat").max() < 1.01
    assert column(study, "independent", "ess").min() > 1000


@pytest.mark.parametrize("n_subjects", STUDIES)
def test_exact_posterior_agrees_with_the_independent_one(n_subjects):
    study = STUDIES[n_subjects]
    settings = study["settings"]
    ours = exact(
        data(n_subjects), EAM, settings["num_samples"], seed=settings["seed"], progress=False
    )
    mean, sd = (EAM.prior.to_array(x) for x in (ours.mean, ours.sd))
    assert_agree(mean, sd, study)
    # The same seed need not give the same draws on another machine: two runs, so four standard
    # errors of a difference, which one of 14 numbers exceeds by chance in 1 of 1,000 cases.
    for key, now in (("mean", mean), ("sd", sd)):
        limit = 4 * np.sqrt(2) * column(study, "exact", f"{key}_se")
        assert np.all(np.abs(now - column(study, "exact", key)) < limit), f"{key}: make it anew"


@pytest.mark.parametrize("n_subjects", STUDIES)
def test_difference_is_chance(n_subjects):
    """No tolerance: the largest of 14 z below 4.0, which chance exceeds in 1 of 1,000 cases."""
    table = grades.independent_table().loc[n_subjects]
    z = np.r_[
        table["difference"] / table["difference, se"],
        (table["sd ratio"] - 1) / table["sd ratio, se"],
    ]
    assert np.abs(z).max() < 4.0


@pytest.mark.parametrize(("shift", "factor"), [(0.3, 1.0), (-0.3, 1.0), (0.0, 1.3), (0.0, 0.7)])
def test_comparison_can_fail(shift, factor):
    # One parameter a third of an sd off, or a third too wide or narrow, must not pass.
    study = STUDIES[10]
    mean, sd = (column(study, "exact", k) for k in ("mean", "sd"))
    for i in range(len(mean)):
        one = np.arange(len(mean)) == i
        with pytest.raises(AssertionError, match="differ"):
            assert_agree(mean + shift * sd * one, np.where(one, factor * sd, sd), study)


def test_the_standard_errors_are_those_of_repeated_comparisons():
    """Differences and ratios of moments that were drawn with their standard errors."""
    ours = {"mean": 1.0, "sd": 2.0, "mean_se": 0.1, "sd_se": 0.03}
    other = {"mean": 1.6, "sd": 3.0, "mean_se": 0.2, "sd_se": 0.02}
    found, rng, n = compared(ours, other), np.random.default_rng(1), 100_000
    mean, others = (rng.normal(x["mean"], x["mean_se"], n) for x in (ours, other))
    sd, sds = (rng.normal(x["sd"], x["sd_se"], n) for x in (ours, other))
    assert found["difference"] == pytest.approx(0.3) and found["sd_ratio"] == 1.5
    assert found["difference_se"] == pytest.approx(np.std((others - mean) / 2.0), rel=0.02)
    assert found["sd_ratio_se"] == pytest.approx(np.std(sds / sd), rel=0.02)


def test_table_has_both_sides_of_every_parameter():
    table = grades.independent_table()
    assert list(table.index) == [(J, name) for J in STUDIES for name in EAM.prior.names]
    gap = (table["independent mean"] - table["exact mean"]) / table["exact sd"]
    np.testing.assert_allclose(table["difference"], gap, rtol=1e-12)
    ratio = table["independent sd"] / table["exact sd"]
    np.testing.assert_allclose(table["sd ratio"], ratio, rtol=1e-12)
    assert (table.loc[10, "divergences"] == STUDIES[10]["divergences"]).all()
