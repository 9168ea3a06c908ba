"""Adaptive average pooling of one axis as a small block-diagonal matrix product."""

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@lru_cache(maxsize=64)
def matrix(length: int, size: int) -> np.ndarray:
    """Return the row-stochastic matrix `(size, length)` of the pooling, read-only.

    Output `i` is the mean of the inputs `floor(i length / size)` to
    `ceil((i + 1) length / size) - 1`: bins overlap unless the ratio is an integer, and
    repeat inputs if there are fewer than outputs.
    """
    pool = np.zeros((size, length))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        pool[i, start:stop] = 1 / (stop - start)
    pool.flags.writeable = False
    return pool


def pool_axis(x: Float[Array, "..."], axis: int, size: int) -> Float[Array, "..."]:
    """Return `x` pooled to `size` along a non-negative axis.

    With `g = gcd(length, size)` bins do not cross the borders of `g` equal parts, and
    the matrix is `g` times the same block.
    """
    length = x.shape[axis]
    if length == size:
        return x
    parts = math.gcd(length, size)
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    batch = math.prod(before) * parts
    block = jnp.asarray(matrix(length // parts, size // parts), x.dtype)
    pooled = jnp.matmul(
        jnp.broadcast_to(block[None], (batch, *block.shape)),
        x.reshape(batch, length // parts, math.prod(after)),
        precision=jax.lax.Precision.HIGHEST,
    )
    return pooled.reshape(*before, size, *after)
