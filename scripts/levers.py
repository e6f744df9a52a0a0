"""What each lever of the training recipe buys: `src/eamlab/data/levers.json`, for chapter 6.

    python scripts/levers.py [--epochs 3] [--only NAME ...] [--out FOLDER]

Trains the recipe of the shipped weights for a fraction of its length, once with all levers and once
without each, and grades all of them against exact posteriors on the validation studies (never on
the graded ones). The shipped network is graded on the same studies. The defaults take about half an
hour on two cores; `--epochs 2 --sizes 100 --only ...` shows the same order in minutes. Trainings
and exact posteriors that are there already are used again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from grade_pretrained import DATA, NUM_SAMPLES, validate
from tqdm import tqdm

import eamlab as el
from eamlab.train import train, write_json
from eamlab.workflows import NetworkSettings, TrainingSettings, get_preset

SEED = 3
EPOCHS = 3
SIZES = (100, 1000, 10_000)
STUDIES = {10: 10, 100: 10, 1000: 6, 10_000: 2}
"""The first of the validation studies: 10,000 subjects in groups of five take minutes a study."""
_FULL = get_preset("full")


@dataclass(frozen=True)
class Lever:
    """One training, and the ways in which it is composed."""

    what: str
    network: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    compose: dict[str, Any] = field(default_factory=dict)
    times: float = 1.0  # length of the training, in units of --epochs


LEVERS = {
    "all levers": Lever("the recipe of the shipped weights, shorter"),
    "groups of 5 only": Lever(
        "trained on groups of 5, composed from groups of 5", training={"group_sizes": (5,)}
    ),
    "no anchor": Lever(
        "BayesFlow's own diffusion model and noise levels, summed scores",
        network={"score": "plain"},
        compose={"method": "euler_maruyama", "steps": 300},
    ),
    "no averaging": Lever("without the moving average of weights", training={"averaging": None}),
    "a third of the training": Lever("a third as long", times=1 / 3),
    "three times the training": Lever("three times as long", times=3.0),
}
"""Trainings by name; all but the first lack, or change, one lever."""


def settings_of(lever: Lever, epochs: int) -> tuple[NetworkSettings, TrainingSettings]:
    network = replace(_FULL.global_network, **lever.network)
    length = max(1, round(epochs * lever.times))
    # The weights are averaged over the same share of a shorter training.
    full = _FULL.global_training
    window = length / (full.epochs * (1.0 - full.averaging))
    shorter = {"epochs": length, "averaging": round(1.0 - 1.0 / window, 4)}
    return network, replace(full, **shorter | lever.training)


def errors(workflow: Any, n_subjects: int, cache: Path, **settings: Any) -> dict[str, Any]:
    """Median absolute bias in exact sds and median sd ratio of every parameter, over studies."""
    n_studies = STUDIES[n_subjects]
    bias, ratio, terms = validate(workflow, n_subjects, n_studies, cache, seed=SEED, **settings)
    return {
        "J": n_subjects,
        "terms": terms,
        "studies": n_studies,
        "bias": bias.round(3).tolist(),
        "sd_ratio": ratio.round(3).tolist(),
    }


def row(name: str, workflow: Any, sizes: list[int], cache: Path, lever: Lever) -> dict[str, Any]:
    card = workflow.model_card
    return {
        "lever": name,
        "what": lever.what,
        "epochs": card["epochs_done"],
        "cpu_seconds": card["training_cpu_seconds"],
        "errors": [errors(workflow, n, cache, **lever.compose) for n in sizes],
    }


def kept_rows(file: Path, renewed: list[str]) -> dict[str, Any]:
    """Rows of an earlier run that this one does not renew."""
    old = json.loads(file.read_text())["rows"] if file.exists() else []
    return {r["lever"]: r for r in old if r["lever"] not in ("shipped", *renewed)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="length of one training")
    parser.add_argument("--only", nargs="+", default=list(LEVERS), choices=list(LEVERS))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--cache", type=Path, default=Path("bench-out/exact"))
    parser.add_argument("--trainings", type=Path, default=Path("runs/levers"))
    parser.add_argument("--out", type=Path, default=DATA)
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    shipped = Lever("the shipped weights")
    rows = {
        "shipped": row("shipped", el.load_pretrained("global"), args.sizes, args.cache, shipped)
    }
    rows |= kept_rows(args.out / "levers.json", args.only)
    for name in args.only:
        lever = LEVERS[name]
        network, training = settings_of(lever, args.epochs)
        folder = args.trainings / f"{name.replace(' ', '-')}-{training.epochs}"
        workflow = train("global", network=network, settings=training, out=folder, n_quality=20)
        rows[name] = row(name, workflow, args.sizes, args.cache, lever)
        tqdm.write(json.dumps(rows[name]))
        content = {
            "num_samples": NUM_SAMPLES,
            "seed": SEED,
            "epochs": args.epochs,
            "sha256": el.load_pretrained("global").model_card["sha256"],
            "versions": {k: version(k) for k in ("bayesflow", "keras", "numpy")},
            "rows": [rows[k] for k in ("shipped", *LEVERS) if k in rows],
        }
        write_json(args.out / "levers.json", content)


if __name__ == "__main__":
    main()
