"""Argument checks and static tables that the modules of the sphere share."""

import operator
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


# Reduced precision of accelerators costs three digits and gains nothing at these sizes.
einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def check_degree(
    where: str, name: str, degree: SupportsIndex, smallest: int = 0
) -> int:
    """Return `degree` as a plain int, or raise."""
    try:
        value = operator.index(degree)
    except TypeError:
        value = -1
    if value < smallest or isinstance(degree, bool):
        raise ValueError(
            f"{where}: `{name}` must be an integer of at least {smallest}, "
            f"got {degree!r}"
        )
    return value


def check_order(where: str, name: str, order: SupportsIndex) -> int:
    """Return `order` as a plain int of either sign, or raise."""
    try:
        return operator.index(order)
    except TypeError:
        raise ValueError(
            f"{where}: `{name}` must be an integer, got {order!r}"
        ) from None


def check_float(where: str, name: str, x: Array) -> Array:
    """Return `x` as an array, or raise unless it holds real floating-point numbers."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{where}: `{name}` must be of a float dtype, got {x.dtype}")
    return x


def check_coefficients(where: str, name: str, x: Array, degree: int) -> Array:
    """Return `x` as an array, or raise unless it is `(..., (degree + 1)^2)` floats."""
    x = check_float(where, name, x)
    size = (degree + 1) ** 2
    if x.ndim < 1 or x.shape[-1] != size:
        raise ValueError(
            f"{where}: `{name}` must have a last axis of size {size} for degree "
            f"{degree}, got shape {x.shape}"
        )
    return x


def check_vectors(where: str, name: str, x: Array) -> Array:
    """Return `x` as an array, or raise unless it is `(..., 3)` floats."""
    x = check_float(where, name, x)
    if x.ndim < 1 or x.shape[-1] != 3:
        raise ValueError(
            f"{where}: `{name}` must have a last axis of size 3, got shape {x.shape}"
        )
    return x


def check_method(where: str, method: str, known: Sequence[str]) -> str:
    """Return `method`, or raise unless it is one of those known."""
    if method not in known:
        names = ", ".join(f'"{name}"' for name in known)
        raise ValueError(f"{where}: `method` must be one of {names}, got {method!r}")
    return method


def check_broadcast(where: str, **arrays: Array) -> tuple[int, ...]:
    """Return the common leading shape of arrays given by name, last axis left out."""
    try:
        return jnp.broadcast_shapes(*(x.shape[:-1] for x in arrays.values()))
    except ValueError:
        names = " and ".join(f"`{name}`" for name in arrays)
        shapes = " and ".join(str(x.shape) for x in arrays.values())
        raise ValueError(
            f"{where}: the leading axes of {names} must broadcast, got shapes {shapes}"
        ) from None


def pad_rank(x: Array, ndim: int) -> Array:
    """Return `x` with leading axes of size one, so that it has `ndim` axes."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


def weighted(where: str, name: str, x: Array, weights: Array | None, degree: int):
    """Return `x` with the coefficients of each degree multiplied by its weight."""
    if weights is None:
        return x
    weights = check_float(where, name, weights)
    if weights.ndim < 1 or weights.shape[-1] != degree + 1:
        raise ValueError(
            f"{where}: `{name}` must have a last axis of size {degree + 1}, one weight "
            f"per degree, got shape {weights.shape}"
        )
    check_broadcast(where, x=x, **{name: weights})
    ndim = max(x.ndim, weights.ndim)
    expanded = weights[..., degrees_of(degree)].astype(x.dtype)
    return pad_rank(x, ndim) * pad_rank(expanded, ndim)


@lru_cache(maxsize=256)
def degrees_of(degree: int) -> np.ndarray:
    """Return the degree `l` of every packed coefficient, `((degree + 1)^2,)`."""
    l = np.arange(degree + 1, dtype=np.int32)  # an index of this type suits all modes
    return frozen(np.repeat(l, 2 * l + 1))


@lru_cache(maxsize=256)
def orders_of(degree: int) -> np.ndarray:
    """Return the order `m` of every packed coefficient, `((degree + 1)^2,)`."""
    l = degrees_of(degree)
    return frozen(np.arange(l.size, dtype=np.int32) - l * (l + 1))


def frozen(x: np.ndarray) -> np.ndarray:
    """Return `x`, read-only, so that a cache may hand it out."""
    x.flags.writeable = False
    return x
