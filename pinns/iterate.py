"""Iterative methods: solvers run by the training engine, watched and recorded."""

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

from jaxcore import training
from pinns._norms import error_grid
from pinns.evaluation import Model, initial_params
from pinns.factored import FactoredLoss
from pinns.fingerprint import describe_optimizer, describe_problem
from pinns.losses import GridLoss
from pinns.problem import Problem
from pinns.progress import Progress
from pinns.scattered import ADAPT_EVERY, ADAPTIVE, PointLoss, compiled_draw
from pinns.settings import STRICT, Settings, check_grid
from pinns.solution import History, Solution, measure
from pinns.solvers.adaptive import AdaptiveFirstOrder
from pinns.solvers.first_order import FirstOrder, State, as_task
from pinns.solvers.gauss_newton import GaussNewton
from pinns.solvers.quasi_newton import QuasiNewton
from pinns.solvers.varpro import Projected
from pinns.solvers.weighted import WeightedFirstOrder


# The error is followed on a small grid while training; final figures use a full one.
MONITOR_VALUES = 50_000
SIGINT_CODE = 130
# The history here has every step; the engine need not keep one as well.
NEVER = 2**31 - 1
# What the key is folded with for the random parts of a weighting scheme.
WEIGHTING = 7
# The same for points that follow the residual.
ADAPTING = 11


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


class SolveTerminated(SystemExit):
    """SIGTERM while solving; `solution` holds the parameters so far.

    Uncaught, the process exits with 143, or with 0 once a checkpoint is saved.
    """

    def __init__(self, code: int, message: str, solution: Solution):
        super().__init__(code)
        self.message, self.solution = message, solution

    def __str__(self) -> str:
        return self.message


