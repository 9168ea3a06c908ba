"""DCT and DST by real FFTs of the same length.

Types II and III: Makhoul's reordering (IEEE Trans. ASSP 28, 1980) turns a DCT-II of
length n into a real DFT of length n. Two axes at once cost one two-dimensional real
FFT between two passes over the data. Type III runs the same way: with the Hartley
transform `H = Re F - Im F`, which is symmetric, DCT-II is `R H P` for a permutation
`P` and rotations `R` of the pairs (k, n - k), so its transpose is `P^T H R^T`; a
forward real FFT serves both directions.

Type IV: one complex DFT of half the length (of the full length if that is odd).
Type I: the real DFT of the even or odd extension.

Sines follow from cosines: `DST-II(x) = reverse(DCT-II(signs * x))`, and so on.

All indices are constants, so every pass is one fused loop. These functions are not
meant to be differentiated through: `_trig` gives them their adjoints.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Float
from jaxtyping import Complex as Complex_

from jaxcore.transforms import _trig_tables as tables
from jaxcore.transforms._trig_tables import Spec


Real = Float[Array, "..."]
Complex = Complex_[Array, "..."]


def apply(x: Real, spec: Spec, axes: Sequence[int]) -> Real:
    """Return the transform along distinct non-negative axes, all of positive length."""
    return materialized(_apply(x, spec, axes))


def materialized(x: Real) -> Real:
    """Return `x`, written to memory once in the order of its axes.

    Without it XLA on CPU merges the last pass of a transform into whatever reads the
    result. If that is the first pass of another, which reads every element twice per
    axis, all is computed as often: a gradient takes twice as long. The layout chosen
    after a gather is a poor one too.
    """
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


def _apply(x: Real, spec: Spec, axes: Sequence[int]) -> Real:
    if spec.kernel_type in (1, 4):
        one = _type_one if spec.kernel_type == 1 else _type_four
        for axis in axes:
            x = jnp.moveaxis(one(jnp.moveaxis(x, axis, -1), spec), -1, axis)
        return x
    group = _type_two if spec.kernel_type == 2 else _type_three
    # The last axes first: they need not be moved.
    rest = sorted(axes, reverse=True)
    while rest:
        pair, rest = sorted(rest[:2]), rest[2:]
        ends = list(range(-len(pair), 0))
        x = jnp.moveaxis(
            group(jnp.moveaxis(x, pair, ends), spec, len(pair)), ends, pair
        )
    return x


def _type_two(x: Real, spec: Spec, count: int) -> Real:
    """Return the DCT-II or DST-II of the last one or two axes."""
    for axis in range(-count, 0):
        order = tables.interleaved(x.shape[axis])
        x = _take(x, order, axis)
        if spec.kind == "sin":
            x = x * _along(tables.signs(len(order))[order], axis, x)
    if count == 1:
        spectrum = jnp.fft.rfft(x)
    else:
        spectrum = _rotate_rows(jnp.fft.rfft2(x), spec, x.shape[-2])
    order, phase = _output(spec, x.shape[-1])
    index, direct = tables.folded(order, x.shape[-1])
    chosen = _take(spectrum, index, -1)
    # y = Re(phase_k F_k), and the half spectrum holds conj(F_{n-k}).
    imag = np.where(direct, phase.imag, -phase.imag)
    return chosen.real * _like(phase.real, x) - chosen.imag * _like(imag, x)


def _rotate_rows(spectrum: Complex, spec: Spec, n: int) -> Complex:
    """Return `(phase_k F_k + conj(phase_k) F_{-k}) / 2` along the axis before last."""
    order, phase = _output(spec, n)
    here = spectrum if spec.kind == "cos" else _take(spectrum, order, -2)
    there = _take(spectrum, tables.mirrored(n)[order], -2)
    return here * _along(phase / 2, -2, spectrum) + there * _along(
        phase.conj() / 2, -2, spectrum
    )


def _output(spec: Spec, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the frequency of each output and its phase, norm included."""
    _, outer = tables.weights(spec, n)
    order = np.arange(n)
    if spec.kind == "sin":
        order = order[::-1]
    return order, outer * tables.phases(-order, 2 * n)


def _type_three(x: Real, spec: Spec, count: int) -> Real:
    """Return the DCT-III or DST-III of the last one or two axes."""
    sizes = x.shape[x.ndim - count :]
    for axis in range(-count, 0):
        x = _unrotate(x, spec, axis)
    if count == 1:
        half = jnp.fft.rfft(x)
        out = _pick(half.real - half.imag, half.real + half.imag, sizes[0])
    else:
        # cas a cas b = cos(a - b) + sin(a + b): the rows k and -k of the DFT.
        half = jnp.fft.rfft2(x)
        order = tables.position(sizes[0])
        mirror = tables.mirrored(sizes[0])[order]
        real, imag = half.real, half.imag
        out = _pick(
            _take(real, mirror, -2) - _take(imag, order, -2),
            _take(real, order, -2) + _take(imag, mirror, -2),
            sizes[1],
        )
    if spec.kind == "sin":
        for axis in range(-count, 0):
            out = out * _along(tables.signs(out.shape[axis]), axis, out)
    return out


