"""The first-passage density against extended precision, its own integrals, and another package."""

import itertools

import mpmath
import numpy as np
import pytest
from hddm_wfpt import wfpt
from scipy.integrate import quad

from eamlab.model.density import choice_probability, defective_cdf, log_density, log_f0_grid
from eamlab.model.eam import EAM, beta_from_raw


def prior_parameters(n, seed):
    """nu, alpha, t0, beta (n,) of subjects drawn from the prior."""
    rng = np.random.default_rng(seed)
    group = EAM.prior.sample(n, rng)
    subjects = EAM.sample_people(group, 1, rng)
    beta = beta_from_raw(group["beta_raw"])
    return (*(subjects[name].ravel() for name in ("nu", "alpha", "t0")), beta.ravel())


def extended_log_density(rt, choice, nu, alpha, t0, beta):
    """The density from both series, 40 digits and 41 or 30 terms."""
    with mpmath.workdps(40):
        t = mpmath.mpf(rt) - mpmath.mpf(t0)
        nu, alpha, w = mpmath.mpf(nu), mpmath.mpf(alpha), mpmath.mpf(beta)
        if choice == 1:
            nu, w = -nu, 1 - w
        u = t / alpha**2
        if u < 0.5:
            terms = [
                (w + 2 * k) * mpmath.exp(-((w + 2 * k) ** 2) / (2 * u)) for k in range(-20, 21)
            ]
            f0 = mpmath.fsum(terms) / mpmath.sqrt(2 * mpmath.pi * u**3)
        else:
            rate = mpmath.pi**2 * u / 2
            terms = [
                k * mpmath.exp(-(k**2) * rate) * mpmath.sin(k * mpmath.pi * w) for k in range(1, 31)
            ]
            f0 = mpmath.pi * mpmath.fsum(terms)
        return -nu * alpha * w - nu**2 * t / 2 - 2 * mpmath.log(alpha) + mpmath.log(f0)


def test_density_agrees_with_long_sums_in_extended_precision():
    nu, alpha, t0, beta = prior_parameters(600, 1)
    rng = np.random.default_rng(2)
    # Scaled times from deep in the lower tail to far in the upper one.
    rt = t0 + alpha**2 * np.exp(rng.uniform(np.log(0.01), np.log(6.0), 600))
    choice = rng.integers(0, 2, 600)
    got = log_density(rt, choice, nu, alpha, t0, beta)
    cases = zip(rt, choice, nu, alpha, t0, beta, strict=True)
    gaps = [abs(float(extended_log_density(*c) - g)) for c, g in zip(cases, got, strict=True)]
    # Extreme prior draws have log densities in the thousands, of which 1e-12 is the last digit.
    assert max(gaps / np.maximum(1.0, np.abs(got) / 1000.0)) < 1e-12


@pytest.mark.parametrize(
    "beta",
    [
        1e-20,
        1e-17,
        1e-13,
        1e-9,
        9e-7,
        2e-6,
        1e-3,
        0.05,
        0.5,
        0.95,
        0.999,
        1 - 2.0**-21,
        1 - 2.0**-53,
    ],
)
def test_density_is_accurate_for_any_start(beta):
    for u in (0.002, 0.1, 0.2499, 0.25, 0.5, 3.0):
        got = log_density(u, [0, 1], 0.7, 1.0, 0.0, beta)
        want = [float(extended_log_density(u, c, 0.7, 1.0, 0.0, beta)) for c in (0, 1)]
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-11)


def integrals(choice, nu, alpha, t0, beta):
    """Integral of the density over all times, by trapezoid in the log of scaled time."""
    x = np.linspace(np.log(1e-4), np.log(200.0), 1500)
    u = np.exp(x)
    nu, alpha, t0, beta = (np.expand_dims(v, -1) for v in (nu, alpha, t0, beta))
    density = np.exp(log_density(t0 + alpha**2 * u, choice, nu, alpha, t0, beta))
    return np.trapezoid(density * alpha**2 * u, x, axis=-1)


def test_density_integrates_to_the_closed_form_choice_probability():
    nu, alpha, t0, beta = prior_parameters(200, 3)
    upper = integrals(1, nu, alpha, t0, beta)
    lower = integrals(0, nu, alpha, t0, beta)
    np.testing.assert_allclose(upper + lower, 1.0, rtol=0, atol=1e-9)
    np.testing.assert_allclose(upper, choice_probability(nu, alpha, beta), rtol=0, atol=1e-9)


def test_cdf_is_the_integral_of_the_density():
    for nu, alpha, t0, beta in zip(*prior_parameters(10, 4), strict=True):
        for choice, u in itertools.product((0, 1), (0.05, 0.24, 0.26, 2.0)):
            end = t0 + alpha**2 * u
            case = (choice, nu, alpha, t0, beta)

            def density(t, case=case):
                return float(np.exp(log_density(t, *case)))

            want = quad(density, t0, end, epsabs=1e-12, epsrel=1e-12, limit=200)[0]
            np.testing.assert_allclose(defective_cdf(end, *case), want, rtol=0, atol=1e-10)


