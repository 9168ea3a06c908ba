"""First-order training: blocks of optax steps inside one `lax.scan`.

`FirstOrder` is pure: a state goes in, a state and one row of losses per step come
out. A step whose loss or gradient is not finite leaves the parameters as they were
and stops all later steps, so the last good parameters survive inside the scan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int


Loss = Callable[[Any, Any], tuple[Array, Array]]


class State(NamedTuple):
    """params and optimizer: pytrees. step: steps taken. finite: nothing broke yet."""

    params: Any
    optimizer: Any
    step: Int[Array, ""]
    finite: Bool[Array, ""]


class Rows(NamedTuple):
    """Per scanned step: was it `taken`, total loss, group losses, gradient norm."""

    taken: Bool[Array, " s"]
    total: Float[Array, " s"]
    groups: Float[Array, "s g"]
    gradient_norm: Float[Array, " s"]


class FirstOrder:
    """Blocks of gradient steps.

    Args:
        loss: `(params, prepared) -> (total, groups)`.
        optimizer: any optax transformation.
        block: steps scanned in one call of `run`.
    """

    def __init__(self, loss: Loss, optimizer: optax.GradientTransformation, block: int):
        self.loss, self.block = loss, block
        self.optimizer = optax.with_extra_args_support(optimizer)
        self._gradient = jax.value_and_grad(loss, has_aux=True)

    def init(self, params: Any) -> State:
        """Returns the state before the first step."""
        return State(params, self.optimizer.init(params), jnp.int32(0), jnp.bool_(True))

    def run(
        self, state: State, prepared: Any, until: Int[Array, ""]
    ) -> tuple[State, Rows]:
        """Steps until `state.step == until`, at most `block` times; jit-able."""

        def body(state, _):
            active = state.finite & (state.step < until)
            return lax.cond(active, self.step, self._skip, state, prepared)

        return lax.scan(body, state, length=self.block)

    def step(self, state: State, prepared: Any) -> tuple[State, Rows]:
        """Takes one step and returns its losses."""
        (total, groups), gradient = self._gradient(state.params, prepared)
        norm = optax.tree.norm(gradient)
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
        finite = jnp.isfinite(total) & jnp.isfinite(norm)
        keep = lambda new, old: jax.tree.map(  # noqa: E731
            lambda a, b: jnp.where(finite, a, b), new, old
        )
        after = State(
            keep(params, state.params),
            keep(optimizer, state.optimizer),
            state.step + finite.astype(state.step.dtype),
            finite,
        )
        return after, Rows(jnp.bool_(True), total, groups, norm)

    def _skip(self, state: State, prepared: Any) -> tuple[State, Rows]:
        struct = jax.eval_shape(self.step, state, prepared)[1]
        rows = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), struct)
        return state, rows
