"""Circular convolution with kernels that have few frequencies.

A kernel whose spectrum is zero outside of some frequencies, for example a smooth one,
is stored by these values alone, and transforms may skip what is multiplied by zero.
"""

import operator
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxcore.transforms import _monarch
from jaxcore.transforms._choice import SPARSE_METHODS, choose_sparse
from jaxcore.transforms._fast_checks import (
    PACKAGE,
    AnyArray,
    complex_array,
    integer,
    lift,
    one_of,
    real_array,
    working,
)


def kernel_spectrum(
    kernel: Float[AnyArray, "... k"], n: int, frequencies: Sequence[int]
) -> Complex[Array, "... f"]:
    """Return some values of the spectrum of a kernel continued with zeros to length n.

    Args:
      kernel: `(..., k)` with `k <= n`.
      n: static; length of the signals that the kernel is for.
      frequencies: static; distinct, ascending, from `0` to `n // 2`.

    Returns:
      `sum_s kernel[s] exp(-2 pi i s f / n)` for each of the frequencies, `(..., f)`.

    Raises:
      TypeError: if `kernel` is not of real floating-point numbers.
      ValueError: if `kernel` has no axis, is empty or longer than `n`, `n` is not a
        positive integer or the frequencies are not as said.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> transforms.kernel_spectrum(jnp.ones(4) / 4, 4, (0, 1)).real.tolist()
      [1.0, 0.0]
    """
    function = "kernel_spectrum"
    kernel = real_array(function, "kernel", kernel)
    n = integer(function, "n", n, smallest=1)
    if kernel.shape[-1] > n:
        raise ValueError(
            f"{PACKAGE}.{function}: `kernel` must have at most n={n} samples, "
            f"got shape {kernel.shape}"
        )
    kept = _frequencies(function, frequencies, n)
    return _take(jnp.fft.rfft(kernel.astype(working(kernel.dtype)), n), kept)


def sparse_convolve(
    x: Float[AnyArray, "... n"],
    spectrum: Complex[AnyArray, "... f"],
    frequencies: Sequence[int],
    *,
    method: str = "auto",
) -> Float[Array, "... n"]:
    """Return the circular convolution with a kernel given by a few frequencies.

    `y = irfft(rfft(x) H)` with `H[frequencies] = spectrum` and zero elsewhere.

    Args:
      x: `(..., n)`.
      spectrum: `(..., f)`, as `kernel_spectrum` returns it; leading axes broadcast with
        those of `x`. Imaginary parts at frequency 0 and, for even n, at `n / 2` have
        no effect.
      frequencies: static; distinct, ascending, from `0` to `n // 2`.
      method: static. "fft": one FFT, all frequencies. "matmul": products with the
        cosines and sines of the frequencies, `n f` operations. "monarch": two stages of
        matrix products without those blocks of digits that hold no frequency, for
        lengths with two factors of at most 2048. "auto": by backend and sizes, as
        measured.

    Returns:
      `(..., n)`, in the promoted real dtype.

    Raises:
      TypeError: if `x` is not real or `spectrum` not complex.
      ValueError: if an array has no axis or is empty, leading axes do not broadcast,
        the frequencies are not as said or not as many as `spectrum` has, the method is
        unknown, or "monarch" meets a length that has no such factors.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> mean = jnp.ones(1, jnp.complex64)
      >>> x = jnp.array([1.0, 2.0, 3.0, 6.0])
      >>> transforms.sparse_convolve(x, mean, (0,)).round(4).tolist()
      [3.0, 3.0, 3.0, 3.0]

    Source: frequency-sparse convolutions of Fu et al., FlashFFTConv, arXiv 2311.05908,
    with frequencies chosen freely.
    """
    function = "sparse_convolve"
    x = real_array(function, "x", x)
    spectrum = complex_array(function, "spectrum", spectrum)
    one_of(function, "method", method, ("auto", *SPARSE_METHODS))
    n = x.shape[-1]
    kept = _frequencies(function, frequencies, n)
    if spectrum.shape[-1] != len(kept):
        raise ValueError(
            f"{PACKAGE}.{function}: `spectrum` must have one value for each of the "
            f"{len(kept)} frequencies, got shape {spectrum.shape}"
        )
    try:
        np.broadcast_shapes(x.shape[:-1], spectrum.shape[:-1])
    except ValueError:
        raise ValueError(
            f"{PACKAGE}.{function}: leading axes must broadcast, got x {x.shape}, "
            f"spectrum {spectrum.shape}"
        ) from None
    if method == "monarch" and _monarch.balanced_factors(n, 2) is None:
        raise ValueError(
            f"{PACKAGE}.{function}: method 'monarch' is for lengths with two factors "
            f"of at most {_monarch.LARGEST_FACTOR}, got {n}"
        )
    if method == "auto":
        method = choose_sparse(len(kept))
    dtype = jnp.promote_types(x.dtype, jnp.finfo(spectrum.dtype).dtype)
    ndim, inside = max(x.ndim, spectrum.ndim), working(dtype)
    x = lift(x, ndim).astype(inside)
    spectrum = lift(spectrum, ndim).astype(jnp.promote_types(inside, jnp.complex64))
    ways = {"fft": _by_fft, "matmul": _by_matmul, "monarch": _by_monarch}
    return ways[method](x, spectrum, kept).astype(dtype)


