"""The grade of a composed posterior: known differences are found, equal samples are not."""

import numpy as np
import pandas as pd
import pytest

from eamlab.grade import c2st, grade, grade_many
from eamlab.reference import ExactPosterior

NAMES = ("a", "b", "c")


def draws(n, seed, *, shift=0.0, scale=1.0):
    """Correlated normal draws with sds 1, 2, 3 and means 0, 10, 20; "b" moved and stretched."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 3))
    z[:, 2] = 0.6 * z[:, 0] + 0.8 * z[:, 2]
    z[:, 1] = shift + scale * z[:, 1]
    return {name: 10 * i + (i + 1) * z[:, i] for i, name in enumerate(NAMES)}


def test_known_differences_are_measured_in_exact_sds():
    exact = draws(20_000, 1)
    table = grade(draws(20_000, 2, shift=1.5, scale=0.5), exact).table
    assert list(table.index) == list(NAMES)
    # Monte Carlo error at 20,000 draws is below 0.01; tolerances are five times that.
    np.testing.assert_allclose(table["bias"], [0.0, 1.5, 0.0], atol=0.05)
    np.testing.assert_allclose(table["sd_ratio"], [1.0, 0.5, 1.0], atol=0.05)
    assert abs(table.loc["b", "wasserstein"] - 1.5) < 0.1
    assert table.loc["a", "wasserstein"] < 0.05


def test_draws_of_any_shape_are_one_study():
    exact = draws(500, 3)
    flat = draws(100, 4)
    composed = {name: values.reshape(1, 100, 1) for name, values in flat.items()}
    pd.testing.assert_frame_equal(
        grade(composed | {"other": np.zeros(3)}, exact, classify=False).table,
        grade(flat, exact, classify=False).table,
    )


def test_moments_of_the_exact_posterior_come_from_its_sampler():
    samples = draws(50, 5)
    mean, sd = dict.fromkeys(NAMES, 1.0), dict.fromkeys(NAMES, 2.0)
    exact = ExactPosterior(samples, mean, sd, ess=50.0, method="mcmc")
    table = grade(samples, exact, classify=False).table
    np.testing.assert_allclose(table["bias"], [(samples[n].mean() - 1.0) / 2.0 for n in NAMES])
    np.testing.assert_allclose(table["exact_sd"], 2.0)


def test_coverage_needs_a_truth():
    exact = draws(2000, 6)
    table = grade(exact, exact, truth={"a": 0.0, "b": [[16.0]]}, classify=False).table
    assert table["covered"].tolist()[:2] == [1.0, 0.0]
    assert table["exact_covered"].tolist()[:2] == [1.0, 0.0]
    assert np.isnan(table.loc["c", "covered"])


def test_c2st_tells_location_spread_and_correlation_apart():
    base = np.column_stack(list(draws(400, 7).values()))
    moved = np.column_stack(list(draws(400, 8, shift=1.0).values()))
    narrow = np.column_stack(list(draws(400, 9, scale=0.4).values()))
    shuffled = base.copy()
    shuffled[:, 0] = np.random.default_rng(10).permutation(shuffled[:, 0])
    for other in (moved, narrow, shuffled):
        test = c2st(base, other)
        assert test.differs
        assert test.accuracy > 0.6


def test_c2st_of_equal_distributions_stays_at_chance():
    told_apart = 0
    for seed in range(40):
        x = np.column_stack(list(draws(150, 100 + seed).values()))
        y = np.column_stack(list(draws(600, 200 + seed).values()))
        test = c2st(x, y, seed=seed)
        assert test.n_draws == 150
        assert test.interval[0] < 0.5 < test.interval[1]
        assert abs(test.chance - 0.5) < 0.03
        told_apart += test.differs
    # Each is told apart with probability 0.025: eight or more of 40 has probability below 1e-5.
    assert told_apart < 8


def test_c2st_is_reproducible_and_does_not_depend_on_units():
    x = np.column_stack(list(draws(100, 11).values()))
    y = np.column_stack(list(draws(100, 12).values()))
    assert c2st(x, y, seed=3) == c2st(x, y, seed=3)
    assert c2st(x, y, seed=3).accuracy == c2st(1e3 * x, 1e3 * y, seed=3).accuracy


def test_many_grades_are_summarized_with_intervals():
    rng = np.random.default_rng(13)
    grades = []
    for seed in range(30):
        exact = draws(300, 1000 + seed)
        composed = draws(300, 2000 + seed, shift=0.5 * rng.choice([-1, 1]), scale=0.7)
        truth = {"a": 0.0, "b": 10.0 + 2.0 * rng.standard_normal()}
        grades.append(grade(composed, exact, truth=truth, seed=seed))
    summary = grade_many(grades)
    row = summary.table.loc["b"]
    assert summary.n_studies == 30
    # A bias of random sign cancels in the mean and not in the root mean square.
    assert row["bias_low"] < 0.0 < row["bias_high"]
    assert row["bias_rms_low"] < 0.5 < row["bias_rms_high"] + 0.03
    assert row["sd_ratio_low"] - 0.03 < 0.7 < row["sd_ratio_high"] + 0.03
    assert 0.0 <= row["coverage_low"] <= row["coverage"] <= row["coverage_high"] <= 1.0
    assert row["coverage"] < row["exact_coverage"]
    assert summary.table.loc["a", "coverage"] == 1.0
    assert np.isnan(summary.table.loc["c", "coverage"])
    assert summary.c2st["accuracy_low"] > summary.c2st["chance"]
    assert summary.c2st["share_told_apart"] > 0.5


def test_grades_without_a_classifier_are_summarized():
    exact = draws(50, 14)
    summary = grade_many([grade(draws(50, s), exact, classify=False) for s in (15, 16)])
    assert summary.c2st.isna().all()


def with_nan(n, seed):
    bad = draws(n, seed)
    bad["b"] = np.where(np.arange(n) == 3, np.nan, bad["b"])
    return bad


@pytest.mark.parametrize(
    ("composed", "options", "message"),
    [
        ({"a": np.zeros(20)}, {}, r"composed lacks \['b', 'c'\]"),
        (with_nan(20, 17), {}, r"not finite in \['b'\]"),
        (draws(20, 18) | {"c": np.zeros(19)}, {}, "same number"),
        (draws(5, 19), {}, ">= 10"),
        (draws(20, 20), {"level": 1.0}, "level"),
        (draws(20, 21), {"truth": {"a": [1.0, 2.0]}}, "truth"),
    ],
)
def test_bad_arguments_are_named(composed, options, message):
    with pytest.raises(ValueError, match=message):
        grade(composed, draws(50, 22), **options)


def test_bad_summaries_are_named():
    one = grade(draws(20, 23), draws(20, 24), classify=False)
    other = grade(draws(20, 23), draws(20, 24), classify=False, level=0.5)
    with pytest.raises(ValueError, match="at least two"):
        grade_many([one])
    with pytest.raises(ValueError, match="same level"):
        grade_many([one, other])
    with pytest.raises(ValueError, match="all equal"):
        grade(draws(20, 25), {name: np.ones(20) for name in NAMES})
    with pytest.raises(ValueError, match="first and second"):
        c2st(np.zeros((20, 2)), np.zeros((20, 3)))
    with pytest.raises(ValueError, match="10 draws"):
        c2st(np.zeros((8, 2)), np.zeros((20, 2)))
