"""Factored tensors seen from every cut: triangular factors, singular values, maps.

A tensor that is held in CP, tensor-train or Tucker form on quadrature points (the
square roots of the weights multiplied in, so that norms are those of functions) is,
at every cut of its axes in two, a product `L R` of a left and a right part. Sweeps
of QR factorizations replace `L` by its triangular factor and `R` by its own: the
singular values of the unfolding are those of the small product, and no Gram matrix
squares a condition number.

Two kinds of cut: `bonds` (axes up to k against the rest) and `axes` (one axis against
all others). NumPy in float64 throughout; nothing here is traced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np


EPS = float(np.finfo(np.float64).eps)


class Cut(NamedTuple):
    """A cut: left (p, w) and right (w, q) parts, and the SVD of their product.

    floor: below it singular values are rounding noise.
    """

    left: np.ndarray
    right: np.ndarray
    u: np.ndarray
    values: np.ndarray
    vt: np.ndarray
    floor: float

    def rank(self, allowed: float) -> int:
        """Returns how many singular values must stay for an error of `allowed`."""
        allowed = max(allowed, self.floor)
        tails = np.sqrt(np.cumsum(self.values[::-1] ** 2)[::-1])
        return max(1, int(np.sum(tails > allowed)))

    def maps(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns M (w, r) and N (r, w): `left M` is orthonormal, `left M N ~ left`.

        `M N`, put between left and right, is the orthogonal projection on the first
        r singular vectors. Columns beyond the floor are zero.
        """
        kept = min(rank, int(np.sum(self.values > self.floor)))
        m = np.zeros((self.right.shape[0], rank))
        n = np.zeros((rank, self.left.shape[1]))
        m[:, :kept] = (self.right @ self.vt[:kept].T) / self.values[None, :kept]
        n[:kept] = self.u[:, :kept].T @ self.left
        return m, n


def cut(left: np.ndarray, right: np.ndarray) -> Cut:
    """Returns the cut between two parts given by triangular factors."""
    u, values, vt = np.linalg.svd(left @ right, full_matrices=False)
    size = np.linalg.norm(left) * np.linalg.norm(right)
    return Cut(left, right, u, values, vt, 4.0 * EPS * float(size))


def triangular(matrix: np.ndarray) -> np.ndarray:
    """Returns a matrix of at most as many rows as columns with the same Gram matrix."""
    rows, columns = matrix.shape
    return np.asarray(np.linalg.qr(matrix, mode="r")) if rows > columns else matrix


def khatri_rao(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the products of all rows, column by column: (m n, R)."""
    return (a[:, None, :] * b[None, :, :]).reshape(-1, a.shape[1])


def cp_sides(factors: Sequence[np.ndarray]) -> tuple[list, list]:
    """Returns triangular factors (p, R) of the axes before and after every bond.

    Bond k lies behind k axes; there are d + 1 of either kind.
    """
    start = np.ones((1, factors[0].shape[1]))
    small = [triangular(f) for f in factors]
    left, right = [start], [start]
    for factor in small:
        left.append(triangular(khatri_rao(left[-1], factor)))
    for factor in reversed(small):
        right.append(triangular(khatri_rao(factor, right[-1])))
    return left, right[::-1]


def tt_sides(cores: Sequence[np.ndarray]) -> tuple[list, list]:
    """Returns triangular factors (p, r) before and (r, q) behind every bond.

    Cores are (r, n, s).
    """
    left, right = [np.ones((1, 1))], [np.ones((1, 1))]
    for core in cores:
        joined = np.einsum("pr,rns->pns", left[-1], core)
        left.append(triangular(joined.reshape(-1, core.shape[2])))
    for core in reversed(cores):
        joined = np.einsum("rns,sq->rnq", core, right[-1])
        right.append(triangular(joined.reshape(core.shape[0], -1).T).T)
    return left, right[::-1]


def cp_axis_cuts(factors: Sequence[np.ndarray]) -> list[Cut]:
    """Returns the cut of every axis from all others; its width is the CP rank."""
    left, right = cp_sides(factors)
    return [
        cut(triangular(f), triangular(khatri_rao(left[k], right[k + 1])).T)
        for k, f in enumerate(factors)
    ]


def tt_axis_cuts(cores: Sequence[np.ndarray]) -> list[Cut]:
    """Returns the cut of every axis from all others; its width is r s."""
    left, right = tt_sides(cores)
    cuts = []
    for k, core in enumerate(cores):
        flat = core.swapaxes(0, 1).reshape(core.shape[1], -1)
        others = np.kron(left[k], right[k + 1].T).T
        cuts.append(cut(triangular(flat), others))
    return cuts


def tt_bond_cuts(cores: Sequence[np.ndarray]) -> list[Cut]:
    """Returns the cut at each of the d - 1 bonds."""
    left, right = tt_sides(cores)
    return [cut(a, b) for a, b in zip(left[1:-1], right[1:-1], strict=True)]


def multiply(core: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the core with every axis k multiplied by a matrix (m_k, R_k)."""
    for matrix in matrices:
        core = np.tensordot(core, matrix, axes=(0, 1))
    return core


def tucker_axis_cuts(core: np.ndarray, factors: Sequence[np.ndarray]) -> list[Cut]:
    """Returns the cut of every axis from all others; its width is R_k."""
    small = [triangular(f) for f in factors]
    cuts = []
    for k, own in enumerate(small):
        others = [np.eye(m.shape[1]) if j == k else m for j, m in enumerate(small)]
        grown = np.moveaxis(multiply(core, others), k, 0)
        cuts.append(cut(own, triangular(grown.reshape(grown.shape[0], -1).T).T))
    return cuts


def tucker_cores(core: np.ndarray) -> list[np.ndarray]:
    """Returns a tensor train (r, R_k, s) of a core by exact QR steps.

    The bonds have the smaller of the products of the ranks on either side.
    """
    shape = core.shape
    cores, rest = [], core.reshape(1, -1)
    for k, size in enumerate(shape[:-1]):
        matrix = rest.reshape(rest.shape[0] * size, -1)
        if matrix.shape[0] <= matrix.shape[1]:
            q, rest = np.eye(matrix.shape[0]), matrix
        else:
            q, rest = np.linalg.qr(matrix)
        bond = min(math.prod(shape[: k + 1]), math.prod(shape[k + 1 :]))
        cores.append(q.reshape(-1, size, bond))
    cores.append(rest.reshape(-1, shape[-1], 1))
    return cores


def cp_norm(factors: Sequence[np.ndarray]) -> float:
    """Returns the norm of a CP tensor, the terms' cancellation seen once."""
    carry = reduce(
        lambda a, b: triangular(khatri_rao(a, triangular(b))),
        factors,
        np.ones((1, factors[0].shape[1])),
    )
    return float(np.linalg.norm(carry.sum(axis=1)))
