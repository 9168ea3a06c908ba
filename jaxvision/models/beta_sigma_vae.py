"""The beta-sigma VAE: a variational autoencoder for images with a Gaussian decoder.

What makes it one is its loss, `jaxvision.losses.beta_sigma_loss`; the network has a
residual encoder and a convolutional decoder, or two perceptrons for tiny images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcore.training import row_keys
from jaxcore.training.parallel import is_key
from jaxvision._checks import floating
from jaxvision.layers import BasicBlock, BatchNorm, ConvTranspose, Perceptron, linear
from jaxvision.layers._checks import images, positive


NETWORKS = ("residual", "perceptron")
OWNER = "jaxvision.models.BetaSigmaVAE"


@dataclass(frozen=True)
class BetaSigmaVAEOptions:
    """Sizes of the network; the defaults are the paper's for CelebA.

    Attributes:
        image_size: side of the images.
        in_channels: of the images.
        channels: of the stages of the encoder, each halving the size (a side of n
            becomes (n + 1) // 2); the decoder has them in reverse. For a perceptron:
            widths of its hidden layers.
        latent: numbers in the code.
        network: `"residual"` or `"perceptron"`.

    Raises:
        ValueError: a size that is not positive, or an unknown network.
    """

    image_size: int = 64
    in_channels: int = 3
    channels: tuple[int, ...] = (32, 64, 128, 256)
    latent: int = 64
    network: str = "residual"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        positive(
            OWNER,
            image_size=self.image_size,
            in_channels=self.in_channels,
            latent=self.latent,
        )
        if not self.channels:
            raise ValueError(
                f"{OWNER}: `channels` must have at least one entry, got ()"
            )
        for width in self.channels:
            positive(OWNER, channels=width)
        if self.network not in NETWORKS:
            raise ValueError(
                f"{OWNER}: `network` must be one of {NETWORKS}, got {self.network!r}"
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """Side of the image and of the maps after each stage of the encoder."""
        found = [self.image_size]
        for _ in self.channels:
            found.append((found[-1] + 1) // 2)
        return tuple(found)


class BetaSigmaVAE(nnx.Module):
    """Encoder to a Gaussian posterior, decoder to the mean of a Gaussian.

    The decoder ends without a sigmoid: it is a mean, clip it only for pictures.
    Normalization uses the batch in training; call `eval()` before `sample`.

    Args:
        options: sizes.
        rngs: random keys of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> options = BetaSigmaVAEOptions(7, 1, channels=(8,), latent=4)
        >>> def run(x, key):  # shapes alone: nothing is allocated
        ...     return BetaSigmaVAE(options, rngs=nnx.Rngs(0))(x, key)
        >>> shapes = nnx.eval_shape(run, jnp.ones((2, 7, 7, 1)), jax.random.key(0))
        >>> [s.shape for s in shapes]  # reconstruction, mean, log-variance
        [(2, 7, 7, 1), (2, 4), (2, 4)]

    Source: Kim and Lee, Beta-Sigma VAE; architecture as the authors publish it.
    """

    def __init__(self, options: BetaSigmaVAEOptions, *, rngs: nnx.Rngs):
        if options.network == "residual":
            self.encoder: nnx.Module = _Encoder(options, rngs)
            self.decoder: nnx.Module = _Decoder(options, rngs)
        else:
            size = options.image_size**2 * options.in_channels
            widths = (size, *options.channels, 2 * options.latent)
            self.encoder = _perceptron(widths, rngs)
            self.decoder = _perceptron(
                (options.latent, *reversed(options.channels), size), rngs
            )
        self.options = options

    def encode(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b l"], Float[Array, "b l"]]:
        """Returns mean and log-variance of the posterior, each (B, latent).

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, C) of floats of the size that
                the network was made for.
        """
        size = self.options.image_size
        x = images(OWNER, x, self.options.in_channels)
        if x.shape[1:3] != (size, size):
            raise ValueError(
                f"{OWNER}: `x` must be {size} high and wide, got shape {x.shape}"
            )
        if self.options.network == "perceptron":
            x = x.reshape(x.shape[0], -1)
        mean, log_variance = jnp.split(self.encoder(x), 2, axis=-1)
        return mean, log_variance

    def decode(self, z: Float[Array, "b l"]) -> Float[Array, "b h w c"]:
        """Returns the mean image of each code.

        Raises:
            TypeError: codes are not floating point.
            ValueError: `z` is not (B, latent).
        """
        z = floating(OWNER, "z", z)
        if z.ndim != 2 or z.shape[1] != self.options.latent:
            raise ValueError(
                f"{OWNER}: `z` must be (batch, {self.options.latent}), got shape "
                f"{z.shape}"
            )
        size = self.options.image_size
        return self.decoder(z).reshape(-1, size, size, self.options.in_channels)

    def __call__(
        self, x: Float[Array, "b h w c"], key: Array
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b l"], Float[Array, "b l"]]:
        """Returns reconstruction, posterior mean and log-variance.

        The reconstruction decodes one draw, `mean + exp(log_variance / 2) * noise`; the
        noise of a row does not depend on the number of devices.

        Args:
            x: images (B, H, W, C).
            key: typed random key, of which each row gets its own by its position; or
                (B,) keys, those of the rows.

        Raises:
            TypeError, ValueError: as `encode`; or `key` is neither.
        """
        mean, log_variance = self.encode(x)
        rows = mean.shape[0]
        if not is_key(key) or key.shape == ():
            key = row_keys(key, rows)
        elif key.shape != (rows,):
            raise ValueError(
                f"{OWNER}: `key` must be one key, or {rows}, one of each image, got "
                f"shape {key.shape}"
            )
        draw = jax.vmap(lambda k: jax.random.normal(k, mean.shape[1:], mean.dtype))
        z = mean + jnp.exp(log_variance / 2) * draw(key)
        return self.decode(z), mean, log_variance

    def sample(self, key: Array, n: int) -> Float[Array, "n h w c"]:
        """Returns the mean images of `n` codes drawn from N(0, 1)."""
        positive(f"{OWNER}.sample", n=n)
        return self.decode(jax.random.normal(key, (n, self.options.latent)))


def _perceptron(widths: tuple[int, ...], rngs: nnx.Rngs) -> Perceptron:
    return Perceptron(widths, activation=jax.nn.leaky_relu, rngs=rngs)


def _block(width: int, wide: int, stride: int, rngs: nnx.Rngs) -> BasicBlock:
    return BasicBlock(
        width, wide, stride, use_bias=True, activation=jax.nn.leaky_relu, rngs=rngs
    )


class _Encoder(nnx.Module):
    """Stages of two residual blocks, then two linear layers."""

    def __init__(self, options: BetaSigmaVAEOptions, rngs: nnx.Rngs):
        width, blocks = options.in_channels, []
        for wide in options.channels:
            blocks += [_block(width, wide, 2, rngs), _block(wide, wide, 1, rngs)]
            width = wide
        self.blocks = nnx.List(blocks)
        out = 2 * options.latent
        self.first = linear(width * options.sides[-1] ** 2, out, rngs=rngs)
        self.norm = BatchNorm(out)
        self.last = linear(out, out, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b l"]:
        for block in self.blocks:
            x = block(x)
        x = self.norm(self.first(x.reshape(x.shape[0], -1)))
        return self.last(jax.nn.leaky_relu(x))


class _Decoder(nnx.Module):
    """A linear layer, a residual block, transposed convolutions back to the image."""

    def __init__(self, options: BetaSigmaVAEOptions, rngs: nnx.Rngs):
        side, width = options.sides[-1], options.channels[-1]
        self.shape = (side, side, width)
        self.first = linear(options.latent, math.prod(self.shape), rngs=rngs)
        self.norm = BatchNorm(math.prod(self.shape))
        self.block = _block(width, width, 1, rngs)
        ups, norms = [], []
        # The next widths in reverse order, then the last one again.
        wider = [*reversed(options.channels[:-1]), options.channels[0]]
        for wide, target in zip(wider, reversed(options.sides[:-1]), strict=True):
            ups.append(
                ConvTranspose(
                    width,
                    wide,
                    3,
                    stride=2,
                    padding=1,
                    output_padding=1 - target % 2,
                    rngs=rngs,
                )
            )
            norms.append(BatchNorm(wide))
            width = wide
        self.ups, self.norms = nnx.List(ups), nnx.List(norms)
        self.last = ConvTranspose(width, options.in_channels, 3, padding=1, rngs=rngs)

    def __call__(self, z: Float[Array, "b l"]) -> Float[Array, "b h w c"]:
        x = jax.nn.leaky_relu(self.norm(self.first(z)))
        x = self.block(x.reshape(-1, *self.shape))
        for up, norm in zip(self.ups, self.norms, strict=True):
            x = jax.nn.leaky_relu(norm(up(x)))
        return self.last(x)
