"""Normalization: over the global batch on any number of devices, or image by image.

Over the batch with one scale and bias, or with those of each row's class.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from jaxcore.training import axis_name, batch_moments, mean_over_devices
from jaxvision import _checks
from jaxvision.layers._checks import class_labels, features, positive


class BatchNorm(nnx.Module):
    """Normalizes each channel with the moments of the global batch.

    In training, `y = (x - m) / sqrt(v + eps) * scale + bias` with mean `m` and (biased)
    variance `v` over rows, positions and devices, and

        running = momentum * running + (1 - momentum) * (m, v n / (n - 1)),

    where `n` numbers went into a moment. In evaluation the running moments are used.
    Rows that only fill a batch are left out of moments and `n` by `counted_rows`.
    `model.train()` and `model.eval()` switch; a new layer trains. Moments are computed
    in float32 at least. The unbiased running variance is PyTorch's convention
    (momentum 0.9 here is 0.1 there).

    Args:
        channels: C.
        momentum: of the running moments, in [0, 1].
        epsilon: added to the variance.
        affine: whether there are `scale` and `bias`.

    Raises:
        ValueError: `channels` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> norm = BatchNorm(1)
        >>> norm(jnp.array([[1.0], [3.0]])).round(2).tolist()
        [[-1.0], [1.0]]
        >>> norm.mean[...].round(2).tolist(), norm.var[...].round(2).tolist()
        ([0.2], [1.1])

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015, algorithms 1 and 2.
    """

    def __init__(
        self,
        channels: int,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        affine: bool = True,
    ):
        positive("jaxvision.layers.BatchNorm", channels=channels)
        self.scale = nnx.Param(jnp.ones(channels)) if affine else None
        self.bias = nnx.Param(jnp.zeros(channels)) if affine else None
        self.mean = nnx.BatchStat(jnp.zeros(channels))
        self.var = nnx.BatchStat(jnp.ones(channels))
        self.momentum, self.epsilon = momentum, epsilon
        self.use_running_average = False
        self.counts: Array | None = nnx.data(None)  # of rows, see `counted_rows`

    def __call__(self, x: Float[Array, "b *rest c"]) -> Float[Array, "b *rest c"]:
        """Returns the normalized maps, of the dtype of `x`.

        Raises:
            TypeError, ValueError: `x` is no (B, ..., channels) of floats.
        """
        x = features("jaxvision.layers.BatchNorm", x, self.mean.shape[0])
        wide = _checks.wide(x)
        mean, variance = self.mean[...], self.var[...]
        if not self.use_running_average:
            if self.counts is not None and self.counts.shape != x.shape[:1]:
                raise ValueError(
                    "jaxvision.layers.counted_rows: `counts` must have shape "
                    f"{x.shape[:1]}, one number per row, got {self.counts.shape}"
                )
            mean, variance = batch_moments(wide, self.counts)
            name = axis_name()
            devices = 1 if name is None else lax.axis_size(name)
            rows = x.shape[0]
            if self.counts is not None:
                rows = mean_over_devices(jnp.sum(self.counts))
            count = rows * (devices * int(np.prod(x.shape[1:-1], dtype=np.int64)))
            most = max if self.counts is None else jnp.maximum
            self._follow(mean, variance * (count / most(count - 1, 1)))
        factor = lax.rsqrt(variance + self.epsilon)
        if self.scale is not None:
            factor = factor * self.scale[...]
        shape = (1,) * (x.ndim - 1) + (-1,)
        out = (wide - mean.reshape(shape)) * factor.reshape(shape)
        if self.bias is not None:
            out = out + self.bias[...].reshape(shape)
        return out.astype(x.dtype)

    def _follow(self, mean: Array, variance: Array) -> None:
        keep = self.momentum
        for running, new in ((self.mean, mean), (self.var, variance)):
            kept = keep * running[...] + (1 - keep) * lax.stop_gradient(new)
            # `running[...] =` asks for a sharding: slow to trace in a deep network.
            running.set_value(kept.astype(running[...].dtype))


class ConditionalBatchNorm(nnx.Module):
    """Batch normalization with a scale and a bias for each class.

    `y = (x - m) / sqrt(v + eps) * scale[label] + bias[label]`: moments, running ones
    included, are those of `BatchNorm` over all classes together. Scales start at 1 and
    biases at 0.

    Args:
        channels: C.
        num_classes: K.
        momentum, epsilon: of `BatchNorm`.

    Raises:
        ValueError: a size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> norm = ConditionalBatchNorm(1, 2)
        >>> norm.bias[...] = jnp.array([[0.0], [10.0]])
        >>> norm(jnp.array([[1.0], [3.0]]), jnp.array([0, 1])).round(2).tolist()
        [[-1.0], [11.0]]

    Source: de Vries et al., NeurIPS 2017, with tables instead of a network; Miyato and
    Koyama, cGANs with Projection Discriminator, ICLR 2018.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        momentum: float = 0.9,
        epsilon: float = 2e-5,
    ):
        positive(
            "jaxvision.layers.ConditionalBatchNorm",
            channels=channels,
            num_classes=num_classes,
        )
        self.norm = BatchNorm(
            channels, momentum=momentum, epsilon=epsilon, affine=False
        )
        self.scale = nnx.Param(jnp.ones((num_classes, channels)))
        self.bias = nnx.Param(jnp.zeros((num_classes, channels)))

    def __call__(
        self, x: Float[Array, "b *rest c"], label: Int[Array, " b"]
    ) -> Float[Array, "b *rest c"]:
        """Returns the normalized maps, of the dtype of `x`.

        Inside `jax.jit` a label out of range gives NaN.

        Raises:
            TypeError: `x` is no floats, or labels no integers.
            ValueError: `x` is not (B, ..., channels), or not one label per row, or one
                out of range.
        """
        where = "jaxvision.layers.ConditionalBatchNorm"
        classes, channels = self.scale[...].shape
        x = features(where, x, channels)
        label = class_labels(where, label, x.shape[0], classes)
        shape = (x.shape[0], *(1,) * (x.ndim - 2), channels)
        scale, bias = (class_rows(t[...], label) for t in (self.scale, self.bias))
        wide = self.norm(_checks.wide(x))
        out = wide * scale.reshape(shape) + bias.reshape(shape)
        return out.astype(x.dtype)


