"""Nonlinear problems: error and seconds of trained models and of fixed bases.

    python -m benchmarks.nonlinear                   # what is missing
    python -m benchmarks.nonlinear --only burgers    # rows whose name contains that
    python -m benchmarks.nonlinear --renew --seeds 1
    python -m benchmarks.nonlinear --list
    python -m benchmarks.nonlinear --references FOLDER  # with AC.mat of the PINN paper

Runs are kept as soon as they end and only missing ones are made, so that it may be
stopped and started again. `--minutes` ends it in time.
"""

from __future__ import annotations

import argparse
import math
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.io

import pinns
from benchmarks import _classical_nonlinear, _results
from benchmarks._rows import Ledger, Row, hardware
from pinns import problems
from pinns.domain import precision


class Case(NamedTuple):
    """A row: its name, problem with options, method with options of `pinns.solve`.

    label: in the table. model: of a trained run. windows: of `pinns.march`, 0 for one
    solve. seeds: of a trained run; a deterministic one is repeated so often for its
    seconds. points: per axis, where errors are measured. goal: relative L2 error and
    seconds of solving, compilation apart.
    """

    name: str
    label: str
    problem: str
    arguments: dict[str, Any]
    method: str
    options: dict[str, Any]
    model: Any
    windows: int
    seeds: int
    points: int
    goal: tuple[float, float | None]


VELOCITY = {"velocity": True}
LAYER = {"cluster": {"x": (0.0, 0.01)}}
CENTER = {"cluster": {"x": (0.0, 1.0), "y": (0.0, 1.0)}}
FOURIER = {"basis": {"x": "fourier"}}
CASES = (
    Case(
        "klein_gordon:ssbroyden", "CP rank 6, sine networks, SSBroyden",
        "klein_gordon", VELOCITY, "ssbroyden",
        {"points": (64, 10, 10), "seconds": 30.0},
        pinns.CP(rank=6, network="siren", omega=10.0, hidden=(24,)), 0, 5, 100,
        (1e-4, 30.0),
    ),
    Case(
        "klein_gordon:newton", "Newton, 36 x 8 x 8", "klein_gordon", VELOCITY, "newton",
        {"size": (36, 8, 8)}, None, 0, 3, 100, (1e-8, 5.0),
    ),
    Case(
        "flow_mixing:direct", "direct, 40 x 64 x 64", "flow_mixing", {}, "direct",
        {"size": (40, 64, 64)}, None, 0, 3, 100, (1e-3, 60.0),
    ),
    Case(
        "flow_mixing:direct, clustered", "direct, 40 x 56 x 56 around the center",
        "flow_mixing", {}, "direct", {"size": (40, 56, 56), **CENTER}, None, 0, 3, 100,
        (1e-3, 60.0),
    ),
    Case(
        "burgers1d:newton", "Newton, 40 x 64, clustered", "burgers1d", {}, "newton",
        {"size": (40, 64), **LAYER}, None, 0, 3, 200, (1e-3, None),
    ),
    Case(
        "burgers1d:newton in 10 windows", "Newton, 10 windows of 8 x 64, clustered",
        "burgers1d", {}, "newton", {"size": (8, 64), **LAYER}, None, 10, 3, 200,
        (1e-3, None),
    ),
    Case(
        "burgers1d:newton in 10 windows, plain", "Newton, 10 windows of 8 x 400",
        "burgers1d", {}, "newton", {"size": (8, 400)}, None, 10, 1, 200, (1e-3, None),
    ),
    Case(
        "allen_cahn:newton in 8 windows", "Newton, 8 windows of 8 x 256, Fourier in x",
        "allen_cahn", {}, "newton", {"size": (8, 256), **FOURIER}, None, 8, 3, 200,
        (1e-3, None),
    ),
    Case(
        "navier_stokes:ssbroyden", "CP rank 3, sine networks, SSBroyden",
        "navier_stokes", {}, "ssbroyden", {"points": (8, 20, 20), "seconds": 30.0},
        pinns.CP(rank=3, network="siren", omega=4.0, hidden=(16,)), 0, 5, 60,
        (1e-3, None),
    ),
)  # fmt: skip
# NumPy alone, on the problems that have no row in `benchmarks.classical`.
CLASSICAL = ("burgers1d", "allen_cahn")
REPEATS = 3
KEYS = ("name", "seed")
CLAIM = (
    "Newton's method in fixed bases, in windows where time is long, and second-order "
    "training solve nonlinear problems to the stated errors"
)
NOTES = (
    "one row per run; relative_l2 on `points` equispaced points per axis, the worst of "
    "several unknowns",
    "seconds is solving time, all windows together; compile_seconds and wall_seconds "
    "(all of the call) are apart",
    "the seed is that of the key of a trained run; deterministic runs are repeated",
    "klein_gordon has its initial velocity; its solution is linear in x and y, so the "
    "first guess of Newton's method solves it up to the resolution in time",
    "burgers1d: viscosity 0.01 / pi, against Cole and Hopf; allen_cahn: against the "
    "reference of pinns.problems; published_l2: against AC.mat, 201 x 512 values",
    "load: mean number of processes that wanted a core in the last minute, this one "
    "included; above the number of cores, seconds are those of a busy machine",
)


