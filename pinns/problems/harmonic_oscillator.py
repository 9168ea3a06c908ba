"""The ground state of coupled quantum harmonic oscillators."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns.conditions import Dirichlet
from pinns.domain import Box, positive_integer
from pinns.eigenproblem import Eigenproblem
from pinns.field import Field
from pinns.problems._options import benchmark, check_flags, check_number


# exp(-x^2 / 2) is below 1e-15 there: no condition on the box is felt.
HALF_WIDTH = 8.5


@benchmark
def harmonic_oscillator(
    dimension: int = 10, coupling: float = 0.0, hard: bool = True
) -> Eigenproblem:
    """Returns the Schroedinger problem of a chain of `dimension` oscillators.

    Equation: `-(1/2) sum_i d^2u/dx_i^2 + V u = E u` with
    `V = (1/2) sum_i x_i^2 + (coupling / 2) sum_i (x_i - x_{i+1})^2 = x^T A x / 2` on
    [-8.5, 8.5]^d with axes x1, ..., xd, for the smallest E. Condition: u = 0 on the 2d
    faces, where the solution on all of space is below 1e-15.
    Exact solution: `E = trace(W) / 2` and `u = c exp(-x^T W x / 2)` with `W^2 = A` and
    `c = (det W)^(1/4) pi^(-d/4)`, so that the square of u integrates to one.

    The residual is stated with the exact E. `pinns.ground_state` does not use it: it
    finds u and E. Without coupling u is one product; with it, ranks grow with the
    accuracy asked for, equally along the chain in tensor-train form.

    Args:
        dimension: number d of oscillators, positive.
        coupling: spring constant between neighbors, not negative.
        hard: satisfy the condition exactly by construction, as ground_state needs.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> harmonic_oscillator(dimension=10).energy
        5.0

    Source: normal modes; Griffiths, Introduction to quantum mechanics, section 2.3.
    """
    positive_integer(dimension, "pinns.problems.harmonic_oscillator", "dimension")
    spring = check_number("harmonic_oscillator", "coupling", coupling, closed=True)
    check_flags("harmonic_oscillator", hard=hard)
    box = Box.cube(int(dimension), (-HALF_WIDTH, HALF_WIDTH))
    width, energy, scale = _ground(int(dimension), spring)

    def exact(*x: Array) -> Array:
        exponent = (
            sum((-0.5 * width[i, i]) * x[i] ** 2 for i in range(1, len(x)))
            + (-0.5 * width[0, 0]) * x[0] ** 2
        )
        for i in range(len(x)):
            for j in range(i):
                if width[i, j] != 0.0:
                    exponent = exponent - width[i, j] * (x[i] * x[j])
        return scale * jnp.exp(exponent)

    def operator(u: Field, *x: Array) -> Field:
        laplacian = u.d(box.names[0], 2)
        for axis in box.names[1:]:
            laplacian = laplacian + u.d(axis, 2)
        potential = 0.5 * x[0] ** 2
        for k in range(1, len(x)):
            potential = potential + 0.5 * x[k] ** 2
            if spring:
                potential = potential + 0.5 * spring * (x[k] - x[k - 1]) ** 2
        return potential * u - 0.5 * laplacian

    return Eigenproblem(
        box, operator, [Dirichlet(0.0, hard=bool(hard))], energy=energy, exact=exact
    )


def _ground(dimension: int, coupling: float) -> tuple[np.ndarray, float, float]:
    """Returns the matrix W, the energy and the value of u at the origin."""
    matrix = np.eye(dimension)
    for k in range(dimension - 1):
        pair = slice(k, k + 2)
        matrix[pair, pair] += coupling * np.array([[1.0, -1.0], [-1.0, 1.0]])
    if coupling == 0.0:
        return matrix, 0.5 * dimension, math.pi ** (-dimension / 4)
    squares, modes = np.linalg.eigh(matrix)
    frequencies = np.sqrt(squares)
    width = (modes * frequencies) @ modes.T
    scale = float(np.prod((frequencies / math.pi) ** 0.25))
    return width, 0.5 * float(frequencies.sum()), scale
