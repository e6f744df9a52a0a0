r"""How far a composed posterior is off, found out without a likelihood: simulate and compose.

What a composition makes of a study is an estimate like any other, and its error can be simulated.
Studies of the same design are drawn at parameters :math:`\eta_r` around the composed mean and
composed in the same way. The regression of their composed means on the parameters,

.. math:: m_r = c + a + (I + B)(\eta_r - c) + \varepsilon_r, \qquad \varepsilon_r \sim N(0, S),

holds what the composed mean m of the study itself says about its parameters: with a prior
:math:`N(\mu, P)`

.. math:: \eta \mid m \sim N(\hat\eta, V), \quad
    V^{-1} = P^{-1} + (I + B)^T S^{-1} (I + B), \quad
    V^{-1} \hat\eta = P^{-1} \mu + (I + B)^T S^{-1} [m - a + B c].

The bias of m is :math:`m - \hat\eta`, and V the width that the posterior should have. Where the
estimate does not move with the truth, :math:`I + B` is small and V says so. The exact posterior
mean knows more of the data than m, and scatters around :math:`\hat\eta`: with the variance by which
V exceeds the composed one, and with a quarter of a composed sd that no simulation tells.

A quicker second opinion needs no compositions. Were a group's posterior q right, its *excess
score* :math:`e = \nabla \log q(\eta \mid Y) - \nabla \log p(\eta)` would be the score of the
likelihood, whose mean over data from :math:`\eta` itself is zero (Bartlett's identity) and whose
covariance is a group's Fisher information F. So groups are simulated at the composed mean, and
where their mean excess score is :math:`\bar e`, in prior z-scores, G groups' scores are off by

.. math:: (G F + I)^{-1} G \bar e, \qquad \text{with the width} \quad (G F + I)^{-1/2}.

That says as much of the composed posterior as its mean is where the study's own scores, and the
prior's, add up to zero: the Newton step from the one to the other is part of the standard error.

References
----------
Beaumont, Zhang & Balding (2002), *Genetics* 162, 2025-2035, for the regression; Bartlett (1953),
*Biometrika* 40, 12-19, for the identity.
"""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from eamlab.composition.groups import (
    group_sizes,
    split_subjects,
    summarize_groups,
    trained_sizes,
)
from eamlab.composition.posterior import compose
from eamlab.composition.terms import Terms
from eamlab.draws import Draws, as_draws, group_array
from eamlab.model.model import Model, check_count, check_positive, generator
from eamlab.study import Study, as_study, simulate
from eamlab.workflows import model_of

__all__ = ["GROUPS", "Certificate", "certify", "least_studies"]

FloatArray = NDArray[np.float64]

_REACH = 1.5  # sds of the composed posterior at which studies are simulated
_LOG_SNR = 9.0  # at which scores are taken: noise narrower than any group's posterior
_SLOPE_SD = 0.3  # prior sd of the entries of B, in units of the composed sds
_UNTOLD = 0.25
"""Sd, in composed sds, of exact means around what composed means can tell, although the widths
agree. Chosen on the graded studies of 10 and 100 people; those of more had no say."""
GROUPS = 60
"""Simulated groups of which a forecast by scores needs as many: they tell a covariance."""
_A_FEW = 5  # simulated studies between two looks at how sure the forecast is
_BATCH_TRIALS = 3_000_000  # simulated at once: bounds the memory at about 0.1 GB
_WIDEST = 3.0  # prior sds; studies around wider draws cannot be simulated
_SAME = 0.01  # by which summaries of the same group may differ, of their largest entry: rounding


