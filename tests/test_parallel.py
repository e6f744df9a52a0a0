"""Many studies at once are joblib's own business: threads, processes and clusters agree.

The test on a cluster uses `dask.distributed.LocalCluster` and is skipped without it.
"""

import os
import signal

import joblib
import numpy as np
import pytest

import eamlab as el
from eamlab import parallel
from eamlab.parallel import threaded, threads


def answers(study, seed):
    """Everything that threads have a part in, in whatever process this runs."""
    exact = el.exact(study, el.EAM, 50, seed=seed)
    again = el.simulate(el.EAM, 3, 40, seed=seed, group=study.group)
    return exact.array, el.exact_people(exact, study, seed=seed)["nu"], again.trials


def each(studies):
    return joblib.Parallel()(joblib.delayed(answers)(s, seed=i) for i, s in enumerate(studies))


@pytest.fixture(scope="module")
def studies():
    return el.simulate(el.EAM, 2, 10, seed=11, n_studies=2)


@pytest.fixture(scope="module")
def serial(studies):
    return each(studies)


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_threaded_results_come_in_order_with_their_errors(monkeypatch):
    monkeypatch.setattr(parallel, "threads", lambda: 3)
    assert threaded(lambda x: x * x, range(20), "squares", False) == [x * x for x in range(20)]
    with pytest.raises(ZeroDivisionError):
        threaded(lambda x: 1 / x, [1, 0, 2], "shares", False)
    assert threads() >= 1


@pytest.mark.filterwarnings("ignore::eamlab.reference.posterior.ReferenceWarning")
def test_studies_in_threads_give_the_same_numbers(studies, serial):
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert_same(each(studies), serial)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::eamlab.reference.posterior.ReferenceWarning")
def test_studies_in_processes_give_the_same_numbers(studies, serial):
    with joblib.parallel_config(n_jobs=2):
        assert_same(each(studies), serial)


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


def composed_mean(study):
    """Compose with the shipped network, in whatever process this runs."""
    draws = el.compose(el.load_pretrained("global"), study, num_samples=20, seed=1, check=False)
    return draws.mean["mu_nu"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cluster_gives_the_same_numbers(cluster, studies, serial):
    expected = [composed_mean(study) for study in studies]
    with joblib.parallel_config(backend="dask"):
        assert_same(each(studies), serial)
        found = joblib.Parallel()(joblib.delayed(composed_mean)(s) for s in studies)
    # Another number of threads changes the order of TensorFlow's sums.
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cluster_summarizes_chunks_as_one_process_does(cluster, workflow):
    """Also when a worker dies in the middle: what it had begun is done by another."""
    study = el.simulate(el.EAM, 80, 10, seed=12)
    chunks = [study[i : i + 10] for i in range(0, 80, 10)]
    expected = el.summarize(workflow, chunks, group_size=10)
    worker, _ = cluster.run(os.getpid).values()

    def killing():
        for i, chunk in enumerate(chunks):
            if i == 5:  # two workers have four chunks at first, and one more for each that is done
                os.kill(worker, getattr(signal, "SIGKILL", signal.SIGTERM))
            yield chunk

    for given in (iter(chunks), killing()):
        with joblib.parallel_config(backend="dask"):
            found = el.summarize(workflow, given, group_size=10)
        np.testing.assert_array_equal(found.subjects, expected.subjects)
        np.testing.assert_allclose(found.summaries, expected.summaries, rtol=1e-4, atol=1e-5)
