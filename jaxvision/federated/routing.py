"""Where models go: permutations of nodes, models sent along them, their average.

A routing is an array `source` (N,): the model that node j has came from node
`source[j]`. Models are one tree with a leading axis of nodes.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jaxvision import _checks
from jaxvision._checks import Values
from jaxvision.layers._checks import positive


OWNER = "jaxvision.federated"


def ring(num_nodes: int) -> Int[Array, " n"]:
    """Returns the routing in which node j sends to node j + 1, the last to the first.

    Args:
        num_nodes: N.

    Raises:
        ValueError: a number that is not positive.

    Example:
        >>> ring(4).tolist()
        [3, 0, 1, 2]

    Source: Palazzo et al., FedRewind, ICPR 2024, cyclic weight transfer (CWT).
    """
    positive(f"{OWNER}.ring", num_nodes=num_nodes)
    return jnp.roll(jnp.arange(num_nodes, dtype=jnp.int32), 1)


def derangement(key: Array, num_nodes: int) -> Int[Array, " n"]:
    """Returns a random permutation without fixed points, all of them equally likely.

    One node has none: then it is the identity.

    Args:
        key: random key.
        num_nodes: N.

    Raises:
        ValueError: a number that is not positive.

    Example:
        >>> import jax
        >>> derangement(jax.random.key(0), 2).tolist()
        [1, 0]

    Source: Palazzo et al., FedRewind, ICPR 2024, random weight transfer (RWT), where no
    node keeps its model; by rejection.
    """
    positive(f"{OWNER}.derangement", num_nodes=num_nodes)
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


def inverse(routing: Int[Values, " n"]) -> Int[Array, " n"]:
    """Returns the routing that brings every model back.

    Args:
        routing: (N,), a permutation of the nodes.

    Raises:
        TypeError: no integers.
        ValueError: no permutation; inside `jax.jit` only the shape is checked.

    Example:
        >>> import jax.numpy as jnp
        >>> inverse(jnp.array([2, 0, 1])).tolist()
        [1, 2, 0]
    """
    where = f"{OWNER}.inverse"
    routing = _routing(where, "routing", routing, np.size(routing))
    known = not isinstance(routing, jax.core.Tracer)
    if known and len(set(np.asarray(routing).tolist())) != len(routing):
        raise ValueError(
            f"{where}: `routing` must have every node once, got {routing.tolist()}"
        )
    return (
        jnp.zeros_like(routing)
        .at[routing]
        .set(jnp.arange(routing.shape[0], dtype=routing.dtype))
    )


def send(models: Any, source: Int[Values, " n"]) -> Any:
    """Returns the models after each has moved: at node j the one of `source[j]`.

    Args:
        models: tree of (N, ...).
        source: (N,), from 0 to N - 1.

    Raises:
        TypeError: a source that is no integers.
        ValueError: arrays of another number of nodes, or a source out of range; inside
            `jax.jit` its values are not known, and are not checked.

    Example:
        >>> import jax.numpy as jnp
        >>> send({"w": jnp.array([1.0, 2.0, 3.0])}, ring(3))["w"].tolist()
        [3.0, 1.0, 2.0]
    """
    where = f"{OWNER}.send"
    routing = _routing(
        where, "source", source, _num_nodes(where, models, np.size(source))
    )
    return jax.tree.map(lambda x: jnp.asarray(x)[routing], models)


def average(models: Any, weights: Float[Values, " n"]) -> Any:
    """Returns the weighted mean of the models, at every node.

    `x_0 + sum_j w_j (x_j - x_0)`, so that equal models stay as they are to the bit.

    Args:
        models: tree of (N, ...).
        weights: (N,), not negative, with sum 1.

    Raises:
        TypeError: weights that are not floating point.
        ValueError: arrays of another number of nodes, or weights below 0 or with
            another sum; inside `jax.jit` their values are not known, and are not
            checked.

    Example:
        >>> import jax.numpy as jnp
        >>> average({"w": jnp.array([1.0, 5.0])}, jnp.array([0.75, 0.25]))["w"].tolist()
        [2.0, 2.0]

    Source: Palazzo et al., FedRewind, ICPR 2024, equations 3 and 4; McMahan et al.,
    Communication-Efficient Learning of Deep Networks, AISTATS 2017 (weights n_j / n).
    """

    where = f"{OWNER}.average"
    given = _checks.floating(where, "weights", weights)
    _sized(where, "weights", given, _num_nodes(where, models, np.size(given)))
    if not isinstance(given, jax.core.Tracer):
        values = np.asarray(given, np.float64)
        # Shares of a sum are each rounded once.
        slack = max(len(values), 8) * float(jnp.finfo(given.dtype).eps)
        if not (values.min() >= 0 and abs(values.sum() - 1) <= slack):
            raise ValueError(
                f"{where}: `weights` must not be negative and have the sum 1, got "
                f"{values.tolist()} with the sum {values.sum():g}"
            )

    def mean(x: Array) -> Array:
        gaps = jnp.tensordot(given.astype(x.dtype), x - x[:1], axes=1)
        return jnp.broadcast_to(x[:1] + gaps[None], x.shape)

    return jax.tree.map(mean, models)


def _num_nodes(where: str, models: Any, default: int) -> int:
    """Returns N of models, a tree of (N, ...), or the default for one of nothing."""
    shapes = [jnp.shape(x) for x in jax.tree.leaves(models)]
    if not shapes:  # as of statistics that a network does not have
        return default
    counts = sorted({shape[:1] for shape in shapes})
    if len(counts) != 1 or counts[0] in ((), (0,)):
        raise ValueError(
            f"{where}: `models` must have arrays with one leading axis of nodes, not "
            f"empty, got shapes {', '.join(map(str, shapes))}"
        )
    return counts[0][0]


def _sized(where: str, name: str, values: Array, num_nodes: int) -> None:
    if values.shape != (num_nodes,):
        raise ValueError(
            f"{where}: `{name}` must have shape ({num_nodes},), one per node, got "
            f"{values.shape}"
        )


def _routing(where: str, name: str, values: Any, num_nodes: int) -> Array:
    """Returns nodes as an array, where they are known of nodes that there are."""
    found = _checks.integers(where, name, values)
    _sized(where, name, found, num_nodes)
    _checks.labels_below(where, name, found, num_nodes)
    return found
