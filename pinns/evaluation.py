"""Values and derivatives of a model with given parameters, outside of training.

One interface over separable models, which contract factor jets, and pointwise
networks, which are differentiated as functions of all coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pinns.conditions import Term
from pinns.contraction import contract
from pinns.domain import Box
from pinns.parameters import ENTRY
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.separable import Params, Separable


Model = Separable | MLP


# What the key of a run is folded with for its unknown parameters.
PARAMETERS = 11


def initial_params(problem: Problem, model: Model, key: Array, dtype: str) -> Params:
    """Returns fresh parameters of the model, with the unknown ones of the problem."""
    params = model.init(key, problem.box, unknowns=len(problem.unknowns), dtype=dtype)
    if problem.parameters:
        own = problem.parameters.init(jax.random.fold_in(key, PARAMETERS), dtype)
        params = {**params, ENTRY: own}
    return params


def along(count: int, axis: int, dimension: int) -> tuple[int, ...]:
    """Returns the shape of an array that varies along one axis only."""
    return tuple(count if i == axis else 1 for i in range(dimension))


def with_lifts(problem: Problem, term: Term):
    """Returns the term's function with the hard conditions' lifts added to leaves."""
    if all(lift is None for lift in problem.lifts):
        return term.function

    def function(leaf, coordinates):
        def source(unknown, orders, selectors):
            value = leaf(unknown, orders, selectors)
            # Only a periodic term asks for a leaf at ends other than its own.
            placed = [
                c if s == own else end
                for c, s, own, end in zip(
                    coordinates,
                    selectors,
                    term.selectors,
                    coordinates_at(problem.box, selectors, coordinates),
                    strict=True,
                )
            ]
            lift = problem.lift_values(unknown, orders, placed)
            return value if lift is None else value + lift

        return term.function(source, coordinates)

    return function


def coordinates_at(
    box: Box, selectors: Sequence[str], coordinates: Sequence[Array]
) -> list[Array]:
    """Returns coordinate arrays (1, .., n_i, .., 1) of the selected points."""
    d = box.dimension
    out = []
    for i, (selector, x) in enumerate(zip(selectors, coordinates, strict=True)):
        a, b = box.intervals[i]
        ends = {"lower": [a], "upper": [b], "ends": [a, b]}.get(selector)
        values = x if ends is None else jnp.asarray(ends, x.dtype)
        out.append(values.reshape(along(values.size, i, d)))
    return out


def grid_values(
    problem: Problem,
    model: Model,
    params: Params,
    coordinates: Sequence[Float[Array, " n"]],
    unknown: int = 0,
    orders: Sequence[int] | None = None,
) -> Array:
    """Returns a derivative of one unknown on the tensor grid, shape (n_1, ..., n_d).

    Args:
        problem: for the box and hard conditions.
        model: the model.
        params: its parameters.
        coordinates: one array per axis.
        unknown: index of the function.
        orders: derivative per axis; none by default.
    """
    d = problem.box.dimension
    orders = (0,) * d if orders is None else tuple(orders)
    placed = [x.reshape(along(x.size, i, d)) for i, x in enumerate(coordinates)]
    if unknown in problem.parameters:
        return problem.parameters.value(params, unknown, orders, placed)
    if isinstance(model, MLP):
        values = model.derivative(problem, params, unknown, orders)(*placed)
    else:
        jets = _jets(problem, model, params, coordinates, orders)[unknown]
        values = contract(
            model,
            model.core(params, unknown),
            {orders: 1.0},
            lambda axis, order: jets[axis][order],
            tuple(x.size for x in coordinates),
        )
    lift = problem.lift_values(unknown, orders, placed)
    return values if lift is None else values + lift


def scattered_values(
    problem: Problem,
    model: Model,
    params: Params,
    points: Float[Array, "n d"],
    unknown: int = 0,
    orders: Sequence[int] | None = None,
) -> Float[Array, " n"]:
    """Returns a derivative of one unknown at scattered points; see `grid_values`."""
    d = problem.box.dimension
    orders = (0,) * d if orders is None else tuple(orders)
    columns = [points[:, i] for i in range(d)]
    if unknown in problem.parameters:
        return problem.parameters.value(params, unknown, orders, columns)
    if isinstance(model, MLP):
        values = model.derivative(problem, params, unknown, orders)(*columns)
        lift = problem.lift_values(unknown, orders, columns)
        return values if lift is None else values + lift
    jets = _jets(problem, model, params, columns, orders)
    return _scattered(problem, model, params, columns, jets, unknown, orders)


def _scattered(
    problem: Problem,
    model: Separable,
    params: Params,
    columns: Sequence[Array],
    jets: Sequence,
    unknown: int,
    orders: Sequence[int],
) -> Float[Array, " n"]:
    """Returns `scattered_values` from the factors' values and derivatives."""
    factors = [jet[order] for jet, order in zip(jets[unknown], orders, strict=True)]
    values = model.pointwise_contraction(model.core(params, unknown), factors)
    lift = problem.lift_values(unknown, orders, columns)
    return values if lift is None else values + lift


