"""Figures of the book: every function returns one closed matplotlib Figure.

A closed figure is shown once, as the value of a notebook cell, and never twice. All colors come
from `PALETTE` (Okabe & Ito's, safe for color-blind readers); each color comes with a line style or
a label of its own, so that no figure needs color to be read. Labels are the symbols of the model.
Figures have a light background of their own, which is readable on light and on dark pages.

Figures take `Draws` and `Study` as they are, and lists of both where they show many data sets.

References
----------
Okabe & Ito (2008), *Color Universal Design*.

Säilynoja, Bürkner & Vehtari (2022), *Statistics and Computing* 32, 32 (simultaneous bands).
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, gaussian_kde, norm

from eamlab.draws import Draws, as_draws, check_finite
from eamlab.model.density import choice_probability, log_density
from eamlab.model.eam import EAM
from eamlab.model.model import GroupParameter, Model
from eamlab.model.simulator import simulate_paths, simulate_trials
from eamlab.study import Study
from eamlab_book.toy import bridge

if TYPE_CHECKING:
    from IPython.display import Markdown
    from keras.callbacks import History
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "PALETTE",
    "bridge_figure",
    "calibration_figure",
    "certificate_figure",
    "draw_paths",
    "draw_trials",
    "grades_figure",
    "interval_figure",
    "loss_figure",
    "paths_figure",
    "posterior_figure",
    "recovery_figure",
    "sbc_figure",
    "show_source",
    "shrinkage_figure",
    "symbol",
    "use_style",
]

PALETTE = {
    "composed": "#0072B2",  # blue
    "exact": "#8C8C8C",
    "prior": "#2F87B8",  # sky blue, dark enough for a thin line
    "truth": "#1A1A1A",
    "lower": "#CC79A7",  # reddish purple
    "upper": "#009E73",  # bluish green
    "accent": "#D55E00",  # vermilion
}
"""Color of each role, the same in every figure of the book."""

_SERIES = ("composed", "accent", "upper", "lower", "prior")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v")

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "#FCFCFA",
    "savefig.facecolor": "auto",
    "axes.facecolor": "#FCFCFA",
    "figure.dpi": 130,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,  # inches: numbers of neighboring axes must not touch
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#4D4D4D",
    "text.color": "#1A1A1A",
    "axes.labelcolor": "#1A1A1A",
    "xtick.color": "#4D4D4D",
    "ytick.color": "#4D4D4D",
    "mathtext.fontset": "cm",
}

_WIDTH = 8.0  # inches; the width of the book's text column at the fonts above

_Options = dict[str, Any]
Sets = Draws | Mapping[str, Draws]
"""Draws of one study: one set, or several as ``{label: draws}``."""
Truth = Mapping[str, Any]
"""True values by name, such as ``study.truth``."""


# ------------------------------------------------------------------------------------------------
# Style and symbols
# ------------------------------------------------------------------------------------------------


def use_style() -> None:
    """Give the figures a reader draws the look of the book's own.

    Sets matplotlib's ``rcParams`` for the running session. The functions of this module do not
    need it.
    """
    import matplotlib.pyplot as plt
    from cycler import cycler

    colors = [PALETTE[k] for k in ("composed", "accent", "upper", "lower", "exact")]
    plt.rcParams.update(_STYLE | {"axes.prop_cycle": cycler(color=colors)})


def _styled(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the book's style and close the figure, so that a notebook shows it once."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Figure:
        import matplotlib.pyplot as plt

        # Not rc_context: in a notebook the first figure switches interactive mode on, which a
        # context would undo, and the reader's own figures would never be shown.
        style, open_before = {key: plt.rcParams[key] for key in _STYLE}, set(plt.get_fignums())
        plt.rcParams.update(_STYLE)
        try:
            return function(*args, **kwargs)
        finally:  # after an error too, or a half-drawn figure would be shown
            plt.rcParams.update(style)
            for number in set(plt.get_fignums()) - open_before:
                plt.close(number)

    return wrapper


def symbol(name: str, model: Model = EAM) -> str:
    """Return the mathtext label of a parameter of a group or a person, or the name itself.

    Parameters
    ----------
    name : str
        Such as ``"mu_nu"`` or ``"alpha"``.
    model : Model, default EAM
        Whose parameter it is.

    Returns
    -------
    str
    """
    symbols = {"beta": r"\beta"}  # on the natural scale it has no prior of its own
    symbols |= {p.name: p.symbol for p in model.prior.parameters}
    symbols |= {p.name: p.symbol for p in model.people}
    return f"${symbols[name]}$" if name in symbols else name


def _line(i: int) -> _Options:
    """Color and dashes of series number `i`."""
    return {"color": PALETTE[_SERIES[i % 5]], "ls": _DASHES[i % 5]}


def _by_parameter(
    names: Sequence[str],
    panel: Callable[[Axes, str], None],
    model: Model,
    *,
    height: float = 1.9,
    axes: tuple[str, str] = ("", ""),
) -> Figure:
    """Figure with one panel per parameter, and one for the legend; labels of axes are shared."""
    import matplotlib.pyplot as plt

    columns = min(4, len(names) + 1)
    rows = -(-(len(names) + 1) // columns)
    size = (_WIDTH * columns / 4, height * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
    cells, spare = grid.flat[: len(names)], grid.flat[len(names)]
    for ax in grid.flat[len(names) :]:
        ax.axis("off")
    for name, ax in zip(names, cells, strict=True):
        panel(ax, name)
        ax.set_title(symbol(name, model), fontsize=12)
    labels = cells[0].get_legend_handles_labels()
    spare.legend(*labels, loc="center left", bbox_to_anchor=(0.0, 0.5))
    figure.supxlabel(axes[0], fontsize=10)
    figure.supylabel(axes[1], fontsize=10)
    return figure


# ------------------------------------------------------------------------------------------------
# What callers hand in
# ------------------------------------------------------------------------------------------------


def _model(draws: Draws) -> Model:
    return draws.model or EAM


def _sets(draws: Sets) -> dict[str, Draws]:
    """One or several sets of draws of a study by label, checked to be finite."""
    arrays = isinstance(draws, Mapping) and all(isinstance(v, np.ndarray) for v in draws.values())
    several = isinstance(draws, Mapping) and not arrays
    sets = draws if several else {"composed": draws}
    return {label: _finite(one, f"draws of {label!r}") for label, one in sets.items()}


def _finite(draws: Any, what: str) -> Draws:
    draws = as_draws(draws, what)
    check_finite(draws, what)
    return draws


def _true(truth: Truth | None, name: str) -> float | None:
    """The true value of a group parameter, if it is known."""
    if truth is None or name not in truth:
        return None
    if np.ndim(truth[name]):
        shape = np.shape(truth[name])
        raise ValueError(f"truth[{name!r}] must be one number, got shape {shape}.")
    return float(truth[name])


def _shown(available: Sequence[str], names: Iterable[str] | None) -> list[str]:
    """Parameters to show: those asked for, or all that there are."""
    asked = list(available) if names is None else [names] if isinstance(names, str) else list(names)
    missing = [k for k in asked if k not in available]
    if missing or not asked:
        raise ValueError(f"names {missing or asked} are not among the draws: {list(available)}.")
    return asked


def _list_of(value: Any, kind: type) -> list:
    return [value] if isinstance(value, kind | Mapping) else list(value)


def _many(draws: Any, truth: Any, name: str) -> tuple[NDArray, NDArray]:
    """Draws (n, S) and truths (n,) of one parameter over n studies, or over the people of all."""
    x = [as_draws(d)[name].T for d in _list_of(draws, Draws)]
    if len({a.shape[-1] for a in x}) > 1:
        raise ValueError("draws must all have the same number of draws.")
    many = np.concatenate([np.atleast_2d(a) for a in x])
    parts = [s.truth if isinstance(s, Study) else s for s in _list_of(truth, Study)]
    if any(name not in part for part in parts):
        raise ValueError(f"studies: the true value of {name!r} is not known in all of them.")
    true = np.concatenate([np.atleast_1d(np.asarray(p[name], dtype=float)) for p in parts])
    if len(true) != len(many):
        raise ValueError(
            f"draws and studies must belong together: draws of {name!r} are those of {len(many)} "
            f"data sets, and there are {len(true)} true values."
        )
    if not (np.isfinite(many).all() and np.isfinite(true).all()):
        raise ValueError(f"draws or truth of {name!r} are not finite; remove diverged data sets.")
    return many, true


def _names_of(draws: Any, names: Iterable[str] | None) -> tuple[list[str], Model]:
    """Parameters to show over many data sets, people's if there are any, and whose they are."""
    given = _list_of(draws, Draws)
    if not given:
        raise ValueError("draws must hold those of at least one data set.")
    first = as_draws(given[0])
    available = tuple(first) if names is not None else first.person_names or first.group_names
    return _shown(available, names), _model(first)


