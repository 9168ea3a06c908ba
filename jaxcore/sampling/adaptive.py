"""Points where a residual is large: RAD draws them, R3 keeps them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxcore.sampling.random import check_key
from jaxcore.sampling.scattered import Bounds, check_bounds, uniform_points


def rad_probabilities(
    residual: Float[Array, " n"], *, k: float = 1.0, c: float = 1.0
) -> Float[Array, " n"]:
    """Return the probabilities `p_i ~ |r_i|^k / mean(|r|^k) + c`, which sum to one.

    Args:
      residual: (n,), at the candidate points.
      k: static; how much large residuals are preferred, not negative.
      c: static; how much of the density is uniform, not negative.

    Returns:
      The probabilities, `(n,)`. Where all residuals vanish they are equal.

    Raises:
      ValueError: if `k` or `c` is negative, or `residual` is not one axis of numbers.

    Source: Wu, Zhu, Tan, Kartha and Lu, "A comprehensive study of non-adaptive and
    residual-based adaptive sampling for physics-informed neural networks", 2023: the
    density of RAD, whose defaults are k = c = 1.

    Example:
      >>> import jax.numpy as jnp
      >>> print(rad_probabilities(jnp.array([0.0, 1.0, 2.0]), c=0.0).round(3))
      [0.    0.333 0.667]
    """
    where = "jaxcore.sampling.rad_probabilities"
    for name, value in (("k", k), ("c", c)):
        if not isinstance(value, int | float) or not 0.0 <= value < float("inf"):
            raise ValueError(f"{where}: `{name}` must be at least 0, got {value!r}")
    _check_line(where, residual)
    sizes = jnp.abs(residual)
    largest = jnp.max(sizes)
    # Only ratios count; those to the largest neither overflow nor underflow together.
    powers = jnp.where(largest > 0, sizes / jnp.where(largest > 0, largest, 1), 1) ** k
    density = powers / jnp.mean(powers) + c
    return density / jnp.sum(density)


def rad(
    key: Key[Array, ""],
    candidates: Float[Array, "n d"],
    residual: Float[Array, " n"],
    count: int,
    *,
    k: float = 1.0,
    c: float = 1.0,
) -> Float[Array, "m d"]:
    """Return `count` different candidates, drawn with `rad_probabilities`.

    Args:
      key: a typed key, `jax.random.key(seed)`.
      candidates: (n, d), a dense set of points.
      residual: (n,), at the candidates.
      count: static; number of points, at most n.
      k: static; see `rad_probabilities`.
      c: static; see `rad_probabilities`.

    Returns:
      The points, `(count, d)`.

    Raises:
      TypeError: if `key` is not a typed key.
      ValueError: if `count`, `k`, `c` or a shape is not valid.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> candidates = jnp.linspace(0.0, 1.0, 100)[:, None]
      >>> rad(jax.random.key(0), candidates, candidates[:, 0] ** 4, 10).shape
      (10, 1)
    """
    where = "jaxcore.sampling.rad"
    check_key(where, key)
    _check_points(where, "candidates", candidates, residual)
    n = candidates.shape[0]
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= n:
        raise ValueError(
            f"{where}: `count` must be an integer from 1 to the {n} candidates, "
            f"got {count!r}"
        )
    p = rad_probabilities(residual, k=k, c=c)
    chosen = jax.random.choice(key, n, (count,), replace=False, p=p)
    return candidates[chosen]


def r3_kept(residual: Float[Array, " n"]) -> Bool[Array, " n"]:
    """Return which points R3 keeps: those with `|r_i| > mean(|r|)`.

    Args:
      residual: (n,).

    Returns:
      True for the points that stay, `(n,)`.

    Raises:
      ValueError: if `residual` is not one axis of numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> r3_kept(jnp.array([-3.0, 1.0, 0.5])).tolist()
      [True, False, False]
    """
    _check_line("jaxcore.sampling.r3_kept", residual)
    sizes = jnp.abs(residual)
    return sizes > jnp.mean(sizes)


def r3(
    key: Key[Array, ""],
    points: Float[Array, "n d"],
    residual: Float[Array, " n"],
    lower: Bounds,
    upper: Bounds,
) -> Float[Array, "n d"]:
    """Return the points after one round of retain, resample, release.

    Points with a residual above the mean stay where they are (`r3_kept`), all others
    are replaced by uniform ones; the number of points never changes.

    Args:
      key: a typed key, `jax.random.key(seed)`.
      points: (n, d).
      residual: (n,), at the points.
      lower: (d,), of the box that new points are drawn in.
      upper: (d,), of that box.

    Returns:
      The points, `(n, d)`; those kept are in their old rows.

    Raises:
      TypeError: if `key` is not a typed key.
      ValueError: if the bounds or a shape is not valid.

    Source: Daw, Bu, Wang, Perdikaris and Karpatne, "Mitigating propagation failures in
    physics-informed neural networks using retain-resample-release (R3) sampling",
    2023, algorithm 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> points = jnp.array([[0.1], [0.5], [0.9]])
      >>> after = r3(
      ...     jax.random.key(0), points, jnp.array([0.0, 2.0, 0.1]), [0.0], [1.0]
      ... )
      >>> (after[:, 0] == points[:, 0]).tolist()
      [False, True, False]
    """
    where = "jaxcore.sampling.r3"
    check_key(where, key)
    _check_points(where, "points", points, residual)
    a, _ = check_bounds(where, lower, upper)
    if len(a) != points.shape[1]:
        raise ValueError(
            f"{where}: `lower` must have an entry for each of the {points.shape[1]} "
            f"columns of `points`, got {lower!r}"
        )
    n = points.shape[0]
    fresh = uniform_points(key, n, lower, upper, dtype=points.dtype)
    return jnp.where(r3_kept(residual)[:, None], points, fresh)


def _check_line(where: str, residual: Array) -> None:
    if residual.ndim != 1 or residual.size == 0:
        raise ValueError(
            f"{where}: `residual` must have shape (n,) with n > 0, got {residual.shape}"
        )


def _check_points(where: str, name: str, points: Array, residual: Array) -> None:
    _check_line(where, residual)
    if points.ndim != 2 or points.shape[0] != residual.shape[0]:
        raise ValueError(
            f"{where}: `{name}` must have shape (n, d) with the n = {residual.size} of "
            f"`residual`, got {points.shape}"
        )
