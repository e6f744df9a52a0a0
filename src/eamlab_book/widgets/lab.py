"""The lab page's scripts, and what is stored for it: an example file, a population, its models.

The page loads the networks of a model when a reader asks them first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eamlab_book.network_file import engine_scripts, read_script

if TYPE_CHECKING:
    from eamlab.draws import Draws

_PARTS = ("reading", "check", "analysis", "stored", "answers", "figures")
_WIDGETS = ("lab", "subject", "classroom")
_CROWD = 200  # draws of the population
_FIRST = "laboratory"  # the model that suits most data


def lab_scripts() -> tuple[str, ...]:
    """Return the lab page's own scripts, in the order in which it loads them after the widgets'."""
    _, *engine = engine_scripts()
    own = (f"lab/{name}.js" for name in (*_PARTS, *_WIDGETS))
    return (*engine, "vendor/qrcode-svg/qrcode.min.js", *own)


def stored_script(example: Path, crowd: Draws, networks: Iterable[Path]) -> str:
    """Return the script that holds the example file, a population's posterior, and the models.

    Parameters
    ----------
    example : path
        A text file of trials.
    crowd : Draws
        Of the group parameters of a large study, with their model.
    networks : iterable of path
        Their scripts: a global network is a model of the page, a local one belongs to it.
    """
    if crowd.model is None:
        raise ValueError("crowd does not say of which model it is; give model= to Draws.")
    chosen = np.linspace(0, crowd.num_samples - 1, _CROWD).round().astype(int)
    draws = {k: [float(f"{x:.5g}") for x in crowd[k][chosen]] for k in crowd.group_names}
    content = {
        "example": {"name": example.name, "text": example.read_text(encoding="utf-8")},
        "crowd": {"fingerprint": crowd.model.fingerprint, "draws": draws},
        "models": _models([read_script(path) for path in networks]),
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return f"Object.assign(globalThis.eamlab.lab, {text});\n"


def _models(networks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the page knows of its models before it loads their networks."""
    people = {one["fingerprint"]: one["name"] for one in networks if one["kind"] == "local"}
    models = [
        {
            "name": one["name"],
            "networks": [one["name"], *filter(None, [people.get(one["fingerprint"])])],
            "label": "{}: {} to {} trials a person".format(
                one["model"]["name"], *one["trials_seen"]
            ),
            "fingerprint": one["fingerprint"],
            "conditions": one["model"].get("conditions"),
        }
        for one in networks
        if one["kind"] == "global"
    ]
    return sorted(models, key=lambda model: (model["name"] != _FIRST, model["name"]))
