"""Wavelet transforms by lifting: Haar, 5/3 and 9/7, on any axes, with any levels.

A signal is split into even and odd samples. Steps that each change one half by two
neighbors of the other turn them into a low band and a high band, and are undone exactly
by their own subtraction, whatever rounding they contain.

    d[n] += a s[n] + b s[n + 1]        (predict: odd from even)
    s[n] += a d[n - 1] + b d[n]        (update: even from odd)

Sweldens, The lifting scheme, SIAM J. Math. Anal. 29 (1998); Daubechies and Sweldens,
Factoring wavelet transforms into lifting steps, J. Fourier Anal. Appl. 4 (1998).
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Num

from jaxcore.transforms._fast_checks import PACKAGE, AnyArray, axes_of, axis_of, one_of
from jaxcore.transforms._filters import Extension, Number, analyze, taps_of
from jaxcore.transforms._wavelets import Lifting as Lifting
from jaxcore.transforms._wavelets import (
    band_names,
    check_bands,
    check_length,
    number_of_levels,
    scheme_of,
    signal,
)


Coefficients = tuple[Array | dict[str, Array], ...]
EXTENSIONS = ("symmetric", "periodic")
METHODS = ("auto", "filters", "lifting")


def dwt(
    x: Num[AnyArray, "..."],
    wavelet: str | Lifting = "haar",
    *,
    axis: int = -1,
    extension: str = "symmetric",
    method: str = "auto",
) -> tuple[Num[Array, "..."], Num[Array, "..."]]:
    """Return the low and the high band of one level along one axis.

    Floats: the coefficients of PyWavelets' "haar", "bior2.2" (5/3) and "bior4.4" (9/7),
    signs and scales included. Haar is orthonormal, the others nearly so.

    Signed integers, for "haar" and "5/3" only: steps rounded down, no scales, the
    reversible transforms of JPEG 2000 (5/3) and of Said and Pearlman (Haar). `idwt`
    gives back every bit, also where coefficients overflow and wrap around; to read
    them as numbers, leave two bits of room.

        5/3:   d[n] = x[2n+1] - floor((x[2n] + x[2n+2]) / 2)
               s[n] = x[2n] + floor((d[n-1] + d[n] + 2) / 4)
        Haar:  d[n] = x[2n+1] - x[2n],  s[n] = x[2n] + floor(d[n] / 2)

    Args:
      x: floating-point, complex or signed integer array with at least 2 samples along
        the axis.
      wavelet: "haar", "5/3", "9/7" or a `Lifting`, whose numbers may be traced.
      axis: static.
      extension: static; "symmetric" mirrors at the end samples (whole-sample, as in
        JPEG 2000) and takes any length, "periodic" repeats and needs an even one.
      method: static; "lifting", "filters" (the steps multiplied out, for floats and
        numbers that are not traced), or "auto": filters where possible, with
        derivatives by lifting, which was the fastest combination on CPU.

    Returns:
      `(low, high)`: `ceil(n / 2)` and `floor(n / 2)` samples along the axis. Float16
      and bfloat16 are computed in float32.

    Raises:
      TypeError: if `x` has another dtype or its integers meet another wavelet, or if
        `wavelet` is no name and no `Lifting`.
      ValueError: if the axis does not exist or has less than 2 samples, a periodic
        one an odd number of them, an option is unknown, or "filters" is impossible.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> low, high = transforms.dwt(jnp.array([1, 2, 3, 4, 9]), "5/3")
      >>> low.tolist(), high.tolist()
      ([1, 3, 8], [0, -2])
      >>> transforms.idwt(low, high, "5/3").tolist()
      [1, 2, 3, 4, 9]
    """
    x = signal("dwt", "x", x)
    scheme = scheme_of("dwt", wavelet, x.dtype)
    axis = axis_of("dwt", axis, x.ndim)
    one_of("dwt", "extension", extension, EXTENSIONS)
    one_of("dwt", "method", method, METHODS)
    check_length("dwt", x.shape[axis], extension)
    way = _dwt_compiled if _is_static(scheme) else _dwt
    return way("dwt", x, scheme, axis, extension, method)


def idwt(
    low: Num[AnyArray, "..."],
    high: Num[AnyArray, "..."],
    wavelet: str | Lifting = "haar",
    *,
    axis: int = -1,
    extension: str = "symmetric",
) -> Num[Array, "..."]:
    """Return the signal of which `dwt` made these bands.

    Args:
      low: as `dwt` returns it.
      high: as `dwt` returns it: as long as `low` along the axis, or shorter by one with
        symmetric extension.
      wavelet: as given to `dwt`.
      axis: static; as given to `dwt`.
      extension: static; as given to `dwt`.

    Returns:
      The signal; along the axis it is as long as both bands together.

    Raises:
      TypeError: as `dwt`, or if one band is of integers and the other is not.
      ValueError: as `dwt`, or if the shapes do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> bands = transforms.dwt(jnp.arange(5.0), "9/7")
      >>> transforms.idwt(*bands, "9/7").round(4).tolist()
      [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    low, high = signal("idwt", "low", low), signal("idwt", "high", high)
    scheme = scheme_of("idwt", wavelet, low.dtype)
    axis = axis_of("idwt", axis, low.ndim)
    one_of("idwt", "extension", extension, EXTENSIONS)
    way = _idwt_compiled if _is_static(scheme) else _idwt
    return way("idwt", low, high, scheme, axis, extension)


def wavedec(
    x: Num[AnyArray, "..."],
    wavelet: str | Lifting = "haar",
    *,
    levels: int | None = None,
    axes: int | Sequence[int] = -1,
    extension: str = "symmetric",
    method: str = "auto",
) -> Coefficients:
    """Return the wavelet coefficients of several levels on several axes.

    Every level transforms all axes, one after the other, and the next level what is low
    on all of them.

    Args:
      x: as in `dwt`.
      wavelet: as in `dwt`.
      levels: static; by default as many as leave each axis at least 2 samples (and, if
        periodic, an even number) before the last level.
      axes: static; one or several distinct axes.
      extension: static; as in `dwt`.
      method: static; as in `dwt`.

    Returns:
      `(low, coarsest, ..., finest)` in the form of PyWavelets' `wavedecn`: one
      dictionary of details a level, with a letter for each of the axes in their order,
      "a" for low and "d" for high, for example "ad", "da", "dd".

    Raises:
      TypeError: as `dwt`.
      ValueError: as `dwt`, or if the axes are not distinct, `levels` is not a positive
        integer or a level would meet an axis that is too short or odd.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> low, coarse, fine = transforms.wavedec(
      ...     jnp.ones((8, 6)), "5/3", levels=2, axes=(0, 1)
      ... )
      >>> low.shape, sorted(coarse), fine["da"].shape
      ((2, 2), ['ad', 'da', 'dd'], (4, 3))
    """
    function = "wavedec"
    x = signal(function, "x", x)
    scheme = scheme_of(function, wavelet, x.dtype)
    chosen = axes_of(function, axes, x.ndim)
    one_of(function, "extension", extension, EXTENSIONS)
    one_of(function, "method", method, METHODS)
    shape = tuple(x.shape[axis] for axis in chosen)
    levels = number_of_levels(function, levels, shape, extension)
    way = _decompose_compiled if _is_static(scheme) else _decompose
    return way(x, scheme, levels, chosen, extension, method)


def _decompose(
    x: Array,
    scheme: Lifting,
    levels: int,
    chosen: tuple[int, ...],
    extension: str,
    method: str,
) -> Coefficients:
    details: list[dict[str, Array]] = []
    for _ in range(levels):
        bands = {"": x}
        for axis in chosen:
            split = {
                name: _dwt("wavedec", band, scheme, axis, extension, method)
                for name, band in bands.items()
            }
            bands = {
                name + letter: pair[i]
                for name, pair in split.items()
                for i, letter in enumerate("ad")
            }
        x = bands.pop("a" * len(chosen))
        details.append(bands)
    return (x, *reversed(details))


def waverec(
    coefficients: Coefficients,
    wavelet: str | Lifting = "haar",
    *,
    axes: int | Sequence[int] = -1,
    extension: str = "symmetric",
) -> Num[Array, "..."]:
    """Return the signal of which `wavedec` made these coefficients.

    Args:
      coefficients: `(low, coarsest, ..., finest)`, as `wavedec` returns them.
      wavelet: as given to `wavedec`.
      axes: static; as given to `wavedec`.
      extension: static; as given to `wavedec`.

    Returns:
      The signal.

    Raises:
      TypeError: as `idwt`.
      ValueError: as `idwt`, or if a level does not have the details that the number of
        axes asks for.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> x = jnp.arange(12, dtype=jnp.int32).reshape(3, 4)
      >>> coefficients = transforms.wavedec(x, "5/3", axes=(0, 1))
      >>> bool(jnp.all(transforms.waverec(coefficients, "5/3", axes=(0, 1)) == x))
      True
    """
    function = "waverec"
    if not isinstance(coefficients, Sequence) or not coefficients:
        raise ValueError(
            f"{PACKAGE}.{function}: `coefficients` must be (low, coarsest, ..., finest)"
            f", got {type(coefficients).__name__}"
        )
    low, *details = coefficients
    low = signal(function, "coefficients", low)
    scheme = scheme_of(function, wavelet, low.dtype)
    chosen = axes_of(function, axes, low.ndim)
    one_of(function, "extension", extension, EXTENSIONS)
    wanted = band_names(len(chosen))
    levels = []
    for level in details:
        if not isinstance(level, dict) or sorted(level) != wanted[1:]:
            found = sorted(level) if isinstance(level, dict) else type(level).__name__
            raise ValueError(
                f"{PACKAGE}.{function}: `coefficients` must have the details "
                f"{wanted[1:]} at every level, got {found}"
            )
        levels.append(
            {k: signal(function, "coefficients", v) for k, v in level.items()}
        )
    way = _recompose_compiled if _is_static(scheme) else _recompose
    return way(low, levels, scheme, chosen, extension)


def _recompose(
    low: Array,
    levels: Sequence[dict[str, Array]],
    scheme: Lifting,
    chosen: tuple[int, ...],
    extension: str,
) -> Array:
    for level in levels:
        bands = {"a" * len(chosen): low, **level}
        for axis in reversed(chosen):
            bands = {
                name[:-1]: _idwt(
                    "waverec", band, bands[name[:-1] + "d"], scheme, axis, extension
                )
                for name, band in bands.items()
                if name.endswith("a")
            }
        low = bands[""]
    return low


def _dwt(
    function: str, x: Array, scheme: Lifting, axis: int, extension: str, method: str
) -> tuple[Array, Array]:
    static = not jnp.issubdtype(x.dtype, jnp.integer) and _is_static(scheme)
    if method == "filters" and not static:
        raise ValueError(
            f"{PACKAGE}.{function}: method 'filters' is for floats and for a wavelet "
            f"whose numbers are not traced, got x of {x.dtype} and {scheme}"
        )
    if jnp.issubdtype(x.dtype, jnp.integer):
        return _forward(x, scheme, axis, extension)
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, jnp.float32))
    if method == "lifting" or not static:
        low, high = _forward(x, scheme, axis, extension)
    else:
        way = _by_filters if method == "filters" else _fastest
        low, high = way(x, scheme, axis, extension)
    return low.astype(dtype), high.astype(dtype)


