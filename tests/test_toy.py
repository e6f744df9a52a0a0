"""The Gaussian toy against closed forms, and its sampler against the moments of a linear SDE.

Statistical tests use fixed seeds and bounds of 4 standard errors, which a correct sampler leaves
with probability 6e-5, plus a stated allowance for the finite step.
"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.stats import norm

from eamlab_book.toy import ENDS, GaussianToy, bridge, noise_levels, reverse_diffusion

TIMES = (0.02, 0.3, 0.7, 0.99)
X = np.linspace(-2, 2, 9)


def toy_of(n: int, noise_sd: float = 1.0) -> GaussianToy:
    rng = np.random.default_rng(n)
    return GaussianToy(0.8 + noise_sd * rng.standard_normal(n), noise_sd)


def limit_moments(score, stochastic=True):
    """Mean and sd at t = 0 of the reverse diffusion with a score linear in x, without step error.

    With score -p (x - c) and beta = pi tan(pi t / 2): -dm/dt = beta (m/2 + k score(m)) and
    -dV/dt = beta (V - 2 k p V + [1 if stochastic]), k = 1 (SDE) or 1/2 (ODE).
    """
    k = 1.0 if stochastic else 0.5

    def derivative(t, state):
        beta = np.pi * np.tan(np.pi * t / 2)
        at_mean = score(np.array([state[0], state[0] + 1.0]), t)
        slope = at_mean[1] - at_mean[0]
        mean = state[0] / 2 + k * at_mean[0]
        return [-beta * mean, -beta * (state[1] + 2 * k * slope * state[1] + stochastic)]

    end = solve_ivp(derivative, (ENDS[1], ENDS[0]), [0.0, 1.0], "Radau", rtol=1e-6, atol=1e-10)
    return end.y[0, -1], np.sqrt(end.y[1, -1])


def check_moments(x, mean, sd, step_error):
    """Within 4 standard errors, plus `step_error` sds for the finite step."""
    assert abs(x.mean() - mean) < (4 / np.sqrt(x.size) + step_error) * sd
    assert abs(x.std() / sd - 1) < 4 / np.sqrt(2 * x.size) + step_error


def test_the_schedule_preserves_variance():
    alpha, sigma = noise_levels(np.linspace(0, 1, 11))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1)
    assert (alpha[0], sigma[0]) == (1, 0)
    alpha, sigma = noise_levels(np.array(ENDS))
    np.testing.assert_allclose(2 * np.log(alpha / sigma), [12, -12])


def test_the_bridge_meets_its_ends():
    np.testing.assert_allclose(bridge([0, 0.5, 1], 0.25, 0.01), [0.25, 0.05, 0.01])
    np.testing.assert_allclose(bridge(0.3), 1)


@pytest.mark.parametrize("d0, d1", [(0, 1), (1, -1), (np.nan, 1)])
def test_the_bridge_refuses_ends_that_are_not_positive(d0, d1):
    with pytest.raises(ValueError, match="d0 and d1 must be positive"):
        bridge(0.5, d0, d1)


def test_exact_posterior_is_the_normalized_product():
    toy, grid = toy_of(4, 0.7), np.linspace(-6, 6, 4001)
    log_p = norm.logpdf(grid) + norm.logpdf(toy.y[:, None], grid, 0.7).sum(axis=0)
    p = np.exp(log_p - log_p.max())
    mean = np.sum(p * grid) / p.sum()
    sd = np.sqrt(np.sum(p * (grid - mean) ** 2) / p.sum())
    np.testing.assert_allclose(toy.posterior(), (mean, sd), rtol=1e-8)


@pytest.mark.parametrize("t", TIMES)
def test_group_scores_are_derivatives_of_diffused_posteriors(t):
    toy, h = toy_of(3, 0.7), 1e-5
    alpha, sigma = noise_levels(t)
    for score, y in zip(toy.group_scores(X, t), toy.y, strict=True):
        mean, sd = GaussianToy(np.array([y]), 0.7).posterior()
        density = norm(alpha * mean, np.hypot(alpha * sd, sigma))
        slope = (density.logpdf(X + h) - density.logpdf(X - h)) / (2 * h)
        np.testing.assert_allclose(score, slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("prior_weight", [1.0, 0.4])
def test_composition_is_exact_for_one_group_at_every_time(prior_weight):
    toy = toy_of(1)
    for t in TIMES:
        composed = toy.composed_score(X, t, prior_weight)
        np.testing.assert_allclose(composed, toy.exact_score(X, t))


@pytest.mark.parametrize("n", [2, 50])
def test_composition_is_exact_at_the_data_end_and_nowhere_else(n):
    toy = toy_of(n)
    np.testing.assert_allclose(toy.composed_score(X, 0.0), toy.exact_score(X, 0.0))
    for t in (0.1, 0.5, 0.9):
        assert np.ptp(toy.composed_score(X, t)) > 1.001 * np.ptp(toy.exact_score(X, t))


def test_weighting_the_prior_makes_the_noise_end_too_steep():
    toy = toy_of(50)
    assert np.ptp(toy.composed_score(X, 1.0)) == pytest.approx(np.ptp(X))
    assert np.ptp(toy.composed_score(X, 1.0, prior_weight=0.0)) == pytest.approx(50 * np.ptp(X))


@pytest.mark.parametrize("stochastic", [True, False])
@pytest.mark.parametrize("n", [1, 20])
def test_the_sampler_draws_from_the_exact_posterior_given_its_score(n, stochastic):
    toy = toy_of(n)
    x = reverse_diffusion(toy.exact_score, 20_000, steps=1000, stochastic=stochastic, seed=1)
    check_moments(x, *toy.posterior(), step_error=0.01)


@pytest.mark.parametrize("n, steps", [(5, 500), (100, 1000)])
def test_summed_scores_end_where_the_linear_sde_ends(n, steps):
    toy = toy_of(n)
    x = reverse_diffusion(toy.composed_score, 2000, steps=steps, seed=2)
    check_moments(x, *limit_moments(toy.composed_score), step_error=0.01)


@pytest.mark.parametrize("d0", [1.0, 0.5, 0.25])
def test_many_summed_scores_halve_the_variance_and_d0_tempers_it(d0):
    toy = toy_of(2000)
    _, sd = limit_moments(lambda x, t: bridge(t, d0, 1.0) * toy.composed_score(x, t))
    assert sd / toy.posterior()[1] == pytest.approx(np.sqrt(0.5 / d0), rel=0.02)


def test_the_ode_collapses_under_summed_scores():
    toy = toy_of(100)
    x = reverse_diffusion(toy.composed_score, 500, steps=300, stochastic=False, seed=3)
    assert x.std() < 0.01 * toy.posterior()[1]


def test_draws_depend_on_the_seed_only():
    toy = toy_of(3)
    a, b, c = (reverse_diffusion(toy.exact_score, 5, steps=10, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.any(a == c)


@pytest.mark.parametrize("num_samples, steps", [(0, 10), (10, 0)])
def test_the_sampler_refuses_empty_runs(num_samples, steps):
    with pytest.raises(ValueError, match="must be at least 1"):
        reverse_diffusion(toy_of(1).exact_score, num_samples, steps=steps, seed=1)


@pytest.mark.parametrize(
    "y, noise_sd", [(np.ones((2, 2)), 1.0), (np.array([np.nan]), 1.0), (np.ones(2), 0.0)]
)
def test_the_toy_refuses_data_it_cannot_use(y, noise_sd):
    with pytest.raises(ValueError, match="y must be finite"):
        GaussianToy(y, noise_sd)
