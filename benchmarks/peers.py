"""DeepXDE, PINA and jinns beside `pinns`, with equal seconds.

Klein-Gordon (without an initial velocity, as in the paper) and Helmholtz with a =
(4, 4, 3), by every library for so many seconds of solving, its compilation apart. The
peers and the row `pinns, pointwise` train what they are made for, a network of three
hidden layers of 64 with tanh by Adam of 1e-3 on 4,096 points inside and 256 on every
face; the row `pinns` is a separable network by its own method. All get the same points
but jinns, which draws its own inside, and `pinns`, which takes tensor grids.

    python -m benchmarks.peers                      # about 12 minutes on two cores
    python -m benchmarks.peers --seconds 20 --peers deepxde pina

Each peer has an environment of its own, made in `.cache/peers` from the extra of its
name in pyproject.toml (`deepxde`, `pina`, `jinns`), because their requirements clash.
One that cannot be installed or that fails is a row without figures that says why.
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

import pinns
from benchmarks import _results
from benchmarks._peers.statement import (
    FACE,
    HIDDEN,
    INTERIOR,
    LEARNING_RATE,
    STATEMENTS,
    TEST_POINTS,
)
from benchmarks._rows import Ledger, Row, hardware
from pinns import problems
from pinns.problem import Problem


PEERS = ("deepxde", "pina", "jinns")
OURS = ("pinns", "pinns, pointwise")
PROBLEMS = tuple(STATEMENTS)
ENVIRONMENTS = _results.ROOT / ".cache" / "peers"
SECONDS = 60.0
# Compilation and set-up of a peer may take so long beyond its solving time.
PATIENCE = 600.0
CLAIM = "In equal seconds separable networks reach errors that pointwise ones do not"
NOTES = (
    f"relative_l2: on {TEST_POINTS} equispaced points per axis, of the last iteration",
    "seconds: of solving; setup_seconds: what comes before the first counted "
    "iteration, imports apart: compilation, points, trial steps; PINA compiles nothing",
    f"peers and `pinns, pointwise`: hidden layers {HIDDEN}, tanh, Adam "
    f"{LEARNING_RATE:g}, {INTERIOR:,} points inside, {FACE} on every face with a "
    "condition, all in every iteration, float32; one seed",
    "jinns has borders of boxes in one and two dimensions only: the values on the "
    "faces are given as observations; its iterations are set from a measured speed",
    "pinns: a separable network of rank 6 (Klein-Gordon) and 4 (Helmholtz) by "
    "ssbroyden, float64; the faces of Helmholtz are in the loss, as for all others",
    "load: mean number of running processes when the row began",
)
KEYS = ("problem", "library")


def problem(name: str) -> Problem:
    """Returns the problem as `pinns` states it."""
    if name == "klein_gordon":
        return problems.klein_gordon(velocity=False)
    return problems.helmholtz3d(a=(4, 4, 3))


def ours(name: str, library: str, seconds: float) -> Row:
    """Solves with `pinns` and returns the figures."""
    pointwise = library != "pinns"
    options: dict[str, Any] = {"method": "ssbroyden"}
    if pointwise:
        model: Any = pinns.MLP(hidden=HIDDEN)
        options = {
            "method": "adam", "sampling": "scattered", "points": INTERIOR,
            "learning_rate": LEARNING_RATE,
        }  # fmt: skip
    elif name == "klein_gordon":
        model = pinns.CP(rank=6, network="siren", omega=10.0, hidden=(24,))
        options["points"] = {"t": 64, "x": 10, "y": 10}
    else:
        model = pinns.CP(rank=4, network="siren", omega=12.0, hidden=(24,))
        options["points"] = 72
    solution = pinns.solve(
        problem(name),
        model,
        key=jax.random.key(0),
        steps=10**7,
        seconds=seconds,
        progress=False,
        throw=False,
        **options,
    )
    timings = solution.timings
    return {
        "relative_l2": float(solution.relative_l2(TEST_POINTS)),
        "iterations": solution.step,
        "seconds": timings["solve_seconds"],
        "setup_seconds": timings["compile_seconds"] + timings["build_seconds"],
        "version": str(_results.environment()["separax"]),
    }


def requirements(peer: str) -> list[str]:
    """Returns what the extra of a peer asks for."""
    with (_results.ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    return list(extras[peer])


def install(peer: str, folder: Path) -> Path:
    """Returns the Python of a peer's environment, made if it is not there.

    Raises:
        RuntimeError: it could not be made; the text is the last line of what failed.
    """
    python = folder / peer / "bin" / "python"
    done = folder / peer / "installed"
    wanted = "\n".join(requirements(peer))
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return python
    print(f"{peer}: installing {', '.join(requirements(peer))}", flush=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder / peer)],
        [str(python), "-m", "pip", "install", "--quiet", *requirements(peer)],
    ):
        _call(command)
    done.write_text(wanted, encoding="utf-8")
    return python


def theirs(name: str, peer: str, seconds: float, folder: Path = ENVIRONMENTS) -> Row:
    """Runs a peer in its environment and returns the figures, or why there are none."""
    try:
        python = install(peer, folder)
        module = f"benchmarks._peers.run_{peer}"
        text = _call([str(python), "-m", module, name, str(seconds)], seconds)
    except RuntimeError as error:
        return {"missing": str(error)}
    return parsed(text)


def parsed(text: str) -> Row:
    """Returns the figures that a peer's script printed as its last line."""
    lines = [s for s in text.splitlines() if s.startswith("RESULT ")]
    if not lines:
        return {"missing": "it printed no result"}
    return dict(json.loads(lines[-1].removeprefix("RESULT ")))


