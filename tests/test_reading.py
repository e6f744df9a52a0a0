"""Reading trials: what is kept is exact, what is dropped is counted, what is unclear is asked."""

import ast
import codecs
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eamlab as el
from eamlab.__main__ import main
from eamlab.reading import read_trials
from eamlab_book.results.pages import ExampleSettings, example_data

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "book" / "data" / "example_trials.csv"
COUNTS = (12, 3, 30, 1)


def study(seed=1):
    """A ragged study as a list of (n_j, 2) arrays."""
    data = el.simulate(el.EAM, len(COUNTS), max(COUNTS), seed=seed).trials
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
    assert trials.trials.shape == (4, 30, 2) and trials.trials.dtype == np.float32
    np.testing.assert_array_equal(trials.n_trials, COUNTS)
    for got, want in zip(trials.by_subject, subjects, strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal((trials.trials[..., 1] > 0).sum(axis=1), COUNTS)
    assert trials.report["trials"].to_dict() == {"kept": sum(COUNTS)}


def test_what_is_read_goes_into_every_verb():
    trials = read_trials(table(study()))
    assert isinstance(trials, el.Study)
    draws = el.Draws(
        {k: v[:, 0] for k, v in el.EAM.prior.sample(50, np.random.default_rng(0)).items()},
        model=el.EAM,
    )
    assert el.check(draws, trials, num_samples=50).comparisons
    assert el.exact_people(draws, trials[:1], seed=1)["nu"].shape == (50, 1)


@pytest.mark.slow  # loads TensorFlow
def test_networks_take_what_is_read():
    trials = read_trials(table(study()))
    draws = el.compose(el.load_pretrained("global"), trials, num_samples=5, check=False)
    assert draws["mu_nu"].shape == (5,)
    people = el.people(el.load_pretrained("local"), draws, trials, seed=1)
    assert people["nu"].shape == (5, 4) and people.subjects == trials.subjects


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
    np.testing.assert_allclose(got.trials, want.trials, rtol=1e-6)
    assert got.subjects == want.subjects


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_text_files_of_several_kinds(separator, ending, tmp_path):
    lines = ["\ufeffsubj_idx,rt,response", "07,0.5,1", "", "08, 0.75 ,0", ""]
    text = ending.join(line.replace(",", separator) for line in lines)
    trials = read_trials(write(tmp_path, text))
    assert trials.subjects == ("07", "08") and trials.report["trials"].to_dict() == {"kept": 2}
    np.testing.assert_array_equal(trials.trials[:, 0], [[1, 0.5], [0, 0.75]])


def test_ids_that_are_whole_numbers_stay_numbers_and_rows_may_be_mixed(tmp_path):
    text = "subj_idx,rt,response\n10,0.5,1\n2,0.6,0\n10,0.7,0\n2.0,0.8,1\n"
    trials = read_trials(write(tmp_path, text))
    assert trials.subjects == (10, 2)
    np.testing.assert_allclose(trials.trials[..., 1], [[0.5, 0.7], [0.6, 0.8]])


def test_frames_with_a_doubled_index_and_other_kinds_of_tables():
    twice = pd.concat([rows(), rows(subj_idx=[3, 3, 4, 4])])
    assert read_trials(twice).subjects == (1, 2, 3, 4)
    assert read_trials(rows().to_dict("list")).subjects == (1, 2)


def test_the_tidy_frame_reads_back_as_the_same_trials():
    trials = read_trials(table(study()))
    again = read_trials(trials.frame)
    np.testing.assert_array_equal(again.trials, trials.trials)
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
    assert trials.report.loc["kept", "subjects"] == 2  # people, of three trials
    np.testing.assert_array_equal(trials.n_trials, [1, 2])
    assert "dropped: 8 of 11 trials (72.7%)" in repr(trials)
    assert "2  no response time" in repr(trials) and "missing at random" in repr(trials)


def test_what_is_trimmed_is_reported(tmp_path):
    trials = read_trials(write(tmp_path, BLEMISHED), rt_range=(0.2, 0.6), min_trials=1)
    report = trials.report["trials"]
    assert report["response time outside 0.2 to 0.6 s"] == 2 and report["kept"] == 1
    assert trials.subjects == (1,)
    assert len(read_trials(rows(), rt_range=(0.5, 0.8)).frame) == 4  # both ends belong to it


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
    assert read_trials(rows(rt=[0.5, 999, 0.7, 0.8]), missing=999).n_trials.tolist() == [1, 2]
    assert read_trials(rows(rt=[0.5, "x", 0.7, 0.8]), missing="x").n_trials.tolist() == [1, 2]


def test_a_response_may_be_declared_missing():
    trials = read_trials(rows(response=[-1, 1, 0, 1]), coding={-1: 0, 1: 1, 0: None})
    np.testing.assert_array_equal(trials.frame["choice"], [0, 1, 1])
    assert trials.report.loc["no response", "trials"] == 1


@pytest.mark.parametrize(
    ("rt", "lost"),
    [
        ([512, 433, -1, 476, 601, -1], 2),  # as jsPsych writes a timeout, scored as an error
        ([0.5, 0.6, -1, 0.7, -1, -1], 3),  # half of them
        ([512, 433, 389, 476, 601, -999], 1),
        ([512, 433, -1, -2, -1, -2], 4),  # too early, too late
        ([512, 433, 476, -1, -2, -3], 3),
    ],
)
def test_a_marker_of_missed_responses_is_not_taken_for_signed_times(rt, lost):
    frame = pd.DataFrame({"subject": 1, "rt": rt, "correct": [x > 0 for x in rt]})
    unit = "ms" if max(rt) > 20 else "s"
    trials = read_trials(frame, columns={"response": "correct"}, unit=unit)
    assert trials.report.loc["response time not positive", "trials"] == lost
    assert trials.n_trials.tolist() == [6 - lost] and (trials.frame["choice"] == 1).all()


def test_a_note_says_that_all_responses_are_the_same():
    frame = pd.DataFrame({"subject": np.repeat([1, 2], 20), "rt": 0.5})
    assert read_trials(frame.assign(response=np.arange(len(frame)) % 2)).notes == ()
    assert "all responses are the same" in read_trials(frame.assign(response=1)).notes[-1]


def accuracies(coded):
    """Two people's trials, a column of who was right, and responses by accuracy or by stimulus."""
    right = np.array([1, 1, 0, 1, 1, 0, 1, 1])
    stimulus = np.array([0, 1, 0, 1, 1, 0, 0, 1])
    pressed = np.where(right == 1, stimulus, 1 - stimulus)
    by_stimulus = np.array([who == "s" for who in coded for _ in right])
    frame = pd.DataFrame(
        {"subj_idx": np.repeat(["P1", "P2"], 8), "rt": 0.5, "stim": [*stimulus] * 2}
    )
    response = np.where(by_stimulus, np.tile(pressed, 2), np.tile(right, 2))
    return frame.assign(response=response, Accuracy=np.tile(right, 2))


@pytest.mark.parametrize(
    ("coded", "note"),
    [
        ("aa", None),
        ("ss", "'response' is not 'Accuracy' in 8 trials; where upper should mean right"),
        ("as", "'response' is not 'Accuracy' in 4 trials, but is for 1 subject (P1); where upper"),
    ],
)
def test_a_note_says_that_responses_are_not_who_was_right(coded, note):
    """By stimulus, by accuracy, or mixed: the times and responses alone cannot tell."""
    frame = accuracies(coded)
    study = read_trials(frame)
    assert len(study.notes) == (note is not None)
    if note:
        assert study.notes[0].startswith(note)
        assert study.notes[0].endswith("say `columns={'response': 'Accuracy'}`")
    assert read_trials(frame, columns={"response": "Accuracy"}).notes == ()
    assert read_trials(frame, columns={"response": "response"}).notes == ()


def partly_by_key():
    """Of twenty people six whose responses are coded by key, of two kinds of stimuli."""
    group = {"mu_nu": 1.5, "log_sigma_nu": -1.2, "beta_raw": 0.0}
    frame = el.simulate(el.LABORATORY, 20, 100, seed=1, group=group).frame
    by_key = (frame["subject"] < 6) & np.random.default_rng(1).integers(0, 2, len(frame))
    return frame.assign(choice=np.where(by_key, 1 - frame["choice"], frame["choice"]))


def test_a_note_asks_where_some_are_at_one_half_and_all_others_far_above():
    """The others may be coded by accuracy; with honest studies it happens once in a hundred."""
    mixed = partly_by_key()
    (note,) = read_trials(mixed).notes
    assert note.startswith("6 subjects (0, 1, 2, 3, 4 and 1 more) chose upper about half")
    assert not read_trials(mixed, **pasted(pieces(note)[0])).notes
    honest = el.simulate(el.LABORATORY, 20, 100, seed=2, n_studies=40)  # of the whole prior
    assert sum("about half" in str(read_trials(s.frame).notes) for s in honest) <= 2


# --------------------------------------------------------------------------------------------------
# What is asked, and refused
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (rows(rt=[500, 600, 700, 800]), {}, r"median time is 650.*unit='ms'"),
        (rows(rt=[50, 60, 70, 80]), {}, "unit='s'` if they are seconds"),
        (rows(rt=[5e5, 6e5, 7e5, 8e5]), {"unit": "s"}, "unit='us'"),
        (rows(rt=[5e5, 6e5, 7e5, 8e5]), {"unit": "ms"}, "650 s.*unit='us'"),
        (rows(rt=[5e8, 6e8, 7e8, 8e8]), {}, "the right column"),
        (rows(rt=[0.005, 0.006, 0.007, 0.008]), {}, "the right column"),
        (rows(rt=[0.5, 0.6, 700, 800]), {}, "median time is 350"),
        (rows(rt=[0.5] * 3 + [800.0], subj_idx=[1, 1, 1, 2]), {}, r"subjects 2\. Are these milli"),
        (
            pd.concat([rows(rt=500)] * 2 + [rows(subj_idx=3, rt=0.6)] * 2),
            {"unit": "ms"},
            "subjects 3",
        ),
        (rows(), {"unit": "ms"}, "look like seconds"),
        (rows(), {"unit": "minutes"}, "unit must be"),
        (rows(rt=[-0.5, 0.6, 0.7, -0.8]), {}, r"sign were the response.*'response': 'rt'"),
        (rows(rt=[-0.5, -0.6, 0.7, 0.8]), {}, "50% of the times are negative"),
        (rows(rt=[-0.5, -0.6, -0.7, -0.8]), {}, "none of 4 times is positive"),
        (rows(rt=[0.0] * 4), {}, "none of 4 times is positive"),
        (rows(rt=["0.5", "fast", "0.7", "0.8"]), {}, r"not numbers, in 1 row: 'fast'; if"),
        (rows(rt=["left", "right", "left", "0.8"]), {}, "is it the right column"),
        (rows(rt=pd.date_range("2020", periods=4)), {}, "is it the right column"),
        (rows(rt=["0,5", "0.6", "0,7", "0.8"]), {}, "commas are mixed"),
        (rows(rt=["0,5", "0,6", "0,7", "0,8"]), {"decimal": "."}, "not numbers, in . rows?: '0,5'"),
        (rows(rt=["0.5", "1_5", "0.7", "0.8"]), {}, "not numbers, in . rows?: '1_5'"),
        (rows(response=[1, 2, 2, 1]), {}, r"values 1, 2; say which.*coding=\{1: 0, 2: 1\}"),
        (rows(response=["Wrong"] * 4), {}, r"coding=\{'Wrong': 0\}"),
        (rows(response=["j"] * 4), {}, r"coding=\{'j': 1\}"),
        (rows(response=["late", "error"] * 2), {}, r"coding=\{'error': 0, 'late': 1\}"),
        (rows(response=["hit", "correct"] * 2), {}, r"coding=\{'hit': 0, 'correct': 1\}"),
        (rows(response=["l", "r", "r", "l"]), {}, r"coding=\{'l': 0, 'r': 1\}"),
        (rows(response=[-1, 0, 1, 1]), {}, r"coding=\{-1: 0, 1: 1, 0: None\}"),
        (rows(response=[0, 0, 1, -1]), {}, r"coding=\{0: 0, 1: 1, -1: None\}"),
        (rows(response=[1, 2, 3, 4]), {}, r"coding=\{1: 0, 2: 1, \.\.\.: None\}"),
        (
            rows(response=["l", "r", "x", "l"]),
            {"coding": {"l": 0, "r": 1}},
            r"says nothing of 'x'.*\.\.\.: None",
        ),
        (rows(), {"coding": {0: 0, 1: 2}}, "coding must map to 0"),
        (rows(), {"columns": {"time": "rt"}}, r"unknown keys \['time'\]"),
        (rows(), {"columns": {"rt": "latency"}}, r"looked for 'latency', the table has \['subj"),
        (rows().drop(columns="rt"), {}, r"no rt column.*\['subj_idx', 'response'\]"),
        (rows().drop(columns="response"), {}, r"no response column"),
        (rows(choice=1), {}, r"\['response', 'choice'\] could all be the response column"),
        (rows(rt=[0.5, 0.6, np.nan, np.nan]), {}, "1 subject without a usable trial: 2;"),
        (rows(response=[np.nan] * 4), {}, "no usable trials are left.*'no response': 4"),
        (rows(), {"rt_range": (150, np.inf)}, "no usable trials are left.*outside 150 to inf s"),
        (rows().set_axis(["1", "0.5", "0"], axis=1), {}, "header=None"),
        (rows(), {"columns": {"rt": ["rt"]}}, "name of one column"),
        (rows(), {"min_trials": 3}, "no usable trials are left"),
        (rows(), {"min_trials": 0}, "min_trials must be"),
        (rows(), {"rt_range": (1.0, 0.2)}, "rt_range must be"),
        (rows(), {"min_trials": True}, "min_trials must be"),
        (rows(), {"rt_range": 5}, "rt_range must be"),
        (rows(), {"rt_range": (200, 3000), "unit": "ms"}, r"seconds.*rt_range=\(0\.2, 3\.0\)"),
        (rows(), {"rt_range": (0, 3000)}, r"seconds.*rt_range=\(0\.0, 3\.0\)"),
        (rows(), {"decimal": ";"}, "decimal must be"),
        (rows(), {"coding": {"1": 0, 1: 1}}, "more than once"),
        (rows(), {"coding": [0, 1]}, "coding must map"),
        (rows(), {"columns": ["rt"]}, "columns must be a mapping"),
        (rows(), {"columns": {"rt": None}}, "name of one column"),
        (rows().iloc[:0], {}, "no rows below its header"),
        ([1, 2], {}, "got list; of several files make one table: pd.concat"),
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
        ("subject,rt,response\n1,0.5,1,9\n", "line 2 has 4 fields"),
        ("trial,rt,response\n1,0,575,1\n2,1,212,0\n", "line 2 has 4 fields"),  # no row names
        ("subject,rt,response\n1,0.5,1\n1,0.5,1,9\n", "line 3 has 4 fields"),
        ("subject,rt,response\n1,0.5,1,8,9\n1,0.5,1\n", "line 2 has 5 fields"),
        ("# made by hand\n\nsubject,rt,response\n\n1,0.5,1\n1,1,1,1,1\n", "line 6 has 5 fields"),
        ('subject,rt,response\n1,0.5,1\n"2,0.5,1\n', "a quotation mark is not closed"),
        ("My experiment\nsubject;rt;response\n1;0.5;1\n", "line 1 .*'My experiment'"),
        ('"vp" "zeit" "taste"\n"1" 1 0,5 1\n"2" 1 0,6 0\n', "no subject column.*'vp', 'zeit'"),
        ("subject,rt,response\n\x00,0.5,1\n", "not a text file"),
    ],
)
def test_files_that_are_no_tables_of_trials_are_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_trials(write(tmp_path, text))


