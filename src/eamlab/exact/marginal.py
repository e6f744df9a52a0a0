r"""The marginal likelihood of a study: subject parameters integrated out, in microseconds.

The likelihood of a study is a product over subjects of a three-dimensional integral. The drift
integrates in closed form:

.. math::

    p(Y_j \mid \eta) = \iint N(\log\alpha; \mu_a, \sigma_a^2)\, N(\log t_0; \mu_t, \sigma_t^2)\,
    e^{F_j(\log\alpha, t_0, \beta)} \int N(\nu; \mu_\nu, \sigma_\nu^2)\, e^{A\nu - B\nu^2/2}\,
    d\nu \; d\log\alpha \; d\log t_0

with :math:`A = \alpha (n_1 - n\beta)` and :math:`B = \sum_i t_i - n t_0`. Both outer integrals are
trapezoid sums, which converge exponentially for smooth integrands; the nodes in log alpha move with
the group parameters, the nodes in t0 stay. :math:`F_j` comes from tables that
`eamlab.exact.tables` makes once per study.

All compiled code that reads the tables stands in this module, the inner loops of the samplers
included: numba's cache on disk would not notice when a function or type of another file changes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eamlab.density import FloatArray
from eamlab.parallel import threaded
from eamlab.priors import GROUP_PRIOR, beta_from_raw

__all__ = ["Likelihood", "Tables", "beta_table", "metropolis", "propose_subject"]

# Trapezoid nodes in log alpha, at these multiples of the approximate posterior sd.
_N_ALPHA = 12
_ALPHA_STEP = 0.88
_KERNEL_WIDTH = 0.6  # of the proposal's normal kernels, in grid steps


class Tables(NamedTuple):
    """Tables of all subjects, end to end: J subjects, M coefficients in beta, K nodes in t0."""

    node_start: NDArray[np.int64]  # (J + 1,) first t0 node of each subject
    coef_start: NDArray[np.int64]  # (J + 1,) first coefficient of each subject
    degree: NDArray[np.int64]  # (J,) D, the number of coefficients in log alpha
    log_t0: FloatArray  # (nodes,)
    log_weight: FloatArray  # (nodes,) log of the trapezoid weight in log t0
    decision_sum: FloatArray  # (nodes,) B, the summed decision times at this t0
    coef: FloatArray  # flat (M, K, D + 3) Chebyshev coefficients; see `tables._padded`
    window: FloatArray  # (J, 2) midpoint and half width in log alpha
    counts: FloatArray  # (J, 2) numbers of lower and upper choices
    center: FloatArray  # (J, 6) likelihood mode in (log alpha, log t0, nu) and its slope in beta
    precision: FloatArray  # (J, 3, 3) of the likelihood in these
    beta_range: FloatArray  # (2,) midpoint and half width
    shift: float  # outward shift of both bounds
    n_beta: int


# --------------------------------------------------------------------------------------------------
# The integral of one subject
# --------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _alpha_normal(j: int, theta: FloatArray, tables: Tables) -> tuple[float, float]:
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
def _alpha_grid(j: int, theta: FloatArray, tables: Tables, work: _Work) -> tuple[int, int, float]:
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
    j: int, theta: FloatArray, tables: Tables, work: _Work
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
    j: int, theta: FloatArray, tables: Tables, work: _Work
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
def _make_work(tables: Tables) -> _Work:
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


# --------------------------------------------------------------------------------------------------
# The likelihood of a study
# --------------------------------------------------------------------------------------------------


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
    tables: Tables,
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
def beta_table() -> FloatArray:
    """Interpolation table of `beta_from_raw`, accurate to 2e-9."""
    raw = np.linspace(-6.5, 6.5, 8001)
    return np.stack([raw, beta_from_raw(raw)])


class Likelihood:
    """The marginal log likelihood of a study as a function of arrays of group parameters."""

    def __init__(self, tables: Tables, progress: bool | None = None) -> None:
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
            _log_likelihoods(etas, *span, self.tables, beta_table(), out, self.edges)
            return out

        return np.sum(threaded(part, range(len(bounds) - 1), label, self._progress), axis=0)

    def _n_chunks(self, n_etas: int) -> int:
        return int(np.clip(n_etas * self.n_subjects // 2000, 1, min(64, self.n_subjects)))

    def log_posterior(self, etas: FloatArray, label: str = "posterior") -> FloatArray:
        """Log prior plus log likelihood (E,); -inf where the evaluator's range is left."""
        value = self(etas, label) + GROUP_PRIOR.log_prob(etas)
        return np.where(np.isnan(value), -np.inf, value)


# --------------------------------------------------------------------------------------------------
# Inner loops of the samplers, here for numba's cache (see the top): of `samplers` and `individual`
# --------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def metropolis(
    start: FloatArray,
    factor: FloatArray,
    normals: FloatArray,
    log_uniforms: FloatArray,
    tables: Tables,
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


@njit(cache=True, nogil=True)
def propose_subject(
    theta: FloatArray, tables: Tables, log_first: float, uniforms: FloatArray, noise: FloatArray
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
