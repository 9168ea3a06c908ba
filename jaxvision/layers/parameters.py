"""Networks as parameters and pure functions: counting, splitting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx


def count_parameters(model: nnx.Module | Callable[[], nnx.Module]) -> int:
    """Returns the number of trainable numbers of a network.

    Args:
        model: a network, or a function that builds one: then only shapes are computed
            and nothing is allocated, whatever the size.

    Example:
        >>> from flax import nnx
        >>> count_parameters(lambda: nnx.Linear(3, 4, rngs=nnx.Rngs(0)))
        16
    """
    built = model if isinstance(model, nnx.Module) else nnx.eval_shape(model)
    leaves = jax.tree.leaves(nnx.state(built, nnx.Param))
    return sum(math.prod(leaf.shape) for leaf in leaves)


def split(model: nnx.Module) -> tuple[Any, Any, Any]:
    """Returns `(graph, params, statistics)`: static structure and two trees of arrays.

    The trees are plain nested dicts. Inside `jax.jit`, `jax.grad` or `jax.vmap`,
    `nnx.merge(graph, params, statistics, copy=True)` is the network again;
    `statistics_of` reads the running statistics that it has then.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> graph, params, rest = split(nnx.Linear(3, 4, rngs=nnx.Rngs(0)))
        >>> run = lambda p, x: nnx.merge(graph, p, rest, copy=True)(x)
        >>> jax.jit(jax.vmap(run, (None, 0)))(params, jnp.ones((5, 3))).shape
        (5, 4)
    """
    graph, *states = nnx.split(model, nnx.Param, ...)
    params, rest = map(nnx.to_pure_dict, states)
    return graph, params, rest


def statistics_of(model: nnx.Module) -> Any:
    """Returns everything of a network that is not trained, as `split` does."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))