def test_other_files_are_refused(tmp_path):
    write(tmp_path, "x", "seen.csv")
    with pytest.raises(FileNotFoundError, match=r"no file .*missing.csv.*seen.csv"):
        read_trials(tmp_path / "missing.csv")
    with pytest.raises(FileNotFoundError, match="is a folder; of several files make one"):
        read_trials(tmp_path)
    with pytest.raises(ValueError, match="not a text file"):
        read_trials(write(tmp_path, "PK\x03\x04\x14\0\x06\0", "trials.xlsx"))


def test_doubled_names_in_a_frame_are_refused():
    with pytest.raises(ValueError, match=r"columns \['rt'\] occur more than once"):
        read_trials(pd.concat([rows(), rows()[["rt"]]], axis=1))


def test_nothing_in_a_file_is_evaluated(tmp_path):
    trap = tmp_path / "trap"
    code = f"__import__('pathlib').Path({str(trap)!r}).touch()"
    header = "subject,rt,response\n"
    assert read_trials(write(tmp_path, f'{header}"{code}",0.5,1\n')).subjects == (code,)
    with pytest.raises(ValueError, match="not numbers, in 1 row: .__import__"):
        read_trials(write(tmp_path, f'{header}1,"{code}",1\n'))
    with pytest.raises(ValueError, match="has the values .__import__"):
        read_trials(write(tmp_path, f'{header}1,0.5,"{code}"\n'))
    assert not trap.exists()


