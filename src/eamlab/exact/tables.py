"""Tables: what the quadrature of `eamlab.exact.marginal` keeps of each subject.

Each subject gets its table once: the driftless log likelihood on a few nodes in ``t0`` and as a
Chebyshev polynomial in (log alpha, beta), on a window that a coarse pilot grid has found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eamlab.density import FloatArray, log_f0_grid
from eamlab.exact.marginal import Tables
from eamlab.exact.study import Subject, offsets
from eamlab.parallel import threaded
from eamlab.priors import beta_from_raw

__all__ = ["Domain", "build_tables"]

# Spacing of the t0 nodes in units of the narrowest conditional sd; see `_t0_nodes`.
_T0_STEP = 1.15
# Log density, relative to its maximum, at which a subject's window ends.
_WINDOW_CUT = 15.0
_TIED_SD = 0.1
_DEGREE_DIGITS = 13.0
_PILOT_SHAPE = (16, 14)  # nodes in logit(t0 / min rt) and in log alpha


@dataclass(frozen=True)
class Domain:
    """Region of group parameters for which tables must be right.

    ``mean`` and ``sd`` describe broad normal distributions of (log alpha, log t0, nu) over
    subjects; tables cover what is plausible under these and the subject's data.
    """

    beta: tuple[float, float]
    mean: tuple[float, float, float]
    sd: tuple[float, float, float]
    narrowest_t0: float
    n_beta: int

    @property
    def beta_range(self) -> tuple[float, float]:
        """Midpoint and half width in beta."""
        return 0.5 * sum(self.beta), 0.5 * (self.beta[1] - self.beta[0])

    @classmethod
    def prior(cls) -> Domain:
        """Everything that the prior of the group parameters can produce."""
        beta = beta_from_raw(np.array([-5.0, 5.0]))
        return cls((float(beta[0]), float(beta[1])), (0.0, -1.0, 0.5), (0.9, 0.6, 6.0), 0.15, 8)

    @classmethod
    def around(cls, mean: FloatArray, sd: FloatArray) -> Domain:
        """What is plausible when the group parameters are known up to ``mean`` +- ``sd``."""
        beta = beta_from_raw(np.clip(mean[6] + np.array([-6.0, 6.0]) * sd[6], -6.0, 6.0))
        wide = np.exp(mean[[4, 5, 3]] + 4.0 * sd[[4, 5, 3]]) + 4.0 * sd[[1, 2, 0]]
        spread = np.minimum(wide, (0.9, 0.6, 6.0))
        n_beta = 4 + int(np.ceil(11.0 * (beta[1] - beta[0])))
        narrowest = float(np.exp(mean[5] - 4.0 * sd[5]))
        center = tuple(mean[[1, 2, 0]].tolist())
        return cls((beta[0], beta[1]), center, tuple(spread), narrowest, min(n_beta, 8))


# --------------------------------------------------------------------------------------------------
# The pilot: where a subject's likelihood lies
# --------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _drift_terms(
    log_alpha: float, t0: float, beta: float, shift: float, n0: float, n1: float, total: float
) -> tuple[float, float]:
    """The A and B of exp(A nu - B nu^2 / 2), the drift's part of a subject's likelihood."""
    slope = math.exp(log_alpha) * (n1 - (n0 + n1) * beta) + shift * (n1 - n0)
    return slope, total - (n0 + n1) * t0


@njit(cache=True, nogil=True)
def _pilot_log_density(
    values: FloatArray,
    y: FloatArray,
    first: float,
    log_alpha: FloatArray,
    beta: FloatArray,
    shift: float,
    stats: tuple[float, float, float],
    mean: tuple[float, float, float],
    sd: tuple[float, float, float],
) -> tuple[FloatArray, FloatArray]:
    """Log posterior under broad normal subject priors, and conditional moments of the drift."""
    n0, n1, total = stats
    n = n0 + n1
    out = np.empty(values.shape)
    drift = np.empty((2,) + values.shape)
    for k in range(y.size):
        p = 1.0 / (1.0 + math.exp(-y[k]))
        t0 = first * p
        prior_t = -0.5 * ((math.log(t0) - mean[1]) / sd[1]) ** 2 + math.log(1.0 - p)
        for i in range(log_alpha.size):
            alpha = math.exp(log_alpha[i])
            prior = prior_t - 0.5 * ((log_alpha[i] - mean[0]) / sd[0]) ** 2
            for m in range(beta.size):
                a, b = _drift_terms(log_alpha[i], t0, beta[m], shift, n0, n1, total)
                tau = b + 1.0 / sd[2] ** 2
                mode = (a + mean[2] / sd[2] ** 2) / tau
                w = (alpha * beta[m] + shift) / (alpha + 2.0 * shift)
                drift[0, k, m, i] = mode
                drift[1, k, m, i] = 1.0 / tau
                out[k, m, i] = (
                    values[k, m, i]
                    + n * math.log(math.sin(math.pi * w))
                    + prior
                    + 0.5 * tau * mode * mode
                    - 0.5 * math.log(tau)
                )
    for m in range(beta.size):
        out[:, m] -= out[:, m].max()
    return out, drift


@njit(cache=True, nogil=True)
def _pilot_window(
    log_p: FloatArray, y: FloatArray, log_alpha: FloatArray, typical: float, cut: float
) -> tuple[float, float, float, float]:
    """Smallest window that holds every grid point above the cut, plus one step on each side.

    Above the cut under the broad subject prior, or under one that ties log alpha to `typical`:
    where populations without spread pull an odd subject along the ridge in (log alpha, t0).
    """
    tied = log_p - 0.5 * ((log_alpha - typical) / _TIED_SD) ** 2
    low_k, high_k, low_i, high_i = y.size, -1, log_alpha.size, -1
    for m in range(log_p.shape[1]):
        top = tied[:, m].max()
        for k in range(y.size):
            for i in range(log_alpha.size):
                if log_p[k, m, i] > -cut or tied[k, m, i] - top > -cut:
                    low_k, high_k = min(low_k, k), max(high_k, k)
                    low_i, high_i = min(low_i, i), max(high_i, i)
    low_k, high_k = max(low_k - 1, 0), min(high_k + 1, y.size - 1)
    low_i, high_i = max(low_i - 1, 0), min(high_i + 1, log_alpha.size - 1)
    return y[low_k], y[high_k], log_alpha[low_i], log_alpha[high_i]


@njit(cache=True, nogil=True)
def _pilot_moments(
    log_p: FloatArray, drift: FloatArray, y: FloatArray, first: float, log_alpha: FloatArray, m: int
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of (log alpha, log t0, nu, y) at beta node m."""
    mean = np.zeros(4)
    second = np.zeros((4, 4))
    point = np.empty(4)
    total = 0.0
    for k in range(y.size):
        point[1] = math.log(first) - math.log1p(math.exp(-y[k]))
        point[3] = y[k]
        for i in range(log_alpha.size):
            weight = math.exp(log_p[k, m, i])
            point[0], point[2] = log_alpha[i], drift[0, k, m, i]
            total += weight
            for r in range(4):
                mean[r] += weight * point[r]
                for c in range(4):
                    second[r, c] += weight * point[r] * point[c]
            second[2, 2] += weight * drift[1, k, m, i]
    mean /= total
    second /= total
    return mean, second - np.outer(mean, mean)


