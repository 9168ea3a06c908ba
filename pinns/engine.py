"""What `solve` asks of the training engine: devices, checkpoints, logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import jax

from jaxcore.training import Checkpoint, Log
from pinns.problem import Problem


@dataclass(frozen=True)
class Engine:
    """What `jaxcore.training.fit` is asked for; see there."""

    devices: int | Sequence[jax.Device] | None = None
    checkpoint: str | Path | Checkpoint | None = None
    log: str | Path | Log | None = None
    on_error: str = "raise"

    def __post_init__(self):
        if not _are_devices(self.devices):
            raise TypeError(
                "pinns.solve: `devices` must be a positive integer or a list of "
                f"jax.Device, got {self.devices!r}"
            )
        if isinstance(self.devices, int) and self.devices > len(jax.devices()):
            raise ValueError(
                "pinns.solve: `devices` must be between 1 and the "
                f"{len(jax.devices())} that there are, got {self.devices}"
            )
        for name, kind in (("checkpoint", Checkpoint), ("log", Log)):
            value = getattr(self, name)
            if not isinstance(value, (str, Path, kind, NoneType)):
                raise TypeError(
                    f"pinns.solve: `{name}` must be a folder or a jaxcore.training."
                    f"{kind.__name__}, got {value!r}"
                )

    @property
    def given(self) -> list[str]:
        """Names of the arguments that were given."""
        names = ("devices", "checkpoint", "log")
        return [name for name in names if getattr(self, name) is not None]

    @property
    def count(self) -> int:
        """Number of devices."""
        if self.devices is None or isinstance(self.devices, int):
            return self.devices or 1
        return len(self.devices)


def _are_devices(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, int):
        return value > 0 and not isinstance(value, bool)
    several = isinstance(value, (list, tuple)) and len(value) > 0
    return several and all(isinstance(d, jax.Device) for d in value)


def check_engine(
    owner: str,
    engine: Engine,
    method: str,
    problem: Problem,
    counts,
    start,
    iterative: Sequence[str],
) -> None:
    """Raises ValueError where what is asked for does not fit method or points."""
    name = engine.given[0]
    if method not in iterative:
        raise ValueError(
            f"{owner}: `{name}` belongs to the methods {', '.join(iterative)}, got "
            f"{getattr(engine, name)!r} with method={method!r}"
        )
    if engine.checkpoint is not None and start is not None:
        raise ValueError(
            f"{owner}: `start` must be None with `checkpoint`, whose folder says where "
            f"to go on, got {start!r}"
        )
    if engine.count > 1 and method in ("gauss_newton", "varpro"):
        raise ValueError(
            f"{owner}: `devices` must be one with method={method!r}, whose loss has no "
            f"grid to split, got {engine.count}"
        )
    if counts[0] % max(engine.count, 1):
        raise ValueError(
            f"{owner}: `points` on the first axis {problem.box.names[0]!r} must be a "
            f"multiple of the {engine.count} devices, got {counts[0]}"
        )
