"""`fit`: the loop around the compiled steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array

from jaxcore.training._arguments import check, check_callbacks
from jaxcore.training._run import Run
from jaxcore.training._signals import Signals
from jaxcore.training.checkpoint import Checkpoint
from jaxcore.training.data import Batches
from jaxcore.training.ema import Ema
from jaxcore.training.logging import Log
from jaxcore.training.parallel import Layout
from jaxcore.training.task import Progress, Result, Task


def fit(
    task: Task,
    batches: Batches | None,
    steps: int,
    *,
    key: Array,
    devices: int | Sequence[jax.Device] | None = None,
    parallel: str = "none",
    accumulate: int = 1,
    precision: str = "float32",
    ema: float | Ema | None = None,
    checkpoint: str | Path | Checkpoint | None = None,
    log: str | Path | Log | None = None,
    evaluate_every: int | None = None,
    evaluate_on: Batches | None = None,
    callbacks: Sequence[Callable[[Progress], Any]] = (),
    nonfinite: str = "stop",
    on_error: str = "raise",
    chunk: int | None = None,
    state: Any = None,
    start: int = 0,
) -> Result:
    """Returns the `Result` of training until `steps` steps are done.

    State, order of data and random keys of a step are functions of `key`, the seed of
    the batches and the number of the step alone. A run that was stopped and continues
    from its checkpoint is, on the same devices, equal to the bit to one that was not.

    Args:
        task: what is trained.
        batches: `ArrayBatches`, `FunctionBatches` or your own; None for tasks without.
        steps: in all, those before a checkpoint included.
        key: typed random key, for `task.init` and the steps.
        devices: to use, or how many; default one for `parallel="none"`, else all.
        parallel: `"none"`; `"pmap"`: `task.step` sees the rows of one device;
            `"sharded"`: it sees the global batch, which `jax.jit` splits.
        accumulate: microbatches of a step, see `value_and_grad`.
        precision: `"float32"` or `"bfloat16"` for the losses of `value_and_grad`.
        ema: decay of an average of `state.params` (or `state["params"]`), or `Ema`.
        checkpoint: folder or `Checkpoint`. A run continues from what it finds there,
            also where `state` and `start` are given: these count for the first run.
        log: folder or `Log`. Default: the folder of the checkpoints, if any.
        evaluate_every: steps between evaluations; the last step is always evaluated.
        evaluate_on: batches of one pass, their metrics averaged by valid rows; where
            `batches` is None, `task.evaluate(state, None)` is called once. With `ema`
            the averaged parameters are evaluated too, under `evaluate/ema_`.
        callbacks: called with a `Progress` after each call into the compiled steps; one
            that returns True, or a text for `Result.result`, ends the run.
        nonfinite: `"stop"`: raise; `"skip"`: undo the step and go on; its metric
            `skipped` is 1. A run whose last steps were all undone ends with a warning.
        on_error: `"raise"` or `"continue"` (with a warning) where a checkpoint or log
            cannot be written.
        chunk: steps in one call into the compiled loop; by default as many as
            take a quarter of a second, and no more than the scan is long: 500, or with
            a batch per step 100 and what 64 MiB hold.
        state: start from this one instead of `task.init`, unless `checkpoint` holds
            one, which is taken instead.
        start: steps that `state` has behind it; the steps go on with that number.

    Raises:
        ValueError, TypeError: bad arguments, before anything compiles.
        CheckpointError: the checkpoint is of another model or configuration.
        NonFiniteError: a metric or the state became NaN or Inf; it has the last good
            state.
        StorageError: a checkpoint or log could not be written; it has the state.
        Interrupted: SIGTERM or SIGINT, once a checkpoint is saved. It is a SystemExit
            with code 0 or 130.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np
        >>> from jaxcore.training import ArrayBatches, Task, fit, value_and_grad
        >>> def step(w, batch, key):
        ...     loss = lambda w, b, key: jnp.mean((w - b["x"]) ** 2)
        ...     value, slope = value_and_grad(loss)(w, batch, key)
        ...     return w - 0.1 * slope, {"loss": value}
        >>> task = Task(lambda key: jnp.zeros(()), step)
        >>> batches = ArrayBatches({"x": np.full(8, 3.0)}, 4, seed=0)
        >>> result = fit(task, batches, 60, key=jax.random.key(0))
        >>> print(f"{result.state:.4f} after {result.step} steps")
        3.0000 after 60 steps
    """
    options = check(
        batches, steps, key, parallel, accumulate, precision, ema, checkpoint, log,
        evaluate_every, evaluate_on, nonfinite, on_error, chunk, start, state, task,
    )  # fmt: skip
    functions = check_callbacks(callbacks)
    with Signals() as signals:
        layout = Layout(parallel, devices)
        run = Run(options, layout, signals, functions)
        try:
            run.open(task, state)
            return run.train()
        finally:
            run.close()
