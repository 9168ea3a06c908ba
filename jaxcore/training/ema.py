"""Exponential moving average of parameters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcore.training._values import number


@dataclass(frozen=True)
class Ema:
    """Average `e <- d e + (1 - d) p` after each step, from the first parameters on.

    Args:
        decay: `d`, in [0, 1).
        of: the field, attribute or entry of the state that holds the parameters.

    Raises:
        TypeError: a decay that is no number, or `of` that is no name.
        ValueError: a decay outside [0, 1).

    Example:
        >>> Ema(0.99)
        Ema(decay=0.99, of='params')
    """

    decay: float
    of: str = "params"

    def __post_init__(self):
        owner, decay = "jaxcore.training.Ema", number(self.decay)
        if decay is None:
            raise TypeError(
                f"{owner}: `decay` must be a number in [0, 1), got {self.decay!r}"
            )
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"{owner}: `decay` must be in [0, 1), got {self.decay}")
        if not isinstance(self.of, str):
            raise TypeError(
                f"{owner}: `of` must be the name of a part of the state, got "
                f"{self.of!r}"
            )
        object.__setattr__(self, "decay", decay)

    def of_state(self, state: Any) -> Any:
        """Returns the parameters in a state."""
        if isinstance(state, dict) and self.of in state:
            return state[self.of]
        if not isinstance(state, dict) and hasattr(state, self.of):
            return getattr(state, self.of)
        raise ValueError(
            f"jaxcore.training.fit: `ema` averages state.{self.of} or "
            f"state[{self.of!r}], got a state that is a {type(state).__name__} without "
            "it; name another with ema=Ema(decay, of=...)"
        )

    def update(self, average: Any, params: Any) -> Any:
        """Returns the average after one more step."""

        def mix(e, p):
            if not jnp.issubdtype(p.dtype, jnp.inexact):
                return p
            return e + (1.0 - self.decay) * (p - e)

        return jax.tree.map(mix, average, params)

    def into_state(self, state: Any, average: Any) -> Any:
        """Returns the state with the average in place of its parameters."""
        if isinstance(state, dict):
            return {**state, self.of: average}
        if hasattr(state, "_replace"):
            return state._replace(**{self.of: average})
        return dataclasses.replace(state, **{self.of: average})
