"""The exact posterior of each person, given group parameters.

The drift is normal given the rest. For (log alpha, t0) the quadrature's own nodes make a proposal
that an independence chain corrects.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eamlab.draws import Draws
from eamlab.model.density import FloatArray, _log_density
from eamlab.model.eam import beta_from_raw
from eamlab.model.model import CONDITIONS, Model, check_count, generator
from eamlab.reference.conditions import build_pair_tables, propose_pair
from eamlab.reference.posterior import ReferenceWarning, domain_of, doubtful, group_points
from eamlab.reference.quadrature import N_GROUP, N_PERSON, START, beta_table, propose_subject
from eamlab.reference.subjects import (
    Pair,
    Subject,
    boundary_shift,
    coordinates,
    has_conditions,
    subjects_of,
)
from eamlab.reference.tables import build_tables
from eamlab.study import Study, as_study

# Steps of the independence chain behind each draw; the proposal is so close to the target that
# what is left of the start after these is below 1e-6.
_SUBJECT_STEPS = 40


def exact_people(
    draws: Draws | Mapping[str, Any],
    study: Study,
    *,
    model: Model | None = None,
    num_samples: int | None = None,
    seed: int | np.random.Generator | None = None,
    em_dt: float | None = None,
) -> Draws:
    r"""Draw from the exact posterior of each person's parameters, given group parameters.

    .. math:: p(\nu, \alpha, t_0 \mid Y_j, \eta) \propto p(Y_j \mid \nu, \alpha, t_0, \beta)\,
        N(\nu; \mu_\nu, \sigma_\nu^2)\, N(\log\alpha; \mu_a, \sigma_a^2)\,
        N(\log t_0; \mu_t, \sigma_t^2)

    With draws of the group posterior this is ancestral sampling done exactly: one draw of each
    person for each of them.

    Parameters
    ----------
    draws : Draws, or mapping of str to float
        Draws of the group parameters, or numbers to hold them fixed.
    study : Study
        Whose people; ``study[:1]`` is the first.
    model : Model, optional
        That of the draws, by default.
    num_samples : int, optional
        Number of draws for fixed group parameters; default 1000. With several group draws it must
        be left out.
    seed : int or numpy.random.Generator, optional
        Makes the draws reproducible.
    em_dt : float, optional
        As in `eamlab.exact`.

    Returns
    -------
    Draws
        The group's, (S,), and with them the people's ``nu``, ``alpha`` and ``t0`` (s), (S, J); of
        two conditions ``nu_change`` and ``log_alpha_change``, too.

    Raises
    ------
    ValueError
        For missing group parameters, or a start far outside its prior.

    Warns
    -----
    ReferenceWarning
        When the quadrature that proposes the draws misses a part of somebody's posterior.
    """
    model = model or getattr(draws, "model", None)
    if model is None:
        raise ValueError("model is needed where draws do not say of which model they are.")
    study = as_study(study, model=model)
    etas = group_points(draws, model)
    if len(etas) == 1:
        count = 1000 if num_samples is None else check_count("num_samples", num_samples)
        etas = np.repeat(etas, count, axis=0)
    elif num_samples not in (None, len(etas)):
        raise ValueError(f"num_samples must be left out with {len(etas)} group draws.")
    rng, shift = generator(seed), boundary_shift(em_dt)
    draw = _draw_pair if has_conditions(model) else _draw_subject
    drawn = [draw(subject, etas, model, shift, rng) for subject in subjects_of(study)]
    for text in doubtful(np.array([doubt for _, doubt in drawn]), study.subjects):
        warnings.warn(f"exact_people: {text}.", ReferenceWarning, stacklevel=2)
    values = dict(zip(coordinates(model).names, etas.T, strict=True))
    values |= {k: np.stack([person[k] for person, _ in drawn], axis=1) for k in model.person_names}
    settings = {"num_samples": num_samples, "seed": seed, "em_dt": em_dt}
    return Draws(values, model=model, subjects=study.subjects, settings=settings)


def _draw_subject(
    subject: Subject, etas: FloatArray, model: Model, shift: float, rng: np.random.Generator
) -> tuple[dict[str, FloatArray], float]:
    """Draw ``nu``, ``alpha`` and ``t0`` (S,) of the subject, once for each row of etas (S, d).

    Returns the largest share of an integral that is in doubt, too.
    """
    domain = domain_of(model).within(etas[:, START], [subject])
    tables = build_tables([subject], domain, shift, False)
    theta = _checked_theta(etas, tables, model)
    uniforms = rng.random((len(etas), _SUBJECT_STEPS))
    noise = rng.standard_normal((len(etas), _SUBJECT_STEPS, 2))
    points, log_q, doubt = propose_subject(theta, tables, uniforms, noise)
    log_p = _subject_log_target(subject, theta, points, shift)
    chosen = _independence_chain(log_p - log_q, np.log(rng.random(log_q.shape)))
    log_alpha, y = points[np.arange(len(etas)), chosen].T
    t0 = subject.first / (1.0 + np.exp(-y))
    # The drift given everything else is normal.
    slope, b = _slope_and_sum(subject, log_alpha, t0, theta[:, START], shift)
    precision = b + theta[:, 1] ** -2.0
    mode = (slope + theta[:, 0] * theta[:, 1] ** -2.0) / precision
    nu = mode + precision**-0.5 * rng.standard_normal(len(etas))
    return {"nu": nu, "alpha": np.exp(log_alpha), "t0": t0}, doubt


def _draw_pair(
    pair: Pair, etas: FloatArray, model: Model, shift: float, rng: np.random.Generator
) -> tuple[dict[str, FloatArray], float]:
    """Draw a person's parameters under two conditions (S,), as `_draw_subject` does."""
    domain = domain_of(model).within(etas[:, START], [pair])
    tables = build_pair_tables([pair], domain, shift, False)
    theta = _checked_theta(etas, tables, model)
    grid = beta_table(model.constants["beta_concentration"])
    uniforms = rng.random((len(etas), _SUBJECT_STEPS))
    noise = rng.standard_normal((len(etas), _SUBJECT_STEPS, 3))
    points, log_q, doubt = propose_pair(etas, tables, grid, uniforms, noise)
    changes = etas[:, N_GROUP:].reshape(-1, 2, 2)  # of (nu, log alpha): means, log sds
    log_p = _pair_log_target(pair, theta, changes, points, shift)
    chosen = _independence_chain(log_p - log_q, np.log(rng.random(log_q.shape)))
    at = points[np.arange(len(etas)), chosen][:, None]
    _, mean, cov = _two_drifts(pair, theta, changes, at, shift)
    factor = np.linalg.cholesky(cov[:, 0])
    nu, nu_change = (mean[:, 0] + (factor @ rng.standard_normal((len(etas), 2, 1)))[..., 0]).T
    log_alpha, log_alpha_change, y = at[:, 0].T
    values = {"nu": nu, "alpha": np.exp(log_alpha), "t0": pair.first / (1.0 + np.exp(-y))}
    return values | {"nu_change": nu_change, "log_alpha_change": log_alpha_change}, doubt


