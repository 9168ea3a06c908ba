"""Attention over channels and positions: SimAM, squeeze-excitation, frequencies."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcore import transforms
from jaxvision._checks import Values
from jaxvision.layers._checks import images, positive
from jaxvision.layers.convolution import Activation, conv, exact_gelu
from jaxvision.layers.initialization import uniform_fan_in
from jaxvision.layers.perceptron import linear


def simam(x: Float[Values, "b h w c"], *, epsilon: float = 1e-4) -> Array:
    """Returns the maps weighted by how much each value stands out of its channel.

    Per image and channel, with mean `m` and `s = sum (x - m)^2 / (H W - 1)`,

        y = x * sigmoid((x - m)^2 / (4 (s + epsilon)) + 1/2).

    The gate lies between sigmoid(1/2) = 0.622 and 1. There is nothing to learn.

    Args:
        x: (B, H, W, C), floating point, at least two positions.
        epsilon: positive, the paper's lambda.

    Returns:
        (B, H, W, C).

    Raises:
        TypeError, ValueError: `x` is no such array, or `epsilon` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> simam(jnp.ones((1, 2, 2, 1))).round(3)[0, 0].tolist()
        [[0.622], [0.622]]

    Source: Yang et al., SimAM, ICML 2021, equations 5 and 6: 1 / e* is the argument.
    """
    where = "jaxvision.layers.simam"
    x = images(where, x)
    count = x.shape[1] * x.shape[2]
    if count < 2:
        raise ValueError(
            f"{where}: `x` must have at least two positions, got shape {x.shape}"
        )
    if not epsilon > 0:
        raise ValueError(f"{where}: `epsilon` must be positive, got {epsilon!r}")
    square = (x - jnp.mean(x, axis=(1, 2), keepdims=True)) ** 2
    variance = jnp.sum(square, axis=(1, 2), keepdims=True) / (count - 1)
    return x * jax.nn.sigmoid(square / (4 * (variance + epsilon)) + 0.5)


class SqueezeExcitation(nnx.Module):
    """Weighs channels by a small network of their means.

    `y = x * sigmoid(W2 act(W1 mean(x) + b1) + b2)`, with C / reduction hidden units.

    Args:
        channels: C.
        reduction: divides C.
        activation: between the two layers.

    Raises:
        ValueError: a size that is not positive, or `reduction` does not divide C.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = SqueezeExcitation(32, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 4, 4, 32))).shape
        (2, 4, 4, 32)

    Source: Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, equations 2 to 4.
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        activation: Activation = jax.nn.relu,
        rngs: nnx.Rngs,
    ):
        self.gate = ChannelGate(
            "jaxvision.layers.SqueezeExcitation",
            channels,
            reduction,
            activation,
            use_bias=True,
            rngs=rngs,
        )
        self.channels = channels

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the weighted maps.

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, channels) of floats.
        """
        x = images("jaxvision.layers.SqueezeExcitation", x, self.channels)
        weights = jax.nn.sigmoid(self.gate(jnp.mean(x, axis=(1, 2))))
        return x * weights[:, None, None, :]


class SpatialAttention(nnx.Module):
    """Weighs positions by mean and maximum over the channels.

    `y = x * sigmoid(conv([mean_c x, max_c x]))`, one convolution without bias from two
    maps to one.

    Args:
        kernel: odd side of the convolution.

    Raises:
        ValueError: a kernel that is not odd and positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> SpatialAttention(rngs=nnx.Rngs(0))(jnp.ones((1, 4, 5, 8))).shape
        (1, 4, 5, 8)

    Source: Woo et al., CBAM, ECCV 2018, equation 3.
    """

    def __init__(
        self,
        kernel: int = 7,
        *,
        kernel_init: nnx.Initializer = uniform_fan_in,
        rngs: nnx.Rngs,
    ):
        where = "jaxvision.layers.SpatialAttention"
        positive(where, kernel=kernel)
        if kernel % 2 == 0:
            raise ValueError(f"{where}: `kernel` must be odd, got {kernel}")
        self.conv = conv(
            2, 1, kernel, use_bias=False, kernel_init=kernel_init, rngs=rngs
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the weighted maps.

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, C) of floats.
        """
        x = images("jaxvision.layers.SpatialAttention", x)
        pooled = [f(x, axis=-1, keepdims=True) for f in (jnp.mean, jnp.max)]
        return x * jax.nn.sigmoid(self.conv(jnp.concatenate(pooled, axis=-1)))


