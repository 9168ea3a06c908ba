"""Annulus, disk, spherical shell and ball as boxes in polar coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from pinns.domain import Box, positive_number
from pinns.mapped import FULL, MappedBox


Interval = Sequence[float]


def Annulus(**intervals: Interval) -> MappedBox:
    """Returns the annulus with axes r and theta: `Annulus(r=(1, 2))`.

    `x = r cos(theta)`, `y = r sin(theta)`, scale factors 1 and r. By default theta goes
    round the full angle, where the domain closes; `theta=(0, 1)` is a sector with two
    more faces. Further axes stay as they are: `Annulus(t=(0, 1), r=(1, 2))` adds the
    time, `Annulus(r=(1, 2), z=(0, 3))` makes a tube.

    Args:
        **intervals: r, which must be positive, and any others, in the order of axes.

    Raises:
        ValueError: no r, radii that are not positive, or more than the full angle.

    Example:
        >>> ring = Annulus(r=(1.0, 2.0))
        >>> ring.names, ring.physical_names, ring.periodic
        (('r', 'theta'), ('x', 'y'), ('theta',))
    """
    return _polar("Annulus", _radii("Annulus", intervals), {})


def Disk(radius: float = 1.0, **intervals: Interval) -> MappedBox:
    """Returns the disk of that radius with axes r and theta, as `Annulus`.

    The center is no boundary. Equations have poles there, `u_pp / r^2`, that vanish for
    smooth u: points are taken inside only, and weighed with r.

    Args:
        radius: positive. **intervals: of other axes, `theta` among them.

    Raises:
        ValueError: see `Annulus`.

    Example:
        >>> Disk(2.0).face("r", "ends")
        'upper'
    """
    radius = positive_number(radius, "pinns.Disk", "radius")
    box = _whole("Disk", radius, intervals)
    return _polar("Disk", box, {"r": "lower"})


def SphericalShell(**intervals: Interval) -> MappedBox:
    """Returns the shell with axes r, theta and phi: `SphericalShell(r=(1, 2))`.

    `x = r sin(theta) cos(phi)`, `y = r sin(theta) sin(phi)`, `z = r cos(theta)`, scale
    factors 1, r and r sin(theta). By default theta goes from pole to pole and phi round
    the full angle; poles and seam are no faces. Further axes, such as `t`, stay.

    Args:
        **intervals: r, which must be positive, and any others, in the order of axes.

    Raises:
        ValueError: no r, radii that are not positive, angles outside their range.

    Example:
        >>> shell = SphericalShell(r=(1.0, 2.0))
        >>> [shell.face(name, "ends") for name in shell.names]
        ['ends', None, None]
    """
    box = _radii("SphericalShell", intervals)
    return _spherical("SphericalShell", box, {})


def Ball(radius: float = 1.0, **intervals: Interval) -> MappedBox:
    """Returns the ball of that radius with the axes of `SphericalShell`.

    Args:
        radius: positive. **intervals: of other axes.

    Raises:
        ValueError: see `SphericalShell`.
    """
    radius = positive_number(radius, "pinns.Ball", "radius")
    return _spherical("Ball", _whole("Ball", radius, intervals), {"r": "lower"})


def _radii(owner: str, intervals: dict[str, Any]) -> dict[str, Any]:
    if "r" not in intervals:
        raise ValueError(
            f"pinns.{owner}: expected the radii r=(inner, outer), got axes "
            f"({', '.join(intervals)})"
        )
    lower, _ = Box(**intervals).interval("r")
    if lower <= 0:
        whole = {"Annulus": "Disk", "SphericalShell": "Ball"}[owner]
        raise ValueError(
            f"pinns.{owner}: `r` must be positive, got {intervals['r']!r}; a domain "
            f"with its center is pinns.{whole}"
        )
    return intervals


def _whole(owner: str, radius: float, intervals: dict[str, Any]) -> dict[str, Any]:
    if "r" in intervals:
        raise ValueError(
            f"pinns.{owner}: r goes from 0 to `radius`, got r={intervals['r']!r}"
        )
    before = {"t": intervals["t"]} if "t" in intervals else {}
    return {**before, "r": (0.0, radius), **intervals}


def _completed(owner: str, intervals: dict, name: str, full: float) -> Box:
    if name not in intervals:
        intervals = {**intervals, name: (0.0, full)}
    box = Box(**intervals)
    a, b = box.interval(name)
    if b - a > full * (1 + 1e-12):
        raise ValueError(
            f"pinns.{owner}: `{name}` must span at most {full:.6g}, got ({a:g}, {b:g})"
        )
    return box


def _closed(box: Box, name: str) -> tuple[str, ...]:
    a, b = box.interval(name)
    return (name,) if b - a >= FULL * (1 - 1e-12) else ()


def _ordered(owner: str, box: Box, names: Sequence[str]) -> Box:
    if [n for n in box.names if n in names] != list(names):
        raise ValueError(
            f"pinns.{owner}: axes must come in the order {', '.join(names)}, "
            f"got ({', '.join(box.names)})"
        )
    return box


def _polar(owner: str, intervals: dict, points: dict[str, str]) -> MappedBox:
    box = _ordered(owner, _completed(owner, intervals, "theta", FULL), ("r", "theta"))
    return MappedBox(
        box,
        _from_polar,
        ("x", "y"),
        periodic=_closed(box, "theta"),
        points=points,
        back=_around(_to_polar, box, "theta"),
        scales={"theta": {"r": _same}},
        name=owner,
    )


def _spherical(owner: str, intervals: dict, points: dict[str, str]) -> MappedBox:
    box = _completed(owner, intervals, "theta", math.pi)
    a, b = box.interval("theta")
    if a < 0 or b > math.pi * (1 + 1e-12):
        raise ValueError(
            f"pinns.{owner}: `theta` must lie in [0, pi], got ({a:g}, {b:g})"
        )
    box = _completed(
        owner, dict(zip(box.names, box.intervals, strict=True)), "phi", FULL
    )
    box = _ordered(owner, box, ("r", "theta", "phi"))
    poles = (a < 1e-12, b > math.pi * (1 - 1e-12))
    if any(poles):
        side = "both" if all(poles) else "lower" if poles[0] else "upper"
        points = {**points, "theta": side}
    return MappedBox(
        box,
        _from_spherical,
        ("x", "y", "z"),
        periodic=_closed(box, "phi"),
        points=points,
        back=_around(_to_spherical, box, "phi"),
        scales={"theta": {"r": _same}, "phi": {"r": _same, "theta": jnp.sin}},
        name=owner,
    )


def _same(x):
    return x


def _from_polar(r, theta):
    return r * jnp.cos(theta), r * jnp.sin(theta)


def _to_polar(x, y):
    return jnp.hypot(x, y), jnp.arctan2(y, x)


def _from_spherical(r, theta, phi):
    across = r * jnp.sin(theta)
    return across * jnp.cos(phi), across * jnp.sin(phi), r * jnp.cos(theta)


def _to_spherical(x, y, z):
    across = jnp.hypot(x, y)
    return jnp.hypot(across, z), jnp.arctan2(across, z), jnp.arctan2(y, x)


def _around(back, box: Box, name: str):
    """Returns the inverse whose last angle starts at the lower end of its axis."""
    lower, upper = box.interval(name)
    # A point just below the lower end of a sector must not come out a turn above.
    start = lower - 0.5 * max(FULL - (upper - lower), 0.0)

    def inverse(*x):
        *others, angle = back(*x)
        return (*others, start + jnp.mod(angle - start, FULL))

    return inverse
