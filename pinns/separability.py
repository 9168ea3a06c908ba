"""How separable a function is: the singular values of its unfoldings.

A function of d coordinates is a matrix in many ways: rows are the values of some
coordinates, columns those of the others. The singular values of these unfoldings (of
the function in L2, by Gauss-Legendre quadrature) decide which ranks a separable model
needs: the rank at a tolerance is the number of values without which the relative L2
error of the unfolding would exceed it. One axis against all others bounds Tucker
ranks, the axes up to a bond against the rest bound tensor-train ranks; a CP rank is
at least the largest of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns._conversions import tt_layout
from pinns._norms import random_points
from pinns._sweeps import (
    Cut,
    cp_axis_cuts,
    cp_sides,
    cut,
    multiply,
    triangular,
    tt_axis_cuts,
    tt_bond_cuts,
    tucker_axis_cuts,
)
from pinns.domain import AxisPoints, Box, precision
from pinns.evaluation import along
from pinns.factored.automaton import compile_words
from pinns.factored.separation import separate
from pinns.factored.sums import NotSeparableError
from pinns.functions import bind_coordinates
from pinns.problem import Problem
from pinns.program import trace
from pinns.ranks import weighted
from pinns.separable import Separable
from pinns.solution import Solution


TOLERANCES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10)
METHODS = ("auto", "grid", "factored")
POINTS = 64
# Largest table that the method "grid" forms, and the fewest points per axis that
# "auto" accepts for it.
MAX_TABLE = 10**6
MIN_GRID_POINTS = 24
# Known functions that are not separable as written are split to this tolerance.
SPLIT_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Separability:
    """Singular values of a function's unfoldings.

    name: of the function. axes: singular values of every axis against all others.
    bonds: of the axes up to a bond against the rest, keyed `"x|y"` by the axes on
    either side. All in decreasing order; the squares of each list sum to the mean
    square over the box. points: per axis. method: how they were computed.
    """

    name: str
    axes: dict[str, np.ndarray]
    bonds: dict[str, np.ndarray]
    points: tuple[int, ...]
    method: str

    @property
    def rms(self) -> float:
        """Root mean square of the function over the box."""
        return float(np.linalg.norm(next(iter(self.axes.values()))))

    def tucker_ranks(self, tolerance: float) -> tuple[int, ...]:
        """Returns the rank of every axis' unfolding at a relative L2 tolerance."""
        return tuple(numerical_rank(v, tolerance) for v in self.axes.values())

    def tt_ranks(self, tolerance: float) -> tuple[int, ...]:
        """Returns the rank of every bond's unfolding at a relative L2 tolerance."""
        return tuple(numerical_rank(v, tolerance) for v in self.bonds.values())

    def plot(self, path: str | Path | None = None):
        """Draws the singular values; see `pinns.plotting.plot_separability`."""
        from pinns.plotting import plot_separability

        return plot_separability(self, path)

    def __str__(self) -> str:
        head = ["unfolding", *(f"{t:.0e}" for t in TOLERANCES)]
        rows = [head]
        for label, values in self._labeled():
            ranks = (numerical_rank(values, t) for t in TOLERANCES)
            rows.append([label, *(self._shown(r, len(values)) for r in ranks)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [f"{self.name}: ranks at relative L2 tolerances"]
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join(cells))
        return "\n".join(lines)

    def _shown(self, rank: int, most: int) -> str:
        """Returns a rank as text; one that the points limit is a lower bound."""
        limited = self.method == "grid" and rank == most
        return f"≥{rank}" if limited else str(rank)

    def _labeled(self) -> list[tuple[str, np.ndarray]]:
        return [*self.axes.items(), *self.bonds.items()]


def numerical_rank(values: np.ndarray, tolerance: float) -> int:
    """Returns how many singular values a relative L2 error of `tolerance` takes.

    Raises:
        ValueError: a tolerance that is not between 0 and 1.

    Example:
        >>> numerical_rank(np.array([1.0, 1e-3, 1e-7]), 1e-5)
        2
    """
    if not 0.0 < tolerance < 1.0:
        raise ValueError(
            "pinns.separability: `tolerance` must be a number between 0 and 1, "
            f"got {tolerance!r}"
        )
    tails = np.sqrt(np.cumsum(values[::-1] ** 2)[::-1])
    return int(np.sum(tails > tolerance * tails[0])) if tails[0] > 0.0 else 0


def separability(
    what: Problem | Solution | Callable[..., Any],
    box: Box | None = None,
    *,
    points: int | Sequence[int] | Mapping[str, int] | None = None,
    method: str = "auto",
) -> Separability | dict[str, Separability]:
    """Returns the singular values of unfoldings, and with them the ranks needed.

    - a function of coordinates with its `box`: one `Separability`;
    - a `Problem`: a dictionary with the source (the residual at u = 0), every
      coefficient that is not constant (the derivative of the residual with respect to
      a derivative of an unknown, at u = 0) and the exact solution if there is one;
    - a `Solution`: one `Separability`, or a dictionary by unknown.

    Args:
        what: function, problem or solution.
        box: the domain of a function; must be left out otherwise.
        points: Gauss-Legendre points per axis, 64 by default, fewer on large grids.
        method: `"grid"` tabulates; `"factored"` never forms a grid: it works for
            functions that are sums of products as written, in any dimension, and for
            solutions; `"auto"`: the grid where 24 points per axis fit, else factored.

    Raises:
        ValueError: bad options, or a function that is neither small enough for a grid
            nor separable as written, with the reason.
        TypeError: something else than a function, problem or solution.

    Example:
        >>> import jax.numpy as jnp, pinns
        >>> box = pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0))
        >>> found = separability(lambda x, y: jnp.sin(x + y), box)
        >>> found.tt_ranks(1e-10), found.tucker_ranks(1e-10)
        ((2,), (2, 2))

    Source: singular values and ranks of unfoldings as in Oseledets, Tensor-train
    decomposition, SIAM J. Sci. Comput. 33 (2011), and De Lathauwer, De Moor &
    Vandewalle, A multilinear singular value decomposition, SIAM J. Matrix Anal. Appl.
    21 (2000).
    """
    owner = "pinns.separability"
    if method not in METHODS:
        raise ValueError(
            f"{owner}: `method` must be one of {', '.join(METHODS)}, got {method!r}"
        )
    if isinstance(what, (Problem, Solution)) and box is not None:
        raise ValueError(
            f"{owner}: `box` belongs to a function; a {type(what).__name__} has its "
            f"own, got {box!r}"
        )
    if isinstance(what, Solution):
        problem = what.problem
        found = {
            name: _of_solution(what, i, points, method)
            for i, name in enumerate(problem.unknowns)
        }
        return found if len(found) > 1 else found[problem.unknowns[0]]
    if isinstance(what, Problem):
        return {
            name: _Known(name, what.box, function, points).run(method)
            for name, function in known_functions(what).items()
        }
    if not isinstance(box, Box):
        raise TypeError(
            f"{owner}: a function needs its `box`, a pinns.Box, got {box!r}"
        )
    name = str(getattr(what, "__name__", "function")).strip("<>")
    return _Known(name, box, bind_coordinates(what, box, owner), points).run(method)


def known_functions(problem: Problem) -> dict[str, Callable[..., Array]]:
    """Returns source, varying coefficients and exact solution by name."""
    found: dict[str, Callable[..., Array]] = {}
    leaves = _leaves(problem)
    varying = _varying(problem, leaves)
    many = problem.equations > 1
    for i in range(problem.equations):
        of = f" of equation {i + 1}" if many else ""
        found[f"source{of}"] = _Residual(problem, leaves, i, None)
        for j in np.flatnonzero(varying[i]):
            unknown, orders = leaves[j]
            name = _leaf_name(problem, unknown, orders)
            found[f"coefficient of {name}{of.replace(' of', ' in')}"] = _Residual(
                problem, leaves, i, int(j)
            )
    for name, function in zip(problem.unknowns, problem.exact or (), strict=False):
        found["exact" if len(problem.unknowns) == 1 else f"exact {name}"] = function
    return found


@dataclass(frozen=True, eq=False)
class _Residual:
    """The source of an equation, or its derivative by one leaf, at u = 0."""

    problem: Problem
    leaves: list
    equation: int
    leaf: int | None

    def __call__(self, *coordinates: Array) -> Array:
        shape = jnp.broadcast_shapes(*(c.shape for c in coordinates))
        dtype = coordinates[0].dtype

        def residual(value):
            def source(*leaf):
                chosen = self.leaf is not None and leaf == self.leaves[self.leaf]
                return value if chosen else jnp.zeros(shape, dtype)

            return self.problem.residual_values(source, coordinates)[self.equation]

        zero = jnp.zeros(shape, dtype)
        if self.leaf is None:
            return residual(zero)
        return jax.jvp(residual, (zero,), (jnp.ones(shape, dtype),))[1]


def _leaves(problem: Problem) -> list[tuple[int, tuple[int, ...]]]:
    seen: dict[Any, None] = {}

    def discover(*coordinates):
        def source(unknown, orders):
            seen.setdefault((unknown, tuple(orders)))
            return jnp.zeros(1)

        return problem.residual_values(source, coordinates)

    one = jax.ShapeDtypeStruct((1,), jnp.zeros(0).dtype)
    jax.eval_shape(discover, *[one] * problem.box.dimension)
    return list(seen)


def _varying(problem: Problem, leaves) -> np.ndarray:
    """Returns (equations, leaves) flags: does the coefficient vary over the box?"""
    with precision("float64"):
        points = np.asarray(random_points(problem.box, 8, 3)).T
        columns = [jnp.asarray(column) for column in points]

        def residual(values):
            lookup = dict(zip(leaves, values, strict=True))
            found = problem.residual_values(lambda *k: lookup[k], columns)
            return jnp.stack(found)

        zero = [jnp.zeros(points.shape[1])] * len(leaves)
        slopes = jax.jit(jax.jacobian(residual))(zero)
    # The residual at a point depends on the leaves at that point alone.
    rows = np.stack([np.einsum("enn->en", np.asarray(s)) for s in slopes], axis=1)
    spread = np.ptp(rows, axis=2)
    return spread > 1e-12 * np.abs(rows).max(axis=2, initial=1e-300)


def _leaf_name(problem: Problem, unknown: int, orders) -> str:
    suffix = "".join(n * o for n, o in zip(problem.box.names, orders, strict=True))
    name = problem.unknowns[unknown]
    return f"{name}_{suffix}" if suffix else name


@dataclass
class _Known:
    """A function on a box, to be unfolded by one of the two methods."""

    name: str
    box: Box
    function: Callable[..., Array]
    points: Any
    reason: str = field(default="", init=False)

    def run(self, method: str) -> Separability:
        table = _grid_points(self.box, self.points)
        small = math.prod(table) <= MAX_TABLE
        fine = method == "auto" and (
            self.points is not None or min(table) >= MIN_GRID_POINTS
        )
        if small and (method == "grid" or fine):
            return self._on_grid(table)
        if method == "grid":
            raise ValueError(_too_large(table))
        try:
            return self._factored()
        except NotSeparableError as error:
            self.reason = str(error)
        if method == "auto" and small and min(table) > 3:
            return self._on_grid(table)
        raise ValueError(
            f"pinns.separability: {self.name!r} is not separable as written: "
            f"{self.reason}; method='grid' needs few axes, got {self.box.dimension}"
        )

    def _on_grid(self, counts: Sequence[int]) -> Separability:
        with precision("float64"):
            rule = self.box.points(counts, "gauss_legendre", dtype="float64")
            d = len(rule)
            placed = [
                p.coordinates.reshape(along(n, k, d))
                for k, (p, n) in enumerate(zip(rule, counts, strict=True))
            ]
            values = np.asarray(jax.jit(self.function)(*placed))
        return _of_table(self.name, self.box, values, rule, "grid")

    def _factored(self) -> Separability:
        wanted = POINTS if self.points is None else self.points
        counts = self.box.counts(wanted, owner="pinns.separability")
        d = len(counts)
        with precision("float64"):
            rule = self.box.points(counts, "gauss_legendre", dtype="float64")
            program = trace(
                lambda leaf, x: [self.function(*x)],
                counts,
                "float64",
                [along(n, k, d) for k, n in enumerate(counts)],
            )
            x = [np.asarray(p.coordinates) for p in rule]
            found = separate(program, x, SPLIT_TOLERANCE)
        words = {muls: c for (_, muls), c in found.equations[0].words.items()}
        cores = _train(words, found.arrays, counts)
        cores = _with_weights(cores, rule)
        axes, bonds = tt_axis_cuts(cores), tt_bond_cuts(cores)
        return _collected(self.name, self.box, axes, bonds, counts, "factored")


def _grid_points(box: Box, points) -> tuple[int, ...]:
    if points is not None:
        return box.counts(points, owner="pinns.separability")
    return (max(2, min(POINTS, int(MAX_TABLE ** (1 / box.dimension) + 1e-9))),) * (
        box.dimension
    )


def _too_large(counts: Sequence[int]) -> str:
    return (
        f"pinns.separability: method='grid' forms at most {MAX_TABLE:.0e} values, got "
        f"a grid of {math.prod(counts):.1e}; take fewer `points`, or method='factored'"
    )


def _train(words, arrays, counts: Sequence[int]) -> list[np.ndarray]:
    """Returns cores (r, n, s) of a sum of products: bonds are automaton states."""
    if not words:
        return [np.zeros((1, n, 1)) for n in counts]
    levels = compile_words(words, [b""] * len(counts))
    cores = []
    for edges, n in zip(levels, counts, strict=True):
        shape = [
            1 + max(getattr(e, end) for e in edges) for end in ("source", "target")
        ]
        core = np.zeros((shape[0], n, shape[1]))
        for e in edges:
            values = arrays[e.symbol] if e.symbol else np.ones(n)
            core[e.source, :, e.target] += e.weight * values
        cores.append(core)
    return cores


def _with_weights(cores, rule: Sequence[AxisPoints]) -> list[np.ndarray]:
    return [
        c * np.sqrt(np.asarray(p.weights))[None, :, None]
        for c, p in zip(cores, rule, strict=True)
    ]


def _of_table(name: str, box: Box, values, rule, method: str) -> Separability:
    counts = tuple(p.coordinates.shape[0] for p in rule)
    table = np.broadcast_to(np.asarray(values, np.float64), counts)
    if not np.isfinite(table).all():
        raise ValueError(
            f"pinns.separability: {name!r} is not finite at the quadrature points"
        )
    for k, p in enumerate(rule):
        root = np.sqrt(np.asarray(p.weights)).reshape(along(counts[k], k, len(counts)))
        table = table * root
    axes = [_matrix_cut(np.moveaxis(table, k, 0), 1) for k in range(len(counts))]
    bonds = [_matrix_cut(table, k) for k in range(1, len(counts))]
    return _collected(name, box, axes, bonds, counts, method)


def _matrix_cut(table: np.ndarray, split: int) -> Cut:
    matrix = table.reshape(math.prod(table.shape[:split]), -1)
    small = triangular(matrix if matrix.shape[0] > matrix.shape[1] else matrix.T)
    return cut(small, np.eye(small.shape[1]))


def _of_solution(solution: Solution, unknown: int, points, method: str) -> Separability:
    problem, model = solution.problem, solution.model
    box, name = problem.box, problem.unknowns[unknown]
    lifted = problem.lifts[unknown] is not None
    if method == "grid" or lifted or not isinstance(model, Separable):
        if method == "factored":
            raise ValueError(
                "pinns.separability: method='factored' takes CP, tensor-train and "
                "Tucker solutions without the lift of hard values, "
                f"got {solution!r}; method='grid' takes any"
            )
        counts = _grid_points(box, points)
        if math.prod(counts) > MAX_TABLE:
            raise ValueError(_too_large(counts))
        with solution.precision():
            rule = box.points(counts, "gauss_legendre", dtype=solution.dtype)
            values = np.asarray(solution[name](*(p.coordinates for p in rule)))
        return _of_table(name, box, values, rule, "grid")
    wanted = None if points is None else box.counts(points, owner="pinns.separability")
    factors, cores = weighted(problem, model, solution.params, wanted)
    own = factors[unknown]
    counts = tuple(f.shape[0] for f in own)
    if model.name == "tt":
        train = tt_layout(own)
        axes, bonds = tt_axis_cuts(train), tt_bond_cuts(train)
    elif model.name == "cp":
        left, right = cp_sides(own)
        pairs = zip(left[1:-1], right[1:-1], strict=True)
        axes, bonds = cp_axis_cuts(own), [cut(a, b.T) for a, b in pairs]
    else:
        core = (cores or [])[unknown]
        small = multiply(core, [triangular(f) for f in own])
        axes = tucker_axis_cuts(core, own)
        bonds = [_matrix_cut(small, k) for k in range(1, small.ndim)]
    return _collected(name, box, axes, bonds, counts, "factored")


def _collected(name, box: Box, axes, bonds, counts, method: str) -> Separability:
    pairs = zip(box.names[:-1], box.names[1:], strict=True)
    return Separability(
        name,
        {n: c.values for n, c in zip(box.names, axes, strict=True)},
        {f"{a}|{b}": c.values for (a, b), c in zip(pairs, bonds, strict=True)},
        tuple(counts),
        method,
    )


__all__ = ["Separability", "known_functions", "numerical_rank", "separability"]
