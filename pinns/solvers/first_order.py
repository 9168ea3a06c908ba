"""What a solver is, and the first-order one: steps of any optax transformation.

A solver is a pair of pure functions: `init(params) -> State` and
`step(state, prepared) -> (State, Rows)`. `as_task` makes it one for
`jaxcore.training.fit`, which scans, watches and keeps the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jaxcore.training import Task


Loss = Callable[[Any, Any], tuple[Array, Array]]


class State(NamedTuple):
    """params and optimizer: pytrees. step: steps taken."""

    params: Any
    optimizer: Any
    step: Int[Array, ""]


class Rows(NamedTuple):
    """Of a step: total loss, group losses."""

    total: Float[Array, ""]
    groups: Float[Array, " g"]


class Solver(Protocol):
    """What all solvers have."""

    def init(self, params: Any) -> State:
        """Returns the state before the first step."""

    def step(self, state: State, prepared: Any) -> tuple[State, Rows]:
        """Takes one step and returns its losses."""

    def converged(self, state: State) -> bool | Bool[Array, ""]:
        """Says if further steps would change nothing; False if that never is so."""

    def rows(self, state: State) -> Rows:
        """Returns the losses of a state that has converged."""


def advance(solver: Solver, state: State, prepared: Any) -> tuple[State, Rows]:
    """Takes one step, or none if the solver has converged; jit-able, to be scanned.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from jax import lax
        >>> solver = FirstOrder(lambda x, _: (x**2, x[None] ** 2), optax.sgd(0.25))
        >>> state, rows = lax.scan(
        ...     lambda state, _: advance(solver, state, None),
        ...     solver.init(jnp.float32(1.0)),
        ...     length=3,
        ... )
        >>> print(state.params, rows.total)
        0.125 [1.     0.25   0.0625]
    """

    converged = solver.converged(state)
    if converged is False:
        return solver.step(state, prepared)
    return lax.cond(
        converged,
        lambda state, _: (state, solver.rows(state)),
        solver.step,
        *(state, prepared),
    )


def as_task(solver: Solver, groups: Sequence[str]) -> Task:
    """Returns the task of a solver for `jaxcore.training.fit`, to be given a state.

    Batches are what the loss has prepared; the metrics are `loss` and, for every group
    of terms, `loss/<group>`.

    Args:
        groups: names of the group losses.
    """

    def init(key: Array) -> State:
        raise TypeError("pinns: the task of a solver needs `state=solver.init(params)`")

    def step(state: State, prepared: Any, key: Array):
        del key
        after, rows = advance(solver, state, prepared)
        parts = {f"loss/{name}": rows.groups[i] for i, name in enumerate(groups)}
        return after, {"loss": rows.total, **parts}

    return Task(init, step)


class FirstOrder:
    """Gradient steps.

    Args:
        loss: `(params, prepared) -> (total, groups)`.
        optimizer: any optax transformation.
    """

    def __init__(self, loss: Loss, optimizer: optax.GradientTransformation):
        self.loss = loss
        self.optimizer = optax.with_extra_args_support(optimizer)
        self._gradient = jax.value_and_grad(loss, has_aux=True)

    def init(self, params: Any) -> State:
        """Returns the state before the first step."""
        return State(params, self.optimizer.init(params), jnp.int32(0))

    def converged(self, state: State) -> bool:
        """Says no: these steps have no end of their own."""
        del state
        return False

    def step(self, state: State, prepared: Any) -> tuple[State, Rows]:
        """Takes one step and returns its losses."""
        (total, groups), gradient = self._gradient(state.params, prepared)
        # Line searches (optax.lbfgs) ask for these; other transformations ignore them.
        updates, optimizer = self.optimizer.update(
            gradient,
            state.optimizer,
            state.params,
            value=total,
            grad=gradient,
            value_fn=lambda params: self.loss(params, prepared)[0],
        )
        params = optax.apply_updates(state.params, updates)
        after = State(params, optimizer, state.step + 1)
        return after, Rows(total, groups)
