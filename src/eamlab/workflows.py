"""The two BayesFlow workflows, their presets, and the shipped weights.

The *global* workflow infers the seven group parameters from a small group of subjects and can be
composed to any number of groups; the *local* workflow infers one subject's parameters given the
group parameters.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from eamlab.backend import bf

import numpy as np

from eamlab.hierarchical import Hierarchy, PersonPosterior, PersonSummary, PopulationSummary
from eamlab.model.conditions import TWO_CONDITIONS
from eamlab.model.eam import EAM
from eamlab.model.laboratory import LABORATORY
from eamlab.model.model import DECISION, Model, Seed, check_count, seed_sequence
from eamlab.networks import (
    AnchoredDiffusionModel,
    CompiledDiffusionModel,
    EvenNoiseSchedule,
    GroupSummary,
    PooledSummary,
)

# BayesFlow announces every fit and every draw at level INFO; the progress bars say the same.
logging.getLogger("bayesflow").setLevel(logging.WARNING)
# BayesFlow compiles its solver anew at every call, of which TensorFlow warns from the fifth on.
logging.getLogger("tensorflow").addFilter(lambda record: "retracing" not in record.getMessage())

_FEWEST_IN_BATCH, _FEWEST_OF_MANY_TRIALS, _MANY_TRIALS = 16, 4, 200

SUMMARIES = ("subject-aware", "pooled", "hierarchical")
"""Summary networks; a local workflow has one of the last two."""

SCORES = ("anchored", "plain")
"""Score networks of the global workflow."""

_CONSISTENCY_STEPS = 3
"""Sampling steps of the local network: as well calibrated as with the library's 15, and faster."""

MODELS = {model.name: model for model in (EAM, LABORATORY, TWO_CONDITIONS)}
"""The shipped models, by the names that model cards know them by."""


@dataclass(frozen=True)
class NetworkSettings:
    """Kinds and sizes of one workflow's networks.

    ``score="plain"`` is BayesFlow's own diffusion model instead of the anchored one; the local
    workflow ignores it. With the pooled summary both workflows have BayesFlow's own networks.
    ``own_scale`` is for the hierarchical summary, which then also sees trials on each person's own
    scale.
    """

    summary: str = "subject-aware"
    score: str = "anchored"
    summary_dim: int = 64
    own_scale: bool = False
    widths: tuple[int, ...] = (128, 128, 128)
    activation: str = "silu"

    def __post_init__(self) -> None:
        if self.summary not in SUMMARIES:
            raise ValueError(f"summary must be one of {SUMMARIES}, got {self.summary!r}.")
        if self.score not in SCORES:
            raise ValueError(f"score must be one of {SCORES}, got {self.score!r}.")
        if self.own_scale and self.summary != "hierarchical":
            raise ValueError(
                f"own_scale must be False for the {self.summary} summary; only the hierarchical "
                "one knows persons."
            )


@dataclass(frozen=True)
class TrainingSettings:
    """How long, on what and how a workflow is trained.

    ``group_sizes`` is walked through batch by batch, so an entry that stands twice is trained
    twice as often. A batch holds ``batch_size`` groups, or fewer where these would have more than
    ``trials_per_batch`` trials, for equal cost. Every ``ragged_every``-th batch has another
    number of trials than ``n_trials``, within ``trial_range`` and different for each subject.
    In half of the batches each population has ``sharing`` groups, so that an anchored network
    learns what their product says, too. ``averaging`` is the momentum of the moving average over
    the weights of past steps that the training ends with. ``scheme`` is an option of the model's
    simulator, whose default is taken where it is None.
    """

    epochs: int
    batches_per_epoch: int = 256
    batch_size: int = 64
    learning_rate: float = 5e-4
    scheme: str | None = None
    group_sizes: tuple[int, ...] = (5,)
    n_trials: int = 30
    offline: bool = False
    trials_per_batch: int | None = None
    ragged_every: int | None = None
    trial_range: tuple[int, int] = (10, 200)
    sharing: int = 1
    averaging: float | None = None
    seed: int = 2026

    @property
    def options(self) -> dict[str, Any]:
        """Options of the simulator."""
        return {} if self.scheme is None else {"scheme": self.scheme}

    @property
    def trials_seen(self) -> tuple[int, int]:
        """Fewest and most trials of a subject in the training."""
        return (self.n_trials, self.n_trials) if self.ragged_every is None else self.trial_range

    def batch_size_of(self, group_size: int, n_trials: int) -> int:
        """Return the number of groups of `group_size` in a batch."""
        if self.trials_per_batch is None:
            return self.batch_size
        affordable = self.trials_per_batch // (group_size * n_trials)
        many = self.trial_range[1] > _MANY_TRIALS
        fewest = _FEWEST_OF_MANY_TRIALS if many else _FEWEST_IN_BATCH
        return min(self.batch_size, max(affordable, min(fewest, self.batch_size)))


