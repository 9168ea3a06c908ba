"""What layers are given is checked before anything compiles."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxvision import layers, losses
from jaxvision.models import BetaSigmaVAE, BetaSigmaVAEOptions


VAE = BetaSigmaVAEOptions(8, 1, channels=(4,), latent=3, network="perceptron")
BUILDS = {
    "Perceptron": partial(layers.Perceptron, (3, 4, 2)),
    "ConvNormActivation": partial(layers.ConvNormActivation, 3, 4, 3),
    "ConvPair": partial(layers.ConvPair, 3, 4),
    "BasicBlock": partial(layers.BasicBlock, 3, 4),
    "SelfAttention": partial(layers.SelfAttention, 4, 2),
    "EncoderBlock": partial(layers.EncoderBlock, 4, 2, 8),
    "Encoder": partial(layers.Encoder, 1, 4, 2, 8),
    "FusionUnit": partial(layers.FusionUnit, 6, 4),
    "UNetDecoderStage": partial(layers.UNetDecoderStage, 6, 4),
    "SSFBlock": partial(layers.SSFBlock, 8, narrowest=16, frequencies=2),
}
MAPS = "`x` must have 3 channels, last, got shape"
TOKENS = r"`x` must be \(batch, tokens, 4\), got shape"
SKIP = r"`skip` must be \(1, 8, 10\) without channels, twice as high and wide as `deep`"


@pytest.mark.parametrize(
    ("name", "shapes", "message"),
    [
        ("Perceptron", [(2, 4)], r"Perceptron: `x` must be \(batch, 3\), got shape"),
        ("Perceptron", [(2, 5, 3)], r"must be \(batch, 3\), got shape \(2, 5, 3\)"),
        ("ConvNormActivation", [(1, 4, 4, 2)], f"ConvNormActivation: {MAPS}"),
        ("ConvNormActivation", [(4, 4, 3)], "`x` must be images .*, not empty, got"),
        ("ConvPair", [(1, 4, 4, 1)], MAPS),
        ("BasicBlock", [(1, 4, 4, 1)], MAPS),
        ("SelfAttention", [(2, 5, 3)], f"SelfAttention: {TOKENS}"),
        ("SelfAttention", [(5, 4)], f"SelfAttention: {TOKENS}"),
        ("EncoderBlock", [(2, 5, 3)], f"EncoderBlock: {TOKENS}"),
        ("Encoder", [(5, 4)], f"EncoderBlock: {TOKENS}"),
        ("FusionUnit", [(1, 4, 5, 6), (1, 9, 10, 4)], f"FusionUnit: {SKIP}"),
        ("FusionUnit", [(1, 4, 5, 6), (2, 8, 10, 4)], f"FusionUnit: {SKIP}"),
        (
            "FusionUnit",
            [(1, 4, 5, 4), (1, 8, 10, 4)],
            "`deep` must have 6 channels, last, got shape",
        ),
        (
            "UNetDecoderStage",
            [(1, 4, 5, 6), (1, 8, 10, 6)],
            "UNetDecoderStage: `skip` must have 4 channels, last, got shape",
        ),
        ("UNetDecoderStage", [(1, 4, 5, 6), (1, 8, 8, 4)], f"Stage: {SKIP}"),
        ("SSFBlock", [(1, 16, 16, 4)], "SSFBlock: `x` must have 8 channels, last, got"),
    ],
)
def test_shapes(name, shapes, message):
    def run(*inputs):
        return BUILDS[name](rngs=nnx.Rngs(0))(*inputs)

    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(run, *map(jnp.ones, shapes))


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("Perceptron", [(2, 3)]),
        ("ConvNormActivation", [(1, 4, 4, 3)]),
        ("SelfAttention", [(2, 5, 4)]),
        ("EncoderBlock", [(2, 5, 4)]),
        ("FusionUnit", [(1, 4, 5, 6), (1, 8, 10, 4)]),
        ("UNetDecoderStage", [(1, 4, 5, 6), (1, 8, 10, 4)]),
        ("SSFBlock", [(1, 16, 16, 8)]),
    ],
)
def test_integers(name, shapes):
    """And floats of these shapes pass."""

    def run(*inputs):
        return BUILDS[name](rngs=nnx.Rngs(0))(*inputs)

    assert nnx.eval_shape(run, *map(jnp.ones, shapes)).ndim
    with pytest.raises(TypeError, match=f"{name}: `.*` must be real floating point"):
        nnx.eval_shape(run, *(jnp.ones(shape, int) for shape in shapes))


def test_weights_of_attention_take_tokens():
    def run(x):
        return layers.SelfAttention(4, 2, rngs=nnx.Rngs(0)).weights(x)

    assert nnx.eval_shape(run, jnp.ones((2, 5, 4))).shape == (2, 2, 5, 5)
    with pytest.raises(ValueError, match=TOKENS):
        nnx.eval_shape(run, jnp.ones((2, 5, 3)))


def test_codes_are_floats():
    def run(z):
        return BetaSigmaVAE(VAE, rngs=nnx.Rngs(0)).decode(z)

    with pytest.raises(TypeError, match="`z` must be real floating point, got int32"):
        nnx.eval_shape(run, jnp.ones((2, 3), int))


def test_dropout():
    key = jax.random.key(0)
    with pytest.raises(TypeError, match="dropout: `x` must be real floating"):
        layers.dropout(key, jnp.ones((2, 3), int), 0.5)
    with pytest.raises(ValueError, match=r"dropout: `x` must be \(batch, ...\), "):
        layers.dropout(key, jnp.ones(()), 0.5)


def test_counts_of_rows():
    norm = layers.BatchNorm(2)
    with (
        pytest.raises(ValueError, match=r"`counts` must have shape \(4,\), .*\(3,\)"),
        layers.counted_rows(norm, jnp.ones(3)),
    ):
        norm(jnp.ones((4, 2)))
    with (
        pytest.raises(ValueError, match=r"`counts` must be \(batch,\), .*\(3, 1\)"),
        layers.counted_rows(norm, jnp.ones((3, 1))),
    ):
        pass
    assert norm.counts is None


def test_mean_scores():
    anchors = losses.ScoreAnchors.zeros()
    with pytest.raises(ValueError, match=r"`fake` must be the mean score, .* \(3,\)"):
        anchors.follow(1.0, jnp.ones(3))
