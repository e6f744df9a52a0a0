"""The grade of a composed posterior: known differences are found, equal samples are not."""

import numpy as np
import pandas as pd
import pytest

from eamlab import grading
from eamlab.draws import Draws
from eamlab.grading import c2st, grade, grade_many

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


def test_parameters_that_the_key_lacks_are_left_out():
    exact, ours = draws(500, 3), draws(100, 4)
    more = grade(ours | {"other": np.zeros(100)}, exact, classify=False)
    pd.testing.assert_frame_equal(more.table, grade(ours, exact, classify=False).table)


def test_moments_of_the_exact_posterior_come_from_its_sampler():
    samples = draws(50, 5)
    mean, sd = dict.fromkeys(NAMES, 1.0), dict.fromkeys(NAMES, 2.0)
    table = grade(samples, Draws(samples, mean=mean, sd=sd), classify=False).table
    np.testing.assert_allclose(table["bias"], [(samples[n].mean() - 1.0) / 2.0 for n in NAMES])
    np.testing.assert_allclose(table["exact_sd"], 2.0)
    np.testing.assert_allclose(table["sd_ratio"], [samples[n].std(ddof=1) / 2.0 for n in NAMES])


def test_people_are_graded_one_by_one():
    rng = np.random.default_rng(6)
    theirs = Draws({"m": rng.normal(size=80), "t": rng.normal(size=(80, 2))}, subjects=("x", "y"))
    ours = {"t": theirs["t"] + [0.0, 3.0], "m": theirs["m"]}
    truth = {"t": np.array([0.0, 3.0]), "m": 0.0}
    table = grade(Draws(ours, subjects=("x", "y")), theirs, truth=truth, classify=False).table
    assert table.index.tolist() == ["m", "t[x]", "t[y]"]
    shift = 3.0 / theirs["t"][:, 1].std(ddof=1)
    np.testing.assert_allclose(table["bias"], [0.0, 0.0, shift], atol=1e-12)
    assert table["covered"].tolist() == [1.0, 1.0, 1.0]
    assert table["exact_covered"].tolist() == [1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="draws and key are of different subjects"):
        grade(Draws(ours, subjects=("y", "x")), theirs)
    with pytest.raises(ValueError, match=r"truth\['t'\] must have shape \(2,\); got \(3,\)"):
        grade(ours, theirs, truth={"t": np.zeros(3)})


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.99])
def test_intervals_hold_the_share_that_they_are_said_to(level):
    """Of 1,001 evenly spread draws the interval's ends are known: a truth on either side of each.

    The draws to be graded are twice as wide as the key's.
    """
    even = np.linspace(-1.0, 1.0, 1001)
    for edge in (-level, level):
        for inside in (True, False):
            truth = edge * (1.0 - 1e-3 if inside else 1.0 + 1e-3)
            theirs = {"a": even}
            one = grade(theirs, theirs, truth={"a": truth}, level=level, classify=False).table
            assert one.loc["a", ["covered", "exact_covered"]].tolist() == [inside, inside]
            wide = grade(
                {"a": 2 * even}, theirs, truth={"a": 2 * truth}, level=level, classify=False
            )
            assert wide.table.loc["a", ["covered", "exact_covered"]].tolist() == [inside, False]
    default = grade({"a": even}, {"a": even}, truth={"a": 0.901}, classify=False)
    assert default.level == 0.9 and default.table.loc["a", "covered"] == 0.0


def test_without_a_truth_there_is_no_coverage():
    exact = draws(2000, 6)
    table = grade(exact, exact, truth={"a": 0.0, "b": 16.0}, classify=False).table
    assert table["covered"].tolist()[:2] == [1.0, 0.0]
    assert np.isnan(table.loc["c", ["covered", "exact_covered", "truth"]].astype(float)).all()


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
    for seed in range(20):
        x = np.column_stack(list(draws(150, 100 + seed).values()))
        y = np.column_stack(list(draws(600, 200 + seed).values()))
        test = c2st(x, y, seed=seed)
        assert test.n_draws == 150
        assert test.interval[0] < 0.5 < test.interval[1]
        assert abs(test.chance - 0.5) < 0.03
        told_apart += test.differs
    # Each is told apart with probability 0.025: six or more of 20 has probability below 1e-5.
    assert told_apart < 6


