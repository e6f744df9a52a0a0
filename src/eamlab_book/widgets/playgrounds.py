"""Three playgrounds that compute in the reader's browser, and in Python where there is a kernel.

Each function returns a `Widget`. What its script computes follows the library's own formulas; the
numbers it needs (stops of the sliders, priors, the toy's observations) come from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from eamlab.compiled import njit
from eamlab.model.density import log_density
from eamlab.model.eam import EAM, beta_from_raw
from eamlab.model.simulator import (
    BOUNDARY_SHIFT,
    corrected_step,
    simulate_paths,
    simulate_trials,
)
from eamlab.study import simulate
from eamlab_book.figures import PALETTE, paths_figure
from eamlab_book.studies import DEMO_GROUP
from eamlab_book.toy import ENDS, GaussianToy, bridge, reverse_diffusion
from eamlab_book.widgets.codec import encode
from eamlab_book.widgets.widget import Widget, plain_symbol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Settings = Mapping[str, Any]
FloatArray = NDArray[np.float64]


# ------------------------------------------------------------------------------------------------
# What the browser sends
# ------------------------------------------------------------------------------------------------


def _number(settings: Settings, name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """Return one setting as a number in [low, high]."""
    value = settings.get(name)
    x = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not low <= x <= high:  # NaN fails as well
        raise ValueError(f"{name} must be a number between {low:g} and {high:g}, got {value!r}.")
    return x


def _whole(settings: Settings, name: str, low: int = 0, high: int = 2**31) -> int:
    """Return one setting as an integer in [low, high]."""
    value = _number(settings, name, low, high)
    if value != int(value):
        raise ValueError(f"{name} must be an integer, got {value!r}.")
    return int(value)


def _one_of(settings: Settings, name: str, options: Iterable[str]) -> str:
    """Return one setting that must be among `options`."""
    value = settings.get(name)
    if value not in (known := list(options)):
        raise ValueError(f"{name} must be one of {known}, got {value!r}.")
    return str(value)


def _with_value(stops: Iterable[float], value: float) -> list[float]:
    """Return the stops of a slider, with the value at which it stands among them."""
    return sorted({*(round(float(stop), 6) for stop in stops), value})


# ------------------------------------------------------------------------------------------------
# One decision
# ------------------------------------------------------------------------------------------------

_DECISION_STOPS: dict[str, FloatArray] = {
    "nu": np.linspace(-3, 3, 61),
    "alpha": np.linspace(0.5, 2.5, 41),
    "t0": np.linspace(0.1, 0.6, 26),
    "beta": np.linspace(0.1, 0.9, 41),
    "dt": np.array([0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05]),
}
_BOUNDS = {"plain": "euler-maruyama", "inward": "euler-maruyama-corrected"}
_MAX_TIME = 10.0  # seconds of evidence, as in simulate_trials
_LIVE_DECISIONS = 20_000
_PATHS, _PATH_POINTS = 14, 200


def decision_playground(
    *,
    nu: float = 1.0,
    alpha: float = 1.0,
    t0: float = 0.3,
    beta: float = 0.5,
    dt: float = 0.001,
) -> Widget:
    """Vary one decision: its paths, its response times, and the exact density over them.

    Parameters
    ----------
    nu : float, default 1.0
        Drift rate at which the slider stands at first, from -3 to 3.
    alpha : float, default 1.0
        Boundary separation, from 0.5 to 2.5.
    t0 : float, default 0.3
        Non-decision time in seconds, from 0.1 to 0.6.
    beta : float, default 0.5
        Relative starting point, from 0.1 to 0.9.
    dt : float, default 0.001
        Step of the Euler-Maruyama walks in seconds, from 0.001 to 0.05.

    Returns
    -------
    Widget
        The last expression of a notebook cell shows it.

    Raises
    ------
    ValueError
        If a value lies outside its slider's range.

    See Also
    --------
    eamlab.simulate_trials : The same walks, and exact ones.
    eamlab.log_density : The line over the histograms.
    """
    start = {"nu": nu, "alpha": alpha, "t0": t0, "beta": beta, "dt": dt}
    values = {k: _number(start, k, x[0], x[-1]) for k, x in _DECISION_STOPS.items()}
    stops = {k: _with_value(x, values[k]) for k, x in _DECISION_STOPS.items()}
    data = {"stops": stops, "shift": BOUNDARY_SHIFT, "max_time": _MAX_TIME}
    subject = {k: value for k, value in values.items() if k != "dt"}
    setting = ", ".join(f"{name} = {value:g}" for name, value in values.items())
    return Widget(
        "decision",
        data,
        {**values, "bounds": "plain", "seed": 1},
        sentence=f"Paths of evidence between two bounds for {setting}, with histograms of the "
        "response times at both bounds and the exact density as a line.",
        still=partial(paths_figure, **subject, seed=1, scheme="euler-maruyama", dt=dt),
        answer=_decide,
    )


def _decide(settings: Settings) -> dict[str, Any]:
    """Simulate the decisions of one position of the sliders."""
    stops = _DECISION_STOPS.items()
    nu, alpha, t0, beta, dt = (_number(settings, k, x[0], x[-1]) for k, x in stops)
    bounds, seed = _one_of(settings, "bounds", _BOUNDS), _whole(settings, "seed")
    end, width = _number(settings, "end", t0, 100.0), _number(settings, "width", 1e-3, 10.0)
    inward = bounds == "inward"
    step = float(corrected_step(alpha, dt)) if inward else dt
    data, late = simulate_trials(
        nu, alpha, t0, beta, _LIVE_DECISIONS,
        seed=seed, scheme=_BOUNDS[bounds], dt=dt, max_time=_MAX_TIME,
    )  # fmt: skip
    # Times lie at t0 + k step, each in the middle of a step: see figures.draw_trials.
    edges = t0 + step / 2 + width * np.arange(math.ceil((end - t0) / width) + 1)
    counts = {c: np.histogram(data[data[:, 0] == c, 1], edges)[0].tolist() for c in (0, 1)}
    shift = BOUNDARY_SHIFT * math.sqrt(step) if inward else 0.0
    return {
        "n": _LIVE_DECISIONS, "step": step, "late": int(late.sum()),
        "mean": data[:, 1].mean(dtype=float), "p_upper": data[:, 0].mean(dtype=float),
        "first": edges[0], "width": width, "upper": counts[1], "lower": counts[0],
        "paths": _thin_paths(nu, alpha, t0, beta, step, shift, seed),
    }  # fmt: skip


def _thin_paths(
    nu: float, alpha: float, t0: float, beta: float, step: float, shift: float, seed: int
) -> list[list[list[float]]]:
    """Return a few of the same walks between the moved bounds, ``[[time, evidence], ...]`` each."""
    between = alpha - 2 * shift
    start = (alpha * beta - shift) / between
    walks = simulate_paths(
        nu, between, t0, start, _PATHS, seed=seed, dt=step, max_time=_MAX_TIME
    )  # fmt: skip
    thin = []
    for time, evidence in walks:
        every = -(-len(time) // _PATH_POINTS)
        rows = [*range(0, len(time) - 1, every), len(time) - 1]
        thin.append(np.stack([time[rows], evidence[rows] + shift], axis=-1).round(4).tolist())
    return thin


# ------------------------------------------------------------------------------------------------
# A population
# ------------------------------------------------------------------------------------------------

_REACH, _STOPS_PER_SD = 2.5, 10  # of a group parameter's slider, in prior sds
_NODES = 256
_PEOPLE, _LIVE_PEOPLE, _LIVE_TRIALS = 40, 2_000, 10
_BIN = 0.025  # seconds
_TITLES = {"nu": "drift ν", "alpha": "boundary α", "t0": "t₀ (s)"}
_SHOWN_SDS = 1.2  # of what people can be, to either side of the middle


def population_playground() -> Widget:
    """Vary a population: its people, and the response times that it expects.

    The sliders are the group parameters, over 2.5 prior sds to both sides of the prior's
    mean; they stand at the population of the book's demonstration at first. A button draws a
    population from the prior: the hierarchical prior predictive, one study at a time.

    Returns
    -------
    Widget
        The last expression of a notebook cell shows it.

    See Also
    --------
    eamlab.simulate : Simulates whole studies from the same prior.
    """
    steps = np.arange(-_REACH, _REACH + 0.01, 1 / _STOPS_PER_SD)
    stops = {
        p.name: _with_value(p.mean + steps * p.sd, DEMO_GROUP[p.name]) for p in EAM.prior.parameters
    }
    parameters = [
        {"name": p.name, "symbol": plain_symbol(p.symbol), "meaning": p.meaning,
         "mean": p.mean, "sd": p.sd}
        for p in EAM.prior.parameters
    ]  # fmt: skip
    kinds = [
        {"name": p.name, "title": _TITLES.get(p.name, p.name), "mean": p.mean, "log_sd": p.log_sd,
         "positive": p.positive, "range": EAM.person_range(p.name, _SHOWN_SDS)}
        for p in EAM.people
    ]  # fmt: skip
    data = {
        "stops": stops,
        "parameters": parameters,
        "people": kinds,
        "beta": beta_from_raw(stops["beta_raw"]).round(6).tolist(),
        "nodes": _normal_nodes().round(4).tolist(),
    }
    return Widget(
        "population",
        data,
        {**DEMO_GROUP, "seed": 1, "hide": 0},
        sentence="The response time densities of 40 people drawn from one population, upper "
        "choices upward and lower ones downward, with the population's own density as a thick "
        "line.",
        still=_population_figure,
        answer=_populate,
    )


def _normal_nodes() -> FloatArray:
    """Evenly spread points (256, 2) under a standard normal density."""
    return stats.norm.ppf(stats.qmc.Sobol(2, rng=np.random.default_rng(1)).random(_NODES))


def _populate(settings: Settings) -> dict[str, Any]:
    """Simulate a population: some of its people, and the response times of all."""
    group = {}
    for p in EAM.prior.parameters:
        reach = (_REACH + 1e-6) * p.sd
        group[p.name] = _number(settings, p.name, p.mean - reach, p.mean + reach)
    end, seed = _number(settings, "end", _BIN, 100.0), _whole(settings, "seed")
    study = simulate(EAM, _LIVE_PEOPLE, _LIVE_TRIALS, seed=seed, group=group)
    choice, rt = study.trials[..., 0], study.trials[..., 1]
    edges = np.arange(0.0, end + _BIN / 2, _BIN)
    heights = {
        name: (np.histogram(rt[choice == c], edges)[0] / (rt.size * _BIN)).round(4).tolist()
        for c, name in enumerate(("lower", "upper"))
    }
    people = {name: study.truth[name][:_PEOPLE].round(5).tolist() for name in EAM.person_names}
    return {**people, "histogram": {"width": _BIN, **heights}}


def _population_figure() -> Figure:
    """Draw the population at which the playground stands at first."""
    from matplotlib.figure import Figure

    truth = simulate(EAM, _LIVE_PEOPLE, 1, seed=1, group=DEMO_GROUP).truth
    people = np.stack([truth[name] for name in EAM.person_names])
    beta = float(beta_from_raw(truth["beta_raw"]))
    time = np.linspace(0.02, 2.0, 200)
    figure = Figure(figsize=(7.0, 3.2), layout="constrained", facecolor="#fcfcfa")
    ax = figure.add_subplot(facecolor="#fcfcfa")
    for choice, role, sign in ((1, "upper", 1), (0, "lower", -1)):
        nu, alpha, t0 = people[..., None]
        density = sign * np.exp(log_density(time, choice, nu, alpha, t0, beta))
        ax.plot(time, density[:_PEOPLE].T, color=PALETTE[role], lw=0.6, alpha=0.5)
        ax.plot(time, density.mean(0), color=PALETTE["truth"], lw=2.5)
        label: dict[str, Any] = {"transform": ax.transAxes, "ha": "right", "color": PALETTE[role]}
        ax.text(0.98, 0.9 if sign > 0 else 0.06, f"{role} choices", **label)
    ax.set(xlabel="response time (s)", yticks=[], ylim=(-3, 5))
    return figure


# ------------------------------------------------------------------------------------------------
# The Gaussian toy
# ------------------------------------------------------------------------------------------------

_TRUTH, _NOISE_SD = 0.8, 1.0
_UNIT = 5e-4  # of the observations, which travel as 16-bit integers
_LIVE_PARTICLES, _LIVE_WORK = 1_000, 50_000_000  # particles at most; observations looked at
_ALL = 10_000
_TOY_STOPS: dict[str, list[float]] = {
    "J": [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, _ALL],
    "mini_batch": [1, 2, 5, 10, 20, 50, 100, _ALL],
    "steps": [20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000],
    "d0": [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
    "d1": [1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
}
_SCORES, _SOLVERS = ("diffused", "weighted", "exact"), ("sde", "ode")
_TOY_START = {
    "J": 100, "mini_batch": _ALL, "steps": 100, "d0": 1, "d1": 1,
    "score": "diffused", "solver": "sde", "seed": 1,
}  # fmt: skip


def toy_playground() -> Widget:
    """Vary the composition of a Gaussian toy, whose exact posterior is known.

    The sliders are the number of observations J (each plays a group), the bridge's d0 and d1, the
    mini-batch, and the number of steps; the score may be summed with the diffused or with the
    weighted prior, or be the exact one.

    Returns
    -------
    Widget
        The last expression of a notebook cell shows it.

    See Also
    --------
    eamlab_book.toy.reverse_diffusion, eamlab_book.toy.GaussianToy : What it runs.
    """
    whole = np.round(_observations() / _UNIT).astype(np.int16)
    data = {
        "stops": _TOY_STOPS,
        "y": encode(whole),
        "unit": _UNIT,
        "noise_sd": _NOISE_SD,
        "truth": _TRUTH,
        "ends": [float(t) for t in ENDS],
        "all": _ALL,
    }
    return Widget(
        "toy",
        data,
        _TOY_START,
        sentence="Draws from the summed scores of 100 observations in the Gaussian toy, on the "
        "exact posterior in gray: they are too narrow.",
        still=_toy_figure,
        answer=_sample_toy,
    )


def _observations() -> FloatArray:
    """Return all observations (10,000,) as the browser has them; J of them are the first J."""
    y = _TRUTH + _NOISE_SD * np.random.default_rng(1).standard_normal(_ALL)
    return np.round(y / _UNIT) * _UNIT


def _sample_toy(settings: Settings) -> dict[str, Any]:
    """Sample the toy at one position of the sliders; draws that are no numbers become None."""
    n_groups, size = (_whole(settings, k, 1, _ALL) for k in ("J", "mini_batch"))
    steps, seed = _whole(settings, "steps", 1, 10_000), _whole(settings, "seed")
    d0, d1 = (_number(settings, k, 1e-6, 1.0) for k in ("d0", "d1"))
    kind, solver = _one_of(settings, "score", _SCORES), _one_of(settings, "solver", _SOLVERS)
    score = _toy_score(_observations()[:n_groups], kind, min(size, n_groups), seed)
    work = steps * (size if size < n_groups else 1)
    num_samples = min(_LIVE_PARTICLES, max(100, _LIVE_WORK // work))
    with np.errstate(over="ignore", invalid="ignore"):  # a sampler that diverges is part of it
        draws = reverse_diffusion(
            lambda x, t: bridge(t, d0, d1) * score(x, t), num_samples,
            steps=steps, stochastic=solver == "sde", seed=seed,
        )  # fmt: skip
    return {"particles": [float(f"{x:.6g}") if math.isfinite(x) else None for x in draws]}


def _toy_score(y: FloatArray, kind: str, size: int, seed: int) -> Any:
    """Return ``score(x, t)``; with mini-batches each particle has one of its own at each step.

    A group's score is linear in its observation, so that the scores of a batch need its mean only.
    """
    if kind == "exact":
        return GaussianToy(y, _NOISE_SD).exact_score
    rng, pool = np.random.default_rng([seed, 1]), y.copy()
    two = GaussianToy(np.array([0.0, 1.0]), _NOISE_SD)

    def score(x: FloatArray, t: float) -> FloatArray:
        at_zero, at_one = two.group_scores(x, t)
        mean = y.mean() if size == len(y) else _batch_means(pool, size, x.size, rng)
        weight = 1.0 if kind == "diffused" else 1 - t
        one = at_zero + (at_one - at_zero) * mean
        return len(y) * one + (len(y) - 1) * weight * x

    return score


@njit(cache=True, nogil=True)
def _batch_means(pool: FloatArray, size: int, n: int, rng: np.random.Generator) -> FloatArray:
    """Return the means (n,) of `n` random subsets of `pool`, whose order changes.

    A subset is the first cards of a deck that is shuffled further every time, as in the browser.
    """
    means = np.zeros(n)
    for row in range(n):
        for i in range(size):
            j = i + int(rng.random() * (pool.size - i))
            pool[i], pool[j] = pool[j], pool[i]
            means[row] += pool[i] / size
    return means


def _toy_figure() -> Figure:
    """Draw the composition at which the playground stands at first."""
    from matplotlib.figure import Figure

    mean, sd = GaussianToy(_observations()[: _TOY_START["J"]], _NOISE_SD).posterior()
    x = np.linspace(mean - 5 * sd, mean + 5 * sd, 300)
    figure = Figure(figsize=(7.0, 2.6), layout="constrained", facecolor="#fcfcfa")
    ax = figure.add_subplot(facecolor="#fcfcfa")
    ax.fill_between(x, stats.norm.pdf(x, mean, sd), color=PALETTE["exact"], label="exact")
    draws = _sample_toy(_TOY_START)["particles"]
    ax.hist(draws, 60, density=True, histtype="step", color=PALETTE["composed"], label="composed")
    ax.axvline(_TRUTH, ymax=0.12, color=PALETTE["truth"], lw=2, label="truth")
    ax.set(xlabel=r"$\theta$", yticks=[], xlim=(x[0], x[-1]))
    ax.legend(loc="upper right", frameon=False)
    return figure
