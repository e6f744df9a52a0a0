"""Many studies at once: the same numbers as one after the other, and nothing lost on the way.

The tests on a cluster use `dask.distributed.LocalCluster` and are skipped without it.
"""

import os
import signal
import sys
import threading
import time
import warnings
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from eamlab import parallel, simulate
from eamlab.grade import grade_studies
from eamlab.parallel import Checkpoint, digest, each, threaded, threads
from eamlab.priors import GROUP_PRIOR
from eamlab.reference import ReferenceWarning, exact_posterior, exact_posteriors
from eamlab.simulate import SCHEMES, simulate_studies

THREADS = {"backend": "threading", "n_jobs": 2}
PROCESSES = {"n_jobs": 2}
LISTS = {"backend": "lists", "n_jobs": 2}


class Lists(joblib.parallel.ThreadingBackend):
    """Answers with whole lists, as ray does, and not with one result after the other."""

    supports_return_generator = False


joblib.register_parallel_backend("lists", Lists)


def squared(x):
    return x * x


def limit_of_threads(_):
    return threads()


def killed_once(x, *, flag):
    """Kill the worker that is the first to come here, before it has a result."""
    if x == 3 and not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def killed_always(x):
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def noted(x, *, folder):
    """Leave one line per call."""
    with Path(folder, f"{x}.calls").open("a") as file:
        file.write("called\n")
    return np.full(3, x / 3)


def fails_at(x, *, last):
    if x > last:
        raise RuntimeError("interrupted")
    return np.full(3, x / 3)


def arrays(folder):
    return Checkpoint(
        folder, key=str, pack=lambda a: {"a": a}, unpack=lambda stored: stored["a"].copy()
    )


@pytest.fixture(scope="module")
def studies():
    return simulate_studies(2, 2, 10, seed=11, scheme="exact")


@pytest.fixture(scope="module")
def serial(studies):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReferenceWarning)
        return exact_posteriors(studies["sim_data"], 50, seed=3)


def assert_same_posteriors(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.array, other.array)
        for name in ("mean", "sd", "ess", "method", "warnings", "diagnostics"):
            assert getattr(one, name) == getattr(other, name)


# --- the tool ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", [{}, THREADS, PROCESSES, LISTS], ids=["serial", "threads", "processes", "lists"]
)
def test_results_come_in_order(config):
    with joblib.parallel_config(**config):
        assert each(squared, range(20)) == [x * x for x in range(20)]


def test_workers_share_the_cores():
    cores = threads()
    assert each(limit_of_threads, range(2)) == [cores, cores]
    with joblib.parallel_config(backend="threading", n_jobs=2 * cores):
        assert each(limit_of_threads, range(4)) == [1] * 4
    assert threads() == cores


def test_a_worker_keeps_its_own_work():
    def nested(x):
        return each(squared, range(x)), parallel.jobs()

    with joblib.parallel_config(**THREADS):
        assert parallel.jobs() == 2
        assert each(nested, [3, 2]) == [([0, 1, 4], 1), ([0, 1], 1)]


def test_errors_of_workers_say_where_they_were_raised():
    with joblib.parallel_config(**THREADS), pytest.raises(RuntimeError) as caught:
        each(partial(fails_at, last=0), range(3))
    assert "in fails_at" in caught.value.__notes__[0]


def test_threads_come_in_order_and_pass_errors_on():
    assert threaded(squared, range(9), "test", False) == [x * x for x in range(9)]
    with pytest.raises(ZeroDivisionError):
        threaded(lambda x: 1 / x, [1, 0], "test", False)


def test_progress_counts_what_is_done_and_what_was_kept(tmp_path, monkeypatch):
    bars = []

    class Bar(parallel.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs | {"delay": 0.0, "file": open(os.devnull, "w")})
            self.start = self.n
            bars.append(self)

    monkeypatch.setattr(parallel, "tqdm", Bar)
    work = partial(noted, folder=tmp_path)
    each(work, range(3), checkpoint=arrays(tmp_path / "kept"))
    each(work, range(5), checkpoint=arrays(tmp_path / "kept"))
    assert [(bar.start, bar.n, bar.total) for bar in bars] == [(0, 3, 3), (3, 5, 5)]


# --- what a checkpoint keeps ---------------------------------------------------------------------


