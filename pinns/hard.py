"""Hard conditions: exact by construction, through per-axis factors and a lift.

The unknown becomes `u = lift + phi * model` with `phi = prod_i phi_i(x_i)`: each
`phi_i` vanishes where axis i carries a condition, so multiplying the one-dimensional
factors by it keeps the model separable. On the unit coordinate s of the axis,
`phi_i` is a product of s (lower end; squared if an initial velocity is imposed) and
1 - s (upper end), scaled to a maximum of order one: `pinns.factors.envelope`.

The lift carries the values. It is the Boolean sum of the one-dimensional linear
interpolants of the data (transfinite interpolation, Gordon & Hall 1973), built axis
by axis: `L_i = L_{i-1} + P_i (g_i - L_{i-1})`. It meets all conditions if they agree
where faces meet, which is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns.conditions import Condition, Dirichlet, Initial
from pinns.derivatives import partial
from pinns.domain import Box
from pinns.functions import bind_coordinates


# Evaluations of the data in a lift grow as 3^(axes); six axes cost 728.
MAX_LIFTED_AXES = 6


@dataclass(frozen=True)
class HardAxis:
    """What is imposed on one axis of one unknown; None where nothing is."""

    lower: Callable[..., Array] | None = None
    upper: Callable[..., Array] | None = None
    velocity: Callable[..., Array] | None = None
    homogeneous: bool = True


class HardConditions:
    """The hard conditions of a problem: envelope exponents and lifts.

    Args:
        box: the domain.
        conditions: pairs (unknown index, hard Dirichlet or Initial condition).
        unknowns: number of unknowns.

    Raises:
        ValueError: contradictory conditions, or data on too many axes.
    """

    def __init__(
        self, box: Box, conditions: Sequence[tuple[int, Condition]], unknowns: int
    ):
        self.box = box
        self.axes: list[dict[int, HardAxis]] = [{} for _ in range(unknowns)]
        for unknown, condition in conditions:
            self._add(unknown, condition)
        for axes in self.axes:
            self._check(axes)

    def __bool__(self) -> bool:
        return any(self.axes)

    def exponents(self) -> np.ndarray | None:
        """Returns flags (unknowns, d, 3) of the factors s, s, 1-s; None if all zero."""
        if not self:
            return None
        flags = np.zeros((len(self.axes), self.box.dimension, 3))
        for unknown, axes in enumerate(self.axes):
            for axis, hard in axes.items():
                present = (hard.lower, hard.velocity, hard.upper)
                flags[unknown, axis] = [value is not None for value in present]
        return flags

    def lift(self, unknown: int) -> Callable[..., Array] | None:
        """Returns the lift as a function of all coordinates; None if it is zero."""
        axes = self.axes[unknown]
        if all(hard.homogeneous for hard in axes.values()):
            return None
        total: Callable[..., Array] | None = None
        for axis, hard in axes.items():
            total = _extend(total, axis, hard, self.box.intervals[axis])
        return total

    def _add(self, unknown: int, condition: Condition) -> None:
        axes = self.axes[unknown]
        if isinstance(condition, Dirichlet):
            value = bind_coordinates(condition.value, self.box, condition.owner)
            zero = condition.value == 0.0
            for axis, selector in condition.faces(self.box):
                for side in ("lower", "upper") if selector == "ends" else (selector,):
                    self._set(axes, axis, side, value, zero, condition)
        elif isinstance(condition, Initial):
            axis = self.box.axis(condition.axis, owner=condition.owner)
            value = bind_coordinates(condition.value, self.box, condition.owner)
            slot = "lower" if condition.order == 0 else "velocity"
            self._set(axes, axis, slot, value, condition.value == 0.0, condition)

    def _set(self, axes, axis: int, slot: str, value, zero: bool, condition) -> None:
        current = axes.get(axis, HardAxis())
        if getattr(current, slot) is not None:
            place = "velocity" if slot == "velocity" else f"{slot} end"
            raise ValueError(
                f"pinns.Problem: contradictory hard conditions: the {place} of axis "
                f"{self.box.names[axis]!r} is given twice, again by {condition!r}"
            )
        fields = {k: getattr(current, k) for k in ("lower", "upper", "velocity")}
        fields[slot] = value
        axes[axis] = HardAxis(**fields, homogeneous=current.homogeneous and zero)

    def _check(self, axes: dict[int, HardAxis]) -> None:
        for axis, hard in axes.items():
            name = self.box.names[axis]
            if hard.velocity is not None and hard.lower is None:
                raise ValueError(
                    f"pinns.Problem: a hard initial velocity on axis {name!r} needs a "
                    "hard initial value on the same axis, got none"
                )
            if hard.velocity is not None and hard.upper is not None:
                raise ValueError(
                    f"pinns.Problem: contradictory hard conditions: axis {name!r} has "
                    "an initial velocity and a value at its upper end"
                )
        self._check_finite(axes)
        if any(not h.homogeneous for h in axes.values()):
            if len(axes) > MAX_LIFTED_AXES:
                raise ValueError(
                    "pinns.Problem: hard conditions with non-zero values are lifted "
                    f"on at most {MAX_LIFTED_AXES} axes, got {len(axes)}; use soft "
                    "conditions, or subtract a lift from the unknown by hand"
                )
            self._check_edges(axes)

    def _check_finite(self, axes: dict[int, HardAxis]) -> None:
        for axis, hard in axes.items():
            for end, slot in ((0, "lower"), (1, "upper"), (0, "velocity")):
                value = getattr(hard, slot)
                if value is None:
                    continue
                found = np.asarray(value(*self._edge_points({axis: end})))
                if not np.isfinite(found).all():
                    raise ValueError(
                        f"pinns.Problem: hard conditions must be finite; the {slot} "
                        f"value on axis {self.box.names[axis]!r} gave {found}"
                    )

    def _check_edges(self, axes: dict[int, HardAxis]) -> None:
        """Raises if two faces prescribe different values where they meet."""
        sides = [
            (axis, end, getattr(hard, slot), slot)
            for axis, hard in axes.items()
            for end, slot in ((0, "lower"), (1, "upper"))
            if getattr(hard, slot) is not None
        ]
        # Where an initial velocity meets a face, the face must move with it.
        for axis, hard in axes.items():
            for other, end, value, slot in sides:
                if hard.velocity is not None and other != axis:
                    orders = [int(i == axis) for i in range(self.box.dimension)]
                    self._compare(
                        {axis: 0, other: end},
                        (hard.velocity, axis, "velocity"),
                        (partial(value, orders), other, slot),
                    )
        for i, (axis_a, end_a, value_a, slot_a) in enumerate(sides):
            for axis_b, end_b, value_b, slot_b in sides[i + 1 :]:
                if axis_a == axis_b:
                    continue
                self._compare(
                    {axis_a: end_a, axis_b: end_b},
                    (value_a, axis_a, slot_a),
                    (value_b, axis_b, slot_b),
                )

    def _compare(self, ends: dict[int, int], first, second) -> None:
        points = self._edge_points(ends)
        a, b = (np.asarray(function(*points)) for function, _, _ in (first, second))
        gap = np.max(np.abs(a - b))
        if gap > 1e-4 * (1.0 + np.max(np.abs(a))):
            places = [
                f"the {slot} face of {self.box.names[axis]!r}"
                for _, axis, slot in (first, second)
            ]
            raise ValueError(
                f"pinns.Problem: contradictory hard conditions: {places[0]} and "
                f"{places[1]} differ by {gap:.3g} where they meet"
            )

    def _edge_points(self, ends: dict[int, int]) -> list[Array]:
        fractions = np.array([0.0, 0.137, 0.5, 0.811, 1.0])
        columns = []
        for axis, (a, b) in enumerate(self.box.intervals):
            if axis in ends:
                columns.append(np.full(5, (a, b)[ends[axis]]))
            else:
                columns.append(a + (b - a) * np.roll(fractions, axis))
        return [jnp.asarray(c, jnp.float32) for c in columns]


def _extend(previous, axis: int, hard: HardAxis, interval: tuple[float, float]):
    """Returns L + P_axis (g_axis - L), which meets the conditions of `axis` too."""
    a, b = interval

    def defect(value, at):
        def at_end(coordinates):
            pinned = list(coordinates)
            pinned[axis] = jnp.full_like(coordinates[axis], at)
            target = value(*pinned)
            return target if previous is None else target - previous(*pinned)

        return at_end

    def lift(*coordinates):
        x = coordinates[axis]
        s = (x - a) / (b - a)
        total = 0.0 if previous is None else previous(*coordinates)
        both = hard.lower is not None and hard.upper is not None
        if hard.lower is not None:
            shape = 1.0 - s if both else jnp.ones_like(s)
            total = total + shape * defect(hard.lower, a)(coordinates)
        if hard.upper is not None:
            shape = s if both else jnp.ones_like(s)
            total = total + shape * defect(hard.upper, b)(coordinates)
        if hard.velocity is not None:
            pinned = list(coordinates)
            pinned[axis] = jnp.full_like(x, a)
            velocity = hard.velocity(*pinned)
            if previous is not None:
                orders = [int(i == axis) for i in range(len(coordinates))]
                velocity = velocity - partial(previous, orders)(*pinned)
            total = total + (x - a) * velocity
        return total

    return lift
