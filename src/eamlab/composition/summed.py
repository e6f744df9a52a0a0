r"""The summed composed score, sampled fast enough to follow a slider.

`LiveSampler` draws what ``workflow.compositional_sample(method="euler_maruyama")`` draws from an
anchored network, with the same steps of time, noise schedule, bridge, clipping and random
mini-batches, but in a program that is compiled once: the bridge, the mini-batch, the number of
steps and of groups are arguments. What depends on a group alone is computed once per study. That is
the group's share of the subnet's merged layer, and the eigenvectors V and eigenvalues l of its
Gaussian's precision, with which :math:`(\Lambda + s I)^{-1} = V (l + s)^{-1} V^T` needs no
equations to be solved at each noise level s.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

from eamlab.backend import bf, keras

import numpy as np
import tensorflow as tf
from bayesflow.networks import TimeMLP
from bayesflow.types import Tensor
from keras import ops

from eamlab.draws import Draws
from eamlab.model.model import check_count, check_positive
from eamlab.networks import AnchoredDiffusionModel
from eamlab.workflows import model_of

__all__ = ["LiveSampler"]

_CLIP = 3.0
"""Bound of the denoised parameters in prior sds: what BayesFlow's sampler does by default."""
_WIDTH = 10
"""Groups per block. A mini-batch is summed over blocks, so that its size changes no shape."""
_BLOCKS = 100
"""Blocks per call of the compiled program; fewer than that are padded, and cost nothing."""
_LEAST_CAPACITY = 2048
"""Groups that the program has room for; doubled, and compiled anew, for a study of more."""
_LANES = 2
"""Threads that share the draws: the matrices of one draw are too small for several cores."""
_KEPT = 8
"""Networks whose compiled programs are kept."""


class _Groups(NamedTuple):
    """What is computed once of each group; leading axes (capacity,), or (draws, block)."""

    axes: Any  # (..., dim, dim): eigenvectors of the Gaussian's precision, as columns
    width: Any  # (..., dim): its eigenvalues
    center: Any  # (..., dim): the Gaussian's mean along the eigenvectors
    mean: Any  # (..., dim)
    own: Any  # (..., dim): diagonal of the precision
    known: Any  # (..., 1): 0 for a condition of zeros, which stands for no data, else 1
    merged: Any  # (..., units): the condition's share of the subnet's merged layer


class _Levels(NamedTuple):
    """Noise levels and what a step at each of them does, arrays (steps,)."""

    log_snr: Any
    alpha: Any
    sigma: Any
    bridge: Any
    drift: Any  # of a step, per unit of x
    push: Any  # of a step, per unit of score
    spread: Any  # of a step, per unit of noise


class _Blocks(NamedTuple):
    """What the program walks through: one block of groups after the other."""

    levels: _Levels  # of (blocks,)
    last: Any  # (blocks,): whether the step is taken after this block
    weight: Any  # (blocks, block): 0 for what pads the mini-batch
    index: Any  # (blocks, draws, block): groups
    noise: Any  # (blocks, draws, dim)


