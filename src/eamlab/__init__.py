"""eamlab: compositional amortized inference for evidence accumulation models, with the answer key.

Three nouns: a `Model` is what generates the data, a `Study` what was observed, `Draws` what is
known then. Five verbs: `train`, `compose`, `exact`, `grade`, `check`.

Names are loaded on first use (PEP 562), so that ``import eamlab`` stays fast and does not start
TensorFlow until a network is really needed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from typing import Any

__version__ = "0.2.0"

_MODULE_OF = {
    name: module
    for module, names in {
        "composition.certificate": ("certify",),
        "composition.individuals": ("people",),
        "composition.posterior": ("compose",),
        "composition.summed": ("LiveSampler",),
        "composition.terms": ("summarize",),
        "draws": ("Draws",),
        "export": ("predict",),
        "grading": ("grade", "grade_many"),
        "model.conditions": ("TWO_CONDITIONS", "in_condition"),
        "model.density": ("choice_probability", "defective_cdf", "log_density"),
        "model.eam": ("EAM", "beta_from_raw"),
        "model.laboratory": ("LABORATORY",),
        "model.model": ("GroupParameter", "GroupPrior", "Model", "PersonParameter"),
        "model.simulator": ("simulate_paths", "simulate_trials"),
        "predictive": ("check",),
        "reading": ("read_trials",),
        "reference.individuals": ("exact_people",),
        "reference.posterior": ("exact",),
        "study": ("Study", "simulate"),
        "training": ("train",),
        "workflows": (
            "PRESETS",
            "Preset",
            "global_workflow",
            "load_pretrained",
            "local_workflow",
            "make_simulator",
        ),
    }.items()
    for name in names
}
_MODULES = {"hierarchical", "networks", *(path.partition(".")[0] for path in _MODULE_OF.values())}

__all__ = sorted(_MODULE_OF)


def _load_networks() -> None:
    with contextlib.suppress(ValueError):  # another backend, on which ours do not run
        importlib.import_module("eamlab.hierarchical")


class _Networks(importlib.abc.MetaPathFinder):
    """Loads our networks right after BayesFlow, so that Keras can load what was saved with them."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find BayesFlow as usual, and have it followed by our networks."""
        if fullname != "bayesflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None or "eamlab.backend" in sys.modules:
            return spec
        execute = spec.loader.exec_module

        def followed(module: Any) -> None:
            execute(module)
            _load_networks()

        spec.loader.exec_module = followed  # type: ignore[method-assign]
        return spec


if "bayesflow" in sys.modules:
    _load_networks()
else:
    sys.meta_path.insert(0, _Networks())


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"eamlab.{_MODULE_OF[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"eamlab.{name}")
    raise AttributeError(f"module 'eamlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, *_MODULES})
