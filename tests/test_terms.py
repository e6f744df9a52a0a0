"""A population in chunks: the same terms, people who join and leave, and work that is stopped."""

import json
import os
import signal
import weakref
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

import eamlab as el
from eamlab.composition import terms as module
from eamlab.composition.gaussian import _groups

GROUP = {"mu_nu": 0.6, "log_sigma_nu": -0.7, "mu_log_alpha": 0.1, "log_sigma_log_alpha": -1.2}


@pytest.fixture(scope="module")
def study():
    return el.simulate(el.EAM, 600, 12, seed=71, group=GROUP)


@pytest.fixture(scope="module")
def once(workflow, study):
    return el.summarize(workflow, study)


@pytest.fixture
def table(tmp_path, study):
    """A folder of three text files of 200 people each, and what is not meant to be read."""
    folder = tmp_path / "trials"
    (folder / "later").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for i, name in enumerate(("a.csv", "b.csv", "later/c.csv")):
        write(study[200 * i : 200 * (i + 1)], folder / name)
    for name in ("_SUCCESS", ".b.csv.crc", ".hidden/d.csv"):
        (folder / name).write_text("no trials", encoding="utf-8")
    return folder


def write(study, file):
    study.frame.rename(columns={"choice": "response"}).to_csv(file, index=False)


def chunks(study, size=200):
    return (study[i : i + size] for i in range(0, len(study), size))


def natural(workflow, terms):
    """Composed precision, and precision times mean, of the anchors."""
    groups = _groups(workflow.inference_network, keras.ops.convert_to_tensor(terms.summaries))
    return np.concatenate([np.asarray(groups.pull), np.asarray(groups.total).ravel()])


@pytest.fixture
def summarized(monkeypatch):
    """People who were summarized since, group by group."""
    sizes = []
    original = module.summarize_groups

    def watched(workflow, blocks):
        sizes.extend(block.shape[:2] for block in blocks)
        return original(workflow, blocks)

    monkeypatch.setattr(module, "summarize_groups", watched)
    return sizes


# --- the same as at once ----------------------------------------------------------------------


def test_chunks_are_composed_as_all_at_once(workflow, study, once):
    terms = el.summarize(workflow, chunks(study))
    assert len(terms) == 600 and terms.sizes.tolist() == [200] * 3
    assert "600 people, 3 groups" in repr(terms)
    np.testing.assert_allclose(terms.summaries, once.summaries, rtol=1e-4, atol=1e-5)
    whole = el.compose(workflow, study, num_samples=40, seed=1, check=False)
    parts = el.compose(workflow, terms, num_samples=40, seed=1)
    np.testing.assert_allclose(parts.array, whole.array, atol=1e-3)
    assert parts.diagnostics == whole.diagnostics
    again = el.compose(workflow, terms, **parts.settings)
    np.testing.assert_array_equal(again.array, parts.array)


def test_no_chunk_is_held_after_the_next_but_one(workflow, study):
    alive = weakref.WeakSet()
    most = 0

    def watched():
        nonlocal most
        for chunk in chunks(study, 50):
            alive.add(chunk)
            most = max(most, len(alive))
            yield chunk
            del chunk

    with pytest.warns(UserWarning, match="600 people are 12 groups, where 3 of 200 would do"):
        assert len(el.summarize(workflow, watched())) == 600
    assert most <= 2


def test_people_are_added_and_subtracted_in_whole_groups(workflow, study, once):
    first, *others = (el.summarize(workflow, chunk) for chunk in chunks(study))
    total = sum(others, first)
    left = total - others[0]
    assert len(left) == 400
    np.testing.assert_array_equal(left.summaries, (first + others[1]).summaries)
    np.testing.assert_array_equal(left.subjects, (first + others[1]).subjects)
    # Natural parameters add up, and the prior counts once.
    eye = np.r_[np.zeros(7), np.eye(7).ravel()]
    sums = sum(natural(workflow, one) - eye for one in (first, *others)) + eye
    np.testing.assert_allclose(natural(workflow, total), sums, rtol=1e-4, atol=1e-2)
    with pytest.raises(ValueError, match=r"1 groups, of which 0 are in the sum; .*without\(ids"):
        left - others[0]
    with pytest.raises(ValueError, match="has 1 groups, of which 0"):
        total - el.summarize(workflow, study[:100])
    with pytest.raises(ValueError, match="nobody is left"):
        total - total
    with pytest.raises(TypeError):
        total + 1


