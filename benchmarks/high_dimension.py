"""Problems in 4 to 100 dimensions: Poisson's equation, densities, ground states.

`python -m benchmarks.high_dimension` solves every case from several seeds and writes
`benchmarks/results/high_dimension.json`; `--only 20-cp` measures and writes one row,
`--quick` takes two seeds and few sweeps and writes nothing.

Poisson's equation is solved by alternating least squares; the other problems by
`pinns.solve`, as it is called without a model (`benchmarks._high_dimension_problems`).

The loss has the residual and all 2d faces, with the weights of the problem. The error
is the relative L2 error over the box, computed from the factors on a Gauss-Legendre
rule with more points than were fitted; it resolves errors down to 1e-13. Seconds are
apart: planning (tracing residual and faces), set-up (Gram matrices, compilation of
the first seed; no cache on disk), and the sweeps of each seed.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import pinns
from benchmarks import _high_dimension_problems as others
from benchmarks import _results, classical
from benchmarks._rows import Ledger, Row, hardware
from pinns import problems
from pinns.domain import precision
from pinns.factored import FactoredLoss, relative_l2
from pinns.separable import Separable
from pinns.solvers.als import solve_als


CLAIM = (
    "Alternating least squares solves Poisson's equation with all faces in 5 to 100 "
    "dimensions on two cores: tensor trains over polynomials to eight digits and more, "
    "CP to five or more in 20 dimensions and three in 100; and `pinns.solve` by itself "
    "solves a Fokker-Planck equation in 6 dimensions and time, the ground state of ten "
    "oscillators, and a diffusion problem for all values of two coefficients."
)
NOTES = (
    "relative_l2: over the seeds; max is the worst. No seed is left out.",
    "total_seconds: planning, set-up with compilation and the slowest seed's sweeps.",
    "goal: largest worst error and most total seconds the case was set.",
    "ground state: relative_l2 is that of the function, energy_error of the energy.",
    "parametric: relative_l2 is the largest over 64 unseen pairs of coefficients.",
    "5-memory: peak_mb is the largest resident memory of a process that does nothing "
    "else; a grid of its points has 1.07e9 values.",
    "The row 5-chebyshev is a collocation solver on a grid; it needs n^d values.",
)
ERROR_POINTS = 40
SEEDS = 5
TOLERANCE = 1e-11


class Case(NamedTuple):
    """A row: which model, how it is fitted, and the goal (worst error, seconds)."""

    dimension: int
    model: str
    rank: int
    hidden: int
    points: int
    sweeps: int
    starts: int
    goal: tuple[float, float]

    @property
    def name(self) -> str:
        return f"{self.dimension}-{self.model}"


CASES = (
    Case(5, "tt", 2, 12, 16, 150, 1, (1e-5, 5.0)),
    Case(10, "tt", 2, 12, 16, 150, 1, (1e-5, 60.0)),
    Case(20, "tt", 2, 12, 16, 150, 1, (1e-5, 60.0)),
    Case(20, "cp", 8, 10, 14, 600, 8, (1e-5, 60.0)),
    Case(50, "tt", 2, 12, 16, 100, 1, (1e-8, 60.0)),
    Case(100, "tt", 2, 12, 16, 100, 1, (1e-8, 60.0)),
    Case(100, "cp", 8, 8, 12, 400, 1, (1e-3, 180.0)),
)
CLASSICAL = "5-chebyshev"
# Rows of other problems, by name: (seeds, quick) -> row.
OTHERS: dict[str, Callable[[int, bool], Row]] = {
    "10-ground-state": lambda seeds, quick: others.ground_state(seeds),
    "6-fokker-planck": lambda seeds, quick: others.fokker_planck(seeds),
    "parametric-direct": lambda seeds, quick: others.parametric(seeds),
    "parametric-als": lambda seeds, quick: others.parametric(
        seeds, pinns.TensorTrain(rank=4, network="legendre", hidden=(14,))
    ),
    "5-memory": lambda seeds, quick: others.memory(5 if quick else 300),
}
MODELS = {"cp": pinns.CP, "tt": pinns.TensorTrain}


def network(case: Case) -> Separable:
    """Returns the model of a case: Legendre polynomials on every axis."""
    return MODELS[case.model](rank=case.rank, network="legendre", hidden=(case.hidden,))


def measure(case: Case, seeds: int, sweeps: int | None = None) -> Row:
    """Returns the row of one case."""
    began = time.perf_counter()
    problem = problems.create("poisson", dimension=case.dimension)
    model = network(case)
    with precision("float64"):
        points = problem.box.points(case.points, "gauss_legendre", dtype="float64")
        loss = FactoredLoss(problem, model, points, choose="factored")
        planned = time.perf_counter() - began
        found = [
            solve_als(
                problem,
                model,
                points,
                key=jax.random.key(seed),
                sweeps=case.sweeps if sweeps is None else sweeps,
                starts=case.starts,
                tolerance=TOLERANCE,
                loss=loss,
            )
            for seed in range(seeds)
        ]
        errors = [relative_l2(problem, model, f.params, ERROR_POINTS) for f in found]
    solving = _results.summarize(f.info.solve_seconds for f in found)
    setup = found[0].info.setup_seconds
    return {
        "case": case.name,
        "problem": "poisson",
        "dimension": case.dimension,
        "method": f"als, {case.model} rank {case.rank}",
        "basis": f"legendre, {case.hidden} per axis",
        "points": case.points,
        "seeds": seeds,
        "starts": case.starts,
        "hardware": hardware(),
        "relative_l2": _results.summarize(np.asarray(errors, np.float64)),
        "sweeps": _results.summarize(len(f.losses) for f in found),
        "loss": _results.summarize(f.losses[-1] for f in found),
        "condition": max(f.info.condition for f in found),
        "plan_seconds": planned,
        "setup_seconds": setup,
        "solve_seconds": solving,
        "total_seconds": planned + setup + solving["max"],
        "goal": {"relative_l2": case.goal[0], "seconds": case.goal[1]},
    }


def measure_classical() -> Row:
    """Returns the row of Chebyshev collocation in five dimensions."""
    found = classical.poisson5d()
    return {
        "case": CLASSICAL,
        "problem": "poisson",
        "dimension": 5,
        "method": found["method"],
        "seeds": 1,
        "hardware": hardware(),
        "relative_l2": _results.summarize([found["relative_l2"]]),
        "total_seconds": found["seconds"],
    }


def rows(names: Sequence[str], quick: bool) -> Iterator[Row]:
    """Measures one row after the other."""
    if CLASSICAL in names:
        yield measure_classical()
    for case in CASES:
        if case.name in names:
            jax.clear_caches()
            yield measure(case, 2 if quick else SEEDS, 30 if quick else None)
    for name, solve in OTHERS.items():
        if name in names:
            yield solve(1 if quick else SEEDS, quick)


def ledger(folder: Path | None) -> Ledger:
    """Returns the rows of this benchmark."""
    return Ledger(
        "high_dimension", claim=CLAIM, keys=("case",), notes=NOTES, folder=folder
    )


def describe(row: Row) -> str:
    """Returns one line for the terminal."""
    error = row["relative_l2"]
    line = (
        f"{row['case']:12s} {row['method']:45s} median {error['median']:.1e}  worst "
        f"{error['max']:.1e}  total {row['total_seconds']:.2f} s"
    )
    if "plan_seconds" not in row:
        return line
    return line + (
        f" (plan {row['plan_seconds']:.2f}, set-up {row['setup_seconds']:.2f}, solve "
        f"{row['solve_seconds']['median']:.2f})"
    )


def main(
    arguments: Sequence[str] | None = None, folder: Path = _results.RESULTS
) -> list[Row]:
    """Runs the command line and returns the rows."""
    names = [CLASSICAL, *(case.name for case in CASES), *OTHERS]
    parser = argparse.ArgumentParser(
        prog="benchmarks.high_dimension",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=names, help="these rows alone")
    parser.add_argument("--quick", action="store_true", help="never writes")
    options = parser.parse_args(arguments)
    kept = ledger(None if options.quick else folder)
    measured = []
    for row in rows(options.only or names, options.quick):
        print(describe(row), flush=True)
        kept.put(row)
        measured.append(row)
    if not options.quick:
        kept.arrange([{"case": name} for name in names], drop=False)
    return measured


if __name__ == "__main__":
    jax.config.update("jax_enable_compilation_cache", False)
    main()
