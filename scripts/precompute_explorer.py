"""Compute the grid of the composition explorer: `src/eamlab/data/explorer.json`.

    python scripts/precompute_explorer.py [--out FOLDER] [--only N]

Every position of the sliders is one run of BayesFlow's compositional sampler (or of the product of
Gaussians) on the demonstration studies, with the shipped weights. Cells are kept in FOLDER as they
are computed, so that an interrupted run goes on where it stopped. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import eamlab as el
from eamlab.demo import load_demo
from eamlab.widgets.grid import Cell, Settings, all_settings, settings_of, summarize, write_grid

NUM_SAMPLES = 100
SEED = 11


def compute_cell(workflow: Any, settings: Settings, summaries: dict) -> Cell:
    """Run the sampler once; `summaries` keeps those of (n_subjects, group_size)."""
    demo = load_demo(settings.n_subjects)
    options = settings.options()
    key = (settings.n_subjects, options["group_size"])
    composed = el.compose(
        workflow,
        demo.sim_data,
        num_samples=NUM_SAMPLES,
        summaries=summaries.get(key),
        check=False,
        seed=SEED,
        **options,
    )
    summaries[key] = composed.summaries
    return summarize(composed, demo.exact.mean, demo.exact.sd)


def read_cells(file: Path) -> dict[Settings, Cell]:
    if not file.exists():
        return {}
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return {settings_of(row["settings"]): Cell.unpack(np.array(row["packed"])) for row in rows}


def cost(settings: Settings) -> int:
    """Rows that pass the network, for the order and the estimate of the remaining time."""
    batch = settings.n_groups if settings.method == "gaussian" else settings.mini_batch_size
    return settings.steps * batch


def compute(cells_file: Path, only: int | None) -> dict[Settings, Cell]:
    workflow = el.load_pretrained("global")
    wanted = sorted({s.effective() for s in all_settings()}, key=cost)[:only]
    cells = read_cells(cells_file)
    todo = [settings for settings in wanted if settings not in cells]
    summaries: dict = {}
    with cells_file.open("a") as sink:
        for settings in tqdm(todo, unit="cell"):
            cells[settings] = compute_cell(workflow, settings, summaries)
            row = {"settings": list(asdict(settings).values())}
            row |= {"packed": cells[settings].packed().tolist()}
            sink.write(json.dumps(row) + "\n")
            sink.flush()
    return cells


def card(seconds: float) -> dict[str, Any]:
    return {
        "script": "scripts/precompute_explorer.py",
        "seed": SEED,
        "num_samples": NUM_SAMPLES,
        "sha256": el.load_pretrained("global").model_card["sha256"],
        "versions": {k: version(k) for k in ("bayesflow", "keras", "numpy")},
        "seconds": round(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("bench-out") / "explorer")
    parser.add_argument("--only", type=int, help="compute the N cheapest cells and write no grid")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    cells = compute(options.out / "cells.jsonl", options.only)
    if options.only is None:
        write_grid(cells, card(time.monotonic() - start))


if __name__ == "__main__":
    main()
