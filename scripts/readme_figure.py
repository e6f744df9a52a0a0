"""Draw the picture of the README: paths, groups that are composed, composed beside exact.

    python scripts/readme_figure.py [--out book/static/readme.png]

Uses the shipped global network and the shipped exact posterior of the demonstration study of 1,000
subjects. Everything is seeded.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import eamlab as el
from eamlab.demo import Demo, load_demo
from eamlab.plots import PALETTE, draw_paths, symbol, use_style

OUT = Path(__file__).resolve().parents[1] / "book" / "static" / "readme.png"
LARGEST = 200_000  # bytes
NAMES = ("mu_nu", "log_sigma_log_alpha", "beta_raw")  # a mean, a spread, and the start


@dataclass(frozen=True)
class Settings:
    n_subjects: int = 1000
    group_size: int = 200
    num_samples: int = 500
    seed: int = 1
    nu: float = 1.0
    alpha: float = 1.2
    t0: float = 0.25
    beta: float = 0.5
    n_paths: int = 7


def draw_decisions(figure: Any, settings: Settings) -> None:
    parameters = (settings.nu, settings.alpha, settings.t0, settings.beta)
    paths = el.simulate_paths(*parameters, settings.n_paths, seed=settings.seed)
    ax = figure.subplots()
    draw_paths(ax, paths, alpha=settings.alpha, t0=settings.t0, beta=settings.beta)
    ax.set(xlabel="time (s)", xlim=(0, 1.2), title="one mind, many decisions")


def draw_groups(figure: Any, sim_data: np.ndarray, settings: Settings) -> None:
    """Subjects of the study as dots (mean choice against mean log rt), boxed in their groups."""
    ax = figure.subplots()
    ax.set(xlim=(0, 10), ylim=(0, 10), title="groups → composed")
    ax.axis("off")
    rows = np.linspace(8.1, 0.6, 3)
    for row, group in zip(rows, el.group_subjects(sim_data, settings.group_size)[0], strict=False):
        box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": PALETTE["exact"]}
        ax.add_patch(FancyBboxPatch((0.3, row), 3.4, 1.5, **box))
        choice, log_rt = group[..., 0].mean(-1), np.log(group[..., 1]).mean(-1)
        x, y = (0.08 + 0.84 * (v - v.min()) / np.ptp(v) for v in (log_rt, choice))
        ax.scatter(0.3 + 3.4 * x, row + 1.5 * y, s=4, color=PALETTE["upper"], lw=0)
        arrow = {"arrowstyle": "-|>", "mutation_scale": 11, "color": "0.4", "shrinkA": 4}
        ax.add_patch(FancyArrowPatch((3.8, row + 0.75), (6.0, 5.1), **arrow))
    n_groups = settings.n_subjects // settings.group_size
    text = f"{n_groups} groups of {settings.group_size} people,\none network for all"
    ax.text(2.0, (rows[1] + rows[2] + 1.5) / 2, "⋮", ha="center", va="center", fontsize=14)
    ax.text(8.1, 2.2, text, ha="center", va="center", fontsize=9)
    product = r"$p(\eta)^{1 - G}\ \prod_g\ p(\eta \mid Y_g)$"
    box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": PALETTE["composed"], "lw": 1.6}
    ax.text(8.1, 5.1, product, ha="center", va="center", fontsize=11, bbox=box)


def draw_posteriors(figure: Any, composed: Any, demo: Demo) -> None:
    from scipy.stats import gaussian_kde

    axes = figure.subplots(len(NAMES), 1)
    for ax, name in zip(axes, NAMES, strict=True):
        exact, drawn = demo.exact.samples[name], composed[name].ravel()
        both = np.concatenate([exact, drawn])
        grid = np.linspace(*(np.quantile(both, [0.001, 0.999]) + [-0.01, 0.01]), 300)
        gray = {"color": PALETTE["exact"], "alpha": 0.45, "lw": 0, "label": "exact"}
        ax.fill_between(grid, gaussian_kde(exact)(grid), **gray)
        ax.plot(grid, gaussian_kde(drawn)(grid), color=PALETTE["composed"], label="composed")
        ax.axvline(demo.truth[name], 0, 0.2, color=PALETTE["truth"], lw=2, label="truth")
        ax.set(yticks=[])
        ax.set_ylim(bottom=0)
        ax.set_ylabel(symbol(name), rotation=0, ha="right", va="center", fontsize=12)
        ax.spines["left"].set_visible(False)
        ax.locator_params(axis="x", nbins=4)
    axes[0].set_title(f"composed beside exact, J = {len(demo.sim_data):,}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=1.4)


def make_figure(settings: Settings) -> Figure:
    demo = load_demo(settings.n_subjects)
    composed = el.compose(
        el.load_pretrained("global"),
        demo.sim_data,
        num_samples=settings.num_samples,
        group_size=settings.group_size,
        seed=settings.seed,
    )
    use_style()
    figure = plt.figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subfigures(1, 3, width_ratios=[1, 1.15, 1], wspace=0.04)
    draw_decisions(left, settings)
    draw_groups(middle, demo.sim_data, settings)
    draw_posteriors(right, composed, demo)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    settings = Settings()
    note = {"Description": repr(settings)}
    make_figure(settings).savefig(out, dpi=110, metadata=note, pil_kwargs={"optimize": True})
    size = out.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{out} has {size} bytes, more than {LARGEST}: lower the dpi")
    print(f"{out}: {size} bytes")


if __name__ == "__main__":
    main()
