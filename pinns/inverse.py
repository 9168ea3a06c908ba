"""What an inverse problem found: values, functions, errors and uncertainty.

The uncertainty of unknown numbers is a Laplace approximation. For measurements
`y_j = u(x_j) + e_j` with Gaussian noise of standard deviation s, the loss, scaled by
`N / (2 s^2)`, is the negative logarithm of a posterior density in which the equation is
a penalty of the weight it had in training. With the Jacobians `J_D` of the
measurements and `J_E` of equation and conditions, its Gauss-Newton matrix is

    A = J_D^T J_D / s^2 + kappa J_E^T W J_E,    kappa = N / (w s^2)

(w the weight of the data), over all trained numbers. The covariance of the unknown
numbers alone is the inverse of the Schur complement

    S = A_pp - A_ps A_ss^+ A_sp

in which the state (the networks and coefficient functions, s) is marginalized, not
held fixed: it may follow the numbers (p). Directions that change no function (CP
factors may exchange scales) have no part in it: the pseudoinverse leaves them out.

Source: MacKay 1992, "A practical Bayesian framework for backpropagation networks";
Seber & Wild 1989, Nonlinear regression, section 2.1, for the noise estimated with the
effective number of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from pinns._norms import error_grid
from pinns.domain import positive_integer, precision, real_number
from pinns.evaluation import scattered_values
from pinns.factored import FactoredLoss
from pinns.losses import GridLoss
from pinns.parameters import ENTRY
from pinns.separable import Separable
from pinns.slabs import Reduction
from pinns.solution import Solution


# The matrix has one row and column per trained number.
MAX_PARAMETERS = 4_000
# Columns that are formed at a time.
COLUMNS = 32
# Points per axis on which functions are compared with the truth.
ERROR_VALUES = 10_000


@dataclass(frozen=True)
class Coefficient:
    """A coefficient function that was found, as a function of its own axes."""

    solution: Solution
    name: str
    orders: tuple[int, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes it varies along, in the order of its arguments."""
        found = self.solution.problem.parameters
        return found.own_box(found.number(self.name)).names

    def __call__(self, *coordinates: Any) -> Array:
        """Returns values on the tensor grid of one number or 1-D array per axis.

        Raises:
            ValueError: a wrong number of arguments, or one of two or more axes.
        """
        axes = self.axes
        if len(coordinates) != len(axes):
            raise ValueError(
                f"pinns.Coefficient: expected {len(axes)} coordinates "
                f"({', '.join(axes)}), got {len(coordinates)}"
            )
        for name, c in zip(axes, coordinates, strict=True):
            if jnp.ndim(c) > 1:
                raise ValueError(
                    f"pinns.Coefficient: coordinate {name!r} must be a number or a "
                    f"1-D array, got shape {jnp.shape(c)}"
                )
        dtype, params, context = self.solution.working(coordinates)
        with context:
            arrays = [jnp.asarray(c, dtype) for c in coordinates]
            placed = [
                c.reshape([-1 if i == k else 1 for k in range(len(axes))])
                for i, c in enumerate(arrays)
            ]
            values = self._values(params, placed)
            return values.reshape([n for c in arrays for n in c.shape])

    def at(self, points: Float[Array, "*n a"]) -> Float[Array, "*n"]:
        """Returns values at scattered points, one column per axis of its own.

        Raises:
            ValueError: a wrong number of columns.
        """
        axes = self.axes
        if np.ndim(points) < 1 or np.shape(points)[-1] != len(axes):
            raise ValueError(
                f"pinns.Coefficient.at: `points` must have shape (..., {len(axes)}) "
                f"with columns {', '.join(axes)}, got {np.shape(points)}"
            )
        dtype, params, context = self.solution.working([points])
        with context:
            array = jnp.asarray(points, dtype)
            return self._values(params, [array[..., i] for i in range(len(axes))])

    def d(self, axis: str, order: int = 1) -> Coefficient:
        """Returns the derivative along one of its axes, itself such a function."""
        if axis not in self.axes:
            raise ValueError(
                f"pinns.Coefficient.d: {self.name!r} varies along "
                f"({', '.join(self.axes)}), got {axis!r}"
            )
        positive_integer(order, "pinns.Coefficient.d", "order")
        raised = list(self.orders)
        raised[self.axes.index(axis)] += order
        return Coefficient(self.solution, self.name, tuple(raised))

    def __repr__(self) -> str:
        return f"Coefficient({self.name} of {', '.join(self.axes)})"

    def _values(self, params: Any, placed: list[Array]) -> Array:
        found = self.solution.problem.parameters
        number = found.number(self.name)
        box = self.solution.problem.box
        wide: list[Any] = [placed[0]] * box.dimension
        orders = [0] * box.dimension
        own = zip(found.axes[number], placed, self.orders, strict=True)
        for axis, c, order in own:
            wide[axis], orders[axis] = c, order
        return found.value(params, number, orders, wide)


