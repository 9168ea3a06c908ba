"""`fit` against a bare loop: `python -m benchmarks._training_overhead DEVICES N`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks import _results
from jaxcore import training


WIDTH, LAYERS, ROWS = 256, 4, 64
ADAM = optax.adam(1e-4)
# Layers are applied several times: the step grows, its state does not.
REPEATS = {1: (3, 12), 2: (3,), 4: (3,), 8: (3,)}
STEPS, SETTLED = 120, 40


def task(rounds: int) -> training.Task:
    """Returns a network trained to return its input."""

    def init(key):
        keys = jax.random.split(key, LAYERS)
        scale = WIDTH**-0.5
        params = [scale * jax.random.normal(k, (WIDTH, WIDTH)) for k in keys]
        return {"params": params, "optimizer": ADAM.init(params)}

    def loss(params, batch, key):
        x = batch["x"]
        for _ in range(rounds):
            for w in params:
                x = jnp.tanh(x @ w)
        return jnp.mean((x - batch["x"]) ** 2)

    def step(state, batch, key):
        value, slope = training.value_and_grad(loss)(state["params"], batch, key)
        updates, optimizer = ADAM.update(slope, state["optimizer"])
        params = optax.apply_updates(state["params"], updates)
        return {"params": params, "optimizer": optimizer}, {"loss": value}

    return training.Task(init, step)


def batches(rows: int) -> training.ArrayBatches:
    """Returns random batches."""
    x = np.random.default_rng(0).normal(size=(8 * rows, WIDTH)).astype(np.float32)
    return training.ArrayBatches({"x": x}, rows)


class Clock(NamedTuple):
    """Seconds, and seconds of the processor in all threads.

    Other programs on the machine disturb the second less.
    """

    wall: float
    processor: float

    @classmethod
    def now(cls) -> Clock:
        """Returns the time."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, steps: int) -> Clock:
        """Returns what a step took since then."""
        now = Clock.now()
        return Clock(*((b - a) / steps for a, b in zip(self, now, strict=True)))


def bare(job: training.Task, source: Any, key: jax.Array) -> Callable[[], Clock]:
    """Returns a function that gives the seconds of one step of a plain loop."""
    mesh = Mesh(np.array(jax.devices()), ("data",))
    split = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())
    step = jax.jit(job.step, donate_argnums=0, out_shardings=whole)
    given = [jax.device_put(source.read(i, slice(None)), split) for i in range(8)]
    keys = list(jax.random.split(key, STEPS))
    init = jax.jit(job.init, out_shardings=whole)

    def run() -> Clock:
        state = init(key)
        began = Clock.now()
        for i in range(STEPS):
            if i == SETTLED:
                jax.block_until_ready(state)
                began = Clock.now()
            state, metrics = step(state, given[i % 8], keys[i])
            if len(jax.devices()) > 1:
                # Host devices share a pool of threads, in which steps that are queued
                # can wait for each other's all-reduce for ever.
                jax.block_until_ready(metrics)
        jax.block_until_ready(state)
        return began.since(STEPS - SETTLED)

    return run


def ours(job: training.Task, source: Any, key: Any, parallel: str):
    """Returns the same for `fit`, reading of batches and logging included."""

    def run() -> Clock:
        marks: dict[int, Clock] = {}

        def mark(progress):
            if progress.step == SETTLED:
                marks[SETTLED] = Clock.now()
            elif progress.step == STEPS:
                marks[STEPS] = marks[SETTLED].since(STEPS - SETTLED)

        training.fit(
            job,
            source,
            STEPS,
            key=key,
            parallel=parallel,
            callbacks=[mark],
            log=training.Log(every=SETTLED),  # a call ends there
        )
        return marks[STEPS]

    return run


def main() -> None:
    """Prints one JSON line per row."""
    devices, repeats = map(int, sys.argv[1:])
    key = jax.random.key(0)
    for rounds in REPEATS[devices]:
        job, source = task(rounds), batches(ROWS)
        names = ("none",) if devices == 1 else ("pmap", "sharded")
        runs = {"bare": bare(job, source, key)}
        runs |= {name: ours(job, source, key, name) for name in names}
        times: dict[str, list[Clock]] = {name: [] for name in runs}
        order = list(runs)
        for _ in range(repeats):
            for name in order:
                times[name].append(runs[name]())
            order.reverse()
        base = np.array(times["bare"])
        for name in names:
            found = np.array(times[name])
            ratio = found / base - 1
            row = {
                "kind": "overhead",
                "devices": devices,
                "parallel": name,
                "rounds": rounds,
                "bare_seconds": _results.summarize(base[:, 0]),
                "fit_seconds": _results.summarize(found[:, 0]),
                "overhead": _results.summarize(ratio[:, 0]),
                "processor_overhead": _results.summarize(ratio[:, 1]),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
