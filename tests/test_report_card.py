"""The stored grades are those of the shipped weights, and a few of them are computed again."""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import eamlab as el
from eamlab.model.eam import EAM
from eamlab_book import report_card as grades
from eamlab_book.figures import certificate_figure, grades_figure, sbc_figure
from eamlab_book.results.grades import (
    certified,
    compared,
    discretized_z,
    exact_moments,
    grade_recipe,
    key,
)
from eamlab_book.results.keys import calibrate_one
from eamlab_book.results.models import stratified
from eamlab_book.results.workshop import Workshop
from eamlab_book.stored import load_stored

NAMES = EAM.prior.names


# Small made-up grades: three studies, biases and ratios that tell parameters apart.
def made_up_row(n_subjects: int, recipe: str) -> dict:
    studies = [
        {
            k: {"bias": sign * (i + 1), "sd_ratio": 0.5 + i / 4, "covered": float(i != 3)}
            | {"wasserstein": i + 1.0, "exact_covered": float(i > 1)}
            for i, k in enumerate(NAMES)
        }
        for sign in (-1, 1, -1)
    ]
    row = {"J": n_subjects, "recipe": recipe, "per_study": studies, "studies": 3}
    return row | {"c2st": [0.5, 0.7, 0.9], "seconds": 1.5}


@pytest.fixture
def made_up(monkeypatch):
    rows = [made_up_row(10, "groups of 5"), made_up_row(100, "groups of 20")]
    monkeypatch.setattr(grades, "load_stored", lambda name, settings: {"rows": rows})


def test_table_summarizes_over_studies_and_parameters(made_up):
    row = grades.grade_table().loc[10, "groups of 5"]
    assert row["bias, best"] == 1 and row["bias, worst"] == 7
    assert row["worst, from"] == row["worst, to"] == 7  # the three studies differ in sign only
    assert row["sd ratio, least"] == 0.5 and row["sd ratio, most"] == 2.0
    assert row["coverage"] == pytest.approx(6 / 7)
    assert row["exact coverage"] == pytest.approx(5 / 7)
    assert row["distance"] == 4 and row["C2ST"] == 0.7
    assert list(grades.grade_table(100).index) == [(100, "groups of 20")]


def spread_out(n: int) -> dict:
    """Made-up grades of n studies: all biases 0, 1, ..., and sd ratios evenly from 0.5 to 1.5."""
    row = made_up_row(10, "groups of 5")
    usual, ratios = row["per_study"][0], np.linspace(0.5, 1.5, n)
    studies = [
        {k: usual[k] | {"bias": float(i), "sd_ratio": r} for k in NAMES}
        for i, r in enumerate(ratios)
    ]
    return row | {"per_study": studies}


def test_the_interval_of_the_worst_bias_is_that_of_90_percent_of_bootstrap_studies():
    """The median of 401 drawn from 0, ..., 400 is at most k where 201 draws are."""
    row, k = grades._summary(spread_out(401)), np.arange(401)
    at_most = stats.binom.sf(200, 401, (k + 1) / 401)
    for end, share in (("worst, from", 0.05), ("worst, to", 0.95)):
        # Of 2,000 bootstrap studies the ends have a standard error of 0.5.
        assert row[end] == pytest.approx(np.argmax(at_most >= share), abs=1.5)


def test_tails_and_shares_are_those_of_the_studies():
    row = grades._summary(spread_out(101))
    assert row["worst, 90 %"] == pytest.approx(90.0)
    assert row["sd ratio, 10 %"] == pytest.approx(0.6)
    assert row["sd ratio, 90 %"] == pytest.approx(1.4)
    # Two studies have a bias of at most one sd, and both are too narrow.
    assert row["right"] == 0.0
    bias, ratio = np.meshgrid([-1.1, -0.9, 0.9, 1.1], [0.69, 0.71, 1.39, 1.41])
    right = np.zeros((4, 4), bool)
    right[1:3, 1:3] = True
    np.testing.assert_array_equal(grades._right(bias, ratio), right)