def values(solution: Solution) -> dict[str, float | Coefficient]:
    """Returns unknown numbers as floats, functions as `Coefficient`s, by name."""
    found = solution.problem.parameters
    out: dict[str, float | Coefficient] = {}
    with solution.precision():
        for name in found.names:
            number = found.number(name)
            axes = found.axes[number]
            if axes:
                out[name] = Coefficient(solution, name, (0,) * len(axes))
            else:
                out[name] = float(found.scalar(solution.params, number))
    return out


def errors(solution: Solution) -> dict[str, float]:
    """Returns the relative errors of what was found, where the truth is known.

    For numbers `|found - true| / |true|`, for functions the relative L2 error on an
    equispaced grid of their axes; for a truth of zero, the absolute error.
    """
    problem = solution.problem
    out = {}
    for name, value in values(solution).items():
        number = problem.parameters.number(name)
        exact = problem.parameters.exact[number - problem.parameters.first]
        if exact is None:
            continue
        if isinstance(value, float):
            out[name] = abs(value - exact) / (abs(exact) or 1.0)
            continue
        box = problem.parameters.own_box(number)
        with precision("float64"):
            grid = box.grid(error_grid(box.dimension, ERROR_VALUES), "float64")
            placed = [
                x.reshape([-1 if i == k else 1 for k in range(box.dimension)])
                for i, x in enumerate(grid)
            ]
            true = np.asarray(exact(*placed), np.float64)
        gap = np.asarray(value(*map(np.asarray, grid)), np.float64) - true
        true = np.broadcast_to(true, gap.shape)
        out[name] = float(np.linalg.norm(gap) / (np.linalg.norm(true) or 1.0))
    return out


@dataclass(frozen=True)
class Uncertainty:
    """How well measurements determine the unknown numbers.

    names: of the numbers. values: (p,) found. covariance: (p, p). noise: standard
    deviation of the measurements by name of their condition, as given or estimated.
    degrees: effective number of parameters that the measurements determine, the
    state's included.
    """

    names: tuple[str, ...]
    values: np.ndarray
    covariance: np.ndarray
    noise: dict[str, float]
    degrees: float

    @property
    def standard_errors(self) -> dict[str, float]:
        """Standard deviations by name; infinite for what is not determined."""
        found = np.sqrt(np.diag(self.covariance))
        return dict(zip(self.names, found.tolist(), strict=True))

    def __str__(self) -> str:
        rows = [
            f"{name} = {value:.6g} +- {self.standard_errors[name]:.2g}"
            for name, value in zip(self.names, self.values, strict=True)
        ]
        return "\n".join(rows)


