import keras
import numpy as np
import pytest

from eamlab.networks import (
    GroupSummary,
    NonCenteredConsistencyModel,
    PooledSummary,
    SubjectSummary,
    trial_features,
)
from eamlab.simulate import simulate_studies


@pytest.fixture(scope="module")
def trials():
    return simulate_studies(3, 6, 20, seed=1, scheme="exact")["sim_data"]


def as_array(x):
    return keras.ops.convert_to_numpy(x)


def test_group_summary_ignores_the_order_of_subjects_and_trials(trials):
    rng = np.random.default_rng(0)
    network = GroupSummary()
    shuffled = rng.permutation(rng.permutation(trials, axis=1), axis=2)
    np.testing.assert_allclose(as_array(network(trials)), as_array(network(shuffled)), atol=1e-5)


def test_group_summary_sees_who_made_which_response_and_the_pooled_one_does_not(trials):
    # swap half of the trials between two subjects: the pooled set stays the same
    swapped = trials.copy()
    swapped[:, 0, :10], swapped[:, 1, :10] = trials[:, 1, :10], trials[:, 0, :10]
    pooled, aware = PooledSummary(), GroupSummary()
    np.testing.assert_allclose(as_array(pooled(trials)), as_array(pooled(swapped)), atol=1e-5)
    assert np.abs(as_array(aware(trials)) - as_array(aware(swapped))).max() > 1e-4


@pytest.mark.parametrize("network", [GroupSummary(summary_dim=7), PooledSummary(summary_dim=7)])
def test_group_summaries_take_any_number_of_subjects_and_trials(network, trials):
    for part in (trials, trials[:, :2], trials[:, :, :5]):
        summary = as_array(network(part))
        assert summary.shape == (3, 7) and np.all(np.isfinite(summary))


def test_group_size_is_told_apart_from_copies(trials):
    # the mean over subjects alone could not tell a group from the same group twice
    network = GroupSummary()
    twice = np.concatenate([trials, trials], axis=1)
    assert np.abs(as_array(network(trials)) - as_array(network(twice))).max() > 1e-4


def test_condition_dropout_zeroes_whole_summaries_in_training_only(trials):
    network = GroupSummary(condition_dropout=0.5)
    data = np.repeat(trials, 40, axis=0)
    assert np.all(np.any(as_array(network(data)) != 0, axis=1))
    dropped = np.all(as_array(network(data, training=True)) == 0, axis=1)
    assert 30 < dropped.sum() < 90  # binomial(120, 0.5): outside with probability below 1e-7


@pytest.mark.parametrize("kind", [GroupSummary, SubjectSummary, PooledSummary])
def test_networks_survive_their_configuration(kind):
    network = kind(summary_dim=5)
    copy = kind.from_config(network.get_config())
    assert copy.get_config() == network.get_config()


def test_trial_features_are_finite_for_extreme_times():
    features = as_array(trial_features(np.array([[[0, 0.0], [1, 1e-9], [1, 1e4]]], "float32")))
    assert features.shape == (1, 3, 5) and np.abs(features).max() < 12


def test_noncentered_model_samples_in_units_of_the_population():
    """Untrained draws, mapped back, must have exactly the mean and sd the conditions name."""
    keras.utils.set_random_seed(0)
    network = NonCenteredConsistencyModel(subnet_kwargs={"widths": (8,)})
    network.build((4, 3), (4, 9))
    z = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    conditions = np.zeros((2, 9), "float32")
    wide = conditions.copy()
    wide[:, 3:6] = 1.0  # one prior sd more of log sigma; the network itself must not see it
    plain = super(NonCenteredConsistencyModel, network)._inverse(z, conditions, seed=1)
    from eamlab.priors import GROUP_PRIOR

    mapped = network._inverse(z, conditions, seed=1)
    expected = GROUP_PRIOR.means[:3] + np.exp(GROUP_PRIOR.means[3:6]) * as_array(plain)
    np.testing.assert_allclose(as_array(mapped), expected, rtol=1e-4, atol=1e-4)
    mu, sigma = network._population(wide)
    np.testing.assert_allclose(
        as_array(sigma)[0], np.exp(GROUP_PRIOR.means + GROUP_PRIOR.sds)[3:6], rtol=1e-5
    )
    np.testing.assert_allclose(as_array(mu)[0], GROUP_PRIOR.means[:3], rtol=1e-5)
