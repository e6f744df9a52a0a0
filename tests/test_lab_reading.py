"""The lab page reads a file as `read_trials` does: same trials, same counts, same words."""

import base64
import re

import numpy as np
import pandas as pd
import pytest
import test_reading as known
from page_scripts import in_page, needs_node

import eamlab as el
from eamlab.reading import read_trials

READ = """
const { read, written, ELSE } = eamlab.reading;
const keys = (node) => node === "..." ? ELSE
  : node && node.pairs ? node.pairs.map((pair) => pair.map(keys)) : node;
return inputs.map(({ bytes, name, options }) => {
  const given = Object.fromEntries(Object.entries(options).map(([k, v]) => [k, keys(v)]));
  try {
    const { subjects, trials, codes, labels, report, notes, source } =
      all(read(Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)), name, given));
    return { subjects, trials, codes, labels, report: report.map(Object.values), source,
      notes: notes.map(({ text }) => text) };
  } catch (error) {
    if (!error.answers) throw error;
    return { error: error.message, offers: error.answers.map(written) };
  }
})"""
pytestmark = needs_node


def in_browser(inputs):
    """What the page makes of (bytes, name, options), each."""
    given = [
        {"bytes": base64.b64encode(content).decode(), "name": name, "options": as_json(options)}
        for content, name, options in inputs
    ]
    return in_page(READ, given)


def as_json(options):
    """Options as the page takes them."""
    out = dict(options)
    if "coding" in out:
        pairs = [["..." if k is ... else k, v] for k, v in out["coding"].items()]
        out["coding"] = {"pairs": pairs}
    if "missing" in out:
        missing = out["missing"]
        out["missing"] = list(missing) if isinstance(missing, tuple) else [missing]
    if "rt_range" in out:
        out["rt_range"] = list(out["rt_range"])
    return out


def in_python(path, options):
    try:
        study = read_trials(path, **options)
    except ValueError as error:
        return {"error": str(error)}
    report = study.report.reset_index()
    conditions = "condition" in study.columns
    return {
        "subjects": list(study.subjects),
        "trials": [trials[:, :2].ravel().tolist() for trials in study.by_subject],
        "codes": [trials[:, 2].tolist() for trials in study.by_subject] if conditions else None,
        "labels": list(study.conditions) if conditions else None,
        "report": report.to_numpy().tolist(),
        "notes": list(study.notes),
        "source": study.source,
    }


def as_bytes(content):
    return content if isinstance(content, bytes) else content.encode()


def parameters_of(test):
    """The cases of a parametrized test, the last mark's."""
    return test.pytestmark[-1].args[1]


def cases():
    for content in parameters_of(known.test_what_can_be_read_in_one_way_is_read):
        yield as_bytes(content), {}
    for content, _ in parameters_of(known.test_files_that_are_no_tables_of_trials_are_refused):
        yield as_bytes(content), {}
    for content, options in known.ASKED.values():
        yield as_bytes(content), options
    yield known.BLEMISHED.encode(), {}
    yield known.BLEMISHED.encode(), {"rt_range": (0.2, 0.6), "min_trials": 1}
    yield known.EXAMPLE.read_bytes(), {}
    yield known.EXAMPLE.read_bytes(), {"unit": "ms"}
    yield known.EXAMPLE.read_bytes(), {"unit": "ms", "min_trials": 10, "rt_range": (0.2, 1.5)}
    yield known.GROUPS.encode(), {"columns": {"subject": "subject"}}
    yield known.GROUPS.encode(), {"columns": {"subject": ["group", "subject"]}}
    yield "subject,rt,response\nJürgen,0.5,1\n".encode("cp1252"), {}
    content = b"subject,rt,choice\n1,0.5,1\n1,timeout,-9\n1,999,0\n1,0.7,0\n"
    yield content, {"missing": ("timeout", 999, -9)}
    for coded, _ in parameters_of(known.test_a_note_says_that_responses_are_not_who_was_right):
        yield known.accuracies(coded).to_csv(index=False).encode(), {}
    yield known.partly_by_key().to_csv(index=False).encode(), {}
    yield from frames()
    yield from markers()
    yield from conditions()


def frames():
    """Those tables of the reader's tests that a file can hold, with options that a page has."""
    test = known.test_what_cannot_be_right_is_refused_with_a_remedy
    for frame, options, _ in parameters_of(test):
        if isinstance(frame, pd.DataFrame) and {*options} <= {"unit", "coding"}:
            codes = options.get("coding", {})
            said = isinstance(codes, dict) and {*codes.values()} <= {0, 1, None}
            if said and len({*map(str, codes)}) == len(codes) and options.get("unit") != "minutes":
                yield frame.to_csv(index=False).encode(), options
    yield known.rows().to_csv(index=False).encode(), {"columns": {"rt": "latency"}}


