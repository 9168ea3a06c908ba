"""Residual blocks: two convolutions, or three with a narrow one in the middle."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.layers.convolution import Activation, ConvNormActivation
from jaxvision.layers.initialization import uniform_fan_in


class Residual(nnx.Module):
    """`activation(branch(x) + shortcut(x))` for a chain of conv-norm-activations.

    The shortcut is the identity, or a 1 x 1 convolution with normalization where size
    or width change.
    """

    def __init__(
        self,
        branch: list[ConvNormActivation],
        shortcut: ConvNormActivation | None,
        activation: Activation,
    ):
        self.branch = nnx.List(branch)
        self.shortcut = shortcut
        self.activation = activation

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Returns the maps of the block."""
        y = x
        for layer in self.branch:
            y = layer(y)
        short = x if self.shortcut is None else self.shortcut(x)
        return self.activation(y + short)


def _layer(
    width: int,
    wide: int,
    kernel: int,
    stride: int,
    activation: Activation | None,
    **options: Any,
) -> ConvNormActivation:
    return ConvNormActivation(
        width, wide, kernel, stride=stride, activation=activation, **options
    )


class BasicBlock(Residual):
    """Two 3 x 3 convolutions: `act(BN(conv(act(BN(conv(x))))) + shortcut(x))`.

    The first convolution has the stride. Without bias it is the block of ResNet-18 and
    ResNet-34 (He et al., CVPR 2016, figure 5 left).

    Args:
        in_channels, channels: widths of input and output.
        stride: of the first convolution and the shortcut.
        use_bias: biases in the convolutions.
        activation: of the block.
        kernel_init: of the convolutions.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> run = lambda x: BasicBlock(4, 8, 2, rngs=nnx.Rngs(0))(x)
        >>> nnx.eval_shape(run, jnp.ones((1, 6, 6, 4))).shape
        (1, 3, 3, 8)
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        use_bias: bool = False,
        activation: Activation = jax.nn.relu,
        kernel_init: nnx.Initializer = uniform_fan_in,
        rngs: nnx.Rngs,
    ):
        layer = partial(
            _layer,
            use_bias=use_bias,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        branch = [
            layer(in_channels, channels, 3, stride, activation),
            layer(channels, channels, 3, 1, None),
        ]
        same = stride == 1 and in_channels == channels
        short = None if same else layer(in_channels, channels, 1, stride, None)
        super().__init__(branch, short, activation)


class Bottleneck(Residual):
    """1 x 1, 3 x 3 and 1 x 1 convolutions; the output has four times `channels`.

    The 3 x 3 convolution has the stride ("version 1.5"; He et al., CVPR 2016, figure 5
    right, has it in the first). Arguments are those of `BasicBlock`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> run = lambda x: Bottleneck(4, 2, 2, rngs=nnx.Rngs(0))(x)
        >>> nnx.eval_shape(run, jnp.ones((1, 6, 6, 4))).shape
        (1, 3, 3, 8)
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        *,
        use_bias: bool = False,
        activation: Activation = jax.nn.relu,
        kernel_init: nnx.Initializer = uniform_fan_in,
        rngs: nnx.Rngs,
    ):
        layer = partial(
            _layer,
            use_bias=use_bias,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        wide = self.expansion * channels
        branch = [
            layer(in_channels, channels, 1, 1, activation),
            layer(channels, channels, 3, stride, activation),
            layer(channels, wide, 1, 1, None),
        ]
        same = stride == 1 and in_channels == wide
        short = None if same else layer(in_channels, wide, 1, stride, None)
        super().__init__(branch, short, activation)