def run(case: Case, seed: int, references: Path | None = None) -> Row:
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
            options["windows"] = case.windows
            found = pinns.march(
                problem, case.model, case.method, throw=False, **options
            )
        else:
            found = pinns.solve(
                problem, case.model, case.method, throw=False, **options
            )
    wall = time.perf_counter() - began
    errors = found.relative_l2(case.points)
    error = max(errors.values()) if isinstance(errors, dict) else float(errors)
    return {
        **_head(case.name, case.label, case.problem, seed, case.goal),
        "relative_l2": error if math.isfinite(error) else None,
        "published_l2": published(found, case.problem, references),
        "seconds": found.timings["solve_seconds"],
        "compile_seconds": found.timings["compile_seconds"],
        "wall_seconds": wall,
        "result": found.result,
        "points": case.points,
    }


def run_classical(name: str, seed: int) -> Row:
    """Returns the row of the Fourier solver in NumPy."""
    (function,) = problems.create(name).require_exact("benchmarks.nonlinear")

    def exact(t: np.ndarray, x: np.ndarray) -> np.ndarray:
        with precision("float64"):
            return np.asarray(function(t, x))

    found = _classical_nonlinear.measure(name, exact)
    return {
        **_head(f"{name}:classical", f"{found['method']}, NumPy", name, seed, None),
        "relative_l2": found["relative_l2"],
        "published_l2": None,
        "seconds": found["seconds"],
        "compile_seconds": 0.0,
        "wall_seconds": found["seconds"],
        "result": "finished",
        "points": 200,
    }


def _head(name: str, label: str, problem: str, seed: int, goal) -> Row:
    own = None if goal is None else {"relative_l2": goal[0], "seconds": goal[1]}
    return {
        "name": name,
        "label": label,
        "problem": problem,
        "seed": seed,
        "goal": own,
        "load": os.getloadavg()[0],
        "hardware": hardware(),
    }


def published(found: Any, problem: str, references: Path | None) -> float | None:
    """Returns the difference from the published values, None without them."""
    if references is None or problem != "allen_cahn":
        return None
    data = scipy.io.loadmat(references / "AC.mat")
    theirs = np.asarray(data["uu"], np.float64).T
    ours = np.asarray(found(data["tt"].ravel(), data["x"].ravel()), np.float64)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def ledger(folder: Path | None) -> Ledger:
    """Returns the rows of this benchmark."""
    return Ledger("nonlinear", claim=CLAIM, keys=KEYS, notes=NOTES, folder=folder)


def describe(row: Row) -> str:
    """Returns one line for the terminal."""
    error = row["relative_l2"]
    shown = "failed" if error is None else f"{error:.1e}"
    return (
        f"{row['name']:38s} seed {row['seed']}  {shown}  in {row['seconds']:.2f} s, "
        f"wall {row['wall_seconds']:.1f} s, load {row['load']:.1f}, {row['result']}"
    )


