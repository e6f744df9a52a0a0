"""Tests of the simulators.

Statistical tests use fixed seeds. Each one rejects a correct simulator with a probability of at
most ``LEVEL`` (Bonferroni over all comparisons it makes), had the seed been drawn at random.
"""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy import stats

from eamlab.model import simulator
from eamlab.model.eam import EAM, beta_from_raw
from eamlab.model.simulator import BOUNDARY_SHIFT, SCHEMES, simulate_paths, simulate_trials
from eamlab.workflows import make_simulator

LEVEL = 1e-3
TYPICAL = (0.5, 1.0, 0.3, 0.5)

# nu, alpha, beta: typical, driftless, off-centre, narrow, wide, and extreme drifts both ways
# (|nu| alpha / 2 = 100: a rejection sampler without the tilted proposal would never return).
CASES = [
    (0.5, 1.0, 0.5),
    (0.0, 1.0, 0.4),
    (-1.5, 1.3, 0.42),
    (3.0, 0.8, 0.7),
    (1.0, 1.0, 0.03),
    (2.0, 1e-3, 0.55),
    (0.01, 20.0, 0.5),
    (3.2, 1.0, 0.5),
    (-30.0, 1.2, 0.5),
    (100.0, 2.0, 0.5),
    (-200.0, 1.0, 0.35),
]


def transform(rate, nu, alpha, beta):
    """E[exp(-rate T); choice] of the decision time T, for choice 0 and 1 (rate 0: probability)."""

    def lower(nu, w):
        g = np.sqrt(nu**2 + 2 * rate)
        if g == 0:
            return 1 - w
        ratio = np.expm1(-2 * alpha * (1 - w) * g) / np.expm1(-2 * alpha * g)
        return np.exp(-alpha * w * (nu + g)) * ratio

    return lower(nu, beta), lower(-nu, 1 - beta)


def mean_time(nu, alpha, beta):
    """Mean decision time, from Wald's identity E[X_T] = X_0 + nu E[T]."""
    upper = transform(0.0, nu, alpha, beta)[1]
    return alpha**2 * beta * (1 - beta) if nu == 0 else alpha * (upper - beta) / nu


def p_value(x, mean):
    """Two-sided z-test of the mean of `x`."""
    return 2 * stats.norm.sf(abs(x.mean() - mean) / (x.std(ddof=1) / np.sqrt(x.size)))


def decisions(nu, alpha, beta, n, seed, t0=1e-9, **options):
    """Choices and decision times (float64) of `n` trials."""
    data, _ = simulate_trials(nu, alpha, t0, beta, n, seed=seed, **options)
    return data[:, 0], data[:, 1].astype(float) - t0


def signed(choice, time):
    """Times of lower responses negated, so that one KS test sees choices and times."""
    return np.where(choice == 1, time, -time)


# --- random numbers ------------------------------------------------------------------------------


@numba.njit
def draw(key, n):
    normals, exponentials, uniforms = np.empty(n), np.empty(n), np.empty(n)
    s = simulator._stream(key, 3)
    for i in range(n):
        normals[i], s = simulator._normal(s)
        exponentials[i], s = simulator._exponential(s)
        uniforms[i], s = simulator._uniform(s)
    return normals, exponentials, uniforms


def test_random_numbers_follow_their_distributions():
    draws = draw(simulator._stream_key(11), 1_000_000)
    laws = stats.norm, stats.expon, stats.uniform
    p_values = [stats.kstest(x, law.cdf).pvalue for x, law in zip(draws, laws, strict=True)]
    for x, law, cut in [(np.abs(draws[0]), stats.halfnorm, 3.6), (draws[1], stats.expon, 7.6)]:
        tail = x[x > cut]  # the ziggurat treats its tail apart, and KS hardly looks there
        p_values.append(stats.binomtest(tail.size, x.size, law.sf(cut)).pvalue)
        p_values.append(stats.kstest(law.sf(tail) / law.sf(cut), "uniform").pvalue)
    assert min(p_values) > LEVEL / len(p_values)


@numba.njit
def draw_tail(key, n):
    tail = np.empty(n)
    s = simulator._stream(key, 4)
    for i in range(n):
        tail[i], s = simulator._normal_tail(s)
    return tail


