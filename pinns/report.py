"""What is reported of a solved problem: tables for people, one JSON record."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console, JustifyMethod
from rich.table import Table

from pinns.certificate import Certificate
from pinns.march import Marched
from pinns.problem import Problem
from pinns.solution import Solution


try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

LIBRARIES = ("separax", "jax", "jaxlib", "numpy", "optax")
# Where Linux tells about a process.
STATUS = Path("/proc/self/status")
# Tables are as wide as their content where no terminal limits them.
PIPE_WIDTH = 400


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[int] = (),
) -> None:
    """Prints a table to standard output, plain text if that is no terminal.

    Args:
        header: column titles; none are printed if all are empty.
        rows: one sequence of cells each; numbers never wrap.
        right: indices of columns that are aligned to the right.
    """
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(header)
    )
    for i, title in enumerate(header):
        justify: JustifyMethod = "right" if i in right else "left"
        table.add_column(title, justify=justify, no_wrap=i == 0 or i in right)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    if sys.stdout.isatty():
        Console(markup=False, highlight=False).print(table)
        return
    plain = Console(file=io.StringIO(), width=PIPE_WIDTH, markup=False, highlight=False)
    with plain.capture() as capture:
        plain.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def print_json(record: Mapping[str, Any]) -> None:
    """Prints a record as one line of strict JSON."""
    print(json.dumps(record, allow_nan=False), flush=True)


def record(
    solution: Solution,
    errors: Mapping[str, float] | None,
    certificate: Certificate | None,
) -> dict[str, Any]:
    """Returns the JSON-able record of a run.

    Args:
        solution: what was solved.
        errors: relative L2 error by unknown, or None if there is no exact solution.
        certificate: of the solution; None for a run that was stopped.

    Returns:
        Numbers, text, lists and mappings; what is unknown or not finite is None, and
        with several unknowns `relative_l2` is a mapping.
    """
    problem, settings, timings = solution.problem, solution.settings, solution.timings
    loss = solution.history.loss
    return {
        "problem": problem.name,
        "options": problem.origin[1] if problem.origin else {},
        "model": solution.model.name,
        "rank": getattr(solution.model, "rank", None),
        "model_options": model_options(solution),
        "num_parameters": num_parameters(solution),
        "method": settings["method"],
        "reason": settings.get("reason"),
        "norm": settings.get("loss"),
        "seed": seed(settings),
        "points": settings["points"],
        "dtype": solution.dtype,
        "steps": solution.step,
        "result": solution.result,
        "seconds": timings["solve_seconds"],
        "build_seconds": timings.get("build_seconds", 0.0),
        "compile_seconds": timings["compile_seconds"],
        "steps_per_second": timings["steps_per_second"],
        "loss": finite(loss[-1]) if loss.size else None,
        **certificate_record(certificate),
        "relative_l2": single(errors),
        **({"parameters": parameters(solution)} if problem.parameters else {}),
        "peak_memory_mb": peak_memory_mb(),
        "device": jax.devices()[0].device_kind,
        "versions": versions(),
    }


def relative_l2(solution: Solution, points=None) -> dict[str, float] | None:
    """Returns the relative L2 error by unknown; None without an exact solution."""
    return _by_unknown(solution, solution.relative_l2, points)


def linf(solution: Solution, points=None) -> dict[str, float] | None:
    """Returns the largest error by unknown; None without an exact solution."""
    return _by_unknown(solution, solution.linf, points)


def result_rows(
    solution: Solution,
    errors: Mapping[str, float] | None,
    certificate: Certificate | None,
) -> list[tuple[str, str]]:
    """Returns the rows of the table printed after a run; arguments as of `record`."""
    timings, history = solution.timings, solution.history
    rows = [
        ("result", solution.result),
        ("method", _chosen_text(solution.settings)),
        ("steps", f"{solution.step:,}"),
        ("loss", number(history.loss[-1]) if history.loss.size else "-"),
        *certificate_rows(certificate),
        *error_rows("relative L2 error", errors),
        *parameter_rows(solution),
        ("seconds", f"{timings['solve_seconds']:.1f}"),
        ("start-up seconds", f"{timings.get('build_seconds', 0.0):.1f}"),
        ("compile seconds", f"{timings['compile_seconds']:.1f}"),
        ("steps per second", f"{timings['steps_per_second']:,.0f}"),
    ]
    peak = peak_memory_mb()
    return rows if peak is None else [*rows, ("peak memory", f"{peak:,.0f} MB")]


def march_rows(marched: Marched) -> list[tuple[str, str]]:
    """Returns the rows of the table printed after a march."""
    errors = None if marched.problem.exact is None else _named(marched)
    names = [
        ("build_seconds", "start-up seconds"),
        ("compile_seconds", "compile seconds"),
    ]
    return [
        ("result", marched.result),
        ("method", _chosen_text(marched.windows[0].settings)),
        ("windows", f"{len(marched.windows):,}"),
        ("steps", f"{sum(w.step for w in marched.windows):,}"),
        ("residual RMS at unseen points", number(marched.residual_rms())),
        *error_rows("relative L2 error", errors),
        ("seconds", f"{marched.timings['solve_seconds']:.1f}"),
        *((title, f"{marched.timings[name]:.1f}") for name, title in names),
    ]


def march_record(marched: Marched) -> dict[str, Any]:
    """Returns the JSON-able record of a march, see `record`."""
    first, problem = marched.windows[0], marched.problem
    return {
        "problem": problem.name,
        "options": problem.origin[1] if problem.origin else {},
        "model": first.model.name,
        "method": first.settings["method"],
        "reason": first.settings.get("reason"),
        "windows": len(marched.windows),
        "edges": list(marched.edges),
        "points": first.settings["points"],
        "dtype": marched.dtype,
        "steps": sum(w.step for w in marched.windows),
        "result": marched.result,
        "seconds": marched.timings["solve_seconds"],
        "build_seconds": marched.timings["build_seconds"],
        "compile_seconds": marched.timings["compile_seconds"],
        "residual_rms": finite(marched.residual_rms()),
        "relative_l2": None if problem.exact is None else single(_named(marched)),
        "peak_memory_mb": peak_memory_mb(),
        "device": jax.devices()[0].device_kind,
        "versions": versions(),
    }


def _named(marched: Marched) -> dict[str, float]:
    errors = marched.relative_l2()
    return errors if isinstance(errors, dict) else {marched.problem.unknowns[0]: errors}


def parameters(solution: Solution) -> dict[str, dict[str, Any]]:
    """Returns what was found for unknown parameters, JSON-able, by name.

    `value` of numbers, None for functions; `exact` of numbers and `relative_error`
    where the truth is known.
    """
    found, errors = solution.problem.parameters, solution.parameter_errors()
    out: dict[str, dict[str, Any]] = {}
    for (name, value), exact in zip(
        solution.parameters.items(), found.exact, strict=True
    ):
        number = isinstance(value, float)
        out[name] = {
            "value": finite(value) if number else None,
            "exact": exact if number else None,
            "relative_error": finite(errors[name]) if name in errors else None,
        }
    return out


def parameter_rows(solution: Solution) -> list[tuple[str, str]]:
    """Returns one row per unknown parameter: what was found, against the truth."""
    axes = solution.problem.parameters.axes
    names = solution.problem.box.names
    rows = []
    for (name, entry), own in zip(
        parameters(solution).items(), axes.values(), strict=True
    ):
        error = entry["relative_error"]
        if not own:
            text = "not finite" if entry["value"] is None else f"{entry['value']:.6g}"
            text += "" if entry["exact"] is None else f" (true {entry['exact']:.6g})"
        else:
            text = f"function of {', '.join(names[axis] for axis in own)}"
        text += "" if error is None else f", relative error {number(error)}"
        rows.append((f"parameter {name}", text))
    return rows


def uncertainty_rows(solution: Solution) -> list[tuple[str, str]]:
    """Returns the standard errors of unknown numbers; a reason where there are none."""
    if not solution.problem.parameters.scalars:
        return []
    try:
        found = solution.uncertainty()
    except ValueError as error:
        return [("standard errors", f"none: {error}")]
    rows = [
        (f"standard error of {name}", number(value))
        for name, value in found.standard_errors.items()
    ]
    noise = next(iter(found.noise.values()))
    return [*rows, ("noise of the measurements, estimated", number(noise))]


def error_rows(title: str, errors: Mapping[str, float] | None) -> list[tuple[str, str]]:
    """Returns one row per unknown, its name in the title if there are several."""
    if errors is None:
        return [(title, "- (no exact solution)")]
    several = len(errors) > 1
    return [
        (f"{title} of {name}" if several else title, number(value))
        for name, value in errors.items()
    ]


def setting_rows(solution: Solution) -> list[tuple[str, str]]:
    """Returns the rows that say how a solution was computed."""
    problem, settings = solution.problem, solution.settings
    options = problem.origin[1] if problem.origin else {}
    names = problem.box.names
    sampling = settings["sampling"]
    rows = [
        ("problem", f"{problem.name}{_options_text(options)}"),
        ("axes", axes_text(problem)),
        ("model", model_text(solution) + _options_text(model_options(solution))),
        ("method", _method_text(settings)),
        ("points", " x ".join(str(n) for n in settings["points"])),
        (
            "sampling",
            sampling[0]
            if len(set(sampling)) == 1
            else ", ".join(f"{n}: {s}" for n, s in zip(names, sampling, strict=True)),
        ),
        ("redraw every", settings["redraw_every"] or "never"),
        ("dtype", solution.dtype),
        ("seed", "-" if seed(settings) is None else seed(settings)),
        ("steps", f"{solution.step:,}"),
        ("result", solution.result),
    ]
    return [(name, str(value)) for name, value in rows]


def model_text(solution: Solution) -> str:
    """Returns the model in words: its kind, rank and size."""
    rank = getattr(solution.model, "rank", None)
    text = (
        solution.model.name if rank is None else f"{solution.model.name}, rank {rank}"
    )
    return f"{text}, {num_parameters(solution):,} parameters"


def model_options(solution: Solution) -> dict[str, Any]:
    """Returns what was chosen for the model besides its rank; defaults of None not."""
    model = solution.model
    values = {
        f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.init
    }
    return {n: v for n, v in values.items() if n != "rank" and v is not None}


def axes_text(problem: Problem) -> str:
    """Returns the axes of the box with their intervals."""
    pairs = zip(problem.box.names, problem.box.intervals, strict=True)
    shown = [f"{n} in [{a:g}, {b:g}]" for n, (a, b) in pairs]
    return ", ".join(shown if len(shown) < 9 else [*shown[:3], "...", shown[-1]])


def num_parameters(solution: Solution) -> int:
    """Returns the number of trained numbers."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(solution.params))


