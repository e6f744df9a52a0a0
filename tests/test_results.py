"""Results written to files are the draws that were given, with the subjects' own ids."""

import builtins
import json

import numpy as np
import pandas as pd
import pytest

from eamlab import results
from eamlab.priors import GROUP_PRIOR, SUBJECT_NAMES, sample_subjects
from eamlab.results import predict_trials, to_datatree, write_results
from eamlab.simulate import simulate_studies
from eamlab.trials import read_trials

N_DRAWS, COUNTS, IDS = 60, (12, 25, 9, 30), ("P07", "P08", "P11", "P12")
NARROW = {"log_sigma_nu": -3.0, "log_sigma_log_alpha": -4.0, "log_sigma_log_t0": -3.0}


@pytest.fixture(scope="module")
def trials():
    data = simulate_studies(1, 4, 30, seed=3, scheme="exact")["sim_data"][0]
    owner = np.repeat(IDS, COUNTS)
    choice, rt = np.concatenate([a[:n] for a, n in zip(data, COUNTS, strict=True)]).T
    return read_trials(pd.DataFrame({"subj_idx": owner, "rt": rt, "response": choice}))


@pytest.fixture(scope="module")
def draws():
    """Group draws as `compose` returns them, and subject draws that belong to them."""
    rng = np.random.default_rng(1)
    group = GROUP_PRIOR.sample(N_DRAWS, rng) | {
        k: np.full((N_DRAWS, 1), v) for k, v in NARROW.items()
    }
    subjects = sample_subjects(group, len(IDS), rng)
    return {k: v[None] for k, v in group.items()}, {k: v.T[None] for k, v in subjects.items()}


# --------------------------------------------------------------------------------------------------
# Tables
# --------------------------------------------------------------------------------------------------


def test_tables_hold_the_draws_and_their_summaries(trials, draws, tmp_path):
    group, subjects = draws
    paths = write_results(
        tmp_path / "new" / "folder", group, subject_draws=subjects, trials=trials, netcdf=False
    )
    assert set(paths) == {"group_draws", "group_summary", "subject_summary"}
    rows = pd.read_csv(paths["group_draws"])
    assert list(rows) == ["draw", *GROUP_PRIOR.names] and len(rows) == N_DRAWS
    for name in GROUP_PRIOR.names:
        np.testing.assert_allclose(rows[name], group[name].ravel(), rtol=1e-12)
    people = pd.read_csv(paths["subject_summary"])
    assert people["subject"].tolist() == list(np.repeat(IDS, 3))
    assert people["n_trials"].tolist() == list(np.repeat(COUNTS, 3))
    assert people["parameter"].tolist() == list(SUBJECT_NAMES) * 4
    third = people[(people["subject"] == "P11") & (people["parameter"] == "alpha")].iloc[0]
    want = subjects["alpha"][0, 2]
    np.testing.assert_allclose(
        third[["mean", "sd", "q05", "median", "q95"]].astype(float),
        [want.mean(), want.std(), *np.quantile(want, [0.05, 0.5, 0.95])],
    )


def test_group_draws_alone_are_enough(draws, tmp_path):
    flat = {k: v.ravel() for k, v in draws[0].items()}
    paths = write_results(tmp_path, flat, netcdf=False)
    assert set(paths) == {"group_draws", "group_summary"}
    summary = pd.read_csv(paths["group_summary"], index_col="parameter")
    assert summary.index.tolist() == list(GROUP_PRIOR.names)
    np.testing.assert_allclose(summary.loc["mu_nu", "mean"], flat["mu_nu"].mean())


def test_a_failure_leaves_the_old_file_whole_and_no_scraps(draws, tmp_path, monkeypatch):
    path = write_results(tmp_path, draws[0], netcdf=False)["group_draws"]
    before = path.read_bytes()

    def half(self, file, **_):
        file.write_text("half a fi")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    with pytest.raises(OSError, match="disk full"):
        write_results(tmp_path, draws[0], netcdf=False)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["group_draws.csv", "group_summary.csv"]


# --------------------------------------------------------------------------------------------------
# Posterior predictive
# --------------------------------------------------------------------------------------------------


def test_the_same_subjects_make_the_same_numbers_of_trials(trials, draws):
    again = predict_trials(*draws, trials, num_draws=10, seed=2)
    assert again["draw"].nunique() == 10
    for _, part in again.groupby("draw"):
        assert part.groupby("subject").size().to_dict() == dict(zip(IDS, COUNTS, strict=True))
    assert np.all(again["rt"] > 0) and set(again["choice"]) == {0, 1}
    pd.testing.assert_frame_equal(again, predict_trials(*draws, trials, num_draws=10, seed=2))


def test_predictions_follow_the_subjects_parameters(trials, draws):
    """Extreme subjects, so that no chance can hide a mistaken order of subjects or of draws."""
    group, subjects = draws
    odd = {k: v.copy() for k, v in subjects.items()}
    odd["t0"][:, 1], odd["nu"][:, 2] = 5.0, 30.0
    odd["t0"][:, :, 7] = 50.0
    again = predict_trials(group, odd, trials, num_draws=N_DRAWS, seed=2)
    usual, late = again[again["draw"] != 7], again[again["draw"] == 7]
    assert late["rt"].min() > 50.0
    fastest = usual.groupby("subject")["rt"].min()
    assert fastest["P08"] > 5.0 and fastest.drop("P08").max() < 5.0
    assert usual[usual["subject"] == "P11"]["choice"].mean() == 1.0


