"""One level of a wavelet transform along one axis, as two filters.

The lifting steps of a scheme are multiplied out once, in float64, to the taps of the
filters that they amount to. Compilers fuse a filter into one loop over memory, while
every lifting step waits for the one before it.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


Number = int | float | Array | np.ndarray
Steps = tuple[tuple[Number, Number], ...]
# Taps of a filter: offset of the sample, and its factor.
Taps = tuple[tuple[int, float], ...]


class Extension(NamedTuple):
    """Where the samples beyond the ends come from.

    Attributes:
      length: of the signal.
      periodic: the signal repeats; otherwise it is mirrored at its end samples.
      symmetric: at an odd length, the sample that the last pair lacks is the mirrored
        one; otherwise it repeats its partner.
    """

    length: int
    periodic: bool
    symmetric: bool

    def source(self, position: int) -> int:
        """Return the position inside of the signal that has the value at `position`."""
        n = self.length
        if self.periodic:
            return position % n
        if not self.symmetric and position == n and n % 2:
            return n - 1
        position %= 2 * (n - 1)
        return min(position, 2 * (n - 1) - position)


def analyze(
    x: Array, axis: int, taps: tuple[Taps, Taps], extension: Extension
) -> tuple[Array, Array]:
    """Return the low and the high band."""
    n = x.shape[axis]
    counts = (n + 1) // 2, n // 2
    offsets = [[offset for offset, _ in band] for band in taps]
    first = min(0, *offsets[0], *offsets[1])
    last = max(
        2 * (count - 1) + max(band) for count, band in zip(counts, offsets, strict=True)
    )
    outside = [*range(first, 0)], [*range(n, last + 1)]
    ends = [[_sample(x, axis, extension.source(p)) for p in side] for side in outside]
    wide = jnp.concatenate([*ends[0], x, *ends[1]], axis=axis)

    def band(taps: Taps, count: int) -> Array:
        parts = [
            factor * _every_other(wide, axis, offset - first, count)
            for offset, factor in taps
        ]
        return sum(parts[1:], parts[0])

    return band(taps[0], counts[0]), band(taps[1], counts[1])


def _sample(x: Array, axis: int, at: int) -> Array:
    return jax.lax.slice_in_dim(x, at, at + 1, axis=axis)


def _every_other(x: Array, axis: int, start: int, count: int) -> Array:
    return jax.lax.slice_in_dim(x, start, start + 2 * count - 1, 2, axis=axis)


def taps_of(steps: Steps, low: Number, high: Number) -> tuple[Taps, Taps]:
    """Return the taps of the low and of the high band around sample `2 n`."""
    plain = tuple((float(a), float(b)) for a, b in steps)
    return _taps(plain, float(low), float(high))


@lru_cache(maxsize=64)
def _taps(
    steps: tuple[tuple[float, float], ...], low: float, high: float
) -> tuple[Taps, Taps]:
    # Responses to unit impulses on a periodic signal longer than any support.
    pairs = 2 * len(steps) + 8
    middle = pairs // 2
    rows: tuple[dict[int, float], dict[int, float]] = ({}, {})
    for at in range(2 * pairs):
        even, odd = np.zeros(pairs), np.zeros(pairs)
        (odd if at % 2 else even)[at // 2] = 1.0
        for k, (left, right) in enumerate(steps):
            if k % 2 == 0:
                odd = odd + left * even + right * np.roll(even, -1)
            else:
                even = even + left * np.roll(odd, 1) + right * odd
        for row, band in zip(rows, (low * even, high * odd), strict=True):
            if band[middle] != 0:
                row[at - 2 * middle] = float(band[middle])
    return tuple(rows[0].items()), tuple(rows[1].items())
