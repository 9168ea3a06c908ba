"""Gauss-Newton steps through the factors, damped after Levenberg and Marquardt.

The matrix `J^T J` of a factored residual needs no residual vector: it is the mixed
second derivative of the inner product `<r(a), r(b)>` at a = b = params, which
`FactoredLoss.bilinear` sweeps over the axes. A step solves

    (J^T J + lambda D + mu I) p = -g / 2,    D = max(diag(J^T J), its mean / 100)

and lambda falls after a good step and grows after a bad one. The damping also fixes
the gauge: CP factors may exchange scales among axes (and tensor trains matrices among
bonds) without changing the function, which makes `J^T J` singular. `mu` is a multiple
of the mean diagonal at the level of rounding.

Source: Levenberg 1944, Marquardt 1963; gain ratio and its factors after Nocedal &
Wright 2006, section 10.3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from pinns.evaluation import scattered_values
from pinns.factored.loss import FactoredLoss
from pinns.solvers.first_order import Rows, State


# The matrix has P^2 entries, each the result of a sweep.
MAX_PARAMETERS = 3_000
TRIALS = 12
START_DAMPING = 1e-2
LOWEST_DAMPING = 1e-14
HIGHEST_DAMPING = 1e12
# Columns of the matrix that are swept at a time.
COLUMNS = 32


class Damping(NamedTuple):
    """damping: lambda. value, groups: at the current parameters. stalls: failures."""

    damping: Float[Array, ""]
    value: Float[Array, ""]
    groups: Float[Array, " g"]
    stalls: Int[Array, ""]


class GaussNewton:
    """Damped Gauss-Newton steps on a factored loss.

    Args:
        loss: a `FactoredLoss` without terms on the grid.

    Raises:
        ValueError: a term of the loss is on the grid; names it.
    """

    def __init__(self, loss: FactoredLoss):
        for name, why in loss.grid_terms.items():
            raise ValueError(
                "pinns.solve: method='gauss_newton' needs a residual that stays "
                f"factored, and {name!r} does not: {why}. Take method='ssbroyden', "
                "'lbfgs' or 'adam'"
            )
        self.loss = loss

    def init(self, params: Any) -> State:
        """Returns the state before the first step."""
        flat, _ = ravel_pytree(params)
        if flat.size > MAX_PARAMETERS:
            raise ValueError(
                "pinns.solve: method='gauss_newton' forms a matrix of all pairs of "
                f"parameters and is for at most {MAX_PARAMETERS}, got {flat.size}; "
                "take method='lbfgs'"
            )
        damping = Damping(
            jnp.asarray(START_DAMPING, flat.dtype),
            jnp.asarray(jnp.inf, flat.dtype),
            jnp.zeros(len(self.loss.problem.groups), flat.dtype),
            jnp.int32(0),
        )
        return State(params, damping, jnp.int32(0))

    def converged(self, state: State) -> Bool[Array, ""]:
        """Says if no damping lowers the loss any more."""
        return state.optimizer.stalls >= 1

    def rows(self, state: State) -> Rows:
        """Returns the losses of a state."""
        return Rows(state.optimizer.value, state.optimizer.groups)

    def matrix(self, params: Any, prepared: Any) -> Float[Array, "p p"]:
        """Returns `J^T J` for the weighted residuals of all terms."""
        flat, unravel = ravel_pytree(params)

        def inner(a, b):
            return self.loss.bilinear(unravel(a), unravel(b), prepared)

        gradient = jax.grad(inner)

        def column(direction):
            return jax.jvp(lambda b: gradient(flat, b), (flat,), (direction,))[1]

        eye = jnp.eye(flat.size, dtype=flat.dtype)
        found = lax.map(column, eye, batch_size=COLUMNS)
        problem = self.loss.problem
        for unknown, data in problem.data:
            points = jnp.asarray(data.points, flat.dtype)

            def values(x, unknown=unknown, points=points):
                model = self.loss.model
                return scattered_values(problem, model, unravel(x), points, unknown)

            jacobian = jax.jacfwd(values)(flat)
            found = found + data.weight / len(points) * (jacobian.T @ jacobian)
        return 0.5 * (found + found.T)

    def step(self, state: State, prepared: Any) -> tuple[State, Rows]:
        """Takes the first step that lowers the loss, raising the damping until then."""
        old: Damping = state.optimizer
        flat, unravel = ravel_pytree(state.params)

        def value_of(x):
            return self.loss(unravel(x), prepared)

        (value, groups), gradient = jax.value_and_grad(value_of, has_aux=True)(flat)
        matrix = self.matrix(state.params, prepared)
        diagonal = jnp.diag(matrix)
        floor = 1e-14 * jnp.mean(diagonal)
        # Parameters without influence yet must not run away.
        scaling = jnp.maximum(diagonal, 0.01 * jnp.mean(diagonal))

        def trial(carry):
            damping, best, count, _ = carry
            damped = matrix + jnp.diag(damping * scaling + floor)
            p = -0.5 * _solve(damped, gradient)
            new, new_groups = value_of(flat + p)
            # Predicted by the linear model: -g.p - p.(J^T J) p.
            predicted = -(gradient @ p) - p @ (matrix @ p)
            ratio = (value - new) / jnp.where(predicted > 0.0, predicted, 1.0)
            good = jnp.isfinite(new) & (new < value) & (predicted > 0.0)
            found = (flat + p, new, new_groups)
            best = jax.tree.map(lambda a, b: jnp.where(good, a, b), found, best)
            lowered = jnp.where(ratio > 0.75, damping / 5.0, damping)
            following = jnp.where(good, lowered, damping * 10.0)
            following = jnp.clip(following, LOWEST_DAMPING, HIGHEST_DAMPING)
            return following, best, count + 1, good

        def going(carry):
            return ~carry[3] & (carry[2] < TRIALS)

        start = (old.damping, (flat, value, groups), jnp.int32(0), jnp.bool_(False))
        damping, (x, new, new_groups), _, good = lax.while_loop(going, trial, start)
        stalls = jnp.where(good, 0, old.stalls + 1).astype(jnp.int32)
        # A gradient that is not finite shows in the parameters.
        x = jnp.where(jnp.isfinite(gradient).all(), x, jnp.nan)
        after = State(
            unravel(x), Damping(damping, new, new_groups, stalls), state.step + 1
        )
        return after, Rows(new, new_groups)


def _solve(matrix: Array, right: Array) -> Array:
    """Solves a symmetric positive system, scaled to a unit diagonal."""
    scale = 1.0 / jnp.sqrt(jnp.maximum(jnp.diag(matrix), 1e-300))
    scaled = matrix * scale[:, None] * scale[None, :]
    factor = jax.scipy.linalg.cho_factor(scaled)
    return scale * jax.scipy.linalg.cho_solve(factor, scale * right)
