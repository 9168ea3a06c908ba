"""Checkpoints: Orbax `CheckpointManager` with checksums, and one error for all causes.

A checkpoint is a folder named by its step. The manifest in it, written before the
folder gets that name, holds the checksums of all files, shapes and dtypes of all
leaves, metrics and configuration. A folder with that name is therefore complete; what
was interrupted has a temporary name and is removed by the next run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcore.training._integrity import (
    Damage,
    lacks_files,
    read_manifest,
    verify,
    write_manifest,
)
from jaxcore.training._steps import difference_of_tables, leaf_table
from jaxcore.training._values import as_json, check_folder, integer
from jaxcore.training.parallel import Layout
from jaxcore.training.task import StorageError


OWNER = "jaxcore.training"
ON_ERROR = ("raise", "continue")
TEMPORARY = ".orbax-checkpoint-tmp"
DAMAGED = "damaged"


class CheckpointError(ValueError):
    """A checkpoint does not fit the run that wants to resume from it."""


@dataclass(frozen=True)
class Checkpoint:
    """Where and when state is saved.

    Args:
        folder: of the run.
        every: steps between saves; the last step is always saved.
        keep_last: newest checkpoints kept.
        keep_best: best checkpoints kept besides, by `metric`.
        metric: name of a metric; those of evaluations start with `evaluate/`.
        mode: `"min"` or `"max"`.
        config: a dataclass or mapping of JSON-able values, saved beside; resuming
            under another one is refused.
        resume: continue from the newest good checkpoint in the folder; otherwise the
            folder must hold none.

    Raises:
        TypeError: `folder` is no path, or `config` no mapping.
        ValueError: numbers out of range, or `keep_best` without a metric.

    Example:
        >>> Checkpoint("runs/a", every=500, keep_best=1, metric="evaluate/loss").mode
        'min'
    """

    folder: str | Path
    every: int = 1000
    keep_last: int = 3
    keep_best: int = 0
    metric: str | None = None
    mode: str = "min"
    config: Any = None
    resume: bool = True

    def __post_init__(self):
        owner = f"{OWNER}.Checkpoint"
        check_folder(owner, "folder", self.folder)
        for name, least in (("every", 1), ("keep_last", 1), ("keep_best", 0)):
            value = integer(owner, name, getattr(self, name), least)
            object.__setattr__(self, name, value)
        if self.mode not in ("min", "max"):
            raise ValueError(
                f"{owner}: `mode` must be 'min' or 'max', got {self.mode!r}"
            )
        if bool(self.keep_best) != (self.metric is not None):
            raise ValueError(
                f"{owner}: `metric` and `keep_best` must be given together, got "
                f"metric={self.metric!r} and keep_best={self.keep_best}"
            )
        plain(self.config, owner)


def plain(config: Any, owner: str) -> Any:
    """Returns a configuration as JSON reads it back.

    Raises:
        TypeError: it is neither a mapping nor a dataclass.
        ValueError: it has values that JSON has not.
    """
    if config is None:
        return None
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    if not isinstance(config, Mapping):
        raise TypeError(
            f"{owner}: `config` must be a dataclass or mapping of JSON values, got "
            f"{config!r}"
        )
    try:
        return as_json(dict(config))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: `config` must be a dataclass or mapping of JSON values, got "
            f"{config!r} ({error})"
        ) from None


class Store:
    """The checkpoints of one run.

    Args:
        settings: what the user asked for. layout: where state lives.
        config: settings of the run that must not change, compared on resuming.
    """

    def __init__(self, settings: Checkpoint, layout: Layout, config: dict[str, Any]):
        self.settings, self.layout = settings, layout
        self.folder = Path(settings.folder).absolute()
        self.config = {**config, "config": plain(settings.config, OWNER)}
        self.primary = jax.process_index() == 0
        self.saved: int | None = None  # newest step on the disk
        self._metrics: dict[int, dict[str, float]] = {}
        self._pending: tuple[int, dict[str, Any], float] | None = None
        self._written = 0.0
        self._manager: Any = None

    def open(self, like: Any) -> tuple[int, Any] | None:
        """Returns step and tree of the newest good checkpoint, or None if none is.

        Damaged newer ones are moved to the folder `damaged`, with one warning.

        Args:
            like: tree with the shapes and dtypes that the run needs.

        Raises:
            CheckpointError: the checkpoint has another model or configuration, or
                there are checkpoints and none is good.
            StorageError: the folder cannot be used.
        """
        # Orbax takes seconds to import, which runs without checkpoints are spared.
        import orbax.checkpoint  # noqa: F401

        # Whatever it complains about is raised or warned of here, once. Its logger must
        # not be asked for before it is made.
        logging.getLogger("absl").addFilter(_not_orbax)
        try:
            if self.primary:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._remove_leftovers()
            self.layout.barrier("separax:open")
            return self._open(like)
        except OSError as error:
            raise self._error("open", None, error) from error

    def _open(self, like: Any) -> tuple[int, Any] | None:
        steps = self._steps()
        if steps and not self.settings.resume:
            raise CheckpointError(
                f"{OWNER}: `folder` {self.folder} must be empty for resume=False, got "
                f"checkpoints of steps {steps}"
            )
        bad: dict[int, str] = {}
        for step in reversed(steps):
            folder = self.folder / str(step)
            try:
                manifest = verify(folder)
                if manifest["step"] != step:
                    raise Damage(f"it is the checkpoint of step {manifest['step']}")
                self._compare(step, manifest, like)
                found = self._read(step, manifest, like)
            except Damage as damage:
                bad[step] = str(damage)
                continue
            self._set_aside(bad, f"step {step} is used instead")
            self._metrics.update(self._known_metrics())
            self._manager = self._new_manager()
            self.saved = step
            return step, found
        if bad:
            raise CheckpointError(
                f"{OWNER}: no checkpoint in {self.folder} can be read: "
                + "; ".join(f"step {step}: {why}" for step, why in bad.items())
                + ". Training was not started; move the folder away to start anew"
            )
        self._manager = self._new_manager()
        return None

    def save(self, step: int, tree: Any, metrics: dict[str, float]) -> None:
        """Starts to save in the background; waits for the save before, if it runs yet.

        Raises:
            StorageError: this save or the one before failed.
        """
        self.finish()
        # The rows are named by position: paths of a tree may be no file names.
        table = leaf_table(tree)
        leaves = {_name(i): x for i, x in enumerate(jax.tree.leaves(tree)) if x.size}
        content = {
            "step": step,
            "time": time.time(),
            "metrics": metrics,
            "config": self.config,
            "leaves": table,
        }
        self._pending = (step, content, time.perf_counter())
        self._metrics[step] = metrics
        import orbax.checkpoint as ocp

        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(leaves)),
                force=True,
            )
        except Exception as error:
            raise self._failed("save", step, error) from error

    def poll(self) -> tuple[int, float] | None:
        """Returns step and seconds of a save that has come to its end, or None.

        Raises:
            StorageError: the save failed.
        """
        if self._pending is None or self._manager.is_saving_in_progress():
            return None
        return self.finish()

    def finish(self) -> tuple[int, float] | None:
        """Waits for the save that is running; returns its step and seconds, or None.

        Raises:
            StorageError: the save failed.
        """
        if self._pending is None:
            return None
        step, _, began = self._pending
        try:
            self._manager.wait_until_finished()
            if not (self.folder / str(step) / "manifest.json").is_file():
                raise OSError(f"{self.folder / str(step)} was not written")
        except Exception as error:
            raise self._failed("save", step, error) from error
        self._pending, self.saved = None, step
        return step, self._written - began

    def close(self) -> None:
        """Ends background work; says so if it fails."""
        if self._manager is not None:
            manager, self._manager = self._manager, None
            try:
                manager.close()
            except Exception as error:
                warnings.warn(f"{OWNER}: closing {self.folder}: {error}", stacklevel=2)
        logging.getLogger("absl").removeFilter(_not_orbax)

    def _new_manager(self) -> Any:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            preservation_policy=_Keep(self.settings, self._metrics),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
            async_options=ocp.options.AsyncOptions(
                post_finalization_callback=self._before_commit
            ),
        )
        return ocp.CheckpointManager(
            self.folder, options=options, item_names=("state",)
        )

    def _before_commit(self) -> None:
        """Writes the manifest.

        Orbax calls this when all files are written, and then renames the folder.
        """
        if self._pending is None:
            raise RuntimeError("a checkpoint was written that nobody asked for")
        step, content, _ = self._pending
        (folder,) = self.folder.glob(f"{step}{TEMPORARY}*")
        write_manifest(folder, content)
        self._written = time.perf_counter()

    def _known_metrics(self) -> dict[int, dict[str, float]]:
        known = {}
        for step in self._steps():
            with contextlib.suppress(Damage):
                known[step] = read_manifest(self.folder / str(step))["metrics"]
        return known

    def _steps(self) -> list[int]:
        return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdigit())

    def _remove_leftovers(self) -> None:
        """Removes what interrupted saves and deletions left."""
        for path in self.folder.glob(f"*{TEMPORARY}*"):
            shutil.rmtree(path, ignore_errors=True)
        *older, newest = self._steps() or [-1]
        if newest < 0 or lacks_files(self.folder / str(newest)):
            return
        for step in older:
            if lacks_files(self.folder / str(step)):
                shutil.rmtree(self.folder / str(step), ignore_errors=True)

    def _set_aside(self, bad: dict[int, str], instead: str) -> None:
        if not bad:
            return
        self.layout.barrier("separax:damaged")
        if self.primary:
            (self.folder / DAMAGED).mkdir(exist_ok=True)
            for step in bad:
                target = self.folder / DAMAGED / f"{step}-{time.time_ns()}"
                (self.folder / str(step)).rename(target)
            what = "; ".join(f"step {step} ({why})" for step, why in bad.items())
            warnings.warn(
                f"{OWNER}: damaged in {self.folder}: {what}; {instead}", stacklevel=6
            )
        self.layout.barrier("separax:set aside")

    def _compare(self, step: int, manifest: dict[str, Any], like: Any) -> None:
        where = f"{OWNER}: the checkpoint of step {step} in {self.folder}"
        difference = difference_of_tables(manifest["leaves"], leaf_table(like))
        if difference is not None:
            raise CheckpointError(f"{where} is of another model: {difference}")
        difference = difference_of_values(manifest["config"], self.config)
        if difference is not None:
            raise CheckpointError(f"{where} has another configuration: {difference}")

    def _read(self, step: int, manifest: dict[str, Any], like: Any) -> Any:
        import orbax.checkpoint as ocp

        leaves, structure = jax.tree.flatten(like)
        target = {
            _name(i): jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=self.layout.replicated
            )
            for i, x in enumerate(leaves)
            if x.size
        }
        try:
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
                found = reader.restore(
                    self.folder / str(step) / "state",
                    args=ocp.args.StandardRestore(target),
                )
        except Exception as error:
            raise Damage(f"Orbax: {_first_line(error)}") from error
        empty = lambda x: self.layout.replicate(np.zeros(x.shape, x.dtype))  # noqa: E731
        filled = [found[_name(i)] if x.size else empty(x) for i, x in enumerate(leaves)]
        return jax.tree.unflatten(structure, filled)

    def _failed(self, verb: str, step: int, error: Exception) -> StorageError:
        """Returns the error to raise, with everything ready for another try."""
        self._pending = None
        found = self._error(verb, step, error)
        manager, self._manager = self._manager, None
        try:
            manager.close()
        except Exception:  # the same failure again
            found.add_note("the checkpoint manager was replaced")
        if self.primary:
            for path in self.folder.glob(f"{step}{TEMPORARY}*"):
                shutil.rmtree(path, ignore_errors=True)
        try:
            self._manager = self._new_manager()
        except Exception as again:
            found.add_note(f"and the folder cannot be opened again: {again}")
        return found

    def _error(self, verb: str, step: int | None, error: Exception) -> StorageError:
        what = "checkpoints" if step is None else f"the checkpoint of step {step}"
        return StorageError(
            f"{OWNER}: could not {verb} {what} in {self.folder}: {_first_line(error)}"
        )


def _not_orbax(record: logging.LogRecord) -> bool:
    return f"{os.sep}orbax{os.sep}" not in record.pathname


class _Keep:
    """Which checkpoints stay, as Orbax asks for it: the last ones and the best ones."""

    def __init__(self, settings: Checkpoint, metrics: dict[int, dict[str, float]]):
        self.settings, self.metrics = settings, metrics

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        """Returns a flag for every checkpoint, given in the order of steps."""
        del context
        steps = [info.step for info in checkpoints]
        kept = set(steps[-self.settings.keep_last :])
        name = self.settings.metric
        if name is not None:
            sign = 1 if self.settings.mode == "min" else -1
            known = [s for s in steps if name in self.metrics.get(s, {})]
            # Among equals the oldest is best.
            known.sort(key=lambda s: (sign * self.metrics[s][name], s))
            kept |= set(known[: self.settings.keep_best])
        return [step in kept for step in steps]


def difference_of_values(before: Any, now: Any, path: str = "") -> str | None:
    """Returns the first value in which two JSON documents differ, in words, or None."""
    if isinstance(before, dict) and isinstance(now, dict):
        absent = "absent"
        for name in [*before, *(n for n in now if n not in before)]:
            place = f"{path}.{name}" if path else name
            pair = before.get(name, absent), now.get(name, absent)
            if (found := difference_of_values(*pair, place)) is not None:
                return found
        return None
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, pair in enumerate(zip(before, now, strict=True)):
            if (found := difference_of_values(*pair, f"{path}[{i}]")) is not None:
                return found
        return None
    return None if before == now else f"{path} was {before!r} and is {now!r}"


def _name(index: int) -> str:
    return f"leaf_{index:05d}"


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
