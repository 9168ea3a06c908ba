"""Linear terms of a problem as tables: what multiplies each derivative, on grids.

A linear term is `r = sum_l c_l(x) D^{a_l} u + f(x)`. Its derivative in direction of one
leaf alone is the coefficient `c_l` on all points, exactly, separable or not; its value
at u = 0 is `f`. All terms on all grids are compiled together, once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pinns.conditions import Term
from pinns.domain import precision
from pinns.evaluation import along, with_lifts
from pinns.problem import Problem
from pinns.program import LeafKey


# Relative difference of the derivative at two states, above which a term is nonlinear.
NONLINEAR = 1e-9
# The program runs once: optimizing it takes longer than it saves.
QUICK: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}


@dataclass(frozen=True)
class Table:
    """One term on one tensor grid, `e` equations, `l` leaves.

    coefficients: (l, e, *grid). known: (e, *grid). gap: how much the coefficients
    depend on u, relative.
    """

    term: Term
    leaves: tuple[LeafKey, ...]
    coefficients: np.ndarray
    known: np.ndarray
    gap: float


# What was compiled, by name and shapes.
Programs = dict[Any, Any]


def shared(programs: Programs | None, key: Any, build: Callable[[], Any]) -> Any:
    """Returns what was built under a key, or builds it."""
    if programs is None:
        return build()
    if key not in programs:
        programs[key] = build()
    return programs[key]


def tables(
    problem: Problem,
    grids: Sequence[Sequence[np.ndarray]],
    terms: Sequence[Term] | None = None,
    programs: Programs | None = None,
) -> tuple[list[list[Table]], dict[str, float]]:
    """Returns per grid one table per term, and the seconds of compiling and running.

    Args:
        problem: the problem.
        grids: each one coordinate array per axis; faces replace theirs by their ends.
        terms: of the problem, if not all.
        programs: of a problem that differs in its coordinates only.
    """
    began = time.perf_counter()
    terms = problem.terms if terms is None else terms
    placed = [
        (term, coordinates_of(problem, term, grid)) for grid in grids for term in terms
    ]
    shapes = tuple(tuple(c.shape for c in coordinates) for _, coordinates in placed)
    key = ("tables", tuple(term.name for term, _ in placed), shapes)

    with precision("float64"), jax.default_device(jax.devices("cpu")[0]):
        arrays = [[jnp.asarray(c) for c in coordinates] for _, coordinates in placed]
        # A one that the compiler does not know: it would evaluate whole grids itself.
        one = jnp.asarray(1.0)

        def build():
            leaves = [leaves_of(problem, term, own) for term, own in placed]

            def run(arrays, one):
                return [
                    _linear_parts(with_lifts(problem, term), keys, own, one)
                    for (term, _), keys, own in zip(placed, leaves, arrays, strict=True)
                ]

            return leaves, jax.jit(run).lower(arrays, one).compile(QUICK)

        leaves, compiled = shared(programs, key, build)
        ready = time.perf_counter()
        found = jax.tree.map(np.asarray, jax.block_until_ready(compiled(arrays, one)))
    done = time.perf_counter()
    flat = [
        Table(term, keys, parts[0], parts[1], float(parts[2]))
        for (term, _), keys, parts in zip(placed, leaves, found, strict=True)
    ]
    count = len(terms)
    split = [flat[i : i + count] for i in range(0, len(flat), count)]
    return split, {"compile": ready - began, "run": done - ready}


def check_linear(owner: str, found: Sequence[Table]) -> None:
    """Raises ValueError for a term that is not linear, or not finite; names it."""
    for table in found:
        finite = (
            np.isfinite(table.coefficients).all() and np.isfinite(table.known).all()
        )
        if not finite:
            raise ValueError(
                f"{owner}: a coordinate function in {table.term.name!r} is not finite; "
                "expected finite values on the whole box"
            )
        if not table.gap <= NONLINEAR:
            raise ValueError(
                f"{owner}: `problem` must be linear, but the term {table.term.name!r} "
                "is not linear in the unknown; the methods newton, adam and lbfgs work"
            )


def coordinates_of(problem: Problem, term: Term, grid) -> list[np.ndarray]:
    """Returns the coordinates of a term's points, each along its own axis."""
    d = problem.box.dimension
    out = []
    for k, (selector, x) in enumerate(zip(term.selectors, grid, strict=True)):
        a, b = problem.box.intervals[k]
        ends = {"lower": [a], "upper": [b], "ends": [a, b]}.get(selector)
        values = np.asarray(x if ends is None else ends, np.float64)
        out.append(values.reshape(along(values.size, k, d)))
    return out


def leaves_of(problem: Problem, term: Term, coordinates) -> tuple[LeafKey, ...]:
    """Returns the derivatives of the unknown that a term asks for."""
    keys: dict[LeafKey, None] = {}
    shape = np.broadcast_shapes(*(c.shape for c in coordinates))

    def discover(*arrays):
        def leaf(*key):
            keys.setdefault(key)
            return jnp.zeros(shape)

        return term.function(leaf, arrays)

    with precision("float64"):
        jax.eval_shape(discover, *coordinates)
    return tuple(keys)


def _linear_parts(function, leaves, coordinates, one):
    """Returns coefficients, known part and the gap of one term."""
    shape = jnp.broadcast_shapes(*(c.shape for c in coordinates))

    def residual(values):
        lookup = dict(zip(leaves, values, strict=True))
        found = function(lambda *key: lookup[key], coordinates)
        return jnp.stack([jnp.broadcast_to(v, shape) for v in found])

    zeros = jnp.zeros((len(leaves), *shape))
    known, push = jax.linearize(residual, zeros)

    def along_leaf(unit):
        wide = unit.reshape(-1, *(1,) * len(shape))
        return push(jnp.broadcast_to(wide, zeros.shape))

    coefficients = jax.vmap(along_leaf)(one * jnp.eye(len(leaves)))
    number = jnp.arange(zeros.size, dtype=zeros.dtype).reshape(zeros.shape)
    state, direction = jnp.cos(one + 2.0 * number), jnp.cos(0.5 * one + 3.0 * number)
    here, there = push(direction), jax.jvp(residual, (state,), (direction,))[1]
    size = jnp.maximum(jnp.max(jnp.abs(there)), jnp.max(jnp.abs(here)))
    gap = jnp.max(jnp.abs(here - there)) / jnp.where(size > 0.0, size, 1.0)
    return coefficients, known, gap