def test_single_people_leave_their_groups(workflow, study, once, summarized):
    ids = [3, 5, 450, *range(200, 400)]  # two of the first group, one of the last, all of a second
    staying = once.without(ids, workflow, study)
    assert sorted(summarized) == [(1, 198), (1, 199)]  # no one else was touched
    by_hand = [np.delete(np.arange(200), [3, 5]), np.delete(np.arange(400, 600), 50)]
    for people in by_hand:
        one = el.summarize(workflow, study[people], group_size=len(people))
        (row,) = np.flatnonzero(staying.sizes == len(people))
        np.testing.assert_allclose(staying.summaries[row], one.summaries[0], rtol=1e-4, atol=1e-5)
    assert len(staying) == 397 and set(staying.subjects) == set(once.subjects) - set(
        el.summarize(workflow, study[ids]).subjects
    )
    untouched = once.without(range(200), workflow, study[:1])  # a whole group: no trials needed
    np.testing.assert_array_equal(untouched.summaries, once.summaries[1:])


def test_who_cannot_leave(workflow, study, once):
    for one in (3, "3"):
        with pytest.raises(ValueError, match="^subjects must be ids, got .*for one person: "):
            once.without(one, workflow, study)
    shorter = el.Study(study.trials[:, :-1], subjects=study.subjects)
    with pytest.raises(ValueError, match="^study has other numbers of trials than the terms for "):
        once.without([3], workflow, shorter)
    with pytest.raises(ValueError, match="^study must be a Study, .*got NoneType"):
        once.without([3], workflow, None)
    whole = once.without(np.array([3.0]), workflow, study)
    np.testing.assert_array_equal(whole.subjects, once.without([3], workflow, study).subjects)
    with pytest.raises(ValueError, match=r"subjects: 1 of them are not in the sum: \['x'\]"):
        once.without([3, "x"], workflow, study)
    with pytest.raises(ValueError, match="study lacks 99 people who shared a group"):
        once.without([3], workflow, study[100:])
    with pytest.raises(ValueError, match="nobody is left"):
        once.without(range(600), workflow, study)


def test_nobody_counts_twice(workflow, study):
    with pytest.raises(ValueError, match="100 people are in the sum twice.*subjects=..."):
        el.summarize(workflow, [study[:200], study[100:300]])
    text = el.Study(study[:5].trials, subjects=map(str, range(5)))
    with pytest.raises(ValueError, match="5 people are in the sum twice"):
        el.summarize(workflow, study) + el.summarize(workflow, text)


# --- files --------------------------------------------------------------------------------------


def test_files_that_number_their_people_anew_are_not_merged(workflow, study, tmp_path):
    for site, people in (("a", study[:50]), ("b", study[50:100])):
        frame = people.frame.rename(columns={"choice": "response"})
        frame.assign(subject=frame["subject"] % 50, site=site).to_csv(tmp_path / f"{site}.csv")
    with pytest.raises(ValueError, match=r"50 people are in the sum twice.*\['site', 'subject'\]"):
        el.summarize(workflow, tmp_path)
    terms = el.summarize(workflow, tmp_path, columns={"subject": ["site", "subject"]})
    assert len(terms) == 100 and len(set(terms.subjects)) == 100


