"""Scattered points in a box: uniform in JAX, and the designs of SciPy on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxcore.sampling.random import check_dtype, check_key


Bounds = Sequence[float] | np.ndarray


def _qmc() -> Any:
    """Returns `scipy.stats.qmc`; loading it takes longer than all of NumPy."""
    from scipy.stats import qmc

    return qmc


def uniform_points(
    key: Key[Array, ""],
    n: int,
    lower: Bounds,
    upper: Bounds,
    *,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "n d"]:
    """Return `n` independent uniform points in the box from `lower` to `upper`.

    Args:
      key: a typed key, `jax.random.key(seed)`.
      n: static; number of points, positive.
      lower: (d,), finite numbers.
      upper: (d,), larger than `lower` on every axis.
      dtype: static; a floating dtype that is enabled.

    Returns:
      The points, `(n, d)`.

    Raises:
      TypeError: if `key` is not a typed key.
      ValueError: if `n`, the bounds or `dtype` is not valid.

    Example:
      >>> import jax
      >>> from jaxcore import sampling
      >>> sampling.uniform_points(jax.random.key(0), 3, [0.0, 1.0], [1.0, 5.0]).shape
      (3, 2)
    """
    a, b = _check("uniform_points", key, n, lower, upper, dtype)
    return _between(jax.random.uniform(key, (n, len(a)), dtype), a, b)


def latin_hypercube(
    key: Key[Array, ""],
    n: int,
    lower: Bounds,
    upper: Bounds,
    *,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "n d"]:
    """Return a Latin hypercube: each of `n` equal slices of every axis has one point.

    Computed on the host by `scipy.stats.qmc.LatinHypercube`; not for use under `jit`.

    Args, returns and raises as `uniform_points`.

    Example:
      >>> import jax
      >>> from jaxcore import sampling
      >>> points = sampling.latin_hypercube(
      ...     jax.random.key(0), 4, [0.0, 0.0], [4.0, 8.0]
      ... )
      >>> sorted(points[:, 0].astype(int).tolist())
      [0, 1, 2, 3]
    """
    bounds = _check("latin_hypercube", key, n, lower, upper, dtype)
    design = _qmc().LatinHypercube(
        len(bounds[0]), rng=_generator("latin_hypercube", key)
    )
    return _between(jnp.asarray(design.random(n), dtype), *bounds)


def sobol(
    key: Key[Array, ""],
    n: int,
    lower: Bounds,
    upper: Bounds,
    *,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "n d"]:
    """Return the first `n` points of a scrambled Sobol sequence.

    For `n = 2^m` each of `n` equal slices of every axis has one point, and for two
    axes `sqrt(n)` by `sqrt(n)` cells have one each where that is whole. Other `n` lose
    this balance and are refused.
    Computed on the host by `scipy.stats.qmc.Sobol`; not for use under `jit`.

    Args, returns and raises as `uniform_points`; `n` is a power of two.

    Example:
      >>> import jax
      >>> from jaxcore import sampling
      >>> points = sampling.sobol(jax.random.key(0), 8, [0.0, 0.0], [8.0, 1.0])
      >>> sorted(points[:, 0].astype(int).tolist())
      [0, 1, 2, 3, 4, 5, 6, 7]
    """
    bounds = _check("sobol", key, n, lower, upper, dtype)
    if n & (n - 1):
        raise ValueError(
            f"jaxcore.sampling.sobol: `n` must be a power of two, got {n}; halton "
            "takes any number"
        )
    design = _qmc().Sobol(len(bounds[0]), rng=_generator("sobol", key))
    return _between(jnp.asarray(design.random(n), dtype), *bounds)


def halton(
    key: Key[Array, ""],
    n: int,
    lower: Bounds,
    upper: Bounds,
    *,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "n d"]:
    """Return the first `n` points of a scrambled Halton sequence, for any `n`.

    Axis k uses the k-th prime as its base. Computed on the host by
    `scipy.stats.qmc.Halton`; not for use under `jit`.

    Args, returns and raises as `uniform_points`.

    Example:
      >>> import jax
      >>> from jaxcore import sampling
      >>> points = sampling.halton(jax.random.key(0), 4, [0.0, 0.0], [4.0, 1.0])
      >>> sorted(points[:, 0].astype(int).tolist())
      [0, 1, 2, 3]
    """
    bounds = _check("halton", key, n, lower, upper, dtype)
    design = _qmc().Halton(len(bounds[0]), rng=_generator("halton", key))
    return _between(jnp.asarray(design.random(n), dtype), *bounds)


def _generator(name: str, key: Array) -> np.random.Generator:
    """Returns a NumPy generator that is a function of the key."""
    if isinstance(key, jax.core.Tracer):
        raise TypeError(
            f"jaxcore.sampling.{name}: `key` must be a value, not traced, because the "
            f"points are computed on the host; call it outside of jit, got {key!r}"
        )
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _between(unit: Array, lower: np.ndarray, upper: np.ndarray) -> Array:
    a, b = (jnp.asarray(x, unit.dtype)[None] for x in (lower, upper))
    # Rounding in `a + (b - a) * unit` can step over the end.
    return jnp.clip(a + (b - a) * unit, a, b)


def check_bounds(where: str, lower: Any, upper: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bounds of a box as float64 arrays, or raises ValueError."""
    a, b = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    good = a.ndim == 1 and a.shape == b.shape and a.size > 0
    if not good or not (np.isfinite(a) & np.isfinite(b) & (a < b)).all():
        raise ValueError(
            f"{where}: `lower` and `upper` must be finite, (d,), with lower < upper on "
            f"every axis, got {lower!r} and {upper!r}"
        )
    return a, b


def _check(name, key, n, lower, upper, dtype) -> tuple[np.ndarray, np.ndarray]:
    where = f"jaxcore.sampling.{name}"
    check_key(where, key)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"{where}: `n` must be a positive integer, got {n!r}")
    check_dtype(where, dtype)
    return check_bounds(where, lower, upper)
