"""The networks in a page's JavaScript draw what the library draws, from the same noise."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from eamlab.backend import keras

import numpy as np
import pytest
from keras import ops

import eamlab as el
from eamlab.composition import gaussian, summed
from eamlab.composition.groups import auto_group_sizes, split_subjects, summarize_groups
from eamlab.composition.posterior import SINGLE_STEPS
from eamlab_book.network_file import engine_scripts, network_script, script_path, study_script
from eamlab_book.widgets.widget import script_folder

KINDS = ("global", "local")
BATCH = 32  # draws that the page makes together
AS_FLOAT32 = 1e-4  # prior sds
RUN = """
const vm = require("vm");
require("readline").createInterface({ input: process.stdin }).on("line", async (line) => {
  const { scripts, code, inputs } = JSON.parse(line);
  for (const script of scripts) vm.runInThisContext(script);
  console.log(await vm.runInThisContext(`(${code})`)(inputs));
});
"""
WRAP = """async (inputs) => {{
  const engine = eamlab.engine;
  const global = inputs.global && engine.load(eamlab.networks.global);
  const local = inputs.local && engine.load(eamlab.networks.local);
  const given = ({{ normal, uniform }}) => {{
    let [i, j] = [0, 0];
    return {{ normal: () => normal[i++], uniform: () => uniform[j++] }};
  }};
  const found = await (async () => {{ {body} }})();
  return JSON.stringify(found, (_, v) => (ArrayBuffer.isView(v) ? Array.from(v) : v));
}}"""


def shipped(*names: str) -> dict[str, Any]:
    return {kind: el.load_pretrained(name) for kind, name in zip(KINDS, names, strict=True)}


PAIRS: dict[str, Callable] = {
    "EAM": lambda: shipped(*KINDS),
    "laboratory": lambda: shipped("laboratory", "laboratory-local"),
    "two-conditions": lambda: shipped("two-conditions", "two-conditions-local"),
}


# Two conditions' networks have all that is particular to the laboratory's.
MODELS = ["EAM", pytest.param("laboratory", marks=pytest.mark.slow), "two-conditions"]


@pytest.fixture(scope="module", params=MODELS)
def workflows(request):
    """The global and the local network of a model, under these names."""
    made = PAIRS[request.param]()
    for kind, workflow in made.items():
        workflow.model_card = workflow.model_card | {"name": kind}
    return made


@pytest.fixture
def model(workflows) -> el.Model:
    return workflows["global"].model


@pytest.fixture(scope="module")
def javascript(request, workflows) -> Iterator[Callable]:
    """``javascript("return ...", network="global", **inputs)``: what the code returns.

    In Node where there is one, else in Chromium. ``exact=False`` takes weights as they are shipped.
    """
    node, folder, loaded = shutil.which("node"), script_folder(), {}
    engine = [(folder / s).read_text(encoding="utf-8") for s in engine_scripts()]
    page = None if node else request.getfixturevalue("empty_page")

    def evaluate(body: str, *, network: str = "global", exact: bool = True, **inputs):
        scripts = [] if loaded else engine  # sent once, and so are weights until others follow
        if loaded.get(network) != exact:
            scripts = [*scripts, network_script(workflows[network], exact=exact)]
            loaded[network] = exact
        code, inputs = WRAP.format(body=body), as_lists(inputs | {network: True})
        if page:
            for text in scripts:
                page.evaluate(text)
            return json.loads(page.evaluate(code, inputs))
        work = json.dumps({"scripts": scripts, "code": code, "inputs": inputs})
        process.stdin.write(f"{work}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, "Node has ended; its error stands above"
        return json.loads(answer)

    if page:
        page.goto("about:blank")
        yield evaluate
    else:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        with subprocess.Popen([node, "-e", RUN], **pipes) as process:
            yield evaluate
            process.stdin.close()


@pytest.fixture(scope="module")
def empty_page():
    sync_api = pytest.importorskip("playwright.sync_api", reason="neither Node nor Playwright")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("neither Node nor Chromium")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        yield browser.new_page()
        browser.close()


def as_lists(value):
    if isinstance(value, dict):
        return {k: as_lists(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_lists(v) for v in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def people_of(study) -> list[np.ndarray]:
    """A study as the page takes it."""
    return [trials.astype("float32").ravel() for trials in study.by_subject]


def ragged(model, seed: int, n_subjects: int):
    """A study of people with 10 to 60 trials.

    The first always chose the same; the last did one condition only, if there are conditions.
    """
    full = el.simulate(model, n_subjects, n_trials=60, seed=seed)
    counts = np.random.default_rng(seed).integers(10, 61, n_subjects)
    trials = [t[:n].copy() for t, n in zip(full.trials, counts, strict=True)]
    trials[0][:, 0] = 1.0
    trials[-1][:, 2:] = -0.5
    return el.Study(trials, truth=full.truth)


def summaries_of(workflow, study, sizes) -> np.ndarray:
    return summarize_groups(workflow, split_subjects(study.trials, sizes))


# --- the file -------------------------------------------------------------------------------------


def content(text: str) -> dict:
    return json.loads(text[text.index("] = ") + 4 :].rstrip(";\n"))


SCRIPTS = sorted(p.name.split(".")[0] for p in script_path("").parent.glob("*.weights.js"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_shipped_scripts_are_those_of_the_shipped_weights(name):
    text, workflow = script_path(name).read_text(encoding="utf-8"), el.load_pretrained(name)
    assert text == network_script(workflow), "run make results"
    assert content(text)["sha256"] == workflow.model_card["sha256"]


def test_both_scripts_are_small(workflows):
    assert sum(len(network_script(w)) for w in workflows.values()) < 2e6


def test_a_network_of_another_kind_is_refused():
    workflow = el.global_workflow(el.EAM, summary="pooled")
    workflow.model_card = {"training": {"group_sizes": [5]}}
    with pytest.raises(ValueError, match="know the hierarchy"):
        network_script(workflow)


def test_a_study_is_written_to_a_thousandth_of_its_times():
    study = el.simulate(el.EAM, 20, n_trials=40, seed=2)
    stored = content(study_script("demo", study))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    number = np.array([letters.index(letter) for letter in stored["trials"]])
    code = 64 * number[::2] + number[1::2]
    choice, rt = study.trials.reshape(-1, 2).T
    np.testing.assert_array_equal(code >> 11, choice)
    times = np.exp(stored["low"] + stored["step"] * (code & 2047))
    np.testing.assert_allclose(times, rt, rtol=1.5e-3)
    with pytest.raises(ValueError, match=r"equally many trials a person, got \d+ to \d+"):
        study_script("demo", ragged(el.EAM, 1, 40))


# --- summaries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1,), (2, 2, 1), (70,), (7,) * 10, (200,)])
def test_summaries_of_groups(javascript, workflows, model, sizes):
    study = ragged(model, 3, sum(sizes))
    wanted = summaries_of(workflows["global"], study, sizes)
    found = javascript(
        "return engine.run(engine.summarize(global, inputs.people, inputs.sizes))",
        people=people_of(study),
        sizes=sizes,
    )
    # The library adds up what many people say in single precision, the page in double.
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=3e-5 + 1e-5 * max(sizes))


def test_people_are_read_once_for_groups_of_any_size(javascript, workflows, model):
    study = ragged(model, 3, 12)
    code = """
      const read = await engine.run(engine.embed(global, inputs.people));
      const pooled = (sizes) => engine.run(engine.pool(global, read, sizes));
      return Promise.all(inputs.sizes.map(pooled))"""
    sizes = [(12,), (5, 4, 3)]
    found = javascript(code, people=people_of(study), sizes=sizes)
    for summaries, chosen in zip(found, sizes, strict=True):
        wanted = summaries_of(workflows["global"], study, chosen)
        np.testing.assert_allclose(summaries, wanted, rtol=1e-4, atol=1.5e-4)


def test_summaries_of_people(javascript, workflows, model):
    study = ragged(model, 4, 9)
    wanted = workflows["local"].estimator.summarize({"sim_data": study.trials})
    found = javascript(
        "return engine.run(engine.summarizePeople(local, inputs.people))",
        network="local",
        people=people_of(study),
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=3e-5)


@pytest.mark.parametrize("count", [1, 5, 200, 201, 399, 1000])
def test_groups_are_as_large_as_the_librarys(javascript, workflows, count):
    trained = workflows["global"].model_card["training"]["group_sizes"]
    found = javascript("return engine.groupSizes(global, inputs.count)", count=count)
    assert tuple(found) == auto_group_sizes(count, trained)


@pytest.mark.parametrize("person", [[], [1, 0], [2, 0.5], [1, -0.5], [1, 0.5, 0], [1, None]])
def test_a_person_without_right_trials_is_refused(javascript, person):
    code = """
      try { return await engine.run(engine.summarize(global, [inputs.person])); }
      catch (error) { return error.message; }"""
    assert "Person 1 needs trials" in javascript(code, person=person)


# --- draws ----------------------------------------------------------------------------------------


def batches(noise: np.ndarray) -> np.ndarray:
    """Noise (events, draws, dim) in the order in which the page asks for it."""
    draws = noise.shape[1]
    return np.concatenate([noise[:, i : i + BATCH].ravel() for i in range(0, draws, BATCH)])


def same_noise(monkeypatch, noise):
    """Let Keras give this noise out, event by event."""
    events = iter(noise)
    monkeypatch.setattr(
        keras.random, "normal", lambda shape, **_: ops.convert_to_tensor(next(events))
    )


def gaussian_gap(javascript, workflow, monkeypatch, summaries, seed, **options) -> float:
    """Largest difference of the page's draws from the library's, in prior sds."""
    network, steps, draws = workflow.inference_network, 12, 40
    dim, rng = len(workflow.model.prior.names), np.random.default_rng(seed)
    noise = rng.standard_normal((2 * steps + 1, draws, dim), "float32")
    wanted = gaussian_draws(monkeypatch, network, summaries, noise, steps)
    inputs = {"summaries": summaries, "normal": batches(noise), "draws": draws, "steps": steps}
    return np.abs(
        np.reshape(javascript(GAUSSIAN, **inputs, **options), (draws, dim)) - wanted
    ).max()


def gaussian_draws(monkeypatch, network, summaries, noise, steps) -> np.ndarray:
    levels = np.linspace(*gaussian._LOG_SNR, steps).astype("float32")
    with monkeypatch.context() as patch:
        same_noise(patch, noise)
        patch.setattr(ops, "fori_loop", eager_loop)
        draw, _ = gaussian._sampler.__wrapped__(network, noise.shape[1])
        return np.asarray(draw.python_function(summaries, levels))


def eager_loop(start, stop, body, value):
    for i in range(int(start), int(stop)):
        value = body(i, value)
    return value


GAUSSIAN = """
const groups = await engine.run(engine.prepare(global, inputs.summaries));
const options = { draws: inputs.draws, steps: inputs.steps, random: given(inputs) };
return (await engine.run(engine.gaussianComposition(groups, options))).z"""


@pytest.mark.parametrize("sizes", [(23,), (20, 12, 5)])
def test_gaussian_composition(javascript, workflows, monkeypatch, sizes):
    workflow = workflows["global"]
    summaries = summaries_of(workflow, ragged(workflow.model, len(sizes), sum(sizes)), sizes)
    assert gaussian_gap(javascript, workflow, monkeypatch, summaries, 1) < AS_FLOAT32


def test_a_group_without_data_has_the_prior(javascript, workflows, model, monkeypatch):
    summaries = np.zeros_like(summaries_of(workflows["global"], ragged(model, 1, 1), (1,)))
    assert gaussian_gap(javascript, workflows["global"], monkeypatch, summaries, 1) < AS_FLOAT32


SUMMED = """
const groups = await engine.run(engine.prepare(global, inputs.summaries));
const options = { ...inputs.settings, draws: inputs.draws, random: given(inputs) };
return (await engine.run(engine.summedComposition(groups, options))).z"""
SETTINGS = [
    {"steps": 20, "miniBatch": 3, "d0": 0.3, "d1": 0.05},
    {"steps": 12, "miniBatch": 12, "d0": 1.0, "d1": 0.5},
]


def subsets_of(uniform: np.ndarray, n: int) -> np.ndarray:
    """Subsets (..., size) of range(n) by Floyd's algorithm."""
    size = uniform.shape[-1]
    out = np.empty(uniform.shape, dtype="int32")
    for i, j in enumerate(range(n - size, n)):
        new = (uniform[..., i] * (j + 1)).astype(int)
        taken = np.any(out[..., :i] == new[..., None], axis=-1)
        out[..., i] = np.where(taken, j, new)
    return out


