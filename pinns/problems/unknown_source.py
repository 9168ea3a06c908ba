"""Poisson's equation on the unit square with an unknown separable source."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Dirichlet
from pinns.domain import Box
from pinns.field import Field
from pinns.parameters import Unknown
from pinns.problem import Problem
from pinns.problems._measurements import synthetic_measurements
from pinns.problems._options import benchmark
from pinns.separable import CP


@benchmark
def unknown_source(
    noise: float = 0.01, measurements: int = 400, seed: int = 0
) -> Problem:
    """Returns the inverse problem of a source on the unit square (synthetic data).

    Equation: `u_xx + u_yy + q = 0` on x, y in [0, 1] with an unknown source q, sought
    as two products of polynomials of degree 7 in x and y. Conditions: u = 0 on the
    four sides, and noisy values of u at random points.
    Exact solution: `u = (sin(pi x) + sin(2 pi x) / 2) sin(pi y)`.
    True source: `q = pi^2 (2 sin(pi x) + 5/2 sin(2 pi x)) sin(pi y)`; the search starts
    near zero.

    Args:
        noise: standard deviation of the noise relative to the root mean square of u.
        measurements: number of measured values.
        seed: of points and noise.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> unknown_source().parameters.functions
        ('q',)

    Source: made for this test; the exact solution is chosen freely.
    """
    box = Box(x=(0.0, 1.0), y=(0.0, 1.0))

    def exact(x: Array, y: Array) -> Array:
        w = math.pi
        return (jnp.sin(w * x) + 0.5 * jnp.sin(2.0 * w * x)) * jnp.sin(w * y)

    def source(x: Array, y: Array) -> Array:
        w = math.pi
        along = 2.0 * jnp.sin(w * x) + 2.5 * jnp.sin(2.0 * w * x)
        return w**2 * along * jnp.sin(w * y)

    def residual(u: Field, q: Field) -> Field:
        return u.d("x", 2) + u.d("y", 2) + q

    made = synthetic_measurements(
        "unknown_source", exact, box, measurements, noise, seed
    )
    model = CP(rank=2, network="legendre", hidden=(8,))
    problem = Problem(
        box,
        residual,
        [Dirichlet(0.0, hard=True), made.data],
        parameters={"q": Unknown(0.0, axes=("x", "y"), model=model, exact=source)},
        exact=exact,
    )
    problem.noise = made.noise
    return problem
