"""Factors of unknown coefficient functions, in the format of the model.

A parameter is a sum of products over its own axes (`pinns.parameters`); along all
others its factors are ones. In tensor-train form these are diagonal matrices, in
Tucker form the core is diagonal.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from pinns.separable import Params


def with_parameters(
    forms: Any, params: Params, stacked: list, coordinates: Float[Array, "d n"]
) -> list[list[list[Array]]]:
    """Returns per run of axes and order the factors of all unknowns and parameters.

    Args:
        forms: the `Forms` of a plan.
        params: of the model, with those of the parameters.
        stacked: of `Separable.stacked_factors`: the unknowns' own.
        coordinates: (d, N) rows.

    Returns:
        Arrays (l, N, *shape) by number of the unknown; None for numbers.
    """
    d, order = forms.dimension, forms.plan.order
    rows: dict[int, list[tuple[Array, ...]]] = {}
    for number, axes in forms.parameters.axes.items():
        if not axes:
            continue
        own = forms.parameters.factors(
            params,
            number,
            {axis: coordinates[axis] for axis in axes},
            dict.fromkeys(axes, order),
        )
        ones = jnp.ones(
            (coordinates.shape[1], forms.parameters.rank(number)), coordinates.dtype
        )
        off = (ones, *(jnp.zeros_like(ones) for _ in range(order)))
        rows[number] = [own.get(axis, off) for axis in range(d)]
    out = []
    for jets, run in zip(stacked, forms.runs, strict=True):
        by_order = []
        for k in range(order + 1):
            members: list[Any] = list(jets[k])
            for number in forms.parameters.axes:
                if number not in rows:
                    members.append(None)
                    continue
                shaped = [
                    _shaped(forms.model.name, rows[number][axis][k], axis, d)
                    for axis in run
                ]
                members.append(jnp.stack(shaped))
            by_order.append(members)
        out.append(by_order)
    return out


def parameter_core(forms: Any, number: int, dtype: Any) -> Array:
    """Returns the core of a parameter in Tucker form: ones on its diagonal."""
    rank, d = forms.parameters.rank(number), forms.dimension
    index = jnp.arange(rank)
    return jnp.zeros((rank,) * d, dtype).at[(index,) * d].set(1.0)


def _shaped(kind: str, factor: Float[Array, "n r"], axis: int, d: int) -> Array:
    """Returns a CP factor as one of a tensor train; as it is for other formats."""
    if kind != "tt":
        return factor
    if d == 1:
        return jnp.sum(factor, axis=1)[:, None, None]
    if axis == 0:
        return factor[:, None, :]
    if axis == d - 1:
        return factor[:, :, None]
    return factor[:, :, None] * jnp.eye(factor.shape[1], dtype=factor.dtype)