def uncertainty(
    solution: Solution,
    noise: float | Mapping[str, float] | None = None,
    *,
    points: int | None = None,
) -> Uncertainty:
    """Returns the Laplace approximation of the unknown numbers' distribution.

    Args:
        solution: of a problem with unknown numbers and `Data`.
        noise: standard deviation of the measurements, or one per `Data` condition by
            its name; by default estimated from what the solution leaves of them.
        points: Gauss-Legendre points per axis for the equation; by default as many as
            the run had.

    Raises:
        ValueError: no unknown numbers, no data, noise that is not positive or for a
            condition there is not, more trained numbers than the dense matrix is for,
            or too few measurements to estimate the noise.
    """
    owner = "pinns.uncertainty"
    problem = solution.problem
    names = problem.parameters.scalars
    if not names:
        raise ValueError(
            f"{owner}: problem {problem.name!r} has no unknown numbers (parameters)"
        )
    if not problem.data:
        raise ValueError(
            f"{owner}: problem {problem.name!r} has no Data conditions, whose noise "
            "is what makes its unknown numbers uncertain"
        )
    given = _given_noise(owner, problem, noise)
    if points is not None:
        positive_integer(points, owner, "points")
    with precision("float64"):
        params = jax.tree.map(lambda p: jnp.asarray(p, "float64"), solution.params)
        flat, unravel = ravel_pytree(params)
        if flat.size > MAX_PARAMETERS:
            raise ValueError(
                f"{owner}: forms a matrix of all pairs of trained numbers and is for "
                f"at most {MAX_PARAMETERS}, got {flat.size}"
            )
        counts = solution.settings["points"] if points is None else points
        equation = np.asarray(_equation_matrix(solution, counts, flat, unravel))
        rows = [
            _data_rows(solution, i, flat, unravel) for i in range(len(problem.data))
        ]
    jacobians = [np.asarray(j) for j, _ in rows]
    gaps = [np.asarray(e) for _, e in rows]
    weights = sum(data.weight for _, data in problem.data)
    scales = [1.0] * len(rows) if given is None else given
    precisions = [j.T @ j / s**2 for j, s in zip(jacobians, scales, strict=True)]
    total = sum(len(e) / s**2 for e, s in zip(gaps, scales, strict=True))
    matrix = sum(precisions) + (total / weights) * equation
    chosen = _positions(params, names)
    degrees = float(sum(np.sum(_inverse(matrix) * p) for p in precisions))
    if given is None:
        count = sum(map(len, gaps))
        if count <= degrees + 0.5:
            raise ValueError(
                f"{owner}: {count} measurements are too few to estimate their noise "
                f"beside {degrees:.1f} effective parameters; give `noise`"
            )
        squared = sum(float(e @ e) for e in gaps)
        sigma = math.sqrt(squared / (count - degrees))
        matrix, scales = matrix / sigma**2, [sigma] * len(rows)
    covariance = _marginal(matrix, chosen)
    found = values(solution)
    slopes = np.array([_slope(problem, solution, name) for name in names])
    return Uncertainty(
        names=names,
        values=np.array([found[name] for name in names]),
        covariance=slopes[:, None] * covariance * slopes[None, :],
        noise=dict(zip(_data_names(problem), scales, strict=True)),
        degrees=degrees,
    )


def _data_names(problem) -> list[str]:
    return [data.group(problem.box) for _, data in problem.data]


def _given_noise(owner: str, problem, noise) -> list[float] | None:
    if noise is None:
        return None
    names = _data_names(problem)
    if not isinstance(noise, Mapping):
        noise = dict.fromkeys(names, noise)
    if set(noise) != set(names):
        raise ValueError(
            f"{owner}: `noise` must be given for ({', '.join(names)}), "
            f"got ({', '.join(map(str, noise))})"
        )
    out = []
    for name in names:
        number = real_number(noise[name])
        if number is None or not 0.0 < number < math.inf:
            raise ValueError(
                f"{owner}: `noise` must be a positive number, got {noise[name]!r}"
            )
        out.append(number)
    return out