# ------------------------------------------------------------------------------------------------
# Posteriors
# ------------------------------------------------------------------------------------------------


@_styled
def posterior_figure(
    draws: Sets,
    *,
    exact: Draws | None = None,
    truth: Truth | None = None,
    show_prior: bool = True,
    names: Iterable[str] | None = None,
) -> Figure:
    """Draw marginal posterior densities, one panel per group parameter.

    Parameters
    ----------
    draws : Draws, or mapping of label to Draws
        Of one study.
    exact : Draws, optional
        The exact posterior, drawn as a filled gray density.
    truth : mapping of name to float, optional
        True values, such as ``study.truth``, drawn as ticks.
    show_prior : bool, default True
        Draw the prior's density as a dashed line.
    names : iterable of str, optional
        Parameters to show; all by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If draws are not finite, of several studies, or lack one of `names`.

    Notes
    -----
    The horizontal axis covers the draws but at most the prior's mean ± 6 sd; a panel says how many
    draws lie beyond.
    """
    sets = _sets(draws)
    key = None if exact is None else _finite(exact, "exact")
    first = next(iter(sets.values()))
    prior = _model(first).prior

    def panel(ax: Axes, name: str) -> None:
        shown = [one[name] for one in sets.values()]
        parameter, true = prior[name] if name in prior.names else None, _true(truth, name)
        low, high = _view(parameter, [*shown, *([] if key is None else [key[name]])], true)
        grid = np.linspace(low, high, 400)
        if key is not None:
            density = _density_of(key[name], grid)
            ax.fill_between(grid, density, color=PALETTE["exact"], alpha=0.45, lw=0, label="exact")
        for i, (label, one) in enumerate(sets.items()):
            ax.plot(grid, _density_of(one[name], grid), label=label, lw=1.8, **_line(i))
        if show_prior and parameter is not None:
            density = norm.pdf(grid, parameter.mean, parameter.sd)
            ax.plot(grid, density, color=PALETTE["prior"], ls="--", lw=1.1, label="prior")
        if true is not None:
            ax.axvline(true, 0, 0.14, color=PALETTE["truth"], lw=2.2, label="truth")
        outside = max(np.mean((x < low) | (x > high)) for x in shown)
        if outside > 0.02:
            place: _Options = {"ha": "right", "va": "top", "transform": ax.transAxes}
            ax.text(0.98, 0.97, f"{outside:.0%} off scale", fontsize=9, **place)
        ax.set(xlim=(low, high), yticks=[])
        ax.set_ylim(bottom=0)
        ax.spines["left"].set_visible(False)
        # Few digits, and room between the numbers.
        ax.locator_params(axis="x", nbins=3, steps=[1, 2, 3, 4, 5, 10])

    return _by_parameter(_shown(first.group_names, names), panel, _model(first))


