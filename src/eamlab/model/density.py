r"""The Wiener first-passage density, its choice probability, and its distribution function.

Evidence starts at ``beta * alpha``, drifts with rate ``nu`` under unit diffusion, and stops at
``0`` (choice 0, the lower bound) or at ``alpha`` (choice 1, the upper bound). The response time is
the first-passage time plus the non-decision time ``t0``.

The density factors into a part that knows the drift and a *driftless* part on the unit interval,

.. math::

    \log f(t, \text{lower}) = -\nu \alpha w - \nu^2 (t - t_0) / 2 - 2 \log \alpha + \log f_0(u, w),
    \qquad u = (t - t_0) / \alpha^2,\; w = \beta,

and the upper bound is the mirror image (:math:`\nu \to -\nu`, :math:`w = 1 - \beta`). Two series
give :math:`f_0`; each is used where a fixed, small number of its terms is exact to rounding.

References
----------
Navarro & Fuss (2009), *Journal of Mathematical Psychology* 53, 222-230.
Gondan, Blurton & Kesselmeier (2014), *Journal of Mathematical Psychology* 60, 20-22.
Blurton, Kesselmeier & Gondan (2012), *Journal of Mathematical Psychology* 56, 470-475.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfcx, ndtr

from eamlab.compiled import njit, vectorize

FloatArray = NDArray[np.float64]

# Below this scaled time the series of image sources is used, above it the series of sines. At the
# switch both need few terms: the neglected ones are below 1e-19 of the leading one.
SERIES_SWITCH = 0.25
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


@njit(cache=True, nogil=True, inline="always")
def _image_factor(u: float, w: float, v: float) -> float:
    """Sum of (w + 2k) exp(-2k(k + w)/u), k = -3..3, with v = 1 - w, from two exponentials."""
    r = math.exp(-2.0 * w / u)
    e = math.exp(-2.0 * v / u)
    q = r * e
    q2 = q * q
    q4 = q2 * q2
    # k = 0 and k = -1 almost cancel for w near 1: their difference is written without cancellation.
    near = w * (1.0 - e) - 2.0 * v * e
    second = (w + 2.0) * r * q - (2.0 + v + 1.0) * e * e * q2
    third = (w + 4.0) * r * r * q4 - (4.0 + v + 1.0) * e * e * e * q4 * q2
    return near + second + third + (w + 6.0) * r * r * r * q4 * q4 * q


@njit(cache=True, nogil=True)
def _near_factor(u: float, w: float, v: float) -> float:
    """`_image_factor` for a start next to a bound, to first order in its distance from the bound.

    There the images cancel in pairs, and their sum would be what rounding leaves of it.
    """
    if w < v:
        return w * (
            1.0 + (2.0 - 8.0 / u) * math.exp(-2.0 / u) + (2.0 - 32.0 / u) * math.exp(-8.0 / u)
        )
    gap = math.expm1(-2.0 * v / u)
    return -gap - v * (2.0 + gap) + v * (18.0 / u - 2.0) * math.exp(-4.0 / u)


@njit(cache=True, nogil=True, inline="always")
def _sine_factor(b: float, c: float) -> float:
    """Sum of k b^(k^2 - 1) sin(k theta) / sin(theta), k = 1..6, from c = cos(theta)."""
    x = 2.0 * c
    u1 = x
    u2 = x * u1 - 1.0
    u3 = x * u2 - u1
    u4 = x * u3 - u2
    u5 = x * u4 - u3
    b2 = b * b
    b3 = b2 * b
    b5 = b2 * b3
    b8 = b3 * b5
    b15 = b8 * b5 * b2
    b24 = b8 * b8 * b8
    b35 = b15 * b15 * b5
    return 1.0 + 2.0 * u1 * b3 + 3.0 * u2 * b8 + 4.0 * u3 * b15 + 5.0 * u4 * b24 + 6.0 * u5 * b35


@njit(cache=True, nogil=True)
def _log_f0(u: float, w: float, v: float) -> float:
    """Log density of a driftless first passage at 0 on [0, 1] from w; v = 1 - w."""
    if u < SERIES_SWITCH:
        factor = _near_factor(u, w, v) if min(w, v) < 1e-6 else _image_factor(u, w, v)
        return -0.5 * w * w / u - 1.5 * math.log(u) - _LOG_SQRT_2PI + math.log(factor)
    half_rate = 0.5 * math.pi**2 * u
    factor = (
        math.pi
        * math.sin(math.pi * min(w, v))
        * _sine_factor(math.exp(-half_rate), math.cos(math.pi * w))
    )
    return math.log(factor) - half_rate


@njit(cache=True, nogil=True)
def _log_density_scalar(
    rt: float, choice: float, nu: float, alpha: float, t0: float, beta: float
) -> float:
    """Log density of one response; see `log_density`."""
    t = rt - t0
    u = t / (alpha * alpha)
    if not 1e-300 < u < math.inf:
        return -math.inf if t == t else math.nan
    if choice == 1.0:
        log_f0 = _log_f0(u, 1.0 - beta, beta)
        tilt = nu * alpha * (1.0 - beta)
    else:
        log_f0 = _log_f0(u, beta, 1.0 - beta)
        tilt = -nu * alpha * beta
    return tilt - 0.5 * nu * nu * t - 2.0 * math.log(alpha) + log_f0


_log_density = vectorize("float64(float64,float64,float64,float64,float64,float64)")(
    _log_density_scalar.py_func
)


def log_density(
    rt: ArrayLike,
    choice: ArrayLike,
    nu: ArrayLike,
    alpha: ArrayLike,
    t0: ArrayLike,
    beta: ArrayLike,
) -> FloatArray:
    r"""Log density of a response time together with its choice (a defective density).

    .. math:: \log f(t, c \mid \nu, \alpha, t_0, \beta),
        \qquad \sum_c \int f(t, c) \, dt = 1

    Parameters
    ----------
    rt : array_like
        Response times in seconds. At or before ``t0`` the density is zero (``-inf``).
    choice : array_like
        0 for the lower and 1 for the upper bound.
    nu : array_like
        Drift rate, evidence per second.
    alpha : array_like
        Boundary separation, > 0. The bounds are at 0 and ``alpha``.
    t0 : array_like
        Non-decision time in seconds.
    beta : array_like
        Relative starting point in (0, 1).

    Returns
    -------
    ndarray
        Log density, float64, of the shape all arguments broadcast to.

    Raises
    ------
    ValueError
        For NaN, choices other than 0 and 1, infinite ``nu`` or ``t0``, ``alpha <= 0``, or ``beta``
        outside (0, 1).

    References
    ----------
    Navarro & Fuss (2009); Gondan, Blurton & Kesselmeier (2014).

    Examples
    --------
    >>> import numpy as np
    >>> np.round(log_density([0.2, 0.6], 1, nu=0.5, alpha=1.0, t0=0.3, beta=0.5), 4)
    array([   -inf, -0.1232])
    """
    values = _checked(rt=rt, choice=choice, nu=nu, alpha=alpha, t0=t0, beta=beta)
    return _log_density(*values)


def choice_probability(nu: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> FloatArray:
    r"""Probability of a choice of the upper bound.

    .. math:: P(\text{upper}) = \frac{1 - e^{-2 \nu \alpha \beta}}{1 - e^{-2 \nu \alpha}},
        \qquad P \to \beta \text{ for } \nu \to 0

    Parameters
    ----------
    nu, alpha, beta : array_like
        Drift rate, boundary separation (> 0), and relative starting point in (0, 1).

    Returns
    -------
    ndarray
        Probability of choice 1, of the shape the arguments broadcast to.

    Raises
    ------
    ValueError
        For NaN, infinite ``nu``, ``alpha <= 0``, or ``beta`` outside (0, 1).

    Examples
    --------
    >>> float(choice_probability(0.0, 1.0, 0.4))
    0.4
    """
    values = _checked(nu=nu, alpha=alpha, beta=beta)
    drift, separation, start = np.broadcast_arrays(*values)
    return _upper_probability(2.0 * drift * separation, start)


def defective_cdf(
    rt: ArrayLike,
    choice: ArrayLike,
    nu: ArrayLike,
    alpha: ArrayLike,
    t0: ArrayLike,
    beta: ArrayLike,
) -> FloatArray:
    r"""Probability of the given choice at or before the given time.

    .. math:: F(t, c) = \int_{t_0}^{t} f(s, c) \, ds, \qquad F(\infty, 1) = P(\text{upper})

    Parameters
    ----------
    rt, choice, nu, alpha, t0, beta : array_like
        As in `log_density`.

    Returns
    -------
    ndarray
        Probability, exact to about 1e-14, of the shape all arguments broadcast to.

    Raises
    ------
    ValueError
        As in `log_density`.

    References
    ----------
    Blurton, Kesselmeier & Gondan (2012).
    """
    values = _checked(rt=rt, choice=choice, nu=nu, alpha=alpha, t0=t0, beta=beta)
    time, bound, drift, separation, shift, start = np.broadcast_arrays(*values)
    decision = np.maximum(time - shift, 0.0)
    # Mirror responses at the upper bound onto the lower one, in units where alpha = 1.
    v = np.where(bound == 1, -drift, drift) * separation
    w = np.where(bound == 1, 1.0 - start, start)
    u = decision / separation**2
    late = _cdf_from_sines(np.maximum(u, SERIES_SWITCH), v, w)
    early = _cdf_from_images(np.clip(u, 1e-300, SERIES_SWITCH), v, w)
    return np.where(u <= 0.0, 0.0, np.where(u < SERIES_SWITCH, early, late))


def _cdf_from_sines(u: FloatArray, v: FloatArray, w: FloatArray) -> FloatArray:
    """Choice probability minus the part of the series of sines after u."""
    rest = np.zeros(u.shape)
    for k in range(1, 8):
        rate = v**2 + (k * np.pi) ** 2
        rest += k * np.sin(k * np.pi * w) * np.exp(-v * w - 0.5 * rate * u) / rate
    return np.maximum(1.0 - _upper_probability(2.0 * v, w) - 2.0 * np.pi * rest, 0.0)


def _cdf_from_images(u: FloatArray, v: FloatArray, w: FloatArray) -> FloatArray:
    """Alternating sum of inverse Gaussian distribution functions, one for each image source."""
    total = np.zeros(u.shape)
    speed = np.abs(v)
    for k in range(-4, 5):
        source = w + 2.0 * k
        total += np.sign(source) * _image_cdf(u, speed, np.abs(source), -v * w)
    return np.maximum(total, 0.0)


def _image_cdf(u: FloatArray, speed: FloatArray, x: FloatArray, tilt: FloatArray) -> FloatArray:
    """Exp(tilt) times the integral of x (2 pi s^3)^-1/2 exp(-x^2/2s - speed^2 s/2) up to u."""
    root = np.sqrt(2.0 * u)
    # Scaled complementary error functions keep exp(+speed x) from overflowing.
    common = np.exp(tilt - 0.5 * (x * x / u + speed**2 * u))
    gap = (x - speed * u) / root
    ahead = 0.5 * erfcx(np.maximum(gap, 0.0)) * common
    behind = np.exp(tilt - speed * x) * ndtr(-np.sqrt(2.0) * np.minimum(gap, 0.0))
    return np.where(gap > 0.0, ahead, behind) + 0.5 * erfcx((x + speed * u) / root) * common


def _upper_probability(y: FloatArray, beta: FloatArray) -> FloatArray:
    """(1 - exp(-y beta)) / (1 - exp(-y)) for any y, without overflow or 0/0."""
    size = np.where(y == 0.0, 1.0, np.abs(y))
    ratio = np.expm1(-size * beta) / np.expm1(-size)
    flipped = np.exp(-size * (1.0 - beta)) * ratio
    return np.where(y == 0.0, beta, np.where(y > 0.0, ratio, flipped))


_RANGES: dict[str, tuple[str, Callable[[FloatArray], NDArray[np.bool_]]]] = {
    "choice": ("0 (lower) or 1 (upper)", lambda x: (x == 0) | (x == 1)),
    "nu": ("finite", np.isfinite),
    "t0": ("finite", np.isfinite),
    "alpha": ("finite and larger than 0", lambda x: (x > 0) & np.isfinite(x)),
    "beta": ("between 0 and 1", lambda x: (x > 0) & (x < 1)),
}


def _checked(**arguments: ArrayLike) -> list[FloatArray]:
    """The arguments as float64 arrays, after a check of their ranges."""
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in arguments.items()}
    for name, array in arrays.items():
        if np.isnan(array).any():
            raise ValueError(f"{name} has {int(np.isnan(array).sum())} NaN: remove these entries.")
    for name in arrays.keys() & _RANGES.keys():
        needed, holds = _RANGES[name]
        bad = arrays[name][~holds(arrays[name])]
        if bad.size:
            raise ValueError(f"{name} must be {needed}; got {np.unique(bad)[:3].tolist()}.")
    return list(arrays.values())


@njit(cache=True, nogil=True)
def log_f0_grid(
    lower: FloatArray,
    upper: FloatArray,
    t0: FloatArray,
    alpha: FloatArray,
    beta: FloatArray,
    shift: float,
) -> FloatArray:
    """Driftless log likelihood of one subject on a grid, less ``n log sin(pi w)``.

    The drift's part of the log density is known in closed form, so this is all a quadrature needs.
    What is taken off has logarithmic poles at w = 0 and w = 1; without them the rest is a
    polynomial of low degree in beta to high precision.

    Parameters
    ----------
    lower, upper : ndarray, shapes (n_lower,) and (n_upper,)
        Response times of the choices 0 and 1, in seconds.
    t0, alpha, beta : ndarray, shapes (K,), (L,), (M,)
        Grid; every ``t0`` must be below every response time.
    shift : float
        Distance by which both bounds are moved outward (0 for the exact model).

    Returns
    -------
    ndarray, shape (K, M, L)
        Sum over trials of ``log f0(u, w) - 2 log a - log sin(pi w)`` with ``a = alpha + 2 shift``
        and ``w`` the start relative to the moved bounds.
    """
    out = np.empty((t0.size, beta.size, alpha.size))
    n = lower.size + upper.size
    for k in range(t0.size):
        for i in range(alpha.size):
            a = alpha[i] + 2.0 * shift
            for m in range(beta.size):
                w = (alpha[i] * beta[m] + shift) / a
                total = _sum_log_f0(lower, t0[k], a, w) + _sum_log_f0(upper, t0[k], a, 1.0 - w)
                out[k, m, i] = total - n * (2.0 * math.log(a) + math.log(math.sin(math.pi * w)))
    return out


@njit(cache=True, nogil=True)
def _sum_log_f0(times: FloatArray, t0: float, a: float, w: float) -> float:
    """Sum of log f0 over trials at one bound; factors are multiplied up to save logarithms."""
    v = 1.0 - w
    cosine = math.cos(math.pi * w)
    scale = math.pi * math.sin(math.pi * w)
    total = 0.0
    product = 1.0
    for i in range(times.size):
        u = (times[i] - t0) / (a * a)
        if u < SERIES_SWITCH:
            total -= 0.5 * w * w / u + _LOG_SQRT_2PI
            if u < 1e-8:
                total -= 1.5 * math.log(u)
                product *= w
            else:
                product *= _image_factor(u, w, v) / (u * math.sqrt(u))
        else:
            half_rate = 0.5 * math.pi**2 * u
            total -= half_rate
            product *= scale * _sine_factor(math.exp(-half_rate), cosine)
        # Each factor lies between 1e-4 and 1e12, so eight of them stay far from the float range.
        if i % 8 == 7:
            total += math.log(product)
            product = 1.0
    return total + math.log(product)
