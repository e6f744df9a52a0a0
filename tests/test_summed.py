import importlib
import itertools

import bayesflow as bf
import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import eamlab as el
from eamlab.composition import summed
from eamlab.composition.groups import split_subjects, summarize_groups
from eamlab.composition.posterior import prior_score
from eamlab.composition.summed import LiveSampler
from eamlab.networks import AnchoredDiffusionModel

NAMES = el.EAM.prior.names
DRAWS = 60
SETTINGS = {"mini_batch_size": 4, "d0": 1.0, "d1": 1.0, "steps": 12, "seed": 3}


@pytest.fixture(scope="module")
def summaries(workflow):
    """Of 23 groups of 5 subjects."""
    trials = el.EAM.sample(1, 115, 30, seed=12)["sim_data"][0]
    return summarize_groups(workflow, split_subjects(trials, (5,) * 23))


@pytest.fixture(scope="module")
def sampler(workflow):
    return LiveSampler(workflow, DRAWS)


def to_z(draws):
    return el.EAM.prior.standardize(np.stack([np.ravel(draws[k]) for k in NAMES], axis=-1))


# --- the score ------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_the_score_of_every_group_is_the_networks_own(workflow, summaries, t):
    network, rng = workflow.inference_network, np.random.default_rng(1)
    sizes = (1, 30, 200)  # posteriors much wider and much narrower than those of five subjects
    trials = el.EAM.sample(1, sum(sizes), 30, seed=4)["sim_data"][0]
    more = summarize_groups(workflow, split_subjects(trials, sizes))
    groups = np.concatenate([summaries, more, np.zeros_like(more[:1])]).astype("float32")
    x = rng.normal(size=(10, 7)).astype("float32")
    index = np.tile(np.arange(len(groups)), (10, 1))

    log_snr = network.noise_schedule.log_snr(t=keras.ops.convert_to_tensor(t), training=False)
    alpha, sigma = network.noise_schedule.get_alpha_sigma(log_snr_t=log_snr)
    rows = summed._take(summed._prepare(network, groups), index)
    clean = summed._denoised(network, rows, keras.ops.convert_to_tensor(x), log_snr)
    fast = np.asarray((alpha * clean - x[:, None]) / sigma**2)

    own = network.score(
        np.repeat(x, len(groups), axis=0), time=t, conditions=np.tile(groups, (10, 1))
    )
    own = np.reshape(own, fast.shape)
    # The score is (alpha clean - x) / sigma^2: a rounding of 1e-6 in what stands above the line.
    rounding = 2e-6 * (1.0 + np.abs(x[:, None]).max()) / float(sigma) ** 2
    np.testing.assert_allclose(fast, own, rtol=2e-5, atol=rounding)


@pytest.mark.parametrize(("n_points", "bridge"), [(5, (1.0, 1.0)), (2 * DRAWS + 1, (0.3, 0.05))])
def test_the_field_is_the_networks_own_composed_score(
    workflow, sampler, summaries, monkeypatch, n_points, bridge
):
    network = workflow.inference_network
    monkeypatch.setattr(network, "compositional_bridge_d0", bridge[0])
    monkeypatch.setattr(network, "compositional_bridge_d1", bridge[1])
    points = np.random.default_rng(2).normal(size=(n_points, 7)).astype("float32")
    for t in (0.05, 0.4, 0.9):
        theirs = network.compositional_score(
            points,
            time=t,
            conditions=np.tile(summaries, (n_points, 1, 1)),
            seed=None,
            compute_prior_score=lambda x, time: -x,
        )
        ours = sampler.score_field(summaries, points, t, *bridge)
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5 * scale)


# --- the draws ------------------------------------------------------------------------------------


class Recorder:
    """Remembers what a function returned."""

    def __init__(self, function):
        self.function, self.values = function, []

    def __call__(self, *args):
        self.values.append(self.function(*args))
        return self.values[-1]


def recorded_draw(monkeypatch, sampler, summaries, **settings):
    noise, subsets = Recorder(summed._noise), Recorder(summed._subsets)
    monkeypatch.setattr(summed, "_noise", noise)
    monkeypatch.setattr(summed, "_subsets", subsets)
    draws = sampler.draw(summaries, **settings)
    start, *steps = noise.values
    return draws, [start, *itertools.chain(*steps)], [*itertools.chain(*subsets.values)]


