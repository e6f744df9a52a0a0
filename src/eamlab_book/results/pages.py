"""What stands in the book's and the README's own files: example data, a picture, a table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from eamlab.model.model import Model
from eamlab.study import Study, simulate
from eamlab_book.results.workshop import ROOT, Result, Workshop
from eamlab_book.stored import command, write_whole
from eamlab_book.studies import Demo, DemoSettings, load_demo
from eamlab_book.widgets.lab import stored_script

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# --------------------------------------------------------------------------------------------------
# The example data of chapter 9: a small study with the blemishes of real ones
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExampleSettings:
    """People, what is lost of their trials, and the population."""

    n_subjects: int = 42
    n_trials: int = 60
    n_early: int = 12  # people who stop early, after at least `least` trials
    least: int = 14
    n_quitters: int = 2  # people who stop after a handful
    deadline: float = 2.0  # seconds
    missing_time: float = 0.015  # share of trials
    missing_response: float = 0.005
    zero_time: float = 0.004  # the key was down already
    seed: int = 90
    group: Mapping[str, float] = field(
        default_factory=lambda: {
            "mu_nu": 0.80,
            "mu_log_alpha": 0.03,
            "mu_log_t0": -1.05,
            "log_sigma_nu": -0.60,
            "log_sigma_log_alpha": -2.00,
            "log_sigma_log_t0": -1.30,
            "beta_raw": -0.50,
        }
    )


def make_example(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return the population of the example, and write its table."""
    frame = example_data(result.settings, workshop.model)
    frame.to_csv(workshop.path(result.files[1]), index=False, lineterminator="\n")
    return {"group": result.settings.group}


def example_data(settings: ExampleSettings, model: Model) -> pd.DataFrame:
    """Return the trials that are left: times in milliseconds, with gaps."""
    study = simulate(
        model, settings.n_subjects, settings.n_trials, seed=settings.seed, group=settings.group
    )
    choice, rt = study.trials.reshape(-1, 2).T.astype(float)
    people = [f"P{j:02d}" for j in range(1, settings.n_subjects + 1)]
    trial = np.tile(np.arange(1, settings.n_trials + 1), settings.n_subjects)
    frame = pd.DataFrame(
        {
            "participant_id": np.repeat(people, settings.n_trials),
            "trial": trial,
            "rt": (1000 * rt).round(),
            "response": choice,
        }
    )
    rng = np.random.default_rng(settings.seed)
    there = trial <= _last_trials(settings, rng).repeat(settings.n_trials)
    frame, late = frame[there].copy(), rt[there] > settings.deadline
    chance = rng.random((3, len(frame)))
    frame.loc[late | (chance[0] < settings.missing_time), ["rt", "response"]] = np.nan
    frame.loc[chance[1] < settings.missing_response, "response"] = np.nan
    frame.loc[chance[2] < settings.zero_time, "rt"] = 0
    return frame.astype({"rt": "Int64", "response": "Int64"})


def _last_trials(settings: ExampleSettings, rng: np.random.Generator) -> np.ndarray:
    """Return the last trial of each person."""
    last = np.full(settings.n_subjects, settings.n_trials)
    leaving = rng.permutation(settings.n_subjects)[: settings.n_early + settings.n_quitters]
    early, quitters = np.split(leaving, [settings.n_early])
    last[early] = rng.integers(settings.least, settings.n_trials, settings.n_early)
    last[quitters] = rng.integers(3, 9, settings.n_quitters)
    return last


# --------------------------------------------------------------------------------------------------
# The picture of the README: paths, groups that are composed, composed beside exact
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FigureSettings:
    """What is drawn: decisions of one mind, and some group parameters of a demonstration study."""

    demo: DemoSettings = DemoSettings(1000)
    group_size: int = 200
    num_samples: int = 500
    seed: int = 1
    nu: float = 1.0
    alpha: float = 1.2
    t0: float = 0.25
    beta: float = 0.5
    n_paths: int = 7
    names: tuple[str, ...] = ("mu_nu", "log_sigma_log_alpha", "beta_raw")


