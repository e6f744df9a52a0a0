"""The reverse-diffusion film: particles and composed score, from noise to the posterior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eamlab.demo import load_demo
from eamlab.priors import GROUP_PRIOR
from eamlab.widgets.network import LazyNetwork
from eamlab.widgets.stored import (
    SCALE,
    decode,
    encode,
    expand,
    finite,
    load_stored,
    shrink,
    write_stored,
)
from eamlab.widgets.widget import Widget, plain_symbol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FilmSettings", "film", "load_films", "make_film", "write_films"]

STOPS: dict[str, tuple[Any, ...]] = {
    "n_subjects": (10, 100, 1000),
    "d0": (1.0, 0.1, 0.01),
    "d1": (1.0, 0.1, 0.01),
}
"""The positions of the sliders."""

_SHOWN = ("mu_nu", "mu_log_t0")
_COLUMNS = [GROUP_PRIOR.names.index(name) for name in _SHOWN]
_FIELD_AT = np.linspace(-2.7, 2.7, 7)
_FIELD_GRID = np.stack(np.meshgrid(_FIELD_AT, _FIELD_AT), axis=-1).reshape(-1, 2)
"""Prior z-scores at which an arrow starts, on each axis and all together."""
_NAME, _SCRIPT = "films.json", "scripts/precompute_film.py"


@dataclass(frozen=True)
class FilmSettings:
    """What all films have in common.

    Attributes
    ----------
    n_particles, n_frames, steps : int
        Particles drawn, frames shown, and steps of the sampler; ``steps`` is a multiple of
        ``n_frames - 1``.
    group_size, mini_batch_size : int
        Subjects per group, and groups per estimate of the score.
    """

    n_particles: int = 50
    n_frames: int = 21
    steps: int = 300
    group_size: int = 5
    mini_batch_size: int = 10

    @property
    def times(self) -> NDArray[np.float64]:
        """Diffusion times of the frames."""
        return np.linspace(1.0, 0.0, self.n_frames)


def film(*, live: bool = True, **settings: Any) -> Widget:
    """Show particles on their way from noise to a composed posterior, with a slider for time.

    Two of the seven parameters, in prior z-scores. Blue dots are particles, arrows the composed
    score with its bridge where the other five parameters are at the particles' mean, and the gray
    outline holds 95 % of the exact posterior with as much noise as the particles have.

    Parameters
    ----------
    live : bool, default True
        Whether to answer from the real sampler where a kernel is running.
    **settings
        Where the sliders stand at first: ``n_subjects`` (default 100), ``d0``, ``d1`` (1.0), and
        ``frame`` (0, noise, to 20, the posterior).

    Returns
    -------
    Widget

    Raises
    ------
    ValueError
        If a setting is unknown or not a stop of its slider.
    """
    at_first = {"n_subjects": 100, "d0": 1.0, "d1": 1.0, "frame": 10} | settings
    stops = STOPS | {"frame": tuple(range(FilmSettings().n_frames))}
    for name, value in at_first.items():
        if name not in stops:
            raise ValueError(f"settings: there is no {name!r}; choose from {list(stops)}.")
        if value not in stops[name]:
            raise ValueError(f"{name} must be one of {stops[name]}, got {value!r}.")
    films = load_films()
    return Widget(
        "film",
        _page(films),
        at_first,
        sentence=_sentence(at_first),
        still=lambda: _still(films, at_first),
        answer=_Camera() if live else None,
    )


def make_film(
    sampler: Any, summaries: NDArray, n_subjects: int, d0: float, d1: float, *, seed: int
) -> dict[str, Any]:
    """Run the sampler and keep what the film shows, as JSON.

    Parameters
    ----------
    sampler : LiveSampler
        With `FilmSettings.n_particles` draws.
    summaries : ndarray (n_groups, summary_dim)
        Of the groups of the demonstration study.
    n_subjects : int
        Number of subjects of the study.
    d0, d1 : float
        Bridge at the data end and at the noise end.
    seed : int
        Seed of the noise.

    Returns
    -------
    dict
        Times, particles and score of every frame.
    """
    chosen = FilmSettings()
    draws = sampler.draw(
        summaries,
        mini_batch_size=min(chosen.mini_batch_size, len(summaries)),
        d0=d0,
        d1=d1,
        steps=chosen.steps,
        seed=seed,
        path=True,
    )
    frames = np.rint(np.linspace(0, chosen.steps, chosen.n_frames)).astype(int)
    path, times = draws.path[frames], draws.times[frames]
    field = [_field(sampler, summaries, x, t, d0, d1) for x, t in zip(path, times, strict=True)]
    return {
        "n_subjects": n_subjects,
        "d0": d0,
        "d1": d1,
        "n_particles": path.shape[1],
        "times": np.round(times, 4).tolist(),
        "particles": _pack(path[..., _COLUMNS]),
        "field": _pack(np.stack(field)),
    }


def _field(
    sampler: Any, summaries: NDArray, particles: NDArray, t: float, d0: float, d1: float
) -> NDArray:
    """Return the composed score (n_points, 2) on the grid of the two shown parameters."""
    middle = np.clip(np.nan_to_num(particles), -3.0, 3.0).mean(axis=0)
    points = np.tile(middle, (len(_FIELD_GRID), 1))
    points[:, _COLUMNS] = _FIELD_GRID
    return sampler.score_field(summaries, points, float(t), d0=d0, d1=d1)[:, _COLUMNS]


def _pack(values: NDArray) -> str:
    return encode(shrink(finite(values)))


def unpack(text: str) -> NDArray[np.float64]:
    """Return the numbers, in one row, that a film's "particles" or "field" hold."""
    return expand(decode(text))


