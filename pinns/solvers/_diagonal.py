"""Fast diagonalization: sums of one-dimensional operators inverted axis by axis.

For `L = sum_k B_1 x .. x A_k x .. x B_d + c B_1 x .. x B_d` the pencils
`A_k X = B_k X diag(lambda)` turn L into the diagonal `sum_k lambda_k + c`. At most one
axis whose eigenvectors are ill-conditioned (a first derivative with an initial
condition) is kept whole: its small matrices `A + mu B` are inverted one by one.

Source: Lynch, Rice, Thomas, Direct solution of partial difference equations by tensor
product methods, Numer. Math. 6 (1964).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from pinns.solvers._kronecker import condition_of, contract


# Eigenvectors with a larger condition number are not used.
EIGENVECTOR_CONDITION = 1e4
# Matrices of the whole axis whose condition number is computed.
SAMPLED = 64


@dataclass(frozen=True)
class Pencil:
    """One axis: A and B, (r, r) each; `symmetric` says that A is, and B = 1."""

    a: np.ndarray
    b: np.ndarray
    symmetric: bool


@dataclass(frozen=True)
class _Modes:
    """values: (r,). right: X. left: (B X)^-1. condition: of X."""

    values: np.ndarray
    right: np.ndarray
    left: np.ndarray
    condition: float


class Diagonalization:
    """The inverse of a sum of one-dimensional operators.

    Args:
        pencils: one per axis.
        shift: c.

    `bad`: axes with ill-conditioned eigenvectors. `unstable`: those beyond the one that
    is kept whole; with any, results are only good as a preconditioner.
    """

    def __init__(self, pencils: Sequence[Pencil], shift: float):
        modes = [_modes(p) for p in pencils]
        conditions = [m.condition for m in modes]
        d = len(modes)
        self.bad = [k for k in range(d) if not conditions[k] <= EIGENVECTOR_CONDITION]
        # The largest of several is kept whole; it matters most in a preconditioner.
        sizes = {k: np.linalg.norm(pencils[k].a) for k in self.bad}
        self.whole = max(self.bad, key=lambda k: sizes[k]) if self.bad else None
        self.unstable = [k for k in self.bad if k != self.whole]
        for k in self.unstable:
            modes[k] = _modes(Pencil(np.zeros_like(pencils[k].a), pencils[k].b, True))
        rest = [m for k, m in enumerate(modes) if k != self.whole]
        sums = reduce(np.add.outer, [m.values for m in rest]) if rest else np.zeros(())
        self.right, self.left = [m.right for m in rest], [m.left for m in rest]
        scale = float(np.prod([m.condition for m in rest]))
        self.sums = sums + shift
        if self.whole is None:
            size = np.abs(self.sums)
            low = size.min()
            self.condition = scale * float(size.max() / low) if low else np.inf
        else:
            own = pencils[self.whole]
            self.inverses, worst_condition = _inverses(own, self.sums)
            self.condition = scale * worst_condition

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Returns W with L W = right, both (r_1, ..., r_d)."""
        if self.whole is None:
            modal = contract(right, self.left) / self.sums
            return contract(modal, self.right).real
        first = np.moveaxis(right, self.whole, -1)
        modal = _each(first, self.left)
        modal = (self.inverses @ modal.reshape(-1, modal.shape[-1], 1)).reshape(
            modal.shape
        )
        return np.moveaxis(_each(modal, self.right).real, -1, self.whole)


def _each(tensor: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Applies matrices to all axes but the last."""
    return contract(tensor, matrices) if matrices else tensor


def _modes(pencil: Pencil) -> _Modes:
    a, b = pencil.a, pencil.b
    if not a.any():
        size = np.linalg.inv(b)
        return _Modes(np.zeros(len(a)), np.eye(len(a)), size, 1.0)
    if pencil.symmetric:
        values, vectors = np.linalg.eigh(0.5 * (a + a.T))
        return _Modes(values, vectors, vectors.T, 1.0)
    values, vectors = np.linalg.eig(np.linalg.solve(b, a))
    condition = condition_of(vectors)
    if not np.isfinite(condition):
        return _Modes(values, vectors, vectors, condition)
    return _Modes(values, vectors, np.linalg.inv(b @ vectors), condition)


def _inverses(pencil: Pencil, sums: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns (A + mu B)^-1 for every mu, (1 or K, r, r), and the worst condition."""
    mu = sums.reshape(-1)
    if np.ptp(mu.real) + np.ptp(mu.imag) <= 1e-12 * np.abs(mu).max(initial=0.0):
        mu = mu[:1]
    matrices = pencil.a + mu[:, None, None] * pencil.b
    order = np.argsort(np.abs(mu))
    chosen = order[np.unique(np.linspace(0, len(mu) - 1, SAMPLED).astype(int))]
    worst = condition_of(matrices[chosen])
    if not np.isfinite(worst):
        return np.zeros_like(matrices), worst
    return np.linalg.inv(matrices), worst
