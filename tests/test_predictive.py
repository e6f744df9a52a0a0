"""The predictive check: studies of the prior pass, odd populations and contaminated data do not."""

from dataclasses import replace

import numpy as np
import pytest

import eamlab as el
from eamlab import predictive
from eamlab.draws import Draws
from eamlab.model.eam import EAM
from eamlab.predictive import Comparison, check

GROUP_PRIOR = EAM.prior
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
    return el.simulate(EAM, n_subjects, n_trials, seed=seed, group=group)


def posterior(study, seed=1, shift=0.0, widen=1.0, n_draws=200):
    """Draws around the truth, as wide as the exact posterior, moved by `shift` of its sds."""
    rng = np.random.default_rng(seed)
    sds = SDS_100 * np.sqrt(100 / len(study))
    sds = np.minimum(sds, 0.6 * GROUP_PRIOR.sds)
    signs = rng.choice([-1.0, 1.0], len(NAMES))
    noise = widen * rng.standard_normal((n_draws, len(NAMES))) + shift * signs
    values = GROUP_PRIOR.to_array(study.group) + sds * noise
    return Draws(dict(zip(NAMES, values.T, strict=True)), model=EAM)


def contaminated(study, kind, seed=1, rate=0.05):
    """Replace 5 % of the responses by random choices at times uniform in a range."""
    rng = np.random.default_rng(seed)
    data = study.trials.copy()
    hit = (rng.random(data.shape[:-1]) < rate) & (data[..., 1] > 0)
    data[hit, 0] = rng.integers(0, 2, hit.sum())
    data[hit, 1] = rng.uniform(*CONTAMINANTS[kind], hit.sum())
    return el.Study(data)


# --------------------------------------------------------------------------------------------------
# What the model makes
# --------------------------------------------------------------------------------------------------


def test_false_alarms_are_rare():
    # At a rate of 1 % more than three alarms in 60 studies have a probability of 0.3 %.
    studies = [one_study(20, seed) for seed in range(60)]
    found = [check(posterior(s), s, num_samples=100) for s in studies]
    assert sum(bool(c.unusual) for c in found) <= 3


def test_biases_far_below_the_spread_of_people_pass_however_many_there_are():
    for seed in range(3):
        study = one_study(4000, seed)
        assert check(posterior(study, shift=3.0), study).unusual == []
        draws = posterior(study, shift=1.0, widen=2.0)
        assert check(draws, study).unusual == []


@pytest.mark.parametrize("n_trials", [10, 200])
def test_other_numbers_of_trials_pass(n_trials):
    for seed in (1, 2, 3):
        study = one_study(60, seed, n_trials)
        assert check(posterior(study), study).unusual == []


def test_subjects_may_differ_in_their_trials():
    study = one_study(80, 5, np.random.default_rng(1).integers(10, 61, 80))
    assert check(posterior(study), study).unusual == []
    assert "slow_outliers" in check(posterior(study), contaminated(study, "slow")).unusual


def test_the_order_of_trials_does_not_matter():
    study = one_study(20, 6)
    turned = el.Study([a[::-1] for a in study.by_subject])
    for a, b in zip(
        check(posterior(study), turned).comparisons,
        check(posterior(study), study).comparisons,
        strict=True,
    ):
        assert a.name == b.name and a.z == pytest.approx(b.z)


def test_people_with_few_trials_are_left_out():
    study = one_study(20, 7, [30] * 15 + [4] * 5)
    assert check(posterior(study), study).comparisons == (
        check(posterior(study), study[:15]).comparisons
    )


def test_the_seed_decides():
    study = one_study(10, 8)
    draws = posterior(study, n_draws=60)
    expected = check(draws, study)
    assert check(draws, study, seed=0) == expected
    assert check(draws, study, seed=1) != expected


def test_tiny_studies_have_finite_answers():
    for n_subjects, n_trials in ((1, 5), (2, 30), (1, 200)):
        study = one_study(n_subjects, 9, n_trials)
        found = check(posterior(study, n_draws=1), study, num_samples=50)
        assert all(np.isfinite([c.z, c.observed, *c.interval]).all() for c in found.comparisons)


# --------------------------------------------------------------------------------------------------
# What it does not make
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONTAMINANTS)
@pytest.mark.parametrize("n_subjects", [100, 2000])
def test_contaminants_are_found(kind, n_subjects):
    for seed in (1, 2, 3):
        study = one_study(n_subjects, seed)
        found = check(posterior(study), contaminated(study, kind))
        assert SIGN[kind] in found.unusual


