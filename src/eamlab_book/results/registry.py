"""All results, each after what it needs."""

from __future__ import annotations

from eamlab.workflows import get_preset
from eamlab_book.report_card import (
    EXACT_SBC,
    ComparisonSettings,
    ComposedSBCSettings,
    DiscretizationSettings,
    GradeSettings,
    LeverSettings,
    TuningSettings,
)
from eamlab_book.results import grades, independent, keys, networks, pages, widgets
from eamlab_book.results.workshop import Result
from eamlab_book.studies import DEMO_SIZES, STUDIES, DemoSettings
from eamlab_book.widgets.film import FilmSettings
from eamlab_book.widgets.grid import GridSettings

__all__ = ["NETWORKS", "RESULTS"]

_DATA = "src/eamlab_book/data"


def _network(name: str, folder: str, kind: str, preset: str, seconds: float) -> Result:
    chosen = get_preset(preset)
    network, training = (
        (chosen.global_network, chosen.global_training)
        if kind == "global"
        else (chosen.local_network, chosen.local_training)
    )
    settings = networks.Training(kind, preset, network, training)
    files = (f"{folder}/{name}.json", f"{folder}/{name}.weights.h5")
    return Result(
        name, files, networks.make_network, settings, seconds, check=networks.check_network
    )


def _demo(n_subjects: int, seconds: float) -> Result:
    name = f"demo_J{n_subjects}"
    files = (f"{_DATA}/{name}.json", f"{_DATA}/{name}.npz")
    return Result(name, files, keys.make_demo, DemoSettings(n_subjects), seconds)


def _stored(name: str, make: object, settings: object, seconds: float, *needs: str) -> Result:
    return Result(name, (f"{_DATA}/{name}.json",), make, settings, seconds, needs)  # type: ignore[arg-type]


def _script(network: str) -> Result:
    file = f"src/eamlab_book/widgets/js/engine/{network}.weights.js"
    return Result(
        f"{network}.weights",
        (file,),
        networks.make_script,
        None,
        5,
        (network,),
        check=networks.check_script,
    )


NETWORKS = (
    _network("global", "src/eamlab/weights", "global", "full", 2130),
    _network("local", "src/eamlab/weights", "local", "full", 2200),
    _network("global-pooled", "src/eamlab_book/weights", "global", "comparison", 1805),
)

_DEMOS = tuple(f"demo_J{n}" for n in DEMO_SIZES)

RESULTS = (
    *NETWORKS,
    *(_demo(n, seconds) for n, seconds in zip(DEMO_SIZES, (6, 15, 50, 800), strict=True)),
    *(_stored(f"studies_J{n}", keys.make_studies, s, 1000) for n, s in STUDIES.items()),
    *map(_script, ("global", "local")),
    _stored("explorer", widgets.make_explorer, GridSettings(), 2400, "global", *_DEMOS),
    _stored("films", widgets.make_films, FilmSettings(), 20, "global", *_DEMOS[:3]),
    _stored("grades", grades.make_grades, GradeSettings(), 7200, "global", "global-pooled"),
    _stored("discretization", grades.make_discretization, DiscretizationSettings(), 600),
    _stored("tuning", grades.make_tuning, TuningSettings(), 600, "global"),
    _stored("levers", grades.make_levers, LeverSettings(), 1800, "global"),
    *(_stored(f"sbc_exact_{n}", keys.make_sbc, s, 1000) for n, s in EXACT_SBC.items()),
    _stored("sbc_composed", grades.make_sbc_composed, ComposedSBCSettings(), 250, "global"),
    Result(
        "independent",
        (f"{_DATA}/independent.json",),
        independent.make_independent,
        ComparisonSettings(),
        630,
        packages=independent.PACKAGES,
    ),
    Result(
        "example_trials",
        ("book/data/example_trials.json", "book/data/example_trials.csv"),
        pages.make_example,
        pages.ExampleSettings(),
        1,
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
