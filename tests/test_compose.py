import gc
import warnings

import bayesflow as bf
import keras
import numpy as np
import pytest
from bayesflow.estimators.helpers import Sampler

import eamlab as el
from eamlab.compose import prior_score


@pytest.fixture(scope="module")
def workflow():
    return el.load_pretrained("global")


@pytest.fixture(scope="module")
def data():
    return el.simulate_studies(2, 20, 30, seed=11, scheme="exact")


FAST = {"method": "euler_maruyama", "steps": 20, "num_samples": 12, "group_size": 5}
GAUSSIAN = {"num_samples": 12, "group_size": 5}


@pytest.mark.parametrize("settings", [FAST, GAUSSIAN], ids=["summed", "gaussian"])
def test_shapes_names_and_reuse_of_summaries(workflow, data, settings):
    first = el.compose(workflow, data["sim_data"], seed=5, **settings)
    assert set(first) == set(el.GROUP_PRIOR.names)
    assert all(v.shape == (2, 12, 1) and np.all(np.isfinite(v)) for v in first.values())
    assert first.summaries.shape[:2] == (2, 4)
    again = el.compose(workflow, None, summaries=first.summaries, seed=5, **settings)
    np.testing.assert_array_equal(first["mu_nu"], again["mu_nu"])
    other = el.compose(workflow, None, summaries=first.summaries, seed=6, **settings)
    assert not np.array_equal(first["mu_nu"], other["mu_nu"])


def test_automatic_settings_are_used_and_recorded(workflow, data):
    draws = el.compose(workflow, data["sim_data"], num_samples=12, seed=1)
    assert draws.settings["method"] == "gaussian" and draws.settings["group_size"] == 20
    assert draws.summaries.shape[1] == 1
    summed = el.compose(workflow, data["sim_data"], d1=0.1, seed=1, steps=5, num_samples=5)
    assert summed.settings["method"] == "euler_maruyama"


def test_studies_of_any_size_are_split_into_nearly_equal_groups(workflow):
    data = el.simulate_studies(1, 211, 10, seed=3, scheme="exact")["sim_data"]
    draws = el.compose(workflow, data, num_samples=12, seed=1)
    assert draws.summaries.shape[1] == 2 and draws.settings["group_size"] == 106


def test_subjects_may_have_different_numbers_of_trials(workflow, data):
    trials = data["sim_data"][0]
    subjects = [subject[: 10 + j] for j, subject in enumerate(trials)]
    ragged = el.compose(workflow, subjects, num_samples=200, seed=1)
    full = el.compose(workflow, trials, num_samples=200, seed=1)
    assert all(np.all(np.isfinite(v)) for v in ragged.values())
    # less data, wider posterior: on average over parameters, as about 2/3 of the trials are left
    ratio = [ragged[k].std() / full[k].std() for k in el.GROUP_PRIOR.names]
    assert 1.0 < np.mean(ratio) < 1.6
    with pytest.raises(ValueError, match="pooled summary network needs the same number"):
        el.compose(el.load_pretrained("global-pooled"), subjects)


def test_a_single_study_needs_no_study_axis(workflow, data):
    one = el.compose(workflow, data["sim_data"][0], seed=5, **FAST)
    assert one["mu_nu"].shape == (1, 12, 1)


def test_it_is_the_librarys_own_compositional_sampler(workflow, data, monkeypatch):
    seen = {}
    original = bf.CompositionalWorkflow.compositional_sample

    def spy(self, **kwargs):
        seen.update(kwargs)
        return original(self, **kwargs)

    monkeypatch.setattr(bf.CompositionalWorkflow, "compositional_sample", spy)
    el.compose(workflow, data["sim_data"], d0=0.3, d1=0.2, mini_batch_size=3, seed=1, **FAST)
    assert seen["compositional_bridge_d0"] == 0.3 and seen["compositional_bridge_d1"] == 0.2
    assert seen["mini_batch_size"] == 3 and seen["method"] == "euler_maruyama"


