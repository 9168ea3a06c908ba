"""SIGTERM and SIGINT as flags that the loop looks at."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from jaxcore.training.task import Interrupted


class Signals:
    """A context in which the first SIGTERM or SIGINT only sets `received`.

    A second SIGINT raises KeyboardInterrupt at once, for those who cannot wait. Outside
    the main thread Python cannot handle signals, and they keep their usual effect. A
    signal that nobody looked at before the context ended has its usual effect then.
    """

    def __init__(self) -> None:
        self.received: int = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._set)
        return self

    def __exit__(
        self, kind: object, error: BaseException | None, trace: object
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}
        if self.received and not isinstance(error, Interrupted | KeyboardInterrupt):
            signal.raise_signal(self.received)

    def _set(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number
