"""`make results`: what is stale is found, made in order, and taken up again after a kill."""

import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import eamlab as el
from eamlab.workflows import PRESETS, NetworkSettings, TrainingSettings
from eamlab_book import report_card
from eamlab_book.results import grades
from eamlab_book.results.__main__ import main
from eamlab_book.results.networks import Training
from eamlab_book.results.plan import make, plan
from eamlab_book.results.registry import RESULTS
from eamlab_book.results.workshop import ROOT, Result, Workshop
from eamlab_book.stored import load_stored
from eamlab_book.studies import DemoSettings, load_demo
from eamlab_book.widgets.composition import KeySettings
from eamlab_book.widgets.film import FilmSettings

FOLDERS = ("src/eamlab/weights", "src/eamlab_book/weights", "src/eamlab_book/data")
KNOWN = {result.name: result for result in RESULTS}


# --- the registry ---------------------------------------------------------------------------------


def test_every_shipped_file_is_made_by_a_result():
    made = [file for result in RESULTS for file in result.files]
    shipped = {f"{folder}/{p.name}" for folder in FOLDERS for p in (ROOT / folder).iterdir()}
    assert len(set(made)) == len(made)
    shipped -= {f"{FOLDERS[2]}/cavanagh2011.{kind}" for kind in ("csv", "md")}  # from elsewhere
    assert shipped == {file for file in made if str(Path(file).parent) in FOLDERS}
    assert all((ROOT / file).exists() for file in made)


def test_results_are_named_like_their_files_and_stand_after_what_they_need():
    before = set()
    for result in RESULTS:
        assert Path(result.files[0]).stem == result.name
        assert set(result.needs) <= before
        before.add(result.name)


def test_nothing_shipped_is_stale(capsys):
    main(["--dry-run"])
    assert capsys.readouterr().out == "nothing is stale\n"


def test_another_prior_makes_everything_stale_in_order(wider):
    tasks = plan(Workshop(model=wider))
    names = [task.result.name for task in tasks]
    own = {r.name for r in RESULTS if r.model or getattr(r.settings, "model", None)}
    own |= {"README", "demo.trials"}  # the trials are checked by what they are: still the same
    assert names == [r.name for r in RESULTS if r.name not in own]
    for task in tasks:
        first = [name for name in task.result.needs if name in names]
        if first:
            assert task.reason == f"needs {', '.join(first)}"
        else:
            assert "mu_nu was [0.5, 0.3], is [0.5, 0.6]" in task.reason
            assert task.reason.endswith(f"make results ARGS={task.result.name}.")


def test_only_what_is_asked_for_is_made_and_what_it_needs(wider):
    names = [task.result.name for task in plan(Workshop(model=wider), ["films"])]
    assert names == ["local", "global", "demo_J10", "demo_J100", "demo_J1000", "films"]


def test_seconds_are_those_of_the_stored_results(wider):
    tasks = {task.result.name: task for task in plan(Workshop(model=wider))}
    for name, key in (("explorer", "seconds"), ("local", "training_seconds")):
        card = json.loads((ROOT / KNOWN[name].files[0]).read_text(encoding="utf-8"))
        assert tasks[name].seconds == card[key]
    assert tasks["global.weights"].seconds == KNOWN["global.weights"].seconds  # its file is no JSON


def test_unknown_names_are_refused(capsys):
    with pytest.raises(SystemExit, match="no result .*'explore'.*; there are local, global"):
        main(["--dry-run", "explore"])


@pytest.mark.parametrize("part", ["network", "training", "sha256"])
def test_a_network_of_other_settings_or_with_other_weights_is_stale(part, tmp_path):
    local = KNOWN["local"]
    for file in local.files:
        (tmp_path / Path(file).name).write_bytes((ROOT / file).read_bytes())
    assert plan(Workshop(folder=tmp_path), results=[local]) == []
    card = tmp_path / "local.json"
    content = json.loads(card.read_text(encoding="utf-8"))
    content[part] = "0" if part == "sha256" else content[part] | {"epochs": 1, "score": "plain"}
    card.write_text(json.dumps(content), encoding="utf-8")
    (task,) = plan(Workshop(folder=tmp_path), results=[local])
    said = {"sha256": "not the file", "network": "score was 'plain'", "training": "epochs was 1"}
    assert said[part] in task.reason


# --- small results that count how often they are made ---------------------------------------------


@dataclass(frozen=True)
class Sum:
    parts: int = 4
    seed: int = 1


CALLS = []


def part(workshop, settings, index):
    if index in workshop.killed_at:
        raise KeyboardInterrupt
    time.sleep(workshop.seconds)
    CALLS.append(index)
    return index + settings.seed + len(workshop.model.name)


def make_sum(workshop, result):
    one = workshop.remember(part, "global")
    return {"sum": sum(one(result.settings, i) for i in range(result.settings.parts))}


