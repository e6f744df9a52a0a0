"""Every stored result says what made it; what was made with anything else is refused."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

import eamlab as el
from eamlab_book import report_card, stored, studies
from eamlab_book.results.registry import RESULTS
from eamlab_book.results.workshop import Workshop
from eamlab_book.stored import load_stored, stored_path, write_stored
from eamlab_book.widgets.composition import load_keys
from eamlab_book.widgets.film import load_films

NAMES = sorted(path.name for path in stored_path("").glob("*.json"))
NETWORKS = {
    "certificates.json": {"global"},
    "certificates_J100000.json": {"global"},
    "certificates_laboratory.json": {"laboratory"},
    "certificates_two-conditions.json": {"two-conditions"},
    "compositions.json": {"global"},
    "films.json": {"global"},
    "grades.json": {"global", "global-pooled"},
    "grades_laboratory.json": {"laboratory", "laboratory-local"},
    "grades_two-conditions.json": {"two-conditions", "two-conditions-local"},
    "levers.json": {"global", "local"},
    "readme_figure.json": {"global"},
    "sbc_composed.json": {"global"},
    "sbc_composed_laboratory.json": {"laboratory"},
    "sbc_composed_two_conditions.json": {"two-conditions"},
    "tuning.json": {"global"},
}
"""Results of networks; the others are of the exact posterior."""
SETTINGS = {Path(result.files[0]).name: result.settings for result in RESULTS}
MODELS = {Path(result.files[0]).name: Workshop().of(result).model for result in RESULTS}

LOADERS = {
    "demo": lambda: studies.load_demo(10),
    "exact": lambda: studies.exact_of(10_000),
    "studies": studies.load_studies,
    "explorer": load_keys,
    "films": load_films,
    "grades": report_card.grade_table,
    "grade frame": report_card.grade_frame,
    "certificates": report_card.certificate_frame,
    "compositions": report_card.composition_table,
    "discretization": report_card.discretization_table,
    "composed sbc": report_card.composed_sbc,
    "exact sbc": report_card.exact_sbc,
    "levers": report_card.lever_table,
    "tuning": report_card.tuning_table,
    "independent": report_card.independent_table,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_result_is_of_todays_model_settings_and_weights(name):
    content = load_stored(name, SETTINGS[name], model=MODELS[name])
    assert set(content.get("sha256", {})) == NETWORKS.get(name, set())


@pytest.mark.parametrize("name", NAMES)
def test_every_stored_result_of_another_model_is_refused(name, wider):
    told = r"mu_nu was \[0.5, 0.3\], is \[0.5, 0.6\]"
    if MODELS[name].name != wider.name:
        told = f"name was '{MODELS[name].name}', is 'EAM'; .*differences"
    with pytest.raises(ValueError, match=f"^{name} was .*{told}"):
        load_stored(name, SETTINGS[name], model=wider)


@pytest.mark.parametrize("name", LOADERS)
def test_every_loader_refuses_another_model(name, wider, monkeypatch):
    for module in (stored, studies):
        monkeypatch.setattr(module, "EAM", wider)
    with pytest.raises(ValueError, match="another model.*make results ARGS="):
        LOADERS[name]()


@pytest.mark.parametrize("name", NETWORKS)
def test_other_weights_are_refused(name, tmp_path):
    settings, model = SETTINGS[name], MODELS[name]
    content = load_stored(name, settings, model=model)
    for network in NETWORKS[name]:
        hashes = content["sha256"] | {network: "0"}
        write_stored(name, content | {"sha256": hashes}, settings, tmp_path, model=model)
        with pytest.raises(
            ValueError, match=f"{name} was made with other weights of the {network} "
        ):
            load_stored(name, settings, tmp_path, model=model)


def test_weights_beside_a_result_are_those_that_count(tmp_path):
    write_stored("a.json", {"sha256": {"global": "0"}}, Made(), tmp_path)
    (tmp_path / "global.json").write_text('{"sha256": "0"}', encoding="utf-8")
    assert load_stored("a.json", Made(), tmp_path)["sha256"] == {"global": "0"}


@dataclass(frozen=True)
class Made:
    seed: int = 1
    by_size: tuple[tuple[int, float], ...] = ((10, 0.5),)


@pytest.mark.parametrize(
    ("then", "said"),
    [({"seed": 2, "by_size": [[10, 0.5]]}, "seed was 2, is 1"),
     ({"seed": 1}, "by_size was None"),
     ({"seed": 1, "by_size": [[10, 0.5]], "steps": 3}, "steps was 3, is None"),
     (None, "seed was None, is 1")],
)  # fmt: skip
def test_other_settings_are_refused(then, said, tmp_path):
    record = {"model": el.EAM.description()} | ({} if then is None else {"settings": then})
    (tmp_path / "a.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ValueError, match=f"a.json was made with other settings: .*{said}.*ARGS=a"):
        load_stored("a.json", Made(), tmp_path)


def test_settings_inside_settings_are_named(tmp_path):
    name = "films.json"
    write_stored(name, {}, SETTINGS[name], tmp_path)
    other = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    other["settings"]["stops"]["d0"] = [1.0]
    (tmp_path / name).write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(ValueError, match=r"settings: stops.d0 was \[1.0\], is \[1.0, 0.1, 0.01\];"):
        load_stored(name, SETTINGS[name], tmp_path)


def test_a_result_without_a_model_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"rows": []}), encoding="utf-8")
    with pytest.raises(ValueError, match="a.json was made with another model"):
        load_stored("a.json", Made(), tmp_path)


def test_a_result_of_a_network_that_is_not_shipped_is_refused(tmp_path):
    write_stored("a.json", {"sha256": {"mine": "0"}}, Made(), tmp_path)
    with pytest.raises(ValueError, match="other weights of the mine network"):
        load_stored("a.json", Made(), tmp_path)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"folder: no a.json in .*make results ARGS=a\."):
        load_stored("a.json", Made(), tmp_path)


def test_a_result_is_written_with_what_made_it_and_replaced_only_when_whole(tmp_path):
    write_stored("a.json", {"x": 1}, Made(), tmp_path)
    record = {"model": el.EAM.description(), "settings": {"seed": 1, "by_size": [[10, 0.5]]}}
    assert load_stored("a.json", Made(), tmp_path) == {"x": 1} | record
    with pytest.raises(TypeError):
        write_stored("a.json", {"x": object()}, Made(), tmp_path)
    assert load_stored("a.json", Made(), tmp_path)["x"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
