"""The predictive check: studies of the prior pass, odd populations and contaminated data do not."""

import numpy as np
import pytest

from eamlab.check import Comparison, predictive_check
from eamlab.priors import GROUP_PRIOR
from eamlab.reference import exact_posterior
from eamlab.simulate import simulate_studies

NAMES = GROUP_PRIOR.names
# Sds of the exact posterior of 100 people with 30 trials, in the order of the names.
SDS_100 = np.array([0.058, 0.010, 0.034, 0.16, 0.35, 0.070, 0.134])
CONTAMINANTS = {"uniform": (0.1, 3.0), "fast": (0.1, 0.25), "slow": (2.0, 8.0)}
SIGN = {"uniform": "slow_outliers", "fast": "fast_outliers", "slow": "slow_outliers"}
BEYOND = {
    "mu_nu": (2.5, "mu_nu", "prior_choice_share"),
    "mu_log_alpha": (0.5, "mu_log_alpha", "prior_boundary"),
    "mu_log_t0": (0.5, "mu_log_t0", "prior_rt_median"),
    "log_sigma_log_t0": (0.3, "log_sigma_log_t0", "prior_rt_between"),
}


def one_study(n_subjects, seed, n_trials=30, **group):
    return simulate_studies(1, n_subjects, n_trials, seed=seed, scheme="exact", group=group)


def posterior(study, seed=1, shift=0.0, widen=1.0, n_draws=200):
    """Draws around the truth, as wide as the exact posterior, moved by `shift` of its sds."""
    rng = np.random.default_rng(seed)
    sds = SDS_100 * np.sqrt(100 / study["sim_data"].shape[1])
    sds = np.minimum(sds, 0.6 * GROUP_PRIOR.sds)
    signs = rng.choice([-1.0, 1.0], len(NAMES))
    noise = widen * rng.standard_normal((n_draws, len(NAMES))) + shift * signs
    return GROUP_PRIOR.to_dict(GROUP_PRIOR.to_array(study) + sds * noise)


def contaminated(data, kind, seed=1, rate=0.05):
    """Replace 5 % of the responses by random choices at times uniform in a range."""
    rng = np.random.default_rng(seed)
    data = np.array(data)
    hit = rng.random(data.shape[:-1]) < rate
    data[hit, 0] = rng.integers(0, 2, hit.sum())
    data[hit, 1] = rng.uniform(*CONTAMINANTS[kind], hit.sum())
    return data


def padded(data, counts):
    """Keep the first counts[j] trials of subject j and mark the others as missing."""
    data = np.array(data)
    data[..., np.arange(data.shape[-2]) >= np.asarray(counts)[:, None], :] = 0.0
    return data


# --------------------------------------------------------------------------------------------------
# What the model makes
# --------------------------------------------------------------------------------------------------


def test_false_alarms_are_rare():
    # At a rate of 1 % more than three alarms in 60 studies have a probability of 0.3 %.
    studies = [one_study(20, seed) for seed in range(60)]
    checks = [predictive_check(posterior(s), s["sim_data"], num_draws=100) for s in studies]
    assert sum(bool(check.unusual) for check in checks) <= 3


def test_biases_far_below_the_spread_of_people_pass_however_many_there_are():
    for seed in range(3):
        study = one_study(4000, seed)
        assert predictive_check(posterior(study, shift=3.0), study["sim_data"]).unusual == []
        draws = posterior(study, shift=1.0, widen=2.0)
        assert predictive_check(draws, study["sim_data"]).unusual == []


@pytest.mark.parametrize("n_trials", [10, 200])
def test_other_numbers_of_trials_pass(n_trials):
    for seed in (1, 2, 3):
        study = one_study(60, seed, n_trials)
        assert predictive_check(posterior(study), study["sim_data"]).unusual == []


def test_subjects_may_differ_in_their_trials():
    study = one_study(80, 5, 60)
    data = padded(study["sim_data"], np.random.default_rng(1).integers(10, 61, 80))
    assert predictive_check(posterior(study), data).unusual == []
    bad = np.where(data[..., 1:] > 0, contaminated(data, "slow"), 0.0)
    assert "slow_outliers" in predictive_check(posterior(study), bad).unusual


