"""The task of training one network with one optimizer, whatever its loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array

from jaxcore.training import Task, masked_mean, value_and_grad
from jaxvision.layers import split, statistics_of


Loss = Callable[[nnx.Module, Any, Array], tuple[Array, Mapping[str, Array]]]
Evaluate = Callable[[nnx.Module, Any], Mapping[str, Array]]


def network_task(
    owner: str,
    build: Callable[[Array], nnx.Module],
    optimizer: optax.GradientTransformation,
    loss: Loss,
    evaluate: Evaluate,
    *,
    trained: Sequence[str] | None = None,
) -> Task:
    """Returns the task whose state is a dict of params, statistics and optimizer.

    Args:
        owner: what errors begin with.
        build: `key -> network`.
        optimizer: of its parameters.
        loss: `(network, batch, key) -> (value, metrics)`, means over the batch, with
            the network in training.
        evaluate: `(network, batch) -> metrics`, one number per row each, with the
            network in evaluation. Rows that an entry `"mask"` of the batch marks as
            padding do not count.
        trained: parts of the network, by name, whose parameters are trained; default
            all. The others have no gradient and no place in the optimizer's state.

    The task refuses padded batches in training: moments of a batch cannot leave out
    padding.
    """
    graph, _, _ = split(nnx.eval_shape(build, jax.random.key(0)))

    def chosen(params):
        if trained is None:
            return params
        return {name: params[name] for name in trained}

    def init(key):
        _, params, statistics = split(build(key))
        state = optimizer.init(chosen(params))
        return {"params": params, "statistics": statistics, "optimizer": state}

    def step(state, batch, key):
        refuse_padding(owner, batch)

        def total(part, batch, key):
            params = part if trained is None else {**state["params"], **part}
            model = nnx.merge(graph, params, state["statistics"], copy=True)
            model.train()
            value, metrics = loss(model, batch, key)
            return value, (dict(metrics), statistics_of(model))

        (value, (metrics, statistics)), slope = value_and_grad(total, has_aux=True)(
            chosen(state["params"]), batch, key
        )
        part = chosen(state["params"])
        updates, memory = optimizer.update(slope, state["optimizer"], part)
        part = optax.apply_updates(part, updates)
        return {
            "params": part if trained is None else {**state["params"], **part},
            "statistics": statistics,
            "optimizer": memory,
        }, {"loss": value, **metrics}

    def evaluation(state, batch):
        model = nnx.merge(graph, state["params"], state["statistics"], copy=True)
        model.eval()
        found = evaluate(model, batch)
        rows = len(next(iter(found.values())))
        mask = batch.get("mask", jnp.ones(rows))
        return {name: masked_mean(values, mask) for name, values in found.items()}

    return Task(init, step, evaluation)


def refuse_padding(owner: str, batch: Any) -> None:
    """Raises ValueError for a padded batch: moments of a batch cannot leave it out."""
    if "mask" in batch:
        raise ValueError(
            f"{owner}: `batches` must drop the rest of an epoch, because moments of a "
            "batch cannot leave out padding; got padded ones. Write last='drop'"
        )
