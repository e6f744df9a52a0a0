r"""The marginal likelihood of a study of two conditions: the quadrature of `eamlab.TWO_CONDITIONS`.

With a person's drift rates :math:`v = (\nu, \Delta\nu)` integrated in closed form, an integral over
log t0 and the log boundaries of the two conditions is left:

.. math::

    p(Y_j \mid \eta) = \iiint N(\log t_0)\, N(\log\alpha)\, N(\Delta\log\alpha)\,
    e^{F_{j1}(\log\alpha_1, t_0, \beta) + F_{j2}(\log\alpha_2, t_0, \beta)}
    \int N(v; m, S)\, e^{A^T v - v^T B v / 2}\, dv

with :math:`A = \sum_i x_i a_i` and :math:`B = \sum_i x_i x_i^T \tau_i` of the regressors
:math:`x_i = (1, \mathrm{code}_i)`. Each person has one table for either condition, on the same
nodes in t0. These follow the mode along beta; those in the two log boundaries are a lattice that
moves with the group parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eamlab.compiled import njit
from eamlab.model.density import FloatArray, log_f0_grid
from eamlab.parallel import threaded
from eamlab.reference.quadrature import (
    START,
    Likelihood,
    chebyshev_row,
    move,
    series,
    spacing_error,
)
from eamlab.reference.subjects import Pair
from eamlab.reference.tables import (
    Domain,
    along_beta,
    alpha_degree,
    chebyshev,
    first_window,
    joined,
    nonnegative,
)

# Lattice nodes in each of the two directions, at these multiples of the approximate posterior sd.
_SIDE = 9
_NODES = _SIDE * _SIDE
_STEP = 1.1
# The lattice is placed anew while this share lies at its border, or while the integrand's sd along
# any direction, in units of the assumed one, is below this; at most so many times.
_WELL_PLACED = 2e-3
_STEEPEST = 0.65
_MOST_PLACEMENTS = 8
_KERNEL_WIDTH = 0.6  # of the proposal's normal kernels, in lattice steps
_EXTRA = 7  # terms of the integrand that are no polynomials
# Log density, relative to its maximum, at which a person's window ends; the values of beta at which
# it is sought, and the degree of its path between them.
_WINDOW_CUT = 30.0
_PATH_POINTS, _PATH_DEGREE = 5, 3
_T0_STEP = 1.1  # of t0 nodes, in units of the narrowest conditional sd
_PILOT_SHAPE = (20, 18)  # nodes in logit(t0 / min rt) and in log alpha


class PairTables(NamedTuple):
    """Tables of all people, end to end: J people, M coefficients in beta, K nodes in t0."""

    node_start: NDArray[np.int64]  # (J + 1,) first t0 node of each person
    coef_start: NDArray[np.int64]  # (J + 1,) first coefficient of each person
    degree: NDArray[np.int64]  # (J, 2) coefficients in the log alpha of each condition
    y: FloatArray  # (nodes,) logit(t0 / min rt), less what `path` adds
    coef: FloatArray  # flat (M, K, D1 + D2 + 7) Chebyshev coefficients and room for other terms
    path: FloatArray  # (J, 3, M) shift of y, midpoints in log alpha, Chebyshev series in beta
    half: FloatArray  # (J, 2) half widths of the windows in log alpha
    first: FloatArray  # (J,) fastest response time
    counts: FloatArray  # (J, 2, 2) numbers of lower and upper choices in each condition
    totals: FloatArray  # (J, 2) summed response times
    precision: FloatArray  # (J, 5, 5) of the likelihood, in the order of `_to_theta`
    pull: FloatArray  # (J, 5, M) this times the likelihood's mode, Chebyshev series in beta
    beta_range: FloatArray  # (2,) midpoint and half width
    shift: float  # outward shift of both bounds
    n_beta: int


# --------------------------------------------------------------------------------------------------
# The integral of one person
# --------------------------------------------------------------------------------------------------


class _Work(NamedTuple):
    """Scratch arrays of one thread."""

    beta_row: FloatArray  # (M,) Chebyshev polynomials at beta
    collapsed: FloatArray  # (K * W,) what multiplies the rows of `basis` at this beta
    basis: FloatArray  # (W, G) Chebyshev polynomials and the other terms on the lattice
    log_t0: FloatArray  # (K,)
    x: FloatArray  # (2, G) log alpha and its change on the lattice
    p: FloatArray  # (K, G) integrand
    mass: FloatArray  # (G,) its sums over t0
    dropped: FloatArray  # (G,) 1 for nodes outside the windows, else 0
    center: FloatArray  # (2,) of the lattice
    factor: FloatArray  # (2, 2) lower Cholesky factor of the normal approximation
    normal: FloatArray  # (5, 6) the normal approximation while it is reduced to two dimensions


@njit(cache=True, nogil=True)
def _make_work(tables: PairTables) -> _Work:
    longest = 1
    for j in range(tables.first.size):
        longest = max(longest, tables.node_start[j + 1] - tables.node_start[j])
    width = tables.degree[:, 0].max() + tables.degree[:, 1].max() + _EXTRA
    return _Work(
        np.empty(tables.n_beta),
        np.empty(longest * width),
        np.empty((width, _NODES)),
        np.empty(longest),
        np.empty((2, _NODES)),
        np.empty((longest, _NODES)),
        np.empty(_NODES),
        np.empty(_NODES),
        np.empty(2),
        np.empty((2, 2)),
        np.empty((5, 6)),
    )


@njit(cache=True, nogil=True)
def _exp_below(x: FloatArray, top: float) -> None:
    """Replace x by exp(x - top), x <= top, as its namesake in `eamlab.reference.quadrature`."""
    for i in range(x.size):
        gap = x[i] - top
        y = (gap if gap > -30.0 else -30.0) * (1.0 / 64.0)
        p = 1.0 + y * (1.0 / 5.0) * (1.0 + y * (1.0 / 6.0) * (1.0 + y * (1.0 / 7.0)))
        p = 1.0 + y * (1.0 + y * 0.5 * (1.0 + y * (1.0 / 3.0) * (1.0 + y * 0.25 * p)))
        p *= p
        p *= p
        p *= p
        p *= p
        p *= p
        x[i] = p * p


@njit(cache=True, nogil=True)
def _approximate(j: int, theta: FloatArray, tables: PairTables, work: _Work) -> None:
    """Center and factor of (log alpha, its change) in the normal approximation."""
    a, row = work.normal, work.beta_row
    for r in range(5):
        a[r, :5] = tables.precision[j, r]
        a[r, 5] = series(row, tables.pull[j, r])
        a[r, r] += theta[r, 1] ** -2.0
        a[r, 5] += theta[r, 0] * theta[r, 1] ** -2.0
    # Gauss: take out drift rates and t0.
    for c in range(4, 1, -1):
        for r in range(c):
            w = a[r, c] / a[c, c]
            for k in range(c):
                a[r, k] -= w * a[c, k]
            a[r, 5] -= w * a[c, 5]
    det = a[0, 0] * a[1, 1] - a[0, 1] ** 2
    work.center[0] = (a[1, 1] * a[0, 5] - a[0, 1] * a[1, 5]) / det
    work.center[1] = (a[0, 0] * a[1, 5] - a[0, 1] * a[0, 5]) / det
    _set_factor(a[1, 1] / det, -a[0, 1] / det, a[0, 0] / det, work)


@njit(cache=True, nogil=True)
def _set_factor(v00: float, v01: float, v11: float, work: _Work) -> None:
    work.factor[0, 0] = math.sqrt(v00)
    work.factor[0, 1] = 0.0
    work.factor[1, 0] = v01 / work.factor[0, 0]
    work.factor[1, 1] = math.sqrt(max(v11 - work.factor[1, 0] ** 2, 1e-12 * v11))


@njit(cache=True, nogil=True)
def _rows(j: int, theta: FloatArray, beta: float, tables: PairTables, work: _Work) -> FloatArray:
    """Polynomials in both log boundaries (K, W) at this beta, with the integrand's other terms."""
    start, stop = tables.node_start[j], tables.node_start[j + 1]
    n_nodes = stop - start
    width = tables.degree[j].sum() + _EXTRA
    size = n_nodes * width
    at = tables.coef_start[j]
    coef = tables.coef[at : at + tables.n_beta * size].reshape((tables.n_beta, size))
    np.dot(work.beta_row, coef, work.collapsed[:size])
    rows = work.collapsed[:size].reshape((n_nodes, width))
    (m, s), (mc, sc), (mt, st) = theta[2], theta[3], theta[4]
    moved = series(work.beta_row, tables.path[j, 0])
    log_step = math.log(tables.y[start + 1] - tables.y[start])
    n1, n2 = tables.counts[j, 0].sum(), tables.counts[j, 1].sum()
    for k in range(n_nodes):
        y = tables.y[start + k] + moved
        log_p = -math.log1p(math.exp(-y))
        log_t0 = math.log(tables.first[j]) + log_p
        work.log_t0[k] = log_t0
        t0 = math.exp(log_t0)
        tau1, tau2 = tables.totals[j, 0] - n1 * t0, tables.totals[j, 1] - n2 * t0
        # B, then the inverse of I + B S, V = S (I + B S)^-1 and the rest of the drift's integral.
        b00, b01, b11 = tau1 + tau2, 0.5 * (tau2 - tau1), 0.25 * (tau1 + tau2)
        c00, c01, c10, c11 = 1.0 + b00 * s * s, b01 * sc * sc, b01 * s * s, 1.0 + b11 * sc * sc
        det = c00 * c11 - c01 * c10
        w00, w01, w10, w11 = c11 / det, -c01 / det, -c10 / det, c00 / det
        u0, u1 = w00 * m + w10 * mc, w01 * m + w11 * mc
        constant = -0.5 * (u0 * (b00 * m + b01 * mc) + u1 * (b01 * m + b11 * mc))
        constant -= 0.5 * math.log(det)
        row = rows[k, width - _EXTRA :]
        row[0] = 0.5 * s * s * w00
        row[1] = s * s * w01
        row[2] = 0.5 * sc * sc * w11
        row[3] = u0
        row[4] = u1
        row[5] = constant + log_step + log_p - y - 0.5 * ((log_t0 - mt) / st) ** 2
        row[6] = 1.0
    return rows