class Run:
    """One call of `solve`: draws points, lets the engine step, keeps the history."""

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
        self.key = key
        self.key_points, key_params = jax.random.split(key)
        self.first = 0 if start is None else start.step
        self.before = {} if start is None else start.timings
        self.optimizer = optimizer
        self.loss, self.prepared = self._loss()
        self.grid_terms = getattr(self.loss, "grid_terms", {})
        self.compressions = _compressions(self.loss)
        self.solver = self._solver()
        self._start(start, key_params)
        self.monitor = self._monitor()
        self.result = "finished"
        self.elapsed = self.compile_seconds = 0.0
        self.taken = 0
        self.build_seconds = time.perf_counter() - began

    def _loss(self) -> tuple[Any, Any]:
        """Returns the loss and what it prepared for the first points."""
        problem, settings = self.problem, self.settings
        model: Any = self.model
        key = jax.random.fold_in(self.key_points, self._draw_index(self.first))
        if settings.loss == "points":
            points = PointLoss(problem, model, settings.counts[0], settings.dtype)
            self.prepare = compiled_draw(points, settings.samplings[0])
            return points, self.prepare(key)
        if settings.loss == "grid":
            scheme = settings.weighting
            grid = GridLoss(
                problem,
                model,
                settings.counts,
                settings.dtype,
                batch_faces=scheme is None or scheme.batch_faces,
            )
            self.prepare = jax.jit(lambda key: grid.prepare(self._draw(key)))
            first = self.prepare(key)
            _check_finite(problem, grid, first)
            return grid, first
        points = self._draw(key)
        strict = settings.loss in STRICT
        loss = FactoredLoss(
            problem,
            model,
            points,
            settings.dtype,
            choose="factored" if strict else "auto",
            orthogonalize=settings.loss == "orthogonalized",
        )
        if loss.grid is not None:
            check_grid("pinns.solve", settings.counts)
        prepared = loss.prepare(points)
        if loss.grid is not None:
            _check_finite(problem, loss.grid, prepared.grid)
        return loss, prepared

    def _solver(self) -> Any:
        method, groups = self.settings.method, len(self.problem.groups)
        if self.settings.weighting is not None:
            key = jax.random.fold_in(self.key, WEIGHTING)
            return WeightedFirstOrder(
                self.loss, self.optimizer, self.settings.weighting, key
            )
        kind = self.settings.samplings[0]
        if kind in ADAPTIVE:
            key = jax.random.fold_in(self.key, ADAPTING)
            every = self.settings.redraw_every or ADAPT_EVERY
            return AdaptiveFirstOrder(
                self.loss, self.optimizer, kind, every, key, lambda: self.prepared
            )
        if method == "adam":
            return FirstOrder(self.loss, self.optimizer)
        if method == "gauss_newton":
            return GaussNewton(self.loss)
        if method == "varpro":
            return QuasiNewton(Projected(self.loss), "ssbroyden", groups=groups)
        return QuasiNewton(self.loss, method, groups=groups)

    def _start(self, start: Solution | None, key: Array) -> None:
        if start is None:
            params = initial_params(self.problem, self.model, key, self.settings.dtype)
            self.state = self.solver.init(params)
            self.history = History(self.problem.groups)
            return
        self.history = dataclasses.replace(start.history)
        step = jnp.int32(start.step)
        if self.settings.method == "adam" and start.optimizer_state is not None:
            self.state = State(start.params, start.optimizer_state, step)
        else:  # curvature is not kept: these methods learn it anew
            self.state = self.solver.init(start.params)._replace(step=step)

    def solve(self, progress: bool | None, throw: bool) -> Solution:
        try:
            with Progress(progress, self.problem.name, self.settings.steps) as bar:
                self._fit(bar)
        except training.NonFiniteError as error:
            self._break(error)
            if throw:
                raise NonFiniteLossError(self._explain(), self._solution()) from None
        except training.StorageError as error:
            error.solution = self._solution()
            raise
        except (KeyboardInterrupt, training.Interrupted) as error:
            self.result = "interrupted"
            solution = self._solution()
            code = getattr(error, "code", SIGINT_CODE)
            if code == SIGINT_CODE:
                raise SolveInterrupted(solution) from None
            message = f"terminated after {solution.step} steps"
            raise SolveTerminated(code, message, solution) from None
        self._warn_of_floor()
        return self._solution()

    def _fit(self, bar: Progress) -> None:
        settings = self.settings
        every = (
            None if self.settings.samplings[0] in ADAPTIVE else settings.redraw_every
        )
        engine = settings.engine
        rows, axes = None, None
        if engine.count > 1:
            rows, axes = settings.counts[0], self._axes()
        source = training.FunctionBatches(
            self._read, rows, axes=axes, every=every, description=self._description()
        )
        began = time.perf_counter()
        target = self.first + settings.steps

        def watch(progress: training.Progress) -> str | None:
            if not self.elapsed:
                self.compile_seconds = time.perf_counter() - began - progress.seconds
            self.elapsed += progress.seconds
            self.state, step = progress.state, int(progress.state.step)
            taken = max(step - progress.first, 0)  # fewer than asked for at the end
            self.taken += taken
            self._record(progress.first, progress.metrics, taken)
            bar.update(step - self.first, self.history, self._error(step), self.elapsed)
            if bool(self.solver.converged(self.state)):
                return "converged"
            limit = settings.seconds
            late = limit is not None and self.elapsed >= limit
            return "time_limit" if late and progress.step < target else None

        result = training.fit(
            as_task(self.solver, self.problem.groups),
            source,
            target,
            key=self.key,
            state=self.state,
            start=self.first,
            callbacks=[watch],
            devices=engine.devices,
            parallel="none" if engine.count == 1 else "sharded",
            checkpoint=engine.checkpoint,
            log=self._log(),
            on_error=engine.on_error,
        )
        self.state, self.result = result.state, result.result

    def _axes(self) -> Any:
        """Returns which arrays of the prepared grid are split along the first axis."""
        axes = jax.tree.map(lambda x: 0 if self._is_grid(x) else None, self.prepared)
        others = (None,) * (self.problem.box.dimension - 1)
        return axes._replace(coordinates=(0, *others))

    def _is_grid(self, x: Array) -> bool:
        counts = self.settings.counts
        return x.ndim == len(counts) > 1 and len(x) == counts[0]

    def _description(self) -> dict[str, Any]:
        """Returns what a checkpoint must agree in with the run that goes on from it."""
        described = self.settings.describe()
        if self.settings.engine.checkpoint is None:
            return {}
        if described["learning_rate"] == "custom":
            described["learning_rate"] = describe_optimizer(
                self.optimizer, self.state.params
            )
        # What computes the loss may change with the devices; the key is known to `fit`.
        left_out = ("reason", "key", "key_impl", "loss")
        return {
            **describe_problem(self.problem),
            "model": repr(self.model),
            **{k: v for k, v in described.items() if k not in left_out},
        }

    def _log(self) -> training.Log:
        log = self.settings.engine.log
        if isinstance(log, training.Log):
            return log
        if log is None and self.settings.engine.checkpoint is None:
            return training.Log(every=NEVER, bar=False)
        return training.Log(log, bar=False)

    def _break(self, error: training.NonFiniteError) -> None:
        """Keeps the last good state and the losses of the step that broke."""
        self.state = error.state
        first = error.step - len(error.metrics["loss"])
        self._record(first, error.metrics, len(error.metrics["loss"]))
        self.result = f"non_finite: {self._culprit()}"

    def _warn_of_floor(self) -> None:
        """Says so when the loss is rounding noise, as it soon is in float32."""
        if not isinstance(self.loss, FactoredLoss) or not self.history.loss.size:
            return
        floor, last = self.loss.floor(self.prepared), float(self.history.loss[-1])
        if self.settings.dtype == "float32" and last <= floor:
            cures = ["dtype='float64'"]
            if self.settings.loss != "orthogonalized":
                cures.append("loss='orthogonalized'")
            warnings.warn(
                f"pinns.solve: the loss {last:.2e} has reached the rounding floor "
                f"{floor:.2e} of the factored norm in float32 and no longer measures "
                f"the residual; {' or '.join(cures)} lowers the floor",
                stacklevel=4,
            )

    def _draw_index(self, step: int) -> int:
        every = self.settings.redraw_every
        adaptive = self.settings.samplings[0] in ADAPTIVE
        return 0 if every is None or adaptive else step // every

    def _read(self, step: int, rows: slice) -> Any:
        """Returns what the loss has prepared for the points of a step."""
        index, prepared = self._draw_index(step), self.prepared
        if index != self._draw_index(self.first):
            prepared = self.prepare(jax.random.fold_in(self.key_points, index))
        if self.settings.engine.count == 1:
            return prepared
        own = jax.tree.map(lambda x: x[rows] if self._is_grid(x) else x, prepared)
        first, *others = prepared.coordinates
        return own._replace(coordinates=(first[rows], *others))

    def _draw(self, key: Array):
        sampling = dict(
            zip(self.problem.box.names, self.settings.samplings, strict=True)
        )
        return self.problem.box.points(
            self.settings.counts, sampling, key=key, dtype=self.settings.dtype
        )

    def _record(self, first: int, metrics: dict[str, np.ndarray], count: int) -> None:
        """Keeps the first so many rows; a solver that converged took no others."""
        rows = {n: np.asarray(v, np.float64)[:count] for n, v in metrics.items()}
        names = [f"loss/{name}" for name in self.history.names]
        self.history.extend(
            first + 1 + np.arange(count),
            rows["loss"],
            np.stack([rows[name] for name in names], axis=-1),
        )

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
            f"{int(self.state.step)} are kept in this error's `solution`"
            + (
                ". A smaller learning_rate often helps"
                if self.settings.method == "adam"
                else ""
            )
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
            settings={
                **self.settings.describe(),
                "grid_terms": self.grid_terms,
                "compressions": self.compressions,
            },
            timings={
                "build_seconds": self.build_seconds,
                "compile_seconds": compiling,
                "solve_seconds": seconds,
                "steps_per_second": self.taken / self.elapsed if self.elapsed else 0.0,
            },
            optimizer_state=(
                self.state.optimizer if self.settings.method == "adam" else None
            ),
        )


