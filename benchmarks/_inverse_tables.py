"""The table and the picture of the inverse problems."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


Results = Mapping[str, Any]
Row = Mapping[str, Any]

HEADER = (
    "problem",
    "unknown",
    "noise",
    "relative error, median (worst)",
    "Laplace standard error, median",
    "within two of them",
    "error of u, median",
)
# Okabe and Ito's hues, apart for every eye.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def inverse(results: Results) -> str:
    """Returns one row per unknown and noise level."""
    rows = results["inverse"]["rows"]
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join([*lines, "", _note(rows)])


def _cells(row: Row) -> list[str]:
    error, state = row["relative_error"], row["state_relative_l2"]
    foreseen = "standard_error" in row
    return [
        f"`{row['problem']}`",
        f"{row['unknown']} ({row['kind']})",
        f"{row['noise']:.0%}",
        f"{error['median']:.1e} ({error['max']:.1e})",
        f"{row['standard_error']['median']:.1e}" if foreseen else "-",
        f"{row['covered']} of {row['seeds']}" if foreseen else "-",
        f"{state['median']:.1e}",
    ]


def _note(rows: Sequence[Row]) -> str:
    seeds = sorted({row["seeds"] for row in rows})
    shown = " or ".join(map(str, seeds))
    return (
        f"Synthetic measurements; {shown} seeds (points, noise and start), none left "
        "out. Noise and errors are relative; the standard error's own noise level is "
        "estimated. `python -m benchmarks.inverse`."
    )


def draw(rows: Sequence[Row], path: Path) -> Path:
    """Draws errors and standard errors against the noise; returns the path.

    Every seed is a dot, medians are joined; the standard error is a broken line.
    """
    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = list(
        dict.fromkeys((row["problem"], row["unknown"], row["case"]) for row in rows)
    )
    for color, key in zip(COLORS, names, strict=False):
        own = [
            row
            for row in rows
            if (row["problem"], row["unknown"], row["case"]) == key and row["noise"]
        ]
        own.sort(key=lambda row: row["noise"])
        levels = [100.0 * row["noise"] for row in own]
        medians = [row["relative_error"]["median"] for row in own]
        label = f"{key[1]}, {key[2]}"
        axes.plot(levels, medians, "-", color=color, label=label)
        for level, row in zip(levels, own, strict=True):
            axes.plot([level] * len(row["errors"]), row["errors"], ".", color=color)
        foreseen = [
            row["standard_error"]["median"] for row in own if row.get("covered")
        ]
        if len(foreseen) == len(own):
            axes.plot(levels, foreseen, "--", color=color)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="noise, % of the RMS of u",
        ylabel="relative error (broken: Laplace standard error)",
    )
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


TABLES = {"inverse": inverse}
