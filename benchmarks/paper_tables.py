"""Tables 2 and 3 of the tensor-decomposition paper, run with `pinns`.

CP, tensor-train and Tucker networks and four pointwise baselines on Klein-Gordon and
Helmholtz (table 2), Poisson in five dimensions and flow mixing (table 3), by the recipe
of the paper: every term of the
loss weighs one, Adam with the rate 1e-3, points drawn once, uniformly, four layers as
wide as the rank, tanh. The error is relative L2 on 100 equispaced points per axis, 32
in five dimensions, of the last iteration. Every seed is shown, none is selected. Both
faults of the released code are mended; for each there are rows that have it still.

    python -m benchmarks.paper_tables                  # `cpu`: about 20 min, two cores
    python -m benchmarks.paper_tables --scale paper    # the whole tables, for a GPU
    python -m benchmarks.paper_tables --list
    python -m benchmarks.paper_tables --problems helmholtz --ranks 32 --iterations 8000
    python -m benchmarks.paper_tables --speed          # iterations per second anew

`--scale paper` is 50,000 iterations (80,000 for Poisson), ten seeds, all rows and the
points of the paper: on one GPU

    pip install '.[cuda12]'
    python -m benchmarks.paper_tables --scale paper

again and again until all is done: each run is saved as soon as it ends, and a row is
left alone once it has as many iterations and seeds as are asked for. `--minutes` ends
it in time. `--scale cpu` has fewer iterations, three seeds, and fewer points for
Poisson, flow mixing and the pointwise networks; the rows say which. Errors do not
depend on what else the machine does, iterations per second do: a row measured beside
other work is marked, and `--speed` measures those again.

Source: Vemuri et al., "Functional Tensor Decompositions for Physics-Informed Neural
Networks", ICPR 2024. Where it is silent, its released code decides: Glorot normal
kernels for CP and Tucker but uniform ones for CP in five dimensions and for the tensor
train, and the first axis in the middle of a tensor train in three dimensions. Where the
two contradict each other the paper is followed, its equations 14 to 16: means over all
points of the faces. `--weights released` takes the sums over faces of the code instead,
and its factor 10 on the residual of flow mixing; these are rows of their own.
"""

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import pinns
from benchmarks import _results, classical
from benchmarks._paper_cases import (
    BASELINES,
    FAULTS,
    MODELS,
    PROBLEMS,
    SCALES,
    TEST_POINTS,
    WEIGHTS,
    Case,
    cases,
    iterations,
    published,
)
from benchmarks._pinn_tables import BUSY
from benchmarks._rows import Ledger, Row, hardware
from pinns import baselines, problems, separable, weighting
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.separable import Separable


LEARNING_RATE = 1e-3
# Hidden layers of the pointwise networks; the paper does not say its own.
BASELINE_HIDDEN = (64, 64, 64)

CLAIM = (
    "By the recipe of the paper, CP, tensor-train and Tucker networks reach the errors "
    "that it reports"
)
NOTES = (
    "relative_l2: of every seed at its last iteration; 100 test points per axis, 32 in "
    "five dimensions",
    "iterations_per_second: without compilation; compile_seconds: everything before "
    "the first step, of the first seed",
    "paper: relative L2 as printed, and iterations per second on a GTX 1080, for the "
    "points and iterations that stand with it; 24 x 3 points, as printed for Poisson, "
    "are read as 24^5",
    "weights `paper`: all terms of the loss weigh 1 and are means, as printed; "
    "`released`: as in the released code, the faces of Helmholtz, Poisson and flow "
    "mixing are summed and the residual of flow mixing is weighed by 10. Klein-Gordon "
    "is the same in both",
    "the released code has two faults, both mended here. Rows with `fault`: "
    + "; ".join(f"{name}: {what}" for name, what in FAULTS.items())
    + ". The paper's figures that stand with them were made with the fault",
    "pointwise networks: three hidden layers of 64, glorot_normal, tanh (the paper "
    "does not say); g_pinn: weight 0.01; sa_pinn: mask l^2, weights by an Adam of "
    "5e-3; causal_pinn: tolerances 0.01 to 100, along t, and for Helmholtz, which has "
    "no time, along x",
    "load: what else the machine did, as the mean number of running processes when the "
    f"last run of the row began; above {BUSY:g}, times are marked",
    "Klein-Gordon has no initial velocity, as in the paper: under-determined",
    "rows with the model `classical` are benchmarks/classical.py, in the same process",
    "each row has the iterations, hardware, commit and date of its own runs",
)
KEYS = ("problem", "model", "rank", "points", "weights", "fault")
# Iterations from which a speed is measured.
SPEED_ITERATIONS = {False: 300, True: 30}


def model(case: Case) -> Separable | MLP:
    """Returns the model, with the kernels that the released code starts from."""
    if case.baseline:
        return MLP(hidden=BASELINE_HIDDEN)
    three = case.problem != "poisson"
    normal = case.model == "tucker" or (case.model == "cp" and three)
    initializer = "glorot_normal" if normal else "glorot_uniform"
    return separable.MODELS[case.model](
        rank=int(case.rank or 0), initializer=initializer
    )


