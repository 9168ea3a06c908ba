"""FID and KID: distances in the features of InceptionV3 with its published weights.

The weights are a file that the user has. What is computed without it has another name:
`frechet_distance` and `kernel_distance` in the features of any network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxvision import layers
from jaxvision._checks import Values, positive
from jaxvision.metrics.generative import (
    frechet_distance,
    kernel_distance_over_subsets,
)
from jaxvision.weights import load_weights


SIDE = 299


class InceptionFeatures:
    """The network that FID is defined with, as a function of images.

    `layers.InceptionV3("fid")` with weights from a file: there is none without. Images
    are resized to 299 x 299 bilinearly (centers of pixels at half-integers, nothing is
    averaged when they shrink), scaled to [-1, 1], and become 2048 features. That is
    what the port of the network to PyTorch does; the first program for FID resized with
    centers at integers. Figures are those of the same resizing only.

    Args:
        weights: file of safetensors (or npz), complete: 1008 classes, no second head.
        source: whose names the file has, see `jaxvision.load_weights`; the port has
            torchvision's.
        batch_size: images that go through the network at once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not fit, see `jaxvision.load_weights`; or `batch_size`
            is not positive.

    Example:
        >>> InceptionFeatures("inception.safetensors")
        Traceback (most recent call last):
        ...
        FileNotFoundError: ... must be a file of safetensors or npz, got inception...

    Source: Heusel et al., NeurIPS 2017.
    """

    def __init__(
        self,
        weights: str | Path,
        *,
        source: str = "torchvision",
        batch_size: int = 64,
    ):
        where = "jaxvision.metrics.InceptionFeatures"
        positive(where, "batch_size", batch_size)
        model = nnx.eval_shape(lambda: layers.InceptionV3("fid", rngs=nnx.Rngs(0)))
        load_weights(model, weights, source=source)
        model.eval()
        graph, self._arrays = nnx.split(model)
        self.batch_size = batch_size
        self._prepare = jax.jit(_prepared)  # a program for each size of images
        self._run = jax.jit(  # one program
            lambda arrays, x: nnx.merge(graph, arrays, copy=True).features(x)
        )

    def __call__(self, images: Values) -> Float[Array, "n d"]:
        """Returns features (n, 2048), float32.

        Args:
            images: (n, H, W, 3), floating point in [0, 1], or uint8 in 0 to 255.

        Raises:
            TypeError: neither floating point nor uint8.
            ValueError: another shape, or values out of range.
        """
        images = _checked("jaxvision.metrics.InceptionFeatures", "images", images)
        found = []
        # Accelerators multiply with fewer digits by default.
        with jax.default_matmul_precision("highest"):
            for start in range(0, len(images), self.batch_size):
                rows = images[start : start + self.batch_size]
                filled = np.zeros((self.batch_size, *rows.shape[1:]), rows.dtype)
                filled[: len(rows)] = rows
                out = self._run(self._arrays, self._prepare(filled))
                found.append(np.asarray(out)[: len(rows)])
        return jnp.concatenate(found)


def frechet_inception_distance(
    real: Values, fake: Values, features: InceptionFeatures
) -> float:
    """Returns FID, the `frechet_distance` in the features of InceptionV3.

    In float64, as published figures are. It falls with the number of images: compare
    figures for one number only (50,000 or 10,000 are usual, 2,048 the least for
    covariances of full rank).

    Args:
        real, fake: images (n, H, W, 3), see `InceptionFeatures`; sizes may differ.
        features: made from a file of weights.

    Raises:
        TypeError: `features` is no `InceptionFeatures`, or images are neither floating
            point nor uint8.
        ValueError: another shape, fewer than 2 images, or values out of range.

    Source: Heusel et al., NeurIPS 2017, equation 6.
    """
    where = "jaxvision.metrics.frechet_inception_distance"
    x, y = _of_both(where, real, fake, features)
    with jax.enable_x64(True):
        return float(frechet_distance(x, y))


def kernel_inception_distance(
    key: Array,
    real: Values,
    fake: Values,
    features: InceptionFeatures,
    *,
    subsets: int = 100,
    size: int = 1000,
) -> tuple[float, float]:
    """Returns KID and its standard deviation over random subsets.

    `kernel_distance_over_subsets` in the features of InceptionV3, in float64; the mean
    does not depend on the number of images.

    Args:
        key: of the draws.
        real, fake, features: as for `frechet_inception_distance`.
        subsets: how many. size: images of each.

    Raises:
        TypeError, ValueError: as `frechet_inception_distance`; or there are fewer
            images than `size`.

    Source: Binkowski et al., Demystifying MMD GANs, ICLR 2018, section 4.
    """
    where = "jaxvision.metrics.kernel_inception_distance"
    x, y = _of_both(where, real, fake, features)
    with jax.enable_x64(True):
        mean, deviation = kernel_distance_over_subsets(
            key, x, y, subsets=subsets, size=size
        )
        return float(mean), float(deviation)


def _of_both(
    where: str, real: Values, fake: Values, features: Any
) -> tuple[np.ndarray, ...]:
    """Returns features of both sets; both are checked before either is computed."""
    if not isinstance(features, InceptionFeatures):
        raise TypeError(
            f"{where}: `features` must be an InceptionFeatures, made from a file of "
            f"weights, got {type(features).__name__}; distances in features of other "
            "networks are frechet_distance and kernel_distance"
        )
    both = [
        _checked(where, name, images, least=2)
        for name, images in (("real", real), ("fake", fake))
    ]
    return tuple(np.asarray(features(images), np.float64) for images in both)


def _checked(where: str, name: str, images: Values, least: int = 1) -> np.ndarray:
    """Returns images as float32 in [0, 1], or uint8 as they are."""
    array = np.asarray(images)
    if array.dtype != np.uint8 and not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{where}: `{name}` must be floating point in [0, 1] or uint8, got "
            f"{array.dtype}"
        )
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(
            f"{where}: `{name}` must be images (batch, height, width, 3), not empty, "
            f"got shape {array.shape}; np.repeat(images, 3, -1) gives gray ones three "
            "channels"
        )
    if len(array) < least:
        raise ValueError(
            f"{where}: `{name}` must be at least {least} images, got {len(array)}"
        )
    if array.dtype == np.uint8:
        return array
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise ValueError(
            f"{where}: `{name}` must have values in [0, 1], got values from {low} to "
            f"{high}"
        )
    return array.astype(np.float32)


def _prepared(x: Array) -> Array:
    """Returns images of the network's size, in [-1, 1]."""
    if x.dtype == jnp.uint8:
        x = x.astype(jnp.float32) / 255
    return 2 * layers.resize_bilinear(x, SIDE, SIDE) - 1
