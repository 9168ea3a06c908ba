"""Nonlinear problems in fixed bases by Newton's method, as ordinary solutions."""

from __future__ import annotations

import time

import numpy as np

from pinns.linear import plain
from pinns.problem import Problem
from pinns.settings import Settings
from pinns.solution import History, Solution
from pinns.solvers.newton import solve_newton


class NotConvergedError(ArithmeticError):
    """Newton's method did not converge; `solution` holds what it reached."""

    def __init__(self, message: str, solution: Solution):
        super().__init__(message)
        self.solution = solution


def solve_nonlinear(problem: Problem, settings: Settings, throw: bool) -> Solution:
    """Returns the solution by Newton's method in fixed bases.

    Its history has the mean square of the residual on the collocation points after each
    step; `settings["report"]["newton"]` says what each step did.

    Raises:
        NotConvergedError: see `throw` of `pinns.solve`.
    """
    began = time.perf_counter()
    basis = settings.options.get("basis", "chebyshev")
    found = solve_newton(
        problem,
        basis=basis,
        cluster=settings.options.get("cluster"),
        size=settings.options.get("size"),
        key=settings.key if basis == "random_features" else None,
        dtype=settings.dtype,
        steps=settings.steps,
        seconds=settings.seconds,
        window=problem.window,
    )
    total = time.perf_counter() - began
    info = {**found.info, "newton": [step._asdict() for step in found.steps]}
    history = History(("residual",))
    squared = np.square(np.asarray(found.residuals, np.float64))
    history.extend(np.arange(1, len(squared) + 1), squared, squared[:, None])
    solving = float(info["solve_seconds"])
    compiling = float(info["compile_seconds"])
    described = {**settings.describe(), "points": [int(n) for n in info["sizes"]]}
    solution = Solution(
        problem=problem,
        model=found.model,
        params=found.params,
        dtype=settings.dtype,
        history=history,
        result=found.result,
        step=len(found.steps),
        settings={**described, "report": plain(info)},
        timings={
            "build_seconds": max(total - solving - compiling, 0.0),
            "compile_seconds": compiling,
            "solve_seconds": solving,
            "steps_per_second": len(found.steps) / max(solving, 1e-9),
        },
        optimizer_state=None,
    )
    if throw and found.result.startswith("not_converged"):
        why = found.result.partition(": ")[2]
        raise NotConvergedError(
            f"pinns.solve: method='newton' did not converge on {problem.name!r} with "
            f"sizes {info['sizes']}: {why}. More functions (`size`), functions that "
            "crowd in a layer (`cluster`) or windows in time (pinns.march) may help; "
            "throw=False returns what was reached",
            solution,
        )
    return solution


__all__ = ["NotConvergedError", "solve_nonlinear"]
