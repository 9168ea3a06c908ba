"""The Rayleigh quotient in factored form: `<u, H u>` and `<u, u>`, no grid.

Both forms are sums over pairs of words, as the squared norms of residuals are (see
`pinns.factored.plan`): the words of `H u` meet those of u itself. Second derivatives
are integrated by parts, which is exact for functions that vanish on the boundary: the
quadratic form `<du/dx, du/dx>` cannot become negative by errors of the quadrature, as
`-<u, d^2u/dx^2>` can.
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
from pinns.factored.automaton import SparseWord, Union, compile_words, pair
from pinns.factored.forms import Data, Forms
from pinns.factored.plan import (
    Instance,
    Plan,
    _Builder,
    _form,
    default,
)
from pinns.factored.rows import quadrature_rows, separated
from pinns.factored.separation import Separation
from pinns.program import Program
from pinns.separable import Params, Separable


FAMILY = (0,)
# The words of u itself: one, without derivatives and coefficients.
IDENTITY: dict[SparseWord, float] = {(): 1.0}
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
        builder = _Builder(problem, rows)
        term = _applied(problem)
        program, found = separated(problem, term, rows, TOLERANCE, "pinns.ground_state")
        sides = _sides(builder, term, program, found)
        for words in (w for pair_of in sides for w in pair_of):
            builder.add([Instance(term.group, 1.0, (term.selectors,), {FAMILY: words})])
        versions = builder.versions()
        depth = problem.box.dimension
        defaults = [default(FAMILY)] * depth
        union = Union(depth)
        for left, right in sides:
            a, b = (compile_words(words, defaults) for words in (left, right))
            union.add(pair(a, b, term.selectors), 0, 1.0)
        itself = compile_words(IDENTITY, defaults)
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


def _applied(problem: Eigenproblem) -> Term:
    """Returns the term whose equation is H u."""
    selectors = ("interior",) * problem.box.dimension
    plain = problem.with_energy(0.0)

    def function(source, coordinates):
        def leaf(unknown, orders):
            return source(unknown, orders, selectors)

        return plain.residual_values(leaf, coordinates)

    return Term(
        name="operator",
        group="operator",
        weight=1.0,
        selectors=selectors,
        function=function,
    )


def _sides(builder: _Builder, term: Term, program: Program, found: Separation):
    """Returns pairs of words whose inner products add up to <u, H u>.

    `c m(x) d^2u/dx_k^2`, m not depending on x_k, becomes `-c <du/dx_k, m du/dx_k>`;
    everything else meets u itself.
    """
    plain: dict[SparseWord, float] = {}
    gradients: dict[int, dict[SparseWord, float]] = {}
    for (leaves, muls), coefficient in found.equations[0].words.items():
        if len(leaves) != 1:
            raise ValueError(
                "pinns.ground_state: the operator must be linear in the unknown and "
                f"without a source, got a term with {len(leaves)} unknowns"
            )
        unknown, orders, selectors = program.leaves[leaves[0]]
        numbers = {
            axis: builder._number(found.arrays[key], axis, "interior")
            for axis, key in muls
        }
        group, sign = plain, 1.0
        axis = orders.index(2) if sum(orders) == 2 and 2 in orders else None
        if axis is not None and axis not in numbers:
            orders = tuple(int(k == axis) for k in range(len(orders)))
            group, sign = gradients.setdefault(axis, {}), -1.0
        word = builder._word(term, [(unknown, orders, selectors)], numbers)
        group[word] = group.get(word, 0.0) + sign * coefficient
    sides = [(IDENTITY, plain)] if plain else []
    for axis, words in gradients.items():
        first: SparseWord = ((axis, (((0, 1, False),), 0)),)
        sides.append(({first: 1.0}, words))
    return sides


def finite(tree) -> bool:
    """Says whether all numbers of a pytree are finite."""
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


__all__ = ["RayleighQuotient", "finite"]
