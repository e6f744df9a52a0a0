"""The exact posterior of two conditions: against grids, one condition, and a joint sampler."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from oracles.joint_conditions import sample_jointly
from scipy.optimize import minimize

import eamlab as el
from eamlab.model.density import log_density
from eamlab.model.eam import beta_from_raw
from eamlab.reference.posterior import ReferenceWarning, log_likelihood

MODEL = el.TWO_CONDITIONS
PRIOR = MODEL.prior
AT_PRIOR_MEAN = dict(zip(PRIOR.names, PRIOR.means.tolist(), strict=True))
CODES = np.array([-0.5, 0.5])


def persons(n_persons, n_trials, seed, share=0.5):
    """One person from each of several populations: pairs of a study and its group parameters."""
    draws = PRIOR.sample(n_persons, np.random.default_rng(seed))
    for i in range(n_persons):
        group = {name: float(values[i, 0]) for name, values in draws.items()}
        own = 1000 * seed + i
        yield el.simulate(MODEL, 1, n_trials, seed=own, group=group, share=share), group


def by_grid(study, group, n=61, reach=7.5):
    """Log marginal likelihood of one person, its two drift rates integrated by matrix algebra."""
    choice, rt, code = study.by_subject[0].astype(float).T
    beta = float(beta_from_raw(group["beta_raw"], MODEL.constants["beta_concentration"]))
    mean = np.array([group["mu_nu"], group["mu_nu_change"]])
    spread = np.exp([group["log_sigma_nu"], group["log_sigma_nu_change"]])
    (m_a, m_c, m_t), (s_a, s_c, s_t) = (
        [f(group[f"{what}_{k}"]) for k in ("log_alpha", "log_alpha_change", "log_t0")]
        for f, what in ((float, "mu"), (np.exp, "log_sigma"))
    )
    x_of = np.stack([np.ones(2), CODES])  # regressors of either condition

    def parts(c, y, x):
        """F, a and B of condition c, given arrays (...) of y and log alpha."""
        own = code == CODES[c]
        y, x = np.broadcast_arrays(y, x)
        t, up = (v[own].reshape(-1, *(1,) * y.ndim) for v in (rt, choice))
        f = log_density(t, up, 0.0, np.exp(x), rt.min() / (1 + np.exp(-y)), beta).sum(axis=0)
        return f, np.exp(x) * (up - beta).sum(axis=0), (t - rt.min() / (1 + np.exp(-y))).sum(axis=0)

    def log_p(y, x1, x2, done):
        (f1, a1, b1), (f2, a2, b2) = done
        big_a = a1[..., None] * x_of[:, 0] + a2[..., None] * x_of[:, 1]
        both = (b1, x_of[:, 0]), (b2, x_of[:, 1])
        big_b = sum(b[..., None, None] * np.outer(v, v) for b, v in both)
        inner = big_b + np.diag(spread**-2.0)
        right = big_a + mean / spread**2
        gain = (right * np.linalg.solve(inner, right[..., None])[..., 0]).sum(-1)
        drift = 0.5 * (gain - (mean**2 / spread**2).sum()) - 0.5 * np.log(
            np.linalg.det(inner) * np.prod(spread**2)
        )
        log_t0 = np.log(rt.min()) - np.logaddexp(0, -y)
        x, change = (x1 + x2) / 2, x2 - x1
        z2 = ((x - m_a) / s_a) ** 2 + ((change - m_c) / s_c) ** 2 + ((log_t0 - m_t) / s_t) ** 2
        scale = 1.5 * np.log(2 * np.pi) + np.log(s_a * s_c * s_t)
        return f1 + f2 + drift - 0.5 * z2 - scale - np.logaddexp(0, y)

    def height(point):
        y, x1, x2 = (np.array([v]) for v in point)
        if not np.all(np.abs(point) < (15, 5, 5)):
            return -np.inf
        return log_p(y, x1, x2, (parts(0, y, x1), parts(1, y, x2)))[0]

    low, high = m_a - m_c / 2, m_a + m_c / 2
    starts = [np.array([y, low, high]) for y in (-0.5, 1.0, 3.0)]
    mode = max(starts, key=height)
    for size in (0.3, 0.05, 0.02):
        simplex = mode + size * np.vstack([np.zeros(3), np.diag([2.0, s_a + 0.2, s_a + 0.2])])
        options = {"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-5}
        mode = minimize(lambda q: -height(q), mode, method="Nelder-Mead", options=options).x
    h = np.array([0.02, 0.005, 0.005]) * min(1.0, np.sqrt(200 / len(rt)))
    bend = np.empty((3, 3))
    steps = np.diag(h)
    for i in range(3):
        for k in range(3):
            corners = [
                height(mode + p * steps[i] + q * steps[k]) * p * q for p in (-1, 1) for q in (-1, 1)
            ]
            bend[i, k] = -sum(corners) / (4 * h[i] * h[k])
    cov = np.linalg.inv(bend)
    u = np.linspace(-reach, reach, n)
    y = mode[0] + np.sqrt(cov[0, 0]) * u
    slopes, rest = cov[1:, 0] / cov[0, 0], np.sqrt(np.diag(np.linalg.inv(bend[1:, 1:])))
    x1, x2 = (mode[1 + c] + slopes[c] * (y - mode[0])[:, None] + rest[c] * u for c in (0, 1))
    done = [parts(c, y[:, None], x) for c, x in enumerate((x1, x2))]
    total = -np.inf
    for k in range(n):
        one, two = ([v[k] for v in part] for part in done)
        both = [v[:, None] + np.zeros(n) for v in one], [v[None] + np.zeros((n, 1)) for v in two]
        value = log_p(y[k], x1[k][:, None], x2[k][None], both)
        total = np.logaddexp(total, np.log(np.exp(value - value.max()).sum()) + value.max())
    return total + np.log((u[1] - u[0]) ** 3 * np.sqrt(cov[0, 0]) * rest[0] * rest[1])


QUICK = ((10, 0.5), (10, 1.0), (60, 0.9), (300, 0.5), (3000, 0.9))


@pytest.mark.parametrize(
    ("n_trials", "share"),
    [
        pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow)
        for pair in itertools.product((10, 60, 300, 3000, 10_000), (0.5, 0.9, 1.0))
    ],
)
def test_likelihood_is_right(n_trials, share):
    for study, group in persons(3, n_trials, 3, share):
        assert abs(log_likelihood(study, MODEL, group)[0] - by_grid(study, group)) < 0.01


def test_people_with_few_trials_and_with_one_condition_add_up():
    """1 and 2 trials, 40 in one condition only, 1,000 unevenly: each as by itself, no warning."""
    full = el.simulate(MODEL, 4, (1, 2, 40, 1000), seed=5, group=AT_PRIOR_MEAN, share=0.7)
    people = full.by_subject
    people[2] = people[2][people[2][:, 2] > 0]
    study = el.Study(people)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReferenceWarning)
        got = log_likelihood(study, MODEL, AT_PRIOR_MEAN)[0]
    assert abs(got - sum(by_grid(study[[j]], AT_PRIOR_MEAN) for j in range(4))) < 0.02


@pytest.mark.parametrize("code", CODES)
def test_one_condition_without_changes_is_the_laboratory(code):
    """Where nothing changes, the likelihood is that of `LABORATORY`, whichever condition it is."""
    study = el.simulate(el.LABORATORY, 4, (5, 30, 100, 300), seed=6)
    trials = [np.column_stack([a, np.full(len(a), code)]) for a in study.by_subject]
    draws = el.LABORATORY.prior.sample(10, np.random.default_rng(6))
    group = {name: values[:, 0] for name, values in draws.items()}
    none = {"mu_nu_change": 0.0, "mu_log_alpha_change": 0.0}
    none |= {"log_sigma_nu_change": -9.0, "log_sigma_log_alpha_change": -9.0}
    both = group | {name: np.full(10, value) for name, value in none.items()}
    got = log_likelihood(el.Study(trials), MODEL, both)
    want = log_likelihood(study, el.LABORATORY, group)
    np.testing.assert_allclose(got, want, atol=0.04)  # 0.01 a person


def test_one_odd_person_is_named():
    study = el.simulate(MODEL, 3, 30, seed=12, group=AT_PRIOR_MEAN)
    # All times equal to the microsecond: only a threshold of almost zero could produce them.
    study.trials[1, :, :2] = np.column_stack([np.ones(30), 0.5 + 1e-6 * np.arange(30)])
    named = el.Study(study.trials, (11, 12, 13))
    with pytest.warns(ReferenceWarning, match=r"\[12\]"):
        log_likelihood(named, MODEL, AT_PRIOR_MEAN)


def test_people_are_drawn_from_their_posterior():
    """Moments of a person's draws against self-normalized importance sampling from the prior."""
    study = el.simulate(MODEL, 1, 12, seed=7, group=AT_PRIOR_MEAN)
    drawn = el.exact_people(AT_PRIOR_MEAN, study, model=MODEL, num_samples=4000, seed=1)
    group = {name: np.array([[value]]) for name, value in AT_PRIOR_MEAN.items()}
    people = MODEL.sample_people(group, 200_000, np.random.default_rng(2))
    values = {k: v[0, :, None] for k, v in people.items()}
    start = {"beta_raw": np.full((200_000, 1), AT_PRIOR_MEAN["beta_raw"])}
    log_p = MODEL.log_density(study.trials, values | start).sum(axis=1)
    weights = np.exp(log_p - log_p.max())
    weights /= weights.sum()
    error = np.sqrt(1 / 4000 + (weights**2).sum())
    for name in MODEL.person_names:
        mean = weights @ values[name][:, 0]
        sd = np.sqrt(weights @ (values[name][:, 0] - mean) ** 2)
        # The largest of five z-scores exceeds 5 in one of 300,000 cases.
        assert abs(drawn[name][:, 0].mean() - mean) < 5 * error * sd, name
        assert abs(np.log(drawn[name][:, 0].std() / sd)) < 5 * error, name


def test_posterior_has_the_promised_form():
    study = el.simulate(MODEL, 2, 20, seed=8, group=AT_PRIOR_MEAN)
    draws = el.exact(study, MODEL, 200, seed=1, progress=False)
    assert tuple(draws) == PRIOR.names and draws.array.shape == (200, 11)
    assert draws.warnings == () and draws.diagnostics["method"] == "importance"
    people = el.exact_people(draws, study, seed=1)
    assert people["nu_change"].shape == (200, 2)
    with pytest.raises(ValueError, match="study has trials of .*'rt'.* TWO_CONDITIONS"):
        el.exact(study.under(None), MODEL, 10, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_exact_and_joint_sampler_agree(seed):
    study = el.simulate(MODEL, 6, (10, 40, 40, 60, 80, 120), seed=seed, share="uneven")
    draws = el.exact(study, MODEL, 8000, seed=1, progress=False)
    joint = sample_jointly(study, MODEL, seed=2, warmup=3000, sweeps=15_000)
    for name in PRIOR.names:
        mean, sd = joint[name].mean(), joint[name].std()
        assert abs(draws.mean[name] - mean) < 0.1 * sd, name
        assert abs(draws.sd[name] / sd - 1) < 0.05, name
