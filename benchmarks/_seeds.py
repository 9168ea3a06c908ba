"""Several seeds of a task, trained in one program."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxcore.training import Task


def over_seeds(
    task: Task, seeds: int, *, apart: bool = False, axis: int | None = None
) -> Task:
    """Returns the task of training `seeds` independent copies.

    All copies have the same rows of a batch; or, `apart`, each has a part of them; or
    arrays of the batch have an `axis` with those of each copy.
    """

    def step(state: Any, batch: Any, key: Any) -> tuple[Any, Any]:
        keys = jax.random.split(key, seeds)
        if apart:
            batch = jax.tree.map(lambda x: x.reshape(seeds, -1, *x.shape[1:]), batch)
        axes = (0, 0 if apart else axis, 0)
        state, metrics = jax.vmap(task.step, axes)(state, batch, keys)
        return state, {name: jnp.mean(values) for name, values in metrics.items()}

    return Task(lambda key: jax.vmap(task.init)(jax.random.split(key, seeds)), step)
