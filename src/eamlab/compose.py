"""Compose group posteriors into the posterior of a whole population, then sample each subject.

A thin layer over BayesFlow's ``compositional_sample`` and ``ancestral_sample``: it groups the
subjects, computes every summary once and hands it back for reuse, passes the prior's score and
both ends of the bridge explicitly, and refuses settings that cannot work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bayesflow as bf
import keras
import numpy as np
from tqdm.auto import tqdm

from eamlab.priors import GROUP_PRIOR

__all__ = [
    "PRIOR_SCORES",
    "Composed",
    "auto_group_size",
    "compose",
    "group_subjects",
    "prior_score",
    "sample_subject_parameters",
]

PRIOR_SCORES = ("diffused", "weighted")
"""How the prior enters the composition at diffusion time t; see `prior_score`."""

_METHODS = ("two_step_adaptive", "euler_maruyama", "sea", "shark", "langevin") + (
    "euler",
    "rk45",
    "tsit5",
)
_ADAPTIVE = ("two_step_adaptive", "rk45", "tsit5")
_FEWEST_GROUPS = 5
_MANY_GROUPS = 20
_SUMMARY_BATCH = 2_000
"""Subjects summarized at once; bounds the memory of the trial network at about 0.1 GB."""
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


def group_subjects(sim_data: np.ndarray, group_size: int) -> np.ndarray:
    """Split the subjects of each study into groups.

    Parameters
    ----------
    sim_data : array (n_studies, J, n_trials, 2) or (J, n_trials, 2)
        Choice (0 or 1) and response time (s).
    group_size : int
        Subjects per group; must divide J.

    Returns
    -------
    ndarray (n_studies, J / group_size, group_size, n_trials, 2)
    """
    return _split(check_sim_data(sim_data), group_size)


def _split(data: np.ndarray, group_size: int) -> np.ndarray:
    n_studies, n_subjects = data.shape[:2]
    if group_size < 1 or n_subjects % group_size:
        raise ValueError(
            f"group_size must divide the number of subjects: J = {n_subjects}, "
            f"group_size = {group_size}. Choose a divisor of J, or leave out subjects at random."
        )
    return data.reshape(n_studies, -1, group_size, *data.shape[2:])


def check_sim_data(sim_data: Any) -> np.ndarray:
    """Check trials and return them as a float32 array (n_studies, J, n_trials, 2)."""
    data = np.asarray(sim_data, dtype="float32")
    if data.ndim == 3:
        data = data[None]
    if data.ndim != 4 or data.shape[-1] != 2 or 0 in data.shape:
        raise ValueError(
            "sim_data must have shape (n_studies, J, n_trials, 2) or (J, n_trials, 2) with (choice,"
            f" rt) on the last axis, got {np.shape(sim_data)}."
        )
    choice, rt = data[..., 0], data[..., 1]
    if not np.all(np.isfinite(rt) & (rt > 0)):
        bad = int(np.sum(~(np.isfinite(rt) & (rt > 0))))
        raise ValueError(
            f"sim_data: {bad} response times are not finite and positive; times are in seconds, "
            "remove missing trials first."
        )
    if not np.all((choice == 0) | (choice == 1)):
        raise ValueError(
            f"sim_data: choices must be 0 (lower) or 1 (upper), got {np.unique(choice)[:5]}; "
            "recode -1 to 0."
        )
    return data


def compose(
    workflow: bf.CompositionalWorkflow,
    sim_data: np.ndarray | None,
    *,
    num_samples: int = 100,
    group_size: int | str = "auto",
    mini_batch_size: int | None = None,
    d0: float = 1.0,
    d1: float = 1.0,
    method: str = "euler_maruyama",
    steps: int | str | None = None,
    use_jac: bool = False,
    prior: str = "diffused",
    summaries: np.ndarray | None = None,
    seed: int | None = None,
) -> Composed:
    r"""Draw from the composed posterior of the group parameters.

    The score of :math:`p(\eta \mid Y_{1..G}) \propto p(\eta)^{1-G} \prod_g p(\eta \mid Y_g)` is the
    sum of the group scores and (1 - G) times the prior's; BayesFlow integrates the reverse
    diffusion with it, estimating the sum from a mini-batch of groups at every step and damping it
    with the bridge :math:`d(t) = d_0^{1-t} d_1^t`.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow
        A trained global workflow.
    sim_data : array (n_studies, J, n_trials, 2) or (J, n_trials, 2), or None
        Choice (0 or 1) and response time (s). None if `summaries` are given.
    num_samples : int, default 100
        Posterior draws per study.
    group_size : int or "auto", default "auto"
        Subjects per group; must divide J. "auto" takes the largest size the workflow was trained
        on that leaves at least five groups: fewer terms mean less accumulated error.
    mini_batch_size : int, optional
        Groups per estimate of the composed score; by default 10, or all if there are fewer.
    d0, d1 : float, default 1.0
        Bridge at the data end (t = 0) and at the noise end (t = 1). d1 < 1 damps the noisy end;
        d0 < 1 tempers the target, and widens it by about 1 / sqrt(d0).
    method : str, default "euler_maruyama"
        Solver: "euler_maruyama", "two_step_adaptive" (the library's default), "sea", "shark" or
        "langevin" (stochastic), "euler", "rk45" or "tsit5" (probability-flow ODE).
    steps : int or "adaptive", optional
        Number of steps; by default "adaptive" where the solver can, else 100 for up to 20 groups
        and 300 for more: the composed score grows with the number of terms, and with it the
        stiffness of the reverse diffusion.
    use_jac : bool, default False
        Precision-weighted (Gaussian) composition by the Jacobian of the score, for few groups.
    prior : {"diffused", "weighted"}, default "diffused"
        How the prior enters at diffusion time t; see `prior_score`.
    summaries : array (n_studies, n_groups, summary_dim), optional
        ``.summaries`` of an earlier result for the same data, group size and workflow.
    seed : int, optional
        Seed of the draws.

    Returns
    -------
    Composed
        dict of name to array (n_studies, num_samples, 1), with ``.summaries`` and ``.settings``.

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
    groups = None if sim_data is None else _grouped(workflow, sim_data, group_size)
    if summaries is None:
        summaries = summarize_groups(workflow, _needed(groups))
    summaries = _check_summaries(summaries, groups)
    n_groups = summaries.shape[1]
    mini_batch_size = _check_mini_batch(mini_batch_size, n_groups)
    _check_positive(d0=d0, d1=d1, num_samples=num_samples)
    solver = _solver(method, steps, n_groups)
    settings = solver | {
        "mini_batch_size": mini_batch_size,
        "compositional_bridge_d0": float(d0),
        "compositional_bridge_d1": float(d1),
        "use_jac": bool(use_jac),
    }
    common: dict[str, Any] = {"num_samples": int(num_samples), "seed": _seed_generator(seed)}
    if n_groups == 1:  # nothing to compose: the network's own posterior
        draws = _sample_groups(workflow, _needed(groups)[:, 0], **common, **solver)
    else:
        draws = workflow.compositional_sample(
            summaries=summaries, compute_prior_score=prior_score(prior), **common, **settings
        )
    return Composed(
        {k: np.asarray(draws[k]) for k in GROUP_PRIOR.names},
        summaries,
        settings | {"group_size": _size_of(groups, group_size), "prior": prior, "seed": seed},
    )


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


def summarize_groups(workflow: bf.CompositionalWorkflow, groups: np.ndarray) -> np.ndarray:
    """Summarize groups (n_studies, n_groups, group_size, n_trials, 2), a bounded number at a time.

    Returns
    -------
    ndarray (n_studies, n_groups, summary_dim)
    """
    flat = groups.reshape(-1, *groups.shape[2:])
    per_batch = max(1, _SUMMARY_BATCH // groups.shape[2])
    parts = [
        workflow.estimator.summarize({"sim_data": flat[i : i + per_batch]})
        for i in range(0, len(flat), per_batch)
    ]
    return np.concatenate(parts).reshape(*groups.shape[:2], -1)


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


def auto_group_size(n_subjects: int, trained: Sequence[int]) -> int:
    """Return the largest trained group size that divides J and leaves five groups, if there is one.

    Parameters
    ----------
    n_subjects : int
        Number of subjects J.
    trained : sequence of int
        Group sizes the network was trained on.

    Returns
    -------
    int
        The smallest trained size if none leaves five groups; it need not divide J.
    """
    fitting = [g for g in trained if n_subjects % g == 0 and n_subjects // g >= _FEWEST_GROUPS]
    return max(fitting) if fitting else min(trained)


def _grouped(
    workflow: bf.CompositionalWorkflow, sim_data: np.ndarray, group_size: int | str
) -> np.ndarray:
    if group_size != "auto" and not isinstance(group_size, int | np.integer):
        raise ValueError(f"group_size must be an integer or 'auto', got {group_size!r}.")
    data = check_sim_data(sim_data)
    if group_size == "auto":
        card = getattr(workflow, "model_card", {"training": {"group_sizes": [5]}})
        group_size = auto_group_size(data.shape[1], card["training"]["group_sizes"])
    return _split(data, int(group_size))


def _size_of(groups: np.ndarray | None, group_size: int | str) -> int | str:
    return group_size if groups is None else groups.shape[2]


def _needed(groups: np.ndarray | None) -> np.ndarray:
    if groups is None:
        raise ValueError(
            "sim_data is None: give the data, or the summaries of an earlier call with at least "
            "two groups."
        )
    return groups


def _seed_generator(seed: int | None) -> keras.random.SeedGenerator | None:
    return None if seed is None else keras.random.SeedGenerator(seed)


def _check_summaries(summaries: Any, groups: np.ndarray | None) -> np.ndarray:
    summaries = np.asarray(summaries, dtype="float32")
    if summaries.ndim != 3 or 0 in summaries.shape or not np.all(np.isfinite(summaries)):
        raise ValueError(
            "summaries must be a finite array (n_studies, n_groups, summary_dim), got shape "
            f"{summaries.shape}; pass the .summaries of an earlier result."
        )
    if groups is not None and summaries.shape[:2] != groups.shape[:2]:
        raise ValueError(
            f"summaries are of {summaries.shape[:2]} (studies, groups), but sim_data in groups of "
            f"{groups.shape[2]} gives {groups.shape[:2]}; pass the .summaries of the same data and "
            "group_size."
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


def _solver(method: str, steps: int | str | None, n_groups: int) -> dict[str, Any]:
    if method not in _METHODS:
        raise ValueError(f"method must be one of {_METHODS}, got {method!r}.")
    if steps is None:
        fixed = 300 if n_groups > _MANY_GROUPS else 100
        steps = "adaptive" if method in _ADAPTIVE else fixed
    if steps == "adaptive":
        if method not in _ADAPTIVE:
            raise ValueError(f"steps='adaptive' needs one of {_ADAPTIVE}, got method {method!r}.")
    elif not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be a positive integer or 'adaptive', got {steps!r}.")
    return {"method": method, "steps": steps}