def _density_of(draws: NDArray, grid: NDArray) -> NDArray:
    """Kernel density estimate; a spike where all draws are equal."""
    if np.ptp(draws) < 1e-12 * (1 + np.abs(draws).max()):
        spike = np.zeros_like(grid)
        spike[np.argmin(np.abs(grid - draws[0]))] = 1 / (grid[1] - grid[0])
        return spike
    return gaussian_kde(draws)(grid)


def _view(
    parameter: GroupParameter | None, draws: Sequence[NDArray], truth: float | None
) -> tuple[float, float]:
    """Limits that show all draws' bulk and the truth, but nothing absurdly far from the prior."""
    ends = np.array([np.quantile(x, [0.005, 0.995]) for x in draws])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if truth is not None:
        low, high = min(low, truth), max(high, truth)
    margin = 0.12 * (high - low) or 1.0
    low, high = low - margin, high + margin
    if parameter is not None:
        mean, sd = parameter.mean, parameter.sd
        low = np.clip(low, mean - 6 * sd, mean + 5 * sd)
        high = np.clip(high, mean - 5 * sd, mean + 6 * sd)
    return float(low), float(high)


@_styled
def interval_figure(
    draws: Sets, exact: Draws, *, truth: Truth | None = None, limit: float = 8.0
) -> Figure:
    """Compare composed with exact intervals, one line per parameter, in exact posterior sds.

    Parameters
    ----------
    draws : Draws, or mapping of label to Draws
        Of one study.
    exact : Draws
        The exact posterior of the same study.
    truth : mapping of name to float, optional
        True values, such as ``study.truth``, drawn as ticks.
    limit : float, default 8.0
        The axis ends at this many exact sds; intervals beyond get an arrow and a number.

    Returns
    -------
    matplotlib.figure.Figure
        Central 95 % intervals with their means: exact in gray, composed in color.

    Raises
    ------
    ValueError
        If draws are not finite or of several studies.
    """
    import matplotlib.pyplot as plt

    sets, key = _sets(draws), _finite(exact, "exact")
    first = next(iter(sets.values()))
    shown = [k for k in first.group_names if k in key]
    figure, ax = plt.subplots(figsize=(_WIDTH * 0.9, 0.9 + (0.42 + 0.14 * len(sets)) * len(shown)))
    for row, name in enumerate(shown):
        mean, sd = key[name].mean(), key[name].std()
        scaled = {label: (one[name] - mean) / sd for label, one in sets.items()}
        true = _true(truth, name)
        scaled_truth = None if true is None else (true - mean) / sd
        _interval_row(ax, row, (key[name] - mean) / sd, scaled, scaled_truth, limit)
    width = min(limit, max(3.0, *np.abs(ax.get_xlim())))
    ax.set_yticks(range(len(shown)), [symbol(k, _model(first)) for k in shown])
    ax.set(xlim=(-width, width), xlabel="difference from the exact mean, in exact posterior sds")
    ax.tick_params(axis="y", length=0, labelsize=12)
    ax.invert_yaxis()
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside upper center", ncols=len(unique))
    return figure


