"""Data sets in one or a few files: MNIST's idx, CIFAR's binary form, npz."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxvision._npz import MOST_BYTES, array_names, read_arrays
from jaxvision.data.celeba import PARTITION, read_celeba
from jaxvision.data.folders import (
    DataError,
    UnreadableError,
    check_damaged,
    read_each,
    read_image_folder,
)
from jaxvision.layers._checks import positive


MOST_AXES = 32
# Third byte of an idx file -> type of its numbers.
IDX = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Records of CIFAR: label bytes, of which the last is the class, then 3 x 32 x 32.
CIFAR = {"cifar10": 1, "cifar100": 2}
CLASSES = {"cifar10": 10, "cifar100": 100}
PIXELS = 3 * 32 * 32
SPLITS = ("train", "test")
# By which of its files the folder of a published data set is known.
MARKS = {
    "mnist": ("train-images*", "t10k-images*"),
    "cifar10": ("data_batch_*.bin", "test_batch.bin"),
    "cifar100": ("train.bin", "test.bin"),
    "celeba": (PARTITION,),
}
# Arrays of npz files as Keras has its data sets, by part.
KERAS = {part: {"image": f"x_{part}", "label": f"y_{part}"} for part in SPLITS}
# Numbers of images, and what stands for 1.
FULL = {"bool": 1, "uint8": 255, "uint16": 65535}


def read_idx(path: str | Path) -> np.ndarray:
    """Returns the array in an idx file, gzipped or not.

    Raises:
        DataError: no such file, no idx, or another length than its header says.
    """
    where, path = "jaxvision.data.read_idx", Path(path)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            head = file.read(4)
            good = len(head) == 4 and head[:2] == b"\0\0" and head[2] in IDX
            if not good or head[3] > MOST_AXES:
                raise DataError(f"{where}: {path} must be an idx file, got {head!r}")
            kind, rank = np.dtype(IDX[head[2]]), head[3]
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
            size = math.prod(shape) * kind.itemsize
            if size > MOST_BYTES:
                raise DataError(
                    f"{where}: {path} must be at most {MOST_BYTES:,} bytes, got "
                    f"{size:,} for the shape {shape}"
                )
            data = file.read(size + 1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(f"{where}: cannot read {path}: {error}") from error
    if len(data) != size:
        raise DataError(
            f"{where}: {path} must hold {size} bytes for the shape {shape}, got "
            f"{'more' if len(data) > size else len(data)}"
        )
    array = np.frombuffer(data, kind).reshape(shape)
    return array.astype(kind.newbyteorder("="))


def read_mnist(folder: str | Path, *, split: str = "train") -> dict[str, np.ndarray]:
    """Returns MNIST, or a set in its form, from the four files of its folder.

    Args:
        folder: with `train-images-idx3-ubyte` and so on, gzipped or not.
        split: `"train"`, `"test"`, or `"all"`, one after the other.

    Returns:
        `"image"` (n, 28, 28, 1) float32 in [0, 1] and `"label"` (n,) int32.

    Raises:
        DataError: a file is missing, damaged, or not of its form.
        ValueError: an unknown split.
    """
    where = "jaxvision.data.read_mnist"
    names = {"train": "train", "test": "t10k"}
    _check_split(where, split)
    if split == "all":
        return _joined([read_mnist(folder, split=part) for part in names])
    arrays = []
    for part, rank in (("images", 3), ("labels", 1)):
        stem = f"{names[split]}-{part}-idx{rank}-ubyte"
        forms = [stem, f"{stem}.gz", f"{names[split]}-{part}.idx{rank}-ubyte"]
        paths = [Path(folder) / form for form in forms]
        path = next((p for p in paths if p.is_file()), None)
        if path is None:
            raise DataError(
                f"{where}: {folder} must hold {stem}, gzipped or not, for "
                f"split={split!r}, got none{_others(folder, 'mnist', split)}"
            )
        array = read_idx(path)
        if array.ndim != rank or array.dtype != np.uint8:
            raise DataError(
                f"{where}: {path} must hold bytes with {rank} axes, got "
                f"{array.dtype}{list(array.shape)}"
            )
        arrays.append(array)
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(
            f"{where}: {folder} must hold as many labels as images, got {len(labels)} "
            f"and {len(images)}"
        )
    return {
        "image": images[..., None].astype(np.float32) / np.float32(255),
        "label": labels.astype(np.int32),
    }


def read_cifar(
    path: str | Path,
    *,
    split: str = "train",
    kind: str = "cifar10",
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    """Returns CIFAR-10 or CIFAR-100 from the files of the binary version.

    The Python version is pickled, which nothing here reads.

    Args:
        path: of one `.bin` file, or of the folder with all of them.
        split: `"train"`, `"test"`, or `"all"`, one after the other; for a folder.
        kind: `"cifar10"` or `"cifar100"` (fine labels).
        damaged: `"raise"`, or `"skip"` with a warning that names the file: one of
            several that cannot be read.

    Returns:
        `"image"` (n, 32, 32, 3) float32 in [0, 1] and `"label"` (n,) int32.

    Raises:
        DataError: a file is missing, or its length or a label is none of this kind.
        ValueError: an unknown split, kind or `damaged`.
    """
    where, path = "jaxvision.data.read_cifar", Path(path)
    _check_split(where, split)
    check_damaged(where, damaged)
    if kind not in CIFAR:
        raise ValueError(f"{where}: `kind` must be one of {tuple(CIFAR)}, got {kind!r}")
    files = [path]
    if path.is_dir() or not path.suffix:
        parts = SPLITS if split == "all" else (split,)
        files = [path / name for part in parts for name in _names(kind, part)]
        missing = ", ".join(file.name for file in files if not file.is_file())
        if missing:
            raise DataError(
                f"{where}: {path} must hold {', '.join(file.name for file in files)} "
                f"for split={split!r}, got no {missing}{_others(path, kind, split)}"
            )
    found = read_each(where, files, lambda file: _records(file, kind), damaged)
    if not found:
        raise DataError(f"{where}: {path} must hold a file that can be read, got none")
    rows = np.concatenate([rows for _, rows in found])
    image = rows[:, CIFAR[kind] :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return {
        "image": image.astype(np.float32) / np.float32(255),
        "label": rows[:, CIFAR[kind] - 1].astype(np.int32),
    }


def _names(kind: str, split: str) -> list[str]:
    if kind == "cifar100":
        return [f"{split}.bin"]
    if split == "test":
        return ["test_batch.bin"]
    return [f"data_batch_{i}.bin" for i in range(1, 6)]


def _records(file: Path, kind: str) -> np.ndarray:
    """Returns the records of a file of CIFAR, (n, bytes)."""
    record = CIFAR[kind] + PIXELS
    try:
        size = file.stat().st_size
        if size == 0 or size % record or size > MOST_BYTES:
            raise UnreadableError(
                f"{file} must hold records of {record} bytes, at most {MOST_BYTES:,} "
                f"bytes in all, got {size} bytes"
            )
        rows = np.fromfile(file, np.uint8).reshape(-1, record)
    except FileNotFoundError as error:
        raise DataError(f"cannot read {file}: {error}") from error
    except OSError as error:
        raise UnreadableError(f"cannot read {file}: {error}") from error
    highest = rows[:, CIFAR[kind] - 1].max()
    if highest >= CLASSES[kind]:
        raise DataError(f"{file} must have labels below {CLASSES[kind]}, got {highest}")
    return rows


def _others(folder: str | Path, kind: str, split: str) -> str:
    """Returns the end of an error that says which part there is instead of another."""
    there = [
        f"; split={part!r} is there"
        for part, mark in zip(SPLITS, MARKS[kind], strict=True)
        if split in SPLITS and part != split and any(Path(folder).glob(mark))
    ]
    return "".join(there)


def _check_split(where: str, split: str) -> None:
    if split not in ("train", "test", "all"):
        raise ValueError(
            f"{where}: `split` must be 'train', 'test' or 'all', got {split!r}"
        )


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def splits_of(path: str | Path) -> tuple[str, ...]:
    """Returns the parts that the data at a path are published in.

    `("train", "test")` for a folder with the files of MNIST, CIFAR or CelebA and for an
    npz file with `x_train` or `x_test`; none for other folders and files.

    Example:
        >>> splits_of(".")
        ()
    """
    return () if _kind(Path(path)) in ("npz", "folder") else SPLITS


def refuse_split(where: str, path: Path, split: str | None) -> None:
    """Raises ValueError for a split of data that are not published in parts."""
    if split is not None:
        raise ValueError(
            f"{where}: `split` must be left out for {path}, got {split!r}: only "
            "MNIST, CIFAR, CelebA and npz files with x_train and x_test come in parts"
        )


def _kind(path: Path) -> str:
    if path.is_file():
        return "keras" if _is_keras(path) else "npz"
    for kind, marks in MARKS.items():
        if any(any(path.glob(mark)) for mark in marks):
            return kind
    return "folder"


def _is_keras(path: Path) -> bool:
    try:
        known = array_names(path)
    except ValueError:  # the reader says why
        return False
    return "image" not in known and any(KERAS[p]["image"] in known for p in SPLITS)


def read_images(
    path: str | Path,
    size: int,
    *,
    channels: int,
    split: str | None = None,
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    """Returns images, and labels where there are any, whatever form they are in.

    An npz file (`read_npz`), a folder with the files of MNIST (`read_mnist`), with
    those of CIFAR-10 or CIFAR-100 (`read_cifar`), or with CelebA's (`read_celeba`), or
    a folder of images (`read_image_folder`). Only the last two are resized.

    Args:
        path: of the file or folder.
        size: side of the images.
        channels: of the images.
        split: of MNIST, CIFAR, CelebA and npz files with `x_train`, `"train"` by
            default, `"test"` or `"all"`; see `splits_of`. None for other data.
        damaged: of `read_image_folder`, `read_celeba` and `read_cifar`; `"raise"` for
            other data, where one file holds all images.

    Raises:
        DataError: as the reader; or images of another size.
        ValueError: an unknown split or `damaged`, or one that these data do not have.
    """
    where, path = "jaxvision.data.read_images", Path(path)
    _check_split(where, "train" if split is None else split)
    check_damaged(where, damaged)
    positive(where, size=size)
    kind = _kind(path)
    if kind in ("npz", "folder"):
        refuse_split(where, path, split)
    if kind in ("npz", "keras", "mnist") and damaged == "skip":
        raise ValueError(
            f"{where}: `damaged` must be 'raise' for {path}, where one file has all "
            "images, got 'skip'"
        )
    if kind == "folder":
        return read_image_folder(path, size, channels=channels, damaged=damaged)
    part = "train" if split is None else split
    if kind == "celeba":
        return read_celeba(path, size, channels=channels, split=part, damaged=damaged)
    if path.is_file():
        found = read_npz(path, split=split)
    elif kind == "mnist":
        found = read_mnist(path, split=part)
    else:
        found = read_cifar(path, split=part, kind=kind, damaged=damaged)
    shape = (size, size, channels)
    if found["image"].shape[1:] != shape:
        raise DataError(
            f"{where}: {path} must hold images {shape}, got {found['image'].shape[1:]}"
        )
    return found


def read_npz(
    path: str | Path,
    names: Mapping[str, str] | None = None,
    *,
    split: str | None = None,
) -> dict[str, np.ndarray]:
    """Returns images, and labels where there are any, from an npz file.

    Args:
        path: of the file. Arrays of objects are refused: they are pickled.
        names: of the arrays, by `"image"` and `"label"`; by default these themselves,
            or where there is no `image` the names of Keras: `x_train`, `y_train`,
            `x_test`, `y_test`.
        split: with the names of Keras `"train"` (the default), `"test"`, or `"all"`,
            one after the other; None otherwise.

    Returns:
        `"image"` (n, h, w, c) float32 in [0, 1]: bytes over 255, integers of 16 bits
        without sign over 65535, floats as they are; gray images with one channel.
        `"label"` (n,) int32, from (n,) or (n, 1).

    Raises:
        DataError: the file cannot be read or unpacks to more than 4 GiB, has no such
            array, or one of another form or range.
        ValueError: an unknown split, or one that the file does not have.
    """
    where, path = "jaxvision.data.read_npz", Path(path)
    _check_split(where, "train" if split is None else split)
    if names is not None or not _is_keras(path):
        refuse_split(where, path, split)
        return _from_npz(where, path, names)
    if split != "all":
        return _from_npz(where, path, KERAS[split or "train"])
    found = [_from_npz(where, path, KERAS[part]) for part in SPLITS]
    first, second = ({n: a.shape[1:] for n, a in part.items()} for part in found)
    if first != second:
        raise DataError(
            f"{where}: {path} must have the same arrays and shapes in both parts for "
            f"split='all', got {first} and {second}"
        )
    return _joined(found)


def _from_npz(
    where: str, path: Path, names: Mapping[str, str] | None
) -> dict[str, np.ndarray]:
    wanted = {"image": "image", "label": "label"} if names is None else dict(names)
    try:
        arrays, known = read_arrays(path, wanted.values())
    except ValueError as error:
        raise DataError(f"{where}: cannot read {path}: {error}") from error
    found = {key: arrays[name] for key, name in wanted.items() if name in arrays}
    if "image" not in found:
        forms = "image and label, or x_train, y_train, x_test and y_test"
        raise DataError(
            f"{where}: {path} must have an array {wanted.get('image', 'image')!r}, got "
            f"{', '.join(map(repr, known)) or 'none'}; arrays are named {forms}, or as "
            "names={...} says in Python"
        )
    image = found["image"]
    image = image[..., None] if image.ndim == 3 else image
    if image.ndim != 4 or not image.size:
        raise DataError(
            f"{where}: {path} must have images (n, h, w) or (n, h, w, c) in "
            f"{wanted['image']!r}, got shape {found['image'].shape}"
        )
    out = {"image": _unit(where, path, wanted["image"], image)}
    if "label" in found:
        label = found["label"]
        out["label"] = _classes(where, path, wanted["label"], label, len(image))
    return out


def _unit(where: str, path: Path, name: str, image: np.ndarray) -> np.ndarray:
    """Returns images as float32 in [0, 1]."""
    kind = image.dtype.name
    if kind in FULL:
        return image.astype(np.float32) / np.float32(FULL[kind])
    if not np.issubdtype(image.dtype, np.floating):
        integer = np.issubdtype(image.dtype, np.integer)
        bounds = f", values from {image.min()} to {image.max()}" if integer else ""
        raise DataError(
            f"{where}: {path} must have images of {', '.join(FULL)} or floats in "
            f"{name!r}, got {image.dtype}{bounds}"
        )
    found = image.astype(np.float32)
    if found.min() >= 0 and found.max() <= 1:
        return found
    ranges = [(row.min(), row.max()) for row in found]
    rows = [i for i, (low, high) in enumerate(ranges) if not (low >= 0 and high <= 1)]
    low, high = ranges[rows[0]]
    got = "NaN" if np.isnan(low) else f"values from {low:g} to {high:g}"
    raise DataError(
        f"{where}: {path} must have images of floats from 0 to 1 in {name!r}, got "
        f"{got} in row {rows[0]} ({len(rows)} of {len(image)} rows)"
    )


def _classes(
    where: str, path: Path, name: str, label: np.ndarray, rows: int
) -> np.ndarray:
    """Returns one class per row as int32."""
    flat = label[:, 0] if label.shape == (rows, 1) else label
    good = flat.shape == (rows,) and np.issubdtype(flat.dtype, np.integer)
    found = flat.astype(np.int32) if good else flat
    if not good or (found != flat).any():
        raise DataError(
            f"{where}: {path} must have {rows} integer labels of at most 32 bits in "
            f"{name!r}, got {label.dtype}{list(label.shape)}"
        )
    return found
