"""What recipes of labeled images take: one label per image, or one per pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxvision import _checks


def check_labels(
    where: str,
    arrays: Mapping[str, Any],
    num_classes: int | None,
    *,
    of: str = "image",
    per_pixel: bool = False,
) -> None:
    """Raises unless arrays have images and labels that go together.

    Nothing is compiled. Of a batch inside `jax.jit`, whose values are not known, names,
    types and shapes are checked.

    Args:
        where: what errors begin with.
        arrays: `of`, (n, ...), and `"label"`, (n,) or with `per_pixel` (n, H, W).
        num_classes: labels are from 0 to below it; None where that is not known.
        of: name of the array whose rows have the labels.
        per_pixel: whether every pixel has one.

    Raises:
        TypeError: labels that are no integers.
        ValueError: one of both is missing, or labels of another shape or out of range.
    """
    if of not in arrays or "label" not in arrays:
        gives = "masks give" if per_pixel else "a folder of images per class gives"
        raise ValueError(
            f"{where}: `arrays` must have {of!r} and 'label', which {gives}, got "
            f"{', '.join(map(repr, sorted(arrays))) or 'none'}"
        )
    label, shape = arrays["label"], np.shape(arrays[of])
    if not hasattr(label, "dtype"):
        label = np.asarray(label)
    if not np.issubdtype(label.dtype, np.integer):
        raise TypeError(f"{where}: `label` must be integers, got {label.dtype}")
    expected = shape[: 3 if per_pixel else 1]
    if label.shape != expected or not expected:
        raise ValueError(
            f"{where}: `label` must have shape {expected}, one per "
            f"{'pixel' if per_pixel else 'row'} of {of!r}, got {label.shape}"
        )
    if num_classes is not None:
        _checks.labels_below(where, "label", label, num_classes)
