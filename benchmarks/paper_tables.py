"""Tables 2 and 3 of the tensor-decomposition paper, run with `pinns`.

CP, tensor-train and Tucker networks on Klein-Gordon and Helmholtz (table 2), Poisson in
five dimensions and flow mixing (table 3), by the recipe of the paper: every term of the
loss weighs one, Adam with the rate 1e-3, points drawn once, uniformly, four layers as
wide as the rank, tanh. The error is relative L2 on 100 equispaced points per axis, 32
in five dimensions, of the last iteration. Every seed is shown, none is selected.

    python -m benchmarks.paper_tables                  # `cpu`: about 20 min, two cores
    python -m benchmarks.paper_tables --scale paper    # the whole tables, for a GPU
    python -m benchmarks.paper_tables --list
    python -m benchmarks.paper_tables --problems helmholtz --ranks 32 --iterations 8000

`--scale paper` is 50,000 iterations (80,000 for Poisson), ten seeds, all rows and the
points of the paper: on one GPU

    pip install '.[cuda12]'
    python -m benchmarks.paper_tables --scale paper

again and again until all is done: each run is saved as soon as it ends, and a row is
left alone once it has as many iterations and seeds as are asked for. `--minutes` ends
it in time. `--scale cpu` has fewer iterations, three seeds, and fewer points for
Poisson and flow mixing; the rows say which.

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
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import pinns
from benchmarks import _results, classical
from benchmarks._rows import Ledger, Row, hardware
from pinns import problems, separable
from pinns.problem import Problem
from pinns.separable import Separable


MODELS = ("cp", "tt", "tucker")
# Our name -> name in pinns.problems, options, name in benchmarks.classical.
PROBLEMS: dict[str, tuple[str, dict[str, Any], str]] = {
    "klein_gordon": ("klein_gordon", {"velocity": False}, "Klein-Gordon (2+1)d"),
    "helmholtz": ("helmholtz3d", {"a": (4, 4, 3)}, "Helmholtz 3d"),
    "poisson": ("poisson", {"dimension": 5}, "Poisson 5d"),
    "flow_mixing": ("flow_mixing", {}, "flow mixing (2+1)d"),
}
TEST_POINTS = {3: 100, 5: 32}
# Factors of residual and Dirichlet condition; a condition is the mean over its faces.
WEIGHTS: dict[str, dict[str, tuple[float, float]]] = {
    "paper": {},
    "released": {
        "helmholtz": (1.0, 6.0),
        "poisson": (1.0, 10.0),
        "flow_mixing": (10.0, 4.0),
    },
}
LEARNING_RATE = 1e-3


class Case(NamedTuple):
    """One row; `points` per axis, `weights` one of `WEIGHTS`."""

    problem: str
    model: str
    rank: int
    points: int
    weights: str = "paper"


class Published(NamedTuple):
    """What the paper reports; iterations per second on a GTX 1080, None if not said."""

    relative_l2: float
    points: int
    iterations: int
    iterations_per_second: int | None


class Scale(NamedTuple):
    """How much is run: per problem its iterations, and points if not the paper's."""

    seeds: int
    iterations: Mapping[str, int]
    points: Mapping[str, int]


SCALES = {
    "paper": Scale(
        seeds=10,
        iterations={
            "klein_gordon": 50_000,
            "helmholtz": 50_000,
            "poisson": 80_000,
            "flow_mixing": 50_000,
        },
        points={},
    ),
    "cpu": Scale(
        seeds=3,
        iterations={
            "klein_gordon": 5000,
            "helmholtz": 5000,
            "poisson": 1500,
            "flow_mixing": 1500,
        },
        points={"poisson": 10, "flow_mixing": 32},
    ),
}

# Table 2: (rank, points) -> Klein-Gordon, Helmholtz, iterations per second.
_TABLE_2 = {
    "cp": {
        (8, 64): (0.050, 0.061, 364),
        (16, 64): (0.025, 0.051, 347),
        (32, 16): (0.069, 0.063, 357),
        (32, 32): (0.055, 0.060, 343),
        (32, 64): (0.008, 0.040, 327),
    },
    "tt": {
        (8, 64): (0.068, 0.064, 358),
        (16, 64): (0.043, 0.061, 353),
        (32, 16): (0.088, 0.060, 356),
        (32, 32): (0.079, 0.055, 310),
        (32, 64): (0.010, 0.048, 305),
    },
    "tucker": {
        (8, 64): (0.061, 0.079, 345),
        (16, 64): (0.053, 0.076, 328),
        (32, 16): (0.066, 0.077, 301),
        (32, 32): (0.062, 0.070, 333),
        (32, 64): (0.019, 0.057, 312),
    },
}
# Table 3: rank -> CP, tensor train, Tucker. The paper prints 24 x 3 points in 5-d.
_TABLE_3 = {
    ("poisson", 24): {
        6: (0.097, 0.048, 0.040),
        8: (0.077, 0.047, 0.038),
        12: (0.033, 0.037, 0.026),
    },
    ("flow_mixing", 128): {64: (0.013, 0.018, 0.028)},
}


