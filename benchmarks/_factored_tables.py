"""Tables of the factored path: its steps, its floor, and error against seconds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks._pinn_tables import (
    NAMES,
    _error,
    _milliseconds,
    _power,
    _seconds,
    _setting,
    _span,
    _table,
)


# Prefixes of the columns of a row of kind `floor`.
FLOORS = {"inner products": "", "orthogonalized": "orthogonalized_"}
Results = Mapping[str, Any]
Row = Mapping[str, Any]


def factored_step(results: Results) -> str:
    """Returns one row per case: seconds of a step, and what share of the grid's."""
    result = results["factored"]
    rows = _kind(result, "step")
    lines = _table(
        (
            *("problem", "grid", "model", "rank", "factored ms", "on the grid ms"),
            *("SPINN's form ms", "share of our grid step", "share of SPINN's"),
            *("goal", "orthogonalized ms"),
            *("MB factored / grid / SPINN's", "compile s"),
        ),
        [_step_line(row) for row in rows],
        left=3,
    )
    samples = _span(row["seconds"]["factored"]["n"] for row in rows)
    caption = (
        "Loss and gradient, faces included, float32, the same network, parameters and "
        "points; tanh networks with three hidden layers as wide as the rank. Factored: "
        "inner products of the factors, no grid; the other two evaluate the same loss "
        "on the grid, and losses agree; so does orthogonalized, with the lower floor. "
        "Medians, in turns in one process; shares are "
        "medians of paired ratios, in brackets smallest and largest; samples: "
        f"{samples}. MB: what XLA plans. Compilation in the same order. "
        f"{_busy(rows)}{_setting(result, rows)}"
    )
    return "\n".join([*lines, "", caption])


def _step_line(row: Row) -> Sequence[Any]:
    sides = ("factored", "grid", "spinn")
    goal = "–"
    if row["goal"] is not None:
        goal = "; ".join(
            _against(
                f"1/{1 / row['goal']:.0f} of {whose}",
                row[f"ratio_{side}"]["median"] <= row["goal"],
            )
            for side, whose in (("grid", "ours"), ("spinn", "SPINN's"))
        )
    elif row["goal_seconds"] is not None:
        met = row["seconds"]["factored"]["median"] < row["goal_seconds"]
        goal = _against(f"{1e3 * row['goal_seconds']:.0f} ms", met)
    return (
        NAMES[row["problem"]],
        _power(row["grid"]),
        NAMES[row["model"]],
        row["rank"],
        *(_milliseconds(row["seconds"][s]) if s in row["seconds"] else "–"
          for s in sides),
        *(_share(row.get(f"ratio_{s}")) for s in sides[1:]),
        goal,
        _milliseconds(row["seconds"]["orthogonalized"])
        if "orthogonalized" in row["seconds"]
        else "–",
        " / ".join(f"{row['bytes'][s] / 1e6:.1f}" for s in sides if s in row["bytes"]),
        " / ".join(
            f"{row['compile_seconds'][s]:.1f}"
            for s in sides
            if s in row["compile_seconds"]
        ),
    )  # fmt: skip


def factored_floor(results: Results) -> str:
    """Returns the smallest relative residual that each precision can tell."""
    result = results["factored"]
    rows = _kind(result, "floor")
    lines = _table(
        ("dtype", "norm", "measured floor", "its estimate"),
        [
            (
                r["dtype"],
                name,
                f"{r[prefix + 'floor']:.1e}",
                f"{r[prefix + 'estimate']:.1e}",
            )
            for r in rows
            for name, prefix in FLOORS.items()
        ],
        left=2,
    )
    caption = (
        "Residual relative to the source below which the factored norm is rounding "
        "noise: the square root of its difference from the squared norm on the grid in "
        "float64 (orthogonalized: the difference of the norms themselves), Helmholtz, "
        "a CP network of rank 1 at and near the exact solution. "
        f"{_setting(result, rows)}"
    )
    return "\n".join([*lines, "", caption])


def factored_compile(results: Results) -> str:
    """Returns how compilation grows with the dimension."""
    result = results["factored"]
    rows = _kind(result, "compile")
    low, high = rows[0]["dimensions"]
    lines = _table(
        ("model", "rank", f"d = {low}, s", f"d = {high}, s", "growth", "goal"),
        [
            (
                NAMES[row["model"]],
                row["rank"],
                *(_seconds(s) for s in row["seconds"]),
                f"{row['growth']:.2f}",
                _against(f"{row['goal']}", row["growth"] <= row["goal"]),
            )
            for row in rows
        ],
        left=1,
    )
    samples = _span(s["n"] for row in rows for s in row["seconds"])
    caption = (
        "From the problem to the executable of loss and gradient, factored: Poisson, "
        f"{rows[0]['grid'].split('^')[0]} points per axis; medians of {samples}, in "
        "brackets smallest and largest; growth is the ratio of medians. "
        f"{_busy(rows)}{_setting(result, rows)}"
    )
    return "\n".join([*lines, "", caption])