def peak_memory_mb() -> float | None:
    """Returns the largest resident size of this process so far, in 10^6 bytes.

    None where the system does not tell. Memory of accelerators is not included. Linux
    hands `ru_maxrss` on to what a process starts, so its own mark is read there.
    """
    if STATUS.is_file():
        for line in STATUS.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that figures depend on."""
    found = {"python": ".".join(str(n) for n in sys.version_info[:3])}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def seed(settings: Mapping[str, Any]) -> int | None:
    """Returns the seed whose `jax.random.key` the run used; None for other keys."""
    words = list(np.ravel(settings["key"]))
    if settings["key_impl"] != "threefry2x32" or words[0] != 0:
        return None
    return int(words[1])


def finite(value: float) -> float | None:
    """Returns the number, or None in the place of NaN and Inf, which JSON lacks."""
    return float(value) if math.isfinite(value) else None


def number(value: float) -> str:
    """Returns a loss or an error as text, three digits."""
    return f"{value:.2e}"


def _by_unknown(solution: Solution, measure, points) -> dict[str, float] | None:
    if solution.problem.exact is None:
        return None
    errors = measure(points)
    names = solution.problem.unknowns
    return errors if isinstance(errors, dict) else {names[0]: errors}


def single(errors: Mapping[str, float] | None) -> Any:
    """Returns errors by unknown as one JSON-able value, a number for one unknown."""
    if errors is None:
        return None
    values = {name: finite(value) for name, value in errors.items()}
    return values if len(values) > 1 else next(iter(values.values()))


def _options_text(options: Mapping[str, Any]) -> str:
    return "".join(f", {name}={value}" for name, value in options.items())


def _method_text(settings: Mapping[str, Any]) -> str:
    rate = settings.get("learning_rate")
    return settings["method"] + ("" if rate is None else f", learning rate {rate}")


def _chosen_text(settings: Mapping[str, Any]) -> str:
    reason = settings.get("reason", "as asked")
    return settings["method"] + ("" if reason == "as asked" else f" ({reason})")


def certificate_rows(certificate: Certificate | None) -> list[tuple[str, str]]:
    """Returns the rows of a certificate, none if there is none."""
    if certificate is None:
        return []
    residual = number(certificate.residual)
    if certificate.overfit and certificate.training is not None:
        residual += f" (overfit: {number(certificate.training)} at training points)"
    rows = [
        ("residual RMS at unseen points", residual),
        *((f"misfit of {n}", number(v)) for n, v in certificate.boundary.items()),
    ]
    if certificate.error_bound is None:
        return [*rows, ("error bound", f"none: {certificate.reason}")]
    rows.append(("error (RMS) at most", number(certificate.error_bound)))
    if certificate.relative_error_bound is not None:
        bound = number(certificate.relative_error_bound)
        rows.append(("relative L2 error at most", bound))
    return [*rows, ("by", str(certificate.theorem))]


def certificate_record(certificate: Certificate | None) -> dict[str, Any]:
    """Returns a certificate as JSON-able values, all None if there is none."""
    names = ("residual_rms", "overfit", "boundary_misfit", "error_bound")
    if certificate is None:
        return dict.fromkeys((*names, "relative_error_bound", "no_bound_because"))
    bounds = [certificate.error_bound, certificate.relative_error_bound]
    error, relative = (None if b is None else finite(b) for b in bounds)
    return {
        "residual_rms": finite(certificate.residual),
        "overfit": certificate.overfit,
        "boundary_misfit": {n: finite(v) for n, v in certificate.boundary.items()},
        "error_bound": error,
        "relative_error_bound": relative,
        "no_bound_because": certificate.reason,
    }
