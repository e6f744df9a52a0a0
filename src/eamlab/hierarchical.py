r"""Networks that know what a hierarchical model is: a Gaussian per person, and their population.

`PersonSummary` turns one person's trials into a Gaussian likelihood of the person's parameters,
which sharpens as trials are added. `PersonPosterior` multiplies it with the population and learns
what is not Gaussian about the product. `PopulationSummary` infers the population from the Gaussians
of its people, as a random-effects meta-analysis does, and learns what that leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from eamlab.backend import keras

import numpy as np
from bayesflow.networks import StableConsistencyModel, SummaryNetwork
from bayesflow.types import Tensor
from bayesflow.utils import weighted_mean
from bayesflow.utils.serialization import serializable
from keras import ops

from eamlab.model.model import DECISION, Model
from eamlab.networks import (
    apply,
    fastest_responses,
    gaussian_size,
    log_since,
    log_size,
    lower,
    mlp,
    refuse_masks,
    since_fastest,
    trial_features,
)

_PASSES = 3
"""Rounds of population given people given population; a fourth changes nothing that is seen."""
_SPREADS = np.linspace(-3.2, 3.2, 64, dtype="float32")
"""Values of a log spread, in prior sds, on which it is integrated."""
_LOG_SCALE = (-4.0, 7.0)
"""Range of the log of a Gaussian factor's diagonal: 1e-4 to 1e6 times the prior's precision."""
_LEAST_VARIANCE = 1e-4
"""Of a person's values, in units of their features."""
_LATEST = 4.0
"""``log rt + 0.5`` of the fastest response in a condition that a person never did."""
_TOGETHER = "infers all targets together, in coordinates of its own"
"""Why a person's posterior honors no masks."""


@dataclass(frozen=True)
class Hierarchy:
    """What the networks need of a model, in numbers.

    Attributes
    ----------
    population : tuple of (int, int)
        For each of a person's parameters the places of its mean and log sd in the prior.
    shared : tuple of int
        Places of the parameters that all people share.
    means, sds : tuple of float
        Of the prior.
    conditions : tuple of float
        Codes of the experiment's conditions, the third value of a trial; empty if there are none.
    trial_means, trial_sds : tuple of float
        Of the values of a trial over the prior; empty for decisions, which have features of their
        own.
    """

    population: tuple[tuple[int, int], ...]
    shared: tuple[int, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]
    conditions: tuple[float, ...] = ()
    trial_means: tuple[float, ...] = ()
    trial_sds: tuple[float, ...] = ()

    @classmethod
    def of(cls, model: Model) -> Hierarchy:
        """Read it from a model."""
        moments: tuple[tuple[float, ...], ...] = ((), ())
        if model.columns[:2] != DECISION:
            trials = model.sample(200, 10, 10, seed=0)["sim_data"].astype(float)
            spread = np.maximum(trials.std(axis=(0, 1, 2)), 1e-6)
            moments = tuple(trials.mean(axis=(0, 1, 2)).tolist()), tuple(spread.tolist())
        place = {name: i for i, name in enumerate(model.prior.names)}
        return cls(
            tuple((place[p.mean], place[p.log_sd]) for p in model.people),
            tuple(place[name] for name in model.shared),
            tuple(model.prior.means.tolist()),
            tuple(model.prior.sds.tolist()),
            tuple(model.conditions),
            *moments,
        )

    @property
    def n_person(self) -> int:
        """Number of a person's own parameters."""
        return len(self.population)

    @property
    def dim(self) -> int:
        """Number of parameters that a person's trials tell about: own and shared ones."""
        return self.n_person + len(self.shared)

    @property
    def n_values(self) -> int:
        """Number of values that hold a Gaussian of all of them."""
        return gaussian_size(self.dim)

    def _of(self, values: Sequence[float], which: int) -> np.ndarray:
        return np.array([values[pair[which]] for pair in self.population], dtype="float32")

    @cached_property
    def scale(self) -> np.ndarray:
        """Sd of each of a person's parameters over all populations, shape (n_person,)."""
        spread = np.exp(2.0 * (self._of(self.means, 1) + self._of(self.sds, 1) ** 2))
        return np.sqrt(self._of(self.sds, 0) ** 2 + spread).astype("float32")

    @cached_property
    def center(self) -> np.ndarray:
        """Prior mean of each of a person's parameters, shape (n_person,)."""
        return self._of(self.means, 0)

    @cached_property
    def center_sd(self) -> np.ndarray:
        """Prior sd of the populations' means, in units of `scale`."""
        return self._of(self.sds, 0) / self.scale

    @cached_property
    def log_spreads(self) -> np.ndarray:
        """Grid of the log spreads in units of `scale`, shape (n_person, n)."""
        mean = self._of(self.means, 1) - np.log(self.scale)
        return (mean[:, None] + self._of(self.sds, 1)[:, None] * _SPREADS).astype("float32")

    @cached_property
    def log_weights(self) -> np.ndarray:
        """Log prior on this grid, up to a constant, shape (n,)."""
        return -0.5 * _SPREADS**2


