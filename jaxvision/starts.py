"""What a training starts with: weights from a file, rows held out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array

from jaxcore.training import initial_state
from jaxvision import layers, registry
from jaxvision.system import Arrays
from jaxvision.weights import named_arrays, set_weights


def network_of(recipe: registry.Recipe, state: Any) -> nnx.Module:
    """Returns the network of a state of a recipe's task, in evaluation.

    The state is a mapping with `"params"` and `"statistics"`; inside `jax.jit` too.
    """
    graph, _, _ = layers.split(nnx.eval_shape(lambda: recipe.network(rngs=nnx.Rngs(0))))
    model = nnx.merge(graph, state["params"], state["statistics"], copy=True)
    model.eval()
    return model


def holds_network(state: Any) -> bool:
    """Whether a state is that of one network."""
    return isinstance(state, Mapping) and {"params", "statistics"} <= state.keys()


def start(
    recipe: registry.Recipe,
    weights: str | Path | None,
    *,
    key: Array,
    source: str = "jaxvision",
    partial: bool = False,
) -> Any:
    """Returns the state that `jaxcore.training.fit` takes as `state=`, or None.

    Without weights None: then `fit` draws the state itself. With weights it is the same
    draw, whose network has the arrays of the file in their places.

    Args:
        recipe: see `jaxvision.recipe`. One whose configuration says `pretrained` must
            be given weights, one that says it is not must not.
        weights: file, see `jaxvision.load_weights`.
        key: as `fit` is given.
        source: whose names the file has: `"jaxvision"`, `"torchvision"` or `"timm"`.
        partial: set what fits and warn of the rest by name, instead of raising.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: weights are missing or not asked for, do not fit, or the state of
            this system is not that of one network.
    """
    where = f"jaxvision.starts.start({recipe.name!r})"
    pretrained = getattr(recipe.config, "pretrained", None)
    if weights is None:
        if pretrained:
            raise ValueError(
                f"{where}: `weights` must be a file for a recipe with pretrained=True, "
                "got none; give one (--weights FILE --source torchvision), or take a "
                "recipe that begins from scratch"
            )
        if source != "jaxvision" or partial:
            said = "`partial`" if partial else f"`source` {source!r}"
            raise ValueError(
                f"{where}: `weights` must be a file where there is {said}, got none"
            )
        return None
    if pretrained is False:
        raise ValueError(
            f"{where}: `weights` must be left out for a recipe with pretrained=False, "
            f"got {str(weights)!r}"
        )
    task, own = recipe.task(), jax.random.fold_in(key, 0)
    shapes = jax.eval_shape(task.init, own)
    if not holds_network(shapes):
        own_field = hasattr(recipe.config, "weights")
        raise ValueError(
            f"{where}: `weights` must be for one network, got a system with a state of "
            "another form"
            + own_field
            * "; name the file in its recipe, weights='FILE' in Python and "
            "--set weights=FILE on the command line"
        )
    # First into a network of shapes: what does not fit is found before compiling.
    given = network_of(recipe, shapes)
    found = registry.find(where, recipe.name).load(
        given, weights, source=source, partial=partial
    )
    for what in ("missing", "unexpected", "mismatched", "resized"):
        if names := getattr(found, what):
            warnings.warn(f"{where}: {what}: {', '.join(names)}", stacklevel=2)
    arrays = named_arrays(given)
    state = initial_state(task, own)
    model = network_of(recipe, state)
    set_weights(model, {name: arrays[name] for name in found.loaded}, partial=True)
    _, params, statistics = layers.split(model)
    return {**state, "params": params, "statistics": statistics}


def check_arrays(where: str, recipe: registry.Recipe, arrays: Arrays) -> None:
    """Raises for arrays that a recipe does not take; the system says which these are.

    Raises:
        ValueError, TypeError: as the system says.
    """
    system = registry.find(where, recipe.name)
    if system.check is not None:
        system.check(where, recipe.config, arrays)


def divided(
    recipe: registry.Recipe, state: Any, arrays: Arrays, holdout: float, seed: int
) -> tuple[Arrays, Arrays]:
    """Returns arrays to train on and to evaluate on, as the system prepares them.

    Args:
        recipe: see `jaxvision.recipe`.
        state: of `start`.
        arrays: with equal first axes.
        holdout: share of the rows for evaluation.
        seed: of what is held out, and of what is drawn once.
    """
    system = registry.find("jaxvision.starts.divided", recipe.name)
    if system.prepare is not None:
        arrays = system.prepare(recipe.config, state, arrays)
    return system.divide(recipe.config, state, arrays, holdout, seed)
