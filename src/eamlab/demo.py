"""Demonstration studies with exact posteriors computed ahead, so that chapters need not wait.

One population is simulated with 10,000 subjects; smaller demonstration studies are its first
10, 100 or 1,000 subjects, so that a chapter can watch one posterior narrow. Only the exact
posteriors are stored (``data/demo_J*.npz``); the trials are simulated again from the seed, which
takes a fraction of a second. A second set, `load_studies`, holds several studies of 1,000 subjects
whose populations were drawn from the prior. ``scripts/precompute_exact.py`` writes all files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eamlab.priors import GROUP_PRIOR
from eamlab.reference import ExactPosterior
from eamlab.simulate import simulate_studies

__all__ = [
    "DEMO_GROUP",
    "DEMO_SIZES",
    "Demo",
    "DemoSettings",
    "Studies",
    "StudiesSettings",
    "load_demo",
    "load_studies",
    "save_demo",
    "save_studies",
    "simulate_demo",
    "simulate_drawn_studies",
]

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
"""The population of the demonstration: a typical one, within 0.7 prior sds of the prior's mean."""


@dataclass(frozen=True)
class DemoSettings:
    """What made a demonstration study and its exact posterior."""

    n_subjects: int
    n_trials: int = 30
    scheme: str = "exact"
    data_seed: int = 20_260
    posterior_seed: int = 5
    num_samples: int = 500


@dataclass(frozen=True)
class Demo:
    """A demonstration study with its exact posterior.

    Attributes
    ----------
    sim_data : ndarray float32 (J, n_trials, 2)
        Choice (0 lower, 1 upper) and response time (s).
    truth : dict of str to float
        The group parameters that made the data.
    subjects : dict of str to ndarray (J,)
        The subjects' own "nu", "alpha" and "t0" (s).
    exact : ExactPosterior
        The exact posterior of the group parameters.
    card : dict
        Settings, versions and run time of the exact posterior.
    """

    sim_data: NDArray[np.float32]
    truth: dict[str, float]
    subjects: dict[str, NDArray[np.float64]]
    exact: ExactPosterior
    card: dict[str, Any]


@lru_cache(maxsize=1)
def _population(n_trials: int, scheme: str, seed: int) -> dict[str, NDArray]:
    return simulate_studies(
        1, max(DEMO_SIZES), n_trials, seed=seed, scheme=scheme, group=DEMO_GROUP
    )


def simulate_demo(settings: DemoSettings) -> dict[str, NDArray]:
    """Simulate a demonstration study.

    Parameters
    ----------
    settings : DemoSettings
        ``n_subjects`` may be any number from 1 to 10,000.

    Returns
    -------
    dict
        "nu", "alpha", "t0" (J,) and "sim_data" (J, n_trials, 2).

    Raises
    ------
    ValueError
        If there are not as many subjects in the population.
    """
    if not 1 <= settings.n_subjects <= max(DEMO_SIZES):
        raise ValueError(
            f"n_subjects must be between 1 and {max(DEMO_SIZES)}, got {settings.n_subjects}."
        )
    study = _population(settings.n_trials, settings.scheme, settings.data_seed)
    names = ("nu", "alpha", "t0", "sim_data")
    return {k: study[k][0, : settings.n_subjects].copy() for k in names}


def load_demo(n_subjects: int, *, folder: str | Path | None = None) -> Demo:
    """Load a demonstration study and its exact posterior.

    Parameters
    ----------
    n_subjects : {10, 100, 1000, 10000}
        Number of subjects J.
    folder : path, optional
        Where ``demo_J<n_subjects>.npz`` and ``.json`` lie; those shipped by default.

    Returns
    -------
    Demo

    Raises
    ------
    ValueError
        If there is no such study, or if the stored posterior belongs to other data than the
        simulator makes now.
    """
    file = _file(n_subjects, folder)
    if not file.exists():
        raise ValueError(
            f"n_subjects must be one of {DEMO_SIZES}, got {n_subjects} (no {file.name} in "
            f"{file.parent}); other exact posteriors come from exact_posterior()."
        )
    card = json.loads(file.with_suffix(".json").read_text())
    study = simulate_demo(DemoSettings(**card["settings"]))
    _check_fingerprint(card["fingerprint"], fingerprint(study["sim_data"]), file)
    with np.load(file) as stored:
        draws = stored["samples"].astype(float)
    exact = ExactPosterior(
        samples={k: draws[:, i] for i, k in enumerate(GROUP_PRIOR.names)}, **card["exact"]
    )
    subjects = {k: study[k] for k in ("nu", "alpha", "t0")}
    return Demo(study["sim_data"], dict(card["truth"]), subjects, exact, card)