def _masks(trials: Tensor, conditions: Sequence[float]) -> list[Tensor]:
    """Return, for each condition, 1 for its trials (..., n_trials, 1) and 0 for others."""
    there = ops.cast(ops.any(trials != 0.0, axis=-1, keepdims=True), trials.dtype)
    if not conditions:
        return [there]
    there, code = ops.cast(trials[..., 1:2] > 0.0, trials.dtype), trials[..., 2:3]
    return [there * ops.cast(ops.abs(code - c) < 1e-3, there.dtype) for c in conditions]


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the trials of a mask, zero if there are none."""
    return ops.sum(values * mask, axis=-2) / ops.maximum(ops.sum(mask, axis=-2), 1.0)


def _moments(values: Tensor, mask: Tensor, ddof: int = 0) -> list[Tensor]:
    """Mean, log sd and log number of a mask's trials."""
    mean, n = _mean(values, mask), ops.sum(mask, axis=-2)
    squares = ops.sum(ops.square(values - mean[..., None, :]) * mask, axis=-2)
    variance = squares / ops.maximum(n - ddof, 1.0)
    return [mean, 0.5 * ops.log(variance + _LEAST_VARIANCE), log_size(n + 0.1)]


def _own_scale(values: Tensor, mask: Tensor) -> Tensor:
    """Return values (..., n_trials, width) in sds from their mean over the trials of a mask."""
    mean, log_sd, _ = _moments(values, mask)
    return (values - mean[..., None, :]) * ops.exp(-log_sd)[..., None, :]


def _since_own_fastest(trials: Tensor, mask: Tensor) -> Tensor:
    """Return log of the time since the person's fastest response, in units of its mean."""
    since = since_fastest(trials)
    return log_since(since / (_mean(since, mask)[..., None, :] + 0.01))


