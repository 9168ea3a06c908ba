"""Calling what users write: functions of coordinates, checked before anything compiles.

A user function may take all coordinates in the order of the box, some of them by
name, or `*coordinates`. Its value may be a number, or an array that broadcasts to
the points it was given.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pinns.domain import Box, real_number
from pinns.field import Field


CoordinateFunction = Callable[..., Any]


def parameter_names(function: Callable, owner: str) -> tuple[list[str], bool]:
    """Returns the positional parameter names of `function` and if it takes `*args`.

    Raises:
        TypeError: not callable, or required keyword-only parameters.
    """
    if not callable(function):
        raise TypeError(f"{owner}: expected a function, got {function!r}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return [], True
    names, variadic = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            variadic = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.KEYWORD_ONLY):
            if parameter.default is parameter.empty:
                raise TypeError(
                    f"{owner}: parameters must be ordinary positional ones, "
                    f"got {parameter.kind.description} {parameter.name!r}"
                )
        elif (
            parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            and parameter.default is parameter.empty
        ):
            names.append(parameter.name)
    return names, variadic


def coordinate_arguments(
    function: Callable,
    box: Box,
    owner: str,
    *,
    skip: int = 0,
    others: Sequence[str] = (),
) -> tuple[Any, ...]:
    """Returns the axes whose coordinates `function` takes, in its argument order.

    Args:
        function: the user's function.
        box: the domain; numbers from its dimension on are its physical coordinates.
        owner: named in the error.
        skip: leading parameters that are not coordinates (the unknowns).
        others: names that may stand among the coordinates; they are returned as such.

    Raises:
        ValueError: a parameter that is neither an axis of the box nor one of those.
    """
    names, variadic = parameter_names(function, owner)
    names = names[skip:]
    known = (*box.names, *box.physical_names)
    allowed = (*known, *others)
    for name in names:
        if name not in allowed:
            what = "neither an axis of the box nor a parameter"
            what = what if others else "no axis of the box"
            raise ValueError(
                f"{owner}: argument {name!r} is {what}; expected arguments among "
                f"({', '.join(allowed)}), got ({', '.join(names)})"
            )
    taken = tuple(n if n in others else known.index(n) for n in names)
    if not variadic:
        return taken
    return taken + tuple(i for i in range(box.dimension) if i not in taken)


def chosen(box: Box, coordinates: Sequence[Array], axes: Sequence[int]) -> list[Array]:
    """Returns the coordinates of `coordinate_arguments`, physical ones computed."""
    if all(i < box.dimension for i in axes):
        return [coordinates[i] for i in axes]
    every = [*coordinates, *box.physical(coordinates)]
    return [every[i] for i in axes]


def bind_coordinates(
    value: CoordinateFunction | float | Array,
    box: Box,
    owner: str,
    name: str = "value",
) -> Callable[..., Array]:
    """Returns a function of all coordinates in box order from what the user gave.

    Numbers become constant functions. The result is checked to broadcast to the
    shape of the coordinates.
    """
    number = real_number(value)
    if number is not None:
        if not math.isfinite(number):
            raise ValueError(f"{owner}: `{name}` must be finite, got {value!r}")
        return _Constant(number)
    if not callable(value):
        raise TypeError(
            f"{owner}: `{name}` must be a number or a function of the coordinates "
            f"({', '.join((*box.names, *box.physical_names))}), "
            f"got {type(value).__name__}"
        )
    return _Bound(value, coordinate_arguments(value, box, owner), box, owner)


class UnfitArrayError(ValueError):
    """An array of the user's own does not broadcast against the points."""


@contextmanager
def explained(owner: str, what: str, shape: Sequence[int]) -> Iterator[None]:
    """Rephrases what JAX says when traced code needs concrete values, or other shapes.

    Args:
        owner: named in the error. what: of the user's is called.
        shape: of the points it is called on.
    """
    try:
        yield
    except jax.errors.TracerArrayConversionError as error:
        raise TypeError(
            f"{owner}: the {what} must be written with jax.numpy; it handed a "
            "coordinate or field to NumPy"
        ) from error
    except jax.errors.ConcretizationTypeError as error:
        raise TypeError(
            f"{owner}: the {what} is traced and may not branch on values or turn them "
            "into Python numbers; use jnp.where instead of `if`"
        ) from error
    except (TypeError, ValueError) as error:
        said = str(error)
        if said.startswith("pinns") or "broadcast" not in said.lower():
            raise
        raise UnfitArrayError(
            f"{owner}: the {what} combines arrays that do not fit the points, which "
            f"have the shape {tuple(shape)} here and another one elsewhere; expected "
            f"numbers, coordinates and functions of them, got: {said.rstrip('.')}"
        ) from error


class _Constant:
    def __init__(self, value: float):
        self.value = value

    def __call__(self, *coordinates: Array) -> Array:
        shape = jnp.broadcast_shapes(*(c.shape for c in coordinates))
        return jnp.full(shape, self.value, coordinates[0].dtype)


class _Bound:
    def __init__(self, function, axes, box: Box, owner: str):
        self.function, self.axes, self.box, self.owner = function, axes, box, owner

    def __call__(self, *coordinates: Array) -> Array:
        shape = jnp.broadcast_shapes(*(jnp.shape(c) for c in coordinates))
        with explained(self.owner, "function", shape):
            value = self.function(*chosen(self.box, coordinates, self.axes))
        return broadcast(value, shape, coordinates[0].dtype, self.owner)


def broadcast(value: Any, shape: Sequence[int], dtype, owner: str) -> Array:
    """Returns `value` as an array of the given rank that broadcasts to `shape`.

    Raises:
        TypeError: not an array. ValueError: a shape that does not broadcast.
    """
    if isinstance(value, Field):
        value = value.values
    if isinstance(value, (tuple, list, str, bytes, Mapping)) or value is None:
        raise TypeError(
            f"{owner}: expected one array of shape {tuple(shape)}, got "
            f"{type(value).__name__}"
        )
    array = jnp.asarray(value)
    fits = array.ndim == 0 or (
        array.ndim == len(shape)
        and all(m in (1, n) for m, n in zip(array.shape, shape, strict=True))
    )
    if not fits:
        raise UnfitArrayError(
            f"{owner}: expected values that broadcast to the points' shape "
            f"{tuple(shape)}, got shape {array.shape}"
        )
    array = array if array.ndim else array.reshape((1,) * len(shape))
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(
            f"{owner}: expected real values, got dtype {array.dtype}; write real "
            "and imaginary part as two unknowns"
        )
    return array.astype(dtype)
