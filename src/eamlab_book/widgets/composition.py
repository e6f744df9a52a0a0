"""The composition explorer: every knob of a composed posterior, with the exact one behind it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from eamlab.draws import Draws
from eamlab.model.eam import EAM
from eamlab.study import Study, simulate
from eamlab_book.studies import DEMO_GROUP, exact_of, load_demo
from eamlab_book.widgets.codec import SCALE
from eamlab_book.widgets.grid import (
    N_POINTS,
    STOPS,
    Settings,
    cell_of,
    exact_answer,
    exact_answers,
    load_grid,
    summarize,
)
from eamlab_book.widgets.network import LazyNetwork
from eamlab_book.widgets.widget import Widget, plain_symbol

if TYPE_CHECKING:
    import bayesflow as bf
    from matplotlib.figure import Figure

__all__ = ["explorer"]

_LARGEST_NEW_STUDY = 1000
"""Subjects; the exact posterior of more takes over a minute."""
_FIRST_SEED = 400
"""Seed of the first new study; later ones count on."""


def explorer(
    workflow: bf.CompositionalWorkflow | None = None,
    *,
    num_samples: int = 100,
    live: bool = True,
    **settings: Any,
) -> Widget:
    """Show the composed posterior of up to 10,000 subjects, with a slider for every setting.

    The picture shows the composed posterior of all group parameters on the exact one. A
    moved slider shows at once what was computed ahead and, where a kernel is running, the answer of
    the real sampler as soon as it is there; the caption says which of the two one sees.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow, optional
        A trained global workflow; the shipped one by default. For another one nothing was computed
        ahead, so that it is seen only while a kernel is running.
    num_samples : int, default 100
        Draws of a live answer.
    live : bool, default True
        Whether to answer from the real sampler; the first answer loads TensorFlow.
    **settings
        Where the sliders stand at first: ``method``, ``n_subjects``, ``group_size``,
        ``mini_batch_size``, ``d0``, ``d1``, ``steps``; each must be one of the slider's stops.

    Returns
    -------
    Widget

    Raises
    ------
    ValueError
        If a setting is unknown or not a stop of its slider, or `workflow` is that of another model.
    """
    unknown = set(settings) - {field.name for field in fields(Settings)}
    if unknown:
        raise ValueError(f"settings: there is no {sorted(unknown)}; choose from {list(STOPS)}.")
    if num_samples < 10:
        raise ValueError(f"num_samples must be at least 10, got {num_samples}.")
    at_first = Settings(**settings)
    grid = load_grid()
    if workflow is not None and _hash_of(workflow) != grid["sha256"]["global"]:
        _check_workflow(workflow)
        grid = grid | {"lookup": None, "packed": None}
    return Widget(
        "composition",
        _page(grid),
        asdict(at_first),
        sentence=_sentence(grid, at_first),
        still=lambda: _still(grid, at_first),
        answer=_Sampler(workflow, num_samples) if live else None,
    )


def _page(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the picture is drawn from."""
    parameters = EAM.prior.parameters
    return {
        "names": list(EAM.prior.names),
        "symbols": [plain_symbol(p.symbol) for p in parameters],
        "words": [p.label or p.name for p in parameters],
        "prior": {"mean": [p.mean for p in parameters], "sd": [p.sd for p in parameters]},
        "truth": [DEMO_GROUP[k] for k in EAM.prior.names],
        "stops": STOPS,
        "lookup": grid["lookup"],
        "packed": grid["packed"],
        "n_points": N_POINTS,
        "scale": SCALE,
        "exact": exact_answers(),
    }


def _hash_of(workflow: Any) -> str | None:
    return getattr(workflow, "model_card", {}).get("sha256")


def _check_workflow(workflow: Any) -> None:
    from eamlab.backend import bf

    from eamlab.workflows import model_of

    if not isinstance(workflow, bf.CompositionalWorkflow):
        raise ValueError(
            f"workflow must be a trained CompositionalWorkflow, got {type(workflow).__name__}; use "
            "load_pretrained('global'), or train a global_workflow()."
        )
    EAM.check_made_with(model_of(workflow).description(), "workflow", "train(EAM, 'global')")


