"""Networks built from `jaxcore`: layers, models, losses, metrics and recipes."""

from jaxvision.registry import Recipe as Recipe
from jaxvision.registry import SystemInfo as SystemInfo
from jaxvision.registry import create as create
from jaxvision.registry import list_systems as list_systems
from jaxvision.registry import recipe as recipe


__all__ = ["list_systems", "create", "recipe", "Recipe", "SystemInfo"]
