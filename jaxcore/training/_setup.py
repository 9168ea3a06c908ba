"""What `fit` makes of a task before the first step, and its evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcore.training._arguments import OWNER, Options, check_batch_size
from jaxcore.training._metrics import arrays, checked
from jaxcore.training._prefetch import read
from jaxcore.training._steps import Carry, Plan, check_step, convolves
from jaxcore.training.data import Batches
from jaxcore.training.gradients import Settings
from jaxcore.training.initial import compiled_once
from jaxcore.training.parallel import Layout, raw, typed
from jaxcore.training.task import Task


# The longest scan of one call, and of one with a batch per step; the bytes of these.
MAX_STEPS = 500
MAX_STACKED = 100
STACK_BYTES = 2**26


def prepare(
    task: Task, options: Options, layout: Layout, state: Any
) -> tuple[Plan, Carry, Any]:
    """Returns the plan of the steps, the state before the first, and the root key.

    Raises:
        ValueError, TypeError: batches, state or step do not fit.
    """
    source, devices = options.batches, len(layout.devices)
    check_batch_size("batches", source, devices, options.accumulate)
    check_batch_size("evaluate_on", options.evaluate_on, devices)
    batch = None if source is None else read(source, 0, layout)
    length = _length(options, batch)
    init_key, step_key = (jax.random.fold_in(options.key, i) for i in range(2))
    template, state = _initial(task, layout, init_key, state)
    leaves = jax.jit(lambda s: [_is_finite(x) for x in jax.tree.leaves(s)])(state)
    # One trace serves the check of the step and the program.
    skip = options.nonfinite == "skip"
    task = task._replace(step=jax.jit(checked(task.step, skip=skip), inline=True))
    plan = Plan(
        task=task,
        layout=layout,
        template=template,
        exempt=tuple(not bool(x) for x in leaves),
        impl=jax.random.key_impl(options.key),
        ema=options.ema,
        skip=skip,
        stacked=source is not None and source.every == 1,
        axes=None if source is None else source.axes,
        length=length,
        settings=Settings(options.accumulate, options.precision),
    )
    structs = (
        None if source is None else batch_structs("batches", batch, source, layout)
    )
    key_struct = jax.ShapeDtypeStruct((), options.key.dtype)
    metrics = check_step(plan, structs, key_struct)
    plan = plan._replace(apart=convolves(plan, structs, key_struct))
    settings = options.checkpoint
    if settings is not None and settings.metric is not None:
        _check_metric(settings.metric, metrics, options)
    ema = None if options.ema is None else raw(options.ema.of_state(state))
    root = layout.replicate(np.asarray(jax.random.key_data(step_key)))
    return plan, Carry(state, ema), root


def _initial(task: Task, layout: Layout, key: Any, state: Any) -> tuple[Any, Any]:
    """Returns shapes and dtypes of the state as the task knows it, and the state."""
    struct = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)  # noqa: E731
    if state is not None:
        state = jax.tree.map(
            lambda x: x if hasattr(x, "dtype") else np.asarray(x), state
        )
        template = jax.tree.map(struct, state)
        return template, layout.replicate(raw(state))
    impl, data = jax.random.key_impl(key), np.asarray(jax.random.key_data(key))

    def init(data):
        found = raw(task.init(jax.random.wrap_key_data(data, impl=impl)))
        found = jax.tree.map(jnp.asarray, found)
        return jax.tree.map(lambda x: lax.convert_element_type(x, x.dtype), found)

    template = jax.tree.map(struct, jax.eval_shape(task.init, key))
    return template, compiled_once(init, out_shardings=layout.replicated)(data)


def _is_finite(x: Any) -> Any:
    return jnp.all(jnp.isfinite(x)) if jnp.issubdtype(x.dtype, jnp.inexact) else True


def _length(options: Options, batch: Any) -> int:
    # A call may take fewer steps than the scan has. Its length follows from the batches
    # alone, since another length is another program, which may round differently.
    source = options.batches
    if source is None or source.every != 1:
        return max(MAX_STEPS, options.chunk or 0)
    size = sum(np.asarray(x).nbytes for x in jax.tree.leaves(batch))
    length = int(np.clip(STACK_BYTES // max(size, 1), 1, MAX_STACKED))
    return max(length, options.chunk or 0)


def batch_structs(name: str, batch: Any, source: Batches, layout: Layout) -> Any:
    """Returns shapes and dtypes of the batch that a step or an evaluation sees.

    Raises:
        ValueError: the batches do not have the rows that they were asked for.
    """
    size = source.batch_size
    held = None
    if size is not None:
        here = layout.rows(size)
        held = here.stop - here.start
        size = size // len(layout.devices) if layout.pmapped else size

    def struct(x: Any, axis: int | None) -> jax.ShapeDtypeStruct:
        x = np.asarray(x)
        shape = x.shape
        if axis is not None:
            if held is None or not shape or shape[0] != held:
                raise ValueError(
                    f"{OWNER}: `{name}` must return arrays of {held} rows where it is "
                    f"asked for them, got shape {shape}"
                )
            shape = (size, *shape[1:])
        return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(x.dtype))

    return jax.tree.map(
        lambda axis, part: jax.tree.map(lambda x: struct(x, axis), part),
        source.axes,
        batch,
        is_leaf=lambda x: x is None,
    )


def _check_metric(name: str, metrics: Mapping[str, Any], options: Options) -> None:
    evaluated = name.startswith("evaluate/") and options.evaluate_every is not None
    if name not in metrics and not evaluated:
        raise ValueError(
            f"{OWNER}: `checkpoint.metric` must be one of {', '.join(metrics)}, or of "
            f"an evaluation as evaluate/NAME with `evaluate_every`, got {name!r}"
        )
    if name in metrics:
        _check_scalar(name, metrics[name])


def _check_scalar(name: str, metric: Any) -> None:
    if metric.shape != ():
        raise ValueError(
            f"{OWNER}: `checkpoint.metric` must be a single number, by which "
            f"checkpoints can be ordered, got {name!r} of shape {metric.shape}"
        )


class Evaluator:
    """Runs `task.evaluate` over all batches of `evaluate_on`, on all devices.

    Calling it with the carry and a function that says whether to stop returns metrics
    by their names in the log, or None if it was stopped.
    """

    def __init__(self, task: Task, options: Options, plan: Plan):
        self.source, self.plan = options.evaluate_on, plan
        self.layout = Layout("sharded", plan.layout.devices)
        self._run: Any = None
        if options.evaluate_every is None or task.evaluate is None:
            return
        evaluate: Callable = task.evaluate
        template = plan.template

        def weighted(state, batch):
            metrics = evaluate(typed(state, template), batch)
            weight = jnp.ones(())
            if isinstance(batch, Mapping) and "mask" in batch:
                weight = jnp.sum(batch["mask"])
            return arrays("task.evaluate", metrics), weight

        self._run = jax.jit(weighted, out_shardings=self.layout.replicated)
        batch = None
        if self.source is not None:
            rows = read(self.source, 0, self.layout)
            batch = batch_structs("evaluate_on", rows, self.source, self.layout)
        with self.layout.splitting():
            found, _ = jax.eval_shape(weighted, jax.eval_shape(raw, template), batch)
        settings = options.checkpoint
        name = (settings.metric if settings else None) or ""
        prefix, _, metric = name.partition("/")
        if prefix == "evaluate" and metric.removeprefix("ema_") not in found:
            raise ValueError(
                f"{OWNER}: `checkpoint.metric` must be one of "
                f"{', '.join('evaluate/' + n for n in found)}, got {name!r}"
            )
        if prefix == "evaluate":
            _check_scalar(name, found[metric.removeprefix("ema_")])

    def __call__(self, carry: Carry, stop: Callable[[], bool]) -> dict[str, Any] | None:
        states = {"evaluate/": carry.state}
        ema = self.plan.ema
        if ema is not None:
            states["evaluate/ema_"] = ema.into_state(carry.state, carry.ema)
        sums: dict[str, Any] = {}
        total = 0.0
        source = self.source
        for i in range(1 if source is None else source.num_batches or 0):
            if stop():
                return None
            batch = None
            if source is not None:
                rows = read(source, i, self.layout)
                batch = self.layout.place(rows, source.axes, stacked=False)
            for prefix, state in states.items():
                with self.layout.splitting():
                    metrics, weight = self._run(state, batch)
                share = float(weight)
                for name, value in metrics.items():
                    value = share * np.asarray(value, np.float64)
                    sums[prefix + name] = sums.get(prefix + name, 0.0) + value
            total += share
        return {
            name: (value / total).tolist() if total else float("nan")
            for name, value in sums.items()
        }
