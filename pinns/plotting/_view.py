"""What is drawn: values on lines and planes through the box, as curves and maps."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage

from pinns.domain import Box
from pinns.mapped import MappedBox
from pinns.solution import Solution


LINE_POINTS = 401
IMAGE_POINTS = 129
RESIDUAL_CHUNK = 4096
SIGNED, POSITIVE, MAGNITUDE = "RdBu_r", "viridis", "inferno"
TIME = "t"

Image = AxesImage | QuadMesh
Points = int | Sequence[int] | Mapping[str, int]
Grid = list[np.ndarray]
# Labels and values of what is drawn on one grid.
Rows = list[tuple[str, np.ndarray]]


class Picture(Figure):
    """A figure that notebooks show, which without pyplot they do not by themselves."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


@dataclass(frozen=True)
class View:
    """Values of one unknown, of the exact solution and of the gap, in float64."""

    solution: Solution
    unknown: str

    @property
    def box(self) -> Box:
        return self.solution.problem.box

    @property
    def has_exact(self) -> bool:
        return self.solution.problem.exact is not None

    def grid(self, counts: Sequence[int], fixed: Mapping[int, float]) -> Grid:
        """Returns coordinates per axis: evenly spaced, or the one that is fixed."""
        return [
            np.array([fixed[i]]) if i in fixed else np.linspace(*interval, counts[i])
            for i, interval in enumerate(self.box.intervals)
        ]

    def rows(self, grid: Grid) -> Rows:
        """Returns (label, values) of what is drawn: u, exact u if known, gap.

        Axes of length one are dropped from the values.
        """
        values = np.asarray(self.solution[self.unknown](*grid), np.float64)
        mesh = np.meshgrid(*grid, indexing="ij", sparse=True)
        return self._rows(values, mesh, lambda: _points(grid))

    def rows_of_each(self, grids: Sequence[Grid]) -> list[Rows]:
        """Returns `rows` of every grid, all of their points evaluated together.

        One shape is compiled where grids over different axes would be one each.
        """
        meshes = [_points(grid) for grid in grids]
        points = np.concatenate(meshes)
        solution = self.solution
        with solution.precision():
            array = jnp.asarray(points, solution.dtype)
            values = np.asarray(solution[self.unknown].at(array), np.float64)
        rows = self._rows(values, list(points.T), lambda: points)
        ends = np.cumsum([len(mesh) for mesh in meshes])[:-1]
        parts = [(label, np.split(array, ends)) for label, array in rows]
        return [
            [
                (label, split[i].reshape([x.size for x in grid if x.size > 1]))
                for label, split in parts
            ]
            for i, grid in enumerate(grids)
        ]

    def _rows(
        self, values: np.ndarray, mesh: Sequence[np.ndarray], points: Callable
    ) -> Rows:
        rows = [(self.unknown, values)]
        if self.has_exact:
            exact = self._exact(mesh)
            rows += [("exact", exact), ("|error|", np.abs(values - exact))]
        else:
            rows.append(("|residual|", self._residual(points()).reshape(values.shape)))
        inside = self.box.inside([jnp.asarray(c) for c in mesh])
        if inside is not None:
            rows = [(label, np.where(inside, array, np.nan)) for label, array in rows]
        return [(label, array.squeeze()) for label, array in rows]

    def _exact(self, mesh: Sequence[np.ndarray]) -> np.ndarray:
        solution = self.solution
        functions = solution.problem.require_exact("plot")
        function = functions[solution.problem.unknowns.index(self.unknown)]
        with solution.precision():
            values = function(*(jnp.asarray(x, solution.dtype) for x in mesh))
            return np.broadcast_to(
                np.asarray(values, np.float64),
                np.broadcast_shapes(*map(np.shape, mesh)),
            )

    def _residual(self, points: np.ndarray) -> np.ndarray:
        # A chunk at a time, all of one shape: little memory, compiled once.
        chunks = -(-len(points) // RESIDUAL_CHUNK)
        missing = chunks * RESIDUAL_CHUNK - len(points)
        padded = np.pad(points, ((0, missing), (0, 0)), mode="edge")
        squares = [self._square(chunk) for chunk in np.split(padded, chunks)]
        return np.sqrt(np.concatenate(squares)[: len(points)])

    def _square(self, points: np.ndarray) -> np.ndarray:
        """Returns the squared residual, summed over equations, as (n,)."""
        solution = self.solution
        with solution.precision():
            equations = solution.residual(jnp.asarray(points, solution.dtype))
        return np.sum(np.square(np.asarray(equations, np.float64)), axis=0)


class Cut(NamedTuple):
    """One two-dimensional slice: what it is called, its two axes, what is on it."""

    title: str
    axes: tuple[int, ...]
    grid: Grid
    rows: Rows


def draw_curves(panel: Axes, x: np.ndarray, curves) -> list:
    """Draws the solution and, dashed over it, the exact one."""
    styles: tuple[dict, ...] = (
        {"linewidth": 2.2},
        {"linestyle": "--", "color": "black"},
    )
    return [
        panel.plot(x, values, label=label, **style)[0]
        for (label, values), style in zip(curves, styles, strict=False)
    ]


def draw_maps(
    figure: Figure | SubFigure, view: View, panels: np.ndarray, slices: list[Cut]
) -> list[list[Image]]:
    """Draws heat maps: panels (rows, slices), one color bar per kind of value."""
    labels = [label for label, _ in slices[0].rows]
    kinds = [list(range(len(labels) - 1)), [len(labels) - 1]]
    same_axes = len({s.axes for s in slices}) == 1 and len(slices) > 1
    images: list[list[Image]] = [[] for _ in labels]
    for kind in kinds:
        values = np.stack(
            [finite_range(s.rows[row][1]) for s in slices for row in kind]
        )
        style = colors(values, magnitude=kind is kinds[1])
        for row in kind:
            for panel, cut in zip(panels[row], slices, strict=True):
                place = physical_place(view.box, cut)
                if place is None:
                    x, y = (cut.grid[axis] for axis in cut.axes)
                    image: Image = _image(panel, x, y, cut.rows[row][1], style)
                else:
                    image = _mesh(panel, place, cut.rows[row][1], style)
                images[row].append(image)
                _label(panel, view, cut, labels[row], place)
                if same_axes:
                    panel.label_outer()
        figure.colorbar(
            images[kind[0]][0],
            ax=panels[kind].ravel().tolist(),
            label=labels[kind[0]],
            aspect=20 * len(kind) if len(slices) > 1 else 20,
        )
    return images


def _image(panel: Axes, x: np.ndarray, y: np.ndarray, values, style) -> AxesImage:
    """Draws values (x, y) with pixels centered at their coordinates."""
    (left, right), (bottom, top) = (
        (c[0] - 0.5 * (c[1] - c[0]), c[-1] + 0.5 * (c[1] - c[0])) for c in (x, y)
    )
    image = panel.imshow(
        np.ma.masked_invalid(values.T),
        origin="lower",
        extent=(left, right, bottom, top),
        aspect="auto",
        interpolation="bilinear",
        **style,
    )
    panel.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    return image


class Place(NamedTuple):
    """Where a slice lies in space: names of two directions, coordinates (n, m)."""

    names: tuple[str, str]
    x: np.ndarray
    y: np.ndarray


def physical_place(box: Box, cut: Cut) -> Place | None:
    """Returns where a slice of a mapped box lies, None if it is drawn in its axes.

    Two mapped axes are drawn as x and y. Of a sphere, planes through the poles show
    the distance from the axis and z, those at fixed theta x and y.
    """
    names = [box.names[axis] for axis in cut.axes]
    if not isinstance(box, MappedBox) or not set(names) <= set(box.curved):
        return None
    mesh = [jnp.asarray(c) for c in np.meshgrid(*cut.grid, indexing="ij")]
    found = [np.asarray(c).squeeze() for c in box.physical(mesh)]
    if len(found) == 2:
        (a, b), (x, y) = box.physical_names, found
        return Place((a, b), x, y)
    if box.physical_names == ("x", "y", "z") and "r" in names:
        if "phi" in names:
            return Place(("x", "y"), found[0], found[1])
        across = np.hypot(found[0], found[1])
        return Place(("√(x² + y²)", "z"), across, found[2])
    return None


def _mesh(panel: Axes, place: Place, values, style) -> QuadMesh:
    """Draws values at the points of a curved mesh."""
    image = panel.pcolormesh(
        place.x.T,
        place.y.T,
        np.ma.masked_invalid(values.T),
        shading="gouraud",
        rasterized=True,
        **style,
    )
    panel.set_aspect("equal")
    return image


def _label(
    panel: Axes, view: View, cut: Cut, label: str, place: Place | None = None
) -> None:
    first, second = cut.axes
    names = (view.box.names[first], view.box.names[second])
    names = names if place is None else place.names
    panel.set(
        xlabel=names[0],
        ylabel=names[1],
        title=f"{label}, {cut.title}" if cut.title else label,
    )
    panel.title.set_fontsize("medium")
    if place is not None:
        return
    lengths = {b - a for a, b in (view.box.intervals[i] for i in cut.axes)}
    if len(lengths) == 1 and view.box.names[first] != TIME:
        panel.set_aspect("equal")


def _points(grid: Grid) -> np.ndarray:
    """Returns the points of a grid as (n, d)."""
    return np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, len(grid))


