"""The command line: `pinns list`, `info`, `solve`, `eval`, `resume`.

Exit codes: 0 solved; 1 not converged, a loss of NaN or Inf, or no memory left; 2 bad
input; 130 interrupted. Tables and the JSON record go to standard output, progress bars
and errors to standard error.
"""

from __future__ import annotations

import inspect
import sys
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from pinns import problems, report
from pinns.certificate import Certificate, OverfitWarning
from pinns.cli.arguments import Command, Eval, Info, List, Resume, Solve
from pinns.cli.process import (
    FAILED,
    INTERRUPTED,
    OK,
    complain,
    guarded,
    leave,
    parse,
)
from pinns.cli.values import (
    basis_of,
    build_model,
    cluster_of,
    integers,
    problem_options,
    shown,
    type_name,
)
from pinns.evaluation import Model
from pinns.march import march
from pinns.problem import Problem
from pinns.resume import resume
from pinns.solution import Solution
from pinns.solve import (
    NonFiniteLossError,
    NotConvergedError,
    SolveInterrupted,
    SolveTerminated,
    solve,
)
from pinns.storage import load, save


DESCRIPTION = "Solve partial differential equations with separable networks."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    Args:
        argv: arguments after the program's name; by default those of the process,
            which then ends at once when it is interrupted.
    """
    if argv is None:
        return leave(guarded(lambda: _main(sys.argv[1:])))
    return guarded(lambda: _main(argv))


def _main(argv: Sequence[str]) -> int:
    command = parse(Command, "pinns", DESCRIPTION, argv, _NAMES)
    return command if isinstance(command, int) else _COMMANDS[type(command)](command)


def _list(command: List) -> int:
    rows = []
    for name, function in problems.PROBLEMS.items():
        parameters = inspect.signature(function).parameters.values()
        options = ", ".join(f"{p.name}={shown(p.default)}" for p in parameters)
        rows.append((name, _summary(function), options))
    report.print_table(("name", "what", "options"), rows)
    return OK


def _info(command: Info) -> int:
    problem = _problem("pinns info", command.problem, command.option)
    function = problems.PROBLEMS[command.problem]
    names = ", ".join(problem.parameters.names)
    print(_description(function) + "\n")
    report.print_table(
        ("", ""),
        [
            ("axes", report.axes_text(problem)),
            ("unknowns", ", ".join(problem.unknowns)),
            *([("unknown parameters", names)] if names else []),
            ("loss terms", ", ".join(problem.groups)),
            ("exact solution", "no" if problem.exact is None else "yes"),
        ],
    )
    hints = typing.get_type_hints(function)
    rows = [
        (p.name, type_name(hints.get(p.name, str)), shown(p.default))
        for p in inspect.signature(function).parameters.values()
    ]
    if rows:
        print()
        report.print_table(("option", "type", "default"), rows)
    return OK


def _solve(command: Solve) -> int:
    owner = "pinns solve"
    if not 0 <= command.seed < 2**32:
        raise ValueError(
            f"{owner}: `--seed` must be from 0 to 2^32 - 1, got {command.seed}"
        )
    if command.plot and command.out is None:
        raise ValueError(f"{owner}: `--plot` needs `--out`, the folder to draw into")
    if command.windows is not None and command.out is not None:
        raise ValueError(
            f"{owner}: `--windows` has no `--out`: a march is not saved, use "
            "pinns.march in Python"
        )
    problem = _problem(owner, command.problem, command.option)
    model = build_model(owner, command)
    points = integers(owner, "points", command.points)
    words = command.sampling
    sampling = words[0] if words is not None and len(words) == 1 else words
    if command.out is not None:
        command.out.mkdir(parents=True, exist_ok=True)  # fails now, not after the run
    arguments: dict[str, Any] = {
        "key": jax.random.key(command.seed),
        "points": points,
        "steps": command.steps,
        "learning_rate": command.learning_rate,
        "sampling": sampling,
        "redraw_every": command.redraw_every,
        "seconds": command.seconds,
        "dtype": command.dtype,
        "loss": command.loss,
        "weighting": command.weighting,
        "basis": basis_of(owner, command.basis),
        "cluster": cluster_of(owner, command.cluster),
        "size": integers(owner, "size", command.size),
        "starts": command.starts,
        "devices": command.devices,
        "checkpoint": command.checkpoint,
        "progress": False if command.no_progress else None,
    }
    if command.windows is not None:
        return _march(command, command.windows, problem, model, arguments)
    return _run(
        lambda: solve(problem, model, command.method, **arguments),
        command.out,
        command,
    )


def _march(
    command: Solve,
    windows: int,
    problem: Problem,
    model: Model | None,
    arguments: dict[str, Any],
) -> int:
    """Solves in windows and reports all of them together; nothing is saved."""
    try:
        marched = march(problem, model, command.method, windows=windows, **arguments)
    except (NonFiniteLossError, NotConvergedError) as error:
        complain(f"error: {error}")
        return FAILED
    report.print_table(("", ""), report.march_rows(marched))
    if command.json:
        report.print_json(report.march_record(marched))
    return OK


def _resume(command: Resume) -> int:
    solution = load(command.folder)
    return _run(
        lambda: resume(
            solution,
            command.steps,
            learning_rate=command.learning_rate,
            seconds=command.seconds,
            progress=False if command.no_progress else None,
        ),
        command.folder,
        command,
    )


def _eval(command: Eval) -> int:
    points = integers("pinns eval", "points", command.points)
    solution = load(command.folder)
    if points is not None and solution.problem.exact is None:
        raise ValueError(
            "pinns eval: `--points` are for errors, and problem "
            f"{solution.problem.name!r} has no exact solution"
        )
    errors = report.relative_l2(solution, points)
    largest = report.linf(solution, points)
    certificate = _certificate(solution)
    report.print_table(
        ("measured", "value"),
        [
            *report.error_rows("relative L2 error", errors),
            *report.error_rows("L-infinity error", largest),
            *report.certificate_rows(certificate),
            *report.parameter_rows(solution),
            *report.uncertainty_rows(solution),
        ],
    )
    print()
    report.print_table(("saved with", ""), report.setting_rows(solution))
    # Before anything is drawn, which takes memory of its own.
    record = report.record(solution, errors, certificate)
    if command.plot:
        _draw(solution, command.folder)
    if command.json:
        report.print_json(record | {"linf": report.single(largest)})
    return OK


def _run(
    work: Callable[[], Solution], folder: Path | None, command: Solve | Resume
) -> int:
    """Solves, saves what was reached however it ended, and reports."""
    code, message, stopped = OK, "", False
    try:
        solution = work()
    except NonFiniteLossError as error:
        what = str(error).partition(";")[0]  # the rest is for callers in Python
        solution, code = error.solution, FAILED
        message = f"error: {what}; a smaller --learning-rate often helps"
    except NotConvergedError as error:
        solution, code, message = error.solution, FAILED, f"error: {error}"
    except SolveInterrupted as error:
        solution, code, stopped = error.solution, INTERRUPTED, True
        message = str(error)
    except SolveTerminated as error:
        solution, stopped, message = error.solution, True, str(error)
        # 0 says that nothing is lost: a checkpoint or the folder holds all steps.
        code = OK if folder is not None else int(error.code or OK)
    where = "nothing is saved without --out"
    if folder is not None:
        where = f"saved in {save(solution, folder)}"
    if stopped:
        complain(f"{message}; {where}")
    errors = report.relative_l2(solution)
    certificate = None if stopped else _certificate(solution)
    # Before anything is drawn, which takes memory of its own.
    record = report.record(solution, errors, certificate)
    print(report.model_text(solution) + "\n")
    report.print_table(("", ""), report.result_rows(solution, errors, certificate))
    if folder is not None and not stopped:
        print(f"\n{where}")
    if command.plot and folder is not None and code == OK and not stopped:
        _draw(solution, folder)
    if code == FAILED:
        complain(f"{message}; {where}")
    if command.json:
        report.print_json(record)
    return code


def _certificate(solution: Solution) -> Certificate:
    """Returns the certificate; that it is overfit is said in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OverfitWarning)
        certificate = solution.certificate()
    if certificate.overfit:
        complain(f"warning: {certificate.warning}")
    return certificate