def test_frame_has_absolute_medians_per_parameter(made_up):
    frame = grades.grade_frame(10).set_index("parameter")
    assert list(frame.index) == list(NAMES)
    assert frame.loc["mu_log_t0", "bias"] == 3 and frame.loc["mu_log_t0", "sd_ratio"] == 1.0


def test_grades_figure_has_a_column_per_study_size_and_a_line_per_recipe(made_up):
    figure = grades_figure(grades.grade_frame())
    assert [ax.get_title() for ax in figure.axes[:2]] == ["$J$ = 10", "$J$ = 100"]
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert labels == ["groups of 20", "groups of 5"]
    dots = figure.axes[0].get_lines()[0]
    assert list(dots.get_xdata()) == [1, 2, 3, 4, 5, 6, 7] and set(dots.get_ydata()) == {1}


def test_sbc_figure_refuses_ranks_above_the_number_of_draws():
    with pytest.raises(ValueError, match="n_draws"):
        sbc_figure({"mu_nu": np.array([0, 100])}, 99)


@pytest.mark.parametrize("n_subjects", grades.GRADED_STUDIES)
def test_recipes_for_a_study_split_it_into_whole_groups(n_subjects):
    chosen = grades.recipes_for(n_subjects)
    assert chosen
    assert "recommended" in chosen and "tutorial" in chosen
    for recipe in chosen.values():
        n_groups = recipe.n_groups(n_subjects)
        if recipe.group_size != "auto":
            assert n_groups * recipe.group_size == n_subjects and 2 <= n_groups
        assert recipe.settings(n_subjects).get("mini_batch_size", 1) <= n_groups


def test_graded_and_validation_studies_are_different():
    graded, validation = (
        grades.graded_study(10, 0, purpose=purpose) for purpose in ("graded", "validation")
    )
    assert not np.array_equal(graded.trials, validation.trials)


def test_the_study_that_was_left_out_is_the_eighth():
    seeds = [grades.graded_seed(10_000, i) for i in range(10)]
    assert seeds == [4_870_000 + i for i in (0, 1, 2, 3, 4, 5, 6, 8, 9, 10)]


def test_stored_grades_are_complete_and_made_with_the_recipes():
    found = {
        (row["J"], row["recipe"]): row
        for row in load_stored("grades.json", grades.GradeSettings())["rows"]
    }
    expected = {(J, name) for J in grades.GRADED_STUDIES for name in grades.recipes_for(J)}
    assert set(found) == expected
    for (n_subjects, name), row in found.items():
        recipe = grades.RECIPES[name]
        assert row["settings"] == recipe.settings(n_subjects)
        assert row["weights"] == recipe.weights
        assert row["studies"] == recipe.n_studies(n_subjects)
        assert len(row["per_study"]) == len(row["c2st"]) == row["studies"]


def test_levers_are_measured_on_all_sizes():
    table = grades.lever_table()
    names = table.index.get_level_values("lever").unique()
    assert names[0] == "shipped" and {"all levers", "no anchor", "groups of 5 only"} <= set(names)
    assert len(table) == len(names) * len(table.loc["shipped"])


def test_the_worst_of_a_lever_is_the_farthest_from_right(monkeypatch):
    errors = {"J": 10, "terms": 1, "bias": [0.1, 0.3, 0.2], "sd_ratio": [2.0, 0.25, 1.0]}
    rows = [{"lever": "x", "cpu_seconds": 1.0, "errors": [errors]}]
    monkeypatch.setattr(grades, "load_stored", lambda *_: {"rows": rows})
    row = grades.lever_table().loc[("x", 10)]
    assert row["bias, worst"] == 0.3 and row["bias"] == 0.2
    assert row["sd ratio, worst"] == 0.25 and row["sd ratio"] == 1.0


@pytest.mark.parametrize("model", list(grades.COMPOSED_SBC))
def test_composed_posteriors_are_calibrated_across_the_prior(model):
    """Ranks of 300 truths; the test of a model fails for right posteriors in 1 % of cases."""
    calibrations = grades.composed_sbc(getattr(el, model))
    names = getattr(el, model).prior.names
    # Those composed from small groups on purpose are reported, not required.
    whole = [one for one in calibrations if one.group_size == "auto"]
    for one, name in product(whole, names):
        uniform = (one.ranks[name] + 0.5) / (one.settings.num_samples + 1)
        assert stats.kstest(uniform, "uniform").pvalue > 0.01 / (len(whole) * len(names)), name


