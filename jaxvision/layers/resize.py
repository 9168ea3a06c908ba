"""Images in another size, with pixel centers at half-integers as in PyTorch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

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
