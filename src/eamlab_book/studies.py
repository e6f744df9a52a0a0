"""Demonstration studies with exact posteriors computed ahead, so that chapters need not wait.

One population is simulated with 10,000 subjects; smaller demonstration studies are its first
10, 100 or 1,000 subjects, so that a chapter can watch one posterior narrow. Only the exact
posteriors are stored (``data/demo_J*.npz``); the trials are simulated again from the seed, which
takes a fraction of a second. A second set, `load_studies`, holds several studies of 1,000 subjects
whose populations were drawn from the prior. ``make results`` writes all files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eamlab.draws import Draws
from eamlab.files import replaced
from eamlab.model.eam import EAM
from eamlab.model.model import Model
from eamlab.reading import read_trials
from eamlab.study import Study, simulate
from eamlab_book.stored import command, load_stored, stored_path

CAVANAGH = stored_path("cavanagh2011.csv")
"""Real trials, of Cavanagh et al. (2011); ``cavanagh2011.md`` beside it says what they are."""

DEMO_SIZES = (10, 100, 1000, 10_000)
"""Numbers of subjects J for which an exact posterior is shipped."""

DEMO_GROUP = {
    "mu_nu": 0.70,
    "mu_log_alpha": 0.02,
    "mu_log_t0": -1.10,
    "log_sigma_nu": -0.70,
    "log_sigma_log_alpha": -2.40,
    "log_sigma_log_t0": -1.10,
    "beta_raw": 0.40,
}
"""The population of the demonstration, a typical one, within 0.7 prior sds of the prior's mean."""


@dataclass(frozen=True)
class DemoSettings:
    """What made a demonstration study and its exact posterior."""

    n_subjects: int
    n_trials: int = 30
    scheme: str = "exact"
    data_seed: int = 20_260
    posterior_seed: int = 5
    num_samples: int = 500
    group: Mapping[str, float] = field(default_factory=DEMO_GROUP.copy)


@dataclass(frozen=True)
class Demo:
    """A demonstration study with its exact posterior.

    Attributes
    ----------
    study : Study
        Of J subjects, with the parameters that made it as ``.truth``.
    exact : Draws
        The exact posterior of the group parameters.
    card : dict
        Settings, versions and run time of the exact posterior.
    """

    study: Study
    exact: Draws
    card: dict[str, Any]


@lru_cache(maxsize=1)
def _population(
    model: Model, n_trials: int, scheme: str, seed: int, group: tuple[tuple[str, float], ...]
) -> Study:
    return simulate(model, max(DEMO_SIZES), n_trials, seed=seed, scheme=scheme, group=dict(group))


def simulate_demo(settings: DemoSettings, *, model: Model | None = None) -> Study:
    """Simulate a demonstration study.

    Parameters
    ----------
    settings : DemoSettings
        ``n_subjects`` may be any number from 1 to 10,000.
    model : Model, optional
        `eamlab.EAM` by default.

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        If there are not as many subjects in the population.
    """
    if not 1 <= settings.n_subjects <= max(DEMO_SIZES):
        raise ValueError(
            f"n_subjects must be between 1 and {max(DEMO_SIZES)}, got {settings.n_subjects}."
        )
    group = tuple(settings.group.items())
    made_with = (settings.n_trials, settings.scheme, settings.data_seed, group)
    return _population(model or EAM, *made_with)[: settings.n_subjects]


def load_demo(
    n_subjects: int, *, folder: str | Path | None = None, model: Model | None = None
) -> Demo:
    """Load a demonstration study and its exact posterior.

    Parameters
    ----------
    n_subjects : {10, 100, 1000, 10000}
        Number of subjects J.
    folder : path, optional
        Where ``demo_J<n_subjects>.npz`` and ``.json`` lie; those shipped by default.
    model : Model, optional
        What the study must belong to; `eamlab.EAM` by default.

    Returns
    -------
    Demo

    Raises
    ------
    ValueError
        If there is no such study, or if the stored posterior belongs to another model, to other
        settings, or to other data than the simulator makes now.
    """
    exact, card = _stored_exact(n_subjects, folder, model or EAM)
    study = simulate_demo(DemoSettings(n_subjects), model=model)
    _check_fingerprint(card, [study], f"demo_J{n_subjects}.json")
    return Demo(study, exact, card)


def load_cavanagh(conditions: bool = False) -> Study:
    """Read the trials of the 14 people of Cavanagh et al. (2011).

    Parameters
    ----------
    conditions : bool, default False
        Whether to tell decisions of low conflict (-1/2) from those of high conflict (+1/2).

    Returns
    -------
    Study
        The upper bound is the better choice.

    References
    ----------
    Cavanagh, Wiecki, Cohen, Figueroa, Samanta, Sherman & Frank (2011), *Nature Neuroscience* 14,
    1462-1467.
    """
    return read_trials(CAVANAGH, conditions={"conf": ("LC", "HC")} if conditions else None)


def exact_of(n_subjects: int) -> Draws:
    """Return the exact posterior of `load_demo`, without simulating the study."""
    return _stored_exact(n_subjects, None, EAM)[0]


