"""The progress bar of `solve`: loss, error, steps per second, time left."""

from __future__ import annotations

import sys
from typing import Any


class Progress:
    """A context manager around a rich progress bar; silent unless shown.

    Args:
        show: True, False, or None for "only if standard error is a terminal".
        title: text on the left.
        steps: steps to come.
    """

    def __init__(self, show: bool | None, title: str, steps: int):
        show = sys.stderr.isatty() if show is None else show
        self._bar: Any = None
        if show:
            self._bar = _bar()
            self._task = self._bar.add_task(title, total=steps, status="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, history, error: float | None, elapsed: float) -> None:
        """Shows the state after `done` steps and `elapsed` seconds."""
        if self._bar is None:
            return
        status = f"loss {history.loss[-1]:.2e}"
        if error is not None:
            status += f"  error {error:.2e}"
        status += f"  {done / max(elapsed, 1e-9):.0f} it/s"
        self._bar.update(self._task, completed=done, status=status)


def _bar() -> Any:
    from rich import progress as rich  # only where there is a bar to be seen
    from rich.console import Console
    from rich.table import Column

    return rich.Progress(
        rich.TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        rich.BarColumn(bar_width=None),
        rich.MofNCompleteColumn(table_column=Column(no_wrap=True)),
        rich.TextColumn("{task.fields[status]}", table_column=Column(no_wrap=True)),
        rich.TimeRemainingColumn(table_column=Column(no_wrap=True)),
        console=Console(stderr=True),
        transient=False,
        expand=True,  # the bar takes what the figures leave
    )
