"""Quadrature rows of all axes, and terms as sums of products on them.

A row is a point of one axis; every axis has its points and both ends. A term lives on
the rows of one measure per axis: the points inside, an end, or both. What is known in
the terms on the faces of one condition (boundary values, say) is the same function of
the coordinates: `Shared` separates it once, on all rows of all axes, where taking every
face by itself would repeat it as often as there are axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pinns.conditions import Term
from pinns.domain import precision
from pinns.evaluation import along, with_lifts
from pinns.factored.separation import Separation, separate
from pinns.factored.sums import NotSeparableError
from pinns.problem import Problem
from pinns.program import Program, trace


MEASURES = ("interior", "lower", "upper", "ends")
# Not a measure: all rows of an axis.
ALL = "all"


@dataclass(frozen=True)
class Rows:
    """Quadrature rows of all axes, padded to one length, with both ends appended.

    coordinates: (d, N), N = largest number of points + 2; the last two rows are the
    ends. weights: {measure: (d, N)}, zero where a measure has no rows.
    """

    coordinates: np.ndarray
    weights: dict[str, np.ndarray]
    counts: tuple[int, ...]

    @property
    def inner(self) -> int:
        """Number of rows before the two ends."""
        return self.coordinates.shape[1] - 2

    def of(self, axis: int, measure: str) -> slice:
        """Returns which rows of an axis a measure is made of."""
        if measure == ALL:
            return slice(0, self.inner + 2)
        start = {"interior": 0, "upper": self.inner + 1}.get(measure, self.inner)
        count = {"interior": self.counts[axis], "ends": 2}.get(measure, 1)
        return slice(start, start + count)

    def place(self, array: np.ndarray, axis: int, measure: str) -> np.ndarray:
        """Returns values on the points of a measure as (N,), zero elsewhere."""
        out = np.zeros(self.inner + 2)
        out[self.of(axis, measure)] = array
        return out


def quadrature_rows(
    problem: Problem,
    coordinates: Sequence[np.ndarray],
    weights: Sequence[np.ndarray | None],
) -> Rows:
    """Returns the rows for given points and weights (None: equal ones) per axis."""
    counts = tuple(len(x) for x in coordinates)
    inner, d = max(counts), len(counts)
    padded = np.zeros((d, inner + 2))
    measures = {m: np.zeros((d, inner + 2)) for m in MEASURES}
    measures["lower"][:, inner] = 1.0
    measures["upper"][:, inner + 1] = 1.0
    measures["ends"][:, inner:] = 0.5
    for k, (x, w) in enumerate(zip(coordinates, weights, strict=True)):
        n = counts[k]
        padded[k, :inner] = np.concatenate([x, np.full(inner - n, x[-1])])
        padded[k, inner:] = problem.box.intervals[k]
        measures["interior"][k, :n] = 1.0 / n if w is None else w
    return Rows(padded, measures, counts)


@dataclass(frozen=True, eq=False)
class Shared:
    """Terms that differ only in the face they live on, separated together.

    used: (d, N), the rows that any of them uses.
    """

    numbers: tuple[int, ...]
    program: Program
    separation: Separation
    used: np.ndarray


def shared_terms(
    problem: Problem, numbers: Sequence[int], rows: Rows, tolerance: float
) -> list[Shared]:
    """Returns what can be separated once for several terms.

    Left out, to be separated one by one, are terms that are alone, and those whose
    known functions are not separable as written (they are split on the points of
    their own face) or not finite (which is reported by face).
    """
    members: dict[object, list[int]] = {}
    for i in numbers:
        term = problem.terms[i]
        one_face = sum(s != "interior" for s in term.selectors) == 1
        if term.anywhere is not None and one_face:
            members.setdefault(term.anywhere, []).append(i)
    found = [
        _shared(problem, tuple(own), rows, tolerance)
        for own in members.values()
        if len(own) > 1
    ]
    return [one for one in found if one is not None]


def _shared(
    problem: Problem, numbers: tuple[int, ...], rows: Rows, tolerance: float
) -> Shared | None:
    first = problem.terms[numbers[0]]
    selectors = (ALL,) * problem.box.dimension
    anywhere = first.anywhere
    term = dataclasses.replace(
        first,
        selectors=selectors,
        function=lambda source, x: anywhere(source, x, selectors),
    )
    try:
        program, found = separated(problem, term, rows, tolerance, finite=False)
    except NotSeparableError:
        return None
    used = np.zeros(rows.coordinates.shape, bool)
    for i in numbers:
        for k, selector in enumerate(problem.terms[i].selectors):
            used[k, rows.of(k, selector)] = True
    infinite = any(
        not np.isfinite(found.arrays[key][used[axis]]).all()
        for axis, key in _used_arrays(found)
    )
    if found.compressions or infinite or not _finite_constants(found):
        return None
    return Shared(numbers, program, found, used)


def separated(
    problem: Problem,
    term: Term,
    rows: Rows,
    tolerance: float,
    owner: str = "pinns.solve",
    *,
    finite: bool = True,
) -> tuple[Program, Separation]:
    """Returns the program of a term, and its equations as sums of products.

    Raises:
        NotSeparableError: it is none.
        ValueError: `finite`, and a known function is not.
    """
    d = problem.box.dimension
    own = [
        rows.coordinates[k][rows.of(k, selector)]
        for k, selector in enumerate(term.selectors)
    ]
    shape = tuple(len(x) for x in own)
    with precision("float64"):
        program = trace(
            with_lifts(problem, term),
            shape,
            "float64",
            [along(n, k, d) for k, n in enumerate(shape)],
            problem.parameters.axes,
        )
        found = separate(program, own, tolerance)
    if finite:
        _check_finite(problem, term, found, own, owner)
    return program, found


def _check_finite(problem: Problem, term, found: Separation, own, owner: str) -> None:
    """Raises ValueError where a known function is not finite, naming term and place."""
    for axis, key in _used_arrays(found):
        bad = np.flatnonzero(~np.isfinite(found.arrays[key]))
        if bad.size:
            raise ValueError(
                f"{owner}: a coordinate function (source, coefficient or value) in "
                f"{term.name!r} is not finite at {problem.box.names[axis]} = "
                f"{own[axis][bad[0]]:g}; expected finite values on the whole box"
            )
    if not _finite_constants(found):
        raise ValueError(
            f"{owner}: a constant in {term.name!r} is not finite; expected "
            "finite values"
        )


def _used_arrays(found: Separation) -> set[tuple[int, bytes]]:
    return {
        (axis, key)
        for equation in found.equations
        for _, muls in equation.words
        for axis, key in muls
    }


def _finite_constants(found: Separation) -> bool:
    return all(
        np.isfinite(list(equation.words.values())).all() for equation in found.equations
    )
