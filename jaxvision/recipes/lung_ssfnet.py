"""Training of LungSSFNet, its ablations, and the plain U-Net beside it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from jaxcore.training import Task
from jaxvision import _checks, data, losses
from jaxvision.data.files import refuse_split
from jaxvision.layers import convolution_operations, count_parameters
from jaxvision.layers._checks import positive
from jaxvision.models import LungSSFNet, LungSSFOptions
from jaxvision.recipes._epochs import Epochs
from jaxvision.recipes._labels import check_labels
from jaxvision.recipes._lesions import rows_of_images, summary
from jaxvision.recipes._network_task import network_task
from jaxvision.system import Arrays, System


OWNER = "jaxvision.recipe('lung_ssfnet')"


@dataclass(frozen=True)
class LungSSFRecipe(Epochs):
    """What is trained and how; the defaults are the paper's.

    Attributes:
        network: sizes of the network.
        image_size: side to which the reader of folders brings images.
        mask_values: value in the masks of each label, in their order, (0, 255) for two;
            empty: values are labels, with one map of logits all but 0 the label 1.
        learning_rate: of the first epoch; later ones have
            `learning_rate (1 - epoch / epochs)^power`.
        power: see there; nnU-Net's.
        momentum: Nesterov's. weight_decay: added to the gradient.
        dice_weight: of the soft Dice beside the cross-entropy, which has 1.
        augment: with nnU-Net's augmentation, see `augmented`, in the compiled step.
        positive_class: lesion that counts as positive in the decision for an image, in
            the paper malignant; 0: the last.
        batch_size, epochs: as usual; the rest of an epoch is dropped.
        num_images: to train on; with batch size and epochs it gives `steps`.

    Raises:
        ValueError: a value out of range.
    """

    network: LungSSFOptions = field(default_factory=LungSSFOptions)
    image_size: int = 512
    mask_values: tuple[int, ...] = ()
    learning_rate: float = 0.01
    power: float = 0.9
    momentum: float = 0.99
    weight_decay: float = 3e-5
    dice_weight: float = 1.0
    augment: bool = True
    positive_class: int = 0
    batch_size: int = 7
    epochs: int = 500
    num_images: int = 245

    def __post_init__(self) -> None:
        self.check_length(OWNER)
        positive(OWNER, image_size=self.image_size)
        divisor = 2 ** (len(self.network.channels) - 1)
        if self.image_size % divisor:
            raise ValueError(
                f"{OWNER}: `image_size` must be divisible by {divisor}, once 2 per "
                f"stage of the encoder but the first, got {self.image_size}"
            )
        if self.image_size < 2 * divisor:
            raise ValueError(
                f"{OWNER}: `image_size` must be at least {2 * divisor}, so that the "
                "deepest stage has more than one position to normalize over, got "
                f"{self.image_size}"
            )
        given = self.mask_values
        whole = all(type(v) is int and v >= 0 for v in given)
        if given and not (whole and len(set(given)) == len(given) == self.num_labels):
            raise ValueError(
                f"{OWNER}: `mask_values` must be {self.num_labels} different integers, "
                f"not negative, one per label, got {given}"
            )
        _checks.positive(OWNER, "learning_rate", self.learning_rate)
        _checks.fraction(OWNER, "momentum", self.momentum)
        for name in ("weight_decay", "dice_weight", "power"):
            _checks.not_negative(OWNER, name, getattr(self, name))
        if not 0 <= self.positive_class < self.num_labels:
            raise ValueError(
                f"{OWNER}: `positive_class` must be from 0 to {self.num_labels - 1}, "
                f"got {self.positive_class!r}"
            )

    @property
    def num_labels(self) -> int:
        """Labels of a pixel, the background included; two with one map of logits."""
        return max(self.network.num_classes, 2)

    @property
    def positive(self) -> int:
        """The lesion that counts as positive."""
        return self.positive_class or self.num_labels - 1

    def rate(self, step: Array) -> Array:
        """Returns the learning rate at a step, constant over an epoch."""
        epoch = jnp.minimum(step // self.epoch_steps, self.epochs)
        return self.learning_rate * (1 - epoch / self.epochs) ** self.power

    def loss(self, logits: Array, label: Array) -> tuple[Array, dict[str, Array]]:
        """Returns cross-entropy plus soft Dice, and both.

        With one map of logits these are binary; otherwise the Dice leaves out the
        background, and both are pooled over the batch.
        """
        classes = self.network.num_classes
        if classes == 1:
            # Other labels than 0 and 1 give NaN, as with several classes.
            known = (label == 0) | (label == 1)
            target = jnp.where(known, label, jnp.nan).astype(logits.dtype)[..., None]
            entropy = jnp.mean(losses.binary_cross_entropy(logits, target))
            shares = jax.nn.sigmoid(logits)
        else:
            entropy = jnp.mean(losses.softmax_cross_entropy(logits, label))
            target = jax.nn.one_hot(label, classes, dtype=logits.dtype)
            shares = jax.nn.softmax(logits)
        overlap = losses.soft_dice_loss(
            shares, target, background=0 if classes > 1 else None
        )
        parts = {"cross_entropy": entropy, "soft_dice": overlap}
        return entropy + self.dice_weight * overlap, parts


def predictions(logits: Array) -> Array:
    """Returns the label of each pixel: the largest logit, or the sign of the only one.

    Example:
        >>> import jax.numpy as jnp
        >>> predictions(jnp.array([[-1.0], [2.0]])).tolist()
        [0, 1]
    """
    if logits.shape[-1] == 1:
        return (logits[..., 0] > 0).astype(jnp.int32)
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def task(config: LungSSFRecipe) -> Task:
    """Returns the task; batches are dicts of `"image"` and `"label"`.

    Images (B, H, W, C) are in any range; each channel of each is brought to mean 0 and
    deviation 1, before augmentation, as in nnU-Net. Labels (B, H, W) are integers.
    Metrics of a step: `loss`, `cross_entropy`, `soft_dice`. Of an evaluation, means
    over images: see `rows_of_images`, and `summarize` for the figures that they make.
    """

    def loss(model, batch, key):
        check(OWNER, config, batch)
        image, label = data.standardize(batch["image"]), batch["label"]
        if config.augment:
            image, label = augmented(key, image, label)
        return config.loss(model(image), label)

    def evaluate(model, batch):
        check(OWNER, config, batch)
        found = predictions(model(data.standardize(batch["image"])))
        return rows_of_images(found, batch["label"], config.num_labels, config.positive)

    return network_task(
        OWNER,
        lambda key: LungSSFNet(config.network, rngs=nnx.Rngs(params=key)),
        optax.chain(
            optax.add_decayed_weights(config.weight_decay),
            optax.sgd(config.rate, momentum=config.momentum, nesterov=True),
        ),
        loss,
        evaluate,
    )


def check(where: str, config: LungSSFRecipe, arrays: Arrays) -> None:
    """Raises unless there is one label per pixel, of as many as the recipe has."""
    check_labels(where, arrays, config.num_labels, per_pixel=True)


def augmented(key: Array, image: Array, label: Array) -> tuple[Array, Array]:
    """Returns a batch after the augmentation of nnU-Net for two dimensions.

    Each operation happens to an image with a probability of its own, in this order:

    - rotation by any angle, 0.2; scaling by 1/1.4 to 1/0.7, 0.2; what moves in is 0;
    - noise of deviation 0 to 0.1, 0.1, one for all channels;
    - blur of width 0.5 to 1, 0.2, half of the channels;
    - brightness times 0.75 to 1.25, 0.15; contrast times 0.75 to 1.25, 0.15;
    - low resolution, 0.5 to 1 of the pixels a side, 0.25, half of the channels;
    - gamma 0.7 to 1.5, of the negative 0.1, of the image 0.3, moments kept;
    - flips along both axes, 0.5 each.

    Args:
        key: typed random key.
        image: (B, H, W, C) after `jaxvision.data.standardize`: 0 is the mean, and the
            numbers above are in deviations.
        label: (B, H, W), moved along.

    Source: nnU-Net v2's default training (Isensee et al., Nature Methods 18, 2021; its
    released code for the numbers). The range 0 to 0.1 of the noise is named a variance
    there and used as a deviation, as here. Its factor of scaling is uniform, ours
    log-uniform over the same range.
    """
    keys = jax.random.split(key, 10)
    each = {"channels": 1.0}  # channels draw for themselves
    image, label = data.affine(
        keys[0],
        image,
        label,
        degrees=(-180, 180),
        scale=(1 / 1.4, 1 / 0.7),
        probability=(0.2, 0.2),
    )
    image = data.noise(keys[1], image, deviation=(0, 0.1), probability=0.1, shared=True)
    image = data.blur(keys[2], image, sigma=(0.5, 1), probability=0.2, channels=0.5)
    image = data.brightness(
        keys[3], image, factor=(0.75, 1.25), limits=None, probability=0.15, **each
    )
    image = data.contrast(keys[4], image, factor=(0.75, 1.25), probability=0.15, **each)
    image = data.low_resolution(
        keys[5], image, zoom=(0.5, 1), probability=0.25, channels=0.5
    )
    for k, inverted, probability in ((keys[6], True, 0.1), (keys[7], False, 0.3)):
        image = data.gamma(
            k,
            image,
            power=(0.7, 1.5),
            inverted=inverted,
            keep_moments=True,
            probability=probability,
            **each,
        )
    for k, direction in ((keys[8], "horizontal"), (keys[9], "vertical")):
        image, label = data.flip(k, image, label, direction=direction)
    return image, label


def report(
    predicted: Any, label: Any, num_classes: int, *, positive_class: int
) -> dict[str, float]:
    """Returns the figures of the paper's tables for a test set, those of `summarize`.

    Args:
        predicted, label: (n, H, W) integers.
        num_classes: background 0 included.
        positive_class: lesion that counts as positive, in the paper malignant.
    """
    rows = rows_of_images(
        jnp.asarray(predicted), jnp.asarray(label), num_classes, positive_class
    )
    means = {name: float(jnp.mean(values)) for name, values in rows.items()}
    return summary(means, num_classes)


def summarize(config: LungSSFRecipe, found: dict[str, float]) -> dict[str, float]:
    """Returns the figures of the paper's tables, of the means of an evaluation.

    Dice and IoU of each lesion over the images that have it, the IoU with that of the
    background, and accuracy, precision, recall and F1 of the decision for an image.
    """
    return summary(found, config.num_labels)


def read(
    config: LungSSFRecipe,
    folder: Path,
    *,
    split: str | None = None,
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    """Returns images and labels of a folder with `images` and `masks`.

    Values of the masks stand for labels as `config.mask_values` says. Without, for one
    map of logits, every value but 0 is foreground.
    """
    refuse_split(OWNER, folder, split)
    classes = config.network.num_classes
    found = data.read_segmentation_folder(
        folder,
        config.image_size,
        channels=config.network.in_channels if config.network.in_channels == 3 else 1,
        values={value: k for k, value in enumerate(config.mask_values)} or None,
        num_classes=classes if classes > 1 else None,
        damaged=damaged,
    )
    if classes == 1:
        found["label"] = (found["label"] > 0).astype(np.int32)
    return found


PAPER = LungSSFRecipe()
# Small enough for a CPU, not in the paper: thin rings, five stages.
RINGS = LungSSFRecipe(
    LungSSFOptions(1, 1, (8, 16, 32, 64, 128), 2, 2, narrowest=16),
    image_size=128,
    learning_rate=0.01,
    momentum=0.9,
    augment=False,
    batch_size=10,
    epochs=30,
    num_images=300,
)


def _variant(base: LungSSFRecipe, **changes: Any) -> LungSSFRecipe:
    return replace(base, network=replace(base.network, **changes))


def _presets() -> dict[str, LungSSFRecipe]:
    return {
        "paper": PAPER,
        "paper_repository_fusion": _variant(PAPER, fusion="repository"),
        "paper_binary": _variant(PAPER, num_classes=1),
        "paper_unet": _variant(PAPER, fusion_stages=0, ssf_stages=0),
        "paper_ssf_in_all_stages": _variant(PAPER, fusion_stages=7, ssf_stages=7),
        "paper_ssf_without_fusion": _variant(PAPER, fusion_stages=0),
        "small": RINGS,
        "small_unet": _variant(RINGS, fusion_stages=0, ssf_stages=0),
        "small_fusion": _variant(RINGS, ssf_stages=0),
    }


PRESETS = _presets()


def _published() -> LungSSFNet:
    """Returns the network of the authors' code, for one class."""
    options = replace(PRESETS["paper_binary"].network, fusion="repository")
    return LungSSFNet(options, rngs=nnx.Rngs(0))


