"""The lab page checks a study as `eamlab.check` does."""

import re

import numpy as np
import pytest
from page_scripts import in_page, needs_node
from scipy import stats

import eamlab as el
from eamlab import predictive
from eamlab.composition.posterior import warn_of_unusual

pytestmark = needs_node
MODEL = el.EAM
STATISTICS = [s.name for s in predictive._STATISTICS]


def studies(count=30, n_subjects=9, n_trials=40):
    """Studies (count, n_subjects, n_trials, 2) of the prior, of ragged people."""
    data = MODEL.sample(count, n_subjects, n_trials, seed=5)["sim_data"]
    counts = np.random.default_rng(1).integers(5, n_trials + 1, (count, n_subjects))
    data[np.arange(n_trials) >= counts[..., None]] = 0.0
    data[0, :, :, 0] = 1.0  # one-sided people
    return data


def people_of(data):
    return [trials[trials[:, 1] > 0].ravel().tolist() for trials in data]


def numbers(comparisons):
    return [[c.observed, c.expected, *c.interval, c.z, c.limit] for c in comparisons]


def from_page(found):
    return [[c[k] for k in ("observed", "expected")] + c["interval"] + [c["z"], c["limit"]]
            for c in found]  # fmt: skip


@pytest.fixture(scope="module")
def draws():
    values = MODEL.prior.sample(80, np.random.default_rng(3))
    return el.Draws({k: 2.0 + v[:, 0] for k, v in values.items()}, model=MODEL)


def test_statistics_and_features_are_pythons():
    data = studies()
    code = "const { described, featured } = eamlab.check;"
    code += "return inputs.map((people) => [described(people), featured(people)])"
    found = in_page(code, [people_of(d) for d in data])
    np.testing.assert_allclose([f[0] for f in found], predictive._described(data), rtol=1e-6)
    np.testing.assert_allclose([f[1] for f in found], predictive._featured(data), rtol=1e-6)


def test_comparisons_and_their_words_are_pythons(draws):
    data = studies()
    code = """
      const { described, featured, drawsAndPrior, dataAndPrior, dataAndDraws } = eamlab.check;
      const [network, first] = [eamlab.networks.global, inputs.studies[0]];
      return [...drawsAndPrior(network, inputs.draws),
        ...dataAndPrior(featured(first), inputs.studies.map(featured)),
        ...dataAndDraws(described(first), inputs.studies.map(described))]"""
    inputs = {"draws": {k: v.tolist() for k, v in draws.items()}}
    inputs |= {"studies": [people_of(d) for d in data]}
    found = in_page(code, inputs, networks=("global",))
    features, statistics = predictive._featured(data), predictive._described(data)
    wanted = [
        *predictive._draws_and_prior(draws.array, MODEL),
        *predictive._data_and_prior(features[0], features),
        *predictive._data_and_draws(statistics[0], statistics, predictive._STATISTICS),
    ]
    np.testing.assert_allclose(from_page(found), numbers(wanted), rtol=1e-5, atol=1e-7)
    assert [c["message"] for c in found] == [c.message for c in wanted]
    assert [c["unusual"] for c in found] == [c.unusual for c in wanted]
    assert sum(c.unusual for c in wanted) > 3


@pytest.mark.parametrize(
    ("nu", "alpha", "t0", "beta"),
    [(0.5, 1.0, 0.3, 0.5), (-2.0, 0.7, 0.2, 0.35), (4.0, 2.5, 0.1, 0.6), (0.0, 1.5, 0.4, 0.45)],
)
def test_decisions_have_the_librarys_distribution(nu, alpha, t0, beta):
    n = 20_000
    code = """
      const { uniform } = eamlab.random(3);
      const random = { uniform, normal: eamlab.normals(uniform) };
      const { trials } = eamlab.check.simulator(eamlab.networks.global, []);
      return trials(inputs.one, inputs.n, random)"""
    one = {"nu": nu, "alpha": alpha, "t0": t0, "beta": beta}
    found = np.reshape(in_page(code, {"one": one, "n": n}, networks=("global",)), (n, 2))
    wanted = el.simulate_trials(nu, alpha, t0, beta, n, seed=1, scheme="exact")[0]
    # Eight comparisons: a right sampler fails with probability 1e-3.
    for choice in (0, 1):
        times = [x[x[:, 0] == choice, 1] for x in (found, wanted)]
        if min(map(len, times)) > 20:
            assert stats.ks_2samp(*times).pvalue > 1e-4
    table = [[np.sum(x[:, 0] == c) + 1 for c in (0, 1)] for x in (found, wanted)]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_starting_points_are_pythons():
    x = np.linspace(-6, 6, 101)
    code = "return inputs.map(eamlab.check.simulator(eamlab.networks.global, []).start)"
    found = in_page(code, x.tolist(), networks=("global",))
    np.testing.assert_allclose(found, el.beta_from_raw(x), atol=2e-5)


CHECK = """
const { check, warning } = eamlab.check;
return inputs.map(({ draws, people }) => {
  const found = all(check(eamlab.networks.global, draws, people, { draws: 800 }));
  return { ...found, warning: warning(eamlab.networks.global, people, found) };
})"""


