"""The classifiers that FedRewind trains: a ResNet-18, or a perceptron for digits."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.layers import Perceptron, ResNet
from jaxvision.layers._checks import images, positive


NETWORKS = ("resnet18", "perceptron")
OWNER = "jaxvision.models.FedRewindClassifier"


@dataclass(frozen=True)
class FedRewindOptions:
    """Sizes of the network; the defaults are the paper's for CIFAR-10.

    Attributes:
        image_size: side of the images.
        in_channels: of the images; one is repeated three times for a ResNet.
        num_classes: of the logits.
        network: `"resnet18"` or `"perceptron"`.
        widths: of the hidden layers of a perceptron; of a ResNet that of the first
            stage alone.

    Raises:
        ValueError: a size that is not positive, or another number of channels or
            widths than the network takes.
    """

    image_size: int = 32
    in_channels: int = 3
    num_classes: int = 10
    network: str = "resnet18"
    widths: tuple[int, ...] = (64,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        positive(
            OWNER,
            image_size=self.image_size,
            in_channels=self.in_channels,
            num_classes=self.num_classes,
        )
        for width in self.widths:
            positive(OWNER, widths=width)
        if self.network not in NETWORKS:
            raise ValueError(
                f"{OWNER}: `network` must be one of {NETWORKS}, got {self.network!r}"
            )
        if self.network == "resnet18" and self.in_channels not in (1, 3):
            raise ValueError(
                f"{OWNER}: `in_channels` must be 1 or 3 for a ResNet, got "
                f"{self.in_channels}"
            )
        if self.network == "resnet18" and len(self.widths) != 1:
            raise ValueError(
                f"{OWNER}: `widths` must have one entry for a ResNet, the width of its "
                f"first stage, got {self.widths}"
            )


class FedRewindClassifier(nnx.Module):
    """Logits of images in [0, 1], by a ResNet-18 or a perceptron.

    `backbone` is the `layers.ResNet` or `layers.Perceptron`: weights of torchvision go
    into it with `load_weights(model.backbone, path, source="torchvision",
    leave=("head",))`.

    Args:
        options: sizes.
        rngs: random keys of the parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> options = FedRewindOptions(28, 1)
        >>> def run(x):  # shapes alone: nothing is allocated
        ...     return FedRewindClassifier(options, rngs=nnx.Rngs(0))(x)
        >>> nnx.eval_shape(run, jnp.ones((2, 28, 28, 1))).shape
        (2, 10)

    Source: Palazzo et al., FedRewind, ICPR 2024, section 4. Its images are not resized.
    """

    def __init__(self, options: FedRewindOptions, *, rngs: nnx.Rngs):
        self.options = options
        self.backbone: nnx.Module
        if options.network == "resnet18":
            (width,) = options.widths
            self.backbone = ResNet(
                18, num_classes=options.num_classes, width=width, rngs=rngs
            )
        else:
            size = options.image_size**2 * options.in_channels
            self.backbone = Perceptron(
                (size, *options.widths, options.num_classes), rngs=rngs
            )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k"]:
        """Returns logits (B, num_classes).

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, in_channels) of floats of the
                size that the network was made for.
        """
        options = self.options
        x = images(OWNER, x, options.in_channels)
        size = options.image_size
        if x.shape[1:3] != (size, size):
            raise ValueError(
                f"{OWNER}: `x` must be {size} high and wide, got shape {x.shape}"
            )
        if options.network == "perceptron":
            return self.backbone(x.reshape(x.shape[0], -1))
        return self.backbone(jnp.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x)