SUM = Result("sum", ("data/sum.json",), make_sum, Sum(), 5, ("global",))
TWICE = Result("twice", ("data/twice.json",), lambda *_: {"x": 2}, Sum(seed=2), 7, ("sum",))
LONELY = Result("lonely", ("data/lonely.json",), lambda *_: {}, Sum(), 9, packages=("no_such",))
SMALL = (
    Result("global", ("global.json",), lambda *_: None, None, 1, check=lambda *_: None),
    SUM,
    TWICE,
    LONELY,
)


@pytest.fixture
def workshop(tmp_path):
    CALLS.clear()
    return small_workshop(tmp_path, "a")


def small_workshop(folder, sha256, model=el.EAM):
    """A workshop whose global network has these weights."""
    made = Workshop(model=model, folder=folder, kept=folder / "kept")
    made.killed_at, made.seconds = (), 0.0
    (folder / "global.json").write_text(json.dumps({"sha256": sha256}), encoding="utf-8")
    return made


def named(workshop, results=SMALL, names=()):
    return [task.result.name for task in plan(workshop, names, results)]


def test_what_is_missing_is_made_once_and_what_lacks_packages_is_left_out(workshop):
    said = []
    assert named(workshop) == ["sum", "twice", "lonely"]
    make(workshop, plan(workshop, results=SMALL), said.append)
    assert said == ["sum: about 5 s", "twice: about 7 s", "lonely: left out, it needs no_such"]
    assert named(workshop) == ["lonely"]
    stored = load_stored("sum.json", Sum(), workshop.folder)
    assert stored["sum"] == 6 + 4 + 4 * len("EAM") and stored["sha256"] == {"global": "a"}
    assert {"python", "eamlab", "numpy", "bayesflow"} <= set(stored["versions"])


def test_what_needs_something_stale_is_stale(workshop):
    make(workshop, plan(workshop, ["twice"], SMALL), lambda line: None)
    other = [replace(r, settings=Sum(seed=5)) if r is SUM else r for r in SMALL[:3]]
    tasks = plan(workshop, results=other)
    assert [task.reason for task in tasks][1:] == ["needs sum"]
    assert "seed was 1, is 5" in tasks[0].reason


def test_a_result_of_other_weights_is_stale(workshop, tmp_path):
    make(workshop, plan(workshop, ["twice"], SMALL), lambda line: None)
    assert named(workshop, SMALL[:3]) == []
    assert named(small_workshop(tmp_path, "b"), SMALL[:3]) == ["sum", "twice"]


def test_a_result_that_is_still_stale_when_it_was_made_stops_the_run(workshop):
    def refuse(*_):
        raise ValueError("no")

    never = Result("never", ("data/never.json",), lambda *_: {}, Sum(), 1, check=refuse)
    with pytest.raises(RuntimeError, match="never was made, but is still stale: no"):
        make(workshop, plan(workshop, results=[never]), lambda line: None)


def killed(workshop, at):
    """Run until the part `at`, as if somebody pressed Ctrl-C."""
    workshop.killed_at = (at,)
    with pytest.raises(KeyboardInterrupt):
        make(workshop, plan(workshop, ["sum"], SMALL), lambda line: None)
    workshop.killed_at = ()
    CALLS.clear()


def test_a_killed_run_goes_on_where_it_stopped(workshop, tmp_path):
    killed(workshop, 2)
    assert not (tmp_path / "sum.json").exists()
    again = small_workshop(tmp_path, "a")
    make(again, plan(again, ["sum"], SMALL), lambda line: None)
    assert CALLS == [2, 3]
    assert load_stored("sum.json", Sum(), tmp_path)["sum"] == 6 + 4 + 4 * len("EAM")


@pytest.mark.parametrize("what", ["weights", "model", "settings"])
def test_what_another_run_left_is_not_taken(what, workshop, tmp_path, wider):
    killed(workshop, 2)
    sha256, model = "b" if what == "weights" else "a", wider if what == "model" else el.EAM
    other = small_workshop(tmp_path, sha256, model)
    chosen = replace(SUM, settings=Sum(seed=9)) if what == "settings" else SUM
    make(other, plan(other, ["sum"], (SMALL[0], chosen)), lambda line: None)
    assert CALLS == [0, 1, 2, 3]


def test_keys_of_studies_of_another_seed_are_not_taken(tmp_path, monkeypatch):
    made = Workshop(kept=tmp_path)
    quick = lambda study, *_, **options: el.Draws({"mu_nu": study.trials[:, 0, 1]})  # noqa: E731
    monkeypatch.setattr(grades, "exact", quick)
    first, again = (grades.keys(made, "graded", 10, 2, 5) for _ in range(2))
    monkeypatch.setitem(report_card._FIRST_SEED, "graded", 1)
    other = grades.keys(made, "graded", 10, 2, 5)
    for (one, _), (same, _), (new, _) in zip(first, again, other, strict=True):
        assert np.array_equal(one["mu_nu"], same["mu_nu"])
        assert not np.array_equal(one["mu_nu"], new["mu_nu"])


