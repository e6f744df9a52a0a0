"""Networks and studies as classic scripts, for pages that run them in the reader's browser.

`make results` writes ``<name>.weights.js`` for each. A script holds all that
``widgets/js/engine/engine.js`` has to know: what the network infers and its prior, how it is built,
and the weights, as 16-bit integers in units of their array's largest value. That is as short as
half precision and six times as accurate: at 200 people the rounding moves a posterior mean by less
than 0.003 of its sd.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eamlab.composition.posterior import SEVERAL_STEPS, SINGLE_STEPS
from eamlab.hierarchical import Hierarchy, PersonPosterior, PopulationSummary
from eamlab.networks import AnchoredDiffusionModel
from eamlab.study import Study
from eamlab.workflows import TrainingSettings, model_of
from eamlab_book.widgets.widget import plain_symbol, script_folder

_LARGEST = 32_767
_LATEST = 2_047


def engine_scripts(*names: str) -> tuple[str, ...]:
    """Return the scripts of ``widgets/js``, in the order in which a page loads them.

    Parameters
    ----------
    *names : str
        The networks that the page runs, such as "global" and "local"; no other page should load
        their weights. The first two scripts are on every page of the book.
    """
    weights = (script_path(name).relative_to(script_folder()) for name in names)
    return ("core.js", "engine/engine.js", *(path.as_posix() for path in weights))


def script_path(name: str) -> Path:
    """Return where the script of a shipped network lies."""
    return script_folder() / "engine" / f"{name}.weights.js"


def network_script(workflow: Any, *, exact: bool = False) -> str:
    """Return a trained workflow as the text of a classic script.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow or bayesflow.BasicWorkflow
        From `eamlab.load_pretrained`, with an anchored network.
    exact : bool, default False
        Whether to write every weight as a number, in single precision.

    Raises
    ------
    ValueError
        If the workflow has another network.
    """
    content = _description(workflow)
    arrays = [leaf for leaf in _leaves(content) if isinstance(leaf["values"], np.ndarray)]
    whole, start = [], 0
    for leaf in arrays:
        values = leaf.pop("values")
        leaf["shape"] = list(values.shape)
        if exact:
            leaf["values"] = values.ravel().tolist()
            continue
        scale = float(np.abs(values).max()) / _LARGEST or 1.0
        leaf |= {"start": start, "scale": scale}
        whole.append(np.rint(values.ravel() / scale).astype("<i2"))
        start += values.size
    content["weights"] = base64.b64encode(b"".join(a.tobytes() for a in whole)).decode()
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return f"(globalThis.eamlab.networks ??= {{}})[{json.dumps(content['name'])}] = {text};\n"


def read_script(path: Path) -> dict[str, Any]:
    """Return what a script of `network_script` or `study_script` holds."""
    _, content = path.read_text(encoding="utf-8").split("] = ", 1)
    return dict(json.loads(content.rstrip(";\n")))


def study_script(name: str, study: Study) -> str:
    """Return a study as the text of a classic script.

    A trial is two letters of base64: a bit of choice before eleven of log time. The steps of time
    are below 0.2 % for a study of human choices, 1 ms at half a second.

    Parameters
    ----------
    name : str
        Under which the page finds the study.
    study : Study
        Of people with equally many trials each.

    Raises
    ------
    ValueError
        If the numbers of trials differ.
    """
    n_trials = sorted({*study.n_trials.tolist()})
    if len(n_trials) > 1:
        raise ValueError(
            f"study must have equally many trials a person, got {n_trials[0]} to {n_trials[-1]}; "
            "cut each person to the fewest."
        )
    choice, rt = study.trials.reshape(-1, 2).astype(float).T
    log_rt = np.log(rt)
    low, step = float(log_rt.min()), float(np.ptp(log_rt)) / _LATEST or 1.0
    code = (choice * (_LATEST + 1) + np.rint((log_rt - low) / step)).astype(">u2")
    bits = np.unpackbits(code.view("u1").reshape(-1, 2), axis=1)[:, 4:]
    content = {
        "n_trials": n_trials[0],
        "low": round(low, 6),
        "step": round(step, 9),
        "trials": base64.b64encode(np.packbits(bits)).decode(),
    }
    text = json.dumps(content, separators=(",", ":"))
    return f"(globalThis.eamlab.studies ??= {{}})[{json.dumps(name)}] = {text};\n"


def _description(workflow: Any) -> dict[str, Any]:
    """Return all that a page has to know, with an array as the "values" of a leaf."""
    card, model = workflow.model_card, model_of(workflow)
    network, summary = workflow.inference_network, workflow.summary_network
    if isinstance(summary, PopulationSummary) and isinstance(network, AnchoredDiffusionModel):
        kind = _global_description(network, summary)
    elif isinstance(network, PersonPosterior):
        kind = _local_description(network, summary, model)
    else:
        raise ValueError(
            "workflow must have networks that know the hierarchy, such as load_pretrained('global')"
            f", got {type(summary).__name__} and {type(network).__name__}."
        )
    sizes = card["training"]["group_sizes"]
    person = getattr(summary, "person", summary)
    return {
        "name": card["name"],
        "kind": card["kind"],
        "sha256": card["sha256"],
        "fingerprint": model.fingerprint,
        "model": model.description(),
        "names": list(model.prior.names),
        "means": model.prior.means.tolist(),
        "sds": model.prior.sds.tolist(),
        "group_sizes": [min(sizes), max(sizes)],
        "trials_seen": list(TrainingSettings(**card["training"]).trials_seen),
        "words": {
            p.name: {"symbol": plain_symbol(p.symbol), "meaning": p.meaning, "label": p.label}
            for p in model.prior.parameters
        },
        "trials": _mlp(person.trial_net),
        "subject": _mlp(person.subject_net),
        "summary": _dense(summary.out),
        "subnet": _time_mlp(network.subnet),
    } | kind


def _hierarchical_description(person: Any) -> dict[str, Any]:
    """What both networks have of people."""
    h: Hierarchy = person.hierarchy
    if h.trial_means:
        raise ValueError("workflow must be of choices and times, got a model of other trials.")
    numbers = ("scale", "center", "center_sd", "log_spreads", "log_weights")
    return {
        "guess": _mlp(person.first_net),
        "adjust": _dense(person.adjust),
        "second": _dense(person.second_look),
        "own_scale": person.own_scale,
        "hierarchy": {"population": [*map(list, h.population)], "shared": list(h.shared)}
        | {name: _numbers(getattr(h, name)) for name in numbers},
    }


def _global_description(network: Any, summary: Any) -> dict[str, Any]:
    schedule = network.noise_schedule.get_config()
    return {
        "projector": _dense(network.output_projector),
        "group": _mlp(summary.group_net),
        "estimates": _dense(summary.person.out),
        "members": _mlp(summary.person_net),
        **_hierarchical_description(summary.person),
        "schedule": {k: schedule[k] for k in ("min_log_snr", "max_log_snr", "shift")},
        "steps": {"single": SINGLE_STEPS, "several": SEVERAL_STEPS},
    }


def _local_description(network: Any, summary: Any, model: Any) -> dict[str, Any]:
    return {
        "projector": _dense(network.subnet_projector),
        "people": [
            {
                "name": p.name,
                "symbol": plain_symbol(p.symbol),
                "mean": p.mean,
                "log_sd": p.log_sd,
                "positive": p.positive,
            }
            for p in model.people
        ],
        "correction": [*_mlp(network.correction_net), _dense(network.correction_out)],
        **_hierarchical_description(summary),
        **{k: getattr(network, k) for k in ("steps", "rho", "sigma")},
    }


def _time_mlp(subnet: Any) -> dict[str, Any]:
    known = {"merge": "concat", "persistent_conditioning": False, "norm": "layer", "residual": True}
    given = {k: getattr(subnet, k, None) for k in known}
    if given != known or len(set(subnet.widths)) > 1:
        raise ValueError(
            f"workflow must have a TimeMLP of equal widths with {known}, got {given} and widths "
            f"{getattr(subnet, 'widths', None)}; train it with eamlab.global_workflow or "
            "eamlab.local_workflow."
        )
    frequencies = getattr(subnet.time_emb, "w", None)
    activation = subnet.activation.get_config()["activation"]
    merge, bias = subnet.merge_proj.kernel, _array(subnet.merge_proj.bias)
    width = subnet.x_proj.units
    return {
        # Exact: they are multiplied by hundreds before a sine is taken.
        "frequencies": None if frequencies is None else _numbers(frequencies),
        "scale": getattr(subnet.time_emb, "scale", 1.0),
        "x": _dense(subnet.x_proj, activation),
        "condition": _dense(subnet.c_proj, activation),
        # The merged layer in two: the condition's part is computed once, whatever the state.
        "state": {"kernel": _array(merge[:width]), "activation": activation},
        "given": {"kernel": _array(merge[width:]), "bias": bias, "activation": "linear"},
        "blocks": [
            {
                "dense": _dense(block.dense, activation),
                "gamma": _dense(block.film.to_gamma) if block.film.use_gamma else None,
                "beta": _dense(block.film.to_beta),
                "norm": {
                    "gamma": _array(block.norm_layer.gamma),
                    "beta": _array(block.norm_layer.beta),
                    "epsilon": block.norm_layer.epsilon,
                },
            }
            for block in subnet.blocks
        ],
    }


def _mlp(layers: Any) -> list[dict[str, Any]]:
    return [_dense(layer) for layer in layers.layers]


def _dense(layer: Any, activation: str | None = None) -> dict[str, Any]:
    activation = activation or layer.activation.__name__
    kernel, bias = _array(layer.kernel), _array(layer.bias)
    return {"kernel": kernel, "bias": bias, "activation": activation}


def _array(weight: Any) -> dict[str, Any]:
    return {"values": np.asarray(weight, dtype="float32")}


def _numbers(weight: Any) -> dict[str, Any]:
    values = np.asarray(weight, dtype="float32")
    return {"values": values.ravel().tolist(), "shape": list(values.shape)}


def _leaves(node: Any) -> Iterator[dict[str, Any]]:
    """Yield all mappings that hold "values", in order."""
    if isinstance(node, dict):
        if "values" in node:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _leaves(part)
