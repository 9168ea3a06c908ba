"""Kernels, norms, matrices and index tables of the DCT and DST, in float64.

A transform of one axis is `y = outer * (kernel @ (inner * x))`. The kernel is a bare
cosine or sine table; `inner` and `outer` are the weights that a norm puts on it. They
are constant but for one index (two in type I), which this module calls special.
Angles are reduced by whole turns in integers before the cosine is taken, so that
tables are exact to rounding at any length.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np


Kind = Literal["cos", "sin"]
Norm = Literal["ortho", "backward", "forward"]
TRANSPOSED_TYPE = {1: 1, 2: 3, 3: 2, 4: 4}


@dataclass(frozen=True)
class Spec:
    """Which linear map along an axis: `transposed` flips the whole weighted matrix."""

    kind: Kind
    type: int
    norm: Norm
    transposed: bool = False

    def transpose(self) -> "Spec":
        """Return the adjoint."""
        return replace(self, transposed=not self.transposed)

    @property
    def kernel_type(self) -> int:
        """The type of the bare kernel, whose transpose is again such a kernel."""
        return TRANSPOSED_TYPE[self.type] if self.transposed else self.type


def matrix(spec: Spec, n: int) -> np.ndarray:
    """Return the matrix `(n, n)` of the map, read-only."""
    return _matrix(spec, n)


@lru_cache(maxsize=32)
def _matrix(spec: Spec, n: int) -> np.ndarray:
    inner, outer = weights(spec, n)
    return _frozen(outer[:, None] * kernel(spec.kind, spec.kernel_type, n) * inner)


def kernel(kind: Kind, type: int, n: int) -> np.ndarray:
    """Return the bare table, `cos` or `sin` of `pi * numerator / denominator`."""
    k = np.arange(n, dtype=np.int64)
    if kind == "cos":
        rows, columns, denominator = {
            1: (k, k, n - 1),
            2: (k, 2 * k + 1, 2 * n),
            3: (2 * k + 1, k, 2 * n),
            4: (2 * k + 1, 2 * k + 1, 4 * n),
        }[type]
    else:
        rows, columns, denominator = {
            1: (k + 1, k + 1, n + 1),
            2: (k + 1, 2 * k + 1, 2 * n),
            3: (2 * k + 1, k + 1, 2 * n),
            4: (2 * k + 1, 2 * k + 1, 4 * n),
        }[type]
    angles = phases(np.outer(rows, columns), denominator)
    return angles.real if kind == "cos" else angles.imag


def phases(numerator: np.ndarray, denominator: int) -> np.ndarray:
    """Return `exp(i pi numerator / denominator)` for integers, exact at quarters."""
    turns = numerator % (2 * denominator)
    quarter, rest = np.divmod(2 * turns, denominator)
    angle = np.pi * rest / (2 * denominator)
    return (np.cos(angle) + 1j * np.sin(angle)) * np.array([1, 1j, -1, -1j])[quarter]


def weights(spec: Spec, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `inner` and `outer`, both `(n,)`, of the map (already transposed)."""
    inner, outer = np.ones(n), np.ones(n)
    if spec.type == 1:
        _weigh_type_one(spec, inner, outer)
    elif spec.type == 4:
        outer *= {"ortho": np.sqrt(2 / n), "backward": 2.0, "forward": 1 / n}[spec.norm]
    else:
        side = outer if spec.type == 2 else inner
        special = 0 if spec.kind == "cos" else n - 1
        if spec.norm == "ortho":
            side *= np.sqrt(2 / n)
            side[special] = np.sqrt(1 / n)
        else:
            side *= 2.0
            side[special] = 2.0 if spec.type == 2 else 1.0
            if spec.norm == "forward":
                side /= 2 * n
    return (outer, inner) if spec.transposed else (inner, outer)


def _weigh_type_one(spec: Spec, inner: np.ndarray, outer: np.ndarray) -> None:
    n = len(inner)
    period = 2 * (n - 1) if spec.kind == "cos" else 2 * (n + 1)
    if spec.norm == "ortho":
        outer *= np.sqrt(4 / period)
        if spec.kind == "cos":
            inner[[0, -1]] *= np.sqrt(0.5)
            outer[[0, -1]] *= np.sqrt(0.5)
        return
    inner *= 2.0
    if spec.kind == "cos":
        inner[[0, -1]] = 1.0
    if spec.norm == "forward":
        outer /= period


@lru_cache(maxsize=256)
def interleaved(n: int) -> np.ndarray:
    """Return the order 0, 2, 4, ..., 5, 3, 1 of Makhoul's reduction to a DFT."""
    order = np.concatenate([np.arange(0, n, 2), np.arange(1, n, 2)[::-1]])
    return _frozen(order.astype(np.int32))


@lru_cache(maxsize=256)
def position(n: int) -> np.ndarray:
    """Return where each index stands in `interleaved(n)`."""
    return _frozen(np.argsort(interleaved(n)).astype(np.int32))


def mirrored(n: int) -> np.ndarray:
    """Return `-k` modulo `n`, where the DFT holds the conjugate."""
    return (-np.arange(n, dtype=np.int32)) % n


def folded(index: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where a half spectrum holds `index`, and whether it does so directly.

    A DFT of real data is kept for the frequencies to `n // 2`; the others are the
    conjugates of those at `n - index`.
    """
    direct = index <= n // 2
    return np.where(direct, index, n - index).astype(np.int32), direct


def signs(n: int) -> np.ndarray:
    """Return 1, -1, 1, ..."""
    return 1.0 - 2.0 * (np.arange(n) % 2)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
