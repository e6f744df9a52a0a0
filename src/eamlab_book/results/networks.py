"""The trained networks; a killed training goes on after its last epoch."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from eamlab.files import replaced
from eamlab.training import train
from eamlab.workflows import NetworkSettings, TrainingSettings, file_hash
from eamlab_book.network_file import network_script
from eamlab_book.results.workshop import Result, Workshop
from eamlab_book.stored import check_record, command, sha256_of, write_whole


@dataclass(frozen=True)
class Training:
    """What makes a network; its card has the same entries."""

    kind: str
    preset: str
    network: NetworkSettings
    training: TrainingSettings


def make_network(workshop: Workshop, result: Result) -> None:
    """Train a network, and put weights and card where they belong."""
    settings: Training = result.settings
    folder = workshop.path(result.files[0]).parent
    out = checkpoints(workshop, result.name, settings)
    train_on(workshop, settings, out, folder, name=result.name, people=next(iter(result.needs), ""))
    for file in reversed(result.files):  # the card last: it says that the weights are there
        target = workshop.path(file)
        with replaced(target) as scratch:
            shutil.copyfile(out / target.name, scratch)


def train_on(
    workshop: Workshop,
    settings: Training,
    out: Path,
    folder: Path,
    people: str = "",
    **options: Any,
) -> Any:
    """Train a network in `out`; a hierarchical one builds on the local network `people`."""
    if people:
        out.mkdir(parents=True, exist_ok=True)
        for end in (".json", ".weights.h5"):
            shutil.copyfile(folder / f"{people}{end}", out / f"{people}{end}")
        options["people"] = people
    how: dict[str, Any] = {"preset": settings.preset, "network": settings.network}
    how["settings"] = settings.training
    return train(workshop.model, settings.kind, out=out, **how, **options)


def checkpoints(workshop: Workshop, name: str, settings: Training) -> Path:
    """Return the folder of a training: another for another model or other settings."""
    return workshop.kept / workshop.model.fingerprint / f"{name}-{joblib.hash(settings)[:16]}"


def check_network(workshop: Workshop, result: Result) -> None:
    """Refuse a network of another model or other settings, or weights that are not its card's."""
    card, weights = map(workshop.path, result.files)
    content = json.loads(card.read_text(encoding="utf-8"))
    record = {"model": content["model"], "settings": {k: content[k] for k in vars(result.settings)}}
    check_record(record, card.name, result.settings, model=workshop.model)
    if content["sha256"] != file_hash(weights):
        raise ValueError(
            f"{weights.name} is not the file that its card describes; run {command(card.name)}."
        )


def make_script(workshop: Workshop, result: Result) -> None:
    """Write a network as the script that runs it in a page."""
    text = network_script(workshop.network(result.needs[0]))
    write_whole(workshop.path(result.files[0]), text)


def check_script(workshop: Workshop, result: Result) -> None:
    """Refuse a script of other weights."""
    script = workshop.path(result.files[0])
    sha256 = sha256_of(result.needs[0], workshop.folder)
    if f'"sha256":"{sha256}"' not in script.read_text(encoding="utf-8"):
        raise ValueError(f"{script.name} is of other weights; run {command(result.name)}.")
