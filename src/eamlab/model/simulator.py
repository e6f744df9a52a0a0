"""Simulate the evidence accumulation model: single paths, trials, subjects, whole studies.

A decision starts at ``beta * alpha``, drifts with rate ``nu`` and unit diffusion, and ends at the
lower bound 0 (``choice`` 0) or at the upper bound ``alpha`` (``choice`` 1). The response time is
the decision time plus the non-decision time ``t0``. Three schemes draw such trials:

``"euler-maruyama"``
    Steps of length ``dt``, the scheme of most tutorials. A path is looked at only every ``dt``
    seconds, so it misses crossings in between: it behaves as if ``alpha`` were about
    ``2 * 0.5826 * sqrt(dt)`` larger.
``"euler-maruyama-corrected"``
    The same steps with both bounds moved inward by ``0.5826 * sqrt(dt)`` (Siegmund, 1979;
    Broadie, Glasserman & Kou, 1997), which removes that bias to first order.
``"exact"``
    No steps at all: exits from symmetric intervals, whose side and time are independent and can
    be drawn exactly (Devroye, 2009; Polson, Scott & Windle, 2013).

Every subject owns a random stream derived from the seed and its position, so results do not
depend on the number of threads.

References
----------
Broadie, M., Glasserman, P., & Kou, S. (1997). A continuity correction for discrete barrier
options. *Mathematical Finance, 7*, 325-349.

Devroye, L. (2009). On exact simulation algorithms for some distributions related to Jacobi theta
functions. *Statistics & Probability Letters, 79*, 2251-2259.

Polson, N. G., Scott, J. G., & Windle, J. (2013). Bayesian inference for logistic models using
Polya-Gamma latent variables. *Journal of the American Statistical Association, 108*, 1339-1349.

Siegmund, D. (1979). Corrected diffusion approximations in certain random walk problems.
*Advances in Applied Probability, 11*, 701-719.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eamlab.compiled import njit
from eamlab.model.model import Seed, check_count, check_positive, seed_sequence
from eamlab.parallel import threads

SCHEMES = ("exact", "euler-maruyama", "euler-maruyama-corrected")
"""Names of the simulation schemes."""

BOUNDARY_SHIFT = 0.5825971579390107
"""Mean overshoot of a random walk with steps N(0, 1) over a far bound, -zeta(1/2) / sqrt(2 pi)."""


# ------------------------------------------------------------------------------------------------
# Random numbers inside compiled code: xoshiro256++ with the state passed as a tuple of four words
# (it stays in registers), and ziggurat normals and exponentials with 256 layers.
# ------------------------------------------------------------------------------------------------

_jit = njit(cache=True, nogil=True, error_model="numpy")
# For what a trial without steps calls in its inner loop: the state stays in registers, and it takes
# a fifth less time. `forceinline` instead would be inherited by `_uniform`, and slow the steps.
_inlined = njit(cache=True, nogil=True, error_model="numpy", inline="always")

_U = np.uint64
_State = tuple[np.uint64, ...]
_Function = Callable[[float], float]
_GOLDEN = _U(0x9E3779B97F4A7C15)
_TWO_53 = 2.0**-53
_TWO_52 = 2.0**52
_NORMAL_R = 3.6541528853610088
_EXPON_R = 7.69711747013105


def _ziggurat(
    r: float, area: float, density: _Function, inverse: _Function
) -> tuple[NDArray, NDArray, NDArray]:
    """Layer widths (scaled to 52-bit integers), acceptance limits and heights of a ziggurat."""
    x = np.empty(257)
    x[0], x[1], x[256] = area / density(r), r, 0.0
    for i in range(1, 255):
        x[i + 1] = inverse(area / x[i] + density(x[i]))
    limits = np.floor(x[1:] / x[:-1] * _TWO_52).astype(np.int64)
    return x[:-1] / _TWO_52, limits, np.array([density(v) for v in x])


_NORMAL_AREA = _NORMAL_R * math.exp(-0.5 * _NORMAL_R**2) + math.sqrt(math.pi / 2) * math.erfc(
    _NORMAL_R / math.sqrt(2)
)
_NW, _NK, _NF = _ziggurat(
    _NORMAL_R,
    _NORMAL_AREA,
    lambda x: math.exp(-0.5 * x * x),
    lambda y: math.sqrt(-2 * math.log(min(y, 1.0))),
)
_EW, _EK, _EF = _ziggurat(
    _EXPON_R,
    (_EXPON_R + 1) * math.exp(-_EXPON_R),
    lambda x: math.exp(-x),
    lambda y: -math.log(min(y, 1.0)),
)


@_jit
def _splitmix(z: np.uint64) -> np.uint64:
    """Finalizer of splitmix64: scrambles one 64-bit word."""
    z = (z ^ (z >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _U(27))) * _U(0x94D049BB133111EB)
    return z ^ (z >> _U(31))


@_jit
def _stream(key: NDArray, index: int) -> _State:
    """Start state of the random stream number `index` under the 128-bit `key` (2,)."""
    a = _splitmix(key[0] + _GOLDEN * (_U(index) + _U(1)))
    b = _splitmix(key[1] ^ a)
    return (
        _splitmix(a + _GOLDEN),
        _splitmix(b + _GOLDEN),
        _splitmix(a + _U(2) * _GOLDEN),
        _splitmix(b + _U(2) * _GOLDEN) | _U(1),
    )


@_jit
def _rotl(x: np.uint64, k: int) -> np.uint64:
    return (x << _U(k)) | (x >> _U(64 - k))


@_jit
def _bits(s: _State) -> tuple[np.uint64, _State]:
    """Next 64 random bits and the new state (xoshiro256++, Blackman & Vigna)."""
    s0, s1, s2, s3 = s
    out = _rotl(s0 + s3, 23) + s0
    t = s1 << _U(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= t
    s3 = _rotl(s3, 45)
    return out, (s0, s1, s2, s3)


@_jit
def _uniform(s: _State) -> tuple[float, _State]:
    """A uniform number in (0, 1), never 0 or 1."""
    u, s = _bits(s)
    return (float(u >> _U(11)) + 0.5) * _TWO_53, s


@_jit
def _normal_tail(s: _State) -> tuple[float, _State]:
    """|N| given |N| > R (Marsaglia, 1964)."""
    while True:
        u, s = _uniform(s)
        v, s = _uniform(s)
        x = -math.log(u) / _NORMAL_R
        if -2.0 * math.log(v) > x * x:
            return _NORMAL_R + x, s


@_jit
def _normal_slow(bits: np.uint64, s: _State) -> tuple[float, _State]:
    """The 1 in 80 ziggurat draws that fall outside the inner rectangle of their layer."""
    while True:
        i = bits & _U(255)
        m = np.int64(bits) >> np.int64(11)
        x = float(m) * _NW[i]
        if abs(m) < _NK[i]:
            return x, s
        if i == _U(0):
            tail, s = _normal_tail(s)
            return math.copysign(tail, x), s
        v, s = _uniform(s)
        if _NF[i] + v * (_NF[i + _U(1)] - _NF[i]) < math.exp(-0.5 * x * x):
            return x, s
        bits, s = _bits(s)


@_jit
def _normal(s: _State) -> tuple[float, _State]:
    """A standard normal number (ziggurat)."""
    bits, s = _bits(s)
    i = bits & _U(255)
    m = np.int64(bits) >> np.int64(11)  # the upper 53 bits, sign included
    if abs(m) < _NK[i]:
        return float(m) * _NW[i], s
    return _normal_slow(bits, s)


@_inlined
def _exponential(s: _State) -> tuple[float, _State]:
    """A standard exponential number (ziggurat)."""
    shift = 0.0
    while True:
        bits, s = _bits(s)
        i = bits & _U(255)
        m = np.int64(bits >> _U(12))
        x = float(m) * _EW[i]
        if m < _EK[i]:
            return shift + x, s
        if i == _U(0):  # the tail of an exponential is an exponential
            shift += _EXPON_R
            continue
        v, s = _uniform(s)
        if _EF[i] + v * (_EF[i + _U(1)] - _EF[i]) < math.exp(-x):
            return shift + x, s


# ------------------------------------------------------------------------------------------------
# Euler-Maruyama
# ------------------------------------------------------------------------------------------------


_MOST_STEPS = 2.0**62  # what still fits an integer


@_jit
def _euler_trial(
    start: float, drift: float, half_width: float, n_max: int, s: _State
) -> tuple[int, float, _State]:
    """Walk with N(drift, 1) steps until outside [-half_width, half_width] or `n_max` steps.

    Returns the number of steps, the last position and the state.
    """
    x, n = start, 0
    while -half_width <= x <= half_width and n < n_max:  # abs(x) is a third slower here
        z, s = _normal(s)
        x += drift + z
        n += 1
    return n, x, s


@_jit
def _euler_walk(
    nu: float, alpha: float, beta: float, dt: float, max_time: float
) -> tuple[float, float, float, int]:
    """Arguments of `_euler_trial`: evidence relative to alpha / 2, in units of sqrt(dt).

    In these units a step needs no product.
    """
    noise = math.sqrt(dt)
    n_max = int(min(math.ceil(max_time / dt - 1e-9), _MOST_STEPS))
    return (beta - 0.5) * alpha / noise, nu * noise, 0.5 * alpha / noise, n_max


@_jit
def corrected_step(alpha: float, dt: float) -> float:
    """Step length of the corrected scheme: `dt`, or what keeps the shift at alpha / 20."""
    limit = 0.05 * alpha / BOUNDARY_SHIFT
    return min(dt, max(limit * limit, 1e-300))


@_jit
def _euler_subject(
    subject: NDArray,
    corrected: bool,
    dt: float,
    max_time: float,
    s: _State,
    data: NDArray,
    timed_out: NDArray,
) -> None:
    """Fill one subject's trials, ``data`` (n_trials, 2) and ``timed_out`` (n_trials,)."""
    nu, alpha, t0, beta = subject[0], subject[1], subject[2], subject[3]
    if corrected:
        dt = corrected_step(alpha, dt)
    start, drift, half_width, n_max = _euler_walk(nu, alpha, beta, dt, max_time)
    if corrected:
        half_width -= BOUNDARY_SHIFT
    for k in range(data.shape[0]):
        n, x, s = _euler_trial(start, drift, half_width, n_max, s)
        timed_out[k] = -half_width <= x <= half_width
        data[k, 0] = 1.0 if x > 0.0 else 0.0
        data[k, 1] = _response_time(t0, max_time if timed_out[k] else n * dt)