@pytest.mark.slow
def test_a_stored_grade_is_what_composing_and_grading_give():
    settings, name = grades.GradeSettings(), "Gaussian, groups of 5"
    rows = load_stored("grades.json", settings)["rows"]
    (row,) = (r for r in rows if (r["J"], r["recipe"]) == (10, name))
    workshop, made = Workshop(), (settings.num_samples, settings.seed, settings.groups_at_once)
    seeds = [grades.graded_seed(10, i) for i in range(2)]
    answers = [key(workshop, 10, seed, i, settings.num_samples) for i, seed in enumerate(seeds)]
    fresh = grade_recipe(workshop, name, grades.RECIPES[name], 10, answers, *made)
    assert set(fresh) == set(row)
    for now, then in zip(fresh["per_study"], row["per_study"], strict=False):
        for column in ("bias", "sd_ratio", "wasserstein", "composed_mean", "truth"):
            # Seeds are fixed; what differs between machines is rounding in single precision.
            for k in NAMES:
                assert now[k][column] == pytest.approx(then[k][column], abs=0.02)


def test_a_stored_certificate_is_what_certify_gives():
    settings = grades.CertificateSettings()
    first = grades.certificate_frame().query("J == 10 and study == 0").set_index("parameter")
    key = load_stored("keys.json", settings.keys)["rows"][0]
    fresh = certified(Workshop(), "global", settings, key)["parameters"]
    for column in ("bias", "bias_se", "true", "corrected", "sd_ratio", "corrected_ratio"):
        for k in NAMES:  # what differs between machines is rounding in single precision
            assert fresh[k][column] == pytest.approx(first.loc[k, column], abs=0.03)


@pytest.mark.parametrize("n_subjects", [100, 10_000])
def test_stratified_studies_leave_no_population_out(n_subjects):
    count, extreme = grades.STRATIFIED.studies[n_subjects], grades.STRATIFIED.extreme
    drawn = [stratified(el.EAM, grades.STRATIFIED, n_subjects, index) for index in range(count)]
    z = el.EAM.prior.standardize(np.array([[g[k] for k in NAMES] for g in drawn]))
    level = pd.DataFrame(stats.norm.cdf(z), columns=NAMES)
    for name in NAMES:
        inside = np.sort(level[name][: count - extreme] * (count - extreme)).astype(int)
        if name.startswith("log_sigma"):  # one study in each stratum, and none twice
            np.testing.assert_array_equal(inside, np.arange(count - extreme))
        assert len(set(level[name])) > (count - extreme) / 2
    corners = level[[n for n in NAMES if n.startswith("log_sigma")]][count - extreme :].round(3)
    assert len(corners.drop_duplicates()) == 8 and set(corners.to_numpy().ravel()) == {0.025, 0.975}


def test_certificates_see_the_biases_of_large_studies_and_mend_them():
    frame = grades.certificate_frame()
    for n_subjects, follows, left in ((1000, 0.5, 0.9), (10_000, 0.95, 0.15)):
        part = frame[frame["J"] == n_subjects]
        assert np.corrcoef(part["true"], part["bias"])[0, 1] > follows, n_subjects
        assert (part["corrected"] ** 2).mean() < left * (part["true"] ** 2).mean(), n_subjects
        assert np.sqrt(((part["bias"] - part["true"]) ** 2).mean()) < 0.33, n_subjects
        held = ((part["bias"] - part["true"]).abs() < 1.645 * part["bias_se"]).mean()
        # The parameters of a study go together: as of some three times the studies.
        error = np.sqrt(0.9 * 0.1 / (3 * part["study"].nunique()))
        assert abs(held - 0.9) < 0.05 + 2.0 * error, n_subjects
    table = grades.certificate_table()
    assert table.loc[(10_000, "corrected"), "right"] > table.loc[(10_000, "as composed"), "right"]
    for n_subjects in (10_000, 100_000):
        assert table.loc[(n_subjects, "corrected"), "farthest"] < 1.5


