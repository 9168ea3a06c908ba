"""ResNet and ViT: parameters as torchvision counts them, shapes, known outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision import layers


# Numbers of parameters that torchvision's documentation gives.
RESNETS = {
    18: 11_689_512,
    34: 21_797_672,
    50: 25_557_032,
    101: 44_549_160,
    152: 60_192_808,
}
TINY = layers.Size(4, 2, 16, 2, 32)


def drawn(build, seed=0):
    """Graph and trees of a network, drawn by NumPy: eager building is slow."""
    rng = np.random.default_rng(seed)
    graph, params, rest = layers.split(nnx.eval_shape(build))
    draw = lambda s: jnp.asarray(rng.normal(size=s.shape) / 3, s.dtype)  # noqa: E731
    positive = lambda s: jnp.abs(draw(s))  # noqa: E731
    return graph, jax.tree.map(draw, params), jax.tree.map(positive, rest)


@pytest.mark.parametrize(("depth", "count"), RESNETS.items())
def test_resnet_parameters(depth, count):
    assert layers.count_parameters(lambda: layers.ResNet(depth, rngs=nnx.Rngs(0))) == (
        count
    )


def test_resnet_stages():
    def run(x):
        model = layers.ResNet(34, num_classes=7, in_channels=1, rngs=nnx.Rngs(0))
        return model.stages(x), model(x), jnp.zeros(model.channels)

    stages, logits, widths = nnx.eval_shape(run, jnp.ones((2, 96, 65, 1)))
    assert [s.shape[1:3] for s in stages] == [(24, 17), (12, 9), (6, 5), (3, 3)]
    assert tuple(s.shape[3] for s in stages) == widths.shape == (64, 128, 256, 512)
    assert logits.shape == (2, 7)


def test_resnet_with_zero_blocks_is_its_stem():
    """With the last scale and bias of a block at 0, maps pass it unchanged."""
    graph, params, rest = drawn(
        lambda: layers.ResNet(18, num_classes=0, width=2, rngs=nnx.Rngs(0))
    )
    for stage in params["blocks"].values():
        for block in stage.values():
            norm = block["branch"][1]["norm"]
            norm.update(jax.tree.map(jnp.zeros_like, norm))

    @jax.jit
    def run(params, x):
        merged = nnx.merge(graph, params, rest, copy=True)
        merged.eval()
        stem = nnx.max_pool(merged.stem(x), (3, 3), (2, 2), ((1, 1), (1, 1)))
        return merged.stages(x)[0], stem, merged(x)

    x = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    first, stem, pooled = run(params, x)
    # The stem ends in a ReLU, which the ReLU of the blocks leaves as it is.
    np.testing.assert_array_equal(first, stem)
    assert pooled.shape == (1, 16)


def test_vit_in_numpy():
    graph, params, rest = drawn(
        lambda: layers.ViT(TINY, image_size=8, num_classes=3, rngs=nnx.Rngs(0))
    )
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    run = jax.jit(lambda p, x: nnx.merge(graph, p, rest, copy=True)(x))
    expected = vit_reference(jax.tree.map(np.float64, params), np.float64(x))
    np.testing.assert_allclose(run(params, x), expected, rtol=2e-4, atol=2e-4)
    # A pure function: one set of parameters per row, gradients.
    both = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    assert jax.vmap(run, (0, None))(both, x).shape == (2, 2, 3)
    slope = jax.grad(lambda p: run(p, x).sum())(params)
    assert float(jnp.abs(slope["embed"]["kernel"]).max()) > 0


def vit_reference(p, x):
    """Equations 1 to 4 of the paper, loops over patches and heads."""
    from scipy.special import erf

    def linear(p, x):
        return x @ p["kernel"] + p["bias"]

    def norm(p, x):
        gap = x - x.mean(-1, keepdims=True)
        return (
            gap / np.sqrt((gap**2).mean(-1, keepdims=True) + 1e-6) * p["scale"]
            + (p["bias"])
        )

    def attention(p, x):
        q, k, v = np.split(linear(p["qkv"], x), 3, axis=-1)
        heads = []
        for i in range(TINY.num_heads):
            part = np.s_[:, i * 8 : (i + 1) * 8]
            scores = np.exp(q[part] @ k[part].T / np.sqrt(8))
            heads.append(scores / scores.sum(-1, keepdims=True) @ v[part])
        return linear(p["out"], np.concatenate(heads, -1))

    logits = []
    for image in x:
        tokens = [p["class_token"][0, 0]]
        for i in range(2):
            for j in range(2):
                patch = image[4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
                tokens.append(
                    np.tensordot(patch, p["embed"]["kernel"], 3) + p["embed"]["bias"]
                )
        z = np.stack(tokens) + p["positions"][0]
        for block in p["encoder"]["blocks"].values():
            z = z + attention(block["attention"], norm(block["first_norm"], z))
            h = linear(block["up"], norm(block["second_norm"], z))
            z = z + linear(block["down"], h * (1 + erf(h / np.sqrt(2))) / 2)
        logits.append(linear(p["head"], norm(p["encoder"]["norm"], z)[0]))
    return np.stack(logits)


def test_resnet_refuses():
    with pytest.raises(ValueError, match=r"`depth` must be one of 18, 34, .*, got 20"):
        layers.ResNet(20, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`num_classes` must be a positive integer"):
        layers.ResNet(18, num_classes=-1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`width` must be a positive integer, got 0"):
        layers.ResNet(18, width=0, rngs=nnx.Rngs(0))

    def run(x):
        return layers.ResNet(18, width=2, rngs=nnx.Rngs(0))(x)

    with pytest.raises(ValueError, match=r"must have 3 channels, last, got .*32, 1\)"):
        nnx.eval_shape(run, jnp.ones((1, 32, 32, 1)))
    with pytest.raises(ValueError, match=r"must be images .* got shape \(32, 32, 3\)"):
        nnx.eval_shape(run, jnp.ones((32, 32, 3)))
    with pytest.raises(TypeError, match="must be real floating point, got uint8"):
        nnx.eval_shape(run, jnp.ones((1, 32, 32, 3), jnp.uint8))


def test_vit_refuses():
    for options, match in (
        ({"size": "S/16"}, "`size` must be a Size or one of 'B/16', .*, got 'S/16'"),
        ({"image_size": 10}, "`image_size` must be a multiple of the patch, 4, got 10"),
        ({"num_classes": -2}, "`num_classes` must be a positive integer, got -2"),
        ({"size": TINY._replace(depth=0)}, "`depth` must be a positive integer, got 0"),
    ):
        with pytest.raises(ValueError, match=match):
            layers.ViT(**{"size": TINY, "image_size": 8, **options}, rngs=nnx.Rngs(0))

    def run(x):
        return layers.ViT(TINY, image_size=8, rngs=nnx.Rngs(0))(x)

    with pytest.raises(ValueError, match="must be 8 high and wide, got shape"):
        nnx.eval_shape(run, jnp.ones((1, 8, 12, 3)))


def test_attention_refuses():
    with pytest.raises(ValueError, match="`num_heads` must divide `hidden` = 6, got 4"):
        layers.SelfAttention(6, 4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`mlp_hidden` must be a positive integer"):
        layers.EncoderBlock(4, 2, 0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Encoder: `depth` must be a positive integer"):
        layers.Encoder(0, 4, 2, 4, rngs=nnx.Rngs(0))
