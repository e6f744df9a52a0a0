"""Grades of the networks of laboratory models: composed against exact, and people against truth."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from eamlab.composition.posterior import compose
from eamlab.quality import calibration_and_recovery, people_drawn
from eamlab.study import Study, simulate
from eamlab_book.results.keys import quiet_key
from eamlab_book.results.workshop import Result, Workshop

__all__ = ["ModelGradeSettings", "graded", "make_model_grades"]


@dataclass(frozen=True)
class ModelGradeSettings:
    """What made the grades of a model's networks.

    ``studies`` are counts by J; each person has a number of trials drawn from ``trials``, evenly on
    the log scale. ``people`` are counts of people by their number of trials.
    """

    studies: Mapping[int, int] = field(default_factory=lambda: {10: 20, 20: 20, 50: 10, 200: 4})
    trials: tuple[int, int] = (30, 500)
    num_samples: int = 500
    people: Mapping[int, int] = field(default_factory=lambda: {20: 300, 100: 300, 500: 300})
    seed: int = 4_400_000


def graded(workshop: Workshop, settings: ModelGradeSettings, n_subjects: int, index: int) -> Study:
    """Return a study that is graded."""
    seed = np.random.SeedSequence((settings.seed, n_subjects, index))
    low, high = np.log(settings.trials)
    counts = np.exp(np.random.default_rng(seed).uniform(low, high, n_subjects)).round().astype(int)
    study: Study = simulate(workshop.model, n_subjects, counts.tolist(), seed=seed)
    return study


def model_key(
    workshop: Workshop, settings: ModelGradeSettings, n_subjects: int, index: int
) -> dict[str, Any]:
    """Return moments and warnings of the exact posterior of a study."""
    study, start = graded(workshop, settings, n_subjects, index), time.perf_counter()
    key = quiet_key(study, workshop.model, settings.num_samples, index)
    seconds = time.perf_counter() - start
    return {"mean": key.mean, "sd": key.sd, "warnings": key.warnings, "seconds": seconds}


def make_model_grades(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return biases in exact sds and sd ratios of every study, and calibrations of people."""
    settings: ModelGradeSettings = result.settings
    name, people = result.needs
    one, key = workshop.remember(model_row, name), workshop.remember(model_key)
    rows = []
    for n_subjects, n_studies in settings.studies.items():
        for i in tqdm(range(n_studies), f"{name}, J = {n_subjects}"):
            rows.append(one(name, settings, n_subjects, i, key(settings, n_subjects, i)))
    calibrated = workshop.remember(calibrated_people, people)
    return {
        "rows": rows,
        "people": {
            str(n_trials): calibrated(people, n_people, n_trials, settings.seed)
            for n_trials, n_people in settings.people.items()
        },
    }


def model_row(
    workshop: Workshop,
    network: str,
    settings: ModelGradeSettings,
    n_subjects: int,
    index: int,
    key: Mapping[str, Any],
) -> dict[str, Any]:
    """Compose one study and compare it with its key."""
    study, names = graded(workshop, settings, n_subjects, index), workshop.model.prior.names
    options: dict[str, Any] = {"num_samples": settings.num_samples, "seed": 1, "check": False}
    start = time.perf_counter()
    draws = compose(workshop.network(network), study, **options)
    return {
        "J": n_subjects,
        "study": index,
        "seconds": round(time.perf_counter() - start, 2),
        "exact_seconds": round(key["seconds"], 2),
        "flagged_exact": len(key["warnings"]),
        "bias": {k: round((draws.mean[k] - key["mean"][k]) / key["sd"][k], 4) for k in names},
        "sd_ratio": {k: round(draws.sd[k] / key["sd"][k], 4) for k in names},
    }


def calibrated_people(
    workshop: Workshop, network: str, n_people: int, n_trials: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return `calibration_and_recovery` of people from as many populations, with known groups."""
    data = workshop.model.sample(n_people, 1, n_trials, seed=(seed + n_trials))
    drawn = people_drawn(workshop.network(network), data, 199, seed)
    return calibration_and_recovery(drawn, data, workshop.model.person_names)
