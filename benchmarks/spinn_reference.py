"""The formulation of SPINN, written from its formulas, for `pinn_step` to measure.

The model is one function `u(x_1, ..., x_d)` of coordinate arrays: a network per axis,
then an einsum of their outputs. Every derivative is taken of this whole function, in
forward mode along one axis with a tangent of ones, `jvp(jvp(u))` for a second one, so
the networks and the contraction are differentiated each time. Every face is one more
application with its own coordinates. Source and boundary values are arrays that are
formed once per draw of the points.

Networks, points, loss and optimizer are those of `pinns`: `from_pinns` turns the
parameters of a model of `pinns` into those of this one, and
`tests/benchmarks/test_spinn_reference.py` holds that losses and gradients are equal.
Faces of one kind are averaged, as in the Klein-Gordon loss of the released code of the
tensor-decomposition paper; SPINN sums them, at the same cost.

Source: Cho et al., "Separable Physics-Informed Neural Networks", NeurIPS 2023; for
tensor train and Tucker, Vemuri et al., "Functional Tensor Decompositions for
Physics-Informed Neural Networks", ICPR 2024.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array


# {"networks": per axis [(kernel, bias), ...]} and for Tucker {"core": array}.
Params = dict[str, Any]
Function = Callable[..., Array]

AXES = "abcdefghij"
RANKS = "klmnopqrst"


class Face(NamedTuple):
    """One end of one axis, and the share of its mean square in the loss."""

    axis: int
    end: int
    share: float


@dataclass(frozen=True)
class Equation:
    """A differential equation with its conditions.

    intervals: of every axis. operator: `(u, second) -> array`, `second(i)` being the
    second derivative along axis i. source: what the operator should give. value: what
    `u` should be on the faces, None for zero. faces: where.
    """

    intervals: tuple[tuple[float, float], ...]
    operator: Callable[[Array, Callable[[int], Array]], Array]
    source: Function
    value: Function | None
    faces: tuple[Face, ...]


class Data(NamedTuple):
    """What is formed once per draw: coordinates and source; the same of the faces."""

    coordinates: tuple[Array, ...]
    source: Array
    faces: tuple[tuple[Array, ...], ...]
    values: tuple[Array, ...]


def klein_gordon() -> Equation:
    """Returns `u_tt - u_xx - u_yy + u^2 = f`, given `u` at t = 0 and on four sides."""

    def value(t: Array, x: Array, y: Array) -> Array:
        return (x + y) * jnp.cos(2 * t) + x * y * jnp.sin(2 * t)

    def source(*coordinates: Array) -> Array:
        u = value(*coordinates)
        return u**2 - 4 * u

    return Equation(
        intervals=((0.0, 10.0), (-1.0, 1.0), (-1.0, 1.0)),
        operator=lambda u, second: second(0) - second(1) - second(2) + u**2,
        source=source,
        value=value,
        faces=(Face(0, 0, 1.0), *_faces((1, 2))),
    )


def helmholtz() -> Equation:
    """Returns `laplacian(u) + u = q` in the cube, `u = 0` on the six faces."""
    modes = (4, 4, 3)

    def source(*coordinates: Array) -> Array:
        waves = [
            jnp.sin(mode * jnp.pi * x)
            for mode, x in zip(modes, coordinates, strict=True)
        ]
        factor = 1 - jnp.pi**2 * sum(mode**2 for mode in modes)
        return factor * math.prod(waves[1:], start=waves[0])

    return Equation(
        intervals=((-1.0, 1.0),) * 3,
        operator=lambda u, second: second(0) + second(1) + second(2) + u,
        source=source,
        value=None,
        faces=_faces((0, 1, 2)),
    )


def poisson(dimension: int = 5) -> Equation:
    """Returns `laplacian(u) = f` in the unit cube, given `u` on all faces."""

    def value(*coordinates: Array) -> Array:
        waves = [jnp.sin(jnp.pi / 2 * x) for x in coordinates]
        return sum(waves[1:], start=waves[0])

    def operator(u: Array, second: Callable[[int], Array]) -> Array:
        return sum((second(i) for i in range(1, dimension)), start=second(0))

    return Equation(
        intervals=((0.0, 1.0),) * dimension,
        operator=operator,
        source=lambda *coordinates: -(jnp.pi**2) / 4 * value(*coordinates),
        value=value,
        faces=_faces(tuple(range(dimension))),
    )


def _faces(axes: tuple[int, ...]) -> tuple[Face, ...]:
    share = 1 / (2 * len(axes))
    return tuple(Face(axis, end, share) for axis in axes for end in (0, 1))


def from_pinns(shapes: Sequence[tuple[int, ...]], params: Any) -> Params:
    """Returns parameters, or a gradient, of a model of `pinns` in the form used here.

    Args:
        shapes: of the factors per axis, `model.shapes(dimension)`.
        params: of the model, with networks of the kind "mlp".
    """
    widths = [math.prod(shape) for shape in shapes]
    networks = []
    for axis, width in enumerate(widths):
        # pinns stacks the networks of equal width, in the order of the axes.
        row = widths[:axis].count(width)
        layers = params[f"factors_{width}"]["layers"]
        networks.append(
            [(layer["kernel"][row], layer["bias"][row]) for layer in layers]
        )
    known: Params = {"networks": networks}
    if "core" in params:
        known["core"] = params["core"][0]
    return known


def apply(model: str, params: Params, *coordinates: Array) -> Array:
    """Returns `u` on the tensor grid of the coordinates, `(n_1, ..., n_d)`.

    Args:
        model: `"cp"`, `"tt"` or `"tucker"`.
        params: of all networks, and the core.
        *coordinates: one array `(n_i,)` per axis.
    """
    features = [
        _network(layers, x)
        for layers, x in zip(params["networks"], coordinates, strict=True)
    ]
    return _CONTRACTIONS[model](features, params)


def _network(layers: Sequence[tuple[Array, Array]], x: Array) -> Array:
    h = x[:, None]
    for kernel, bias in layers[:-1]:
        h = jnp.tanh(h @ kernel + bias[None, :])
    kernel, bias = layers[-1]
    return h @ kernel + bias[None, :]


def _cp(features: Sequence[Array], params: Params) -> Array:
    axes = AXES[: len(features)]
    subscripts = ",".join(f"k{axis}" for axis in axes)
    return jnp.einsum(f"{subscripts}->{axes}", *(f.T for f in features))


def _tensor_train(features: Sequence[Array], params: Params) -> Array:
    axes, last = AXES[: len(features)], len(features) - 1
    rank = features[0].shape[1]
    factors = [features[0]]
    factors += [f.reshape(-1, rank, rank) for f in features[1:-1]]
    factors += [features[-1]]
    subscripts = [
        axis + RANKS[max(i - 1, 0) : min(i + 1, last)] for i, axis in enumerate(axes)
    ]
    return jnp.einsum(f"{','.join(subscripts)}->{axes}", *factors)


def _tucker(features: Sequence[Array], params: Params) -> Array:
    axes, ranks = AXES[: len(features)], RANKS[: len(features)]
    subscripts = [ranks, *(r + a for r, a in zip(ranks, axes, strict=True))]
    operands = [params["core"], *(f.T for f in features)]
    return jnp.einsum(f"{','.join(subscripts)}->{axes}", *operands)


_CONTRACTIONS = {"cp": _cp, "tt": _tensor_train, "tucker": _tucker}


def data(equation: Equation, coordinates: Sequence[Array]) -> Data:
    """Returns all that depends on the points alone."""
    faces = []
    for axis, end, _ in equation.faces:
        placed = list(coordinates)
        placed[axis] = jnp.full(1, equation.intervals[axis][end], placed[axis].dtype)
        faces.append(tuple(placed))
    value = equation.value
    values = [] if value is None else [value(*_mesh(face)) for face in faces]
    return Data(
        coordinates=tuple(coordinates),
        source=equation.source(*_mesh(coordinates)),
        faces=tuple(faces),
        values=tuple(values),
    )


def _mesh(coordinates: Sequence[Array]) -> list[Array]:
    return jnp.meshgrid(*coordinates, indexing="ij")


def loss(equation: Equation, model: str, params: Params, known: Data) -> Array:
    """Returns the mean square of the residual plus those of the conditions."""

    def second(axis: int) -> Array:
        def along(x: Array) -> Array:
            placed = [*known.coordinates[:axis], x, *known.coordinates[axis + 1 :]]
            return apply(model, params, *placed)

        x = known.coordinates[axis]
        ones = jnp.ones_like(x)

        def first(x: Array) -> Array:
            return jax.jvp(along, (x,), (ones,))[1]

        return jax.jvp(first, (x,), (ones,))[1]

    u = apply(model, params, *known.coordinates)
    total = jnp.mean((equation.operator(u, second) - known.source) ** 2)
    values: Sequence[Array | float] = known.values or (0.0,) * len(known.faces)
    for face, placed, value in zip(equation.faces, known.faces, values, strict=True):
        gap = apply(model, params, *placed) - value
        total = total + face.share * jnp.mean(gap**2)
    return total


def step(
    equation: Equation, model: str, optimizer: optax.GradientTransformation
) -> Callable[[tuple[Params, Any], Data], tuple[tuple[Params, Any], Array]]:
    """Returns `((params, state), data) -> ((params, state), loss)`, to be jitted."""

    def one(carry: tuple[Params, Any], known: Data) -> tuple[tuple[Params, Any], Array]:
        params, state = carry

        def of(params: Params) -> Array:
            return loss(equation, model, params, known)

        value, gradient = jax.value_and_grad(of)(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    return one


EQUATIONS: dict[str, Callable[[], Equation]] = {
    "klein_gordon": klein_gordon,
    "helmholtz": helmholtz,
    "poisson": poisson,
}