def test_a_forecast_holds_within_its_90_percent_interval(monkeypatch):
    """Errors spread evenly over three standard errors to either side."""
    off = np.linspace(-3.0, 3.0, 2001)
    frame = pd.DataFrame({"bias": 0.5 + 0.2 * off, "bias_se": 0.2, "true": 0.5, "J": 10})
    frame = frame.assign(study=np.arange(len(off)), parameter="mu_nu", corrected=0.0, seconds=1.0)
    frame = frame.assign(sd_ratio=1.0, corrected_ratio=1.0)
    monkeypatch.setattr(grades, "certificate_frame", lambda *_: frame)
    holds = grades.certificate_table().loc[(10, "as composed"), "forecast holds"]
    assert holds == pytest.approx(stats.norm.ppf(0.95) / 3.0, abs=2e-3)


def test_both_forecasts_are_held_against_the_truth(monkeypatch):
    """One misses by a standard error, the other by two of its own."""
    frame = pd.DataFrame({"true": [0.3, -0.4], "bias": [0.5, -0.6], "bias_se": 0.2, "J": 10})
    frame = frame.assign(score=[0.7, 0.0], score_se=0.2, score_seconds=[1.0, 3.0])
    monkeypatch.setattr(grades, "certificate_frame", lambda *_: frame)
    row = grades.forecast_table().loc[10]
    assert row["true"] == pytest.approx(np.sqrt(0.125))
    assert row["compositions"] == pytest.approx(0.2) and row["scores"] == pytest.approx(0.4)
    assert (row["compositions hold"], row["scores hold"], row["seconds"]) == (1.0, 0.0, 2.0)


def test_grades_of_a_model_tell_medians_and_tails(monkeypatch):
    """Five studies; one parameter is twice as far off as the other, and one study too wide."""
    rows = [
        {"J": 10, "bias": {"a": 0.2 * i, "b": -0.4 * i}, "sd_ratio": {"a": 1.0, "b": 1.0 + 0.2 * i}}
        for i in range(5)
    ]
    monkeypatch.setattr(grades, "load_stored", lambda *_, **__: {"rows": rows})
    row = grades.model_grade_table().loc[10]
    assert row["bias, worst"] == pytest.approx(0.8) and row["studies"] == 5
    assert row["worst, 90 %"] == pytest.approx(1.6 * 0.6 + 1.2 * 0.4)
    assert row["sd ratio, 10 %"] == 1.0
    assert row["sd ratio, 90 %"] == pytest.approx(1.8 * 0.6 + 1.6 * 0.4)
    assert row["right"] == pytest.approx(3 / 5)  # biases of 1.2 and 1.6 are not


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("ours, residuals of a mini-batch", marks=pytest.mark.slow),
        "ours, reweighted",
    ],
)
def test_a_stored_composition_is_what_its_function_gives(name):
    settings, workshop = grades.CompositionSettings(), Workshop()
    rows = load_stored("compositions.json", settings)["rows"]
    (row,) = (r for r in rows if (r["J"], r["composition"]) == (100, name))
    fresh = compared(workshop, settings, name, grades.COMPOSITIONS[name], 100, 20, 0)
    mean, sd = np.array(list(exact_moments(workshop)[100][0].values())).T
    np.testing.assert_allclose((fresh["mean"] - mean) / sd, row["bias"][0], atol=0.05)
    np.testing.assert_allclose(fresh["sd"] / sd, row["sd_ratio"][0], atol=0.05)


def test_only_a_likelihood_brings_others_nearer_than_ours():
    worst = grades.composition_table()["bias, worst"].unstack("composition")
    assert (worst["ours, reweighted"] < 0.5 * worst["ours"]).all()
    k = grades.composition_table()["Pareto k"].dropna()
    assert len(k) == len(worst)
    assert (k.drop(10_000, level="J") < 0.7).all()
    # As chapter 6 says: in one study of 10,000 the weights cannot be trusted.
    assert (k.xs(10_000, level="J") > 0.7).all()


