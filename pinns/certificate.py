"""Certificates: what can be said about a solution without knowing the exact one.

`certify` measures residual and conditions where training did not look and, where the
operator allows it, bounds the error. The bounds and their proofs are in
`pinns.error_bound`; they hold for any parameters, trained or not.

`Solution.certificate()` keeps what it found, and `print(solution)` and the command line
show it, so its cost is limited: norms that take more than `LIMIT` operations are not
integrated. The misfit of the conditions is then sampled, and there is no bound.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pinns._norms import random_points
from pinns.conditions import Term
from pinns.domain import positive_integer, positive_number, precision
from pinns.error_bound import NoBoundError, Stability, stability
from pinns.evaluation import Model, initial_params, scattered_misfit
from pinns.factored import FactoredLoss
from pinns.factored.loss import grid_cost
from pinns.losses import GridLoss
from pinns.masked import MaskedBox
from pinns.problem import Problem
from pinns.separable import Separable
from pinns.solution import Solution
from pinns.solvers._tables import QUICK


MIN_POINTS = 64
# Norms are integrated on grids of at most this many values: no sum cancels there.
MAX_GRID = 4 * 10**6
MIN_GRID_POINTS = 8
# Operations that the norms may take, some seconds of one core.
LIMIT = 2e10
# Derivatives of a pointwise network cost about this many of its evaluations.
POINTWISE = 20.0
# Random points per face where conditions are sampled.
FACE_POINTS = 2048
# Root mean squares beyond this ratio have parted: the square of sampling noise on
# 4,096 points is far smaller.
OVERFIT_RATIO = 2.0


class OverfitWarning(UserWarning):
    """The residual between the training points is much larger than at them."""


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What `certify` found. Norms are root mean squares over box or faces.

    residual: at unseen random points, all equations. training: of the last step, at
    the training points; None without a history. overfit: the two have parted.
    boundary: misfit of every group of conditions, integrated, or sampled at random
    points where the norms are not integrated. norm: of the solution, or None.
    error_bound: upper bound of the error `u - u_exact`, or None; then `reason` says
    why. relative_error_bound: upper bound of `||u - u_exact|| / ||u_exact||`, None
    where the error bound is not below the norm. constant: beta of `pinns.error_bound`.
    theorem: which fact gives the bound.
    """

    residual: float
    training: float | None
    overfit: bool
    boundary: dict[str, float]
    norm: float | None = None
    error_bound: float | None = None
    relative_error_bound: float | None = None
    constant: float | None = None
    theorem: str | None = None
    reason: str | None = None

    @property
    def warning(self) -> str:
        """What an overfit residual is warned of with; empty if it is not overfit."""
        if not self.overfit:
            return ""
        return (
            f"the residual is {self.residual:.3g} at unseen points and "
            f"{self.training:.3g} at the training points; more points, a smaller "
            "network or a larger fixed basis give an honest loss"
        )

    def __str__(self) -> str:
        lines = [f"residual at unseen points   {self.residual:.3e}"]
        if self.training is not None:
            note = "  (overfit)" if self.overfit else ""
            lines.append(f"residual at training points {self.training:.3e}{note}")
        lines += [f"{name:27s} {value:.3e}" for name, value in self.boundary.items()]
        if self.error_bound is None:
            lines.append(f"no error bound: {self.reason}")
        else:
            lines.append(f"error at most               {self.error_bound:.3e}")
            if self.relative_error_bound is not None:
                lines.append(
                    f"relative error at most      {self.relative_error_bound:.3e}"
                )
            lines.append(f"by: {self.theorem}, constant {self.constant:.6g}")
        return "\n".join(lines)


