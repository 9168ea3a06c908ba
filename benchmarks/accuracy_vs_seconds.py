"""Relative L2 error against solving seconds: every method, SPINN's recipe, Chebyshev.

The limits are in solving seconds; compilation is reported apart. Every row has five
seeds. Peers, in the same run: SPINN's formulation (`benchmarks.spinn_reference`) with
Adam, and spectral collocation (`benchmarks.classical`).

    python -m benchmarks.accuracy_vs_seconds            # what is missing; the picture
    python -m benchmarks.accuracy_vs_seconds --only helmholtz:ssbroyden --renew
    python -m benchmarks.accuracy_vs_seconds --picture  # draws what was measured
    python -m benchmarks.accuracy_vs_seconds --list     # and how long it takes
    python -m benchmarks.accuracy_vs_seconds --renew    # all rows anew

Runs are kept as soon as they end and only missing ones are made, so that it may be
stopped and started again. `--minutes` ends it in time.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import pinns
from benchmarks import _results, classical, spinn_reference
from benchmarks._rows import Ledger, Row, compiled_programs, hardware
from pinns import problems
from pinns.problem import Problem


PICTURE = _results.ROOT / "docs" / "images" / "accuracy_vs_seconds.png"
# Our name -> name and options in pinns.problems, name in benchmarks.classical.
PROBLEMS: dict[str, tuple[str, dict[str, Any], str]] = {
    "helmholtz": ("helmholtz3d", {"a": (4, 4, 3), "hard": True}, "Helmholtz 3d"),
    "poisson": ("poisson", {"dimension": 5}, "Poisson 5d"),
    "klein_gordon": ("klein_gordon", {"velocity": True}, "Klein-Gordon (2+1)d"),
}
# Points per axis on which errors are measured.
TEST_POINTS = {"helmholtz": 100, "poisson": 16, "klein_gordon": 100}
SPINN_POINTS = {"helmholtz": 64, "poisson": 12, "klein_gordon": 64}
SPINN_RANK = 32
LEARNING_RATE = 1e-3
SECONDS = 8.0
SEEDS = 5
# What start-up and compilation take on two quiet cores, roughly: of the first seed,
# and of the others, which find the compiled programs.
OVERHEAD_SECONDS = (9.0, 2.5)
FIRST_ANSWERS = 3
# Of the best method for trained networks, and of SPINN, where no goal says how long.
LONG_SECONDS = 15.0
# One call into a compiled block of SPINN's steps should take about this long.
BLOCK_SECONDS = 0.5
FIRST_ANSWER_ERROR = 1e-2
FIRST_ANSWER_SECONDS = 10.0


def _siren(rank: int, omega: float) -> pinns.CP:
    return pinns.CP(rank=rank, network="siren", omega=omega, hidden=(24,))


TRAINED: dict[str, tuple[Any, dict[str, Any]]] = {
    "helmholtz": (_siren(4, 12.0), {"points": 72}),
    "poisson": (pinns.CP(rank=6, hidden=(16,)), {"points": 24}),
    "klein_gordon": (_siren(6, 10.0), {"points": 64}),
}


class Method(NamedTuple):
    """A row: its label, method and options of `pinns.solve`, number of seeds, goal.

    goal: pairs of (what, bound) with `what` one of median, max, seconds. limit: of
    solving seconds; 0 for methods that end by themselves.
    """

    problem: str
    label: str
    method: str
    seeds: int
    options: dict[str, Any]
    goal: dict[str, float]
    limit: float


def _methods() -> list[Method]:
    found = []
    # Methods with a goal, and SPINN beside them, run for its seconds.
    goals = {
        "helmholtz": {"median": 1e-5, "max": 1e-4, "seconds": 15.0},
        "poisson": {"median": 1e-6, "max": 1e-5, "seconds": 5.0},
    }
    for name, (model, options) in TRAINED.items():
        goal = goals.get(name, {})
        long = goal.get("seconds", LONG_SECONDS)
        limit = min(long, SECONDS)
        full = {"model": model, **options}

        def add(label, method, options, limit, goal, name=name):
            found.append(Method(name, label, method, SEEDS, options, goal, limit))

        add("SSBroyden", "ssbroyden", full, long, goal)
        add("SPINN's form, Adam", "spinn", {}, long, {})
        rank32 = pinns.CP(rank=SPINN_RANK, initializer="glorot_uniform")
        adam = {"model": rank32, "points": SPINN_POINTS[name], "steps": 10**6}
        add("Adam, factored", "adam", adam, limit, {})
        add("L-BFGS", "lbfgs", full, limit, {})
        if name != "klein_gordon":  # nonlinear: of rank 36 there, and not for VarPro
            add("Gauss-Newton", "gauss_newton", full, limit, {})
            add("VarPro", "varpro", full, limit, {})
        found.append(Method(name, "Chebyshev, NumPy", "classical", 1, {}, {}, 0.0))
    polynomials = {"basis": "chebyshev", "size": 32}
    features = {"basis": "random_features", "size": 40}
    exact = {"median": 1e-11, "seconds": 0.2}
    good = {"median": 1e-6, "seconds": 0.2}
    found += [
        Method("helmholtz", "direct, Chebyshev", "direct", 5, polynomials, exact, 0.0),
        Method("helmholtz", "direct, features", "direct", 5, features, good, 0.0),
        Method("helmholtz", "ALS, Legendre", "als", 5, {"size": 32}, {}, SECONDS),
        Method("poisson", "ALS, Legendre", "als", 5, {}, {}, 5.0),
        Method(
            "poisson",
            "direct, Chebyshev",
            "direct",
            1,
            {"basis": "chebyshev", "size": 10},
            {},
            0.0,
        ),
    ]
    return found


METHODS = _methods()
KEYS = ("kind", "problem", "label", "seed")
CLAIM = (
    "Factored residuals with second-order, alternating and direct solvers reach orders "
    "of magnitude smaller errors than SPINN's recipe in the same seconds"
)
NOTES = (
    "one row per run; relative_l2 on equispaced points per axis (`test_points`); "
    "seconds is solving time, compile_seconds and build_seconds are apart",
    "curve: [seconds, relative L2] while solving, on a small grid of at most 50,000 "
    "values; of pinns.solve seconds are in proportion to the steps taken, of SPINN's "
    "form measured; the last pair is the result on the test grid",
    "spinn: benchmarks/spinn_reference.py, nested jvp through the contraction, CP of "
    "rank 32, tanh, three hidden layers of 32, Glorot uniform, Adam 1e-3, float32, "
    "soft conditions that weigh one, uniform points drawn once (64^3, or 12^5 in five "
    "dimensions); the initial velocity of Klein-Gordon, which the published setting "
    "lacks, is added, so that all methods solve the same problem",
    "Adam, factored: the same network and number of points through pinns.solve, "
    "Helmholtz with its boundary condition by construction",
    "SSBroyden, L-BFGS, Gauss-Newton, VarPro: float64, Gauss-Legendre points; "
    "Helmholtz with its boundary condition by construction, the others with all "
    "conditions in the loss; Klein-Gordon with its initial velocity",
    "compile_seconds: of seed 0; the other seeds of a command find the programs in a "
    "cache that the command begins with empty, and clears at its end",
    "direct: seconds is the second of two calls in one process, so that nothing "
    "compiles in it, compile_seconds that of the first",
    "classical: benchmarks/classical.py, NumPy, the same process",
    "kind `first`: wall seconds of a whole fresh process, import, compilation and "
    "certificate included, of `python -m pinns solve helmholtz3d --json`; the median "
    "of three (`walls`)",
    "load: mean number of processes that wanted a core in the last minute, this one "
    "included; above the number of cores, seconds are those of a busy machine",
    "each row has the commit and date of its own measurement",
)


def stated(name: str) -> Problem:
    """Returns the problem of `pinns` that `name` stands for here."""
    made, options, _ = PROBLEMS[name]
    return problems.create(made, **options)


def run(method: Method, seed: int, seconds: float = math.inf) -> Row:
    """Returns the row of one run, of at most so many solving seconds."""
    limit = min(seconds, method.limit)
    if method.method == "classical":
        found = _classical(method)
    elif method.method == "spinn":
        found = _spinn(method, seed, limit)
    else:
        found = _solve(method, seed, limit)
    return {
        "kind": "run",
        "problem": method.problem,
        "label": method.label,
        "method": method.method,
        "seed": seed,
        "hardware": hardware(),
        "load": os.getloadavg()[0],
        "goal": method.goal,
        "limit": limit,
        "test_points": TEST_POINTS[method.problem],
        **found,
    }


def _solve(method: Method, seed: int, limit: float) -> Row:
    problem, options = stated(method.problem), dict(method.options)
    model = options.pop("model", None)
    if limit:
        options["seconds"] = limit
    calls = 2 if method.method == "direct" else 1
    compiling = 0.0
    for _ in range(calls):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of float32's floor, see the curve
            solution = pinns.solve(
                problem,
                model,
                method.method,
                key=jax.random.key(seed),
                progress=False,
                throw=False,
                **options,
            )
        timings = solution.timings
        compiling = compiling or timings["compile_seconds"]
    error = float(solution.relative_l2(TEST_POINTS[method.problem]))
    history, total = solution.history, timings["solve_seconds"]
    steps = max(solution.step, 1)
    curve = [
        [total * float(step) / steps, float(e)]
        for step, e in zip(history.error_steps, history.errors, strict=True)
        if math.isfinite(e)
    ]
    return {
        "relative_l2": error if math.isfinite(error) else None,
        "seconds": total,
        "compile_seconds": compiling,
        "build_seconds": timings.get("build_seconds", 0.0),
        "steps": solution.step,
        "result": solution.result,
        "curve": [*curve[:-1], [total, error]],
    }


def _spinn(method: Method, seed: int, limit: float) -> Row:
    """Trains SPINN's formulation by Adam, in blocks of steps inside one `lax.scan`."""
    name = method.problem
    equation = spinn_reference.EQUATIONS[name]()
    box = stated(name).box
    network = pinns.CP(rank=SPINN_RANK, initializer="glorot_uniform")
    d = box.dimension
    key_points, key = jax.random.split(jax.random.key(seed))
    points = box.points((SPINN_POINTS[name],) * d, key=key_points)
    params = spinn_reference.from_pinns(network.shapes(d), network.init(key, box))
    data = spinn_reference.data(equation, [p.coordinates for p in points])
    optimizer = optax.adam(LEARNING_RATE)

    def loss(params: Any, data: Any) -> Any:
        total = spinn_reference.loss(equation, "cp", params, data)
        if name == "klein_gordon":
            total = total + _velocity_misfit(params, data.coordinates)
        return total

    def step(carry: Any, data: Any) -> Any:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, data), state, params)
        return optax.apply_updates(params, updates), state

    def block(carry: Any, data: Any, steps: Any) -> Any:
        return jax.lax.fori_loop(0, steps, lambda _, c: step(c, data), carry)

    carry = (params, optimizer.init(params))
    began = time.perf_counter()
    compiled = jax.jit(block).lower(carry, data, jnp.int32(1)).compile()
    compiling = time.perf_counter() - began
    curve, elapsed, taken, size = [], 0.0, 0, 5
    coarse = max(2, int(50_000 ** (1 / d)))
    while elapsed < limit:
        began = time.perf_counter()
        carry = jax.block_until_ready(compiled(carry, data, jnp.int32(size)))
        spent = time.perf_counter() - began
        elapsed, taken = elapsed + spent, taken + size
        curve.append([elapsed, _spinn_error(name, carry[0], coarse)])
        left = max(limit - elapsed, 0.0)
        size = max(1, int(min(BLOCK_SECONDS, left) * size / spent))
    error = _spinn_error(name, carry[0], TEST_POINTS[name])
    return {
        "relative_l2": error,
        "seconds": elapsed,
        "compile_seconds": compiling,
        "build_seconds": 0.0,
        "steps": taken,
        "result": "time_limit",
        "curve": [*curve[:-1], [elapsed, error]],
    }


