r"""The exact posterior of the group parameters: the answer key for every composed posterior.

The likelihood of a study is a product over subjects of a three-dimensional integral. The drift
integrates in closed form. For the other two, each subject gets a *table* once: the driftless log
likelihood on a few nodes in ``t0`` and as a Chebyshev polynomial in (log alpha, beta). After that,
one evaluation of the marginal likelihood costs a few microseconds per subject:

.. math::

    p(Y_j \mid \eta) = \iint N(\log\alpha; \mu_a, \sigma_a^2)\, N(\log t_0; \mu_t, \sigma_t^2)\,
    e^{F_j(\log\alpha, t_0, \beta)} \int N(\nu; \mu_\nu, \sigma_\nu^2)\, e^{A\nu - B\nu^2/2}\,
    d\nu \; d\log\alpha \; d\log t_0

with :math:`A = \alpha (n_1 - n\beta)` and :math:`B = \sum_i t_i - n t_0`. Both outer integrals are
trapezoid sums, which converge exponentially for smooth integrands; the nodes in log alpha move with
the group parameters, the nodes in t0 stay.

Small studies are sampled by adaptive Metropolis on this marginal posterior, large ones by
importance sampling around its mode. `joint_posterior` is an independent check: it samples group and
subject parameters together and shares none of this machinery.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from tqdm.auto import tqdm

from eamlab.density import _log_density, _log_density_scalar, log_f0_grid
from eamlab.priors import GROUP_PRIOR, beta_from_raw
from eamlab.simulate import BOUNDARY_SHIFT

FloatArray = NDArray[np.float64]

__all__ = [
    "ExactPosterior",
    "JointPosterior",
    "ReferenceWarning",
    "exact_posterior",
    "joint_posterior",
    "log_likelihood",
    "subject_posterior",
]


class ReferenceWarning(UserWarning):
    """The exact posterior's own diagnostics failed: do not use it as an answer key unseen."""


# --------------------------------------------------------------------------------------------------
# Tables: what the quadrature keeps of each subject
# --------------------------------------------------------------------------------------------------

# Trapezoid nodes in log alpha, at these multiples of the approximate posterior sd.
_N_ALPHA = 12
_ALPHA_STEP = 0.88
# Spacing of the t0 nodes in units of the narrowest conditional sd; see `_t0_nodes`.
_T0_STEP = 1.15
# Log density, relative to its maximum, at which a subject's window ends.
_WINDOW_CUT = 15.0
_TIED_SD = 0.1
_DEGREE_DIGITS = 13.0
_PILOT_SHAPE = (16, 14)  # nodes in logit(t0 / min rt) and in log alpha


class _Subject(NamedTuple):
    """One subject's trials: response times by choice."""

    lower: FloatArray
    upper: FloatArray

    @property
    def first(self) -> float:
        """Fastest response time."""
        return min(self.lower.min(initial=np.inf), self.upper.min(initial=np.inf))

    @property
    def statistics(self) -> tuple[float, float, float]:
        """Number of lower and of upper choices, and the sum of all response times."""
        return self.lower.size, self.upper.size, self.lower.sum() + self.upper.sum()


@dataclass(frozen=True)
class _Domain:
    """Region of group parameters for which tables must be right.

    ``mean`` and ``sd`` describe broad normal distributions of (log alpha, log t0, nu) over
    subjects; tables cover what is plausible under these and the subject's data.
    """

    beta: tuple[float, float]
    mean: tuple[float, float, float]
    sd: tuple[float, float, float]
    narrowest_t0: float
    n_beta: int

    @classmethod
    def prior(cls) -> _Domain:
        """Everything that the prior of the group parameters can produce."""
        beta = beta_from_raw(np.array([-5.0, 5.0]))
        return cls((float(beta[0]), float(beta[1])), (0.0, -1.0, 0.5), (0.9, 0.6, 6.0), 0.15, 8)

    @classmethod
    def around(cls, mean: FloatArray, sd: FloatArray) -> _Domain:
        """What is plausible when the group parameters are known up to ``mean`` +- ``sd``."""
        beta = beta_from_raw(np.clip(mean[6] + np.array([-6.0, 6.0]) * sd[6], -6.0, 6.0))
        wide = np.exp(mean[[4, 5, 3]] + 4.0 * sd[[4, 5, 3]]) + 4.0 * sd[[1, 2, 0]]
        spread = np.minimum(wide, (0.9, 0.6, 6.0))
        n_beta = 4 + int(np.ceil(11.0 * (beta[1] - beta[0])))
        narrowest = float(np.exp(mean[5] - 4.0 * sd[5]))
        center = tuple(mean[[1, 2, 0]].tolist())
        return cls((beta[0], beta[1]), center, tuple(spread), narrowest, min(n_beta, 8))


class _Tables(NamedTuple):
    """Tables of all subjects, end to end: J subjects, M coefficients in beta, K nodes in t0."""

    node_start: NDArray[np.int64]  # (J + 1,) first t0 node of each subject
    coef_start: NDArray[np.int64]  # (J + 1,) first coefficient of each subject
    degree: NDArray[np.int64]  # (J,) D, the number of coefficients in log alpha
    log_t0: FloatArray  # (nodes,)
    log_weight: FloatArray  # (nodes,) log of the trapezoid weight in log t0
    decision_sum: FloatArray  # (nodes,) B, the summed decision times at this t0
    coef: FloatArray  # flat (M, K, D + 3) Chebyshev coefficients; see `_padded`
    window: FloatArray  # (J, 2) midpoint and half width in log alpha
    counts: FloatArray  # (J, 2) numbers of lower and upper choices
    center: FloatArray  # (J, 6) likelihood mode in (log alpha, log t0, nu) and its slope in beta
    precision: FloatArray  # (J, 3, 3) of the likelihood in these
    beta_range: FloatArray  # (2,) midpoint and half width
    shift: float  # outward shift of both bounds
    n_beta: int


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


def _pilot(subject: _Subject, domain: _Domain, shift: float) -> tuple[FloatArray, ...]:
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


def _first_window(first: float, domain: _Domain) -> tuple[float, float, float, float]:
    """Start window: t0 from far below its prior up to 0.01 ms before the fastest response."""
    lowest = min(domain.mean[1] - 7.0 * domain.sd[1], math.log(first) - 3.0)
    y_low = lowest - math.log(first) - math.log1p(-math.exp(lowest - math.log(first)))
    gap = min(1e-5, 2e-4 * first)
    y_high = math.log((first - gap) / gap)
    reach = 4.5 * domain.sd[0]
    return y_low, y_high, domain.mean[0] - reach, domain.mean[0] + reach


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


def _t0_nodes(window: FloatArray, mean: FloatArray, cov: FloatArray, domain: _Domain) -> FloatArray:
    """Equidistant nodes in y = logit(t0 / min rt), fine enough for the narrowest integrand."""
    given_rest = np.linalg.pinv(cov[np.ix_([0, 2, 3], [0, 2, 3])])[2, 2]
    slope = 1.0 / (1.0 + np.exp(mean[3] - 2.0 * np.sqrt(cov[3, 3])))
    step = _T0_STEP / np.sqrt(given_rest + (slope / domain.narrowest_t0) ** 2)
    count = int(np.clip(np.ceil((window[1] - window[0]) / step), 7, 120))
    return np.linspace(window[0], window[1], count + 1)


def _widened(window: FloatArray, first: float, domain: _Domain) -> FloatArray:
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


def _tabulate(subject: _Subject, domain: _Domain, shift: float) -> dict[str, Any]:
    """Table of one subject; the keys are fields of `_Tables`."""
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
    beta_mid, beta_half = 0.5 * sum(domain.beta), 0.5 * (domain.beta[1] - domain.beta[0])
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


def _likelihood_normal(center: FloatArray, cov: FloatArray, domain: _Domain) -> dict[str, Any]:
    """Normal approximation of the likelihood: the pilot's posterior less its broad prior."""
    ridge = 1e-9 * np.diag(np.asarray(domain.sd) ** 2)
    posterior = np.linalg.inv(cov + ridge)
    prior = np.asarray(domain.sd) ** -2.0
    values, vectors = np.linalg.eigh((posterior - np.diag(prior)) * np.outer(domain.sd, domain.sd))
    scaled = (vectors * np.maximum(values, 0.0)) @ vectors.T
    precision = scaled / np.outer(domain.sd, domain.sd)
    return {"precision": precision, "center": center}


