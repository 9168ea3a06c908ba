"""A window in time after another: what it takes from the one before.

The end state enters as coefficients, not as a condition to be traced and compiled, and
what was compiled for one window serves all whose grids have the same shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pinns.conditions import Initial, Term
from pinns.problem import Problem
from pinns.solvers._axes import Axis
from pinns.solvers._kronecker import contract
from pinns.solvers._tables import Programs, Table, tables


@dataclass
class Window:
    """Place of a problem in a march.

    axis: of time. programs: compiled so far. before: axes and core at whose end the
    window starts. reached: those of this window, once it is solved.
    """

    axis: int
    programs: Programs = field(default_factory=dict)
    before: tuple[list[Axis], np.ndarray] | None = None
    reached: tuple[list[Axis], np.ndarray] | None = None

    def next(self) -> Window:
        """Returns the window that starts where this one ended."""
        return Window(self.axis, self.programs, before=self.reached)

    def again(self) -> Window:
        """Returns a window with the same start, for another length."""
        return Window(self.axis, self.programs, before=self.before)

    def start(self, axes: Sequence[Axis], orders: int) -> list[np.ndarray]:
        """Returns value and derivatives at the start, as coefficients on other axes."""
        own = [axis for k, axis in enumerate(axes) if k != self.axis]
        analysis = [axis.analysis() for axis in own]
        values = self._values([axis.nodes for axis in own], orders)
        return [contract(v, analysis) if own else v for v in values]

    def tables(
        self, terms: Sequence[Term], points: Sequence[np.ndarray]
    ) -> list[Table]:
        """Returns the initial conditions on a grid, as `tables` would."""
        k = self.axis
        rest = [x for i, x in enumerate(points) if i != k]
        out = []
        for order, values in enumerate(self._values(rest, len(terms))):
            orders = tuple(order if i == k else 0 for i in range(len(points)))
            leaf = (0, orders, terms[order].selectors)
            known = -np.expand_dims(values, k)[None]
            one = np.ones((1, *known.shape))
            out.append(Table(terms[order], (leaf,), one, known, gap=0.0))
        return out

    def _values(self, points: Sequence[np.ndarray], orders: int) -> list[np.ndarray]:
        """Returns value and derivatives at the start on a grid of the other axes."""
        if self.before is None:
            return []
        axes, core = self.before
        own = axes[self.axis]
        ends = own.jets(np.array([own.interval[1]]), orders - 1)
        rest = [axis for k, axis in enumerate(axes) if k != self.axis]
        matrices = [a.jets(x, 0)[0] for a, x in zip(rest, points, strict=True)]
        states = [np.tensordot(end[0], core, axes=(0, self.axis)) for end in ends]
        return [contract(s, matrices) if matrices else s for s in states]


def initial_terms(problem: Problem, k: int) -> list[Term] | None:
    """Returns the terms of value and derivatives at the start of axis k, by order.

    None where the conditions there are others, or where values are lifted.
    """
    if any(lift is not None for lift in problem.lifts):
        return None
    name = problem.box.names[k]
    found: dict[int, Term] = {}
    for condition in problem.conditions:
        if isinstance(condition, Initial) and condition.axis == name:
            if condition.order in found:
                return None
            (found[condition.order],) = condition.terms(problem.box, 0)
    if sorted(found) != list(range(len(found))):
        return None
    return [found[order] for order in range(len(found))]


def tabulated(
    problem: Problem,
    axes: list[Axis],
    grids: Sequence[Sequence[np.ndarray]],
    window: Window | None,
) -> tuple[list[list[Table]], tuple[int, list[np.ndarray]] | None, float]:
    """Returns tables of all terms per grid, the start of `System`, compile seconds.

    With a window before, the initial conditions come from there.
    """
    if window is None:
        found, spent = tables(problem, grids)
        return found, None, spent["compile"]
    initial = initial_terms(problem, window.axis)
    if window.before is None or initial is None:
        # A condition on the start of one window is none of the next.
        programs = None if initial is None else window.programs
        found, spent = tables(problem, grids, programs=programs)
        return found, None, spent["compile"]
    others = [t for t in problem.terms if t.selectors[window.axis] == "interior"]
    found, spent = tables(problem, grids, others, window.programs)
    found = [
        own + window.tables(initial, points)
        for own, points in zip(found, grids, strict=True)
    ]
    start = window.axis, window.start(axes, len(initial))
    return found, start, spent["compile"]


__all__ = ["Window", "initial_terms", "tabulated"]
