"""Write the example data of chapter 9: a small study with the blemishes of real ones.

    python scripts/make_example_csv.py [--out book/data/example_trials.csv]

The responses are simulated without discretization error from one population. Then trials are lost
as in a laboratory: people stop early, miss deadlines, and devices fail. Everything is seeded; the
settings and the true group parameters are written beside the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

import eamlab as el

OUT = Path(__file__).resolve().parents[1] / "book" / "data" / "example_trials.csv"


@dataclass(frozen=True)
class Settings:
    n_subjects: int = 42
    n_trials: int = 60
    n_early: int = 12  # people who stop early, after at least `least` trials
    least: int = 14
    n_quitters: int = 2  # people who stop after a handful
    deadline: float = 2.0  # seconds
    missing_time: float = 0.015  # share of trials
    missing_response: float = 0.005
    zero_time: float = 0.004  # the key was down already
    seed: int = 90
    group: Mapping[str, float] = field(
        default_factory=lambda: {
            "mu_nu": 0.80,
            "mu_log_alpha": 0.03,
            "mu_log_t0": -1.05,
            "log_sigma_nu": -0.60,
            "log_sigma_log_alpha": -2.00,
            "log_sigma_log_t0": -1.30,
            "beta_raw": -0.50,
        }
    )


def simulate(settings: Settings) -> pd.DataFrame:
    """Complete data: every trial of everybody, times in seconds."""
    study = el.simulate_studies(
        1, settings.n_subjects, settings.n_trials, seed=settings.seed, scheme="exact",
        group=settings.group,
    )  # fmt: skip
    choice, rt = study["sim_data"][0].reshape(-1, 2).T.astype(float)
    people = [f"P{j:02d}" for j in range(1, settings.n_subjects + 1)]
    return pd.DataFrame(
        {
            "participant_id": np.repeat(people, settings.n_trials),
            "trial": np.tile(np.arange(1, settings.n_trials + 1), settings.n_subjects),
            "rt": rt,
            "response": choice,
        }
    )


def blemished(frame: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """What is left of the data: milliseconds, with gaps."""
    rng = np.random.default_rng(settings.seed)
    frame = frame[frame["trial"] <= last_trials(settings, rng).repeat(settings.n_trials)].copy()
    chance = rng.random((3, len(frame)))
    late = frame["rt"] > settings.deadline
    frame["rt"] = (1000 * frame["rt"]).round()
    frame.loc[late | (chance[0] < settings.missing_time), ["rt", "response"]] = np.nan
    frame.loc[chance[1] < settings.missing_response, "response"] = np.nan
    frame.loc[chance[2] < settings.zero_time, "rt"] = 0
    return frame.astype({"rt": "Int64", "response": "Int64"})


def last_trials(settings: Settings, rng: np.random.Generator) -> np.ndarray:
    """The last trial of each person."""
    last = np.full(settings.n_subjects, settings.n_trials)
    leaving = rng.permutation(settings.n_subjects)[: settings.n_early + settings.n_quitters]
    last[leaving[: settings.n_early]] = rng.integers(
        settings.least, settings.n_trials, settings.n_early
    )
    last[leaving[settings.n_early :]] = rng.integers(3, 9, settings.n_quitters)
    return last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    settings = Settings()
    out.parent.mkdir(parents=True, exist_ok=True)
    blemished(simulate(settings), settings).to_csv(out, index=False, lineterminator="\n")
    out.with_suffix(".json").write_text(json.dumps(asdict(settings), indent=1) + "\n")


if __name__ == "__main__":
    main()
