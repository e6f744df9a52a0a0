"""The exact posterior: against brute force, an independent sampler, and its own calibration.

Statistical tests use fixed seeds. A calibration test rejects a correct sampler with probability
0.05 per set of studies (simultaneous over all thresholds and the seven parameters), had its seed
been drawn at random; every other one with less than 0.001.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from oracles.joint import joint_posterior
from scipy import stats

from eamlab.draws import Draws
from eamlab.model.density import log_density
from eamlab.model.eam import EAM, beta_from_raw
from eamlab.model.simulator import BOUNDARY_SHIFT
from eamlab.reference import posterior as reference
from eamlab.reference import samplers
from eamlab.reference.individuals import exact_people
from eamlab.reference.posterior import ReferenceWarning, exact, log_likelihood
from eamlab.study import Study, simulate

GROUP_PRIOR = EAM.prior

AT_PRIOR_MEAN = dict(zip(GROUP_PRIOR.names, GROUP_PRIOR.means, strict=True))


def values(moments):
    return np.array([moments[name] for name in GROUP_PRIOR.names])


def brute_force_grid(trials, eta, shift):
    """Log integrand of one subject on a fine grid, after zooming in; and the grid."""
    choice, rt = trials.T.astype(float)
    group = dict(zip(GROUP_PRIOR.names, eta, strict=True))
    beta = beta_from_raw(group["beta_raw"])
    sd_nu, sd_a, sd_t = np.exp(eta[3:6])

    def integrand(x, y):
        alpha, t0 = np.exp(x)[:, None], (rt.min() / (1 + np.exp(-y)))[None, :]
        a, w = alpha + 2 * shift, (alpha * beta + shift) / (alpha + 2 * shift)
        log_lik = sum(log_density(t, c, 0.0, a, t0, w) for t, c in zip(rt, choice, strict=True))
        slope = (choice[:, None, None] * a - (w * a)).sum(axis=0)
        time = (rt[:, None, None] - t0).sum(axis=0)
        tau = time + sd_nu**-2
        mode = (slope + eta[0] * sd_nu**-2) / tau
        drift = 0.5 * tau * mode**2 - 0.5 * eta[0] ** 2 / sd_nu**2 - 0.5 * np.log(tau * sd_nu**2)
        prior = stats.norm.logpdf(x[:, None], eta[1], sd_a)
        prior = prior + stats.norm.logpdf(np.log(t0), eta[2], sd_t)
        return log_lik + drift + prior - np.logaddexp(0, y)

    low, high = np.array([-2.5, -6.0]), np.array([2.5, 9.0])
    for _ in range(8):
        x, y = np.linspace(low[0], high[0], 101), np.linspace(low[1], high[1], 121)
        log_p = integrand(x, y)
        inside = np.argwhere(log_p > log_p.max() - 35)
        first, last = np.maximum(inside.min(axis=0) - 1, 0), inside.max(axis=0) + 1
        low = np.array([x[first[0]], y[first[1]]])
        high = np.array([x[min(last[0], 100)], y[min(last[1], 120)]])
    return log_p, x, y


def brute_force(trials, eta, shift=0.0):
    log_p, x, y = brute_force_grid(trials, eta, shift)
    cell = (x[1] - x[0]) * (y[1] - y[0])
    return log_p.max() + np.log(np.exp(log_p - log_p.max()).sum() * cell)


# --------------------------------------------------------------------------------------------------
# The marginal likelihood
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("em_dt", [None, 1e-3])
def test_marginal_likelihood_agrees_with_brute_force(em_dt):
    shift = 0.0 if em_dt is None else BOUNDARY_SHIFT * np.sqrt(em_dt)
    studies = simulate(EAM, 2, 25, seed=3, n_studies=6)
    rng = np.random.default_rng(4)
    for one in studies:
        eta = values(one.group) + 0.4 * GROUP_PRIOR.sds * rng.standard_normal(7)
        want = sum(brute_force(trials, eta, shift) for trials in one.by_subject)
        group = dict(zip(GROUP_PRIOR.names, eta, strict=True))
        got = log_likelihood(one, EAM, group, em_dt=em_dt)
        np.testing.assert_allclose(got, [want], rtol=0, atol=1e-3)


@pytest.mark.parametrize("choice", [0.0, 1.0])
def test_likelihood_of_one_sided_choices(choice):
    # Polynomials evaluated outside their window once made such data blow up.
    rng = np.random.default_rng(5)
    trials = np.column_stack([np.full(30, choice), 0.3 + rng.gamma(2.0, 0.1, 30)])
    for eta in (GROUP_PRIOR.means, np.array([2.0, 0.1, -1.0, 1.5, -1.0, -0.5, 1.5])):
        group = dict(zip(GROUP_PRIOR.names, eta, strict=True))
        got = log_likelihood(Study([trials]), EAM, group)
        np.testing.assert_allclose(got, [brute_force(trials, eta)], rtol=0, atol=1e-3)


def test_likelihood_when_subjects_do_not_differ():
    # All spreads near zero: the likelihood is that of subjects at the group means.
    one = study(3, 6, n_trials=20, group=AT_PRIOR_MEAN)
    data = one.trials
    eta = AT_PRIOR_MEAN | {n: -9.0 for n in GROUP_PRIOR.names if n.startswith("log_sigma")}
    t0 = 0.8 * data[..., 1].min()
    eta["mu_log_t0"] = np.log(t0)
    want = log_density(data[..., 1], data[..., 0], 0.5, 1.0, t0, 0.5).sum()
    # Nodes in t0 are spaced for the spreads that the prior allows, so t0's spread stays larger.
    eta["log_sigma_log_t0"] = -2.2
    pinned = log_likelihood(one, EAM, eta)
    brute = sum(brute_force(trials, np.array(list(eta.values()))) for trials in data)
    np.testing.assert_allclose(pinned, [brute], rtol=0, atol=1e-3)
    assert abs(brute - want) < 20.0


def test_likelihood_of_many_group_parameters_is_vectorized():
    data = study(4, 7)
    draws = GROUP_PRIOR.sample(5, np.random.default_rng(0))
    together = log_likelihood(data, EAM, draws)
    apart = [log_likelihood(data, EAM, {k: v[i] for k, v in draws.items()})[0] for i in range(5)]
    np.testing.assert_allclose(together, apart, rtol=1e-12)


# --------------------------------------------------------------------------------------------------
# The answer key
# --------------------------------------------------------------------------------------------------


def study(n_subjects, seed, **settings):
    return simulate(EAM, n_subjects, seed=seed, **settings)


def test_posterior_has_the_promised_form():
    data = study(6, 8, group=AT_PRIOR_MEAN)
    posterior = exact(data, EAM, 300, seed=1)
    assert tuple(posterior) == GROUP_PRIOR.names
    assert posterior.array.shape == (300, 7)
    assert posterior.diagnostics["method"] == "importance"
    assert posterior.diagnostics["ess"] > 400
    assert posterior.warnings == ()
    again = exact(data, EAM, 300, seed=1)
    np.testing.assert_array_equal(posterior.array, again.array)
    assert not np.isin(exact(data, EAM, 300, seed=2).array, posterior.array).any()
    np.testing.assert_allclose(posterior.array.mean(axis=0), values(posterior.mean), atol=0.2)
    # Six subjects cannot tell more than the prior and 180 trials hold.
    assert np.all(values(posterior.sd) < 1.1 * GROUP_PRIOR.sds)


@pytest.mark.parametrize("log_spread", [None, -5.0])
def test_both_samplers_agree(log_spread):
    """Of a small spread the data say only that it is not large: the lower tail is the prior's."""
    small = {} if log_spread is None else {"log_sigma_log_alpha": log_spread}
    data = study(30, 9, group=AT_PRIOR_MEAN | small)
    chains = exact(data, EAM, 1500, seed=1, method="mcmc")
    weighted = exact(data, EAM, 1500, seed=2)
    assert weighted.diagnostics["method"] == "importance"
    gap = (values(chains.mean) - values(weighted.mean)) / values(chains.sd)
    error = np.sqrt(sum(1 / d.diagnostics["ess"] for d in (chains, weighted)))
    assert np.all(np.abs(gap) < 4.5 * error)
    np.testing.assert_allclose(values(weighted.sd), values(chains.sd), rtol=0.15)


