"""Adaptive average pooling along an axis."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcore.transforms._adaptive_pool import pool_axis
from jaxcore.transforms._fast_checks import PACKAGE, axis_of, integer
from jaxcore.transforms._trig_arguments import Values, check_real


def adaptive_average_pool(x: Values, size: int, *, axis: int) -> Float[Array, "..."]:
    """Return `x` with means over `size` bins that cover an axis evenly.

    Of n numbers along the axis, output `i` is the mean of those from
    `floor(i n / size)` to `ceil((i + 1) n / size) - 1`: bins overlap unless `size`
    divides n, and numbers are repeated where n is smaller. Linear, and exact for
    constants.

    Args:
      x: real floating point, any shape; half precision is computed in float32.
      size: of the axis in the result, static, positive.
      axis: static.

    Returns:
      An array of the shape of `x` but for the axis, of its dtype.

    Raises:
      TypeError: if `x` is complex or not floating point.
      ValueError: if the axis is empty or not there, or `size` not a positive integer.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> transforms.adaptive_average_pool(jnp.arange(5.0), 2, axis=0).tolist()
      [1.0, 3.0]
    """
    function = "adaptive_average_pool"
    where = f"{PACKAGE}.{function}"
    array = check_real(where, x)
    size = integer(function, "size", size, smallest=1)
    axis = axis_of(function, axis, array.ndim)
    if array.shape[axis] == 0:
        raise ValueError(
            f"{where}: `x` must not be empty along axis {axis}, got shape {array.shape}"
        )
    wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))
    return pool_axis(wide, axis, size).astype(array.dtype)
