"""Train a workflow: ``python -m eamlab train {global,local} --preset quick --out runs/quick``.

Every epoch ends with an atomic checkpoint; the same command resumes a run that was killed. The
result is ``<name>.weights.h5`` and its model card ``<name>.json``, the pair ``load_pretrained``
reads.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eamlab.backend import bf, keras

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from eamlab import __version__
from eamlab.files import replaced
from eamlab.model.model import Model
from eamlab.quality import measure_quality
from eamlab.workflows import (
    MODELS,
    PRESETS,
    SUMMARIES,
    NetworkSettings,
    Preset,
    TrainingSettings,
    built_workflow,
    file_hash,
    get_preset,
    load_pretrained,
)

KINDS = ("global", "local")


class Studies(keras.utils.PyDataset):
    """Batches of freshly simulated groups (or single subjects), reproducible from one seed.

    Batch `i` of epoch `e` depends on (seed, e, i) only, so a resumed run sees the data that the
    uninterrupted one would have seen.

    Parameters
    ----------
    model : Model
        What is simulated.
    kind : {"global", "local"}
        Groups of subjects, or single subjects.
    settings : TrainingSettings
        Batch sizes, group sizes, simulator and seed.
    adapter : bayesflow.Adapter
        Applied to every batch.
    epoch : int, default 0
        Epoch to start with.
    """

    def __init__(
        self,
        model: Model,
        kind: str,
        settings: TrainingSettings,
        adapter: bf.Adapter,
        epoch: int = 0,
    ) -> None:
        # From two workers on Keras fetches batches itself; with one TensorFlow does, and lets an
        # epoch end only when its tuning thread wakes: after 5, 10, 20, 41 or 82 seconds.
        super().__init__(workers=2, use_multiprocessing=False)
        self.model, self.kind = model, kind
        self.settings, self.adapter, self.epoch = settings, adapter, epoch
        self._fixed: list[dict[str, np.ndarray]] = []
        if settings.offline:
            self._fixed = [self._batch(0, i) for i in tqdm(range(len(self)), "simulating")]

    def __len__(self) -> int:
        return self.settings.batches_per_epoch

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if not self.settings.offline:
            return self._batch(self.epoch, index)
        order = np.random.default_rng((self.settings.seed, self.epoch)).permutation(len(self))
        return self._fixed[order[index]]

    def on_epoch_end(self) -> None:
        """Move on to the next epoch's data."""
        self.epoch += 1

    def _batch(self, epoch: int, index: int) -> dict[str, np.ndarray]:
        sizes = self.settings.group_sizes
        size = sizes[index % len(sizes)]
        seed = np.random.SeedSequence((self.settings.seed, epoch, index))
        # The second batch is the first ragged one: Keras takes the shapes that vary from two.
        every = self.settings.ragged_every
        ragged = every is not None and index % every == 1
        data = simulate_groups(self.model, self.kind, size, self.settings, seed, ragged=ragged)
        return self.adapter(data)


def simulate_groups(
    model: Model,
    kind: str,
    size: int,
    settings: TrainingSettings,
    seed: np.random.SeedSequence,
    *,
    ragged: bool = False,
) -> dict[str, np.ndarray]:
    """Simulate one batch of groups of `size` subjects, or of single subjects (kind "local").

    With `ragged` the subjects have different numbers of trials; missing ones have a time of zero.
    """
    study_seed, rng = seed.spawn(2)[0], np.random.default_rng(seed.spawn(1)[0])
    n_trials = settings.n_trials
    if ragged:  # another number, evenly on the log scale
        n_trials = round(np.exp(rng.uniform(*np.log(settings.trial_range))))
        if n_trials == settings.n_trials:
            n_trials += 1
    n_groups = settings.batch_size_of(size, n_trials)
    options = settings.options | ({"share": "uneven"} if ragged and model.conditions else {})
    if settings.sharing > 1 and rng.random() < 0.5:
        n_populations = max(1, round(n_groups / settings.sharing))
        n_groups = n_populations * settings.sharing
        drawn = model.prior.sample(n_populations, rng)
        options["group"] = {k: np.repeat(v, settings.sharing, axis=0) for k, v in drawn.items()}
    data = model.sample(n_groups, size, n_trials, seed=study_seed, **options)
    if ragged:
        counts = rng.integers(
            settings.trial_range[0], n_trials + 1, size=data["sim_data"].shape[:2]
        )
        data["sim_data"][np.arange(n_trials) >= counts[..., None]] = 0.0
    if kind == "local":
        data["sim_data"] = data["sim_data"][:, 0]
    return data


