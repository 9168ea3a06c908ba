"""The loss as a sum of inner products of factors: exact, and without a grid.

For a residual that is a sum of separable terms, the weighted sum of squares over a
tensor grid factors into one-dimensional sums (see `pinns.factored.forms`). The value
is that of `pinns.losses.GridLoss` on the same points up to rounding, at a cost that
is linear in the number of axes and of points per axis. With Gauss-Legendre points it
is the mean square of the residual over the box, exact as long as the quadrature is.

Terms that are not separable, or whose products of unknowns have too large a rank,
are evaluated on the grid by `GridLoss`; the two add up.

Floor: the sum subtracts numbers of the size of the squared source, so values below
about `eps * ||f||^2` are rounding noise: residuals relative to the source of 3e-4 in
float32 and 1e-8 in float64. With `orthogonalize` the residual itself is formed, in few
rows, and then squared (`pinns.factored.orthogonal`): the floor falls to about
`(eps * ||f||)^2`, that of the grid. `FactoredLoss.floor` is the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from pinns.domain import AxisPoints, precision
from pinns.evaluation import scattered_values
from pinns.factored.forms import Data, Forms
from pinns.factored.orthogonal import OrthogonalNorm
from pinns.factored.plan import Family, Plan, plan
from pinns.factored.rows import quadrature_rows
from pinns.losses import GridLoss
from pinns.problem import Problem
from pinns.separable import Params, Separable, Tucker


# Known functions that are not separable as written are split to this tolerance,
# relative to their largest value.
TOLERANCE = 1e-10
# A grid with more values than this is not an alternative to factored products.
GRID_LIMIT = 10**9


class FactoredPrepared(NamedTuple):
    """Arrays on the points. known: squared norms of the known parts per group."""

    data: Data
    known: Array
    grid: Any


class FactoredLoss:
    """Mean-square loss of a separable model, term by term factored or on the grid.

    Args:
        problem: the problem.
        model: CP, tensor train or Tucker.
        points: quadrature or collocation points per axis, concrete arrays.
        dtype: `"float32"` or `"float64"`.
        choose: `"factored"`: every term must be separable; `"auto"`: terms that are
            not, or that are cheaper there, go to the grid.
        tolerance: for known functions that are not separable as written.
        orthogonalize: take the norm by QR factorizations along the axes instead of
            inner products; a lower floor at a higher cost, first derivatives only.

    Calling it with `(params, prepared)` returns `(total, groups)` as `GridLoss` does.

    Raises:
        ValueError: `choose="factored"` and a term is not separable; names it.
    """

    def __init__(
        self,
        problem: Problem,
        model: Separable,
        points: Sequence[AxisPoints],
        dtype: str = "float64",
        *,
        choose: str = "auto",
        tolerance: float = TOLERANCE,
        orthogonalize: bool = False,
    ):
        self.problem, self.model, self.dtype = problem, model, jnp.dtype(dtype)
        self.choose, self.tolerance = choose, tolerance
        self.counts = tuple(p.coordinates.shape[0] for p in points)
        self.plan = self._plan(points)
        self.forms = Forms(self.plan, model)
        self.norm = None
        if orthogonalize and self.plan.terms:
            _check_weights(self.plan)
            self.norm = OrthogonalNorm(self.forms)
        on_grid = [i for i in range(len(problem.terms)) if i not in self.plan.terms]
        self.grid = (
            GridLoss(problem, model, self.counts, dtype, terms=on_grid)
            if on_grid
            else None
        )

    @property
    def grid_terms(self) -> dict[str, str]:
        """Names of the terms on the grid, and why they are there."""
        terms = self.problem.terms
        return {terms[i].name: why for i, why in self.plan.refused.items()}

    @property
    def operations(self) -> float:
        """About how many operations the norms of the factored terms take."""
        return sum(
            form.table.states
            * factored_cost(
                self.model,
                math.isqrt(self._rank(form.left) * self._rank(form.right)),
                self.counts,
            )
            for form in self.plan.quadratic
            if form.left or form.right
        )

    def prepare(self, points: Sequence[AxisPoints]) -> FactoredPrepared:
        """Returns the arrays for the points the loss was made for."""
        with precision("float64"):
            data = self.forms.data("float64")
        known = self.plan.known_norms()
        data = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), self.dtype), data)
        grid = None if self.grid is None else self.grid.prepare(points)
        return FactoredPrepared(data, jnp.asarray(known, self.dtype), grid)

    def __call__(
        self, params: Params, prepared: FactoredPrepared
    ) -> tuple[Float[Array, ""], Float[Array, " g"]]:
        return self._evaluated(params, prepared, self.norm)

    def from_products(
        self, params: Params, prepared: FactoredPrepared
    ) -> tuple[Float[Array, ""], Float[Array, " g"]]:
        """Returns the same value and groups by inner products in any case.

        It has derivatives of every order, which an orthogonalized norm has not.
        """
        return self._evaluated(params, prepared, None)

    def _evaluated(
        self, params: Params, prepared: FactoredPrepared, norm: OrthogonalNorm | None
    ) -> tuple[Array, Array]:
        weights = dict(self.plan.group_weights)
        shares = dict.fromkeys(self.problem.groups, jnp.zeros((), self.dtype))
        total = jnp.zeros((), self.dtype)
        if weights:
            side = self.forms.side(params, prepared.data)
            if norm is None:
                values = self.forms.quadratic(side, prepared.data) + prepared.known
            else:
                values = norm(side, prepared.data)
            scales = jnp.asarray(list(weights.values()), self.dtype)
            total = jnp.sum(scales * values)
            for i, group in enumerate(weights):
                shares[group] = values[i] * weights[group]
        if self.grid is not None:
            own, groups = self.grid(params, prepared.grid)
            total = total + own
            for i, group in enumerate(self.problem.groups):
                weight = self.grid.group_weight(group)
                shares[group] = shares[group] + groups[i] * weight
                weights[group] = weights.get(group, 0.0) + weight
        for unknown, data in self.problem.data:
            group = data.group(self.problem.box)
            value = self._data(params, unknown, data)
            total = total + data.weight * value
            shares[group] = shares[group] + data.weight * value
            weights[group] = weights.get(group, 0.0) + data.weight
        found = [share / (weights.get(group) or 1.0) for group, share in shares.items()]
        return total, lax.stop_gradient(jnp.stack(found))

    def bilinear(self, a: Params, b: Params, prepared: FactoredPrepared) -> Array:
        """Returns the inner product of the residuals at two sets of parameters.

        The mixed second derivative in (a, b) at a = b is the Gauss-Newton matrix of
        the factored terms: half the Hessian of their sum of squares, without the
        part that multiplies second derivatives of the residual.
        """
        one = self.forms.side(a, prepared.data)
        other = self.forms.side(b, prepared.data)
        values = self.forms.bilinear(one, other, prepared.data)
        scales = jnp.asarray(list(self.plan.group_weights.values()), self.dtype)
        return jnp.sum(scales * values)

    def floor(self, prepared: FactoredPrepared) -> float:
        """Returns the loss below which values are rounding noise."""
        scales = np.asarray(list(self.plan.group_weights.values()))
        size = float(np.sum(scales * np.asarray(prepared.known, np.float64)))
        eps = float(jnp.finfo(self.dtype).eps)
        return (4.0 * eps if self.norm is None else (8.0 * eps) ** 2) * size

    def _data(self, params: Params, unknown: int, data) -> Array:
        points = jnp.asarray(data.points, self.dtype)
        values = scattered_values(self.problem, self.model, params, points, unknown)
        return jnp.mean((values - jnp.asarray(data.values, self.dtype)) ** 2)

    def _plan(self, points: Sequence[AxisPoints]) -> Plan:
        rows = quadrature_rows(
            self.problem,
            [np.asarray(p.coordinates, np.float64) for p in points],
            [
                None if p.weights is None else np.asarray(p.weights, np.float64)
                for p in points
            ],
        )
        found = plan(self.problem, rows, self.tolerance)
        if self.choose == "factored":
            _refuse(self.problem, found.refused)
            return found
        costly = {
            i: reason
            for i in found.terms
            if (reason := self._too_costly(found, i)) is not None
        }
        whole = self._grid_is_cheaper()
        if whole is not None:
            costly = {**dict.fromkeys(found.terms, whole), **costly}
        if not costly:
            return found
        kept = [i for i in found.terms if i not in costly]
        cheap = plan(self.problem, rows, self.tolerance, only=kept)
        cheap.refused.update({**found.refused, **costly})
        return cheap

    def _too_costly(self, found: Plan, number: int) -> str | None:
        """Says why a term with products of unknowns is cheaper on the grid."""
        families = found.families[number]
        rank = max((self._rank(f) for f in families), default=0)
        if rank <= self._rank((0,)):
            return None
        factored = factored_cost(self.model, rank, self.counts)
        grid = grid_cost(self.model, self.counts)
        if math.prod(self.counts) > GRID_LIMIT or factored <= grid:
            return None
        return (
            f"its products of unknowns have rank {rank}: about {factored:.1e} "
            f"operations factored, {grid:.1e} on the grid"
        )

    def _grid_is_cheaper(self) -> str | None:
        """Says why a sweep of this model costs more than walking the whole grid."""
        factored = factored_cost(self.model, self._rank((0,)), self.counts)
        grid = grid_cost(self.model, self.counts)
        if math.prod(self.counts) > GRID_LIMIT or factored <= grid:
            return None
        return (
            f"a sweep of rank {self._rank((0,))} takes about {factored:.1e} "
            f"operations, the grid {grid:.1e}"
        )

    def _rank(self, family: Family) -> int:
        ranks, parameters = self.model.rank, self.problem.parameters
        rank = ranks if isinstance(ranks, int) else max(ranks)
        return math.prod(
            parameters.rank(u) if u in parameters else int(rank) for u in family
        )


def factored_cost(model: Separable, rank: int, counts: Sequence[int]) -> float:
    """Returns about how many operations the norm of a term of this rank takes.

    The factors were chosen so that estimates compare like measured steps do
    (`benchmarks.factored`): dense products of a grid run faster than small ones.
    """
    d, n = len(counts), max(counts)
    if isinstance(model, Tucker):
        return 20.0 * d * float(rank) ** (d + 1)
    if model.name == "tt":
        return 24.0 * d * n * float(rank) ** 3
    return 8.0 * d * n * float(rank) ** 2


def grid_cost(model: Separable, counts: Sequence[int]) -> float:
    """Returns about how many operations the same term takes on the grid."""
    ranks = model.rank
    rank = ranks if isinstance(ranks, int) else max(ranks)
    return 8.0 * math.prod(map(float, counts)) * rank


def _check_weights(found: Plan) -> None:
    for name, own in zip(
        found.problem.box.names, found.rows.weights["interior"], strict=True
    ):
        if (own < 0.0).any():
            raise ValueError(
                "pinns: an orthogonalized norm takes roots of the quadrature weights, "
                f"which must not be negative, got {own.min():g} on axis {name!r}"
            )


def _refuse(problem: Problem, refused: dict[int, str]) -> None:
    for i, why in refused.items():
        raise ValueError(
            f"pinns: the term {problem.terms[i].name!r} is not separable: {why}. Take "
            "method='ssbroyden', 'lbfgs' or 'adam' with loss='grid' or 'auto', which "
            "work with any term"
        )
