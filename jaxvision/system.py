"""What a system hands to the registry: a `System` named `SYSTEM` in its recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxcore.training import Batches, Task
from jaxvision import weights


Arrays = Mapping[str, np.ndarray]


def random_rows(
    recipe: Any, state: Any, arrays: Arrays, holdout: float, seed: int
) -> tuple[Arrays, Arrays]:
    """Returns rows to train on, and a share of them at random to evaluate on."""
    del recipe, state
    total = len(next(iter(arrays.values())))
    order = np.random.default_rng([seed, 1]).permutation(total)
    held = round(holdout * total)
    first, second = np.sort(order[held:]), np.sort(order[:held])
    return (
        {name: np.asarray(values)[first] for name, values in arrays.items()},
        {name: np.asarray(values)[second] for name, values in arrays.items()},
    )


@dataclass(frozen=True)
class System:
    """One system: its paper, its network, its recipes.

    Attributes:
        paper: title, authors or venue, year.
        task: what it does to images, in one or two words.
        status: what is shown of it here, in one sentence.
        options: frozen dataclass of the network's options; its defaults are the
            network of the paper.
        build: `(options, *, rngs) -> network`.
        presets: recipes by name, frozen dataclasses; the first is the default. A
            recipe has a field `network`, an instance of `options`.
        task_of: `recipe -> Task`.
        inputs: `options -> arguments` of the network for one image, as shapes.
        paper_figures: what the paper reports, by what it is.
        read: `(recipe, path, *, split, damaged) -> arrays` of a folder or file of the
            user's, for the command line, both options as for
            `jaxvision.data.read_images`; None where there is no such reader.
        splits: which parts of data that are published in parts (see
            `jaxvision.data.splits_of`) are trained on and evaluated on; None where
            `read` takes no such data.
        apply: `(recipe, network, *inputs) -> outputs`, what a trained network is used
            for, with the preparation of the inputs; by default the network alone.
        load: `(network, path, *, source, partial) -> weights.Loaded`, how a network
            starts from a file of weights.
        check: `(where, recipe, arrays)`, raises ValueError or TypeError, with `where`
            before it, for arrays that the recipe does not take; called before anything
            is compiled.
        check_options: `(where, recipe, options)`, raises ValueError so for options of
            `jaxcore.training.fit` that a step cannot carry out; called then too.
        prepare: `(recipe, state, arrays) -> arrays` before rows are held out, `state`
            that of the start, or None without weights.
        divide: `(recipe, state, arrays, holdout, seed) -> (shown, hidden)`, arrays to
            train on and to evaluate on; by default rows at random.
        summarize: `(recipe, metrics) -> metrics`, what is computed from the means that
            an evaluation found: numbers, lists, or text.
        batches: `(recipe, arrays, seed) -> (batches, evaluate_on)` of
            `jaxcore.training.fit`, where a step takes something else than shuffled rows
            of the arrays; then the recipe says what is held out.
        figures: what comes out here, by the names of `paper_figures`, where it is the
            same quantity; text, or a function that finds it.
    """

    paper: str
    task: str
    status: str
    options: type
    build: Callable[..., nnx.Module]
    presets: Mapping[str, Any]
    task_of: Callable[[Any], Task]
    inputs: Callable[[Any], tuple[Any, ...]]
    paper_figures: Mapping[str, str]
    read: Callable[..., dict[str, np.ndarray]] | None = None
    splits: tuple[str, str] | None = None
    apply: Callable[..., Any] | None = None
    load: Callable[..., weights.Loaded] = weights.load_weights
    check: Callable[[str, Any, Arrays], None] | None = None
    check_options: Callable[[str, Any, Mapping[str, Any]], None] | None = None
    prepare: Callable[[Any, Any, Arrays], Arrays] | None = None
    divide: Callable[..., tuple[Arrays, Arrays]] = random_rows
    summarize: Callable[[Any, dict[str, Any]], dict[str, Any]] | None = None
    batches: Callable[[Any, Any, int], tuple[Batches, Batches]] | None = None
    figures: Mapping[str, str | Callable[[], str]] = field(default_factory=dict)

    def predict(self, recipe: Any, network: nnx.Module, *inputs: Any) -> Any:
        """Returns what a trained network makes of inputs."""
        if self.apply is None:
            return network(*inputs)
        return self.apply(recipe, network, *inputs)

    def inputs_of(self, recipe: Any) -> tuple[Any, ...]:
        """Returns the inputs for one image, of the size that a recipe trains on."""
        shapes = self.inputs(recipe.network)
        side = getattr(recipe, "image_size", None)
        if side is None:
            return shapes
        image, *others = shapes
        sized = (image.shape[0], side, side, *image.shape[3:])
        return (jax.ShapeDtypeStruct(sized, image.dtype), *others)
