"""Forward-mode derivatives along one axis.

`jet` differentiates a one-dimensional network: the derivatives of a separable
function are the same contraction with one factor replaced by an entry of its jet, so
nothing here ever sees the contraction. `partial` differentiates a function of all
coordinates pointwise; it serves exact solutions, lifts and pointwise networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def jet(
    function: Callable[[Float[Array, " n"]], Float[Array, "n *w"]],
    x: Float[Array, " n"],
    order: int,
) -> tuple[Float[Array, "n *w"], ...]:
    """Returns `function` and its derivatives up to `order`: order + 1 arrays.

    `function` maps each entry of `x` on its own (a batch of scalars), so one tangent
    of ones differentiates all points at once (nested `jax.jvp`).

    Example:
        >>> [float(d[0]) for d in jet(lambda x: x**3, jnp.array([2.0]), 3)]
        [8.0, 12.0, 12.0, 6.0]
    """
    ones = jnp.ones_like(x)

    def extend(previous):
        def extended(x):
            values, tangents = jax.jvp(previous, (x,), (ones,))
            return (*values, tangents[-1])

        return extended

    derivatives = lambda x: (function(x),)  # noqa: E731
    for _ in range(order):
        derivatives = extend(derivatives)
    return derivatives(x)


def tanh_series(z: Sequence[Array]) -> list[Array]:
    """Returns the Taylor coefficients of tanh(z(s)) from those of z.

    From y' = (1 - y^2) z': `k y_k = sum_j j z_j v_{k-j}` with v = 1 - y^2.

    Example:
        >>> z = [jnp.array(0.0), jnp.array(1.0), jnp.array(0.0), jnp.array(0.0)]
        >>> [round(float(y), 4) for y in tanh_series(z)]
        [0.0, 1.0, 0.0, -0.3333]
    """
    y = [jnp.tanh(z[0])]
    v = [1.0 - y[0] * y[0]]
    for k in range(1, len(z)):
        y.append(_integrated(z, v, k))
        v.append(-_convolved(y, y, k))
    return y


def sin_series(z: Sequence[Array]) -> list[Array]:
    """Returns the Taylor coefficients of sin(z(s)) from those of z.

    From s' = c z' and c' = -s z', s and c the sine and cosine.

    Example:
        >>> z = [jnp.array(0.0), jnp.array(1.0), jnp.array(0.0), jnp.array(0.0)]
        >>> [round(float(y), 4) for y in sin_series(z)]
        [0.0, 1.0, 0.0, -0.1667]
    """
    s, c = [jnp.sin(z[0])], [jnp.cos(z[0])]
    for k in range(1, len(z)):
        s.append(_integrated(z, c, k))
        c.append(-_integrated(z, s, k))
    return s


def _integrated(z: Sequence[Array], v: Sequence[Array], k: int) -> Array:
    """Returns coefficient k of the integral of v z'."""
    total = z[k] * v[0]
    for j in range(1, k):
        total = total + (j / k) * z[j] * v[k - j]
    return total


def _convolved(a: Sequence[Array], b: Sequence[Array], k: int) -> Array:
    """Returns coefficient k of the product."""
    total = a[0] * b[k]
    for j in range(1, k + 1):
        total = total + a[j] * b[k - j]
    return total


SERIES: dict[str, Callable[[Sequence[Array]], list[Array]]] = {
    "tanh": tanh_series,
    "sin": sin_series,
}


def network_series(
    layers: Sequence[dict[str, Array]],
    x: Float[Array, " n"],
    slope: Array,
    order: int,
    activation: str,
    scale: float = 1.0,
) -> list[Float[Array, "n h"]]:
    """Returns the Taylor coefficients, by the coordinate, of hidden Dense layers.

    Coefficients of all orders go through a layer as one matrix product.

    Args:
        layers: kernels (i, o) and biases (o,), the first with i = 1.
        x: inputs. slope: their derivative by the coordinate.
        order: of the last coefficient, positive.
        activation: one of `SERIES`. scale: of its argument.
    """
    series: list[Array] = []
    for layer in layers:
        bias = layer["bias"][None, :]
        if series:
            rows = len(x)
            products = jnp.concatenate(series) @ layer["kernel"]
            z = jnp.split(products, [rows * k for k in range(1, order + 1)])
            z[0] = z[0] + bias
        else:
            values = x[:, None] @ layer["kernel"] + bias
            rate = jnp.broadcast_to(slope * layer["kernel"], values.shape)
            z = [values, rate, *[jnp.zeros_like(rate)] * (order - 1)]
        if scale != 1.0:
            z = [scale * part for part in z]
        series = SERIES[activation](z)
    return series


def product(a: Sequence[Array], b: Sequence[Array]) -> tuple[Array, ...]:
    """Returns the derivatives of a product from those of its factors (Leibniz)."""
    out = []
    for k in range(len(a)):
        total = a[0] * b[k]
        for j in range(1, k + 1):
            total = total + math.comb(k, j) * a[j] * b[k - j]
        out.append(total)
    return tuple(out)


def partial(
    function: Callable[..., Array], orders: Sequence[int]
) -> Callable[..., Array]:
    """Returns the mixed partial derivative of an elementwise function of coordinates.

    Args:
        function: maps coordinate arrays that broadcast against each other to values
            of the broadcast shape, each value depending on its own coordinates only.
        orders: order of the derivative along each argument.

    Example:
        >>> fxy = partial(lambda x, y: x**2 * y**3, (1, 2))
        >>> float(fxy(jnp.array(3.0), jnp.array(2.0)))
        72.0
    """
    for axis, order in enumerate(orders):
        for _ in range(order):
            function = _first(function, axis)
    return function


def _first(function: Callable[..., Array], axis: int) -> Callable[..., Array]:
    def derivative(*coordinates):
        def along(c):
            return function(*coordinates[:axis], c, *coordinates[axis + 1 :])

        c = jnp.asarray(coordinates[axis])
        return jax.jvp(along, (c,), (jnp.ones_like(c),))[1]

    return derivative