# --------------------------------------------------------------------------------------------------
# Files as people have them: read, or asked about with advice that works
# --------------------------------------------------------------------------------------------------

IDS = np.repeat([1, 2, 3], 5)
RT = np.array([512, 433, 476, 389, 455, 601, 520, 1498, 441, 467, 365, 702, 555, 648, 390]) / 1000
UPPER = np.array([1, 0, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0])


def text(header="subject,rt,response", row="{},{:.3f},{}", rt=RT, response=UPPER, extra=()):
    """The trials above as a text file."""
    lines = [row.format(*trial) for trial in zip(IDS, rt, response, strict=True)]
    return "\n".join([*([] if header is None else [header]), *lines, *extra, ""])


def numbered(line):
    """With row names, as R's write.table has them."""
    first, *others = line.splitlines()
    return "\n".join([first, *(f'"{i}" {other}' for i, other in enumerate(others, 1)), ""])


def comma(number):
    return f"{number:.3f}".replace(".", ",")


COMMAS = [comma(x) for x in RT]
WORDS = np.where(UPPER == 1, "correct", "error")
JSPSYCH = [
    '1,2310," "', "1,null,null", '1,15400,"{""Q0"":""a, b""}"', '1,9000,"{""Q1"":""none""}"',
]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        text(),
        "\n\n" + text(),
        "# made by hand\n" + text(),
        "sep=;\n" + text("subject;rt;response", "{};{:.3f};{}"),
        '"sep=|"\n' + text("subject|rt|response", "{}|{:.3f}|{}"),
        text("subject;rt;response", "{};{};{}", rt=COMMAS),
        text("subject\trt\tresponse", "{}\t{}\t{}", rt=COMMAS),
        text(row='{},"{}",{}', rt=COMMAS),
        text("subject rt response", "{} {:.3f} {}"),
        text("subject rt response", "{} {} {}", rt=COMMAS),
        text("  subject   rt   response", "  {}   {:.3f}   {}  "),
        numbered(text('"subject" "rt" "response"', "{} {:.3f} {}")),
        numbered(text('"subject" "rt" "response"', "{} {} {}", rt=COMMAS)),
        text(row="{},{:.3f},{},"),
        text("subject,rt,response,more", "{},{:.3f},{},x"),
        text(response=np.where(UPPER == 1, "1", "\u22121")),
        text().replace("\n", "\r"),
        text().encode("utf-16"),
        codecs.BOM_UTF16_BE + text().encode("utf-16-be"),
        text().encode("utf-16-le"),
        text("subject\trt\tresponse", "{}\t{}\t{}", rt=COMMAS).encode("utf-32"),
    ],
)
def test_what_can_be_read_in_one_way_is_read(content, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    trials = read_trials(path)
    assert_the_trials(trials)
    assert trials.subjects == (1, 2, 3) and not trials.notes


def assert_the_trials(trials):
    np.testing.assert_allclose(trials.frame["rt"], RT, rtol=1e-6)
    np.testing.assert_array_equal(trials.frame["choice"], UPPER)


GROUPS = "\n".join(
    ["group,subject,rt,response"]
    + [f"{group},{i},0.{j + 4},{j % 2}" for group in "ab" for i in (1, 2) for j in range(4)]
)
THREE = "subject,rt,response,cue\n" + "".join(
    f"{who},{rt},1,{cue}\n"
    for who in (1, 2)
    for rt, cue in ((0.5, "slow"), (0.6, "go"), (0.7, "stay"))
)

ASKED = {
    "milliseconds": (text(row="{},{:.0f},{}", rt=1000 * RT), {}),
    "microseconds": (text(row="{},{:.0f},{}", rt=1e6 * RT), {}),
    "microseconds, taken for milliseconds": (
        text(row="{},{:.0f},{}", rt=1e6 * RT), {"unit": "ms"},
    ),
    "thousands or decimals": (text(row='{},"{}",{}', rt=[comma(x + 1) for x in RT]), {}),
    "words": (text(response=WORDS), {}),
    "other words": (text(response=np.where(UPPER == 1, "Right", "Wrong")), {}),
    "keys": (text(response=np.where(UPPER == 1, "j", "f")), {}),
    "keys and other screens": (text(response=np.where(UPPER == 1, "j", "f"), extra=JSPSYCH), {}),
    "a third code": (text(response=2 * UPPER - 1, extra=["3,0.500,0"]), {}),
    "a third code, unsaid": (text(response=WORDS, extra=["3,0.500,late"]),
                             {"coding": {"error": 0, "correct": 1}}),
    "a word among the times": (text(extra=["3,timeout,0"]), {}),
    "another word": (text(extra=["3,timeout,0", "3,early,0"]), {"missing": "early"}),
    "no header": (text(None), {}),
    "no header, tabs, decimal commas": (text(None, "{}\t{}\t{}", rt=COMMAS), {}),
    "one person without id": (text("rt,response", "{1:.3f},{2}"), {}),
    "one person without id or header": (text(None, "{2} {1:.3f}"), {}),
    "signed times": (text("subject,rt", "{},{:.3f}", rt=np.where(UPPER == 1, RT, -RT)),
                     {"columns": {"response": "response"}}),
    "signed times beside the response": (text(rt=np.where(UPPER == 1, RT, -RT)), {}),
    "several columns": (text("subject,rt,response,choice", "{},{:.3f},{},0"), {}),
    "a person without a trial": (text(extra=["4,,1"]), {}),
    "a range in milliseconds": (text(), {"rt_range": (200, 3000)}),
    "ids that start again": (GROUPS, {}),
    "three conditions": (THREE, {"conditions": "cue"}),
}  # fmt: skip


def pieces(message):
    """The advice in a message: what stands in backticks, without the placeholder for a name."""
    found = re.findall(r"`([^`]+)`", message)
    return [piece for piece in found if "your name" not in piece]


def pasted(piece):
    call = ast.parse(f"f({piece})", mode="eval").body
    return {word.arg: ast.literal_eval(word.value) for word in call.keywords}


def assert_asked_trials(trials, case):
    if case == "ids that start again":
        assert trials.subjects == ("a/1", "a/2", "b/1", "b/2")
    elif case == "three conditions":
        assert trials.conditions == ("go", "slow") and trials.n_trials.sum() == 4
    elif case == "thousands or decimals":
        np.testing.assert_allclose(trials.frame["rt"], RT + 1, rtol=1e-6)
    else:
        assert_the_trials(trials)
        assert len(trials) == (1 if case.startswith("one person") else 3)


@pytest.mark.parametrize("case", ASKED)
def test_advice_works_when_pasted(case, tmp_path):
    content, options = ASKED[case]
    path, asked = write(tmp_path, content), []
    while len(asked) < 4:
        try:
            trials = read_trials(path, **options)
            break
        except ValueError as question:
            asked.append(pieces(str(question))[0])
            options = options | pasted(asked[-1])
    assert asked
    assert_asked_trials(trials, case)


OPTIONS = {  # of the terminal, where a case begins with some
    "microseconds, taken for milliseconds": "--unit ms",
    "another word": "--missing early",
    "a third code, unsaid": "--coding error correct",
    "signed times": "--response response",
    "a range in milliseconds": "--rt-range 200 3000",
    "three conditions": "--conditions cue",
}


@pytest.mark.parametrize("case", ASKED)
def test_advice_of_the_terminal_works_when_pasted(case, tmp_path, capsys):
    path = write(tmp_path, ASKED[case][0])
    arguments = [OPTIONS.get(case, "")]
    while main(["read", str(path), *shlex.split(" ".join(arguments))]):
        assert len(arguments) < 4
        message = capsys.readouterr().err
        words = "columns|unit|decimal|coding|conditions|missing|rt_range"
        assert not re.search(rf"\b({words})\s?=", message)
        arguments.append(pieces(message)[0])
    assert len(arguments) > 1
    printed = capsys.readouterr().out
    frame = pd.DataFrame({"subject": IDS, "rt": RT, "response": UPPER})
    if case == "ids that start again":
        assert "4 subjects, 16 trials (4 each)" in printed
    elif case == "three conditions":
        assert "2 subjects, 4 trials (2 each)" in printed
    else:
        frame = frame.assign(subject=1) if case.startswith("one person") else frame
        frame["rt"] += case == "thousands or decimals"
        table = read_trials(frame).table.describe().loc[["mean", "min", "max"]]
        assert table.round(3).to_string() in printed


def test_thousands_may_be_meant(tmp_path):
    path = write(tmp_path, text(row='{},"{}",{}', rt=[comma(x + 1) for x in RT]))
    trials = read_trials(path, decimal=".", unit="ms")
    np.testing.assert_allclose(trials.frame["rt"], RT + 1, rtol=1e-6)


def test_both_marks_in_a_number_and_words_beside_them():
    got = read_trials(rows(rt=["1.234,5", "999,0", "timeout", "987"]), decimal=",",
                      missing=(999, "timeout"), unit="ms")  # fmt: skip
    np.testing.assert_allclose(got.frame["rt"], [1.2345, 0.987], rtol=1e-6)


@pytest.mark.parametrize(
    ("markers", "unit", "named"),
    [
        ([999, 999, 9999], "s", (999, 9999)),
        ([9999], "ms", (9999,)),
        ([8000, 8000], "ms", (8000,)),
        ([31.5], "s", (31.5,)),
    ],
)
def test_times_far_above_the_rest_get_a_note_that_names_them(markers, unit, named):
    rt = np.concatenate([RT if unit == "s" else 1000 * RT, markers])
    frame = pd.DataFrame({"subject": 1, "rt": rt, "response": np.arange(len(rt)) % 2})
    (note,) = read_trials(frame, unit=unit).notes
    (piece,) = pieces(note)
    assert pasted(piece) == {"missing": named}
    trials = read_trials(frame, unit=unit, missing=named)
    np.testing.assert_allclose(trials.frame["rt"], RT, rtol=1e-6)
    assert not any("far above" in note for note in trials.notes)


def at_a_deadline(count):
    return [*np.minimum(RT, 0.9), *[1.25] * count]


def test_times_exactly_at_a_deadline_get_a_note():
    rt = at_a_deadline(6)
    frame = pd.DataFrame({"subject": 1, "rt": rt, "response": np.arange(len(rt)) % 2})
    (note,) = read_trials(frame).notes
    assert note.startswith("6 times are exactly the longest (1.25)")
    (piece,) = pieces(note)
    trials = read_trials(frame, **pasted(piece))
    assert len(trials.frame) == len(rt) - 6 and "deadline" not in str(trials.notes)
    assert not read_trials(frame[:-2]).notes  # four may well be chance


def test_slow_responses_alone_get_no_note():
    rt = [*RT, 2.2, 3.0, 3.0, 4.137, 0.999]
    frame = pd.DataFrame({"subject": 1, "rt": rt, "response": np.arange(len(rt)) % 2})
    assert not read_trials(frame).notes
    assert not read_trials(frame.assign(rt=1000 * frame["rt"]), unit="ms").notes


def test_ids_that_stand_in_blocks(tmp_path):
    path = write(tmp_path, GROUPS)
    same = read_trials(path, columns={"subject": "subject"})
    assert same.n_trials.tolist() == [8, 8] and "separate blocks" in same.notes[0]
    alone = pd.read_csv(path)[["subject", "rt", "response"]]
    assert "separate blocks" in read_trials(alone).notes[0]
    by_trial = alone.assign(trial=np.tile(range(4), 4)).sort_values("trial", kind="stable")
    assert not any("separate" in note for note in read_trials(by_trial).notes)


def test_a_letter_in_the_code_page_of_windows_is_read_and_remarked(tmp_path):
    path = write(tmp_path, "subject,rt,response\nJürgen,0.5,1\n", encoding="cp1252")
    trials = read_trials(path)
    assert trials.subjects == ("Jürgen",) and "cp1252" in trials.notes[0]


def test_ids_of_several_columns_need_all_of_them():
    frame = rows(group=["a", None, "a", "b"])
    trials = read_trials(frame, columns={"subject": ["group", "subj_idx"]})
    assert trials.subjects == ("a/1", "a/2", "b/2")
    assert trials.report.loc["no subject", "trials"] == 1


def test_numbers_of_every_kind_are_taken():
    frame = rows(rt=np.array([0.5, 0.625, 0.75, 0.875], dtype="float16"))
    frame["response"] = frame["response"].astype("float16")
    frame["subj_idx"] = frame["subj_idx"].astype("float16")
    trials = read_trials(frame, min_trials=np.int64(2), rt_range=np.array([0.1, 3]))
    np.testing.assert_array_equal(trials.frame["rt"], [0.5, 0.625, 0.75, 0.875])
    assert trials.subjects == (1, 2)


def test_one_of_a_thing_is_not_called_several():
    shown = repr(read_trials(rows(subj_idx=[1, 1, 1, 1])))
    assert "1 subject, 4 trials (4 each)" in shown
    assert not re.search(r"\b1 (subjects|trials|times|values)", shown)


# --------------------------------------------------------------------------------------------------
# Two conditions
# --------------------------------------------------------------------------------------------------


def cued(cue, **columns):
    return rows(cue=cue, **columns)


@pytest.mark.parametrize(
    ("cue", "labels"),
    [
        (["slow", "fast", "slow", "fast"], ("fast", "slow")),
        ([2, 10, 2, 10], ("2", "10")),
        (["2", "10", "2", "10"], ("2", "10")),
        ([2.0, 10.0, 2.0, 10.0], ("2", "10")),
        ([False, True, False, True], ("False", "True")),
        (["FALSE", "TRUE", "FALSE", "TRUE"], ("FALSE", "TRUE")),
    ],
)
def test_conditions_are_coded_in_order_and_named(cue, labels):
    trials = read_trials(cued(cue), conditions="cue")
    assert trials.columns == ("choice", "rt", "condition") and trials.conditions == labels
    high = [str(x).removesuffix(".0") == labels[1] for x in cue]
    np.testing.assert_array_equal(trials.trials[..., 2].ravel() > 0, high)
    np.testing.assert_array_equal(trials.frame["condition"] == labels[1], high)
    assert f"{labels[0]!r} -1/2, {labels[1]!r} +1/2" in trials.source
    (piece,) = pieces(trials.notes[0])
    turned = read_trials(cued(cue), **pasted(piece))
    assert turned.conditions == labels[::-1] and not turned.notes
    np.testing.assert_array_equal(turned.trials[..., 2], -trials.trials[..., 2])


def test_the_two_that_are_named_are_kept_and_the_rest_counted():
    frame = cued(["a", "b", "c", None, "b", "a"], subj_idx=[1, 1, 1, 2, 2, 2],
                 rt=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0], response=1)  # fmt: skip
    trials = read_trials(frame, conditions={"cue": ("b", "a")})
    assert trials.report["trials"].to_dict() == {
        "kept": 4, "other condition": 1, "no condition": 1,
    }  # fmt: skip
    np.testing.assert_array_equal(trials.trials[..., 2], [[0.5, -0.5], [-0.5, 0.5]])
    np.testing.assert_allclose(trials.frame["rt"], [0.5, 0.6, 0.9, 1.0], rtol=1e-6)
    # What was left out by name is no trial that got lost.
    asked = read_trials(cued(["a", "b", "c", "c"], subj_idx=1), conditions={"cue": ("b", "a")})
    assert asked.report["trials"].to_dict() == {"kept": 2, "other condition": 2}
    assert not any("dropped" in note for note in asked.notes)