def _published() -> dict[Case, Published]:
    found = {}
    steps = SCALES["paper"].iterations
    for i, name in enumerate(("klein_gordon", "helmholtz")):
        for model, table in _TABLE_2.items():
            for (rank, points), figures in table.items():
                case = Case(name, model, rank, points)
                speed = int(figures[2])
                found[case] = Published(figures[i], points, steps[name], speed)
    for (name, points), ranks in _TABLE_3.items():
        for i, model in enumerate(MODELS):
            for rank, errors in ranks.items():
                case = Case(name, model, rank, points)
                found[case] = Published(errors[i], points, steps[name], None)
    return found


PUBLISHED = _published()

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
    "the released code trains one of the ten faces of Poisson; here all are trained",
    "Klein-Gordon has no initial velocity, as in the paper: under-determined",
    "rows with the model `classical` are benchmarks/classical.py, in the same process",
    "each row has the iterations, hardware, commit and date of its own runs",
)
KEYS = ("problem", "model", "rank", "points", "weights")


def cases(scale: str, weights: str = "paper") -> list[Case]:
    """Returns the rows of a scale, in the order of the tables."""
    chosen = SCALES[scale]
    found = []
    for case in PUBLISHED:
        points = chosen.points.get(case.problem, case.points)
        found.append(case._replace(points=points, weights=weights))
    return found


def published(case: Case) -> Row:
    """Returns the paper's figures for this model and rank, with their points."""
    found = PUBLISHED.get(case._replace(weights="paper"))
    if found is None:
        # Fewer points than in the paper: its only row of this model and rank.
        found = next(p for c, p in PUBLISHED.items() if c[:3] == case[:3])
    return found._asdict()


def model(case: Case) -> Separable:
    """Returns the model, with the kernels that the released code starts from."""
    three = case.problem != "poisson"
    normal = case.model == "tucker" or (case.model == "cp" and three)
    initializer = "glorot_normal" if normal else "glorot_uniform"
    return separable.MODELS[case.model](rank=case.rank, initializer=initializer)


def problem(case: Case) -> Problem:
    """Returns the problem, weighed, its axes in the order of the released code."""
    name, options, _ = PROBLEMS[case.problem]
    stated = problems.create(name, **options)
    names = list(stated.box.names)
    if case.model == "tt" and len(names) == 3:
        # Its first axis has the core of the train, which is in the middle here.
        names[:2] = names[1::-1]
    residual, faces = WEIGHTS[case.weights].get(case.problem, (1.0, 1.0))
    return Problem(
        pinns.Box(**{name: stated.box.interval(name) for name in names}),
        stated.residual,
        [
            dataclasses.replace(c, weight=faces)
            if isinstance(c, pinns.Dirichlet)
            else c
            for c in stated.conditions
        ],
        exact=_reordered(stated, names),
        weight=residual,
        name=stated.name,
    )


def _reordered(stated: Problem, names: Sequence[str]) -> Callable[..., jax.Array]:
    exact = stated.require_exact("paper_tables")[0]

    def reordered(*coordinates: jax.Array) -> jax.Array:
        by_name = dict(zip(names, coordinates, strict=True))
        return exact(*(by_name[name] for name in stated.box.names))

    return reordered


def run(case: Case, stated: Problem, iterations: int, seed: int) -> Row:
    """Solves the problem once and returns what is reported of it."""
    solution = pinns.solve(
        stated,
        model(case),
        method="adam",
        loss="grid",
        points=case.points,
        steps=iterations,
        learning_rate=LEARNING_RATE,
        key=jax.random.key(seed),
        progress=False,
        throw=False,
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
    return (
        f"{found['problem']:13s} {found['model']:7s} {found['rank']:3d} "
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
    add("--models", nargs="+", choices=MODELS, default=list(MODELS))
    add("--ranks", nargs="+", type=int)
    add("--rows", nargs="+", type=int, help="numbers that --list shows")
    add("--list", action="store_true", help="show the rows and run nothing")
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

    def iterations(case: Case) -> int:
        own = SCALES[options.scale].iterations[case.problem]
        return int(options.iterations or own)

    kept = Ledger(
        "paper_tables",
        claim=CLAIM,
        keys=KEYS,
        notes=NOTES,
        folder=None if options.no_write else folder,
    )
    for number, case in options.cases.items():
        if options.list:
            print(f"{number:3d}  {case}, {iterations(case)} iterations")
    if options.list:
        return kept
    print(f"{len(options.cases)} rows, {options.seeds} seeds each", flush=True)
    done = measure(
        list(options.cases.values()), kept, iterations, options.seeds, options.minutes
    )
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
