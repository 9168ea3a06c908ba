"""Two fluids mixed by a vortex: transport with coefficients that vary in space."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Dirichlet, Initial
from pinns.domain import Box
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._options import benchmark, check_number


HALF_WIDTH = 4.0
# Of the power series below: exact to rounding in float64 for r^2 <= 2 HALF_WIDTH^2.
_SERIES_TERMS = 20


@benchmark
def flow_mixing(max_velocity: float = 0.385, final_time: float = 4.0) -> Problem:
    """Returns the (2+1)-dimensional flow mixing problem.

    Equation: `u_t + a u_x + b u_y = 0` on t in [0, final_time], x, y in [-4, 4], with
    `a = -w y`, `b = w x` and the angular velocity `w = v / (r max_velocity)`, where
    `v = sech(r)^2 tanh(r)` and `r^2 = x^2 + y^2`. Conditions: the exact value at
    t = 0 and on the four sides.
    Exact solution: `u = -tanh((y/2) cos(w t) - (x/2) sin(w t))`.

    `v / r = (sinh(r) / r) / cosh(r)^3` is a smooth function of r^2 and is computed as
    one, so that nothing divides by r: values and derivatives of every order are
    finite and right at the origin too, where w = 1 / max_velocity.

    Args:
        max_velocity: scale of the velocity, positive; 0.385 is the maximum of v.
        final_time: end of the time interval, positive.

    Raises:
        ValueError: an option that is no positive number.

    Example:
        >>> import jax.numpy as jnp
        >>> origin = [jnp.zeros(1)] * 3
        >>> [r.tolist() for r in flow_mixing().exact_residual(origin)]
        [[0.0]]

    Source: Chiu et al., CAN-PINN, Comput. Methods Appl. Mech. Eng. 395 (2022) 114909;
    Vemuri et al., Functional tensor decompositions for physics-informed neural
    networks, ICPR 2024, table 1. The table misprints v; the one that has the stated
    maximum and solves the equation is taken.
    """
    scale = check_number("flow_mixing", "max_velocity", max_velocity)
    end = check_number("flow_mixing", "final_time", final_time)

    def exact(t: Array, x: Array, y: Array) -> Array:
        angle = _velocity_over_radius(x**2 + y**2) / scale * t
        return -jnp.tanh(0.5 * y * jnp.cos(angle) - 0.5 * x * jnp.sin(angle))

    def residual(u: Field, t: Array, x: Array, y: Array) -> Field:
        angular = _velocity_over_radius(x**2 + y**2) / scale
        return u.d("t") - angular * y * u.d("x") + angular * x * u.d("y")

    side = (-HALF_WIDTH, HALF_WIDTH)
    return Problem(
        Box(t=(0.0, end), x=side, y=side),
        residual,
        [Initial("t", exact), Dirichlet(exact, axes=("x", "y"))],
        exact=exact,
    )


def _velocity_over_radius(square: Array) -> Array:
    """Returns sech(r)^2 tanh(r) / r for `square = r^2`, without a division by r.

    The series of cosh(r) and sinh(r) / r in r^2 have positive terms only: no
    cancellation, hence full relative accuracy also where the quotient is small.
    """
    cosh = sinh_over_radius = jnp.ones_like(square)
    for k in range(_SERIES_TERMS, 0, -1):
        cosh = 1.0 + square / ((2 * k - 1) * (2 * k)) * cosh
        sinh_over_radius = 1.0 + square / (2 * k * (2 * k + 1)) * sinh_over_radius
    return sinh_over_radius / cosh**3
