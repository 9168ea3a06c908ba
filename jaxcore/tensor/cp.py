"""CP tensors: sums of products, one factor `(n_i, R)` per axis.

The tensor of the factors `A_1, ..., A_d` is

    T[k_1, ..., k_d] = sum_r A_1[k_1, r] * ... * A_d[k_d, r].

Sums of tensors put factors side by side, so ranks add up, and inner products are
products of small Gram matrices, so the grid is never formed. Batches go through
`jax.vmap`.
"""

from collections.abc import Sequence
from functools import reduce

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


Factors = Sequence[Float[Array, "_ _"]]
FactorsTuple = tuple[Float[Array, "_ _"], ...]


def to_dense(factors: Factors) -> Float[Array, "..."]:
    """Return all values of the tensor on its grid.

    The axes are split in two halves whose products are formed first, so the whole
    grid is written by a single matrix product.

    Args:
      factors: `d` arrays `(n_i, R)`.

    Returns:
      The values, `(n_1, ..., n_d)`.

    Raises:
      ValueError: if the factors are not matrices of equal rank.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import cp
      >>> x, y = jnp.array([[1.0], [2.0]]), jnp.array([[3.0], [4.0], [5.0]])
      >>> cp.to_dense([x, y]).tolist()
      [[3.0, 4.0, 5.0], [6.0, 8.0, 10.0]]
    """
    factors = _check("to_dense", "factors", factors)
    half = (len(factors) + 1) // 2
    left = reduce(_khatri_rao, factors[:half])
    if half == len(factors):
        return jnp.sum(left, axis=1)
    right = reduce(_khatri_rao, factors[half:])
    return einsum("mr,nr->mn", left, right).reshape(_grid(factors))


def at_points(factors: Factors) -> Float[Array, " n"]:
    """Return the tensor function at scattered points.

    Args:
      factors: `d` arrays `(N, R)`, every axis evaluated at its coordinate of the same
        `N` points.

    Returns:
      The values `sum_r prod_i A_i[:, r]`, `(N,)`.

    Raises:
      ValueError: if the factors differ in rank or in the number of points.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import cp
      >>> cp.at_points([jnp.array([[1.0, 1.0]]), jnp.array([[2.0, 3.0]])]).tolist()
      [5.0]
    """
    factors = _check("at_points", "factors", factors)
    check_same_points("jaxcore.tensor.cp.at_points", _grid(factors))
    return jnp.sum(reduce(jnp.multiply, factors), axis=1)


def inner(a: Factors, b: Factors, weights: Weights | None = None) -> Float[Array, ""]:
    """Return the quadrature-weighted inner product of two tensors.

    `<a, b> = sum_k w_1[k_1] ... w_d[k_d] a[k] b[k] = 1^T (G_1 * ... * G_d) 1` with
    `G_i = A_i^T diag(w_i) B_i` and `*` elementwise: `O(d n R^2)`, no grid.

    Args:
      a: `d` arrays `(n_i, R)`.
      b: `d` arrays `(n_i, S)`.
      weights: `d` arrays `(n_i,)` of any sign, cast to the dtype of `a`; ones if
        omitted.

    Returns:
      The inner product, a scalar.

    Raises:
      ValueError: if the tensors do not live on the same grid, or the weights do not
        fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import cp
      >>> a = [jnp.array([[1.0], [2.0]]), jnp.array([[3.0], [4.0]])]
      >>> float(cp.inner(a, a))
      125.0
    """
    a, b = _check("inner", "a", a), _check("inner", "b", b)
    check_same_grid("jaxcore.tensor.cp.inner", _grid(a), _grid(b))
    weights = check_weights("jaxcore.tensor.cp.inner", weights, _grid(a), a[0].dtype)
    return _inner(a, b, weights)


def norm_squared(
    a: Factors, weights: Weights | None = None, *, orthogonalize: bool = False
) -> Float[Array, ""]:
    """Return the squared quadrature-weighted norm `<a, a>`.

    The Gram form subtracts squares: when the terms of `a` cancel, for example in a
    residual `u - f`, the norm `||u - f|| / ||f||` is lost below a floor of about
    `sqrt(eps)` (3e-4 in float32, 1e-8 in float64) and the result may be negative.
    With `orthogonalize=True` a sweep of QR factorizations of `sqrt(w_i) A_i` carries
    the terms themselves to the last axis, where they cancel once: the floor falls to
    a few `eps` (5e-7, 1e-15) and the result is never negative, for `O(d n R^3)`.

    The derivative is that of the Gram form on both paths. It is linear in the residual,
    so its own floor is `eps` already, and it stays finite for dependent columns, where
    the derivative of a QR factorization does not exist.

    Args:
      a: `d` arrays `(n_i, R)`.
      weights: `d` arrays `(n_i,)`, ones if omitted; non-negative when orthogonalizing
        (a negative weight gives NaN).
      orthogonalize: static; which of the two forms to use.

    Returns:
      The squared norm, a scalar.

    Raises:
      ValueError: if the factors are not matrices of equal rank, or the weights do not
        fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import cp
      >>> a = [jnp.array([[1.0], [2.0]]), jnp.array([[3.0], [4.0]])]
      >>> float(cp.norm_squared(a, [jnp.ones(2), jnp.array([1.0, 0.0])]))
      45.0
    """
    a = _check("norm_squared", "a", a)
    weights = check_weights(
        "jaxcore.tensor.cp.norm_squared", weights, _grid(a), a[0].dtype
    )
    return _norm_squared_qr(a, weights) if orthogonalize else _inner(a, a, weights)