def _interval_row(
    ax: Axes,
    row: int,
    exact: NDArray,
    sets: dict[str, NDArray],
    truth: float | None,
    limit: float,
) -> None:
    low, high = np.quantile(exact, [0.025, 0.975])
    bar: _Options = {"height": 0.62, "color": PALETTE["exact"], "alpha": 0.4, "lw": 0}
    ax.barh(row, high - low, left=low, label="exact, 95 %", **bar)
    offsets = np.linspace(-0.18, 0.18, len(sets)) if len(sets) > 1 else [0.0]
    for i, (label, draws) in enumerate(sets.items()):
        y, color = row + offsets[i], PALETTE[_SERIES[i % 5]]
        ends = np.quantile(draws, [0.025, 0.975])
        mean = float(draws.mean())
        ax.plot(np.clip(ends, -limit, limit), [y, y], color=color, lw=2.2, solid_capstyle="butt")
        for end in ends[(np.abs(ends) > limit) & (np.abs(mean) <= limit)]:
            head: _Options = {"marker": "<" if end < 0 else ">", "ms": 6, "color": color}
            ax.plot(np.sign(end) * limit, y, clip_on=False, **head)
        marker: _Options = {
            "marker": _MARKERS[i % 5],
            "ms": 6,
            "ls": "",
            "color": color,
            "label": label,
        }
        ax.plot(np.clip(mean, -limit, limit), y, **marker)
        if abs(mean) > limit:
            side = "right" if mean > 0 else "left"
            text = f"{mean:+.0f} sd →  " if mean > 0 else f"  ← {mean:+.0f} sd"
            ax.text(np.sign(mean) * limit, y - 0.12, text, ha=side, color=color, fontsize=9)
    if truth is not None and abs(truth) <= limit:
        tick: _Options = {"marker": "|", "ms": 17, "mew": 2, "ls": "", "color": PALETTE["truth"]}
        ax.plot(truth, row, label="truth", **tick)


# ------------------------------------------------------------------------------------------------
# Many data sets: recovery and calibration
# ------------------------------------------------------------------------------------------------


@_styled
def recovery_figure(
    draws: Draws | Sequence[Draws],
    studies: Study | Sequence[Study] | Truth,
    *,
    names: Iterable[str] | None = None,
    exact_mean: Truth | None = None,
) -> Figure:
    """Plot posterior means against the truth over many data sets.

    Parameters
    ----------
    draws : sequence of Draws
        Of n studies, or one with arrays (S, n): each person, or data set, counts by itself.
    studies : sequence of Study, or mapping of name to ndarray (n,)
        The studies with their truths, or the true values.
    names : iterable of str, optional
        Parameters to show; by default people's if there are any, else all.
    exact_mean : mapping of name to ndarray (n,), optional
        Exact posterior means, drawn as open gray circles: the best recovery that these data allow.

    Returns
    -------
    matplotlib.figure.Figure
        Means with central 90 % intervals; each panel states the correlation r of mean and truth.

    Raises
    ------
    ValueError
        If draws and truths do not belong together, or are not finite.
    """
    shown, model = _names_of(draws, names)

    def panel(ax: Axes, name: str) -> None:
        x, true = _many(draws, studies, name)
        best = None if exact_mean is None else np.asarray(exact_mean[name], float)
        if best is not None and best.shape != true.shape:
            raise ValueError(
                f"exact_mean[{name!r}] must be {len(true)} numbers, got shape {best.shape}."
            )
        low, high = np.quantile(x, [0.05, 0.95], axis=1)
        faint = max(0.06, min(0.4, 40 / len(true)))
        ax.vlines(true, low, high, color=PALETTE["composed"], alpha=faint, lw=1)
        mean = x.mean(axis=1)
        note = f"$r$ = {_correlation(true, mean):.2f}"
        if best is not None:
            _open_circles(ax, true, best, 16, "exact posterior mean")
            note += f"\nexact {_correlation(true, best):.2f}"
        ends = [min(true.min(), mean.min()), max(true.max(), mean.max())]
        _cloud(ax, true, mean, ends, note, s=7, alpha=0.8)

    return _by_parameter(shown, panel, model, height=2.1, axes=("truth", "posterior mean"))


def _open_circles(ax: Axes, true: NDArray, best: NDArray, size: int, label: str) -> None:
    gray: _Options = {"facecolors": "none", "edgecolors": PALETTE["exact"], "lw": 0.8}
    ax.scatter(true, best, s=size, label=label, **gray)


def _cloud(
    ax: Axes, true: NDArray, mean: NDArray, ends: list[float], note: str, **size: Any
) -> None:
    """Means against truths beside the diagonal, which leaves the lower right corner to a note."""
    ax.scatter(true, mean, color=PALETTE["composed"], lw=0, label="network", **size)
    ax.plot(ends, ends, color=PALETTE["truth"], lw=0.9, ls="--", label="mean = truth")
    box = {"facecolor": _STYLE["axes.facecolor"], "alpha": 0.75, "lw": 0, "pad": 1}
    place: _Options = {"ha": "right", "va": "bottom", "transform": ax.transAxes}
    ax.text(0.99, 0.03, note, fontsize=9, bbox=box, **place)
    ax.locator_params(nbins=4)