def _by_filters(
    x: Array, scheme: Lifting, axis: int, extension: str
) -> tuple[Array, Array]:
    taps = taps_of(scheme.steps, scheme.low, scheme.high)
    periodic = extension == "periodic"
    return analyze(x, axis, taps, Extension(x.shape[axis], periodic, scheme.symmetric))


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _fastest(
    x: Array, scheme: Lifting, axis: int, extension: str
) -> tuple[Array, Array]:
    return _by_filters(x, scheme, axis, extension)


@_fastest.defjvp
def _fastest_jvp(scheme, axis, extension, primals, tangents):
    """Differentiate by lifting, whose transpose has two terms a step, not nine."""
    (x,), (x_dot,) = primals, tangents
    return (
        _fastest(x, scheme, axis, extension),
        _forward(x_dot, scheme, axis, extension),
    )


def _forward(
    x: Array, scheme: Lifting, axis: int, extension: str
) -> tuple[Array, Array]:
    n = x.shape[axis]
    even = jax.lax.slice_in_dim(x, 0, n, 2, axis=axis)
    odd = jax.lax.slice_in_dim(x, 1, n, 2, axis=axis)
    for k, step in enumerate(scheme.steps):
        if k % 2 == 0:
            odd = odd + _predicted(even, odd, step, scheme, axis, extension)
        else:
            even = even + _updated(even, odd, step, scheme, axis, extension)
    if jnp.issubdtype(x.dtype, jnp.integer):
        return even, odd
    return _times(scheme.low, even), _times(scheme.high, odd)


