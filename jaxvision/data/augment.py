"""Augmentation as pure functions of a key and a batch; images are (B, H, W, C).

Every image draws from its own key, `jaxcore.training.row_keys`: what happens to it does
not depend on the number of devices. Inside a training step these are part of the
compiled program. Functions that move pixels take label maps (B, H, W) along and return
them too; those that change values alone are in `jaxvision.data.intensity`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from jaxcore.training import row_keys
from jaxvision import _checks
from jaxvision._checks import Values
from jaxvision.data._draws import Range, check_probability, check_range
from jaxvision.layers._checks import images, positive


AXES = {"horizontal": 1, "vertical": 0}  # of one image (H, W, ...)


def standardize(x: Float[Values, "b h w c"], *, epsilon: float = 1e-6) -> Array:
    """Returns images with mean 0 and standard deviation 1, each channel by its own.

    A channel with one value everywhere becomes 0.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([1.0, 3.0]).reshape(1, 1, 2, 1)
        >>> standardize(x).round(3).ravel().tolist()
        [-1.0, 1.0]
    """
    x = images("jaxvision.data.standardize", x)
    axes = (1, 2)
    centered = x - jnp.mean(x, axes, keepdims=True)
    deviation = jnp.sqrt(jnp.mean(centered**2, axes, keepdims=True))
    return centered / jnp.maximum(deviation, epsilon)


# Mean and deviation of red, green and blue over ImageNet, of images in [0, 1]: what
# networks with torchvision's and most of timm's weights were trained with.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def normalize(
    x: Float[Values, "b h w c"],
    *,
    mean: Sequence[float] = IMAGENET[0],
    deviation: Sequence[float] = IMAGENET[1],
) -> Array:
    """Returns `(x - mean) / deviation`, with one of each per channel.

    Args:
        x: (B, H, W, C).
        mean, deviation: C numbers; default those of ImageNet.

    Raises:
        ValueError: not as many numbers as channels, or a deviation not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.full((1, 1, 1, 3), 0.485)
        >>> print(f"{float(normalize(x)[0, 0, 0, 0]):.1f}")
        0.0
    """
    where = "jaxvision.data.normalize"
    x = images(where, x)
    for name, values in (("mean", mean), ("deviation", deviation)):
        if len(values) != x.shape[-1]:
            raise ValueError(
                f"{where}: `{name}` must have {x.shape[-1]} numbers, one per channel, "
                f"got {values!r}"
            )
    _checks.positive(where, "deviation", min(deviation))
    shift, scale = (
        jnp.asarray(v, x.dtype).reshape(1, 1, 1, -1) for v in (mean, deviation)
    )
    return (x - shift) / scale


def flip(
    key: Array,
    x: Float[Values, "b h w c"],
    *labels: Values,
    direction: str = "horizontal",
    probability: float = 0.5,
) -> tuple[Array, ...]:
    """Returns images, and label maps, each flipped with a probability.

    Args:
        key: typed random key.
        x: (B, H, W, C).
        labels: maps (B, H, W), flipped with their image.
        direction: `"horizontal"` (left to right) or `"vertical"`.
        probability: in [0, 1].

    Raises:
        ValueError: an unknown direction, or shapes that do not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.arange(3.0).reshape(1, 1, 3, 1)
        >>> (y,) = flip(jax.random.key(0), x, probability=1.0)
        >>> y.ravel().tolist()
        [2.0, 1.0, 0.0]
    """
    where = "jaxvision.data.flip"
    if direction not in AXES:
        raise ValueError(
            f"{where}: `direction` must be one of {tuple(AXES)}, got {direction!r}"
        )
    check_probability(where, probability)
    x, maps = _with_labels(where, x, labels)

    def one(key, *arrays):
        turned = jax.random.bernoulli(key, probability)
        return tuple(jnp.where(turned, jnp.flip(a, AXES[direction]), a) for a in arrays)

    return jax.vmap(one)(row_keys(key, len(x)), x, *maps)


def shift_crop(
    key: Array, x: Float[Values, "b h w c"], *labels: Values, padding: int
) -> tuple[Array, ...]:
    """Returns images moved by up to `padding` pixels each way, zeros moving in.

    The crop of the size of the image from the image with that much padding.

    Raises:
        ValueError: a padding that is not positive, or shapes that do not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> (y,) = shift_crop(jax.random.key(0), jnp.ones((2, 8, 8, 1)), padding=2)
        >>> y.shape
        (2, 8, 8, 1)
    """
    where = "jaxvision.data.shift_crop"
    positive(where, padding=padding)
    x, maps = _with_labels(where, x, labels)

    def one(key, *arrays):
        start = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        moved = []
        for a in arrays:
            pads = ((padding, padding), (padding, padding)) + ((0, 0),) * (a.ndim - 2)
            first = (start[0], start[1], *(0,) * (a.ndim - 2))
            moved.append(lax.dynamic_slice(jnp.pad(a, pads), first, a.shape))
        return tuple(moved)

    return jax.vmap(one)(row_keys(key, len(x)), x, *maps)


def resized_crop(
    key: Array,
    x: Float[Values, "b h w c"],
    *labels: Values,
    scale: Range,
    ratio: Range = (1.0, 1.0),
) -> tuple[Array, ...]:
    """Returns a rectangle of each image, enlarged to the size of the image.

    Images are interpolated linearly, label maps take the nearest pixel. Sides are real
    numbers, and at most those of the image.

    Args:
        key: typed random key.
        x: (B, H, W, C).
        labels: maps (B, H, W).
        scale: range of the share of the area, up to 1, uniform.
        ratio: range of `(w / h) / (W / H)` for a rectangle of h x w, log-uniform.

    Raises:
        ValueError: a range in the wrong order, a number out of range, shapes that do
            not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.tile(jnp.arange(9.0).reshape(1, 1, 9, 1), (1, 9, 1, 1))
        >>> (y,) = resized_crop(jax.random.key(0), x, scale=(0.25, 0.25))
        >>> print((y[0, 0, 5, 0] - y[0, 0, 4, 0]).round(3))
        0.5

    Source: the random resized crop of Szegedy et al., Going Deeper with Convolutions,
    CVPR 2015; libraries round its sides to pixels.
    """
    where = "jaxvision.data.resized_crop"
    for name, bounds in (("scale", scale), ("ratio", ratio)):
        check_range(where, name, bounds)
        _checks.positive(where, name, bounds[0])
    if scale[1] > 1:
        raise ValueError(f"{where}: `scale` must be at most 1, got {scale!r}")
    x, maps = _with_labels(where, x, labels)
    sides = x.shape[1:3]

    def one(key, image, *maps):
        area, shape, *places = jax.random.split(key, 4)
        share = jax.random.uniform(area, (), x.dtype, *scale)
        logs = jnp.log(jnp.asarray(ratio, x.dtype))
        stretch = jnp.exp(jax.random.uniform(shape, (), x.dtype, logs[0], logs[1]))
        parts = (jnp.sqrt(share / stretch), jnp.sqrt(share * stretch))
        where_from = []
        for side, part, place in zip(sides, parts, places, strict=True):
            part = jnp.minimum(part, 1)
            first = jax.random.uniform(place, (), x.dtype) * (1 - part) * side
            at = first + part * (jnp.arange(side) + 0.5) - 0.5
            where_from.append(jnp.clip(at, 0, side - 1))
        rows, columns = jnp.meshgrid(*where_from, indexing="ij")
        return _resampled((rows, columns), image, maps)

    return jax.vmap(one)(row_keys(key, len(x)), x, *maps)


def affine(
    key: Array,
    x: Float[Values, "b h w c"],
    *labels: Values,
    degrees: Range = (0.0, 0.0),
    scale: Range = (1.0, 1.0),
    probability: float | tuple[float, float] = 1.0,
) -> tuple[Array, ...]:
    """Returns images rotated and scaled about their centers.

    Images are interpolated linearly, label maps take the nearest pixel; outside the
    image both are 0. Angles are counter-clockwise on the screen, factors above 1
    enlarge.

    Args:
        key: typed random key.
        x: (B, H, W, C).
        labels: maps (B, H, W).
        degrees, scale: ranges to draw from, angle uniform, factor log-uniform.
        probability: of changing an image at all; or two, of rotating it and, whether or
            not that happens, of scaling it.

    Raises:
        ValueError: a range in the wrong order, a factor that is not positive, shapes
            that do not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
        >>> (y,) = affine(jax.random.key(0), x, degrees=(90, 90))
        >>> y[0, :, :, 0].round(4).tolist()
        [[1.0, 3.0], [0.0, 2.0]]
    """
    where = "jaxvision.data.affine"
    check_range(where, "degrees", degrees)
    check_range(where, "scale", scale)
    _checks.positive(where, "scale", scale[0])
    both = probability if isinstance(probability, tuple) else (probability,)
    for value in both:
        check_probability(where, value)
    x, maps = _with_labels(where, x, labels)
    height, width = x.shape[1:3]
    rows, columns = jnp.meshgrid(
        jnp.arange(height) - (height - 1) / 2,
        jnp.arange(width) - (width - 1) / 2,
        indexing="ij",
    )

    def one(key, image, *maps):
        turn, size, chance = jax.random.split(key, 3)
        angle = jnp.deg2rad(jax.random.uniform(turn, (), x.dtype, *degrees))
        logs = jnp.log(jnp.asarray(scale, x.dtype))
        factor = jnp.exp(jax.random.uniform(size, (), x.dtype, logs[0], logs[1]))
        coins = (chance,) if len(both) == 1 else jax.random.split(chance)
        changed = [jax.random.bernoulli(k, p) for k, p in zip(coins, both, strict=True)]
        angle = jnp.where(changed[0], angle, 0)
        factor = jnp.where(changed[-1], factor, 1)
        cosine, sine = jnp.cos(angle) / factor, jnp.sin(angle) / factor
        where_from = (
            cosine * rows + sine * columns + (height - 1) / 2,
            cosine * columns - sine * rows + (width - 1) / 2,
        )
        return _resampled(where_from, image, maps)

    return jax.vmap(one)(row_keys(key, len(x)), x, *maps)


def distort(
    key: Array,
    x: Float[Values, "b h w c"],
    *labels: Values,
    cells: tuple[int, int] = (4, 4),
    magnitude: float = 8.0,
) -> tuple[Array, ...]:
    """Returns images whose pixels follow a grid with randomly moved nodes.

    The image is cut into cells; where nodes meet inside the image, each is moved by up
    to `magnitude` pixels along both axes, those on the border stay. A pixel is taken
    from where the nodes around it send it, linearly between them, and never from
    outside the image. Images are interpolated linearly, label maps take the nearest
    pixel.

    Args:
        key: typed random key.
        x: (B, H, W, C).
        labels: maps (B, H, W).
        cells: along height and width.
        magnitude: largest move in pixels, at most half a cell, which folds nothing.

    Raises:
        ValueError: a number of cells that is not positive, a magnitude out of range, or
            shapes that do not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> (y,) = distort(jax.random.key(0), jnp.ones((2, 32, 32, 1)), magnitude=2)
        >>> y.shape, float(jnp.abs(y - 1).max().round(4))
        ((2, 32, 32, 1), 0.0)

    Source: Bloice et al., Augmentor, Bioinformatics 35 (2019), there with whole pixels.
    """
    where = "jaxvision.data.distort"
    x, maps = _with_labels(where, x, labels)
    sides = x.shape[1:3]
    for name, count, side in zip(("rows", "columns"), cells, sides, strict=True):
        positive(where, **{f"cells, {name}": count})
        if not 0 <= magnitude <= side / count / 2:
            raise ValueError(
                f"{where}: `magnitude` must be from 0 to half a cell, "
                f"{side / count / 2:g} pixels for {count} of {side}, got {magnitude!r}"
            )
    spread = [
        jnp.asarray(_hats(n, side), x.dtype)
        for n, side in zip(cells, sides, strict=True)
    ]

    def one(key, image, *maps):
        inner = (2, cells[0] - 1, cells[1] - 1)
        moves = jax.random.uniform(key, inner, x.dtype, -magnitude, magnitude)
        rows, columns = jnp.einsum("in,cnm,jm->cij", spread[0], moves, spread[1])
        # Between the border and the centers of the outermost pixels these are taken.
        where_from = (
            jnp.clip(jnp.arange(sides[0])[:, None] + rows, 0, sides[0] - 1),
            jnp.clip(jnp.arange(sides[1])[None, :] + columns, 0, sides[1] - 1),
        )
        return _resampled(where_from, image, maps)

    return jax.vmap(one)(row_keys(key, len(x)), x, *maps)


def _hats(cells: int, side: int) -> np.ndarray:
    """Returns the weights (side, cells - 1) of the inner nodes at each pixel."""
    at = (np.arange(side) + 0.5) / side * cells
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(1, cells)))


def _resampled(
    where_from: tuple[Array, Array], image: Array, maps: tuple[Array, ...]
) -> tuple[Array, ...]:
    """Returns an image and its label maps with each pixel taken from elsewhere."""

    def moved(a, order):
        return map_coordinates(a, where_from, order=order, mode="constant")

    inner = jax.vmap(lambda a: moved(a, 1), -1, -1)(image)
    return (inner, *(moved(m, 0) for m in maps))


def _with_labels(
    where: str, x: Values, labels: tuple[Values, ...]
) -> tuple[Array, list[Array]]:
    x = images(where, x)
    maps = [jnp.asarray(label) for label in labels]
    for label in maps:
        if label.shape != x.shape[:3]:
            raise ValueError(
                f"{where}: `labels` must be maps of the size of the images, "
                f"{x.shape[:3]}, got shape {label.shape}"
            )
    return x, maps
