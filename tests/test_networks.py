import keras
import numpy as np
import pytest
from bayesflow.networks import StableConsistencyModel
from scipy import stats

from eamlab.composition import gaussian
from eamlab.model.eam import EAM
from eamlab.networks import (
    AnchoredConsistencyModel,
    AnchoredDiffusionModel,
    EvenNoiseSchedule,
    GroupSummary,
    PooledSummary,
    SubjectSummary,
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


@pytest.mark.parametrize("network", [GroupSummary(), SubjectSummary()])
def test_missing_trials_do_not_change_a_summary(network, trials):
    data = trials if isinstance(network, GroupSummary) else trials[:, 0]
    shape = (*data.shape[:-2], 7, 2)
    padded = np.concatenate([data, np.zeros(shape, "float32")], axis=-2)
    np.testing.assert_allclose(as_array(network(data)), as_array(network(padded)), atol=1e-5)


@pytest.mark.parametrize("kind", [GroupSummary, SubjectSummary, PooledSummary])
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


def consistency(**options):
    """A consistency model whose targets are the first three, means, beside the next, log sds."""
    population = [(0, 3), (1, 4), (2, 5)]
    moments = EAM.prior.means.tolist(), EAM.prior.sds.tolist()
    return AnchoredConsistencyModel(population, *moments, subnet_kwargs={"widths": (8,)}, **options)


def no_loss(seen):
    """A loss of BayesFlow's own that is zero, and remembers what it was given."""

    def compute_metrics(self, x, conditions=None, stage="training", **kwargs):
        seen.append((as_array(x), as_array(conditions)))
        return {"loss": keras.ops.zeros(())}

    return compute_metrics


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


def test_the_consistency_models_gaussian_has_its_negative_log_likelihood(monkeypatch):
    keras.utils.set_random_seed(3)
    network = consistency()
    network.build((4, 3), (4, 9))
    seen = []
    monkeypatch.setattr(StableConsistencyModel, "compute_metrics", no_loss(seen))
    rng = np.random.default_rng(5)
    conditions = rng.normal(size=(4, 9)).astype("float32")
    group = EAM.prior.unstandardize(conditions[:, :7])
    z = rng.normal(size=(4, 3))
    x = (group[:, :3] + np.exp(group[:, 3:6]) * z).astype("float32")
    tensors = [keras.ops.convert_to_tensor(a) for a in (x, conditions)]
    loss = float(network.compute_metrics(*tensors)["loss"])
    mean, factor = (as_array(a).astype(float) for a in network.anchor(conditions))
    precision = factor @ factor.swapaxes(1, 2)
    assert loss == pytest.approx(surprise(z, mean, precision), rel=1e-3)
    # what is left for the consistency model is standard normal where the Gaussian is right
    w = np.einsum("nij,ni->nj", factor, z - mean)
    np.testing.assert_allclose(seen[0][0], w, rtol=1e-3, atol=1e-3)


def test_consistency_draws_are_mapped_to_the_population_and_its_gaussian():
    keras.utils.set_random_seed(0)
    network = consistency()
    network.build((4, 3), (4, 9))
    z = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    conditions = np.zeros((2, 9), "float32")
    conditions[:, 3:6] = 1.0  # one prior sd more of log sigma
    w = as_array(super(AnchoredConsistencyModel, network)._inverse(z, conditions, seed=1))
    mean, factor = (as_array(a) for a in network.anchor(conditions))
    inner = mean + np.stack([np.linalg.solve(f.T, row) for f, row in zip(factor, w, strict=True)])
    expected = EAM.prior.means[:3] + np.exp((EAM.prior.means + EAM.prior.sds)[3:6]) * inner
    mapped = as_array(network._inverse(z, conditions, seed=1))
    np.testing.assert_allclose(mapped, expected, rtol=1e-4, atol=1e-4)


def test_the_gaussian_of_a_consistency_model_learns_a_known_posterior():
    """y = x + noise of sd 1/2 with x ~ N(0, 1): posterior mean 0.8 y, sd 0.447."""
    keras.utils.set_random_seed(1)
    network = consistency(anchor_widths=(16,))
    network.build((256, 3), (256, 10))
    optimizer = keras.optimizers.Adam(5e-3)
    rng = np.random.default_rng(2)
    import tensorflow as tf

    @tf.function
    def step(x, conditions):
        with tf.GradientTape() as tape:
            loss = network.compute_metrics(x, conditions)["loss"]
        variables = network.anchor_net.trainable_variables + network.anchor_out.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    mu, sigma = EAM.prior.means[:3], np.exp(EAM.prior.means[3:6])
    for _ in range(400):
        z = rng.normal(size=(256, 3))
        y = z + 0.5 * rng.normal(size=z.shape)
        conditions = np.concatenate([np.zeros((256, 7)), y], axis=1).astype("float32")
        step(tf.constant((mu + sigma * z).astype("float32")), tf.constant(conditions))
    test = np.zeros((5, 10), "float32")
    test[:, 7:] = np.linspace(-1, 1, 5)[:, None]
    mean, factor = (as_array(a) for a in network.anchor(test))
    np.testing.assert_allclose(mean, 0.8 * test[:, 7:], atol=0.1)
    sds = np.sqrt([np.diag(np.linalg.inv(f @ f.T)) for f in factor])
    np.testing.assert_allclose(sds, np.sqrt(0.2), rtol=0.12)
