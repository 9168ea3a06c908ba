"""Argument checks and small products that the three tensor formats share."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


Weights = Sequence[Float[Array, " _"] | np.ndarray]

# TensorFloat-32 and bfloat16 passes cost three digits and gain nothing at these sizes.
einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def check_factors(
    where: str, name: str, factors: Sequence[Array], *, same_rank: bool
) -> tuple[Array, ...]:
    """Return `factors` as a tuple, or raise unless each is `(n_i, R_i)`."""
    shapes = [jnp.shape(factor) for factor in factors]
    if not shapes or any(len(shape) != 2 for shape in shapes):
        raise ValueError(
            f"{where}: `{name}` must be a non-empty sequence of arrays (n_i, R), "
            f"got shapes {shapes}"
        )
    if same_rank and len({rank for _, rank in shapes}) != 1:
        raise ValueError(
            f"{where}: `{name}` must have the same rank on every axis, "
            f"got shapes {shapes}"
        )
    return tuple(factors)


def check_same_grid(where: str, a: Sequence[int], b: Sequence[int]) -> None:
    """Raise unless the grids of `a` and `b` have equal sizes."""
    if tuple(a) != tuple(b):
        raise ValueError(
            f"{where}: `a` and `b` must live on the same grid, "
            f"got {tuple(a)} and {tuple(b)}"
        )


def check_same_points(where: str, sizes: Sequence[int]) -> None:
    """Raise unless every axis is evaluated at the same number of points."""
    if len(set(sizes)) != 1:
        raise ValueError(
            f"{where}: every axis must be evaluated at the same points, "
            f"got {tuple(sizes)} of them"
        )


def check_weights(
    where: str, weights: Weights | None, sizes: Sequence[int], dtype: jnp.dtype
) -> tuple[Array, ...] | None:
    """Return `weights` as arrays of `dtype`, or raise unless they fit the grid."""
    if weights is None:
        return None
    shapes = [jnp.shape(weight) for weight in weights]
    if shapes != [(size,) for size in sizes]:
        raise ValueError(
            f"{where}: `weights` must hold one array (n_i,) per axis of the grid "
            f"{tuple(sizes)}, got shapes {shapes}"
        )
    return tuple(jnp.asarray(weight, dtype=dtype) for weight in weights)


def gram(
    a: Float[Array, "n r"], b: Float[Array, "n s"], weight: Float[Array, " n"] | None
) -> Float[Array, "r s"]:
    """Return `a^T diag(weight) b`; without weights `a^T b`."""
    weighted = b if weight is None else weight[:, None] * b
    return einsum("nr,ns->rs", a, weighted)


def triangular_factor(matrix: Float[Array, "m n"]) -> Float[Array, "k n"]:
    """Return a matrix of `min(m, n)` rows with the Gram matrix of `matrix`."""
    rows, columns = matrix.shape
    return jnp.linalg.qr(matrix, mode="r") if rows > columns else matrix
