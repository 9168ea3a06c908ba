"""Self-adaptive weights: trained against the parameters, by gradient ascent.

Source: L. McClenny and U. Braga-Neto, "Self-adaptive physics-informed neural networks",
2023: the saddle point min over parameters, max over weights of
`sum_terms mean(m(l) r^2)` with the mask `m(l) = l^power`. Decisions: one weight per
point for a pointwise network, as there; for a separable model one per point of every
axis, which multiply, so that `n^d` weights are never held. Weights start at one, where
the loss is the plain one, and ascend with an Adam of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from pinns.domain import positive_integer, positive_number
from pinns.losses import GridLoss, Prepared
from pinns.problem import Problem
from pinns.slabs import Reduction, weighted_sum
from pinns.weighting.scheme import Scheme, Weighed


class SelfAdaptiveState(NamedTuple):
    """Weights and the state of their Adam.

    terms: per term a tuple of weights, one array (n_i,) per axis, or one array of the
    points' shape. data: (N,) per `Data` condition.
    """

    terms: tuple[tuple[Array, ...], ...]
    data: tuple[Array, ...]
    optimizer: Any


def init(
    problem: Problem, counts: tuple[int, ...], *, pointwise: bool, dtype="float32"
) -> tuple[tuple[tuple[Array, ...], ...], tuple[Array, ...]]:
    """Returns weights of one for every term, and for every `Data` condition."""
    terms = []
    for term in problem.terms:
        shape = tuple(
            {"interior": n, "ends": 2}.get(s, 1)
            for n, s in zip(counts, term.selectors, strict=True)
        )
        sizes: Any = (shape,) if pointwise else shape
        terms.append(tuple(jnp.ones(size, dtype) for size in sizes))
    data = tuple(jnp.ones(len(c.points), dtype) for _, c in problem.data)
    return tuple(terms), data


def update(
    weights: Any, slope: Any, optimizer_state: Any, learning_rate: float
) -> tuple[Any, Any]:
    """Returns weights and Adam's state after one step of ascent along `slope`."""
    downhill = jax.tree.map(jnp.negative, slope)
    optimizer = optax.adam(learning_rate)
    steps, after = optimizer.update(downhill, optimizer_state)
    return optax.apply_updates(weights, steps), after


def reduction(
    loss: GridLoss, prepared: Prepared, index: int, masks: tuple[Array, ...]
) -> Reduction:
    """Returns what reduces a term to (its mean square, its masked mean square).

    Args:
        masks: one array per axis, or one of the points' shape.
    """
    plan = loss.plans[index]
    own = plan.own_weights(prepared.weights)
    if own is None:
        own = [jnp.full(n, 1.0 / n, loss.dtype) for n in plan.shape]
    if loss.model.pointwise:
        rows, others = (own[0], own[0]), (own[1:], own[1:])
    else:
        both = [w * m for w, m in zip(own, masks, strict=True)]
        rows, others = (own[0], both[0]), (own[1:], both[1:])

    def function(values, rows):
        square = sum((v**2 for v in values[1:]), start=values[0] ** 2)
        masked = square * masks[0] if loss.model.pointwise else square
        plain = weighted_sum(square, [rows[0], *others[0]])
        return jnp.stack([plain, weighted_sum(masked, [rows[1], *others[1]])])

    return Reduction(function, rows)


@dataclass(frozen=True)
class SelfAdaptive(Scheme):
    """Weights of points that grow where the residual stays.

    Args:
        learning_rate: of the weights' Adam.
        power: of the mask `l^power`.

    Raises:
        ValueError: a rate that is not positive, a power that is no positive integer.
    """

    learning_rate: float = 5e-3
    power: int = 2

    name: ClassVar[str] = "self_adaptive"
    batch_faces: ClassVar[bool] = False

    def __post_init__(self):
        owner = "pinns.weighting.SelfAdaptive"
        positive_number(self.learning_rate, owner, "learning_rate")
        positive_integer(self.power, owner, "power")

    def check(self, owner: str, problem: Problem, redraw_every: int | None) -> None:
        """Raises ValueError for points that change, to which no weight can belong."""
        if redraw_every is not None:
            raise ValueError(
                f"{owner}: weighting='self_adaptive' has a weight for every point, and "
                f"`redraw_every` must be None, got {redraw_every!r}"
            )

    def init(self, problem, counts, *, pointwise, dtype) -> SelfAdaptiveState:
        weights = init(problem, counts, pointwise=pointwise, dtype=dtype)
        return SelfAdaptiveState(*weights, optax.adam(self.learning_rate).init(weights))

    def trained(self, state: SelfAdaptiveState):
        return state.terms, state.data

    def total(self, loss, params, trained, prepared, state, key) -> Weighed:
        del key
        terms, data = jax.tree.map(lambda w: w**self.power, trained)
        reductions = {
            i: reduction(loss, prepared, i, masks) for i, masks in enumerate(terms)
        }
        values = loss.mean_squares(params, prepared, reductions)
        count = len(loss.plans)
        pairs = [jnp.sum(v, axis=0) for v in values[:count]]
        errors = [loss.data_errors(params, i) ** 2 for i in range(len(data))]
        masked = [pair[1] for pair in pairs]
        masked += [jnp.mean(m * e) for m, e in zip(data, errors, strict=True)]
        shares, _ = loss.by_group(masked)
        _, means = loss.by_group([*(pair[0] for pair in pairs), *values[count:]])
        return Weighed(jnp.sum(shares), lax.stop_gradient(means), state)

    def ascend(self, state: SelfAdaptiveState, slope: Any) -> SelfAdaptiveState:
        (terms, data), optimizer = update(
            (state.terms, state.data), slope, state.optimizer, self.learning_rate
        )
        return SelfAdaptiveState(terms, data, optimizer)