def test_neither_padding_nor_the_place_of_missing_trials_matters():
    study = one_study(20, 6)
    data = padded(study["sim_data"], np.full(20, 25))
    expected = predictive_check(posterior(study), data).comparisons
    turned = np.concatenate([np.zeros((1, 20, 5, 2), data.dtype), data[:, :, ::-1]], axis=2)
    for a, b in zip(predictive_check(posterior(study), turned).comparisons, expected, strict=True):
        assert a.name == b.name and a.z == pytest.approx(b.z)


def test_people_with_few_trials_are_left_out():
    study = one_study(20, 7)
    data = padded(study["sim_data"], [30] * 15 + [4] * 5)
    expected = predictive_check(posterior(study), data[:, :15])
    assert predictive_check(posterior(study), data).comparisons == expected.comparisons


def test_forms_of_the_input_and_the_seed():
    study = one_study(10, 8)
    draws, data = posterior(study, n_draws=60), study["sim_data"]
    expected = predictive_check(draws, data)
    nested = {name: value[None] for name, value in draws.items()} | {"other": np.zeros(3)}
    assert predictive_check(nested, data[0]) == expected
    assert predictive_check(draws, data, seed=0) == expected
    assert predictive_check(draws, data, seed=1) != expected


def test_tiny_studies_have_finite_answers():
    for n_subjects, n_trials in ((1, 5), (2, 30), (1, 200)):
        study = one_study(n_subjects, 9, n_trials)
        check = predictive_check(posterior(study, n_draws=1), study["sim_data"], num_draws=50)
        assert all(np.isfinite([c.z, c.observed, *c.interval]).all() for c in check.comparisons)


# --------------------------------------------------------------------------------------------------
# What it does not make
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONTAMINANTS)
@pytest.mark.parametrize("n_subjects", [100, 2000])
def test_contaminants_are_found(kind, n_subjects):
    for seed in (1, 2, 3):
        study = one_study(n_subjects, seed)
        check = predictive_check(posterior(study), contaminated(study["sim_data"], kind))
        assert SIGN[kind] in check.unusual


@pytest.mark.parametrize("name", BEYOND)
def test_populations_beyond_the_prior_are_found_in_the_draws(name):
    value, parameter, _ = BEYOND[name]
    study = one_study(50, 1, **{name: value})
    check = predictive_check(posterior(study), study["sim_data"])
    assert parameter in check.unusual
    assert check[parameter].z > 0


@pytest.mark.parametrize("name", BEYOND)
def test_populations_beyond_the_prior_are_found_when_the_draws_deny_them(name):
    value, _, feature = BEYOND[name]
    study = one_study(50, 1, **{name: value})
    parameter = GROUP_PRIOR[name]
    denied = study | {name: np.full((1, 1), parameter.mean + 2 * parameter.sd)}
    check = predictive_check(posterior(denied), study["sim_data"])
    assert name not in check.unusual
    # Spreads at the bound of the prior are only just told apart from it.
    assert feature in check.unusual or check[feature].z > 3.0


def test_draws_that_do_not_describe_the_data_are_found():
    study, other = one_study(200, 1, mu_log_t0=-1.0), one_study(200, 1, mu_log_t0=-0.6)
    check = predictive_check(posterior(other), study["sim_data"])
    assert "rt_median" in check.unusual
    assert check["rt_median"].z < 0


def test_milliseconds_are_found():
    study = one_study(30, 2)
    data = study["sim_data"] * np.array([1.0, 1000.0])
    assert {"rt_median", "prior_rt_median"} <= set(predictive_check(posterior(study), data).unusual)


def test_wild_draws_are_reported_not_simulated_for_hours():
    study = one_study(10, 3)
    wild = GROUP_PRIOR.to_dict(np.tile(40.0 * np.array([1, -1, 1, 1, 1, 1, -1.0]), (60, 1)))
    assert set(NAMES) <= set(predictive_check(wild, study["sim_data"], num_draws=50).unusual)


# --------------------------------------------------------------------------------------------------
# What it says
# --------------------------------------------------------------------------------------------------


def test_messages_say_what_was_seen_what_was_expected_and_what_to_do():
    study = one_study(100, 1)
    check = predictive_check(posterior(study), contaminated(study["sim_data"], "fast"))
    (message,) = check.messages
    found = check["fast_outliers"]
    assert check.unusual == ["fast_outliers"]
    assert message == found.message
    for part in ("fast_outliers", f"{found.observed:.3g}", "expects", "fast guesses"):
        assert part in message