@_jit
def _euler_paths(
    n_paths: int, subject: NDArray, dt: float, max_time: float, key: NDArray
) -> list[NDArray]:
    """Evidence (n_steps + 1,) of the first trials of the first subject under `key`.

    Walks each path twice over the same random numbers: to count the steps, then to keep them.
    """
    nu, alpha, beta = subject[0], subject[1], subject[3]
    start, drift, half_width, n_max = _euler_walk(nu, alpha, beta, dt, max_time)
    s = _stream(key, 0)
    paths = []
    for _ in range(n_paths):
        n, x, end = _euler_trial(start, drift, half_width, n_max, s)
        path = np.empty(n + 1)
        x = start
        for k in range(n):
            path[k] = 0.5 * alpha + x * math.sqrt(dt)
            z, s = _normal(s)
            x += drift + z
        path[n] = 0.5 * alpha + x * math.sqrt(dt)
        paths.append(path)
        s = end
    return paths


@_inlined
def _response_time(t0: float, decision_time: float) -> np.float32:
    """``t0 + decision_time`` as float32, but never rounded down to ``t0`` or below."""
    rt = np.float32(t0 + decision_time)
    while float(rt) <= t0:
        rt = np.nextafter(rt, np.float32(np.inf))
    return rt


# ------------------------------------------------------------------------------------------------
# Exact first passage
# ------------------------------------------------------------------------------------------------

