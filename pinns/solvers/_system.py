"""A linear problem in fixed bases: the equations of its coefficient tensor.

`C = U + (N_1 x ... x N_d) W`: conditions whose coefficients do not vary along their
face are met exactly by the lift U, and W is free. What is left is the residual on the
Gauss points, tested per axis (`tests`), for as many equations as W has entries; or, for
least squares, on all points, with the conditions that could not be eliminated.

Test functions: those of W itself (Galerkin), except on an axis with conditions at one
end only, such as time, where they are all functions but the last ones (Lanczos' tau
method, which for polynomials is collocation at Gauss points).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pinns.problem import Problem
from pinns.solvers._axes import Axis, Constraint, eliminate
from pinns.solvers._diagonal import Diagonalization, Pencil
from pinns.solvers._kronecker import Rows, contract
from pinns.solvers._tables import Table


# Two values of a coefficient count as equal up to this, relative to the largest.
EQUAL = 1e-12


@dataclass(frozen=True)
class _Condition:
    """One row on one axis: (r,) functional, its magnitude, ends, data on the rest."""

    row: np.ndarray
    size: float
    ends: frozenset[str]
    data: np.ndarray


@dataclass(frozen=True)
class KroneckerSum:
    """The part of an operator that is a sum of one-dimensional ones.

    pencils: per axis. shift: multiple of the identity. exact: nothing is left out.
    """

    pencils: list[Pencil]
    shift: float
    exact: bool


class System:
    """The discrete problem.

    Args:
        owner: named in errors.
        problem: the problem.
        axes: one per axis.
        found: one `Table` per term on the nodes of the axes.
        start: an axis, and the value and derivatives at its lower end instead of the
            problem's conditions there, as coefficients on the other axes.
    """

    def __init__(
        self,
        owner: str,
        problem: Problem,
        axes: Sequence[Axis],
        found: Sequence[Table],
        start: tuple[int, Sequence[np.ndarray]] | None = None,
    ):
        self.owner, self.problem, self.axes = owner, problem, list(axes)
        self.correction = False
        self.interior = found[0]
        self.dimension = len(self.axes)
        self.nodes = [axis.nodes for axis in self.axes]
        self._analysis = [axis.analysis() for axis in self.axes]
        self.extra: list[Table] = []
        conditions: list[list[_Condition]] = [[] for _ in self.axes]
        for table in found[1:]:
            if start is not None and _face_axis(table) == start[0]:
                continue
            rows = self._conditions(table)
            if rows is None:
                self.extra.append(table)
            else:
                conditions[_face_axis(table)] += rows
        if start is not None:
            conditions[start[0]] = self._started(*start)
        self.constraints = [
            self._constraint(k, own) for k, own in enumerate(conditions)
        ]
        ends = [self._ends(k, own) for k, own in enumerate(conditions)]
        self.one_sided = [len(e) == 1 for e in ends]
        self.starts = [e == {"lower"} for e in ends]
        self.self_adjoint = [
            self._separated(k, own) for k, own in enumerate(conditions)
        ]
        self.tests = [self._tests(k) for k in range(self.dimension)]
        self.lift = self._lift(conditions)
        self.null = [c.null for c in self.constraints]

    def corrected(self, interior: Table, core: np.ndarray) -> System:
        """Returns the equations of the correction to a core, for another residual.

        Its lift is that core: it meets the conditions, and W is what is added to it.

        Args:
            interior: the residual's linear part, on the same nodes.
            core: coefficients that meet the conditions.
        """
        other = copy.copy(self)
        for name in ("operator", "full", "sum", "inverse", "_known"):
            other.__dict__.pop(name, None)
        other.interior, other.lift = interior, core
        other.correction = True
        return other

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of W."""
        return tuple(n.shape[1] for n in self.null)

    @cached_property
    def operator(self) -> Rows:
        """The residual's linear part on the nodes, as a map of W."""
        return self.rows(self.interior, self.nodes, self.null)

    @cached_property
    def full(self) -> Rows:
        """The same as a map of C."""
        return self.rows(self.interior, self.nodes)

    def core(self, w: np.ndarray) -> np.ndarray:
        """Returns C."""
        return self.lift + contract(w, self.null)

    def tested(self, values: np.ndarray) -> np.ndarray:
        """Returns the test functions applied to values on the nodes."""
        return contract(values, self.tests)

    def residual(self, core: np.ndarray) -> np.ndarray:
        """Returns the residual of C on the nodes."""
        return self.full.apply(core) + self.interior.known[0]

    def magnitude(self, right: np.ndarray) -> float:
        """Returns the size that residuals are measured by: of all that is known.

        The lift may solve the equation already; `right` then is rounding noise. Of a
        correction, `right` is the residual that it is to take away.
        """
        if self.correction:
            return float(np.linalg.norm(right))
        return float(np.linalg.norm(right) + np.linalg.norm(self._known))

    @cached_property
    def _known(self) -> np.ndarray:
        return self.tested(self.interior.known[0])

    def rows(
        self,
        table: Table,
        points: Sequence[np.ndarray],
        right: Sequence[np.ndarray] | None = None,
        equation: int = 0,
    ) -> Rows:
        """Returns the linear part of a term as a map of coefficient tensors.

        Args:
            table: the term on these points.
            points: per axis. right: per axis a matrix the functions are combined by.
            equation: number of the equation.
        """
        cache: dict[tuple[int, str, int], np.ndarray] = {}

        def matrix(k: int, selector: str, order: int) -> np.ndarray:
            if (k, selector, order) not in cache:
                a, b = self.axes[k].interval
                ends = {"lower": [a], "upper": [b], "ends": [a, b]}.get(selector)
                x = np.asarray(points[k] if ends is None else ends, np.float64)
                values = self.axes[k].jets(x, order)[order]
                values = values if right is None else values @ right[k]
                cache[k, selector, order] = np.ascontiguousarray(values)
            return cache[k, selector, order]

        pieces = []
        for (_, orders, selectors), own in zip(
            table.leaves, table.coefficients, strict=True
        ):
            matrices = tuple(
                matrix(k, s, o)
                for k, (s, o) in enumerate(zip(selectors, orders, strict=True))
            )
            values = own[equation]
            if not values.any():
                continue
            constant = not _varying(values)
            pieces.append((values.flat[0] if constant else values, matrices))
        columns = [axis.rank for axis in self.axes]
        if right is not None:
            columns = [m.shape[1] for m in right]
        return Rows(table.known.shape[1:], tuple(columns), tuple(pieces))

    @cached_property
    def sum(self) -> KroneckerSum:
        """The operator as a sum of one-dimensional ones, or the nearest to it."""
        return self._kronecker_sum()

    @cached_property
    def inverse(self) -> Diagonalization:
        """The inverse of that sum."""
        return Diagonalization(self.sum.pencils, self.sum.shift)

    def _kronecker_sum(self) -> KroneckerSum:
        """Returns the sum of 1-D operators, averaged where there is none."""
        d = self.dimension
        mass = [
            t @ axis.jets(axis.nodes, 0)[0] @ n
            for t, axis, n in zip(self.tests, self.axes, self.null, strict=True)
        ]
        parts = [np.zeros((n.shape[1],) * 2) for n in self.null]
        symmetric = [
            own and not axis.stretch[1]  # its quadrature is not exact
            for own, axis in zip(self.self_adjoint, self.axes, strict=True)
        ]
        shift, exact = 0.0, True
        for (_, orders, _), own in zip(
            self.interior.leaves, self.interior.coefficients, strict=True
        ):
            values = own[0]
            touched = [k for k in range(d) if orders[k]]
            if len(touched) > 1:
                exact = exact and not values.any()
                continue
            if touched:
                (k,) = touched
                effects = {k: _mean(values, {k})}
                if orders[k] != 2 or np.ptp(effects[k]) > EQUAL * np.abs(values).max():
                    symmetric[k] = False
            else:
                middle = float(_mean(values, set()))
                shift += middle
                varying = [k for k in range(d) if values.shape[k] > 1]
                effects = {k: _mean(values, {k}) - middle for k in varying}
            model = np.asarray(0.0 if touched else middle)
            for k, effect in effects.items():
                model = model + _placed(effect, k, d)
            gap = np.abs(values - model).max()
            exact = exact and gap <= EQUAL * np.abs(values).max(initial=0.0)
            for k, effect in effects.items():
                if not effect.any():
                    continue
                jets = self.axes[k].jets(self.nodes[k], orders[k])[orders[k]]
                parts[k] += self.tests[k] @ (effect[:, None] * jets) @ self.null[k]
        pencils = [
            Pencil(a, b, s) for a, b, s in zip(parts, mass, symmetric, strict=True)
        ]
        return KroneckerSum(pencils, shift, exact)

    def least_squares(self) -> list[tuple[Rows, np.ndarray, list[np.ndarray]]]:
        """Returns maps of W with known values and root weights per axis.

        Residual first, then the conditions that were not eliminated, then data.
        """
        out = []
        for table in [self.interior, *self.extra]:
            root = np.sqrt(table.term.weight)
            weights = [
                np.sqrt(axis.weights)
                if s == "interior"
                else np.full(n, 1.0 / np.sqrt(n))
                for axis, s, n in zip(
                    self.axes, table.term.selectors, table.known.shape[1:], strict=True
                )
            ]
            weights[0] = weights[0] * root
            for e in range(table.known.shape[0]):
                linear = self.rows(table, self.nodes, self.null, e)
                plain = self.rows(table, self.nodes, None, e)
                out.append((linear, table.known[e] + plain.apply(self.lift), weights))
        return out

    def data_rows(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Returns functions at the data's points per axis, (N, r_k), and values.

        Both are scaled by the root of weight / N; the last axis carries it.
        """
        points = [c.points for _, c in self.problem.data]
        values = [c.values for _, c in self.problem.data]
        root = [
            np.full(len(c.values), np.sqrt(c.weight / len(c.values)))
            for _, c in self.problem.data
        ]
        where, scaling = np.concatenate(points), np.concatenate(root)
        lifts = self._lift_at(where)
        jets = [axis.jets(where[:, k], 0)[0] for k, axis in enumerate(self.axes)]
        plain = scattered(self.lift, jets) + lifts - np.concatenate(values)
        factors = [j @ n for j, n in zip(jets, self.null, strict=True)]
        factors[-1] = factors[-1] * scaling[:, None]
        return factors, plain * scaling

    def _lift_at(self, points: np.ndarray) -> np.ndarray:
        orders = (0,) * self.dimension
        found = self.problem.lift_values(0, orders, list(points.T))
        return np.zeros(len(points)) if found is None else np.asarray(found)

    def _conditions(self, table: Table) -> list[_Condition] | None:
        """Returns the rows of a face term; None if they are not one-dimensional."""
        k = _face_axis(table)
        for _, orders, selectors in table.leaves:
            elsewhere = [j for j in range(self.dimension) if j != k]
            if any(orders[j] or selectors[j] != "interior" for j in elsewhere):
                return None
        held = {"lower": ["lower"], "upper": ["upper"]}.get(
            table.term.selectors[k], ["lower", "upper"]
        )
        a, b = self.axes[k].interval
        highest = max(orders[k] for _, orders, _ in table.leaves)
        jets = self.axes[k].jets(np.array([a, b]), highest)
        out = []
        for e, (i, end) in itertools.product(
            range(table.known.shape[0]), enumerate(held)
        ):
            row, size = np.zeros(self.axes[k].rank), 0.0
            ends = set()
            for (_, orders, selectors), own in zip(
                table.leaves, table.coefficients, strict=True
            ):
                values = np.take(own[e], i, axis=k)
                if _varying(values):
                    return None
                own_end = end if selectors[k] == "ends" else selectors[k]
                part = jets[orders[k], int(own_end == "upper")] * values.flat[0]
                if values.flat[0]:
                    ends.add(own_end)
                row, size = row + part, size + float(np.linalg.norm(part))
            data = -np.take(table.known[e], i, axis=k)
            others = [m for j, m in enumerate(self._analysis) if j != k]
            if size == 0.0:
                continue
            data = contract(data, others) if others else data
            out.append(_Condition(row, size, frozenset(ends), np.asarray(data)))
        return out

    def _constraint(self, k: int, own: list[_Condition]) -> Constraint:
        rank = self.axes[k].rank
        rows = np.stack([c.row for c in own]) if own else np.zeros((0, rank))
        found = eliminate(rows, np.array([c.size for c in own]))
        if found.null.shape[1] < 1:
            name = self.problem.box.names[k]
            raise ValueError(
                f"{self.owner}: `size` must be larger than the number of conditions "
                f"on axis {name!r} ({len(own)}), got {self.axes[k].count} functions, "
                f"{rank} of them independent"
            )
        return found

    def _started(self, k: int, start: Sequence[np.ndarray]) -> list[_Condition]:
        axis = self.axes[k]
        jets = axis.jets(np.array([axis.interval[0]]), len(start) - 1)[:, 0]
        return [
            _Condition(row, float(np.linalg.norm(row)), frozenset({"lower"}), data)
            for row, data in zip(jets, start, strict=True)
        ]

    def _ends(self, k: int, own: list[_Condition]) -> set[str]:
        """Returns the ends of an axis that conditions are about."""
        lower, velocity, upper = self.axes[k].flags
        ends = {e for c in own for e in c.ends}
        ends |= {"lower"} if lower or velocity else set()
        ends |= {"upper"} if upper else set()
        return ends

    def _separated(self, k: int, own: list[_Condition]) -> bool:
        """Is a second derivative symmetric: one condition per end, or periodic."""
        lower, velocity, upper = self.axes[k].flags
        ends = [sorted(c.ends) for c in own]
        ends += [["lower"]] * int(lower + velocity) + [["upper"]] * int(upper)
        if sorted(ends) == [["lower", "upper"]] * 2:
            return True
        return sorted(ends) == [["lower"], ["upper"]]

    def _tests(self, k: int) -> np.ndarray:
        null = self.constraints[k].null
        if self.one_sided[k]:
            return self.axes[k].tests[: null.shape[1]]
        return null.T @ self._analysis[k]

    def _lift(self, conditions: list[list[_Condition]]) -> np.ndarray:
        """Returns U: the conditions of one axis after the other, corrected."""
        total = np.zeros(tuple(axis.rank for axis in self.axes))
        for k, (own, constraint) in enumerate(
            zip(conditions, self.constraints, strict=True)
        ):
            if not len(constraint.rows):
                continue
            data = np.stack([c.data for c in own])
            wanted = np.tensordot(constraint.mix, data, axes=(1, 0))
            have = np.tensordot(constraint.rows, total, axes=(1, k))
            step = np.tensordot(constraint.lift, wanted - have, axes=(1, 0))
            total = total + np.moveaxis(step, 0, k)
        return total


def scattered(core: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the core contracted with factors (N, r_k) of N points."""
    state = np.tensordot(factors[0], core, axes=(1, 0))
    for factor in factors[1:]:
        state = np.einsum("nr...,nr->n...", state, factor)
    return state


def _face_axis(table: Table) -> int:
    return next(k for k, s in enumerate(table.term.selectors) if s != "interior")


def _varying(values: np.ndarray) -> bool:
    largest = np.abs(values).max(initial=0.0)
    return bool(np.ptp(values) > EQUAL * largest) if values.size else False


def _mean(values: np.ndarray, keep: set[int]) -> np.ndarray:
    """Returns the average over all axes but those kept."""
    return values.mean(axis=tuple(k for k in range(values.ndim) if k not in keep))


def _placed(array: np.ndarray, axis: int, dimension: int) -> np.ndarray:
    shape = [1] * dimension
    shape[axis] = -1
    return np.asarray(array).reshape(shape)