def _idwt(
    function: str,
    low: Array,
    high: Array,
    scheme: Lifting,
    axis: int,
    extension: str,
) -> Array:
    check_bands(function, low, high, axis, extension)
    dtype = jnp.promote_types(low.dtype, high.dtype)
    whole = jnp.issubdtype(dtype, jnp.integer)
    even, odd = low, high
    if not whole:
        inside = jnp.promote_types(dtype, jnp.float32)
        even = _times(1 / scheme.low, low.astype(inside))
        odd = _times(1 / scheme.high, high.astype(inside))
    for k, step in reversed(list(enumerate(scheme.steps))):
        if k % 2 == 0:
            odd = odd - _predicted(even, odd, step, scheme, axis, extension)
        else:
            even = even - _updated(even, odd, step, scheme, axis, extension)
    return _interleave(even, odd, axis).astype(dtype)


def _predicted(
    even: Array,
    odd: Array,
    step: tuple[Number, Number],
    scheme: Lifting,
    axis: int,
    extension: str,
) -> Array:
    """Return what a step adds to the odd samples."""
    n, pairs = even.shape[axis], odd.shape[axis]
    here = _cut(even, 0, pairs, axis)
    if n > pairs:
        after = _cut(even, 1, n, axis)
    else:
        end = 0 if extension == "periodic" else n - 1
        last = _cut(even, end, end + 1, axis)
        after = jnp.concatenate([_cut(even, 1, n, axis), last], axis=axis)
    if jnp.issubdtype(even.dtype, jnp.integer):
        return -here if not scheme.symmetric else -_halved(here, after)
    return _pair(step, here, after)


