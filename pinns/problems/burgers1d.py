"""Burgers' equation, with the reference solution of Cole and Hopf."""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from pinns.conditions import Dirichlet, Initial
from pinns.domain import Box
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._options import benchmark, check_flags, check_number


# Where the reference is accurate to rounding, with at most 320 quadrature nodes.
VISCOSITIES = (1e-3, 0.5)
FINAL_TIME = 1.0


@benchmark
def burgers1d(viscosity: float = 0.01 / math.pi, hard: bool = False) -> Problem:
    """Returns the Burgers problem.

    Equation: `u_t + u u_x = viscosity u_xx` on t in [0, 1], x in [-1, 1]. Conditions:
    `u = -sin(pi x)` at t = 0, and u = 0 at both ends. With little viscosity the wave
    steepens into a layer of width ~ viscosity at x = 0.
    Reference solution: `exact` of the problem is the Cole-Hopf integral by
    Gauss-Hermite quadrature, see `cole_hopf`; accurate to rounding, not closed.

    Args:
        viscosity: from 0.001 to 0.5.
        hard: satisfy all conditions exactly by construction.

    Raises:
        ValueError: an option outside its range.

    Example:
        >>> import jax.numpy as jnp
        >>> (exact,) = burgers1d().require_exact("an example")
        >>> round(float(exact(jnp.array([0.5]), jnp.array([-0.5]))[0]), 4)
        0.5928

    Source: Basdevant et al., Spectral and finite difference solutions of the Burgers
    equation, Computers & Fluids 14 (1986) 23-41; setting of Raissi, Perdikaris &
    Karniadakis, Physics-informed neural networks, J. Comput. Phys. 378 (2019).
    """
    nu = check_number("burgers1d", "viscosity", viscosity, *VISCOSITIES, closed=True)
    check_flags("burgers1d", hard=hard)

    def exact(t: Array, x: Array) -> Array:
        return cole_hopf(t, x, viscosity=nu)

    def residual(u: Field) -> Field:
        return u.d("t") + u * u.d("x") - nu * u.d("x", 2)

    return Problem(
        Box(t=(0.0, FINAL_TIME), x=(-1.0, 1.0)),
        residual,
        [
            Initial("t", _initial, hard=bool(hard)),
            Dirichlet(0.0, axes="x", hard=bool(hard)),
        ],
        exact=exact,
    )


def _initial(x: Array) -> Array:
    return -jnp.sin(math.pi * x)


def cole_hopf(t: Array, x: Array, *, viscosity: float) -> Array:
    """Returns the solution of Burgers' equation with `u = -sin(pi x)` at t = 0.

    With `y_k = x - sqrt(4 viscosity t) z_k` for Gauss-Hermite nodes z_k and weights
    w_k, and `p_k = w_k exp(-cos(pi y_k) / (2 pi viscosity))`:

        u = -sum_k p_k sin(pi y_k) / sum_k p_k

    The p_k span more than the range of floating-point numbers; they are summed
    relative to the largest one so far, node by node, so memory stays that of the
    result. Near t = 0, where the square root has no derivative, the first two terms
    of the expansion in t are used.

    Args:
        t: times in [0, 1], any shape.
        x: positions in [-1, 1], broadcasts against `t`; float32 or float64.
        viscosity: number in `VISCOSITIES`.

    Returns:
        Values of the broadcast shape; differentiable in t and x.
    """
    t, x = jnp.asarray(t), jnp.asarray(x)
    # Balances the rounding error of du/dt by quadrature against that of the expansion.
    early = float(jnp.finfo(jnp.result_type(t, x)).eps) ** (2 / 3)
    slope = math.pi * jnp.cos(math.pi * x)
    curvature = math.pi**2 * jnp.sin(math.pi * x)
    initial = _initial(x)
    expansion = initial + t * (viscosity * curvature + initial * slope)
    spread = jnp.sqrt(4.0 * viscosity * jnp.where(t > early, t, early))
    return jnp.where(t > early, _weighted_mean(spread, x, viscosity), expansion)


def _weighted_mean(spread: Array, x: Array, viscosity: float) -> Array:
    nodes, log_weights = (
        jnp.asarray(values, jnp.result_type(spread, x))
        for values in _gauss_hermite(_num_nodes(viscosity))
    )
    start = jnp.zeros(jnp.broadcast_shapes(spread.shape, x.shape), nodes.dtype)

    def add(carry, node):
        largest, total, weighted = carry
        z, log_weight = node
        angle = math.pi * (x - spread * z)
        exponent = log_weight - jnp.cos(angle) / (2.0 * math.pi * viscosity)
        # The quotient does not depend on the shift: it needs no derivative.
        shift = lax.stop_gradient(jnp.maximum(largest, exponent))
        share, kept = jnp.exp(exponent - shift), jnp.exp(largest - shift)
        total = kept * total + share
        return (shift, total, kept * weighted + share * jnp.sin(angle)), None

    carry = (jnp.full_like(start, -jnp.inf), start, start)
    (_, total, weighted), _ = lax.scan(add, carry, (nodes, log_weights))
    return -weighted / total


def _num_nodes(viscosity: float) -> int:
    """Returns a number of nodes that is enough up to the final time.

    Little viscosity: the nodes must reach the maxima of the integrand, up to one
    half-wave off. Much: they must resolve its oscillation. Measured, not derived.
    """
    spread_squared = 4.0 * viscosity * FINAL_TIME
    return math.ceil(max(1.2 / spread_squared, 100.0 + 150.0 * spread_squared**0.5))


@functools.lru_cache
def _gauss_hermite(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns nodes and logarithms of weights for the weight function exp(-z^2)."""
    nodes, weights = np.polynomial.hermite.hermgauss(count)
    return nodes, np.log(weights)


__all__ = ["burgers1d", "cole_hopf"]