def _unrotate(x: Real, spec: Spec, axis: int) -> Real:
    """Return the Hartley spectrum of the interleaved output along one axis.

    The rotation of DCT-II, `X_k = (c_k (h_k + h_{n-k}) + s_k (h_k - h_{n-k})) / 2`
    for phases `c + i s`, transposed.
    """
    n = x.shape[axis]
    inner, _ = tables.weights(spec, n)
    order = np.arange(n)[:: -1 if spec.kind == "sin" else 1]
    phase = tables.phases(-np.arange(n), 2 * n) * inner[order]
    mirror = tables.mirrored(n)
    here = (phase.real + phase.imag) / 2
    there = ((phase.real - phase.imag) / 2)[mirror]
    # Where k and -k coincide both terms are the same element.
    return _take(x, order, axis) * _along(here, axis, x) + _take(
        x, order[mirror], axis
    ) * _along(there, axis, x)


def _pick(direct: Real, mirrored: Real, n: int) -> Real:
    """Return from half spectra, along the last axis, the outputs of type III."""
    index, is_direct = tables.folded(tables.position(n), n)
    return jnp.where(
        _along_mask(is_direct, direct.ndim),
        _take(direct, index, -1),
        _take(mirrored, index, -1),
    )


def _type_four(x: Real, spec: Spec) -> Real:
    """Return the DCT-IV or DST-IV of the last axis.

    With `w(j) = exp(-i pi j / (4 n))`, `y_k = Re(w(2k+1) sum_j w(2j) x_j w(8jk/2))`:
    a DFT of length n gives `y` at even k directly and at odd k from `y_{2n-1-k} =
    -y_k`. For even n, real and imaginary part of a half as long sequence hold two
    halves of the input.
    """
    n = x.shape[-1]
    inner, outer = tables.weights(spec, n)
    scale = float(inner[0] * outer[0])
    if spec.kind == "sin":
        x = _take(x, np.arange(n)[::-1], -1)
    k = np.arange(n)
    if n % 2 == 0:
        half = np.arange(n // 2)
        even, odd = _take(x, 2 * half, -1), _take(x, n - 1 - 2 * half, -1)
        twiddle = tables.phases(-(4 * half + 1), 4 * n)
        c, s = _like(twiddle.real, x), _like(twiddle.imag, x)
        spectrum = jnp.fft.fft(lax.complex(even * c - odd * s, even * s + odd * c))
        # y_{2m} = Re z_m and y_{n-1-2m} = -Im z_m, with the phase of m alone.
        index = np.where(k % 2 == 0, k // 2, (n - 1 - k) // 2)
        phase = scale * tables.phases(-4 * index, 4 * n)
        a = np.where(k % 2 == 0, phase.real, -phase.imag)
        b = np.where(k % 2 == 0, -phase.imag, -phase.real)
    else:
        twiddle = tables.phases(-2 * k, 4 * n)
        c, s = _like(twiddle.real, x), _like(twiddle.imag, x)
        spectrum = jnp.fft.fft(lax.complex(x * c, x * s))
        index = np.where(k % 2 == 0, k // 2, (2 * n - 1 - k) // 2)
        phase = scale * tables.phases(-(4 * index + 1), 4 * n)
        sign = tables.signs(n)
        a, b = sign * phase.real, -sign * phase.imag
    if spec.kind == "sin":
        a, b = a * tables.signs(n), b * tables.signs(n)
    real, imag = spectrum.real, spectrum.imag
    return _take(real, index, -1) * _like(a, x) + _take(imag, index, -1) * _like(b, x)


def _type_one(x: Real, spec: Spec) -> Real:
    """Return the DCT-I or DST-I of the last axis, from its even or odd extension."""
    n = x.shape[-1]
    inner, outer = tables.weights(spec, n)
    k = np.arange(n)
    if spec.kind == "cos":
        index = np.concatenate([k, k[-2:0:-1]])
        halves = inner / 2
        halves[[0, -1]] *= 2
        half = jnp.fft.rfft(_take(x, index, -1) * _like(halves[index], x))
        return half.real * _like(outer, x)
    index = np.concatenate([k[:1], k, k[:1], k[::-1]])
    sign = np.concatenate([[0.0], np.ones(n), [0.0], -np.ones(n)])
    half = jnp.fft.rfft(_take(x, index, -1) * _like(sign * inner[index] / 2, x))
    return -half.imag[..., 1 : n + 1] * _like(outer, x)


def _take(x: Array, index: np.ndarray, axis: int) -> Array:
    """Return `x` at constant indices, which are known to be inside."""
    where = (..., jnp.asarray(index, jnp.int32), *[slice(None)] * (-1 - axis))
    return x.at[where].get(mode="promise_in_bounds")


def _like(values: np.ndarray, x: Real) -> Real:
    """Return a constant of the last axis in the dtype and rank of `x`."""
    return _along(values, -1, x)


def _along(values: np.ndarray, axis: int, x: Array) -> Array:
    shape = [1] * x.ndim
    shape[axis] = len(values)
    return jnp.asarray(values.reshape(shape), x.dtype)


def _along_mask(mask: np.ndarray, ndim: int) -> Array:
    return jnp.asarray(mask.reshape([1] * (ndim - 1) + [-1]))
