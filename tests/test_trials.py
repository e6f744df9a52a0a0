"""Reading trials: what is kept is exact, what is dropped is counted, what is unclear is asked."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eamlab.exact.study import subjects_of
from eamlab.simulate import simulate_studies
from eamlab.trials import TRAINED_TRIALS, read_trials

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "book" / "data" / "example_trials.csv"
COUNTS = (12, 3, 30, 1)


def study(seed=1):
    """A ragged study as a list of (n_j, 2) arrays."""
    data = simulate_studies(1, len(COUNTS), max(COUNTS), seed=seed, scheme="exact")["sim_data"][0]
    return [a[:n] for a, n in zip(data, COUNTS, strict=True)]


def table(subjects, ids=("b", "a", "d", "c")):
    parts = [
        pd.DataFrame({"participant_id": name, "rt": a[:, 1], "response": a[:, 0].astype(int)})
        for name, a in zip(ids, subjects, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def rows(**columns):
    """Four good trials of two subjects, with columns replaced."""
    good = {"subj_idx": [1, 1, 2, 2], "rt": [0.5, 0.6, 0.7, 0.8], "response": [0, 1, 1, 0]}
    return pd.DataFrame(good | columns)


def write(tmp_path, text, name="trials.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


# --------------------------------------------------------------------------------------------------
# What is kept
# --------------------------------------------------------------------------------------------------


def test_a_ragged_study_comes_back_exactly(tmp_path):
    subjects = study()
    table(subjects).to_csv(tmp_path / "x.csv", index=False)
    trials = read_trials(tmp_path / "x.csv")
    assert trials.subjects == ("b", "a", "d", "c") and len(trials) == 4
    assert trials.sim_data.shape == (4, 30, 2) and trials.sim_data.dtype == np.float32
    np.testing.assert_array_equal(trials.n_trials, COUNTS)
    for got, want in zip(trials.by_subject, subjects, strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal((trials.sim_data[..., 1] > 0).sum(axis=1), COUNTS)
    assert trials.report["trials"].to_dict() == {"kept": sum(COUNTS)}


def test_the_list_suits_the_exact_posterior_and_the_padded_array_the_check():
    from eamlab.check import predictive_check
    from eamlab.priors import GROUP_PRIOR

    trials = read_trials(table(study()))
    assert [s.lower.size + s.upper.size for s in subjects_of(trials.by_subject)] == list(COUNTS)
    draws = GROUP_PRIOR.sample(50, np.random.default_rng(0))
    assert predictive_check(draws, trials.sim_data, num_draws=50).comparisons


@pytest.mark.slow  # loads TensorFlow
def test_networks_take_the_list():
    import eamlab as el

    trials = read_trials(table(study()))
    draws = el.compose(el.load_pretrained("global"), trials.by_subject, num_samples=5, check=False)
    assert draws["mu_nu"].shape == (1, 5, 1)
    local = el.load_pretrained("local")
    people = el.sample_subject_parameters(local, draws, trials.by_subject, seed=1)
    assert people["nu"].shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda f: f, {}),
        (lambda f: f.rename(columns={"participant_id": "subj_idx"}), {}),
        (lambda f: f.rename(columns={"participant_id": "Subject", "rt": "RT"}), {}),
        (lambda f: f.rename(columns={"response": "choice"}), {}),
        (lambda f: f.assign(response=2 * f["response"] - 1), {}),
        (lambda f: f.assign(response=2.0 * f["response"] - 1.0), {}),
        (lambda f: f.assign(response=f["response"].astype(bool)), {}),
        (lambda f: f.assign(rt=1000.0 * f["rt"].astype(float)), {"unit": "ms"}),
        (
            lambda f: f.assign(response=f["response"].map({0: "left", 1: "right"})),
            {"coding": {"left": 0, "right": 1}},
        ),
        (lambda f: f.assign(response=f["response"] + 1), {"coding": {1: 0, 2: 1}}),
        (
            lambda f: f.rename(columns={"rt": "latency"}).assign(response=f["response"]),
            {"columns": {"rt": "latency"}},
        ),
        (
            lambda f: f.assign(choice=9),
            {"columns": {"response": "response"}},
        ),
    ],
)
@pytest.mark.parametrize("by_file", [False, True])
def test_the_conventions_of_the_field_mean_the_same(change, options, by_file, tmp_path):
    want = read_trials(table(study()))
    frame = change(table(study()))
    if by_file:
        frame.to_csv(tmp_path / "x.csv", index=False)
    got = read_trials(tmp_path / "x.csv" if by_file else frame, **options)
    np.testing.assert_allclose(got.sim_data, want.sim_data, rtol=1e-6)
    assert got.subjects == want.subjects


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_text_files_of_several_kinds(separator, ending, tmp_path):
    lines = ["\ufeffsubj_idx,rt,response", "07,0.5,1", "", "08, 0.75 ,0", ""]
    text = ending.join(line.replace(",", separator) for line in lines)
    trials = read_trials(write(tmp_path, text))
    assert trials.subjects == ("07", "08") and trials.report["trials"].to_dict() == {"kept": 2}
    np.testing.assert_array_equal(trials.sim_data[:, 0], [[1, 0.5], [0, 0.75]])


def test_ids_that_are_whole_numbers_stay_numbers_and_rows_may_be_mixed(tmp_path):
    text = "subj_idx,rt,response\n10,0.5,1\n2,0.6,0\n10,0.7,0\n2.0,0.8,1\n"
    trials = read_trials(write(tmp_path, text))
    assert trials.subjects == (10, 2)
    np.testing.assert_allclose(trials.sim_data[..., 1], [[0.5, 0.7], [0.6, 0.8]])


def test_frames_with_a_doubled_index_and_other_kinds_of_tables():
    twice = pd.concat([rows(), rows(subj_idx=[3, 3, 4, 4])])
    assert read_trials(twice).subjects == (1, 2, 3, 4)
    assert read_trials(rows().to_dict("list")).subjects == (1, 2)


def test_the_tidy_frame_reads_back_as_the_same_trials():
    trials = read_trials(table(study()))
    again = read_trials(trials.frame)
    np.testing.assert_array_equal(again.sim_data, trials.sim_data)
    assert again.subjects == trials.subjects


def test_the_subject_table():
    found = read_trials(rows()).table
    assert found.index.tolist() == [1, 2] and found["trials"].tolist() == [2, 2]
    np.testing.assert_allclose(found["upper"], [0.5, 0.5])
    np.testing.assert_allclose(found["median"], [0.55, 0.75], rtol=1e-6)


# --------------------------------------------------------------------------------------------------
# What is dropped
# --------------------------------------------------------------------------------------------------

BLEMISHED = """participant_id,rt,response
1,0.51,1
1,,1
1,0.62,
,0.70,0
1,0,1
2,-0.3,
2,-0.2,1
2,inf,0
2,0.9,0
2,NA,NA
2,0.12,1
"""


def test_every_dropped_trial_has_a_counted_reason(tmp_path):
    trials = read_trials(write(tmp_path, BLEMISHED))
    assert trials.report["trials"].to_dict() == {
        "kept": 3,
        "no response time": 2,
        "no response": 2,
        "response time not positive": 2,
        "no subject": 1,
        "response time not finite": 1,
    }
    assert trials.report["trials"].sum() == 11
    assert trials.report.loc["no response time", "where"] == "3, 11"  # lines of the file
    assert trials.report.loc["no response", "subjects"] == 2
    np.testing.assert_array_equal(trials.n_trials, [1, 2])
    assert "dropped: 8 of 11 trials (72.7%)" in repr(trials)
    assert "2  no response time" in repr(trials) and "missing at random" in repr(trials)


def test_what_is_trimmed_is_reported(tmp_path):
    trials = read_trials(write(tmp_path, BLEMISHED), rt_range=(0.2, 0.6), min_trials=1)
    report = trials.report["trials"]
    assert report["response time outside 0.2 to 0.6 s"] == 2 and report["kept"] == 1
    assert trials.subjects == (1,)


def test_subjects_with_few_trials_are_left_out_on_demand_only():
    few = rows(subj_idx=[1, 1, 1, 2])
    assert len(read_trials(few)) == 2
    trials = read_trials(few, min_trials=2)
    assert trials.subjects == (1,)
    assert trials.report.loc["subject with fewer than 2 trials", "trials"] == 1


def test_own_words_for_missing_values(tmp_path):
    text = "subject,rt,choice\n1,0.5,1\n1,timeout,-9\n1,999,0\n1,0.7,0\n"
    trials = read_trials(write(tmp_path, text), missing=("timeout", 999, -9))
    assert trials.report["trials"].to_dict() == {"kept": 2, "no response time": 2}


def test_a_response_may_be_declared_missing():
    trials = read_trials(rows(response=[-1, 1, 0, 1]), coding={-1: 0, 1: 1, 0: None})
    np.testing.assert_array_equal(trials.frame["choice"], [0, 1, 1])
    assert trials.report.loc["no response", "trials"] == 1


def test_a_marker_for_missed_responses_is_not_taken_for_signed_times():
    frame = rows(rt=[0.5, -1, 0.7, 0.8]).loc[[0, 0, 0, 0, 1, 2, 3]]
    assert read_trials(frame).report.loc["response time not positive", "trials"] == 1


def test_notes_name_what_lies_outside_the_training_and_no_more():
    fewest, most = TRAINED_TRIALS
    n = {"few": fewest - 1, "usual": fewest, "many": most, "too many": most + 1}
    frame = pd.DataFrame({"subject": np.repeat(list(n), list(n.values())), "rt": 0.5})
    notes = read_trials(frame.assign(response=np.arange(len(frame)) % 2)).notes
    assert len(notes) == 2 and "(few)" in notes[0] and "(too many)" in notes[1]
    assert "all responses are the same" in read_trials(frame.assign(response=1)).notes[-1]


def test_the_training_range_is_that_of_the_training_script():
    from eamlab.train import TRIAL_RANGE

    assert TRAINED_TRIALS == TRIAL_RANGE


# --------------------------------------------------------------------------------------------------
# What is asked, and refused
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (rows(rt=[500, 600, 700, 800]), {}, r"median time is 650.*unit='ms'"),
        (rows(rt=[0.5, 0.6, 700, 800]), {}, r"milliseconds|median time"),
        (rows(rt=[0.5] * 3 + [800.0], subj_idx=[1, 1, 1, 2]), {}, r"subjects 2\. Are these milli"),
        (rows(), {"unit": "ms"}, "look like seconds"),
        (rows(), {"unit": "minutes"}, "unit must be"),
        (rows(rt=[-0.5, 0.6, 0.7, -0.8]), {}, r"sign were the response.*abs\(\)"),
        (rows(rt=[-0.5, -0.6, 0.7, 0.8]), {}, "50% of the times are negative"),
        (rows(rt=[-0.5, -0.6, -0.7, -0.8]), {}, "all times are negative"),
        (rows(rt=[0.0] * 4), {}, "none of 4 times is positive"),
        (rows(rt=["0.5", "fast", "0.7", "0.8"]), {}, r"1 values that are not numbers: fast"),
        (rows(rt=["0,5", "0,6", "0,7", "0,8"]), {}, "decimal=','"),
        (rows(rt=["0.5", "1_5", "0.7", "0.8"]), {}, "not numbers: 1_5"),
        (rows(response=[1, 2, 2, 1]), {}, r"values 1, 2; say which.*coding=\{1: 0, 2: 1\}"),
        (rows(response=["l", "r", "r", "l"]), {}, r"coding=\{'l': 0, 'r': 1\}"),
        (rows(response=[-1, 0, 1, 1]), {}, r"coding=\{-1: 0, 1: 1, 0: None\}"),
        (rows(response=[1, 2, 3, 4]), {}, "the model has two choices"),
        (rows(response=["l", "r", "x", "l"]), {"coding": {"l": 0, "r": 1}}, "l, r, x; coding="),
        (rows(), {"coding": {0: 0, 1: 2}}, "coding must map to 0"),
        (rows(), {"columns": {"time": "rt"}}, r"unknown keys \['time'\]"),
        (rows(), {"columns": {"rt": "latency"}}, r"looked for 'latency', the table has \['subj"),
        (rows().drop(columns="rt"), {}, r"no rt column.*\['subj_idx', 'response'\]"),
        (rows().drop(columns="response"), {}, r"no response column.*frame\['rt'\] > 0"),
        (rows(choice=1), {}, r"\['response', 'choice'\] could all be the response column"),
        (rows(rt=[0.5, 0.6, np.nan, np.nan]), {}, "1 subject without a usable trial: 2;"),
        (rows(response=[np.nan] * 4), {}, "2 subjects without a usable trial"),
        (rows(), {"min_trials": 3}, "no usable trials are left"),
        (rows(), {"min_trials": 0}, "min_trials must be"),
        (rows(), {"rt_range": (1.0, 0.2)}, "rt_range must be"),
        (rows(), {"missing": "NA"}, r"missing=\('NA',\)"),
        (rows().iloc[:0], {}, "no rows below its header"),
        ([1, 2], {}, "path_or_frame must be a path or a DataFrame, got list"),
    ],
)
def test_what_cannot_be_right_is_refused_with_a_remedy(frame, options, message):
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        read_trials(frame, **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("subject,rt,response\n", "no rows below its header"),
        ("subject,rt,response,rt\n1,0.5,1,3\n", r"columns \['rt'\] occur more than once"),
        ("subject,rt,response\n1,0.5,1,9\n", "as many fields in each line"),
        ("subject,rt,response\n1,0.5,1\n1,0.5,1,9\n", "as many fields in each line"),
        ("subject rt response\n1 0.5 1\n", r"the table has \['subject rt response'\]"),
    ],
)
def test_files_that_are_no_tables_of_trials_are_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_trials(write(tmp_path, text))


def test_other_files_are_refused(tmp_path):
    write(tmp_path, "x", "seen.csv")
    with pytest.raises(FileNotFoundError, match=r"no file .*missing.csv.*seen.csv"):
        read_trials(tmp_path / "missing.csv")
    with pytest.raises(FileNotFoundError):
        read_trials(tmp_path)
    with pytest.raises(ValueError, match="not a text file"):
        read_trials(write(tmp_path, "x", "trials.xlsx"))
    latin = write(tmp_path, "subject,rt,response\nJürgen,0.5,1\n", encoding="latin-1")
    with pytest.raises(ValueError, match="not UTF-8.*latin-1"):
        read_trials(latin)


def test_doubled_names_in_a_frame_are_refused():
    with pytest.raises(ValueError, match=r"columns \['rt'\] occur more than once"):
        read_trials(pd.concat([rows(), rows()[["rt"]]], axis=1))


def test_nothing_in_a_file_is_evaluated(tmp_path):
    trap = tmp_path / "trap"
    code = f"__import__('pathlib').Path({str(trap)!r}).touch()"
    header = "subject,rt,response\n"
    assert read_trials(write(tmp_path, f'{header}"{code}",0.5,1\n')).subjects == (code,)
    with pytest.raises(ValueError, match="not numbers: __import__"):
        read_trials(write(tmp_path, f'{header}1,"{code}",1\n'))
    with pytest.raises(ValueError, match="has the values __import__"):
        read_trials(write(tmp_path, f'{header}1,0.5,"{code}"\n'))
    assert not trap.exists()


def test_reading_starts_no_network_library(tmp_path):
    path = write(tmp_path, "subject,rt,response\n1,0.5,1\n")
    code = (
        "import sys, eamlab.results, eamlab.trials\n"
        f"eamlab.trials.read_trials({str(path)!r})\n"
        "print(sorted({'tensorflow', 'keras', 'bayesflow', 'xarray', 'arviz'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --------------------------------------------------------------------------------------------------
# The example of the book
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def maker(script):
    return script("make_example_csv")


def test_the_example_is_what_its_script_writes(maker):
    settings = maker.Settings()
    made = maker.blemished(maker.simulate(settings), settings)
    assert made.to_csv(index=False, lineterminator="\n") == EXAMPLE.read_text()
    assert json.loads(EXAMPLE.with_suffix(".json").read_text()) == maker.asdict(settings)


def test_the_example_has_blemishes_and_can_be_read(maker):
    with pytest.raises(ValueError, match="unit='ms'"):
        read_trials(EXAMPLE)
    everybody = read_trials(EXAMPLE, unit="ms")
    assert len(everybody) == maker.Settings().n_subjects and everybody.notes
    trials = read_trials(EXAMPLE, unit="ms", min_trials=10)
    assert len(set(trials.n_trials)) > 5 and not trials.notes
    assert {"no response", "no response time", "response time not positive"} < set(
        trials.report.index
    )
    assert trials.report["trials"].sum() == len(pd.read_csv(EXAMPLE))