def test_directions_have_their_own_advice():
    study = one_study(300, 1)
    data = study["sim_data"]
    fastest = data[..., 1].min(axis=-1, keepdims=True)
    late = data[..., 1] > fastest + 0.45
    check = predictive_check(posterior(study), np.where(late[..., None], 0.0, data))
    assert "deadline" in check["slow_outliers"].message
    assert check["slow_outliers"].unusual


def test_parameters_and_statistics_can_be_looked_up():
    study = one_study(10, 1)
    check = predictive_check(posterior(study), study["sim_data"], num_draws=50)
    names = [c.name for c in check.comparisons]
    assert names[:7] == list(NAMES)
    assert len(set(names)) == len(names) == 19
    assert check["slow_outliers"].interval[0] <= check["slow_outliers"].expected
    with pytest.raises(KeyError, match="known are"):
        check["mu"]


def test_what_is_not_a_number_is_unusual():
    assert Comparison("x", np.nan, 0.0, (0.0, 0.0), np.nan, 3.5, "It", "Look.").unusual


# --------------------------------------------------------------------------------------------------
# Bad input
# --------------------------------------------------------------------------------------------------

GOOD = one_study(6, 1)


def with_value(index, value):
    data = GOOD["sim_data"].copy()
    data[index] = value
    return data


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (np.zeros((6, 30)), r"sim_data must be one study .* got shape \(6, 30\)"),
        (np.zeros((2, 6, 30, 2)), r"pass sim_data\[i:i \+ 1\]"),
        (with_value((0, 0, 0, 1), np.nan), "times must be finite"),
        (with_value((0, 0, 0, 1), -0.5), "times must be finite"),
        (with_value((0, 0, 0, 0), -1.0), "recode -1 to 0"),
        (np.zeros((6, 30, 2)), "needs a subject with 5 trials"),
        (np.zeros((0, 30, 2)), "needs a subject with 5 trials"),
    ],
)
def test_malformed_data_are_refused(data, match):
    with pytest.raises(ValueError, match=match):
        predictive_check(posterior(GOOD), data)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"mu_nu": np.zeros(3)}, "equally many draws"),
        (dict.fromkeys(NAMES, np.zeros(0)), "equally many draws"),
        ({"beta_raw": np.full((200, 1), np.inf)}, r"group_draws\['beta_raw'\] has 200 of 200"),
    ],
)
def test_malformed_draws_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        predictive_check(posterior(GOOD) | change, GOOD["sim_data"])


def test_missing_parameters_are_named():
    draws = posterior(GOOD)
    del draws["mu_nu"]
    with pytest.raises(ValueError, match=r"group_draws lacks \['mu_nu'\]"):
        predictive_check(draws, GOOD["sim_data"])


@pytest.mark.parametrize(
    "option", [{"num_draws": 10}, {"num_draws": 99.5}, {"max_subjects": 0}], ids=str
)
def test_bad_counts_are_refused(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} must be an integer of at least"):
        predictive_check(posterior(GOOD), GOOD["sim_data"], **option)


# --------------------------------------------------------------------------------------------------
# With the exact posterior
# --------------------------------------------------------------------------------------------------


def exact_check(study, data=None, seed=1):
    data = study["sim_data"] if data is None else data
    draws = exact_posterior(data[0], 200, seed=seed, progress=False).samples
    return predictive_check(draws, data, seed=seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::eamlab.reference.ReferenceWarning")
@pytest.mark.parametrize(("n_subjects", "n_studies", "most"), [(10, 60, 3), (100, 12, 1)])
def test_false_alarms_with_the_exact_posterior(n_subjects, n_studies, most):
    # At a rate of 1 % more than `most` alarms have a probability below 0.6 %.
    alarms = [bool(exact_check(one_study(n_subjects, 100 + i)).unusual) for i in range(n_studies)]
    assert sum(alarms) <= most


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::eamlab.reference.ReferenceWarning")
@pytest.mark.parametrize(("kind", "least"), [("uniform", 9), ("fast", 17), ("slow", 19)])
def test_ten_people_are_enough_where_the_posterior_has_seen_the_contaminants(kind, least):
    # Measured rates over 40 studies are about 0.75, 0.97 and 1.
    studies = [one_study(10, 200 + i) for i in range(20)]
    checks = [
        exact_check(s, contaminated(s["sim_data"], kind, seed=i)) for i, s in enumerate(studies)
    ]
    assert sum(bool(check.unusual) for check in checks) >= least
