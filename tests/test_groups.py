import numpy as np
import pytest

import eamlab as el
from eamlab.composition.groups import (
    auto_group_sizes,
    group_sizes,
    split_subjects,
    summarize_groups,
)

TRIALS = el.EAM.sample(1, 7, 12, seed=4)["sim_data"][0]


class Sums:
    """A workflow that summarizes a group by who is in it: the sum of its people's numbers."""

    def __init__(self):
        self.estimator = self

    def summarize(self, data):
        return data["sim_data"][..., 0].sum(axis=(-2, -1))[:, None]


@pytest.mark.parametrize(
    ("n_subjects", "expected"),
    [(1, (1,)), (200, (200,)), (201, (101, 100)), (1000, (200,) * 5), (10_000, (200,) * 50)],
)
def test_automatic_groups_are_few_and_nearly_equal(n_subjects, expected):
    assert auto_group_sizes(n_subjects, (1, 5, 200)) == expected


@pytest.mark.parametrize("n_subjects", [3, 211, 997, 1003, 1004])
def test_everybody_is_in_exactly_one_group(n_subjects):
    """Person j is the number j in a stub summary, and their trial j, wherever they end up."""
    sizes = group_sizes("auto", n_subjects, (1, 200))
    assert sum(sizes) == n_subjects and max(sizes) - min(sizes) <= 1 and max(sizes) <= 200
    people = np.zeros((n_subjects, 1, 2))
    people[:, 0, 0] = np.arange(n_subjects)
    blocks = split_subjects(people, sizes)
    members = [group[:, 0, 0] for block in blocks for group in block]
    assert [len(m) for m in members] == list(sizes)
    np.testing.assert_array_equal(np.concatenate(members), np.arange(n_subjects))
    summaries = summarize_groups(Sums(), blocks)
    np.testing.assert_array_equal(summaries[:, 0], [m.sum() for m in members])


def test_a_network_for_one_group_size_gets_groups_of_that_size_or_an_error():
    assert auto_group_sizes(20, (5,)) == (5,) * 4
    with pytest.raises(ValueError, match="leave out 1 subjects"):
        auto_group_sizes(11, (5,))


@pytest.mark.parametrize("size", [0, -5, 4, 2.5, True, "five"])
def test_a_group_size_must_be_a_whole_divisor(size):
    assert group_sizes(np.int64(5), 10, (1,)) == (5, 5)
    with pytest.raises(ValueError, match="^group_size must (divide the number|be an integer)"):
        group_sizes(size, 10, (1, 5))


@pytest.mark.parametrize("sizes", [(3, 3), (3, 2, 3, 2), (10, 0), (), (5, 4)])
def test_given_sizes_add_up_and_stand_by_their_equals(sizes):
    assert group_sizes((3, 3, 2, 2), 10, (1,)) == (3, 3, 2, 2)
    with pytest.raises(ValueError, match="^group_size: sizes of groups must be positive, add up"):
        group_sizes(sizes, 10, (1, 5))


def test_groups_are_summarized_as_if_one_by_one():
    workflow = el.load_pretrained("global")
    together = summarize_groups(workflow, split_subjects(TRIALS, (3, 2, 2)))
    alone = [
        summarize_groups(workflow, [TRIALS[None, i:j]])[0] for i, j in ((0, 3), (3, 5), (5, 7))
    ]
    np.testing.assert_allclose(together, alone, atol=1e-4)
