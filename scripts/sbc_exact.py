"""Simulation-based calibration of the exact posterior: `src/eamlab/data/sbc_exact_N.json`.

    python scripts/sbc_exact.py [--subjects 100] [--out FILE]

Studies are drawn from the prior and simulated without discretization; each gives the rank of every
true group parameter among draws of its exact posterior. About ten minutes on one core. A run that
was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import eamlab as el
from eamlab.grades import EXACT_SBC, SBCSettings, sbc_studies

DATA = Path(__file__).resolve().parents[1] / "src" / "eamlab" / "data"


def calibrate_one(studies: dict[str, np.ndarray], index: int, num_samples: int) -> dict[str, Any]:
    """Ranks and moments of study `index`; the seed of its posterior is the index."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kept in .warnings and stored
        exact = el.exact_posterior(
            studies["sim_data"][index], num_samples, seed=index, progress=False
        )
    names = el.GROUP_PRIOR.names
    return {
        "ranks": {k: int((exact.samples[k] < studies[k][index, 0]).sum()) for k in names},
        "mean": {k: round(exact.mean[k], 5) for k in names},
        "sd": {k: round(exact.sd[k], 5) for k in names},
        "warnings": list(exact.warnings),
    }


def write(path: Path, content: dict[str, Any]) -> None:
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(content) + "\n")
    os.replace(scratch, path)


def card(rows: list[dict[str, Any]], settings: SBCSettings, seconds: float) -> dict[str, Any]:
    """All studies in the form that `eamlab.grades.exact_sbc` reads."""
    columns = {
        key: {k: [r[key][k] for r in rows] for k in el.GROUP_PRIOR.names}
        for key in ("ranks", "mean", "sd")
    }
    flagged = [{"study": i, "warnings": r["warnings"]} for i, r in enumerate(rows) if r["warnings"]]
    made_with = {k: version(k) for k in ("numpy", "scipy", "numba")} | {"eamlab": el.__version__}
    return {
        "settings": asdict(settings),
        "versions": made_with,
        "seconds": round(seconds, 1),
        "flagged": flagged,
    } | columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, choices=list(EXACT_SBC), default=5)
    parser.add_argument("--out", type=Path, help="where to; the package's data by default")
    args = parser.parse_args()
    settings, start = EXACT_SBC[args.subjects], time.perf_counter()
    out = args.out or DATA / f"sbc_exact_{args.subjects}.json"
    studies = sbc_studies(settings)
    part = out.with_suffix(".part")
    key = asdict(settings)
    done = json.loads(part.read_text()) if part.exists() else {"settings": key, "rows": []}
    rows = done["rows"] if done["settings"] == key else []
    first = len(rows)
    for index in tqdm(range(first, settings.n_studies), "studies"):
        rows.append(calibrate_one(studies, index, settings.num_samples))
        if index % 10 == 9:
            write(part, {"settings": key, "rows": rows})
    write(out, card(rows, settings, time.perf_counter() - start))
    part.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
