"""Which studies and recipes are graded, and the grades that were measured.

`eamlab_book.results` makes the numbers; this module holds what it shares with the chapters and with
the tests that recompute some of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from eamlab.model.conditions import TWO_CONDITIONS
from eamlab.model.eam import EAM
from eamlab.model.laboratory import LABORATORY
from eamlab.model.model import Model
from eamlab.study import Study, simulate
from eamlab_book.stored import load_stored
from eamlab_book.studies import DemoSettings

GRADED_STUDIES = {10: 40, 100: 40, 1000: 20, 10_000: 10}
"""Number of graded studies per number of subjects J."""

VALIDATION_STUDIES = {10: 20, 100: 20, 1000: 20, 10_000: 4}
"""Number of studies per J on which settings are chosen."""

_FIRST_SEED = {"graded": 4_770_000, "validation": 770_000}
"""Graded studies are used by nothing else: neither training, tuning nor the demonstrations."""

_TOO_SLOW = 7
"""Left out of the graded studies of 10,000, before anything was composed: importance sampling of
its exact posterior fails, and the Markov chains that then take over would run for an hour."""


@dataclass(frozen=True)
class Recipe:
    """One way of composing that is graded.

    ``mini_batch_size=None`` uses all groups; ``max_studies`` and ``max_groups`` bound the cost of
    slow recipes. ``purpose`` names the studies: a recipe none of whose settings was chosen here may
    be graded on the validation studies.
    """

    group_size: int | str
    method: str = "euler_maruyama"
    steps: int | str | None = 100
    weights: str = "global"
    d0: float = 1.0
    d1: float = 1.0
    use_jac: bool = False
    mini_batch_size: int | None = 10
    prior: str = "diffused"
    max_studies: int = 100
    max_groups: int = 10_000
    purpose: str = "graded"

    def n_studies(self, n_subjects: int) -> int:
        """Return how many of the studies are graded."""
        return min(self.max_studies, GRADED_STUDIES[n_subjects])

    def n_groups(self, n_subjects: int) -> int:
        """Return the number of composed terms; with "auto", of groups of up to 200."""
        if self.group_size == "auto":
            return -(-n_subjects // _LARGEST_GROUP)
        return n_subjects // int(self.group_size)

    def settings(self, n_subjects: int) -> dict[str, Any]:
        """Return the options of ``eamlab.compose`` for J = `n_subjects`."""
        options = {"group_size": self.group_size, "method": self.method, "steps": self.steps}
        if self.method == "gaussian":
            return options
        n_groups = self.n_groups(n_subjects)
        options["mini_batch_size"] = min(self.mini_batch_size or n_groups, n_groups)
        return options | {k: getattr(self, k) for k in ("d0", "d1", "use_jac", "prior")}


_LARGEST_GROUP = 200


def _gaussian(group_size: int | str, max_groups: int = 10_000) -> Recipe:
    return Recipe(group_size, method="gaussian", steps=None, max_groups=max_groups)


def _summed(group_size: int, d0: float = 1.0, d1: float = 1.0, steps: int = 100) -> Recipe:
    return Recipe(group_size, d0=d0, d1=d1, steps=steps, max_studies=3)


def _jacobian(group_size: int) -> Recipe:
    """BayesFlow's Jacobian, all groups at every step of a deterministic solver; costly."""
    return Recipe(
        group_size,
        method="euler",
        steps=40,
        use_jac=True,
        mini_batch_size=None,
        max_studies=3,
        max_groups=20,
    )


RECIPES = {
    "recommended": _gaussian("auto"),
    "Gaussian, groups of 100": _gaussian(100),
    "Gaussian, groups of 20": _gaussian(20, max_groups=200),
    "Gaussian, groups of 5": _gaussian(5, max_groups=200),
    "tutorial": Recipe(
        5,
        weights="global-pooled",
        d0=0.1,
        d1=0.1,
        method="two_step_adaptive",
        steps="adaptive",
        prior="weighted",
        max_studies=3,
        purpose="validation",
    ),
    "groups of 5": _summed(5),
    "groups of 5, d0 = d1 = 0.1": _summed(5, d0=0.1, d1=0.1),
    "groups of 5, d1 = 0.1": _summed(5, d1=0.1),
    "groups of 20": _summed(20),
    "groups of 100": _summed(100),
    "groups of 100, 300 steps": _summed(100, steps=300),
    "groups of 5, Jacobian": _jacobian(5),
    "groups of 20, Jacobian": _jacobian(20),
    "groups of 100, Jacobian": _jacobian(100),
}
"""The graded recipes by name: first ours, then the published one, then variations."""


def recipes_for(n_subjects: int) -> dict[str, Recipe]:
    """Return the recipes that make sense for J = `n_subjects`: "auto", or two whole groups."""
    return {
        name: recipe
        for name, recipe in RECIPES.items()
        if recipe.group_size == "auto"
        or (
            n_subjects % int(recipe.group_size) == 0
            and 2 <= recipe.n_groups(n_subjects) <= recipe.max_groups
        )
    }