@serializable("eamlab")
class PersonSummary(SummaryNetwork):
    r"""Deep set over one person's trials, whose first values are a Gaussian likelihood.

    (batch, n_trials, width) -> (batch, n_values + summary_dim). The first values are read as the
    mean :math:`x` and the factor :math:`A` of the precision :math:`L = A A^T` of the likelihood of
    the person's and the shared parameters, in the units of `Hierarchy`; see `likelihood`.

    Parameters
    ----------
    hierarchy : Hierarchy or mapping
        Of the model.
    summary_dim : int, default 16
        Number of further statistics.
    own_scale : bool, default False
        Whether trials are also given on the person's own scale, which tells more of many trials.
    """

    def __init__(
        self,
        hierarchy: Hierarchy | dict[str, Any],
        summary_dim: int = 16,
        own_scale: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hierarchy, self.summary_dim = _hierarchy(hierarchy), summary_dim
        self.own_scale = own_scale
        self.trial_net = mlp((64,), "trial_net")
        self.first_net = mlp((128, 96), "first_net")
        self.second_look = keras.layers.Dense(64 if own_scale else 48, name="second_look")
        # Gain and shift of each unit of the second look, and how these change with the condition.
        n = 2 * self.second_look.units * (2 if self.hierarchy.conditions else 1)
        self.adjust = keras.layers.Dense(n, name="adjust")
        self.subject_net = mlp((128, 96), "subject_net")
        self.out = keras.layers.Dense(self.hierarchy.n_values + summary_dim, name="out")

    def embed(self, trials: Tensor) -> Tensor:
        """Map trials (..., n_trials, width) to one vector per person (..., width).

        The trials are looked at twice: the second time with units that the first look has moved
        and stretched for this person, without which many trials would say no more than some do.
        """
        h, masks = self.hierarchy, _masks(trials, self.hierarchy.conditions)
        if h.trial_means:
            means, sds = (np.asarray(x, dtype="float32") for x in (h.trial_means, h.trial_sds))
            features = (trials - means) / sds
        else:
            features = trial_features(trials[..., :2])
        seen = self._on_own_scale(trials, features, sum(masks)) if self.own_scale else features
        first = self.trial_net(seen)
        told = []
        for mask in masks:
            told.append(_mean(first, mask))
            if h.trial_means:
                # All that normal values tell; from few, the log sd is a little too small.
                told += [*_moments(features, mask, ddof=1), 1.0 / (ops.sum(mask, axis=-2) + 1.0)]
                continue
            choice, rt = trials[..., :1], trials[..., :2] * mask
            told.append(ops.minimum(fastest_responses(rt), _LATEST))
            for kind in (mask, mask * (1.0 - choice), mask * choice):
                told += _moments(features[..., 1:2], kind)  # of log rt
        told = ops.concatenate(told, axis=-1)
        guess = self.first_net(told)
        adjusted = self.adjust(guess)[..., None, :]
        if h.conditions:
            both, change = ops.split(adjusted, 2, axis=-1)
            adjusted = both + trials[..., 2:3] * change
        gain, shift = ops.split(adjusted, 2, axis=-1)
        second = ops.silu(self.second_look(seen) * (1.0 + gain) + shift)
        told = ops.concatenate([told, guess, *[_mean(second, mask) for mask in masks]], axis=-1)
        return ops.concatenate([self.subject_net(told), told], axis=-1)

    def _on_own_scale(self, trials: Tensor, features: Tensor, there: Tensor) -> Tensor:
        """Add to a person's features what the trials are on the person's own scale."""
        if self.hierarchy.trial_means:
            return ops.concatenate([features, _own_scale(features, there)], axis=-1)
        own = [_own_scale(features[..., 1:2], there), _since_own_fastest(trials, there)]
        return ops.concatenate([features, *own, *[features[..., :1] * x for x in own]], axis=-1)

    def call(self, x: Tensor, training: bool = False, **kwargs: Any) -> Tensor:
        """Summarize each person."""
        return self.out(self.embed(x))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        own = {"summary_dim": self.summary_dim, "own_scale": self.own_scale}
        return super().get_config() | {"hierarchy": asdict(self.hierarchy)} | own


def _hierarchy(given: Hierarchy | dict[str, Any]) -> Hierarchy:
    """The given one, or that of a stored configuration, whose tuples are lists."""
    if isinstance(given, Hierarchy):
        return given
    pairs = tuple((int(a), int(b)) for a, b in given["population"])
    return Hierarchy(**{k: tuple(v) for k, v in given.items()} | {"population": pairs})


def likelihood(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Read precision times mean (..., dim) and precision (..., dim, dim) from the first values."""
    scale = ops.exp(ops.clip(values[..., dim : 2 * dim], *_LOG_SCALE))
    below = lower(values[..., 2 * dim : gaussian_size(dim)], dim)
    factor = scale[..., None] * (below + ops.eye(dim, dtype=values.dtype))
    pull = apply(ops.swapaxes(factor, -1, -2), values[..., :dim])
    return apply(factor, pull), ops.matmul(factor, ops.swapaxes(factor, -1, -2))


@serializable("eamlab")
class PersonPosterior(StableConsistencyModel):
    r"""Consistency model of a person's parameters, around population times Gaussian likelihood.

    In :math:`z = (\theta - \mu) / \sigma` the population is N(0, 1) (the non-centered form), and
    with the Gaussian that `PersonSummary` made of the person's trials the posterior is known in
    closed form: precision :math:`C C^T`, mean :math:`m`. The consistency model learns the rest in
    :math:`w = e^{s} (C^T (z - m) - c)`, with a small network for c and s.

    The conditions are the group parameters, standardized by their prior, and that summary.

    Parameters
    ----------
    hierarchy : Hierarchy or mapping
        Of the model.
    **kwargs
        As for :class:`bayesflow.networks.StableConsistencyModel`.
    """

    def __init__(self, hierarchy: Hierarchy | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hierarchy = _hierarchy(hierarchy)
        self.correction_net = mlp((64, 64), "correction_net")
        n = self.hierarchy.n_person
        self.correction_out = keras.layers.Dense(
            2 * n, kernel_initializer="zeros", name="correction_out"
        )

    def build(self, xz_shape: Any, conditions_shape: Any = None) -> None:
        """Create the weights."""
        if self.built:
            return
        super().build(xz_shape, conditions_shape)
        self.correction_net.build(conditions_shape)
        self.correction_out.build(self.correction_net.compute_output_shape(conditions_shape))

    def _group(self, conditions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the population's mean and sd, and the shared parameters in prior sds."""
        h = self.hierarchy
        z = conditions[..., : len(h.means)]
        eta = z * np.asarray(h.sds, dtype="float32") + np.asarray(h.means, dtype="float32")
        places = np.asarray(h.population)
        mean, log_sd = (ops.take(eta, places[:, i], axis=-1) for i in range(2))
        shared = ops.take(z, np.asarray(h.shared, dtype="int32"), axis=-1)
        return mean, ops.exp(log_sd), shared

    def _gaussian(self, conditions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return precision times mean, and precision, in (z, shared); and the shared values."""
        h = self.hierarchy
        pull, precision = likelihood(conditions[..., len(h.means) :], h.dim)
        mean, sd, shared = self._group(conditions)
        ones = ops.ones_like(shared)
        unit = ops.concatenate([sd / h.scale, ones], axis=-1)
        start = ops.concatenate([(mean - h.center) / h.scale, ops.zeros_like(shared)], axis=-1)
        pull = unit * (pull - apply(precision, start))
        precision = unit[..., None] * precision * unit[..., None, :]
        return pull, precision + ops.eye(h.dim, dtype=precision.dtype), shared

    def _anchor(
        self, conditions: Tensor, gaussian: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return m (..., n), C (..., n, n), and the corrections c and s (..., n)."""
        n, (pull, precision, shared) = self.hierarchy.n_person, gaussian
        own = precision[..., :n, :n]
        pull = pull[..., :n] - apply(precision[..., :n, n:], shared)
        correction = self.correction_out(self.correction_net(conditions))
        factor = ops.cholesky(own)
        mean = ops.solve(own, pull[..., None])[..., 0]
        return mean, factor, correction[..., :n], correction[..., n:]

    def compute_metrics(
        self,
        x: Tensor,
        conditions: Tensor = None,
        stage: str = "training",
        sample_weight: Tensor = None,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Compute the consistency loss in w, and the likelihoods that alone move the Gaussian.

        These are that of z and the shared parameters together under the closed form, from which
        the summary learns what a person's trials say, and that of z under the corrected one.
        """
        refuse_masks(kwargs, _TOGETHER)
        mu, sigma, _ = self._group(conditions)
        z = (x - mu) / sigma
        pull, precision, shared = gaussian = self._gaussian(conditions)
        gap = ops.concatenate([z, shared], axis=-1) - ops.solve(precision, pull[..., None])[..., 0]
        surprise = 0.5 * (ops.sum(gap * apply(precision, gap), -1) - ops.slogdet(precision)[1])
        mean, factor, shift, log_scale = self._anchor(conditions, gaussian)
        whitened = ops.stop_gradient(apply(ops.swapaxes(factor, -1, -2), z - mean))
        w = ops.exp(log_scale) * (whitened - shift)
        surprise = surprise + ops.sum(0.5 * ops.square(w) - log_scale, axis=-1)
        metrics = super().compute_metrics(
            ops.stop_gradient(w), conditions, stage, sample_weight=sample_weight, **kwargs
        )
        return metrics | {"loss": metrics["loss"] + weighted_mean(surprise, sample_weight)}

    def _inverse(self, z: Tensor, conditions: Tensor = None, **kwargs: Any) -> Tensor:
        refuse_masks(kwargs, _TOGETHER)
        mu, sigma, _ = self._group(conditions)
        mean, factor, shift, log_scale = self._anchor(conditions, self._gaussian(conditions))
        w = super()._inverse(z, conditions, **kwargs) * ops.exp(-log_scale) + shift
        back = ops.solve_triangular(ops.swapaxes(factor, -1, -2), w[..., None], lower=False)
        return mu + sigma * (mean + back[..., 0])

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the network."""
        return super().get_config() | {"hierarchy": asdict(self.hierarchy)}


def population(pull: Tensor, precision: Tensor, hierarchy: Hierarchy) -> tuple[Tensor, Tensor]:
    r"""Infer a population from the Gaussian likelihoods of its people.

    A random-effects meta-analysis. In turn: the shared parameters, with every person's own
    integrated out; each person's likelihood of each parameter, given the shared ones and with the
    person's other parameters integrated over the population found so far; and from these, for each
    parameter, the population's mean (in closed form) and log spread (on a grid), as posterior means
    and sds under the model's prior.

    Parameters
    ----------
    pull, precision : tensor (..., n_people, dim), (..., n_people, dim, dim)
        Precision times mean, and precision, in the units of `Hierarchy`.
    hierarchy : Hierarchy
        Of the model.

    Returns
    -------
    mean, sd : tensor (..., d)
        Of the group parameters, in prior z-scores, in the order of the prior.

    References
    ----------
    Higgins, Thompson & Spiegelhalter (2009), *Journal of the Royal Statistical Society A* 172,
    137-159, for random effects and their prior.
    """
    h, n = hierarchy, hierarchy.n_person
    own, cross = precision[..., :n, :n], precision[..., :n, n:]
    mu, variance = ops.zeros_like(pull[..., 0, :n]), ops.ones_like(pull[..., 0, :n])
    eye = ops.eye(n, dtype=pull.dtype)
    grid = ops.convert_to_tensor(np.exp(2.0 * h.log_spreads))  # (n, k)
    for _ in range(_PASSES):
        prior = 1.0 / variance[..., None, :]
        covariance = ops.inv(own + prior[..., None] * eye)
        moved = pull[..., :n] + mu[..., None, :] * prior
        # Shared parameters, people integrated out.
        gain = ops.matmul(ops.swapaxes(cross, -1, -2), covariance)
        told = precision[..., n:, n:] - ops.matmul(gain, cross)
        about = pull[..., n:] - apply(gain, moved)
        known = ops.sum(told, axis=-3) + ops.eye(h.dim - n, dtype=pull.dtype)
        shared_cov = ops.inv(known)
        shared = apply(shared_cov, ops.sum(about, axis=-2))
        # What each person says about each parameter.
        mean = apply(covariance, moved - apply(cross, shared[..., None, :]))
        spread = ops.diagonal(covariance, axis1=-2, axis2=-1)
        weight = ops.maximum(1.0 / spread - prior, 0.0)
        force = mean / spread - mu[..., None, :] * prior
        # The population of each parameter.
        share = 1.0 / (1.0 + weight[..., None] * grid)  # (..., people, n, k)
        evidence = 0.5 * (ops.square(force)[..., None] * grid * share + ops.log(share))
        total = ops.sum(weight[..., None] * share, axis=-3) + h.center_sd[:, None] ** -2.0
        lean = ops.sum(force[..., None] * share, axis=-3)
        log_post = ops.sum(evidence, axis=-3) + h.log_weights
        log_post = log_post + 0.5 * (ops.square(lean) / total - ops.log(total))
        post = ops.softmax(log_post, axis=-1)
        centers = lean / total
        mu = ops.sum(post * centers, axis=-1)
        mu_variance = ops.sum(post * (1.0 / total + ops.square(centers - mu[..., None])), axis=-1)
        log_spread = ops.sum(post * h.log_spreads, axis=-1)
        spread_variance = ops.sum(post * ops.square(h.log_spreads - log_spread[..., None]), axis=-1)
        variance = ops.exp(2.0 * log_spread)
    middle = ops.convert_to_tensor(h.log_spreads.mean(axis=1))
    spread_sd = np.array([h.sds[b] for _, b in h.population], dtype="float32")
    means = [mu / h.center_sd, (log_spread - middle) / spread_sd, shared]
    sds = [
        ops.sqrt(mu_variance) / h.center_sd,
        ops.sqrt(spread_variance + 1e-6) / spread_sd,
        ops.sqrt(ops.diagonal(shared_cov, axis1=-2, axis2=-1)),
    ]
    places = [a for a, _ in h.population] + [b for _, b in h.population] + list(h.shared)
    order = np.argsort(places)
    return tuple(ops.take(ops.concatenate(x, axis=-1), order, axis=-1) for x in (means, sds))


@serializable("eamlab")
class PopulationSummary(SummaryNetwork):
    """Trials -> people -> population, (batch, n_people, n_trials, width) -> summaries.

    The first values are the Gaussian that `eamlab.networks.AnchoredDiffusionModel` starts from: the
    one of `population`, and what a set network over the people adds to it. The people's Gaussians
    come from a trained `PersonSummary`, which is not trained further. Accepts any number of people
    and of trials, different ones for each (missing trials have a time of zero).

    Parameters
    ----------
    hierarchy : Hierarchy or mapping
        Of the model.
    summary_dim : int, default 32
        Number of further statistics.
    own_scale : bool, default False
        Of the `PersonSummary`.
    """

    def __init__(
        self,
        hierarchy: Hierarchy | dict[str, Any],
        summary_dim: int = 32,
        own_scale: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hierarchy, self.summary_dim = _hierarchy(hierarchy), summary_dim
        self.person = PersonSummary(
            self.hierarchy, summary_dim=0, own_scale=own_scale, name="person"
        )
        self.person.trainable = False
        self.person_net = mlp((96, 64), "person_net")
        self.group_net = mlp((160, 160), "group_net")
        n_values = gaussian_size(len(self.hierarchy.means))
        self.out = keras.layers.Dense(n_values + summary_dim, name="out")

    def take_people(self, person: PersonSummary) -> None:
        """Take over what a trained summary of a person has learned, but for its own statistics."""
        *weights, kernel, bias = person.get_weights()
        n = self.hierarchy.n_values
        self.person.set_weights([*weights, kernel[:, :n], bias[:n]])

    def call(self, x: Tensor, training: bool = False, **kwargs: Any) -> Tensor:
        """Summarize each group."""
        embedded = self.person.embed(x)
        values = self.person.out(embedded)
        pull, precision = likelihood(values, self.hierarchy.dim)
        mean, sd = population(pull, precision, self.hierarchy)
        # A precision of 1 + scale^2, as an anchored network reads it.
        log_scale = 0.5 * ops.log(ops.maximum(ops.square(1.0 / sd) - 1.0, 1e-2))
        people = self.person_net(ops.concatenate([embedded, values], axis=-1))
        n_people = ops.cast(ops.shape(x)[-3], x.dtype) * ops.ones_like(mean[..., :1])
        pooled = ops.concatenate(
            [ops.mean(people, axis=-2), mean, log_scale, log_size(n_people)], axis=-1
        )
        learned = self.out(ops.concatenate([self.group_net(pooled), pooled], axis=-1))
        known = ops.concatenate([mean, log_scale], axis=-1)
        rest = ops.zeros_like(learned[..., known.shape[-1] :])
        # In units of the sds: a correction that is learned once serves one person and two hundred.
        unit = ops.concatenate([sd, ops.ones_like(sd)], axis=-1)
        start = ops.concatenate([known, rest], axis=-1)
        scale = ops.concatenate([unit, ops.ones_like(rest)], axis=-1)
        return start + scale * learned

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        own = {"summary_dim": self.summary_dim, "own_scale": self.person.own_scale}
        return super().get_config() | {"hierarchy": asdict(self.hierarchy)} | own
