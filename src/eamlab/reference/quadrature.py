r"""The marginal likelihood of a study: subject parameters integrated out, in microseconds.

The likelihood of a study is a product over subjects of a three-dimensional integral. The drift
integrates in closed form:

.. math::

    p(Y_j \mid \eta) = \iint N(\log\alpha; \mu_a, \sigma_a^2)\, N(\log t_0; \mu_t, \sigma_t^2)\,
    e^{F_j(\log\alpha, t_0, \beta)} \int N(\nu; \mu_\nu, \sigma_\nu^2)\, e^{A\nu - B\nu^2/2}\,
    d\nu \; d\log\alpha \; d\log t_0

with :math:`A = \alpha (n_1 - n\beta)` and :math:`B = \sum_i t_i - n t_0`. Both outer integrals are
trapezoid sums, which converge exponentially for smooth integrands; the nodes in log alpha move with
the group parameters and are checked at every evaluation; the nodes in t0 stay, or move with beta
where many trials make a likelihood narrow. :math:`F_j` comes from tables that
`eamlab.reference.tables` makes once per study.

All compiled code that reads the tables stands in this module, the inner loops of the samplers
included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eamlab.compiled import njit
from eamlab.model.density import FloatArray, log_f0_grid
from eamlab.model.eam import beta_from_raw
from eamlab.model.model import GroupPrior
from eamlab.parallel import threaded

N_PERSON = 3
"""Parameters of a person: drift, log boundary separation, log non-decision time."""
START = 2 * N_PERSON
"""Place of the starting point: after the means and the log sds of these."""
N_GROUP = START + 1
"""Group parameters, in the order of `eamlab.reference.subjects.coordinates`; the first ones of two
conditions."""

# Trapezoid nodes in log alpha, at these multiples of the approximate posterior sd.
_N_ALPHA = 12
_ALPHA_STEP = 0.88
# Nodes are placed anew while this share of an integral is in doubt, at most so many times.
_WELL_PLACED = 5e-3
# Relative size of the neighbors of a normal curve's peak at which `spacing_error` is that much.
_STEEPEST = math.exp(2.0 * math.pi**2 / math.log(0.5 * _WELL_PLACED))
_MOST_PLACEMENTS = 8
_KERNEL_WIDTH = 0.6  # of the proposal's normal kernels, in grid steps


class Tables(NamedTuple):
    """Tables of all subjects, end to end: J subjects, M coefficients in beta, K nodes in t0."""

    node_start: NDArray[np.int64]  # (J + 1,) first t0 node of each subject
    coef_start: NDArray[np.int64]  # (J + 1,) first coefficient of each subject
    degree: NDArray[np.int64]  # (J,) D, the number of coefficients in log alpha
    y: FloatArray  # (nodes,) logit(t0 / min rt), less what `path` adds
    log_t0: FloatArray  # (nodes,)
    log_weight: FloatArray  # (nodes,) log of the trapezoid weight in log t0
    decision_sum: FloatArray  # (nodes,) B, the summed decision times at this t0
    coef: FloatArray  # flat (M, K, D + 3) Chebyshev coefficients; see `tables._tabulate`
    moves: NDArray[np.bool_]  # (J,) whether the window follows the mode along beta
    path: FloatArray  # (J, M, 2) midpoint in log alpha and shift of y, Chebyshev series in beta
    half: FloatArray  # (J,) half width of the window in log alpha
    first: FloatArray  # (J,) fastest response time
    counts: FloatArray  # (J, 2) numbers of lower and upper choices
    precision: FloatArray  # (J, 3, 3) of the likelihood in (log alpha, log t0, nu)
    pull: FloatArray  # (J, M, 3) this times the likelihood's mode, likewise
    beta_range: FloatArray  # (2,) midpoint and half width
    shift: float  # outward shift of both bounds
    n_beta: int


# --------------------------------------------------------------------------------------------------
# The integral of one subject
# --------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _alpha_normal(
    j: int, theta: FloatArray, tables: Tables, beta_row: FloatArray
) -> tuple[float, float]:
    """Mean and sd of log alpha, given group parameters, in the normal approximation."""
    m_nu, s_nu, m_a, s_a, m_t, s_t, _ = theta
    p, pull = tables.precision[j], tables.pull[j]
    in_a, in_t, in_nu = s_a**-2.0, s_t**-2.0, s_nu**-2.0
    p_a, p_t, p_nu = p[0, 0] + in_a, p[1, 1] + in_t, p[2, 2] + in_nu
    det = p_t * p_nu - p[1, 2] ** 2
    w_t = (p_nu * p[0, 1] - p[1, 2] * p[0, 2]) / det
    w_nu = (p_t * p[0, 2] - p[1, 2] * p[0, 1]) / det
    precision = p_a - w_t * p[0, 1] - w_nu * p[0, 2]
    total = m_a * in_a - w_t * m_t * in_t - w_nu * m_nu * in_nu
    for i in range(beta_row.size):
        total += beta_row[i] * (pull[i, 0] - w_t * pull[i, 1] - w_nu * pull[i, 2])
    return total / precision, 1.0 / math.sqrt(precision)


@njit(cache=True, nogil=True)
def chebyshev_row(x: float, out: FloatArray) -> None:
    """Chebyshev polynomials at x."""
    out[0] = 1.0
    out[1] = x
    for i in range(2, out.size):
        out[i] = 2.0 * x * out[i - 1] - out[i - 2]


@njit(cache=True, nogil=True)
def series(row: FloatArray, coef: FloatArray) -> float:
    """Value of a Chebyshev series."""
    total = 0.0
    for i in range(row.size):
        total += row[i] * coef[i]
    return total


@njit(cache=True, nogil=True)
def _alpha_grid(
    j: int, theta: FloatArray, center: float, step: float, tables: Tables, work: _Work
) -> tuple[int, int]:
    """Place the nodes in log alpha and fill what depends on these alone.

    Returns the range of the nodes inside the window.
    """
    n0, n1 = tables.counts[j]
    m_nu, s_nu, m_a, s_a, m_t, s_t, beta = theta
    mid, half = series(work.beta_row, tables.path[j, :, 0]), tables.half[j]
    degree = tables.degree[j]
    shift = tables.shift
    basis = work.basis
    scale = math.log(2.0 * math.pi * s_a * s_t)
    pole = (n0 + n1) * math.log(math.sin(math.pi * beta))
    first, last = _N_ALPHA, 0
    for g in range(_N_ALPHA):
        x = center + step * (g - 0.5 * (_N_ALPHA - 1))
        work.log_alpha[g] = x
        alpha = math.exp(x)
        if shift > 0.0:
            w = (alpha * beta + shift) / (alpha + 2.0 * shift)
            pole = (n0 + n1) * math.log(math.sin(math.pi * w))
        slope = alpha * (n1 - (n0 + n1) * beta) + shift * (n1 - n0)
        basis[degree, g] = 1.0
        basis[degree + 1, g] = pole - 0.5 * ((x - m_a) / s_a) ** 2 - scale
        basis[degree + 2, g] = slope * (0.5 * slope * s_nu * s_nu + m_nu)
        z = (x - mid) / half
        if abs(z) <= 1.0:
            first, last = min(first, g), max(last, g + 1)
        else:
            # Nodes outside the window are dropped: the polynomial may be anything there.
            z = 0.0
            basis[degree + 1, g] = -1e300
            basis[degree + 2, g] = 0.0
        basis[0, g] = 1.0
        basis[1, g] = z
    # Row by row, so that the loop over the nodes is vectorized.
    for i in range(2, degree):
        for g in range(_N_ALPHA):
            basis[i, g] = 2.0 * basis[1, g] * basis[i - 1, g] - basis[i - 2, g]
    return first, last


@njit(cache=True, nogil=True)
def _t0_nodes(j: int, tables: Tables, work: _Work) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return log t0, its log weight and the summed decision times (K,), at this beta."""
    start, stop = tables.node_start[j], tables.node_start[j + 1]
    if not tables.moves[j]:
        span = slice(start, stop)
        return tables.log_t0[span], tables.log_weight[span], tables.decision_sum[span]
    moved = series(work.beta_row, tables.path[j, :, 1])
    n = tables.counts[j].sum()
    total = tables.decision_sum[start] + n * math.exp(tables.log_t0[start])
    log_step = math.log(tables.y[start + 1] - tables.y[start])
    log_t0, log_weight, decision_sum = work.t0[:, : stop - start]
    for k in range(stop - start):
        y = tables.y[start + k] + moved
        log_p = -math.log1p(math.exp(-y))
        log_t0[k] = math.log(tables.first[j]) + log_p
        log_weight[k] = log_step + log_p - y
        decision_sum[k] = total - n * math.exp(log_t0[k])
    return log_t0, log_weight, decision_sum


