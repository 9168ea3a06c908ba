"""Time marching: one problem solved window after window.

A long time interval is cut into windows. The state at the end of each is the initial
condition of the next, its velocity too where the problem has one. `Marched` joins the
pieces into one function of the whole interval.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pinns._norms import error_grid, random_points
from pinns.conditions import Condition, Data, Initial
from pinns.domain import positive_integer, real_number
from pinns.evaluation import Model
from pinns.nonlinear import NotConvergedError
from pinns.problem import Problem
from pinns.solution import Solution
from pinns.solve import solve
from pinns.solvers._sequel import Window


OWNER = "pinns.march"
# Values of one window that are compared with the exact solution at a time.
MAX_VALUES = 10**6
# A window in which Newton's method does not converge is halved, at most so often.
HALVINGS = 3


@dataclass(frozen=True)
class Piece:
    """One unknown, or a derivative of it, as a function of the whole interval."""

    marched: Marched
    unknown: str
    orders: tuple[tuple[str, int], ...] = ()

    def __call__(self, *coordinates: Any) -> Array:
        """Returns values on the tensor grid of the coordinates; see `Evaluator`."""
        names = self.marched.problem.box.names
        if len(coordinates) != len(names):
            raise ValueError(
                f"pinns.Marched: expected {len(names)} coordinates "
                f"({', '.join(names)}), got {len(coordinates)}"
            )
        k = self.marched.axis
        if jnp.ndim(coordinates[k]) > 1:
            raise ValueError(
                f"pinns.Marched: coordinate {names[k]!r} must be a number or a 1-D "
                f"array, got shape {jnp.shape(coordinates[k])}"
            )
        place = sum(jnp.ndim(c) for c in coordinates[:k])  # of its axis in the result

        def values(window: int, chosen: Any) -> Array:
            return self._of(window)(*coordinates[:k], chosen, *coordinates[k + 1 :])

        return self._joined(coordinates[k], values, place)

    def at(self, points: Float[Array, "*n d"]) -> Float[Array, "*n"]:
        """Returns values at scattered points (..., d), columns in box order.

        Raises:
            ValueError: a last axis that is not the dimension of the box.
        """
        names, k = self.marched.problem.box.names, self.marched.axis
        if jnp.ndim(points) < 1 or jnp.shape(points)[-1] != len(names):
            raise ValueError(
                f"pinns.Marched.at: `points` must have shape (..., {len(names)}) with "
                f"columns {', '.join(names)}, got {jnp.shape(points)}"
            )
        if isinstance(points, jax.core.Tracer):
            return self._selected(points[..., k], lambda w: self._of(w).at(points))
        array = np.asarray(points)
        flat = array.reshape(-1, len(names))
        window = self.marched.window_of(flat[:, k])
        out = np.zeros(len(flat), self.marched.dtype)
        for w in np.unique(window):
            out[window == w] = np.asarray(self._of(int(w)).at(flat[window == w]))
        with self.marched.windows[0].precision():
            return jnp.asarray(out.reshape(array.shape[:-1]))

    def d(self, axis: str, order: int = 1) -> Piece:
        """Returns the derivative along the named axis; see `Evaluator.d`."""
        self._of(0).d(axis, order)  # raises for what is wrong
        return replace(self, orders=(*self.orders, (axis, order)))

    def _of(self, window: int):
        found = self.marched.windows[window][self.unknown]
        for axis, order in self.orders:
            found = found.d(axis, order)
        return found

    def _joined(self, times: Any, values, place: int) -> Array:
        if isinstance(times, jax.core.Tracer):
            shape = [-1 if i == place else 1 for i in range(place + jnp.ndim(times))]
            first = values(0, times)
            wide = times.reshape(shape + [1] * (first.ndim - len(shape)))
            return self._selected(wide, lambda w: values(w, times))
        array = np.asarray(times)
        window = self.marched.window_of(np.atleast_1d(array))
        if array.ndim == 0:
            return values(int(window[0]), array)
        found = [
            (
                np.flatnonzero(window == w),
                np.asarray(values(int(w), array[window == w])),
            )
            for w in np.unique(window)
        ]
        if not found:
            return values(0, array)
        out = np.concatenate([part for _, part in found], axis=place)
        order = np.argsort(np.concatenate([where for where, _ in found]))
        with self.marched.windows[0].precision():
            return jnp.asarray(np.take(out, order, axis=place))

    def _selected(self, times: Array, values) -> Array:
        """Returns what every point's own window says, where times are not known."""
        total = values(0)
        for w, edge in enumerate(self.marched.edges[1:-1], 1):
            total = jnp.where(times >= edge, values(w), total)
        return total


