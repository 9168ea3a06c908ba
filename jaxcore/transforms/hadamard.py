"""The Walsh-Hadamard transform, in natural or sequency order.

The matrix of order `2^m` is the Kronecker product of m matrices `[[1, 1], [1, -1]]`.
Taking six of them at a time makes a few products with dense matrices of at most 64 rows
out of m passes over memory.
"""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, Int

from jaxcore.transforms._fast_checks import (
    AnyArray,
    axis_of,
    inexact_array,
    integer,
    one_of,
    power_of_two,
    working,
)


ORDERS = ("natural", "sequency")
METHODS = ("auto", "matmul", "butterfly")
NORMS = ("ortho", "backward", "forward")
# A dense matrix of 2^6 rows: larger ones cost more operations than they save passes.
LARGEST_EXPONENT = 6


def hadamard_transform(
    x: Inexact[AnyArray, "..."],
    *,
    axis: int = -1,
    order: str = "natural",
    norm: str = "ortho",
    method: str = "auto",
) -> Inexact[Array, "..."]:
    """Return the Walsh-Hadamard transform along an axis of `2^m` samples.

        y[k] = n^(-1/2) sum_j (-1)^<k, j> x[j]

    with `<k, j>` the number of binary ones that k and j share. In either order the
    orthonormal transform is its own inverse.

    Args:
      x: floating-point or complex; float16 and bfloat16 are computed in float32.
      axis: static.
      order: static; "natural" as above (`scipy.linalg.hadamard`), "sequency" by the
        number of sign changes of the basis functions (Walsh).
      norm: static; "ortho", "backward" without the factor, or "forward" with `1 / n`.
      method: static; "matmul" by dense factors, "butterfly" by sums and differences,
        one level at a time, "auto": "matmul", which was faster at every size on CPU.

    Returns:
      The transform, of the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is not of floats or complex numbers.
      ValueError: if the axis does not exist or its length is not a power of two, or an
        option is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> x = jnp.array([1.0, 2.0, 3.0, 4.0])
      >>> transforms.hadamard_transform(x).tolist()
      [5.0, -1.0, -2.0, 0.0]
      >>> transforms.hadamard_transform(x, order="sequency").tolist()
      [5.0, -2.0, 0.0, -1.0]
    """
    function = "hadamard_transform"
    x = inexact_array(function, "x", x)
    axis = axis_of(function, axis, x.ndim)
    one_of(function, "order", order, ORDERS)
    one_of(function, "norm", norm, NORMS)
    one_of(function, "method", method, METHODS)
    power_of_two(function, f"the length of axis {axis}", x.shape[axis])
    return _transform(x, axis, order, norm, method)


@partial(
    jax.jit,
    static_argnames=(
        "axis",
        "order",
        "norm",
        "method",
    ),
    inline=True,
)
def _transform(x: Array, axis: int, order: str, norm: str, method: str) -> Array:
    n, dtype = x.shape[axis], x.dtype
    y = x.astype(jnp.promote_types(dtype, working(dtype)))
    way = _by_butterfly if method == "butterfly" else _by_matmul
    y = way(y, axis)
    if order == "sequency":
        # 32 bits, with and without x64: one compiled `take` must serve both.
        y = jnp.take(y, _sequency(n).astype(np.int32), axis=axis)
    scale = {"ortho": n**-0.5, "backward": 1.0, "forward": 1 / n}[norm]
    return (y * jnp.asarray(scale, y.real.dtype)).astype(dtype)


def sequency_order(n: int) -> Int[np.ndarray, " n"]:
    """Return the natural index of the basis function with `k` sign changes, for each k.

    The bits of `k ^ (k >> 1)` in reverse order: `hadamard(n)[sequency_order(n)]` has
    rows with 0, 1, ..., n - 1 sign changes.

    Args:
      n: static; a power of two.

    Returns:
      A permutation of `0, ..., n - 1`, read-only.

    Raises:
      ValueError: if `n` is not a power of two.

    Example:
      >>> from jaxcore import transforms
      >>> transforms.sequency_order(8).tolist()
      [0, 4, 6, 2, 3, 7, 5, 1]
    """
    n = integer("sequency_order", "n", n, smallest=1)
    power_of_two("sequency_order", "`n`", n)
    return _sequency(n)


@lru_cache(maxsize=64)
def _sequency(n: int) -> np.ndarray:
    gray = np.arange(n) ^ (np.arange(n) >> 1)
    order = np.zeros(n, dtype=np.int64)
    for bit in range(n.bit_length() - 1):
        order = (order << 1) | ((gray >> bit) & 1)
    order.flags.writeable = False
    return order


@lru_cache(maxsize=16)
def _matrix(exponent: int) -> np.ndarray:
    index = np.arange(2**exponent)
    return 1.0 - 2.0 * (np.bitwise_count(np.bitwise_and.outer(index, index)) % 2)


def _by_matmul(x: Array, axis: int) -> Array:
    shape, m = x.shape, x.shape[axis].bit_length() - 1
    parts = -(-m // LARGEST_EXPONENT)
    exponents = [(m + i) // parts for i in range(parts)]
    for i, exponent in enumerate(exponents):
        after = 2 ** sum(exponents[i + 1 :])
        split = (-1, 2**exponent, after)
        x = x.reshape(*shape[:axis], *split, *shape[axis + 1 :])
        x = _along(x, _matrix(exponent), axis + 1)
    return x.reshape(shape)


def _along(x: Array, matrix: np.ndarray, axis: int) -> Array:
    """Return the product of a symmetric real matrix with one axis."""
    if jnp.iscomplexobj(x):
        return jax.lax.complex(
            _along(x.real, matrix, axis), _along(x.imag, matrix, axis)
        )
    constant = jnp.asarray(matrix, x.dtype)
    n, after = x.shape[axis], int(np.prod(x.shape[axis + 1 :]))
    exact = jax.lax.Precision.HIGHEST
    if after == 1:
        return jnp.matmul(x.reshape(-1, n), constant, precision=exact).reshape(x.shape)
    flat = x.reshape(-1, n, after)
    return jnp.einsum("ij,pjq->piq", constant, flat, precision=exact).reshape(x.shape)


def _by_butterfly(x: Array, axis: int) -> Array:
    shape = x.shape
    stride = 1
    while stride < shape[axis]:
        pairs = (shape[axis] // (2 * stride), 2, stride)
        x = x.reshape(*shape[:axis], *pairs, *shape[axis + 1 :])
        a = jax.lax.index_in_dim(x, 0, axis + 1, keepdims=False)
        b = jax.lax.index_in_dim(x, 1, axis + 1, keepdims=False)
        x = jnp.stack([a + b, a - b], axis=axis + 1).reshape(shape)
        stride *= 2
    return x
