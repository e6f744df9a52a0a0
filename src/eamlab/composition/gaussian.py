r"""Gaussian composition: products of group posteriors, weighted by their precisions.

At every noise level each group's posterior of the clean parameters given the noisy ones is taken
for a Gaussian: its mean is the network's denoised estimate, its precision that of the group's
Gaussian (``AnchoredDiffusionModel``) plus the signal-to-noise ratio. Gaussians multiply in closed
form, so the composition needs no bridge and no mini-batch, and a reverse step can draw the clean
parameters first and noise them again: where the group posteriors are Gaussian this is exact with
any number of steps, and a single group of any shape is sampled as by any diffusion model. Where
many groups have posteriors of another shape it is an approximation on the way, until the noise is
so small that the composed score is the plain sum of the groups' scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from eamlab.backend import keras

import numpy as np
import tensorflow as tf
from bayesflow.types import Tensor
from keras import ops

__all__ = ["sample_gaussian_composition"]

_LOG_SNR = (-4.0, 11.0)
"""First and last noise level: before the first the data are not seen, after the last the noise is
far narrower than the posterior of 10,000 subjects."""
_ROWS = 5_000
"""Rows (draws x groups) that pass the network at once. TensorFlow runs up to ten passes of a loop
side by side; together they take about half a gigabyte."""
_KEPT = 8
"""Compiled samplers that are kept: compiling takes longer than drawing."""


class _Groups(NamedTuple):
    """The Gaussians of one study's groups, and their product with the prior to the right power."""

    conditions: Tensor  # (G, summary_dim)
    mean: Tensor  # (G, dim)
    precision: Tensor  # (G, dim, dim)
    pull: Tensor  # (dim,): composed precision times composed mean
    total: Tensor  # (dim, dim): composed precision


def sample_gaussian_composition(
    network: Any,
    summaries: Sequence[np.ndarray],
    *,
    num_samples: int,
    steps: int,
    seed: int | None = None,
) -> np.ndarray:
    """Draw from the composed posterior of each study.

    Parameters
    ----------
    network : AnchoredDiffusionModel
        The score network.
    summaries : sequence of array (n_groups, summary_dim)
        Summaries of the groups of each study.
    num_samples, steps : int
        Number of draws, and of noise levels.
    seed : int, optional
        Seed of the noise.

    Returns
    -------
    ndarray (n_studies, num_samples, dim)
        Draws in the network's own coordinates (prior z-scores).
    """
    draw, noise = _sampler(network, num_samples)
    noise.state.assign(keras.random.SeedGenerator(seed).state)
    levels = np.linspace(*_LOG_SNR, steps).astype("float32")
    return np.stack([ops.convert_to_numpy(draw(study, levels)) for study in summaries])


@lru_cache(_KEPT)
def _sampler(network: Any, num_samples: int) -> tuple[Callable, keras.random.SeedGenerator]:
    """Return the compiled reverse diffusion of one study, and the generator of its noise."""
    seed = keras.random.SeedGenerator(0)

    def draw(conditions: Tensor, levels: Tensor) -> Tensor:
        groups = _groups(network, ops.convert_to_tensor(conditions, dtype="float32"))
        dim = groups.total.shape[-1]

        def noise() -> Tensor:
            return keras.random.normal((num_samples, dim), seed=seed)

        def clean(x: Tensor, level: Tensor) -> Tensor:
            pull, precision = _posterior_of_clean(network, groups, x, level)
            return _normal(pull, precision, noise())

        def step(i: Tensor, x: Tensor) -> Tensor:
            return _renoise(x, clean(x, levels[i]), levels[i], levels[i + 1], noise())

        guess = _normal(ops.broadcast_to(groups.pull, (num_samples, dim)), groups.total, noise())
        signal, sigma = _alpha_sigma(levels[0])
        x = ops.fori_loop(0, ops.shape(levels)[0] - 1, step, signal * guess + sigma * noise())
        return clean(x, levels[-1])

    return tf.function(draw, autograph=False), seed


