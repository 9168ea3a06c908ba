"""Relative loss balancing with random lookback: slow losses weigh more.

Source: R. Bischof and M. Kraus, "Multi-objective loss balancing for physics-informed
deep learning", 2021, section on ReLoBRaLo: the three formulas of `update`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pinns.domain import positive_number
from pinns.weighting.scheme import GroupScheme, check_fraction


class RelobraloState(NamedTuple):
    """weights (g,); losses of the first and last step (g,), zeros before the first."""

    weights: Float[Array, " g"]
    first: Float[Array, " g"]
    last: Float[Array, " g"]


def init(count: int, dtype="float32") -> RelobraloState:
    """Returns the state before the first losses: all weights one."""
    zeros = jnp.zeros(count, dtype)
    return RelobraloState(jnp.ones(count, dtype), zeros, zeros)


def balance(
    losses: Float[Array, " g"], before: Float[Array, " g"], temperature: float
) -> Float[Array, " g"]:
    """Returns `m softmax(L_i(t) / (T L_i(t')))`, weights that sum to their number m."""
    tiny = jnp.finfo(losses.dtype).tiny
    ratios = losses / jnp.maximum(temperature * before, tiny)
    ratios = jnp.minimum(ratios, jnp.finfo(losses.dtype).max)
    return len(losses) * jax.nn.softmax(ratios)


def update(
    state: RelobraloState,
    losses: Float[Array, " g"],
    keep: Bool[Array, ""],
    *,
    temperature: float = 0.1,
    alpha: float = 0.999,
) -> RelobraloState:
    """Returns the state with the weights of this step.

    `lambda_i(t) = alpha h_i + (1 - alpha) b_i(t, t-1)` with
    `h_i = rho lambda_i(t-1) + (1 - rho) b_i(t, 0)` and `b = balance`; on the first
    step the weights stay as they are.

    Args:
        state: from `init` or the step before.
        losses: (g,), of this step.
        keep: the Bernoulli variable rho: True looks at the last weights, False back
            to the first losses.
        temperature, alpha: T and alpha.

    Example:
        >>> import jax.numpy as jnp
        >>> state = update(init(2), jnp.array([1.0, 1.0]), jnp.bool_(True))
        >>> slow = update(state, jnp.array([1.0, 0.5]), jnp.bool_(True), alpha=0.0)
        >>> [round(weight, 3) for weight in slow.weights.tolist()]
        [1.987, 0.013]
    """
    started = jnp.any(state.first != 0)
    recent = balance(losses, state.last, temperature)
    lookback = jnp.where(keep, state.weights, balance(losses, state.first, temperature))
    weights = alpha * lookback + (1.0 - alpha) * recent
    return RelobraloState(
        jnp.where(started, weights, state.weights),
        jnp.where(started, state.first, losses),
        losses,
    )


@dataclass(frozen=True)
class Relobralo(GroupScheme):
    """Weights by the ratios of each loss to its own past, see `update`.

    Args:
        temperature: T; small values single out the slowest loss.
        alpha: share of the past in the weights.
        rho: probability of keeping the last weights instead of looking back to the
            first losses.

    Raises:
        ValueError: a temperature that is not positive, `alpha` or `rho` outside [0, 1).
    """

    temperature: float = 0.1
    alpha: float = 0.999
    rho: float = 0.999

    name: ClassVar[str] = "relobralo"

    def __post_init__(self):
        owner = "pinns.weighting.Relobralo"
        positive_number(self.temperature, owner, "temperature")
        check_fraction(self.alpha, owner, "alpha")
        check_fraction(self.rho, owner, "rho")

    def init(self, problem, counts, *, pointwise, dtype) -> RelobraloState:
        return init(len(problem.groups), dtype)

    def group_weights(self, state, losses, key):
        keep = jax.random.bernoulli(key, self.rho)
        after = update(
            state, losses, keep, temperature=self.temperature, alpha=self.alpha
        )
        return after.weights, after