def _correlation(x: NDArray, y: NDArray) -> float:
    """Pearson correlation, NaN where one side is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


@_styled
def calibration_figure(
    draws: Draws | Sequence[Draws],
    studies: Study | Sequence[Study] | Truth,
    *,
    names: Iterable[str] | None = None,
) -> Figure:
    """Plot the calibration ECDF: ranks of the truth among posterior draws, minus uniform.

    Parameters
    ----------
    draws, studies, names
        As in `recovery_figure`.

    Returns
    -------
    matplotlib.figure.Figure
        A calibrated posterior's line stays inside the gray band in 95 % of cases, simultaneously
        over the whole axis.

    Raises
    ------
    ValueError
        As in `recovery_figure`.
    """
    shown, model = _names_of(draws, names)
    pairs = {name: _many(draws, studies, name) for name in shown}
    ranks = {name: (x < true[:, None]).sum(axis=1) for name, (x, true) in pairs.items()}
    return sbc_figure(ranks, pairs[shown[0]][0].shape[1], model=model)


@_styled
def sbc_figure(ranks: Mapping[str, Any], n_draws: int, *, model: Model = EAM) -> Figure:
    """Plot the ECDF of stored ranks minus uniform, one panel per parameter.

    Parameters
    ----------
    ranks : mapping
        Number of posterior draws below the truth, ``{name: (n,)}``, each from 0 to `n_draws`.
    n_draws : int
        Posterior draws per data set.
    model : Model, default EAM
        Whose parameters they are.

    Returns
    -------
    matplotlib.figure.Figure
        As `calibration_figure`, which starts from the draws.

    Raises
    ------
    ValueError
        If a rank is out of range.
    """
    points = _rank_points(n_draws)
    z = points / (n_draws + 1)

    def panel(ax: Axes, name: str) -> None:
        rank = np.asarray(ranks[name])
        if rank.ndim != 1 or rank.size == 0 or rank.min() < 0 or rank.max() > n_draws:
            raise ValueError(f"ranks[{name!r}] must lie in 0..{n_draws} (n_draws), got {rank}.")
        n, (low, high) = len(rank), _ecdf_band(len(rank), n_draws)
        count = (rank[:, None] < points).sum(axis=0)
        inside = bool(np.all((count >= low) & (count <= high)))
        color = PALETTE["composed"] if inside else PALETTE["accent"]
        band: _Options = {"color": PALETTE["exact"], "alpha": 0.35, "lw": 0, "step": "mid"}
        ax.fill_between(z, low / n - z, high / n - z, label="95 % band", **band)
        ax.plot(z, count / n - z, color=color, lw=1.6, label="ranks")
        if not inside:
            ax.text(
                0.97, 0.97, "outside", ha="right", va="top", transform=ax.transAxes, color=color
            )
        ax.axhline(0, color=PALETTE["truth"], lw=0.6)
        ax.set(xlim=(0, 1), xticks=[0, 0.5, 1])
        ax.locator_params(axis="y", nbins=4)

    labels = ("fractional rank of the truth", "ECDF − uniform")
    return _by_parameter(list(ranks), panel, model, axes=labels)


def _rank_points(n_draws: int) -> NDArray:
    """Ranks at which the ECDF is looked at: all, or about 100 evenly spaced ones."""
    return np.unique(np.linspace(1, n_draws, min(n_draws, 100)).round().astype(int))


@functools.lru_cache(maxsize=32)
def _ecdf_band(n: int, n_draws: int, level: float = 0.95) -> tuple[NDArray, NDArray]:
    """Counts between which the ECDF of n uniform ranks stays everywhere with probability `level`.

    The pointwise binomial level is tuned on simulated uniform ranks (Säilynoja et al., 2022,
    algorithm 2), with a fixed seed: the same figure every time.
    """
    rng = np.random.default_rng(2022)
    points = _rank_points(n_draws)
    z = points / (n_draws + 1)
    ranks = rng.integers(0, n_draws + 1, size=(2000, n))
    counts = np.stack([(ranks < p).sum(axis=1) for p in points], axis=1)
    tail = np.minimum(binom.cdf(counts, n, z), binom.sf(counts - 1, n, z))
    gamma = np.quantile(2 * tail.min(axis=1), 1 - level)
    return binom.ppf(gamma / 2, n, z), binom.isf(gamma / 2, n, z)


# ------------------------------------------------------------------------------------------------
# The model
# ------------------------------------------------------------------------------------------------


@_styled
def paths_figure(
    nu: float,
    alpha: float,
    t0: float,
    beta: float,
    *,
    seed: int,
    n_paths: int = 12,
    n_trials: int = 20_000,
    scheme: str = "exact",
    dt: float = 1e-3,
    max_rt: float | None = None,
) -> Figure:
    """Draw sample paths between the bounds, with the response times of both choices outside.

    Parameters
    ----------
    nu, alpha, t0, beta : float
        Drift rate, boundary separation, non-decision time (s), relative starting point.
    seed : int
        Seed of paths and trials.
    n_paths : int, default 12
        Euler-Maruyama paths to draw.
    n_trials : int, default 20000
        Trials in the histograms; 0 leaves them out.
    scheme, dt : str and float
        How the histograms' trials are simulated; the paths have steps of `dt` too.
    max_rt : float, optional
        Right end of the time axis in seconds; by default past 98 % of the response times.

    Returns
    -------
    matplotlib.figure.Figure
        The exact density is drawn over each histogram as a line.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """
    import matplotlib.pyplot as plt

    parameters = (nu, alpha, t0, beta)
    ratios: _Options = {"height_ratios": [1, 2.2, 1]}
    size: _Options = {"figsize": (_WIDTH * 0.85, 4.6), "sharex": True}
    figure, (top, middle, bottom) = plt.subplots(3, 1, gridspec_kw=ratios, **size)
    paths = simulate_paths(*parameters, n_paths, seed=seed, dt=dt)
    many = max(n_trials, 2_000)
    data, _ = simulate_trials(*parameters, many, seed=seed, scheme=scheme, dt=dt)
    end = max_rt or float(np.quantile(data[:, 1], 0.98))
    # About 60 bins, each as wide as a whole number of steps: stepped times lie at t0 + k step, in
    # the middle of a step, and bins of another width would hold now more and now fewer of them.
    step = dt if scheme != "exact" else end / 60
    width = step * max(1, round(end / 60 / step))
    first = t0 + step / 2 - width * np.ceil((t0 + step / 2) / width)
    bins = np.arange(first, end + width, width)
    draw_paths(middle, paths, alpha=alpha, t0=t0, beta=beta)
    for ax, choice in ((top, 1), (bottom, 0)):
        draw_trials(ax, data[:n_trials], choice, parameters, end, bins=bins)
    peak = max(top.get_ylim()[1], bottom.get_ylim()[1])
    top.set(ylim=(0, peak), xlim=(0, end))
    bottom.set(ylim=(peak, 0), xlabel="time since the stimulus (s)")
    bottom.tick_params(axis="x", labelbottom=True)
    top.legend(loc="upper right")
    return figure


def draw_paths(
    ax: Axes, paths: Sequence[tuple[NDArray, NDArray]], *, alpha: float, t0: float, beta: float
) -> None:
    """Draw evidence paths, colored by the bound they reach, into an existing panel.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Panel to draw into.
    paths : sequence of (time, evidence)
        As ``simulate_paths`` returns them.
    alpha, t0, beta : float
        Boundary separation, non-decision time (s), relative starting point.
    """
    for time, evidence in paths:
        color = PALETTE["upper" if evidence[-1] > 0.5 * alpha else "lower"]
        ax.plot(time, np.clip(evidence, 0, alpha), color=color, lw=0.8, alpha=0.75)
        ax.plot(time[-1], np.clip(evidence[-1], 0, alpha), "o", ms=3.5, color=color)
    ax.plot([0, t0], [beta * alpha] * 2, color=PALETTE["exact"], lw=1.2, ls=":")
    ax.text(t0 / 2, (beta + 0.04) * alpha, "$t_0$", ha="center", fontsize=11)
    for bound, role in ((alpha, "upper"), (0.0, "lower")):
        ax.axhline(bound, color=PALETTE[role], lw=2)
    ax.set(ylim=(-0.03 * alpha, 1.03 * alpha), ylabel="evidence")
    ax.set_yticks([0, beta * alpha, alpha], ["$0$", r"$\beta\alpha$", r"$\alpha$"], fontsize=12)


def draw_trials(
    ax: Axes,
    data: NDArray,
    choice: int,
    parameters: tuple[float, float, float, float],
    max_rt: float,
    *,
    bins: int | NDArray = 60,
) -> None:
    """Draw the response times of one choice and their exact density into an existing panel.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Panel to draw into.
    data : ndarray of shape (n_trials, 2)
        ``choice`` and ``rt``; without trials the density alone is drawn.
    choice : {0, 1}
        The choice to show.
    parameters : tuple of float
        ``(nu, alpha, t0, beta)`` of the exact density.
    max_rt : float
        Right end of the time axis in seconds.
    bins : int or ndarray of edges, default 60
        Bins of the histogram.

    Notes
    -----
    Heights are those of the joint density of time and choice: both choices together have area 1.
    """
    role = "upper" if choice == 1 else "lower"
    if len(data):
        times = data[data[:, 0] == choice, 1]
        counts, edges = np.histogram(times, bins, range=(0, max_rt))
        heights = counts / (len(data) * np.diff(edges))
        ax.stairs(heights, edges, fill=True, color=PALETTE[role], alpha=0.45, label="simulated")
    time = np.linspace(1e-3, max_rt, 600)
    density = np.exp(log_density(time, choice, *parameters))
    ax.plot(time, density, color=PALETTE["truth"], lw=1.3, label="exact density")
    nu, alpha, _, beta = parameters
    upper = float(choice_probability(nu, alpha, beta))
    share = upper if choice == 1 else 1 - upper
    text = f"{role} bound, choice {choice}: {share:.0%}"
    place: _Options = {"transform": ax.transAxes, "va": "top" if choice == 1 else "bottom"}
    ax.text(0.02, 0.95 if choice == 1 else 0.05, text, color=PALETTE[role], **place)
    ax.set(yticks=[], ylim=(0, 1.3 * density.max()))
    ax.spines["left"].set_visible(False)


# ------------------------------------------------------------------------------------------------
# Training, bridge, subjects
# ------------------------------------------------------------------------------------------------


@_styled
def loss_figure(history: History) -> Figure:
    """Draw the training loss by epoch and, if there is one, the validation loss.

    Parameters
    ----------
    history : keras.callbacks.History
        As the ``fit_...`` methods of a workflow return it.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If nothing was trained.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    if not history.history.get("loss"):
        raise ValueError("history has no loss; hand in what fit_offline or fit_online returned.")
    figure, ax = plt.subplots(figsize=(_WIDTH * 0.7, 2.6))
    for i, (key, label) in enumerate({"loss": "training", "val_loss": "validation"}.items()):
        if key in history.history:
            values = history.history[key]
            ax.plot(1 + np.arange(len(values)), values, label=label, lw=1.6, **_line(i))
    ax.set(xlabel="epoch", ylabel="loss")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return figure


