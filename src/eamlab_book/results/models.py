"""Grades of the networks of laboratory models: composed against exact, and people against truth."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from scipy import stats
from scipy.stats import qmc
from tqdm import tqdm

from eamlab.composition.posterior import compose
from eamlab.model.model import Model
from eamlab.quality import calibration_and_recovery, people_drawn
from eamlab.study import Study, simulate
from eamlab_book.report_card import ModelGradeSettings, ModelKeySettings
from eamlab_book.results.keys import quiet_key
from eamlab_book.results.workshop import Result, Workshop


def graded(workshop: Workshop, settings: ModelKeySettings, n_subjects: int, index: int) -> Study:
    """Return a study that is graded."""
    seed = np.random.SeedSequence((settings.seed, n_subjects, index))
    low, high = np.log(settings.trials)
    counts = np.exp(np.random.default_rng(seed).uniform(low, high, n_subjects)).round().astype(int)
    group = stratified(workshop.model, settings, n_subjects, index) if settings.extreme else None
    study: Study = simulate(workshop.model, n_subjects, counts.tolist(), seed=seed, group=group)
    return study


def stratified(
    model: Model, settings: ModelKeySettings, n_subjects: int, index: int
) -> dict[str, float]:
    """Return one of the populations whose log spreads are stratified over the prior."""
    spreads, seed = [p.log_sd for p in model.people], (settings.seed, n_subjects)
    n_extreme = min(settings.extreme, settings.studies[n_subjects] // 3)
    hypercube = qmc.LatinHypercube(len(spreads), rng=np.random.default_rng(seed))
    inside = hypercube.random(settings.studies[n_subjects] - n_extreme)
    corners = np.array(list(product((0.025, 0.975), repeat=len(spreads))))
    levels = np.concatenate([inside, np.resize(corners, (n_extreme, len(spreads)))])
    prior = model.prior
    drawn = prior.sample(1, np.random.default_rng((*seed, index)))
    group = {name: np.ravel(value).item() for name, value in drawn.items()}
    for p in prior.parameters:
        if p.name in spreads:
            level = levels[index, spreads.index(p.name)]
            group[p.name] = stats.norm.ppf(level, p.mean, p.sd).item()
    return group


def make_model_keys(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return moments and warnings of the exact posterior of every study that is graded."""
    one, settings = workshop.remember(model_key), result.settings
    rows = []
    for n_subjects, n_studies in settings.studies.items():
        only = replace(settings, studies={n_subjects: n_studies})  # others may come and go
        for i in tqdm(range(n_studies), f"{workshop.model.name}, J = {n_subjects}"):
            rows.append({"J": n_subjects, "study": i, **one(only, n_subjects, i)})
    return {"rows": rows}


def model_key(
    workshop: Workshop, settings: ModelKeySettings, n_subjects: int, index: int
) -> dict[str, Any]:
    """Return moments and warnings of the exact posterior of a study."""
    study, start = graded(workshop, settings, n_subjects, index), time.perf_counter()
    key = quiet_key(study, workshop.model, settings.num_samples, index)
    seconds = round(time.perf_counter() - start, 2)
    mean, sd = ({k: round(v, 6) for k, v in m.items()} for m in (key.mean, key.sd))
    return {"mean": mean, "sd": sd, "warnings": list(key.warnings), "seconds": seconds}


def make_model_grades(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return biases in exact sds and sd ratios of every study, and calibrations of people."""
    settings: ModelGradeSettings = result.settings
    name, people, keys = result.needs
    stored = workshop.stored(keys, settings.keys)["rows"]
    calibrated = workshop.remember(calibrated_people, people)
    return {
        "rows": [model_row(workshop, name, settings, key) for key in tqdm(stored, name)],
        "people": {
            str(n_trials): calibrated(people, n_people, n_trials, settings.keys.seed)
            for n_trials, n_people in settings.people.items()
        },
    }


def model_row(
    workshop: Workshop, network: str, settings: ModelGradeSettings, key: Mapping[str, Any]
) -> dict[str, Any]:
    """Compose one study and compare it with its key."""
    study = graded(workshop, settings.keys, key["J"], key["study"])
    options: dict[str, Any] = {"num_samples": settings.num_samples, "seed": 1, "check": False}
    start = time.perf_counter()
    draws = compose(workshop.network(network), study, **options)
    mean, sd, names = key["mean"], key["sd"], workshop.model.prior.names
    return {
        "J": key["J"],
        "study": key["study"],
        "seconds": round(time.perf_counter() - start, 2),
        "bias": {k: round((draws.mean[k] - mean[k]) / sd[k], 4) for k in names},
        "sd_ratio": {k: round(draws.sd[k] / sd[k], 4) for k in names},
    }


def calibrated_people(
    workshop: Workshop, network: str, n_people: int, n_trials: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return `calibration_and_recovery` of people from as many populations, with known groups."""
    data = workshop.model.sample(n_people, 1, n_trials, seed=(seed + n_trials))
    drawn = people_drawn(workshop.network(network), data, 199, seed)
    return calibration_and_recovery(drawn, data, workshop.model.person_names)
