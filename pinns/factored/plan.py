"""Which inner products the squared norm of a problem's residuals is made of.

`plan` separates every term of a problem on given quadrature points, turns the words
of each family (known functions; one unknown; products of two) into automata, and
lists per pair of families the merged automaton that adds up all terms. Everything
here is symbolic or NumPy and runs once; `pinns.factored.forms` evaluates it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pinns.conditions import Term
from pinns.factored.automaton import (
    Edge,
    SparseWord,
    Table,
    Union,
    compile_words,
    pair,
    pair_once,
    square,
    table,
)
from pinns.factored.rows import (
    ALL,
    Rows,
    Shared,
    separated,
    shared_terms,
)
from pinns.factored.separation import Compression, Separation
from pinns.factored.sums import NotSeparableError
from pinns.problem import Problem
from pinns.program import Program


# Unknowns multiplied in a word, sorted; () for known functions. Unknown numbers are
# among them and scale the inner products of the family; they have no factors.
Family = tuple[int, ...]
# Per leaf (unknown, derivative order, ends exchanged), and the number of the known
# array that multiplies, 0 for none.
Symbol = tuple[tuple[tuple[int, int, bool], ...], int]


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


@dataclass(frozen=True, eq=False)
class AxisOperator:
    """A part `multiplier(x_k) d^order u / dx_k^order` of a residual, along one axis.

    Coefficients that vary along other axes stand with their mean. multiplier: (N,).
    """

    unknown: int
    axis: int
    order: int
    multiplier: np.ndarray


@dataclass
class Instance:
    """One equation of one term: its words by family, over interned arrays.

    selectors: those of the term; or of several terms with these words, one face each.
    """

    group: str
    share: float
    selectors: tuple[tuple[str, ...], ...]
    words: dict[Family, dict[SparseWord, float]]


@dataclass
class Plan:
    """What `plan` returns.

    rows: quadrature rows. versions: by family. forms: for the bilinear form, all
    ordered pairs; quadratic: pairs left <= right with mixed ones doubled. refused:
    numbers of the terms that are not separable, with the reason. families: those of
    every separable term. operators: the derivatives in the residual, by axis.
    instances: the equations of these terms.
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
    operators: list[AxisOperator] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)

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

    def known_norms(self) -> np.ndarray:
        """Returns the squared norm of the known parts (sources, values) per group."""
        total = np.zeros(len(self.group_weights))
        for form in self.quadratic:
            if form.left or form.right:
                continue
            arrays, t = self.versions[()].multipliers, form.table
            values = np.stack(
                [
                    np.sum(self.rows.weights[m] * arrays[:, v] * arrays[:, w], axis=1)
                    for m, v, w in form.combos
                ],
                axis=1,
            )
            state = np.eye(t.states)[0]
            for level, own in enumerate(values):
                following = np.zeros(t.states)
                products = state[t.source[level]] * own[t.symbol[level]]
                np.add.at(following, t.target[level], products * t.weight[level])
                state = following
            total += state[: total.size]
        return total


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
    together: dict[int, set[Family]] = {}
    for shared in shared_terms(problem, numbers, rows, tolerance):
        together.update(dict.fromkeys(shared.numbers, builder.add_shared(shared)))
    for i in numbers:
        term = problem.terms[i]
        found = together.get(i)
        if found is None:
            try:
                program, separation = separated(problem, term, rows, tolerance)
                instances = builder.instances(term, program, separation)
            except NotSeparableError as error:
                refused[i] = str(error)
                continue
            found = {f for instance in instances for f in instance.words}
            if separation.compressions:
                compressions[term.name] = separation.compressions
            builder.add(instances)
        accepted.append(i)
        families[i] = found
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
        operators=builder.operators(),
        instances=builder.instance_list,
    )


def numbers_only(problem: Problem) -> frozenset[int]:
    """Returns the unknowns that are numbers: they have no factors."""
    return frozenset(u for u, axes in problem.parameters.axes.items() if not axes)


def default(family: Family, without: Collection[int] = ()) -> Symbol:
    """Returns the symbol of an axis that a word does not name.

    Members of a family that are `without` factors do not appear in it.
    """
    return tuple((unknown, 0, False) for unknown in family if unknown not in without), 0


def automata(
    problem: Problem, instances: Sequence[Instance]
) -> list[dict[Family, list[list[Edge]]]]:
    """Returns the edges of every equation by family, over symbols."""
    depth, without = problem.box.dimension, numbers_only(problem)
    return [
        {
            family: compile_words(words, [default(family, without)] * depth)
            for family, words in instance.words.items()
        }
        for instance in instances
    ]


