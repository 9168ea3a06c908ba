"""The Gaunt tensor product: coefficients of the product of two spherical functions."""

import math
from functools import lru_cache, partial, reduce
from typing import SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcore.sphere._checks import (
    check_broadcast,
    check_coefficients,
    check_degree,
    check_method,
    matmul,
    pad_rank,
    weighted,
)
from jaxcore.sphere._sampling import in_blocks, multiply, num_values, project, sample
from jaxcore.sphere.coefficients import gaunt_tensor
from jaxcore.sphere.fourier import fourier_product


METHODS = ("auto", "dense", "grid", "fourier")
# Up to here the dense form is a sum of products of slices, fused in one loop; the
# number of terms is that of two factors and a result of degree 2.
MAX_TERMS = 128


def gaunt_product(
    x: Float[Array, "*x_b x_k"],
    y: Float[Array, "*y_b y_k"],
    degree_x: SupportsIndex,
    degree_y: SupportsIndex,
    degree_out: SupportsIndex,
    *,
    weights_x: Float[Array, "..."] | None = None,
    weights_y: Float[Array, "..."] | None = None,
    weights_out: Float[Array, "..."] | None = None,
    method: str = "auto",
) -> Float[Array, "*b k"]:
    """Return the coefficients of the product of two functions on the sphere.

    `z_{l3 m3} = w_{l3} sum G^{l1 l2 l3}_{m1 m2 m3} u_{l1} x_{l1 m1} v_{l2} y_{l2 m2}`
    with the Gaunt coefficients `G`: a Clebsch-Gordan product with fixed path weights
    (`gaunt_scales`). It is equivariant under rotations and inversion, commutative, and
    `1 * f = f`. Paths with odd `l1 + l2 + l3` vanish; see `vector_gaunt_product`.

    Args:
      x: coefficients `(..., (L1+1)^2)`, packed as by `real_harmonics`. Any leading
        axes (batch, channels), which broadcast with those of `y`.
      y: coefficients `(..., (L2+1)^2)`.
      degree_x: L1, static.
      degree_y: L2, static.
      degree_out: L3, static; the full product has `L1 + L2`.
      weights_x: `u`, `(..., L1+1)`, one per degree; its leading axes broadcast with
        those of `x`. None is all ones.
      weights_y: `v`, `(..., L2+1)`.
      weights_out: `w`, `(..., L3+1)`.
      method: "grid" samples both on points where quadrature is exact, multiplies and
        projects; "dense" contracts with the tensor of coefficients; "fourier" is the
        route of the paper by two-dimensional Fourier series. All agree to rounding.
        "auto" is "dense" up to 128 terms (all degrees 2), else "grid".

    Returns:
      Coefficients `(..., (L3+1)^2)`.

    Raises:
      ValueError: if a last axis does not fit its degree, leading axes do not broadcast,
        or the method is unknown.
      TypeError: if an argument holds no real floating-point numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import sphere
      >>> f = sphere.real_harmonics(jnp.array([0.0, 1.0, 0.0]), 1)
      >>> sphere.gaunt_product(f, f, 1, 1, 1).round(4).tolist()
      [0.0898, 0.0, 0.0778, 0.0]

    Luo, Chen and Krishnapriyan, arXiv 2401.10216 (ICLR 2024), equations 3 to 6.
    """
    where = "jaxcore.sphere.gaunt_product"
    degrees = (
        check_degree(where, "degree_x", degree_x),
        check_degree(where, "degree_y", degree_y),
        check_degree(where, "degree_out", degree_out),
    )
    x = check_coefficients(where, "x", x, degrees[0])
    y = check_coefficients(where, "y", y, degrees[1])
    check_method(where, method, METHODS)
    x = weighted(where, "weights_x", x, weights_x, degrees[0])
    y = weighted(where, "weights_y", y, weights_y, degrees[1])
    check_broadcast(where, x=x, y=y)
    dtype = jnp.result_type(x, y)
    x, y = x.astype(dtype), y.astype(dtype)
    if method == "auto":
        method = _fastest(degrees)
    forms = {"dense": _dense, "grid": _grid, "fourier": fourier_product}
    z = forms[method](x, y, degrees).astype(dtype)
    return weighted(where, "weights_out", z, weights_out, degrees[2])


def _fastest(degrees: tuple[int, int, int]) -> str:
    """Return the method that measured fastest, forward and with gradient, on CPU."""
    return "dense" if _is_short(degrees) else "grid"


@partial(jax.jit, static_argnames=("degrees",), inline=True)
def _grid(x: Array, y: Array, degrees: tuple[int, int, int]) -> Array:
    exact = sum(degrees)

    def body(x: Array, y: Array) -> Array:
        values = multiply(sample(x, degrees[0], exact), sample(y, degrees[1], exact))
        return project(values, degrees[2], exact)

    return in_blocks(body, (x, y), num_values(exact))


@partial(jax.jit, static_argnames=("degrees",), inline=True)
def _dense(x: Array, y: Array, degrees: tuple[int, int, int]) -> Array:
    if _is_short(degrees):
        return _sum_of_terms(x, y, degrees)
    tensor = jnp.asarray(gaunt_tensor(*degrees), x.dtype)
    width = tensor.shape[0] * tensor.shape[1]

    def body(x: Array, y: Array) -> Array:
        outer = x[..., :, None] * y[..., None, :]
        flat = outer.reshape(*outer.shape[:-2], width)
        return matmul(flat, tensor.reshape(width, -1))

    return in_blocks(body, (x, y), width)


def _sum_of_terms(x: Array, y: Array, degrees: tuple[int, int, int]) -> Array:
    ndim = max(x.ndim, y.ndim)
    x, y = pad_rank(x, ndim), pad_rank(y, ndim)
    shape = jnp.broadcast_shapes(x.shape[:-1], y.shape[:-1])
    # The transpose of a split is a concatenation, so the gradient is such a sum again.
    columns_x, columns_y = (
        jax.lax.split(c, (1,) * c.shape[-1], axis=ndim - 1) for c in (x, y)
    )
    out = [jnp.zeros((*shape, 1), x.dtype)] * (degrees[2] + 1) ** 2
    for k, terms in _terms(degrees).items():
        products = [value * (columns_x[i] * columns_y[j]) for i, j, value in terms]
        out[k] = reduce(jnp.add, products)
    return jnp.concatenate(out, axis=-1)


def _is_short(degrees: tuple[int, int, int]) -> bool:
    # Every coefficient of the smaller factor meets every one of the larger in a term.
    if math.prod((degree + 1) ** 2 for degree in degrees) > MAX_TERMS**2:
        return False
    return sum(map(len, _terms(degrees).values())) <= MAX_TERMS


@lru_cache(maxsize=64)
def _terms(
    degrees: tuple[int, int, int],
) -> dict[int, tuple[tuple[int, int, float], ...]]:
    """Return the terms `(i, j, value)` of every entry of the result that has any."""
    tensor = gaunt_tensor(*degrees)
    return {
        int(k): tuple(
            (int(i), int(j), float(tensor[i, j, k]))
            for i, j in zip(*np.nonzero(tensor[:, :, k]), strict=True)
        )
        for k in np.unique(np.nonzero(tensor)[2])
    }
