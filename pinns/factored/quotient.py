"""The Rayleigh quotient in factored form: `<u, H u>` and `<u, u>`, no grid.

Both forms are sums over pairs of words, as the squared norms of residuals are (see
`pinns.factored.plan`): the words of `H u` meet those of u itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pinns.conditions import Term
from pinns.domain import AxisPoints, precision
from pinns.eigenproblem import Eigenproblem
from pinns.factored.automaton import Union, compile_words, pair
from pinns.factored.forms import Data, Forms
from pinns.factored.plan import Plan, _Builder, _form, _separated, quadrature_rows
from pinns.separable import Params, Separable


FAMILY = (0,)
TOLERANCE = 1e-12


class RayleighQuotient:
    """The forms `<u, H u>` and `<u, u>` of an eigenproblem for a separable model.

    Inner products are means over the box by the given quadrature rule.

    Args:
        problem: its operator must be separable and without a source, its conditions
            homogeneous and hard.
        model: CP, tensor train or Tucker.
        points: quadrature points per axis.

    Calling it with `(params, data)` returns `(2,)`: the two forms.

    Raises:
        ValueError: an operator with a source, a nonlinear one, or coefficients that
            are not finite on the points.
        NotSeparableError: an operator that cannot be written as a sum of products.
    """

    def __init__(
        self, problem: Eigenproblem, model: Separable, points: Sequence[AxisPoints]
    ):
        rows = quadrature_rows(
            problem,
            [np.asarray(p.coordinates, np.float64) for p in points],
            [
                None if p.weights is None else np.asarray(p.weights, np.float64)
                for p in points
            ],
        )
        term = _both(problem)
        builder = _Builder(problem, rows)
        program, found = _separated(problem, term, rows, TOLERANCE)
        instances = builder.instances(term, program, found)
        for instance in instances:
            if set(instance.words) != {FAMILY}:
                raise ValueError(
                    "pinns.ground_state: the operator must be linear in the unknown "
                    "and without a source"
                )
        for key, array in found.arrays.items():
            if key and not np.isfinite(array).all():
                raise ValueError(
                    "pinns.ground_state: the coefficients of the operator must be "
                    "finite at the quadrature points, got NaN or Inf"
                )
        builder.add(instances)
        versions = builder.versions()
        depth = problem.box.dimension
        itself, applied = (
            compile_words(i.words[FAMILY], [builder._default(FAMILY)] * depth)
            for i in instances
        )
        union = Union(depth)
        union.add(pair(itself, applied, term.selectors), 0, 1.0)
        union.add(pair(itself, itself, term.selectors), 1, 1.0)
        form = _form(FAMILY, FAMILY, union, versions, 2)
        self.plan = Plan(
            problem=problem,
            rows=rows,
            versions=versions,
            quadratic=[],
            bilinear=[form],
            group_weights={"operator": 1.0, "identity": 1.0},
            terms=[0],
            refused={},
            families={0: {FAMILY}},
        )
        self.forms = Forms(self.plan, model)

    def data(self) -> Data:
        """Returns the arrays on the points, float64."""
        with precision("float64"):
            return self.forms.data("float64")

    def __call__(self, params: Params, data: Data) -> Float[Array, " 2"]:
        side = self.forms.side(params, data)
        return self.forms.bilinear(side, side, data)


def _both(problem: Eigenproblem) -> Term:
    """Returns the term whose two equations are u and H u."""
    d = problem.box.dimension
    selectors = ("interior",) * d
    plain = problem.with_energy(0.0)

    def function(source, coordinates):
        def leaf(unknown, orders):
            return source(unknown, orders, selectors)

        return [leaf(0, (0,) * d), *plain.residual_values(leaf, coordinates)]

    return Term(
        name="operator",
        group="operator",
        weight=1.0,
        selectors=selectors,
        function=function,
    )


def finite(tree) -> bool:
    """Says whether all numbers of a pytree are finite."""
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


__all__ = ["RayleighQuotient", "finite"]
