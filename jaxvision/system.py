"""What a system hands to the registry: a `System` named `SYSTEM` in its recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flax import nnx

from jaxcore.training import Task


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
