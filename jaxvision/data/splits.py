"""Rows to train on and rows to test on: classes in proportion, things kept together."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int

from jaxvision._checks import Values


def stratified_split(
    labels: Int[Values, " n"],
    share: float,
    *,
    seed: Any,
    groups: Int[Values, " n"] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of two parts that have every class in the same proportion.

    Without groups the second part has `round(share n)` rows, and of each class as many
    as its share says, rounded down or up. With groups, all rows of a group are in one
    part: groups are dealt in random order to the part that lacks more of their classes,
    so sizes and proportions hold about.

    Args:
        labels: class of each row, integers.
        share: of the second part, in [0, 1).
        seed: of `numpy.random.default_rng`.
        groups: number of the thing that each row shows.

    Returns:
        Two sorted arrays of row numbers.

    Raises:
        ValueError: a share out of range, or arrays that are not (n,) integers.

    Example:
        >>> import numpy as np
        >>> first, second = stratified_split(np.repeat([0, 1], [6, 3]), 1 / 3, seed=0)
        >>> len(first), np.bincount(np.repeat([0, 1], [6, 3])[second]).tolist()
        (6, [2, 1])
    """
    where = "jaxvision.data.stratified_split"
    if not 0 <= share < 1:
        raise ValueError(f"{where}: `share` must be in [0, 1), got {share!r}")
    labels = _integers(where, "labels", labels)
    rng = np.random.default_rng(seed)
    classes, numbers = np.unique(labels, return_inverse=True)
    if groups is None:
        second = _dealt(rng, numbers, len(classes), share)
    else:
        groups = _integers(where, "groups", groups)
        if len(groups) != len(labels):
            raise ValueError(
                f"{where}: `groups` must have one number per row, {len(labels)}, got "
                f"{len(groups)}"
            )
        second = _grouped(rng, numbers, groups, share)
    return np.flatnonzero(~second), np.flatnonzero(second)


def _dealt(
    rng: np.random.Generator, numbers: np.ndarray, classes: int, share: float
) -> np.ndarray:
    exact = share * np.bincount(numbers, minlength=classes)
    counts = np.floor(exact).astype(int)
    # What rounding down leaves goes to the largest remainders, at random among equals.
    left = round(share * len(numbers)) - counts.sum()
    order = np.lexsort((rng.permutation(classes), counts - exact))
    counts[order[: max(left, 0)]] += 1
    second = np.zeros(len(numbers), bool)
    for number, count in enumerate(counts):
        rows = np.flatnonzero(numbers == number)
        second[rng.permutation(rows)[:count]] = True
    return second


def _grouped(
    rng: np.random.Generator, numbers: np.ndarray, groups: np.ndarray, share: float
) -> np.ndarray:
    if share == 0:
        return np.zeros(len(numbers), bool)
    names, members = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), numbers.max(initial=0) + 1))
    np.add.at(counts, (members, numbers), 1)
    total = counts.sum(0)
    shares = np.array([1 - share, share])
    held = np.zeros((2, len(total)))
    chosen = np.zeros(len(names), int)
    for name in rng.permutation(len(names)):
        lack = total - held / shares[:, None]  # in rows of the whole
        scores = (lack / np.maximum(total, 1)) @ counts[name]
        chosen[name] = int(scores[1] > scores[0])
        held[chosen[name]] += counts[name]
    return chosen[members] == 1


def _integers(where: str, name: str, values: Values) -> np.ndarray:
    found = np.asarray(values)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer) or not found.size:
        raise ValueError(
            f"{where}: `{name}` must be (n,) integers, not empty, got "
            f"{found.dtype}{list(found.shape)}"
        )
    return found
