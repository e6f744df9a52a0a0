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

import eamlab as el
from eamlab.widgets.film import STOPS, FilmSettings, make_film, summaries_of, write_films

SEED = 12


def main() -> None:
    start = time.monotonic()
    workflow = el.load_pretrained("global")
    sampler = el.LiveSampler(workflow, num_samples=FilmSettings().n_particles)
    films = []
    for n_subjects in tqdm(STOPS["n_subjects"], unit="study"):
        summaries = summaries_of(workflow, n_subjects)
        films += [
            make_film(sampler, summaries, n_subjects, d0, d1, seed=SEED)
            for d0, d1 in itertools.product(STOPS["d0"], STOPS["d1"])
        ]
    card = {
        "script": "scripts/precompute_film.py",
        "seed": SEED,
        "settings": vars(FilmSettings()),
        "sha256": workflow.model_card["sha256"],
        "versions": {k: version(k) for k in ("bayesflow", "keras", "numpy")},
        "seconds": round(time.monotonic() - start),
    }
    write_films(films, card)


if __name__ == "__main__":
    main()
