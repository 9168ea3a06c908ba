"""What is trained: a `Task` of pure functions, and the errors that end training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


State = Any  # any pytree of arrays
Batch = Any  # any pytree of arrays, or None
Metrics = Mapping[str, Any]


class Task(NamedTuple):
    """Pure functions that say what is trained; the loop knows nothing else.

    Args:
        init: `key -> state`, any pytree of arrays.
        step: `(state, batch, key) -> (state, metrics)`. It averages its own gradients
            over devices, with `value_and_grad` or `mean_over_devices`. The state keeps
            its structure, shapes and dtypes; metrics map names to arrays.
        evaluate: `(state, batch) -> metrics` over a whole batch, on all devices at
            once; None if nothing is evaluated.

    Example:
        >>> import jax.numpy as jnp
        >>> def step(state, batch, key):
        ...     loss, gradient = value_and_grad(lambda w, b, k: (w - 3.0) ** 2)(
        ...         state, batch, key
        ...     )
        ...     return state - 0.25 * gradient, {"loss": loss}
        >>> from jaxcore.training import fit, value_and_grad
        >>> task = Task(lambda key: jnp.zeros(()), step)
        >>> import jax
        >>> result = fit(task, None, 20, key=jax.random.key(0))
        >>> print(f"{result.state:.4f}")
        3.0000
    """

    init: Callable[[Any], State]
    step: Callable[[State, Batch, Any], tuple[State, Metrics]]
    evaluate: Callable[[State, Batch], Metrics] | None = None


class Progress(NamedTuple):
    """What a callback of `fit` receives after each call into the compiled steps.

    first, step: steps done before and after the call. state, ema: after it.
    metrics: of every step in between, arrays with a leading axis of `step - first`.
    seconds: that the call took.
    """

    first: int
    step: int
    state: State
    ema: Any
    metrics: dict[str, np.ndarray]
    seconds: float


@dataclass
class Result:
    """How a run ended.

    Attributes:
        state: after the last step. ema: average of its parameters, or None.
        step: steps done, earlier runs included.
        result: `"finished"`, or what a callback stopped it with.
        metrics: the last logged values; those of evaluations start with `evaluate/`.
        history: one row per log step and evaluation, as in the log file.
        resumed: the step that this run started from.
        timings: `"compile_seconds"`, spent before the first step, and
            `"step_seconds"`, inside the compiled steps.
    """

    state: State
    ema: Any
    step: int
    result: str
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    resumed: int = 0
    timings: dict[str, float] = field(default_factory=dict)


class Interrupted(SystemExit):
    """A signal ended the run; uncaught, the process exits with `code`.

    The code is 0 for SIGTERM once a checkpoint is saved (143 without one) and 130 for
    SIGINT. `state`, `ema` and `step` are those of the last step done.
    """

    def __init__(self, code: int, message: str, state: State, ema: Any, step: int):
        super().__init__(code)
        self.message, self.state, self.ema, self.step = message, state, ema, step

    def __str__(self) -> str:
        return self.message


class NonFiniteError(FloatingPointError):
    """A step gave NaN or Inf.

    `step` is its number (the first is 1), `leaf` the first bad metric or leaf of the
    state, `indices` the rows of its batch (None if unknown); `state` and `ema` are
    those before the step. `metrics`: of the last call, up to this step, arrays with a
    leading axis of steps.
    """

    def __init__(
        self,
        message: str,
        *,
        step: int,
        leaf: str,
        indices: np.ndarray | None,
        state: State,
        ema: Any,
        metrics: dict[str, np.ndarray],
    ):
        super().__init__(message)
        self.step, self.leaf, self.indices = step, leaf, indices
        self.metrics = metrics
        self.state, self.ema = state, ema


class StorageError(OSError):
    """A checkpoint or log could not be written.

    Where training was under way, `state`, `ema` and `step` are those in memory.
    """

    def __init__(self, message: str):
        super().__init__(message)
        self.state: State = None
        self.ema: Any = None
        self.step: int | None = None
        self.solution: Any = None  # of a solver that runs on the loop
