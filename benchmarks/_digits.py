"""The 8 x 8 digits of scikit-learn, parted, and a classifier that judges others."""

from functools import cache

import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from jaxvision import metrics


TRAIN = 1400


def digits() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns images (n, 8, 8, 1) in [0, 1] and labels, to train on and to test on."""
    loaded = load_digits()
    images = loaded.images.astype(np.float32)[..., None] / 16
    order = np.random.default_rng(0).permutation(len(images))
    return tuple(  # type: ignore[return-value]
        {"image": images[rows], "label": loaded.target[rows].astype(np.int32)}
        for rows in (order[:TRAIN], order[TRAIN:])
    )


class Judge:
    """A small classifier of digits: its decisions, and its hidden layer as features."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.network = MLPClassifier((64,), max_iter=1000, random_state=0)
        self.network.fit(_flat(arrays["image"]), arrays["label"])

    def features(self, images: np.ndarray) -> np.ndarray:
        """Returns (n, 64) float32."""
        weights, biases = self.network.coefs_[0], self.network.intercepts_[0]
        hidden = np.maximum(_flat(images) @ weights + biases, 0)
        return hidden.astype(np.float32)

    def figures(
        self, arrays: dict[str, np.ndarray], against: np.ndarray
    ) -> dict[str, float]:
        """Returns how images with labels compare with real images."""
        found, label = self.features(arrays["image"]), arrays["label"]
        decided = self.network.predict(_flat(arrays["image"]))
        within = metrics.distance_within_classes(found, label, 10)
        real = self.features(against)
        return {
            "class_accuracy": float(np.mean(decided == label)),
            "kl_to_uniform": float(
                metrics.kl_to_uniform(np.bincount(decided, minlength=10))
            ),
            "distance_within_classes": float(jnp.mean(within)),
            "frechet_distance": self.frechet_distance(arrays["image"], against),
            "kernel_distance": float(metrics.kernel_distance(real, found)),
        }

    def frechet_distance(self, images: np.ndarray, against: np.ndarray) -> float:
        """Returns the distance of images to real ones, in the features."""
        real, found = self.features(against), self.features(images)
        return float(metrics.frechet_distance(real, found))


@cache
def judge() -> Judge:
    """Returns the judge that has seen the images to train on."""
    return Judge(digits()[0])


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)
