"""Small spaces of functions per axis in which a linear problem is solved well.

A solution may need a hundred polynomials on every axis and still lie close to a space
of twenty functions there. Which ones follows from the problem: if its operator is a
sum of one-dimensional operators `A_1 + ... + A_d` and its data are products of known
functions `g_k`, the solution is an integral of products of `exp(-t A_k) g_k`, and the
rational Krylov spaces

    span { g, (A_k + s_1)^-1 g, (A_k + s_2)^-1 (A_k + s_1)^-1 g, ... }

approximate all of these at a rate that does not depend on d. The spaces here hold such
functions, then polynomials (or whatever the basis begins with) for what the data do
not say: conditions on faces, parameters, time.

Source: Kressner & Tobler, Krylov subspace methods for linear systems with tensor
product structure, SIAM J. Matrix Anal. Appl. 31 (2010); rational spaces as in Druskin &
Simoncini, Adaptive rational Krylov subspaces for large-scale dynamical systems, Systems
& Control Letters 60 (2011), with fixed shifts.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from pinns.factored.plan import Plan
from pinns.solvers._bases import Bases


# Eigenvalues of the operator, in order of size, whose size the shifts have.
SHIFTS = (3, 12, 6)
# Share of the functions that come from the operator; at most so many known ones start.
SHARE, MAX_STARTS = 0.7, 4
# What a new function has to add, relative to its own size.
NEW = 1e-9


def reduced(
    plan: Plan, jets: Sequence[np.ndarray], size: int, truncation: float
) -> Bases:
    """Returns `size` orthonormal functions per unknown and axis.

    Args:
        plan: of a problem that is linear in its unknowns.
        jets: per order of derivative the features on the rows, (u, d, N, h).
        size: number of functions, at most h.
        truncation: singular values of the features below this are left out,
            relatively.
    """
    unknowns, dimension = jets[0].shape[:2]
    found = [
        [_axis(plan, [j[u, k] for j in jets], u, k, size, truncation) for k in
         range(dimension)]
        for u in range(unknowns)
    ]  # fmt: skip
    transform, kept, ones = (
        jnp.asarray(np.stack([[axis[i] for axis in own] for own in found]))
        for i in range(3)
    )
    return Bases(transform, kept, ones)


def _axis(plan: Plan, jets, unknown: int, axis: int, size: int, truncation: float):
    weights = plan.rows.weights["interior"][axis]
    root = np.sqrt(weights)
    left, sizes, right = np.linalg.svd(root[:, None] * jets[0], full_matrices=False)
    whole = sizes > truncation * sizes[0]
    left, transform = left[:, whole], right[whole].T / sizes[whole]
    operator = np.zeros((left.shape[1],) * 2)
    for word in plan.operators:
        if (word.unknown, word.axis) == (unknown, axis):
            image = (root * word.multiplier)[:, None] * (jets[word.order] @ transform)
            operator += left.T @ image
    starts = [left.T @ (root * values) for values in _data(plan, axis)]
    space = _Space(left.shape[1], size)
    for start in starts[:MAX_STARTS]:
        space.add(start)
    space.grow(operator, int(SHARE * size))
    for column in range(jets[0].shape[1]):
        space.add(left.T @ (root * jets[0][:, column]))
    vectors = np.zeros((left.shape[1], size))
    vectors[:, : len(space.vectors)] = np.stack(space.vectors, axis=1)
    ones = vectors.T @ (left.T @ root)
    return transform @ vectors, np.arange(size) < len(space.vectors), ones


def _data(plan: Plan, axis: int) -> list[np.ndarray]:
    """Returns the known functions along an axis; constants only if there is no other.

    (Every axis has the constant as the factor of words that do not name it.)
    """
    if () not in plan.versions:
        return []
    inside = plan.rows.weights["interior"][axis] > 0.0
    known = [v for v in plan.versions[()].multipliers[axis] if np.any(v[inside])]
    return [v for v in known if np.ptp(v[inside]) > 0.0] or known[:1]


class _Space:
    """Orthonormal vectors, at most `size` of them."""

    def __init__(self, dimension: int, size: int):
        self.size = min(size, dimension)
        self.vectors: list[np.ndarray] = []

    def add(self, vector: np.ndarray) -> bool:
        """Adds what is new in a vector; says whether there was anything."""
        before = float(np.linalg.norm(vector))
        if len(self.vectors) >= self.size or not 0.0 < before < np.inf:
            return False
        for _ in range(2):  # twice is enough
            for other in self.vectors:
                vector = vector - other * (other @ vector)
        after = float(np.linalg.norm(vector))
        if after > NEW * before:
            self.vectors.append(vector / after)
        return after > NEW * before

    def grow(self, operator: np.ndarray, size: int) -> None:
        """Adds solves with the shifted operator until there are `size` vectors."""
        values = np.linalg.eigvals(operator)
        order = np.sort(np.abs(values))
        sign = 1.0 if np.sum(values.real) >= 0.0 else -1.0
        shifts = [sign * order[min(k, len(order) - 1)] for k in SHIFTS]
        if not all(shifts):
            return
        inverses = [np.linalg.inv(operator + s * np.eye(len(operator))) for s in shifts]
        position = 0
        while position < len(self.vectors) < size:
            self.add(inverses[position % len(inverses)] @ self.vectors[position])
            position += 1
