"""A study is checked once, when it is made, and says in one sentence what is wrong."""

import numpy as np
import pandas as pd
import pytest

import eamlab as el
from eamlab.study import Study, as_studies, as_study, simulate

COUNTS = (5, 12, 1)


@pytest.fixture(scope="module")
def study():
    return simulate(el.EAM, 3, COUNTS, seed=4)


def test_a_list_of_people_is_padded_with_zeros_and_taken_apart_again(study):
    assert study.trials.shape == (3, 12, 2) and study.trials.dtype == np.float32
    assert study.n_trials.tolist() == list(COUNTS) and len(study) == 3
    again = Study(study.by_subject)
    np.testing.assert_array_equal(again.trials, study.trials)
    padded = Study(np.pad(study.trials, [(0, 0), (0, 7), (0, 0)]))
    np.testing.assert_array_equal(padded.trials, study.trials)
    np.testing.assert_array_equal(padded.n_trials, COUNTS)


def test_the_array_given_is_not_the_studys_own():
    given = np.ones((2, 3, 2), "float32")
    study = Study(given)
    given[:] = 7.0
    assert study.trials.max() == 1.0


def test_people_are_taken_with_their_ids_truth_and_trials(study):
    named = Study(study.trials, ("x", 7, "z"), study.truth)
    for which in ([2, 0], np.array([2, 0])):
        part = named[which]
        assert part.subjects == ("z", "x") and part.n_trials.tolist() == [1, 5]
        np.testing.assert_array_equal(part.by_subject[1], study.by_subject[0])
        np.testing.assert_array_equal(part.truth["nu"], study.truth["nu"][[2, 0]])
        assert part.group == study.group
    assert named[:1].trials.shape == (1, 5, 2)
    assert named[study.n_trials > 1].subjects == ("x", 7)
    for which in (0, slice(0, 0), [False] * 3):
        with pytest.raises(ValueError, match=r"study\[:1\] is its first person"):
            named[which]


def test_tables_describe_each_persons_own_trials(study):
    frame, table = study.frame, study.table
    assert list(frame) == ["subject", "choice", "rt"] and len(frame) == sum(COUNTS)
    for j, trials in enumerate(study.by_subject):
        own = frame[frame["subject"] == j]
        np.testing.assert_array_equal(own[["choice", "rt"]].to_numpy(), trials)
        choice, rt = trials.T
        want = [len(rt), choice.mean(), rt.min(), np.median(rt), rt.max()]
        np.testing.assert_allclose(table.loc[j], want, rtol=1e-6)
    assert repr(study) == "Study: 3 subjects, 18 trials (1 to 12 each)"


def test_simulated_studies_are_those_of_the_model_and_know_their_truth():
    arrays = el.EAM.sample(2, 3, 6, seed=8)
    studies = simulate(el.EAM, 3, 6, seed=8, n_studies=2)
    for i, study in enumerate(studies):
        np.testing.assert_array_equal(study.trials, arrays["sim_data"][i])
        assert study.group == {k: arrays[k][i, 0] for k in el.EAM.prior.names}
        for name in el.EAM.person_names:
            np.testing.assert_array_equal(study.truth[name], arrays[name][i])
        assert study.model is el.EAM
    one = simulate(el.EAM, 3, 6, seed=8, group={"mu_nu": 2.0})
    assert one.group["mu_nu"] == 2.0
    few = simulate(el.EAM, 2, (2, 4), seed=8)
    full = simulate(el.EAM, 2, 4, seed=8)
    np.testing.assert_array_equal(few.by_subject[0], full.by_subject[0][:2])


def test_one_or_several():
    one = Study(np.ones((1, 2, 2)))
    assert as_studies(one) == [one] and as_studies((one, one)) == [one, one]
    assert as_study([one]) is one
    with pytest.raises(ValueError, match="^key must be one Study, got 2; take one at a time"):
        as_study([one, one], "key")
    for wrong in (one.trials, [], [one, one.trials], {"sim_data": one.trials}, None):
        with pytest.raises(ValueError, match=r"^key must be a Study, or a list.*got .*el.Study\("):
            as_studies(wrong, "key")


