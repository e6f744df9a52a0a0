"""Measure speed and quality side by side: `make bench` prints a table and writes a JSON file.

Speed claims are ratios of medians of runs that take turns in one process. `--only NAME` runs one
benchmark; `--list` names them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
from tqdm import tqdm

import eamlab as el

SEED = 20_260_101
NAMES = el.GROUP_PRIOR.names


@dataclass
class Row:
    """One line of the table: what was measured, against what, and the target."""

    what: str
    ours: str
    other: str
    value: float
    target: str
    reached: bool | None
    details: dict[str, Any] = field(default_factory=dict)


def alternate(calls: dict[str, Callable[[], Any]], runs: int = 5) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, after one warm-up each."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(runs):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


def ratio_row(what: str, ours: str, other: str, t: dict[str, float], least: float, **more: Any):
    value = t[other] / t[ours]
    details = {"seconds": t} | more
    return Row(what, ours, other, round(value, 1), f">= {least:g}x", value >= least, details)


@numba.njit
def tutorial_trial(nu, alpha, t0, beta, dt, max_time):
    """One trial as tutorials write it: NumPy's generator, one step after the other."""
    x, t = beta * alpha, 0.0
    while 0 < x < alpha and t < max_time:
        x += nu * dt + np.sqrt(dt) * np.random.normal()
        t += dt
    return (1.0 if x >= alpha else 0.0), t0 + t


def tutorial_studies(group: dict[str, np.ndarray], n_subjects: int, n_trials: int) -> np.ndarray:
    """A Python loop over subjects and trials that calls the compiled trial."""
    rng = np.random.default_rng(SEED)
    subjects = el.sample_subjects(group, n_subjects, rng)
    beta = el.beta_from_raw(group["beta_raw"])[:, 0]
    n = len(beta)
    data = np.empty((n, n_subjects, n_trials, 2), dtype="float32")
    for i in range(n):
        for j in range(n_subjects):
            nu, alpha, t0 = (subjects[k][i, j] for k in ("nu", "alpha", "t0"))
            for k in range(n_trials):
                data[i, j, k] = tutorial_trial(nu, alpha, t0, beta[i], 1e-3, 10.0)
    return data


def bench_euler_maruyama() -> list[Row]:
    n_studies = 100
    group = el.GROUP_PRIOR.sample(n_studies, np.random.default_rng(SEED))
    ours = {"seed": SEED, "group": group, "scheme": "euler-maruyama"}
    t = alternate(
        {
            "eamlab": lambda: el.simulate_studies(n_studies, 5, 30, **ours),
            "loop": lambda: tutorial_studies(group, 5, 30),
            "eamlab, 1 thread": lambda: el.simulate_studies(
                n_studies, 5, 30, num_threads=1, **ours
            ),
        }
    )
    trials = n_studies * 150
    return [
        ratio_row(
            "Euler-Maruyama studies against a loop over jitted trials", "eamlab", "loop", t, 10,
            trials_per_second={k: round(trials / v) for k, v in t.items()},
        )
    ]  # fmt: skip


def _subjects(n: int) -> dict[str, np.ndarray]:
    data = el.simulate_studies(n, 1, 1, seed=SEED, scheme="exact")
    beta = el.beta_from_raw(data["beta_raw"])[:, 0]
    return {k: data[k][:, 0] for k in ("nu", "alpha", "t0")} | {"beta": beta}


def bench_exact_sampler() -> list[Row]:
    subjects, n_trials = _subjects(2000), 500
    run = {
        scheme: (
            lambda scheme=scheme: el.simulate_trials(
                **subjects, n_trials=n_trials, seed=SEED, scheme=scheme, num_threads=1
            )
        )
        for scheme in ("exact", "euler-maruyama")
    }
    t = alternate(run)
    rate = {k: round(2000 * n_trials / v) for k, v in t.items()}
    return [
        ratio_row(
            "exact sampler against Euler-Maruyama, one thread", "exact", "euler-maruyama", t, 10,
            trials_per_second=rate,
        )
    ]  # fmt: skip