class _Checkpoint(keras.callbacks.Callback):
    """Weights, optimizer and history after every epoch, replaced atomically; moves the bar."""

    def __init__(self, folder: Path, what: dict[str, Any], state: dict[str, Any], bar: Any) -> None:
        super().__init__()
        self.folder, self.what, self.state, self.bar = folder, what, state, bar
        self._started = (time.monotonic(), time.process_time())

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self.state["epoch"]:
            self.model.load_weights(str(self.folder / self.state["weights"]))
        self._started = (time.monotonic(), time.process_time())

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        old = self.state.get("weights")
        now = (time.monotonic(), time.process_time())
        self.state["seconds"] += now[0] - self._started[0]
        self.state["cpu_seconds"] += now[1] - self._started[1]
        self._started = now
        self.state["loss"].append(float((logs or {})["loss"]))
        self.state |= {"epoch": epoch + 1, "weights": f"epoch-{epoch + 1:05d}.weights.h5"}
        # The state names the weights it belongs to, and is written after them: a kill at any
        # moment leaves the previous pair whole.
        self.model.save_weights(str(self.folder / self.state["weights"]))
        write_json(self.folder / "state.json", self.state | {"settings": self.what})
        if old and old != self.state["weights"]:
            (self.folder / old).unlink(missing_ok=True)
        self.bar.set_postfix(loss=f"{self.state['loss'][-1]:.4f}")
        self.bar.update()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    with replaced(path) as scratch:
        scratch.write_text(json.dumps(content, indent=1), encoding="utf-8")


def train(
    model: Model,
    kind: str,
    *,
    out: str | Path,
    preset: str | Preset = "quick",
    network: NetworkSettings | None = None,
    settings: TrainingSettings | None = None,
    name: str | None = None,
    people: str = "local",
    n_quality: int = 300,
) -> bf.BasicWorkflow:
    """Train one workflow, or resume its training, and write weights and model card.

    Parameters
    ----------
    model : Model
        What the workflow is to infer, such as `eamlab.EAM`.
    kind : {"global", "local"}
        Which workflow.
    network : NetworkSettings, optional
        Sizes of its networks; those of `preset` by default.
    settings : TrainingSettings, optional
        Data, length and optimizer settings of the training; those of `preset` by default.
    out : path
        Folder of the checkpoints (under ``<name>-checkpoint``), the weights and the model card.
    name : str, optional
        Name of the result; `kind` by default.
    people : str, default "local"
        Name of the trained local workflow, in `out`, whose summary of a person a hierarchical
        global workflow is built on.
    preset : str or Preset, default "quick"
        Where settings that are not given come from: a name in `eamlab.PRESETS`. "own" suits any
        model, in two minutes: train "local" first, then "global" with the same `out`.
    n_quality : int, default 300
        Fresh data sets on which the card's calibration and recovery are measured.

    Returns
    -------
    bayesflow.CompositionalWorkflow or bayesflow.BasicWorkflow
        The trained workflow, with ``.model_card``.

    Raises
    ------
    ValueError
        If `kind` is unknown, if `out` holds a checkpoint of another model or other settings, or
        lacks the local workflow that a hierarchical global one needs.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")
    preset = get_preset(preset)
    network = network or (preset.global_network if kind == "global" else preset.local_network)
    settings = settings or (preset.global_training if kind == "global" else preset.local_training)
    name, out = name or kind, Path(out)
    folder = out / f"{name}-checkpoint"
    folder.mkdir(parents=True, exist_ok=True)
    what = {
        "kind": kind,
        "model": model.description(),
        "group_parameters": model.prior.names,
        "person_parameters": model.person_names,
        "network": asdict(network),
        "training": asdict(settings),
    }
    local = None
    if kind == "global" and network.summary == "hierarchical":
        local = load_pretrained(people, folder=out, model=model)
        what["people"] = local.model_card["sha256"]
    what = json.loads(json.dumps(what))
    state = _load_state(folder, what, model)
    workflow = _fit(model, kind, network, settings, folder, what, state, local)
    # A fresh copy: without the optimizer, and the memory of the compiled training is given back.
    trained = built_workflow(model, kind, network, settings)
    trained.estimator.set_weights(workflow.estimator.get_weights())
    del workflow
    gc.collect()  # its programs refer to each other
    weights = out / f"{name}.weights.h5"
    with replaced(weights) as scratch:
        trained.estimator.save_weights(str(scratch))
    trained.model_card = what | {
        "name": name,
        "preset": preset.name,
        "parameters": int(trained.estimator.count_params()),
        "made": datetime.now(UTC).date().isoformat(),
        "versions": {"eamlab": __version__, "tensorflow": tf.__version__}
        | {k: version(k) for k in ("bayesflow", "keras", "numpy")},
        "training_seconds": round(state["seconds"], 1),
        "training_cpu_seconds": round(state["cpu_seconds"], 1),
        "epochs_done": state["epoch"],
        "loss": [round(x, 5) for x in state["loss"]],
        "quality": measure_quality(trained, kind, n=n_quality, settings=settings),
        "sha256": file_hash(weights),
    }
    write_json(out / f"{name}.json", trained.model_card)
    return trained


def _fit(
    model: Model,
    kind: str,
    network: NetworkSettings,
    settings: TrainingSettings,
    folder: Path,
    what: dict[str, Any],
    state: dict[str, Any],
    local: bf.BasicWorkflow | None,
) -> bf.BasicWorkflow:
    keras.utils.set_random_seed(settings.seed + state["epoch"])
    workflow = built_workflow(model, kind, network, settings)
    if local is not None:
        workflow.estimator.summary_network.take_people(local.estimator.summary_network)
    dataset = Studies(model, kind, settings, workflow.adapter, epoch=state["epoch"])
    optimizer = _optimizer(workflow, settings)
    workflow.estimator.compile(optimizer=optimizer)
    optimizer.build(workflow.estimator.trainable_variables)
    if state["epoch"] < settings.epochs:
        seconds = estimate_seconds(workflow, dataset, settings.epochs - state["epoch"])
        if seconds > 60:
            tqdm.write(f"training will take about {seconds / 60:.0f} minutes", file=sys.stderr)
    done = state["epoch"]
    with tqdm(total=settings.epochs, initial=done, desc="training", unit="epoch") as bar:
        checkpoint = _Checkpoint(folder, what, state, bar)
        epochs = {"epochs": settings.epochs, "initial_epoch": done}
        workflow.estimator.fit(dataset=dataset, **epochs, verbose=0, callbacks=[checkpoint])
    if state["epoch"] >= settings.epochs:
        workflow.estimator.load_weights(str(folder / state["weights"]))
        if optimizer.use_ema:
            optimizer.finalize_variable_values(workflow.estimator.trainable_variables)
    return workflow


def _optimizer(workflow: bf.BasicWorkflow, settings: TrainingSettings) -> keras.Optimizer:
    """Build BayesFlow's optimizer, whose rate decays to zero, with averaging of the weights."""
    strategy = "offline" if settings.offline else "online"
    optimizer = workflow.build_optimizer(settings.epochs, settings.batches_per_epoch, strategy)
    if settings.averaging is None:
        return optimizer
    averaged = {"use_ema": True, "ema_momentum": settings.averaging}
    return type(optimizer).from_config(optimizer.get_config() | averaged)


