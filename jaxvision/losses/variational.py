"""Losses of variational autoencoders, and the likelihood bound they are judged by.

`x` and `mean` are images and reconstructions (B, ...) with D numbers each;
`latent_mean` and `latent_log_variance` are the posterior (B, L). Losses return

    total, distortion, rate

as means over the batch, in nats unless said otherwise; rate is the KL divergence.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision import _checks
from jaxvision._checks import Values
from jaxvision.losses.gaussian import (
    SCOPES,
    gaussian_kl,
    gaussian_nll,
    optimal_variance,
    squared_distances,
)


class Parts(NamedTuple):
    """A loss and what it is made of, each a mean over the batch."""

    total: Float[Array, ""]
    distortion: Float[Array, ""]
    rate: Float[Array, ""]


def beta_vae_loss(
    x: Float[Values, "b *n"],
    mean: Float[Values, "b *n"],
    latent_mean: Float[Values, "b l"],
    latent_log_variance: Float[Values, "b l"],
    *,
    beta: float,
    variance: float = 0.5,
) -> Parts:
    """Returns the loss of the beta-VAE with a constant variance of the decoder.

    `distortion = ||x - mean||^2 / (2 variance)`, `total = distortion + beta rate`. The
    constant `D/2 log(2 pi variance)` is left out: the loss is no likelihood. Only
    `beta * variance` matters for where the minimum is: the gradient is `beta` times
    that of the negative bound `elbo` with variance `beta * variance`.

    Args:
        x, mean, latent_mean, latent_log_variance: see the module.
        beta: weight of the rate, not negative.
        variance: positive; 1/2 makes the distortion the squared error.

    Raises:
        TypeError: an array is not floating point.
        ValueError: shapes do not fit, `beta` is negative, or `variance` not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> x, z = jnp.ones((1, 3)), jnp.zeros((1, 2))
        >>> print(beta_vae_loss(x, 0 * x, z, z, beta=2.0))
        Parts(total=Array(3., dtype=float32), distortion=..., rate=...)

    Source: Higgins et al., ICLR 2017, equation 4, for a Gaussian decoder; the relation
    of the gradients is equation 5 of Kim and Lee, Beta-Sigma VAE.
    """
    where = "jaxvision.losses.beta_vae_loss"
    _checks.not_negative(where, "beta", beta)
    _checks.positive(where, "variance", variance)
    square, _ = squared_distances(where, x, mean)
    distortion = jnp.mean(square) / (2 * variance)
    rate = jnp.mean(gaussian_kl(latent_mean, latent_log_variance))
    return Parts(distortion + beta * rate, distortion, rate)


def beta_sigma_loss(
    x: Float[Values, "b *n"],
    mean: Float[Values, "b *n"],
    latent_mean: Float[Values, "b l"],
    latent_log_variance: Float[Values, "b l"],
    *,
    beta: float,
    epsilon: float = 1e-5,
    scope: str = "sample",
) -> Parts:
    """Returns the loss of the beta-sigma VAE: the best variance of each image.

    With `m` the mean squared error of an image, over all its D numbers,

        distortion = D/2 (log(2 pi m + epsilon) + 1),   total = distortion + beta rate.

    Without epsilon the distortion is the negative log-likelihood at variance `m`, its
    minimum over the variance, so that its gradient is that of `gaussian_nll` with `m`
    held fixed.

    Args:
        x, mean, latent_mean, latent_log_variance: see the module.
        beta: weight of the rate, not negative; 1 maximizes a likelihood bound.
        epsilon: inside the logarithm, not negative; it bounds the loss of a perfect
            reconstruction.
        scope: `"sample"`: one variance per image, the paper's; `"batch"`: one that all
            images of the global batch share, as in the sigma-VAE.

    Raises:
        TypeError: an array is not floating point.
        ValueError: shapes do not fit, `beta` or `epsilon` is negative, unknown scope.

    Example:
        >>> import jax.numpy as jnp
        >>> x, z = jnp.ones((1, 2)), jnp.zeros((1, 2))
        >>> loss = beta_sigma_loss(x, 0 * x, z, z, beta=1.0, epsilon=0.0)
        >>> print(f"{loss.total:.4f}")  # log(2 pi) + 1
        2.8379

    Source: Kim and Lee, Beta-Sigma VAE, equation 6, per image; epsilon as in the
    authors' code.
    """
    where = "jaxvision.losses.beta_sigma_loss"
    _checks.not_negative(where, "beta", beta)
    _checks.not_negative(where, "epsilon", epsilon)
    if scope not in SCOPES:
        raise ValueError(f"{where}: `scope` must be one of {SCOPES}, got {scope!r}")
    distortion = jnp.mean(_lowest_nll(where, x, mean, scope, epsilon))
    rate = jnp.mean(gaussian_kl(latent_mean, latent_log_variance))
    return Parts(distortion + beta * rate, distortion, rate)


def elbo(
    x: Float[Values, "b *n"],
    mean: Float[Values, "b *n"],
    latent_mean: Float[Values, "b l"],
    latent_log_variance: Float[Values, "b l"],
    *,
    variance: float | str = "optimal",
) -> Float[Array, " b"]:
    """Returns a lower bound on log p(x) of each image, by one draw of the latent.

    `-(gaussian_nll(x, mean, variance) + KL)`; the weight of the KL is 1, whatever the
    model was trained with.

    Args:
        x, mean, latent_mean, latent_log_variance: see the module; `mean` decodes a
            draw from the posterior.
        variance: positive, or `"optimal"`: that of each image; where an image is
            reconstructed without error the bound is then infinite.

    Returns:
        (B,), in nats.

    Raises:
        TypeError: an array is not floating point.
        ValueError: shapes do not fit, or no such variance.

    Example:
        >>> import jax.numpy as jnp
        >>> x, z = jnp.ones((1, 2)), jnp.zeros((1, 2))
        >>> print(f"{elbo(x, 0 * x, z, z)[0]:.4f}")
        -2.8379

    Source: Kingma and Welling, ICLR 2014, equation 3, by one draw; with the best
    variance as Kim and Lee, Beta-Sigma VAE, judge every model, those trained with a
    constant one too.
    """
    where = "jaxvision.losses.elbo"
    if isinstance(variance, str):
        if variance != "optimal":
            raise ValueError(
                f"{where}: `variance` must be a positive number or 'optimal', got "
                f"{variance!r}"
            )
        nll = _lowest_nll(where, x, mean, "sample", 0.0)
    else:
        _checks.positive(where, "variance", variance)
        nll = gaussian_nll(x, mean, variance)
    return -(nll + gaussian_kl(latent_mean, latent_log_variance))


def _lowest_nll(
    where: str, x: Values, mean: Values, scope: str, epsilon: float
) -> Array:
    """Returns the Gaussian negative log-likelihood of each row at its best variance.

    `gaussian_nll` would divide 0 by 0 where `mean` is `x`.
    """
    _, size = squared_distances(where, x, mean)
    best = optimal_variance(x, mean, scope=scope)
    return size / 2 * (jnp.log(2 * jnp.pi * best + epsilon) + 1)
