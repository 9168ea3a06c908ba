"""Synthetic data with known truth, drawn by NumPy from a seed."""

from __future__ import annotations

import numpy as np

from jaxvision.layers._checks import positive


def synthetic_rings(count: int, size: int = 128, *, seed: int) -> dict[str, np.ndarray]:
    """Returns thin rings among distractors on a textured background, and their masks.

    An image has one to three rings with walls of 1 to 3 pixels and radii of 6 to 14,
    two or three solid discs of such radii and two bright lines. All are as bright as
    each other; the label is the wall of the rings alone. The background is Gaussian
    noise, smoothed over 1 and over 6 pixels.

    Args:
        count: of images.
        size: side, at least 48.
        seed: of everything.

    Returns:
        `"image"` (n, size, size, 1) float32 and `"label"` (n, size, size) int32: 1 on
        the walls.

    Raises:
        ValueError: a size out of range.

    Example:
        >>> found = synthetic_rings(2, 64, seed=0)
        >>> found["image"].shape, sorted(set(found["label"].ravel().tolist()))
        ((2, 64, 64, 1), [0, 1])
    """
    where = "jaxvision.data.synthetic_rings"
    positive(where, count=count)
    if size < 48:
        raise ValueError(f"{where}: `size` must be at least 48, got {size!r}")
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(size)] * 2, indexing="ij"), -1)
    found = [_ring_image(rng, grid) for _ in range(count)]
    return {
        "image": np.stack([image for image, _ in found])[..., None].astype(np.float32),
        "label": np.stack([label for _, label in found]).astype(np.int32),
    }


def _ring_image(
    rng: np.random.Generator, grid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    size = len(grid)
    fine, wide = (smoothed(rng.normal(size=(size, size)), w) for w in (1, 6))
    image = 0.15 * (fine + wide)
    label = np.zeros((size, size), bool)

    def distance(radius):
        center = rng.uniform(radius + 3, size - radius - 4, 2)
        return np.hypot(*np.moveaxis(grid - center, -1, 0))

    for _ in range(rng.integers(2, 4)):
        radius = rng.uniform(6, 14)
        image[distance(radius) <= radius] += rng.uniform(0.6, 1.0)
    for _ in range(2):
        angle, offset = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8) * size
        normal = np.array([np.cos(angle), np.sin(angle)])
        gap = np.abs((grid - size / 2) @ normal - (offset - size / 2))
        image[gap <= rng.uniform(0.5, 1.5)] += rng.uniform(0.6, 1.0)
    for _ in range(rng.integers(1, 4)):
        radius, wall = rng.uniform(6, 14), rng.uniform(1, 3)
        gap = np.abs(distance(radius) - radius)
        image[gap <= wall / 2] += rng.uniform(0.6, 1.0)
        label |= gap <= wall / 2
    return image, label


def smoothed(noise: np.ndarray, width: float) -> np.ndarray:
    """Returns noise (..., n, n) under a Gaussian window, periodic, of variance 1."""
    frequencies = np.fft.fftfreq(noise.shape[-1]) ** 2
    window = np.exp(-2 * (np.pi * width) ** 2 * (frequencies[:, None] + frequencies))
    drawn = np.fft.ifft2(np.fft.fft2(noise) * window).real
    return drawn / drawn.std((-2, -1), keepdims=True)


def synthetic_gaussians(
    count: int,
    *,
    modes: int = 8,
    radius: float = 2.0,
    deviation: float = 0.02,
    seed: int,
) -> dict[str, np.ndarray]:
    """Returns points of a mixture of Gaussians on a circle, and their modes.

    Args:
        count: of points.
        modes: of Gaussians, equally spaced, the first at angle 0.
        radius: of the circle. deviation: of each Gaussian.
        seed: of everything.

    Returns:
        `"point"` (n, 2) float32, `"label"` (n,) int32, `"center"` (modes, 2) float32.

    Raises:
        ValueError: a size that is not positive.

    Example:
        >>> synthetic_gaussians(4, modes=3, seed=0)["point"].shape
        (4, 2)
    """
    positive("jaxvision.data.synthetic_gaussians", count=count, modes=modes)
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(modes) / modes
    centers = radius * np.stack([np.cos(angles), np.sin(angles)], -1)
    label = rng.integers(0, modes, count)
    points = centers[label] + deviation * rng.normal(size=(count, 2))
    return {
        "point": points.astype(np.float32),
        "label": label.astype(np.int32),
        "center": centers.astype(np.float32),
    }
