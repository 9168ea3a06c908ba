"""Boundary and initial conditions and data, for any face of a box in any dimension.

A condition describes; `Problem` turns it into loss terms (soft) or into per-axis
factors and a lift (`hard=True`, see `pinns.hard`). All faces of one condition share
its weight: its loss is the mean over the points of all its faces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns.domain import Box, positive_number, real_number
from pinns.functions import bind_coordinates


Value = Callable[..., Any] | float
SIDES = ("both", "lower", "upper")


@dataclass(frozen=True, kw_only=True)
class Term:
    """One loss term: arrays that should vanish on a tensor set of points.

    selectors: per axis `"interior"` (the collocation points) or the end points
    `"lower"`, `"upper"`, `"ends"` (both). function: `(source, coordinates) -> arrays`
    where `source(unknown, orders, selectors)` gives leaf values. group: the name the
    loss is reported under. weight: share of this term in the total loss. anywhere:
    `(source, coordinates, selectors) -> arrays`, where `function` is this for its own
    selectors; terms that share it are planned together.
    """

    name: str
    group: str
    weight: float
    selectors: tuple[str, ...]
    function: Callable[[Callable, Sequence[Array]], list[Array]]
    anywhere: Callable[..., list[Array]] | None = None


class Condition:
    """What all conditions share.

    unknown: name of the function it is about; may be left out if there is only one.
    weight: factor of its mean square in the loss. name: shown in logs and errors.
    """

    unknown: str | None
    weight: float
    label: ClassVar[str] = "condition"

    def group(self, box: Box) -> str:
        """Returns the name under which the loss of this condition is reported."""
        raise NotImplementedError  # every public condition has its own

    def terms(self, box: Box, unknown: int) -> list[Term]:
        """Returns the loss terms on the faces of this condition."""
        raise NotImplementedError

    def _check(self, weight: float, hard: bool = False) -> None:
        positive_number(weight, self.owner, "weight")
        if not isinstance(hard, bool):
            raise TypeError(f"{self.owner}: `hard` must be True or False, got {hard!r}")

    @property
    def title(self) -> str:
        """Kind of condition, with the unknown where one was named: `dirichlet[u]`."""
        return self.label if self.unknown is None else f"{self.label}[{self.unknown}]"

    @property
    def owner(self) -> str:
        return f"pinns.{type(self).__name__}"


@dataclass(frozen=True)
class FaceCondition(Condition):
    """A condition on faces: `axes` (all by default) and `side` of each."""

    axes: str | tuple[str, ...] | None = None
    side: str = "both"
    unknown: str | None = None
    weight: float = 1.0
    name: str | None = None

    def __post_init__(self):
        self._check(self.weight)
        if self.axes is not None:
            _set(self, axes=_names(self.owner, self.axes))
        if self.side not in SIDES:
            raise ValueError(
                f"{self.owner}: `side` must be one of {', '.join(SIDES)}, "
                f"got {self.side!r}"
            )

    def faces(self, box: Box) -> list[tuple[int, str]]:
        """Returns (axis, selector) pairs; ValueError for an axis without faces."""
        names = box.names if self.axes is None else self.axes
        side = "ends" if self.side == "both" else self.side
        places = [(box.axis(n, owner=self.owner), box.face(n, side)) for n in names]
        found = [(axis, own) for axis, own in places if own is not None]
        if not found or (self.axes is not None and len(found) < len(places)):
            name = names[[own for _, own in places].index(None)]
            which = f"{self.side} face".removeprefix("both ")
            raise ValueError(
                f"{self.owner}: axis {name!r} has no {which} in {box!r}, where it is "
                "closed or ends inside the domain"
            )
        return found

    def group(self, box: Box) -> str:
        names = [box.names[axis] for axis, _ in self.faces(box)]
        shown = names if len(names) < 4 else [names[0], "...", names[-1]]
        suffix = "" if self.side == "both" else f", {self.side}"
        return self.name or f"{self.title}({', '.join(shown)}{suffix})"


@dataclass(frozen=True)
class Dirichlet(FaceCondition):
    """`u = value` on faces.

    Args:
        value: a number or a function of coordinates (any of them, by name).
        axes: axis name or names; all axes by default.
        side: `"both"`, `"lower"` or `"upper"` end of each axis.
        unknown: which function, if the problem has several.
        weight: factor of the mean square in the loss.
        hard: satisfy it exactly by construction instead: the model is multiplied by
            per-axis factors that vanish on the faces, and a lift carries the values.
        name: label in logs.

    Example:
        >>> Dirichlet(0.0, axes=("x", "y"), hard=True).hard
        True
    """

    value: Value = 0.0
    hard: bool = False
    label: ClassVar[str] = "dirichlet"

    def __init__(
        self,
        value: Value = 0.0,
        axes: str | Sequence[str] | None = None,
        side: str = "both",
        *,
        unknown: str | None = None,
        weight: float = 1.0,
        hard: bool = False,
        name: str | None = None,
    ):
        _set(self, value=value, axes=axes, side=side, unknown=unknown)
        _set(self, weight=weight, hard=hard, name=name)
        self.__post_init__()
        self._check(weight, hard)

    def terms(self, box: Box, unknown: int) -> list[Term]:
        return _face_terms(self, box, unknown, self.value, 1.0, None)


@dataclass(frozen=True)
class Neumann(FaceCondition):
    """`du/dn = value` on faces, with the outward normal n.

    Args: as `Dirichlet`, without `hard`.
    """

    value: Value = 0.0
    label: ClassVar[str] = "neumann"

    def __init__(
        self,
        value: Value = 0.0,
        axes: str | Sequence[str] | None = None,
        side: str = "both",
        *,
        unknown: str | None = None,
        weight: float = 1.0,
        name: str | None = None,
    ):
        _set(self, value=value, axes=axes, side=side, unknown=unknown)
        _set(self, weight=weight, name=name)
        self.__post_init__()

    def terms(self, box: Box, unknown: int) -> list[Term]:
        return _face_terms(self, box, unknown, self.value, None, 1.0)


@dataclass(frozen=True)
class Robin(FaceCondition):
    """`alpha u + beta du/dn = value` on faces, with the outward normal n.

    Args: as `Neumann`, and
        alpha, beta: numbers or functions of coordinates.
    """

    value: Value = 0.0
    alpha: Value = 1.0
    beta: Value = 1.0
    label: ClassVar[str] = "robin"

    def __init__(
        self,
        value: Value = 0.0,
        axes: str | Sequence[str] | None = None,
        side: str = "both",
        *,
        alpha: Value = 1.0,
        beta: Value = 1.0,
        unknown: str | None = None,
        weight: float = 1.0,
        name: str | None = None,
    ):
        _set(self, value=value, axes=axes, side=side, unknown=unknown)
        _set(self, alpha=alpha, beta=beta, weight=weight, name=name)
        self.__post_init__()
        if real_number(alpha) == 0 and real_number(beta) == 0:
            raise ValueError(
                f"{self.owner}: `alpha` and `beta` must not both be zero, "
                f"got {alpha!r} and {beta!r}"
            )

    def terms(self, box: Box, unknown: int) -> list[Term]:
        alpha, beta = (_coefficient(self, box, name) for name in ("alpha", "beta"))
        return _face_terms(self, box, unknown, self.value, alpha, beta)


@dataclass(frozen=True)
class Periodic(Condition):
    """Equal values, and equal derivatives up to `order`, on opposite faces.

    Args:
        axes: axis name or names.
        order: highest derivative along the axis that must match (0: values only).
        unknown, weight, name: as `Dirichlet`.
    """

    axes: str | tuple[str, ...]
    order: int = 1
    unknown: str | None = None
    weight: float = 1.0
    name: str | None = None
    label: ClassVar[str] = "periodic"

    def __post_init__(self):
        self._check(self.weight)
        _set(self, axes=_names(self.owner, self.axes))
        if type(self.order) is not int or self.order not in range(5):
            raise ValueError(
                f"{self.owner}: `order` must be an integer from 0 to 4, "
                f"got {self.order!r}"
            )

    def group(self, box: Box) -> str:
        return self.name or f"{self.title}({', '.join(self.axes)})"

    def terms(self, box: Box, unknown: int) -> list[Term]:
        axes = [box.axis(name, owner=self.owner) for name in self.axes]
        return [self._term(box, unknown, axis, len(axes)) for axis in axes]

    def _term(self, box: Box, unknown: int, axis: int, count: int) -> Term:
        lower, upper = (_selectors(box, axis, side) for side in ("lower", "upper"))

        def function(source, coordinates):
            orders = [_unit(box, axis, k) for k in range(self.order + 1)]
            return [
                source(unknown, o, lower) - source(unknown, o, upper) for o in orders
            ]

        group = self.group(box)
        return Term(
            name=f"{group} on {box.names[axis]}",
            group=group,
            weight=self.weight / count,
            selectors=lower,
            function=function,
        )


@dataclass(frozen=True)
class Initial(Condition):
    """`d^order u / d axis^order = value` at the lower end of `axis`.

    Args:
        axis: the time axis.
        value: a number or a function of coordinates (all or only the others).
        order: 0 for the value, 1 for the first derivative (velocity).
        hard: satisfy it exactly by construction. A hard velocity needs a hard value.
        unknown, weight, name: as `Dirichlet`.
    """

    axis: str
    value: Value = 0.0
    order: int = 0
    unknown: str | None = None
    weight: float = 1.0
    hard: bool = False
    name: str | None = None
    label: ClassVar[str] = "initial"

    def __post_init__(self):
        self._check(self.weight, self.hard)
        if isinstance(self.order, bool) or self.order not in (0, 1):
            raise ValueError(
                f"{self.owner}: `order` must be 0 or 1, got {self.order!r}"
            )

    def group(self, box: Box) -> str:
        derivative = "" if self.order == 0 else f", order={self.order}"
        return self.name or f"{self.title}({self.axis}{derivative})"

    def terms(self, box: Box, unknown: int) -> list[Term]:
        axis = box.axis(self.axis, owner=self.owner)
        value = bind_coordinates(self.value, box, self.owner)
        selectors, orders = _selectors(box, axis, "lower"), _unit(box, axis, self.order)

        def function(source, coordinates):
            return [source(unknown, orders, selectors) - value(*coordinates)]

        group = self.group(box)
        return [
            Term(
                name=group,
                group=group,
                weight=self.weight,
                selectors=selectors,
                function=function,
            )
        ]


@dataclass(frozen=True, eq=False)
class Data(Condition):
    """`u(points) = values` at scattered points: measurements.

    Args:
        points: (N, d), columns in the order of the box's axes.
        values: (N,).
        unknown, weight, name: as `Dirichlet`.

    Raises:
        ValueError: shapes that do not fit, or non-finite entries.
    """

    points: Array
    values: Array
    unknown: str | None = None
    weight: float = 1.0
    name: str | None = None
    label: ClassVar[str] = "data"

    def __post_init__(self):
        self._check(self.weight)
        try:
            points = np.asarray(jax.device_get(self.points), dtype=np.float64)
            values = np.asarray(jax.device_get(self.values), dtype=np.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"{self.owner}: expected numeric `points` (N, d) and `values` (N,), "
                f"got {type(self.points).__name__} and {type(self.values).__name__}"
            ) from None
        if points.ndim != 2 or values.shape != points.shape[:1] or not len(points):
            raise ValueError(
                f"{self.owner}: expected `points` (N, d) and `values` (N,), N >= 1, "
                f"got {points.shape} and {values.shape}"
            )
        if not (np.isfinite(points).all() and np.isfinite(values).all()):
            raise ValueError(
                f"{self.owner}: `points` and `values` must be finite, got NaN or Inf"
            )
        _set(self, points=points, values=values)

    def group(self, box: Box) -> str:
        return self.name or self.title

    def check(self, box: Box) -> None:
        """Raises ValueError if the points do not fit the box."""
        if self.points.shape[1] != box.dimension:
            raise ValueError(
                f"{self.owner}: `points` must have {box.dimension} columns "
                f"({', '.join(box.names)}), got shape {self.points.shape}"
            )
        lower, upper = np.asarray(box.intervals).T
        slack = 1e-6 * (upper - lower)
        inside = (self.points >= lower - slack) & (self.points <= upper + slack)
        if not inside.all():
            row = int(np.argmin(inside.all(axis=1)))
            raise ValueError(
                f"{self.owner}: point {row} lies outside {box!r}: {self.points[row]}"
            )


def _set(instance: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def _names(owner: str, axes: str | Sequence[str]) -> tuple[str, ...]:
    names = (axes,) if isinstance(axes, str) else axes
    strings = isinstance(names, Sequence) and all(isinstance(n, str) for n in names)
    if not strings or not names or len(set(names)) != len(names):
        raise ValueError(
            f"{owner}: `axes` must name one or several different axes, got {axes!r}"
        )
    return tuple(names)


def _selectors(box: Box, axis: int, selector: str) -> tuple[str, ...]:
    return tuple(selector if i == axis else "interior" for i in range(box.dimension))


def _unit(box: Box, axis: int, order: int) -> tuple[int, ...]:
    return tuple(order if i == axis else 0 for i in range(box.dimension))


def _face_terms(
    condition: FaceCondition,
    box: Box,
    unknown: int,
    value: Value,
    alpha: Value | None,
    beta: Value | None,
) -> list[Term]:
    """Terms of `alpha u + beta du/dn - value`, one per axis (both ends together)."""
    owner, group = condition.owner, condition.group(box)
    target = bind_coordinates(value, box, owner)
    faces = condition.faces(box)
    plain = alpha is not None and beta is None
    anywhere = _value_function(box, unknown, target, alpha) if plain else None
    return [
        Term(
            name=f"{group} on {box.names[axis]}",
            group=group,
            weight=condition.weight / len(faces),
            selectors=_selectors(box, axis, selector),
            function=_face_function(box, unknown, axis, selector, target, alpha, beta),
            anywhere=anywhere,
        )
        for axis, selector in faces
    ]


def _coefficient(condition: Robin, box: Box, name: str) -> Value:
    """Returns a checked coefficient; numbers stay numbers, which keeps it constant."""
    value = getattr(condition, name)
    bound = bind_coordinates(value, box, condition.owner, name)
    number = real_number(value)
    return bound if number is None else number


def _scaled(coefficient: Value, field: Array, coordinates: Sequence[Array]) -> Array:
    known = coefficient(*coordinates) if callable(coefficient) else coefficient
    return known * field


def _value_function(box, unknown, target, alpha):
    def anywhere(source, coordinates, selectors):
        u = source(unknown, (0,) * box.dimension, selectors)
        return [_scaled(alpha, u, coordinates) - target(*coordinates)]

    return anywhere


def _face_function(box, unknown, axis, selector, target, alpha, beta):
    selectors = _selectors(box, axis, selector)
    signs = {"lower": [-1.0], "upper": [1.0], "ends": [-1.0, 1.0]}[selector]

    def function(source, coordinates):
        total = -target(*coordinates)
        if alpha is not None:
            u = source(unknown, _unit(box, axis, 0), selectors)
            total = _scaled(alpha, u, coordinates) + total
        if beta is not None:
            normal = jnp.asarray(signs, coordinates[axis].dtype)
            normal = normal.reshape(coordinates[axis].shape)
            slope = source(unknown, _unit(box, axis, 1), selectors)
            outward = box.outward(axis, normal * slope, coordinates)
            total = _scaled(beta, outward, coordinates) + total
        return [total]

    return function


__all__ = [
    "Condition",
    "Data",
    "Dirichlet",
    "Initial",
    "Neumann",
    "Periodic",
    "Robin",
    "Term",
]