def graded_study(
    n_subjects: int, index: int, *, purpose: str = "graded", model: Model | None = None
) -> Study:
    """Simulate study number `index` of J = `n_subjects`, drawn from the prior.

    `purpose` is "graded", or "validation" for the studies on which settings are chosen.
    """
    return simulate(model or EAM, n_subjects, 30, seed=graded_seed(n_subjects, index, purpose))


def graded_seed(n_subjects: int, index: int, purpose: str = "graded") -> int:
    """Return the seed of `graded_study`."""
    if (purpose, n_subjects) == ("graded", 10_000) and index >= _TOO_SLOW:
        index += 1
    return _FIRST_SEED[purpose] + 10 * n_subjects + index


@dataclass(frozen=True)
class GradeSettings:
    """What made the grades of the shipped networks."""

    num_samples: int = 200
    seed: int = 1
    groups_at_once: int = 100
    studies: Mapping[int, int] = field(default_factory=GRADED_STUDIES.copy)
    validation: Mapping[int, int] = field(default_factory=VALIDATION_STUDIES.copy)
    first_seed: Mapping[str, int] = field(default_factory=_FIRST_SEED.copy)
    left_out: int = _TOO_SLOW
    recipes: Mapping[str, Recipe] = field(default_factory=RECIPES.copy)


@dataclass(frozen=True)
class DiscretizationSettings:
    """What made the comparison of the exact posterior with Euler-Maruyama data, by J."""

    num_samples: int = 200
    seed: int = 880_000
    dt: float = 1e-3
    studies: Mapping[int, int] = field(default_factory=lambda: {10: 12, 100: 8, 1000: 4})


@dataclass(frozen=True)
class TuningSettings:
    """What made the table of group sizes (by J) and steps; the studies are those of validation."""

    num_samples: int = 200
    seed: int = 7
    steps: tuple[int, ...] = (24, 30, 46)
    group_sizes: Mapping[int, tuple[int, ...]] = field(
        default_factory=lambda: {10: (5, 10), 100: (20, 100), 1000: (100, 200), 10_000: (200,)}
    )
    studies: Mapping[int, int] = field(default_factory=VALIDATION_STUDIES.copy)
    first_seed: int = _FIRST_SEED["validation"]


@dataclass(frozen=True)
class Lever:
    """One training, as it differs from that of the shipped weights, and how it is composed."""

    what: str
    network: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    compose: Mapping[str, Any] = field(default_factory=dict)
    times: float = 1.0  # length of the training, in units of `LeverSettings.epochs`


LEVERS = {
    "all levers": Lever("the recipe of the shipped weights, shorter"),
    "no hierarchy": Lever(
        "a summary that is told nothing of the model",
        network={"summary": "subject-aware", "summary_dim": 64},
    ),
    "groups of 5 only": Lever(
        "trained on groups of 5, composed from groups of 5", training={"group_sizes": (5,)}
    ),
    "no anchor": Lever(
        "BayesFlow's own diffusion model and noise levels, summed scores",
        network={"summary": "subject-aware", "summary_dim": 64, "score": "plain"},
        compose={"method": "euler_maruyama", "steps": 300},
    ),
    "no averaging": Lever("without the moving average of weights", training={"averaging": None}),
    "a third of the training": Lever("a third as long", times=1 / 3),
    "three times the training": Lever("three times as long", times=3.0),
}
"""Trainings by name; all but the first lack, or change, one lever."""


@dataclass(frozen=True)
class LeverSettings:
    """What made the comparison of trainings: the first of the validation studies, by J.

    Few of 10,000 subjects, because in groups of five they take minutes a study.
    """

    num_samples: int = 200
    seed: int = 3
    epochs: int = 3
    studies: Mapping[int, int] = field(default_factory=lambda: {100: 10, 1000: 6, 10_000: 2})
    first_seed: int = _FIRST_SEED["validation"]
    levers: Mapping[str, Lever] = field(default_factory=LEVERS.copy)


def _graded_rows(n_subjects: int | None) -> list[dict[str, Any]]:
    """Return the stored grades of one J, or of all, in the order of `RECIPES`."""
    stored = load_stored("grades.json", GradeSettings())["rows"]
    rows = [r for r in stored if n_subjects in (None, r["J"])]
    order = list(RECIPES)
    return sorted(rows, key=lambda row: order.index(row["recipe"]))