@njit(cache=True, nogil=True)
def _slope(x: float, beta: float, n0: float, n1: float, shift: float) -> float:
    """What multiplies a condition's drift rate in the log likelihood."""
    return math.exp(x) * (n1 - (n0 + n1) * beta) + shift * (n1 - n0)


@njit(cache=True, nogil=True)
def _pole(x: float, beta: float, n: float, shift: float) -> float:
    """What `log_f0_grid` leaves out."""
    alpha = math.exp(x)
    return n * math.log(math.sin(math.pi * (alpha * beta + shift) / (alpha + 2.0 * shift)))


@njit(cache=True, nogil=True)
def _lattice(j: int, theta: FloatArray, beta: float, tables: PairTables, work: _Work) -> int:
    """Place the lattice and fill what depends on it alone; return how many nodes are in reach."""
    (ma, sa), (mc, sc) = theta[0], theta[1]
    d1, d2 = tables.degree[j]
    at = d1 + d2
    basis, factor = work.basis, work.factor
    (low1, up1), (low2, up2) = tables.counts[j]
    mid1 = series(work.beta_row, tables.path[j, 1])
    mid2 = series(work.beta_row, tables.path[j, 2])
    scale = 1.5 * math.log(2.0 * math.pi) + math.log(sa * sc * theta[4, 1])
    pole1 = _pole(0.0, beta, low1 + up1, 0.0)
    pole2 = _pole(0.0, beta, low2 + up2, 0.0)
    shift = tables.shift
    inside = 0
    for g in range(_NODES):
        z0 = _STEP * (g // _SIDE - 0.5 * (_SIDE - 1))
        z1 = _STEP * (g % _SIDE - 0.5 * (_SIDE - 1))
        x = work.center[0] + factor[0, 0] * z0
        change = work.center[1] + factor[1, 0] * z0 + factor[1, 1] * z1
        work.x[0, g], work.x[1, g] = x, change
        x1, x2 = x - 0.5 * change, x + 0.5 * change
        if shift > 0.0:
            pole1 = _pole(x1, beta, low1 + up1, shift)
            pole2 = _pole(x2, beta, low2 + up2, shift)
        a1 = _slope(x1, beta, low1, up1, shift)
        a2 = _slope(x2, beta, low2, up2, shift)
        s0, s1 = a1 + a2, 0.5 * (a2 - a1)
        t1, t2 = (x1 - mid1) / tables.half[j, 0], (x2 - mid2) / tables.half[j, 1]
        prior = -0.5 * ((x - ma) / sa) ** 2 - 0.5 * ((change - mc) / sc) ** 2
        if abs(t1) <= 1.0 and abs(t2) <= 1.0:
            inside += 1
            work.dropped[g] = 0.0
            basis[at + 6, g] = prior + pole1 + pole2 - scale
        else:
            # Nodes outside a window are dropped: the polynomial may be anything there.
            t1 = t2 = s0 = s1 = 0.0
            work.dropped[g] = 1.0
            basis[at + 6, g] = -1e300
        basis[at, g], basis[at + 1, g], basis[at + 2, g] = s0 * s0, s0 * s1, s1 * s1
        basis[at + 3, g], basis[at + 4, g], basis[at + 5, g] = s0, s1, 1.0
        basis[0, g], basis[d1, g] = 1.0, 1.0
        if d1 > 1:
            basis[1, g] = t1
        if d2 > 1:
            basis[d1 + 1, g] = t2
    for begin, degree in ((0, d1), (d1, d2)):
        for i in range(begin + 2, begin + degree):
            for g in range(_NODES):
                basis[i, g] = 2.0 * basis[begin + 1, g] * basis[i - 1, g] - basis[i - 2, g]
    return inside


@njit(cache=True, nogil=True)
def _pair_density(j: int, theta: FloatArray, beta: float, tables: PairTables, work: _Work) -> float:
    """Fill ``work.p`` and ``work.mass`` with person j's integrand, relative to its largest value.

    Returns the logarithm of that value; -inf if the whole lattice is outside the windows. The
    trapezoid weight in log t0 is part of the integrand, that of the lattice is not.
    """
    chebyshev_row((beta - tables.beta_range[0]) / tables.beta_range[1], work.beta_row)
    rows = _rows(j, theta, beta, tables, work)
    p, mass = work.p[: rows.shape[0]], work.mass
    _approximate(j, theta, tables, work)
    top = -math.inf
    for _ in range(_MOST_PLACEMENTS):
        if _lattice(j, theta, beta, tables, work) == 0:
            return -math.inf
        np.dot(rows, work.basis[: rows.shape[1]], p)
        top = p.max()
        _exp_below(p.reshape(-1), top)
        mass[:] = 0.0
        for k in range(p.shape[0]):
            for g in range(_NODES):
                mass[g] += p[k, g]
        if _well_placed(work):
            break
    return top


@njit(cache=True, nogil=True)
def _well_placed(work: _Work) -> bool:
    """Whether the lattice holds the integrand; if not, move it."""
    mass, factor = work.mass, work.factor
    total, peak = mass.sum(), mass.argmax()
    row, column = peak // _SIDE, peak % _SIDE
    if not (0 < row < _SIDE - 1 and 0 < column < _SIDE - 1):
        work.center[0], work.center[1] = work.x[0, peak], work.x[1, peak]
        return False
    ends = _border(work, False) / total
    m0 = m1 = v00 = v01 = v11 = 0.0
    for g in range(_NODES):
        z0 = _STEP * (g // _SIDE - 0.5 * (_SIDE - 1))
        z1 = _STEP * (g % _SIDE - 0.5 * (_SIDE - 1))
        w = mass[g] / total
        m0 += w * z0
        m1 += w * z1
        v00 += w * z0 * z0
        v01 += w * z0 * z1
        v11 += w * z1 * z1
    v00, v01, v11 = v00 - m0 * m0, v01 - m0 * m1, v11 - m1 * m1
    least = 0.5 * (v00 + v11) - math.sqrt(0.25 * (v00 - v11) ** 2 + v01 * v01)
    if ends < _WELL_PLACED and least > _STEEPEST**2:
        return True
    # A sum over nodes too far apart knows no sd below a third of their distance.
    floor = (0.3 * _STEP) ** 2
    if least < floor:
        v00, v11 = v00 + floor - max(least, 0.0), v11 + floor - max(least, 0.0)
    wider = 1.5 if ends >= _WELL_PLACED else 1.0
    f00, f10, f11 = factor[0, 0], factor[1, 0], factor[1, 1]
    work.center[0] += f00 * m0
    work.center[1] += f10 * m0 + f11 * m1
    x00 = f00 * f00 * v00
    x01 = f00 * (f10 * v00 + f11 * v01)
    x11 = f10 * f10 * v00 + 2.0 * f10 * f11 * v01 + f11 * f11 * v11
    _set_factor(wider * x00, wider * x01, wider * x11, work)
    return False


@njit(cache=True, nogil=True)
def _border(work: _Work, windows: bool) -> float:
    """Sum of the mass at the lattice's border, or also next to nodes outside the windows."""
    ends = 0.0
    for g in range(_NODES):
        row, column = g // _SIDE, g % _SIDE
        if row == 0 or row == _SIDE - 1 or column == 0 or column == _SIDE - 1:
            ends += work.mass[g]
        elif windows and (
            work.dropped[g - 1] + work.dropped[g + 1]
            + work.dropped[g - _SIDE] + work.dropped[g + _SIDE]
        ) > 0.0:  # fmt: skip
            ends += work.mass[g]
    return ends


@njit(cache=True, nogil=True)
def _log_integral(top: float, work: _Work) -> float:
    if top == -math.inf:
        return top
    return top + math.log(work.mass.sum() * _STEP**2 * work.factor[0, 0] * work.factor[1, 1])


@njit(cache=True, nogil=True)
def _doubt(n_nodes: int, top: float, work: _Work) -> float:
    """Share of an integral that is uncertain: at the edges, or between too distant t0 nodes."""
    if top == -math.inf:
        return 1.0
    p, mass = work.p[:n_nodes], work.mass
    ends = _border(work, True) + p[0].sum() + p[-1].sum()
    return min(ends / mass.sum() + spacing_error(p[:, mass.argmax()]), 1.0)


@njit(cache=True, nogil=True)
def _to_theta(eta: FloatArray, beta_grid: FloatArray, theta: FloatArray) -> float:
    """Fill theta (5, 2) with (mean, sd) of log alpha, its change, nu, its change, log t0.

    Returns beta; NaN when an sd leaves the float range.
    """
    # Places of the means in eta; those of the log sds are 3 (a person's own) or 2 (changes) later.
    means, log_sds = (1, 8, 0, 7, 2), (4, 10, 3, 9, 5)
    for i in range(5):
        if abs(eta[log_sds[i]]) > 50.0:
            return math.nan
        theta[i, 0] = eta[means[i]]
        theta[i, 1] = math.exp(eta[log_sds[i]])
    return float(np.interp(eta[6], beta_grid[0], beta_grid[1]))


@njit(cache=True, nogil=True)
def _log_likelihoods(
    etas: FloatArray, span: tuple[int, int], tables: PairTables, beta_grid: FloatArray,
    out: FloatArray, doubts: FloatArray,
) -> None:  # fmt: skip
    """Add the log likelihood of people in the span to out (E,); doubts (J,) keeps the maxima."""
    work, theta = _make_work(tables), np.empty((5, 2))
    for e in range(etas.shape[0]):
        beta = _to_theta(etas[e], beta_grid, theta)
        # Outside its range the polynomial in beta may be anything.
        if not abs(beta - tables.beta_range[0]) <= tables.beta_range[1]:
            out[e] = -math.inf
    for j in range(*span):
        for e in range(etas.shape[0]):
            if out[e] > -math.inf:
                beta = _to_theta(etas[e], beta_grid, theta)
                top = _pair_density(j, theta, beta, tables, work)
                out[e] += _log_integral(top, work)
                n_nodes = tables.node_start[j + 1] - tables.node_start[j]
                doubts[j] = max(doubts[j], _doubt(n_nodes, top, work))


@njit(cache=True, nogil=True)
def _peak(
    j: int, eta: FloatArray, tables: PairTables, beta_grid: FloatArray, out: FloatArray
) -> None:
    """Where the integrand is largest (t0, both alphas, beta), and either tabulated F there."""
    work, theta = _make_work(tables), np.empty((5, 2))
    beta = _to_theta(eta, beta_grid, theta)
    _pair_density(j, theta, beta, tables, work)
    n_nodes = tables.node_start[j + 1] - tables.node_start[j]
    k, g = divmod(work.p[:n_nodes].argmax(), _NODES)
    d1, d2 = tables.degree[j]
    row = work.collapsed[k * (d1 + d2 + _EXTRA) :]
    out[0] = math.exp(work.log_t0[k])
    out[1] = math.exp(work.x[0, g] - 0.5 * work.x[1, g])
    out[2] = math.exp(work.x[0, g] + 0.5 * work.x[1, g])
    out[3] = beta
    out[4] = series(row[:d1], work.basis[:d1, g])
    out[5] = series(row[d1 : d1 + d2], work.basis[d1 : d1 + d2, g])


@njit(cache=True, nogil=True)
def _metropolis(
    start: FloatArray, factor: FloatArray, normals: FloatArray, log_uniforms: FloatArray,
    tables: PairTables, beta_grid: FloatArray, prior: FloatArray, states: FloatArray,
) -> float:  # fmt: skip
    """Random-walk Metropolis on this likelihood, as its namesake in `quadrature`."""
    n, d = normals.shape
    work, theta = _make_work(tables), np.empty((5, 2))
    eta, proposal = start[:d].copy(), np.empty(d)
    current = float(start[d])
    accepted = 0
    for i in range(n):
        value = move(eta, factor, normals[i], prior, proposal)
        threshold = current + log_uniforms[i]
        beta = _to_theta(proposal, beta_grid, theta)
        if abs(beta - tables.beta_range[0]) <= tables.beta_range[1]:
            for j in range(tables.first.size):
                value += _log_integral(_pair_density(j, theta, beta, tables, work), work)
            if value > threshold:
                eta[:] = proposal
                current = value
                accepted += 1
        states[i, :d] = eta
        states[i, d] = current
    return accepted / n


@njit(cache=True, nogil=True)
def propose_pair(
    etas: FloatArray, tables: PairTables, beta_grid: FloatArray, uniforms: FloatArray,
    noise: FloatArray,
) -> tuple[FloatArray, FloatArray, float]:  # fmt: skip
    """Draws of (log alpha, its change, logit(t0 / min rt)) from normal kernels on the nodes.

    Returns the points (S, steps, 3), their log proposal density (S, steps), and the largest share
    of an integral that is in doubt.
    """
    n_nodes = tables.node_start[1]
    work, theta = _make_work(tables), np.empty((5, 2))
    points, log_q = np.empty(noise.shape), np.empty(uniforms.shape)
    gap = tables.y[1] - tables.y[0]
    near0, near1 = np.empty(_SIDE), np.empty(_SIDE)
    worst = 0.0
    for s in range(etas.shape[0]):
        beta = _to_theta(etas[s], beta_grid, theta)
        top = _pair_density(0, theta, beta, tables, work)
        worst = max(worst, _doubt(n_nodes, top, work))
        y = tables.y[:n_nodes] + series(work.beta_row, tables.path[0, 0])
        weights = work.p[:n_nodes] / work.p[:n_nodes].sum()
        cumulative = np.cumsum(weights)
        f = work.factor
        for i in range(uniforms.shape[1]):
            node = min(np.searchsorted(cumulative, uniforms[s, i]), cumulative.size - 1)
            k, g = divmod(node, _NODES)
            # In units of the lattice's steps.
            at0 = g // _SIDE + _KERNEL_WIDTH * noise[s, i, 0]
            at1 = g % _SIDE + _KERNEL_WIDTH * noise[s, i, 1]
            at2 = k + _KERNEL_WIDTH * noise[s, i, 2]
            z0, z1 = _STEP * (at0 - 0.5 * (_SIDE - 1)), _STEP * (at1 - 0.5 * (_SIDE - 1))
            points[s, i, 0] = work.center[0] + f[0, 0] * z0
            points[s, i, 1] = work.center[1] + f[1, 0] * z0 + f[1, 1] * z1
            points[s, i, 2] = y[0] + gap * at2
            for h in range(_SIDE):
                near0[h] = math.exp(-0.5 * ((at0 - h) / _KERNEL_WIDTH) ** 2)
                near1[h] = math.exp(-0.5 * ((at1 - h) / _KERNEL_WIDTH) ** 2)
            density = 0.0
            for m in range(n_nodes):
                near = math.exp(-0.5 * ((at2 - m) / _KERNEL_WIDTH) ** 2)
                if near > 1e-12:
                    for h in range(_NODES):
                        density += near * weights[m, h] * near0[h // _SIDE] * near1[h % _SIDE]
            log_q[s, i] = math.log(density + 1e-300) - math.log(f[0, 0] * f[1, 1])
    return points, log_q, worst


class PairLikelihood(Likelihood):
    """The marginal log likelihood of a study of two conditions."""

    tables: PairTables
    _add, _walk = staticmethod(_log_likelihoods), staticmethod(_metropolis)

    def check(self, etas: FloatArray) -> FloatArray:
        """Share of each person's integral (J,) that is in doubt at any of a few etas (E, d).

        Tables are held against the trials themselves, at the largest value.
        """
        self.doubts[:] = 0.0
        self(etas)
        at, shift = np.empty(6), self.tables.shift
        for j, pair in enumerate(self.subjects):
            for eta in etas:
                _peak(j, eta, self.tables, self.beta_grid, at)
                t0, *alphas, beta = at[:4, None]
                for part, alpha, value in zip(pair, alphas, at[4:], strict=True):
                    direct = log_f0_grid(part.lower, part.upper, t0, alpha, beta, shift).item()
                    self.doubts[j] = max(self.doubts[j], min(abs(direct - value), 1.0))
        return self.doubts


# --------------------------------------------------------------------------------------------------
# The tables
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairDomain(Domain):
    """A `Domain` whose broad distributions are those of a person in one of the conditions."""

    def around(self, mean: FloatArray, sd: FloatArray) -> Domain:
        """What is plausible when the group parameters are known up to ``mean`` +- ``sd``."""
        domain = super().around(mean, sd)
        (nu, alpha), (log_nu, log_alpha) = mean[START + 1 :].reshape(2, 2)
        reach = 4.0 * sd[START + 1 :]
        change_nu = abs(nu) + reach[0] + np.exp(log_nu + reach[2])
        change_alpha = abs(alpha) + reach[1] + np.exp(log_alpha + reach[3])
        wide = np.array(domain.sd) + 0.5 * np.array([change_alpha, 0.0, change_nu])
        return replace(domain, sd=tuple(np.minimum(wide, self.sd)))


class _Pilot:
    """Where a person's likelihood lies at one beta, under broad priors of (log alpha, log t0, nu).

    Points are (y, log alpha in either condition) with y = logit(t0 / min rt).
    """

    def __init__(self, pair: Pair, domain: Domain, shift: float, beta: float) -> None:
        self.pair, self.domain, self.shift = pair, domain, shift
        self.beta = np.array([beta])
        low, high, *_ = first_window(pair.first, domain)
        reach = 4.5 * domain.sd[0]
        ends = (domain.mean[0] - reach, domain.mean[0] + reach)
        self.widest = np.array([(low, high), ends, ends])
        self.ends = self.widest[:, :1], self.widest[:, 1:]

    def likelihood(self, c: int, y: FloatArray, x: FloatArray) -> FloatArray:
        """Driftless log likelihood (K, L) of condition c."""
        part, t0 = self.pair[c], self.pair.first / (1.0 + np.exp(-y))
        args = (t0, np.exp(x), self.beta, self.shift)
        values = log_f0_grid(part.lower, part.upper, *args)[:, 0]
        n = part.lower.size + part.upper.size
        pole = [_pole(value, self.beta[0], float(n), self.shift) for value in x]
        return values + np.array(pole)

    def posterior(self, c: int, y: FloatArray, x: FloatArray) -> FloatArray:
        """Condition c's part (K, L) of the log posterior, with its drift rate integrated out."""
        mean, sd = (np.array(values)[[0, 2]] for values in (self.domain.mean, self.domain.sd))
        a, b = self.drift_terms(c, y[:, None], x)
        precision = b + sd[1] ** -2.0
        mode = (a + mean[1] * sd[1] ** -2.0) / precision
        prior = -0.5 * ((x - mean[0]) / sd[0]) ** 2 - 0.5 * np.log(precision)
        value: FloatArray = self.likelihood(c, y, x) + 0.5 * precision * mode**2 + prior
        return value

    def drift_terms(self, c: int, y: Any, x: Any) -> tuple[Any, Any]:
        """Return the A and B of exp(A nu - B nu^2 / 2)."""
        n0, n1, total = self.pair[c].statistics
        a = np.exp(x) * (n1 - (n0 + n1) * self.beta[0]) + self.shift * (n1 - n0)
        return a, total - (n0 + n1) * self.pair.first / (1.0 + np.exp(-y))

    def prior_y(self, y: FloatArray) -> FloatArray:
        """Log density of y, from the broad prior of t0."""
        log_t0 = np.log(self.pair.first) - np.logaddexp(0.0, -y)
        z = (log_t0 - self.domain.mean[1]) / self.domain.sd[1]
        value: FloatArray = -0.5 * z**2 - np.logaddexp(0.0, y)
        return value

    def start(self) -> FloatArray:
        """Return the best point of a coarse grid."""
        y, x1, x2 = self.grid(self.widest)
        first, second = self.posterior(0, y, x1), self.posterior(1, y, x2)
        k = int((self.prior_y(y) + first.max(axis=1) + second.max(axis=1)).argmax())
        return np.array([y[k], x1[first[k].argmax()], x2[second[k].argmax()]])

    @staticmethod
    def grid(window: FloatArray) -> list[FloatArray]:
        sizes = (_PILOT_SHAPE[0], _PILOT_SHAPE[1], _PILOT_SHAPE[1])
        return [np.linspace(low, high, n) for (low, high), n in zip(window, sizes, strict=True)]

    def mode(self, point: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Climb to the mode by damped Newton steps; return it and the negative Hessian there."""
        value, gradient, bend = self._quadratic(point)
        for _ in range(100):
            values, vectors = np.linalg.eigh(bend)
            step = vectors @ ((vectors.T @ gradient) / np.maximum(np.abs(values), 0.05))
            if gradient @ step < 1e-3:
                break
            step /= max(1.0, np.max(np.abs(step) / np.array([1.0, 0.3, 0.3])))
            for _ in range(12):
                new = self._quadratic(np.clip(point + step, *self.widest.T))
                if new[0] > value:
                    break
                step = 0.4 * step
            else:
                break
            point = np.clip(point + step, *self.widest.T)
            value, gradient, bend = new
        return point, bend

    def _quadratic(self, point: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Value, gradient and negative Hessian of the log posterior."""
        prior = self.prior_y(point[0] + _AROUND_Y)
        total, gradient, bend = prior[1], np.zeros(3), np.zeros((3, 3))
        gradient[0] = (prior[2] - prior[0]) / (2.0 * _H_Y)
        bend[0, 0] = (2.0 * prior[1] - prior[0] - prior[2]) / _H_Y**2
        for c in (0, 1):
            f = self.posterior(c, point[0] + _AROUND_Y, point[1 + c] + _AROUND_X)
            at = [0, 1 + c]
            part = _differences(f)
            total += f[1, 1]
            gradient[at] += part[0]
            bend[np.ix_(at, at)] += part[1]
        return total, gradient, bend

    def window(self, mode: FloatArray, bend: FloatArray) -> FloatArray:
        """Return the smallest box (3, 2) that holds what is above the cut."""
        values, vectors = np.linalg.eigh(bend)
        spread = (vectors**2) @ (1.0 / np.maximum(values, 0.05))
        reach = np.sqrt(2.0 * _WINDOW_CUT * spread)
        window = np.clip(np.stack([mode - reach, mode + reach], axis=1), *self.ends)
        for _ in range(12):
            axes = self.grid(window)
            parts = [self.posterior(c, axes[0], axes[1 + c]) for c in (0, 1)]
            best = [part.max(axis=1) for part in parts]
            prior = self.prior_y(axes[0])
            profiles = [prior + best[0] + best[1]]
            profiles += [(parts[c] + (prior + best[1 - c])[:, None]).max(axis=0) for c in (0, 1)]
            new = np.array([_above(*both) for both in zip(axes, profiles, strict=True)])
            new = np.clip(new, *self.ends)
            old, window = window, new
            ratio = np.diff(new)[:, 0] / np.diff(old)[:, 0]
            if ratio.max() <= 1.0 and ratio.min() > 0.6:
                break
        return window

    def expansion(self, mode: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        """Likelihood's negative Hessian, the point where it is taken, and the gradient there.

        In the order of `_to_theta`. With them the precision of y given all else.
        """
        y = mode[0]
        p = 1.0 / (1.0 + np.exp(-y))
        slope, t0 = 1.0 - p, self.pair.first * p  # d log t0 / dy
        bend, gradient, at = np.zeros((5, 5)), np.zeros(5), np.zeros(5)
        at[4] = np.log(t0)
        of_y = 0.0
        for c in (0, 1):
            f = self.likelihood(c, y + _AROUND_Y, mode[1 + c] + _AROUND_X)
            (f_y, f_x), h = _differences(f)
            a, b = self.drift_terms(c, y, mode[1 + c])
            n = sum(self.pair[c].statistics[:2])
            tau = self.domain.sd[2] ** -2.0
            nu = (a + self.domain.mean[2] * tau) / (b + tau)
            x, v = c, 2 + c
            at[x], at[v] = mode[1 + c], nu
            gradient[[x, v]] = f_x + a * nu, a - b * nu
            gradient[4] += f_y / slope + 0.5 * n * t0 * nu**2
            bend[x, x] = h[1, 1] - a * nu
            bend[v, v] = b
            bend[x, v] = bend[v, x] = -a
            bend[x, 4] = bend[4, x] = h[0, 1] / slope
            bend[v, 4] = bend[4, v] = -n * t0 * nu
            # d2/dy2 = slope^2 d2/dl2 - p slope d/dl
            bend[4, 4] += (h[0, 0] - p * f_y) / slope**2 - 0.5 * n * t0 * nu**2
            of_y += h[0, 0] - 0.5 * n * nu**2 * t0 * slope * (slope - p)
        bend = nonnegative(bend, np.array(self.domain.sd)[[0, 0, 2, 2, 1]])
        bend = _TO_PAIRS.T @ bend @ _TO_PAIRS
        return bend, np.linalg.solve(_TO_PAIRS, at), _TO_PAIRS.T @ gradient, of_y


_H_Y, _H_X = 0.02, 0.01
_AROUND_Y, _AROUND_X = _H_Y * np.array([-1.0, 0.0, 1.0]), _H_X * np.array([-1.0, 0.0, 1.0])
# From (log alpha, its change, nu, its change, log t0) to what holds in the conditions.
_TO_PAIRS = np.zeros((5, 5))
_TO_PAIRS[:2, :2] = _TO_PAIRS[2:4, 2:4] = [[1.0, -0.5], [1.0, 0.5]]
_TO_PAIRS[4, 4] = 1.0


def _differences(f: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradient and negative Hessian in (y, x) at the middle of a (3, 3) grid."""
    gradient = np.array([(f[2, 1] - f[0, 1]) / (2 * _H_Y), (f[1, 2] - f[1, 0]) / (2 * _H_X)])
    yy = (2.0 * f[1, 1] - f[0, 1] - f[2, 1]) / _H_Y**2
    xx = (2.0 * f[1, 1] - f[1, 0] - f[1, 2]) / _H_X**2
    yx = (f[0, 2] + f[2, 0] - f[0, 0] - f[2, 2]) / (4.0 * _H_Y * _H_X)
    return gradient, np.array([[yy, yx], [yx, xx]])


def _above(axis: FloatArray, profile: FloatArray) -> tuple[float, float]:
    """Where a profile is above the cut, and a step more; half as wide again where it never ends."""
    inside = np.flatnonzero(profile > profile.max() - _WINDOW_CUT)
    step, width = axis[1] - axis[0], axis[-1] - axis[0]
    low, high = axis[inside[0]] - step, axis[inside[-1]] + step
    if inside[0] == 0:
        low -= 0.5 * width
    if inside[-1] == axis.size - 1:
        high += 0.5 * width
    return low, high


def _tabulate(pair: Pair, domain: Domain, shift: float, n_beta: int) -> dict[str, Any]:
    """Table of one person; the keys are fields of `PairTables`."""
    beta_points, to_beta = chebyshev(n_beta)
    beta_mid, beta_half = domain.beta_range
    few = chebyshev(_PATH_POINTS)[0]
    pilots = [_Pilot(pair, domain, shift, beta_mid + beta_half * b) for b in few]
    modes: dict[int, Any] = {}
    windows: dict[int, Any] = {}
    middle = _PATH_POINTS // 2
    outward = sorted(range(_PATH_POINTS), key=lambda m: abs(m - middle))
    for m in outward:
        toward = m + np.sign(middle - m)
        start = pilots[m].start() if m == middle else modes[toward]
        modes[m], bend = pilots[m].mode(start)
        windows[m] = pilots[m].window(modes[m], bend)
        if m == middle:
            spread = np.sqrt(np.linalg.inv(bend + 0.05 * np.eye(3))[0, 0])
    expansions = [pilots[m].expansion(modes[m]) for m in range(_PATH_POINTS)]
    box = np.array([windows[m] for m in range(_PATH_POINTS)])  # (points, 3, 2)
    path = np.polynomial.chebyshev.chebfit(few, box.mean(axis=2), _PATH_DEGREE)
    at = np.polynomial.chebyshev.chebval(few, path).T  # (points, 3)
    half = np.maximum(box[..., 1] - at, at - box[..., 0]).max(axis=0)
    given = max(e[3] for e in expansions)
    slope = 1.0 / (1.0 + np.exp(modes[middle][0] - 2.0 * spread))
    step = _T0_STEP / np.sqrt(max(given, 0.3) + (slope / domain.narrowest_t0) ** 2)
    count = int(np.clip(np.ceil(2.0 * half[0] / step), 7, 160))
    y = np.linspace(-half[0], half[0], count + 1)
    # All values of beta share the middle one's precision.
    precision = expansions[middle][0]
    pulls = [precision @ point + gradient for _, point, gradient, _ in expansions]
    pull = np.polynomial.chebyshev.chebfit(few, np.array(pulls), _PATH_DEGREE)
    places = np.polynomial.chebyshev.chebval(beta_points, path)  # (3, M)
    betas = beta_mid + beta_half * beta_points
    t0 = pair.first / (1.0 + np.exp(-(y + places[0][:, None])))
    coef, degrees, halves = [], [], []
    for c, part in enumerate(pair):
        done = sum(part.statistics[:2]) > 0
        degree = alpha_degree(half[1 + c]) if done else 1
        points, to_alpha = chebyshev(degree) if done else (np.zeros(1), np.ones((1, 1)))
        reach = half[1 + c] if done else 1e300
        alpha = np.exp(places[1 + c][:, None] + reach * points)
        table = along_beta(part, t0, alpha, betas, shift) @ to_alpha.T  # (K, M, D)
        coef.append(np.einsum("bm,kmd->bkd", to_beta, table))
        degrees.append(degree)
        halves.append(reach)
    room = np.zeros((n_beta, len(y), _EXTRA))
    return {
        "y": y,
        "coef": np.concatenate([*coef, room], axis=2).ravel(),
        "degree": degrees,
        "path": _lengthened(path, n_beta),
        "half": halves,
        "first": pair.first,
        "counts": [[float(n) for n in part.statistics[:2]] for part in pair],
        "totals": [part.statistics[2] for part in pair],
        "precision": precision,
        "pull": _lengthened(pull, n_beta),
    }


def _lengthened(series: NDArray[Any], n: int) -> FloatArray:
    """Chebyshev series (terms, d) as (d, n)."""
    return np.pad(series.T, ((0, 0), (0, n - len(series))))


def build_pair_tables(
    pairs: Sequence[Pair], domain: Domain, shift: float, progress: bool | None
) -> PairTables:
    """Tables of all people, in threads."""
    n_beta = domain.n_beta * (2 if any(map(domain.is_narrow, pairs)) else 1)
    n_beta = max(n_beta, _PATH_DEGREE + 1)

    def one(pair: Pair) -> dict[str, Any]:
        return _tabulate(pair, domain, shift, n_beta)

    rows = threaded(one, pairs, "tables", progress)
    return PairTables(**joined(rows, domain), shift=shift, n_beta=n_beta)