def _build_tables(
    subjects: Sequence[_Subject], domain: _Domain, shift: float, progress: bool | None
) -> _Tables:
    """Tables of all subjects, in threads."""

    def part(indices: NDArray[np.int64]) -> list[dict[str, Any]]:
        return [_tabulate(subjects[j], domain, shift) for j in indices]

    chunks = np.array_split(np.arange(len(subjects)), max(1, len(subjects) // 50))
    rows = [row for rows in _threaded(part, chunks, "tables", progress) for row in rows]
    beta_mid, beta_half = 0.5 * sum(domain.beta), 0.5 * (domain.beta[1] - domain.beta[0])
    flat = {k: np.concatenate([r[k] for r in rows]) for k in _FLAT_FIELDS}
    stacked = {k: np.array([r[k] for r in rows]) for k in _STACKED_FIELDS}
    return _Tables(
        node_start=_starts([r["log_t0"].size for r in rows]),
        coef_start=_starts([r["coef"].size for r in rows]),
        beta_range=np.array([beta_mid, beta_half]),
        shift=shift,
        n_beta=domain.n_beta,
        **flat,
        **stacked,
    )


_FLAT_FIELDS = ("log_t0", "log_weight", "decision_sum", "coef")
_STACKED_FIELDS = ("degree", "window", "counts", "center", "precision")


def _starts(sizes: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _threads() -> int:
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def _threaded(
    work: Callable[[Any], Any], items: Iterable[Any], label: str, progress: bool | None
) -> list[Any]:
    """Map work over items in threads, in order; a bar appears when it takes above two seconds."""
    items = list(items)
    bar = tqdm(total=len(items), desc=label, delay=2.0, disable=progress is False, leave=False)
    with ThreadPoolExecutor(_threads()) as pool, bar:
        results = []
        for result in pool.map(work, items):
            results.append(result)
            bar.update()
    return results


# --------------------------------------------------------------------------------------------------
# The marginal likelihood
# --------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _alpha_normal(j: int, theta: FloatArray, tables: _Tables) -> tuple[float, float]:
    """Mean and sd of log alpha, given group parameters, in the normal approximation."""
    offset = theta[6] - tables.beta_range[0]
    p = tables.precision[j].copy()
    h = np.zeros(3)
    for r in range(3):
        for c in range(3):
            h[r] += p[r, c] * (tables.center[j, c] + offset * tables.center[j, 3 + c])
    # theta holds (mean, sd) of the drift, log alpha, log t0; the table has log alpha first.
    for r, i in enumerate((2, 4, 0)):
        p[r, r] += theta[i + 1] ** -2.0
        h[r] += theta[i] * theta[i + 1] ** -2.0
    det = p[1, 1] * p[2, 2] - p[1, 2] ** 2
    w1 = (p[2, 2] * p[0, 1] - p[1, 2] * p[0, 2]) / det
    w2 = (p[1, 1] * p[0, 2] - p[1, 2] * p[0, 1]) / det
    precision = p[0, 0] - w1 * p[0, 1] - w2 * p[0, 2]
    return (h[0] - w1 * h[1] - w2 * h[2]) / precision, 1.0 / math.sqrt(precision)


@njit(cache=True, nogil=True)
def _chebyshev_row(x: float, out: FloatArray) -> None:
    """Chebyshev polynomials at x."""
    out[0] = 1.0
    out[1] = x
    for i in range(2, out.size):
        out[i] = 2.0 * x * out[i - 1] - out[i - 2]


@njit(cache=True, nogil=True)
def _alpha_grid(j: int, theta: FloatArray, tables: _Tables, work: _Work) -> tuple[int, int, float]:
    """Place the nodes in log alpha and fill what depends on these alone.

    Returns the range of the nodes inside the window, and their distance.
    """
    n0, n1 = tables.counts[j]
    m_nu, s_nu, m_a, s_a, m_t, s_t, beta = theta
    mid, half = tables.window[j]
    degree = tables.degree[j]
    shift = tables.shift
    center, sd = _alpha_normal(j, theta, tables)
    step = sd * _ALPHA_STEP
    scale = math.log(2.0 * math.pi * s_a * s_t)
    pole = (n0 + n1) * math.log(math.sin(math.pi * beta))
    first, last = _N_ALPHA, 0
    for g in range(_N_ALPHA):
        x = center + step * (g - 0.5 * (_N_ALPHA - 1))
        work.log_alpha[g] = x
        z = (x - mid) / half
        # Nodes outside the window are dropped: the polynomial may be anything there.
        if abs(z) > 1.0:
            work.basis[: degree + 3, g] = 0.0
            work.basis[degree + 1, g] = -1e300
            continue
        first, last = min(first, g), max(last, g + 1)
        _chebyshev_row(z, work.basis[:degree, g])
        alpha = math.exp(x)
        if shift > 0.0:
            w = (alpha * beta + shift) / (alpha + 2.0 * shift)
            pole = (n0 + n1) * math.log(math.sin(math.pi * w))
        slope = alpha * (n1 - (n0 + n1) * beta) + shift * (n1 - n0)
        work.basis[degree, g] = 1.0
        work.basis[degree + 1, g] = pole - 0.5 * ((x - m_a) / s_a) ** 2 - scale
        work.basis[degree + 2, g] = slope * (0.5 * slope * s_nu * s_nu + m_nu)
    return first, last, step


@njit(cache=True, nogil=True)
def _subject_log_density(
    j: int, theta: FloatArray, tables: _Tables, work: _Work
) -> tuple[int, int, float]:
    """Log integrand of subject j at its t0 nodes and at the nodes in log alpha.

    ``work.log_p`` is filled; the trapezoid weight in log t0 is part of it, the one in log alpha is
    not. Returns what `_alpha_grid` does.
    """
    m_nu, s_nu, m_a, s_a, m_t, s_t, beta = theta
    first, last, step = _alpha_grid(j, theta, tables, work)
    _chebyshev_row((beta - tables.beta_range[0]) / tables.beta_range[1], work.beta_row)
    start, stop = tables.node_start[j], tables.node_start[j + 1]
    width = tables.degree[j] + 3
    size = (stop - start) * width
    at = tables.coef_start[j]
    coef = tables.coef[at : at + tables.n_beta * size].reshape((tables.n_beta, size))
    collapsed = work.collapsed[:size]
    np.dot(work.beta_row, coef, collapsed)
    rows = collapsed.reshape((stop - start, width))
    for k in range(stop - start):
        b = tables.decision_sum[start + k]
        dispersion = 1.0 + s_nu * s_nu * b
        prior = -0.5 * ((tables.log_t0[start + k] - m_t) / s_t) ** 2
        prior += tables.log_weight[start + k]
        prior -= 0.5 * (math.log(dispersion) + b * m_nu**2 / dispersion)
        rows[k, width - 3] = prior
        rows[k, width - 2] = 1.0
        rows[k, width - 1] = 1.0 / dispersion
    np.dot(rows, work.basis[:width], work.log_p[: stop - start])
    return first, last, step


@njit(cache=True, nogil=True)
def _subject_log_likelihood(
    j: int, theta: FloatArray, tables: _Tables, work: _Work
) -> tuple[float, float]:
    """Log marginal likelihood of subject j, and the share of its integral at the window's edges."""
    n_nodes = tables.node_start[j + 1] - tables.node_start[j]
    first, last, step = _subject_log_density(j, theta, tables, work)
    if last <= first:
        return -math.inf, 1.0
    log_p = work.log_p[:n_nodes]
    top = log_p.max()
    _exp_below(log_p.reshape(-1), top)
    ends = log_p[0].sum() + log_p[-1].sum()
    if first > 0:
        ends += log_p[:, first].sum()
    if last < _N_ALPHA:
        ends += log_p[:, last - 1].sum()
    total = log_p.sum()
    return top + math.log(total * step), ends / total


@njit(cache=True, nogil=True)
def _exp_below(x: FloatArray, top: float) -> None:
    """Replace x by exp(x - top), x <= top: relative error 1e-10 near the top, constant 30 below.

    Free of branches and calls, so that the loop is vectorized: the library's exp would take a third
    of the evaluator's time.
    """
    for i in range(x.size):
        gap = x[i] - top
        y = (gap if gap > -30.0 else -30.0) * (1.0 / 64.0)
        p = 1.0 / 40320.0 + y * (1.0 / 362880.0)
        p = 1.0 / 720.0 + y * (1.0 / 5040.0 + y * p)
        p = 1.0 / 24.0 + y * (1.0 / 120.0 + y * p)
        p = 1.0 + y * (1.0 + y * (0.5 + y * (1.0 / 6.0 + y * p)))
        p *= p
        p *= p
        p *= p
        p *= p
        p *= p
        x[i] = p * p


class _Work(NamedTuple):
    """Scratch arrays of one thread."""

    log_alpha: FloatArray  # (G,) nodes
    basis: FloatArray  # (D + 3, G) Chebyshev polynomials and the other terms at the nodes
    beta_row: FloatArray  # (M,) Chebyshev polynomials at beta
    collapsed: FloatArray  # (K * (D + 3),) what multiplies the rows of `basis` at this beta
    log_p: FloatArray  # (K, G)


@njit(cache=True, nogil=True)
def _make_work(tables: _Tables) -> _Work:
    """Scratch arrays large enough for every subject."""
    longest = 1
    for j in range(tables.degree.size):
        longest = max(longest, tables.node_start[j + 1] - tables.node_start[j])
    width = tables.degree.max() + 3
    return _Work(
        np.empty(_N_ALPHA),
        np.empty((width, _N_ALPHA)),
        np.empty(tables.n_beta),
        np.empty(longest * width),
        np.empty((longest, _N_ALPHA)),
    )


@njit(cache=True, nogil=True)
def _to_theta(eta: FloatArray, beta_grid: FloatArray, theta: FloatArray) -> bool:
    """Group parameters to (mean, sd) pairs and beta; False when an sd leaves the float range."""
    for i in range(3):
        if abs(eta[3 + i]) > 50.0:
            return False
        theta[2 * i] = eta[i]
        theta[2 * i + 1] = math.exp(eta[3 + i])
    theta[6] = np.interp(eta[6], beta_grid[0], beta_grid[1])
    return True


@njit(cache=True, nogil=True)
def _log_likelihoods(
    etas: FloatArray,
    first: int,
    last: int,
    tables: _Tables,
    beta_grid: FloatArray,
    out: FloatArray,
    edges: FloatArray,
) -> None:
    """Add the log likelihood of subjects first..last to out (E,); edges (J,) keeps the maxima."""
    work = _make_work(tables)
    theta = np.empty(7)
    for e in range(etas.shape[0]):
        fits = _to_theta(etas[e], beta_grid, theta)
        # Outside its range the polynomial in beta may be anything.
        if not fits or abs(theta[6] - tables.beta_range[0]) > tables.beta_range[1]:
            out[e] = -math.inf
    for j in range(first, last):
        for e in range(etas.shape[0]):
            if out[e] > -math.inf:
                _to_theta(etas[e], beta_grid, theta)
                value, edge = _subject_log_likelihood(j, theta, tables, work)
                out[e] += value
                edges[j] = max(edges[j], edge)


@lru_cache(maxsize=1)
def _beta_grid() -> FloatArray:
    """Interpolation table of `beta_from_raw`, accurate to 2e-9."""
    raw = np.linspace(-6.5, 6.5, 8001)
    return np.stack([raw, beta_from_raw(raw)])


class _Likelihood:
    """The marginal log likelihood of a study as a function of arrays of group parameters."""

    def __init__(self, tables: _Tables, progress: bool | None = None) -> None:
        self.tables = tables
        self.n_subjects = tables.degree.size
        self.edges = np.zeros(self.n_subjects)
        self._progress = progress

    def __call__(self, etas: FloatArray, label: str = "posterior") -> FloatArray:
        """Log likelihoods (E,) at group parameters (E, 7)."""
        etas = np.ascontiguousarray(etas, dtype=np.float64)
        bounds = np.linspace(0, self.n_subjects, self._n_chunks(len(etas)) + 1).astype(int)

        def part(k: int) -> FloatArray:
            out = np.zeros(len(etas))
            span = (bounds[k], bounds[k + 1])
            _log_likelihoods(etas, *span, self.tables, _beta_grid(), out, self.edges)
            return out

        return np.sum(_threaded(part, range(len(bounds) - 1), label, self._progress), axis=0)

    def _n_chunks(self, n_etas: int) -> int:
        return int(np.clip(n_etas * self.n_subjects // 2000, 1, min(64, self.n_subjects)))

    def log_posterior(self, etas: FloatArray, label: str = "posterior") -> FloatArray:
        """Log prior plus log likelihood (E,); -inf where the evaluator's range is left."""
        value = self(etas, label) + GROUP_PRIOR.log_prob(etas)
        return np.where(np.isnan(value), -np.inf, value)


# --------------------------------------------------------------------------------------------------
# Data
# --------------------------------------------------------------------------------------------------


def _subjects(sim_data: Any) -> list[_Subject]:
    """Check one study and split each subject's response times by choice."""
    arrays = _subject_arrays(sim_data)
    trials = np.concatenate(arrays)
    owner = np.repeat(np.arange(len(arrays)), [len(a) for a in arrays])
    choice, rt = trials.T
    _forbid(~np.isin(choice, (0.0, 1.0)), owner, choice, "choices must be 0 (lower) or 1 (upper)")
    _forbid(~(np.isfinite(rt) & (rt > 0.0)), owner, rt, "response times must be finite and > 0 s")
    return [_Subject(a[a[:, 0] == 0.0, 1].copy(), a[a[:, 0] == 1.0, 1].copy()) for a in arrays]


def _subject_arrays(sim_data: Any) -> list[FloatArray]:
    if isinstance(sim_data, Mapping):
        raise ValueError("sim_data must be the trials of one study; pass study['sim_data'][0].")
    if hasattr(sim_data, "ndim") and sim_data.ndim != 3:
        raise ValueError(
            f"sim_data must hold one study, shape (J, n, 2) = (choice, rt), or be a list of "
            f"(n_j, 2) arrays; got shape {sim_data.shape}. Pass sim_data[i] for study i of several."
        )
    arrays = [np.asarray(a, dtype=np.float64) for a in sim_data]
    if not arrays:
        raise ValueError("sim_data has no subjects; give at least one.")
    wrong = [j for j, a in enumerate(arrays) if a.ndim != 2 or a.shape[1] != 2 or len(a) == 0]
    if wrong:
        raise ValueError(
            f"sim_data: each subject needs trials of shape (n_j, 2) = (choice, rt) with n_j >= 1; "
            f"subjects {wrong[:10]} have shapes {[arrays[j].shape for j in wrong[:10]]}. Drop them."
        )
    return arrays


def _forbid(
    bad: NDArray[np.bool_], owner: NDArray[np.int64], values: FloatArray, rule: str
) -> None:
    if bad.any():
        raise ValueError(
            f"sim_data: {rule}; got {np.unique(values[bad])[:5].tolist()} in "
            f"{int(bad.sum())} trials of subjects {np.unique(owner[bad])[:10].tolist()}. "
            "Remove these trials."
        )


def _shift(em_dt: float | None) -> float:
    """Outward shift of both bounds that stands for looking at a path every em_dt seconds only."""
    if em_dt is None:
        return 0.0
    if not (np.isscalar(em_dt) and 0.0 < em_dt < 0.1):
        raise ValueError(f"em_dt must be a step length in (0, 0.1) seconds or None; got {em_dt!r}.")
    return BOUNDARY_SHIFT * math.sqrt(em_dt)


# --------------------------------------------------------------------------------------------------
# Markov chains on the marginal posterior
# --------------------------------------------------------------------------------------------------

_N_CHAINS = 4
_R_HAT_LIMIT = 1.02
# Share of a subject's integral at its window's edge above which the subject is reported; the
# integral's own error is about a tenth of it.
_MOST_AT_EDGE = 0.01


@njit(cache=True, nogil=True)
def _metropolis(
    start: FloatArray,
    factor: FloatArray,
    normals: FloatArray,
    log_uniforms: FloatArray,
    tables: _Tables,
    beta_grid: FloatArray,
    prior: FloatArray,
    states: FloatArray,
) -> float:
    """Random-walk Metropolis; fills states (n, 8) with eta and its log posterior."""
    n = normals.shape[0]
    work = _make_work(tables)
    theta = np.empty(7)
    eta, proposal = start[:7].copy(), np.empty(7)
    current = start[7]
    accepted = 0
    for i in range(n):
        value = 0.0
        for r in range(7):
            proposal[r] = eta[r]
            for c in range(r + 1):
                proposal[r] += factor[r, c] * normals[i, c]
            z = (proposal[r] - prior[0, r]) / prior[1, r]
            value -= 0.5 * z * z
        threshold = current + log_uniforms[i]
        fits = _to_theta(proposal, beta_grid, theta)
        if fits and abs(theta[6] - tables.beta_range[0]) <= tables.beta_range[1]:
            for j in range(tables.degree.size):
                value += _subject_log_likelihood(j, theta, tables, work)[0]
            if value > threshold:
                eta[:] = proposal
                current = value
                accepted += 1
        states[i, :7] = eta
        states[i, 7] = current
    return accepted / n


class _Chains:
    """Several adaptive Metropolis chains on the marginal posterior of one study."""

    def __init__(
        self, likelihood: _Likelihood, states: FloatArray, factor: FloatArray,
        rng: np.random.Generator, progress: bool | None,
    ) -> None:  # fmt: skip
        self._likelihood = likelihood
        self._states = states  # (chains, 8)
        self._factor = factor
        self._rng = rng
        self._progress = progress

    def run(self, n: int, label: str) -> FloatArray:
        """Continue all chains by n steps: states (chains, n, 8)."""
        prior = np.stack([GROUP_PRIOR.means, GROUP_PRIOR.sds])
        shape = (len(self._states), n)
        normals = self._rng.standard_normal((*shape, 7))
        log_uniforms = np.log(self._rng.random(shape))
        states = np.empty((*shape, 8))
        tables = self._likelihood.tables

        def chain(c: int) -> float:
            args = (normals[c], log_uniforms[c], tables, _beta_grid(), prior, states[c])
            return _metropolis(self._states[c], self._factor, *args)

        self.acceptance = np.mean(_threaded(chain, range(shape[0]), label, self._progress))
        self._states = states[:, -1].copy()
        return states

    def adapt(self, rounds: Sequence[int]) -> None:
        """Learn the proposal's covariance and scale; these steps are thrown away."""
        scale = 2.38 / math.sqrt(7.0)
        for n in rounds:
            states = self.run(n, "adapting")[:, n // 3 :, :7]
            # Aim at the acceptance rate that is best for a normal target in seven dimensions.
            scale *= math.exp(np.clip(2.0 * (self.acceptance - 0.27), -1.0, 0.7))
            self._factor = scale * _factor(np.cov(states.reshape(-1, 7).T))


def _factor(cov: FloatArray) -> FloatArray:
    """Lower Cholesky factor after a ridge that keeps a collapsed sample usable."""
    return np.linalg.cholesky(0.999 * cov + np.diag(1e-3 * np.diag(cov) + 1e-10))


def _first_chains(
    likelihood: _Likelihood, rng: np.random.Generator, progress: bool | None
) -> _Chains:
    """Start points and proposal from weighted draws of the prior."""
    etas = GROUP_PRIOR.means + GROUP_PRIOR.sds * rng.standard_normal((1000, 7))
    log_lik = likelihood(etas, "prior draws")
    log_lik = np.where(np.isfinite(log_lik), log_lik, -np.inf)
    if not np.isfinite(log_lik).any():
        raise ValueError("sim_data: no draw from the prior gives these data a positive likelihood.")
    weights = _tempered_weights(log_lik, 40.0)
    chosen = rng.choice(len(etas), size=_N_CHAINS, p=weights)
    cov = np.cov(etas.T, aweights=weights) + np.diag((0.05 * GROUP_PRIOR.sds) ** 2)
    log_post = log_lik[chosen] - 0.5 * (GROUP_PRIOR.standardize(etas[chosen]) ** 2).sum(axis=1)
    states = np.column_stack([etas[chosen], log_post])
    return _Chains(likelihood, states, 0.5 * _factor(cov), rng, progress)


def _tempered_weights(log_lik: FloatArray, least: float) -> FloatArray:
    """Likelihood weights, flattened until their effective number is at least `least`."""
    power = 1.0
    while True:
        weights = _normalized(power * log_lik)
        if 1.0 / np.sum(weights**2) >= least or power < 1e-6:
            return weights
        power *= 0.8


def _normalized(log_weights: FloatArray) -> FloatArray:
    weights: FloatArray = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def _sample_chains(chains: _Chains, num_samples: int, most: int) -> FloatArray:
    """Run adapted chains until they are long and mixed enough: (chains, n, 7)."""
    block = 2500
    states = chains.run(block, "sampling")[:, :, :7]
    target = max(500.0, 0.5 * num_samples)
    while states.shape[1] < most:
        enough = states[..., 0].size >= num_samples
        if enough and _min_ess(states) >= target and _max_r_hat(states) <= 1.01:
            break
        states = np.concatenate([states, chains.run(block, "sampling")[:, :, :7]], axis=1)
    return states


def _max_r_hat(states: FloatArray) -> float:
    """Largest split R-hat (Gelman et al., 2013) of any parameter; states (chains, n, 7)."""
    half = states.shape[1] // 2
    parts = np.concatenate([states[:, :half], states[:, -half:]])
    within = parts.var(axis=1, ddof=1).mean(axis=0)
    between = parts.mean(axis=1).var(axis=0, ddof=1)
    return float(np.sqrt((half - 1) / half + between / np.maximum(within, 1e-300)).max())


def _min_ess(states: FloatArray) -> float:
    """Smallest effective sample size of any parameter (Geyer's initial positive sequence)."""
    return min(_ess(states[:, :, i]) for i in range(states.shape[2]))


def _ess(x: FloatArray) -> float:
    """Effective sample size of one quantity; x (chains, n)."""
    chains, n = x.shape
    centered = x - x.mean()
    spectrum = np.fft.rfft(centered, 2 * n, axis=1)
    autocov = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=1)[:, :n].mean(axis=0) / n
    rho = autocov / max(autocov[0], 1e-300)
    pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    stop = int(np.argmax(pairs < 0.0)) if (pairs < 0.0).any() else len(pairs)
    return float(chains * n / max(2.0 * pairs[:stop].sum() - 1.0, 1.0))


# --------------------------------------------------------------------------------------------------
# Mode, Laplace approximation, importance sampling
# --------------------------------------------------------------------------------------------------

_STUDENT_DF = 6.0
_LogPosterior = Callable[[FloatArray], FloatArray]


def _quadratic_fit(
    log_post: _LogPosterior, x: FloatArray, factor: FloatArray
) -> tuple[float, FloatArray, FloatArray]:
    """Value, gradient and Hessian at x in coordinates z with eta = x + factor z.

    The differences span half a posterior sd: curvature at that scale is what a proposal needs.
    """
    h = 0.5
    rows, cols = np.triu_indices(7, 1)
    eye = np.eye(7)
    moves = np.concatenate([np.zeros((1, 7)), eye, -eye, eye[rows] + eye[cols]])
    moves = np.concatenate([moves, -(eye[rows] + eye[cols])])
    values = log_post(x + h * moves @ factor.T)
    f, plus, minus = values[0], values[1:8], values[8:15]
    both = values[15:36] + values[36:]
    gradient = (plus - minus) / (2.0 * h)
    second = (plus + minus - 2.0 * f) / h**2
    hessian = np.diag(second)
    mixed = (both - 2.0 * f) / (2.0 * h**2) - 0.5 * (second[rows] + second[cols])
    hessian[rows, cols] = hessian[cols, rows] = mixed
    return float(f), np.nan_to_num(gradient), np.nan_to_num(hessian, neginf=-1.0, posinf=-1.0)


def _laplace(
    log_post: _LogPosterior, x: FloatArray, factor: FloatArray, iterations: int = 12
) -> tuple[FloatArray, FloatArray]:
    """Mode and covariance factor by damped Newton steps with a batched line search."""
    lengths = np.array([1.0, 0.5, 0.2, 0.05, 0.01])
    for _ in range(iterations):
        f, gradient, hessian = _quadratic_fit(log_post, x, factor)
        values, vectors = np.linalg.eigh(-hessian)
        # Where the posterior is flat or convex the step is limited, not divided by zero.
        values = np.clip(values, 0.05, None)
        step = vectors @ ((vectors.T @ gradient) / values)
        step *= min(1.0, 8.0 / max(float(np.linalg.norm(step)), 1e-12))
        trials = x + lengths[:, None] * (factor @ step)
        heights = log_post(trials)
        factor = factor @ (vectors / np.sqrt(values))
        if np.nanmax(heights) <= f:
            break
        x = trials[int(np.nanargmax(heights))]
        if np.nanmax(heights) < f + 0.01:
            break
    return x, _factor(factor @ factor.T)


def _student_draws(
    center: FloatArray, factor: FloatArray, n: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Draws of a multivariate Student t and their log density, up to a constant."""
    z = rng.standard_normal((n, 7)) / np.sqrt(rng.chisquare(_STUDENT_DF, (n, 1)) / _STUDENT_DF)
    log_q = -0.5 * (_STUDENT_DF + 7.0) * np.log1p((z**2).sum(axis=1) / _STUDENT_DF)
    return center + z @ factor.T, log_q


def _importance(
    log_post: _LogPosterior, x: FloatArray, factor: FloatArray, n: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, float]:
    """Importance sample (n, 7), its normalized weights, and the Pareto k of these.

    The proposal is refitted to its own weighted sample while the weights are too uneven.
    """
    for _ in range(4):
        draws, log_q = _student_draws(x, 1.05 * factor, n, rng)
        log_w = log_post(draws) - log_q
        weights = _normalized(np.where(np.isfinite(log_w), log_w, -np.inf))
        k_hat = _pareto_k(weights)
        if 1.0 / np.sum(weights**2) > 0.35 * n and k_hat < 0.7:
            break
        flat = _tempered_weights(np.log(np.maximum(weights, 1e-300)), 100.0)
        x = flat @ draws
        factor = _factor(np.cov(draws.T, aweights=flat))
    return draws, weights, k_hat


def _pareto_k(weights: FloatArray) -> float:
    """Shape of a generalized Pareto fitted to the largest weights (Zhang & Stephens, 2009)."""
    n_tail = int(min(0.2 * weights.size, 3.0 * math.sqrt(weights.size)))
    ordered = np.sort(weights)
    tail = ordered[-n_tail:] - ordered[-n_tail - 1]
    tail = np.maximum(tail, 1e-300)
    m = 30 + int(math.sqrt(n_tail))
    quartile = tail[int(n_tail / 4 + 0.5) - 1]
    b = 1.0 / tail[-1] + (1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3.0 * quartile)
    k = np.log1p(-b[:, None] * tail).mean(axis=1)
    profile = n_tail * (np.log(-b / k) - k - 1.0)
    best = float(np.sum(b * _normalized(profile)))
    shape = float(np.log1p(-best * tail).mean())
    return (n_tail * shape + 5.0) / (n_tail + 10.0)


def _systematic(weights: FloatArray, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Systematic resampling: each index about n * weight times, in random order."""
    positions = (np.arange(n) + rng.random()) / n
    index = np.searchsorted(np.cumsum(weights), positions)
    return rng.permutation(np.minimum(index, weights.size - 1))


# --------------------------------------------------------------------------------------------------
# The answer key
# --------------------------------------------------------------------------------------------------

# Up to this many subjects chains are used, above it importance sampling.
_MOST_FOR_CHAINS = 60
# Subjects of a large study that show where its posterior lies.
_SCOUTS = 40


@dataclass(frozen=True)
class ExactPosterior:
    """Draws from the exact posterior of the group parameters of one study.

    Attributes
    ----------
    samples : dict of str to ndarray (num_samples,)
        Draws, one entry per group parameter in the order of `GROUP_PRIOR.names`.
    mean, sd : dict of str to float
        Posterior moments, from all chain states or weighted draws (not only from `samples`).
    ess : float
        Effective sample size: of the chains (smallest over parameters) or of the weights.
    method : {"mcmc", "importance"}
        How the draws were made.
    warnings : tuple of str
        Failed diagnostics; empty when all is well. Each was also issued as a `ReferenceWarning`.
    diagnostics : dict of str to float
        ``r_hat`` (chains) or ``pareto_k`` (importance sampling), and ``edge``: the largest share of
        any subject's integral at the border of its quadrature window.
    """

    samples: dict[str, FloatArray]
    mean: dict[str, float]
    sd: dict[str, float]
    ess: float
    method: str
    warnings: tuple[str, ...] = ()
    diagnostics: dict[str, float] = field(default_factory=dict)

    @property
    def array(self) -> FloatArray:
        """Draws as an array (num_samples, 7)."""
        return np.stack([self.samples[name] for name in GROUP_PRIOR.names], axis=-1)


class _Sample(NamedTuple):
    """What a sampler hands over: draws (n, 7), their weights, and its diagnostics."""

    draws: FloatArray
    weights: FloatArray
    ess: float
    method: str
    diagnostics: dict[str, float]


def exact_posterior(
    sim_data: ArrayLike | Sequence[ArrayLike],
    num_samples: int = 1000,
    *,
    seed: int | np.random.Generator | None = None,
    em_dt: float | None = None,
    method: str = "auto",
    progress: bool | None = None,
) -> ExactPosterior:
    r"""Draw from the exact posterior of the seven group parameters.

    .. math:: p(\eta \mid Y) \propto p(\eta) \prod_{j=1}^{J} \int p(Y_j \mid \theta_j, \beta)\,
        p(\theta_j \mid \eta)\, d\theta_j

    Parameters
    ----------
    sim_data : array_like (J, n, 2), or sequence of J arrays (n_j, 2)
        One study: ``choice`` (0 or 1) and ``rt`` (seconds) of every trial. Subjects may differ in
        their number of trials when given as a sequence.
    num_samples : int, default 1000
        Number of draws.
    seed : int or numpy.random.Generator, optional
        Makes the draws reproducible.
    em_dt : float, optional
        Step length in seconds of the Euler-Maruyama simulator that made the data. Such data follow
        the model with both bounds moved outward by ``0.5826 * sqrt(em_dt)``, and that model is
        used. Default: the exact model.
    method : {"auto", "mcmc", "importance"}
        Sampler; "auto" takes chains up to 60 subjects and importance sampling above, and chains
        again where the importance weights fail.
    progress : bool, optional
        Default: a bar for every step that takes more than two seconds.

    Returns
    -------
    ExactPosterior
        ``.samples``, ``.mean``, ``.sd``, ``.ess``, ``.method``, ``.warnings``.

    Raises
    ------
    ValueError
        For data of the wrong shape, NaN or non-positive times, choices other than 0 and 1,
        subjects without trials, or unusable options.

    Warns
    -----
    ReferenceWarning
        When a diagnostic fails: chains that did not mix, uneven weights, or subjects so odd that
        the quadrature's window cuts their integral (they are named).

    References
    ----------
    Navarro & Fuss (2009) for the density; Roberts & Rosenthal (2009) for adaptive Metropolis;
    Vehtari et al. (2024) for the Pareto diagnostic; Broadie, Glasserman & Kou (1997) for `em_dt`.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1; got {num_samples}.")
    if method not in ("auto", "mcmc", "importance"):
        raise ValueError(f"method must be 'auto', 'mcmc' or 'importance'; got {method!r}.")
    subjects = _subjects(sim_data)
    rng = np.random.default_rng(seed)
    shift = _shift(em_dt)
    if len(subjects) <= _MOST_FOR_CHAINS:
        likelihood = _Likelihood(
            _build_tables(subjects, _Domain.prior(), shift, progress), progress
        )
        start = None
    else:
        likelihood, start = _scouted(subjects, shift, rng, progress)
    if method == "auto":
        method = "mcmc" if start is None else "importance"
    sample = _draw(likelihood, start, num_samples, method, rng, progress)
    return _packed(sample, likelihood, num_samples, rng)


def log_likelihood(
    sim_data: ArrayLike | Sequence[ArrayLike],
    group: Mapping[str, ArrayLike],
    *,
    em_dt: float | None = None,
) -> FloatArray:
    """Marginal log likelihood of a study, with all subject parameters integrated out.

    Parameters
    ----------
    sim_data, em_dt
        As in `exact_posterior`.
    group : mapping of str to float or array_like
        The seven group parameters: one value each, or equally many of each (any shape).

    Returns
    -------
    ndarray (S,)
        Log likelihoods, accurate to about 1e-5 per subject within the range of the prior; ``-inf``
        where ``|beta_raw|`` exceeds 5.

    Raises
    ------
    ValueError
        As in `exact_posterior`, and for missing group parameters.
    """
    subjects = _subjects(sim_data)
    tables = _build_tables(subjects, _Domain.prior(), _shift(em_dt), None)
    return _Likelihood(tables)(_group_draws(group))


def _scouted(
    subjects: Sequence[_Subject], shift: float, rng: np.random.Generator, progress: bool | None
) -> tuple[_Likelihood, tuple[FloatArray, FloatArray]]:
    """Likelihood of a large study, with tables made for where a few of its subjects point to."""
    some = [subjects[j] for j in rng.choice(len(subjects), _SCOUTS, replace=False)]
    scout = _Likelihood(_build_tables(some, _Domain.prior(), shift, progress), progress)
    chains = _first_chains(scout, rng, progress)
    chains.adapt((300, 300, 500))
    draws = chains.run(1500, "scouting")[:, :, :7].reshape(-1, 7)
    mean, cov = draws.mean(axis=0), np.cov(draws.T)
    domain = _Domain.around(mean, np.sqrt(np.diag(cov)))
    likelihood = _Likelihood(_build_tables(subjects, domain, shift, progress), progress)
    return likelihood, (mean, _factor(cov * _SCOUTS / len(subjects)))


def _draw(
    likelihood: _Likelihood,
    start: tuple[FloatArray, FloatArray] | None,
    num_samples: int,
    method: str,
    rng: np.random.Generator,
    progress: bool | None,
) -> _Sample:
    """Importance sampling if asked for, chains if asked for or if the weights fail."""
    chains = None
    if method == "importance":
        if start is None:
            chains = _first_chains(likelihood, rng, progress)
            chains.adapt((300, 300, 500))
            draws = chains.run(1000, "scouting")[:, :, :7].reshape(-1, 7)
            start = draws.mean(axis=0), _factor(np.cov(draws.T))
        x, factor = _laplace(likelihood.log_posterior, *start)
        n = max(1500, int(1.5 * num_samples))
        draws, weights, k_hat = _importance(likelihood.log_posterior, x, factor, n, rng)
        ess = float(1.0 / np.sum(weights**2))
        if k_hat < 0.7 and ess > 0.1 * n:
            return _Sample(draws, weights, ess, "importance", {"pareto_k": k_hat})
        chains = _chains_from(likelihood, draws, weights, rng, progress)
    if chains is None:
        chains = _first_chains(likelihood, rng, progress)
    chains.adapt((400, 400, 800, 1200))
    states = _sample_chains(chains, num_samples, most=20_000)
    draws = states.transpose(1, 0, 2).reshape(-1, 7)
    weights = np.full(len(draws), 1.0 / len(draws))
    return _Sample(draws, weights, _min_ess(states), "mcmc", {"r_hat": _max_r_hat(states)})


def _chains_from(
    likelihood: _Likelihood,
    draws: FloatArray,
    weights: FloatArray,
    rng: np.random.Generator,
    progress: bool | None,
) -> _Chains:
    """Chains that start from an importance sample that was not good enough."""
    flat = _tempered_weights(np.log(np.maximum(weights, 1e-300)), 60.0)
    etas = draws[rng.choice(len(draws), _N_CHAINS, p=flat)]
    log_lik = likelihood(etas)
    log_post = log_lik - 0.5 * (GROUP_PRIOR.standardize(etas) ** 2).sum(axis=1)
    factor = 0.8 * _factor(np.cov(draws.T, aweights=flat))
    return _Chains(likelihood, np.column_stack([etas, log_post]), factor, rng, progress)


def _packed(
    sample: _Sample, likelihood: _Likelihood, num_samples: int, rng: np.random.Generator
) -> ExactPosterior:
    """Resample or thin to num_samples draws, run the last diagnostics, name the parameters."""
    mean = sample.weights @ sample.draws
    sd = np.sqrt(sample.weights @ (sample.draws - mean) ** 2)
    chosen = sample.draws[_systematic(sample.weights, num_samples, rng)]
    likelihood.edges[:] = 0.0
    likelihood(chosen[:20])
    edge = float(likelihood.edges.max())
    messages = _messages(sample, likelihood, chosen)
    for message in messages:
        warnings.warn(message, ReferenceWarning, stacklevel=3)
    names = GROUP_PRIOR.names
    return ExactPosterior(
        samples={k: chosen[:, i].copy() for i, k in enumerate(names)},
        mean=dict(zip(names, mean.tolist(), strict=True)),
        sd=dict(zip(names, sd.tolist(), strict=True)),
        ess=sample.ess,
        method=sample.method,
        warnings=messages,
        diagnostics={**sample.diagnostics, "edge": edge},
    )


def _messages(sample: _Sample, likelihood: _Likelihood, chosen: FloatArray) -> tuple[str, ...]:
    """Failed diagnostics in words."""
    found = []
    if sample.ess < 200.0:
        found.append(f"the effective sample size is only {sample.ess:.0f}")
    if sample.diagnostics.get("r_hat", 1.0) > _R_HAT_LIMIT:
        found.append(f"the chains did not mix (split R-hat {sample.diagnostics['r_hat']:.3f})")
    if sample.diagnostics.get("pareto_k", 0.0) > 0.7:
        found.append(f"importance weights are uneven (k = {sample.diagnostics['pareto_k']:.2f})")
    odd = np.flatnonzero(likelihood.edges > _MOST_AT_EDGE)
    if odd.size:
        found.append(
            f"the quadrature's window cuts the integrals of {odd.size} subjects "
            f"({odd[:10].tolist()}, by up to {likelihood.edges.max():.1%}): check their data"
        )
    mid, half = likelihood.tables.beta_range
    far = np.abs(np.interp(chosen[:, 6], *_beta_grid()) - mid) > 0.95 * half
    if far.mean() > 1e-3:
        found.append("beta_raw reaches the end of the tabulated range")
    return tuple(f"exact_posterior: {text}." for text in found)


# --------------------------------------------------------------------------------------------------
# One subject, given the group parameters
# --------------------------------------------------------------------------------------------------

# Steps of the independence chain behind each draw; the proposal is so close to the target that
# what is left of the start after these is below 1e-6.
_SUBJECT_STEPS = 40
_KERNEL_WIDTH = 0.6  # of the proposal's normal kernels, in grid steps


def subject_posterior(
    trials: ArrayLike,
    group: Mapping[str, ArrayLike],
    num_samples: int | None = None,
    *,
    seed: int | np.random.Generator | None = None,
    em_dt: float | None = None,
) -> dict[str, FloatArray]:
    r"""Draw from the exact posterior of one subject's parameters, given group parameters.

    .. math:: p(\nu, \alpha, t_0 \mid Y_j, \eta) \propto p(Y_j \mid \nu, \alpha, t_0, \beta)\,
        N(\nu; \mu_\nu, \sigma_\nu^2)\, N(\log\alpha; \mu_a, \sigma_a^2)\,
        N(\log t_0; \mu_t, \sigma_t^2)

    With draws of the group posterior as `group` this is ancestral sampling done exactly: one draw
    of the subject for each of them.

    Parameters
    ----------
    trials : array_like (n, 2)
        ``choice`` (0 or 1) and ``rt`` (seconds) of the subject.
    group : mapping of str to float or array_like
        The seven group parameters: one value each, or equally many draws of each (any shape).
    num_samples : int, optional
        Number of draws for fixed group parameters; default 1000. With several group draws it must
        be left out.
    seed : int or numpy.random.Generator, optional
        Makes the draws reproducible.
    em_dt : float, optional
        As in `exact_posterior`.

    Returns
    -------
    dict of str to ndarray (num_samples,)
        ``nu``, ``alpha``, and ``t0`` (seconds).

    Raises
    ------
    ValueError
        For bad trials, missing group parameters, or a start far outside its prior.
    """
    (subject,) = _subjects([trials])
    etas = _group_draws(group)
    if len(etas) == 1:
        etas = np.repeat(etas, 1000 if num_samples is None else num_samples, axis=0)
    elif num_samples not in (None, len(etas)):
        raise ValueError(f"num_samples must be left out with {len(etas)} group draws.")
    rng = np.random.default_rng(seed)
    shift = _shift(em_dt)
    tables = _build_tables([subject], _Domain.prior(), shift, False)
    theta = _checked_theta(etas, tables)
    uniforms = rng.random((len(etas), _SUBJECT_STEPS))
    noise = rng.standard_normal((len(etas), _SUBJECT_STEPS, 2))
    points, log_q = _propose_subject(theta, tables, math.log(subject.first), uniforms, noise)
    log_p = _subject_log_target(subject, theta, points, shift)
    chosen = _independence_chain(log_p - log_q, np.log(rng.random(log_q.shape)))
    log_alpha, y = points[np.arange(len(etas)), chosen].T
    t0 = subject.first / (1.0 + np.exp(-y))
    mode, sd = _drift_moments(subject, theta, log_alpha, t0, shift)
    nu = mode + sd * rng.standard_normal(len(etas))
    return {"nu": nu, "alpha": np.exp(log_alpha), "t0": t0}


def _group_draws(group: Mapping[str, ArrayLike]) -> FloatArray:
    """Group parameters as (S, 7)."""
    missing = [name for name in GROUP_PRIOR.names if name not in group]
    if missing:
        raise ValueError(f"group lacks {missing}; it needs all of {list(GROUP_PRIOR.names)}.")
    columns = [np.asarray(group[name], dtype=float).ravel() for name in GROUP_PRIOR.names]
    sizes = {len(column) for column in columns}
    if len(sizes) > 1 or not all(np.isfinite(column).all() for column in columns):
        raise ValueError(f"group must have finite draws, equally many of each; got {sizes} draws.")
    return np.stack(columns, axis=1)


def _checked_theta(etas: FloatArray, tables: _Tables) -> FloatArray:
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


@njit(cache=True, nogil=True)
def _propose_subject(
    theta: FloatArray, tables: _Tables, log_first: float, uniforms: FloatArray, noise: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Draws of (log alpha, logit(t0 / min rt)) from normal kernels on the quadrature nodes.

    Returns the points (S, steps, 2) and their log proposal density (S, steps).
    """
    n_nodes = tables.node_start[1]
    work = _make_work(tables)
    points = np.empty(noise.shape)
    log_q = np.empty(uniforms.shape)
    y = -np.log(np.expm1(log_first - tables.log_t0[:n_nodes]))
    width_y = _KERNEL_WIDTH * (y[1] - y[0])
    near_a = np.empty(_N_ALPHA)
    for s in range(theta.shape[0]):
        first, last, step = _subject_log_density(0, theta[s], tables, work)
        width_a = _KERNEL_WIDTH * step
        weights = np.exp(work.log_p[:, first:last] - work.log_p[:, first:last].max())
        weights /= weights.sum()
        cumulative = np.cumsum(weights)
        columns = last - first
        for i in range(uniforms.shape[1]):
            node = min(np.searchsorted(cumulative, uniforms[s, i]), cumulative.size - 1)
            points[s, i, 0] = work.log_alpha[first + node % columns] + width_a * noise[s, i, 0]
            points[s, i, 1] = y[node // columns] + width_y * noise[s, i, 1]
            for g in range(columns):
                z = (points[s, i, 0] - work.log_alpha[first + g]) / width_a
                near_a[g] = math.exp(-0.5 * z * z)
            density = 0.0
            for k in range(n_nodes):
                z = (points[s, i, 1] - y[k]) / width_y
                near = 0.0
                for g in range(columns):
                    near += weights[k, g] * near_a[g]
                density += near * math.exp(-0.5 * z * z)
            log_q[s, i] = math.log(density + 1e-300) - math.log(width_a * width_y)
    return points, log_q


def _subject_log_target(
    subject: _Subject, theta: FloatArray, points: FloatArray, shift: float
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
    subject: _Subject, log_alpha: FloatArray, t0: FloatArray, beta: FloatArray, shift: float
) -> tuple[FloatArray, FloatArray]:
    """The A and B of the drift's likelihood exp(A nu - B nu^2 / 2)."""
    n0, n1, total = subject.statistics
    slope = np.exp(log_alpha) * (n1 - (n0 + n1) * beta) + shift * (n1 - n0)
    return slope, total - (n0 + n1) * t0


def _drift_moments(
    subject: _Subject, theta: FloatArray, log_alpha: FloatArray, t0: FloatArray, shift: float
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


# --------------------------------------------------------------------------------------------------
# The independent check: group and subject parameters together
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JointPosterior(ExactPosterior):
    """Draws of group and subject parameters together.

    Attributes
    ----------
    subjects : dict of str to ndarray (num_samples, J)
        ``nu``, ``alpha``, ``t0`` of every subject, in step with `samples`.
    """

    subjects: dict[str, FloatArray] = field(default_factory=dict)


def joint_posterior(
    sim_data: ArrayLike | Sequence[ArrayLike],
    num_samples: int = 1000,
    *,
    seed: int | np.random.Generator | None = None,
    em_dt: float | None = None,
    warmup: int = 4000,
    sweeps: int = 8000,
    progress: bool | None = None,
) -> JointPosterior:
    """Draw group and subject parameters together by Metropolis within Gibbs.

    Slower than `exact_posterior` and independent of its quadrature; it serves as a check of it,
    and gives the exact posterior of every subject of a small study.

    Parameters
    ----------
    sim_data, num_samples, seed, em_dt, progress
        As in `exact_posterior`. The time grows with the number of trials; up to 50 subjects is
        sensible.
    warmup : int, default 4000
        Sweeps per chain that adapt the proposals and are thrown away.
    sweeps : int, default 8000
        Sweeps per chain (four chains) after that.

    Returns
    -------
    JointPosterior
        As `ExactPosterior`, with ``.subjects``.

    Raises
    ------
    ValueError
        As in `exact_posterior`.

    Warns
    -----
    ReferenceWarning
        When the chains did not mix.

    References
    ----------
    Papaspiliopoulos, Roberts & Skold (2007) for moves of the group parameters that carry the
    subjects along.
    """
    subjects = _subjects(sim_data)
    shift = _shift(em_dt)
    if num_samples < 1 or _N_CHAINS * sweeps < num_samples:
        raise ValueError(f"num_samples must be in [1, {_N_CHAINS} * sweeps]; got {num_samples}.")
    rng = np.random.default_rng(seed)
    seeds = rng.integers(2**31, size=_N_CHAINS)
    starts = _starts([s.lower.size + s.upper.size for s in subjects])
    rt = np.concatenate([np.concatenate([s.lower, s.upper]) for s in subjects])
    choice = np.concatenate([np.repeat([0.0, 1.0], [s.lower.size, s.upper.size]) for s in subjects])
    prior = np.stack([GROUP_PRIOR.means, GROUP_PRIOR.sds])
    sweep = _joint_kernel()

    def chain(key: int) -> tuple[FloatArray, FloatArray]:
        return sweep(int(key), warmup, sweeps, starts, rt, choice, prior, _beta_grid(), shift)

    results = _threaded(chain, seeds, "joint chains", progress)
    states = np.stack([r[0] for r in results])
    latent = np.concatenate([r[1] for r in results])
    return _packed_joint(states, latent, num_samples, rng)


def _packed_joint(
    states: FloatArray, latent: FloatArray, num_samples: int, rng: np.random.Generator
) -> JointPosterior:
    """Thin the chains (chains, n, 7) and (chains * n, J, 3), check them, and name the columns."""
    draws = states.reshape(-1, 7)
    ess, r_hat = _min_ess(states), _max_r_hat(states)
    messages: tuple[str, ...] = ()
    if r_hat > _R_HAT_LIMIT or ess < 200.0:
        messages = (f"joint_posterior: not mixed (R-hat {r_hat:.3f}, ESS {ess:.0f}).",)
        warnings.warn(messages[0], ReferenceWarning, stacklevel=3)
    keep = _systematic(np.full(len(draws), 1.0 / len(draws)), num_samples, rng)
    names, chosen = GROUP_PRIOR.names, latent[keep]
    return JointPosterior(
        samples={k: draws[keep, i] for i, k in enumerate(names)},
        mean=dict(zip(names, draws.mean(axis=0).tolist(), strict=True)),
        sd=dict(zip(names, draws.std(axis=0).tolist(), strict=True)),
        ess=ess,
        method="metropolis-within-gibbs",
        warnings=messages,
        diagnostics={"r_hat": r_hat},
        subjects={
            "nu": chosen[:, :, 0],
            "alpha": np.exp(chosen[:, :, 1]),
            "t0": np.exp(chosen[:, :, 2]),
        },
    )


@lru_cache(maxsize=1)
def _joint_kernel() -> Callable[..., tuple[FloatArray, FloatArray]]:
    """The compiled joint sampler.

    Compiled at first use and not cached on disk: it calls a function of another file, whose
    changes numba's cache would not notice.
    """
    compiled: Callable[..., tuple[FloatArray, FloatArray]] = _compile_joint()
    return compiled


def _compile_joint() -> Any:
    density = _log_density_scalar

    @njit(nogil=True)
    def trials_log_lik(
        x: FloatArray,
        beta: float,
        j: int,
        starts: NDArray[np.int64],
        rt: FloatArray,
        choice: FloatArray,
        shift: float,
    ) -> float:
        """Log likelihood of subject j with x = (nu, log alpha, log t0)."""
        alpha = math.exp(x[1])
        a = alpha + 2.0 * shift
        w = (alpha * beta + shift) / a
        t0 = math.exp(x[2])
        total = 0.0
        for i in range(starts[j], starts[j + 1]):
            total += density(rt[i], choice[i], x[0], a, t0, w)
            if total == -math.inf:
                return total
        return total

    @njit(nogil=True)
    def subject_prior(x: FloatArray, eta: FloatArray) -> float:
        total = 0.0
        for d in range(3):
            total -= 0.5 * ((x[d] - eta[d]) / math.exp(eta[3 + d])) ** 2
        return total

    @njit(nogil=True)
    def move_subjects(
        x: FloatArray,
        lik: FloatArray,
        eta: FloatArray,
        beta: float,
        factors: FloatArray,
        scales: FloatArray,
        warm: bool,
        trace: float,
        starts: NDArray[np.int64],
        rt: FloatArray,
        choice: FloatArray,
        shift: float,
    ) -> None:
        """Adaptive random-walk step of each subject's three parameters."""
        new = np.empty(3)
        for j in range(x.shape[0]):
            e0, e1, e2 = np.random.normal(), np.random.normal(), np.random.normal()
            for r in range(3):
                step = factors[j, r, 0] * e0 + factors[j, r, 1] * e1 + factors[j, r, 2] * e2
                new[r] = x[j, r] + scales[j] * step
            value = trials_log_lik(new, beta, j, starts, rt, choice, shift)
            log_ratio = value + subject_prior(new, eta) - lik[j] - subject_prior(x[j], eta)
            accept = math.log(np.random.random()) < log_ratio
            if accept:
                x[j] = new
                lik[j] = value
            if warm:
                scales[j] *= math.exp(trace * ((1.0 if accept else 0.0) - 0.3))

    @njit(nogil=True)
    def move_mean_and_sd(x: FloatArray, eta: FloatArray, prior: FloatArray) -> None:
        """Gibbs step of the group means, Metropolis step of the log sds, subjects held."""
        n = x.shape[0]
        for d in range(3):
            precision = math.exp(-2.0 * eta[3 + d])
            tau = n * precision + prior[1, d] ** -2.0
            mode = (precision * x[:, d].sum() + prior[0, d] * prior[1, d] ** -2.0) / tau
            eta[d] = mode + np.random.normal() / math.sqrt(tau)
            square = ((x[:, d] - eta[d]) ** 2).sum()
            for _ in range(3):
                old = eta[3 + d]
                new = old + 1.7 / math.sqrt(2.0 * n) * np.random.normal()
                gain = -n * (new - old) - 0.5 * square * (math.exp(-2 * new) - math.exp(-2 * old))
                z_new = (new - prior[0, 3 + d]) / prior[1, 3 + d]
                z_old = (old - prior[0, 3 + d]) / prior[1, 3 + d]
                if math.log(np.random.random()) < gain - 0.5 * (z_new**2 - z_old**2):
                    eta[3 + d] = new

    @njit(nogil=True)
    def log_prior(eta: FloatArray, prior: FloatArray) -> float:
        return -0.5 * (((eta - prior[0]) / prior[1]) ** 2).sum()

    @njit(nogil=True)
    def move_together(
        x: FloatArray,
        lik: FloatArray,
        eta: FloatArray,
        beta_grid: FloatArray,
        widths: FloatArray,
        warm: bool,
        trace: float,
        prior: FloatArray,
        starts: NDArray[np.int64],
        rt: FloatArray,
        choice: FloatArray,
        shift: float,
    ) -> None:
        """Move a group mean and sd (or beta) and carry all subjects along."""
        for d in range(4):
            new_eta, new_x = eta.copy(), x.copy()
            if d < 3:
                new_eta[d] += widths[d] * math.exp(eta[3 + d]) * np.random.normal()
                new_eta[3 + d] += 2.0 * widths[d] * np.random.normal()
                ratio = math.exp(new_eta[3 + d] - eta[3 + d])
                new_x[:, d] = new_eta[d] + ratio * (x[:, d] - eta[d])
                # The step in the mean depends on the sd it starts from.
                back = new_eta[d] - eta[d]
                forth_sd, back_sd = math.exp(eta[3 + d]), math.exp(new_eta[3 + d])
                log_ratio = math.log(forth_sd / back_sd) - 0.5 * (back / widths[d]) ** 2 * (
                    back_sd**-2.0 - forth_sd**-2.0
                )
            else:
                new_eta[6] += widths[3] * np.random.normal()
                log_ratio = 0.0
            log_ratio += log_prior(new_eta, prior) - log_prior(eta, prior)
            beta = np.interp(new_eta[6], beta_grid[0], beta_grid[1])
            new_lik = np.empty(lik.size)
            for j in range(lik.size):
                new_lik[j] = trials_log_lik(new_x[j], beta, j, starts, rt, choice, shift)
            log_ratio += new_lik.sum() - lik.sum()
            accept = math.log(np.random.random()) < log_ratio
            if accept:
                eta[:], x[:], lik[:] = new_eta, new_x, new_lik
            if warm:
                widths[d] *= math.exp(trace * ((1.0 if accept else 0.0) - 0.3))

    @njit(nogil=True)
    def first_state(
        prior: FloatArray,
        starts: NDArray[np.int64],
        rt: FloatArray,
        choice: FloatArray,
        shift: float,
    ) -> tuple[FloatArray, FloatArray]:
        """Group parameters near their prior, subjects near the group but before their first rt."""
        n = starts.size - 1
        eta = prior[0] + 0.3 * prior[1] * np.random.normal(0.0, 1.0, 7)
        x = np.empty((n, 3))
        for j in range(n):
            x[j] = eta[:3] + 0.3 * np.exp(eta[3:6]) * np.random.normal(0.0, 1.0, 3)
            x[j, 2] = min(x[j, 2], math.log(0.7 * rt[starts[j] : starts[j + 1]].min()))
        return eta, x

    @njit(nogil=True)
    def sample(
        seed: int,
        warmup: int,
        sweeps: int,
        starts: NDArray[np.int64],
        rt: FloatArray,
        choice: FloatArray,
        prior: FloatArray,
        beta_grid: FloatArray,
        shift: float,
    ) -> tuple[FloatArray, FloatArray]:
        np.random.seed(seed)
        n = starts.size - 1
        eta, x = first_state(prior, starts, rt, choice, shift)
        beta = np.interp(eta[6], beta_grid[0], beta_grid[1])
        lik = np.empty(n)
        for j in range(n):
            lik[j] = trials_log_lik(x[j], beta, j, starts, rt, choice, shift)
        factors = np.zeros((n, 3, 3))
        factors[:] = np.diag(np.array([0.5, 0.1, 0.1]))
        scales, widths = np.full(n, 1.0), np.full(4, 0.2)
        mean, second = np.zeros((n, 3)), np.zeros((n, 3, 3))
        states, latent = np.empty((sweeps, 7)), np.empty((sweeps, n, 3))
        seen = 0
        for i in range(warmup + sweeps):
            warm = i < warmup
            trace = 5.0 / (20.0 + i) ** 0.6 if warm else 0.0
            beta = np.interp(eta[6], beta_grid[0], beta_grid[1])
            for _ in range(2):
                move_subjects(
                    x, lik, eta, beta, factors, scales, warm, trace, starts, rt, choice, shift
                )
            move_mean_and_sd(x, eta, prior)
            move_together(
                x, lik, eta, beta_grid, widths, warm, trace, prior, starts, rt, choice, shift
            )
            if warm and i > warmup // 4:
                seen += 1
                for j in range(n):
                    mean[j] += (x[j] - mean[j]) / seen
                    second[j] += (np.outer(x[j], x[j]) - second[j]) / seen
                # The covariance is refreshed twice, then held.
                if i == warmup // 2 or i == 3 * warmup // 4:
                    for j in range(n):
                        cov = second[j] - np.outer(mean[j], mean[j])
                        factors[j] = np.linalg.cholesky(cov + np.diag(1e-8 + 0.01 * np.diag(cov)))
                        scales[j] = 1.3
            if not warm:
                states[i - warmup] = eta
                latent[i - warmup] = x
        return states, latent

    return sample
