"""Which products the residuals themselves are made of, all terms in one chain.

`pinns.factored.plan` lists inner products of residuals. Here the residuals are kept:
read from the first axis to the last, every term is an automaton whose states carry
columns of partial products, one row per grid point of the axes read so far. `chain`
runs all of them together:

- terms that have read the same axes in the same way share their columns: the residual
  and the faces of axes that are still to come;
- terms whose remaining axes are read in the same way share all that follows: their
  rows are put below each other, as faces that have been met are.

A Poisson problem has two such nodes per axis in any dimension, "no face met" and "face
met". `pinns.factored.orthogonal` evaluates them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pinns.factored.automaton import Edge
from pinns.factored.plan import Family, Instance, Plan, Versions, automata


# (column before, factor version, weight): what is added up to a column.
Terms = tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class Block:
    """The columns of one node, times factors on the points of one measure.

    source: node at the level before. columns: per family the terms of each column.
    """

    source: int
    measure: str
    columns: dict[Family, list[Terms]]


@dataclass(frozen=True)
class Part:
    """Rows of a node: columns of a block in some order, each with a scale."""

    block: int
    columns: dict[Family, tuple[tuple[int, float], ...]]


@dataclass(frozen=True)
class End:
    """A residual at the last axis: the sum of its terms over all families."""

    source: int
    measure: str
    terms: dict[Family, Terms]
    group: int
    share: float


@dataclass(frozen=True)
class Chain:
    """Blocks and nodes after each axis but the last, and the ends there.

    At the start there is one node with one column per family in `families`.
    """

    families: tuple[Family, ...]
    blocks: list[list[Block]]
    nodes: list[list[tuple[Part, ...]]]
    ends: list[End]


@dataclass
class _Walker:
    """One equation of one term on its way: its node and where its states' columns are.

    columns: (column, scale) by (family, state).
    """

    instance: Instance
    selectors: tuple[str, ...]
    group: int
    edges: dict[Family, list[list[Edge]]]
    futures: list[dict[tuple[Family, int], int]]
    node: int = 0
    columns: dict[tuple[Family, int], tuple[int, float]] = field(default_factory=dict)

    def future(self, level: int) -> tuple:
        """Returns all that is still to come after so many axes."""
        own = self.instance
        states = frozenset((f, n) for (f, _), n in self.futures[level].items())
        return self.group, own.share, self.selectors[level:], states


def chain(plan: Plan) -> Chain:
    """Returns the chain of all separable terms of a plan."""
    walkers = _walkers(plan)
    depth = plan.problem.box.dimension
    families = tuple(sorted({f for w in walkers for f in w.edges}))
    blocks: list[list[Block]] = []
    nodes: list[list[tuple[Part, ...]]] = []
    for level in range(depth - 1):
        walkers, own_blocks, own_nodes = _step(plan.versions, walkers, level)
        blocks.append(own_blocks)
        nodes.append(own_nodes)
    ends = [
        End(
            walker.node,
            walker.selectors[-1],
            {
                family: terms
                for family in walker.edges
                for terms in _incoming(
                    plan.versions, walker, family, depth - 1
                ).values()
            },
            walker.group,
            walker.instance.share,
        )
        for walker in walkers
    ]
    return Chain(families, blocks, nodes, ends)


def _walkers(plan: Plan) -> list[_Walker]:
    groups = list(plan.group_weights)
    depth = plan.problem.box.dimension
    numbers: dict[Any, int] = {}
    walkers = []
    for instance, edges in zip(
        plan.instances, automata(plan.problem, plan.instances), strict=True
    ):
        if not edges:
            continue  # an equation 0 = 0
        futures: list[dict] = [{(f, 0): 0 for f in edges}]
        for level in reversed(range(depth)):
            onwards: dict[tuple[Family, int], set] = {}
            for family, levels in edges.items():
                index = plan.versions[family].index[level]
                for e in levels[level]:
                    following = futures[0][family, e.target]
                    step = (index[e.symbol], e.weight, following)
                    onwards.setdefault((family, e.source), set()).add(step)
            names = {s: ("at", level, frozenset(o)) for s, o in onwards.items()}
            futures.insert(
                0,
                {s: numbers.setdefault(n, 1 + len(numbers)) for s, n in names.items()},
            )
        for selectors in instance.selectors:
            group = groups.index(instance.group)
            walker = _Walker(instance, selectors, group, edges, futures)
            walker.columns = {(family, 0): (0, 1.0) for family in edges}
            walkers.append(walker)
    return walkers


def _incoming(
    versions: Mapping[Family, Versions], walker: _Walker, family: Family, level: int
) -> dict[int, Terms]:
    """Returns the terms of every state that is reached at a level."""
    index = versions[family].index[level]
    found: dict[int, dict[tuple[int, int], float]] = {}
    for e in walker.edges[family][level]:
        column, scale = walker.columns[family, e.source]
        own = found.setdefault(e.target, {})
        key = (column, index[e.symbol])
        own[key] = own.get(key, 0.0) + e.weight * scale
    return {
        target: tuple((*key, w) for key, w in sorted(own.items()))
        for target, own in found.items()
    }


def _step(versions: Mapping[Family, Versions], walkers: Sequence[_Walker], level: int):
    """Takes all walkers past one axis; those with the same future become one."""
    numbers: dict[tuple[int, str], int] = {}
    blocks: list[Block] = []
    places: list[dict[tuple[Family, Terms], int]] = []
    taken: list[int] = []
    for walker in walkers:
        key = (walker.node, walker.selectors[level])
        if key not in numbers:
            numbers[key] = len(blocks)
            blocks.append(Block(*key, {}))
            places.append({})
        number = numbers[key]
        taken.append(number)
        columns = {}
        for family in walker.edges:
            for target, terms in _incoming(versions, walker, family, level).items():
                # Columns that differ in a factor are one.
                scale = next((w for _, _, w in terms if w), 1.0)
                plain = tuple((c, v, w / scale) for c, v, w in terms)
                own = blocks[number].columns.setdefault(family, [])
                place = places[number].setdefault((family, plain), len(own))
                if place == len(own):
                    own.append(plain)
                columns[family, target] = (place, scale)
        walker.columns = columns
    classes: dict[tuple, list[int]] = {}
    for i, walker in enumerate(walkers):
        classes.setdefault(walker.future(level + 1), []).append(i)
    nodes: list[tuple[Part, ...]] = []
    whole: dict[int, int] = {}
    kept = []
    for members in classes.values():
        first = walkers[members[0]]
        kept.append(first)
        if len(members) == 1:
            block = taken[members[0]]
            if block not in whole:
                whole[block] = len(nodes)
                nodes.append((_all(block, blocks[block]),))
            first.node = whole[block]
            continue
        parts = [_part(taken[i], walkers[i], level + 1) for i in members]
        names = _names(first, level + 1)
        first.node = len(nodes)
        first.columns = {
            (family, state): (position, 1.0)
            for family, states in names.items()
            for position, state in enumerate(states)
        }
        nodes.append(tuple(parts))
    return kept, blocks, nodes


def _all(number: int, block: Block) -> Part:
    columns = {
        f: tuple((i, 1.0) for i in range(len(c))) for f, c in block.columns.items()
    }
    return Part(number, columns)


def _part(block: int, walker: _Walker, level: int) -> Part:
    """Returns the columns of a walker in the order of their futures."""
    names = _names(walker, level)
    return Part(
        block,
        {f: tuple(walker.columns[f, s] for s in states) for f, states in names.items()},
    )


def _names(walker: _Walker, level: int) -> dict[Family, list[int]]:
    """Returns per family its states in the order of their futures."""
    futures = walker.futures[level]
    return {
        family: sorted(
            (s for f, s in futures if f == family), key=lambda s: futures[family, s]
        )
        for family in sorted(walker.edges)
    }


__all__ = ["Block", "Chain", "End", "Part", "Terms", "chain"]
