"""The composition explorer: every knob of a composed posterior, with the exact one behind it.

A rendered page asks the network that it carries (``js/sampler.js``), a notebook asks Python
(`Sampler`). Stored are the exact posteriors alone; ``make results`` writes their file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from eamlab.draws import Draws
from eamlab.model.eam import EAM, beta_from_raw
from eamlab.study import Study, simulate
from eamlab_book.stored import load_stored, sha256_of
from eamlab_book.studies import DEMO_GROUP, DEMO_SIZES, DemoSettings, simulate_demo
from eamlab_book.widgets.network import LazyNetwork
from eamlab_book.widgets.widget import Widget, plain_symbol

if TYPE_CHECKING:
    import bayesflow as bf
    from matplotlib.figure import Figure

_LARGEST_NEW_STUDY = 1000
"""Subjects; the exact posterior of more takes over a minute."""
_FIRST_SEED = 400
"""Seed of the first new study; later ones count on."""
_TRAINED = (1, 200)
"""Subjects per group on which the shipped network was trained."""
_POINTS = 49
"""Equally probable draws that stand for an exact posterior."""

_R10 = (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.4, 8)
"""Preferred numbers: ten stops to a factor of ten, evenly spread in the logarithm."""


def _stops(decades: range) -> list[float]:
    return [round(m * 10.0**k, 6) for k in decades for m in _R10]


_WHOLE = sorted({round(v) for v in _stops(range(4))})
_STOPS: dict[str, list[Any]] = {
    "n_subjects": [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000],
    "group_size": [v for v in _WHOLE if 5 <= v < _TRAINED[1]] + ["auto"],
    "mini_batch_size": [v for v in _WHOLE if v <= 2000],
    "d0": [*_stops(range(-3, 0)), 1.0],
    "d1": [*_stops(range(-3, 0)), 1.0],
    "steps": [10, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000],
}
"""Positions of the sliders; any other value in `_RANGES` becomes one more."""
_RANGES: dict[str, tuple[float, float]] = {
    "n_subjects": (5, max(DEMO_SIZES)),
    "group_size": (1, _TRAINED[1]),
    "mini_batch_size": (1, max(DEMO_SIZES)),
    "d0": (1e-4, 1.0),
    "d1": (1e-4, 1.0),
    "steps": (10, 1000),
}


@dataclass(frozen=True)
class Settings:
    """Settings of one composition, as the sliders give them.

    Attributes
    ----------
    method : {"sum", "gaussian"}
        Scores added by Euler-Maruyama, or Gaussians multiplied.
    n_subjects : int
        Number of subjects, 5 to 10,000.
    group_size : int or "auto"
        Subjects per group at most, 1 to 200: the fewest, nearly equal groups of no more are taken;
        "auto" is the most on which the network was trained.
    mini_batch_size, steps : int
        Groups per estimate of the score, and steps of the solver.
    d0, d1 : float
        Bridge at the data end and at the noise end.
    """

    method: str = "sum"
    n_subjects: int = 1000
    group_size: int | str = 5
    mini_batch_size: int = 10
    d0: float = 1.0
    d1: float = 1.0
    steps: int = 100

    def __post_init__(self) -> None:
        if self.method not in ("sum", "gaussian"):
            raise ValueError(f"method must be 'sum' or 'gaussian', got {self.method!r}.")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if name == "group_size" and value == "auto":
                continue
            kinds = (int, float) if name in ("d0", "d1") else (int,)
            number = isinstance(value, kinds) and not isinstance(value, bool)
            if not (number and low <= value <= high):
                kind = "a number" if float in kinds else "an integer"
                auto = " or 'auto'" if name == "group_size" else ""
                raise ValueError(
                    f"{name} must be {kind} from {low:g} to {high:g}{auto}, got {value!r}."
                )

    def sizes(self, trained: tuple[int, int] = _TRAINED) -> tuple[int, ...]:
        """Return the number of subjects in each group."""
        from eamlab.composition.groups import auto_group_sizes

        within = (1, self.group_size) if isinstance(self.group_size, int) else trained
        return auto_group_sizes(self.n_subjects, within)


SCENES: dict[str, Settings] = {
    "1 ten people": Settings(n_subjects=10),
    "2 a thousand": Settings(),
    "3 ten thousand": Settings(n_subjects=10_000),
    "4 a bridge": Settings(n_subjects=10_000, d0=0.1, d1=0.1),
    "5 groups of 100": Settings(n_subjects=10_000, group_size=100, d0=0.1, d1=0.1),
    "6 multiply": Settings("gaussian", 10_000, 100),
    "7 all ten groups": Settings(group_size=100),
    "8 two of ten": Settings(group_size=100, mini_batch_size=2),
    "9 groups of 200": Settings("gaussian", 10_000, "auto"),
}
"""What the explorer's buttons show; the instructor's guide plays the first eight."""


# --------------------------------------------------------------------------------------------------
# The exact posteriors
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeySettings:
    """What made the exact posteriors: one of the demonstration's first subjects for each of these.

    Those that `load_demo` has are its own.
    """

    demos: tuple[DemoSettings, ...] = tuple(map(DemoSettings, _STOPS["n_subjects"]))


def load_keys() -> dict[str, dict[str, Any]]:
    """Load the exact posteriors of the demonstration study.

    Returns
    -------
    dict
        `key_json` of each, by the number of subjects as a string.

    Raises
    ------
    ValueError
        If the file is missing, or was made with other settings or another model.
    """
    keys: dict[str, dict[str, Any]] = load_stored("explorer.json", KeySettings())["exact"]
    return keys


def key_json(exact: Draws) -> dict[str, Any]:
    """Return mean, sd and equally probable draws (in exact sds) of an exact posterior, as JSON."""
    names, at = exact.group_names, (np.arange(_POINTS) + 0.5) / _POINTS
    z = [(exact[k] - exact.mean[k]) / exact.sd[k] for k in names]
    return {
        "mean": [float(exact.mean[k]) for k in names],
        "sd": [float(exact.sd[k]) for k in names],
        "points": np.quantile(z, at, axis=1).T.round(3).tolist(),
    }


# --------------------------------------------------------------------------------------------------
# The widget
# --------------------------------------------------------------------------------------------------


def explorer(
    workflow: bf.CompositionalWorkflow | None = None, *, num_samples: int = 100, **settings: Any
) -> Widget:
    """Show the composed posterior of up to 10,000 subjects, with a slider for every setting.

    The picture shows the composed posterior of all group parameters on the exact one. A moved
    slider asks the real network: in a notebook Python does, in a rendered page the page itself. The
    exact posterior is there for the demonstration study at the slider's own numbers of subjects,
    and, in a notebook, for new studies of up to 1,000.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow, optional
        A trained global workflow; the shipped one by default. A rendered page has the shipped one
        only, and shows nothing but the exact posterior for another.
    num_samples : int, default 100
        Draws of an answer.
    **settings
        Where the sliders stand at first: ``method``, ``n_subjects``, ``group_size``,
        ``mini_batch_size``, ``d0``, ``d1``, ``steps``; any value between the ends of a slider.

    Returns
    -------
    Widget

    Raises
    ------
    ValueError
        If a setting is unknown or out of range, or `workflow` is that of another model.
    """
    known = [field.name for field in fields(Settings)]
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"settings: there is no {unknown}; choose from {known}.")
    if num_samples < 10:
        raise ValueError(f"num_samples must be at least 10, got {num_samples}.")
    at_first = Settings(**settings)
    card = getattr(workflow, "model_card", {})
    shipped = workflow is None or card.get("sha256") == sha256_of("global")
    if not shipped:
        _check_workflow(workflow)
    keys = load_keys()
    return Widget(
        "composition",
        _page(keys, num_samples) | {"network": "global" if shipped else None},
        asdict(at_first) | {"study": 0, "hide": 0},
        sentence=_sentence(_shown(at_first)),
        still=partial(_still, keys, _shown(at_first)),
        answer=Sampler(workflow, num_samples).answer,
    )


def _page(keys: Mapping[str, Any], num_samples: int) -> dict[str, Any]:
    """Return what the picture is drawn from, and what the page's own sampler needs to know."""
    parameters = EAM.prior.parameters
    raw = np.linspace(-8, 8, 321)
    return {
        "names": list(EAM.prior.names),
        "symbols": [plain_symbol(p.symbol) for p in parameters],
        "words": [p.label or p.name for p in parameters],
        "prior": {"mean": [p.mean for p in parameters], "sd": [p.sd for p in parameters]},
        "truth": [DEMO_GROUP[k] for k in EAM.prior.names],
        "stops": _STOPS,
        "ranges": _RANGES,
        "trained": _TRAINED,
        "scenes": {name: asdict(settings) for name, settings in SCENES.items()},
        "exact": keys,
        "num_samples": num_samples,
        "people": [
            {"name": p.name, "mean": p.mean, "log_sd": p.log_sd, "positive": p.positive}
            for p in EAM.people
        ],
        "beta": {"raw": [raw[0], raw[-1]], "values": beta_from_raw(raw).round(6).tolist()},
        "n_trials": DemoSettings(max(DEMO_SIZES)).n_trials,
    }