@pytest.mark.parametrize(
    "settings",
    [
        {"d0": 0.2, "d1": 1.0},
        {"d0": 1.0, "d1": 0.01, "mini_batch_size": 12},  # more groups a step than one block has
        {"d0": 0.5, "d1": 0.1, "mini_batch_size": 23, "steps": 6},
        {"mini_batch_size": 1, "steps": 1},
    ],
    ids=str,
)
def test_bayesflow_draws_the_same_from_the_same_noise_and_mini_batches(
    workflow, sampler, summaries, monkeypatch, settings
):
    settings = SETTINGS | settings
    ours, noise, subsets = recorded_draw(monkeypatch, sampler, summaries, **settings)
    n_steps = settings["steps"]
    assert len(noise) == n_steps + 1 and len(subsets) == n_steps

    noise, subsets = map(keras.ops.convert_to_tensor, noise), iter(subsets)

    def ranks(shape, **kwargs):  # BayesFlow takes the groups of the lowest
        values = np.ones(shape, dtype="float32")
        np.put_along_axis(values, next(subsets), 0.0, axis=1)
        return keras.ops.convert_to_tensor(values)

    base = type(workflow.inference_network.base_distribution)
    monkeypatch.setattr(base, "sample", lambda *args, **kwargs: next(noise))
    integrate = importlib.import_module("bayesflow.utils.integrate")  # the package hides it
    monkeypatch.setattr(integrate, "generate_noise", lambda z, seed: {"xz": next(noise)})
    monkeypatch.setattr(keras.random, "uniform", ranks)
    tf.config.run_functions_eagerly(True)  # so that each step asks for its own noise
    try:
        theirs = workflow.compositional_sample(
            summaries=summaries[None],
            num_samples=DRAWS,
            method="euler_maruyama",
            steps=n_steps,
            mini_batch_size=settings["mini_batch_size"],
            compositional_bridge_d0=settings["d0"],
            compositional_bridge_d1=settings["d1"],
            compute_prior_score=prior_score(el.EAM.prior),
        )
    finally:
        tf.config.run_functions_eagerly(False)
    assert next(noise, None) is None  # all of it was asked for
    gap = np.abs(to_z(ours) - to_z(theirs)) / (1.0 + np.abs(to_z(theirs)))
    assert np.quantile(gap, 0.9) < 1e-4 and np.max(gap) < 5e-3, np.quantile(gap, [0.5, 0.9, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"mini_batch_size": 5, "d0": 1.0, "d1": 1.0},
        {"mini_batch_size": 5, "d0": 0.3, "d1": 1.0},
        {"mini_batch_size": 10, "d0": 1.0, "d1": 0.05},
        {"mini_batch_size": 23, "d0": 0.5, "d1": 0.5},
    ],
    ids=str,
)
def test_draws_follow_bayesflows_distribution_with_randomness_of_their_own(
    workflow, summaries, settings
):
    """Kolmogorov-Smirnov, 28 tests in all; together they fail one time in 1,000 by chance."""
    n = 1000
    ours = LiveSampler(workflow, n).draw(summaries, steps=50, seed=8, **settings)
    bridge = {f"compositional_bridge_{k}": settings[k] for k in ("d0", "d1")}
    theirs = workflow.compositional_sample(
        summaries=summaries[None],
        num_samples=n,
        method="euler_maruyama",
        steps=50,
        mini_batch_size=settings["mini_batch_size"],
        compute_prior_score=prior_score(el.EAM.prior),
        seed=keras.random.SeedGenerator(9),
        **bridge,
    )
    p = {k: stats.ks_2samp(ours[k], np.ravel(theirs[k])).pvalue for k in NAMES}
    assert min(p.values()) > 1e-3 / 28, p


def test_a_single_group_is_the_networks_own_posterior(workflow, summaries):
    """400 draws each: standard errors of the difference are 7 % of an sd; 4.5 are allowed."""
    one = summaries[:1]
    ours = LiveSampler(workflow, 400).draw(
        one, mini_batch_size=10, d0=1.0, d1=1.0, steps=50, seed=2
    )
    rows = np.repeat(one, 400, axis=0)
    noise = np.random.default_rng(3).normal(size=(400, 7)).astype("float32")
    network = workflow.inference_network
    theirs = np.asarray(network(noise, rows, inverse=True, method="euler_maruyama", steps=50))
    z, sd = to_z(ours), theirs.std(axis=0)
    np.testing.assert_allclose((z.mean(axis=0) - theirs.mean(axis=0)) / sd, 0.0, atol=0.32)
    np.testing.assert_allclose(np.log(z.std(axis=0) / sd), 0.0, atol=0.23)


