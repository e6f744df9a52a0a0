"""The networks in a page's JavaScript draw what the library draws, from the same noise."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator

from eamlab.backend import keras

import numpy as np
import pytest
from keras import ops

import eamlab as el
from eamlab.composition import gaussian, summed
from eamlab.composition.groups import auto_group_sizes, split_subjects, summarize_groups
from eamlab.composition.posterior import AUTO_STEPS
from eamlab_book.network_file import engine_scripts, network_script, script_path
from eamlab_book.widgets.widget import script_folder

NAMES = el.EAM.prior.names
DIM = len(NAMES)
BATCH = 32  # draws that the page makes together
AS_FLOAT32 = 1e-4  # prior sds
RUN = """
const vm = require("vm");
const { scripts, code, inputs } = JSON.parse(require("fs").readFileSync(0, "utf8"));
for (const script of scripts) vm.runInThisContext(script);
vm.runInThisContext(`(${code})`)(inputs).then((text) => process.stdout.write(text));
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


@pytest.fixture(scope="module")
def workflows():
    return {name: el.load_pretrained(name) for name in ("global", "local")}


@pytest.fixture(scope="module")
def scripts(workflows) -> dict[str, str]:
    """Networks in single precision, with the scripts they need, by name."""
    return {name: network_script(w, exact=True) for name, w in workflows.items()}


