"""Forward-mode derivatives along one axis.

`jet` differentiates a one-dimensional network: the derivatives of a separable
function are the same contraction with one factor replaced by an entry of its jet, so
nothing here ever sees the contraction. `partial` differentiates a function of all
coordinates pointwise; it serves exact solutions, lifts and pointwise networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def jet(
    function: Callable[[Float[Array, " n"]], Float[Array, "n *w"]],
    x: Float[Array, " n"],
    order: int,
) -> tuple[Float[Array, "n *w"], ...]:
    """Returns `function` and its derivatives up to `order`: order + 1 arrays.

    `function` maps each entry of `x` on its own (a batch of scalars), so one tangent
    of ones differentiates all points at once (nested `jax.jvp`).

    Example:
        >>> [float(d[0]) for d in jet(lambda x: x**3, jnp.array([2.0]), 3)]
        [8.0, 12.0, 12.0, 6.0]
    """
    ones = jnp.ones_like(x)

    def extend(previous):
        def extended(x):
            values, tangents = jax.jvp(previous, (x,), (ones,))
            return (*values, tangents[-1])

        return extended

    derivatives = lambda x: (function(x),)  # noqa: E731
    for _ in range(order):
        derivatives = extend(derivatives)
    return derivatives(x)


def partial(
    function: Callable[..., Array], orders: Sequence[int]
) -> Callable[..., Array]:
    """Returns the mixed partial derivative of an elementwise function of coordinates.

    Args:
        function: maps coordinate arrays that broadcast against each other to values
            of the broadcast shape, each value depending on its own coordinates only.
        orders: order of the derivative along each argument.

    Example:
        >>> fxy = partial(lambda x, y: x**2 * y**3, (1, 2))
        >>> float(fxy(jnp.array(3.0), jnp.array(2.0)))
        72.0
    """
    for axis, order in enumerate(orders):
        for _ in range(order):
            function = _first(function, axis)
    return function


def _first(function: Callable[..., Array], axis: int) -> Callable[..., Array]:
    def derivative(*coordinates):
        def along(c):
            return function(*coordinates[:axis], c, *coordinates[axis + 1 :])

        c = jnp.asarray(coordinates[axis])
        return jax.jvp(along, (c,), (jnp.ones_like(c),))[1]

    return derivative