#: Where the two series of the exit-time density meet, and the largest weight a_1 / a_0 of their
#: second terms (3 exp(-4 / 0.64) and 3 exp(-0.64 pi^2)): below 1 - this, no series is needed.
_CUT = 0.64
_SQUEEZE = 1.0 - 0.0059
_HALF_PI2 = 0.5 * math.pi**2
_N_ROUNDS = 48


@_jit
def _phi(x: float) -> float:
    """Standard normal distribution function."""
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


@_jit
def _tail_rate(z: float) -> float:
    """Rate of the exponential proposal for J*(1, z) beyond `_CUT`."""
    return math.pi**2 / 8.0 + 0.5 * z * z


@_jit
def _right_share(z: float) -> float:
    """Share of the proposal for J*(1, z) beyond `_CUT` (exponential rather than inverse Gaussian).

    Above z = 20 the share is below 1e-40 and its terms would overflow.
    """
    if z > 20.0:
        return 0.0
    rate = _tail_rate(z)
    right = 0.5 * math.pi / rate * math.exp(z - rate * _CUT)
    root = math.sqrt(_CUT)
    below = _phi((z * _CUT - 1.0) / root) + math.exp(2.0 * z) * _phi(-(z * _CUT + 1.0) / root)
    return right / (right + 2.0 * below)


