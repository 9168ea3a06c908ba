"""Sums of products of one-dimensional functions, and how to split arrays into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


# Word: (leaf numbers in sorted order, ((axis, array key), ...) in axis order).
Word = tuple[tuple[int, ...], tuple[tuple[int, bytes], ...]]


class NotSeparableError(Exception):
    """A term cannot be written as a short sum of products; the message says why."""


@dataclass
class SeparableSum:
    """`{word: coefficient}`; the arrays of the words are in `Separation.arrays`."""

    words: dict[Word, float]

    @property
    def known(self) -> bool:
        return all(not leaves for leaves, _ in self.words)


def added(a: SeparableSum, b: SeparableSum, sign: float) -> SeparableSum:
    """Returns a + sign * b."""
    words = dict(a.words)
    for word, coefficient in b.words.items():
        total = words.get(word, 0.0) + sign * coefficient
        if total == 0.0:
            words.pop(word, None)
        else:
            words[word] = total
    return SeparableSum(words)


def scaled(a: SeparableSum, factor: float) -> SeparableSum:
    """Returns factor * a."""
    return SeparableSum({word: factor * c for word, c in a.words.items()})


def split(array: np.ndarray, tolerance: float) -> list[tuple[np.ndarray, ...]]:
    """Returns vectors per axis whose outer products add up to the array.

    The first axis is split off by a singular value decomposition, its right vectors
    are split in the same way. The error of all cuts together stays below the
    tolerance in the maximum norm, relative to the largest value.
    """
    size = np.abs(array).max(initial=0.0)
    if size == 0.0:
        return []
    return _split_to(array, tolerance * size / max(array.ndim - 1, 1))


def _split_to(array: np.ndarray, allowed: float) -> list[tuple[np.ndarray, ...]]:
    if array.ndim == 1:
        return [(array,)]
    matrix = array.reshape(array.shape[0], -1)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    # The maximum norm of what is cut off is at most the sum of its singular values.
    tail = np.cumsum(s[::-1])[::-1]
    keep = int(np.sum(tail > allowed))
    parts = []
    for k in range(keep):
        weight = np.sqrt(s[k])
        rest = (weight * vt[k]).reshape(array.shape[1:])
        share = allowed / max(weight * np.abs(u[:, k]).max() * keep, 1e-300)
        parts += [(weight * u[:, k], *tail) for tail in _split_to(rest, share)]
    return parts


def outer(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the outer product of vectors."""
    total = vectors[0]
    for vector in vectors[1:]:
        total = total[..., None] * vector
    return total
