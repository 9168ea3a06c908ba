"""The confusion matrix, and what is computed from it: accuracy, overlap, agreement.

For segmentation a pixel is a sample. Per image rather than pooled:
`jax.vmap(lambda p, t: dice(confusion_matrix(p, t, 3)))(predictions, labels)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxvision import _checks
from jaxvision._checks import Values


def confusion_matrix(
    predictions: Int[Values, "*n"],
    labels: Int[Values, "*n"],
    num_classes: int,
    *,
    ignore: int | None = None,
) -> Int[Array, "k k"]:
    """Returns how often each label (row) met each prediction (column).

    Matrices of batches add up.

    Args:
        predictions, labels: integers from 0 to K - 1, of one shape. Inside `jax.jit` a
            pair out of range is left out of the counts.
        num_classes: K.
        ignore: samples with this label do not count; it may be out of range.

    Returns:
        (K, K) integers.

    Raises:
        TypeError: arguments are no integers.
        ValueError: shapes differ, a value is out of range, or K is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> predicted, true = jnp.array([0, 1, 1, 0]), jnp.array([0, 1, 0, 255])
        >>> confusion_matrix(predicted, true, 2, ignore=255).tolist()
        [[1, 1], [0, 1]]
    """
    where = "jaxvision.metrics.confusion_matrix"
    if num_classes < 1:
        raise ValueError(f"{where}: `num_classes` must be positive, got {num_classes}")
    predictions = _checks.integers(where, "predictions", predictions)
    labels = _checks.integers(where, "labels", labels)
    _checks.same_shape(where, predictions=predictions, labels=labels)
    counts = jnp.ones(labels.shape, bool) if ignore is None else labels != ignore
    for name, values in (("predictions", predictions), ("labels", labels)):
        _checks.labels_below(where, name, jnp.where(counts, values, 0), num_classes)
        counts &= (values >= 0) & (values < num_classes)
    cell = jnp.where(counts, labels * num_classes + predictions, num_classes**2)
    found = jnp.zeros(num_classes**2, jnp.int32).at[cell.ravel()].add(1, mode="drop")
    return found.reshape(num_classes, num_classes)


def accuracy(matrix: Int[Values, "k k"]) -> Float[Array, ""]:
    """Returns the share of samples on the diagonal; NaN without samples.

    Example:
        >>> import jax.numpy as jnp
        >>> float(accuracy(jnp.array([[3, 1], [0, 4]])))
        0.875
    """
    counts = _matrix("accuracy", matrix)
    return _share(jnp.trace(counts), jnp.sum(counts), jnp.nan)


def precision(
    matrix: Int[Values, "k k"], *, empty: float = np.nan
) -> Float[Array, " k"]:
    """Returns TP / (TP + FP) of each class; `empty` where it was never predicted.

    Example:
        >>> import jax.numpy as jnp
        >>> precision(jnp.array([[3, 1], [0, 4]])).tolist()
        [1.0, 0.8]
    """
    true, false, _ = _parts("precision", matrix)
    return _share(true, true + false, empty)


def recall(matrix: Int[Values, "k k"], *, empty: float = np.nan) -> Float[Array, " k"]:
    """Returns TP / (TP + FN) of each class; `empty` where there is no such label.

    Example:
        >>> import jax.numpy as jnp
        >>> recall(jnp.array([[3, 1], [0, 4]])).tolist()
        [0.75, 1.0]
    """
    true, _, missed = _parts("recall", matrix)
    return _share(true, true + missed, empty)


def dice(matrix: Int[Values, "k k"], *, empty: float = np.nan) -> Float[Array, " k"]:
    """Returns 2 TP / (2 TP + FP + FN) of each class, which is F1 too.

    Args:
        matrix: of `confusion_matrix`, (K, K).
        empty: value of classes that are neither in labels nor in predictions.

    Returns:
        (K,), the background among them: choose with `mean_over`.

    Raises:
        ValueError: `matrix` is not square.

    Example:
        >>> import jax.numpy as jnp
        >>> dice(jnp.array([[3, 1], [0, 4]])).round(4).tolist()
        [0.8571, 0.8889]

    Source: Dice, Ecology 26 (1945), over the pixels or samples of a class.
    """
    true, false, missed = _parts("dice", matrix)
    return _share(2 * true, 2 * true + false + missed, empty)


def iou(matrix: Int[Values, "k k"], *, empty: float = np.nan) -> Float[Array, " k"]:
    """Returns TP / (TP + FP + FN) of each class, the Jaccard index.

    Arguments are those of `dice`; `iou = dice / (2 - dice)`, so it is never larger.

    Example:
        >>> import jax.numpy as jnp
        >>> iou(jnp.array([[3, 1], [0, 4]])).tolist()
        [0.75, 0.8]

    Source: Jaccard, New Phytologist 11 (1912).
    """
    true, false, missed = _parts("iou", matrix)
    return _share(true, true + false + missed, empty)


def cohen_kappa(matrix: Int[Values, "k k"]) -> Float[Array, ""]:
    """Returns Cohen's kappa, agreement beyond chance: (p - e) / (1 - e).

    `p` is the accuracy, `e = sum_k row_k column_k / n^2`; NaN if `e` is 1.

    Example:
        >>> import jax.numpy as jnp
        >>> float(cohen_kappa(jnp.array([[3, 1], [0, 4]])))
        0.75

    Source: Cohen, Educational and Psychological Measurement 20 (1960).
    """
    counts = _matrix("cohen_kappa", matrix)
    n = jnp.sum(counts)
    chance = jnp.sum((jnp.sum(counts, 0) / n) * (jnp.sum(counts, 1) / n))
    return _share(jnp.trace(counts) / n - chance, 1 - chance, jnp.nan)


def mean_over(
    values: Float[Values, " k"], classes: Sequence[int] | str
) -> Float[Array, ""]:
    """Returns the mean of a metric over the classes that are named, NaN left out.

    Args:
        values: (K,), one per class.
        classes: their numbers, or `"all"`. There is no default: whether the background
            counts changes the figure.

    Raises:
        ValueError: no class, or one that is not there.

    Example:
        >>> import jax.numpy as jnp
        >>> values = jnp.array([0.5, 1.0, jnp.nan])
        >>> float(mean_over(values, "all")), float(mean_over(values, [1, 2]))
        (0.75, 1.0)
    """
    where = "jaxvision.metrics.mean_over"
    values = _checks.floating(where, "values", values)
    count = values.shape[-1] if values.ndim else 0
    if isinstance(classes, str):
        chosen = tuple(range(count)) if classes == "all" else ()
    else:
        chosen = tuple(classes)
    if not chosen or not all(0 <= c < count for c in chosen):
        raise ValueError(
            f"{where}: `classes` must be 'all' or numbers from 0 to {count - 1}, got "
            f"{classes!r}"
        )
    return jnp.nanmean(values[..., np.asarray(chosen)], axis=-1)


def _parts(name: str, matrix: Values) -> tuple[Array, Array, Array]:
    """Returns true positives, false positives and false negatives of each class."""
    counts = _matrix(name, matrix)
    true = jnp.diagonal(counts)
    return true, jnp.sum(counts, 0) - true, jnp.sum(counts, 1) - true


def _matrix(name: str, matrix: Values) -> Array:
    counts = jnp.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(
            f"jaxvision.metrics.{name}: `matrix` must be (K, K), labels by "
            f"predictions, got shape {counts.shape}"
        )
    return _checks.wide(counts)


def _share(part: Array, whole: Array, empty: float) -> Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), empty)