@njit(cache=True, nogil=True)
def _subject_rows(j: int, theta: FloatArray, tables: Tables, work: _Work) -> FloatArray:
    """Polynomials in log alpha (K, D + 3) at this beta, with the other terms of the integrand."""
    m_nu, s_nu, m_a, s_a, m_t, s_t, beta = theta
    chebyshev_row((beta - tables.beta_range[0]) / tables.beta_range[1], work.beta_row)
    log_t0, log_weight, decision_sum = _t0_nodes(j, tables, work)
    n_nodes = tables.node_start[j + 1] - tables.node_start[j]
    width = tables.degree[j] + 3
    size = n_nodes * width
    at = tables.coef_start[j]
    coef = tables.coef[at : at + tables.n_beta * size].reshape((tables.n_beta, size))
    collapsed = work.collapsed[:size]
    np.dot(work.beta_row, coef, collapsed)
    rows = collapsed.reshape((n_nodes, width))
    per_t = 1.0 / s_t
    for k in range(n_nodes):
        b = decision_sum[k]
        dispersion = 1.0 + s_nu * s_nu * b
        shrinkage = 1.0 / dispersion
        prior = log_weight[k] - 0.5 * ((log_t0[k] - m_t) * per_t) ** 2
        prior -= 0.5 * (math.log(dispersion) + b * m_nu * m_nu * shrinkage)
        rows[k, width - 3] = prior
        rows[k, width - 2] = 1.0
        rows[k, width - 1] = shrinkage
    return rows


