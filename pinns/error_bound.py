"""Stability constants of linear problems on boxes, from one-dimensional eigenproblems.

Let `e = u - u_exact` be the error of any smooth function u. For a linear equation
`residual(u) = L u - f` it solves `L e = r` with the residual r of u, and `e = g` on the
boundary with the misfit g of u. Where L is a sum of one-dimensional operators

    L = sum_k p_k(x_k) d^2/dx_k^2 + q_k(x_k) d/dx_k + s_k(x_k),   p_k > 0 (or all < 0),

with Dirichlet conditions on all faces, three facts bound e in L2. Norms are root mean
squares over the box; l_k is the length of axis k.

1. Self-adjoint (`q_k = p_k'`): `||e|| <= ||r|| / beta` for g = 0, where beta is the
   smallest |eigenvalue| of L: a sum of one eigenvalue per axis (spectral theorem;
   L has a complete set of product eigenfunctions). beta is the inf-sup constant of L
   also where it is indefinite, as for Helmholtz.
2. Coercive: `||e|| <= ||r|| / beta` for g = 0 with `-(L v, v) >= beta ||v||^2`, beta
   the smallest eigenvalue of the symmetric part of -L, again a sum over axes
   (Lax-Milgram; advection is allowed).
3. Constant coefficients (`p_k = a_k`, `q_k = 0`, `s = c`) and g != 0: in addition

       ||e|| <= ||r|| / beta + sqrt(K sum_k (4 a_k / l_k^2) (|g|^2 on the faces of k)),
       K = sqrt(sum_k l_k^2 / a_k) G / 2 + d max(c, 0) / (2 beta^2)
           + max(2 - d, 0) G^2 / 2,       G^2 = 1 / beta + max(c, 0) / beta^2,

   with the mean squares of g on the two faces of axis k added up. Proof by duality:
   for L z = w, z = 0 on the boundary, Green's formula gives
   `(e, w) = (r, z) + sum_k a_k int g dz/dn` over the faces; the normal derivative is
   bounded by multiplying L z = w with `sum_k (x_k - center_k) dz/dx_k` and integrating
   by parts (Rellich's identity), and G bounds the weighted gradient of z.

For `rate du/dt = L u + f` with L as above, an initial value and Dirichlet conditions on
the faces in space (T the length of the time axis, alpha = beta of fact 2 over rate,
which may be negative here, and e_0 the misfit at the start):

    ||e|| <= (1 - exp(-alpha T)) / alpha ||r|| / rate
             + sqrt((1 - exp(-2 alpha T)) / (2 alpha T)) ||e_0||

(energy estimate and Young's inequality for convolutions), and with constant
coefficients and alpha > 0 the boundary term of fact 3, because
`||L z|| <= ||w||` holds for the backward problem as well (maximal regularity).

Sources: Evans, Partial differential equations, sections 6.2, 6.5 and 7.1; Rellich,
Darstellung der Eigenwerte von Delta u + lambda u = 0 durch ein Randintegral, Math. Z.
46 (1940). Eigenvalues are computed by a Legendre-Galerkin method and are no interval
enclosures: the difference between two resolutions is subtracted from beta, and where it
is not small there is no bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pinns.conditions import Data, Dirichlet, Initial
from pinns.domain import precision
from pinns.evaluation import along
from pinns.factored.separation import Separation, separate
from pinns.factored.sums import NotSeparableError
from pinns.problem import Problem
from pinns.program import trace


NODES = 160
# Legendre-Galerkin basis functions; the smaller number checks the larger one.
RESOLUTIONS = (40, 56)
# Largest change of beta between the two resolutions, relative to it.
MAX_CHANGE = 1e-4
MAX_SUMS = 200_000


class NoBoundError(Exception):
    """The operator or the conditions allow no bound; the message says why."""


@dataclass(frozen=True)
class Operator:
    """A sum of one-dimensional operators, normalized to p > 0 (see the module).

    time: axis of the first-order time derivative, or None. rate: its coefficient.
    axes: (p, q, s) on Gauss-Legendre nodes per space axis. constants: (a_k) and c if
    the coefficients are constant, else None.
    """

    problem: Problem
    time: int | None
    rate: float
    axes: dict[int, np.ndarray]
    constants: tuple[dict[int, float], float] | None

    @property
    def space(self) -> list[int]:
        return list(self.axes)


@dataclass(frozen=True)
class Stability:
    """How residual, initial and boundary misfits bound the error, in root mean square.

    `||e|| <= residual ||r|| + initial ||e_0|| + sqrt(sum_k faces[k] |g_k|^2)` with the
    mean squares |g_k|^2 over the two faces of axis k added up. faces is None where
    only exact boundary values allow a bound. constant: beta. theorem: which fact.
    """

    operator: Operator
    theorem: str
    constant: float
    residual: float
    initial: float
    faces: dict[int, float] | None


@lru_cache(maxsize=16)
def stability(problem: Problem) -> Stability:
    """Returns the stability constants of a problem.

    Raises:
        NoBoundError: operator or conditions are not of the kind described above.

    Example:
        >>> import pinns
        >>> found = stability(pinns.problems.poisson(dimension=3))
        >>> round(found.constant / np.pi**2, 6)
        3.0
    """
    operator = recognize(problem)
    spectra = {k: _spectra(operator, k) for k in operator.space}
    symmetric = all(skew < 1e-9 for _, _, skew in spectra.values())
    fine = {k: f for k, (_, f, _) in spectra.items()}
    coarse = {k: c for k, (c, _, _) in spectra.items()}
    lowest = float(sum(f[0] for f in fine.values()))
    change = abs(lowest - float(sum(c[0] for c in coarse.values())))
    if operator.time is not None:
        return _parabolic(operator, lowest - change, change, lowest)
    if lowest > 0.0:
        theorem = "coercive, self-adjoint" if symmetric else "coercive"
        beta = lowest
    elif symmetric:
        theorem = "self-adjoint, smallest |eigenvalue|"
        beta = smallest_sum(fine)
        change = abs(beta - smallest_sum(coarse))
    else:
        raise NoBoundError(
            "the operator is neither self-adjoint nor coercive: the symmetric part of "
            f"its negative has the eigenvalue {lowest:.3g}"
        )
    if not change <= MAX_CHANGE * beta:
        raise NoBoundError(
            f"its smallest eigenvalue is not resolved: {beta:.6g} changes by "
            f"{change:.1g} between {RESOLUTIONS[0]} and {RESOLUTIONS[1]} polynomials"
        )
    beta -= change
    faces = _faces(operator, beta)
    return Stability(operator, theorem, beta, 1.0 / beta, 0.0, faces)


def _parabolic(operator, beta: float, change: float, size: float) -> Stability:
    if change > MAX_CHANGE * max(abs(size), 1.0):
        raise NoBoundError(
            f"its smallest eigenvalue is not resolved: {size:.6g} changes by "
            f"{change:.1g} between {RESOLUTIONS[0]} and {RESOLUTIONS[1]} polynomials"
        )
    a, b = operator.problem.box.intervals[operator.time or 0]
    length, alpha = b - a, beta / operator.rate
    if abs(alpha * length) < 1e-8:
        first, second = length, 1.0
    else:
        first = -math.expm1(-alpha * length) / alpha
        second = -math.expm1(-2.0 * alpha * length) / (2.0 * alpha * length)
    return Stability(
        operator,
        "parabolic energy estimate",
        beta,
        first / operator.rate,
        math.sqrt(second),
        _faces(operator, beta) if beta > 0.0 else None,
    )


def _faces(operator: Operator, beta: float) -> dict[int, float] | None:
    if operator.constants is None:
        return None
    a, c = operator.constants
    box, d = operator.problem.box, len(a)
    lengths = {k: box.intervals[k][1] - box.intervals[k][0] for k in a}
    above = max(c, 0.0)
    gradient = 1.0 / beta + above / beta**2
    width = math.sqrt(sum(lengths[k] ** 2 / a[k] for k in a))
    factor = 0.5 * width * math.sqrt(gradient) + 0.5 * d * above / beta**2
    factor += 0.5 * max(2 - d, 0) * gradient
    return {k: factor * 4.0 * a[k] / lengths[k] ** 2 for k in a}


def recognize(problem: Problem) -> Operator:
    """Returns the operator of a problem's residual; NoBoundError if it is another."""
    if len(problem.unknowns) != 1 or problem.equations != 1:
        raise NoBoundError("there is more than one unknown or equation")
    if problem.parameters:
        raise NoBoundError("the equation has unknown parameters")
    with precision("float64"):
        d = problem.box.dimension
        rule = problem.box.points(NODES, "gauss_legendre", dtype="float64")
        x = [np.asarray(p.coordinates) for p in rule]
        program = trace(
            problem.terms[0].function,
            (NODES,) * d,
            "float64",
            [along(NODES, k, d) for k in range(d)],
        )
        try:
            # Only the unknown's coefficients matter: split known functions coarsely.
            found = separate(program, x, 1e-2)
        except NotSeparableError as error:
            raise NoBoundError(
                f"the operator is no sum of one-dimensional ones: {error}"
            ) from None
    parts = _parts(program, found, d)
    return _normalized(problem, parts, _time(problem, parts))


