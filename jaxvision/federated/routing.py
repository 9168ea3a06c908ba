"""Where models go: permutations of nodes, models sent along them, their average.

A routing is an array `source` (N,): the model that node j has came from node
`source[j]`. Models are one tree with a leading axis of nodes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


def ring(num_nodes: int) -> Int[Array, " n"]:
    """Returns the routing in which node j sends to node j + 1, the last to the first.

    Example:
        >>> ring(4).tolist()
        [3, 0, 1, 2]
    """
    return jnp.roll(jnp.arange(num_nodes, dtype=jnp.int32), 1)


def derangement(key: Array, num_nodes: int) -> Int[Array, " n"]:
    """Returns a random permutation without fixed points, all of them equally likely.

    One node has none: then it is the identity.

    Args:
        key: random key.
        num_nodes: N.

    Example:
        >>> import jax
        >>> derangement(jax.random.key(0), 2).tolist()
        [1, 0]
    """
    own = jnp.arange(num_nodes, dtype=jnp.int32)
    if num_nodes == 1:
        return own

    def draw(carry):
        key, _ = carry
        key, now = jax.random.split(key)
        return key, jax.random.permutation(now, own)

    # About one permutation in e has no fixed point, whatever the number of nodes.
    again = lambda carry: jnp.any(carry[1] == own)  # noqa: E731
    return lax.while_loop(again, draw, (key, own))[1]


def inverse(routing: Int[Array, " n"]) -> Int[Array, " n"]:
    """Returns the routing that brings every model back.

    Example:
        >>> import jax.numpy as jnp
        >>> inverse(jnp.array([2, 0, 1])).tolist()
        [1, 2, 0]
    """
    return (
        jnp.zeros_like(routing)
        .at[routing]
        .set(jnp.arange(routing.shape[0], dtype=routing.dtype))
    )


def send(models: Any, source: Int[Array, " n"]) -> Any:
    """Returns the models after each has moved: at node j the one of `source[j]`.

    Example:
        >>> import jax.numpy as jnp
        >>> send({"w": jnp.array([1.0, 2.0, 3.0])}, ring(3))["w"].tolist()
        [3.0, 1.0, 2.0]
    """
    return jax.tree.map(lambda x: x[source], models)


def average(models: Any, weights: Float[Array, " n"]) -> Any:
    """Returns the weighted mean of the models, at every node.

    `x_0 + sum_j w_j (x_j - x_0)`, so that equal models stay as they are to the bit.

    Args:
        models: tree of (N, ...).
        weights: (N,), with sum 1.

    Example:
        >>> import jax.numpy as jnp
        >>> average({"w": jnp.array([1.0, 5.0])}, jnp.array([0.75, 0.25]))["w"].tolist()
        [2.0, 2.0]
    """

    def mean(x: Array) -> Array:
        gaps = jnp.tensordot(weights.astype(x.dtype), x - x[:1], axes=1)
        return jnp.broadcast_to(x[:1] + gaps[None], x.shape)

    return jax.tree.map(mean, models)