def scattered_residual(
    problem: Problem, model: Model, params: Params, points: Float[Array, "n d"]
) -> list[Float[Array, " n"]]:
    """Returns the residual of every equation at scattered points."""

    columns = [points[:, i] for i in range(points.shape[1])]
    if isinstance(model, MLP):

        def pointwise(unknown, orders):
            return scattered_values(problem, model, params, points, unknown, orders)

        return problem.residual_values(pointwise, columns)
    used: dict[tuple[int, ...], None] = {}

    def discover(*columns):
        def leaf(unknown, orders):
            used.setdefault(orders)
            return jnp.zeros_like(columns[0])

        return problem.residual_values(leaf, columns)

    # All derivatives that the residual uses come from one pass over the networks.
    jax.eval_shape(discover, *columns)
    highest = [max(orders) for orders in zip(*used, strict=True)]
    jets = _jets(problem, model, params, columns, highest)

    def source(unknown, orders):
        if unknown in problem.parameters:
            return problem.parameters.value(params, unknown, orders, columns)
        return _scattered(problem, model, params, columns, jets, unknown, orders)

    return problem.residual_values(source, columns)


def scattered_misfit(
    problem: Problem,
    model: Model,
    params: Params,
    points: Float[Array, "n d"],
    term: Term,
) -> Float[Array, ""]:
    """Returns the mean square of a condition at points moved onto its faces.

    Args:
        problem, model, params: as in `grid_values`.
        points: of the box; the coordinate that belongs to the face is replaced.
        term: of a condition on faces.
    """
    # Points go along the first axis of (n, sides) arrays, the ends along the second.
    ends = {
        i: [{"lower": a, "upper": b}[s] for s in _sides(selector)]
        for i, (selector, (a, b)) in enumerate(
            zip(term.selectors, problem.box.intervals, strict=True)
        )
        if selector != "interior"
    }
    coordinates = [
        jnp.asarray(ends[i], points.dtype)[None, :] if i in ends else points[:, i, None]
        for i in range(points.shape[1])
    ]

    def source(unknown, orders, selectors):
        count = max(len(_sides(s)) for s in selectors)
        columns = []
        for side in range(count):
            placed = points
            for i, selector in enumerate(selectors):
                if selector != "interior":
                    a, b = problem.box.intervals[i]
                    end = {"lower": a, "upper": b}[_sides(selector)[side]]
                    placed = placed.at[:, i].set(end)
            columns.append(
                scattered_values(problem, model, params, placed, unknown, orders)
            )
        return jnp.stack(columns, axis=1)

    values = term.function(source, coordinates)
    return sum((jnp.mean(jnp.square(v)) for v in values), start=jnp.zeros(()))


def _sides(selector: str) -> tuple[str, ...]:
    return ("lower", "upper") if selector == "ends" else (selector,)


def _jets(problem, model, params, coordinates, orders):
    return model.factors(
        params,
        problem.box,
        coordinates,
        orders,
        unknowns=len(problem.unknowns),
        envelope=problem.hard.exponents(),
    )
