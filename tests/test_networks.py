import keras
import numpy as np
import pytest
from scipy import stats

from eamlab.composition import gaussian
from eamlab.model.eam import EAM
from eamlab.networks import (
    AnchoredDiffusionModel,
    EvenNoiseSchedule,
    GroupSummary,
    PooledSummary,
    _Product,
    trial_features,
)


@pytest.fixture(scope="module")
def trials():
    return EAM.sample(3, 6, 20, seed=1)["sim_data"]


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


def test_missing_trials_do_not_change_a_summary(trials):
    network, missing = GroupSummary(), np.zeros((*trials.shape[:-2], 7, 2), "float32")
    padded = np.concatenate([trials, missing], axis=-2)
    np.testing.assert_allclose(as_array(network(trials)), as_array(network(padded)), atol=1e-5)


@pytest.mark.parametrize("kind", [GroupSummary, PooledSummary])
def test_networks_survive_their_configuration(kind):
    network = kind(summary_dim=5)
    copy = kind.from_config(network.get_config())
    assert copy.get_config() == network.get_config()


def test_trial_features_are_finite_for_extreme_times():
    features = as_array(trial_features(np.array([[[0, 0.0], [1, 1e-9], [1, 1e4]]], "float32")))
    assert features.shape == (1, 3, 7) and np.abs(features).max() < 12


def gaussian_network(dim=3, seed=0):
    """An anchored model whose subnet says nothing, and conditions of four groups."""
    keras.utils.set_random_seed(seed)
    network = AnchoredDiffusionModel(
        noise_schedule=EvenNoiseSchedule(), subnet_kwargs={"widths": (8,)}
    )
    n_conditions = 2 * dim + dim * (dim - 1) // 2 + 2
    network.build((4, dim), (4, n_conditions))
    for weight in network.output_projector.weights:
        weight.assign(0.0 * weight)
    conditions = np.random.default_rng(seed).normal(size=(4, n_conditions)).astype("float32")
    return network, conditions


def moments_of(network, conditions, dim=3):
    mean, precision = (as_array(a).astype(float) for a in network.anchor(conditions, dim))
    return mean, precision


@pytest.mark.parametrize("time", [0.02, 0.3, 0.9])
def test_anchored_score_is_that_of_its_gaussian_after_diffusion(time):
    network, conditions = gaussian_network()
    x = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")
    score = as_array(network.score(x, time=time, conditions=conditions))
    alpha, sigma = network.noise_schedule.get_alpha_sigma(
        network.noise_schedule.log_snr(time, training=False)
    )
    alpha, sigma = float(alpha), float(sigma)
    mean, precision = moments_of(network, conditions)
    for i in range(4):
        covariance = alpha**2 * np.linalg.inv(precision[i]) + sigma**2 * np.eye(3)
        expected = -np.linalg.solve(covariance, x[i] - alpha * mean[i])
        np.testing.assert_allclose(score[i], expected, rtol=2e-3, atol=2e-3)


def test_a_zero_condition_has_exactly_the_priors_score():
    network, conditions = gaussian_network()
    network.output_projector.kernel.assign(keras.ops.ones_like(network.output_projector.kernel))
    x = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")
    score = network.score(x, time=0.4, conditions=np.zeros_like(conditions))
    np.testing.assert_allclose(as_array(score), -x, rtol=1e-4, atol=1e-4)


def test_a_precision_is_never_below_the_priors():
    network, conditions = gaussian_network()
    _, precision = moments_of(network, 3 * conditions)
    assert np.linalg.eigvalsh(precision).min() >= 1.0 - 1e-5


def test_training_noise_levels_are_even_and_both_clocks_run_back():
    schedule = EvenNoiseSchedule(training_range=(-2.0, 6.0))
    t = np.linspace(0.05, 0.95, 7).astype("float32")
    levels = as_array(schedule.log_snr(t, training=True))
    np.testing.assert_allclose(np.diff(levels), np.diff(levels)[0], rtol=1e-4)
    assert levels.max() < 6.0 and levels.min() > -2.0
    for training in (True, False):
        level = schedule.log_snr(t, training=training)
        back = as_array(schedule.time_from_log_snr(level, training=training))
        np.testing.assert_allclose(back, t, atol=1e-4)
    assert EvenNoiseSchedule(**schedule.get_config()).get_config() == schedule.get_config()


