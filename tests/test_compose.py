"""Composition with the shipped networks: what is passed on, what comes back, what is refused."""

import gc
import inspect
import warnings
from dataclasses import replace

import bayesflow as bf
import keras
import numpy as np
import pytest

import eamlab as el
import eamlab_book as book
from eamlab.composition import certificate, posterior
from eamlab.composition.posterior import prior_score
from eamlab.draws import Draws
from eamlab.networks import CompiledDiffusionModel

FAST = {"method": "euler_maruyama", "steps": 20, "num_samples": 12, "group_size": 5}
GAUSSIAN = {"num_samples": 12, "group_size": 5}
NAMES = el.EAM.prior.names


@pytest.fixture(scope="module")
def studies():
    return el.simulate(el.EAM, 20, 30, seed=11, n_studies=2)


def to_z(draws):
    return el.EAM.prior.standardize(np.stack([draws[k] for k in NAMES], axis=-1))


# --- the group ------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [FAST, GAUSSIAN], ids=["summed", "gaussian"])
def test_shapes_names_and_reuse_of_summaries(workflow, studies, settings):
    first = el.compose(workflow, studies[0], seed=5, **settings)
    assert tuple(first) == NAMES and first.model is workflow.model
    assert all(v.shape == (12,) and np.all(np.isfinite(v)) for v in first.values())
    assert first.summaries.shape == (4, 35 + 32)  # a Gaussian of seven, and what it lacks
    assert first.diagnostics == {"n_groups": 4, "group_size": 5} and first.subjects is None
    settings = settings | {"summaries": first.summaries}
    again = el.compose(workflow, studies[0], seed=5, **settings)
    np.testing.assert_array_equal(again.array, first.array)
    other = el.compose(workflow, studies[0], seed=6, **settings)
    assert not np.array_equal(first.array, other.array)


def test_sizes_of_all_groups_may_be_given(workflow, studies):
    one = el.compose(workflow, studies[0], seed=5, check=False, **GAUSSIAN)
    given = GAUSSIAN | {"group_size": (5,) * 4}
    same = el.compose(workflow, studies[0], seed=5, check=False, **given)
    np.testing.assert_array_equal(same.array, one.array)
    assert same.settings["group_size"] == (5, 5, 5, 5)
    unequal = el.compose(
        workflow, studies[0], seed=5, check=False, **given | {"group_size": (9, 11)}
    )
    assert unequal.diagnostics == {"n_groups": 2, "group_size": 11}


def test_every_parameter_has_its_own_name(workflow):
    """All seven truths are elsewhere on their prior; 200 people tell each within a prior sd.

    Under any other order a truth would be at least two prior sds off.
    """
    z = {"mu_nu": 2.0, "mu_log_alpha": -2.0, "mu_log_t0": 2.0, "log_sigma_nu": 0.0}
    z |= {"log_sigma_log_alpha": 1.0, "log_sigma_log_t0": -2.0, "beta_raw": -1.0}
    truth = {k: el.EAM.prior[k].mean + el.EAM.prior[k].sd * v for k, v in z.items()}
    study = el.simulate(el.EAM, 200, 60, seed=2, group=truth)
    draws = el.compose(workflow, study, seed=1, check=False)
    found = dict(zip(NAMES, to_z(draws).mean(axis=0), strict=True))
    np.testing.assert_allclose([found[k] for k in NAMES], [z[k] for k in NAMES], atol=0.8)
    values = [draws[k].mean() for k in NAMES]
    np.testing.assert_allclose(
        (values - el.EAM.prior.means) / el.EAM.prior.sds, list(found.values())
    )


def test_automatic_settings_are_used_and_recorded(workflow, studies):
    draws = el.compose(workflow, studies[0], num_samples=12, seed=1)
    assert draws.settings == {
        "method": "gaussian", "steps": 46, "num_samples": 12, "seed": 1, "group_size": "auto"
    }  # fmt: skip
    assert draws.diagnostics == {"n_groups": 1, "group_size": 20}
    summed = el.compose(workflow, studies[0], d1=0.1, seed=1, steps=5, num_samples=5, group_size=1)
    assert summed.settings == {
        "method": "euler_maruyama", "steps": 5, "num_samples": 5, "seed": 1, "group_size": 1,
        "d0": 1.0, "d1": 0.1, "mini_batch_size": 10, "use_jac": False, "prior": "diffused",
    }  # fmt: skip