def test_large_studies_find_the_truth():
    data = study(120, 10, group=AT_PRIOR_MEAN)
    posterior = exact(data, EAM, 500, seed=1)
    assert posterior.diagnostics["method"] == "importance"
    assert posterior.warnings == ()
    assert posterior.diagnostics["pareto_k"] < 0.7
    z = (values(posterior.mean) - GROUP_PRIOR.means) / values(posterior.sd)
    assert np.all(np.abs(z) < 4.0)
    # The sds that another evaluator of this posterior found at J = 100, scaled to 120.
    known = np.array([0.058, 0.0100, 0.034, 0.16, 0.35, 0.070, 0.134]) * np.sqrt(100 / 120)
    np.testing.assert_allclose(values(posterior.sd), known, rtol=0.35)


def test_ragged_studies_use_all_trials():
    data = study(5, 11, n_trials=40)
    counts = (7, 40, 1, 25, 40)
    ragged = Study([a[:n] for a, n in zip(data.by_subject, counts, strict=True)], "abcde")
    posterior = exact(ragged, EAM, 100, seed=1)
    assert np.isfinite(posterior.array).all() and posterior.subjects == tuple("abcde")
    eta = {name: AT_PRIOR_MEAN[name] for name in GROUP_PRIOR.names}
    want = sum(log_likelihood(ragged[[j]], EAM, eta)[0] for j in range(5))
    np.testing.assert_allclose(log_likelihood(ragged, EAM, eta), [want], rtol=1e-10)


