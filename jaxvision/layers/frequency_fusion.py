"""Blocks of a decoder that fuse by subtraction and attend to scales and frequencies."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcore import transforms
from jaxvision.layers._checks import deep_and_skip, images, positive
from jaxvision.layers.attention import MultiFrequencyAttention, SpatialAttention, simam
from jaxvision.layers.convolution import (
    ConvNormActivation,
    GroupedConv,
    conv,
    exact_gelu,
)
from jaxvision.layers.initialization import he_leaky
from jaxvision.layers.normalization import BatchNorm
from jaxvision.layers.resize import average_pool, resize_bilinear


FUSIONS = ("paper", "repository")
BASE = 7  # frequencies are chosen on a 7 x 7 grid
ZEROS = nnx.initializers.zeros_init()


def conv_bn_gelu(
    in_channels: int,
    out_channels: int,
    kernel: int = 3,
    *,
    use_bias: bool = True,
    rngs: nnx.Rngs,
) -> ConvNormActivation:
    """Returns convolution, batch normalization, exact GELU; He's initial values."""
    return ConvNormActivation(
        in_channels,
        out_channels,
        kernel,
        use_bias=use_bias,
        activation=exact_gelu,
        kernel_init=he_leaky,
        bias_init=ZEROS,
        rngs=rngs,
    )