class LiveSampler:
    """Sample the summed composed score of an anchored network with settings that move.

    The first draw compiles, which takes a second or two; after it neither d0, d1, the size of the
    mini-batch, the number of steps nor that of groups (up to 2,048) compile anything again.

    Parameters
    ----------
    workflow : bayesflow.CompositionalWorkflow
        A trained global workflow with an anchored score network, such as
        ``load_pretrained("global")``.
    num_samples : int, default 100
        Posterior draws.

    Raises
    ------
    ValueError
        If the workflow has another network, or `num_samples` is not a positive integer.
    """

    def __init__(self, workflow: bf.CompositionalWorkflow, num_samples: int = 100) -> None:
        network = getattr(workflow, "inference_network", None)
        if not isinstance(network, AnchoredDiffusionModel):
            raise ValueError(
                "workflow must be a global workflow with an AnchoredDiffusionModel, got "
                f"{type(workflow).__name__} with {type(network).__name__}; use "
                "load_pretrained('global')."
            )
        subnet = network.subnet
        known = isinstance(subnet, TimeMLP) and subnet.merge == "concat"
        if not known or subnet.persistent_conditioning:
            raise ValueError(
                "workflow must have a TimeMLP with merge='concat' and persistent_conditioning="
                f"False as the score network's subnet, got {type(subnet).__name__} with other "
                "settings; use load_pretrained('global') or global_workflow()."
            )
        if subnet.c_proj is None:
            raise ValueError(
                "workflow has no weights yet; train it or use load_pretrained('global')."
            )
        self.network = network
        self.model = model_of(workflow)
        self.num_samples = check_count("num_samples", num_samples)
        self._lane = -(-self.num_samples // _LANES)
        self._study: tuple[bytes, _Groups] | None = None

    def draw(
        self,
        summaries: np.ndarray,
        *,
        mini_batch_size: int,
        d0: float,
        d1: float,
        steps: int,
        seed: int | None,
        path: bool = False,
    ) -> Draws:
        r"""Draw from the composed posterior of one study by Euler-Maruyama.

        With G groups and a fresh random mini-batch B for each draw and step the score is
        :math:`d_0^{1-t} d_1^t \, [-x + \frac{G}{|B|} \sum_{g \in B} (s_g(x, t) + x)]`, where -x is
        the score of the prior, N(0, I) at all times.

        Parameters
        ----------
        summaries : array (n_groups, summary_dim)
            Summaries of the study's groups, ``compose(...).summaries``.
        mini_batch_size : int
            Groups per estimate of the score; all if there are no more.
        d0, d1 : float
            Bridge at the data end (t = 0) and at the noise end (t = 1).
        steps : int
            Number of steps.
        seed : int or None
            Seed of noise and mini-batches; None for a fresh one.
        path : bool, default False
            Whether to return all states, too.

        Returns
        -------
        Draws
            With ``.settings`` and, if asked for, ``.path`` (steps + 1, num_samples, d), all states
            in prior z-scores from noise to draws, and their diffusion ``.times`` from 1 to 0.

        Raises
        ------
        ValueError
            If an argument is out of range, or summaries are not finite or not the network's.
        RuntimeError
            If draws are not finite, which only broken weights can cause.
        """
        summaries = self._summaries(summaries)
        steps = check_count("steps", steps)
        count = min(check_count("mini_batch_size", mini_batch_size), len(summaries))
        d0, d1 = check_positive("d0", d0), check_positive("d1", d1)
        rng = np.random.default_rng(None if seed is None else check_count("seed", seed, 0))
        times = _times(steps)
        levels = _levels(self.network, times, d0, d1)
        shape = (self._lane * _LANES, self.network.base_distribution.dim)
        batches = _batches(rng, levels, len(summaries), count, shape)
        states = self._walk(self._groups(summaries), batches, len(summaries), count, rng)
        kept = deque(states, maxlen=None if path else 1)
        z = kept[-1][: self.num_samples]
        if not np.all(np.isfinite(kept[-1])):
            raise RuntimeError(
                "draws are not finite: the network's weights are broken; train again."
            )
        chosen = {"mini_batch_size": count, "d0": d0, "d1": d1, "seed": seed}
        chosen |= {"steps": steps, "path": path}
        values = self.model.prior.unstandardize(z)
        return Draws(
            {k: values[:, i] for i, k in enumerate(self.model.prior.names)},
            model=self.model,
            settings=chosen,
            path=np.stack(kept)[:, : self.num_samples] if path else None,
            times=times if path else None,
        )

    def score_field(
        self, summaries: np.ndarray, points: np.ndarray, t: float, d0: float, d1: float
    ) -> np.ndarray:
        """Return the composed score of all groups: the field that the particles follow.

        It has the bridge, and the sampler's bound on the denoised parameters, in it.

        Parameters
        ----------
        summaries : array (n_groups, summary_dim)
            Summaries of the study's groups.
        points : array (n_points, d)
            Diffused parameters, in prior z-scores.
        t : float
            Diffusion time between 0 and 1.
        d0, d1 : float
            Bridge at the data end and at the noise end.

        Returns
        -------
        ndarray (n_points, d), per prior sd.

        Raises
        ------
        ValueError
            If an argument is out of range or not finite.
        """
        summaries = self._summaries(summaries)
        points = _checked("points", points, ("n_points", len(self.model.prior)), "prior z-scores")
        d0, d1 = check_positive("d0", d0), check_positive("d1", d1)
        if not 0.0 <= t <= 1.0:
            raise ValueError(f"t must be a diffusion time between 0 and 1, got {t}.")
        levels = _levels(self.network, np.asarray([t, 0.0], "float32"), d0, d1)
        level = _Levels(*(np.float32(a[0]) for a in levels))
        # The denoised parameters, summed over all groups: in threads, some points each.
        denoised, groups = _programs(self.network)[1], self._groups(summaries)
        size = np.int32(len(summaries))
        parts = -(-len(points) // self._lane)
        with ThreadPoolExecutor(_LANES) as pool:
            sums = pool.map(
                lambda part: ops.convert_to_numpy(denoised(groups, part, level.log_snr, size)),
                np.split(_padded(points, parts * self._lane), parts),
            )
            total = np.concatenate(list(sums))[: len(points)]
        n = np.float32(len(summaries))
        return ops.convert_to_numpy(_composed_score(points, total, level, n, n))

    def _summaries(self, summaries: Any) -> np.ndarray:
        dim = self.network.subnet.c_proj.kernel.shape[0]
        wanted = "those of one study, such as compose(...).summaries"
        return _checked("summaries", summaries, ("n_groups", dim), wanted)

    def _groups(self, summaries: np.ndarray) -> _Groups:
        """Prepare the groups, or return those of the last call if nothing changed."""
        subnet = self.network.subnet
        weights = (*subnet.c_proj.weights, *subnet.merge_proj.weights)
        digest = hashlib.blake2b(summaries.tobytes())
        for weight in weights:
            digest.update(ops.convert_to_numpy(weight).tobytes())
        if self._study is None or self._study[0] != digest.digest():
            self._study = digest.digest(), _prepare(self.network, summaries)
        return self._study[1]

    def _walk(
        self,
        groups: _Groups,
        batches: Iterator[_Blocks],
        n_groups: int,
        count: int,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """Yield the states (draws, dim) of the reverse diffusion, the first of which is noise."""
        walk = _programs(self.network)[0]
        x = _noise(rng, (_LANES * self._lane, self.network.base_distribution.dim))
        yield x
        # Of each thread x, and the denoised parameters summed over the groups of this step so far.
        lanes = [(a, np.zeros_like(a)) for a in np.split(x, _LANES)]
        sizes = np.asarray([n_groups, count], "float32")
        with ThreadPoolExecutor(_LANES) as pool:
            for batch in batches:
                n_blocks = len(batch.last)
                full = keras.tree.map_structure(lambda a: _padded(a, _BLOCKS), batch)
                index, noise = (np.split(a, _LANES, axis=1) for a in (full.index, full.noise))
                parts = [full._replace(index=i, noise=n) for i, n in zip(index, noise, strict=True)]
                jobs = [
                    pool.submit(walk, groups, part, lane, np.int32(n_blocks), sizes)
                    for part, lane in zip(parts, lanes, strict=True)
                ]
                results = [job.result() for job in jobs]
                lanes = [state for state, _ in results]
                path = np.concatenate([ops.convert_to_numpy(a) for _, a in results], axis=1)
                yield from path[:n_blocks][batch.last]


# --- the composed score ---------------------------------------------------------------------------


def _prepare(network: Any, summaries: np.ndarray) -> _Groups:
    """Compute what depends on the groups alone, in double precision where it is cheap.

    They are padded first: TensorFlow keeps something of every new shape it multiplies.
    """
    capacity = _LEAST_CAPACITY
    while capacity < len(summaries):
        capacity *= 2
    summaries = _padded(summaries, capacity)
    subnet, dim = network.subnet, network.base_distribution.dim
    mean, precision = (ops.convert_to_numpy(a) for a in network.anchor(summaries, dim))
    width, axes = np.linalg.eigh(precision.astype("float64"))
    kernel = subnet.merge_proj.kernel[subnet.c_proj.units :]
    share = ops.matmul(subnet.activation(subnet.c_proj(summaries)), kernel)
    groups = _Groups(
        axes=axes,
        width=width,
        center=np.einsum("gij,gi->gj", axes, mean),
        mean=mean,
        own=np.diagonal(precision, axis1=-2, axis2=-1),
        known=np.any(summaries != 0.0, axis=-1, keepdims=True),
        merged=ops.convert_to_numpy(share + subnet.merge_proj.bias),
    )
    return _Groups(*(ops.convert_to_tensor(a.astype("float32")) for a in groups))


def _denoised(network: Any, groups: _Groups, x: Tensor, log_snr: Tensor) -> Tensor:
    """Return each group's denoised parameters (draws, block, dim), as ``network._predict_x``."""
    alpha, sigma = network.noise_schedule.get_alpha_sigma(log_snr_t=log_snr)
    x = x[:, None, :]
    along = ops.sum(groups.axes * x[..., None], axis=-2)
    pull = groups.width * groups.center + alpha / ops.square(sigma) * along
    gaussian = groups.axes * (pull / (groups.width + ops.exp(log_snr)))[..., None, :]
    return ops.sum(gaussian, axis=-1) + _residual(network, groups, x, log_snr)


def _residual(network: Any, groups: _Groups, x: Tensor, log_snr: Tensor) -> Tensor:
    """Return what the subnet adds, as ``network.residual``, with the condition already merged."""
    subnet, (n_draws, block, dim) = network.subnet, groups.mean.shape
    snr = ops.exp(log_snr)
    alpha, sigma = network.noise_schedule.get_alpha_sigma(log_snr_t=log_snr)
    scale = ops.sqrt(ops.square(alpha) / groups.own + ops.square(sigma))
    share = ops.sqrt(groups.own / (groups.own + snr))
    inputs = ops.concatenate([(x - alpha * groups.mean) / scale, share], axis=-1)
    h = subnet.activation(subnet.x_proj(ops.reshape(inputs, (n_draws * block, 2 * dim))))
    h = ops.matmul(h, subnet.merge_proj.kernel[: subnet.x_proj.units])
    h = subnet.activation(h + ops.reshape(groups.merged, (n_draws * block, -1)))
    time = subnet.time_emb(ops.reshape(network._transform_log_snr(log_snr), (1, 1)))
    for layer in subnet.blocks:
        h = layer((h, time), training=False)
    rest = ops.reshape(network.output_projector(h), (n_draws, block, dim))
    return groups.known * share / ops.sqrt(groups.own + snr) * rest


def _composed_score(
    x: Tensor, total: Tensor, level: _Levels, n_groups: Tensor, count: Tensor
) -> Tensor:
    """Compose the score from the summed denoised parameters of `count` of the groups."""
    variance = level.sigma**2
    summed = (level.alpha * total - count * x) / variance
    score = level.bridge * (n_groups / count * (summed + count * x) - x)
    clean = ops.clip((x + variance * score) / level.alpha, -_CLIP, _CLIP)
    return (level.alpha * clean - x) / variance


# --- the compiled programs ------------------------------------------------------------------------


@lru_cache(_KEPT)
def _programs(network: Any) -> tuple[Callable, Callable]:
    """Return the walk through the blocks and the sum over all groups, compiled."""

    def walk(
        groups: _Groups, blocks: _Blocks, state: tuple, n_blocks: Tensor, sizes: Tensor
    ) -> tuple[tuple, Tensor]:
        """Walk through the first blocks; return the last state and x after each of them."""

        def body(i: Tensor, loop: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            x, total, path = loop
            level = _Levels(*(a[i] for a in blocks.levels))
            clean = _denoised(network, _take(groups, blocks.index[i]), x, level.log_snr)
            total = total + ops.sum(blocks.weight[i][:, None] * clean, axis=1)
            score = _composed_score(x, total, level, sizes[0], sizes[1])
            moved = x + level.drift * x + level.push * score + level.spread * blocks.noise[i]
            x = ops.where(blocks.last[i], moved, x)
            total = ops.where(blocks.last[i], ops.zeros_like(total), total)
            return x, total, ops.slice_update(path, (i, 0, 0), x[None])

        start = (*state, ops.zeros_like(blocks.noise))
        x, total, path = ops.fori_loop(0, n_blocks, body, start)
        return (x, total), path

    def total(groups: _Groups, x: Tensor, log_snr: Tensor, n_groups: Tensor) -> Tensor:
        """Sum the denoised parameters of the first groups."""

        def add(i: Tensor, total: Tensor) -> Tensor:
            index = i * _WIDTH + ops.arange(_WIDTH)
            weight = ops.cast(index < n_groups, x.dtype)
            index = ops.minimum(index, n_groups - 1)
            rows = _take(groups, ops.broadcast_to(index, (x.shape[0], _WIDTH)))
            return total + ops.sum(weight[:, None] * _denoised(network, rows, x, log_snr), axis=1)

        return ops.fori_loop(0, (n_groups + _WIDTH - 1) // _WIDTH, add, ops.zeros_like(x))

    first, second = (tf.function(f, autograph=False, jit_compile=True) for f in (walk, total))
    return first, second


def _take(groups: _Groups, index: Tensor) -> _Groups:
    return _Groups(*(ops.take(a, index, axis=0) for a in groups))


# --- time, noise and mini-batches -----------------------------------------------------------------


def _times(steps: int) -> np.ndarray:
    """Times (steps + 1,) from 1 to 0, added up in single precision as BayesFlow's solver does."""
    parts = np.full(steps + 1, 1.0 / steps, dtype="float32")
    parts[0] = 1.0
    return np.maximum(np.subtract.accumulate(parts), 0.0)


def _levels(network: Any, times: np.ndarray, d0: float, d1: float) -> _Levels:
    """Compute what the steps from each of the times but the last do."""
    t, schedule = times[:-1], network.noise_schedule
    dt = np.minimum(np.float32(1.0 / len(t)), t)
    log_snr = schedule.log_snr(t=ops.convert_to_tensor(t), training=False)
    alpha, sigma = schedule.get_alpha_sigma(log_snr_t=log_snr)
    drift, g_squared = schedule.get_drift(log_snr_t=log_snr, x=ops.ones_like(log_snr))
    bridge = network.compositional_bridge(ops.convert_to_tensor(t), d0, d1)
    steps = (log_snr, alpha, sigma, bridge, -dt * drift, dt * g_squared, ops.sqrt(dt * g_squared))
    return _Levels(*(ops.convert_to_numpy(a) for a in steps))


def _batches(
    rng: np.random.Generator, levels: _Levels, n_groups: int, count: int, shape: tuple[int, int]
) -> Iterator[_Blocks]:
    """Yield all blocks of all steps, at most `_BLOCKS` at once.

    Noise goes with the last block of its step.
    """
    n_blocks, (n_draws, dim) = -(-count // _WIDTH), shape
    there = np.arange(n_blocks * _WIDTH) < count
    per_batch = max(1, _BLOCKS // n_blocks)
    for first in range(0, len(levels.alpha), per_batch):
        some = [np.repeat(a[first : first + per_batch], n_blocks) for a in levels]
        n_steps = len(some[0]) // n_blocks
        index = np.zeros((n_steps, n_draws, n_blocks * _WIDTH), dtype="int32")
        index[..., :count] = _subsets(rng, n_groups, count, (n_steps, n_draws))
        noise = np.zeros((n_steps, n_blocks, n_draws, dim), dtype="float32")
        noise[:, -1] = _noise(rng, (n_steps, n_draws, dim))
        by_block = index.reshape(n_steps, n_draws, n_blocks, _WIDTH).swapaxes(1, 2)
        blocks = _Blocks(
            levels=_Levels(*some),
            last=np.tile(np.arange(n_blocks) == n_blocks - 1, n_steps),
            weight=np.tile(there.reshape(n_blocks, _WIDTH).astype("float32"), (n_steps, 1)),
            index=by_block.reshape(-1, n_draws, _WIDTH),
            noise=noise.reshape(-1, n_draws, dim),
        )
        for start in range(0, len(blocks.last), _BLOCKS):
            part = slice(start, start + _BLOCKS)
            yield keras.tree.map_structure(lambda a, part=part: a[part], blocks)


def _subsets(rng: np.random.Generator, n: int, size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw uniform subsets (*shape, size) of range(n) by Floyd's algorithm (Bentley, 1987)."""
    subsets = np.empty((*shape, size), dtype="int32")
    if size == n:
        subsets[...] = np.arange(n)
        return subsets
    for i, j in enumerate(range(n - size, n)):
        new = rng.integers(0, j + 1, shape, dtype="int32")
        taken = np.any(subsets[..., :i] == new[..., None], axis=-1)
        subsets[..., i] = np.where(taken, j, new)
    return subsets


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, dtype="float32")


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    """Lengthen the first axis with zeros."""
    return np.pad(values, [(0, length - len(values))] + [(0, 0)] * (values.ndim - 1))


# --- checks ---------------------------------------------------------------------------------------


def _checked(name: str, values: Any, shape: tuple[str, int], what: str) -> np.ndarray:
    array = np.asarray(values, dtype="float32")
    if array.ndim != 2 or len(array) == 0 or array.shape[1] != shape[1]:
        raise ValueError(
            f"{name} must have shape ({shape[0]}, {shape[1]}), {what}, got {array.shape}."
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite; they hold NaN or infinity.")
    return array