@dataclass(frozen=True)
class Preset:
    """Settings of both workflows under one name."""

    name: str
    description: str
    global_network: NetworkSettings = NetworkSettings()
    global_training: TrainingSettings = TrainingSettings(epochs=1)
    local_network: NetworkSettings = NetworkSettings(summary="hierarchical", summary_dim=16)
    local_training: TrainingSettings = TrainingSettings(epochs=1, group_sizes=(1,))


# The sizes are BayesFlow's own.
_TUTORIAL_NETWORK = NetworkSettings(
    summary="pooled", summary_dim=16, widths=(256, 256, 256, 256, 256), activation="mish"
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="tutorial",
            description="The published settings: a fixed set of 256 x 64 Euler-Maruyama groups, "
            "1,000 epochs (local: 50), the library's default networks, pooled summary.",
            global_network=_TUTORIAL_NETWORK,
            global_training=TrainingSettings(epochs=1000, scheme="euler-maruyama", offline=True),
            local_network=_TUTORIAL_NETWORK,
            local_training=TrainingSettings(
                epochs=50, scheme="euler-maruyama", offline=True, group_sizes=(1,)
            ),
        ),
        Preset(
            name="comparison",
            description="The tutorial's networks on fresh exact simulations: what the shipped "
            "pooled weights were trained with. Their model cards give the processor time.",
            global_network=_TUTORIAL_NETWORK,
            global_training=TrainingSettings(epochs=18),
            local_network=_TUTORIAL_NETWORK,
            local_training=TrainingSettings(epochs=20, group_sizes=(1,)),
        ),
        Preset(
            name="quick",
            description="A few minutes on two cores: for Binder, the chapters and the tests.",
            global_training=TrainingSettings(epochs=20, batches_per_epoch=200, learning_rate=2e-3),
            local_training=TrainingSettings(
                epochs=12, batches_per_epoch=200, learning_rate=2e-3, group_sizes=(1,)
            ),
        ),
        Preset(
            name="full",
            description="What the shipped weights were trained with: fresh exact simulations, "
            "groups of 1 to 200 subjects with 5 to 500 trials each. Train local first.",
            global_network=NetworkSettings(summary="hierarchical", summary_dim=32),
            global_training=TrainingSettings(
                epochs=120,
                batch_size=192,
                learning_rate=1e-3,
                group_sizes=(200, 20, 100, 50, 200, 100, 10, 200, 5, 2, 200, 1),
                trials_per_batch=96_000,
                ragged_every=4,
                trial_range=(5, 500),
                averaging=0.999,
                sharing=4,
            ),
            local_training=TrainingSettings(
                epochs=40,
                batch_size=768,
                learning_rate=2e-3,
                group_sizes=(1,),
                trials_per_batch=96_000,
                ragged_every=2,
                trial_range=(5, 500),
                averaging=0.999,
            ),
        ),
        Preset(
            name="laboratory",
            description="What the shipped laboratory networks were trained with: a Gaussian per "
            "person, a population of them; 5 to 1,000 trials each, ragged. Train local first.",
            global_network=NetworkSettings(summary="hierarchical", summary_dim=32, own_scale=True),
            global_training=TrainingSettings(
                epochs=28,
                batches_per_epoch=384,
                learning_rate=1e-3,
                group_sizes=(20, 5, 50, 10, 100, 2, 30, 200, 15, 1, 60),
                n_trials=100,
                trials_per_batch=32_000,
                ragged_every=2,
                trial_range=(5, 1000),
                averaging=0.999,
            ),
            local_network=NetworkSettings(summary="hierarchical", summary_dim=16, own_scale=True),
            local_training=TrainingSettings(
                epochs=48,
                batches_per_epoch=512,
                batch_size=128,
                learning_rate=2e-3,
                group_sizes=(1,),
                n_trials=400,
                trials_per_batch=24_000,
                ragged_every=2,
                trial_range=(5, 1000),
                averaging=0.999,
            ),
        ),
        Preset(
            name="own",
            description="For any model, both networks in about two minutes on one core: groups of "
            "2 to 100 people with 5 to 100 trials each, ragged. Train local first.",
            global_network=NetworkSettings(summary="hierarchical", summary_dim=16),
            global_training=TrainingSettings(
                epochs=8,
                batches_per_epoch=128,
                learning_rate=2e-3,
                group_sizes=(20, 5, 50, 10, 100, 2),
                trials_per_batch=20_000,
                ragged_every=2,
                trial_range=(5, 100),
            ),
            local_training=TrainingSettings(
                epochs=6,
                batches_per_epoch=128,
                batch_size=256,
                learning_rate=2e-3,
                group_sizes=(1,),
                ragged_every=2,
                trial_range=(5, 100),
            ),
        ),
    )
}
"""The named presets; each says what it is for in its ``description``."""