def summed_draws(monkeypatch, workflow, summaries, noise, subsets, settings) -> np.ndarray:
    """The library's draws in prior z-scores; it asks for noise and subsets some steps at a time."""
    start, *rest = noise
    rest, left = iter(rest), iter(subsets)

    def some_noise(rng, shape):
        return start if len(shape) == 2 else np.stack([next(rest) for _ in range(shape[0])])

    def some_subsets(rng, n, size, shape):
        return np.stack([next(left) for _ in range(shape[0])])

    settings = {"mini_batch_size" if k == "miniBatch" else k: v for k, v in settings.items()}
    with monkeypatch.context() as patch:
        patch.setattr(summed, "_noise", some_noise)
        patch.setattr(summed, "_subsets", some_subsets)
        sampler = summed.LiveSampler(workflow, noise.shape[1])
        return workflow.model.prior.standardize(sampler.draw(summaries, seed=0, **settings).array)


def summed_gap(javascript, workflow, monkeypatch, summaries, seed, settings) -> float:
    draws, dim, rng = 40, len(workflow.model.prior.names), np.random.default_rng(seed)
    noise = rng.standard_normal((settings["steps"] + 1, draws, dim), dtype="float32")
    uniform = rng.random((settings["steps"], draws, settings["miniBatch"]))
    subsets = subsets_of(uniform, len(summaries))
    wanted = summed_draws(monkeypatch, workflow, summaries, noise, subsets, settings)
    inputs = {"summaries": summaries, "settings": settings, "draws": draws}
    inputs |= {"normal": batches(noise), "uniform": batches_of_steps(uniform, len(summaries))}
    gap = np.reshape(javascript(SUMMED, **inputs), (draws, dim)) - wanted
    return np.max(np.abs(gap) / np.maximum(1.0, np.abs(wanted)))  # as single precision rounds


