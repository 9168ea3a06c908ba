"""Convolutions with symmetric padding, transposed ones, and conv-norm-activation."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxvision.layers._checks import images, positive
from jaxvision.layers.initialization import uniform_bias, uniform_fan_in
from jaxvision.layers.normalization import BatchNorm


Activation = Callable[[Array], Array]


def conv(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: nnx.Initializer = uniform_fan_in,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """Returns a square convolution padded alike on all sides.

    A side of n becomes `(n + 2 padding - dilation (kernel - 1) - 1) // stride + 1`.

    Args:
        in_channels, out_channels, kernel, stride, dilation, groups: as usual.
        padding: zeros on each side; default `dilation * (kernel // 2)`, which keeps
            the size at stride 1 and odd kernels.
        use_bias: add a bias, drawn like the kernel of PyTorch's layer.

    Raises:
        ValueError: a size that is not positive, or groups that divide no channels.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = conv(3, 8, 3, stride=2, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((1, 7, 8, 3))).shape
        (1, 4, 4, 8)
    """
    where = "jaxvision.layers.conv"
    positive(
        where,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
    )
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{where}: `groups` must divide {in_channels} and {out_channels} channels, "
            f"got {groups}"
        )
    pad = dilation * (kernel // 2) if padding is None else padding
    return nnx.Conv(
        in_channels,
        out_channels,
        (kernel, kernel),
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        kernel_dilation=(dilation, dilation),
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=uniform_bias(in_channels // groups * kernel**2),
        rngs=rngs,
    )


class ConvNormActivation(nnx.Module):
    """Convolution, normalization, activation.

    Args:
        in_channels, out_channels, kernel, stride, dilation, groups, use_bias: see
            `conv`.
        norm: `channels -> layer`; None for no normalization.
        activation: None for none.
        kernel_init: of the convolution.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> run = lambda x: ConvNormActivation(3, 8, 3, rngs=nnx.Rngs(0))(x)
        >>> nnx.eval_shape(run, jnp.ones((2, 4, 4, 3))).shape
        (2, 4, 4, 8)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        use_bias: bool = False,
        norm: Callable[[int], nnx.Module] | None = BatchNorm,
        activation: Activation | None = jax.nn.relu,
        kernel_init: nnx.Initializer = uniform_fan_in,
        rngs: nnx.Rngs,
    ):
        self.conv = conv(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            dilation=dilation,
            groups=groups,
            use_bias=use_bias,
            kernel_init=kernel_init,
            rngs=rngs,
        )
        self.norm = None if norm is None else norm(out_channels)
        self.activation = activation

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Returns the maps of the layer."""
        x = self.conv(x)
        x = x if self.norm is None else self.norm(x)
        return x if self.activation is None else self.activation(x)


class ConvTranspose(nnx.Module):
    """Square transposed convolution with explicit padding at the output.

    The adjoint of a convolution with the same kernel, stride and padding, plus a bias.
    A side of n becomes

        (n - 1) * stride - 2 * padding + kernel + output_padding,

    as in PyTorch. The kernel is `(kernel, kernel, in, out)` and is not flipped:
    `y[s i + k - padding] += x[i] w[k]`.

    Args:
        in_channels, out_channels, kernel, stride: as usual.
        padding: cut from each side, at most `kernel - 1`.
        output_padding: added at the bottom and on the right, less than `stride`.
        use_bias: add a bias.

    Raises:
        ValueError: a size that is not positive, or a padding out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> up = ConvTranspose(
        ...     8, 4, 3, stride=2, padding=1, output_padding=1, rngs=nnx.Rngs(0)
        ... )
        >>> up(jnp.ones((1, 7, 7, 8))).shape
        (1, 14, 14, 4)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        where = "jaxvision.layers.ConvTranspose"
        positive(
            where,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel=kernel,
            stride=stride,
        )
        if not 0 <= padding < kernel:
            raise ValueError(
                f"{where}: `padding` must be from 0 to {kernel - 1}, got {padding}"
            )
        if not 0 <= output_padding < stride:
            raise ValueError(
                f"{where}: `output_padding` must be from 0 to {stride - 1}, less than "
                f"the stride, got {output_padding}"
            )
        # PyTorch's kernel is (in, out, k, k): its fan_in counts the output channels.
        shape = (kernel, kernel, in_channels, out_channels)
        draw = uniform_bias(out_channels * kernel**2)
        self.kernel = nnx.Param(draw(rngs.params(), shape))
        self.bias = (
            nnx.Param(draw(rngs.params(), (out_channels,))) if use_bias else None
        )
        self.stride, self.in_channels = stride, in_channels
        low = kernel - 1 - padding
        self.padding = (low, low + output_padding)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Returns the enlarged maps.

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, in_channels) of floats.
        """
        x = images("jaxvision.layers.ConvTranspose", x, self.in_channels)
        out = lax.conv_general_dilated(
            x,
            jnp.flip(self.kernel[...], (0, 1)).astype(x.dtype),
            window_strides=(1, 1),
            padding=(self.padding, self.padding),
            lhs_dilation=(self.stride, self.stride),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if self.bias is None:
            return out
        return out + self.bias[...].astype(x.dtype).reshape(1, 1, 1, -1)
