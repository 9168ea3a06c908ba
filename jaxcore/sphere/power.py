"""Many-body interaction: powers of a spherical function."""

from functools import partial
from typing import SupportsIndex

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcore.sphere._checks import (
    check_coefficients,
    check_degree,
    check_method,
    weighted,
)
from jaxcore.sphere._sampling import (
    Values,
    in_blocks,
    multiply,
    num_values,
    project,
    sample,
)
from jaxcore.sphere.gaunt import gaunt_product


METHODS = ("auto", "grid", "divide")


def gaunt_power(
    x: Float[Array, "*b x_k"],
    nu: SupportsIndex,
    degree: SupportsIndex,
    degree_out: SupportsIndex,
    *,
    weights: Float[Array, "..."] | None = None,
    weights_out: Float[Array, "..."] | None = None,
    method: str = "auto",
) -> Float[Array, "*b k"]:
    """Return the coefficients of `f^nu`, projected on degrees up to `degree_out`.

    The symmetric product of `nu` copies of the features of a node, as in many-body
    equivariant networks, with fixed path weights.

    Args:
      x: coefficients of f, `(..., (L+1)^2)`.
      nu: number of factors, at least 1, static.
      degree: L, static.
      degree_out: highest degree of the result, static; `nu * L` loses nothing.
      weights: `(..., L+1)`, one per degree, applied to f; None is all ones.
      weights_out: `(..., degree_out+1)`, applied to the result.
      method: "grid" samples f once, where quadrature is exact to `nu * L + degree_out`,
        takes the power of the values and projects once; "divide" forms
        `f^(nu // 2) * f^(nu - nu // 2)` with `gaunt_product`, recursively, with full
        degrees on the way. They agree to rounding. "auto" is "grid".

    Returns:
      Coefficients, `(..., (degree_out+1)^2)`.

    Raises:
      ValueError: if the last axis does not fit the degree, `nu` is not positive, or the
        method is unknown.
      TypeError: if `x` holds no real floating-point numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import sphere
      >>> two = jnp.array([2 * jnp.sqrt(4 * jnp.pi)])
      >>> eight = sphere.gaunt_power(two, 3, 0, 0) / jnp.sqrt(4 * jnp.pi)
      >>> eight.round(4).tolist()
      [8.0]

    Luo, Chen and Krishnapriyan, arXiv 2401.10216, section 3.3 (many-body).
    """
    where = "jaxcore.sphere.gaunt_power"
    degree = check_degree(where, "degree", degree)
    degree_out = check_degree(where, "degree_out", degree_out)
    nu = check_degree(where, "nu", nu, smallest=1)
    x = check_coefficients(where, "x", x, degree)
    check_method(where, method, METHODS)
    x = weighted(where, "weights", x, weights, degree)
    form = _divide if method == "divide" else _grid
    return weighted(
        where, "weights_out", form(x, nu, degree, degree_out), weights_out, degree_out
    )


@partial(
    jax.jit,
    static_argnames=(
        "nu",
        "degree",
        "degree_out",
    ),
    inline=True,
)
def _grid(x: Array, nu: int, degree: int, degree_out: int) -> Array:
    exact = nu * degree + degree_out

    def body(x: Array) -> Array:
        return project(_power(sample(x, degree, exact), nu), degree_out, exact)

    return in_blocks(body, (x,), num_values(exact))


def _power(values: Values, nu: int) -> Values:
    if nu == 1:
        return values
    half = _power(values, nu // 2)
    square = multiply(half, half)
    return multiply(square, values) if nu % 2 else square


@partial(
    jax.jit,
    static_argnames=(
        "nu",
        "degree",
        "degree_out",
    ),
    inline=True,
)
def _divide(x: Array, nu: int, degree: int, degree_out: int) -> Array:
    if nu == 1:
        size, wanted = (degree + 1) ** 2, (degree_out + 1) ** 2
        if wanted <= size:
            return x[..., :wanted]
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, wanted - size)])
    low, high = nu // 2, nu - nu // 2
    a = _divide(x, low, degree, low * degree)
    b = a if low == high else _divide(x, high, degree, high * degree)
    return gaunt_product(a, b, low * degree, high * degree, degree_out)
