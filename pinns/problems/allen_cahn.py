"""The Allen-Cahn equation, with a reference solution by an own spectral method."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax.scipy.special import erfc
from jaxtyping import Array

from pinns.conditions import Initial, Periodic
from pinns.domain import Box
from pinns.field import Field
from pinns.problem import Problem
from pinns.problems._allen_cahn_series import (
    DIFFUSION,
    REACTION,
    SMOOTH,
    cosine_series,
)
from pinns.problems._options import benchmark


@benchmark
def allen_cahn() -> Problem:
    """Returns the Allen-Cahn problem.

    Equation: `u_t = 1e-4 u_xx + 5 u - 5 u^3` on t in [0, 1], x in [-1, 1]. Conditions:
    `u = x^2 cos(pi x)` at t = 0; value and slope are periodic in x. The solution tends
    to plateaus at 1 and -1 with layers of width ~ 0.01 between them.
    Reference solution: `exact` of the problem is a cosine series, see `reference`;
    not closed.

    The periodic continuation of the initial value has kinks at x = +-1: there, at
    t = 0, the slope condition does not hold.

    Example:
        >>> import jax.numpy as jnp
        >>> (exact,) = allen_cahn().require_exact("an example")
        >>> round(float(exact(jnp.array([0.5]), jnp.array([0.4]))[0]), 4)
        0.5146

    Source: Raissi, Perdikaris & Karniadakis, Physics-informed neural networks,
    J. Comput. Phys. 378 (2019), section 3.2.
    """

    def residual(u: Field) -> Field:
        return u.d("t") - DIFFUSION * u.d("x", 2) + REACTION * (u**3 - u)

    return Problem(
        Box(t=(0.0, 1.0), x=(-1.0, 1.0)),
        residual,
        [Initial("t", _initial), Periodic("x")],
        exact=reference,
    )


def _initial(x: Array) -> Array:
    return x**2 * jnp.cos(math.pi * x)


def reference(t: Array, x: Array) -> Array:
    """Returns the solution of `allen_cahn`.

    For t >= 0.1 a cosine series in x whose coefficients are polynomials in time,
    piecewise: it solves the equation to rounding and is accurate to 1e-9. Before,
    `u = u0 + S + v`: the initial value, the heat flow S of its kinks in closed form,
    and such a series for the rest v, accurate to 2e-6 beside the kinks and to 3e-7 for
    |x| < 0.99. Both figures are differences from a series with twice to three times the
    modes. The coefficients are computed once per process, in a few seconds.

    Args:
        t: times in [0, 1], any shape.
        x: positions in [-1, 1], broadcasts against `t`; float32 or float64.

    Returns:
        Values of the broadcast shape; differentiable in t and x.
    """
    t, x = jnp.asarray(t), jnp.asarray(x)
    early = jnp.where(t < SMOOTH, _initial(x) + _kinks(t, x), 0.0)
    return early + cosine_series(t, x)


def _kinks(t: Array, x: Array) -> Array:
    """Returns the heat flow of the kinks at x = +-1, less the kinks; 0 at t = 0.

    The slope jumps by 4 at each: `2 s ierfc(y / s)` with the distance y from it and
    `s = sqrt(4 diffusion t)`.
    """
    tiny = jnp.finfo(jnp.result_type(t, x)).eps ** 2
    s = jnp.sqrt(4.0 * DIFFUSION * jnp.clip(t, tiny, SMOOTH))
    spread = jnp.where(t > tiny, s, 0.0)

    def flow(y: Array) -> Array:
        z = y / s
        return jnp.exp(-(z**2)) / math.sqrt(math.pi) - z * erfc(z)

    return 2.0 * spread * (flow(1.0 - x) + flow(1.0 + x))


__all__ = ["allen_cahn", "reference"]
