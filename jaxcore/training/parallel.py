"""Averages, keys and placement over devices: one device, `pmap`, or sharded `jit`.

Inside a step the same code serves all three. Under `pmap` the functions of this module
speak over the axis `"data"`; under `jit` the batch is the global one and they change
nothing. Which of the two holds is read from JAX's own trace, so a function compiled for
one is never taken for the other.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from jaxcore.training._values import check_key, integer


AXIS = "data"
PARALLEL = ("none", "pmap", "sharded")
# Keeps the keys of devices apart from those that a task folds small numbers into.
DEVICE_TAG = 0x5EA


def axis_name() -> str | None:
    """Returns `"data"` inside `pmap`, else None: the `axis_name` of a BatchNorm."""
    try:
        lax.axis_size(AXIS)
    except NameError:
        return None
    return AXIS


def mean_over_devices(tree: Any) -> Any:
    """Returns the mean of every leaf over all devices that share the step.

    Under `pmap` this is `lax.pmean` over the axis `"data"`, of integers and bools too,
    as float32. On one device and under sharded `jit`, where values are those of the
    global batch already, it is the identity. Calling it twice changes nothing.

    It is not meant for a `jax.shard_map` of your own: there the gradient of a
    replicated parameter is already the sum over devices.

    Example:
        >>> mean_over_devices({"loss": 2.0})
        {'loss': 2.0}
    """
    if axis_name() is None:
        return tree
    return jax.tree.map(lambda x: lax.pmean(_floating(x), AXIS), tree)


def _floating(x: Any) -> Array:
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)


# The mesh over which a compiled step or evaluation is split, where there is one. It is
# part of JAX's compilation key, as `gradients.settings` is.
_mesh = jax.make_user_context(None)


def split_over_devices(tree: Any) -> Any:
    """Returns the tree with the first axis of every leaf split over the devices.

    For steps that compute something for each entry of an axis, with a `jax.vmap` over
    it: under `parallel="sharded"` each device then computes its own entries, also where
    they come from a replicated state. On one device, under `pmap` and outside of `fit`
    it changes nothing.

    Args:
        tree: leaves whose first axis the number of devices divides.

    Example:
        >>> split_over_devices({"w": jax.numpy.ones(4)})["w"].shape
        (4,)
    """
    mesh = _mesh.value
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x, sharding), tree)


def masked_mean(
    values: Float[Array, "b *rest"], mask: Float[Array, " b"]
) -> Float[Array, ""]:
    """Returns the mean of `values` over the rows of the global batch that count.

    `sum_b mask_b values_b / (n sum_b mask_b)`, `n` values a row: the mask is a weight.
    Under `pmap` the result on one device is not yet that mean: its average over devices
    is, and the same holds for gradients, so `value_and_grad` or `mean_over_devices`
    must follow, as for any loss. Rows with mask 0 may hold anything, NaN included. A
    batch without a valid row, or without values in its rows, gives 0.

    Args:
        values: (b, ...); integers count as float32. mask: (b,), 1 for rows that count,
            0 for padding, or any weight from 0 on.

    Raises:
        ValueError: there are no rows, or the mask is not (b,).

    Example:
        >>> import jax.numpy as jnp
        >>> float(masked_mean(jnp.array([1.0, 3.0, 9.0]), jnp.array([1.0, 1.0, 0.0])))
        2.0
    """
    values = _floating(values)
    mask = _weights("masked_mean", "values", values, mask, axes=1)
    inner = max(1, int(np.prod(values.shape[1:], dtype=np.int64)))
    total = jnp.sum(_weighted(values, mask))
    count = mean_over_devices(jnp.sum(mask))
    return total / (inner * jnp.maximum(count, jnp.finfo(total.dtype).tiny))


def batch_moments(
    x: Float[Array, "b *rest c"], mask: Float[Array, " b"] | None = None
) -> tuple[Float[Array, " c"], Float[Array, " c"]]:
    """Returns mean and variance per channel over the global batch, for a BatchNorm.

    `m = sum_b mask_b x_b / n`, `v = sum_b mask_b (x_b - m)^2 / n`, `n = sum_b mask_b`,
    sums over rows, over the axes between and over devices. Averaging the moments of
    each device instead would be wrong where a padded batch leaves them different
    numbers of valid rows.

    Args:
        x: (b, ..., c); integers count as float32. mask: (b,), 1 for rows that count,
            0 for padding, which may hold NaN, or any weight; None: all rows count.

    Raises:
        ValueError: there are no rows and channels, or the mask is not (b,).

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[1.0], [3.0], [7.0]])
        >>> mean, variance = batch_moments(x, jnp.array([1.0, 1.0, 0.0]))
        >>> print(mean, variance)
        [2.] [1.]
    """
    x = _floating(x)
    mask = jnp.ones(x.shape[:1], x.dtype) if mask is None else mask
    mask = _weights("batch_moments", "x", x, mask, axes=2)
    rest = tuple(range(x.ndim - 1))
    size = np.prod(x.shape[1:-1], dtype=np.float64)
    count = size * mean_over_devices(jnp.sum(mask))
    count = jnp.maximum(count, jnp.finfo(x.dtype).tiny)
    mean = mean_over_devices(jnp.sum(_weighted(x, mask), rest)) / count
    gap = _valid(x, mask) - mean.reshape((1,) * len(rest) + (-1,))
    variance = mean_over_devices(jnp.sum(_weighted(gap**2, mask), rest)) / count
    return mean, variance


def _weights(function: str, name: str, values: Array, mask: Any, *, axes: int) -> Array:
    """Returns the mask in the dtype of the values.

    Raises:
        ValueError: the values have too few axes, or the mask is not one entry a row.
    """
    owner, mask = f"jaxcore.training.{function}", jnp.asarray(mask)
    if values.ndim < axes:
        raise ValueError(
            f"{owner}: `{name}` must have shape {('(b, ...)', '(b, ..., c)')[axes - 1]}"
            f", got {values.shape}"
        )
    if mask.shape != values.shape[:1]:
        raise ValueError(
            f"{owner}: `mask` must have shape {values.shape[:1]}, one entry per row of "
            f"`{name}` {values.shape}, got {mask.shape}"
        )
    return mask.astype(values.dtype)


def _valid(values: Array, mask: Array) -> Array:
    """Returns the values with 0 in rows of mask 0; so gradients stay finite there."""
    return jnp.where(_wide(mask, values) != 0, values, 0)


def _weighted(values: Array, mask: Array) -> Array:
    return _valid(values, mask) * _wide(mask, values)


def _wide(mask: Array, values: Array) -> Array:
    return mask.reshape(mask.shape + (1,) * (values.ndim - 1))


def device_key(key: Array) -> Array:
    """Returns a key that differs from device to device, for a key common to all.

    `fit` has already applied it to the key that a step receives. The first device
    keeps the key, so one device is the special case of many.
    """
    if axis_name() is None:
        return key
    index = lax.axis_index(AXIS)
    other = jax.random.fold_in(jax.random.fold_in(key, DEVICE_TAG), index)
    return jnp.where(index == 0, key, other)


def shared_key(key: Array) -> Array:
    """Returns the key of the first device, on all of them: what one device would have.

    For draws that every device must make alike.
    """
    if axis_name() is None:
        return key
    data = jax.random.key_data(key)
    first = lax.psum(jnp.where(lax.axis_index(AXIS) == 0, data, 0), AXIS)
    return jax.random.wrap_key_data(first, impl=jax.random.key_impl(key))


def row_keys(key: Array, rows: int) -> Array:
    """Returns one key per row of this device's batch, by the row's global position.

    With them dropout, noise and augmentation are the same on any number of devices:
    `jax.vmap(apply, (None, 0, 0))(params, batch, row_keys(key, batch.shape[0]))`.

    Args:
        key: as the step received it. rows: of the batch that the step received.

    Returns:
        (rows,) keys.

    Raises:
        TypeError: `key` is no single typed key.
        ValueError: `rows` is no integer, or negative.
    """
    owner = "jaxcore.training.row_keys"
    check_key(owner, key)
    rows = integer(owner, "rows", rows, 0)
    key = shared_key(key)
    index = jnp.arange(rows)
    if axis_name() is not None:
        index = index + rows * lax.axis_index(AXIS)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, index)


def raw(tree: Any) -> Any:
    """Returns the tree with random keys as plain integers."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def typed(tree: Any, like: Any) -> Any:
    """Returns the tree with random keys where `like` has them; inverse of `raw`."""

    def back(x, template):
        if not is_key(template):
            return x
        name = str(template.dtype).removeprefix("key<").removesuffix(">")
        return jax.random.wrap_key_data(x, impl=_IMPLEMENTATIONS.get(name, name))

    return jax.tree.map(back, tree, like)


