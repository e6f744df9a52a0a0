"""Compose group posteriors into the posterior of a whole population, then sample each subject.

A thin layer over BayesFlow's ``compositional_sample`` and ``ancestral_sample`` and over
``eamlab.gaussian``: it groups the subjects, computes every summary once and hands it back for
reuse, passes the prior's score and both ends of the bridge explicitly, and refuses settings that
cannot work.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import bayesflow as bf
import keras
import numpy as np
from tqdm.auto import tqdm

from eamlab.check import predictive_check
from eamlab.gaussian import sample_gaussian_composition
from eamlab.groups import (
    auto_group_sizes,
    check_sim_data,
    split_subjects,
    summarize_groups,
)
from eamlab.networks import AnchoredDiffusionModel, PooledSummary
from eamlab.priors import GROUP_PRIOR

__all__ = [
    "PRIOR_SCORES",
    "Composed",
    "compose",
    "prior_score",
    "sample_subject_parameters",
]

PRIOR_SCORES = ("diffused", "weighted")
"""How the prior enters the composition at diffusion time t; see `prior_score`."""

_LIBRARY_METHODS = ("two_step_adaptive", "euler_maruyama", "sea", "shark", "langevin") + (
    "euler",
    "rk45",
    "tsit5",
)
_ADAPTIVE = ("two_step_adaptive", "rk45", "tsit5")
_METHODS = ("auto", "gaussian", *_LIBRARY_METHODS)
AUTO_STEPS = {1: 46, 10: 24, 1_000_000_000: 46}
"""Steps of the Gaussian composition of up to so many groups, chosen on validation studies by
``scripts/tune_composition.py``. A single group is sampled best with many steps; of several the very
low noise levels, on which many steps dwell, are learned less well than the rest, and for many
groups few steps are too coarse."""
_MANY_GROUPS = 20
_DRAWS_BATCH = 2_000
"""Draws made at once from single groups; bounds the memory of the solver at about 0.2 GB."""


class Composed(dict):
    """Posterior draws ``{name: (n_studies, num_samples, 1)}`` with what made them.

    Attributes
    ----------
    summaries : ndarray (n_studies, n_groups, summary_dim)
        Pass it back to `compose` to skip the summary network.
    settings : dict
        The settings of the call.
    """

    def __init__(
        self, draws: Mapping[str, np.ndarray], summaries: np.ndarray, settings: dict[str, Any]
    ) -> None:
        super().__init__(draws)
        self.summaries, self.settings = summaries, settings


def prior_score(kind: str = "diffused") -> Callable[..., dict[str, Any]]:
    r"""Return the prior score in the form BayesFlow's compositional sampler takes.

    ``"diffused"`` is the score of the prior *after* diffusion to time t. Our workflows diffuse
    prior z-scores under a variance-preserving schedule, where the diffused prior is N(0, I) at
    every t; in the parameters' own units its score is :math:`-(x - m)/s^2` for all t.
    ``"weighted"`` is the tutorial's form, the undiffused score times (1 - t); BayesFlow adds
    the weight itself to a function without a ``time`` argument.

    Parameters
    ----------
    kind : {"diffused", "weighted"}
        Which form.

    Returns
    -------
    callable
        ``f(x, time) -> dict`` or ``f(x) -> dict``, on tensors.
    """
    if kind not in PRIOR_SCORES:
        raise ValueError(f"prior_score must be one of {PRIOR_SCORES}, got {kind!r}.")
    if kind == "weighted":
        return lambda x: GROUP_PRIOR.score(x)
    return lambda x, time: GROUP_PRIOR.score(x)


def compose(
    workflow: bf.CompositionalWorkflow,
    sim_data: Any,
    *,
    num_samples: int = 100,
    group_size: int | str = "auto",
    mini_batch_size: int | None = None,
    d0: float = 1.0,
    d1: float = 1.0,
    method: str = "auto",
    steps: int | str | None = None,
    use_jac: bool = False,
    prior: str = "diffused",
    summaries: np.ndarray | None = None,
    check: bool | None = None,
    seed: int | None = None,
) -> Composed:
    r"""Draw from the composed posterior of the group parameters.

    The score of :math:`p(\eta \mid Y_{1..G}) \propto p(\eta)^{1-G} \prod_g p(\eta \mid Y_g)` is the
    sum of the group scores and (1 - G) times the prior's. With ``method="gaussian"`` all groups
    are weighted by their precisions at every noise level (``eamlab.gaussian``). With the other
    methods BayesFlow integrates the reverse diffusion with the summed score, estimating the sum
    from a mini-batch of groups at every step and damping it with the bridge
    :math:`d(t) = d_0^{1-t} d_1^t`.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow
        A trained global workflow.
    sim_data : array (n_studies, J, n_trials, 2) or (J, n_trials, 2), list of (n_j, 2), or None
        Choice (0 or 1) and response time (s). A list holds the subjects of one study, who may have
        different numbers of trials. None if `summaries` are given.
    num_samples : int, default 100
        Posterior draws per study.
    group_size : int or "auto", default "auto"
        Subjects per group; must divide J. "auto" takes the fewest, nearly equal groups that are no
        larger than those the workflow was trained on (up to 200 for the shipped network): fewer
        terms mean less accumulated error, and up to 200 subjects nothing needs to be composed.
    mini_batch_size : int, optional
        Groups per estimate of the summed score; by default 10, or all if there are fewer.
    d0, d1 : float, default 1.0
        Bridge at the data end (t = 0) and at the noise end (t = 1) of the summed score. d1 < 1
        damps the noisy end; d0 < 1 tempers the target, and widens it by about 1 / sqrt(d0).
    method : str, default "auto"
        "gaussian", or BayesFlow's solver of the summed score: "euler_maruyama",
        "two_step_adaptive" (the library's default), "sea", "shark" or "langevin" (stochastic),
        "euler", "rk45" or "tsit5" (probability-flow ODE). "auto" is "gaussian" for networks that
        know their precisions, unless an option is given that only the summed score has
        (`mini_batch_size`, `d0`, `d1`, `use_jac`, `prior`); then "euler_maruyama".
    steps : int or "adaptive", optional
        Number of steps; by default those of `AUTO_STEPS` for "gaussian", "adaptive" where the
        solver can, else 100 for up to 20 groups and 300 for more: the summed score grows with the
        number of terms, and with it the stiffness of the reverse diffusion.
    use_jac : bool, default False
        BayesFlow's precision-weighted composition by the Jacobian of the score, for few groups.
    prior : {"diffused", "weighted"}, default "diffused"
        How the prior enters the summed score at diffusion time t; see `prior_score`.
    summaries : array (n_studies, n_groups, summary_dim), optional
        ``.summaries`` of an earlier result for the same data, group size and workflow.
    check : bool, optional
        Whether to compare data and draws with what the model and its prior can produce
        (`eamlab.predictive_check`), and to warn of what is unusual. By default a single study with
        its data is checked, and several are not: it takes some tenths of a second for each.
    seed : int, optional
        Seed of the draws.

    Returns
    -------
    Composed
        dict of name to array (n_studies, num_samples, 1), with ``.summaries`` and ``.settings``.

    Warns
    -----
    UserWarning
        For data from a population outside the prior, or with contaminant responses: a network
        answers them, too, with confidence.

    Raises
    ------
    ValueError
        If an argument is out of range, or the data are malformed.
    """
    if not isinstance(workflow, bf.CompositionalWorkflow):
        raise ValueError(
            f"workflow must be a CompositionalWorkflow, got {type(workflow).__name__}; "
            "use global_workflow() or load_pretrained('global')."
        )
    data = None if sim_data is None else _checked_data(workflow, sim_data)
    blocks = None if data is None else _blocks(workflow, data, group_size)
    if summaries is None:
        summaries = summarize_groups(workflow, _needed(blocks))
    summaries = _check_summaries(summaries, blocks)
    _check_positive(d0=d0, d1=d1, num_samples=num_samples)
    prior_score(prior)  # refuses an unknown one, also where it is not used
    summed = {
        "mini_batch_size": _check_mini_batch(mini_batch_size, summaries.shape[1]),
        "compositional_bridge_d0": float(d0),
        "compositional_bridge_d1": float(d1),
        "use_jac": bool(use_jac),
    }
    plain = (mini_batch_size, d0, d1, use_jac, prior) == (None, 1.0, 1.0, False, "diffused")
    solver = _solver(workflow, method, steps, summaries.shape[1], plain=plain)
    common: dict[str, Any] = {"num_samples": int(num_samples), "seed": seed}
    if solver["method"] == "gaussian":
        summed = {}
        draws = _gaussian_draws(workflow, summaries, steps=solver["steps"], **common)
    else:
        draws = _summed_draws(workflow, blocks, summaries, prior, solver, summed, **common)
    if data is not None and (check or (check is None and len(data) == 1)):
        _warn_of_unusual(draws, data)
    chosen = solver | summed | {"group_size": _size_of(blocks, group_size), "seed": seed}
    return Composed(draws, summaries, chosen | ({"prior": prior} if summed else {}))


def _gaussian_draws(
    workflow: bf.CompositionalWorkflow, summaries: np.ndarray, **options: Any
) -> dict[str, np.ndarray]:
    z = sample_gaussian_composition(workflow.inference_network, summaries, **options)
    values = GROUP_PRIOR.means + GROUP_PRIOR.sds * z.astype("float64")
    return {k: values[..., i : i + 1] for i, k in enumerate(GROUP_PRIOR.names)}


def _summed_draws(
    workflow: bf.CompositionalWorkflow,
    blocks: list[np.ndarray] | None,
    summaries: np.ndarray,
    prior: str,
    solver: dict[str, Any],
    summed: dict[str, Any],
    *,
    num_samples: int,
    seed: int | None,
) -> dict[str, np.ndarray]:
    common: dict[str, Any] = {"num_samples": num_samples, "seed": _seed_generator(seed)}
    if summaries.shape[1] == 1:  # nothing to compose: the network's own posterior
        draws = _sample_groups(workflow, _needed(blocks)[0][:, 0], **common, **solver)
    else:
        draws = workflow.compositional_sample(
            summaries=summaries,
            compute_prior_score=prior_score(prior),
            **common,
            **solver,
            **summed,
        )
    return {k: np.asarray(draws[k]) for k in GROUP_PRIOR.names}


def _size_of(blocks: list[np.ndarray] | None, group_size: int | str) -> Any:
    """Return the group size that was used, the larger one where they differ by one."""
    return group_size if blocks is None else blocks[0].shape[2]


def _sample_groups(
    workflow: bf.CompositionalWorkflow, groups: np.ndarray, *, num_samples: int, **settings: Any
) -> dict[str, np.ndarray]:
    """Draw from the posterior of each group (n_groups, group_size, n_trials, 2) by itself."""
    per_batch = max(1, _DRAWS_BATCH // num_samples)
    parts = [
        workflow.sample(
            num_samples=num_samples, conditions={"sim_data": groups[i : i + per_batch]}, **settings
        )
        for i in range(0, len(groups), per_batch)
    ]
    return {k: np.concatenate([part[k] for part in parts]) for k in GROUP_PRIOR.names}


def sample_subject_parameters(
    workflow: bf.BasicWorkflow,
    group_draws: Mapping[str, np.ndarray],
    sim_data: np.ndarray,
    *,
    subjects_per_batch: int = 250,
    seed: int | None = None,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    r"""Draw every subject's own parameters by ancestral sampling.

    For each draw of the group parameters one draw of (nu, alpha, t0) per subject,
    :math:`\theta_j \sim p(\theta_j \mid \eta, Y_j)`: together they follow the subject's posterior
    with the uncertainty of the population in it.

    Parameters
    ----------
    workflow : bayesflow.BasicWorkflow
        A trained local workflow.
    group_draws : mapping of name to array (n_studies, n_draws, 1)
        Draws of the seven group parameters, as `compose` returns them.
    sim_data : array (n_studies, J, n_trials, 2) or (J, n_trials, 2)
        The subjects' trials.
    subjects_per_batch : int, default 250
        Subjects sampled at once; bounds the memory.
    seed : int, optional
        Seed of the draws.
    progress : bool, default True
        Show a progress bar if there is more than one batch.

    Returns
    -------
    dict with "nu", "alpha" and "t0" (s), each (n_studies, J, n_draws).
    """
    data = check_sim_data(sim_data)
    draws = {k: np.asarray(group_draws[k], dtype="float32") for k in GROUP_PRIOR.names}
    shape = draws[GROUP_PRIOR.names[0]].shape
    if len(shape) != 3 or shape[0] != len(data):
        raise ValueError(
            f"group_draws must have shape (n_studies = {len(data)}, n_draws, 1), got {shape}."
        )
    generator = _seed_generator(seed)
    starts = range(0, data.shape[1], subjects_per_batch)
    bar = tqdm(starts, "subjects", unit="batch", disable=not progress or len(starts) == 1)
    parts = [
        workflow.ancestral_sample(
            conditions={"sim_data": data[:, i : i + subjects_per_batch]},
            ancestral_conditions=draws,
            seed=generator,
        )
        for i in bar
    ]
    return {k: np.concatenate([np.asarray(p[k])[..., 0] for p in parts], axis=1) for k in parts[0]}


def _checked_data(workflow: bf.CompositionalWorkflow, sim_data: Any) -> np.ndarray:
    data = check_sim_data(sim_data)
    if isinstance(workflow.summary_network, PooledSummary) and not np.all(data[..., 1] > 0):
        raise ValueError(
            "sim_data: the pooled summary network needs the same number of trials for every "
            "subject; use load_pretrained('global')."
        )
    return data


def _warn_of_unusual(draws: Mapping[str, np.ndarray], data: np.ndarray) -> None:
    for study, trials in enumerate(data):
        unusual = predictive_check({k: v[study] for k, v in draws.items()}, trials).messages
        if unusual:
            which = f"study {study} is" if len(data) > 1 else "the data are"
            warnings.warn(
                f"{which} unlike what the network was trained on; do not trust the draws before "
                "you know why. " + " ".join(unusual),
                UserWarning,
                stacklevel=3,
            )


def _blocks(
    workflow: bf.CompositionalWorkflow, data: np.ndarray, group_size: int | str
) -> list[np.ndarray]:
    """Split checked data into blocks of equal groups."""
    if group_size != "auto" and not isinstance(group_size, int | np.integer):
        raise ValueError(f"group_size must be an integer or 'auto', got {group_size!r}.")
    if group_size == "auto":
        card = getattr(workflow, "model_card", {"training": {"group_sizes": [5]}})
        sizes = auto_group_sizes(data.shape[1], card["training"]["group_sizes"])
        return split_subjects(data, sizes)
    return split_subjects(data, (int(group_size),) * max(1, data.shape[1] // max(1, group_size)))


def _needed(blocks: list[np.ndarray] | None) -> list[np.ndarray]:
    if blocks is None:
        raise ValueError("sim_data is None: give the data, or the summaries of an earlier call.")
    return blocks


def _seed_generator(seed: int | None) -> keras.random.SeedGenerator | None:
    return None if seed is None else keras.random.SeedGenerator(seed)


def _check_summaries(summaries: Any, blocks: list[np.ndarray] | None) -> np.ndarray:
    summaries = np.asarray(summaries, dtype="float32")
    if summaries.ndim != 3 or 0 in summaries.shape or not np.all(np.isfinite(summaries)):
        raise ValueError(
            "summaries must be a finite array (n_studies, n_groups, summary_dim), got shape "
            f"{summaries.shape}; pass the .summaries of an earlier result."
        )
    if blocks is not None:
        expected = (len(blocks[0]), sum(block.shape[1] for block in blocks))
        if summaries.shape[:2] != expected:
            raise ValueError(
                f"summaries are of {summaries.shape[:2]} (studies, groups), but sim_data has "
                f"{expected}; pass the .summaries of the same data and group_size."
            )
    return summaries


def _check_mini_batch(mini_batch_size: int | None, n_groups: int) -> int:
    if mini_batch_size is None:
        return min(10, n_groups)
    if not 1 <= mini_batch_size <= n_groups:
        raise ValueError(
            f"mini_batch_size must be between 1 and the number of groups ({n_groups}), "
            f"got {mini_batch_size}."
        )
    return int(mini_batch_size)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive, got {value}.")


def _solver(
    workflow: bf.CompositionalWorkflow,
    method: str,
    steps: int | str | None,
    n_groups: int,
    *,
    plain: bool,
) -> dict[str, Any]:
    """Return method and steps; `plain` says that no option of the summed score was given."""
    if method not in _METHODS:
        raise ValueError(f"method must be one of {_METHODS}, got {method!r}.")
    anchored = isinstance(workflow.inference_network, AnchoredDiffusionModel)
    if method == "auto":
        method = "gaussian" if anchored and plain else "euler_maruyama"
    if method == "gaussian" and not (anchored and plain):
        raise ValueError(
            "method='gaussian' needs a network with Gaussian anchors, such as "
            "load_pretrained('global'), and takes neither mini_batch_size, d0, d1, use_jac nor "
            "prior; leave these out, or choose a solver of the summed score."
        )
    steps = _default_steps(method, n_groups) if steps is None else steps
    if steps == "adaptive":
        if method not in _ADAPTIVE:
            raise ValueError(f"steps='adaptive' needs one of {_ADAPTIVE}, got method {method!r}.")
    elif not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be a positive integer or 'adaptive', got {steps!r}.")
    return {"method": method, "steps": steps}


def _default_steps(method: str, n_groups: int) -> int | str:
    if method == "gaussian":
        return next(steps for largest, steps in AUTO_STEPS.items() if n_groups <= largest)
    if method in _ADAPTIVE:
        return "adaptive"
    return 300 if n_groups > _MANY_GROUPS else 100
