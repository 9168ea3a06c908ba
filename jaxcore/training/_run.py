"""One run of `fit`: calls into the compiled steps, and what is due between them."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcore.training._arguments import Options, identity
from jaxcore.training._metrics import SKIPPED
from jaxcore.training._prefetch import Buffer, Feed
from jaxcore.training._setup import Evaluator, prepare
from jaxcore.training._signals import Signals
from jaxcore.training._steps import Carry, Plan, compiled
from jaxcore.training.checkpoint import Store
from jaxcore.training.logging import Log, Logger
from jaxcore.training.nonfinite import explain
from jaxcore.training.parallel import Layout, typed
from jaxcore.training.task import (
    Interrupted,
    NonFiniteError,
    Progress,
    Result,
    StorageError,
    Task,
)


OWNER = "jaxcore.training.fit"
# A call into the compiled steps takes about this long: signals and callbacks are served
# often, and the cost of a call does not matter.
CALL_SECONDS = 0.25


class Run:
    """One call of `fit`."""

    plan: Plan
    carry: Carry

    def __init__(
        self,
        options: Options,
        layout: Layout,
        signals: Signals,
        callbacks: Sequence[Callable[[Progress], Any]],
    ):
        self.options, self.layout, self.signals = options, layout, signals
        self.callbacks = callbacks
        self.store: Store | None = None
        self.logger: Logger | None = None
        self.feed: Feed | None = None
        self.start = self.step = 0
        self.pending: list[dict[str, np.ndarray]] = []
        self.logged = (0, time.perf_counter())
        self.per_step: float | None = None
        self.compile_seconds: float | None = None
        self.step_seconds = 0.0
        self.recent: dict[str, float] = {}
        # Steps undone by nonfinite="skip": in all, and whether all since the last log.
        self.undone, self.stuck = 0, False
        self.evaluated: tuple[int, dict[str, Any]] = (-1, {})

    def open(self, task: Task, state: Any) -> None:
        """Makes the state before the first step, or reads that of a checkpoint."""
        options, layout = self.options, self.layout
        self.plan, self.carry, self.root = prepare(task, options, layout, state)
        self.steps = compiled(self.plan)
        self.evaluator = Evaluator(task, options, self.plan)
        self.start = self.step = self._resume()
        primary = jax.process_index() == 0
        log = self._storage(lambda: Logger(options.log, options.steps, primary))
        self.logger = log or Logger(Log(every=options.log.every), options.steps, False)
        self.logged = (self.step, time.perf_counter())

    def close(self) -> None:
        for part in (self.feed, self.store, self.logger):
            if part is not None:
                part.close()

    def train(self) -> Result:
        """Takes the steps."""
        options, result = self.options, "finished"
        self._event("start", steps=options.steps, devices=len(self.layout.devices))
        self._heed(*self.layout.agreed(self.signals.received))
        self.feed = Feed(
            options.batches, self.layout, self.plan.length, self.step, options.steps
        )
        buffer: Buffer | None = None
        while self.step < options.steps:
            if buffer is None or self.step >= buffer.stop:
                buffer = next(self.feed)
            if self.compile_seconds is None:
                self._compile(buffer)
            stopped = self._call(buffer)
            self._write()
            signal_, us, stop = self.layout.agreed(
                self.signals.received,
                int(1e6 * min(self.per_step or 0.0, 1000.0)),
                bool(stopped),
            )
            self.per_step = us / 1e6 or None
            self._heed(signal_)
            if stop:
                result = stopped if isinstance(stopped, str) else "stopped"
                break
        self._finish(result)
        return self._result(result)

    def _arguments(self, buffer: Buffer) -> tuple[tuple, int]:
        """Returns root, batches and first step of a call, and its offset in them."""
        stacked = self.plan.stacked
        first = buffer.first if stacked else self.step
        return (self.root, buffer.batches, np.int32(first)), self.step - first

    def _compile(self, buffer: Buffer) -> None:
        """Compiles by a call that takes no step."""
        began = time.perf_counter()
        arguments, offset = self._arguments(buffer)
        none = self.steps(self.carry, *arguments, np.int32(offset), np.int32(0))
        jax.block_until_ready(none)
        now = time.perf_counter()
        self.compile_seconds, self.logged = now - began, (self.step, now)
        self._event("compiled", seconds=round(self.compile_seconds, 4))

    def _call(self, buffer: Buffer) -> Any:
        """Makes one call into the compiled steps; returns what a callback said."""
        count = self._count(buffer)
        arguments, offset = self._arguments(buffer)
        began = time.perf_counter()
        carry, metrics, finite = self.steps(
            self.carry, *arguments, np.int32(offset), np.int32(count)
        )
        rows = {
            name: np.asarray(value)[offset : offset + count]
            for name, value in metrics.items()
        }
        good = bool(finite)
        seconds = time.perf_counter() - began
        self.per_step, self.step_seconds = seconds / count, self.step_seconds + seconds
        if not self.plan.skip and not (good and _finite(rows)):
            self._stop_at_nonfinite(arguments, offset, count, rows)
        if self.layout.pmapped and self.step == self.start:
            self._check_replicas(carry)
        before, self.carry, self.step = self.step, carry, self.step + count
        self.pending.append(rows)
        self.recent = _means([rows], self.plan.skip)
        progress = Progress(before, self.step, *self._visible(carry), rows, seconds)
        said = [callback(progress) for callback in self.callbacks]
        return next((s for s in said if s), None)

    def _count(self, buffer: Buffer) -> int:
        """Returns the steps of the next call: none goes past something that is due."""
        options = self.options
        periods = [options.log.every, options.evaluate_every]
        periods += [options.checkpoint.every] if options.checkpoint else []
        until = min(
            [options.steps, buffer.stop]
            + [(self.step // p + 1) * p for p in periods if p is not None]
        )
        if self.plan.stacked:
            room = buffer.first + self.plan.length - self.step
        else:
            room = self.plan.length
        wanted = options.chunk or 1
        if options.chunk is None and self.per_step is not None:
            wanted = max(1, int(CALL_SECONDS / max(self.per_step, 1e-7)))
        return min(until - self.step, room, wanted)

    def _write(self) -> None:
        """Logs, evaluates and saves as far as they are due at this step."""
        options, step = self.options, self.step
        last = step == options.steps
        if step % options.log.every == 0 or last:
            self._log()
        if options.evaluate_every and (step % options.evaluate_every == 0 or last):
            self._evaluate()
        if options.checkpoint and step % options.checkpoint.every == 0:
            self._save()
        if self.store is not None:
            store = self.store
            self._acknowledge(self._storage(store.poll))
        if self.logger is not None:
            self.logger.show(step)

    def _log(self) -> None:
        before, began = self.logged
        now = time.perf_counter()
        if self.step == before or not self.pending:
            return
        rate = (self.step - before) / max(now - began, 1e-9)
        values = _means(self.pending, self.plan.skip)
        if self.plan.skip:
            undone = sum(int(rows[SKIPPED].sum()) for rows in self.pending)
            self.undone, self.stuck = self.undone + undone, values[SKIPPED] == 1.0
        self.pending, self.logged = [], (self.step, now)
        logger = self.logger
        if logger is not None:
            self._storage(
                lambda: logger.metrics(
                    self.step, values, steps_per_second=round(rate, 4)
                )
            )

    def _evaluate(self) -> None:
        if self.evaluated[0] == self.step:
            return
        stop = (lambda: False) if self.layout.several else self._signaled
        found = self.evaluator(self.carry, stop)
        if found is None:  # a signal came in between
            return
        self.evaluated = (self.step, found)
        logger = self.logger
        if logger is not None:
            self._storage(lambda: logger.metrics(self.step, found))

    def _signaled(self) -> bool:
        return bool(self.signals.received)

    def _save(self) -> None:
        store, settings = self.store, self.options.checkpoint
        if store is None or settings is None:
            return
        self._acknowledge(self._storage(store.finish))
        if store.saved == self.step:
            return
        if (settings.metric or "").startswith("evaluate/"):
            self._evaluate()
        evaluated, found = self.evaluated
        metrics = {**self.recent, **(found if evaluated == self.step else {})}
        finite = {
            k: float(v)
            for k, v in metrics.items()
            if np.ndim(v) == 0 and np.isfinite(v)
        }
        self._storage(lambda: store.save(self.step, self._tree(), finite))

    def _finish(self, result: str) -> None:
        self._log()
        if self.options.evaluate_every:
            self._evaluate()
        self._save()
        if self.store is not None:
            store = self.store
            self._acknowledge(self._storage(store.finish))
        (received,) = self.layout.agreed(self.signals.received)
        self._heed(received)
        self._event("end", result=result)
        if self.stuck:
            taken = self.step - self.start
            warnings.warn(
                f"{OWNER}: nonfinite='skip' undid every step since the last row of the "
                f"log, {self.undone} of the {taken} steps of this run: they gave NaN "
                "or Inf, and the state no longer changes",
                RuntimeWarning,
                stacklevel=4,
            )

    def _heed(self, received: int) -> None:
        """Ends the run after a signal, with a checkpoint if there is a folder."""
        if not received:
            return
        self._save()
        saved = False
        if self.store is not None:
            store = self.store
            self._acknowledge(self._storage(store.finish))
            saved = store.saved == self.step
        name = signal.Signals(received).name
        code = 130 if received == signal.SIGINT else 0 if saved else 143
        kept = "a checkpoint is saved" if saved else "no checkpoint is saved"
        self._event("end", result=f"interrupted by {name}")
        message = f"{OWNER}: {name} after step {self.step}; {kept}"
        raise Interrupted(code, message, *self._visible(self.carry), self.step)

    def _resume(self) -> int:
        options = self.options
        if options.checkpoint is None:
            return options.start
        self.store = store = Store(options.checkpoint, self.layout, identity(options))
        try:
            found = store.open(self._tree(0))
        except StorageError as error:
            store.close()
            self.store = None
            self._complain(error)
            return options.start
        if found is None:
            return options.start
        step, tree = found
        self.carry, self.root = Carry(tree["state"], tree["ema"]), tree["key"]
        if step > options.steps:
            raise ValueError(
                f"{OWNER}: `steps` must be at least the {step} of the checkpoint in "
                f"{store.folder}, got {options.steps}"
            )
        return step

    def _tree(self, step: int | None = None) -> dict[str, Any]:
        step = self.step if step is None else step
        position = self.layout.replicate(np.int32(step))
        return {**self.carry._asdict(), "key": self.root, "step": position}

    def _visible(self, carry: Carry) -> tuple[Any, Any]:
        """Returns state and average as the user knows them."""
        state = typed(carry.state, self.plan.template)
        if self.plan.ema is None:
            return state, None
        return state, typed(carry.ema, self.plan.ema.of_state(self.plan.template))

    def _result(self, result: str) -> Result:
        logger = self.logger
        return Result(
            *self._visible(self.carry),
            step=self.step,
            result=result,
            metrics=dict(logger.latest) if logger else {},
            history=logger.history if logger else [],
            resumed=self.start,
            timings={
                "compile_seconds": self.compile_seconds or 0.0,
                "step_seconds": self.step_seconds,
            },
        )

    def _check_replicas(self, carry: Carry) -> None:
        leaf = self.layout.differing_leaf(carry.state)
        if leaf is not None:
            raise ValueError(
                f"{OWNER}: `task.step` must leave the same state on all devices, got "
                f"different values of state{leaf}: average gradients and statistics "
                "with jaxcore.training.mean_over_devices, and draw what is stored with "
                "shared_key"
            )

    def _stop_at_nonfinite(self, arguments, offset, count, rows) -> None:
        found = explain(
            self.plan, self.steps, self.carry, arguments, offset, count, rows
        )
        source = self.options.batches
        indices = None if source is None else source.indices(self.step + found.steps)
        step = self.step + found.steps + 1
        where = f"; rows of its batch: {_few(indices)}" if indices is not None else ""
        good = "no checkpoint was saved"
        if self.store is not None:
            self._storage(self.store.finish)
            if self.store.saved is not None:
                good = f"the last good checkpoint is that of step {self.store.saved}"
        self._event("nonfinite", at=step, leaf=found.leaf)
        state, ema = self._visible(found.before)
        raise NonFiniteError(
            f"{OWNER}: step {step} gave {found.what}{where}; {good}",
            step=step,
            leaf=found.leaf,
            indices=indices,
            state=state,
            ema=ema,
            metrics={name: v[: found.steps + 1] for name, v in rows.items()},
        )

    def _acknowledge(self, saved: tuple[int, float] | None) -> None:
        if saved is not None:
            self._event("checkpoint", saved=saved[0], seconds=round(saved[1], 4))

    def _event(self, name: str, **more: Any) -> None:
        logger = self.logger
        if logger is not None:
            self._storage(lambda: logger.event(name, self.step, **more))

    def _storage(self, action: Callable[[], Any]) -> Any:
        """Returns what the action returns; on failure raises or complains."""
        try:
            return action()
        except StorageError as error:
            self._complain(error)
            return None

    def _complain(self, error: StorageError) -> None:
        error.state, error.ema = self._visible(self.carry)
        error.step = self.step
        if self.options.on_error == "raise":
            raise error
        warnings.warn(f"{error}; training goes on", RuntimeWarning, stacklevel=3)


def _finite(rows: dict[str, np.ndarray]) -> bool:
    return all(
        bool(np.isfinite(v).all())
        for v in rows.values()
        if jnp.issubdtype(v.dtype, jnp.inexact)
    )


def _means(parts: list[dict[str, np.ndarray]], skip: bool) -> dict[str, Any]:
    """Returns the mean of every metric over steps, those undone left out."""
    names = parts[0]
    whole = {
        name: np.concatenate([np.asarray(p[name], np.float64) for p in parts])
        for name in names
    }
    taken = np.ones(len(next(iter(whole.values()), ())), bool)
    if skip:
        taken = whole[SKIPPED] == 0
    found = {}
    for name, values in whole.items():
        whole_period = (skip and name == SKIPPED) or not taken.any()
        counted = values if whole_period else values[taken]
        mean = counted.mean(axis=0)
        found[name] = float(mean) if mean.ndim == 0 else mean.tolist()
    return found


def _few(indices: np.ndarray, most: int = 8) -> str:
    shown = ", ".join(str(i) for i in indices[:most])
    more = "" if len(indices) <= most else f", ... ({len(indices)} in all)"
    return shown + more