def _parts(program, found: Separation, d: int) -> dict[tuple[int, int], np.ndarray]:
    """Returns coefficients on the nodes by (axis, order)."""
    parts: dict[tuple[int, int], np.ndarray] = {}
    for (leaves, muls), coefficient in found.equations[0].words.items():
        if not leaves:
            continue
        if len(leaves) > 1:
            raise NoBoundError("the equation is not linear")
        _, orders, _ = program.leaves[leaves[0]]
        touched = {k for k, o in enumerate(orders) if o} | {k for k, _ in muls}
        if len(touched) > 1:
            raise NoBoundError(
                "the operator is no sum of one-dimensional ones: a derivative or "
                f"coefficient couples {len(touched)} axes"
            )
        axis = next(iter(touched), -1)
        order = orders[axis] if touched else 0
        if order > 2:
            raise NoBoundError(f"there is a derivative of order {order}")
        values = np.full(NODES, coefficient)
        for _, key in muls:
            values = values * found.arrays[key]
        parts[axis, order] = parts.get((axis, order), 0.0) + values
    return parts


def _time(problem: Problem, parts: Mapping) -> int | None:
    """Returns the axis with an initial condition, after checking all conditions."""
    box = problem.box
    if box.physical_names:
        raise NoBoundError(f"bounds are for plain boxes, this is {box!r}")
    ends: set[tuple[int, str]] = set()
    times: set[int] = set()
    for condition in problem.conditions:
        if isinstance(condition, Dirichlet):
            for axis, side in condition.faces(box):
                both = ("lower", "upper") if side == "ends" else (side,)
                ends.update((axis, s) for s in both)
        elif isinstance(condition, Initial) and condition.order == 0:
            times.add(box.axis(condition.axis))
        elif not isinstance(condition, Data):
            raise NoBoundError(
                f"{condition.group(box)!r} is neither Dirichlet nor an initial value"
            )
    if problem.data:
        raise NoBoundError("measured data are no part of a well-posed problem")
    if len(times) > 1:
        raise NoBoundError("there are initial values on several axes")
    for axis, name in enumerate(box.names):
        found = {side for k, side in ends if k == axis}
        if found != (set() if axis in times else {"lower", "upper"}):
            raise NoBoundError(
                f"axis {name!r} needs Dirichlet conditions at both ends"
                + (" or an initial value alone" if axis in times else "")
            )
    time = next(iter(times), None)
    if time is not None and (set(parts) & {(time, 0), (time, 2)}):
        raise NoBoundError(
            f"a coefficient or second derivative belongs to {box.names[time]!r}, the "
            "axis of the initial value"
        )
    return time


