"""Discrete cosine transforms, types I to IV, in one and several dimensions.

All are orthonormal unless told otherwise: the inverse is the transpose, and sums of
squares are kept. With `norm="backward"` (also written None) or `"forward"` they are
SciPy's of the same name. They work under `jit`, `vmap`, `grad` and `jvp`; the gradient
is the transposed transform, computed as fast as the transform itself.

`method="matmul"` multiplies by constant matrices, `"fft"` runs real FFTs of the same
length, and `"auto"` decides for each axis by its length and the platform; short axes
and blocks are products, long ones are FFTs.
"""

from collections.abc import Sequence

from jaxtyping import Array, Float

from jaxcore.transforms._trig import Method
from jaxcore.transforms._trig_arguments import NormOption, Values, run_axes, run_axis


def dct(
    x: Values,
    *,
    type: int = 2,
    axis: int = -1,
    norm: NormOption = "ortho",
    method: Method = "auto",
) -> Float[Array, "..."]:
    """Return the cosine transform of one axis.

    With weights that make the matrix orthonormal, and `n` the length:

    - I: `y_k = x_0 + (-1)^k x_{n-1} + 2 sum_j x_j cos(pi j k / (n - 1))`, `0 < j < n-1`
    - II: `y_k = 2 sum_j x_j cos(pi k (2j + 1) / (2n))`
    - III: `y_k = x_0 + 2 sum_{j > 0} x_j cos(pi j (2k + 1) / (2n))`
    - IV: `y_k = 2 sum_j x_j cos(pi (2j + 1) (2k + 1) / (4n))`

    are the unweighted forms, which `norm="backward"` returns; "forward" divides them by
    `2n` (type I: `2(n - 1)`).

    Args:
      x: real floating point, any shape; half precision is computed in float32.
      type: 1, 2, 3 or 4.
      axis: the axis that is transformed; any length, but at least 2 in type I.
      norm: "ortho", "backward" (the same as None) or "forward".
      method: "auto", "matmul" or "fft"; they agree to rounding.

    Returns:
      The coefficients, of the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is complex or not floating point.
      ValueError: if another argument is not as above, or the axis is too short.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> transforms.dct(jnp.ones(4)).round(3).tolist()
      [2.0, 0.0, 0.0, 0.0]

    Source: Makhoul, A fast cosine transform in one and two dimensions, IEEE Trans.
    ASSP 28 (1980), for the FFT route of types II and III.
    """
    return run_axis("dct", x, "cos", type, axis, norm, method, inverse=False)


def idct(
    x: Values,
    *,
    type: int = 2,
    axis: int = -1,
    norm: NormOption = "ortho",
    method: Method = "auto",
) -> Float[Array, "..."]:
    """Return the inverse cosine transform of one axis.

    `idct(dct(x)) = x` for equal `type` and `norm`. An orthonormal transform of type I
    or IV is its own inverse; types II and III are inverses of each other.

    Args:
      x: real floating point, any shape; half precision is computed in float32.
      type: 1, 2, 3 or 4.
      axis: the axis that is transformed; any length, but at least 2 in type I.
      norm: "ortho", "backward" (the same as None) or "forward", as in
        the transform that is undone.
      method: "auto", "matmul" or "fft"; they agree to rounding.

    Returns:
      The signal, of the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is complex or not floating point.
      ValueError: if another argument is not as above, or the axis is too short.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> transforms.idct(jnp.array([2.0, 0.0, 0.0, 0.0])).round(3).tolist()
      [1.0, 1.0, 1.0, 1.0]
    """
    return run_axis("idct", x, "cos", type, axis, norm, method, inverse=True)


def dctn(
    x: Values,
    *,
    type: int = 2,
    axes: int | Sequence[int] | None = None,
    norm: NormOption = "ortho",
    method: Method = "auto",
) -> Float[Array, "..."]:
    """Return the cosine transform of several axes, one after the other.

    The axes commute, so their order does not matter; those that run as FFTs are taken
    in pairs. Axes that are not named are batch axes.

    Args:
      x: real floating point, any shape; half precision is computed in float32.
      type: 1, 2, 3 or 4, for all axes.
      axes: those that are transformed, all if omitted; any lengths, but at least 2 in
        type I.
      norm: "ortho", "backward" (the same as None) or "forward".
      method: "auto" (decided axis by axis), "matmul" or "fft".

    Returns:
      The coefficients, of the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is complex or not floating point.
      ValueError: if another argument is not as above, or an axis is too short.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> images = jnp.ones((5, 8, 8, 3))
      >>> transforms.dctn(images, axes=(1, 2))[0, 0, 0].round(3).tolist()
      [8.0, 8.0, 8.0]
    """
    return run_axes("dctn", x, "cos", type, axes, norm, method, inverse=False)


def idctn(
    x: Values,
    *,
    type: int = 2,
    axes: int | Sequence[int] | None = None,
    norm: NormOption = "ortho",
    method: Method = "auto",
) -> Float[Array, "..."]:
    """Return the inverse cosine transform of several axes, one after the other.

    The axes commute, so their order does not matter; those that run as FFTs are taken
    in pairs. Axes that are not named are batch axes.

    Args:
      x: real floating point, any shape; half precision is computed in float32.
      type: 1, 2, 3 or 4, for all axes.
      axes: those that are transformed, all if omitted; any lengths, but at least 2 in
        type I.
      norm: "ortho", "backward" (the same as None) or "forward", as in
        the transform that is undone.
      method: "auto" (decided axis by axis), "matmul" or "fft".

    Returns:
      The signal, of the shape and dtype of `x`.

    Raises:
      TypeError: if `x` is complex or not floating point.
      ValueError: if another argument is not as above, or an axis is too short.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxcore import transforms
      >>> x = jnp.arange(6.0).reshape(2, 3)
      >>> transforms.idctn(transforms.dctn(x)).round(3).tolist()
      [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    """
    return run_axes("idctn", x, "cos", type, axes, norm, method, inverse=True)
