"""The Clebsch-Gordan product: the reference for the fast products."""

from functools import partial
from typing import SupportsIndex

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcore.sphere._checks import (
    check_broadcast,
    check_coefficients,
    check_degree,
    check_float,
    einsum,
    pad_rank,
)
from jaxcore.sphere.coefficients import clebsch_gordan


def cg_product(
    x: Float[Array, "*x_b x_k"],
    y: Float[Array, "*y_b y_k"],
    degree_x: SupportsIndex,
    degree_y: SupportsIndex,
    degree_out: SupportsIndex,
    *,
    weights: Float[Array, "i j k"] | None = None,
) -> Float[Array, "*b k"]:
    """Return the sum of all Clebsch-Gordan paths, each with a weight of its own.

    `z_{l3} = sum_{l1 l2} w[l1, l2, l3] C^{l1 l2 l3}(x_{l1}, y_{l2})` with coupling
    tensors of unit norm. It costs `O(L^5)` and can weight every path freely; with
    `gaunt_scales` as weights it is `gaunt_product`, with `vector_gaunt_scales` it is
    `vector_gaunt_product`. Meant as a reference and for small degrees.

    Args:
      x: coefficients `(..., (L1+1)^2)`.
      y: coefficients `(..., (L2+1)^2)`; leading axes broadcast.
      degree_x: L1, static.
      degree_y: L2, static.
      degree_out: L3, static.
      weights: `(L1+1, L2+1, L3+1)`, entry `[l1, l2, l3]`; None is all ones.

    Returns:
      Coefficients, `(..., (L3+1)^2)`.

    Raises:
      ValueError: if a last axis does not fit its degree, leading axes do not broadcast,
        or the weights have another shape.
      TypeError: if an argument holds no real floating-point numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import sphere
      >>> f = jnp.array([0.0, 3.0, 4.0, 0.0])
      >>> float(sphere.cg_product(f, f, 1, 1, 0)[0].round(4))  # 25 / sqrt(3)
      14.4338
    """
    where = "jaxcore.sphere.cg_product"
    degrees = (
        check_degree(where, "degree_x", degree_x),
        check_degree(where, "degree_y", degree_y),
        check_degree(where, "degree_out", degree_out),
    )
    x = check_coefficients(where, "x", x, degrees[0])
    y = check_coefficients(where, "y", y, degrees[1])
    shape = check_broadcast(where, x=x, y=y)
    dtype = jnp.result_type(x, y)
    if weights is not None:
        weights = check_float(where, "weights", weights).astype(dtype)
        expected = tuple(degree + 1 for degree in degrees)
        if weights.shape != expected:
            raise ValueError(
                f"{where}: `weights` must have shape {expected}, got {weights.shape}"
            )
    ndim = max(x.ndim, y.ndim)
    x, y = pad_rank(x, ndim).astype(dtype), pad_rank(y, ndim).astype(dtype)
    return _summed(x, y, weights, degrees, shape)


@partial(
    jax.jit,
    static_argnames=(
        "degrees",
        "shape",
    ),
    inline=True,
)
def _summed(
    x: Array,
    y: Array,
    weights: Array | None,
    degrees: tuple[int, int, int],
    shape: tuple[int, ...],
) -> Array:
    parts = []
    for l3 in range(degrees[2] + 1):
        part = jnp.zeros((*shape, 2 * l3 + 1), x.dtype)
        for l1 in range(degrees[0] + 1):
            low, high = abs(l1 - l3), min(l1 + l3, degrees[1])
            for l2 in range(low, high + 1):
                path = _path(x, y, (l1, l2, l3))
                part = part + (path if weights is None else weights[l1, l2, l3] * path)
        parts.append(part)
    return jnp.concatenate(parts, axis=-1)


def _path(x: Array, y: Array, path: tuple[int, int, int]) -> Array:
    l1, l2, _ = path
    tensor = jnp.asarray(clebsch_gordan(*path), x.dtype)
    a, b = x[..., l1 * l1 : (l1 + 1) ** 2], y[..., l2 * l2 : (l2 + 1) ** 2]
    return einsum("...i,...j,ijk->...k", a, b, tensor)
