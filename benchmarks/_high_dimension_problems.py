"""Rows of `benchmarks.high_dimension` beside Poisson's equation.

Each function solves a problem as its users do, by `pinns.solve` without a model where
that is the claim, and returns errors that no random point has to hit: integrals over
the whole box, from factors.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import pinns
from benchmarks import _results
from benchmarks._rows import Row, hardware
from pinns import problems
from pinns.evaluation import grid_values
from pinns.factored import relative_l2
from pinns.report import peak_memory_mb
from pinns.separable import Separable


# A Gaussian of width 1/20 of the box is resolved to ten digits by so many points.
SLICE_POINTS, GROUND_POINTS = 96, 96
# Values of either coefficient that nothing was fitted on, and points in space.
UNSEEN, SPACE_POINTS = 8, 41
MEMORY_DIMENSION, MEMORY_POINTS = 5, 64


def _row(
    case: str, problem: str, d: int, found: list[Any], errors: list[float], **more: Any
) -> Row:
    """Returns what all rows have. found: (seconds, solution) per seed."""
    first = found[0][1]
    return {
        "case": case,
        "problem": problem,
        "dimension": d,
        "seeds": len(found),
        "hardware": hardware(),
        "relative_l2": _results.summarize(errors),
        "reason": first.settings["reason"],
        "total_seconds": max(seconds for seconds, _ in found),
        **more,
    }


def _model(solution: pinns.Solution) -> Separable:
    if not isinstance(solution.model, Separable):
        raise TypeError(f"expected a separable model, got {solution.model!r}")
    return solution.model


def _error(problem, solution: pinns.Solution, points: int, slices=None) -> float:
    model = _model(solution)
    found = relative_l2(problem, model, solution.params, points, slices=slices)
    return float(np.asarray(found))


def _rank(solution: pinns.Solution) -> object:
    return getattr(solution.model, "rank", None)


def _timed(solve: Callable[[], pinns.Solution]) -> tuple[float, pinns.Solution]:
    jax.clear_caches()  # every seed compiles anew, as a user's first call does
    began = time.perf_counter()
    found = solve()
    return time.perf_counter() - began, found


def ground_state(seeds: int, dimension: int = 10) -> Row:
    """Ten coupled or free oscillators: energy and function by `pinns.solve`."""
    problem = problems.harmonic_oscillator(dimension=dimension)
    found = [
        _timed(partial(pinns.solve, problem, key=jax.random.key(seed), progress=False))
        for seed in range(seeds)
    ]
    errors = [_error(problem, s, GROUND_POINTS) for _, s in found]
    energies = [abs(s.settings["energy"] / problem.energy - 1.0) for _, s in found]
    basis = f"legendre, {_model(found[0][1]).net.hidden[0]} per axis"
    return _row(
        f"{dimension}-ground-state",
        "ground state of oscillators",
        dimension,
        found,
        errors,
        method=f"Rayleigh quotient, tt rank {_rank(found[0][1])}",
        basis=basis,
        energy_error=_results.summarize(energies),
    )


def fokker_planck(seeds: int, dimension: int = 6) -> Row:
    """A density in six dimensions and time by `pinns.solve` without a model."""
    problem = problems.create("fokker_planck", dimension=dimension)
    found = [
        _timed(partial(pinns.solve, problem, key=jax.random.key(seed), progress=False))
        for seed in range(seeds)
    ]
    errors = [_error(problem, s, SLICE_POINTS, "t") for _, s in found]
    tried = found[0][1].settings["report"]["tried"]
    last = min(tried, key=lambda t: t["share"])
    return _row(
        f"{dimension}-fokker-planck",
        "Fokker-Planck, time and space",
        dimension,
        found,
        errors,
        method=f"als, tt rank {last['rank']}",
        basis=f"legendre, {last['subspace']} of {last['functions']} per axis",
        tried=tried,
    )


def parametric(seeds: int, model: pinns.TensorTrain | None = None) -> Row:
    """Diffusion for all values of two coefficients: the worst of unseen ones."""
    problem = problems.create("parametric_diffusion", hard=True)
    method = "direct" if model is None else "als"
    count = 1 if model is None else seeds  # a direct solve draws nothing
    found = [
        _timed(
            partial(
                pinns.solve, problem, model, method, progress=False,
                key=None if model is None else jax.random.key(seed),
            )
        )
        for seed in range(count)
    ]  # fmt: skip
    errors = [worst_unseen(problem, s) for _, s in found]
    own = _model(found[0][1])
    rank = "" if model is None else f", tt rank {model.rank}"
    return _row(
        f"parametric-{method}",
        "diffusion, two coefficients as axes",
        problem.box.dimension,
        found,
        errors,
        method=f"{method}{rank}",
        basis=f"{own.network}, {own.net.hidden[0]} per axis",
        unseen=UNSEEN**2,
    )


def worst_unseen(problem: pinns.Problem, solution: pinns.Solution) -> float:
    """Returns the largest relative L2 error in space over unseen coefficients."""
    rng = np.random.default_rng(7)
    space = [jnp.linspace(a, b, SPACE_POINTS) for a, b in problem.box.intervals[:2]]
    drawn = rng.uniform(*problem.box.intervals[-1], (2, UNSEEN))
    (exact,) = problem.require_exact("worst_unseen")
    with solution.precision():
        x = [*space, *map(jnp.asarray, drawn)]
        values = grid_values(problem, solution.model, solution.params, x)
        wide = [v.reshape([-1 if i == k else 1 for i in range(4)])
                for k, v in enumerate(x)]  # fmt: skip
        sought = np.asarray(exact(*wide))
    gaps = np.linalg.norm(np.asarray(values) - sought, axis=(0, 1))
    return float(np.max(gaps / np.linalg.norm(sought, axis=(0, 1))))


def memory(steps: int = 300) -> Row:
    """Poisson in 5 dimensions on 64 points per axis, trained, in a process of its own.

    Its largest resident memory holds Python, JAX and the compiler too.
    """
    command = [sys.executable, "-m", __name__, str(steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "case": "5-memory",
        "problem": "poisson",
        "dimension": MEMORY_DIMENSION,
        "method": f"L-BFGS, cp rank 6, {steps} steps",
        "basis": f"sine networks, {MEMORY_POINTS} points per axis",
        "seeds": 1,
        "hardware": hardware(),
        "relative_l2": _results.summarize([found["relative_l2"]]),
        "total_seconds": found["seconds"],
        "peak_mb": found["peak_mb"],
        "goal": {"peak_mb": 1000.0},
    }


def _measure_memory(steps: int) -> None:
    """Solves and prints what it took, as one line of JSON."""
    began = time.perf_counter()
    problem = problems.create("poisson", dimension=MEMORY_DIMENSION)
    model = pinns.CP(rank=6, network="siren", omega=4.0, hidden=(24,))
    solution = pinns.solve(
        problem, model, "lbfgs", key=jax.random.key(0), points=MEMORY_POINTS,
        steps=steps, loss="factored", progress=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    peak = peak_memory_mb()
    error = _error(problem, solution, 40)
    found = {"peak_mb": peak, "seconds": seconds, "relative_l2": error}
    print(json.dumps(found))


if __name__ == "__main__":
    _measure_memory(int(sys.argv[1]))
