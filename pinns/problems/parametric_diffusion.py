"""Anisotropic diffusion on the unit square, its two coefficients as further axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns.conditions import Dirichlet
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
def parametric_diffusion(
    mode: tuple[int, int] = (1, 2),
    coefficients: tuple[float, float] = (0.5, 2.0),
    hard: bool = False,
) -> Problem:
    """Returns a diffusion problem for all values of two coefficients at once.

    Equation: `a u_xx + b u_yy + f = 0` with `f = sin(pi x) sin(pi y)
    + 2 sin(m pi x) sin(n pi y)` on x, y in [0, 1] and a, b in the interval
    `coefficients`: the coefficients are axes of the box like x and y, without
    derivatives. `solution(x, y, 0.7, 1.3)` is the answer for a = 0.7 and b = 1.3.
    Condition: u = 0 on the four sides x, y = 0, 1.
    Exact solution, with `mode = (m, n)`:
    `u = sin(pi x) sin(pi y) / (pi^2 (a + b))
    + 2 sin(m pi x) sin(n pi y) / (pi^2 (m^2 a + n^2 b))`,
    which is no finite sum of products of functions of one coordinate.

    Args:
        mode: positive integers, half-waves of the second mode along x and y.
        coefficients: lower and upper end for a and b, positive.
        hard: satisfy the condition exactly by construction.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> parametric_diffusion().box
        Box(x=(0, 1), y=(0, 1), a=(0.5, 2), b=(0.5, 2))

    Source: separation of variables; Evans, Partial differential equations, section
    6.5.
    """
    m, n = check_wavenumbers("parametric_diffusion", "mode", mode, 2)
    low, high = _interval(coefficients)
    check_flags("parametric_diffusion", hard=hard)

    def exact(x: Array, y: Array, a: Array, b: Array) -> Array:
        first = _wave(1, 1, x, y) / (math.pi**2 * (a + b))
        return first + 2.0 * _wave(m, n, x, y) / (math.pi**2 * (m**2 * a + n**2 * b))

    def residual(u: Field, x: Array, y: Array, a: Array, b: Array) -> Field:
        source = _wave(1, 1, x, y) + 2.0 * _wave(m, n, x, y)
        return a * u.d("x", 2) + b * u.d("y", 2) + source

    return Problem(
        Box(x=(0.0, 1.0), y=(0.0, 1.0), a=(low, high), b=(low, high)),
        residual,
        [Dirichlet(0.0, axes=("x", "y"), hard=bool(hard))],
        exact=exact,
    )


def _wave(m: int, n: int, x: Array, y: Array) -> Array:
    return jnp.sin(m * math.pi * x) * jnp.sin(n * math.pi * y)


def _interval(coefficients: Sequence[float]) -> tuple[float, float]:
    owner, name = "parametric_diffusion", "coefficients"
    pair = isinstance(coefficients, (tuple, list, np.ndarray))
    if not pair or len(coefficients) != 2:
        raise ValueError(
            f"pinns.problems.{owner}: `{name}` must be a pair of positive numbers, "
            f"got {coefficients!r}"
        )
    low, high = (check_number(owner, name, value) for value in coefficients)
    if not low < high:
        raise ValueError(
            f"pinns.problems.{owner}: `{name}` must be ascending, got {coefficients!r}"
        )
    return low, high