def test_mini_batches_are_uniform_subsets_and_differ_between_draws():
    """Chi-squared over all 20 subsets of three of six, at an error rate of 0.001."""
    subsets = summed._subsets(np.random.default_rng(5), 6, 3, (200, 100))
    every = list(itertools.combinations(range(6), 3))
    found = np.sort(subsets, axis=-1).reshape(-1, 3)
    counts = [np.sum(np.all(found == s, axis=1)) for s in every]
    assert sum(counts) == 20_000  # three different groups each
    assert stats.chisquare(counts).pvalue > 1e-3
    has_first = np.any(subsets == 0, axis=-1)
    neighbors = np.histogram2d(has_first[:, ::2].ravel(), has_first[:, 1::2].ravel(), 2)[0]
    assert stats.chi2_contingency(neighbors).pvalue > 1e-3


def test_the_path_ends_in_the_draws_and_the_seed_decides(sampler, summaries):
    ours = sampler.draw(summaries, path=True, **SETTINGS)
    assert set(ours) == set(NAMES) and all(v.shape == (DRAWS,) for v in ours.values())
    assert ours.path.shape == (SETTINGS["steps"] + 1, DRAWS, 7)
    np.testing.assert_allclose(ours.path[-1], to_z(ours), atol=1e-6)
    np.testing.assert_allclose(ours.times, np.linspace(1, 0, SETTINGS["steps"] + 1), atol=1e-6)
    assert np.all(ours.path[1:] != ours.path[:-1])
    again = sampler.draw(summaries, **ours.settings)
    assert again.settings == ours.settings
    assert sampler.draw(summaries, **SETTINGS).path is None
    np.testing.assert_array_equal(to_z(again), to_z(ours))
    other = sampler.draw(summaries, **SETTINGS | {"seed": 4})
    assert not np.any(to_z(other) == to_z(ours))


def test_any_number_of_draws_and_of_blocks_per_step(workflow, summaries):
    """Steps whose groups fill several calls of the program agree with those that fill a part."""
    sampler = LiveSampler(workflow, 3)
    many = np.tile(summaries, (45, 1))  # 1,035 groups, 104 blocks
    settings = {"d0": 1 / 45, "d1": 1 / 45, "steps": 3, "seed": 1}  # 45 times the same data
    path = sampler.draw(many, mini_batch_size=2000, path=True, **settings).path
    assert path.shape == (4, 3, 7) and np.all(np.isfinite(path))
    t, d = 1.0, 1 / 45
    score = sampler.score_field(many, path[0], t, d, d)
    levels = summed._levels(sampler.network, summed._times(3), d, d)
    noise = summed._noise(np.random.default_rng(1), (4, 7))  # the start, of an even number of draws
    np.testing.assert_array_equal(path[0], noise[:3])
    rest = path[1] - path[0] * (1 + levels.drift[0]) - levels.push[0] * score
    # what is left of the first step is its noise
    rng = np.random.default_rng(1)
    summed._noise(rng, (4, 7))
    expected = summed._noise(rng, (1, 4, 7))[0, :3]
    np.testing.assert_allclose(rest / levels.spread[0], expected, atol=5e-3)


# --- speed and life -------------------------------------------------------------------------------


def test_no_slider_compiles_anything_again(sampler, summaries):
    def traces():
        return [p.experimental_get_tracing_count() for p in summed._programs(sampler.network)]

    points = np.zeros((3, 7))
    sampler.draw(summaries, **SETTINGS)
    sampler.score_field(summaries, points, 0.5, 1.0, 1.0)
    before = traces()
    assert min(before) >= 1
    moved = ({"d0": 0.3}, {"d1": 0.2}, {"mini_batch_size": 17}, {"steps": 210}, {"seed": None})
    for change in moved:
        sampler.draw(summaries, **SETTINGS | change)
    for n_groups in (1, 2, 9, 22):
        sampler.draw(summaries[:n_groups], **SETTINGS)
        sampler.score_field(summaries[:n_groups], points, 0.2, 0.5, 0.1)
    sampler.draw(np.tile(summaries, (80, 1)), **SETTINGS)  # 1,840 groups
    sampler.score_field(summaries, np.zeros((100, 7)), 0.7, 0.9, 0.1)
    assert traces() == before