def _normalized(problem: Problem, parts: Mapping, time: int | None) -> Operator:
    d = problem.box.dimension
    zero = np.zeros(NODES)
    space = [k for k in range(d) if k != time]
    get = lambda *key: np.asarray(parts.get(key, zero))  # noqa: E731
    signs = {float(s) for k in space for s in np.unique(np.sign(get(k, 2)))}
    if signs not in ({1.0}, {-1.0}):
        raise NoBoundError(
            "the second derivatives of all axes need coefficients of one sign"
        )
    sign = signs.pop()
    rate = 0.0
    if time is not None:
        rates = -sign * get(time, 1)
        rate = float(rates.mean())
        if np.ptp(rates) > 1e-12 * np.abs(rates).max() or rate <= 0.0:
            raise NoBoundError(
                f"the derivative along {problem.box.names[time]!r} needs a constant "
                "coefficient of the sign that makes the equation parabolic"
            )
    axes = {k: sign * np.stack([get(k, 2), get(k, 1), get(k, 0)]) for k in space}
    shift = sign * float(get(-1, 0).mean())
    axes[space[0]][2] += shift
    flat = all(np.ptp(rows, axis=1).max() <= 1e-12 * np.abs(rows).max()
               and np.abs(rows[1]).max() == 0.0 for rows in axes.values())  # fmt: skip
    constants = None
    if flat:
        second = {k: float(rows[0].mean()) for k, rows in axes.items()}
        constants = second, float(sum(rows[2].mean() for rows in axes.values()))
    return Operator(problem, time, rate, axes, constants)