@pytest.mark.parametrize("name", BEYOND)
def test_populations_beyond_the_prior_are_found_in_the_draws(name):
    value, parameter, _ = BEYOND[name]
    study = one_study(50, 1, **{name: value})
    found = check(posterior(study), study)
    assert parameter in found.unusual
    assert found[parameter].z > 0


@pytest.mark.parametrize("name", BEYOND)
def test_populations_beyond_the_prior_are_found_when_the_draws_deny_them(name):
    value, _, feature = BEYOND[name]
    study = one_study(50, 1, **{name: value})
    parameter = GROUP_PRIOR[name]
    denied = el.Study(study.trials, truth=study.truth | {name: parameter.mean + 2 * parameter.sd})
    found = check(posterior(denied), study)
    assert name not in found.unusual
    # Spreads at the bound of the prior are only just told apart from it.
    assert feature in found.unusual or found[feature].z > 3.0


def test_draws_that_do_not_describe_the_data_are_found():
    study, other = one_study(200, 1, mu_log_t0=-1.0), one_study(200, 1, mu_log_t0=-0.6)
    found = check(posterior(other), study)
    assert "rt_median" in found.unusual
    assert found["rt_median"].z < 0


def test_milliseconds_are_found():
    study = one_study(30, 2)
    data = el.Study(study.trials * np.array([1.0, 1000.0]))
    assert {"rt_median", "prior_rt_median"} <= set(check(posterior(study), data).unusual)


def test_wild_draws_are_reported_not_simulated_for_hours():
    study = one_study(10, 3)
    far = dict(zip(NAMES, 40.0 * np.array([1, -1, 1, 1, 1, 1, -1.0]), strict=True))
    wild = Draws({k: np.full(60, v) for k, v in far.items()}, model=EAM)
    assert set(NAMES) <= set(check(wild, study, num_samples=50).unusual)


# --------------------------------------------------------------------------------------------------
# What it says
# --------------------------------------------------------------------------------------------------


def test_messages_say_what_was_seen_what_was_expected_and_what_to_do():
    study = one_study(100, 1)
    found = check(posterior(study), contaminated(study, "fast"))
    (message,) = found.messages
    assert found.unusual == ["fast_outliers"]
    found = found["fast_outliers"]
    assert message == found.message
    for part in ("fast_outliers", f"{found.observed:.3g}", "expects", "fast guesses"):
        assert part in message


def test_directions_have_their_own_advice():
    study = one_study(300, 1)
    early = [a[a[:, 1] <= a[:, 1].min() + 0.45] for a in study.by_subject]
    found = check(posterior(study), el.Study(early))
    assert "deadline" in found["slow_outliers"].message
    assert found["slow_outliers"].unusual


def test_parameters_and_statistics_can_be_looked_up():
    study = one_study(10, 1)
    found = check(posterior(study), study, num_samples=50)
    names = [c.name for c in found.comparisons]
    assert names[:7] == list(NAMES)
    assert len(set(names)) == len(names) == 19
    assert found["slow_outliers"].interval[0] <= found["slow_outliers"].expected
    with pytest.raises(KeyError, match="known are"):
        found["mu"]


@pytest.mark.parametrize("slower", [0, 1])
def test_the_choice_that_is_slower_has_its_sign(slower):
    """Of four fast and four slow responses that an iqr separates, the upper ones are either."""
    choice = np.repeat([1 - slower, slower], 4)
    person = np.column_stack([choice, [0.3, 0.31, 0.32, 0.33, 0.83, 0.84, 0.85, 0.86]])
    study = el.Study([person] * 30)
    truth = dict(zip(NAMES, GROUP_PRIOR.means, strict=True))
    draws = posterior(el.Study(study.trials, truth=truth))
    found = check(draws, study)["choice_speed"]
    sign = 2 * slower - 1
    # About one interquartile range between the means of the two halves.
    assert found.unusual and found.z * sign > found.limit
    assert found.observed * sign == pytest.approx(1.0, abs=0.3)


