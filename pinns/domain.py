"""Boxes with named axes, and the one-dimensional point sets they are sampled with.

A separable method never needs the points of a d-dimensional grid, only one array of
coordinates per axis. Everything here is therefore one-dimensional: a `Box` names its
axes, and `AxisPoints` holds the coordinates of one axis with its quadrature weights.
"""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcore.sampling import quadrature, random


TIME = "t"
FRAMES = ("axes", "cartesian")
SAMPLINGS = ("uniform", "stratified", "chebyshev", "gauss_legendre", "equispaced")
_RANDOM = {"uniform": random.uniform, "stratified": random.stratified}
_FIXED = {
    "chebyshev": quadrature.chebyshev,
    "gauss_legendre": quadrature.gauss_legendre,
    "equispaced": quadrature.equispaced,
}


class AxisPoints(NamedTuple):
    """Points of one axis: `coordinates` (n,) and `weights` (n,) that sum to one.

    Weights are those of the quadrature rule divided by the interval length, so that
    a weighted sum is a mean; random point sets carry `None`, which means 1/n each.
    """

    coordinates: Float[Array, " n"]
    weights: Float[Array, " n"] | None


class Box:
    """A box in named coordinates: `Box(t=(0, 10), x=(-1, 1))`.

    The order of the keywords is the order of the axes everywhere: in tensor grids,
    in the arguments of residual and condition functions, and in scattered points.

    Args:
        **intervals: one `(lower, upper)` pair of finite numbers per axis.

    Raises:
        ValueError: no axis, a bad interval, or a name that is no identifier.

    Example:
        >>> box = Box(t=(0.0, 10.0), x=(-1.0, 1.0))
        >>> box.dimension, box.names, box.interval("x")
        (2, ('t', 'x'), (-1.0, 1.0))
    """

    def __init__(self, **intervals: Sequence[float]):
        if not intervals:
            raise ValueError("pinns.Box: expected at least one axis, got none")
        checked = {name: _interval(name, pair) for name, pair in intervals.items()}
        self.names: tuple[str, ...] = tuple(checked)
        self.intervals: tuple[tuple[float, float], ...] = tuple(checked.values())

    @classmethod
    def cube(
        cls, dimension: int, interval: Sequence[float] = (0.0, 1.0), *, prefix="x"
    ) -> Box:
        """Returns the box with axes `x1, ..., xd` that all span `interval`.

        Raises:
            ValueError: `dimension` is not a positive integer.

        Example:
            >>> Box.cube(3).names
            ('x1', 'x2', 'x3')
        """
        dimension = positive_integer(dimension, "pinns.Box.cube", "dimension")
        return cls(**{f"{prefix}{i + 1}": interval for i in range(dimension)})

    # What a box in other coordinates has besides, see `pinns.mapped`.
    physical_names: tuple[str, ...] = ()
    periodic: tuple[str, ...] = ()

    @property
    def dimension(self) -> int:
        return len(self.names)

    @property
    def space(self) -> tuple[str, ...]:
        """Axes that are no time: all but `t`."""
        return tuple(name for name in self.names if name != TIME)

    def face(self, name: str, side: str) -> str | None:
        """Returns which ends of an axis are boundary, of those asked for; or None.

        Args:
            side: `"lower"`, `"upper"` or `"ends"`, both.
        """
        self.axis(name)
        return side

    def physical(self, coordinates: Sequence[Array]) -> list[Array]:
        """Returns the coordinates of `physical_names`: none in a plain box."""
        del coordinates
        return []

    def from_physical(self, points: Array) -> Array:
        """Returns the coordinates of physical points: the same in a plain box."""
        return points

    def volume(self, coordinates: Sequence[Array]) -> list[Array] | None:
        """Returns one factor (n,) per axis of the volume element; None if it is 1."""
        del coordinates
        return None

    def density(self, coordinates: Sequence[Array]) -> Array | None:
        """Returns the weight of points in norms, the volume; None if it is 1."""
        factors = self.volume(coordinates)
        return None if factors is None else math.prod(factors[1:], start=factors[0])

    def inside(self, coordinates: Sequence[Array]) -> Array | None:
        """Returns which points belong to the domain; None if all do."""
        del coordinates
        return None

    def outward(self, axis: int, slope: Any, coordinates: Sequence[Array]) -> Any:
        """Returns the derivative per unit length of one per unit of the axis."""
        del axis, coordinates
        return slope

    def laplacian(self, u: Any, coordinates: Sequence[Array] = ()) -> Any:
        """Returns the sum of second derivatives of a field along all axes but `t`."""
        del coordinates
        total = u.d(self.space[0], 2)
        for name in self.space[1:]:
            total = total + u.d(name, 2)
        return total

    def gradient(
        self, u: Any, coordinates: Sequence[Array] = (), frame: str = "axes"
    ) -> tuple:
        """Returns the derivatives of a field per unit length, along all axes but `t`.

        Args:
            frame: `"axes"` or `"cartesian"`, which is the same in a plain box.
        """
        del coordinates
        check_frame(frame)
        return tuple(u.d(name) for name in self.space)

    def with_interval(self, name: str, interval: Sequence[float]) -> Box:
        """Returns the box with another interval on one axis."""
        position = self.axis(name)
        changed = copy.copy(self)
        intervals = list(self.intervals)
        intervals[position] = _interval(name, interval)
        changed.intervals = tuple(intervals)
        return changed

    def axis(self, name: str, *, owner: str = "pinns.Box") -> int:
        """Returns the position of axis `name`; ValueError if there is none."""
        if name not in self.names:
            raise ValueError(
                f"{owner}: unknown axis {name!r}, the axes are {', '.join(self.names)}"
            )
        return self.names.index(name)

    def interval(self, name: str) -> tuple[float, float]:
        return self.intervals[self.axis(name)]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and (self.names, self.intervals) == (
            other.names,
            other.intervals,
        )

    def __hash__(self) -> int:
        return hash((self.names, self.intervals))

    def __repr__(self) -> str:
        axes = ", ".join(
            f"{n}=({a:g}, {b:g})"
            for n, (a, b) in zip(self.names, self.intervals, strict=True)
        )
        return f"Box({axes})"

    def points(
        self,
        counts: int | Sequence[int] | Mapping[str, int],
        sampling: str | Mapping[str, str] = "uniform",
        *,
        key: Array | None = None,
        dtype: str = "float32",
    ) -> tuple[AxisPoints, ...]:
        """Returns one `AxisPoints` per axis.

        Args:
            counts: points per axis: one integer, one per axis, or `{name: count}`.
            sampling: one of `SAMPLINGS`, or `{name: sampling}`. `uniform` and
                `stratified` are random and need `key`; the others are quadrature
                rules in ascending order.
            key: typed random key, split once per axis.
            dtype: `"float32"` or `"float64"` (the latter under `jax.enable_x64`).

        Raises:
            ValueError: counts below two, an unknown sampling or axis, a missing key.

        Example:
            >>> box = Box(x=(-1.0, 1.0))
            >>> [p.coordinates.tolist() for p in box.points(3, "equispaced")]
            [[-1.0, 0.0, 1.0]]
        """
        sizes = self.counts(counts)
        kinds = self.samplings(sampling)
        if key is None and any(kind in _RANDOM for kind in kinds):
            raise ValueError(
                f"pinns.Box.points: sampling {sampling!r} is random and needs `key`, "
                "for example key=jax.random.key(0), got None"
            )
        keys = (
            [None] * self.dimension
            if key is None
            else jax.random.split(key, self.dimension)
        )
        return tuple(
            _axis_points(kind, n, a, b, k, dtype)
            for kind, n, (a, b), k in zip(
                kinds, sizes, self.intervals, keys, strict=True
            )
        )

    def counts(
        self,
        counts: int | Sequence[int] | Mapping[str, int],
        *,
        owner: str = "pinns.Box.points",
        name: str = "points",
    ) -> tuple[int, ...]:
        """Returns the number of points of every axis, checked (at least two each)."""
        per_axis = self._per_axis(counts, owner, name)
        for axis, n in zip(self.names, per_axis, strict=True):
            positive_integer(n, owner, f"{name}[{axis}]")
            if n < 2:
                raise ValueError(
                    f"{owner}: `{name}` must be at least 2 on every axis, "
                    f"got {n} on axis {axis!r}"
                )
        return tuple(int(n) for n in per_axis)

    def samplings(self, sampling: str | Mapping[str, str]) -> tuple[str, ...]:
        """Returns the sampling of every axis, checked."""
        kinds = self._per_axis(sampling, "pinns.Box.points", "sampling")
        for kind in kinds:
            if kind not in SAMPLINGS:
                raise ValueError(
                    f"pinns.Box.points: `sampling` must be one of "
                    f"{', '.join(SAMPLINGS)}, got {kind!r}"
                )
        return kinds

    def grid(
        self, counts: int | Sequence[int] | Mapping[str, int], dtype: str = "float32"
    ) -> tuple[Float[Array, " n"], ...]:
        """Returns equispaced coordinates per axis, both ends included."""
        return tuple(
            p.coordinates for p in self.points(counts, "equispaced", dtype=dtype)
        )

    def _per_axis(self, value, owner: str, name: str) -> tuple:
        if isinstance(value, Mapping):
            for axis in value:
                self.axis(axis, owner=f"{owner}: `{name}`")
            missing = [axis for axis in self.names if axis not in value]
            if missing:
                raise ValueError(
                    f"{owner}: `{name}` names no value for axis {missing[0]!r}, "
                    f"got {dict(value)!r}"
                )
            return tuple(value[axis] for axis in self.names)
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if isinstance(value, Sequence) and not isinstance(value, str):
            if len(value) != self.dimension:
                raise ValueError(
                    f"{owner}: `{name}` must have one entry for each of the "
                    f"{self.dimension} axes {self.names}, got {value!r}"
                )
            return tuple(value)
        return (value,) * self.dimension


