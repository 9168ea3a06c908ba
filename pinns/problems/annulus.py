"""Laplace's equation on an annulus."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Dirichlet
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._options import benchmark, check_number, check_wavenumber
from pinns.round_domains import Annulus


@benchmark
def annulus(mode: int = 3, inner: float = 1.0, outer: float = 2.0) -> Problem:
    """Returns Laplace's equation between two circles.

    Equation: `u_rr + u_r / r + u_pp / r^2 = 0` on r in [inner, outer], the full angle p
    (axis theta). Conditions: the exact value on both circles; p is periodic.
    Exact solution, with n = mode and s = r / outer:
    `u = s^n cos(n p) + log(r / inner) / log(outer / inner)`.

    Args:
        mode: positive integer, waves round the annulus.
        inner: radius, positive.
        outer: radius, greater than `inner`.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> annulus(mode=2).groups
        ('residual', 'dirichlet(r)', 'periodic(theta)')

    Source: separation of variables in polar coordinates; Evans, Partial differential
    equations, section 2.2.
    """
    n = check_wavenumber("annulus", "mode", mode)
    a = check_number("annulus", "inner", inner)
    b = check_number("annulus", "outer", outer, a, 1e6 * a)

    def exact(r: Array, theta: Array) -> Array:
        wave = (r / b) ** n * jnp.cos(n * theta)
        return wave + jnp.log(r / a) / jnp.log(b / a)

    def residual(u: Field) -> Field:
        return u.laplacian()

    return Problem(Annulus(r=(a, b)), residual, [Dirichlet(exact)], exact=exact)
