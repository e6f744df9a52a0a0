"""Compose group posteriors into the posterior of a whole population.

A thin layer over `composition.gaussian` and over BayesFlow's ``compositional_sample``: it groups
the people, computes every summary once and hands it back for reuse, passes the prior's score and
both ends of the bridge explicitly, and refuses settings that cannot work.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from eamlab.backend import bf, keras

import numpy as np

from eamlab.composition.gaussian import sample_gaussian_composition
from eamlab.composition.groups import (
    checked_model,
    group_sizes,
    split_subjects,
    summarize_groups,
    trained_sizes,
)
from eamlab.composition.terms import Terms
from eamlab.draws import Draws
from eamlab.model.model import GroupPrior, Model, check_count, check_positive
from eamlab.networks import AnchoredDiffusionModel
from eamlab.predictive import check as predictive_check
from eamlab.study import Study, as_studies, told_ids
from eamlab.workflows import TrainingSettings, model_of

__all__ = ["PRIOR_SCORES", "compose", "default_steps", "prior_score"]

PRIOR_SCORES = ("diffused", "weighted")
"""How the prior enters the composition at diffusion time t; see `prior_score`."""

_ADAPTIVE = ("two_step_adaptive", "rk45", "tsit5")
_METHODS = ("auto", "gaussian", "euler_maruyama", "sea", "shark", "langevin", "euler", *_ADAPTIVE)
_SUMMED = ("mini_batch_size", "d0", "d1", "use_jac", "prior")
SINGLE_STEPS, SEVERAL_STEPS = 46, 24
"""Steps of the Gaussian composition of a single group, and of several, chosen on validation studies
by ``make results ARGS=tuning``: of several the very low noise levels, on which many steps dwell,
are learned less well than the rest."""
_MANY_GROUPS = 20
_DRAWS_BATCH = 2_000
"""Draws made at once from single groups; bounds the memory of the solver at about 0.2 GB."""


def prior_score(prior: GroupPrior, kind: str = "diffused") -> Callable[..., dict[str, Any]]:
    r"""Return the prior score in the form BayesFlow's compositional sampler takes.

    ``"diffused"`` is the score of the prior *after* diffusion to time t. Our workflows diffuse
    prior z-scores under a variance-preserving schedule, where the diffused prior is N(0, I) at
    every t; in the parameters' own units its score is :math:`-(x - m)/s^2` for all t.
    ``"weighted"`` is the tutorial's form, the undiffused score times (1 - t); BayesFlow adds
    the weight itself to a function without a ``time`` argument.

    Parameters
    ----------
    prior : GroupPrior
        Whose score.
    kind : {"diffused", "weighted"}
        Which form.

    Returns
    -------
    callable
        ``f(x, time) -> dict`` or ``f(x) -> dict``, on tensors.
    """
    if kind not in PRIOR_SCORES:
        raise ValueError(f"prior must be one of {PRIOR_SCORES}, got {kind!r}.")
    if kind == "weighted":
        return lambda x: prior.score(x)
    return lambda x, time: prior.score(x)


def compose(
    workflow: bf.CompositionalWorkflow,
    study: Study | Terms | Sequence[Study],
    *,
    num_samples: int = 100,
    group_size: int | str | tuple[int, ...] = "auto",
    mini_batch_size: int | None = None,
    d0: float | None = None,
    d1: float | None = None,
    method: str = "auto",
    steps: int | str | None = None,
    use_jac: bool | None = None,
    prior: str | None = None,
    summaries: np.ndarray | Sequence[np.ndarray] | None = None,
    check: bool | None = None,
    seed: int | None = None,
) -> Any:
    r"""Draw from the composed posterior of the group parameters.

    The score of :math:`p(\eta \mid Y_{1..G}) \propto p(\eta)^{1-G} \prod_g p(\eta \mid Y_g)` is the
    sum of the group scores and (1 - G) times the prior's. With ``method="gaussian"`` all groups
    are weighted by their precisions at every noise level (`composition.gaussian`). With the other
    methods BayesFlow integrates the reverse diffusion with the summed score, estimating the sum
    from a mini-batch of groups at every step and damping it with the bridge
    :math:`d(t) = d_0^{1-t} d_1^t`.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow
        A trained global workflow.
    study : Study, Terms, or sequence of Study
        Whose population; several are composed one by one. Terms are what `eamlab.summarize` made
        of a population that is too large to be held at once, or that people join and leave.
    num_samples : int, default 100
        Posterior draws per study.
    group_size : int, "auto" or tuple of int, default "auto"
        People per group; must divide J. A tuple has the sizes of all groups, equal ones next to
        each other. "auto" takes the fewest, nearly equal groups that are no
        larger than those the workflow was trained on (up to 200 for the shipped network): fewer
        terms mean less accumulated error, and up to 200 people nothing needs to be composed.
    mini_batch_size : int, optional
        Groups per estimate of the summed score; by default 10, or all if there are fewer.
    d0, d1 : float, optional
        Bridge at the data end (t = 0) and at the noise end (t = 1) of the summed score, by default
        1. d1 < 1 damps the noisy end; d0 < 1 tempers the target, and widens it by about
        1 / sqrt(d0).
    method : str, default "auto"
        "gaussian", or BayesFlow's solver of the summed score: "euler_maruyama",
        "two_step_adaptive" (BayesFlow's default), "sea", "shark" or "langevin" (stochastic),
        "euler", "rk45" or "tsit5" (probability-flow ODE). "auto" is "gaussian" for networks that
        know their precisions, unless an option is given that only the summed score has
        (`mini_batch_size`, `d0`, `d1`, `use_jac`, `prior`), whatever its value; then it is
        "euler_maruyama".
    steps : int or "adaptive", optional
        Number of steps; by default `SINGLE_STEPS` or `SEVERAL_STEPS` for "gaussian", "adaptive"
        where the solver can, else 100 for up to 20 groups and 300 for more: the summed score grows
        with the number of terms, and with it the stiffness of the reverse diffusion.
    use_jac : bool, optional
        BayesFlow's precision-weighted composition by the Jacobian of the score, for few groups.
    prior : {"diffused", "weighted"}, optional
        How the prior enters the summed score at diffusion time t, by default "diffused"; see
        `prior_score`.
    summaries : array (n_groups, summary_dim), or list of these, optional
        ``.summaries`` of an earlier result for the same study (or each of several), group size and
        workflow.
    check : bool, optional
        Whether to compare data and draws with what the model and its prior can produce
        (`eamlab.check`), and to warn of what is unusual. By default a single study is checked; of
        several only the numbers of trials are, as it takes some tenths of a second for each. If
        True, a composition of several groups (of at least 20 draws) is also certified by the fewest
        simulated studies that tell (`eamlab.certify`, some 20 times as long), and what they find to
        be off by more than half an sd is said. Terms hold no trials to compare with.
    seed : int, optional
        Seed of the draws.

    Returns
    -------
    Draws, or list of Draws for a sequence of studies
        With ``.summaries``, and ``.settings`` that pass back into this call.

    Warns
    -----
    UserWarning
        For data from a population outside the prior, or with contaminant responses: a network
        answers them, too, with confidence. For people with more or fewer trials than any that the
        network was trained on. With ``check=True`` for a composition that is off.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    several = not isinstance(study, Study | Terms)
    studies: list[Study] = []
    if not isinstance(study, Terms):
        studies = as_studies(study, model=getattr(workflow, "model", None))
    model = checked_model(workflow, studies)
    num_samples = check_count("num_samples", num_samples)
    seed = None if seed is None else check_count("seed", seed, 0)
    given: dict[str, Any] = {"mini_batch_size": mini_batch_size, "d0": d0, "d1": d1}
    given |= {"use_jac": use_jac, "prior": prior}
    training = getattr(workflow, "model_card", {}).get("training", {})
    if isinstance(study, Terms):
        _check_terms(workflow, study, group_size, summaries, check)
        blocks, known, sizes = [], [study.summaries], [tuple(study.sizes.tolist())]
    else:
        trained = trained_sizes(workflow)
        sizes = [group_sizes(group_size, len(s), trained) for s in studies]
        blocks = [split_subjects(s.trials, n) for s, n in zip(studies, sizes, strict=True)]
        known = _summaries(workflow, blocks, summaries)
    settings = _settings(workflow, method, steps, given, max(map(len, known)))
    common: dict[str, Any] = {"num_samples": num_samples, "seed": seed}
    if settings["method"] == "gaussian":
        options = common | {"steps": settings["steps"]}
        z = sample_gaussian_composition(workflow.inference_network, known, **options)
        values = model.prior.unstandardize(z)
        drawn = {k: values[..., i] for i, k in enumerate(model.prior.names)}
    else:
        drawn = _summed_draws(workflow, model, blocks, known, **settings, **common)
    settings |= common | {"group_size": group_size}
    result = [
        Draws(
            {k: values[i] for k, values in drawn.items()},
            model=model,
            subjects=told_ids(studies[i]) if studies else None,
            settings=settings,
            summaries=known[i],
            diagnostics={"n_groups": len(known[i]), "group_size": max(sizes[i])},
        )
        for i in range(len(known))
    ]
    if isinstance(study, Terms):
        warn_of_unusual(training, study.n_trials, [], "the data are")
    elif check is not False:
        for i, (draws, one) in enumerate(zip(result, studies, strict=True)):
            which = f"study {i} is" if several else "the data are"
            found = predictive_check(draws, one).messages if check or not several else []
            warn_of_unusual(training, one.n_trials, found, which)
            if check and len(known[i]) > 1:
                _warn_of_error(workflow, draws, one, f"study {i}" if several else "the composition")
    return result if several else result[0]


def _summed_draws(
    workflow: bf.CompositionalWorkflow,
    model: Model,
    blocks: list[list[np.ndarray]],
    summaries: list[np.ndarray],
    *,
    mini_batch_size: int,
    d0: float,
    d1: float,
    use_jac: bool,
    prior: str,
    seed: int | None,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Draws (n_studies, num_samples) by name, of the summed score, by BayesFlow."""
    if len({len(s) for s in summaries}) > 1:
        raise ValueError("study: studies that are composed together need equally many groups.")
    options |= {"seed": None if seed is None else keras.random.SeedGenerator(seed)}
    if len(summaries[0]) == 1:  # nothing to compose: the network's own posterior
        if not blocks:
            raise ValueError("study: Terms of one group have no score to sum; pass its Study.")
        groups = np.stack([b[0][0] for b in blocks])
        size = max(1, _DRAWS_BATCH // options["num_samples"])
        parts = [
            workflow.sample(conditions={"sim_data": groups[i : i + size]}, **options)
            for i in range(0, len(groups), size)
        ]
        draws = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    else:
        draws = workflow.compositional_sample(
            summaries=np.stack(summaries),
            compute_prior_score=prior_score(model.prior, prior),
            mini_batch_size=mini_batch_size,
            compositional_bridge_d0=d0,
            compositional_bridge_d1=d1,
            use_jac=use_jac,
            **options,
        )
    return {k: np.asarray(draws[k])[..., 0] for k in model.prior.names}


def _summaries(
    workflow: bf.CompositionalWorkflow, blocks: list[list[np.ndarray]], given: Any
) -> list[np.ndarray]:
    """Summaries (n_groups, summary_dim) of each study: those given, or made now."""
    if given is None:
        alike = len({tuple(b.shape for b in study) for study in blocks}) == 1
        if not alike or len(blocks[0]) > 1:
            return [summarize_groups(workflow, study) for study in blocks]
        # All groups of all studies at once: it saves many calls.
        made = summarize_groups(workflow, [np.concatenate([study[0] for study in blocks])])
        return list(made.reshape(len(blocks), -1, made.shape[-1]))
    several = isinstance(given, list | tuple)
    arrays = [np.asarray(s, dtype="float32") for s in (given if several else [given])]
    n_groups = [sum(len(block) for block in study) for study in blocks]
    if [len(s) for s in arrays if s.ndim == 2 and np.all(np.isfinite(s))] != n_groups:
        raise ValueError(
            "summaries must be finite arrays (n_groups, summary_dim), one for each study, which "
            f"have {n_groups} groups, got {[s.shape for s in arrays]}; pass the .summaries of "
            "an earlier result for the same studies and group_size."
        )
    return arrays


# --------------------------------------------------------------------------------------------------
# Checks
# --------------------------------------------------------------------------------------------------


def _settings(
    workflow: bf.CompositionalWorkflow,
    method: str,
    steps: int | str | None,
    given: dict[str, Any],
    n_groups: int,
) -> dict[str, Any]:
    """Return method, steps, and for the summed score its options, all checked."""
    if method not in _METHODS:
        raise ValueError(f"method must be one of {_METHODS}, got {method!r}.")
    plain = all(value is None for value in given.values())
    anchored = isinstance(workflow.inference_network, AnchoredDiffusionModel)
    if method == "auto":
        method = "gaussian" if anchored and plain else "euler_maruyama"
    if method == "gaussian" and not (anchored and plain):
        raise ValueError(
            "method='gaussian' needs a network with Gaussian anchors, such as "
            f"load_pretrained('global'), and takes none of {_SUMMED}; leave these out, or choose a "
            "solver of the summed score."
        )
    if steps is None:
        steps = default_steps(method, n_groups)
    elif steps != "adaptive":
        steps = check_count("steps", steps)
    elif method not in _ADAPTIVE:
        raise ValueError(f"steps='adaptive' needs one of {_ADAPTIVE}, got method {method!r}.")
    chosen: dict[str, Any] = {"method": method, "steps": steps}
    if method == "gaussian":
        return chosen
    chosen |= {"d0": 1.0, "d1": 1.0, "use_jac": False, "prior": "diffused"}
    chosen |= {"mini_batch_size": min(10, n_groups)}
    chosen |= {k: v for k, v in given.items() if v is not None}
    chosen |= {k: check_positive(k, chosen[k]) for k in ("d0", "d1")}
    if chosen["prior"] not in PRIOR_SCORES:
        raise ValueError(f"prior must be one of {PRIOR_SCORES}, got {chosen['prior']!r}.")
    if not isinstance(chosen["use_jac"], bool):
        raise ValueError(f"use_jac must be True or False, got {chosen['use_jac']!r}.")
    size = check_count("mini_batch_size", chosen["mini_batch_size"])
    if size > n_groups:
        raise ValueError(
            f"mini_batch_size must be at most the number of groups ({n_groups}), got {size}."
        )
    return chosen | {"mini_batch_size": size}


def default_steps(method: str, n_groups: int) -> int | str:
    """Return the steps of a method that `compose` takes by default."""
    if method == "gaussian":
        return SINGLE_STEPS if n_groups == 1 else SEVERAL_STEPS
    if method in _ADAPTIVE:
        return "adaptive"
    return 300 if n_groups > _MANY_GROUPS else 100


def warn_of_unusual(
    training: dict[str, Any], n_trials: np.ndarray, unusual: Sequence[str], which: str
) -> None:
    """Warn of more or fewer trials than any that the network was trained on, and of all else."""
    if training:
        low, high = TrainingSettings(**training).trials_seen
        outside = n_trials[(n_trials < low) | (n_trials > high)]
        if len(outside):
            more = (
                f"{len(outside)} of {len(n_trials)} subjects have {outside.min()} to "
                f"{outside.max()} trials, and it was trained on {low} to {high}. Take "
                "el.exact and el.exact_people, or train for as many (trial_range)."
            )
            unusual = [more, *unusual]
    if unusual:
        warnings.warn(
            f"{which} unlike what the network was trained on; do not trust the draws before you "
            "know why. " + " ".join(unusual),
            UserWarning,
            stacklevel=3,
        )


def _warn_of_error(
    workflow: bf.CompositionalWorkflow, draws: Draws, study: Study, which: str
) -> None:
    from eamlab.composition.certificate import certify, least_studies  # which composes

    least = least_studies(model_of(workflow))
    if draws.settings["num_samples"] < least:
        return
    how: dict[str, Any] = {"n_studies": least, "seed": draws.settings["seed"], "progress": False}
    off = certify(workflow, draws, study, **how).sentences
    if off:
        warnings.warn(
            f"{which} is off, as far as {least} simulated studies tell (el.certify tells more, and "
            f"corrects the draws). {' '.join(off)}",
            UserWarning,
            stacklevel=3,
        )


def _check_terms(
    workflow: bf.CompositionalWorkflow, terms: Terms, group_size: Any, summaries: Any, check: Any
) -> None:
    terms.check_made_by(workflow)
    told = {"group_size": group_size != "auto", "summaries": summaries is not None, "check": check}
    given = [name for name, value in told.items() if value]
    if given:
        raise ValueError(
            f"study: Terms have groups and summaries already and hold no trials, so {given} cannot "
            "be given; leave out, or pass a Study."
        )
