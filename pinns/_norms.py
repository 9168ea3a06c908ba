"""Where errors are measured: grids, random points, and sums over the domain."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns.domain import Box
from pinns.masked import kept


# Largest tensor grid on which errors are measured; beyond it, random points.
MAX_TEST_VALUES = 4 * 10**7


def error_grid(dimension: int, values: int = MAX_TEST_VALUES) -> int:
    """Returns the points per axis of the test grid: at most 100 in 3-d, 32 in 5-d."""
    return max(2, min(1000 if dimension == 1 else 100, int(values ** (1 / dimension))))


def random_points(box: Box, count: int, seed: int) -> np.ndarray:
    """Returns (count, d) uniform points of the domain, the same for the same seed."""
    lower, upper = np.asarray(box.intervals).T
    candidates = int(1.5 * count / getattr(box, "share", 1 / 1.5)) + 64
    if box.inside([jnp.zeros(1)] * box.dimension) is None:
        candidates = count
    rng = np.random.default_rng([seed, 0x5E9A])
    points = lower + (upper - lower) * rng.random((candidates, box.dimension))
    return np.asarray(kept(box, points, count))


def error_sums(
    box: Box, coordinates: Sequence[Array], ours: Array, theirs: Array
) -> tuple[Array, Array, Array]:
    """Returns sums of squares of gap and `theirs` over the domain, and the largest."""
    gap, theirs = ours - theirs, jnp.broadcast_to(theirs, ours.shape)
    squares, largest = (gap**2, theirs**2), jnp.abs(gap)
    density, inside = box.density(coordinates), box.inside(coordinates)
    if density is not None:
        squares = (density * squares[0], density * squares[1])
    if inside is not None:
        largest = jnp.where(inside, largest, 0.0)
    return jnp.sum(squares[0]), jnp.sum(squares[1]), jnp.max(largest)