def _compressions(loss: Any) -> dict[str, list[dict[str, Any]]]:
    """Returns by term which known functions were split, with rank and error."""
    plan = getattr(loss, "plan", None)
    return (
        {}
        if plan is None
        else {
            name: [
                {"axes": list(c.axes), "rank": c.rank, "error": c.error} for c in found
            ]
            for name, found in plan.compressions.items()
        }
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
                    f"{_where(problem, loss, prepared, array, ~np.isfinite(array))}; "
                    "expected finite values on the whole box"
                )
        fixed, moving = hoisted
        for value in plan.program.denominators((*fixed, *moving)):
            array = np.asarray(value)
            if not array.all():
                where = _where(problem, loss, prepared, array, array == 0.0)
                raise ValueError(
                    f"pinns.solve: {plan.term.name!r} divides by a coordinate function "
                    f"that vanishes{where}; expected one without zeros on the whole box"
                )


def _where(
    problem: Problem, loss: GridLoss, prepared, array: np.ndarray, bad: np.ndarray
) -> str:
    """Returns the first bad point, if the array spans the grid of the residual."""
    counts = loss.counts
    if array.ndim == len(counts) + 1:  # slabs of the first axis
        array, bad = (a.reshape(-1, *a.shape[2:]) for a in (array, bad))
    if any(n not in (1, m) for n, m in zip(array.shape, counts, strict=False)):
        return ""
    if array.ndim != len(counts):
        return ""
    first = np.argwhere(bad)[0]
    at = [
        f"{name} = {float(x[i]):g}"
        for name, x, i, n in zip(
            problem.box.names, prepared.coordinates, first, array.shape, strict=True
        )
        if n > 1
    ]
    return f" at {', '.join(at)}" if at else ""
