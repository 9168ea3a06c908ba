"""Ripeness of fruit by a vision transformer: `layers.ViT` with a head for grades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxvision import _checks, data
from jaxvision._checks import Values
from jaxvision.layers import Size, ViT
from jaxvision.layers._checks import positive
from jaxvision.layers.vit import SIZES


OWNER = "jaxvision.models.RipenessViT"


@dataclass(frozen=True)
class RipenessViTOptions:
    """Sizes of the network; the defaults are the paper's ViT-B/16.

    Attributes:
        patch: side of the patches and their distance. The paper's "stride 16" would
            contradict its own 1369 patches of 14 pixels in 518.
        depth: number of blocks. hidden: width of the tokens. num_heads: divides it.
        mlp_hidden: width between the linear layers of a block.
        image_size: side of the images, a multiple of the patch.
        num_classes: grades.
        dropout: share that is dropped, in training of the whole network.

    Raises:
        ValueError: a size out of range.
    """

    patch: int = 16
    depth: int = 12
    hidden: int = 768
    num_heads: int = 12
    mlp_hidden: int = 3072
    image_size: int = 224
    num_classes: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        positive(OWNER, **self.size._asdict())
        positive(OWNER, image_size=self.image_size, num_classes=self.num_classes)
        for name, by in (("image_size", "patch"), ("hidden", "num_heads")):
            if getattr(self, name) % getattr(self, by):
                raise ValueError(
                    f"{OWNER}: `{name}` must be a multiple of `{by}`, "
                    f"{getattr(self, by)}, got {getattr(self, name)}"
                )
        _checks.fraction(OWNER, "dropout", self.dropout)

    @property
    def size(self) -> Size:
        """What `layers.ViT` calls its size."""
        return Size(
            self.patch, self.depth, self.hidden, self.num_heads, self.mlp_hidden
        )

    @classmethod
    def of(cls, variant: str, image_size: int, **options: float) -> RipenessViTOptions:
        """Returns the options of a published size, `"B/16"`, `"L/16"` or `"H/14"`.

        Example:
            >>> RipenessViTOptions.of("H/14", 518).depth
            32
        """
        if variant not in SIZES:
            raise ValueError(
                f"{OWNER}: `variant` must be one of {tuple(SIZES)}, got {variant!r}"
            )
        sizes = SIZES[variant]._asdict()
        return cls(**sizes, image_size=image_size, **options)  # type: ignore[arg-type]


def ripeness_vit(options: RipenessViTOptions, *, rngs: nnx.Rngs) -> ViT:
    """Returns the network, which takes normalized images (`data.normalize`).

    Example:
        >>> from flax import nnx
        >>> options = RipenessViTOptions(8, 1, 8, 2, 8, image_size=16)
        >>> nnx.eval_shape(lambda: ripeness_vit(options, rngs=nnx.Rngs(0))).image_size
        16
    """
    return ViT(
        options.size,
        image_size=options.image_size,
        num_classes=options.num_classes,
        dropout=options.dropout,
        rngs=rngs,
    )


class Grades(NamedTuple):
    """The likeliest class of each image, and the probabilities of all."""

    label: Int[Array, " b"]
    probability: Float[Array, "b k"]


def predict(network: ViT, image: Float[Values, "b h w c"]) -> Grades:
    """Returns the grades of photographs.

    Args:
        network: a ViT with a head.
        image: (B, H, W, 3) in [0, 1], of the size that the network was made for.

    Raises:
        TypeError, ValueError: images of another form, see `layers.ViT`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> sizes = dict(patch=8, depth=1, hidden=8, num_heads=2, mlp_hidden=8)
        >>> options = RipenessViTOptions(**sizes, image_size=16)
        >>> network = ripeness_vit(options, rngs=nnx.Rngs(0))
        >>> predict(network, jnp.ones((1, 16, 16, 3))).probability.tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    logits = network(data.normalize(image))
    return Grades(jnp.argmax(logits, axis=-1), jax.nn.softmax(logits, axis=-1))
