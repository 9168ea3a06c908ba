"""A task that compiles in no time: a line through points, with noise in every step."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcore import training


ADAM = optax.adam(0.05)


def points(rows: int = 24) -> dict[str, np.ndarray]:
    x = np.linspace(-1, 1, rows, dtype=np.float32)
    return {"x": x, "y": 3 * x + 1}


def batches(batch_size: int = 8, rows: int = 24) -> training.ArrayBatches:
    return training.ArrayBatches(points(rows), batch_size, seed=1)


def init(key):
    params = {"a": jax.random.normal(key), "b": jnp.zeros((2,))}
    return {"params": params, "optimizer": ADAM.init(params), "key": key}


def loss(params, batch, key):
    noise = 0.01 * jax.vmap(jax.random.normal)(training.row_keys(key, len(batch["x"])))
    line = params["a"] * batch["x"] + params["b"][0] + params["b"][1]
    return jnp.mean((line + noise - batch["y"]) ** 2)


def step(state, batch, key):
    params = state["params"]
    value, slope = training.value_and_grad(loss)(params, batch, key)
    updates, optimizer = ADAM.update(slope, state["optimizer"])
    params = optax.apply_updates(params, updates)
    key = training.shared_key(jax.random.fold_in(state["key"], 1))
    return {"params": params, "optimizer": optimizer, "key": key}, {"loss": value}


def evaluate(state, batch):
    return {"loss": loss(state["params"], batch, jax.random.key(0))}


TASK = training.Task(init, step, evaluate)


def fit(steps: int, **options: Any) -> training.Result:
    """Trains with what most tests share."""
    given = {"task": TASK, "batches": batches(), "key": jax.random.key(2), **options}
    task, source = given.pop("task"), given.pop("batches")
    return training.fit(task, source, steps, **given)


def digest(*trees: Any) -> str:
    """Returns the SHA-256 over all leaves, keys included."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(trees):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()