def _call(command: Sequence[str], seconds: float = 0.0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(_results.ROOT)}
    try:
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            env=environment,
            cwd=_results.ROOT,
            timeout=3 * seconds + PATIENCE,
        )
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "no output").strip().splitlines()
        raise RuntimeError(_plain(lines[-1])) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(type(error).__name__) from error
    return done.stdout


def _plain(line: str) -> str:
    """Returns a line without paths and addresses, which belong to one machine."""
    words = ["..." if "/" in word else word for word in line.split()]
    return " ".join(words)[:200]


def measure(
    names: Sequence[str],
    libraries: Sequence[str],
    seconds: float,
    kept: Ledger,
    run_peer: Callable[[str, str, float], Row] = theirs,
    run_ours: Callable[[str, str, float], Row] = ours,
) -> None:
    """Runs every library on every problem, saving after each."""
    for name in names:
        for library in libraries:
            load = os.getloadavg()[0]
            run = run_ours if library in OURS else run_peer
            found = run(name, library, seconds)
            row = {
                "problem": name, "library": library, "asked_seconds": seconds,
                "hardware": hardware(), "load": load, **found,
            }  # fmt: skip
            if "missing" not in found:
                row["iterations_per_second"] = found["iterations"] / found["seconds"]
            kept.put(row)
            print(describe(row), flush=True)


def describe(row: Row) -> str:
    """Returns one line for the terminal."""
    start = f"{row['problem']:13s} {row['library']:17s}"
    if "missing" in row:
        return f"{start} missing: {row['missing']}"
    return (
        f"{start} relative L2 {row['relative_l2']:.3g}  {row['iterations']} iterations "
        f"in {row['seconds']:.1f} s, {row['iterations_per_second']:.3g} it/s  "
        f"set-up {row['setup_seconds']:.1f} s"
    )


def main(
    arguments: Sequence[str] | None = None, folder: Path = _results.RESULTS
) -> Ledger:
    """Runs the command line and returns the rows."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    every = (*OURS, *PEERS)
    add("--seconds", type=float, default=SECONDS, help="of solving, for each row")
    add("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    add("--peers", nargs="+", choices=every, default=list(every), metavar="NAME")
    add("--no-write", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    if options.seconds <= 0:
        parser.error(f"--seconds must be positive, got {options.seconds:g}")
    kept = Ledger(
        "peers",
        claim=CLAIM,
        keys=KEYS,
        notes=NOTES,
        folder=None if options.no_write else folder,
    )
    measure(options.problems, options.peers, options.seconds, kept)
    plan = [{"problem": p, "library": n} for p in PROBLEMS for n in every]
    kept.arrange(plan, drop=False)
    return kept


if __name__ == "__main__":
    main()
