"""Causal weights: a time counts once what comes before it is solved.

Source: S. Wang, S. Sankaran and P. Perdikaris, "Respecting causality is all you need
for training physics-informed neural networks", 2022: the weights of `weights`, the
tolerances and the threshold of its algorithm. Decisions: the loss of the initial
conditions stands for the time before the first, as in the algorithm there; boundary
conditions are not weighted; after the last tolerance training goes on unless `stop`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from pinns.conditions import Initial
from pinns.domain import positive_number, real_number
from pinns.losses import GridLoss, Prepared
from pinns.problem import Problem
from pinns.slabs import Reduction
from pinns.weighting.scheme import Scheme, Weighed


def weights(
    losses: Float[Array, " n"],
    times: Float[Array, " n"],
    epsilon: float | Float[Array, ""],
    initial: float | Float[Array, ""] = 0.0,
) -> Float[Array, " n"]:
    """Returns `w_i = exp(-epsilon (L_0 + sum of L_k over all t_k < t_i))`.

    Args:
        losses: (n,), the residual's mean square at every time.
        times: (n,), in any order.
        epsilon: the tolerance.
        initial: `L_0`, loss of the initial conditions.

    Example:
        >>> import jax.numpy as jnp
        >>> losses = jnp.array([0.5, 2.0, 1.0])
        >>> found = weights(losses, jnp.array([0.2, 0.1, 0.0]), epsilon=1.0)
        >>> jnp.allclose(found, jnp.exp(-jnp.array([3.0, 1.0, 0.0])))
        Array(True, dtype=bool)
    """
    order = jnp.argsort(times)
    ordered = losses[order]
    earlier = jnp.concatenate([jnp.zeros_like(ordered[:1]), jnp.cumsum(ordered)[:-1]])
    found = jnp.exp(-epsilon * (initial + earlier))
    return jnp.zeros_like(found).at[order].set(found)


def profile(
    loss: GridLoss, prepared: Prepared, axis: int
) -> tuple[Reduction, Float[Array, " n"]]:
    """Returns what reduces an equation to its mean squares along an axis.

    The second is the weight of every point of that axis in a mean over it.
    """
    plan = loss.plans[0]
    own = plan.own_weights(prepared.weights)
    if own is None:
        own = [jnp.full(n, 1.0 / n, loss.dtype) for n in plan.shape]
    others = [jnp.ones_like(w) if i == axis else w for i, w in enumerate(own)]

    def function(values, rows):
        square = sum((v**2 for v in values[1:]), start=values[0] ** 2)
        factors = [rows, *others[1:]]
        for i in reversed(range(len(factors))):
            if i != axis:
                square = jnp.tensordot(square, factors[i], axes=(i, 0))
        return square

    return Reduction(function, others[0]), own[axis]


def time_axis(problem: Problem) -> str | None:
    """Returns the axis of the initial conditions, None without or with several."""
    axes = {c.axis for c in problem.conditions if isinstance(c, Initial)}
    return axes.pop() if len(axes) == 1 else None


@dataclass(frozen=True)
class Causal(Scheme):
    """Weights along the time axis of the residual, see `weights`.

    Args:
        epsilon: one tolerance, or ascending ones: the next is taken when all weights
            exceed `threshold`.
        threshold: see `epsilon`.
        stop: end training when all weights exceed the threshold at the last tolerance.
        axis: name of the axis that the weights run along, for problems without a time;
            by default that of the `Initial` conditions.

    Raises:
        ValueError: a tolerance that is not positive, tolerances that do not ascend, a
            threshold outside (0, 1). TypeError: `stop` is not True or False, `axis` no
            name.
    """

    epsilon: float | tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)
    threshold: float = 0.99
    stop: bool = False
    axis: str | None = None

    name: ClassVar[str] = "causal"

    def __post_init__(self):
        owner = "pinns.weighting.Causal"
        if isinstance(self.epsilon, list):
            object.__setattr__(self, "epsilon", tuple(self.epsilon))
        values = [positive_number(e, owner, "epsilon") for e in self.tolerances]
        if not values or any(a >= b for a, b in pairwise(values)):
            raise ValueError(
                f"{owner}: `epsilon` must ascend from one tolerance to the next, got "
                f"{self.epsilon!r}"
            )
        number = real_number(self.threshold)
        if number is None or not 0.0 < number < 1.0:
            raise ValueError(
                f"{owner}: `threshold` must be a number between 0 and 1, got "
                f"{self.threshold!r}"
            )
        if not isinstance(self.stop, bool):
            raise TypeError(f"{owner}: `stop` must be True or False, got {self.stop!r}")
        if self.axis is not None and not isinstance(self.axis, str):
            raise TypeError(
                f"{owner}: `axis` must be the name of an axis or None, "
                f"got {self.axis!r}"
            )

    @property
    def tolerances(self) -> tuple[float, ...]:
        """The values of `epsilon`."""
        return self.epsilon if isinstance(self.epsilon, tuple) else (self.epsilon,)

    def check(self, owner: str, problem: Problem, redraw_every: int | None) -> None:
        """Raises ValueError for a problem that no `Initial` gives a time axis."""
        del redraw_every
        if self.axis is not None:
            problem.box.axis(self.axis, owner=f"{owner}: `axis` of weighting='causal'")
        elif time_axis(problem) is None:
            titles = [c.group(problem.box) for c in problem.conditions]
            raise ValueError(
                f"{owner}: weighting='causal' needs pinns.Initial conditions on one "
                f"axis, which is then the time, got {', '.join(titles) or 'none'}"
            )

    def init(self, problem, counts, *, pointwise, dtype) -> Int[Array, ""]:
        """Returns 0, the number of tolerances that are done."""
        return jnp.int32(0)

    def total(self, loss, params, trained, prepared, state, key) -> Weighed:
        del trained, key
        problem = loss.problem
        axis = problem.box.axis(self.axis or time_axis(problem))
        reduction, shares = profile(loss, prepared, axis)
        count = problem.equations  # their terms come first
        reductions = dict.fromkeys(range(count), reduction)
        values = loss.mean_squares(params, prepared, reductions)
        lines = [
            slabs.reshape(-1) if axis == 0 else jnp.sum(slabs, axis=0)
            for slabs in values[:count]
        ]
        line = sum(lines[1:], start=lines[0])
        weight = loss.plans[0].term.weight
        tolerances = jnp.asarray(self.tolerances, loss.dtype)
        last = len(self.tolerances) - 1
        found = lax.stop_gradient(
            weights(
                weight * line,
                prepared.coordinates[axis],
                tolerances[jnp.minimum(state, last)],
                _initial(loss, values),
            )
        )
        rest = values[count:]
        weighed = [jnp.vdot(shares * found, own) for own in lines]
        total, _ = loss.by_group([*weighed, *rest])
        _, means = loss.by_group([*(jnp.vdot(shares, own) for own in lines), *rest])
        after = state + (jnp.min(found) > self.threshold)
        after = jnp.minimum(after, last + 1).astype(jnp.int32)
        return Weighed(jnp.sum(total), lax.stop_gradient(means), after)

    def finished(self, state: Any) -> Bool[Array, ""]:
        return jnp.bool_(self.stop) & (state >= len(self.tolerances))


def _initial(loss: GridLoss, values: list[Array]) -> Array:
    """Returns the weighted loss of the initial conditions."""
    box = loss.problem.box
    names = {c.group(box) for c in loss.problem.conditions if isinstance(c, Initial)}
    total = jnp.zeros((), loss.dtype)
    for plan, value in zip(loss.plans, values, strict=False):
        if plan.term.group in names:
            total = total + plan.term.weight * value
    return total
