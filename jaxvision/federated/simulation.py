"""Rounds of a federation as a `jaxcore.training.Task`: one step is one round of all.

Models of all nodes are one tree with a leading axis, trained at once by `jax.vmap` and
split over devices by that axis. Data never move: a model that rewinds is sent back to
the node that has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxcore.training import Task, axis_name, split_over_devices
from jaxvision import metrics
from jaxvision.federated.protocol import Protocol
from jaxvision.federated.routing import average, derangement, inverse, ring, send
from jaxvision.federated.training import Learner, train_nodes
from jaxvision.layers._checks import positive


OWNER = "jaxvision.federated.federated_task"
Correct = Callable[[Any, Any, Any], Array]


def federated_task(
    protocol: Protocol,
    num_nodes: int,
    init: Callable[[Array], Any],
    learner: Learner,
    correct: Correct,
    *,
    nodes_at_once: int = 0,
) -> Task:
    """Returns the task of a federation; one of its steps is a round.

    Batches are `jaxvision.data.stack_nodes` of all data, the same in every round:
    `"rows"`, a tree of (N, M, ...), and `"valid"` (N, M). With `"task"` (N, M) and
    `"schedule"` (N, rounds) besides, a node trains in each round on the rows of one
    task, see `jaxvision.data.task_schedule`; from the last round of the schedule on it
    stays at its last task.

    The state is a dict of `"models"`, with `"params"` and `"statistics"`, whose leaves
    have a leading axis of nodes; `"source"` (N,), the node that each came from; and
    `"round"`. All nodes start with one model. Parameters and running statistics
    travel, the state of the optimizer does not: it starts anew where a model arrives.

    Metrics of a step: `loss`, the mean over the rows of all nodes and epochs, and
    `gradient_steps`, of all nodes. Metrics of an evaluation, on a batch of test data of
    the same form: `accuracy`, the matrix of models by nodes, `federated_accuracy`,
    `federated_forgetting` and, where there are as many models as nodes,
    `personalized_accuracy`.

    Args:
        protocol: what a round is.
        num_nodes: N; 1 for `topology="joint"`, however many nodes are evaluated on.
        init: `key -> model`, a dict of params and statistics.
        learner: how a model is trained at a node.
        correct: `(params, statistics, rows) -> (b,)`, 1 for each row that the model
            has right and 0 for others.
        nodes_at_once: how many nodes are trained in parallel, a divisor of N; the
            others follow in sequence. 0: all.

    Raises:
        ValueError: numbers that do not fit; when tracing, data of another number of
            nodes, or `parallel="pmap"`, which lays rows on devices.

    Source: Palazzo et al., FedRewind, ICPR 2024, equation 2: a node trains on its own
    rows, on those of the node that the model came from, and on its own again.
    """
    positive(OWNER, num_nodes=num_nodes)
    if nodes_at_once < 0 or (nodes_at_once and num_nodes % nodes_at_once):
        raise ValueError(
            f"{OWNER}: `nodes_at_once` must be 0 or a divisor of the {num_nodes} nodes "
            f"that are trained, got {nodes_at_once}"
        )
    if protocol.topology == "joint" and num_nodes != 1:
        raise ValueError(
            f"{OWNER}: `num_nodes` must be 1 with topology='joint', got {num_nodes}"
        )
    at_once = nodes_at_once or num_nodes

    def start(key: Array) -> dict[str, Any]:
        stack = lambda x: jnp.broadcast_to(x, (num_nodes, *jnp.shape(x)))  # noqa: E731
        return {
            "models": jax.tree.map(stack, init(key)),
            "source": jnp.arange(num_nodes, dtype=jnp.int32),
            "round": jnp.zeros((), jnp.int32),
        }

    def step(state: Any, batch: Any, key: Array) -> tuple[Any, dict[str, Array]]:
        _check_batch(batch, num_nodes)
        batch = _of_this_round(batch, state["round"])
        train_key, route_key, visit_key = (jax.random.fold_in(key, i) for i in range(3))
        models, source = state["models"], state["source"]
        later = state["round"] > 0
        after = protocol.evaluate_at == "after_exchange"

        def exchange(models, source):
            return _exchange(protocol, models, source, batch["valid"], route_key)

        if not after:  # the exchange that ends the round before
            moved = exchange(models, source)
            models, source = jax.tree.map(
                partial(jnp.where, later), moved, (models, source)
            )
        target = source
        if protocol.rewind == "random":
            # In the first round no model has been anywhere: it trains where it is.
            drawn = derangement(visit_key, num_nodes)
            target = jnp.where(later, drawn, jnp.arange(num_nodes, dtype=jnp.int32))
        models, found = _train(
            protocol,
            _of_round(learner, state["round"]),
            models,
            target,
            batch,
            train_key,
            at_once,
        )
        if after:
            models, source = exchange(models, source)
        return {"models": models, "source": source, "round": state["round"] + 1}, found

    def evaluate(state: Any, batch: Any) -> dict[str, Array]:
        matrix = accuracy_matrix(
            correct,
            state["models"],
            batch["rows"],
            batch["valid"],
            batch_size=learner.batch_size,
            models_at_once=at_once,
        )
        found = {
            "accuracy": matrix,
            "federated_accuracy": metrics.federated_accuracy(matrix),
        }
        if matrix.size > 1:
            found["federated_forgetting"] = metrics.federated_forgetting(matrix)
        if matrix.shape[0] == matrix.shape[1]:
            found["personalized_accuracy"] = metrics.personalized_accuracy(matrix)
        return found

    return Task(start, step, evaluate)


def accuracy_matrix(
    correct: Correct,
    models: Any,
    rows: Any,
    valid: Bool[Array, "n m"],
    *,
    batch_size: int = 32,
    models_at_once: int | None = None,
) -> Float[Array, "k n"]:
    """Returns the share of each node's rows that each model has right, model by node.

    Args:
        correct: see `federated_task`.
        models: dict of params and statistics with leaves (K, ...).
        rows: tree of (N, M, ...). valid: (N, M), which of them count.
        batch_size: rows of each node at once.
        models_at_once: models at once; default all.
    """
    rows, valid = split_over_devices((rows, valid))

    def row(model):
        def one(rows, valid):
            def right(row):
                single = jax.tree.map(lambda x: x[None], row)
                return correct(model["params"], model["statistics"], single)[0]

            size = min(batch_size, valid.shape[0])
            hits = lax.map(right, rows, batch_size=size)
            return jnp.sum(jnp.where(valid, hits, 0)) / jnp.sum(valid)

        return jax.vmap(one)(rows, valid)

    count = jax.tree.leaves(models)[0].shape[0]
    return lax.map(row, models, batch_size=models_at_once or count)


def _train(
    protocol: Protocol,
    learner: Learner,
    models: Any,
    target: Array,
    batch: Any,
    key: Array,
    at_once: int,
) -> tuple[Any, dict[str, Array]]:
    """Returns the models after the phases of a round, and its metrics."""
    rows, valid = batch["rows"], batch["valid"]
    count = valid.shape[0]
    fold = jax.random.fold_in
    # The order of a node's rows depends on round, epoch and node, not on the phase.
    epochs = jax.vmap(fold, (None, 0))(key, jnp.arange(protocol.epochs))
    by_node = jax.vmap(jax.vmap(fold, (0, None)), (None, 0))
    keys = by_node(epochs, jnp.arange(count))
    ends = list(accumulate(protocol.phases, initial=0))

    def phase(carry, now):
        models, losses, steps = carry
        route, first, last = now
        trained = _over_nodes(
            partial(train_nodes, learner, span=(first, last)),
            (models if route is None else send(models, route), rows, valid, keys),
            at_once,
        )
        losses = losses + trained.loss * (last - first) / protocol.epochs
        return (trained.model, losses, steps + trained.steps), None

    carry = (models, jnp.zeros(count), jnp.zeros(count, jnp.int32))
    if protocol.phases[1]:
        # The model at node j stays, goes to node target[j], and comes back: one program
        # for the three.
        own = jnp.arange(count, dtype=target.dtype)
        routes = jnp.stack([own, inverse(target), target])
        spans = jnp.array(ends, jnp.int32)
        carry, _ = lax.scan(phase, carry, (routes, spans[:-1], spans[1:]))
    else:
        carry, _ = phase(carry, (None, 0, protocol.epochs))
    models, losses, steps = carry
    weights = _weights(valid)
    return models, {
        "loss": jnp.sum(weights * losses),
        "gradient_steps": jnp.sum(steps),
    }


def _of_round(learner: Learner, number: Array) -> Learner:
    """Returns the learner whose updates are those of a round, the first being 0."""
    if learner.decay == 1:
        return learner
    slower = optax.scale(learner.decay ** number.astype(jnp.float32))
    return learner._replace(optimizer=optax.chain(learner.optimizer, slower))


def _exchange(
    protocol: Protocol, models: Any, source: Array, valid: Array, key: Array
) -> tuple[Any, Array]:
    """Returns the models where they are in the next round, and where they came from."""
    count = valid.shape[0]
    if protocol.topology in ("standalone", "joint"):
        return models, source
    if protocol.topology == "fedavg":
        weights, own = _weights(valid), dict(models)
        names = ["params"] + ["statistics"] * protocol.average_statistics
        return own | {name: average(models[name], weights) for name in names}, source
    routing = ring(count) if protocol.topology == "cwt" else derangement(key, count)
    return send(models, routing), routing


def _over_nodes(function: Callable, arguments: Any, at_once: int) -> Any:
    """Returns `function` of all nodes, of `at_once` at a time, split over devices."""
    arguments = split_over_devices(arguments)
    count = jax.tree.leaves(arguments)[0].shape[0]
    if at_once == count:
        return split_over_devices(function(*arguments))

    # Every group has nodes of each device.
    def parted(x):
        return jnp.moveaxis(x.reshape(at_once, count // at_once, *x.shape[1:]), 1, 0)

    def joined(x):
        return jnp.moveaxis(x, 0, 1).reshape(count, *x.shape[2:])

    out = lax.map(lambda part: function(*part), jax.tree.map(parted, arguments))
    return split_over_devices(jax.tree.map(joined, out))


def _weights(valid: Array) -> Array:
    rows = jnp.sum(valid, axis=1, dtype=jnp.float32)
    return rows / jnp.maximum(jnp.sum(rows), 1)


def _of_this_round(batch: Mapping[str, Any], number: Array) -> Mapping[str, Any]:
    if "schedule" not in batch:
        return batch
    schedule = batch["schedule"]
    now = jnp.take(schedule, jnp.minimum(number, schedule.shape[1] - 1), axis=1)
    return {**batch, "valid": batch["valid"] & (batch["task"] == now[:, None])}


def _check_batch(batch: Mapping[str, Any], num_nodes: int) -> None:
    if axis_name() is not None:
        raise ValueError(
            f"{OWNER}: `parallel` must be 'none' or 'sharded', which splits the nodes "
            "over the devices, got 'pmap'"
        )
    found = batch["valid"].shape[0]
    if found != num_nodes:
        raise ValueError(
            f"{OWNER}: `batches` must have the data of {num_nodes} nodes, got those of "
            f"{found}"
        )