# Dtypes carry the short tags of the implementations, `wrap_key_data` wants names.
_IMPLEMENTATIONS = {"fry": "threefry2x32", "urbg": "unsafe_rbg"}


def is_key(x: Any) -> bool:
    """Returns whether `x` is an array of typed random keys (or its shape and dtype)."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)


class Layout:
    """Where state and batches live, and how a step is compiled for it.

    Args:
        parallel: `"none"`, `"pmap"` or `"sharded"`.
        devices: to use; a number takes the first ones; by default one for `"none"`,
            all of them otherwise.

    State is replicated. Of a batch, this process holds the rows `rows(batch_size)` of
    the global one: devices are in the order of processes.
    """

    def __init__(self, parallel: str, devices: int | Sequence[jax.Device] | None):
        self.parallel = parallel
        self.devices = _devices(parallel, devices)
        self.mesh = Mesh(np.array(self.devices), (AXIS,))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self.split = NamedSharding(self.mesh, PartitionSpec(AXIS))
        here = jax.process_index()
        self.local = [d for d in self.devices if d.process_index == here]
        self.several = jax.process_count() > 1
        self.pmapped = parallel == "pmap"

    def rows(self, batch_size: int) -> slice:
        """Returns the rows of the global batch that this process holds."""
        each = batch_size // len(self.devices)
        start = each * self.devices.index(self.local[0])
        return slice(start, start + each * len(self.local))

    def replicate(self, tree: Any) -> Any:
        """Returns the tree with every leaf on every device."""
        return jax.device_put(tree, self.replicated)

    def place(self, batch: Any, axes: Any, *, stacked: bool) -> Any:
        """Returns this process's rows as arrays on the devices, for the steps.

        Args:
            batch: NumPy arrays with this process's rows.
            axes: prefix of the batch: 0 where a leaf's first axis is split over
                devices, None where it is replicated.
            stacked: leaves have an axis of steps before the batch's own axes.
        """
        return _map_prefix(lambda x, axis: self._place(x, axis, stacked), batch, axes)

    def _place(self, x: Any, axis: int | None, stacked: bool) -> Array:
        x = np.asarray(x)
        x = x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)
        if axis is None:
            if self.several:
                return jax.make_array_from_process_local_data(self.replicated, x)
            return jax.device_put(x, self.replicated)
        if not self.pmapped:
            spec = PartitionSpec(None, AXIS) if stacked else PartitionSpec(AXIS)
            sharding = NamedSharding(self.mesh, spec)
            return jax.make_array_from_process_local_data(sharding, x)
        position = 1 if stacked else 0
        shape = x.shape
        count = len(self.local)
        x = x.reshape(*shape[:position], count, -1, *shape[position + 1 :])
        x = np.moveaxis(x, position, 0)
        if self.several:
            mesh = Mesh(np.array(self.local), (AXIS,))
            return jax.device_put(x, NamedSharding(mesh, PartitionSpec(AXIS)))
        return jax.device_put(x, self.split)

    def compile(self, steps: Callable, axes: Any) -> Callable:
        """Returns `steps(carry, root, batches, first, offset, count)` compiled.

        Carry, `root` and metrics are replicated; batches are as from `place`, with
        the prefix `axes`.
        """
        if not self.pmapped:
            run = jax.jit(steps, out_shardings=self.replicated)

            def placed(*arguments):
                with self.splitting():
                    return run(*arguments)

            return placed

        def local(index, *arguments):
            del index  # pmap needs one argument to map over
            return steps(*arguments)

        mapped = jax.pmap(
            local,
            axis_name=AXIS,
            in_axes=(0, None, None, axes, None, None, None),
            out_axes=None,
            devices=self.devices,
        )
        index = np.arange(len(self.local))

        def call(carry, root, batches, first, offset, count):
            carry, root = self._to_local((carry, root))
            scalars = [np.int32(v) for v in (first, offset, count)]
            return self._to_global(mapped(index, carry, root, batches, *scalars))

        return call

    def splitting(self) -> Any:
        """Returns the context in which `split_over_devices` means these devices."""
        if self.pmapped or len(self.devices) == 1:
            return contextlib.nullcontext()
        return _mesh(self.mesh)

    def _to_local(self, tree: Any) -> Any:
        if not self.several:
            return tree
        return multihost_utils.global_array_to_host_local_array(
            tree, self.mesh, PartitionSpec()
        )

    def _to_global(self, tree: Any) -> Any:
        if not self.several:
            return tree
        return multihost_utils.host_local_array_to_global_array(
            tree, self.mesh, PartitionSpec()
        )

    def agreed(self, *numbers: int) -> list[int]:
        """Returns the largest of all processes, for each number."""
        if not self.several:
            return list(numbers)
        found = multihost_utils.process_allgather(np.array(numbers, np.int32))
        return [int(n) for n in np.max(found, axis=0)]

    def barrier(self, name: str) -> None:
        """Waits for all processes."""
        if self.several:
            multihost_utils.sync_global_devices(name)

    def differing_leaf(self, tree: Any) -> str | None:
        """Returns the path of a leaf that differs between this process's devices."""
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
            if any(c.tobytes() != copies[0].tobytes() for c in copies[1:]):
                return jax.tree_util.keystr(path)
        return None


