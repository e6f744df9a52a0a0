"""What a page has without a kernel: the explorer's exact posteriors and trials, the films."""

from __future__ import annotations

import itertools
from functools import lru_cache
from operator import ne
from typing import Any

from tqdm import tqdm

from eamlab.draws import Draws
from eamlab_book.network_file import study_script
from eamlab_book.results.keys import key_of
from eamlab_book.results.workshop import Result, Workshop
from eamlab_book.stored import command, write_whole
from eamlab_book.studies import DEMO_SIZES, Demo, load_demo, simulate_demo
from eamlab_book.widgets.composition import key_json
from eamlab_book.widgets.film import FilmSettings, make_film, pack_films
from eamlab_book.widgets.network import LazyNetwork


@lru_cache(4)
def _demo(workshop: Workshop, n_subjects: int) -> Demo:
    return load_demo(n_subjects, folder=workshop.folder, model=workshop.model)


@lru_cache(1)
def _network(workflow: Any, num_samples: int) -> LazyNetwork:
    return LazyNetwork(workflow, num_samples=num_samples)


def make_explorer(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return the exact posterior for every number of subjects on the explorer's slider."""
    one = workshop.remember(first_subjects)
    demos = result.settings.demos
    return {"exact": {str(d.n_subjects): key_json(one(d)) for d in tqdm(demos, "keys")}}


def first_subjects(workshop: Workshop, demo: Any) -> Draws:
    """Return the exact posterior of the demonstration's first subjects."""
    if demo.n_subjects in DEMO_SIZES:
        return _demo(workshop, demo.n_subjects).exact
    study = simulate_demo(demo, model=workshop.model)
    return key_of(study, workshop.model, demo.num_samples, demo.posterior_seed)


def make_trials(workshop: Workshop, result: Result) -> None:
    """Write the trials of the demonstration study as a script."""
    write_whole(workshop.path(result.files[0]), _trials(workshop, result))


def check_trials(workshop: Workshop, result: Result) -> None:
    """Refuse a script of other trials."""
    target = workshop.path(result.files[0])
    then, now = target.read_text(encoding="utf-8"), _trials(workshop, result)
    # A time on the edge between two steps may be rounded the other way on another machine.
    if len(then) != len(now) or sum(map(ne, then, now)) > len(now) / 1000:
        raise ValueError(f"{target.name} is of another study; run {command(result.name)}.")


def _trials(workshop: Workshop, result: Result) -> str:
    return study_script("demo", simulate_demo(result.settings, model=workshop.model))


def make_films(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return a film for every position of its sliders."""
    chosen: FilmSettings = result.settings
    one, demos = workshop.remember(shoot, "global"), {d.n_subjects: d for d in chosen.demos}
    positions = itertools.product(*(chosen.stops[k] for k in ("n_subjects", "d0", "d1")))
    return pack_films([one(chosen, demos[n], d0, d1) for n, d0, d1 in tqdm([*positions], "films")])


def shoot(workshop: Workshop, chosen: FilmSettings, demo: Any, d0: float, d1: float) -> Any:
    """Run the compiled sampler once; `demo` are the settings of the study."""
    n_subjects, network = demo.n_subjects, _network(workshop.network("global"), chosen.n_particles)
    study = _demo(workshop, n_subjects).study
    sizes = [chosen.group_size] * (n_subjects // chosen.group_size)
    summaries = network.summaries(n_subjects, study, sizes)
    at = (n_subjects, d0, d1)
    return make_film(network.sampler, summaries, *at, seed=chosen.seed, settings=chosen)
