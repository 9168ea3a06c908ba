"""The table of nonlinear problems: errors and seconds beside their goals."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks._factored_tables import _busy
from benchmarks._pinn_tables import NAMES, _setting, _table


Results = Mapping[str, Any]
Row = Mapping[str, Any]
PROBLEMS = {
    **NAMES,
    "burgers1d": "Burgers",
    "allen_cahn": "Allen-Cahn",
    "navier_stokes": "Navier-Stokes",
}


def nonlinear(results: Results) -> str:
    """Returns one row per problem and method; all runs count, failed ones too."""
    # Here, because it imports JAX, which no other table needs.
    from benchmarks.nonlinear import digest

    result = results["nonlinear"]
    rows = result["rows"]
    lines = _table(
        (
            *("problem", "method", "runs", "relative L2, median", "worst"),
            *("solve s, median", "compile s", "goal"),
        ),
        [_line(own, digest(own)) for own in _by_name(rows)],
        left=2,
    )
    published = [row["published_l2"] for row in rows if row["published_l2"] is not None]
    against = (
        f"Allen-Cahn against the values published with the equation: "
        f"{max(published):.1e}. "
        if published
        else ""
    )
    caption = (
        "Trained networks: a run per seed; fixed bases: repeated for the seconds. Two "
        "cores, float64. Burgers: viscosity 0.01 / pi, against Cole and Hopf; "
        "Allen-Cahn: against an own spectral series; the others against exact "
        f"solutions, of several unknowns the worst. {against}"
        f"{_busy(rows)}{_setting(result, rows)}"
    )
    return "\n".join([*lines, "", caption])


def _by_name(rows: Sequence[Row]) -> list[list[Row]]:
    names = dict.fromkeys(row["name"] for row in rows)
    return [[row for row in rows if row["name"] == name] for name in names]


def _line(rows: Sequence[Row], found: Any) -> Sequence[Any]:
    return (
        PROBLEMS[rows[0]["problem"]],
        rows[0]["label"],
        len(rows),
        _shown(found.error),
        _shown(found.worst),
        f"{found.seconds:.2f}",
        f"{found.compile_seconds:.1f}" if found.compile_seconds else "–",
        "–" if rows[0]["goal"] is None else found.verdict.removeprefix("goal "),
    )


def _shown(error: float) -> str:
    return f"{error:.1e}" if math.isfinite(error) else "failed"


TABLES: dict[str, Callable[[Results], str]] = {"nonlinear": nonlinear}
