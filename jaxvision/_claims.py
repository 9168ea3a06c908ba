"""Folders of runs: what each is for, and what must not change when a run goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import operator
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcore.training.ema import Ema
from jaxvision import registry


RECIPE, CHECKPOINTS = "recipe.json", "checkpoints"
FORMAT = 1
# Options of `jaxcore.training.fit` that a run keeps, and their defaults.
KEPT = {"accumulate": 1, "ema": None, "nonfinite": "stop", "precision": "float32"}


class RunError(ValueError):
    """A folder does not hold the run that is asked for; the message says why."""


def check_seed(where: str, seed: Any) -> None:
    """Raises ValueError unless a seed is an integer that NumPy and JAX both take."""
    try:
        good = not isinstance(seed, bool) and 0 <= operator.index(seed) < 2**63
    except TypeError:
        good = False
    if not good:
        raise ValueError(
            f"{where}: `seed` must be an integer from 0 to 2**63 - 1, got {seed!r}"
        )


def describe(
    recipe: registry.Recipe,
    arrays: Mapping[str, Any],
    options: Mapping[str, Any],
    **others: Any,
) -> dict[str, Any]:
    """Returns what a run is, as JSON reads it back.

    Args:
        recipe: see `jaxvision.recipe`.
        arrays: of which name, type, shape and a digest of the values are kept.
        options: of `jaxcore.training.fit`; those of `KEPT` count.
        others: as they are.

    Raises:
        ValueError, TypeError: an average (`ema`) that is none.
    """
    kept: dict[str, Any] = {name: options.get(name, KEPT[name]) for name in KEPT}
    if kept["ema"] is not None:
        ema = kept["ema"]
        kept["ema"] = dataclasses.asdict(ema if isinstance(ema, Ema) else Ema(ema))
    return _plain(
        {
            "format": FORMAT,
            "system": recipe.name,
            "preset": recipe.preset,
            "config": dataclasses.asdict(recipe.config),
            **others,
            **kept,
            "data": digests(arrays),
        }
    )


def digests(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Returns type and shape of each array, and a digest of its values."""
    return {name: _digest(array) for name, array in arrays.items()}


def check_data(
    where: str, name: str, before: Mapping[str, Any] | None, arrays: Mapping[str, Any]
) -> None:
    """Raises RunError for arrays that are not those that a system was trained on.

    Args:
        where: what errors begin with.
        name: of the system.
        before: `digests` of the arrays of the training; None, of runs of before, warns.
        arrays: those there are.
    """
    if before is None:
        warnings.warn(
            f"{where}: the run does not say what {name!r} was trained on; the figures "
            "are of its nodes if `arrays` are the same",
            stacklevel=3,
        )
        return
    if apart := _data_differences(before, digests(arrays)):
        raise RunError(
            f"{where}: `arrays` must be those that {name!r} was trained on, whose rows "
            "its recipe deals to nodes and holds out there; others belong to no node. "
            f"Got ones that differ in {', '.join(apart)}"
        )


def check(where: str, folder: Path, description: Mapping[str, Any]) -> None:
    """Raises RunError for a folder that is none or holds another run.

    Runs of before, whose description has no data or options, go on.
    """
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise RunError(
                f"{where}: `folder` must be a folder, there or new, got {folder}"
                + (f"; {path} is a file" if path != folder else ", a file")
            )
    path = folder / RECIPE
    if not path.is_file():
        return
    try:
        before = json.loads(path.read_text("utf-8"))
        fresh = registry.recipe(before["system"], preset=before["preset"]).config
        before["config"] = _over(_plain(dataclasses.asdict(fresh)), before["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{where}: cannot read {path}: {error}") from error
    late = {"data", *KEPT} - before.keys()
    now = {name: value for name, value in description.items() if name not in late}
    apart = _data_differences(before.pop("data", {}), now.pop("data", {}))
    apart = [*_differences(before, now), *apart]
    if apart:
        raise RunError(
            f"{where}: {folder} must be new or hold this run, got one that differs in "
            f"{', '.join(apart)}"
        )


@contextlib.contextmanager
def claimed(folder: Path, description: Mapping[str, Any]) -> Iterator[None]:
    """Writes what a folder is for, unless it is for that already.

    What was written is taken back when the training ends with an error before it has
    written anything itself, as with an argument out of range.
    """
    made, path = [], folder / RECIPE
    if not path.is_file():
        made = [p for p in (folder, *folder.parents) if not p.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(description, indent=2) + "\n"
        path.write_text(text, encoding="utf-8")
        made.insert(0, path)
    try:
        yield
    except BaseException:
        if made and not (folder / CHECKPOINTS).exists():
            path.unlink(missing_ok=True)  # another process may have been here
            with contextlib.suppress(OSError):  # others may have put files there
                for new in made[1:]:
                    new.rmdir()
        raise


def _digest(array: Any) -> dict[str, str]:
    found = np.ascontiguousarray(array)
    digest = hashlib.sha256(found.reshape(-1).view(np.uint8).data).hexdigest()
    return {"kind": f"{found.dtype}{list(np.shape(array))}", "sha256": digest}


def _data_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found, none = [], {"kind": "none"}
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name, none), now.get(name, none)
        if old["kind"] != new["kind"]:
            found.append(f"`data.{name}` ({old['kind']}, now {new['kind']})")
        elif old != new:
            found.append(f"`data.{name}` (other values)")
    return found


def _differences(a: Any, b: Any, name: str = "") -> list[str]:
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return [] if a == b else [f"`{name}` ({a!r}, now {b!r})"]
    return [
        found
        for key in sorted(a.keys() | b.keys())
        for found in _differences(
            a.get(key), b.get(key), f"{name}.{key}" if name else key
        )
    ]


def _over(defaults: Any, values: Any) -> Any:
    """Returns values, with defaults for what they lack: fields that are newer."""
    if not (isinstance(defaults, dict) and isinstance(values, dict)):
        return values
    return {
        **defaults,
        **{name: _over(defaults.get(name), v) for name, v in values.items()},
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=_scalar))


def _scalar(value: Any) -> Any:
    """Returns scalars of NumPy and JAX as those of Python, others as text."""
    return value.item() if hasattr(value, "item") and not np.ndim(value) else str(value)
