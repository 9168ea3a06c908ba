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
        lambda x: data.contrast(KEY, x, factor=(0.5, 2.0), channels=1.0),
        lambda x: data.low_resolution(KEY, x, zoom=(0.3, 1.0), probability=0.5),
    )
    for function in functions:
        run = jax.jit(function)
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


def test_resized_crop(x, label):
    """Rectangles inside the image, their area and their ratio of sides as drawn."""
    same, t = data.resized_crop(KEY, x, label, scale=(1, 1))
    np.testing.assert_allclose(same, x, atol=1e-5)
    np.testing.assert_array_equal(t, label)
    rows, columns = np.indices((20, 30), float)
    planes = np.tile(np.stack([rows, columns], -1), (200, 1, 1, 1)).astype("float32")
    drawn = {"scale": (0.3, 0.6), "ratio": (0.8, 1.25)}
    found, t = jax.jit(lambda x, t: data.resized_crop(KEY, x, t, **drawn))(
        planes, planes[..., 1].astype(int)
    )
    steps = [np.diff(found[..., a], axis=a + 1)[:, 9:10, 14:15] for a in (0, 1)]
    high, wide = (np.ravel(s) for s in steps)  # parts of the sides
    assert 0.3 <= (high * wide).min() < 0.33 < 0.57 < (high * wide).max() <= 0.601
    ratios = wide / high
    assert 0.799 <= ratios.min() < 0.83 < 1.2 < ratios.max() <= 1.251
    for axis, side, part in ((0, 20, high), (1, 30, wide)):
        center = np.asarray(found[:, 9:11, 14:16, axis]).mean((1, 2)) + 0.5
        first = center - part * side / 2
        assert first.min() > -0.01
        assert (first + part * side).max() < side + 0.01
        assert first.min() < side / 10
        assert np.std(first / (side * (1 - part))) == pytest.approx(12**-0.5, abs=0.04)
    np.testing.assert_allclose(t, found[..., 1], atol=0.5001)


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
    """Each channel by its own numbers, whatever the others are."""
    x = x * jnp.asarray([1, 10, 0.1]).reshape(1, 1, 1, 3)
    y = np.float64(data.standardize(5 + 3 * x))
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(y.std((1, 2)), 1, rtol=1e-3)
    assert not np.any(data.standardize(jnp.ones((1, 2, 2, 1))))


def test_contrast(x):
    """Around the mean of each channel, within its extremes."""
    z = np.float64(5 * x - 2)
    middle = z.mean((1, 2), keepdims=True)
    for factor in (0.25, 3.0):
        found = data.contrast(KEY, jnp.asarray(z, "float32"), factor=(factor, factor))
        low, high = z.min((1, 2), keepdims=True), z.max((1, 2), keepdims=True)
        expected = np.clip(middle + factor * (z - middle), low, high)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    drawn = data.contrast(KEY, x, factor=(0.5, 0.9), channels=1.0)
    ratios = (np.asarray(drawn).std((1, 2)) / np.asarray(x).std((1, 2))).ravel()
    assert len(set(ratios.round(4))) == 12
    assert 0.5 <= ratios.min() <= ratios.max() <= 0.9


def test_gamma_of_any_range(x):
    """Between the extremes of a channel, its moments kept, and of the negative."""
    z = np.float64(5 * x - 2)
    for inverted in (False, True):
        found = data.gamma(
            KEY, jnp.asarray(z, "float32"), power=(2, 2), inverted=inverted,
            keep_moments=True,
        )  # fmt: skip
        low, high = z.min((1, 2), keepdims=True), z.max((1, 2), keepdims=True)
        unit = (z - low) / (high - low)
        unit = 1 - (1 - unit) ** 2 if inverted else unit**2
        unit = (unit - unit.mean((1, 2), keepdims=True)) / unit.std(
            (1, 2), keepdims=True
        )
        expected = z.mean((1, 2), keepdims=True) + unit * z.std((1, 2), keepdims=True)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    plain = data.gamma(KEY, x, power=(2, 2), inverted=True)
    np.testing.assert_allclose(plain, 1 - (1 - np.asarray(x)) ** 2, atol=1e-6)
    flat = data.gamma(KEY, jnp.full((1, 3, 3, 1), 4.0), power=(2, 3), keep_moments=True)
    np.testing.assert_allclose(flat, 4.0, rtol=1e-6)
    # A range about 1 is drawn from below and above 1 equally often.
    half = jnp.full((400, 1, 1, 1), 0.5)
    powers = -np.log2(np.asarray(data.gamma(KEY, half, power=(0.5, 5.0))).ravel())
    assert 0.5 <= powers.min() < 0.55 < 4.5 < powers.max() <= 5
    assert np.mean(powers < 1) == pytest.approx(0.5, abs=0.08)


