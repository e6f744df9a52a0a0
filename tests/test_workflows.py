import json

import bayesflow as bf
import keras
import numpy as np
import pytest

import eamlab_book as book
from eamlab.model.eam import EAM
from eamlab.quality import calibration_and_recovery
from eamlab.workflows import (
    PRESETS,
    NetworkSettings,
    TrainingSettings,
    build_networks,
    file_hash,
    get_preset,
    global_workflow,
    load_pretrained,
    local_workflow,
    weights_folder,
)


@pytest.fixture(scope="module")
def study():
    return EAM.sample(4, 5, 30, seed=3)


def test_global_adapter_gives_prior_z_scores_and_inverts_them(study):
    adapter = global_workflow().adapter
    z = np.asarray(adapter(study)["inference_variables"])
    np.testing.assert_allclose(z, EAM.prior.standardize(EAM.prior.to_array(study)), atol=1e-5)
    back = adapter({"inference_variables": z}, inverse=True, strict=False)
    np.testing.assert_allclose(np.asarray(back["mu_nu"]), study["mu_nu"], atol=1e-5)


def test_local_adapter_takes_logs_and_conditions_on_all_group_parameters(study):
    data = {k: study[k][:, :1] for k in EAM.person_names} | {k: study[k] for k in EAM.prior.names}
    adapted = local_workflow().adapter(data | {"sim_data": study["sim_data"][:, 0]})
    expected = [study["nu"][:, 0], np.log(study["alpha"][:, 0]), np.log(study["t0"][:, 0])]
    np.testing.assert_allclose(
        np.asarray(adapted["inference_variables"]), np.stack(expected, 1), rtol=1e-5, atol=1e-5
    )
    assert adapted["inference_conditions"].shape == (4, 7)


def test_workflow_simulators_feed_their_adapters():
    for workflow, shape in ((global_workflow(), (3, 5, 30, 2)), (local_workflow(), (3, 30, 2))):
        assert workflow.simulate_adapted((3,))["summary_variables"].shape == shape


@pytest.mark.parametrize("name", ["global", "local"])
def test_shipped_weights_load_and_match_their_cards(name):
    workflow = load_pretrained(name)
    card = workflow.model_card
    assert card["sha256"] == file_hash(weights_folder() / f"{name}.weights.h5")
    assert card["parameters"] == workflow.estimator.count_params()
    assert len(card["loss"]) == card["epochs_done"] and card["training_seconds"] > 60


@pytest.mark.parametrize(
    ("name", "folder", "preset"),
    [
        ("global", None, "full"),
        ("local", None, "full"),
        ("global-pooled", book.WEIGHTS, "comparison"),
        ("local-pooled", book.WEIGHTS, "comparison"),
    ],
)
def test_shipped_weights_were_trained_as_their_preset_says(name, folder, preset):
    card = load_pretrained(name, folder=folder).model_card
    kind = card["kind"]
    assert card["preset"] == preset and card["epochs_done"] == card["training"]["epochs"]
    for part, settings in (("network", NetworkSettings), ("training", TrainingSettings)):
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in card[part].items()}
        values |= {"scheme": None} if values.get("scheme") == "exact" else {}  # the default
        assert settings(**values) == getattr(PRESETS[preset], f"{kind}_{part}")
    EAM.check_made_with(card["model"], name, "")
    assert card["group_parameters"] == list(EAM.prior.names)
    assert card["person_parameters"] == list(EAM.person_names)


def test_the_cards_coverage_is_that_of_90_percent_intervals():
    """Of evenly spread draws the ends are known: truths just inside and just outside."""
    draws = np.tile(np.linspace(-1.0, 1.0, 1001), (40, 1))[..., None]
    for edge, covered in ((0.899, 1.0), (-0.899, 1.0), (0.901, 0.0), (-0.901, 0.0)):
        truth = np.full((40, 1), edge) + 1e-6 * np.arange(40)[:, None]
        draws_of = draws + 1e-6 * np.arange(40)[:, None, None]
        quality = calibration_and_recovery({"a": draws_of}, {"a": truth}, ["a"])["a"]
        assert quality["coverage"] == covered
        assert quality["correlation"] == 1.0 and quality["log_gamma"] < 0.0