def frequency_grid(channels: int) -> int:
    """Returns the side of the grid to which a block of this width pools its maps.

    32, 64, 128, 256, 512 channels: 112, 56, 28, 14, 7, and so on between 7 and 112.

    Example:
        >>> [frequency_grid(c) for c in (8, 32, 128, 512, 1024)]
        [112, 112, 28, 7, 7]

    Source: Zhang et al., LungSSFNet, ICPR 2024, with the sizes of the authors' code.
    """
    return BASE * min(max(512 // channels, 1), 16)


class FusionUnit(nnx.Module):
    """Joins deep maps with those of the encoder, by concatenation and by difference.

    With `D' = upsampled(simam(D))` and CBG = 3 x 3 convolution, batch normalization,
    GELU,

        P = CBG(concat[D', S]),   Q = CBG(|CBG(D') - S|),   Y = alpha P + beta Q;

    alpha and beta are learned and start at 1.

    Args:
        deep_channels: of D. channels: of S and Y.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> run = lambda d, s: FusionUnit(8, 4, rngs=nnx.Rngs(0))(d, s)
        >>> deep, skip = jnp.ones((1, 3, 3, 8)), jnp.ones((1, 6, 6, 4))
        >>> nnx.eval_shape(run, deep, skip).shape
        (1, 6, 6, 4)

    Source: Zhang et al., LungSSFNet, equations 1 and 2. The equation subtracts tensors
    of unequal width; the authors' code has the inner CBG, and so have we.
    """

    def __init__(self, deep_channels: int, channels: int, *, rngs: nnx.Rngs):
        self.joint = conv_bn_gelu(deep_channels + channels, channels, rngs=rngs)
        self.project = conv_bn_gelu(deep_channels, channels, rngs=rngs)
        self.difference = conv_bn_gelu(channels, channels, rngs=rngs)
        self.channels = (deep_channels, channels)
        self.alpha, self.beta = nnx.Param(jnp.ones(())), nnx.Param(jnp.ones(()))

    def __call__(
        self, deep: Float[Array, "b h w c"], skip: Float[Array, "b h2 w2 d"]
    ) -> Float[Array, "b h2 w2 d"]:
        """Returns maps of the size and width of `skip`.

        Raises:
            TypeError, ValueError: maps of other channels, or `skip` is not twice as
                high and wide as `deep`.
        """
        where = "jaxvision.layers.FusionUnit"
        deep, skip = deep_and_skip(where, deep, skip, *self.channels)
        large = resize_bilinear(simam(deep), *skip.shape[1:3])
        joint = self.joint(jnp.concatenate([large, skip], axis=-1))
        difference = self.difference(jnp.abs(self.project(large) - skip))
        return _weighted(self.alpha, joint, self.beta, difference)


class _Scale(nnx.Module):
    """One branch of an SSF block, from its maps to those that are added up."""

    def __init__(
        self,
        width: int,
        inner: int,
        scale: int,
        fusion: str,
        count: int,
        rngs: nnx.Rngs,
    ):
        self.grouped = GroupedConv(
            width,
            width,
            3,
            dilation=1 + scale,
            groups=math.gcd(32, width),
            kernel_init=he_leaky,
            rngs=rngs,
        )
        self.norm = BatchNorm(width)
        self.narrow = conv_bn_gelu(width, inner, 1, use_bias=False, rngs=rngs)
        self.frequency = MultiFrequencyAttention(
            inner,
            grid=frequency_grid(width),
            frequencies=transforms.frequency_list("top", count),
            rngs=rngs,
        )
        self.spatial: nnx.Module = (
            SpatialAttention(kernel_init=he_leaky, rngs=rngs)
            if fusion == "paper"
            else conv(inner, 1, 1, use_bias=False, kernel_init=he_leaky, rngs=rngs)
        )
        self.alpha, self.beta = nnx.Param(jnp.ones(())), nnx.Param(jnp.ones(()))
        self.out = conv_bn_gelu(inner, width, use_bias=False, rngs=rngs)
        self.fusion = fusion

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = self.narrow(exact_gelu(self.norm(self.grouped(x))))
        weighted = self.frequency(y)
        if self.fusion == "paper":
            first, second = weighted, self.spatial(y)
        else:
            mask = jax.nn.sigmoid(self.spatial(weighted))
            first, second = weighted * (1 - mask), weighted * mask
        return self.out(_weighted(self.alpha, first, self.beta, second))


class SSFBlock(nnx.Module):
    """Attention to frequencies and positions at three scales, added to the maps.

    The scales see the maps `x`, their 2 x 2 means (the maps themselves below 16 pixels)
    and `simam(x)`. Each is convolved in 32 groups with dilation 1, 2, 3, brought to
    `max(C / 2^s, narrowest)` channels `Y`, and weighed:

    * `fusion="paper"`: `G = alpha frequency(Y) + beta spatial(Y)`;
    * `fusion="repository"`: with `D = frequency(Y)` and `m = sigmoid(conv(D))`,
      `G = alpha D (1 - m) + beta D m`.

    The result is `x + (F_0 + F_1 + F_2) / 3`, `F_s` a convolution of `G` back to C
    channels at the size of `x`.

    Args:
        channels: C.
        fusion: see above.
        frequencies: number of those of the list `"top"`.
        narrowest: least number of channels of a scale, a multiple of 16.

    Raises:
        ValueError: an unknown fusion, or a size that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> def run(x):
        ...     return SSFBlock(32, narrowest=16, rngs=nnx.Rngs(0))(x)
        >>> nnx.eval_shape(run, jnp.ones((1, 20, 24, 32))).shape
        (1, 20, 24, 32)

    Source: Zhang et al., LungSSFNet, equations 5 to 9, with the orthonormal cosines of
    MADGNet (the printed ones have no constant); `"repository"` is the fusion of the
    authors' code.
    """

    def __init__(
        self,
        channels: int,
        *,
        fusion: str = "paper",
        frequencies: int = 16,
        narrowest: int = 64,
        rngs: nnx.Rngs,
    ):
        where = "jaxvision.layers.SSFBlock"
        positive(where, channels=channels, narrowest=narrowest)
        if fusion not in FUSIONS:
            raise ValueError(
                f"{where}: `fusion` must be one of {FUSIONS}, got {fusion!r}"
            )
        self.scales = nnx.List(
            [
                _Scale(
                    channels,
                    max(channels // 2**s, narrowest),
                    s,
                    fusion,
                    frequencies,
                    rngs,
                )
                for s in range(3)
            ]
        )
        self.channels = channels

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns maps of the shape of `x`.

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, channels) of floats.
        """
        x = images("jaxvision.layers.SSFBlock", x, self.channels)
        large = min(x.shape[1:3]) // 2 >= 8
        inputs = (x, average_pool(x) if large else x, simam(x))
        maps = (
            resize_bilinear(scale(given), *x.shape[1:3])
            for scale, given in zip(self.scales, inputs, strict=True)
        )
        return x + sum(maps, jnp.zeros((), x.dtype)) / 3


def _weighted(alpha: nnx.Param, x: Array, beta: nnx.Param, y: Array) -> Array:
    return alpha[...].astype(x.dtype) * x + beta[...].astype(y.dtype) * y
