"""The reverse-diffusion film: particles and composed score, from noise to the posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from eamlab.model.eam import EAM
from eamlab.model.model import GroupPrior
from eamlab_book.stored import load_stored
from eamlab_book.studies import DemoSettings, exact_of, load_demo
from eamlab_book.widgets.codec import SCALE, pack, unpack
from eamlab_book.widgets.network import LazyNetwork
from eamlab_book.widgets.widget import Widget, plain_symbol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STOPS: dict[str, tuple[Any, ...]] = {
    "n_subjects": (10, 100, 1000),
    "d0": (1.0, 0.1, 0.01),
    "d1": (1.0, 0.1, 0.01),
}
"""The positions of the sliders."""

_SHOWN = ("mu_nu", "mu_log_t0")
_FIELD_AT = np.linspace(-2.7, 2.7, 7)
_FIELD_GRID = np.stack(np.meshgrid(_FIELD_AT, _FIELD_AT), axis=-1).reshape(-1, 2)
"""Prior z-scores at which an arrow starts, on each axis and all together."""


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
    seed : int
        Of the films that are stored.
    stops : mapping
        The positions of the sliders.
    demos : tuple of DemoSettings
        The studies.
    """

    n_particles: int = 50
    n_frames: int = 21
    steps: int = 300
    group_size: int = 5
    mini_batch_size: int = 10
    seed: int = 12
    stops: Mapping[str, Sequence[Any]] = field(default_factory=STOPS.copy)
    demos: tuple[DemoSettings, ...] = tuple(map(DemoSettings, STOPS["n_subjects"]))

    @property
    def times(self) -> NDArray[np.float64]:
        """Diffusion times of the frames."""
        return np.linspace(1.0, 0.0, self.n_frames)


def film(*, live: bool = True, **settings: Any) -> Widget:
    """Show particles on their way from noise to a composed posterior, with a slider for time.

    Two of the group parameters, in prior z-scores. Blue dots are particles, arrows the composed
    score with its bridge where the other parameters are at the particles' mean, and the gray
    outline holds 95 % of the exact posterior with as much noise as the particles have.

    Parameters
    ----------
    live : bool, default True
        Whether to answer from the real sampler where a kernel is running.
    **settings
        Where the sliders stand at first: ``n_subjects`` (default 100), ``d0``, ``d1`` (1.0), and
        ``frame`` (default 0, noise, to 20, the posterior).

    Returns
    -------
    Widget

    Raises
    ------
    ValueError
        If a setting is unknown or not a stop of its slider.
    """
    at_first = {"n_subjects": 100, "d0": 1.0, "d1": 1.0, "frame": 0} | settings
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
        at_first | {"seed": 0},
        sentence=_sentence(at_first),
        still=lambda: _still(films, at_first),
        answer=_Camera() if live else None,
    )


def make_film(
    sampler: Any,
    summaries: NDArray,
    n_subjects: int,
    d0: float,
    d1: float,
    *,
    seed: int,
    settings: FilmSettings | None = None,
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
    settings : FilmSettings, optional
        What all films have in common; by default as those that are shipped.

    Returns
    -------
    dict
        Times, particles and score of every frame.
    """
    chosen = settings or FilmSettings()
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
        "particles": pack(path[..., _columns(sampler.model.prior)]),
        "field": pack(np.stack(field)),
    }


def _field(
    sampler: Any, summaries: NDArray, particles: NDArray, t: float, d0: float, d1: float
) -> NDArray:
    """Return the composed score (n_points, 2) on the grid of the two shown parameters."""
    middle = np.clip(np.nan_to_num(particles), -3.0, 3.0).mean(axis=0)
    points = np.tile(middle, (len(_FIELD_GRID), 1))
    points[:, _columns(sampler.model.prior)] = _FIELD_GRID
    score = sampler.score_field(summaries, points, float(t), d0=d0, d1=d1)
    return np.asarray(score[:, _columns(sampler.model.prior)])


def _columns(prior: GroupPrior) -> list[int]:
    """Where an array in the order of `prior` has the two shown parameters."""
    return [prior.names.index(name) for name in _SHOWN]


def pack_films(films: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the file holds of films, one for every position of the sliders."""
    return {"films": {_key(film): film for film in films}}


def load_films() -> dict[str, Any]:
    """Load the films of every position of the sliders.

    Raises
    ------
    ValueError
        If the file is missing, or was made with other settings, another model or other weights.
    """
    return load_stored("films.json", FilmSettings())


def _key(settings: Mapping[str, Any]) -> str:
    """Return the key under which the page finds a film: numbers as JavaScript writes them."""
    return "|".join(f"{settings[k]:g}" for k in ("n_subjects", "d0", "d1"))


def _page(films: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "symbols": [plain_symbol(EAM.prior[k].symbol) for k in _SHOWN],
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
    z = EAM.prior.standardize(exact_of(n_subjects).array)[:, _columns(EAM.prior)]
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
        study, size = load_demo(n_subjects).study, FilmSettings().group_size
        summaries = self.network.summaries(n_subjects, study, [size] * (n_subjects // size))
        seed = 1 + int(settings.get("seed", 0))
        return make_film(self.network.sampler, summaries, n_subjects, d0, d1, seed=seed)


def _sentence(settings: Mapping[str, Any]) -> str:
    t = FilmSettings().times[settings["frame"]]
    return (
        f"Particles of two of the group parameters at diffusion time {t:.2f}, between noise "
        f"(1) and the composed posterior of {settings['n_subjects']} subjects (0), the composed "
        "score as arrows, and the outline of the exact posterior with as much noise."
    )


def _outline(exact: Mapping[str, Any], t: float) -> NDArray[np.float64]:
    """Return the outline (2, 61) of 95 % of the exact posterior with as much noise as at time t."""
    alpha, sigma = np.cos(np.pi / 2 * t), np.sin(np.pi / 2 * t)
    cov = alpha**2 * np.array(exact["cov"]) + sigma**2 * np.eye(2)
    angle = np.linspace(0, 2 * np.pi, 61)
    circle = np.sqrt(stats.chi2.ppf(0.95, 2)) * np.stack([np.cos(angle), np.sin(angle)])
    middle = alpha * np.array(exact["mean"])
    return middle[:, None] + np.linalg.cholesky(cov) @ circle


def _still(films: Mapping[str, Any], settings: Mapping[str, Any]) -> Figure:
    """Return the picture as a figure."""
    import matplotlib.pyplot as plt

    from eamlab_book.figures import PALETTE, symbol

    chosen = FilmSettings()
    shot = films["films"][_key(settings)]
    points = unpack(shot["particles"]).reshape(chosen.n_frames, -1, 2)[settings["frame"]]
    arrows = unpack(shot["field"]).reshape(chosen.n_frames, -1, 2)[settings["frame"]]
    figure, ax = plt.subplots(figsize=(4.5, 4.5))
    outline = _outline(_exact(settings["n_subjects"]), chosen.times[settings["frame"]])
    ax.fill(*outline, color=PALETTE["exact"], alpha=0.45, lw=0)
    ax.plot(*outline, "--", color=PALETTE["truth"], lw=1)
    ax.quiver(*_FIELD_GRID.T, *arrows.T, color=PALETTE["exact"], width=0.004)
    ax.plot(*points.T, "o", ms=3, color=PALETTE["composed"])
    ax.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal")
    ax.set(xlabel=symbol(_SHOWN[0]), ylabel=symbol(_SHOWN[1]))
    plt.close(figure)
    return figure