def test_ranks_count_the_draws_below_the_truth(monkeypatch):
    made = SimpleNamespace(model=el.EAM, network=lambda name: name)

    def compose(workflow, studies, *, group_size, num_samples, seed):
        assert (workflow, group_size, num_samples) == ("global", 5, 4)
        return [
            el.Draws({k: v + np.array([-2.0, -1.0, -0.5, 1.0]) for k, v in study.group.items()})
            for study in studies
        ]

    monkeypatch.setattr(grades, "compose", compose)
    settings = report_card.SBCSettings(n_studies=2, n_subjects=5, n_trials=3, num_samples=4)
    ranks = grades.composed_ranks(made, "global", settings, 5)["ranks"]
    assert ranks == {k: [3, 3] for k in el.EAM.prior.names}


def test_a_tuned_setting_is_as_bad_as_its_worst_parameter(monkeypatch):
    found = {"terms": 1, "bias": np.array([0.3, 0.0]), "sd_ratio": np.array([1.0, 0.5])}
    monkeypatch.setattr(grades, "validate", lambda *_, **__: found)
    made = SimpleNamespace(network=lambda name: name)
    # half the width is as bad as twice the width: log 2
    assert grades.tuning_row(made, 10, 5, 24, [], 50, 1)["worst"] == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.parametrize("name", ["all levers", "a third of the training"])
def test_a_short_training_averages_over_the_same_share_of_itself(name):
    full = PRESETS["full"].global_training
    short = grades.lever_training(report_card.LeverSettings(), name).training
    shares = [1.0 / ((1.0 - s.averaging) * s.epochs) for s in (full, short)]
    assert shares[1] == pytest.approx(shares[0], rel=0.02)


def test_the_time_of_a_result_includes_what_a_killed_run_spent_on_it(workshop):
    workshop.seconds = 0.3
    killed(workshop, 3)
    make(workshop, plan(workshop, ["sum"], SMALL), lambda line: None)
    assert CALLS == [3]
    assert load_stored("sum.json", Sum(), workshop.folder)["seconds"] >= 4 * 0.3


# --- from a changed prior to new pages ------------------------------------------------------------

TINY = {
    "global": Training(
        "global",
        "quick",
        NetworkSettings(summary_dim=40, widths=(16, 16)),
        TrainingSettings(epochs=1, batches_per_epoch=4, batch_size=16),
    ),
    "demo_J10": KNOWN["demo_J10"].settings,
    "explorer": KeySettings((DemoSettings(10),)),
    "films": FilmSettings(
        n_particles=5, n_frames=3, steps=20, demos=(DemoSettings(10),),
        stops={"n_subjects": (10,), "d0": (1.0,), "d1": (1.0,)},
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_a_changed_prior_to_weights_key_cells_and_film(wider, tmp_path):
    needs = {"explorer": ("demo_J10",), "films": ("global", "demo_J10")}
    tiny = [
        replace(KNOWN[name], settings=settings, needs=needs.get(name, ()))
        for name, settings in TINY.items()
    ]
    workshop = Workshop(wider, tmp_path, tmp_path / "kept")
    tasks = plan(workshop, results=tiny)
    assert [task.result.name for task in tasks] == list(TINY)
    make(workshop, tasks, lambda line: None)
    assert plan(workshop, results=tiny) == []

    assert el.load_pretrained("global", folder=tmp_path, model=wider).model is wider
    mine = {"folder": tmp_path, "model": wider}
    demo = load_demo(10, **mine)
    assert demo.exact.model is wider and len(demo.study) == 10
    keys = load_stored("explorer.json", TINY["explorer"], **mine)["exact"]
    assert keys["10"]["mean"] == pytest.approx(list(demo.exact.mean.values()))
    films = load_stored("films.json", TINY["films"], **mine)
    assert list(films["films"]) == ["10|1|1"]
    assert len(films["films"]["10|1|1"]["times"]) == 3

    refused = r"another model than EAM: prior.mu_nu was \[0.5, {}\], is \[0.5, {}\]"
    loaders = [
        lambda **where: load_demo(10, **where),
        lambda **where: load_stored("explorer.json", TINY["explorer"], **where),
        lambda **where: load_stored("films.json", TINY["films"], **where),
    ]
    for load in loaders:
        with pytest.raises(ValueError, match=refused.format(0.6, 0.3)):
            load(folder=tmp_path)  # made for the wider prior, asked for today's
        with pytest.raises(ValueError, match=refused.format(0.3, 0.6)):
            load(model=wider)  # the shipped ones

    longer = replace(TINY["global"], training=replace(TINY["global"].training, epochs=2))
    changed = [replace(r, settings=longer) if r.name == "global" else r for r in tiny]
    again = plan(workshop, results=changed)
    assert [task.result.name for task in again] == ["global", "films"]
    assert re.search("training.epochs was 1, is 2", again[0].reason)
