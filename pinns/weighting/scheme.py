"""What a weighting scheme is: pure functions that the first-order solver calls.

A scheme is a hashable description with its options. Each step of the solver

1. lets it look at the parameters before the step (`refresh`),
2. differentiates its weighted loss (`total`) by the parameters, and by what the scheme
   trains itself (`trained`),
3. hands it the second gradient (`ascend`).

Group losses are those of `GridLoss.by_group`, the weights given in the problem
included: with all weights of a scheme at one the loss is the plain one.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from pinns.domain import real_number
from pinns.losses import GridLoss, Prepared
from pinns.problem import Problem


class Weighed(NamedTuple):
    """A weighted loss: its value, the groups' mean squares (g,), the state after it."""

    total: Float[Array, ""]
    groups: Float[Array, " g"]
    state: Any


@dataclasses.dataclass(frozen=True)
class Scheme:
    """What all schemes share; use one of the subclasses."""

    name: ClassVar[str] = "scheme"
    # Terms that the scheme weighs point by point are contracted by themselves.
    batch_faces: ClassVar[bool] = True

    def check(self, owner: str, problem: Problem, redraw_every: int | None) -> None:
        """Raises ValueError if the scheme does not apply."""

    def init(
        self, problem: Problem, counts: tuple[int, ...], *, pointwise: bool, dtype: str
    ) -> Any:
        """Returns the state before the first step."""
        raise NotImplementedError  # every public scheme has its own

    def refresh(
        self,
        state: Any,
        loss: GridLoss,
        params: Any,
        prepared: Prepared,
        step: Int[Array, ""],
        key: Array,
    ) -> Any:
        """Returns the state with weights made of gradients at these parameters."""
        del loss, params, prepared, step, key
        return state

    def trained(self, state: Any) -> Any:
        """Returns what `total` is differentiated by beside the parameters."""
        del state
        return ()

    def total(
        self,
        loss: GridLoss,
        params: Any,
        trained: Any,
        prepared: Prepared,
        state: Any,
        key: Array,
    ) -> Weighed:
        """Returns the weighted loss."""
        raise NotImplementedError

    def ascend(self, state: Any, slope: Any) -> Any:
        """Returns the state after a step along the gradient by `trained`."""
        del slope
        return state

    def finished(self, state: Any) -> Bool[Array, ""]:
        """Says if the scheme asks for the end of training."""
        del state
        return jnp.bool_(False)

    def describe(self) -> dict[str, Any]:
        """Returns name and options, JSON-able."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
        return {"name": self.name, **plain}


class GroupScheme(Scheme):
    """A scheme with one weight per group of terms, a constant within the step."""

    def group_weights(
        self, state: Any, losses: Float[Array, " g"], key: Array
    ) -> tuple[Float[Array, " g"], Any]:
        """Returns the weights for a step with these losses, and the state after it."""
        raise NotImplementedError

    def total(self, loss, params, trained, prepared, state, key) -> Weighed:
        del trained
        shares, means = loss.by_group(loss.mean_squares(params, prepared))
        weights, after = self.group_weights(state, lax.stop_gradient(shares), key)
        total = jnp.vdot(lax.stop_gradient(weights), shares)
        return Weighed(total, lax.stop_gradient(means), after)


def check_fraction(value: Any, owner: str, name: str) -> None:
    """Raises ValueError unless the value is a number from 0 to 1, 1 excluded."""
    number = real_number(value)
    if number is None or not 0.0 <= number < 1.0:
        raise ValueError(
            f"{owner}: `{name}` must be a number from 0 up to but not 1, got {value!r}"
        )