def grade_table(n_subjects: int | None = None) -> pd.DataFrame:
    """Summarize the measured grades, one row per J and recipe, in the order of `RECIPES`.

    Parameters
    ----------
    n_subjects : int, optional
        Only this J.

    Returns
    -------
    DataFrame
        Per row the best and the worst parameter's median absolute bias in exact sds, with a 90 %
        interval for the worst (bootstrap over studies), the smallest and largest median sd ratio;
        the tails: the worst parameter's 90th percentile of the absolute bias, the smallest 10th and
        the largest 90th percentile of the sd ratio, and the share of the studies that are right in
        every parameter (within 1 exact sd, and 0.7 to 1.4 in width); the coverage of the truth by
        the 90 % intervals and by the exact ones (all parameters together), the Wasserstein distance
        in exact sds (mean over parameters, median over
        studies), the median joint C2ST, seconds per study and the number of studies.
    """
    rows = sorted(_graded_rows(n_subjects), key=lambda row: row["J"])
    return pd.DataFrame([_summary(r) for r in rows]).set_index(["J", "recipe"])


def _right(bias: Any, sd_ratio: Any) -> Any:
    """Say where a posterior is within 1 exact sd, and within 0.7 to 1.4 in width; elementwise."""
    return (np.abs(bias) <= 1.0) & (sd_ratio >= 0.7) & (sd_ratio <= 1.4)


def _tails(bias: NDArray, sd_ratio: NDArray) -> dict[str, float]:
    """Return the worst parameters' middle and tails, and the share of studies that are right.

    Arrays have shape (studies, parameters).
    """
    return {
        "bias, worst": np.median(np.abs(bias), axis=0).max(),
        "worst, 90 %": np.quantile(np.abs(bias), 0.9, axis=0).max(),
        "sd ratio, 10 %": np.quantile(sd_ratio, 0.1, axis=0).min(),
        "sd ratio, 90 %": np.quantile(sd_ratio, 0.9, axis=0).max(),
        "right": _right(bias, sd_ratio).all(axis=1).mean(),
    }


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    def column(key: str) -> NDArray:
        return np.array([[s[n][key] for n in EAM.prior.names] for s in row["per_study"]], float)

    biases, ratios = column("bias"), column("sd_ratio")
    bias, ratio = np.median(np.abs(biases), axis=0), np.median(ratios, axis=0)
    # A 90 % bootstrap interval for the worst parameter's median absolute bias.
    drawn = np.random.default_rng(0).integers(len(biases), size=(2000, len(biases)))
    worst = np.median(np.abs(biases)[drawn], axis=1).max(axis=1)
    low, high = np.quantile(worst, [0.05, 0.95])
    tails = _tails(biases, ratios)
    return {
        "J": row["J"],
        "recipe": row["recipe"],
        "bias, best": bias.min(),
        "bias, worst": tails.pop("bias, worst"),
        "worst, from": low,
        "worst, to": high,
        "sd ratio, least": ratio.min(),
        "sd ratio, most": ratio.max(),
        **tails,
        "coverage": column("covered").mean(),
        "exact coverage": column("exact_covered").mean(),
        "distance": np.median(column("wasserstein").mean(axis=1)),
        "C2ST": np.median(row["c2st"]),
        "seconds": row["seconds"],
        "studies": row["studies"],
    }


def grade_frame(n_subjects: int | None = None) -> pd.DataFrame:
    """Return the measured grades parameter by parameter, for figures.

    Parameters
    ----------
    n_subjects : int, optional
        Only this J.

    Returns
    -------
    DataFrame
        One row per J, recipe and parameter: ``bias`` (median absolute bias in exact sds) and
        ``sd_ratio`` (median), over studies; recipes in the order of `RECIPES`.
    """
    rows = [
        {"J": r["J"], "recipe": r["recipe"], "parameter": name}
        | {
            "bias": np.median([abs(s[name]["bias"]) for s in r["per_study"]]),
            "sd_ratio": np.median([s[name]["sd_ratio"] for s in r["per_study"]]),
        }
        for r in _graded_rows(n_subjects)
        for name in EAM.prior.names
    ]
    return pd.DataFrame(rows)


def discretization_table() -> pd.DataFrame:
    """Root mean square z of the truth under Euler-Maruyama data, by J and correction.

    Returns
    -------
    DataFrame
        One row per (J, corrected); a column per parameter. One is what an exact posterior gives.
    """
    rows = [
        {"J": r["J"], "corrected": r["em_dt"] is not None} | r["z"]
        for r in load_stored("discretization.json", DiscretizationSettings())["rows"]
    ]
    grouped = pd.DataFrame(rows).groupby(["J", "corrected"])
    return grouped.agg(lambda z: float(np.sqrt(np.mean(np.square(z)))))


@dataclass(frozen=True)
class ModelKeySettings:
    """What made the exact posteriors of a model's graded studies.

    ``studies`` are counts by J; each person has a number of trials drawn from ``trials``, evenly on
    the log scale. Where some are ``extreme`` (at most a third), these have every log spread at an
    end of its prior's central 95 %, and the others are stratified over the log spreads' prior.
    """

    studies: Mapping[int, int] = field(default_factory=lambda: dict.fromkeys((10, 20, 50, 200), 60))
    trials: tuple[int, int] = (30, 500)
    extreme: int = 0
    num_samples: int = 500
    seed: int = 4_400_000


