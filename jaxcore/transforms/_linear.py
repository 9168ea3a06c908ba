"""Linear convolution in blocks whose spectra wrap around with the factor `i`.

Two real blocks of length `B` have a product of length `2 B - 1`. Multiplying sample n
by `w^n`, `w = exp(i pi / (2 B))`, before a complex transform of length `B` makes what
lies beyond `B` come back times `i`: after the inverse, the real part holds samples
`0 ... B - 1` and the imaginary part samples `B ... 2 B - 1`. No zero is ever padded,
and the imaginary part is what the next block is to receive.

Signal and kernel are cut into blocks, the spectra are multiplied block by block (a
short convolution along the block axis), and one inverse per output block follows. One
block is the plain transform of everything; a kernel of one block is overlap-add.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from jaxcore.transforms import _monarch
from jaxcore.transforms._fast_checks import lift


SMALL_PRIMES = (2, 3, 5, 7)
GRADIENT_BLOCK = 256
GRADIENT_TAPS = 8


class Transform(NamedTuple):
    """A transform of real blocks, the product of two spectra, and the way back.

    Attributes:
      analyze: `(..., m)` with `m <= B` to a spectrum.
      multiply: of two spectra.
      synthesize: a spectrum to the samples below `B`, `(..., B)`, and those above.
      head: the same for the samples below `B` alone.
    """

    analyze: Callable[[Array], Array]
    multiply: Callable[[Array, Array], Array]
    synthesize: Callable[[Array], tuple[Array, Array]]
    head: Callable[[Array], Array]


@lru_cache(maxsize=4096)
def fast_length(n: int) -> int:
    """Return the smallest product of 2, 3, 5 and 7 that is at least `n`."""
    candidate = n
    while not is_fast(candidate):
        candidate += 1
    return candidate


@lru_cache(maxsize=4096)
def is_fast(n: int) -> bool:
    """Return whether `n` has no prime factor above 7."""
    for prime in SMALL_PRIMES:
        while n % prime == 0:
            n //= prime
    return n == 1


def fft_transform(block: int) -> Transform:
    """Return the transform by complex FFTs of length `block`."""

    def analyze(x: Array) -> Array:
        twist = _twist(x, block)[..., : x.shape[-1]]
        return jnp.fft.fft(x * twist, block)

    def synthesize(spectrum: Array) -> tuple[Array, Array]:
        z = jnp.fft.ifft(spectrum)
        z = z * jnp.conj(_twist(z.real, block))
        return z.real, z.imag

    return Transform(analyze, jnp.multiply, synthesize, lambda y: synthesize(y)[0])


def monarch_transform(block: int) -> Transform:
    """Return the transform by dense matrix products, frequencies left as they come."""
    plan = _monarch.Plan(_factors(block), quarter=-1)
    digits = len(plan.factors)

    def analyze(x: Array) -> Array:
        return _monarch.analyze(x, plan)

    def multiply(a: Array, b: Array) -> Array:
        return _monarch.multiply(a, b, digits)

    def head(spectrum: Array) -> Array:
        return _monarch.synthesize(spectrum, plan, block, hermitian=False)

    def synthesize(spectrum: Array) -> tuple[Array, Array]:
        # Im(z) = Re(-i z), and -i (a + i b) = b - i a.
        axis = spectrum.ndim - digits - 1
        re, im = jnp.split(spectrum, 2, axis=axis)
        return head(spectrum), head(jnp.concatenate([im, -re], axis=axis))

    return Transform(analyze, multiply, synthesize, head)


TRANSFORMS: dict[str, Callable[[int], Transform]] = {
    "fft": fft_transform,
    "monarch": monarch_transform,
}


def monarch_length(n: int) -> int:
    """Return a length of at least `n` that splits into equal enough factors."""
    length = fast_length(n)
    while _monarch.balanced_factors(length) is None:
        length = fast_length(length + 1)
    return length


def convolve_blocks(
    x: Array, kernel: Array, out: int, *, block: int, transform: Transform
) -> Array:
    """Return the first `out` samples of the convolution along the last axis.

    Args:
      x: `(..., n)`.
      kernel: `(..., k)`, of as many axes as `x`.
      out: number of samples, at most `n + k - 1`.
      block: length of a block.
      transform: of blocks of this length.
    """
    batch = x.ndim - 1
    num_out = -(-out // block)
    x, kernel = _cut(x, block, num_out), _cut(kernel, block, num_out)
    if kernel.shape[batch] > x.shape[batch]:
        x, kernel = kernel, x
    product = _multiply_blocks(
        transform.analyze(x), transform.analyze(kernel), num_out, batch, transform
    )
    if num_out == 1:
        blocks = transform.head(product)
    else:
        low, high = transform.synthesize(product)
        blocks = _pad(low, batch, 0, num_out - low.shape[batch])
        blocks = blocks + _pad(high, batch, 1, num_out - 1 - high.shape[batch])
    return blocks.reshape(*blocks.shape[:batch], -1)[..., :out]


def _multiply_blocks(
    x: Array, kernel: Array, num_out: int, axis: int, transform: Transform
) -> Array:
    """Return `sum_j kernel_j x_{n - j}` for the blocks n that are not zero."""
    taps = kernel.shape[axis]
    if taps == 1:
        return transform.multiply(x, kernel)
    num = min(num_out, x.shape[axis] + taps - 1)
    x = _pad(x, axis, taps - 1, num - x.shape[axis])
    parts = [
        transform.multiply(
            jax.lax.slice_in_dim(x, taps - 1 - j, taps - 1 - j + num, axis=axis),
            jax.lax.slice_in_dim(kernel, j, j + 1, axis=axis),
        )
        for j in range(taps)
    ]
    return sum(parts[1:], parts[0])


def _cut(x: Array, block: int, num_out: int) -> Array:
    """Return blocks `(..., num, block)`; a single short one stays `(..., 1, n)`."""
    x = x[..., : num_out * block]
    num = -(-x.shape[-1] // block)
    if num > 1:
        x = _pad(x, x.ndim - 1, 0, num * block - x.shape[-1])
    return x.reshape(*x.shape[:-1], num, -1)


def _pad(x: Array, axis: int, before: int, after: int) -> Array:
    """Return `x` with zeros around it on one axis; a negative number takes away."""
    widths = [(0, 0, 0)] * x.ndim
    widths[axis] = (before, after, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), widths)


def _twist(like: Array, block: int) -> Array:
    """Return `w^n`, complex, with as many axes as `like`."""
    w = np.conj(_monarch.unit(np.arange(block), 4 * block))
    dtype = jnp.promote_types(like.dtype, jnp.complex64)
    return lift(jnp.asarray(w, dtype=dtype), like.ndim)


def _factors(n: int) -> tuple[int, ...]:
    factors = _monarch.balanced_factors(n)
    return factors if factors is not None else (n,)


@jax.custom_jvp
def convolve_direct(x: Array, kernel: Array) -> Array:
    """Return `y[t] = sum_s kernel[s] x[t - s]` for all t of `x`, tap by tap."""
    taps, n = kernel.shape[-1], x.shape[-1]
    x = _pad(x, x.ndim - 1, taps - 1, 0)
    total = kernel[..., :1] * x[..., taps - 1 :]
    for s in range(1, taps):
        start = taps - 1 - s
        total = total + kernel[..., s : s + 1] * x[..., start : start + n]
    return total


def _convolve_direct_jvp(primals, tangents):
    """Differentiate: the part of the kernel, and of many taps all, goes by FFT.

    Transposed, the kernel's part is one sum over the whole signal per tap and the
    signal's part a sum of padded pieces; compilers make as many passes over memory of
    them, and repeat all taps where the result is used.
    """
    (x, kernel), (x_dot, kernel_dot) = primals, tangents
    n, taps = x.shape[-1], kernel.shape[-1]
    block = min(fast_length(n), fast_length(max(taps, GRADIENT_BLOCK)))
    transform = fft_transform(block)
    blocks = partial(convolve_blocks, out=n, block=block, transform=transform)
    way = convolve_direct if taps <= GRADIENT_TAPS else blocks
    y, parts = way(x, kernel), []
    if not isinstance(x_dot, SymbolicZero):
        parts.append(way(x_dot, kernel))
    if not isinstance(kernel_dot, SymbolicZero):
        parts.append(blocks(x, kernel_dot))
    return y, sum(parts[1:], parts[0]) if parts else jnp.zeros_like(y)


convolve_direct.defjvp(_convolve_direct_jvp, symbolic_zeros=True)
