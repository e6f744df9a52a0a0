"""Tables: what the quadrature of `eamlab.reference.quadrature` keeps of each subject.

Each subject gets its table once: the driftless log likelihood on a few nodes in ``t0`` and as a
Chebyshev polynomial in (log alpha, beta), on a window that a coarse pilot grid has found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from eamlab.compiled import njit
from eamlab.model.density import FloatArray, log_f0_grid
from eamlab.model.eam import beta_from_raw
from eamlab.model.model import Model
from eamlab.parallel import threaded
from eamlab.reference.quadrature import N_PERSON, START, Tables
from eamlab.reference.subjects import Subject, coordinates

# Spacing of the t0 nodes in units of the narrowest conditional sd; see `_t0_nodes`.
_T0_STEP = 1.15
# Log density, relative to its maximum, at which a subject's window ends.
_WINDOW_CUT = 15.0
# Places of (log alpha, log t0, nu) among the group's means, and of their log sds; what counts as a
# large spread of each, see `Domain.of`.
_MEANS = [1, 2, 0]
_LOG_SDS = [N_PERSON + i for i in _MEANS]
_LARGE_SPREAD = (2.85, 1.4, 2.85)
_DEGREE_DIGITS = 13.0
# Above this many trials the window follows the mode along beta, this many sds to each side; where
# boundaries may be anywhere, one window for every beta is too coarse sooner.
_MANY_TRIALS, _MANY_TRIALS_WIDE, _WIDE = 200, 40, 0.1
_MOVING_REACH = 10.0
_PILOT_SHAPE = (16, 14)  # nodes in logit(t0 / min rt) and in log alpha


@dataclass(frozen=True)
class Domain:
    """Region of group parameters for which tables must be right.

    ``mean`` and ``sd`` describe broad normal distributions of (log alpha, log t0, nu) over
    subjects; tables cover what is plausible under these and the subject's data. ``center_sd`` says
    how well the centers of populations are known, in the same order.
    """

    concentration: float
    beta: tuple[float, float]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    center_sd: tuple[float, ...]
    narrowest_t0: float
    n_beta: int
    many_trials: int = _MANY_TRIALS

    def is_narrow(self, subject: Any) -> bool:
        """Whether a subject has so many trials that its likelihood is narrow."""
        return bool(subject.n_trials > self.many_trials)

    @property
    def beta_range(self) -> tuple[float, float]:
        """Midpoint and half width in beta."""
        return 0.5 * sum(self.beta), 0.5 * (self.beta[1] - self.beta[0])

    @classmethod
    def of(cls, model: Model) -> Domain:
        """Everything that a model's prior of the group parameters can produce.

        beta reaches 5 prior sds to each side. A broad sd is that of the center and a large spread,
        ``exp(mean + k sd)`` of its log sigma, together, to one digit: k is `_LARGE_SPREAD`, and
        smaller for t0, which the fastest response bounds. The narrowest spread of t0 is at -3 sd.
        """
        parameters = coordinates(model).parameters
        concentration = model.constants["beta_concentration"]
        raw = parameters[START]
        beta = beta_from_raw(raw.mean + 5.0 * raw.sd * np.array([-1.0, 1.0]), concentration)
        centers, spreads = ([parameters[i] for i in places] for places in (_MEANS, _LOG_SDS))
        sd = [
            float(f"{math.hypot(math.exp(spread.mean + k * spread.sd), center.sd):.0e}")
            for k, center, spread in zip(_LARGE_SPREAD, centers, spreads, strict=True)
        ]
        narrowest = round(math.exp(spreads[1].mean - 3.0 * spreads[1].sd), 2)
        return cls(
            concentration,
            (float(beta[0]), float(beta[1])),
            tuple(p.mean for p in centers),
            tuple(sd),
            tuple(p.sd for p in centers),
            max(narrowest, 0.01),
            _beta_degree(float(beta[1] - beta[0])),
            _MANY_TRIALS if centers[0].sd < _WIDE else _MANY_TRIALS_WIDE,
        )

    def within(self, beta_raw: FloatArray, subjects: Sequence[Any]) -> Domain:
        """Only as much of beta as given values need, where somebody's likelihood is narrow.

        All of it for few trials, so that a likelihood does not depend on what else is asked for.
        """
        if not any(map(self.is_narrow, subjects)):
            return self
        ends = beta_from_raw(np.array([beta_raw.min(), beta_raw.max()]), self.concentration)
        low, high = np.clip(ends + np.array([-1e-4, 1e-4]), *self.beta).tolist()
        if not low < high:  # all beyond the prior's reach
            return self
        return replace(self, beta=(low, high), n_beta=_beta_degree(high - low))

    def around(self, mean: FloatArray, sd: FloatArray) -> Domain:
        """What is plausible when the group parameters are known up to ``mean`` +- ``sd``."""
        raw = np.clip(mean[START] + np.array([-6.0, 6.0]) * sd[START], -6.0, 6.0)
        beta = beta_from_raw(raw, self.concentration)
        wide = np.exp(mean[_LOG_SDS] + 4.0 * sd[_LOG_SDS]) + 4.0 * sd[_MEANS]
        spread = np.minimum(wide, self.sd)
        spread_t0 = _LOG_SDS[1]
        narrowest = float(np.exp(mean[spread_t0] - 4.0 * sd[spread_t0]))
        return replace(
            self,
            beta=(beta[0], beta[1]),
            mean=tuple(mean[_MEANS].tolist()),
            sd=tuple(spread),
            narrowest_t0=narrowest,
            n_beta=_beta_degree(beta[1] - beta[0]),
        )


def _beta_degree(width: float) -> int:
    """Number of coefficients in beta for people with few trials."""
    return min(4 + math.ceil(11.0 * width), 8 + math.ceil(16.0 * max(0.0, width - 0.5)))


# --------------------------------------------------------------------------------------------------
# The pilot: where a subject's likelihood lies
# --------------------------------------------------------------------------------------------------


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
                # The A and B of exp(A nu - B nu^2 / 2), the drift's part of the likelihood.
                a = alpha * (n1 - n * beta[m]) + shift * (n1 - n0)
                b = total - n * t0
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
    return out, drift


@njit(cache=True, nogil=True)
def _pilot_window(
    log_p: FloatArray,
    y: FloatArray,
    log_alpha: FloatArray,
    typical: float,
    tied_sd: float,
    cut: float,
) -> tuple[float, float, float, float]:
    """Smallest window that holds every grid point above the cut, plus one step on each side.

    Above the cut under the broad subject prior, or under one that ties log alpha to `typical`:
    where populations without spread pull an odd subject along the ridge in (log alpha, t0).
    """
    tied = log_p - 0.5 * ((log_alpha - typical) / tied_sd) ** 2
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


class _Pilot(NamedTuple):
    """A coarse grid that holds a subject's likelihood."""

    window: FloatArray  # (4,) in y = logit(t0 / min rt) and log alpha
    means: FloatArray  # (betas, 4), of (log alpha, log t0, nu, y) at each beta
    covariance: FloatArray  # (4, 4), at the middle one


