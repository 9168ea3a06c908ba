"""Poisson's equation on the unit cube of any dimension."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Dirichlet
from pinns.domain import Box, positive_integer
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._options import benchmark, check_flags


@benchmark
def poisson(dimension: int = 5, hard: bool = False) -> Problem:
    """Returns the Poisson problem in `dimension` dimensions.

    Equation: `sum_i d^2u/dx_i^2 = -(pi^2/4) sum_i sin(pi x_i / 2)` on [0, 1]^d with
    axes x1, ..., xd. Condition: the exact value on the 2d faces.
    Exact solution: `u = sum_i sin(pi x_i / 2)`.

    The sums run over one-dimensional arrays that broadcast: no grid is formed here
    before points are given, and the problem can be stated for d = 100 as well.

    Args:
        dimension: number d of axes, positive.
        hard: satisfy the condition exactly by construction, for d <= 6: the lift of
            the boundary values costs 3^d evaluations. From d = 2 on, the lift of a
            sum of functions of one coordinate is that sum: it already is the
            solution and nothing is left to learn, so no benchmark of a model.

    Raises:
        ValueError: an option outside its range, or `hard` with more than six axes.

    Example:
        >>> poisson(dimension=3).box
        Box(x1=(0, 1), x2=(0, 1), x3=(0, 1))

    Source: Zeng et al., Feature mapping in physics-informed neural networks, 2024;
    Vemuri et al., Functional tensor decompositions for physics-informed neural
    networks, ICPR 2024, table 1 (d = 5).
    """
    positive_integer(dimension, "pinns.problems.poisson", "dimension")
    check_flags("poisson", hard=hard)
    box = Box.cube(int(dimension))

    def residual(u: Field, *x: Array) -> Field:
        laplacian = u.d(box.names[0], 2)
        for axis in box.names[1:]:
            laplacian = laplacian + u.d(axis, 2)
        return laplacian + 0.25 * math.pi**2 * _exact(*x)

    return Problem(box, residual, [Dirichlet(_exact, hard=bool(hard))], exact=_exact)


def _exact(*x: Array) -> Array:
    total = jnp.sin(0.5 * math.pi * x[0])
    for coordinate in x[1:]:
        total = total + jnp.sin(0.5 * math.pi * coordinate)
    return total
