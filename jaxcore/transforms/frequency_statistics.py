"""Statistics of feature maps multiplied by DCT basis images, for channel attention.

A channel `X`, pooled to a grid of P x P, is multiplied by K basis images
`D_k(h, w) = B_{m u_k}(h) B_{m v_k}(w)` of the orthonormal DCT-II,

    B_0(p) = sqrt(1 / P),    B_u(p) = sqrt(2 / P) cos(pi u (p + 1/2) / P),

with frequencies `(u_k, v_k)` from a 7 x 7 grid that `m = P // 7` stretches. Three exact
reductions take the place of K passes over the map:

* the average is one inner product with the mean basis image, of the pooled map or of
  the input, to whose size the transposed pooling carries the image back; the smaller
  of the two is read;
* on `P = 7 m` the bases repeat with mirrored period 7, so that sums, maxima and minima
  over the copies of each of 49 cells are all that is needed of the map;
* extremes of `X B_u B_v` are extremes along the width of extremes along the height,
  shared by all frequencies with the same u.

Sources: Qin et al., FcaNet, ICCV 2021 (frequencies, groups of channels, 7 x 7 grid);
Nam et al., MADGNet, CVPR 2024 (average, maximum and minimum of all frequencies).
"""

import math
import operator
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcore.transforms import _frequency_folds as folds
from jaxcore.transforms._adaptive_pool import matrix as pool_matrix
from jaxcore.transforms._adaptive_pool import pool_axis
from jaxcore.transforms._frequency_folds import BASE, Pairs, basis
from jaxcore.transforms._trig_arguments import Values, check_real


Method = Literal["auto", "fold", "separable", "direct"]
METHODS = ("auto", "fold", "separable", "direct")
# Smaller maps are read K times as fast as they are reduced. On one core, folding at 28
# makes value and gradient 1.1 to 2.2 times faster, and the value alone 1.4 times for
# four images; for one it takes up to 0.4 ms more. At 14 direct is faster in both, from
# 35 on folding is.
SMALLEST_REDUCED = 28


class FrequencyStatistics(NamedTuple):
    """Means over the frequencies, each `(*b, C)`."""

    average: Float[Array, "*b c"]
    maximum: Float[Array, "*b c"]
    minimum: Float[Array, "*b c"]


def multi_frequency_statistics(
    x: Values,
    frequencies: Sequence[tuple[int, int]],
    grid: int,
    *,
    method: Method = "auto",
) -> FrequencyStatistics:
    """Return average, maximum and minimum of a map times DCT basis images.

    With `X` the map of one channel after adaptive average pooling to P x P:

        average = 1/K sum_k mean(X D_k),    maximum = 1/K sum_k max(X D_k),

    and `minimum` alike; mean, max and min are over the P x P positions. The basis
    images are orthonormal, so the average of a map without structure is far smaller
    than its extremes. Where two positions hold the same extreme value, they share the
    gradient.

    Args:
      x: feature maps, channels last, `(*b, H, W, C)`, real floating point; half
        precision is computed in float32.
      frequencies: K pairs `(u, v)`, static, from 0 to 6: u along the height, v along
        the width. `frequency_list` has those of FcaNet.
      grid: P, static, at least 7. The frequencies are multiplied by `P // 7`.
      method: "direct" goes over the map once per frequency; "separable" takes extremes
        axis by axis; "fold" does so on 7 x 7 cells and needs a multiple of 7; "auto"
        is direct below P = 28, and from there on folds or, where it cannot, is
        separable. None holds more than a few maps at once.

    Returns:
      `FrequencyStatistics(average, maximum, minimum)`, each `(*b, C)`, of the dtype of
      `x`.

    Raises:
      TypeError: if `x` is complex or not floating point.
      ValueError: if `x` has fewer than three axes or an empty map, or if another
        argument is not as above.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> x = jnp.ones((2, 14, 14, 3))
      >>> found = transforms.multi_frequency_statistics(x, [(0, 0)], 14)
      >>> found.average.shape, float(found.average[0, 0].round(5))  # 1 / 14
      ((2, 3), 0.07143)
    """
    where = "jaxcore.transforms.multi_frequency_statistics"
    array = _maps(where, x)
    size = _grid(where, grid)
    pairs = _pairs(where, frequencies)
    if method not in METHODS:
        raise ValueError(f"{where}: `method` must be one of {METHODS}, got {method!r}")
    if method == "fold" and size % BASE:
        raise ValueError(
            f"{where}: `grid` must be a multiple of {BASE} to be folded, got {grid}"
        )
    if method == "auto" and size < SMALLEST_REDUCED:
        method = "direct"
    elif method == "auto":
        method = "separable" if size % BASE else "fold"
    return _statistics(array, pairs, size, method)


@partial(jax.jit, static_argnums=(1, 2, 3), inline=True)
def _statistics(
    array: Float[Array, "*b h w c"], pairs: Pairs, size: int, method: Method
) -> FrequencyStatistics:
    wide = _flat(array)
    maps = pool_axis(pool_axis(wide, 1, size), 2, size)
    if method == "direct":
        found = folds.direct(maps, pairs, size)
    elif method == "fold":
        bases = basis(size)[:, :BASE]
        found = (
            _average(wide, maps, pairs, size),
            *folds.extremes(*folds.fold(maps), pairs, bases),
        )
    else:
        found = (
            _average(wide, maps, pairs, size),
            *folds.extremes(maps, maps, pairs, basis(size)),
        )
    shape = (*array.shape[:-3], array.shape[-1])
    return FrequencyStatistics(
        *(part.reshape(shape).astype(array.dtype) for part in found)
    )