@pytest.mark.parametrize(
    "option",
    [
        {"d0": 1.0},
        {"d0": 0.999},
        {"d1": 1.0},
        {"use_jac": False},
        {"prior": "diffused"},
        {"mini_batch_size": 2},
    ],
    ids=str,
)
def test_the_method_depends_on_what_is_given_and_not_on_its_value(
    workflow, studies, option, monkeypatch
):
    def summed(workflow, model, blocks, summaries, *, num_samples, **options):
        return dict.fromkeys(NAMES, np.zeros((1, num_samples)))

    monkeypatch.setattr(posterior, "_summed_draws", summed)
    draws = el.compose(workflow, studies[0], group_size=5, check=False, **option)
    assert draws.settings["method"] == "euler_maruyama" and draws.settings["steps"] == 100


def test_steps_are_those_that_the_docstring_says_at_both_ends_of_each_range():
    steps = posterior.default_steps
    assert [steps("gaussian", n) for n in (1, 2, 200)] == [46, 24, 24]
    assert [steps("euler_maruyama", n) for n in (1, 20, 21)] == [100, 100, 300]
    assert steps("rk45", 1) == "adaptive"


def test_studies_of_any_size_are_split_into_nearly_equal_groups(workflow):
    draws = el.compose(workflow, el.simulate(el.EAM, 211, 10, seed=3), num_samples=12, seed=1)
    assert draws.diagnostics == {"n_groups": 2, "group_size": 106}


def test_subjects_may_have_different_numbers_of_trials(workflow, studies):
    people = [trials[: 10 + j] for j, trials in enumerate(studies[0].by_subject)]
    ragged = el.compose(workflow, el.Study(people), num_samples=200, seed=1)
    full = el.compose(workflow, studies[0], num_samples=200, seed=1)
    # less data, wider posterior: on average over parameters, as about 2/3 of the trials are left
    ratio = [ragged[k].std() / full[k].std() for k in NAMES]
    assert 1.0 < np.mean(ratio) < 1.6
    with pytest.raises(ValueError, match="pooled summary network needs the same number"):
        el.compose(el.load_pretrained("global-pooled", folder=book.WEIGHTS), el.Study(people))


@pytest.mark.parametrize("settings", [FAST, GAUSSIAN], ids=["summed", "gaussian"])
def test_several_studies_are_composed_each_by_itself(workflow, studies, settings):
    """200 draws each: a standard error of 7 % of an sd (mean), 5 % (sd); 4.5 are allowed."""
    settings = settings | {"num_samples": 200, "check": False}
    together = el.compose(workflow, studies, seed=1, **settings)
    again = el.compose(workflow, studies, seed=1, **settings)
    for i, draws in enumerate(together):
        alone = el.compose(workflow, studies[i], seed=7, **settings)
        np.testing.assert_allclose(draws.summaries, alone.summaries, atol=1e-4)
        np.testing.assert_array_equal(draws.array, again[i].array)
        z, other = to_z(draws), to_z(alone)
        sd = other.std(axis=0)
        np.testing.assert_allclose((z.mean(axis=0) - other.mean(axis=0)) / sd, 0.0, atol=0.45)
        np.testing.assert_allclose(np.log(z.std(axis=0) / sd), 0.0, atol=0.32)
    gap = np.abs(to_z(together[0]).mean(axis=0) - to_z(together[1]).mean(axis=0))
    assert gap.max() > 1.0  # they are different studies


def test_studies_of_different_sizes_are_composed_together(workflow, studies):
    few = studies[0][:10]
    mixed = el.compose(workflow, [few, studies[1]], seed=1, **GAUSSIAN)
    assert [d.diagnostics["n_groups"] for d in mixed] == [2, 4]
    alone = el.compose(workflow, few, seed=1, check=False, **GAUSSIAN)
    np.testing.assert_allclose(mixed[0].array, alone.array, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="^study: studies that are composed together need equally"):
        el.compose(workflow, [few, studies[1]], seed=1, **FAST)


def test_each_study_is_checked_with_its_own_draws(workflow, studies, monkeypatch):
    seen = []

    def spy(draws, study):
        seen.append((draws, study))
        return real(draws, study)

    real = posterior.predictive_check
    monkeypatch.setattr(posterior, "predictive_check", spy)
    drawn = el.compose(workflow, studies, seed=1, check=True, **GAUSSIAN)
    assert [(d is a, s is b) for (d, s), a, b in zip(seen, drawn, studies, strict=True)] == [
        (True, True)
    ] * 2
    el.compose(workflow, studies, seed=1, **GAUSSIAN)
    el.compose(workflow, studies[0], seed=1, check=False, **GAUSSIAN)
    assert len(seen) == 2
    el.compose(workflow, studies[0], seed=1, **GAUSSIAN)
    assert len(seen) == 3


