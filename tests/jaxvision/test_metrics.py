"""Metrics of the confusion matrix against scikit-learn, of images against SciPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from jaxvision import metrics


OF_MATRIX = (
    *(metrics.accuracy, metrics.precision, metrics.recall),
    *(metrics.dice, metrics.cohen_kappa),
)


@partial(jax.jit, static_argnums=2)
def everything(predicted, true, classes):
    matrix = metrics.confusion_matrix(predicted, true, classes)
    return matrix, metrics.iou(matrix, empty=0.0), [f(matrix) for f in OF_MATRIX]


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_against_scikit_learn(seed, classes):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, classes, (2, 4, 30))
    matrix, iou, found = everything(predicted, true, classes)
    t, p, names = true.ravel(), predicted.ravel(), list(range(classes))
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(t, p, labels=names))
    options = {"average": None, "labels": names, "zero_division": np.nan}
    expected = (
        sk.accuracy_score(t, p),
        sk.precision_score(t, p, **options),
        sk.recall_score(t, p, **options),
        sk.f1_score(t, p, **options),
        sk.cohen_kappa_score(t, p),
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    overlap = sk.jaccard_score(t, p, average=None, labels=names, zero_division=0)
    np.testing.assert_allclose(iou, overlap, rtol=1e-5)
    f1 = np.nan_to_num(found[3])
    np.testing.assert_allclose(iou, f1 / (2 - f1), rtol=1e-5)


def test_ignored_labels_and_values_inside_jit():
    true, predicted = jnp.array([0, 1, 255, -1, 1]), jnp.array([0, 0, 1, 1, 7])
    count = jax.jit(lambda p, t: metrics.confusion_matrix(p, t, 2, ignore=255))
    assert count(predicted, true).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "uint32", "int64"])
def test_labels_of_any_integer_dtype(dtype, rng, x64):
    """More classes than squares of them fit; 255 is ignored, as masks have it."""
    classes = 100 if dtype == "int8" else 200
    ignore = -1 if dtype.startswith("int") else 255
    true, predicted = rng.integers(0, classes, (2, 3, 40))
    true[:, :5] = ignore
    t, p = (x[true != ignore] for x in (true, predicted))
    expected = sk.confusion_matrix(t, p, labels=list(range(classes)))
    given = predicted.astype(dtype), true.astype(dtype)
    count = partial(metrics.confusion_matrix, num_classes=classes, ignore=ignore)
    np.testing.assert_array_equal(count(*given), expected)
    np.testing.assert_array_equal(jax.jit(count)(*given), expected)
    same = np.full((1, 4), classes - 1, dtype)
    overlap = metrics.overlap_per_image(same, same, classes, empty=0.0)
    np.testing.assert_array_equal(overlap[0], np.eye(classes)[-1])
    np.testing.assert_array_equal(metrics.majority_label(same, classes), classes - 1)
    distances = metrics.distance_within_classes(jnp.eye(4)[:, :2], same[0], 300)
    assert float(distances[classes - 1]) > 0


def test_matrices_add_up_and_map(rng):
    true, predicted = rng.integers(0, 3, (2, 5, 16))
    each = jax.vmap(lambda p, t: metrics.confusion_matrix(p, t, 3))(predicted, true)
    whole = metrics.confusion_matrix(predicted, true, 3)
    np.testing.assert_array_equal(each.sum(0), whole)
    dice = jax.vmap(metrics.dice)(each)
    np.testing.assert_allclose(dice[2], metrics.dice(each[2]), rtol=1e-6)


def test_classes_are_named():
    """With class 2 absent and class 0 the background, three figures for one result."""
    matrix = jnp.array([[90, 2, 0], [4, 4, 0], [0, 0, 0]])
    values = metrics.dice(matrix)
    assert np.isnan(values[2])
    assert metrics.dice(matrix, empty=1.0)[2] == 1
    np.testing.assert_allclose(metrics.mean_over(values, [1]), 8 / 14, rtol=1e-6)
    both = (180 / 186 + 8 / 14) / 2
    np.testing.assert_allclose(metrics.mean_over(values, "all"), both, rtol=1e-6)


def test_empty_matrices_are_nan():
    zeros = jnp.zeros((2, 2), int)
    assert np.isnan(metrics.accuracy(zeros))
    assert np.isnan(metrics.recall(zeros)).all()
    assert np.isnan(metrics.cohen_kappa(jnp.array([[3, 0], [0, 0]])))


def test_psnr(rng, x64):
    x, y = rng.uniform(size=(2, 3, 5, 6, 2))
    expected = 10 * np.log10(4 / ((x - y) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(metrics.psnr(x, y, maximum=2.0), expected, rtol=1e-12)
    assert np.isinf(metrics.psnr(x, x)).all()


def ssim(x, y, maximum, window, sigma):
    """One channel, by Gaussian filters of SciPy, cropped to where the window fits."""
    radius = window // 2

    def blur(z):
        out = scipy.ndimage.gaussian_filter(z, sigma, truncate=(radius + 0.1) / sigma)
        return out[radius : z.shape[0] - radius, radius : z.shape[1] - radius]

    c1, c2 = (0.01 * maximum) ** 2, (0.03 * maximum) ** 2
    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    top = (2 * mx * my + c1) * (2 * vxy + c2)
    return (top / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


@pytest.mark.parametrize(
    ("maximum", "window", "sigma"), [(1.0, 11, 1.5), (255.0, 7, 1.0)]
)
def test_ssim(rng, x64, maximum, window, sigma):
    x = scipy.ndimage.gaussian_filter(rng.uniform(size=(2, 16, 20, 3)), (0, 2, 2, 0))
    x, y = maximum * x, maximum * (x + 0.1 * rng.normal(size=x.shape))
    expected = [
        np.mean([ssim(a[..., c], b[..., c], maximum, window, sigma) for c in range(3)])
        for a, b in zip(x, y, strict=True)
    ]
    options = {"maximum": maximum, "window": window, "sigma": sigma}
    found = jax.jit(lambda x, y: metrics.ssim(x, y, **options))(x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(metrics.ssim(y, x, **options), found, rtol=1e-10)
    np.testing.assert_allclose(metrics.ssim(x, x, **options), [1, 1], rtol=1e-12)


def test_ssim_of_bright_flat_images_in_float32():
    """Variances of 1e-8 at a level of 1: differences of squares would be noise."""
    x64 = 1 + 1e-4 * np.random.default_rng(0).normal(size=(12, 12, 1))
    y64 = 1 + 1e-4 * np.random.default_rng(1).normal(size=(12, 12, 1))
    x, y = x64.astype(np.float32), y64.astype(np.float32)
    expected = ssim(np.float64(x)[..., 0], np.float64(y)[..., 0], 1e-3, 11, 1.5)
    np.testing.assert_allclose(metrics.ssim(x, y, maximum=1e-3), expected, rtol=1e-3)


IMAGE = jnp.ones((8, 8, 1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: metrics.confusion_matrix(jnp.zeros(2), jnp.zeros(2, int), 2),
            TypeError,
            "`predictions` must be integers, got float32",
        ),
        (
            lambda: metrics.confusion_matrix(jnp.array([2]), jnp.array([0]), 2),
            ValueError,
            "`predictions` must be from 0 to 1, got values from 2 to 2",
        ),
        (
            lambda: metrics.confusion_matrix(jnp.array([0]), jnp.array([-1]), 2),
            ValueError,
            "`labels` must be from 0 to 1, got values from -1 to -1",
        ),
        (
            lambda: metrics.confusion_matrix(jnp.array([0, 1]), jnp.array([0]), 2),
            ValueError,
            r"`labels` must have the shape of `predictions`, \(2,\), got \(1,\)",
        ),
        (
            lambda: metrics.confusion_matrix(jnp.array([0]), jnp.array([0]), 0),
            ValueError,
            "`num_classes` must be positive, got 0",
        ),
        (
            lambda: metrics.iou(jnp.ones((2, 3))),
            ValueError,
            r"metrics.iou: `matrix` must be \(K, K\), .* got shape \(2, 3\)",
        ),
        (
            lambda: metrics.mean_over(jnp.ones(3), [3]),
            ValueError,
            r"`classes` must be 'all' or numbers from 0 to 2, got \[3\]",
        ),
        (
            lambda: metrics.mean_over(jnp.ones(3), "lesion"),
            ValueError,
            "got 'lesion'",
        ),
        (
            lambda: metrics.psnr(IMAGE, IMAGE, maximum=0),
            ValueError,
            "`maximum` must be",
        ),
        (
            lambda: metrics.ssim(IMAGE, IMAGE),
            ValueError,
            r"of at least 11 x 11, got shape \(8, 8, 1\)",
        ),
        (
            lambda: metrics.ssim(IMAGE, IMAGE, window=4),
            ValueError,
            "`window` must be an odd positive integer, got 4",
        ),
        (
            lambda: metrics.ssim(IMAGE, IMAGE, window=3, sigma=0.0),
            ValueError,
            "`sigma` must be positive, got 0.0",
        ),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
