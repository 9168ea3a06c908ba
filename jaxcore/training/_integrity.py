"""Checksums of a checkpoint's files: CRC-32 each, SHA-256 over the list of them.

CRC-32 finds damage and is several times faster than SHA-256 in plain Python; the
digest over the manifest identifies the checkpoint and guards the list itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any


MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
# Orbax rewrites or adds these after the manifest is written; they hold times only.
UNCOVERED = {"_CHECKPOINT_METADATA", "commit_success.txt", MANIFEST, DIGEST}
CHUNK = 2**20


class Damage(Exception):
    """Why a checkpoint cannot be used."""


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Writes `content` with size and CRC-32 of every file in the folder."""
    files = {name: _file_row(folder / name) for name in _files(folder)}
    text = json.dumps({**content, "files": files}, indent=1, allow_nan=False)
    data = text.encode()
    write_durably(folder / DIGEST, hashlib.sha256(data).hexdigest().encode())
    write_durably(folder / MANIFEST, data)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the content of the manifest; its own digest is verified.

    Raises:
        Damage: it is missing or was changed.
    """
    try:
        data = (folder / MANIFEST).read_bytes()
        digest = (folder / DIGEST).read_bytes()
    except OSError as error:
        raise Damage(
            f"{Path(error.filename or MANIFEST).name} cannot be read"
        ) from None
    if hashlib.sha256(data).hexdigest().encode() != digest:
        raise Damage(f"{MANIFEST} does not have the SHA-256 of {DIGEST}")
    return json.loads(data)


def verify(folder: Path) -> dict[str, Any]:
    """Returns the manifest after reading every file and comparing its checksum.

    Raises:
        Damage: names the first file that is missing or differs.
    """
    manifest = read_manifest(folder)
    for name, (size, crc) in manifest["files"].items():
        try:
            found = _file_row(folder / name)
        except OSError:
            raise Damage(f"{name} is missing or cannot be read") from None
        if found[0] != size:
            raise Damage(f"{name} has {found[0]} bytes instead of {size}")
        if found[1] != crc:
            raise Damage(f"{name} has CRC-32 {found[1]:08x} instead of {crc:08x}")
    return manifest


def lacks_files(folder: Path) -> bool:
    """Returns whether the manifest or a file that it names is not there."""
    try:
        files = read_manifest(folder)["files"]
    except Damage:
        return not (folder / MANIFEST).is_file() or not (folder / DIGEST).is_file()
    return not all((folder / name).is_file() for name in files)


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _files(folder: Path) -> list[str]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file())
    names = (p.relative_to(folder).as_posix() for p in found)
    return [name for name in names if name not in UNCOVERED]


def _file_row(path: Path) -> list[int]:
    crc = size = 0
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            crc = zlib.crc32(block, crc)
            size += len(block)
    return [size, crc]
