"""Augmentation of the values of images (B, H, W, C), pixels where they were.

As in `jaxvision.data.augment`, every image draws from its own key. Arguments that these
functions share:

- `probability`: of changing an image at all.
- `channels`: None, all channels of an image are changed alike; or a number, each
  channel draws for itself and is changed with that probability.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxcore.training import row_keys
from jaxvision import _checks
from jaxvision._checks import Values
from jaxvision.data._draws import (
    Range,
    check_probability,
    check_range,
    chosen,
    draws,
)
from jaxvision.layers._checks import images, positive


PLANE = (1, 2)  # axes of a channel


def brightness(
    key: Array,
    x: Float[Values, "b h w c"],
    *,
    factor: Range,
    limits: Range | None = (0.0, 1.0),
    probability: float = 1.0,
    channels: float | None = None,
) -> Array:
    """Returns each image times a factor drawn from a range, kept within limits.

    Args:
        key: typed random key.
        x: (B, H, W, C).
        factor: range to draw from, not negative.
        limits: of the result; None for images that have none.
        probability, channels: see `jaxvision.data.intensity`.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.full((1, 1, 1, 1), 0.8)
        >>> float(brightness(jax.random.key(0), x, factor=(0.5, 0.5))[0, 0, 0, 0])
        0.4
    """
    where = "jaxvision.data.brightness"
    x = _checked(where, x, "factor", factor, probability, channels)
    _checks.not_negative(where, "factor", factor[0])
    found = x * draws(key, x, factor, channels)
    if limits is not None:
        found = jnp.clip(found, *limits)
    return chosen(key, x, found, probability, channels)


def contrast(
    key: Array,
    x: Float[Values, "b h w c"],
    *,
    factor: Range,
    probability: float = 1.0,
    channels: float | None = None,
) -> Array:
    """Returns `m + f (x - m)` with m the mean of each channel and f from a range.

    Kept between the smallest and the largest number that the channel had.

    Args:
        key: typed random key.
        x: (B, H, W, C), of any range.
        factor: range to draw from, not negative; below 1 flattens.
        probability, channels: see `jaxvision.data.intensity`.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.array([0.0, 2.0, 4.0]).reshape(1, 1, 3, 1)
        >>> contrast(jax.random.key(0), x, factor=(0.5, 0.5)).ravel().tolist()
        [1.0, 2.0, 3.0]

    Source: nnU-Net's augmentation (Isensee et al., Nature Methods 18, 2021).
    """
    where = "jaxvision.data.contrast"
    x = _checked(where, x, "factor", factor, probability, channels)
    _checks.not_negative(where, "factor", factor[0])
    middle = jnp.mean(x, PLANE, keepdims=True)
    found = middle + draws(key, x, factor, channels) * (x - middle)
    low, high = (f(x, PLANE, keepdims=True) for f in (jnp.min, jnp.max))
    return chosen(key, x, jnp.clip(found, low, high), probability, channels)


def gamma(
    key: Array,
    x: Float[Values, "b h w c"],
    *,
    power: Range,
    inverted: bool = False,
    keep_moments: bool = False,
    probability: float = 1.0,
    channels: float | None = None,
) -> Array:
    """Returns images, each to a power drawn from a range.

    A range with 1 inside is drawn from below 1 and from above it equally often.

    Args:
        key: typed random key.
        x: (B, H, W, C), in [0, 1] unless `keep_moments`.
        power: range to draw from, positive.
        inverted: of the negative of the image: `1 - (1 - x)^p`.
        keep_moments: for images of any range. Each channel is brought to [0, 1] by its
            smallest and largest number for this, and has its mean and standard
            deviation afterwards.
        probability, channels: see `jaxvision.data.intensity`.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.full((1, 1, 1, 1), 0.5)
        >>> float(gamma(jax.random.key(0), x, power=(2, 2))[0, 0, 0, 0])
        0.25

    Source: nnU-Net's augmentation (Isensee et al., Nature Methods 18, 2021).
    """
    where = "jaxvision.data.gamma"
    x = _checked(where, x, "power", power, probability, channels)
    _checks.positive(where, "power", power[0])
    low, high = power
    places = jnp.asarray([0.0, 0.5, 1.0], x.dtype)
    middle = 1.0 if low < 1 < high else (low + high) / 2
    exponent = jnp.interp(
        draws(key, x, (0.0, 1.0), channels),
        places,
        jnp.asarray([low, middle, high], x.dtype),
    )
    if keep_moments:
        first = jnp.min(x, PLANE, keepdims=True)
        extent = jnp.max(x, PLANE, keepdims=True) - first
        unit = (x - first) / jnp.maximum(extent, _tiny(x))
    else:
        unit = jnp.clip(x, 0, 1)
    found = 1 - (1 - unit) ** exponent if inverted else unit**exponent
    if keep_moments:
        centered = found - jnp.mean(found, PLANE, keepdims=True)
        scale = jnp.std(x, PLANE, keepdims=True) / jnp.maximum(
            jnp.std(found, PLANE, keepdims=True), _tiny(x)
        )
        found = jnp.mean(x, PLANE, keepdims=True) + centered * scale
    return chosen(key, x, found, probability, channels)


def noise(
    key: Array,
    x: Float[Values, "b h w c"],
    *,
    deviation: Range,
    probability: float = 1.0,
    shared: bool = False,
) -> Array:
    """Returns images plus Gaussian noise, its deviation drawn for each image.

    Args:
        key: typed random key.
        x: (B, H, W, C).
        deviation: range to draw from, not negative.
        probability: of changing an image at all.
        shared: all channels of an image have one noise.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = noise(jax.random.key(0), jnp.zeros((1, 64, 64, 1)), deviation=(2, 2))
        >>> print(f"{float(x.std()):.1f}")
        2.0
    """
    where = "jaxvision.data.noise"
    x = _checked(where, x, "deviation", deviation, probability, None)
    _checks.not_negative(where, "deviation", deviation[0])
    first, second = jax.random.split(key)
    shape = (*x.shape[1:3], 1) if shared else x.shape[1:]
    draw = jax.vmap(lambda k: jax.random.normal(k, shape, x.dtype))
    found = x + draws(first, x, deviation) * draw(row_keys(second, len(x)))
    return chosen(first, x, found, probability, None)


def blur(
    key: Array,
    x: Float[Values, "b h w c"],
    *,
    sigma: Range,
    radius: int = 4,
    probability: float = 1.0,
    channels: float | None = None,
) -> Array:
    """Returns images under a Gaussian window, its width drawn for each image.

    Args:
        key: typed random key.
        x: (B, H, W, C); beyond its border it goes on constant.
        sigma: range of the width in pixels, positive.
        radius: pixels on each side that the window reaches.
        probability, channels: see `jaxvision.data.intensity`.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.zeros((1, 9, 9, 1)).at[0, 4, 4].set(1.0)
        >>> y = blur(jax.random.key(0), x, sigma=(1.0, 1.0))
        >>> print(f"{float(y.sum()):.4f} {float(y[0, 4, 4, 0]):.4f}")
        1.0000 0.1592
    """
    where = "jaxvision.data.blur"
    x = _checked(where, x, "sigma", sigma, probability, channels)
    _checks.positive(where, "sigma", sigma[0])
    positive(where, radius=radius)
    widths = draws(key, x, sigma, channels)
    offsets = range(-radius, radius + 1)
    weights = [jnp.exp(-0.5 * (i / widths) ** 2) for i in offsets]
    total, found = sum(weights, jnp.zeros((), x.dtype)), x
    for axis in PLANE:
        pads = [(0, 0)] * 4
        pads[axis] = (radius, radius)
        padded, size = jnp.pad(found, pads, mode="edge"), x.shape[axis]
        shifted = (
            weight / total * lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i, weight in enumerate(weights)
        )
        found = sum(shifted, jnp.zeros((), x.dtype))
    return chosen(key, x, found, probability, channels)


def low_resolution(
    key: Array,
    x: Float[Values, "b h w c"],
    *,
    zoom: Range,
    probability: float = 1.0,
    channels: float | None = None,
) -> Array:
    """Returns images as if they had been taken with fewer pixels.

    Each is brought to `round(zoom * side)` pixels a side, the nearest ones of the
    image, and back to its size by linear interpolation, half-pixel centers both times.

    Args:
        key: typed random key.
        x: (B, H, W, C), of any range.
        zoom: range to draw from, above 0 and up to 1.
        probability, channels: see `jaxvision.data.intensity`.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.arange(4.0).reshape(1, 1, 4, 1)
        >>> low_resolution(jax.random.key(0), x, zoom=(0.5, 0.5)).ravel().tolist()
        [1.0, 1.5, 2.5, 3.0]

    Source: nnU-Net's augmentation (Isensee et al., Nature Methods 18, 2021).
    """
    where = "jaxvision.data.low_resolution"
    x = _checked(where, x, "zoom", zoom, probability, channels)
    _checks.positive(where, "zoom", zoom[0])
    if zoom[1] > 1:
        raise ValueError(f"{where}: `zoom` must be at most 1, got {zoom!r}")
    zooms = draws(key, x, zoom, channels)[:, 0, 0]
    zooms = jnp.broadcast_to(zooms, (len(x), x.shape[-1]))
    plane = jax.vmap(jax.vmap(_coarse, (-1, 0), -1))
    return chosen(key, x, plane(x, zooms), probability, channels)


def _coarse(x: Float[Array, "h w"], zoom: Float[Array, ""]) -> Float[Array, "h w"]:
    for axis in (0, 1):
        side = x.shape[axis]
        few = jnp.maximum(jnp.round(side * zoom), 1)
        at = jnp.clip((jnp.arange(side) + 0.5) * few / side - 0.5, 0, few - 1)
        first = jnp.floor(at)
        second = jnp.minimum(first + 1, few - 1)
        left, right = (
            # Up to rounding, which otherwise takes the pixel before.
            jnp.take(x, jnp.floor((i + 0.5) * side / few + 1e-4).astype(int), axis)
            for i in (first, second)
        )
        share = jnp.expand_dims(at - first, 1 - axis)
        x = left + share * (right - left)
    return x


def _tiny(x: Array) -> float:
    """Returns what a channel without contrast is divided by."""
    return float(jnp.finfo(x.dtype).eps)


def _checked(
    where: str,
    x: Values,
    name: str,
    bounds: Range,
    probability: float,
    channels: float | None,
) -> Array:
    x = images(where, x)
    check_range(where, name, bounds)
    check_probability(where, probability)
    if channels is not None:
        check_probability(where, channels, "channels")
    return x
