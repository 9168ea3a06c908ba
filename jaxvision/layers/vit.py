"""Vision transformers."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision._checks import Values
from jaxvision.layers._checks import images, positive
from jaxvision.layers.dropout import dropout
from jaxvision.layers.resize import resize_bicubic
from jaxvision.layers.transformer import Encoder


class Size(NamedTuple):
    """Patch side, blocks, width, heads, width between the linear layers."""

    patch: int
    depth: int
    hidden: int
    num_heads: int
    mlp_hidden: int


# Dosovitskiy et al., ICLR 2021, table 1.
SIZES = {
    "B/16": Size(16, 12, 768, 12, 3072),
    "B/32": Size(32, 12, 768, 12, 3072),
    "L/16": Size(16, 24, 1024, 16, 4096),
    "H/14": Size(14, 32, 1280, 16, 5120),
}


class ViT(nnx.Module):
    """Vision transformer: patches as tokens, a class token, learned positions.

    With 1000 classes and 224 x 224 images the parameters are in number those of
    torchvision.

    Args:
        size: `"B/16"`, `"B/32"`, `"L/16"`, `"H/14"` or a `Size`.
        image_size: side of the images, a multiple of the patch.
        num_classes: of the head; 0 for none, then the network returns the class token.
        in_channels: of the images.
        dropout: share dropped of the embedded patches and inside the blocks, where a
            call is given a key.

    Raises:
        ValueError: an unknown size, a share out of range, or patches that do not tile
            the image.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> def tokens(x):  # shapes alone: nothing is allocated
        ...     return ViT("B/16", rngs=nnx.Rngs(0)).tokens(x)
        >>> nnx.eval_shape(tokens, jnp.ones((2, 224, 224, 3))).shape
        (2, 197, 768)

    Source: Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, section 3.1.
    """

    def __init__(
        self,
        size: str | Size,
        *,
        image_size: int = 224,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        where = "jaxvision.layers.ViT"
        if isinstance(size, str):
            if size not in SIZES:
                raise ValueError(
                    f"{where}: `size` must be a Size or one of "
                    f"{', '.join(map(repr, SIZES))}, got {size!r}"
                )
            size = SIZES[size]
        positive(
            where, image_size=image_size, in_channels=in_channels, **size._asdict()
        )
        if num_classes:
            positive(where, num_classes=num_classes)
        patch, depth, hidden, num_heads, mlp_hidden = size
        if image_size % patch:
            raise ValueError(
                f"{where}: `image_size` must be a multiple of the patch, {patch}, got "
                f"{image_size}"
            )
        deviation = 1 / math.sqrt(in_channels * patch**2)
        self.embed = nnx.Conv(
            in_channels,
            hidden,
            (patch, patch),
            strides=(patch, patch),
            padding="VALID",
            kernel_init=nnx.initializers.truncated_normal(deviation),
            rngs=rngs,
        )
        count = (image_size // patch) ** 2
        positions = nnx.initializers.normal(0.02)(
            rngs.params(), (1, count + 1, hidden), jnp.float32
        )
        self.positions = nnx.Param(positions)
        self.class_token = nnx.Param(jnp.zeros((1, 1, hidden)))
        self.encoder = Encoder(
            depth, hidden, num_heads, mlp_hidden, dropout=dropout, rngs=rngs
        )
        self.head = (
            nnx.Linear(
                hidden,
                num_classes,
                kernel_init=nnx.initializers.zeros_init(),
                rngs=rngs,
            )
            if num_classes
            else None
        )
        self.image_size, self.in_channels = image_size, in_channels
        self.dropout = dropout

    def embedded(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n d"]:
        """Returns the tokens that go into the encoder: the class token, then patches.

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, C) of floats of the size that
                the network was made for.
        """
        where = "jaxvision.layers.ViT"
        x = images(where, x, self.in_channels)
        if x.shape[1:3] != (self.image_size, self.image_size):
            raise ValueError(
                f"{where}: `x` must be {self.image_size} high and wide, got shape "
                f"{x.shape}"
            )
        patches = self.embed(x)
        patches = patches.reshape(x.shape[0], -1, patches.shape[-1])
        first = jnp.broadcast_to(
            self.class_token[...].astype(patches.dtype),
            (x.shape[0], 1, patches.shape[-1]),
        )
        tokens = jnp.concatenate([first, patches], axis=1)
        return tokens + self.positions[...].astype(tokens.dtype)

    def tokens(
        self, x: Float[Array, "b h w c"], key: Array | None = None
    ) -> Float[Array, "b n d"]:
        """Returns the encoded tokens: the class token, then patches row by row.

        Args:
            x: (B, H, W, C).
            key: typed random key for dropout; without one nothing is dropped.

        Raises:
            TypeError, ValueError: as `embedded`.
        """
        first, second = (None, None) if key is None else jax.random.split(key)
        return self.encoder(dropout(first, self.embedded(x), self.dropout), second)

    def features(
        self, x: Float[Array, "b h w c"], key: Array | None = None
    ) -> Float[Array, "b d"]:
        """Returns the encoded class token, which is what the head sees.

        Raises:
            TypeError, ValueError: as `embedded`.
        """
        return self.tokens(x, key)[:, 0]

    def __call__(
        self, x: Float[Array, "b h w c"], key: Array | None = None
    ) -> Float[Array, "b n"]:
        """Returns logits (B, num_classes), or the class token without classes.

        Raises:
            TypeError, ValueError: as `embedded`.
        """
        found = self.features(x, key)
        return found if self.head is None else self.head(found)


def resize_positions(
    positions: Float[Values, "1 n d"], side: int
) -> Float[Array, "1 m d"]:
    """Returns the positions of a ViT for another grid of patches.

    Those of the patches are a map that is resized bicubically, corners on corners, as
    torchvision does it; that of the class token, the first, stays as it is.

    Args:
        positions: (1, 1 + s^2, D), floating point.
        side: patches along a side of the new grid.

    Raises:
        ValueError: another shape, or a side that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> resize_positions(jnp.zeros((1, 1 + 14**2, 8)), 16).shape
        (1, 257, 8)

    Source: Dosovitskiy et al., ViT, ICLR 2021, section 3.2 (positions are interpolated
    for another size); corners on corners is torchvision's reading.
    """
    where = "jaxvision.layers.resize_positions"
    positive(where, side=side)
    positions = jnp.asarray(positions)
    old = math.isqrt(max(positions.shape[1] - 1, 0)) if positions.ndim == 3 else 0
    if not old or positions.shape[:2] != (1, 1 + old**2):
        raise ValueError(
            f"{where}: `positions` must be (1, 1 + s^2, width), got shape "
            f"{positions.shape}"
        )
    grid = positions[:, 1:].reshape(1, old, old, -1)
    grid = resize_bicubic(grid, side, side, align_corners=True)
    return jnp.concatenate([positions[:, :1], grid.reshape(1, side**2, -1)], axis=1)


def attention_rollout(model: ViT, x: Float[Values, "b h w c"]) -> Array:
    """Returns a map of how much of each patch reaches the class token.

    With the mean over heads `A` of each block, `B = (A + 1) / 2` for what its residual
    connection passes on, the row of the class token in the product of all `B`. A map
    and what the class token keeps of itself sum to 1. For looking at: it says where
    attention goes, not what a decision rests on.

    Args:
        model: a ViT.
        x: (B, H, W, C), as the network takes them.

    Returns:
        (B, side, side), side the number of patches along an image.

    Raises:
        TypeError, ValueError: as `ViT.embedded`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> def run(x):
        ...     return attention_rollout(
        ...         ViT(Size(4, 2, 8, 2, 8), image_size=8, rngs=nnx.Rngs(0)), x
        ...     )
        >>> nnx.eval_shape(run, jnp.ones((2, 8, 8, 3))).shape
        (2, 2, 2)

    Source: Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020.
    """
    tokens = model.embedded(jnp.asarray(x))
    identity = jnp.eye(tokens.shape[1], dtype=tokens.dtype)
    flow = jnp.broadcast_to(identity, (len(tokens), *identity.shape))
    for block in model.encoder.blocks:
        taken = jnp.mean(block.attention.weights(block.first_norm(tokens)), axis=1)
        flow = jnp.einsum("bnm,bmk->bnk", (taken + identity[None]) / 2, flow)
        tokens = block(tokens)
    side = math.isqrt(tokens.shape[1] - 1)
    return flow[:, 0, 1:].reshape(len(tokens), side, side)
