"""Loading and saving: a file of safetensors, or a mapping of arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors import SafetensorError
from safetensors.flax import load_file
from safetensors.numpy import save_file

from jaxvision import layers
from jaxvision._npz import read_arrays
from jaxvision.weights.names import KEPT, current, foreign_names, named_arrays


@dataclass(frozen=True)
class Loaded:
    """What came of loading weights; names of arrays of the network are ours.

    Attributes:
        loaded: arrays that were set.
        missing: arrays of the network that were not given.
        unexpected: names that were given and that the network has no place for.
        mismatched: arrays given with another shape, as `name: ours, given`.
        resized: arrays that were set after they were resized.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    resized: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything fitted."""
        return not (self.missing or self.unexpected or self.mismatched)


def save_weights(
    model: nnx.Module, path: str | Path, *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Writes parameters and running statistics to a file of safetensors.

    The vectors that `layers.SpectralNorm` follows are among them: without them the
    network would be another one in evaluation. No random keys, no counters.

    The file is written beside and then moved: a crash leaves no half of one under its
    name.

    Args:
        model: any network.
        path: of the file; folders are made.
        metadata: text for the file's header.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: np.array(array, order="C") for name, array in named_arrays(model).items()
    }
    partial = path.with_name(path.name + ".partial")
    save_file(arrays, partial, metadata={"format": "jaxvision", **(metadata or {})})
    return partial.replace(path)


def load_weights(
    model: nnx.Module,
    path: str | Path,
    *,
    source: str = "jaxvision",
    partial: bool = False,
    leave: Sequence[str] = (),
    resize_positions: bool = False,
) -> Loaded:
    """Sets the arrays of a network from a file of weights; returns what it did.

    Args:
        model: changed in place, once everything is checked.
        path: of the file: safetensors, or npz where its name ends so.
        source: whose names the file has: `"jaxvision"`, `"torchvision"` or `"timm"`.
        partial: set what fits, which must be something, and report the rest, instead of
            raising.
        leave: beginnings of names of the network that keep their values whatever the
            file has, `("head",)` for another number of classes.
        resize_positions: the positions of a `layers.ViT` may be of another grid, they
            are resized (`layers.resize_positions`).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or of another kind, an npz file unpacks to more
            than 4 GiB, `source` or `leave` is not known, the network has no positions
            to resize, or, unless `partial`, an array is missing, unexpected or of
            another shape: all of them are named.

    Example:
        >>> import tempfile
        >>> from flax import nnx
        >>> model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_weights(model, f"{folder}/linear.safetensors")
        ...     load_weights(nnx.Linear(2, 3, rngs=nnx.Rngs(1)), path).loaded
        ('bias', 'kernel')
    """
    where, path = "jaxvision.load_weights", Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{where}: `path` must be a file of safetensors or npz, got {path}"
        )
    try:
        state = _read(path)
    except (OSError, SafetensorError, ValueError) as error:
        hint = _hint(path) if isinstance(error, SafetensorError) else ""
        raise ValueError(f"{where}: cannot read {path}: {error}{hint}") from error
    where = f"{where}({str(path)!r})"
    return _set(where, model, state, source, partial, leave, resize_positions)


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix != ".npz":
        return load_file(path)
    return read_arrays(path)[0]


def _hint(path: Path) -> str:
    """Returns what to do with a file that does not seem to be one of safetensors."""
    with path.open("rb") as file:
        packed = file.read(2) in (b"PK", b"\x80\x02")  # as PyTorch writes
    if path.suffix == ".safetensors" and not packed:
        return ""
    return (
        "; files of weights are safetensors, or npz where the name ends so, and "
        "nothing is unpickled: load a .pth or .pt in PyTorch, and give its state_dict "
        "to jaxvision.set_weights or to safetensors.torch.save_file"
    )


def set_weights(
    model: nnx.Module,
    state: Mapping[str, Any],
    *,
    source: str = "jaxvision",
    partial: bool = False,
    leave: Sequence[str] = (),
    resize_positions: bool = False,
) -> Loaded:
    """Sets the arrays of a network from a mapping of names to arrays.

    Arguments, result and errors are those of `load_weights`. Arrays are whatever
    `numpy.asarray` takes, tensors of PyTorch on the CPU among them:
    `set_weights(model, module.state_dict(), source="torchvision")`.
    """
    return _set(
        "jaxvision.set_weights", model, state, source, partial, leave, resize_positions
    )


def _set(
    where: str,
    model: nnx.Module,
    state: Mapping[str, Any],
    source: str,
    partial: bool,
    leave: Sequence[str],
    resize_positions: bool,
) -> Loaded:
    ours, names = named_arrays(model), foreign_names(model, source)
    left = _left(where, ours, leave)
    given = dict(state) if source == "jaxvision" else current(state)
    if resize_positions and not isinstance(model, layers.ViT):
        raise ValueError(
            f"{where}: `model` must be a ViT for resize_positions=True, got a "
            f"{type(model).__name__}"
        )
    values, missing, mismatched, resized = {}, [], [], []
    for name, other in names.items():
        if name in left:
            continue
        if other.name not in given:
            missing.append(name)
            continue
        array = np.asarray(given[other.name])
        if other.axes and array.ndim == len(other.axes):
            array = np.transpose(array, np.argsort(other.axes))
        if (
            resize_positions
            and name == "positions"
            and _other_grid(array.shape, ours[name].shape)
        ):
            side = math.isqrt(ours[name].shape[1] - 1)
            array = np.asarray(layers.resize_positions(array.astype("float32"), side))
            resized.append(name)
        if array.shape != ours[name].shape:
            mismatched.append(f"{name}: {ours[name].shape}, {array.shape}")
        else:
            values[name] = jnp.asarray(array.astype(ours[name].dtype))
    places = {other.name for other in names.values()}
    unexpected = [name for name in given if name not in places]
    found = Loaded(*map(tuple, (values, missing, unexpected, mismatched, resized)))
    if not (partial or found.complete):
        raise ValueError(_complaint(where, found))
    lacking = missing + mismatched
    if lacking and not values:
        raise ValueError(
            f"{where}: partial=True must find arrays that fit, got none for "
            f"{_few(lacking)}; those given are {_few(list(given))}, with the names of "
            f"`source`, {source!r}"
        )
    _update(model, values)
    return found


def _few(names: Sequence[str], most: int = 3) -> str:
    left = len(names) - most
    return (", ".join(names[:most]) or "none") + (
        f" and {left} more" if left > 0 else ""
    )


def _other_grid(given: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """Whether positions are of the same width, and of another square of patches."""
    return (
        len(given) == 3
        and given[1] != ours[1]
        and (given[0], given[2]) == (ours[0], ours[2])
        and given[1] > 1
        and math.isqrt(given[1] - 1) ** 2 == given[1] - 1
    )


def _left(where: str, names: Iterable[str], leave: Sequence[str]) -> set[str]:
    if isinstance(leave, str):
        raise ValueError(
            f"{where}: `leave` must be a sequence of beginnings, got {leave!r}; write "
            f"({leave!r},)"
        )
    left: set[str] = set()
    for start in leave:
        found = {n for n in names if n == start or n.startswith(start + ".")}
        if not found:
            raise ValueError(
                f"{where}: `leave` must be beginnings of names of the network, got "
                f"{start!r}"
            )
        left |= found
    return left


def _complaint(where: str, found: Loaded) -> str:
    parts = [
        f"{title}: {', '.join(names)}"
        for title, names in (
            ("missing", found.missing),
            ("unexpected", found.unexpected),
            ("of another shape (ours, given)", found.mismatched),
        )
        if names
    ]
    return (
        f"{where}: the arrays must be those of the network; {'; '.join(parts)}. "
        "partial=True sets what fits; in Python leave=(...) keeps parts as they are"
    )


def _update(model: nnx.Module, values: Mapping[str, Any]) -> None:
    state = nnx.state(model, KEPT)
    flat = nnx.to_flat_state(state)
    for path, variable in flat:
        name = ".".join(map(str, path))
        if name in values:
            variable.set_value(values[name])
    nnx.update(model, nnx.from_flat_state(flat))