def test_odd_subjects_are_named():
    data = study(6, 12, group=AT_PRIOR_MEAN)
    # All times equal to the microsecond: only a threshold of almost zero could produce them.
    data.trials[4] = np.column_stack([np.ones(30), 0.5 + 1e-6 * np.arange(30)])
    data = Study(data.trials, ["P1", "P2", "P3", "P5", "P7", "P8"])
    with pytest.warns(ReferenceWarning, match=r"\['P7'\]"):
        posterior = exact(data, EAM, 100, seed=1)
    assert posterior.warnings
    assert np.isfinite(posterior.array).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples must be an integer of at least 1, got 0"),
        ({"num_samples": True}, "num_samples must be an integer"),
        ({"num_samples": 1.5}, "num_samples must be an integer"),
        ({"seed": -1}, "seed must be a non-negative int"),
        ({"seed": 1.5}, "seed must be a non-negative int"),
        ({"method": "exact"}, "method must be"),
        ({"em_dt": -1e-3}, "em_dt must be"),
        ({"em_dt": 1.0}, "em_dt must be"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        exact(study(2, 13), EAM, **options)


def test_the_step_of_the_simulator_is_taken_into_account_in_full():
    """Steps of 10 ms widen the boundary by 2 x 0.0583: so much less is left of it for the model.

    Of both posteriors, and of a person's, given the same data. A tenth is allowed for what the
    start's and the prior's share changes.
    """
    data, dt = study(80, 52, n_trials=60, group=AT_PRIOR_MEAN), 0.01
    plain, stepped = (exact(data, EAM, 100, seed=1, em_dt=step) for step in (None, dt))
    gap = plain.mean["mu_log_alpha"] - stepped.mean["mu_log_alpha"]
    wider = 2.0 * BOUNDARY_SHIFT * np.sqrt(dt)
    want = -np.log1p(-wider / np.exp(plain.mean["mu_log_alpha"]))
    assert abs(gap / want - 1.0) < 0.1, (gap, want)
    wide = AT_PRIOR_MEAN | {"log_sigma_log_alpha": 0.0}
    one = study(1, 53, n_trials=200, group=AT_PRIOR_MEAN)
    plain, stepped = (people_of(one, wide, 4000, seed=1, em_dt=step) for step in (None, dt))
    gap = plain["alpha"].mean() - stepped["alpha"].mean()
    assert abs(gap / wider - 1.0) < 0.1, (gap, wider)


def test_weighted_draws_are_resampled_by_their_weights(monkeypatch):
    """Half of the weighted draws stand elsewhere, and weigh nothing."""

    def weighted(likelihood, x, factor, n, rng):
        draws = x + rng.standard_normal((n, 7)) @ factor.T
        draws[::2] += 1.0
        weights = np.tile([0.0, 2.0 / n], n // 2)
        return draws, weights, 0.1

    monkeypatch.setattr(reference, "importance_sample", weighted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReferenceWarning)
        draws = exact(study(3, 54), EAM, 500, seed=1)
    assert draws.diagnostics["method"] == "importance"
    assert draws.diagnostics["ess"] == pytest.approx(750.0)
    # moments are those of all weighted draws; 500 of them have the same within 6 standard errors
    gap = (draws.array.mean(axis=0) - values(draws.mean)) / values(draws.sd)
    assert np.abs(gap).max() < 6 / np.sqrt(500), gap


def test_what_the_quadrature_does_not_know_is_refused_in_one_sentence():
    data = study(2, 13)
    for other, known in ((None, "no density"), (lambda *_, **__: 0.0, "another density")):
        with pytest.raises(
            ValueError, match=f"^model: EAM has {known}.* el.certify and el.check.$"
        ):
            exact(data, replace(EAM, density=other))
    with pytest.raises(ValueError, match="^study must be a Study, .*got ndarray"):
        exact(data.trials, EAM)
    with pytest.raises(ValueError, match="^study must be one Study, got 2"):
        exact([data, data], EAM)


# --------------------------------------------------------------------------------------------------
# People
# --------------------------------------------------------------------------------------------------


def people_of(one, group, num_samples=None, **options):
    """Draws of the first person (S,), by name."""
    draws = exact_people(group, one[:1], model=EAM, num_samples=num_samples, **options)
    return {name: draws[name][:, 0] for name in EAM.person_names}


def test_subject_posterior_has_the_moments_of_brute_force():
    one = study(1, 14, group=AT_PRIOR_MEAN)
    trials, draws = one.trials[0], people_of(one, AT_PRIOR_MEAN, 20_000, seed=1)
    log_p, x, y = brute_force_grid(trials, GROUP_PRIOR.means, 0.0)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    t0 = trials[:, 1].min() / (1 + np.exp(-y))
    for got, want, weights in (
        (np.log(draws["alpha"]), x, p.sum(axis=1)),
        (draws["t0"], t0, p.sum(axis=0)),
    ):
        mean = weights @ want
        sd = np.sqrt(weights @ (want - mean) ** 2)
        # 20,000 independent draws: four standard errors are 0.028 sd.
        assert abs(got.mean() - mean) < 0.03 * sd
        assert abs(got.std() / sd - 1) < 0.03
        below = weights @ (want < mean)
        assert abs(np.mean(got < mean) - below) < 0.03


def test_subject_drift_follows_its_normal_conditional():
    one = study(1, 15, group=AT_PRIOR_MEAN)
    trials, draws = one.trials[0].astype(float), people_of(one, AT_PRIOR_MEAN, 5000, seed=2)
    choice, rt = trials.T
    slope = draws["alpha"] * (choice.sum() - len(choice) * 0.5)
    tau = rt.sum() - len(rt) * draws["t0"] + np.exp(2.0)
    z = (draws["nu"] - (slope + 0.5 * np.exp(2.0)) / tau) * np.sqrt(tau)
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_subject_posterior_gives_one_draw_for_each_group_draw():
    data = study(6, 16, group=AT_PRIOR_MEAN)
    group = {k: np.full(50, v) for k, v in AT_PRIOR_MEAN.items()}
    group["mu_log_t0"] = np.repeat([-1.4, -0.6], 25)
    group["log_sigma_log_t0"] = np.full(50, -3.0)
    draws = exact_people(Draws(group, model=EAM), data, seed=3)
    assert draws["t0"].shape == (50, 6) and draws.group_names == GROUP_PRIOR.names
    np.testing.assert_array_equal(draws["mu_log_t0"], group["mu_log_t0"])
    assert np.all(draws["t0"][:25].max(axis=0) < draws["t0"][25:].mean(axis=0))


def test_subject_posterior_names_bad_group_parameters():
    one = study(1, 17)
    with pytest.raises(ValueError, match=r"group lacks \['mu_log_alpha'"):
        people_of(one, {"mu_nu": 0.5})
    with pytest.raises(ValueError, match="beta_raw"):
        people_of(one, AT_PRIOR_MEAN | {"beta_raw": 9.0})
    with pytest.raises(ValueError, match="same S"):
        people_of(one, AT_PRIOR_MEAN | {"mu_nu": [0.1, 0.2]})
    with pytest.raises(ValueError, match="model is needed where draws do not say"):
        exact_people(AT_PRIOR_MEAN, one)
    several = {k: np.full(3, v) for k, v in AT_PRIOR_MEAN.items()}
    with pytest.raises(ValueError, match="num_samples"):
        people_of(one, several, 5)


# --------------------------------------------------------------------------------------------------
# Diagnostics
# --------------------------------------------------------------------------------------------------


def test_effective_sample_size_of_an_autoregressive_chain():
    rng = np.random.default_rng(18)
    x = np.zeros((4, 20_000))
    for i in range(1, x.shape[1]):
        x[:, i] = 0.9 * x[:, i - 1] + rng.standard_normal(4)
    want = x.size * (1 - 0.9) / (1 + 0.9)
    np.testing.assert_allclose(samplers.min_ess(x[..., None]), want, rtol=0.1)
    independent = rng.standard_normal((4, 20_000, 2))
    np.testing.assert_allclose(samplers.min_ess(independent), x.size, rtol=0.1)


def test_r_hat_sees_a_chain_that_is_elsewhere():
    rng = np.random.default_rng(19)
    states = rng.standard_normal((4, 2000, 7))
    assert samplers.max_r_hat(states) < 1.01
    for wrong in (states[3] + 0.5, np.zeros((2000, 7))):
        elsewhere = np.concatenate([states[:3], wrong[None]])
        assert samplers.max_r_hat(elsewhere) > 1.02
    # Chains that all drift in the same way are alike, and their halves are not.
    assert samplers.max_r_hat(states + np.linspace(-1.0, 1.0, 2000)[:, None]) > 1.02


def test_chains_that_never_move_are_reported(monkeypatch):
    def stuck(chains, num_samples, most):
        return np.zeros((samplers.N_CHAINS, 2500, 7))

    monkeypatch.setattr(reference, "sample_chains", stuck)
    with pytest.warns(ReferenceWarning, match="did not mix"):
        exact(study(2, 8), EAM, 50, seed=1, method="mcmc")


# --------------------------------------------------------------------------------------------------
# Calibration
# --------------------------------------------------------------------------------------------------

N_DRAWS = 199
THRESHOLDS = np.linspace(0.02, 0.98, 97)


def calibration_ranks(n_studies, n_subjects, seed, *, scheme="exact", em_dt=None):
    """Rank of the truth among posterior draws, scaled to (0, 1): (n_studies, 7)."""
    studies = simulate(EAM, n_subjects, seed=seed, n_studies=n_studies, scheme=scheme)
    truth = np.stack([values(one.group) for one in studies])
    rng = np.random.default_rng(seed)
    ranks = []
    for i in range(n_studies):
        with warnings.catch_warnings():
            # Odd studies are part of the prior, so they must count as well.
            warnings.simplefilter("ignore", ReferenceWarning)
            posterior = exact(studies[i], EAM, N_DRAWS, seed=1000 + i, em_dt=em_dt, progress=False)
        below = (posterior.array < truth[i]).sum(axis=0)
        ranks.append((below + rng.random(7)) / (N_DRAWS + 1))
    return np.array(ranks)


def ecdf_distance(ranks):
    """Largest ECDF difference in pointwise standard errors, over thresholds: (7,) or (…, 7)."""
    ecdf = (ranks[..., None, :, :] <= THRESHOLDS[:, None, None]).mean(axis=-2)
    scale = np.sqrt(THRESHOLDS * (1 - THRESHOLDS) / ranks.shape[-2])
    return (np.abs(ecdf - THRESHOLDS[:, None]) / scale[:, None]).max(axis=-2)


def band(n_studies, level=0.05):
    """Distance that seven calibrated parameters all stay within, with probability 1 - level."""
    rng = np.random.default_rng(0)
    worst = [ecdf_distance(rng.random((n_studies, 7))).max() for _ in range(2000)]
    return np.quantile(worst, 1 - level)


def assert_calibrated(ranks, level=0.05):
    distance = ecdf_distance(ranks)
    limit = band(len(ranks), level)
    worst = dict(zip(GROUP_PRIOR.names, distance.round(2).tolist(), strict=True))
    assert np.all(distance < limit), f"outside the band {limit:.2f}: {worst}"
    covered = (np.abs(ranks - 0.5) < 0.45).sum(axis=0)
    low, high = stats.binom.interval(1 - level / 7, len(ranks), 0.9)
    assert np.all((covered >= low) & (covered <= high)), f"90 % intervals cover {covered}"


def test_posterior_is_calibrated_in_a_few_studies():
    assert_calibrated(calibration_ranks(20, 4, seed=31), level=1e-3)


def test_calibration_check_can_fail():
    # Truths one posterior sd too high, or posteriors at half their width, must not pass.
    rng = np.random.default_rng(32)
    z = rng.standard_normal((100, 7))
    for wrong in (stats.norm.cdf(z + 1.0), stats.norm.cdf(2.0 * z)):
        with pytest.raises(AssertionError, match="outside the band"):
            assert_calibrated(wrong)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("n_studies", "n_subjects", "seed", "settings"),
    [
        (200, 5, 11, {}),
        (100, 10, 12, {}),
        (100, 10, 13, {"scheme": "euler-maruyama", "em_dt": 1e-3}),
    ],
    ids=["J=5", "J=10", "J=10, Euler-Maruyama"],
)
def test_posterior_is_calibrated(n_studies, n_subjects, seed, settings):
    assert_calibrated(calibration_ranks(n_studies, n_subjects, seed, **settings))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [21, 22, 23])
