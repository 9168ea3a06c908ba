"""Training at nodes: epochs of minibatches over the rows that a node has.

All nodes have arrays of one shape, filled up with rows that do not count. The last
minibatch of an epoch is a short one: its other rows do not count either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int


class Learner(NamedTuple):
    """How a model is trained on rows.

    loss: `(params, statistics, rows, counts) -> (value, statistics)`, a mean over the
        rows of a minibatch by `counts` (b,), 1 for those that count and 0 for others.
    optimizer: it starts anew wherever a model arrives.
    batch_size: rows of a minibatch.
    decay: factor of all updates from one round of a federation to the next.
    """

    loss: Callable[[Any, Any, Any, Array], tuple[Array, Any]]
    optimizer: optax.GradientTransformation
    batch_size: int
    decay: float = 1.0


class Trained(NamedTuple):
    """A model after training, its mean loss over the epochs, and the steps taken."""

    model: Any
    loss: Float[Array, ""]
    steps: Int[Array, ""]


def train_node(
    learner: Learner, model: Any, rows: Any, valid: Bool[Array, " m"], keys: Array
) -> Trained:
    """Returns a model after one epoch for each key on the rows of a node.

    In each epoch the valid rows come in a random order, in minibatches of
    `learner.batch_size` of which the last may be short.

    Args:
        learner: loss and optimizer.
        model: dict of `"params"` and `"statistics"`.
        rows: tree of (M, ...).
        valid: (M,), which rows count. A node without any leaves the model as it is.
        keys: (epochs,) random keys.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> def loss(w, statistics, rows, counts):
        ...     return jnp.sum(counts * (w - rows) ** 2) / jnp.sum(counts), statistics
        >>> learner = Learner(loss, optax.sgd(0.25), 4)
        >>> model = {"params": jnp.zeros(()), "statistics": {}}
        >>> rows, valid = jnp.array([3.0, 5.0, 99.0]), jnp.array([True, True, False])
        >>> keys = jax.random.split(jax.random.key(0), 20)
        >>> found = train_node(learner, model, rows, valid, keys)
        >>> print(f"{found.model['params']:.3f} {found.steps}")
        4.000 20
    """
    add = lambda x: x[None]  # noqa: E731
    arguments = jax.tree.map(add, (model, rows, valid, keys))
    return jax.tree.map(lambda x: x[0], train_nodes(learner, *arguments))


def train_nodes(
    learner: Learner,
    models: Any,
    rows: Any,
    valid: Bool[Array, "n m"],
    keys: Array,
    *,
    span: tuple[Any, Any] | None = None,
) -> Trained:
    """Returns the models of several nodes after training at once, as `train_node`.

    One program under `jax.vmap`: each minibatch is a step of all nodes that still have
    rows in this epoch.

    Args:
        learner: loss and optimizer.
        models, rows, valid, keys: those of `train_node` with a leading axis of nodes.
        span: first and last (excluded) of the keys whose epochs are taken, integers
            that may be traced; default all.
    """
    first, last = (0, keys.shape[1]) if span is None else span
    steps = -(-jnp.sum(valid, axis=1, dtype=jnp.int32) // learner.batch_size)
    # A common end keeps the loop free of conditions that nodes would have to agree on.
    longest = jnp.max(steps)

    def one(model, rows, valid, keys, steps):
        return _epochs(learner, model, rows, valid, keys, steps, (longest, first, last))

    return jax.vmap(one)(models, rows, valid, keys, steps)


def _epochs(
    learner: Learner,
    model: Any,
    rows: Any,
    valid: Array,
    keys: Array,
    steps: Array,
    bounds: tuple[Any, Any, Any],
) -> Trained:
    longest, first_epoch, last_epoch = bounds
    size, batch_size = valid.shape[0], learner.batch_size
    count = jnp.sum(valid, dtype=jnp.int32)
    slope = jax.value_and_grad(learner.loss, has_aux=True)

    def epoch(number, carry):
        key = keys[number]
        # The rows that count in random order, then the others, then filling.
        rank = jnp.where(valid, jax.random.uniform(key, (size,)), 2.0)
        order = jnp.pad(jnp.argsort(rank), (0, -size % batch_size))

        def step(i, carry):
            params, statistics, memory, total = carry
            first = i * batch_size
            chosen = lax.dynamic_slice_in_dim(order, first, batch_size)
            counts = (first + jnp.arange(batch_size) < count).astype(jnp.float32)
            batch = jax.tree.map(lambda x: x[chosen], rows)
            (value, after), gradient = slope(params, statistics, batch, counts)
            updates, new = learner.optimizer.update(gradient, memory, params)
            moved = (optax.apply_updates(params, updates), after, new)
            kept = jax.tree.map(
                lambda a, b: jnp.where(i < steps, a, b),
                moved,
                (params, statistics, memory),
            )
            # After its last step a node has no rows, and its loss may be 0 / 0.
            return *kept, total + jnp.where(i < steps, value * jnp.sum(counts), 0)

        return lax.fori_loop(0, longest, step, carry)

    params = model["params"]
    memory = learner.optimizer.init(params)
    start = (params, model["statistics"], memory, jnp.zeros(()))
    params, statistics, _, total = lax.fori_loop(first_epoch, last_epoch, epoch, start)
    epochs = last_epoch - first_epoch
    return Trained(
        {"params": params, "statistics": statistics},
        total / jnp.maximum(count * epochs, 1),
        steps * epochs,
    )