@njit(cache=True, nogil=True)
def _subject_density(
    j: int, theta: FloatArray, tables: Tables, work: _Work
) -> tuple[int, int, float, float]:
    """Integrand of subject j at its t0 nodes and at the nodes in log alpha, well placed.

    ``work.p`` is filled, relative to the largest value; the trapezoid weight in log t0 is part of
    it, the one in log alpha is not. ``work.mass`` is filled with its sums over t0.

    Returns
    -------
    first, last : range of the nodes inside the window
    step : distance of the nodes in log alpha
    top : logarithm of the largest value
    """
    rows = _subject_rows(j, theta, tables, work)
    p, mass = work.p[: rows.shape[0]], work.mass
    center, sd = _alpha_normal(j, theta, tables, work.beta_row)
    for _ in range(_MOST_PLACEMENTS):
        step = sd * _ALPHA_STEP
        first, last = _alpha_grid(j, theta, center, step, tables, work)
        if last <= first:
            return first, last, step, -math.inf
        np.dot(rows, work.basis[: rows.shape[1]], p)
        top = p.max()
        _exp_below(p.reshape(-1), top)
        mass[:] = 0.0
        for k in range(p.shape[0]):
            for g in range(_N_ALPHA):
                mass[g] += p[k, g]
        total = mass.sum()
        peak = mass.argmax()
        # Nodes that the window has cut off are no reason to try again.
        ends = (mass[0] + mass[-1]) / total
        inside = 0 < peak < _N_ALPHA - 1
        flat = inside and mass[peak - 1] * mass[peak + 1] > _STEEPEST * mass[peak] ** 2
        if flat and ends < _WELL_PLACED:
            break
        if not inside:
            center = work.log_alpha[peak]
            continue
        mean = spread = 0.0
        for g in range(_N_ALPHA):
            mean += mass[g] / total * work.log_alpha[g]
        for g in range(_N_ALPHA):
            spread += mass[g] / total * (work.log_alpha[g] - mean) ** 2
        center, sd = mean, max(math.sqrt(spread), 0.3 * step)
        if ends >= _WELL_PLACED:
            sd *= 1.3
    return first, last, step, top


