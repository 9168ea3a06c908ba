"""Data sets with as many rows of each class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def balance_classes(
    arrays: Mapping[str, np.ndarray], *, seed: int
) -> dict[str, np.ndarray]:
    """Returns arrays in which every class has as many rows as the largest one.

    Rows of a class are repeated in random order, each as often as any other but for
    one. Classes without rows stay without.

    Args:
        arrays: with equal first axes; `"label"` holds integers.
        seed: of the rows that are repeated once more.

    Raises:
        ValueError: there are no labels, or not one per row.

    Example:
        >>> found = balance_classes({"label": np.array([0, 0, 0, 2])}, seed=0)
        >>> np.bincount(found["label"]).tolist()
        [3, 0, 3]
    """
    where = "jaxvision.data.balance_classes"
    labels = np.asarray(arrays.get("label", np.zeros(())))
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{where}: `arrays` must have integers `label` (n,), got "
            f"{', '.join(f'{k!r} {np.shape(v)}' for k, v in arrays.items()) or 'none'}"
        )
    for name, array in arrays.items():
        if len(array) != len(labels):
            raise ValueError(
                f"{where}: `{name}` must have {len(labels)} rows, one per label, got "
                f"{len(array)}"
            )
    rng, rows = np.random.default_rng(seed), []
    classes, counts = np.unique(labels, return_counts=True)
    for label in classes:
        own = rng.permutation(np.flatnonzero(labels == label))
        rows.append(np.resize(own, counts.max()))
    order = np.concatenate(rows) if rows else np.zeros(0, int)
    return {name: np.asarray(array)[order] for name, array in arrays.items()}
