"""The incompressible Navier-Stokes equations in two dimensions: a decaying vortex."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Condition, Dirichlet, Initial
from pinns.domain import Box
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._options import benchmark, check_number, check_wavenumber


@benchmark
def navier_stokes(
    viscosity: float = 0.01, mode: int = 1, final_time: float = 1.0
) -> Problem:
    """Returns the (2+1)-dimensional Navier-Stokes problem in vorticity and velocity.

    Equations for velocity (u, v) and vorticity w, on t in [0, final_time] and x, y in
    [0, 2 pi]:

        w_t + u w_x + v w_y = viscosity (w_xx + w_yy),
        v_x - u_y = w,
        u_x + v_y = 0.

    Conditions: the exact velocity and vorticity at t = 0 and on the four sides. The
    velocity has no time derivative here: its value at t = 0 follows from the rest and
    is imposed to help training.
    Exact solution, the Taylor-Green vortex with `m = mode` and
    `a = exp(-2 m^2 viscosity t)`: `u = a cos(m x) sin(m y)`,
    `v = -a sin(m x) cos(m y)`, `w = -2 m a cos(m x) cos(m y)`.

    The transport terms of this solution cancel, `u w_x + v w_y = 0`, whatever the
    viscosity: an easy flow. It tests that coupled nonlinear equations are stated and
    solved correctly, not how a method copes with turbulence.

    Args:
        viscosity: positive; the inverse of the Reynolds number.
        mode: positive integer, number of vortex pairs per axis.
        final_time: end of the time interval, positive.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> problem = navier_stokes()
        >>> problem.unknowns, problem.equations
        (('u', 'v', 'w'), 3)

    Source: Taylor & Green, Mechanism of the production of small eddies from large
    ones, Proc. R. Soc. A 158 (1937); vorticity-velocity form as in Cho et al.,
    Separable physics-informed neural networks, NeurIPS 2023.
    """
    nu = check_number("navier_stokes", "viscosity", viscosity)
    m = check_wavenumber("navier_stokes", "mode", mode)
    end = check_number("navier_stokes", "final_time", final_time)

    def decay(t: Array) -> Array:
        return jnp.exp(-2.0 * m**2 * nu * t)

    def exact_u(t: Array, x: Array, y: Array) -> Array:
        return decay(t) * jnp.cos(m * x) * jnp.sin(m * y)

    def exact_v(t: Array, x: Array, y: Array) -> Array:
        return -decay(t) * jnp.sin(m * x) * jnp.cos(m * y)

    def exact_w(t: Array, x: Array, y: Array) -> Array:
        return -2.0 * m * decay(t) * jnp.cos(m * x) * jnp.cos(m * y)

    def residual(u: Field, v: Field, w: Field) -> tuple[Field, Field, Field]:
        transport = w.d("t") + u * w.d("x") + v * w.d("y")
        diffusion = nu * (w.d("x", 2) + w.d("y", 2))
        return (
            transport - diffusion,
            v.d("x") - u.d("y") - w,
            u.d("x") + v.d("y"),
        )

    exact = {"u": exact_u, "v": exact_v, "w": exact_w}
    conditions: list[Condition] = []
    for name, function in exact.items():
        conditions.append(Initial("t", function, unknown=name))
        conditions.append(Dirichlet(function, axes=("x", "y"), unknown=name))
    side = (0.0, 2.0 * math.pi)
    box = Box(t=(0.0, end), x=side, y=side)
    return Problem(
        box,
        residual,
        conditions,
        unknowns=("u", "v", "w"),
        equations=("transport", "vorticity", "continuity"),
        exact=exact,
    )
