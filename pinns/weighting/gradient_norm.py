"""Weights that make the gradients of all groups equally long.

Source: S. Wang, S. Sankaran, H. Wang and P. Perdikaris, "An expert's guide to training
physics-informed neural networks", 2023, section on loss balancing, where the idea of
Wang, Teng and Perdikaris ("Understanding and mitigating gradient flow pathologies in
physics-informed neural networks", 2021) has this form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from pinns.domain import positive_integer
from pinns.losses import GridLoss, Prepared
from pinns.weighting.scheme import GroupScheme, check_fraction


def balance(sizes: Float[Array, " g"]) -> Float[Array, " g"]:
    """Returns `sum_j s_j / s_i`: times these weights all sizes are equal.

    Sizes below the machine precision times the sum count as that: what vanishes
    already gets a large weight, not an infinite one.

    Example:
        >>> import jax.numpy as jnp
        >>> print(balance(jnp.array([3.0, 1.0])))
        [1.3333334 4.       ]
    """
    total = jnp.sum(sizes)
    eps = jnp.finfo(sizes.dtype).eps
    weights = total / jnp.maximum(sizes, eps * total)
    return jnp.where(total > 0, weights, 1.0)


def update(
    weights: Float[Array, " g"], sizes: Float[Array, " g"], decay: float
) -> Float[Array, " g"]:
    """Returns the moving average `decay lambda + (1 - decay) balance(sizes)`."""
    return decay * weights + (1.0 - decay) * balance(sizes)


def norms(loss: GridLoss, params: Any, prepared: Prepared) -> Float[Array, " g"]:
    """Returns the norm of the gradient of every group's share of the loss."""

    def shares(params):
        return loss.by_group(loss.mean_squares(params, prepared))[0]

    rows = jax.tree.leaves(jax.jacrev(shares)(params))
    squares = [jnp.sum(row.reshape(row.shape[0], -1) ** 2, axis=1) for row in rows]
    return jnp.sqrt(sum(squares[1:], start=squares[0]))


@dataclass(frozen=True)
class MovingAverage(GroupScheme):
    """What `GradientNorm` and `NTK` share: sizes of groups, now and then.

    Args:
        every: steps between two looks at the sizes.
        decay: share of the old weights in the new ones.

    Raises:
        ValueError: `every` is no positive integer, `decay` is outside [0, 1).
    """

    every: int = 100
    decay: float = 0.9

    def __post_init__(self):
        owner = f"pinns.weighting.{type(self).__name__}"
        positive_integer(self.every, owner, "every")
        check_fraction(self.decay, owner, "decay")

    def sizes(self, loss, params, prepared, key) -> Float[Array, " g"]:
        """Returns what is made equal."""
        raise NotImplementedError

    def init(self, problem, counts, *, pointwise, dtype) -> Float[Array, " g"]:
        return jnp.ones(len(problem.groups), dtype)

    def refresh(self, state, loss, params, prepared, step, key):
        def look(weights):
            sizes = self.sizes(loss, params, prepared, key)
            return update(weights, sizes, self.decay)

        return lax.cond(step % self.every == 0, look, lambda weights: weights, state)

    def group_weights(self, state, losses, key):
        return state, state


@dataclass(frozen=True)
class GradientNorm(MovingAverage):
    """Weights by the norms of the groups' gradients, see `balance` and `update`.

    Args: see `MovingAverage`.
    """

    name: ClassVar[str] = "gradient_norm"

    def sizes(self, loss, params, prepared, key) -> Array:
        del key
        return norms(loss, params, prepared)
