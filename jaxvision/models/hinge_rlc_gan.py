"""HingeRLC-GAN: a class-conditional residual GAN for small images.

What makes it one is the loss of its discriminator, `jaxvision.losses.rlc`. The
generator upsamples and convolves (no transposed convolution), with batch normalization
by class; the discriminator sees the label as one more channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxcore.training import row_keys
from jaxvision import _checks
from jaxvision._checks import floating, integers
from jaxvision.layers import BatchNorm, ConditionalBatchNorm, SpectralNorm, conv
from jaxvision.layers._checks import class_labels, images, positive
from jaxvision.layers.normalization import class_rows
from jaxvision.layers.resize import average_pool, upsample_nearest


OWNER = "jaxvision.models.HingeRLCGAN"
SIDE = 4  # of the maps that a code becomes
DISCRIMINATORS = ("paper", "notebook")
NORMS = ("none", "conditional")


@dataclass(frozen=True)
class HingeRLCGANOptions:
    """Sizes of both networks; the defaults are the paper's for CIFAR-10.

    Attributes:
        image_size: side of the images, 4 times a power of 2, at least 8.
        in_channels: of the images. num_classes: of the labels.
        latent: numbers in a code. width: channels of all maps.
        embedding: numbers that a label becomes before it becomes a map.
        discriminator: `"paper"`: the map of the label is a channel beside the image,
            and every block but the first halves the size once more; `"notebook"`: the
            published code, whose discriminator does not see the label.
        discriminator_norm: `"none"`, as the published code; `"conditional"`: batch
            normalization by class before each ReLU of its blocks, as the paper draws.

    Raises:
        ValueError: a size out of range, or an unknown name.
    """

    image_size: int = 32
    in_channels: int = 3
    num_classes: int = 10
    latent: int = 128
    width: int = 128
    embedding: int = 50
    discriminator: str = "paper"
    discriminator_norm: str = "none"

    def __post_init__(self) -> None:
        positive(
            OWNER,
            image_size=self.image_size,
            in_channels=self.in_channels,
            num_classes=self.num_classes,
            latent=self.latent,
            width=self.width,
            embedding=self.embedding,
        )
        if self.image_size != SIDE * 2**self.doublings or self.doublings < 1:
            raise ValueError(
                f"{OWNER}: `image_size` must be {SIDE} times a power of 2, at least "
                f"{2 * SIDE}, got {self.image_size}"
            )
        _checks.one_of(
            OWNER,
            self,
            discriminator=DISCRIMINATORS,
            discriminator_norm=NORMS,
        )
        if self.discriminator == "notebook" and self.discriminator_norm != "none":
            raise ValueError(
                f"{OWNER}: `discriminator_norm` must be 'none' with "
                "discriminator='notebook', which does not see labels, got "
                f"{self.discriminator_norm!r}"
            )

    @property
    def doublings(self) -> int:
        """How often the generator doubles the size."""
        return (self.image_size // SIDE).bit_length() - 1


class HingeRLCGAN(nnx.Module):
    """Generator and discriminator; called, it is the generator.

    Args:
        options: sizes.
        rngs: random keys of the parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> options = HingeRLCGANOptions(8, 1, latent=4, width=8)
        >>> def run(z, label):  # shapes alone: nothing is allocated
        ...     gan = HingeRLCGAN(options, rngs=nnx.Rngs(0))
        ...     x = gan(z, label)
        ...     return x, gan.discriminator(x, label)
        >>> shapes = nnx.eval_shape(run, jnp.ones((2, 4)), jnp.array([0, 9]))
        >>> [s.shape for s in shapes]
        [(2, 8, 8, 1), (2, 1)]

    Source: Goni et al., HingeRLC-GAN, ICPR 2024, section 3.1, with the two convolutions
    and the skip of the published code in each block.
    """

    def __init__(self, options: HingeRLCGANOptions, *, rngs: nnx.Rngs):
        self.options = options
        self.generator = Generator(options, rngs)
        self.discriminator = Discriminator(options, rngs)

    def __call__(
        self, z: Float[Array, "b l"], label: Int[Array, " b"]
    ) -> Float[Array, "b h w c"]:
        """Returns an image in [-1, 1] for each code and label, see `Generator`."""
        return self.generator(z, label)

    def sample(self, key: Array, label: Int[Array, " b"]) -> Float[Array, "b h w c"]:
        """Returns an image of each class asked for, from codes drawn from N(0, 1).

        Call `eval()` first: in training, images depend on their neighbors.
        """
        label = integers(f"{OWNER}.sample", "label", label)
        keys = row_keys(key, label.shape[0])
        shape = (self.options.latent,)
        z = jax.vmap(lambda k: jax.random.normal(k, shape))(keys)
        return self.generator(z, label)


class Generator(nnx.Module):
    """A code becomes 4 x 4 maps, and these an image by blocks that double the size.

    Every convolution is spectrally normalized, the first linear layer is not.
    """

    def __init__(self, options: HingeRLCGANOptions, rngs: nnx.Rngs):
        width, classes = options.width, options.num_classes
        self.latent, self.num_classes = options.latent, classes
        self.first = _linear(options.latent, SIDE**2 * width, rngs)
        self.blocks = nnx.List(
            [
                UpBlock(width, options.num_classes, rngs)
                for _ in range(options.doublings)
            ]
        )
        self.norm = BatchNorm(width)
        self.last = _conv(width, options.in_channels, 3, rngs)

    def __call__(
        self, z: Float[Array, "b l"], label: Int[Array, " b"]
    ) -> Float[Array, "b h w c"]:
        """Returns images in [-1, 1].

        Raises:
            TypeError: codes are not floating point, or labels no integers.
            ValueError: `z` is not (B, latent), or `label` not (B,) of known classes.
        """
        z = floating(OWNER, "z", z)
        if z.ndim != 2 or z.shape[1] != self.latent:
            raise ValueError(
                f"{OWNER}: `z` must be (batch, {self.latent}), got shape {z.shape}"
            )
        label = class_labels(OWNER, label, z.shape[0], self.num_classes)
        x = self.first(z).reshape(z.shape[0], SIDE, SIDE, -1)
        for block in self.blocks:
            x = block(x, label)
        return jnp.tanh(self.last(jax.nn.relu(self.norm(x))))


class UpBlock(nnx.Module):
    """`conv(relu(CBN(conv(up(relu(CBN(x))))))) + conv1x1(up(x))`, twice the size."""

    def __init__(self, width: int, num_classes: int, rngs: nnx.Rngs):
        self.norms = nnx.List([_class_norm(width, num_classes) for _ in range(2)])
        self.convs = nnx.List([_conv(width, width, 3, rngs) for _ in range(2)])
        self.skip = _conv(width, width, 1, rngs)

    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"]
    ) -> Float[Array, "b h2 w2 c"]:
        """Returns the maps of the block."""
        y = self.convs[0](upsample_nearest(jax.nn.relu(self.norms[0](x, label))))
        y = self.convs[1](jax.nn.relu(self.norms[1](y, label)))
        return y + self.skip(upsample_nearest(x))


class Discriminator(nnx.Module):
    """Blocks that halve the size, the maximum over positions, a linear layer.

    Every convolution and linear layer is spectrally normalized.
    """

    def __init__(self, options: HingeRLCGANOptions, rngs: nnx.Rngs):
        self.options = options
        width, channels = options.width, options.in_channels
        self.label_map = LabelMap(options, rngs) if _sees_labels(options) else None
        self.first = FirstBlock(channels + _sees_labels(options), width, rngs)
        classes = options.num_classes if options.discriminator_norm != "none" else None
        if options.discriminator == "paper":
            halve = [True] * options.doublings
        else:
            halve = [True, False, False]
        self.blocks = nnx.List([DownBlock(width, h, classes, rngs) for h in halve])
        self.last = SpectralNorm(_linear(width, 1, rngs), rngs=rngs)

    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"]
    ) -> Float[Array, "b 1"]:
        """Returns a score for each image with its label.

        Raises:
            TypeError: images are not floating point, or labels no integers.
            ValueError: images of another size than the network's, or `label` not (B,)
                of known classes.
        """
        size = self.options.image_size
        x = images(OWNER, x, self.options.in_channels)
        if x.shape[1:3] != (size, size):
            raise ValueError(
                f"{OWNER}: `x` must be {size} high and wide, got shape {x.shape}"
            )
        label = class_labels(OWNER, label, x.shape[0], self.options.num_classes)
        if self.label_map is not None:
            x = jnp.concatenate([x, self.label_map(label).astype(x.dtype)], axis=-1)
        x = self.first(x)
        for block in self.blocks:
            x = block(x, label)
        return self.last(jnp.max(jax.nn.relu(x), axis=(1, 2)))


class LabelMap(nnx.Module):
    """A label becomes a vector, and the vector a map of the size of an image."""

    def __init__(self, options: HingeRLCGANOptions, rngs: nnx.Rngs):
        shape = (options.num_classes, options.embedding)
        self.size = options.image_size
        self.table = nnx.Param(jax.random.normal(rngs.params(), shape))
        linear = _linear(options.embedding, self.size**2, rngs)
        self.linear = SpectralNorm(linear, rngs=rngs)

    def __call__(self, label: Int[Array, " b"]) -> Float[Array, "b h w 1"]:
        """Returns a map for each label; inside `jax.jit` NaN for one out of range."""
        return self.linear(class_rows(self.table[...], label)).reshape(
            -1, self.size, self.size, 1
        )


class FirstBlock(nnx.Module):
    """`pool(conv(relu(conv(x)))) + conv(pool(x))`: no ReLU on the image itself."""

    def __init__(self, channels: int, width: int, rngs: nnx.Rngs):
        self.convs = nnx.List(
            [_conv(channels, width, 3, rngs), _conv(width, width, 3, rngs)]
        )
        self.skip = _conv(channels, width, 3, rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Returns the maps of the block."""
        y = self.convs[1](jax.nn.relu(self.convs[0](x)))
        return average_pool(y) + self.skip(average_pool(x))