def _draw(solution: Solution, folder: Path) -> None:
    from pinns import plotting  # matplotlib takes its time

    names = solution.problem.unknowns
    for name in names:
        path = folder / ("solution.png" if len(names) == 1 else f"solution_{name}.png")
        plotting.plot(solution, path, unknown=name)
        print(f"drawn in {path}")
    plotting.plot_history(solution, folder / "history.png")
    print(f"drawn in {folder / 'history.png'}")


def _problem(owner: str, name: str, pairs: Sequence[str]) -> Problem:
    if name not in problems.PROBLEMS:
        return problems.create(name)  # which says what names there are
    return problems.create(name, **problem_options(owner, name, pairs))


def _summary(function: Callable) -> str:
    first = (inspect.getdoc(function) or "").split("\n")[0]
    return first.removeprefix("Returns ").rstrip(".")


def _description(function: Callable) -> str:
    """Returns the docstring without what only concerns a caller in Python."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    left_out = ("Args:", "Raises:", "Example:")
    return "\n\n".join(p for p in paragraphs if not p.startswith(left_out))


_COMMANDS: dict[type, Callable[[Any], int]] = {
    List: _list,
    Info: _info,
    Solve: _solve,
    Eval: _eval,
    Resume: _resume,
}
_NAMES = [kind.__name__.lower() for kind in _COMMANDS]