@_styled
def bridge_figure(pairs: Iterable[tuple[float, float]]) -> Figure:
    r"""Draw the bridge :math:`d(t) = d_0^{1-t} d_1^t` for pairs of its two ends.

    Parameters
    ----------
    pairs : iterable of (d0, d1)
        Values at the data end (t = 0) and at the noise end (t = 1), > 0.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If an end is not positive.
    """
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(_WIDTH * 0.7, 2.8))
    t = np.linspace(0, 1, 101)
    for i, (d0, d1) in enumerate(pairs):
        label = f"$d_0$ = {d0:g}, $d_1$ = {d1:g}"
        ax.plot(t, bridge(t, d0, d1), label=label, lw=1.8, **_line(i))
    ax.set(yscale="log", xlim=(0, 1), ylabel="$d(t)$")
    ax.set_xlabel("diffusion time $t$   (0: data, 1: noise)")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_styled
def shrinkage_figure(
    draws: Draws,
    study: Study | Truth,
    *,
    exact: Draws | None = None,
    group_mean: Mapping[str, float] | None = None,
    names: Iterable[str] | None = None,
) -> Figure:
    """Plot people's posterior means against their true parameters.

    Parameters
    ----------
    draws : Draws
        With people's parameters, as `eamlab.people` returns them.
    study : Study, or mapping of name to ndarray (J,)
        The study with its truth, or the true values.
    exact : Draws, optional
        Exact posteriors of the same people, drawn as open gray circles.
    group_mean : mapping of name to float, optional
        The population's mean, drawn as a line: where people who tell us nothing are pulled to.
    names : iterable of str, optional
        Parameters to show; all of people's by default.

    Returns
    -------
    matplotlib.figure.Figure
        Each panel states the correlation r with the truth and the slope b of mean on truth: a
        slope below 1 is shrinkage toward the population.

    Raises
    ------
    ValueError
        If draws and truths do not belong together.
    """
    draws = as_draws(draws)

    def panel(ax: Axes, name: str) -> None:
        x, true = _many(draws, study, name)
        best = None if exact is None else _many(exact, study, name)[0].mean(axis=1)
        mean, size = x.mean(axis=1), 8 if len(true) < 500 else 3
        if group_mean is not None:
            line: _Options = {"color": PALETTE["accent"], "lw": 1.2, "ls": "-."}
            ax.axhline(float(group_mean[name]), label="population mean", **line)
        if best is not None:
            _open_circles(ax, true, best, 18, "exact")
        slope = np.polyfit(true, mean, 1)[0]
        note = f"$r$ = {_correlation(true, mean):.2f}\n$b$ = {slope:.2f}"
        _cloud(ax, true, mean, [true.min(), true.max()], note, s=size, alpha=0.7)

    shown, labels = _shown(draws.person_names, names), ("truth", "posterior mean")
    return _by_parameter(shown, panel, _model(draws), height=2.5, axes=labels)


