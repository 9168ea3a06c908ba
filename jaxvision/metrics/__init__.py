"""Metrics as pure functions of arrays."""

from jaxvision.metrics.confusion import accuracy as accuracy
from jaxvision.metrics.confusion import cohen_kappa as cohen_kappa
from jaxvision.metrics.confusion import confusion_matrix as confusion_matrix
from jaxvision.metrics.confusion import dice as dice
from jaxvision.metrics.confusion import iou as iou
from jaxvision.metrics.confusion import mean_over as mean_over
from jaxvision.metrics.confusion import precision as precision
from jaxvision.metrics.confusion import recall as recall
from jaxvision.metrics.federated import federated_accuracy as federated_accuracy
from jaxvision.metrics.federated import federated_forgetting as federated_forgetting
from jaxvision.metrics.federated import personalized_accuracy as personalized_accuracy
from jaxvision.metrics.generative import ModeCoverage as ModeCoverage
from jaxvision.metrics.generative import (
    distance_within_classes as distance_within_classes,
)
from jaxvision.metrics.generative import frechet_distance as frechet_distance
from jaxvision.metrics.generative import (
    frechet_distance_of_moments as frechet_distance_of_moments,
)
from jaxvision.metrics.generative import kernel_distance as kernel_distance
from jaxvision.metrics.generative import (
    kernel_distance_over_subsets as kernel_distance_over_subsets,
)
from jaxvision.metrics.generative import kl_to_uniform as kl_to_uniform
from jaxvision.metrics.generative import mode_coverage as mode_coverage
from jaxvision.metrics.image import psnr as psnr
from jaxvision.metrics.image import ssim as ssim
from jaxvision.metrics.inception import InceptionFeatures as InceptionFeatures
from jaxvision.metrics.inception import (
    frechet_inception_distance as frechet_inception_distance,
)
from jaxvision.metrics.inception import (
    kernel_inception_distance as kernel_inception_distance,
)
from jaxvision.metrics.segmentation import majority_label as majority_label
from jaxvision.metrics.segmentation import mean_over_images as mean_over_images
from jaxvision.metrics.segmentation import overlap_per_image as overlap_per_image


__all__ = [
    "confusion_matrix", "accuracy", "precision", "recall", "dice", "iou",
    "cohen_kappa", "mean_over",
    "overlap_per_image", "mean_over_images", "majority_label",
    "psnr", "ssim",
    "frechet_distance", "frechet_distance_of_moments",
    "kernel_distance", "kernel_distance_over_subsets",
    "InceptionFeatures", "frechet_inception_distance", "kernel_inception_distance",
    "mode_coverage", "ModeCoverage", "kl_to_uniform", "distance_within_classes",
    "federated_accuracy", "federated_forgetting", "personalized_accuracy",
]  # fmt: skip