@pytest.mark.parametrize(
    ("cue", "conditions", "words"),
    [
        ([1, 2, 3, 4], "cue", ["`conditions={'cue': (1, 2)}`", "1, 2, 3, 4"]),
        (["a"] * 4, "cue", ["the values 'a'", "without conditions="]),
        (["a", "A"] * 2, "cue", ["the values 'a', 'A'", "without conditions="]),
        ([None] * 4, "cue", ["no values"]),
        (["a", "b"] * 2, "queue", ["no condition column", "'queue'", "'cue'"]),
        (["a", "b"] * 2, {"cue": ("a", "z")}, ["nobody did 'z'"]),
        (["a", "b"] * 2, {"cue": ("a", "a")}, ["conditions must be"]),
        (["a", "b"] * 2, {"cue": "ab"}, ["conditions must be"]),
        (["a", "b"] * 2, {"cue": ("a", "b", "c")}, ["conditions must be"]),
        (["a", "b"] * 2, {}, ["conditions must be"]),
        (["a", "b"] * 2, ["cue"], ["conditions must be"]),
        (["a", "b"] * 2, "response", ["already"]),
        (["a", "b"] * 2, "subj_idx", ["already"]),
        (["a", "a", "a", "b"], "cue", ["no usable trial is left", "{'no response': 1}"]),
    ],
)
def test_conditions_that_are_not_two_are_asked_for(cue, conditions, words):
    response = [0, 1, 1, None if "left" in words[0] else 0]
    with pytest.raises(ValueError) as question:
        read_trials(cued(cue, response=response), conditions=conditions)
    assert all(word in str(question.value) for word in words), question.value