def test_a_folder_is_read_file_by_file(workflow, table, once):
    terms = el.summarize(workflow, table)
    np.testing.assert_allclose(terms.summaries, once.summaries, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(terms.subjects, once.subjects)
    assert terms.notes == ()
    frame = pd.read_csv(table / "b.csv")
    frame.loc[[0, 17], "rt"] = np.nan
    frame["rt"] *= 1000
    frame.to_csv(table / "b.csv", index=False)
    with pytest.raises(ValueError, match="b.csv: .*unit='ms'"):
        el.summarize(workflow, table)
    terms = el.summarize(workflow, [table / "b.csv"], unit="ms")
    assert terms.notes == ("b.csv: 2 trials left out: no response time",)
    assert "note: b.csv: 2 trials left out" in repr(terms)
    (table / "a.xlsx").write_bytes(b"PK\x03\x04\x14\x00")
    with pytest.raises(ValueError, match="a.xlsx is not a text file"):
        el.summarize(workflow, table)


def test_terms_are_files_like_those_of_trials(workflow, study, once, tmp_path):
    first = el.summarize(workflow, study[:400])
    file = first.write(tmp_path / "first.terms.npz")
    assert [p.name for p in tmp_path.iterdir()] == [file.name]
    again = el.summarize(workflow, file)
    for name in ("summaries", "sizes", "subjects", "n_trials"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert (again.model, again.weights, again.notes) == (first.model, first.weights, ())
    both = el.summarize(workflow, [tmp_path, study[400:]])
    np.testing.assert_array_equal(both.subjects, once.subjects)
    with pytest.raises(ValueError, match="file must end in .terms.npz, got 'first.npz'"):
        first.write(tmp_path / "first.npz")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="first.terms.npz is not a file that Terms.write wrote"):
        el.summarize(workflow, file)


def test_parquet(workflow, study, tmp_path):
    pytest.importorskip("pyarrow")
    frame = study.frame.rename(columns={"choice": "response"})
    frame.to_parquet(tmp_path / "all.parquet")
    read = el.read_trials(tmp_path / "all.parquet")
    np.testing.assert_array_equal(read.trials, study.trials)
    assert read.subjects == study.subjects
    frame["subject"] = "s" + frame["subject"].astype(str)
    frame.astype({"subject": "category", "rt": "float64"}).to_parquet(tmp_path / "all.parquet")
    read = el.read_trials(tmp_path / "all.parquet")
    np.testing.assert_array_equal(read.trials, study.trials)
    assert read.subjects[:2] == ("s0", "s1")
    (tmp_path / "all.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="all.parquet is not a Parquet file"):
        el.summarize(workflow, tmp_path)


def test_parquet_says_what_it_needs(monkeypatch, tmp_path):
    (tmp_path / "all.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(pd, "read_parquet", lambda path: (_ for _ in ()).throw(ImportError()))
    with pytest.raises(ImportError, match=r'pip install "eamlab\[parquet\]"'):
        el.read_trials(tmp_path / "all.parquet")


# --- work that is stopped -----------------------------------------------------------------------


def test_what_was_done_is_not_done_again(workflow, table, once, tmp_path, summarized):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.terms.npz").write_bytes(b"")  # none of this call's
    (table / "later" / "c.csv").rename(tmp_path / "c.csv")
    (table / "later" / "c.csv").write_text("subject,rt,response\n", encoding="utf-8")
    with pytest.raises(ValueError, match="c.csv"):
        el.summarize(workflow, table, out=out)
    assert summarized == [(1, 200)] * 2
    (tmp_path / "c.csv").replace(table / "later" / "c.csv")
    terms = el.summarize(workflow, table, out=out)
    assert summarized == [(1, 200)] * 3
    np.testing.assert_allclose(natural(workflow, terms), natural(workflow, once), rtol=1e-3)
    # A person leaves one file, and another file is gone: one chunk is made anew, two are deleted.
    frame = pd.read_csv(table / "b.csv")
    frame[frame["subject"] != 301].to_csv(table / "b.csv", index=False)
    (table / "a.csv").unlink()
    terms = el.summarize(workflow, table, out=out)
    assert summarized[3:] == [(1, 199)] and len(terms) == 399
    assert len(list(out.iterdir())) == 3
    assert len(el.summarize(workflow, (study for study in [terms]), out=out)) == 399


def test_studies_are_kept_too_and_options_count(workflow, study, tmp_path, summarized):
    for group_size in ("auto", "auto", 100):
        el.summarize(workflow, chunks(study), group_size=group_size, out=tmp_path)
    assert summarized == [(1, 200)] * 3 + [(2, 100)] * 3


KILLED = """
import os, signal
import eamlab as el
study = el.read_trials({file!r})
def chunks():
    for i in range(0, 600, 200):
        if i == 400:
            os.kill(os.getpid(), signal.SIGKILL)
        yield study[i : i + 200]
el.summarize(el.load_pretrained("global"), chunks(), out={out!r})
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
def test_a_killed_worker_loses_nothing(python, workflow, study, once, tmp_path, summarized):
    write(study, tmp_path / "all.csv")
    out = tmp_path / "out"
    killed = python(KILLED.format(file=str(tmp_path / "all.csv"), out=str(out)), check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(os.listdir(out)) == 2
    read = el.read_trials(tmp_path / "all.csv")
    terms = el.summarize(workflow, chunks(read), out=out)
    assert summarized == [(1, 200)]
    whole = el.summarize(workflow, chunks(read))
    np.testing.assert_allclose(natural(workflow, terms), natural(workflow, whole), rtol=1e-5)
    assert len(terms) == 600


# --- what is refused ----------------------------------------------------------------------------


def test_terms_of_another_network_are_refused(workflow, once, tmp_path):
    other = replace(once, weights="0" * 64)
    with pytest.raises(ValueError, match="terms: they were made by a network with other weights"):
        el.compose(workflow, other)
    with pytest.raises(ValueError, match="with other weights"):
        el.summarize(workflow, other.write(tmp_path / "other.terms.npz"))
    with pytest.raises(ValueError, match="different networks or models"):
        once + other
    model = json.loads(json.dumps(once.model))
    model["prior"]["mu_nu"][1] *= 2
    with pytest.raises(ValueError, match="the terms was made with another"):
        el.compose(workflow, replace(once, model=model))


def test_what_terms_cannot_do(workflow, study, once):
    for options in ({"group_size": 100}, {"summaries": once.summaries}, {"check": True}):
        with pytest.raises(ValueError, match=f"hold no trials, so .'{[*options][0]}'. "):
            el.compose(workflow, once, **options)
    one = el.summarize(workflow, study[:10])
    with pytest.raises(ValueError, match="Terms of one group"):
        el.compose(workflow, one, method="euler_maruyama")
    few = el.simulate(el.EAM, 20, [2, *[30] * 19], seed=3)
    with pytest.warns(UserWarning, match="1 of 20 subjects have 2 to 2 trials"):
        el.compose(workflow, el.summarize(workflow, few), num_samples=5, seed=1)


def test_chunks_that_are_none(workflow, local, study, tmp_path):
    for nothing in ([], iter(()), tmp_path):
        with pytest.raises(ValueError, match="chunks: there are none"):
            el.summarize(workflow, nothing)
    with pytest.raises(ValueError, match="chunks must be a Study.*got ndarray"):
        el.summarize(workflow, study.trials)
    for other in ({"a": study}, study.frame, 5, None):
        with pytest.raises(ValueError, match=f"^chunks must be .* got {type(other).__name__}; "):
            el.summarize(workflow, other)
    with pytest.raises(FileNotFoundError, match="no file"):
        el.summarize(workflow, tmp_path / "gone.csv")
    with pytest.raises(ValueError, match=r"chunks: \['unit'\] are for files, got a Study"):
        el.summarize(workflow, study, unit="ms")
    with pytest.raises(ValueError, match="workflow must be a CompositionalWorkflow"):
        el.summarize(local, study)
