"""What every verb promises: names and order, models that must fit, settings that pass back."""

import importlib
import json
import pkgutil
import sys
from types import ModuleType

import numpy as np
import pytest
from test_model import with_prior

import eamlab as el
from eamlab.draws import Draws
from eamlab.grading import grade
from eamlab.networks import GroupSummary
from eamlab.predictive import check

NAMES = el.EAM.prior.names
OTHER = with_prior(mu_nu=(0.6, 0.3))
DIFFERENCE = r"mu_nu was \[0.5, 0.3\], is \[0.6, 0.3\]"
TURNED = el.EAM.ordered(NAMES[::-1], el.EAM.person_names[::-1])


@pytest.fixture(scope="module")
def study():
    return el.simulate(el.EAM, 4, 20, seed=31)


@pytest.fixture(scope="module")
def draws(workflow, study):
    return el.compose(workflow, study, num_samples=30, seed=1, check=False)


# --- names ----------------------------------------------------------------------------------------


def test_every_module_is_a_module_and_every_name_what_it_was():
    """``import eamlab.x`` must not be shadowed by a function x, nor shadow one."""
    functions = {name: getattr(el, name) for name in el.__all__}
    for found in pkgutil.walk_packages(el.__path__, "eamlab."):
        if found.name != "eamlab.__main__":
            module = importlib.import_module(found.name)
            parent, _, child = found.name.rpartition(".")
            assert isinstance(getattr(sys.modules[parent], child), ModuleType) and module
    for name, function in functions.items():
        assert getattr(el, name) is function and not isinstance(function, ModuleType)
        assert name in dir(el)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        el.nothing  # noqa: B018


NETWORKS = "tensorflow keras bayesflow"
LIGHT = {  # what is done, one after the other in one process, and what it must not load
    "import eamlab; dir(eamlab)": (
        f"{NETWORKS} numpy pandas scipy sklearn numba xarray matplotlib ipywidgets anywidget"
    ),
    "import eamlab_book.figures": f"{NETWORKS} matplotlib",
    "import eamlab.export; eamlab.read_trials({'subject': [1], 'rt': [0.5], 'response': [1]})": (
        f"{NETWORKS} xarray arviz"
    ),
    "eamlab.simulate(eamlab.EAM, 1, 5, seed=1)": NETWORKS,
    "eamlab.exact, eamlab.exact_people, eamlab.check, eamlab.grade, eamlab.predict": NETWORKS,
    "import eamlab_book as book; book.toy_playground().html()": NETWORKS,
}


def test_what_needs_no_networks_loads_none(python):
    steps = [
        f"{code}\nloaded = set({names.split()!r}) & set(sys.modules)\n"
        f"assert not loaded, ({code!r}, loaded)"
        for code, names in LIGHT.items()
    ]
    python("\n".join(["import sys", *steps]))


# --- the order of a prior's lines -----------------------------------------------------------------


def test_the_exact_posterior_does_not_depend_on_the_order_of_the_prior(study):
    one, other = (el.exact(study, model, 50, seed=1) for model in (el.EAM, TURNED))
    assert tuple(other) == NAMES[::-1]
    people = [el.exact_people(d, study[:2], seed=2) for d in (one, other)]
    for name in (*NAMES, *el.EAM.person_names):
        np.testing.assert_array_equal(people[0][name], people[1][name])
    assert one.mean == other.mean and one.sd == other.sd
    again = el.exact_people({k: v[0] for k, v in other.items()}, study, model=TURNED, seed=3)
    same = el.exact_people({k: v[0] for k, v in one.items()}, study, model=el.EAM, seed=3)
    np.testing.assert_array_equal(again["nu"], same["nu"])


def test_shipped_networks_do_not_depend_on_the_order_of_the_prior(study, local):
    """But for rounding, which TensorFlow does otherwise for shapes like those it has seen."""
    draws, again = (
        el.compose(
            el.load_pretrained("global", model=m), study, num_samples=30, seed=1, check=False
        )
        for m in (el.EAM, TURNED)
    )
    for name in NAMES:
        np.testing.assert_allclose(again[name], draws[name], atol=1e-3)
    assert again.mean == pytest.approx(draws.mean, abs=1e-3)
    other = el.load_pretrained("local", model=TURNED)
    shuffled = Draws({k: draws[k] for k in reversed(NAMES)}, model=TURNED)
    one, two = el.people(local, draws, study, seed=2), el.people(other, shuffled, study, seed=2)
    for name in el.EAM.person_names:
        np.testing.assert_allclose(one[name], two[name], atol=1e-3)


