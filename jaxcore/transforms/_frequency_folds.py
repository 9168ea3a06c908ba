"""Extremes of maps times DCT basis images: directly, axis by axis, and folded."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


# Frequencies live on a grid of this size (Qin et al., FcaNet, ICCV 2021).
BASE = 7
Pairs = tuple[tuple[int, int], ...]
Maps = Float[Array, "b h w c"]
Cells = Float[Array, "b 7 7 c"]
PerChannel = Float[Array, "b c"]
Over = Literal["max", "min", "sum"]
REDUCTIONS: dict[Over, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "max": (jnp.max, jnp.maximum),
    "min": (jnp.min, jnp.minimum),
    "sum": (jnp.sum, jnp.add),
}


@lru_cache(maxsize=64)
def basis(size: int) -> np.ndarray:
    """Return the orthonormal DCT-II bases of frequencies 0, m, ..., 6 m, `(7, P)`."""
    index = np.outer(np.arange(BASE) * (size // BASE), 2 * np.arange(size) + 1)
    bases = np.sqrt(2 / size) * np.cos(np.pi * (index % (4 * size)) / (2 * size))
    bases[0] = np.sqrt(1 / size)
    bases.flags.writeable = False
    return bases


def direct(
    maps: Maps, pairs: Pairs, size: int
) -> tuple[PerChannel, PerChannel, PerChannel]:
    """Return average, maximum and minimum by one pass over the maps per frequency.

    Every product is computed again in the backward pass, so that no more than one is
    held at a time.
    """
    bases = basis(size)
    rows = jnp.asarray(bases[[u for u, _ in pairs]], maps.dtype)
    columns = jnp.asarray(bases[[v for _, v in pairs]], maps.dtype)

    @jax.checkpoint
    def add(total: Array, one: tuple[Array, Array]) -> tuple[Array, None]:
        product = maps * one[0][None, :, None, None] * one[1][None, None, :, None]
        found = jnp.stack(
            [f(product, axis=(1, 2)) for f in (jnp.mean, jnp.max, jnp.min)]
        )
        return total + found, None

    start = jnp.zeros((3, maps.shape[0], maps.shape[3]), maps.dtype)
    total, _ = lax.scan(add, start, (rows, columns))
    average, maximum, minimum = total / len(pairs)
    return average, maximum, minimum


def fold(maps: Maps) -> tuple[Cells, Cells]:
    """Return maxima and minima over the mirrored copies of each cell.

    `cos(pi u m (p + 1/2) / (7 m))` is even about the borders of blocks of 7: along an
    axis every second block is reversed.
    """
    return _extreme(maps, "max"), _extreme(maps, "min")


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _extreme(maps: Maps, over: Over) -> Cells:
    return _fold_axes(maps, over)


@_extreme.defjvp
def _extreme_jvp(
    over: Over, primals: tuple[Maps], tangents: tuple[Maps]
) -> tuple[Cells, Cells]:
    """Share the derivative among the copies that attain the extreme.

    One comparison with the map, where differentiating the reductions would take one
    per axis and parity.
    """
    (maps,), (change,) = primals, tangents
    cells = _extreme(maps, over)
    rows, columns = (_cell(size) for size in maps.shape[1:3])
    attained = (maps == cells[:, rows][:, :, columns]).astype(maps.dtype)
    return cells, _fold_axes(attained * change, "sum") / _fold_axes(attained, "sum")


def _cell(size: int) -> np.ndarray:
    """Return the cell of each position of an axis."""
    place = np.arange(size) % (2 * BASE)
    return np.where(place < BASE, place, 2 * BASE - 1 - place)


def _fold_axes(maps: Maps, over: Over) -> Cells:
    return _fold_axis(_fold_axis(maps, 1, over), 2, over)


def _fold_axis(
    maps: Float[Array, "b _ _ c"], axis: int, over: Over
) -> Float[Array, "b _ _ c"]:
    before, after = maps.shape[:axis], maps.shape[axis + 1 :]
    blocks = maps.reshape(*before, maps.shape[axis] // BASE, BASE, *after)
    reduce, join = REDUCTIONS[over]
    straight = reduce(lax.slice_in_dim(blocks, 0, None, 2, axis), axis=axis)
    if blocks.shape[axis] == 1:
        return straight
    mirrored = reduce(lax.slice_in_dim(blocks, 1, None, 2, axis), axis=axis)
    return join(straight, jnp.flip(mirrored, axis))


def extremes(
    high: Maps, low: Maps, pairs: Pairs, bases: np.ndarray
) -> tuple[PerChannel, PerChannel]:
    """Return the means over frequencies of maximum and minimum of map times basis.

    The map is anything between `low` and `high`, which are the same array where it is
    known exactly. Multiplied by a number, its extremes are among those of the two.
    """
    table = jnp.asarray(bases, high.dtype)
    rows = sorted({u for u, _ in pairs})
    maximum = minimum = jnp.zeros((high.shape[0], high.shape[3]), high.dtype)
    tops, bottoms = _along_height(high, low, table[np.array(rows)])
    for u, top, bottom in zip(rows, tops, bottoms, strict=True):
        columns = table[np.array([v for row, v in pairs if row == u])]
        weights = columns[:, None, :, None]
        upper, lower = top[None] * weights, bottom[None] * weights
        maximum += jnp.sum(jnp.max(jnp.maximum(upper, lower), axis=2), axis=0)
        minimum += jnp.sum(jnp.min(jnp.minimum(upper, lower), axis=2), axis=0)
    return maximum / len(pairs), minimum / len(pairs)


def _along_height(
    high: Maps, low: Maps, rows: Float[Array, "u h"]
) -> tuple[Sequence[Float[Array, "b w c"]], Sequence[Float[Array, "b w c"]]]:
    """Return maximum and minimum along the height of the map times each basis."""
    if low is high:
        # Maps of full size: one product at a time, forward and backward.
        @jax.checkpoint
        def one(row: Array) -> tuple[Array, Array]:
            product = high * row[None, :, None, None]
            return jnp.max(product, axis=1), jnp.min(product, axis=1)

        tops, bottoms = lax.map(one, rows)
        return list(tops), list(bottoms)
    found = []
    for row in rows:
        weights = row[None, :, None, None]
        upper, lower = high * weights, low * weights
        top = jnp.max(jnp.maximum(upper, lower), axis=1)
        bottom = jnp.min(jnp.minimum(upper, lower), axis=1)
        found.append((top, bottom))
    return [top for top, _ in found], [bottom for _, bottom in found]
