"""How close two images are: PSNR and SSIM. Images are (..., H, W, C)."""

from __future__ import annotations

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxvision import _checks
from jaxvision._checks import Values


def psnr(
    x: Float[Values, "*b h w c"], y: Float[Values, "*b h w c"], *, maximum: float = 1.0
) -> Float[Array, "*b"]:
    """Returns the peak signal-to-noise ratio of each pair, in decibels.

    `10 log10(maximum^2 / mean((x - y)^2))`; infinite for equal images.

    Args:
        x, y: (..., H, W, C), floating point.
        maximum: range of the values, 1 for images in [0, 1].

    Returns:
        (...), float32 at least.

    Raises:
        TypeError: an argument is not floating point.
        ValueError: shapes differ, or `maximum` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> float(psnr(jnp.zeros((2, 2, 1)), jnp.full((2, 2, 1), 0.1)).round(3))
        20.0

    Source: Wang et al., IEEE Transactions on Image Processing 13 (2004), which compares
    it with `ssim`.
    """
    x, y = _pair("jaxvision.metrics.psnr", x, y, maximum, 1)
    error = jnp.mean((x - y) ** 2, axis=(-3, -2, -1))
    return 10 * jnp.log10(maximum**2 / error)


def ssim(
    x: Float[Values, "*b h w c"],
    y: Float[Values, "*b h w c"],
    *,
    maximum: float = 1.0,
    window: int = 11,
    sigma: float = 1.5,
) -> Float[Array, "*b"]:
    """Returns the structural similarity of each pair, from -1 to 1.

    With means, variances and covariance under a Gaussian window, `c1 = (0.01 L)^2` and
    `c2 = (0.03 L)^2`,

        (2 mx my + c1) (2 cxy + c2) / ((mx^2 + my^2 + c1) (vx + vy + c2)),

    averaged over channels and all positions where the window fits in the image
    (torchmetrics goes on by reflection and counts the border too). The window is
    applied axis by axis.

    Args:
        x, y: (..., H, W, C), floating point, no side below `window`.
        maximum: L, range of the values.
        window: odd number of pixels.
        sigma: of the Gaussian, in pixels.

    Returns:
        (...), float32 at least.

    Raises:
        TypeError: an argument is not floating point.
        ValueError: shapes differ or are too small, or an option is out of range.

    Example:
        >>> import jax
        >>> x = jax.random.uniform(jax.random.key(0), (12, 12, 1))
        >>> float(ssim(x, x).round(5))
        1.0

    Source: Wang et al., IEEE Transactions on Image Processing 13 (2004), equation 13.
    """
    where = "jaxvision.metrics.ssim"
    if window < 1 or window % 2 == 0:
        raise ValueError(
            f"{where}: `window` must be an odd positive integer, got {window}"
        )
    _checks.positive(where, "sigma", sigma)
    x, y = _pair(where, x, y, maximum, window)
    c1, c2 = (0.01 * maximum) ** 2, (0.03 * maximum) ** 2
    # Moments about a common shift of each channel: the variance of a bright, flat
    # region would otherwise be the difference of large numbers.
    shift = jnp.mean(x, axis=(-3, -2), keepdims=True)
    a, b = x - shift, y - shift

    def blur(z):
        return _blurred(z, _gaussian(window, sigma))

    ma, mb = blur(a), blur(b)
    va, vb, covariance = (blur(p) for p in (a * a, b * b, a * b))
    va, vb, covariance = va - ma**2, vb - mb**2, covariance - ma * mb
    mx, my = ma + shift, mb + shift
    top = (2 * mx * my + c1) * (2 * covariance + c2)
    bottom = (mx**2 + my**2 + c1) * (va + vb + c2)
    return jnp.mean(top / bottom, axis=(-3, -2, -1))


@lru_cache(maxsize=16)
def _gaussian(window: int, sigma: float) -> tuple[float, ...]:
    offsets = np.arange(window) - window // 2
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return tuple((weights / weights.sum()).tolist())


def _blurred(z: Array, weights: tuple[float, ...]) -> Array:
    for axis in (z.ndim - 3, z.ndim - 2):
        size = z.shape[axis] - len(weights) + 1
        shifted = (
            weight * lax.slice_in_dim(z, i, i + size, axis=axis)
            for i, weight in enumerate(weights)
        )
        z = sum(shifted, jnp.zeros((), z.dtype))
    return z


def _pair(
    where: str, x: Values, y: Values, maximum: float, smallest: int
) -> tuple[Array, Array]:
    x, y = _checks.floating(where, "x", x), _checks.floating(where, "y", y)
    _checks.same_shape(where, x=x, y=y)
    if x.ndim < 3 or x.size == 0 or min(x.shape[-3:-1]) < smallest:
        raise ValueError(
            f"{where}: `x` must be images (..., height, width, channels) of at least "
            f"{smallest} x {smallest}, got shape {x.shape}"
        )
    _checks.positive(where, "maximum", maximum)
    wide = jnp.promote_types(jnp.promote_types(x.dtype, y.dtype), jnp.float32)
    return x.astype(wide), y.astype(wide)
