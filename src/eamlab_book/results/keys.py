"""The exact posteriors that the book overlays, and their calibration."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tqdm import tqdm

from eamlab.draws import Draws
from eamlab.model.model import Model
from eamlab.predictive import check
from eamlab.reference.posterior import exact
from eamlab.study import Study
from eamlab_book.report_card import LapseSettings, SBCSettings, lapsing_study, sbc_studies
from eamlab_book.results.workshop import Result, Workshop
from eamlab_book.studies import (
    StudiesSettings,
    pack_demo,
    pack_studies,
    simulate_demo,
    simulate_drawn_studies,
)


def key_of(study: Study, model: Model, num_samples: int, seed: int) -> Draws:
    """Return the exact posterior, or stop if its own diagnostics failed."""
    draws = exact(study, model, num_samples, seed=seed, progress=False)
    if draws.warnings:
        raise RuntimeError(f"not stored: {draws.warnings}")
    return draws


def quiet_key(study: Study, model: Model, num_samples: int, seed: int) -> Draws:
    """Return the exact posterior, whose warnings are kept in it and stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return exact(study, model, num_samples, seed=seed, progress=False)


def make_demo(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return the card of a demonstration study, and write its draws."""
    settings = result.settings
    study = simulate_demo(settings, model=workshop.model)
    key = key_of(study, workshop.model, settings.num_samples, settings.posterior_seed)
    return pack_demo(key, study, workshop.path(result.files[1]).parent)


def make_studies(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return the exact moments of drawn studies."""
    studies = simulate_drawn_studies(result.settings, model=workshop.model)
    one = workshop.remember(drawn_key)
    keys = [one(result.settings, i) for i in tqdm(range(len(studies)), "studies")]
    return pack_studies(keys, studies)


def drawn_key(workshop: Workshop, settings: StudiesSettings, index: int) -> Draws:
    """Return the exact posterior of study `index`."""
    study = _drawn(simulate_drawn_studies, workshop.model, settings)[index]
    return key_of(study, workshop.model, settings.num_samples, settings.posterior_seed)


@lru_cache(1)
def _drawn(simulate: Callable[..., list[Study]], model: Model, settings: Any) -> list[Study]:
    return simulate(settings, model=model)


def make_sbc(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return ranks, moments and warnings of all studies of a calibration of the exact posterior."""
    settings, names = result.settings, workshop.model.prior.names
    one = workshop.remember(calibrate_one)
    rows = [one(settings, i) for i in tqdm(range(settings.n_studies), "studies")]
    flagged = [{"study": i, "warnings": r["warnings"]} for i, r in enumerate(rows) if r["warnings"]]
    moments = ("ranks", "mean", "sd")
    return {"flagged": flagged} | {m: {k: [r[m][k] for r in rows] for k in names} for m in moments}


def calibrate_one(workshop: Workshop, settings: SBCSettings, index: int) -> dict[str, Any]:
    """Return ranks and moments of study `index`; the seed of its posterior is the index."""
    study = _drawn(sbc_studies, workshop.model, settings)[index]
    key = quiet_key(study, workshop.model, settings.num_samples, index)
    names = workshop.model.prior.names
    return {
        "ranks": {k: int((key[k] < study.truth[k]).sum()) for k in names},
        "mean": {k: round(key.mean[k], 5) for k in names},
        "sd": {k: round(key.sd[k], 5) for k in names},
        "warnings": list(key.warnings),
    }


def make_lapses(workshop: Workshop, result: Result) -> dict[str, Any]:
    """Return exact moments of studies without and with lapses, and what the check finds unusual."""
    settings: LapseSettings = result.settings
    one = workshop.remember(lapsing_key)
    shares = (0.0, *settings.shares)
    studies = tqdm(range(settings.n_studies), "studies")
    return {"studies": [{str(x): one(settings, i, x) for x in shares} for i in studies]}


def lapsing_key(
    workshop: Workshop, settings: LapseSettings, index: int, share: float
) -> dict[str, Any]:
    """Return one study's part of `make_lapses`."""
    study = lapsing_study(settings, index, share)
    key = quiet_key(study, workshop.model, settings.num_samples, settings.posterior_seed)
    unusual = check(key, study).unusual
    return {"mean": key.mean, "sd": key.sd, "warnings": list(key.warnings), "unusual": unusual}