class ChannelGate(nnx.Module):
    """Two linear layers with a narrow middle, shared by the channel attentions."""

    def __init__(
        self,
        where: str,
        channels: int,
        reduction: int,
        activation: Activation,
        *,
        use_bias: bool,
        rngs: nnx.Rngs,
    ):
        positive(where, channels=channels, reduction=reduction)
        if channels % reduction:
            raise ValueError(
                f"{where}: `reduction` must divide the {channels} channels, got "
                f"{reduction}"
            )
        hidden = channels // reduction
        self.down = linear(channels, hidden, use_bias=use_bias, rngs=rngs)
        self.up = linear(hidden, channels, use_bias=use_bias, rngs=rngs)
        self.activation = activation

    def __call__(self, x: Float[Array, "b c"]) -> Float[Array, "b c"]:
        return self.up(self.activation(self.down(x)))


class MultiFrequencyAttention(nnx.Module):
    """Weighs channels by statistics of their products with DCT basis images.

    With average, maximum and minimum over the frequencies, as
    `jaxcore.transforms.multi_frequency_statistics` defines them, and `f` two shared
    linear layers without bias,

        y = x * sigmoid(f(average) + f(maximum) + f(minimum)).

    With `split_channels` every channel has one frequency and one coefficient `z`
    (`jaxcore.transforms.grouped_frequency_coefficients`), and `y = x * sigmoid(f(z))`:
    the layer of FcaNet.

    Args:
        channels: C.
        grid: side to which maps are pooled first, at least 7.
        frequencies: pairs from the 7 x 7 grid, see `jaxcore.transforms.frequency_list`;
            default: the first 16 of `"top"`.
        reduction: divides C.
        activation: inside `f`; default exact GELU.
        split_channels: one frequency per group of channels.
        method: of `multi_frequency_statistics`.

    Raises:
        ValueError: a size or frequency out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = MultiFrequencyAttention(16, grid=14, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((2, 20, 18, 16))).shape
        (2, 20, 18, 16)

    Sources: Nam et al., MADGNet, CVPR 2024; Qin et al., FcaNet, ICCV 2021.
    """

    def __init__(
        self,
        channels: int,
        *,
        grid: int,
        frequencies: Sequence[tuple[int, int]] | None = None,
        reduction: int = 16,
        activation: Activation | None = None,
        split_channels: bool = False,
        method: transforms.frequency_statistics.Method = "auto",
        rngs: nnx.Rngs,
    ):
        chosen = (
            transforms.frequency_list("top", 16) if frequencies is None else frequencies
        )
        self.gate = ChannelGate(
            "jaxvision.layers.MultiFrequencyAttention",
            channels,
            reduction,
            exact_gelu if activation is None else activation,
            use_bias=False,
            rngs=rngs,
        )
        self.frequencies = tuple((int(u), int(v)) for u, v in chosen)
        self.channels, self.grid = channels, grid
        self.split_channels, self.method = split_channels, method
        # The core checks grid, frequencies and method: it is asked now, on shapes.
        jax.eval_shape(self._gate, jax.ShapeDtypeStruct((1, 7, 7, channels), "float32"))

    def _gate(self, x: Float[Array, "b h w c"]) -> Float[Array, "b c"]:
        if self.split_channels:
            return self.gate(
                transforms.grouped_frequency_coefficients(
                    x, self.frequencies, self.grid
                )
            )
        found = transforms.multi_frequency_statistics(
            x, self.frequencies, self.grid, method=self.method
        )
        return sum(map(self.gate, found), jnp.zeros((), x.dtype))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the weighted maps.

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, channels) of floats.
        """
        x = images("jaxvision.layers.MultiFrequencyAttention", x, self.channels)
        return x * jax.nn.sigmoid(self._gate(x))[:, None, None, :]
