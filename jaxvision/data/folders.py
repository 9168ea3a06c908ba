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


class UnreadableError(DataError):
    """A file that is damaged or too large to open: what `damaged="skip"` leaves out."""


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
    labels. Images are resized (bilinear, averaged where they shrink) and in [0, 1]:
    bytes over 255, integers of 16 bits over 65535, floats as they are. Gray images are
    repeated for 3 channels.

    Args:
        folder: of files with the suffixes of `SUFFIXES`.
        size: of the result, side or (height, width).
        channels: 1 or 3.
        classes: names of the class folders, in the order of the labels.
        group: regular expression for names of files without suffix, whose first group
            says what is on them, `r"(fruit\d+)_"`: images of one thing have one number.
        damaged: `"raise"`, or `"skip"` with a warning that names the file: one that
            cannot be read. What is read and does not fit is an error in any case.

    Returns:
        `"image"` (n, height, width, channels) float32; with class folders `"label"`
        (n,) int32, with `group` also `"group"` (n,) int32.

    Raises:
        DataError: no such folder, no images, a class that is not there, both kinds of
            folder at once, a damaged file, floats outside of [0, 1] or integers of more
            than 16 bits, or a name that `group` does not fit.
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
        found = read_each(
            where, loose, lambda p: read_image(p, shape, channels), damaged
        )
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
        found = read_each(
            where, files, lambda p: read_image(p, shape, channels), damaged
        )
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

    Images are read as by `read_image_folder`, masks resized to the nearest pixel. A
    mask is gray or has a palette; its values or indices are the labels, unless `values`
    says what each stands for.

    Args:
        folder: with `images` and `masks`, every file in both, suffixes aside.
        size: of the result, side or (height, width).
        channels: of the images, 1 or 3.
        values: label by value in the masks, `{0: 0, 255: 1}`; other values are errors.
        num_classes: labels must be below it.
        damaged: `"raise"`, or `"skip"` with a warning that names the file: one that
            cannot be read, whose pair is skipped. What is read and does not fit is an
            error in any case.

    Returns:
        `"image"` (n, height, width, channels) float32 in [0, 1] and `"label"` (n,
        height, width) int32, in the order of the names.

    Raises:
        DataError: no such folders, no images, an image or mask without partner, or with
            two, sizes that differ, a damaged file, a mask in colors, or a value that is
            no label.
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
        sides.append(_by_stem(where, _images(folder / name)))
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

    found = read_each(where, [images[stem] for stem in sorted(images)], pair, damaged)
    return {
        "image": _stacked(where, folder, [image for _, (image, _) in found]),
        "label": _stacked(where, folder, [label for _, (_, label) in found]),
    }


