"""Quadrature rules on an interval, as NumPy float64 constants.

Every rule returns `(nodes, weights)`: nodes in ascending order and weights with
`sum(weights) = b - a`, so that `sum(weights * f(nodes))` approximates the integral of
`f` over `[a, b]`. Rules are built once per set of arguments and shared; the arrays are
read-only. Cast them to the dtype of the computation.
"""

import math
import operator
from functools import lru_cache
from typing import SupportsIndex

import numpy as np
from jaxtyping import Float64


Number = int | float
Rule = tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]


def gauss_legendre(n: SupportsIndex, a: Number = -1.0, b: Number = 1.0) -> Rule:
    """Return Gauss-Legendre nodes and weights, exact for polynomials to degree 2n - 1.

    Args:
      n: number of nodes, positive.
      a: left end of the interval.
      b: right end, larger than `a`.

    Returns:
      Nodes inside `(a, b)` and weights, both `(n,)` float64 and read-only.

    Raises:
      ValueError: if `n` is not a positive integer or the interval is empty or infinite.

    Example:
      >>> from jaxcore import sampling
      >>> nodes, weights = sampling.gauss_legendre(3, 0.0, 2.0)
      >>> float(round(weights @ nodes**5, 12))  # 2^6 / 6
      10.666666666667
    """
    return _gauss_legendre(*_checked("gauss_legendre", n, a, b, smallest=1))


def chebyshev(n: SupportsIndex, a: Number = -1.0, b: Number = 1.0) -> Rule:
    """Return Chebyshev-Gauss-Lobatto points with Clenshaw-Curtis weights.

    The points are `(a + b) / 2 - (b - a) / 2 * cos(pi k / (n - 1))`, ends included; the
    weights integrate the interpolating polynomial, so they are exact to degree n - 1.

    Waldvogel, Fast construction of the Fejer and Clenshaw-Curtis quadrature rules,
    BIT 46 (2006), equation 2.4.

    Args:
      n: number of points, at least 2.
      a: left end of the interval.
      b: right end, larger than `a`.

    Returns:
      Points from `a` to `b` and weights, both `(n,)` float64 and read-only.

    Raises:
      ValueError: if `n` is not an integer of at least 2 or the interval is empty or
        infinite.

    Example:
      >>> from jaxcore import sampling
      >>> nodes, weights = sampling.chebyshev(3)
      >>> nodes.tolist(), weights.round(12).tolist()
      ([-1.0, 0.0, 1.0], [0.333333333333, 1.333333333333, 0.333333333333])
    """
    return _chebyshev(*_checked("chebyshev", n, a, b, smallest=2))


def equispaced(n: SupportsIndex, a: Number = -1.0, b: Number = 1.0) -> Rule:
    """Return equally spaced points, ends included, with trapezoid weights.

    Args:
      n: number of points, at least 2.
      a: left end of the interval.
      b: right end, larger than `a`.

    Returns:
      Points from `a` to `b` and weights, both `(n,)` float64 and read-only.

    Raises:
      ValueError: if `n` is not an integer of at least 2 or the interval is empty or
        infinite.

    Example:
      >>> from jaxcore import sampling
      >>> nodes, weights = sampling.equispaced(3, 0.0, 1.0)
      >>> nodes.tolist(), weights.tolist()
      ([0.0, 0.5, 1.0], [0.25, 0.5, 0.25])
    """
    return _equispaced(*_checked("equispaced", n, a, b, smallest=2))


def _checked(
    name: str, n: SupportsIndex, a: Number, b: Number, *, smallest: int
) -> tuple[int, float, float]:
    """Return plain Python numbers, which are also the keys of the caches."""
    where = f"jaxcore.sampling.{name}"
    try:
        size = operator.index(n)
    except TypeError:
        size = 0
    if size < smallest:
        raise ValueError(
            f"{where}: `n` must be an integer of at least {smallest}, got {n!r}"
        )
    if not (math.isfinite(a) and math.isfinite(b) and a < b):
        raise ValueError(
            f"{where}: `a` and `b` must be finite with a < b, got a={a!r}, b={b!r}"
        )
    return size, float(a), float(b)


@lru_cache(maxsize=256)
def _gauss_legendre(n: int, a: float, b: float) -> Rule:
    x, w = np.polynomial.legendre.leggauss(n)
    return _frozen(a + (b - a) * (x + 1) / 2, w, b - a)


@lru_cache(maxsize=256)
def _chebyshev(n: int, a: float, b: float) -> Rule:
    # sin of a symmetric argument makes the points exactly antisymmetric.
    x = np.sin(np.pi * np.arange(1 - n, n, 2) / (2 * (n - 1)))
    nodes = a + (b - a) * (x + 1) / 2
    nodes[0], nodes[-1] = a, b
    degree = np.arange(0, n, 2)
    # Integral of the cosine series with the ends (and, for even degree n - 1, the last
    # coefficient) halved.
    moments = 2.0 / (1.0 - degree**2)
    moments[0] /= 2
    if n % 2:
        moments[-1] /= 2
    angles = np.pi * np.outer(np.arange(n), degree) / (n - 1)
    w = 2 / (n - 1) * (np.cos(angles) @ moments)
    w[[0, -1]] /= 2
    return _frozen(nodes, w, b - a)


@lru_cache(maxsize=256)
def _equispaced(n: int, a: float, b: float) -> Rule:
    w = np.ones(n)
    w[[0, -1]] /= 2
    return _frozen(np.linspace(a, b, n), w, b - a)


def _frozen(nodes: np.ndarray, weights: np.ndarray, length: float) -> Rule:
    weights = weights * (length / np.sum(weights))
    nodes.flags.writeable = False
    weights.flags.writeable = False
    return nodes, weights
