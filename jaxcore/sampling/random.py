"""Random points on an interval, as pure functions of a typed key."""

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key


Bound = int | float | Float[Array, ""]


def uniform(
    key: Key[Array, ""], n: int, a: Bound, b: Bound, *, dtype: DTypeLike = jnp.float32
) -> Float[Array, " n"]:
    """Return `n` independent uniform points on `[a, b]`, in no order.

    Args:
      key: a typed key, `jax.random.key(seed)`.
      n: static; number of points, positive.
      a: left end, a number or a traced scalar.
      b: right end, larger than `a` (checked for numbers only).
      dtype: static; a floating dtype that is enabled.

    Returns:
      The points, `(n,)`.

    Raises:
      TypeError: if `key` is not a typed key.
      ValueError: if `n`, the interval or `dtype` is not valid.

    Example:
      >>> import jax
      >>> from jaxcore import sampling
      >>> sampling.uniform(jax.random.key(0), 3, 0.0, 10.0).shape
      (3,)
    """
    _check("uniform", key, n, a, b, dtype)
    return _between(jax.random.uniform(key, (n,), dtype), a, b)


def stratified(
    key: Key[Array, ""], n: int, a: Bound, b: Bound, *, dtype: DTypeLike = jnp.float32
) -> Float[Array, " n"]:
    """Return one uniform point in each of `n` equal cells of `[a, b]`, ascending.

    Each point alone is uniform on its cell, so averages over the points are unbiased,
    with a variance of order `n^-3` for smooth functions instead of `n^-1`.

    Args:
      key: a typed key, `jax.random.key(seed)`.
      n: static; number of points, positive.
      a: left end, a number or a traced scalar.
      b: right end, larger than `a` (checked for numbers only).
      dtype: static; a floating dtype that is enabled.

    Returns:
      The points, `(n,)`.

    Raises:
      TypeError: if `key` is not a typed key.
      ValueError: if `n`, the interval or `dtype` is not valid.

    Example:
      >>> import jax
      >>> from jaxcore import sampling
      >>> points = sampling.stratified(jax.random.key(0), 4, 0.0, 4.0)
      >>> [int(x) for x in points]
      [0, 1, 2, 3]
    """
    _check("stratified", key, n, a, b, dtype)
    cells = jnp.arange(n, dtype=dtype)
    return _between((cells + jax.random.uniform(key, (n,), dtype)) / n, a, b)


def _between(unit: Array, a: Bound, b: Bound) -> Array:
    a, b = jnp.asarray(a, unit.dtype), jnp.asarray(b, unit.dtype)
    # Rounding in `a + (b - a) * unit` can step over the end.
    return jnp.clip(a + (b - a) * unit, a, b)


def _check(name: str, key: Array, n: int, a: Bound, b: Bound, dtype: DTypeLike) -> None:
    where = f"jaxcore.sampling.{name}"
    check_key(where, key)
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"{where}: `n` must be a positive integer, got {n!r}")
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    if numbers and not (math.isfinite(a) and math.isfinite(b) and a < b):
        raise ValueError(
            f"{where}: `a` and `b` must be finite with a < b, got a={a!r}, b={b!r}"
        )
    check_dtype(where, dtype)


def check_key(where: str, key: Array) -> None:
    """Raises TypeError unless `key` is one typed key."""
    typed = jnp.issubdtype(jnp.result_type(key), jax.dtypes.prng_key)
    if not typed or key.shape != ():
        raise TypeError(
            f"{where}: `key` must be a typed key, jax.random.key(seed), got {key!r}"
        )


def check_dtype(where: str, dtype: DTypeLike) -> None:
    """Raises ValueError unless `dtype` is floating and enabled."""
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{where}: `dtype` must be floating, got {dtype!r}")
    if jax.dtypes.canonicalize_dtype(dtype) != jnp.dtype(dtype):
        raise ValueError(
            f"{where}: `dtype` {jnp.dtype(dtype).name} is not enabled; "
            "use it inside jax.enable_x64(True)"
        )