def _by_stem(where: str, paths: list[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise DataError(
                f"{where}: {path.parent} must have one file of each name, suffixes "
                f"aside, got {found[path.stem].name} and {path.name}"
            )
        found[path.stem] = path
    return found


def read_image(
    path: Path, shape: tuple[int, int], channels: int, *, crop: int | None = None
) -> np.ndarray:
    """Returns an image (height, width, channels), float32 in [0, 1].

    Args:
        path: of the file.
        shape: height and width of the result.
        channels: 1 or 3.
        crop: side in pixels of a square in the middle, cut out before resizing.

    Raises:
        DataError: the file is no image, damaged, too large, or smaller than the crop.
    """
    return _opened(path, shape, channels, crop)[0]


def _opened(
    path: Path, shape: tuple[int, int], channels: int, crop: int | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Returns an image in its new size, and the size before; 0 channels is a mask."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                before = (file.height, file.width)
                if before[0] * before[1] > MOST_PIXELS:
                    raise UnreadableError(
                        f"{path} must have at most {MOST_PIXELS:,} pixels, got "
                        f"{before[0]} x {before[1]}"
                    )
                file.load()  # what is damaged shows here
                image = file.copy()
    except (
        OSError,
        SyntaxError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise UnreadableError(f"cannot read {path}: {error}") from error
    if not channels:
        image = _stored(path, image)
    elif image.mode == "F" or image.mode.startswith("I"):
        image = _deep(path, image)
    else:
        image = image.convert("RGB" if channels == 3 else "L")
    if crop is not None:
        if min(before) < crop:
            raise DataError(
                f"{path} must be at least {crop} high and wide, got {before[0]} x "
                f"{before[1]}"
            )
        top, left = (round((side - crop) / 2) for side in before)
        image, before = image.crop((left, top, left + crop, top + crop)), (crop, crop)
    if before != shape:
        how = Image.Resampling.BILINEAR if channels else Image.Resampling.NEAREST
        image = image.resize((shape[1], shape[0]), how)
    array = np.asarray(image)
    if not channels:
        return array, before
    if image.mode != "F":
        array = array / np.float32(255)
    # A deep image is gray: it is repeated for the channels that are asked for.
    array = np.broadcast_to(array.reshape(*shape, -1), (*shape, channels))
    return np.ascontiguousarray(array, np.float32), before


def _deep(path: Path, image: Any) -> Any:
    """Returns a gray image of 16 bits or of floats, as floats in [0, 1].

    Pillow has no colored images of this kind, and clips where it converts to colors.
    """
    from PIL import Image

    integers = image.mode != "F"
    array = np.asarray(image).astype(np.float32)
    most = 65535 if integers else 1
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= most):
        kind = "integers from 0 to 65535" if integers else "floats from 0 to 1"
        raise DataError(f"{path} must have {kind}, got values from {low:g} to {high:g}")
    return Image.fromarray(array / np.float32(most))


def _stored(path: Path, mask: Any) -> Any:
    """Returns a mask with the numbers that it stores: gray values, or indices."""
    from PIL import Image

    # A palette stores labels as indices: they are kept, not turned into colors.
    if mask.mode in ("P", "L") or mask.mode.startswith("I"):
        return mask
    if mask.mode == "1":
        return mask.convert("L")
    if mask.mode == "F":
        array = np.asarray(mask)
        if not np.array_equal(array, np.trunc(array)):
            raise DataError(f"{path} must have whole numbers, got floats")
        return Image.fromarray(array.astype(np.int32))
    *colors, alpha = np.moveaxis(np.asarray(mask.convert("RGBA")), -1, 0)
    same = all(np.array_equal(colors[0], other) for other in colors[1:])
    if not same or alpha.min() < 255:
        raise DataError(
            f"{path} must be gray or have a palette, its values the labels, got "
            f"{'colors' if not same else 'transparent pixels'} ({mask.mode})"
        )
    return Image.fromarray(colors[0])


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
    low, high = label.min(initial=0), label.max(initial=0)
    if low < 0 or (num_classes is not None and high >= num_classes):
        upper = "up" if num_classes is None else f"to {num_classes - 1}"
        raise DataError(
            f"{path} must have labels from 0 {upper}, got {low if low < 0 else high}; "
            "say what values stand for with values={...}"
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
    check_damaged(where, damaged)
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{where}: `folder` must be a folder, got {folder}")
    return (shape[0], shape[1]), folder


def check_damaged(where: str, damaged: str) -> None:
    """Raises ValueError for what is not to be done with a damaged file."""
    if damaged not in DAMAGED:
        raise ValueError(
            f"{where}: `damaged` must be one of {DAMAGED}, got {damaged!r}"
        )


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def read_each(
    where: str, paths: Iterable[Path], read: Callable[[Path], Any], damaged: str
) -> list[tuple[Path, Any]]:
    """Returns files with what a function reads in them, without what it cannot read."""
    found = []
    for path in paths:
        try:
            found.append((path, read(path)))
        except UnreadableError as error:
            if damaged == "raise":
                raise UnreadableError(
                    f"{where}: {error}; damaged='skip' leaves such files out"
                ) from error
            warnings.warn(f"{where}: left out: {error}", stacklevel=3)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
    return found


def _stacked(where: str, folder: Path, arrays: list[np.ndarray]) -> np.ndarray:
    if not arrays:
        archives = sorted(p.name for p in folder.glob("*.npz"))
        hint = f"; {archives[0]} is read by its own path" if archives else ""
        raise DataError(
            f"{where}: {folder} must hold images ({', '.join(SUFFIXES)}), got none"
            f"{hint}"
        )
    return np.stack(arrays)
