"""CelebA's aligned pictures of faces, by the partition that they are published in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxvision.data.folders import DataError, check_damaged, read_each, read_image
from jaxvision.layers._checks import positive


IMAGES, PARTITION = "img_align_celeba", "list_eval_partition.txt"
PARTS = {"train": 0, "valid": 1, "test": 2}


def read_celeba(
    folder: str | Path,
    size: int,
    *,
    channels: int = 3,
    split: str = "train",
    crop: int = 148,
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    """Returns the pictures of one part of CelebA, their middle alone.

    All 162,770 training images take 8 GB of memory at 64 x 64.

    Args:
        folder: with `img_align_celeba/*.jpg` and `list_eval_partition.txt`, which says
            by lines `000001.jpg 0` which picture is for training (0), validation (1)
            and test (2).
        size: side of the result.
        channels: 3, or 1 for gray.
        split: `"train"`, `"valid"`, `"test"`, or `"all"`, in the order of the file.
        crop: side in pixels of the square that is cut out of the middle before
            resizing.
        damaged: `"raise"`, or `"skip"` with a warning that names the file.

    Returns:
        `"image"` (n, size, size, channels) float32 in [0, 1].

    Raises:
        DataError: a file is missing, damaged or smaller than the crop, a line of the
            partition is of another form, or the part has no pictures.
        ValueError: another argument is not as above.

    Source: Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015; the square
    of 148 pixels is what Kim and Lee (Beta-Sigma VAE) train on.
    """
    where, folder = "jaxvision.data.read_celeba", Path(folder)
    positive(where, size=size, crop=crop)
    if channels not in (1, 3):
        raise ValueError(f"{where}: `channels` must be 1 or 3, got {channels!r}")
    if split not in (*PARTS, "all"):
        raise ValueError(
            f"{where}: `split` must be one of {(*PARTS, 'all')}, got {split!r}"
        )
    check_damaged(where, damaged)
    names = _names(where, folder / PARTITION, split)
    if not names:
        raise DataError(
            f"{where}: {folder / PARTITION} must name pictures for split={split!r}, "
            "got none"
        )
    images = np.empty((len(names), size, size, channels), np.float32)
    kept = 0

    def store(path: Path) -> None:
        nonlocal kept
        images[kept] = read_image(path, (size, size), channels, crop=crop)
        kept += 1

    read_each(where, [folder / IMAGES / name for name in names], store, damaged)
    if not kept:
        raise DataError(f"{where}: {folder / IMAGES} must hold pictures, got none")
    return {"image": images[:kept]}


def _names(where: str, path: Path, split: str) -> list[str]:
    """Returns the names of the files of a part."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: cannot read {path}: {error}") from error
    known = {str(number): part for part, number in PARTS.items()}
    names = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, part = line.strip().partition(" ")
        part = part.strip()
        if part not in known or Path(name).name != name:
            raise DataError(
                f"{where}: {path}, line {number}, must be the name of a file and 0, 1 "
                f"or 2, got {line!r}"
            )
        if split in ("all", known[part]):
            names.append(name)
    return names
