"""Networks built from `jaxcore`: layers, models, losses, metrics and recipes."""

from jaxvision.registry import Recipe as Recipe
from jaxvision.registry import SystemInfo as SystemInfo
from jaxvision.registry import create as create
from jaxvision.registry import list_systems as list_systems
from jaxvision.registry import recipe as recipe
from jaxvision.weights import load_weights as load_weights
from jaxvision.weights import save_weights as save_weights
from jaxvision.weights import set_weights as set_weights


__all__ = [
    "list_systems", "create", "recipe", "Recipe", "SystemInfo",
    "load_weights", "save_weights", "set_weights",
]  # fmt: skip
