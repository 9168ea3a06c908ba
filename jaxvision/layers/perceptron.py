"""Linear layers as PyTorch draws them, alone and one after another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import jax
from flax import nnx
from jaxtyping import Array, Float

from jaxvision.layers._checks import features, positive
from jaxvision.layers.convolution import Activation
from jaxvision.layers.initialization import uniform_bias, uniform_fan_in


def linear(
    in_features: int, out_features: int, *, use_bias: bool = True, rngs: nnx.Rngs
) -> nnx.Linear:
    """Returns a linear layer, kernel and bias uniform on (-1, 1) / sqrt(in_features).

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> linear(3, 5, rngs=nnx.Rngs(0))(jnp.ones((2, 3))).shape
        (2, 5)
    """
    return nnx.Linear(
        in_features,
        out_features,
        use_bias=use_bias,
        kernel_init=uniform_fan_in,
        bias_init=uniform_bias(in_features),
        rngs=rngs,
    )


class Perceptron(nnx.Module):
    """Linear layers with an activation between them, none after the last.

    Args:
        widths: of the input, of the hidden layers, of the output.
        activation: between the layers.

    Raises:
        ValueError: fewer than two widths, or one that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> model = Perceptron((64, 32, 10), rngs=nnx.Rngs(0))
        >>> model(jnp.ones((2, 64))).shape
        (2, 10)

    Source: Rumelhart et al., Nature 323 (1986); initial values are those of PyTorch's
    linear layers.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        activation: Activation = jax.nn.relu,
        rngs: nnx.Rngs,
    ):
        where = "jaxvision.layers.Perceptron"
        if len(widths) < 2:
            raise ValueError(
                f"{where}: `widths` must have at least two entries, got {tuple(widths)}"
            )
        for width in widths:
            positive(where, widths=width)
        self.layers = nnx.List([linear(a, b, rngs=rngs) for a, b in pairwise(widths)])
        self.activation, self.width = activation, widths[0]

    def __call__(self, x: Float[Array, "b n"]) -> Float[Array, "b m"]:
        """Returns the output of the last layer.

        Raises:
            TypeError, ValueError: `x` is no (B, widths[0]) of floats.
        """
        x = features("jaxvision.layers.Perceptron", x, self.width, 2)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)