def save_demo(
    exact: ExactPosterior, settings: DemoSettings, folder: str | Path, **extra: Any
) -> Path:
    """Write an exact posterior so that `load_demo` finds it.

    Parameters
    ----------
    exact : ExactPosterior
        The exact posterior of ``simulate_demo(settings)["sim_data"]``.
    settings : DemoSettings
        What made it.
    folder : path
        Where to.
    **extra
        More entries of the card, such as versions and seconds.

    Returns
    -------
    pathlib.Path
        The file of the draws; its card lies next to it.
    """
    file = _file(settings.n_subjects, folder)
    np.savez_compressed(file, samples=exact.array.astype("float32"))
    card = {
        "settings": vars(settings),
        "truth": DEMO_GROUP,
        "fingerprint": fingerprint(simulate_demo(settings)["sim_data"]),
        "exact": {k: getattr(exact, k) for k in ("mean", "sd", "ess", "method", "diagnostics")},
        **extra,
    }
    file.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    return file


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
    sim_data : ndarray float32 (n_studies, J, n_trials, 2)
        Choice (0 lower, 1 upper) and response time (s).
    truth, exact_mean, exact_sd : dict of str to ndarray (n_studies, 1)
        Of the group parameters.
    card : dict
        Settings, versions and run time.
    """

    sim_data: NDArray[np.float32]
    truth: dict[str, NDArray[np.float64]]
    exact_mean: dict[str, NDArray[np.float64]]
    exact_sd: dict[str, NDArray[np.float64]]
    card: dict[str, Any]


STUDIES = {
    1000: StudiesSettings(),
    10_000: StudiesSettings(n_studies=10, n_subjects=10_000, data_seed=11),
}
"""Studies that `load_studies` offers, by the number of subjects."""


def simulate_drawn_studies(settings: StudiesSettings) -> dict[str, NDArray]:
    """Simulate the studies of `load_studies`; returns what `simulate_studies` returns."""
    return simulate_studies(
        settings.n_studies,
        settings.n_subjects,
        settings.n_trials,
        seed=settings.data_seed,
        scheme=settings.scheme,
    )


def load_studies(n_subjects: int = 1000, *, folder: str | Path | None = None) -> Studies:
    """Load studies of populations from the prior, with their exact posterior means and sds.

    Parameters
    ----------
    n_subjects : {1000, 10_000}, default 1000
        Subjects of each study. There are eight studies of 1,000 and ten of 10,000.
    folder : path, optional
        Where ``studies_J1000.json`` and its like lie; the shipped one by default.

    Returns
    -------
    Studies

    Raises
    ------
    ValueError
        If there are no studies of that size, the file is missing, or it holds posteriors of other
        data than the simulator makes now.
    """
    if n_subjects not in STUDIES:
        raise ValueError(f"n_subjects must be one of {tuple(STUDIES)}, got {n_subjects!r}.")
    file = _studies_file(n_subjects, folder)
    if not file.exists():
        raise ValueError(
            f"folder: no {file.name} in {file.parent}; run scripts/precompute_exact.py."
        )
    card = json.loads(file.read_text())
    study = simulate_drawn_studies(StudiesSettings(**card["settings"]))
    _check_fingerprint(card["fingerprint"], fingerprint(study["sim_data"]), file)
    moments = {k: np.array(card.pop(k))[..., None] for k in ("exact_mean", "exact_sd")}
    mean, sd = (
        {name: moments[k][:, i] for i, name in enumerate(GROUP_PRIOR.names)} for k in moments
    )
    truth = {k: study[k] for k in GROUP_PRIOR.names}
    return Studies(study["sim_data"], truth, mean, sd, card)


def save_studies(
    exact: Sequence[ExactPosterior], settings: StudiesSettings, folder: str | Path, **extra: Any
) -> Path:
    """Write exact moments of ``simulate_drawn_studies(settings)`` for `load_studies`.

    Parameters
    ----------
    exact : sequence of ExactPosterior
        One per study.
    settings, folder, **extra
        As in `save_demo`.

    Returns
    -------
    pathlib.Path
    """
    file = _studies_file(settings.n_subjects, folder)
    card = {
        "settings": vars(settings),
        "fingerprint": fingerprint(simulate_drawn_studies(settings)["sim_data"]),
        "exact_mean": [list(e.mean.values()) for e in exact],
        "exact_sd": [list(e.sd.values()) for e in exact],
        "ess": [e.ess for e in exact],
        **extra,
    }
    file.write_text(json.dumps(card, indent=1) + "\n")
    return file


def fingerprint(sim_data: NDArray) -> dict[str, float]:
    """Return a few statistics that recognize a data set on any machine."""
    choice, rt = np.asarray(sim_data, dtype=float).reshape(-1, 2).T
    return {
        "share_upper": float(choice.mean()),
        "mean_rt": float(rt.mean()),
        "last_rt": float(rt[-1]),
    }


def _check_fingerprint(stored: dict[str, float], now: dict[str, float], file: Path) -> None:
    if not np.allclose(list(stored.values()), [now[k] for k in stored], rtol=1e-3, atol=0):
        raise ValueError(
            f"{file.name} holds the posterior of other data ({stored}) than the simulator makes "
            f"now ({now}); run scripts/precompute_exact.py again."
        )


def _data_folder(folder: str | Path | None) -> Path:
    return Path(str(files("eamlab"))) / "data" if folder is None else Path(folder)


def _file(n_subjects: int, folder: str | Path | None) -> Path:
    return _data_folder(folder) / f"demo_J{n_subjects}.npz"


def _studies_file(n_subjects: int, folder: str | Path | None) -> Path:
    return _data_folder(folder) / f"studies_J{n_subjects}.json"
