"""Spectral and conditional batch normalization against NumPy and PyTorch."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision import layers


def normalized(kernel, **options):
    """A linear layer with this kernel, normalized."""
    layer = nnx.Linear(*kernel.shape, rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.asarray(kernel)
    return layers.SpectralNorm(layer, rngs=nnx.Rngs(1), **options)


@pytest.mark.parametrize("shape", [(9, 4), (3, 7)])
def test_sigma_is_the_largest_singular_value(rng, shape):
    kernel = rng.normal(size=shape).astype(np.float32)
    layer = normalized(kernel, num_steps=50, warmup=1)
    x = jnp.asarray(rng.normal(size=(5, shape[0])), "float32")
    out = layer(x)
    largest = np.linalg.svd(kernel, compute_uv=False)[0]
    np.testing.assert_allclose(layer.sigma(), largest, rtol=1e-3)
    np.testing.assert_allclose(out, x @ kernel / largest, rtol=2e-3, atol=1e-3)
    # The layer is a contraction, and its scale is of no matter.
    gaps = np.linalg.norm(out[:, None] - out[None], axis=-1)
    apart = np.linalg.norm(x[:, None] - x[None], axis=-1)
    assert (gaps <= 1.001 * apart).all()
    scaled = normalized(7 * kernel, num_steps=50, warmup=1)
    np.testing.assert_allclose(scaled(x), out, rtol=1e-4, atol=1e-5)


def test_vectors_are_state_and_no_gradient_goes_through_the_iteration(rng):
    kernel = rng.normal(size=(6, 3)).astype(np.float32)
    x = jnp.asarray(rng.normal(size=(4, 6)), "float32")
    model = normalized(kernel, warmup=1)
    graph, params, rest = layers.split(model)

    @partial(jax.jit, static_argnums=0)
    def run(train, params, rest):
        model = nnx.merge(graph, params, rest, copy=True)
        model.train() if train else model.eval()
        return model(x).sum(), layers.statistics_of(model)

    def value(params, train=True):
        return run(train, params, rest)[0]

    (_, after), slope = jax.value_and_grad(lambda p: run(True, p, rest), has_aux=True)(
        params
    )
    u, v = after["u"], after["v"]
    expected = kernel @ rest["u"]
    np.testing.assert_allclose(v, expected / np.linalg.norm(expected), rtol=1e-5)
    assert float(jnp.abs(u - rest["u"]).max()) > 0
    _, same = run(False, params, rest)
    jax.tree.map(np.testing.assert_array_equal, rest, same)
    # d(W / s) with s = v^T W u, u and v fixed.
    sigma = float(v @ kernel @ u)
    flow = np.outer(x.sum(0), np.ones(3))
    by_hand = flow / sigma - (flow * kernel).sum() / sigma**2 * np.outer(v, u)
    np.testing.assert_allclose(slope["layer"]["kernel"], by_hand, rtol=1e-4, atol=1e-5)
    # A pure function of its parameters, in evaluation even without a copy.
    both = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    mapped = jax.jit(jax.vmap(value))(both)
    np.testing.assert_allclose(mapped[0], value(params), rtol=1e-5)
    model.eval()
    each = jax.jit(jax.vmap(lambda row: model(row[None])[0]))(x)
    np.testing.assert_allclose(each, jax.jit(model)(x), rtol=1e-5, atol=1e-6)


def test_a_kernel_of_zeros_stays(rng):
    layer = normalized(np.zeros((3, 2), np.float32))
    assert float(jnp.abs(layer(jnp.ones((1, 3)))).max()) == 0


def test_spectral_norm_is_that_of_pytorch(rng):
    """Far from convergence, two calls in training and one in evaluation."""
    torch = pytest.importorskip("torch")
    kernel = rng.normal(size=(3, 3, 2, 5)).astype(np.float32)
    x = rng.normal(size=(2, 6, 6, 2)).astype(np.float32)
    inner = layers.conv(2, 5, 3, rngs=nnx.Rngs(0))
    inner.kernel[...] = jnp.asarray(kernel)
    ours = layers.SpectralNorm(inner, warmup=1, rngs=nnx.Rngs(0))
    module = torch.nn.Conv2d(2, 5, 3, padding=1)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
        module.bias.copy_(torch.from_numpy(np.array(inner.bias[...])))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # the older form, as in the paper
        theirs = torch.nn.utils.spectral_norm(module)
    theirs.weight_u.copy_(torch.from_numpy(np.array(ours.u[...])))
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    graph, params, rest = layers.split(ours)

    @partial(jax.jit, static_argnums=0)
    def run(train, rest):
        model = nnx.merge(graph, params, rest, copy=True)
        model.train() if train else model.eval()
        return model(jnp.asarray(x)), layers.statistics_of(model)

    for train in (True, True, False):
        out, rest = run(train, rest)
        theirs.train(train)
        expected = theirs(images).detach().numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(rest["u"], theirs.weight_u, rtol=1e-5, atol=1e-6)


def test_conditional_batch_norm(rng):
    x = jnp.asarray(rng.normal(size=(6, 3, 2)), "float32")
    label = jnp.array([0, 2, 1, 0, 2, 2])
    plain = layers.BatchNorm(2, epsilon=2e-5)
    scale, bias = rng.normal(size=(2, 2)).astype(np.float32)
    plain.scale[...], plain.bias[...] = jnp.asarray(scale), jnp.asarray(bias)
    norm = layers.ConditionalBatchNorm(2, 3)
    norm.scale[...] = jnp.tile(scale, (3, 1))
    norm.bias[...] = jnp.tile(bias, (3, 1))
    # With equal rows it is a batch normalization, running moments included.
    np.testing.assert_allclose(norm(x, label), plain(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(norm.norm.var[...], plain.var[...], rtol=1e-6)
    # One row of the tables belongs to one class.
    before = norm(x, label)
    norm.scale[...] = norm.scale[...].at[2].mul(3)
    norm.bias[...] = norm.bias[...].at[1].add(1)
    after = norm(x, label)
    moved = np.abs(after - before).max(axis=(1, 2)) > 1e-3
    np.testing.assert_array_equal(moved, label != 0)
    # Classes have no order of their own.
    order = jnp.array([2, 0, 1])
    norm.scale[...], norm.bias[...] = norm.scale[order], norm.bias[order]
    np.testing.assert_allclose(
        norm(x, jnp.argsort(order)[label]), after, rtol=1e-5, atol=1e-6
    )
    norm.eval()
    single = norm(x[:1], label[:1])
    np.testing.assert_allclose(norm(x, label)[:1], single, rtol=1e-6)
    assert np.isnan(jax.jit(norm)(x[:2], jnp.array([0, -1]))[1]).all()
    # More classes than the dtype has numbers for.
    many = layers.ConditionalBatchNorm(2, 300)
    many.eval()
    found = jax.jit(many)(x[:2], np.array([3, -1], "int8"))
    np.testing.assert_array_equal(np.isnan(found).all((1, 2)), [False, True])


def test_known_labels_are_checked_inside_a_trace():
    norm, label = layers.ConditionalBatchNorm(2, 3), jnp.array([3])
    norm.eval()
    with pytest.raises(ValueError, match="`label` must be from 0 to 2, got va"):
        jax.eval_shape(lambda x: norm(x, label), jnp.ones((1, 2)))


def test_refused():
    with pytest.raises(
        TypeError, match="SpectralNorm: `layer` must have a `kernel`, got B"
    ):
        layers.SpectralNorm(layers.BatchNorm(2), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`num_steps` must be a positive integer"):
        normalized(np.ones((2, 2), np.float32), num_steps=0)
    with pytest.raises(ValueError, match="`num_classes` must be a positive integer"):
        layers.ConditionalBatchNorm(2, 0)
    norm = layers.ConditionalBatchNorm(2, 3)
    with pytest.raises(ValueError, match="`label` must be from 0 to 2, got val"):
        norm(jnp.ones((1, 2)), jnp.array([3]))
    with pytest.raises(ValueError, match=r"`label` must have shape \(2,\), one"):
        norm(jnp.ones((2, 2)), jnp.array([1]))
    with pytest.raises(
        ValueError, match=r"ConditionalB.* `x` must be \(batch, ..., 2\)"
    ):
        norm(jnp.ones((2, 1)), jnp.array([1, 1]))
    with pytest.raises(TypeError, match="ConditionalBatchNorm: `x` must be real flo"):
        norm(jnp.ones((2, 2), int), jnp.array([1, 1]))
    with pytest.raises(TypeError, match="`label` must be integers, got float32"):
        norm(jnp.ones((1, 2)), jnp.array([1.0]))
