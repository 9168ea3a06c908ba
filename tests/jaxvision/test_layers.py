"""Convolutions, normalization, residual blocks and attentions against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.signal import correlate2d

from jaxcore import training, transforms
from jaxvision import layers


def rngs():
    return nnx.Rngs(0)


def convolved(x, kernel, bias, stride, pad, dilation=1):
    """NHWC correlation by SciPy, channel by channel."""
    sides = (dilation * (side - 1) + 1 for side in kernel.shape[:2])
    spread = np.zeros((*sides, *kernel.shape[2:]))
    spread[::dilation, ::dilation] = kernel
    rows, columns = pad if isinstance(pad, tuple) else (pad, pad)
    x = np.pad(np.float64(x), ((0, 0), (rows, rows), (columns, columns), (0, 0)))
    out = []
    for image in x:
        maps = [
            sum(
                correlate2d(image[..., i], spread[..., i, o], "valid")
                for i in range(x.shape[-1])
            )
            for o in range(spread.shape[-1])
        ]
        out.append(np.stack(maps, -1)[::stride, ::stride])
    return np.stack(out) + bias


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "padding", "pad"),
    [
        (3, 1, 1, None, 1),
        (3, 2, 1, None, 1),
        (1, 2, 1, None, 0),
        (3, 1, 2, None, 2),
        (3, 2, 1, 0, 0),
        ((1, 7), 1, 1, None, (0, 3)),
        ((7, 1), 1, 1, None, (3, 0)),
        ((3, 2), 2, 1, (0, 2), (0, 2)),
    ],
)
def test_convolution(rng, kernel, stride, dilation, padding, pad):
    x = rng.normal(size=(2, 7, 8, 3)).astype(np.float32)
    options = {"stride": stride, "dilation": dilation, "padding": padding}
    layer = layers.ConvNormActivation(
        3, 4, kernel, **options, use_bias=True, norm=None, activation=None, rngs=rngs()
    ).conv
    expected = convolved(
        x,
        np.asarray(layer.kernel[...]),
        np.asarray(layer.bias[...]),
        stride,
        pad,
        dilation,
    )
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding", "extra", "out"),
    [(4, 3, 2, 1, 0, 7), (7, 3, 2, 1, 1, 14), (4, 2, 2, 0, 0, 8), (5, 3, 1, 1, 0, 5)],
)
def test_transposed_convolution(rng, x64, side, kernel, stride, padding, extra, out):
    layer = layers.ConvTranspose(
        2, 3, kernel, stride=stride, padding=padding, output_padding=extra, rngs=rngs()
    )
    layer.kernel = nnx.Param(jnp.asarray(rng.normal(size=(kernel, kernel, 2, 3))))
    x = rng.normal(size=(1, side, side, 2))
    scattered = np.zeros((1, 40, 40, 3))
    for i in range(side):
        for j in range(side):
            value = np.einsum("bi,klio->bklo", x[:, i, j], layer.kernel[...])
            rows = slice(stride * i, stride * i + kernel)
            columns = slice(stride * j, stride * j + kernel)
            scattered[:, rows, columns] += value
    expected = scattered[:, padding : padding + out, padding : padding + out]
    found = layer(jnp.asarray(x))
    assert found.shape == (1, out, out, 3)
    np.testing.assert_allclose(
        found, expected + np.asarray(layer.bias[...]), atol=1e-12
    )


def test_transposed_convolution_is_the_adjoint(rng):
    """Without bias: <up(x), y> = <x, conv(y)> for the kernel with swapped channels."""
    up = layers.ConvTranspose(
        2, 3, 3, stride=2, padding=1, output_padding=1, use_bias=False, rngs=rngs()
    )
    x = jnp.asarray(rng.normal(size=(1, 5, 5, 2)), "float32")
    y = jnp.asarray(rng.normal(size=(1, 10, 10, 3)), "float32")
    down = layers.conv(3, 2, 3, stride=2, use_bias=False, rngs=rngs())
    down.kernel[...] = jnp.swapaxes(up.kernel[...], 2, 3)
    np.testing.assert_allclose(jnp.vdot(up(x), y), jnp.vdot(x, down(y)), rtol=1e-4)


def test_initial_values():
    """Uniform below 1 / sqrt(fan_in), as PyTorch's default."""
    layer = layers.conv(16, 64, 3, rngs=rngs())
    bound = 1 / np.sqrt(16 * 9)
    for values in (layer.kernel[...], layer.bias[...]):
        assert float(jnp.abs(values).max()) <= bound
    np.testing.assert_allclose(layer.kernel[...].std(), bound / np.sqrt(3), rtol=0.03)


