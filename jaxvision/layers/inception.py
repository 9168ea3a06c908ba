"""InceptionV3: the network as torchvision has it, and the one that FID is defined with.

Blocks are tables: a block is branches side by side, a branch is steps one after
another, a step is a convolution, several of them side by side, or a pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.layers._checks import images, positive
from jaxvision.layers.convolution import ConvNormActivation, Sides
from jaxvision.layers.normalization import BatchNorm
from jaxvision.layers.perceptron import linear


WHERE = "jaxvision.layers.InceptionV3"
CLASSES = {"torchvision": 1000, "fid": 1008}  # of a variant's published weights
SMALLEST = 75  # below, nothing is left of the maps
AUXILIARY_SMALLEST = 299  # below, less is left than the 5 x 5 of its convolution


@dataclass(frozen=True)
class Conv:
    """A convolution with normalization and ReLU; `padding=0` cuts the border off."""

    channels: int
    kernel: Sides = 1
    stride: int = 1
    padding: Sides | None = None


Step = Conv | tuple[Conv, Conv] | str
Branches = Mapping[str, tuple[Step, ...]]

_halve = partial(nnx.max_pool, window_shape=(3, 3), strides=(2, 2))
_same = {"window_shape": (3, 3), "strides": (1, 1), "padding": ((1, 1), (1, 1))}
POOLS: dict[str, Callable[[Array], Array]] = {
    "halve": _halve,
    "maximum": partial(nnx.max_pool, **_same),
    "average": partial(nnx.avg_pool, **_same),  # zeros of the padding count
    "average inside": partial(nnx.avg_pool, **_same, count_include_pad=False),
}

STEM = {
    "1a_3x3": Conv(32, 3, 2, 0),
    "2a_3x3": Conv(32, 3, 1, 0),
    "2b_3x3": Conv(64, 3),
    "3b_1x1": Conv(80),
    "4a_3x3": Conv(192, 3, 1, 0),
}
HALVED = ("2b_3x3", "4a_3x3")  # layers of the stem before a pool
AUXILIARY = (Conv(128), Conv(768, 5, 1, 0))
BEFORE_AUXILIARY = "6e"


def _factored_5x5(pool: str, after_pool: int) -> Branches:
    """Figure 5 of the paper, with one 5 x 5 kept."""
    return {
        "branch1x1": (Conv(64),),
        "branch5x5": (Conv(48), Conv(64, 5)),
        "branch3x3dbl": (Conv(64), Conv(96, 3), Conv(96, 3)),
        "branch_pool": (pool, Conv(after_pool)),
    }


def _factored_7x7(pool: str, width: int) -> Branches:
    """Figure 6: 1 x 7 and 7 x 1 in turns."""
    wide, high = Conv(width, (1, 7)), Conv(width, (7, 1))
    return {
        "branch1x1": (Conv(192),),
        "branch7x7": (Conv(width), wide, Conv(192, (7, 1))),
        "branch7x7dbl": (Conv(width), high, wide, high, Conv(192, (1, 7))),
        "branch_pool": (pool, Conv(192)),
    }


def _spread(pool: str) -> Branches:
    """Figure 7: 1 x 3 and 3 x 1 side by side."""
    both = (Conv(384, (1, 3)), Conv(384, (3, 1)))
    return {
        "branch1x1": (Conv(320),),
        "branch3x3": (Conv(384), both),
        "branch3x3dbl": (Conv(448), Conv(384, 3), both),
        "branch_pool": (pool, Conv(192)),
    }


FIRST_HALVING: Branches = {
    "branch3x3": (Conv(384, 3, 2, 0),),
    "branch3x3dbl": (Conv(64), Conv(96, 3), Conv(96, 3, 2, 0)),
    "branch_pool": ("halve",),
}
SECOND_HALVING: Branches = {
    "branch3x3": (Conv(192), Conv(320, 3, 2, 0)),
    "branch7x7x3": (
        Conv(192),
        Conv(192, (1, 7)),
        Conv(192, (7, 1)),
        Conv(192, 3, 2, 0),
    ),
    "branch_pool": ("halve",),
}


def blocks_of(variant: str) -> dict[str, Branches]:
    """Returns the blocks of a variant after the stem, in order, by name.

    Example:
        >>> blocks_of("fid")["7c"]["branch_pool"]
        ('maximum', Conv(channels=192, kernel=1, stride=1, padding=None))
    """
    pool, last = {
        "torchvision": ("average", "average"),
        "fid": ("average inside", "maximum"),
    }[variant]
    return {
        "5b": _factored_5x5(pool, 32),
        "5c": _factored_5x5(pool, 64),
        "5d": _factored_5x5(pool, 64),
        "6a": FIRST_HALVING,
        "6b": _factored_7x7(pool, 128),
        "6c": _factored_7x7(pool, 160),
        "6d": _factored_7x7(pool, 160),
        "6e": _factored_7x7(pool, 192),
        "7a": SECOND_HALVING,
        "7b": _spread(pool),
        "7c": _spread(last),
    }


Build = Callable[[int, Conv], tuple[ConvNormActivation, int]]


def _builder(width: int, rngs: nnx.Rngs) -> Build:
    """Returns what builds a layer for so many channels, and tells how many it gives.

    Channels of the tables are for a `width` of 32.
    """

    def build(in_channels: int, spec: Conv) -> tuple[ConvNormActivation, int]:
        channels = spec.channels * width // 32
        layer = ConvNormActivation(
            in_channels,
            channels,
            spec.kernel,
            stride=spec.stride,
            padding=spec.padding,
            norm=partial(BatchNorm, epsilon=1e-3),
            rngs=rngs,
        )
        return layer, channels

    return build


class Branched(nnx.Module):
    """Branches side by side on the same maps, what they give one after another.

    Layers are named by branch, with their place in it if there are several and a letter
    if they are side by side: `branch1x1`, `branch3x3_1`, `branch3x3_2a`.

    Args:
        in_channels: of the maps.
        branches: name -> steps.
        build: see `_builder`.
    """

    def __init__(self, in_channels: int, branches: Branches, build: Build):
        layers, plan, self.channels = {}, [], 0
        for branch, steps in branches.items():
            names, width = _names(branch, steps), in_channels
            for step, called in zip(steps, names, strict=True):
                if isinstance(step, str):
                    continue
                built = [build(width, spec) for spec in _side_by_side(step)]
                width = sum(channels for _, channels in built)
                for name, (layer, _) in zip(called, built, strict=True):
                    layers[name] = layer
            plan.append(names)
            self.channels += width
        self.layers = nnx.Dict(layers)
        self.plan = tuple(plan)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        """Returns the maps of all branches, as channels."""
        found = []
        for steps in self.plan:
            y = x
            for names in steps:
                parts = [POOLS.get(name) or self.layers[name] for name in names]
                y = _joined([part(y) for part in parts])
            found.append(y)
        return _joined(found)


def _names(branch: str, steps: tuple[Step, ...]) -> tuple[tuple[str, ...], ...]:
    """Returns what each step consists of: names of layers, or that of a pool."""
    several = sum(not isinstance(step, str) for step in steps) > 1
    found: list[tuple[str, ...]] = []
    for place, step in enumerate(steps, 1):
        if isinstance(step, str):
            found.append((step,))
            continue
        count = len(_side_by_side(step))
        name = f"{branch}_{place}" if several else branch
        letters = ("a", "b") if count == 2 else ("",)
        found.append(tuple(name + letter for letter in letters))
    return tuple(found)


def _side_by_side(step: Conv | tuple[Conv, Conv]) -> tuple[Conv, ...]:
    return (step,) if isinstance(step, Conv) else step


def _joined(maps: list[Array]) -> Array:
    return maps[0] if len(maps) == 1 else jnp.concatenate(maps, axis=-1)


class Auxiliary(nnx.Module):
    """A second classifier on the maps in the middle of the network, for training."""

    def __init__(
        self, in_channels: int, num_classes: int, build: Build, *, rngs: nnx.Rngs
    ):
        layers, width = [], in_channels
        for spec in AUXILIARY:
            layer, width = build(width, spec)
            layers.append(layer)
        self.layers = nnx.List(layers)
        self.head = linear(width, num_classes, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n"]:
        """Returns logits."""
        x = nnx.avg_pool(x, (5, 5), strides=(3, 3))
        for layer in self.layers:
            x = layer(x)
        return self.head(jnp.mean(x, axis=(1, 2)))


class InceptionV3(nnx.Module):
    """Inception network, version 3, for classification or for its pooled features.

    Five convolutions, eleven blocks of branches, the mean over positions (2048
    features), a linear layer. Images are in [-1, 1], 299 x 299 where the published
    weights are used; torchvision's weights take these too (it scales what is normalized
    for its other networks back to them). In number, parameters are those of
    torchvision: 23,834,568, with the auxiliary head 27,161,264.

    There is no dropout inside: training as published is
    `model.head(layers.dropout(key, model.features(x), 0.5))`.

    Args:
        variant: `"torchvision"`, or `"fid"`: the network of TensorFlow's file of
            2015-12-05, in whose features FID and KID are computed. There, zeros of the
            padding do not count in averages, the last block takes maxima in the place
            of averages, and the published weights have 1008 classes.
        num_classes: of the linear layer, by default that of the published weights.
        auxiliary: whether there is a second head, after block 6e, see
            `with_auxiliary`.
        in_channels: of the images.
        width: of the first layer; all widths are in proportion. Even.

    Raises:
        ValueError: an unknown variant, a size that is not positive, an odd width.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> def run(x):  # shapes alone: nothing is allocated
        ...     model = InceptionV3("fid", rngs=nnx.Rngs(0))
        ...     return model.features(x), model(x)
        >>> found = nnx.eval_shape(run, jnp.ones((2, 299, 299, 3)))
        >>> [array.shape for array in found]
        [(2, 2048), (2, 1008)]

    Source: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016, section 6
    and figures 5 to 7. Widths, which the paper gives in part, are those of the
    published weights.
    """

    def __init__(
        self,
        variant: str = "torchvision",
        *,
        num_classes: int | None = None,
        auxiliary: bool = False,
        in_channels: int = 3,
        width: int = 32,
        rngs: nnx.Rngs,
    ):
        if variant not in CLASSES:
            raise ValueError(
                f"{WHERE}: `variant` must be one of {', '.join(map(repr, CLASSES))}, "
                f"got {variant!r}"
            )
        num_classes = CLASSES[variant] if num_classes is None else num_classes
        positive(WHERE, num_classes=num_classes, in_channels=in_channels, width=width)
        if width % 2:
            raise ValueError(f"{WHERE}: `width` must be even, got {width}")
        self.variant, self.in_channels = variant, in_channels
        build, channels = _builder(width, rngs), in_channels
        stem: dict[str, ConvNormActivation] = {}
        for name, spec in STEM.items():
            stem[name], channels = build(channels, spec)
        self.stem = nnx.Dict(stem)
        blocks: dict[str, Branched] = {}
        second = None
        for name, branches in blocks_of(variant).items():
            blocks[name] = Branched(channels, branches, build)
            channels = blocks[name].channels
            if name == BEFORE_AUXILIARY and auxiliary:
                second = Auxiliary(channels, num_classes, build, rngs=rngs)
        self.blocks, self.auxiliary = nnx.Dict(blocks), second
        self.head = linear(channels, num_classes, rngs=rngs)

    def features(self, x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        """Returns the mean of the last maps, (B, 2048).

        Raises:
            TypeError, ValueError: `x` is no (B, H, W, in_channels) of floats, or a side
                is below 75.
        """
        return self._run(x, SMALLEST)[0]

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b n"]:
        """Returns logits (B, num_classes).

        Raises:
            TypeError, ValueError: as `features`.
        """
        return self.head(self.features(x))

    def with_auxiliary(
        self, x: Float[Array, "b h w c"]
    ) -> tuple[Float[Array, "b n"], Float[Array, "b n"]]:
        """Returns the logits of both heads, for a loss that is a sum over both.

        Raises:
            TypeError, ValueError: as `features`; there is no second head, or a side is
                below 299.
        """
        if self.auxiliary is None:
            raise ValueError(
                f"{WHERE}: `auxiliary` must be True for a second head, got False"
            )
        pooled, middle = self._run(x, AUXILIARY_SMALLEST)
        return self.head(pooled), self.auxiliary(middle)

    def _run(self, x: Array, smallest: int) -> tuple[Array, Array]:
        """Returns features, and the maps that the second head sees."""
        x = middle = images(WHERE, x, self.in_channels, smallest)
        for name in STEM:
            x = self.stem[name](x)
            x = _halve(x) if name in HALVED else x
        for name in blocks_of(self.variant):
            x = self.blocks[name](x)
            middle = x if name == BEFORE_AUXILIARY else middle
        return jnp.mean(x, axis=(1, 2)), middle