def batches_of_steps(uniform: np.ndarray, n: int) -> np.ndarray:
    """All groups need no choice, and the page asks for none."""
    return batches(uniform) if uniform.shape[-1] < n else np.empty(0)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_summed_composition(javascript, workflows, monkeypatch, settings):
    workflow, sizes = workflows["global"], (5,) * 12
    summaries = summaries_of(workflow, ragged(workflow.model, settings["steps"], sum(sizes)), sizes)
    # Without training the groups contradict each other, and rounding grows from step to step.
    bound = AS_FLOAT32 * (1 if workflow.model_card["sha256"] else 5)
    assert summed_gap(javascript, workflow, monkeypatch, summaries, 1, settings) < bound


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_twenty_studies(javascript, workflows, monkeypatch, seed):
    workflow, rng = workflows["global"], np.random.default_rng([seed, 1])
    sizes = tuple(int(n) for n in rng.integers(1, 30, rng.choice([1, 2, 5])))
    summaries = summaries_of(workflow, ragged(workflow.model, seed, sum(sizes)), sizes)
    assert gaussian_gap(javascript, workflow, monkeypatch, summaries, seed) < AS_FLOAT32
    settings = SETTINGS[seed % len(SETTINGS)] | {"miniBatch": min(3, len(sizes))}
    assert summed_gap(javascript, workflow, monkeypatch, summaries, seed, settings) < AS_FLOAT32