def test_batch_norm_trains_and_evaluates(rng):
    norm = layers.BatchNorm(3)
    x = rng.normal(2, 3, size=(4, 5, 6, 3)).astype(np.float32)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = (x - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(norm(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norm.mean[...], 0.1 * mean, rtol=1e-5)
    unbiased = x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * unbiased, rtol=1e-5)
    norm.eval()
    before = norm.var[...]
    running = (x - 0.1 * mean) / np.sqrt(np.asarray(before) + 1e-5)
    np.testing.assert_allclose(norm(jnp.asarray(x)), running, rtol=1e-4, atol=1e-5)
    assert jnp.array_equal(norm.var[...], before)


def test_batch_norm_of_devices(rng):
    """Four devices have the moments of the global batch, and its gradients."""
    x = jnp.asarray(rng.normal(size=(8, 2, 3)), "float32")
    weights = jnp.asarray(rng.normal(size=(8, 2, 3)), "float32")
    graph, params, rest = layers.split(layers.BatchNorm(3))

    def loss(params, batch, key):
        norm = nnx.merge(graph, params, rest, copy=True)
        value = jnp.mean(norm(batch[0]) ** 3 * batch[1])
        return value, layers.statistics_of(norm)

    def step(batch):
        return training.value_and_grad(loss, has_aux=True)(params, batch, None)

    one = step((x, weights))
    split = jax.tree.map(lambda a: a.reshape(4, 2, *a.shape[1:]), (x, weights))
    four = jax.pmap(step, axis_name="data")(split)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[0], b, rtol=2e-5, atol=1e-6),
        four,
        one,
    )


def test_batch_norm_in_half_precision():
    norm = layers.BatchNorm(2)
    assert norm(jnp.ones((4, 2), jnp.bfloat16)).dtype == jnp.bfloat16
    assert norm.mean[...].dtype == jnp.float32
    assert layers.BatchNorm(2, affine=False).scale is None


@pytest.mark.parametrize("block", [layers.BasicBlock, layers.Bottleneck])
@pytest.mark.parametrize(("stride", "width"), [(1, 8), (2, 4)])
def test_residual_blocks(rng, block, stride, width):
    narrow = width // block.expansion * (stride if block.expansion == 4 else 1)
    model = block(8, narrow, stride, rngs=rngs())
    x = rng.normal(size=(2, 6, 6, 8)).astype(np.float32)
    model.eval()

    def layer(part, x):
        kernel = np.asarray(part.conv.kernel[...])
        step = part.conv.strides[0]
        y = convolved(x, kernel, 0.0, step, kernel.shape[0] // 2)
        return y / np.sqrt(1 + 1e-5)  # fresh running moments: 0 and 1

    y = x
    for i, part in enumerate(model.branch):
        y = layer(part, y)
        y = np.maximum(y, 0) if i + 1 < len(model.branch) else y
    same = stride == 1 and y.shape[-1] == 8
    assert (model.shortcut is None) == same
    short = x if same else layer(model.shortcut, x)
    np.testing.assert_allclose(
        jax.jit(lambda x: model(x))(x), np.maximum(y + short, 0), rtol=1e-4, atol=1e-5
    )


def test_simam(rng):
    x = rng.normal(size=(2, 5, 7, 3)).astype(np.float32)
    square = (x - x.mean((1, 2), keepdims=True)) ** 2
    inverse = square / (4 * (square.sum((1, 2), keepdims=True) / 34 + 1e-4)) + 0.5
    expected = x / (1 + np.exp(-inverse))
    np.testing.assert_allclose(layers.simam(x), expected, rtol=2e-5, atol=1e-6)
    gate = layers.simam(x) / x
    assert float(gate.min()) > 0.622
    assert float(gate.max()) < 1


def test_squeeze_excitation(rng):
    layer = layers.SqueezeExcitation(8, reduction=4, rngs=rngs())
    x = rng.normal(size=(2, 3, 3, 8)).astype(np.float32)
    hidden = (
        x.mean((1, 2)) @ layer.gate.down.kernel[...] + (layer.gate.down.bias[...][None])
    )
    logits = (
        np.maximum(hidden, 0) @ layer.gate.up.kernel[...]
        + (layer.gate.up.bias[...][None])
    )
    expected = x / (1 + np.exp(-np.asarray(logits)))[:, None, None, :]
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["auto", "direct", "separable", "fold"])
def test_frequency_attention(rng, method):
    layer = layers.MultiFrequencyAttention(
        8, grid=14, reduction=4, method=method, rngs=rngs()
    )
    assert layers.count_parameters(layer) == 2 * 8 * 8 // 4
    x = jnp.asarray(rng.normal(size=(2, 15, 14, 8)), "float32")
    found = transforms.multi_frequency_statistics(
        x, transforms.frequency_list("top", 16), 14, method="direct"
    )
    down, up = layer.gate.down.kernel[...], layer.gate.up.kernel[...]
    logits = sum(jax.nn.gelu(z @ down, approximate=False) @ up for z in found)
    expected = x * jax.nn.sigmoid(logits)[:, None, None, :]
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6)


