"""Figures of the book: every function returns one closed matplotlib Figure.

A closed figure is shown once, as the value of a notebook cell, and never twice. All colors come
from `PALETTE` (Okabe & Ito's, safe for color-blind readers); each color comes with a line style or
a label of its own, so that no figure needs color to be read. Labels are the symbols of
``GROUP_PRIOR``. Figures have a light background of their own, which is readable on light and on
dark pages.

Draws are accepted in any of the forms the library hands out: ``{name: array}`` with arrays of
shape (S,), (S, 1) or (1, S, 1), or an object with ``.samples`` such as the exact posterior.

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

from eamlab.density import choice_probability, log_density
from eamlab.priors import GROUP_PRIOR
from eamlab.simulate import simulate_paths, simulate_trials

if TYPE_CHECKING:
    from IPython.display import Markdown
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "PALETTE",
    "SUBJECT_SYMBOLS",
    "bridge_figure",
    "calibration_figure",
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
    "prior": "#56B4E9",  # sky blue
    "truth": "#1A1A1A",
    "lower": "#CC79A7",  # reddish purple
    "upper": "#009E73",  # bluish green
    "accent": "#D55E00",  # vermilion
}
"""Color of each role, the same in every figure of the book."""

_SERIES = ("composed", "accent", "upper", "lower", "prior")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v")

SUBJECT_SYMBOLS = {"nu": r"\nu", "alpha": r"\alpha", "t0": r"t_0", "beta": r"\beta"}
"""Symbols of a subject's own parameters, in mathtext."""

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "#FCFCFA",
    "savefig.facecolor": "auto",
    "axes.facecolor": "#FCFCFA",
    "figure.dpi": 130,
    "figure.constrained_layout.use": True,
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

Draws = Mapping[str, Any]
_Options = dict[str, Any]


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


def symbol(name: str) -> str:
    """Return the mathtext label of a group or subject parameter, or the name itself.

    Parameters
    ----------
    name : str
        Such as ``"mu_nu"`` or ``"alpha"``.

    Returns
    -------
    str
    """
    if name in GROUP_PRIOR.names:
        return f"${GROUP_PRIOR[name].symbol}$"
    return f"${SUBJECT_SYMBOLS[name]}$" if name in SUBJECT_SYMBOLS else name


