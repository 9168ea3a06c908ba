"""First-order steps on scattered points that follow the residual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from pinns.scattered import PointLoss, PreparedPoints, adapted
from pinns.solvers.first_order import FirstOrder, Rows, State


class AdaptiveState(NamedTuple):
    """optimizer: state of the optax transformation. points: (n, d), of the residual."""

    optimizer: Any
    points: Float[Array, "n d"]


class AdaptiveFirstOrder(FirstOrder):
    """Gradient steps; every so many of them the points of the residual are renewed.

    The points belong to the state: a run that is resumed goes on with them.

    Args:
        loss: on scattered points.
        optimizer: any optax transformation.
        kind: `"rad"` or `"r3"`.
        every: steps from one choice to the next.
        key: folded with the step.
        start: (n, d), the first points.
    """

    def __init__(
        self,
        loss: PointLoss,
        optimizer: optax.GradientTransformation,
        kind: str,
        every: int,
        key: Array,
        start: Callable[[], PreparedPoints],
    ):
        super().__init__(loss, optimizer)
        self.points, self.kind, self.every = loss, kind, every
        self.key, self.start = key, start

    def init(self, params: Any) -> State:
        """Returns the state before the first step."""
        state = AdaptiveState(self.optimizer.init(params), self.start().interior)
        return State(params, state, jnp.int32(0))

    def step(self, state: State, prepared: PreparedPoints) -> tuple[State, Rows]:
        """Takes one step, on renewed points if it is their turn."""
        held: AdaptiveState = state.optimizer
        key = jax.random.fold_in(self.key, state.step)
        turn = (state.step % self.every == 0) & (state.step > 0)
        points = lax.cond(
            turn,
            lambda p: adapted(self.points, self.kind, state.params, p, key),
            lambda p: p,
            held.points,
        )
        inner = State(state.params, held.optimizer, state.step)
        after, rows = super().step(inner, prepared._replace(interior=points))
        return after._replace(optimizer=AdaptiveState(after.optimizer, points)), rows