def test_new_weights_are_used_at_once_and_broken_ones_told(summaries):
    workflow = el.load_pretrained("global")
    sampler = LiveSampler(workflow, 4)
    before = to_z(sampler.draw(summaries, **SETTINGS))
    assert sampler._groups(summaries) is sampler._groups(summaries.copy())
    weights = workflow.inference_network.subnet.c_proj.weights[0]
    weights.assign(0.5 * weights)
    after = to_z(sampler.draw(summaries, **SETTINGS))
    fresh = to_z(LiveSampler(workflow, 4).draw(summaries, **SETTINGS))
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, fresh)
    weights.assign(np.nan * weights)
    with pytest.raises(RuntimeError, match="not finite"):
        sampler.draw(summaries, **SETTINGS)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mini_batch_size": 0}, "mini_batch_size must be an integer of at least 1, got 0"),
        ({"mini_batch_size": 2.0}, "mini_batch_size must be an integer of at least 1"),
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"steps": "adaptive"}, "steps must be an integer of at least 1"),
        ({"steps": True}, "steps must be an integer of at least 1"),
        ({"d0": 0.0}, "d0 must be positive and finite, got 0"),
        ({"d1": -1.0}, "d1 must be positive"),
        ({"d1": np.nan}, "d1 must be positive"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"seed": "a"}, "seed must be an integer of at least 0"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(sampler, summaries, change, message):
    with pytest.raises(ValueError, match=message):
        sampler.draw(summaries, **SETTINGS | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s[None], "summaries must have shape"),
        (lambda s: s[:, :-1], "summaries must have shape"),
        (lambda s: s[:0], "summaries must have shape"),
        (lambda s: np.where(np.eye(*s.shape) == 1, np.nan, s), "summaries must be finite"),
    ],
    ids=["study axis", "width", "no groups", "nan"],
)
def test_bad_summaries_are_refused(sampler, summaries, change, message):
    with pytest.raises(ValueError, match=message):
        sampler.draw(change(summaries), **SETTINGS)
    with pytest.raises(ValueError, match=message):
        sampler.score_field(change(summaries), np.zeros((2, 7)), 0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.zeros((2, 6))}, "points must have shape"),
        ({"points": np.zeros(7)}, "points must have shape"),
        ({"points": np.full((2, 7), np.inf)}, "points must be finite"),
        ({"t": 1.1}, "t must be a diffusion time"),
        ({"t": np.nan}, "t must be a diffusion time"),
        ({"d0": 0.0}, "d0 must be positive"),
    ],
    ids=str,
)
def test_bad_fields_are_refused(sampler, summaries, change, message):
    settings = {"points": np.zeros((2, 7)), "t": 0.5, "d0": 1.0, "d1": 1.0} | change
    with pytest.raises(ValueError, match=message):
        sampler.score_field(summaries, **settings)


def test_other_networks_are_refused(workflow):
    for other in (el.global_workflow(summary="pooled"), el.local_workflow(), "global"):
        with pytest.raises(ValueError, match="AnchoredDiffusionModel"):
            LiveSampler(other)
    with pytest.raises(ValueError, match="num_samples must be an integer of at least 1, got 0"):
        LiveSampler(workflow, 0)
    with pytest.raises(ValueError, match="no weights yet"):
        LiveSampler(el.global_workflow())


@pytest.mark.parametrize("subnet", [{"persistent_conditioning": True}, {"merge": "add"}], ids=str)
def test_other_subnets_are_refused(subnet):
    workflow = el.global_workflow()
    other = AnchoredDiffusionModel(
        subnet_kwargs={"widths": (8,), "persistent_conditioning": False} | subnet
    )
    changed = bf.CompositionalWorkflow(
        adapter=workflow.adapter, inference_network=other, summary_network=workflow.summary_network
    )
    with pytest.raises(ValueError, match="persistent_conditioning=False"):
        LiveSampler(changed)