def _groups(network: Any, conditions: Tensor) -> _Groups:
    dim = network.base_distribution.dim
    mean, precision = network.anchor(conditions, dim)
    pull = ops.sum(ops.matmul(precision, mean[..., None])[..., 0], axis=0)
    eye = ops.eye(dim, dtype=mean.dtype)
    # The prior N(0, I) enters each group's posterior; the composed one holds it once.
    total = ops.sum(precision - eye, axis=0) + eye
    return _Groups(conditions, mean, precision, pull, total)


def _posterior_of_clean(
    network: Any, groups: _Groups, x: Tensor, level: Tensor
) -> tuple[Tensor, Tensor]:
    """Return precision times mean (S, dim), and precision, of the clean given the noisy."""
    alpha, sigma = _alpha_sigma(level)
    snr = ops.exp(level) * ops.eye(groups.total.shape[-1], dtype=x.dtype)
    beyond = _beyond_gaussian(network, groups, x, level)
    return groups.pull + alpha / sigma**2 * x + beyond, groups.total + snr


def _beyond_gaussian(network: Any, groups: _Groups, x: Tensor, level: Tensor) -> Tensor:
    """Sum over groups of (precision + s I) times the network's residual, in blocks of groups."""
    n_draws, dim = x.shape
    n_groups = groups.conditions.shape[0]
    block = max(1, min(n_groups, _ROWS // n_draws))
    eye = ops.eye(dim, dtype=x.dtype)

    # Missing groups of the last block have a condition of zeros, and hence no residual.
    n_blocks = -(-n_groups // block)
    blocks = [
        ops.reshape(
            ops.pad(a, [(0, n_blocks * block - n_groups)] + [(0, 0)] * (len(a.shape) - 1)),
            (n_blocks, block, *a.shape[1:]),
        )
        for a in (groups.conditions, groups.mean, groups.precision)
    ]

    def add(i: Tensor, total: Tensor) -> Tensor:
        conditions, mean, precision = (a[i] for a in blocks)
        own = ops.repeat(ops.diagonal(precision, axis1=-2, axis2=-1), n_draws, axis=0)
        residual = network.residual(
            ops.tile(x, (block, 1)),
            level * ops.ones_like(own[:, :1]),
            ops.repeat(conditions, n_draws, axis=0),
            mean=ops.repeat(mean, n_draws, axis=0),
            own=own,
        )
        residual = ops.reshape(residual, (block, n_draws, dim))
        # from the right, because the precisions are symmetric and draws are rows
        return total + ops.sum(ops.matmul(residual, precision + ops.exp(level) * eye), axis=0)

    return ops.fori_loop(0, n_blocks, add, ops.zeros_like(x))


def _alpha_sigma(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise of a variance-preserving diffusion."""
    return ops.sqrt(ops.sigmoid(log_snr)), ops.sqrt(ops.sigmoid(-log_snr))


def _normal(pull: Tensor, precision: Tensor, noise: Tensor) -> Tensor:
    """Map standard normal noise (S, dim) to N(precision^-1 pull, precision^-1)."""
    factor = ops.cholesky(precision)
    half = ops.solve_triangular(factor, ops.transpose(pull), lower=True)
    return ops.transpose(
        ops.solve_triangular(ops.transpose(factor), half + ops.transpose(noise), lower=False)
    )


def _renoise(x: Tensor, clean: Tensor, level: Tensor, next_level: Tensor, noise: Tensor) -> Tensor:
    """Draw the state at the next, lower noise level given this state and the clean parameters."""
    (_, sigma), (next_alpha, next_sigma) = _alpha_sigma(level), _alpha_sigma(next_level)
    kept = ops.exp(level - next_level)  # share of the noise variance that stays
    return (
        next_sigma / sigma * ops.sqrt(kept) * x
        + next_alpha * (1.0 - kept) * clean
        + next_sigma * ops.sqrt(1.0 - kept) * noise
    )
