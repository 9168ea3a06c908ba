"""Linear problems without gradient steps: direct solves and alternating least squares.

Both come back as ordinary solutions, so that they are evaluated, certified, saved and
drawn like trained ones.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from pinns.problem import Problem
from pinns.progress import Progress
from pinns.separable import Separable, TensorTrain
from pinns.settings import Settings
from pinns.solution import History, Solution
from pinns.solvers._als_options import SELECTABLE
from pinns.solvers.als import solve_als
from pinns.solvers.direct import solve_direct


# What is left of the loss of u = 0 where a model does not hold the solution at all.
LITTLE = 0.3
# A model is large enough when this share of that loss is left: a relative residual of
# its square root.
RESOLVED = 1e-9
# A larger model that leaves more than this share of what was left gains little.
GAIN = 0.3
# A sweep in a chosen space that lowers the loss by less than this share ends a phase.
SMALL_GAIN = 1e-3
# Quadrature points per polynomial: the square of the residual is integrated exactly.
POINTS_PER_FUNCTION = 2


@dataclass(frozen=True)
class _Stage:
    """How large a model is tried.

    rank: of the tensor train. hidden: functions of the basis per axis. subspace: in how
    many that they span the coefficients are sought. steps: sweeps at most.
    """

    rank: int
    hidden: int
    subspace: int
    steps: int

    def model(self, network: str) -> TensorTrain:
        return TensorTrain(rank=self.rank, network=network, hidden=(self.hidden,))


STAGES = (_Stage(5, 80, 20, 40), _Stage(7, 80, 20, 40))


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
    problem: Problem,
    model: Separable,
    settings: Settings,
    progress: bool | None,
    *,
    grow: bool = False,
) -> Solution:
    """Returns the solution by alternating least squares; see `pinns.solvers.als`.

    With `grow` the model is only the first to be tried. While the loss is above
    `RESOLVED` times that of u = 0, larger ones follow (`STAGES`), in spaces of
    functions that are chosen for the problem, up to one that gains little.
    """
    began = time.perf_counter()
    best = _alternate(problem, model, settings, progress)
    tried = [_trial(best, model, None)]
    kind = model.net.kind
    for stage in STAGES if grow and kind in SELECTABLE else ():
        if tried[-1]["share"] <= RESOLVED:
            break
        left = _time_left(settings, began)
        if left is not None and left <= 0.0:
            break
        larger = stage.model(kind)
        counts = (POINTS_PER_FUNCTION * stage.hidden,) * problem.box.dimension
        steps = min(settings.steps, stage.steps)
        own = replace(settings, counts=counts, steps=steps, seconds=left)
        found = _alternate(problem, larger, own, progress, stage.subspace)
        before = min(t["share"] for t in tried)
        tried.append(_trial(found, larger, stage.subspace))
        if tried[-1]["share"] < before:
            best = found
        if tried[-1]["share"] > GAIN * before and len(tried) > 2:
            break
    best.settings["report"]["tried"] = tried
    if len(tried) > 1:
        first, last = tried[0], min(tried, key=lambda t: t["share"])
        best.settings["reason"] += (
            f"; {first['functions']} functions per axis leave {first['share']:.1e} of "
            f"the loss of u = 0, {last['subspace']} chosen among {last['functions']} "
            f"with rank {last['rank']} leave {last['share']:.1e}"
        )
        for name in ("compile_seconds", "solve_seconds"):
            best.timings[name] = sum(t[name] for t in tried)
    _warn_of_little(problem, best)
    return best


def _time_left(settings: Settings, began: float) -> float | None:
    if settings.seconds is None:
        return None
    return settings.seconds - (time.perf_counter() - began)


def _trial(found: Solution, model: Separable, subspace: int | None) -> dict[str, Any]:
    """Returns what is kept of one model that was tried."""
    functions = model.net.hidden[-1]
    return {
        "rank": model.rank,
        "functions": functions,
        "subspace": subspace or functions,
        "share": _share(found),
        "compile_seconds": found.timings["compile_seconds"],
        "solve_seconds": found.timings["solve_seconds"],
    }


def _share(found: Solution) -> float:
    """Returns the loss, relative to that of u = 0."""
    zero = found.settings["report"]["loss_of_zero"]
    there = zero > 0.0 and found.step > 0
    return abs(float(found.history.loss[-1])) / zero if there else 0.0


def _alternate(
    problem: Problem,
    model: Separable,
    settings: Settings,
    progress: bool | None,
    subspace: int | None = None,
) -> Solution:
    """Returns the solution with one model."""
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
            subspace=subspace,
            gain=0.0 if subspace is None else SMALL_GAIN,
        )
    losses = np.asarray(found.losses, np.float64)
    history.extend(np.arange(1, len(losses) + 1), losses, losses[:, None])
    results = {
        "tolerance": "converged",
        "gain": "converged",
        "seconds": "time_limit",
        "sweeps": "finished",
    }
    info = found.info._asdict()
    return Solution(
        problem=problem,
        model=model,
        params=found.params,
        dtype=settings.dtype,
        history=history,
        result=results.get(found.info.stopped, "converged"),
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


def _warn_of_little(problem: Problem, found: Solution) -> None:
    """Says so when the loss stayed near that of u = 0."""
    share = _share(found)
    if share > LITTLE:
        warnings.warn(
            f"pinns.solve: method='als' ended on {problem.name!r} with "
            f"{share:.2g} of the loss of u = 0; the solution does not fit "
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
