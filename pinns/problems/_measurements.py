"""Synthetic measurements for the inverse problems: an exact solution with noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns.conditions import Data
from pinns.domain import Box
from pinns.problems._options import check_number, check_wavenumber


class Measurements(NamedTuple):
    """data: the condition. noise: standard deviation of what was added."""

    data: Data
    noise: float


def synthetic_measurements(
    owner: str,
    exact: Callable[..., Array],
    box: Box,
    measurements: int,
    noise: float,
    seed: int,
) -> Measurements:
    """Returns values of an exact solution at random points, with Gaussian noise.

    Args:
        owner: name of the problem, for errors.
        exact: function of all coordinates.
        box: where the points are drawn from, uniformly.
        measurements: their number, positive.
        noise: standard deviation of the noise as a share of the root mean square of
            the values, not negative.
        seed: of the key that draws points and noise; the same points for every noise.

    Raises:
        ValueError: an option outside its range.
    """
    count = check_wavenumber(owner, "measurements", measurements)
    level = check_number(owner, "noise", noise, closed=True)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(
            f"pinns.problems.{owner}: `seed` must be an integer of at least 0, "
            f"got {seed!r}"
        )
    key_points, key_noise = jax.random.split(jax.random.key(int(seed)))
    with jax.enable_x64(True):
        lower, upper = np.asarray(box.intervals).T
        unit = np.asarray(jax.random.uniform(key_points, (count, box.dimension)))
        points = lower + (upper - lower) * unit
        values = np.asarray(exact(*jnp.asarray(points).T))
        drawn = np.asarray(jax.random.normal(key_noise, (count,)))
    deviation = float(level * np.sqrt(np.mean(values**2)))
    places: Any = points
    noisy: Any = values + deviation * drawn
    data = Data(places, noisy, name="measurements")
    return Measurements(data, deviation)
