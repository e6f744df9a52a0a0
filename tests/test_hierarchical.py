"""Networks that know the hierarchy: closed forms, invariances, and a model of a reader's own."""

from dataclasses import replace

from eamlab.backend import keras

import numpy as np
import pytest
from bayesflow.networks import StableConsistencyModel
from scipy import stats

import eamlab as el
import eamlab_book as book
from eamlab.hierarchical import (
    Hierarchy,
    PersonPosterior,
    PersonSummary,
    _moments,
    likelihood,
    population,
)
from eamlab.networks import trial_features
from eamlab.training import simulate_groups
from eamlab.workflows import (
    PRESETS,
    NetworkSettings,
    TrainingSettings,
    build_networks,
    built_workflow,
)
from eamlab_book.collapsing import COLLAPSING

MODELS = [el.LABORATORY, el.TWO_CONDITIONS]
PRESET = PRESETS["laboratory"]


@pytest.fixture(scope="module", params=MODELS, ids=lambda m: m.name)
def model(request):
    return request.param


def untrained(model, kind, seed=1):
    keras.utils.set_random_seed(seed)
    network = PRESET.global_network if kind == "global" else PRESET.local_network
    training = PRESET.global_training if kind == "global" else PRESET.local_training
    return built_workflow(model, kind, network, training)


def simulated_gaussians(hierarchy, n_groups, n_people, seed):
    """Group parameters (z-scores), and Gaussian likelihoods of people drawn from them."""
    h, rng = hierarchy, np.random.default_rng(seed)
    z = rng.standard_normal((n_groups, len(h.means)))
    eta = z * h.sds + h.means
    places, k = np.array(h.population), h.n_person
    mu = (eta[:, places[:, 0]] - h.center) / h.scale
    sigma = np.exp(eta[:, places[:, 1]]) / h.scale
    own = mu[:, None] + sigma[:, None] * rng.standard_normal((n_groups, n_people, k))
    shared = np.repeat(z[:, None, list(h.shared)], n_people, axis=1)
    truth = np.concatenate([own, shared], axis=-1)
    factor = np.tril(2.0 * rng.standard_normal((n_groups, n_people, h.dim, h.dim)), -1)
    factor = factor + np.eye(h.dim) * np.exp(rng.uniform(0.5, 3.0, h.dim))
    noise = np.linalg.solve(
        factor.swapaxes(-1, -2), rng.standard_normal((n_groups, n_people, h.dim, 1))
    )
    precision = factor @ factor.swapaxes(-1, -2)
    pull = (precision @ (truth[..., None] + noise))[..., 0]
    return z, pull.astype("float32"), precision.astype("float32")


# Fixed seeds. The mean square of n independent z-scores is chi-square: 200 groups leave
# 0.8 to 1.22 in one of 50 parameters; the inference is approximate, hence a little more.
@pytest.mark.parametrize("n_people", [5, 50])
def test_population_of_gaussians_is_calibrated(model, n_people):
    hierarchy = Hierarchy.of(model)
    z, pull, precision = simulated_gaussians(hierarchy, 200, n_people, seed=1)
    mean, sd = (np.asarray(x) for x in population(pull, precision, hierarchy))
    square = np.mean(((z - mean) / sd) ** 2, axis=0)
    assert np.all((square > 0.7) & (square < 1.4)), dict(
        zip(model.prior.names, square, strict=True)
    )
    assert np.all(sd < 1.02)


def test_population_without_data_is_the_prior(model):
    hierarchy = Hierarchy.of(model)
    pull = np.zeros((1, 3, hierarchy.dim), "float32")
    precision = 1e-6 * np.eye(hierarchy.dim, dtype="float32") * np.ones((1, 3, 1, 1), "float32")
    mean, sd = (np.asarray(x) for x in population(pull, precision, hierarchy))
    np.testing.assert_allclose(mean, 0.0, atol=0.01)
    np.testing.assert_allclose(sd, 1.0, atol=0.02)


