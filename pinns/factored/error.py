"""The relative L2 error of a separable model, without forming the grid.

`u - exact` is written as one tensor train: the model's factors and the automaton of
the separated exact solution side by side. A sweep of QR factorizations along the
chain then gives its norm,

    ||u - exact||^2 = sum_n w_n (u - exact)(x_n)^2 = || R_d ||^2,   Q_k R_k = chain,

which carries the terms themselves, not their inner products, to the last axis, where
they cancel once. Inner products would lose everything below about 1e-8, the square
root of the rounding unit; this form is right down to about 1e-14 times the size of
the terms (which is that of the exact solution, unless the terms of a CP model cancel
each other).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxcore.sampling import quadrature
from pinns.domain import positive_integer, precision
from pinns.evaluation import along
from pinns.factored.automaton import compile_words
from pinns.factored.separation import separate
from pinns.factored.sums import NotSeparableError
from pinns.problem import Problem
from pinns.program import trace
from pinns.separable import CP, Params, Separable, TensorTrain


# Cores (r, n, s) in NumPy, first and last bond 1.
Cores = list[np.ndarray]


def relative_l2(
    problem: Problem,
    model: Separable,
    params: Params,
    num_points: int = 48,
    *,
    tolerance: float = 1e-12,
    slices: str | None = None,
) -> float | dict[str, float]:
    """Returns `||u - exact|| / ||exact||` over the box, in any number of dimensions.

    In a mapped box the norm is that of the physical volume.

    Args:
        problem: with an exact solution that is a sum of products of functions of one
            coordinate, or can be split into such to the tolerance.
        model: CP or tensor train.
        params: its parameters; evaluated in float64 whatever their type.
        num_points: of the Gauss-Legendre rule on every axis; more than the model was
            fitted on.
        tolerance: relative to the largest value, for exact solutions that are not
            separable as written.
        slices: name of an axis, if the exact solution is a sum of products only for
            every value of that coordinate (a Gaussian that moves with time, say). The
            points of the axis are taken one after the other.

    Returns:
        The error, or for several unknowns a dict of errors by name.

    Raises:
        TypeError: a model without a chain of factors.
        ValueError: no exact solution, one that is not separable, or a number of
            points that is not positive.

    Example:
        >>> import pinns
        >>> problem = pinns.problems.poisson(dimension=30)
        >>> model = pinns.TensorTrain(rank=2, network="legendre", hidden=(4,))
        >>> params = model.init(jax.random.key(0), problem.box)
        >>> relative_l2(problem, model, params) > 0.5
        True
    """
    owner = "pinns.factored.relative_l2"
    if not isinstance(model, (CP, TensorTrain)):
        raise TypeError(
            f"{owner}: `model` must be a pinns.CP or pinns.TensorTrain, got {model!r}"
        )
    exact = problem.require_exact("relative_l2")
    positive_integer(num_points, owner, "num_points")
    rules = [quadrature.gauss_legendre(num_points, *i) for i in problem.box.intervals]
    coordinates = [np.asarray(nodes) for nodes, _ in rules]
    roots = [
        np.sqrt(np.asarray(w) / (b - a))
        for (_, w), (a, b) in zip(rules, problem.box.intervals, strict=True)
    ]
    axis = None if slices is None else problem.box.axis(slices, owner=owner)
    with precision("float64"):
        jacobian = problem.box.volume([jax.numpy.asarray(x) for x in coordinates])
        if jacobian is not None:
            weigh = [np.sqrt(np.abs(np.asarray(j))) for j in jacobian]
            roots = [r * w for r, w in zip(roots, weigh, strict=True)]
        approximate = _model_cores(problem, model, params, coordinates)
        errors = {}
        for i, name in enumerate(problem.unknowns):
            squares = np.zeros(2)
            for at in _slices(axis, num_points):
                values, roots_at = list(coordinates), list(roots)
                own = list(approximate[i])
                if axis is not None:
                    values[axis], roots_at[axis] = values[axis][at], roots[axis][at]
                    own[axis] = own[axis][:, at]
                fixed = None if axis is None else (axis, float(values[axis][0]))

                def cores(f, i=i, values=values, fixed=fixed):
                    f = f if fixed is None else _at(f, *fixed)
                    return _exact_cores(problem, i, f, values, tolerance, owner)

                sought = cores(exact[i])
                plain = problem.lifts[i] is None
                target = sought if plain else cores(_without_lift(problem, i))
                gap = _norm(_difference(own, target), roots_at)
                squares += gap**2, _norm(sought, roots_at) ** 2
            gap, size = np.sqrt(squares)
            errors[name] = float(gap / size) if size else math.inf
    return errors if len(errors) > 1 else errors[problem.unknowns[0]]


def _slices(axis: int | None, count: int) -> list[slice]:
    """Returns which points of the sliced axis are taken together."""
    if axis is None:
        return [slice(None)]
    return [slice(k, k + 1) for k in range(count)]


def _at(function: Callable, axis: int, value: float) -> Callable:
    """Returns a function of the coordinates with one of them fixed."""

    def fixed(*x):
        return function(*x[:axis], jax.numpy.full((1,) * len(x), value), *x[axis + 1 :])

    return fixed


def _without_lift(problem: Problem, unknown: int) -> Callable:
    exact = problem.require_exact("relative_l2")[unknown]
    lift = problem.lifts[unknown]

    def target(*coordinates):
        return exact(*coordinates) - (0.0 if lift is None else lift(*coordinates))

    return target


def _model_cores(problem, model, params, coordinates) -> list[Cores]:
    double = jax.tree.map(lambda leaf: jax.numpy.asarray(leaf, "float64"), params)
    factors = model.factors(
        double,
        problem.box,
        [jax.numpy.asarray(x) for x in coordinates],
        0,
        unknowns=len(problem.unknowns),
        envelope=problem.hard.exponents(),
    )
    return [
        [np.asarray(_core(model, axis, len(own), *jet)) for axis, jet in enumerate(own)]
        for own in factors
    ]


def _core(model, axis: int, dimension: int, factor) -> np.ndarray:
    """Returns a factor (n, *shape) as a core (r, n, s); CP has diagonal cores."""
    factor = np.asarray(factor)
    if isinstance(model, TensorTrain):
        return factor.swapaxes(0, 1)
    if dimension == 1:
        return factor.sum(1)[None, :, None]
    if axis == 0:
        return factor[None]
    if axis == dimension - 1:
        return factor.T[:, :, None]
    return np.einsum("nr,rs->rns", factor, np.eye(factor.shape[1]))


def _exact_cores(
    problem: Problem,
    unknown: int,
    function: Callable,
    coordinates: Sequence[np.ndarray],
    tolerance: float,
    owner: str,
) -> Cores:
    """Returns a function of the coordinates as a chain: its automaton, with values."""
    d = len(coordinates)
    shape = tuple(len(x) for x in coordinates)
    program = trace(
        lambda leaf, c: [function(*c)],
        shape,
        "float64",
        [along(n, k, d) for k, n in enumerate(shape)],
    )
    try:
        found = separate(program, coordinates, tolerance)
    except NotSeparableError as error:
        raise ValueError(
            f"{owner}: the exact solution of {problem.unknowns[unknown]!r} is not "
            f"separable: {error}. Solution.relative_l2 measures on a grid"
        ) from error
    words = {muls: c for (_, muls), c in found.equations[0].words.items()}
    cores = []
    sources = 1
    for axis, edges in enumerate(compile_words(words, [b""] * d)):
        targets = 1 + max((e.target for e in edges), default=0)
        core = np.zeros((sources, len(coordinates[axis]), targets))
        for e in edges:
            values = found.arrays[e.symbol] if e.symbol else 1.0
            core[e.source, :, e.target] += e.weight * values
        cores.append(core)
        sources = targets
    return cores


def _difference(a: Cores, b: Cores) -> Cores:
    if len(a) == 1:
        return [a[0] - b[0]]
    out = []
    for axis, (one, other) in enumerate(zip(a, b, strict=True)):
        if axis == 0:
            out.append(np.concatenate([one, -other], axis=2))
        elif axis == len(a) - 1:
            out.append(np.concatenate([one, other], axis=0))
        else:
            r, n, s = one.shape
            core = np.zeros((r + other.shape[0], n, s + other.shape[2]))
            core[:r, :, :s], core[r:, :, s:] = one, other
            out.append(core)
    return out


def _norm(cores: Cores, roots: Sequence[np.ndarray]) -> float:
    carry = np.ones((1, 1))
    for core, root in zip(cores, roots, strict=True):
        chained = np.einsum("ap,pnr->anr", carry, root[None, :, None] * core)
        matrix = chained.reshape(-1, core.shape[2])
        carry = np.asarray(np.linalg.qr(matrix, mode="r"))
    return float(np.abs(carry[0, 0]))


__all__ = ["relative_l2"]
