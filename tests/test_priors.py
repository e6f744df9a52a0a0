import numpy as np
import pytest
from scipy import stats

from eamlab.priors import GROUP_PRIOR, beta_from_raw, sample_subjects


def test_log_prob_is_the_normalized_density_of_the_draws():
    rng = np.random.default_rng(1)
    x = GROUP_PRIOR.to_array(GROUP_PRIOR.sample(5, rng))
    expected = [
        sum(
            stats.norm(p.mean, p.sd).logpdf(v)
            for p, v in zip(GROUP_PRIOR.parameters, row, strict=True)
        )
        for row in x
    ]
    np.testing.assert_allclose(GROUP_PRIOR.log_prob(x), expected)


def test_score_is_the_gradient_of_the_log_density():
    x = GROUP_PRIOR.to_array(GROUP_PRIOR.sample(4, np.random.default_rng(2)))
    step = 1e-5 * np.eye(7)
    numerical = np.stack(
        [(GROUP_PRIOR.log_prob(x + e) - GROUP_PRIOR.log_prob(x - e)) / 2e-5 for e in step],
        axis=-1,
    )
    np.testing.assert_allclose(GROUP_PRIOR.score(x), numerical, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("log_snr", [-6.0, 0.0, 5.0])
def test_diffused_score_is_the_gradient_of_the_diffused_density(log_snr):
    alpha, sigma = np.sqrt(stats.logistic.cdf(log_snr)), np.sqrt(stats.logistic.cdf(-log_snr))
    x = np.random.default_rng(3).normal(size=(3, 7))

    def log_density(y):
        sd = np.sqrt((alpha * GROUP_PRIOR.sds) ** 2 + sigma**2)
        return stats.norm.logpdf(y, alpha * GROUP_PRIOR.means, sd)

    numerical = (log_density(x + 1e-6) - log_density(x - 1e-6)) / 2e-6
    np.testing.assert_allclose(
        GROUP_PRIOR.diffused_score(x, alpha, sigma), numerical, rtol=1e-5, atol=1e-5
    )


def test_diffused_prior_describes_diffused_draws():
    # sd of a sample of 1e5: standard error 0.22 %, so 1.5 % is beyond six of them.
    rng = np.random.default_rng(4)
    alpha, sigma = 0.6, 0.8
    x = GROUP_PRIOR.to_array(GROUP_PRIOR.sample(100_000, rng))
    diffused = alpha * x + sigma * rng.standard_normal(x.shape)
    # the mean squared score of a normal density is 1 / variance
    score = GROUP_PRIOR.diffused_score(diffused, alpha, sigma)
    np.testing.assert_allclose((score**2).mean(axis=0), 1 / diffused.var(axis=0), rtol=0.03)


def test_scores_agree_on_dicts_arrays_and_tensors():
    tensorflow = pytest.importorskip("tensorflow")
    draws = GROUP_PRIOR.sample(3, np.random.default_rng(5))
    array = GROUP_PRIOR.score(GROUP_PRIOR.to_array(draws))
    compiled = tensorflow.function(lambda x: GROUP_PRIOR.diffused_score(x, 1.0, 0.0))
    tensors = {k: tensorflow.constant(v, "float32") for k, v in draws.items()}
    for scores in (GROUP_PRIOR.score(draws), compiled(tensors)):
        np.testing.assert_allclose(
            np.concatenate([np.asarray(scores[k]) for k in GROUP_PRIOR.names], axis=1),
            array,
            rtol=1e-4,
            atol=1e-5,
        )


def test_tensor_score_matches_automatic_differentiation():
    tensorflow = pytest.importorskip("tensorflow")
    p = GROUP_PRIOR["mu_nu"]
    x = tensorflow.constant([[0.1], [0.9]])
    with tensorflow.GradientTape() as tape:
        tape.watch(x)
        log_density = -0.5 * ((x - p.mean) / p.sd) ** 2
    np.testing.assert_allclose(
        GROUP_PRIOR.score({"mu_nu": x})["mu_nu"], tape.gradient(log_density, x), rtol=1e-5
    )


def test_beta_from_raw_has_its_beta_distribution():
    # one KS test of a fixed sample; false alarm rate 1e-4
    beta = beta_from_raw(np.random.default_rng(6).standard_normal(20_000))
    assert stats.kstest(beta, stats.beta(50, 50).cdf).pvalue > 1e-4


def test_beta_from_raw_is_symmetric_and_inside_the_unit_interval_in_the_tails():
    x = np.linspace(0, 30, 200)
    beta = beta_from_raw(x)
    np.testing.assert_allclose(beta_from_raw(-x), 1 - beta, atol=1e-12)
    assert np.all(np.diff(beta) >= 0) and np.all((beta > 0) & (beta < 1))


def test_subjects_follow_their_group():
    # 1e5 subjects: 0.02 is beyond five standard errors for each mean and sd below
    group = GROUP_PRIOR.to_dict(np.array([[0.4, 0.1, -1.2, -0.5, -1.0, -0.7, 0.0]]))
    subjects = sample_subjects(group, 100_000, np.random.default_rng(7))
    values = [subjects["nu"], np.log(subjects["alpha"]), np.log(subjects["t0"])]
    np.testing.assert_allclose([v.mean() for v in values], [0.4, 0.1, -1.2], atol=0.02)
    np.testing.assert_allclose([v.std() for v in values], np.exp([-0.5, -1.0, -0.7]), rtol=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GROUP_PRIOR.sample(0, np.random.default_rng()), "n must"),
        (lambda: GROUP_PRIOR.score({"mu_nuu": 1.0}), "mu_nuu"),
        (lambda: GROUP_PRIOR.score(np.zeros((2, 6))), "last axis of 7"),
        (lambda: GROUP_PRIOR.log_prob({"mu_nu": np.zeros((1, 1))}), "missing"),
        (lambda: GROUP_PRIOR["mu"], "unknown"),
        (lambda: sample_subjects({}, 0, np.random.default_rng()), "n_subjects"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
