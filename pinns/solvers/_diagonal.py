"""Fast diagonalization: sums of one-dimensional operators inverted axis by axis.

For `L = sum_k B_1 x .. x A_k x .. x B_d + c B_1 x .. x B_d` the pencils
`A_k X = B_k X diag(lambda)` turn L into the diagonal `sum_k lambda_k + c`. One axis
whose eigenvectors are ill-conditioned (a first derivative with an initial condition) is
kept whole: its small matrices `A + mu B` are inverted one by one. A second one is made
triangular instead, `B_k^-1 A_k = Q T Q^H`, and solved from its last row upwards.

Sources: Lynch, Rice, Thomas, Direct solution of partial difference equations by tensor
product methods, Numer. Math. 6 (1964); Bartels, Stewart, Solution of the matrix
equation AX + XB = C, Comm. ACM 15 (1972).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import scipy.linalg

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
    """values: (r,). right: X. left: (B X)^-1. condition: of X.

    above: (r, r), what is left above the diagonal.
    """

    values: np.ndarray
    right: np.ndarray
    left: np.ndarray
    condition: float
    above: np.ndarray | None = None


class Diagonalization:
    """The inverse of a sum of one-dimensional operators.

    Args:
        pencils: one per axis.
        shift: c.

    `bad`: axes with ill-conditioned eigenvectors. `unstable`: those beyond the two that
    are kept whole and made triangular; with any, results are only good as a
    preconditioner.
    """

    def __init__(self, pencils: Sequence[Pencil], shift: float):
        modes = [_modes(p) for p in pencils]
        conditions = [m.condition for m in modes]
        d = len(modes)
        self.bad = [k for k in range(d) if not conditions[k] <= EIGENVECTOR_CONDITION]
        # The largest of several is kept whole; it matters most in a preconditioner.
        sizes = {k: np.linalg.norm(pencils[k].a) for k in self.bad}
        ordered = sorted(self.bad, key=lambda k: -sizes[k])
        self.whole = ordered[0] if ordered else None
        self.triangular = ordered[1] if len(ordered) > 1 else None
        self.unstable = sorted(ordered[2:])
        if self.triangular is not None:
            modes[self.triangular] = _triangle(pencils[self.triangular])
        for k in self.unstable:
            modes[k] = _modes(Pencil(np.zeros_like(pencils[k].a), pencils[k].b, True))
        rest = [m for k, m in enumerate(modes) if k != self.whole]
        sums = reduce(np.add.outer, [m.values for m in rest]) if rest else np.zeros(())
        self.right, self.left = [m.right for m in rest], [m.left for m in rest]
        self.above = None
        if self.triangular is not None and self.whole is not None:
            self.above = modes[self.triangular].above
            self.place = self.triangular - int(self.triangular > self.whole)
        scale = float(np.prod([m.condition for m in rest]))
        self.sums = sums + shift
        if self.whole is None:
            size = np.abs(self.sums)
            low = size.min()
            self.condition = scale * float(size.max() / low) if low else np.inf
        else:
            own = pencils[self.whole]
            self.mass = own.b
            self.inverses, worst_condition = _inverses(own, self.sums)
            self.condition = scale * worst_condition

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Returns W with L W = right, both (r_1, ..., r_d)."""
        if self.whole is None:
            modal = contract(right, self.left) / self.sums
            return contract(modal, self.right).real
        first = np.moveaxis(right, self.whole, -1)
        modal = _each(first, self.left)
        if self.above is None:
            modal = self._inverted(modal, self.inverses)
        else:
            modal = self._substituted(modal)
        return np.moveaxis(_each(modal, self.right).real, -1, self.whole)

    def _inverted(self, modal: np.ndarray, inverses: np.ndarray) -> np.ndarray:
        """Applies the inverses of the axis that is whole, the last one."""
        return (inverses @ modal.reshape(-1, modal.shape[-1], 1)).reshape(modal.shape)

    def _substituted(self, modal: np.ndarray) -> np.ndarray:
        """Solves the equations of the triangular axis from the last one upwards."""
        above, r = np.asarray(self.above), modal.shape[-1]
        rows = np.moveaxis(modal, self.place, 0)
        inverses = np.broadcast_to(self.inverses, (self.sums.size, r, r))
        inverses = np.moveaxis(inverses.reshape(*self.sums.shape, r, r), self.place, 0)
        out = np.zeros(rows.shape, np.result_type(rows, inverses))
        for j in range(len(rows) - 1, -1, -1):
            later = np.tensordot(above[j, j + 1 :], out[j + 1 :], axes=(0, 0))
            left = rows[j] - later @ self.mass.T
            out[j] = self._inverted(left, inverses[j].reshape(-1, r, r))
        return np.moveaxis(out, 0, self.place)


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


def _triangle(pencil: Pencil) -> _Modes:
    """Returns the Schur form in place of eigenvectors."""
    triangle, unitary = scipy.linalg.schur(
        np.linalg.solve(pencil.b, pencil.a), output="complex"
    )
    left = unitary.conj().T @ np.linalg.inv(pencil.b)
    return _Modes(np.diag(triangle), unitary, left, 1.0, np.triu(triangle, 1))


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
