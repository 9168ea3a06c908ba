"""Iterative methods: blocks of compiled steps, watched and recorded."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from pinns.evaluation import Model
from pinns.factored import FactoredLoss
from pinns.losses import GridLoss
from pinns.problem import Problem
from pinns.progress import Progress
from pinns.settings import Settings, check_grid
from pinns.solution import History, Solution, error_grid, measure
from pinns.solvers.first_order import FirstOrder, State
from pinns.solvers.gauss_newton import GaussNewton
from pinns.solvers.quasi_newton import QuasiNewton
from pinns.solvers.varpro import Projected


# One call into the compiled scan should take about this long, so that the progress
# bar, the time limit and Ctrl-C are served often and their cost does not matter.
BLOCK_SECONDS = 0.5
MAX_BLOCK = 500
# The error is followed on a small grid while training; final figures use a full one.
MONITOR_VALUES = 50_000


class NonFiniteLossError(FloatingPointError):
    """Training met NaN or Inf; `solution` holds the last good parameters."""

    def __init__(self, message: str, solution: Solution):
        super().__init__(message)
        self.solution = solution


class SolveInterrupted(KeyboardInterrupt):
    """Ctrl-C while solving; `solution` holds the parameters so far."""

    def __init__(self, solution: Solution):
        super().__init__(f"interrupted after {solution.step} steps")
        self.solution = solution


class Run:
    """One call of `solve`: draws points, steps in blocks, keeps the history."""

    def __init__(
        self,
        problem: Problem,
        model: Model,
        settings: Settings,
        optimizer: optax.GradientTransformation,
        start: Solution | None,
    ):
        began = time.perf_counter()
        self.problem, self.model, self.settings = problem, model, settings
        key: Any = settings.key
        self.key_points, key_params = jax.random.split(key)
        self.first = 0 if start is None else start.step
        self.before = {} if start is None else start.timings
        self.loss, self.prepared = self._loss()
        self.grid_terms = getattr(self.loss, "grid_terms", {})
        block = min(settings.steps, settings.redraw_every or MAX_BLOCK, MAX_BLOCK)
        self.solver = self._solver(optimizer, block)
        self._start(start, key_params)
        built = time.perf_counter()
        last = jnp.int32(0)
        self.block = jax.jit(self.solver.run).lower(
            self.state, self.prepared, last
        ).compile()  # fmt: skip
        self.monitor = self._monitor()
        self.result = "finished"
        self.elapsed = 0.0
        self.build_seconds = built - began
        self.compile_seconds = time.perf_counter() - built

    def _loss(self) -> tuple[Any, Any]:
        """Returns the loss and what it prepared for the first points."""
        problem, settings = self.problem, self.settings
        model: Any = self.model
        key = jax.random.fold_in(self.key_points, self._draw_index(self.first))
        if settings.loss == "grid":
            grid = GridLoss(problem, model, settings.counts, settings.dtype)
            self.prepare = jax.jit(lambda key: grid.prepare(self._draw(key)))
            first = self.prepare(key)
            _check_finite(problem, grid, first)
            return grid, first
        points = self._draw(key)
        loss = FactoredLoss(
            problem, model, points, settings.dtype, choose=settings.loss
        )
        if loss.grid is not None:
            check_grid("pinns.solve", settings.counts)
        prepared = loss.prepare(points)
        if loss.grid is not None:
            _check_finite(problem, loss.grid, prepared.grid)
        return loss, prepared

    def _solver(self, optimizer: optax.GradientTransformation, block: int):
        method, groups = self.settings.method, len(self.problem.groups)
        if method == "adam":
            return FirstOrder(self.loss, optimizer, block)
        if method == "gauss_newton":
            return GaussNewton(self.loss, block)
        if method == "varpro":
            return QuasiNewton(Projected(self.loss), "ssbroyden", block, groups=groups)
        return QuasiNewton(self.loss, method, block, groups=groups)

    def _start(self, start: Solution | None, key: Array) -> None:
        if start is None:
            unknowns = len(self.problem.unknowns)
            params = self.model.init(
                key, self.problem.box, unknowns=unknowns, dtype=self.settings.dtype
            )
            self.state = self.solver.init(params)
            self.history = History(self.problem.groups)
            return
        self.history = dataclasses.replace(start.history)
        step = jnp.int32(start.step)
        if self.settings.method == "adam" and start.optimizer_state is not None:
            self.state = State(
                start.params, start.optimizer_state, step, jnp.bool_(True)
            )
        else:  # curvature is not kept: these methods learn it anew
            self.state = self.solver.init(start.params)._replace(step=step)

    def solve(self, progress: bool | None, throw: bool) -> Solution:
        target = self.first + self.settings.steps
        try:
            with Progress(progress, self.problem.name, self.settings.steps) as bar:
                self._loop(target, bar)
        except KeyboardInterrupt:
            self.result = "interrupted"
            raise SolveInterrupted(self._solution()) from None
        solution = self._solution()
        if self.result.startswith("non_finite") and throw:
            raise NonFiniteLossError(self._explain(), solution)
        self._warn_of_floor()
        return solution

    def _warn_of_floor(self) -> None:
        """Says so when the loss is rounding noise, as it soon is in float32."""
        if not isinstance(self.loss, FactoredLoss) or not self.history.loss.size:
            return
        floor, last = self.loss.floor(self.prepared), float(self.history.loss[-1])
        if self.settings.dtype == "float32" and last <= floor:
            warnings.warn(
                f"pinns.solve: the loss {last:.2e} has reached the rounding floor "
                f"{floor:.2e} of the factored norm in float32 and no longer measures "
                "the residual; dtype='float64' lowers the floor, loss='grid' has none",
                stacklevel=4,
            )

    def _loop(self, target: int, bar: Progress) -> None:
        limit = self.settings.seconds
        step, size = self.first, min(10, self.solver.block)
        draw = self._draw_index(step)
        while step < target:
            every = self.settings.redraw_every
            if every and self._draw_index(step) != draw:
                draw = self._draw_index(step)
                self.prepared = self._prepare(draw)
            until = min(target, step + size)
            if every:
                until = min(until, (step // every + 1) * every)
            began = time.perf_counter()
            state, rows = self.block(self.state, self.prepared, jnp.int32(until))
            state = jax.block_until_ready(state)
            spent = time.perf_counter() - began
            self.elapsed += spent
            done = int(state.step) - step
            self.state = state
            taken = self._record(step, rows)
            step += done
            if not bool(state.finite):
                self.result = f"non_finite: {self._culprit()}"
                break
            bar.update(step - self.first, self.history, self._error(step), self.elapsed)
            if self._converged():
                self.result = "converged"
                break
            if limit is not None and self.elapsed >= limit and step < target:
                self.result = "time_limit"
                break
            size = self._next_size(spent / max(taken, 1), limit)

    def _converged(self) -> bool:
        converged = getattr(self.solver, "converged", None)
        return converged is not None and bool(converged(self.state))

    def _next_size(self, per_step: float, limit: float | None) -> int:
        wanted = BLOCK_SECONDS
        if limit is not None:
            wanted = min(wanted, max(limit - self.elapsed, 0.0))
        return int(np.clip(wanted / max(per_step, 1e-7), 1, self.solver.block))

    def _draw_index(self, step: int) -> int:
        every = self.settings.redraw_every
        return 0 if every is None else step // every

    def _prepare(self, index: int):
        return self.prepare(jax.random.fold_in(self.key_points, index))

    def _draw(self, key: Array):
        sampling = dict(
            zip(self.problem.box.names, self.settings.samplings, strict=True)
        )
        return self.problem.box.points(
            self.settings.counts, sampling, key=key, dtype=self.settings.dtype
        )

    def _record(self, step: int, rows) -> int:
        taken = np.asarray(rows.taken)
        count = int(taken.sum())
        self.history.extend(
            step + 1 + np.arange(count),
            np.asarray(rows.total, np.float64)[taken],
            np.asarray(rows.groups, np.float64)[taken],
        )
        return count

    def _monitor(self):
        if self.problem.exact is None or self.problem.box.dimension > 8:
            return None
        return error_grid(self.problem.box.dimension, MONITOR_VALUES)

    def _error(self, step: int) -> float | None:
        if self.monitor is None:
            return None
        solution = self._solution()
        errors = [
            measure(solution, i, exact, self.monitor)["relative_l2"]
            for i, exact in enumerate(self.problem.exact or ())
        ]
        error = math.sqrt(sum(e**2 for e in errors) / len(errors))
        self.history.add_error(step, error)
        return error

    def _culprit(self) -> str:
        last = self.history.groups[-1]
        bad = [n for n, v in zip(self.history.names, last, strict=True)
               if not math.isfinite(v)]  # fmt: skip
        return bad[0] if bad else "gradient"

    def _explain(self) -> str:
        losses = ", ".join(
            f"{n} = {v:.3g}"
            for n, v in zip(self.history.names, self.history.groups[-1], strict=True)
        )
        return (
            f"pinns.solve: step {int(self.history.steps[-1])} gave a non-finite value "
            f"in {self._culprit()} ({losses}); the parameters of step "
            f"{int(self.state.step)} are kept in this error's `solution`. A smaller "
            "learning_rate often helps"
        )

    def _params(self):
        if self.settings.method != "varpro":
            return self.state.params
        if not hasattr(self, "solved"):
            self.solved = jax.jit(self.solver.loss.solved)
        return self.solved(self.state.params, self.prepared)

    def _solution(self) -> Solution:
        seconds = self.elapsed + self.before.get("solve_seconds", 0.0)
        compiling = self.compile_seconds + self.before.get("compile_seconds", 0.0)
        return Solution(
            problem=self.problem,
            model=self.model,
            params=self._params(),
            dtype=self.settings.dtype,
            history=self.history,
            result=self.result,
            step=int(self.state.step),
            settings={**self.settings.describe(), "grid_terms": self.grid_terms},
            timings={
                "build_seconds": self.build_seconds,
                "compile_seconds": compiling,
                "solve_seconds": seconds,
                "steps_per_second": int(self.state.step) / seconds if seconds else 0.0,
            },
            optimizer_state=(
                self.state.optimizer if self.settings.method == "adam" else None
            ),
        )


def _check_finite(problem: Problem, loss: GridLoss, prepared) -> None:
    """Raises ValueError if a source or condition is not finite at the points."""
    hoisted_of = list(prepared.hoisted)
    for _, members in loss.batches.values():
        for i in members:
            hoisted_of[i] = loss.plans[i].prepare(prepared.coordinates)
    for plan, hoisted in zip(loss.plans, hoisted_of, strict=True):
        for value in jax.tree.leaves(hoisted):
            array = np.asarray(value)
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise ValueError(
                    f"pinns.solve: a coordinate function (source, coefficient or "
                    f"value) in {plan.term.name!r} is not finite"
                    f"{_where(problem, loss, prepared, array)}; expected finite "
                    "values on the whole box"
                )


def _where(problem: Problem, loss: GridLoss, prepared, array: np.ndarray) -> str:
    """Returns the first bad point, if the array spans the grid of the residual."""
    counts = loss.counts
    if array.ndim == len(counts) + 1:  # slabs of the first axis
        array = array.reshape(-1, *array.shape[2:])
    if any(n not in (1, m) for n, m in zip(array.shape, counts, strict=False)):
        return ""
    if array.ndim != len(counts):
        return ""
    bad = np.argwhere(~np.isfinite(array))[0]
    at = [
        f"{name} = {float(x[i]):g}"
        for name, x, i, n in zip(
            problem.box.names, prepared.coordinates, bad, array.shape, strict=True
        )
        if n > 1
    ]
    return f" at {', '.join(at)}" if at else ""
