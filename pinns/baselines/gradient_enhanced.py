"""The gradient of the residual as further terms of the loss.

Source: J. Yu, L. Lu, X. Meng and G. Karniadakis, "Gradient-enhanced physics-informed
neural networks for forward and inverse PDE problems", 2022: adds
`w sum_i mean(|dr/dx_i|^2)`, since a residual that vanishes everywhere has no gradient
either.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Term
from pinns.domain import positive_number
from pinns.problem import Problem


GROUP = "residual gradient"


def gradient_enhanced(problem: Problem, weight: float = 0.01) -> Problem:
    """Returns the problem with the squared gradient of its residual in the loss.

    The derivative along axis i of `r(D^a u, ..., x)` is taken by the chain rule,
    `sum_a dr/d(D^a u) D^(a + e_i) u + dr/dx_i`, so it needs no more of a model than its
    derivatives, and stays linear and separable where the residual is.

    Args:
        problem: any problem; it is left as it is.
        weight: w, of the mean square of every component.

    Raises:
        TypeError: not a problem. ValueError: a weight that is not positive, or a
            problem that has the terms already.

    Example:
        >>> import pinns
        >>> gradient_enhanced(pinns.problems.poisson(dimension=2)).groups
        ('residual', 'dirichlet(x1, x2)', 'residual gradient')
    """
    owner = "pinns.baselines.gradient_enhanced"
    if not isinstance(problem, Problem):
        raise TypeError(f"{owner}: `problem` must be a pinns.Problem, got {problem!r}")
    positive_number(weight, owner, "weight")
    if GROUP in problem.groups:
        raise ValueError(f"{owner}: {problem!r} has a {GROUP!r} already")
    enhanced = copy.copy(problem)
    residual = _joined(problem.terms[: problem.equations])
    own = [
        Term(
            name=f"{GROUP} along {name}",
            group=GROUP,
            weight=float(weight),
            selectors=residual.selectors,
            function=_slope(residual, axis, problem.parameters.axes),
        )
        for axis, name in enumerate(problem.box.names)
    ]
    enhanced.terms = (*problem.terms, *own)
    # A folder is loaded with the enhanced problem itself, not by a name.
    enhanced.origin = None
    return enhanced


def _joined(equations: Sequence[Term]) -> Term:
    """Returns all equations as one term."""

    def function(source, coordinates: Sequence[Array]) -> list[Array]:
        parts = [term.function(source, coordinates) for term in equations]
        return [value for part in parts for value in part]

    return replace(equations[0], function=function)


def _raised(orders: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(k + (i == axis) for i, k in enumerate(orders))


def _slope(residual: Term, axis: int, partial: Mapping[int, tuple[int, ...]]):
    """Returns the term function of the residual's derivative along an axis.

    partial: axes of the parameters, which are constant along all others.
    """

    def function(source, coordinates: Sequence[Array]) -> list[Array]:
        leaves = _leaves(residual, coordinates)
        values = [source(*leaf) for leaf in leaves]
        slopes = [
            source(unknown, _raised(orders, axis), selectors)
            if axis in partial.get(unknown, (axis,))
            else jnp.zeros_like(value)
            for (unknown, orders, selectors), value in zip(leaves, values, strict=True)
        ]

        def at(values, own):
            placed = [own if i == axis else c for i, c in enumerate(coordinates)]
            known = dict(zip(leaves, values, strict=True))
            return residual.function(lambda *leaf: known[leaf], placed)

        own = coordinates[axis]
        return jax.jvp(at, (values, own), (slopes, jnp.ones_like(own)))[1]

    return function


def _leaves(residual: Term, coordinates: Sequence[Array]) -> list[tuple]:
    """Returns the derivatives of the unknowns that the residual uses."""
    found: dict[tuple, None] = {}
    shape = jnp.broadcast_shapes(*(c.shape for c in coordinates))

    def discover(*coordinates):
        def source(*leaf):
            found.setdefault(leaf)
            return jnp.zeros(shape, coordinates[0].dtype)

        return residual.function(source, coordinates)

    structs = [jax.ShapeDtypeStruct(c.shape, c.dtype) for c in coordinates]
    jax.eval_shape(discover, *structs)
    return list(found)