STRATIFIED = ModelKeySettings(
    {10: 60, 100: 60, 1000: 60, 10_000: 30}, (30, 30), extreme=8, seed=4_900_000
)
"""Studies in which no population is left out because it is rare, nor because its exact posterior
takes long; certificates are graded on them."""

LARGEST = replace(STRATIFIED, studies={100_000: 3})
"""The largest studies with an exact posterior, from the same strata; the last is at a corner."""


@dataclass(frozen=True)
class ModelGradeSettings:
    """What made the grades of a model's networks.

    ``people`` are counts of people by their number of trials.
    """

    keys: ModelKeySettings = field(default_factory=ModelKeySettings)
    num_samples: int = 500
    people: Mapping[int, int] = field(default_factory=lambda: {20: 300, 100: 300, 500: 300})


MODEL_GRADES = {
    "laboratory": (LABORATORY, ModelGradeSettings()),
    "two-conditions": (TWO_CONDITIONS, ModelGradeSettings(ModelKeySettings(seed=4_500_000))),
}
"""Model and settings of the grades of laboratory models, by the network's name."""


@dataclass(frozen=True)
class CertificateSettings:
    """What made the certificates of graded studies, composed as recommended.

    ``n_studies`` are simulated and composed; ``scored``, or as many as have 60 groups, are for the
    forecast by excess scores, which is left out where it is 0.
    """

    n_studies: int = 60
    scored: int = 20
    rounds: int = 2
    num_samples: int = 200
    seed: int = 5_600_000
    keys: ModelKeySettings = STRATIFIED


CERTIFICATES = {
    "global": {
        "certificates": CertificateSettings(),
        "certificates_J100000": CertificateSettings(n_studies=24, scored=0, keys=LARGEST),
    }
} | {
    name: {f"certificates_{name}": CertificateSettings(scored=0, keys=of.keys)}
    for name, (_, of) in MODEL_GRADES.items()
}
"""What made the stored certificates, by the network's and their own names; of 100,000 people each
takes some minutes."""


def certificate_frame(network: str = "global") -> pd.DataFrame:
    """Return what certificates of graded studies forecast, beside what was true.

    Parameters
    ----------
    network : {"global", "laboratory", "two-conditions"}
        Whose draws are certified; the first's studies are stratified.

    Returns
    -------
    DataFrame
        One row per J, study and parameter, in exact sds: the forecast ``bias`` with its standard
        error ``bias_se``, the ``true`` one, and the one left after the correction, ``corrected``;
        the sd ratio before and after it, ``sd_ratio`` and ``corrected_ratio``; the forecast by
        excess scores, ``score``, with its standard error ``score_se``; ``seconds`` and
        ``score_seconds`` per study.
    """
    model, _ = MODEL_GRADES.get(network, (None, None))
    stored = (
        load_stored(f"{name}.json", of, model=model)["rows"]
        for name, of in CERTIFICATES[network].items()
    )
    return pd.DataFrame(
        [
            {k: v for k, v in r.items() if k != "parameters"} | {"parameter": name} | values
            for rows in stored
            for r in rows
            for name, values in r["parameters"].items()
        ]
    )


def certificate_table(network: str = "global") -> pd.DataFrame:
    """Summarize `certificate_frame`, two rows per J: as composed, and corrected.

    Parameters
    ----------
    network : {"global", "laboratory", "two-conditions"}
        As in `certificate_frame`.

    Returns
    -------
    DataFrame
        The worst parameter's median and 90th percentile of the absolute bias in exact sds, the
        smallest 10th and the largest 90th percentile of the sd ratio, the share of studies that
        are ``right`` in every parameter (as in `grade_table`), the largest absolute bias of all,
        the share of true biases inside the forecast's 90 % interval, and seconds per study.
    """
    rows = []
    for n_subjects, part in certificate_frame(network).groupby("J"):
        by_study = part.pivot(index="study", columns="parameter")
        held = _held(part, "bias")
        for label, bias, ratio, share, seconds in (
            ("as composed", "true", "sd_ratio", held, np.nan),
            ("corrected", "corrected", "corrected_ratio", np.nan, part["seconds"].median()),
        ):
            off = by_study[bias].to_numpy()
            rows.append(
                {
                    "J": n_subjects,
                    "draws": label,
                    **_tails(off, by_study[ratio].to_numpy()),
                    "farthest": np.abs(off).max(),
                    "forecast holds": share,
                    "seconds": seconds,
                }
            )
    return pd.DataFrame(rows).set_index(["J", "draws"])


def _held(frame: pd.DataFrame, forecast: str) -> float:
    """Share of true biases inside the 90 % intervals of a forecast of `certificate_frame`."""
    z = (frame[forecast] - frame["true"]) / frame[f"{forecast}_se"]
    return float((np.abs(z) < stats.norm.ppf(0.95)).mean())


