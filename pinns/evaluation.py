"""Values and derivatives of a model with given parameters, outside of training.

One interface over separable models, which contract factor jets, and pointwise
networks, which are differentiated as functions of all coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from pinns.conditions import Term
from pinns.contraction import contract
from pinns.domain import Box
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.separable import Params, Separable


Model = Separable | MLP


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
    if isinstance(model, MLP):
        values = model.derivative(problem, params, unknown, orders)(*columns)
    else:
        jets = _jets(problem, model, params, columns, orders)[unknown]
        factors = [jet[order] for jet, order in zip(jets, orders, strict=True)]
        values = model.pointwise_contraction(model.core(params, unknown), factors)
    lift = problem.lift_values(unknown, orders, columns)
    return values if lift is None else values + lift


def scattered_residual(
    problem: Problem, model: Model, params: Params, points: Float[Array, "n d"]
) -> list[Float[Array, " n"]]:
    """Returns the residual of every equation at scattered points."""

    def source(unknown, orders):
        return scattered_values(problem, model, params, points, unknown, orders)

    columns = [points[:, i] for i in range(points.shape[1])]
    return problem.residual_values(source, columns)


def _jets(problem, model, params, coordinates, orders):
    return model.factors(
        params,
        problem.box,
        coordinates,
        orders,
        unknowns=len(problem.unknowns),
        envelope=problem.hard.exponents(),
    )
