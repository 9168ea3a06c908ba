"""Between CP, tensor train and Tucker: what becomes of the factors and of the core.

A conversion is told the factor shapes and the cores and returns the new rank, one map
per unknown and axis that acts on the columns of the factors (on the matrix of a
network's last layer as well as on values), and the new cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pinns._sweeps import tt_axis_cuts, tucker_cores


# Conversions multiply ranks; results beyond these sizes are refused.
MAX_CORE = 10**7
MAX_CP_RANK = 1024

# Acts on an array (h, *shape) and returns one (h, *new shape).
Map = Callable[[np.ndarray], np.ndarray]
Found = tuple[int | tuple[int, ...], list[list[Map]], list[np.ndarray] | None]


class TooLargeError(Exception):
    """The result would be too large; the message says what."""


class Held(NamedTuple):
    """What is converted: trailing factor shapes per axis, unknowns, Tucker cores.

    factors: returns the factor values `[unknown][axis]` (n, *shape), square roots of
    the quadrature weights multiplied in.
    """

    shapes: tuple[tuple[int, ...], ...]
    unknowns: int
    cores: list[np.ndarray]
    factors: Callable[[], list[list[np.ndarray]]]

    @property
    def dimension(self) -> int:
        return len(self.shapes)


def columns(matrix: np.ndarray) -> Map:
    """Returns the map to linear combinations of columns."""
    return lambda out: out @ matrix


def both_sides(left: np.ndarray, right: np.ndarray) -> Map:
    """Returns the map `A -> left A right` of tensor-train factors."""
    return lambda out: np.einsum("ca,hab,bd->hcd", left, out, right, optimize=True)


def padded(matrix: np.ndarray, width: int) -> np.ndarray:
    """Returns the matrix with zero columns up to a width."""
    return np.pad(matrix, ((0, 0), (0, width - matrix.shape[1])))


def common_rank(ranks: Sequence[int] | np.ndarray) -> int | tuple[int, ...]:
    """Returns one integer where all ranks are equal (or there is none)."""
    found = tuple(int(r) for r in ranks)
    return found if len(set(found)) > 1 else next(iter(found), 1)


def tt_layout(factors: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns tensor-train factors (n, r, s) as cores (r, n, s)."""
    return [f.swapaxes(0, 1) for f in factors]


def cp_to_tt(held: Held) -> Found:
    """Diagonal factors; all bonds have the CP rank."""
    d = held.dimension
    maps: list[Map] = [_diagonal] * d
    if d == 1:
        maps = [lambda out: out.sum(axis=1)[:, None, None]]
    else:
        maps[0] = lambda out: out[:, None, :]
        maps[-1] = lambda out: out[:, :, None]
    return held.shapes[0][0], [maps] * held.unknowns, None


def cp_to_tucker(held: Held) -> Found:
    """The same factors and a superdiagonal core."""
    d, rank = held.dimension, held.shapes[0][0]
    _check_size("a Tucker core", float(rank) ** d, MAX_CORE)
    core = np.zeros((rank,) * d)
    core[(np.arange(rank),) * d] = 1.0
    return rank, [[_same] * d] * held.unknowns, [core] * held.unknowns


def tucker_to_tt(held: Held) -> Found:
    """The core as a tensor train, multiplied into the factors."""
    maps: list[list[Map]] = []
    bonds = [1]
    for core in held.cores:
        cores = tucker_cores(core)
        maps.append([_through(c) for c in cores])
        bonds = [c.shape[2] for c in cores[:-1]]
    return common_rank(bonds), maps, None


def tucker_to_cp(held: Held) -> Found:
    """One term per entry of the core, the widest axis left out."""
    shape = tuple(width for (width,) in held.shapes)
    widest = int(np.argmax(shape))
    _check_size("a CP rank", math.prod(map(float, shape)) / shape[widest], MAX_CP_RANK)
    index = list(np.ndindex(*(1 if k == widest else n for k, n in enumerate(shape))))
    maps = []
    for core in held.cores:
        rows = np.moveaxis(core, widest, 0).reshape(shape[widest], -1)
        own: list[Map] = [
            _picked(np.asarray(picks)) for picks in zip(*index, strict=True)
        ]
        own[widest] = columns(rows)
        maps.append(own)
    return len(index), maps, None


def tt_to_cp(held: Held) -> Found:
    """One term per choice of an index at every bond."""
    bonds = [shape[1] for shape in held.shapes[:-1]]
    _check_size("a CP rank", float(math.prod(bonds)), MAX_CP_RANK)
    count = math.prod(bonds)
    index = np.unravel_index(np.arange(count), bonds) if bonds else ()
    zero = np.zeros(count, int)
    maps = [_entries(a, b) for a, b in pairwise([zero, *index, zero])]
    return count, [maps] * held.unknowns, None


def tt_to_tucker(held: Held) -> Found:
    """An orthonormal basis of the functions of every axis, and the rest as core."""
    all_cuts = [tt_axis_cuts(tt_layout(own)) for own in held.factors()]
    wanted = np.max([[c.rank(0.0) for c in cuts] for cuts in all_cuts], axis=0)
    _check_size("a Tucker core", float(math.prod(wanted.tolist())), MAX_CORE)
    maps, cores = [], []
    for cuts in all_cuts:
        own, core = [], np.ones((1, 1))
        for cut, rank, shape in zip(cuts, wanted, held.shapes, strict=True):
            m, n = cut.maps(int(rank))
            own.append(_flattened(m))
            link = n.reshape(-1, *shape)
            core = np.einsum("qa,jab->qjb", core, link).reshape(-1, shape[1])
        maps.append(own)
        cores.append(core.reshape([int(r) for r in wanted]))
    return common_rank(wanted), maps, cores


CONVERSIONS: dict[tuple[str, str], Callable[[Held], Found]] = {
    ("cp", "tt"): cp_to_tt,
    ("cp", "tucker"): cp_to_tucker,
    ("tt", "cp"): tt_to_cp,
    ("tt", "tucker"): tt_to_tucker,
    ("tucker", "tt"): tucker_to_tt,
    ("tucker", "cp"): tucker_to_cp,
}


def _same(out: np.ndarray) -> np.ndarray:
    return out


def _diagonal(out: np.ndarray) -> np.ndarray:
    return out[:, :, None] * np.eye(out.shape[1])[None]


def _through(core: np.ndarray) -> Map:
    return lambda out: np.einsum("hr,arb->hab", out, core)


def _picked(index: np.ndarray) -> Map:
    return lambda out: out[:, index]


def _entries(a: np.ndarray, b: np.ndarray) -> Map:
    return lambda out: out[:, a, b]


def _flattened(matrix: np.ndarray) -> Map:
    return lambda out: out.reshape(out.shape[0], -1) @ matrix


def _check_size(what: str, size: float, largest: int) -> None:
    if size > largest:
        raise TooLargeError(f"{what} of {size:.3g} is more than {largest:.3g}")
