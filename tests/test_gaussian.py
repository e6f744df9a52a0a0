import keras
import numpy as np
import pytest

from eamlab.composition import gaussian
from eamlab.composition.gaussian import sample_gaussian_composition
from eamlab.networks import AnchoredDiffusionModel, EvenNoiseSchedule

DIM, GROUPS = 3, 6
WIDTH = 2 * DIM + DIM * (DIM - 1) // 2 + 2


@pytest.fixture(scope="module")
def conditions():
    return np.random.default_rng(5).normal(size=(1, GROUPS, WIDTH)).astype("float32")


def network(residual: float):
    """An anchored model; with `residual` zero all its posteriors are Gaussian."""
    keras.utils.set_random_seed(3)
    model = AnchoredDiffusionModel(
        noise_schedule=EvenNoiseSchedule(), subnet_kwargs={"widths": (8,)}
    )
    model.build((4, DIM), (4, WIDTH))
    for weight in model.output_projector.weights:
        weight.assign(residual * weight)
    return model


def product(model, conditions):
    """Mean and covariance of the product of the groups' Gaussians over prior^(G - 1)."""
    mean, precision = (np.asarray(a, float) for a in model.anchor(conditions[0], DIM))
    total = precision.sum(axis=0) - (GROUPS - 1) * np.eye(DIM)
    pull = np.einsum("gij,gj->i", precision, mean)
    return np.linalg.solve(total, pull), np.linalg.inv(total)


@pytest.mark.parametrize("steps", [2, 12])
def test_gaussians_are_composed_exactly_with_any_number_of_steps(conditions, steps):
    """20,000 draws: standard errors of 0.7 % of an sd (mean) and 0.5 % (sd); six are allowed."""
    model = network(residual=0.0)
    draws = sample_gaussian_composition(model, conditions, num_samples=20_000, steps=steps, seed=1)[
        0
    ]
    mean, covariance = product(model, conditions)
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((draws.mean(axis=0) - mean) / sd, 0.0, atol=0.045)
    np.testing.assert_allclose(draws.std(axis=0) / sd, 1.0, atol=0.035)
    correlation = covariance / np.outer(sd, sd)
    np.testing.assert_allclose(np.corrcoef(draws.T), correlation, atol=0.045)


def test_a_single_group_of_any_shape_is_sampled_as_by_bayesflow(conditions):
    """4,000 draws each: standard errors of 2.2 % of an sd (mean) and 1.6 % (sd); five allowed."""
    model, one = network(residual=1.0), conditions[:, :1]
    ours = sample_gaussian_composition(model, one, num_samples=4000, steps=60, seed=2)[0]
    noise = np.random.default_rng(3).normal(size=(4000, DIM)).astype("float32")
    rows = np.repeat(one[0], 4000, axis=0)
    theirs = model(noise, rows, inverse=True, method="euler_maruyama", steps=300, seed=4)
    theirs = np.asarray(theirs)
    mean, precision = (np.asarray(a)[0] for a in model.anchor(one[0], DIM))
    shift = (theirs.mean(axis=0) - mean) * np.sqrt(np.diag(precision))
    assert np.abs(shift).max() > 0.2  # it is not the anchor that is sampled
    np.testing.assert_allclose((ours.mean(0) - theirs.mean(0)) / theirs.std(0), 0.0, atol=0.11)
    np.testing.assert_allclose(ours.std(0) / theirs.std(0), 1.0, atol=0.08)


def test_blocks_of_groups_give_the_same_draws(conditions, monkeypatch):
    model = network(residual=1.0)
    options = {"num_samples": 16, "steps": 6, "seed": 4}
    whole = sample_gaussian_composition(model, conditions, **options)
    gaussian._sampler.cache_clear()
    monkeypatch.setattr(gaussian, "_ROWS", 16 * 4)  # four groups at a time: the last block has two
    blocks = sample_gaussian_composition(model, conditions, **options)
    gaussian._sampler.cache_clear()
    np.testing.assert_allclose(whole, blocks, atol=1e-4)


def test_draws_repeat_with_their_seed_and_studies_are_independent(conditions):
    model = network(residual=1.0)
    twice = np.concatenate([conditions, conditions])
    first = sample_gaussian_composition(model, twice, num_samples=8, steps=4, seed=7)
    again = sample_gaussian_composition(model, twice, num_samples=8, steps=4, seed=7)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
