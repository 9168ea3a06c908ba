"""Harmonics and two-dimensional Fourier series on the torus, with exact tables.

With the true power `sin(theta)^|m|` a harmonic extends to the torus of two angles,
where it is a trigonometric polynomial: cosines of `u theta` for even m, sines for odd
m, and only `v = m` and `v = -m` in the azimuth. A product of functions is then a
convolution of their coefficients, done by FFT.

Luo, Chen and Krishnapriyan, arXiv 2401.10216, section 3.2; the tables there are
integrated numerically, these are exact.
"""

import math
from functools import lru_cache, partial
from typing import SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Float64

from jaxcore import sampling
from jaxcore.sphere._checks import check_coefficients, check_degree, einsum, frozen
from jaxcore.sphere.grids import join_orders, split_orders
from jaxcore.sphere.harmonics import legendre_table


ROOT2 = math.sqrt(2)


def to_fourier(
    x: Float[Array, "*b k"], degree: SupportsIndex
) -> Complex[Array, "*b u v"]:
    """Return the Fourier coefficients of `sum_lm x_lm Y_lm` on the torus.

    `f(theta, phi) = sum_uv X[u + L, v + L] exp(i (u theta + v phi))`. The function is
    real, so `X[-u, -v]` is the conjugate of `X[u, v]`.

    Args:
      x: coefficients, `(..., (L+1)^2)`, float32 or float64.
      degree: L, static.

    Returns:
      `(..., 2L+1, 2L+1)`, complex64 or complex128.

    Raises:
      ValueError: if the last axis does not fit the degree.
      TypeError: if `x` holds no real floating-point numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import sphere
      >>> constant = jnp.array([math.sqrt(4 * math.pi), 0.0, 0.0, 0.0])
      >>> sphere.to_fourier(constant, 1).real.round(4).tolist()
      [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    where = "jaxcore.sphere.to_fourier"
    degree = check_degree(where, "degree", degree)
    half = _to_half(check_coefficients(where, "x", x, degree), degree)
    # The rest of the plane by symmetry: both axes reversed, conjugate.
    mirrored = jnp.conj(half[..., ::-1, :0:-1])
    return jnp.concatenate([mirrored, half], axis=-1)


def from_fourier(
    series: Complex[Array, "*b u v"], degree: SupportsIndex
) -> Float[Array, "*b k"]:
    """Return the coefficients `integral over the sphere of f Y_lm` of a real series.

    The integrals of `exp(i u theta) Y_lm` are exact for every u and v, so a series of
    a higher band is projected on the degrees up to L.

    Args:
      series: `(..., 2N+1, 2N+1)` complex, entry `[u + N, v + N]`; that of a real
        function with the symmetry of `to_fourier`, of which the half `v >= 0` is read.
      degree: highest degree L of the result, static.

    Returns:
      Coefficients `(..., (L+1)^2)`.

    Raises:
      ValueError: if the last two axes are not square and odd.
      TypeError: if `series` is not complex.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import sphere
      >>> x = jnp.arange(9.0)
      >>> sphere.from_fourier(sphere.to_fourier(x, 2), 2).round(3).tolist()
      [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    """
    where = "jaxcore.sphere.from_fourier"
    degree = check_degree(where, "degree", degree)
    series = jnp.asarray(series)
    if not jnp.issubdtype(series.dtype, jnp.complexfloating):
        raise TypeError(
            f"{where}: `series` must be of a complex dtype, got {series.dtype}"
        )
    shape = series.shape
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] % 2 == 0:
        raise ValueError(
            f"{where}: `series` must have two last axes of the same odd size, "
            f"got shape {shape}"
        )
    return _from_half(series[..., shape[-1] // 2 :], degree)


@partial(jax.jit, static_argnames=("degrees",), inline=True)
def fourier_product(x: Array, y: Array, degrees: tuple[int, int, int]) -> Array:
    """Return the Gaunt product by FFT of the Fourier coefficients of both factors.

    The series are real on the torus, so half-plane transforms do: twice as fast as the
    complex ones of the paper.
    """
    band = degrees[0] + degrees[1]
    size = 2 * band + 1
    values = [
        jnp.fft.irfft2(_placed(_to_half(c, degree), size), s=(size, size))
        for c, degree in ((x, degrees[0]), (y, degrees[1]))
    ]
    ndim = max(v.ndim for v in values)
    a, b = (v.reshape((1,) * (ndim - v.ndim) + v.shape) for v in values)
    # Both inverse transforms divided by size^2, the forward one restores one of them.
    product = jnp.fft.rfft2(a * b) * size**2
    return _from_half(jnp.roll(product, band, axis=-2), degrees[2])


def _placed(half: Array, size: int) -> Array:
    """Return the half plane with `u = 0` first, padded to `size` rows and columns."""
    degree = half.shape[-2] // 2
    rows = size - half.shape[-2]
    gap = jnp.zeros((*half.shape[:-2], rows, half.shape[-1]), half.dtype)
    parts = [half[..., degree:, :], gap, half[..., :degree, :]]
    padded = jnp.concatenate(parts, axis=-2)
    columns = size // 2 + 1 - half.shape[-1]
    return jnp.pad(padded, [(0, 0)] * (half.ndim - 1) + [(0, columns)])


@partial(jax.jit, static_argnames=("degree",), inline=True)
def _to_half(x: Float[Array, "*b k"], degree: int) -> Complex[Array, "*b u v"]:
    """Return the Fourier coefficients with `v >= 0`, `(..., 2L+1, L+1)`."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))  # complex has no halves
    table = jnp.asarray(_to_table(degree), x.dtype)
    rows = einsum("...ml,mlu->...um", split_orders(x, degree), table)
    cosine = rows[..., degree:]
    sine = jnp.concatenate(
        [jnp.zeros_like(rows[..., :1]), rows[..., :degree][..., ::-1]], axis=-1
    )
    # cos = (e + e*) / 2 and sin = (e - e*) / 2i; the rows of odd orders lack -i.
    even = (np.arange(degree + 1) % 2 == 0).reshape((1,) * x.ndim + (-1,))
    return jnp.where(
        even, jax.lax.complex(cosine, -sine), jax.lax.complex(-sine, -cosine)
    )


@partial(jax.jit, static_argnames=("degree",), inline=True)
def _from_half(half: Complex[Array, "*b u v"], degree: int) -> Float[Array, "*b k"]:
    """Return the projection of `(..., 2N+1, M+1)` with `v = 0 ... M`."""
    band = half.shape[-2] // 2
    if half.shape[-1] <= degree:
        columns = degree + 1 - half.shape[-1]
        half = jnp.pad(half, [(0, 0)] * (half.ndim - 1) + [(0, columns)])
    half = half[..., : degree + 1]
    even = (np.arange(degree + 1) % 2 == 0).reshape((1,) * (half.ndim - 1) + (-1,))
    cosine = jnp.where(even, half.real, -half.imag)
    sine = jnp.where(even, -half.imag, -half.real)
    rows = jnp.concatenate([sine[..., :0:-1], cosine], axis=-1)
    table = jnp.asarray(_from_table(degree, band), rows.dtype)
    return join_orders(einsum("...um,mul->...ml", rows, table), degree)


@lru_cache(maxsize=64)
def _to_table(degree: int) -> Float64[np.ndarray, "m l u"]:
    """Return the real numbers that make up the Fourier series of `K_lm P_l^m`.

    Row m, column l, entry `u + L`: the coefficient of `exp(i u theta)` for even m, that
    times i for odd m. Columns of the azimuth are `exp(i v phi)`: the factor `sqrt2 / 2`
    is included for m other than 0. Sampled on the circle, where it is band-limited, so
    a discrete transform is exact.
    """
    size = 2 * degree + 1
    theta = 2 * np.pi * np.arange(size) / size
    table = legendre_table(degree, np.cos(theta))
    # Beyond pi the sine is negative, and with it the odd orders.
    odd = np.arange(degree + 1) % 2 == 1
    table[:, odd] *= np.where(theta > np.pi, -1.0, 1.0)
    series = np.fft.fftshift(np.fft.fft(table, axis=-1) / size, axes=-1)
    real = np.where(odd[None, :, None], -series.imag, series.real)
    factor = np.where(np.arange(degree + 1) > 0, ROOT2 / 2, 1.0)
    by_order = (real * factor[None, :, None]).swapaxes(0, 1)
    orders = np.abs(np.arange(-degree, degree + 1))
    return frozen(np.ascontiguousarray(by_order[orders]))


@lru_cache(maxsize=64)
def _from_table(degree: int, band: int) -> Float64[np.ndarray, "m u l"]:
    """Return the integrals of `K_lm P_l^m` with `cos(u theta)` or `sin(u theta)`.

    The azimuth gives `2 pi` for m = 0, `2 sqrt2 pi` otherwise. For even m (cosines) and
    odd m (sines) the integrand is a polynomial in `cos(theta)` of degree at most
    `degree + band`.
    """
    nodes, weights = sampling.gauss_legendre((degree + band) // 2 + 1)
    theta = np.arccos(nodes)
    u = np.arange(-band, band + 1)
    legendre = legendre_table(degree, nodes).swapaxes(0, 1) * weights
    out = np.empty((degree + 1, 2 * band + 1, degree + 1))
    for m in range(degree + 1):
        wave = np.sin(np.outer(u, theta)) if m % 2 else np.cos(np.outer(u, theta))
        out[m] = (2 * np.pi * (ROOT2 if m else 1.0)) * wave @ legendre[m].T
    return frozen(out[np.abs(np.arange(-degree, degree + 1))])