# --- one line of the prior is another model -------------------------------------------------------


def test_weights_of_another_model_are_refused():
    for name in ("global", "local"):
        message = f"^the network '{name}' was made with another .*{DIFFERENCE}.*eamlab train {name}"
        with pytest.raises(ValueError, match=message):
            el.load_pretrained(name, model=OTHER)


def test_weights_of_an_unknown_model_need_it(tmp_path, monkeypatch):
    from eamlab import workflows

    monkeypatch.setattr(workflows, "MODELS", {})
    with pytest.raises(ValueError, match=r"trained for the model 'EAM'.*; give it: load_pretr"):
        el.load_pretrained("global")
    assert el.load_pretrained("global", model=el.EAM).model.fingerprint == el.EAM.fingerprint


def test_draws_of_another_model_are_refused(study, draws, local):
    foreign = Draws(draws, model=OTHER)
    back = r"mu_nu was \[0.6, 0.3\], is \[0.5, 0.3\]"
    with pytest.raises(ValueError, match=f"^draws was made with another .*{back}.*belong to EAM"):
        el.people(local, foreign, study)
    with pytest.raises(ValueError, match=f"^group was made with another .*{back}"):
        el.exact_people(foreign, study, model=el.EAM)
    for ours, key, difference in ((draws, foreign, back), (foreign, draws, DIFFERENCE)):
        with pytest.raises(
            ValueError, match=f"^key was made with another .*{difference}.*el.exact"
        ):
            grade(ours, key)
    with pytest.raises(ValueError, match="^draws do not say of which model they are; give model="):
        check(dict(draws), study)


# --- settings pass back ---------------------------------------------------------------------------


def again(call, first):
    """The same draws from the settings that stand with the first, as JSON keeps them."""
    second = call(**json.loads(json.dumps(first.settings)))
    assert second.settings == first.settings
    for name in first:
        np.testing.assert_array_equal(second[name], first[name])


@pytest.mark.parametrize(
    "options", [{"group_size": 2}, {"d1": 0.5, "steps": 4, "group_size": 2}], ids=["gauss", "sum"]
)
def test_settings_of_a_composition_pass_back(workflow, study, options):
    def call(**settings):
        return el.compose(workflow, study, check=False, **settings)

    again(call, call(num_samples=6, seed=np.int64(3), **options))


def test_settings_of_people_pass_back(local, study, draws):
    def call(**settings):
        return el.people(local, draws, study, progress=False, **settings)

    again(call, call(seed=np.int64(2), subjects_per_batch=3))
    assert set(call(seed=1).group) == set(NAMES)


@pytest.mark.parametrize("method", ["auto", "mcmc"])
def test_settings_of_exact_draws_pass_back(study, method):
    def call(**settings):
        return el.exact(study, el.EAM, **settings)

    first = call(num_samples=20, seed=3, method=method, em_dt=1e-3)
    assert first.settings["method"] == method
    again(call, first)
    np.testing.assert_array_equal(call(**first.settings | {"seed": np.int64(3)}).array, first.array)
    again(
        lambda **settings: el.exact_people(first, study, **settings),
        el.exact_people(first, study, seed=4),
    )


# --- padding --------------------------------------------------------------------------------------


def one_sided(n_trials):
    """Three people who made one choice only, one of them slowly."""
    trials = el.simulate_trials([9.0, -9.0, 30.0], 1.0, [0.3, 0.3, 2.0], 0.5, n_trials, seed=5)[0]
    assert [set(a) for a in trials[..., 0]] == [{1.0}, {0.0}, {1.0}]
    return trials


@pytest.mark.parametrize("n_trials", [1, 2, 15])
def test_missing_trials_change_no_summary_even_of_one_sided_people(workflow, local, n_trials):
    trials = one_sided(n_trials)
    padded = np.pad(trials, [(0, 0), (0, 40), (0, 0)])
    for network in (workflow.summary_network, GroupSummary(), local.summary_network):
        groups = network is not local.summary_network
        plain, more = (network(x[None] if groups else x) for x in (trials, padded))
        # Their sums are rounded otherwise; so they are if the trials come in another order (3e-4).
        np.testing.assert_allclose(plain, more, rtol=1e-4, atol=1e-3)


