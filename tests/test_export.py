"""Files and ArviZ's form hold the draws that were given, with the subjects' own ids."""

import builtins
import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import eamlab as el
from eamlab import export
from eamlab.draws import Draws
from eamlab.export import predict

N_DRAWS, COUNTS, IDS = 60, (12, 25, 9, 30), ("P07", "P08", "P11", "P12")
NARROW = {"log_sigma_nu": -3.0, "log_sigma_log_alpha": -4.0, "log_sigma_log_t0": -3.0}


@pytest.fixture(scope="module")
def study():
    return el.Study(el.simulate(el.EAM, 4, COUNTS, seed=3).by_subject, IDS)


@pytest.fixture(scope="module")
def draws():
    """Draws of a group and its people, as `eamlab.people` returns them."""
    rng = np.random.default_rng(1)
    group = el.EAM.prior.sample(N_DRAWS, rng)
    group |= {k: np.full((N_DRAWS, 1), v) for k, v in NARROW.items()}
    people = el.EAM.sample_people(group, len(IDS), rng)
    people["t0"] = people["t0"].clip(max=0.15)  # before every response
    values = {k: v[:, 0] for k, v in group.items()} | people
    return Draws(values, model=el.EAM, subjects=IDS, settings={"method": "gaussian", "seed": 1})


# --- tables ---------------------------------------------------------------------------------------


def test_tables_hold_the_draws_and_their_summaries(study, draws, tmp_path):
    paths = draws.write(tmp_path / "new" / "folder", study)
    assert set(paths) == {"group_draws", "group_summary", "subject_summary"}
    rows = pd.read_csv(paths["group_draws"])
    assert list(rows) == ["draw", *el.EAM.prior.names] and len(rows) == N_DRAWS
    for name in el.EAM.prior.names:
        np.testing.assert_allclose(rows[name], draws[name], rtol=1e-12)
    people = pd.read_csv(paths["subject_summary"])
    assert people["subject"].tolist() == list(np.repeat(IDS, 3))
    assert people["n_trials"].tolist() == list(np.repeat(COUNTS, 3))
    assert people["parameter"].tolist() == list(el.EAM.person_names) * 4
    third = people[(people["subject"] == "P11") & (people["parameter"] == "alpha")].iloc[0]
    want = draws["alpha"][:, 2]
    np.testing.assert_allclose(
        third[["mean", "sd", "q05", "median", "q95"]].astype(float),
        [want.mean(), want.std(ddof=1), *np.quantile(want, [0.05, 0.5, 0.95])],
    )


def test_group_draws_alone_are_enough(draws, tmp_path):
    paths = draws.group.write(tmp_path)
    assert set(paths) == {"group_draws", "group_summary"}
    summary = pd.read_csv(paths["group_summary"], index_col="parameter")
    assert summary.index.tolist() == list(el.EAM.prior.names)
    np.testing.assert_allclose(summary.loc["mu_nu", "mean"], draws["mu_nu"].mean())


