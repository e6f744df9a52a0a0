"""What the lab page computes: tables and Python as the library's, players, a class's sum."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from page_scripts import in_page, needs_node

import eamlab as el
from eamlab_book.results.registry import RESULTS
from eamlab_book.results.workshop import ROOT, Workshop
from eamlab_book.widgets.lab import lab_scripts
from eamlab_book.widgets.widget import script_folder

pytestmark = needs_node
MODEL = el.EAM
NAMES = MODEL.prior.names
DIM = len(NAMES)
PARTS = (
    "playground.js",
    *(f"lab/{n}.js" for n in ("reading", "check", "analysis", "stored", "answers")),
)
BOTH = ("global", "local")


def lab(code, inputs=None, networks=BOTH):
    return in_page(code, inputs, PARTS, networks)


def people_of(study):
    return [trials.ravel().tolist() for trials in study.by_subject]


# --- what the page loads --------------------------------------------------------------------------


def test_the_lab_page_loads_little_before_a_model_is_chosen():
    vendored = ROOT / "book" / "static"
    files = [
        (vendored if name.startswith("vendor/") else script_folder()) / name
        for name in lab_scripts()
    ]
    assert sum(file.stat().st_size for file in files) < 0.3e6


def test_the_explorer_loads_little():
    names = ("engine", "worker", "global.weights", "demo.trials")
    files = [script_folder() / "engine" / f"{name}.js" for name in names]
    assert sum(file.stat().st_size for file in files) < 1.4e6


def test_the_stored_example_is_todays():
    (result,) = [result for result in RESULTS if result.name == "stored"]
    result.check(Workshop(), result)


def test_models_are_the_networks_that_are_shipped_laboratory_first():
    code = "return eamlab.lab.models.map((m) => [m.networks, m.fingerprint, m.conditions])"
    assert lab(code, networks=()) == [
        [["laboratory", "laboratory-local"], el.LABORATORY.fingerprint, None],
        [["global", "local"], el.EAM.fingerprint, None],
        [["two-conditions", "two-conditions-local"], el.TWO_CONDITIONS.fingerprint, [-0.5, 0.5]],
    ]


# --- tables and Python ----------------------------------------------------------------------------


def test_tables_are_those_that_draws_write(tmp_path):
    rng = np.random.default_rng(1)
    study = el.simulate(MODEL, 4, n_trials=12, seed=1)
    study = el.Study([t[: 5 + j] for j, t in enumerate(study.by_subject)], ["b", "a,x", "c", 'd"'])
    values = {k: v[:, 0] for k, v in MODEL.prior.sample(30, rng).items()}
    people = {k: rng.normal(1.0, 0.2, (30, 4)) for k in MODEL.person_names}
    draws = el.Draws(values | people, model=MODEL, subjects=study.subjects)
    code = """
      const model = await eamlab.lab.ready(eamlab.lab.models.find(({ name }) => name === "global"));
      return eamlab.lab.tables(model, inputs.study, inputs.values, inputs.people)"""
    inputs = {"study": {"subjects": study.subjects, "trials": people_of(study)}}
    inputs |= {"values": {k: v.tolist() for k, v in values.items()}}
    inputs |= {"people": {k: v.ravel().tolist() for k, v in people.items()}}
    found = lab(code, inputs)
    written = draws.write(tmp_path, study)
    assert {f"{name}.csv" for name in written} == set(found)
    for name, path in written.items():
        page = pd.read_csv(io.StringIO(found[f"{name}.csv"]))
        pd.testing.assert_frame_equal(page, pd.read_csv(path), rtol=1e-12)


OPTIONS = {"unit": "ms", "rt_range": [0.2, 1.5], "min_trials": 20}


def snippet(name, options):
    code = """
      const model = await eamlab.lab.ready(eamlab.lab.models.find(({ name }) => name === "global"));
      return eamlab.lab.snippet(model, inputs)"""
    return lab(code, {"name": name, "options": options})


def test_the_python_says_the_answers_that_were_given():
    text = snippet("it's mine.csv", OPTIONS | {"missing": [], "coding": [["f", 0], ["j", 1]]})
    read = (
        "study = el.read_trials(\"it's mine.csv\", unit='ms', rt_range=(0.2, 1.5), min_trials=20, "
    )
    assert read + "coding={'f': 0, 'j': 1})" in text
    assert "study, num_samples=200, seed=1)" in text  # as the page draws
    compile(text, "analysis.py", "exec")


ANALYSIS = """
const bytes = new TextEncoder().encode(inputs.text);
const study = all(eamlab.reading.read(bytes, "x.csv", inputs.options));
const model = await eamlab.lab.ready(eamlab.lab.models.find(({ name }) => name === "global"));
const { values } = all(eamlab.lab.population(model, study.trials, { draws: 400 }));
const own = all(eamlab.lab.people(model, values, study.trials));
return [study.subjects, values, own]"""


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute of one core's time
def test_the_python_repeats_the_pages_analysis(tmp_path, monkeypatch):
    example = (ROOT / "book" / "data" / "example_trials.csv").read_text(encoding="utf-8")
    (tmp_path / "x.csv").write_text(example, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    ran: dict = {}
    exec(snippet("x.csv", OPTIONS).replace("num_samples=200", "num_samples=400"), ran)
    draws = ran["draws"]
    subjects, values, own = lab(ANALYSIS, {"text": example, "options": OPTIONS})
    assert tuple(subjects) == draws.subjects
    for k in NAMES:  # 7 comparisons of two right samplers: one fails with probability 1e-4
        gap = np.mean(values[k]) - draws.mean[k]
        assert abs(gap) < 4.5 * draws.sd[k] * np.sqrt(2 / 400), k
    for k, theirs in draws.mean.items():
        if np.ndim(theirs):
            ours = np.reshape(own[k], (400, -1)).mean(axis=0)
            assert np.abs((ours - theirs) / draws.sd[k]).max() < 0.5
    assert (tmp_path / "results" / "subject_summary.csv").exists()


def test_conditions_go_to_the_networks_that_know_them_and_into_the_python():
    code = """
      const study = all(eamlab.reading.read(new TextEncoder().encode(inputs.text), "x.csv",
        { conditions: { cue: ["slow", "fast"] } }));
      const model = await eamlab.lab.ready(eamlab.lab.models.find(({ name }) => name === "global"));
      const two = { ...model, conditions: [-0.5, 0.5] };
      let refused;
      try { eamlab.lab.trialsOf(two, { trials: study.trials, codes: null }); }
      catch (error) { refused = error.message; }
      return [model, two].map((one) => eamlab.lab.trialsOf(one, study))
        .concat(eamlab.lab.snippet(two, study), refused)"""
    text = "subject,rt,response,cue\n1,0.5,1,fast\n2,0.25,0,slow\n1,0.75,0,slow\n"
    plain, coded, python, refused = lab(code, {"text": text})
    assert plain == [[1, 0.5, 0, 0.75], [0, 0.25]]
    assert coded == [[1, 0.5, 0.5, 0, 0.75, -0.5], [0, 0.25, -0.5]]
    assert "el.read_trials('x.csv', conditions={'cue': ('slow', 'fast')})" in python
    assert "trials of two conditions" in refused


# --- be subject 10,001 ----------------------------------------------------------------------------

PLAYERS = """
const model = await eamlab.lab.ready(eamlab.lab.models.find(({ name }) => name === "global"));
return inputs.map((trials, i) => {
  const { after } = all(eamlab.lab.person(model, trials, { draws: 100, seed: i }));
  return Object.values(after).map((draws) => {
    const { q05, q95 } = eamlab.lab.summary(draws);
    return [q05, q95];
  });
})"""


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute of one core's time
def test_intervals_of_simulated_players_hold_the_truth():
    data = MODEL.sample(120, 1, 40, seed=77)
    players = [trials[0].ravel().tolist() for trials in data["sim_data"]]
    intervals = np.array(lab(PLAYERS, players))
    for k, name in enumerate(MODEL.person_names):
        low, high = intervals[:, k].T
        truth = data[name][:, 0]
        assert 0.85 <= np.mean((low <= truth) & (truth <= high)) <= 0.95, name


def test_a_player_of_a_known_population_borrows_its_strength():
    code = """
      const model = await eamlab.lab.ready(eamlab.lab.models.find(({ name }) => name === "global"));
      const alone = all(eamlab.lab.person(model, inputs.trials, { draws: 100 }));
      const others = inputs.others;
      const known = all(eamlab.lab.person(model, inputs.trials, { draws: 100, others }));
      const sds = ({ before, after }) => [before, after].map((draws) =>
        Object.values(draws).map((one) => eamlab.lab.summary(one).sd));
      return [sds(alone), sds(known)]"""
    rng = np.random.default_rng(0)
    population = {k: MODEL.prior[k].mean + 0.01 * rng.standard_normal(100) for k in NAMES}
    inputs = {"trials": people_of(el.simulate(MODEL, 1, 40, seed=3))[0]}
    inputs |= {"others": {k: v.tolist() for k, v in population.items()}}
    (before, after), (known, narrow) = lab(code, inputs)
    assert np.all(np.array(after) < before) and np.all(np.array(narrow) < known)
    assert np.all(np.array(known) < before) and np.all(np.array(narrow) < after)


# --- compose the class ----------------------------------------------------------------------------

MODEL_OF = 'const of = { fingerprint: "925a", dim: 3, label: "EAM" };'


def test_answers_add_up_and_come_out_again():
    rng = np.random.default_rng(2)
    groups = [
        rng.multivariate_normal([0.5, -1, 2], np.diag([0.2, 0.5, 0.1]), 400) for _ in range(4)
    ]
    code = (
        MODEL_OF
        + """
      const { answer, toText, fromText, total } = eamlab.answers;
      const texts = inputs.map((z, i) => toText(answer(z, 3, i + 5), of.fingerprint));
      const read = texts.map((text) => fromText(text.replace(".", ".\\n "), of));
      return [texts[0].length, total(read, 3), total(read.slice(1), 3)]"""
    )
    length, whole, rest = lab(code, [z.ravel().tolist() for z in groups], ())
    assert length < 80  # 9 numbers, 36 letters
    eye = np.eye(3)
    for found, some in ((whole, groups), (rest, groups[1:])):
        precisions = [np.linalg.inv(np.cov(z.T)) * (len(z) - 5) / (len(z) - 1) for z in some]
        precision = eye + sum(p - eye for p in precisions)
        pull = sum(p @ z.mean(axis=0) for p, z in zip(precisions, some, strict=True))
        np.testing.assert_allclose(found["mean"], np.linalg.solve(precision, pull), rtol=1e-3)
        sds = np.sqrt(np.diag(np.linalg.inv(precision)))
        np.testing.assert_allclose(found["sd"], sds, rtol=1e-3)
    assert (whole["count"], rest["count"]) == (5 + 6 + 7 + 8, 6 + 7 + 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("text.slice(0, -4)", "cut off or has a letter wrong"),
        ("text.slice(0, 30)", "cut off or has a letter wrong"),
        ("text.slice(4)", "no answer of a group"),
        ("'http://example.org'", "no answer of a group"),
        ("text.replace(/\\.7\\./, '.8.')", "cut off or has a letter wrong"),
        ("toText(one, '77aa')", "of another model .77aa.; here is EAM .925a."),
        ("toText({ count: 7, precision: [1], pull: [1] }, '925a')", "the 9 numbers"),
        ("toText({ ...one, pull: [NaN, 1, 2] }, '925a')", "not finite"),
    ],
)
def test_answers_that_are_cut_off_or_of_another_model_are_refused(change, message):
    code = (
        MODEL_OF
        + f"""
      const {{ toText, fromText }} = eamlab.answers;
      const one = {{ count: 7, precision: [2, 0, 0, 0, 2, 0, 0, 0, 2], pull: [1, 2, 3] }};
      const text = toText(one, "925a");
      try {{ return fromText({change}, of); }} catch (error) {{ return error.message; }}"""
    )
    found = lab(code, networks=())
    assert isinstance(found, str) and re.search(message, found), found


CLASS = """
const model = await eamlab.lab.ready(eamlab.lab.models.find(({ name }) => name === "global"));
const { population, CLASS_DRAWS } = eamlab.lab;
const { answer, total, toText, fromText } = eamlab.answers;
const draw = (people, seed) => all(population(model, people, { draws: CLASS_DRAWS, seed })).z;
const of = { ...model, dim: 7 };
const answers = inputs.groups.map((people, g) =>
  fromText(toText(answer(draw(people, g + 2), 7, people.length), of.fingerprint), of));
return [draw(inputs.groups.flat(), 1), total(answers, 7)]"""


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute of one core's time
def test_the_sum_of_a_class_is_nearly_the_posterior_of_all():
    study = el.simulate(MODEL, 60, n_trials=40, seed=2)
    people = people_of(study)
    groups = [people[i : i + 5] for i in range(0, 60, 5)]
    whole, found = lab(CLASS, {"groups": groups}, ("global", "local"))
    z = np.reshape(whole, (-1, DIM))
    bias = (np.array(found["mean"]) - z.mean(axis=0)) / z.std(axis=0)
    ratio = np.array(found["sd"]) / z.std(axis=0)
    assert np.abs(bias).max() < 1.6 and np.abs(np.log(ratio)).max() < np.log(2.2)
    assert found["count"] == 60
