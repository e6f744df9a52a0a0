"""Compute the exact posteriors that the book overlays, and store them as package data.

    python scripts/precompute_exact.py [--what 10 100 1000 10000 studies-1000 studies-10000]

10,000 subjects take one to two minutes on two idle cores, the eight studies of 1,000 subjects
about as long, the ten of 10,000 about ten minutes, the rest seconds.
"""

from __future__ import annotations

import argparse
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

import eamlab as el
from eamlab.demo import (
    DEMO_SIZES,
    STUDIES,
    DemoSettings,
    save_demo,
    save_studies,
    simulate_demo,
    simulate_drawn_studies,
)

DATA = Path(__file__).resolve().parents[1] / "src" / "eamlab" / "data"
CHOICES = (*map(str, DEMO_SIZES), *(f"studies-{size}" for size in STUDIES))


def exact_of(sim_data: Any, num_samples: int, seed: int) -> el.reference.ExactPosterior:
    """Return the exact posterior, or stop if its own diagnostics failed."""
    exact = el.exact_posterior(sim_data, num_samples, seed=seed, progress=False)
    if exact.warnings:
        raise SystemExit(f"not stored: {exact.warnings}")
    return exact


def demo(n_subjects: int, out: Path, versions: dict[str, str]) -> Path:
    settings = DemoSettings(n_subjects=n_subjects)
    sim_data = simulate_demo(settings)["sim_data"]
    start = time.perf_counter()
    exact = exact_of(sim_data, settings.num_samples, settings.posterior_seed)
    seconds = round(time.perf_counter() - start, 1)
    return save_demo(exact, settings, out, versions=versions, seconds=seconds)


def studies(n_subjects: int, out: Path, versions: dict[str, str]) -> Path:
    settings = STUDIES[n_subjects]
    data = simulate_drawn_studies(settings)["sim_data"]
    start = time.perf_counter()
    exact = [
        exact_of(d, settings.num_samples, settings.posterior_seed) for d in tqdm(data, "studies")
    ]
    seconds = round(time.perf_counter() - start, 1)
    return save_studies(exact, settings, out, versions=versions, seconds=seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", nargs="+", default=CHOICES, choices=CHOICES)
    parser.add_argument("--out", type=Path, default=DATA, help="folder of the result")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    versions = {"python": platform.python_version(), "eamlab": el.__version__}
    versions |= {name: version(name) for name in ("numpy", "scipy", "numba")}
    for what in args.what:
        start = time.perf_counter()
        make = studies if what.startswith("studies") else demo
        made = make(int(what.removeprefix("studies-")), args.out, versions)
        print(f"{what}: {time.perf_counter() - start:.1f} s, {made}", flush=True)


if __name__ == "__main__":
    main()