def test_normal_tail():
    """One draw in 4,000 comes from here: too few for the tests of all draws to see them."""
    tail = draw_tail(simulator._stream_key(14), 200_000)
    cut = simulator._NORMAL_R
    assert stats.kstest(stats.norm.sf(tail) / stats.norm.sf(cut), "uniform").pvalue > LEVEL


def test_random_numbers_are_uncorrelated():
    draws = draw(simulator._stream_key(12), 200_000)
    pairs = [(x[:-1], x[1:]) for x in draws] + [(draws[0], draws[1]), (draws[1], draws[2])]
    p_values = [stats.pearsonr(a, b).pvalue for a, b in pairs]
    assert min(p_values) > LEVEL / len(p_values)


def test_subjects_are_independent():
    """Means of 30 trials scatter between equal subjects as independent draws do."""
    data, _ = simulate_trials(np.full(20_000, 0.5), 1.0, 0.3, 0.5, 30, seed=13)
    rt = data[..., 1].astype(float)
    z = (rt.mean(axis=1) - rt.mean()) / (rt.std() / np.sqrt(30))
    excess = stats.kurtosis(rt.ravel()) / 30  # of a mean of 30
    spread = np.sqrt((2 + excess) / z.size)  # sd of the mean square of z
    p_values = [
        2 * stats.norm.sf(abs((z**2).mean() - 1) / spread),
        stats.pearsonr(z[:-1], z[1:]).pvalue,
    ]
    assert min(p_values) > LEVEL / 2


# --- exact scheme --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
def test_exact_choice_probability(case):
    choice, _ = decisions(*case, 200_000, seed=21)
    upper = transform(0.0, *case)[1]
    assert stats.binomtest(int(choice.sum()), choice.size, min(upper, 1.0)).pvalue > LEVEL


@pytest.mark.parametrize("case", CASES, ids=str)
def test_exact_mean_decision_time(case):
    _, time = decisions(*case, 200_000, seed=22, t0=1e-12)
    assert p_value(time, mean_time(*case)) > LEVEL


@pytest.mark.parametrize("case", CASES, ids=str)
def test_exact_distribution_through_its_laplace_transform(case):
    """The transform at several rates pins down the joint law of choice and time."""
    choice, time = decisions(*case, 200_000, seed=23, t0=1e-12)
    p_values = []
    for rate in np.array([0.3, 1.0, 3.0, 10.0]) / mean_time(*case):
        for side, expected in enumerate(transform(rate, *case)):
            if expected > 1e-3:  # else a few trials make up the mean, and a z-test fails
                p_values.append(p_value(np.exp(-rate * time) * (choice == side), expected))
    assert min(p_values) > LEVEL / len(p_values)


@pytest.mark.parametrize("z", [0.0, 0.7, 1.5, 1.6, 5.0, 19.9, 20.1, 300.0])
def test_exit_time_on_both_sides_of_every_branch(z):
    """The proposal changes at z = 1 / 0.64 and z = 20."""
    choice, time = decisions(z, 2.0, 0.5, 200_000, seed=24, t0=1e-12)
    rates = np.array([0.3, 1.0, 3.0, 10.0]) / mean_time(z, 2.0, 0.5)
    p_values = [p_value(np.exp(-r * time), sum(transform(r, z, 2.0, 0.5))) for r in rates]
    p_values.append(p_value(time, mean_time(z, 2.0, 0.5)))
    assert min(p_values) > LEVEL / len(p_values)


def test_exact_series_accepts_with_the_right_probability():
    """Bounds that close in give the same answer as the long sum."""
    u = np.linspace(0.0005, 0.9995, 1000)
    n = np.arange(1, 60)
    for q in (0.0, 0.02, 0.045, 0.3):
        total = 1 + np.sum((-1.0) ** n * (2 * n + 1) * q ** (n * (n + 1.0)))
        accepted = np.array([simulator._accepts(v, q) for v in u])
        np.testing.assert_array_equal(accepted, u <= total)
    # the shortcut of `_exit_time` needs acceptance below `_SQUEEZE` wherever a branch can be used
    q = max(np.exp(-2 / simulator._CUT), np.exp(-(np.pi**2) * simulator._CUT / 2))
    assert simulator._SQUEEZE <= 1 - 3 * q**2