def test_person_gaussian_is_population_times_likelihood(model):
    """The closed form against dense matrices, in the person's own units."""
    h = Hierarchy.of(model)
    rng = np.random.default_rng(2)
    z, values = rng.standard_normal((4, len(h.means))), rng.standard_normal((4, h.n_values))
    values[:, h.dim : 2 * h.dim] += 1.0
    conditions = np.concatenate([z, values], axis=-1).astype("float32")
    network = PersonPosterior(h)
    network.build((4, h.n_person), conditions.shape)
    mean, factor, shift, log_scale = (
        np.asarray(x) for x in network._anchor(conditions, network._gaussian(conditions))
    )
    assert np.all(shift == 0.0) and np.all(log_scale == 0.0)  # corrections start at nothing
    for i in range(4):
        pull, precision = (
            np.asarray(x)[0] for x in likelihood(values[i : i + 1].astype("float32"), h.dim)
        )
        eta, places, k = z[i] * h.sds + h.means, np.array(h.population), h.n_person
        mu, sigma = eta[places[:, 0]], np.exp(eta[places[:, 1]])
        shared = z[i][list(h.shared)]
        a, b = (mu - h.center) / h.scale, sigma / h.scale
        post = np.diag(b**-2.0) + precision[:k, :k]
        want = np.linalg.solve(post, a / b**2 + pull[:k] - precision[:k, k:] @ shared)
        np.testing.assert_allclose((want - a) / b, mean[i], rtol=2e-3, atol=2e-3)
        got = factor[i] @ factor[i].T
        np.testing.assert_allclose(b[:, None] * post * b, got, rtol=2e-3, atol=2e-3)


def test_the_loss_is_the_likelihood_of_both_gaussians(model, monkeypatch):
    """That of a person and the shared parameters together, and the corrected one of the person."""
    h, rng = Hierarchy.of(model), np.random.default_rng(4)
    n, z = h.n_person, rng.standard_normal((4, len(h.means)))
    conditions = np.concatenate([z, rng.standard_normal((4, h.n_values))], axis=-1)
    conditions = conditions.astype("float32")
    network = PersonPosterior(h, subnet_kwargs={"widths": (8,)})
    network.build((4, n), conditions.shape)
    c, s = rng.standard_normal((2, n))
    network.correction_out.bias.assign(np.concatenate([c, s]))
    none = lambda *_, **__: {"loss": keras.ops.zeros(())}  # noqa: E731
    monkeypatch.setattr(StableConsistencyModel, "compute_metrics", none)
    pull, precision, shared = (np.asarray(a, float) for a in network._gaussian(conditions))
    own = rng.standard_normal((4, n))
    want = []
    for i in range(4):
        both = np.concatenate([own[i], shared[i]])
        mean, cov = np.linalg.solve(precision[i], pull[i]), np.linalg.inv(precision[i])
        together = stats.multivariate_normal.logpdf(both, mean, cov)
        block = precision[i, :n, :n]
        given = mean[:n] - np.linalg.solve(block, precision[i, :n, n:] @ (shared[i] - mean[n:]))
        w = np.exp(s) * (np.linalg.cholesky(block).T @ (own[i] - given) - c)
        corrected = stats.norm.logpdf(w).sum() + s.sum()
        constant = 0.5 * (len(both) + n) * np.log(2 * np.pi)
        want.append(-together - corrected - constant)
    eta, places = z * h.sds + h.means, np.array(h.population)
    x = eta[:, places[:, 0]] + np.exp(eta[:, places[:, 1]]) * own
    weight = np.array([2.0, 0.0, 1.0, 1.0], "float32")
    tensors = [keras.ops.convert_to_tensor(a.astype("float32")) for a in (x, conditions)]
    for given, mean in ((None, np.mean(want)), (weight, np.mean(weight * want))):
        loss = float(network.compute_metrics(*tensors, sample_weight=given)["loss"])
        assert loss == pytest.approx(mean, rel=2e-3)


def test_summaries_do_not_depend_on_order_or_padding(model):
    workflow = untrained(model, "global")
    trials = model.sample(2, 6, 20, seed=3)["sim_data"]
    trials[:, 2, 12:] = 0.0
    summary = workflow.estimator.summary_network
    want = np.asarray(summary(trials))
    assert np.isfinite(want).all()
    padded = np.concatenate([trials, np.zeros_like(trials[:, :, :7])], axis=2)
    people, order = np.random.default_rng(1).permutation(6), np.arange(19, -1, -1)
    for other in (padded, trials[:, people], trials[:, :, order]):
        np.testing.assert_allclose(np.asarray(summary(other)), want, rtol=2e-4, atol=2e-4)


