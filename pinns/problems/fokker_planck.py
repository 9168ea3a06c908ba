"""The density of an Ornstein-Uhlenbeck process in any dimension."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Dirichlet, Initial
from pinns.domain import Box, positive_integer
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._options import benchmark, check_number


START_MEAN, START_VARIANCE = 0.5, 0.125
# The density is below exp(-36) = 2e-16 of its maximum at the faces of the box.
EXPONENT = 36.0


@benchmark
def fokker_planck(
    dimension: int = 6,
    drift: float = 1.0,
    diffusion: float = 0.25,
    final_time: float = 1.0,
) -> Problem:
    """Returns the Fokker-Planck problem in `dimension` space dimensions.

    Equation: `u_t = sum_i (drift (x_i u)_i + diffusion u_ii)` on t in [0, final_time]
    and x in [-w, w]^d with axes t, x1, ..., xd: particles that are pulled to the
    origin while they diffuse. Conditions: a Gaussian of mean 1/2 and variance 1/8 on
    every axis at t = 0, and u = 0 on the 2d faces (hard), where the solution on all
    of space is below 1e-15: `w = 1/2 + sqrt(72 v_max)`.
    Exact solution: `u = prod_i sqrt(v_0 / v) exp(-(x_i - m)^2 / (2 v))` with
    `m = exp(-drift t) / 2` and
    `v = v_1 + (1/8 - v_1) exp(-2 drift t)`, `v_1 = diffusion / drift`. It is one
    product at any time but not in time and space together.

    Args:
        dimension: number d of space axes, positive.
        drift: rate of the pull, positive.
        diffusion: positive.
        final_time: end of the time interval, positive.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> fokker_planck(dimension=2).box.names
        ('t', 'x1', 'x2')

    Source: Risken, The Fokker-Planck equation, section 5.3 (Ornstein-Uhlenbeck
    process).
    """
    positive_integer(dimension, "pinns.problems.fokker_planck", "dimension")
    rate = check_number("fokker_planck", "drift", drift)
    spread = check_number("fokker_planck", "diffusion", diffusion)
    end = check_number("fokker_planck", "final_time", final_time)
    d, final = int(dimension), spread / rate
    largest = max(START_VARIANCE, final)
    width = START_MEAN + math.sqrt(2.0 * EXPONENT * largest)
    side = (-width, width)
    box = Box(t=(0.0, end), **{f"x{i + 1}": side for i in range(d)})

    def exact(t: Array, *x: Array) -> Array:
        mean = START_MEAN * jnp.exp(-rate * t)
        variance = final + (START_VARIANCE - final) * jnp.exp(-2.0 * rate * t)
        square = (x[0] - mean) ** 2
        for coordinate in x[1:]:
            square = square + (coordinate - mean) ** 2
        scale = (START_VARIANCE / variance) ** (0.5 * d)
        return scale * jnp.exp(-square / (2.0 * variance))

    def start(t: Array, *x: Array) -> Array:
        # One coordinate after the other: the exponential of a sum is a product.
        square = (x[0] - START_MEAN) ** 2
        for coordinate in x[1:]:
            square = square + (coordinate - START_MEAN) ** 2
        return jnp.exp(-square / (2.0 * START_VARIANCE))

    def residual(u: Field, t: Array, *x: Array) -> Field:
        flow = u.d("t") - rate * d * u
        for axis, coordinate in zip(box.names[1:], x, strict=True):
            flow = flow - spread * u.d(axis, 2) - (rate * coordinate) * u.d(axis)
        return flow

    conditions = [Initial("t", start), Dirichlet(0.0, axes=box.names[1:], hard=True)]
    return Problem(box, residual, conditions, exact=exact)
