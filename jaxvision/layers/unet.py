"""Encoder and decoder of a U-Net, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.layers._checks import deep_and_skip, images, positive
from jaxvision.layers.convolution import Activation, ConvNormActivation, ConvTranspose
from jaxvision.layers.initialization import he_leaky, he_leaky_transposed
from jaxvision.layers.normalization import InstanceNorm


ZEROS = nnx.initializers.zeros_init()
leaky_relu = partial(jax.nn.leaky_relu, negative_slope=0.01)


class ConvPair(nnx.Module):
    """Two 3 x 3 convolutions with bias, each with normalization and activation.

    Args:
        in_channels, channels: widths of input and output.
        stride: of the first convolution.
        norm: `channels -> layer`.
        activation: after each normalization.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> run = lambda x: ConvPair(3, 8, 2, rngs=nnx.Rngs(0))(x)
        >>> nnx.eval_shape(run, jnp.ones((1, 6, 6, 3))).shape
        (1, 3, 3, 8)
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        norm: Callable[[int], nnx.Module] = InstanceNorm,
        activation: Activation = leaky_relu,
        rngs: nnx.Rngs,
    ):
        def layer(width: int, stride: int) -> ConvNormActivation:
            return ConvNormActivation(
                width,
                channels,
                3,
                stride=stride,
                use_bias=True,
                norm=norm,
                activation=activation,
                kernel_init=he_leaky,
                bias_init=ZEROS,
                rngs=rngs,
            )

        self.first, self.second = layer(in_channels, stride), layer(channels, 1)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Returns the maps of the second layer."""
        return self.second(self.first(x))


class UNetEncoder(nnx.Module):
    """Pairs of convolutions, all but the first with stride 2.

    Args:
        in_channels: of the images.
        channels: widths of the stages; n of them need sides divisible by `2**(n - 1)`,
            and with instance normalization two positions in the deepest.
        norm, activation: see `ConvPair`; instance normalization and leaky ReLU are
            those of nnU-Net.

    Raises:
        ValueError: no stage, or a width that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> run = lambda x: UNetEncoder(1, (4, 8, 16), rngs=nnx.Rngs(0))(x)
        >>> [m.shape for m in nnx.eval_shape(run, jnp.ones((1, 8, 8, 1)))]
        [(1, 8, 8, 4), (1, 4, 4, 8), (1, 2, 2, 16)]

    Source: Isensee et al., nnU-Net, Nature Methods 2021 (strides in the convolutions);
    Ronneberger et al., U-Net, MICCAI 2015.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        *,
        norm: Callable[[int], nnx.Module] = InstanceNorm,
        activation: Activation = leaky_relu,
        rngs: nnx.Rngs,
    ):
        where = "jaxvision.layers.UNetEncoder"
        if not channels:
            raise ValueError(
                f"{where}: `channels` must have at least one entry, got ()"
            )
        for width in (in_channels, *channels):
            positive(where, channels=width)
        widths = zip((in_channels, *channels[:-1]), channels, strict=True)
        self.stages = nnx.List(
            [
                ConvPair(
                    width,
                    wide,
                    2 if i else 1,
                    norm=norm,
                    activation=activation,
                    rngs=rngs,
                )
                for i, (width, wide) in enumerate(widths)
            ]
        )
        self.in_channels, self.divisor = in_channels, 2 ** (len(channels) - 1)

    def __call__(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the maps of all stages, the largest first.

        Raises:
            TypeError: no floats.
            ValueError: other channels, a side that the strides do not divide, or only
                one position left for instance normalization.
        """
        where = "jaxvision.layers.UNetEncoder"
        x = images(where, x, self.in_channels)
        if any(side % self.divisor for side in x.shape[1:3]):
            raise ValueError(
                f"{where}: `x` must have sides divisible by {self.divisor}, once 2 per "
                f"stage but the first, got shape {x.shape}"
            )
        deepest = [side // self.divisor for side in x.shape[1:3]]
        alone = isinstance(self.stages[-1].second.norm, InstanceNorm)
        if alone and deepest == [1, 1]:
            raise ValueError(
                f"{where}: `x` must have at least two positions in the deepest stage, "
                f"sides of {self.divisor} and {2 * self.divisor} or more, got shape "
                f"{x.shape}"
            )
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return tuple(found)


class UNetDecoderStage(nnx.Module):
    """Enlarges deep maps, joins them with the encoder's, and convolves twice.

    `pair(concat[transposed_convolution(deep), skip])`, with a 2 x 2 transposed
    convolution of stride 2.

    Args:
        deep_channels, channels: widths of the deep maps, and of skip and output.
        norm, activation: see `ConvPair`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> run = lambda d, s: UNetDecoderStage(8, 4, rngs=nnx.Rngs(0))(d, s)
        >>> deep, skip = jnp.ones((1, 3, 3, 8)), jnp.ones((1, 6, 6, 4))
        >>> nnx.eval_shape(run, deep, skip).shape
        (1, 6, 6, 4)

    Source: Ronneberger et al., U-Net, MICCAI 2015; instance normalization, leaky ReLU
    and the transposed convolution of nnU-Net (Isensee et al., Nature Methods 2021).
    """

    def __init__(
        self,
        deep_channels: int,
        channels: int,
        *,
        norm: Callable[[int], nnx.Module] = InstanceNorm,
        activation: Activation = leaky_relu,
        rngs: nnx.Rngs,
    ):
        self.up = ConvTranspose(
            deep_channels,
            channels,
            2,
            stride=2,
            kernel_init=he_leaky_transposed,
            bias_init=ZEROS,
            rngs=rngs,
        )
        self.pair = ConvPair(
            2 * channels, channels, norm=norm, activation=activation, rngs=rngs
        )
        self.channels = (deep_channels, channels)

    def __call__(
        self, deep: Float[Array, "b h w c"], skip: Float[Array, "b h2 w2 d"]
    ) -> Float[Array, "b h2 w2 d"]:
        """Returns maps of the size and width of `skip`.

        Raises:
            TypeError, ValueError: maps of other channels, or `skip` is not twice as
                high and wide as `deep`.
        """
        where = "jaxvision.layers.UNetDecoderStage"
        deep, skip = deep_and_skip(where, deep, skip, *self.channels)
        return self.pair(jnp.concatenate([self.up(deep), skip], axis=-1))
