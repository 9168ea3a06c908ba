"""Inverse problems with known truth: error against noise, and whether it was foreseen.

`python -m benchmarks.inverse` recovers every unknown of three problems of
`pinns.problems` from synthetic measurements of several noise levels, from five seeds
each (points, noise and start), and writes `benchmarks/results/inverse.json`; `--only
burgers` measures one case, `--quick` takes one seed, two noise levels and few steps
and writes nothing. The picture `docs/images/inverse.png` is drawn from all rows.
Nothing here is a time.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import pinns
from benchmarks import _inverse_tables, _results
from benchmarks._rows import Ledger, Row


CLAIM = (
    "Unknown numbers, a coefficient function and a source are found along with the "
    "solution from noisy measurements; errors of numbers grow with the noise as their "
    "Laplace standard errors say."
)
NOTES = (
    "Measurements are synthetic: an exact solution at random points with Gaussian "
    "noise, whose level is relative to the root mean square of the solution.",
    "relative_error: of numbers |found - true| / |true|, of functions in L2, over the "
    "seeds. No seed is left out. The same of the solution u in L2.",
    "standard_error: relative to the truth, by solution.uncertainty(), with the noise "
    "estimated. covered: in how many runs the error was below two standard errors.",
    "method='gauss_newton', models and points as in the rows.",
)
PICTURE = _results.ROOT / "docs" / "images" / "inverse.png"
SEEDS = 5
LEVELS = (0.0, 0.01, 0.05, 0.1)
STEPS = 100
POINTS = 20


class Case(NamedTuple):
    """A problem, its options, the number of measurements, and rank and size of u."""

    name: str
    problem: str
    options: dict[str, Any]
    measurements: int
    rank: int
    hidden: int


CASES = (
    Case("diffusion", "unknown_diffusion", {"coefficient": "constant"}, 200, 3, 10),
    Case("burgers", "unknown_burgers", {}, 300, 4, 12),
    Case(
        "diffusion function",
        "unknown_diffusion",
        {"coefficient": "function"},
        200,
        3,
        10,
    ),
    Case("source", "unknown_source", {}, 400, 3, 10),
)


def solve(case: Case, noise: float, seed: int, steps: int) -> pinns.Solution:
    """Returns the solution of one run."""
    problem = pinns.problems.create(
        case.problem,
        **case.options,
        noise=noise,
        measurements=case.measurements,
        seed=seed,
    )
    model = pinns.CP(rank=case.rank, network="legendre", hidden=(case.hidden,))
    return pinns.solve(
        problem,
        model,
        "gauss_newton",
        points=POINTS,
        steps=steps,
        key=jax.random.key(seed),
        progress=False,
    )


def measure(case: Case, noise: float, seeds: int, steps: int) -> Iterator[Row]:
    """Returns one row per unknown of a case at one noise level."""
    errors: dict[str, list[float]] = {}
    expected: dict[str, list[float]] = {}
    states, sigmas, results = [], [], []
    true_noise = []
    for seed in range(seeds):
        jax.clear_caches()
        solution = solve(case, noise, seed, steps)
        parameters = solution.problem.parameters
        for name, error in solution.parameter_errors().items():
            errors.setdefault(name, []).append(error)
        states.append(float(solution.relative_l2()))
        results.append(solution.result)
        if not parameters.scalars or noise == 0.0:
            continue
        found = solution.uncertainty()
        sigmas.append(found.noise["measurements"])
        true_noise.append(solution.problem.noise)
        for name, deviation in found.standard_errors.items():
            exact = parameters.exact[parameters.names.index(name)]
            expected.setdefault(name, []).append(deviation / abs(exact))
    for name, own in errors.items():
        row: Row = {
            "case": case.name,
            "problem": case.problem,
            "unknown": name,
            "kind": "number" if name in parameters.scalars else "function",
            "noise": noise,
            "measurements": case.measurements,
            "model": f"cp rank {case.rank}, legendre {case.hidden}",
            "points": POINTS,
            "seeds": seeds,
            "relative_error": _results.summarize(own),
            "errors": own,
            "state_relative_l2": _results.summarize(states),
            "results": results,
        }
        if name in expected:
            row["standard_error"] = _results.summarize(expected[name])
            row["standard_errors"] = expected[name]
            pairs = zip(own, expected[name], strict=True)
            row["covered"] = int(sum(e <= 2.0 * s for e, s in pairs))
            ratio = np.asarray(sigmas) / np.asarray(true_noise)
            row["noise_estimated_over_true"] = _results.summarize(ratio)
        yield row


def ledger(folder: Path | None) -> Ledger:
    """Returns the rows of this benchmark."""
    keys = ("case", "unknown", "noise")
    return Ledger("inverse", claim=CLAIM, keys=keys, notes=NOTES, folder=folder)


def describe(row: Row) -> str:
    """Returns one line for the terminal."""
    error = row["relative_error"]
    line = (
        f"{row['case']:20s} {row['unknown']:9s} noise {row['noise']:5.0%}  error "
        f"median {error['median']:.1e}, worst {error['max']:.1e}"
    )
    if "standard_error" not in row:
        return line
    return line + (
        f"  standard error {row['standard_error']['median']:.1e}, covered "
        f"{row['covered']} of {row['seeds']}"
    )


def main(
    arguments: Sequence[str] | None = None, folder: Path = _results.RESULTS
) -> list[Row]:
    """Runs the command line and returns the rows."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        prog="benchmarks.inverse",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=names, help="these cases alone")
    parser.add_argument(
        "--noise", nargs="+", type=float, choices=LEVELS, help="these levels alone"
    )
    parser.add_argument("--quick", action="store_true", help="never writes")
    options = parser.parse_args(arguments)
    kept = ledger(None if options.quick else folder)
    seeds = 1 if options.quick else SEEDS
    levels = options.noise or ((0.0, 0.05) if options.quick else LEVELS)
    measured = []
    chosen = [case for case in CASES if case.name in (options.only or names)]
    for case in chosen:
        for noise in levels:
            for row in measure(case, noise, seeds, 20 if options.quick else STEPS):
                print(describe(row), flush=True)
                kept.put(row)
                measured.append(row)
    if not options.quick:
        plan = [
            {"case": case.name, "unknown": row["unknown"], "noise": noise}
            for case in CASES
            for row in kept.rows
            for noise in LEVELS
            if row["case"] == case.name
        ]
        kept.arrange(plan, drop=False)
        _inverse_tables.draw(kept.rows, PICTURE)
    return measured


if __name__ == "__main__":
    main()