def grouped_frequency_coefficients(
    x: Values, frequencies: Sequence[tuple[int, int]], grid: int
) -> Float[Array, "*b c"]:
    """Return one DCT coefficient per channel, the frequency by group of channels.

    The channels are split into K equal groups in order; with `k` the group of a
    channel and `X` its map after adaptive average pooling to P x P, the result is
    `sum_{h,w} X(h, w) D_k(h, w)`. This is the layer of FcaNet (Qin et al., ICCV
    2021), here with orthonormal bases; the pooled map is never formed.

    Args:
      x: feature maps, channels last, `(*b, H, W, C)`, real floating point; half
        precision is computed in float32. K divides C.
      frequencies: K pairs `(u, v)`, static, from 0 to 6, one per group.
      grid: P, static, at least 7. The frequencies are multiplied by `P // 7`.

    Returns:
      The coefficients, `(*b, C)`, of the dtype of `x`.

    Raises:
      TypeError: if `x` is complex or not floating point.
      ValueError: if K does not divide C, `x` has fewer than three axes or an empty
        map, or if another argument is not as above.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> x = jnp.ones((7, 7, 4))
      >>> y = transforms.grouped_frequency_coefficients(x, [(0, 0), (0, 1)], 7)
      >>> y.round(3).tolist()
      [7.0, 7.0, 0.0, 0.0]
    """
    where = "jaxcore.transforms.grouped_frequency_coefficients"
    array = _maps(where, x)
    size = _grid(where, grid)
    pairs = _pairs(where, frequencies)
    if array.shape[-1] % len(pairs):
        raise ValueError(
            f"{where}: `x` must have a multiple of {len(pairs)} channels, a group per "
            f"frequency, got shape {array.shape}"
        )
    return _grouped(array, pairs, size)


@partial(jax.jit, static_argnums=(1, 2), inline=True)
def _grouped(
    array: Float[Array, "*b h w c"], pairs: Pairs, size: int
) -> Float[Array, "*b c"]:
    wide = _flat(array)
    batch, height, width, channels = wide.shape
    rows, columns = _carried(pairs, size, height, width)
    groups = wide.reshape(batch, height, width, len(pairs), channels // len(pairs))
    # Products and sums fuse: nothing larger than one column of maps is kept.
    along = jnp.sum(groups * _constant(columns.T, wide)[None, None, :, :, None], axis=2)
    found = jnp.sum(along * _constant(rows.T, wide)[None, :, :, None], axis=1)
    return found.reshape(*array.shape[:-3], channels).astype(array.dtype)


@lru_cache(maxsize=64)
def _carried(
    pairs: Pairs, size: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bases of each frequency carried back through the pooling.

    `(K, H)` and `(K, W)`: inner products with the input instead of the pooled map.
    """
    bases = basis(size)
    rows = bases[[u for u, _ in pairs]] @ pool_matrix(height, size)
    columns = bases[[v for _, v in pairs]] @ pool_matrix(width, size)
    return rows, columns


def _average(
    wide: Float[Array, "b h w c"],
    maps: Float[Array, "b p p c"],
    pairs: Pairs,
    size: int,
) -> Float[Array, "b c"]:
    source = wide if wide.size < maps.size else maps
    rows, columns = _carried(pairs, size, *source.shape[1:3])
    mean = (rows.T @ columns) / (len(pairs) * size**2)
    return jnp.sum(source * _constant(mean, source)[None, :, :, None], axis=(1, 2))


def _constant(values: np.ndarray, like: Array) -> Array:
    return jnp.asarray(values, like.dtype)


def _flat(array: Array) -> Float[Array, "b h w c"]:
    """Return the maps with one batch axis, in float32 at least."""
    wide = array.astype(jnp.promote_types(array.dtype, jnp.float32))
    return wide.reshape(math.prod(array.shape[:-3]), *array.shape[-3:])


def _maps(where: str, x: Values) -> Array:
    array = check_real(where, x)
    if array.ndim < 3 or 0 in array.shape[-3:]:
        raise ValueError(
            f"{where}: `x` must be maps (..., height, width, channels), not empty, "
            f"got shape {array.shape}"
        )
    return array


def _grid(where: str, grid: int) -> int:
    try:
        size = operator.index(grid)
    except TypeError:
        size = 0
    if size < BASE:
        raise ValueError(
            f"{where}: `grid` must be an integer of at least {BASE}, got {grid!r}"
        )
    return size


def _pairs(where: str, frequencies: Sequence[tuple[int, int]]) -> Pairs:
    try:
        pairs = tuple((operator.index(u), operator.index(v)) for u, v in frequencies)
    except (TypeError, ValueError):
        pairs = ()
    if not pairs or not all(0 <= f < BASE for pair in pairs for f in pair):
        raise ValueError(
            f"{where}: `frequencies` must be pairs of integers from 0 to {BASE - 1}, "
            f"at least one, got {frequencies!r}"
        )
    return pairs