def conditions():
    for cue, _ in parameters_of(known.test_conditions_are_coded_in_order_and_named):
        yield known.cued(cue).to_csv(index=False).encode(), {"conditions": "cue"}
    cases = parameters_of(known.test_conditions_that_are_not_two_are_asked_for)
    for cue, told, words in cases:
        if words != ["conditions must be"]:
            response = [0, 1, 1, None if "left" in words[0] else 0]
            frame = known.cued(cue, response=response)
            yield frame.to_csv(index=False).encode(), {"conditions": told}
    spelt = known.cued(["High  load", "high load ", "low", "Low"], subj_idx=1)
    for told, _ in parameters_of(known.test_capitals_and_spaces_make_no_other_condition):
        yield spelt.to_csv(index=False).encode(), {"conditions": told}
    missing = known.cued(["a", "b", "?", "b"], subj_idx=[2, 2, 3, "?"], response=1)
    yield missing.to_csv(index=False).encode(), {"conditions": "cue", "missing": ("?", 3)}
    told = {"conditions": {"cue": ("b", "a")}}
    for cue in ("abbb", "aabb", "abc,", "bab,"):
        frame = known.cued([x.strip(",") for x in cue])
        yield frame.to_csv(index=False).encode(), told


def markers():
    for rt, _ in parameters_of(
        known.test_a_marker_of_missed_responses_is_not_taken_for_signed_times
    ):
        frame = pd.DataFrame({"subject": 1, "rt": rt, "correct": [x > 0 for x in rt]})
        options = {"columns": {"response": "correct"}, "unit": "ms" if max(rt) > 20 else "s"}
        yield frame.to_csv(index=False).encode(), options
    for values, unit, _ in parameters_of(
        known.test_times_far_above_the_rest_get_a_note_that_names_them
    ):
        rt = np.concatenate([known.RT if unit == "s" else 1000 * known.RT, values])
        frame = pd.DataFrame({"subject": 1, "rt": rt, "response": np.arange(len(rt)) % 2})
        yield frame.to_csv(index=False).encode(), {"unit": unit}
    for count in (4, 6):
        rt = known.at_a_deadline(count)
        frame = pd.DataFrame({"subject": 1, "rt": rt, "response": np.arange(len(rt)) % 2})
        yield frame.to_csv(index=False).encode(), {}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """(input, the page's, Python's) of every case."""
    folder = tmp_path_factory.mktemp("files")
    path = folder / "x.csv"
    given = [(content, path.name, options) for content, options in cases()]
    theirs = []
    for content, _, options in given:
        path.write_bytes(content)
        theirs.append(in_python(path, options))
    return list(zip(given, in_browser(given), theirs, strict=True))


def test_the_page_reads_what_python_reads(answers):
    read = [(given, page, python) for given, page, python in answers if "error" not in python]
    assert len(read) > 30
    for given, page, python in read:
        assert page == python, given


def test_the_page_asks_what_python_asks_in_its_words(answers):
    asked = [(given, page, python) for given, page, python in answers if "error" in python]
    assert len(asked) > 50
    for given, page, python in asked:
        assert page.get("error") == python["error"], given


def test_what_a_question_offers_is_what_it_says(answers):
    for given, page, _ in answers:
        for piece in known.pieces(page.get("error", "")):
            offered = [known.pasted(offer) for offer in page["offers"] if "your name" not in offer]
            assert known.pasted(piece) in offered, given


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"%PDF-1.7\n1 0 obj", "paper.csv", "not a text file"),
        (b"x", "paper.pdf", "not a text file"),
        (b"PK\x03\x04....", "table", "not a text file"),
        (b"x", "table.xlsx", "not a text file"),
        (b"subject,rt,response\n" + b"1,0.5,1\n" * 2_625_000, "big.csv", "21 MB.*20 MB"),
        (b"subject,trial,response\n1,1,1\n", "x.csv", "no rt column"),
    ],
)
def test_other_files_are_refused_in_a_sentence(content, name, message):
    (found,) = in_browser([(content, name, {})])
    assert re.search(message, found["error"]) and "\n" not in found["error"]


def test_a_study_of_many_people_comes_back_exactly(tmp_path):
    study = el.simulate(el.EAM, 300, n_trials=40, seed=2)
    study.frame.to_csv(tmp_path / "x.csv", index=False)
    (found,) = in_browser([((tmp_path / "x.csv").read_bytes(), "x.csv", {})])
    assert found["subjects"] == list(range(300))
    assert found["trials"] == [trials.ravel().tolist() for trials in study.by_subject]
    assert found["report"] == [["kept", 300 * 40, 300, ""]]