FROM_TRIALS = """
const summaries = await engine.run(engine.summarize(global, inputs.people));
const groups = await engine.run(engine.prepare(global, summaries));
const options = { draws: inputs.draws, random: given(inputs) };
return (await engine.run(engine.gaussianComposition(groups, options))).z"""


@pytest.mark.slow
@pytest.mark.parametrize("n_trials", [30, 400])
def test_rounded_weights_move_a_posterior_of_200_people_by_little(
    javascript, workflows, model, monkeypatch, n_trials
):
    workflow, draws, steps = workflows["global"], 64, SINGLE_STEPS
    study, shape = el.simulate(model, 200, n_trials, seed=8), (2 * steps + 1, draws, -1)
    noise = np.random.default_rng(2).standard_normal(
        (*shape[:2], len(model.prior.names)), dtype="float32"
    )
    summaries = summaries_of(workflow, study, (len(study),))
    wanted = gaussian_draws(monkeypatch, workflow.inference_network, summaries, noise, steps)
    inputs = {"people": people_of(study), "normal": batches(noise), "draws": draws}
    found = np.reshape(javascript(FROM_TRIALS, exact=False, **inputs), wanted.shape)
    shift = np.abs((found - wanted).mean(axis=0)) / wanted.std(axis=0)
    assert shift.max() < 0.01


