"""Parts of ViTs beside the network: dropout, attention shown, positions resized."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxvision
from jaxvision import layers, weights
from tests.jaxvision.test_backbones import TINY, drawn


@dataclass
class Network:
    """A ViT of 2 x 2 patches as pure functions of its parameters."""

    graph: nnx.GraphDef
    params: dict
    rest: dict

    def __call__(self, name, *arguments, params=None):
        def run(params, *arguments):
            model = nnx.merge(self.graph, params, self.rest, copy=True)
            if name == "rollout":
                return layers.attention_rollout(model, *arguments)
            return getattr(model, name)(*arguments)

        return jax.jit(run)(self.params if params is None else params, *arguments)


@pytest.fixture(scope="module")
def vit():
    return Network(*drawn(lambda: build(8, dropout=0.5)))


def build(side, **options):
    return layers.ViT(TINY, image_size=side, num_classes=3, **options, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (2, 8, 8, 3))


@pytest.mark.parametrize(
    ("size", "side", "count", "with_thousand", "tokens"),
    [  # the last but one: torchvision's counts
        ("B/16", 224, 85_801_732, 86_567_656, 197),
        ("B/32", 224, 87_458_308, 88_224_232, 50),
        ("L/16", 224, 303_305_732, 304_326_632, 197),
        ("H/14", 518, 632_194_564, 633_470_440, 1370),
    ],
)
def test_published_sizes(size, side, count, with_thousand, tokens):
    """Four classes and a thousand; the stride is the patch: 37 x 37 of them in 518."""
    model = nnx.eval_shape(
        lambda: layers.ViT(size, image_size=side, num_classes=4, rngs=nnx.Rngs(0))
    )
    assert layers.count_parameters(model) == count
    hidden = model.head.kernel.shape[0]
    assert count + 996 * (hidden + 1) == with_thousand
    assert model.positions.shape == (1, tokens, hidden)
    patch = layers.vit.SIZES[size].patch
    assert model.embed.strides == model.embed.kernel.shape[:2] == (patch, patch)
    assert np.prod(model.embed.kernel.shape[:3]) == {16: 768, 32: 3072, 14: 588}[patch]


def test_initial_values():
    """Positions N(0, 0.02), class token and head 0, the rest by Xavier."""
    size = layers.Size(4, 1, 64, 2, 128)
    model = layers.ViT(size, image_size=32, num_classes=5, rngs=nnx.Rngs(0))
    _, params, _ = layers.split(model)
    positions = params["positions"]
    np.testing.assert_allclose(positions.std(), 0.02, rtol=0.04)
    assert abs(float(positions.mean())) < 0.001
    assert 0.06 < float(jnp.abs(positions).max()) < 0.12  # normal, not uniform
    for zeros in (params["class_token"], params["head"]["kernel"]):
        np.testing.assert_array_equal(zeros, 0)
    block = params["encoder"]["blocks"][0]
    for name, shape in (("up", (64, 128)), ("down", (128, 64))):
        assert block[name]["kernel"].shape == shape
        bound = np.sqrt(6 / sum(shape))
        np.testing.assert_allclose(
            jnp.abs(block[name]["kernel"]).max(), bound, rtol=0.01
        )
        assert 0 < float(jnp.abs(block[name]["bias"]).max()) < 1e-5
    bound = np.sqrt(6 / 128)  # query, key and value as matrices of their own
    for layer in ("qkv", "out"):
        kernel = block["attention"][layer]["kernel"]
        np.testing.assert_allclose(jnp.abs(kernel).max(), bound, rtol=0.01)
        np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.03)


def test_dropout(key):
    x = jnp.ones((300, 40))
    np.testing.assert_array_equal(layers.dropout(None, x, 0.5), x)
    np.testing.assert_array_equal(layers.dropout(key, x, 0.0), x)
    found = np.asarray(layers.dropout(key, x, 0.25))
    assert set(np.unique(found)) == {0.0, np.float32(4 / 3)}
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(found[:7], layers.dropout(key, x[:7], 0.25))
    with pytest.raises(ValueError, match=r"`rate` must be in \[0, 1\), got 1"):
        layers.dropout(key, x, 1)
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\), got -1"):
        layers.EncoderBlock(4, 2, 4, dropout=-1, rngs=nnx.Rngs(0))


def test_only_a_key_drops(vit, images, key):
    plain = vit("__call__", images)
    np.testing.assert_array_equal(plain, vit("__call__", images))
    one, two = (vit("__call__", images, jax.random.fold_in(key, i)) for i in range(2))
    assert float(jnp.abs(one - plain).max()) > 0
    assert float(jnp.abs(one - two).max()) > 0
    first = vit("__call__", images[:1], jax.random.fold_in(key, 0))
    np.testing.assert_allclose(first, one[:1], rtol=1e-4, atol=1e-5)
    head = vit.params["head"]
    features = vit("features", images)
    kernel, bias = map(np.asarray, (head["kernel"], head["bias"]))
    expected = np.asarray(features) @ kernel + bias
    np.testing.assert_allclose(expected, plain, rtol=1e-4, atol=1e-4)


def test_attention_weights(vit, images):
    """Softmax of scaled products, by loops; rows sum to 1; they mix the values."""
    graph, params, rest = layers.split(
        nnx.eval_shape(lambda: layers.SelfAttention(16, 2, rngs=nnx.Rngs(0)))
    )
    params = vit.params["encoder"]["blocks"][0]["attention"]
    layer = nnx.merge(graph, params, rest, copy=True)
    x = jax.random.normal(jax.random.key(2), (1, 5, 16))
    found = np.float64(layer.weights(x))
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    qkv = np.float64(x[0]) @ np.float64(params["qkv"]["kernel"])
    qkv = qkv + np.float64(params["qkv"]["bias"])
    mixed = np.zeros((5, 16))
    for head in range(2):
        own = slice(8 * head, 8 * head + 8)
        q, k, v = (part[:, own] for part in np.split(qkv, 3, axis=-1))
        for i in range(5):
            scores = np.exp([q[i] @ k[j] / np.sqrt(8) for j in range(5)])
            np.testing.assert_allclose(
                found[0, head, i], scores / scores.sum(), rtol=1e-4
            )
            mixed[i, own] = found[0, head, i] @ v
    out = mixed @ np.float64(params["out"]["kernel"]) + np.float64(
        params["out"]["bias"]
    )
    np.testing.assert_allclose(layer(x)[0], out, rtol=1e-4, atol=1e-4)


def test_rollout(vit, images):
    found = vit("rollout", images)
    assert found.shape == (2, 2, 2)
    assert float(found.min()) > 0
    assert float(found.sum((1, 2)).max()) < 1
    # Attention that looks everywhere alike: half of what is left goes out per block.
    params = jax.tree.map(lambda x: x, vit.params)
    for block in params["encoder"]["blocks"].values():
        block["attention"]["qkv"] = jax.tree.map(
            jnp.zeros_like, block["attention"]["qkv"]
        )
    even = vit("rollout", images, params=params)
    np.testing.assert_allclose(even, (1 - 0.5**TINY.depth) / 5, rtol=1e-5)


def test_patches_belong_to_their_positions(vit, images):
    """Moved with their positions they mean the same; alone only if these are equal."""
    moved = jnp.roll(images, 4, axis=2)  # left and right patches change places
    order = jnp.asarray([0, 2, 1, 4, 3])
    both = {**vit.params, "positions": vit.params["positions"][:, order]}
    none = {**vit.params, "positions": jnp.zeros_like(vit.params["positions"])}
    plain = vit("features", images)
    same = {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(vit("features", moved, params=both), plain, **same)
    assert float(jnp.abs(vit("features", moved) - plain).max()) > 0.01
    np.testing.assert_allclose(
        vit("features", moved, params=none),
        vit("features", images, params=none),
        **same,
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("align", [True, False])
def test_bicubic(rng, align):
    """Against PyTorch's values, and a loop over pixels with the kernel written out."""
    row = jnp.asarray([0.0, 1.0, 4.0, 2.0]).reshape(1, 1, 4, 1)
    known = {
        (True, 6): [0.0, 0.288, 1.672, 3.688, 3.548, 2.0],
        (False, 6): [-0.0868056, 0.21875, 1.5520831, 3.7604167, 3.28125, 1.8263896],
        (True, 3): [0.0, 2.78125, 2.0],
        (False, 3): [0.091435, 2.78125, 2.3391204],
    }
    for size in (6, 3):
        found = layers.resize_bicubic(row, 1, size, align_corners=align)
        np.testing.assert_allclose(found.ravel(), known[align, size], atol=1e-6)
    x = rng.normal(size=(2, 5, 4, 3))
    found = layers.resize_bicubic(jnp.asarray(x), 3, 7, align_corners=align)
    np.testing.assert_allclose(found, by_loops(x, 3, 7, align), rtol=1e-10, atol=1e-12)
    same = layers.resize_bicubic(jnp.asarray(x), 5, 4, align_corners=align)
    np.testing.assert_allclose(same, x, rtol=1e-12)


