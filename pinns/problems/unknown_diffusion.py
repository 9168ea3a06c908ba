"""Diffusion with an unknown coefficient, a number or a function of x."""

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


KINDS = ("constant", "function")
# The true coefficient is VALUE, or VALUE (1 + sin(pi x) / 2).
VALUE = 0.1


@benchmark
def unknown_diffusion(
    coefficient: str = "constant",
    noise: float = 0.01,
    measurements: int = 200,
    seed: int = 0,
) -> Problem:
    """Returns the inverse problem of a diffusion coefficient (synthetic data).

    Equation: `u_t = (k u_x)_x + f` on t in [0, 1], x in [0, 1], with an unknown k and
    the known source f that belongs to the solution below. Conditions: u = 0 at x = 0
    and 1, and noisy values of u at random points; no initial condition is known.
    Exact solution: `u = exp(-t) sin(pi x) + cos(2 t) sin(2 pi x) / 2`.
    True coefficient: `k = 0.1`, or `k = 0.1 (1 + sin(pi x) / 2)`; the search starts at
    1, ten times too high.

    Args:
        coefficient: `constant` (an unknown number) or `function` (of x).
        noise: standard deviation of the noise relative to the root mean square of u.
        measurements: number of measured values.
        seed: of points and noise.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> unknown_diffusion().parameters.names
        ('k',)

    Source: made for this test; the exact solution and its source are chosen freely.
    """
    owner = "unknown_diffusion"
    if coefficient not in KINDS:
        raise ValueError(
            f"pinns.problems.{owner}: `coefficient` must be one of {', '.join(KINDS)}, "
            f"got {coefficient!r}"
        )
    varies = coefficient == "function"
    box = Box(t=(0.0, 1.0), x=(0.0, 1.0))

    def exact(t: Array, x: Array) -> Array:
        first = jnp.exp(-t) * jnp.sin(math.pi * x)
        return first + 0.5 * jnp.cos(2.0 * t) * jnp.sin(2.0 * math.pi * x)

    def bump(x: Array) -> Array:
        return VALUE * (1.0 + 0.5 * jnp.sin(math.pi * x))

    def source(t: Array, x: Array) -> Array:
        w = math.pi
        slow, fast = jnp.exp(-t), 0.5 * jnp.cos(2.0 * t)
        rate = -slow * jnp.sin(w * x) - jnp.sin(2.0 * t) * jnp.sin(2.0 * w * x)
        slope = w * (slow * jnp.cos(w * x) + 2.0 * fast * jnp.cos(2.0 * w * x))
        bend = -(w**2) * (slow * jnp.sin(w * x) + 4.0 * fast * jnp.sin(2.0 * w * x))
        if not varies:
            return rate - VALUE * bend
        return rate - bump(x) * bend - 0.5 * VALUE * w * jnp.cos(w * x) * slope

    def residual(u: Field, k: Field, t: Array, x: Array) -> Field:
        return u.d("t") - (k * u.d("x")).d("x") - source(t, x)

    made = synthetic_measurements(owner, exact, box, measurements, noise, seed)
    unknown = (
        Unknown(1.0, positive=True, axes="x", exact=bump)
        if varies
        else Unknown(1.0, positive=True, exact=VALUE)
    )
    problem = Problem(
        box,
        residual,
        [Dirichlet(0.0, axes="x", hard=True), made.data],
        parameters={"k": unknown},
        exact=exact,
    )
    problem.noise = made.noise
    return problem
