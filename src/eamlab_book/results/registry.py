"""All results, each after what it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from eamlab.model.conditions import TWO_CONDITIONS
from eamlab.model.laboratory import LABORATORY
from eamlab.model.model import Model
from eamlab.workflows import MODELS, get_preset
from eamlab_book.collapsing import COLLAPSING
from eamlab_book.report_card import (
    CERTIFICATES,
    COMPOSED_SBC,
    EXACT_SBC,
    LARGEST,
    MODEL_GRADES,
    REAL,
    STRATIFIED,
    CertificateSettings,
    ComparisonSettings,
    CompositionSettings,
    DiscretizationSettings,
    GradeSettings,
    LapseSettings,
    LeverSettings,
    ModelGradeSettings,
    TuningSettings,
    composed_sbc_name,
    exact_sbc_name,
)
from eamlab_book.results import grades, independent, keys, models, networks, pages, widgets
from eamlab_book.results.workshop import Result
from eamlab_book.studies import DEMO_SIZES, STUDIES, DemoSettings
from eamlab_book.widgets.composition import KeySettings
from eamlab_book.widgets.film import FilmSettings

__all__ = ["NETWORKS", "RESULTS"]

_DATA = "src/eamlab_book/data"
_SHIPPED = "src/eamlab/weights"
_ENGINE = "src/eamlab_book/widgets/js/engine"
_BY_OTHERS: dict[str, Any] = {"packages": independent.PACKAGES}


def _network(
    name: str,
    folder: str,
    kind: str,
    preset: str,
    seconds: float,
    *needs: str,
    model: Model | None = None,
    epochs: int | None = None,
) -> Result:
    chosen = get_preset(preset)
    network, training = (
        (chosen.global_network, chosen.global_training)
        if kind == "global"
        else (chosen.local_network, chosen.local_training)
    )
    training = training if epochs is None else replace(training, epochs=epochs)
    settings = networks.Training(kind, preset, network, training)
    files = (f"{folder}/{name}.json", f"{folder}/{name}.weights.h5")
    make, check = networks.make_network, networks.check_network
    return Result(name, files, make, settings, seconds, needs, check, model=model)


def _stored(
    name: str, make: Any, settings: Any, seconds: float, *needs: str, file: str = "", **more: Any
) -> Result:
    """A result in the package's data, with one more file if there is one."""
    files = (f"{_DATA}/{name}.json", file) if file else (f"{_DATA}/{name}.json",)
    return Result(name, files, make, settings, seconds, needs, **more)


def _demo(n_subjects: int, seconds: float) -> Result:
    name, settings = f"demo_J{n_subjects}", DemoSettings(n_subjects)
    return _stored(name, keys.make_demo, settings, seconds, file=f"{_DATA}/{name}.npz")


def _script(of: Result) -> Result:
    name, files = f"{of.name}.weights", (f"{_ENGINE}/{of.name}.weights.js",)
    make, check = networks.make_script, networks.check_script
    return Result(name, files, make, None, 5, (of.name,), check, model=of.model)


def _pair(
    name: str,
    model: Model,
    preset: str = "laboratory",
    folder: str = _SHIPPED,
    seconds: float = 1800,
    epochs: int | None = None,
) -> tuple[Result, Result]:
    """The local network of a model, and the global one that builds on it."""
    people = f"{name}-local"
    how: dict[str, Any] = {"model": model, "epochs": epochs}
    return (
        _network(people, folder, "local", preset, seconds, **how),
        _network(name, folder, "global", preset, seconds, people, **how),
    )


def _model_grades(name: str, model: Model, grading: ModelGradeSettings) -> tuple[Result, Result]:
    """The exact posteriors of a model's graded studies, and the grades of its networks."""
    keys_of, of = f"keys_{name}", (name, f"{name}-local", f"keys_{name}")
    return (
        _stored(keys_of, models.make_model_keys, grading.keys, 1000, model=model),
        _stored(f"grades_{name}", models.make_model_grades, grading, 60, *of, model=model),
    )


