"""The pointwise networks that separable models are compared with.

A recipe is a problem, a model and options for `pinns.solve`: all run on the same
`Problem` objects and the same points, so a comparison differs in what its name says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pinns.baselines.gradient_enhanced import gradient_enhanced
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.weighting import Causal, Scheme, SelfAdaptive


class Recipe(NamedTuple):
    """What to solve, with what, and keyword arguments of `pinns.solve`.

    Example:
        >>> import jax, pinns
        >>> recipe = vanilla(pinns.problems.poisson(dimension=1), MLP(hidden=(4,)))
        >>> solution = pinns.solve(
        ...     recipe.problem,
        ...     recipe.model,
        ...     key=jax.random.key(0),
        ...     points=4,
        ...     steps=2,
        ...     **recipe.options,
        ... )
        >>> solution.step
        2
    """

    problem: Problem
    model: MLP
    options: dict[str, Any]


def vanilla(problem: Problem, model: MLP | None = None) -> Recipe:
    """Returns the ordinary physics-informed network of Raissi et al. (2019)."""
    return _recipe("vanilla", problem, model)


def g_pinn(
    problem: Problem, model: MLP | None = None, *, weight: float = 0.01
) -> Recipe:
    """Returns the gradient-enhanced network, see `gradient_enhanced`."""
    return _recipe("g_pinn", gradient_enhanced(problem, weight), model)


def sa_pinn(
    problem: Problem, model: MLP | None = None, *, weighting: SelfAdaptive | None = None
) -> Recipe:
    """Returns the network with a trained weight per point, see `SelfAdaptive`."""
    return _recipe("sa_pinn", problem, model, weighting or SelfAdaptive())


def causal_pinn(
    problem: Problem, model: MLP | None = None, *, weighting: Causal | None = None
) -> Recipe:
    """Returns the network with weights along the time axis, see `Causal`.

    Raises:
        ValueError: no initial condition says which axis is the time.
    """
    scheme = weighting or Causal()
    scheme.check("pinns.baselines.causal_pinn", problem, None)
    return _recipe("causal_pinn", problem, model, scheme)


BASELINES: dict[str, Callable[..., Recipe]] = {
    f.__name__: f for f in (vanilla, g_pinn, sa_pinn, causal_pinn)
}


def _recipe(
    name: str, problem: Problem, model: MLP | None, weighting: Scheme | None = None
) -> Recipe:
    if model is not None and not isinstance(model, MLP):
        raise TypeError(
            f"pinns.baselines.{name}: `model` must be a pinns.MLP, got {model!r}"
        )
    options: dict[str, Any] = {"method": "adam"}
    if weighting is not None:
        options["weighting"] = weighting
    return Recipe(problem, MLP() if model is None else model, options)