def test_low_resolution(rng):
    """Nearest pixels of a coarse grid, then lines between them; PyTorch's rules."""
    image = rng.uniform(size=(12, 9))

    def expected(zoom):
        out = image
        for axis in (0, 1):
            side = image.shape[axis]
            few = round(side * zoom)
            near = np.floor((np.arange(few) + 0.5) * side / few + 1e-9).astype(int)
            coarse = np.moveaxis(np.take(out, near, axis), axis, 0)
            at = (np.arange(side) + 0.5) * few / side - 0.5
            columns = [
                np.interp(at, np.arange(few), c) for c in coarse.reshape(few, -1).T
            ]
            out = np.stack(columns, 1).reshape(side, *coarse.shape[1:])
            out = np.moveaxis(out, 0, axis)
        return out

    x = jnp.asarray(image.reshape(1, 12, 9, 1), "float32")
    run = jax.jit(lambda z: data.low_resolution(KEY, x, zoom=z), static_argnums=0)
    for zoom in (0.5, 0.61, 1.0):
        np.testing.assert_allclose(
            run((zoom, zoom))[0, :, :, 0], expected(zoom), rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(run((1.0, 1.0)), x, rtol=1e-6)


CHANCES = {
    "brightness": {"factor": (0.5, 0.5), "limits": None, "channels": 0.5},
    "contrast": {"factor": (0.5, 0.5), "channels": 0.5},
    "gamma": {"power": (2.0, 2.0), "channels": 0.5},
    "blur": {"sigma": (1.0, 1.0), "radius": 1, "channels": 0.5},
    "low_resolution": {"zoom": (0.5, 0.5), "channels": 0.5},
    "noise": {"deviation": (1.0, 1.0), "shared": True},
}


@pytest.mark.parametrize("name", CHANCES)
def test_probabilities_of_images_and_channels(name, rng):
    """How many images and channels differ afterwards; the others do not at all."""
    one = rng.uniform(0.1, 0.9, size=(1, 4, 4, 3))
    x = jnp.asarray(np.tile(one, (600, 1, 1, 1)), "float32")
    function = getattr(data, name)
    found = function(KEY, x, probability=0.4, **CHANCES[name])
    changed = np.any(np.asarray(found != x), axis=(1, 2))
    images = changed.any(1)
    if name == "noise":  # one noise for all channels
        moved = np.asarray(found - x)
        np.testing.assert_allclose(moved, moved[..., :1] * np.ones(3), atol=1e-5)
        assert images.mean() == pytest.approx(0.4, abs=0.07)
        return
    # Of a changed image each channel with one half, so that 1/8 of them stay whole.
    assert images.mean() == pytest.approx(0.4 * 7 / 8, abs=0.07)
    assert changed.mean() == pytest.approx(0.4 / 2, abs=0.05)
    whole = function(KEY, x[:2], **{**CHANCES[name], "channels": None})
    together = function(KEY, x[:2], **{**CHANCES[name], "channels": 1.0})
    np.testing.assert_allclose(whole, together, rtol=1e-5, atol=1e-6)


def test_rotation_and_scaling_have_a_probability_each():
    plane = jnp.tile(jnp.arange(9.0).reshape(1, 1, 9, 1), (600, 9, 1, 1))
    (y,) = data.affine(
        KEY, plane, degrees=(90, 90), scale=(2, 2), probability=(0.4, 0.2)
    )
    slopes = np.asarray(y[:, 4, 5, 0] - y[:, 4, 4, 0]).round(3)
    turned = np.abs(slopes) < 0.1
    assert turned.mean() == pytest.approx(0.4, abs=0.06)
    assert np.mean(slopes[~turned] == 0.5) == pytest.approx(0.2, abs=0.06)
    down = np.abs(np.asarray(y[:, 5, 4, 0] - y[:, 4, 4, 0]).round(3))[turned]
    assert set(down) == {0.5, 1.0}
    assert np.mean(down == 0.5) == pytest.approx(0.2, abs=0.08)


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
        (lambda x: data.contrast(KEY, x, factor=(-1, 1)), "must not be negative"),
        (
            lambda x: data.resized_crop(KEY, x, scale=(0.5, 2)),
            r"`scale` must be at most 1, got \(0.5, 2\)",
        ),
        (
            lambda x: data.resized_crop(KEY, x, scale=(1, 1), ratio=(0, 1)),
            "`ratio` must be positive, got 0",
        ),
        (lambda x: data.low_resolution(KEY, x, zoom=(0, 1)), "`zoom` must be positive"),
        (
            lambda x: data.low_resolution(KEY, x, zoom=(0.5, 1.5)),
            r"`zoom` must be at most 1, got \(0.5, 1.5\)",
        ),
        (
            lambda x: data.contrast(KEY, x, factor=(1, 1), channels=2),
            r"`channels` must be in \[0, 1\], got 2",
        ),
        (
            lambda x: data.affine(KEY, x, probability=(0.5, 2)),
            r"`probability` must be in \[0, 1\], got 2",
        ),
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