def test_c2st_is_reproducible_and_does_not_depend_on_units():
    x = np.column_stack(list(draws(100, 11).values()))
    y = np.column_stack(list(draws(100, 12).values()))
    assert c2st(x, y, seed=3) == c2st(x, y, seed=3)
    assert c2st(x, y, seed=3).accuracy == c2st(1e3 * x, 1e3 * y, seed=3).accuracy


def test_the_interval_of_chance_holds_95_percent_of_the_shuffles(monkeypatch):
    """Accuracies of 0, 1/200, ..., 1 where labels are shuffled: the ends are known."""
    shuffled = np.random.default_rng(1).permutation(np.linspace(0.0, 1.0, 201))
    monkeypatch.setattr(grading, "_accuracies", lambda *_: np.append(0.97, shuffled))
    test = c2st(np.zeros((20, 1)), np.zeros((20, 1)))
    assert test.interval == pytest.approx((0.025, 0.975))
    assert test.chance == pytest.approx(0.5) and not test.differs


def test_a_larger_sample_is_thinned_over_its_whole_length():
    """Draws in their order of size: the first of them are another distribution."""
    rng = np.random.default_rng(2)
    many, few = np.sort(rng.standard_normal(600))[:, None], rng.standard_normal(150)[:, None]
    assert not c2st(many, few).differs and not c2st(few, many).differs


def test_every_interval_of_a_summary_is_one_of_95_percent():
    """That of a mean is 1.96 standard errors; Wilson's is in closed form; ratios have no unit."""
    x = np.random.default_rng(3).standard_normal(400)
    found = grading._with_interval("x", x, np.mean, np.random.default_rng(4))
    half = (found["x_high"] - found["x_low"]) / 2
    assert half == pytest.approx(1.96 * x.std() / 20, rel=0.1)  # 1,000 bootstrap draws: 3 %
    even = np.linspace(-1.0, 1.0, 1001)
    grades = [
        grade({"a": ratio * even}, {"a": even}, truth={"a": truth}, classify=False)
        for ratio, truth in ((0.5, 0.0), (2.0, 0.0), (0.5, 9.0), (2.0, 0.0))
    ]
    row = grade_many(grades).table.loc["a"]
    assert row["sd_ratio"] == pytest.approx(1.0) and row["coverage"] == 0.75
    n, p, z = 4, 0.75, 1.959964
    middle, reach = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    want = np.array([middle - reach, middle + reach]) / (1 + z**2 / n)
    np.testing.assert_allclose(
        row[["coverage_low", "coverage_high"]].astype(float), want, rtol=1e-5
    )


def test_many_grades_are_summarized_with_intervals():
    rng = np.random.default_rng(13)
    grades = []
    for seed in range(20):
        exact = draws(300, 1000 + seed)
        composed = draws(300, 2000 + seed, shift=0.5 * rng.choice([-1, 1]), scale=0.7)
        truth = {"a": 0.0, "b": 10.0 + 2.0 * rng.standard_normal()}
        grades.append(grade(composed, exact, truth=truth, seed=seed))
    summary = grade_many(grades)
    row = summary.table.loc["b"]
    assert summary.n_studies == 20
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
        ({"a": np.zeros(20)}, {}, r"draws lack \['b', 'c'\] of the key"),
        (with_nan(20, 17), {}, "'b' are not finite"),
        (draws(20, 18) | {"c": np.zeros(19)}, {}, "same S and J"),
        (draws(5, 19), {}, "draws must have at least 10 draws; got 5"),
        ([Draws(draws(20, 18))] * 2, {}, "draws must be the draws of one study, got those of 2"),
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