def check_frame(frame: str) -> None:
    """Raises ValueError unless it is one of `FRAMES`."""
    if frame not in FRAMES:
        raise ValueError(
            f"pinns.Field.gradient: `frame` must be one of {', '.join(FRAMES)}, "
            f"got {frame!r}"
        )


def precision(dtype: str):
    """Returns the context in which arrays of `dtype` exist; float64 needs x64."""
    return jax.enable_x64(True) if dtype == "float64" else nullcontext()


def real_number(value) -> float | None:
    """Returns a Python, NumPy or JAX real scalar as a float; None for anything else."""
    concrete = isinstance(value, (np.ndarray, jax.Array))
    if concrete and not isinstance(value, jax.core.Tracer) and value.ndim == 0:
        value = value.item()
    if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool)):
        return float(value)
    return None


def positive_number(value, owner: str, name: str) -> float:
    """Returns `value` if it is a finite positive number, else raises ValueError."""
    number = real_number(value)
    if number is None or not math.isfinite(number) or number <= 0:
        raise ValueError(f"{owner}: `{name}` must be a positive number, got {value!r}")
    return number


def positive_integer(value, owner: str, name: str) -> int:
    """Returns `value` if it is a positive integer, else raises naming the argument."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{owner}: `{name}` must be a positive integer, got {value!r}")
    return int(value)


def _interval(name: str, pair: Sequence[float]) -> tuple[float, float]:
    if not name.isidentifier():
        raise ValueError(f"pinns.Box: axis name must be an identifier, got {name!r}")
    try:
        a, b = (float(end) for end in pair)
    except (TypeError, ValueError):
        raise ValueError(
            f"pinns.Box: axis {name!r} needs an interval (lower, upper), got {pair!r}"
        ) from None
    if not (math.isfinite(a) and math.isfinite(b) and a < b):
        raise ValueError(
            f"pinns.Box: axis {name!r} needs finite lower < upper, got ({a:g}, {b:g})"
        )
    return a, b


def _axis_points(
    kind: str, n: int, a: float, b: float, key: Array | None, dtype: str
) -> AxisPoints:
    if kind in _RANDOM and key is not None:
        return AxisPoints(_RANDOM[kind](key, n, a, b, dtype=jnp.dtype(dtype)), None)
    nodes, weights = _FIXED[kind](n, a, b)
    return AxisPoints(jnp.asarray(nodes, dtype), jnp.asarray(weights / (b - a), dtype))