def _spectra(operator: Operator, axis: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns ascending eigenvalues of minus the symmetric part, coarse and fine.

    The third result is the size of the skew part relative to the operator.
    """
    found = [_eigenvalues(operator, axis, count) for count in RESOLUTIONS]
    return found[0][0], found[1][0], found[1][1]


def _eigenvalues(operator: Operator, axis: int, count: int) -> tuple[np.ndarray, float]:
    low, high = operator.problem.box.intervals[axis]
    values = np.ascontiguousarray(operator.axes[axis], np.float64)
    return _eigenproblem(high - low, values.tobytes(), count)


@lru_cache(maxsize=64)
def _eigenproblem(
    length: float, coefficients: bytes, count: int
) -> tuple[np.ndarray, float]:
    """Solves one eigenproblem; many axes of a problem have the same one."""
    weights = _rule()[1]
    scale = 2.0 / length
    p, q, s = np.frombuffer(coefficients).reshape(3, NODES)
    basis, first, second = (jet[:, :count] for jet in _legendre_jets())
    first, second = scale * first, scale**2 * second
    applied = p[:, None] * second + q[:, None] * first + s[:, None] * basis
    form = -(weights[:, None] * basis).T @ applied
    mass = (weights[:, None] * basis).T @ basis
    lower = np.linalg.cholesky(mass)
    half = np.linalg.solve(lower, 0.5 * (form + form.T))
    values = np.linalg.eigvalsh(np.linalg.solve(lower, half.T))
    skew = np.linalg.norm(form - form.T) / np.linalg.norm(form)
    return values, float(skew)


@lru_cache(maxsize=1)
def _rule() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(NODES)


@lru_cache(maxsize=1)
def _legendre_jets() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns basis functions that vanish at both ends, with two derivatives."""
    nodes, _ = _rule()
    count = max(RESOLUTIONS)
    # P_{j+2} - P_j, scaled to a derivative of norm one.
    coefficients = np.zeros((count + 2, count))
    for j in range(count):
        coefficients[[j, j + 2], j] = np.array([-1.0, 1.0]) / math.sqrt(4.0 * j + 6.0)
    jets = []
    for order in range(3):
        derived = np.polynomial.legendre.legder(coefficients, order)
        jets.append(np.polynomial.legendre.legval(nodes, derived).T)
    return jets[0], jets[1], jets[2]


def smallest_sum(spectra: Mapping[Any, np.ndarray]) -> float:
    """Returns the smallest |sum| of one value per list, lists in ascending order.

    Raises:
        NoBoundError: more than `MAX_SUMS` partial sums lie below zero.
    """
    lists = list(spectra.values())
    base = float(sum(v[0] for v in lists))
    if base >= 0.0:
        return base
    target = -base
    sums = np.zeros(1)
    for values in lists:
        grown = (sums[:, None] + (values - values[0])[None, :]).reshape(-1)
        grown = np.unique(grown.round(12))
        # Only the first sum beyond the target can come to lie closest to it.
        beyond = grown[grown > target][:1]
        sums = np.concatenate([grown[grown <= target], beyond])
        if sums.size > MAX_SUMS:
            raise NoBoundError(
                f"more than {MAX_SUMS} eigenvalues lie on the other side of zero"
            )
    return float(np.abs(sums - target).min())


__all__ = ["NoBoundError", "Operator", "Stability", "smallest_sum", "stability"]
