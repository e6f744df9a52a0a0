"""From the population to each person: ancestral sampling with the local network."""

from __future__ import annotations

from typing import Any

from eamlab.backend import bf, keras

import numpy as np
from tqdm.auto import tqdm

from eamlab.composition.posterior import warn_of_unusual
from eamlab.draws import Draws, as_draws, group_array
from eamlab.model.model import check_count
from eamlab.study import Study, as_study
from eamlab.workflows import model_of

__all__ = ["people"]


def people(
    workflow: bf.BasicWorkflow,
    draws: Draws,
    study: Study,
    *,
    subjects_per_batch: int = 250,
    seed: int | None = None,
    progress: bool = True,
) -> Draws:
    r"""Draw every person's own parameters by ancestral sampling.

    For each draw of the group parameters one draw of each person's,
    :math:`\theta_j \sim p(\theta_j \mid \eta, Y_j)`: together they follow the person's posterior
    with the uncertainty of the population in it.

    Parameters
    ----------
    workflow : bayesflow.BasicWorkflow
        A trained local workflow.
    draws : Draws
        Of the group parameters, as `compose` returns them.
    study : Study
        The people's trials.
    subjects_per_batch : int, default 250
        People sampled at once; bounds the memory.
    seed : int, optional
        Seed of the draws.
    progress : bool, default True
        Show a progress bar if there is more than one batch.

    Returns
    -------
    Draws
        The group's, (S,), and with them the people's, (S, J): for `eamlab.EAM` "nu", "alpha" and
        "t0" (s).

    Warns
    -----
    UserWarning
        For people with more or fewer trials than any that the network was trained on.

    Raises
    ------
    ValueError
        If the draws are those of another model or of several studies, or `workflow` is not a local
        one; if a person's draws are not finite, with the ids of these.
    """
    model = model_of(workflow)
    study = as_study(study, model=model)
    if isinstance(workflow, bf.CompositionalWorkflow):
        raise ValueError(
            "workflow must be a local workflow, got a CompositionalWorkflow; use "
            "load_pretrained('local')."
        )
    values = group_array(draws, model).astype("float32")
    group = {k: values[None, :, i : i + 1] for i, k in enumerate(model.prior.names)}
    generator = None if seed is None else keras.random.SeedGenerator(check_count("seed", seed, 0))
    size = check_count("subjects_per_batch", subjects_per_batch)
    starts = range(0, len(study), size)
    bar = tqdm(starts, "subjects", unit="batch", disable=not progress or len(starts) == 1)
    parts = [
        workflow.ancestral_sample(
            conditions={"sim_data": study.trials[None, i : i + size]},
            ancestral_conditions=group,
            seed=generator,
        )
        for i in bar
    ]
    drawn = {
        k: np.concatenate([np.asarray(p[k])[0, ..., 0] for p in parts]).T
        for k in model.person_names
    }
    bad = np.any([~np.isfinite(x).all(axis=0) for x in drawn.values()], axis=0)
    if bad.any():
        ids = [study.subjects[j] for j in np.flatnonzero(bad)[:5]]
        raise ValueError(
            f"study: the parameters of {int(bad.sum())} subjects ({ids}) came out infinite: their "
            "trials are unlike any that the network was trained on; check their units and codes."
        )
    training = getattr(workflow, "model_card", {}).get("training", {})
    warn_of_unusual(training, study.n_trials, [], "the data are")
    settings: dict[str, Any] = {"subjects_per_batch": size, "seed": seed}
    given = dict(as_draws(draws).group)
    return Draws(given | drawn, model=model, subjects=study.subjects, settings=settings)
