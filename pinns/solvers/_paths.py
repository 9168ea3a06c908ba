"""The ways to solve a `System` for its free coefficients W."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pinns.solvers._diagonal import Diagonalization
from pinns.solvers._kronecker import contract, scale
from pinns.solvers._krylov import condition_estimate, gmres, lsqr
from pinns.solvers._system import System, scattered


# Systems with so few unknowns are solved as one matrix.
DENSE = 1000
MAX_ITERATIONS = 1000
# A diagonalization is repeated on its own residual while that falls.
REFINEMENTS = 2
ROUNDING = 1e-15


@dataclass
class Outcome:
    """What a path returns: W, and how it went.

    condition: of the discrete equations; where they are iterated on, a lower bound.
    residual: of the discrete equations, relative to the known values. converged: an
    iteration has come to its end before its limit. preconditioned: condition of what
    is iterated on, None without an iteration.
    """

    w: np.ndarray
    path: str
    condition: float
    residual: float
    iterations: int = 0
    converged: bool = True
    preconditioned: float | None = None


def choose(system: System) -> str:
    """Returns the cheapest path that fits the system."""
    if system.extra or system.problem.data:
        return "least_squares"
    if system.sum.exact and not system.inverse.unstable:
        return "diagonalization"
    return "dense" if math.prod(system.shape) <= DENSE else "iterative"


def diagonalization(system: System, tolerance: float) -> Outcome:
    """Solves by fast diagonalization, then refines.

    Raises:
        ValueError: the operator is not a sum of one-dimensional ones, or two axes have
            ill-conditioned eigenvectors.
    """
    _refuse_extra(system, "diagonalization")
    if not system.sum.exact:
        raise ValueError(
            f"{system.owner}: path='diagonalization' needs a sum of operators along "
            "one axis each, got mixed derivatives or coefficients of other axes; "
            "path='iterative' works"
        )
    if system.inverse.unstable:
        names = [system.problem.box.names[k] for k in system.inverse.unstable]
        raise ValueError(
            f"{system.owner}: path='diagonalization' needs well-conditioned "
            "eigenvectors on all axes but one, got ill-conditioned ones also on "
            f"{', '.join(names)}; path='iterative' works"
        )
    return _refined(system, system.inverse)


def dense(system: System, tolerance: float) -> Outcome:
    """Solves by one matrix."""
    _refuse_extra(system, "dense")
    size = math.prod(system.shape)
    units = np.eye(size).reshape(*system.shape, size)
    matrix = system.tested(system.operator.apply(units)).reshape(size, size)
    right = -system.tested(system.residual(system.lift)).reshape(-1)
    values = np.linalg.svd(matrix, compute_uv=False)
    condition = float(values[0] / values[-1]) if values[-1] else math.inf
    if not math.isfinite(condition):
        return Outcome(np.zeros(system.shape), "dense", condition, math.inf)
    w = np.linalg.solve(matrix, right)
    residual = _relative(matrix @ w - right, right)
    return Outcome(w.reshape(system.shape), "dense", condition, residual)


def iterative(system: System, tolerance: float) -> Outcome:
    """Solves by GMRES, preconditioned by the averaged sum of 1-D operators."""
    _refuse_extra(system, "iterative")
    return _iterated(system, system.inverse, tolerance)


def least_squares(system: System, tolerance: float) -> Outcome:
    """Minimizes the weighted residual, remaining conditions and data."""
    parts = system.least_squares()
    known = [scale(k, w).reshape(-1) for _, k, w in parts]
    factors: list[np.ndarray] = []
    if system.problem.data:
        factors, values = system.data_rows()
        known.append(values)
    right = -np.concatenate(known)
    size = math.prod(system.shape)
    if size <= DENSE:
        return _dense_least_squares(system, parts, factors, right)
    precondition = _gram_inverse_root(system)

    def forward(w: np.ndarray) -> np.ndarray:
        out = [scale(rows.apply(w), weights).reshape(-1) for rows, _, weights in parts]
        return np.concatenate([*out, scattered(w, factors)] if factors else out)

    def backward(y: np.ndarray) -> np.ndarray:
        total, start = np.zeros(system.shape), 0
        for rows, own, weights in parts:
            piece = y[start : start + own.size].reshape(own.shape)
            total += rows.adjoint(scale(piece, weights))
            start += own.size
        if factors:
            total += _outer_sum(y[start:], factors)
        return total

    def apply(z: np.ndarray) -> np.ndarray:
        return forward(precondition(z.reshape(system.shape)))

    def adjoint(y: np.ndarray) -> np.ndarray:
        return precondition(backward(y)).reshape(-1)

    found = lsqr(apply, adjoint, right, tolerance, MAX_ITERATIONS)
    w = precondition(found.solution.reshape(system.shape))
    condition = condition_estimate(
        forward,
        backward,
        lambda w: precondition(precondition(w)),
        w,
        [w],
    )
    return Outcome(
        w,
        "least_squares",
        condition,
        found.residual,
        found.iterations,
        found.iterations < MAX_ITERATIONS,
        found.condition,
    )


SOLVERS: dict[str, Callable[[System, float], Outcome]] = {
    "diagonalization": diagonalization,
    "dense": dense,
    "iterative": iterative,
    "least_squares": least_squares,
}


def _refined(system: System, inverse: Diagonalization) -> Outcome:
    path = "diagonalization"
    if not math.isfinite(inverse.condition):
        return Outcome(np.zeros(system.shape), path, inverse.condition, math.inf)
    w = np.zeros(system.shape)
    left = -system.tested(system.residual(system.lift))
    size = system.magnitude(left)
    best = math.inf
    for _ in range(1 + REFINEMENTS):
        step = inverse.solve(left)
        # The residual of everything, not only of the correction: no digit is lost.
        after = -system.tested(system.residual(system.core(w + step)))
        residual = float(np.linalg.norm(after)) / size if size else 0.0
        if not residual < 0.5 * best:
            break
        w, left, best = w + step, after, residual
        if best <= ROUNDING:
            break
    best = 0.0 if math.isinf(best) and not size else best
    return Outcome(w, path, inverse.condition, best)


def _iterated(system: System, inverse: Diagonalization, tolerance: float) -> Outcome:
    right = -system.tested(system.residual(system.lift))
    usable = math.isfinite(inverse.condition)
    precondition = inverse.solve if usable else lambda w: w
    size = system.magnitude(right)

    def apply(w: np.ndarray) -> np.ndarray:
        return system.tested(system.operator.apply(w))

    def adjoint(values: np.ndarray) -> np.ndarray:
        return system.operator.adjoint(contract(values, [t.T for t in system.tests]))

    found = gmres(apply, precondition, right, tolerance, MAX_ITERATIONS, size)
    w = found.solution
    residual = found.residual
    if size and not system.correction:
        # Of everything; a correction's would be lost in the rounding of the rest.
        true = system.tested(system.residual(system.core(w)))
        residual = float(np.linalg.norm(true)) / size
    condition = condition_estimate(apply, adjoint, precondition, w, [w, found.slowest])
    return Outcome(
        w,
        "iterative",
        condition,
        residual,
        found.iterations,
        residual <= max(tolerance, 10.0 * ROUNDING),
        found.condition,
    )


def _dense_least_squares(system: System, parts, factors, right) -> Outcome:
    size = math.prod(system.shape)
    blocks = [
        scale(np.ones(own.shape), weights).reshape(-1, 1) * rows.dense()
        for rows, own, weights in parts
    ]
    if factors:
        wide = factors[0]
        for factor in factors[1:]:
            wide = (wide[:, :, None] * factor[:, None, :]).reshape(len(factor), -1)
        blocks.append(wide)
    matrix = np.concatenate(blocks)
    w, _, _, values = np.linalg.lstsq(matrix, right, rcond=None)
    full = len(values) == size and values[-1] > 0.0 and len(matrix) >= size
    condition = float(values[0] / values[-1]) if full else math.inf
    residual = _relative(matrix @ w - right, right)
    return Outcome(w.reshape(system.shape), "least_squares", condition, residual)


def _gram_inverse_root(system: System):
    """Returns W -> (sum_k G_k + 1)^(-1/2) W, G_k the Gram matrix of an axis' operator.

    The norm that W is measured in is then about that of the residual: a symmetric
    preconditioner that needs no conditions on any axis.
    """
    values, vectors = [], []
    leaves = system.interior.leaves
    for k, (axis, null) in enumerate(zip(system.axes, system.null, strict=True)):
        gram = np.zeros((null.shape[1],) * 2)
        for (_, orders, _), own in zip(
            leaves, system.interior.coefficients, strict=True
        ):
            if orders[k]:
                jets = axis.jets(axis.nodes, orders[k])[orders[k]] @ null
                size = float(np.mean(np.square(own[0])))
                gram += size * jets.T @ (axis.weights[:, None] * jets)
        own_values, own_vectors = np.linalg.eigh(gram)
        values.append(np.maximum(own_values, 0.0))
        vectors.append(own_vectors)
    total = values[0]
    for more in values[1:]:
        total = np.add.outer(total, more)
    roots = 1.0 / np.sqrt(total + 1.0)

    def apply(w: np.ndarray) -> np.ndarray:
        modal = contract(w, [v.T for v in vectors]) * roots
        return contract(modal, vectors)

    return apply


def _outer_sum(values: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
    """Returns sum_n values_n times the outer product of row n of the factors."""
    state = values[:, None] * factors[0]
    for factor in factors[1:-1]:
        state = np.einsum("n...,nr->n...r", state, factor)
    if len(factors) == 1:
        return state.sum(axis=0)
    return np.tensordot(state, factors[-1], axes=(0, 0))


def _refuse_extra(system: System, path: str) -> None:
    if system.extra:
        raise ValueError(
            f"{system.owner}: path={path!r} needs conditions whose coefficients do not "
            f"vary along their face, got {system.extra[0].term.name!r}; "
            "path='least_squares' works"
        )
    if system.problem.data:
        raise ValueError(
            f"{system.owner}: path={path!r} has no equations for data conditions; "
            "path='least_squares' works"
        )


def _relative(gap: np.ndarray, right: np.ndarray) -> float:
    size = float(np.linalg.norm(right))
    return float(np.linalg.norm(gap)) / size if size else float(np.linalg.norm(gap))