def _stored_exact(
    n_subjects: int, folder: str | Path | None, model: Model
) -> tuple[Draws, dict[str, Any]]:
    if n_subjects not in DEMO_SIZES:
        raise ValueError(
            f"n_subjects must be one of {DEMO_SIZES}, got {n_subjects!r}; other exact posteriors "
            "come from eamlab.exact()."
        )
    card = load_stored(f"demo_J{n_subjects}.json", DemoSettings(n_subjects), folder, model=model)
    with np.load(stored_path(f"demo_J{n_subjects}.npz", folder)) as stored:
        columns = dict(zip(card["names"], stored["samples"].astype(float).T, strict=True))
    values = {name: columns[name] for name in model.prior.names}
    return Draws(values, model=model, **card["exact"]), card


def pack_demo(exact: Draws, study: Study, folder: str | Path | None = None) -> dict[str, Any]:
    """Write the draws of a demonstration study for `load_demo`, and return the rest of its card.

    Parameters
    ----------
    exact : Draws
        The exact posterior.
    study : Study
        Of `simulate_demo`.
    folder : path, optional
        Where to; the package's own data by default.

    Returns
    -------
    dict
        For `write_stored`.
    """
    with replaced(stored_path(f"demo_J{len(study)}.npz", folder)) as scratch:
        np.savez_compressed(scratch, samples=exact.array.astype("float32"))
    return {
        "fingerprint": fingerprint([study]),
        "names": exact.group_names,
        "exact": {k: getattr(exact, k) for k in ("mean", "sd", "settings", "diagnostics")},
    }


@dataclass(frozen=True)
class StudiesSettings:
    """What made the studies of `load_studies` and their exact posteriors."""

    n_studies: int = 8
    n_subjects: int = 1000
    n_trials: int = 30
    scheme: str = "exact"
    data_seed: int = 20_261
    posterior_seed: int = 6
    num_samples: int = 500


@dataclass(frozen=True)
class Studies:
    """Studies with populations drawn from the prior, and their exact posterior moments.

    Attributes
    ----------
    studies : list of Study
        With their parameters as ``.truth``.
    mean, sd : dict of str to ndarray (n_studies,)
        Of the exact posterior of the group parameters.
    truth : dict of str to ndarray (n_studies,)
        The group parameters.
    card : dict
        Settings, versions and run time.
    """

    studies: list[Study]
    mean: dict[str, NDArray[np.float64]]
    sd: dict[str, NDArray[np.float64]]
    truth: dict[str, NDArray[np.float64]]
    card: dict[str, Any]


STUDIES = {
    1000: StudiesSettings(),
    10_000: StudiesSettings(n_studies=10, n_subjects=10_000, data_seed=11),
}
"""Studies that `load_studies` offers, by the number of subjects."""


def simulate_drawn_studies(settings: StudiesSettings, *, model: Model | None = None) -> list[Study]:
    """Simulate the studies of `load_studies`."""
    return simulate(
        model or EAM,
        settings.n_subjects,
        settings.n_trials,
        seed=settings.data_seed,
        n_studies=settings.n_studies,
        scheme=settings.scheme,
    )


def load_studies(
    n_subjects: int = 1000, *, folder: str | Path | None = None, model: Model | None = None
) -> Studies:
    """Load studies of populations from the prior, with their exact posterior means and sds.

    Parameters
    ----------
    n_subjects : {1000, 10_000}, default 1000
        Subjects of each study. There are eight studies of 1,000 and ten of 10,000.
    folder : path, optional
        Where ``studies_J1000.json`` and its like lie; the shipped one by default.
    model : Model, optional
        What the studies must belong to; `eamlab.EAM` by default.

    Returns
    -------
    Studies

    Raises
    ------
    ValueError
        If there are no studies of that size, the file is missing, or it holds posteriors of another
        model, of other settings, or of other data than the simulator makes now.
    """
    if n_subjects not in STUDIES:
        raise ValueError(f"n_subjects must be one of {tuple(STUDIES)}, got {n_subjects!r}.")
    name, settings = f"studies_J{n_subjects}.json", STUDIES[n_subjects]
    card = load_stored(name, settings, folder, model=model)
    studies = simulate_drawn_studies(settings, model=model)
    _check_fingerprint(card, studies, name)
    mean, sd = (
        {k: np.array(values) for k, values in card.pop(moment).items()} for moment in ("mean", "sd")
    )
    truth = {k: np.array([study.truth[k] for study in studies]) for k in EAM.prior.names}
    return Studies(studies, mean, sd, truth, card)


def pack_studies(exact: Sequence[Draws], studies: Sequence[Study]) -> dict[str, Any]:
    """Return the card of drawn studies and their exact posteriors, for `write_stored`."""
    names = exact[0].group_names
    return {
        "fingerprint": fingerprint(studies),
        "mean": {k: [e.mean[k] for e in exact] for k in names},
        "sd": {k: [e.sd[k] for e in exact] for k in names},
        "ess": [e.diagnostics["ess"] for e in exact],
    }


def fingerprint(studies: Sequence[Study]) -> dict[str, float]:
    """Return a few statistics that recognize data sets on any machine."""
    trials = np.concatenate([a for study in studies for a in study.by_subject])
    choice, rt = trials.astype(float).T[:2]
    return {
        "share_upper": float(choice.mean()),
        "mean_rt": float(rt.mean()),
        "last_rt": float(rt[-1]),
    }


def _check_fingerprint(card: Mapping[str, Any], studies: Sequence[Study], name: str) -> None:
    stored, now = card["fingerprint"], fingerprint(studies)
    if not np.allclose(list(stored.values()), [now[k] for k in stored], rtol=1e-3, atol=0):
        raise ValueError(
            f"{name} holds the posterior of other data ({stored}) than the simulator makes "
            f"now ({now}); run {command(name)}."
        )
