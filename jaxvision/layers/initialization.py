"""Initial values as the reference networks draw them.

Kernels are `(..., fan_in, fan_out)` as everywhere in flax.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx


# Uniform on (-1, 1) / sqrt(fan_in): what PyTorch gives linear and convolution layers.
uniform_fan_in = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
# N(0, 2 / fan_out): He et al., ICCV 2015, as ResNets use it.
he_fan_out = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
# N(0, 2 / ((1 + 0.01^2) fan)): He et al. for leaky ReLU, as nnU-Net uses it. Kernels of
# transposed convolutions count what a value goes to, as in PyTorch.
he_leaky = nnx.initializers.variance_scaling(2 / (1 + 0.01**2), "fan_in", "normal")
he_leaky_transposed = nnx.initializers.variance_scaling(
    2 / (1 + 0.01**2), "fan_out", "normal"
)


def uniform_bias(fan_in: int) -> nnx.Initializer:
    """Returns an initializer uniform on (-1, 1) / sqrt(fan_in), for biases.

    Example:
        >>> import jax
        >>> bias = uniform_bias(16)(jax.random.key(0), (1000,))
        >>> bool(abs(bias).max() <= 0.25)
        True
    """
    bound = 1 / math.sqrt(fan_in)

    def draw(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw
