"""Augmentation: what each function does to a pixel, keys, labels, ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import data


KEY = jax.random.key(0)


@pytest.fixture
def x(rng):
    return jnp.asarray(rng.uniform(size=(4, 6, 8, 3)), "float32")


@pytest.fixture
def label(rng):
    return jnp.asarray(rng.integers(0, 5, (4, 6, 8)))


def test_each_image_has_its_own_key(x):
    """Half of the batch comes out as in the whole: devices may share it out."""
    functions = (
        lambda x: data.flip(KEY, x)[0],
        lambda x: data.noise(KEY, x, deviation=(0, 1)),
        lambda x: data.blur(KEY, x, sigma=(0.5, 2.0)),
        lambda x: data.gamma(KEY, x, power=(0.5, 2.0)),
        lambda x: data.shift_crop(KEY, x, padding=2)[0],
    )
    for run in functions:
        whole = run(x)
        np.testing.assert_allclose(whole[:2], run(x[:2]), rtol=1e-6, atol=1e-6)
        assert whole.shape == x.shape
        assert whole.dtype == x.dtype


def test_flips(x, label):
    for direction, axis in (("horizontal", 2), ("vertical", 1)):
        y, t = data.flip(KEY, x, label, direction=direction, probability=1.0)
        np.testing.assert_array_equal(y, np.flip(x, axis))
        np.testing.assert_array_equal(t, np.flip(label, axis))
        again, _ = data.flip(KEY, y, t, direction=direction, probability=1.0)
        np.testing.assert_array_equal(again, x)
    (same,) = data.flip(KEY, x, probability=0.0)
    np.testing.assert_array_equal(same, x)
    many = jnp.tile(x[:1], (400, 1, 1, 1))
    (y,) = data.flip(KEY, many, probability=0.25)
    turned = np.mean([not np.array_equal(a, x[0]) for a in np.asarray(y)])
    assert turned == pytest.approx(0.25, abs=0.07)


def test_shift_crop(x, label):
    y, t = data.shift_crop(KEY, x, label, padding=3)
    for i in range(len(x)):
        padded = np.pad(x[i], [(3, 3), (3, 3), (0, 0)])
        maps = np.pad(label[i], 3)
        found = [
            (r, c)
            for r in range(7)
            for c in range(7)
            if np.array_equal(padded[r : r + 6, c : c + 8], y[i])
            and np.array_equal(maps[r : r + 6, c : c + 8], t[i])
        ]
        assert len(found) == 1


def test_affine(x, label):
    same, t = data.affine(KEY, x, label)
    np.testing.assert_allclose(same, x, atol=1e-5)
    np.testing.assert_array_equal(t, label)
    square, maps = x[:, :, :6], label[:, :, :6]
    turned, t = data.affine(KEY, square, maps, degrees=(90, 90))
    np.testing.assert_allclose(turned, np.rot90(square, axes=(1, 2)), atol=1e-4)
    np.testing.assert_array_equal(t, np.rot90(maps, axes=(1, 2)))
    whole, _ = data.affine(KEY, x, label, degrees=(180, 180))
    np.testing.assert_allclose(whole, x[:, ::-1, ::-1], atol=1e-4)
    # A plane is scaled about the center, exactly where it is seen.
    plane = jnp.tile(jnp.arange(9.0).reshape(1, 1, 9, 1), (1, 9, 1, 1))
    (larger,) = data.affine(KEY, plane, scale=(2, 2))
    np.testing.assert_allclose(
        larger[0, 4, :, 0], 4 + (np.arange(9) - 4) / 2, atol=1e-5
    )
    (untouched,) = data.affine(KEY, x, degrees=(90, 90), probability=0.0)
    np.testing.assert_allclose(untouched, x, atol=1e-5)


def test_values(x):
    np.testing.assert_allclose(data.brightness(KEY, x, factor=(1, 1)), x, rtol=1e-6)
    bright = data.brightness(KEY, x, factor=(0.3, 1.2))
    ratios = np.asarray(bright / x).reshape(4, -1).min(1)
    assert len(set(ratios.round(4))) == 4
    assert 0.3 <= ratios.min() <= ratios.max() <= 1.2
    assert float(bright.max()) <= 1
    np.testing.assert_allclose(
        data.gamma(KEY, x, power=(2, 2)), np.asarray(x) ** 2, rtol=1e-5
    )
    np.testing.assert_array_equal(data.noise(KEY, x, deviation=(0, 0)), x)


def test_blur_is_a_gaussian(x):
    from scipy.ndimage import gaussian_filter

    found = data.blur(KEY, x, sigma=(1.5, 1.5), radius=6)
    for i in range(len(x)):
        expected = gaussian_filter(
            np.float64(x[i]), (1.5, 1.5, 0), mode="nearest", radius=(6, 6, 0)
        )
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)


def test_standardize(x):
    y = np.float64(data.standardize(5 + 3 * x))
    np.testing.assert_allclose(y.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2, 3)), 1, rtol=1e-4)
    assert not np.any(data.standardize(jnp.ones((1, 2, 2, 1))))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: data.flip(KEY, x, direction="up"), "one of .*, got 'up'"),
        (lambda x: data.flip(KEY, x, probability=2), r"must be in \[0, 1\], got 2"),
        (
            lambda x: data.flip(KEY, x, x[..., 0, 0]),
            "must be maps of the size",
        ),
        (lambda x: data.shift_crop(KEY, x, padding=0), "`padding` must be a positive"),
        (lambda x: data.affine(KEY, x, degrees=(2, 1)), r"a range .*, got \(2, 1\)"),
        (
            lambda x: data.affine(KEY, x, scale=(0, 1)),
            "`scale` must be positive",
        ),
        (lambda x: data.brightness(KEY, x, factor=(-1, 1)), "must not be negative"),
        (lambda x: data.gamma(KEY, x, power=(0, 1)), "`power` must be positive, got 0"),
        (lambda x: data.blur(KEY, x, sigma=(0, 1)), "`sigma` must be positive, got 0"),
        (lambda x: data.noise(KEY, x, deviation=(1,)), r"must be a range .*got \(1,\)"),
    ],
)
def test_refuses(call, match, x):
    with pytest.raises(ValueError, match=match):
        call(x)


def test_normalize(x):
    mean, deviation = (np.array(v) for v in data.augment.IMAGENET)
    expected = (np.float64(x) - mean) / deviation
    np.testing.assert_allclose(data.normalize(x), expected, rtol=1e-5, atol=1e-6)
    y = data.normalize(x, mean=(0.5, 0, 0), deviation=(2, 1, 1))
    np.testing.assert_allclose(y[..., 0], (x[..., 0] - 0.5) / 2, rtol=1e-6)
    with pytest.raises(ValueError, match=r"`mean` must have 1 numbers, .*got \(0.4"):
        data.normalize(x[..., :1])
    with pytest.raises(ValueError, match="`deviation` must be positive, got 0"):
        data.normalize(x, deviation=(1, 1, 0))


def test_distort(key, rng):
    """Planes are where the pixels come from: bilinear between the moved nodes."""
    rows, columns = np.indices((16, 24), float)
    planes = jnp.asarray(np.stack([rows, columns], -1)[None], "float32")
    image = jnp.tile(planes, (3, 1, 1, 1))
    label = jnp.arange(3 * 16 * 24).reshape(3, 16, 24)
    same, t = data.distort(key, image, label, magnitude=0)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(t, label)
    found, _ = data.distort(key, image, label, cells=(2, 3), magnitude=4)
    moves = np.asarray(found - image)[:, 2:-2, 3:-3]  # far from where zeros come in
    assert 0 < np.abs(moves).max() <= 4
    for move in moves:
        assert np.abs(move).max() > 0.1
    # One node in the middle of the rows at each third: straight lines between them.
    left = moves[:, :, :5]
    np.testing.assert_allclose(np.diff(left, 2, axis=2), 0, atol=1e-4)
    np.testing.assert_allclose(np.diff(moves[:, :5], 2, axis=1), 0, atol=1e-4)
    half, _ = data.distort(key, image[:2], label[:2], cells=(2, 3), magnitude=4)
    np.testing.assert_allclose(half, found[:2], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"half a cell, 2 pixels .*, got 3"):
        data.distort(key, image, magnitude=3)
    with pytest.raises(ValueError, match="`cells, rows` must be a positive integer"):
        data.distort(key, image, cells=(0, 3))