class _Sampler:
    """Answers a position of the sliders with draws of the real sampler."""

    def __init__(self, workflow: Any, num_samples: int) -> None:
        self.num_samples = num_samples
        self.network = LazyNetwork(workflow, num_samples=num_samples)
        self.studies: dict[tuple[int, int], tuple[Study, Draws]] = {}
        self.draws = 0

    def __call__(self, message: Mapping[str, Any]) -> dict[str, Any]:
        chosen = dict(message)
        number = int(chosen.pop("study", 0))
        settings = Settings(**chosen)
        study, exact = self._study(number, settings.n_subjects)
        start = time.perf_counter()
        cell = summarize(self._draw(number, study, settings), exact)
        return {
            "cell": cell.to_json(),
            "exact": exact_answer(exact),
            "truth": [study.truth[k] for k in EAM.prior.names],
            "num_samples": self.num_samples,
            "ms": 1000 * (time.perf_counter() - start),
        }

    def _draw(self, number: int, study: Study, settings: Settings) -> Draws:
        from eamlab.composition.posterior import compose

        self.draws += 1
        options = settings.options() | {"seed": self.draws}
        which = (number, settings.n_subjects)
        summaries = self.network.summaries(which, study, options["group_size"])
        if settings.method == "gaussian":
            options |= {"summaries": summaries, "num_samples": self.num_samples, "check": False}
            return compose(self.network.workflow, study, **options)
        del options["method"], options["group_size"]
        alone = {"mini_batch_size": 1, "d0": 1.0, "d1": 1.0} | options
        return self.network.sampler.draw(summaries, **alone)

    def _study(self, number: int, n_subjects: int) -> tuple[Study, Draws]:
        """Return a study and its exact posterior; number 0 is the demonstration."""
        if (number, n_subjects) not in self.studies:
            make = _demo_study if number == 0 else _new_study
            self.studies[number, n_subjects] = make(number, n_subjects)
        return self.studies[number, n_subjects]


def _demo_study(_: int, n_subjects: int) -> tuple[Study, Draws]:
    demo = load_demo(n_subjects)
    return demo.study, demo.exact


def _new_study(number: int, n_subjects: int) -> tuple[Study, Draws]:
    from eamlab.reference.posterior import exact

    if n_subjects > _LARGEST_NEW_STUDY:
        raise ValueError(
            f"The exact posterior of a new study of {n_subjects:,} subjects takes minutes, and "
            "nothing is shown here without it, so this is the first study again: choose fewer "
            "subjects for a new one."
        )
    study = simulate(EAM, n_subjects, seed=_FIRST_SEED + number)
    return study, exact(study, EAM, 500, seed=number, progress=False)


def _sentence(grid: Mapping[str, Any], settings: Settings) -> str:
    """Say what the still shows."""
    start = (
        f"Posterior of the group parameters of {settings.n_subjects:,} subjects, composed of "
        f"{settings.n_groups:,} group posteriors, on the exact one."
    )
    if grid["packed"] is None:
        return start
    cell = cell_of(grid, settings)
    return (
        f"{start} Its means are {np.abs(cell.bias).min():.1f} to {np.abs(cell.bias).max():.1f} "
        f"exact standard deviations off, its widths {cell.ratio.min():.2f} to "
        f"{cell.ratio.max():.2f} times the exact ones."
    )


def _still(grid: Mapping[str, Any], settings: Settings) -> Figure:
    """Return the picture as a figure."""
    from eamlab_book.figures import posterior_figure

    exact = exact_of(settings.n_subjects)
    if grid["packed"] is None:
        return posterior_figure({"exact": exact}, truth=DEMO_GROUP)
    points = zip(EAM.prior.names, cell_of(grid, settings).points, strict=True)
    draws = Draws({k: exact.mean[k] + exact.sd[k] * z for k, z in points}, model=EAM)
    return posterior_figure(draws, exact=exact, truth=DEMO_GROUP)
