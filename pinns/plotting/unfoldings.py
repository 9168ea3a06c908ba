"""Figures of singular values: how separable functions are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pinns.plotting._view import Picture
from pinns.plotting.figures import _check_suffix, _write
from pinns.separability import Separability


# Singular values below this share of the largest are rounding noise.
SMALLEST = 1e-17
MAX_LEGEND = 8


def plot_separability(
    found: Separability | Mapping[str, Separability], path: str | Path | None = None
) -> Figure:
    """Returns a figure of singular values, relative to the norm, on a log axis.

    One row per function; left every axis against all others (Tucker ranks), right
    the axes up to a bond against the rest (tensor-train ranks).

    Args:
        found: what `pinns.separability` returned.
        path: file to write; its suffix says the format.

    Raises:
        ValueError: a suffix that is no picture format, or nothing to draw.

    Example:
        >>> import jax.numpy as jnp, pinns
        >>> box = pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0))
        >>> found = pinns.separability(lambda x, y: jnp.sin(x + y), box)
        >>> [panel.get_title() for panel in plot_separability(found).axes]
        ['one axis against the others', 'axes up to a bond against the rest']
    """
    owner = "pinns.plotting.plot_separability"
    _check_suffix(owner, path)
    rows = {found.name: found} if isinstance(found, Separability) else dict(found)
    if not rows:
        raise ValueError(f"{owner}: `found` must hold at least one function, got none")
    figure = Picture(figsize=(9.6, 0.6 + 3.2 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 2, squeeze=False, sharey=True)
    for (name, one), pair in zip(rows.items(), panels, strict=True):
        for panel, values in zip(pair, (one.axes, one.bonds), strict=True):
            _draw(panel, values, one.rms)
            panel.set_xlabel("number")
        pair[0].set_ylabel(name)
    panels[0][0].set_title("one axis against the others")
    panels[0][1].set_title("axes up to a bond against the rest")
    return _write(figure, path)


def _draw(panel, values: Mapping[str, np.ndarray], rms: float) -> None:
    for label, own in values.items():
        shown = own / rms if rms else own
        shown = np.where(shown > SMALLEST, shown, np.nan)
        panel.plot(np.arange(1, own.size + 1), shown, marker=".", label=label)
    panel.set_yscale("log")
    panel.grid(alpha=0.3)
    if 0 < len(values) <= MAX_LEGEND:
        panel.legend(fontsize="small")
