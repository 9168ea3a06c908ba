"""The ResNet family: 18, 34, 50, 101 and 152 layers, with the maps of each stage."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.layers._checks import images, positive
from jaxvision.layers.convolution import ConvNormActivation
from jaxvision.layers.initialization import he_fan_out
from jaxvision.layers.perceptron import linear
from jaxvision.layers.residual import BasicBlock, Bottleneck


# Layers -> block and blocks per stage; He et al., CVPR 2016, table 1.
DEPTHS: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nnx.Module):
    """Residual network for classification, or for the maps of its stages.

    A 7 x 7 convolution with stride 2, a 3 x 3 maximum with stride 2, four stages of
    residual blocks with 1, 2, 4 and 8 times `width`, each but the first halving the
    size, the mean over positions, a linear layer. With the defaults, parameters are in
    number those of torchvision.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: of the linear layer; 0 for none, then the network returns the mean
            over positions.
        in_channels: of the images.
        width: of the first stage.

    Raises:
        ValueError: an unknown depth, a size that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> def stages(x):  # shapes alone: nothing is allocated
        ...     return ResNet(50, rngs=nnx.Rngs(0)).stages(x)
        >>> found = nnx.eval_shape(stages, jnp.ones((2, 64, 64, 3)))
        >>> [maps.shape for maps in found]
        [(2, 16, 16, 256), (2, 8, 8, 512), (2, 4, 4, 1024), (2, 2, 2, 2048)]

    Source: He et al., Deep Residual Learning, CVPR 2016, table 1; stride in the 3 x 3
    convolution of a bottleneck.
    """

    def __init__(
        self,
        depth: int,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
        rngs: nnx.Rngs,
    ):
        where = "jaxvision.layers.ResNet"
        if depth not in DEPTHS:
            raise ValueError(
                f"{where}: `depth` must be one of {', '.join(map(str, DEPTHS))}, got "
                f"{depth!r}"
            )
        positive(where, in_channels=in_channels, width=width)
        if num_classes:
            positive(where, num_classes=num_classes)
        block, counts = DEPTHS[depth]
        self.in_channels = in_channels
        self.stem = ConvNormActivation(
            in_channels, width, 7, stride=2, kernel_init=he_fan_out, rngs=rngs
        )
        channels, stages = width, []
        for i, count in enumerate(counts):
            blocks = []
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(
                    block(
                        channels,
                        width * 2**i,
                        stride,
                        kernel_init=he_fan_out,
                        rngs=rngs,
                    )
                )
                channels = width * 2**i * block.expansion
            stages.append(nnx.List(blocks))
        self.blocks = nnx.List(stages)
        self.channels = tuple(width * 2**i * block.expansion for i in range(4))
        self.head = linear(channels, num_classes, rngs=rngs) if num_classes else None

    def stages(self, x: Float[Array, "b h w c"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        """Returns the maps of the four stages, at 1/4, 1/8, 1/16 and 1/32 of the size.

        Their widths are `self.channels`.

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, in_channels) of floats.
        """
        x = self.stem(images("jaxvision.layers.ResNet", x, self.in_channels))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        found = []
        for stage in self.blocks:
            for block in stage:
                x = block(x)
            found.append(x)
        return tuple(found)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n"]:
        """Returns logits (B, num_classes), or the pooled maps without classes.

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, in_channels) of floats.
        """
        pooled = jnp.mean(self.stages(x)[-1], axis=(1, 2))
        return pooled if self.head is None else self.head(pooled)
