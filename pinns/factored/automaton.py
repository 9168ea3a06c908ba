"""Sums of products as weighted automata: long operators in few states.

A separable sum over d axes is a set of words, one symbol per axis. The Laplacian in
100 dimensions has 100 words of length 100, yet reading them from left to right needs
two states: "no second derivative met so far" and "met". `compile_words` finds such a
deterministic automaton by giving equal futures one state. `pair` multiplies two of
them, and `Union` adds up many (residual, faces) and merges states with equal pasts or
equal futures, so that an inner product of two sums costs a sweep over the axes with a
handful of partial products instead of one product per pair of words.

This is the algebra behind "products of 2x2 Gram blocks" for sums of one-dimensional
operators: two states for each of the two sides of the inner product make 2x2 blocks.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


# A word's symbols that differ from the default, by level: ((level, symbol), ...).
SparseWord = tuple[tuple[int, Any], ...]


@dataclass(frozen=True)
class Edge:
    """One transition: from state, to state, symbol, weight."""

    source: Any
    target: Any
    symbol: Any
    weight: float


def compile_words(
    words: Mapping[SparseWord, float], defaults: Sequence[Hashable]
) -> list[list[Edge]]:
    """Returns the edges of every level of an automaton for `sum_w c_w w`.

    Args:
        words: coefficient by sparse word, levels ascending; symbols can be ordered.
        defaults: the symbol of each level where a word names none.

    The start state is 0 at level 0, the final one 0 at the last level. States at a
    level stand for different futures, up to a factor that is moved to the front.
    """
    levels: list[list[Edge]] = []
    current: dict[frozenset, int] = {frozenset(words.items()): 0}
    last = len(defaults) - 1
    for level, default in enumerate(defaults):
        edges: list[Edge] = []
        following: dict[frozenset, int] = {}
        for future, state in current.items():
            branches: dict[Hashable, dict[SparseWord, float]] = {}
            for word, coefficient in future:
                named = bool(word) and word[0][0] == level
                symbol = word[0][1] if named else default
                rest = word[1:] if named else word
                branch = branches.setdefault(symbol, {})
                branch[rest] = branch.get(rest, 0.0) + coefficient
            for symbol, branch in branches.items():
                # A canonical factor: the coefficient of the smallest word.
                scale = branch[min(branch)] or 1.0
                scaled = frozenset((w, c / scale) for w, c in branch.items())
                target = following.setdefault(scaled, len(following))
                edges.append(Edge(state, 0 if level == last else target, symbol, scale))
        levels.append(edges)
        current = following
    return levels


def pair(
    left: list[list[Edge]], right: list[list[Edge]], marks: Sequence[Hashable]
) -> list[list[Edge]]:
    """Returns the product automaton; symbols become (left, right, mark of level)."""
    return [
        [
            Edge(
                (a.source, b.source),
                (a.target, b.target),
                (a.symbol, b.symbol, mark),
                a.weight * b.weight,
            )
            for a in own
            for b in other
        ]
        for own, other, mark in zip(left, right, marks, strict=True)
    ]


def pair_once(
    left: list[list[Edge]],
    right: list[list[Edge]],
    common: Hashable,
    marks: Mapping[int, Hashable],
    *,
    same: bool = False,
) -> list[list[Edge]]:
    """Returns the sum of product automata with one marked level each.

    Summed over the levels of `marks`: that level has its mark, the others `common`.
    One more bit of state, whether the marked level has come, does for all of them.
    With `same`, half of the product of an automaton with itself (see `square`).

    Example:
        >>> one = compile_words({(): 1.0}, ["id"] * 3)
        >>> levels = pair_once(one, one, "inside", {0: "end", 2: "end"})
        >>> [[edge.symbol[2] for edge in level] for level in levels]
        [['inside', 'end'], ['inside', 'inside'], ['inside', 'end']]
    """
    first, last = min(marks), max(marks)
    everywhere = [common] * len(left)
    plain = square(left, everywhere) if same else pair(left, right, everywhere)
    out: list[list[Edge]] = []
    for level, edges in enumerate(plain):
        own = []
        for e in edges:
            if level < last:
                own.append(Edge((*e.source, 0), (*e.target, 0), e.symbol, e.weight))
            if level > first:
                own.append(Edge((*e.source, 1), (*e.target, 1), e.symbol, e.weight))
            if level in marks:
                symbol = (*e.symbol[:2], marks[level])
                own.append(Edge((*e.source, 0), (*e.target, 1), symbol, e.weight))
        out.append(own)
    return out


def square(levels: list[list[Edge]], marks: Sequence[Hashable]) -> list[list[Edge]]:
    """Returns half of the product of an automaton with itself, for symmetric products.

    Pairs of words are kept in one order, and count twice from where they part: enough
    for inner products of a function with itself. States say whether a pair has parted.
    """
    out = []
    for level, (edges, mark) in enumerate(zip(levels, marks, strict=True)):
        own = []
        for (i, a), (j, b) in itertools.product(enumerate(edges), repeat=2):
            symbol, weight = (a.symbol, b.symbol, mark), a.weight * b.weight
            if a.source == b.source and i <= j:
                parts = i < j
                own.append(
                    Edge(
                        (a.source, b.source, False),
                        (a.target, b.target, parts),
                        symbol,
                        2.0 * weight if parts else weight,
                    )
                )
            if level:
                source, target = (
                    (*pair_of, True)
                    for pair_of in ((a.source, b.source), (a.target, b.target))
                )
                own.append(Edge(source, target, symbol, weight))
        out.append(own)
    return out


class Union:
    """A sum of automata with merged states, one final state per group.

    Example:
        >>> words = {((i, "d2"),): 1.0 for i in range(5)}
        >>> union = Union(5)
        >>> union.add(compile_words(words, ["id"] * 5), group=0, weight=1.0)
        >>> [len({e.source for e in level}) for level in union.merged()]
        [1, 2, 2, 2, 2]
    """

    def __init__(self, depth: int):
        self.depth = depth
        self.count = 0
        self.levels: list[list[Edge]] = [[] for _ in range(depth)]

    def add(self, levels: list[list[Edge]], group: int, weight: float) -> None:
        """Adds `weight` times an automaton, reported under `group`."""
        own = self.count
        self.count += 1
        for k, edges in enumerate(levels):
            for e in edges:
                first, last = k == 0, k == self.depth - 1
                self.levels[k].append(
                    Edge(
                        "start" if first else (own, e.source),
                        ("group", group) if last else (own, e.target),
                        e.symbol,
                        e.weight * (weight if last else 1.0),
                    )
                )

    def merged(self) -> list[list[Edge]]:
        """Returns the edges per level with states numbered from 0.

        Final states keep their group numbers.
        """
        levels = [_summed(edges) for edges in self.levels]
        size = -1
        while size != (size := sum(map(len, levels))):
            levels = _merge_futures(_merge_pasts(levels))
        return self._numbered(levels)

    def _numbered(self, levels: list[list[Edge]]) -> list[list[Edge]]:
        out = []
        names: dict[Any, int] = {"start": 0}
        for k, edges in enumerate(levels):
            if k == self.depth - 1:
                following = {e.target: e.target[1] for e in edges}
            else:
                targets = dict.fromkeys(e.target for e in edges)
                following = {t: i for i, t in enumerate(targets)}
            out.append(
                [
                    Edge(names[e.source], following[e.target], e.symbol, e.weight)
                    for e in edges
                ]
            )
            names = following
        return out


def _summed(edges: Sequence[Edge]) -> list[Edge]:
    total: dict[tuple[Any, Any, Any], float] = {}
    for e in edges:
        key = (e.source, e.target, e.symbol)
        total[key] = total.get(key, 0.0) + e.weight
    return [Edge(a, b, c, weight) for (a, b, c), weight in total.items() if weight]


def _merge_pasts(levels: list[list[Edge]]) -> list[list[Edge]]:
    """States reached by equal transitions become one; their futures add up."""
    levels = [list(edges) for edges in levels]
    for k in range(len(levels) - 1):
        incoming: dict[Any, list] = {}
        for e in levels[k]:
            incoming.setdefault(e.target, []).append((e.source, e.symbol, e.weight))
        leader: dict[frozenset, Any] = {}
        rename = {
            state: leader.setdefault(frozenset(found), state)
            for state, found in incoming.items()
        }
        levels[k] = [e for e in levels[k] if rename[e.target] == e.target]
        levels[k + 1] = _summed(
            [
                Edge(rename[e.source], e.target, e.symbol, e.weight)
                for e in levels[k + 1]
                if e.source in rename
            ]
        )
    return levels


def _merge_futures(levels: list[list[Edge]]) -> list[list[Edge]]:
    """States with equal transitions onwards become one; their pasts add up."""
    levels = [list(edges) for edges in levels]
    for k in range(len(levels) - 1, 0, -1):
        outgoing: dict[Any, list] = {}
        for e in levels[k]:
            outgoing.setdefault(e.source, []).append((e.target, e.symbol, e.weight))
        leader: dict[frozenset, Any] = {}
        rename = {
            state: leader.setdefault(frozenset(found), state)
            for state, found in outgoing.items()
        }
        levels[k] = [e for e in levels[k] if rename[e.source] == e.source]
        levels[k - 1] = _summed(
            [
                Edge(e.source, rename[e.target], e.symbol, e.weight)
                for e in levels[k - 1]
                if e.target in rename
            ]
        )
    return levels


@dataclass(frozen=True, eq=False)
class Table:
    """Edges of all levels as equally long arrays, padded with weight 0.

    source, target: (levels, edges) state numbers. symbol: (levels, edges) indices
    into each level's symbols. weight: (levels, edges). states: largest number of
    states at any level. symbols: per level, what the indices stand for.
    """

    source: np.ndarray
    target: np.ndarray
    symbol: np.ndarray
    weight: np.ndarray
    states: int
    symbols: list[list[Any]]


def table(levels: list[list[Edge]], groups: int) -> Table:
    """Returns numbered edges as arrays."""
    width = max(1, max((len(edges) for edges in levels), default=1))
    shape = (len(levels), width)
    source, target, symbol = (np.zeros(shape, np.int32) for _ in range(3))
    weight = np.zeros(shape)
    symbols: list[list[Any]] = []
    states = groups
    for k, edges in enumerate(levels):
        index: dict[Hashable, int] = {}
        for i, e in enumerate(edges):
            source[k, i], target[k, i] = e.source, e.target
            symbol[k, i] = index.setdefault(e.symbol, len(index))
            weight[k, i] = e.weight
            states = max(states, e.source + 1, e.target + 1)
        symbols.append(list(index))
    return Table(source, target, symbol, weight, states, symbols)
