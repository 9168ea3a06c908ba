"""Images in another size, with pixel centers at half-integers as in PyTorch."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxcore import transforms
from jaxvision._checks import Values
from jaxvision.layers._checks import images, positive


def resize_bilinear(x: Float[Values, "b h w c"], height: int, width: int) -> Array:
    """Returns images of another size by linear interpolation along both axes.

    An output pixel `i` lies at `(i + 1/2) n / size - 1/2` of n input pixels; beyond the
    outermost ones the image goes on constant. This is
    `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`: nothing is
    averaged when an image shrinks, use `average_pool` for that. Doubling a side is four
    multiplications a pixel.

    Args:
        x: (B, H, W, C), floating point.
        height, width: of the result.

    Raises:
        TypeError, ValueError: `x` is no such array, or a size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> row = jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1)
        >>> resize_bilinear(row, 1, 4)[0, 0, :, 0].tolist()
        [0.0, 1.0, 3.0, 4.0]

    Source: half-pixel centers as PyTorch has them; the two-tap weights 3/4 and 1/4 of a
    doubled side follow from the formula.
    """
    where = "jaxvision.layers.resize_bilinear"
    out = images(where, x)
    positive(where, height=height, width=width)
    for axis, size in ((1, height), (2, width)):
        old = out.shape[axis]
        if size == 2 * old:
            out = _doubled(out, axis)
        elif size != old:
            shape = (*out.shape[:axis], size, *out.shape[axis + 1 :])
            out = jax.image.resize(out, shape, "linear", antialias=False)
    return out


def _doubled(x: Array, axis: int) -> Array:
    """Returns `x` with twice the pixels: weights 3/4 and 1/4 of two neighbors."""
    n = x.shape[axis]
    first = lax.slice_in_dim(x, 0, 1, axis=axis)
    last = lax.slice_in_dim(x, n - 1, n, axis=axis)
    before = jnp.concatenate(
        [first, lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis=axis
    )
    after = jnp.concatenate([lax.slice_in_dim(x, 1, n, axis=axis), last], axis=axis)
    pairs = jnp.stack(
        [0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1
    )
    return pairs.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])


def upsample_nearest(x: Float[Values, "b h w c"], factor: int = 2) -> Array:
    """Returns images `factor` times as high and wide, each pixel a square.

    Args:
        x: (B, H, W, C), floating point.
        factor: positive.

    Raises:
        TypeError, ValueError: `x` is no such array, or `factor` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> upsample_nearest(jnp.array([1.0, 2.0]).reshape(1, 1, 2, 1))[0, :, :, 0]
        Array([[1., 1., 2., 2.],
               [1., 1., 2., 2.]], dtype=float32)
    """
    where = "jaxvision.layers.upsample_nearest"
    positive(where, factor=factor)
    x = images(where, x)
    b, h, w, c = x.shape
    cells = jnp.broadcast_to(x[:, :, None, :, None], (b, h, factor, w, factor, c))
    return cells.reshape(b, h * factor, w * factor, c)


def resize_bicubic(
    x: Float[Values, "b h w c"],
    height: int,
    width: int,
    *,
    align_corners: bool = False,
) -> Array:
    """Returns images of another size by cubic interpolation along both axes.

    Four pixels along each axis are weighed by Keys' kernel with a = -3/4; beyond the
    outermost ones the image goes on constant. This is
    `torch.nn.functional.interpolate(mode="bicubic")`.

    Args:
        x: (B, H, W, C), floating point.
        height, width: of the result.
        align_corners: an output pixel `i` lies at `i (n - 1) / (size - 1)` of n input
            pixels, otherwise at `(i + 1/2) n / size - 1/2`.

    Raises:
        TypeError, ValueError: `x` is no such array, or a size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> row = jnp.arange(4.0).reshape(1, 1, 4, 1)
        >>> resize_bicubic(row, 1, 7, align_corners=True)[0, 0, 2:5, 0].tolist()
        [1.0, 1.5, 2.0]

    Source: Keys, IEEE Transactions on Acoustics, Speech, and Signal Processing (1981).
    """
    where = "jaxvision.layers.resize_bicubic"
    x = images(where, x)
    positive(where, height=height, width=width)
    rows, columns = (
        jnp.asarray(_cubic(old, new, align_corners), x.dtype)
        for old, new in zip(x.shape[1:3], (height, width), strict=True)
    )
    return jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns, precision="highest")


@lru_cache(maxsize=64)
def _cubic(old: int, new: int, align_corners: bool) -> np.ndarray:
    """Returns the weights (new, old) of cubic interpolation."""
    place = np.arange(new)
    if align_corners:
        at = place * ((old - 1) / max(new - 1, 1))
    else:
        at = (place + 0.5) * (old / new) - 0.5
    a, first = -0.75, np.floor(at).astype(int)
    weights = np.zeros((new, old))
    for pixel in (first - 1, first, first + 1, first + 2):
        t = np.abs(at - pixel)
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * (t**3 - 5 * t**2 + 8 * t - 4)
        weight = np.where(t <= 1, near, far)
        np.add.at(weights, (place, np.clip(pixel, 0, old - 1)), weight)
    return weights


def average_pool(x: Float[Values, "b h w c"], size: int = 2) -> Array:
    """Returns means over squares of `size` pixels; a rest at the end is left out.

    Args:
        x: (B, H, W, C), floating point, no side below `size`.
        size: side of the squares, and their distance.

    Raises:
        TypeError, ValueError: `x` is no such array, or `size` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> average_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
        [[[[1.5]]]]
    """
    where = "jaxvision.layers.average_pool"
    positive(where, size=size)
    x = images(where, x, smallest=size)
    b, h, w, c = x.shape
    h, w = h // size, w // size
    cells = x[:, : h * size, : w * size].reshape(b, h, size, w, size, c)
    return jnp.mean(cells, axis=(2, 4))


def adaptive_average_pool(
    x: Float[Values, "b h w c"], height: int, width: int
) -> Array:
    """Returns means over `height` times `width` bins that cover the image evenly.

    Of n rows, row `i` of the result is the mean of those from `floor(i n / height)` to
    `ceil((i + 1) n / height) - 1`, and columns alike: bins overlap unless the sizes
    divide the sides, and pixels are repeated where a side is smaller. This is
    `torch.nn.AdaptiveAvgPool2d((height, width))`; `height = width = 1` is the mean.

    Args:
        x: (B, H, W, C), floating point; half precision is computed in float32.
        height, width: of the result.

    Raises:
        TypeError, ValueError: `x` is no such array, or a size is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.arange(5.0).reshape(1, 1, 5, 1)
        >>> adaptive_average_pool(x, 1, 2)[0, 0, :, 0].tolist()
        [1.0, 3.0]
    """
    where = "jaxvision.layers.adaptive_average_pool"
    out = images(where, x)
    positive(where, height=height, width=width)
    for axis, size in ((1, height), (2, width)):
        out = transforms.adaptive_average_pool(out, size, axis=axis)
    return out
