"""Cosine coefficients of the Allen-Cahn reference solution, computed in NumPy.

The time interval is cut into panels. On each, every coefficient is a polynomial in time
with the right values of `c' + diffusion (pi k)^2 c = N_k(u)` at the Chebyshev-Lobatto
nodes; the nonlinear right-hand side is found by fixed-point iteration, which converges
like the exponential series. Products are free of aliasing.
"""

from __future__ import annotations

import functools
import math
from itertools import pairwise
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


DIFFUSION, REACTION = 1e-4, 5.0
# From this time on the cosine series of the solution itself has converged.
SMOOTH = 0.1
# exp(-DIFFUSION (pi MODES)^2 SMOOTH) is below rounding. Before, more are computed with
# than kept: those left out would disturb the kept ones.
MODES, MODES_BEFORE = 640, 2560
# Polynomials in time per panel, and the ends of the panels, finer near t = 0.
DEGREE = 24
EDGES = (0.0, 1e-4, 1e-3, 4e-3, 0.01, 0.025, 0.05, *np.linspace(SMOOTH, 1.0, 10))
# Fixed-point iterations stop at this change, which rounding does not disturb.
SETTLED, MOST = 1e-15, 60


class Series(NamedTuple):
    """edges: (p + 1,) of the panels. coefficients: (modes, p, degree), of Chebyshev."""

    edges: Float[np.ndarray, " p1"]
    coefficients: Float[np.ndarray, "modes p degree"]


def cosine_series(t: Array, x: Array) -> Array:
    """Returns `sum_k c_k(t) cos(pi k x)`, term by term: memory is that of the result.

    Args:
        t: times in [0, 1]. x: positions, broadcasts against `t`.
    """
    series = _series()
    dtype = jnp.result_type(t, x)
    edges = jnp.asarray(series.edges, dtype)
    table = jnp.asarray(series.coefficients, dtype)
    panel = jnp.clip(
        jnp.searchsorted(edges, lax.stop_gradient(t), side="right") - 1,
        0,
        len(series.edges) - 2,
    )
    lower, upper = edges[panel], edges[panel + 1]
    s = (2.0 * t - lower - upper) / (upper - lower)
    polynomials = [jnp.ones_like(s), s]
    while len(polynomials) < DEGREE:
        polynomials.append(2.0 * s * polynomials[-1] - polynomials[-2])
    basis = jnp.stack(polynomials, axis=-1)
    total = jnp.zeros(jnp.broadcast_shapes(jnp.shape(t), jnp.shape(x)), dtype)

    def add(total: Array, term: tuple[Array, Array]) -> tuple[Array, None]:
        k, own = term
        coefficient = jnp.sum(basis * own[panel], axis=-1)
        return total + coefficient * jnp.cos(math.pi * k * x), None

    numbers = jnp.arange(len(series.coefficients), dtype=dtype)
    return lax.scan(add, total, (numbers, table))[0]


@functools.lru_cache(maxsize=1)
def _series() -> Series:
    """Returns the coefficients: of u from `SMOOTH` on, before of u less its start."""
    x, start, source = _grid(MODES_BEFORE)
    state = np.zeros(MODES_BEFORE)
    out = []
    for a, b in pairwise(EDGES):
        times = a + (b - a) * _nodes()
        if a == SMOOTH:
            state = _analysis(_synthesis(state) + start + _kinks(times[:1], x)[0])
            state = state[:MODES]
            x, start, source = (np.zeros_like(v) for v in _grid(MODES))
        shift = start + _kinks(times, x) if a < SMOOTH else np.zeros((DEGREE, len(x)))
        values = _panel(b - a, state, shift, source)
        out.append(_chebyshev(values)[:, :MODES])
        state = values[-1]
    return Series(np.array(EDGES), np.stack(out, axis=0).transpose(2, 0, 1))


