"""The arguments of `fit`, checked before anything compiles."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcore.training.checkpoint import ON_ERROR, Checkpoint
from jaxcore.training.data import Batches
from jaxcore.training.ema import Ema
from jaxcore.training.gradients import PRECISIONS
from jaxcore.training.logging import Log
from jaxcore.training.parallel import PARALLEL, is_key
from jaxcore.training.task import Task


OWNER = "jaxcore.training.fit"
NONFINITE = ("stop", "skip")


@dataclass(frozen=True)
class Options:
    """Checked arguments of `fit`."""

    batches: Batches | None
    steps: int
    key: Any
    accumulate: int
    precision: str
    ema: Ema | None
    checkpoint: Checkpoint | None
    log: Log
    evaluate_every: int | None
    evaluate_on: Batches | None
    nonfinite: str
    on_error: str
    chunk: int | None
    start: int


def check(
    batches, steps, key, parallel, accumulate, precision, ema, checkpoint, log,
    evaluate_every, evaluate_on, nonfinite, on_error, chunk, start, state, task,
) -> Options:  # fmt: skip
    """Returns the options, or raises naming the argument that is wrong."""
    if not isinstance(task, Task):
        raise TypeError(
            f"{OWNER}: `task` must be a jaxcore.training.Task, got a "
            f"{type(task).__name__}"
        )
    for name, source in (("batches", batches), ("evaluate_on", evaluate_on)):
        if source is not None and not isinstance(source, Batches):
            raise TypeError(
                f"{OWNER}: `{name}` must be ArrayBatches, FunctionBatches or have "
                f"their methods, got a {type(source).__name__}"
            )
    if not is_key(key) or key.shape != ():
        raise TypeError(
            f"{OWNER}: `key` must be a typed random key such as jax.random.key(0), "
            f"got {key!r}"
        )
    for name, value, least in (
        ("steps", steps, 0),
        ("accumulate", accumulate, 1),
        ("evaluate_every", evaluate_every, 1),
        ("chunk", chunk, 1),
        ("start", start, 0),
    ):
        if value is None and name in ("evaluate_every", "chunk"):
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(
                f"{OWNER}: `{name}` must be an integer of at least {least}, got "
                f"{value!r}"
            )
    for name, value, known in (
        ("parallel", parallel, PARALLEL),
        ("precision", precision, PRECISIONS),
        ("nonfinite", nonfinite, NONFINITE),
        ("on_error", on_error, ON_ERROR),
    ):
        if value not in known:
            raise ValueError(
                f"{OWNER}: `{name}` must be one of {', '.join(known)}, got {value!r}"
            )
    if start and (state is None or start > steps):
        raise ValueError(
            f"{OWNER}: `start` must come with `state` and be at most the {steps} steps "
            f"asked for, got {start}"
        )
    _check_evaluation(task, batches, evaluate_every, evaluate_on)
    checkpoint, log = _storage(checkpoint, log)
    if not isinstance(ema, Ema | None):
        ema = Ema(ema)
    return Options(
        batches, steps, key, accumulate, precision, ema, checkpoint, log,
        evaluate_every, evaluate_on, nonfinite, on_error, chunk, start,
    )  # fmt: skip


def _storage(checkpoint: Any, log: Any) -> tuple[Checkpoint | None, Log]:
    if isinstance(checkpoint, str | Path):
        checkpoint = Checkpoint(checkpoint)
    if not isinstance(checkpoint, Checkpoint | None):
        raise TypeError(
            f"{OWNER}: `checkpoint` must be a folder or a Checkpoint, got "
            f"{checkpoint!r}"
        )
    if isinstance(log, str | Path):
        log = Log(log)
    if not isinstance(log, Log | None):
        raise TypeError(f"{OWNER}: `log` must be a folder or a Log, got {log!r}")
    log = log or Log()
    if log.folder is None and checkpoint is not None:
        log = dataclasses.replace(log, folder=checkpoint.folder)
    return checkpoint, log


def _check_evaluation(task: Task, batches, evaluate_every, evaluate_on) -> None:
    if evaluate_every is None:
        if evaluate_on is not None:
            raise ValueError(
                f"{OWNER}: `evaluate_every` must be given with `evaluate_on`, got None"
            )
        return
    if task.evaluate is None:
        raise ValueError(
            f"{OWNER}: `evaluate_every` must be None for a task without `evaluate`, "
            f"got {evaluate_every}"
        )
    if evaluate_on is None and batches is not None:
        raise ValueError(
            f"{OWNER}: `evaluate_on` must say which batches are evaluated, got None"
        )
    if evaluate_on is not None and not evaluate_on.num_batches:
        raise ValueError(
            f"{OWNER}: `evaluate_on` must have an end, got batches whose `num_batches` "
            f"is {evaluate_on.num_batches}"
        )


def check_batch_size(
    name: str, source: Batches | None, devices: int, accumulate: int = 1
) -> None:
    """Raises unless the rows of a batch divide evenly.

    Raises:
        ValueError: says by what.
    """
    if accumulate > 1 and (source is None or source.axes != 0):
        raise ValueError(
            f"{OWNER}: `accumulate` must be 1 where batches have no rows to split, got "
            f"{accumulate}"
        )
    size = None if source is None else source.batch_size
    if size is not None and size % (devices * accumulate):
        raise ValueError(
            f"{OWNER}: the batch size of `{name}` must be divisible by devices times "
            f"microbatches, got {size} rows for {devices} x {accumulate}"
        )


def identity(options: Options) -> dict[str, Any]:
    """Returns what must not change when a run is resumed, JSON-able."""
    ema, batches = options.ema, options.batches
    return {
        "key": np.asarray(jax.random.key_data(options.key)).tolist(),
        "key_impl": str(jax.random.key_impl(options.key)),
        "accumulate": options.accumulate,
        "precision": options.precision,
        "nonfinite": options.nonfinite,
        "ema": None if ema is None else dataclasses.asdict(ema),
        "batches": None if batches is None else batches.describe(),
    }
