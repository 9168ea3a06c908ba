"""Weights of loss terms and points that adapt while training, for `pinns.solve`."""

from pinns.weighting.causal import Causal
from pinns.weighting.choice import SCHEMES
from pinns.weighting.gradient_norm import GradientNorm
from pinns.weighting.ntk import NTK
from pinns.weighting.relobralo import Relobralo
from pinns.weighting.scheme import Scheme
from pinns.weighting.self_adaptive import SelfAdaptive


__all__ = [
    "SelfAdaptive",
    "Causal",
    "GradientNorm",
    "NTK",
    "Relobralo",
    "Scheme",
    "SCHEMES",
]
