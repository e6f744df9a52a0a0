import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from test_model import with_prior

from eamlab.composition.posterior import compose
from eamlab.model.eam import EAM
from eamlab.study import simulate
from eamlab.training import Studies, _optimizer, estimate_seconds, main, train
from eamlab.workflows import (
    NetworkSettings,
    TrainingSettings,
    built_workflow,
    global_adapter,
    load_pretrained,
)

TINY_NETWORK = NetworkSettings(summary_dim=36, widths=(8,))
TINY = TrainingSettings(
    epochs=2,
    batches_per_epoch=3,
    batch_size=8,
    n_trials=5,
    group_sizes=(2, 4),
    ragged_every=2,
    averaging=0.5,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    train(EAM, "global", network=TINY_NETWORK, settings=TINY, out=out, n_quality=12)
    return out


def test_batches_are_reproducible_and_fresh():
    first, again = (Studies(EAM, "global", TINY, global_adapter(EAM)) for _ in range(2))
    np.testing.assert_array_equal(first[1]["summary_variables"], again[1]["summary_variables"])
    before = first[1]["summary_variables"]
    first.on_epoch_end()
    assert not np.array_equal(before, first[1]["summary_variables"])
    resumed = Studies(EAM, "global", TINY, global_adapter(EAM), epoch=1)
    np.testing.assert_array_equal(first[1]["summary_variables"], resumed[1]["summary_variables"])


def test_group_sizes_take_turns():
    shapes = [
        Studies(EAM, "global", TINY, global_adapter(EAM))[i]["summary_variables"].shape
        for i in (0, 1)
    ]
    assert [s[1] for s in shapes] == [2, 4]


def test_every_second_batch_has_other_and_ragged_numbers_of_trials():
    data = Studies(EAM, "global", TINY, global_adapter(EAM))
    usual, ragged, third = (data[i]["summary_variables"][..., 1] for i in range(3))
    assert usual.shape[2] == third.shape[2] == 5 and np.all(usual > 0)
    counts = np.sum(ragged > 0, axis=-1)
    assert counts.min() >= TINY.trial_range[0] and counts.max() <= TINY.trial_range[1]
    assert ragged.shape[2] != 5 and counts.min() < counts.max()
    # what is there stands first, so that a padded list of subjects looks the same
    assert np.all((ragged > 0) == (np.arange(ragged.shape[2]) < counts[..., None]))


def test_batches_of_many_trials_hold_fewer_groups_but_at_least_sixteen():
    settings = TrainingSettings(epochs=1, batch_size=192, trials_per_batch=96_000)
    assert settings.batch_size_of(5, 30) == 192
    assert settings.batch_size_of(100, 30) == 32
    assert settings.batch_size_of(200, 200) == 16
    assert TrainingSettings(epochs=1).batch_size_of(200, 200) == 64


def test_averaging_ends_with_the_mean_over_past_steps(trained):
    """What is shipped is not the last step's weights, which the checkpoint holds, but near them."""
    last = built_workflow(EAM, "global", TINY_NETWORK, TINY).estimator
    last.load_weights(str(trained / "global-checkpoint" / "epoch-00002.weights.h5"))
    averaged = load_pretrained("global", folder=trained).estimator
    pairs = zip(last.get_weights(), averaged.get_weights(), strict=True)
    gaps = [np.abs(a - b).max() for a, b in pairs if a.dtype.kind == "f"]
    assert 0.0 < max(gaps) < 12 * TINY.learning_rate  # six steps of about the learning rate each


@pytest.mark.parametrize("averaging", [None, 0.7])
def test_the_recipe_reaches_the_optimizer(averaging):
    settings = replace(TINY, averaging=averaging, learning_rate=3e-3)
    optimizer = _optimizer(built_workflow(EAM, "global", TINY_NETWORK, settings), settings)
    assert optimizer.use_ema is (averaging is not None)
    assert averaging is None or optimizer.ema_momentum == averaging
    rates = [float(optimizer._learning_rate(step)) for step in range(7)]
    assert max(rates) == pytest.approx(3e-3, rel=0.2) and rates[-1] < 1e-6


def test_the_steps_that_time_a_training_are_taken_back():
    workflow = built_workflow(EAM, "global", TINY_NETWORK, TINY)
    estimator, optimizer = workflow.estimator, _optimizer(workflow, TINY)
    estimator.compile(optimizer=optimizer)
    optimizer.build(estimator.trainable_variables)
    before = estimator.get_weights()
    assert estimate_seconds(workflow, Studies(EAM, "global", TINY, workflow.adapter), 2) > 0.0
    for now, then, variable in zip(estimator.get_weights(), before, estimator.weights, strict=True):
        if variable.trainable:
            np.testing.assert_array_equal(now, then)
    assert int(optimizer.iterations) == 0


def test_batches_follow_the_scheme_of_the_settings(monkeypatch):
    seen = []

    def sample(self, *counts, **options):
        seen.append(options.get("scheme"))
        return original(self, *counts, **options)

    original = type(EAM).sample
    monkeypatch.setattr(type(EAM), "sample", sample)
    for scheme in (None, "euler-maruyama"):
        Studies(EAM, "global", replace(TINY, scheme=scheme), global_adapter(EAM))[0]
    assert seen == [None, "euler-maruyama"]


def test_offline_training_sees_one_fixed_set_in_changing_order():
    settings = replace(TINY, offline=True, group_sizes=(2,), batches_per_epoch=6, ragged_every=None)
    data = Studies(EAM, "global", settings, global_adapter(EAM))

    def epoch():
        return [np.asarray(data[i]["inference_variables"]).tobytes() for i in range(len(data))]

    first = epoch()
    data.on_epoch_end()
    second = epoch()
    assert sorted(first) == sorted(second) and first != second


def test_model_card_describes_the_weights_and_reloads(trained):
    card = json.loads((trained / "global.json").read_text(encoding="utf-8"))
    assert card["epochs_done"] == 2 and len(card["loss"]) == 2
    assert {"bayesflow", "keras", "tensorflow", "eamlab"} <= set(card["versions"])
    assert set(card["quality"]["2"]) == {
        "mu_nu", "mu_log_alpha", "mu_log_t0", "log_sigma_nu", "log_sigma_log_alpha",
        "log_sigma_log_t0", "beta_raw",
    }  # fmt: skip
    workflow = load_pretrained("global", folder=trained)
    assert workflow.model_card == card


def test_training_changed_the_weights_and_reloading_keeps_them(trained):
    reloaded = load_pretrained("global", folder=trained).estimator.get_weights()
    resumed = train(EAM, "global", network=TINY_NETWORK, settings=TINY, out=trained, n_quality=12)
    for a, b in zip(reloaded, resumed.estimator.get_weights()[: len(reloaded)], strict=False):
        if a.dtype.kind == "f":
            np.testing.assert_array_equal(a, b)


def test_a_checkpoint_of_other_settings_is_refused(trained):
    with pytest.raises(ValueError, match="other settings"):
        train(EAM, "global", network=TINY_NETWORK, settings=replace(TINY, seed=1), out=trained)


def test_a_checkpoint_of_another_model_is_refused(trained):
    message = (
        r"^the checkpoint in .*global-checkpoint was made with another .*mu_nu was \[0.5, 0.3\]"
    )
    with pytest.raises(ValueError, match=message + r", is \[0.6, 0.3\].*choose another --out"):
        train(
            with_prior(mu_nu=(0.6, 0.3)), "global", network=TINY_NETWORK, settings=TINY, out=trained
        )


@pytest.mark.slow
def test_a_readers_model_is_trained_loaded_and_composed(tmp_path):
    """A wider prior, and lines in another order."""
    model = with_prior(mu_nu=(0.0, 2.0)).ordered(EAM.prior.names[::-1], EAM.person_names[::-1])
    settings = replace(TINY, epochs=1, averaging=None)
    train(model, "global", network=TINY_NETWORK, settings=settings, out=tmp_path, n_quality=12)
    with pytest.raises(ValueError, match=r"mu_nu was \[0.0, 2.0\], is \[0.5, 0.3\]"):
        load_pretrained("global", folder=tmp_path)
    workflow = load_pretrained("global", folder=tmp_path, model=with_prior(mu_nu=(0.0, 2.0)))
    assert workflow.model.prior.names == model.prior.names
    draws = compose(workflow, simulate(model, 4, 5, seed=1), num_samples=50, seed=1, check=False)
    assert tuple(draws) == model.prior.names and np.isfinite(draws.array).all()


def test_foreign_and_damaged_weights_are_refused(trained, tmp_path):
    for file in trained.glob("global.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    card = json.loads((tmp_path / "global.json").read_text(encoding="utf-8"))
    card["versions"]["bayesflow"] = "2.0.11"
    (tmp_path / "global.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ValueError, match=r"BayesFlow 2\.0\.11.*install bayesflow~=2\.0\.0"):
        load_pretrained("global", folder=tmp_path)
    (tmp_path / "global.json").write_bytes((trained / "global.json").read_bytes())
    (tmp_path / "global.weights.h5").write_bytes(b"broken")
    with pytest.raises(ValueError, match="SHA-256"):
        load_pretrained("global", folder=tmp_path)
    with pytest.raises(ValueError, match="no locl.json"):
        load_pretrained("locl", folder=tmp_path)


def test_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="kind"):
        train(EAM, "lokal", network=TINY_NETWORK, settings=TINY, out=tmp_path)
    with pytest.raises(SystemExit):
        main(["lokal", "--out", str(tmp_path)])


@pytest.mark.slow
def test_a_killed_run_resumes_and_loses_at_most_one_epoch(tmp_path):
    code = (
        "from eamlab.model.eam import EAM;from eamlab.training import train;"
        "from eamlab.workflows import NetworkSettings, TrainingSettings;"
        f"train(EAM, 'global', out='{tmp_path}',"
        "network=NetworkSettings(summary_dim=36, widths=(8,)),"
        "settings=TrainingSettings(epochs=40, batches_per_epoch=60, batch_size=8, n_trials=5,"
        "group_sizes=(2,)), n_quality=8)"
    )
    state = tmp_path / "global-checkpoint" / "state.json"
    run = subprocess.Popen([sys.executable, "-c", code], env=os.environ, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while not (state.exists() and json.loads(state.read_text(encoding="utf-8"))["epoch"] >= 3):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = json.loads(state.read_text(encoding="utf-8"))
    assert (tmp_path / "global-checkpoint" / done["weights"]).exists()
    second = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True)
    assert second.returncode == 0, second.stderr.decode()
    assert f"resuming after epoch {done['epoch']}" in second.stderr.decode()
    card = json.loads((tmp_path / "global.json").read_text(encoding="utf-8"))
    assert card["epochs_done"] == 40 and len(card["loss"]) == 40
    assert card["loss"][: done["epoch"]] == [round(x, 5) for x in done["loss"]]