@partial(jax.jit, static_argnames=("kept",), inline=True)
def _by_fft(x: Array, spectrum: Array, kept: tuple[int, ...]) -> Array:
    n = x.shape[-1]
    if kept[-1] - kept[0] + 1 == len(kept):
        after = n // 2 - kept[-1]
        full = jnp.pad(spectrum, [(0, 0)] * (x.ndim - 1) + [(kept[0], after)])
    else:
        # A gather from values and one zero; a scatter would be slower.
        place = np.full(n // 2 + 1, len(kept))
        place[list(kept)] = np.arange(len(kept))
        padded = jnp.pad(spectrum, [(0, 0)] * (x.ndim - 1) + [(0, 1)])
        full = jnp.take(padded, place, axis=-1)
    return jnp.fft.irfft(jnp.fft.rfft(x) * full, n)


@partial(jax.jit, static_argnames=("kept",), inline=True)
def _by_matmul(x: Array, spectrum: Array, kept: tuple[int, ...]) -> Array:
    n, f = x.shape[-1], len(kept)
    waves = jnp.asarray(_waves(n, kept), x.dtype)
    weights = lift(jnp.asarray(_weights(n, kept), x.dtype), x.ndim)
    product = jax.lax.Precision.HIGHEST
    found = jnp.matmul(x, waves, precision=product)
    re, im = found[..., :f], found[..., f:]
    a, b = spectrum.real * weights, spectrum.imag * weights
    shaped = jnp.concatenate([a * re - b * im, a * im + b * re], axis=-1)
    return jnp.matmul(shaped, waves.T, precision=product)


@partial(jax.jit, static_argnames=("kept",), inline=True)
def _by_monarch(x: Array, spectrum: Array, kept: tuple[int, ...]) -> Array:
    n = x.shape[-1]
    layout = _layout(n, kept)
    padded = jnp.pad(spectrum, [(0, 0)] * (x.ndim - 1) + [(0, 1)])
    digits = jnp.take(padded, layout.place, axis=-1)
    sign = lift(jnp.asarray(layout.sign, x.dtype), digits.ndim)
    kernel = jnp.stack([digits.real, digits.imag * sign], axis=-3)
    product = _monarch.multiply(_monarch.analyze(x, layout.plan), kernel, 2)
    return _monarch.synthesize(product, layout.plan, n, hermitian=True)


class _Layout(NamedTuple):
    """Where the frequencies stand among the digits.

    Attributes:
      plan: the transform with the digits that are needed.
      place: index into the kept frequencies, their number where there is none.
      sign: -1 where the frequency is the negative of a kept one.
    """

    plan: _monarch.Plan
    place: np.ndarray
    sign: np.ndarray


@lru_cache(maxsize=64)
def _layout(n: int, kept: tuple[int, ...]) -> _Layout:
    factors = _monarch.balanced_factors(n, 2) or (n,)
    first, second = (*factors, 1)[:2]
    place, sign = np.full((first, second), len(kept)), np.ones((first, second))
    for index, frequency in enumerate(kept):
        for k, direction in ((frequency, 1.0), (-frequency % n, -1.0)):
            if direction > 0 or k != frequency:
                place[k % first, k // first] = index
                sign[k % first, k // first] = direction
    half = place[: first // 2 + 1]
    rows = np.flatnonzero(np.any(half < len(kept), axis=1))
    columns = np.flatnonzero(np.any(half < len(kept), axis=0))
    plan = _monarch.Plan(
        (first, second), rows=tuple(rows.tolist()), columns=tuple(columns.tolist())
    )
    return _Layout(plan, place[np.ix_(rows, columns)], sign[np.ix_(rows, columns)])


@lru_cache(maxsize=64)
def _waves(n: int, kept: tuple[int, ...]) -> np.ndarray:
    """Return cosines and negative sines of the frequencies, `(n, 2 f)`."""
    waves = _monarch.unit(np.multiply.outer(np.arange(n), np.asarray(kept)), n)
    return np.concatenate([waves.real, waves.imag], axis=1)


def _weights(n: int, kept: tuple[int, ...]) -> np.ndarray:
    """Return how often a frequency counts in the inverse, over n."""
    return np.where(2 * np.asarray(kept) % n == 0, 1.0, 2.0) / n


def _take(spectrum: Array, kept: tuple[int, ...]) -> Array:
    if kept[-1] - kept[0] + 1 == len(kept):
        return spectrum[..., kept[0] : kept[-1] + 1]
    return jnp.take(spectrum, np.asarray(kept), axis=-1)


def _frequencies(function: str, frequencies: Any, n: int) -> tuple[int, ...]:
    try:
        kept = tuple(operator.index(frequency) for frequency in frequencies)
    except TypeError:
        kept = ()
    ascending = all(a < b for a, b in pairwise(kept))
    if not kept or not ascending or kept[0] < 0 or kept[-1] > n // 2:
        shown = repr(frequencies)
        raise ValueError(
            f"{PACKAGE}.{function}: `frequencies` must be ascending integers from 0 to "
            f"{n // 2}, got {shown if len(shown) < 60 else shown[:57] + '...'}"
        )
    return kept