def forecast_table() -> pd.DataFrame:
    """Compare the two forecasts of `certificate_frame`, a row per J with both.

    Returns
    -------
    DataFrame
        Root mean squares over studies and parameters, in exact sds: of the ``true`` bias, and of
        what is left of it when a forecast is taken away, the one by ``compositions`` or the one
        by ``scores``; the shares of true biases inside either's 90 % intervals, and the median
        seconds of the scores.
    """
    rows = {}
    for n_subjects, part in certificate_frame().dropna(subset="score").groupby("J"):
        forecasts = {"compositions": "bias", "scores": "score"}
        left = {k: part[name] - part["true"] for k, name in forecasts.items()}
        rows[n_subjects] = (
            {"true": part["true"].pow(2).mean() ** 0.5}
            | {k: v.pow(2).mean() ** 0.5 for k, v in left.items()}
            | {f"{k} hold": _held(part, name) for k, name in forecasts.items()}
            | {"seconds": part["score_seconds"].median()}
        )
    return pd.DataFrame.from_dict(rows, "index").rename_axis("J")


COMPOSITIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "ours": ("compose", {}),
    "ours, residuals of a mini-batch": ("control_variate", {}),
    "ours, reweighted": ("reweighted", {}),
    "GAUSS, our precisions": ("gauss", {"covariance": "anchor"}),
    "auto-GAUSS": ("gauss", {"budget": 1000}),
    "Jacobian": ("compose", {"method": "euler", "steps": 40, "use_jac": True}),
    "Langevin, GAUSS": ("langevin", {"bridge": "gauss"}),
    "Langevin, summed": ("langevin", {}),
    "summed": ("compose", {"method": "euler_maruyama"}),
}
"""The compositions that are compared: a function of `eamlab_book.compositions`, or
`eamlab.compose`, and its options. "ours, reweighted" is what becomes of the draws of "ours"."""


@dataclass(frozen=True)
class CompositionSettings:
    """What made the grades of others' compositions on the first of the graded studies.

    ``designs`` are pairs of J and group size, with the number of studies. The mini-batch of the
    sums, the Jacobian and the control variate has at most ``mini_batch_size`` groups; what costs
    more than a minute a study is left out, by name.
    """

    num_samples: int = 200
    seed: int = 1
    mini_batch_size: int = 10
    designs: tuple[tuple[int, int, int], ...] = (
        (100, 20, 6),
        (1000, 200, 6),
        (10_000, 200, 4),
    )
    left_out: tuple[tuple[str, int], ...] = ()


def model_grade_table(name: str = "laboratory") -> pd.DataFrame:
    """Summarize the grades of a laboratory model's network, composed as one group, a row per J.

    Parameters
    ----------
    name : {"laboratory", "two-conditions"}
        Of the network.

    Returns
    -------
    DataFrame
        The worst parameter's median and 90th percentile of the absolute bias in exact sds, the
        smallest 10th and the largest 90th percentile of the sd ratio, the share of studies that
        are ``right`` in every parameter (as in `grade_table`), and the number of ``studies``.
    """
    model, settings = MODEL_GRADES[name]
    rows = {}
    stored = pd.DataFrame(load_stored(f"grades_{name}.json", settings, model=model)["rows"])
    for n_subjects, part in stored.groupby("J"):
        bias, ratio = (pd.DataFrame(list(part[k])).to_numpy() for k in ("bias", "sd_ratio"))
        rows[n_subjects] = _tails(bias, ratio) | {"studies": len(part)}
    return pd.DataFrame.from_dict(rows, "index").rename_axis("J")


def composition_table() -> pd.DataFrame:
    """Summarize the grades of `COMPOSITIONS`, a row each per J and number of terms.

    Returns
    -------
    DataFrame
        The worst parameter's median and 90th percentile of the absolute bias in exact sds, the
        smallest 10th and the largest 90th percentile of the sd ratio, the share of studies that
        are ``right`` in every parameter (as in `grade_table`), CPU seconds per study (of the
        reweighting without the composition), the largest Pareto k, and the number of ``studies``.
    """
    rows = []
    for row in load_stored("compositions.json", CompositionSettings())["rows"]:
        bias, ratio = np.array(row["bias"]), np.array(row["sd_ratio"])
        rows.append(
            {
                "J": row["J"],
                "terms": row["J"] // row["group_size"],
                "composition": row["composition"],
                **_tails(bias, ratio),
                "seconds": row["seconds"],
                "Pareto k": np.max(row["pareto_k"]) if row["pareto_k"] else np.nan,
                "studies": len(bias),
            }
        )
    return pd.DataFrame(rows).set_index(["J", "terms", "composition"])


