"""Boxes with a mask: domains of any shape, for pointwise networks.

The domain is where a function of the coordinates is true, or positive. Points are drawn
in the box and kept inside; no tensor grid fits such a domain, so separable models
refuse it. Conditions on its inner boundary are stated at points, see `pinns.Boundary`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from pinns.domain import Box
from pinns.mapped import SUPPORTED


# Points on which the share of the domain in its box is measured.
PROBES = 20_000
MIN_SHARE = 1e-3


class MaskedBox(Box):
    """The part of a box where a mask holds, for `pinns.MLP`.

    Args:
        mask: a function of coordinates by name, with jax.numpy: true inside, or a level
            set that is positive inside.
        **intervals: as for `Box`.

    Raises:
        TypeError: no function. ValueError: arguments that are no axes, values of
            another shape than the coordinates', or a share of the box below 0.1 %.

    Example:
        >>> hole = MaskedBox(lambda x, y: x**2 + y**2 > 0.25, x=(-1, 1), y=(-1, 1))
        >>> hole.inside([jnp.array([0.0, 0.9]), jnp.array([0.1, 0.9])]).tolist()
        [False, True]
        >>> print(round(hole.share, 1))
        0.8
    """

    def __init__(self, mask: Callable[..., Any], **intervals: Sequence[float]):
        super().__init__(**intervals)
        code = getattr(mask, "__code__", None)
        if not callable(mask) or code is None:
            raise TypeError(
                "pinns.MaskedBox: `mask` must be a function of coordinates, "
                f"got {mask!r}"
            )
        names = code.co_varnames[: code.co_argcount]
        if not names or any(n not in self.names for n in names):
            raise ValueError(
                "pinns.MaskedBox: `mask` must take axes among "
                f"({', '.join(self.names)}), got ({', '.join(names)})"
            )
        self.mask, self._taken = mask, tuple(self.names.index(n) for n in names)
        unit = np.random.default_rng(0).random((PROBES, self.dimension))
        lower, upper = np.asarray(self.intervals).T
        probes = jnp.asarray(lower + (upper - lower) * unit, jnp.float32)
        columns = list(probes.T)
        self._check_shape(columns)
        self.share = float(jnp.mean(self.inside(columns)))
        if self.share < MIN_SHARE:
            raise ValueError(
                f"pinns.MaskedBox: `mask` holds on {100 * self.share:.2g} % of the "
                f"box, expected at least {100 * MIN_SHARE:g} %; take a smaller box"
            )

    def __repr__(self) -> str:
        inner = super().__repr__().removeprefix("Box(").removesuffix(")")
        return f"MaskedBox({inner})"

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and getattr(other, "mask", None) is self.mask

    def __hash__(self) -> int:
        return hash((self.names, self.intervals, self.mask))

    def inside(self, coordinates: Sequence[Array]) -> Bool[Array, "..."]:
        """Returns where the mask holds, in the shape of the coordinates together."""
        shape = jnp.broadcast_shapes(*(jnp.shape(c) for c in coordinates))
        value = self.mask(*(jnp.asarray(coordinates[i]) for i in self._taken))
        return jnp.broadcast_to(jnp.asarray(value) > 0, shape)

    def density(self, coordinates: Sequence[Array]) -> Array:
        """Returns 1 inside and 0 outside."""
        return self.inside(coordinates).astype(coordinates[0].dtype)

    def refuse(self, owner: str, what: str) -> None:
        """Raises ValueError: a tensor grid does not fit the domain."""
        raise ValueError(
            f"{owner}: {what} needs tensor grids, which do not fit {self!r}; train "
            f"model=pinns.MLP(...) by method='adam'. Supported domains are {SUPPORTED}"
        )

    def _check_shape(self, columns: list[Array]) -> None:
        value = self.mask(*(columns[i] for i in self._taken))
        if jnp.shape(value) != columns[0].shape:
            raise ValueError(
                "pinns.MaskedBox: `mask` must return an array of the shape of its "
                f"coordinates, {columns[0].shape}, got {jnp.shape(value)}"
            )


def drawn(
    box: Box,
    key: Array,
    count: int,
    dtype: Any,
    *,
    pinned: tuple[int, float] | None = None,
) -> Float[Array, "n d"]:
    """Returns uniform points inside the domain, jit-able.

    Args:
        box: plain, mapped or masked.
        key: typed random key. count: number of points.
        pinned: an axis and its value, for points on a face.
    """
    share = getattr(box, "share", 1.0)
    candidates = count if share == 1.0 else int(1.5 * count / share) + 64
    lower, upper = (jnp.asarray(e, dtype)[None] for e in np.asarray(box.intervals).T)
    unit = jax.random.uniform(key, (candidates, box.dimension), dtype)
    points = lower + (upper - lower) * unit
    if pinned is not None:
        points = points.at[:, pinned[0]].set(pinned[1])
    return kept(box, points, count)


def kept(box: Box, points: Float[Array, "m d"], count: int) -> Float[Array, "n d"]:
    """Returns the first `count` points inside; too few of them are repeated."""
    inside = box.inside(list(points.T))
    if inside is None:
        return points[:count]
    order = jnp.argsort(~inside, stable=True)
    total = jnp.maximum(jnp.sum(inside), 1)
    return points[order[jnp.arange(count) % total]]


def face_share(box: Box, axis: int, end: float) -> float:
    """Returns the share of a face that lies inside, measured on some points."""
    lower, upper = np.asarray(box.intervals).T
    unit = np.random.default_rng(1).random((PROBES // 4, box.dimension))
    points = lower + (upper - lower) * unit
    points[:, axis] = end
    inside = box.inside(list(jnp.asarray(points, jnp.float32).T))
    return 1.0 if inside is None else float(jnp.mean(inside))
