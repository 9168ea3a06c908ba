"""Points on intervals and in boxes: quadrature rules, random and adaptive designs."""

from jaxcore.sampling.adaptive import r3 as r3
from jaxcore.sampling.adaptive import r3_kept as r3_kept
from jaxcore.sampling.adaptive import rad as rad
from jaxcore.sampling.adaptive import rad_probabilities as rad_probabilities
from jaxcore.sampling.quadrature import chebyshev as chebyshev
from jaxcore.sampling.quadrature import equispaced as equispaced
from jaxcore.sampling.quadrature import gauss_legendre as gauss_legendre
from jaxcore.sampling.random import stratified as stratified
from jaxcore.sampling.random import uniform as uniform
from jaxcore.sampling.scattered import halton as halton
from jaxcore.sampling.scattered import latin_hypercube as latin_hypercube
from jaxcore.sampling.scattered import sobol as sobol
from jaxcore.sampling.scattered import uniform_points as uniform_points


__all__ = [
    "gauss_legendre",
    "chebyshev",
    "equispaced",
    "uniform",
    "stratified",
    "uniform_points",
    "latin_hypercube",
    "sobol",
    "halton",
    "rad",
    "rad_probabilities",
    "r3",
    "r3_kept",
]
