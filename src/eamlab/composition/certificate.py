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

A second opinion needs no compositions. Were a group's posterior q right, its excess score
:math:`e = \nabla \log q(\eta \mid Y) - \nabla \log p(\eta)` would be the score of the likelihood,
whose mean over data Y from the same :math:`\eta` is zero and whose covariance is a group's Fisher
information F. So groups are simulated at the composed mean, and where their mean excess score is
:math:`\bar e`, in prior z-scores, a sum of G groups' scores is off by

.. math:: (G F + I)^{-1} G \bar e, \qquad \text{with the width} \quad (G F + I)^{-1/2}.

References
----------
Beaumont, Zhang & Balding (2002), *Genetics* 162, 2025-2035, for the regression; Bartlett (1953),
*Biometrika* 40, 12-19, for the identity.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
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
from eamlab.draws import Draws, group_array
from eamlab.model.model import Model, check_count, generator
from eamlab.study import Study, as_study, simulate
from eamlab.workflows import model_of

__all__ = ["LEAST", "Certificate", "certify"]

FloatArray = NDArray[np.float64]

_REACH = 1.5  # sds of the composed posterior at which studies are simulated
_LOG_SNR = 9.0  # at which scores are taken: noise far narrower than any group's posterior
_SLOPE_SD = 0.3  # prior sd of the entries of B, in units of the composed sds
_UNTOLD = 0.25
"""Sd, in composed sds, of exact means around what composed means can tell, although the widths
agree. Chosen on the graded studies of 10 and 100 people; those of more had no say."""
LEAST = 20
"""Simulated studies of a first round, and draws; a regression needs more than parameters."""
_GROUPS = 60  # whose scores tell a covariance
_A_FEW = 5  # simulated studies between two looks at how sure the forecast is
_BATCH_TRIALS = 3_000_000  # simulated at once: bounds the memory at about 0.1 GB


@dataclass(frozen=True)
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
        """What is off by more than half an sd, or by a third in width, in words."""
        found = []
        for name, row in self.table.iterrows():
            if abs(row["bias"]) > max(0.5, 2.0 * row["bias_se"]):
                side = "high" if row["bias"] > 0 else "low"
                found.append(
                    f"{name}: about {abs(row['bias']):.1f} sd too {side}, give or take "
                    f"{row['bias_se']:.1f}."
                )
            if not 0.75 < row["sd_ratio"] < 1.33:
                wide = "wide" if row["sd_ratio"] > 1 else "narrow"
                times = max(row["sd_ratio"], 1.0 / row["sd_ratio"])
                found.append(f"{name}: {times:.1f} times too {wide}.")
        return found

    def _repr_html_(self) -> str:
        return str(self.table.round(2).to_html())


