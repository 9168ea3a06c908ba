"""Quasi-Newton training: L-BFGS, BFGS and the self-scaled Broyden family.

For deterministic losses (points drawn once, quadrature points). A step that would not
be finite is not taken. A line search after Lewis & Overton brackets a step that meets
the weak Wolfe conditions; its first trial is the full step, so that most steps cost one
evaluation of loss and gradient.

- `lbfgs`: limited memory, two-loop recursion (Nocedal & Wright 2006, algorithm 7.4).
- `bfgs`, `ssbfgs`, `ssbroyden`: a dense inverse Hessian of P^2 numbers. The
  self-scaled updates are those of Al-Baali with the parameters of Urban, Stefanou &
  Pons, "Unveiling the optimization process of physics informed neural networks",
  2024 (equations 12 to 20).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from pinns.solvers.first_order import Loss, Rows, State


KINDS = ("lbfgs", "bfgs", "ssbfgs", "ssbroyden")
# A dense inverse Hessian of so many parameters takes 200 MB in float64.
MAX_DENSE = 5_000
SUFFICIENT_DECREASE = 1e-4
CURVATURE = 0.9
MAX_TRIALS = 25
# Where values are so close that rounding hides their difference, slopes decide: the
# approximate Wolfe conditions of Hager & Zhang (2005), for values up to this much
# above the present one.
SLACK = 0.1
APPROXIMATE_DECREASE = 0.1
# Converged: so many steps in a row neither lowered the loss nor shortened the
# gradient. A search that found no step at all counts for half of them.
STALLED = 20


class Curvature(NamedTuple):
    """What a quasi-Newton method remembers.

    gradient, value, groups: at the current parameters; value is Inf before the first
    evaluation. inverse: (P, P) dense, or None. steps, changes: (m, P) for L-BFGS,
    newest last, or None. stalls: see `STALLED`.
    """

    gradient: Float[Array, " p"]
    value: Float[Array, ""]
    groups: Float[Array, " g"]
    inverse: Any
    steps: Any
    changes: Any
    stalls: Int[Array, ""]


class QuasiNewton:
    """Quasi-Newton steps.

    Args:
        loss: `(params, prepared) -> (total, groups)`.
        kind: one of `KINDS`.
        memory: pairs that L-BFGS keeps.
        groups: number of group losses.
    """

    def __init__(self, loss: Loss, kind: str, *, groups: int, memory: int = 30):
        if kind not in KINDS:
            raise ValueError(
                f"QuasiNewton: `kind` must be one of {', '.join(KINDS)}, got {kind!r}"
            )
        self.loss, self.kind = loss, kind
        self.memory, self.groups = memory, groups
        self._gradient = jax.value_and_grad(loss, has_aux=True)

    def init(self, params: Any) -> State:
        """Returns the state before the first step."""
        flat, _ = ravel_pytree(params)
        size = flat.size
        if self.kind != "lbfgs" and size > MAX_DENSE:
            raise ValueError(
                f"pinns.solve: method={self.kind!r} keeps a dense matrix and is for at "
                f"most {MAX_DENSE} parameters, got {size}; take method='lbfgs'"
            )
        dense = None if self.kind == "lbfgs" else jnp.eye(size, dtype=flat.dtype)
        pairs = None
        if self.kind == "lbfgs":
            pairs = jnp.zeros((self.memory, size), flat.dtype)
        curvature = Curvature(
            gradient=jnp.zeros_like(flat),
            value=jnp.asarray(jnp.inf, flat.dtype),
            groups=jnp.zeros(self.groups, flat.dtype),
            inverse=dense,
            steps=pairs,
            changes=pairs,
            stalls=jnp.int32(0),
        )
        return State(params, curvature, jnp.int32(0))

    def converged(self, state: State) -> Bool[Array, ""]:
        """Says if steps have ceased to lower the loss or to shorten the gradient."""
        return state.optimizer.stalls >= STALLED

    def rows(self, state: State) -> Rows:
        """Returns the losses of a state."""
        return Rows(state.optimizer.value, state.optimizer.groups)

    def step(self, state: State, prepared: Any) -> tuple[State, Rows]:
        """Takes one step; the very first only evaluates the loss."""
        old: Curvature = state.optimizer
        flat, unravel = ravel_pytree(state.params)
        fresh = jnp.isinf(old.value)
        direction = -self._apply_inverse(old)
        slope = direction @ old.gradient
        # An inverse that lost its positive definiteness starts anew.
        descent = (slope < 0.0) | fresh
        direction = jnp.where(descent, direction, -old.gradient)
        slope = jnp.where(descent, slope, -(old.gradient @ old.gradient))

        def evaluate(x):
            (total, groups), gradient = self._gradient(unravel(x), prepared)
            return total, groups, ravel_pytree(gradient)[0]

        found = _line_search(evaluate, flat, direction, slope, old, fresh)
        near = found.value <= old.value + SLACK * jnp.abs(old.value)
        moved = near & (found.length > 0.0) | fresh
        finite = jnp.isfinite(found.value) & jnp.isfinite(found.gradient @ direction)
        keep = moved & finite
        x = jnp.where(keep, flat + found.length * direction, flat)
        curvature = self._updated(old, found, direction, keep & ~fresh)
        curvature = curvature._replace(
            gradient=jnp.where(keep, found.gradient, old.gradient),
            value=jnp.where(keep, found.value, old.value),
            groups=jnp.where(keep, found.groups, old.groups),
            stalls=_stalls(old, found, keep, fresh),
        )
        curvature = _restarted(curvature, ~keep)
        # A failed search is no broken loss unless the very first value was.
        sound = jnp.where(fresh, finite, jnp.bool_(True))
        after = State(unravel(x), curvature, state.step + 1)
        rows = Rows(
            jnp.where(sound, curvature.value, found.value),
            jnp.where(sound, curvature.groups, found.groups),
        )
        return after, rows

    def _apply_inverse(self, curvature: Curvature) -> Array:
        if curvature.inverse is not None:
            return curvature.inverse @ curvature.gradient
        return _two_loops(curvature.gradient, curvature.steps, curvature.changes)

    def _updated(
        self, old: Curvature, found: _Found, direction: Array, use: Array
    ) -> Curvature:
        step = found.length * direction
        change = found.gradient - old.gradient
        curved = step @ change
        use = use & (curved > 1e-14 * jnp.linalg.norm(step) * jnp.linalg.norm(change))
        if old.inverse is None:

            def push(rows: Array, new: Array) -> Array:
                pushed = jnp.concatenate([rows[1:], new[None, :]])
                return jnp.where(use, pushed, rows)

            return old._replace(
                steps=push(old.steps, step), changes=push(old.changes, change)
            )
        bend = -found.length * (step @ old.gradient)  # s^T B s, as B s = -t g
        inverse = _broyden(self.kind, old.inverse, step, change, bend)
        # Near the rounding floor products of tiny steps and changes may underflow.
        use = use & jnp.isfinite(inverse).all()
        return old._replace(inverse=jnp.where(use, inverse, old.inverse))


def _stalls(old: Curvature, found: _Found, keep: Array, fresh: Array) -> Array:
    squared = old.gradient @ old.gradient
    shorter = found.gradient @ found.gradient < 0.9 * squared
    progress = keep & ((found.value < old.value) | shorter) | fresh
    more = jnp.where(keep, 1, STALLED // 2)
    return jnp.where(progress, 0, old.stalls + more).astype(jnp.int32)


class _Found(NamedTuple):
    """A point on the search line."""

    length: Array
    value: Array
    groups: Array
    gradient: Array


def _line_search(evaluate, flat, direction, slope, old: Curvature, fresh) -> _Found:
    """Returns a step length that meets the weak Wolfe conditions, or the best tried."""

    def body(carry):
        low, high, length, best, trials, _ = carry
        value, groups, gradient = evaluate(flat + length * direction)
        value = jnp.where(jnp.isfinite(value), value, jnp.inf)
        along = gradient @ direction
        decreased = value <= old.value + SUFFICIENT_DECREASE * length * slope
        close = value <= old.value + SLACK * jnp.abs(old.value)
        decreased |= close & (along <= (2.0 * APPROXIMATE_DECREASE - 1.0) * slope)
        flat_enough = along >= CURVATURE * slope
        here = _Found(length, value, groups, gradient)
        better = value < best.value
        best = jax.tree.map(lambda a, b: jnp.where(better, a, b), here, best)
        done = (decreased & flat_enough) | fresh
        best = jax.tree.map(lambda a, b: jnp.where(done, a, b), here, best)
        new_high = jnp.where(decreased, high, length)
        new_low = jnp.where(decreased, length, low)
        bracketed = jnp.isfinite(new_high)
        # The minimizer of the parabola through value, slope and the failed trial.
        drop = value - old.value - length * slope
        parabola = -0.5 * slope * length**2 / jnp.where(drop > 0, drop, 1.0)
        usable = (low == 0.0) & ~decreased & (drop > 0) & jnp.isfinite(value)
        middle = 0.5 * (new_low + new_high)
        inside = jnp.clip(parabola, 0.05 * new_high, 0.9 * new_high)
        shorter = jnp.where(usable, inside, middle)
        following = jnp.where(bracketed, shorter, 2.0 * new_low)
        return new_low, new_high, following, best, trials + 1, done

    def going(carry):
        return (carry[4] < MAX_TRIALS) & ~carry[5]

    one = jnp.ones_like(old.value)
    # Before anything is known of the curvature, a step of length one at most.
    size = jnp.sqrt(jnp.sum(jnp.square(direction)))
    unknown = _is_first(old)
    length = jnp.where(unknown & ~fresh, jnp.minimum(one, 1.0 / (size + 1e-30)), one)
    start = _Found(0.0 * one, old.value, old.groups, old.gradient)
    carry = (0.0 * one, jnp.inf * one, length, start, jnp.int32(0), jnp.bool_(False))
    return lax.while_loop(going, body, carry)[3]


def _is_first(curvature: Curvature) -> Array:
    if curvature.inverse is None:
        return ~jnp.any(curvature.steps)
    size = curvature.inverse.shape[0]
    return jnp.all(curvature.inverse == jnp.eye(size, dtype=curvature.inverse.dtype))


def _restarted(curvature: Curvature, failed: Array) -> Curvature:
    """Forgets the curvature after a search that found nothing."""
    if curvature.inverse is None:
        forget = lambda rows: jnp.where(failed, 0.0, rows)  # noqa: E731
        return curvature._replace(
            steps=forget(curvature.steps), changes=forget(curvature.changes)
        )
    eye = jnp.eye(curvature.inverse.shape[0], dtype=curvature.inverse.dtype)
    return curvature._replace(inverse=jnp.where(failed, eye, curvature.inverse))


def _two_loops(gradient: Array, steps: Array, changes: Array) -> Array:
    """Returns H g by the two-loop recursion; rows of zeros are pairs not yet seen."""
    curved = jnp.sum(steps * changes, axis=1)
    rho = jnp.where(curved > 0.0, 1.0 / jnp.where(curved > 0.0, curved, 1.0), 0.0)

    def back(q, pair):
        s, y, r = pair
        alpha = r * (s @ q)
        return q - alpha * y, alpha

    q, alphas = lax.scan(back, gradient, (steps, changes, rho), reverse=True)
    last = changes[-1] @ changes[-1]
    q = q * jnp.where(last > 0.0, curved[-1] / jnp.where(last > 0.0, last, 1.0), 1.0)

    def forth(q, pair):
        s, y, r, alpha = pair
        return q + s * (alpha - r * (y @ q)), None

    return lax.scan(forth, q, (steps, changes, rho, alphas))[0]


def _broyden(kind: str, inverse: Array, s: Array, y: Array, bend: Array) -> Array:
    """Returns the next inverse Hessian of the (self-scaled) Broyden family."""
    ys = y @ s
    hy = inverse @ y
    yhy = y @ hy
    v = jnp.sqrt(jnp.abs(yhy)) * (s / ys - hy / yhy)
    scale, mix = _scaling(kind, ys, yhy, bend, s.size)
    kept = inverse - jnp.outer(hy, hy) / yhy + mix * jnp.outer(v, v)
    return kept / scale + jnp.outer(s, s) / ys


def _scaling(kind: str, ys, yhy, bend, size: int):
    """Returns (tau, phi): the scaling of the old inverse and the Broyden parameter."""
    one = jnp.ones_like(ys)
    if kind == "bfgs":
        return one, one
    b = bend / ys
    tau = jnp.minimum(one, 1.0 / b)
    if kind == "ssbfgs":
        return tau, one
    h = yhy / ys
    a = jnp.maximum(h * b - 1.0, 1e-14)
    rho = jnp.minimum(1.0, h * (1.0 - jnp.sqrt(a / (a + 1.0))))
    lower, upper = (rho - 1.0) / a, 1.0 / rho
    theta = jnp.maximum(lower, jnp.minimum(upper, (1.0 - b) / b))
    sigma = 1.0 + a * theta
    power = jnp.abs(sigma) ** (-1.0 / max(size - 1, 1))
    positive = tau * jnp.minimum(power, 1.0 / jnp.where(theta > 0, theta, 1.0))
    tau = jnp.where(theta > 0, positive, jnp.minimum(tau * power, sigma))
    return tau, (1.0 - theta) / (1.0 + a * theta)
