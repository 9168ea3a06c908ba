"""Weights of networks: safetensors in and out, converters from PyTorch's names."""

from jaxvision.weights.files import Loaded as Loaded
from jaxvision.weights.files import load_weights as load_weights
from jaxvision.weights.files import save_weights as save_weights
from jaxvision.weights.files import set_weights as set_weights
from jaxvision.weights.names import SOURCES as SOURCES
from jaxvision.weights.names import foreign_names as foreign_names
from jaxvision.weights.names import named_arrays as named_arrays
from jaxvision.weights.names import to_foreign as to_foreign


__all__ = [
    "load_weights", "save_weights", "set_weights", "Loaded",
    "named_arrays", "foreign_names", "to_foreign", "SOURCES",
]  # fmt: skip
