"""Measure speed side by side: `make bench` prints a table and writes a JSON file.

Speed claims are ratios of medians of runs that take turns in one process. `--only NAME` runs one
benchmark. How right the answers are is measured elsewhere (`eamlab_book.report_card`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import eamlab as el
from eamlab_book.network_file import engine_scripts
from eamlab_book.widgets.widget import script_folder

SEED = 20_260_101


def row(what: str, value: float, unit: str, limit: float, **details: Any) -> dict[str, Any]:
    """A line of the table: a ratio has to reach its limit, anything else to stay below it."""
    least = unit == "x"
    reached = bool(value >= limit if least else value <= limit)
    target = f"{'>=' if least else '<='} {limit:g} {unit}"
    shown = {"what": what, "value": round(float(value), 2), "target": target}
    return shown | {"reached": reached} | details


def seconds_of(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(what: str, calls: dict[str, Callable[[], Any]], limit: float, runs: int = 5) -> dict:
    """How much faster the first of two calls is; they take turns, after one warm-up each."""
    for call in calls.values():
        call()
    times = [[seconds_of(call) for call in calls.values()] for _ in range(runs)]
    ours, other = np.median(times, axis=0)
    return row(what, other / ours, "x", limit, seconds=dict(zip(calls, (ours, other), strict=True)))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def bench_simulator() -> Iterator[dict]:
    from ssms.basic_simulators.simulator import simulator

    made, n_trials = el.EAM.sample(60, 1, 1, seed=SEED), 1000
    subjects = {k: made[k][:, 0] for k in ("nu", "alpha", "t0")}
    subjects["beta"] = el.beta_from_raw(made["beta_raw"])[:, 0]
    # ssm-simulators' "ddm": v drift, a half the boundary separation, z relative start, t in s
    theta = np.stack([subjects["nu"], subjects["alpha"] / 2, subjects["beta"], subjects["t0"]], 1)

    def ours(scheme: str) -> Callable[[], Any]:
        return lambda: el.simulate_trials(
            **subjects, n_trials=n_trials, seed=SEED, scheme=scheme, num_threads=1
        )

    def other() -> Any:
        return simulator(
            theta, model="ddm", n_samples=n_trials, delta_t=1e-3, max_t=10, n_threads=1
        )

    for scheme in ("euler-maruyama", "exact"):
        calls = {scheme: ours(scheme), "ssm-simulators": other}
        yield compare(f"simulator, {scheme}, against ssm-simulators", calls, 1, runs=3)
    calls = {"exact": ours("exact"), "euler-maruyama": ours("euler-maruyama")}
    yield compare("simulator, exact against Euler-Maruyama", calls, 10)


def bench_density() -> Iterator[dict]:
    from hddm_wfpt import wfpt

    trials, _ = el.simulate_trials(0.7, 1.1, 0.3, 0.45, 100_000, seed=SEED)
    choice, rt = np.ascontiguousarray(trials.T, dtype=float)
    signed = np.where(choice == 1, rt, -rt)
    options = {"logp": True, "n_st": 1, "n_sz": 1}
    calls = {
        "eamlab": lambda: el.log_density(rt, choice, 0.7, 1.1, 0.3, 0.45),
        "hddm-wfpt": lambda: wfpt.pdf_array(
            signed, 0.7, 0.0, 1.1, 0.45, 0.0, 0.3, 0.0, 1e-12, **options
        ),
    }
    yield compare("log density against hddm-wfpt", calls, 5, runs=15)


def bench_exact() -> Iterator[dict]:
    """Seconds of a warm process: the very first call on a machine compiles for some 15 s more."""
    warm_up = el.simulate(el.EAM, 10, seed=SEED + 1)
    el.exact_people(el.exact(warm_up, el.EAM, 100, seed=1), warm_up[:1], seed=1)
    for n_subjects, limit in ((10, 2), (500, 10), (10_000, 120)):
        study = el.simulate(el.EAM, n_subjects, seed=SEED)
        start = time.perf_counter()
        draws = el.exact(study, el.EAM, seed=1, progress=False)
        seconds = time.perf_counter() - start
        what = f"exact posterior of {n_subjects:,} subjects"
        yield row(what, seconds, "s", limit, warnings=draws.warnings, **draws.diagnostics)
    seconds = seconds_of(lambda: el.exact_people(draws, study[:1], seed=1))
    yield row("one subject given 1,000 draws of the group", seconds, "s", 1)
    yield row("peak of the process (with --only exact)", peak_mb(), "MB", 1500)


def bench_training_step() -> Iterator[dict]:
    import bayesflow as bf
    import keras

    from eamlab.workflows import build_networks

    data = el.EAM.sample(64 * 12, 5, 30, seed=SEED)

    def twelve_steps(preset: str) -> Callable[[], Any]:
        workflow = el.global_workflow(el.EAM, preset=preset)
        build_networks(workflow)
        dataset = bf.datasets.OfflineDataset(data, 64, workflow.adapter)
        workflow.estimator.compile(optimizer=keras.optimizers.Adam(1e-4))
        return lambda: workflow.estimator.fit(dataset=dataset, epochs=1, verbose=0)

    calls = {"default": twelve_steps("quick"), "tutorial": twelve_steps("tutorial")}
    yield compare("training step, default network against the tutorial's", calls, 4)


def bench_population() -> Iterator[dict]:
    """All of a population of 10,000: 100 draws of the group, and of every subject."""
    study = el.simulate(el.EAM, 10_000, seed=SEED)
    workflow, local = el.load_pretrained("global"), el.load_pretrained("local")
    for again in ("compiling included", "again"):
        start = time.perf_counter()
        draws = el.compose(workflow, study, num_samples=100, seed=1)
        seconds = time.perf_counter() - start
        yield row(f"compose 10,000 subjects, 100 draws, {again}", seconds, "s", 30)
    seconds = seconds_of(lambda: el.people(local, draws, study, seed=1))
    yield row("100 draws of each of 10,000 subjects", seconds, "s", 120)
    yield row("peak of the process (with --only population)", peak_mb(), "MB", 1500)


def bench_live(n_moves: int = 48) -> Iterator[dict]:
    """From slider to answer: 10,000 subjects in groups of 5, 100 draws, 100 steps."""
    study = el.simulate(el.EAM, 10_000, seed=SEED)
    workflow = el.load_pretrained("global")
    settings = {"mini_batch_size": 10, "steps": 100}

    def library(seed: int, d0: float, d1: float) -> None:
        options = {"group_size": 5, "method": "euler_maruyama", "check": False} | settings
        el.compose(workflow, study, num_samples=100, seed=seed, d0=d0, d1=d1, **options)

    start = time.perf_counter()
    draws = el.compose(workflow, study, num_samples=100, group_size=5, steps=1, seed=1, check=False)
    sampler = el.LiveSampler(workflow, 100)
    sampler.draw(draws.summaries, d0=1.0, d1=1.0, seed=0, **settings)
    yield row(
        "live: first use, summaries and compiling included", time.perf_counter() - start, "s", 5
    )
    # Bridges as a reader would try them: both ends between 0.1 and 1.
    moves = np.round(10 ** np.random.default_rng(SEED).uniform(-1, 0, size=(n_moves, 2)), 2)

    def live(seed: int, d0: float, d1: float) -> None:
        sampler.draw(draws.summaries, d0=d0, d1=d1, seed=seed, **settings)

    times = [seconds_of(lambda m=m, i=i: live(i, *m)) for i, m in enumerate(moves)]
    others = [seconds_of(lambda m=m, i=i: library(i, *m)) for i, m in enumerate(moves[:6])]
    median, p95 = 1e3 * np.quantile(times, [0.5, 0.95])
    yield row("live: median from slider to 100 draws", median, "ms", 300, load=os.getloadavg())
    yield row("live: 95 % of moves are faster than", p95, "ms", 600)
    yield row("live sampler against compose", np.median(others) / np.median(times), "x", 2)


PAGE = """
const vm = require("vm");
const { scripts, people, sizes } = JSON.parse(require("fs").readFileSync(0, "utf8"));
for (const script of scripts) vm.runInThisContext(script);
const { engine, networks } = globalThis.eamlab;
(async () => {
  const global = engine.load(networks.global);
  const seconds = [];
  for (let i = 0; i < 4; i++) {
    const start = performance.now();
    const summaries = await engine.run(engine.summarize(global, people, sizes));
    const middle = performance.now();
    const groups = await engine.run(engine.prepare(global, summaries));
    await engine.run(engine.gaussianComposition(groups, { draws: 200, seed: i }));
    seconds.push([middle - start, performance.now() - middle].map((ms) => ms / 1000));
  }
  process.stdout.write(JSON.stringify(seconds.slice(1)));
})();
"""


def bench_page() -> Iterator[dict]:
    """What a rendered page's engine takes, in Node, and the library beside it: 200 draws."""
    if shutil.which("node") is None:
        return
    workflow = el.load_pretrained("global")
    scripts = [
        (script_folder() / name).read_text(encoding="utf-8") for name in engine_scripts("global")
    ]
    for n_subjects, limit in ((200, 0.6), (1000, 2.0)):
        study = el.simulate(el.EAM, n_subjects, seed=SEED)
        draws = el.compose(workflow, study, num_samples=200, seed=1, check=False)
        sizes = [200] * draws.diagnostics["n_groups"]
        people = [trials.ravel().tolist() for trials in study.by_subject]
        work = json.dumps({"scripts": scripts, "people": people, "sizes": sizes})
        done = subprocess.run(
            ["node", "-e", PAGE], input=work, capture_output=True, text=True, check=True
        )
        read, drawn = np.median(json.loads(done.stdout), axis=0)

        def library(study: Any = study) -> None:
            el.compose(workflow, study, num_samples=200, seed=2, check=False)

        ours = float(np.median([seconds_of(library) for _ in range(3)]))
        what = f"page: {n_subjects:,} people"
        ratio = (read + drawn) / ours
        yield row(f"{what}, 200 draws of people read before", drawn, "s", limit)
        yield row(f"{what}, read and drawn", read + drawn, "s", 2 * limit, times_the_library=ratio)


BENCHMARKS = {
    name.removeprefix("bench_").replace("_", "-"): call
    for name, call in list(globals().items())
    if name.startswith("bench_")
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=tuple(BENCHMARKS), action="append")
    parser.add_argument("--out", type=Path, default=Path("bench-out/bench.json"))
    args = parser.parse_args()
    rows = [row for name in args.only or BENCHMARKS for row in BENCHMARKS[name]()]
    machine = {"cores": os.cpu_count(), "processor": platform.processor()}
    report = {"seed": SEED, "machine": machine, "rows": rows}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1, default=str), encoding="utf-8")
    columns = ["what", "value", "target", "reached"]
    print(pd.DataFrame(rows)[columns].to_string(index=False))
    print(f"\ndetails in {args.out}")


if __name__ == "__main__":
    main()
