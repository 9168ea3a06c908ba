"""Which step broke: found by taking the same compiled steps again, fewer of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcore.training._steps import Carry, Plan


class Finding(NamedTuple):
    """What broke.

    steps: good ones of the call. before: the carry after them. leaf: the first bad one.
    what: in words.
    """

    steps: int
    before: Carry
    leaf: str
    what: str


def explain(
    plan: Plan,
    steps: Callable,
    carry: Carry,
    arguments: tuple,
    offset: int,
    count: int,
    rows: Mapping[str, np.ndarray],
) -> Finding:
    """Returns the first step of a call after which a metric or the state is not finite.

    Steps are deterministic, and one program takes any number of them: the call is
    repeated with fewer steps until the last good state is found.

    Args:
        plan, steps: the program. carry, arguments: before the call. offset, count: its
            steps. rows: their metrics.
    """

    def after(number: int) -> tuple[Carry, bool]:
        found, _, finite = steps(carry, *arguments, np.int32(offset), np.int32(number))
        return found, bool(finite)

    bad_row = _first_bad_row(rows, count)
    # States up to `good` are finite; the one after `bad` steps is not, or its metrics.
    good, bad = 0, min(bad_row + 1, count)
    while bad - good > 1:
        middle = (good + bad) // 2
        if after(middle)[1]:
            good = middle
        else:
            bad = middle
    before = after(good)[0] if good else carry
    metrics = [name for name, v in rows.items() if not np.isfinite(v[good]).all()]
    leaf = _first_bad_leaf(after(good + 1)[0], plan.exempt)
    words = [f"metric {n!r} = {_value(rows[n][good])}" for n in metrics]
    if leaf is not None:
        words.append(f"the first bad leaf is {leaf}")
    named = leaf or (metrics[0] if metrics else "unknown")
    return Finding(good, before, named, "a non-finite value: " + "; ".join(words))


def _first_bad_row(rows: Mapping[str, np.ndarray], count: int) -> int:
    bad = np.zeros(count, bool)
    for values in rows.values():
        if jnp.issubdtype(values.dtype, jnp.inexact):
            bad |= ~np.isfinite(values).reshape(count, -1).all(axis=1)
    return int(np.argmax(bad)) if bad.any() else count


def _first_bad_leaf(carry: Carry, exempt: tuple[bool, ...]) -> str | None:
    leaves = jax.tree_util.tree_leaves_with_path(carry.state)
    for (path, leaf), free in zip(leaves, exempt, strict=True):
        values = np.asarray(leaf)
        if free or not jnp.issubdtype(values.dtype, jnp.inexact):
            continue
        if not np.isfinite(values.astype(np.float64)).all():
            return f"state{jax.tree_util.keystr(path)}"
    return None


def _value(value: Any) -> str:
    return str(np.asarray(value).tolist())
