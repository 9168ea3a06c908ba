"""The picture of errors against seconds, one panel per problem."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


TITLES = {
    "helmholtz": "Helmholtz 3-d (4, 4, 3)",
    "poisson": "Poisson 5-d",
    "klein_gordon": "Klein-Gordon (2+1)-d",
}
# The peers are grey and black; hues are Okabe and Ito's, apart for every eye.
COLORS = {
    "spinn": "#888888",
    "classical": "#000000",
    "adam": "#E69F00",
    "lbfgs": "#56B4E9",
    "ssbroyden": "#0072B2",
    "gauss_newton": "#D55E00",
    "varpro": "#009E73",
    "als": "#CC79A7",
    "direct": "#7B3294",
}
MARKERS = {"classical": "*", "direct": "D", "als": "s"}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draws the runs and returns the path of the picture."""
    runs = [row for row in rows if row["kind"] == "run" and row["relative_l2"]]
    figure = Figure(figsize=(13.5, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(TITLES), sharey=True)
    handles: dict[str, Any] = {}
    for axes, (problem, title) in zip(panels, TITLES.items(), strict=True):
        for row in runs:
            if row["problem"] == problem:
                handles.setdefault(row["label"], _run(axes, row))
        axes.set(xscale="log", yscale="log", title=title, xlabel="solving seconds")
        axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    panels[0].set_ylabel("relative L2 error")
    if handles:
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=5
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _run(axes: Any, row: Mapping[str, Any]) -> Any:
    method = row["method"]
    color = COLORS[method]
    if method in MARKERS:
        size = 14 if method == "classical" else 8
        (handle,) = axes.plot(
            row["seconds"],
            row["relative_l2"],
            MARKERS[method],
            color=color,
            fillstyle="none" if row["label"].endswith("features") else "full",
            markersize=size,
            linestyle="none",
        )
        return handle
    curve = np.asarray(row["curve"], np.float64)
    # Seeds lie over each other: thin, and the first one a little stronger.
    width = 1.5 if row["seed"] == 0 else 0.7
    (handle,) = axes.plot(curve[:, 0], curve[:, 1], color=color, linewidth=width)
    axes.plot(row["seconds"], row["relative_l2"], "o", color=color, markersize=3)
    return handle