def _grid(modes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns points of [0, 1], the initial value there, and its diffusion.

    A cubic product has three times the modes; on a grid of twice as many intervals none
    of them fold back on the first.
    """
    x = np.linspace(0.0, 1.0, 2 * modes + 1)
    start = x**2 * np.cos(np.pi * x)
    curvature = (
        2.0 * np.cos(np.pi * x) - 4.0 * np.pi * x * np.sin(np.pi * x) - np.pi**2 * start
    )
    return x, start, DIFFUSION * curvature


def _panel(
    length: float, state: np.ndarray, shift: np.ndarray, source: np.ndarray
) -> np.ndarray:
    """Returns coefficients (degree, modes) at the nodes of one panel.

    Args:
        length: of the panel. state: (modes,) at its beginning.
        shift: (degree, grid), what is added to the series to give u.
        source: (grid,), added to the reaction.
    """
    decay = DIFFUSION * (np.pi * np.arange(len(state))) ** 2
    derivative = _differentiation() / length
    matrix = derivative[1:, 1:] + decay[:, None, None] * np.eye(DEGREE - 1)
    inverse = np.linalg.inv(matrix)
    known = derivative[1:, 0][:, None] * state
    values = np.tile(state, (DEGREE, 1))
    for _ in range(MOST):
        u = _synthesis(values) + shift
        forcing = _analysis(REACTION * (u - u**3) + source)
        right = (forcing[1:] - known).T[:, :, None]
        new = (inverse @ right)[:, :, 0].T
        change = np.abs(new - values[1:]).max()
        values[1:] = new
        if change < SETTLED:
            break
    return values


def _kinks(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns the flow of the kink at x = 1 for x in [0, 1], (times, grid)."""
    s = np.sqrt(4.0 * DIFFUSION * t)[:, None]
    z = (1.0 - x) / np.where(s > 0.0, s, 1.0)
    erfc = np.vectorize(math.erfc)(np.minimum(z, 30.0))
    flow = np.exp(-(np.minimum(z, 30.0) ** 2)) / math.sqrt(math.pi) - z * erfc
    return np.where(s > 0.0, 2.0 * s * flow, 0.0)


def _synthesis(coefficients: np.ndarray) -> np.ndarray:
    """Returns values on the grid for cosine coefficients, (..., modes)."""
    modes = coefficients.shape[-1]
    wide = np.zeros((*coefficients.shape[:-1], 2 * modes + 1))
    wide[..., :modes] = 0.5 * coefficients
    wide[..., 0] *= 2.0
    values = np.fft.irfft(wide, 4 * modes, axis=-1) * 4 * modes
    return values[..., : 2 * modes + 1]


def _analysis(values: np.ndarray) -> np.ndarray:
    """Returns the first half of the cosine coefficients of values on the grid."""
    intervals = values.shape[-1] - 1
    mirrored = np.concatenate([values, values[..., -2:0:-1]], axis=-1)
    found = np.fft.rfft(mirrored, axis=-1).real[..., : intervals // 2] / intervals
    found[..., 0] *= 0.5
    return found


def _nodes() -> np.ndarray:
    """Returns the Chebyshev-Lobatto nodes of [0, 1], ascending."""
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(DEGREE) / (DEGREE - 1))


def _differentiation() -> np.ndarray:
    """Returns the differentiation matrix on the nodes of [0, 1]."""
    x = _nodes()
    weights = (-1.0) ** np.arange(DEGREE)
    weights[[0, -1]] *= 0.5
    gaps = x[:, None] - x + np.eye(DEGREE)
    matrix = weights / weights[:, None] / gaps
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


def _chebyshev(values: np.ndarray) -> np.ndarray:
    """Returns Chebyshev coefficients (degree, modes) of values at the nodes."""
    number = np.arange(DEGREE)
    basis = np.cos(np.pi * np.outer(DEGREE - 1 - number, number) / (DEGREE - 1))
    return np.linalg.solve(basis, values)