@_inlined
def _inverse_gaussian(z: float, s: _State) -> tuple[float, _State]:
    """Inverse Gaussian with mean 1/z and shape 1, truncated to (0, `_CUT`)."""
    if z * _CUT < 1.0:  # mean beyond the cut: truncated Levy proposal, tilted by exp(-z^2 x / 2)
        while True:
            e, s = _exponential(s)
            f, s = _exponential(s)
            if e * e * _CUT > 2.0 * f:
                continue
            x = _CUT / (1.0 + _CUT * e) ** 2
            f, s = _exponential(s)
            if 2.0 * f >= z * z * x:
                return x, s
    while True:  # Michael, Schucany & Haas (1976)
        e, s = _normal(s)
        mean = 1.0 / z
        half = 0.5 * mean * e * e
        x = mean * (1.0 + half - math.sqrt(half * (2.0 + half)))
        u, s = _uniform(s)
        if u * (mean + x) > mean:
            x = mean * mean / x
        if x < _CUT:
            return x, s


@_jit
def _accepts(u: float, q: float) -> bool:
    """Whether u < 1 - 3 q^2 + 5 q^6 - 7 q^12 ..., from bounds that close in from both sides."""
    total, n = 1.0, 0
    while True:
        n += 1
        total -= (2 * n + 1) * q ** (n * (n + 1))
        if u <= total:
            return True
        n += 1
        total += (2 * n + 1) * q ** (n * (n + 1))
        if u > total:
            return False


@_inlined
def _exit_time(z: float, right_share: float, rate: float, s: _State) -> tuple[float, _State]:
    """Time at which Brownian motion with drift `z` leaves (-1, 1): the law J*(1, z), z >= 0.

    `right_share` and `rate` belong to `z`: see `_right_share` and `_tail_rate`.
    """
    while True:
        u, s = _uniform(s)
        right = u < right_share
        if right:
            e, s = _exponential(s)
            x = _CUT + e / rate
        else:
            x, s = _inverse_gaussian(z, s)
        u, s = _uniform(s)
        if u < _SQUEEZE or _accepts(u, math.exp(-_HALF_PI2 * x if right else -2.0 / x)):
            return x, s


@_jit
def _fill_round(y: float, nu: float, alpha: float, row: NDArray) -> None:
    """Describe the exit from the largest symmetric interval around `y` inside (0, alpha).

    ``row`` = squared half width h^2, probability of leaving upward, drift |nu| h of the rescaled
    motion, `_right_share`, whether down ends the trial, whether up ends it, next start,
    `_tail_rate`.
    """
    h = min(y, alpha - y)
    row[0] = h * h
    row[1] = 1.0 / (1.0 + math.exp(-2.0 * nu * h))
    row[2] = abs(nu) * h
    row[3] = _right_share(row[2])
    row[4] = y <= alpha - y
    row[5] = alpha - y <= y
    row[6] = 2.0 * y if y <= alpha - y else 2.0 * y - alpha
    row[7] = _tail_rate(row[2])


@_jit
def _exact_subject(subject: NDArray, s: _State, data: NDArray) -> None:
    """Fill one subject's trials, ``data`` (n_trials, 2).

    Rounds follow one sequence of starts whatever happens, as one exit ends the trial and the
    other leads to a known point. So each round is described once per subject, when first needed.
    """
    nu, alpha, t0, beta = subject[0], subject[1], subject[2], subject[3]
    rounds = np.empty((_N_ROUNDS, 8))
    known = 0
    for k in range(data.shape[0]):
        time, r = 0.0, 0
        y = beta * alpha
        while True:
            i = min(r, _N_ROUNDS - 1)
            if r >= known:
                _fill_round(y, nu, alpha, rounds[i])
                known = i + 1 if i < _N_ROUNDS - 1 else i
            x, s = _exit_time(rounds[i, 2], rounds[i, 3], rounds[i, 7], s)
            time += rounds[i, 0] * x
            u, s = _uniform(s)
            up = u < rounds[i, 1]
            if rounds[i, 5 if up else 4] > 0.0:
                break
            y = rounds[i, 6]
            r += 1
        data[k, 0] = 1.0 if up else 0.0
        data[k, 1] = _response_time(t0, time)