def test_a_composition_that_is_off_is_said_to_be_where_a_check_is_asked_for(
    workflow, studies, monkeypatch, recwarn
):
    """Simulated studies whose composed means are all three prior sds above their parameters."""
    counts = []

    def composed_means(workflow, draws, study, points, *_):
        counts.append(len(points))
        return points + 3.0 * el.EAM.prior.sds

    monkeypatch.setattr(certificate, "_composed_means", composed_means)
    options = {"num_samples": 60, "seed": 1, "group_size": 5}
    el.compose(workflow, studies[0], **options)
    el.compose(workflow, studies[:1], **options)
    assert not recwarn and not counts
    said = r"^the composition is off, .* 20 .*mu_nu: about .* high"
    with pytest.warns(UserWarning, match=said) as caught:
        el.compose(workflow, studies[0], check=True, **options)
    assert sum(counts) == 20 and caught[0].filename == __file__
    el.compose(workflow, studies[0], check=True, **options | {"group_size": "auto"})  # one group
    assert sum(counts) == 20


def test_unusual_data_are_warned_of_and_usual_ones_are_not(workflow, studies):
    beyond = {"mu_nu": 2.5, "mu_log_t0": 0.3}
    strange = el.simulate(el.EAM, 60, 30, seed=8, group=beyond)
    options = {"num_samples": 60, "seed": 1}
    with pytest.warns(UserWarning, match="^the data are unlike what the network was trained on"):
        el.compose(workflow, strange, **options)
    with pytest.warns(UserWarning, match="^study 1 is unlike") as caught:
        el.compose(workflow, [studies[0], strange], check=True, **options)
    assert len(caught) == 1 and caught[0].filename == __file__
    guesses = studies[0].trials.copy()
    guesses[:, ::15, 1] = 0.12  # two fast guesses of every person
    with pytest.warns(UserWarning, match="do not trust the draws"):
        el.compose(workflow, el.Study(guesses), **options)
    long = replace(el.simulate(el.EAM, 4, (30, 30, 4, 600), seed=9), subjects="abcd")
    said = "2 of 4 subjects have 4 to 600 trials, .* on 5 to 500. Take el.exact and el.exact_people"
    for other in (long, [long]):  # several, too, are asked for their trials
        with pytest.warns(UserWarning, match=said):
            population = el.compose(workflow, other, **options)
    with pytest.warns(UserWarning, match=said) as caught:
        el.people(el.load_pretrained("local"), population[0], long, seed=1)
    assert caught[0].filename == __file__ and population[0].subjects == ("a", "b", "c", "d")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        el.compose(workflow, studies[0], **options)
        el.compose(workflow, strange, check=False, **options)


def test_it_is_the_librarys_own_compositional_sampler(workflow, studies, monkeypatch):
    seen = {}
    original = bf.CompositionalWorkflow.compositional_sample

    def spy(self, **kwargs):
        seen.update(kwargs)
        return original(self, **kwargs)

    monkeypatch.setattr(bf.CompositionalWorkflow, "compositional_sample", spy)
    el.compose(workflow, studies[0], d0=0.3, d1=0.2, mini_batch_size=3, use_jac=False, **FAST)
    assert seen["compositional_bridge_d0"] == 0.3 and seen["compositional_bridge_d1"] == 0.2
    assert seen["mini_batch_size"] == 3 and seen["method"] == "euler_maruyama"
    assert seen["steps"] == 20 and seen["num_samples"] == 12 and seen["use_jac"] is False


def test_every_option_of_the_summed_score_reaches_bayesflow(workflow, studies, monkeypatch):
    seen = {}

    def spy(self, **kwargs):
        seen.update(kwargs)
        return {k: np.zeros((1, kwargs["num_samples"], 1)) for k in NAMES}

    monkeypatch.setattr(bf.CompositionalWorkflow, "compositional_sample", spy)
    options = FAST | {"check": False}
    el.compose(workflow, studies[0], use_jac=True, prior="weighted", **options)
    # BayesFlow weights the score of a function that does not ask for the time.
    assert seen["use_jac"] is True
    assert [*inspect.signature(seen["compute_prior_score"]).parameters] == ["x"]
    el.compose(workflow, studies[0], d0=0.5, **options)
    assert seen["use_jac"] is False
    assert [*inspect.signature(seen["compute_prior_score"]).parameters] == ["x", "time"]