def _velocity_misfit(params: Any, coordinates: Sequence[Any]) -> Any:
    """Returns the mean square of `u_t - 2 x y` at t = 0, as `pinns.problems` has it."""
    _, x, y = coordinates
    start = jnp.zeros(1)

    def along(t: Any) -> Any:
        return spinn_reference.apply("cp", params, t, x, y)

    _, velocity = jax.jvp(along, (start,), (jnp.ones(1),))
    return jnp.mean((velocity[0] - 2 * x[:, None] * y[None, :]) ** 2)


def _spinn_error(name: str, params: Any, points: int) -> float:
    problem = stated(name)
    grid = [
        jnp.linspace(low, high, points, dtype="float32")
        for low, high in problem.box.intervals
    ]
    found = np.asarray(spinn_reference.apply("cp", params, *grid), np.float64)
    mesh = np.meshgrid(*map(np.asarray, grid), indexing="ij", sparse=True)
    exact = problem.exact
    if exact is None:
        raise ValueError(f"accuracy_vs_seconds: {name} must have an exact solution")
    true = np.asarray(exact[0](*mesh), np.float64)
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


def _classical(method: Method) -> Row:
    solve = classical.PROBLEMS[PROBLEMS[method.problem][2]]
    solve()
    rows = [solve() for _ in range(3)]
    row = sorted(rows, key=lambda r: r["seconds"])[1]
    return {
        "relative_l2": row["relative_l2"],
        "seconds": row["seconds"],
        "compile_seconds": 0.0,
        "build_seconds": 0.0,
        "steps": 1,
        "result": "finished",
        "test_points": 32 if method.problem == "poisson" else 100,
        "curve": [[row["seconds"], row["relative_l2"]]],
    }


