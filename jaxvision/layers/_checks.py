"""Checks of what networks are given, before anything is compiled."""

from __future__ import annotations

import operator
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxvision._checks import floating, integers, labels_below


def positive(where: str, **values: Any) -> None:
    """Raises ValueError unless every value is a positive integer."""
    for name, value in values.items():
        if not _whole(value, 1):
            raise ValueError(
                f"{where}: `{name}` must be a positive integer, got {value!r}"
            )


def pair(where: str, name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """Returns `value` for height and width: itself if it is a pair, or it twice.

    Raises:
        ValueError: no integers, one below `least`, or another number of them than two.
    """
    both = value if isinstance(value, tuple) else (value, value)
    if len(both) != 2 or not all(_whole(side, least) for side in both):
        kind = "a positive integer" if least == 1 else f"an integer from {least} up"
        raise ValueError(
            f"{where}: `{name}` must be {kind} or a pair of them, got {value!r}"
        )
    return both


def _whole(value: Any, least: int) -> bool:
    try:
        return not isinstance(value, bool) and operator.index(value) >= least
    except TypeError:
        return False


def images(
    where: str,
    x: Any,
    channels: int | None = None,
    smallest: int = 1,
    *,
    name: str = "x",
) -> Array:
    """Returns `x` as an array if it is (B, H, W, C) and real floating point.

    Raises:
        TypeError: no real floating point numbers.
        ValueError: another number of axes or channels, or a side below `smallest`.
    """
    array = jnp.asarray(x)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{where}: `{name}` must be real floating point, got {array.dtype}; scale "
            "integers to [0, 1] first"
        )
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(
            f"{where}: `{name}` must be images (batch, height, width, channels), not "
            f"empty, got shape {array.shape}"
        )
    if channels is not None and array.shape[-1] != channels:
        raise ValueError(
            f"{where}: `{name}` must have {channels} channels, last, got shape "
            f"{array.shape}"
        )
    if min(array.shape[1:3]) < smallest:
        raise ValueError(
            f"{where}: `{name}` must be at least {smallest} high and wide, got shape "
            f"{array.shape}"
        )
    return array


def deep_and_skip(
    where: str, deep: Any, skip: Any, deep_channels: int, channels: int
) -> tuple[Array, Array]:
    """Returns maps of a decoder and of the encoder if the latter are twice as large.

    Raises:
        TypeError, ValueError: one is no (B, H, W, C) of its channels, they are not of
            one batch, or `skip` is not twice as high and wide.
    """
    deep = images(where, deep, deep_channels, name="deep")
    skip = images(where, skip, channels, name="skip")
    expected = (deep.shape[0], 2 * deep.shape[1], 2 * deep.shape[2])
    if skip.shape[:3] != expected:
        raise ValueError(
            f"{where}: `skip` must be {expected} without channels, twice as high and "
            f"wide as `deep` {deep.shape}, got shape {skip.shape}"
        )
    return deep, skip


FORMS = {None: "(batch, ..., {})", 2: "(batch, {})", 3: "(batch, tokens, {})"}


def features(where: str, x: Any, width: int, axes: int | None = None) -> Array:
    """Returns `x` as an array if it is (B, ..., width) and real floating point.

    Raises:
        TypeError: no real floating point numbers.
        ValueError: another last axis, fewer than two axes, or not `axes` of them.
    """
    array = floating(where, "x", x)
    if array.ndim < 2 or array.ndim != (axes or array.ndim) or array.shape[-1] != width:
        raise ValueError(
            f"{where}: `x` must be {FORMS[axes].format(width)}, got shape {array.shape}"
        )
    return array


def class_labels(where: str, label: Any, rows: int, num_classes: int) -> Array:
    """Returns `label` as an array if it is one class per row.

    Raises:
        TypeError: no integers.
        ValueError: another shape than (rows,), or a class out of range where values
            are known now.
    """
    array = integers(where, "label", label)
    if array.shape != (rows,):
        raise ValueError(
            f"{where}: `label` must have shape ({rows},), one per row, got "
            f"{array.shape}"
        )
    labels_below(where, "label", array, num_classes)
    return array
