"""The trained networks; a killed training goes on after its last epoch."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import joblib

from eamlab.training import train
from eamlab.workflows import NetworkSettings, TrainingSettings, file_hash
from eamlab_book.network_file import network_script
from eamlab_book.results.workshop import Result, Workshop
from eamlab_book.stored import check_record, command, sha256_of, write_whole

__all__ = ["Training", "check_network", "check_script", "make_network", "make_script"]


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
    out = checkpoints(workshop, result.name, settings)
    people = next(iter(result.needs), "local")  # a hierarchical network builds on a local one
    for file in result.files if result.needs else ():
        source = workshop.path(file)
        source = source.with_name(source.name.replace(result.name, people, 1))
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / source.name)
    train(
        workshop.model,
        settings.kind,
        out=out,
        preset=settings.preset,
        network=settings.network,
        settings=settings.training,
        name=result.name,
        people=people,
    )
    for file in reversed(result.files):  # the card last: it says that the weights are there
        target = workshop.path(file)
        partial = target.with_suffix(".partial")
        shutil.copyfile(out / target.name, partial)
        partial.replace(target)


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