def test_the_compiled_sampler_draws_what_bayesflow_draws_and_holds_no_conditions(workflow, data):
    summaries = el.compose(workflow, data["sim_data"], seed=5, **FAST).summaries
    ours = el.compose(workflow, None, summaries=summaries, seed=5, **FAST)
    gc.collect()
    per_draw = (2 * FAST["num_samples"], *summaries.shape[1:])  # as the solver is given them
    tensor = type(keras.ops.ones(1))
    held = [x for x in gc.get_objects() if type(x) is tensor]
    assert held and not [x for x in held if tuple(x.shape) == per_draw]

    compiled, workflow.estimator.sampler = workflow.estimator.sampler, Sampler()
    try:
        theirs = el.compose(workflow, None, summaries=summaries, seed=5, **FAST)
    finally:
        workflow.estimator.sampler = compiled
    np.testing.assert_allclose(ours["mu_nu"], theirs["mu_nu"], rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "two_step_adaptive"},
        {"method": "euler", "steps": 15},
        {"method": "tsit5", "steps": 10},
        {"method": "euler", "steps": 15, "use_jac": True},
        {"method": "euler_maruyama", "steps": 20, "prior": "weighted"},
        {"method": "euler_maruyama", "steps": 20, "group_size": 20},
        {"method": "gaussian", "steps": 20},
        {"method": "gaussian", "steps": 20, "group_size": 20},
    ],
    ids=lambda s: "-".join(map(str, s.values())),
)
def test_solvers_and_compositions_run(workflow, data, settings):
    settings = {"group_size": 5} | settings
    draws = el.compose(workflow, data["sim_data"][:1], num_samples=8, seed=2, **settings)
    z = np.stack([draws[n][0, :, 0] for n in el.GROUP_PRIOR.names], 1) - el.GROUP_PRIOR.means
    z /= el.GROUP_PRIOR.sds
    assert np.all(np.isfinite(z)) and np.abs(z).max() < 4


def test_prior_scores_inside_the_library_are_minus_z_and_its_weighted_form(workflow):
    """Through adapter and change of variables the diffused prior N(0, I) has the score -z."""
    from bayesflow.estimators.helpers import build_prior_score_fn

    estimator = workflow.estimator
    z = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(6, 7)), "float32")
    step = {
        k: build_prior_score_fn(
            prior_score(k), adapter=estimator.adapter, standardizer=estimator.standardizer
        )
        for k in ("diffused", "weighted")
    }
    np.testing.assert_allclose(np.asarray(step["diffused"](z, 0.25)), -np.asarray(z), atol=1e-4)
    np.testing.assert_allclose(
        np.asarray(step["weighted"](z, 0.25)), -0.75 * np.asarray(z), atol=1e-4
    )


def test_small_d0_tempers_the_posterior(workflow, data):
    """sd grows about like 1 / sqrt(d0): 2 at d0 = 1/4; a factor above 1.3 cannot be noise here."""
    kwargs = {"method": "euler_maruyama", "steps": 60, "num_samples": 200, "seed": 3}
    kwargs |= {"group_size": 5}
    plain = el.compose(workflow, data["sim_data"], **kwargs)
    tempered = el.compose(workflow, None, summaries=plain.summaries, d0=0.25, **kwargs)
    ratio = [tempered[n].std() / plain[n].std() for n in ("mu_nu", "mu_log_t0", "beta_raw")]
    within = [
        np.mean(tempered[n].std(axis=1) / plain[n].std(axis=1))
        for n in ("mu_nu", "mu_log_t0", "beta_raw")
    ]
    assert np.mean(within) > 1.3, (within, ratio)


def test_more_subjects_narrow_the_posterior(workflow):
    data = el.simulate_studies(3, 80, 30, seed=21, scheme="exact")["sim_data"]
    kwargs = {"method": "euler_maruyama", "steps": 60, "num_samples": 100, "seed": 4}
    few = el.compose(workflow, data[:, :10], group_size=5, **kwargs)
    many = el.compose(workflow, data, group_size=20, **kwargs)
    for name in ("mu_nu", "mu_log_t0", "beta_raw"):
        assert many[name].std(axis=1).mean() < 0.75 * few[name].std(axis=1).mean()


