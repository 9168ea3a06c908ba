"""Pictures of solutions: lines, heat maps, slices, animations, training curves.

Everything is drawn on a `matplotlib.figure.Figure` of its own. `pyplot` and its
global state are never touched: it works without a display and in any program.
"""

from pinns.plotting.animation import animate
from pinns.plotting.figures import plot, plot_history
from pinns.plotting.unfoldings import plot_separability


__all__ = ["plot", "animate", "plot_history", "plot_separability"]