def _pilot(
    subject: Subject, domain: Domain, shift: float, window: Sequence[float], betas: FloatArray
) -> _Pilot:
    """Find a subject's window and the normal approximation of its likelihood."""
    middle = len(betas) // 2
    for attempt in range(12):
        y = np.linspace(window[0], window[1], _PILOT_SHAPE[0])
        log_alpha = np.linspace(window[2], window[3], _PILOT_SHAPE[1])
        beta = betas[middle : middle + 1] if attempt == 0 else betas
        log_p, drift = _log_density_at(subject, domain, shift, y, log_alpha, beta)
        log_p -= log_p.max(axis=(0, 2), keepdims=True)
        tie = (domain.mean[0], 2.0 * domain.center_sd[0])
        old, window = window, _pilot_window(log_p, y, log_alpha, *tie, _WINDOW_CUT)
        shrunk = (window[1] - window[0]) * (window[3] - window[2])
        if attempt > 0 and shrunk > 0.6 * (old[1] - old[0]) * (old[3] - old[2]):
            break
    first = subject.first
    moments = [_pilot_moments(log_p, drift, y, first, log_alpha, m) for m in range(len(betas))]
    return _Pilot(np.array(window), np.stack([m[0] for m in moments]), moments[middle][1])


def _log_density_at(
    subject: Subject,
    domain: Domain,
    shift: float,
    y: FloatArray,
    log_alpha: FloatArray,
    beta: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """`_pilot_log_density` (K, M, L) of a subject on a grid, and moments of the drift there."""
    t0 = subject.first / (1.0 + np.exp(-y))
    values = log_f0_grid(subject.lower, subject.upper, t0, np.exp(log_alpha), beta, shift)
    args = (shift, subject.statistics, domain.mean, domain.sd)
    return _pilot_log_density(values, y, subject.first, log_alpha, beta, *args)


def _modes(subject: Subject, domain: Domain, shift: float, betas: FloatArray) -> FloatArray:
    """Where a narrow likelihood is largest, in (log alpha, log t0, nu, y), at each beta (M, 4).

    From the best point of a coarse grid at the middle beta outward, each search from the last mode.
    """

    def at(point: FloatArray, beta: float) -> tuple[FloatArray, FloatArray]:
        return _log_density_at(subject, domain, shift, point[:1], point[1:], np.array([beta]))

    def mode(start: FloatArray, beta: float) -> FloatArray:
        simplex = start + np.array([[0.0, 0.0], [0.3, 0.0], [0.0, 0.05]])
        options = {"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-3}
        found: FloatArray = minimize(
            lambda point: -at(point, beta)[0].item(), start, method="Nelder-Mead", options=options
        ).x
        return found

    window = first_window(subject.first, domain)
    y = np.linspace(window[0], window[1], _PILOT_SHAPE[0])
    log_alpha = np.linspace(window[2], window[3], _PILOT_SHAPE[1])
    middle = len(betas) // 2
    log_p = _log_density_at(subject, domain, shift, y, log_alpha, betas[middle : middle + 1])[0]
    k, _, i = np.unravel_index(log_p.argmax(), log_p.shape)
    points = {middle: mode(np.array([y[k], log_alpha[i]]), betas[middle])}
    for m in range(middle + 1, len(betas)):
        points[m] = mode(points[m - 1], betas[m])
    for m in range(middle - 1, -1, -1):
        points[m] = mode(points[m + 1], betas[m])
    found = np.array([points[m] for m in range(len(betas))])
    nu = [at(point, beta)[1][0].item() for point, beta in zip(found, betas, strict=True)]
    log_t0 = np.log(subject.first) - np.logaddexp(0.0, -found[:, 0])
    return np.column_stack([found[:, 1], log_t0, nu, found[:, 0]])


def first_window(first: float, domain: Domain) -> tuple[float, float, float, float]:
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
def chebyshev(n: int) -> tuple[FloatArray, FloatArray]:
    """Chebyshev points on [-1, 1] and the matrix from values there to coefficients."""
    angles = np.pi * (np.arange(n) + 0.5) / n
    matrix = 2.0 / n * np.cos(np.outer(np.arange(n), angles))
    matrix[0] *= 0.5
    return np.cos(angles), matrix


def alpha_degree(half_width: float) -> int:
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
    typical = math.exp(domain.mean[1] - domain.center_sd[1]) / first
    if typical < 0.99:
        y_low = min(y_low, math.log(typical / (1.0 - typical)))
    # One unit closer to the fastest response, for other values of beta and of the drift.
    y_high += 1.0
    reach = 2.0 * domain.center_sd[0]
    return np.array(
        [y_low, y_high, min(low, domain.mean[0] - reach), max(high, domain.mean[0] + reach)]
    )


class _Layout(NamedTuple):
    """Where a subject's nodes lie, and the normal approximation that places those in log alpha."""

    y: FloatArray  # (K,)
    half: float  # of the window in log alpha
    path: FloatArray  # (M, 2) midpoint in log alpha, and what is added to y, at each beta
    modes: FloatArray  # (M, 3) of (log alpha, log t0, nu)
    covariance: FloatArray  # (3, 3)


def _fixed(subject: Subject, domain: Domain, shift: float, betas: FloatArray) -> _Layout:
    """One window for every beta."""
    start = first_window(subject.first, domain)
    pilot = _pilot(subject, domain, shift, start, np.linspace(*domain.beta, 3))
    window = _widened(pilot.window, subject.first, domain)
    y = _t0_nodes(window, pilot.means[1], pilot.covariance, domain)
    low, high = window[2:]
    path = np.tile([0.5 * (high + low), 0.0], (len(betas), 1))
    beta_mid, beta_half = domain.beta_range
    slope = (pilot.means[2, :3] - pilot.means[0, :3]) / (2.0 * beta_half)
    modes = pilot.means[1, :3] + np.outer(betas - beta_mid, slope)
    return _Layout(y, 0.5 * (high - low), path, modes, pilot.covariance[:3, :3])


def _moving(subject: Subject, domain: Domain, shift: float, betas: FloatArray) -> _Layout:
    """A window that follows the mode: a narrow likelihood is elsewhere at another beta."""
    modes = _modes(subject, domain, shift, betas)
    middle = len(betas) // 2
    at = modes[middle]
    around = (at[3] - 1.4, at[3] + 1.6, at[0] - 0.3, at[0] + 0.35)
    pilot = _pilot(subject, domain, shift, around, betas[middle : middle + 1])
    sd = np.sqrt(np.diag(pilot.covariance))
    reach = _MOVING_REACH * sd[3]
    y = _t0_nodes(np.array([-reach, reach]), at, pilot.covariance, domain)
    cov = pilot.covariance[:3, :3]
    return _Layout(y, _MOVING_REACH * sd[0], modes[:, [0, 3]], modes[:, :3], cov)


def _tabulate(subject: Subject, domain: Domain, shift: float, n_beta: int) -> dict[str, Any]:
    """Table of one subject; the keys are fields of `Tables`."""
    beta_points, to_beta = chebyshev(n_beta)
    beta_mid, beta_half = domain.beta_range
    betas = beta_mid + beta_half * beta_points
    n0, n1, total = subject.statistics
    place = _moving if domain.is_narrow(subject) else _fixed
    y, half, path, modes, cov = place(subject, domain, shift, betas)
    # That of the likelihood: the pilot's posterior less its broad prior.
    broad = np.asarray(domain.sd)
    posterior = np.linalg.inv(cov + 1e-9 * np.diag(broad**2))
    precision = nonnegative(posterior - np.diag(broad**-2.0), broad)
    degree = alpha_degree(half)
    points, to_alpha = chebyshev(degree)
    log_t0 = np.log(subject.first) - np.logaddexp(0.0, -y)
    t0 = subject.first / (1.0 + np.exp(-(y + path[:, 1:])))
    alpha = np.exp(path[:, :1] + half * points)
    coef = np.matmul(to_beta, along_beta(subject, t0, alpha, betas, shift) @ to_alpha.T)
    # Three columns more, which are filled with the other terms of the log integrand at each
    # evaluation, so that one matrix product adds up all of it.
    coef = np.pad(coef.transpose(1, 0, 2), ((0, 0), (0, 0), (0, 3)))
    return {
        "y": y,
        "log_t0": log_t0,
        "log_weight": np.log(y[1] - y[0]) - np.logaddexp(0.0, y),
        "decision_sum": total - (n0 + n1) * np.exp(log_t0),
        "coef": coef.ravel(),
        "degree": degree,
        "moves": domain.is_narrow(subject),
        "path": to_beta @ path,
        "half": half,
        "first": subject.first,
        "counts": (n0, n1),
        "precision": precision,
        "pull": to_beta @ modes @ precision,
    }


def along_beta(
    subject: Subject, t0: FloatArray, alpha: FloatArray, betas: FloatArray, shift: float
) -> FloatArray:
    """`log_f0_grid` (K, M, D) at nodes t0 (M, K) and alpha (M, D) that move with beta (M,)."""
    rows = zip(t0, alpha, betas[:, None], strict=True)
    values = [log_f0_grid(subject.lower, subject.upper, *nodes, shift) for nodes in rows]
    return np.concatenate(values, axis=1)


def nonnegative(precision: FloatArray, sd: FloatArray) -> FloatArray:
    """A precision without what is negative in it, in units of these sds."""
    units = np.outer(sd, sd)
    values, vectors = np.linalg.eigh(precision * units)
    clipped: FloatArray = (vectors * np.maximum(values, 0.0)) @ vectors.T / units
    return clipped


def build_tables(
    subjects: Sequence[Subject], domain: Domain, shift: float, progress: bool | None
) -> Tables:
    """Tables of all subjects, in threads."""

    def part(indices: NDArray[np.int64]) -> list[dict[str, Any]]:
        return [_tabulate(subjects[j], domain, shift, n_beta) for j in indices]

    # Errors of the polynomials in beta add up over trials.
    n_beta = domain.n_beta * (2 if any(map(domain.is_narrow, subjects)) else 1)

    chunks = np.array_split(np.arange(len(subjects)), max(1, len(subjects) // 50))
    rows = [row for rows in threaded(part, chunks, "tables", progress) for row in rows]
    return Tables(**joined(rows, domain), shift=shift, n_beta=n_beta)


def joined(rows: Sequence[dict[str, Any]], domain: Domain) -> dict[str, Any]:
    """Fields of all subjects' tables: stacked, or laid end to end where subjects differ in size."""
    starts = {
        k: np.cumsum([0, *(r[part].size for r in rows)], dtype=np.int64)
        for k, part in (("node_start", "y"), ("coef_start", "coef"))
    }
    join = {k: np.concatenate if k in _END_TO_END else np.array for k in rows[0]}
    fields = {k: join[k]([r[k] for r in rows]) for k in rows[0]}
    return starts | fields | {"beta_range": np.array(domain.beta_range)}


_END_TO_END = ("y", "log_t0", "log_weight", "decision_sum", "coef")