def test_a_person_may_lack_a_condition():
    workflow = untrained(el.TWO_CONDITIONS, "local")
    trials = el.TWO_CONDITIONS.sample(3, 1, 15, seed=4, share=0.0)["sim_data"][:, 0]
    assert np.all(trials[..., 2] == -0.5)
    summary = np.asarray(workflow.estimator.summary_network(trials))
    assert np.isfinite(summary).all()


def test_networks_are_rebuilt_from_their_configuration(model):
    hierarchy = Hierarchy.of(model)
    for layer in (PersonSummary(hierarchy, own_scale=True), PersonPosterior(hierarchy)):
        again = type(layer).from_config(layer.get_config())
        assert again.hierarchy == hierarchy
        assert getattr(again, "own_scale", True)


def test_on_her_own_scale_a_slower_person_looks_the_same(model):
    trials = model.sample(1, 1, 40, seed=5)["sim_data"][:, 0]
    slower = np.concatenate([trials[..., :1], 3.0 * trials[..., 1:2], trials[..., 2:]], axis=-1)
    summary = PersonSummary(Hierarchy.of(model), own_scale=True)
    there = np.ones_like(trials[..., :1])
    first, second = (
        np.asarray(summary._on_own_scale(x, trial_features(x[..., :2]), there))[..., 7:]
        for x in (trials, slower)
    )
    assert first.shape[-1] == 4 and np.abs(first).max() > 1.0
    np.testing.assert_allclose(first, second, atol=0.05)


def test_masks_are_refused(model):
    network = PersonPosterior(Hierarchy.of(model))
    with pytest.raises(ValueError, match="fixed_target_mask cannot be used"):
        network.compute_metrics(None, None, fixed_target_mask=1)


def test_global_training_needs_the_local_network(tmp_path):
    settings = replace(PRESET.global_training, epochs=1, batches_per_epoch=2)
    with pytest.raises(ValueError, match=r"no local\.json"):
        el.train(
            el.LABORATORY, "global", out=tmp_path, network=PRESET.global_network, settings=settings
        )


# --------------------------------------------------------------------------------------------------
# Two conditions
# --------------------------------------------------------------------------------------------------


def test_conditions_are_spread_as_asked():
    for share in (0.0, 0.25, 1.0):
        code = el.TWO_CONDITIONS.sample(2, 3, 40, seed=1, share=share)["sim_data"][..., 2]
        assert np.all((code == 0.5).sum(axis=-1) == 40 * share)
    code = el.TWO_CONDITIONS.sample(2, 100, 40, seed=1, share="uneven")["sim_data"][..., 2]
    shares = (code == 0.5).mean(axis=-1)
    assert 0.02 < np.mean((shares == 0) | (shares == 1)) < 0.2
    with pytest.raises(ValueError, match="share must be a number from 0 to 1 or 'uneven', got 2"):
        el.TWO_CONDITIONS.sample(1, 1, 5, seed=1, share=2)


def test_two_conditions_are_two_diffusions():
    """In each condition the choices and times of the model with that drift and boundary."""
    group = {"nu": 1.0, "nu_change": 0.8, "alpha": 1.2, "log_alpha_change": 0.5, "t0": 0.3}
    parameters = {k: np.full((1,), v) for k, v in group.items()} | {"beta_raw": np.array([0.5])}
    trials = el.TWO_CONDITIONS.trials_of(parameters, 8000, seed=1)[0]
    beta = el.beta_from_raw(0.5, el.TWO_CONDITIONS.constants["beta_concentration"])
    for code in (-0.5, 0.5):
        here = el.in_condition(group, code)
        assert here["nu"] == 1.0 + 0.8 * code
        assert here["alpha"] == pytest.approx(1.2 * np.exp(0.5 * code)) and here["t0"] == 0.3
        part = trials[trials[:, 2] == np.float32(code)]
        upper = part[part[:, 0] == 1, 1].astype(float)
        share = el.choice_probability(here["nu"], here["alpha"], beta)
        # Four standard errors; Kolmogorov-Smirnov at 1 in 1,000.
        assert abs(len(upper) / len(part) - share) < 4 * np.sqrt(share * (1 - share) / len(part))
        cdf = lambda t: el.defective_cdf(t, 1, here["nu"], here["alpha"], here["t0"], beta) / share  # noqa: E731, B023
        assert stats.kstest(upper, cdf).pvalue > 1e-3


