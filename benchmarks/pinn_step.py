"""Time, memory and compilation of one training step, against SPINN's formulation.

A step is loss, gradient and Adam update of a separable network on a tensor grid. Ours
is `pinns.losses.GridLoss` with `FirstOrder.step`, which is what `pinns.solve` runs; the
other is `benchmarks.spinn_reference`, nested `jvp` through the whole contraction, with
the same networks, parameters, points and optimizer. Both are one jitted call per step,
compiled ahead, in float32, and take turns in one process.

    python -m benchmarks.pinn_step                     # everything, and writes it
    python -m benchmarks.pinn_step --grids 64^3 --ranks 32 --models cp   # prints only
    python -m benchmarks.pinn_step --grids 128^3 --write   # renews these rows
    python -m benchmarks.pinn_step --only compile --write
    python -m benchmarks.pinn_step --quick             # tiny grids, never writes

Everything takes about half an hour on two cores. Rows are kept as soon as they are
measured. Persistent compilation caches are off.
"""

import argparse
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import _results, spinn_reference
from benchmarks._rows import Ledger, Row, hardware
from pinns import problems, separable
from pinns.losses import GridLoss
from pinns.problem import Problem
from pinns.separable import Separable
from pinns.solvers.first_order import FirstOrder


# Our name -> name and options in pinns.problems, and dimension.
PROBLEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "klein_gordon": ("klein_gordon", {}),
    "helmholtz": ("helmholtz3d", {"a": (4, 4, 3)}),
    "poisson": ("poisson", {"dimension": 5}),
}
MODELS = ("cp", "tt", "tucker")
GRIDS = ("32^3", "64^3", "128^3", "16^5")
RANKS = (8, 16, 32, 64)
QUICK_GRIDS, QUICK_RANKS = ("6^3", "3^5"), (2,)

# Above this rank, 5-d steps measure the networks and the core only.
MAX_RANK_5D = 32
MAX_CORE = 2**21
# A sample is as many steps as take this long, so that clock and dispatch do not matter.
SAMPLE_SECONDS = 0.05
MAX_STEPS_PER_SAMPLE = 50
REPEATS_SMALL, REPEATS_LARGE = 15, 7
SMALL_GRID = 64**3
LEARNING_RATE = 1e-3
# Float32 losses of the two formulations must agree to this.
LOSS_TOLERANCE = 1e-3

COMPILE_DIMENSIONS = (3, 10)
COMPILE_POINTS = 3
# A Tucker core of rank 8 has 1.1e9 numbers in ten dimensions.
COMPILE_RANKS = {"cp": 8, "tt": 8, "tucker": 2}
COMPILE_REPEATS = {"ours": 5, "reference": 3}

KEYS = ("kind", "problem", "model", "rank", "grid")
CLAIM = (
    "A training step of a separable PINN from factor jets is faster, and needs less "
    "memory, than one that differentiates through the contraction"
)
NOTES = (
    "ours: pinns.losses.GridLoss, optax.adam through FirstOrder.step",
    "reference: SPINN's formulation, benchmarks/spinn_reference.py: nested jvp through "
    "networks and contraction, a separate application per face, the same networks, "
    "parameters, points and optax.adam; losses and gradients are tested equal",
    "seconds: per step, one jitted call each, compiled ahead, in turns; a sample is "
    "the mean of `steps_per_sample` consecutive steps",
    "ratio: ours / reference, of the samples of the same turn",
    "bytes: memory_analysis() of the executable, as XLA plans it: temporaries, "
    "arguments (parameters, optimizer state, source and boundary values), outputs",
    "compile_seconds: from problem and model to the executable, tracing included, "
    "persistent cache off; one compilation in rows of kind `step`, several with caches "
    "cleared in rows of kind `compile`",
    "networks: three hidden tanh layers as wide as the rank; float32",
    f"not measured: rank 64 on 16^5, and Tucker there above a core of {MAX_CORE:,} "
    "numbers: at rank 32 it has 33.6 million, 134 MB, four times with gradient and "
    "Adam's moments, and the step measures the core instead of the grid",
    "rows of kind `compile`: Poisson in 3 and 10 dimensions, three points per axis; "
    "Tucker with rank 2, because a core of rank 8 has 1.1e9 numbers in 10 dimensions",
    "each row has the commit and date of its own measurement",
)


