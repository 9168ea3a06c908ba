"""Transfer of a vision transformer to grades of ripeness: head, whole, or scratch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from jaxcore.training import Task, row_keys
from jaxvision import _checks, data, losses, metrics, weights
from jaxvision._checks import Values
from jaxvision.data.files import refuse_split
from jaxvision.data.synthetic_fruit import GRADES
from jaxvision.layers import count_parameters
from jaxvision.layers._checks import positive
from jaxvision.models.ripeness_vit import RipenessViTOptions, ripeness_vit
from jaxvision.recipes._epochs import Epochs
from jaxvision.recipes._labels import check_labels
from jaxvision.recipes._network_task import network_task
from jaxvision.recipes._transfer import features, slower_below, with_copies
from jaxvision.system import Arrays, System


OWNER = "jaxvision.recipe('ripeness_vit')"
FINETUNE = ("head", "full")
OPERATIONS = ("rotate", "flip", "turn upside down", "distort", "brightness")


@dataclass(frozen=True)
class RipenessViTRecipe(Epochs):
    """What is trained and how; the defaults are those of a frozen pretrained ViT-B/16.

    The paper states epochs, split and augmentation. Optimizer, rate, size of batches
    and what is frozen are chosen here.

    Attributes:
        network: sizes of the network.
        classes: folders of the classes, in the order of the labels.
        group: regular expression for names of files, whose first group says which fruit
            is on them: then no fruit is on both sides of a split. Empty: photographs
            are split one by one, as in the paper.
        pretrained: the encoder starts from a file of weights, which `runs.train` is
            given; the head always from its own draw.
        finetune: `"head"`: the encoder stays as it is, and its features are computed
            once; `"full"`: everything is trained.
        learning_rate: of Adam, constant.
        weight_decay: of AdamW.
        layer_decay: each block learns this factor slower than the one after it.
        copies: augmented images that are added for each training image, once.
        magnitude: of the distortion, in pixels.
        batch_size, epochs: as usual; the rest of an epoch is dropped.
        num_images: to train on, without copies; with the others it gives `steps`.

    Raises:
        ValueError: a value out of range, or a frozen encoder that is not pretrained.
    """

    network: RipenessViTOptions = field(default_factory=RipenessViTOptions)
    classes: tuple[str, ...] = GRADES
    group: str = ""
    pretrained: bool = True
    finetune: str = "head"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    layer_decay: float = 1.0
    copies: int = 1
    magnitude: float = 8.0
    batch_size: int = 32
    epochs: int = 30
    num_images: int = 587

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        count = self.network.num_classes
        if len(set(self.classes)) != len(self.classes) or len(self.classes) != count:
            raise ValueError(
                f"{OWNER}: `classes` must be {count} different names, one per class of "
                f"the network, got {self.classes}"
            )
        if self.finetune not in FINETUNE:
            raise ValueError(
                f"{OWNER}: `finetune` must be one of {FINETUNE}, got {self.finetune!r}"
            )
        if self.finetune == "head":
            if not self.pretrained:
                raise ValueError(
                    f"{OWNER}: `finetune` must be 'full' with pretrained=False, which "
                    "leaves no trained encoder to freeze, got 'head'"
                )
            if self.layer_decay != 1:
                raise ValueError(
                    f"{OWNER}: `layer_decay` must be 1 with finetune='head', which has "
                    f"no use for it, got {self.layer_decay}"
                )
        positive(OWNER, batch_size=self.batch_size, epochs=self.epochs)
        if isinstance(self.copies, bool) or self.copies < 0:
            raise ValueError(
                f"{OWNER}: `copies` must be 0 or a positive integer, got "
                f"{self.copies!r}"
            )
        _checks.positive(OWNER, "learning_rate", self.learning_rate)
        _checks.not_negative(OWNER, "weight_decay", self.weight_decay)
        if not 0 < self.layer_decay <= 1:
            raise ValueError(
                f"{OWNER}: `layer_decay` must be in (0, 1], got {self.layer_decay}"
            )
        most = self.network.image_size / 8
        if not 0 <= self.magnitude <= most:
            raise ValueError(
                f"{OWNER}: `magnitude` must be from 0 to {most:g} pixels, half a cell, "
                f"got {self.magnitude}"
            )
        if self.epoch_images < self.batch_size:
            raise ValueError(
                f"{OWNER}: `num_images` must fill a batch of {self.batch_size}, copies "
                f"counted, got {self.num_images}"
            )

    @property
    def epoch_images(self) -> int:
        """Images of one epoch, with their copies."""
        return self.num_images * (1 + self.copies)

    def optimizer(self) -> optax.GradientTransformation:
        """Returns Adam, with decay of weights or not, slower in earlier layers."""
        if self.weight_decay:
            whole = optax.adamw(self.learning_rate, weight_decay=self.weight_decay)
        else:
            whole = optax.adam(self.learning_rate)
        if self.layer_decay == 1:
            return whole
        return optax.chain(whole, slower_below(self.network.depth, self.layer_decay))

    def build(self, key: Array) -> nnx.Module:
        """Returns the network, drawn from a key."""
        return ripeness_vit(self.network, rngs=nnx.Rngs(params=key))

    def changed(self, key: Array, image: Array) -> Array:
        """Returns the augmented copy of each image."""
        return augmented(key, image, magnitude=self.magnitude)


def task(config: RipenessViTRecipe) -> Task:
    """Returns the task; batches are dicts of `"label"` (B,) and what it belongs to.

    That is `"image"` (B, H, W, 3) in [0, 1], or with a frozen encoder also `"feature"`
    (B, hidden), what the encoder makes of the image. A pretrained recipe starts from
    the state of `starts.start`, which has the weights; that of `task.init` is drawn.

    Metrics of a step: `loss`, `accuracy`. Metrics of an evaluation: `loss`, `accuracy`,
    and `confusion/TRUE/PREDICTED` for each pair of classes, a share of all images.
    """
    head_only = config.finetune == "head"

    def logits(model, batch, key=None):
        check(OWNER, config, batch)
        if "feature" in batch:
            if not head_only:
                raise ValueError(
                    f"{OWNER}: `batches` must have images for finetune='full', got "
                    "features"
                )
            return model.head(batch["feature"])
        return model(data.normalize(batch["image"]), key)

    def loss(model, batch, key):
        found = logits(model, batch, None if head_only else key)
        value = jnp.mean(losses.softmax_cross_entropy(found, batch["label"]))
        hits = jnp.argmax(found, axis=-1) == batch["label"]
        return value, {"accuracy": jnp.mean(hits, dtype=jnp.float32)}

    def evaluate(model, batch):
        found, label = logits(model, batch), batch["label"]
        guess = jnp.argmax(found, axis=-1)
        rows = {
            "loss": losses.softmax_cross_entropy(found, label),
            "accuracy": (guess == label).astype(jnp.float32),
        }
        for i, true in enumerate(config.classes):
            for j, said in enumerate(config.classes):
                both = (label == i) & (guess == j)
                rows[f"confusion/{true}/{said}"] = both.astype(jnp.float32)
        return rows

    return network_task(
        OWNER,
        config.build,
        config.optimizer(),
        loss,
        evaluate,
        trained=("head",) if head_only else None,
    )


def summarize(config: RipenessViTRecipe, found: dict[str, float]) -> dict[str, float]:
    """Returns the metrics with precision, recall and F1 of each class.

    NaN where there is none: the precision of a class that was never predicted, the
    recall of one without images.
    """
    names = config.classes
    shares = np.array([[found[f"confusion/{i}/{j}"] for j in names] for i in names])
    kinds = {
        "precision": metrics.precision,
        "recall": metrics.recall,
        "f1": metrics.dice,
    }
    more = {
        f"{kind}/{name}": float(value)
        for kind, function in kinds.items()
        for name, value in zip(names, function(jnp.asarray(shares)), strict=True)
    }
    return {**found, **more}


def augmented(
    key: Array, image: Float[Values, "b h w c"], *, magnitude: float = 8.0
) -> Float[Array, "b h w c"]:
    """Returns one changed copy of each image, by one of five operations at random.

    Turned by up to 5 degrees to the left and 10 to the right; flipped left to right;
    flipped top to bottom; distorted on a grid of 4 x 4 cells; brightness times 0.3 to
    1.2. Images stay in [0, 1].

    The angle is uniform over the whole range and what moves in is black. Augmentor, the
    library whose numbers these are, draws the side first, left or right equally often,
    and cuts the largest upright rectangle without black, enlarged to the size of the
    image.

    Args:
        key: typed random key.
        image: (B, H, W, C) in [0, 1].
        magnitude: of the distortion in pixels.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> augmented(jax.random.key(0), jnp.ones((2, 64, 64, 3))).shape
        (2, 64, 64, 3)
    """
    keys = jax.random.split(key, 4)
    choices = jnp.stack(
        [
            *data.affine(keys[0], image, degrees=(-10, 5)),
            *data.flip(keys[1], image, probability=1.0),
            *data.flip(keys[1], image, direction="vertical", probability=1.0),
            *data.distort(keys[2], image, cells=(4, 4), magnitude=magnitude),
            data.brightness(keys[3], image, factor=(0.3, 1.2)),
        ]
    )
    chosen = jax.vmap(lambda k: jax.random.randint(k, (), 0, len(OPERATIONS)))(
        row_keys(jax.random.fold_in(key, 4), len(image))
    )
    found = jnp.take_along_axis(choices, chosen.reshape(1, -1, 1, 1, 1), axis=0)[0]
    return jnp.clip(found, 0, 1)


def prepare(config: RipenessViTRecipe, state: Any, arrays: Arrays) -> Arrays:
    """Returns arrays with `"feature"` too, where the encoder is frozen."""
    if config.finetune != "head" or state is None or "feature" in arrays:
        return arrays
    return {**arrays, "feature": _features(config, state, arrays["image"])}


def check(where: str, config: RipenessViTRecipe, arrays: Arrays) -> None:
    """Raises unless each image, or each feature of one, has a label in range."""
    of = "feature" if "feature" in arrays else "image"
    check_labels(where, arrays, config.network.num_classes, of=of)


def _features(config: RipenessViTRecipe, state: Any, image: Values) -> np.ndarray:
    return features(lambda: config.build(jax.random.key(0)), state, image)


def divide(
    config: RipenessViTRecipe, state: Any, arrays: Arrays, holdout: float, seed: int
) -> tuple[Arrays, Arrays]:
    """Returns arrays to train on, with augmented copies, and to evaluate on, without.

    Classes are in proportion on both sides; with `"group"` no fruit is on both.
    """
    first, second = data.stratified_split(
        arrays["label"], holdout, seed=[seed, 1], groups=arrays.get("group")
    )
    kept = ("image", "label", "feature")
    shown, hidden = (
        {name: np.asarray(arrays[name])[rows] for name in kept if name in arrays}
        for rows in (first, second)
    )
    if config.copies:
        before = len(first)
        more = with_copies(config.changed, shown, config.copies, seed=seed)
        if "feature" in shown:
            new = _features(config, state, more["image"][before:])
            more["feature"] = np.concatenate([shown["feature"], new])
        shown = more
    if config.finetune == "head" and "feature" in shown:
        del shown["image"], hidden["image"]
    return shown, hidden


def read(
    config: RipenessViTRecipe,
    path: Path,
    *,
    split: str | None = None,
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    """Returns the photographs of a folder with a folder per class, or of an npz file.

    Raises:
        DataError: as the reader.
        ValueError: a split or groups that these data do not have.
    """
    size = config.network.image_size
    if path.is_file():
        if config.group:
            raise ValueError(
                f"{OWNER}: `group` must be empty for a file, which has no names, got "
                f"{config.group!r}"
            )
        return data.read_images(path, size, channels=3, split=split, damaged=damaged)
    refuse_split(OWNER, path, split)
    return data.read_image_folder(
        path,
        size,
        classes=config.classes,
        group=config.group or None,
        damaged=damaged,
    )


def load(
    network: Any, path: str | Path, *, source: str, partial: bool
) -> weights.Loaded:
    """Sets the encoder from a file, positions of another grid too; the head stays."""
    return weights.load_weights(
        network,
        path,
        source=source,
        partial=partial,
        leave=("head",),
        resize_positions=True,
    )


SIDES = {"B/16": 224, "L/16": 224, "H/14": 518}
# What is trained, by the column of the paper's table 3 that it is for.
HOW: Mapping[str, Mapping[str, Any]] = {
    "pretrained": {},
    "scratch": {"pretrained": False, "finetune": "full"},
    "full": {
        "finetune": "full",
        "learning_rate": 1e-5,
        "weight_decay": 0.01,
        "layer_decay": 0.75,
    },
}
# For images of 32 x 32: small enough for a CPU, not in the paper.
SMALL = RipenessViTRecipe(
    RipenessViTOptions(8, 4, 64, 4, 128, image_size=32, dropout=0.0),
    magnitude=2.0,
    batch_size=20,
    num_images=100,
)
PRETEXT = tuple(
    f"{shape}_{skin}_{color}"
    for shape in ("round", "long")
    for skin in ("fine", "coarse")
    for color in ("green", "yellow", "orange")
)


def _presets() -> dict[str, RipenessViTRecipe]:
    found = {}
    for variant, side in SIDES.items():
        base = RipenessViTRecipe(RipenessViTOptions.of(variant, side))
        short = re.sub(r"\W", "", variant).lower()
        for how, changes in HOW.items():
            whole = replace(base, **changes)
            found[f"{short}_{how}_augmented"] = whole
            found[f"{short}_{how}"] = replace(whole, copies=0)
    for how, changes in HOW.items():
        # Chosen for a narrow network and few steps.
        rate = {"learning_rate": 3e-4} if how == "full" else {}
        whole = replace(SMALL, **{**changes, **rate})
        found[f"small_{how}_augmented"] = whole
        found[f"small_{how}"] = replace(whole, copies=0)
    found["small_pretext"] = replace(
        SMALL,
        **HOW["scratch"],
        network=replace(SMALL.network, num_classes=len(PRETEXT)),
        classes=PRETEXT,
        copies=0,
        batch_size=50,
        epochs=20,
        num_images=4000,
    )
    return found


def _parameters() -> str:
    """Returns those of B/16 with the head for four classes."""
    options = PRESETS["b16_pretrained"].network
    count = count_parameters(lambda: ripeness_vit(options, rngs=nnx.Rngs(0)))
    return f"{count / 1e6:.1f} millions"


def _patches(preset: str) -> int:
    options = PRESETS[preset].network
    return (options.image_size // options.patch) ** 2


def _inputs(options: RipenessViTOptions) -> tuple[Any, ...]:
    side = options.image_size
    return (jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32),)


PRESETS = _presets()


SYSTEM = System(
    paper="Guru and Nandini, Mangoes Ripeness Grading: Vision Based Approach, "
    "ICPR 2024",
    task="classification",
    status="sizes, converted weights, frozen encoders tested; trained on drawn fruit",
    options=RipenessViTOptions,
    build=ripeness_vit,
    presets=PRESETS,
    task_of=task,
    inputs=_inputs,
    read=read,
    splits=("train", "test"),
    check=check,
    apply=lambda config, network, image: network(data.normalize(image)),
    load=load,
    prepare=prepare,
    divide=divide,
    summarize=summarize,
    figures={
        "parameters of B/16": _parameters,
        "patches of H/14 at 518 x 518": lambda: f"{_patches('h14_pretrained')}",
    },
    paper_figures={
        "parameters of B/16": "86 millions",
        "patches of H/14 at 518 x 518": "1369",
        "mangoes, B/16 pretrained, accuracy in percent": "89.9; augmented 91.11",
        "mangoes, L/16 pretrained, accuracy in percent": "91.30; augmented 91.41",
        "mangoes, H/14 pretrained, accuracy in percent": "92.07; augmented 92.78",
        "mangoes, B/16 from scratch, accuracy in percent": "46.6; augmented 47.8",
        "mangoes, H/14 from scratch, accuracy in percent": "48.72; augmented 49.01",
    },
)
