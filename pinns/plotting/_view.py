"""What is drawn: values on lines and planes through the box, as curves and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage

from pinns.domain import Box
from pinns.solution import Solution


LINE_POINTS = 401
IMAGE_POINTS = 129
RESIDUAL_CHUNK = 4096
SIGNED, POSITIVE, MAGNITUDE = "RdBu_r", "viridis", "inferno"
TIME = "t"

Points = int | Sequence[int] | Mapping[str, int]


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

    def grid(
        self, counts: Sequence[int], fixed: Mapping[int, float]
    ) -> list[np.ndarray]:
        """Returns coordinates per axis: evenly spaced, or the one that is fixed."""
        return [
            np.array([fixed[i]]) if i in fixed else np.linspace(*interval, counts[i])
            for i, interval in enumerate(self.box.intervals)
        ]

    def rows(self, grid: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
        """Returns (label, values) of what is drawn: u, exact u if known, gap.

        Axes of length one are dropped from the values.
        """
        values = np.asarray(self.solution[self.unknown](*grid), np.float64)
        rows = [(self.unknown, values)]
        if self.has_exact:
            exact = self._exact(grid)
            rows += [("exact", exact), ("|error|", np.abs(values - exact))]
        else:
            rows.append(("|residual|", self._residual(grid)))
        return [(label, array.squeeze()) for label, array in rows]

    def _exact(self, grid: Sequence[np.ndarray]) -> np.ndarray:
        solution = self.solution
        functions = solution.problem.require_exact("plot")
        function = functions[solution.problem.unknowns.index(self.unknown)]
        with solution.precision():
            mesh = [
                jnp.asarray(x, solution.dtype)
                for x in np.meshgrid(*grid, indexing="ij", sparse=True)
            ]
            values = np.asarray(function(*mesh), np.float64)
        return np.broadcast_to(values, [x.size for x in grid])

    def _residual(self, grid: Sequence[np.ndarray]) -> np.ndarray:
        mesh = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1)
        points = mesh.reshape(-1, self.box.dimension)
        # A chunk at a time, all of one shape: little memory, compiled once.
        chunks = -(-len(points) // RESIDUAL_CHUNK)
        missing = chunks * RESIDUAL_CHUNK - len(points)
        padded = np.pad(points, ((0, missing), (0, 0)), mode="edge")
        squares = [self._square(chunk) for chunk in np.split(padded, chunks)]
        values = np.sqrt(np.concatenate(squares)[: len(points)])
        return values.reshape(mesh.shape[:-1])

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
    grid: list[np.ndarray]
    rows: list[tuple[str, np.ndarray]]


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
) -> list[list[AxesImage]]:
    """Draws heat maps: panels (rows, slices), one color bar per kind of value."""
    labels = [label for label, _ in slices[0].rows]
    kinds = [list(range(len(labels) - 1)), [len(labels) - 1]]
    same_axes = len({s.axes for s in slices}) == 1 and len(slices) > 1
    images: list[list[AxesImage]] = [[] for _ in labels]
    for kind in kinds:
        values = np.stack(
            [finite_range(s.rows[row][1]) for s in slices for row in kind]
        )
        style = colors(values, magnitude=kind is kinds[1])
        for row in kind:
            for panel, cut in zip(panels[row], slices, strict=True):
                x, y = (cut.grid[axis] for axis in cut.axes)
                image = _image(panel, x, y, cut.rows[row][1], style)
                images[row].append(image)
                _label(panel, view, cut, labels[row])
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


def _label(panel: Axes, view: View, cut: Cut, label: str) -> None:
    first, second = cut.axes
    panel.set(
        xlabel=view.box.names[first],
        ylabel=view.box.names[second],
        title=f"{label}, {cut.title}" if cut.title else label,
    )
    panel.title.set_fontsize("medium")
    lengths = {b - a for a, b in (view.box.intervals[i] for i in cut.axes)}
    if len(lengths) == 1 and view.box.names[first] != TIME:
        panel.set_aspect("equal")


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