def surprise(x, mean, precision):
    """Mean negative log density of normal distributions, less the constant of all of them."""
    cases = zip(x, mean, precision, strict=True)
    logs = [stats.multivariate_normal.logpdf(a, m, np.linalg.inv(p)) for a, m, p in cases]
    return -np.mean(logs) - 0.5 * x.shape[1] * np.log(2 * np.pi)


SHARED = [[0, 1, 2, 3], [0, 1, 0, 2]]
"""Which of four groups have the parameters of which population."""


def products(network, conditions, populations):
    """For each group mean and precision of the product of the groups of its population."""
    mean, precision = moments_of(network, conditions)
    of, eye = np.array(populations), np.eye(3)
    total = np.array([(precision[of == p] - eye).sum(axis=0) + eye for p in of])
    pull = np.array([np.einsum("nij,nj->i", precision[of == p], mean[of == p]) for p in of])
    return np.linalg.solve(total, pull[..., None])[..., 0], total


@pytest.mark.parametrize("populations", SHARED)
def test_the_anchors_are_graded_by_the_likelihood_of_their_product(populations):
    network, conditions = gaussian_network()
    network.anchor_weight = 1e6  # beside which the loss of the noise is nothing
    x = np.random.default_rng(4).normal(size=(4, 3)).astype("float32")[populations]
    tensors = [keras.ops.convert_to_tensor(a) for a in (x, conditions)]
    loss = float(network.compute_metrics(*tensors)["loss"])
    want = surprise(x, *products(network, conditions, populations))
    assert loss / 1e6 == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize("populations", SHARED)
def test_the_noise_loss_is_that_of_the_product_at_all_levels(populations):
    network, conditions = gaussian_network()
    network.noise_levels, network.anchor_weight = 5000, 0.0
    x = np.random.default_rng(4).normal(size=(4, 3)).astype("float32")[populations]
    tensors = [keras.ops.convert_to_tensor(a) for a in (x, conditions)]
    loss = float(network.compute_metrics(*tensors)["loss"])
    # The denoised mean is off by (T + s I)^-1 [T (m - x) + sqrt(s) noise].
    want, eye = 0.0, np.eye(3)
    levels = np.linspace(*network.noise_schedule.training_range, 400)
    for mean, total, true in zip(*products(network, conditions, populations), x, strict=True):
        for snr in np.exp(levels):
            inverse = np.linalg.inv(total + snr * eye)
            off = inverse @ total @ (mean - true)
            want += snr * (off @ off + snr * np.trace(inverse @ inverse)) / 3 / 400 / 4
    # The Monte Carlo error of 20,000 noises is below one percent.
    assert loss == pytest.approx(want, rel=0.04)
    assert AnchoredDiffusionModel(subnet_kwargs={"widths": (8,)}).noise_levels == 8


def test_groups_that_share_their_parameters_are_denoised_as_in_a_composition():
    """With a subnet that has something to say, which the closed forms above leave out."""
    network, conditions = gaussian_network()
    rng = np.random.default_rng(6)
    kernel = network.output_projector.kernel
    kernel.assign(rng.normal(size=kernel.shape))
    network.noise_levels, level = 1, np.float32(1.3)
    x, noise = (np.repeat(rng.normal(size=(1, 3)), 4, axis=0).astype("float32") for _ in range(2))
    product = _Product.of(x, *network.anchor(conditions, 3))
    levels = np.full((1, 4), level)
    got = as_array(network._denoised(product, x, levels, noise[None], conditions, False))[0]
    alpha, sigma = (as_array(a) for a in gaussian._alpha_sigma(level))
    groups = gaussian._groups(network, keras.ops.convert_to_tensor(conditions))
    noisy = keras.ops.convert_to_tensor(alpha * x[:1] + sigma * noise[:1])
    pull, precision = gaussian._posterior_of_clean(network, groups, noisy, level)
    want = np.linalg.solve(as_array(precision), as_array(pull)[0])
    np.testing.assert_allclose(got, np.tile(want, (4, 1)), rtol=1e-3, atol=1e-3)


def test_groups_that_share_their_parameters_are_seen_with_the_same_noise():
    network, _ = gaussian_network()
    first = keras.ops.convert_to_tensor(np.array([0, 1, 0, 3], "int32"))
    for values in map(as_array, network._noise(first, (4, 3))):
        np.testing.assert_array_equal(values[:, 0], values[:, 2])
        assert not np.isin(values[:, 1], values[:, [0, 3]]).any()