def test_the_compiled_sampler_draws_what_bayesflow_draws_and_holds_no_conditions(
    workflow, studies, monkeypatch
):
    given = {"summaries": el.compose(workflow, studies[0], seed=5, **FAST).summaries}
    ours = el.compose(workflow, studies[0], seed=5, **FAST, **given)
    gc.collect()
    per_draw = (FAST["num_samples"], *given["summaries"].shape)  # as the solver is given them
    tensor = type(keras.ops.ones(1))
    held = [x for x in gc.get_objects() if type(x) is tensor]
    assert held and not [x for x in held if tuple(x.shape) == per_draw]

    monkeypatch.delattr(CompiledDiffusionModel, "sample")
    theirs = el.compose(workflow, studies[0], seed=5, **FAST, **given)
    np.testing.assert_allclose(ours.array, theirs.array, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "two_step_adaptive"},
        {"method": "tsit5", "steps": 10},
        {"method": "euler", "steps": 15, "use_jac": True},
        {"method": "euler_maruyama", "steps": 20, "prior": "weighted"},
        {"method": "euler_maruyama", "steps": 20, "group_size": 20},
        {"method": "gaussian", "steps": 20},
    ],
    ids=lambda s: "-".join(map(str, s.values())),
)
def test_solvers_and_compositions_run(workflow, studies, settings):
    settings = {"group_size": 5} | settings
    z = to_z(el.compose(workflow, studies[0], num_samples=8, seed=2, check=False, **settings))
    assert np.all(np.isfinite(z)) and np.abs(z).max() < 4


def test_prior_scores_inside_the_library_are_minus_z_and_its_weighted_form(workflow):
    """Through adapter and change of variables the diffused prior N(0, I) has the score -z."""
    from bayesflow.estimators.helpers import build_prior_score_fn

    estimator = workflow.estimator
    z = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(6, 7)), "float32")
    step = {
        k: build_prior_score_fn(
            prior_score(el.EAM.prior, k),
            adapter=estimator.adapter,
            standardizer=estimator.standardizer,
        )
        for k in ("diffused", "weighted")
    }
    np.testing.assert_allclose(np.asarray(step["diffused"](z, 0.25)), -np.asarray(z), atol=1e-4)
    np.testing.assert_allclose(
        np.asarray(step["weighted"](z, 0.25)), -0.75 * np.asarray(z), atol=1e-4
    )


def test_small_d0_tempers_the_posterior(workflow, studies):
    """sd grows about like 1 / sqrt(d0): 2 at d0 = 1/4; a factor above 1.3 cannot be noise here."""
    options = {"method": "euler_maruyama", "steps": 60, "num_samples": 200, "seed": 3}
    options |= {"group_size": 5}
    plain = el.compose(workflow, studies[0], **options)
    tempered = el.compose(workflow, studies[0], summaries=plain.summaries, d0=0.25, **options)
    ratio = [tempered[n].std() / plain[n].std() for n in ("mu_nu", "mu_log_t0", "beta_raw")]
    assert np.mean(ratio) > 1.3, ratio


# --- people ---------------------------------------------------------------------------------------


def group_of(study, n=6, **values):
    """The study's true group in each of n draws, but for some values."""
    group = {k: np.full(n, v) for k, v in study.group.items()}
    return Draws(group | values, model=el.EAM)


def test_people_have_posteriors_of_their_own(local):
    study = el.simulate(el.EAM, 20, 30, seed=12, group={"log_sigma_nu": 0.0})
    draws = el.people(local, group_of(study), study, seed=1)
    assert tuple(draws) == (*NAMES, *el.EAM.person_names)
    assert draws.group_names == NAMES and draws.subjects == study.subjects
    assert all(draws[k].shape == (6, 20) for k in draws.person_names)
    assert np.all(draws["alpha"] > 0) and np.all(draws["t0"] > 0)
    again, other = (el.people(local, group_of(study), study, seed=seed)["nu"] for seed in (1, 2))
    np.testing.assert_array_equal(again, draws["nu"])
    assert not np.isin(other, again).any()
    for name, least in (("nu", 0.7), ("t0", 0.9)):
        r = np.corrcoef(draws[name].mean(axis=0), study.truth[name])[0, 1]
        assert r > least, (name, r)