def test_cdf_series_meet_and_reach_their_limits():
    nu, alpha, t0, beta = prior_parameters(200, 5)
    switch = t0 + 0.25 * alpha**2
    below = defective_cdf(switch * (1 - 1e-13), 0, nu, alpha, t0, beta)
    np.testing.assert_allclose(below, defective_cdf(switch, 0, nu, alpha, t0, beta), atol=1e-10)
    limit = defective_cdf(1e9, 1, nu, alpha, t0, beta)
    np.testing.assert_allclose(limit, choice_probability(nu, alpha, beta), atol=1e-14)
    assert np.all(defective_cdf(t0, 0, nu, alpha, t0, beta) == 0.0)


def test_density_agrees_with_hddm_wfpt():
    # There `a` is the separation, `z` the relative start, negative times the lower bound.
    nu, alpha, t0, beta = prior_parameters(100, 6)
    rng = np.random.default_rng(7)
    for v, a, t, z in zip(nu, alpha, t0, beta, strict=True):
        rt = t + a**2 * rng.uniform(0.05, 3.0, 20)
        choice = rng.integers(0, 2, 20)
        signed = np.where(choice == 1, rt, -rt)
        theirs = wfpt.pdf_array(signed, v, 0.0, a, z, 0.0, t, 0.0, err=1e-12)
        ours = np.exp(log_density(rt, choice, v, a, t, z))
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


def test_tails_do_not_underflow():
    times = np.array([1e-5, 1e-3, 100.0, 1e4])
    assert np.isfinite(log_density(times, 1, 8.0, 2.0, 0.0, 0.5)).all()
    assert np.isfinite(log_density(times, 0, 8.0, 2.0, 0.0, 0.5)).all()
    assert np.all(np.diff(log_density(times[:2], 0, 0.0, 1.0, 0.0, 0.5)) > 0)


def test_no_density_before_the_non_decision_time():
    assert np.all(log_density([-1.0, 0.1, 0.3], 0, 0.5, 1.0, 0.3, 0.5) == -np.inf)
    assert np.all(log_density(np.inf, [0, 1], [[0.0], [0.5]], 1.0, 0.3, 0.5) == -np.inf)


def test_bounds_mirror_each_other():
    upper = log_density([0.4, 0.9], 1, 1.3, 1.1, 0.2, 0.42)
    lower = log_density([0.4, 0.9], 0, -1.3, 1.1, 0.2, 0.58)
    np.testing.assert_allclose(upper, lower, atol=1e-14)


def test_arguments_broadcast():
    out = log_density(np.ones((3, 1)), 0, np.zeros(4), 1.0, 0.2, 0.5)
    assert out.shape == (3, 4)
    assert out.dtype == np.float64


def test_choice_probability_is_safe_at_its_limits():
    p = choice_probability([0.0, 1e-300, 1e-12, 1e4, -1e4], 2.0, 0.3)
    np.testing.assert_allclose(p, [0.3, 0.3, 0.3, 1.0, 0.0], atol=1e-11)
    both = choice_probability(0.8, 1.2, 0.4) + choice_probability(-0.8, 1.2, 0.6)
    np.testing.assert_allclose(both, 1.0, atol=1e-15)


def test_grid_of_sums_agrees_with_the_density_of_shifted_bounds():
    rng = np.random.default_rng(8)
    lower, upper = rng.uniform(0.3, 3.0, 11), rng.uniform(0.3, 3.0, 7)
    t0, alpha, beta, shift = (
        np.array([0.1, 0.29]),
        np.array([0.3, 1.0, 2.0]),
        np.array([0.4, 0.6]),
        0.02,
    )
    grid = log_f0_grid(lower, upper, t0, alpha, beta, shift)
    for k, m, i in np.ndindex(grid.shape):
        a = alpha[i] + 2 * shift
        w = (alpha[i] * beta[m] + shift) / a
        want = log_density(lower, 0, 0.0, a, t0[k], w).sum()
        want += log_density(upper, 1, 0.0, a, t0[k], w).sum()
        want -= 18 * np.log(np.sin(np.pi * w))
        np.testing.assert_allclose(grid[k, m, i], want, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choice": 2}, "choice must be 0"),
        ({"choice": -1}, "choice must be 0"),
        ({"alpha": 0.0}, "alpha must be"),
        ({"nu": -np.inf}, "nu must be finite"),
        ({"t0": np.inf, "rt": np.inf}, "t0 must be finite"),
        ({"alpha": np.inf}, "alpha must be"),
        ({"beta": 1.0}, "beta must be"),
        ({"rt": [0.5, np.nan]}, "rt has 1 NaN"),
        ({"nu": np.nan}, "nu has 1 NaN"),
    ],
)
@pytest.mark.parametrize("function", [log_density, defective_cdf])
def test_bad_arguments_are_named(function, change, message):
    good = {"rt": 0.5, "choice": 1, "nu": 0.5, "alpha": 1.0, "t0": 0.2, "beta": 0.5}
    with pytest.raises(ValueError, match=message):
        function(**(good | change))
