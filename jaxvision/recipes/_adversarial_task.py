"""The task of training a generator against a discriminator, whatever the networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array

from jaxcore.training import Task, masked_mean, row_keys, value_and_grad
from jaxvision import _checks, losses
from jaxvision.layers import split, statistics_of
from jaxvision.losses.adversarial import ADVERSARIAL
from jaxvision.recipes._image_keys import image_keys
from jaxvision.recipes._labels import check_labels
from jaxvision.recipes._network_task import refuse_padding


REGULARIZERS = (
    *("none", "rlc_gradient", "lecam", "anchor", "anchor_notebook"),
    *("r1", "interpolated", "consistency", "noise"),
)
PARTS = ("generator", "discriminator")


@dataclass(frozen=True)
class Objective:
    """What both networks minimize; the defaults are those of HingeRLC-GAN.

    Attributes:
        discriminator, generator: kinds of loss, see `losses.discriminator_loss`.
        regularizer: of the discriminator, `weight` times

            - `"rlc_gradient"`, `"lecam"`, `"anchor"`, `"anchor_notebook"`: the three
              readings of RLC, see `jaxvision.losses.rlc`, and the notebook's slip;
            - `"r1"`: `losses.r1_penalty` on real images (GP-0);
            - `"interpolated"`: `losses.interpolated_penalty`, as WGAN-GP;
            - `"consistency"`: `losses.consistency_penalty` with augmented real images;
            - `"noise"`: no penalty, but Gaussian noise of deviation `weight` on all
              that the discriminator sees;
            - `"none"`.
        weight: see there; 0 with `"none"`.
        decay, start: of the anchors of `"lecam"`, see `losses.ScoreAnchors`; the
            penalty counts from step `start` on.

    Raises:
        ValueError: a value out of range.
    """

    discriminator: str = "hinge"
    generator: str = "hinge"
    regularizer: str = "rlc_gradient"
    weight: float = 0.1
    decay: float = 0.99
    start: int = 1000

    def __post_init__(self) -> None:
        where = "jaxvision.recipe: objective"
        _checks.one_of(
            where,
            self,
            discriminator=ADVERSARIAL,
            generator=ADVERSARIAL,
            regularizer=REGULARIZERS,
        )
        if self.regularizer == "none":
            if self.weight != 0:
                raise ValueError(
                    f"{where}: `weight` must be 0 with regularizer='none', got "
                    f"{self.weight!r}"
                )
        else:
            _checks.positive(where, "weight", self.weight)
        _checks.fraction(where, "decay", self.decay)
        _checks.not_negative(where, "start", self.start)


def adversarial_task(
    owner: str,
    build: Callable[[Array], nnx.Module],
    latent: int,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    *,
    prepare: Callable[[Array], Array] = lambda x: x,
    augment: Callable[[Array, Array], Array] | None = None,
) -> Task:
    """Returns the task of one step of the generator and one of the discriminator.

    In a step codes z are drawn, one for each row, with the labels of the batch; first
    the generator moves, then the discriminator sees real images and what the new
    generator makes of the same z. Both have the moments of their batch in training, the
    discriminator those of real and of generated images apart.

    Args:
        owner: what errors begin with.
        build: `key -> network` with the parts `generator(z, label)` and
            `discriminator(x, label)`.
        latent: numbers in a code.
        optimizer: of the parameters of each part.
        objective: losses and regularizer.
        prepare: of the images of a batch, into the range of the generator.
        augment: `(key, x) -> x`, for `"consistency"`.

    Batches are dicts of `"image"` (B, ...) and `"label"` (B,). The state is a dict of
    `params`, `statistics` and `optimizer`, each with both parts, and `anchors` with
    `"lecam"`. Metrics of a step: `loss` of the discriminator with its penalty,
    `discriminator_loss`, `penalty`, `generator_loss`, mean scores `score_real` and
    `score_fake`. Metrics of an evaluation, with z from a fixed key: these scores, and
    `told_apart`, the share of real images with a score above 0 and of generated ones
    with one below.
    """
    shapes = nnx.eval_shape(build, jax.random.key(0))
    graphs = {part: split(getattr(shapes, part))[0] for part in PARTS}
    step = _Step(owner, graphs, latent, optimizer, objective, prepare, augment)

    def init(key: Array) -> dict[str, Any]:
        model = build(key)
        trees = {part: split(getattr(model, part))[1:] for part in PARTS}
        params = {part: trees[part][0] for part in PARTS}
        state: dict[str, Any] = {
            "params": params,
            "statistics": {part: trees[part][1] for part in PARTS},
            "optimizer": {part: optimizer.init(params[part]) for part in PARTS},
        }
        if objective.regularizer == "lecam":
            state["anchors"] = losses.ScoreAnchors.zeros()
        return state

    return Task(init, step, step.evaluate)


@dataclass(frozen=True, eq=False)  # compared as the function that it is
class _Step:
    """One step of training, and what evaluation shares with it."""

    owner: str
    graphs: dict[str, Any]
    latent: int
    optimizer: optax.GradientTransformation
    objective: Objective
    prepare: Callable[[Array], Array]
    augment: Callable[[Array, Array], Array] | None

    def __call__(self, state: Any, batch: Any, key: Array) -> tuple[Any, Any]:
        refuse_padding(self.owner, batch)
        check_labels(self.owner, batch, None)
        params, kept = state["params"], state["statistics"]

        def generators(generator: Any, batch: Any, key: Array) -> Any:
            label = batch["label"]
            z = self._codes(key, label)
            fake, moved = self.generate(generator, kept, z, label)
            score, _ = self.score(params["discriminator"], kept, fake, label)
            value = losses.generator_loss(score, kind=self.objective.generator)
            return value, moved

        (lost, moved), slope = value_and_grad(generators, has_aux=True)(
            params["generator"], batch, key
        )
        generator, memory = self._moved(state, "generator", slope)

        def discriminators(discriminator: Any, batch: Any, key: Array) -> Any:
            label = batch["label"]
            fake, _ = self.generate(generator, kept, self._codes(key, label), label)
            return self._discriminators(
                discriminator, kept, fake, label, batch, key, state.get("anchors")
            )

        (value, (metrics, seen)), slope = value_and_grad(discriminators, has_aux=True)(
            params["discriminator"], batch, key
        )
        discriminator, memory_d = self._moved(state, "discriminator", slope)
        after = {
            "params": {"generator": generator, "discriminator": discriminator},
            "statistics": {"generator": moved, "discriminator": seen},
            "optimizer": {"generator": memory, "discriminator": memory_d},
        }
        if "anchors" in state:
            after["anchors"] = state["anchors"].follow(
                metrics["score_real"],
                metrics["score_fake"],
                decay=self.objective.decay,
                start=self.objective.start,
            )
        return after, {"loss": value, "generator_loss": lost, **metrics}

    def _moved(self, state: Any, part: str, slope: Any) -> tuple[Any, Any]:
        """Returns the parameters of a part after a step, and the optimizer's state."""
        params = state["params"][part]
        updates, memory = self.optimizer.update(slope, state["optimizer"][part], params)
        return optax.apply_updates(params, updates), memory

    def generate(
        self, params: Any, kept: Any, z: Array, label: Array, train: bool = True
    ) -> tuple[Array, Any]:
        """Returns images, and the statistics of the generator then."""
        model = self._network("generator", params, kept, train)
        return model(z, label), statistics_of(model)

    def score(
        self, params: Any, kept: Any, x: Array, label: Array, train: bool = True
    ) -> tuple[Array, Any]:
        """Returns scores, and the statistics of the discriminator then."""
        model = self._network("discriminator", params, kept, train)
        return model(x, label), statistics_of(model)

    def _network(self, part: str, params: Any, kept: Any, train: bool) -> Any:
        model = nnx.merge(self.graphs[part], params, kept[part], copy=True)
        model.train() if train else model.eval()
        return model

    def _discriminators(
        self,
        params: Any,
        kept: Any,
        fake: Array,
        label: Array,
        batch: Any,
        key: Array,
        anchors: losses.ScoreAnchors | None,
    ) -> tuple[Array, tuple[dict[str, Array], Any]]:
        """Returns the loss of the discriminator, its parts, and its statistics."""
        objective, real = self.objective, self.prepare(batch["image"])
        if objective.regularizer == "noise":
            real = real + objective.weight * self._noise(
                jax.random.fold_in(key, 1), real.shape
            )
            fake = fake + objective.weight * self._noise(
                jax.random.fold_in(key, 2), fake.shape
            )

        def adversarial(params: Any) -> tuple[Array, Any]:
            of_real, seen = self.score(params, kept, real, label)
            of_fake, _ = self.score(params, kept, fake, label)
            value = losses.discriminator_loss(
                of_real, of_fake, kind=objective.discriminator
            )
            return value, (of_real, of_fake, seen)

        if objective.regularizer == "rlc_gradient":
            (value, (of_real, of_fake, seen)), penalty = losses.rlc_gradient_penalty(
                adversarial, params, has_aux=True
            )
        else:
            value, (of_real, of_fake, seen) = adversarial(params)

            def score(x: Array) -> Array:
                return self.score(params, kept, x, label)[0]

            penalty = self._penalty(score, real, fake, of_real, of_fake, key, anchors)
        metrics = {
            "discriminator_loss": value,
            "penalty": penalty,
            "score_real": jnp.mean(of_real),
            "score_fake": jnp.mean(of_fake),
        }
        return value + objective.weight * penalty, (metrics, seen)

    def _penalty(
        self,
        score: Callable[[Array], Array],
        real: Array,
        fake: Array,
        of_real: Array,
        of_fake: Array,
        key: Array,
        anchors: losses.ScoreAnchors | None,
    ) -> Array:
        kind = self.objective.regularizer
        if kind == "lecam" and anchors is not None:
            found = losses.lecam_penalty(of_real, of_fake, anchors)
            return jnp.where(anchors.moves >= self.objective.start, found, 0.0)
        if kind == "anchor":
            return losses.anchor_penalty(of_real, of_fake)
        if kind == "anchor_notebook":
            return losses.anchor_penalty(of_real, real, notebook_compat=True)
        if kind == "r1":
            return losses.r1_penalty(score, real)
        if kind == "interpolated":
            keys = row_keys(jax.random.fold_in(key, 3), real.shape[0])
            shares = jax.vmap(jax.random.uniform)(keys)
            return losses.interpolated_penalty(score, real, fake, shares)
        if kind == "consistency":
            if self.augment is None:
                raise ValueError(
                    f"{self.owner}: `augment` must be given with "
                    "regularizer='consistency', got None"
                )
            other = self.augment(jax.random.fold_in(key, 4), real)
            return losses.consistency_penalty(of_real, score(other))
        return jnp.zeros(())

    def evaluate(self, state: Any, batch: Any) -> dict[str, Array]:
        """Returns scores of real and generated images, in evaluation.

        Beside each real image stands one of its label, from a code that is drawn by
        the values of the real one: the same in any batch.
        """
        check_labels(self.owner, batch, None)
        params, kept, label = state["params"], state["statistics"], batch["label"]
        keys = image_keys(jax.random.key(0), batch["image"])
        z = _normal(keys, (self.latent,))
        fake, _ = self.generate(params["generator"], kept, z, label, train=False)
        real, of_fake = (
            self.score(params["discriminator"], kept, x, label, train=False)[0]
            for x in (self.prepare(batch["image"]), fake)
        )
        rows = {
            "score_real": real,
            "score_fake": of_fake,
            "told_apart": ((real > 0) + (of_fake < 0).astype(jnp.float32)) / 2,
        }
        mask = batch.get("mask", jnp.ones(label.shape))
        return {name: masked_mean(values, mask) for name, values in rows.items()}

    def _codes(self, key: Array, label: Array) -> Array:
        """Returns what images of these labels are generated from."""
        return self._noise(jax.random.fold_in(key, 0), (label.shape[0], self.latent))

    def _noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Returns normal numbers, row by row, whatever the number of devices."""
        return _normal(row_keys(key, shape[0]), shape[1:])


def _normal(keys: Array, shape: tuple[int, ...]) -> Array:
    """Returns normal numbers of this shape for each key."""
    return jax.vmap(lambda k: jax.random.normal(k, shape))(keys)