def add(a: Factors, b: Factors) -> FactorsTuple:
    """Return the factors of `a + b`: columns side by side, ranks add up.

    Args:
      a: `d` arrays `(n_i, R)`.
      b: `d` arrays `(n_i, S)`.

    Returns:
      `d` arrays `(n_i, R + S)`.

    Raises:
      ValueError: if the tensors do not live on the same grid.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import cp
      >>> one = [jnp.ones((2, 1)), jnp.ones((2, 1))]
      >>> cp.to_dense(cp.add(one, one)).tolist()
      [[2.0, 2.0], [2.0, 2.0]]
    """
    a, b = _check("add", "a", a), _check("add", "b", b)
    check_same_grid("jaxcore.tensor.cp.add", _grid(a), _grid(b))
    return tuple(jnp.concatenate(pair, axis=1) for pair in zip(a, b, strict=True))


def scale(a: Factors, value: int | float | Float[Array, ""]) -> FactorsTuple:
    """Return the factors of `value * a`; the first factor carries the number.

    Args:
      a: `d` arrays `(n_i, R)`.
      value: a number or a scalar array, cast to the dtype of `a`.

    Returns:
      `d` arrays `(n_i, R)`.

    Raises:
      ValueError: if the factors are not matrices of equal rank.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import cp
      >>> cp.to_dense(cp.scale([jnp.ones((2, 3))], -2.0)).tolist()
      [-6.0, -6.0]
    """
    first, *rest = _check("scale", "a", a)
    return (jnp.asarray(value, dtype=first.dtype) * first, *rest)


def cp_to_tt(factors: Factors) -> tuple[Float[Array, "_ _ _"], ...]:
    """Return the cores of the same tensor as a tensor train with diagonal cores.

    Args:
      factors: `d` arrays `(n_i, R)`.

    Returns:
      `d` cores, `(1, n_1, R)`, `(R, n_i, R)`, ..., `(R, n_d, 1)`; for `d = 1` a single
      `(1, n_1, 1)`.

    Raises:
      ValueError: if the factors are not matrices of equal rank.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import tensor
      >>> cores = tensor.cp_to_tt(
      ...     [jnp.ones((2, 3)), jnp.ones((4, 3)), jnp.ones((5, 3))]
      ... )
      >>> [core.shape for core in cores]
      [(1, 2, 3), (3, 4, 3), (3, 5, 1)]
    """
    factors = _check("cp_to_tt", "factors", factors)
    if len(factors) == 1:
        return (jnp.sum(factors[0], axis=1)[None, :, None],)
    first, *middle, last = factors
    identity = jnp.eye(first.shape[1], dtype=first.dtype)
    cores = [einsum("nr,rs->rns", factor, identity) for factor in middle]
    return (first[None], *cores, last.T[:, :, None])


def cp_to_tucker(
    factors: Factors,
) -> tuple[Float[Array, "..."], FactorsTuple]:
    """Return the same tensor in Tucker form with a superdiagonal core of ones.

    Args:
      factors: `d` arrays `(n_i, R)`.

    Returns:
      The core, `(R, ..., R)` with `d` axes, and the factors unchanged.

    Raises:
      ValueError: if the factors are not matrices of equal rank.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import tensor
      >>> core, factors = tensor.cp_to_tucker([jnp.ones((3, 2)), jnp.ones((4, 2))])
      >>> core.tolist()
      [[1.0, 0.0], [0.0, 1.0]]
    """
    factors = _check("cp_to_tucker", "factors", factors)
    rank = factors[0].shape[1]
    core = jnp.zeros((rank,) * len(factors), dtype=factors[0].dtype)
    diagonal = (jnp.arange(rank),) * len(factors)
    return core.at[diagonal].set(1), factors


def _check(function: str, name: str, factors: Factors) -> FactorsTuple:
    # The embeddings are public one level up; the operations live in this module.
    module = "jaxcore.tensor" if function.startswith("cp_to") else "jaxcore.tensor.cp"
    return check_factors(f"{module}.{function}", name, factors, same_rank=True)


def _grid(factors: Factors) -> tuple[int, ...]:
    return tuple(factor.shape[0] for factor in factors)


def _khatri_rao(a: Float[Array, "m r"], b: Float[Array, "n r"]) -> Float[Array, "mn r"]:
    return (a[:, None, :] * b[None, :, :]).reshape(-1, a.shape[1])


def _inner(
    a: FactorsTuple, b: FactorsTuple, weights: tuple[Array, ...] | None
) -> Float[Array, ""]:
    per_axis = (None,) * len(a) if weights is None else weights
    grams = [gram(*triple) for triple in zip(a, b, per_axis, strict=True)]
    return jnp.sum(reduce(jnp.multiply, grams))


@jax.custom_jvp
def _norm_squared_qr(
    a: FactorsTuple, weights: tuple[Array, ...] | None
) -> Float[Array, ""]:
    if weights is not None:
        a = tuple(jnp.sqrt(w)[:, None] * f for w, f in zip(weights, a, strict=True))
    *head, last = (triangular_factor(factor) for factor in a)
    carry = jnp.ones((1, last.shape[1]), dtype=last.dtype)
    for factor in head:
        carry = triangular_factor(_khatri_rao(carry, factor))
    return jnp.sum(einsum("mr,nr->mn", carry, last) ** 2)


@_norm_squared_qr.defjvp
def _norm_squared_qr_jvp(primals, tangents):
    _, tangent = jax.jvp(lambda a, w: _inner(a, a, w), primals, tangents)
    return _norm_squared_qr(*primals), tangent