def test_exact_survives_extreme_parameters():
    nu, alpha, beta = np.meshgrid(
        [-1e6, -50.0, 0.0, 1e-9, 700.0], [1e-12, 1e-3, 1.0, 1e3, 1e9], [1e-12, 0.5, 1 - 1e-12]
    )
    data, timed_out = simulate_trials(nu, alpha, 0.3, beta, 50, seed=25)
    assert data.shape == (5, 5, 3, 50, 2)
    assert np.isfinite(data).all()
    assert (data[..., 1].astype(float) > 0.3).all()
    assert not timed_out.any()


# --- Euler-Maruyama ------------------------------------------------------------------------------

KS_CASES = [(0.5, 1.0, 0.5), (-1.5, 1.2, 0.45), (2.5, 0.9, 0.6)]


@pytest.mark.parametrize("case", KS_CASES, ids=str)
def test_corrected_agrees_with_exact_and_uncorrected_does_not(case):
    exact = signed(*decisions(*case, 30_000, seed=31))
    corrected = decisions(*case, 30_000, seed=32, scheme="euler-maruyama-corrected")
    plain = decisions(*case, 30_000, seed=33, scheme="euler-maruyama")
    assert stats.ks_2samp(exact, signed(*corrected)).pvalue > LEVEL
    assert stats.ks_2samp(exact, signed(*plain)).pvalue < 1e-9


@pytest.mark.parametrize("dt", [1e-3, 4e-3])
def test_euler_maruyama_acts_like_a_wider_boundary(dt):
    nu, alpha, beta = 0.5, 1.0, 0.5
    choice, time = decisions(nu, alpha, beta, 50_000, seed=34, dt=dt, scheme="euler-maruyama")
    shift = BOUNDARY_SHIFT * np.sqrt(dt)
    wide = nu, alpha + 2 * shift, (beta * alpha + shift) / (alpha + 2 * shift)
    assert p_value(time, mean_time(*wide)) > LEVEL / 2
    assert p_value(choice, transform(0.0, *wide)[1]) > LEVEL / 2
    assert p_value(time, mean_time(nu, alpha, beta)) < 1e-9


def test_corrected_scheme_shortens_the_step_for_narrow_boundaries():
    """At dt = 1e-3 the shifted bounds of alpha = 0.03 would have crossed."""
    case = (0.5, 0.03, 0.5)
    exact = signed(*decisions(*case, 20_000, seed=35))
    corrected = decisions(*case, 20_000, seed=36, scheme="euler-maruyama-corrected")
    assert stats.ks_2samp(exact, signed(*corrected)).statistic < 0.05
    plain = decisions(*case, 20_000, seed=36, scheme="euler-maruyama")
    assert stats.ks_2samp(exact, signed(*plain)).statistic > 0.5


@pytest.mark.parametrize("scheme", SCHEMES[1:])
def test_time_outs_are_flagged_and_sided(scheme):
    beta = np.array([0.1, 0.9])
    data, timed_out = simulate_trials(
        0.0, 100.0, 0.25, beta, 40, seed=37, scheme=scheme, max_time=0.5
    )
    assert timed_out.all()
    assert (data[..., 1] == np.float32(0.75)).all()
    assert (data[0, :, 0] == 0).all() and (data[1, :, 0] == 1).all()


def test_only_late_trials_are_flagged():
    data, timed_out = simulate_trials(
        *TYPICAL, 20_000, seed=38, max_time=0.2, scheme="euler-maruyama"
    )
    late, rest = data[timed_out, 1], data[~timed_out, 1]
    assert 0.2 < timed_out.mean() < 0.8
    assert (late == np.float32(0.5)).all() and (rest <= np.float32(0.5)).all()
    free, never = simulate_trials(*TYPICAL, 20_000, seed=38, max_time=60.0, scheme="euler-maruyama")
    assert not never.any()
    share = (free[:, 1] > 0.5).mean()
    assert abs(share - timed_out.mean()) < 4.5 * np.sqrt(0.5 / 20_000)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_response_time_exceeds_non_decision_time(scheme):
    """Even where the decision time is lost in the rounding of float32."""
    t0 = 0.3123456789
    data, _ = simulate_trials(1.0, 1e-6, t0, 0.5, 1000, seed=39, scheme=scheme)
    assert (data[:, 1].astype(float) > t0).all()
    assert (data[:, 1] < t0 + 0.002).all()


