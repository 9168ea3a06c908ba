"""Vision transformers."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.layers._checks import images, positive
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

    Raises:
        ValueError: an unknown size, or patches that do not tile the image.

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
        self.encoder = Encoder(depth, hidden, num_heads, mlp_hidden, rngs=rngs)
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

    def tokens(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n d"]:
        """Returns the encoded tokens: the class token, then patches row by row.

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
        return self.encoder(tokens + self.positions[...].astype(tokens.dtype))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n"]:
        """Returns logits (B, num_classes), or the class token without classes.

        Raises:
            TypeError, ValueError: as `tokens`.
        """
        found = self.tokens(x)[:, 0]
        return found if self.head is None else self.head(found)
