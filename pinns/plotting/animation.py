"""Animations of solutions along one axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pinns.domain import positive_integer
from pinns.plotting._view import (
    IMAGE_POINTS,
    LINE_POINTS,
    TIME,
    Cut,
    Points,
    View,
    center,
    colors,
    draw_curves,
    draw_maps,
    finite_range,
    headline,
    unknown_name,
)
from pinns.solution import Solution


Shown = tuple[int, ...]
# A figure, what shows frame number i on it, and colors or None for those it needs.
Moving = tuple[Figure, Callable[[int], None], Image.Image | None]


def animate(
    solution: Solution,
    path: str | Path,
    *,
    axis: str = TIME,
    frames: int = 60,
    fps: int = 20,
    unknown: str | None = None,
    points: Points | None = None,
) -> Path:
    """Writes an animated GIF that runs along one axis, and returns its path.

    Lines (one other axis) or heat maps (two) of the solution, with the exact one and
    the error where it is known. Limits and color bars are those of all frames; the
    title tells the time. Further axes are held at the center of the box.

    Args:
        solution: what `pinns.solve` returned.
        path: file to write, `.gif`.
        axis: the axis that becomes time.
        frames: number of frames, evenly spaced, both ends included.
        fps: frames per second.
        unknown: which function, needed if there are several.
        points: points per axis, by default 401 for a line and 129 for heat maps; the
            entry for `axis` itself is not used.

    Raises:
        ValueError: no such unknown or axis, no other axis to draw, a suffix other
            than `.gif`, or a number that is no positive integer.
    """
    owner = "pinns.plotting.animate"
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"{owner}: `path` must end in .gif, got {str(path)!r}")
    positive_integer(frames, owner, "frames")
    positive_integer(fps, owner, "fps")
    box = solution.problem.box
    position = box.axis(axis, owner=owner)
    if box.dimension == 1:
        raise ValueError(f"{owner}: {box!r} has no axis besides {axis!r} to draw")
    view = View(solution, unknown_name(owner, solution, unknown))
    shown = tuple(i for i in range(box.dimension) if i != position)[:2]
    if points is None:
        points = LINE_POINTS if len(shown) == 1 else IMAGE_POINTS
    counts = box.counts(points, owner=owner)
    times = np.linspace(*box.intervals[position], frames)
    fixed = {i: c for i, c in center(box).items() if i not in shown}
    grids = [view.grid(counts, fixed | {position: time}) for time in times]
    draw = _moving_lines if len(shown) == 1 else _moving_maps
    figure, update, palette = draw(view, shown, grids)
    titles = [f"{headline(solution)}, {axis} = {time:.3f}" for time in times]
    images = list(_frames(figure, update, titles, palette))
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
    )
    return path


def _moving_lines(view: View, shown: Shown, grids: list[list[np.ndarray]]) -> Moving:
    figure = Figure(figsize=(6.0, 5.0), layout="constrained", dpi=100)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    x = grids[0][shown[0]]
    frames = [view.rows(grid) for grid in grids]
    *curves, (label, gap) = frames[0]
    lines = draw_curves(top, x, curves)
    lines += bottom.plot(x, gap, color="firebrick")
    ranges = np.array([[finite_range(values) for _, values in rows] for rows in frames])
    low, high = ranges[:, :-1, 0].min(), ranges[:, :-1, 1].max()
    margin = 0.05 * (high - low) or 1.0
    top.set(ylabel=view.unknown, ylim=(low - margin, high + margin))
    top.legend(loc="upper right")
    bottom.set(xlabel=view.box.names[shown[0]], ylabel=label)
    bottom.set_ylim(0.0, 1.05 * ranges[:, -1, 1].max() or 1.0)
    for panel in (top, bottom):
        panel.margins(x=0.0)
        panel.grid(alpha=0.3)

    def update(frame: int) -> None:
        for line, (_, values) in zip(lines, frames[frame], strict=True):
            line.set_ydata(values)

    return figure, update, None


def _moving_maps(view: View, shown: Shown, grids: list[list[np.ndarray]]) -> Moving:
    slices = [Cut("", shown, grid, view.rows(grid)) for grid in grids]
    rows = len(slices[0].rows)
    figure = Figure(figsize=(1.0 + 3.2 * rows, 3.1), layout="compressed", dpi=100)
    panels = figure.subplots(1, rows, squeeze=False)
    images = [row[0] for row in draw_maps(figure, view, panels.T, slices[:1])]
    used = []
    for kind in (range(rows - 1), range(rows - 1, rows)):
        values = [finite_range(s.rows[row][1]) for s in slices for row in kind]
        style = colors(np.stack(values), magnitude=kind.stop == rows)
        used.append(style["cmap"])
        for row in kind:
            images[row].set(clim=(style["vmin"], style["vmax"]), cmap=style["cmap"])

    def update(frame: int) -> None:
        for image, (_, values) in zip(images, slices[frame].rows, strict=True):
            image.set_array(np.ma.masked_invalid(values.T))

    return figure, update, _palette(used)


def _palette(names: Sequence[str]) -> Image.Image:
    """Returns the 256 colors of all frames: those of the color maps, and grays.

    With a palette of its own for each frame, as GIF writers choose by default, equal
    values would change color from frame to frame.
    """
    grays = np.linspace(0.0, 1.0, 32)[:, None].repeat(3, axis=1)
    each = np.linspace(0.0, 1.0, (256 - len(grays)) // len(names))
    maps = [colormaps[name](each)[:, :3] for name in names]
    palette = np.round(255.0 * np.concatenate([grays, *maps]))
    image = Image.new("P", (1, 1))
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image


def _frames(
    figure: Figure,
    update: Callable[[int], None],
    titles: Sequence[str],
    palette: Image.Image | None,
) -> Iterator[Image.Image]:
    canvas = FigureCanvasAgg(figure)
    for frame, title in enumerate(titles):
        update(frame)
        figure.suptitle(title)
        canvas.draw()
        # The first layout is kept, or panels would move with the width of labels.
        figure.set_layout_engine("none")
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
        if palette is None:
            palette = image.quantize(256)
        yield image.quantize(palette=palette, dither=Image.Dither.NONE)
