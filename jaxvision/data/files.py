"""Data sets in one or a few files: MNIST's idx, CIFAR's binary form, npz."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxvision.data.folders import DataError, read_image_folder


# Third byte of an idx file -> type of its numbers.
IDX = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_BYTES = 4 * 2**30
# Records of CIFAR: label bytes, of which the last is the class, then 3 x 32 x 32.
CIFAR = {"cifar10": 1, "cifar100": 2}
PIXELS = 3 * 32 * 32


def read_idx(path: str | Path) -> np.ndarray:
    """Returns the array in an idx file, gzipped or not.

    Raises:
        DataError: no such file, no idx, or another length than its header says.
    """
    where, path = "jaxvision.data.read_idx", Path(path)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in IDX:
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
            raise DataError(f"{where}: {folder} must hold {stem}, gzipped or not")
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
    path: str | Path, *, split: str = "train", kind: str = "cifar10"
) -> dict[str, np.ndarray]:
    """Returns CIFAR-10 or CIFAR-100 from the files of the binary version.

    The Python version is pickled, which nothing here reads.

    Args:
        path: of one `.bin` file, or of the folder with all of them.
        split: `"train"`, `"test"`, or `"all"`, one after the other; for a folder.
        kind: `"cifar10"` or `"cifar100"` (fine labels).

    Returns:
        `"image"` (n, 32, 32, 3) float32 in [0, 1] and `"label"` (n,) int32.

    Raises:
        DataError: a file is missing, or its length or a label is none of this kind.
        ValueError: an unknown split or kind.
    """
    where, path = "jaxvision.data.read_cifar", Path(path)
    _check_split(where, split)
    if kind not in CIFAR:
        raise ValueError(f"{where}: `kind` must be one of {tuple(CIFAR)}, got {kind!r}")
    files = [path]
    if path.is_dir() or not path.suffix:
        if split == "all":
            both = ("train", "test")
            return _joined([read_cifar(path, split=part, kind=kind) for part in both])
        if kind == "cifar100":
            names = [f"{split}.bin"]
        elif split == "train":
            names = [f"data_batch_{i}.bin" for i in range(1, 6)]
        else:
            names = ["test_batch.bin"]
        files = [path / name for name in names]
    record, classes = CIFAR[kind] + PIXELS, {"cifar10": 10, "cifar100": 100}[kind]
    images, labels = [], []
    for file in files:
        try:
            data = np.fromfile(file, np.uint8)
        except OSError as error:
            raise DataError(f"{where}: cannot read {file}: {error}") from error
        if data.size == 0 or data.size % record:
            raise DataError(
                f"{where}: {file} must hold records of {record} bytes, got {data.size} "
                "bytes"
            )
        rows = data.reshape(-1, record)
        label = rows[:, CIFAR[kind] - 1]
        if label.max() >= classes:
            raise DataError(
                f"{where}: {file} must have labels below {classes}, got {label.max()}"
            )
        images.append(rows[:, CIFAR[kind] :].reshape(-1, 3, 32, 32))
        labels.append(label)
    image = np.concatenate(images).transpose(0, 2, 3, 1)
    return {
        "image": image.astype(np.float32) / np.float32(255),
        "label": np.concatenate(labels).astype(np.int32),
    }


def _check_split(where: str, split: str) -> None:
    if split not in ("train", "test", "all"):
        raise ValueError(
            f"{where}: `split` must be 'train', 'test' or 'all', got {split!r}"
        )


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def read_images(
    path: str | Path,
    size: int,
    *,
    channels: int,
    split: str = "train",
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    """Returns images, and labels where there are any, whatever form they are in.

    An npz file (`read_npz`), a folder with MNIST's training files (`read_mnist`) or
    with those of CIFAR-10 or CIFAR-100 (`read_cifar`), or a folder of images
    (`read_image_folder`). Only the last are resized.

    Args:
        path: of the file or folder.
        size: side of the images.
        channels: of the images.
        split: of MNIST and CIFAR.
        damaged: of `read_image_folder`.

    Raises:
        DataError: as the reader; or images of another size.
    """
    path = Path(path)
    if path.is_file():
        found = read_npz(path)
    elif any(path.glob("train-images*")):
        found = read_mnist(path, split=split)
    elif (path / "data_batch_1.bin").is_file():
        found = read_cifar(path, split=split)
    elif (path / "train.bin").is_file():
        found = read_cifar(path, split=split, kind="cifar100")
    else:
        return read_image_folder(path, size, channels=channels, damaged=damaged)
    shape = (size, size, channels)
    if found["image"].shape[1:] != shape:
        raise DataError(
            f"jaxvision.data.read_images: {path} must hold images {shape}, got "
            f"{found['image'].shape[1:]}"
        )
    return found


def read_npz(
    path: str | Path, names: Mapping[str, str] | None = None
) -> dict[str, np.ndarray]:
    """Returns images, and labels where there are any, from an npz file.

    Args:
        path: of the file. Arrays of objects are refused: they are pickled.
        names: of the arrays, by `"image"` and `"label"`; by default as they are.

    Returns:
        `"image"` (n, h, w, c) float32, bytes scaled to [0, 1], gray images with one
        channel; `"label"` int32.

    Raises:
        DataError: the file cannot be read, has no such array, or one of another form.
    """
    where, path = "jaxvision.data.read_npz", Path(path)
    names = {"image": "image", "label": "label"} if names is None else dict(names)
    try:
        # The file is opened here: where it is damaged, NumPy would leave it open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            known = list(file.files)
            found = {key: file[name] for key, name in names.items() if name in known}
    except (OSError, ValueError, zlib.error, AttributeError) as error:
        raise DataError(f"{where}: cannot read {path}: {error}") from error
    except Exception as error:  # zipfile has an error of its own for damage
        if type(error).__name__ != "BadZipFile":
            raise
        raise DataError(f"{where}: cannot read {path}: {error}") from error
    if "image" not in found:
        raise DataError(
            f"{where}: {path} must have an array {names.get('image', 'image')!r}, got "
            f"{', '.join(map(repr, known)) or 'none'}"
        )
    image = found["image"]
    image = image[..., None] if image.ndim == 3 else image
    if image.ndim != 4 or not image.size:
        raise DataError(
            f"{where}: {path} must have images (n, h, w) or (n, h, w, c), got shape "
            f"{found['image'].shape}"
        )
    scale = 255 if image.dtype == np.uint8 else 1
    out = {"image": image.astype(np.float32) / np.float32(scale)}
    if "label" in found:
        label = found["label"]
        if len(label) != len(image) or not np.issubdtype(label.dtype, np.integer):
            raise DataError(
                f"{where}: {path} must have {len(image)} integer labels, got "
                f"{label.dtype}{list(label.shape)}"
            )
        out["label"] = label.astype(np.int32)
    return out
