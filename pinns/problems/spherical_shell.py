"""Poisson's equation on a spherical shell."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Dirichlet
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._options import benchmark, check_number
from pinns.round_domains import SphericalShell


@benchmark
def spherical_shell(inner: float = 1.0, outer: float = 2.0) -> Problem:
    """Returns Poisson's equation between two spheres.

    Equation: `laplacian u = 6 / outer^2` on r in [inner, outer], all angles (theta from
    the north pole, phi round the axis). Conditions: the exact value on both spheres;
    phi is periodic. Exact solution, a particular one and harmonic functions:
    `u = (r^2 + x y + inner / r + inner^2 z / r^3) / outer^2`.

    Args:
        inner: radius, positive.
        outer: radius, greater than `inner`.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> spherical_shell().box
        SphericalShell(r=(1, 2), theta=(0, 3.14159), phi=(0, 6.28319); x, y, z)

    Source: solid harmonics of degree 0 to 2; Evans, Partial differential equations,
    section 2.2.
    """
    a = check_number("spherical_shell", "inner", inner)
    b = check_number("spherical_shell", "outer", outer, a, 1e6 * a)

    def exact(r: Array, theta: Array, phi: Array) -> Array:
        square = jnp.sin(theta) ** 2 * jnp.sin(2.0 * phi) / 2.0
        dipole = (a / r) ** 2 * jnp.cos(theta)
        return (r**2 + r**2 * square + a / r + dipole) / b**2

    def residual(u: Field) -> Field:
        return u.laplacian() - 6.0 / b**2

    return Problem(SphericalShell(r=(a, b)), residual, [Dirichlet(exact)], exact=exact)