def _equation_matrix(solution: Solution, counts, flat: Array, unravel) -> Array:
    """Returns `J^T W J` of the equation and all conditions but data."""
    problem, model = solution.problem, solution.model
    rule = problem.box.points(counts, "gauss_legendre", dtype="float64")
    sizes = tuple(p.coordinates.shape[0] for p in rule)
    if isinstance(model, Separable):
        factored = FactoredLoss(problem, model, rule, "float64")
        if factored.grid is None:
            prepared = factored.prepare(rule)

            def inner(a, b):
                return factored.bilinear(unravel(a), unravel(b), prepared)

            gradient = jax.grad(inner)
            return _columns(
                lambda e: jax.jvp(lambda b: gradient(flat, b), (flat,), (e,))[1], flat
            )
    grid = GridLoss(
        problem,
        model,
        sizes,
        "float64",
        terms=range(len(problem.terms)),
        batch_faces=False,
    )
    prepared_grid = grid.prepare(rule)
    flatten = {i: Reduction(_flattened) for i in range(len(grid.plans))}
    roots = []
    for plan in grid.plans:
        own = plan.own_weights(prepared_grid.weights)
        wide = jnp.ones((1,), "float64")
        for w in own or ():
            wide = (wide[:, None] * w[None, :]).reshape(-1)
        shape = (plan.slabs, 1, wide.size // plan.slabs)
        roots.append(jnp.sqrt(plan.term.weight * wide).reshape(shape))

    def residuals(x):
        found = grid.mean_squares(unravel(x), prepared_grid, flatten)
        return [r * v for r, v in zip(roots, found, strict=True)]

    def column(e):
        pulled = jax.vjp(residuals, flat)[1]
        return pulled(jax.jvp(residuals, (flat,), (e,))[1])[0]

    return _columns(column, flat)


def _flattened(values: Any, rows: Any) -> Array:
    del rows
    return jnp.stack([v.reshape(-1) for v in values])


def _columns(column, flat: Array) -> Array:
    eye = jnp.eye(flat.size, dtype=flat.dtype)
    found = jax.jit(lambda e: lax.map(column, e, batch_size=COLUMNS))(eye)
    return 0.5 * (found + found.T)


def _data_rows(solution: Solution, index: int, flat: Array, unravel) -> tuple:
    """Returns the Jacobian of the measured values, and model minus measurement."""
    problem, model = solution.problem, solution.model
    unknown, data = problem.data[index]
    points = jnp.asarray(data.points, flat.dtype)

    def measured(x):
        return scattered_values(problem, model, unravel(x), points, unknown)

    jacobian = jax.jit(jax.jacfwd(measured))(flat)
    return jacobian, jax.jit(measured)(flat) - jnp.asarray(data.values, flat.dtype)


def _positions(params: Any, names: tuple[str, ...]) -> np.ndarray:
    """Returns where the numbers stand among all trained ones."""
    marked = jax.tree.map(np.zeros_like, params)
    for i, name in enumerate(names):
        marked[ENTRY][name] = np.full_like(params[ENTRY][name], i + 1.0)
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(marked)])
    return np.array([int(np.argmax(flat == i + 1.0)) for i in range(len(names))])


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Returns the pseudoinverse of a symmetric matrix, scaled to a unit diagonal."""
    diagonal = np.diag(matrix)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    sizes, vectors = np.linalg.eigh(matrix * scale[:, None] * scale)
    kept = sizes > len(matrix) * np.finfo(float).eps * max(sizes[-1], 0.0)
    inverse = (vectors[:, kept] / sizes[kept]) @ vectors[:, kept].T
    return inverse * scale[:, None] * scale


def _marginal(matrix: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Returns the inverse of the Schur complement; infinite if it is singular."""
    rest = np.setdiff1d(np.arange(len(matrix)), chosen)
    own = matrix[np.ix_(chosen, chosen)]
    cross = matrix[np.ix_(chosen, rest)]
    schur = own - cross @ _inverse(matrix[np.ix_(rest, rest)]) @ cross.T
    schur = 0.5 * (schur + schur.T)
    sizes, vectors = np.linalg.eigh(schur)
    floor = len(matrix) * np.finfo(float).eps * np.abs(np.diag(own)).max()
    if sizes[0] > floor:
        return vectors / sizes @ vectors.T
    free = np.any(np.abs(vectors[:, sizes <= floor]) > 1e-6, axis=1)
    kept = sizes > floor
    covariance = (vectors[:, kept] / sizes[kept]) @ vectors[:, kept].T
    covariance[free, free] = np.inf
    return covariance


def _slope(problem, solution: Solution, name: str) -> float:
    """Returns the derivative of a number by what is trained for it."""
    found = problem.parameters
    number = found.number(name)
    positive = found.unknowns[number - found.first].positive
    return float(values(solution)[name]) if positive else 1.0  # type: ignore[arg-type]


__all__ = ["Coefficient", "Uncertainty", "errors", "uncertainty", "values"]