def test_training_of_two_conditions_sees_uneven_designs():
    settings = replace(PRESET.local_training, batch_size=400)
    data = simulate_groups(
        el.TWO_CONDITIONS, "local", 1, settings, np.random.SeedSequence(5), ragged=True
    )["sim_data"]
    there = data[..., 1] > 0
    second = (there & (data[..., 2] == 0.5)).sum(axis=-1)
    assert np.any(second == 0) and np.any(second == there.sum(axis=-1))
    assert len(np.unique(there.sum(axis=-1))) > 5


def test_groups_of_a_training_share_their_populations_in_half_of_the_batches():
    settings = TrainingSettings(epochs=1, batch_size=10, sharing=4)
    sharing = []
    for i in range(20):
        data = simulate_groups(el.EAM, "global", 3, settings, np.random.SeedSequence(i))
        mean = data["mu_nu"][:, 0]
        sharing.append(len(mean) == 8)  # 10 are not a multiple of 4
        want = np.repeat(mean[[0, 4]], 4) if sharing[-1] else mean
        np.testing.assert_array_equal(mean, want)
        assert len(np.unique(mean)) == (2 if sharing[-1] else 10)
        assert len(np.unique(data["nu"])) == 3 * len(mean)  # other people in each group
    assert 4 < sum(sharing) < 16  # by chance once in 80


# --------------------------------------------------------------------------------------------------
# A model of a reader's own
# --------------------------------------------------------------------------------------------------


def scores(parameters, n_trials, *, seed):
    """Pupils' scores (..., n_trials, 1)."""
    rng = np.random.default_rng(seed)
    theta = np.asarray(parameters["theta"])[..., None]
    noise = np.exp(np.asarray(parameters["log_noise"]))[..., None]
    return (theta + noise * rng.standard_normal((*theta.shape[:-1], n_trials)))[..., None].astype(
        "float32"
    )


SCHOOLS = el.Model(
    "schools",
    prior=el.GroupPrior(
        (
            el.GroupParameter("mu", r"\mu", 500.0, 50.0, "mean score"),
            el.GroupParameter("log_tau", r"\log\tau", 3.0, 0.7, "log sd between schools"),
            el.GroupParameter("log_noise", r"\log\sigma", 4.0, 0.5, "log sd between pupils"),
        )
    ),
    people=(el.PersonParameter("theta", r"\theta", "mu", "log_tau"),),
    simulate=scores,
    columns=("score",),
)


def closed_form(study, n_tau=1200, n_noise=81):
    """Exact posterior mean and sd of each group parameter, for schools of equal size."""
    y = study.trials[..., 0].astype(float)
    (n_schools, n), means = y.shape, y.mean(axis=1)
    within = ((y.T - means) ** 2).sum()
    log_tau = np.linspace(-1, 7, n_tau)[:, None]
    spread = np.linspace(-6, 6, n_noise) / np.sqrt(2 * n_schools * (n - 1))
    log_noise = 0.5 * np.log(within / (n_schools * (n - 1))) + spread
    variance = np.exp(2 * log_tau) + np.exp(2 * log_noise) / n
    prior = {p.name: stats.norm(p.mean, p.sd) for p in SCHOOLS.prior.parameters}
    mu = prior["mu"]
    log_p = -n_schools * (n - 1) * log_noise - within / (2 * np.exp(2 * log_noise))
    log_p = log_p - (n_schools - 1) / 2 * np.log(variance)
    log_p = log_p - n_schools * means.var() / (2 * variance)
    around = np.sqrt(mu.var() + variance / n_schools)
    log_p = log_p + stats.norm.logpdf(means.mean(), mu.mean(), around)
    log_p = log_p + prior["log_tau"].logpdf(log_tau) + prior["log_noise"].logpdf(log_noise)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    precision = n_schools / variance + 1 / mu.var()
    center = (n_schools * means.mean() / variance + mu.mean() / mu.var()) / precision
    found = {}
    for name, x, rest in (
        ("mu", center, 1 / precision),
        ("log_tau", log_tau, 0.0),
        ("log_noise", log_noise, 0.0),
    ):
        mean = np.sum(p * x)
        found[name] = mean, np.sqrt(np.sum(p * ((x - mean) ** 2 + rest)))
    return found