@dataclass(frozen=True)
class SBCSettings:
    """What made a simulation-based calibration.

    ``n_trials`` is everybody's, or each person's; ``model`` a name in `eamlab`, by default the one
    that results are made for; ``share`` is what `eamlab.TWO_CONDITIONS` simulates by.
    """

    n_studies: int = 500
    n_subjects: int = 5
    n_trials: int | tuple[int, ...] = 30
    seed: int = 990_000
    num_samples: int = 199
    model: str | None = None
    share: str | None = None


@dataclass(frozen=True)
class ExactSBC:
    """Simulation-based calibration of the exact posterior, with its moments.

    Attributes
    ----------
    settings : SBCSettings
        What made the studies; `sbc_studies` makes them again.
    ranks : dict of str to ndarray (n_studies,)
        Number of posterior draws below the truth, 0 to ``settings.num_samples``.
    mean, sd : dict of str to ndarray (n_studies,)
        Exact posterior moments.
    flagged : int
        Studies whose exact posterior came with a warning; they are counted like the others.
    """

    settings: SBCSettings
    ranks: dict[str, NDArray]
    mean: dict[str, NDArray]
    sd: dict[str, NDArray]
    flagged: int


def sbc_studies(settings: SBCSettings, *, model: Model | None = None) -> list[Study]:
    """Simulate the studies of a calibration, drawn from the prior."""
    options: dict[str, Any] = {} if settings.share is None else {"share": settings.share}
    return simulate(
        model or EAM,
        settings.n_subjects,
        settings.n_trials,
        seed=settings.seed,
        n_studies=settings.n_studies,
        **options,
    )


_RAGGED = (10, 30, 60, 120, 300)
_two = partial(SBCSettings, model="TWO_CONDITIONS", share="uneven")

EXACT_SBC: dict[tuple[str, int], SBCSettings] = {
    ("EAM", 5): SBCSettings(),
    ("EAM", 100): SBCSettings(200, 100, seed=990_100),
    ("EAM", 1000): SBCSettings(100, 1000, seed=992_000),
    ("LABORATORY", 5): SBCSettings(300, 5, _RAGGED, 991_000, model="LABORATORY"),
    ("LABORATORY", 30): SBCSettings(100, 30, _RAGGED * 6, 991_030, model="LABORATORY"),
    ("TWO_CONDITIONS", 5): _two(300, 5, _RAGGED, 998_005),
    ("TWO_CONDITIONS", 30): _two(100, 30, _RAGGED * 6, 998_030),
}
"""Calibrations of the exact posterior, by the model's name and the number of subjects."""


def exact_sbc_name(model: str, n_subjects: int) -> str:
    """Return the name of a calibration of the exact posterior among the stored results."""
    return f"sbc_exact_{'' if model == 'EAM' else f'{model.lower()}_'}{n_subjects}"


@dataclass(frozen=True)
class ComposedSBCSettings:
    """What made the calibrations of a composed posterior: studies and group size."""

    calibrations: tuple[tuple[SBCSettings, int | str], ...]


def _composed(small: Mapping[int, int], seed: int, **of: Any) -> ComposedSBCSettings:
    """Of 300 studies each: as one group, and from small ones, whose sizes are given by J."""
    return ComposedSBCSettings(
        tuple(
            (SBCSettings(300, n_subjects, seed=seed + n_subjects, **of), group_size)
            for n_subjects in small
            for group_size in ("auto", small[n_subjects])
        )
    )


COMPOSED_SBC = {
    "EAM": _composed({10: 5, 100: 20}, 995_000),
    "LABORATORY": _composed({20: 5}, 996_000, n_trials=_RAGGED * 4, model="LABORATORY"),
    "TWO_CONDITIONS": _composed(
        {20: 5}, 997_000, n_trials=_RAGGED * 4, model="TWO_CONDITIONS", share="uneven"
    ),
}
"""Calibrations of the composed posterior, by the model's name."""


def composed_sbc_name(model: str) -> str:
    """Return the name of the calibrations of the composed posterior among the stored results."""
    return "sbc_composed" + ("" if model == "EAM" else f"_{model.lower()}")


@dataclass(frozen=True)
class ComposedSBC:
    """Simulation-based calibration of a composed posterior.

    Attributes
    ----------
    settings : SBCSettings
        What made the studies.
    group_size : int or "auto"
        Subjects per composed group.
    ranks : dict of str to ndarray (n_studies,)
        Number of posterior draws below the truth, 0 to ``settings.num_samples``.
    """

    settings: SBCSettings
    group_size: int | str
    ranks: dict[str, NDArray]


def composed_sbc(model: Model | None = None) -> list[ComposedSBC]:
    """Load the stored calibrations of the composed posterior, in the order of `COMPOSED_SBC`.

    Parameters
    ----------
    model : Model, optional
        Whose posterior; that of `eamlab.EAM` by default.

    Returns
    -------
    list of ComposedSBC
    """
    name = (model or EAM).name
    stored = load_stored(f"{composed_sbc_name(name)}.json", COMPOSED_SBC[name], model=model)
    return [
        ComposedSBC(settings, group_size, {k: np.array(v) for k, v in row["ranks"].items()})
        for (settings, group_size), row in zip(
            COMPOSED_SBC[name].calibrations, stored["rows"], strict=True
        )
    ]