def accuracy(results: Results) -> str:
    """Returns one row per problem and method: median and worst error, seconds."""
    result = results["accuracy_vs_seconds"]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in result["rows"]:
        groups.setdefault((row["problem"], row["label"]), []).append(row)
    order = list(dict.fromkeys(problem for problem, _ in groups))
    ordered = sorted(groups.values(), key=lambda rows: order.index(rows[0]["problem"]))
    lines = _table(
        (
            *("problem", "method", "seeds", "relative L2, median", "worst"),
            *("solving s, median", "compile s", "goal"),
        ),
        [_accuracy_line(rows) for rows in ordered],
        left=2,
    )
    rows = result["rows"]
    caption = (
        "Relative L2 on equispaced points (100 per axis, in five dimensions 16, of the "
        "Chebyshev line 32). Solving seconds do not contain compilation. SPINN's form "
        "and Adam: rank 32, float32; the others float64. First answer: the wall "
        "seconds of a fresh process, import and compilation included. A goal is met if "
        "error and seconds are. "
        f"{_busy(rows)}{_setting(result, rows)}"
    )
    return "\n".join([*lines, "", caption])


def high_dimension(results: Results) -> str:
    """Returns what was solved in 4 to 100 dimensions, and its goals."""
    result = results["high_dimension"]
    rows = result["rows"]
    lines = _table(
        (
            *("problem", "d", "method", "basis", "seeds", "relative L2, median"),
            *("worst", "set-up s", "solving s, slowest", "goal"),
        ),
        [_high_dimension_line(row) for row in rows],
        left=4,
    )
    caption = (
        "Poisson has all faces in its loss. The other problems, and training in 5 "
        "dimensions, are one call of `pinns.solve`, whose seconds are not split. d is "
        "without time for Fokker-Planck and with coefficients for diffusion, where the "
        "error is the worst of 64 unseen pairs of these. Set-up: "
        "planning, Gram matrices and compilation, once for all seeds. A goal is met if "
        "worst error and whole time, set-up and slowest seed, are within it. The "
        "collocation solver needs the whole grid, n^d "
        f"values. {_setting(result, rows)}"
    )
    return "\n".join([*lines, "", caption])


def _high_dimension_line(row: Row) -> Sequence[Any]:
    errors, goal = row["relative_l2"], row.get("goal")
    name = "Poisson" if row["problem"] == "poisson" else row["problem"]
    method = row["method"]
    if "energy_error" in row:
        method += f" (energy to {row['energy_error']['max']:.0e})"
    head = (name, row["dimension"], method, row.get("basis", "–"), row["seeds"])
    found = (_maybe(errors["median"]), _maybe(errors["max"]))
    whole = (*head, *found, "–", f"{row['total_seconds']:.2g}")
    if goal is None:
        return (*whole, "–")
    if "peak_mb" in goal:
        limit, peak = goal["peak_mb"], row["peak_mb"]
        text = f"{limit:g} MB ({peak:.0f} MB)"
        return (*whole, _against(text, peak <= limit))
    met = errors["max"] <= goal["relative_l2"]
    met = met and row["total_seconds"] <= goal["seconds"]
    return (
        *head,
        *found,
        f"{row['plan_seconds'] + row['setup_seconds']:.1f}",
        f"{row['solve_seconds']['max']:.2g}",
        _against(f"{goal['relative_l2']:.0e} in {goal['seconds']:g} s", met),
    )


def _accuracy_line(rows: Sequence[Row]) -> Sequence[Any]:
    errors = [row["relative_l2"] for row in rows]
    found = sorted(float("inf") if e is None else e for e in errors)
    seconds = _median([row["seconds"] for row in rows])
    middle, worst = _median(found), found[-1]
    first = min(rows, key=lambda row: row["seed"])
    compiling = first["compile_seconds"]  # later seeds find programs that are kept
    return (
        NAMES[first["problem"]],
        first["label"],
        len(rows),
        _maybe(middle),
        _maybe(worst),
        f"{seconds:.3g}",
        f"{compiling:.1f}" if compiling else "–",
        _goal(first["goal"], middle, worst, seconds),
    )


def _goal(goal: Mapping[str, float], middle: float, worst: float, s: float) -> str:
    if not goal:
        return "–"
    met = middle <= goal["median"] and worst <= goal.get("max", float("inf"))
    # The limit is checked between blocks of steps, so a run may end a little later.
    met = met and s <= 1.1 * goal["seconds"]
    text = f"{goal['median']:.0e}"
    if "max" in goal:
        text += f", worst {goal['max']:.0e}"
    return _against(f"{text} in {goal['seconds']:g} s", met)


def _against(goal: str, met: bool) -> str:
    return f"{goal}: {'met' if met else 'missed'}"


def _maybe(error: float) -> str:
    return "failed" if error == float("inf") else _error(error)


def _median(values: Iterable[float]) -> float:
    found = sorted(values)
    half = len(found) // 2
    return found[half] if len(found) % 2 else (found[half - 1] + found[half]) / 2


def _share(ratio: Row | None) -> str:
    if ratio is None:
        return "–"
    middle, low, high = (f"{ratio[name]:.2g}" for name in ("median", "min", "max"))
    return f"{middle} ({low}–{high})"


def _busy(rows: Sequence[Row]) -> str:
    loads = [row["load"] for row in rows if "load" in row]
    if not loads:
        return ""
    return f"Load of the machine meanwhile: {min(loads):.1f} to {max(loads):.1f}. "


def _kind(result: Row, kind: str) -> list[Row]:
    rows = [row for row in result["rows"] if row["kind"] == kind]
    if not rows:
        raise ValueError(f"factored.json has no rows of kind `{kind}`")
    return rows


TABLES: dict[str, Callable[[Results], str]] = {
    "factored_step": factored_step,
    "factored_floor": factored_floor,
    "factored_compile": factored_compile,
    "accuracy": accuracy,
    "high_dimension": high_dimension,
}
