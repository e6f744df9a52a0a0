"""The prior and its score, people, and what tells one model from another."""

import importlib.util
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from eamlab.model.conditions import TWO_CONDITIONS
from eamlab.model.eam import EAM, beta_from_raw, simulate_decisions
from eamlab.model.model import GroupParameter, GroupPrior, PersonParameter

GROUP_PRIOR = EAM.prior


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


def test_an_array_is_in_the_priors_order_whatever_that_of_the_names():
    draws = GROUP_PRIOR.sample(3, np.random.default_rng(5))
    want = np.concatenate([draws[k] for k in GROUP_PRIOR.names], axis=1)
    turned = {"nu": np.zeros((3, 2))} | dict(reversed(draws.items()))
    np.testing.assert_array_equal(GROUP_PRIOR.to_array(turned), want)


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
    subjects = EAM.sample_people(group, 100_000, np.random.default_rng(7))
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
        (lambda: EAM.sample_people({}, 0, np.random.default_rng()), "n_subjects"),
    ],
)
def test_bad_input_names_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- which model it is ----------------------------------------------------------------------------


def with_prior(model=EAM, **changes):
    """The model with other (mean, sd) of some group parameters."""
    lines = [
        replace(p, mean=changes[p.name][0], sd=changes[p.name][1]) if p.name in changes else p
        for p in model.prior.parameters
    ]
    return replace(model, prior=GroupPrior(tuple(lines)))


def simulate_of_a_reader(parameters, n_trials, *, seed, beta_concentration):
    return simulate_decisions(parameters, n_trials, seed=seed, beta_concentration=50.0)


def test_the_order_of_parameters_is_no_part_of_a_model():
    turned = EAM.ordered(EAM.prior.names[::-1], EAM.person_names[::-1])
    assert turned.prior.names == EAM.prior.names[::-1]
    assert (
        turned.person_names == ("t0", "alpha", "nu")
        and turned.ordered(EAM.prior.names, EAM.person_names).people == EAM.people
    )
    assert turned.fingerprint == EAM.fingerprint
    turned.check_made_with(EAM.description(), "this", "so")
    with pytest.raises(ValueError, match="names must be those of the prior"):
        EAM.ordered(EAM.prior.names[1:], EAM.person_names)


OTHERS = [
    (with_prior(mu_nu=(0.6, 0.3)), r"mu_nu was \[0.5, 0.3\], is \[0.6, 0.3\]"),
    (with_prior(mu_nu=(0.5, 0.2)), r"mu_nu was \[0.5, 0.3\], is \[0.5, 0.2\]"),
    (replace(EAM, constants={"beta_concentration": 5.0}), "beta_concentration was 50.0, is 5.0"),
    (replace(EAM, density=None), "density was 'eamlab.model.eam.decision_log_density', is None"),
    (
        replace(EAM, simulate=simulate_of_a_reader),
        "simulate was .*, is 'test_model.simulate_of_a",
    ),
    (
        replace(EAM, people=(replace(EAM.people[0], positive=True), *EAM.people[1:])),
        "nu was .* False], is .* True]",
    ),
]


@pytest.mark.parametrize(("other", "difference"), OTHERS, ids=[d for _, d in OTHERS])
def test_every_other_difference_is_named_and_changes_the_fingerprint(other, difference):
    assert other.fingerprint != EAM.fingerprint
    with pytest.raises(ValueError, match=f"^this was made with another .*{difference}.*: so.$"):
        other.check_made_with(EAM.description(), "this", "so")


def test_of_another_model_altogether_only_the_name_and_two_differences_are_told():
    with pytest.raises(ValueError, match=r"TWO_CONDITIONS: name was 'EAM', is 'TWO") as caught:
        TWO_CONDITIONS.check_made_with(EAM.description(), "this", "so")
    text = str(caught.value)
    assert re.search(r"; and \d+ more differences\. Make it anew: so\.$", text)
    assert text.count(" was ") == 1 + 3  # the sentence's own


def test_symbols_and_meanings_are_no_part_of_a_model():
    lines = tuple(replace(p, symbol="x", meaning="y") for p in EAM.prior.parameters)
    assert replace(EAM, prior=GroupPrior(lines)).fingerprint == EAM.fingerprint


def test_a_readers_simulator_is_known_by_its_source(tmp_path):
    """Two functions of one name are two models."""
    found = []
    for source in ("return 1", "return 2", "return 1"):
        file = tmp_path / f"{len(found)}.py"
        file.write_text(
            f"def simulate(parameters, n_trials, *, seed):\n    {source}\n", encoding="utf-8"
        )
        spec = importlib.util.spec_from_file_location("mine", file)
        spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
        found.append(replace(EAM, simulate=module.simulate).fingerprint)
    assert found[0] == found[2] != found[1]


def test_a_model_without_a_density_says_so():
    without = replace(EAM, density=None)
    with pytest.raises(ValueError, match="^the model EAM has no density: give density="):
        without.log_density(np.ones((1, 2)), {})


def test_trial_noise_depends_on_the_seed_alone():
    """Same people, and only the seed of their trials differs."""
    group = dict(zip(EAM.prior.names, EAM.prior.means, strict=True))
    people = {name: np.full(3, v) for name, v in zip(EAM.person_names, (0.5, 1, 0.3), strict=True)}
    one, same, other = (
        EAM.trials_of(people | {"beta_raw": np.zeros(3)}, 20, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.isin(one[..., 1], other[..., 1]).any()
    # And of whole studies: two seeds share no response time, though their people may be equal.
    fixed = group | {k: -30.0 for k in group if k.startswith("log_sigma")}
    first, second = (EAM.sample(1, 3, 20, seed=s, group=fixed)["sim_data"] for s in (1, 2))
    assert not np.isin(first[..., 1], second[..., 1]).any()


def test_spawned_seeds_are_seeds_of_their_own():
    one, other = np.random.SeedSequence(1).spawn(2)
    first, again, second = (EAM.sample(1, 3, 20, seed=s)["sim_data"] for s in (one, one, other))
    np.testing.assert_array_equal(first, again)
    assert not np.isin(first[..., 1], second[..., 1]).any()


def test_a_persons_range_holds_the_people_and_little_else():
    rng = np.random.default_rng(8)
    people = EAM.sample_people(EAM.prior.sample(20_000, rng), 1, rng)
    for name, values in people.items():
        low, high = EAM.person_range(name)
        assert low < values.min() and values.max() < high
        # one sd of that range is beyond most people: uncertain means and generous spreads
        low, high = EAM.person_range(name, 1.0)
        assert 0.6 < np.mean((low < values) & (values < high)) < 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupParameter("a", "a", 0.0, 0.0, ""), "'a' needs a finite mean and an sd > 0"),
        (lambda: GroupParameter("a", "a", np.nan, 1.0, ""), "'a' needs a finite mean"),
        (lambda: GroupPrior(()), "parameters need different names, at least one"),
        (lambda: GroupPrior(EAM.prior.parameters[:1] * 2), "parameters need different names"),
        (
            lambda: replace(EAM, people=(PersonParameter("nu", "nu", "mu_nu", "sd"),)),
            r"'nu' names \['sd'\], which the prior lacks",
        ),
    ],
)
def test_models_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