# ------------------------------------------------------------------------------------------------
# Source
# ------------------------------------------------------------------------------------------------


def show_source(*functions: Any) -> Markdown:
    """Show the source of library functions or classes, without their docstrings.

    Parameters
    ----------
    *functions : callable
        Functions (compiled ones too), methods or classes.

    Returns
    -------
    IPython.display.Markdown
        A highlighted code block that names the file each comes from.

    Raises
    ------
    ValueError
        If there is no Python source to show.
    """
    from IPython.display import Markdown

    blocks = []
    for function in functions:
        python = inspect.unwrap(getattr(function, "py_func", function))
        try:
            source = textwrap.dedent(inspect.getsource(python))
        except (OSError, TypeError):
            raise ValueError(f"functions: {function!r} has no Python source to show.") from None
        place = python.__module__.replace(".", "/")
        blocks.append(f"```python\n# {place}.py\n{_without_docstring(source)}\n```")
    return Markdown("\n\n".join(blocks))


def _without_docstring(source: str) -> str:
    """The source of one function or class without docstrings, at any depth."""
    lines: list[str | None] = list(source.rstrip().splitlines())
    kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and ast.get_docstring(node) is not None and len(node.body) > 1:
            for number in range(node.body[0].lineno - 1, node.body[0].end_lineno or 0):
                lines[number] = None  # kept in place, so that line numbers stay right
    return "\n".join(line for line in lines if line is not None)