def test_the_closed_form_of_schools_is_that_of_dense_matrices():
    """Its density is a multivariate normal's: importance sampling from the prior agrees."""
    study = el.simulate(SCHOOLS, 3, 2, seed=8)
    y = study.trials[..., 0].astype(float)
    drawn = SCHOOLS.prior.sample(40_000, np.random.default_rng(1))
    mu, tau, noise = (drawn[k][:, 0] for k in ("mu", "log_tau", "log_noise"))
    school = np.ones((2, 2)) * np.exp(2 * tau)[:, None, None]
    covariance = school + np.eye(2) * np.exp(2 * noise)[:, None, None]
    gap = y - mu[:, None, None]
    square = np.einsum("sji,sik,sjk->s", gap, np.linalg.inv(covariance), gap)
    weight = -0.5 * square - 1.5 * np.linalg.slogdet(covariance)[1]
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    for name, x in zip(SCHOOLS.prior.names, (mu, tau, noise), strict=True):
        mean = np.sum(weight * x)
        sd = np.sqrt(np.sum(weight * (x - mean) ** 2))
        want = closed_form(study)[name]
        error = sd * np.sqrt(np.sum(weight**2))  # four standard errors of importance sampling
        assert abs(mean - want[0]) < 4 * error and abs(sd - want[1]) < 4 * error, name


def test_a_population_known_up_to_its_spread_is_that_of_a_grid():
    """One precise person far from three vague ones: where the mean lies depends on the spread."""
    h = Hierarchy.of(SCHOOLS)
    x, told = np.array([1.5, -0.3, -0.3, -0.3]), np.array([400.0, 1.0, 1.0, 1.0])
    precision = np.zeros((1, 4, 2, 2), "float32")
    precision[0, :, 0, 0], precision[0, :, 1, 1] = told, 1e-6
    pull = np.zeros((1, 4, 2), "float32")
    pull[0, :, 0] = told * x
    mean, sd = (np.asarray(a)[0, :2] for a in population(pull, precision, h))
    z = np.linspace(-3.2, 3.2, 801)  # as far as the library looks, in prior sds
    mu = np.linspace(-6.0, 6.0, 801)[:, None] * h.center_sd
    log_spread = np.log(np.exp(h.means[1]) / h.scale) + h.sds[1] * z
    log_p = stats.norm.logpdf(mu, 0.0, h.center_sd) + stats.norm.logpdf(z)
    for one, known in zip(x, told, strict=True):
        log_p = log_p + stats.norm.logpdf(one, mu, np.sqrt(np.exp(2 * log_spread) + 1 / known))
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    for i, values in enumerate((mu / h.center_sd + 0 * z, 0 * mu + z)):
        want = (p * values).sum()
        assert mean[i] == pytest.approx(want, abs=0.02)
        assert sd[i] == pytest.approx(np.sqrt((p * (values - want) ** 2).sum()), rel=0.03)


def test_a_study_of_other_columns():
    study = el.simulate(SCHOOLS, 4, [3, 5, 8, 2], seed=1)
    assert study.columns == ("score",) and study.trials.shape == (4, 8, 1)
    assert list(study.table.columns) == ["score", "trials"]
    assert list(study.table["trials"]) == [3, 5, 8, 2]
    with pytest.raises(ValueError, match="and the model EAM is one of"):
        el.exact(study, el.EAM)
    with pytest.raises(
        ValueError, match="^model: schools has no density, .* el.certify and el.check"
    ):
        el.exact(study, SCHOOLS)
    with pytest.raises(ValueError, match="has no density"):
        SCHOOLS.log_density(study.trials, {})


def test_networks_of_decisions_refuse_other_trials():
    for make, summary in ((el.global_workflow, "subject-aware"), (el.local_workflow, "pooled")):
        with pytest.raises(ValueError, match="schools are .'score',.; take .* preset='own'"):
            make(SCHOOLS, network=NetworkSettings(summary=summary))


def test_a_local_network_summarizes_persons():
    with pytest.raises(ValueError, match="^summary must be one of .* for a local network, got 's"):
        el.local_workflow(network=NetworkSettings(summary="subject-aware"))


