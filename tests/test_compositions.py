"""Others' compositions, where the right answer is known."""

import numpy as np
import pytest
import tensorflow as tf

import eamlab as el
from eamlab_book import compositions

PRIOR = el.EAM.prior
DRAWS = 2000


@pytest.fixture(scope="module")
def plain():
    """A network all of whose group posteriors are the Gaussians of its anchors."""
    workflow = el.load_pretrained("global")
    for weight in workflow.inference_network.output_projector.weights:
        weight.assign(0.0 * weight)
    return workflow


@pytest.fixture(scope="module")
def study():
    return el.simulate(el.EAM, 80, 30, seed=31)


def product(workflow, study, size):
    """Mean and sd, in prior z-scores, of the product of the groups' Gaussians."""
    summaries = compositions._terms(workflow, study, size, 0).summaries
    mean, precision = (
        np.asarray(a, float) for a in workflow.inference_network.anchor(summaries, 7)
    )
    total = precision.sum(axis=0) - (len(mean) - 1) * np.eye(7)
    center = np.linalg.solve(total, np.einsum("gij,gj->i", precision, mean))
    return center, np.sqrt(np.diag(np.linalg.inv(total)))


@pytest.mark.parametrize(
    ("way", "options", "allowed"),
    [
        ("gauss", {"covariance": "anchor"}, 0.08),  # its steps narrow by some 4 %
        ("gauss", {"budget": 4000}, 0.14),  # from 300 draws the center is 0.3 sds off
        ("control_variate", {"mini_batch_size": 4}, 0.06),
        ("control_variate", {"mini_batch_size": 1}, 0.06),  # no residual, hence no noise
        ("langevin", {"tolerance": 0.05, "levels": 8}, 0.12),  # two such errors
        ("langevin", {"tolerance": 0.05, "levels": 8, "bridge": "gauss"}, 0.12),
    ],
)
def test_gaussian_groups_are_composed_to_their_product(
    plain, study, way, options, allowed, monkeypatch
):
    """2,000 draws: standard errors of 2.2 % of an sd (mean) and 1.6 % (sd); four are allowed."""
    # What the plain network adds to its anchors, without the passes of its layers.
    monkeypatch.setattr(compositions, "_pass", lambda network, x, *_: tf.zeros_like(x))
    draws = getattr(compositions, way)(
        plain, study, group_size=20, num_samples=DRAWS, seed=1, **options
    )
    mean, sd = product(plain, study, 20)
    z = PRIOR.standardize(draws.array)
    np.testing.assert_allclose((z.mean(axis=0) - mean) / sd, 0.0, atol=0.03 + allowed)
    np.testing.assert_allclose(z.std(axis=0) / sd, 1.0, atol=0.01 + allowed)


def test_a_plain_network_adds_nothing_to_its_anchors(plain, study):
    terms = compositions._terms(plain, study, 20, 0)
    x, index = np.ones((3, 7)), np.array([[0, 1], [2, 3], [3, 0]])
    residual = compositions._residuals(terms, x, np.float32(0.5), index)
    np.testing.assert_array_equal(residual, np.zeros((3, 2, 7)))


def test_a_control_variate_of_all_groups_is_the_gaussian_composition(workflow, study):
    """1,000 draws each: standard errors of 4.5 % of an sd (mean) and 3.2 % (sd); four allowed."""
    options = {"group_size": 20, "num_samples": 1000, "seed": 2}
    theirs = compositions.control_variate(workflow, study, mini_batch_size=4, steps=24, **options)
    ours = el.compose(workflow, study, steps=24, check=False, **options)
    for k in PRIOR.names:
        assert abs(theirs.mean[k] - ours.mean[k]) < 0.18 * ours.sd[k], k
        assert theirs.sd[k] / ours.sd[k] == pytest.approx(1.0, abs=0.13), k


def test_too_few_draws_for_a_covariance_are_made_positive_definite(workflow, study):
    draws = compositions.gauss(workflow, study, group_size=5, num_samples=5, budget=20, steps=5)
    assert np.all(np.isfinite(draws.array))


@pytest.fixture(scope="module")
def five():
    study = el.simulate(el.EAM, 5, 30, seed=5)
    return study, el.exact(study, el.EAM, 4000, seed=5, progress=False)


def shifted(exact, by, width, n=400):
    """Draws that are `by` exact sds off and `width` times as wide."""
    values = {
        k: exact.mean[k] + exact.sd[k] * by + width * (exact[k] - exact.mean[k]) for k in exact
    }
    return el.Draws({k: v[:n] for k, v in values.items()}, model=el.EAM)


def test_reweighting_mends_a_wrong_center_and_a_wrong_width(five):
    """Some 300 effective draws: standard errors of 6 % of an sd (mean) and 5 % (sd); four."""
    study, exact = five
    found = compositions.reweighted(shifted(exact, 0.5, 1.3), study, num_samples=50, seed=1)
    assert found.diagnostics["pareto_k"] < 0.7
    assert found.num_samples == 50
    for k in PRIOR.names:
        assert abs(found.mean[k] - exact.mean[k]) < 0.25 * exact.sd[k], k
        assert found.sd[k] / exact.sd[k] == pytest.approx(1.0, abs=0.2), k


def test_reweighting_says_where_it_cannot_help(five):
    study, exact = five
    found = compositions.reweighted(shifted(exact, 4.0, 0.3), study, seed=1)
    assert found.diagnostics["pareto_k"] > 0.7
    assert any("weights are uneven" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("way", "options", "words"),
    [
        ("gauss", {"covariance": "jacobian"}, "covariance must be"),
        ("gauss", {"budget": 3}, "budget must be"),
        ("control_variate", {"mini_batch_size": 0}, "mini_batch_size must be"),
        ("langevin", {"tolerance": 1.0}, "tolerance must be"),
        ("langevin", {"bridge": "none"}, "bridge must be"),
    ],
)
def test_bad_options_are_refused(workflow, study, way, options, words):
    with pytest.raises(ValueError, match=words):
        getattr(compositions, way)(workflow, study, group_size=20, **options)
