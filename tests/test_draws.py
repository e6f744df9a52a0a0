"""Draws: named axes, the moments and quantiles they are labelled with, and what does not fit."""

import numpy as np
import pytest

import eamlab as el
from eamlab.draws import Draws, as_draws, group_array
from eamlab.study import told_ids

S, J = 40, 3


@pytest.fixture
def draws():
    rng = np.random.default_rng(1)
    group = {k: v[:, 0] for k, v in el.EAM.prior.sample(S, rng).items()}
    people = {k: rng.lognormal(size=(S, J)) for k in el.EAM.person_names}
    return Draws(group | people, model=el.EAM, subjects=("a", "b", "c"), settings={"seed": 1})


def test_names_axes_and_parts(draws):
    assert tuple(draws) == (*el.EAM.prior.names, *el.EAM.person_names)
    assert draws.group_names == el.EAM.prior.names and draws.person_names == el.EAM.person_names
    assert (draws.num_samples, draws.n_subjects) == (S, J)
    assert draws.array.shape == (S, 7)
    np.testing.assert_array_equal(draws.array[:, 6], draws["beta_raw"])
    assert tuple(draws.group) == el.EAM.prior.names and draws.group.settings == {"seed": 1}
    with pytest.raises(KeyError, match="no draws of 'mu'; there are those of"):
        draws["mu"]


def test_every_column_of_the_summary_is_what_its_label_says():
    """Draws 0, 1, ..., 100 have their quantiles in their names."""
    values = np.random.default_rng(2).permutation(101).astype(float)
    table = Draws(
        {"a": values, "b": np.stack([values, -values], axis=1)}, subjects=(9, 7)
    ).summary()
    row = table.loc[("a", "")]
    assert row[["q05", "median", "q95"]].tolist() == [5.0, 50.0, 95.0]
    assert row["mean"] == 50.0 and row["sd"] == pytest.approx(np.sqrt(101 * 102 / 12))
    assert table.loc[("b", 7), ["q05", "median", "q95"]].tolist() == [-95.0, -50.0, -5.0]
    assert table.index.tolist() == [("a", ""), ("b", 9), ("b", 7)]
    assert Draws({"a": values}).summary().index.tolist() == ["a"]


def test_moments_are_those_given_or_those_of_the_draws(draws):
    assert draws.mean["mu_nu"] == pytest.approx(draws["mu_nu"].mean())
    np.testing.assert_allclose(draws.sd["nu"], draws["nu"].std(axis=0, ddof=1))
    known = Draws({"a": np.zeros(5)}, mean={"a": 1.0}, sd={"a": 2.0})
    assert (known.mean, known.sd) == ({"a": 1.0}, {"a": 2.0})
    assert (known.group.mean, known.group.sd) == (known.mean, known.sd)


@pytest.mark.parametrize(
    ("values", "subjects"),
    [
        ({}, None),
        ({"a": np.zeros(3), "b": np.zeros(4)}, None),
        ({"a": np.zeros((3, 2)), "b": np.zeros((3, 1))}, None),
        ({"a": np.zeros((1, 3, 1))}, None),
        ({"a": 1.0}, None),
        ({"a": np.zeros(0)}, None),
        ({"a": np.zeros((3, 2))}, ("x",)),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(values, subjects):
    with pytest.raises(ValueError, match="^values must"):
        Draws(values, subjects=subjects)


def test_a_group_in_another_order_is_put_into_the_models(draws):
    turned = Draws({k: draws[k] for k in reversed(draws.group_names)})
    np.testing.assert_array_equal(group_array(turned, el.EAM), draws.array)
    np.testing.assert_array_equal(group_array(dict(turned), el.EAM), draws.array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: [d, d], "^it must be the draws of one study, got those of 2; take one"),
        (lambda d: d.array, "^it must be Draws, got ndarray"),
        (lambda d: {"mu_nu": d["mu_nu"]}, r"^it lacks \['mu_log_alpha'"),
        (lambda d: dict(d.group) | {"mu_nu": d["nu"]}, r"^it lacks \['mu_nu'\]"),
        (
            lambda d: dict(d) | {"mu_nu": d["mu_nu"] * np.nan},
            "^it: .* values of 'mu_nu' are not finite",
        ),
    ],
)
def test_what_is_no_groups_draws_is_refused(draws, change, message):
    with pytest.raises(ValueError, match=message):
        group_array(change(draws), el.EAM, "it")
    assert as_draws(draws) is draws


# --- other people in each condition --------------------------------------------------------------


def test_differences_are_those_of_the_group(draws):
    other = Draws({k: draws[k] - 0.3 for k in draws.group_names}, model=el.EAM)
    change = draws - other
    assert tuple(change) == el.EAM.prior.names and change.model is None
    assert change.mean["mu_nu"] == pytest.approx(0.3) == change["mu_nu"].mean()
    assert change.sd["mu_nu"] == pytest.approx(np.sqrt(2) * draws["mu_nu"].std(ddof=1))
    taken = np.stack([draws[k] - change[k] for k in other], axis=-1)  # whole draws of the other
    np.testing.assert_allclose(np.sort(taken[:, 0]), np.sort(other["mu_nu"]))
    rows = {tuple(row) for row in other.array.round(9)}
    assert {tuple(row) for row in taken.round(9)} == rows


def test_draws_of_one_seed_do_not_pass_for_one_posterior():
    """The same noise in both made the difference of two groups too sure, without a sign of it."""
    noise = np.random.default_rng(5).normal(size=2000)
    change = Draws({"a": 1.0 + noise}) - Draws({"a": noise})
    assert change["a"].std() == pytest.approx(np.sqrt(2), rel=0.1)
    assert change["a"].std() == pytest.approx(change.sd["a"], rel=0.1)


def test_differences_take_the_moments_that_are_known():
    a = Draws({"a": np.zeros(5)}, mean={"a": 1.0}, sd={"a": 3.0})
    b = Draws({"a": np.zeros(5)}, mean={"a": 3.0}, sd={"a": 4.0})
    assert ((b - a).mean, (b - a).sd) == ({"a": 2.0}, {"a": 5.0})


def test_the_same_people_in_both_groups_are_remarked(recwarn):
    def group(*ids):
        return Draws({"a": np.zeros(5)}, subjects=ids)

    for other in (group("u", "v"), Draws({"a": np.zeros(5)})):
        assert not (group("x", "y") - other).subjects and not recwarn
    with pytest.warns(UserWarning, match=r"^ids .* both groups \(1, such as 'x'\).*conditions="):
        group("x", "y").group - group("w", "x")


def test_people_are_told_from_those_that_are_only_counted():
    """Everybody's first simulated person has the id 0; that of a file's is somebody."""
    study = el.simulate(el.EAM, 2, 5, seed=1)
    assert told_ids(study) is None
    assert told_ids(el.read_trials(study.frame)) == (0, 1) != told_ids(study[1:]) == (1,)
    assert told_ids(el.Study(study.trials, ("x", "y"))) == ("x", "y")


def test_differences_of_unlike_draws_are_refused(draws):
    fewer = Draws({k: draws[k][:9] for k in draws.group_names}, model=el.EAM)
    named = Draws({"mu": draws["mu_nu"]})
    prior = Draws(dict(draws), model=el.LABORATORY)
    for other, words in (
        (fewer, "9 draws, the other 40"),
        (named, "take the same"),
        (prior, "another model than EAM"),
    ):
        with pytest.raises(ValueError, match=words):
            draws - other
    with pytest.raises(TypeError):
        draws - 1.0