def test_a_seed_gives_the_same_draws_however_many(javascript, workflows, model):
    code = """
      const groups = await engine.run(engine.prepare(global, inputs.summaries));
      const draw = async (draws, seed) => (await engine.run(
        engine.gaussianComposition(groups, { draws, seed, steps: 12 }))).values.mu_nu;
      return [await draw(70, 1), await draw(40, 1), await draw(40, 2)]"""
    summaries = summaries_of(workflows["global"], ragged(model, 1, 10), (10,))
    many, few, other = javascript(code, summaries=summaries)
    assert many[:BATCH] == few[:BATCH]
    assert not set(few) & set(other)


def test_draws_of_a_seed_are_the_librarys_in_distribution(javascript, workflows, model):
    study, n = el.simulate(model, 20, seed=4), 400
    theirs = el.compose(workflows["global"], study, num_samples=n, seed=1, check=False)
    code = """
      const summaries = await engine.run(engine.summarize(global, inputs.people));
      const groups = await engine.run(engine.prepare(global, summaries));
      const options = { draws: inputs.draws, seed: 3 };
      return (await engine.run(engine.gaussianComposition(groups, options))).values"""
    ours = javascript(code, draws=n, people=people_of(study))
    for k in model.prior.names:  # up to 22 comparisons: a right sampler fails with probability 1e-4
        gap = (np.mean(ours[k]) - theirs.mean[k]) / (theirs.sd[k] * np.sqrt(2 / n))
        assert abs(gap) < 4.5, k
        assert abs(np.log(np.std(ours[k]) / theirs.sd[k])) < 4.5 / np.sqrt(n), k


# --- running --------------------------------------------------------------------------------------

LONG = """
const groups = await engine.run(engine.prepare(global, inputs.summaries));
const work = () => engine.gaussianComposition(groups, { draws: 100, steps: 20 });"""


def test_the_page_has_its_turn_after_every_person_and_group(javascript, model):
    code = """
      const read = await engine.run(engine.embed(global, inputs.people));
      const counted = (work) => {
        let [n, step] = [0, work.next()];
        for (; !step.done; step = work.next()) n += 1;
        return [n, step.value];
      };
      const [pooled, summaries] = counted(engine.pool(global, read, inputs.sizes));
      return [pooled, counted(engine.prepare(global, summaries))[0]]"""
    sizes = (7,) * 3
    study = ragged(model, 3, sum(sizes))
    pooled, prepared = javascript(code, people=people_of(study), sizes=sizes)
    assert pooled > sum(sizes) and prepared > len(sizes)


def test_batches_can_be_drawn_anywhere(javascript, workflows, model):
    code = """
      const groups = await engine.run(engine.prepare(global, inputs.summaries));
      const draw = async (options) => Array.from((await engine.run(
        engine.summedComposition(groups, { steps: 5, miniBatch: 2, ...options }))).z);
      const apart = [];
      for (const batch of engine.batches(70, 1)) apart.push(...await draw(batch));
      return [await draw({ draws: 70, seed: 1 }), apart]"""
    summaries = summaries_of(workflows["global"], ragged(model, 1, 9), (3, 3, 3))
    together, apart = javascript(code, summaries=summaries)
    assert together == apart


def test_progress_is_told(javascript, workflows, model):
    code = """
      const shares = [];
      const progress = ({ share, ready }) => shares.push([share, ready]);
      await engine.run(work(), { progress, slice: 5 });
      return shares"""
    summaries = summaries_of(workflows["global"], ragged(model, 1, 10), (5, 5))
    shares, ready = zip(*javascript(LONG + code, summaries=summaries), strict=True)
    assert len(shares) > 10
    assert list(shares) == sorted(shares) and 0 <= shares[0] and shares[-1] <= 1
    assert {*ready} <= {0, 32, 64, 96} and ready[-1] == 96