def _operations() -> str:
    image = jax.ShapeDtypeStruct((1, 512, 512, 3), jnp.float32)
    return f"{convolution_operations(_published, image) / 1e9:.1f} GFLOP"


def _inputs(options: LungSSFOptions) -> tuple[Any, ...]:
    side = max(512, 2 ** len(options.channels))
    return (jax.ShapeDtypeStruct((1, side, side, options.in_channels), jnp.float32),)


SYSTEM = System(
    paper="Zhang et al., Cystic Adenocarcinoma Segmentation with Multi-frequency "
    "and Multi-scale SimAM Attention, ICPR 2024",
    task="segmentation",
    status="sizes, blocks and logits (against PyTorch) tested; trained on drawn rings "
    "and on membranes",
    options=LungSSFOptions,
    build=LungSSFNet,
    presets=PRESETS,
    task_of=task,
    inputs=_inputs,
    read=read,
    check=check,
    apply=lambda config, network, image: network(data.standardize(image)),
    summarize=summarize,
    figures={
        "parameters, one class, the authors' code": lambda: (
            f"{count_parameters(_published):,}"
        ),
        "operations of its convolutions at 512 x 512": _operations,
    },
    paper_figures={
        "malignant, IoU and Dice in percent": "81.05, 75.15; nnU-Net 79.91, 73.54",
        "benign, IoU and Dice in percent": "93.03, 92.04; nnU-Net 92.61, 91.30",
        "images, accuracy and F1 in percent": "96.77, 98.03; nnU-Net 93.93, 96.15",
        "parameters, one class, the authors' code": "50,518,913",
        "operations of its convolutions at 512 x 512": "246.3 GFLOP",
    },
)