def _checked_theta(etas: FloatArray, tables: Any, model: Model) -> FloatArray:
    """(mean, sd) pairs and beta (S, d), after a check of beta's range."""
    means, log_sds = etas[:, :N_PERSON], etas[:, N_PERSON:START]
    sds, beta_raw = np.exp(log_sds), etas[:, START]
    beta = beta_from_raw(beta_raw, model.constants["beta_concentration"])
    mid, half = tables.beta_range
    if (np.abs(beta - mid) > half).any() or not (np.isfinite(sds) & (sds > 0.0)).all():
        raise ValueError(
            "group: |beta_raw| must be below 5 and every exp(log_sigma) a positive number; got "
            f"beta_raw up to {np.abs(beta_raw).max():.2f} and log sigmas in "
            f"[{log_sds.min():.1f}, {log_sds.max():.1f}]."
        )
    pairs = np.stack([means, sds], axis=2).reshape(len(etas), -1)
    return np.column_stack([pairs, beta])


def _subject_log_target(
    subject: Subject, theta: FloatArray, points: FloatArray, shift: float
) -> FloatArray:
    """Log posterior (S, steps) of (log alpha, y), the drift integrated out, up to a constant."""
    m_nu, s_nu, m_a, s_a, m_t, s_t, beta = theta.T[:, :, None]
    log_alpha, y = points[..., 0], points[..., 1]
    t0 = subject.first / (1.0 + np.exp(-y))
    total = -0.5 * ((log_alpha - m_a) / s_a) ** 2 - 0.5 * ((np.log(t0) - m_t) / s_t) ** 2
    total -= np.logaddexp(0.0, y)
    _add_driftless(total, subject, log_alpha, t0, beta, shift)
    slope, b = _slope_and_sum(subject, log_alpha, t0, beta, shift)
    dispersion = 1.0 + s_nu**2 * b
    gain = slope**2 * s_nu**2 + 2.0 * slope * m_nu - b * m_nu**2
    log_p: FloatArray = total + 0.5 * gain / dispersion - 0.5 * np.log(dispersion)
    return log_p


