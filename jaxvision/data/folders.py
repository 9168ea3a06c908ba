"""Folders of image files: one per class, or images with masks of the same names."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.layers._checks import positive


SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SIDES = ("images", "masks")  # folders of a segmentation folder
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
    repeated for 3 channels. Images are turned as their EXIF orientation says, and lie
    on black where they are transparent.

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
            folder at once, the folders `images` and `masks` without `classes`, a
            damaged file, floats outside of [0, 1] or integers of more than 16 bits, or
            a name that `group` does not fit.
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
    if classes is None and names == list(SIDES):
        raise DataError(
            f"{where}: {folder} must hold images or a folder per class, got images/ "
            "and masks/, which are for a system of segmentation; where they are two "
            "classes, say so with classes=('images', 'masks')"
        )
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
        num_classes: labels must be below it, before masks are resized.
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
    _check_values(where, values, num_classes)
    sides = []
    for name in SIDES:
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
        image, mask = _opened(path), _opened(masks[path.stem])
        if image.size != mask.size:
            raise DataError(
                f"{masks[path.stem]} must have the size of its image, {image.height} x "
                f"{image.width}, got {mask.height} x {mask.width}"
            )
        label = _labels(masks[path.stem], mask, values, num_classes)
        return _resized(path, image, shape, channels, None), _nearest(label, shape)

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
    return _resized(path, _opened(path), shape, channels, crop)


def _opened(path: Path) -> Any:
    """Returns the image in a file, turned as its EXIF orientation says."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                if file.height * file.width > MOST_PIXELS:
                    raise UnreadableError(
                        f"{path} must have at most {MOST_PIXELS:,} pixels, got "
                        f"{file.height} x {file.width}"
                    )
                file.load()  # what is damaged shows here
                return ImageOps.exif_transpose(file)
    except UnreadableError:
        raise
    except (
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise UnreadableError(f"cannot read {path}: {error}") from error


def _resized(
    path: Path, image: Any, shape: tuple[int, int], channels: int, crop: int | None
) -> np.ndarray:
    """Returns an image (height, width, channels) of the size that is asked for."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        image = _deep(path, image)
    else:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            black = Image.new("RGBA", image.size, "black")
            image = Image.alpha_composite(black, image)
        image = image.convert("RGB" if channels == 3 else "L")
    before = (image.height, image.width)
    if crop is not None:
        if min(before) < crop:
            raise DataError(
                f"{path} must be at least {crop} high and wide, got {before[0]} x "
                f"{before[1]}"
            )
        top, left = (round((side - crop) / 2) for side in before)
        image, before = image.crop((left, top, left + crop, top + crop)), (crop, crop)
    if before != shape:
        image = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    if image.mode != "F":
        array = array / np.float32(255)
    # A deep image is gray: it is repeated for the channels that are asked for.
    array = np.broadcast_to(array.reshape(*shape, -1), (*shape, channels))
    return np.ascontiguousarray(array, np.float32)


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


def _nearest(label: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns labels (height, width) of another size, each that of the nearest."""
    from PIL import Image

    image = Image.fromarray(label)
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.NEAREST))


def _stored(path: Path, mask: Any) -> np.ndarray:
    """Returns the numbers that a mask stores: gray values, or indices."""
    # A palette stores labels as indices: they are kept, not turned into colors.
    if mask.mode in ("P", "L") or mask.mode.startswith("I"):
        return np.asarray(mask).astype(np.int32)
    if mask.mode == "1":
        return np.asarray(mask.convert("L")).astype(np.int32)
    if mask.mode == "F":
        array = np.asarray(mask)
        if not np.array_equal(array, np.trunc(array)):
            raise DataError(f"{path} must have whole numbers, got floats")
        return array.astype(np.int32)
    *colors, alpha = np.moveaxis(np.asarray(mask.convert("RGBA")), -1, 0)
    same = all(np.array_equal(colors[0], other) for other in colors[1:])
    if not same or alpha.min() < 255:
        raise DataError(
            f"{path} must be gray or have a palette, its values the labels, got "
            f"{'colors' if not same else 'transparent pixels'} ({mask.mode})"
        )
    return colors[0].astype(np.int32)


def _labels(
    path: Path,
    mask: Any,
    values: Mapping[int, int] | None,
    num_classes: int | None,
) -> np.ndarray:
    """Returns the labels of a mask in its own size, (height, width) int32."""
    label = _stored(path, mask)
    if values is not None:
        present, numbers = np.unique(label, return_inverse=True)
        other = sorted(set(present.tolist()) - values.keys())
        if other:
            raise DataError(
                f"{path} must have values among {sorted(values)}, got {other}"
            )
        table = np.array([values[value] for value in present.tolist()], np.int32)
        label = table[numbers].reshape(label.shape)
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
    shape = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(shape) != 2 or not all(_integer(side, 1) for side in shape):
        raise ValueError(
            f"{where}: `size` must be a side or (height, width), positive integers, "
            f"got {size!r}"
        )
    if channels not in (1, 3):
        raise ValueError(f"{where}: `channels` must be 1 or 3, got {channels!r}")
    check_damaged(where, damaged)
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{where}: `folder` must be a folder, got {folder}")
    return (int(shape[0]), int(shape[1])), folder


def _check_values(
    where: str, values: Mapping[int, int] | None, num_classes: int | None
) -> None:
    if num_classes is not None:
        positive(where, num_classes=num_classes)
    if values is None:
        return
    most = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    least = np.iinfo(np.int32).min  # TIFF may store what is no class as -1
    good = isinstance(values, Mapping) and all(
        _integer(value, least) and _integer(label, 0) and label <= most
        for value, label in values.items()
    )
    if not good or not values:
        upper = "up" if num_classes is None else f"to {most}"
        raise ValueError(
            f"{where}: `values` must have a label from 0 {upper} for each integer in "
            f"the masks, as {{0: 0, 255: 1}}, got {values!r}"
        )


def _integer(value: Any, least: int) -> bool:
    """Returns whether a value is an integer, Python's or NumPy's, of at least one."""
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return integer and bool(value >= least)


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
