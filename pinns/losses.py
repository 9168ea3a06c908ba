"""The loss on a tensor grid: mean squares of all terms, from factor jets.

One evaluation computes the factor jets of every axis once, at the collocation points
and both ends together; every term of the problem is then a contraction of slices of
them. The mean over a large grid is taken slab by slab along the first axis: a slab's
residual and its gradient are formed while they are in cache, so neither values nor
cotangents of the whole grid are ever stored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pinns.conditions import Term
from pinns.domain import AxisPoints
from pinns.evaluation import along, coordinates_at, scattered_values, with_lifts
from pinns.faces import FaceBatch, FaceForm, PreparedFaces, face_form, face_values
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.program import trace
from pinns.separable import Params, Separable
from pinns.slabs import Reduction, TermPlan, count_slabs


# Grid values per slab. On CPU a slab of residuals should stay in the second-level
# cache; the size was chosen by hand (docs/design.md). Accelerators want few large
# ones; theirs is an estimate, not measured.
SLAB_VALUES = {"cpu": 2**18}
SLAB_VALUES_ACCELERATOR = 2**27


class Prepared(NamedTuple):
    """What the loss needs to know of the points, computed once per draw.

    coordinates: (n_i,) per axis. weights: (n_i,) per axis or None if all are 1/n.
    hoisted: per term the coordinate-only values its program asked for; None for
    linear conditions on faces. faces: those, per unknown that has them.
    """

    coordinates: tuple[Array, ...]
    weights: tuple[Array, ...] | None
    hoisted: tuple[Any, ...]
    faces: dict[int, PreparedFaces]


class GridLoss:
    """Mean-square loss of a model on tensor-product points.

    Args:
        problem: the problem.
        model: a separable model, or the pointwise baseline `MLP`.
        counts: points per axis.
        dtype: `"float32"` or `"float64"`.
        slab_values: grid values handled at a time; default by backend.
        terms: numbers of the problem's terms to add up, without `Data` conditions;
            by default everything.
        batch_faces: contract linear conditions on faces together. A `Reduction` needs
            a term that is contracted by itself.

    Calling it with `(params, prepared)` returns `(total, groups)`: the weighted total
    and the mean square of every group in `problem.groups`.
    """

    def __init__(
        self,
        problem: Problem,
        model: Separable | MLP,
        counts: tuple[int, ...],
        dtype: str = "float32",
        *,
        slab_values: int | None = None,
        terms: Sequence[int] | None = None,
        batch_faces: bool = True,
    ):
        self.problem, self.model = problem, model
        self.counts, self.dtype = counts, jnp.dtype(dtype)
        if slab_values is None:
            backend = jax.default_backend()
            slab_values = SLAB_VALUES.get(backend, SLAB_VALUES_ACCELERATOR)
        if model.pointwise:
            slab_values = math.prod(counts)
        chosen = problem.terms
        self.data = problem.data
        if terms is not None:
            chosen, self.data = tuple(problem.terms[i] for i in terms), ()
        self.plans = [self._plan(term, slab_values) for term in chosen]
        self.batches = {}
        if batch_faces and not isinstance(model, MLP):
            self.batches = self._face_batches(model)
        d = problem.box.dimension
        self.orders = [
            max(
                (leaf[1][i] for p in self.plans for leaf in p.program.leaves), default=0
            )
            for i in range(d)
        ]

    def prepare(self, points: Sequence[AxisPoints]) -> Prepared:
        """Returns coordinates, weights and all coordinate-only values; jit-able."""
        coordinates = tuple(p.coordinates for p in points)
        weights = None
        if any(p.weights is not None for p in points):
            weights = tuple(
                jnp.full(n, 1.0 / n, self.dtype) if p.weights is None else p.weights
                for p, n in zip(points, self.counts, strict=True)
            )
        hoisted: list[Any] = [plan.prepare(coordinates) for plan in self.plans]
        faces = {}
        for unknown, (batch, members) in self.batches.items():
            values = []
            for i, form in zip(members, batch.forms, strict=True):
                fixed, moving = hoisted[i]
                program = self.plans[i].program
                values.append(face_values(form, program, (*fixed, *moving)))
                hoisted[i] = None
            faces[unknown] = batch.prepare(values, weights, self.dtype)
        return Prepared(coordinates, weights, tuple(hoisted), faces)

    def __call__(
        self, params: Params, prepared: Prepared
    ) -> tuple[Float[Array, ""], Float[Array, " g"]]:
        values = self.mean_squares(params, prepared)
        total = jnp.zeros((), self.dtype)
        for (_, weight, _), value in zip(self.members, values, strict=True):
            total = total + weight * value
        return total, self.by_group([lax.stop_gradient(v) for v in values])[1]

    @property
    def members(self) -> list[tuple[int, float, float]]:
        """Of every term, then every `Data`: (group, weight in the loss, in reports)."""
        index = {name: i for i, name in enumerate(self.problem.groups)}
        terms = [plan.term for plan in self.plans]
        out = [
            (index[t.group], t.weight, t.weight / self.group_weight(t.group))
            for t in terms
        ]
        groups = [data.group(self.problem.box) for _, data in self.data]
        weights = [data.weight for _, data in self.data]
        return out + [(index[g], w, 1.0) for g, w in zip(groups, weights, strict=True)]

    def mean_squares(
        self,
        params: Params,
        prepared: Prepared,
        reductions: Mapping[int, Reduction] | None = None,
    ) -> list[Array]:
        """Returns the mean square of every term, then of every `Data` condition.

        Where `reductions` has an entry for a term, its result for every slab of the
        grid instead, (slabs, ...), which has gradients by everything that enters it.
        """
        reductions = reductions or {}
        if isinstance(self.model, MLP):
            values = self._pointwise_values(self.model, params, prepared, reductions)
        else:
            values = self._separable_values(self.model, params, prepared, reductions)
        errors = [self.data_errors(params, i) for i in range(len(self.data))]
        return values + [jnp.mean(e**2) for e in errors]

    def by_group(
        self, values: Sequence[Array]
    ) -> tuple[Float[Array, " g"], Float[Array, " g"]]:
        """Returns every group's share of the loss, and its mean square as reported.

        Args:
            values: from `mean_squares`.
        """
        zero = jnp.zeros((), self.dtype)
        shares, means = ([zero] * len(self.problem.groups) for _ in range(2))
        for (group, weight, share), value in zip(self.members, values, strict=True):
            shares[group] = shares[group] + weight * value
            means[group] = means[group] + share * value
        return jnp.stack(shares), jnp.stack(means)

    def _separable_values(
        self,
        model: Separable,
        params: Params,
        prepared: Prepared,
        reductions: Mapping[int, Reduction],
    ) -> list[Array]:
        problem = self.problem
        unknowns = len(problem.unknowns)
        extended = tuple(
            jnp.concatenate([x, jnp.asarray(ends, x.dtype)])
            for x, ends in zip(prepared.coordinates, problem.box.intervals, strict=True)
        )
        jets = model.factors(
            params,
            problem.box,
            extended,
            self.orders,
            unknowns=unknowns,
            envelope=problem.hard.exponents(),
        )
        table = [
            [
                tuple(lax.split(value, (n, 2)) for value in jet)
                for jet, n in zip(row, self.counts, strict=True)
            ]
            for row in jets
        ]
        cores = [model.core(params, i) for i in range(unknowns)]
        for number, axes in problem.parameters.axes.items():
            row, core = self._parameter(params, number, axes, extended)
            table.append(row)
            cores.append(core)
        memo: list[dict] = [{} for _ in table]
        values: list[Any] = [None] * len(self.plans)
        for unknown, (batch, members) in self.batches.items():
            found = batch.mean_squares(
                cores[unknown], table[unknown], prepared.faces[unknown]
            )
            for i, value in zip(members, found, strict=True):
                values[i] = value
        for i, (plan, hoisted) in enumerate(
            zip(self.plans, prepared.hoisted, strict=True)
        ):
            if i in reductions:
                values[i] = plan.reduced(
                    model, table, cores, hoisted, reductions[i], memo
                )
            elif values[i] is None:
                values[i] = plan.mean_square(
                    model, table, cores, hoisted, prepared.weights, memo
                )
        return values

    def _parameter(self, params: Params, number: int, axes, extended) -> tuple:
        """Returns a row of the table of factors, empty off its axes, or a number."""
        found = self.problem.parameters
        if not axes:
            return [()] * len(extended), found.scalar(params, number)
        places = dict(enumerate(extended))
        jets = found.factors(params, number, places, dict(enumerate(self.orders)))
        row = [
            tuple(tuple(lax.split(value, (n, 2))) for value in jets.get(axis, ()))
            for axis, n in enumerate(self.counts)
        ]
        return row, None

    def _pointwise_values(
        self,
        model: MLP,
        params: Params,
        prepared: Prepared,
        reductions: Mapping[int, Reduction],
    ) -> list[Array]:
        def values(i: int, plan: TermPlan, hoisted: tuple) -> Array:
            leaves = []
            given = {}
            for number, key in enumerate(plan.program.leaves):
                unknown, orders, selectors = key
                placed = coordinates_at(
                    self.problem.box, selectors, prepared.coordinates
                )
                if unknown in self.problem.parameters:
                    own = self.problem.parameters
                    given[number] = own.value(params, unknown, orders, placed)
                    leaves.append(given[number])
                    continue
                derivative = model.derivative(self.problem, params, unknown, orders)
                leaves.append(derivative(*placed))

            def combine(terms, known):
                parts = []
                for (leaf, multipliers), coefficient in terms.items():
                    ids = [known[i] for axis in multipliers for i in axis]
                    parts.append(coefficient * math.prod(ids, start=leaves[leaf]))
                return sum(parts[1:], start=parts[0])

            fixed, moving = hoisted
            found = plan.program.evaluate((*fixed, *moving), combine, given)
            if i in reductions:
                return reductions[i].function(found, reductions[i].rows)[None]
            return plan.mean(found, plan.own_weights(prepared.weights))

        pairs = zip(self.plans, prepared.hoisted, strict=True)
        return [values(i, *pair) for i, pair in enumerate(pairs)]

    def group_weight(self, group: str) -> float:
        """Returns the sum of the weights of the terms reported under one name."""
        return sum(p.term.weight for p in self.plans if p.term.group == group)

    def data_errors(self, params: Params, index: int) -> Float[Array, " n"]:
        """Returns model minus measurement at the points of a `Data` condition."""
        unknown, data = self.data[index]
        points = jnp.asarray(data.points, self.dtype)
        values = scattered_values(self.problem, self.model, params, points, unknown)
        return values - jnp.asarray(data.values, self.dtype)

    def _face_batches(self, model: Separable) -> dict[int, tuple[FaceBatch, list]]:
        """Returns per unknown the linear faces and the numbers of their plans."""
        structs = [jax.ShapeDtypeStruct((n,), self.dtype) for n in self.counts]
        members: dict[int, list[tuple[int, FaceForm]]] = {}
        for i, plan in enumerate(self.plans):
            if all(s == "interior" for s in plan.term.selectors):
                continue
            fixed, moving = jax.eval_shape(lambda *x, p=plan: p.prepare(x), *structs)
            form = face_form(plan.program, (*fixed, *moving))
            if form is not None:
                members.setdefault(form.unknown, []).append((i, form))
        return {
            unknown: (
                FaceBatch(model, self.counts, [form for _, form in pairs]),
                [i for i, _ in pairs],
            )
            for unknown, pairs in members.items()
        }

    def _plan(self, term: Term, slab_values: int) -> TermPlan:
        box = self.problem.box
        shape = tuple(
            {"interior": n, "ends": 2}.get(s, 1)
            for n, s in zip(self.counts, term.selectors, strict=True)
        )
        slabs = 1
        if all(s == "interior" for s in term.selectors):
            slabs = count_slabs(shape, slab_values)
        slab = (shape[0] // slabs, *shape[1:])
        function = with_lifts(self.problem, term)
        coordinate_shapes = [along(n, i, len(slab)) for i, n in enumerate(slab)]
        partial = self.problem.parameters.axes
        program = trace(function, slab, self.dtype, coordinate_shapes, partial)
        return TermPlan(term, program, shape, slabs, box)
