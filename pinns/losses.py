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
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pinns.conditions import Term
from pinns.contraction import contract
from pinns.domain import AxisPoints, Box
from pinns.evaluation import along, coordinates_at, scattered_values, with_lifts
from pinns.faces import FaceBatch, FaceForm, PreparedFaces, face_form, face_values
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.program import Program, trace
from pinns.separable import Params, Separable


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
        self.batches = {} if isinstance(model, MLP) else self._face_batches(model)
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
        problem = self.problem
        if isinstance(self.model, MLP):
            values = self._pointwise_values(self.model, params, prepared)
        else:
            values = self._separable_values(self.model, params, prepared)
        groups = dict.fromkeys(problem.groups, jnp.zeros((), self.dtype))
        total = jnp.zeros((), self.dtype)
        for plan, value in zip(self.plans, values, strict=True):
            total = total + plan.term.weight * value
            share = plan.term.weight / self.group_weight(plan.term.group)
            groups[plan.term.group] += share * lax.stop_gradient(value)
        for unknown, data in self.data:
            value = self._data_mean_square(params, unknown, data)
            total = total + data.weight * value
            groups[data.group(problem.box)] += lax.stop_gradient(value)
        return total, jnp.stack(list(groups.values()))

    def _separable_values(
        self, model: Separable, params: Params, prepared: Prepared
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
        memo: list[dict] = [{} for _ in range(unknowns)]
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
            if values[i] is None:
                values[i] = plan.mean_square(
                    model, table, cores, hoisted, prepared.weights, memo
                )
        return values

    def _pointwise_values(
        self, model: MLP, params: Params, prepared: Prepared
    ) -> list[Array]:
        def values(plan: TermPlan, hoisted: tuple) -> Array:
            leaves = []
            for unknown, orders, selectors in plan.program.leaves:
                placed = coordinates_at(
                    self.problem.box, selectors, prepared.coordinates
                )
                derivative = model.derivative(self.problem, params, unknown, orders)
                leaves.append(derivative(*placed))

            def combine(terms, known):
                parts = []
                for (leaf, multipliers), coefficient in terms.items():
                    ids = [known[i] for axis in multipliers for i in axis]
                    parts.append(coefficient * math.prod(ids, start=leaves[leaf]))
                return sum(parts[1:], start=parts[0])

            fixed, moving = hoisted
            found = plan.program.evaluate((*fixed, *moving), combine)
            return plan.mean(found, plan.own_weights(prepared.weights))

        return [
            values(*pair) for pair in zip(self.plans, prepared.hoisted, strict=True)
        ]

    def group_weight(self, group: str) -> float:
        """Returns the sum of the weights of the terms reported under one name."""
        return sum(p.term.weight for p in self.plans if p.term.group == group)

    def _data_mean_square(self, params, unknown: int, data) -> Array:
        points = jnp.asarray(data.points, self.dtype)
        values = scattered_values(self.problem, self.model, params, points, unknown)
        return jnp.mean((values - jnp.asarray(data.values, self.dtype)) ** 2)

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
            slabs = _slabs(shape, slab_values)
        slab = (shape[0] // slabs, *shape[1:])
        function = with_lifts(self.problem, term)
        coordinate_shapes = [along(n, i, len(slab)) for i, n in enumerate(slab)]
        program = trace(function, slab, self.dtype, coordinate_shapes)
        return TermPlan(term, program, shape, slabs, box)


@dataclass(frozen=True)
class TermPlan:
    """One term: its program for a slab of the grid, and the number of slabs."""

    term: Term
    program: Program
    shape: tuple[int, ...]
    slabs: int
    box: Box

    def prepare(self, coordinates: Sequence[Array]) -> tuple:
        """Returns (fixed, moving): moving values have a leading slab axis."""
        placed = coordinates_at(self.box, self.term.selectors, coordinates)
        fixed_count = self.program.num_fixed
        if self.slabs == 1:
            values = self.program.prepare(placed)
            return values[:fixed_count], values[fixed_count:]
        first = placed[0].reshape(self.slabs, -1, *placed[0].shape[1:])
        one = self.program.prepare([first[0], *placed[1:]])
        moving = lax.map(
            lambda c: self.program.prepare([c, *placed[1:]])[fixed_count:], first
        )
        return one[:fixed_count], moving

    def mean_square(self, model, jets, cores, hoisted, weights, memo) -> Array:
        """Returns the mean square over points, summed over equations.

        Partial products in `memo` (a dict per unknown) are shared among terms: the
        faces of a box differ from its interior, and from each other, on one axis.
        """
        weights = self.own_weights(weights)
        if self.slabs == 1:
            fixed, moving = hoisted
            return self._slab(model, jets, cores, (*fixed, *moving), weights, memo)
        return self._slabbed(model, jets, cores, hoisted, weights)

    def _slab(self, model, jets, cores, hoisted, weights, memo) -> Array:
        def grid(terms, known):
            return _linear_combination(
                model, cores, jets, self.program, terms, known, memo
            )

        return self.mean(self.program.evaluate(hoisted, grid), weights)

    def own_weights(self, weights) -> list[Array] | None:
        """Returns this term's weights per axis; equal ones at end points."""
        if weights is None:
            return None
        return [
            w if s == "interior" else jnp.full(n, 1.0 / n, w.dtype)
            for w, s, n in zip(weights, self.term.selectors, self.shape, strict=True)
        ]

    def mean(self, values: Sequence[Array], weights) -> Array:
        """Returns this slab's share of the mean square, summed over equations."""
        if weights is None:
            points = math.prod(self.shape)
            sums = [jnp.sum(jnp.square(v)) for v in values]
            return jnp.sum(jnp.stack(sums)) / points
        sums = [_weighted_sum(jnp.square(v), weights) for v in values]
        return jnp.sum(jnp.stack(sums))

    def _slabbed(self, model, jets, cores, hoisted, weights) -> Array:
        n = self.shape[0] // self.slabs
        fixed, moving = hoisted
        inner = [[[value for value, *_ in jet] for jet in row] for row in jets]
        first = [
            [value.reshape(self.slabs, n, *value.shape[1:]) for value in row[0]]
            for row in inner
        ]
        rest = [row[1:] for row in inner]
        steps = weights[0].reshape(self.slabs, n) if weights is not None else None

        def value(first, rest, cores, moving, step):
            rows = [
                [[(value,) for value in jet] for jet in (f, *r)]
                for f, r in zip(first, rest, strict=True)
            ]
            w = None if weights is None else [step, *weights[1:]]
            known = (*fixed, *moving)
            own: list[dict] = [{} for _ in rows]
            return self._slab(model, rows, cores, known, w, own)

        return _scan_sum(value, first, (rest, cores), (moving, steps))


def _scan_sum(value, first, shared, moving) -> Array:
    """Returns sum_k value(first[k], *shared, *moving[k]), differentiated on the way.

    The forward pass already forms the gradients slab by slab, while a slab's values
    are in cache; the backward pass only scales them.
    """

    @jax.custom_vjp
    def total(first, shared, moving):
        def body(carry, slab):
            return carry + value(slab[0], *shared, *slab[1]), None

        zero = jnp.zeros((), jax.tree.leaves(first)[0].dtype)
        return lax.scan(body, zero, (first, moving))[0]

    def forward(first, shared, moving):
        def body(carry, slab):
            def of(f, s):
                return value(f, *s, *slab[1])

            out, (g_first, g_shared) = jax.value_and_grad(of, (0, 1))(slab[0], shared)
            return (carry[0] + out, jax.tree.map(jnp.add, carry[1], g_shared)), g_first

        zero = jnp.zeros((), jax.tree.leaves(first)[0].dtype)
        start = (zero, jax.tree.map(jnp.zeros_like, shared))
        (out, g_shared), g_first = lax.scan(body, start, (first, moving))
        return out, (g_first, g_shared)

    def backward(gradients, cotangent):
        g_first, g_shared = jax.tree.map(lambda g: cotangent * g, gradients)
        return g_first, g_shared, None

    total.defvjp(forward, backward)
    return total(first, shared, moving)


def _linear_combination(
    model: Separable,
    cores: Sequence[Array | None],
    jets: Sequence[Sequence[Sequence[Sequence[Array]]]],
    program: Program,
    terms: Mapping,
    known: Mapping[int, Array],
    memo: Sequence[dict],
) -> Array:
    """Contracts `{(leaf, multiplier ids per axis): coefficient}` on the grid.

    jets: `[unknown][axis][order]`, a factor's rows at the collocation points and,
    where conditions need them, at both ends of the axis.
    """
    by_unknown: dict[int, dict[tuple, float]] = {}
    for (leaf, multipliers), coefficient in terms.items():
        unknown, orders, selectors = program.leaves[leaf]
        versions = tuple(
            # Multipliers are numbered within their program, which the key must name.
            (order, selector, ids, id(program) if ids else None)
            for order, selector, ids in zip(orders, selectors, multipliers, strict=True)
        )
        group = by_unknown.setdefault(unknown, {})
        group[versions] = group.get(versions, 0.0) + coefficient
    parts = []
    for unknown, group in by_unknown.items():

        def factor(axis, version, row=jets[unknown]):
            order, selector, ids, _ = version
            value = _selected(row[axis][order], selector)
            for i in ids:
                scale = known[i].reshape(-1)
                value = value * scale.reshape(-1, *(1,) * (value.ndim - 1))
            return value

        parts.append(
            contract(model, cores[unknown], group, factor, program.shape, memo[unknown])
        )
    return sum(parts[1:], start=parts[0])


def _selected(parts: Sequence[Array], selector: str) -> Array:
    """Returns rows of a factor given as (at collocation points, at both ends)."""
    if selector == "interior":
        return parts[0]
    return {"lower": parts[1][:1], "upper": parts[1][1:], "ends": parts[1]}[selector]


def _weighted_sum(values: Array, weights: Sequence[Array]) -> Array:
    for w in reversed(weights):
        values = values @ w
    return values


def _slabs(shape: tuple[int, ...], slab_values: int) -> int:
    """Returns into how many equal slabs of the first axis the grid is cut."""
    rows, row_values = shape[0], math.prod(shape[1:])
    fitting = [
        count
        for count in range(1, rows + 1)
        if rows % count == 0 and rows // count * row_values <= slab_values
    ]
    return min(fitting, default=rows)