@dataclass(eq=False)
class Marched:
    """A problem solved in windows; evaluates like a `pinns.Solution`.

    `marched(t, x)` on tensor grids, `marched.at(points)`, `marched.d("x", 2)`,
    `marched["u"]`, `relative_l2`, `linf`, `residual_rms`. At the edge of two windows
    the later one is asked.

    Attributes:
        problem: on the whole interval. windows: a `Solution` each.
        axis: index of the time axis. edges: of the windows, one more than these.
        seconds: of the whole march, compilation included.
    """

    problem: Problem
    windows: tuple[Solution, ...]
    axis: int
    edges: tuple[float, ...]
    seconds: float

    @property
    def dtype(self) -> str:
        return self.windows[0].dtype

    @property
    def result(self) -> str:
        """How the march ended: as all its windows, or as the first that failed."""
        results = [w.result for w in self.windows]
        good = ("finished", "converged")
        return next((r for r in results if r not in good), results[-1])

    @property
    def timings(self) -> dict[str, float]:
        """Seconds of all windows together."""
        names = ("build_seconds", "compile_seconds", "solve_seconds")
        return {n: sum(w.timings[n] for w in self.windows) for n in names}

    def window_of(self, times: Any) -> np.ndarray:
        """Returns the number of the window that each time belongs to."""
        inner = np.asarray(self.edges[1:-1])
        return np.searchsorted(inner, np.asarray(times, np.float64), side="right")

    def __getitem__(self, unknown: str) -> Piece:
        self.windows[0][unknown]  # raises for an unknown that there is none of
        return Piece(self, unknown)

    def __call__(self, *coordinates: Any) -> Any:
        """Returns values on a tensor grid; a dict by name for several unknowns."""
        return self._each(lambda u: u(*coordinates))

    def at(self, points: Any) -> Any:
        """Returns values at scattered points; a dict by name for several unknowns."""
        return self._each(lambda u: u.at(points))

    def d(self, axis: str, order: int = 1) -> Piece:
        """Returns a derivative of the only unknown."""
        names = self.problem.unknowns
        if len(names) > 1:
            raise ValueError(
                "pinns.Marched.d: there are several unknowns, pick one: "
                f"marched[{names[0]!r}].d(...), unknowns ({', '.join(names)})"
            )
        return self[names[0]].d(axis, order)

    def relative_l2(self, points: int | Sequence[int] | None = None) -> Any:
        """Returns `||u - exact|| / ||exact||` on an equispaced grid of the whole box.

        Args:
            points: per axis; by default as for `Solution.relative_l2`.

        Raises:
            ValueError: the problem has no exact or reference solution.
        """
        return self._measured(points, "relative_l2")

    def linf(self, points: int | Sequence[int] | None = None) -> Any:
        """Returns the largest absolute error on a grid; see `relative_l2`."""
        return self._measured(points, "linf")

    def residual_rms(self, *, seed: int = 1) -> float:
        """Returns the root mean square residual at unseen points, all equations."""
        points = random_points(self.problem.box, 4096, seed)
        window = self.window_of(points[:, self.axis])
        total = 0.0
        for w, solution in enumerate(self.windows):
            if (window == w).any():
                found = solution.residual(points[window == w])
                total += sum(float(np.sum(np.square(np.asarray(r)))) for r in found)
        return math.sqrt(total / len(points))

    def __repr__(self) -> str:
        return (
            f"Marched({self.problem.name}, {len(self.windows)} windows along "
            f"{self.problem.box.names[self.axis]!r}, {self.result})"
        )

    def _each(self, evaluate) -> Any:
        names = self.problem.unknowns
        if len(names) == 1:
            return evaluate(self[names[0]])
        return {name: evaluate(self[name]) for name in names}

    def _measured(self, points, what: str) -> Any:
        exact = self.problem.require_exact(f"Marched.{what}")
        box = self.problem.box
        counts = error_grid(box.dimension) if points is None else points
        with self.windows[0].precision():
            grid = [np.asarray(g) for g in box.grid(counts, self.dtype)]
        errors = {
            name: self._error(self[name], jax.jit(function), grid, what)
            for name, function in zip(self.problem.unknowns, exact, strict=True)
        }
        return errors if len(errors) > 1 else errors[self.problem.unknowns[0]]

    def _error(self, ours: Piece, exact, grid: list[np.ndarray], what: str) -> float:
        k = self.axis
        rest = math.prod(len(g) for i, g in enumerate(grid) if i != k)
        chunk = max(1, MAX_VALUES // rest)
        sums = np.zeros(3)
        for start in range(0, len(grid[k]), chunk):
            part = [*grid]
            part[k] = grid[k][start : start + chunk]
            placed = np.meshgrid(*part, indexing="ij", sparse=True)
            with self.windows[0].precision():
                theirs = np.asarray(exact(*map(jnp.asarray, placed)), np.float64)
            gap = np.asarray(ours(*part), np.float64) - theirs
            theirs = np.broadcast_to(theirs, gap.shape)
            sums[:2] += np.sum(gap**2), np.sum(theirs**2)
            sums[2] = max(sums[2], np.abs(gap).max())
        if what == "linf":
            return float(sums[2])
        return math.sqrt(sums[0] / sums[1]) if sums[1] else math.inf


def march(
    problem: Problem,
    model: Model | None = None,
    method: str = "auto",
    *,
    windows: int | Sequence[float],
    axis: str = "t",
    key: Array | None = None,
    **options: Any,
) -> Marched:
    """Returns the solution of a problem, found window after window in time.

    Every window is a problem of its own for `pinns.solve`: the same residual and the
    same conditions on the other axes, and the end state of the window before as initial
    condition. Errors of the windows add up, and grow with the equation.

    With `method="newton"` all windows share what was compiled for the first two, and a
    window in which the method does not converge is halved, three times at most. With
    other methods each window compiles its own program: for small networks that takes
    longer than the training.

    Args:
        problem: with `Initial` conditions on `axis` for every unknown that the
            equation differentiates along it, of order 1 too where it does so twice.
        model, method: as of `pinns.solve`, for each window.
        windows: their number, all of equal length; or the inner edges, ascending.
        axis: to march along.
        key: typed random key; each window gets its own of it.
        **options: of `pinns.solve`, for each window: `points`, `steps`, `size`, ...

    Raises:
        ValueError, TypeError: no initial condition on the axis, edges that do not
            ascend inside the interval, `Data` conditions, which have no window; and
            what `pinns.solve` raises.

    Example:
        >>> import pinns
        >>> problem = pinns.problems.wave1d()
        >>> marched = march(problem, method="direct", size=16, windows=4)
        >>> marched
        Marched(wave1d, 4 windows along 't', finished)
        >>> marched.relative_l2() < 1e-4
        True
    """
    k, edges = _checked(problem, windows, axis)
    for name in ("start", "checkpoint", "log"):
        if options.get(name) is not None:
            raise ValueError(
                f"{OWNER}: `{name}` belongs to one solve and must be None here, got "
                f"{options[name]!r}"
            )
    if axis in (options.get("cluster") or ()):
        raise ValueError(
            f"{OWNER}: `cluster` must name axes of space, got {axis!r}, the axis to "
            "march along; give `windows` as edges that are closer there"
        )
    began = time.perf_counter()
    found: list[Solution] = []
    ends = [edges[0]]
    queue = [(a, b, HALVINGS) for a, b in pairwise(edges)][::-1]
    keys = _keys(key)
    window = Window(k)
    while queue:
        a, b, halvings = queue.pop()
        part = _window(problem, k, a, b, found[-1] if found else None)
        part.window = window
        solution = _attempt(
            part, model, method, not halvings, key=next(keys), **options
        )
        if solution is None:
            middle = 0.5 * (a + b)
            queue += [(middle, b, halvings - 1), (a, middle, halvings - 1)]
            window = window.again()
            continue
        found.append(solution)
        ends.append(b)
        if not _usable(solution):
            ends[-1] = edges[-1]
            break
        window = window.next()
    seconds = time.perf_counter() - began
    return Marched(problem, tuple(found), k, tuple(ends), seconds)


def _attempt(part: Problem, model, method, last: bool, **options) -> Solution | None:
    """Returns the solution of a window; None where a shorter one is to be tried."""
    try:
        found = solve(part, model, method, **options)
    except NotConvergedError:
        if last:
            raise
        return None
    failed = found.result.startswith("not_converged")
    return None if failed and not last else found


def _keys(key: Array | None) -> Iterator[Any]:
    """Yields a key for every solve; none where none is given."""
    for i in itertools.count():
        yield None if key is None else jax.random.fold_in(key, i)


def _usable(solution: Solution) -> bool:
    """A window that failed with `throw=False` ends the march."""
    return not solution.result.startswith(("non_finite", "not_converged"))


def _checked(problem, windows, axis) -> tuple[int, tuple[float, ...]]:
    if not isinstance(problem, Problem):
        raise TypeError(f"{OWNER}: `problem` must be a pinns.Problem, got {problem!r}")
    if problem.parameters:
        raise ValueError(
            f"{OWNER}: `problem` must have no unknown parameters, which belong to the "
            f"whole interval, got ({', '.join(problem.parameters.names)})"
        )
    k = problem.box.axis(axis, owner=OWNER)
    if not any(isinstance(c, Initial) and c.axis == axis for c in problem.conditions):
        raise ValueError(
            f"{OWNER}: `problem` must have an Initial condition on axis {axis!r}, got "
            f"{', '.join(problem.groups)}"
        )
    for condition in problem.conditions:
        if isinstance(condition, Initial) and condition.hard:
            raise ValueError(
                f"{OWNER}: Initial conditions must be soft, which can start from the "
                f"end of a window, got {condition.group(problem.box)!r} with hard=True"
            )
        if isinstance(condition, Data):
            raise ValueError(
                f"{OWNER}: `problem` must have no Data conditions, which belong to the "
                f"whole interval, got {condition.group(problem.box)!r}"
            )
        names = getattr(condition, "axes", None)
        if not isinstance(condition, Initial) and (names is None or axis in names):
            raise ValueError(
                f"{OWNER}: conditions on axis {axis!r} must be Initial, got "
                f"{condition.group(problem.box)!r}"
            )
    a, b = problem.box.intervals[k]
    if isinstance(windows, Sequence) and not isinstance(windows, str):
        inner = [number for w in windows if (number := real_number(w)) is not None]
        edges = (a, *inner, b)
        ascending = all(x < y for x, y in pairwise(edges))
        if len(inner) != len(windows) or not ascending:
            raise ValueError(
                f"{OWNER}: `windows` must be a number or ascending inner edges in "
                f"({a:g}, {b:g}), got {windows!r}"
            )
        return k, edges
    count = positive_integer(windows, OWNER, "windows")
    return k, tuple(float(e) for e in np.linspace(a, b, count + 1))


def _window(
    problem: Problem, k: int, a: float, b: float, before: Solution | None
) -> Problem:
    """Returns the problem of one window, from the end of the solution before."""
    name = problem.box.names[k]
    box = problem.box.with_interval(name, (a, b))
    conditions: list[Condition] = []
    for condition in problem.conditions:
        if isinstance(condition, Initial) and condition.axis == name:
            if before is None:
                conditions.append(condition)
                continue
            unknown = condition.unknown or problem.unknowns[0]
            value = _EndState(before, k, unknown, condition.order)
            conditions.append(replace(condition, value=value))
        else:
            conditions.append(condition)
    return Problem(
        box,
        problem.residual,
        conditions,
        unknowns=problem.unknowns,
        equations=problem.stated_equations,
        exact=None
        if problem.exact is None
        else dict(zip(problem.unknowns, problem.exact, strict=True)),
        weight=problem.weight,
        name=problem.name,
    )


class _EndState:
    """Value, or derivative in time, of a solution at the end of its interval.

    A function of all coordinates, each an array along its own axis or all of one shape.
    """

    def __init__(self, solution: Solution, k: int, unknown: str, order: int):
        self.solution, self.k = solution, k
        self.end = solution.problem.box.intervals[k][1]
        found = solution[unknown]
        self.evaluate = found.d(solution.problem.box.names[k]) if order else found

    def __call__(self, *coordinates: Array) -> Array:
        d = len(coordinates)
        end = jnp.full_like(coordinates[self.k], self.end)
        moved = [*coordinates[: self.k], end, *coordinates[self.k + 1 :]]
        alone = all(c.ndim == d and c.size == c.shape[i] for i, c in enumerate(moved))
        if alone:
            flat = [c.reshape(-1) for c in moved]
            flat[self.k] = flat[self.k][:1]
            return self._values(self.evaluate, *flat)
        shape = jnp.broadcast_shapes(*(c.shape for c in moved))
        points = jnp.stack([jnp.broadcast_to(c, shape) for c in moved], axis=-1)
        return self._values(self.evaluate.at, points)

    def _values(self, function, *arguments: Array) -> Array:
        return function(*arguments).astype(arguments[0].dtype)


__all__ = ["Marched", "Piece", "march"]
