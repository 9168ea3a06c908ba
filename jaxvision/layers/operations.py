"""How many operations the convolutions of a network take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from flax import nnx

from jaxvision.layers.convolution import GroupedConv


def convolution_operations(build: Callable[[], nnx.Module], *inputs: Any) -> int:
    """Returns the additions and multiplications of all convolutions, two per product.

    That is the count of the literature: padding counts, biases do not, a grouped
    convolution counts the channels of its groups alone however it is computed, and a
    transposed one the entries that it spreads, none of the zeros between them. Other
    layers, normalization and resizing are left out. Nothing is allocated or compiled.

    Args:
        build: of the network, which is counted in evaluation.
        inputs: of one call, arrays or shapes.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> from jaxvision.layers import conv
        >>> x = jax.ShapeDtypeStruct((1, 8, 8, 3), "float32")
        >>> convolution_operations(lambda: conv(3, 4, 3, rngs=nnx.Rngs(0)), x)
        13824
    """
    model = nnx.eval_shape(build)
    model.eval()
    for _, part in nnx.iter_graph(model):
        if isinstance(part, GroupedConv):
            part.method = "native"
    graph, state = nnx.split(model)

    def run(state: Any, *inputs: Any) -> Any:
        return nnx.merge(graph, state, copy=True)(*inputs)

    traced = jax.make_jaxpr(run)(state, *inputs)
    return sum(map(_operations, _convolutions(traced.jaxpr)))


def _convolutions(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation
        for leaf in jax.tree.leaves(tuple(equation.params.values())):
            inner = getattr(leaf, "jaxpr", leaf)
            if hasattr(inner, "eqns"):
                yield from _convolutions(inner)


def _operations(equation: Any) -> int:
    kernel = equation.invars[1].aval.shape
    out_channels = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    products = math.prod(equation.outvars[0].aval.shape) * math.prod(kernel)
    between = math.prod(equation.params["lhs_dilation"])
    return 2 * products // (out_channels * between)
