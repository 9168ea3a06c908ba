"""Figures of segmentation by lesions: rows of single images, and what a set says."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxvision import metrics


SIDES = ("negative", "positive")
OF_ALL = "_of_all"


def rows_of_images(
    predicted: Int[Array, "b h w"],
    label: Int[Array, "b h w"],
    num_classes: int,
    positive_class: int,
) -> dict[str, Float[Array, " b"]]:
    """Returns numbers of each image, of whose means `summary` makes the figures.

    Means over any set of images, in any batches, will do: what counts only in images
    with a lesion k is 0 in others, and `has_k` says which those are.

    Args:
        predicted, label: (B, H, W) integers.
        num_classes: background 0 included.
        positive_class: see `summary`.
    """
    overlaps = {
        kind: metrics.overlap_per_image(
            predicted, label, num_classes, kind=kind, empty=1.0
        )
        for kind in ("dice", "iou")
    }
    right = predicted == label
    rows = {"pixel_accuracy": jnp.mean(right, axis=(1, 2), dtype=jnp.float32)}
    background = overlaps["iou"][:, 0]
    for k in range(1, num_classes):
        has = jnp.any(label == k, axis=(1, 2)).astype(jnp.float32)
        dice, iou = overlaps["dice"][:, k], overlaps["iou"][:, k]
        rows |= {
            f"has_{k}": has,
            f"dice_{k}{OF_ALL}": has * dice,
            f"iou_{k}{OF_ALL}": has * iou,
            f"iou_{k}_with_background{OF_ALL}": has * (iou + background) / 2,
        }
    decided, true = (metrics.majority_label(x, num_classes) for x in (predicted, label))
    rows["accuracy"] = (decided == true).astype(jnp.float32)
    for i, side in enumerate(SIDES):
        for j, said in enumerate(SIDES):
            cell = ((true == positive_class) == i) & ((decided == positive_class) == j)
            rows[f"decided/{side}/{said}"] = cell.astype(jnp.float32)
    return rows


def summary(means: Mapping[str, float], num_classes: int) -> dict[str, float]:
    """Returns the figures of the paper's tables, of means over the images of a set.

    `dice_k`, `iou_k`: of lesion k, averaged over the images that have it;
    `iou_k_with_background`: mean of that and the IoU of the background in the same
    images, which is what the published IoU seems to be (it exceeds the Dice, which no
    IoU of one class can); `accuracy`, `precision`, `recall`, `f1`: of the decision for
    an image, its most frequent lesion or none, with one lesion positive;
    `pixel_accuracy`. NaN where no image says anything about it.

    Args:
        means: of the rows of `rows_of_images`.
        num_classes: background 0 included.
    """
    found = {"pixel_accuracy": means["pixel_accuracy"]}
    for k in range(1, num_classes):
        share = means[f"has_{k}"]
        for name in (f"dice_{k}", f"iou_{k}", f"iou_{k}_with_background"):
            found[name] = means[name + OF_ALL] / share if share else np.nan
    shares = [[means[f"decided/{i}/{j}"] for j in SIDES] for i in SIDES]
    matrix = jnp.asarray(shares, jnp.float32)
    found["accuracy"] = means["accuracy"]
    for name, function in (
        ("precision", metrics.precision),
        ("recall", metrics.recall),
        ("f1", metrics.dice),
    ):
        found[name] = float(function(matrix)[1])
    return {name: float(value) for name, value in found.items()}
