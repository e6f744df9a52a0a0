"""Our networks are BayesFlow networks: what its own networks promise, ours keep or refuse."""

import subprocess
import sys

from eamlab.backend import bf

import keras
import numpy as np
import pytest

import eamlab as el
from eamlab.hierarchical import Hierarchy, PersonPosterior
from eamlab.networks import AnchoredDiffusionModel, CompiledDiffusionModel, GroupSummary

SUBNET = {"widths": (16, 16), "time_embedding_dim": 1, "persistent_conditioning": False}
PRIOR = el.EAM.prior


def diffusion():
    return AnchoredDiffusionModel(subnet_kwargs=SUBNET), 7, 40


def compiled():
    return CompiledDiffusionModel(subnet_kwargs={"widths": (16, 16)}), 7, 40


def consistency():
    hierarchy = Hierarchy.of(el.EAM)
    network = PersonPosterior(hierarchy, subnet_kwargs={"widths": (16, 16)}, steps=3)
    return network, 3, 7 + hierarchy.n_values + 5


INFERENCE = [diffusion, compiled, consistency]


@pytest.fixture(params=INFERENCE, ids=lambda make: make.__name__)
def built(request):
    """A network with weights that are not zero, and x (6, dim), conditions (6, n)."""
    network, dim, n = request.param()
    rng = np.random.default_rng(1)
    network.build((6, dim), (6, n))
    network.set_weights(
        [w + 0.1 * rng.standard_normal(w.shape).astype(w.dtype) for w in network.get_weights()]
    )
    data = (rng.standard_normal((6, k)).astype("float32") for k in (dim, n))
    return (network, *data)


def loss(network, x, conditions, **options):
    return float(network.compute_metrics(x, conditions=conditions, **options)["loss"])


def draws(network, conditions, seed=3):
    shape = (len(conditions),)
    seed = keras.random.SeedGenerator(seed)
    return keras.ops.convert_to_numpy(network.sample(shape, conditions=conditions, seed=seed))


def options_for(network):
    return {} if isinstance(network, PersonPosterior) else {"steps": 5}


def test_a_network_comes_back_from_its_configuration(built):
    network, x, conditions = built
    config = keras.saving.serialize_keras_object(network)
    twin = keras.saving.deserialize_keras_object(config)
    assert type(twin) is type(network)
    twin.build(x.shape, conditions.shape)
    twin.set_weights(network.get_weights())
    np.testing.assert_array_equal(draws(twin, conditions), draws(network, conditions))


def test_a_clone_is_still_of_its_kind(built):
    network, x, conditions = built
    twin = keras.models.clone_model(network)
    assert type(twin) is type(network)


def test_a_weight_of_zero_takes_a_group_out_of_the_loss(built):
    network, x, conditions = built
    weight = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], "float32")
    wild = x.copy()
    wild[3:] += 50.0

    def of(values):
        keras.utils.set_random_seed(4)
        network.seed_generator.state.assign(keras.random.SeedGenerator(5).state)
        return loss(network, values, conditions, sample_weight=weight)

    assert of(wild) == pytest.approx(of(x), rel=1e-4)
    assert loss(network, wild, conditions) > 2.0 * of(wild)


def test_all_weights_zero_are_no_loss(built):
    network, x, conditions = built
    assert abs(loss(network, x, conditions, sample_weight=np.zeros(6, "float32"))) < 1e-4


@pytest.mark.parametrize("name", ["fixed_target_mask", "observed_condition_mask"])
def test_masks_are_honoured_or_refused_in_one_sentence(built, name):
    network, x, conditions = built
    mask = np.ones_like(x if name == "fixed_target_mask" else conditions)
    mask[:, 0] = 0.0
    given = {name: mask}
    if name == "fixed_target_mask":
        given["fixed_target_value"] = np.full_like(x, 0.25)
    diffusion = isinstance(network, AnchoredDiffusionModel)
    if diffusion or isinstance(network, PersonPosterior):
        with pytest.raises(ValueError, match=f"{name} cannot be used: an anchored network"):
            network.compute_metrics(x, conditions=conditions, **given)
    else:
        assert np.isfinite(loss(network, x, conditions, **given))
    if name == "fixed_target_mask" and not isinstance(network, PersonPosterior):
        seed = keras.random.SeedGenerator(3)
        made = network.sample((6,), conditions=conditions, seed=seed, **given)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(made)[:, 0], 0.25, atol=1e-6)


@pytest.mark.parametrize("name", ["loss_type", "prediction_type"])
def test_what_an_anchored_network_fixes_is_refused(name):
    with pytest.raises(ValueError, match=rf"\['{name}'\] cannot be chosen"):
        AnchoredDiffusionModel(subnet_kwargs=SUBNET, **{name: "x"})


def test_a_summary_comes_back_from_its_configuration():
    trials = np.abs(np.random.default_rng(2).standard_normal((4, 3, 10, 2))).astype("float32")
    trials[..., 0] = trials[..., 0] > 0.5
    network = GroupSummary(summary_dim=5)
    made = network(trials)
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
    twin(trials)
    twin.set_weights(network.get_weights())
    np.testing.assert_allclose(twin(trials), made, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("imports", ["eamlab, bayesflow, keras", "bayesflow, eamlab, keras"])
def test_a_saved_estimator_is_loaded_after_plain_imports(tmp_path, imports):
    """Nothing of eamlab has been used before, so that none of its networks is loaded yet."""
    file = tmp_path / "estimator.keras"
    el.load_pretrained("laboratory-local").estimator.save(file)
    code = f"import {imports}; print(type(keras.saving.load_model({str(file)!r})).__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split()[-1] == "BasicEstimator"


@pytest.mark.slow
def test_estimators_are_saved_and_loaded_and_workflows_derived(tmp_path):
    workflow = el.load_pretrained("global")
    study = el.simulate(el.EAM, 5, seed=1)
    given = {"conditions": {"sim_data": study.trials[None]}, "num_samples": 20, "steps": 20}
    given |= {"method": "euler_maruyama"}

    def of(estimator):
        made = estimator.sample(**given, seed=keras.random.SeedGenerator(2))
        return np.concatenate([np.asarray(made[k]).ravel() for k in PRIOR.names])

    workflow.estimator.save(tmp_path / "estimator.keras")
    loaded = keras.saving.load_model(tmp_path / "estimator.keras")
    np.testing.assert_allclose(of(loaded), of(workflow.estimator), rtol=1e-4, atol=1e-5)
    assert isinstance(loaded.inference_network, CompiledDiffusionModel)
    derived = bf.CompositionalWorkflow.from_basic_workflow(workflow)
    assert isinstance(derived.inference_network, CompiledDiffusionModel)