def certify(
    workflow: Any,
    draws: Draws,
    study: Study | Terms,
    *,
    method: str = "composition",
    n_studies: int = 60,
    rounds: int | None = None,
    num_samples: int | None = None,
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
        From `eamlab.compose`; its settings are used again.
    study : Study or Terms
        What they are draws for: simulated studies have as many people with as many trials.
    method : {"composition", "score"}
        Whether to compose the simulated studies and regress, or to average their groups' excess
        scores: quicker, and of what the scores' sum is off by, not of what a Gaussian composition
        adds on its way.
    n_studies : int, default 60
        Studies to simulate, in all rounds together: 20 at least, of scores as many as have 60
        groups. A `bias_se` of scores is 1 / sqrt(n_studies), and a quarter of an sd.
    rounds : int, optional
        Each round simulates around where the one before it found the parameters; 2 by default.
        Only of compositions.
    num_samples : int, optional
        Draws of each simulated study; only their mean counts; 32 by default. Only of compositions.
    correct : bool, default False
        Whether to shift the draws by the predicted bias, less what of it may be chance (the
        positive-part rule of James and Stein, for each parameter by its own error or by those of
        all, whichever is larger), and to stretch them where the predicted width differs by more
        than a quarter, and by more than chance.
    until : float, optional
        A round ends early once the simulations' own part of every `bias_se` is at most this, in
        composed sds; 20 studies are the least, and `n_studies` the most.
    time_limit : float, optional
        Seconds after which no further study is simulated; at least 20 are.
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
        If draws, study and workflow do not belong together, or a count is too small.
    """
    start = time.monotonic()
    model = model_of(workflow)
    if isinstance(study, Terms):
        study.check_made_by(workflow)
    else:
        study = as_study(study, model=model)
    if until is not None and not until > 0:
        raise ValueError(f"until must be above 0, got {until!r}; 0.2 takes about 40 studies.")
    values = group_array(draws, model)
    if len(values) < LEAST:
        raise ValueError(f"draws: a certificate needs at least {LEAST}, got {len(values)}.")
    if method not in ("composition", "score"):
        raise ValueError(f"method must be 'composition' or 'score', got {method!r}.")
    measure: Callable[..., FloatArray] = _composed_means
    fit: Callable[..., tuple[FloatArray, ...]] = _fit
    reach, least = _REACH, LEAST
    if method == "score":
        if rounds is not None or num_samples is not None:
            raise ValueError(
                "method='score' composes nothing and takes neither rounds nor num_samples, got "
                f"{rounds!r} and {num_samples!r}; leave them out."
            )
        measure, fit, reach, rounds = _excess_scores, _by_identity, 0.0, 1
        least = -(-_GROUPS // draws.diagnostics.get("n_groups", 1))
    check_count("n_studies", n_studies, least)
    rounds = check_count("rounds", 2 if rounds is None else rounds)
    num_samples = 32 if num_samples is None else num_samples
    mean, cov = values.mean(axis=0), np.cov(values.T)
    sd, rng = np.sqrt(np.diag(cov)), generator(seed)
    points, found = np.empty((0, len(mean))), np.empty((0, len(mean)))
    center = mean
    bar = tqdm(total=n_studies, desc="certifying", delay=2.0, disable=progress is False)
    with bar:
        for count in np.diff(np.linspace(0, n_studies, rounds + 1).astype(int)):
            z = rng.standard_normal((count, len(mean)))
            new = center + reach * z @ np.linalg.cholesky(cov).T
            n_parts, sure = min(count, -(-count * study.n_trials.sum() // _BATCH_TRIALS)), False
            if until is not None:
                n_parts = max(n_parts, count // _A_FEW)
            for part in np.array_split(new, n_parts):
                late = time_limit is not None and time.monotonic() - start > time_limit
                if len(points) >= least and (late or sure):
                    break
                measured = measure(workflow, draws, study, part, num_samples, rng)
                points, found = np.vstack([points, part]), np.vstack([found, measured])
                bar.update(len(part))
                if until is not None and len(points) >= least:
                    sure = bool(fit(points, found, mean, sd, model)[2].max() <= until)
            center, width, chance, untold = fit(points, found, mean, sd, model)
    error = np.hypot(chance, untold)
    table = pd.DataFrame(
        {"bias": (mean - center) / sd, "bias_se": error, "sd_ratio": sd / width},
        index=pd.Index(model.prior.names, name="parameter"),
    )
    corrected = draws
    if correct:
        ratio = width / sd
        # Three standard errors of a log sd from so many studies.
        sure_of = max(np.log(1.25), 3.0 / np.sqrt(2.0 * len(points)))
        stretch = np.where(np.abs(np.log(ratio)) > sure_of, ratio, 1.0)
        z = (table["bias"] / table["bias_se"]).to_numpy() ** 2
        sure = np.clip(1.0 - 1.0 / np.maximum(z, z.mean()), 0.0, 1.0)
        moved = mean - sure * (mean - center) + stretch * (values - mean)
        columns = dict(zip(model.prior.names, moved.T, strict=True))
        how: dict[str, Any] = {"settings": draws.settings, "diagnostics": draws.diagnostics}
        corrected = Draws(columns, model=model, **how)
    return Certificate(table, corrected, len(points), time.monotonic() - start)


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
    trials = study.n_trials.tolist()
    studies = simulate(model, len(study), trials, seed=rng, n_studies=len(points), group=group)
    settings = draws.settings | {"num_samples": num_samples, "seed": int(rng.integers(2**31))}
    composed = compose(workflow, studies, **settings)
    return np.stack([group_array(d, model).mean(axis=0) for d in composed])


def _excess_scores(
    workflow: Any,
    draws: Draws,
    study: Study | Terms,
    points: FloatArray,
    num_samples: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Simulate groups at the first of equal points; return their scores (R * G, d), of z-scores."""
    model, point = model_of(workflow), points[0]
    at = {k: float(v) for k, v in zip(model.prior.names, point, strict=True)}
    sizes = group_sizes(draws.settings["group_size"], len(study), trained_sizes(workflow))
    designs = np.split(study.n_trials, np.cumsum(sizes)[:-1])
    groups = np.repeat(np.arange(len(sizes)), len(points))  # equal sizes adjacent
    n_parts = -(-len(points) * int(study.n_trials.sum()) // _BATCH_TRIALS)
    alpha = 1.0 / np.sqrt(1.0 + np.exp(-_LOG_SNR))
    made = []
    for part in np.array_split(groups, min(n_parts, len(groups))):
        trials = np.concatenate([designs[i] for i in part]).tolist()
        one = simulate(model, len(trials), trials, seed=rng, group=at)
        conditions = summarize_groups(
            workflow, split_subjects(one.trials, [sizes[i] for i in part])
        )
        x = np.tile(alpha * model.prior.standardize(point), (len(part), 1)).astype("float32")
        level = np.full((len(part), 1), _LOG_SNR, "float32")
        score = workflow.inference_network.score(x, log_snr_t=level, conditions=conditions)
        # The prior's own score, at this level of noise, is -x.
        made.append(alpha * (np.asarray(score) + x))
    return np.concatenate(made)


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


def _by_identity(
    points: FloatArray, scores: FloatArray, composed: FloatArray, scale: FloatArray, model: Model
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return what `_fit` does, from the excess scores of all groups of the studies at one point."""
    n_groups = len(scores) / len(points)
    information = n_groups * np.cov(scores.T)
    covariance = np.linalg.inv(information + np.eye(len(scale)))
    off = covariance @ (n_groups * scores.mean(axis=0))
    error_cov = covariance @ (information / len(points)) @ covariance
    unit = model.prior.sds
    chance = unit * np.sqrt(np.diag(error_cov)) / scale
    width = unit * np.sqrt(np.diag(covariance))
    return composed - unit * off, width, chance, np.full(len(scale), _UNTOLD)
