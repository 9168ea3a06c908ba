"""Batches as pure functions of (seed, step), read by each process for itself.

A run that starts at step 1,000 reads what an uninterrupted run would read there, on any
number of devices and processes: nothing has to be wound forward or saved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from jaxcore.training._values import as_json, integer


@runtime_checkable
class Batches(Protocol):
    """What `fit` reads from; write your own for data in files.

    batch_size: rows of the global batch, or None if nothing is split over devices.
    every: steps that one batch serves; None if one serves all.
    axes: prefix of the batch, 0 where the first axis is split over devices, None where
        a leaf is replicated.
    num_batches: of one pass, for evaluation; None if there is no end.
    """

    batch_size: int | None
    every: int | None
    axes: Any
    num_batches: int | None

    def read(self, step: int, rows: slice) -> Any:
        """Returns these rows of the global batch of this step, as NumPy arrays."""

    def indices(self, step: int) -> np.ndarray | None:
        """Returns which rows of the data the global batch of this step has."""

    def describe(self) -> dict[str, Any]:
        """Returns JSON-able values that say what is read; saved and compared."""


class ArrayBatches:
    """Shuffled batches of arrays in memory (memory-mapped ones too).

    Epoch `e` is a permutation drawn from (seed, e); batch `i` of an epoch has the
    entries `i B` to `(i + 1) B` of it.

    Args:
        arrays: pytree of NumPy arrays with equal first axes, (n, ...).
        batch_size: rows of the global batch, `B`.
        seed: of the order.
        shuffle: draw the permutations; otherwise keep the order of the arrays.
        last: what happens to the last batch of an epoch where `B` does not divide `n`:
            `"drop"` leaves its rows out of this epoch, `"pad"` fills it with rows of
            the beginning and adds to every batch, then a dict, an entry `"mask"`
            (B,), 1 for rows that count and 0 for padding. No default: it has to be
            said.

    Raises:
        ValueError: sizes that do not fit each other, or `last` not said.
        TypeError: `last="pad"` where `arrays` is no dict.

    Example:
        >>> import numpy as np
        >>> batches = ArrayBatches({"x": np.arange(10.0)}, 4, seed=0, last="pad")
        >>> batches.num_batches, batches.read(2, slice(0, 4))["mask"]
        (3, array([1., 1., 0., 0.], dtype=float32))
    """

    every: int | None = 1
    axes: Any = 0

    def __init__(
        self,
        arrays: Any,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        last: str | None = None,
    ):
        owner = "jaxcore.training.ArrayBatches"
        sizes = {np.shape(x)[:1] for x in jax.tree.leaves(arrays)}
        if len(sizes) != 1 or () in sizes:
            raise ValueError(
                f"{owner}: `arrays` must have equal first axes, got lengths "
                f"{sorted(s[0] if s else 'none' for s in sizes) or 'of no array'}"
            )
        ((count,),) = sizes
        batch_size = integer(owner, "batch_size", batch_size, 1)
        seed = integer(owner, "seed", seed, 0)
        if batch_size > count:
            raise ValueError(
                f"{owner}: `batch_size` must be at most the {count} rows that "
                f"there are, got {batch_size}"
            )
        if last not in (None, "drop", "pad"):
            raise ValueError(f"{owner}: `last` must be 'drop' or 'pad', got {last!r}")
        if last is None and count % batch_size:
            raise ValueError(
                f"{owner}: `last` must be 'drop' or 'pad', because batches of "
                f"{batch_size} do not divide {count} rows; got None"
            )
        if last == "pad" and not (isinstance(arrays, Mapping) and "mask" not in arrays):
            raise TypeError(
                f"{owner}: `arrays` must be a dict without an entry 'mask' for "
                f"last='pad', which adds one, got {_kind(arrays)}"
            )
        self.arrays, self.count, self.batch_size = arrays, count, batch_size
        self.seed, self.shuffle, self.last = seed, shuffle, last
        whole, rest = divmod(count, batch_size)
        self.num_batches: int | None = whole + (last == "pad" and rest > 0)
        self._order = lru_cache(maxsize=2)(self._draw)

    def indices(self, step: int) -> np.ndarray:
        """Returns (B,) row numbers; -1 where the batch is padded."""
        positions, order = self._positions(step)
        return np.where(positions < self.count, order[positions % self.count], -1)

    def read(self, step: int, rows: slice) -> Any:
        """Returns these rows of the global batch of this step (counted from 0)."""
        positions, order = self._positions(step)
        positions = positions[rows]
        chosen = order[positions % self.count]
        batch = jax.tree.map(lambda x: np.asarray(x[chosen]), self.arrays)
        if self.last == "pad":
            batch = {**batch, "mask": (positions < self.count).astype(np.float32)}
        return batch

    def describe(self) -> dict[str, Any]:
        """Returns sizes, seed and order."""
        names = ("count", "batch_size", "seed", "shuffle", "last")
        return {name: getattr(self, name) for name in names}

    def _positions(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, batch = divmod(step, self.num_batches or 1)
        return batch * self.batch_size + np.arange(self.batch_size), self._order(epoch)

    def _draw(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.count)
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)


class FunctionBatches:
    """Batches that a function computes or reads.

    Args:
        read: `(step, rows) -> batch`: these rows of the global batch of this step, as
            NumPy arrays. It depends on nothing else, so that runs can be resumed.
        batch_size: rows of the global batch; None if every leaf is replicated.
        axes: prefix of the batch: 0 where the first axis is split over devices, None
            where a leaf is replicated.
        every: steps that one batch serves; it is read at the first of them. None: one
            batch, of step 0, serves all.
        num_batches: of one pass, for evaluation.
        description: JSON-able, saved with checkpoints and compared on resuming.

    Raises:
        TypeError: `read` is no function, or `description` is nothing that JSON has.
        ValueError: numbers below 1, or axes that are not 0 and None, or 0 where there
            is no `batch_size`.

    Example:
        >>> import numpy as np
        >>> points = FunctionBatches(
        ...     lambda step, rows: {"t": np.linspace(0, 1, 8)[rows], "x": np.arange(3)},
        ...     8,
        ...     axes={"t": 0, "x": None},
        ...     every=None,
        ... )
        >>> points.read(0, slice(0, 4))["t"].shape
        (4,)
    """

    def __init__(
        self,
        read: Callable[[int, slice], Any],
        batch_size: int | None,
        *,
        axes: Any = 0,
        every: int | None = 1,
        num_batches: int | None = None,
        description: Mapping[str, Any] | None = None,
    ):
        owner = "jaxcore.training.FunctionBatches"
        if not callable(read):
            raise TypeError(
                f"{owner}: `read` must be a function of step and rows, got {read!r}"
            )
        numbers = {"batch_size": batch_size, "every": every, "num_batches": num_batches}
        self.batch_size, self.every, self.num_batches = (
            None if value is None else integer(owner, name, value, 1)
            for name, value in numbers.items()
        )
        _check_axes(owner, axes, self.batch_size)
        self.read, self.axes = read, axes
        self.description = _description(owner, description)

    def indices(self, step: int) -> np.ndarray | None:
        """Returns None: only the function knows."""
        return None

    def describe(self) -> dict[str, Any]:
        """Returns the description and the batch size."""
        return {**self.description, "batch_size": self.batch_size}


def _check_axes(owner: str, axes: Any, batch_size: int | None) -> None:
    split = jax.tree.leaves(axes)
    if any(type(axis) is not int or axis != 0 for axis in split):
        raise ValueError(
            f"{owner}: `axes` must be 0 or None for every leaf of the batch, got {axes}"
        )
    if split and batch_size is None:
        raise ValueError(
            f"{owner}: `axes` must be None where `batch_size` is, and nothing is split "
            f"over devices, got {axes}"
        )


def _description(owner: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the description as it is read back from a checkpoint."""
    try:
        return as_json(dict(given or {}))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{owner}: `description` must be a mapping of JSON values, got {given!r} "
            f"({error})"
        ) from None


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict with entries {sorted(map(str, value))}"
    return f"a {type(value).__name__}"
