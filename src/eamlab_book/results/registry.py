"""All results, each after what it needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from eamlab.model.conditions import TWO_CONDITIONS
from eamlab.model.laboratory import LABORATORY
from eamlab.model.model import Model
from eamlab.workflows import MODELS, get_preset
from eamlab_book.collapsing import COLLAPSING
from eamlab_book.report_card import (
    EXACT_SBC,
    REAL,
    ComparisonSettings,
    ComposedSBCSettings,
    DiscretizationSettings,
    GradeSettings,
    LapseSettings,
    LeverSettings,
    TuningSettings,
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


def _demo(n_subjects: int, seconds: float) -> Result:
    name = f"demo_J{n_subjects}"
    files = (f"{_DATA}/{name}.json", f"{_DATA}/{name}.npz")
    return Result(name, files, keys.make_demo, DemoSettings(n_subjects), seconds)


def _stored(name: str, make: object, settings: object, seconds: float, *needs: str) -> Result:
    return Result(name, (f"{_DATA}/{name}.json",), make, settings, seconds, needs)  # type: ignore[arg-type]


def _script(network: Result) -> Result:
    name = network.name
    return Result(
        f"{name}.weights",
        (f"{_ENGINE}/{name}.weights.js",),
        networks.make_script,
        None,
        5,
        (name,),
        check=networks.check_script,
        model=network.model,
    )


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


NETWORKS = (
    _network("global", _SHIPPED, "global", "full", 2130),
    _network("local", _SHIPPED, "local", "full", 2200),
    _network("global-pooled", "src/eamlab_book/weights", "global", "comparison", 1805),
    _network("local-pooled", "src/eamlab_book/weights", "local", "comparison", 700),
    *_pair("laboratory", LABORATORY),
    *_pair("two-conditions", TWO_CONDITIONS, epochs=32),
    *_pair("collapsing", COLLAPSING, "own", "src/eamlab_book/weights", 60),
)

_DEMOS = tuple(f"demo_J{n}" for n in DEMO_SIZES)

RESULTS = (
    *NETWORKS,
    *(_demo(n, seconds) for n, seconds in zip(DEMO_SIZES, (6, 15, 50, 800), strict=True)),
    *(_stored(f"studies_J{n}", keys.make_studies, s, 1000) for n, s in STUDIES.items()),
    *(_script(network) for network in NETWORKS if network.files[0].startswith(_SHIPPED)),
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
    _stored("discretization", grades.make_discretization, DiscretizationSettings(), 600),
    _stored("tuning", grades.make_tuning, TuningSettings(), 600, "global"),
    _stored("levers", grades.make_levers, LeverSettings(), 1800, "global"),
    *(
        replace(
            _stored(exact_sbc_name(*of), keys.make_sbc, s, 1000),
            model=MODELS[s.model] if s.model else None,
        )
        for of, s in EXACT_SBC.items()
    ),
    Result(
        "grades_laboratory",
        (f"{_DATA}/grades_laboratory.json",),
        models.make_model_grades,
        models.ModelGradeSettings(),
        3600,
        ("laboratory", "laboratory-local"),
        model=LABORATORY,
    ),
    _stored("sbc_composed", grades.make_sbc_composed, ComposedSBCSettings(), 250, "global"),
    Result(
        "independent",
        (f"{_DATA}/independent.json",),
        independent.make_independent,
        ComparisonSettings(),
        630,
        packages=independent.PACKAGES,
    ),
    *(
        Result(
            name,
            (f"{_DATA}/{name}.json",),
            independent.make_real,
            settings,
            1500,
            packages=independent.PACKAGES,
            model=model,
        )
        for name, (model, settings) in REAL.items()
    ),
    Result(
        "lapses",
        (f"{_DATA}/lapses.json",),
        keys.make_lapses,
        LapseSettings(),
        300,
        model=LABORATORY,
    ),
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
        ("example_trials", "demo_J10000"),
        check=pages.check_lab,
    ),
    Result(
        "readme_figure",
        (f"{_DATA}/readme_figure.json", "book/static/readme.png"),
        pages.make_figure,
        pages.FigureSettings(),
        10,
        ("global", "demo_J1000"),
    ),
    Result("README", ("README.md",), pages.make_table, None, 1, check=pages.check_table),
)
"""In the order in which they are made."""
