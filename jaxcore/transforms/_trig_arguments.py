"""Arguments that the DCT and DST functions share: checks, and what they amount to."""

import operator
from collections.abc import Sequence
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcore.transforms._trig import METHODS, Method, transform
from jaxcore.transforms._trig_tables import TRANSPOSED_TYPE, Kind, Norm, Spec


Values = Float[Array, "..."] | Float[np.ndarray, "..."]
NormOption = Literal["ortho", "backward", "forward"] | None
FLIPPED: dict[str, Norm] = {
    "ortho": "ortho",
    "backward": "forward",
    "forward": "backward",
}


def run_axis(
    name: str,
    x: Values,
    kind: Kind,
    type: int,
    axis: int,
    norm: NormOption,
    method: Method,
    *,
    inverse: bool,
) -> Float[Array, "..."]:
    """Return the transform of one axis; `name` is that of the public function."""
    where = f"jaxcore.transforms.{name}"
    array = check_real(where, x)
    (number,) = _axes(where, "axis", [axis], array.ndim)
    spec = _spec(where, kind, type, norm, inverse)
    return _run(where, array, spec, (number,), method)


def run_axes(
    name: str,
    x: Values,
    kind: Kind,
    type: int,
    axes: int | Sequence[int] | None,
    norm: NormOption,
    method: Method,
    *,
    inverse: bool,
) -> Float[Array, "..."]:
    """Return the transform of several axes; `name` is that of the public function."""
    where = f"jaxcore.transforms.{name}"
    array = check_real(where, x)
    if axes is None:
        axes = range(array.ndim)
    elif isinstance(axes, np.ndarray | set | range):
        axes = [*axes]
    elif not isinstance(axes, Sequence):
        axes = [axes]
    numbers = _axes(where, "axes", axes, array.ndim)
    spec = _spec(where, kind, type, norm, inverse)
    return _run(where, array, spec, numbers, method)


def check_real(where: str, x: Values) -> Array:
    """Return `x` as an array, or raise unless it is real floating point."""
    if not hasattr(x, "dtype"):
        x = np.asarray(x)
    dtype = x.dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        hint = ""
        if jnp.issubdtype(dtype, jnp.complexfloating):
            hint = "; transform the real and the imaginary part"
        raise TypeError(
            f"{where}: `x` must be real floating point, got dtype {dtype}{hint}"
        )
    return jnp.asarray(x)


def _spec(where: str, kind: Kind, type: int, norm: NormOption, inverse: bool) -> Spec:
    if isinstance(type, bool) or not isinstance(type, int | np.integer) or type not in (
        1, 2, 3, 4,
    ):  # fmt: skip
        raise ValueError(f"{where}: `type` must be 1, 2, 3 or 4, got {type!r}")
    chosen = "backward" if norm is None else norm
    if not isinstance(chosen, str) or chosen not in get_args(Norm):
        raise ValueError(
            f"{where}: `norm` must be 'ortho', 'backward', 'forward' or None, "
            f"got {norm!r}"
        )
    if inverse:
        return Spec(kind, TRANSPOSED_TYPE[int(type)], FLIPPED[chosen])
    return Spec(kind, int(type), chosen)


def _axes(where: str, name: str, axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return the axes as numbers from 0, or raise."""
    if not ndim:
        raise ValueError(f"{where}: `x` must have an axis at least, got a number")
    found = []
    for axis in axes:
        try:
            number = operator.index(axis)
        except TypeError:
            raise TypeError(
                f"{where}: `{name}` must be of integers, got {axis!r}"
            ) from None
        if not -ndim <= number < ndim:
            raise ValueError(
                f"{where}: `{name}` must be from {-ndim} to {ndim - 1} for an array of "
                f"{ndim} axes, got {axis!r}"
            )
        found.append(number % ndim)
    if len(set(found)) != len(found):
        raise ValueError(f"{where}: `{name}` must be distinct, got {tuple(axes)!r}")
    return tuple(found)


def _run(
    where: str, x: Array, spec: Spec, axes: tuple[int, ...], method: Method
) -> Array:
    if method not in METHODS:
        raise ValueError(f"{where}: `method` must be one of {METHODS}, got {method!r}")
    shortest = 2 if (spec.kind, spec.type) == ("cos", 1) else 1
    if any(x.shape[axis] < shortest for axis in axes):
        raise ValueError(
            f"{where}: `x` must have a length of at least {shortest} on every "
            f"transformed axis, got shape {x.shape} and axes {axes}"
            + (" with type 1" if spec.type == 1 else "")
        )
    return transform(x, spec=spec, axes=axes, method=method)