@njit(cache=True, nogil=True)
def _doubt(first: int, last: int, p: FloatArray, mass: FloatArray) -> float:
    """Share of an integral that is uncertain: at the edges, or between too distant nodes."""
    if last <= first:
        return 1.0
    ends = mass[first] + mass[last - 1] + p[0].sum() + p[-1].sum()
    spacing = spacing_error(mass) + spacing_error(p[:, mass.argmax()])
    return min(ends / mass.sum() + spacing, 1.0)


@njit(cache=True, nogil=True)
def spacing_error(p: FloatArray) -> float:
    """Relative error of a trapezoid sum of a normal curve with the curvature of p at its peak."""
    k = p.argmax()
    if k == 0 or k == p.size - 1 or p[k - 1] * p[k + 1] >= p[k] ** 2:
        return 0.0
    # Second difference of log p: -1 / variance, in units of the distance of the nodes.
    bend = math.log(max(p[k - 1] * p[k + 1], 1e-300) / p[k] ** 2)
    return 2.0 * math.exp(2.0 * math.pi**2 / bend)


@njit(cache=True, nogil=True)
def _subject_log_likelihood(
    j: int, theta: FloatArray, tables: Tables, work: _Work
) -> tuple[float, int, int]:
    """Log marginal likelihood of subject j, and the range of the nodes inside the window."""
    first, last, step, top = _subject_density(j, theta, tables, work)
    if last <= first:
        return -math.inf, first, last
    return top + math.log(work.mass.sum() * step), first, last


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
    t0: FloatArray  # (3, K) log t0, its log weight and the summed decision times at this beta
    p: FloatArray  # (K, G) integrand
    mass: FloatArray  # (G,) its sums over t0


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
        np.empty((3, longest)),
        np.empty((longest, _N_ALPHA)),
        np.empty(_N_ALPHA),
    )


# --------------------------------------------------------------------------------------------------
# Inner loops: many group parameters, the samplers' walks, and the proposals of one subject
# --------------------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def _to_theta(eta: FloatArray, beta_grid: FloatArray, theta: FloatArray) -> bool:
    """Group parameters to (mean, sd) pairs and beta; False when an sd leaves the float range."""
    for i in range(N_PERSON):
        if abs(eta[N_PERSON + i]) > 50.0:
            return False
        theta[2 * i] = eta[i]
        theta[2 * i + 1] = math.exp(eta[N_PERSON + i])
    theta[START] = np.interp(eta[START], beta_grid[0], beta_grid[1])
    return True


@njit(cache=True, nogil=True)
def _log_likelihoods(
    etas: FloatArray,
    span: tuple[int, int],
    tables: Tables,
    beta_grid: FloatArray,
    out: FloatArray,
    doubts: FloatArray,
) -> None:
    """Add the log likelihood of subjects in the span to out (E,); doubts (J,) keeps the maxima."""
    work, theta = _make_work(tables), np.empty(N_GROUP)
    for e in range(etas.shape[0]):
        fits = _to_theta(etas[e], beta_grid, theta)
        # Outside its range the polynomial in beta may be anything.
        if not fits or abs(theta[START] - tables.beta_range[0]) > tables.beta_range[1]:
            out[e] = -math.inf
    for j in range(*span):
        for e in range(etas.shape[0]):
            if out[e] > -math.inf:
                _to_theta(etas[e], beta_grid, theta)
                value, first, last = _subject_log_likelihood(j, theta, tables, work)
                out[e] += value
                p = work.p[: tables.node_start[j + 1] - tables.node_start[j]]
                doubts[j] = max(doubts[j], _doubt(first, last, p, work.mass))