def _pilot(subject: Subject, domain: Domain, shift: float) -> tuple[FloatArray, ...]:
    """Find a subject's window and the normal approximation of its likelihood.

    Returns
    -------
    window : ndarray (4,), in y = logit(t0 / min rt) and log alpha
    means : ndarray (3, 4), of (log alpha, log t0, nu, y) at three values of beta
    covariance : ndarray (4, 4), at the middle one
    """
    first = subject.first
    window = _first_window(first, domain)
    betas = np.linspace(*domain.beta, 3)
    args = (shift, subject.statistics, domain.mean, domain.sd)
    for attempt in range(12):
        y = np.linspace(window[0], window[1], _PILOT_SHAPE[0])
        log_alpha = np.linspace(window[2], window[3], _PILOT_SHAPE[1])
        beta = betas[1:2] if attempt == 0 else betas
        t0 = first / (1.0 + np.exp(-y))
        values = log_f0_grid(subject.lower, subject.upper, t0, np.exp(log_alpha), beta, shift)
        log_p, drift = _pilot_log_density(values, y, first, log_alpha, beta, *args)
        old, window = window, _pilot_window(log_p, y, log_alpha, domain.mean[0], _WINDOW_CUT)
        shrunk = (window[1] - window[0]) * (window[3] - window[2])
        if attempt > 0 and shrunk > 0.6 * (old[1] - old[0]) * (old[3] - old[2]):
            break
    moments = [_pilot_moments(log_p, drift, y, first, log_alpha, m) for m in range(3)]
    return np.array(window), np.stack([m[0] for m in moments]), moments[1][1]