def by_loops(x, height, width, align):
    def weight(t, a=-0.75):
        t = abs(t)
        if t < 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    def line(values, size):
        n, out = len(values), []
        for i in range(size):
            at = i * (n - 1) / (size - 1) if align else (i + 0.5) * n / size - 0.5
            pixels = range(int(np.floor(at)) - 1, int(np.floor(at)) + 3)
            out.append(
                sum(weight(at - p) * values[min(max(p, 0), n - 1)] for p in pixels)
            )
        return np.array(out)

    tall = np.apply_along_axis(line, 1, x, height)
    return np.apply_along_axis(line, 2, tall, width)


def test_positions(rng):
    positions = rng.normal(size=(1, 10, 4)).astype("float32")
    same = layers.resize_positions(positions, 3)
    np.testing.assert_allclose(same, positions, rtol=1e-6, atol=1e-6)
    wide = layers.resize_positions(positions, 5)
    assert wide.shape == (1, 26, 4)
    np.testing.assert_array_equal(wide[:, 0], positions[:, 0])
    # Corners stay on corners.
    np.testing.assert_allclose(
        wide[0, [1, 5, 21, 25]], positions[0, [1, 3, 7, 9]], 1e-5
    )
    with pytest.raises(ValueError, match=r"must be \(1, 1 \+ s\^2, width\), got shape"):
        layers.resize_positions(jnp.zeros((1, 9, 4)), 3)
    with pytest.raises(ValueError, match="`side` must be a positive integer, got 0"):
        layers.resize_positions(jnp.zeros((1, 10, 4)), 0)


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_weights_for_another_size_of_images(vit, source, tmp_path):
    model = nnx.merge(vit.graph, vit.params, vit.rest)
    state = weights.to_foreign(model, source)
    np.savez(tmp_path / "vit.npz", **state)
    larger = nnx.eval_shape(lambda: build(12))
    with pytest.raises(ValueError, match=r"positions: \(1, 10, 16\), \(1, 5, 16\)"):
        jaxvision.load_weights(larger, tmp_path / "vit.npz", source=source)
    found = jaxvision.load_weights(
        larger, tmp_path / "vit.npz", source=source, resize_positions=True
    )
    assert found.complete
    assert found.resized == ("positions",)
    np.testing.assert_allclose(
        larger.positions[...],
        layers.resize_positions(vit.params["positions"], 3),
        rtol=1e-6,
    )
    equal = nnx.eval_shape(lambda: build(8))
    assert not weights.set_weights(
        equal, state, source=source, resize_positions=True
    ).resized
    np.testing.assert_array_equal(equal.positions[...], vit.params["positions"])


def test_weights_refuse(tmp_path):
    other = nnx.eval_shape(lambda: nnx.Linear(2, 2, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="`model` must be a ViT for resize_positions"):
        weights.set_weights(other, {}, resize_positions=True)
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"cannot read .*a.npz: "):
        jaxvision.load_weights(other, tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", kernel=np.array([None]))
    with pytest.raises(ValueError, match=r"cannot read .*b.npz: .*allow_pickle"):
        jaxvision.load_weights(other, tmp_path / "b.npz")
