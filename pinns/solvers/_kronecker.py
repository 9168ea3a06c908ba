"""Sums of Kronecker products times tensors, without forming a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np


def contract(tensor: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Returns `tensor` with matrix k applied to axis k.

    Args:
        tensor: (r_1, ..., r_d), or with one more axis for a batch.
        matrices: (p_k, r_k) each.

    Returns:
        (p_1, ..., p_d), and the batch.
    """
    d = len(matrices)
    # Each product moves its axis to the end: after all of them the order is the old
    # one, and no product copies its operands.
    for matrix in matrices:
        tensor = np.tensordot(tensor, matrix, axes=(0, 1))
    return np.moveaxis(tensor, 0, -1) if tensor.ndim > d else tensor


@dataclass(frozen=True)
class Rows:
    """The linear map `C -> sum_t c_t * (A_t1 x ... x A_td) C` onto a tensor grid.

    pieces: (c_t, (A_t1, ..., A_td)); c_t a number or an array on the grid. Matrices
    that are one object are applied once where the axes before them agree too.
    """

    shape: tuple[int, ...]
    columns: tuple[int, ...]
    pieces: tuple[tuple[Any, tuple[np.ndarray, ...]], ...]

    def apply(self, core: np.ndarray) -> np.ndarray:
        """Returns values on the grid for (r_1, ..., r_d), or with a batch axis."""
        batch = core.shape[len(self.columns) :]
        total = np.zeros((*self.shape, *batch), core.dtype)
        cache: dict[tuple[int, ...], np.ndarray] = {(): core}
        for coefficient, matrices in self.pieces:
            values = self._swept(cache, matrices)
            if batch:
                values = np.moveaxis(values, 0, -1)
                coefficient = np.asarray(coefficient)[..., None]
            total += coefficient * values
        return total

    def adjoint(self, values: np.ndarray) -> np.ndarray:
        """Returns the transposed map of values on the grid."""
        total = np.zeros(self.columns, values.dtype)
        for coefficient, matrices in self.pieces:
            total += contract(coefficient * values, [m.T for m in matrices])
        return total

    def dense(self) -> np.ndarray:
        """Returns the matrix, rows and columns in C order."""
        total = 0.0
        for coefficient, matrices in self.pieces:
            wide = np.broadcast_to(coefficient, self.shape).reshape(-1, 1)
            total = total + wide * reduce(np.kron, matrices)
        return np.asarray(total)

    def _swept(self, cache: dict, matrices: Sequence[np.ndarray]) -> np.ndarray:
        key: tuple[int, ...] = ()
        for matrix in matrices:
            longer = (*key, id(matrix))
            if longer not in cache:
                cache[longer] = np.tensordot(cache[key], matrix, axes=(0, 1))
            key = longer
        return cache[key]


def scale(array: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Returns an array times the outer product of weights, one (n_k,) per axis."""
    for k, weight in enumerate(weights):
        shape = [1] * array.ndim
        shape[k] = -1
        array = array * weight.reshape(shape)
    return array


def condition_of(matrices: np.ndarray) -> float:
    """Returns the largest condition number of a batch of matrices."""
    values = np.linalg.svd(matrices, compute_uv=False)
    smallest = values[..., -1]
    worst = np.max(values[..., 0] / np.where(smallest > 0.0, smallest, np.nan))
    return float(worst) if np.isfinite(worst) else float("inf")