def problem(case: Case) -> Problem:
    """Returns the problem, weighed, its axes in the order of the released code."""
    name, options, _ = PROBLEMS[case.problem]
    stated = problems.create(name, **options)
    names = list(stated.box.names)
    if case.model == "tt" and len(names) == 3:
        # Its first axis has the core of the train, which is in the middle here.
        names[:2] = names[1::-1]
    residual, faces = WEIGHTS[case.weights].get(case.problem, (1.0, 1.0))
    conditions = [
        dataclasses.replace(c, weight=faces) if isinstance(c, pinns.Dirichlet) else c
        for c in stated.conditions
    ]
    if case.fault == "one_face":
        exact = stated.require_exact("paper_tables")[0]
        conditions = [pinns.Dirichlet(exact, axes="x1", side="lower", weight=faces)]
    return Problem(
        pinns.Box(**{name: stated.box.interval(name) for name in names}),
        _own_source if case.fault == "own_source" else stated.residual,
        conditions,
        exact=_reordered(stated, names),
        weight=residual,
        name=stated.name,
    )


def _own_source(u):
    """Helmholtz with its source `(k^2 - pi^2 sum a_i^2) u` made of the unknown."""
    options = PROBLEMS["helmholtz"][1]
    scale = sum((np.pi * wave) ** 2 for wave in options["a"])
    return u.d("x", 2) + u.d("y", 2) + u.d("z", 2) + float(scale) * u


class Chosen(NamedTuple):
    """What is solved, with what, and options of `pinns.solve`."""

    problem: Problem
    model: Separable | MLP
    options: dict[str, Any]


def recipe(case: Case, stated: Problem) -> Chosen:
    """Returns problem, model and options of `pinns.solve`."""
    chosen = model(case)
    if not isinstance(chosen, MLP):
        return Chosen(stated, chosen, {"method": "adam", "loss": "grid"})
    if case.model == "causal_pinn" and case.problem == "helmholtz":
        causal = weighting.Causal(axis="x")
        return Chosen(*baselines.causal_pinn(stated, chosen, weighting=causal))
    return Chosen(*baselines.BASELINES[case.model](stated, chosen))


def _reordered(stated: Problem, names: Sequence[str]) -> Callable[..., jax.Array]:
    exact = stated.require_exact("paper_tables")[0]

    def reordered(*coordinates: jax.Array) -> jax.Array:
        by_name = dict(zip(names, coordinates, strict=True))
        return exact(*(by_name[name] for name in stated.box.names))

    return reordered


def run(case: Case, stated: Problem, iterations: int, seed: int) -> Row:
    """Solves the problem once and returns what is reported of it."""
    how = recipe(case, stated)
    load = os.getloadavg()[0]
    solution = pinns.solve(
        how.problem,
        how.model,
        points=case.points,
        steps=iterations,
        learning_rate=LEARNING_RATE,
        key=jax.random.key(seed),
        progress=False,
        throw=False,
        **how.options,
    )
    error = float(solution.relative_l2(TEST_POINTS[stated.box.dimension]))
    return {
        "seed": seed,
        "relative_l2": error if np.isfinite(error) else None,
        "loss": float(solution.history.loss[-1]),
        "result": solution.result,
        "iterations_per_second": solution.timings["steps_per_second"],
        "seconds": solution.timings["solve_seconds"],
        "compile_seconds": solution.timings["compile_seconds"],
        "load": load,
    }


def row(case: Case, iterations: int, runs: Sequence[Row]) -> Row:
    """Returns the row of these runs, one per seed."""
    errors = [r["relative_l2"] for r in runs if r["relative_l2"] is not None]
    stated = problem(case)
    return {
        **case._asdict(),
        "dimension": stated.box.dimension,
        "axes": list(stated.box.names),
        "initializer": model(case).net.initializer,
        "load": runs[-1]["load"],
        "parameters": model(case).num_parameters(stated.box),
        "hardware": hardware(),
        "iterations": iterations,
        "relative_l2": _results.summarize(errors) if errors else None,
        "iterations_per_second": _results.summarize(
            r["iterations_per_second"] for r in runs
        ),
        "seconds": _results.summarize(r["seconds"] for r in runs),
        "compile_seconds": runs[0]["compile_seconds"],
        "runs": list(runs),
        "paper": published(case),
    }


def missing(
    kept: Row | None, iterations: int, seeds: int
) -> tuple[list[Row], list[int]]:
    """Returns the runs of a kept row that still count, and the seeds left to run.

    A row of at least as many iterations counts as it is; one of fewer not at all.
    """
    if kept is None or kept["iterations"] < iterations:
        return [], list(range(seeds))
    runs = kept["runs"]
    if kept["iterations"] > iterations:
        return runs, []
    done = {r["seed"] for r in runs}
    return runs, [seed for seed in range(seeds) if seed not in done]


def classical_row(name: str) -> Row:
    """Returns what spectral collocation reaches on this problem."""
    found = classical.PROBLEMS[PROBLEMS[name][2]]()
    return {
        "problem": name,
        "model": "classical",
        "rank": None,
        "points": None,
        "weights": None,
        "hardware": hardware(),
        **found,
    }


