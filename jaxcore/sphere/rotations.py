"""Rotations of spherical functions.

`D^l(R)` is the matrix with `Y_l(R v) = D^l(R) Y_l(v)`. It is read off from samples: at
enough fixed points `p_j` the harmonics of degree l form a well-conditioned matrix, so
`D^l(R) = [Y_l(R p_j)] [Y_l(p_j)]^+`. This is a polynomial in the entries of R, smooth
everywhere, and holds for reflections and the inversion as well.
"""

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
    check_float,
    einsum,
    frozen,
    orders_of,
    pad_rank,
)
from jaxcore.sphere.harmonics import harmonics_table, real_harmonics


def wigner_d(
    rotation: Float[Array, "*b 3 3"], degree: SupportsIndex
) -> Float[Array, "*b m n"]:
    """Return the matrix by which a rotation acts on the harmonics of one degree.

    `Y_l(R v) = D^l(R) Y_l(v)`; `D^l(R S) = D^l(R) D^l(S)`, and `D^1(R) = R`.

    Args:
      rotation: orthogonal matrices R, `(..., 3, 3)`, of determinant 1 or -1. That they
        are orthogonal is not checked.
      degree: l, static.

    Returns:
      Orthogonal matrices `(..., 2l+1, 2l+1)`.

    Raises:
      ValueError: if the last two axes are not 3 x 3 or the degree is negative.
      TypeError: if `rotation` holds no real floating-point numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import sphere
      >>> quarter = jnp.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
      >>> bool(jnp.allclose(sphere.wigner_d(quarter, 1), quarter, atol=1e-6))
      True
    """
    where = "jaxcore.sphere.wigner_d"
    degree = check_degree(where, "degree", degree)
    rotation = _check_rotation(where, rotation)
    return _blocks(rotation, degree, range(degree, degree + 1))[0]


def rotate(
    x: Float[Array, "*x_b k"],
    rotation: Float[Array, "*r_b 3 3"],
    degree: SupportsIndex,
) -> Float[Array, "*b k"]:
    """Return the coefficients of the rotated function `f(R^-1 v)`.

    Every degree is multiplied by its `D^l(R)`; the value at `R v` is the old one at v.

    Args:
      x: coefficients `(..., (L+1)^2)`.
      rotation: orthogonal matrices, `(..., 3, 3)`, whose leading axes broadcast with
        those of `x`; determinant 1 or -1.
      degree: L, static.

    Returns:
      Coefficients, `(..., (L+1)^2)`.

    Raises:
      ValueError: if a shape does not fit.
      TypeError: if an argument holds no real floating-point numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import sphere
      >>> x = jnp.array([2.0, 1.0, 0.0, 3.0])
      >>> sphere.rotate(x, -jnp.eye(3), 1).round(5).tolist()
      [2.0, -1.0, 0.0, -3.0]
    """
    where = "jaxcore.sphere.rotate"
    degree = check_degree(where, "degree", degree)
    x = check_coefficients(where, "x", x, degree)
    rotation = _check_rotation(where, rotation)
    check_broadcast(where, x=x, rotation=rotation[..., 0])
    ndim = max(x.ndim, rotation.ndim - 1)
    x, rotation = pad_rank(x, ndim), pad_rank(rotation, ndim + 1)
    return _rotated(x, rotation.astype(x.dtype), degree)


@partial(jax.jit, static_argnames=("degree",), inline=True)
def _rotated(x: Array, rotation: Array, degree: int) -> Array:
    parts = [
        einsum("...mn,...n->...m", block, x[..., l * l : (l + 1) ** 2])
        for l, block in enumerate(_blocks(rotation, degree, range(degree + 1)))
    ]
    return jnp.concatenate(parts, axis=-1)


def swap_matrix(degree: int, axis: int) -> Float64[np.ndarray, "k k"]:
    """Return J with `Y(S v) = J Y(v)` for S that exchanges the polar axis with `axis`.

    J is orthogonal, symmetric and block diagonal in the degrees. In float64, cached.
    """
    return _swap_matrix(degree, axis)


@partial(jax.jit, static_argnames=("degree",), inline=True)
def turn(
    x: Float[Array, "*b k"],
    cosine: Float[Array, "..."],
    sine: Float[Array, "..."],
    degree: int,
) -> Float[Array, "*b k"]:
    """Return the coefficients after a turn of the function about the polar axis.

    Args:
      x: coefficients `(..., (L+1)^2)`.
      cosine: of the angle, with as many axes as `x` less one, which broadcast.
      sine: of the angle.
      degree: L.
    """
    cosines, sines = [jnp.ones_like(cosine)], [jnp.zeros_like(sine)]
    for _ in range(degree):
        c, s = cosines[-1], sines[-1]
        cosines.append(c * cosine - s * sine)
        sines.append(s * cosine + c * sine)
    orders = orders_of(degree)
    c = jnp.stack(cosines, axis=-1)[..., np.abs(orders)]
    # The sign of m goes with the partner -m.
    signed = [-s for s in sines[:0:-1]] + sines
    s = jnp.stack(signed, axis=-1)[..., orders + degree]
    partner = np.arange(orders.size, dtype=np.int32) - 2 * orders
    return c * x - s * x[..., partner]


def _check_rotation(where: str, rotation: Array) -> Array:
    rotation = check_float(where, "rotation", rotation)
    if rotation.shape[-2:] != (3, 3):
        raise ValueError(
            f"{where}: `rotation` must have last axes of size 3 and 3, "
            f"got shape {rotation.shape}"
        )
    return rotation


@partial(
    jax.jit,
    static_argnames=(
        "degree",
        "wanted",
    ),
    inline=True,
)
def _blocks(rotation: Array, degree: int, wanted: range) -> list[Array]:
    points, inverses = _samples(degree)
    turned = einsum("...ij,nj->...ni", rotation, jnp.asarray(points, rotation.dtype))
    # Lengths are one already; polynomials in R keep the derivative simple.
    values = real_harmonics(turned, degree, normalize=False)
    return [
        einsum(
            "...nm,nk->...mk",
            values[..., l * l : (l + 1) ** 2],
            jnp.asarray(inverses[l], rotation.dtype),
        )
        for l in wanted
    ]


@lru_cache(maxsize=64)
def _samples(degree: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return points `(n, 3)` and, by degree, the pseudo-inverses `(n, 2l+1)`.

    Half a Fibonacci lattice of `4 L + 4` points: condition numbers are below 6.
    """
    n = 4 * degree + 4
    steps = np.arange(n) + 0.5
    y = 1 - steps / n
    azimuth = 4 * np.pi * steps / (1 + np.sqrt(5))
    ring = np.sqrt(1 - y * y)
    points = np.stack([ring * np.sin(azimuth), y, ring * np.cos(azimuth)], axis=-1)
    table = harmonics_table(degree, points)
    inverses = tuple(
        frozen(np.linalg.pinv(table[l * l : (l + 1) ** 2])) for l in range(degree + 1)
    )
    return frozen(points), inverses


@lru_cache(maxsize=64)
def _swap_matrix(degree: int, axis: int) -> np.ndarray:
    points, inverses = _samples(degree)
    order = [0, 1, 2]
    order[axis], order[1] = 1, axis
    table = harmonics_table(degree, points[:, order])
    out = np.zeros((table.shape[0],) * 2)
    for l, inverse in enumerate(inverses):
        block = slice(l * l, (l + 1) ** 2)
        out[block, block] = table[block] @ inverse
    # Every entry that is not zero is far above rounding to the degrees in use.
    return frozen(np.where(np.abs(out) < 1e-14, 0.0, out))
