"""Dropout as a pure function of a key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcore.training import row_keys
from jaxvision import _checks
from jaxvision._checks import Values


def dropout(key: Array | None, x: Float[Values, "b *n"], rate: float) -> Array:
    """Returns `x` with a share of its values 0 and the others divided by 1 - rate.

    Every row draws from its own key: what is dropped does not depend on the number of
    devices.

    Args:
        key: typed random key, or None, which drops nothing: evaluation.
        x: (B, ...), floating point.
        rate: share that is dropped, in [0, 1).

    Raises:
        TypeError: `x` is not floating point.
        ValueError: a rate out of range, or `x` has no rows.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = dropout(jax.random.key(0), jnp.ones((1, 1000)), 0.5)
        >>> sorted(set(x.ravel().tolist())), bool(abs(x.mean() - 1) < 0.1)
        ([0.0, 2.0], True)

    Source: Srivastava et al., Journal of Machine Learning Research 15 (2014).
    """
    where = "jaxvision.layers.dropout"
    _checks.fraction(where, "rate", rate)
    x = _checks.floating(where, "x", x)
    if x.ndim == 0:
        raise ValueError(f"{where}: `x` must be (batch, ...), got shape ()")
    if key is None or rate == 0:
        return x
    draw = jax.vmap(lambda k: jax.random.bernoulli(k, 1 - rate, x.shape[1:]))
    return jnp.where(draw(row_keys(key, len(x))), x / (1 - rate), 0)
