"""What a loss without a grid costs: step, compilation, and its floor of rounding.

A step is loss and gradient, faces included, jitted and compiled ahead. Ours is
`pinns.factored.FactoredLoss`; beside it `pinns.losses.GridLoss` and SPINN's formulation
(`benchmarks.spinn_reference`) on the tensor grid, with the same network, parameters and
points, in float32, in turns in one process.

    python -m benchmarks.factored                    # everything, and writes it
    python -m benchmarks.factored --only step --cases helmholtz-cp-64 --write
    python -m benchmarks.factored --only floor --write
    python -m benchmarks.factored --quick            # tiny grids, never writes

Rows are kept as soon as they are measured. Persistent compilation caches are off.
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import pinns
from benchmarks import _results, pinn_step, spinn_reference
from benchmarks._rows import Ledger, Row, hardware
from pinns import problems
from pinns.domain import precision
from pinns.factored import FactoredLoss
from pinns.losses import GridLoss
from pinns.problem import Problem
from pinns.separable import Separable


class Case(NamedTuple):
    """One comparison. goal: of factored / grid; seconds: of the factored step alone."""

    problem: str
    model: str
    rank: int
    points: int
    dimension: int
    goal: float | None = None
    goal_seconds: float | None = None

    @property
    def grid(self) -> str:
        return f"{self.points}^{self.dimension}"

    @property
    def name(self) -> str:
        parts = (self.problem, self.model, self.grid.replace("^", "d"))
        return "-".join(parts)


CASES = (
    Case("helmholtz", "cp", 32, 64, 3, goal=1 / 10),
    Case("helmholtz", "tt", 32, 64, 3),
    Case("helmholtz", "tucker", 32, 64, 3),
    Case("helmholtz", "cp", 32, 256, 3, goal=1 / 200),
    Case("poisson", "cp", 12, 24, 5, goal=1 / 500),
    Case("poisson", "cp", 32, 64, 100, goal_seconds=0.15),
)
QUICK = (
    Case("helmholtz", "cp", 2, 6, 3, goal=1 / 10),
    Case("poisson", "cp", 2, 4, 16, goal_seconds=0.15),
)
# A grid of more values than this is not walked.
MAX_GRID = 10**8
# The program of an orthogonalized norm grows with the number of axes.
MAX_CHAIN = 10
# A round of turns is repeated until the grid's steps have taken this long.
TURN_SECONDS = 6.0
MIN_TURNS, MAX_TURNS = 3, 15
SAMPLE_SECONDS = 0.05
MAX_STEPS = 100
# Losses of the formulations must agree to this, in float32.
LOSS_TOLERANCE = 1e-3

COMPILE_DIMENSIONS = (3, 10)
COMPILE_POINTS = 24
COMPILE_RANKS = {"cp": 12, "tt": 12, "tucker": 2}
COMPILE_REPEATS = 3
COMPILE_GOAL = 1.5

FLOOR_FUNCTIONS = 32
FLOOR_SCALES = (1.0, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 0.0)
# Below this share of the source, differences of factored and grid value are rounding.
FLOOR_FROM = 1e-6

KEYS = ("kind", "problem", "model", "rank", "grid", "dtype")
CLAIM = (
    "The squared residual of a separable network costs a small fraction of a step on "
    "the grid if it is computed from inner products of its factors"
)
NOTES = (
    "kind `step`: jax.value_and_grad of the loss, faces included, float32; factored: "
    "pinns.factored.FactoredLoss(choose='factored'); orthogonalized: the same with "
    "orthogonalize=True, up to 10 axes; grid: pinns.losses.GridLoss; "
    "spinn: benchmarks/spinn_reference.py, nested jvp through the contraction",
    "the same network (three hidden tanh layers as wide as the rank), parameters and "
    "uniform points; losses before the first step agree to 1e-3",
    "seconds: per step, a sample is the mean of `steps` consecutive calls of the side; "
    "ratios of the samples of one turn: factored / grid and factored / spinn",
    "compile_seconds: from problem and model to the executable, tracing included",
    "kind `compile`: loss and gradient of Poisson with 24 points per axis in 3 and 10 "
    "dimensions, caches cleared before each; growth is the ratio of medians",
    "kind `floor`: a CP network of rank 1 in 32 Legendre polynomials per axis, fitted "
    "to the exact solution, is moved by t times a random one (`scale`). Values are "
    "relative to the mean square of source and conditions: `grid` is the square root "
    "of GridLoss in float64, the truth; `factored` the loss itself, which may be "
    "negative; `difference` the square root of what the two differ by; "
    "`orthogonalized` the loss with orthogonalize=True, a square, and "
    "`orthogonalized_difference` what its root and `grid` differ by. The floor is "
    "the largest difference for t up to 1e-6; estimate: FactoredLoss.floor",
    "load: mean number of processes that wanted a core in the last minute, this one "
    "included; above the number of cores, seconds are those of a busy machine",
    "each row has the commit and date of its own measurement",
)


class Side(NamedTuple):
    """A compiled step `(params, data) -> (loss, gradient)` and its arguments."""

    compiled: Any
    params: Any
    data: Any
    compile_seconds: float

    def run(self, steps: int) -> Any:
        """Takes steps, one call each, and returns the last loss and gradient."""
        for _ in range(steps):
            found = self.compiled(self.params, self.data)
        return found


def stated(case: Case) -> Problem:
    """Returns the problem of the case."""
    if case.problem == "poisson":
        return problems.create("poisson", dimension=case.dimension)
    return pinn_step.problem(case.problem)


def sides(case: Case) -> dict[str, Side]:
    """Returns the compiled steps by name; factored alone where no grid fits."""
    made: list[tuple[str, Callable[..., Side]]] = [("factored", _factored)]
    if case.dimension <= MAX_CHAIN:
        made.append(("orthogonalized", partial(_factored, orthogonalize=True)))
    if case.points**case.dimension <= MAX_GRID:
        made += [("grid", _grid), ("spinn", _spinn)]
    problem, network = stated(case), pinn_step.model(case.model, case.rank)
    sizes = (case.points,) * case.dimension
    points = problem.box.points(sizes, key=jax.random.key(1))
    params = network.init(jax.random.key(0), problem.box)
    return {name: make(case, problem, network, points, params) for name, make in made}


def _factored(
    case: Case,
    problem: Problem,
    network: Separable,
    points,
    params,
    orthogonalize: bool = False,
) -> Side:
    def make() -> tuple[Any, Any]:
        loss = FactoredLoss(
            problem,
            network,
            points,
            "float32",
            choose="factored",
            orthogonalize=orthogonalize,
        )
        return loss, loss.prepare(points)

    return _own(make, params)


def _grid(case: Case, problem: Problem, network: Separable, points, params) -> Side:
    def make() -> tuple[Any, Any]:
        loss = GridLoss(problem, network, (case.points,) * case.dimension)
        return loss, jax.jit(loss.prepare)(points)

    return _own(make, params)


def _own(make: Callable[[], tuple[Any, Any]], params: Any) -> Side:
    began = time.perf_counter()
    loss, prepared = make()

    def step(params: Any, prepared: Any) -> Any:
        return jax.value_and_grad(lambda p: loss(p, prepared)[0])(params)

    compiled = jax.jit(step).lower(params, prepared).compile()
    return Side(compiled, params, prepared, time.perf_counter() - began)


def _spinn(case: Case, problem: Problem, network: Separable, points, params) -> Side:
    made = spinn_reference.EQUATIONS[case.problem]
    equation = (
        spinn_reference.poisson(case.dimension) if case.problem == "poisson" else made()
    )
    by_axis = spinn_reference.from_pinns(network.shapes(case.dimension), params)
    began = time.perf_counter()
    data = spinn_reference.data(equation, [p.coordinates for p in points])

    def step(params: Any, data: Any) -> Any:
        return jax.value_and_grad(
            lambda p: spinn_reference.loss(equation, network.name, p, data)
        )(params)

    compiled = jax.jit(step).lower(by_axis, data).compile()
    return Side(compiled, by_axis, data, time.perf_counter() - began)


def measure(case: Case, turns: int | None = None) -> Row:
    """Returns the row of one case.

    Raises:
        RuntimeError: the formulations do not compute the same loss.
    """
    made = sides(case)
    check_losses(case, {name: float(side.run(1)[0]) for name, side in made.items()})
    once = {name: _seconds(side) for name, side in made.items()}
    steps = {
        name: max(1, min(MAX_STEPS, math.ceil(SAMPLE_SECONDS / seconds)))
        for name, seconds in once.items()
    }
    if turns is None:
        longest = sum(once[name] * steps[name] for name in made)
        turns = int(np.clip(TURN_SECONDS / longest, MIN_TURNS, MAX_TURNS))
    times = _results.interleave(
        {n: partial(side.run, steps[n]) for n, side in made.items()}, repeats=turns
    )
    each = {name: np.asarray(times[name]) / steps[name] for name in made}
    row: Row = {
        "kind": "step",
        "problem": case.problem,
        "model": case.model,
        "rank": case.rank,
        "grid": case.grid,
        "dtype": "float32",
        "dimension": case.dimension,
        "hardware": hardware(),
        "load": os.getloadavg()[0],
        "goal": case.goal,
        "goal_seconds": case.goal_seconds,
        "steps": steps,
        "seconds": {name: _results.summarize(each[name]) for name in made},
        "compile_seconds": {name: made[name].compile_seconds for name in made},
        "bytes": {name: _bytes(side) for name, side in made.items()},
    }
    for name in made:
        if name not in ("factored", "orthogonalized"):
            row[f"ratio_{name}"] = _results.summarize(each["factored"] / each[name])
    return row


def check_losses(case: Case, losses: dict[str, float]) -> None:
    """Raises RuntimeError unless all losses agree."""
    first = losses["factored"]
    for name, value in losses.items():
        if not abs(value - first) <= LOSS_TOLERANCE * abs(value):
            raise RuntimeError(
                f"factored: {case.name} has the loss {first:.7g} factored and "
                f"{value:.7g} in {name}: these are not the same step"
            )


def _seconds(side: Side) -> float:
    began = time.perf_counter()
    jax.block_until_ready(side.run(1))
    return time.perf_counter() - began


def _bytes(side: Side) -> int:
    found = side.compiled.memory_analysis()
    return int(
        found.temp_size_in_bytes
        + found.argument_size_in_bytes
        + found.output_size_in_bytes
    )


def measure_compilation(
    name: str, repeats: int = COMPILE_REPEATS, points: int = COMPILE_POINTS
) -> Row:
    """Returns the compile seconds in few and many dimensions, and their ratio."""
    found: dict[int, list[float]] = {d: [] for d in COMPILE_DIMENSIONS}
    rank = COMPILE_RANKS[name]
    for _ in range(repeats):
        for dimension in COMPILE_DIMENSIONS:
            jax.clear_caches()
            # What every process compiles once is not the step's.
            jnp.zeros(2).block_until_ready()
            case = Case("poisson", name, rank, points, dimension)
            problem, network = stated(case), pinn_step.model(name, rank)
            drawn = problem.box.points((points,) * dimension, key=jax.random.key(1))
            params = network.init(jax.random.key(0), problem.box)
            side = _factored(case, problem, network, drawn, params)
            found[dimension].append(side.compile_seconds)
    seconds = [_results.summarize(found[d]) for d in COMPILE_DIMENSIONS]
    return {
        "kind": "compile",
        "problem": "poisson",
        "model": name,
        "rank": rank,
        "grid": f"{points}^d",
        "dtype": "float32",
        "dimensions": list(COMPILE_DIMENSIONS),
        "hardware": hardware(),
        "load": os.getloadavg()[0],
        "seconds": seconds,
        "growth": seconds[1]["median"] / seconds[0]["median"],
        "goal": COMPILE_GOAL,
    }


def measure_floor(dtype: str, points: int = 48) -> Row:
    """Returns the relative residual at which the factored norm is rounding noise."""
    problem = problems.create("helmholtz3d", a=(4, 4, 3))
    network = pinns.CP(rank=1, network="legendre", hidden=(FLOOR_FUNCTIONS,))
    with precision("float64"):
        drawn = problem.box.points((points,) * 3, "gauss_legendre", dtype="float64")
        grid = GridLoss(problem, network, (points,) * 3, "float64")
        prepared = jax.jit(grid.prepare)(drawn)
        truth = jax.jit(lambda p: grid(p, prepared)[0])
        other = network.init(jax.random.key(1), problem.box, dtype="float64")
        fitted = _fitted(network, other, drawn)
        size = float(truth(jax.tree.map(jnp.zeros_like, other)))
    with precision(dtype):
        products, orthogonal = (
            FactoredLoss(
                problem, network, drawn, dtype, choose="factored", orthogonalize=choice
            )
            for choice in (False, True)
        )
        known = products.prepare(drawn)
        values = jax.jit(lambda p: (products(p, known)[0], orthogonal(p, known)[0]))
    rows = []
    for scale in FLOOR_SCALES:
        with precision("float64"):
            step = jax.tree.map(partial(jnp.multiply, scale), other)
            moved = jax.tree.map(jnp.add, fitted, step)
            # Both see the same numbers, those of the smaller type.
            moved = jax.tree.map(lambda p: p.astype(dtype), moved)
            exact = jax.tree.map(lambda p: p.astype("float64"), moved)
            reference = float(truth(exact))
        with precision(dtype):
            found, short = (float(v) for v in values(moved))
        rows.append(
            {
                "scale": scale,
                "grid": math.sqrt(reference / size),
                "factored": found / size,
                "difference": math.sqrt(abs(found - reference) / size),
                "orthogonalized": short / size,
                "orthogonalized_difference": abs(
                    math.sqrt(short) - math.sqrt(reference)
                )
                / math.sqrt(size),
            }
        )
    low = [row for row in rows if row["scale"] <= FLOOR_FROM]
    return {
        "kind": "floor",
        "problem": "helmholtz",
        "model": "cp",
        "rank": 1,
        "grid": f"{points}^3",
        "dtype": dtype,
        "hardware": hardware(),
        "floor": max(row["difference"] for row in low),
        "estimate": math.sqrt(products.floor(known) / size),
        "orthogonalized_floor": max(row["orthogonalized_difference"] for row in low),
        "orthogonalized_estimate": math.sqrt(orthogonal.floor(known) / size),
        "path": rows,
    }


def _fitted(network: Separable, like: Any, points: Sequence[Any]) -> Any:
    """Returns parameters of rank one that are the exact solution to rounding."""
    interval = jnp.array([-1.0, 1.0])
    kernels = []
    for mode, axis in zip((4, 4, 3), points, strict=True):
        x = axis.coordinates
        features = network.net.features({}, x, interval)
        kernels.append(jnp.linalg.lstsq(features, jnp.sin(mode * jnp.pi * x))[0])
    return {**like, "factors_1": {"kernel": jnp.stack(kernels)[:, :, None]}}


def ledger(folder: Path | None) -> Ledger:
    """Returns the rows of this benchmark."""
    return Ledger("factored", claim=CLAIM, keys=KEYS, notes=NOTES, folder=folder)


def describe(row: Row) -> str:
    """Returns one line for the terminal."""
    head = f"{row['kind']:8s}{row['problem']:10s} {row['grid']:>7s} {row['model']:7s}"
    if row["kind"] == "compile":
        low, high = (s["median"] for s in row["seconds"])
        return f"{head} {low:.2f} -> {high:.2f} s, x{row['growth']:.2f} (goal 1.5)"
    if row["kind"] == "floor":
        floors = (
            f"{row[name + 'floor']:.1e} (est. {row[name + 'estimate']:.1e})"
            for name in ("", "orthogonalized_")
        )
        return f"{head} {row['dtype']} {', orthogonalized '.join(floors)}"
    parts = [f"{n} {1e3 * s['median']:.3f} ms" for n, s in row["seconds"].items()]
    for name in ("grid", "spinn"):
        if (ratio := row.get(f"ratio_{name}")) is not None:
            parts.append(f"{ratio['median']:.2g} of {name}")
    return f"{head} {row['rank']:3d}  {', '.join(parts)}"


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Measures one row after the other."""
    wanted = options.only
    cases = QUICK if options.quick else CASES
    if wanted in (None, "step"):
        for case in cases:
            if options.cases and case.name not in options.cases:
                continue
            jax.clear_caches()
            yield measure(case, 3 if options.quick else None)
    if wanted in (None, "floor") and not options.quick:
        for dtype in ("float32", "float64"):
            yield measure_floor(dtype)
    if wanted in (None, "compile") and not options.quick:
        for name in options.models or COMPILE_RANKS:
            yield measure_compilation(name, options.repeats)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.factored",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [case.name for case in CASES]
    parser.add_argument("--only", choices=("step", "floor", "compile"))
    parser.add_argument(
        "--cases", nargs="+", choices=names, metavar="CASE", help=", ".join(names)
    )
    parser.add_argument("--models", nargs="+", choices=COMPILE_RANKS, help="compile")
    parser.add_argument("--repeats", type=int, default=COMPILE_REPEATS, help="compile")
    parser.add_argument("--quick", action="store_true", help="tiny, never writes")
    parser.add_argument("--write", action="store_true", help="write subsets too")
    options = parser.parse_args(arguments)
    if options.quick and options.write:
        parser.error("--quick never writes; leave out --write")
    if options.cases and options.only not in (None, "step"):
        parser.error(f"--cases are of kind step, got --only {options.only}")
    if options.models and options.only != "compile":
        parser.error(f"--models are of kind compile, got --only {options.only}")
    if options.repeats < 1:
        parser.error(f"--repeats must be positive, got {options.repeats}")
    if options.cases:
        options.only = "step"
    changed = options.repeats != COMPILE_REPEATS
    options.full = not (options.only or options.quick or changed)
    return options


def main(
    arguments: Sequence[str] | None = None, folder: Path = _results.RESULTS
) -> list[Row]:
    """Runs the command line and returns the rows."""
    options = parse(arguments)
    writes = options.full or options.write
    kept = ledger(folder if writes else None)
    measured = []
    for row in rows(options):
        print(describe(row), flush=True)
        kept.put(row)
        measured.append(row)
    if options.full:
        kept.arrange(measured, drop=True)
    if not writes:
        print("nothing written: a subset is written with --write")
    return measured


if __name__ == "__main__":
    jax.config.update("jax_enable_compilation_cache", False)
    main()