def test_the_trials_of_others_change_no_answer(workflow, local):
    """A person among others with more trials is summarized as alone."""
    short, long = one_sided(15), el.simulate(el.EAM, 3, 60, seed=6)
    mixed = el.Study([*short, *long.by_subject])
    options = {"group_size": 3, "num_samples": 5, "check": False, "seed": 1}
    together = el.compose(workflow, mixed, **options).summaries
    alone = [el.compose(workflow, s, **options).summaries[0] for s in (el.Study(short), long)]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-3)  # see above
    group = Draws(dict(zip(NAMES, np.tile(el.EAM.prior.means[:, None], 200), strict=True)))
    among = el.people(local, group, mixed, seed=2)
    by_themselves = el.people(local, group, el.Study(short), seed=3)
    for name in el.EAM.person_names:  # 200 draws each: five standard errors are half an sd
        gap = among[name][:, :3].mean(axis=0) - by_themselves[name].mean(axis=0)
        np.testing.assert_array_less(abs(gap), 0.5 * by_themselves.sd[name])


# --- bad input ------------------------------------------------------------------------------------


def verbs(workflow, local, study, draws):
    people = Draws(
        dict(draws) | {k: np.ones((30, 4)) for k in el.EAM.person_names},
        model=el.EAM, subjects=study.subjects,
    )  # fmt: skip
    return {
        "compose": lambda s=study, **o: el.compose(workflow, s, **o),
        "exact": lambda s=study, **o: el.exact(s, el.EAM, **o),
        "people": lambda s=study, **o: el.people(local, draws, s, **o),
        "exact_people": lambda s=study, **o: el.exact_people(draws, s, **o),
        "check": lambda s=study, **o: check(draws, s, **o),
        "predict": lambda s=study, **o: el.predict(people, s, **o),
        "grade": lambda **o: grade(draws, draws, **o),
    }


@pytest.fixture(scope="module")
def calls(workflow, local, study, draws):
    return verbs(workflow, local, study, draws)


@pytest.mark.parametrize(
    "name", ["compose", "exact", "people", "exact_people", "check", "predict", "grade"]
)
def test_misspelt_options_are_named(calls, name):
    with pytest.raises(TypeError, match="num_sample'"):
        calls[name](num_sample=3)


@pytest.mark.parametrize("name", ["compose", "exact", "people", "exact_people", "check", "predict"])
@pytest.mark.parametrize("what", [np.ones((4, 20, 2)), {"sim_data": np.ones(3)}, None], ids=type)
def test_what_is_no_study_is_refused_with_what_to_write(calls, name, what):
    message = r"^study must be a Study, .*got (ndarray|dict|NoneType); make one: el.Study\(trials\)"
    with pytest.raises(ValueError, match=message):
        calls[name](what)


@pytest.mark.parametrize("name", ["exact", "people", "exact_people", "check", "predict"])
def test_several_studies_are_refused_where_one_is_needed(calls, study, name):
    with pytest.raises(ValueError, match="^study must be one Study, got 2; take one at a time"):
        calls[name]([study, study])


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("compose", "num_samples"),
        ("exact", "num_samples"),
        ("people", "subjects_per_batch"),
        ("check", "num_samples"),
        ("check", "max_subjects"),
        ("predict", "num_samples"),
    ],
)
def test_counts_are_whole_numbers(calls, name, count):
    for value in (0, True, 1.5, "5"):
        with pytest.raises(ValueError, match=f"^{count} must be an integer of at least"):
            calls[name](**{count: value})


@pytest.mark.parametrize(
    "name", ["compose", "exact", "people", "exact_people", "check", "predict", "grade"]
)
def test_seeds_are_whole_numbers(calls, name):
    for value in (-1, True, 1.5, "5"):
        with pytest.raises(ValueError, match="^seed must be"):
            calls[name](seed=value)


def test_numpys_integers_are_seeds(calls):
    for name in ("check", "predict", "grade"):
        one, other = calls[name](seed=3), calls[name](seed=np.int64(3))
        assert str(one) == str(other)