@pytest.fixture(scope="module")
def javascript(request, scripts) -> Iterator[Callable]:
    """``javascript("return ...", network="global", **inputs)``: what the code returns.

    In Node where there is one, else in Chromium. ``shipped=True`` takes the shipped weights.
    """
    node = shutil.which("node")
    page = None if node else request.getfixturevalue("empty_page")

    def evaluate(body: str, *, network: str = "global", shipped: bool = False, **inputs):
        weights = script_path(network).read_text(encoding="utf-8") if shipped else scripts[network]
        folder = script_folder()
        texts = [(folder / s).read_text(encoding="utf-8") for s in engine_scripts()]
        code, inputs = WRAP.format(body=body), as_lists(inputs | {network: True})
        if page:
            page.goto("about:blank")
            for text in [*texts, weights]:
                page.evaluate(text)
            return json.loads(page.evaluate(code, inputs))
        work = json.dumps({"scripts": [*texts, weights], "code": code, "inputs": inputs})
        done = subprocess.run(
            [node, "-e", RUN], input=work, capture_output=True, text=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return evaluate


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


def ragged(seed: int, n_subjects: int):
    """A study of people with 10 to 60 trials, one of whom always chose the same."""
    full = el.simulate(el.EAM, n_subjects, n_trials=60, seed=seed)
    counts = np.random.default_rng(seed).integers(10, 61, n_subjects)
    trials = [t[:n].copy() for t, n in zip(full.trials, counts, strict=True)]
    trials[0][:, 0] = 1.0
    return el.Study(trials)


def summaries_of(workflow, study, sizes) -> np.ndarray:
    return summarize_groups(workflow, split_subjects(study.trials, sizes))


# --- the file -------------------------------------------------------------------------------------


def content(text: str) -> dict:
    return json.loads(text[text.index("] = ") + 4 :].rstrip(";\n"))


@pytest.mark.parametrize("name", ["global", "local"])
def test_the_shipped_scripts_are_those_of_the_shipped_weights(workflows, name):
    text = script_path(name).read_text(encoding="utf-8")
    assert text == network_script(workflows[name]), "run make results"
    assert content(text)["sha256"] == workflows[name].model_card["sha256"]


def test_both_scripts_are_below_a_megabyte():
    assert sum(script_path(n).stat().st_size for n in ("global", "local")) < 1e6


def test_a_network_of_another_kind_is_refused():
    workflow = el.global_workflow(el.EAM, summary="pooled")
    workflow.model_card = {"training": {"group_sizes": [5]}}
    with pytest.raises(ValueError, match="anchored"):
        network_script(workflow)


# --- summaries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1,), (2, 2, 1), (40,), (70,), (7,) * 10])
def test_summaries_of_groups(javascript, workflows, sizes):
    study = ragged(3, sum(sizes))
    wanted = summaries_of(workflows["global"], study, sizes)
    found = javascript(
        "return engine.run(engine.summarize(global, inputs.people, inputs.sizes))",
        people=people_of(study),
        sizes=sizes,
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=3e-5)


def test_summaries_of_people(javascript, workflows):
    study = ragged(4, 9)
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
    network, steps, draws = workflow.inference_network, 24, 40
    noise = np.random.default_rng(seed).standard_normal((2 * steps + 1, draws, DIM), "float32")
    wanted = gaussian_draws(monkeypatch, network, summaries, noise, steps)
    inputs = {"summaries": summaries, "normal": batches(noise), "draws": draws, "steps": steps}
    return np.abs(
        np.reshape(javascript(GAUSSIAN, **inputs, **options), (draws, DIM)) - wanted
    ).max()


def gaussian_draws(monkeypatch, network, summaries, noise, steps) -> np.ndarray:
    levels = np.linspace(*gaussian._LOG_SNR, steps).astype("float32")
    with monkeypatch.context() as patch:
        same_noise(patch, noise)
        patch.setattr(ops, "fori_loop", eager_loop)
        return np.asarray(gaussian._draw(network, summaries, levels, noise.shape[1], None))


def eager_loop(start, stop, body, value):
    for i in range(int(start), int(stop)):
        value = body(i, value)
    return value


GAUSSIAN = """
const groups = await engine.run(engine.prepare(global, inputs.summaries));
const options = { draws: inputs.draws, steps: inputs.steps, random: given(inputs) };
return (await engine.run(engine.gaussianComposition(groups, options))).z"""


@pytest.mark.parametrize("sizes", [(23,), (20, 12), (5,) * 5])
def test_gaussian_composition(javascript, workflows, monkeypatch, sizes):
    workflow = workflows["global"]
    summaries = summaries_of(workflow, ragged(len(sizes), sum(sizes)), sizes)
    assert gaussian_gap(javascript, workflow, monkeypatch, summaries, 1) < AS_FLOAT32


def test_a_group_without_data_has_the_prior(javascript, workflows, monkeypatch):
    summaries = np.zeros((1, workflows["global"].summary_network.summary_dim), "float32")
    assert gaussian_gap(javascript, workflows["global"], monkeypatch, summaries, 1) < AS_FLOAT32


SUMMED = """
const groups = await engine.run(engine.prepare(global, inputs.summaries));
const options = { ...inputs.settings, draws: inputs.draws, random: given(inputs) };
return (await engine.run(engine.summedComposition(groups, options))).z"""
SETTINGS = [
    {"steps": 40, "miniBatch": 10, "d0": 1.0, "d1": 1.0},
    {"steps": 25, "miniBatch": 3, "d0": 0.3, "d1": 0.05},
    {"steps": 30, "miniBatch": 12, "d0": 1.0, "d1": 0.5},
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
        return el.EAM.prior.standardize(sampler.draw(summaries, seed=0, **settings).array)


def summed_gap(javascript, workflow, monkeypatch, summaries, seed, settings) -> float:
    draws, rng = 40, np.random.default_rng(seed)
    noise = rng.standard_normal((settings["steps"] + 1, draws, DIM), dtype="float32")
    uniform = rng.random((settings["steps"], draws, settings["miniBatch"]))
    subsets = subsets_of(uniform, len(summaries))
    wanted = summed_draws(monkeypatch, workflow, summaries, noise, subsets, settings)
    inputs = {"summaries": summaries, "settings": settings, "draws": draws}
    inputs |= {"normal": batches(noise), "uniform": batches_of_steps(uniform, len(summaries))}
    return np.abs(np.reshape(javascript(SUMMED, **inputs), (draws, DIM)) - wanted).max()


def batches_of_steps(uniform: np.ndarray, n: int) -> np.ndarray:
    """All groups need no choice, and the page asks for none."""
    return batches(uniform) if uniform.shape[-1] < n else np.empty(0)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_summed_composition(javascript, workflows, monkeypatch, settings):
    workflow, sizes = workflows["global"], (5,) * 12
    summaries = summaries_of(workflow, ragged(settings["steps"], sum(sizes)), sizes)
    assert summed_gap(javascript, workflow, monkeypatch, summaries, 1, settings) < AS_FLOAT32


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_twenty_studies(javascript, workflows, monkeypatch, seed):
    workflow, rng = workflows["global"], np.random.default_rng([seed, 1])
    sizes = tuple(int(n) for n in rng.integers(1, 30, rng.choice([1, 2, 5])))
    summaries = summaries_of(workflow, ragged(seed, sum(sizes)), sizes)
    assert gaussian_gap(javascript, workflow, monkeypatch, summaries, seed) < AS_FLOAT32
    settings = SETTINGS[seed % len(SETTINGS)] | {"miniBatch": min(3, len(sizes))}
    assert summed_gap(javascript, workflow, monkeypatch, summaries, seed, settings) < AS_FLOAT32


SHIPPED = """
const summaries = await engine.run(engine.summarize(global, inputs.people));
const groups = await engine.run(engine.prepare(global, summaries));
const options = { draws: inputs.draws, random: given(inputs) };
return (await engine.run(engine.gaussianComposition(groups, options))).z"""


def shipped_shift(javascript, workflow, monkeypatch, study, seed) -> np.ndarray:
    """How far the shipped weights' rounding moves the posterior means (dim,), in prior sds."""
    noise = np.random.default_rng(seed).standard_normal((2 * AUTO_STEPS[1] + 1, 64, DIM), "float32")
    summaries = summaries_of(workflow, study, (len(study),))
    wanted = gaussian_draws(
        monkeypatch, workflow.inference_network, summaries, noise, AUTO_STEPS[1]
    )
    inputs = {"people": people_of(study), "normal": batches(noise), "draws": noise.shape[1]}
    found = np.reshape(javascript(SHIPPED, shipped=True, **inputs), wanted.shape)
    return np.abs((found - wanted).mean(axis=0))


@pytest.mark.slow
def test_rounded_weights_move_a_posterior_of_200_people_by_little(
    javascript, workflows, monkeypatch
):
    study = el.simulate(el.EAM, 200, seed=8)
    shift = shipped_shift(javascript, workflows["global"], monkeypatch, study, 2)
    exact = el.exact(study, el.EAM, 200, seed=1)
    sd = np.array([exact.sd[k] for k in NAMES]) / el.EAM.prior.sds
    assert (shift / sd).max() < 0.005


def test_a_seed_gives_the_same_draws_however_many(javascript, workflows):
    code = """
      const groups = await engine.run(engine.prepare(global, inputs.summaries));
      const draw = async (draws, seed) => (await engine.run(
        engine.gaussianComposition(groups, { draws, seed, steps: 12 }))).values.mu_nu;
      return [await draw(70, 1), await draw(40, 1), await draw(40, 2)]"""
    summaries = summaries_of(workflows["global"], ragged(1, 10), (10,))
    many, few, other = javascript(code, summaries=summaries)
    assert many[:BATCH] == few[:BATCH]
    assert not set(few) & set(other)


def test_draws_of_a_seed_are_the_librarys_in_distribution(javascript, workflows):
    study, n = el.simulate(el.EAM, 20, seed=4), 400
    theirs = el.compose(workflows["global"], study, num_samples=n, seed=1, check=False)
    code = """
      const summaries = await engine.run(engine.summarize(global, inputs.people));
      const groups = await engine.run(engine.prepare(global, summaries));
      const options = { draws: inputs.draws, seed: 3 };
      return (await engine.run(engine.gaussianComposition(groups, options))).values"""
    ours = javascript(code, draws=n, people=people_of(study))
    for k in NAMES:  # 14 comparisons: a right sampler fails with probability 1e-4
        gap = (np.mean(ours[k]) - theirs.mean[k]) / (theirs.sd[k] * np.sqrt(2 / n))
        assert abs(gap) < 4.5, k
        assert abs(np.log(np.std(ours[k]) / theirs.sd[k])) < 4.5 / np.sqrt(n), k


# --- running --------------------------------------------------------------------------------------

LONG = """
const groups = await engine.run(engine.prepare(global, inputs.summaries));
const work = () => engine.gaussianComposition(groups, { draws: 100, steps: 20 });"""


def test_progress_is_told(javascript, workflows):
    code = """
      const shares = [];
      const progress = ({ share, ready }) => shares.push([share, ready]);
      await engine.run(work(), { progress, slice: 5 });
      return shares"""
    summaries = summaries_of(workflows["global"], ragged(1, 10), (5, 5))
    shares, ready = zip(*javascript(LONG + code, summaries=summaries), strict=True)
    assert len(shares) > 10
    assert list(shares) == sorted(shares) and 0 <= shares[0] and shares[-1] <= 1
    assert {*ready} <= {0, 32, 64, 96} and ready[-1] == 96


def test_a_signal_ends_the_work(javascript, workflows):
    code = """
      const controller = new AbortController();
      let calls = 0;
      const progress = () => { calls += 1; controller.abort(new Error("enough")); };
      try { await engine.run(work(), { progress, signal: controller.signal, slice: 0 }); }
      catch (error) { return [error.message, calls]; }"""
    summaries = summaries_of(workflows["global"], ragged(1, 10), (10,))
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


def test_people(javascript, workflows, monkeypatch):
    local, draws = workflows["local"], 80
    network, rng = local.inference_network, np.random.default_rng(1)
    study = ragged(5, 6)
    group = {k: v[:, 0] for k, v in el.EAM.prior.sample(draws, rng).items()}
    noise = rng.standard_normal((network.steps, len(study), draws, DIM_PERSON), dtype="float32")
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
    for i, k in enumerate(el.EAM.person_names):
        sd = np.exp(group[el.EAM.people[i].log_sd])[:, None]
        gap = np.abs(np.reshape(found[k], (draws, len(study))) - wanted[k])
        assert (gap / sd).max() < AS_FLOAT32


DIM_PERSON = len(el.EAM.people)


def people_draws(monkeypatch, workflow, study, group, noise) -> dict[str, np.ndarray]:
    """The local network's draws (S, J) by name, from noise (steps, J, S, dim)."""
    summaries = workflow.estimator.summarize({"sim_data": study.trials})
    z = el.EAM.prior.standardize(np.stack([group[k] for k in NAMES], axis=-1))
    shape = (len(study), len(z), -1)
    parts = [np.broadcast_to(z, (*shape[:2], DIM)), np.repeat(summaries[:, None], len(z), 1)]
    conditions = np.concatenate(parts, axis=-1).reshape(shape[0] * shape[1], -1).astype("float32")
    first, *rest = noise.reshape(len(noise), -1, DIM_PERSON)
    with monkeypatch.context() as patch:
        same_noise(patch, rest)
        drawn = workflow.inference_network._inverse(ops.convert_to_tensor(first), conditions)
    drawn = np.asarray(drawn).reshape(shape).swapaxes(0, 1)
    return {
        p.name: np.exp(drawn[..., i]) if p.positive else drawn[..., i]
        for i, p in enumerate(el.EAM.people)
    }