def lever_table() -> pd.DataFrame:
    """Tabulate what each lever of the training recipe buys, measured on the validation studies.

    Returns
    -------
    DataFrame
        One row per training and J: epochs, processor seconds, composed terms, the median over
        parameters of the median absolute bias in exact sds and its worst, and the median and the
        worst (farthest from 1) sd ratio.
    """
    rows = [
        {
            "lever": r["lever"],
            "J": e["J"],
            "CPU seconds": r["cpu_seconds"],
            "terms": e["terms"],
            "bias": np.median(e["bias"]),
            "bias, worst": max(e["bias"]),
            "sd ratio": np.median(e["sd_ratio"]),
            "sd ratio, worst": max(e["sd_ratio"], key=lambda x: abs(np.log(max(x, 1e-9)))),
        }
        for r in load_stored("levers.json", LeverSettings())["rows"]
        for e in r["errors"]
    ]
    return pd.DataFrame(rows).set_index(["lever", "J"])


def tuning_table() -> pd.DataFrame:
    """Tabulate how group size and steps of the Gaussian composition did on the validation studies.

    Returns
    -------
    DataFrame
        One row per J and group size, one column per number of steps: of the parameter that is worst
        off, the root of its squared median bias (exact sds) plus its squared log median sd ratio.
    """
    rows = pd.DataFrame(load_stored("tuning.json", TuningSettings())["rows"])
    return rows.pivot_table(index=["J", "group_size"], columns="steps", values="worst")


def exact_sbc(n_subjects: int = 5, model: Model | None = None) -> ExactSBC:
    """Load a stored calibration of the exact posterior.

    Parameters
    ----------
    n_subjects : {5, 100, 1000}, default 5
        Subjects of each study; 5 of `eamlab.LABORATORY`.
    model : Model, optional
        Whose posterior; that of `eamlab.EAM` by default.

    Returns
    -------
    ExactSBC

    Raises
    ------
    ValueError
        If there is none with so many subjects.
    """
    name = (model or EAM).name
    known = [size for of, size in EXACT_SBC if of == name]
    if n_subjects not in known:
        raise ValueError(f"n_subjects must be one of {known} for {name}, got {n_subjects!r}.")
    settings = EXACT_SBC[name, n_subjects]
    card = load_stored(f"{exact_sbc_name(name, n_subjects)}.json", settings, model=model)
    ranks = {k: np.array(v) for k, v in card["ranks"].items()}
    mean, sd = ({k: np.array(v) for k, v in card[m].items()} for m in ("mean", "sd"))
    return ExactSBC(settings, ranks, mean, sd, len(card["flagged"]))


@dataclass(frozen=True)
class IndependentSettings:
    """What made one comparison of the exact posterior with an independent sampler.

    The data are the demonstration study of `n_subjects`; `num_samples` and `seed` belong to
    `eamlab.exact`, what follows to the sampler that is not ours.
    """

    n_subjects: int
    num_samples: int = 4000
    seed: int = 1
    chains: int = 4
    tune: int = 1000
    draws: int = 4000
    target_accept: float = 0.9
    sampler_seed: int = 2


INDEPENDENT = (IndependentSettings(10), IndependentSettings(100, draws=2000))
"""Comparisons with an independent sampler: of our Markov chains, and of our importance sampling."""


@dataclass(frozen=True)
class ComparisonSettings:
    """What made the comparisons, and the check of the two likelihoods at many points.

    ``series_terms`` is half of HSSM's default: the likelihood's error stays below 1e-8, in half the
    time.
    """

    studies: tuple[IndependentSettings, ...] = INDEPENDENT
    demos: tuple[DemoSettings, ...] = tuple(DemoSettings(s.n_subjects) for s in INDEPENDENT)
    points: int = 10_000
    points_seed: int = 7
    series_terms: int = 10


@dataclass(frozen=True)
class RealSettings:
    """What made the posterior of Cavanagh's trials by HSSM's likelihood and NUTS.

    A model of conditions gets those of conflict. `lapses` is the share of trials that HSSM takes
    for guesses, uniform over `lapse_time` seconds for each choice; 5 % are its default.
    `start_width` scales the prior's sds, from which chains start; `centered` are people's
    parameters of which the trials say more than the population does. `tree_depth` is the deepest
    while tuning, and after.
    """

    lapses: float = 0.0
    lapse_time: float = 20.0
    start_width: float = 0.5
    centered: tuple[str, ...] = ("nu", "alpha", "t0", "nu_change", "log_alpha_change")
    chains: int = 2
    tune: int = 600
    draws: int = 700
    target_accept: float = 0.85
    tree_depth: tuple[int, int] = (10, 10)
    sampler_seed: int = 3
    series_terms: int = 10


