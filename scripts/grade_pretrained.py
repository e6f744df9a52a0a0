"""Grade the shipped networks against the exact posterior, for chapter 8.

    python scripts/grade_pretrained.py [--stage exact|validation|grade|discretization|all]

Writes `grades.json` and `discretization.json` into `src/eamlab/data`. The studies are drawn from
the prior with seeds that no training and no tuning used. Exact posteriors are kept in `--cache`,
so that an interrupted run goes on where it stopped; all of it takes about an hour on two cores,
half of it the exact posteriors of 10,000 subjects and the tutorial's way of composing them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import eamlab as el
from eamlab.grades import (
    GRADED_STUDIES,
    RECIPES,
    VALIDATION_STUDIES,
    Recipe,
    graded_study,
    recipes_for,
)
from eamlab.train import write_json

DATA = Path(__file__).resolve().parents[1] / "src" / "eamlab" / "data"
NUM_SAMPLES = 200
SEED = 1
GROUPS_AT_ONCE = 100
DISCRETIZED = {10: 12, 100: 8, 1000: 4}
"""Studies per J of the Euler-Maruyama comparison."""
DISCRETIZATION_SEED = 880_000
EM_DT = 1e-3


def exact_draws(
    n_subjects: int, index: int, cache: Path, purpose: str = "graded"
) -> dict[str, np.ndarray]:
    """Draws of one study's exact posterior, from the cache if it was computed before."""
    file = cache / f"{purpose}-J{n_subjects}-{index}.npz"
    if not file.exists():
        study = graded_study(n_subjects, index, purpose=purpose)
        exact = el.exact_posterior(study["sim_data"][0], NUM_SAMPLES, seed=index, progress=False)
        scratch = file.with_suffix(".tmp.npz")
        flagged = np.array([str(w) for w in exact.warnings])
        np.savez(scratch, _flagged=flagged, **exact.samples)
        os.replace(scratch, file)
    with np.load(file) as stored:
        return dict(stored)


def validate(
    workflow: Any, n_subjects: int, n_studies: int, cache: Path, **settings: Any
) -> tuple[np.ndarray, np.ndarray, int]:
    """Compose validation studies one by one and compare them with their exact posteriors.

    Returns the median absolute bias in exact sds and the median sd ratio of every parameter, and
    the number of composed terms.
    """
    names, bias, ratio = el.GROUP_PRIOR.names, [], []
    for index in range(n_studies):
        exact = exact_draws(n_subjects, index, cache, "validation")
        trials = graded_study(n_subjects, index, purpose="validation")["sim_data"]
        draws = el.compose(workflow, trials, num_samples=NUM_SAMPLES, check=False, **settings)
        bias.append([(draws[k].mean() - exact[k].mean()) / exact[k].std() for k in names])
        ratio.append([draws[k].std() / exact[k].std() for k in names])
    terms = draws.summaries.shape[1]
    return np.median(np.abs(bias), axis=0), np.median(ratio, axis=0), terms