def test_the_interval_holds_about_95_percent_of_what_is_simulated():
    """Statistics of 1,001 evenly spread studies: the ends are known."""
    simulated = np.tile(np.linspace(0.0, 1.0, 1001)[:, None], 8)
    statistics = predictive._STATISTICS
    for comparison in predictive._data_and_draws(np.full(8, 0.5), simulated, statistics):
        assert comparison.interval == pytest.approx((0.023, 0.977))
        assert comparison.expected == pytest.approx(0.5) and abs(comparison.z) < 1e-9
    study = one_study(10, 1)
    draws = posterior(study)
    for name in NAMES:
        found, prior = check(draws, study, num_samples=50)[name], GROUP_PRIOR[name]
        # Two sds of a posterior mean, which narrows where the draws are wide.
        left = np.sqrt(max(1.0 - (draws[name].std() / prior.sd) ** 2, 0.64)) * prior.sd
        ends = (prior.mean - 2 * left, prior.mean + 2 * left)
        assert found.interval == pytest.approx(ends)
        assert found.z == pytest.approx((draws.mean[name] - prior.mean) / left)


def test_a_distance_is_measured_by_the_side_on_which_it_lies():
    """Two sds are 0.1 above the middle and 0.5 below it."""
    low, middle, high = 0.0, 0.5, 0.6
    assert predictive._z(0.7, low, middle, high) == pytest.approx(4.0)
    assert predictive._z(0.0, low, middle, high) == pytest.approx(-2.0)


def test_simulated_people_have_the_studys_numbers_of_trials():
    counts, values = np.array([40, 5, 17]), np.tile(GROUP_PRIOR.means, (4, 1))
    rng = np.random.default_rng(1)
    for data in predictive._simulated(EAM, values, counts, 3, rng, {}):
        found = np.sort((data[..., 1] > 0).sum(axis=-1), axis=-1)
        np.testing.assert_array_equal(found, np.tile([5, 17, 40], (len(data), 1)))


def test_few_people_with_many_trials_do_not_cost_as_many_of_everybody():
    counts, made, parts = np.array([5, 6, 7, 9, 12, 700]), [], 0

    def simulate(parameters, n_trials, **options):
        made.append(parameters["nu"].size * n_trials)
        return EAM.simulate(parameters, n_trials, **options)

    model, rng = replace(EAM, simulate=simulate), np.random.default_rng(2)
    draws = model.prior.to_array(model.prior.sample(40, rng))
    for data in predictive._simulated(model, draws, counts, 25, rng, {}):
        trials = (data[..., 1] > 0).sum(axis=-1)
        assert (np.sort(trials, axis=1) == counts).all()
        parts += len(data)
    assert parts == 40 and sum(made) < 1.1 * parts * counts.sum()


def test_studies_are_simulated_from_draws_spread_over_all_that_are_given():
    """The second half of the draws is of people twice as slow to begin."""
    study = one_study(30, 1, mu_log_t0=-1.0)
    first, second = (posterior(one_study(30, 1, mu_log_t0=m)) for m in (-1.0, -0.3))
    both = Draws({k: np.append(first[k], second[k]) for k in NAMES}, model=EAM)
    low, high = check(both, study, num_samples=60)["rt_median"].interval
    assert low < 1.1 * check(first, study, num_samples=60)["rt_median"].expected
    assert high > 0.9 * check(second, study, num_samples=60)["rt_median"].expected


def test_what_is_not_a_number_is_unusual():
    assert Comparison("x", np.nan, 0.0, (0.0, 0.0), np.nan, 3.5, "It", "Look.").unusual


# --------------------------------------------------------------------------------------------------
# Bad input
# --------------------------------------------------------------------------------------------------

GOOD = one_study(6, 1)


def test_without_enough_trials_only_the_draws_are_compared():
    few = one_study(6, 1, 4)
    found = check(posterior(few), few)
    assert [c.name for c in found.comparisons] == list(NAMES)
    assert found.messages == list(found.notes) and "Nobody has 5 trials" in found.messages[0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"beta_raw": np.full(200, np.inf)}, "draws: 200 .* 'beta_raw' are not finite"),
        ({"mu_nu": np.zeros((200, 3))}, r"draws lacks \['mu_nu'\]"),
    ],
)
def test_malformed_draws_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        check(Draws(dict(posterior(GOOD)) | change, model=EAM), GOOD)


# --------------------------------------------------------------------------------------------------
# With the exact posterior
# --------------------------------------------------------------------------------------------------


def exact_check(study, data=None, seed=1):
    data = data or study
    return check(el.exact(data, EAM, 200, seed=seed, progress=False), data, seed=seed)


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
    checks = [exact_check(s, contaminated(s, kind, seed=i)) for i, s in enumerate(studies)]
    assert sum(bool(c.unusual) for c in checks) >= least