def test_shipped_global_posterior_recovers_fresh_groups():
    """Correlation of posterior mean and truth, against that on the model card."""
    workflow = load_pretrained("global")
    data = EAM.sample(150, 5, 30, seed=987_654)
    draws = workflow.sample(
        num_samples=40, conditions={"sim_data": data["sim_data"]}, method="euler", steps=30, seed=1
    )
    for name in EAM.prior.names:
        r = np.corrcoef(draws[name][..., 0].mean(1), data[name][:, 0])[0, 1]
        on_card = workflow.model_card["quality"]["5"][name]["correlation"]
        # Fisher z: standard error 1 / sqrt(n - 3) for each of the two correlations
        gap = np.arctanh(on_card) - np.arctanh(r)
        assert abs(gap) < 4 * np.sqrt(1 / 147 + 1 / 297) + 0.05, (name, r, on_card)


def test_shipped_local_weights_are_calibrated_given_the_true_group():
    """90 % intervals over 200 subjects: binomial sd 0.021, four of them allowed."""
    workflow = load_pretrained("local")
    data = EAM.sample(200, 1, 30, seed=123_456)
    conditions = {k: data[k] for k in EAM.prior.names} | {"sim_data": data["sim_data"][:, 0]}
    draws = workflow.sample(num_samples=150, conditions=conditions, seed=2)
    for name in EAM.person_names:
        low, high = np.quantile(draws[name][..., 0], [0.05, 0.95], axis=1)
        covered = np.mean((low <= data[name][:, 0]) & (data[name][:, 0] <= high))
        assert 0.81 < covered < 0.985, (name, covered)


def test_a_basic_workflow_becomes_compositional_without_retraining(study):
    source = global_workflow(network=NetworkSettings(summary_dim=36, widths=(8,)))
    basic = bf.BasicWorkflow(
        adapter=source.adapter,
        inference_network=source.inference_network,
        summary_network=source.summary_network,
        standardize=None,
    )
    basic.model = source.model
    build_networks(basic)
    composed = bf.CompositionalWorkflow.from_basic_workflow(basic)
    composed.model = source.model
    build_networks(composed)
    x = keras.ops.ones((2, 7))
    conditions = 0.1 * keras.ops.ones((2, 36))
    scores = [
        keras.ops.convert_to_numpy(w.inference_network.score(x, time=0.5, conditions=conditions))
        for w in (basic, composed)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-5)
    groups = study["sim_data"][None]
    draws = composed.compositional_sample(
        num_samples=3, conditions={"sim_data": groups}, method="euler", steps=3
    )
    assert draws["mu_nu"].shape == (1, 3, 1)


@pytest.mark.parametrize(
    ("name", "network", "options"),
    [
        ("global-pooled", bf.networks.DiffusionModel, {"method": "euler", "steps": 5}),
        ("local-pooled", bf.networks.StableConsistencyModel, {}),
    ],
)
def test_pooled_weights_fit_bayesflows_own_networks(name, network, options):
    shipped, people = load_pretrained(name, folder=book.WEIGHTS), 5 if options else 1
    data = EAM.sample(4, people, 30, seed=1)
    pooled = data | {"sim_data": data["sim_data"].reshape(4, people * 30, 2)}
    plain = bf.BasicWorkflow(
        adapter=shipped.adapter,
        summary_network=bf.networks.SetTransformer(summary_dim=16),
        inference_network=network(),
        standardize=shipped.estimator.standardizer.standardize,
    )
    plain.estimator.build_from_data(plain.adapter(pooled))
    plain.estimator.set_weights(shipped.estimator.get_weights())
    given = {k: data[k] for k in EAM.prior.names}
    one, other = (
        workflow.sample(
            num_samples=3, conditions=given | {"sim_data": d["sim_data"]}, seed=1, **options
        )
        for workflow, d in ((shipped, data if options else pooled), (plain, pooled))
    )
    for k in one:
        np.testing.assert_allclose(one[k], other[k], rtol=1e-4, atol=1e-5)


def test_presets_have_the_published_sizes():
    tutorial = PRESETS["tutorial"]
    training = tutorial.global_training
    assert (training.batches_per_epoch, training.batch_size, training.epochs) == (256, 64, 1000)
    assert tutorial.local_training.epochs == 50 and training.offline
    assert tutorial.global_network.summary == "pooled"
    assert tutorial.global_network.summary_dim == 16
    assert tutorial.local_network == tutorial.global_network == PRESETS["comparison"].local_network
    json.dumps({k: v.description for k, v in PRESETS.items()})


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="preset must be one of"):
        get_preset("qick")
    with pytest.raises(ValueError, match="summary must be one of"):
        global_workflow(summary="polled")
    with pytest.raises(ValueError, match="own_scale must be False for the pooled summary"):
        NetworkSettings(summary="pooled", own_scale=True)


def test_weights_are_small_enough_to_commit():
    sizes = [f.stat().st_size for f in weights_folder().iterdir()]
    assert max(sizes) < 10e6
