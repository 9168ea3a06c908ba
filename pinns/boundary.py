"""Boundary values on points and curves that are no faces of a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns.conditions import Data, Value
from pinns.domain import Box, positive_integer, real_number
from pinns.functions import bind_coordinates


@dataclass(frozen=True, eq=False, init=False)
class Boundary(Data):
    """`u = value` at points of a boundary that is no face of the box.

    Args:
        points: (N, d), columns in the order of the box's axes, such as samples of the
            edge of a `pinns.MaskedBox`; or a curve, `curve(s) -> (x, y)` with
            jax.numpy, one array per axis, for s from 0 to 1.
        value: a number, a function of coordinates by name, or an array (N,).
        count: points on a curve, equally spaced in s, the end excluded.
        unknown, weight, name: as `Dirichlet`.

    Raises:
        ValueError: shapes that do not fit, or non-finite entries.

    Example:
        >>> import jax.numpy as jnp
        >>> def circle(s):
        ...     return jnp.cos(2 * jnp.pi * s), jnp.sin(2 * jnp.pi * s)
        >>> Boundary(circle, lambda x, y: x, count=4).points.round(3).tolist()
        [[1.0, 0.0], [-0.0, 1.0], [-1.0, -0.0], [0.0, -1.0]]
    """

    values: Any = field(init=False, default=None)  # computed
    value: Any = 0.0
    label: ClassVar[str] = "boundary"

    def __init__(
        self,
        points: Array | Callable[[Array], Sequence[Array]],
        value: Value | Array = 0.0,
        *,
        count: int = 256,
        unknown: str | None = None,
        weight: float = 1.0,
        name: str | None = None,
    ):
        place: Any = points
        if callable(points):
            positive_integer(count, self.owner, "count")
            columns = points(jnp.arange(count) / count)
            if not isinstance(columns, (tuple, list)):
                raise TypeError(
                    f"{self.owner}: a curve must return one array per axis, "
                    f"got {type(columns).__name__}"
                )
            wide = np.broadcast_arrays(*map(np.asarray, columns), np.empty(count))
            place = np.stack(wide[:-1], axis=1)
        number = real_number(value)
        values: Any = value
        if callable(value) or number is not None:
            values = np.full(np.shape(place)[:1], 0.0 if number is None else number)
        fields: dict[str, Any] = {"points": place, "values": values, "value": value}
        fields |= {"unknown": unknown, "weight": weight, "name": name}
        for key, given in fields.items():
            object.__setattr__(self, key, given)
        self.__post_init__()

    def check(self, box: Box) -> None:
        """Computes the values at the points, which must lie in the box."""
        super().check(box)
        if callable(self.value):
            function = bind_coordinates(self.value, box, self.owner)
            columns = list(jnp.asarray(self.points).T)
            values = np.asarray(function(*columns), np.float64)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"{self.owner}: `value` must be finite at the points, got NaN or "
                    "Inf"
                )
            object.__setattr__(self, "values", values)
