"""The Helmholtz equation on a cube."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Dirichlet
from pinns.domain import Box
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._options import (
    benchmark,
    check_flags,
    check_number,
    check_wavenumbers,
)


@benchmark
def helmholtz3d(
    a: tuple[int, int, int] = (4, 4, 3), k: float = 1.0, hard: bool = False
) -> Problem:
    """Returns the three-dimensional Helmholtz problem.

    Equation: `u_xx + u_yy + u_zz + k^2 u = q` on [-1, 1]^3 with
    `q = (k^2 - pi^2 (a_1^2 + a_2^2 + a_3^2)) u_e`. Condition: u = 0 on the six faces.
    Exact solution: `u_e = sin(a_1 pi x) sin(a_2 pi y) sin(a_3 pi z)`.

    Args:
        a: positive integers, half-waves per unit length along x, y and z.
        k: wavenumber, not negative; 0 gives Poisson's equation. The solution is
            unique unless `k^2 = (pi/2)^2 (m_1^2 + m_2^2 + m_3^2)` for positive
            integers m, an eigenvalue of the cube.
        hard: satisfy the condition exactly by construction.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> helmholtz3d(a=(1, 2, 3), hard=True).origin
        ('helmholtz3d', {'a': [1, 2, 3], 'k': 1.0, 'hard': True})

    Source: Cho et al., Separable physics-informed neural networks, NeurIPS 2023;
    Vemuri et al., Functional tensor decompositions for physics-informed neural
    networks, ICPR 2024, table 1.
    """
    waves = check_wavenumbers("helmholtz3d", "a", a, 3)
    wavenumber = check_number("helmholtz3d", "k", k, closed=True)
    check_flags("helmholtz3d", hard=hard)
    frequencies = [math.pi * wave for wave in waves]
    scale = wavenumber**2 - sum(f**2 for f in frequencies)

    def exact(x: Array, y: Array, z: Array) -> Array:
        sines = [jnp.sin(f * c) for f, c in zip(frequencies, (x, y, z), strict=True)]
        return sines[0] * sines[1] * sines[2]

    def residual(u: Field, x: Array, y: Array, z: Array) -> Field:
        laplacian = u.d("x", 2) + u.d("y", 2) + u.d("z", 2)
        return laplacian + wavenumber**2 * u - scale * exact(x, y, z)

    box = Box(x=(-1.0, 1.0), y=(-1.0, 1.0), z=(-1.0, 1.0))
    return Problem(box, residual, [Dirichlet(0.0, hard=bool(hard))], exact=exact)
