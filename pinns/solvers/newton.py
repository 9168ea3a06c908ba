"""Nonlinear problems in fixed bases: Newton's method on the coefficient tensor.

Each step solves the linearized problem for a correction, by the same paths as a linear
problem: its operator has variable coefficients, so mostly one dense matrix or GMRES,
preconditioned by the nearest sum of one-dimensional operators and solved only as
accurately as the step deserves. Conditions must be linear; they hold from the start.
With data, or conditions that vary along their face, the steps are Gauss-Newton's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array

from pinns.domain import positive_integer, positive_number
from pinns.problem import Problem
from pinns.separable import Params, Tucker
from pinns.solvers._attempt import (
    Attempt,
    check,
    drawn_waves,
    is_random,
    larger_sizes,
    make_axes,
    refuse_singular,
    sizes_of,
    tucker,
    unseen_points,
    warn,
)
from pinns.solvers._kronecker import contract, scale
from pinns.solvers._linearized import Linearized
from pinns.solvers._paths import SOLVERS, Outcome, choose
from pinns.solvers._sequel import Window, tabulated
from pinns.solvers._system import System
from pinns.solvers._tables import check_linear


OWNER = "pinns.solve_newton"
# A step is shortened until the residual falls by this share of what it should.
ENOUGH = 1e-4
SHORTEST = 2.0**-12
# Linear solves: no more accurate than that, relative; in between, like the last step.
LOOSEST, TIGHTEST = 1e-3, 1e-12
# GMRES is faster than one matrix from so many unknowns on, where it converges.
SMALL = 150
# A linear solve that left more of its residual makes no useful step.
USEFUL = 0.5
# Below this relative step the residual is rounding noise and need not fall further.
NOISE = 1e-7
# Sizes that are chosen automatically grow at most so often after a failure.
RETRIES = 2


class NewtonStep(NamedTuple):
    """What one step did.

    residual: norm before it, relative to the first. step: size of the full step,
    relative to the solution. length: share of it that was taken. iterations: of the
    linear solver. linear_residual: of the linear solve, relative.
    """

    residual: float
    step: float
    length: float
    iterations: int
    linear_residual: float


class NewtonResult(NamedTuple):
    """What `solve_newton` returns.

    model: a `pinns.Tucker` over the basis. params: its parameters.
    result: `converged`, `time_limit` or `not_converged: <why>`.
    steps: one `NewtonStep` each, of the last size. residuals: root mean square of the
    residual on the nodes after each of them. info: as that of `solve_direct`.
    """

    model: Tucker
    params: Params
    result: str
    steps: tuple[NewtonStep, ...]
    residuals: tuple[float, ...]
    info: dict[str, Any]


def solve_newton(
    problem: Problem,
    *,
    basis: str | Mapping[str, str] = "chebyshev",
    cluster: Mapping[str, tuple[float, float]] | None = None,
    size: int | Sequence[int] | None = None,
    key: Array | None = None,
    dtype: str = "float64",
    tolerance: float = 1e-10,
    path: str = "auto",
    steps: int = 50,
    seconds: float | None = None,
    window: Window | None = None,
) -> NewtonResult:
    """Returns the solution of a nonlinear problem in fixed bases.

    From `C_0`, which meets the conditions, `C_{k+1} = C_k + s_k D_k` with D_k the
    solution of the problem linearized at C_k. The length s_k is 1 or halved until the
    residual falls. Ends when D_k, which estimates the error of C_k, is `tolerance`
    times C_k.

    Args:
        problem: one equation for one unknown, with linear conditions.
        basis, cluster, size, key, dtype: as of `solve_direct`. Automatic sizes grow
            until the coefficients have fallen; each size starts from the solution of
            the last.
        tolerance: relative size of the last step, and of the last coefficients where
            the size is automatic.
        path: of the linear solves, as of `solve_direct`.
        steps: at most, for one size.
        seconds: no step begins after so many, compilation not counted.
        window: place of the problem in a march; its `reached` is set.

    Returns:
        `NewtonResult`.

    Raises:
        ValueError: several unknowns, a nonlinear condition, a wrong option, a
            linearized problem that is singular, a residual that is not finite at the
            start.
        TypeError: no problem, or no typed key.

    Warns:
        UserWarning: ill-conditioned, or not resolved by the basis.

    Example:
        >>> import pinns
        >>> from pinns.solvers.newton import solve_newton
        >>> box = pinns.Box(x=(0.0, 1.0))
        >>> problem = pinns.Problem(
        ...     box, lambda u: u.d("x") + u**2, [pinns.Initial("x", 1.0)]
        ... )
        >>> result = solve_newton(problem, size=24)
        >>> result.result, len(result.steps)
        ('converged', 5)

    Source: Deuflhard, Newton methods for nonlinear problems (2004), section 3.3 for the
    damping; Dembo, Eisenstat, Steihaug, Inexact Newton methods, SIAM J. Numer. Anal.
    19 (1982) for the accuracy of the linear solves.
    """
    kinds = check(OWNER, problem, basis, cluster, key, dtype, path)
    tolerance = positive_number(tolerance, OWNER, "tolerance")
    limit = positive_integer(steps, OWNER, "steps")
    left = math.inf if seconds is None else positive_number(seconds, OWNER, "seconds")
    sizes = sizes_of(OWNER, problem, kinds, size)
    began = time.perf_counter()
    waves = drawn_waves(kinds, key, max(sizes))
    compiling = time.perf_counter() - began
    automatic = size is None and not is_random(kinds)
    previous: _Newton | None = None
    retries = RETRIES if automatic else 0
    while True:
        run = _Newton(problem, kinds, sizes, waves, tolerance, path, window)
        compiling += run.compiling
        deadline = began + compiling + left
        run.solve(limit, deadline, previous)
        found = run.attempt()
        if not automatic or run.result == "time_limit":
            break
        if run.result != "converged":
            if not retries:
                break
            retries -= 1
            sizes, previous = tuple(math.ceil(1.5 * n) for n in sizes), None
            continue
        if (larger := larger_sizes(found, tolerance)) == sizes:
            break
        sizes, previous = larger, run
    if window is not None:
        window.reached = run.base.axes, run.state.core
    model, params = tucker(found, waves, dtype)
    info = {**found.report(), "compile_seconds": compiling}
    info["solve_seconds"] = time.perf_counter() - began - compiling
    info["iterations"] = sum(step.iterations for step in run.steps)
    if run.result == "converged":
        warn(OWNER, found, info, tolerance, size)
    return NewtonResult(
        model, params, run.result, tuple(run.steps), tuple(run.residuals), info
    )


@dataclass
class _State:
    """A core, the equations of its correction, its residual in the norm that falls."""

    core: np.ndarray
    system: System
    norm: float
    rms: float


class _Newton:
    """Newton's method with given sizes."""

    def __init__(
        self, problem: Problem, kinds, sizes, waves, tolerance, path, window=None
    ):
        self.problem, self.tolerance = problem, tolerance
        axes = make_axes(OWNER, problem, kinds, sizes, waves)
        nodes, self.points = [a.nodes for a in axes], unseen_points(problem.box)
        lifted = any(lift is not None for lift in problem.lifts)
        programs = None if window is None or lifted else window.programs
        grids = [nodes, self.points]
        (found, unseen), start, spent = tabulated(problem, axes, grids, window)
        check_linear(OWNER, found[1:])
        self.faces = unseen[1:]
        self.base = System(OWNER, problem, axes, found, start)
        self.linearized = Linearized(problem, axes, nodes, programs)
        self.unseen = Linearized(problem, axes, self.points, programs)
        self.compiling = spent + self.linearized.compile_seconds
        self.compiling += self.unseen.compile_seconds
        self.path = path
        self.steps: list[NewtonStep] = []
        self.residuals: list[float] = []
        self.result = ""
        self.outcome = Outcome(np.zeros(self.base.shape), path, 1.0, math.inf)
        self.state = self._at(self.base.lift)

    def solve(self, limit: int, deadline: float, previous: _Newton | None) -> None:
        """Takes steps until one is small, and says in `result` how that ended."""
        if previous is not None:
            self.state = self._at(self._prolonged(previous))
        if not math.isfinite(self.state.norm):
            raise ValueError(
                f"{OWNER}: the residual must be finite where Newton's method starts, "
                f"a smooth function that meets the conditions of {self.problem.name!r};"
                " got NaN or Inf"
            )
        first = self.state.norm
        last = 1.0
        while not self.result:
            if len(self.steps) == limit:
                self.result = f"not_converged: {limit} steps, the last {last:.1e}"
            elif time.perf_counter() > deadline:
                self.result = "time_limit"
            elif self.state.norm == 0.0:
                self.result = "converged"
            else:
                last = self._step(first, last)

    def _step(self, first: float, last: float) -> float:
        """Takes one step; returns its relative size."""
        before = self.state
        accuracy = min(LOOSEST, max(TIGHTEST, 0.1 * last))
        self.outcome = self._linear(before.system, accuracy)
        if not self.outcome.converged and not self.outcome.residual < USEFUL:
            self.result = (
                f"not_converged: the linear solver took {self.outcome.iterations} "
                f"iterations and left {self.outcome.residual:.1e} of the residual, "
                f"after {len(self.steps)} steps"
            )
            return last
        refuse_singular(OWNER, self.problem, self.outcome)
        direction = contract(self.outcome.w, before.system.null)
        size = _relative(direction, before.core)
        length = 1.0
        while True:
            after = self._at(before.core + length * direction)
            fell = after.norm <= (1.0 - ENOUGH * length) * before.norm
            if fell or (size < NOISE and math.isfinite(after.norm)):
                break
            length *= 0.5
            if length < SHORTEST:
                self.result = (
                    "not_converged: the residual does not fall along the step of "
                    f"relative size {size:.1e}, after {len(self.steps)} steps"
                )
                return size
        seen = NewtonStep(
            before.norm / first,
            size,
            length,
            self.outcome.iterations,
            self.outcome.residual,
        )
        self.steps.append(seen)
        self.residuals.append(after.rms)
        self.state = after
        if size <= self.tolerance and length == 1.0:
            self.result = "converged"
        return size * length

    def _linear(self, system: System, accuracy: float) -> Outcome:
        """Solves for a correction: small systems as one matrix, large by GMRES."""
        if self.path != "auto":
            return SOLVERS[self.path](system, accuracy)
        path, size = choose(system), math.prod(system.shape)
        if path != "dense" or size <= SMALL:
            return SOLVERS[path](system, accuracy)
        found = SOLVERS["iterative"](system, accuracy)
        return found if found.converged else SOLVERS["dense"](system, accuracy)

    def attempt(self) -> Attempt:
        """Returns the present state in the form that reports are made of."""
        table, _ = self.unseen.at(self.state.core)
        return Attempt(
            self.state.system,
            [table, *self.faces],
            self.points,
            replace(self.outcome, converged=True),
            self.state.core,
            1,
            self.compiling,
        )

    def _at(self, core: np.ndarray) -> _State:
        table, residual = self.linearized.at(core)
        system = self.base.corrected(table, core)
        rms = float(np.sqrt(np.mean(np.square(residual))))
        if not np.isfinite(table.coefficients).all() or not math.isfinite(rms):
            return _State(core, system, math.inf, math.inf)
        return _State(core, system, _norm(system, residual), rms)

    def _prolonged(self, previous: _Newton) -> np.ndarray:
        """Returns the state of other sizes in the functions of this one."""
        values = contract(
            previous.state.core,
            [
                own.jets(axis.nodes, 0)[0]
                for own, axis in zip(previous.base.axes, self.base.axes, strict=True)
            ],
        )
        core = contract(values, [axis.analysis() for axis in self.base.axes])
        # What it lacks to meet the conditions is in the lift.
        projectors = [null @ null.T for null in self.base.null]
        return self.base.lift + contract(core - self.base.lift, projectors)


def _norm(system: System, residual: np.ndarray) -> float:
    """Returns the norm of what a step makes small."""
    if not system.extra and not system.problem.data:
        return float(np.linalg.norm(system.tested(residual)))
    parts = [scale(known, w).ravel() for _, known, w in system.least_squares()]
    if system.problem.data:
        parts.append(system.data_rows()[1])
    return float(np.linalg.norm(np.concatenate(parts)))


def _relative(step: np.ndarray, core: np.ndarray) -> float:
    size = float(np.linalg.norm(core))
    length = float(np.linalg.norm(step))
    return length / size if size else (1.0 if length else 0.0)


__all__ = ["NewtonResult", "NewtonStep", "solve_newton"]