def _map_prefix(function: Callable, tree: Any, axes: Any) -> Any:
    """Maps `function(leaf, axis)`, with `axes` a prefix of the tree (None a leaf)."""
    missing = lambda x: x is None  # noqa: E731
    return jax.tree.map(
        lambda axis, part: jax.tree.map(lambda x: function(x, axis), part),
        axes,
        tree,
        is_leaf=missing,
    )


def _devices(parallel: str, devices: int | Sequence[jax.Device] | None) -> list:
    owner = "jaxcore.training.fit"
    everything = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    if parallel == "none" and jax.process_count() > 1:
        raise ValueError(
            f"{owner}: `parallel` must be 'pmap' or 'sharded' where there are several "
            f"processes, got 'none' in one of {jax.process_count()}"
        )
    if devices is None:
        return everything[:1] if parallel == "none" else everything
    count = _count(devices)
    if count is not None:
        if not 1 <= count <= len(everything):
            raise ValueError(
                f"{owner}: `devices` must be between 1 and the {len(everything)} that "
                f"there are, got {devices}"
            )
        chosen = everything[:count]
    elif isinstance(devices, Collection) and all(
        isinstance(d, jax.Device) for d in devices
    ):
        chosen = sorted(devices, key=lambda d: (d.process_index, d.id))
    else:
        raise TypeError(
            f"{owner}: `devices` must be a number of devices or a list of jax.Device, "
            f"got {devices!r}"
        )
    if not chosen or len(set(chosen)) != len(chosen):
        raise ValueError(f"{owner}: `devices` must be distinct devices, got {devices}")
    if parallel == "none" and len(chosen) > 1:
        raise ValueError(
            f"{owner}: `devices` must be one device with parallel='none', got "
            f"{len(chosen)}; use 'pmap' or 'sharded'"
        )
    processes = {d.process_index for d in chosen}
    if len(processes) != jax.process_count():
        raise ValueError(
            f"{owner}: `devices` must include some of every process, got those of "
            f"{sorted(processes)} of {jax.process_count()} processes"
        )
    return chosen


def _count(devices: Any) -> int | None:
    """Returns the number of devices asked for, or None if they are named."""
    if isinstance(devices, bool):
        return None
    try:
        return operator.index(devices)
    except TypeError:
        return None
