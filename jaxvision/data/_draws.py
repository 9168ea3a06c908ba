"""What augmentation draws for each image, or for each channel of each image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcore.training import row_keys


Range = tuple[float, float]


def draws(
    key: Array, x: Array, bounds: Range, channels: float | None = None
) -> Float[Array, "b 1 1 c"]:
    """Returns a number of each image, or of each channel, for products with them.

    Args:
        key: typed random key.
        x: images (B, H, W, C).
        bounds: of the uniform draws.
        channels: None for a number of each image, else of each channel.
    """
    shape = () if channels is None else (x.shape[-1],)
    draw = jax.vmap(lambda k: jax.random.uniform(k, shape, x.dtype, *bounds))
    return draw(row_keys(key, len(x))).reshape(len(x), 1, 1, -1)


def chosen(
    key: Array, x: Array, changed: Array, probability: float, channels: float | None
) -> Array:
    """Returns changed images, or images as they were, with a probability.

    Args:
        key: typed random key, that of the draws too: no coin is one of them.
        x, changed: images (B, H, W, C).
        probability: of the changed image.
        channels: None, or the probability of each channel of a changed image.
    """
    if probability == 1 and channels in (None, 1):
        return changed

    def toss(k: Array) -> Array:
        whole, each = jax.random.split(jax.random.fold_in(k, 1))
        image = jax.random.bernoulli(whole, probability)
        share = 1.0 if channels is None else channels
        return image & jax.random.bernoulli(each, share, (x.shape[-1],))

    coins = jax.vmap(toss)(row_keys(key, len(x)))
    return jnp.where(coins.reshape(len(x), 1, 1, -1), changed, x)


def check_range(where: str, name: str, bounds: Range) -> None:
    """Raises ValueError unless there are a low and a high number."""
    if len(bounds) != 2 or not bounds[0] <= bounds[1]:
        raise ValueError(
            f"{where}: `{name}` must be a range (low, high), got {bounds!r}"
        )


def check_probability(where: str, value: float, name: str = "probability") -> None:
    """Raises ValueError unless a number is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{where}: `{name}` must be in [0, 1], got {value!r}")
