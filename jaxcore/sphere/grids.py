"""Gauss-Legendre grids on the sphere and the transforms to and from them.

A grid is the tensor product of `n_t` Gauss-Legendre nodes in `cos(theta)` and `n_p`
equispaced azimuths. The transforms go axis by axis, first over the degrees of every
order, then over the orders: `O(L^3)` instead of the `O(L^4)` of one matrix.
"""

from functools import lru_cache
from typing import NamedTuple, SupportsIndex

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from jaxcore import sampling
from jaxcore.sphere._checks import (
    check_coefficients,
    check_degree,
    check_float,
    check_method,
    degrees_of,
    einsum,
    frozen,
    matmul,
    orders_of,
)
from jaxcore.sphere.harmonics import azimuth_table, legendre_table


METHODS = ("auto", "matmul", "separable")
# Beyond, one matrix product has too many operations; chosen by hand.
MAX_MATMUL_DEGREE = 8


class SphereGrid(NamedTuple):
    """A tensor-product grid: `sum_tp weights[t] f[t, p]` is the integral of `f`."""

    theta: Float64[np.ndarray, " t"]  # polar angles, ascending
    phi: Float64[np.ndarray, " p"]  # azimuths from 0
    weights: Float64[np.ndarray, " t"]  # of one point each; 2 pi / n_p is included