def test_certificate_figure_has_a_panel_per_study_size_and_is_closed():
    figure = certificate_figure(grades.certificate_frame())
    assert [ax.get_title() for ax in figure.axes] == [
        f"$J$ = {n_subjects:,}"
        for n_subjects in (*grades.STRATIFIED.studies, *grades.LARGEST.studies)
    ]
    assert plt.get_fignums() == []


@pytest.mark.parametrize("corrected", [False, True])
def test_a_stored_discretization_error_is_what_the_exact_posterior_gives(corrected):
    settings = grades.DiscretizationSettings()
    em_dt = settings.dt if corrected else None
    wanted = {"J": 10, "study": 0, "em_dt": em_dt}
    rows = load_stored("discretization.json", settings)["rows"]
    (row,) = (r for r in rows if {k: r[k] for k in wanted} == wanted)
    assert discretized_z(Workshop(), settings, 10, 0, em_dt) == pytest.approx(row["z"], abs=0.02)


def test_discretization_is_seen_at_1000_subjects_and_removed_by_the_correction():
    z = grades.discretization_table()["mu_log_alpha"]
    assert z[1000, False] > 5  # about 11 sds; chance gives about 1
    assert z[1000, True] < 2.5  # above in less than 1 % of cases if the posterior is right
    assert z[1000, False] > z[100, False] > z[10, False]


@pytest.mark.parametrize(("model", "n_subjects"), list(grades.EXACT_SBC))
def test_exact_posterior_passed_simulation_based_calibration(model, n_subjects):
    sbc = grades.exact_sbc(n_subjects, getattr(el, model))
    assert sbc.settings == grades.EXACT_SBC[model, n_subjects]
    n_draws, n_studies = sbc.settings.num_samples, sbc.settings.n_studies
    names = getattr(el, model).prior.names
    assert set(sbc.ranks) == set(names)
    for name in names:
        rank = sbc.ranks[name]
        assert rank.shape == (n_studies,) and sbc.mean[name].shape == (n_studies,)
        uniform = (rank + 0.5) / (n_draws + 1)
        # A right posterior fails each of these in 1 % of cases, over all parameters.
        assert stats.kstest(uniform, "uniform").pvalue > 0.01 / len(names), name
        inside = int((np.abs(uniform - 0.5) < 0.45).sum())
        assert stats.binomtest(inside, n_studies, 0.9).pvalue > 0.01 / len(names), name


QUICK = (("EAM", 5), ("EAM", 100))


@pytest.mark.parametrize(
    ("model", "n_subjects"),
    [pytest.param(*of, marks=[] if of in QUICK else pytest.mark.slow) for of in grades.EXACT_SBC],
)
def test_a_stored_rank_is_what_the_exact_posterior_gives(model, n_subjects):
    sbc = grades.exact_sbc(n_subjects, getattr(el, model))
    fresh = calibrate_one(Workshop(model=getattr(el, model)), sbc.settings, 3)
    for name in sbc.ranks:
        assert abs(fresh["ranks"][name] - sbc.ranks[name][3]) <= 1, name
        sd = sbc.sd[name][3]
        assert fresh["mean"][name] == pytest.approx(sbc.mean[name][3], abs=0.02 * sd)


def test_a_calibration_that_was_not_made_is_refused():
    with pytest.raises(ValueError, match="n_subjects must be one of"):
        grades.exact_sbc(7)
    with pytest.raises(ValueError, match="n_subjects must be one of .* for LABORATORY, got 100"):
        grades.exact_sbc(100, el.LABORATORY)


def test_automatic_steps_are_those_that_the_tuning_found_best_or_nearly_so():
    """The differences between 24 and 46 steps of a single group are noise; at J = 10,000 not."""
    from eamlab.composition.posterior import default_steps

    table = grades.tuning_table()
    for n_subjects, group_size in ((10, 10), (100, 100), (1000, 200), (10_000, 200)):
        row = table.loc[(n_subjects, group_size)]
        n_groups = n_subjects // group_size
        assert row[default_steps("gaussian", n_groups)] < row.min() + 0.06
