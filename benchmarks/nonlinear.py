"""Nonlinear problems: error and seconds of trained models and of fixed bases.

    python -m benchmarks.nonlinear                   # what is missing
    python -m benchmarks.nonlinear --rows burgers    # rows whose name contains that
    python -m benchmarks.nonlinear --renew --seeds 1
    python -m benchmarks.nonlinear --list

Runs are kept as soon as they end and only missing ones are made, so that it may be
stopped and started again. `--minutes` ends it in time.
"""

from __future__ import annotations

import argparse
import math
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import pinns
from benchmarks import _results
from benchmarks._rows import Ledger, Row, hardware
from pinns import problems


class Case(NamedTuple):
    """A row: its name, problem with options, method with options of `pinns.solve`.

    model: of a trained run. windows: of `pinns.march`, 0 for one solve. seeds: of a
    trained run; a deterministic one is repeated so often for its seconds. points: per
    axis, where errors are measured. goal: relative L2 error and seconds.
    """

    name: str
    problem: str
    arguments: dict[str, Any]
    method: str
    options: dict[str, Any]
    model: Any
    windows: int
    seeds: int
    points: int
    goal: tuple[float, float | None]


SIREN = pinns.CP(rank=6, network="siren", omega=10.0, hidden=(24,))
VELOCITY = {"velocity": True}
CASES = (
    Case(
        "klein_gordon:ssbroyden", "klein_gordon", VELOCITY, "ssbroyden",
        {"points": (64, 10, 10), "seconds": 30.0}, SIREN, 0, 5, 100, (1e-4, 30.0),
    ),
    Case(
        "klein_gordon:newton", "klein_gordon", VELOCITY, "newton",
        {"size": (36, 8, 8)}, None, 0, 5, 100, (1e-8, 5.0),
    ),
    Case(
        "flow_mixing:direct", "flow_mixing", {}, "direct",
        {"size": (40, 56, 56)}, None, 0, 5, 100, (1e-3, 60.0),
    ),
    Case(
        "burgers:newton in 16 windows", "burgers1d", {}, "newton",
        {"size": (6, 160)}, None, 16, 5, 200, (1e-3, None),
    ),
    Case(
        "allen_cahn:newton in 8 windows", "allen_cahn", {}, "newton",
        {"size": (6, 96)}, None, 8, 5, 200, (1e-3, None),
    ),
)  # fmt: skip
KEYS = ("name", "seed")
CLAIM = (
    "Newton's method in fixed bases, in windows where time is long, and second-order "
    "training solve nonlinear problems to the stated errors"
)
NOTES = (
    "one row per run; relative_l2 on `points` equispaced points per axis",
    "seconds is solving time, all windows together; compile_seconds and wall_seconds "
    "(all of the call) are apart",
    "the seed is that of the key of a trained run; deterministic runs are repeated",
    "klein_gordon has its initial velocity; its solution is linear in x and y, so the "
    "first guess of Newton's method solves it up to the resolution in time",
    "burgers: viscosity 0.01 / pi, against Cole and Hopf; allen_cahn: against the "
    "reference of pinns.problems",
    "load: mean number of processes that wanted a core in the last minute, this one "
    "included; above the number of cores, seconds are those of a busy machine",
)


def run(case: Case, seed: int) -> Row:
    """Returns the row of one run."""
    problem = problems.create(case.problem, **case.arguments)
    options = dict(case.options)
    if case.model is not None:
        options["key"] = jax.random.key(seed)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of resolution: the error says it
        found: Any
        if case.windows:
            found = pinns.march(
                problem,
                case.model,
                case.method,
                windows=case.windows,
                throw=False,
                **options,
            )
        else:
            found = pinns.solve(
                problem, case.model, case.method, throw=False, **options
            )
    wall = time.perf_counter() - began
    error = float(found.relative_l2(case.points))
    return {
        "name": case.name,
        "seed": seed,
        "relative_l2": error if math.isfinite(error) else None,
        "seconds": found.timings["solve_seconds"],
        "compile_seconds": found.timings["compile_seconds"],
        "wall_seconds": wall,
        "result": found.result,
        "goal": {"relative_l2": case.goal[0], "seconds": case.goal[1]},
        "points": case.points,
        "load": os.getloadavg()[0],
        "hardware": hardware(),
    }


def ledger(folder: Path | None) -> Ledger:
    """Returns the rows of this benchmark."""
    return Ledger("nonlinear", claim=CLAIM, keys=KEYS, notes=NOTES, folder=folder)


def describe(row: Row) -> str:
    """Returns one line for the terminal."""
    error = row["relative_l2"]
    shown = "failed" if error is None else f"{error:.1e}"
    return (
        f"{row['name']:32s} seed {row['seed']}  {shown}  in {row['seconds']:.2f} s, "
        f"wall {row['wall_seconds']:.1f} s, load {row['load']:.1f}, {row['result']}"
    )


def summary(rows: Sequence[Row]) -> str:
    """Returns per case the median and worst error, median seconds, and the goal."""
    lines = []
    for case in CASES:
        own = [r for r in rows if r["name"] == case.name]
        if not own:
            continue
        errors = [math.inf if (e := r["relative_l2"]) is None else e for r in own]
        seconds = float(np.median([r["seconds"] for r in own]))
        error = float(np.median(errors))
        bound, limit = case.goal
        met = error <= bound and (limit is None or seconds <= limit)
        within = "" if limit is None else f" in {limit:g} s"
        lines.append(
            f"{case.name:32s} {len(own)} runs  median {error:.1e}  worst "
            f"{max(errors):.1e}  {seconds:.2f} s  goal {bound:g}{within}: "
            f"{'met' if met else 'missed'}"
        )
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.nonlinear",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rows", nargs="+", metavar="PART", help="cases whose name contains one")
    add("--seeds", type=int, default=5, help="at most this many runs per case")
    add("--minutes", type=float, default=8.0, help="start no run after these")
    add("--renew", action="store_true", help="measure again what is there")
    add("--list", action="store_true", help="print what would run")
    options = parser.parse_args(arguments)
    for part in options.rows or ():
        if not any(part in case.name for case in CASES):
            names = ", ".join(case.name for case in CASES)
            parser.error(f"--rows: {part!r} is part of none of {names}")
    if not options.minutes > 0:
        parser.error(f"--minutes must be positive, got {options.minutes}")
    if options.seeds < 1:
        parser.error(f"--seeds must be positive, got {options.seeds}")
    return options


def main(
    arguments: Sequence[str] | None = None, folder: Path | None = _results.RESULTS
) -> list[Row]:
    """Runs the command line and returns the new rows."""
    options = parse(arguments)
    kept, new = ledger(folder), []
    chosen = [
        case
        for case in CASES
        if not options.rows or any(part in case.name for part in options.rows)
    ]
    began = time.perf_counter()
    for seed in range(options.seeds):
        for case in chosen:
            if seed >= case.seeds:
                continue
            if options.list:
                print(case.name, seed)
                continue
            if not options.renew and kept.find({"name": case.name, "seed": seed}):
                continue
            if time.perf_counter() - began > 60 * options.minutes:
                print(f"left for another time: {case.name} {seed}")
                continue
            new.append(run(case, seed))
            kept.put(new[-1])
            print(describe(new[-1]), flush=True)
    if not options.list:
        print(summary(kept.rows))
    return new


if __name__ == "__main__":
    main()
