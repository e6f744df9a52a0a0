"""Which studies and recipes are graded, and the grades that were measured.

``scripts/grade_pretrained.py``, ``levers.py``, ``tune_composition.py``, ``sbc_exact.py``,
``sbc_composed.py`` and ``compare_independent.py`` make the numbers; this module holds what the
scripts, the chapters and the tests that recompute some of them share.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eamlab.priors import GROUP_PRIOR
from eamlab.simulate import simulate_studies

__all__ = [
    "COMPOSED_SBC",
    "EXACT_SBC",
    "GRADED_STUDIES",
    "INDEPENDENT",
    "RECIPES",
    "VALIDATION_STUDIES",
    "ComposedSBC",
    "ExactSBC",
    "IndependentSettings",
    "Recipe",
    "SBCSettings",
    "composed_sbc",
    "discretization_table",
    "exact_sbc",
    "grade_frame",
    "grade_table",
    "graded_study",
    "independent_table",
    "lever_table",
    "recipes_for",
    "sbc_studies",
    "tuning_table",
]

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


def graded_study(n_subjects: int, index: int, *, purpose: str = "graded") -> dict[str, NDArray]:
    """Simulate study number `index` of J = `n_subjects`, drawn from the prior.

    `purpose` is "graded", or "validation" for the studies on which settings are chosen.
    """
    if (purpose, n_subjects) == ("graded", 10_000) and index >= _TOO_SLOW:
        index += 1
    seed = _FIRST_SEED[purpose] + 10 * n_subjects + index
    return simulate_studies(1, n_subjects, 30, seed=seed, scheme="exact")


@cache
def _load(name: str) -> dict[str, Any]:
    return json.loads((files("eamlab") / "data" / f"{name}.json").read_text())


def _graded_rows(n_subjects: int | None) -> list[dict[str, Any]]:
    """Return the stored grades of one J, or of all, in the order of `RECIPES`."""
    rows = [r for r in _load("grades")["rows"] if n_subjects in (None, r["J"])]
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
        interval for the worst (bootstrap over studies), the smallest and largest median sd ratio,
        the coverage of the truth by the 90 % intervals and by the exact ones (all parameters
        together), the Wasserstein distance in exact sds (mean over parameters, median over
        studies), the median joint C2ST, seconds per study and the number of studies.
    """
    rows = sorted(_graded_rows(n_subjects), key=lambda row: row["J"])
    return pd.DataFrame([_summary(r) for r in rows]).set_index(["J", "recipe"])


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    def column(key: str) -> NDArray:
        return np.array([[s[n][key] for n in GROUP_PRIOR.names] for s in row["per_study"]], float)

    biases = column("bias")
    bias, ratio = np.median(np.abs(biases), axis=0), np.median(column("sd_ratio"), axis=0)
    low, high = _worst_bias_interval(biases)
    return {
        "J": row["J"],
        "recipe": row["recipe"],
        "bias, best": bias.min(),
        "bias, worst": bias.max(),
        "worst, from": low,
        "worst, to": high,
        "sd ratio, least": ratio.min(),
        "sd ratio, most": ratio.max(),
        "coverage": column("covered").mean(),
        "exact coverage": column("exact_covered").mean(),
        "distance": np.median(column("wasserstein").mean(axis=1)),
        "C2ST": np.median(row["c2st"]),
        "seconds": row["seconds"],
        "studies": row["studies"],
    }


def _worst_bias_interval(bias: NDArray) -> NDArray:
    """Return a 90 % bootstrap interval for the worst parameter's median absolute `bias`."""
    n_studies = len(bias)
    drawn = np.random.default_rng(0).integers(n_studies, size=(2000, n_studies))
    worst = np.median(np.abs(bias)[drawn], axis=1).max(axis=1)
    return np.quantile(worst, [0.05, 0.95])


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
        for name in GROUP_PRIOR.names
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
        for r in _load("discretization")["rows"]
    ]
    grouped = pd.DataFrame(rows).groupby(["J", "corrected"])
    return grouped.agg(lambda z: float(np.sqrt(np.mean(np.square(z)))))


@dataclass(frozen=True)
class SBCSettings:
    """What made a simulation-based calibration."""

    n_studies: int = 500
    n_subjects: int = 5
    n_trials: int = 30
    seed: int = 990_000
    num_samples: int = 199


