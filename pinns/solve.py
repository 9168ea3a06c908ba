"""`solve(problem, model) -> Solution`: finds the parameters of a model."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from pinns.domain import positive_integer, positive_number, precision, real_number
from pinns.evaluation import Model
from pinns.losses import GridLoss
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.progress import Progress
from pinns.separable import Separable
from pinns.solution import History, Solution, error_grid, measure
from pinns.solvers.first_order import FirstOrder, State


METHODS = ("adam",)
DTYPES = ("float32", "float64")
LearningRate = float | Callable[[Any], Any]
# One call into the compiled scan should take about this long, so that the progress
# bar, the time limit and Ctrl-C are served often and their cost does not matter.
BLOCK_SECONDS = 0.5
MAX_BLOCK = 500
# A loss that walks the grid visits every value in each step.
MAX_GRID_VALUES = 10**11
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


def solve(
    problem: Problem,
    model: Model,
    method: str = "adam",
    *,
    key: Array | None = None,
    points: int | Sequence[int] | Mapping[str, int] = 64,
    steps: int = 10_000,
    learning_rate: LearningRate | None = None,
    optimizer: optax.GradientTransformation | None = None,
    sampling: str | Mapping[str, str] = "uniform",
    redraw_every: int | None = None,
    seconds: float | None = None,
    dtype: str = "float32",
    progress: bool | None = None,
    throw: bool = True,
    start: Solution | None = None,
) -> Solution:
    """Returns a `Solution` of the problem.

    Minimizes the weighted mean squares of residual and conditions on tensor-product
    points, `sum_i w_i mean(r_i^2)`, by gradient steps run in blocks inside one
    `lax.scan`.

    Args:
        problem: what to solve.
        model: `CP`, `TensorTrain`, `Tucker`, or the pointwise baseline `MLP`.
        method: `"adam"`.
        key: typed random key, `jax.random.key(seed)`; for parameters and points.
        points: collocation points per axis: one number, one per axis, or by name.
        steps: number of steps (of further steps when continuing from `start`).
        learning_rate: of Adam: a number (default 1e-3) or an optax schedule.
        optimizer: any optax transformation instead of Adam.
        sampling: point sets, see `Box.points`: `uniform`, `stratified` (random),
            `chebyshev`, `gauss_legendre`, `equispaced` (quadrature rules, whose
            weights turn mean squares into squared L2 norms over the volume).
        redraw_every: draw new random points every so many steps (SPINN: 100); by
            default they are drawn once.
        seconds: stop after this much solving time, compilation not counted.
        dtype: `"float32"` or `"float64"`.
        progress: show a progress bar; by default only on a terminal.
        throw: raise when the loss becomes NaN or Inf; otherwise return what was
            reached, with `Solution.result` saying so.
        start: a solution of the same problem and model to continue from, with its
            optimizer state and its points.

    Raises:
        ValueError, TypeError: bad arguments, before anything compiles.
        NonFiniteLossError: see `throw`.
        SolveInterrupted: on Ctrl-C; carries the solution so far.

    Example:
        >>> import jax, pinns
        >>> problem = pinns.problems.poisson(dimension=1)
        >>> solution = pinns.solve(
        ...     problem, pinns.CP(rank=4), points=8, steps=2, key=jax.random.key(0)
        ... )
        >>> solution.result, solution.step
        ('finished', 2)
    """
    settings = _check(
        problem, model, method, key, points, steps, learning_rate, optimizer,
        sampling, redraw_every, seconds, dtype, start, progress,
    )  # fmt: skip
    if optimizer is None:
        rate = settings.learning_rate
        optimizer = optax.adam(1e-3 if rate is None else rate)
    with precision(dtype):
        run = _Run(problem, model, settings, optimizer, start)
        return run.solve(progress, throw)


@dataclass(frozen=True)
class _Settings:
    """Checked arguments of `solve`."""

    method: str
    key: Array
    counts: tuple[int, ...]
    samplings: tuple[str, ...]
    steps: int
    learning_rate: LearningRate | None
    custom_optimizer: bool
    redraw_every: int | None
    seconds: float | None
    dtype: str

    def describe(self) -> dict[str, Any]:
        """Returns JSON-able values; functions appear as `"custom"`."""
        rate: Any = 1e-3 if self.learning_rate is None else self.learning_rate
        if self.custom_optimizer or callable(rate):
            rate = "custom"
        return {
            "method": self.method,
            "points": list(self.counts),
            "sampling": list(self.samplings),
            "learning_rate": rate,
            "redraw_every": self.redraw_every,
            "dtype": self.dtype,
            "key": np.asarray(jax.random.key_data(self.key)).tolist(),
            "key_impl": str(jax.random.key_impl(self.key)),
        }


class _Run:
    """One call of `solve`: draws points, steps in blocks, keeps the history."""

    def __init__(
        self,
        problem: Problem,
        model: Model,
        settings: _Settings,
        optimizer: optax.GradientTransformation,
        start: Solution | None,
    ):
        began = time.perf_counter()
        self.problem, self.model, self.settings = problem, model, settings
        self.loss = GridLoss(problem, model, settings.counts, settings.dtype)
        block = min(settings.steps, settings.redraw_every or MAX_BLOCK, MAX_BLOCK)
        self.solver = FirstOrder(self.loss, optimizer, block)
        self.key_points, key_params = jax.random.split(settings.key)
        unknowns = len(problem.unknowns)
        self.first = 0 if start is None else start.step
        self.before = {} if start is None else start.timings
        if start is None:
            params = model.init(
                key_params, problem.box, unknowns=unknowns, dtype=settings.dtype
            )
            self.state = self.solver.init(params)
            self.history = History(problem.groups)
        else:
            self.state = State(
                start.params, start.optimizer_state, jnp.int32(start.step),
                jnp.bool_(True),
            )  # fmt: skip
            self.history = dataclasses.replace(start.history)
        self.prepare = jax.jit(lambda key: self.loss.prepare(self._draw(key)))
        self.prepared = self._prepare(self._draw_index(self.first))
        _check_finite(problem, self.loss, self.prepared)
        last = jnp.int32(0)
        self.block = jax.jit(self.solver.run).lower(
            self.state, self.prepared, last
        ).compile()  # fmt: skip
        self.monitor = self._monitor()
        self.result = "finished"
        self.elapsed = 0.0
        self.compile_seconds = time.perf_counter() - began

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
        return solution

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
            if limit is not None and self.elapsed >= limit and step < target:
                self.result = "time_limit"
                break
            size = self._next_size(spent / max(taken, 1), limit)

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

    def _solution(self) -> Solution:
        seconds = self.elapsed + self.before.get("solve_seconds", 0.0)
        compiling = self.compile_seconds + self.before.get("compile_seconds", 0.0)
        return Solution(
            problem=self.problem,
            model=self.model,
            params=self.state.params,
            dtype=self.settings.dtype,
            history=self.history,
            result=self.result,
            step=int(self.state.step),
            settings=self.settings.describe(),
            timings={
                "compile_seconds": compiling,
                "solve_seconds": seconds,
                "steps_per_second": int(self.state.step) / seconds if seconds else 0.0,
            },
            optimizer_state=self.state.optimizer,
        )


def _check(
    problem, model, method, key, points, steps, learning_rate, optimizer, sampling,
    redraw_every, seconds, dtype, start, progress,
) -> _Settings:  # fmt: skip
    """Returns the settings, or raises naming the argument that is wrong."""
    owner = "pinns.solve"
    if not isinstance(problem, Problem):
        raise TypeError(f"{owner}: `problem` must be a pinns.Problem, got {problem!r}")
    if not isinstance(model, (Separable, MLP)):
        raise TypeError(
            f"{owner}: `model` must be pinns.CP, TensorTrain, Tucker or MLP, "
            f"got {model!r}"
        )
    if method not in METHODS:
        raise ValueError(
            f"{owner}: `method` must be one of {', '.join(METHODS)}, got {method!r}"
        )
    typed = isinstance(key, jax.Array) and key.shape == ()
    if not typed or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"{owner}: `key` must be a typed random key such as jax.random.key(0), "
            f"got {key!r}"
        )
    positive_integer(steps, owner, "steps")
    if redraw_every is not None:
        positive_integer(redraw_every, owner, "redraw_every")
    if dtype not in DTYPES:
        raise ValueError(
            f"{owner}: `dtype` must be one of {', '.join(DTYPES)}, got {dtype!r}"
        )
    if optimizer is not None and learning_rate is not None:
        raise ValueError(
            f"{owner}: `learning_rate` is Adam's; give it inside `optimizer` instead, "
            f"got both"
        )
    if optimizer is not None and not hasattr(optimizer, "update"):
        raise TypeError(
            f"{owner}: `optimizer` must be an optax.GradientTransformation, "
            f"got {optimizer!r}"
        )
    for name, value in (("learning_rate", learning_rate), ("seconds", seconds)):
        if value is None or (name == "learning_rate" and callable(value)):
            continue
        positive_number(value, owner, name)
    if not isinstance(progress, (bool, NoneType)):
        raise TypeError(
            f"{owner}: `progress` must be True, False or None, got {progress!r}"
        )
    model.num_parameters(problem.box)  # a rank that does not fit the box raises
    counts = problem.box.counts(points, owner=owner)
    if math.prod(counts) > MAX_GRID_VALUES:
        raise ValueError(
            f"{owner}: `points` makes a grid of {math.prod(counts):.1e} values, more "
            f"than {MAX_GRID_VALUES:.0e}; take fewer than {max(counts)} per axis"
        )
    samplings = problem.box.samplings(sampling)
    if redraw_every is not None and not {"uniform", "stratified"} & set(samplings):
        raise ValueError(
            f"{owner}: `redraw_every` needs a random `sampling` (uniform or "
            f"stratified) on some axis, got {sampling!r}"
        )
    rate = real_number(learning_rate)
    if start is not None:
        _check_start(owner, start, problem, model, dtype)
    return _Settings(
        method=method,
        key=key,
        counts=counts,
        samplings=samplings,
        steps=int(steps),
        learning_rate=rate if rate is not None else learning_rate,
        custom_optimizer=optimizer is not None,
        redraw_every=redraw_every,
        seconds=seconds,
        dtype=dtype,
    )


def _check_start(owner, start, problem, model, dtype) -> None:
    before, now = (
        (p.name, p.origin, p.box, p.groups) for p in (start.problem, problem)
    )
    if (start.model, start.dtype, *before) != (model, dtype, *now):
        raise ValueError(
            f"{owner}: `start` must be a solution of the same problem, model and "
            f"dtype, got {start!r} with {start.model!r} in {start.dtype} of "
            f"{start.problem.origin or start.problem!r}"
        )
    if start.optimizer_state is None:
        raise ValueError(
            f"{owner}: the solution carries no optimizer state to continue from; load "
            "it with pinns.load(folder, optimizer=...), the optimizer that made it"
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
