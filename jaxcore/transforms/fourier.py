"""The four-step (Monarch) Fourier transform: dense matrix products and twiddles.

`jnp.fft.fft` has the fewest operations; this form has them where matrix units are fast,
and can leave its result in the order in which it comes out. Between a transform and its
inverse no order matters, so a convolution permutes nothing at all.

Bailey, FFTs in external or hierarchical memory, J. Supercomputing 4 (1990); Fu et al.,
FlashFFTConv, arXiv 2311.05908.
"""

import math
import operator
from collections.abc import Sequence
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Inexact, Int

from jaxcore.transforms import _monarch
from jaxcore.transforms._fast_checks import (
    PACKAGE,
    AnyArray,
    inexact_array,
    integer,
    working,
)


def monarch_factors(n: int, *, order: int | None = None) -> tuple[int, ...]:
    """Return factors of `n` that are as equal as its divisors allow, large ones first.

    Args:
      n: the length, positive.
      order: the most factors to return, positive; by default two, or as many more as
        bring all of them to 256 or below.

    Returns:
      Factors above 1 whose product is `n`; `(1,)` for `n = 1`.

    Raises:
      ValueError: if `n` or `order` is not a positive integer, or if a factor would be
        larger than 2048, for which a dense matrix is too large.

    Example:
      >>> from jaxcore import transforms
      >>> transforms.monarch_factors(4096), transforms.monarch_factors(4096, order=3)
      ((64, 64), (16, 16, 16))
    """
    n = integer("monarch_factors", "n", n, smallest=1)
    if order is not None:
        order = integer("monarch_factors", "order", order, smallest=1)
    factors = _monarch.balanced_factors(n, order)
    if factors is None:
        raise ValueError(
            f"{PACKAGE}.monarch_factors: `n` must be a product of "
            f"{'some' if order is None else order} factors of at most "
            f"{_monarch.LARGEST_FACTOR}, got {n}"
        )
    return factors


def monarch_order(factors: Sequence[int]) -> Int[np.ndarray, " n"]:
    """Return the frequency that stands at each place of the permuted order.

    At the digits `(k_1, ..., k_d)`, row-major, stands `k_1 + N_1 (k_2 + N_2 (k_3 + ...`
    (for factors 2, 2, ..., 2 this is bit reversal).

    Args:
      factors: static; the lengths of the stages, `N_1, ..., N_d`.

    Returns:
      A permutation of `0, ..., n - 1`, `(n,)`, read-only.

    Raises:
      ValueError: if a factor is not an integer from 1 to 2048.

    Example:
      >>> from jaxcore import transforms
      >>> transforms.monarch_order((2, 3)).tolist()
      [0, 2, 4, 1, 3, 5]
    """
    return _order(checked_factors("monarch_order", factors))


def monarch_fft(
    x: Inexact[AnyArray, "*b n"],
    factors: Sequence[int] | None = None,
    *,
    permuted: bool = False,
    precision: jax.lax.Precision = jax.lax.Precision.HIGHEST,
) -> Complex[Array, "*b n"]:
    """Return the discrete Fourier transform along the last axis by matrix products.

    With `n = N_1 N_2` and `j = N_2 j_1 + j_2`, `k = k_1 + N_1 k_2`,

        X[k] = sum_{j_2} w_{N_2}^(j_2 k_2) w_n^(j_2 k_1)
               sum_{j_1} w_{N_1}^(j_1 k_1) x[j]

    with `w_m = exp(-2 pi i / m)`, and the same again for every further factor:
    `n (N_1 + ... + N_d)` complex multiplications.

    Args:
      x: real or complex signals, `(*b, n)`. Float16 and bfloat16 are computed in
        float32.
      factors: static; `N_1, ..., N_d` with product `n`, by default
        `monarch_factors(n)`.
      permuted: static; leave frequencies in the order `monarch_order(factors)`.
      precision: static; of the matrix products. Anything below the highest lets
        accelerators give up digits for speed.

    Returns:
      The transform, `(*b, n)`, of `jnp.fft.fft`'s scale.

    Raises:
      TypeError: if `x` is not of floats or complex numbers.
      ValueError: if `x` has no axis or no values, or the factors do not multiply to
        `n`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> x = jnp.arange(12.0)
      >>> X = transforms.monarch_fft(x, (4, 3))
      >>> bool(jnp.allclose(X, jnp.fft.fft(x), atol=1e-4))
      True
    """
    x = inexact_array("monarch_fft", "x", x)
    return _forward(x, _plan("monarch_fft", factors, x.shape[-1], precision), permuted)