def gauss_legendre_grid(degree: SupportsIndex) -> SphereGrid:
    """Return the smallest grid that integrates harmonics up to `degree` exactly.

    It has `floor(degree / 2) + 1` polar angles and `degree + 1` azimuths. A product of
    three functions of degrees `L1, L2, L3` needs `degree = L1 + L2 + L3`.

    Args:
      degree: of the integrand, at least 0.

    Returns:
      Polar angles and weights `(n_t,)` and azimuths `(n_p,)`, float64 and read-only.

    Raises:
      ValueError: if the degree is no integer of at least 0.

    Example:
      >>> from jaxcore import sphere
      >>> grid = sphere.gauss_legendre_grid(4)
      >>> grid.theta.size, grid.phi.size, float((5 * grid.weights.sum()).round(6))
      (3, 5, 12.566371)
    """
    degree = check_degree("jaxcore.sphere.gauss_legendre_grid", "degree", degree)
    return _grid(degree // 2 + 1, degree + 1)


def to_grid(
    x: Float[Array, "*b k"],
    degree: SupportsIndex,
    *,
    num_theta: SupportsIndex | None = None,
    num_phi: SupportsIndex | None = None,
    method: str = "auto",
) -> Float[Array, "*b t p"]:
    """Return the values of `sum_lm x_lm Y_lm` on a Gauss-Legendre grid.

    Args:
      x: coefficients, `(..., (L+1)^2)`, float32 or float64.
      degree: L, static.
      num_theta: number of polar angles, any positive number; `L + 1` if omitted.
      num_phi: number of azimuths; `2 L + 1` if omitted.
      method: "separable" goes over the degrees, then over the orders; "matmul" is one
        matrix product; "auto" takes the latter up to degree 8.

    Returns:
      `(..., num_theta, num_phi)`.

    Raises:
      ValueError: if the last axis does not fit the degree, a number is not positive, or
        the method is unknown.
      TypeError: if `x` holds no real floating-point numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import sphere
      >>> sphere.to_grid(jnp.array([1.0, 0.0, 0.0, 0.0]), 1).shape
      (2, 3)
    """
    where = "jaxcore.sphere.to_grid"
    degree = check_degree(where, "degree", degree)
    x = check_coefficients(where, "x", x, degree)
    n_t = degree + 1 if num_theta is None else num_theta
    n_p = 2 * degree + 1 if num_phi is None else num_phi
    n_t = check_degree(where, "num_theta", n_t, smallest=1)
    n_p = check_degree(where, "num_phi", n_p, smallest=1)
    if _by_matrix(check_method(where, method, METHODS), degree):
        table = jnp.asarray(_dense_table(degree, n_t, n_p), x.dtype)
        return matmul(x, table).reshape(*x.shape[:-1], n_t, n_p)
    theta = jnp.asarray(legendre_by_order(degree, n_t), x.dtype)
    phi = jnp.asarray(_azimuths(degree, n_p), x.dtype)
    rings = einsum("...ml,mlt->...mt", split_orders(x, degree), theta)
    return einsum("...mt,mp->...tp", rings, phi)


def from_grid(
    values: Float[Array, "*b t p"], degree: SupportsIndex, *, method: str = "auto"
) -> Float[Array, "*b k"]:
    """Return the coefficients `integral of f Y_lm` of a function given on a grid.

    The quadrature is exact for a function of degree `L'` if `num_theta > (L + L') / 2`
    and `num_phi > L + L'`; so `from_grid(to_grid(x, L), L)` is `x`.

    Args:
      values: on the grid of `gauss_legendre_grid`, `(..., num_theta, num_phi)`.
      degree: highest degree L of the result, static; at most `num_theta - 1` and
        `(num_phi - 1) / 2`.
      method: as in `to_grid`.

    Returns:
      Coefficients, `(..., (L+1)^2)`.

    Raises:
      ValueError: if the grid is too coarse for the degree or the method is unknown.
      TypeError: if `values` are not real floating-point numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import sphere
      >>> sphere.from_grid(jnp.ones((2, 3)), 1).round(4).tolist()
      [3.5449, 0.0, 0.0, 0.0]
    """
    where = "jaxcore.sphere.from_grid"
    degree = check_degree(where, "degree", degree)
    values = check_float(where, "values", values)
    if values.ndim < 2 or degree >= values.shape[-2] or 2 * degree >= values.shape[-1]:
        raise ValueError(
            f"{where}: `values` must have at least {degree + 1} x {2 * degree + 1} "
            f"points in the last two axes for degree {degree}, got shape {values.shape}"
        )
    n_t, n_p = values.shape[-2:]
    weights = _grid(n_t, n_p).weights
    if _by_matrix(check_method(where, method, METHODS), degree):
        table = (_dense_table(degree, n_t, n_p) * np.repeat(weights, n_p)).T
        flat = values.reshape(*values.shape[:-2], n_t * n_p)
        return matmul(flat, jnp.asarray(table, values.dtype))
    theta = jnp.asarray(legendre_by_order(degree, n_t) * weights, values.dtype)
    phi = jnp.asarray(_azimuths(degree, n_p), values.dtype)
    rings = einsum("...tp,mp->...mt", values, phi)
    return join_orders(einsum("...mt,mlt->...ml", rings, theta), degree)


def split_orders(x: Float[Array, "*b k"], degree: int) -> Float[Array, "*b m l"]:
    """Return `(..., 2L+1, L+1)`, row `m + L`, column `l`, zero where `l < |m|`."""
    l = np.arange(degree + 1, dtype=np.int32)
    m = np.arange(-degree, degree + 1, dtype=np.int32)[:, None]
    inside = l >= np.abs(m)
    index = np.where(inside, l * l + l + m, 0)
    return jnp.where(
        inside.reshape((1,) * (x.ndim - 1) + inside.shape), x[..., index], 0
    )


def join_orders(split: Float[Array, "*b m l"], degree: int) -> Float[Array, "*b k"]:
    """Return the packed coefficients of what `split_orders` returns."""
    return split[..., orders_of(degree) + degree, degrees_of(degree)]


@lru_cache(maxsize=128)
def legendre_by_order(degree: int, n_t: int) -> Float64[np.ndarray, "m l t"]:
    """Return `K_lm P_l^|m|` at the nodes, `(2L+1, L+1, n_t)`."""
    nodes, _ = sampling.gauss_legendre(n_t)
    table = legendre_table(degree, nodes[::-1])
    orders = np.abs(np.arange(-degree, degree + 1))
    return frozen(np.ascontiguousarray(table[:, orders].swapaxes(0, 1)))


@lru_cache(maxsize=128)
def _grid(n_t: int, n_p: int) -> SphereGrid:
    nodes, weights = sampling.gauss_legendre(n_t)
    theta = np.arccos(nodes[::-1])
    phi = 2 * np.pi * np.arange(n_p) / n_p
    return SphereGrid(
        frozen(theta), frozen(phi), frozen(weights[::-1] * (2 * np.pi / n_p))
    )


@lru_cache(maxsize=128)
def _azimuths(degree: int, n_p: int) -> Float64[np.ndarray, "m p"]:
    phi = 2 * np.pi * np.arange(n_p) / n_p
    return frozen(azimuth_table(np.arange(-degree, degree + 1), phi))


@lru_cache(maxsize=64)
def _dense_table(degree: int, n_t: int, n_p: int) -> Float64[np.ndarray, "k tp"]:
    l, m = degrees_of(degree), orders_of(degree) + degree
    theta = legendre_by_order(degree, n_t)[m, l]
    phi = _azimuths(degree, n_p)[m]
    return frozen((theta[:, :, None] * phi[:, None, :]).reshape(l.size, -1))


def _by_matrix(method: str, degree: int) -> bool:
    if method == "auto":
        return degree <= MAX_MATMUL_DEGREE
    return method == "matmul"