# --- seeds, threads, shapes ----------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_threads_do_not_change_results(scheme, monkeypatch):
    monkeypatch.setattr(simulator, "_TRIALS_PER_THREAD", 1)
    used = []

    class Pool(simulator.ThreadPoolExecutor):
        def __init__(self, threads):
            used.append(threads)
            super().__init__(threads)

    monkeypatch.setattr(simulator, "ThreadPoolExecutor", Pool)
    results = [
        EAM.sample(7, 9, 11, seed=41, scheme=scheme, num_threads=k)["sim_data"] for k in (1, 2, 5)
    ]
    assert used == [2, 5]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_seed_decides(scheme):
    first, again, other = (EAM.sample(3, 4, 5, seed=seed, scheme=scheme) for seed in (1, 1, 2))
    assert first.keys() == again.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.isin(first["sim_data"][..., 1], other["sim_data"][..., 1]).all()
    assert not np.isin(first["mu_nu"], other["mu_nu"]).any()


def test_kinds_of_seeds():
    sequence = np.random.SeedSequence(5)
    plain = simulate_trials(*TYPICAL, seed=5)[0]
    for _ in range(2):  # a sequence is not used up
        np.testing.assert_array_equal(simulate_trials(*TYPICAL, seed=sequence)[0], plain)
    rng = np.random.default_rng(5)
    first, second = (simulate_trials(*TYPICAL, seed=rng)[0] for _ in range(2))
    assert not np.array_equal(first, second)
    again = simulate_trials(*TYPICAL, seed=np.random.default_rng(5))[0]
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_more_subjects_or_trials_keep_the_first_ones(scheme):
    nu = np.linspace(-1, 1, 6)
    few = simulate_trials(nu[:3], 1.0, 0.3, 0.5, 10, seed=43, scheme=scheme)[0]
    many = simulate_trials(nu, 1.0, 0.3, 0.5, 25, seed=43, scheme=scheme)[0]
    np.testing.assert_array_equal(few, many[:3, :10])


def test_trials_broadcast():
    data, timed_out = simulate_trials(
        np.zeros((4, 1)), np.ones(3), 0.3, np.full((2, 1, 1), 0.5), 6, seed=44
    )
    assert data.shape == (2, 4, 3, 6, 2) and data.dtype == np.float32
    assert timed_out.shape == (2, 4, 3, 6) and timed_out.dtype == bool
    data, timed_out = simulate_trials(*TYPICAL, 7, seed=44)
    assert data.shape == (7, 2) and timed_out.shape == (7,)


# --- studies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_study_shapes(scheme):
    study = EAM.sample(3, 4, 5, seed=51, scheme=scheme)
    shapes = {name: (3, 1) for name in EAM.prior.names}
    shapes |= {name: (3, 4) for name in ("nu", "alpha", "t0")}
    shapes |= {"sim_data": (3, 4, 5, 2)}
    assert {name: value.shape for name, value in study.items()} == shapes
    assert study["sim_data"].dtype == np.float32
    assert np.isin(study["sim_data"][..., 0], (0, 1)).all()
    assert (study["sim_data"][..., 1] > study["t0"][..., None]).all()


def test_trials_belong_to_their_subjects():
    """Choices and mean times match each subject's own parameters (and its study's beta)."""
    spread = {"beta_raw": np.linspace(-3, 3, 40)[:, None], "log_sigma_nu": 1.0}
    study = EAM.sample(40, 50, 400, seed=52, group=spread)
    beta = np.broadcast_to(beta_from_raw(study["beta_raw"]), (40, 50))
    subjects = list(zip(study["nu"].ravel(), study["alpha"].ravel(), beta.ravel(), strict=True))
    upper = np.array([transform(0.0, *s)[1] for s in subjects]).reshape(40, 50)
    time = np.array([mean_time(*s) for s in subjects]).reshape(40, 50)
    choices = study["sim_data"][..., 0].sum(axis=-1)
    safe = (upper > 0.05) & (upper < 0.95)
    z = ((choices - 400 * upper) / np.sqrt(400 * upper * (1 - upper)))[safe]
    assert stats.chi2.sf((z**2).sum(), safe.sum()) > LEVEL / 2
    decision = study["sim_data"][..., 1].astype(float) - study["t0"][..., None]
    z = (decision.mean(axis=-1) - time) / (decision.std(axis=-1) / 20)
    assert abs(z.mean()) < 0.15 and 0.9 < z.std() < 1.1  # t-like, slightly skewed
    assert abs(np.corrcoef(z.ravel(), study["nu"].ravel())[0, 1]) < 0.1