class Case(NamedTuple):
    """One comparison."""

    problem: str
    model: str
    rank: int
    grid: str


def counts(grid: str) -> tuple[int, ...]:
    """Returns the points per axis of a grid written `n^d`.

    Example:
        >>> counts("64^3")
        (64, 64, 64)
    """
    found = re.fullmatch(r"([1-9]\d*)\^([1-9]\d*)", grid)
    if found is None or int(found[1]) < 2:
        raise ValueError(
            f"pinn_step: a grid must be written n^d, as 64^3, n >= 2, got {grid!r}"
        )
    return (int(found[1]),) * int(found[2])


def problem(name: str) -> Problem:
    """Returns the problem of `pinns` that `name` stands for here."""
    made, options = PROBLEMS[name]
    return problems.create(made, **options)


def model(name: str, rank: int) -> Separable:
    """Returns the model, with Glorot uniform kernels in all of them."""
    return separable.MODELS[name](rank=rank, initializer="glorot_uniform")


def plan(
    names: Sequence[str],
    models: Sequence[str],
    ranks: Sequence[int],
    grids: Sequence[str],
) -> tuple[list[Case], list[tuple[Case, str]]]:
    """Returns the cases, and those that are left out with the reason."""
    cases, skipped = [], []
    for grid in grids:
        for name in names:
            if problem(name).box.dimension != len(counts(grid)):
                continue
            for which in models:
                for rank in ranks:
                    case = Case(name, which, rank, grid)
                    reason = _why_not(case)
                    if reason is None:
                        cases.append(case)
                    else:
                        skipped.append((case, reason))
    return cases, skipped


def _why_not(case: Case) -> str | None:
    dimension = len(counts(case.grid))
    if dimension <= 3:
        return None
    core = case.rank**dimension
    if case.model == "tucker" and core > MAX_CORE:
        return f"a core of {core:.1e} numbers"
    if case.rank > MAX_RANK_5D:
        return f"rank above {MAX_RANK_5D} in {dimension} dimensions"
    return None


class Step(NamedTuple):
    """A compiled step `(carry, data) -> (carry, loss)` and what it starts from."""

    compiled: Any
    carry: Any
    data: Any
    compile_seconds: float

    def run(self, steps: int) -> Any:
        """Takes steps, one call each, and returns the last loss."""
        carry = self.carry
        for _ in range(steps):
            carry, loss = self.compiled(carry, self.data)
        return carry, loss

    def bytes(self) -> dict[str, int]:
        """Returns what the executable needs, in the words of `memory_analysis`."""
        found = self.compiled.memory_analysis()
        parts = {
            "temporary": found.temp_size_in_bytes,
            "argument": found.argument_size_in_bytes,
            "output": found.output_size_in_bytes,
        }
        return {**parts, "total": sum(parts.values())}


def build(case: Case) -> tuple[Step, Step]:
    """Returns our step and the reference's, from the same parameters and points."""
    stated, network = problem(case.problem), model(case.model, case.rank)
    equation = spinn_reference.EQUATIONS[case.problem]()
    sizes = counts(case.grid)
    return build_ours(stated, network, sizes), build_reference(
        stated, equation, network, sizes
    )


def build_ours(stated: Problem, network: Separable, sizes: tuple[int, ...]) -> Step:
    """Returns the step that `pinns.solve` repeats."""
    points, params = _start(stated, network, sizes)
    began = time.perf_counter()
    loss = GridLoss(stated, network, sizes)
    construction = time.perf_counter() - began
    prepared = jax.jit(loss.prepare)(points)
    solver = FirstOrder(loss, optax.adam(LEARNING_RATE))
    state = solver.init(params)

    def step(state: Any, prepared: Any) -> tuple[Any, jax.Array]:
        after, rows = solver.step(state, prepared)
        return after, rows.total

    compiled, seconds = _compile(step, state, prepared)
    return Step(compiled, state, prepared, construction + seconds)


