"""Choose how `compose` goes about it by default: `src/eamlab/data/tuning.json`, for chapter 6.

    python scripts/tune_composition.py [--out FILE]

Composes the validation studies (never the graded ones) with several group sizes and numbers of
steps, and compares with their exact posteriors. For every J the setting is chosen whose worst
parameter is best; `AUTO_STEPS` in `eamlab.compose` must say the same. Some minutes on two cores,
once the exact posteriors are there (`grade_pretrained.py --stage validation`).
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from grade_pretrained import DATA, NUM_SAMPLES, validate
from tqdm import tqdm

import eamlab as el
from eamlab.grades import VALIDATION_STUDIES
from eamlab.train import write_json

SEED = 7
GROUP_SIZES = {10: (5, 10), 100: (20, 100), 1000: (100, 200), 10_000: (200,)}
STEPS = (24, 30, 46)


def measure(
    workflow: Any, n_subjects: int, group_size: int, steps: int, cache: Path
) -> dict[str, Any]:
    """Median absolute bias in exact sds and median sd ratio of every parameter, over studies."""
    n_studies = VALIDATION_STUDIES[n_subjects]
    settings = {"group_size": group_size, "steps": steps, "seed": SEED}
    bias, ratio, _ = validate(workflow, n_subjects, n_studies, cache, **settings)
    return {
        "J": n_subjects,
        "group_size": group_size,
        "steps": steps,
        "bias": bias.round(3).tolist(),
        "sd_ratio": ratio.round(3).tolist(),
        "worst": round(float(np.max(np.hypot(bias, np.log(ratio)))), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("bench-out/exact"))
    parser.add_argument("--out", type=Path, default=DATA / "tuning.json")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    grid = [(n, g, s) for n, sizes in GROUP_SIZES.items() for g in sizes for s in STEPS]
    workflow = el.load_pretrained("global")
    rows = [measure(workflow, *setting, args.cache) for setting in tqdm(grid, "settings")]
    content = {
        "num_samples": NUM_SAMPLES,
        "seed": SEED,
        "sha256": workflow.model_card["sha256"],
        "versions": {k: version(k) for k in ("bayesflow", "keras", "numpy")},
        "rows": rows,
    }
    write_json(args.out, content)


if __name__ == "__main__":
    main()
