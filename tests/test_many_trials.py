"""The exact posterior when each subject has many trials, against a grid laid along the ridge."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from oracles.joint import joint_posterior
from scipy.optimize import minimize

import eamlab as el
from eamlab.model.density import log_f0_grid
from eamlab.model.eam import beta_from_raw
from eamlab.reference.posterior import ReferenceWarning, log_likelihood
from eamlab.reference.tables import Domain

PRIOR = el.EAM.prior
AT_PRIOR_MEAN = dict(zip(PRIOR.names, PRIOR.means.tolist(), strict=True))


def persons(model, n_persons, n_trials, seed):
    """One person from each of several populations: pairs of a study and its group parameters."""
    draws = model.prior.sample(n_persons, np.random.default_rng(seed))
    for i in range(n_persons):
        group = {name: float(values[i, 0]) for name, values in draws.items()}
        yield el.simulate(model, 1, n_trials, seed=1000 * seed + i, group=group), group


def by_grid(study, group, model=el.EAM, n=31):
    """Log marginal likelihood of one person; mean and sd of log alpha."""
    choice, rt = study.trials[0].astype(float).T
    lower, upper, first = rt[choice == 0].copy(), rt[choice == 1].copy(), rt.min()
    beta = float(beta_from_raw(group["beta_raw"], model.constants["beta_concentration"]))
    n1, total = len(upper), len(rt)
    m_nu, m_a, m_t = (group[k] for k in ("mu_nu", "mu_log_alpha", "mu_log_t0"))
    s_nu, s_a, s_t = (np.exp(group[f"log_sigma_{k}"]) for k in ("nu", "log_alpha", "log_t0"))

    def log_p(x, y):
        t0, alpha = first / (1 + np.exp(-y)), np.exp(x)
        f = log_f0_grid(lower, upper, t0, np.array([alpha]), np.array([beta]), 0.0)[:, 0, 0]
        f = f + total * np.log(np.sin(np.pi * beta))
        precision = rt.sum() - total * t0 + s_nu**-2
        mode = (alpha * (n1 - total * beta) + m_nu / s_nu**2) / precision
        drift = 0.5 * precision * mode**2 - 0.5 * (m_nu / s_nu) ** 2 - 0.5 * np.log(precision)
        prior = -0.5 * ((x - m_a) / s_a) ** 2 - 0.5 * ((np.log(t0) - m_t) / s_t) ** 2
        return f + drift + prior - np.log(2 * np.pi * s_nu * s_a * s_t) - np.logaddexp(0, y)

    def fall(point):
        return -log_p(point[0], point[1:])[0] if np.all(np.abs(point) < (4, 15)) else np.inf

    starts = [np.array([[m_a, y], [m_a + 0.1, y], [m_a, y + 0.5]]) for y in (0.0, 2.0, 4.0)]
    rough = [
        minimize(fall, s[0], method="Nelder-Mead", options={"initial_simplex": s}).x for s in starts
    ]
    options = {"xatol": 1e-6, "fatol": 1e-7}
    mode = minimize(fall, min(rough, key=fall), method="Nelder-Mead", options=options).x
    h = np.array([1e-3, 1e-2]) * min(1.0, np.sqrt(200 / total))
    at = {(i, j): -fall(mode + h * np.array([i, j])) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    mixed = (at[1, -1] + at[-1, 1] - at[1, 1] - at[-1, -1]) / 4
    bend = np.array(
        [
            [2 * at[0, 0] - at[1, 0] - at[-1, 0], mixed],
            [mixed, 2 * at[0, 0] - at[0, 1] - at[0, -1]],
        ]
    ) / np.outer(h, h)
    cov = np.linalg.inv(bend)
    sd_x, slope, sd_y = np.sqrt(cov[0, 0]), cov[0, 1] / cov[0, 0], bend[1, 1] ** -0.5
    u = np.linspace(-9, 9, n)
    x = mode[0] + sd_x * u
    grid = np.array([log_p(value, mode[1] + slope * (value - mode[0]) + sd_y * u) for value in x])
    p = np.exp(grid - grid.max())
    weights = p.sum(axis=1) / p.sum()
    mean = weights @ x
    log_z = grid.max() + np.log(p.sum() * (u[1] - u[0]) ** 2 * sd_x * sd_y)
    return log_z, mean, np.sqrt(weights @ (x - mean) ** 2)


# --------------------------------------------------------------------------------------------------
# The likelihood
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [el.EAM, el.LABORATORY], ids=lambda model: model.name)
@pytest.mark.parametrize("n_trials", [30, 200, 600, 5000])
def test_likelihood_is_right_for_many_trials(model, n_trials):
    for study, group in persons(model, 3 if n_trials < 1000 else 1, n_trials, seed=3):
        assert abs(log_likelihood(study, model, group)[0] - by_grid(study, group, model)[0]) < 0.01


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", [el.EAM, el.LABORATORY], ids=lambda model: model.name)
@pytest.mark.parametrize("n_trials", [2000, 5000, 10_000])
def test_no_error_of_the_likelihood_is_silent(model, n_trials):
    for study, group in persons(model, 20, n_trials, seed=7):
        want = by_grid(study, group, model)[0]
        assert abs(log_likelihood(study, model, group)[0] - want) < 0.01
        # Together with starting points from the whole prior, for which one table must do.
        draws = {name: np.full(6, value) for name, value in group.items()}
        draws["beta_raw"][1:] = np.linspace(-4.0, 4.0, 5)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ReferenceWarning)
            error = abs(log_likelihood(study, model, draws)[0] - want)
        assert error < (0.02 if not caught else np.inf)
        assert model is el.LABORATORY or error < 0.01


def test_likelihood_of_narrow_and_ordinary_people_adds_up():
    studies = [study for study, _ in persons(el.EAM, 3, 30, seed=4)]
    studies[1] = next(iter(persons(el.EAM, 1, 800, seed=4)))[0]
    both = el.Study([study.trials[0] for study in studies])
    want = sum(log_likelihood(study, el.EAM, AT_PRIOR_MEAN)[0] for study in studies)
    assert abs(log_likelihood(both, el.EAM, AT_PRIOR_MEAN)[0] - want) < 1e-3


def test_domain_of_the_prior():
    domain = Domain.of(el.EAM)
    assert domain.mean == (0.0, -1.0, 0.5)
    assert domain.sd == (0.9, 0.6, 6.0)
    assert domain.narrowest_t0 == 0.15
    wide = Domain.of(el.LABORATORY)
    assert wide.mean == (0.3, -1.1, 1.0)
    assert wide.sd == (1.0, 0.6, 3.0)  # a laboratory's spread of drift is known better
    assert (domain.n_beta, wide.n_beta) == (8, 13)


# --------------------------------------------------------------------------------------------------
# What is drawn from it
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_persons", "n_draws"),
    [(1, 64), pytest.param(4, 1000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_exact_people_are_right_for_many_trials(n_persons, n_draws):
    for study, group in persons(el.EAM, n_persons, 5000, seed=3):
        people = el.exact_people(group, study, model=el.EAM, num_samples=n_draws, seed=1)
        draws = np.log(people["alpha"][:, 0])
        _, mean, sd = by_grid(study, group)
        # Independent draws: four standard errors.
        assert abs(draws.mean() - mean) < 4.0 * sd / np.sqrt(n_draws)
        assert abs(draws.std() / sd - 1) < 4.0 / np.sqrt(2.0 * n_draws)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", [el.EAM, el.LABORATORY], ids=lambda model: model.name)
def test_exact_and_joint_sampler_agree_for_many_trials(model):
    means = dict(zip(model.prior.names, model.prior.means.tolist(), strict=True))
    study = el.simulate(model, 2, 5000, seed=5, group=means)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReferenceWarning)
        draws = el.exact(study, model, 4000, seed=1, progress=False)
    joint = joint_posterior(study, model, 2000, seed=2, warmup=2000, sweeps=6000)
    for name in model.prior.names:
        assert abs(draws.mean[name] - joint.mean[name]) < 0.15 * joint.sd[name], name
        assert abs(draws.sd[name] / joint.sd[name] - 1) < 0.12, name


# --------------------------------------------------------------------------------------------------
# Warnings
# --------------------------------------------------------------------------------------------------


def test_every_function_warns_of_a_subject_beyond_the_quadrature():
    # All times equal to the microsecond: only a threshold of almost zero could produce them.
    odd = el.Study(np.column_stack([np.ones(30), 0.5 + 1e-6 * np.arange(30)])[None])
    with pytest.warns(ReferenceWarning, match="log_likelihood"):
        log_likelihood(odd, el.EAM, AT_PRIOR_MEAN)
    with pytest.warns(ReferenceWarning, match="exact_people"):
        el.exact_people(AT_PRIOR_MEAN, odd, model=el.EAM, num_samples=10, seed=1)
    with pytest.warns(ReferenceWarning, match="exact:"):
        el.exact(odd, el.EAM, 10, seed=1, progress=False)


def test_ordinary_subjects_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReferenceWarning)
        for study, group in persons(el.EAM, 10, 30, seed=5):
            log_likelihood(study, el.EAM, group)
            el.exact_people(group, study, model=el.EAM, num_samples=20, seed=1)
