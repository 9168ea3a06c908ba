"""Argument checks that the fast transforms share."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


PACKAGE = "jaxcore.transforms"
# What public functions take; NumPy arrays become constants of the computation.
AnyArray = Array | np.ndarray


def real_array(function: str, name: str, value: Any) -> Array:
    """Return `value` as an array of at least one axis and of floats, or raise."""
    return _array(function, name, value, jnp.floating, "real floating-point")


def inexact_array(function: str, name: str, value: Any) -> Array:
    """Return `value` as an array of floats or complex numbers, or raise."""
    return _array(function, name, value, jnp.inexact, "floating-point or complex")


def complex_array(function: str, name: str, value: Any) -> Array:
    """Return `value` as an array of complex numbers, or raise."""
    return _array(function, name, value, jnp.complexfloating, "complex")


def _array(function: str, name: str, value: Any, kind: Any, words: str) -> Array:
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, kind):
        raise TypeError(
            f"{PACKAGE}.{function}: `{name}` must be a {words} array, got {array.dtype}"
        )
    if array.ndim == 0:
        raise ValueError(
            f"{PACKAGE}.{function}: `{name}` must have at least 1 axis, got shape ()"
        )
    if 0 in array.shape:
        raise ValueError(
            f"{PACKAGE}.{function}: `{name}` must not be empty, got shape {array.shape}"
        )
    return array


def working(dtype: Any) -> np.dtype:
    """Return the real dtype that a transform of `dtype` is computed in."""
    real = jnp.finfo(dtype).dtype
    return jnp.promote_types(real, jnp.float32)


def one_of(function: str, name: str, value: str, options: Iterable[str]) -> str:
    """Return `value` if it is among `options`, or raise."""
    known = tuple(options)
    if value not in known:
        raise ValueError(
            f"{PACKAGE}.{function}: `{name}` must be one of {', '.join(known)}, "
            f"got {value!r}"
        )
    return value


def integer(function: str, name: str, value: Any, *, smallest: int) -> int:
    """Return `value` as a Python integer of at least `smallest`, or raise."""
    try:
        number = operator.index(value)
    except TypeError:
        number = smallest - 1
    if number < smallest:
        raise ValueError(
            f"{PACKAGE}.{function}: `{name}` must be an integer of at least "
            f"{smallest}, got {value!r}"
        )
    return number


def axis_of(function: str, axis: Any, ndim: int) -> int:
    """Return `axis` counted from the front, or raise unless the array has it."""
    try:
        number = operator.index(axis)
    except TypeError:
        number = ndim
    if not -ndim <= number < ndim:
        raise ValueError(
            f"{PACKAGE}.{function}: `axis` must be an integer from {-ndim} to "
            f"{ndim - 1} for {ndim} axes, got {axis!r}"
        )
    return number % ndim


def axes_of(function: str, axes: Any, ndim: int) -> tuple[int, ...]:
    """Return one or several distinct axes counted from the front, or raise."""
    given = tuple(axes) if isinstance(axes, Sequence) else (axes,)
    numbers = tuple(axis_of(function, axis, ndim) for axis in given)
    if not numbers or len(set(numbers)) != len(numbers):
        raise ValueError(
            f"{PACKAGE}.{function}: `axes` must be distinct and at least one, "
            f"got {axes!r}"
        )
    return numbers


def power_of_two(function: str, what: str, n: int) -> int:
    """Return the exponent of `n = 2^m`, or raise."""
    if n < 1 or n & (n - 1):
        raise ValueError(
            f"{PACKAGE}.{function}: {what} must be a power of two, got {n}"
        )
    return n.bit_length() - 1


def lift(constant: Array, ndim: int) -> Array:
    """Return `constant` with axes of length 1 in front until it has `ndim` axes."""
    return constant.reshape((1,) * (ndim - constant.ndim) + constant.shape)
