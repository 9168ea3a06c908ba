"""The heat equation on the unit square."""

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
    check_wavenumbers,
)


@benchmark
def heat2d(
    diffusivity: float = 0.1,
    mode: tuple[int, int] = (2, 3),
    final_time: float = 1.0,
    hard: bool = False,
) -> Problem:
    """Returns the heat problem in two space dimensions.

    Equation: `u_t = diffusivity (u_xx + u_yy)` on t in [0, final_time], x, y in
    [0, 1]. Conditions: the exact value at t = 0, and u = 0 on the four sides.
    Exact solution, with `mode = (m, n)` and `D = pi^2 diffusivity`:
    `u = exp(-2 D t) sin(pi x) sin(pi y)
    + exp(-(m^2 + n^2) D t) sin(m pi x) sin(n pi y) / 2`,
    which has rank two unless m = n = 1.

    Args:
        diffusivity: positive.
        mode: positive integers, half-waves of the second mode along x and y.
        final_time: end of the time interval, positive.
        hard: satisfy all conditions exactly by construction.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> heat2d(final_time=0.5).box
        Box(t=(0, 0.5), x=(0, 1), y=(0, 1))

    Source: separation of variables; Evans, Partial differential equations, section
    4.1.
    """
    rate = check_number("heat2d", "diffusivity", diffusivity) * math.pi**2
    m, n = check_wavenumbers("heat2d", "mode", mode, 2)
    end = check_number("heat2d", "final_time", final_time)
    check_flags("heat2d", hard=hard)

    def exact(t: Array, x: Array, y: Array) -> Array:
        first = _mode(1, 1, rate, t, x, y)
        return first + 0.5 * _mode(m, n, rate, t, x, y)

    def residual(u: Field) -> Field:
        return u.d("t") - float(diffusivity) * (u.d("x", 2) + u.d("y", 2))

    return Problem(
        Box(t=(0.0, end), x=(0.0, 1.0), y=(0.0, 1.0)),
        residual,
        [
            Initial("t", exact, hard=bool(hard)),
            Dirichlet(0.0, axes=("x", "y"), hard=bool(hard)),
        ],
        exact=exact,
    )


def _mode(m: int, n: int, rate: float, t: Array, x: Array, y: Array) -> Array:
    decay = jnp.exp(-(m**2 + n**2) * rate * t)
    return decay * jnp.sin(m * math.pi * x) * jnp.sin(n * math.pi * y)
