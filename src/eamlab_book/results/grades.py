"""Grades of networks against exact posteriors, and what was chosen by such grades.

Exact posteriors are kept under the model's fingerprint, so that grades, tuning and levers share
those of the validation studies.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from eamlab.composition.certificate import GROUPS, certify
from eamlab.composition.posterior import compose
from eamlab.draws import Draws
from eamlab.grading import grade
from eamlab.reference.posterior import exact
from eamlab.study import simulate
from eamlab.workflows import get_preset
from eamlab_book import compositions
from eamlab_book.report_card import (
    COMPOSITIONS,
    CertificateSettings,
    ComposedSBCSettings,
    CompositionSettings,
    DiscretizationSettings,
    GradeSettings,
    LeverSettings,
    Recipe,
    SBCSettings,
    TuningSettings,
    graded_seed,
    graded_study,
    recipes_for,
    sbc_studies,
)
from eamlab_book.results.models import graded
from eamlab_book.results.networks import Training, checkpoints, train_on
from eamlab_book.results.workshop import Result, Workshop

Key = tuple[dict[str, Any], tuple[str, ...]]
"""Draws of an exact posterior, and its warnings."""


def key(workshop: Workshop, n_subjects: int, data_seed: int, index: int, num_samples: int) -> Key:
    """Return the exact posterior of the study of a seed, as `report_card.graded_study` makes it."""
    study = simulate(workshop.model, n_subjects, 30, seed=data_seed)
    draws = exact(study, workshop.model, num_samples, seed=index, progress=False)
    return dict(draws), draws.warnings


def keys(
    workshop: Workshop, purpose: str, n_subjects: int, n_studies: int, num_samples: int
) -> list[Key]:
    """Return the exact posteriors of the first studies."""
    one, bar = workshop.remember(key), tqdm(range(n_studies), f"{purpose}, J = {n_subjects}")
    return [one(n_subjects, graded_seed(n_subjects, i, purpose), i, num_samples) for i in bar]


def make_grades(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return the grades of all recipes."""
    settings: GradeSettings = result.settings
    one = {name: workshop.remember(grade_recipe, name) for name in result.needs}
    rows = []
    how = (settings.num_samples, settings.seed, settings.groups_at_once)
    for n_subjects, n_graded in settings.studies.items():
        counts = {"graded": n_graded, "validation": settings.validation[n_subjects]}
        answers = {
            p: keys(workshop, p, n_subjects, n, settings.num_samples) for p, n in counts.items()
        }
        for name, recipe in tqdm(recipes_for(n_subjects).items(), f"recipes, J = {n_subjects}"):
            answer = answers[recipe.purpose][: recipe.n_studies(n_subjects)]
            rows.append(one[recipe.weights](name, recipe, n_subjects, answer, *how))
    return {"rows": rows}