def test_the_whole_check_finds_what_pythons_finds():
    model_data = el.simulate(MODEL, 15, n_trials=60, seed=4)
    slow = el.Study([np.where([[0, 1]], t * [1, 3], t) for t in model_data.by_subject])
    few = el.Study([t[:3] for t in model_data.by_subject])
    lapses = [t.copy() for t in model_data.by_subject]
    for t in lapses:
        t[:3, 1] = 9.0
    given = [model_data, slow, few, el.Study(lapses)]
    exact = [el.exact(model_data, MODEL, 800, seed=1)] * len(given)
    inputs = [
        {"draws": {k: v.tolist() for k, v in d.items()},
         "people": [t.ravel().tolist() for t in s.by_subject]}
        for d, s in zip(exact, given, strict=True)
    ]  # fmt: skip
    for found, d, s in zip(in_page(CHECK, inputs, networks=("global",)), exact, given, strict=True):
        check = el.check(d, s, num_samples=800, seed=1)
        assert [c["name"] for c in found["comparisons"] if c["unusual"]] == check.unusual
        z = np.array([[c["z"] for c in found["comparisons"]], [c.z for c in check.comparisons]])
        close = np.abs(z[0] - z[1]) < 0.3 + 0.15 * np.abs(z[1])  # of two simulations
        assert close.all(), z[:, ~close]
        assert found["messages"][len(check.unusual) :] == list(check.notes)


BY_CONDITION = """
const { network, draws, people, codes, labels } = inputs;
return all(eamlab.check.check(network, draws, people, { draws: 200, under: { codes, labels } }))"""


def test_conditions_are_checked_one_by_one_as_pythons_are():
    model, rng = el.TWO_CONDITIONS, np.random.default_rng(1)
    truth = el.simulate(model, 12, 60, seed=4)
    trials = [t * np.where(t[:, 2:] > 0, [1, 3, 1], 1) for t in truth.by_subject]  # one is slow
    trials[0] = trials[0][trials[0][:, 2] > 0]  # and one person did only that
    study = el.Study(trials, conditions=("easy", "hard"))
    prior, words = model.prior, {p.name: {"meaning": p.meaning} for p in model.prior.parameters}
    values = {k: v + 0.1 * prior[k].sd * rng.standard_normal(80) for k, v in truth.group.items()}
    network = {"model": model.description(), "names": prior.names, "words": words}
    network |= {"means": prior.means.tolist(), "sds": prior.sds.tolist()}
    inputs = {"network": network, "draws": {k: v.tolist() for k, v in values.items()}}
    inputs |= {"people": [t[:, :2].ravel().tolist() for t in study.by_subject]}
    inputs |= {"codes": [t[:, 2].tolist() for t in study.by_subject], "labels": study.conditions}
    draws = el.Draws(values, model=model)
    found, wanted = in_page(BY_CONDITION, inputs), el.check(draws, study)
    assert [c["name"] for c in found["comparisons"]] == [c.name for c in wanted.comparisons]
    unusual = [c["name"] for c in found["comparisons"] if c["unusual"]]
    assert unusual == wanted.unusual and "rt_median (hard)" in unusual
    assert not any("(easy)" in name for name in unusual)
    z = np.array([[c["z"] for c in found["comparisons"]], [c.z for c in wanted.comparisons]])
    close = np.abs(z[0] - z[1]) < 0.6 + 0.25 * np.abs(z[1])  # of two simulations
    assert close.all(), z[:, ~close]
    few = [np.concatenate([t[t[:, 2] > 0], t[t[:, 2] < 0][:4]]) for t in study.by_subject]
    study = el.Study(few, conditions=study.conditions)
    inputs |= {"people": [t[:, :2].ravel().tolist() for t in few]}
    inputs |= {"codes": [t[:, 2].tolist() for t in few]}
    found, wanted = in_page(BY_CONDITION, inputs), el.check(draws, study)
    assert [c["name"] for c in found["comparisons"]] == [c.name for c in wanted.comparisons]
    assert not any("(easy)" in c.name for c in wanted.comparisons)
    assert found["messages"][-1:] == list(wanted.notes)
    assert wanted.notes[0].startswith("Nobody has 5 trials under 'easy', which")
    assert wanted.notes[0].endswith("needs; that condition was left out.")


TRAINED = {"epochs": 1, "ragged_every": 4, "trial_range": (5, 500)}  # of the global network


def test_who_has_other_numbers_of_trials_is_said_in_composes_words(draws):
    study = el.simulate(MODEL, 3, n_trials=600, seed=1)
    code = "return eamlab.check.extrapolation(eamlab.networks.global, inputs)"
    (found,) = in_page(code, [t.ravel().tolist() for t in study.by_subject], networks=("global",))
    with pytest.warns(UserWarning, match=re.escape(f"know why. {found} ")):
        warn_of_unusual(TRAINED, study.n_trials, el.check(draws, study).messages, "The data are")
