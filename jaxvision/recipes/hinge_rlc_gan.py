"""Training of HingeRLC-GAN, and of the losses and regularizers beside it."""

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
from jaxvision import _checks, data, metrics
from jaxvision.layers._checks import positive
from jaxvision.models import HingeRLCGAN, HingeRLCGANOptions
from jaxvision.recipes._adversarial_task import Objective, adversarial_task
from jaxvision.recipes._epochs import Epochs
from jaxvision.recipes._labels import check_labels
from jaxvision.system import Arrays, System, random_rows


OWNER = "jaxvision.recipe('hinge_rlc_gan')"


@dataclass(frozen=True)
class HingeRLCGANRecipe(Epochs):
    """What is trained and how; the defaults are the paper's for CIFAR-10.

    Attributes:
        network: sizes of both networks.
        objective: losses and regularizer.
        learning_rate: of Adam, for both networks, up to `drop_epoch`.
        dropped_rate: from then on.
        drop_epoch: see there; may be beyond the last.
        beta1, beta2: of Adam.
        balance: repeat rows until every class has as many as the largest, see
            `jaxvision.data.balance_classes`; the number of steps stays.
        batch_size, epochs: as usual; the rest of an epoch is dropped.
        num_images: to train on; with batch size and epochs it gives `steps`.

    Raises:
        ValueError: a value out of range.
    """

    network: HingeRLCGANOptions = field(default_factory=HingeRLCGANOptions)
    objective: Objective = field(default_factory=Objective)
    learning_rate: float = 2e-4
    dropped_rate: float = 5e-5
    drop_epoch: int = 80
    beta1: float = 0.3
    beta2: float = 0.999
    balance: bool = False
    batch_size: int = 128
    epochs: int = 100
    num_images: int = 50_000

    def __post_init__(self) -> None:
        self.check_length(OWNER)
        positive(OWNER, drop_epoch=self.drop_epoch)
        for name in ("learning_rate", "dropped_rate"):
            _checks.positive(OWNER, name, getattr(self, name))
        for name in ("beta1", "beta2"):
            _checks.fraction(OWNER, name, getattr(self, name))

    def rate(self, step: Array) -> Array:
        """Returns the learning rate at a step."""
        before = step < self.drop_epoch * self.epoch_steps
        return jnp.where(before, self.learning_rate, self.dropped_rate)


def task(config: HingeRLCGANRecipe) -> Task:
    """Returns the task, see `adversarial_task`.

    Batches are dicts of `"image"` (B, H, W, C) in [0, 1] and `"label"` (B,).
    """
    return adversarial_task(
        OWNER,
        lambda key: HingeRLCGAN(config.network, rngs=nnx.Rngs(params=key)),
        config.network.latent,
        optax.adam(config.rate, config.beta1, config.beta2),
        config.objective,
        prepare=lambda x: 2 * x - 1,
        augment=augmented,
    )