# ------------------------------------------------------------------------------------------------
# Subjects
# ------------------------------------------------------------------------------------------------


@_jit
def _euler_range(
    first: int,
    last: int,
    subjects: NDArray,
    corrected: bool,
    dt: float,
    max_time: float,
    key: NDArray,
    data: NDArray,
    timed_out: NDArray,
) -> None:
    """Simulate subjects `first` to `last` (exclusive) of `subjects` (n, 4) in steps."""
    for j in range(first, last):
        s = _stream(key, j)
        _euler_subject(subjects[j], corrected, dt, max_time, s, data[j], timed_out[j])


@_jit
def _exact_range(first: int, last: int, subjects: NDArray, key: NDArray, data: NDArray) -> None:
    """Simulate subjects `first` to `last` (exclusive) of `subjects` (n, 4) without steps."""
    for j in range(first, last):
        _exact_subject(subjects[j], _stream(key, j), data[j])


_TRIALS_PER_THREAD = 2_000  # fewer are not worth starting a thread
_CHUNKS_PER_THREAD = 8  # small chunks balance the load

# ------------------------------------------------------------------------------------------------
# Public functions
# ------------------------------------------------------------------------------------------------


def simulate_trials(
    nu: ArrayLike,
    alpha: ArrayLike,
    t0: ArrayLike,
    beta: ArrayLike,
    n_trials: int = 30,
    *,
    seed: Seed,
    scheme: str = "exact",
    dt: float = 1e-3,
    max_time: float = 10.0,
    num_threads: int | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    r"""Simulate trials of subjects with known parameters.

    Evidence follows :math:`dX = \nu\,dt + dW` from :math:`X_0 = \beta\alpha` until it leaves
    :math:`(0, \alpha)`.

    Parameters
    ----------
    nu, alpha, t0, beta : array_like, broadcast to a common shape (...)
        Drift rate, boundary separation (> 0), non-decision time in seconds (> 0), and relative
        starting point in (0, 1).
    n_trials : int, default 30
        Trials per subject.
    seed : int, numpy.random.SeedSequence or numpy.random.Generator
        The same seed gives the same trials, whatever the number of threads. A generator is
        advanced, so a second call with it gives new trials.
    scheme : {"exact", "euler-maruyama", "euler-maruyama-corrected"}
        Without steps or bias; with steps of length `dt` and the bias that goes with it; or with
        steps and both bounds moved inward by ``0.5826 * sqrt(dt)`` against that bias.
    dt : float, default 1e-3
        Step length in seconds; not used by ``"exact"``. The corrected scheme shortens it for
        subjects with a small `alpha`, so that the bounds move by at most ``alpha / 20``; a start
        nearer to a bound than that ends the trial at once.
    max_time : float, default 10.0
        Longest decision time in seconds; ``"exact"`` has no such limit.
    num_threads : int, optional
        Threads to use; by default as many as numba would (``NUMBA_NUM_THREADS``, or all cores).

    Returns
    -------
    data : float32 ndarray of shape (..., n_trials, 2)
        ``choice`` (0 lower, 1 upper) and ``rt`` in seconds.
    timed_out : bool ndarray of shape (..., n_trials)
        Trials still undecided after `max_time`. They are recorded as ``rt = t0 + max_time`` and
        the choice of the bound that the evidence was nearer to.

    Raises
    ------
    ValueError
        If an argument is out of range, not finite, or cannot be broadcast.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {SCHEMES}, got {scheme!r}.")
    steps = _checked_steps(dt, max_time)
    check_count("n_trials", n_trials)
    if num_threads is not None:
        check_count("num_threads", num_threads)
    subjects, shape = _subject_table(nu, alpha, t0, beta)
    n, key = len(subjects), _stream_key(seed)
    data = np.empty((n, n_trials, 2), dtype=np.float32)
    timed_out = np.zeros((n, n_trials), dtype=bool)
    corrected = scheme == "euler-maruyama-corrected"

    def part(first: int, last: int) -> None:
        if scheme == "exact":
            _exact_range(first, last, subjects, key, data)
        else:
            _euler_range(first, last, subjects, corrected, *steps, key, data, timed_out)

    at_once = min(num_threads or threads(), 1 + n * n_trials // _TRIALS_PER_THREAD)
    if at_once == 1:
        part(0, n)
    else:
        # Python's threads, not numba's: these may abort the process after a fork or when two
        # threads simulate at once, as a live widget beside a running cell does.
        edges = np.linspace(0, n, _CHUNKS_PER_THREAD * at_once + 1).astype(int).tolist()
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(part, edges[:-1], edges[1:]))
    return data.reshape(*shape, n_trials, 2), timed_out.reshape(*shape, n_trials)


def simulate_paths(
    nu: float,
    alpha: float,
    t0: float,
    beta: float,
    n_paths: int = 10,
    *,
    seed: Seed,
    dt: float = 1e-3,
    max_time: float = 10.0,
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Simulate the evidence of several Euler-Maruyama trials of one subject, for pictures.

    Parameters
    ----------
    nu, alpha, t0, beta, seed, dt, max_time
        As in :func:`simulate_trials`, for one subject.
    n_paths : int, default 10
        Number of paths.

    Returns
    -------
    list of (time, evidence)
        Arrays (n_steps + 1,) of different lengths: seconds since the stimulus, from `t0`, before
        which no evidence is collected, to the response time; and the evidence, from
        ``beta * alpha`` to the first value outside ``[0, alpha]``. A path that ends inside has
        timed out. They are the first trials that :func:`simulate_trials` draws with the same
        arguments and ``scheme="euler-maruyama"``.

    Raises
    ------
    ValueError
        If an argument is not a number or out of range.
    """
    steps = _checked_steps(dt, max_time)
    check_count("n_paths", n_paths)
    subjects, shape = _subject_table(nu, alpha, t0, beta)
    if shape != ():
        raise ValueError(f"nu, alpha, t0, beta must be single numbers, got shape {shape}.")
    paths = _euler_paths(n_paths, subjects[0], *steps, _stream_key(seed))
    return [(subjects[0, 2] + dt * np.arange(len(evidence)), evidence) for evidence in paths]


# ------------------------------------------------------------------------------------------------
# Checks
# ------------------------------------------------------------------------------------------------


def _checked_steps(dt: float, max_time: float) -> tuple[float, float]:
    """Step length and longest decision time (s) as compiled code takes them."""
    dt, max_time = check_positive("dt", dt), check_positive("max_time", max_time)
    if dt > max_time:
        raise ValueError(f"dt must not exceed max_time={max_time}, got {dt}.")
    return dt, max_time


def _stream_key(seed: Seed) -> NDArray[np.uint64]:
    """Derive the 128-bit key (2,) of all subjects' random streams."""
    return seed_sequence(seed).generate_state(2, np.uint64).astype(np.uint64)


_RANGE = {"nu": (-np.inf, np.inf), "alpha": (0, 1e15), "t0": (0, 1e15), "beta": (0, 1)}


def _subject_table(*values: ArrayLike) -> tuple[NDArray, tuple[int, ...]]:
    """Check nu, alpha, t0, beta and lay them out as (n, 4) beside their common shape."""
    arrays = [np.asarray(v, dtype=float) for v in values]
    for name, x in zip(_RANGE, arrays, strict=True):
        low, high = _RANGE[name]
        bad = ~((x > low) & (x < high))
        if bad.any():
            need = "finite" if name == "nu" else f"between {low:g} and {high:g}, both excluded"
            raise ValueError(f"{name} must be {need}, got {x[bad][0]} ({bad.sum()} of {x.size}).")
    try:
        columns = np.broadcast_arrays(*arrays)
    except ValueError:
        shapes = {k: x.shape for k, x in zip(_RANGE, arrays, strict=True)}
        raise ValueError(f"nu, alpha, t0, beta must broadcast, got shapes {shapes}.") from None
    table = np.ascontiguousarray(np.stack([x.ravel() for x in columns], axis=-1))
    return table, columns[0].shape
