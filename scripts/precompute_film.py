"""Shoot the reverse-diffusion films: `src/eamlab/data/films.json`.

    python scripts/precompute_film.py

One run of the compiled sampler for every position of the sliders, with the shipped weights; about a
minute.
"""

from __future__ import annotations

import itertools
import time
from importlib.metadata import version

from tqdm import tqdm

from eamlab.demo import load_demo
from eamlab.widgets.film import STOPS, FilmSettings, make_film, write_films
from eamlab.widgets.network import LazyNetwork

SEED = 12


def main() -> None:
    start = time.monotonic()
    network, films = LazyNetwork(num_samples=FilmSettings().n_particles), []
    for n_subjects in tqdm(STOPS["n_subjects"], unit="study"):
        sim_data = load_demo(n_subjects).sim_data
        summaries = network.summaries(n_subjects, sim_data, FilmSettings().group_size)
        films += [
            make_film(network.sampler, summaries, n_subjects, d0, d1, seed=SEED)
            for d0, d1 in itertools.product(STOPS["d0"], STOPS["d1"])
        ]
    card = {
        "script": "scripts/precompute_film.py",
        "seed": SEED,
        "settings": vars(FilmSettings()),
        "sha256": network.workflow.model_card["sha256"],
        "versions": {k: version(k) for k in ("bayesflow", "keras", "numpy")},
        "seconds": round(time.monotonic() - start),
    }
    write_films(films, card)


if __name__ == "__main__":
    main()
