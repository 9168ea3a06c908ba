"""What a step and an evaluation return, looked at while they are traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


OWNER = "jaxcore.training.fit"
SKIPPED = "skipped"  # the metric of nonfinite="skip": 1 where a step was undone
# What else a row of the log has.
RESERVED = ("step", "event", "time", "steps_per_second")


def checked(step: Callable, *, skip: bool) -> Callable:
    """Returns the step, with an error of this package where it returns something else.

    Args:
        step: of a task. skip: whether steps may be undone, which adds a metric.
    """
    reserved = (*RESERVED, SKIPPED) if skip else RESERVED

    def run(state: Any, batch: Any, key: Array) -> tuple[Any, dict[str, Array]]:
        found = step(state, batch, key)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise TypeError(
                f"{OWNER}: `task.step` must return (state, metrics), got {_kind(found)}"
            )
        return found[0], arrays("task.step", found[1], reserved)

    return run


def arrays(
    function: str, metrics: Any, reserved: tuple[str, ...] = ()
) -> dict[str, Array]:
    """Returns metrics as arrays.

    Raises:
        TypeError: they are no mapping of names to arrays of real numbers.
        ValueError: a name that the log has for something else.
    """
    if not isinstance(metrics, Mapping):
        raise TypeError(
            f"{OWNER}: `{function}` must return a dict of metrics"
            f"{' beside the state' if function == 'task.step' else ''}, got "
            f"{_kind(metrics)}"
        )
    for name in metrics:
        if not isinstance(name, str):
            raise TypeError(
                f"{OWNER}: `{function}` must name its metrics by text, got {name!r}"
            )
        if name in reserved:
            raise ValueError(
                f"{OWNER}: `{function}` must not name a metric like the log's own "
                f"{', '.join(reserved)}, got {name!r}"
            )
    return {name: _array(function, name, value) for name, value in metrics.items()}


def _array(function: str, name: str, value: Any) -> Array:
    found = None
    if not isinstance(value, Mapping | str | bytes):
        try:
            found = jnp.asarray(value)
        except (TypeError, ValueError):
            found = None
    real = (jnp.bool_, jnp.integer, jnp.floating)
    if found is None or not any(jnp.issubdtype(found.dtype, kind) for kind in real):
        what = _kind(value) if found is None else f"an array of {found.dtype}"
        raise TypeError(
            f"{OWNER}: `{function}` must return metrics that are arrays of real "
            f"numbers, got {what} for {name!r}"
        )
    return found


def _kind(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