def test_ancestral_draws_have_one_row_per_subject(data):
    local = el.load_pretrained("local")
    group = {n: np.repeat(data[n][:, None], 6, axis=1) for n in el.GROUP_PRIOR.names}
    draws = el.sample_subject_parameters(
        local, group, data["sim_data"], subjects_per_batch=8, seed=1, progress=False
    )
    assert set(draws) == {"nu", "alpha", "t0"}
    assert all(v.shape == (2, 20, 6) for v in draws.values())
    assert np.all(draws["alpha"] > 0) and np.all(draws["t0"] > 0)
    # every subject gets its own posterior: draws follow the subject, not only the group
    r = np.corrcoef(draws["t0"].mean(axis=2).ravel(), data["t0"].ravel())[0, 1]
    assert r > 0.8


BAD = [
    ({"group_size": 7}, "group_size must divide"),
    ({"group_size": "atuo"}, "group_size must be an integer or 'auto'"),
    (
        {"mini_batch_size": 5, "group_size": 5},
        "mini_batch_size must be between 1 and the number of groups",
    ),
    ({"d0": 0.0}, "d0 must be positive"),
    ({"d1": -1.0}, "d1 must be positive"),
    ({"num_samples": 0}, "num_samples must be positive"),
    ({"method": "heun"}, "method must be one of"),
    ({"method": "euler", "steps": "adaptive"}, "steps='adaptive' needs"),
    ({"steps": 0}, "steps must be"),
    ({"prior": "flat"}, "prior_score must be one of"),
    ({"summaries": np.full((1, 2, 3), np.nan)}, "summaries must be"),
    ({"summaries": np.zeros((2, 3, 32))}, "summaries are of"),
    ({"method": "gaussian", "d0": 0.5}, "takes neither mini_batch_size, d0"),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=[b[1] for b in BAD])
def test_bad_settings_name_the_argument(workflow, data, settings, message):
    with pytest.raises(ValueError, match=message):
        el.compose(workflow, data["sim_data"], **settings)


def broken(value, position):
    trials = np.ones((1, 10, 4, 2), "float32")
    trials[0, 3, 2, position] = value
    return trials


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        (np.ones((10, 2)), "sim_data must have shape"),
        (broken(np.nan, 1), "1 response times are not finite"),
        (broken(-0.3, 1), "not finite and positive"),
        (broken(-1, 0), "choices must be 0"),
        (None, "sim_data is None"),
    ],
)
def test_bad_data_are_refused(workflow, trials, message):
    with pytest.raises(ValueError, match=message):
        el.compose(workflow, trials)


def test_a_misspelt_option_and_a_foreign_workflow_are_refused(workflow, data):
    with pytest.raises(TypeError, match="bridge_d0"):
        el.compose(workflow, data["sim_data"], bridge_d0=1.0)
    with pytest.raises(ValueError, match="workflow must be a CompositionalWorkflow"):
        el.compose(el.load_pretrained("local"), data["sim_data"])
    with pytest.raises(ValueError, match="group_draws must have shape"):
        el.sample_subject_parameters(
            el.load_pretrained("local"),
            {n: np.zeros((3, 1)) for n in el.GROUP_PRIOR.names},
            data["sim_data"],
        )


def test_functions_keep_their_names_after_their_modules_are_imported():
    import importlib

    importlib.import_module("eamlab.compose")
    importlib.import_module("eamlab.grade")
    assert callable(el.compose) and callable(el.grade)


def test_unusual_data_are_warned_of_and_usual_ones_are_not(workflow, data):
    strange = el.simulate_studies(
        1, 60, 30, seed=8, scheme="exact", group={"mu_nu": 2.5, "mu_log_t0": 0.3}
    )["sim_data"]
    with pytest.warns(UserWarning, match="unlike what the network was trained on"):
        el.compose(workflow, strange, num_samples=60, seed=1)
    guesses = data["sim_data"][:1].copy()
    guesses[:, :, ::15, 1] = 0.12  # two fast guesses of every person
    with pytest.warns(UserWarning, match="do not trust the draws"):
        el.compose(workflow, guesses, num_samples=60, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        el.compose(workflow, data["sim_data"][:1], num_samples=60, seed=1)
        el.compose(workflow, strange, num_samples=60, seed=1, check=False)