@pytest.mark.parametrize("config", [{}, THREADS], ids=["serial", "threads"])
def test_interrupted_run_goes_on_where_it_stopped(config, tmp_path):
    kept = arrays(tmp_path / "kept")
    with joblib.parallel_config(**config), pytest.raises(RuntimeError, match="interrupted"):
        each(partial(fails_at, last=5), range(9), checkpoint=kept)
    before = {int(file.stem) for file in (tmp_path / "kept").glob("*.npz")}
    assert before and before <= set(range(6))
    with joblib.parallel_config(**config):
        results = each(partial(noted, folder=tmp_path), range(9), checkpoint=kept)
    np.testing.assert_array_equal(results, [np.full(3, x / 3) for x in range(9)])
    assert {int(file.stem) for file in tmp_path.glob("*.calls")} == set(range(9)) - before


def test_whole_lists_are_kept_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_BLOCK", 2)
    kept = arrays(tmp_path)
    with joblib.parallel_config(**LISTS), pytest.raises(RuntimeError, match="interrupted"):
        each(partial(fails_at, last=5), range(9), checkpoint=kept)
    assert {int(file.stem) for file in tmp_path.glob("*.npz")} == set(range(6))


def test_half_written_result_is_made_again(tmp_path):
    kept = arrays(tmp_path / "kept")
    each(partial(noted, folder=tmp_path), range(3), checkpoint=kept)
    whole = (tmp_path / "kept" / "1.npz").read_bytes()
    (tmp_path / "kept" / "1.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "kept" / "2.npz").write_bytes(b"")
    results = each(partial(noted, folder=tmp_path), range(3), checkpoint=kept)
    np.testing.assert_array_equal(results, [np.full(3, x / 3) for x in range(3)])
    calls = {file.stem: len(file.read_text().splitlines()) for file in tmp_path.glob("*.calls")}
    assert calls == {"0": 1, "1": 2, "2": 2}
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == ["0.npz", "1.npz", "2.npz"]


def test_pickled_objects_are_not_loaded(tmp_path):
    kept = arrays(tmp_path)
    np.savez(tmp_path / "0.npz", a=np.array([{"an": "object"}], dtype=object))
    assert kept.load(0) is None


def test_checkpoint_needs_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="checkpoint: .*cannot be made a folder"):
        arrays(tmp_path / "file" / "below")


def test_digest_tells_parts_apart():
    a = np.arange(6.0)
    same = [digest(a, 1), digest(a.copy(), 1)]
    others = [
        digest(a, 2),
        digest(a + 1e-12, 1),
        digest(a.reshape(2, 3), 1),
        digest(a.astype("float32"), 1),
        digest([a], 1),
        digest([a, 1]),
        digest({"a": a}, 1),
        digest({"b": a}, 1),
        digest("a", "b"),
        digest("ab"),
        digest([["a"], "b"]),
        digest(["a", ["b"]]),
    ]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 1 + len(others)


# --- exact posteriors ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::eamlab.reference.ReferenceWarning")
@pytest.mark.parametrize("config", [THREADS, PROCESSES], ids=["threads", "processes"])
def test_exact_posteriors_do_not_depend_on_where_they_run(config, studies, serial):
    with joblib.parallel_config(**config):
        assert_same_posteriors(exact_posteriors(studies["sim_data"], 50, seed=3), serial)


@pytest.mark.filterwarnings("ignore::eamlab.reference.ReferenceWarning")
def test_exact_posteriors_are_those_of_the_single_studies(studies, serial):
    seeds = np.random.SeedSequence(3).spawn(2)
    alone = exact_posterior(studies["sim_data"][1], 50, seed=np.random.default_rng(seeds[1]))
    assert_same_posteriors([alone], [serial[1]])


