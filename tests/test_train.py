import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from eamlab.train import TRIAL_RANGE, Studies, main, train
from eamlab.workflows import NetworkSettings, TrainingSettings, global_adapter, load_pretrained

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
    train("global", network=TINY_NETWORK, settings=TINY, out=out, n_quality=12)
    return out


def test_batches_are_reproducible_and_fresh():
    first, again = (Studies("global", TINY, global_adapter()) for _ in range(2))
    np.testing.assert_array_equal(first[1]["summary_variables"], again[1]["summary_variables"])
    before = first[1]["summary_variables"]
    first.on_epoch_end()
    assert not np.array_equal(before, first[1]["summary_variables"])
    resumed = Studies("global", TINY, global_adapter(), epoch=1)
    np.testing.assert_array_equal(first[1]["summary_variables"], resumed[1]["summary_variables"])


def test_group_sizes_take_turns():
    shapes = [
        Studies("global", TINY, global_adapter())[i]["summary_variables"].shape for i in (0, 1)
    ]
    assert [s[1] for s in shapes] == [2, 4]


def test_every_second_batch_has_other_and_ragged_numbers_of_trials():
    data = Studies("global", TINY, global_adapter())
    usual, ragged, third = (data[i]["summary_variables"][..., 1] for i in range(3))
    assert usual.shape[2] == third.shape[2] == 5 and np.all(usual > 0)
    counts = np.sum(ragged > 0, axis=-1)
    assert counts.min() >= TRIAL_RANGE[0] and counts.max() <= TRIAL_RANGE[1]
    assert ragged.shape[2] != 5 and counts.min() < counts.max()
    # what is there stands first, so that a padded list of subjects looks the same
    assert np.all((ragged > 0) == (np.arange(ragged.shape[2]) < counts[..., None]))


def test_batches_of_many_trials_hold_fewer_groups_but_at_least_sixteen():
    settings = TrainingSettings(epochs=1, batch_size=192, trials_per_batch=96_000)
    assert settings.batch_size_of(5, 30) == 192
    assert settings.batch_size_of(100, 30) == 32
    assert settings.batch_size_of(200, 200) == 16
    assert TrainingSettings(epochs=1).batch_size_of(200, 200) == 64


@pytest.mark.slow
def test_averaging_ends_with_the_mean_over_past_steps(tmp_path, trained):
    from dataclasses import replace

    plain = train(
        "global", network=TINY_NETWORK, settings=replace(TINY, averaging=None), out=tmp_path,
        n_quality=12,
    )  # fmt: skip
    averaged = load_pretrained("global", folder=trained)
    gaps = [
        np.abs(a - b).max()
        for a, b in zip(
            plain.estimator.get_weights(), averaged.estimator.get_weights(), strict=False
        )
        if a.dtype.kind == "f"
    ]
    # six steps of at most about the learning rate each
    assert 0.0 < max(gaps) < 12 * TINY.learning_rate


def test_offline_training_sees_one_fixed_set_in_changing_order():
    from dataclasses import replace

    settings = replace(TINY, offline=True, group_sizes=(2,), batches_per_epoch=6, ragged_every=None)
    data = Studies("global", settings, global_adapter())

    def epoch():
        return [np.asarray(data[i]["inference_variables"]).tobytes() for i in range(len(data))]

    first = epoch()
    data.on_epoch_end()
    second = epoch()
    assert sorted(first) == sorted(second) and first != second


def test_model_card_describes_the_weights_and_reloads(trained):
    card = json.loads((trained / "global.json").read_text())
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
    resumed = train("global", network=TINY_NETWORK, settings=TINY, out=trained, n_quality=12)
    for a, b in zip(reloaded, resumed.estimator.get_weights()[: len(reloaded)], strict=False):
        if a.dtype.kind == "f":
            np.testing.assert_array_equal(a, b)


def test_a_checkpoint_of_other_settings_is_refused(trained):
    from dataclasses import replace

    with pytest.raises(ValueError, match="other settings"):
        train("global", network=TINY_NETWORK, settings=replace(TINY, seed=1), out=trained)


def test_foreign_and_damaged_weights_are_refused(trained, tmp_path):
    for file in trained.glob("global.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    card = json.loads((tmp_path / "global.json").read_text())
    card["versions"]["bayesflow"] = "2.0.11"
    (tmp_path / "global.json").write_text(json.dumps(card))
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
        train("lokal", network=TINY_NETWORK, settings=TINY, out=tmp_path)
    with pytest.raises(SystemExit):
        main(["lokal", "--out", str(tmp_path)])


@pytest.mark.slow
def test_a_killed_run_resumes_and_loses_at_most_one_epoch(tmp_path):
    code = (
        "from eamlab.train import train;"
        "from eamlab.workflows import NetworkSettings, TrainingSettings;"
        f"train('global', network=NetworkSettings(summary_dim=36, widths=(8,)), out='{tmp_path}',"
        "settings=TrainingSettings(epochs=40, batches_per_epoch=60, batch_size=8, n_trials=5,"
        "group_sizes=(2,)), n_quality=8)"
    )
    state = tmp_path / "global-checkpoint" / "state.json"
    run = subprocess.Popen([sys.executable, "-c", code], env=os.environ, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while not (state.exists() and json.loads(state.read_text())["epoch"] >= 3):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = json.loads(state.read_text())
    assert (tmp_path / "global-checkpoint" / done["weights"]).exists()
    second = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True)
    assert second.returncode == 0, second.stderr.decode()
    assert f"resuming after epoch {done['epoch']}" in second.stderr.decode()
    card = json.loads((tmp_path / "global.json").read_text())
    assert card["epochs_done"] == 40 and len(card["loss"]) == 40
    assert card["loss"][: done["epoch"]] == [round(x, 5) for x in done["loss"]]
