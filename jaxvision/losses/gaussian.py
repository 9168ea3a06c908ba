"""Gaussian likelihoods, their best variance, and the divergence from N(0, 1).

Everything is in nats, summed over the numbers of an image: nothing is a mean over
pixels. Images are (B, ...).
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcore.training import mean_over_devices
from jaxvision import _checks
from jaxvision._checks import Values


LOG_2_PI = math.log(2 * math.pi)
SCOPES = ("sample", "batch")


def gaussian_kl(
    mean: Float[Values, "b *n"], log_variance: Float[Values, "b *n"]
) -> Float[Array, " b"]:
    """Returns `KL(N(mean, variance) || N(0, 1))` of each row, in nats.

    `1/2 sum (mean^2 + exp(log_variance) - 1 - log_variance)`.

    Args:
        mean, log_variance: (B, ...), floating point.

    Returns:
        (B,), at least 0, in float32 at least.

    Raises:
        TypeError: an argument is not floating point.
        ValueError: shapes differ or have no axis after the batch.

    Example:
        >>> import jax.numpy as jnp
        >>> gaussian_kl(jnp.array([[0.0], [2.0]]), jnp.zeros((2, 1))).tolist()
        [0.0, 2.0]

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014, appendix B.
    """
    where = "jaxvision.losses.gaussian_kl"
    mean = _checks.floating(where, "mean", mean)
    log_variance = _checks.floating(where, "log_variance", log_variance)
    _checks.same_shape(where, mean=mean, log_variance=log_variance)
    _checks.rows(where, "mean", mean)
    mean, log_variance = _checks.wide(mean), _checks.wide(log_variance)
    # expm1: near zero exp(v) - 1 - v loses its digits.
    terms = mean**2 + (jnp.expm1(log_variance) - log_variance)
    return 0.5 * jnp.sum(terms, axis=tuple(range(1, mean.ndim)))


def gaussian_nll(
    x: Float[Values, "b *n"],
    mean: Float[Values, "b *n"],
    variance: Float[Values, " b"] | float,
) -> Float[Array, " b"]:
    """Returns `-log N(x; mean, variance I)` of each row, in nats.

    `||x - mean||^2 / (2 variance) + D/2 log(2 pi variance)`, D numbers in a row.

    Args:
        x, mean: (B, ...), floating point.
        variance: one for all rows or one per row, (B,), positive.

    Returns:
        (B,).

    Raises:
        TypeError: an array is not floating point.
        ValueError: shapes do not fit, or a variance given as a number is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{gaussian_nll(jnp.ones((1, 1)), jnp.zeros((1, 1)), 1.0)[0]:.4f}")
        1.4189

    Source: Kim and Lee, Beta-Sigma VAE, equation 4, here for all D numbers together:
    the paper writes it for one.
    """
    where = "jaxvision.losses.gaussian_nll"
    square, size = squared_distances(where, x, mean)
    if isinstance(variance, int | float):
        _checks.positive(where, "variance", variance)
        value = jnp.full(square.shape, variance, square.dtype)
    else:
        value = _checks.wide(_checks.floating(where, "variance", variance))
        if value.shape not in ((), square.shape):
            raise ValueError(
                f"{where}: `variance` must be a number or have shape {square.shape}, "
                f"one per row, got {value.shape}"
            )
        value = jnp.broadcast_to(value, square.shape)
    return square / (2 * value) + size / 2 * (LOG_2_PI + jnp.log(value))


def optimal_variance(
    x: Float[Values, "b *n"], mean: Float[Values, "b *n"], *, scope: str = "sample"
) -> Float[Array, " b"]:
    """Returns the variance under which `x` is most likely, one value per row.

    `||x - mean||^2 / D` of each row; with `scope="batch"` its mean over the rows of the
    global batch, on all devices, for each row.

    Args:
        x, mean: (B, ...), floating point.
        scope: `"sample"`: every image has its variance; `"batch"`: all share one.

    Returns:
        (B,), 0 where `mean` is `x`.

    Raises:
        TypeError: an argument is not floating point.
        ValueError: shapes differ, or an unknown scope.

    Example:
        >>> import jax.numpy as jnp
        >>> optimal_variance(jnp.array([[1.0, 3.0]]), jnp.zeros((1, 2))).tolist()
        [5.0]

    Source: Kim and Lee, Beta-Sigma VAE, what equation 6 is made with; `"batch"` is the
    shared variance of Rybkin et al., Simple and Effective VAE Training with Calibrated
    Decoders (sigma-VAE), ICML 2021.
    """
    where = "jaxvision.losses.optimal_variance"
    if scope not in SCOPES:
        raise ValueError(f"{where}: `scope` must be one of {SCOPES}, got {scope!r}")
    square, size = squared_distances(where, x, mean)
    each = square / size
    if scope == "sample":
        return each
    return jnp.broadcast_to(mean_over_devices(jnp.mean(each)), each.shape)


def squared_distances(where: str, x: Values, mean: Values) -> tuple[Array, int]:
    """Returns `||x - mean||^2` of each row and how many numbers a row has."""
    x = _checks.floating(where, "x", x)
    mean = _checks.floating(where, "mean", mean)
    _checks.same_shape(where, x=x, mean=mean)
    _checks.rows(where, "x", x)
    gap = _checks.wide(x) - _checks.wide(mean)
    return jnp.sum(gap**2, axis=tuple(range(1, x.ndim))), math.prod(x.shape[1:])