def make_figure(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Draw the picture, and return nothing beside what made it."""
    from matplotlib import pyplot as plt

    figure = readme_figure(workshop, result.settings)
    target = workshop.path(result.files[1])
    figure.savefig(target, dpi=110, pil_kwargs={"optimize": True})
    plt.close(figure)
    return {}


def readme_figure(workshop: Workshop, settings: FigureSettings) -> Figure:
    """Return the picture; all in it is seeded."""
    from matplotlib import pyplot as plt

    from eamlab.composition.posterior import compose
    from eamlab_book.figures import use_style

    demo = load_demo(settings.demo.n_subjects, folder=workshop.folder, model=workshop.model)
    composed = compose(
        workshop.network("global"),
        demo.study,
        num_samples=settings.num_samples,
        group_size=settings.group_size,
        seed=settings.seed,
    )
    use_style()
    figure = plt.figure(figsize=(11, 3.6), layout="constrained")
    parts: Any = figure.subfigures(1, 3, width_ratios=[1, 1.15, 1], wspace=0.04)
    _draw_decisions(parts[0], settings)
    _draw_groups(parts[1], demo.study, settings)
    _draw_posteriors(parts[2], composed, demo, settings)
    return figure


def _draw_decisions(figure: Any, settings: FigureSettings) -> None:
    from eamlab.model.simulator import simulate_paths
    from eamlab_book.figures import draw_paths

    parameters = (settings.nu, settings.alpha, settings.t0, settings.beta)
    paths = simulate_paths(*parameters, settings.n_paths, seed=settings.seed)
    ax = figure.subplots()
    draw_paths(ax, paths, alpha=settings.alpha, t0=settings.t0, beta=settings.beta)
    ax.set(xlabel="time (s)", xlim=(0, 1.2), title="one mind, many decisions")


def _draw_groups(figure: Any, study: Study, settings: FigureSettings) -> None:
    """Subjects of the study as dots (mean choice against mean log rt), boxed in their groups."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    from eamlab_book.figures import PALETTE

    ax = figure.subplots()
    ax.set(xlim=(0, 10), ylim=(0, 10), title="groups → composed")
    ax.axis("off")
    rows = np.linspace(8.1, 0.6, 3)
    groups = study.trials.reshape(-1, settings.group_size, *study.trials.shape[1:])
    box: dict[str, Any] = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": PALETTE["exact"]}
    arrow: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "color": "0.4"}
    for row, group in zip(rows, groups, strict=False):
        ax.add_patch(FancyBboxPatch((0.3, row), 3.4, 1.5, **box))
        choice, log_rt = group[..., 0].mean(-1), np.log(group[..., 1]).mean(-1)
        x, y = (0.08 + 0.84 * (v - v.min()) / np.ptp(v) for v in (log_rt, choice))
        ax.scatter(0.3 + 3.4 * x, row + 1.5 * y, s=4, color=PALETTE["upper"], lw=0)
        ax.add_patch(FancyArrowPatch((3.8, row + 0.75), (6.0, 5.1), shrinkA=4, **arrow))
    text = f"{len(groups)} groups of {settings.group_size} people,\none network for all"
    ax.text(2.0, (rows[1] + rows[2] + 1.5) / 2, "⋮", ha="center", va="center", fontsize=14)
    ax.text(8.1, 2.2, text, ha="center", va="center", fontsize=9)
    product = r"$p(\eta)^{1 - G}\ \prod_g\ p(\eta \mid Y_g)$"
    box |= {"boxstyle": "round,pad=0.4", "ec": PALETTE["composed"], "lw": 1.6}
    ax.text(8.1, 5.1, product, ha="center", va="center", fontsize=11, bbox=box)


