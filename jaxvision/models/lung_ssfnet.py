"""LungSSFNet: a U-Net whose highest decoder stages attend to scales and frequencies.

With `fusion_stages=0, ssf_stages=0` it is the plain U-Net that it is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.layers import FusionUnit, SSFBlock, UNetDecoderStage, UNetEncoder, conv
from jaxvision.layers._checks import images, positive
from jaxvision.layers.convolution import exact_gelu
from jaxvision.layers.frequency_fusion import FUSIONS, ZEROS, conv_bn_gelu
from jaxvision.layers.initialization import he_leaky
from jaxvision.layers.resize import resize_bilinear


OWNER = "jaxvision.models.LungSSFNet"


@dataclass(frozen=True)
class LungSSFOptions:
    """Sizes of the network; the defaults are the paper's.

    Attributes:
        in_channels: of the images; where it is 3, gray images are repeated.
        num_classes: maps of logits: the background and the lesions, or 1 for a binary
            mask.
        channels: of the stages of the encoder; n of them need sides of images that are
            divisible by `2**(n - 1)`, at least one twice as large.
        fusion_stages: highest decoder stages with a `FusionUnit`; others concatenate.
        ssf_stages: highest decoder stages with an `SSFBlock`.
        fusion: `"paper"` or `"repository"`, see `SSFBlock`.
        frequencies: of the attention, from 1 to 32.
        narrowest: least number of channels inside an `SSFBlock`.

    Raises:
        ValueError: a size out of range, or an unknown fusion.
    """

    in_channels: int = 3
    num_classes: int = 3
    channels: tuple[int, ...] = (32, 64, 128, 256, 512, 512, 512, 512)
    fusion_stages: int = 4
    ssf_stages: int = 4
    fusion: str = "paper"
    frequencies: int = 16
    narrowest: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        positive(OWNER, in_channels=self.in_channels, num_classes=self.num_classes)
        for width in self.channels:
            positive(OWNER, channels=width)
        if len(self.channels) < 2:
            raise ValueError(
                f"{OWNER}: `channels` must have at least two entries, got "
                f"{self.channels}"
            )
        stages = len(self.channels) - 1
        for name in ("fusion_stages", "ssf_stages"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value <= stages:
                raise ValueError(
                    f"{OWNER}: `{name}` must be from 0 to {stages}, the stages of the "
                    f"decoder, got {value!r}"
                )
        if self.fusion not in FUSIONS:
            raise ValueError(
                f"{OWNER}: `fusion` must be one of {FUSIONS}, got {self.fusion!r}"
            )


class LungSSFNet(nnx.Module):
    """Logits for each pixel.

    Encoder and the lower stages of the decoder are those of nnU-Net with GELU. A higher
    stage joins deep maps and those of the encoder by a `FusionUnit`, passes them
    through an `SSFBlock`, and convolves once more. Images should have mean 0 and
    variance 1.

    Args:
        options: sizes.
        rngs: random keys of the parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> options = LungSSFOptions(channels=(8, 16), fusion_stages=1, ssf_stages=1)
        >>> def run(x):  # shapes alone: nothing is allocated
        ...     return LungSSFNet(options, rngs=nnx.Rngs(0))(x)
        >>> nnx.eval_shape(run, jnp.ones((1, 16, 24, 1))).shape
        (1, 16, 24, 3)

    Source: Zhang et al., Cystic Adenocarcinoma Segmentation Based on Multi-frequency
    and Multi-scale SimAM Attention, ICPR 2024. Strides are in the first convolution of
    a stage, as in the authors' code.
    """

    def __init__(self, options: LungSSFOptions, *, rngs: nnx.Rngs):
        widths = options.channels
        self.encoder = UNetEncoder(
            options.in_channels, widths, activation=exact_gelu, rngs=rngs
        )
        stages: list[nnx.Module] = []
        for i in reversed(range(len(widths) - 1)):
            deep, wide = widths[i + 1], widths[i]
            if i >= max(options.fusion_stages, options.ssf_stages):
                stages.append(
                    UNetDecoderStage(deep, wide, activation=exact_gelu, rngs=rngs)
                )
                continue
            join = FusionUnit if i < options.fusion_stages else Concatenation
            attention = (
                SSFBlock(
                    wide,
                    fusion=options.fusion,
                    frequencies=options.frequencies,
                    narrowest=options.narrowest,
                    rngs=rngs,
                )
                if i < options.ssf_stages
                else None
            )
            stages.append(
                AttentiveStage(join(deep, wide, rngs=rngs), attention, wide, rngs=rngs)
            )
        self.decoder = nnx.List(stages)
        self.head = conv(
            widths[0],
            options.num_classes,
            1,
            kernel_init=he_leaky,
            bias_init=ZEROS,
            rngs=rngs,
        )
        self.options = options

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Returns logits (B, H, W, num_classes).

        Raises:
            TypeError: no floats.
            ValueError: other channels, or sides that do not fit the strides.
        """
        x = images(OWNER, x)
        if x.shape[-1] == 1 < self.options.in_channels == 3:
            x = jnp.repeat(x, 3, axis=-1)
        *skips, deep = self.encoder(x)
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            deep = stage(deep, skip)
        return self.head(deep)


class Concatenation(nnx.Module):
    """Joins deep maps, enlarged, with those of the encoder by one convolution."""

    def __init__(self, deep_channels: int, channels: int, *, rngs: nnx.Rngs):
        self.joint = conv_bn_gelu(deep_channels + channels, channels, rngs=rngs)

    def __call__(
        self, deep: Float[Array, "b h w c"], skip: Float[Array, "b h2 w2 d"]
    ) -> Float[Array, "b h2 w2 d"]:
        """Returns maps of the size and width of `skip`."""
        large = resize_bilinear(deep, *skip.shape[1:3])
        return self.joint(jnp.concatenate([large, skip], axis=-1))


class AttentiveStage(nnx.Module):
    """A stage of the decoder: fusion, attention if there is one, a convolution."""

    def __init__(
        self,
        fusion: nnx.Module,
        attention: nnx.Module | None,
        channels: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.fusion, self.attention = fusion, attention
        self.out = conv_bn_gelu(channels, channels, rngs=rngs)

    def __call__(
        self, deep: Float[Array, "b h w c"], skip: Float[Array, "b h2 w2 d"]
    ) -> Float[Array, "b h2 w2 d"]:
        """Returns maps of the size and width of `skip`."""
        fused = self.fusion(deep, skip)
        return self.out(fused if self.attention is None else self.attention(fused))