def class_rows(
    table: Float[Array, "k n"], label: Int[Array, " b"]
) -> Float[Array, "b n"]:
    """Returns the row of each label; NaN for a label out of range."""
    index = _checks.indices(label, len(table))
    return jnp.take(table, index, axis=0, mode="fill", fill_value=jnp.nan)


@contextlib.contextmanager
def counted_rows(model: nnx.Module, counts: Float[Array, " b"]) -> Iterator[None]:
    """Within it, each `BatchNorm` of a network counts rows by a mask, in training.

    A batch that is filled up with rows that do not count then has the moments of those
    that do.

    Args:
        model: a network, inside the function that is traced.
        counts: (B,), 1 for rows that count and 0 for the others.

    Raises:
        ValueError: `counts` is not (B,), or, in the call of the network, not one number
            per row.

    Example:
        >>> import jax.numpy as jnp
        >>> norm = BatchNorm(1)
        >>> with counted_rows(norm, jnp.array([1.0, 1.0, 0.0])):
        ...     norm(jnp.array([[1.0], [3.0], [9.0]])).round(1)[:2].tolist()
        [[-1.0], [1.0]]
    """
    if jnp.ndim(counts) != 1:
        raise ValueError(
            "jaxvision.layers.counted_rows: `counts` must be (batch,), one number per "
            f"row, got shape {jnp.shape(counts)}"
        )
    norms = [m for _, m in nnx.iter_modules(model) if isinstance(m, BatchNorm)]
    for norm in norms:
        norm.counts = counts
    try:
        yield
    finally:
        for norm in norms:
            norm.counts = None


class InstanceNorm(nnx.Module):
    """Normalizes each channel of each image with its own moments.

    `y = (x - m) / sqrt(v + eps) * scale + bias`, mean `m` and (biased) variance `v`
    over the positions of one image, in training and in evaluation. Moments are computed
    in float32 at least.

    Args:
        channels: C.
        epsilon: added to the variance.
        affine: whether there are `scale` and `bias`.

    Raises:
        ValueError: `channels` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> norm = InstanceNorm(1)
        >>> norm(jnp.array([[[1.0], [3.0]], [[5.0], [5.0]]])).round(2)[..., 0].tolist()
        [[-1.0, 1.0], [0.0, 0.0]]

    Source: Ulyanov et al., Instance Normalization, 2016.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-5, affine: bool = True):
        positive("jaxvision.layers.InstanceNorm", channels=channels)
        self.scale = nnx.Param(jnp.ones(channels)) if affine else None
        self.bias = nnx.Param(jnp.zeros(channels)) if affine else None
        self.channels, self.epsilon = channels, epsilon

    def __call__(self, x: Float[Array, "b *rest c"]) -> Float[Array, "b *rest c"]:
        """Returns the normalized maps, of the dtype of `x`.

        Raises:
            TypeError, ValueError: `x` is no (B, ..., channels) of floats, or has fewer
                than two positions: their variance is 0 whatever the image.
        """
        where = "jaxvision.layers.InstanceNorm"
        x = features(where, x, self.channels)
        if math.prod(x.shape[1:-1]) < 2:
            raise ValueError(
                f"{where}: `x` must have at least two positions, got shape {x.shape}"
            )
        wide = _checks.wide(x)
        axes = tuple(range(1, x.ndim - 1))
        centered = wide - jnp.mean(wide, axes, keepdims=True)
        variance = jnp.mean(centered**2, axes, keepdims=True)
        factor = lax.rsqrt(variance + self.epsilon)
        shape = (1,) * (x.ndim - 1) + (-1,)
        if self.scale is not None:
            factor = factor * self.scale[...].reshape(shape)
        out = centered * factor
        if self.bias is not None:
            out = out + self.bias[...].reshape(shape)
        return out.astype(x.dtype)