def _draw_posteriors(figure: Any, composed: Any, demo: Demo, settings: FigureSettings) -> None:
    from scipy.stats import gaussian_kde

    from eamlab_book.figures import PALETTE, symbol

    axes = figure.subplots(len(settings.names), 1)
    for ax, name in zip(axes, settings.names, strict=True):
        exact, drawn = demo.exact[name], composed[name]
        both = np.concatenate([exact, drawn])
        low, high = np.quantile(both, [0.001, 0.999])
        grid = np.linspace(low - 0.01, high + 0.01, 300)
        gray: dict[str, Any] = {"color": PALETTE["exact"], "alpha": 0.45, "lw": 0, "label": "exact"}
        ax.fill_between(grid, gaussian_kde(exact)(grid), **gray)
        ax.plot(grid, gaussian_kde(drawn)(grid), color=PALETTE["composed"], label="composed")
        ax.axvline(demo.study.truth[name], 0, 0.2, color=PALETTE["truth"], lw=2, label="truth")
        ax.set(yticks=[])
        ax.set_ylim(bottom=0)
        ax.set_ylabel(symbol(name), rotation=0, ha="right", va="center", fontsize=12)
        ax.spines["left"].set_visible(False)
        ax.locator_params(axis="x", nbins=4)
    axes[0].set_title(f"composed beside exact, J = {len(demo.study):,}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=1.4)


# --------------------------------------------------------------------------------------------------
# The table of the README: what every chapter takes, as `make binder-check` measured it
# --------------------------------------------------------------------------------------------------

_TABLE = re.compile(
    r"(?<=<!-- chapters: make results ARGS=README -->\n).*?(?=<!-- end -->)", re.DOTALL
)
_HEAD = """
| chapter | to read (min) | to run (s) | memory (MB) |
|---|--:|--:|--:|
"""


def make_table(workshop: Workshop, result: Result) -> None:
    """Write the table into the README, between two comments."""
    readme = workshop.path(result.files[0])
    write_whole(readme, _TABLE.sub(lambda _: chapter_table(), readme.read_text(encoding="utf-8")))


def check_table(workshop: Workshop, result: Result) -> None:
    """Refuse a README whose table is not that of `chapter_table`."""
    shown = _TABLE.search(workshop.path(result.files[0]).read_text(encoding="utf-8"))
    if shown is None or shown[0] != chapter_table():
        raise ValueError(f"README.md says other times than were measured; run {command('README')}.")


def chapter_table() -> str:
    """Return the table, with a row for every measured chapter (not for the front page)."""
    hosted = json.loads((ROOT / "book" / "data" / "hosted.json").read_text(encoding="utf-8"))
    rows = []
    for measured in hosted["chapters"]:
        if measured["chapter"][0].isdigit():
            page = ROOT / "book" / f"{measured['chapter']}.md"
            text = page.read_text(encoding="utf-8")
            title = re.search(r"^# (.+)$", text, re.M)
            minutes = re.search(r"^\*Time: about (\d+)", text, re.M)
            if title is None or minutes is None:
                raise ValueError(f"{page.name} has no title or does not say its time.")
            run, memory = f"{measured['seconds']:.0f}", f"{measured['peak_mb']:,.0f}"
            rows.append(f"| {title[1]} | {minutes[1]} | {run} | {memory} |\n")
    return _HEAD + "".join(rows) + "\n"


# --------------------------------------------------------------------------------------------------
# What the lab page holds: the example data of chapter 9, and the book's ten thousand
# --------------------------------------------------------------------------------------------------


def make_lab(workshop: Workshop, result: Result) -> None:
    """Write the script that holds an example file, a population and the page's models."""
    write_whole(workshop.path(result.files[0]), _lab(workshop, result))


def check_lab(workshop: Workshop, result: Result) -> None:
    """Refuse a script of another file, population or networks."""
    script = workshop.path(result.files[0])
    if script.read_text(encoding="utf-8") != _lab(workshop, result):
        raise ValueError(
            f"{script.name} is not of today's example and networks; run {command(result.name)}."
        )


def _lab(workshop: Workshop, result: Result) -> str:
    _, _, *networks = result.needs
    demo = load_demo(10_000, folder=workshop.folder, model=workshop.model)
    scripts = [workshop.path(f"src/eamlab_book/widgets/js/engine/{name}.js") for name in networks]
    return stored_script(workshop.path("book/data/example_trials.csv"), demo.exact, scripts)