def _check_workflow(workflow: Any) -> None:
    from eamlab.backend import bf

    from eamlab.workflows import model_of

    if not isinstance(workflow, bf.CompositionalWorkflow):
        raise ValueError(
            f"workflow must be a trained CompositionalWorkflow, got {type(workflow).__name__}; use "
            "load_pretrained('global'), or train a global_workflow()."
        )
    EAM.check_made_with(model_of(workflow).description(), "workflow", "train(EAM, 'global')")


class Sampler:
    """Composes what the sliders say.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow, optional
        The shipped one by default, loaded when it is first needed.
    num_samples : int, default 100
        Number of draws.
    """

    def __init__(self, workflow: Any = None, num_samples: int = 100) -> None:
        self.num_samples, self.asked = num_samples, 0
        self.network = LazyNetwork(workflow, num_samples=num_samples)

    def draw(self, settings: Settings, *, seed: int = 0, number: int = 0) -> Draws:
        """Draw from the composed posterior of a study; number 0 is the demonstration."""
        from eamlab.composition.gaussian import sample_gaussian_composition
        from eamlab.composition.posterior import default_steps

        workflow, sizes = self.network.workflow, settings.sizes(self.network.trained)
        which = (number, settings.n_subjects)
        summaries = self.network.summaries(which, _study(*which), sizes)
        if settings.method == "sum":
            bridge = (settings.d0, settings.d1) if len(sizes) > 1 else (1.0, 1.0)
            return self.network.sampler.draw(
                summaries,
                mini_batch_size=settings.mini_batch_size,
                d0=bridge[0],
                d1=bridge[1],
                steps=settings.steps,
                seed=seed,
            )
        z = sample_gaussian_composition(
            workflow.inference_network,
            [summaries],
            num_samples=self.num_samples,
            steps=int(default_steps("gaussian", len(sizes))),
            seed=seed,
        )
        values = EAM.prior.unstandardize(z[0])
        return Draws({k: values[:, i] for i, k in enumerate(EAM.prior.names)}, model=EAM)

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the draws at a position of the sliders, as JSON."""
        chosen = {k: v for k, v in message.items() if k not in ("study", "hide")}
        settings, number = Settings(**chosen), int(message.get("study", 0))
        study, exact = _study(number, settings.n_subjects), None
        if number and settings.n_subjects <= _LARGEST_NEW_STUDY:
            exact = key_json(_exact(number, settings.n_subjects))
        start, self.asked = time.perf_counter(), self.asked + 1
        draws = self.draw(settings, seed=self.asked, number=number)
        return {
            "values": {k: draws[k].tolist() for k in EAM.prior.names},
            "exact": exact,
            "truth": [study.truth[k] for k in EAM.prior.names],
            "ms": 1000 * (time.perf_counter() - start),
        }


@lru_cache(8)
def _study(number: int, n_subjects: int) -> Study:
    if number == 0:
        return simulate_demo(DemoSettings(n_subjects))
    return simulate(EAM, n_subjects, seed=_FIRST_SEED + number)


@lru_cache(8)
def _exact(number: int, n_subjects: int) -> Draws:
    from eamlab.reference.posterior import exact

    return exact(_study(number, n_subjects), EAM, 500, seed=number, progress=False)


# --------------------------------------------------------------------------------------------------
# The still
# --------------------------------------------------------------------------------------------------


def _shown(settings: Settings) -> int:
    """Return of how many subjects the still shows the exact posterior: no more than are asked."""
    return max(n for n in _STOPS["n_subjects"] if n <= settings.n_subjects)


def _sentence(n_subjects: int) -> str:
    return (
        f"Exact posterior of the seven group parameters of {n_subjects:,} subjects, beside the "
        "prior and the truth. The composed posterior is drawn on it by the network, which needs "
        "scripts or a running kernel."
    )


def _still(keys: Mapping[str, Any], n_subjects: int) -> Figure:
    """Return the exact posterior as a figure."""
    from eamlab_book.figures import posterior_figure

    key = keys[str(n_subjects)]
    columns = zip(EAM.prior.names, key["mean"], key["sd"], key["points"], strict=True)
    draws = Draws({k: mean + sd * np.array(z) for k, mean, sd, z in columns}, model=EAM)
    return posterior_figure({"exact": draws}, truth=DEMO_GROUP)