def bench_ssm_simulators() -> list[Row]:
    from ssms.basic_simulators.simulator import simulator

    s, n_trials = _subjects(60), 1000
    # ssm-simulators' "ddm": v drift, a half the boundary separation, z relative start, t in s
    theta = np.stack([s["nu"], s["alpha"] / 2, s["beta"], s["t0"]], axis=1)
    both = {"n_trials": n_trials, "seed": SEED, "num_threads": 1}
    t = alternate(
        {
            "eamlab Euler-Maruyama": lambda: el.simulate_trials(**s, **both),
            "ssm-simulators": lambda: simulator(
                theta, model="ddm", n_samples=n_trials, delta_t=1e-3, max_t=10, n_threads=1
            ),
            "eamlab exact": lambda: el.simulate_trials(**s, scheme="exact", **both),
        },
        runs=3,
    )
    return [
        ratio_row("Euler-Maruyama against ssm-simulators", "eamlab Euler-Maruyama",
                  "ssm-simulators", t, 1),
        ratio_row("exact sampler against ssm-simulators", "eamlab exact", "ssm-simulators", t, 1),
    ]  # fmt: skip


def bench_density() -> list[Row]:
    from hddm_wfpt import wfpt

    trials, _ = el.simulate_trials(0.7, 1.1, 0.3, 0.45, 100_000, seed=SEED, scheme="exact")
    rt = np.ascontiguousarray(trials[:, 1], dtype=float)
    choice = np.ascontiguousarray(trials[:, 0], dtype=float)
    signed = np.where(choice == 1, rt, -rt)

    def other() -> np.ndarray:
        return wfpt.pdf_array(
            signed, 0.7, 0.0, 1.1, 0.45, 0.0, 0.3, 0.0, 1e-12, logp=True, n_st=1, n_sz=1
        )

    def ours() -> np.ndarray:
        return el.log_density(rt, choice, 0.7, 1.1, 0.3, 0.45)

    difference = float(np.max(np.abs(other() - ours())))
    t = alternate({"eamlab": ours, "hddm-wfpt": other}, runs=15)
    return [
        ratio_row("log density against hddm-wfpt", "eamlab", "hddm-wfpt", t, 5,
                  largest_difference=difference)
    ]  # fmt: skip


def bench_exact_posterior() -> list[Row]:
    """Seconds of a warm process: the very first call on a machine compiles for some 15 s more."""
    warm_up = el.simulate_studies(1, 10, 30, seed=SEED + 1, scheme="exact")["sim_data"][0]
    draws = el.exact_posterior(warm_up, 100, seed=1, progress=False).samples
    el.subject_posterior(warm_up[0], draws, seed=1)
    rows = []
    for n_subjects, limit in ((10, 2), (500, 10), (10_000, 120)):
        study = el.simulate_studies(1, n_subjects, 30, seed=SEED, scheme="exact")["sim_data"][0]
        start = time.perf_counter()
        posterior = el.exact_posterior(study, 1000, seed=1, progress=False)
        seconds = time.perf_counter() - start
        rows.append(
            Row(
                f"seconds for the exact posterior of {n_subjects:,} subjects", posterior.method, "",
                round(seconds, 2), f"<= {limit} s", seconds <= limit,
                {"ess": posterior.ess, "warnings": posterior.warnings},
            )
        )  # fmt: skip
    one, eta = study[0], posterior.samples
    start = time.perf_counter()
    el.subject_posterior(one, eta, seed=1)
    seconds = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return [
        *rows,
        Row("seconds for one subject given 1,000 draws of the group", "", "", round(seconds, 2),
            "<= 1 s", seconds <= 1),
        Row("peak MB of the exact posterior's process", "", "", round(peak_mb), "<= 1500 MB",
            peak_mb <= 1500),
    ]  # fmt: skip


