"""Marching in time windows: one iterative solve per window instead of one for all time.

For a transport operator the iteration of a whole time interval needs about as many
steps as waves pass through the box in that time, and each step is paid with all the
earlier ones. Windows in which few waves pass need few steps. The pieces are joined into
one polynomial in time at the end.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np

from pinns.problem import Problem
from pinns.solvers._axes import Axis, make_axis
from pinns.solvers._paths import Outcome, iterative
from pinns.solvers._system import System
from pinns.solvers._tables import Table, tables


# Waves (times pi) that pass in one window, and the most windows there are.
WAVES = 40.0
MAX_WINDOWS = 64
# Polynomials of a window beyond its share of those of the whole interval.
EXTRA = 8


def count_windows(system: System) -> tuple[int, int]:
    """Returns the axis to march along and the number of windows; (0, 1) for none.

    An axis qualifies if all its conditions are at its lower end, as many as its highest
    derivative, in a polynomial basis. What counts is transport: derivatives along other
    axes of at most the order in time, as far as the preconditioner leaves them out: all
    of those on an axis that it has no place for, else what differs from the average.
    """
    table = system.interior
    for k, axis in enumerate(system.axes):
        order = max(orders[k] for _, orders, _ in table.leaves)
        given = system.constraints[k].rows.shape[0]
        polynomial = axis.kind in ("chebyshev", "legendre") and not any(axis.flags)
        polynomial = polynomial and not axis.stretch[1]
        if not (order and given == order and system.starts[k] and polynomial):
            continue
        leading = max(
            float(np.abs(own).max())
            for (_, orders, _), own in zip(
                table.leaves, table.coefficients, strict=True
            )
            if orders[k] == order
        )
        waves = 0.0
        for (_, orders, _), own in zip(table.leaves, table.coefficients, strict=True):
            others = [j for j in range(system.dimension) if j != k and orders[j]]
            if len(others) != 1 or orders[others[0]] > order or orders[k]:
                continue
            (j,) = others
            rest = tuple(i for i in range(system.dimension) if i != j)
            gap = np.abs(own[0]).max()
            if not {j, k} & set(system.inverse.unstable):
                gap = np.abs(own[0] - own[0].mean(axis=rest, keepdims=True)).max()
            a, b = system.axes[j].interval
            speed = (gap / leading) ** (1.0 / order)
            waves += speed * (math.pi * system.axes[j].rank / (b - a)) ** (
                orders[j] / order
            )
        a, b = axis.interval
        count = math.ceil(waves * (b - a) / WAVES)
        if count > 1:
            return k, min(count, MAX_WINDOWS)
    return 0, 1


def march(
    system: System, problem: Problem, k: int, count: int, tolerance: float
) -> tuple[np.ndarray, Outcome, float]:
    """Returns core, report and compile seconds of a solve in windows along axis k.

    Args:
        system: of the whole interval, whose functions hold the result.
        problem: the problem.
        k: axis to march along. count: number of windows.
        tolerance: of every solve.
    """
    whole = system.axes[k]
    edges = np.linspace(*whole.interval, count + 1)
    size = min(whole.count, math.ceil(whole.count / count) + EXTRA)
    pieces = [
        make_axis(whole.kind, size, (float(a), float(b))) for a, b in pairwise(edges)
    ]
    nodes = [axis.nodes for axis in system.axes]
    nodes[k] = np.concatenate([piece.nodes for piece in pieces])
    (found,), seconds = tables(problem, [nodes])
    order = system.constraints[k].rows.shape[0]
    start: list[np.ndarray] | None = None
    values = np.zeros((len(whole.nodes), *_rest(system, k)))
    outcomes = []
    for i, piece in enumerate(pieces):
        axes = [*system.axes[:k], piece, *system.axes[k + 1 :]]
        part = slice(i * size, (i + 1) * size)
        own = System(
            system.owner,
            problem,
            axes,
            [_cut(t, k, part) for t in found],
            None if start is None else (k, start),
        )
        outcome = iterative(own, tolerance)
        outcomes.append(outcome)
        core = np.moveaxis(own.core(outcome.w), k, 0)
        inside = (whole.nodes >= edges[i]) & (whole.nodes <= edges[i + 1])
        values[inside] = np.tensordot(
            piece.jets(whole.nodes[inside], 0)[0], core, axes=(1, 0)
        )
        ends = piece.jets(edges[i + 1 : i + 2], order - 1)
        start = [np.tensordot(end[0], core, axes=(0, 0)) for end in ends]
    core = np.moveaxis(np.tensordot(whole.analysis(), values, axes=(1, 0)), 0, k)
    total = Outcome(
        np.zeros(system.shape),
        "iterative",
        max(o.condition for o in outcomes),
        max(o.residual for o in outcomes),
        sum(o.iterations for o in outcomes),
        all(o.converged for o in outcomes),
        max(o.preconditioned or 1.0 for o in outcomes),
    )
    return core, total, seconds["compile"]


def _rest(system: System, k: int) -> tuple[int, ...]:
    ranks: list[Axis] = [*system.axes[:k], *system.axes[k + 1 :]]
    return tuple(axis.rank for axis in ranks)


def _cut(table: Table, k: int, part: slice) -> Table:
    """Returns a table on the nodes of one window; faces of axis k stay whole."""
    if table.term.selectors[k] != "interior":
        return table
    d = len(table.term.selectors)
    known = table.known[(slice(None), *_along(d, k, part))]
    coefficients = table.coefficients[(slice(None), slice(None), *_along(d, k, part))]
    return replace(table, known=known, coefficients=coefficients)


def _along(d: int, k: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if j == k else slice(None) for j in range(d))