def certify(
    solution: Solution,
    *,
    points: int | None = None,
    seed: int = 1,
    limit: float = LIMIT,
) -> Certificate:
    """Returns residual at unseen points, boundary misfit and, if known, an error bound.

    Args:
        solution: what `pinns.solve` returned.
        points: Gauss-Legendre points per axis for the norms in the bound; by default
            64, or twice the width of the last hidden layer. They must resolve the
            residual: a sum of products of network derivatives, a known source.
        seed: of the unseen random points.
        limit: operations that the norms may take at most, by default 2e10, some
            seconds of one core; `math.inf` for none. Beyond it the misfit of the
            conditions is sampled at random points and there is no bound.

    Returns:
        The certificate. The bound holds up to quadrature and rounding. Norms are
        integrated on a tensor grid of up to 4e6 values, else in factored form; the
        noise floor of factored norms is added to them.

    Warns:
        OverfitWarning: the residual at unseen points is more than twice that at the
            training points.

    Raises:
        ValueError: `points` that is no positive integer, `limit` no positive number.

    Example:
        >>> import jax, pinns
        >>> problem = pinns.problems.helmholtz3d(a=(1, 1, 1), hard=True)
        >>> model = pinns.CP(rank=2, hidden=(8,))
        >>> solution = pinns.solve(
        ...     problem, model, points=8, steps=1, key=jax.random.key(0), progress=False
        ... )
        >>> found = certify(solution)
        >>> bool(solution.relative_l2() <= found.error_bound / 8**-0.5 * 1.001)
        True
    """
    if points is not None:
        positive_integer(points, "pinns.certificate", "points")
    positive_number(limit, "pinns.certificate", "limit")
    residual = solution.residual_rms(seed=seed)
    history = solution.history
    training = None
    if len(history.groups):
        count = solution.problem.equations if len(history.names) > 1 else 1
        squares = history.groups[-1][:count]
        training = math.sqrt(max(float(np.sum(squares)), 0.0))
    overfit = training is not None and residual > OVERFIT_RATIO * training
    overfit = overfit and residual > _noise(solution, seed)
    found = _integrated(solution, points, float(limit))
    if isinstance(found, str):
        boundary = _sampled(solution, seed)
    else:
        boundary = _by_group(solution.problem, found)
    plain = Certificate(residual, training, bool(overfit), boundary)
    if overfit:
        of = f"the residual of {solution.problem.name!r}"
        text = plain.warning.replace("the residual", of, 1)
        warnings.warn(text, OverfitWarning, stacklevel=2)
    if isinstance(found, str):
        return dataclasses.replace(plain, reason=found)
    try:
        stable = stability(solution.problem)
        bound = _bound(solution.problem, stable, found)
    except NoBoundError as error:
        return dataclasses.replace(
            plain, norm=math.sqrt(found["norm"]), reason=str(error)
        )
    norm = math.sqrt(found["norm"])
    return dataclasses.replace(
        plain,
        norm=norm,
        error_bound=bound,
        relative_error_bound=bound / (norm - bound) if bound < norm else None,
        constant=stable.constant,
        theorem=stable.theorem,
    )


def _noise(solution: Solution, seed: int) -> float:
    """Returns the residual that rounding alone may leave.

    A share of the source, or of the solution where that is larger.
    """
    problem = solution.problem
    with solution.precision():
        sample = jnp.asarray(random_points(problem.box, 512, seed), solution.dtype)

        def source(columns):
            zero = lambda *_: jnp.zeros(sample.shape[0], sample.dtype)  # noqa: E731
            return problem.residual_values(zero, columns)

        values = jax.jit(source)(list(sample.T))
        found = solution.at(sample)
    own = list(found.values()) if isinstance(found, dict) else [found]
    size = max(
        math.sqrt(sum(float(np.mean(np.square(v))) for v in several))
        for several in (values, own)
    )
    return 10.0 * math.sqrt(float(np.finfo(solution.dtype).eps)) * size


def _integrated(
    solution: Solution, points: int | None, limit: float
) -> dict[str, float] | str:
    """Returns mean squares of residual, terms and solution, or why there are none."""
    found = _norms(solution.problem, solution.model, points, limit)
    if isinstance(found, str):
        return found
    names, run, noise = found
    with precision("float64"):
        params = jax.tree.map(lambda p: jnp.asarray(p, "float64"), solution.params)
        groups = np.asarray(run(params))
    squares = dict(zip(names, (np.maximum(groups, 0.0) + noise).tolist(), strict=True))
    squares["norm"] = max(squares["norm"] - 2.0 * noise, 0.0)
    return squares


@lru_cache(maxsize=8)
def _norms(
    problem: Problem, model: Model, points: int | None, limit: float
) -> tuple[tuple[str, ...], Callable[[Any], Any], float] | str:
    """Returns group names, compiled mean squares by parameters and their noise.

    Kept between calls: a certificate may be asked for again and again in training.
    """
    if isinstance(problem.box, MaskedBox):
        return "norms over a masked box are not integrated"
    clone = _separate_terms(problem)
    d = problem.box.dimension
    width = 2 * model.net.num_features if isinstance(model, Separable) else 0
    wanted = max(MIN_POINTS, width) if points is None else points
    with precision("float64"):
        if wanted**d <= MAX_GRID and _grid_cost(problem, model, (wanted,) * d) <= limit:
            return _on_grid(clone, model, wanted)
        refused = "a pointwise network has no factored norms"
        if isinstance(model, Separable):
            rule = problem.box.points(wanted, "gauss_legendre", dtype="float64")
            try:
                factored = FactoredLoss(clone, model, rule, choose="factored")
            except ValueError as error:
                refused = str(error)
            else:
                if factored.operations <= limit:
                    prepared = factored.prepare(rule)
                    run = _compiled(problem, model, factored, prepared)
                    return clone.groups, run, factored.floor(prepared)
                refused = (
                    f"in factored form they take about {factored.operations:.0e} "
                    f"operations, the limit is {limit:.0e}"
                )
        room = min(MAX_GRID, limit / _grid_cost(problem, model, (1,) * d))
        count = min(wanted, int(room ** (1 / d) + 1e-9))
        if count < (MIN_GRID_POINTS if points is None else points):
            return (
                f"its norms cannot be integrated: {refused}; a grid of {wanted} "
                f"points per axis has {float(wanted) ** d:.1e} values"
            )
        return _on_grid(clone, model, count)


