"""One loss term on the tensor grid, slab by slab along the first axis.

A slab's values and their gradient are formed while they are in cache, so neither
values nor cotangents of the whole grid are ever stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from pinns.conditions import Term
from pinns.contraction import contract
from pinns.domain import Box
from pinns.evaluation import along, coordinates_at
from pinns.program import Program
from pinns.separable import Separable


class Reduction(NamedTuple):
    """What becomes of a term's values where it is not their mean square.

    function: `(values, rows) -> array` with the list of grids of one slab, one per
    equation. rows: arrays that go along the first axis, of which it gets the slab's.
    """

    function: Callable[[Sequence[Array], Any], Array]
    rows: Any = None


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

    def reduced(self, model, jets, cores, hoisted, reduction, memo) -> Array:
        """Returns what the reduction makes of every slab, (slabs, ...).

        Slabs are formed again in the backward pass, so no more than one is stored.
        """
        function, rows = reduction
        fixed, moving = hoisted
        if self.slabs == 1:
            known = (*fixed, *moving)
            return function(self._values(model, jets, cores, known, memo), rows)[None]
        first, rest = self._cut(jets)
        rows = jax.tree.map(lambda x: x.reshape(self.slabs, -1, *x.shape[1:]), rows)

        @jax.checkpoint
        def one(first, rest, cores, fixed, moving, rows):
            jets, known = _joined(first, rest), (*fixed, *moving)
            own: list[dict] = [{} for _ in rest]
            return function(self._values(model, jets, cores, known, own), rows)

        def body(slab):
            return one(slab[0], rest, cores, fixed, *slab[1:])

        return lax.map(body, (first, moving, rows))

    def _values(self, model, jets, cores, hoisted, memo) -> list[Array]:
        def grid(terms, known):
            return _linear_combination(
                model, cores, jets, self.program, terms, known, memo
            )

        return self.program.evaluate(hoisted, grid, _given(self.program, jets, cores))

    def _slab(self, model, jets, cores, hoisted, weights, memo) -> Array:
        return self.mean(self._values(model, jets, cores, hoisted, memo), weights)

    def _cut(self, jets) -> tuple[list, list]:
        """Returns factor rows of the first axis by slabs, and those of the others."""
        inner = [[[value for value, *_ in jet] for jet in row] for row in jets]
        first = [
            [value.reshape(self.slabs, -1, *value.shape[1:]) for value in row[0]]
            for row in inner
        ]
        return first, [row[1:] for row in inner]

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
        sums = [weighted_sum(jnp.square(v), weights) for v in values]
        return jnp.sum(jnp.stack(sums))

    def _slabbed(self, model, jets, cores, hoisted, weights) -> Array:
        n = self.shape[0] // self.slabs
        fixed, moving = hoisted
        first, rest = self._cut(jets)
        steps = weights[0].reshape(self.slabs, n) if weights is not None else None

        def value(first, rest, cores, moving, step):
            rows = _joined(first, rest)
            w = None if weights is None else [step, *weights[1:]]
            known = (*fixed, *moving)
            own: list[dict] = [{} for _ in rows]
            return self._slab(model, rows, cores, known, w, own)

        return _scan_sum(value, first, (rest, cores), (moving, steps))


def _joined(first: Sequence, rest: Sequence) -> list:
    """Returns the factor rows of one slab as a table of all axes."""
    return [
        [[(value,) for value in jet] for jet in (f, *r)]
        for f, r in zip(first, rest, strict=True)
    ]


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


def _given(program: Program, jets, cores) -> dict[int, Array]:
    """Returns the values of parameters on the grid, from their factors or `cores`."""
    d = len(program.shape)
    out = {}
    for index, axes in program.given.items():
        unknown, orders, selectors = program.leaves[index]
        if not axes:
            out[index] = cores[unknown].reshape((1,) * d)
            continue
        parts = []
        for axis in axes:
            rows = _selected(jets[unknown][axis][orders[axis]], selectors[axis])
            parts.append(rows.reshape(*along(len(rows), axis, d), -1))
        out[index] = jnp.sum(math.prod(parts[1:], start=parts[0]), axis=-1)
    return out


def _selected(parts: Sequence[Array], selector: str) -> Array:
    """Returns rows of a factor given as (at collocation points, at both ends)."""
    if selector == "interior":
        return parts[0]
    return {"lower": parts[1][:1], "upper": parts[1][1:], "ends": parts[1]}[selector]


def weighted_sum(values: Array, weights: Sequence[Array]) -> Array:
    """Returns the sum over the grid, times one array of weights per axis."""
    for w in reversed(weights):
        values = values @ w
    return values


def count_slabs(shape: tuple[int, ...], slab_values: int) -> int:
    """Returns into how many equal slabs of the first axis the grid is cut."""
    rows, row_values = shape[0], math.prod(shape[1:])
    fitting = [
        count
        for count in range(1, rows + 1)
        if rows % count == 0 and rows // count * row_values <= slab_values
    ]
    return min(fitting, default=rows)