# ------------------------------------------------------------------------------------------------
# Grades
# ------------------------------------------------------------------------------------------------


@_styled
def grades_figure(frame: Any) -> Figure:
    """Draw bias and spread of composed posteriors against the exact ones, by J and recipe.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``J``, ``recipe``, ``parameter``, ``bias`` (absolute, in exact sds) and
        ``sd_ratio``, as ``eamlab_book.report_card.grade_frame`` returns them.

    Returns
    -------
    matplotlib.figure.Figure
        One column per J, one line per recipe, one faint dot per parameter, and their median as a
        diamond. A perfect posterior lies at the far left above and on the line at 1 below.
    """
    import matplotlib.pyplot as plt

    sizes = sorted(frame["J"].unique())
    recipes = list(dict.fromkeys(frame["recipe"]))[::-1]
    figure, grid = plt.subplots(2, len(sizes), sharex="row", sharey=True, squeeze=False)
    figure.set_size_inches(_WIDTH + 1, 0.55 * len(recipes) + 1.6)
    for column, n_subjects in enumerate(sizes):
        part = frame[frame["J"] == n_subjects]
        for ax, measure in zip(grid[:, column], ("bias", "sd_ratio"), strict=True):
            for line, recipe in enumerate(recipes):
                x = part.loc[part["recipe"] == recipe, measure].to_numpy(dtype=float)
                if len(x):
                    faint: _Options = {"color": PALETTE["composed"], "alpha": 0.35, "ms": 4}
                    ax.plot(x, np.full(len(x), line), "o", mew=0, **faint)
                    ax.plot(np.median(x), line, "D", color=PALETTE["accent"], ms=5)
            ideal = "-" if measure == "sd_ratio" else ":"
            ax.axvline(1.0, color=PALETTE["exact"], lw=1.2, ls=ideal)
            ax.set_xscale("log")
            ax.grid(axis="y", color=PALETTE["exact"], alpha=0.25)
        grid[0, column].set_title(f"$J$ = {n_subjects:,}")
    grid[0, 0].set_xlim(left=0.03)
    for row, label in zip(grid, ("|bias| / exact sd", "sd / exact sd"), strict=True):
        _log_ticks(row[0])
        row[0].set_yticks(range(len(recipes)), recipes)
        row[0].set_ylim(-0.6, len(recipes) - 0.4)
        for ax in row:
            ax.set_xlabel(label)
    return figure


@_styled
def certificate_figure(frame: Any) -> Figure:
    """Draw what certificates forecast against the true biases, one panel per J.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``J``, ``bias``, ``bias_se`` and ``true``, in exact sds, as
        ``eamlab_book.report_card.certificate_frame`` returns them.

    Returns
    -------
    matplotlib.figure.Figure
        A dot per study and parameter with its 90 % interval. A right forecast lies on the diagonal;
        one that knows nothing, on the horizontal line. How many dots lie outside of a panel is
        written in it.
    """
    import matplotlib.pyplot as plt

    sizes = sorted(frame["J"].unique())
    figure, axes = plt.subplots(1, len(sizes), figsize=(_WIDTH + 1, 2.3), squeeze=False)
    for ax, n_subjects in zip(axes[0], sizes, strict=True):
        part = frame[frame["J"] == n_subjects]
        size = part[["true", "bias"]].abs().max(axis=1)
        reach = 1.1 * size.quantile(0.97)  # what is beyond would make the rest a dot
        if (beyond := int((size > reach).sum())) > 0:
            ax.text(0.03, 0.97, f"{beyond} beyond", transform=ax.transAxes, va="top", fontsize=8)
        ax.axhline(0.0, color=PALETTE["exact"], lw=0.8)
        ax.plot([-reach, reach], [-reach, reach], color=PALETTE["exact"], lw=1.2)
        ax.errorbar(
            part["true"], part["bias"], yerr=1.645 * part["bias_se"], fmt="o", ms=3,
            color=PALETTE["composed"], alpha=0.5, elinewidth=0.6,
        )  # fmt: skip
        ax.set(title=f"$J$ = {n_subjects:,}", xlim=(-reach, reach), ylim=(-reach, reach))
        ax.set_aspect("equal")
        ax.tick_params(labelsize=7)
    figure.supxlabel("true bias, in exact sds", fontsize=10)
    axes[0, 0].set_ylabel("forecast")
    return figure


def _log_ticks(ax: Axes) -> None:
    """Few ticks with plain numbers, as many as the span of a log axis has room for."""
    low, high = ax.get_xlim()
    span = high / low
    steps = (1, 2, 5) if span < 30 else (1, 3) if span < 300 else (1,)
    ticks = [round(s * 10.0**k, 3) for k in range(-3, 5) for s in steps]
    shown = [t for t in ticks if low <= t <= high]
    ax.set_xticks(shown, [f"{t:g}" for t in shown])
    ax.set_xticks([], minor=True)
