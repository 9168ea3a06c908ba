"""A small network with BatchNorm and dropout, trained the same way by many tests.

Run as a script, it trains on the devices of its process (and of others) and writes what
came out, for comparison with one device.
"""

import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxcore import training


ROWS, FEATURES, BATCH = 40, 5, 16


class MaskedNorm(nnx.Module):
    """BatchNorm whose statistics leave padding out, on any number of devices."""

    def __init__(self, channels: int, dtype: Any):
        self.scale = nnx.Param(jnp.ones(channels, dtype))
        self.mean = nnx.BatchStat(jnp.zeros(channels, dtype))
        self.var = nnx.BatchStat(jnp.ones(channels, dtype))

    def __call__(self, x, mask, train: bool):
        mean, variance = self.mean[...], self.var[...]
        if train:
            mean, variance = training.batch_moments(x, mask)
            self.mean[...] = 0.9 * self.mean[...] + 0.1 * mean
            self.var[...] = 0.9 * self.var[...] + 0.1 * variance
        scale = self.scale[...] / jnp.sqrt(variance + 1e-5)
        return (x - mean[None, :]) * scale[None, :]


class PlainNorm(nnx.BatchNorm):
    """The one of flax, for batches without padding."""

    def __init__(self, channels: int, dtype: Any):
        super().__init__(channels, momentum=0.9, param_dtype=dtype, rngs=nnx.Rngs(0))

    def __call__(self, x, mask, train: bool):
        self.axis_name = training.axis_name()
        return super().__call__(x, use_running_average=not train)


class Net(nnx.Module):
    def __init__(self, last: str, dtype: Any, rngs: nnx.Rngs):
        # A bias before a BatchNorm has no gradient but rounding, which Adam magnifies.
        self.first = nnx.Linear(
            FEATURES, 8, use_bias=False, param_dtype=dtype, rngs=rngs
        )
        self.norm = {"pad": MaskedNorm, "drop": PlainNorm}[last](8, dtype)
        self.last = nnx.Linear(8, 1, param_dtype=dtype, rngs=rngs)

    def __call__(self, x, mask, keys=None):
        x = self.norm(self.first(x), mask, train=keys is not None)
        x = jax.nn.relu(x)
        if keys is not None:
            keep = jax.vmap(lambda k: jax.random.bernoulli(k, 0.8, x.shape[1:]))(keys)
            x = jnp.where(keep, x / 0.8, 0.0)
        return self.last(x)[:, 0]


class State(NamedTuple):
    params: Any
    statistics: Any
    optimizer: Any
    gradient: Any


OPTIMIZERS = {
    "sgd": lambda: optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.add_decayed_weights(1e-2),
        optax.sgd(0.1, momentum=0.9),
    ),
    "adam": lambda: optax.adam(1e-2),
}


def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, FEATURES))
    return {"x": x, "y": np.sin(x.sum(axis=1)) + 0.1 * rng.normal(size=ROWS)}


def batches(last: str = "pad", batch_size: int = BATCH) -> training.ArrayBatches:
    return training.ArrayBatches(data(), batch_size, seed=5, last=last)


@lru_cache
def task(
    optimizer: str = "sgd", dtype: str = "float32", last: str = "pad"
) -> training.Task:
    transform = OPTIMIZERS[optimizer]()

    def split(key):
        # One `Rngs` object would be a state of its own: it is only used to begin with.
        return nnx.split(Net(last, dtype, nnx.Rngs(params=key)), nnx.Param, ...)

    graph = split(jax.random.key(0))[0]

    def init(key):
        _, params, statistics = split(key)
        params, statistics = nnx.to_pure_dict(params), nnx.to_pure_dict(statistics)
        zeros = jax.tree.map(jnp.zeros_like, params)
        return State(params, statistics, transform.init(params), zeros)

    def squares(model, batch, keys=None):
        mask = batch.get("mask", jnp.ones(len(batch["x"])))
        error = model(batch["x"], mask, keys) - batch["y"]
        return training.masked_mean(error**2, mask)

    def step(state, batch, key):
        def loss(params, batch, key):
            model = nnx.merge(graph, params, state.statistics, copy=True)
            value = squares(model, batch, training.row_keys(key, len(batch["x"])))
            return value, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

        found, gradient = training.value_and_grad(loss, has_aux=True)(
            state.params, batch, key
        )
        updates, optimizer = transform.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(params, found[1], optimizer, gradient), {"loss": found[0]}

    def evaluate(state, batch):
        model = nnx.merge(graph, state.params, state.statistics, copy=True)
        return {"loss": squares(model, batch)}

    return training.Task(init, step, evaluate)


def losses(result: training.Result) -> np.ndarray:
    return np.array([row["loss"] for row in result.history if "loss" in row])


def run(case: dict[str, Any], *, steps: int = 20, **options: Any) -> dict[str, Any]:
    """Returns the gradient of the first step, and losses and parameters of `steps`."""
    dtype = case.get("dtype", "float32")
    last = case.get("last", "pad")
    given = {
        "key": jax.random.key(7),
        "log": training.Log(every=1),
        "accumulate": case.get("accumulate", 1),
        "ema": 0.9,
        **options,
    }
    seen: dict[str, Any] = {}

    def first_gradient(progress):
        seen.setdefault("gradient", jax.tree.map(np.asarray, progress.state.gradient))

    with jax.enable_x64(dtype == "float64"):
        result = training.fit(
            task(case.get("optimizer", "sgd"), dtype, last),
            batches(last),
            steps,
            callbacks=[first_gradient],
            chunk=1 if steps == 1 else None,
            **given,
        )
        return {
            "gradient": seen["gradient"],
            "loss": losses(result),
            "state": jax.tree.map(np.asarray, (result.state, result.ema)),
        }


def relative(found: Any, expected: Any) -> float:
    """Returns the distance of two trees over the norm of the second."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    gap = sum(float(np.sum((np.float64(a) - np.float64(b)) ** 2)) for a, b in pairs)
    norm = sum(float(np.sum(np.float64(b) ** 2)) for _, b in pairs)
    return (gap / norm) ** 0.5


def save_and_resume(folder: Path) -> None:
    """Trains 12 steps in two runs with checkpoints; notes what this process read."""
    source, read = batches(), []

    class Spy:
        batch_size, every, axes = source.batch_size, 1, 0
        num_batches = source.num_batches
        indices, describe = source.indices, source.describe

        def read(self, step, rows):
            while len(read) <= step:
                read.append(None)
            read[step] = source.indices(step)[rows].tolist()
            return source.read(step, rows)

    for steps in (7, 12):
        training.fit(
            task("adam"),
            Spy(),
            steps,
            key=jax.random.key(7),
            parallel="sharded" if steps == 7 else "pmap",
            ema=0.9,
            checkpoint=training.Checkpoint(folder, every=5),
            log=training.Log(folder, every=1),
        )
    (folder / f"read{jax.process_index()}.json").write_text(json.dumps(read))


def main() -> None:
    """Trains the cases given as JSON and writes their arrays."""
    job = json.loads(sys.argv[1])
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if "address" in job:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(job["address"], 2, job["process"])
    arrays = {}
    for number, (parallel, case) in enumerate(job["cases"]):
        found = run(case, parallel=parallel, **job.get("options", {}))
        for i, leaf in enumerate(jax.tree.leaves(found)):
            arrays[f"{number}/{i}"] = leaf
    np.savez(job["file"], **arrays)
    if "folder" in job:
        save_and_resume(Path(job["folder"]))


if __name__ == "__main__":
    main()