class DownBlock(nnx.Module):
    """`conv(relu(conv(relu(x)))) + skip`, normalized before each ReLU or not at all.

    Where it halves the size, the sum is pooled and the skip is a convolution; otherwise
    the skip is the identity.
    """

    def __init__(
        self, width: int, halve: bool, num_classes: int | None, rngs: nnx.Rngs
    ):
        self.norms = (
            None
            if num_classes is None
            else nnx.List([_class_norm(width, num_classes) for _ in range(2)])
        )
        self.convs = nnx.List([_conv(width, width, 3, rngs) for _ in range(2)])
        self.skip = _conv(width, width, 3, rngs) if halve else None

    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"]
    ) -> Float[Array, "b h2 w2 c"]:
        """Returns the maps of the block."""
        y = x
        for i, layer in enumerate(self.convs):
            y = y if self.norms is None else self.norms[i](y, label)
            y = layer(jax.nn.relu(y))
        return y + x if self.skip is None else average_pool(y + self.skip(x))


def _sees_labels(options: HingeRLCGANOptions) -> bool:
    return options.discriminator == "paper"


def _conv(width: int, wide: int, kernel: int, rngs: nnx.Rngs) -> SpectralNorm:
    return SpectralNorm(conv(width, wide, kernel, rngs=rngs), rngs=rngs)


def _class_norm(width: int, num_classes: int) -> ConditionalBatchNorm:
    return ConditionalBatchNorm(width, num_classes, epsilon=2e-5)


def _linear(width: int, wide: int, rngs: nnx.Rngs) -> nnx.Linear:
    """Returns a linear layer as the published code draws it."""
    return nnx.Linear(
        width,
        wide,
        kernel_init=nnx.initializers.xavier_uniform(),
        bias_init=nnx.initializers.constant(0.01),
        rngs=rngs,
    )
