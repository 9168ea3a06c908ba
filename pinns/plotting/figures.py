"""Figures of solutions and of their training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pinns.domain import Box
from pinns.plotting._view import (
    IMAGE_POINTS,
    LINE_POINTS,
    TIME,
    Cut,
    Picture,
    Points,
    View,
    center,
    draw_curves,
    draw_maps,
    headline,
    unknown_name,
)
from pinns.solution import Solution


# Coarse grid, per axis, on which the slices of a box without time are chosen.
CHOICE_POINTS = 41
MAX_HISTORY_POINTS = 500
MAX_LINE_PANELS = 6
DOTS_PER_INCH = 150

# Where to cut: values by the position of the axis.
Cuts = dict[int, tuple[float, ...]]


def plot(
    solution: Solution,
    path: str | Path | None = None,
    *,
    unknown: str | None = None,
    points: Points | None = None,
    at: Mapping[str, float | Sequence[float]] | None = None,
) -> Figure:
    """Returns a figure of the solution, next to the exact one where it is known.

    - one axis: a line, the exact one dashed, and the error below;
    - two axes: heat maps of solution, exact solution and error;
    - three axes: heat maps on three slices: at start, middle and end of the axis `t`,
      or where the solution is largest in each third of the first axis (in a mapped
      box of the last one);
    - more: heat maps over the first pairs of neighboring axes and lines along the
      first axes, all other coordinates being held at the center of the box.

    Without an exact solution the residual stands in the place of the error. Slices
    along the coordinates of a mapped box are drawn in physical space.

    Args:
        solution: what `pinns.solve` returned.
        path: file to write; its suffix says the format, such as `.png` or `.pdf`.
        unknown: which function, needed if there are several.
        points: points per axis, by default 401 for a line and 129 for heat maps.
        at: where to cut, by axis. Three axes: values of one axis, one slice each, as
            in `{"t": (0.0, 2.5)}`. More: coordinates in place of the center, as in
            `{"x4": 0.25}`.

    Raises:
        ValueError: no such unknown or axis, a cut outside the box or where nothing is
            cut, too few points, or a suffix that is no picture format.

    Example:
        >>> import jax, pinns
        >>> problem = pinns.problems.poisson(dimension=1)
        >>> solution = pinns.solve(
        ...     problem, pinns.CP(rank=2), points=8, steps=1, key=jax.random.key(0)
        ... )
        >>> [panel.get_ylabel() for panel in plot(solution).axes]
        ['u', '|error|']
    """
    owner = "pinns.plotting.plot"
    box = solution.problem.box
    _check_suffix(owner, path)
    view = View(solution, unknown_name(owner, solution, unknown))
    if points is None:
        points = LINE_POINTS if box.dimension == 1 else IMAGE_POINTS
    counts = box.counts(points, owner=owner)
    cuts = _cuts(owner, box, at or {})
    if box.dimension == 1:
        figure = _draw_line(view, counts)
    elif box.dimension == 2:
        figure = _draw_plane(view, counts)
    elif box.dimension == 3:
        figure = _draw_slices(view, counts, cuts)
    else:
        figure = _draw_marginals(view, counts, cuts)
    figure.suptitle(headline(solution))
    return _write(figure, path)


def plot_history(solution: Solution, path: str | Path | None = None) -> Figure:
    """Returns a figure of loss, its groups and the error against steps, log axes.

    Args:
        solution: what `pinns.solve` returned.
        path: file to write; its suffix says the format.

    Raises:
        ValueError: a suffix that is no picture format.
    """
    _check_suffix("pinns.plotting.plot_history", path)
    history = solution.history
    measured = history.errors.size > 0
    columns = 1 + measured
    figure = Picture(figsize=(5.4 * columns, 4.0), layout="constrained")
    panels = figure.subplots(1, columns, squeeze=False)[0]
    rows = _thinned(history.steps.size)
    steps = history.steps[rows]
    panels[0].plot(steps, _positive(history.loss[rows]), color="black", label="loss")
    for i, name in enumerate(history.names):
        values = _positive(history.groups[rows, i])
        panels[0].plot(steps, values, linewidth=1, label=name)
    panels[0].set_ylabel("mean square")
    panels[0].legend(fontsize="small")
    if measured:
        panels[1].plot(history.error_steps, _positive(history.errors), marker=".")
        panels[1].set_ylabel("relative L2 error")
    for panel in panels:
        panel.set(xscale="log", yscale="log", xlabel="step")
        panel.grid(alpha=0.3)
    figure.suptitle(headline(solution))
    return _write(figure, path)


def _draw_line(view: View, counts: Sequence[int]) -> Figure:
    figure = Picture(figsize=(6.4, 5.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    grid = view.grid(counts, {})
    *curves, (label, gap) = view.rows(grid)
    draw_curves(top, grid[0], curves)
    top.set_ylabel(view.unknown)
    top.legend()
    bottom.plot(grid[0], gap, color="firebrick")
    bottom.set(xlabel=view.box.names[0], ylabel=label)
    bottom.set_ylim(bottom=0.0)
    for panel in (top, bottom):
        panel.margins(x=0.0)
        panel.grid(alpha=0.3)
    return figure


def _draw_plane(view: View, counts: Sequence[int]) -> Figure:
    grid = view.grid(counts, {})
    rows = view.rows(grid)
    figure = Picture(figsize=(1.0 + 3.6 * len(rows), 3.6), layout="compressed")
    panels = figure.subplots(1, len(rows), squeeze=False)
    draw_maps(figure, view, panels.T, [Cut("", (0, 1), grid, rows)])
    return figure


def _draw_slices(view: View, counts: Sequence[int], cuts: Cuts) -> Figure:
    axis, values = _slices(view, cuts)
    name = view.box.names[axis]
    first, second = (i for i in range(3) if i != axis)
    slices = []
    for value in values:
        grid = view.grid(counts, {axis: value})
        title = f"{name} = {value:.3g}"
        slices.append(Cut(title, (first, second), grid, view.rows(grid)))
    rows, columns = len(slices[0].rows), len(slices)
    size = (1.2 + 3.0 * columns, 0.5 + 2.7 * rows)
    figure = Picture(figsize=size, layout="compressed")
    panels = figure.subplots(rows, columns, squeeze=False)
    draw_maps(figure, view, panels, slices)
    return figure


def _draw_marginals(view: View, counts: Sequence[int], cuts: Cuts) -> Figure:
    box = view.box
    point = center(box) | {i: values[0] for i, values in cuts.items()}
    pairs = ((0, 1), (1, 2), (2, 3))
    count = min(box.dimension, MAX_LINE_PANELS)
    grids = []
    for drawn in (*pairs, *((axis,) for axis in range(count))):
        fixed = {i: c for i, c in point.items() if i not in drawn}
        sizes = counts if len(drawn) == 2 else (LINE_POINTS,) * box.dimension
        grids.append(view.grid(sizes, fixed))
    rows = view.rows_of_each(grids)
    slices = [
        Cut(f"over {box.names[pair[0]]}, {box.names[pair[1]]}", pair, grids[i], rows[i])
        for i, pair in enumerate(pairs)
    ]
    shape = (len(rows[0]), len(pairs))
    line_rows = -(-count // len(pairs))
    heights = (2.6 * shape[0], 2.2 * line_rows)
    figure = Picture(figsize=(10.4, 0.8 + sum(heights)), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    draw_maps(top, view, top.subplots(*shape, squeeze=False), slices)
    panels = bottom.subplots(line_rows, len(pairs), squeeze=False, sharey=True).flat
    for axis, panel in enumerate(panels):
        if axis >= count:
            panel.set_axis_off()
            continue
        grid, curves = grids[len(pairs) + axis], rows[len(pairs) + axis][:-1]
        draw_curves(panel, grid[axis], curves)
        panel.set(xlabel=box.names[axis], ylabel=view.unknown)
        panel.margins(x=0.0)
        panel.grid(alpha=0.3)
        if axis == 0:
            panel.legend()
    held = ", ".join(f"{box.names[i]} = {c:.3g}" for i, c in sorted(point.items())[:8])
    more = ", ..." if box.dimension > 8 else ""
    bottom.suptitle(f"held where not drawn: {held}{more}", fontsize="medium")
    return figure


def _slices(view: View, cuts: Cuts) -> tuple[int, Sequence[float]]:
    """Returns the axis that is cut and the values at which."""
    box = view.box
    if cuts:
        return next(iter(cuts.items()))
    if TIME in box.names:
        start, end = box.interval(TIME)
        return box.axis(TIME), (start, 0.5 * (start + end), end)
    grid = view.grid((CHOICE_POINTS,) * 3, {})
    rows = dict(view.rows(grid))
    values = np.nan_to_num(rows.get("exact", rows[view.unknown]))
    # In polar coordinates the last axis is an angle, cut by planes through the pole.
    axis = 2 if box.physical_names else 0
    others = tuple(i for i in range(3) if i != axis)
    strength = np.mean(np.square(values), axis=others)
    thirds = np.array_split(np.arange(CHOICE_POINTS), 3)
    chosen = [third[np.argmax(strength[third])] for third in thirds]
    return axis, [float(grid[axis][i]) for i in chosen]


def _cuts(owner: str, box: Box, at: Mapping) -> Cuts:
    """Returns the checked values of `at` by the position of the axis."""
    if at and box.dimension < 3:
        raise ValueError(
            f"{owner}: `at` cuts boxes of three or more axes, got {dict(at)!r} for "
            f"{box!r}"
        )
    if len(at) > 1 and box.dimension == 3:
        raise ValueError(
            f"{owner}: `at` must cut one axis of a three-dimensional box, "
            f"got {', '.join(at)}"
        )
    cuts: Cuts = {}
    for name, given in at.items():
        position = box.axis(name, owner=f"{owner}: `at`")
        values = tuple(float(v) for v in np.atleast_1d(np.asarray(given, float)))
        lower, upper = box.intervals[position]
        inside = all(lower <= v <= upper for v in values)
        if not values or not inside or (box.dimension > 3 and len(values) > 1):
            number = "one number" if box.dimension > 3 else "numbers"
            raise ValueError(
                f"{owner}: `at[{name}]` must be {number} in [{lower:g}, {upper:g}], "
                f"got {given!r}"
            )
        cuts[position] = values
    return cuts


def _positive(values: np.ndarray) -> np.ndarray:
    """Returns the values with a gap where a logarithmic axis cannot show them."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _thinned(count: int) -> np.ndarray:
    """Returns indices, all of a few or some of many, evenly spaced on a log axis."""
    if count <= MAX_HISTORY_POINTS:
        return np.arange(count)
    chosen = np.geomspace(1, count, MAX_HISTORY_POINTS) - 1
    return np.unique(chosen.round().astype(int))


def _check_suffix(owner: str, path: str | Path | None) -> None:
    if path is None:
        return
    known = sorted(FigureCanvasAgg.get_supported_filetypes())
    if Path(path).suffix.lower().removeprefix(".") not in known:
        raise ValueError(
            f"{owner}: `path` must end in one of .{', .'.join(known)}, "
            f"got {str(path)!r}"
        )


def _write(figure: Figure, path: str | Path | None) -> Figure:
    if path is not None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DOTS_PER_INCH)
    return figure
