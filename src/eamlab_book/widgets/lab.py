"""The lab page's scripts, and what is stored for it: an example file and a population.

Its weights are whatever networks are registered in ``js/engine``: a model is there once its global
and its local network are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eamlab_book.network_file import engine_scripts
from eamlab_book.widgets.widget import script_folder

if TYPE_CHECKING:
    from eamlab.draws import Draws

__all__ = ["lab_scripts", "stored_script"]

_PARTS = ("reading", "check", "analysis", "stored", "answers", "figures")
_WIDGETS = ("lab", "subject", "classroom")
_CROWD = 200  # draws of the population


def lab_scripts() -> tuple[str, ...]:
    """Return the lab page's own scripts, in the order in which it loads them after the widgets'."""
    networks = sorted(
        path.name.removesuffix(".weights.js")
        for path in (script_folder() / "engine").glob("*.weights.js")
    )
    _, *engine = engine_scripts(*networks)
    own = (f"lab/{name}.js" for name in (*_PARTS, *_WIDGETS))
    return (*engine, "vendor/qrcode-svg/qrcode.min.js", *own)


def stored_script(example: Path, crowd: Draws) -> str:
    """Return the script that holds the example file, and draws of a population's posterior.

    Parameters
    ----------
    example : path
        A text file of trials.
    crowd : Draws
        Of the group parameters of a large study, with their model.
    """
    if crowd.model is None:
        raise ValueError("crowd does not say of which model it is; give model= to Draws.")
    chosen = np.linspace(0, crowd.num_samples - 1, _CROWD).round().astype(int)
    draws = {k: [float(f"{x:.5g}") for x in crowd[k][chosen]] for k in crowd.group_names}
    content = {
        "example": {"name": example.name, "text": example.read_text(encoding="utf-8")},
        "crowd": {"fingerprint": crowd.model.fingerprint, "draws": draws},
    }
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return f"Object.assign(globalThis.eamlab.lab, {text});\n"
