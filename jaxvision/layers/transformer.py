"""The transformer encoder: self-attention and two linear layers, normalized first."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxvision import _checks
from jaxvision.layers._checks import features, positive
from jaxvision.layers.dropout import dropout


XAVIER = nnx.initializers.xavier_uniform()
TINY = nnx.initializers.normal(1e-6)


class SelfAttention(nnx.Module):
    """Multi-head self-attention with one linear layer for query, key and value.

    `softmax(Q K^T / sqrt(hidden / num_heads)) V` per head, heads side by side, then a
    linear layer.

    Args:
        hidden: width of the tokens.
        num_heads: divides `hidden`.

    Raises:
        ValueError: a size that is not positive, or heads that do not divide the width.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> SelfAttention(8, 2, rngs=nnx.Rngs(0))(jnp.ones((1, 5, 8))).shape
        (1, 5, 8)

    Source: Vaswani et al., Attention Is All You Need, 2017, equation 1.
    """

    def __init__(self, hidden: int, num_heads: int, *, rngs: nnx.Rngs):
        where = "jaxvision.layers.SelfAttention"
        positive(where, hidden=hidden, num_heads=num_heads)
        if hidden % num_heads:
            raise ValueError(
                f"{where}: `num_heads` must divide `hidden` = {hidden}, got {num_heads}"
            )
        # As three matrices of their own: fan_out of the joint one would be three times.
        joint = nnx.initializers.variance_scaling(2.0, "fan_avg", "uniform")
        self.qkv = nnx.Linear(hidden, 3 * hidden, kernel_init=joint, rngs=rngs)
        self.out = nnx.Linear(hidden, hidden, kernel_init=XAVIER, rngs=rngs)
        self.num_heads, self.hidden = num_heads, hidden

    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Returns the mixed tokens.

        Raises:
            TypeError, ValueError: `x` is no (B, tokens, hidden) of floats.
        """
        x = features("jaxvision.layers.SelfAttention", x, self.hidden, 3)
        mixed = jax.nn.dot_product_attention(*self._parts(x))
        return self.out(mixed.reshape(x.shape))

    def weights(self, x: Float[Array, "b n d"]) -> Float[Array, "b h n n"]:
        """Returns what each token (row) takes of each other, per head; rows sum to 1.

        For looking at: the call computes the same without keeping it.

        Raises:
            TypeError, ValueError: as the call.
        """
        x = features("jaxvision.layers.SelfAttention", x, self.hidden, 3)
        q, k, _ = self._parts(x)
        scores = jnp.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(q.shape[-1])
        return jax.nn.softmax(scores, axis=-1)

    def _parts(self, x: Array) -> tuple[Array, Array, Array]:
        qkv = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        return qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]


class EncoderBlock(nnx.Module):
    """`x + attention(LN(x))`, then `x + MLP(LN(x))` with exact GELU.

    Args:
        hidden, num_heads: see `SelfAttention`.
        mlp_hidden: width between the two linear layers.
        dropout: share that is dropped after each of the two linear layers, where the
            call is given a key.
        epsilon: of the layer normalizations.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> run = lambda x: EncoderBlock(8, 2, 16, rngs=nnx.Rngs(0))(x)
        >>> nnx.eval_shape(run, jnp.ones((1, 5, 8))).shape
        (1, 5, 8)

    Source: Dosovitskiy et al., ViT, ICLR 2021, equations 2 and 3.
    """

    def __init__(
        self,
        hidden: int,
        num_heads: int,
        mlp_hidden: int,
        *,
        dropout: float = 0.0,
        epsilon: float = 1e-6,
        rngs: nnx.Rngs,
    ):
        where = "jaxvision.layers.EncoderBlock"
        positive(where, mlp_hidden=mlp_hidden)
        _checks.fraction(where, "dropout", dropout)
        self.first_norm = nnx.LayerNorm(hidden, epsilon=epsilon, rngs=rngs)
        self.attention = SelfAttention(hidden, num_heads, rngs=rngs)
        self.second_norm = nnx.LayerNorm(hidden, epsilon=epsilon, rngs=rngs)
        self.up = nnx.Linear(
            hidden, mlp_hidden, kernel_init=XAVIER, bias_init=TINY, rngs=rngs
        )
        self.down = nnx.Linear(
            mlp_hidden, hidden, kernel_init=XAVIER, bias_init=TINY, rngs=rngs
        )
        self.dropout, self.hidden = dropout, hidden

    def __call__(
        self, x: Float[Array, "b n d"], key: Array | None = None
    ) -> Float[Array, "b n d"]:
        """Returns the tokens after the block; with a key, some values are dropped.

        Raises:
            TypeError, ValueError: `x` is no (B, tokens, hidden) of floats.
        """
        x = features("jaxvision.layers.EncoderBlock", x, self.hidden, 3)
        first, second = (None, None) if key is None else jax.random.split(key)
        x = x + self.attention(self.first_norm(x))
        inner = jax.nn.gelu(self.up(self.second_norm(x)), approximate=False)
        inner = dropout(first, inner, self.dropout)
        return x + dropout(second, self.down(inner), self.dropout)


class Encoder(nnx.Module):
    """A chain of encoder blocks and a last layer normalization.

    Args:
        depth: number of blocks.
        hidden, num_heads, mlp_hidden, dropout, epsilon: see `EncoderBlock`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> run = lambda x: Encoder(2, 8, 2, 16, rngs=nnx.Rngs(0))(x)
        >>> nnx.eval_shape(run, jnp.ones((1, 5, 8))).shape
        (1, 5, 8)
    """

    def __init__(
        self,
        depth: int,
        hidden: int,
        num_heads: int,
        mlp_hidden: int,
        *,
        dropout: float = 0.0,
        epsilon: float = 1e-6,
        rngs: nnx.Rngs,
    ):
        positive("jaxvision.layers.Encoder", depth=depth)
        self.blocks = nnx.List(
            [
                EncoderBlock(
                    hidden,
                    num_heads,
                    mlp_hidden,
                    dropout=dropout,
                    epsilon=epsilon,
                    rngs=rngs,
                )
                for _ in range(depth)
            ]
        )
        self.norm = nnx.LayerNorm(hidden, epsilon=epsilon, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b n d"], key: Array | None = None
    ) -> Float[Array, "b n d"]:
        """Returns the tokens after the last normalization; a key is for dropout."""
        for i, block in enumerate(self.blocks):
            x = block(x, None if key is None else jax.random.fold_in(key, i))
        return self.norm(x)