def summary(rows: Sequence[Row]) -> str:
    """Returns per case the median and worst error, median seconds, and the goal."""
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        found = digest(own)
        lines.append(
            f"{name:38s} {len(own)} runs  median {found.error:.1e}  worst "
            f"{found.worst:.1e}  {found.seconds:.2f} s  {found.verdict}"
        )
    return "\n".join(lines)


class Digest(NamedTuple):
    """Of the runs of one case: median and worst error, median seconds, the goal."""

    error: float
    worst: float
    seconds: float
    compile_seconds: float
    verdict: str


def digest(rows: Sequence[Mapping[str, Any]]) -> Digest:
    """Returns what the runs of one case have in common; a failed one is infinite."""
    errors = [math.inf if (e := r["relative_l2"]) is None else e for r in rows]
    error = float(np.median(errors))
    seconds = float(np.median([r["seconds"] for r in rows]))
    verdict, goal = "-", rows[0]["goal"]
    if goal is not None:
        limit = goal["seconds"]
        met = error <= goal["relative_l2"] and (limit is None or seconds <= limit)
        within = "" if limit is None else f" in {limit:g} s"
        verdict = f"goal {goal['relative_l2']:g}{within}: {'met' if met else 'missed'}"
    compiling = float(np.median([r["compile_seconds"] for r in rows]))
    return Digest(error, max(errors), seconds, compiling, verdict)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.nonlinear",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", nargs="+", metavar="PART", help="cases whose name contains one")
    add("--seeds", type=int, default=5, help="at most this many runs per case")
    add("--minutes", type=float, default=12.0, help="start no run after these")
    add("--renew", action="store_true", help="measure again what is there")
    add("--references", type=Path, metavar="FOLDER", help="where AC.mat lies")
    add("--list", action="store_true", help="print what would run")
    options = parser.parse_args(arguments)
    for part in options.only or ():
        if not any(part in name for name in planned()):
            names = ", ".join(planned())
            parser.error(f"--only: {part!r} is part of none of {names}")
    if options.references and not (options.references / "AC.mat").is_file():
        parser.error(f"--references: no AC.mat in {options.references}")
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
    began = time.perf_counter()
    for name, seed in chosen(options):
        if options.list:
            print(name, seed)
            continue
        if not options.renew and kept.find({"name": name, "seed": seed}):
            continue
        if time.perf_counter() - began > 60 * options.minutes:
            print(f"left for another time: {name} {seed}")
            continue
        case = planned()[name]
        new.append(
            run_classical(name.partition(":")[0], seed)
            if case is None
            else run(case, seed, options.references)
        )
        kept.put(new[-1])
        print(describe(new[-1]), flush=True)
    if not options.list:
        kept.arrange([{"name": n, "seed": s} for n, s in everything()], drop=False)
        print(summary(kept.rows))
    return new


def planned() -> dict[str, Case | None]:
    """Returns all cases by name; None for the classical line."""
    cases: dict[str, Case | None] = {}
    for case in CASES:
        cases[case.name] = case
    for name in CLASSICAL:
        cases[f"{name}:classical"] = None
    order = list(dict.fromkeys(case.problem for case in CASES))
    return dict(sorted(cases.items(), key=lambda c: order.index(c[0].split(":")[0])))


def everything() -> list[tuple[str, int]]:
    """Returns name and seed of every run, case by case."""
    return [
        (name, seed)
        for name, case in planned().items()
        for seed in range(REPEATS if case is None else case.seeds)
    ]


def chosen(options: argparse.Namespace) -> list[tuple[str, int]]:
    """Returns the runs asked for, all cases once before any is repeated."""
    found = [
        (name, seed)
        for name, seed in everything()
        if seed < options.seeds
        and (not options.only or any(part in name for part in options.only))
    ]
    return sorted(found, key=lambda run: run[1])


if __name__ == "__main__":
    main()
