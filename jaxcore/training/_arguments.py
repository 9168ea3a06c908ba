"""The arguments of `fit`, checked before anything compiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcore.training._values import as_json, check_key, integer, number
from jaxcore.training.checkpoint import ON_ERROR, Checkpoint
from jaxcore.training.data import Batches
from jaxcore.training.ema import Ema
from jaxcore.training.gradients import PRECISIONS
from jaxcore.training.logging import Log
from jaxcore.training.parallel import PARALLEL
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
    for part in ("init", "step", "evaluate"):
        function = getattr(task, part)
        if not callable(function) and (part != "evaluate" or function is not None):
            raise TypeError(
                f"{OWNER}: `task.{part}` must be a function, got {function!r}"
            )
    for name, source in (("batches", batches), ("evaluate_on", evaluate_on)):
        if source is not None and not isinstance(source, Batches):
            raise TypeError(
                f"{OWNER}: `{name}` must be ArrayBatches, FunctionBatches or have "
                f"their methods, got a {type(source).__name__}"
            )
    check_key(OWNER, key)
    steps = integer(OWNER, "steps", steps, 0)
    accumulate = integer(OWNER, "accumulate", accumulate, 1)
    start = integer(OWNER, "start", start, 0)
    if evaluate_every is not None:
        evaluate_every = integer(OWNER, "evaluate_every", evaluate_every, 1)
    if chunk is not None:
        chunk = integer(OWNER, "chunk", chunk, 1)
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
    if checkpoint is not None and batches is not None:
        _description(batches)
    if not isinstance(ema, Ema | None):
        if number(ema) is None:
            raise TypeError(
                f"{OWNER}: `ema` must be a number in [0, 1) or an Ema, got {ema!r}"
            )
        ema = Ema(ema)
    return Options(
        batches, steps, key, accumulate, precision, ema, checkpoint, log,
        evaluate_every, evaluate_on, nonfinite, on_error, chunk, start,
    )  # fmt: skip


def check_callbacks(callbacks: Any) -> tuple[Callable, ...]:
    """Returns the callbacks.

    Raises:
        TypeError: they are no sequence of functions.
    """
    found = callbacks if isinstance(callbacks, Sequence) else [None]
    if not all(callable(callback) for callback in found):
        raise TypeError(
            f"{OWNER}: `callbacks` must be a list of functions of a Progress, got "
            f"{callbacks!r}"
        )
    return tuple(found)


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
        "batches": None if batches is None else _description(batches),
    }


def _description(batches: Batches) -> Any:
    described = batches.describe()
    try:
        return as_json(described)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{OWNER}: `batches.describe` must return JSON values, got {described!r} "
            f"({error})"
        ) from None
