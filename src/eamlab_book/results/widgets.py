"""What the widgets of a page show without a kernel: the explorer's cells and the films."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import Any

from tqdm import tqdm

from eamlab.composition.posterior import compose
from eamlab_book.results.workshop import Result, Workshop
from eamlab_book.studies import Demo, load_demo
from eamlab_book.widgets.film import FilmSettings, make_film, pack_films
from eamlab_book.widgets.grid import (
    Cell,
    GridSettings,
    Settings,
    all_settings,
    pack_grid,
    summarize,
)
from eamlab_book.widgets.network import LazyNetwork

__all__ = ["cell", "make_explorer", "make_films"]


@lru_cache(4)
def _demo(workshop: Workshop, n_subjects: int) -> Demo:
    return load_demo(n_subjects, folder=workshop.folder, model=workshop.model)


@lru_cache(1)
def _network(workflow: Any, num_samples: int) -> LazyNetwork:
    return LazyNetwork(workflow, num_samples=num_samples)


def make_explorer(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return a cell for every position of the explorer's sliders, the cheapest first."""
    chosen: GridSettings = result.settings
    one, demos = workshop.remember(cell, "global"), {d.n_subjects: d for d in chosen.demos}
    wanted = sorted({s.effective() for s in all_settings(chosen.stops)}, key=_cost)
    cells = {
        s: one(s, demos[s.n_subjects], chosen.num_samples, chosen.seed)
        for s in tqdm(wanted, "cells")
    }
    return pack_grid(cells, chosen)


def _cost(settings: Settings) -> tuple[int, str]:
    """Rows that pass the network, for the order and the estimate of the remaining time."""
    batch = settings.n_groups if settings.method == "gaussian" else settings.mini_batch_size
    return settings.steps * batch, str(settings)


def cell(workshop: Workshop, settings: Settings, demo: Any, num_samples: int, seed: int) -> Cell:
    """Run the sampler once; `demo` are the settings of the study."""
    study, options = _demo(workshop, demo.n_subjects), settings.options()
    network = _network(workshop.network("global"), num_samples)
    size = options["group_size"]
    options["summaries"] = network.summaries(demo.n_subjects, study.study, size)
    common: dict[str, Any] = {"num_samples": num_samples, "seed": seed, "check": False}
    return summarize(compose(network.workflow, study.study, **common, **options), study.exact)


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
    summaries = network.summaries(n_subjects, study, chosen.group_size)
    at = (n_subjects, d0, d1)
    return make_film(network.sampler, summaries, *at, seed=chosen.seed, settings=chosen)