def compose_some(workflow: Any, sim_data: np.ndarray, settings: dict[str, Any]) -> dict[str, Any]:
    """Compose a few studies at a time: what passes the network at once grows with their number."""
    size = max(1, GROUPS_AT_ONCE // settings.get("mini_batch_size", 1))
    parts = [
        el.compose(
            workflow,
            sim_data[i : i + size],
            num_samples=NUM_SAMPLES,
            seed=SEED,
            check=False,
            **settings,
        )
        for i in range(0, len(sim_data), size)
    ]
    return {k: np.concatenate([part[k] for part in parts]) for k in el.GROUP_PRIOR.names}


def grade_recipe(name: str, recipe: Recipe, n_subjects: int, cache: Path) -> dict[str, Any]:
    """Compose all studies of one size and grade each against its exact posterior."""
    workflow = el.load_pretrained(recipe.weights)
    settings = recipe.settings(n_subjects)
    n_studies = recipe.n_studies(n_subjects)
    purpose = recipe.purpose
    studies = [graded_study(n_subjects, i, purpose=purpose) for i in range(n_studies)]
    sim_data = np.concatenate([study["sim_data"] for study in studies])
    start = time.perf_counter()
    composed = compose_some(workflow, sim_data, settings)
    seconds = (time.perf_counter() - start) / n_studies
    grades, flagged = [], 0
    for index, study in enumerate(studies):
        exact = exact_draws(n_subjects, index, cache, recipe.purpose)
        flagged += len(exact.pop("_flagged"))
        truth = {k: float(study[k][0, 0]) for k in el.GROUP_PRIOR.names}
        one = {k: v[index] for k, v in composed.items()}
        grades.append(el.grade(one, exact, truth=truth))
    return {
        "J": n_subjects,
        "recipe": name,
        "settings": settings,
        "weights": recipe.weights,
        "studies": n_studies,
        "seed": SEED,
        "seconds": round(seconds, 2),
        "flagged_exact": flagged,
        "per_study": [g.table.round(4).to_dict("index") for g in grades],
        "c2st": [round(float(g.c2st.accuracy), 4) if g.c2st else None for g in grades],
    }


def discretization() -> list[dict[str, Any]]:
    rows = []
    for n_subjects, n_studies in DISCRETIZED.items():
        for index in tqdm(range(n_studies), f"Euler-Maruyama, J = {n_subjects}"):
            seed = DISCRETIZATION_SEED + 1000 * n_subjects + index
            group = {p.name: np.array([[p.mean]]) for p in el.GROUP_PRIOR.parameters}
            data = el.simulate_studies(1, n_subjects, 30, seed=seed, dt=EM_DT, group=group)
            for em_dt in (None, EM_DT):
                exact = el.exact_posterior(
                    data["sim_data"][0], NUM_SAMPLES, seed=index, em_dt=em_dt, progress=False
                )
                z = {
                    p.name: round((exact.mean[p.name] - p.mean) / exact.sd[p.name], 4)
                    for p in el.GROUP_PRIOR.parameters
                }
                rows.append({"J": n_subjects, "study": index, "em_dt": em_dt, "z": z})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    stages = ("exact", "validation", "grade", "discretization", "all")
    parser.add_argument("--stage", choices=stages, default="all")
    parser.add_argument("--cache", type=Path, default=Path("bench-out/exact"))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(GRADED_STUDIES))
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    for stage, purpose, counts in (
        ("exact", "graded", GRADED_STUDIES),
        ("validation", "validation", VALIDATION_STUDIES),
    ):
        if args.stage in (stage, "all"):
            for n_subjects in args.sizes:
                for index in tqdm(range(counts[n_subjects]), f"{purpose}, J = {n_subjects}"):
                    exact_draws(n_subjects, index, args.cache, purpose)
    if args.stage in ("discretization", "all"):
        card = {"dt": EM_DT, "seed": DISCRETIZATION_SEED, "truth": "the prior means"}
        write_json(DATA / "discretization.json", card | {"rows": discretization()})
    if args.stage in ("grade", "all"):
        grade_all(args.recipes, args.sizes, args.cache)


def grade_all(names: list[str], sizes: list[int], cache: Path) -> None:
    file = DATA / "grades.json"
    old = json.loads(file.read_text())["rows"] if file.exists() else []
    kept = [row for row in old if row["recipe"] not in names or row["J"] not in sizes]
    rows = []
    for n_subjects in sizes:
        for name, recipe in recipes_for(n_subjects).items():
            if name in names:
                rows.append(grade_recipe(name, recipe, n_subjects, cache))
                tqdm.write(f"J = {n_subjects}, {name}: {rows[-1]['seconds']} s a study")
                cards = {
                    k: el.load_pretrained(k).model_card["sha256"]
                    for k in ("global", "global-pooled")
                }
                versions = {k: version(k) for k in ("bayesflow", "keras", "numpy")}
                write_json(
                    file,
                    {
                        "num_samples": NUM_SAMPLES,
                        "versions": versions | {"eamlab": el.__version__},
                        "sha256": cards,
                        "rows": kept + rows,
                    },
                )


if __name__ == "__main__":
    main()