def test_group_parameters_can_be_fixed():
    group = {"mu_nu": 2.0, "log_sigma_nu": -20.0, "beta_raw": np.array([[-1.0], [0.0], [1.0]])}
    study = EAM.sample(3, 4, 5, seed=53, group=group)
    np.testing.assert_array_equal(study["mu_nu"], 2.0)
    np.testing.assert_array_equal(study["beta_raw"], group["beta_raw"])
    np.testing.assert_allclose(study["nu"], 2.0, atol=1e-6)
    assert np.unique(study["mu_log_t0"]).size == 3


def test_studies_follow_the_prior():
    study = EAM.sample(4000, 1, 1, seed=54)
    p_values = [
        stats.kstest(study[name].ravel(), stats.norm(mean, sd).cdf).pvalue
        for name, mean, sd in zip(EAM.prior.names, EAM.prior.means, EAM.prior.sds, strict=True)
    ]
    assert min(p_values) > LEVEL / 7


# --- paths ---------------------------------------------------------------------------------------


def test_paths_are_the_trials():
    data, timed_out = simulate_trials(*TYPICAL, 30, seed=61, max_time=0.4, scheme="euler-maruyama")
    paths = simulate_paths(*TYPICAL, 30, seed=61, max_time=0.4)
    assert 0 < timed_out.sum() < 30
    for (choice, rt), late, (time, evidence) in zip(data, timed_out, paths, strict=True):
        assert time.shape == evidence.shape
        assert time[0] == 0.3 and evidence[0] == pytest.approx(0.5)
        assert time[-1] == pytest.approx(rt, abs=1e-6)
        assert ((evidence[:-1] >= 0) & (evidence[:-1] <= 1)).all()
        assert (0 <= evidence[-1] <= 1) == late
        assert (evidence[-1] > 0.5) == choice


def test_path_steps_are_normal():
    ((_, evidence),) = simulate_paths(3.0, 1e6, 0.3, 0.5, 1, seed=62, dt=0.01, max_time=200.0)
    steps = np.diff(evidence)
    assert steps.size == 20_000
    assert stats.kstest(steps, stats.norm(3.0 * 0.01, 0.1).cdf).pvalue > LEVEL


# --- BayesFlow -----------------------------------------------------------------------------------


def all_different(sim_data):
    """Whether no two studies share their data."""
    return len({study.tobytes() for study in sim_data}) == len(sim_data)


def test_bayesflow_simulator_returns_studies():
    expected = EAM.sample(6, 4, 7, seed=71)
    studies = make_simulator(EAM, 4, 7, seed=71).sample((6,))
    assert {k: v.shape for k, v in studies.items()} == {k: v.shape for k, v in expected.items()}
    assert {k: v.dtype for k, v in studies.items()} == {k: v.dtype for k, v in expected.items()}
    assert all_different(studies["sim_data"])
    assert make_simulator(EAM, 4, 7, seed=71).sample(2)["sim_data"].shape == (2, 4, 7, 2)
    assert make_simulator(EAM, 4, 7, seed=71).sample((2, 3))["sim_data"].shape == (2, 3, 4, 7, 2)


def test_bayesflow_simulator_is_seeded():
    one, same, other = (make_simulator(EAM, seed=seed) for seed in (72, 72, 73))
    first, second = one.sample((3,)), one.sample((3,))
    assert all_different(np.concatenate([first["sim_data"], second["sim_data"]]))
    np.testing.assert_array_equal(first["sim_data"], same.sample((3,))["sim_data"])
    np.testing.assert_array_equal(second["sim_data"], same.sample((3,))["sim_data"])
    assert not np.isin(first["mu_nu"], other.sample((3,))["mu_nu"]).any()
    unseeded = [
        make_simulator(
            EAM,
        )
        .sample((1,))["mu_nu"]
        .item()
        for _ in range(2)
    ]
    assert unseeded[0] != unseeded[1]


