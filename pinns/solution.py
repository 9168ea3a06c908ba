"""`Solution`: what `solve` returns, an ordinary function of the coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pinns._norms import error_grid, error_sums, random_points
from pinns.domain import Box, positive_integer, precision
from pinns.evaluation import Model, grid_values, scattered_residual, scattered_values
from pinns.parameters import ENTRY
from pinns.problem import Problem


# Scattered points are evaluated this many at a time, so memory stays bounded.
POINTS_PER_CHUNK = 4096
MAX_GRID_DIMENSION = 8
NUM_SCATTERED = 100_000


@dataclass
class History:
    """What was seen while training.

    steps: (s,) step numbers. loss: (s,) total loss. groups: (s, g) mean square per
    group in the order of `names`. error_steps, errors: where the relative L2 error
    was measured.
    """

    names: tuple[str, ...]
    steps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    loss: np.ndarray = field(default_factory=lambda: np.zeros(0))
    groups: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    error_steps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    errors: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def extend(self, steps, loss, groups) -> None:
        """Appends rows of consecutive steps."""
        groups = np.asarray(groups).reshape(-1, len(self.names))
        old = self.groups if self.groups.size else groups[:0]
        self.steps = np.concatenate([self.steps, steps])
        self.loss = np.concatenate([self.loss, loss])
        self.groups = np.concatenate([old, groups])

    def add_error(self, step: int, error: float) -> None:
        """Appends one error measurement."""
        self.error_steps = np.append(self.error_steps, step)
        self.errors = np.append(self.errors, error)


@dataclass(frozen=True)
class Evaluator:
    """One unknown, or a derivative of it, as a function of the coordinates."""

    solution: Solution
    unknown: int
    orders: tuple[int, ...]

    def __call__(self, *coordinates: Any) -> Array:
        """Returns values on the tensor grid of the given coordinates.

        Args:
            *coordinates: one number or 1-D array per axis, in box order. A number
                drops its axis from the result, as in NumPy indexing.

        Returns:
            Array with one axis per 1-D argument.

        Raises:
            ValueError: a wrong number of arguments or an argument of two or more axes.
        """
        solution = self.solution
        box = solution.problem.box
        _check_count(coordinates, box)
        dtype, params, context = solution.working(coordinates)
        with context:
            arrays = [jnp.asarray(c, dtype) for c in coordinates]
            for name, array in zip(box.names, arrays, strict=True):
                if array.ndim > 1:
                    raise ValueError(
                        f"pinns.Solution: coordinate {name!r} must be a number or a "
                        f"1-D array, got shape {array.shape}; for scattered points "
                        "use solution.at(points) with points (N, d)"
                    )
            flat = tuple(jnp.atleast_1d(a) for a in arrays)
            values = solution.compiled_grid(params, flat, self.unknown, self.orders)
            return values.reshape([n for a in arrays for n in a.shape])

    def at(
        self, points: Float[Array, "*n d"], coordinates: str = "box"
    ) -> Float[Array, "*n"]:
        """Returns values at scattered points, a chunk at a time.

        Args:
            points: (..., d), columns in box order.
            coordinates: `"box"`, or in a mapped box `"physical"`: columns such as x and
                y stand in the places of r and theta.

        Raises:
            ValueError: a last axis that is not the dimension of the box, or physical
                points outside the domain or of a box that has no others.
        """
        solution = self.solution
        names = solution.problem.box.names
        dtype, params, context = solution.working([points])
        if coordinates not in ("box", "physical"):
            raise ValueError(
                "pinns.Solution.at: `coordinates` must be 'box' or 'physical', got "
                f"{coordinates!r}"
            )
        with context:
            points = jnp.asarray(points, dtype)
            if points.ndim < 1 or points.shape[-1] != len(names):
                raise ValueError(
                    f"pinns.Solution.at: `points` must have shape (..., {len(names)}) "
                    f"with columns {', '.join(names)}, got {points.shape}"
                )
            if coordinates == "physical":
                points = solution.problem.box.from_physical(points)
            flat = points.reshape(-1, len(names))
            values = solution.compiled_points(params, flat, self.unknown, self.orders)
            return values.reshape(points.shape[:-1])

    def d(self, axis: str, order: int = 1) -> Evaluator:
        """Returns the derivative along the named axis, itself such a function.

        Raises:
            ValueError: no such axis, or an order that is no positive integer.
        """
        position = self.solution.problem.box.axis(axis, owner="pinns.Solution.d")
        positive_integer(order, "pinns.Solution.d", "order")
        orders = list(self.orders)
        orders[position] += order
        return Evaluator(self.solution, self.unknown, tuple(orders))


@dataclass(eq=False)
class Solution:
    """A solved problem.

    `solution(t, x, y)` evaluates on the tensor grid of 1-D coordinates,
    `solution.at(points)` at scattered points, `solution.d("x", 2)` is a derivative
    with the same two calls. With several unknowns, `solution["u"]` picks one. All of
    them are traceable: use them inside `jax.jit`, `jax.grad`, `jax.vmap`. Values have
    the dtype of the solution; work on float64 ones under `jax.enable_x64(True)` or as
    NumPy arrays, as with any float64 array in JAX.

    Attributes:
        problem, model, params: what was solved, with what, and the result.
        dtype: of the parameters. history: losses per step.
        result: `"finished"`, `"time_limit"`, `"interrupted"` or
            `"non_finite: <where>"`.
        settings: arguments of `solve`. timings: seconds spent, and steps per second.
        optimizer_state: for `resume`.
    """

    problem: Problem
    model: Model
    params: Any
    dtype: str
    history: History
    result: str
    step: int
    settings: dict[str, Any]
    timings: dict[str, float]
    optimizer_state: Any = None

    def __post_init__(self):
        problem, model = self.problem, self.model
        self.compiled_grid = jax.jit(
            partial(grid_values, problem, model), static_argnums=(2, 3)
        )
        self.compiled_points = jax.jit(
            partial(_chunked, partial(scattered_values, problem, model)),
            static_argnums=(2, 3),
        )
        self.compiled_residual = jax.jit(partial(scattered_residual, problem, model))
        self._certificate: Any = None

    def precision(self):
        """Returns the context in which arrays of this solution's dtype exist."""
        return precision(self.dtype)

    def working(self, inputs: Sequence[Any]) -> tuple[str, Any, Any]:
        """Returns dtype, parameters and precision context for these inputs.

        Inside a transformation (`jit`, `grad`, ...) that was entered without x64,
        float64 does not exist, and a float64 solution works in float32.
        """
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in inputs)
        if self.dtype == "float64" and traced and jnp.zeros(0).dtype != "float64":
            single = jax.tree.map(lambda p: np.asarray(p, "float32"), self.params)
            return "float32", single, nullcontext()
        return self.dtype, self.params, self.precision()

    def __getitem__(self, unknown: str) -> Evaluator:
        """Returns one unknown by name; ValueError if there is none of that name."""
        if unknown not in self.problem.unknowns:
            hint = "; what was found for parameters is in `solution.parameters`"
            raise ValueError(
                f"pinns.Solution: the unknowns are ({', '.join(self.problem.unknowns)})"
                f", got {unknown!r}{hint if self.problem.parameters else ''}"
            )
        zeros = (0,) * self.problem.box.dimension
        return Evaluator(self, self.problem.unknowns.index(unknown), zeros)

    def __call__(self, *coordinates: Any) -> Any:
        """Returns values on a tensor grid; a dict by name for several unknowns."""
        return self._each(lambda u: u(*coordinates))

    def at(self, points: Any, coordinates: str = "box") -> Any:
        """Returns values at scattered points; a dict by name for several unknowns.

        See `Evaluator.at`; `coordinates="physical"` belongs to mapped boxes.
        """
        return self._each(lambda u: u.at(points, coordinates))

    def d(self, axis: str, order: int = 1) -> Evaluator:
        """Returns a derivative of the only unknown; see `Evaluator.d`."""
        return self._only("d").d(axis, order)

    def relative_l2(self, points: int | Sequence[int] | None = None) -> Any:
        """Returns `||u - exact|| / ||exact||` on an equispaced grid.

        In a mapped box the squares are weighed with the volume element.

        Args:
            points: per axis; by default 100 in up to three dimensions, fewer above
                (32 in five). Above eight dimensions 100,000 random points are used.

        Raises:
            ValueError: the problem has no exact or reference solution.
        """
        return self._reduced(lambda e: e["relative_l2"], points, "relative_l2")

    def linf(self, points: int | Sequence[int] | None = None) -> Any:
        """Returns the largest absolute error on a grid; see `relative_l2`."""
        return self._reduced(lambda e: e["linf"], points, "linf")

    def residual(self, points: Float[Array, "n d"] | None = None, *, seed: int = 1):
        """Returns the residual of each equation at unseen random points.

        Args:
            points: (N, d); by default 4,096 uniform ones that training did not use.
            seed: of the default points.

        Returns:
            List of (N,) arrays.
        """
        with self.precision():
            unseen = points
            if unseen is None:
                unseen = jnp.asarray(random_points(self.problem.box, 4096, seed))
            d = self.problem.box.dimension
            if np.ndim(unseen) != 2 or np.shape(unseen)[1] != d:
                raise ValueError(
                    f"pinns.Solution.residual: `points` must have shape (N, {d}) with "
                    f"columns {', '.join(self.problem.box.names)}, "
                    f"got {np.shape(unseen)}"
                )
            return self.compiled_residual(self.params, jnp.asarray(unseen, self.dtype))

    def residual_rms(self, *, seed: int = 1) -> float:
        """Returns the root mean square residual at unseen points, all equations."""
        values = [np.asarray(r, np.float64) for r in self.residual(seed=seed)]
        return float(np.sqrt(sum(np.mean(np.square(v)) for v in values)))

    def save(self, folder: str | Path) -> Path:
        """Writes arrays (safetensors) and a JSON description to a folder."""
        from pinns.storage import save

        return save(self, folder)

    def to_xarray(self, points: int | Sequence[int] | Mapping[str, int] = 50):
        """Returns an `xarray.Dataset` on an equispaced grid (extra `xarray`).

        Raises:
            ImportError: xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            raise ImportError(
                "pinns.Solution.to_xarray needs xarray: pip install 'separax[xarray]'"
            ) from error
        box = self.problem.box
        with self.precision():
            grid = box.grid(points, self.dtype)
        coordinates = dict(zip(box.names, map(np.asarray, grid), strict=True))
        variables = {
            name: (box.names, np.asarray(self[name](*grid)))
            for name in self.problem.unknowns
        }
        return xarray.Dataset(variables, coordinates, {"problem": self.problem.name})

    def plot(self, path: str | Path | None = None, **options: Any):
        """Draws the solution; see `pinns.plotting.plot`."""
        from pinns.plotting import plot

        return plot(self, path, **options)

    def rounded(self, tolerance: float, *, points: int | None = None) -> Solution:
        """Returns the solution with smaller ranks; see `pinns.ranks.rounded`."""
        from pinns.ranks import rounded

        return self._remade(
            *rounded(self.problem, self.model, self.params, tolerance, points=points)
        )

    def to(self, form: str) -> Solution:
        """Returns the same function as `"cp"`, `"tt"` or `"tucker"`.

        See `pinns.ranks.converted`.
        """
        from pinns.ranks import converted

        return self._remade(*converted(self.problem, self.model, self.params, form))

    def grown(self, rank: Any, key: Array, *, scale: float = 0.0) -> Solution:
        """Returns the same function with a higher rank, to be trained on.

        `pinns.resume(solution.grown(8, key), steps)` goes on with it, the optimizer
        anew. See `pinns.ranks.grow` for the arguments.
        """
        from pinns.ranks import grow

        return self._remade(
            *grow(self.problem, self.model, self.params, rank, key, scale=scale)
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """What was found for the problem's `parameters`: floats, and functions.

        A function is called like the solution, with coordinates of its own axes.
        """
        from pinns.inverse import values

        return values(self)

    def parameter_errors(self) -> dict[str, float]:
        """Returns relative errors of `parameters` whose truth is known, by name."""
        from pinns.inverse import errors

        return errors(self)

    def uncertainty(self, noise: Any = None, **options: Any):
        """Returns standard errors of unknown numbers; see `pinns.uncertainty`."""
        from pinns.inverse import uncertainty

        return uncertainty(self, noise, **options)

    def certificate(self, **options: Any):
        """Returns residual, boundary misfit and error bound; see `pinns.certificate`.

        Options are those of `pinns.certify`. Without any, what was found is kept, so
        that asking again costs nothing.
        """
        from pinns.certificate import certify

        if options:
            return certify(self, **options)
        if self._certificate is None:
            self._certificate = certify(self)
        return self._certificate

    def __str__(self) -> str:
        """Returns the solution in one line and its certificate, computed at need."""
        return f"{self!r}\n{self.certificate()}"

    def __repr__(self) -> str:
        return (
            f"Solution({self.problem.name}, {self.model.name}, {self.step} steps, "
            f"{self.result})"
        )

    def _remade(self, model: Model, params: Any) -> Solution:
        """Returns the solution with another model; an optimizer starts anew on it."""
        settings = {**self.settings, "remade": True}
        if ENTRY in self.params:
            params = {**params, ENTRY: self.params[ENTRY]}
        return replace(
            self, model=model, params=params, settings=settings, optimizer_state=None
        )

    def _only(self, owner: str) -> Evaluator:
        names = self.problem.unknowns
        if len(names) > 1:
            raise ValueError(
                f"pinns.Solution.{owner}: there are several unknowns, pick one: "
                f"solution[{names[0]!r}].{owner}(...), unknowns ({', '.join(names)})"
            )
        return self[names[0]]

    def _each(self, evaluate) -> Any:
        names = self.problem.unknowns
        if len(names) == 1:
            return evaluate(self[names[0]])
        return {name: evaluate(self[name]) for name in names}

    def _reduced(self, pick, points, owner: str) -> Any:
        exact = self.problem.require_exact(f"Solution.{owner}")
        errors = {
            name: pick(measure(self, i, exact[i], points))
            for i, name in enumerate(self.problem.unknowns)
        }
        return errors if len(errors) > 1 else errors[self.problem.unknowns[0]]


def measure(solution: Solution, unknown: int, exact, points=None) -> dict[str, float]:
    """Returns relative L2 and L-infinity error of one unknown against `exact`.

    The grid is walked one hyperplane of the first axis at a time.
    """
    box, dtype = solution.problem.box, solution.dtype
    zeros = (0,) * box.dimension
    with solution.precision():
        if points is None and box.dimension > MAX_GRID_DIMENSION:
            sample = jnp.asarray(random_points(box, NUM_SCATTERED, 7), dtype)
            ours = solution.compiled_points(solution.params, sample, unknown, zeros)
            theirs = exact(*sample.T)
            sums = [float(s) for s in error_sums(box, list(sample.T), ours, theirs)]
        else:
            counts = error_grid(box.dimension) if points is None else points
            grid = box.grid(counts, dtype)
            row_sums = _compiled_row_sums(
                solution.problem, solution.model, exact, unknown
            )
            rows = row_sums(solution.params, grid)
            squares, norms, largest = (np.asarray(r, np.float64) for r in rows)
            sums = [squares.sum(), norms.sum(), largest.max()]
    norm = math.sqrt(sums[1])
    return {
        "relative_l2": math.sqrt(sums[0]) / norm if norm else math.inf,
        "linf": float(sums[2]),
    }


@lru_cache(maxsize=16)
def _compiled_row_sums(problem, model, exact, unknown):
    # Kept between calls: `solve` follows the error with it many times in one run.
    return jax.jit(partial(_row_sums, problem, model, exact, unknown))


def _row_sums(problem, model, exact, unknown, params, grid):
    rest = grid[1:]
    d = len(grid)

    def row(first):
        coordinates = (first[None], *rest)
        ours = grid_values(problem, model, params, coordinates, unknown)
        placed = [
            c.reshape([-1 if i == k else 1 for k in range(d)])
            for i, c in enumerate(coordinates)
        ]
        return error_sums(problem.box, placed, ours, exact(*placed))

    return jax.lax.map(row, grid[0])


def _chunked(function, params, points, unknown, orders) -> Array:
    """Maps `function(params, points, unknown, orders)` over chunks of the points."""
    n, d = points.shape
    if not n:
        return jnp.zeros(0, points.dtype)
    if n <= POINTS_PER_CHUNK:
        return function(params, points, unknown, orders)
    chunks = -(-n // POINTS_PER_CHUNK)
    padded = jnp.pad(points, ((0, chunks * POINTS_PER_CHUNK - n), (0, 0)), mode="edge")
    values = jax.lax.map(
        lambda p: function(params, p, unknown, orders),
        padded.reshape(chunks, POINTS_PER_CHUNK, d),
    )
    return values.reshape(-1)[:n]


def _check_count(coordinates: Sequence[Any], box: Box) -> None:
    if len(coordinates) != box.dimension:
        raise ValueError(
            f"pinns.Solution: expected {box.dimension} coordinates "
            f"({', '.join(box.names)}), got {len(coordinates)}"
        )
