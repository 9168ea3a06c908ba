"""Burgers' equation with unknown strengths of convection and diffusion."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array

from pinns.domain import Box
from pinns.field import Field
from pinns.parameters import Unknown
from pinns.problem import Problem
from pinns.problems._measurements import synthetic_measurements
from pinns.problems._options import benchmark, check_number


@benchmark
def unknown_burgers(
    convection: float = 1.0,
    viscosity: float = 0.1,
    noise: float = 0.01,
    measurements: int = 300,
    seed: int = 0,
) -> Problem:
    """Returns the inverse problem of two numbers in Burgers' equation (synthetic data).

    Equation: `u_t + lambda_1 u u_x - lambda_2 u_xx = f` on t in [0, 1], x in [-1, 1],
    the one-dimensional model of the Navier-Stokes equations, with unknown strengths of
    convection and diffusion and the known force f that belongs to the solution below.
    Nothing else is known but noisy values of u at random points: neither boundary nor
    initial values.
    Exact solution: `u = 1/2 + exp(-t) sin(pi x) + cos(3 t) cos(pi x) / 2`. The search
    starts at lambda_1 = 0 and lambda_2 = 1.

    Args:
        convection: the true lambda_1, positive.
        viscosity: the true lambda_2, positive.
        noise: standard deviation of the noise relative to the root mean square of u.
        measurements: number of measured values.
        seed: of points and noise.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> unknown_burgers().parameters.names
        ('lambda_1', 'lambda_2')

    Source: the question is that of Raissi, Perdikaris & Karniadakis 2019, section 4;
    the solution is chosen freely.
    """
    owner = "unknown_burgers"
    strength = check_number(owner, "convection", convection)
    nu = check_number(owner, "viscosity", viscosity)
    box = Box(t=(0.0, 1.0), x=(-1.0, 1.0))

    def exact(t: Array, x: Array) -> Array:
        waves = jnp.exp(-t) * jnp.sin(math.pi * x)
        return 0.5 + waves + 0.5 * jnp.cos(3.0 * t) * jnp.cos(math.pi * x)

    def force(t: Array, x: Array) -> Array:
        w = math.pi
        a, b = jnp.exp(-t), 0.5 * jnp.cos(3.0 * t)
        sine, cosine = jnp.sin(w * x), jnp.cos(w * x)
        rate = -a * sine - 1.5 * jnp.sin(3.0 * t) * cosine
        slope = w * (a * cosine - b * sine)
        u = 0.5 + a * sine + b * cosine
        return rate + strength * u * slope + nu * w**2 * (a * sine + b * cosine)

    def residual(
        u: Field, lambda_1: Field, lambda_2: Field, t: Array, x: Array
    ) -> Field:
        moving = u.d("t") + lambda_1 * u * u.d("x") - lambda_2 * u.d("x", 2)
        return moving - force(t, x)

    made = synthetic_measurements(owner, exact, box, measurements, noise, seed)
    problem = Problem(
        box,
        residual,
        [made.data],
        parameters={
            "lambda_1": Unknown(0.0, exact=strength),
            "lambda_2": Unknown(1.0, positive=True, exact=nu),
        },
        exact=exact,
    )
    problem.noise = made.noise
    return problem