def get_preset(preset: str | Preset) -> Preset:
    """Return the preset of that name, or the given preset itself."""
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {tuple(PRESETS)} or a Preset, got {preset!r}.")
    return PRESETS[preset]


def _base_adapter(model: Model) -> bf.Adapter:
    """Float32 arrays, group parameters as prior z-scores.

    Standardizing by the prior's own moments rather than a batch's keeps the diffused prior
    N(0, I) at every diffusion time of a variance-preserving schedule, which the composition
    relies on.
    """
    adapter = bf.Adapter().to_array().convert_dtype("float64", "float32")
    for p in model.prior.parameters:
        adapter = adapter.standardize(p.name, mean=p.mean, std=p.sd)
    return adapter.rename("sim_data", "summary_variables")


def global_adapter(model: Model) -> bf.Adapter:
    """Build the adapter of the global workflow: the group parameters from ``sim_data``."""
    names = list(model.prior.names)
    adapter = _base_adapter(model).concatenate(names, into="inference_variables")
    return adapter.keep(["inference_variables", "summary_variables"])


def local_adapter(model: Model) -> bf.Adapter:
    """Build the adapter of the local workflow: a person's parameters, given the group's.

    Positive parameters are inferred on the log scale, on which they are normal over people.
    """
    adapter = (
        _base_adapter(model)
        .log([p.name for p in model.people if p.positive])
        .concatenate(list(model.person_names), into="inference_variables")
        .concatenate(list(model.prior.names), into="inference_conditions")
    )
    return adapter.keep(["inference_variables", "inference_conditions", "summary_variables"])


