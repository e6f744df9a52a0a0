"""The networks that BayesFlow lacks: set summaries that know who made which response.

``SubjectSummary`` condenses the trials of one subject, ``GroupSummary`` the subjects of one group.
``NonCenteredConsistencyModel`` is BayesFlow's consistency model in the coordinates of the
hierarchical prior. ``CompiledSampler`` is BayesFlow's sampler without its hold on memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from bayesflow.estimators.helpers import Sampler
from bayesflow.networks import SetTransformer, StableConsistencyModel, SummaryNetwork
from bayesflow.types import Tensor
from bayesflow.utils.serialization import serializable
from keras import ops

from eamlab.priors import GROUP_PRIOR

__all__ = [
    "CompiledSampler",
    "GroupSummary",
    "NonCenteredConsistencyModel",
    "PooledSummary",
    "SubjectSummary",
    "trial_features",
]

_SHORTEST_RT = 1e-3
"""Seconds; keeps the logarithm finite for a time of zero (a padded or broken trial)."""


def trial_features(trials: Tensor) -> Tensor:
    """Turn (choice, rt) into five well-scaled features per trial.

    Parameters
    ----------
    trials : tensor (..., n_trials, 2)
        Choice (0 or 1) and response time (s).

    Returns
    -------
    tensor (..., n_trials, 5)
        Sign of the choice, log rt, their product, 1/(1+rt), and their product: response times are
        right-skewed and bounded below, so both ends of their scale need resolution.
    """
    sign = 2.0 * trials[..., 0:1] - 1.0
    rt = ops.maximum(trials[..., 1:2], _SHORTEST_RT)
    log_rt, speed = ops.log(rt) + 0.5, 4.0 / (1.0 + rt) - 2.5
    return ops.concatenate([sign, log_rt, sign * log_rt, speed, sign * speed], axis=-1)


def _mlp(widths: Sequence[int], name: str) -> keras.Sequential:
    layers = [keras.layers.Dense(w, activation="silu") for w in widths]
    return keras.Sequential(layers, name=name)


def _log_size(x: Tensor, axis: int, like: Tensor) -> Tensor:
    """Return log of the set size as one more feature, scaled to order one."""
    size = ops.cast(ops.shape(x)[axis], like.dtype)
    return 0.3 * ops.log(size) * ops.ones_like(like[..., :1])


class _SetSummary(SummaryNetwork):
    """What the two set summaries share: the trial network, and its mean and maximum."""

    def __init__(
        self,
        summary_dim: int = 16,
        trial_widths: Sequence[int] = (48, 48),
        subject_widths: Sequence[int] = (96, 96),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.summary_dim = summary_dim
        self.trial_widths, self.subject_widths = tuple(trial_widths), tuple(subject_widths)
        self.trial_net = _mlp(self.trial_widths, "trial_net")
        self.subject_net = _mlp(self.subject_widths, "subject_net")
        self.out = keras.layers.Dense(summary_dim, name="out")

    def embed_subjects(self, trials: Tensor) -> Tensor:
        """Map trials (..., n_trials, 2) to one vector per subject (..., width).

        The mean keeps what the likelihood adds up over trials; the maximum sees the fastest
        response, which bounds the non-decision time.
        """
        h = self.trial_net(trial_features(trials))
        pooled = [ops.mean(h, axis=-2), ops.max(h, axis=-2)]
        return self.subject_net(
            ops.concatenate([*pooled, _log_size(trials, -2, pooled[0])], axis=-1)
        )

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        config = {
            "summary_dim": self.summary_dim,
            "trial_widths": self.trial_widths,
            "subject_widths": self.subject_widths,
        }
        return super().get_config() | config


@serializable("eamlab")
class SubjectSummary(_SetSummary):
    """Deep set over the trials of one subject: (batch, n_trials, 2) -> (batch, summary_dim).

    Parameters
    ----------
    summary_dim : int, default 16
        Number of summary statistics.
    trial_widths, subject_widths : sequence of int
        Hidden widths of the network before and after pooling over trials.
    """

    def call(self, x: Tensor, training: bool = False, **kwargs: Any) -> Tensor:
        """Summarize each subject."""
        return self.out(self.embed_subjects(x))


@serializable("eamlab")
class GroupSummary(_SetSummary):
    """Nested deep set: trials -> subject -> group, (batch, n_subjects, n_trials, 2) -> summaries.

    Unlike a set network over the pooled trials it knows which responses belong to the same
    subject, which is where the spread between subjects is to be seen. It is told the logarithm of
    both set sizes and accepts any number of subjects and trials.

    Parameters
    ----------
    summary_dim : int, default 24
        Number of summary statistics.
    trial_widths, subject_widths, group_widths : sequence of int
        Hidden widths of the three levels.
    condition_dropout : float, default 0.05
        Share of the training groups whose summary is replaced by zeros, so that the network
        learns the prior's score at a zero condition. BayesFlow's Jacobian composition takes the
        prior's curvature from there.
    """

    def __init__(
        self,
        summary_dim: int = 24,
        group_widths: Sequence[int] = (128,),
        condition_dropout: float = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(summary_dim=summary_dim, **kwargs)
        self.group_widths = tuple(group_widths)
        self.condition_dropout = condition_dropout
        self.group_net = _mlp(self.group_widths, "group_net")
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x: Tensor, training: bool = False, **kwargs: Any) -> Tensor:
        """Summarize each group."""
        subjects = self.embed_subjects(x)
        pooled = ops.mean(subjects, axis=-2)
        size = _log_size(subjects, -2, pooled)
        summary = self.out(self.group_net(ops.concatenate([pooled, size], axis=-1)))
        return self._drop_some(summary) if training and self.condition_dropout else summary

    def _drop_some(self, summary: Tensor) -> Tensor:
        draws = keras.random.uniform(ops.shape(summary[..., :1]), seed=self.seed_generator)
        return summary * ops.cast(draws >= self.condition_dropout, summary.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        config = {"group_widths": self.group_widths, "condition_dropout": self.condition_dropout}
        return super().get_config() | config


@serializable("eamlab")
class NonCenteredConsistencyModel(StableConsistencyModel):
    """Consistency model of subject parameters, measured in units of their own population.

    The network sees z = (x - mu) / sigma, where mu and sigma are the population mean and sd that
    stand in the conditions, and its draws are mapped back. Across the prior sigma spans three
    orders of magnitude; in z the prior of every subject is N(0, 1), so narrow populations are
    learned as well as wide ones (the non-centered form of hierarchical models).

    The first seven condition columns must be the group parameters in the order of
    ``GROUP_PRIOR.names``, standardized by their prior; the targets are nu, log alpha and log t0.
    """

    def _population(self, conditions: Tensor) -> tuple[Tensor, Tensor]:
        means = np.asarray(GROUP_PRIOR.means, dtype="float32")
        sds = np.asarray(GROUP_PRIOR.sds, dtype="float32")
        group = conditions[..., :7] * sds + means
        return group[..., 0:3], ops.exp(group[..., 3:6])

    def compute_metrics(
        self,
        x: Tensor,
        conditions: Tensor = None,
        stage: str = "training",
        sample_weight: Tensor = None,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Compute the consistency loss of the non-centered targets."""
        mu, sigma = self._population(conditions)
        z = (x - mu) / sigma
        return super().compute_metrics(z, conditions, stage, sample_weight, **kwargs)

    def _inverse(self, z: Tensor, conditions: Tensor = None, **kwargs: Any) -> Tensor:
        mu, sigma = self._population(conditions)
        return mu + sigma * super()._inverse(z, conditions, **kwargs)


