"""The wave equation on an interval: a string with fixed ends."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Dirichlet, Initial
from pinns.domain import Box
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._options import (
    benchmark,
    check_flags,
    check_number,
    check_wavenumber,
)


@benchmark
def wave1d(
    speed: float = 1.0, mode: int = 3, final_time: float = 2.0, hard: bool = False
) -> Problem:
    """Returns the wave problem in one space dimension.

    Equation: `u_tt = speed^2 u_xx` on t in [0, final_time], x in [0, 1]. Conditions:
    the exact value and velocity at t = 0, and u = 0 at both ends.
    Exact solution, two standing waves with `c = pi speed` and `m = mode`:
    `u = cos(c t) sin(pi x) + sin(m c t) sin(m pi x) / 2`.

    Args:
        speed: positive.
        mode: positive integer, half-waves of the second standing wave.
        final_time: end of the time interval, positive.
        hard: satisfy all conditions exactly by construction.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> wave1d(speed=2.0).groups
        ('residual', 'initial(t)', 'initial(t, order=1)', 'dirichlet(x)')

    Source: separation of variables; Evans, Partial differential equations, section
    2.4.
    """
    frequency = check_number("wave1d", "speed", speed) * math.pi
    m = check_wavenumber("wave1d", "mode", mode)
    end = check_number("wave1d", "final_time", final_time)
    check_flags("wave1d", hard=hard)

    def exact(t: Array, x: Array) -> Array:
        first = jnp.cos(frequency * t) * jnp.sin(math.pi * x)
        second = jnp.sin(m * frequency * t) * jnp.sin(m * math.pi * x)
        return first + 0.5 * second

    def initial_velocity(x: Array) -> Array:
        return 0.5 * m * frequency * jnp.sin(m * math.pi * x)

    def residual(u: Field) -> Field:
        return u.d("t", 2) - float(speed) ** 2 * u.d("x", 2)

    return Problem(
        Box(t=(0.0, end), x=(0.0, 1.0)),
        residual,
        [
            Initial("t", exact, hard=bool(hard)),
            Initial("t", initial_velocity, order=1, hard=bool(hard)),
            Dirichlet(0.0, axes="x", hard=bool(hard)),
        ],
        exact=exact,
    )