@njit(cache=True, nogil=True)
def _peak(
    j: int, eta: FloatArray, tables: Tables, beta_grid: FloatArray
) -> tuple[float, float, float, float]:
    """Where subject j's integrand is largest (t0, alpha, beta), and the tabulated F there."""
    work, theta = _make_work(tables), np.empty(N_GROUP)
    _to_theta(eta, beta_grid, theta)
    _subject_density(j, theta, tables, work)
    n_nodes, degree = tables.node_start[j + 1] - tables.node_start[j], tables.degree[j]
    log_t0 = _t0_nodes(j, tables, work)[0]
    k, g = divmod(work.p[:n_nodes].argmax(), _N_ALPHA)
    row = work.collapsed[k * (degree + 3) : k * (degree + 3) + degree]
    value = series(row, work.basis[:degree, g])
    return math.exp(log_t0[k]), math.exp(work.log_alpha[g]), theta[START], value


@njit(cache=True, nogil=True)
def move(
    eta: FloatArray,
    factor: FloatArray,
    normals: FloatArray,
    prior: FloatArray,
    proposal: FloatArray,
) -> float:
    """Fill a random walk's proposal; return its log prior density, up to a constant."""
    value = 0.0
    for r in range(eta.size):
        proposal[r] = eta[r]
        for c in range(r + 1):
            proposal[r] += factor[r, c] * normals[c]
        z = (proposal[r] - prior[0, r]) / prior[1, r]
        value -= 0.5 * z * z
    return value


@njit(cache=True, nogil=True)
def _metropolis(
    start: FloatArray,
    factor: FloatArray,
    normals: FloatArray,
    log_uniforms: FloatArray,
    tables: Tables,
    beta_grid: FloatArray,
    prior: FloatArray,
    states: FloatArray,
) -> float:
    """Random-walk Metropolis; fills states (n, d + 1) with eta and its log posterior."""
    n = normals.shape[0]
    work, theta = _make_work(tables), np.empty(N_GROUP)
    eta, proposal = start[:N_GROUP].copy(), np.empty(N_GROUP)
    current = start[N_GROUP]
    accepted = 0
    for i in range(n):
        value = move(eta, factor, normals[i], prior, proposal)
        threshold = current + log_uniforms[i]
        fits = _to_theta(proposal, beta_grid, theta)
        if fits and abs(theta[START] - tables.beta_range[0]) <= tables.beta_range[1]:
            for j in range(tables.degree.size):
                value += _subject_log_likelihood(j, theta, tables, work)[0]
            if value > threshold:
                eta[:] = proposal
                current = value
                accepted += 1
        states[i, :N_GROUP] = eta
        states[i, N_GROUP] = current
    return accepted / n


@njit(cache=True, nogil=True)
def propose_subject(
    theta: FloatArray, tables: Tables, uniforms: FloatArray, noise: FloatArray
) -> tuple[FloatArray, FloatArray, float]:
    """Draws of (log alpha, logit(t0 / min rt)) from normal kernels on the quadrature nodes.

    Returns the points (S, steps, 2), their log proposal density (S, steps), and the largest share
    of an integral that is in doubt.
    """
    n_nodes = tables.node_start[1]
    work = _make_work(tables)
    points = np.empty(noise.shape)
    log_q = np.empty(uniforms.shape)
    width_y = _KERNEL_WIDTH * (tables.y[1] - tables.y[0])
    near_a = np.empty(_N_ALPHA)
    worst = 0.0
    for s in range(theta.shape[0]):
        first, last, step, _ = _subject_density(0, theta[s], tables, work)
        worst = max(worst, _doubt(first, last, work.p[:n_nodes], work.mass))
        y = tables.y[:n_nodes] + series(work.beta_row, tables.path[0, :, 1])
        width_a = _KERNEL_WIDTH * step
        weights = work.p[:n_nodes, first:last] / work.p[:n_nodes, first:last].sum()
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
    return points, log_q, worst


