"""Results computed ahead: the files that hold them, and what made them.

Every stored result is written and read here. It records the model, its settings, and the weights of
the networks where any were used; what was made with others is refused, in words that name the
command that makes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import eamlab
from eamlab.files import replaced
from eamlab.model.eam import EAM
from eamlab.model.model import Model, differences

_HERE = Path(__file__).parent
_SHOWN = 3  # differences of settings
_WEIGHTS = (Path(eamlab.__file__).parent / "weights", _HERE / "weights")


def command(name: str) -> str:
    """Return the command that makes a result, named like its file, anew."""
    return f"make results ARGS={Path(name).stem}"


def stored_path(name: str, folder: str | Path | None = None) -> Path:
    """Return where the file `name` lies: in `folder`, or among those that are shipped."""
    return (_HERE / "data" if folder is None else Path(folder)) / name


def write_stored(
    name: str,
    content: Mapping[str, Any],
    settings: Any,
    folder: str | Path | None = None,
    *,
    model: Model | None = None,
) -> Path:
    """Write a result with the model and the settings that made it, whole or not at all.

    Parameters
    ----------
    name : str
        Of the file, such as ``"grades.json"``.
    content : mapping
        What JSON can hold. Results of networks have an entry ``"sha256"``: a mapping from their
        names to those of their weights.
    settings : dataclass
        All that the result depends on, beside model and weights.
    folder : path, optional
        Where to; the package's own data by default.
    model : Model, optional
        What it was made for; `eamlab.EAM` by default.

    Returns
    -------
    pathlib.Path
    """
    target = stored_path(name, folder)
    record = {"model": (model or EAM).description(), "settings": _plain(settings)}
    write_whole(target, json.dumps({**record, **content, **record}, indent=1) + "\n")
    return target


def write_whole(target: Path, text: str) -> None:
    """Write a text file, whole or not at all, with the same ends of lines on every machine."""
    target.parent.mkdir(exist_ok=True)
    with replaced(target) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")


def load_stored(
    name: str, settings: Any, folder: str | Path | None = None, *, model: Model | None = None
) -> dict[str, Any]:
    """Load what `write_stored` wrote.

    Parameters
    ----------
    name, settings, folder, model
        As in `write_stored`.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no such file, or if it was made with another model, other settings or other
        weights than today's. The weights are those in `folder`, or else those that are shipped.
    """
    source = stored_path(name, folder)
    if not source.exists():
        raise ValueError(f"folder: no {name} in {source.parent}; run {command(name)}.")
    content: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    check_record(content, name, settings, folder, model=model)
    return content


def check_record(
    record: Mapping[str, Any],
    name: str,
    settings: Any,
    folder: str | Path | None = None,
    *,
    model: Model | None = None,
) -> None:
    """Refuse what was made with another model, other settings or other weights than today's.

    Parameters
    ----------
    record : mapping
        With the entries ``"model"``, ``"settings"`` and, for results of networks, ``"sha256"``.
    name, settings, folder, model
        As in `load_stored`.

    Raises
    ------
    ValueError
        That says what differs.
    """
    (model or EAM).check_made_with(record.get("model"), name, command(name))
    changed = list(differences(record.get("settings", {}), _plain(settings)))
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise ValueError(
            f"{name} was made with other settings: {'; '.join(changed[:_SHOWN])}{more}; run "
            f"{command(name)}."
        )
    for network, sha256 in record.get("sha256", {}).items():
        if sha256 != sha256_of(network, folder):
            raise ValueError(
                f"{name} was made with other weights of the {network} network than those of today; "
                f"run {command(name)}."
            )


def sha256_of(network: str, folder: str | Path | None = None) -> str | None:
    """Return the hash of a network's weights, from its card in `folder` or, if none, as shipped."""
    folders = _WEIGHTS if folder is None else (Path(folder), *_WEIGHTS)
    cards = (folder / f"{network}.json" for folder in folders)
    card = next((card for card in cards if card.exists()), None)
    return None if card is None else json.loads(card.read_text(encoding="utf-8"))["sha256"]


def _plain(settings: Any) -> dict[str, Any]:
    """Return settings as they read after a round through JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return plain