def test_the_preset_for_any_model_builds_networks_for_it():
    for make, n in ((el.local_workflow, None), (el.global_workflow, 3)):
        workflow = make(SCHOOLS, preset="own")
        build_networks(workflow, n, 4)
        assert workflow.estimator.built


@pytest.mark.parametrize("ddof", [0, 1])
def test_moments_are_those_of_the_trials_that_are_there(ddof):
    values = np.random.default_rng(1).normal(3.0, 2.0, (5, 8, 2)).astype("float32")
    counts = [8, 5, 2, 1, 0]
    mask = (np.arange(8) < np.array(counts)[:, None]).astype("float32")[..., None]
    found = [keras.ops.convert_to_numpy(x) for x in _moments(values, mask, ddof=ddof)]
    for i, n in enumerate(counts[:3]):
        there = values[i, :n]
        np.testing.assert_allclose(found[0][i], there.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(found[1][i], np.log(there.std(axis=0, ddof=ddof)), atol=1e-3)
        np.testing.assert_allclose(found[2][i], 0.3 * np.log(n + 0.1), rtol=1e-5)
    assert np.all(np.isfinite(np.concatenate(found, axis=-1)))


# In exact sds, with what the preset learns in two minutes. Ten studies of 20 had a root mean square
# error of up to 0.25, over parameters and three seeds. Ten of 1,000 had 0.90 here, and 0.72 and
# 2.04 with other studies, since one may be far off: hence the 0.90, and an sd of these three above
# it. The signed mean finds what all studies share. Mean ratios of sds were 0.96 to 1.02. Certified
# and corrected, six other studies had 0.33 over all parameters (0.67 before).
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_schools_are_composed_as_in_closed_form(tmp_path):
    options = {"out": tmp_path, "preset": "own", "n_quality": 10}
    local = el.train(SCHOOLS, "local", **options)
    workflow = el.train(SCHOOLS, "global", **options)
    for n_schools, shared, bound in ((20, 0.2, 0.4), (1000, 0.5, 1.5)):
        studies = el.simulate(SCHOOLS, n_schools, 20, seed=3, n_studies=10)
        keys = [closed_form(study) for study in studies]
        composed = el.compose(workflow, studies, num_samples=400, seed=1)
        bias, ratio = [], []
        for draws, exact in zip(composed, keys, strict=True):
            bias.append([(draws.mean[k] - m) / sd for k, (m, sd) in exact.items()])
            ratio.append([draws.sd[k] / sd for k, (_, sd) in exact.items()])
        mean, rms = np.mean(bias, axis=0), np.mean(np.square(bias), axis=0) ** 0.5
        assert np.all(np.abs(mean) < shared) and np.all(rms < bound), (n_schools, mean, rms)
        ratios = np.mean(ratio, axis=0)
        assert np.all((ratios > 0.85) & (ratios < 1.2)), (n_schools, ratios)
    corrected = []
    for study, draws, exact in zip(studies[:5], composed[:5], keys[:5], strict=True):
        found = el.certify(workflow, draws, study, seed=1, correct=True, progress=False)
        assert list(found.table.index) == list(SCHOOLS.prior.names)
        assert np.all(found.table["bias_se"] < 1.0)
        corrected += [(found.draws.mean[k] - m) / sd for k, (m, sd) in exact.items()]
    assert np.sqrt(np.mean(np.square(corrected))) < 0.5
    people = el.people(local, composed[0], studies[0], seed=1)
    book.figures.recovery_figure(people, studies[0])
    book.figures.posterior_figure(composed[0], truth=studies[0].truth)
    book.figures.calibration_figure(el.compose(workflow, studies, num_samples=50), studies)


# A calibrated network is outside in one of a hundred sets of studies, for each group size. This one
# is a little narrow: in 400 studies (seeds 11 to 14) errors have, in composed sds, a mean of -0.10
# to 0.11 and an sd of 0.96 to 1.14, and one of four sets is outside if five groups are composed.
@pytest.mark.slow
@pytest.mark.parametrize("group_size", ["auto", 20])
def test_the_collapsing_bounds_of_chapter_11_are_calibrated(group_size):
    workflow = el.load_pretrained("collapsing", folder=book.WEIGHTS, model=COLLAPSING)
    studies = el.simulate(COLLAPSING, 100, seed=11, n_studies=100)
    composed = el.compose(workflow, studies, num_samples=200, group_size=group_size, seed=1)
    draws = np.stack([one.array for one in composed])
    truth = np.array([[study.truth[k] for k in COLLAPSING.prior.names] for study in studies])
    assert outside_the_band(draws, truth).tolist() == [False] * 7
    center = draws.mean(axis=1, keepdims=True)
    assert outside_the_band(center + 0.5 * (draws - center), truth).all()
    assert outside_the_band(draws + 0.7 * draws.std(axis=1, keepdims=True), truth).all()


# Of calibrated networks a share `level` of sets of three hundred people is outside. With 500 trials
# LABORATORY's are a tenth of an sd off, and two of five sets (seeds 500, 11500, 12500) would be at
# the level of the others.
@pytest.mark.slow
@pytest.mark.parametrize(("n_trials", "level"), [(20, 0.01), (100, 0.01), (500, 1e-4)])
def test_shipped_people_are_calibrated_given_their_population(model, n_trials, level):
    local = el.load_pretrained(f"{model.name.lower().replace('_', '-')}-local")
    draws, truth = [], []
    for study in el.simulate(model, 10, n_trials, seed=n_trials, n_studies=30):
        known = el.Draws({k: np.full(200, study.truth[k]) for k in model.prior.names}, model=model)
        people = el.people(local, known, study, seed=1)
        draws.append(np.stack([people[k] for k in model.person_names], axis=-1).swapaxes(0, 1))
        truth.append(np.stack([study.truth[k] for k in model.person_names], axis=-1))
    draws, truth = np.concatenate(draws), np.concatenate(truth)
    assert draws.shape == (300, 200, len(model.person_names))
    assert not outside_the_band(draws, truth, level).any()
    assert outside_the_band(draws + 0.5 * draws.std(axis=1, keepdims=True), truth).all()


def outside_the_band(draws, truth, level=0.01):
    """Whose ranks leave the band of calibrated ones, all parameters together; (parameters,)."""
    n, n_draws, d = draws.shape
    low, high = book.figures._ecdf_band(n, n_draws, 1 - level / d)
    ranks = (draws < truth[:, None]).sum(axis=1)
    counts = (ranks[..., None] < book.figures._rank_points(n_draws)).sum(axis=0)
    return ((counts < low) | (counts > high)).any(axis=-1)


def test_a_model_of_ones_own_is_trained_composed_and_checked(tmp_path):
    network = NetworkSettings(summary="hierarchical", summary_dim=8, widths=(32, 32))
    settings = TrainingSettings(
        epochs=2, batches_per_epoch=40, batch_size=64, learning_rate=3e-3, n_trials=20
    )
    options = {"out": tmp_path, "network": network, "n_quality": 10}
    local = replace(settings, group_sizes=(1,))
    el.train(SCHOOLS, "local", settings=local, **options)
    groups = replace(settings, batch_size=32, group_sizes=(20,))
    workflow = el.train(SCHOOLS, "global", settings=groups, **options)
    study = el.simulate(SCHOOLS, 40, 20, seed=2)
    draws = el.compose(workflow, study, num_samples=100, seed=1)
    # After seconds of training within three standard errors of what a mean of means would say.
    means = study.trials[..., 0].mean(axis=1)
    assert abs(draws.mean["mu"] - means.mean()) < 3 * means.std() / np.sqrt(40)
    assert abs(draws.mean["log_noise"] - np.log(study.trials.std(axis=1).mean())) < 0.3
    again = el.load_pretrained("global", folder=tmp_path, model=SCHOOLS)
    np.testing.assert_array_equal(
        el.compose(again, study, num_samples=5, seed=1)["mu"],
        el.compose(workflow, study, num_samples=5, seed=1)["mu"],
    )
    people = el.people(el.load_pretrained("local", folder=tmp_path, model=SCHOOLS), draws, study)
    assert people["theta"].shape == (100, 40)
    assert np.corrcoef(people["theta"].mean(axis=0), means)[0, 1] > 0.95
    shifted = el.Draws({k: draws[k] + 200.0 * (k == "mu") for k in draws}, model=SCHOOLS)
    assert "score_mean" in el.check(shifted, study, num_samples=60).unusual
