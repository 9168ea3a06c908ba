"""The trigonometric transform as one linear primitive, and the choice of its method.

As a primitive the transform is its own derivative and its transpose is the transposed
transform, computed by the same fast algorithm instead of by differentiating through
gathers; batch axes of `vmap` become leading axes; and `method="auto"` is resolved when
the platform is known, at lowering.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from jaxcore.transforms import _trig_fft, _trig_matmul
from jaxcore.transforms._trig_tables import Spec


Method = Literal["auto", "matmul", "fft"]
METHODS = ("auto", "matmul", "fft")

transform_p = Primitive("trigonometric_transform")


@partial(jax.jit, static_argnames=("spec", "axes", "method"), inline=True)
def transform(
    x: Float[Array, "..."], *, spec: Spec, axes: tuple[int, ...], method: Method
) -> Float[Array, "..."]:
    """Return the transform along `axes`, which are distinct and non-negative.

    Half-precision data are computed in float32 and rounded once, at the end.
    """
    if not axes or x.size == 0:
        return x
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    y = transform_p.bind(wide, spec=spec, axes=axes, method=method)
    return y.astype(x.dtype)


def use_matmul(n: int, spec: Spec, dtype: jnp.dtype, platform: str) -> bool:
    """Return whether an axis of length `n` is to be a matrix product.

    The limits for CPU are where products and FFTs took equal time, forward and
    gradient together, in arrays of 2^20 elements. An FFT whose length has a large
    prime factor takes four times as long. For other platforms the limit follows from
    operation counts and was not measured.
    """
    if platform != "cpu":
        return n <= 256
    limit = 64 if dtype == jnp.float64 else 128
    length = n
    if spec.type == 1:
        length = 2 * (n - 1) if spec.kind == "cos" else 2 * (n + 1)
    return n <= (4 * limit if _largest_prime_factor(length) > 31 else limit)


def _largest_prime_factor(n: int) -> int:
    largest, factor = 1, 2
    while factor * factor <= n:
        while n % factor == 0:
            largest, n = factor, n // factor
        factor += 1
    return max(largest, n)


def _compute(
    x: Float[Array, "..."],
    *,
    spec: Spec,
    axes: tuple[int, ...],
    method: Method,
    platform: str,
) -> Float[Array, "..."]:
    if method == "auto":
        chosen = [use_matmul(x.shape[a], spec, x.dtype, platform) for a in axes]
    else:
        chosen = [method == "matmul"] * len(axes)
    products = [axis for axis, yes in zip(axes, chosen, strict=True) if yes]
    others = [axis for axis, yes in zip(axes, chosen, strict=True) if not yes]
    if products:
        x = _trig_matmul.apply(x, spec, products)
    if others:
        x = _trig_fft.apply(x, spec, others)
    return x


def _impl(x: Array, **params: Any) -> Array:
    return _compute(x, platform=jax.default_backend(), **params)


def _transpose(cotangent: Array, x: Any, *, spec: Spec, **params: Any) -> list[Any]:
    return [transform_p.bind(cotangent, spec=spec.transpose(), **params)]


def _batch(
    arguments: Sequence[Array],
    dims: Sequence[int],
    *,
    axes: tuple[int, ...],
    **params: Any,
) -> tuple[Array, int]:
    (x,), (dim,) = arguments, dims
    shifted = tuple(axis + (axis >= dim) for axis in axes)
    return transform_p.bind(x, axes=shifted, **params), dim


transform_p.def_impl(_impl)
transform_p.def_abstract_eval(lambda x, **params: x)
ad.deflinear2(transform_p, _transpose)
batching.primitive_batchers[transform_p] = _batch
for _platform in ("cpu", "cuda", "rocm", "tpu", None):
    _lower: Callable[..., Any] = mlir.lower_fun(
        partial(_compute, platform=_platform or "other"), multiple_results=False
    )
    mlir.register_lowering(transform_p, _lower, platform=_platform)
