"""The state before the first step, compiled for the one call that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jaxcore.training.task import State, Task


# Programs that run once: optimizing them takes longer than it saves.
QUICK: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}


def initial_state(task: Task, key: Any) -> State:
    """Returns `task.init(key)`, compiled.

    The random numbers of many arrays are many small programs, which take a CPU as long
    to optimize as a training step and run in no time: they are not optimized.

    Args:
        task: what is trained.
        key: typed random key.

    Example:
        >>> import jax
        >>> draw = lambda key: jax.random.normal(key, (3,))
        >>> task = Task(draw, lambda state, batch, key: (state, {}))
        >>> initial_state(task, jax.random.key(0)).shape
        (3,)
    """
    return compiled_once(task.init)(key)


def compiled_once(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Returns `jax.jit` of a function that is called once."""
    if jax.default_backend() == "cpu":
        options["compiler_options"] = QUICK
    return jax.jit(function, **options)