def estimate_seconds(workflow: bf.BasicWorkflow, dataset: Studies, epochs: int) -> float:
    """Estimate how long `epochs` epochs will take, from a few steps that are taken back.

    They are taken with the optimizer that the estimator is compiled with: to compile a program for
    them alone would cost as much memory, and as long, as that of the training.
    """
    settings = dataset.settings
    few = replace(settings, batches_per_epoch=min(len(dataset), 4 * len(settings.group_sizes)))
    probe = Studies(dataset.model, dataset.kind, few, dataset.adapter)
    estimator = workflow.estimator
    changing = [*estimator.trainable_variables, *estimator.optimizer.variables]
    before = [keras.ops.convert_to_numpy(variable) for variable in changing]
    estimator.fit(dataset=probe, epochs=1, verbose=0)  # compiles
    start = time.perf_counter()
    estimator.fit(dataset=probe, epochs=1, verbose=0)
    seconds = time.perf_counter() - start
    for variable, value in zip(changing, before, strict=True):
        variable.assign(value)
    return seconds / len(probe) * len(dataset) * epochs


def _load_state(folder: Path, what: dict[str, Any], model: Model) -> dict[str, Any]:
    file = folder / "state.json"
    if not file.exists():
        return {"epoch": 0, "loss": [], "seconds": 0.0, "cpu_seconds": 0.0}
    state = json.loads(file.read_text(encoding="utf-8"))
    then = state.pop("settings")
    how = f"choose another --out, or delete {folder}"
    model.check_made_with(then.get("model"), f"the checkpoint in {folder}", how)
    if then != what:
        raise ValueError(
            f"out: {folder} holds a checkpoint of other settings; choose another --out, or delete "
            "that folder to start anew."
        )
    tqdm.write(f"resuming after epoch {state['epoch']}", file=sys.stderr)
    return state


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m eamlab train", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--model", choices=tuple(MODELS), default="EAM")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="quick")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    parser.add_argument("--name", help="name of the result (default: the kind)")
    parser.add_argument(
        "--people", default="local", help="local result, in --out, that a global one builds on"
    )
    parser.add_argument("--summary", choices=SUMMARIES)
    parser.add_argument("--epochs", type=int, help="instead of the preset's")
    parser.add_argument("--seed", type=int, help="instead of the preset's")
    parser.add_argument(
        "--quality", dest="n_quality", type=int, default=300, help="data sets that grade the result"
    )
    args = parser.parse_args(argv)
    preset = PRESETS[args.preset]
    network = preset.global_network if args.kind == "global" else preset.local_network
    settings = preset.global_training if args.kind == "global" else preset.local_training
    if args.summary:
        network = replace(network, summary=args.summary)
    changed = {k: v for k in ("epochs", "seed") if (v := getattr(args, k)) is not None}
    settings = replace(settings, **changed)
    options = {k: getattr(args, k) for k in ("out", "name", "people", "preset", "n_quality")}
    try:
        train(MODELS[args.model], args.kind, network=network, settings=settings, **options)
    except KeyboardInterrupt:
        how = "interrupted; the same command resumes after the last finished epoch"
        raise KeyboardInterrupt(how) from None