def test_bayesflow_simulator_keeps_given_parameters():
    studies = make_simulator(EAM, 5, 200, seed=74).sample((4,), nu=8.0, mu_log_t0=-2.0)
    assert (studies["nu"] == 8.0).all() and (studies["mu_log_t0"] == -2.0).all()
    assert studies["sim_data"][..., 0].mean() > 0.95  # the trials were drawn with the given drift


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_bayesflow_parallel_jobs_differ(n_jobs):
    simulator = make_simulator(EAM, 3, 10, seed=75)
    studies = simulator.sample_parallel((8,), n_jobs=n_jobs, seed=1)
    assert studies["sim_data"].shape == (8, 3, 10, 2)
    assert all_different(studies["sim_data"])
    assert np.unique(studies["mu_nu"]).size == 8 and np.unique(studies["t0"]).size == 24
    again = make_simulator(EAM, 3, 10, seed=76).sample_parallel((8,), n_jobs=1, seed=1)
    np.testing.assert_array_equal(studies["sim_data"], again["sim_data"])
    later = simulator.sample_parallel((8,), n_jobs=1)
    assert all_different(np.concatenate([studies["sim_data"], later["sim_data"]]))


# --- bad input -----------------------------------------------------------------------------------

GOOD = {"nu": 0.5, "alpha": 1.0, "t0": 0.3, "beta": 0.5}
BAD_SUBJECTS = [
    ("nu", np.nan),
    ("nu", [0.5, np.inf]),
    ("alpha", 0.0),
    ("alpha", [1.0, -1.0]),
    ("alpha", np.inf),
    ("alpha", np.nan),
    ("t0", 0.0),
    ("t0", -0.1),
    ("t0", np.nan),
    ("beta", 0.0),
    ("beta", 1.0),
    ("beta", np.nan),
]
BAD_SETTINGS = [
    ("scheme", "euler"),
    ("scheme", None),
    ("dt", 0.0),
    ("dt", -1e-3),
    ("dt", np.nan),
    ("dt", "small"),
    ("dt", 20.0),
    ("max_time", 0.0),
    ("max_time", np.inf),
    ("seed", None),
    ("seed", -1),
    ("seed", 1.5),
    ("seed", "one"),
    ("n_trials", 0),
    ("n_trials", 2.5),
    ("num_threads", 0),
]


@pytest.mark.parametrize(("name", "value"), BAD_SUBJECTS)
def test_bad_subjects_are_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        simulate_trials(**(GOOD | {name: value}), seed=1)
    with pytest.raises(ValueError, match=f"^{name} must be"):
        simulate_paths(**(GOOD | {name: value}), seed=1)


@pytest.mark.parametrize(("name", "value"), BAD_SETTINGS)
def test_bad_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name} must"):
        simulate_trials(**GOOD, **({"seed": 1} | {name: value}))
    with pytest.raises(ValueError, match=f"^{name} must"):
        EAM.sample(2, 3, **({"seed": 1} | {name: value}))
    if name != "seed":
        with pytest.raises(ValueError, match=f"^{name} must"):
            make_simulator(EAM, **{name: value}).sample((1,))


def test_seed_is_required():
    with pytest.raises(TypeError, match="seed"):
        EAM.sample(2, 3)


@pytest.mark.parametrize("counts", [(0, 3), (3, 0), (-1, 3), (2.0, 3), (True, 3)])
def test_bad_counts_are_refused(counts):
    with pytest.raises(ValueError, match="^n_(studies|subjects) must be an integer of at least 1"):
        EAM.sample(*counts, seed=1)


def test_more_bad_input_is_refused():
    with pytest.raises(ValueError, match="must broadcast, got shapes"):
        simulate_trials(np.zeros(3), np.ones(2), 0.3, 0.5, seed=1)
    with pytest.raises(ValueError, match="must be single numbers"):
        simulate_paths(np.zeros(3), 1.0, 0.3, 0.5, seed=1)
    with pytest.raises(ValueError, match="^n_paths must be"):
        simulate_paths(**GOOD, n_paths=0, seed=1)
    with pytest.raises(ValueError, match="^n_subjects must be"):
        make_simulator(EAM, 0)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"mu_drift": 1.0}, "mu_drift"),
        ({"mu_nu": np.nan}, "finite"),
        ({"mu_nu": [1.0, 2.0]}, r"shape \(2, 1\)"),
        ({"mu_nu": np.ones((3, 1))}, r"shape \(2, 1\)"),
    ],
)
def test_bad_groups_are_refused(group, message):
    with pytest.raises(ValueError, match=message):
        EAM.sample(2, 3, seed=1, group=group)