def test_each_draw_of_people_belongs_to_the_groups_draw_of_the_same_number(local):
    """People with one trial, and populations so narrow that they follow their population's mean."""
    study = el.simulate(el.EAM, 5, 1, seed=3)
    mu = np.random.default_rng(4).permutation(np.linspace(-0.1, 1.1, 40))
    group = group_of(study, 40, mu_nu=mu, log_sigma_nu=np.full(40, -3.0))
    draws = el.people(local, group, study, seed=1)
    np.testing.assert_array_equal(draws["mu_nu"], mu)
    for nu in draws["nu"].T:
        assert np.corrcoef(nu, mu)[0, 1] > 0.97


def test_batches_of_people_are_in_the_order_of_the_study(local, studies):
    group = group_of(studies[0], 100)
    whole = el.people(local, group, studies[0], seed=1)
    parts = el.people(local, group, studies[0], seed=1, subjects_per_batch=8, progress=False)
    error = whole.sd["t0"] / 10  # standard error of 100 draws
    np.testing.assert_array_less(abs(whole.mean["t0"] - parts.mean["t0"]), 6.5 * error)


def test_infinite_people_are_named(local, studies, monkeypatch):
    study = el.Study(studies[0].trials[:3], ("x", "y", "z"))
    draw = local.ancestral_sample

    def broken(**options):
        found = {k: np.array(v) for k, v in draw(**options).items()}
        found["alpha"][0, 1, 4] = np.inf
        return found

    monkeypatch.setattr(local, "ancestral_sample", broken)
    message = r"^study: the parameters of 1 subjects \(\['y'\]\) came out infinite: .* check"
    with pytest.raises(ValueError, match=message):
        el.people(local, group_of(studies[0]), study, seed=1)


# --- bad input ------------------------------------------------------------------------------------

BAD = [
    ({"group_size": 7}, "group_size must divide"),
    ({"group_size": "atuo"}, "group_size must be an integer or 'auto'"),
    ({"mini_batch_size": 5, "group_size": 5}, "mini_batch_size must be at most the number of gr"),
    ({"mini_batch_size": 0}, "mini_batch_size must be an integer of at least 1, got 0"),
    ({"mini_batch_size": True}, "mini_batch_size must be an integer"),
    ({"d0": 0.0}, "d0 must be positive and finite, got 0.0"),
    ({"d0": "1"}, "d0 must be positive and finite, got '1'"),
    ({"d1": -1.0}, "d1 must be positive"),
    ({"d1": np.nan}, "d1 must be positive"),
    ({"method": "heun"}, "method must be one of"),
    ({"method": "euler", "steps": "adaptive"}, "steps='adaptive' needs"),
    ({"steps": 0}, "steps must be"),
    ({"steps": True}, "steps must be"),
    ({"steps": 1.5}, "steps must be"),
    ({"prior": "flat"}, "prior must be one of"),
    ({"use_jac": 1}, "use_jac must be True or False"),
    ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
    ({"seed": True}, "seed must be an integer of at least 0"),
    ({"summaries": np.full((1, 64), np.nan)}, "summaries must be finite arrays"),
    (
        {"summaries": np.zeros((2, 64))},
        r"summaries must be .* have \[1\] groups, got \[\(2, 64\)\]",
    ),
    ({"method": "gaussian", "d0": 0.5}, "takes none of .*d0"),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=[b[1] for b in BAD])
def test_bad_settings_name_the_argument(workflow, studies, settings, message):
    with pytest.raises(ValueError, match=message):
        el.compose(workflow, studies[0], **settings)


def test_foreign_workflows_are_refused(workflow, local, studies):
    with pytest.raises(
        ValueError, match="workflow must be a CompositionalWorkflow, got BasicWorkf"
    ):
        el.compose(local, studies[0])
    with pytest.raises(ValueError, match="workflow must be a local workflow, got a Compositional"):
        el.people(workflow, group_of(studies[0]), studies[0])
    nameless = bf.CompositionalWorkflow(
        adapter=workflow.adapter,
        inference_network=workflow.inference_network,
        summary_network=workflow.summary_network,
    )
    with pytest.raises(ValueError, match="workflow does not know its model .* el.load_pretrained"):
        el.compose(nameless, studies[0])