@serializable("eamlab")
class PooledSummary(SummaryNetwork):
    """The tutorial's summary: one set transformer over the pooled trials of all subjects.

    (batch, n_subjects, n_trials, 2) is flattened to (batch, n_subjects * n_trials, 2), so who made
    which response is lost; kept for comparison.

    Parameters
    ----------
    summary_dim : int, default 16
        Number of summary statistics.
    """

    def __init__(self, summary_dim: int = 16, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.summary_dim = summary_dim
        self.set_transformer = SetTransformer(summary_dim=summary_dim)

    def call(self, x: Tensor, training: bool = False, **kwargs: Any) -> Tensor:
        """Summarize each group from its pooled trials."""
        pooled = ops.reshape(x, (ops.shape(x)[0], -1, 2))
        return self.set_transformer(pooled, training=training)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return super().get_config() | {"summary_dim": self.summary_dim}


@serializable("eamlab.networks")
class CompiledSampler(Sampler):
    """BayesFlow's sampler, compiled with the conditions as an argument.

    BayesFlow compiles its solver around the conditions, and TensorFlow never frees what such a
    graph holds: every draw for 10,000 subjects in groups of five would keep another 50 MB, a copy
    of all summaries for each of 100 draws. An argument is not held.
    """

    def sample(
        self, inference_network: Any, num_samples: int, conditions: Any = None, **kwargs: Any
    ) -> Tensor:
        """Draw `num_samples` per condition; see ``bayesflow.estimators.helpers.Sampler``."""
        sample = super().sample
        in_batches = kwargs.get("batch_size") is not None
        if conditions is None or in_batches or keras.backend.backend() != "tensorflow":
            return sample(inference_network, num_samples, conditions, **kwargs)

        import tensorflow as tf

        def draw(conditions: Tensor) -> Tensor:
            return sample(inference_network, num_samples, conditions, **kwargs)

        draws = tf.function(draw, autograph=False)(conditions)
        if bool(ops.all(ops.isnan(draws))):  # BayesFlow's own check is skipped inside a graph
            raise RuntimeError("All values are NaNs in state during integration.")
        return draws
