"""Linear problems without gradient steps: direct solves and alternating least squares.

Both come back as ordinary solutions, so that they are evaluated, certified, saved and
drawn like trained ones.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from pinns.problem import Problem
from pinns.progress import Progress
from pinns.separable import Separable
from pinns.settings import Settings
from pinns.solution import History, Solution
from pinns.solvers.als import solve_als
from pinns.solvers.direct import solve_direct


# What is left of the loss of u = 0 where a model does not hold the solution at all.
LITTLE = 0.3


def solve_directly(problem: Problem, settings: Settings) -> Solution:
    """Returns the solution in fixed bases; see `pinns.solvers.direct`."""
    began = time.perf_counter()
    basis = settings.options.get("basis", "chebyshev")
    found = solve_direct(
        problem,
        basis=basis,
        cluster=settings.options.get("cluster"),
        size=settings.options.get("size"),
        key=settings.key if basis == "random_features" else None,
        dtype=settings.dtype,
    )
    total = time.perf_counter() - began
    info = found.info
    history = History(("residual",))
    squared = np.array([float(info["residual"]) ** 2])
    history.extend(np.array([1]), squared, squared[:, None])
    solving = float(info["solve_seconds"])
    compiling = float(info["compile_seconds"])
    described = {**settings.describe(), "points": [int(n) for n in info["sizes"]]}
    return Solution(
        problem=problem,
        model=found.model,
        params=found.params,
        dtype=settings.dtype,
        history=history,
        result="finished",
        step=1,
        settings={**described, "report": plain(info)},
        timings={
            "build_seconds": max(total - solving - compiling, 0.0),
            "compile_seconds": compiling,
            "solve_seconds": solving,
            "steps_per_second": 1.0 / max(solving, 1e-9),
        },
        optimizer_state=None,
    )


def alternate(
    problem: Problem, model: Separable, settings: Settings, progress: bool | None
) -> Solution:
    """Returns the solution by alternating least squares; see `pinns.solvers.als`."""
    key_points, key = jax.random.split(settings.key)  # type: ignore[arg-type]
    sampling = dict(zip(problem.box.names, settings.samplings, strict=True))
    points = problem.box.points(
        settings.counts, sampling, key=key_points, dtype=settings.dtype
    )
    history = History(("loss",))
    with Progress(progress, problem.name, settings.steps) as bar:
        began = time.perf_counter()

        def report(sweeps: int, loss: float) -> None:
            seen = History(("loss",), loss=np.array([loss]))
            bar.update(sweeps, seen, None, time.perf_counter() - began)

        found = solve_als(
            problem,
            model,
            points,
            key=key,
            sweeps=settings.steps,
            starts=settings.options.get("starts", 1),
            seconds=settings.seconds,
            report=report,
        )
    losses = np.asarray(found.losses, np.float64)
    history.extend(np.arange(1, len(losses) + 1), losses, losses[:, None])
    results = {"tolerance": "converged", "seconds": "time_limit", "sweeps": "finished"}
    info = found.info._asdict()
    _warn_of_little(problem, losses, found.info.loss_of_zero)
    return Solution(
        problem=problem,
        model=model,
        params=found.params,
        dtype=settings.dtype,
        history=history,
        result=results[found.info.stopped],
        step=len(losses),
        settings={**settings.describe(), "report": plain(info)},
        timings={
            "build_seconds": 0.0,
            "compile_seconds": found.info.setup_seconds,
            "solve_seconds": found.info.solve_seconds,
            "steps_per_second": len(losses) / max(found.info.solve_seconds, 1e-9),
        },
        optimizer_state=None,
    )


def _warn_of_little(problem: Problem, losses: np.ndarray, zero: float) -> None:
    """Says so when the loss stayed near that of u = 0."""
    if losses.size and zero > 0.0 and losses[-1] > LITTLE * zero:
        warnings.warn(
            f"pinns.solve: method='als' ended on {problem.name!r} with "
            f"{losses[-1] / zero:.2g} of the loss of u = 0; the solution does not fit "
            "into this model: raise `size` (or `hidden`), the rank, or the points",
            stacklevel=4,
        )


def plain(value: Any) -> Any:
    """Returns a value made of what JSON knows."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return plain(np.asarray(value).tolist())
    return value