def monarch_ifft(
    spectrum: Inexact[AnyArray, "*b n"],
    factors: Sequence[int] | None = None,
    *,
    permuted: bool = False,
    precision: jax.lax.Precision = jax.lax.Precision.HIGHEST,
) -> Complex[Array, "*b n"]:
    """Return the inverse discrete Fourier transform by matrix products.

    `x[j] = (1 / n) sum_k X[k] exp(2 pi i j k / n)`: the stages of `monarch_fft`,
    conjugated, in reverse order.

    Args:
      spectrum: real or complex values, `(*b, n)`.
      factors: static; as in `monarch_fft`.
      permuted: static; frequencies stand in the order `monarch_order(factors)`, as
        `monarch_fft(..., permuted=True)` leaves them.
      precision: static; as in `monarch_fft`.

    Returns:
      The signals, `(*b, n)`.

    Raises:
      TypeError: if `spectrum` is not of floats or complex numbers.
      ValueError: if `spectrum` has no axis or no values, or the factors do not multiply
        to `n`.

    Example:
      A convolution that never sorts its frequencies:

      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> x, kernel = jnp.arange(4.0), jnp.array([0.0, 1.0, 0.0, 0.0])
      >>> X = transforms.monarch_fft(x, permuted=True)
      >>> H = transforms.monarch_fft(kernel, permuted=True)
      >>> transforms.monarch_ifft(X * H, permuted=True).real.round(3).tolist()
      [3.0, 0.0, 1.0, 2.0]
    """
    spectrum = inexact_array("monarch_ifft", "spectrum", spectrum)
    plan = _plan("monarch_ifft", factors, spectrum.shape[-1], precision)
    return _backward(spectrum, plan, permuted)


@partial(
    jax.jit,
    static_argnames=(
        "plan",
        "permuted",
    ),
    inline=True,
)
def _backward(spectrum: Array, plan: _monarch.Plan, permuted: bool) -> Array:
    planes = _to_planes(spectrum)
    if permuted:
        planes = planes.reshape(*planes.shape[:-1], *plan.factors)
    else:
        planes = planes.reshape(*planes.shape[:-1], *plan.factors[::-1])
        planes = _reverse_digits(planes, len(plan.factors))
    return _to_complex(_monarch.synthesize_complex(planes, plan))


@partial(
    jax.jit,
    static_argnames=(
        "plan",
        "permuted",
    ),
    inline=True,
)
def _forward(x: Array, plan: _monarch.Plan, permuted: bool) -> Array:
    if jnp.iscomplexobj(x):
        planes = _monarch.analyze_complex(_to_planes(x), plan)
    else:
        planes = _monarch.analyze(x.astype(working(x.dtype)), plan)
    if not permuted:
        planes = _reverse_digits(planes, len(plan.factors))
    return _to_complex(planes.reshape(*x.shape[:-1], 2, x.shape[-1]))


def _reverse_digits(planes: Array, digits: int) -> Array:
    kept = planes.ndim - digits
    reverse = range(planes.ndim - 1, kept - 1, -1)
    return jnp.transpose(planes, (*range(kept), *reverse))


def _to_planes(x: Array) -> Array:
    x = x.astype(jnp.promote_types(working(x.dtype), jnp.complex64))
    return jnp.stack([x.real, x.imag], axis=-2)


def _to_complex(planes: Array) -> Array:
    return jax.lax.complex(planes[..., 0, :], planes[..., 1, :])


def _plan(
    function: str,
    factors: Sequence[int] | None,
    n: int,
    precision: jax.lax.Precision,
) -> _monarch.Plan:
    if factors is None:
        chosen = _monarch.balanced_factors(n)
        if chosen is None:
            raise ValueError(
                f"{PACKAGE}.{function}: the last axis must have a length whose prime "
                f"factors are at most {_monarch.LARGEST_FACTOR}, got {n}"
            )
    else:
        chosen = checked_factors(function, factors)
        if math.prod(chosen) != n:
            raise ValueError(
                f"{PACKAGE}.{function}: `factors` must multiply to the length {n} of "
                f"the last axis, got {chosen} with product {math.prod(chosen)}"
            )
    return _monarch.Plan(chosen, precision=jax.lax.Precision(precision))


def checked_factors(function: str, factors: Sequence[int]) -> tuple[int, ...]:
    """Return the factors as Python integers, or raise."""
    try:
        chosen = tuple(operator.index(factor) for factor in factors)
    except TypeError:
        chosen = ()
    if not chosen or not all(1 <= f <= _monarch.LARGEST_FACTOR for f in chosen):
        raise ValueError(
            f"{PACKAGE}.{function}: `factors` must be a non-empty sequence of integers "
            f"from 1 to {_monarch.LARGEST_FACTOR}, got {factors!r}"
        )
    return chosen


@lru_cache(maxsize=64)
def _order(factors: tuple[int, ...]) -> np.ndarray:
    n = math.prod(factors)
    order = np.arange(n).reshape(factors[::-1]).transpose().reshape(n)
    order.flags.writeable = False
    return order
