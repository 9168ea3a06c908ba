"""Training of the beta-sigma VAE, and of the beta-VAE that it is compared with."""

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
from jaxvision.models import BetaSigmaVAE, BetaSigmaVAEOptions
from jaxvision.recipes._epochs import Epochs
from jaxvision.recipes._image_keys import image_keys
from jaxvision.recipes._network_task import network_task
from jaxvision.system import System


OWNER = "jaxvision.recipe('beta_sigma_vae')"
VARIANCES = ("optimal", "constant")
SCHEDULES = ("restarts", "constant")
AUGMENT = ("celeba", "mnist", "none")
AUGMENT_TAG = 2**31 - 1  # apart from the numbers of rows, which noise is drawn by
EPSILON = 1e-5


@dataclass(frozen=True)
class BetaSigmaVAERecipe(Epochs):
    """What is trained and how; the defaults are the paper's for CelebA.

    Attributes:
        network: sizes of the network.
        variance: of the decoder: `"optimal"`, the beta-sigma VAE, or `"constant"`, the
            beta-VAE with squared error (variance 1/2).
        beta: weight of the KL divergence.
        epsilon: inside the logarithm of the optimal variance.
        sigma_scope: `"sample"`: one optimal variance per image, the paper's;
            `"batch"`: one for all.
        learning_rate, weight_decay: of AdamW.
        schedule: `"restarts"`: cosine to 0 with a restart half-way; `"constant"`.
        augment: of training images, in the compiled step, see `augmented`: `"celeba"`,
            `"mnist"` or `"none"`.
        augment_test: change images so in evaluation too, as the authors' code does.
        batch_size, epochs: as usual; the rest of an epoch is dropped.
        num_images: to train on; with batch size and epochs it gives `steps`.

    Raises:
        ValueError: a value out of range.
    """

    network: BetaSigmaVAEOptions = field(default_factory=BetaSigmaVAEOptions)
    variance: str = "optimal"
    beta: float = 1.0
    epsilon: float = EPSILON
    sigma_scope: str = "sample"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    schedule: str = "restarts"
    augment: str = "celeba"
    augment_test: bool = False
    batch_size: int = 512
    epochs: int = 50
    num_images: int = 162_770

    def __post_init__(self) -> None:
        _checks.one_of(
            OWNER,
            self,
            variance=VARIANCES,
            sigma_scope=("sample", "batch"),
            schedule=SCHEDULES,
            augment=AUGMENT,
        )
        if self.augment_test and self.augment == "none":
            raise ValueError(
                f"{OWNER}: `augment_test` must be False with augment='none', got True"
            )
        if self.variance == "constant" and (
            self.sigma_scope != "sample" or self.epsilon != EPSILON
        ):
            raise ValueError(
                f"{OWNER}: `sigma_scope` and `epsilon` must be left as they are with "
                f"variance='constant', which has no use for them, got "
                f"{self.sigma_scope!r} and {self.epsilon}"
            )
        self.check_length(OWNER)
        _checks.positive(OWNER, "learning_rate", self.learning_rate)
        for name in ("beta", "epsilon", "weight_decay"):
            _checks.not_negative(OWNER, name, getattr(self, name))

    def rate(self, step: Array) -> Array:
        """Returns the learning rate at a step: the first period has steps // 2 + 1."""
        if self.schedule == "constant":
            return jnp.full(jnp.shape(step), self.learning_rate)
        period = self.steps // 2 + 1
        return self.learning_rate / 2 * (1 + jnp.cos(jnp.pi * (step % period) / period))

    def loss(self, x: Array, mean: Array, *latent: Array) -> losses.Parts:
        """Returns the training loss of a batch and its parts."""
        if self.variance == "constant":
            return losses.beta_vae_loss(x, mean, *latent, beta=self.beta)
        return losses.beta_sigma_loss(
            x,
            mean,
            *latent,
            beta=self.beta,
            epsilon=self.epsilon,
            scope=self.sigma_scope,
        )