def _certificates(network: str, of: Mapping[str, CertificateSettings]) -> Iterator[Result]:
    """The certificates of a network's graded studies, whose exact posteriors have like names."""
    model, _ = MODEL_GRADES.get(network, (None, None))
    for name, settings in of.items():
        needs = (network, name.replace("certificates", "keys"))
        yield _stored(name, grades.make_certificates, settings, 2400, *needs, model=model)


NETWORKS = (
    _network("local", _SHIPPED, "local", "full", 760),
    _network("global", _SHIPPED, "global", "full", 1880, "local"),
    _network("global-pooled", "src/eamlab_book/weights", "global", "comparison", 1805),
    _network("local-pooled", "src/eamlab_book/weights", "local", "comparison", 700),
    *_pair("laboratory", LABORATORY),
    *_pair("two-conditions", TWO_CONDITIONS, epochs=32),
    *_pair("collapsing", COLLAPSING, "own", "src/eamlab_book/weights", 60),
)

_SCRIPTS = tuple(_script(network) for network in NETWORKS if network.files[0].startswith(_SHIPPED))
_DEMOS = tuple(f"demo_J{n}" for n in DEMO_SIZES)

RESULTS = (
    *NETWORKS,
    *(_demo(n, seconds) for n, seconds in zip(DEMO_SIZES, (6, 15, 50, 800), strict=True)),
    *(_stored(f"studies_J{n}", keys.make_studies, s, 1000) for n, s in STUDIES.items()),
    *_SCRIPTS,
    _stored("explorer", widgets.make_explorer, KeySettings(), 130, *_DEMOS),
    Result(
        "demo.trials",
        (f"{_ENGINE}/demo.trials.js",),
        widgets.make_trials,
        DemoSettings(max(DEMO_SIZES)),
        1,
        check=widgets.check_trials,
    ),
    _stored("films", widgets.make_films, FilmSettings(), 20, "global", *_DEMOS[:3]),
    _stored("grades", grades.make_grades, GradeSettings(), 7200, "global", "global-pooled"),
    _stored("keys", models.make_model_keys, STRATIFIED, 6000),
    _stored("keys_J100000", models.make_model_keys, LARGEST, 2400),
    _stored(
        "compositions", grades.make_compositions, CompositionSettings(), 1200, "global", "grades"
    ),
    _stored("discretization", grades.make_discretization, DiscretizationSettings(), 600),
    _stored("tuning", grades.make_tuning, TuningSettings(), 600, "global"),
    _stored("levers", grades.make_levers, LeverSettings(), 1800, "global", "local"),
    *(
        _stored(exact_sbc_name(*of), keys.make_sbc, s, 1000, model=MODELS.get(s.model or ""))
        for of, s in EXACT_SBC.items()
    ),
    *(r for name, of in MODEL_GRADES.items() for r in _model_grades(name, *of)),
    *(r for network, of in CERTIFICATES.items() for r in _certificates(network, of)),
    *(
        _stored(
            composed_sbc_name(name),
            grades.make_sbc_composed,
            settings,
            250,
            network,
            model=None if name == "EAM" else MODELS[name],
        )
        for (name, settings), network in zip(
            COMPOSED_SBC.items(), ("global", "laboratory", "two-conditions"), strict=True
        )
    ),
    _stored("independent", independent.make_independent, ComparisonSettings(), 630, **_BY_OTHERS),
    *(
        _stored(name, independent.make_real, settings, 1500, model=model, **_BY_OTHERS)
        for name, (model, settings) in REAL.items()
    ),
    _stored("lapses", keys.make_lapses, LapseSettings(), 300, model=LABORATORY),
    Result(
        "example_trials",
        ("book/data/example_trials.json", "book/data/example_trials.csv"),
        pages.make_example,
        pages.ExampleSettings(),
        1,
    ),
    Result(
        "stored",
        ("src/eamlab_book/widgets/js/lab/stored.js",),
        pages.make_lab,
        None,
        1,
        ("example_trials", "demo_J10000", *(script.name for script in _SCRIPTS)),
        check=pages.check_lab,
    ),
    _stored(
        "readme_figure",
        pages.make_figure,
        pages.FigureSettings(),
        10,
        *("global", "demo_J1000"),
        file="book/static/readme.png",
    ),
    Result("README", ("README.md",), pages.make_table, None, 1, check=pages.check_table),
)
"""In the order in which they are made."""
