"""Convolutions with symmetric padding, transposed ones, and conv-norm-activation."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxvision.layers._checks import images, pair, positive
from jaxvision.layers.initialization import uniform_bias, uniform_fan_in
from jaxvision.layers.normalization import BatchNorm


Activation = Callable[[Array], Array]
Sides = int | tuple[int, int]  # of height and width, or one number for both
GROUPED = ("auto", "native", "dense", "taps")
NARROW = 8  # channels of a group from which CPUs are faster without added zeros


def exact_gelu(x: Array) -> Array:
    """Returns `x Phi(x)` with the normal distribution function, not its tanh form."""
    return jax.nn.gelu(x, approximate=False)


def conv(
    in_channels: int,
    out_channels: int,
    kernel: Sides,
    *,
    stride: int = 1,
    padding: Sides | None = None,
    dilation: int = 1,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: nnx.Initializer = uniform_fan_in,
    bias_init: nnx.Initializer | None = None,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """Returns a convolution padded alike on opposite sides.

    A side of n becomes `(n + 2 padding - dilation (kernel - 1) - 1) // stride + 1`.

    Args:
        in_channels, out_channels, stride, dilation, groups: as usual.
        kernel: side of a square, or height and width.
        padding: zeros on each side, or above and below, and left and right; default
            `dilation * (kernel // 2)`, which keeps the size at stride 1 and odd
            kernels.
        use_bias: add a bias.
        kernel_init, bias_init: by default those of PyTorch's layer.

    Raises:
        ValueError: a size that is not positive, a negative padding, or groups that
            divide no channels.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = conv(3, 8, 3, stride=2, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((1, 7, 8, 3))).shape
        (1, 4, 4, 8)

    Source: `torch.nn.Conv2d` with the same padding on both sides of an axis; initial
    values as He et al., ICCV 2015, with a = sqrt(5), which PyTorch chose.
    """
    where = "jaxvision.layers.conv"
    positive(
        where,
        in_channels=in_channels,
        out_channels=out_channels,
        stride=stride,
        dilation=dilation,
        groups=groups,
    )
    height, width = pair(where, "kernel", kernel)
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{where}: `groups` must divide {in_channels} and {out_channels} channels, "
            f"got {groups}"
        )
    if padding is None:
        padding = (dilation * (height // 2), dilation * (width // 2))
    rows, columns = pair(where, "padding", padding, least=0)
    return nnx.Conv(
        in_channels,
        out_channels,
        (height, width),
        strides=(stride, stride),
        padding=((rows, rows), (columns, columns)),
        kernel_dilation=(dilation, dilation),
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=bias_init or uniform_bias(in_channels // groups * height * width),
        rngs=rngs,
    )


class ConvNormActivation(nnx.Module):
    """Convolution, normalization, activation.

    Args:
        in_channels, out_channels, kernel, stride, padding, dilation, groups, use_bias:
            see `conv`.
        norm: `channels -> layer`; None for no normalization.
        activation: None for none.
        kernel_init, bias_init: of the convolution.

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
        kernel: Sides,
        *,
        stride: int = 1,
        padding: Sides | None = None,
        dilation: int = 1,
        groups: int = 1,
        use_bias: bool = False,
        norm: Callable[[int], nnx.Module] | None = BatchNorm,
        activation: Activation | None = jax.nn.relu,
        kernel_init: nnx.Initializer = uniform_fan_in,
        bias_init: nnx.Initializer | None = None,
        rngs: nnx.Rngs,
    ):
        self.conv = conv(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            use_bias=use_bias,
            kernel_init=kernel_init,
            bias_init=bias_init,
            rngs=rngs,
        )
        self.norm = None if norm is None else norm(out_channels)
        self.activation, self.in_channels = activation, in_channels

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Returns the maps of the layer.

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, in_channels) of floats.
        """
        x = images("jaxvision.layers.ConvNormActivation", x, self.in_channels)
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
        kernel_init, bias_init: by default those of PyTorch's layer.

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

    Source: Dumoulin and Visin, A Guide to Convolution Arithmetic for Deep Learning,
    2016, chapter 4; sizes are those of `torch.nn.ConvTranspose2d`.
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
        kernel_init: nnx.Initializer | None = None,
        bias_init: nnx.Initializer | None = None,
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
        self.kernel = nnx.Param((kernel_init or draw)(rngs.params(), shape))
        self.bias = (
            nnx.Param((bias_init or draw)(rngs.params(), (out_channels,)))
            if use_bias
            else None
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


class GroupedConv(nnx.Module):
    """Convolution in groups of channels, fast where groups are narrow too.

    Output channels of a group see the input channels of the same group alone. The
    stride is 1, there is no bias, sizes are kept. The kernel is `(kernel, kernel,
    in / groups, out)`, as that of `conv`.

    Args:
        in_channels, out_channels, dilation, groups: as usual.
        kernel: odd.
        method: `"native"`: the grouped convolution of XLA; `"dense"`: one group, with a
            kernel that is zero between groups; `"taps"`: a sum of shifted maps times
            the kernel's entries; `"auto"`: native but on CPUs, where its gradient is
            many times slower than the faster one of the others: dense for groups of 2
            to 7 channels, else taps.

    Raises:
        ValueError: a size that is not positive or does not fit, or an unknown method.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = GroupedConv(8, 8, 3, groups=4, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((1, 5, 6, 8))).shape
        (1, 5, 6, 8)

    Source: Krizhevsky et al., NeurIPS 2012 (groups); "dense" and "taps" are rewritings
    of the sum, exact but for rounding.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        groups: int,
        dilation: int = 1,
        method: str = "auto",
        kernel_init: nnx.Initializer = uniform_fan_in,
        rngs: nnx.Rngs,
    ):
        where = "jaxvision.layers.GroupedConv"
        positive(
            where,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel=kernel,
            groups=groups,
            dilation=dilation,
        )
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{where}: `groups` must divide {in_channels} and {out_channels} "
                f"channels, got {groups}"
            )
        if kernel % 2 == 0:
            raise ValueError(f"{where}: `kernel` must be odd, got {kernel}")
        if method not in GROUPED:
            raise ValueError(
                f"{where}: `method` must be one of {GROUPED}, got {method!r}"
            )
        width = in_channels // groups
        if method == "auto":
            method = "dense" if 1 < width < NARROW else "taps"
            if groups == 1 or jax.default_backend() != "cpu":
                method = "native"
        shape = (kernel, kernel, width, out_channels)
        self.kernel = nnx.Param(kernel_init(rngs.params(), shape))
        self.in_channels, self.groups, self.dilation = in_channels, groups, dilation
        self.method = method

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """Returns the maps of the layer.

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, in_channels) of floats.
        """
        x = images("jaxvision.layers.GroupedConv", x, self.in_channels)
        kernel = self.kernel[...].astype(x.dtype)
        pad = self.dilation * (kernel.shape[0] // 2)
        if self.method == "taps":
            return _sum_of_taps(x, kernel, self.groups, self.dilation, pad)
        groups = self.groups
        if self.method == "dense":
            kernel, groups = _between_groups(kernel, groups), 1
        return lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(1, 1),
            padding=((pad, pad), (pad, pad)),
            rhs_dilation=(self.dilation, self.dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )


def _sum_of_taps(
    x: Array, kernel: Array, groups: int, dilation: int, pad: int
) -> Array:
    batch, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    single = channels == groups == kernel.shape[-1]
    out = jnp.zeros((), x.dtype)
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            rows, columns = dilation * i, dilation * j
            part = padded[:, rows : rows + height, columns : columns + width]
            if single:
                out = out + part * kernel[i, j].reshape(1, 1, 1, -1)
                continue
            part = part.reshape(batch, height, width, groups, -1)
            weight = kernel[i, j].reshape(channels // groups, groups, -1)
            out = out + jnp.einsum("bhwgi,igo->bhwgo", part, weight)
    return out.reshape(batch, height, width, -1)


def _between_groups(kernel: Array, groups: int) -> Array:
    """Returns the kernel of one group: zero from a group to another."""
    side, _, width, out = kernel.shape
    parts = kernel.reshape(side, side, width, groups, out // groups)
    block = jnp.einsum("hwigo,gf->hwfigo", parts, jnp.eye(groups, dtype=kernel.dtype))
    return block.reshape(side, side, groups * width, out)
