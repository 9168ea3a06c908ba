"""First-order steps on a loss whose weights adapt."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool

from pinns.losses import GridLoss
from pinns.problem import Problem
from pinns.solvers.first_order import Rows, State
from pinns.weighting import Scheme


class WeightedState(NamedTuple):
    """optimizer: state of the optax transformation. weighting: of the scheme.

    last: losses of the last step.
    """

    optimizer: Any
    weighting: Any
    last: Rows


def no_rows(problem: Problem, dtype: Any) -> Rows:
    """Returns the rows before the first step."""
    return Rows(jnp.zeros((), dtype), jnp.zeros(len(problem.groups), dtype))


class WeightedFirstOrder:
    """Gradient steps of any optax transformation under a weighting scheme.

    Args:
        loss: on the grid.
        optimizer: any optax transformation, for the parameters.
        scheme: one of `pinns.weighting`.
        key: of what is random in the scheme; folded with the step.
    """

    def __init__(
        self,
        loss: GridLoss,
        optimizer: optax.GradientTransformation,
        scheme: Scheme,
        key: Array,
    ):
        self.loss, self.scheme, self.key = loss, scheme, key
        self.optimizer = optax.with_extra_args_support(optimizer)

    def init(self, params: Any) -> State:
        """Returns the state before the first step."""
        weighting = self.scheme.init(
            self.loss.problem,
            self.loss.counts,
            pointwise=self.loss.model.pointwise,
            dtype=self.loss.dtype.name,
        )
        none = no_rows(self.loss.problem, self.loss.dtype)
        optimizer = WeightedState(self.optimizer.init(params), weighting, none)
        return State(params, optimizer, jnp.int32(0))

    def converged(self, state: State) -> Bool[Array, ""]:
        """Says if the scheme asks for an end; the steps have none of their own."""
        return self.scheme.finished(state.optimizer.weighting)

    def rows(self, state: State) -> Rows:
        """Returns the losses of the last step."""
        return state.optimizer.last

    def step(self, state: State, prepared: Any) -> tuple[State, Rows]:
        """Takes one step; the total it returns is the weighted loss."""
        scheme, params = self.scheme, state.params
        looking, drawing = jax.random.split(jax.random.fold_in(self.key, state.step))
        held = scheme.refresh(
            state.optimizer.weighting, self.loss, params, prepared, state.step, looking
        )
        trained = scheme.trained(held)

        def total(params, trained):
            found = scheme.total(self.loss, params, trained, prepared, held, drawing)
            return found.total, found

        gradients = jax.value_and_grad(total, (0, 1), has_aux=True)
        (value, found), (gradient, slope) = gradients(params, trained)
        updates, optimizer = self.optimizer.update(
            gradient,
            state.optimizer.optimizer,
            params,
            value=value,
            grad=gradient,
            value_fn=lambda params: total(params, trained)[0],
        )
        weighting = scheme.ascend(found.state, slope)
        rows = Rows(value, found.groups)
        after = State(
            optax.apply_updates(params, updates),
            WeightedState(optimizer, weighting, rows),
            state.step + 1,
        )
        return after, rows