@dataclass(frozen=True)
class ExactSBC:
    """Simulation-based calibration of the exact posterior, with its moments.

    Attributes
    ----------
    settings : SBCSettings
        What made the studies; `sbc_studies` makes them again.
    ranks : dict of str to ndarray (n_studies,)
        Number of posterior draws below the truth, 0 to ``settings.num_samples``.
    mean, sd : dict of str to ndarray (n_studies, 1)
        Exact posterior moments.
    flagged : int
        Studies whose exact posterior came with a warning; they are counted like the others.
    """

    settings: SBCSettings
    ranks: dict[str, NDArray]
    mean: dict[str, NDArray]
    sd: dict[str, NDArray]
    flagged: int


def sbc_studies(settings: SBCSettings) -> dict[str, NDArray]:
    """Simulate the studies of a calibration, drawn from the prior."""
    return simulate_studies(
        settings.n_studies,
        settings.n_subjects,
        settings.n_trials,
        seed=settings.seed,
        scheme="exact",
    )


EXACT_SBC = {5: SBCSettings(), 100: SBCSettings(n_studies=200, n_subjects=100, seed=990_100)}
"""Calibrations of the exact posterior, by the number of subjects."""

COMPOSED_SBC = tuple(
    (SBCSettings(n_studies=300, n_subjects=n_subjects, seed=995_000 + n_subjects), group_size)
    for n_subjects, small in ((10, 5), (100, 20))
    for group_size in ("auto", small)
)
"""Calibrations of the composed posterior: settings and group size."""


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


def composed_sbc() -> list[ComposedSBC]:
    """Load the stored calibrations of the composed posterior, in the order of `COMPOSED_SBC`.

    Returns
    -------
    list of ComposedSBC
    """
    return [
        ComposedSBC(
            SBCSettings(**row["settings"]),
            row["group_size"],
            {k: np.array(v) for k, v in row["ranks"].items()},
        )
        for row in _load("sbc_composed")["rows"]
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
        for r in _load("levers")["rows"]
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
    rows = pd.DataFrame(_load("tuning")["rows"])
    return rows.pivot_table(index=["J", "group_size"], columns="steps", values="worst")


def exact_sbc(n_subjects: int = 5) -> ExactSBC:
    """Load a stored calibration of the exact posterior.

    Parameters
    ----------
    n_subjects : {5, 100}, default 5
        Subjects of each study.

    Returns
    -------
    ExactSBC

    Raises
    ------
    ValueError
        If there is none with so many subjects.
    """
    if n_subjects not in EXACT_SBC:
        raise ValueError(f"n_subjects must be one of {tuple(EXACT_SBC)}, got {n_subjects!r}.")
    card = _load(f"sbc_exact_{n_subjects}")
    ranks = {k: np.array(v) for k, v in card["ranks"].items()}
    mean, sd = ({k: np.array(v)[:, None] for k, v in card[m].items()} for m in ("mean", "sd"))
    return ExactSBC(SBCSettings(**card["settings"]), ranks, mean, sd, len(card["flagged"]))


@dataclass(frozen=True)
class IndependentSettings:
    """What made one comparison of the exact posterior with an independent sampler.

    The data are the demonstration study of `n_subjects`; `num_samples` and `seed` belong to
    `eamlab.exact_posterior`, what follows to the sampler that is not ours.
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


def independent_table() -> pd.DataFrame:
    """Tabulate the exact posterior beside one of software that is not ours, on two studies.

    ``scripts/compare_independent.py`` wrote the same model in PyMC, with the likelihood of HSSM,
    and sampled all parameters by NUTS.

    Returns
    -------
    DataFrame
        One row per J and group parameter: ``exact mean``, ``exact sd``, ``independent mean`` and
        ``independent sd``; ``difference`` of the means (independent minus exact) in exact sds and
        ``sd ratio`` (independent / exact), each followed by its Monte Carlo standard error; and of
        the independent sampler ``R-hat``, effective sample size ``ESS`` and, for the whole study,
        ``divergences``.
    """
    rows = [
        {"J": study["settings"]["n_subjects"], "parameter": name}
        | _comparison(study["parameters"][name])
        | {"divergences": study["divergences"]}
        for study in _load("independent")["studies"]
        for name in GROUP_PRIOR.names
    ]
    return pd.DataFrame(rows).set_index(["J", "parameter"])


def _comparison(row: dict[str, Any]) -> dict[str, float]:
    return {
        "exact mean": row["exact"]["mean"],
        "exact sd": row["exact"]["sd"],
        "independent mean": row["independent"]["mean"],
        "independent sd": row["independent"]["sd"],
        "difference": row["difference"],
        "difference, se": row["difference_se"],
        "sd ratio": row["sd_ratio"],
        "sd ratio, se": row["sd_ratio_se"],
        "R-hat": row["independent"]["r_hat"],
        "ESS": row["independent"]["ess"],
    }