def global_workflow(
    model: Model = EAM,
    *,
    network: NetworkSettings | None = None,
    preset: str | Preset = "quick",
    summary: str | None = None,
    learning_rate: float | None = None,
) -> bf.CompositionalWorkflow:
    """Build the (untrained) global workflow.

    A score-based ``DiffusionModel`` on the group parameters, conditioned on a summary network over
    the trials of a small group of subjects.

    Parameters
    ----------
    model : Model, default `eamlab.EAM`
        Whose group parameters.
    network : NetworkSettings, optional
        Sizes of the networks; those of `preset` by default.
    preset : str or Preset, default "quick"
        Where settings that are not given come from.
    summary : {"subject-aware", "pooled", "hierarchical"}, optional
        Overrides the summary network: the nested set network that knows which responses belong to
        one subject, the tutorial's set transformer over the pooled trials, or the one that knows
        the hierarchy and builds on a trained local network.
    learning_rate : float, optional
        Initial learning rate; that of the preset by default.

    Returns
    -------
    bayesflow.CompositionalWorkflow
        With ``.simulator`` set to groups of the preset's first size, and ``.model``.

    Raises
    ------
    ValueError
        If `preset` or `summary` is unknown, or the summary network does not know such trials.
    """
    preset = get_preset(preset)
    network = network or preset.global_network
    if summary is not None:
        network = replace(network, summary=summary)
    _check_summary(network, model)
    if network.summary == "hierarchical":
        summaries: Any = PopulationSummary(
            Hierarchy.of(model), summary_dim=network.summary_dim, own_scale=network.own_scale
        )
    else:
        kind = PooledSummary if network.summary == "pooled" else GroupSummary
        summaries = kind(summary_dim=network.summary_dim)
    subnet: dict[str, Any] = {"widths": network.widths, "activation": network.activation}
    if network.summary == "pooled" or network.score == "plain":
        inference: Any = CompiledDiffusionModel(subnet_kwargs=subnet)
    else:
        # The noise level enters through each variable's share of signal, which is smooth down to
        # no noise at all; Fourier features of the time are not. The condition is seen once, which
        # halves the arithmetic of the composition.
        subnet |= {"time_embedding_dim": 1, "persistent_conditioning": False}
        inference = AnchoredDiffusionModel(subnet_kwargs=subnet, noise_schedule=EvenNoiseSchedule())
    training = preset.global_training
    workflow = bf.CompositionalWorkflow(
        simulator=make_simulator(
            model, training.group_sizes[0], training.n_trials, **training.options
        ),
        adapter=global_adapter(model),
        inference_network=inference,
        summary_network=summaries,
        initial_learning_rate=learning_rate or training.learning_rate,
        standardize=None,
    )
    workflow.model = model
    return workflow


def local_workflow(
    model: Model = EAM,
    *,
    network: NetworkSettings | None = None,
    preset: str | Preset = "quick",
    learning_rate: float | None = None,
) -> bf.BasicWorkflow:
    """Build the (untrained) local workflow.

    A ``StableConsistencyModel`` on the parameters of one subject, conditioned on the summary of
    the subject's trials and on the group parameters: with a pooled summary BayesFlow's own, else
    one around a Gaussian (`hierarchical.PersonPosterior`).

    Parameters
    ----------
    model : Model, default `eamlab.EAM`
        Whose parameters.
    network : NetworkSettings, optional
        Sizes of the networks; those of `preset` by default.
    preset : str or Preset, default "quick"
        Where settings that are not given come from.
    learning_rate : float, optional
        Initial learning rate; that of the preset by default.

    Returns
    -------
    bayesflow.BasicWorkflow

    Raises
    ------
    ValueError
        If `preset` is unknown, or the summary network is one of groups or of other trials.
    """
    preset = get_preset(preset)
    network = network or preset.local_network
    _check_summary(network, model)
    if network.summary not in SUMMARIES[1:]:
        raise ValueError(
            f"summary must be one of {SUMMARIES[1:]} for a local network, got {network.summary!r}."
        )
    subnet = {"widths": network.widths, "activation": network.activation}
    if network.summary == "pooled":
        summary: Any = PooledSummary(summary_dim=network.summary_dim)
        inference = bf.networks.StableConsistencyModel(subnet_kwargs=subnet)
    else:
        hierarchy = Hierarchy.of(model)
        summary = PersonSummary(
            hierarchy, summary_dim=network.summary_dim, own_scale=network.own_scale
        )
        inference = PersonPosterior(hierarchy, subnet_kwargs=subnet, steps=_CONSISTENCY_STEPS)
    training = preset.local_training
    studies = make_simulator(model, 1, training.n_trials, **training.options)
    # Of studies of one person each: that person's trials, (batch, n_trials, width).
    first = bf.simulators.LambdaSimulator(
        lambda batch_shape, sim_data: {"sim_data": sim_data[..., 0, :, :]}, is_batched=True
    )
    workflow = bf.BasicWorkflow(
        simulator=bf.simulators.SequentialSimulator([studies, first]),
        adapter=local_adapter(model),
        inference_network=inference,
        summary_network=summary,
        initial_learning_rate=learning_rate or training.learning_rate,
        # The others standardize by the population's own mean and sd.
        standardize="inference_variables" if network.summary == "pooled" else None,
    )
    workflow.model = model
    return workflow


