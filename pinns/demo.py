"""`python -m pinns.demo`: solves two equations with three models and draws them.

On two CPU cores it takes one to two minutes. The settings below were chosen by the
error reached in a few seconds; they are no benchmark.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import optax
from tyro.conf import arg

from pinns import plotting, problems, report
from pinns.cli.process import OK, guarded, leave, parse
from pinns.separable import CP, MODELS, TensorTrain, Tucker
from pinns.solution import Solution
from pinns.solve import solve


@dataclass(frozen=True)
class Case:
    """One equation: options of the problem, of all its models and of `solve`."""

    problem: str
    options: dict[str, Any]
    ranks: dict[str, int]
    model: dict[str, Any]
    points: tuple[int, ...]
    sampling: str
    redraw_every: int | None
    steps: int
    learning_rate: float
    note: str


CASES = (
    Case(
        problem="klein_gordon",
        options={"velocity": True},
        ranks={CP.name: 16, TensorTrain.name: 6, Tucker.name: 6},
        model={"hidden": (32, 32, 32), "activation": "sin"},
        points=(48, 16, 16),
        sampling="gauss_legendre",
        redraw_every=None,
        steps=12_000,
        learning_rate=4e-3,
        note="with the initial velocity, which makes it well posed",
    ),
    Case(
        problem="helmholtz3d",
        options={"hard": True},
        ranks={CP.name: 16, TensorTrain.name: 4, Tucker.name: 6},
        model={"hidden": (32, 32, 32), "network": "rbf"},
        points=(32, 32, 32),
        sampling="stratified",
        redraw_every=100,
        steps=10_000,
        learning_rate=2e-3,
        note="with the boundary values built in",
    ),
)


FRAMES = 60


@dataclass(frozen=True)
class Demo:
    """Solve two equations with three models and draw the solutions."""

    seconds: Annotated[
        float,
        arg(
            metavar="SECONDS",
            help="Limit of the solving time of each row; compilation is not counted.",
        ),
    ] = 12.0
    models: Annotated[
        tuple[str, ...],
        arg(metavar="NAME [NAME ...]", help=f"Models among {', '.join(MODELS)}."),
    ] = tuple(MODELS)
    out: Annotated[Path, arg(metavar="FOLDER", help="Where to draw.")] = Path(
        "demo_output"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demonstration and returns the exit code.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    if argv is None:
        return leave(guarded(lambda: _main(sys.argv[1:])))
    return guarded(lambda: _main(argv))


def _main(argv: Sequence[str]) -> int:
    summary = "Solve two equations with separable networks and draw the solutions."
    demo = parse(Demo, "python -m pinns.demo", summary, argv, ())
    return demo if isinstance(demo, int) else _run(demo)


def _run(demo: Demo) -> int:
    for name in demo.models or ("none",):
        if name not in MODELS:
            raise ValueError(
                f"pinns.demo: `--models` must be among {', '.join(MODELS)}, "
                f"got {name!r}"
            )
    rows, files = [], []
    for case in CASES:
        for name in demo.models:
            print(f"{case.problem}, {name} ...", flush=True)
            solution = _solve(case, name, demo.seconds)
            rows.append(_row(solution))
            if name == demo.models[0]:
                files += _draw(solution, demo.out)
    print()
    report.print_table(HEADER, rows, right=range(2, len(HEADER)))
    print()
    for case in CASES:
        print(
            f"{case.problem}: {case.note}; {' x '.join(map(str, case.points))} points"
        )
    print(f"Drawn ({demo.models[0]}):")
    for file in files:
        print(f"  {file}")
    return OK


def _solve(case: Case, name: str, seconds: float) -> Solution:
    return solve(
        problems.create(case.problem, **case.options),
        MODELS[name](rank=case.ranks[name], **case.model),
        key=jax.random.key(0),
        points=case.points,
        sampling=case.sampling,
        redraw_every=case.redraw_every,
        steps=case.steps,
        learning_rate=optax.cosine_decay_schedule(case.learning_rate, case.steps),
        seconds=seconds,
    )


HEADER = (
    "problem",
    "model",
    "parameters",
    "steps",
    "relative L2 error",
    "steps/s",
    "seconds",
    "compile seconds",
)


def _row(solution: Solution) -> tuple[str, ...]:
    timings = solution.timings
    return (
        solution.problem.name,
        solution.model.name,
        f"{report.num_parameters(solution):,}",
        f"{solution.step:,}",
        report.number(solution.relative_l2()),
        f"{timings['steps_per_second']:,.0f}",
        f"{timings['solve_seconds']:.1f}",
        f"{timings['compile_seconds']:.1f}",
    )


def _draw(solution: Solution, folder: Path) -> list[Path]:
    name = solution.problem.name
    files = [folder / f"{name}.png", folder / f"{name}_history.png"]
    plotting.plot(solution, files[0])
    plotting.plot_history(solution, files[1])
    if "t" in solution.problem.box.names:
        movie = folder / f"{name}.gif"
        files.append(plotting.animate(solution, movie, frames=FRAMES, points=65))
    return files


if __name__ == "__main__":
    sys.exit(main())
