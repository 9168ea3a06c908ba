"""Long convolutions along the last axis: causal, circular, full, gated.

All take any leading axes that broadcast, float32 and float64 (float16 and bfloat16 are
computed in float32 and returned as they came), and a `method`:

* `"direct"`: one multiplication per tap, for short kernels;
* `"blocks"`: FFTs of blocks; a kernel shorter than the signal (a partial convolution)
  costs the memory of its own length, a long one is cut into up to eight blocks;
* `"fft"`: one FFT of everything;
* `"monarch"`: one transform by dense matrix products, frequencies left in the order in
  which they come, for matrix units;
* `"auto"`: by backend and sizes, as measured (see `docs/fft_convolution.md`).

No signal is padded with zeros to twice its length: see `convolve`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcore.transforms import _monarch
from jaxcore.transforms._choice import (
    MAX_DIRECT_TAPS,
    MAX_REQUESTED_PARTITIONS,
    METHODS,
    choose,
    default_block,
)
from jaxcore.transforms._fast_checks import (
    PACKAGE,
    AnyArray,
    integer,
    lift,
    one_of,
    real_array,
    working,
)
from jaxcore.transforms._linear import (
    TRANSFORMS,
    convolve_blocks,
    convolve_direct,
    fast_length,
    is_fast,
    monarch_length,
)


MODES = ("full", "same", "valid")


def convolve(
    x: Float[AnyArray, "... n"],
    kernel: Float[AnyArray, "... k"],
    *,
    mode: str = "full",
    method: str = "auto",
    block: int | None = None,
) -> Float[Array, "... m"]:
    """Return the linear convolution along the last axis.

    `y[t] = sum_s kernel[s] x[t - s]` for `t = 0, ..., n + k - 2` with zeros outside of
    both. Padding is implicit: a real signal of length `n` is multiplied by
    `exp(i pi t / (2 n))` and transformed as `n` complex numbers, so that the samples of
    `y` beyond `n` come back as the imaginary part of those below.

    Args:
      x: `(..., n)`.
      kernel: `(..., k)`; leading axes broadcast with those of `x`.
      mode: static; "full" for all of `y`, "same" for the central `n` samples, "valid"
        for those that see no zeros, `max(n, k) - min(n, k) + 1` of them.
      method: static; "auto", "direct" (up to 512 taps), "blocks", "fft" or "monarch".
      block: static; length of the blocks, for method "blocks" only.

    Returns:
      `(..., m)` with `m` by the mode, in the promoted dtype of both.

    Raises:
      TypeError: if `x` or `kernel` is not of real floating-point numbers.
      ValueError: if one has no axis or is empty, leading axes do not broadcast, an
        option is unknown, `block` is not a positive integer, has no use or makes more
        than 256 blocks of the shorter signal, or "direct" meets more than 512 taps.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> x, kernel = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, -1.0])
      >>> transforms.convolve(x, kernel).round(4).tolist()
      [1.0, 1.0, 1.0, -3.0]

    Source: Bowman and Roberts, Efficient dealiased convolutions without padding, SIAM
    J. Sci. Comput. 33 (2011), for implicit padding; Nussbaumer, Fast Fourier Transform
    and Convolution Algorithms (1982), for right-angle convolution, the factor i.
    """
    function = "convolve"
    one_of(function, "mode", mode, MODES)
    x, kernel, dtype = _operands(function, x, kernel)
    n, taps = x.shape[-1], kernel.shape[-1]
    # Of two signals the shorter one is the kernel, whatever it is called.
    pair = (x, kernel) if taps <= n else (kernel, x)
    y = _linear(function, *pair, n + taps - 1, method, block)
    if mode == "same":
        y = y[..., (taps - 1) // 2 : (taps - 1) // 2 + n]
    elif mode == "valid":
        y = y[..., min(n, taps) - 1 : max(n, taps)]
    return y.astype(dtype)


def causal_convolve(
    x: Float[AnyArray, "... n"],
    kernel: Float[AnyArray, "... k"],
    *,
    method: str = "auto",
    block: int | None = None,
) -> Float[Array, "... n"]:
    """Return `y[t] = sum_{s <= t} kernel[s] x[t - s]`, as long as the signal.

    The first `n` samples of `convolve(x, kernel)`: no sample depends on a later one.
    Taps beyond `n` cannot matter and are left out.

    Args:
      x: `(..., n)`.
      kernel: `(..., k)`; leading axes broadcast with those of `x`.
      method: static; as in `convolve`.
      block: static; as in `convolve`.

    Returns:
      `(..., n)`.

    Raises:
      TypeError: if `x` or `kernel` is not of real floating-point numbers.
      ValueError: as in `convolve`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> kernel = jnp.array([1.0, 0.5, 0.25, 0.125])
      >>> transforms.causal_convolve(jnp.ones(4), kernel).round(4).tolist()
      [1.0, 1.5, 1.75, 1.875]
    """
    x, kernel, dtype = _operands("causal_convolve", x, kernel)
    n = x.shape[-1]
    y = _linear("causal_convolve", x, kernel[..., :n], n, method, block)
    return y.astype(dtype)


def gated_convolve(
    x: Float[AnyArray, "... n"],
    kernel: Float[AnyArray, "... k"],
    gate_in: Float[AnyArray, "... n"],
    gate_out: Float[AnyArray, "... n"],
    *,
    method: str = "auto",
    block: int | None = None,
) -> Float[Array, "... n"]:
    """Return `gate_out * causal_convolve(gate_in * x, kernel)`.

    The two products join the passes over memory that precede and follow the transforms.

    Args:
      x: `(..., n)`.
      kernel: `(..., k)`; leading axes broadcast with those of `x`.
      gate_in: `(..., n)`, broadcasts with `x`.
      gate_out: `(..., n)`, broadcasts with the convolution.
      method: static; as in `convolve`.
      block: static; as in `convolve`.

    Returns:
      `(..., n)`.

    Raises:
      TypeError: if an argument is not of real floating-point numbers.
      ValueError: as in `convolve`, or if a gate does not have `n` samples.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> x, kernel = jnp.ones(3), jnp.array([1.0, 1.0])
      >>> gate = jnp.array([1.0, 0.0, 2.0])
      >>> transforms.gated_convolve(x, kernel, gate, gate).round(4).tolist()
      [1.0, 0.0, 4.0]

    Source: the operator of Fu et al., FlashFFTConv, arXiv 2311.05908.
    """
    function = "gated_convolve"
    x, kernel = real_array(function, "x", x), real_array(function, "kernel", kernel)
    n = x.shape[-1]
    given = {"gate_in": gate_in, "gate_out": gate_out}
    gates = {name: real_array(function, name, gate) for name, gate in given.items()}
    for name, gate in gates.items():
        if gate.shape[-1] != n:
            raise ValueError(
                f"{PACKAGE}.{function}: `{name}` must have the {n} samples of `x`, "
                f"got shape {gate.shape}"
            )
    _check_broadcast(function, x=x, kernel=kernel, **gates)
    ndim = max(a.ndim for a in (x, kernel, *gates.values()))
    inner, outer = (lift(gate, ndim) for gate in gates.values())
    dtype = jnp.result_type(x, kernel, inner, outer)
    inside = working(dtype)
    gated = lift(x, ndim).astype(inside) * inner.astype(inside)
    taps = lift(kernel, ndim)[..., :n].astype(inside)
    y = _linear(function, gated, taps, n, method, block)
    return (y * outer.astype(inside)).astype(dtype)


def circular_convolve(
    x: Float[AnyArray, "... n"],
    kernel: Float[AnyArray, "... k"],
    *,
    method: str = "auto",
    block: int | None = None,
) -> Float[Array, "... n"]:
    """Return `y[t] = sum_s kernel[s] x[(t - s) mod n]`, `ifft(fft(x) fft(kernel))`.

    Lengths with a prime factor above 7 are convolved linearly and wrapped around, which
    needs no transform of that length.

    Args:
      x: `(..., n)`.
      kernel: `(..., k)` with `k <= n`, continued with zeros; leading axes broadcast
        with those of `x`.
      method: static; as in `convolve`.
      block: static; as in `convolve`.

    Returns:
      `(..., n)`.

    Raises:
      TypeError: if `x` or `kernel` is not of real floating-point numbers.
      ValueError: as in `convolve`, or if the kernel is longer than the signal.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> x, kernel = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([0.0, 1.0])
      >>> transforms.circular_convolve(x, kernel).round(4).tolist()
      [4.0, 1.0, 2.0, 3.0]
    """
    function = "circular_convolve"
    x, kernel, dtype = _operands(function, x, kernel)
    n, taps = x.shape[-1], kernel.shape[-1]
    if taps > n:
        raise ValueError(
            f"{PACKAGE}.{function}: `kernel` must not be longer than the {n} samples "
            f"of `x`, got shape {kernel.shape}"
        )
    method = _method(function, method, block, n, taps)
    if method == "fft" and is_fast(n):
        spectrum = jnp.fft.rfft(x) * jnp.fft.rfft(kernel, n)
        return jnp.fft.irfft(spectrum, n).astype(dtype)
    if method == "monarch" and _monarch.balanced_factors(n) is not None:
        return _circular_monarch(x, kernel).astype(dtype)
    if method == "direct":
        wrapped = jnp.concatenate([x[..., n - taps + 1 :], x], axis=-1)
        return convolve_direct(wrapped, kernel)[..., taps - 1 :].astype(dtype)
    y = _linear(function, x, kernel, n + taps - 1, method, block)
    beyond = jnp.pad(y[..., n:], [(0, 0)] * (y.ndim - 1) + [(0, n - taps + 1)])
    return (y[..., :n] + beyond).astype(dtype)


@partial(jax.jit, inline=True)
def _circular_monarch(x: Array, kernel: Array) -> Array:
    n = x.shape[-1]
    factors = _monarch.balanced_factors(n) or (n,)
    plan = _monarch.Plan(factors, rows=_monarch.half_rows(factors[0]))
    a, b = _monarch.analyze(x, plan), _monarch.analyze(kernel, plan)
    product = _monarch.multiply(a, b, len(factors))
    return _monarch.synthesize(product, plan, n, hermitian=True)


def _linear(
    function: str, x: Array, kernel: Array, out: int, method: str, block: int | None
) -> Array:
    """Return the first `out` samples of the linear convolution."""
    method = _method(function, method, block, x.shape[-1], kernel.shape[-1])
    return _by(method, x, kernel, out, block)


@partial(
    jax.jit,
    static_argnames=(
        "method",
        "out",
        "block",
    ),
    inline=True,
)
def _by(method: str, x: Array, kernel: Array, out: int, block: int | None) -> Array:
    n, taps = x.shape[-1], kernel.shape[-1]
    if method == "direct":
        missing = [(0, 0)] * (x.ndim - 1) + [(0, out - n)]
        return convolve_direct(jnp.pad(x, missing), kernel)
    if method == "blocks":
        size = default_block(n, taps) if block is None else block
        transform = TRANSFORMS["fft"](size)
    else:
        size = (fast_length if method == "fft" else monarch_length)(max(n, taps))
        transform = TRANSFORMS[method](size)
    return convolve_blocks(x, kernel, out, block=size, transform=transform)


def _method(function: str, method: str, block: int | None, n: int, taps: int) -> str:
    """Return the name of the method to use, or raise."""
    one_of(function, "method", method, ("auto", *METHODS))
    if block is not None:
        integer(function, "block", block, smallest=1)
        if method != "blocks":
            raise ValueError(
                f"{PACKAGE}.{function}: `block` is for method 'blocks' only, "
                f"got block={block} with method={method!r}"
            )
        if (blocks := -(-min(n, taps) // block)) > MAX_REQUESTED_PARTITIONS:
            raise ValueError(
                f"{PACKAGE}.{function}: `block` must cut the shorter signal into at "
                f"most {MAX_REQUESTED_PARTITIONS} blocks, got {blocks} with "
                f"block={block}"
            )
    if method == "direct" and taps > MAX_DIRECT_TAPS:
        raise ValueError(
            f"{PACKAGE}.{function}: method 'direct' is for kernels of at most "
            f"{MAX_DIRECT_TAPS} taps, got {taps}"
        )
    return choose(n, taps) if method == "auto" else method


def _operands(function: str, x: Any, kernel: Any) -> tuple[Array, Array, np.dtype]:
    """Return both with equally many axes and a working dtype, and the dtype of y."""
    x, kernel = real_array(function, "x", x), real_array(function, "kernel", kernel)
    _check_broadcast(function, x=x, kernel=kernel)
    dtype = jnp.result_type(x, kernel)
    ndim, inside = max(x.ndim, kernel.ndim), working(dtype)
    return lift(x, ndim).astype(inside), lift(kernel, ndim).astype(inside), dtype


def _check_broadcast(function: str, **arrays: Array) -> None:
    try:
        np.broadcast_shapes(*(array.shape[:-1] for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
        raise ValueError(
            f"{PACKAGE}.{function}: leading axes must broadcast, got {shapes}"
        ) from None