def test_frequency_attention_of_groups(rng):
    pairs = ((0, 0), (0, 1))
    layer = layers.MultiFrequencyAttention(
        4,
        grid=7,
        frequencies=pairs,
        reduction=2,
        activation=jax.nn.relu,
        split_channels=True,
        rngs=rngs(),
    )
    x = jnp.asarray(rng.normal(size=(2, 7, 7, 4)), "float32")
    found = transforms.grouped_frequency_coefficients(x, pairs, 7)
    logits = jax.nn.relu(found @ layer.gate.down.kernel[...])
    logits = logits @ layer.gate.up.kernel[...]
    expected = x * jax.nn.sigmoid(logits)[:, None, None, :]
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.conv(3, 4, 0, rngs=rngs()), "`kernel` must be a positive"),
        (lambda: layers.conv(3, 4, True, rngs=rngs()), "`kernel` .* got True"),
        (
            lambda: layers.conv(3, 4, (1, 2, 3), rngs=rngs()),
            r"`kernel` must be a positive integer or a pair of them, got \(1, 2, 3\)",
        ),
        (lambda: layers.conv(3, 4, (3, 0), rngs=rngs()), r"or a pair .*\(3, 0\)"),
        (
            lambda: layers.conv(3, 4, 3, padding=(0, -1), rngs=rngs()),
            r"conv: `padding` must be an integer from 0 up or a pair .*\(0, -1\)",
        ),
        (lambda: layers.conv(3, 4, 1, groups=2, rngs=rngs()), "must divide 3 and 4"),
        (
            lambda: layers.BatchNorm(4)(jnp.ones((2, 5, 1))),
            r"BatchNorm: `x` must be \(batch, ..., 4\), got shape \(2, 5, 1\)",
        ),
        (lambda: layers.BatchNorm(4)(jnp.ones(4)), r"got shape \(4,\)"),
        (lambda: layers.BatchNorm(0), "BatchNorm: `channels` must be a positive"),
        (
            lambda: layers.ConvTranspose(1, 1, 3, padding=3, rngs=rngs()),
            "`padding` must be from 0 to 2, got 3",
        ),
        (
            lambda: layers.ConvTranspose(1, 1, 3, output_padding=1, rngs=rngs()),
            "`output_padding` must be from 0 to 0, less than the stride, got 1",
        ),
        (lambda: layers.simam(jnp.ones((1, 1, 1, 3))), "at least two positions"),
        (
            lambda: layers.simam(jnp.ones((1, 2, 2, 3)), epsilon=0),
            "`epsilon` must be positive, got 0",
        ),
        (
            lambda: layers.SqueezeExcitation(8, reduction=3, rngs=rngs()),
            "`reduction` must divide the 8 channels, got 3",
        ),
        (
            lambda: layers.SqueezeExcitation(16, rngs=rngs())(jnp.ones((1, 2, 2, 4))),
            "must have 16 channels, last",
        ),
        (
            lambda: layers.MultiFrequencyAttention(16, grid=6, rngs=rngs()),
            "`grid` must be an integer of at least 7, got 6",
        ),
        (
            lambda: layers.MultiFrequencyAttention(
                16, grid=7, frequencies=[(7, 0)], rngs=rngs()
            ),
            "`frequencies` must be pairs of integers from 0 to 6",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("norm", [layers.BatchNorm, layers.InstanceNorm])
def test_integers_are_no_maps(norm):
    with pytest.raises(TypeError, match="`x` must be real floating point, got int32"):
        norm(3)(jnp.ones((2, 4, 3), int))