def center(box: Box) -> dict[int, float]:
    return {i: 0.5 * (a + b) for i, (a, b) in enumerate(box.intervals)}


def colors(ranges: np.ndarray, *, magnitude: bool) -> dict:
    """Returns color map and limits for values in the given ranges (k, 2).

    Signed values get a diverging map that is centered at zero.
    """
    low, high = float(ranges[:, 0].min()), float(ranges[:, 1].max())
    if magnitude:
        return {"cmap": MAGNITUDE, "vmin": 0.0, "vmax": high or 1.0}
    if low < -0.1 * high and high > -0.1 * low:
        largest = max(-low, high)
        return {"cmap": SIGNED, "vmin": -largest, "vmax": largest}
    if low == high:
        low, high = low - 0.5, high + 0.5
    return {"cmap": POSITIVE, "vmin": low, "vmax": high}


def finite_range(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def headline(solution: Solution) -> str:
    name, model = solution.problem.name, solution.model.name
    if solution.settings.get("method") == "direct":
        return f"{name}, {model}, direct"
    return f"{name}, {model}, {solution.step:,} steps"


def unknown_name(owner: str, solution: Solution, unknown: str | None) -> str:
    names = solution.problem.unknowns
    if unknown is None and len(names) == 1:
        return names[0]
    if unknown not in names:
        raise ValueError(
            f"{owner}: `unknown` must be one of ({', '.join(names)}), got {unknown!r}"
        )
    return unknown