def _first_window(first: float, domain: Domain) -> tuple[float, float, float, float]:
    """Start window: t0 from far below its prior up to 0.01 ms before the fastest response."""
    lowest = min(domain.mean[1] - 7.0 * domain.sd[1], math.log(first) - 3.0)
    y_low = lowest - math.log(first) - math.log1p(-math.exp(lowest - math.log(first)))
    gap = min(1e-5, 2e-4 * first)
    y_high = math.log((first - gap) / gap)
    reach = 4.5 * domain.sd[0]
    return y_low, y_high, domain.mean[0] - reach, domain.mean[0] + reach


# --------------------------------------------------------------------------------------------------
# The table
# --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _chebyshev(n: int) -> tuple[FloatArray, FloatArray]:
    """Chebyshev points on [-1, 1] and the matrix from values there to coefficients."""
    angles = np.pi * (np.arange(n) + 0.5) / n
    matrix = 2.0 / n * np.cos(np.outer(np.arange(n), angles))
    matrix[0] *= 0.5
    return np.cos(angles), matrix


def _alpha_degree(half_width: float) -> int:
    """Number of coefficients in log alpha for about 1e-5 absolute error at the window's edge."""
    # Zeros of the theta function lie about 0.7 off the real axis of log alpha.
    distance = 0.7 / half_width
    return int(np.clip(np.ceil(_DEGREE_DIGITS / np.log(distance + np.hypot(distance, 1.0))), 8, 80))


def _t0_nodes(window: FloatArray, mean: FloatArray, cov: FloatArray, domain: Domain) -> FloatArray:
    """Equidistant nodes in y = logit(t0 / min rt), fine enough for the narrowest integrand."""
    given_rest = np.linalg.pinv(cov[np.ix_([0, 2, 3], [0, 2, 3])])[2, 2]
    slope = 1.0 / (1.0 + np.exp(mean[3] - 2.0 * np.sqrt(cov[3, 3])))
    step = _T0_STEP / np.sqrt(given_rest + (slope / domain.narrowest_t0) ** 2)
    count = int(np.clip(np.ceil((window[1] - window[0]) / step), 7, 120))
    return np.linspace(window[0], window[1], count + 1)


def _widened(window: FloatArray, first: float, domain: Domain) -> FloatArray:
    """Window that also reaches the population's center.

    There the integrand of an odd subject lies when the group parameters allow no spread.
    """
    y_low, y_high, low, high = window
    typical = math.exp(domain.mean[1] - 0.3) / first
    if typical < 0.99:
        y_low = min(y_low, math.log(typical / (1.0 - typical)))
    # One unit closer to the fastest response, for other values of beta and of the drift.
    y_high += 1.0
    return np.array(
        [y_low, y_high, min(low, domain.mean[0] - 0.1), max(high, domain.mean[0] + 0.1)]
    )