def _add_driftless(
    total: FloatArray,
    subject: Subject,
    log_alpha: FloatArray,
    t0: FloatArray,
    beta: FloatArray,
    shift: float,
) -> None:
    """Add the log density of all trials without drift."""
    a = np.exp(log_alpha) + 2.0 * shift
    w = (np.exp(log_alpha) * beta + shift) / a
    for choice, times in enumerate((subject.lower, subject.upper)):
        for rt in times:
            total += _log_density(rt, float(choice), 0.0, a, t0, w)


def _pair_log_target(
    pair: Pair, theta: FloatArray, changes: FloatArray, points: FloatArray, shift: float
) -> FloatArray:
    """Log posterior (S, steps) of (log alpha, its change, y), drift rates integrated out."""
    _, _, m_a, s_a, m_t, s_t, beta = theta.T[:, :, None]
    log_alpha, change, y = np.moveaxis(points, -1, 0)
    m_c, s_c = changes[:, 0, 1, None], np.exp(changes[:, 1, 1, None])
    t0 = pair.first / (1.0 + np.exp(-y))
    total = -0.5 * ((log_alpha - m_a) / s_a) ** 2 - 0.5 * ((change - m_c) / s_c) ** 2
    total -= 0.5 * ((np.log(t0) - m_t) / s_t) ** 2 + np.logaddexp(0.0, y)
    for part, code in zip(pair, CONDITIONS, strict=True):
        _add_driftless(total, part, log_alpha + code * change, t0, beta, shift)
    log_p: FloatArray = total + _two_drifts(pair, theta, changes, points, shift)[0]
    return log_p


def _two_drifts(
    pair: Pair, theta: FloatArray, changes: FloatArray, points: FloatArray, shift: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Integrate out the drift rate and its change: log integral (S, steps); mean, covariance."""
    log_alpha, change, y = np.moveaxis(points, -1, 0)
    t0, beta = pair.first / (1.0 + np.exp(-y)), theta[:, START, None]
    prior_mean = np.stack([theta[:, 0], changes[:, 0, 0]], axis=-1)[:, None]
    variance = np.stack([theta[:, 1], np.exp(changes[:, 1, 0])], axis=-1)[:, None] ** 2
    slope, b = np.zeros((*y.shape, 2)), np.zeros((*y.shape, 2, 2))
    for part, code in zip(pair, CONDITIONS, strict=True):
        x = np.array([1.0, code])
        own = _slope_and_sum(part, log_alpha + code * change, t0, beta, shift)
        slope += own[0][..., None] * x
        b += own[1][..., None, None] * np.outer(x, x)
    inverse = np.linalg.inv(np.eye(2) + b * variance[..., None, :])
    covariance = variance[..., None] * inverse
    shrunk = np.einsum("...ij,...i->...j", inverse, prior_mean)
    mean = np.einsum("...ij,...j->...i", covariance, slope) + shrunk
    log_p = 0.5 * (slope * (mean + shrunk)).sum(axis=-1) + 0.5 * np.log(np.linalg.det(inverse))
    log_p -= 0.5 * np.einsum("...i,...ij,...j->...", shrunk, b, prior_mean)
    return log_p, mean, covariance


def _slope_and_sum(
    subject: Subject, log_alpha: FloatArray, t0: FloatArray, beta: FloatArray, shift: float
) -> tuple[FloatArray, FloatArray]:
    """The A and B of the drift's likelihood exp(A nu - B nu^2 / 2)."""
    n0, n1, total = subject.statistics
    slope = np.exp(log_alpha) * (n1 - (n0 + n1) * beta) + shift * (n1 - n0)
    return slope, total - (n0 + n1) * t0


def _independence_chain(log_ratio: FloatArray, log_uniforms: FloatArray) -> NDArray[np.int64]:
    """Index of the last state of each row's independence Metropolis chain."""
    rows = np.arange(len(log_ratio))
    state = np.zeros(len(log_ratio), dtype=np.int64)
    for i in range(1, log_ratio.shape[1]):
        accept = log_uniforms[:, i] < log_ratio[:, i] - log_ratio[rows, state]
        state = np.where(accept, i, state)
    return state
