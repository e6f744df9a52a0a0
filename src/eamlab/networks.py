"""The networks that BayesFlow lacks: a set summary that knows who made which response.

``GroupSummary`` condenses the trials of the subjects of one group. ``AnchoredDiffusionModel`` is
BayesFlow's diffusion model with a learned Gaussian to start from. ``CompiledDiffusionModel`` is
BayesFlow's diffusion model without its hold on memory, which the anchored one lacks, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from eamlab.backend import keras

import numpy as np
from bayesflow.networks import DiffusionModel, SetTransformer, SummaryNetwork
from bayesflow.networks.inference.diffusion.schedules import CosineNoiseSchedule
from bayesflow.types import Tensor
from bayesflow.utils import weighted_mean
from bayesflow.utils.serialization import serializable
from keras import ops

_SHORTEST_RT = 1e-3
"""Seconds; keeps the logarithm finite for a time of zero (a missing trial)."""
_LEAST_VARIANCE = 1e-3
"""Keeps the logarithm of a variance finite for a group of one subject."""
_SLOWEST_RT = 20.0
"""Seconds; stands for a choice that a subject never made."""
_NEVER = 1e6
"""Seconds, beyond any response."""


def trial_features(trials: Tensor) -> Tensor:
    """Turn (choice, rt) into seven well-scaled features per trial.

    Parameters
    ----------
    trials : tensor (..., n_trials, 2)
        Choice (0 or 1) and response time (s).

    Returns
    -------
    tensor (..., n_trials, 7)
        Sign of the choice s, and x and s x for three scales of time: log rt, 1/(1+rt), and the log
        of the time since the subject's fastest response. Response times are right-skewed and
        bounded below, so both ends of their scale need resolution, and most of a subject's shift
        is the non-decision time.
    """
    sign = 2.0 * trials[..., 0:1] - 1.0
    rt = trials[..., 1:2]
    since = log_since(since_fastest(trials))
    rt = ops.maximum(rt, _SHORTEST_RT)
    log_rt, speed = ops.log(rt) + 0.5, 4.0 / (1.0 + rt) - 2.5
    scales = [log_rt, speed, since]
    return ops.concatenate([sign, *scales, *[sign * x for x in scales]], axis=-1)


def since_fastest(trials: Tensor) -> Tensor:
    """Return times (..., n_trials, 1) since the fastest response of the same subject."""
    rt = trials[..., 1:2]
    fastest = ops.min(ops.where(rt > 0.0, rt, _SLOWEST_RT), axis=-2, keepdims=True)
    return ops.maximum(rt - fastest, 0.0)


def log_since(since: Tensor) -> Tensor:
    """Return the well-scaled log of times that begin at zero."""
    return 0.7 * ops.log(since + 0.05) + 0.7


def fastest_responses(trials: Tensor) -> Tensor:
    """Log of the fastest lower and upper response, which bound the non-decision time.

    Parameters
    ----------
    trials : tensor (..., n_trials, 2)
        Choice and response time (s); missing trials have a time of zero.

    Returns
    -------
    tensor (..., 2)
        ``log rt + 0.5``; for a choice that never occurs, that of a response 20 s slower than the
        fastest of the other, whether or not there are missing trials.
    """
    choice, rt = trials[..., 0:1], trials[..., 1:2]
    other = _SLOWEST_RT * ops.concatenate([choice, 1.0 - choice], axis=-1)
    missing = _NEVER * ops.cast(rt <= 0.0, rt.dtype)
    return ops.log(ops.min(ops.maximum(rt, _SHORTEST_RT) + other + missing, axis=-2)) + 0.5


def mlp(widths: Sequence[int], name: str) -> keras.Sequential:
    """Return dense layers of these widths."""
    layers = [keras.layers.Dense(w, activation="silu") for w in widths]
    return keras.Sequential(layers, name=name)


def log_size(size: Tensor) -> Tensor:
    """Return log of a set's size as a feature of order one."""
    return 0.3 * ops.log(size)