def test_a_signal_ends_the_work(javascript, workflows, model):
    code = """
      const controller = new AbortController();
      let calls = 0;
      const progress = () => { calls += 1; controller.abort(new Error("enough")); };
      try { await engine.run(work(), { progress, signal: controller.signal, slice: 0 }); }
      catch (error) { return [error.message, calls]; }"""
    summaries = summaries_of(workflows["global"], ragged(model, 1, 10), (10,))
    assert javascript(LONG + code, summaries=summaries) == ["enough", 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("gaussianComposition(groups, { draws: 0 })", "draws must be a positive integer, got 0"),
        ("gaussianComposition(groups, { steps: 2.5 })", "steps must be a positive integer"),
        ("summedComposition(groups, { miniBatch: -1 })", "miniBatch must be a positive integer"),
        ("summedComposition(groups, { d0: 0 })", "d0 and d1 must be positive, got 0 and 1"),
        ("summarize(global, [[1, 0.5]], [2])", "must add up to 1 people"),
        ("summarize(global, [])", "0 people cannot be split"),
        ("people(global, { mu_nu: [1] }, [])", "equally many of each of mu_nu, "),
    ],
)
def test_wrong_settings_are_refused(javascript, call, message):
    code = """
      const groups = await engine.run(engine.prepare(global, [new Array(64).fill(0)]));
      try { await engine.run(engine.CALL); } catch (error) { return error.message; }"""
    assert message in javascript(code.replace("CALL", call))


def test_people(javascript, workflows, model, monkeypatch):
    local, draws = workflows["local"], 80
    network, rng = local.inference_network, np.random.default_rng(1)
    study = ragged(model, 5, 6)
    spread = {k: 0.3 * model.prior[k].sd * rng.standard_normal(draws) for k in model.prior.names}
    group = {k: study.group[k] + v for k, v in spread.items()}
    noise = rng.standard_normal(
        (network.steps, len(study), draws, len(model.people)), dtype="float32"
    )
    wanted = people_draws(monkeypatch, local, study, group, noise)
    by_chunk = [
        noise[:, j, i : i + BATCH].ravel()
        for j in range(len(study))
        for i in range(0, draws, BATCH)
    ]
    found = javascript(
        "return engine.run("
        "engine.people(local, inputs.group, inputs.people, { random: given(inputs) }))",
        network="local",
        group=group,
        people=people_of(study),
        normal=np.concatenate(by_chunk),
    )
    for p in model.people:
        values = [np.reshape(found[p.name], (draws, len(study))), wanted[p.name]]
        values = np.log(values) if p.positive else np.array(values)
        z = (values - group[p.mean][:, None]) / np.exp(group[p.log_sd])[:, None]
        np.testing.assert_allclose(*z, rtol=0, atol=AS_FLOAT32 / 5)  # population sds


def in_double(patch):
    """Let Keras solve as the page does: a person of many trials has a precision of 40,000."""
    solve = np.linalg.solve
    solvers = {"solve": solve, "cholesky": np.linalg.cholesky, "solve_triangular": solve}
    for name, function in solvers.items():

        def wide(*arrays, function=function, **_):
            found = function(*(ops.convert_to_numpy(a).astype(float) for a in arrays))
            return ops.convert_to_tensor(found, dtype="float32")

        patch.setattr(ops, name, wide)


def people_draws(monkeypatch, workflow, study, group, noise) -> dict[str, np.ndarray]:
    """The local network's draws (S, J) by name, from noise (steps, J, S, dim)."""
    model = workflow.model
    summaries = workflow.estimator.summarize({"sim_data": study.trials})
    z = model.prior.standardize(np.stack([group[k] for k in model.prior.names], axis=-1))
    shape = (len(study), len(z), -1)
    parts = [
        np.broadcast_to(z, (*shape[:2], z.shape[-1])),
        np.repeat(summaries[:, None], len(z), 1),
    ]
    conditions = np.concatenate(parts, axis=-1).reshape(shape[0] * shape[1], -1).astype("float32")
    first, *rest = noise.reshape(len(noise), -1, len(model.people))
    with monkeypatch.context() as patch:
        same_noise(patch, rest)
        in_double(patch)
        drawn = workflow.inference_network._inverse(ops.convert_to_tensor(first), conditions)
    drawn = np.asarray(drawn).reshape(shape).swapaxes(0, 1)
    return {
        p.name: np.exp(drawn[..., i]) if p.positive else drawn[..., i]
        for i, p in enumerate(model.people)
    }
