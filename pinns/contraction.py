"""Sums of separable terms on a tensor grid, contracted once.

A linear combination of derivatives of one separable function,

    sum_k c_k D^{a_k} u = sum_k c_k contract(F_1[a_k1], ..., F_d[a_kd]),

has terms that differ only in which *version* of each axis' factor they use (a
derivative order, perhaps times a function of that coordinate). `contract` never
forms them one by one:

1. terms that differ on a single axis are merged by adding their factors there;
2. the axes are cut in two; terms with equal right parts share it, their left parts
   are summed (recursively, so every partial product is formed once), and groups with
   equal left sums are merged again;
3. one matrix product with the groups stacked along the rank gives the grid.

For a Laplacian in any dimension this leaves two groups, so the grid costs one
product of rank 2R instead of d products of rank R.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping

import jax.numpy as jnp
from jaxtyping import Array

from pinns.separable import Separable


# A version of one axis' factor: ((base, coefficient), ...), a linear combination.
Version = tuple[tuple[Hashable, float], ...]
Terms = Mapping[tuple[Version, ...], float]


def contract(
    model: Separable,
    core: Array | None,
    terms: Mapping[tuple[Hashable, ...], float],
    factor: Callable[[int, Hashable], Array],
    counts: tuple[int, ...],
    memo: dict[Hashable, Array] | None = None,
) -> Array:
    """Returns the sum of separable terms on the tensor grid of shape `counts`.

    Args:
        model: the separable format.
        core: its core, or None.
        terms: `{(version on axis 1, ..., version on axis d): coefficient}`.
        factor: returns the factor array (n_i, *shape_i) of `(axis, version)`.
        counts: points per axis.
        memo: partial products of earlier calls with the same model, core and meaning
            of the versions; they are used again and added to.
    """
    d = len(counts)
    merged = _merge_single_axis(terms, d)
    split = best_split(model, counts)
    groups = _group(merged, split)
    dtype = factor(0, next(iter(terms))[0]).dtype
    sweep = _Sweep(model, core, factor, d, dtype, {} if memo is None else memo)
    left = jnp.concatenate([sweep.left(dict(sums)) for sums, _ in groups], axis=1)
    right = jnp.concatenate([sweep.right(dict(rights)) for _, rights in groups], axis=1)
    return (left @ right.T).reshape(counts)


def _merge_single_axis(terms: Mapping[tuple, float], d: int) -> dict:
    """Adds up terms that agree on all axes but one; versions become combinations."""
    current: dict[tuple[Version, ...], float] = {}
    for versions, coefficient in terms.items():
        key = tuple(((version, 1.0),) for version in versions)
        current[key] = current.get(key, 0.0) + coefficient
    for axis in range(d):
        families: dict[tuple, list] = {}
        for versions, coefficient in current.items():
            others = versions[:axis] + versions[axis + 1 :]
            families.setdefault(others, []).append((versions[axis], coefficient))
        current = {}
        for others, members in families.items():
            if len(members) == 1:
                version, coefficient = members[0]
            else:
                version, coefficient = _combine(members), 1.0
            current[(*others[:axis], version, *others[axis:])] = coefficient
    return current


def _combine(members: list[tuple[Version, float]]) -> Version:
    total: dict[Hashable, float] = {}
    for version, coefficient in members:
        for base, scale in version:
            total[base] = total.get(base, 0.0) + coefficient * scale
    return tuple(total.items())


def _group(terms: Terms, split: int) -> list[tuple[tuple, tuple]]:
    """Writes the terms as sum_g left_g x right_g with few groups.

    Returns pairs of (left sum, right sum); a sum is a tuple of (versions, scale).
    """
    by_right: dict[tuple, dict[tuple, float]] = {}
    for versions, coefficient in terms.items():
        lefts = by_right.setdefault(versions[split:], {})
        lefts[versions[:split]] = lefts.get(versions[:split], 0.0) + coefficient
    by_left: dict[frozenset, dict[tuple, float]] = {}
    for right, lefts in by_right.items():
        by_left.setdefault(frozenset(lefts.items()), {})[right] = 1.0
    order = {versions: i for i, versions in enumerate(terms)}
    rank = {versions[:split]: i for versions, i in reversed(order.items())}
    return [
        (tuple(sorted(lefts, key=lambda item: rank[item[0]])), tuple(rights.items()))
        for lefts, rights in by_left.items()
    ]


def best_split(model: Separable, counts: tuple[int, ...]) -> int:
    """Returns the cut with the least arithmetic: both sweeps and the grid product."""
    d = len(counts)

    def cost(split: int) -> int:
        left = sum(
            math.prod(counts[: k + 1]) * model.absorb_cost(k, d) for k in range(split)
        )
        right = sum(
            math.prod(counts[k:]) * model.absorb_cost(k, d) for k in range(split, d)
        )
        return left + right + math.prod(counts) * model.bond(split, d)

    # On a tie the later cut wins: few columns on the right, many rows to slab.
    return min(range(1, max(d, 2)), key=lambda split: (cost(split), -split))


class _Sweep:
    """Left and right partial contractions, each distinct one formed once."""

    def __init__(self, model, core, factor, dimension, dtype, known):
        self.model, self.core, self.factor = model, core, factor
        self.dimension = dimension
        self.dtype = dtype
        self.known: dict[Hashable, Array] = known

    def version(self, axis: int, version: Version) -> Array:
        key = ("factor", axis, version)
        if key not in self.known:
            parts = [_scaled(self.factor(axis, b), c) for b, c in version]
            self.known[key] = sum(parts[1:], start=parts[0])
        return self.known[key]

    def left(self, sums: dict[tuple, float]) -> Array:
        """Returns sum_k c_k (left part of versions_k), shape (points, bond)."""
        if () in sums:
            start = self.model.prefix(self.core, self.dtype)
            return _scaled(start, sums[()])
        key = ("left", frozenset(sums.items()))
        if key not in self.known:
            axis = len(next(iter(sums))) - 1
            by_last: dict[Version, dict[tuple, float]] = {}
            for versions, coefficient in sums.items():
                by_last.setdefault(versions[-1], {})[versions[:-1]] = coefficient
            parts = [
                self.model.absorb(self.left(rest), self.version(axis, last))
                for last, rest in by_last.items()
            ]
            self.known[key] = sum(parts[1:], start=parts[0])
        return self.known[key]

    def right(self, sums: dict[tuple, float]) -> Array:
        """Returns sum_k c_k (right part of versions_k), shape (points, bond)."""
        if () in sums:
            return _scaled(self.model.suffix(self.dtype), sums[()])
        key = ("right", frozenset(sums.items()))
        if key not in self.known:
            axis = self.dimension - len(next(iter(sums)))
            by_first: dict[Version, dict[tuple, float]] = {}
            for versions, coefficient in sums.items():
                by_first.setdefault(versions[0], {})[versions[1:]] = coefficient
            parts = [
                self.model.absorb_right(self.version(axis, first), self.right(rest))
                for first, rest in by_first.items()
            ]
            self.known[key] = sum(parts[1:], start=parts[0])
        return self.known[key]


def _scaled(array: Array, coefficient: float) -> Array:
    return array if coefficient == 1.0 else coefficient * array