def _panels(n: int, *, columns: int = 4, height: float = 1.9, spare: bool = True) -> tuple:
    """Figure with `n` panels in a grid and, if `spare`, an empty one at the end for the legend."""
    import matplotlib.pyplot as plt

    n_cells = n + 1 if spare else n
    columns = min(columns, n_cells)
    rows = -(-n_cells // columns)
    width = _WIDTH * columns / 4 if columns < 4 else _WIDTH
    figure, grid = plt.subplots(rows, columns, figsize=(width, height * rows), squeeze=False)
    for ax in grid.flat[n:]:
        ax.axis("off")
    return figure, grid.flat[:n], grid.flat[n] if spare else None


def _legend(source: Axes, target: Axes) -> None:
    """Show the labels of one panel in the spare one."""
    handles, labels = source.get_legend_handles_labels()
    target.legend(handles, labels, loc="center left", bbox_to_anchor=(0.0, 0.5))


# ------------------------------------------------------------------------------------------------
# What callers hand in
# ------------------------------------------------------------------------------------------------


def _is_draws(x: Any) -> bool:
    """Whether `x` is one set of draws rather than a mapping of labels to sets."""
    if hasattr(x, "samples"):
        return True
    return isinstance(x, Mapping) and all(
        not isinstance(v, Mapping) and not hasattr(v, "samples") for v in x.values()
    )


def _series(composed: Any, label: str = "composed") -> dict[str, Draws]:
    """One or several sets of draws as ``{label: {name: (S,)}}``."""
    sets = {label: composed} if _is_draws(composed) else composed
    return {key: _flat_draws(value, f"draws of {key!r}") for key, value in sets.items()}


def _flat_draws(draws: Any, what: str) -> dict[str, NDArray]:
    """The draws of one study as ``{name: (S,)}``."""
    samples = draws.samples if hasattr(draws, "samples") else draws
    flat = {k: _one_study(np.asarray(v, dtype=float), f"{what}[{k!r}]") for k, v in samples.items()}
    if not flat:
        raise ValueError(f"{what} are empty; give {{name: array}}.")
    return flat


def _one_study(x: NDArray, what: str) -> NDArray:
    """Array (S,), (S, 1) or (1, S, 1) as (S,), checked to be finite."""
    if x.ndim == 3 and x.shape[0] > 1:
        raise ValueError(
            f"{what} holds {x.shape[0]} studies, shape {x.shape}; give one, for example "
            "{k: v[:1] for k, v in draws.items()}."
        )
    if x.size < 2 or x.size != max(x.shape, default=0):
        raise ValueError(f"{what} must have shape (S,), (S, 1) or (1, S, 1), got {x.shape}.")
    bad = int((~np.isfinite(x)).sum())
    if bad:
        raise ValueError(
            f"{what} has {bad} of {x.size} draws that are not finite: the sampler diverged. Use "
            "more steps, or a larger d1."
        )
    return x.reshape(-1)


def _truth_of(truth: Mapping[str, Any] | None, name: str) -> float | None:
    """The single true value of a parameter, if it is known."""
    if truth is None or name not in truth:
        return None
    value = np.asarray(truth[name], dtype=float)
    if value.size != 1:
        raise ValueError(f"truth[{name!r}] must be one number, got shape {value.shape}.")
    return float(value.reshape(-1)[0])


def _names_in(draws: Draws, names: Iterable[str] | None) -> list[str]:
    """Parameters to show: those asked for, or all, in the prior's order."""
    if names is None:
        known = [k for k in GROUP_PRIOR.names if k in draws]
        return known or list(draws)
    names = [names] if isinstance(names, str) else list(names)
    missing = [k for k in names if k not in draws]
    if missing or not names:
        raise ValueError(f"names {missing or names} are not among the draws: {list(draws)}.")
    return names


def _many_studies(draws: Draws, truth: Draws, name: str) -> tuple[NDArray, NDArray]:
    """Draws (n, S) and truths (n,) of one parameter over many data sets."""
    x, true = np.asarray(draws[name], dtype=float), np.asarray(truth[name], dtype=float)
    if x.ndim == 3 and x.shape[-1] == 1:
        x = x[..., 0]
    if x.ndim != 2 or true.size != len(x):
        raise ValueError(
            f"draws[{name!r}] must have shape (n, S, 1) and truth[{name!r}] (n, 1), got {x.shape} "
            f"and {true.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(true).all()):
        raise ValueError(f"draws or truth of {name!r} are not finite; remove diverged data sets.")
    return x, true.reshape(-1)


# ------------------------------------------------------------------------------------------------
# Posteriors
# ------------------------------------------------------------------------------------------------


@_styled
def posterior_figure(
    composed: Any,
    *,
    exact: Any = None,
    truth: Mapping[str, Any] | None = None,
    show_prior: bool = True,
    names: Iterable[str] | None = None,
) -> Figure:
    """Draw marginal posterior densities, one panel per parameter.

    Parameters
    ----------
    composed : mapping
        Draws ``{name: array}`` of one study, or several sets as ``{label: draws}``.
    exact : ExactPosterior or mapping, optional
        The exact posterior, drawn as a filled gray density.
    truth : mapping, optional
        True values ``{name: scalar or array of size 1}``, drawn as ticks.
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
    sets = _series(composed)
    gray = None if exact is None else _flat_draws(exact, "exact")
    shown = _names_in(next(iter(sets.values())), names)
    figure, axes, spare = _panels(len(shown))
    for name, ax in zip(shown, axes, strict=True):
        one = {label: draws[name] for label, draws in sets.items()}
        _posterior_panel(
            ax, name, one, None if gray is None else gray[name], _truth_of(truth, name), show_prior
        )
    _legend(axes[0], spare)
    return figure


def _posterior_panel(
    ax: Axes,
    name: str,
    sets: dict[str, NDArray],
    exact: NDArray | None,
    truth: float | None,
    show_prior: bool,
) -> None:
    low, high = _view(name, [*sets.values(), *([] if exact is None else [exact])], truth)
    grid = np.linspace(low, high, 400)
    if exact is not None:
        density = _density_of(exact, grid)
        ax.fill_between(grid, density, color=PALETTE["exact"], alpha=0.45, lw=0, label="exact")
    for i, (label, draws) in enumerate(sets.items()):
        style: _Options = {"color": PALETTE[_SERIES[i % 5]], "ls": _DASHES[i % 5], "lw": 1.8}
        ax.plot(grid, _density_of(draws, grid), label=label, **style)
    if show_prior and name in GROUP_PRIOR.names:
        dashed: _Options = {"color": PALETTE["prior"], "ls": "--", "lw": 1.1, "label": "prior"}
        ax.plot(grid, _prior_density(name, grid), **dashed)
    if truth is not None:
        ax.axvline(truth, 0, 0.14, color=PALETTE["truth"], lw=2.2, label="truth")
    _note_outside(ax, sets, low, high)
    ax.set(xlim=(low, high), yticks=[])
    ax.set_xlabel(symbol(name), fontsize=12)
    ax.set_ylim(bottom=0)
    ax.spines["left"].set_visible(False)
    ax.locator_params(axis="x", nbins=4)


def _prior_density(name: str, grid: NDArray) -> NDArray:
    p = GROUP_PRIOR[name]
    return np.exp(-0.5 * ((grid - p.mean) / p.sd) ** 2) / (p.sd * np.sqrt(2 * np.pi))


def _density_of(draws: NDArray, grid: NDArray) -> NDArray:
    """Kernel density estimate; a spike where all draws are equal."""
    from scipy.stats import gaussian_kde

    if np.ptp(draws) < 1e-12 * (1 + np.abs(draws).max()):
        spike = np.zeros_like(grid)
        spike[np.argmin(np.abs(grid - draws[0]))] = 1 / (grid[1] - grid[0])
        return spike
    return gaussian_kde(draws)(grid)


def _view(name: str, draws: Sequence[NDArray], truth: float | None) -> tuple[float, float]:
    """Limits that show all draws' bulk and the truth, but nothing absurdly far from the prior."""
    ends = np.array([np.quantile(x, [0.005, 0.995]) for x in draws])
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if truth is not None:
        low, high = min(low, truth), max(high, truth)
    margin = 0.12 * (high - low) or 1.0
    low, high = low - margin, high + margin
    if name in GROUP_PRIOR.names:
        p = GROUP_PRIOR[name]
        low = np.clip(low, p.mean - 6 * p.sd, p.mean + 5 * p.sd)
        high = np.clip(high, p.mean - 5 * p.sd, p.mean + 6 * p.sd)
    return float(low), float(high)


def _note_outside(ax: Axes, sets: dict[str, NDArray], low: float, high: float) -> None:
    """Say how many draws a panel cannot show."""
    shares = [np.mean((x < low) | (x > high)) for x in sets.values()]
    if max(shares) > 0.02:
        text = f"{max(shares):.0%} off scale"
        ax.text(0.98, 0.97, text, ha="right", va="top", transform=ax.transAxes, fontsize=9)


@_styled
def interval_figure(
    composed: Any, exact: Any, *, truth: Mapping[str, Any] | None = None, limit: float = 8.0
) -> Figure:
    """Compare composed with exact intervals, one line per parameter, in exact posterior sds.

    Parameters
    ----------
    composed : mapping
        Draws ``{name: array}`` of one study, or several sets as ``{label: draws}``.
    exact : ExactPosterior or mapping
        The exact posterior of the same study.
    truth : mapping, optional
        True values ``{name: scalar or array of size 1}``, drawn as ticks.
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

    sets, key = _series(composed), _flat_draws(exact, "exact")
    shown = [k for k in _names_in(next(iter(sets.values())), None) if k in key]
    figure, ax = plt.subplots(figsize=(_WIDTH * 0.9, 0.9 + (0.42 + 0.14 * len(sets)) * len(shown)))
    for row, name in enumerate(shown):
        mean, sd = key[name].mean(), key[name].std()
        scaled = {label: (draws[name] - mean) / sd for label, draws in sets.items()}
        true = _truth_of(truth, name)
        scaled_truth = None if true is None else (true - mean) / sd
        _interval_row(ax, row, (key[name] - mean) / sd, scaled, scaled_truth, limit)
    width = min(limit, max(3.0, *np.abs(ax.get_xlim())))
    ax.set_yticks(range(len(shown)), [symbol(k) for k in shown])
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
        ends = np.clip(np.quantile(draws, [0.025, 0.975]), -limit, limit)
        mean = float(draws.mean())
        ax.plot(ends, [y, y], color=color, lw=2.2, solid_capstyle="butt")
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
    draws: Draws,
    truth: Draws,
    *,
    names: Iterable[str] | None = None,
    exact_mean: Draws | None = None,
) -> Figure:
    """Plot posterior means against the truth over many data sets.

    Parameters
    ----------
    draws : mapping
        Posterior draws ``{name: (n, S, 1)}`` of n data sets.
    truth : mapping
        True values ``{name: (n, 1)}``.
    names : iterable of str, optional
        Parameters to show; all by default.
    exact_mean : mapping, optional
        Exact posterior means ``{name: (n, 1)}``, drawn as open gray circles: the best recovery
        that these data allow.

    Returns
    -------
    matplotlib.figure.Figure
        Means with central 90 % intervals; each panel states the correlation r of mean and truth.

    Raises
    ------
    ValueError
        If shapes do not match or values are not finite.
    """
    shown = _names_in(draws, names)
    figure, axes, spare = _panels(len(shown), height=2.1)
    for name, ax in zip(shown, axes, strict=True):
        x, true = _many_studies(draws, truth, name)
        best = None if exact_mean is None else np.asarray(exact_mean[name], float).reshape(-1)
        _recovery_panel(ax, x, true, best)
        ax.set_title(symbol(name), fontsize=12)
    _legend(axes[0], spare)
    figure.supxlabel("truth", fontsize=10)
    figure.supylabel("posterior mean", fontsize=10)
    return figure


def _recovery_panel(ax: Axes, x: NDArray, true: NDArray, best: NDArray | None) -> None:
    mean = x.mean(axis=1)
    low, high = np.quantile(x, [0.05, 0.95], axis=1)
    color, faint = PALETTE["composed"], max(0.06, min(0.4, 40 / len(true)))
    ax.vlines(true, low, high, color=color, alpha=faint, lw=1)
    if best is not None:
        gray: _Options = {"facecolors": "none", "edgecolors": PALETTE["exact"], "lw": 0.8}
        ax.scatter(true, best, s=16, label="exact posterior mean", **gray)
    ax.scatter(true, mean, s=7, color=color, lw=0, alpha=0.8, label="network")
    ends = [min(true.min(), mean.min()), max(true.max(), mean.max())]
    ax.plot(ends, ends, color=PALETTE["truth"], lw=0.9, ls="--", label="mean = truth")
    note = f"$r$ = {_correlation(true, mean):.2f}"
    if best is not None:
        note += f"\nexact {_correlation(true, best):.2f}"
    _note(ax, note)
    ax.locator_params(nbins=4)


def _note(ax: Axes, text: str) -> None:
    """Write into the lower right corner, which a cloud along the diagonal leaves free."""
    box = {"facecolor": _STYLE["axes.facecolor"], "alpha": 0.75, "lw": 0, "pad": 1}
    place: _Options = {"ha": "right", "va": "bottom", "transform": ax.transAxes}
    ax.text(0.99, 0.03, text, fontsize=9, bbox=box, **place)


def _correlation(x: NDArray, y: NDArray) -> float:
    """Pearson correlation, NaN where one side is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


@_styled
def calibration_figure(draws: Draws, truth: Draws, *, names: Iterable[str] | None = None) -> Figure:
    """Plot the calibration ECDF: ranks of the truth among posterior draws, minus uniform.

    Parameters
    ----------
    draws : mapping
        Posterior draws ``{name: (n, S, 1)}`` of n data sets.
    truth : mapping
        True values ``{name: (n, 1)}``.
    names : iterable of str, optional
        Parameters to show; all by default.

    Returns
    -------
    matplotlib.figure.Figure
        A calibrated posterior's line stays inside the gray band in 95 % of cases, simultaneously
        over the whole axis.

    Raises
    ------
    ValueError
        If shapes do not match or values are not finite.
    """
    shown = _names_in(draws, names)
    figure, axes, spare = _panels(len(shown))
    for name, ax in zip(shown, axes, strict=True):
        x, true = _many_studies(draws, truth, name)
        _calibration_panel(ax, (x < true[:, None]).sum(axis=1), x.shape[1])
        ax.set_title(symbol(name), fontsize=12)
    _legend(axes[0], spare)
    figure.supxlabel("fractional rank of the truth", fontsize=10)
    figure.supylabel("ECDF − uniform", fontsize=10)
    return figure


def _calibration_panel(ax: Axes, ranks: NDArray, n_draws: int) -> None:
    n = len(ranks)
    points = _rank_points(n_draws)
    z = points / (n_draws + 1)
    low, high = _ecdf_band(n, n_draws)
    count = (ranks[:, None] < points).sum(axis=0)
    inside = bool(np.all((count >= low) & (count <= high)))
    color = PALETTE["composed"] if inside else PALETTE["accent"]
    band: _Options = {"color": PALETTE["exact"], "alpha": 0.35, "lw": 0, "step": "mid"}
    ax.fill_between(z, low / n - z, high / n - z, label="95 % band", **band)
    ax.plot(z, count / n - z, color=color, lw=1.6, label="ranks")
    if not inside:
        ax.text(0.97, 0.97, "outside", ha="right", va="top", transform=ax.transAxes, color=color)
    ax.axhline(0, color=PALETTE["truth"], lw=0.6)
    ax.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    ax.locator_params(axis="y", nbins=4)


def _rank_points(n_draws: int, most: int = 100) -> NDArray:
    """Ranks at which the ECDF is looked at: all, or about 100 evenly spaced ones."""
    return np.unique(np.linspace(1, n_draws, min(n_draws, most)).round().astype(int))


@functools.lru_cache(maxsize=32)
def _ecdf_band(n: int, n_draws: int, level: float = 0.95) -> tuple[NDArray, NDArray]:
    """Counts between which the ECDF of n uniform ranks stays everywhere with probability `level`.

    The pointwise binomial level is tuned on simulated uniform ranks (Säilynoja et al., 2022,
    algorithm 2), with a fixed seed: the same figure every time.
    """
    from scipy.stats import binom

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
    bins = _time_bins(end, t0, dt if scheme != "exact" else end / 60)
    draw_paths(middle, paths, alpha=alpha, t0=t0, beta=beta)
    for ax, choice in ((top, 1), (bottom, 0)):
        draw_trials(ax, data[:n_trials], choice, parameters, end, bins=bins)
    peak = max(top.get_ylim()[1], bottom.get_ylim()[1])
    top.set(ylim=(0, peak), xlim=(0, end))
    bottom.set(ylim=(peak, 0), xlabel="time since the stimulus (s)")
    bottom.tick_params(axis="x", labelbottom=True)
    top.legend(loc="upper right")
    return figure


def _time_bins(end: float, t0: float, step: float) -> NDArray:
    """Edges of about 60 bins up to `end`, each as wide as a whole number of steps.

    Stepped response times lie at t0 + k step, in the middle of a step: bins of another width
    would hold now more and now fewer of them.
    """
    width = step * max(1, round(end / 60 / step))
    first = t0 + step / 2 - width * np.ceil((t0 + step / 2) / width)
    return np.arange(first, end + width, width)


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
def loss_figure(loss: Any) -> Figure:
    """Draw training curves.

    Parameters
    ----------
    loss : sequence of float, mapping of label to sequence, or keras History
        One value per epoch (or step). A History shows its ``loss`` and ``val_loss``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If a curve is empty or has no finite value.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, ax = plt.subplots(figsize=(_WIDTH * 0.7, 2.6))
    for i, (label, values) in enumerate(_curves(loss).items()):
        style: _Options = {"color": PALETTE[_SERIES[i % 5]], "ls": _DASHES[i % 5]}
        ax.plot(1 + np.arange(len(values)), values, label=label, lw=1.6, **style)
    ax.set(xlabel="epoch", ylabel="loss")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(ax.lines) > 1:
        ax.legend()
    return figure


def _curves(loss: Any) -> dict[str, NDArray]:
    """The curves of `loss_figure` by label."""
    history = getattr(loss, "history", loss)
    if isinstance(history, Mapping):
        kept = {"loss": "training", "val_loss": "validation"}
        wanted = history if history is loss else [k for k in kept if k in history]
        curves = {kept.get(k, str(k)): history[k] for k in wanted}
    else:
        curves = {"training": history}
    arrays = {k: np.asarray(v, dtype=float) for k, v in curves.items()}
    for label, values in arrays.items():
        if values.ndim != 1 or not np.isfinite(values).any():
            raise ValueError(f"loss[{label!r}] must be a sequence of numbers, got {values!r}.")
    return arrays


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
        if not (d0 > 0 and d1 > 0):
            raise ValueError(f"pairs must be positive, got (d0, d1) = ({d0}, {d1}).")
        style: _Options = {"color": PALETTE[_SERIES[i % 5]], "ls": _DASHES[i % 5], "lw": 1.8}
        ax.plot(t, d0 ** (1 - t) * d1**t, label=f"$d_0$ = {d0:g}, $d_1$ = {d1:g}", **style)
    ax.set(yscale="log", xlim=(0, 1), ylabel="$d(t)$")
    ax.set_xlabel("diffusion time $t$   (0: data, 1: noise)")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_styled
def shrinkage_figure(
    draws: Draws,
    truth: Draws,
    *,
    exact: Draws | None = None,
    group_mean: Mapping[str, float] | None = None,
    names: Iterable[str] | None = None,
) -> Figure:
    """Plot subjects' posterior means against their true parameters.

    Parameters
    ----------
    draws : mapping
        Subject draws ``{name: (1, J, S) or (J, S)}``, as ``sample_subject_parameters`` returns
        them, or means ``(J,)``.
    truth : mapping
        True values ``{name: (1, J) or (J,)}``.
    exact : mapping, optional
        Exact subject posteriors in the same form, drawn as open gray circles.
    group_mean : mapping, optional
        The population's mean ``{name: value}``, drawn as a line: where subjects that tell us
        nothing are pulled to.
    names : iterable of str, optional
        Parameters to show; all by default.

    Returns
    -------
    matplotlib.figure.Figure
        Each panel states the correlation r with the truth and the slope b of mean on truth: a
        slope below 1 is shrinkage toward the population.

    Raises
    ------
    ValueError
        If shapes do not match.
    """
    shown = _names_in(draws, names)
    figure, axes, spare = _panels(len(shown), height=2.5)
    for name, ax in zip(shown, axes, strict=True):
        true = np.asarray(truth[name], dtype=float).reshape(-1)
        mean = _subject_means(draws, name, true.size)
        best = None if exact is None else _subject_means(exact, name, true.size)
        center = None if group_mean is None else float(np.squeeze(group_mean[name]))
        _shrinkage_panel(ax, true, mean, best, center)
        ax.set_title(symbol(name), fontsize=12)
    _legend(axes[0], spare)
    figure.supxlabel("truth", fontsize=10)
    figure.supylabel("posterior mean", fontsize=10)
    return figure


def _subject_means(draws: Draws, name: str, n_subjects: int) -> NDArray:
    """Posterior means (J,) from draws (1, J, S), (J, S) or means (J,)."""
    x = np.asarray(draws[name], dtype=float)
    if x.ndim == 3 and x.shape[0] == 1:
        x = x[0]
    mean = x.mean(axis=-1) if x.ndim == 2 else x
    if mean.shape != (n_subjects,):
        raise ValueError(
            f"draws of {name!r} must be (1, J, S), (J, S) or (J,) with J = {n_subjects} as in "
            f"truth, got {np.shape(draws[name])}."
        )
    return mean


def _shrinkage_panel(
    ax: Axes, true: NDArray, mean: NDArray, best: NDArray | None, center: float | None
) -> None:
    if center is not None:
        ax.axhline(center, color=PALETTE["accent"], lw=1.2, ls="-.", label="population mean")
    if best is not None:
        gray: _Options = {"facecolors": "none", "edgecolors": PALETTE["exact"], "lw": 0.8}
        ax.scatter(true, best, s=18, label="exact", **gray)
    size = 8 if len(true) < 500 else 3
    ax.scatter(true, mean, s=size, color=PALETTE["composed"], lw=0, alpha=0.7, label="network")
    ends = [true.min(), true.max()]
    ax.plot(ends, ends, color=PALETTE["truth"], lw=0.9, ls="--", label="mean = truth")
    slope = np.polyfit(true, mean, 1)[0]
    _note(ax, f"$r$ = {_correlation(true, mean):.2f}\n$b$ = {slope:.2f}")
    ax.locator_params(nbins=4)


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
def sbc_figure(ranks: Mapping[str, Any], n_draws: int) -> Figure:
    """Plot the ECDF of stored ranks minus uniform, one panel per parameter.

    Parameters
    ----------
    ranks : mapping
        Number of posterior draws below the truth, ``{name: (n,)}``, each from 0 to `n_draws`.
    n_draws : int
        Posterior draws per data set.

    Returns
    -------
    matplotlib.figure.Figure
        As `calibration_figure`, which starts from the draws.

    Raises
    ------
    ValueError
        If a rank is out of range.
    """
    figure, axes, spare = _panels(len(ranks))
    for (name, given), ax in zip(ranks.items(), axes, strict=True):
        rank = np.asarray(given).reshape(-1)
        if rank.size == 0 or rank.min() < 0 or rank.max() > n_draws:
            raise ValueError(f"ranks[{name!r}] must lie in 0..{n_draws} (n_draws), got {rank}.")
        _calibration_panel(ax, rank, n_draws)
        ax.set_title(symbol(name), fontsize=12)
    _legend(axes[0], spare)
    figure.supxlabel("fractional rank of the truth", fontsize=10)
    figure.supylabel("ECDF − uniform", fontsize=10)
    return figure


@_styled
def grades_figure(frame: Any) -> Figure:
    """Draw bias and spread of composed posteriors against the exact ones, by J and recipe.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns ``J``, ``recipe``, ``parameter``, ``bias`` (absolute, in exact sds) and
        ``sd_ratio``, as ``eamlab.grades.grade_frame`` returns them.

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
            _grades_panel(ax, part, measure, recipes)
        grid[0, column].set_title(f"$J$ = {n_subjects:,}")
    grid[0, 0].set_xlim(left=0.03)
    for row, label in zip(grid, ("|bias| / exact sd", "sd / exact sd"), strict=True):
        _log_ticks(row[0])
        row[0].set_yticks(range(len(recipes)), recipes)
        row[0].set_ylim(-0.6, len(recipes) - 0.4)
        for ax in row:
            ax.set_xlabel(label)
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


def _grades_panel(ax: Axes, part: Any, measure: str, recipes: list[str]) -> None:
    for line, recipe in enumerate(recipes):
        x = part.loc[part["recipe"] == recipe, measure].to_numpy(dtype=float)
        if len(x) == 0:
            continue
        color = PALETTE["composed"]
        ax.plot(x, np.full(len(x), line), "o", color=color, alpha=0.35, ms=4, mew=0)
        ax.plot(np.median(x), line, "D", color=PALETTE["accent"], ms=5)
    ax.axvline(1.0, color=PALETTE["exact"], lw=1.2, ls="-" if measure == "sd_ratio" else ":")
    ax.set_xscale("log")
    ax.grid(axis="y", color=PALETTE["exact"], alpha=0.25)