def test_marginal_and_joint_sampler_agree(seed):
    data = study(20, seed)
    marginal = exact(data, EAM, 4000, seed=1, progress=False)
    joint = joint_posterior(data, EAM, 2000, seed=2, sweeps=16_000)
    gap = (values(joint.mean) - values(marginal.mean)) / values(marginal.sd)
    assert np.all(np.abs(gap) < 0.1), gap
    np.testing.assert_allclose(values(joint.sd), values(marginal.sd), rtol=0.05)
    # Ancestral draws of a subject are draws from its marginal posterior.
    for j in (0, 19):
        ancestral = exact_people(marginal, data[[j]], seed=3)
        for name in EAM.person_names:
            draws, other = ancestral[name][:, 0], joint[name][:, j]
            assert abs(draws.mean() - other.mean()) < 0.15 * other.std()
            assert abs(draws.std() / other.std() - 1) < 0.15


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_studies_from_the_whole_prior_never_fail():
    studies = simulate(EAM, 20, seed=41, n_studies=500)
    truth = np.stack([values(one.group) for one in studies])
    inside = []
    for i in range(500):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            posterior = exact(studies[i], EAM, N_DRAWS, seed=i, progress=False)
        assert np.isfinite(posterior.array).all()
        assert bool(posterior.warnings) == any(
            issubclass(w.category, ReferenceWarning) for w in caught
        )
        below = (posterior.array < truth[i]).sum(axis=0)
        if not posterior.warnings:
            inside.append(below)
    # At most one study in twenty is beyond the evaluator, and the others are calibrated.
    assert len(inside) > 475
    assert_calibrated((np.array(inside) + 0.5) / (N_DRAWS + 1), level=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_correction_for_euler_maruyama_removes_its_bias():
    data = study(1000, 51, group=AT_PRIOR_MEAN, scheme="euler-maruyama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReferenceWarning)
        plain = exact(data, EAM, 500, seed=1, progress=False)
        corrected = exact(data, EAM, 500, seed=1, em_dt=1e-3, progress=False)
    z_plain = (values(plain.mean) - GROUP_PRIOR.means) / values(plain.sd)
    z_corrected = (values(corrected.mean) - GROUP_PRIOR.means) / values(corrected.sd)
    assert z_plain[GROUP_PRIOR.names.index("mu_log_alpha")] > 8.0
    assert np.all(np.abs(z_corrected) < 4.0), z_corrected


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_subjects():
    data = study(10_000, 61, group=AT_PRIOR_MEAN)
    posterior = exact(data, EAM, 1000, seed=1, progress=False)
    assert posterior.warnings == ()
    z = (values(posterior.mean) - GROUP_PRIOR.means) / values(posterior.sd)
    assert np.all(np.abs(z) < 4.0), z
    known = np.array([0.0061, 0.0011, 0.0040, 0.014, 0.028, 0.0074, 0.0137])
    np.testing.assert_allclose(values(posterior.sd), known, rtol=0.25)


AROUND = """
import os
import numpy as np
from eamlab.reference import posterior, quadrature, tables
if "NUMBA_CACHE_DIR" in os.environ:  # before anything is compiled
    quadrature._N_ALPHA, quadrature._ALPHA_STEP = 24, quadrature._ALPHA_STEP / 2
    tables._T0_STEP, tables._PILOT_SHAPE = tables._T0_STEP / 2, (32, 28)
    tables._WINDOW_CUT, tables._DEGREE_DIGITS = 20.0, 15.0
from eamlab.model.eam import EAM
from eamlab_book.report_card import STRATIFIED
from eamlab_book.results.models import graded
from eamlab_book.results.workshop import Workshop
from eamlab_book.stored import load_stored
index, names = int(os.environ["STUDY"]), posterior.coordinates(EAM).names
rows = load_stored("keys.json", STRATIFIED)["rows"]
key = next(row for row in rows if (row["J"], row["study"]) == (10_000, index))
mean, sd = (np.array([key[k][name] for name in names]) for k in ("mean", "sd"))
people = posterior.subjects_of(graded(Workshop(), STRATIFIED, 10_000, index))
domain = posterior.domain_of(EAM).around(mean, sd)
likelihood = posterior.likelihood_of(people, EAM, domain, 0.0, False)
points = mean + sd * np.random.default_rng(5).standard_normal((40, len(names)))
print("values", *likelihood(points).tolist())
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("index", [0, 8, 16, 24, 29])  # the last two with extreme spreads
def test_twice_as_many_nodes_change_nothing_at_ten_thousand(index, python, tmp_path):
    """Log likelihoods that differ with an sd of d over a posterior move its means by d sds at most.

    By the inequality of Cauchy and Schwarz: a mean's shift, in sds, is its correlation with the
    difference times the difference's sd.
    """
    usual, finer = (
        np.array(python(AROUND, STUDY=str(index), **more).stdout.split("values")[1].split(), float)
        for more in ({"NUMBA_CACHE_DIR": None}, {"NUMBA_CACHE_DIR": str(tmp_path)})
    )
    assert np.abs(finer - usual).max() > 0.0  # the nodes were others
    assert (finer - usual).std() < 0.03
