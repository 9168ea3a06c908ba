"""Values that a caller gives: numbers of any kind made Python's, all else refused."""

from __future__ import annotations

import contextlib
import json
import operator
import os
from typing import Any

import jax
import numpy as np


def integer(owner: str, name: str, value: Any, least: int) -> int:
    """Returns a Python integer; NumPy's and JAX's scalars are taken too.

    Raises:
        ValueError: the value is no integer, a bool, or below `least`.
    """
    found = None
    with contextlib.suppress(TypeError):  # which bools of NumPy and JAX raise too
        found = None if isinstance(value, bool) else operator.index(value)
    if found is None or found < least:
        raise ValueError(
            f"{owner}: `{name}` must be an integer of at least {least}, got {value!r}"
        )
    return found


def number(value: Any) -> float | None:
    """Returns a Python float of a real scalar of Python, NumPy or JAX, else None."""
    refused = isinstance(value, bool | str | bytes) or np.ndim(value) > 0
    if refused or getattr(value, "dtype", None) == np.bool_:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def check_folder(owner: str, name: str, value: Any, *others: str) -> None:
    """Raises unless the value is a path.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str | os.PathLike):
        words = " or ".join(("a folder", *others))
        raise TypeError(f"{owner}: `{name}` must be {words}, got {value!r}")


def as_json(value: Any) -> Any:
    """Returns the value as JSON reads it back.

    Raises:
        TypeError, ValueError: JSON has no such value.
    """
    return json.loads(json.dumps(value, allow_nan=False))


def check_key(owner: str, key: Any) -> None:
    """Raises unless the value is one random key of the typed kind.

    Raises:
        TypeError: it is none.
    """
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed or key.shape != ():
        raise TypeError(
            f"{owner}: `key` must be a typed random key such as jax.random.key(0), got "
            f"{key!r}"
        )