def grade_recipe(
    workshop: Workshop,
    name: str,
    recipe: Recipe,
    n_subjects: int,
    answers: Sequence[Key],
    num_samples: int,
    seed: int,
    groups_at_once: int,
) -> dict[str, Any]:
    """Compose studies of one size and grade each against its exact posterior."""
    workflow, settings = workshop.network(recipe.weights), recipe.settings(n_subjects)
    studies = [
        graded_study(n_subjects, i, purpose=recipe.purpose, model=workshop.model)
        for i in range(len(answers))
    ]
    options = settings | {"num_samples": num_samples, "seed": seed, "check": False}
    # A few studies at a time: what passes the network at once grows with their number.
    size = max(1, groups_at_once // settings.get("mini_batch_size", 1))
    start = time.perf_counter()
    composed = [
        draws
        for i in range(0, len(studies), size)
        for draws in compose(workflow, studies[i : i + size], **options)
    ]
    seconds = (time.perf_counter() - start) / len(studies)
    grades = [
        grade(draws, Draws(answer), truth=study.truth)
        for draws, (answer, _), study in zip(composed, answers, studies, strict=True)
    ]
    return {
        "J": n_subjects,
        "recipe": name,
        "settings": settings,
        "weights": recipe.weights,
        "studies": len(studies),
        "seed": seed,
        "seconds": round(seconds, 2),
        "flagged_exact": sum(len(warnings) for _, warnings in answers),
        "per_study": [g.table.round(4).to_dict("index") for g in grades],
        "c2st": [round(float(g.c2st.accuracy), 4) if g.c2st else None for g in grades],
    }


def make_certificates(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return what a certificate says of each stratified study, beside its grade."""
    settings: CertificateSettings = result.settings
    network, keys_of = result.needs
    one, quick = (workshop.remember(f, network) for f in (certified, forecast_by_scores))
    rows = []
    for key in tqdm(workshop.stored(keys_of, settings.keys)["rows"], "certificates"):
        n_studies = settings.keys.studies[key["J"]]
        # Others may come and go.
        only = replace(settings, keys=replace(settings.keys, studies={key["J"]: n_studies}))
        row = one(network, only, key)
        if settings.scored:
            scores = quick(network, only, key)
            row["score_seconds"] = scores["seconds"]
            for name, values in row["parameters"].items():
                values |= scores["parameters"][name]
        rows.append(row)
    return {"rows": rows}


def exact_moments(workshop: Workshop) -> dict[int, list[dict[str, tuple[float, float]]]]:
    """Return exact means and sds of the graded studies by J, as the grades have them."""
    text = workshop.path("src/eamlab_book/data/grades.json").read_text(encoding="utf-8")
    return {
        row["J"]: [
            {k: (v["exact_mean"], v["exact_sd"]) for k, v in study.items()}
            for study in row["per_study"]
        ]
        for row in json.loads(text)["rows"]
        if row["recipe"] == "recommended"
    }


def certified(
    workshop: Workshop, network: str, settings: CertificateSettings, key: dict[str, Any]
) -> dict[str, Any]:
    """Compose, certify and correct a study; compare with the moments of its exact posterior."""
    study = graded(workshop, settings.keys, key["J"], key["study"])
    workflow, start = workshop.network(network), time.perf_counter()
    draws = compose(workflow, study, num_samples=settings.num_samples, seed=1, check=False)
    found = certify(
        workflow, draws, study, n_studies=settings.n_studies, rounds=settings.rounds,
        correct=True, seed=settings.seed + key["study"], progress=False,
    )  # fmt: skip
    seconds, parameters = time.perf_counter() - start, {}
    for name in workshop.model.prior.names:
        mean, sd = key["mean"][name], key["sd"][name]
        forecast, unit = found.table.loc[name], draws.sd[name] / sd
        values = {
            "bias": forecast["bias"] * unit,
            "bias_se": forecast["bias_se"] * unit,
            "true": (draws.mean[name] - mean) / sd,
            "corrected": (found.draws.mean[name] - mean) / sd,
            "sd_ratio": unit,
            "corrected_ratio": found.draws.sd[name] / sd,
        }
        parameters[name] = {k: round(float(v), 4) for k, v in values.items()}
    row = {k: key[k] for k in ("J", "study")} | {"seconds": round(seconds, 2)}
    return row | {"parameters": parameters}


def forecast_by_scores(
    workshop: Workshop, network: str, settings: CertificateSettings, key: dict[str, Any]
) -> dict[str, Any]:
    """Return what excess scores forecast of a composed study, in exact sds."""
    study = graded(workshop, settings.keys, key["J"], key["study"])
    workflow = workshop.network(network)
    draws = compose(workflow, study, num_samples=settings.num_samples, seed=1, check=False)
    n_studies = max(settings.scored, -(-GROUPS // draws.diagnostics["n_groups"]))
    found = certify(
        workflow, draws, study, method="score", n_studies=n_studies,
        seed=settings.seed + key["study"], progress=False,
    )  # fmt: skip
    parameters = {}
    for name, forecast in found.table.iterrows():
        unit = draws.sd[name] / key["sd"][name]
        values = {"score": forecast["bias"] * unit, "score_se": forecast["bias_se"] * unit}
        parameters[name] = {k: round(float(v), 4) for k, v in values.items()}
    return {"seconds": round(found.seconds, 2), "parameters": parameters}


def make_compositions(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return how each composition did on the graded studies; the exact moments are the grades'."""
    settings: CompositionSettings = result.settings
    one, rows = workshop.remember(compared, "global"), []
    keys, plain = exact_moments(workshop), replace(settings, designs=(), left_out=())
    for n_subjects, group_size, n_studies in settings.designs:
        for name in tqdm(COMPOSITIONS, f"compositions, J = {n_subjects}, {group_size} a group"):
            if (name, n_subjects // group_size) in settings.left_out:
                continue
            made = [
                one(plain, name, COMPOSITIONS[name], n_subjects, group_size, i)
                for i in range(n_studies)
            ]
            exact = [np.array(list(keys[n_subjects][i].values())).T for i in range(n_studies)]
            bias = [(np.array(m["mean"]) - e[0]) / e[1] for m, e in zip(made, exact, strict=True)]
            ratio = [np.array(m["sd"]) / e[1] for m, e in zip(made, exact, strict=True)]
            rows.append(
                {
                    "J": n_subjects,
                    "group_size": group_size,
                    "composition": name,
                    # The first study's also compile.
                    "seconds": round(float(np.median([m["seconds"] for m in made])), 2),
                    "bias": np.round(bias, 4).tolist(),
                    "sd_ratio": np.round(ratio, 4).tolist(),
                    "pareto_k": [round(m["k"], 3) for m in made if m["k"] is not None],
                }
            )
    return {"rows": rows}


def compared(
    workshop: Workshop,
    settings: CompositionSettings,
    name: str,
    how: tuple[str, dict[str, Any]],
    n_subjects: int,
    group_size: int,
    index: int,
) -> dict[str, Any]:
    """Compose one graded study in one way; return means, sds and CPU seconds."""
    study, workflow = graded_study(n_subjects, index), workshop.network("global")
    common: dict[str, Any] = {"num_samples": settings.num_samples, "seed": settings.seed}
    options: dict[str, Any] = {"group_size": group_size} | common
    count = min(settings.mini_batch_size, n_subjects // group_size)
    batch: dict[str, Any] = {"mini_batch_size": count}
    function, more = how
    if function == "reweighted":
        ours = compose(workflow, study, check=False, **options)
    start = time.process_time()
    if function == "reweighted":
        draws = compositions.reweighted(ours, study, **common)
    elif function == "compose":
        summed = batch if more else {}
        draws = compose(workflow, study, check=False, **options, **summed, **more)
    else:
        options |= batch if function == "control_variate" else {}
        draws = getattr(compositions, function)(workflow, study, **options, **more)
    seconds = time.process_time() - start
    k = draws.diagnostics.get("pareto_k")
    moments = {"mean": list(draws.mean.values()), "sd": list(draws.sd.values())}
    return moments | {"seconds": seconds, "k": k}


def make_discretization(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return z-scores of the truth under Euler-Maruyama data, without and with the correction."""
    settings: DiscretizationSettings = result.settings
    one, rows = workshop.remember(discretized_z), []
    for n_subjects, n_studies in settings.studies.items():
        for i in tqdm(range(n_studies), f"Euler-Maruyama, J = {n_subjects}"):
            for em_dt in (None, settings.dt):
                z = one(replace(settings, studies={}), n_subjects, i, em_dt)
                rows.append({"J": n_subjects, "study": i, "em_dt": em_dt, "z": z})
    return {"truth": "the prior means", "rows": rows}


def discretized_z(
    workshop: Workshop,
    settings: DiscretizationSettings,
    n_subjects: int,
    index: int,
    em_dt: float | None,
) -> dict[str, float]:
    """Return (exact mean - truth) / exact sd of one study; the truth are the prior means."""
    prior, seed = workshop.model.prior, settings.seed + 1000 * n_subjects + index
    group = {p.name: p.mean for p in prior.parameters}
    scheme: dict[str, Any] = {"scheme": "euler-maruyama", "dt": settings.dt}
    study = simulate(workshop.model, n_subjects, 30, seed=seed, group=group, **scheme)
    options: dict[str, Any] = {"seed": index, "em_dt": em_dt, "progress": False}
    draws = exact(study, workshop.model, settings.num_samples, **options)
    return {k: round((draws.mean[k] - group[k]) / draws.sd[k], 4) for k in prior.names}


def validate(
    workshop: Workshop, workflow: Any, n_subjects: int, answers: Sequence[Key], **options: Any
) -> dict[str, Any]:
    """Return median absolute biases and sd ratios of composed validation studies, and the terms."""
    names, bias, ratio = workshop.model.prior.names, [], []
    for index, (answer, _) in enumerate(answers):
        study = graded_study(n_subjects, index, purpose="validation", model=workshop.model)
        draws = compose(workflow, study, check=False, **options)
        bias.append([(draws[k].mean() - answer[k].mean()) / answer[k].std() for k in names])
        ratio.append([draws[k].std() / answer[k].std() for k in names])
    terms = draws.diagnostics["n_groups"]
    off, ratios = np.median(np.abs(bias), axis=0), np.median(ratio, axis=0)
    return {"terms": terms, "bias": off, "sd_ratio": ratios}


def make_tuning(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return how each group size and number of steps did on the validation studies."""
    settings: TuningSettings = result.settings
    one, rows = workshop.remember(tuning_row, "global"), []
    for n_subjects, sizes in settings.group_sizes.items():
        n_studies = settings.studies[n_subjects]
        answers = keys(workshop, "validation", n_subjects, n_studies, settings.num_samples)
        grid = [(size, steps) for size in sizes for steps in settings.steps]
        how = (settings.num_samples, settings.seed)
        rows += [one(n_subjects, *setting, answers, *how) for setting in tqdm(grid, "settings")]
    return {"rows": rows}


def tuning_row(
    workshop: Workshop,
    n_subjects: int,
    group_size: int,
    steps: int,
    answers: Sequence[Key],
    num_samples: int,
    seed: int,
) -> dict[str, Any]:
    """Return one row: what `validate` finds, and the parameter that is worst off."""
    options = {"group_size": group_size, "steps": steps, "num_samples": num_samples, "seed": seed}
    found = validate(workshop, workshop.network("global"), n_subjects, answers, **options)
    return {
        "J": n_subjects,
        "group_size": group_size,
        "steps": steps,
        "bias": found["bias"].round(3).tolist(),
        "sd_ratio": found["sd_ratio"].round(3).tolist(),
        "worst": round(float(np.hypot(found["bias"], np.log(found["sd_ratio"])).max()), 4),
    }


def make_levers(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return what short trainings without one lever each lose, beside the shipped network."""
    settings: LeverSettings = result.settings
    answers = {
        n_subjects: keys(workshop, "validation", n_subjects, n_studies, settings.num_samples)
        for n_subjects, n_studies in settings.studies.items()
    }
    one = workshop.remember(lever_row, "global", "local")
    names = ("shipped", *settings.levers)
    return {"rows": [one(name, settings, answers) for name in tqdm(names, "trainings")]}


def lever_row(
    workshop: Workshop, name: str, settings: LeverSettings, answers: dict[int, Sequence[Key]]
) -> dict[str, Any]:
    """Train without one lever (not the "shipped" network), and compare with exact posteriors."""
    if name == "shipped":
        what, options, workflow = "the shipped weights", {}, workshop.network("global")
    else:
        lever = settings.levers[name]
        run = lever_training(settings, name)
        out = checkpoints(workshop, name.replace(" ", "-"), run)
        folder = workshop.path("src/eamlab/weights/local.json").parent
        workflow = train_on(workshop, run, out, folder, "local", n_quality=20)
        what, options = lever.what, dict(lever.compose)
    options |= {"num_samples": settings.num_samples, "seed": settings.seed}
    errors = []
    for n_subjects, answer in answers.items():
        found = validate(workshop, workflow, n_subjects, answer, **options)
        rounded = {k: found[k].round(3).tolist() for k in ("bias", "sd_ratio")}
        errors.append({"J": n_subjects, "terms": found["terms"], "studies": len(answer)} | rounded)
    return {
        "lever": name,
        "what": what,
        "epochs": workflow.model_card["epochs_done"],
        "cpu_seconds": workflow.model_card["training_cpu_seconds"],
        "errors": errors,
    }


def lever_training(settings: LeverSettings, name: str) -> Training:
    """Return the full training, shortened and without one lever."""
    lever, preset = settings.levers[name], get_preset("full")
    full, length = preset.global_training, max(1, round(settings.epochs * lever.times))
    # The weights are averaged over the same share of a shorter training.
    window = length / (full.epochs * (1.0 - full.averaging))  # type: ignore[operator]
    shorter = {"epochs": length, "averaging": round(1.0 - 1.0 / window, 4)}
    network = replace(preset.global_network, **lever.network)
    return Training("global", preset.name, network, replace(full, **shorter | dict(lever.training)))


def make_sbc_composed(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return ranks of true group parameters among draws of composed posteriors."""
    chosen: ComposedSBCSettings = result.settings
    network = result.needs[0]
    one, todo = workshop.remember(composed_ranks, network), tqdm(chosen.calibrations, "settings")
    return {"rows": [one(network, *calibration) for calibration in todo]}


def composed_ranks(
    workshop: Workshop, network: str, settings: SBCSettings, group_size: int | str
) -> dict[str, Any]:
    """Return one calibration of the composed posterior."""
    start, studies = time.perf_counter(), sbc_studies(settings, model=workshop.model)
    options: dict[str, Any] = {"num_samples": settings.num_samples, "seed": settings.seed}
    draws = compose(workshop.network(network), studies, group_size=group_size, **options)
    pairs = list(zip(draws, studies, strict=True))
    ranks = {
        k: [int((one[k] < study.truth[k]).sum()) for one, study in pairs]
        for k in workshop.model.prior.names
    }
    seconds = round(time.perf_counter() - start, 1)
    return {
        "settings": vars(settings),
        "group_size": group_size,
        "seconds": seconds,
        "ranks": ranks,
    }
