"""Variable projection: the linear coefficients are always the best ones.

For a linear problem the loss is a quadratic function of the core of a Tucker model,
or of the last layer of one axis' networks of a CP or tensor-train model. `Projected`
solves for them exactly at every evaluation and hands what is left, a function of all
other weights, to an iterative method; its gradient is the partial gradient at the
optimal coefficients (Golub & Pereyra 1973; the coefficients' own derivative drops out
because the loss is stationary in them). The reduced loss contains a small multiple of
the squared coefficients, so that nearly dependent features do not blow them up; the
change of that multiple with the other weights is left out of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pinns.factored.loss import FactoredLoss
from pinns.separable import Params


# The normal equations of the linear coefficients are dense.
MAX_LINEAR = 2_000
# Weight of the squared coefficients in the reduced loss, relative to the mean diagonal
# of the normal equations: keeps nearly dependent features from blowing up.
RIDGE = 1e-11


class Projected:
    """A loss with its linear coefficients eliminated.

    Args:
        loss: a `FactoredLoss` of a linear problem.

    Raises:
        ValueError: a term on the grid, a nonlinear term, or too many coefficients.
    """

    def __init__(self, loss: FactoredLoss):
        self.loss = loss
        for name, why in loss.grid_terms.items():
            raise ValueError(
                "pinns.solve: method='varpro' needs a residual that stays factored, "
                f"and {name!r} does not: {why}. Take method='ssbroyden', 'lbfgs' or "
                "'adam'"
            )
        require_linear(loss, "varpro")
        problem, model = loss.problem, loss.model
        self.unknowns = len(problem.unknowns)
        self.tucker = model.core_shape(problem.box.dimension) is not None
        shapes = model.shapes(problem.box.dimension)
        self.width = math.prod(shapes[0])
        size = self.unknowns * (
            math.prod(model.core_shape(problem.box.dimension) or ())
            if self.tucker
            else self.width * model.net.num_features
        )
        if size > MAX_LINEAR:
            raise ValueError(
                f"pinns.solve: method='varpro' eliminates at most {MAX_LINEAR} linear "
                f"coefficients, got {size}; take a smaller rank or method='ssbroyden'"
            )
        self.members = [
            position
            for position, (_, axis) in enumerate(
                model.groups(problem.box.dimension, self.unknowns)[self.width]
            )
            if axis == 0
        ]

    def __call__(self, params: Params, prepared: Any) -> tuple[Array, Array]:
        found, ridge = self._optimum(params, prepared)
        total, groups = self.loss(self._linear(params)[1](found), prepared)
        return total + ridge * (found @ found), groups

    def solved(self, params: Params, prepared: Any) -> Params:
        """Returns the parameters with their linear coefficients at the optimum."""
        return self._linear(params)[1](self._optimum(params, prepared)[0])

    def _optimum(self, params: Params, prepared: Any) -> tuple[Array, Array]:
        """Returns the best coefficients and the weight of their squares."""
        fixed = lax.stop_gradient(params)
        start, place = self._linear(fixed)

        def total(coefficients):
            # Differentiated twice, to normal equations.
            return self.loss.from_products(place(coefficients), prepared)[0]

        gradient = jax.grad(total)
        zero = jnp.zeros_like(start)
        right = gradient(zero)
        eye = jnp.eye(start.size, dtype=start.dtype)
        matrix = lax.map(
            lambda e: jax.jvp(gradient, (zero,), (e,))[1], eye, batch_size=32
        )
        matrix = 0.5 * (matrix + matrix.T)
        ridge = RIDGE * jnp.mean(jnp.diag(matrix))
        damped = matrix + 2.0 * ridge * jnp.eye(start.size, dtype=start.dtype)
        factor = jax.scipy.linalg.cho_factor(damped)
        found = -jax.scipy.linalg.cho_solve(factor, right)
        return lax.stop_gradient(found), lax.stop_gradient(ridge)

    def _linear(
        self, params: Params
    ) -> tuple[Float[Array, " c"], Callable[[Array], Params]]:
        """Returns the linear coefficients, and how others are put in their place."""
        if self.tucker:
            core = params["core"]
            return core.reshape(-1), lambda c: {**params, "core": c.reshape(core.shape)}
        net = self.loss.model.net
        name = f"factors_{self.width}"
        stack = params[name]
        index = jnp.asarray(self.members)
        outputs = jax.vmap(net.output)(jax.tree.map(lambda x: x[index], stack))

        def place(coefficients: Array) -> Params:
            all_outputs = jax.vmap(net.output)(stack)
            wide = coefficients.reshape(outputs.shape)
            replaced = jax.vmap(net.with_output)(stack, all_outputs.at[index].set(wide))
            return {**params, name: replaced}

        return outputs.reshape(-1), place


def require_linear(loss: FactoredLoss, method: str) -> None:
    """Raises ValueError, naming the term, if a residual multiplies unknowns."""
    for number, families in loss.plan.families.items():
        if max((len(f) for f in families), default=0) > 1:
            name = loss.problem.terms[number].name
            raise ValueError(
                f"pinns.solve: method={method!r} needs a linear problem, and {name!r} "
                "multiplies unknowns. Take method='gauss_newton', 'ssbroyden', 'lbfgs' "
                "or 'adam'"
            )
