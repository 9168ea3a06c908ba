"""Weights by the traces of the neural tangent kernels of all groups.

The kernel of a group with residuals `r` (N,) is `K = J J^T`, `J = dr/dparams`; its mean
eigenvalue `tr(K) / N` is the rate at which the mean square falls under gradient flow.

Source: S. Wang, X. Yu and P. Perdikaris, "When and why PINNs fail to train: a neural
tangent kernel perspective", 2022, the adaptive weights at the end of the paper. There
losses are sums; here they are mean squares, so traces are divided by the number of
points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from pinns.domain import AxisPoints, positive_integer
from pinns.losses import GridLoss
from pinns.slabs import Reduction
from pinns.weighting.gradient_norm import MovingAverage


# Points whose Jacobians are held at a time.
CHUNK = 16


def traces(
    loss: GridLoss, params: Any, points: Float[Array, "m d"]
) -> Float[Array, " g"]:
    """Returns the mean eigenvalue `tr(K) / m` of every group's kernel.

    Terms on faces use the points' other coordinates; `Data` conditions as many of
    their own points, from the first on.

    Args:
        loss: whose terms and weights are used, on any number of points.
        params: of the model.
        points: (m, d).
    """
    problem = loss.problem
    one = GridLoss(
        problem,
        loss.model,
        (1,) * problem.box.dimension,
        loss.dtype.name,
        batch_faces=False,
    )
    flat = {i: Reduction(_flat) for i in range(len(one.plans))}
    scales = [
        np.sqrt(plan.term.weight / np.prod(plan.shape)).item() for plan in one.plans
    ]

    def residuals(params, point):
        prepared = one.prepare([AxisPoints(x[None], None) for x in point])
        values = one.mean_squares(params, prepared, flat)[: len(one.plans)]
        return [s * v.reshape(-1) for s, v in zip(scales, values, strict=True)]

    def squares(point):
        rows = jax.jacrev(residuals)(params, point)
        return jnp.stack([_sum_of_squares(tree) for tree in rows])

    found = jnp.mean(lax.map(squares, points, batch_size=CHUNK), axis=0)
    measured = [_data_trace(loss, params, i, len(points)) for i in range(len(one.data))]
    total = jnp.zeros(len(problem.groups), loss.dtype)
    for (group, _, _), value in zip(one.members, [*found, *measured], strict=True):
        total = total.at[group].add(value)
    return total


def _flat(values, rows) -> Array:
    del rows
    return jnp.concatenate([v.reshape(-1) for v in values])


def _sum_of_squares(tree: Any) -> Array:
    squares = [jnp.sum(x**2) for x in jax.tree.leaves(tree)]
    return sum(squares[1:], start=squares[0])


def _data_trace(loss: GridLoss, params: Any, index: int, count: int) -> Array:
    _, data = loss.data[index]
    rows = jax.jacrev(lambda p: loss.data_errors(p, index)[:count])(params)
    return data.weight * _sum_of_squares(rows) / min(count, len(data.points))


@dataclass(frozen=True)
class NTK(MovingAverage):
    """Weights `sum_j t_j / t_i` with the mean eigenvalues `t` of `traces`.

    Args:
        every, decay: see `MovingAverage`.
        samples: number of points, drawn from the grid, that the traces are taken at.

    Raises:
        ValueError: `samples` is no positive integer; those of `MovingAverage`.
    """

    samples: int = 64

    name: ClassVar[str] = "ntk"

    def __post_init__(self):
        super().__post_init__()
        positive_integer(self.samples, "pinns.weighting.NTK", "samples")

    def sizes(self, loss, params, prepared, key) -> Array:
        keys = jax.random.split(key, len(prepared.coordinates))
        columns = [
            jax.random.choice(k, x, (self.samples,))
            for k, x in zip(keys, prepared.coordinates, strict=True)
        ]
        return traces(loss, params, jnp.stack(columns, axis=1))
