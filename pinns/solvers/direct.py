"""Linear problems in fixed bases, solved directly: no training.

`solve_direct` expands the unknown in products of Chebyshev or Legendre polynomials,
trigonometric functions or random features, and solves for the coefficient tensor. The
result is an ordinary `pinns.Tucker` model whose core is that tensor.

- Sums of one-dimensional operators (Poisson, Helmholtz, heat, wave) with Dirichlet,
  Neumann, Robin, initial or periodic conditions: fast diagonalization, a few small
  eigenproblems and 2d products of a matrix and the tensor.
- Other linear operators (mixed derivatives, coefficients of several coordinates): GMRES
  on the coefficient tensor. Coefficients are tabulated on the Gauss points, so whether
  they are separable makes no difference; the averaged sum of one-dimensional operators
  is the preconditioner.
- Data, and conditions with coefficients that vary along their face: least squares.

All linear algebra is NumPy in float64 on the host, because compiling the small pieces
would take longer than the solve; coefficient functions run in JAX, compiled once.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns.domain import positive_integer, positive_number, precision
from pinns.factors import BASES
from pinns.problem import Problem
from pinns.separable import Params, Tucker
from pinns.solvers._axes import Axis, make_axis
from pinns.solvers._kronecker import contract
from pinns.solvers._paths import SOLVERS, Outcome, choose
from pinns.solvers._system import System
from pinns.solvers._tables import Table, check_linear, tables
from pinns.solvers._windows import count_windows, march


OWNER = "pinns.solve_direct"
DTYPES = ("float32", "float64")
# Values of all tables together, coefficients and known functions.
MAX_VALUES = 10**8
# A condition number above it leaves no digits, or few.
SINGULAR, ILL_CONDITIONED = 1e15, 1e12
# Relative residual at unseen points from which a solution is called unresolved.
UNRESOLVED = 0.1
# Sizes that the automatic choice starts from, and its limits.
START = {1: 24, 2: 16, 3: 16, 4: 10, 5: 8, 6: 6}
LARGEST = 1000
MAX_SIZE, MAX_UNKNOWNS = 192, 400_000
RANDOM_SIZES = {1: 80, 2: 80, 3: 64, 4: 40, 5: 24}


class DirectResult(NamedTuple):
    """What `solve_direct` returns.

    model: a `pinns.Tucker` over the basis. params: its parameters. info: see there.
    """

    model: Tucker
    params: Params
    info: dict[str, Any]


def solve_direct(
    problem: Problem,
    *,
    basis: str = "chebyshev",
    size: int | Sequence[int] | None = None,
    key: Array | None = None,
    dtype: str = "float64",
    tolerance: float = 1e-10,
    path: str = "auto",
) -> DirectResult:
    """Returns model, parameters and a report of the direct solution of a problem.

    `u = sum C[i_1..i_d] prod_k phi_{i_k}(x_k)`, with C such that the conditions hold
    and the residual vanishes against as many test functions as there are unknowns.

    Args:
        problem: one linear equation for one unknown.
        basis: of all axes: `chebyshev`, `legendre`, `fourier` (where every axis is
            periodic) or `random_features`.
        size: basis functions per axis, one number or one per axis. By default sizes
            grow until the coefficients have fallen to `tolerance` on every axis; for
            random features they are fixed by the dimension.
        key: typed random key, for random features only.
        dtype: of the parameters; the solve itself is in float64.
        tolerance: iterative solves stop at this residual, relative to the known
            values, and automatic sizes at coefficients this small.
        path: `auto`, `diagonalization`, `iterative` (GMRES), `dense` or
            `least_squares`.

    Returns:
        `DirectResult`. `info` has the `path` taken, `basis`, `sizes`, `ranks` of the
        core, `unknowns`, `iterations`, `windows` in time that were marched through,
        `condition` (estimate: of the eigenvalues, of the preconditioned operator, or of
        the matrix), `algebraic_residual` (relative), `residual` (root mean square at
        unseen points), `relative_residual` (to the size of its terms), `misfit` (root
        mean square of each condition at unseen points), `tail` per axis (the last
        coefficients relative to the largest), `compile_seconds` (with drawing random
        features) and `solve_seconds`.

    Raises:
        ValueError: a problem with several unknowns, a nonlinear term (named), a wrong
            option, a system that is singular to working precision, or too large.
        TypeError: no problem, or no typed key.

    Warns:
        UserWarning: ill-conditioned, not converged, or not resolved by the basis.

    Example:
        >>> import pinns
        >>> from pinns.solvers.direct import solve_direct
        >>> problem = pinns.problems.poisson(dimension=2)
        >>> result = solve_direct(problem, size=12)
        >>> result.info["path"], result.info["sizes"]
        ('diagonalization', (12, 12))
        >>> result.params["core"].shape
        (1, 12, 12)

    Source: Lynch, Rice, Thomas, Numer. Math. 6 (1964) for the diagonalization; Canuto,
    Hussaini, Quarteroni, Zang, Spectral methods: fundamentals in single domains (2006)
    for Galerkin and tau equations in orthogonal polynomials.
    """
    _check(problem, basis, key, dtype, path)
    tolerance = positive_number(tolerance, OWNER, "tolerance")
    sizes = _sizes(problem, basis, size)
    began = time.perf_counter()
    waves = _waves(basis, key, max(sizes), problem.box.dimension)
    drawn = time.perf_counter() - began
    found = _attempt(problem, basis, sizes, waves, tolerance, path)
    if size is None and basis != "random_features":
        found = _grown(problem, basis, found, tolerance, path)
    model, params = _model(basis, found, waves, dtype)
    info = found.report()
    info["compile_seconds"] += drawn
    total = time.perf_counter() - began
    info["solve_seconds"] = total - info["compile_seconds"]
    _warn(found, info, tolerance, size)
    return DirectResult(model, params, info)


class _Attempt:
    """One solve with given sizes."""

    def __init__(
        self, system: System, unseen, points, outcome: Outcome, core, windows, compiling
    ):
        self.system, self.outcome, self.core = system, outcome, core
        self.unseen, self.points = unseen, points
        self.windows, self.compiling = windows, compiling

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(axis.count for axis in self.system.axes)

    def tail(self) -> tuple[float, ...]:
        """Returns the last tenth of the coefficients per axis, relative."""
        largest = np.abs(self.core).max(initial=0.0)
        out = []
        for k, n in enumerate(self.core.shape):
            last = np.take(self.core, range(n - max(2, n // 10), n), axis=k)
            out.append(float(np.abs(last).max() / largest) if largest else 0.0)
        return tuple(out)

    def report(self) -> dict[str, Any]:
        system, outcome = self.system, self.outcome
        interior, *faces = self.unseen
        values, size = self._values(interior)
        misfit: dict[str, list[float]] = {}
        for table in faces:
            gaps, _ = self._values(table)
            misfit.setdefault(table.term.group, []).append(_mean_square(gaps))
        residual = math.sqrt(_mean_square(values))
        return {
            "path": outcome.path,
            "basis": system.axes[0].kind,
            "sizes": self.sizes,
            "ranks": self.core.shape,
            "unknowns": math.prod(system.shape),
            "iterations": outcome.iterations,
            "windows": self.windows,
            "condition": outcome.condition,
            "algebraic_residual": outcome.residual,
            "residual": residual,
            "relative_residual": residual / size if size else 0.0,
            "misfit": {g: math.sqrt(np.mean(m)) for g, m in misfit.items()},
            "tail": self.tail(),
            "compile_seconds": self.compiling,
        }

    def _values(self, table: Table) -> tuple[np.ndarray, float]:
        """Returns a term at unseen points, (e, *grid), and the size of its parts."""
        parts = [table.known]
        for e in range(table.known.shape[0]):
            rows = self.system.rows(table, self.points, None, e)
            parts.append(rows.apply(self.core)[None] + 0.0 * table.known)
        if table.known.shape[0] == 1:
            total = parts[0] + parts[1]
        else:
            total = parts[0] + np.concatenate([p[:1] for p in parts[1:]])
        rows = self.system.rows(table, self.points)
        size = _mean_square(table.known)
        for piece in rows.pieces:
            alone = type(rows)(rows.shape, rows.columns, (piece,))
            size += _mean_square(alone.apply(self.core))
        return total, math.sqrt(size)


def _mean_square(values: np.ndarray) -> float:
    return float(np.mean(np.square(values)))


def _attempt(problem, basis, sizes, waves, tolerance, path) -> _Attempt:
    box = problem.box
    flags = problem.hard.exponents()
    flags = np.zeros((1, box.dimension, 3)) if flags is None else flags
    axes = [
        make_axis(
            basis,
            sizes[k],
            box.intervals[k],
            flags[0, k],
            None
            if waves is None
            else (waves[0][k, : sizes[k]], waves[1][k, : sizes[k]]),
        )
        for k in range(box.dimension)
    ]
    _check_memory(problem, axes, sizes)
    points = _unseen(box)
    (found, unseen), seconds = tables(problem, [[a.nodes for a in axes], points])
    check_linear(OWNER, found)
    system = System(OWNER, problem, axes, found)
    compiling = seconds["compile"]
    path = choose(system) if path == "auto" else path
    k, windows = count_windows(system) if path == "iterative" else (0, 1)
    if windows > 1:
        core, outcome, more = march(system, problem, k, windows, tolerance)
        compiling += more
    else:
        outcome = SOLVERS[path](system, tolerance)
        core = system.core(outcome.w)
    _refuse_singular(problem, outcome)
    return _Attempt(system, unseen, points, outcome, core, windows, compiling)


def _grown(problem, basis, found: _Attempt, tolerance, path) -> _Attempt:
    """Repeats with more functions on the axes whose coefficients have not fallen."""
    compiling = found.compiling
    while True:
        tail = found.tail()
        sizes = tuple(
            min(MAX_SIZE, math.ceil(1.5 * n)) if t > tolerance else n
            for n, t in zip(found.sizes, tail, strict=True)
        )
        if sizes == found.sizes or math.prod(sizes) > MAX_UNKNOWNS:
            break
        found = _attempt(problem, basis, sizes, None, tolerance, path)
        compiling += found.compiling
    found.compiling = compiling
    return found


def _unseen(box) -> list[np.ndarray]:
    """Returns random coordinates per axis, about two thousand points together."""
    count = max(3, int(2000 ** (1.0 / box.dimension)))
    rng = np.random.default_rng(20)
    return [np.sort(a + (b - a) * rng.random(count)) for a, b in box.intervals]


def _waves(basis: str, key, count: int, dimension: int):
    if basis != "random_features":
        return None
    sigma = Tucker(rank=1, network=basis, hidden=(1,)).net.sigma
    with precision("float64"):
        k_frequency, k_phase = jax.random.split(key)
        shape = (dimension, count)
        frequencies = sigma * jax.random.normal(k_frequency, shape, jnp.float64)
        phases = jax.random.uniform(k_phase, shape, jnp.float64, 0.0, 2.0 * jnp.pi)
        return np.asarray(frequencies), np.asarray(phases)


def _model(basis: str, found: _Attempt, waves, dtype: str) -> tuple[Tucker, Params]:
    """Returns the Tucker model with the coefficients as its core.

    Output kernels are the identity, cut to the size of the axis. Those of random
    features hold their orthonormal combinations, which keeps the core small.
    """
    axes, core = found.system.axes, found.core
    count = max(axis.count for axis in axes)
    if basis == "random_features":
        kernels = [axis.transform for axis in axes]
    else:
        core = contract(core, [axis.transform for axis in axes])
        kernels = [np.eye(axis.count) for axis in axes]
    ranks = tuple(kernel.shape[1] for kernel in kernels)
    model = Tucker(rank=ranks, network=basis, hidden=(count,))
    params: dict[str, Any] = {}
    for width in dict.fromkeys(ranks):
        own = [k for k, rank in enumerate(ranks) if rank == width]
        kernel = np.zeros((len(own), count, width))
        for i, k in enumerate(own):
            kernel[i, : len(kernels[k])] = kernels[k]
        params[f"factors_{width}"] = {"kernel": kernel}
        if waves is not None:
            params[f"factors_{width}"]["frequencies"] = waves[0][own]
            params[f"factors_{width}"]["phases"] = waves[1][own]
    params["core"] = core[None]
    with precision(dtype):
        return model, jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)


def _check(problem, basis, key, dtype, path) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(f"{OWNER}: `problem` must be a pinns.Problem, got {problem!r}")
    if len(problem.unknowns) > 1 or problem.equations > 1:
        raise ValueError(
            f"{OWNER}: `problem` must be one equation for one unknown, got "
            f"{problem.equations} for ({', '.join(problem.unknowns)}); the methods "
            "adam and lbfgs work"
        )
    for name, value, allowed in (
        ("basis", basis, BASES),
        ("dtype", dtype, DTYPES),
        ("path", path, ("auto", *SOLVERS)),
    ):
        if value not in allowed:
            raise ValueError(
                f"{OWNER}: `{name}` must be one of {', '.join(allowed)}, got {value!r}"
            )
    typed = isinstance(key, jax.Array) and key.shape == ()
    typed = typed and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if basis == "random_features" and not typed:
        raise TypeError(
            f"{OWNER}: `key` must be a typed random key such as jax.random.key(0) with "
            f"basis='random_features', got {key!r}"
        )
    if basis != "random_features" and key is not None:
        raise ValueError(
            f"{OWNER}: `key` belongs to basis='random_features', got {key!r} with "
            f"basis={basis!r}"
        )


def _sizes(problem: Problem, basis: str, size) -> tuple[int, ...]:
    d = problem.box.dimension
    if size is None:
        table, least = (RANDOM_SIZES, 16) if basis == "random_features" else (START, 5)
        return (table.get(d, least),) * d
    entries = tuple(size) if isinstance(size, (tuple, list)) else (size,) * d
    if len(entries) != d:
        raise ValueError(
            f"{OWNER}: `size` must be one integer or one for each of the {d} axes "
            f"{problem.box.names}, got {size!r}"
        )
    sizes = tuple(positive_integer(n, OWNER, "size") for n in entries)
    if max(sizes) > LARGEST:
        raise ValueError(f"{OWNER}: `size` must be at most {LARGEST}, got {size!r}")
    return sizes


def _check_memory(problem: Problem, axes: Sequence[Axis], sizes) -> None:
    grid = math.prod(float(len(axis.nodes)) for axis in axes)
    values = grid * (problem.box.dimension + 2)
    if values > MAX_VALUES:
        raise ValueError(
            f"{OWNER}: `size` must give fewer than {MAX_VALUES:.0e} tabulated "
            f"values, got {sizes!r} with about {values:.1e}; the methods lbfgs and "
            "adam do not need the grid"
        )


def _refuse_singular(problem: Problem, outcome: Outcome) -> None:
    if not outcome.condition < SINGULAR:
        raise ValueError(
            f"{OWNER}: `problem` must determine its solution, but the equations of "
            f"{problem.name!r} in this basis are singular to working precision "
            f"(condition number about {outcome.condition:.1e}): a condition may be "
            "missing, an eigenvalue may be met, or the data may be too few"
        )


def _warn(found: _Attempt, info: dict[str, Any], tolerance: float, size) -> None:
    if info["condition"] > ILL_CONDITIONED:
        _say(
            f"the equations are ill-conditioned (about {info['condition']:.1e}); few "
            "digits can be trusted"
        )
    if not found.outcome.converged:
        solver = "GMRES" if info["path"] == "iterative" else "LSQR"
        _say(
            f"{solver} stopped after {info['iterations']} iterations at a residual of "
            f"{info['algebraic_residual']:.1e}, short of the tolerance {tolerance:g}"
        )
    largest = max(info["tail"])
    automatic = size is None and info["basis"] != "random_features"
    if automatic and largest > math.sqrt(tolerance):
        _say(
            f"the coefficients fall to {largest:.1e} only with sizes {info['sizes']}, "
            f"the largest that are tried; the tolerance is {tolerance:g}"
        )
    if info["relative_residual"] > UNRESOLVED and found.outcome.path != "least_squares":
        _say(
            f"the residual at unseen points is {info['relative_residual']:.1e} of its "
            "terms: the basis does not resolve the solution; a larger `size` may"
        )


def _say(what: str) -> None:
    warnings.warn(f"{OWNER}: {what}", UserWarning, stacklevel=4)


__all__ = ["DirectResult", "solve_direct"]