# --------------------------------------------------------------------------------------------------
# The likelihood of a study
# --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def beta_table(concentration: float) -> FloatArray:
    """Interpolation table of `beta_from_raw`, accurate to 2e-9."""
    raw = np.linspace(-6.5, 6.5, 8001)
    return np.stack([raw, beta_from_raw(raw, concentration)])


class Likelihood:
    """The marginal log likelihood of a study as a function of arrays of group parameters.

    `prior` has these in the order of `eamlab.reference.subjects.coordinates`.
    """

    _add, _walk = staticmethod(_log_likelihoods), staticmethod(_metropolis)

    def __init__(
        self,
        subjects: Sequence[Any],
        tables: Any,
        prior: GroupPrior,
        beta_grid: FloatArray,
        progress: bool | None = None,
    ) -> None:
        self.subjects, self.tables = subjects, tables
        self.prior, self.beta_grid = prior, beta_grid
        self.n_subjects = len(subjects)
        self.doubts = np.zeros(self.n_subjects)
        self._progress = progress

    def __call__(self, etas: FloatArray, label: str = "posterior") -> FloatArray:
        """Log likelihoods (E,) at group parameters (E, d)."""
        etas = np.ascontiguousarray(etas, dtype=np.float64)
        most = min(64, self.n_subjects)
        n_chunks = int(np.clip(len(etas) * self.n_subjects // 2000, 1, most))
        bounds = np.linspace(0, self.n_subjects, n_chunks + 1).astype(int)

        def part(k: int) -> FloatArray:
            out = np.zeros(len(etas))
            span = (bounds[k], bounds[k + 1])
            self._add(etas, span, self.tables, self.beta_grid, out, self.doubts)
            return out

        return np.sum(threaded(part, range(len(bounds) - 1), label, self._progress), axis=0)

    def walk(
        self,
        start: FloatArray,
        factor: FloatArray,
        normals: FloatArray,
        log_uniforms: FloatArray,
        states: FloatArray,
    ) -> float:
        """Continue a Markov chain from `start`: fill states (n, d + 1), return the acceptance."""
        prior = np.stack([self.prior.means, self.prior.sds])
        moves = (factor, normals, log_uniforms, self.tables, self.beta_grid)
        acceptance: float = self._walk(start, *moves, prior, states)
        return acceptance

    def check(self, etas: FloatArray) -> FloatArray:
        """Share of each subject's integral (J,) that is in doubt at any of a few etas (E, d).

        Tables that follow the mode are held against the trials themselves, at the largest value.
        """
        self.doubts[:] = 0.0
        self(etas)
        for j in np.flatnonzero(self.tables.moves):
            lower, upper = self.subjects[int(j)]
            for eta in etas:
                *point, value = _peak(j, eta, self.tables, self.beta_grid)
                t0, alpha, beta = np.array(point)[:, None]
                direct = log_f0_grid(lower, upper, t0, alpha, beta, self.tables.shift).item()
                self.doubts[j] = max(self.doubts[j], min(abs(direct - value), 1.0))
        return self.doubts

    def log_posterior(self, etas: FloatArray) -> FloatArray:
        """Log prior plus log likelihood (E,); -inf where the evaluator's range is left."""
        value = self(etas) + self.prior.log_prob(etas)
        return np.where(np.isnan(value), -np.inf, value)
