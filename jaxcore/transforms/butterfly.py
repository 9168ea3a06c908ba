"""Butterfly products: matrices of `log2(n)` sparse factors, among them fast ones.

Factor i mixes pairs of entries `2^i` apart by 2 x 2 matrices of their own, so that a
product holds `2 n log2(n)` numbers and takes as many multiplications. The transforms of
Fourier and Hadamard and the cosine transform are special cases; others can be learned.

Dao, Gu, Eichhorn, Rudra, Re, Learning fast algorithms for linear transforms using
butterfly factorizations, ICML 2019, arXiv 1903.05895.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, Int, Key

from jaxcore.transforms._fast_checks import (
    PACKAGE,
    AnyArray,
    inexact_array,
    integer,
    one_of,
    power_of_two,
    working,
)
from jaxcore.transforms._monarch import unit


METHODS = ("auto", "levels", "fused")
# Factors that one dense block of 2^r rows stands for, and how many vectors pay for
# forming the blocks; with them the gradient is several times faster.
FUSED_LEVELS = 4
FUSED_VECTORS = 64


class Butterfly(NamedTuple):
    """A transform `diag(phase) B x[permutation]`; NumPy float64 or complex128.

    Attributes:
      twiddle: the factors of `B`, `(log2(n), n / 2, 2, 2)`.
      permutation: of the input, `(n,)`.
      phase: factors of the output, `(n,)`.
    """

    twiddle: Inexact[np.ndarray, "m half 2 2"]
    permutation: Int[np.ndarray, " n"]
    phase: Inexact[np.ndarray, " n"]


def butterfly_multiply(
    twiddle: Inexact[AnyArray, "m half 2 2"],
    x: Inexact[AnyArray, "*b n"],
    *,
    method: str = "auto",
) -> Inexact[Array, "*b n"]:
    """Return the product of a butterfly matrix with vectors.

    `B = B_{m-1} ... B_1 B_0`; with `s = 2^i`, `p = s o + q` and `q < s`, factor i is

        (y[j], y[j + s]) = twiddle[i, p] @ (x[j], x[j + s])  with  j = 2 s o + q

    Args:
      twiddle: `(m, n / 2, 2, 2)` with `n = 2^m`; pair p of factor i as above.
      x: `(*b, n)`. Float16 and bfloat16 are computed in float32.
      method: static; "levels" one factor at a time, "fused" four factors at a time as
        dense 16 x 16 blocks, which are formed first, "auto": fused for at least 64
        vectors, from where on CPU its gradient was the faster one.

    Returns:
      `(*b, n)` in the promoted dtype.

    Raises:
      TypeError: if an argument is not of floats or complex numbers.
      ValueError: if the shapes do not fit, `n` is no power of two, or the method is
        unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> swap = jnp.array([[0.0, 1.0], [1.0, 0.0]])
      >>> twiddle = jnp.tile(swap, (2, 2, 1, 1))
      >>> transforms.butterfly_multiply(twiddle, jnp.array([1.0, 2, 3, 4])).tolist()
      [4.0, 3.0, 2.0, 1.0]
    """
    function = "butterfly_multiply"
    twiddle = inexact_array(function, "twiddle", twiddle)
    x = inexact_array(function, "x", x)
    one_of(function, "method", method, METHODS)
    n = x.shape[-1]
    m = power_of_two(function, "the length of the last axis of `x`", n)
    if twiddle.shape != (m, n // 2, 2, 2) or m == 0:
        raise ValueError(
            f"{PACKAGE}.{function}: `twiddle` must be (log2(n), n / 2, 2, 2) with n at "
            f"least 2, got shapes {twiddle.shape} and x {x.shape}"
        )
    dtype = jnp.result_type(twiddle, x)
    inside = jnp.promote_types(dtype, working(dtype))
    twiddle, x = twiddle.astype(inside), x.astype(inside)
    if method == "auto":
        method = "fused" if x.size // n >= FUSED_VECTORS else "levels"
    return _multiply(twiddle, x, method).astype(dtype)


@partial(jax.jit, static_argnames=("method",), inline=True)
def _multiply(twiddle: Array, x: Array, method: str) -> Array:
    m = twiddle.shape[0]
    if method == "levels":
        for i in range(m):
            x = _one_level(twiddle[i], 2**i, x)
    else:
        for start in range(0, m, FUSED_LEVELS):
            x = _apply(_fused(twiddle, start, min(FUSED_LEVELS, m - start)), x)
    return x


def butterfly_transform(
    factors: Butterfly, x: Inexact[AnyArray, "*b n"], *, method: str = "auto"
) -> Inexact[Array, "*b n"]:
    """Return `phase * butterfly_multiply(twiddle, x[permutation])`.

    Args:
      factors: as `fft_butterfly`, `hadamard_butterfly` or `dct_butterfly` return them,
        cast to the precision of `x`.
      x: `(*b, n)`.
      method: static; as in `butterfly_multiply`.

    Returns:
      `(*b, n)`; complex where the factors are. A cosine transform is its real part.

    Raises:
      TypeError: if `x` is not of floats or complex numbers.
      ValueError: as in `butterfly_multiply`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> factors = transforms.fft_butterfly(4)
      >>> y = transforms.butterfly_transform(factors, jnp.array([1.0, 2, 3, 4]))
      >>> [complex(v) for v in y.round(4)]
      [(10+0j), (-2+2j), (-2+0j), (-2-2j)]
    """
    x = inexact_array("butterfly_transform", "x", x)
    real = jnp.promote_types(working(x.dtype), jnp.float32)
    twiddle, phase = (
        jnp.asarray(
            part,
            jnp.promote_types(real, jnp.complex64) if jnp.iscomplexobj(part) else real,
        )
        for part in (factors.twiddle, factors.phase)
    )
    n = phase.shape[0]
    if x.shape[-1] != n:
        raise ValueError(
            f"{PACKAGE}.butterfly_transform: the last axis of `x` must have the {n} "
            f"entries of the factors, got shape {x.shape}"
        )
    y = butterfly_multiply(
        twiddle, jnp.take(x, factors.permutation, axis=-1), method=method
    )
    return y * phase.reshape((1,) * (y.ndim - 1) + (n,))


def random_butterfly(
    key: Key[Array, ""], n: int, *, dtype: np.dtype | type = jnp.float32
) -> Inexact[Array, "m half 2 2"]:
    """Return random factors whose 2 x 2 matrices are orthogonal or unitary.

    Uniformly distributed rotations and reflections (Haar measure), so that the product
    keeps the norm of every vector.

    Args:
      key: of the random generator.
      n: static; a power of two, at least 2.
      dtype: static; a floating-point or complex type.

    Returns:
      `(log2(n), n / 2, 2, 2)`.

    Raises:
      TypeError: if `dtype` is not of floats or complex numbers.
      ValueError: if `n` is no power of two of at least 2.

    Example:
      >>> import jax
      >>> from jaxcore import transforms
      >>> transforms.random_butterfly(jax.random.key(0), 8).shape
      (3, 4, 2, 2)
    """
    function = "random_butterfly"
    n = integer(function, "n", n, smallest=2)
    m = power_of_two(function, "`n`", n)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(
            f"{PACKAGE}.{function}: `dtype` must be a floating-point or complex type, "
            f"got {jnp.dtype(dtype)}"
        )
    inside = jnp.promote_types(dtype, working(dtype))
    gaussian = jax.random.normal(key, (m, n // 2, 2, 2), inside)
    q, r = jnp.linalg.qr(gaussian)
    # Fixing the phases of the diagonal makes the distribution uniform.
    diagonal = jnp.diagonal(r, axis1=-2, axis2=-1)
    return (q * (diagonal / jnp.abs(diagonal))[..., None, :]).astype(dtype)


def fft_butterfly(n: int) -> Butterfly:
    """Return the Cooley-Tukey factors of the discrete Fourier transform.

    Bit reversal, then factors `[[1, w], [1, -w]]` with `w = exp(-2 pi i q / 2^(i+1))`.
    The scale is that of `jnp.fft.fft`.

    Args:
      n: static; a power of two, at least 2.

    Returns:
      The factors; `phase` is one.

    Raises:
      ValueError: if `n` is no power of two of at least 2.

    Example:
      >>> from jaxcore import transforms
      >>> transforms.fft_butterfly(8).permutation.tolist()
      [0, 4, 2, 6, 1, 5, 3, 7]
    """
    return _fft(_size("fft_butterfly", n))


def hadamard_butterfly(n: int) -> Butterfly:
    """Return the factors of the orthonormal Walsh-Hadamard transform, natural order.

    Args:
      n: static; a power of two, at least 2.

    Returns:
      The factors, all `[[1, 1], [1, -1]] / sqrt(2)`; nothing is permuted.

    Raises:
      ValueError: if `n` is no power of two of at least 2.

    Example:
      >>> from jaxcore import transforms
      >>> transforms.hadamard_butterfly(4).twiddle[0, 0].round(3).tolist()
      [[0.707, 0.707], [0.707, -0.707]]
    """
    n = _size("hadamard_butterfly", n)
    block = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    twiddle = np.tile(block, (n.bit_length() - 1, n // 2, 1, 1))
    return Butterfly(twiddle, np.arange(n), np.ones(n))


def dct_butterfly(n: int) -> Butterfly:
    """Return factors whose real part is the orthonormal cosine transform (type II).

    Even entries in ascending order followed by odd ones in descending order have a
    Fourier transform that a factor `exp(-i pi k / (2 n))` turns into the cosine
    transform (Makhoul, IEEE Trans. ASSP 28 (1980)).

    Args:
      n: static; a power of two, at least 2.

    Returns:
      The factors: `butterfly_transform(factors, x).real` is the transform of a real x.

    Raises:
      ValueError: if `n` is no power of two of at least 2.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> y = transforms.butterfly_transform(transforms.dct_butterfly(4), jnp.ones(4))
      >>> abs(y.real).round(3).tolist()
      [2.0, 0.0, 0.0, 0.0]
    """
    n = _size("dct_butterfly", n)
    fft = _fft(n)
    folded = np.concatenate([np.arange(0, n, 2), np.arange(n - 1, 0, -2)])
    phase = unit(np.arange(n), 4 * n) * np.sqrt(2 / n)
    phase[0] /= np.sqrt(2)
    return Butterfly(fft.twiddle, folded[fft.permutation], phase)


def _size(function: str, n: int) -> int:
    n = integer(function, "n", n, smallest=2)
    power_of_two(function, "`n`", n)
    return n


@lru_cache(maxsize=32)
def _fft(n: int) -> Butterfly:
    m = n.bit_length() - 1
    twiddle = np.empty((m, n // 2, 2, 2), complex)
    reversal = np.zeros(n, dtype=np.int64)
    for i in range(m):
        stride = 2**i
        w = np.tile(unit(np.arange(stride), 2 * stride), n // (2 * stride))
        twiddle[i, :, :, 0] = 1.0
        twiddle[i, :, 0, 1], twiddle[i, :, 1, 1] = w, -w
        reversal = (reversal << 1) | ((np.arange(n) >> i) & 1)
    for part in (twiddle, reversal):
        part.flags.writeable = False
    return Butterfly(twiddle, reversal, np.ones(n))


def _one_level(factor: Array, stride: int, x: Array) -> Array:
    outer = x.shape[-1] // (2 * stride)
    pairs = x.reshape(*x.shape[:-1], outer, 2, stride)
    a, b = pairs[..., 0, :], pairs[..., 1, :]
    w = factor.reshape((1,) * (x.ndim - 1) + (outer, stride, 2, 2))
    mixed = [w[..., i, 0] * a + w[..., i, 1] * b for i in (0, 1)]
    return jnp.stack(mixed, axis=-2).reshape(x.shape)


def _fused(twiddle: Array, start: int, levels: int) -> Array:
    """Return factors `start ... start + levels - 1` as dense blocks `(o, q, R, R)`.

    Entry j of a block stands at `s (R o + j) + q` with `s = 2^start`, `R = 2^levels`.
    """
    n, stride, rows = 2 * twiddle.shape[1], 2**start, 2**levels
    outer = n // (stride * rows)
    blocks = jnp.eye(rows, dtype=twiddle.dtype)[None, None]
    blocks = jnp.broadcast_to(blocks, (outer, stride, rows, rows))
    for level in range(levels):
        high, low = rows >> (level + 1), 1 << level
        factor = twiddle[start + level].reshape(outer, high, low, stride, 2, 2)
        split = blocks.reshape(outer, stride, high, 2, low, rows)
        split = _einsum("ohlqab,oqhblc->oqhalc", factor, split)
        blocks = split.reshape(outer, stride, rows, rows)
    return blocks


def _apply(blocks: Array, x: Array) -> Array:
    outer, stride, rows, _ = blocks.shape
    split = x.reshape(*x.shape[:-1], outer, rows, stride)
    return _einsum("oqij,...ojq->...oiq", blocks, split).reshape(x.shape)


def _einsum(formula: str, a: Array, b: Array) -> Array:
    return jnp.einsum(formula, a, b, precision=jax.lax.Precision.HIGHEST)
