"""`resume(solution, steps) -> Solution`: goes on where a solution ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from pinns.scattered import SCATTERED
from pinns.settings import ITERATIVE, LearningRate
from pinns.solution import Solution
from pinns.solve import solve
from pinns.solvers.adaptive import AdaptiveState
from pinns.solvers.weighted import WeightedState
from pinns.weighting.choice import restored


def resume(
    solution: Solution,
    steps: int,
    *,
    key: Array | None = None,
    points: int | Sequence[int] | Mapping[str, int] | None = None,
    sampling: str | Mapping[str, str] | None = None,
    redraw_every: int | None = None,
    learning_rate: LearningRate | None = None,
    optimizer: optax.GradientTransformation | None = None,
    seconds: float | None = None,
    progress: bool | None = None,
    throw: bool = True,
) -> Solution:
    """Returns the solution after further steps of the same run.

    Parameters, optimizer state, key, points and learning rate are those of the
    solution, so that `n` steps of Adam and then `m` more end where `n + m` would have.
    The other methods go on from the parameters and learn the curvature anew. The given
    solution is left as it is.

    Args:
        solution: from `pinns.solve` or `pinns.load`.
        steps: number of further steps.
        key, points, sampling, redraw_every, learning_rate: in place of what was used
            so far; see `pinns.solve`.
        optimizer: needed, like a `learning_rate` that is a schedule, if the run used
            one of its own; the same one as before.
        seconds, progress, throw: see `pinns.solve`.

    Raises:
        ValueError: bad arguments, a run whose optimizer or schedule is missing, or
            an optimizer whose state differs from the one that was kept.
        NonFiniteLossError, SolveInterrupted: as `pinns.solve` does.

    Example:
        >>> import jax, pinns
        >>> problem = pinns.problems.poisson(dimension=1)
        >>> solution = pinns.solve(
        ...     problem, pinns.CP(rank=2), points=8, steps=2, key=jax.random.key(0)
        ... )
        >>> resume(solution, 3).step
        5
    """
    settings = solution.settings
    if settings["method"] not in ITERATIVE:
        raise ValueError(
            f"pinns.resume: a solution by method={settings['method']!r} has no steps "
            f"to go on with; expected one by {', '.join(ITERATIVE)}. `pinns.solve` "
            "with another `size` or `steps` solves anew"
        )
    adam = settings["method"] == "adam"
    if adam and optimizer is None and learning_rate is None:
        learning_rate = _rate(settings)
    if solution.optimizer_state is not None:
        _check_state(solution, learning_rate, optimizer)
    if sampling is None:
        names = solution.problem.box.names
        sampling = settings["sampling"][0]
        if sampling not in SCATTERED:
            sampling = dict(zip(names, settings["sampling"], strict=True))
    kept = settings["points"]
    if isinstance(sampling, str) and sampling in SCATTERED:
        kept = kept[0]
    return solve(
        solution.problem,
        solution.model,
        settings["method"],
        key=saved_key(settings) if key is None else key,
        points=kept if points is None else points,
        steps=steps,
        learning_rate=learning_rate,
        optimizer=optimizer,
        sampling=sampling,
        redraw_every=settings["redraw_every"] if redraw_every is None else redraw_every,
        seconds=seconds,
        dtype=solution.dtype,
        loss="auto" if sampling in SCATTERED else settings.get("loss", "grid"),
        weighting=restored(settings.get("weighting")),
        progress=progress,
        throw=throw,
        start=solution,
    )


def saved_key(settings: Mapping[str, Any]) -> Array:
    """Returns the random key that `Solution.settings` holds as numbers."""
    words = jnp.asarray(np.asarray(settings["key"], np.uint32))
    return jax.random.wrap_key_data(words, impl=settings["key_impl"])


def _rate(settings: Mapping[str, Any]) -> float:
    rate = settings["learning_rate"]
    if not isinstance(rate, (int, float)):
        raise ValueError(
            "pinns.resume: the run used an optimizer or a learning rate schedule of "
            "its own; pass the same one as `optimizer` or `learning_rate`, got None"
        )
    return rate


def _check_state(solution: Solution, learning_rate, optimizer) -> None:
    """Raises ValueError if the optimizer cannot go on from the state that was kept."""
    chosen = optax.adam(learning_rate) if optimizer is None else optimizer
    with solution.precision():
        state = jax.eval_shape(chosen.init, solution.params)
    kept = solution.optimizer_state
    wrapped = isinstance(kept, (WeightedState, AdaptiveState))
    kept = kept.optimizer if wrapped else kept
    expected, found = (str(jax.tree.structure(s)) for s in (kept, state))
    if expected != found:
        raise ValueError(
            "pinns.resume: `optimizer` (or a `learning_rate` schedule) must be of the "
            f"kind used so far, whose state is {expected}, got one with {found}"
        )
