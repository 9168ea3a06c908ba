"""Lifting schemes by name, and the checks of what the wavelet transforms are given."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxcore.transforms._fast_checks import PACKAGE, integer
from jaxcore.transforms._filters import Number, Steps


ROOT2 = 2**0.5


class Lifting(NamedTuple):
    """Lifting steps and the scales that follow them.

    Attributes:
      steps: pairs `(a, b)`, alternately of predict and update steps, predict first.
      low: factor of the low band after all steps.
      high: factor of the high band after all steps.
      symmetric: whether `a = b` in every step. At an odd length with symmetric
        extension, the last even sample lacks a neighbor, which is then the mirrored
        detail, otherwise zero.
    """

    steps: Steps
    low: Number = 1.0
    high: Number = 1.0
    symmetric: bool = True


# 9/7: Daubechies and Sweldens, section 7.4; K gives constants the gain sqrt(2).
_ALPHA, _BETA = -1.586134342059924, -0.052980118572961
_GAMMA, _DELTA = 0.882911075530934, 0.443506852043971
_K = 1.149604398860241

WAVELETS = {
    "haar": Lifting(((-1.0, 0.0), (0.0, 0.5)), ROOT2, -1 / ROOT2, symmetric=False),
    "5/3": Lifting(((-0.5, -0.5), (0.25, 0.25)), ROOT2, -1 / ROOT2),
    "9/7": Lifting(
        ((_ALPHA, _ALPHA), (_BETA, _BETA), (_GAMMA, _GAMMA), (_DELTA, _DELTA)),
        _K,
        -1 / _K,
    ),
}
REVERSIBLE = ("haar", "5/3")


def scheme_of(function: str, wavelet: Any, dtype: np.dtype) -> Lifting:
    """Return the lifting scheme, or raise."""
    whole = jnp.issubdtype(dtype, jnp.integer)
    if isinstance(wavelet, Lifting):
        if not wavelet.steps or any(len(step) != 2 for step in wavelet.steps):
            raise ValueError(
                f"{PACKAGE}.{function}: `wavelet` must have steps of two numbers each, "
                f"got {wavelet.steps!r}"
            )
    elif not isinstance(wavelet, str):
        raise TypeError(
            f"{PACKAGE}.{function}: `wavelet` must be a name or a Lifting, "
            f"got {type(wavelet).__name__}"
        )
    elif wavelet not in WAVELETS:
        raise ValueError(
            f"{PACKAGE}.{function}: `wavelet` must be one of {', '.join(WAVELETS)} or "
            f"a Lifting, got {wavelet!r}"
        )
    if whole and (isinstance(wavelet, Lifting) or wavelet not in REVERSIBLE):
        raise TypeError(
            f"{PACKAGE}.{function}: integers need the wavelet "
            f"{' or '.join(map(repr, REVERSIBLE))}, got {wavelet!r} with {dtype}"
        )
    return wavelet if isinstance(wavelet, Lifting) else WAVELETS[wavelet]


def signal(function: str, name: str, value: Any) -> Array:
    """Return an array of floats, complex numbers or signed integers, or raise."""
    array = jnp.asarray(value)
    kinds = (jnp.inexact, jnp.signedinteger)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        raise TypeError(
            f"{PACKAGE}.{function}: `{name}` must be of floats, complex numbers or "
            f"signed integers, got {array.dtype}"
        )
    if 0 in array.shape:
        raise ValueError(
            f"{PACKAGE}.{function}: `{name}` must not be empty, got shape {array.shape}"
        )
    return array


def check_length(function: str, n: int, extension: str) -> None:
    """Raise unless an axis of n samples can be split."""
    if n < 2:
        raise ValueError(
            f"{PACKAGE}.{function}: the axis must have at least 2 samples, got {n}"
        )
    if extension == "periodic" and n % 2:
        raise ValueError(
            f"{PACKAGE}.{function}: periodic extension needs an even number of "
            f"samples, got {n}; use extension='symmetric'"
        )


def number_of_levels(
    function: str, levels: int | None, shape: tuple[int, ...], extension: str
) -> int:
    """Return how many levels to do on axes of these lengths, or raise."""
    possible, lengths = 0, list(shape)
    while all(n >= 2 and (extension == "symmetric" or n % 2 == 0) for n in lengths):
        possible, lengths = possible + 1, [(n + 1) // 2 for n in lengths]
    wanted = possible if levels is None else levels
    wanted = integer(function, "levels", wanted, smallest=1) if levels else wanted
    if wanted < 1 or wanted > possible:
        raise ValueError(
            f"{PACKAGE}.{function}: `levels` must be from 1 to {possible} for axes of "
            f"{shape} samples with {extension} extension, got {levels}"
        )
    return wanted


def check_bands(
    function: str, low: Array, high: Array, axis: int, extension: str
) -> None:
    """Raise unless the two are bands of one signal."""
    whole = [jnp.issubdtype(band.dtype, jnp.integer) for band in (low, high)]
    if whole[0] != whole[1]:
        raise TypeError(
            f"{PACKAGE}.{function}: bands must be of integers both or neither, "
            f"got {low.dtype} and {high.dtype}"
        )
    a, b = list(low.shape), list(high.shape)
    fits = len(a) == len(b)
    if fits:
        extra = a.pop(axis) - b.pop(axis)
        fits = a == b and extra in ((0,) if extension == "periodic" else (0, 1))
    if not fits:
        raise ValueError(
            f"{PACKAGE}.{function}: the low band must be as long as the high band on "
            f"axis {axis}{'' if extension == 'periodic' else ' or longer by one'} and "
            f"equal elsewhere, got shapes {low.shape} and {high.shape}"
        )


def band_names(num_axes: int) -> list[str]:
    """Return "a" and "d" in all combinations, the low band first."""
    names = [""]
    for _ in range(num_axes):
        names = [name + letter for name in names for letter in "ad"]
    return names
