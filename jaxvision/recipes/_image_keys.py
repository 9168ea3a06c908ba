"""Random keys that belong to images, whatever batch they are in."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def image_keys(key: Array, x: Float[Array, "b *n"]) -> Array:
    """Returns one key per image, made from `key` and the image's values alone.

    What an evaluation draws with them depends on neither the batch size nor the order
    of the images nor the number of devices; equal images have equal keys. The bits of
    each value in float32 are mixed with its position, and the sum of the mixed words
    modulo 2^32, exact in any order, is folded into the key.

    Args:
        key: typed random key.
        x: images (B, H, W, C).

    Returns:
        (B,) keys.
    """

    def one(image: Array) -> Array:
        values = image.astype(jnp.float32).reshape(-1)
        bits = lax.bitcast_convert_type(values, jnp.uint32)
        position = jnp.arange(bits.size, dtype=jnp.uint32)
        word = jnp.sum(_mixed(bits ^ _mixed(position)), dtype=jnp.uint32)
        return jax.random.fold_in(key, word)

    return jax.vmap(one)(x)


def _mixed(word: Array) -> Array:
    """Returns words whose every bit depends on every bit: MurmurHash3's last step."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        word = (word ^ (word >> shift)) * jnp.uint32(factor)
    return word ^ (word >> 16)
