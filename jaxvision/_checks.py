"""Checks that losses and metrics share, and what they do with numbers first."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


Values = Array | np.ndarray  # what functions of arrays take


def floating(where: str, name: str, x: Any) -> Array:
    """Returns `x` as an array; TypeError unless it is real floating point."""
    array = jnp.asarray(x)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{where}: `{name}` must be real floating point, got {array.dtype}"
        )
    return array


def integers(where: str, name: str, x: Any) -> Array:
    """Returns `x` as an array of int32 at least; TypeError unless it is of integers.

    In the dtype of a mask, uint8, products of labels and numbers of classes would wrap.
    """
    array = jnp.asarray(x)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{where}: `{name}` must be integers, got {array.dtype}")
    if array.dtype in (jnp.uint32, jnp.uint64):
        array = jnp.minimum(array, jnp.iinfo(jnp.int32).max).astype(jnp.int32)
    return array.astype(jnp.int32) if array.dtype.itemsize < 4 else array


def wide(x: Array) -> Array:
    """Returns `x` in float32 at least: half precision does for maps, not for sums."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def indices(labels: Array, num_classes: int) -> Array:
    """Returns labels as indices for `mode="fill"`: those below 0 are out of range too.

    As they are they would count from the end.
    """
    return jnp.where(labels < 0, num_classes, labels)


def same_shape(where: str, **arrays: Array) -> None:
    """Raises ValueError unless all arrays have one shape."""
    (first, *others) = arrays
    for name in others:
        if arrays[name].shape != arrays[first].shape:
            raise ValueError(
                f"{where}: `{name}` must have the shape of `{first}`, "
                f"{arrays[first].shape}, got {arrays[name].shape}"
            )


def rows(where: str, name: str, x: Array) -> None:
    """Raises ValueError unless `x` has a batch axis and others, none of them empty."""
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(
            f"{where}: `{name}` must be (batch, ...) with at least one more axis, not "
            f"empty, got shape {x.shape}"
        )


def labels_below(where: str, name: str, labels: Array, num_classes: int) -> None:
    """Raises ValueError for labels out of range, where their values are known now.

    Inside `jax.jit` they are not: there each function says what such labels do.
    """
    if isinstance(labels, jax.core.Tracer) or labels.size == 0:
        return
    # As NumPy's: inside a trace JAX would trace the extremes of known labels too.
    values = np.asarray(labels)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{where}: `{name}` must be from 0 to {num_classes - 1}, got values from "
            f"{low} to {high}"
        )


def one_of(where: str, options: Any, **known: tuple[str, ...]) -> None:
    """Raises ValueError for attributes of `options` that are none of those known."""
    for name, values in known.items():
        if getattr(options, name) not in values:
            raise ValueError(
                f"{where}: `{name}` must be one of {values}, got "
                f"{getattr(options, name)!r}"
            )


def fraction(where: str, name: str, value: float) -> None:
    """Raises ValueError unless `value` is in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{where}: `{name}` must be in [0, 1), got {value!r}")


def positive(where: str, name: str, value: Any) -> None:
    """Raises ValueError unless a number that is known now is above 0."""
    if not isinstance(value, jax.core.Tracer) and not value > 0:
        raise ValueError(f"{where}: `{name}` must be positive, got {value!r}")


def not_negative(where: str, name: str, value: Any) -> None:
    """Raises ValueError unless a number that is known now is at least 0."""
    if not isinstance(value, jax.core.Tracer) and not value >= 0:
        raise ValueError(f"{where}: `{name}` must not be negative, got {value!r}")
