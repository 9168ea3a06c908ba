"""Boxes in curvilinear coordinates: annulus, disk, spherical shell, ball, or one's own.

A map `X(xi)` from a box to physical space with orthogonal coordinate lines has scale
factors `h_i = |dX/dxi_i|` and the Jacobian `J = prod h_i`. Where every `h_i` is a
product of functions of one coordinate each, so are all coefficients of

    laplacian u = sum_i 1/h_i^2 (u_ii + (d log(J / h_i^2) / dxi_i) u_i),

`(1/r) d/dr` and `1/r^2` in polar coordinates, and separable networks, factored norms
and direct solvers stay what they are in a plain box. Other maps are refused.

Sources: Morse and Feshbach, Methods of theoretical physics, 1953, section 1.3 (scale
factors); polar angles of a sphere are those of physics, theta from the north pole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pinns.domain import AxisPoints, Box, check_frame, precision


# {axis: {axis: function}}: h_i as a product of functions of one coordinate.
Scales = dict[str, dict[str, Callable[[Array], Array]]]
Map = Callable[..., Sequence[Array]]

FULL = 2.0 * math.pi
CLOSE = 1e-12
SUPPORTED = (
    "pinns.Box, pinns.Annulus, Disk, SphericalShell and Ball, a pinns.MappedBox with "
    "orthogonal coordinates whose scale factors are products of functions of one "
    "coordinate, and, for pinns.MLP, a pinns.MaskedBox"
)


class MappedBox(Box):
    """A box whose axes are curvilinear coordinates of a physical domain.

    Args:
        box: the coordinates, such as `Box(rho=(0, 1), theta=(0, 3))`; axes that `to`
            does not take stay as they are: a time `t`, or the height of a cylinder.
        to: `to(rho, theta) -> (x, y)`, with jax.numpy; takes axes of the box by name
            and returns as many physical coordinates.
        physical: their names; conditions, sources and exact solutions may take them as
            arguments like axes.
        periodic: axes along which the domain closes: a `Periodic` condition is added,
            and they have no faces.
        points: ends of axes that are no faces but a point or line inside the domain,
            such as `{"r": "lower"}` in a disk.
        back: the inverse, `back(x, y) -> (rho, theta)`, for physical points.
        scales: the scale factors `{axis: {axis: function}}` if they are known, one
            left out being 1; otherwise they are found from `to`.

    Raises:
        ValueError: coordinates that are not orthogonal, scale factors that are not
            products of functions of one coordinate, or names that do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> spiral = MappedBox(
        ...     Box(rho=(0.0, 1.0), theta=(0.0, 3.0)),
        ...     lambda rho, theta: (
        ...         jnp.exp(rho) * jnp.cos(theta),
        ...         jnp.exp(rho) * jnp.sin(theta),
        ...     ),
        ...     ("x", "y"),
        ... )
        >>> spiral
        MappedBox(rho=(0, 1), theta=(0, 3); x, y)
    """

    def __init__(
        self,
        box: Box,
        to: Map,
        physical: Sequence[str],
        *,
        periodic: Sequence[str] = (),
        points: Mapping[str, str] | None = None,
        back: Map | None = None,
        scales: Scales | None = None,
        name: str = "MappedBox",
    ):
        if not isinstance(box, Box):
            raise TypeError(f"pinns.MappedBox: `box` must be a pinns.Box, got {box!r}")
        super().__init__(**dict(zip(box.names, box.intervals, strict=True)))
        self.to, self.back, self.title = to, back, name
        self.curved = _arguments(to, box)
        self.physical_names = _physical(physical, self)
        self.periodic = tuple(periodic)
        self.ends = dict(points or {})
        for axis in (*self.periodic, *self.ends):
            self.axis(axis, owner=f"pinns.{name}")
        self.scales = _found(self) if scales is None else scales

    def __repr__(self) -> str:
        inner = super().__repr__().removeprefix("Box(").removesuffix(")")
        return f"{self.title}({inner}; {', '.join(self.physical_names)})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, MappedBox)
            and super().__eq__(other)
            and (self.title, self.periodic, self.ends)
            == (other.title, other.periodic, other.ends)
            and (self.title != "MappedBox" or self.to is other.to)
        )

    def __hash__(self) -> int:
        return hash((self.names, self.intervals, self.title))

    def face(self, name: str, side: str) -> str | None:
        """Returns which ends are boundary: none of a closed axis, no inner points."""
        if name in self.periodic:
            return None
        inner = self.ends.get(name)
        if inner == "both":
            return None
        outer = {"lower": "upper", "upper": "lower", None: side}[inner]
        return outer if side in ("ends", outer) else None

    def physical(self, coordinates: Sequence[Array]) -> list[Array]:
        """Returns the physical coordinates of `physical_names`."""
        own = [coordinates[self.names.index(name)] for name in self.curved]
        return [jnp.asarray(x) for x in self.to(*own)]

    def to_physical(self, points: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Returns physical points: mapped columns in place of those of the axes."""
        points = jnp.asarray(points)
        columns = [points[..., i] for i in range(self.dimension)]
        mapped = iter(self.physical(columns))
        wide = [
            next(mapped) if n in self.curved else c
            for n, c in zip(self.names, columns, strict=True)
        ]
        return jnp.stack(jnp.broadcast_arrays(*wide), axis=-1)

    def from_physical(self, points: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        """Returns the coordinates of physical points, columns as in `to_physical`.

        Raises:
            ValueError: no inverse is known, or a point lies outside the domain.
        """
        if self.back is None:
            raise ValueError(
                f"pinns.MappedBox.from_physical: {self!r} was made without `back`, the "
                "inverse of `to`; give points in its own coordinates"
            )
        points = jnp.asarray(points)
        columns = [points[..., i] for i in range(self.dimension)]
        places = [self.names.index(n) for n in self.curved]
        own = self.back(*(columns[i] for i in sorted(places)))
        for i, value in zip(places, own, strict=True):
            lower, upper = self.intervals[i]
            if self.names[i] in self.periodic:
                value = lower + jnp.mod(value - lower, upper - lower)
            columns[i] = value
        found = jnp.stack(columns, axis=-1)
        self._check_inside(points, found)
        return found

    def volume(self, coordinates: Sequence[Array]) -> list[Array]:
        """Returns one factor (n,) per axis of the Jacobian."""
        factors = [jnp.ones_like(x) for x in coordinates]
        for own in self.scales.values():
            for name, function in own.items():
                k = self.names.index(name)
                factors[k] = factors[k] * function(coordinates[k])
        return factors

    def points(
        self, counts: Any, sampling: Any = "uniform", *, key=None, dtype="float32"
    ) -> tuple[AxisPoints, ...]:
        """Returns one `AxisPoints` per axis, see `Box.points`.

        The weights carry the Jacobian, so that a weighted mean is one over the physical
        volume.
        """
        plain = super().points(counts, sampling, key=key, dtype=dtype)
        jacobian = self.volume([p.coordinates for p in plain])
        out = []
        for (x, w), factor, name in zip(plain, jacobian, self.names, strict=True):
            if any(name in own for own in self.scales.values()):
                weight = factor if w is None else w * factor
                w = weight / jnp.sum(weight)
            out.append(AxisPoints(x, w))
        return tuple(out)

    def outward(self, axis: int, slope: Any, coordinates: Sequence[Array]) -> Any:
        """Returns the derivative per unit length, `(1/h) du/dxi`."""
        return self._scaled(self.names[axis], slope, coordinates, -1)

    def laplacian(self, u: Any, coordinates: Sequence[Array] = ()) -> Any:
        """Returns the Laplacian of a field in these coordinates, without `t`."""
        total: Any = None
        for name in self.space:
            term = u.d(name, 2)
            slope = self._logarithmic_slope(name, coordinates)
            if slope is not None:
                term = u.d(name) * slope + term
            term = self._scaled(name, term, coordinates, -2)
            total = term if total is None else total + term
        return total

    def gradient(
        self, u: Any, coordinates: Sequence[Array] = (), frame: str = "axes"
    ) -> tuple:
        """Returns derivatives per unit length, along the axes or in Cartesian frame."""
        check_frame(frame)
        if frame == "axes":
            return tuple(
                self._scaled(name, u.d(name), coordinates, -1) for name in self.space
            )
        steps = {name: self._tangent(name, coordinates) for name in self.curved}
        mapped = iter(range(len(self.curved)))
        out = []
        for name in self.space:
            if name not in self.curved:
                out.append(u.d(name))
                continue
            j = next(mapped)
            parts = [
                self._scaled(n, u.d(n) * steps[n][j], coordinates, -2)
                for n in self.curved
            ]
            out.append(sum(parts[1:], start=parts[0]))
        return tuple(out)

    def _scaled(self, name: str, value: Any, coordinates, power: int) -> Any:
        """Returns `h^power value`; each factor of h multiplies by itself."""
        for other, function in self.scales.get(name, {}).items():
            factor = function(coordinates[self.names.index(other)])
            value = value * factor**power
        return value

    def _logarithmic_slope(self, name: str, coordinates) -> Array | None:
        """Returns `d log(J / h_i^2) / d xi_i`, a function of xi_i; None if zero."""
        x = coordinates[self.names.index(name)]
        total = None
        for owner, own in self.scales.items():
            if name not in own:
                continue
            value, slope = jax.jvp(own[name], (x,), (jnp.ones_like(x),))
            part = (-1.0 if owner == name else 1.0) * slope / value
            total = part if total is None else total + part
        return total

    def _tangent(self, name: str, coordinates) -> list[Array]:
        """Returns the derivatives of the physical coordinates along an axis."""
        k = self.names.index(name)

        def along(x):
            moved = [x if i == k else c for i, c in enumerate(coordinates)]
            return self.physical(moved)

        x = coordinates[k]
        shape = jnp.broadcast_shapes(*(c.shape for c in coordinates))
        wide = jnp.broadcast_to(x, shape)
        return jax.jvp(along, (wide,), (jnp.ones_like(wide),))[1]

    def _check_inside(self, points, found) -> None:
        if isinstance(found, jax.core.Tracer):
            return
        flat = np.asarray(found).reshape(-1, self.dimension)
        lower, upper = np.asarray(self.intervals).T
        slack = 1e-5 * (upper - lower)
        inside = ((flat >= lower - slack) & (flat <= upper + slack)).all(axis=1)
        if not inside.all():
            row = int(np.argmin(inside))
            point = np.asarray(points).reshape(-1, self.dimension)[row]
            raise ValueError(
                f"pinns.MappedBox.from_physical: point {row} lies outside {self!r}: "
                f"{point}"
            )


def _arguments(to: Map, box: Box) -> tuple[str, ...]:
    code = getattr(to, "__code__", None)
    if not callable(to) or code is None:
        raise TypeError(
            f"pinns.MappedBox: `to` must be a function of axes of the box, got {to!r}"
        )
    names = code.co_varnames[: code.co_argcount]
    if not names or any(n not in box.names or n == "t" for n in names):
        raise ValueError(
            "pinns.MappedBox: `to` must take axes of the box that are no time, among "
            f"({', '.join(box.space)}), got ({', '.join(names)})"
        )
    if sorted(names, key=box.names.index) != list(names):
        raise ValueError(
            "pinns.MappedBox: `to` must take the axes in the order of the box, "
            f"({', '.join(box.names)}), got ({', '.join(names)})"
        )
    return tuple(names)


def _physical(names: Sequence[str], box: MappedBox) -> tuple[str, ...]:
    found = (names,) if isinstance(names, str) else tuple(names)
    clash = [n for n in found if n in box.names]
    if len(found) != len(box.curved) or len(set(found)) != len(found) or clash:
        raise ValueError(
            f"pinns.{box.title}: `physical` must be {len(box.curved)} different names "
            f"that are no axes ({', '.join(box.names)}), got {found!r}"
        )
    values = box.to(*(jnp.ones(2) for _ in box.curved))
    if not isinstance(values, (tuple, list)) or len(values) != len(found):
        raise ValueError(
            f"pinns.{box.title}: `to` must return a tuple of {len(found)} arrays, one "
            f"for each of ({', '.join(found)}), got {values!r}"
        )
    return found


def _found(box: MappedBox) -> Scales:
    """Returns the scale factors of a map, checked on a coarse grid.

    h^2 is a product of functions of one coordinate if and only if
    `h^2(xi) h^2(c)^(m-1) = prod_k h^2(c with xi_k)` for a fixed point c.
    """
    fractions = np.array([0.13, 0.37, 0.52, 0.71, 0.94])
    intervals = [box.interval(name) for name in box.curved]
    m = len(intervals)
    with precision("float64"):
        axes = [jnp.asarray(a + (b - a) * fractions) for a, b in intervals]
        mesh = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, m)
        jacobian = jax.vmap(jax.jacfwd(lambda x: jnp.stack(box.to(*x))))(mesh)
        metric = np.asarray(jnp.einsum("nji,njk->nik", jacobian, jacobian))
    squares = np.einsum("nii->ni", metric)
    if not (np.isfinite(metric).all() and (squares > 0).all()):
        raise ValueError(
            f"pinns.{box.title}: `to` must be smooth and one-to-one inside the box, "
            "got a derivative that is zero or not finite"
        )
    roots = np.sqrt(squares)
    angles = metric / (roots[:, :, None] * roots[:, None, :]) - np.eye(m)
    worst = np.unravel_index(np.argmax(np.abs(angles)), angles.shape)
    if abs(angles[worst]) > 1e-8:
        a, b = (box.curved[i] for i in worst[1:])
        raise ValueError(
            f"pinns.{box.title}: coordinates {a!r} and {b!r} are not orthogonal (the "
            f"cosine of their angle is {angles[worst]:.3g}); supported are {SUPPORTED}"
        )
    scales: Scales = {}
    for i, name in enumerate(box.curved):
        table = roots[:, i].reshape((len(fractions),) * m)
        middle = table[(2,) * m]
        lines = [table[tuple(slice(None) if j == k else 2 for j in range(m))]
                 for k in range(m)]  # fmt: skip
        product = middle ** (1 - m)
        for k, line in enumerate(lines):
            shape = tuple(-1 if j == k else 1 for j in range(m))
            product = product * line.reshape(shape)
        gap = np.abs(product / table - 1).max()
        if gap > 1e-8:
            raise ValueError(
                f"pinns.{box.title}: the scale factor of {name!r} is no product of "
                f"functions of one coordinate (it differs by {gap:.2g}); supported are "
                f"{SUPPORTED}"
            )
        varying = [k for k in range(m) if np.ptp(lines[k]) > 1e-10 * middle]
        if not varying and abs(middle - 1) > CLOSE:
            varying = [i]
        share = middle ** (1 - 1 / max(len(varying), 1))
        own = {box.curved[k]: _factor(box, i, k, share) for k in varying}
        if own:
            scales[name] = own
    return scales


def _factor(box: MappedBox, i: int, k: int, share: float):
    """Returns x -> h_i at the middle with coordinate k = x, divided by its share."""
    intervals = [box.interval(name) for name in box.curved]
    middle = [a + 0.52 * (b - a) for a, b in intervals]

    def scale(x: Array) -> Array:
        wide = [jnp.full_like(x, c) for c in middle]
        wide[k] = x

        def along(xi):
            return [
                jnp.asarray(v)
                for v in box.to(*(xi if j == i else w for j, w in enumerate(wide)))
            ]

        slopes = jax.jvp(along, (wide[i],), (jnp.ones_like(x),))[1]
        return jnp.sqrt(sum((s**2 for s in slopes[1:]), start=slopes[0] ** 2)) / share

    return scale