def augmented(key: Array, x: Array) -> Array:
    """Returns images flipped and moved by an eighth of their side, for consistency."""
    first, second = jax.random.split(key)
    (x,) = data.shift_crop(first, x, padding=max(1, x.shape[1] // 8))
    (x,) = data.flip(second, x, direction="horizontal")
    return x


def report(
    real: Any,
    fake: Any,
    *,
    key: Array,
    subsets: int = 100,
    size: int = 1000,
) -> dict[str, float]:
    """Returns the distances of the paper's tables in the features that are given.

    `frechet_distance`; `kernel_distance`, its mean over subsets. They are FID and KID
    only if the features are those of InceptionV3 with its published weights, see
    `metrics.InceptionFeatures`.

    Args:
        real, fake: features (n, d) of real and of generated images.
        key: of the subsets. subsets, size: how many and of how many rows.
    """
    kernel, _ = metrics.kernel_distance_over_subsets(
        key, real, fake, subsets=subsets, size=size
    )
    return {
        "frechet_distance": float(metrics.frechet_distance(real, fake)),
        "kernel_distance": float(kernel),
    }


def read(
    config: HingeRLCGANRecipe,
    path: Path,
    *,
    split: str | None = None,
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    """Returns images and labels: a folder for each class, CIFAR-10's files, or npz."""
    network = config.network
    return data.read_images(
        path,
        network.image_size,
        channels=network.in_channels,
        split=split,
        damaged=damaged,
    )


def check(where: str, config: HingeRLCGANRecipe, arrays: Arrays) -> None:
    """Raises unless each image has a label in range."""
    check_labels(where, arrays, config.network.num_classes)


def divide(
    config: HingeRLCGANRecipe, state: Any, arrays: Arrays, holdout: float, seed: int
) -> tuple[Arrays, Arrays]:
    """Returns rows to train on, their classes balanced if so wished, and the others."""
    shown, hidden = random_rows(config, state, arrays, holdout, seed)
    if config.balance:
        shown = data.balance_classes(shown, seed=seed)
    return shown, hidden


def _apply(
    config: HingeRLCGANRecipe, network: nnx.Module, z: Array, label: Array
) -> Array:
    """Returns images in [0, 1], as the readers have them."""
    return (network(z, label) + 1) / 2


CIFAR = HingeRLCGANRecipe()
# 8 x 8 digits: small enough for a CPU, not in the paper.
DIGITS = HingeRLCGANRecipe(
    HingeRLCGANOptions(8, 1, 10, latent=16, width=16, embedding=8),
    learning_rate=1e-3,
    dropped_rate=1e-3,
    batch_size=100,
    epochs=100,
    num_images=1_400,
)
# Rows of the paper's tables of losses and of regularizers. It gives no weights: those
# are of the papers that the regularizers are from, or, for RLC and noise, ours.
ROWS = {
    "rlc_gradient": Objective(),
    "rlc_lecam": Objective(regularizer="lecam", weight=0.3),
    "rlc_anchor": Objective(regularizer="anchor", weight=0.15),
    "rlc_notebook": Objective(regularizer="anchor_notebook", weight=0.15),
    "hinge": Objective(regularizer="none", weight=0.0),
    "noise": Objective(regularizer="noise", weight=0.1),
    "consistency": Objective(regularizer="consistency", weight=10.0),
    "gp0": Objective(regularizer="r1", weight=10.0),
    "bce": Objective("nonsaturating", "nonsaturating", "none", 0.0),
    "wgan_gp": Objective("wasserstein", "wasserstein", "interpolated", 10.0),
    "least_squares": Objective("least_squares", "least_squares", "none", 0.0),
    "least_squares_bce": Objective("least_squares", "nonsaturating", "none", 0.0),
}


def _presets() -> dict[str, HingeRLCGANRecipe]:
    found = {
        f"{name}_{row}": replace(base, objective=objective)
        for name, base in (("cifar", CIFAR), ("digits", DIGITS))
        for row, objective in ROWS.items()
    }
    for name in ("cifar", "digits"):
        found[f"{name}_balanced"] = replace(found[f"{name}_hinge"], balance=True)
    published = replace(CIFAR.network, discriminator="notebook")
    found["cifar_rlc_notebook"] = replace(
        found["cifar_rlc_notebook"], network=published, drop_epoch=100
    )
    return found


def _inputs(options: HingeRLCGANOptions) -> tuple[Any, ...]:
    return (
        jax.ShapeDtypeStruct((1, options.latent), jnp.float32),
        jax.ShapeDtypeStruct((1,), jnp.int32),
    )


SYSTEM = System(
    paper="Goni et al., HingeRLC-GAN: Combatting Mode Collapse with Hinge Loss and RLC "
    "Regularization, ICPR 2024",
    task="generation",
    status="losses, sizes and layers tested; trained on a ring and on 8 x 8 digits",
    options=HingeRLCGANOptions,
    build=HingeRLCGAN,
    presets=_presets(),
    task_of=task,
    inputs=_inputs,
    read=read,
    splits=("train", "test"),
    check=check,
    apply=_apply,
    divide=divide,
    paper_figures={
        "CIFAR-10, FID and KID with RLC": "18, 0.001; hinge alone 25, 0.001",
        "CIFAR-10, FID of BCE, WGAN-GP, LSGAN": "90, 35, 29",
        "CIFAR-10, FID with noise, CR, GP-0": "25, 19, 26",
    },
)
