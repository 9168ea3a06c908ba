"""Arrays of npz files: never unpickled, of bounded size, one error for damage."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np


MOST_BYTES = 4 * 2**30  # what a small file can unpack to is bounded
# What zipfile and NumPy raise for files that are no archives of arrays, or damaged.
DAMAGE = (
    OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, MemoryError,
    OverflowError, SyntaxError, struct.error, tokenize.TokenError, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


def array_names(path: Path) -> list[str]:
    """Returns the names of the arrays of an npz file; errors as of `read_arrays`."""
    try:
        with path.open("rb") as raw:
            return list(_sizes(raw))
    except DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _sizes(raw: IO[bytes]) -> dict[str, int]:
    """Returns the unpacked sizes of arrays in bytes, by name."""
    sizes: dict[str, int] = {}
    with zipfile.ZipFile(raw) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            sizes[name] = sizes.get(name, 0) + info.file_size
    return sizes


def read_arrays(
    path: Path, names: Iterable[str] | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns arrays of an npz file by name, and the names of all that it has.

    The sizes are those of the archive's directory, more than which is never unpacked.

    Args:
        path: of the file.
        names: of those to read; others than it has are passed over. Default all.

    Raises:
        ValueError: the file cannot be read, has arrays of objects, or unpacks to more
            than `MOST_BYTES`; the message says why, without the path.
    """
    try:
        with path.open("rb") as raw:
            sizes = _sizes(raw)
            known = list(sizes)
            wanted = known if names is None else [n for n in names if n in sizes]
            total = sum(sizes[name] for name in wanted)
            if total > MOST_BYTES:
                raise ValueError(
                    f"arrays must have at most {MOST_BYTES:,} bytes, got {total:,}"
                )
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                found = {name: file[name] for name in wanted}
    except DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name!r} must be an array, got {len(array)} bytes")
    return found, known