def broken(value, column):
    trials = np.ones((10, 4, 2), "float32")
    trials[3, 2, column] = value
    return trials


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        (np.ones((10, 2)), r"trials must be an array \(J, n, 2\).*got ndarray of shape \(10, 2\)"),
        (
            np.ones((2, 10, 4, 2)),
            r"got ndarray of shape \(2, 10, 4, 2\); of several studies make one",
        ),
        ({"sim_data": np.ones((10, 4, 2))}, "trials must be an array .* got dict"),
        (pd.DataFrame({"rt": [1.0]}), "trials must be .*, got DataFrame.* el.read_trials"),
        ([["a", "b"]], "trials must be numbers, got list"),
        (np.full((1, 1, 2), "a"), "trials must be numbers, got ndarray"),
        (None, "trials must be an array .* got NoneType"),
        (3.0, "trials must be an array .* got float"),
        ([np.ones((3, 2)), np.ones(3)], r"each person needs an array .*\[1\] have shapes \[\(3,\)"),
        ([], "trials has no subjects"),
        (np.ones((0, 4, 2)), "trials has no subjects"),
        (
            np.zeros((2, 4, 2)),
            r"each person needs a trial; got \[0\] in 2 places .*\[0, 1\]. Leave",
        ),
        ([np.ones((2, 2)), np.ones((0, 2))], r"each person needs a trial;.*subjects \[1\]"),
        (broken(np.nan, 1), r"must be finite and positive, .*\[nan\].*subjects \[3\]. Remove"),
        (broken(np.inf, 1), "must be finite and positive"),
        (broken(-0.3, 1), "must be finite and positive"),
        (broken(0.0, 1), "must be finite and positive"),
        (broken(-1, 0), r"choices must be 0 \(lower\) or 1 \(upper\); .* Recode them; -1 is 0"),
        (broken(0.5, 0), "choices must be 0"),
        (broken(np.nan, 0), "choices must be 0"),
    ],
)
def test_trials_that_cannot_be_are_refused(trials, message):
    with pytest.raises(ValueError, match=message):
        Study(trials)


@pytest.mark.parametrize("ids", [("a",), ("a", "a"), range(3)])
def test_ids_must_be_one_for_each_person(ids):
    with pytest.raises(ValueError, match="^subjects must be 2 different ids, one for each person"):
        Study(np.ones((2, 3, 2)), ids)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_subjects": 0}, ValueError, "n_subjects must be an integer of at least 1, got 0"),
        ({"n_subjects": True}, ValueError, "n_subjects must be an integer"),
        ({"n_subjects": 1.5}, ValueError, "n_subjects must be an integer"),
        ({"n_trials": 0}, ValueError, "n_trials must be an integer"),
        ({"n_trials": True}, ValueError, "n_trials must be an integer"),
        ({"n_trials": (3, 0)}, ValueError, "n_trials must be an integer of at least 1, got 0"),
        ({"n_trials": (3, 4, 5)}, ValueError, "n_trials must be a number, or one for each of 2"),
        ({"n_studies": 0}, ValueError, "n_studies must be an integer of at least 1, got 0"),
        ({"n_studies": 1.5}, ValueError, "n_studies must be an integer"),
        ({"seed": None}, ValueError, "seed must be a non-negative int"),
        ({"seed": True}, ValueError, "seed must be a non-negative int"),
        ({"group": {"mu": 1.0}}, ValueError, "group must name parameters of .*, got 'mu'"),
        ({"schme": "exact"}, TypeError, "schme"),
    ],
)
def test_what_cannot_be_simulated_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        simulate(el.EAM, **({"n_subjects": 2, "n_trials": 3, "seed": 1} | arguments))


def test_numpys_integers_are_integers():
    plain = simulate(el.EAM, 2, 3, seed=1)
    same = simulate(el.EAM, np.int64(2), np.int64(3), seed=np.int64(1), n_studies=np.int64(1))
    np.testing.assert_array_equal(same[0].trials, plain.trials)