def _on_grid(clone: Problem, model: Model, count: int) -> tuple:
    rule = clone.box.points(count, "gauss_legendre", dtype="float64")
    grid = GridLoss(clone, model, (count,) * clone.box.dimension, "float64")

    def loss(params: Any, points: Any) -> Any:
        return grid(params, grid.prepare(points))

    return clone.groups, _compiled(clone, model, loss, rule), 0.0


def _compiled(problem: Problem, model: Model, loss: Any, data: Any) -> Callable:
    """Returns the mean squares by parameters; compiled in haste, for it runs once."""

    def groups(params: Any, data: Any) -> Any:
        return loss(params, data)[1]

    key = jax.random.key(0)
    struct = jax.eval_shape(lambda: initial_params(problem, model, key, "float64"))
    compiled = jax.jit(groups).lower(struct, data).compile(QUICK)
    return lambda params: compiled(params, data)


def _grid_cost(problem: Problem, model: Model, counts: tuple[int, ...]) -> float:
    """Returns about how many operations all terms take on a grid."""
    if isinstance(model, Separable):
        return len(problem.unknowns) * grid_cost(model, counts)
    weights = sum(a * b for a, b in zip(model.hidden, model.hidden[1:], strict=False))
    size = weights + (problem.box.dimension + 1) * max(model.hidden)
    return POINTWISE * 2.0 * size * math.prod(map(float, counts))


def _sampled(solution: Solution, seed: int) -> dict[str, float]:
    """Returns root mean squares of the conditions at random points of their faces."""
    problem, model = solution.problem, solution.model
    numbered = _conditions(problem)
    if not numbered or isinstance(problem.box, MaskedBox):
        return {}  # points inside do not stay inside on a face

    def misfits(params: Any, points: Any) -> list:
        return [
            scattered_misfit(problem, model, params, points, t) for _, t in numbered
        ]

    with solution.precision():
        points = jnp.asarray(
            random_points(problem.box, FACE_POINTS, seed), solution.dtype
        )
        params = jax.tree.map(jnp.asarray, solution.params)
        compiled = jax.jit(misfits).lower(params, points).compile(QUICK)
        values = [float(v) for v in compiled(params, points)]
    found = {str(i): v for (i, _), v in zip(numbered, values, strict=True)}
    return _by_group(problem, found)


def _separate_terms(problem: Problem) -> Problem:
    """Returns the problem with every term a group of weight one, and `u` as another."""
    clone = copy.copy(problem)
    selectors = ("interior",) * problem.box.dimension
    zeros = (0,) * problem.box.dimension

    def itself(source, coordinates):
        count = len(problem.unknowns)
        return [source(unknown, zeros, selectors) for unknown in range(count)]

    terms = [
        dataclasses.replace(term, group=str(i), weight=1.0)
        for i, term in enumerate(problem.terms)
    ]
    norm = Term(
        name="norm", group="norm", weight=1.0, selectors=selectors, function=itself
    )
    clone.terms = (*terms, norm)
    clone.data = ()
    return clone


def _by_group(problem: Problem, found: dict[str, float]) -> dict[str, float]:
    """Returns root mean squares of the conditions by their names."""
    shares: dict[str, list[tuple[float, float]]] = {}
    for i, term in _conditions(problem):
        shares.setdefault(term.group, []).append((term.weight, found[str(i)]))
    return {
        name: math.sqrt(sum(w * v for w, v in own) / sum(w for w, _ in own))
        for name, own in shares.items()
    }


def _bound(problem: Problem, stable: Stability, found: dict[str, float]) -> float:
    operator = stable.operator
    total = stable.residual * math.sqrt(found["0"])
    boundary = 0.0
    for i, term in _conditions(problem):
        axis, ends = _face(term.selectors)
        if axis == operator.time:
            total += stable.initial * math.sqrt(found[str(i)])
        elif stable.faces is None:
            raise NoBoundError(
                "boundary values that are met by training alone are bounded for "
                f"constant coefficients only (here {term.name!r}); impose them with "
                "hard=True"
            )
        else:
            boundary += stable.faces[axis] * ends * found[str(i)]
    return total + math.sqrt(boundary)


def _conditions(problem: Problem) -> list[tuple[int, Term]]:
    """Returns the terms on faces with their numbers."""
    numbered = enumerate(problem.terms)
    return [(i, t) for i, t in numbered if set(t.selectors) != {"interior"}]


def _face(selectors: Sequence[str]) -> tuple[int, int]:
    """Returns the axis a term's faces belong to, and how many faces it has."""
    axis = next(k for k, s in enumerate(selectors) if s != "interior")
    return axis, 2 if selectors[axis] == "ends" else 1


__all__ = ["Certificate", "OverfitWarning", "certify"]
