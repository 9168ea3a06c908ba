"""Metrics as pure functions of arrays."""

from jaxvision.metrics.confusion import accuracy as accuracy
from jaxvision.metrics.confusion import cohen_kappa as cohen_kappa
from jaxvision.metrics.confusion import confusion_matrix as confusion_matrix
from jaxvision.metrics.confusion import dice as dice
from jaxvision.metrics.confusion import iou as iou
from jaxvision.metrics.confusion import mean_over as mean_over
from jaxvision.metrics.confusion import precision as precision
from jaxvision.metrics.confusion import recall as recall
from jaxvision.metrics.image import psnr as psnr
from jaxvision.metrics.image import ssim as ssim
from jaxvision.metrics.segmentation import majority_label as majority_label
from jaxvision.metrics.segmentation import mean_over_images as mean_over_images
from jaxvision.metrics.segmentation import overlap_per_image as overlap_per_image


__all__ = [
    "confusion_matrix", "accuracy", "precision", "recall", "dice", "iou",
    "cohen_kappa", "mean_over",
    "overlap_per_image", "mean_over_images", "majority_label",
    "psnr", "ssim",
]  # fmt: skip