def _check_summary(network: NetworkSettings, model: Model) -> None:
    if network.summary != "hierarchical" and model.columns != DECISION:
        raise ValueError(
            f"summary: the {network.summary} network knows trials of {DECISION} only, and those of "
            f"{model.name} are {model.columns}; take the hierarchical one, as preset='own' does."
        )


def model_of(workflow: Any) -> Model:
    """Return the model that a workflow knows.

    Raises
    ------
    ValueError
        If it knows none.
    """
    model = getattr(workflow, "model", None)
    if not isinstance(model, Model):
        raise ValueError(
            f"workflow does not know its model ({type(workflow).__name__}); make it with "
            "el.global_workflow, el.local_workflow or el.load_pretrained, or set workflow.model."
        )
    return model


def make_simulator(
    model: Model = EAM,
    n_subjects: int = 5,
    n_trials: int = 30,
    *,
    seed: Seed | None = None,
    **options: Any,
) -> bf.simulators.Simulator:
    """Build a model's studies as a BayesFlow simulator: group, people, trials, in sequence.

    Parameters
    ----------
    model : Model, default `eamlab.EAM`
        What to simulate.
    n_subjects : int, default 5
        People per study.
    n_trials : int, default 30
        Trials per person.
    seed : int, numpy.random.SeedSequence or numpy.random.Generator, optional
        Seeds the simulator once, when it is made: its successive ``sample`` calls give new
        studies, and a simulator made with the same seed gives the same sequence of them. By
        default the operating system provides a seed.
    **options
        For the model's `simulate`, such as ``scheme``.

    Returns
    -------
    bayesflow.simulators.SequentialSimulator
        ``.sample((batch,))`` returns the keys of `Model.sample`, with ``batch`` for ``n_studies``.
        Group parameters given as keywords stay fixed: ``.sample((8,), mu_nu=1.0)``.
        ``.sample_parallel((batch,), n_jobs=2, seed=1)`` draws every study in a job of its own;
        BayesFlow reseeds each from its own `seed` argument, so that no two are alike.

    Raises
    ------
    ValueError
        If a count is below 1.

    See Also
    --------
    eamlab.simulate : The same in one call, and faster.

    Notes
    -----
    Each worker of ``sample_parallel`` imports BayesFlow before its first study, which takes longer
    than simulating thousands of studies without it; ``sample`` already uses all cores.
    """
    check_count("n_subjects", n_subjects)
    check_count("n_trials", n_trials)
    # BayesFlow finds this generator in the closures below and reseeds it in every parallel job.
    rng = np.random.default_rng(None if seed is None else seed_sequence(seed))

    class Held:
        """What BayesFlow must not search: it fails in numba's functions, but skips classes."""

        of = model

    def group(batch_shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        draws = Held.of.prior.sample(math.prod(batch_shape), rng)
        return {k: v.reshape(*batch_shape, 1) for k, v in draws.items()}

    def people(batch_shape: tuple[int, ...], **values: np.ndarray) -> dict[str, np.ndarray]:
        draws = Held.of.sample_people(values, n_subjects, rng)
        return {k: v.reshape(*batch_shape, n_subjects) for k, v in draws.items()}

    def trials(batch_shape: tuple[int, ...], **values: np.ndarray) -> dict[str, np.ndarray]:
        return {"sim_data": Held.of.trials_of(values, n_trials, seed=rng, **options)}

    batched = {"is_batched": True}
    return bf.make_simulator(
        [group, people, trials], {"group": batched, "people": batched, "trials": batched}
    )


def build_networks(
    workflow: bf.BasicWorkflow, n_subjects: int | None = 5, n_trials: int = 30
) -> None:
    """Create the weights of `workflow` without data, so that they can be counted or loaded.

    Parameters
    ----------
    workflow : bayesflow.BasicWorkflow
        Global (``n_subjects`` given) or local (``n_subjects=None``).
    n_subjects, n_trials : int
        Shape of the data; the subject-aware networks accept any other afterwards.
    """
    model = model_of(workflow)
    group = {name: np.zeros((2, 1)) for name in model.prior.names}
    subject = {name: np.ones((2, 1)) for name in model.person_names}
    width = len(model.columns)
    shape = (2, n_trials, width) if n_subjects is None else (2, n_subjects, n_trials, width)
    data = group | subject | {"sim_data": np.ones(shape, dtype="float32")}
    workflow.estimator.build_from_data(workflow.adapter(data))


def weights_folder() -> Path:
    """Return the folder of the shipped weights and model cards."""
    return Path(str(files("eamlab"))) / "weights"


def load_pretrained(
    name: str, *, folder: str | Path | None = None, model: Model | None = None
) -> bf.BasicWorkflow:
    """Load a trained workflow with its model card.

    Parameters
    ----------
    name : str
        Which network: "global" and "local" of `eamlab.EAM`, "laboratory" and "laboratory-local",
        "two-conditions" and "two-conditions-local", or the name of one in `folder`.
    folder : path, optional
        Where ``<name>.json`` and ``<name>.weights.h5`` lie; the shipped weights by default. Use the
        ``--out`` folder of ``python -m eamlab train`` for your own.
    model : Model, optional
        The model that it was trained for; needed only if it is not one that is shipped.

    Returns
    -------
    bayesflow.CompositionalWorkflow or bayesflow.BasicWorkflow
        Trained, with its ``.model`` and the model card (dict) as ``.model_card``.

    Raises
    ------
    ValueError
        If there is no such network, if its file does not match its card, if it was made with
        another BayesFlow minor version, or trained for another model.
    """
    folder = Path(folder) if folder is not None else weights_folder()
    card_file, weights = folder / f"{name}.json", folder / f"{name}.weights.h5"
    if not card_file.exists() or not weights.exists():
        found, shipped = (
            sorted(p.stem for p in x.glob("*.json")) for x in (folder, weights_folder())
        )
        raise ValueError(
            f"name {name!r}: no {card_file.name} and {weights.name} in {folder}; found {found}. "
            f"Shipped are {shipped}; train your own with `python -m eamlab train`."
        )
    card = json.loads(card_file.read_text(encoding="utf-8"))
    made_with, installed = card["versions"]["bayesflow"], version("bayesflow")
    minor, minor_now = (".".join(text.split(".")[:2]) for text in (made_with, installed))
    if minor != minor_now:
        raise ValueError(
            f"weights {name!r} were made with BayesFlow {made_with}, but {installed} is installed; "
            f"install bayesflow~={minor}.0 or retrain with `python -m eamlab train`."
        )
    if file_hash(weights) != card["sha256"]:
        raise ValueError(
            f"weights {name!r}: {weights} is not the file its model card describes (SHA-256 "
            "differs); restore it or retrain with `python -m eamlab train`."
        )
    of_card = card["model"]
    model = model or MODELS.get(of_card["name"])
    if model is None:
        raise ValueError(
            f"weights {name!r} were trained for the model {of_card['name']!r}, which is none of "
            f"those shipped ({list(MODELS)}); give it: load_pretrained({name!r}, model=...)."
        )
    how = f"python -m eamlab train {card['kind']}, or `make results` for all that is shipped"
    model.check_made_with(of_card, f"the network {name!r}", how)
    model = model.ordered(card["group_parameters"], card["person_parameters"])
    workflow = workflow_of_card(card, model)
    workflow.estimator.load_weights(str(weights))
    workflow.model_card = card
    return workflow


def workflow_of_card(card: dict[str, Any], model: Model) -> bf.BasicWorkflow:
    """Build the workflow that a model card describes, untrained."""
    network = NetworkSettings(**card["network"] | {"widths": tuple(card["network"]["widths"])})
    return built_workflow(model, card["kind"], network, TrainingSettings(**card["training"]))


def built_workflow(
    model: Model, kind: str, network: NetworkSettings, training: TrainingSettings
) -> bf.BasicWorkflow:
    """Build the workflow of a kind, "global" or "local", with the weights of its networks."""
    make = local_workflow if kind == "local" else global_workflow
    workflow = make(model, network=network, learning_rate=training.learning_rate)
    size = None if kind == "local" else training.group_sizes[0]
    build_networks(workflow, size, training.n_trials)
    return workflow


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