def describe(found: Row) -> str:
    """Returns one line for the terminal."""
    errors = " ".join(
        "failed" if r["relative_l2"] is None else f"{r['relative_l2']:.3g}"
        for r in found["runs"]
    )
    fault = "" if found["fault"] is None else f" with {found['fault']}"
    return (
        f"{found['problem']:13s} {found['model']:11s}{fault} {found['rank'] or '-':>3} "
        f"{found['points']}^{found['dimension']}  {found['iterations']} iterations  "
        f"relative L2 {errors}  (paper {found['paper']['relative_l2']:.3f})  "
        f"{found['iterations_per_second']['median']:.0f} it/s  compile "
        f"{found['compile_seconds']:.1f} s  {found['seconds']['median']:.1f} s a seed"
    )


def measure(
    chosen: Sequence[Case],
    kept: Ledger,
    iterations: Callable[[Case], int],
    seeds: int,
    minutes: float | None = None,
) -> bool:
    """Runs what is missing, saving after every run; returns False if time was up."""
    end = None if minutes is None else time.monotonic() + 60 * minutes
    for name in dict.fromkeys(case.problem for case in chosen):
        kept.put(classical_row(name))
    for case in chosen:
        steps = iterations(case)
        runs, left = missing(kept.find(case._asdict()), steps, seeds)
        stated = problem(case)
        for seed in left:
            if end is not None and time.monotonic() >= end:
                return False
            runs = [*runs, run(case, stated, steps, seed)]
            kept.put(row(case, steps, runs))
        if left:
            print(describe(row(case, steps, runs)), flush=True)
    return True


def measure_speed(chosen: Sequence[Case], kept: Ledger) -> None:
    """Renews the iterations per second of the kept rows that were measured under load.

    Seed 0 runs a few iterations once more; errors stay as they are.
    """
    for case in chosen:
        found = kept.find(case._asdict())
        if found is None or not marked(found):
            continue
        again = run(case, problem(case), SPEED_ITERATIONS[case.baseline], 0)
        speed = _results.summarize([again["iterations_per_second"]])
        kept.put({**found, "iterations_per_second": speed, "load": again["load"]})
        print(f"{describe(kept.find(case._asdict()) or found)}", flush=True)


def marked(found: Row) -> bool:
    """Says if the machine had other work while this row was measured."""
    return found.get("load", 0.0) > BUSY


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options, with the rows they choose."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.paper_tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--scale", choices=list(SCALES), default="cpu")
    add("--iterations", type=int, help="of every row, instead of the scale's")
    add("--seeds", type=int, help="number of seeds, 0, 1, ...")
    add("--minutes", type=float, help="start no run after this time")
    add("--weights", choices=list(WEIGHTS), default="paper", help="see above")
    add("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    every = (*MODELS, *BASELINES)
    add("--models", nargs="+", choices=every, default=list(every))
    add("--ranks", nargs="+", type=int)
    add("--rows", nargs="+", type=int, help="numbers that --list shows")
    add("--list", action="store_true", help="show the rows and run nothing")
    add("--speed", action="store_true", help="of marked rows, no errors, see above")
    add("--no-write", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    numbered = dict(enumerate(cases(options.scale, options.weights), start=1))
    for number in options.rows or ():
        if number not in numbered:
            parser.error(f"--rows must be of 1 to {len(numbered)}, got {number}")
    for name in ("iterations", "seeds"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name} must be positive, got {getattr(options, name)}")
    options.cases = {
        number: case
        for number, case in numbered.items()
        if case.problem in options.problems
        and case.model in options.models
        and (options.ranks is None or case.rank in options.ranks)
        and (options.rows is None or number in options.rows)
    }
    options.seeds = options.seeds or SCALES[options.scale].seeds
    return options


def main(
    arguments: Sequence[str] | None = None, folder: Path = _results.RESULTS
) -> Ledger:
    """Runs the command line and returns the rows, measured now or earlier."""
    options = parse(arguments)

    def steps(case: Case) -> int:
        return int(options.iterations or iterations(options.scale, case))

    kept = Ledger(
        "paper_tables",
        claim=CLAIM,
        keys=KEYS,
        notes=NOTES,
        folder=None if options.no_write else folder,
    )
    for number, case in options.cases.items():
        if options.list:
            print(f"{number:3d}  {case}, {steps(case)} iterations")
    if options.list:
        return kept
    chosen = list(options.cases.values())
    if options.speed:
        measure_speed(chosen, kept)
        return kept
    print(f"{len(chosen)} rows, {options.seeds} seeds each", flush=True)
    done = measure(chosen, kept, steps, options.seeds, options.minutes)
    order = [{"problem": name, "model": "classical"} for name in PROBLEMS]
    for scale in SCALES:
        for weights in WEIGHTS:
            order += [case._asdict() for case in cases(scale, weights)]
    kept.arrange(order, drop=False)
    if not done:
        print("time is up: the same command goes on where this one ended")
    return kept


if __name__ == "__main__":
    # Seeds differ in data only: what one has compiled the next ones read.
    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        main()