@pytest.mark.parametrize(
    ("conditions", "labels"),
    [("cue", ("High load", "low")), ({"cue": ("HIGH LOAD", "low ")}, ("HIGH LOAD", "low"))],
)
def test_capitals_and_spaces_make_no_other_condition(conditions, labels):
    cue = ["High  load", "high load ", "low", "Low"]
    trials = read_trials(cued(cue, subj_idx=1), conditions=conditions)
    assert trials.conditions == labels
    np.testing.assert_array_equal(trials.trials[0, :, 2], [-0.5, -0.5, 0.5, 0.5])
    merged = [note for note in trials.notes if "taken for one condition" in note]
    assert len(merged) == 2 and "'low', 'Low'" in merged[1]


def test_words_for_missing_are_no_condition_and_nobody_but_numbers_may_be():
    frame = cued(["a", "b", "?", "b", "a", "b"], subj_idx=[2, 2, 2, 3, 3, "?"],
                 rt=[0.5, 0.6, 0.7, 0.8, 3.0, 0.9], response=1)  # fmt: skip
    trials = read_trials(frame, conditions="cue", missing=("?", 3))
    assert trials.subjects == (2, 3) and trials.conditions == ("a", "b")
    assert trials.report["trials"].to_dict() == {
        "kept": 3, "no response time": 1, "no condition": 1, "no subject": 1,
    }  # fmt: skip
    frame["cue"] = [2, 3, 3, 2, 3, 2]
    assert read_trials(frame, conditions="cue", missing=("?", 3)).conditions == ("2", "3")


