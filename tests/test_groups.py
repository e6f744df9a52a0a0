import numpy as np
import pytest

import eamlab as el
from eamlab.groups import auto_group_sizes, check_sim_data, split_subjects, summarize_groups

TRIALS = el.simulate_studies(2, 7, 12, seed=4, scheme="exact")["sim_data"]


@pytest.mark.parametrize(
    ("n_subjects", "expected"),
    [(1, (1,)), (200, (200,)), (201, (101, 100)), (1000, (200,) * 5), (10_000, (200,) * 50)],
)
def test_automatic_groups_are_few_and_nearly_equal(n_subjects, expected):
    assert auto_group_sizes(n_subjects, (1, 5, 200)) == expected


@pytest.mark.parametrize("n_subjects", [3, 211, 997, 1003])
def test_automatic_groups_hold_every_subject_once(n_subjects):
    sizes = auto_group_sizes(n_subjects, (1, 200))
    assert sum(sizes) == n_subjects and max(sizes) - min(sizes) <= 1 and max(sizes) <= 200


def test_a_network_for_one_group_size_gets_groups_of_that_size_or_an_error():
    assert auto_group_sizes(20, (5,)) == (5,) * 4
    with pytest.raises(ValueError, match="leave out 1 subjects"):
        auto_group_sizes(11, (5,))


def test_blocks_keep_all_subjects_in_order():
    blocks = split_subjects(TRIALS, (3, 2, 2))
    assert [b.shape[1:3] for b in blocks] == [(1, 3), (2, 2)]
    again = np.concatenate([b.reshape(2, -1, 12, 2) for b in blocks], axis=1)
    np.testing.assert_array_equal(again, TRIALS)


def test_a_list_of_subjects_is_padded_with_times_of_zero():
    subjects = [TRIALS[0, 0, :5], TRIALS[0, 1], TRIALS[0, 2, :1]]
    data = check_sim_data(subjects)
    assert data.shape == (1, 3, 12, 2)
    np.testing.assert_array_equal(np.sum(data[0, ..., 1] > 0, axis=1), [5, 12, 1])
    np.testing.assert_array_equal(data[0, 0, :5], subjects[0])


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        ([], "no subjects"),
        ([TRIALS[0, 0], TRIALS[0, 1, :0]], "subject 1 of the list must have trials"),
        ([np.array([[1.0, -0.2]])], "not finite and positive"),
        ([np.array([[2.0, 0.5]])], r"choices must be 0 \(lower\) or 1"),
    ],
)
def test_bad_lists_are_refused(subjects, message):
    with pytest.raises(ValueError, match=message):
        check_sim_data(subjects)


def test_groups_are_summarized_as_if_one_by_one():
    workflow = el.load_pretrained("global")
    together = summarize_groups(workflow, split_subjects(TRIALS, (3, 2, 2)))
    assert together.shape[:2] == (2, 3)
    alone = summarize_groups(workflow, [TRIALS[:, None, 3:5]])
    np.testing.assert_allclose(together[:, 1], alone[:, 0], atol=1e-4)


def test_grouping_needs_a_divisor():
    assert el.group_subjects(TRIALS[:, :6], 3).shape == (2, 2, 3, 12, 2)
    with pytest.raises(ValueError, match="group_size must divide"):
        el.group_subjects(TRIALS, 5)