def _step_milliseconds(workflow: Any, group_size: int = 5, batch_size: int = 64) -> Callable:
    import bayesflow as bf
    import keras

    data = el.simulate_studies(batch_size * 12, group_size, 30, seed=SEED, scheme="exact")
    del data["timed_out"]
    dataset = bf.datasets.OfflineDataset(data, batch_size, workflow.adapter)
    workflow.estimator.compile(optimizer=keras.optimizers.Adam(1e-4))
    return lambda: workflow.estimator.fit(dataset=dataset, epochs=1, verbose=0)


def bench_training_step() -> list[Row]:
    from eamlab.workflows import build_networks

    ours, tutorial = el.global_workflow(), el.global_workflow(preset="tutorial")
    for workflow in (ours, tutorial):
        build_networks(workflow)
    t = alternate({"default": _step_milliseconds(ours), "tutorial": _step_milliseconds(tutorial)})
    counts = {
        "default": ours.estimator.count_params(),
        "tutorial": tutorial.estimator.count_params(),
    }
    return [
        ratio_row("training step, batch 64, default network against the tutorial's", "default",
                  "tutorial", t, 4, milliseconds={k: round(v / 12 * 1e3, 1) for k, v in t.items()},
                  weights={k: int(v) for k, v in counts.items()})
    ]  # fmt: skip


