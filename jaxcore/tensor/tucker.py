"""Tucker tensors: a core `(R_1, ..., R_d)` and one factor `(n_i, R_i)` per axis.

The tensor of the core `C` and the factors `A_1, ..., A_d` is

    T[k_1, ..., k_d] = sum_{r_1, ..., r_d} C[r_1, ..., r_d] prod_i A_i[k_i, r_i].

A tensor is handed around as the pair `(core, factors)`. Inner products need Gram
matrices of the factors and one pass over the core, so the grid is never formed.
Batches go through `jax.vmap`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcore.tensor._common import (
    Weights,
    check_factors,
    check_same_grid,
    check_same_points,
    check_weights,
    einsum,
    gram,
    triangular_factor,
)


Core = Float[Array, "..."]
Factors = Sequence[Float[Array, "_ _"]]
Tucker = tuple[Core, Factors]
"""Core `(R_1, ..., R_d)` and `d` factors `(n_i, R_i)`."""


def to_dense(core: Core, factors: Factors) -> Float[Array, "..."]:
    """Return all values of the tensor on its grid, one axis after the other.

    Args:
      core: `(R_1, ..., R_d)`.
      factors: `d` arrays `(n_i, R_i)`.

    Returns:
      The values `C x_1 A_1 ... x_d A_d`, `(n_1, ..., n_d)`.

    Raises:
      ValueError: if the core does not fit the factors.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tucker
      >>> x, y = jnp.array([[1.0], [2.0]]), jnp.array([[3.0], [4.0], [5.0]])
      >>> tucker.to_dense(jnp.array([[2.0]]), [x, y]).tolist()
      [[6.0, 8.0, 10.0], [12.0, 16.0, 20.0]]
    """
    core, factors = _check("to_dense", "core, factors", (core, factors))
    return _multiply(core, factors)


def at_points(core: Core, factors: Factors) -> Float[Array, " n"]:
    """Return the tensor function at scattered points.

    Args:
      core: `(R_1, ..., R_d)`.
      factors: `d` arrays `(N, R_i)`, every axis evaluated at its coordinate of the same
        `N` points.

    Returns:
      The values, `(N,)`. The intermediate after the first axis has
      `N * R_2 * ... * R_d` entries.

    Raises:
      ValueError: if the core does not fit the factors, or the factors differ in the
        number of points.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tucker
      >>> core = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> tucker.at_points(core, [jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])])
      Array([2.], dtype=float32)
    """
    core, factors = _check("at_points", "core, factors", (core, factors))
    check_same_points("jaxcore.tensor.tucker.at_points", _grid(factors))
    values = einsum("nr,r...->n...", factors[0], core)
    for factor in factors[1:]:
        values = einsum("nr,nr...->n...", factor, values)
    return values


def inner(a: Tucker, b: Tucker, weights: Weights | None = None) -> Float[Array, ""]:
    """Return the quadrature-weighted inner product of two Tucker tensors.

    `<a, b> = <C_a, C_b x_1 G_1 ... x_d G_d>` with `G_i = A_i^T diag(w_i) B_i`:
    `O(d n R^2 + d R^(d+1))`, no grid.

    Args:
      a: core `(R_1, ..., R_d)` and factors `(n_i, R_i)`.
      b: core `(S_1, ..., S_d)` and factors `(n_i, S_i)`.
      weights: `d` arrays `(n_i,)` of any sign, cast to the dtype of `a`; ones if
        omitted.

    Returns:
      The inner product, a scalar.

    Raises:
      ValueError: if the tensors do not live on the same grid, or the weights do not
        fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tucker
      >>> factors = [jnp.array([[1.0], [2.0]]), jnp.array([[3.0], [4.0]])]
      >>> float(tucker.inner((jnp.ones((1, 1)), factors), (jnp.ones((1, 1)), factors)))
      125.0
    """
    a, b = _check("inner", "a", a), _check("inner", "b", b)
    where = "jaxcore.tensor.tucker.inner"
    check_same_grid(where, _grid(a[1]), _grid(b[1]))
    return _inner(a, b, check_weights(where, weights, _grid(a[1]), a[0].dtype))


def norm_squared(
    a: Tucker, weights: Weights | None = None, *, orthogonalize: bool = False
) -> Float[Array, ""]:
    """Return the squared quadrature-weighted norm `<a, a>`.

    The Gram form subtracts squares: when the terms of `a` cancel, for example in a
    residual `u - f`, the norm `||u - f|| / ||f||` is lost below a floor of about
    `sqrt(eps)` (3e-4 in float32, 1e-8 in float64). With `orthogonalize=True` the
    factors are made orthonormal, `sqrt(w_i) A_i = Q_i S_i`, and the result is the
    Frobenius norm of the core `C x_1 S_1 ... x_d S_d`: the floor falls to a few `eps`
    (5e-7, 1e-15) and the result is never negative.

    The derivative is that of the Gram form on both paths: its own floor is `eps`
    already, and it exists where that of a QR factorization does not.

    Args:
      a: core `(R_1, ..., R_d)` and factors `(n_i, R_i)`.
      weights: `d` arrays `(n_i,)`, ones if omitted; non-negative when orthogonalizing
        (a negative weight gives NaN).
      orthogonalize: static; which of the two forms to use.

    Returns:
      The squared norm, a scalar.

    Raises:
      ValueError: if the core does not fit the factors, or the weights do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tucker
      >>> a = (jnp.array([[2.0]]), [jnp.array([[1.0], [2.0]]), jnp.array([[3.0]])])
      >>> float(tucker.norm_squared(a))
      180.0
    """
    a = _check("norm_squared", "a", a)
    weights = check_weights(
        "jaxcore.tensor.tucker.norm_squared", weights, _grid(a[1]), a[0].dtype
    )
    return _norm_squared_qr(a, weights) if orthogonalize else _inner(a, a, weights)


def add(a: Tucker, b: Tucker) -> Tucker:
    """Return `a + b`: factors side by side, cores as blocks on the superdiagonal.

    The ranks of all axes add up, so the core of a sum of two has `2^d` times as many
    entries, most of them zero.

    Args:
      a: core `(R_1, ..., R_d)` and factors `(n_i, R_i)`.
      b: core `(S_1, ..., S_d)` and factors `(n_i, S_i)`.

    Returns:
      Core `(R_1 + S_1, ..., R_d + S_d)` and factors `(n_i, R_i + S_i)`.

    Raises:
      ValueError: if the tensors do not live on the same grid.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tucker
      >>> one = (jnp.ones((1, 1)), [jnp.ones((2, 1)), jnp.ones((2, 1))])
      >>> tucker.to_dense(*tucker.add(one, one)).tolist()
      [[2.0, 2.0], [2.0, 2.0]]
    """
    a, b = _check("add", "a", a), _check("add", "b", b)
    check_same_grid("jaxcore.tensor.tucker.add", _grid(a[1]), _grid(b[1]))
    after = jnp.pad(a[0], [(0, rank) for rank in b[0].shape])
    before = jnp.pad(b[0], [(rank, 0) for rank in a[0].shape])
    factors = (jnp.concatenate(pair, axis=1) for pair in zip(a[1], b[1], strict=True))
    return after + before, tuple(factors)


def scale(a: Tucker, value: int | float | Float[Array, ""]) -> Tucker:
    """Return `value * a`; the core carries the number.

    Args:
      a: core `(R_1, ..., R_d)` and factors `(n_i, R_i)`.
      value: a number or a scalar array, cast to the dtype of `a`.

    Returns:
      Core `(R_1, ..., R_d)` and factors `(n_i, R_i)`.

    Raises:
      ValueError: if the core does not fit the factors.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tucker
      >>> a = tucker.scale((jnp.ones(1), [jnp.ones((2, 1))]), -2.0)
      >>> tucker.to_dense(*a).tolist()
      [-2.0, -2.0]
    """
    core, factors = _check("scale", "a", a)
    return jnp.asarray(value, dtype=core.dtype) * core, factors


def _check(function: str, name: str, tensor: Tucker) -> tuple[Array, tuple[Array, ...]]:
    where = f"jaxcore.tensor.tucker.{function}"
    core, factors = tensor
    factors = check_factors(where, name, factors, same_rank=False)
    ranks = tuple(factor.shape[1] for factor in factors)
    if jnp.shape(core) != ranks:
        raise ValueError(
            f"{where}: `{name}` must have a core of the shape {ranks} of the factors' "
            f"ranks, got {jnp.shape(core)}"
        )
    return core, factors


def _grid(factors: Factors) -> tuple[int, ...]:
    return tuple(factor.shape[0] for factor in factors)


def _multiply(core: Core, factors: Factors) -> Float[Array, "..."]:
    # Contracting the leading axis and appending the new one leaves the order unchanged
    # after all axes.
    for factor in factors:
        core = einsum("r...,nr->...n", core, factor)
    return core


def _inner(a: Tucker, b: Tucker, weights: Sequence[Array] | None) -> Float[Array, ""]:
    per_axis = (None,) * len(a[1]) if weights is None else weights
    grams = [gram(*triple) for triple in zip(a[1], b[1], per_axis, strict=True)]
    return jnp.sum(a[0] * _multiply(b[0], grams))


@jax.custom_jvp
def _norm_squared_qr(a: Tucker, weights: Sequence[Array] | None) -> Float[Array, ""]:
    core, factors = a
    if weights is not None:
        factors = [
            jnp.sqrt(w)[:, None] * f for w, f in zip(weights, factors, strict=True)
        ]
    return jnp.sum(_multiply(core, [triangular_factor(f) for f in factors]) ** 2)


@_norm_squared_qr.defjvp
def _norm_squared_qr_jvp(primals, tangents):
    _, tangent = jax.jvp(lambda a, w: _inner(a, a, w), primals, tangents)
    return _norm_squared_qr(*primals), tangent