def build_reference(
    stated: Problem,
    equation: spinn_reference.Equation,
    network: Separable,
    sizes: tuple[int, ...],
) -> Step:
    """Returns the step of SPINN's formulation for the same problem and model."""
    points, params = _start(stated, network, sizes)
    by_axis = spinn_reference.from_pinns(network.shapes(len(sizes)), params)
    optimizer = optax.adam(LEARNING_RATE)
    carry = (by_axis, optimizer.init(by_axis))
    data = spinn_reference.data(equation, [p.coordinates for p in points])
    step = spinn_reference.step(equation, network.name, optimizer)
    compiled, seconds = _compile(step, carry, data)
    return Step(compiled, carry, data, seconds)


def _start(stated: Problem, network: Separable, sizes: tuple[int, ...]) -> Any:
    points = stated.box.points(sizes, key=jax.random.key(1))
    return points, network.init(jax.random.key(0), stated.box)


def _compile(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled, time.perf_counter() - began


def measure(case: Case, repeats: int | None = None) -> Row:
    """Returns the row of one case.

    Raises:
        RuntimeError: the two formulations do not compute the same loss.
    """
    ours, reference = build(case)
    check_losses(case, float(ours.run(1)[1]), float(reference.run(1)[1]))
    fastest = min(_seconds(ours), _seconds(reference))
    steps = max(1, min(MAX_STEPS_PER_SAMPLE, math.ceil(SAMPLE_SECONDS / fastest)))
    size = math.prod(counts(case.grid))
    if repeats is None:
        repeats = REPEATS_SMALL if size <= SMALL_GRID else REPEATS_LARGE
    times = _results.interleave(
        {"ours": lambda: ours.run(steps), "reference": lambda: reference.run(steps)},
        repeats=repeats,
    )
    per_step = {name: np.asarray(seconds) / steps for name, seconds in times.items()}
    return {
        "kind": "step",
        **case._asdict(),
        "hardware": hardware(),
        "ours_seconds": _results.summarize(per_step["ours"]),
        "reference_seconds": _results.summarize(per_step["reference"]),
        "ratio": _results.summarize(per_step["ours"] / per_step["reference"]),
        "steps_per_sample": steps,
        "ours_bytes": ours.bytes(),
        "reference_bytes": reference.bytes(),
        "ours_compile_seconds": ours.compile_seconds,
        "reference_compile_seconds": reference.compile_seconds,
    }


def check_losses(case: Case, ours: float, reference: float) -> None:
    """Raises RuntimeError unless the losses before the first step agree."""
    if not abs(ours - reference) <= LOSS_TOLERANCE * abs(reference):
        raise RuntimeError(
            f"pinn_step: {case} has the loss {ours:.7g} in ours and {reference:.7g} in "
            "the reference: these are not the same step"
        )


def _seconds(step: Step) -> float:
    began = time.perf_counter()
    jax.block_until_ready(step.run(1))
    return time.perf_counter() - began


def measure_compilation(name: str, rank: int, repeats: int | None = None) -> Row:
    """Returns compile seconds of both formulations by dimension, and their growth.

    All in-memory caches are cleared before each compilation; dimensions take turns.
    """
    network = model(name, rank)
    samples: dict[str, dict[int, list[float]]] = {}
    for side, usual in COMPILE_REPEATS.items():
        found = samples[side] = {d: [] for d in COMPILE_DIMENSIONS}
        for _ in range(repeats or usual):
            for dimension in COMPILE_DIMENSIONS:
                jax.clear_caches()
                # What every process compiles once is not the step's.
                jnp.zeros(2).block_until_ready()
                stated = problems.create("poisson", dimension=dimension)
                sizes = (COMPILE_POINTS,) * dimension
                if side == "ours":
                    step = build_ours(stated, network, sizes)
                else:
                    equation = spinn_reference.poisson(dimension)
                    step = build_reference(stated, equation, network, sizes)
                found[dimension].append(step.compile_seconds)
    low, high = COMPILE_DIMENSIONS
    row: Row = {
        "kind": "compile",
        "problem": "poisson",
        "model": name,
        "rank": rank,
        "grid": f"{COMPILE_POINTS}^d",
        "dimensions": [low, high],
        "hardware": hardware(),
    }
    for side, found in samples.items():
        seconds = [_results.summarize(found[d]) for d in (low, high)]
        row[f"{side}_seconds"] = seconds
        row[f"{side}_growth"] = seconds[1]["median"] / seconds[0]["median"]
    return row


def ledger(folder: Path | None) -> Ledger:
    """Returns the rows of this benchmark."""
    return Ledger("pinn_step", claim=CLAIM, keys=KEYS, notes=NOTES, folder=folder)


def describe(row: Row) -> str:
    """Returns one line for the terminal."""
    if row["kind"] == "compile":
        found = [
            f"{side} "
            + " -> ".join(f"{s['median']:.2f}" for s in row[f"{side}_seconds"])
            + f" s (x{row[f'{side}_growth']:.2f})"
            for side in ("ours", "reference")
        ]
        return (
            f"compile d=3 -> 10  {row['model']:7s} {row['rank']:3d}  {', '.join(found)}"
        )
    ours, reference = row["ours_seconds"], row["reference_seconds"]
    return (
        f"{row['problem']:13s} {row['grid']:>6s} {row['model']:7s} {row['rank']:3d}  "
        f"ours {1e3 * ours['median']:9.2f} ms  reference "
        f"{1e3 * reference['median']:9.2f} ms  ratio {row['ratio']['median']:.3f} "
        f"[{row['ratio']['min']:.3f}, {row['ratio']['max']:.3f}]  "
        f"{row['ours_bytes']['total'] / 1e6:.1f} / "
        f"{row['reference_bytes']['total'] / 1e6:.1f} MB  compile "
        f"{row['ours_compile_seconds']:.1f} / {row['reference_compile_seconds']:.1f} s"
    )


def rows(
    cases: Sequence[Case], compilations: Sequence[str], repeats: int | None
) -> Iterator[Row]:
    """Measures one row after the other."""
    for name in compilations:
        rank = COMPILE_RANKS[name]
        yield measure_compilation(name, rank, repeats)
    for case in cases:
        jax.clear_caches()
        yield measure(case, repeats)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options, with everything left out filled in."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.pinn_step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--grids", nargs="+", metavar="n^d", help=f"default: {' '.join(GRIDS)}")
    add("--ranks", nargs="+", type=int, help=f"default: {RANKS}")
    add("--models", nargs="+", choices=MODELS)
    add("--problems", nargs="+", choices=list(PROBLEMS))
    add("--only", choices=("step", "compile"), help="one set of rows")
    add("--repeats", type=int, help="samples per row")
    add("--quick", action="store_true", help="tiny grids, never writes")
    add("--write", action="store_true", help="write the rows of a subset too")
    options = parser.parse_args(arguments)
    chosen = (
        options.grids, options.ranks, options.models, options.problems, options.only,
        options.repeats,
    )  # fmt: skip
    options.full = all(value is None for value in chosen) and not options.quick
    if options.quick and options.write:
        parser.error("--quick never writes; leave out --write")
    options.grids = options.grids or (QUICK_GRIDS if options.quick else GRIDS)
    options.ranks = options.ranks or (QUICK_RANKS if options.quick else RANKS)
    options.models = options.models or MODELS
    options.problems = options.problems or tuple(PROBLEMS)
    options.repeats = options.repeats or (3 if options.quick else None)
    try:
        for grid in options.grids:
            counts(grid)
    except ValueError as error:
        parser.error(str(error))
    return options


def main(
    arguments: Sequence[str] | None = None, folder: Path = _results.RESULTS
) -> list[Row]:
    """Runs the command line and returns the rows."""
    options = parse(arguments)
    cases, skipped = plan(
        options.problems, options.models, options.ranks, options.grids
    )
    cases = [] if options.only == "compile" else cases
    compilations = () if options.only == "step" or options.quick else options.models
    writes = options.full or options.write
    kept = ledger(folder if writes else None)
    for case, reason in () if options.only == "compile" else skipped:
        print(f"skipped: {case.problem} {case.grid} {case.model} {case.rank}: {reason}")
    measured = []
    for row in rows(cases, compilations, options.repeats):
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