def first_answer(arguments: Sequence[str] = ()) -> Row:
    """Returns the wall seconds of a fresh process that solves Helmholtz 3-d."""
    command = [sys.executable, "-m", "pinns", "solve", "helmholtz3d", "--json"]
    command += arguments
    cold = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    walls = []
    for _ in range(FIRST_ANSWERS):
        began = time.perf_counter()
        options: dict[str, Any] = {"cwd": _results.ROOT, "env": cold, "text": True}
        done = subprocess.run(command, capture_output=True, check=True, **options)
        walls.append(time.perf_counter() - began)
    record = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "kind": "first",
        "problem": "helmholtz",
        "label": "first answer",
        "method": record["method"],
        "seed": 0,
        "hardware": hardware(),
        "load": os.getloadavg()[0],
        "goal": {"median": FIRST_ANSWER_ERROR, "seconds": FIRST_ANSWER_SECONDS},
        "relative_l2": record["relative_l2"],
        "seconds": float(np.median(walls)),
        "walls": walls,
        "solve_seconds": record["seconds"],
        "compile_seconds": record["compile_seconds"],
    }


def ledger(folder: Path | None) -> Ledger:
    """Returns the rows of this benchmark."""
    return Ledger(
        "accuracy_vs_seconds", claim=CLAIM, keys=KEYS, notes=NOTES, folder=folder
    )