def _updated(
    even: Array,
    odd: Array,
    step: tuple[Number, Number],
    scheme: Lifting,
    axis: int,
    extension: str,
) -> Array:
    """Return what a step adds to the even samples."""
    n, pairs = even.shape[axis], odd.shape[axis]
    start = pairs - 1 if extension == "periodic" else 0
    first = _cut(odd, start, start + 1, axis)
    before = jnp.concatenate([first, _cut(odd, 0, n - 1, axis)], axis=axis)
    here = odd
    if n > pairs:
        last = _cut(odd, pairs - 1, pairs, axis)
        last = last if scheme.symmetric else jnp.zeros_like(last)
        here = jnp.concatenate([odd, last], axis=axis)
    if jnp.issubdtype(even.dtype, jnp.integer):
        return here >> 1 if not scheme.symmetric else (before + here + 2) >> 2
    return _pair(step, before, here)


def _halved(a: Array, b: Array) -> Array:
    return (a + b) >> 1


def _pair(step: tuple[Number, Number], a: Array, b: Array) -> Array:
    """Return `step[0] a + step[1] b` without products by a plain zero."""
    left, right = step
    parts = [
        _times(factor, value)
        for factor, value in ((left, a), (right, b))
        if not (isinstance(factor, float) and factor == 0)
    ]
    if not parts:
        return jnp.zeros_like(a)
    return sum(parts[1:], parts[0])


def _times(factor: Number, value: Array) -> Array:
    return jnp.asarray(factor, dtype=value.dtype) * value


def _cut(x: Array, start: int, stop: int, axis: int) -> Array:
    return jax.lax.slice_in_dim(x, start, stop, axis=axis)


def _interleave(even: Array, odd: Array, axis: int) -> Array:
    n, pairs = even.shape[axis], odd.shape[axis]
    shape = (*odd.shape[:axis], 2 * pairs, *odd.shape[axis + 1 :])
    x = jnp.stack([_cut(even, 0, pairs, axis), odd], axis=axis + 1).reshape(shape)
    if n == pairs:
        return x
    return jnp.concatenate([x, _cut(even, pairs, n, axis)], axis=axis)


def _is_static(scheme: Lifting) -> bool:
    numbers = [scheme.low, scheme.high, *(v for step in scheme.steps for v in step)]
    return all(isinstance(number, int | float) for number in numbers)


def _compiled(function: Callable, *arrays: int) -> Callable:
    """Return `function` compiled as a whole, for a scheme whose numbers are static."""
    static = set(range(function.__code__.co_argcount)) - set(arrays)
    return jax.jit(function, static_argnums=tuple(static), inline=True)


_dwt_compiled = _compiled(_dwt, 1)
_idwt_compiled = _compiled(_idwt, 1, 2)
_decompose_compiled = _compiled(_decompose, 0)
_recompose_compiled = _compiled(_recompose, 0, 1)
