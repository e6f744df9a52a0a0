"""Simulation-based calibration of the composed posterior: `src/eamlab/data/sbc_composed.json`.

    python scripts/sbc_composed.py [--out FILE]

Studies of 10 and of 100 subjects are drawn from the prior; each gives the rank of every true group
parameter among draws of its composed posterior, once as `compose` recommends and once composed from
small groups. Some minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from grade_pretrained import DATA
from tqdm import tqdm

import eamlab as el
from eamlab.grades import COMPOSED_SBC, SBCSettings, sbc_studies
from eamlab.train import write_json


def ranks(settings: SBCSettings, group_size: int | str) -> dict[str, list[int]]:
    """Ranks of the true parameters among the composed draws, for every study."""
    workflow, studies = el.load_pretrained("global"), sbc_studies(settings)
    draws = el.compose(
        workflow,
        studies["sim_data"],
        group_size=group_size,
        num_samples=settings.num_samples,
        seed=settings.seed,
    )
    return {k: np.sum(draws[k][..., 0] < studies[k], axis=1).tolist() for k in draws}


def row(settings: SBCSettings, group_size: int | str) -> dict[str, Any]:
    start = time.perf_counter()
    found = ranks(settings, group_size)
    seconds = round(time.perf_counter() - start, 1)
    return {
        "settings": asdict(settings),
        "group_size": group_size,
        "seconds": seconds,
        "ranks": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DATA / "sbc_composed.json")
    args = parser.parse_args()
    card = el.load_pretrained("global").model_card
    versions = {k: version(k) for k in ("bayesflow", "keras", "numpy")} | {"eamlab": el.__version__}
    rows = [row(settings, size) for settings, size in tqdm(COMPOSED_SBC, "calibrations")]
    write_json(args.out, {"sha256": card["sha256"], "versions": versions, "rows": rows})


if __name__ == "__main__":
    main()