def test_a_failure_leaves_the_old_file_whole_and_no_scraps(draws, tmp_path, monkeypatch):
    path = draws.group.write(tmp_path)["group_draws"]
    before = path.read_bytes()

    def half(self, file, **_):
        file.write_text("half a fi", encoding="utf-8")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    with pytest.raises(OSError, match="disk full"):
        draws.group.write(tmp_path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["group_draws.csv", "group_summary.csv"]


# --- posterior predictive -------------------------------------------------------------------------


def test_the_same_subjects_make_the_same_numbers_of_trials(study, draws):
    again = predict(draws, study, num_samples=10, seed=2)
    assert again["draw"].nunique() == 10
    for _, part in again.groupby("draw"):
        assert part.groupby("subject").size().to_dict() == dict(zip(IDS, COUNTS, strict=True))
    assert np.all(again["rt"] > 0) and set(again["choice"]) == {0, 1}
    pd.testing.assert_frame_equal(again, predict(draws, study, num_samples=10, seed=2))


def test_every_draw_is_simulated_with_noise_of_its_own(study, draws):
    same = Draws(
        {k: np.repeat(v[:1], 3, axis=0) for k, v in draws.items()}, model=el.EAM, subjects=IDS
    )
    one, two, three = predict(same, study, num_samples=3)["rt"].to_numpy().reshape(3, -1)
    assert not np.isin(two, one).any() and not np.isin(three, two).any()


def test_predictions_follow_the_parameters_of_their_own_draw(study, draws):
    """Extreme subjects and draws, so that no chance can hide a mistaken order."""
    odd = {k: v.copy() for k, v in draws.items()}
    odd["t0"][:, 1], odd["nu"][:, 2] = 5.0, 30.0
    odd["t0"][7] = 50.0
    odd["beta_raw"][:] = 0.0
    odd["nu"][11], odd["alpha"][11], odd["beta_raw"][11] = 0.0, 1e-3, 5.0  # the start alone decides
    odd["nu"][12], odd["alpha"][12], odd["beta_raw"][12] = 0.0, 1e-3, -5.0
    odd = Draws(odd, model=el.EAM, subjects=IDS)
    again = predict(odd, study, num_samples=N_DRAWS, seed=2)
    assert again[again["draw"] == 7]["rt"].min() > 50.0
    usual = again[~again["draw"].isin([7, 11, 12])]
    fastest = usual.groupby("subject")["rt"].min()
    assert fastest["P08"] > 5.0 and fastest.drop("P08").max() < 5.0
    assert usual[usual["subject"] == "P11"]["choice"].mean() == 1.0
    # beta is 0.73 and 0.27: 76 choices of probability 0.73 have a standard error of 0.05
    upper = again.groupby("draw")["choice"].mean()
    beta = el.beta_from_raw(5.0)
    assert abs(upper[11] - beta) < 0.2 and abs(upper[12] - (1.0 - beta)) < 0.2


# --- models with other trials ---------------------------------------------------------------------


def people_of(model, study, n_draws=40):
    """Draws at the prior's middle, in which everybody is as the prior expects."""
    group = {
        k: np.full((n_draws, 1), v)
        for k, v in zip(model.prior.names, model.prior.means, strict=True)
    }
    people = model.sample_people(group, len(study), np.random.default_rng(1))
    values = {k: v[:, 0] for k, v in group.items()} | people
    return Draws(values, model=model, subjects=study.subjects)


def test_people_do_the_trials_of_their_own_conditions_again():
    """Nobody did half of each, and one person lacks one. The condition decides every choice."""
    counts = {"A": (3, 17), "B": (9, 1), "C": (0, 12)}
    trials = [[[1, 5.0, -0.5]] * n + [[1, 5.0, 0.5]] * m for n, m in counts.values()]
    study = el.Study(trials, counts, conditions=("easy", "hard"))
    draws = people_of(el.TWO_CONDITIONS, study)
    values = dict(draws) | {"nu": 0 * draws["nu"], "nu_change": 0 * draws["nu"] - 100.0}
    draws = Draws(values, model=el.TWO_CONDITIONS, subjects=study.subjects)
    again = predict(draws, study, num_samples=5, seed=1)
    assert list(again) == ["draw", *study.frame]
    for _, part in again.groupby("draw"):
        pd.testing.assert_frame_equal(
            part[["subject", "condition"]].reset_index(drop=True),
            study.frame[["subject", "condition"]],
        )
    assert ((again["choice"] == 1) == (again["condition"] == "easy")).all()
    pytest.importorskip("xarray")
    tree = draws.to_arviz(study)
    assert set(tree["posterior_predictive"].data_vars) == {"choice", "rt"}
    for group in ("observed_data", "posterior_predictive", "log_likelihood"):
        there = tree[group]["obs_condition"].values.tolist()
        assert there == study.frame["condition"].tolist()
    made = tree["posterior_predictive"]["choice"].values[0]
    assert (made == (study.frame["condition"] == "easy").to_numpy()).all()


def scores(parameters, n_trials, *, seed):
    theta = np.asarray(parameters["theta"])[..., None]
    noise = np.random.default_rng(seed).standard_normal((*theta.shape[:-1], n_trials))
    return (theta + noise)[..., None].astype("float32")


def test_trials_that_are_no_decisions_are_written_and_done_again(tmp_path):
    prior = (
        el.GroupParameter("m", "m", 500.0, 1.0, "mean"),
        el.GroupParameter("s", "s", 3.0, 0.5, "log sd"),
    )
    model = el.Model(
        "scores",
        prior=el.GroupPrior(prior),
        people=(el.PersonParameter("theta", "theta", "m", "s"),),
        simulate=scores,
        columns=("score",),
    )
    study = el.simulate(model, 4, [3, 5, 2, 4], seed=1)
    draws = people_of(model, study)
    again = predict(draws, study, num_samples=3, seed=1)
    assert list(again) == ["draw", "subject", "score"] and len(again) == 3 * 14
    pytest.importorskip("h5netcdf")
    draws.write(tmp_path, study, netcdf=True)
    tree = draws.to_arviz(study)
    assert list(tree["posterior_predictive"].data_vars) == ["score"]
    np.testing.assert_array_equal(tree["observed_data"]["score"], study.frame["score"])


def test_a_study_of_other_trials_than_the_draws_is_refused(study, draws):
    people = people_of(el.TWO_CONDITIONS, study)
    for verb in (predict, Draws.to_arviz):
        with pytest.raises(ValueError, match="study has trials of .* TWO_CONDITIONS is one of"):
            verb(people, study)


# --- ArviZ ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(study, draws):
    pytest.importorskip("xarray")
    return draws.to_arviz(study)


def test_groups_axes_and_values(tree, study, draws):
    groups = {"posterior", "observed_data", "posterior_predictive", "log_likelihood"}
    assert set(tree.children) == groups
    posterior = tree["posterior"]
    assert dict(posterior.sizes) == {"chain": 1, "draw": N_DRAWS, "subject": 4}
    assert posterior["subject"].values.tolist() == list(IDS)
    np.testing.assert_array_equal(posterior["mu_nu"].values, draws["mu_nu"][None])
    np.testing.assert_array_equal(posterior["nu"].sel(subject="P11").values[0], draws["nu"][:, 2])
    # the starting point in both of its units
    np.testing.assert_array_equal(posterior["beta_raw"].values, draws["beta_raw"][None])
    beta = stats.beta.ppf(stats.norm.cdf(draws["beta_raw"]), 50, 50)
    np.testing.assert_allclose(posterior["beta"].values[0], beta, rtol=1e-10)
    observed, again = tree["observed_data"], tree["posterior_predictive"]
    np.testing.assert_array_equal(observed["rt"], study.frame["rt"])
    np.testing.assert_array_equal(observed["choice"], study.frame["choice"])
    assert observed["obs_subject"].values.tolist() == list(np.repeat(IDS, COUNTS))
    assert dict(again.sizes) == {"chain": 1, "draw": 50, "obs": sum(COUNTS)}
    # the same simulations as those of `predict`
    table = predict(draws, study, num_samples=50)
    np.testing.assert_array_equal(again["rt"].values.ravel(), table["rt"])
    assert again["draw"].values.tolist() == table["draw"].unique().tolist()


def test_the_log_likelihood_is_that_of_every_trial_at_its_draw(tree, study, draws):
    found = tree["log_likelihood"]["trial"]
    assert found.dims == ("chain", "draw", "obs") and found.sizes["draw"] == N_DRAWS
    for s in (0, 17):
        beta = el.beta_from_raw(draws["beta_raw"][s])
        want = [
            el.log_density(a[:, 1], a[:, 0], *(draws[k][s, j] for k in ("nu", "alpha", "t0")), beta)
            for j, a in enumerate(np.float64(a) for a in study.by_subject)
        ]
        np.testing.assert_allclose(found[0, s], np.concatenate(want), rtol=1e-10)


def test_it_says_what_made_it(tree, draws):
    for group in tree.children.values():
        attrs = group.attrs
        assert attrs["creation_library"] == attrs["inference_library"] == "eamlab"
        assert attrs["creation_library_version"] == el.__version__
        assert list(attrs["sample_dims"]) == ["chain", "draw"]
        assert datetime.fromisoformat(attrs["created_at"]).tzinfo is not None
        assert json.loads(attrs["settings"]) == draws.settings
        el.EAM.check_made_with(json.loads(attrs["model"]), "the file", "so")


def test_arviz_reads_plots_and_compares_the_file(study, draws, tmp_path):
    arviz = pytest.importorskip("arviz", minversion="1.0")
    path = draws.write(tmp_path, study, netcdf=True)["posterior"]
    tree = arviz.from_netcdf(path)
    np.testing.assert_array_equal(tree["posterior"]["beta"], draws.to_arviz()["posterior"]["beta"])
    summary = arviz.summary(tree, var_names=["mu_nu", "alpha"], kind="stats")
    assert summary.index.tolist() == ["mu_nu", *(f"alpha[{name}]" for name in IDS)]
    plot = arviz.plot_forest(tree, var_names=["nu"])
    drawn = [text.get_text() for ax in plot.viz["figure"].item().axes for text in ax.texts]
    assert set(IDS) <= set(drawn)
    loo = arviz.loo(tree, var_name="trial")
    assert np.isfinite(loo.elpd) and loo.n_data_points == sum(COUNTS)


def test_groups_are_those_that_can_be_made(study, draws):
    pytest.importorskip("xarray")
    assert list(draws.to_arviz().children) == ["posterior"]
    assert list(draws.group.to_arviz(study).children) == ["posterior", "observed_data"]
    without = Draws(draws, model=replace(el.EAM, density=None), subjects=IDS)
    assert "log_likelihood" not in without.to_arviz(study).children


def test_ids_of_mixed_kinds_become_text(study, draws, tmp_path):
    pytest.importorskip("h5netcdf")
    mixed = (1, "x", 2.5, 4)
    paths = Draws(draws, model=el.EAM, subjects=mixed).write(
        tmp_path, el.Study(study.by_subject, mixed), netcdf=True
    )
    tree = pytest.importorskip("xarray").open_datatree(paths["posterior"])
    assert tree["posterior"]["subject"].values.tolist() == ["1", "x", "2.5", "4"]


def test_numbers_per_group_are_limited(study, draws, monkeypatch):
    pytest.importorskip("xarray")
    monkeypatch.setattr(export, "_MOST_VALUES", 5 * sum(COUNTS) + 1)
    tree = draws.to_arviz(study)
    for group in ("posterior_predictive", "log_likelihood"):
        assert tree[group]["draw"].values.tolist() == [0, 15, 30, 44, 59]


@pytest.mark.parametrize("package", ["xarray", "h5netcdf"])
def test_missing_packages_are_named_and_nothing_is_written(package, draws, tmp_path, monkeypatch):
    real_import, real_find = builtins.__import__, export.importlib.util.find_spec

    def no_import(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    def no_spec(name, *args):
        return None if name in (package, "netCDF4") else real_find(name, *args)

    monkeypatch.setattr(builtins, "__import__", no_import)
    monkeypatch.setattr(export.importlib.util, "find_spec", no_spec)
    with pytest.raises(ImportError, match=rf'{package} is needed.*"eamlab\[arviz\]"'):
        draws.write(tmp_path, netcdf=True)
    assert not list(tmp_path.iterdir())


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.group, "draws hold no people's parameters; draw them with el.people"),
        (
            lambda d: Draws({"nu": d["nu"]}, model=el.EAM, subjects=IDS),
            r"draws lack \['alpha', 't0', 'beta_raw'\]; trials need all of",
        ),
        (lambda d: Draws(dict(d), subjects=IDS), "draws do not say of which model they are"),
        (lambda d: Draws(dict(d), model=el.EAM), "draws are of 4 people, study has 4, or other"),
        (
            lambda d: Draws({k: v[:, 1:] for k, v in d.items() if v.ndim == 2}, model=el.EAM),
            "draws are of 3 people, study has 4, or other ids; give the study that",
        ),
        (
            lambda d: Draws(dict(d) | {"t0": d["t0"] + np.inf}, model=el.EAM, subjects=IDS),
            "draws: 240 of 240 values of 't0' are not finite",
        ),
    ],
)
def test_draws_that_do_not_belong_to_the_study_are_refused(change, message, study, draws):
    with pytest.raises(ValueError, match=message):
        predict(change(draws), study)


@pytest.mark.parametrize("count", [0, True, 1.5])
def test_counts_are_checked(count, study, draws):
    with pytest.raises(ValueError, match="num_samples must be an integer of at least 1"):
        predict(draws, study, num_samples=count)
    with pytest.raises(ValueError, match="predictive_draws must be an integer of at least 1"):
        draws.to_arviz(study, predictive_draws=count)
