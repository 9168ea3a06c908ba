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
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Array

from pinns.domain import positive_number
from pinns.problem import Problem
from pinns.separable import Params, Tucker
from pinns.solvers._attempt import (
    Attempt,
    check,
    drawn_waves,
    is_random,
    larger_sizes,
    make_axes,
    refuse_singular,
    sizes_of,
    tucker,
    unseen_points,
    warn,
)
from pinns.solvers._paths import SOLVERS, choose
from pinns.solvers._system import System
from pinns.solvers._tables import check_linear, tables
from pinns.solvers._windows import count_windows, march


OWNER = "pinns.solve_direct"


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
    basis: str | Mapping[str, str] = "chebyshev",
    cluster: Mapping[str, tuple[float, float]] | None = None,
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
        basis: of all axes: `chebyshev`, `legendre`, `fourier` (where the axis is
            periodic) or `random_features`; or `chebyshev` and `fourier` by axis.
        cluster: by axis, center and width of a layer; Chebyshev polynomials of that
            axis then are of a coordinate in which the layer is wide, see
            `pinns.factors.stretched`. Half the width of a tanh is a good choice.
        size: basis functions per axis, one number or one per axis. By default sizes
            grow until the coefficients have fallen to `tolerance` on every axis; for
            random features they are fixed by the dimension.
        key: typed random key, for random features only.
        dtype: of the parameters; the solve itself is in float64.
        tolerance: iterative solves stop at this residual of the discrete equations,
            relative to the known values. Automatic sizes stop at coefficients this
            small, if the residual at unseen points, relative to the size of its terms,
            has fallen to the square root of it.
        path: `auto`, `diagonalization`, `iterative` (GMRES), `dense` or
            `least_squares`.

    Returns:
        `DirectResult`. `info` has the `path` taken, `basis`, `sizes`, `ranks` of the
        core, `unknowns`, `iterations`, `windows` in time that were marched through,
        `condition` of the discrete equations (of their matrix; by diagonalization an
        estimate from eigenvalues and eigenvectors; by an iteration a lower bound),
        `preconditioned_condition` of what GMRES or LSQR has iterated on, else None,
        `algebraic_residual` (relative), `residual` (root mean square at
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
    kinds = check(OWNER, problem, basis, cluster, key, dtype, path)
    tolerance = positive_number(tolerance, OWNER, "tolerance")
    sizes = sizes_of(OWNER, problem, kinds, size)
    began = time.perf_counter()
    waves = drawn_waves(kinds, key, max(sizes))
    drawn = time.perf_counter() - began
    found = _attempt(problem, kinds, sizes, waves, tolerance, path)
    if size is None and not is_random(kinds):
        found = _grown(problem, kinds, found, tolerance, path)
    model, params = tucker(found, waves, dtype)
    info = found.report()
    info["compile_seconds"] += drawn
    total = time.perf_counter() - began
    info["solve_seconds"] = total - info["compile_seconds"]
    warn(OWNER, found, info, tolerance, size)
    return DirectResult(model, params, info)


def _attempt(problem, kinds, sizes, waves, tolerance, path, before=None) -> Attempt:
    """Solves with given sizes; what is known at unseen points is taken from before."""
    axes = make_axes(OWNER, problem, kinds, sizes, waves)
    points = unseen_points(problem.box)
    grids = [[a.nodes for a in axes]] + ([points] if before is None else [])
    (found, *more), seconds = tables(problem, grids)
    unseen = more[0] if before is None else before.unseen
    check_linear(OWNER, found)
    system = System(OWNER, problem, axes, found)
    compiling = seconds["compile"]
    path = choose(system) if path == "auto" else path
    k, windows = count_windows(system) if path == "iterative" else (0, 1)
    if windows > 1:
        core, outcome, compiled = march(system, problem, k, windows, tolerance)
        compiling += compiled
    else:
        outcome = SOLVERS[path](system, tolerance)
        core = system.core(outcome.w)
    refuse_singular(OWNER, problem, outcome)
    return Attempt(system, unseen, points, outcome, core, windows, compiling)


def _grown(problem, kinds, found: Attempt, tolerance, path) -> Attempt:
    """Repeats with more functions on the axes whose coefficients have not fallen.

    Then on all axes, while the residual at unseen points is large and still falls.
    """
    compiling = found.compiling
    while (sizes := larger_sizes(found, tolerance)) != found.sizes:
        found = _attempt(problem, kinds, sizes, None, tolerance, path, found)
        compiling += found.compiling
    while found.unresolved() > math.sqrt(tolerance):
        sizes = larger_sizes(found, -1.0)
        if sizes == found.sizes:
            break
        more = _attempt(problem, kinds, sizes, None, tolerance, path, found)
        compiling += more.compiling
        if not more.unresolved() < 0.5 * found.unresolved():
            break
        found = more
    found.compiling = compiling
    return found


__all__ = ["DirectResult", "solve_direct"]
