"""Discrete sine transforms, types I to IV, in one and several dimensions.

The counterpart of `jaxcore.transforms.dct`, with the same options: orthonormal by
default, SciPy's other norms, exact adjoints as gradients, products for short axes and
real FFTs for long ones.
"""

from collections.abc import Sequence

from jaxtyping import Array, Float

from jaxcore.transforms._trig import Method
from jaxcore.transforms._trig_arguments import NormOption, Values, run_axes, run_axis


def dst(
    x: Values,
    *,
    type: int = 2,
    axis: int = -1,
    norm: NormOption = "ortho",
    method: Method = "auto",
) -> Float[Array, "..."]:
    """Return the sine transform of one axis.

    With weights that make the matrix orthonormal, and `n` the length:

    - I: `y_k = 2 sum_j x_j sin(pi (j + 1) (k + 1) / (n + 1))`
    - II: `y_k = 2 sum_j x_j sin(pi (k + 1) (2j + 1) / (2n))`
    - III: `y_k = (-1)^k x_{n-1} + 2 sum_{j < n-1} x_j sin(pi (j + 1) (2k + 1) / (2n))`
    - IV: `y_k = 2 sum_j x_j sin(pi (2j + 1) (2k + 1) / (4n))`

    are the unweighted forms, which `norm="backward"` returns; "forward" divides them by
    `2n` (type I: `2(n + 1)`).

    Args:
      x: real floating point, any shape; half precision is computed in float32.
      type: 1, 2, 3 or 4.
      axis: the axis that is transformed; any length.
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
      >>> transforms.dst(jnp.array([1.0, -1.0, 1.0, -1.0])).round(3).tolist()
      [0.0, 0.0, 0.0, 2.0]
    """
    return run_axis("dst", x, "sin", type, axis, norm, method, inverse=False)


def idst(
    x: Values,
    *,
    type: int = 2,
    axis: int = -1,
    norm: NormOption = "ortho",
    method: Method = "auto",
) -> Float[Array, "..."]:
    """Return the inverse sine transform of one axis.

    `idst(dst(x)) = x` for equal `type` and `norm`. An orthonormal transform of type I
    or IV is its own inverse; types II and III are inverses of each other.

    Args:
      x: real floating point, any shape; half precision is computed in float32.
      type: 1, 2, 3 or 4.
      axis: the axis that is transformed; any length.
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
      >>> transforms.idst(jnp.array([0.0, 0.0, 0.0, 2.0])).round(3).tolist()
      [1.0, -1.0, 1.0, -1.0]
    """
    return run_axis("idst", x, "sin", type, axis, norm, method, inverse=True)


def dstn(
    x: Values,
    *,
    type: int = 2,
    axes: int | Sequence[int] | None = None,
    norm: NormOption = "ortho",
    method: Method = "auto",
) -> Float[Array, "..."]:
    """Return the sine transform of several axes, one after the other.

    The axes commute, so their order does not matter; those that run as FFTs are taken
    in pairs. Axes that are not named are batch axes.

    Args:
      x: real floating point, any shape; half precision is computed in float32.
      type: 1, 2, 3 or 4, for all axes.
      axes: those that are transformed, all if omitted; any lengths.
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
      >>> x = jnp.arange(6.0).reshape(2, 3)
      >>> transforms.dstn(x, type=1).shape
      (2, 3)
    """
    return run_axes("dstn", x, "sin", type, axes, norm, method, inverse=False)


def idstn(
    x: Values,
    *,
    type: int = 2,
    axes: int | Sequence[int] | None = None,
    norm: NormOption = "ortho",
    method: Method = "auto",
) -> Float[Array, "..."]:
    """Return the inverse sine transform of several axes, one after the other.

    The axes commute, so their order does not matter; those that run as FFTs are taken
    in pairs. Axes that are not named are batch axes.

    Args:
      x: real floating point, any shape; half precision is computed in float32.
      type: 1, 2, 3 or 4, for all axes.
      axes: those that are transformed, all if omitted; any lengths.
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
      >>> transforms.idstn(transforms.dstn(x, type=4), type=4).round(3).tolist()
      [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    """
    return run_axes("idstn", x, "sin", type, axes, norm, method, inverse=True)
