"""Systems by name: `list_systems`, `create`, `recipe`.

A system is one line of `SYSTEMS`: its name and the module of its recipe, which is
imported when the system is asked for and holds a `SYSTEM` (see `jaxvision.system`).
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from flax import nnx

from jaxcore.training import Task
from jaxvision.layers.parameters import count_parameters
from jaxvision.system import System


SYSTEMS: dict[str, str] = {
    "beta_sigma_vae": "jaxvision.recipes.beta_sigma_vae",
    "hinge_rlc_gan": "jaxvision.recipes.hinge_rlc_gan",
    "fedrewind": "jaxvision.recipes.fedrewind",
    "lung_ssfnet": "jaxvision.recipes.lung_ssfnet",
    "ripeness_vit": "jaxvision.recipes.ripeness_vit",
}


class SystemInfo(NamedTuple):
    """A row of `list_systems`; `parameters` are those of the paper's network."""

    name: str
    paper: str
    task: str
    parameters: int
    status: str


def list_systems() -> list[SystemInfo]:
    """Returns one `SystemInfo` per system, by name.

    Parameters are counted from the shapes of the network with its default options;
    nothing is allocated.

    Example:
        >>> import jaxvision
        >>> isinstance(jaxvision.list_systems(), list)
        True
    """
    rows = []
    for name in sorted(SYSTEMS):
        system = find("jaxvision.list_systems", name)
        parameters = count_parameters(partial(_build, system, system.options()))
        rows.append(
            SystemInfo(name, system.paper, system.task, parameters, system.status)
        )
    return rows


def create(name: str, *, rngs: nnx.Rngs, **options: Any) -> nnx.Module:
    """Returns the network of a system, with parameters drawn from `rngs`.

    Args:
        name: of the system, see `list_systems`.
        rngs: random keys, `nnx.Rngs(0)` or `nnx.Rngs(params=key)`.
        options: of the network; those left out are the paper's.

    Raises:
        ValueError: there is no such system, or an option has no such value.
        TypeError: the network has no such option, or `rngs` is no `nnx.Rngs`.
    """
    where = "jaxvision.create"
    system = find(where, name)
    if not isinstance(rngs, nnx.Rngs):
        raise TypeError(
            f"{where}: `rngs` must be a flax.nnx.Rngs, got {type(rngs).__name__}; "
            "write rngs=nnx.Rngs(0)"
        )
    known = [field.name for field in dataclasses.fields(system.options)]
    _check_names(f"{where}({name!r})", known, options)
    return system.build(system.options(**options), rngs=rngs)


@dataclass(frozen=True)
class Recipe:
    """How a system is trained: a preset, possibly with changes.

    Attributes:
        name: of the system. preset: what it started from.
        config: frozen dataclass of everything there is to say.
    """

    name: str
    preset: str
    config: Any

    def replace(self, **changes: Any) -> Recipe:
        """Returns the recipe with some fields of its configuration changed.

        Raises:
            TypeError: the configuration has no such field.
        """
        known = [field.name for field in dataclasses.fields(self.config)]
        _check_names(f"jaxvision.recipe({self.name!r})", known, changes)
        return dataclasses.replace(
            self, config=dataclasses.replace(self.config, **changes)
        )

    def task(self) -> Task:
        """Returns the `jaxcore.training.Task` that `fit` trains."""
        return find("jaxvision.recipe", self.name).task_of(self.config)

    def network(self, *, rngs: nnx.Rngs) -> nnx.Module:
        """Returns the network that the recipe trains, untrained."""
        return create(self.name, rngs=rngs, **_fields(self.config.network))


def recipe(name: str, *, preset: str | None = None, **changes: Any) -> Recipe:
    """Returns the recipe of a system.

    Args:
        name: of the system, see `list_systems`.
        preset: named after the row of the paper's table; default: the system's first.
        changes: fields of the configuration that differ from the preset.

    Raises:
        ValueError: there is no such system or preset, or a field has no such value.
        TypeError: the configuration has no such field.
    """
    where = "jaxvision.recipe"
    system = find(where, name)
    chosen = next(iter(system.presets)) if preset is None else preset
    if chosen not in system.presets:
        raise ValueError(
            f"{where}({name!r}): `preset` must be one of "
            f"{_listed(system.presets)}, got {chosen!r}{_hint(chosen, system.presets)}"
        )
    return Recipe(name, chosen, system.presets[chosen]).replace(**changes)


def find(where: str, name: str) -> System:
    """Returns the `System` of this name; `where` is the function that asks.

    Raises:
        ValueError: there is none.
    """
    if name not in SYSTEMS:
        raise ValueError(
            f"{where}: `name` must be one of {_listed(SYSTEMS)}, got {name!r}"
            f"{_hint(name, SYSTEMS)}"
        )
    return importlib.import_module(SYSTEMS[name]).SYSTEM


def _build(system: System, options: Any) -> nnx.Module:
    return system.build(options, rngs=nnx.Rngs(0))


def _check_names(where: str, known: list[str], given: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise TypeError(
                f"{where}: options must be among {_listed(known)}, got {name!r}"
                f"{_hint(name, known)}"
            )


def _fields(config: Any) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none: no system is here yet"


def _hint(name: object, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