class _Builder:
    def __init__(self, problem: Problem, rows: Rows):
        self.problem, self.rows = problem, rows
        self.depth = problem.box.dimension
        self.numbers_only = numbers_only(problem)
        # Number 0 is the array of ones, which is left out of words.
        self.numbers: dict[bytes, int] = {}
        self.inside: dict[bytes, int] = {}
        self.arrays: list[np.ndarray | None] = [None]
        self.instance_list: list[Instance] = []

    def add(self, instances: list[Instance]) -> None:
        self.instance_list += instances

    def add_shared(self, shared: Shared) -> set[Family]:
        """Adds terms that share their words; returns the families of these."""
        terms = [self.problem.terms[i] for i in shared.numbers]
        together: dict[tuple[str, float], list] = {}
        for term in terms:
            together.setdefault((term.group, term.weight), []).append(term)
        everywhere = (ALL,) * self.depth
        for (group, weight), own in together.items():
            term = replace(own[0], group=group, weight=weight, selectors=everywhere)
            instances = self.instances(
                term, shared.program, shared.separation, shared.used
            )
            for instance in instances:
                instance.selectors = tuple(one.selectors for one in own)
            self.add(instances)
        return {f for instance in instances for f in instance.words}

    def instances(
        self, term: Term, program: Program, found: Separation, used=None
    ) -> list[Instance]:
        out = []
        placed: dict[tuple[int, bytes], int] = {}
        for equation in found.equations:
            words: dict[Family, dict[SparseWord, float]] = {}
            for (leaves, muls), coefficient in equation.words.items():
                keys = [program.leaves[i] for i in leaves]
                family = tuple(sorted(unknown for unknown, _, _ in keys))
                keys = sorted(k for k in keys if k[0] not in self.numbers_only)
                numbers = {}
                for axis, key in muls:
                    if (axis, key) not in placed:
                        array = np.asarray(found.arrays[key], np.float64)
                        if used is not None:
                            array = np.where(used[axis], array, 0.0)
                        placed[axis, key] = self._number(
                            array, axis, term.selectors[axis]
                        )
                    numbers[axis] = placed[axis, key]
                word = self._word(term, keys, numbers)
                group = words.setdefault(family, {})
                group[word] = group.get(word, 0.0) + coefficient
            out.append(Instance(term.group, term.weight, (term.selectors,), words))
        return out

    def _number(self, array: np.ndarray, axis: int, measure: str) -> int:
        """Returns the number of an array, of one that is equal where it matters."""
        wide = self.rows.place(array, axis, measure)
        key = wide.tobytes()
        inside = wide[: self.rows.inner].tobytes()
        if measure == "interior" and inside in self.inside:
            return self.inside[inside]
        if key not in self.numbers:
            self.numbers[key] = len(self.arrays)
            self.inside.setdefault(inside, len(self.arrays))
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

    def operators(self) -> list[AxisOperator]:
        """Returns the derivatives of single unknowns along single axes."""
        weights = self.rows.weights["interior"]
        out = []
        for instance in self.instance_list:
            if set(instance.selectors[0]) != {"interior"}:
                continue
            for family, words in instance.words.items():
                alone = len(family) == 1 and family[0] not in self.problem.parameters
                for word, coefficient in words.items() if alone else ():
                    factors = {
                        axis: self.arrays[number] if number else None
                        for axis, (_, number) in word
                    }
                    moved = [a for a, (leaves, _) in word if leaves[0][1]]
                    if len(moved) != 1:
                        continue
                    total = np.full(self.rows.inner + 2, coefficient)
                    for axis, array in factors.items():
                        if array is not None:
                            own = axis == moved[0]
                            total = total * (array if own else weights[axis] @ array)
                    order = dict(word)[moved[0]][0][0][1]
                    out.append(AxisOperator(family[0], moved[0], order, total))
        return out

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
            family: self._versions(levels, default(family, self.numbers_only))
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
        edges = automata(self.problem, self.instance_list)
        unions: dict[tuple[Family, Family], Union] = {}
        for instance, own in zip(self.instance_list, edges, strict=True):
            for a, b in itertools.product(own, repeat=2):
                if symmetric and a > b:
                    continue
                factor = 2.0 if symmetric and a != b else 1.0
                union = unions.setdefault((a, b), Union(self.depth))
                union.add(
                    _paired(own[a], own[b], instance.selectors, symmetric and a == b),
                    groups.index(instance.group),
                    factor * instance.share,
                )
        return [
            _form(a, b, union, versions, len(groups))
            for (a, b), union in sorted(unions.items())
        ]


def _paired(
    left, right, selectors: Sequence[tuple[str, ...]], same: bool
) -> list[list[Edge]]:
    """Returns the product of two automata, summed over the faces of the terms.

    Of an automaton with itself (`same`), half of it, which is enough.
    """
    if len(selectors) == 1:
        return square(left, selectors[0]) if same else pair(left, right, selectors[0])
    marks = {
        axis: s for own in selectors for axis, s in enumerate(own) if s != "interior"
    }
    return pair_once(left, right, "interior", marks, same=same)


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