@serializable("eamlab")
class GroupSummary(SummaryNetwork):
    """Nested deep set: trials -> subject -> group, (batch, n_subjects, n_trials, 2) -> summaries.

    Unlike a set network over the pooled trials it knows which responses belong to the same
    subject, which is where the spread between subjects is to be seen. It is told the logarithm of
    both set sizes and accepts any number of subjects and of trials, also a different number for
    each subject (missing trials have a time of zero).

    Parameters
    ----------
    summary_dim : int, default 64
        Number of summary statistics.
    """

    def __init__(self, summary_dim: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.summary_dim = summary_dim
        self.trial_net = mlp((64,), "trial_net")
        self.subject_net = mlp((128, 96), "subject_net")
        self.out = keras.layers.Dense(summary_dim, name="out")
        self.estimates = keras.layers.Dense(16, name="estimates")
        self.group_net = mlp((192, 192), "group_net")

    def embed_subjects(self, trials: Tensor) -> Tensor:
        """Map trials (..., n_trials, 2) to one vector per subject (..., width).

        The mean keeps what the likelihood adds up over trials; the fastest responses are added
        because they bound the non-decision time. A trial with a time of zero is missing.
        """
        there = ops.cast(trials[..., 1:2] > 0.0, trials.dtype)
        n_trials = ops.sum(there, axis=-2)
        h = self.trial_net(trial_features(trials))
        pooled = [ops.sum(h * there, axis=-2) / n_trials, fastest_responses(trials)]
        return self.subject_net(ops.concatenate([*pooled, log_size(n_trials)], axis=-1))

    def call(self, x: Tensor, training: bool = False, **kwargs: Any) -> Tensor:
        """Summarize each group.

        Means over subjects, and the log variance between subjects of a few learned estimates:
        what one would look at if the subjects' parameters were known, and normal.
        """
        subjects = self.embed_subjects(x)
        variance = ops.var(self.estimates(subjects), axis=-2)
        mean = ops.mean(subjects, axis=-2)
        n_subjects = ops.cast(ops.shape(x)[-3], x.dtype) * ops.ones_like(mean[..., :1])
        pooled = ops.concatenate(
            [mean, ops.log(variance + _LEAST_VARIANCE), log_size(n_subjects)], axis=-1
        )
        return self.out(ops.concatenate([self.group_net(pooled), pooled], axis=-1))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return super().get_config() | {"summary_dim": self.summary_dim}


@serializable("eamlab")
class EvenNoiseSchedule(CosineNoiseSchedule):
    """Cosine schedule whose training noise levels are even in log-SNR.

    With them BayesFlow's noise loss is the evidence bound (Kingma et al., 2021), so that every
    level counts as much as it matters for the posterior density. The schedule's own levels, used
    for sampling, are mostly so noisy that a posterior much narrower than the prior is not seen.

    Parameters
    ----------
    training_range : (float, float)
        Least and greatest log-SNR of the training.
    """

    def __init__(self, training_range: Sequence[float] = (-5.0, 10.0), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.training_range = tuple(training_range)

    def log_snr(self, t: Tensor | float, training: bool) -> Tensor:
        """Log-SNR at time t."""
        if not training:
            return super().log_snr(t, training)
        low, high = self.training_range
        return high + (low - high) * t

    def time_from_log_snr(self, log_snr_t: Tensor | float, training: bool) -> Tensor:
        """Time of a log-SNR."""
        if not training:
            return super().time_from_log_snr(log_snr_t, training)
        low, high = self.training_range
        return (high - log_snr_t) / (high - low)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the schedule."""
        return super().get_config() | {"training_range": self.training_range}


@serializable("eamlab")
class CompiledDiffusionModel(DiffusionModel):
    """BayesFlow's diffusion model, sampled in a program that takes the conditions as an argument.

    BayesFlow compiles its solver around the conditions, and TensorFlow never frees what such a
    graph holds: every draw for 10,000 subjects in groups of five would keep another 50 MB, a copy
    of all summaries for each of 100 draws. An argument is not held.
    """

    def sample(self, batch_shape: Any, conditions: Tensor = None, **kwargs: Any) -> Tensor:
        """Draw samples; see ``bayesflow.networks.DiffusionModel``."""
        if conditions is None:
            return super().sample(batch_shape, **kwargs)

        import tensorflow as tf

        sample = super().sample

        def draw(conditions: Tensor) -> Tensor:
            return sample(batch_shape, conditions=conditions, **kwargs)

        draws = tf.function(draw, autograph=False)(conditions)
        if bool(ops.all(ops.isnan(draws))):  # BayesFlow's own check is skipped inside a graph
            raise RuntimeError("All values are NaNs in state during integration.")
        return draws


@serializable("eamlab")
class AnchoredDiffusionModel(CompiledDiffusionModel):
    r"""Diffusion model that starts from a Gaussian posterior and learns what is not Gaussian.

    The first statistics of the condition are read as a mean :math:`m` and a factor :math:`A` of a
    precision :math:`\Lambda = I + A A^T`, never below that of the prior, which is N(0, I). For
    N(m, Lambda^-1) the denoised mean is known at every noise level,

    .. math:: (\Lambda + s I)^{-1} (\Lambda m + \tfrac{\alpha}{\sigma^2} x_t), \qquad
        s = \alpha^2 / \sigma^2,

    and the subnet adds what is missing, in units of the posterior's own width, so that one network
    serves groups of one and of two hundred subjects. A zero condition gives the prior's score
    exactly.

    In training, groups of a batch that have the same parameters are graded by the product of their
    posteriors, denoised as `eamlab.composition.gaussian` does it, so that an error that they have
    in common counts as it will in a composition.

    Parameters
    ----------
    **kwargs
        As for :class:`bayesflow.networks.DiffusionModel`, but for ``prediction_type`` and
        ``loss_type``.

    Attributes
    ----------
    noise_levels : int
        Noise levels at which each training group is seen: the summary network costs far more than
        the score.
    anchor_weight : float
        Weight of the Gaussians' own negative log likelihood in the loss: that of the product of
        all groups of a batch that share their parameters.

    Raises
    ------
    ValueError
        If one of these two is given; in use, for an ``observed_condition_mask``, and in training
        for any of BayesFlow's masks.
    """

    noise_levels, anchor_weight = 8, 0.02

    def __init__(self, **kwargs: Any) -> None:
        fixed = {"prediction_type", "loss_type"} & set(kwargs)
        if fixed:
            raise ValueError(
                f"{sorted(fixed)} cannot be chosen: an anchored network predicts the denoised "
                "parameters, and its loss is that of the noise; leave them out."
            )
        super().__init__(prediction_type="x", loss_type="noise", **kwargs)

    def build(self, xz_shape: Any, conditions_shape: Any = None) -> None:
        """Create the weights; the subnet sees each variable and its signal's share."""
        if self.built:
            return
        dim = xz_shape[-1]
        least = gaussian_size(dim)
        if conditions_shape is None or conditions_shape[-1] < least:
            raise ValueError(
                f"summary_dim must be at least {least} for an anchored score network of {dim} "
                f"parameters, got conditions of shape {conditions_shape}; or use score='plain'."
            )
        self.base_distribution.build(xz_shape)
        inputs = ((*xz_shape[:-1], 2 * dim), (xz_shape[0], 1), conditions_shape)
        self.subnet.build(inputs)
        features = self.subnet.compute_output_shape(inputs)
        self.output_projector = self._build_projector(features, dim)

    def anchor(self, conditions: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Read mean (..., dim) and precision (..., dim, dim) of the Gaussian.

        For a condition of zeros they are those of the prior.
        """
        known, eye = _known(conditions), ops.eye(dim, dtype=conditions.dtype)
        mean = known * conditions[..., :dim]
        scale = known * ops.exp(conditions[..., dim : 2 * dim])
        below = lower(conditions[..., 2 * dim : gaussian_size(dim)], dim)
        factor = scale[..., None] * (below + eye)
        return mean, ops.matmul(factor, ops.swapaxes(factor, -1, -2)) + eye

    def residual(
        self,
        xz: Tensor,
        log_snr_t: Tensor,
        conditions: Tensor,
        *,
        mean: Tensor,
        own: Tensor,
        training: bool = False,
        **subnet_kwargs: Any,
    ) -> Tensor:
        """Return what the denoised mean (..., dim) has beyond the Gaussian's.

        ``own`` is the diagonal of the Gaussian's precision. Without noise the residual's share of
        the score is the subnet's output in units of 1 / sd.
        """
        snr = ops.exp(log_snr_t)
        alpha_t, sigma_t = self.noise_schedule.get_alpha_sigma(log_snr_t=log_snr_t)
        u = (xz - alpha_t * mean) / ops.sqrt(ops.square(alpha_t) / own + ops.square(sigma_t))
        share = ops.sqrt(own / (own + snr))
        inputs = (ops.concatenate([u, share], -1), self._transform_log_snr(log_snr_t), conditions)
        rest = self.output_projector(self.subnet(inputs, training=training, **subnet_kwargs))
        return _known(conditions) * share / ops.sqrt(own + snr) * rest

    def _predict_x(
        self,
        xz: Tensor,
        log_snr_t: Tensor,
        alpha_t: Tensor,
        sigma_t: Tensor,
        conditions: Tensor,
        training: bool,
        subnet_kwargs: dict[str, Any],
    ) -> Tensor:
        dim = xz.shape[-1]
        mean, precision = self.anchor(conditions, dim)
        own = ops.diagonal(precision, axis1=-2, axis2=-1)
        snr = ops.exp(log_snr_t)[..., None] * ops.eye(dim, dtype=xz.dtype)
        pull = apply(precision, mean) + alpha_t / ops.square(sigma_t) * xz
        gaussian = ops.solve(precision + snr, pull[..., None])[..., 0]
        return gaussian + self.residual(
            xz, log_snr_t, conditions, mean=mean, own=own, training=training, **subnet_kwargs
        )

    def compute_metrics(
        self,
        x: Tensor,
        conditions: Tensor = None,
        stage: str = "training",
        sample_weight: Tensor = None,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Compute the noise loss at several levels per group, and the Gaussian's likelihood."""
        refuse_masks(kwargs, "learns the product of its groups")
        product = _Product.of(x, *self.anchor(conditions, x.shape[-1]))
        log_snr, noise = self._noise(product.first, ops.shape(x))
        denoised = self._denoised(product, x, log_snr, noise, conditions, stage == "training")
        # The squared error of the noise: at this weight the levels' sum is the evidence bound.
        error = ops.exp(log_snr) * ops.mean(ops.square(denoised - x), axis=-1)
        loss = ops.mean(error, axis=0) + self.anchor_weight * product.surprise(x)
        return {"loss": weighted_mean(loss, sample_weight)}

    def _noise(self, first: Tensor, shape: Any) -> tuple[Tensor, Tensor]:
        """Draw log-SNRs (levels, n) and noise (levels, n, dim), the same for groups that share."""
        n, levels = shape[0], self.noise_levels
        start = keras.random.uniform((1,), seed=self.seed_generator)
        places = ops.reshape(ops.arange(0, levels * n, dtype="float32"), (levels, n))
        t = (start + places / ops.cast(levels * n, "float32")) % 1
        noise = keras.random.normal((levels, *shape), seed=self.seed_generator)
        log_snr = self.noise_schedule.log_snr(t, training=True)
        return ops.take(log_snr, first, axis=1), ops.take(noise, first, axis=1)

    def _denoised(
        self,
        product: _Product,
        x: Tensor,
        log_snr: Tensor,
        noise: Tensor,
        conditions: Tensor,
        training: bool,
    ) -> Tensor:
        """Return the product's denoised mean (levels, n, dim), as a composition has it."""
        level = log_snr[..., None]
        alpha, sigma = self.noise_schedule.get_alpha_sigma(log_snr_t=level)
        noisy, snr = alpha * x + sigma * noise, ops.exp(level)

        def rows(values: Tensor) -> Tensor:
            """For each level those of each group, one below the other."""
            every = ops.broadcast_to(
                values, (self.noise_levels, *ops.shape(x)[:1], *values.shape[1:])
            )
            return ops.reshape(every, (-1, *values.shape[1:]))

        residual = self.residual(
            ops.reshape(noisy, (-1, x.shape[-1])), ops.reshape(level, (-1, 1)), rows(conditions),
            mean=rows(product.mean), own=rows(ops.diagonal(product.precision, axis1=-2, axis2=-1)),
            training=training,
        )  # fmt: skip
        residual = ops.reshape(residual, ops.shape(noisy))
        each = apply(product.precision, residual) + snr * residual
        force = ops.matmul(product.same, each)  # summed over the groups that share
        pull = product.pull + force + alpha / ops.square(sigma) * noisy
        eye = ops.eye(x.shape[-1], dtype=x.dtype)
        return ops.solve(product.total + snr[..., None] * eye, pull[..., None])[..., 0]

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the network."""
        base = super().get_config()
        return {k: v for k, v in base.items() if k not in ("prediction_type", "loss_type")}


class _Product(NamedTuple):
    """For each group the product of the Gaussians of all groups that share its parameters.

    What is graded by the product counts an error that all groups have in common, small in each, as
    it will count in a composition.
    """

    mean: Tensor  # (n, d), of each group
    precision: Tensor  # (n, d, d), of each group
    same: Tensor  # (n, n): 1 where two groups share their parameters
    first: Tensor  # (n,): the first group that does
    pull: Tensor  # (n, d): the product's precision times its mean
    total: Tensor  # (n, d, d): the product's precision; the prior N(0, I) is in it once

    @classmethod
    def of(cls, x: Tensor, mean: Tensor, precision: Tensor) -> _Product:
        equal = ops.all(x[:, None] == x[None], axis=-1)
        same = ops.cast(equal, x.dtype)
        eye = ops.eye(x.shape[-1], dtype=x.dtype)
        total = ops.tensordot(same, precision - eye, axes=1) + eye
        pull = ops.matmul(same, apply(precision, mean))
        return cls(mean, precision, same, ops.argmax(same, axis=-1), pull, total)

    def surprise(self, x: Tensor) -> Tensor:
        """Negative log likelihood of the true parameters x (n, d), up to a constant."""
        gap = x - ops.solve(self.total, self.pull[..., None])[..., 0]
        square = ops.sum(gap * apply(self.total, gap), axis=-1)
        return 0.5 * (square - ops.slogdet(self.total)[1])


def gaussian_size(dim: int) -> int:
    """Return how many values hold a mean and the lower triangular factor of a precision."""
    return 2 * dim + dim * (dim - 1) // 2


_MASKS = ("fixed_target_mask", "fixed_target_value", "infer_target_mask", "observed_condition_mask")


def refuse_masks(given: Mapping[str, Any], why: str) -> None:
    """Refuse BayesFlow's masks, which an anchored network cannot honour."""
    found = [name for name in _MASKS if given.get(name) is not None]
    if found:
        raise ValueError(
            f"{found[0]} cannot be used: an anchored network {why}; leave it out, or train "
            "BayesFlow's own network."
        )


def _known(conditions: Tensor) -> Tensor:
    """Return 0 for a condition of zeros, which stands for no data, else 1."""
    return ops.cast(ops.any(conditions != 0.0, axis=-1, keepdims=True), conditions.dtype)


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """Return matrices (..., n, m) times vectors (..., m)."""
    return ops.matmul(matrix, vector[..., None])[..., 0]


def lower(values: Tensor, dim: int) -> Tensor:
    """Fill strictly lower triangular matrices (..., dim, dim) row by row."""
    index = np.zeros((dim, dim), dtype="int32")
    index[np.tril_indices(dim, -1)] = np.arange(1, dim * (dim - 1) // 2 + 1)
    padded = ops.concatenate([ops.zeros_like(values[..., :1]), values], axis=-1)
    full = ops.take(padded, index.ravel(), axis=-1)
    return ops.reshape(full, (*ops.shape(values)[:-1], dim, dim))


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
