"""Points on an interval: quadrature rules and random designs."""

from jaxcore.sampling.quadrature import chebyshev as chebyshev
from jaxcore.sampling.quadrature import equispaced as equispaced
from jaxcore.sampling.quadrature import gauss_legendre as gauss_legendre
from jaxcore.sampling.random import stratified as stratified
from jaxcore.sampling.random import uniform as uniform


__all__ = ["gauss_legendre", "chebyshev", "equispaced", "uniform", "stratified"]