REAL = {
    "real_one": (LABORATORY, RealSettings()),
    "real_lapses": (LABORATORY, RealSettings(lapses=0.05)),
    "real_two": (TWO_CONDITIONS, RealSettings(tree_depth=(6, 10))),
}
"""Model and settings for one condition, the same with lapses, and two conditions."""


def real_table(name: str = "real_one") -> pd.DataFrame:
    """Tabulate the posterior of real trials by software that is not ours.

    Parameters
    ----------
    name : {"real_one", "real_lapses", "real_two"}
        See `REAL`.

    Returns
    -------
    DataFrame
        One row per group parameter: ``mean`` and ``sd``, their Monte Carlo standard errors
        ``mean_se`` and ``sd_se``, ``r_hat`` and effective sample size ``ess``.
    """
    model, settings = REAL[name]
    stored = load_stored(f"{name}.json", settings, model=model)["parameters"]
    return pd.DataFrame.from_dict(stored, "index").loc[list(model.prior.names)]


@dataclass(frozen=True)
class LapseSettings:
    """What made the table of lapses.

    Studies of people from the prior's mean, of whose trials a share are lapses: a coin flip at a
    time that is uniform between `fastest` and `slowest` (s). Those of a smaller share are among
    those of a larger one.
    """

    shares: tuple[float, ...] = (0.02, 0.05)
    n_studies: int = 3
    n_subjects: int = 20
    n_trials: int = 150
    fastest: float = 0.1
    slowest: float = 4.0
    data_seed: int = 20_264
    posterior_seed: int = 8
    num_samples: int = 500


def lapsing_study(settings: LapseSettings, index: int, share: float) -> Study:
    """Return a study of the laboratory's people, with a share of lapses."""
    seed = np.random.SeedSequence((settings.data_seed, index))
    group = {p.name: p.mean for p in LABORATORY.prior.parameters}
    n = settings.n_subjects, settings.n_trials
    trials = simulate(LABORATORY, *n, seed=seed, group=group).trials.copy()
    rng = np.random.default_rng(seed.spawn(1)[0])
    lapses = rng.random(n) < share
    guesses = np.stack([rng.integers(0, 2, n), rng.uniform(settings.fastest, settings.slowest, n)])
    trials[lapses] = guesses[:, lapses].T
    return Study(trials, source=f"{share:.0%} lapses")


def lapse_table() -> pd.DataFrame:
    """Tabulate how far lapses move the exact posterior, and how often `eamlab.check` sees them.

    Returns
    -------
    DataFrame
        One row per group parameter: for each share of lapses the shift of the posterior mean (root
        mean square over studies), in exact sds of the study without any; and a last row, the share
        of studies in which the check found something unusual.
    """
    stored = load_stored("lapses.json", LapseSettings(), model=LABORATORY)["studies"]
    columns = {}
    for share in map(str, (0.0, *LapseSettings().shares)):
        shifts = {
            k: [(s[share]["mean"][k] - s["0.0"]["mean"][k]) / s["0.0"]["sd"][k] for s in stored]
            for k in LABORATORY.prior.names
        }
        seen = [bool(s[share]["unusual"]) for s in stored]
        rms = {k: np.sqrt(np.mean(np.square(v))) for k, v in shifts.items()}
        columns[f"{float(share):.0%}"] = rms | {"the check sees it": np.mean(seen)}
    return pd.DataFrame(columns)


def independent_table() -> pd.DataFrame:
    """Tabulate the exact posterior beside one of software that is not ours, on two studies.

    ``make results ARGS=independent`` writes the same model in PyMC, with the likelihood of HSSM,
    and samples all parameters by NUTS.

    Returns
    -------
    DataFrame
        One row per J and group parameter: ``exact mean``, ``exact sd``, ``independent mean`` and
        ``independent sd``; ``difference`` of the means (independent minus exact) in exact sds and
        ``sd ratio`` (independent / exact), each followed by its Monte Carlo standard error; and of
        the independent sampler ``R-hat``, effective sample size ``ESS`` and, for the whole study,
        ``divergences``.
    """
    rows = []
    for study in load_stored("independent.json", ComparisonSettings())["studies"]:
        for name in EAM.prior.names:
            row = study["parameters"][name]
            ours, theirs = row["exact"], row["independent"]
            where = {"J": study["settings"]["n_subjects"], "parameter": name}
            rows.append(
                where
                | {f"exact {k}": ours[k] for k in ("mean", "sd")}
                | {f"independent {k}": theirs[k] for k in ("mean", "sd")}
                | {"difference": row["difference"], "difference, se": row["difference_se"]}
                | {"sd ratio": row["sd_ratio"], "sd ratio, se": row["sd_ratio_se"]}
                | {"R-hat": theirs["r_hat"], "ESS": theirs["ess"]}
                | {"divergences": study["divergences"]}
            )
    return pd.DataFrame(rows).set_index(["J", "parameter"])