def write_films(
    films: list[dict[str, Any]], card: Mapping[str, Any], file: str | Path | None = None
) -> None:
    """Write films, with the card that says what made them; see `load_films`."""
    write_stored(_NAME, {**card, "films": {_key(f): f for f in films}}, file)


def load_films(file: str | Path | None = None) -> dict[str, Any]:
    """Load the films of every position of the sliders.

    Raises
    ------
    ValueError
        If the file is missing, incomplete, or was made with other weights than those shipped.
    """
    stored = load_stored(_NAME, _SCRIPT, file)
    if set(stored["films"]) != set(_keys()):
        raise ValueError(
            f"file: it was made with other slider positions than the film has now; run {_SCRIPT} "
            "again."
        )
    return stored


def _keys() -> list[str]:
    return [
        _key({"n_subjects": j, "d0": d0, "d1": d1})
        for j in STOPS["n_subjects"]
        for d0 in STOPS["d0"]
        for d1 in STOPS["d1"]
    ]


def _key(settings: Mapping[str, Any]) -> str:
    """Return the key under which the page finds a film: numbers as JavaScript writes them."""
    return "|".join(f"{settings[k]:g}" for k in ("n_subjects", "d0", "d1"))


def _page(films: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "symbols": [plain_symbol(GROUP_PRIOR[k].symbol) for k in _SHOWN],
        "stops": STOPS,
        "n_frames": FilmSettings().n_frames,
        "times": FilmSettings().times.tolist(),
        "scale": SCALE,
        "field_at": _FIELD_AT.tolist(),
        "films": films["films"],
        "exact": {str(j): _exact(j) for j in STOPS["n_subjects"]},
    }


def _exact(n_subjects: int) -> dict[str, Any]:
    """Return mean and covariance of the two shown parameters, in prior z-scores."""
    z = GROUP_PRIOR.standardize(load_demo(n_subjects).exact.array)[:, _COLUMNS]
    return {"mean": z.mean(axis=0).tolist(), "cov": np.cov(z.T).tolist()}


class _Camera:
    """Answers a position of the sliders with a new run of the sampler."""

    def __init__(self) -> None:
        self.network = LazyNetwork(num_samples=FilmSettings().n_particles)

    def __call__(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        n_subjects, d0, d1 = settings["n_subjects"], settings["d0"], settings["d1"]
        if n_subjects not in STOPS["n_subjects"]:
            raise ValueError(
                f"n_subjects must be one of {STOPS['n_subjects']}, got {n_subjects!r}."
            )
        sim_data, size = load_demo(n_subjects).sim_data, FilmSettings().group_size
        summaries = self.network.summaries(n_subjects, sim_data, size)
        seed = 1 + int(settings.get("seed", 0))
        return make_film(self.network.sampler, summaries, n_subjects, d0, d1, seed=seed)


def _sentence(settings: Mapping[str, Any]) -> str:
    t = FilmSettings().times[settings["frame"]]
    return (
        f"Particles of two of the seven group parameters at diffusion time {t:.2f}, between noise "
        f"(1) and the composed posterior of {settings['n_subjects']} subjects (0), the composed "
        "score as arrows, and the outline of the exact posterior with as much noise."
    )


def _still(films: Mapping[str, Any], settings: Mapping[str, Any]) -> Figure:
    """Return the picture as a figure."""
    import matplotlib.pyplot as plt

    from eamlab.plots import PALETTE, symbol

    chosen = FilmSettings()
    shot = films["films"][_key(settings)]
    points = unpack(shot["particles"]).reshape(chosen.n_frames, -1, 2)[settings["frame"]]
    arrows = unpack(shot["field"]).reshape(chosen.n_frames, -1, 2)[settings["frame"]]
    figure, ax = plt.subplots(figsize=(4.5, 4.5))
    ax.quiver(*_FIELD_GRID.T, *arrows.T, color=PALETTE["exact"], width=0.004)
    ax.plot(*points.T, "o", ms=3, color=PALETTE["composed"])
    ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
    ax.set(xlabel=symbol(_SHOWN[0]), ylabel=symbol(_SHOWN[1]))
    plt.close(figure)
    return figure
