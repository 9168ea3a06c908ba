"""Layers of segmentation networks against NumPy, PyTorch's rules and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision import layers, metrics


def linear_reference(x, size, axis):
    """Half-pixel linear interpolation, pixel by pixel, the border repeated."""
    x = np.moveaxis(np.float64(x), axis, 0)
    n, rows = len(x), []
    for i in range(size):
        at = np.clip((i + 0.5) * n / size - 0.5, 0, n - 1)
        low = int(np.floor(at))
        high = min(low + 1, n - 1)
        rows.append((1 - (at - low)) * x[low] + (at - low) * x[high])
    return np.moveaxis(np.stack(rows), 0, axis)


@pytest.mark.parametrize("size", [(6, 8), (12, 4), (3, 9), (5, 16), (6, 7)])
def test_resize(size, rng):
    x = rng.normal(size=(2, 6, 8, 3)).astype("float32")
    expected = linear_reference(linear_reference(x, size[0], 1), size[1], 2)
    found = layers.resize_bilinear(x, *size)
    assert found.shape == (2, *size, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_resize_is_that_of_pytorch(rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(1, 5, 7, 2)).astype("float32")
    for size in ((10, 14), (8, 4), (5, 21)):
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(np.moveaxis(x, -1, 1).copy()),
            size=size,
            mode="bilinear",
            align_corners=False,
        )
        np.testing.assert_allclose(
            layers.resize_bilinear(x, *size),
            np.moveaxis(expected.numpy(), 1, -1),
            rtol=1e-4,
            atol=1e-5,
        )


def test_average_pool(rng):
    x = rng.normal(size=(2, 5, 7, 3)).astype("float32")
    found = layers.average_pool(x)
    assert found.shape == (2, 2, 3, 3)
    for i in range(2):
        for j in range(3):
            square = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2))
            np.testing.assert_allclose(found[:, i, j], square, rtol=1e-5, atol=1e-6)


def pooled(x, height, width):
    """Bin by bin."""
    _, h, w, _ = x.shape
    rows = [slice(i * h // height, -(-(i + 1) * h // height)) for i in range(height)]
    columns = [slice(j * w // width, -(-(j + 1) * w // width)) for j in range(width)]
    cells = [[np.float64(x)[:, r, c].mean((1, 2)) for c in columns] for r in rows]
    return np.moveaxis(np.asarray(cells), 2, 0)


ADAPTIVE = pytest.mark.parametrize("size", [(1, 1), (3, 4), (6, 2), (9, 8), (6, 8)])


@ADAPTIVE
def test_adaptive_average_pool(size, rng):
    x = rng.normal(size=(2, 6, 8, 3)).astype("float32")
    found = layers.adaptive_average_pool(x, *size)
    assert found.shape == (2, *size, 3)
    np.testing.assert_allclose(found, pooled(x, *size), rtol=1e-5, atol=1e-6)
    half = layers.adaptive_average_pool(jnp.asarray(x, jnp.bfloat16), *size)
    assert half.dtype == jnp.bfloat16
    rounded = np.asarray(jnp.asarray(x, jnp.bfloat16), "float32")
    np.testing.assert_allclose(
        half.astype("float32"), pooled(rounded, *size), rtol=2e-2, atol=1e-2
    )


@ADAPTIVE
def test_adaptive_average_pool_is_that_of_pytorch(size, rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 6, 8, 3)).astype("float32")
    expected = torch.nn.AdaptiveAvgPool2d(size)(
        torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    )
    np.testing.assert_allclose(
        layers.adaptive_average_pool(x, *size),
        np.moveaxis(expected.numpy(), 1, -1),
        rtol=1e-5,
        atol=1e-6,
    )


def test_instance_norm(rng):
    x = rng.normal(3.0, 2.0, size=(2, 4, 5, 3)).astype("float32")
    norm = layers.InstanceNorm(3)
    scale, bias = rng.normal(size=(2, 3)).astype("float32")
    norm.scale[...], norm.bias[...] = jnp.asarray(scale), jnp.asarray(bias)
    wide = np.float64(x)
    gap = wide - wide.mean((1, 2), keepdims=True)
    expected = gap / np.sqrt((gap**2).mean((1, 2), keepdims=True) + 1e-5) * scale + bias
    np.testing.assert_allclose(norm(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm(x)[:1], norm(x[:1]), rtol=1e-6)
    assert norm(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert not jax.tree.leaves(nnx.state(layers.InstanceNorm(3, affine=False)))


def test_spatial_attention(rng):
    layer = layers.SpatialAttention(3, rngs=nnx.Rngs(0))
    x = rng.normal(size=(1, 4, 5, 6)).astype("float32")
    both = np.pad(
        np.stack([x.mean(-1), x.max(-1)], -1), [(0, 0), (1, 1), (1, 1), (0, 0)]
    )
    kernel = np.asarray(layer.conv.kernel[...])
    gate = np.zeros((4, 5))
    for i in range(4):
        for j in range(5):
            gate[i, j] = np.sum(both[0, i : i + 3, j : j + 3] * kernel[..., 0])
    expected = x / (1 + np.exp(-gate))[None, ..., None]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "groups", "dilation", "methods"),
    [
        ((4, 4), 4, 1, ("native", "dense", "taps", "auto")),
        ((4, 4), 4, 3, ("native", "dense", "taps", "auto")),
        ((6, 4), 2, 2, ("native", "dense", "taps", "auto")),
        ((2, 4), 2, 1, ("native", "dense", "taps", "auto")),
        ((16, 4), 2, 2, ("native", "dense", "taps", "auto")),
    ],
)
def test_grouped_convolutions_are_equal(sizes, groups, dilation, methods, rng):
    x = jnp.asarray(rng.normal(size=(2, 7, 9, sizes[0])), "float32")
    reference = layers.conv(
        *sizes, 3, dilation=dilation, groups=groups, use_bias=False, rngs=nnx.Rngs(0)
    )
    weight = jnp.asarray(rng.normal(size=(2, 7, 9, sizes[1])), "float32")

    def run(method):
        layer = layers.GroupedConv(
            *sizes, 3, groups=groups, dilation=dilation, method=method, rngs=nnx.Rngs(1)
        )
        graph, _, rest = layers.split(layer)

        def total(kernel, x):
            out = nnx.merge(graph, {"kernel": kernel}, rest, copy=True)(x)
            return jnp.vdot(out, weight), out

        return jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(
            reference.kernel[...], x
        )

    for method in methods:
        (_, out), slopes = run(method)
        np.testing.assert_allclose(out, reference(x), rtol=1e-4, atol=1e-5)
        if method == "native":
            expected = slopes
        for ours, theirs in zip(slopes, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_grouped_convolution_chooses():
    chosen = {
        c: layers.GroupedConv(c, c, 3, groups=32, rngs=nnx.Rngs(0)).method
        for c in (32, 64, 256)
    }
    assert chosen == {32: "taps", 64: "dense", 256: "taps"}
    alone = layers.GroupedConv(4, 4, 3, groups=1, rngs=nnx.Rngs(0))
    assert alone.method == "native"


def test_encoder_and_decoder_are_nnunet_stages():
    def run(x):
        encoder = layers.UNetEncoder(2, (4, 6), rngs=nnx.Rngs(0))
        first, deep = encoder(x)
        return deep, layers.UNetDecoderStage(6, 4, rngs=nnx.Rngs(0))(deep, first)

    deep, out = nnx.eval_shape(run, jnp.ones((1, 10, 12, 2)))
    assert (deep.shape, out.shape) == ((1, 5, 6, 6), (1, 10, 12, 4))
    pair = layers.count_parameters(lambda: layers.ConvPair(3, 4, rngs=nnx.Rngs(0)))
    assert pair == (27 * 4 + 4 + 8) + (36 * 4 + 4 + 8)
    stage = layers.count_parameters(
        lambda: layers.UNetDecoderStage(6, 4, rngs=nnx.Rngs(0))
    )
    assert stage == (4 * 24 + 4) + (72 * 4 + 12) + (36 * 4 + 12)


def test_initial_values_are_hes():
    layer = layers.UNetDecoderStage(64, 64, rngs=nnx.Rngs(0))
    kernel = layer.pair.first.conv.kernel[...]
    gain = np.sqrt(2 / (1 + 1e-4))
    assert float(kernel.std()) == pytest.approx(gain / np.sqrt(9 * 128), rel=0.02)
    assert float(layer.up.kernel[...].std()) == pytest.approx(
        gain / np.sqrt(4 * 64), rel=0.02
    )
    for bias in (layer.pair.first.conv.bias, layer.up.bias):
        assert not np.any(bias[...])


def test_overlap_per_image(rng):
    predicted, label = rng.integers(0, 3, (2, 4, 5, 6))
    label[3][label[3] == 2] = 0
    found = metrics.overlap_per_image(predicted, label, 4)
    ious = metrics.overlap_per_image(predicted, label, 4, kind="iou", empty=1.0)
    for i in range(4):
        for k in range(3):
            p, t = predicted[i] == k, label[i] == k
            both, either = (p & t).sum(), (p | t).sum()
            assert found[i, k] == pytest.approx(2 * both / (p.sum() + t.sum()))
            assert ious[i, k] == pytest.approx(both / either)
    assert np.isnan(found[:, 3]).all()
    np.testing.assert_array_equal(ious[:, 3], 1)
    means = metrics.mean_over_images(found, label)
    assert means[2] == pytest.approx(float(found[:3, 2].mean()))
    assert np.isnan(means[3])
    np.testing.assert_array_equal(
        metrics.majority_label(label, 3),
        [1 + np.argmax(np.bincount(t.ravel(), minlength=3)[1:]) for t in label],
    )


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: layers.resize_bilinear(jnp.ones((1, 2, 2, 1)), 0, 2), "`height` must"),
        (lambda: layers.average_pool(jnp.ones((1, 1, 2, 1))), "at least 2 high and"),
        (
            lambda: layers.adaptive_average_pool(jnp.ones((1, 2, 2, 1)), 2, 0),
            "adaptive_average_pool: `width` must be a positive integer, got 0",
        ),
        (
            lambda: layers.adaptive_average_pool(jnp.ones((2, 2, 1)), 1, 1),
            r"`x` must be images .*, got shape \(2, 2, 1\)",
        ),
        (lambda: layers.InstanceNorm(0), "`channels` must be a positive integer"),
        (
            lambda: layers.InstanceNorm(3)(jnp.ones((2, 1, 1, 3))),
            r"InstanceNorm: `x` must have at least two positions, got .*\(2, 1, 1, 3\)",
        ),
        (lambda: layers.InstanceNorm(3)(jnp.ones((2, 3))), "at least two positions"),
        (
            lambda: layers.InstanceNorm(3)(jnp.ones((2, 4, 1))),
            r"InstanceNorm: `x` must be \(batch, ..., 3\), got shape \(2, 4, 1\)",
        ),
        (
            lambda: encoded((1, 4, 4, 1)),
            r"UNetEncoder: `x` must have at least two positions .* sides of 4 and 8 or "
            r"more, got shape \(1, 4, 4, 1\)",
        ),
        (lambda: layers.SpatialAttention(4, rngs=nnx.Rngs(0)), "must be odd, got 4"),
        (lambda: grouped(groups=3), "`groups` must divide 4 and 4 channels, got 3"),
        (lambda: grouped(kernel=2), "`kernel` must be odd, got 2"),
        (lambda: grouped(method="fast"), "`method` must be one of .* got 'fast'"),
        (lambda: metrics.overlap_per_image(ONES, ONES, 2, kind="f"), "got 'f'"),
        (lambda: metrics.overlap_per_image(ONES, ONES, 1), "from 0 to 0, got values"),
        (lambda: metrics.majority_label(ONES, 2, background=2), "from 0 to 1, got 2"),
        (
            lambda: metrics.mean_over_images(jnp.ones((2, 2)), ONES[:1]),
            "a row per image",
        ),
    ],
)
def test_refuses(call, match):
    with pytest.raises(ValueError, match=match):
        call()


ONES = np.ones((2, 3, 3), int)


def encoded(shape, norm=layers.InstanceNorm):
    def run(x):
        return layers.UNetEncoder(1, (2, 2, 2), norm=norm, rngs=nnx.Rngs(0))(x)

    return nnx.eval_shape(run, jnp.ones(shape))


def test_one_position_is_enough_for_batch_norm():
    assert encoded((2, 4, 4, 1), layers.BatchNorm)[-1].shape == (2, 1, 1, 2)
    assert encoded((1, 4, 8, 1))[-1].shape == (1, 1, 2, 2)


def grouped(kernel=3, groups=2, **options):
    return layers.GroupedConv(4, 4, kernel, groups=groups, rngs=nnx.Rngs(0), **options)
