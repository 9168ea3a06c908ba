"""Logs: a file of JSON lines, a progress bar on a terminal, TensorBoard if wanted."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxcore.training._values import check_folder, integer
from jaxcore.training.task import StorageError


FILE = "log.jsonl"
OWNER = "jaxcore.training"


@dataclass(frozen=True)
class Log:
    """Where and how often a run logs.

    Args:
        folder: gets `log.jsonl`, one JSON object per line, written at once. Without a
            folder, rows are only kept in `Result.history`.
        every: steps between rows; a row has the mean of the metrics since the last.
        bar: show a progress bar; None: only if standard error is a terminal.
        tensorboard: write TensorBoard event files to the folder too (needs the extra
            `tensorboard`).

    Raises:
        TypeError: `folder` is no path.
        ValueError: an `every` below 1, or `tensorboard` without a folder.

    Example:
        >>> Log("runs/a", every=10).tensorboard
        False
    """

    folder: str | Path | None = None
    every: int = 50
    bar: bool | None = None
    tensorboard: bool = False

    def __post_init__(self):
        if self.folder is not None:
            check_folder(f"{OWNER}.Log", "folder", self.folder, "None")
        every = integer(f"{OWNER}.Log", "every", self.every, 1)
        object.__setattr__(self, "every", every)
        if self.tensorboard and self.folder is None:
            raise ValueError(
                f"{OWNER}.Log: `folder` must be given for tensorboard=True, got None"
            )


class Logger:
    """Writes the rows of one run. Only one process has one that writes.

    Args:
        settings: what the user asked for. steps: of the whole run.
        active: whether this process writes.
    """

    def __init__(self, settings: Log, steps: int, active: bool):
        self.settings = settings
        self.history: list[dict[str, Any]] = []
        self.latest: dict[str, Any] = {}
        self._file: Any = None
        self._board: Any = None
        self._bar: Any = None
        if not active:
            return
        if settings.tensorboard:
            self._board = _summary_writer(settings.folder)
        if settings.folder is not None:
            folder = Path(settings.folder)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._file = (folder / FILE).open("a", encoding="utf-8", newline="\n")
            except OSError as error:
                raise StorageError(
                    f"{OWNER}: could not open the log {folder / FILE}: "
                    f"{type(error).__name__}: {error}"
                ) from error
        shown = sys.stderr.isatty() if settings.bar is None else settings.bar
        if shown:
            self._bar = _Bar(steps)

    def metrics(self, step: int, values: Mapping[str, Any], **more: Any) -> None:
        """Writes a row of metrics, keeps it, and shows it."""
        row = {"step": step, **{k: _plain(v) for k, v in values.items()}, **more}
        self.latest.update({k: v for k, v in row.items() if k in values})
        self.history.append(row)
        self.write({**row, "time": time.time()})
        if self._board is not None:
            for name, value in values.items():
                for suffix, number in _scalars(value):
                    self._board.add_scalar(name + suffix, number, step)
            self._board.flush()
        self.show(step)

    def event(self, name: str, step: int, **more: Any) -> None:
        """Writes a row that says that something happened."""
        self.write({"event": name, "step": step, **more, "time": time.time()})

    def write(self, row: Mapping[str, Any]) -> None:
        """Writes one line and flushes it.

        Raises:
            StorageError: the line could not be written.
        """
        if self._file is None:
            return
        try:
            # NaN and Inf are not JSON: they are written as text.
            text = json.dumps(_without_nan(row), allow_nan=False)
            self._file.write(text + "\n")
            self._file.flush()
        except OSError as error:
            raise StorageError(
                f"{OWNER}: could not write the log {self._file.name} at step "
                f"{row['step']}: {type(error).__name__}: {error}"
            ) from error

    def show(self, step: int) -> None:
        """Moves the progress bar."""
        if self._bar is not None:
            self._bar.update(step, self.latest)

    def close(self) -> None:
        """Closes file, event files and bar."""
        for part in (self._bar, self._board):
            if part is not None:
                part.close()
        if self._file is not None:
            # What could not be written has been said already.
            with contextlib.suppress(OSError):
                self._file.close()


class _Bar:
    def __init__(self, steps: int):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("training", total=steps)
        self._progress.start()

    def update(self, step: int, latest: Mapping[str, Any]) -> None:
        shown = [(n, v) for n, v in latest.items() if isinstance(v, float)][:3]
        text = "  ".join(f"{name} {value:.3g}" for name, value in shown)
        self._progress.update(
            self._task, completed=step, description=text or "training"
        )

    def close(self) -> None:
        self._progress.stop()


def _summary_writer(folder: Any) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            f"{OWNER}.Log: tensorboard=True needs tensorboardX: "
            "pip install 'separax[tensorboard]'"
        ) from error
    return SummaryWriter(logdir=str(folder))


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist()


def _scalars(value: Any) -> list[tuple[str, float]]:
    flat = np.asarray(value, np.float64).ravel()
    if np.ndim(value) == 0:
        return [("", float(flat[0]))]
    return [(f"/{i}", float(v)) for i, v in enumerate(flat)]


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