@dataclass(frozen=True, repr=False)
class Certificate:
    """What is known of a composed posterior's error.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per group parameter: predicted ``bias`` of the mean in composed sds and its
        standard error ``bias_se``; ``sd_ratio``, the composed sd over the one it should have.
    draws : Draws
        The draws, corrected if that was asked for.
    n_studies : int
        Simulated studies.
    seconds : float
        What it took.
    """

    table: pd.DataFrame
    draws: Draws
    n_studies: int
    seconds: float

    @property
    def sentences(self) -> list[str]:
        """What is off by more than half an sd, or by a third in width, in words.

        By more than chance: of a bias what `certify` would take off counts, of a width what exceeds
        three standard errors. What cannot be told to an sd is said, too.
        """
        found = []
        # The regression uses up as many studies as it has coefficients of a parameter.
        free = max(self.n_studies - len(self.table) - 1, 1)
        widest = np.exp(max(np.log(4.0 / 3.0), 3.0 / np.sqrt(2.0 * free)))
        for (name, row), sure in zip(self.table.iterrows(), _sure(self.table), strict=True):
            if sure * abs(row["bias"]) > 0.5:
                side = "high" if row["bias"] > 0 else "low"
                found.append(
                    f"{name}: about {abs(row['bias']):.1f} sd too {side}, give or take "
                    f"{row['bias_se']:.1f}."
                )
            elif row["bias_se"] > 1.0:
                found.append(
                    f"{name}: by how much it is off cannot be told, give or take "
                    f"{row['bias_se']:.1f} sd."
                )
            times = max(row["sd_ratio"], 1.0 / row["sd_ratio"])
            if times > widest:
                wide = "wide" if row["sd_ratio"] > 1 else "narrow"
                found.append(f"{name}: {times:.1f} times too {wide}.")
        return found

    def __repr__(self) -> str:
        return "\n".join([str(self.table.round(2)), *self._said])

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self._said)
        return str(self.table.round(2).to_html()) + said

    @property
    def _said(self) -> list[str]:
        studies = f"as far as {self.n_studies} simulated studies tell"
        return self.sentences or [f"Nothing is off by more than half an sd, {studies}."]