def describe(row: Row) -> str:
    """Returns one line for the terminal."""
    error = row["relative_l2"]
    shown = "failed" if error is None else f"{error:.1e}"
    return (
        f"{row['problem']:13s} {row['label']:20s} seed {row['seed']}  {shown}  in "
        f"{row['seconds']:.2f} s, compilation {row['compile_seconds']:.1f} s"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.accuracy_vs_seconds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", nargs="+", metavar="PROBLEM[:METHOD]", help="also `first`")
    add("--seconds", type=float, default=math.inf, help="at most, of a trained run")
    add("--seeds", type=int, help="at most this many per method")
    add("--minutes", type=float, default=25.0, help="start no run after these")
    add("--renew", action="store_true", help="measure again what is there")
    add("--picture", action="store_true", help="draw only")
    add("--list", action="store_true", help="print what would run")
    options = parser.parse_args(arguments)
    known = {m.problem for m in METHODS} | {"first"}
    known |= {f"{m.problem}:{m.method}" for m in METHODS}
    for name in options.only or ():
        if name not in known:
            parser.error(f"--only: {name!r} is none of {', '.join(sorted(known))}")
    for name in ("seconds", "minutes"):
        if not getattr(options, name) > 0:
            parser.error(f"--{name} must be positive, got {getattr(options, name)}")
    return options


def plan(options: argparse.Namespace) -> list[tuple[Method, int]]:
    """Returns the runs asked for, first seeds of all methods first."""
    chosen = [
        method
        for method in METHODS
        if not options.only
        or method.problem in options.only
        or f"{method.problem}:{method.method}" in options.only
    ]
    most = max((method.seeds for method in chosen), default=0)
    most = min(most, options.seeds or most)
    return [(m, seed) for seed in range(most) for m in chosen if seed < m.seeds]


def minutes(runs: Sequence[tuple[Method, int]], seconds: float = math.inf) -> float:
    """Returns about how long runs take on two quiet cores."""
    total = 0.0
    for method, seed in runs:
        first, later = OVERHEAD_SECONDS
        overhead = first if seed == 0 else later
        total += min(method.limit, seconds) + (overhead if method.limit else 1.0)
    return total / 60.0


def main(
    arguments: Sequence[str] | None = None,
    folder: Path = _results.RESULTS,
    picture: Path = PICTURE,
) -> list[Row]:
    """Runs the command line and returns the new rows."""
    options = parse(arguments)
    kept, new = ledger(folder), []
    runs = [] if options.picture else plan(options)
    if options.list:
        for method, seed in runs:
            print(method.problem, method.label, seed)
        print(f"about {minutes(runs, options.seconds):.0f} minutes on two quiet cores")
        return []
    began = time.perf_counter()
    if not options.picture and (not options.only or "first" in options.only):
        first: Row = {"kind": "first", "problem": "helmholtz"}
        first |= {"label": "first answer", "seed": 0}
        if options.renew or kept.find(first) is None:
            new.append(first_answer())
            kept.put(new[-1])
            print(describe(new[-1]), flush=True)
    with compiled_programs():
        new += _measure(runs, kept, options, began)
    if kept.rows:
        from benchmarks._accuracy_picture import draw

        draw(kept.rows, picture)
    return new


def _measure(
    runs: Sequence[tuple[Method, int]],
    kept: Ledger,
    options: argparse.Namespace,
    began: float,
) -> list[Row]:
    """Makes the runs that are missing and returns their rows."""
    new = []
    for method, seed in runs:
        known = {"kind": "run", "problem": method.problem, "label": method.label}
        if not options.renew and kept.find({**known, "seed": seed}) is not None:
            continue
        if time.perf_counter() - began > 60 * options.minutes:
            print(f"left for another time: {method.problem} {method.label} {seed}")
            continue
        jax.clear_caches()
        new.append(run(method, seed, options.seconds))
        kept.put(new[-1])
        print(describe(new[-1]), flush=True)
    return new


if __name__ == "__main__":
    main()