def test_people_of_one_condition_are_remarked():
    told = {"cue": ("a", "b")}
    (note,) = read_trials(cued(["a", "b", "b", "b"]), conditions=told).notes
    assert "1 subject (2) did one condition only" in note
    others = read_trials(cued(["a", "a", "b", "b"]), conditions=told)
    assert "nobody did both" in others.notes[0]
    assert others.under("a").subjects == (1,) and others.under("b").subjects == (2,)


# --------------------------------------------------------------------------------------------------
# The example of the book
# --------------------------------------------------------------------------------------------------


def test_the_example_is_what_makes_it_again():
    made = example_data(ExampleSettings(), el.EAM)
    assert made.to_csv(index=False, lineterminator="\n") == EXAMPLE.read_text(encoding="utf-8")
    card = json.loads(EXAMPLE.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["group"] == ExampleSettings().group


def test_the_example_has_blemishes_and_can_be_read():
    with pytest.raises(ValueError, match="unit='ms'"):
        read_trials(EXAMPLE)
    everybody = read_trials(EXAMPLE, unit="ms")
    assert len(everybody) == ExampleSettings().n_subjects
    trials = read_trials(EXAMPLE, unit="ms", min_trials=10)
    assert len(set(trials.n_trials)) > 5 and not trials.notes
    assert {"no response", "no response time", "response time not positive"} < set(
        trials.report.index
    )
    assert trials.report["trials"].sum() == len(pd.read_csv(EXAMPLE))