def _tabulate(subject: Subject, domain: Domain, shift: float) -> dict[str, Any]:
    """Table of one subject; the keys are fields of `Tables`."""
    pilot, means, cov = _pilot(subject, domain, shift)
    window = _widened(pilot, subject.first, domain)
    y = _t0_nodes(window, means[1], cov, domain)
    log_p = -np.logaddexp(0.0, -y)
    log_t0 = np.log(subject.first) + log_p
    low, high = window[2:]
    degree = _alpha_degree(0.5 * (high - low))
    points, to_alpha = _chebyshev(degree)
    beta_points, to_beta = _chebyshev(domain.n_beta)
    mid, half = 0.5 * (high + low), 0.5 * (high - low)
    beta_mid, beta_half = domain.beta_range
    alpha, beta = np.exp(mid + half * points), beta_mid + beta_half * beta_points
    values = log_f0_grid(subject.lower, subject.upper, np.exp(log_t0), alpha, beta, shift)
    center = np.concatenate([means[1, :3], (means[2, :3] - means[0, :3]) / (2.0 * beta_half)])
    n0, n1, total = subject.statistics
    return {
        "log_t0": log_t0,
        "log_weight": np.log(y[1] - y[0]) - np.logaddexp(0.0, y),
        "decision_sum": total - (n0 + n1) * np.exp(log_t0),
        "coef": _padded(np.matmul(to_beta, values @ to_alpha.T)),
        "degree": degree,
        "window": (mid, half),
        "counts": (n0, n1),
        **_likelihood_normal(center, cov[:3, :3], domain),
    }


def _padded(coef: FloatArray) -> FloatArray:
    """Coefficients (K, M, D) laid out flat as (M, K, D + 3).

    The three further columns are filled with the other terms of the log integrand at each
    evaluation, so that one matrix product adds up all of it.
    """
    return np.pad(coef.transpose(1, 0, 2), ((0, 0), (0, 0), (0, 3))).ravel()


def _likelihood_normal(center: FloatArray, cov: FloatArray, domain: Domain) -> dict[str, Any]:
    """Normal approximation of the likelihood: the pilot's posterior less its broad prior."""
    ridge = 1e-9 * np.diag(np.asarray(domain.sd) ** 2)
    posterior = np.linalg.inv(cov + ridge)
    prior = np.asarray(domain.sd) ** -2.0
    values, vectors = np.linalg.eigh((posterior - np.diag(prior)) * np.outer(domain.sd, domain.sd))
    scaled = (vectors * np.maximum(values, 0.0)) @ vectors.T
    precision = scaled / np.outer(domain.sd, domain.sd)
    return {"precision": precision, "center": center}


def build_tables(
    subjects: Sequence[Subject], domain: Domain, shift: float, progress: bool | None
) -> Tables:
    """Tables of all subjects, in threads."""

    def part(indices: NDArray[np.int64]) -> list[dict[str, Any]]:
        return [_tabulate(subjects[j], domain, shift) for j in indices]

    chunks = np.array_split(np.arange(len(subjects)), max(1, len(subjects) // 50))
    rows = [row for rows in threaded(part, chunks, "tables", progress) for row in rows]
    flat = {k: np.concatenate([r[k] for r in rows]) for k in _FLAT_FIELDS}
    stacked = {k: np.array([r[k] for r in rows]) for k in _STACKED_FIELDS}
    return Tables(
        node_start=offsets([r["log_t0"].size for r in rows]),
        coef_start=offsets([r["coef"].size for r in rows]),
        beta_range=np.array(domain.beta_range),
        shift=shift,
        n_beta=domain.n_beta,
        **flat,
        **stacked,
    )


_FLAT_FIELDS = ("log_t0", "log_weight", "decision_sum", "coef")
_STACKED_FIELDS = ("degree", "window", "counts", "center", "precision")
