"""eamlab: compositional amortized inference for evidence accumulation models, with the answer key.

Names are loaded on first use (PEP 562), so that ``import eamlab`` stays fast and does not start
TensorFlow until a network is really needed.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "priors": ("GROUP_PRIOR", "SUBJECT_NAMES", "beta_from_raw", "sample_subjects"),
    "density": ("choice_probability", "defective_cdf", "log_density"),
    "simulate": (
        "make_simulator",
        "simulate_path",
        "simulate_paths",
        "simulate_studies",
        "simulate_trials",
    ),
    "workflows": ("PRESETS", "Preset", "global_workflow", "load_pretrained", "local_workflow"),
    "check": ("predictive_check",),
    "groups": ("group_subjects",),
    "compose": ("compose", "sample_subject_parameters"),
    "reference": (
        "exact_posterior",
        "exact_posteriors",
        "joint_posterior",
        "subject_posterior",
    ),
    "grade": ("grade", "grade_many", "grade_studies"),
    "live": ("LiveSampler",),
    "trials": ("Trials", "read_trials"),
    "results": ("predict_trials", "to_datatree", "write_results"),
    "widgets.composition": ("explorer",),
    "widgets.film": ("film",),
    "widgets.playgrounds": ("decision_playground", "population_playground", "toy_playground"),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}
_MODULES = ("plots", "exercises", *(module for module in _EXPORTS if "." not in module))

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(f"eamlab.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"eamlab.{name}")
    raise AttributeError(f"module 'eamlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, *_MODULES})


class _Package(ModuleType):
    """Keeps ``eamlab.compose`` and ``eamlab.grade`` the functions.

    Importing a submodule binds it in its package under its own name, which would hide the function
    of the same name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _MODULE_OF.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
