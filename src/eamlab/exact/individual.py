"""The exact posterior of one subject, given group parameters.

The drift is normal given the rest. For (log alpha, t0) the quadrature's own nodes make a proposal
that an independence chain corrects.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from eamlab.density import FloatArray, _log_density
from eamlab.exact.marginal import Tables, propose_subject
from eamlab.exact.study import Subject
from eamlab.exact.tables import Domain, build_tables
from eamlab.priors import beta_from_raw

__all__ = ["draw_subject"]

# Steps of the independence chain behind each draw; the proposal is so close to the target that
# what is left of the start after these is below 1e-6.
_SUBJECT_STEPS = 40


def draw_subject(
    subject: Subject, etas: FloatArray, shift: float, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Draw ``nu``, ``alpha`` and ``t0`` (S,) of the subject, once for each row of etas (S, 7)."""
    tables = build_tables([subject], Domain.prior(), shift, False)
    theta = _checked_theta(etas, tables)
    uniforms = rng.random((len(etas), _SUBJECT_STEPS))
    noise = rng.standard_normal((len(etas), _SUBJECT_STEPS, 2))
    points, log_q = propose_subject(theta, tables, math.log(subject.first), uniforms, noise)
    log_p = _subject_log_target(subject, theta, points, shift)
    chosen = _independence_chain(log_p - log_q, np.log(rng.random(log_q.shape)))
    log_alpha, y = points[np.arange(len(etas)), chosen].T
    t0 = subject.first / (1.0 + np.exp(-y))
    mode, sd = _drift_moments(subject, theta, log_alpha, t0, shift)
    nu = mode + sd * rng.standard_normal(len(etas))
    return {"nu": nu, "alpha": np.exp(log_alpha), "t0": t0}


def _checked_theta(etas: FloatArray, tables: Tables) -> FloatArray:
    """(mean, sd) pairs and beta (S, 7), after a check of beta's range."""
    sds = np.exp(etas[:, 3:6])
    beta = beta_from_raw(etas[:, 6])
    mid, half = tables.beta_range
    if (np.abs(beta - mid) > half).any() or not (np.isfinite(sds) & (sds > 0.0)).all():
        raise ValueError(
            "group: |beta_raw| must be below 5 and every exp(log_sigma) a positive number; got "
            f"beta_raw up to {np.abs(etas[:, 6]).max():.2f} and log sigmas in "
            f"[{etas[:, 3:6].min():.1f}, {etas[:, 3:6].max():.1f}]."
        )
    pairs = [etas[:, 0], sds[:, 0], etas[:, 1], sds[:, 1], etas[:, 2], sds[:, 2], beta]
    return np.stack(pairs, axis=1)


def _subject_log_target(
    subject: Subject, theta: FloatArray, points: FloatArray, shift: float
) -> FloatArray:
    """Log posterior (S, steps) of (log alpha, y), the drift integrated out, up to a constant."""
    m_nu, s_nu, m_a, s_a, m_t, s_t, beta = theta.T[:, :, None]
    log_alpha, y = points[..., 0], points[..., 1]
    t0 = subject.first / (1.0 + np.exp(-y))
    a = np.exp(log_alpha) + 2.0 * shift
    w = (np.exp(log_alpha) * beta + shift) / a
    total = -0.5 * ((log_alpha - m_a) / s_a) ** 2 - 0.5 * ((np.log(t0) - m_t) / s_t) ** 2
    total -= np.logaddexp(0.0, y)
    for choice, times in enumerate((subject.lower, subject.upper)):
        for rt in times:
            total += _log_density(rt, float(choice), 0.0, a, t0, w)
    slope, b = _slope_and_sum(subject, log_alpha, t0, beta, shift)
    dispersion = 1.0 + s_nu**2 * b
    gain = slope**2 * s_nu**2 + 2.0 * slope * m_nu - b * m_nu**2
    log_p: FloatArray = total + 0.5 * gain / dispersion - 0.5 * np.log(dispersion)
    return log_p


def _slope_and_sum(
    subject: Subject, log_alpha: FloatArray, t0: FloatArray, beta: FloatArray, shift: float
) -> tuple[FloatArray, FloatArray]:
    """The A and B of the drift's likelihood exp(A nu - B nu^2 / 2)."""
    n0, n1, total = subject.statistics
    slope = np.exp(log_alpha) * (n1 - (n0 + n1) * beta) + shift * (n1 - n0)
    return slope, total - (n0 + n1) * t0


def _drift_moments(
    subject: Subject, theta: FloatArray, log_alpha: FloatArray, t0: FloatArray, shift: float
) -> tuple[FloatArray, FloatArray]:
    """Mean and sd of the drift given everything else: it is normal."""
    slope, b = _slope_and_sum(subject, log_alpha, t0, theta[:, 6], shift)
    precision = b + theta[:, 1] ** -2.0
    return (slope + theta[:, 0] * theta[:, 1] ** -2.0) / precision, precision**-0.5


def _independence_chain(log_ratio: FloatArray, log_uniforms: FloatArray) -> NDArray[np.int64]:
    """Index of the last state of each row's independence Metropolis chain."""
    rows = np.arange(len(log_ratio))
    state = np.zeros(len(log_ratio), dtype=np.int64)
    for i in range(1, log_ratio.shape[1]):
        accept = log_uniforms[:, i] < log_ratio[:, i] - log_ratio[rows, state]
        state = np.where(accept, i, state)
    return state