def _recovery(draws: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> dict[str, float]:
    return {
        n: round(float(np.corrcoef(draws[n][..., 0].mean(1), truth[n][:, 0])[0, 1]), 3)
        for n in NAMES
    }


def bench_ten_thousand(n_studies: int = 8) -> list[Row]:
    """10,000 subjects, 100 draws each study, one study after the other as a reader would."""
    studies = [
        el.simulate_studies(1, 10_000, 30, seed=SEED + i, scheme="exact") for i in range(n_studies)
    ]
    truth = {n: np.concatenate([s[n] for s in studies]) for n in NAMES}
    runs = {
        "default": (el.load_pretrained("global"), {}),
        "tutorial": (
            el.load_pretrained("global-pooled"),
            {
                "group_size": 5,
                "mini_batch_size": 10,
                "method": "two_step_adaptive",
                "d0": 0.1,
                "d1": 0.1,
                "prior": "weighted",
            },
        ),
    }
    draws: dict[str, list[dict[str, np.ndarray]]] = {k: [] for k in runs}
    times: dict[str, list[float]] = {k: [] for k in runs}
    for i, study in enumerate(tqdm(studies, "J = 10,000")):
        for name, (workflow, settings) in runs.items():
            start = time.perf_counter()
            draws[name].append(
                el.compose(workflow, study["sim_data"], num_samples=100, seed=i, **settings)
            )
            times[name].append(time.perf_counter() - start)
    t = {k: float(np.median(v[1:])) for k, v in times.items()}
    stacked = {k: {n: np.concatenate([d[n] for d in v]) for n in NAMES} for k, v in draws.items()}
    return [
        ratio_row("composing 10,000 subjects, 100 draws, ours against the tutorial's", "default",
                  "tutorial", t, 10, recovery={k: _recovery(v, truth) for k, v in stacked.items()},
                  settings={k: v[0].settings for k, v in draws.items()}, studies=n_studies)
    ]  # fmt: skip


def bench_population() -> list[Row]:
    """All of a population of 10,000: 200 group draws, then 100 draws for every subject."""
    study = el.simulate_studies(1, 10_000, 30, seed=SEED, scheme="exact")
    workflow, local = el.load_pretrained("global"), el.load_pretrained("local")
    start = time.perf_counter()
    draws = el.compose(workflow, study["sim_data"], num_samples=200, seed=1)
    composing = time.perf_counter() - start
    start = time.perf_counter()
    group = {k: v[:, :100] for k, v in draws.items()}
    subjects = el.sample_subject_parameters(local, group, study["sim_data"], seed=1)
    sampling = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    recovery = {
        k: round(float(np.corrcoef(v[0].mean(axis=1), study[k][0])[0, 1]), 3)
        for k, v in subjects.items()
    }
    return [
        Row("seconds to compose 10,000 subjects, 200 draws, compiling included", "", "",
            round(composing, 1), "<= 30 s", composing <= 30, {"settings": draws.settings}),
        Row("seconds for 100 draws of each of 10,000 subjects", "", "", round(sampling, 1),
            "<= 120 s", sampling <= 120, {"recovery": recovery}),
        Row("peak MB of that process (with --only population)", "", "", round(peak_mb),
            "<= 1500 MB", peak_mb <= 1500),
    ]  # fmt: skip


def _moved_sliders(n: int) -> list[dict[str, float]]:
    """Bridges as a reader would try them: both ends between 0.1 and 1."""
    values = np.round(10 ** np.random.default_rng(SEED).uniform(-1, 0, size=(n, 2)), 2)
    return [{"d0": d0, "d1": d1} for d0, d1 in values]


def _library_draw(workflow: Any, summaries: np.ndarray, *, d0: float, d1: float, seed: int) -> Any:
    import keras

    from eamlab.compose import prior_score

    return workflow.compositional_sample(
        summaries=summaries[None], num_samples=100, method="euler_maruyama", steps=100,
        mini_batch_size=10, compositional_bridge_d0=d0, compositional_bridge_d1=d1,
        compute_prior_score=prior_score("diffused"), seed=keras.random.SeedGenerator(seed),
    )  # fmt: skip


def bench_live(n_rounds: int = 8, per_round: int = 6) -> list[Row]:
    """From slider to answer: 10,000 subjects in groups of 5, 100 draws, 100 steps.

    In each round six draws of the live sampler and one of BayesFlow's, all with other bridges.
    """
    import psutil

    from eamlab.groups import split_subjects, summarize_groups
    from eamlab.live import LiveSampler

    study = el.simulate_studies(1, 10_000, 30, seed=SEED, scheme="exact")["sim_data"]
    workflow = el.load_pretrained("global")
    settings = {"mini_batch_size": 10, "steps": 100}
    start = time.perf_counter()
    summaries = summarize_groups(workflow, split_subjects(study, (5,) * 2000))[0]
    sampler = LiveSampler(workflow, 100)
    sampler.draw(summaries, d0=1.0, d1=1.0, seed=0, **settings)
    first = time.perf_counter() - start

    process = psutil.Process()
    before = process.memory_info().rss
    moved = _moved_sliders(n_rounds * (per_round + 1))
    live: list[float] = []
    library: list[float] = []
    grown, cpu = 0, 0.0
    for seed, bridge in enumerate(tqdm(moved, "live")):
        ours = seed % (per_round + 1) < per_round
        rss, used = process.memory_info().rss, time.process_time()
        start = time.perf_counter()
        if ours:
            sampler.draw(summaries, seed=seed, **bridge, **settings)
            cpu += time.process_time() - used
            grown += process.memory_info().rss - rss
        else:
            _library_draw(workflow, summaries, seed=seed, **bridge)
        (live if ours else library).append(time.perf_counter() - start)
    median, p95 = (float(np.quantile(live, q)) * 1e3 for q in (0.5, 0.95))
    t = {"live": median / 1e3, "library": float(np.median(library))}
    details = {
        "draws": len(live),
        "cpu_ms": round(cpu / len(live) * 1e3),
        "load": os.getloadavg(),
        "mb_before": round(before / 2**20),
        "mb_grown_in_live_draws": round(grown / 2**20, 1),
    }
    return [
        Row("live: median ms from slider to 100 draws of 10,000 subjects", "live", "",
            round(median), "<= 300 ms", median <= 300, details),
        Row("live: 95 % of these are faster than, ms", "live", "", round(p95), "<= 600 ms",
            p95 <= 600),
        Row("live: seconds of first use, summaries and compiling included", "live", "",
            round(first, 1), "<= 5 s", first <= 5),
        ratio_row("live sampler against workflow.compositional_sample", "live", "library", t, 5,
                  library_seconds=library),
    ]  # fmt: skip


def bench_quick_training() -> list[Row]:
    from eamlab.train import train
    from eamlab.workflows import get_preset

    preset = get_preset("quick")
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        workflow = train(
            "global", network=preset.global_network, settings=preset.global_training, out=out,
            preset="quick", n_quality=12,
        )  # fmt: skip
        seconds = time.perf_counter() - start
    data = el.simulate_studies(200, 5, 30, seed=SEED + 1, scheme="exact")
    draws = workflow.sample(
        num_samples=100, conditions={"sim_data": data["sim_data"]}, method="euler", steps=50, seed=1
    )
    r = _recovery(draws, data)
    reached = seconds <= 300 and r["mu_nu"] >= 0.55 and r["mu_log_t0"] >= 0.75
    return [
        Row(
            "quick global training: minutes, then recovery on 200 groups",
            "quick",
            "",
            round(seconds / 60, 2),
            "<= 5 min; mu_nu >= 0.55, mu_log_t0 >= 0.75",
            reached,
            {"recovery": r},
        )
    ]


def bench_calibration() -> list[Row]:
    from eamlab.quality import measure_quality
    from eamlab.workflows import TrainingSettings

    rows = []
    for name, least in (("global", 6), ("global-pooled", 0), ("local", 3)):
        workflow = el.load_pretrained(name)
        settings = TrainingSettings(epochs=1, group_sizes=(1,) if name == "local" else (5,))
        quality = measure_quality(
            workflow, workflow.model_card["kind"], settings=settings, n=300, seed=SEED
        )
        per_parameter = quality["1" if name == "local" else "5"]
        inside = sum(v["log_gamma"] > 0 for v in per_parameter.values())
        rows.append(
            Row(
                f"{name}: parameters whose rank ECDF stays inside simultaneous 95 % bands",
                name,
                "",
                inside,
                f">= {least} of {len(per_parameter)}" if least else "report",
                inside >= least if least else None,
                {
                    "quality": per_parameter,
                    "training_seconds": workflow.model_card["training_seconds"],
                    "training_cpu_seconds": workflow.model_card.get("training_cpu_seconds"),
                },
            )
        )
    return rows


BENCHMARKS: dict[str, Callable[[], list[Row]]] = {
    "euler-maruyama": bench_euler_maruyama,
    "exact-sampler": bench_exact_sampler,
    "ssm-simulators": bench_ssm_simulators,
    "density": bench_density,
    "exact-posterior": bench_exact_posterior,
    "training-step": bench_training_step,
    "ten-thousand": bench_ten_thousand,
    "population": bench_population,
    "live": bench_live,
    "quick-training": bench_quick_training,
    "calibration": bench_calibration,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=tuple(BENCHMARKS), action="append")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("bench-out/bench.json"))
    args = parser.parse_args()
    if args.list:
        print("\n".join(BENCHMARKS))
        return
    rows: list[Row] = []
    for name in args.only or BENCHMARKS:
        start = time.perf_counter()
        rows += BENCHMARKS[name]()
        tqdm.write(f"{name}: {time.perf_counter() - start:.0f} s")
    report = {
        "seed": SEED,
        "machine": {"cores": os.cpu_count(), "processor": platform.processor()},
        "rows": [vars(row) for row in rows],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1, default=str))
    table = pd.DataFrame(
        [{k: getattr(r, k) for k in ("what", "value", "target", "reached")} for r in rows]
    )
    print(table.to_string(index=False))
    print(f"\ndetails in {args.out}")


if __name__ == "__main__":
    main()
