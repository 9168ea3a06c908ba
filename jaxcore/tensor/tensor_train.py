"""Tensor trains: chains of cores `(r_{i-1}, n_i, r_i)` with `r_0 = r_d = 1`.

The tensor of the cores `C_1, ..., C_d` is the matrix product

    T[k_1, ..., k_d] = C_1[:, k_1, :] C_2[:, k_2, :] ... C_d[:, k_d, :]   (1 x 1).

Every core has three axes, the first and the last included, and ranks may differ per
bond. Inner products sweep transfer matrices along the chain, so the grid is never
formed. Batches go through `jax.vmap`.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcore.tensor._common import (
    Weights,
    check_same_grid,
    check_same_points,
    check_weights,
    einsum,
    triangular_factor,
)


Cores = Sequence[Float[Array, "_ _ _"]]
CoresTuple = tuple[Float[Array, "_ _ _"], ...]


def to_dense(cores: Cores) -> Float[Array, "..."]:
    """Return all values of the tensor on its grid.

    Args:
      cores: `d` arrays `(r_{i-1}, n_i, r_i)`.

    Returns:
      The values, `(n_1, ..., n_d)`.

    Raises:
      ValueError: if the cores do not form a chain.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tensor_train
      >>> x, y = jnp.array([[[1.0], [2.0]]]), jnp.array([[[3.0], [4.0], [5.0]]])
      >>> tensor_train.to_dense([x, y]).tolist()
      [[3.0, 4.0, 5.0], [6.0, 8.0, 10.0]]
    """
    cores = _check("to_dense", "cores", cores)
    values = cores[0][0]
    for core in cores[1:]:
        values = einsum("ma,anb->mnb", values, core).reshape(-1, core.shape[2])
    return values.reshape(_grid(cores))


def at_points(cores: Cores) -> Float[Array, " n"]:
    """Return the tensor function at scattered points.

    Args:
      cores: `d` arrays `(r_{i-1}, N, r_i)`, every axis evaluated at its coordinate of
        the same `N` points.

    Returns:
      The values, `(N,)`: one chain of matrix products per point.

    Raises:
      ValueError: if the cores do not form a chain or differ in the number of points.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tensor_train
      >>> cores = [jnp.ones((1, 4, 3)), 2.0 * jnp.ones((3, 4, 1))]
      >>> tensor_train.at_points(cores).tolist()
      [6.0, 6.0, 6.0, 6.0]
    """
    cores = _check("at_points", "cores", cores)
    check_same_points("jaxcore.tensor.tensor_train.at_points", _grid(cores))
    values = cores[0][0]
    for core in cores[1:]:
        values = einsum("na,anb->nb", values, core)
    return values[:, 0]


def inner(a: Cores, b: Cores, weights: Weights | None = None) -> Float[Array, ""]:
    """Return the quadrature-weighted inner product of two tensor trains.

    `<a, b> = sum_k w_1[k_1] ... w_d[k_d] a[k] b[k]` by the transfer matrices
    `M_i = sum_k w_i[k] A_i[:, k, :]^T M_{i-1} B_i[:, k, :]`: `O(d n R^3)`, no grid.

    Args:
      a: `d` arrays `(r_{i-1}, n_i, r_i)`.
      b: `d` arrays `(s_{i-1}, n_i, s_i)`.
      weights: `d` arrays `(n_i,)` of any sign, cast to the dtype of `a`; ones if
        omitted.

    Returns:
      The inner product, a scalar.

    Raises:
      ValueError: if the tensors do not live on the same grid, or the weights do not
        fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tensor_train
      >>> a = [jnp.array([[[1.0], [2.0]]]), jnp.array([[[3.0], [4.0]]])]
      >>> float(tensor_train.inner(a, a))
      125.0
    """
    a, b = _check("inner", "a", a), _check("inner", "b", b)
    where = "jaxcore.tensor.tensor_train.inner"
    check_same_grid(where, _grid(a), _grid(b))
    return _inner(a, b, check_weights(where, weights, _grid(a), a[0].dtype))


def norm_squared(
    a: Cores, weights: Weights | None = None, *, orthogonalize: bool = False
) -> Float[Array, ""]:
    """Return the squared quadrature-weighted norm `<a, a>`.

    The transfer-matrix form subtracts squares: when the terms of `a` cancel, for
    example in a residual `u - f`, the norm `||u - f|| / ||f||` is lost below a floor of
    about `sqrt(eps)` (3e-4 in float32, 1e-8 in float64). With `orthogonalize=True` a
    sweep of QR factorizations along the chain carries the terms themselves to the last
    core, where they cancel once: the floor falls to a few `eps` (5e-7, 1e-15) and the
    result is never negative.

    The derivative is that of the transfer-matrix form on both paths: its own floor is
    `eps` already, and it exists where that of a QR factorization does not.

    Args:
      a: `d` arrays `(r_{i-1}, n_i, r_i)`.
      weights: `d` arrays `(n_i,)`, ones if omitted; non-negative when orthogonalizing
        (a negative weight gives NaN).
      orthogonalize: static; which of the two forms to use.

    Returns:
      The squared norm, a scalar.

    Raises:
      ValueError: if the cores do not form a chain, or the weights do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tensor_train
      >>> a = [jnp.array([[[1.0], [2.0]]]), jnp.array([[[3.0], [4.0]]])]
      >>> float(tensor_train.norm_squared(a, [jnp.ones(2), jnp.array([1.0, 0.0])]))
      45.0
    """
    a = _check("norm_squared", "a", a)
    weights = check_weights(
        "jaxcore.tensor.tensor_train.norm_squared", weights, _grid(a), a[0].dtype
    )
    return _norm_squared_qr(a, weights) if orthogonalize else _inner(a, a, weights)


def add(a: Cores, b: Cores) -> CoresTuple:
    """Return the cores of `a + b`: block-diagonal cores, ranks add up.

    Args:
      a: `d` arrays `(r_{i-1}, n_i, r_i)`.
      b: `d` arrays `(s_{i-1}, n_i, s_i)`.

    Returns:
      `d` arrays with ranks `r_i + s_i` between the axes and 1 at both ends.

    Raises:
      ValueError: if the tensors do not live on the same grid.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tensor_train
      >>> one = [jnp.ones((1, 2, 1)), jnp.ones((1, 2, 1))]
      >>> tensor_train.to_dense(tensor_train.add(one, one)).tolist()
      [[2.0, 2.0], [2.0, 2.0]]
    """
    a, b = _check("add", "a", a), _check("add", "b", b)
    check_same_grid("jaxcore.tensor.tensor_train.add", _grid(a), _grid(b))
    if len(a) == 1:
        return (a[0] + b[0],)
    first = jnp.concatenate([a[0], b[0]], axis=2)
    last = jnp.concatenate([a[-1], b[-1]], axis=0)
    middle = map(_block_diagonal, a[1:-1], b[1:-1])
    return (first, *middle, last)


def scale(a: Cores, value: int | float | Float[Array, ""]) -> CoresTuple:
    """Return the cores of `value * a`; the first core carries the number.

    Args:
      a: `d` arrays `(r_{i-1}, n_i, r_i)`.
      value: a number or a scalar array, cast to the dtype of `a`.

    Returns:
      `d` arrays `(r_{i-1}, n_i, r_i)`.

    Raises:
      ValueError: if the cores do not form a chain.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tensor_train
      >>> a = tensor_train.scale([jnp.ones((1, 2, 1))], -2.0)
      >>> tensor_train.to_dense(a).tolist()
      [-2.0, -2.0]
    """
    first, *rest = _check("scale", "a", a)
    return (jnp.asarray(value, dtype=first.dtype) * first, *rest)


def round(
    cores: Cores, *, tolerance: int | float | None = None, max_rank: int | None = None
) -> CoresTuple:
    """Return a tensor train of lower rank that is close to `cores` (TT-SVD rounding).

    The chain is orthogonalized from the right, then every bond is cut from the left by
    a singular value decomposition. With `tolerance` the ranks are the smallest ones
    that guarantee `||a - round(a)|| <= tolerance * ||a||` in the unweighted Frobenius
    norm; with `max_rank` the error is at most `sqrt(d - 1)` times the best possible at
    that rank. With both, the smaller rank is taken. Cost `O(d n R^3)`.

    Oseledets, Tensor-train decomposition, SIAM J. Sci. Comput. 33 (2011), algorithm 2.

    Args:
      cores: `d` arrays `(r_{i-1}, n_i, r_i)`.
      tolerance: relative error, non-negative. The ranks then depend on the values, so
        this form does not run under `jit` or `vmap`.
      max_rank: static; largest rank of any bond.

    Returns:
      `d` arrays `(r_{i-1}, n_i, r_i)` with smaller ranks; all but the last are
      left-orthogonal.

    Raises:
      ValueError: if the cores do not form a chain, no limit or a bad one is given, or
        `tolerance` is used while tracing.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore.tensor import tensor_train
      >>> a = [jnp.ones((1, 4, 3)), jnp.ones((3, 4, 3)), jnp.ones((3, 4, 1))]
      >>> [core.shape for core in tensor_train.round(a, tolerance=1e-4)]
      [(1, 4, 1), (1, 4, 1), (1, 4, 1)]
    """
    cores = _check("round", "cores", cores)
    _check_limits(cores, tolerance, max_rank)
    *head, carry = _right_orthogonal(cores)[::-1]
    rounded = []
    threshold = None
    if tolerance is not None:
        norm = float(jnp.linalg.norm(carry))
        threshold = tolerance * norm / math.sqrt(max(len(cores) - 1, 1))
    for core in reversed(head):
        left, values, right = jnp.linalg.svd(
            carry.reshape(-1, carry.shape[2]), full_matrices=False
        )
        rank = _rank(values, threshold, max_rank)
        rounded.append(left[:, :rank].reshape(*carry.shape[:2], rank))
        kept = values[:rank, None] * right[:rank]
        carry = einsum("ab,bnc->anc", kept, core)
    return (*rounded, carry)


def _check(function: str, name: str, cores: Cores) -> CoresTuple:
    shapes = [jnp.shape(core) for core in cores]
    chained = (
        shapes
        and all(len(shape) == 3 for shape in shapes)
        and [1, *(shape[2] for shape in shapes)] == [*(s[0] for s in shapes), 1]
    )
    if not chained:
        raise ValueError(
            f"jaxcore.tensor.tensor_train.{function}: `{name}` must be a non-empty "
            "sequence of arrays (r_{i-1}, n_i, r_i) with r_0 = r_d = 1, "
            f"got shapes {shapes}"
        )
    return tuple(cores)


def _check_limits(
    cores: CoresTuple, tolerance: int | float | None, max_rank: int | None
) -> None:
    where = "jaxcore.tensor.tensor_train.round"
    if tolerance is None and max_rank is None:
        raise ValueError(f"{where}: give `tolerance`, `max_rank` or both, got neither")
    if max_rank is not None and (not isinstance(max_rank, int) or max_rank < 1):
        raise ValueError(
            f"{where}: `max_rank` must be a positive integer, got {max_rank!r}"
        )
    if tolerance is None:
        return
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(
            f"{where}: `tolerance` must be finite and non-negative, got {tolerance!r}"
        )
    if any(isinstance(core, jax.core.Tracer) for core in cores):
        raise ValueError(
            f"{where}: `tolerance` needs concrete values, got traced cores; "
            "under jit or vmap give `max_rank` alone"
        )


def _grid(cores: Cores) -> tuple[int, ...]:
    return tuple(core.shape[1] for core in cores)


def _block_diagonal(
    a: Float[Array, "r n s"], b: Float[Array, "p n q"]
) -> Float[Array, "r+p n s+q"]:
    top = jnp.pad(a, ((0, 0), (0, 0), (0, b.shape[2])))
    bottom = jnp.pad(b, ((0, 0), (0, 0), (a.shape[2], 0)))
    return jnp.concatenate([top, bottom], axis=0)


def _inner(
    a: CoresTuple, b: CoresTuple, weights: tuple[Array, ...] | None
) -> Float[Array, ""]:
    transfer = jnp.ones((1, 1), dtype=a[0].dtype)
    for axis, (left, right) in enumerate(zip(a, b, strict=True)):
        half = einsum("pq,pnr->qnr", transfer, left)
        if weights is not None:
            half = weights[axis][None, :, None] * half
        transfer = einsum("qnr,qns->rs", half, right)
    return transfer[0, 0]


@jax.custom_jvp
def _norm_squared_qr(
    a: CoresTuple, weights: tuple[Array, ...] | None
) -> Float[Array, ""]:
    carry = jnp.ones((1, 1), dtype=a[0].dtype)
    for axis, core in enumerate(a):
        if weights is not None:
            core = jnp.sqrt(weights[axis])[None, :, None] * core
        chained = einsum("ap,pnr->anr", carry, core)
        carry = triangular_factor(chained.reshape(-1, core.shape[2]))
    return jnp.sum(carry**2)


@_norm_squared_qr.defjvp
def _norm_squared_qr_jvp(primals, tangents):
    _, tangent = jax.jvp(lambda a, w: _inner(a, a, w), primals, tangents)
    return _norm_squared_qr(*primals), tangent


def _right_orthogonal(cores: CoresTuple) -> list[Array]:
    """Return the same tensor with orthonormal rows in all cores but the first."""
    *head, carry = cores
    result = []
    for core in reversed(head):
        q, r = jnp.linalg.qr(carry.reshape(carry.shape[0], -1).T)
        result.append(q.T.reshape(-1, *carry.shape[1:]))
        carry = einsum("anb,cb->anc", core, r)
    return [carry, *reversed(result)]


def _rank(values: Array, threshold: float | None, max_rank: int | None) -> int:
    """Return how many singular values to keep, at least one."""
    rank = len(values)
    if threshold is not None:
        squares = np.asarray(values, dtype=np.float64) ** 2
        tails = np.sqrt(np.cumsum(squares[::-1])[::-1])
        rank = max(1, rank - int(np.sum(tails <= threshold)))
    return rank if max_rank is None else min(rank, max_rank)
