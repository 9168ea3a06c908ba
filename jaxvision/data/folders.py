"""Folders of image files: one per class, or images with masks of the same names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.layers._checks import positive


SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
DAMAGED = ("raise", "skip")
MOST_PIXELS = 100_000_000  # of one file: what a small file can unpack to is bounded


class DataError(ValueError):
    """A folder or file cannot be read as what it should be; the message names it."""


def read_image_folder(
    folder: str | Path,
    size: int | tuple[int, int],
    *,
    channels: int = 3,
    classes: Iterable[str] | None = None,
    group: str | None = None,
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    r"""Returns the images of a folder, and labels where it has a folder per class.

    `folder/cat/1.png`, `folder/dog/2.jpg`: labels number the class folders in order of
    their names, or as `classes` says. Files in the folder itself are images without
    labels. Images are resized (bilinear, averaged where they shrink) and in [0, 1].

    Args:
        folder: of files with the suffixes of `SUFFIXES`.
        size: of the result, side or (height, width).
        channels: 1 or 3.
        classes: names of the class folders, in the order of the labels.
        group: regular expression for names of files without suffix, whose first group
            says what is on them, `r"(fruit\d+)_"`: images of one thing have one number.
        damaged: `"raise"`, or `"skip"` with a warning that names the file.

    Returns:
        `"image"` (n, height, width, channels) float32; with class folders `"label"`
        (n,) int32, with `group` also `"group"` (n,) int32.

    Raises:
        DataError: no such folder, no images, a class that is not there, both kinds of
            folder at once, a damaged file, or a name that `group` does not fit.
        ValueError: another argument is not as above.
    """
    where = "jaxvision.data.read_image_folder"
    shape, folder = _check(where, folder, size, channels, damaged)
    inner = sorted(p for p in folder.iterdir() if p.is_dir())
    loose = _images(folder)
    if inner and loose:
        raise DataError(
            f"{where}: {folder} must hold either images or a folder per class, got "
            f"both: {loose[0].name} and {inner[0].name}/"
        )
    if not inner:
        if classes is not None:
            raise DataError(f"{where}: {folder} must hold a folder per class, got none")
        found = _all(where, loose, lambda p: read_image(p, shape, channels), damaged)
        return {
            "image": _stacked(where, folder, [image for _, image in found]),
            **_groups(where, group, [path for path, _ in found]),
        }
    names = [p.name for p in inner] if classes is None else list(classes)
    missing = set(names) ^ {p.name for p in inner}
    if missing:
        raise DataError(
            f"{where}: {folder} must hold the folders {', '.join(names)}, got "
            f"{', '.join(p.name for p in inner)}"
        )
    paths, images, labels = [], [], []
    for label, name in enumerate(names):
        files = _images(folder / name)
        if not files:
            raise DataError(f"{where}: {folder / name} must hold images, got none")
        found = _all(where, files, lambda p: read_image(p, shape, channels), damaged)
        paths += [path for path, _ in found]
        images += [image for _, image in found]
        labels += [label] * len(found)
    return {
        "image": _stacked(where, folder, images),
        "label": np.asarray(labels, np.int32),
        **_groups(where, group, paths),
    }


def _groups(
    where: str, pattern: str | None, paths: list[Path]
) -> dict[str, np.ndarray]:
    """Returns the number of what each file shows, by the first group of a pattern."""
    if pattern is None:
        return {}
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"{where}: `group` must be a regular expression, got {pattern!r}: {error}"
        ) from error
    if not compiled.groups:
        raise ValueError(
            f"{where}: `group` must have a group in parentheses, got {pattern!r}"
        )
    names = []
    for path in paths:
        match = compiled.search(path.stem)
        if match is None or match[1] is None:
            raise DataError(
                f"{where}: {path} must have a name that {pattern!r} fits, got none"
            )
        names.append(match[1])
    return {"group": np.unique(names, return_inverse=True)[1].astype(np.int32)}


def read_segmentation_folder(
    folder: str | Path,
    size: int | tuple[int, int],
    *,
    channels: int = 1,
    values: Mapping[int, int] | None = None,
    num_classes: int | None = None,
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    """Returns `images/*` and `masks/*` of a folder, paired by their names.

    Images are resized as by `read_image_folder`, masks to the nearest pixel. A mask is
    gray; its values are the labels, unless `values` says what each stands for.

    Args:
        folder: with `images` and `masks`, every file in both, suffixes aside.
        size: of the result, side or (height, width).
        channels: of the images, 1 or 3.
        values: label by value in the masks, `{0: 0, 255: 1}`; other values are errors.
        num_classes: labels must be below it.
        damaged: `"raise"`, or `"skip"` with a warning that names the file; a pair is
            skipped with either of its files.

    Returns:
        `"image"` (n, height, width, channels) float32 in [0, 1] and `"label"` (n,
        height, width) int32, in the order of the names.

    Raises:
        DataError: no such folders, no images, an image or mask without partner, sizes
            that differ, a damaged file, or a value that is no label.
        ValueError: another argument is not as above.
    """
    where = "jaxvision.data.read_segmentation_folder"
    shape, folder = _check(where, folder, size, channels, damaged)
    sides = []
    for name in ("images", "masks"):
        if not (folder / name).is_dir():
            raise DataError(
                f"{where}: {folder} must hold the folders images and masks, got no "
                f"{name}"
            )
        sides.append({p.stem: p for p in _images(folder / name)})
    images, masks = sides
    pairs = ((images, masks, "a mask"), (masks, images, "an image"))
    for have, lack, kind in pairs:
        lone = sorted(have.keys() - lack.keys())
        if lone:
            raise DataError(
                f"{where}: {have[lone[0]]} must have {kind} of the same name, got "
                f"none ({len(lone)} such files)"
            )

    def pair(path: Path) -> tuple[np.ndarray, np.ndarray]:
        image, before = _opened(path, shape, channels)
        label, other = _opened(masks[path.stem], shape, 0)
        if before != other:
            raise DataError(
                f"{masks[path.stem]} must have the size of its image, {before[0]} x "
                f"{before[1]}, got {other[0]} x {other[1]}"
            )
        return image, _labels(masks[path.stem], label, values, num_classes)

    found = _all(where, [images[stem] for stem in sorted(images)], pair, damaged)
    return {
        "image": _stacked(where, folder, [image for _, (image, _) in found]),
        "label": _stacked(where, folder, [label for _, (_, label) in found]),
    }


def read_image(path: Path, shape: tuple[int, int], channels: int) -> np.ndarray:
    """Returns an image (height, width, channels), float32 in [0, 1].

    Raises:
        DataError: the file is no image, damaged, or too large.
    """
    return _opened(path, shape, channels)[0]


def _opened(
    path: Path, shape: tuple[int, int], channels: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns an image in its new size, and the size before; 0 channels is a mask."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                before = (file.height, file.width)
                if before[0] * before[1] > MOST_PIXELS:
                    raise DataError(
                        f"{path} must have at most {MOST_PIXELS:,} pixels, got "
                        f"{before[0]} x {before[1]}"
                    )
                image = _mode(file, channels)
    except (
        OSError,
        SyntaxError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if before != shape:
        how = Image.Resampling.BILINEAR if channels else Image.Resampling.NEAREST
        image = image.resize((shape[1], shape[0]), how)
    array = np.asarray(image)
    if channels:
        array = array.reshape(*shape, channels)
        full = 65535.0 if array.dtype == np.uint16 or image.mode == "F" else 255.0
        array = (array / full).astype(np.float32)
    return array, before


def _mode(file: Any, channels: int) -> Any:
    """Returns the image decoded, gray, colored or as it is stored (a mask)."""
    if channels == 0:
        # A palette stores labels as indices: they are kept, not turned into colors.
        stored = file.mode in ("P", "L", "I", "I;16")
        return file.copy() if stored else file.convert("L")
    deep = file.mode.startswith("I")
    if channels == 3:
        return file.convert("RGB")
    return file.convert("F") if deep else file.convert("L")


def _labels(
    path: Path,
    mask: np.ndarray,
    values: Mapping[int, int] | None,
    num_classes: int | None,
) -> np.ndarray:
    label = mask.astype(np.int32)
    if values is not None:
        present = set(np.unique(label).tolist())
        if present - values.keys():
            raise DataError(
                f"{path} must have values among {sorted(values)}, got "
                f"{sorted(present - values.keys())}"
            )
        table = np.zeros(max(values) + 1, np.int32)
        for value, meaning in values.items():
            table[value] = meaning
        label = table[label]
    if num_classes is not None and label.max(initial=0) >= num_classes:
        raise DataError(
            f"{path} must have labels from 0 to {num_classes - 1}, got "
            f"{label.max()}; say what values stand for with values={{...}}"
        )
    return label


def _check(
    where: str, folder: str | Path, size: Any, channels: int, damaged: str
) -> tuple[tuple[int, int], Path]:
    shape = (size, size) if isinstance(size, int) else tuple(size)
    if len(shape) != 2:
        raise ValueError(
            f"{where}: `size` must be a side or (height, width), got {size!r}"
        )
    positive(where, height=shape[0], width=shape[1])
    if channels not in (1, 3):
        raise ValueError(f"{where}: `channels` must be 1 or 3, got {channels!r}")
    if damaged not in DAMAGED:
        raise ValueError(
            f"{where}: `damaged` must be one of {DAMAGED}, got {damaged!r}"
        )
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{where}: `folder` must be a folder, got {folder}")
    return (shape[0], shape[1]), folder


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def _all(
    where: str, paths: Iterable[Path], read: Callable[[Path], Any], damaged: str
) -> list[tuple[Path, Any]]:
    found = []
    for path in paths:
        try:
            found.append((path, read(path)))
        except DataError as error:
            if damaged == "raise":
                raise DataError(
                    f"{where}: {error}; damaged='skip' leaves such files out"
                ) from error
            warnings.warn(f"{where}: left out: {error}", stacklevel=3)
    return found


def _stacked(where: str, folder: Path, arrays: list[np.ndarray]) -> np.ndarray:
    if not arrays:
        raise DataError(
            f"{where}: {folder} must hold images ({', '.join(SUFFIXES)}), got none"
        )
    return np.stack(arrays)
