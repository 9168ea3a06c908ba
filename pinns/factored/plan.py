"""Which inner products the squared norm of a problem's residuals is made of.

`plan` separates every term of a problem on given quadrature points, turns the words
of each family (known functions; one unknown; products of two) into automata, and
lists per pair of families the merged automaton that adds up all terms. Everything
here is symbolic or NumPy and runs once; `pinns.factored.forms` evaluates it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pinns.domain import precision
from pinns.evaluation import along, with_lifts
from pinns.factored.automaton import (
    SparseWord,
    Table,
    Union,
    compile_words,
    pair,
    table,
)
from pinns.factored.separation import (
    Compression,
    Separation,
    separate,
)
from pinns.factored.sums import NotSeparableError
from pinns.problem import Problem
from pinns.program import Program, trace


MEASURES = ("interior", "lower", "upper", "ends")
# Unknowns multiplied in a word, sorted; () for known functions.
Family = tuple[int, ...]
# Per leaf (unknown, derivative order, ends exchanged), and the number of the known
# array that multiplies, 0 for none.
Symbol = tuple[tuple[tuple[int, int, bool], ...], int]


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

    def place(self, array: np.ndarray, axis: int, measure: str) -> np.ndarray:
        """Returns values on the points of a measure as (N,), zero elsewhere."""
        out = np.zeros(self.inner + 2)
        start = {"interior": 0, "upper": self.inner + 1}.get(measure, self.inner)
        count = {"interior": self.counts[axis], "ends": 2}.get(measure, 1)
        out[start : start + count] = array
        return out


@dataclass(frozen=True, eq=False)
class Versions:
    """The factor versions of one family that any level needs.

    keys: per version its leaves (unknown, order, exchanged). multipliers:
    (d, V, N) known arrays; `multiplied[v]` says if version v has any besides ones.
    index: per level, {symbol: version}.
    """

    keys: tuple[tuple[tuple[int, int, bool], ...], ...]
    multipliers: np.ndarray
    multiplied: tuple[bool, ...]
    index: tuple[dict[Symbol, int], ...]


@dataclass(frozen=True, eq=False)
class Form:
    """The inner products of two families: automaton over (version, version, measure).

    left, right: families. table: its symbols index `combos`, the same at every level:
    (measure, left version, right version).
    """

    left: Family
    right: Family
    table: Table
    combos: tuple[tuple[str, int, int], ...]


@dataclass
class Plan:
    """What `plan` returns.

    rows: quadrature rows. versions: by family. forms: for the bilinear form, all
    ordered pairs; quadratic: pairs left <= right with mixed ones doubled. refused:
    numbers of the terms that are not separable, with the reason. families: those of
    every separable term.
    """

    problem: Problem
    rows: Rows
    versions: dict[Family, Versions]
    quadratic: list[Form]
    bilinear: list[Form]
    group_weights: dict[str, float]
    terms: list[int]
    refused: dict[int, str]
    families: dict[int, set[Family]]
    compressions: dict[str, list[Compression]] = field(default_factory=dict)

    @property
    def order(self) -> int:
        """Highest derivative of any factor."""
        orders = [
            order
            for versions in self.versions.values()
            for key in versions.keys
            for _, order, _ in key
        ]
        return max(orders, default=0)


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


@dataclass
class _Instance:
    """One equation of one term: its words by family, over interned arrays."""

    group: str
    share: float
    selectors: tuple[str, ...]
    words: dict[Family, dict[SparseWord, float]]


def plan(
    problem: Problem, rows: Rows, tolerance: float, only: Sequence[int] | None = None
) -> Plan:
    """Returns the plan of all separable terms.

    Args:
        problem: the problem.
        rows: from `quadrature_rows`.
        tolerance: for known functions that are not separable as written.
        only: numbers of the terms to look at; all by default.
    """
    builder = _Builder(problem, rows)
    numbers = range(len(problem.terms)) if only is None else only
    weights: dict[str, float] = {}
    accepted: list[int] = []
    refused: dict[int, str] = {}
    families: dict[int, set[Family]] = {}
    compressions: dict[str, list[Compression]] = {}
    for i in numbers:
        term = problem.terms[i]
        try:
            program, separation = _separated(problem, term, rows, tolerance)
            instances = builder.instances(term, program, separation)
        except NotSeparableError as error:
            refused[i] = str(error)
            continue
        accepted.append(i)
        families[i] = {f for instance in instances for f in instance.words}
        if separation.compressions:
            compressions[term.name] = separation.compressions
        builder.add(instances)
        weights[term.group] = weights.get(term.group, 0.0) + term.weight
    for instance in builder.instance_list:
        instance.share /= weights[instance.group]
    versions = builder.versions()
    return Plan(
        problem=problem,
        rows=rows,
        versions=versions,
        quadratic=builder.forms(versions, list(weights), symmetric=True),
        bilinear=builder.forms(versions, list(weights), symmetric=False),
        group_weights=weights,
        terms=accepted,
        refused=refused,
        families=families,
        compressions=compressions,
    )


def _separated(
    problem: Problem, term, rows: Rows, tolerance: float, owner: str = "pinns.solve"
) -> tuple[Program, Separation]:
    d = problem.box.dimension
    inner = rows.inner
    own = []
    for k, s in enumerate(term.selectors):
        x = rows.coordinates[k]
        part = {"lower": x[inner : inner + 1], "upper": x[inner + 1 :]}.get(s)
        if part is None:
            part = x[inner:] if s == "ends" else x[: rows.counts[k]]
        own.append(part)
    shape = tuple(len(x) for x in own)
    with precision("float64"):
        program = trace(
            with_lifts(problem, term),
            shape,
            "float64",
            [along(n, k, d) for k, n in enumerate(shape)],
        )
        found = separate(program, own, tolerance)
    _check_finite(problem, term, found, own, owner)
    return program, found


def _check_finite(problem: Problem, term, found: Separation, own, owner: str) -> None:
    """Raises ValueError where a known function is not finite, naming term and place."""
    used = {
        (axis, key)
        for equation in found.equations
        for _, muls in equation.words
        for axis, key in muls
    }
    for axis, key in used:
        bad = np.flatnonzero(~np.isfinite(found.arrays[key]))
        if bad.size:
            raise ValueError(
                f"{owner}: a coordinate function (source, coefficient or value) in "
                f"{term.name!r} is not finite at {problem.box.names[axis]} = "
                f"{own[axis][bad[0]]:g}; expected finite values on the whole box"
            )
    for equation in found.equations:
        if not np.isfinite(list(equation.words.values())).all():
            raise ValueError(
                f"{owner}: a constant in {term.name!r} is not finite; expected "
                "finite values"
            )


class _Builder:
    def __init__(self, problem: Problem, rows: Rows):
        self.problem, self.rows = problem, rows
        self.depth = problem.box.dimension
        # Number 0 is the array of ones, which is left out of words.
        self.numbers: dict[bytes, int] = {}
        self.arrays: list[np.ndarray | None] = [None]
        self.instance_list: list[_Instance] = []

    def add(self, instances: list[_Instance]) -> None:
        self.instance_list += instances

    def instances(self, term, program: Program, found: Separation) -> list[_Instance]:
        out = []
        placed: dict[tuple[int, bytes], int] = {}
        for equation in found.equations:
            words: dict[Family, dict[SparseWord, float]] = {}
            for (leaves, muls), coefficient in equation.words.items():
                keys = [program.leaves[i] for i in leaves]
                family = tuple(unknown for unknown, _, _ in keys)
                order = sorted(range(len(keys)), key=lambda i: keys[i])
                keys = [keys[i] for i in order]
                family = tuple(sorted(family))
                numbers = {}
                for axis, key in muls:
                    if (axis, key) not in placed:
                        placed[axis, key] = self._number(
                            found.arrays[key], axis, term.selectors[axis]
                        )
                    numbers[axis] = placed[axis, key]
                word = self._word(term, keys, numbers)
                group = words.setdefault(family, {})
                group[word] = group.get(word, 0.0) + coefficient
            out.append(_Instance(term.group, term.weight, term.selectors, words))
        return out

    def _number(self, array: np.ndarray, axis: int, measure: str) -> int:
        wide = self.rows.place(np.asarray(array, np.float64), axis, measure)
        key = wide.tobytes()
        if key not in self.numbers:
            self.numbers[key] = len(self.arrays)
            self.arrays.append(wide)
        return self.numbers[key]

    def _word(self, term, keys, numbers: dict[int, int]) -> SparseWord:
        word = []
        touched = set(numbers)
        for _, orders, selectors in keys:
            touched.update(k for k, o in enumerate(orders) if o)
            touched.update(
                k
                for k, (a, b) in enumerate(zip(selectors, term.selectors, strict=True))
                if a != b
            )
        for axis in sorted(touched):
            leaves = tuple(
                (
                    unknown,
                    orders[axis],
                    _exchanged(selectors[axis], term.selectors[axis], term.name),
                )
                for unknown, orders, selectors in keys
            )
            word.append((axis, (leaves, numbers.get(axis, 0))))
        return tuple(word)

    def _default(self, family: Family) -> Symbol:
        return tuple((unknown, 0, False) for unknown in family), 0

    def versions(self) -> dict[Family, Versions]:
        """Returns the versions of every family, the same set at all levels."""
        used: dict[Family, list[dict[Symbol, None]]] = {}
        for instance in self.instance_list:
            for family, words in instance.words.items():
                levels = used.setdefault(family, [{} for _ in range(self.depth)])
                named: set[int] = set()
                for word in words:
                    named.update(axis for axis, _ in word)
                    for axis, symbol in word:
                        levels[axis].setdefault(symbol)
        return {
            family: self._versions(levels, self._default(family))
            for family, levels in sorted(used.items())
        }

    def _versions(self, levels: list[dict[Symbol, None]], default: Symbol) -> Versions:
        for level in levels:
            level.setdefault(default)
        counts: dict[tuple, int] = {}
        for level in levels:
            own: dict[tuple, int] = {}
            for leaves, _ in level:
                own[leaves] = own.get(leaves, 0) + 1
            for leaves, count in own.items():
                counts[leaves] = max(counts.get(leaves, 0), count)
        keys = tuple(
            leaves for leaves, count in sorted(counts.items()) for _ in range(count)
        )
        first = {leaves: keys.index(leaves) for leaves in counts}
        multipliers = np.ones((self.depth, len(keys), self.rows.inner + 2))
        multiplied = [False] * len(keys)
        index = []
        for axis, level in enumerate(levels):
            taken: dict[tuple, int] = {}
            own_index = {}
            # Plain symbols first, so that a version is as often as possible plain.
            for leaves, number in sorted(level):
                position = first[leaves] + taken.get(leaves, 0)
                taken[leaves] = taken.get(leaves, 0) + 1
                own_index[leaves, number] = position
                if number:
                    multipliers[axis, position] = self.arrays[number]
                    multiplied[position] = True
            index.append(own_index)
        return Versions(keys, multipliers, tuple(multiplied), tuple(index))

    def forms(
        self,
        versions: dict[Family, Versions],
        groups: Sequence[str],
        *,
        symmetric: bool,
    ) -> list[Form]:
        """Returns one form per pair of families that meet in some equation."""
        automata = [
            {
                family: compile_words(words, [self._default(family)] * self.depth)
                for family, words in instance.words.items()
            }
            for instance in self.instance_list
        ]
        unions: dict[tuple[Family, Family], Union] = {}
        for instance, own in zip(self.instance_list, automata, strict=True):
            for a, b in itertools.product(own, repeat=2):
                if symmetric and a > b:
                    continue
                factor = 2.0 if symmetric and a != b else 1.0
                union = unions.setdefault((a, b), Union(self.depth))
                union.add(
                    pair(own[a], own[b], instance.selectors),
                    groups.index(instance.group),
                    factor * instance.share,
                )
        return [
            _form(a, b, union, versions, len(groups))
            for (a, b), union in sorted(unions.items())
        ]


def _exchanged(selector: str, measure: str, name: str) -> bool:
    if selector == measure:
        return False
    if {selector, measure} == {"lower", "upper"}:
        return True
    raise NotSeparableError(f"{name!r} compares values at {selector} and {measure}")


def _form(left: Family, right: Family, union: Union, versions, groups: int) -> Form:
    merged = table(union.merged(), groups)
    combos: dict[tuple[str, int, int], int] = {}
    symbol = np.zeros_like(merged.symbol)
    for level, symbols in enumerate(merged.symbols):
        a, b = versions[left].index[level], versions[right].index[level]
        own = [
            combos.setdefault((measure, a[s], b[t]), len(combos))
            for s, t, measure in symbols
        ]
        symbol[level] = np.asarray(own, np.int32)[merged.symbol[level]] if own else 0
    return Form(
        left,
        right,
        Table(merged.source, merged.target, symbol, merged.weight, merged.states, []),
        tuple(combos),
    )
