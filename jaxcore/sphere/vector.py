"""The antisymmetric product that the Gaunt product cannot express."""

from functools import lru_cache, partial
from typing import SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from jaxcore.sphere._checks import (
    check_broadcast,
    check_coefficients,
    check_degree,
    degrees_of,
    frozen,
    matmul,
    orders_of,
    weighted,
)
from jaxcore.sphere._sampling import in_blocks, rule
from jaxcore.sphere.harmonics import harmonics_table
from jaxcore.sphere.rotations import swap_matrix


def vector_gaunt_product(
    x: Float[Array, "*x_b x_k"],
    y: Float[Array, "*y_b y_k"],
    degree_x: SupportsIndex,
    degree_y: SupportsIndex,
    degree_out: SupportsIndex,
    *,
    weights_x: Float[Array, "..."] | None = None,
    weights_y: Float[Array, "..."] | None = None,
    weights_out: Float[Array, "..."] | None = None,
) -> Float[Array, "*b k"]:
    """Return the coefficients of `n . (grad f x grad g)` on the sphere, n the normal.

    The gradients are vector signals; their cross product couples exactly the paths with
    odd `l1 + l2 + l3`, which the Gaunt product misses, `1 x 1 -> 1` (the cross product
    of vectors) included. Every odd path with `l1, l2 >= 1` has a weight that is not
    zero (`vector_gaunt_scales`). The product is antisymmetric and equivariant under
    rotations; under inversion it has the opposite parity of a Gaunt product, so of true
    vectors it makes pseudo-vectors. Keep it apart from `gaunt_product`, or add both if
    only rotations matter.

    Args:
      x: coefficients of f, `(..., (L1+1)^2)`.
      y: coefficients of g, `(..., (L2+1)^2)`; leading axes broadcast.
      degree_x: L1, static.
      degree_y: L2, static.
      degree_out: L3, static; the full product has `L1 + L2 - 1`.
      weights_x: `(..., L1+1)`, one per degree; None is all ones.
      weights_y: `(..., L2+1)`.
      weights_out: `(..., L3+1)`.

    Returns:
      Coefficients, `(..., (L3+1)^2)`.

    Raises:
      ValueError: if a last axis does not fit its degree or leading axes do not
        broadcast.
      TypeError: if an argument holds no real floating-point numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import sphere
      >>> x, y = jnp.array([0.0, 1.0, 0.0, 0.0]), jnp.array([0.0, 0.0, 1.0, 0.0])
      >>> sphere.vector_gaunt_product(x, y, 1, 1, 1).round(4).tolist()
      [0.0, 0.0, 0.0, 0.4886]

    Vector signals for the missing paths: Xie et al., arXiv 2602.21466, who use all
    vector spherical harmonics; gradients of scalar signals are enough for the paths.
    """
    where = "jaxcore.sphere.vector_gaunt_product"
    degrees = (
        check_degree(where, "degree_x", degree_x),
        check_degree(where, "degree_y", degree_y),
        check_degree(where, "degree_out", degree_out),
    )
    x = check_coefficients(where, "x", x, degrees[0])
    y = check_coefficients(where, "y", y, degrees[1])
    x = weighted(where, "weights_x", x, weights_x, degrees[0])
    y = weighted(where, "weights_y", y, weights_y, degrees[1])
    check_broadcast(where, x=x, y=y)
    dtype = jnp.result_type(x, y)
    z = _product(x.astype(dtype), y.astype(dtype), degrees)
    return weighted(where, "weights_out", z, weights_out, degrees[2])


@partial(jax.jit, static_argnames=("degrees",), inline=True)
def _product(x: Array, y: Array, degrees: tuple[int, int, int]) -> Array:
    dtype = x.dtype
    exact = sum(degrees)
    points, weights = rule(exact)
    into_x, into_y = (
        jnp.asarray(_slopes(degree, exact), dtype) for degree in degrees[:2]
    )
    back = jnp.asarray((harmonics_table(degrees[2], points) * weights).T, dtype)

    def body(x: Array, y: Array) -> Array:
        a, b = jnp.split(matmul(x, into_x), 2, axis=-1)
        c, d = jnp.split(matmul(y, into_y), 2, axis=-1)
        return matmul(a * d - b * c, back)

    return in_blocks(body, (x, y), 2 * len(points))


@lru_cache(maxsize=64)
def _slopes(degree: int, exact: int) -> Float64[np.ndarray, "k p"]:
    """Return both tangential derivatives of the harmonics, `((L+1)^2, 2 n)`.

    With a tangent frame `e1 x e2 = p` and the generators of rotations `p x grad`,
    `e1 . grad = e2 . (p x grad)` and `e2 . grad = -e1 . (p x grad)`: exact, and
    regular at the poles.
    """
    points, _ = rule(exact)
    table = harmonics_table(degree, points)
    generated = np.stack([g @ table for g in _generators(degree)])
    first, second = _tangents(points)
    along_first = np.einsum("ni,ikn->kn", second, generated)
    along_second = -np.einsum("ni,ikn->kn", first, generated)
    return frozen(np.concatenate([along_first, along_second], axis=-1))


def _generators(degree: int) -> list[np.ndarray]:
    """Return matrices that turn harmonics into the components of `p x grad Y`."""
    l, m = degrees_of(degree), orders_of(degree)
    polar = np.zeros((l.size, l.size))
    polar[np.arange(l.size), np.arange(l.size) - 2 * m] = -m
    # An exchange of two axes is a reflection, which reverses the sense of a turn.
    about_x, about_z = (
        -swap_matrix(degree, axis) @ polar @ swap_matrix(degree, axis)
        for axis in (0, 2)
    )
    return [about_x, polar, about_z]


def _tangents(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    smallest = np.argmin(np.abs(points), axis=-1)
    first = np.cross(np.eye(3)[smallest], points)
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    return first, np.cross(points, first)
