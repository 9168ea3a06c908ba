"""A nonlinear residual on a grid: its value at a state, and its derivative there.

The derivative of a residual `r(x, D^{a_1} u, D^{a_2} u, ...)` in direction v is
`sum_l c_l D^{a_l} v` with `c_l` the derivative of r by its l-th leaf: a linear operator
with variable coefficients, tabulated like that of a linear problem.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np

from pinns.domain import precision
from pinns.evaluation import with_lifts
from pinns.problem import Problem
from pinns.solvers._axes import Axis
from pinns.solvers._kronecker import contract
from pinns.solvers._tables import (
    QUICK,
    Programs,
    Table,
    coordinates_of,
    leaves_of,
    shared,
)


class Linearized:
    """The residual of a problem in fixed bases, compiled for one tensor grid.

    Args:
        problem: one equation for one unknown.
        axes: the bases.
        points: per axis, of the grid.
        programs: of a problem that differs in its coordinates only.
    """

    def __init__(
        self,
        problem: Problem,
        axes: list[Axis],
        points: list[np.ndarray],
        programs: Programs | None = None,
    ):
        began = time.perf_counter()
        self.term = problem.terms[0]
        self.shape = tuple(len(x) for x in points)
        coordinates = coordinates_of(problem, self.term, points)
        with precision("float64"), jax.default_device(jax.devices("cpu")[0]):
            self._arrays = [jnp.asarray(c) for c in coordinates]
            # As in `tables`: the compiler must not know it.
            self._one = jnp.asarray(1.0)
        self.leaves, self._compiled = shared(
            programs,
            ("linearized", self.shape),
            lambda: self._built(problem, coordinates),
        )
        highest = [
            max(orders[k] for _, orders, _ in self.leaves) for k in range(len(axes))
        ]
        self._jets = [
            axis.jets(np.asarray(x, np.float64), order)
            for axis, x, order in zip(axes, points, highest, strict=True)
        ]
        self.compile_seconds = time.perf_counter() - began

    def _built(self, problem: Problem, coordinates: list[np.ndarray]):
        """Returns the leaves of the residual and the program that tabulates them."""
        leaves = leaves_of(problem, self.term, coordinates)
        function = with_lifts(problem, self.term)

        def run(values, arrays, one):
            def residual(values):
                lookup = dict(zip(leaves, values, strict=True))
                (found,) = function(lambda *key: lookup[key], arrays)
                return jnp.broadcast_to(found, self.shape)

            known, push = jax.linearize(residual, values)

            def along_leaf(unit):
                wide = unit.reshape(-1, *(1,) * len(self.shape))
                return push(jnp.broadcast_to(wide, values.shape))

            return jax.vmap(along_leaf)(one * jnp.eye(len(leaves))), known

        with precision("float64"), jax.default_device(jax.devices("cpu")[0]):
            zeros = jnp.zeros((len(leaves), *self.shape))
            lowered = jax.jit(run).lower(zeros, self._arrays, self._one)
            return leaves, lowered.compile(QUICK)

    def at(self, core: np.ndarray) -> tuple[Table, np.ndarray]:
        """Returns the linear part at a state, and the residual of that state.

        The table stands for `v -> r(u) + J (v - u)`: `known` is r(u) - J u.

        Args:
            core: coefficients of u in the orthonormal functions of the axes.
        """
        state = np.stack(
            [self._derivative(core, orders) for _, orders, _ in self.leaves]
        )
        with precision("float64"), jax.default_device(jax.devices("cpu")[0]):
            found = self._compiled(jnp.asarray(state), self._arrays, self._one)
            coefficients, residual = (np.asarray(part) for part in found)
        with np.errstate(invalid="ignore"):  # the caller looks for what is not finite
            known = residual - np.sum(coefficients * state, axis=0)
        table = Table(
            self.term, self.leaves, coefficients[:, None], known[None], gap=0.0
        )
        return table, residual

    def _derivative(self, core: np.ndarray, orders: tuple[int, ...]) -> np.ndarray:
        matrices = [jets[o] for jets, o in zip(self._jets, orders, strict=True)]
        return contract(core, matrices)
