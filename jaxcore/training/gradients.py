"""Gradients as the loop asks for them: averaged, accumulated, in reduced precision.

`accumulate` and `precision` are arguments of `fit`, not of a task. They reach
`value_and_grad` through a context that is part of JAX's compilation key, so that a
function compiled under one setting is never reused under another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from jaxcore.training.parallel import mean_over_devices


PRECISIONS = ("float32", "bfloat16")
OWNER = "jaxcore.training.value_and_grad"


@dataclass(eq=False)
class Settings:
    """What `fit` wants of gradients; `used` says that the task asked for any."""

    accumulate: int = 1
    precision: str = "float32"
    used: bool = False

    @property
    def default(self) -> bool:
        """Whether gradients need nothing but the mean over devices."""
        return self.accumulate == 1 and self.precision == "float32"


# Each run has settings of its own, so no trace is shared between runs.
settings = jax.make_user_context(None)


def value_and_grad(loss: Callable, *, has_aux: bool = False) -> Callable:
    """Returns a function for value and gradient of a loss over the global batch.

    Like `jax.value_and_grad`, and besides: averaged over devices; averaged over the
    `accumulate` microbatches of `fit`, each with a key of its own; with parameters and
    batch in bfloat16 if `fit` says `precision="bfloat16"`, where parameters, gradients
    and results stay in their own dtype. Microbatch `i` of `k` has the rows
    `i, i + k, ...`, which makes its content independent of the number of devices. If
    the batch is a mapping with an entry `"mask"`, microbatches count by their valid
    rows, and the loss is to be a `masked_mean`.

    Args:
        loss: `(params, batch, key) -> value`, a mean over the rows of the batch, or
            `-> (value, aux)`.
        has_aux: the loss returns `aux` too, a pytree of floating arrays, averaged as
            the value is (running statistics, logits' means).

    Returns:
        `(params, batch, key) -> (value, gradient)`, or `((value, aux), gradient)`.

    Raises:
        TypeError: a leaf of `aux` is not of a floating dtype.
        ValueError: `accumulate` cannot split the batch.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> loss = lambda w, x, key: jnp.mean((w - x) ** 2)
        >>> value, slope = value_and_grad(loss)(
        ...     1.0, jnp.array([2.0, 4.0]), jax.random.key(0)
        ... )
        >>> print(value, slope)
        5.0 -4.0
    """

    def averaged(params: Any, batch: Any, key: Array) -> tuple[Any, Any]:
        current = settings.value or Settings()
        current.used = True

        def scalar(params, batch, key):
            if current.precision == "bfloat16":
                params, batch = _reduced(params), _reduced_batch(batch)
            found = loss(params, batch, key)
            value, aux = found if has_aux else (found, None)
            return jax.tree.map(_restored, (value, aux))

        gradient = jax.value_and_grad(scalar, has_aux=True)
        if current.accumulate == 1:
            found = gradient(params, batch, key)
        else:
            found = _accumulated(gradient, params, batch, key, current.accumulate)
        _check_aux(found[0][1])
        (value, aux), slope = mean_over_devices(found)
        return ((value, aux) if has_aux else value), slope

    return averaged


def _accumulated(gradient: Callable, params: Any, batch: Any, key: Array, parts: int):
    leaves = jax.tree.leaves(batch)
    if not leaves:
        raise ValueError(
            f"{OWNER}: `accumulate={parts}` must have a batch to split, got None"
        )
    for leaf in leaves:
        if not leaf.shape or leaf.shape[0] % parts:
            raise ValueError(
                f"{OWNER}: `accumulate` must divide the rows on one device, got "
                f"accumulate={parts} and a leaf of shape {leaf.shape}"
            )
    micro = jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0), batch
    )
    masked = isinstance(batch, Mapping) and "mask" in batch
    first = jax.tree.map(lambda x: x[0], micro)
    shapes = jax.eval_shape(gradient, params, first, key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total, part):
        i, rows = part
        found = gradient(params, rows, jax.random.fold_in(key, i))
        weight = jnp.ones(())
        if masked:
            weight = mean_over_devices(jnp.sum(rows["mask"].astype(jnp.float32)))
        sums = jax.tree.map(
            lambda t, f: t + f * weight.astype(f.dtype), total[0], found
        )
        return (sums, total[1] + weight), None

    (sums, weight), _ = lax.scan(
        add, (zeros, jnp.zeros(())), (jnp.arange(parts), micro)
    )
    weight = jnp.maximum(weight, jnp.finfo(weight.dtype).tiny)
    return jax.tree.map(lambda s: s / weight.astype(s.dtype), sums)


def _reduced(tree: Any) -> Any:
    wide = (jnp.float32, jnp.float64)
    return jax.tree.map(
        lambda x: x.astype(jnp.bfloat16) if jnp.result_type(x) in wide else x, tree
    )


def _reduced_batch(batch: Any) -> Any:
    # A mask counts rows, which bfloat16 cannot beyond 256.
    if isinstance(batch, Mapping) and "mask" in batch:
        reduced = {k: v if k == "mask" else _reduced(v) for k, v in batch.items()}
        return type(batch)(reduced) if isinstance(batch, dict) else reduced
    return _reduced(batch)


def _restored(x: Any) -> Array:
    x = jnp.asarray(x)
    return x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x


def _check_aux(aux: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(aux):
        if not jnp.issubdtype(leaf.dtype, np.floating) and leaf.dtype != jnp.bfloat16:
            raise TypeError(
                f"{OWNER}: `aux` must hold floating arrays, which can be averaged, got "
                f"{leaf.dtype} at {jax.tree_util.keystr(path) or 'aux'}"
            )