# --------------------------------------------------------------------------------------------------
# netCDF and ArviZ
# --------------------------------------------------------------------------------------------------


def test_arviz_reads_and_plots_the_file(trials, draws, tmp_path):
    arviz = pytest.importorskip("arviz", minversion="1.0")
    group, subjects = draws
    path = write_results(tmp_path, group, subject_draws=subjects, trials=trials)["posterior"]
    tree = arviz.from_netcdf(path)
    posterior = tree["posterior"]
    assert dict(posterior.sizes) == {"chain": 1, "draw": N_DRAWS, "subject": 4}
    assert posterior["subject"].values.tolist() == list(IDS)
    np.testing.assert_allclose(posterior["mu_nu"].values, group["mu_nu"][..., 0])
    np.testing.assert_allclose(
        posterior["nu"].sel(subject="P11").values, subjects["nu"][:, 2], rtol=1e-6
    )
    observed, again = tree["observed_data"], tree["posterior_predictive"]
    np.testing.assert_array_equal(observed["rt"], trials.frame["rt"])
    assert observed["obs_subject"].values.tolist() == list(np.repeat(IDS, COUNTS))
    assert dict(again.sizes) == {"chain": 1, "draw": 50, "obs": sum(COUNTS)}
    summary = arviz.summary(tree, var_names=["mu_nu", "alpha"], kind="stats")
    assert summary.index.tolist() == ["mu_nu", *(f"alpha[{name}]" for name in IDS)]
    plot = arviz.plot_forest(tree, var_names=["nu"])
    drawn = [text.get_text() for ax in plot.viz["figure"].item().axes for text in ax.texts]
    assert set(IDS) <= set(drawn)


def test_the_tree_knows_what_made_it(draws):
    pytest.importorskip("xarray")

    class Composed(dict):
        settings = {"method": "gaussian", "seed": 1}

    tree = to_datatree(Composed(draws[0]))
    assert list(tree.children) == ["posterior"]
    assert json.loads(tree["posterior"].attrs["settings"]) == Composed.settings


def test_ids_of_mixed_kinds_become_text(draws, tmp_path):
    pytest.importorskip("h5netcdf")
    frame = pd.DataFrame({"subject": [1, "x", 2.5, 4], "rt": 0.5, "response": [0, 1, 1, 0]})
    mixed = read_trials(frame.astype({"subject": object}))
    paths = write_results(tmp_path, draws[0], subject_draws=draws[1], trials=mixed)
    tree = to_datatree(draws[0], subject_draws=draws[1], trials=mixed)
    assert tree["posterior"]["subject"].values.tolist() == ["1", "x", "2.5", "4"]
    assert paths["posterior"].stat().st_size > 0


def test_predictions_are_limited_in_memory(trials, draws, monkeypatch):
    pytest.importorskip("xarray")
    monkeypatch.setattr(results, "_MOST_PREDICTED", 5 * sum(COUNTS) + 1)
    tree = to_datatree(draws[0], subject_draws=draws[1], trials=trials)
    assert tree["posterior_predictive"].sizes["draw"] == 5


@pytest.mark.parametrize("package", ["xarray", "h5netcdf"])
def test_missing_packages_are_named_and_nothing_is_written(package, draws, tmp_path, monkeypatch):
    real_import, real_find = builtins.__import__, results.importlib.util.find_spec

    def no_import(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    def no_spec(name, *args):
        return None if name in (package, "netCDF4") else real_find(name, *args)

    monkeypatch.setattr(builtins, "__import__", no_import)
    monkeypatch.setattr(results.importlib.util, "find_spec", no_spec)
    with pytest.raises(ImportError, match=rf'{package} is needed.*"eamlab\[arviz\]"'):
        write_results(tmp_path, draws[0])
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------
# What is refused
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g, s: (g | {"mu_nu": np.zeros((2, N_DRAWS, 1))}, s), "must hold one study"),
        (lambda g, s: ({"mu_nu": g["mu_nu"]}, s), r"group_draws lacks \['mu_log_alpha'"),
        (lambda g, s: (g | {"mu_nu": g["mu_nu"] * np.nan}, s), "60 of 60 draws .* not finite"),
        (lambda g, s: (g | {"mu_nu": g["mu_nu"][:, 1:]}, s), "equally many draws"),
        (lambda g, s: (g, {"nu": s["nu"]}), r"subject_draws lacks \['alpha', 't0'\]"),
        (lambda g, s: (g, {k: v[:, 1:] for k, v in s.items()}), r"\(J, S\) = \(4, 60\).*\(3, 60\)"),
        (lambda g, s: (g, {k: v[..., :40] for k, v in s.items()}), r"got \(4, 40\)"),
        (lambda g, s: (g, s | {"t0": s["t0"] + np.inf}), r"subject_draws\['t0'\] has 240 of 240"),
        (lambda g, s: (g, None), "subject_draws are None"),
    ],
)
def test_draws_that_do_not_belong_together_are_refused(change, message, trials, draws):
    group, subjects = change(*draws)
    with pytest.raises(ValueError, match=message):
        predict_trials(group, subjects, trials)


def test_no_predictive_draws_are_refused(trials, draws):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        predict_trials(*draws, trials, num_draws=0)
