"""Real trials: the posterior by HSSM's likelihood and NumPyro's NUTS, beside the exact one.

The other side is stored, as `make results ARGS=real_one` and its like made it; ours is computed.
Means must agree within a tenth of an exact sd and three Monte Carlo standard errors, which one of
18 means exceeds by chance alone in fewer than 5 % of cases, and by the tolerance more in none.
"""

import numpy as np
import pytest

import eamlab as el
from eamlab_book import report_card
from eamlab_book.stored import load_stored
from eamlab_book.studies import CAVANAGH, fingerprint, load_cavanagh

TOLERANCE = 0.1  # exact sds


def stored(name):
    model, settings = report_card.REAL[name]
    return load_stored(f"{name}.json", settings, model=model)


def gaps(name, key):
    """Differences of the means in exact sds, and three standard errors of each."""
    table = report_card.real_table(name)
    sd = np.array([key.sd[k] for k in table.index])
    gap = (table["mean"] - [key.mean[k] for k in table.index]) / sd
    return gap, 3 * np.hypot(table["mean_se"] / sd, 1 / np.sqrt(key.diagnostics["ess"]))


@pytest.fixture(scope="module")
def key():
    return el.exact(load_cavanagh(), el.LABORATORY, 2000, seed=1, progress=False)


def test_cavanagh_is_read_without_a_question():
    study = load_cavanagh()
    assert (len(study), study.n_trials.sum(), study.notes) == (14, 3988, ())
    both = load_cavanagh(conditions=True)
    assert both.conditions == ("LC", "HC")
    counts = both.frame["condition"].value_counts().to_dict()
    assert counts == {"LC": 2016, "HC": 1972}
    np.testing.assert_array_equal(both.trials[..., :2], study.trials)
    text = CAVANAGH.with_suffix(".md").read_text(encoding="utf-8")
    assert "10.1038/nn.2925" in text and "Redistribution and use" in text


@pytest.mark.parametrize("name", report_card.REAL)
def test_the_other_sampler_has_converged_on_these_data(name):
    content, table = stored(name), report_card.real_table(name)
    now = fingerprint([load_cavanagh(bool(report_card.REAL[name][0].conditions))])
    assert content["fingerprint"] == pytest.approx(now, rel=1e-3)
    settings = report_card.REAL[name][1]
    assert content["divergences"] <= 0.005 * settings.chains * settings.draws
    assert table["r_hat"].max() < 1.03 and table["ess"].min() > 100
    assert (table["mean_se"] / table["sd"]).max() < 0.1


@pytest.mark.slow
def test_exact_posterior_of_real_people_agrees(key):
    gap, error = gaps("real_one", key)
    assert np.all(np.abs(gap) < TOLERANCE + error), gap


@pytest.mark.slow
def test_the_comparison_can_fail(key):
    """With 5 % lapses the posterior is another, and the comparison says so."""
    gap, error = gaps("real_lapses", key)
    assert np.any(np.abs(gap) > TOLERANCE + error)


@pytest.mark.slow
def test_exact_posterior_of_two_conditions_agrees():
    ours = el.exact(load_cavanagh(True), el.TWO_CONDITIONS, 2000, seed=1, progress=False)
    gap, error = gaps("real_two", ours)
    assert np.all(np.abs(gap) < TOLERANCE + error), gap


# --- lapses --------------------------------------------------------------------------------------


def test_lapses_are_as_many_as_they_say_and_nested():
    settings = report_card.LapseSettings()
    clean, few, many = (report_card.lapsing_study(settings, 0, x).trials for x in (0, 0.02, 0.05))
    hit = [(x != clean).any(axis=-1) for x in (few, many)]
    n = settings.n_subjects * settings.n_trials
    for where, share in zip(hit, settings.shares, strict=True):
        assert abs(where.mean() - share) < 4 * np.sqrt(share * (1 - share) / n)
    assert not (hit[0] & ~hit[1]).any()
    np.testing.assert_array_equal(few[hit[0]], many[hit[0]])


def test_the_table_of_lapses_is_in_sds_of_the_clean_study():
    table = report_card.lapse_table()
    assert list(table.index) == [*el.LABORATORY.prior.names, "the check sees it"]
    assert list(table.columns) == ["0%", "2%", "5%"]
    assert (table.loc[list(el.LABORATORY.prior.names), "0%"] == 0).all()
    assert table["5%"].max() > table["2%"].max() > 1 and table["0%"].max() == 0