def certify(
    workflow: Any,
    draws: Draws,
    study: Study | Terms,
    *,
    method: str = "composition",
    n_studies: int = 60,
    rounds: int = 2,
    num_samples: int = 32,
    correct: bool = False,
    until: float | None = None,
    time_limit: float | None = None,
    seed: int | None = None,
    progress: bool | None = None,
) -> Certificate:
    """Predict how far a composed posterior is off, by simulating studies like it.

    No likelihood is needed, so this works for every model that can be simulated.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow
        What made the draws.
    draws : Draws
        From `eamlab.compose`; its settings are used again, or, where draws have none, its defaults.
        Draws that a certificate has corrected may be certified again: what they are still off by.
    study : Study or Terms
        What they are draws for: simulated studies have as many people with as many trials, in the
        same conditions, in groups of the same sizes.
    method : {"composition", "score"}
        Whether to compose the simulated studies, or to average their groups' excess scores, which
        is quicker. For scores at most 3,000,000 trials of a study are simulated.
    n_studies : int, default 60
        Studies to simulate, in all rounds together: 20 at least, or, of models with ten group
        parameters and more, two for each and two; of scores as many as have 60 groups. The chance
        in a forecast by scores is 1 / sqrt(n_studies) composed sds.
    rounds : int, default 2
        Each round simulates around where the one before it found the parameters, the first with at
        least twice as many studies as there are coefficients. Of compositions.
    num_samples : int, default 32
        Draws of each study that is composed; only their mean counts.
    correct : bool, default False
        Whether to shift the draws by the predicted bias, less what of it may be chance (the
        positive-part rule of James and Stein, for each parameter by its own error or by those of
        all, whichever is larger), and to stretch them where the predicted width differs by more
        than a quarter, and by more than chance. Worth it where a sentence is said: where nothing
        is off, a correction adds noise, and fewer studies are right.
    until : float, optional
        A round ends early once the simulations' own part of every `bias_se` is at most this, in
        composed sds (0.2 takes about 40 studies); the fewest are simulated all the same.
    time_limit : float, optional
        Seconds after which no further study is simulated, once the fewest are.
    seed : int, optional
        Seed of the simulations.
    progress : bool, optional
        Default: a bar when it takes more than two seconds.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        If draws, study and workflow do not belong together, or an argument is out of range; for
        Terms of a model with conditions.
    """
    start = time.monotonic()
    model = model_of(workflow)
    if isinstance(study, Terms):
        study.check_made_by(workflow)
        if model.conditions:
            raise ValueError(
                "study: Terms do not say who did how many trials in which condition, and simulated "
                "studies must; pass the Study."
            )
    else:
        study = as_study(study, model=model)
    if until is not None:
        check_positive("until", until)
    if time_limit not in (None, 0):
        check_positive("time_limit", time_limit)
    if not isinstance(correct, bool):
        raise ValueError(f"correct must be True or False, got {correct!r}.")
    draws = as_draws(draws, "draws")
    values = group_array(draws, model)
    least = least_studies(model)
    if len(values) < least:
        raise ValueError(f"draws: a certificate needs at least {least}, got {len(values)}.")
    if method not in ("composition", "score"):
        raise ValueError(f"method must be 'composition' or 'score', got {method!r}.")
    check_count("n_studies", n_studies, least)
    check_count("rounds", rounds)
    if method == "score" and (rounds, num_samples) != (2, 32):
        raise ValueError("method='score' composes nothing: leave out rounds and num_samples.")
    _check_belong(workflow, draws, study)
    if isinstance(study, Terms):
        study = _equal_adjacent(study)
    mean, cov = values.mean(axis=0), np.cov(values.T)
    sd, rng = np.sqrt(np.diag(cov)), generator(seed)
    if not (sd > 0).all():
        raise ValueError("draws: all of some parameter are the same, so that there is no width.")
    wide = [k for k, r in zip(model.prior.names, sd / model.prior.sds, strict=True) if r > _WIDEST]
    if wide:
        raise ValueError(
            f"draws: those of {wide} are more than {_WIDEST:g} times as wide as the prior, which "
            "no posterior is: the sampler diverged. Use more steps, or method='gaussian'."
        )
    # What was composed: of draws that are corrected already it is not their mean.
    told = draws.diagnostics.get("composed_mean")
    composed_mean = mean if told is None else np.array([told[k] for k in model.prior.names])
    looks = until is not None or time_limit is not None
    bar = tqdm(total=n_studies, desc="certifying", delay=2.0, disable=progress is False)

    def late() -> bool:
        return time_limit is not None and time.monotonic() - start > time_limit

    with bar:
        if method == "score":
            center, width, chance, untold, made = _by_scores(
                workflow, draws, study, n_studies, until, late, looks, bar, rng
            )
        else:
            points, means = np.empty((0, len(mean))), np.empty((0, len(mean)))
            center = mean
            ends = np.linspace(0, n_studies, rounds + 1)[1:].astype(int)
            ends = np.maximum(ends, 2 * (len(mean) + 1))
            for count in np.diff(np.unique(ends), prepend=0):
                z = rng.standard_normal((count, len(mean)))
                new = center + _REACH * z @ np.linalg.cholesky(cov).T
                n_parts, sure = min(count, -(-count * study.n_trials.sum() // _BATCH_TRIALS)), False
                if looks:
                    n_parts = max(n_parts, count // _A_FEW)
                for part in np.array_split(new, n_parts):
                    if len(points) >= least and (late() or sure):
                        break
                    composed = _composed_means(workflow, draws, study, part, num_samples, rng)
                    points, means = np.vstack([points, part]), np.vstack([means, composed])
                    bar.update(len(part))
                    if until is not None and len(points) >= least:
                        sure = bool(_fit(points, means, composed_mean, sd, model)[2].max() <= until)
                center, width, chance, untold = _fit(points, means, composed_mean, sd, model)
            made = len(points)
    error = np.hypot(chance, untold)
    table = pd.DataFrame(
        {"bias": (mean - center) / sd, "bias_se": error, "sd_ratio": sd / width},
        index=pd.Index(model.prior.names, name="parameter"),
    )
    corrected = draws
    if correct:
        ratio = width / sd
        # Three standard errors of a log sd from so many studies.
        sure_of = max(np.log(1.25), 3.0 / np.sqrt(2.0 * made))
        stretch = np.where(np.abs(np.log(ratio)) > sure_of, ratio, 1.0)
        moved = mean - _sure(table) * (mean - center) + stretch * (values - mean)
        columns = dict(zip(model.prior.names, moved.T, strict=True))
        told = dict(zip(model.prior.names, composed_mean.tolist(), strict=True))
        how: dict[str, Any] = {"diagnostics": draws.diagnostics | {"composed_mean": told}}
        how["subjects"] = draws.subjects
        corrected = Draws(columns, model=model, settings=draws.settings, **how)
    return Certificate(table, corrected, made, time.monotonic() - start)


def _sure(table: pd.DataFrame) -> FloatArray:
    """Return the share of each predicted bias that is not chance, as `certify` says."""
    z = (table["bias"] / table["bias_se"]).to_numpy() ** 2
    return 1.0 - 1.0 / np.maximum(np.maximum(z, z.mean()), 1.0)


def least_studies(model: Model) -> int:
    """Return how many simulated studies, and draws, tell the parameters of a model at least.

    Twice as many as there are coefficients of a parameter in the regression, and 20.
    """
    return max(20, 2 * (len(model.prior) + 1))


def _check_belong(workflow: Any, draws: Draws, study: Study | Terms) -> None:
    """Refuse draws that were not composed, or whose first group is not the study's."""
    if draws.settings and "group_size" not in draws.settings:
        raise ValueError(
            f"draws: they are not from eamlab.compose, whose settings would be used again; these "
            f"have {sorted(draws.settings)}."
        )
    if draws.summaries is None:
        return
    sizes, known = _sizes(workflow, draws, study), np.asarray(draws.summaries)
    if len(sizes) == len(known):
        if isinstance(study, Terms):
            made = study.summaries[:1]
        else:
            made = summarize_groups(workflow, [study.trials[None, : sizes[0]]])
        alike = made.shape == known[:1].shape
        if alike and np.abs(made - known[:1]).max() <= _SAME * np.abs(known[:1]).max():
            return
    raise ValueError(
        "draws: their .summaries are not those of this study and workflow; pass the study (or "
        "Terms) and the workflow that they were composed from."
    )


def _sizes(workflow: Any, draws: Draws, study: Study | Terms) -> tuple[int, ...]:
    """Return the sizes of the groups that the draws were composed from."""
    if isinstance(study, Terms):
        return tuple(study.sizes.tolist())
    size = draws.settings.get("group_size", "auto")
    return group_sizes(size, len(study), trained_sizes(workflow))


def _equal_adjacent(terms: Terms) -> Terms:
    """Return the terms with groups of equal size next to each other, as a study is split."""
    order = np.argsort(-terms.sizes, kind="stable")
    people = np.argsort(np.repeat(np.argsort(order), terms.sizes), kind="stable")
    arrays = {"summaries": order, "sizes": order, "subjects": people, "n_trials": people}
    return replace(terms, **{k: getattr(terms, k)[index] for k, index in arrays.items()})


def _design(study: Study | Terms, n_subjects: int) -> dict[str, Any]:
    """Return what `simulate` takes to make trials like those of the first people."""
    n_trials = study.n_trials[:n_subjects]
    design = {} if isinstance(study, Terms) else study.design
    again = {k: v[:n_subjects, : n_trials.max()] for k, v in design.items()}
    return {"n_subjects": n_subjects, "n_trials": n_trials.tolist()} | again


def _composed_means(
    workflow: Any,
    draws: Draws,
    study: Study | Terms,
    points: FloatArray,
    num_samples: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Simulate a study like `study` at each of the points (R, d); return its composed mean."""
    model = model_of(workflow)
    group = model.prior.to_dict(points)
    design = _design(study, len(study))
    studies = simulate(model, **design, seed=rng, n_studies=len(points), group=group)
    settings = draws.settings | {"num_samples": num_samples, "seed": int(rng.integers(2**31))}
    if isinstance(study, Terms):
        settings["group_size"] = _sizes(workflow, draws, study)
    composed = compose(workflow, studies, **settings)
    return np.stack([group_array(d, model).mean(axis=0) for d in composed])


def _fit(
    points: FloatArray, means: FloatArray, composed: FloatArray, scale: FloatArray, model: Model
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return where the parameters are, how widely, and two errors of the former in composed sds.

    The first error is the chance of the simulations, the second what no simulation tells. Regresses
    composed means on parameters, all in composed sds around the composed mean.
    """
    n, dim = points.shape
    x, error = (points - composed) / scale, (means - points) / scale
    design = np.column_stack([np.ones(n), x])
    noise = error.var(axis=0).mean()
    ridge = np.diag(np.r_[0.0, np.full(dim, noise / _SLOPE_SD**2)])
    inverse = np.linalg.inv(design.T @ design + ridge)
    weights = inverse @ design.T
    coefficients = weights @ error
    rest = error - design @ coefficients
    used = np.trace(design @ weights)
    free = max(n - used, 1.0)
    spread = rest.T @ rest / free
    a, slope = coefficients[0], np.eye(dim) + coefficients[1:].T
    # The composed mean is 0 in these coordinates.
    known = slope.T @ np.linalg.inv(spread)
    prior_mean = (model.prior.means - composed) / scale
    prior = np.diag((scale / model.prior.sds) ** 2)
    covariance = np.linalg.inv(prior + known @ slope)
    mean = covariance @ (prior @ prior_mean - known @ a)
    here = np.r_[1.0, mean]
    gain = covariance @ known
    error_cov = gain @ (spread * (here @ inverse @ here)) @ gain.T
    # As far as the variance exceeds the composed one by more than its own standard error.
    scatter = np.maximum(np.diag(covariance) * (1.0 - np.sqrt(2.0 / free)) - 1.0, 0.0)
    chance, untold = np.sqrt(np.diag(error_cov)), np.sqrt(scatter + _UNTOLD**2)
    return composed + scale * mean, scale * np.sqrt(np.diag(covariance)), chance, untold


def _by_scores(
    workflow: Any,
    draws: Draws,
    study: Study | Terms,
    n_studies: int,
    until: float | None,
    late: Callable[[], bool],
    looks: bool,
    bar: Any,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, int]:
    """Return what `_fit` does, from excess scores, and how many studies were simulated."""
    if draws.summaries is None:
        raise ValueError("draws: scores need their .summaries; pass those of eamlab.compose.")
    model, n_groups = model_of(workflow), len(draws.summaries)
    check_count("n_studies", n_studies, -(-GROUPS // n_groups))
    z = model.prior.standardize(group_array(draws, model))
    at = {k: float(v.mean()) for k, v in draws.items()}
    sizes = _sizes(workflow, draws, study)
    ends = np.cumsum(study.n_trials)[np.cumsum(sizes) - 1]
    sizes = sizes[: max(1, int(np.searchsorted(ends, _BATCH_TRIALS, side="right")))]
    design = _design(study, sum(sizes))
    at_once = max(1, _BATCH_TRIALS // sum(design["n_trials"]))
    if looks:
        at_once = min(at_once, _A_FEW)
    own, unit = _excess_scores(workflow, z, draws.summaries), z.std(axis=0, ddof=1)
    scores, made = np.empty((0, z.shape[1])), 0
    while made < n_studies:
        count = min(at_once, n_studies - made)
        studies = simulate(model, **design, seed=rng, n_studies=count, group=at)
        blocks = zip(*(split_subjects(one.trials, sizes) for one in studies), strict=True)
        # All studies' groups of a size at once: it saves many calls.
        summaries = summarize_groups(workflow, [np.concatenate(block) for block in blocks])
        scores = np.vstack([scores, _excess_scores(workflow, z, summaries)])
        made += count
        bar.update(count)
        information = n_groups * np.cov(scores.T)
        covariance = np.linalg.inv(information + np.eye(len(unit)))
        chance_cov = covariance @ (n_groups / len(scores) * information) @ covariance
        chance = np.sqrt(np.diag(chance_cov)) / unit
        sure = until is not None and chance.max() <= until
        if made >= least_studies(model) and len(scores) >= GROUPS and (sure or late()):
            break
    off = covariance @ (n_groups * scores.mean(axis=0))
    step = covariance @ (own.sum(axis=0) - z.mean(axis=0))
    center = model.prior.unstandardize(z.mean(axis=0) - off)
    width = model.prior.sds * np.sqrt(np.diag(covariance))
    return center, width, chance, np.hypot(_UNTOLD, step / unit), made


def _excess_scores(workflow: Any, z: FloatArray, summaries: NDArray[Any]) -> FloatArray:
    """Return the excess scores (G, d) of groups at the mean of draws z (S, d), of z-scores."""
    alpha = 1.0 / np.sqrt(1.0 + np.exp(-_LOG_SNR))
    x = np.tile(alpha * z.mean(axis=0), (len(summaries), 1)).astype("float32")
    level = np.full((len(x), 1), _LOG_SNR, "float32")
    score = workflow.inference_network.score(x, log_snr_t=level, conditions=summaries)
    # The prior's own score, at this level of noise, is -x.
    return np.asarray(alpha * (np.asarray(score) + x))
