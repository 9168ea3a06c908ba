"""The nonlinear Klein-Gordon equation in two space dimensions."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Condition, Dirichlet, Initial
from pinns.domain import Box
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._options import benchmark, check_flags


@benchmark
def klein_gordon(velocity: bool = False, hard: bool = False) -> Problem:
    """Returns the (2+1)-dimensional Klein-Gordon problem.

    Equation: `u_tt - u_xx - u_yy + u^2 = f` with `f = u_e^2 - 4 u_e`, on t in [0, 10]
    and x, y in [-1, 1]. Conditions: the exact value at t = 0 and on the four sides.
    Exact solution: `u_e = (x + y) cos(2t) + x y sin(2t)`.

    The published setting imposes no initial velocity. An equation of second order in
    time then has many solutions: it is under-determined, and what a network finds is
    a matter of its bias. `velocity=True` adds `u_t = 2 x y` at t = 0 and makes the
    problem well posed.

    Args:
        velocity: impose the initial velocity too.
        hard: satisfy all conditions exactly by construction. The solution is linear
            in x and in y, so the lift of the boundary values already is the solution
            and nothing is left to learn: no benchmark of a model.

    Raises:
        ValueError: an option that is no bool.

    Example:
        >>> klein_gordon(velocity=True).groups
        ('residual', 'initial(t)', 'initial(t, order=1)', 'dirichlet(x, y)')

    Source: Cho et al., Separable physics-informed neural networks, NeurIPS 2023;
    Vemuri et al., Functional tensor decompositions for physics-informed neural
    networks, ICPR 2024, table 1. The table misprints f and u; both are taken from the
    authors' code.
    """
    check_flags("klein_gordon", velocity=velocity, hard=hard)
    box = Box(t=(0.0, 10.0), x=(-1.0, 1.0), y=(-1.0, 1.0))
    conditions: list[Condition] = [Initial("t", _exact, hard=bool(hard))]
    if velocity:
        conditions.append(Initial("t", _initial_velocity, order=1, hard=bool(hard)))
    conditions.append(Dirichlet(_exact, axes=("x", "y"), hard=bool(hard)))
    return Problem(box, _residual, conditions, exact=_exact)


def _exact(t: Array, x: Array, y: Array) -> Array:
    return (x + y) * jnp.cos(2.0 * t) + x * y * jnp.sin(2.0 * t)


def _initial_velocity(x: Array, y: Array) -> Array:
    return 2.0 * x * y


def _residual(u: Field, t: Array, x: Array, y: Array) -> Field:
    exact = _exact(t, x, y)
    source = exact**2 - 4.0 * exact
    return u.d("t", 2) - u.d("x", 2) - u.d("y", 2) + u**2 - source