def task(config: BetaSigmaVAERecipe) -> Task:
    """Returns the task; batches are dicts with `"image"` (B, H, W, C) in [0, 1].

    The state is a dict of `"params"`, `"statistics"` (of the normalization) and
    `"optimizer"`. Metrics of a step: `loss`, `distortion`, `rate`. Metrics of an
    evaluation, in nats per image, by one draw: `rate`, and the bound on the
    log-likelihood `bound` at the optimal variance of each image, `bound_half` at
    variance 1/2 and `bound_beta` at beta/2 (what a beta-VAE assumes; left out at beta
    0); `mse` is the mean squared error. An evaluation draws the noise of an image by a
    key that is a hash of its values: other noise for each image, the same each time,
    whatever the batch size and the order.
    """

    def loss(model, batch, key):
        changes = jax.random.fold_in(key, AUGMENT_TAG)
        x = augmented(config.augment, changes, batch["image"])
        parts = config.loss(x, *model(x, key))
        return parts.total, {"distortion": parts.distortion, "rate": parts.rate}

    def evaluate(model, batch):
        x = batch["image"]
        keys = image_keys(jax.random.key(0), x)
        if config.augment_test:
            changes = image_keys(jax.random.key(1), x)
            x = jax.vmap(lambda k, image: augmented(config.augment, k, image[None])[0])(
                changes, x
            )
        out = model(x, keys)
        found = {
            "bound": losses.elbo(x, *out),
            "bound_half": losses.elbo(x, *out, variance=0.5),
            "mse": losses.optimal_variance(x, out[0]),
            "rate": losses.gaussian_kl(*out[1:]),
        }
        if config.beta > 0:
            found["bound_beta"] = losses.elbo(x, *out, variance=config.beta / 2)
        return found

    return network_task(
        OWNER,
        lambda key: BetaSigmaVAE(config.network, rngs=nnx.Rngs(params=key)),
        optax.adamw(config.rate, weight_decay=config.weight_decay),
        loss,
        evaluate,
    )


def augmented(kind: str, key: Array, x: Array) -> Array:
    """Returns images as the paper augments a data set.

    `"celeba"`: flipped left to right, every second one. Its crop of 148 pixels is no
    chance: `jaxvision.data.read_celeba` does it. `"mnist"`: turned by up to 10 degrees
    either way, then a rectangle of 0.9 to 1 of the area and sides in ratios of 0.9 to
    1.1, enlarged. `"none"`: as they are.

    Args:
        kind: which.
        key: typed random key.
        x: (B, H, W, C).
    """
    if kind == "celeba":
        (x,) = data.flip(key, x)
    elif kind == "mnist":
        turn, cut = jax.random.split(key)
        (x,) = data.affine(turn, x, degrees=(-10, 10))
        (x,) = data.resized_crop(cut, x, scale=(0.9, 1), ratio=(0.9, 1.1))
    return x


CELEBA = BetaSigmaVAERecipe()
MNIST = BetaSigmaVAERecipe(
    BetaSigmaVAEOptions(28, 1, (32, 64, 128), 32),
    augment="mnist",
    num_images=60_000,
)
# 8 x 8 digits: small enough for a CPU, not in the paper.
DIGITS = BetaSigmaVAERecipe(
    BetaSigmaVAEOptions(8, 1, (256, 256), 8, "perceptron"),
    schedule="constant",
    augment="none",
    batch_size=100,
    epochs=60,
    num_images=1_400,
)
BETAS = (1.0, 0.01, 0.1, 10.0, 100.0)  # those of table 1, the likeliest first


def _presets() -> dict[str, BetaSigmaVAERecipe]:
    return {
        f"{data}_{row}_beta_{beta:g}": replace(base, variance=variance, beta=beta)
        for data, base in (("celeba", CELEBA), ("mnist", MNIST), ("digits", DIGITS))
        for row, variance in (("bs", "optimal"), ("constant", "constant"))
        for beta in BETAS
    }


def _inputs(options: BetaSigmaVAEOptions) -> tuple[Any, ...]:
    size = options.image_size
    image = jax.ShapeDtypeStruct((1, size, size, options.in_channels), jnp.float32)
    return image, jax.eval_shape(jax.random.key, 0)


def read(
    config: BetaSigmaVAERecipe,
    path: Path,
    *,
    split: str | None = None,
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    """Returns the images of a folder, of CelebA, of MNIST's files, or of an npz file.

    See `jaxvision.data.read_images`.
    """
    network = config.network
    found = data.read_images(
        path,
        network.image_size,
        channels=network.in_channels,
        split=split,
        damaged=damaged,
    )
    return {"image": found["image"]}


SYSTEM = System(
    paper="Kim and Lee, Beta-Sigma VAE: Separating Beta and Decoder Variance",
    task="generation",
    status="identities of the likelihood and sizes tested; trained on 8 x 8 digits",
    options=BetaSigmaVAEOptions,
    build=BetaSigmaVAE,
    presets=_presets(),
    task_of=task,
    inputs=_inputs,
    read=read,
    splits=("train", "test"),
    paper_figures={
        "CelebA, test bound at beta 1 in nats": "14384; constant variance 10616",
        "CelebA, FID at beta 10": "73.7; constant variance 149.4",
        "MNIST, test bound at beta 1 in nats": "887; constant variance 291",
        "MNIST, FID at beta 10": "38.4; constant variance 351.7",
    },
)
