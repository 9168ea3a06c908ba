"""The pointwise baseline: one network of all coordinates, as in an ordinary PINN.

It runs on the same `Problem` objects and the same points as the separable models, so
that a comparison differs in the model only. Hard conditions hold through the same
factors and lift. Source: Raissi, Perdikaris & Karniadakis 2019, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from pinns.derivatives import partial
from pinns.domain import Box
from pinns.factors import FactorNetwork, envelope, network


Params = dict[str, Any]


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron of all coordinates.

    Args:
        hidden: widths of the hidden layers.
        activation: one of `pinns.factors.ACTIVATIONS`.
        initializer: one of `pinns.factors.INITIALIZERS`.

    Raises:
        ValueError: an unknown name or a bad width.

    Example:
        >>> MLP(hidden=(8, 8)).num_parameters(Box(x=(0, 1), y=(0, 1)))
        105
    """

    hidden: tuple[int, ...] = (64, 64, 64)
    activation: str = "tanh"
    initializer: str = "glorot_normal"
    net: FactorNetwork = field(init=False, repr=False, compare=False)

    name: ClassVar[str] = "mlp"
    pointwise: ClassVar[bool] = True

    def __post_init__(self):
        if isinstance(self.hidden, list):
            object.__setattr__(self, "hidden", tuple(self.hidden))
        net = network(
            "pinns.MLP",
            "mlp",
            hidden=self.hidden,
            activation=self.activation,
            initializer=self.initializer,
            default_initializer=self.initializer,
            normalize=False,
            omega=None,
            sigma=None,
        )
        object.__setattr__(self, "net", net)

    def init(self, key: Array, box: Box, *, unknowns: int = 1, dtype="float32"):
        """Returns fresh parameters: one network with `unknowns` outputs."""
        sizes = (box.dimension, *self.hidden, unknowns)
        return {"layers": self.net.stack(key, sizes, jnp.dtype(dtype))}

    def derivative(
        self, problem, params: Params, unknown: int, orders: Sequence[int]
    ) -> Callable[..., Array]:
        """Returns a partial derivative of one unknown, an elementwise function."""
        flags = problem.hard.exponents()

        def value(*coordinates):
            wide = jnp.broadcast_arrays(*coordinates)
            features = jnp.stack([c.reshape(-1) for c in wide], axis=-1)
            out = self.net.forward(params["layers"], features)[:, unknown]
            if flags is not None:
                for i, interval in enumerate(problem.box.intervals):
                    ends = jnp.asarray(interval, features.dtype)
                    own = jnp.asarray(flags[unknown, i], features.dtype)
                    out = out * envelope(features[:, i], ends, own)[:, 0]
            return out.reshape(wide[0].shape)

        def wide_derivative(*coordinates):
            # A tangent of ones along one axis needs every point to have its own
            # coordinate: broadcast first, differentiate after.
            return partial(value, orders)(*jnp.broadcast_arrays(*coordinates))

        return wide_derivative

    def num_parameters(self, box: Box, unknowns: int = 1) -> int:
        """Returns the number of trained numbers."""
        sizes = (box.dimension, *self.hidden, unknowns)
        return sum(math.prod(pair) + pair[1] for pair in pairwise(sizes))
