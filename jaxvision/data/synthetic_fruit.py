"""Synthetic photographs of fruit on black: color, skin and blotches say how ripe."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxvision.data.synthetic import smoothed
from jaxvision.layers._checks import positive


GRADES = ("unripe", "ripe", "overripe_ok", "overripe_defect")
LABELS = ("grade", "pretext")
# Color of the skin by ripeness 0, 1/2 and 1: green, yellow, orange.
SKIN = np.array([[0.25, 0.60, 0.15], [0.85, 0.75, 0.20], [0.90, 0.45, 0.12]])
BLOTCH = np.array([0.15, 0.09, 0.05])


class _Factors(NamedTuple):
    """What a fruit is like, one number per fruit."""

    ripeness: np.ndarray  # 0 to 1: color
    blotches: np.ndarray  # share of the skin that is dark, about
    coarse: np.ndarray  # bool: wrinkled skin, else fine specks
    long: np.ndarray  # bool


def synthetic_fruit(
    count: int,
    size: int = 32,
    *,
    labels: str = "grade",
    views: int = 1,
    seed: int,
) -> dict[str, np.ndarray]:
    """Returns drawn fruit on black with a grade, or with a number for a pretext task.

    A fruit is an ellipse whose color runs along it from greener to riper, with fine
    specks or coarse wrinkles and with dark blotches. With `labels="grade"` these follow
    the grade, with spread: 0 unripe (green), 1 ripe (yellow), 2 and 3 over-ripe
    (orange, blotched); an inner defect (3) shows in a wrinkled skin and larger
    blotches. With `labels="pretext"` color, skin and shape are independent, and the
    label numbers the combinations of two shapes, two skins and three colors, 0 to 11.

    Args:
        count: of images.
        size: side, at least 16.
        labels: `"grade"` or `"pretext"`.
        views: images of one fruit, which is turned and lit anew for each.
        seed: of everything.

    Returns:
        `"image"` (n, size, size, 3) float32 in [0, 1], `"label"` and `"group"` (n,)
        int32: the grade or combination, and the number of the fruit.

    Raises:
        ValueError: a size out of range, or unknown labels.

    Example:
        >>> found = synthetic_fruit(8, 16, views=2, seed=0)
        >>> found["image"].shape, found["group"].tolist()
        ((8, 16, 16, 3), [0, 0, 1, 1, 2, 2, 3, 3])
    """
    where = "jaxvision.data.synthetic_fruit"
    positive(where, count=count, views=views)
    if size < 16:
        raise ValueError(f"{where}: `size` must be at least 16, got {size!r}")
    if labels not in LABELS:
        raise ValueError(f"{where}: `labels` must be one of {LABELS}, got {labels!r}")
    rng = np.random.default_rng(seed)
    fruits = -(-count // views)
    label, factors = _graded(rng, fruits) if labels == "grade" else _free(rng, fruits)
    group = np.arange(count) // views
    image = _drawn(rng, _Factors(*(f[group] for f in factors)), size)
    return {
        "image": image,
        "label": label[group].astype(np.int32),
        "group": group.astype(np.int32),
    }


def _graded(rng: np.random.Generator, n: int) -> tuple[np.ndarray, _Factors]:
    grade = rng.permutation(np.arange(n) % len(GRADES))
    ripeness = np.array([0.12, 0.5, 0.85, 0.85])[grade] + 0.1 * rng.normal(size=n)
    blotches = np.array([0.0, 0.03, 0.12, 0.18])[grade] + 0.04 * rng.normal(size=n)
    coarse = rng.uniform(size=n) < np.array([0.05, 0.05, 0.05, 0.95])[grade]
    shape = rng.uniform(size=n) < 0.5
    return grade, _Factors(ripeness.clip(0, 1), blotches.clip(0, 0.4), coarse, shape)


def _free(rng: np.random.Generator, n: int) -> tuple[np.ndarray, _Factors]:
    color, coarse, shape = (rng.integers(0, k, n) for k in (3, 2, 2))
    ripeness = (color + rng.uniform(size=n)) / 3
    blotches = rng.uniform(0, 0.3, n) * (rng.uniform(size=n) < 0.5)
    factors = _Factors(ripeness, blotches, coarse == 1, shape == 1)
    return 6 * shape + 3 * coarse + color, factors


def _drawn(rng: np.random.Generator, f: _Factors, size: int) -> np.ndarray:
    """Returns images (n, size, size, 3), float32, of fruit with these factors."""
    n = len(f.ripeness)
    column = lambda x: np.reshape(x, (n, 1, 1))  # noqa: E731
    line = (np.arange(size) + 0.5) / size * 2 - 1
    angle = column(rng.uniform(0, 2 * np.pi, n))
    center = rng.uniform(-0.12, 0.12, (2, n))
    y, x = line[None, :, None] - column(center[0]), line - column(center[1])
    along, across = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x
    across = across + np.cos(angle) * y
    half = column(rng.uniform(0.62, 0.78, n))
    wide = half * column(np.where(f.long, 0.62, 0.88))
    radius = np.sqrt((along / half) ** 2 + (across / wide) ** 2)
    inside = np.clip((1 - radius) * size / 4, 0, 1)  # soft edge of two pixels

    hue = np.clip(column(f.ripeness) + 0.15 * along / half, 0, 1) * 2
    low = np.minimum(hue.astype(int), 1)
    part = (hue - low)[..., None]
    skin = (1 - part) * SKIN[low] + part * SKIN[low + 1]
    noise = rng.normal(size=(n, size, size))
    specks, wrinkles = np.where(noise > 1.2, -0.5, 0.0), 0.25 * smoothed(noise, 1.5)
    texture = np.where(column(f.coarse), wrinkles, specks)
    skin = skin * np.maximum(1 + texture, 0)[..., None]
    # The darkest share of a smooth field is blotched.
    field = smoothed(rng.normal(size=(n, size, size)), 2.5)
    seen = np.where(inside > 0.5, field, np.nan).reshape(n, -1)
    level = np.array(
        [np.nanquantile(row, q) for row, q in zip(seen, f.blotches, strict=True)]
    )
    dark = np.clip((column(level) - field) * 4, 0, 1) * column(f.blotches > 0)
    skin = skin * (1 - 0.8 * dark[..., None]) + 0.8 * dark[..., None] * BLOTCH
    shade = (1 - 0.35 * np.clip(radius, 0, 1) ** 2) * column(rng.uniform(0.75, 1.1, n))
    image = skin * (inside * shade)[..., None]
    image = image + 0.02 * rng.normal(size=image.shape)
    return np.clip(image, 0, 1).astype(np.float32)
