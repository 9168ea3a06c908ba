"""Segmentation judged image by image: overlap, and the decision for a whole image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxvision import _checks
from jaxvision._checks import Values
from jaxvision.metrics.confusion import confusion_matrix, dice, iou


OVERLAPS = {"dice": dice, "iou": iou}


def overlap_per_image(
    predictions: Int[Values, "b *n"],
    labels: Int[Values, "b *n"],
    num_classes: int,
    *,
    kind: str = "dice",
    empty: float = np.nan,
) -> Float[Array, "b k"]:
    """Returns Dice or IoU of each class in each image.

    Args:
        predictions, labels: (B, ...), integers from 0 to K - 1.
        num_classes: K.
        kind: `"dice"` or `"iou"`.
        empty: value of a class that is in neither predictions nor labels of an image.

    Raises:
        TypeError: arguments are no integers.
        ValueError: shapes differ, a value is out of range, or an unknown kind.

    Example:
        >>> import jax.numpy as jnp
        >>> predicted, true = jnp.array([[0, 1, 1, 0]]), jnp.array([[0, 1, 0, 0]])
        >>> overlap_per_image(predicted, true, 2).round(4).tolist()
        [[0.8, 0.6667]]

    Source: `dice` and `iou` for each image, as Zhang et al., LungSSFNet, ICPR 2024,
    report lesions; means over images are `mean_over_images`.
    """
    where = "jaxvision.metrics.overlap_per_image"
    if kind not in OVERLAPS:
        raise ValueError(
            f"{where}: `kind` must be one of {tuple(OVERLAPS)}, got {kind!r}"
        )
    predictions, labels = _pair(where, predictions, labels, num_classes)

    def one(p: Array, t: Array) -> Array:
        return OVERLAPS[kind](confusion_matrix(p, t, num_classes), empty=empty)

    return jax.vmap(one)(predictions, labels)


def mean_over_images(
    overlaps: Float[Values, "b k"], labels: Int[Values, "b *n"]
) -> Float[Array, " k"]:
    """Returns the mean of each class over the images whose labels have that class.

    NaN for a class that no image has.

    Args:
        overlaps: (B, K), see `overlap_per_image`.
        labels: (B, ...), integers.

    Example:
        >>> import jax.numpy as jnp
        >>> values = jnp.array([[1.0, 0.5], [0.8, 0.0]])
        >>> labels = jnp.array([[0, 1], [0, 0]])
        >>> mean_over_images(values, labels).round(4).tolist()
        [0.9, 0.5]

    Source: Zhang et al., LungSSFNet, ICPR 2024: a lesion is averaged over the
    images of its label.
    """
    where = "jaxvision.metrics.mean_over_images"
    overlaps = _checks.floating(where, "overlaps", overlaps)
    labels = _checks.integers(where, "labels", labels)
    if overlaps.ndim != 2 or labels.shape[:1] != overlaps.shape[:1]:
        raise ValueError(
            f"{where}: `overlaps` must be (images, classes) with a row per image of "
            f"`labels`, got shapes {overlaps.shape} and {labels.shape}"
        )
    rows = labels.reshape(len(labels), -1)
    has = jnp.stack(
        [jnp.any(rows == k, axis=1) for k in range(overlaps.shape[1])], axis=1
    )
    count = jnp.sum(has, axis=0)
    total = jnp.sum(jnp.where(has, overlaps, 0), axis=0)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


def majority_label(
    predictions: Int[Values, "b *n"], num_classes: int, *, background: int = 0
) -> Int[Array, " b"]:
    """Returns the most frequent label of each image, the background not counted.

    The background where there is nothing else; the lower label where two are equal.

    Args:
        predictions: (B, ...), integers from 0 to K - 1.
        num_classes: K.
        background: a class.

    Raises:
        TypeError, ValueError: as `overlap_per_image`; `background` is no class.

    Example:
        >>> import jax.numpy as jnp
        >>> majority_label(jnp.array([[0, 0, 0, 2], [0, 0, 0, 0]]), 3).tolist()
        [2, 0]

    Source: ours for the decision that Zhang et al., LungSSFNet, ICPR 2024, report for
    an image and do not define: the most frequent lesion, none where no pixel is one.
    """
    where = "jaxvision.metrics.majority_label"
    predictions, _ = _pair(where, predictions, predictions, num_classes)
    if not 0 <= background < num_classes:
        raise ValueError(
            f"{where}: `background` must be from 0 to {num_classes - 1}, got "
            f"{background!r}"
        )
    rows = predictions.reshape(len(predictions), -1)
    counts = jnp.stack([jnp.sum(rows == k, axis=1) for k in range(num_classes)], 1)
    counts = counts.at[:, background].set(0)
    return jnp.where(jnp.max(counts, 1) > 0, jnp.argmax(counts, 1), background)


def _pair(
    where: str, predictions: Values, labels: Values, num_classes: int
) -> tuple[Array, Array]:
    predictions = _checks.integers(where, "predictions", predictions)
    labels = _checks.integers(where, "labels", labels)
    _checks.same_shape(where, predictions=predictions, labels=labels)
    _checks.rows(where, "predictions", predictions)
    for name, values in (("predictions", predictions), ("labels", labels)):
        _checks.labels_below(where, name, values, num_classes)
    return predictions, labels
