"""The compiled part of the loop: many steps of a task in one `lax.fori_loop`.

Where a loop would be slow, each step is a call of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jaxcore.training._metrics import SKIPPED
from jaxcore.training.ema import Ema
from jaxcore.training.gradients import Settings, settings
from jaxcore.training.parallel import (
    AXIS,
    Layout,
    axis_name,
    device_key,
    mean_over_devices,
    raw,
    typed,
)
from jaxcore.training.task import Task


OWNER = "jaxcore.training.fit"


class Carry(NamedTuple):
    """What goes from step to step, random keys as integers."""

    state: Any
    ema: Any


class Plan(NamedTuple):
    """Everything that a step's program depends on.

    template: shapes and dtypes of the state. exempt: which of its leaves may be
    non-finite because they were at the beginning. length: steps of one buffer. apart:
    whether each step is a call of its own, see `convolves`.
    """

    task: Task
    layout: Layout
    template: Any
    exempt: tuple[bool, ...]
    impl: Any
    ema: Ema | None
    skip: bool
    stacked: bool
    axes: Any
    length: int
    settings: Settings
    apart: bool = False


def compiled(plan: Plan) -> Callable:
    """Returns the program that takes steps.

    `(carry, root, batches, first, offset, count) -> (carry, metrics, finite)` takes the
    steps `first + offset`, ..., `first + offset + count - 1`, at most `length - offset`
    of them. Metrics have a leading axis of `length`. One program serves all lengths, so
    a step is computed by the same instructions wherever a call begins or ends, and
    resuming is exact to the bit.
    """
    take = _take(plan)
    if plan.apart:
        return _apart(plan, take)

    def steps(carry, root, batches, first, offset, count):
        def one(carry, i):
            at = lambda x: lax.dynamic_index_in_dim(x, i, keepdims=False)  # noqa: E731
            batch = jax.tree.map(at, batches) if plan.stacked else batches
            return take(carry, root, first + i, batch)

        def body(i, both):
            carry, metrics = both
            carry, row = one(carry, i)
            put = lambda whole, value: whole.at[i].set(value)  # noqa: E731
            return carry, jax.tree.map(put, metrics, row)

        shapes = jax.eval_shape(one, carry, offset)[1]
        none = jax.tree.map(
            lambda s: jnp.zeros((plan.length, *s.shape), s.dtype), shapes
        )
        # A loop of a traced number of steps updates the state in place, whereas a scan
        # over all with a condition on each would copy it.
        end = offset + count
        carry, metrics = lax.fori_loop(offset, end, body, (carry, none))
        finite = _all_finite(carry.state, plan.exempt)
        # A device may differ from the others: all must come to the same decision.
        finite = mean_over_devices(finite.astype(jnp.float32)) == 1.0
        return carry, mean_over_devices(metrics), finite

    axes = 0 if plan.axes is None and not plan.stacked else plan.axes
    run = plan.layout.compile(steps, axes)

    def call(*arguments):
        with settings(plan.settings):
            return run(*arguments)

    return call


def _apart(plan: Plan, take: Callable) -> Callable:
    """Returns what `compiled` does, as one call of a program without a loop a step."""

    def one(carry, root, batches, first, i):
        at = lambda x: lax.dynamic_index_in_dim(x, i, keepdims=False)  # noqa: E731
        batch = jax.tree.map(at, batches) if plan.stacked else batches
        carry, row = take(carry, root, first + i, batch)
        finite = _all_finite(carry.state, plan.exempt)
        return carry, mean_over_devices(row), finite

    run = plan.layout.compile(one, None)

    def call(carry, root, batches, first, offset, count):
        rows = []
        with settings(plan.settings):
            if count == 0:  # a call that is to compile: what its step does is dropped
                _, row, finite = run(carry, root, batches, first, offset)
                jax.block_until_ready(row)
                return carry, {}, finite
            for i in range(offset, offset + count):
                carry, row, finite = run(carry, root, batches, first, np.int32(i))
                rows.append(row)
        metrics = {}
        for name in rows[0]:
            values = np.stack([np.asarray(row[name]) for row in rows])
            metrics[name] = np.zeros((plan.length, *values.shape[1:]), values.dtype)
            metrics[name][offset : offset + count] = values
        return carry, metrics, finite

    return call


def convolves(plan: Plan, batch: Any, key: Any) -> bool:
    """Returns whether a step convolves on CPU, where XLA does that badly in a loop.

    Gradients of convolutions are then many times slower than outside of a loop
    (jax-ml/jax issue 12868).
    """
    if plan.layout.pmapped or jax.default_backend() != "cpu":
        return False
    step: Any = plan.task.step  # compiled, see `prepare`
    with settings(plan.settings), plan.layout.splitting():
        jaxpr = step.trace(*_structs(plan, batch, key)).jaxpr
    return _has(jaxpr.jaxpr, lax.conv_general_dilated_p)


def _has(jaxpr: Any, primitive: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive is primitive:
            return True
        for leaf in jax.tree.leaves(tuple(equation.params.values())):
            inner = getattr(leaf, "jaxpr", leaf)
            if hasattr(inner, "eqns") and _has(inner, primitive):
                return True
    return False


def _take(plan: Plan) -> Callable:
    replicated = plan.layout.replicated

    def take(carry: Carry, root: Array, step: Array, batch: Any):
        root = jax.random.wrap_key_data(root, impl=plan.impl)
        key = device_key(jax.random.fold_in(root, step))
        state = typed(carry.state, plan.template)
        new, metrics = plan.task.step(state, batch, key)
        new, metrics = _strong(raw(new), carry.state), _arrays(metrics)
        if plan.skip:
            ok = _all_finite(new, plan.exempt) & _all_finite(metrics)
            ok = mean_over_devices(ok.astype(jnp.float32)) == 1.0
            new = jax.tree.map(lambda a, b: jnp.where(ok, a, b), new, carry.state)
            metrics = {**metrics, SKIPPED: 1.0 - ok.astype(jnp.float32)}
        ema = carry.ema
        if plan.ema is not None:
            ema = plan.ema.update(ema, plan.ema.of_state(new))
        after = Carry(new, ema)
        if axis_name() is None:
            after = lax.with_sharding_constraint(after, replicated)
        return after, metrics

    return take


def _strong(new: Any, old: Any) -> Any:
    """Casts away weak types, which would count as a change of the carry."""
    return jax.tree.map(lambda a, b: lax.convert_element_type(a, b.dtype), new, old)


def _arrays(metrics: Mapping[str, Any]) -> dict[str, Array]:
    found = {name: jnp.asarray(value) for name, value in metrics.items()}
    return jax.tree.map(lambda x: lax.convert_element_type(x, x.dtype), found)


def _all_finite(tree: Any, exempt: tuple[bool, ...] | None = None) -> Array:
    leaves = jax.tree.leaves(tree)
    flags = [
        jnp.all(jnp.isfinite(x))
        for x, free in zip(leaves, exempt or (False,) * len(leaves), strict=True)
        if not free and jnp.issubdtype(x.dtype, jnp.inexact)
    ]
    return jnp.all(jnp.stack(flags)) if flags else jnp.bool_(True)


def check_step(plan: Plan, batch: Any, key: Any) -> Any:
    """Returns shapes and dtypes of the metrics; raises before anything compiles.

    Raises:
        TypeError: the step does not return a state like the one it got.
        ValueError: `accumulate` or `precision` asks for gradients that the task does
            not take with `value_and_grad`.
    """
    run, arguments = plan.task.step, _structs(plan, batch, key)
    if plan.layout.pmapped:
        run = _with_axis(run)
    with settings(plan.settings), plan.layout.splitting():
        state, metrics = jax.eval_shape(run, *arguments)
    difference = first_difference(plan.template, state)
    if difference is not None:
        raise TypeError(
            f"{OWNER}: `task.step` must return a state like the one it got; "
            f"{difference}"
        )
    if not plan.settings.default and not plan.settings.used:
        name = "accumulate" if plan.settings.accumulate > 1 else "precision"
        value = getattr(plan.settings, name)
        raise ValueError(
            f"{OWNER}: `{name}` must be left alone, got {value!r}: task.step takes no "
            "gradient with jaxcore.training.value_and_grad, which carries it out"
        )
    return metrics


def _structs(plan: Plan, batch: Any, key: Any) -> tuple[Any, Any, Any]:
    """Returns the arguments of a step as shapes."""
    arguments = (plan.template, batch, key)
    if plan.layout.pmapped:
        return arguments
    # With the placement of the program, so that one trace serves both.
    place = plan.layout.replicated
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), arguments
    )


def _with_axis(step: Callable) -> Callable:
    """Returns the step with the axis of `pmap` in scope, to trace it for its shapes."""

    def run(state, batch, key):
        one = jax.vmap(
            lambda _, *arguments: step(*arguments),
            in_axes=(0, None, None, None),
            axis_name=AXIS,
        )
        found = one(jnp.zeros(1), state, batch, key)
        return jax.tree.map(lambda x: x[0], found)

    return run


def first_difference(expected: Any, found: Any) -> str | None:
    """Returns the first leaf in which two trees differ, in words, or None."""
    return difference_of_tables(leaf_table(expected), leaf_table(found))


def leaf_table(tree: Any) -> list[list[Any]]:
    """Returns path, shape and dtype of every leaf, JSON-able."""
    return [
        [jax.tree_util.keystr(path), list(jnp.shape(leaf)), str(leaf.dtype)]
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def difference_of_tables(expected: list, found: list) -> str | None:
    """Returns the first row in which two tables differ, in words, or None.

    A leaf that only one of the tables has is missing or new; it does not make those
    that come after it differ.
    """
    before, after = ({row[0]: row for row in table} for table in (expected, found))
    for path, row in before.items():
        if path not in after:
            new = [r for p, r in after.items() if p not in before]
            hint = f"; {new[0][0]}: {_kind(new[0])} is new" if new else ""
            what = f"{path}: {_kind(row)} is missing"
            return f"the first leaf that differs is {what}{hint}"
        if list(row) != list(after[path]):
            return (
                f"the first leaf that differs is {path}: {_kind(row)} became "
                f"{_kind(after[path])}"
            )
    for path, row in after.items():
        if path not in before:
            return f"the first leaf that differs is {path}: {_kind(row)} is new"
    for one, other in zip(before, after, strict=True):
        if one != other:
            return f"the first leaf that differs in order is {one}, now {other}"
    return None


def _kind(row: list) -> str:
    return f"{row[2]}[{','.join(map(str, row[1]))}]"
