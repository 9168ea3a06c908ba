"""Iterative solvers for maps between arrays: GMRES, and LSQR for least squares.

`condition_estimate` says how ill-conditioned the map itself is: what the iterations see
is the preconditioned one.

Sources: Saad and Schultz, GMRES, SIAM J. Sci. Stat. Comput. 7 (1986); Paige and
Saunders, LSQR, ACM Trans. Math. Softw. 8 (1982).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


Map = Callable[[np.ndarray], np.ndarray]
# Power iterations for each end of the spectrum in `condition_estimate`.
POWER_STEPS = 8
# Basis vectors of GMRES take at most so many bytes; it restarts when they are full.
MEMORY = 10**9


class Iterated(NamedTuple):
    """solution: as the right-hand side. residual: relative, of the last iterate.

    condition: of the preconditioned operator as the iteration has seen it, a lower
    bound. slowest: preconditioned direction that the operator shrinks most, or None.
    """

    solution: np.ndarray
    iterations: int
    residual: float
    condition: float
    slowest: np.ndarray | None = None


def gmres(
    apply: Map,
    precondition: Map,
    right: np.ndarray,
    tolerance: float,
    limit: int,
    size: float | None = None,
) -> Iterated:
    """Solves `apply(x) = right` with a right preconditioner.

    Args:
        apply: linear map. precondition: approximates its inverse.
        right: right-hand side, any shape.
        tolerance: of the true residual, relative to `size`.
        limit: largest number of iterations.
        size: what residuals are measured by; that of the right-hand side by default.
    """
    size = float(np.linalg.norm(right)) if size is None else size
    total = np.zeros_like(right)
    if size == 0.0 or np.linalg.norm(right) <= tolerance * size:
        left_over = float(np.linalg.norm(right)) / size if size else 0.0
        return Iterated(total, 0, left_over, 1.0)
    span = max(2, min(limit, MEMORY // max(8 * right.size, 1)))
    left, done, condition = right, 0, 1.0
    residual, slowest = float(np.linalg.norm(right)) / size, None
    while done < limit:
        step, count, seen, direction = _cycle(
            apply, precondition, left, tolerance * size, min(span, limit - done)
        )
        total = total + step
        done += count
        if seen > condition:
            condition, slowest = seen, direction
        left = right - apply(total)
        before, residual = residual, float(np.linalg.norm(left)) / size
        if residual <= tolerance or not residual < 0.9 * before:
            break
    return Iterated(total, done, residual, condition, slowest)


def _cycle(apply, precondition, left, target, span):
    """One GMRES cycle from zero: step, iterations, condition, slowest direction."""
    beta = float(np.linalg.norm(left))
    basis = np.empty((span + 1, left.size))
    basis[0] = left.ravel() / beta
    upper = np.zeros((span + 1, span))
    # Givens rotations keep the factor R and the residual up to date.
    cosines, sines = np.zeros(span), np.zeros(span)
    target_vector = np.zeros(span + 1)
    target_vector[0] = beta
    hessenberg = np.zeros((span + 1, span))
    count = 0
    for j in range(span):
        w = apply(precondition(basis[j].reshape(left.shape))).ravel()
        for _ in range(2):  # twice is enough
            part = basis[: j + 1] @ w
            w = w - part @ basis[: j + 1]
            hessenberg[: j + 1, j] += part
        hessenberg[j + 1, j] = np.linalg.norm(w)
        column = hessenberg[: j + 2, j].copy()
        for i in range(j):
            above, below = column[i], column[i + 1]
            column[i] = cosines[i] * above + sines[i] * below
            column[i + 1] = cosines[i] * below - sines[i] * above
        length = math.hypot(column[j], column[j + 1])
        if length == 0.0:
            break
        cosines[j], sines[j] = column[j] / length, column[j + 1] / length
        column[j], column[j + 1] = length, 0.0
        upper[: j + 2, j] = column
        target_vector[j + 1] = -sines[j] * target_vector[j]
        target_vector[j] *= cosines[j]
        count = j + 1
        if abs(target_vector[count]) <= target or hessenberg[count, j] == 0.0:
            break
        basis[count] = w / hessenberg[count, j]
    if not count:
        return np.zeros_like(left), 1, math.inf, None
    triangle = upper[:count, :count]
    _, values, directions = np.linalg.svd(triangle)
    weights = np.linalg.solve(triangle, target_vector[:count])
    step = precondition((weights @ basis[:count]).reshape(left.shape))
    condition = values[0] / values[-1] if values[-1] else math.inf
    slowest = precondition((directions[-1] @ basis[:count]).reshape(left.shape))
    return step, count, float(condition), slowest


def lsqr(
    apply: Map, adjoint: Map, right: np.ndarray, tolerance: float, limit: int
) -> Iterated:
    """Minimizes `|apply(x) - right|`; vectors in, vectors out.

    Stops when the gradient, or the residual, has fallen to the tolerance (relative to
    the operator and the right-hand side). The `residual` is that of the fit.
    """
    beta = float(np.linalg.norm(right))
    u = right / beta if beta else right
    v = adjoint(u)
    alpha = float(np.linalg.norm(v))
    x = np.zeros_like(v)
    if beta == 0.0 or alpha == 0.0:
        return Iterated(x, 0, 1.0 if beta else 0.0, 1.0)
    v = v / alpha
    w, phi, rho_bar, size = v.copy(), beta, alpha, beta
    operator, inverse = 0.0, 0.0
    count = 0
    for count in range(1, limit + 1):  # noqa: B007
        u = apply(v) - alpha * u
        beta = float(np.linalg.norm(u))
        operator += alpha**2 + beta**2
        u = u / beta if beta else u
        v = adjoint(u) - beta * v
        alpha = float(np.linalg.norm(v))
        v = v / alpha if alpha else v
        rho = math.hypot(rho_bar, beta)
        cosine, sine = rho_bar / rho, beta / rho
        theta, rho_bar = sine * alpha, -cosine * alpha
        step, phi = cosine * phi, sine * phi
        inverse += float(w @ w) / rho**2
        x = x + (step / rho) * w
        w = v - (theta / rho) * w
        gradient = alpha * abs(cosine)
        if phi <= tolerance * size or gradient <= tolerance * math.sqrt(operator):
            break
    condition = math.sqrt(operator) * math.sqrt(inverse)
    return Iterated(x, count, phi / size, condition)


def condition_estimate(
    apply: Map, adjoint: Map, inverse: Map, start: np.ndarray, others: Sequence
) -> float:
    """Returns a lower bound of the condition number of a map, as a rule a close one.

    `|A| |A^-1|`, where |A| comes from power iterations with A^T A and |A^-1| is the
    largest `|z| / |A z|` of some vectors: of power iterations with an approximate
    inverse, and of those given.

    Args:
        apply, adjoint: A and A^T. inverse: roughly the inverse of A, or of A^T A.
        start: any array of the shape A is applied to.
        others: arrays of that shape, or None.
    """
    x = np.random.default_rng(0).standard_normal(start.shape)
    z = x
    largest = 0.0
    for _ in range(POWER_STEPS):
        y = apply(x / np.linalg.norm(x))
        largest = max(largest, float(np.linalg.norm(y)))
        x = adjoint(y)
        z = inverse(z / np.linalg.norm(z))
        if not (np.linalg.norm(x) > 0.0 and np.linalg.norm(z) > 0.0):
            return math.inf
    smallest = math.inf
    for vector in (z, *others):
        size = 0.0 if vector is None else float(np.linalg.norm(vector))
        if vector is not None and math.isfinite(size) and size > 0.0:
            smallest = min(smallest, float(np.linalg.norm(apply(vector))) / size)
    return largest / smallest if smallest > 0.0 else math.inf