@pytest.mark.filterwarnings("ignore::eamlab.reference.ReferenceWarning")
def test_exact_posteriors_are_kept(studies, serial, tmp_path, monkeypatch):
    first = exact_posteriors(studies["sim_data"], 50, seed=3, checkpoint=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2

    def refuse(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr("eamlab.reference._exact", refuse)
    again = exact_posteriors(studies["sim_data"], 50, seed=3, checkpoint=tmp_path)
    assert_same_posteriors(again, first)
    assert_same_posteriors(again, serial)
    for other in ({"seed": 4}, {"seed": 3, "em_dt": 1e-3}, {"seed": 3, "num_samples": 51}):
        with pytest.raises(AssertionError, match="computed again"):
            exact_posteriors(studies["sim_data"], **other, checkpoint=tmp_path)


def test_warnings_reach_the_caller_with_the_number_of_the_study(studies, monkeypatch):
    monkeypatch.setattr("eamlab.reference._R_HAT_LIMIT", 0.5)
    with joblib.parallel_config(**THREADS), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        posteriors = exact_posteriors(studies["sim_data"], 50, seed=3)
    texts = [str(w.message) for w in caught if w.category is ReferenceWarning]
    for i in range(2):
        assert any(
            text.startswith(f"study {i}: exact_posterior: the chains did not mix") for text in texts
        )
        assert any("did not mix" in text for text in posteriors[i].warnings)
    assert {w.filename for w in caught if w.category is ReferenceWarning} == {__file__}


def test_malformed_study_is_named_before_the_work_starts(studies, monkeypatch):
    bad = studies["sim_data"].copy()
    bad[1, 0, 0, 1] = np.nan
    monkeypatch.setattr("eamlab.reference._exact", None)
    with pytest.raises(ValueError, match="study 1: sim_data: response times must be finite"):
        exact_posteriors(bad, seed=1)
    with pytest.raises(ValueError, match="num_samples"):
        exact_posteriors(studies["sim_data"], 0, seed=1)
    with pytest.raises(ValueError, match="seed must be"):
        exact_posteriors(studies["sim_data"], seed=None)


# --- grades --------------------------------------------------------------------------------------


def composed_like(posteriors):
    """Draws that are off by a little, shaped like those of `compose`."""
    names = posteriors[0].samples
    return {
        k: np.stack([p.samples[k] + 0.3 * p.sd[k] for p in posteriors])[..., None] for k in names
    }


def assert_same_grades(ours, theirs):
    pd.testing.assert_frame_equal(ours.table, theirs.table, check_exact=True)
    pd.testing.assert_series_equal(ours.c2st, theirs.c2st, check_exact=True)
    for one, other in zip(ours.grades, theirs.grades, strict=True):
        pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
        assert one.c2st == other.c2st
        assert one.level == other.level


def test_grades_do_not_depend_on_where_they_come_from(studies, serial, tmp_path):
    composed = composed_like(serial)
    plain = grade_studies(composed, serial, truth=studies)
    np.testing.assert_allclose(plain.table["bias"], 0.3, atol=0.5)
    assert plain.n_studies == 2
    assert plain.grades[1].table["truth"].to_list() == [studies[k][1, 0] for k in GROUP_PRIOR.names]
    with joblib.parallel_config(**THREADS):
        parallel = grade_studies(composed, serial, truth=studies, checkpoint=tmp_path)
    assert_same_grades(parallel, plain)
    assert len(list(tmp_path.iterdir())) == 2
    assert_same_grades(grade_studies(composed, serial, truth=studies, checkpoint=tmp_path), plain)


def test_grades_without_a_test_or_a_truth_are_kept_too(serial, tmp_path):
    composed = composed_like(serial)
    exact = [p.samples for p in serial]
    plain = grade_studies(composed, exact, classify=False, checkpoint=tmp_path)
    kept = grade_studies(composed, exact, classify=False, checkpoint=tmp_path)
    assert kept.grades[0].c2st is None
    pd.testing.assert_frame_equal(kept.table, plain.table, check_exact=True)


def test_grades_need_one_entry_per_study(studies, serial):
    composed = composed_like(serial)
    with pytest.raises(
        ValueError, match=r"composed\['mu_nu'\] must have one entry for each of the 1"
    ):
        grade_studies(composed, serial[:1])
    with pytest.raises(ValueError, match=r"truth\['mu_nu'\]"):
        grade_studies(composed, serial, truth={"mu_nu": 0.5})


# --- simulation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_large_simulations_do_not_depend_on_where_they_run(scheme, monkeypatch):
    expected = simulate_studies(7, 9, 11, seed=41, scheme=scheme)
    monkeypatch.setattr(simulate, "_TRIALS_PER_JOB", 100)
    blocks = []
    monkeypatch.setattr(
        simulate, "each", lambda work, items, **kw: blocks.extend(items) or each(work, items, **kw)
    )
    with joblib.parallel_config(**THREADS):
        found = simulate_studies(7, 9, 11, seed=41, scheme=scheme)
    assert len(blocks) == 6
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_small_simulations_stay_here(monkeypatch):
    monkeypatch.setattr(simulate, "each", None)
    with joblib.parallel_config(**PROCESSES):
        simulate_studies(10, 10, 30, seed=1)


def test_large_simulations_stay_here_unless_joblib_says_otherwise(monkeypatch):
    monkeypatch.setattr(simulate, "_TRIALS_PER_JOB", 1)
    monkeypatch.setattr(simulate, "each", None)
    simulate_studies(2, 3, 10, seed=1)


# --- killed workers ------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_process_is_replaced(tmp_path):
    with joblib.parallel_config(**PROCESSES):
        assert each(partial(killed_once, flag=str(tmp_path / "flag")), range(8)) == [
            x * x for x in range(8)
        ]
    assert (tmp_path / "flag").exists()


def test_processes_that_are_always_killed_end_with_one_sentence(monkeypatch):
    monkeypatch.setattr(parallel, "_ATTEMPTS", 1)
    with (
        joblib.parallel_config(**PROCESSES),
        pytest.raises(RuntimeError, match=r"of 8 items are done\. Use fewer workers") as caught,
    ):
        each(killed_always, range(8))
    assert isinstance(caught.value.__cause__, BrokenProcessPool)


# --- a cluster -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as local,
        distributed.Client(local) as client,
    ):
        yield client


def kill_a_worker_after(client, folder, n_files, killed):
    """Kill one worker process as soon as the folder has so many results."""
    pids = list(client.run(os.getpid).values())

    def wait_and_kill():
        while len(list(Path(folder).glob("exact-*.npz"))) < n_files:
            time.sleep(0.02)
        os.kill(pids[0], signal.SIGKILL)
        killed.append(pids[0])

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore::eamlab.reference.ReferenceWarning")
def test_two_hundred_studies_on_a_cluster_that_loses_a_worker(cluster, tmp_path):
    studies = simulate_studies(200, 2, 10, seed=12, scheme="exact")
    expected = exact_posteriors(studies["sim_data"], 50, seed=5)
    grades = grade_studies(composed_like(expected), expected, truth=studies)
    killed = []
    with joblib.parallel_config(backend="dask"):
        thread = kill_a_worker_after(cluster, tmp_path, 40, killed)
        found = exact_posteriors(studies["sim_data"], 50, seed=5, checkpoint=tmp_path)
        thread.join(10)
        assert killed and killed[0] not in cluster.run(os.getpid).values()
        assert_same_posteriors(found, expected)
        graded = grade_studies(composed_like(found), found, truth=studies, checkpoint=tmp_path)
    assert graded.n_studies == 200
    assert_same_grades(graded, grades)
    kinds = Counter(file.name.split("-")[0] for file in tmp_path.iterdir())
    assert kinds == {"exact": 200, "grade": 200}


@pytest.mark.slow
def test_large_simulation_on_a_cluster(cluster):
    expected = simulate_studies(500, 20, 200, seed=42)
    with joblib.parallel_config(backend="dask"):
        found = simulate_studies(500, 20, 200, seed=42)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def composed_mean(sim_data):
    """Compose with the shipped network, in whatever process this runs."""
    import eamlab as el

    draws = el.compose(el.load_pretrained("global"), sim_data, num_samples=20, seed=1, check=False)
    return draws["mu_nu"].mean()


@pytest.mark.slow
def test_networks_work_in_the_workers_of_a_cluster(cluster):
    data = simulate_studies(2, 10, 30, seed=43, scheme="exact")["sim_data"]
    expected = [composed_mean(study) for study in data]
    with joblib.parallel_config(backend="dask"):
        found = each(composed_mean, list(data))
    # Another number of threads changes the order of TensorFlow's sums.
    np.testing.assert_allclose(found, expected, rtol=1e-4)


# --- ray ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory):
    """Settings of `joblib.parallel_config` for a ray of two workers on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # or it reports to its makers
        patch.setenv("RAY_AUTH_MODE", "disabled")  # or it leaves a token in the home folder
        ray = pytest.importorskip("ray")
        register = pytest.importorskip("ray.util.joblib").register_ray
        paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=200_000_000,
            runtime_env={"env_vars": {"PYTHONPATH": paths}},
        )
        register()
        yield {"backend": "ray", "n_jobs": -1}
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::eamlab.reference.ReferenceWarning")
def test_ray_gives_the_same_numbers(on_ray, studies, serial, monkeypatch):
    monkeypatch.setattr(simulate, "_TRIALS_PER_JOB", 1000)
    expected = simulate_studies(20, 20, 50, seed=42)
    grades = grade_studies(composed_like(serial), serial, truth=studies)
    with joblib.parallel_config(**on_ray):
        assert parallel.jobs() == 2
        found = simulate_studies(20, 20, 50, seed=42)
        posteriors = exact_posteriors(studies["sim_data"], 50, seed=3)
        graded = grade_studies(composed_like(posteriors), posteriors, truth=studies)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    assert_same_posteriors(posteriors, serial)
    assert_same_grades(graded, grades)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_worker_of_ray_is_replaced(on_ray, tmp_path):
    flag = tmp_path / "flag"
    with joblib.parallel_config(**on_ray):
        assert each(partial(killed_once, flag=str(flag)), range(8)) == [x * x for x in range(8)]
    assert flag.exists()
