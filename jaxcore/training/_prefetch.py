"""A thread that reads batches and puts them on the devices ahead of the steps."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcore.training._steps import difference_of_tables
from jaxcore.training.data import Batches
from jaxcore.training.parallel import Layout


DEPTH = 2


class Buffer(NamedTuple):
    """Batches of the steps `first` to `stop` (excluded), on the devices."""

    first: int
    stop: int
    batches: Any


class Feed:
    """Buffers in the order of steps, two of them ahead.

    A buffer holds the stacked batches of `length` steps, or one batch that serves
    `every` steps. Its bounds are multiples of these numbers, whatever the first step.

    Args:
        source: batches, or None for steps without a batch.
        layout: where they go.
        length: of stacks. start, stop: steps.
    """

    def __init__(
        self, source: Batches | None, layout: Layout, length: int, start: int, stop: int
    ):
        self.source, self.layout, self.length = source, layout, length
        self.start, self.stop = start, stop
        self._like: tuple[int, list[list[Any]]] | None = None
        self._queue: queue.Queue = queue.Queue(maxsize=DEPTH)
        self._closed = threading.Event()
        # The setting belongs to a thread; the reader must see the caller's.
        self._x64 = jnp.zeros(()).dtype == "float64"
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    @property
    def stacked(self) -> bool:
        """Whether every step has a batch of its own."""
        return self.source is not None and self.source.every == 1

    def __next__(self) -> Buffer:
        buffer, error = self._queue.get()
        if error is not None:
            raise error
        return buffer

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def _work(self) -> None:
        try:
            with jax.enable_x64(self._x64):
                for buffer in self._buffers():
                    if not self._put((buffer, None)):
                        return
        except BaseException as error:  # raised again where the batch is needed
            self._put((None, error))

    def _put(self, item: Any) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _buffers(self) -> Iterator[Buffer]:
        step = self.start
        while step < self.stop:
            first, stop = self._bounds(step)
            yield Buffer(first, min(stop, self.stop), self.read(first, step))
            step = stop

    def _bounds(self, step: int) -> tuple[int, int]:
        span: int | None = self.length
        if self.source is None:
            return 0, self.stop
        if not self.stacked:
            span = self.source.every
        if span is None:
            return 0, self.stop
        first = step // span * span
        return first, first + span

    def read(self, first: int, step: int) -> Any:
        """Returns the batches of the buffer from `first`, as far as steps need them."""
        source = self.source
        if source is None:
            return None
        if not self.stacked:
            rows = self._read(source, first)
            return self.layout.place(rows, source.axes, stacked=False)
        wanted = range(max(first, step), min(first + self.length, self.stop))
        parts = [self._read(source, s) for s in wanted]
        before = max(first, step) - first
        # The shape is that of a full buffer; steps that are not taken get copies.
        parts = [parts[0]] * before + parts
        parts += [parts[-1]] * (self.length - len(parts))
        stack = jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
        return self.layout.place(stack, source.axes, stacked=True)

    def _read(self, source: Batches, step: int) -> Any:
        """Returns a batch; raises if it is not like the first one that was read."""
        batch = jax.tree.map(np.asarray, read(source, step, self.layout))
        table = [
            [f"batch{jax.tree_util.keystr(path)}", list(x.shape), _dtype(x)]
            for path, x in jax.tree_util.tree_leaves_with_path(batch)
        ]
        first, expected = self._like = self._like or (step, table)
        difference = difference_of_tables(expected, table)
        if difference is not None:
            raise ValueError(
                f"jaxcore.training.fit: `batches` must keep shapes and dtypes, got "
                f"read({step}, ...) unlike read({first}, ...): {difference}"
            )
        return batch


def read(source: Batches, step: int, layout: Layout) -> Any:
    """Returns this process's rows of the batch of this step."""
    size = source.batch_size
    return source.read(step, slice(None) if size is None else layout.rows(size))


def _dtype(x: np.ndarray) -> str:
    return str(jax.dtypes.canonicalize_dtype(x.dtype))
