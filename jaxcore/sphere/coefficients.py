"""Clebsch-Gordan and Gaunt coefficients, exact in integers until the last square root.

`C^{l1 l2 l3}` is the coupling tensor of real irreducible representations with unit
Frobenius norm, in the basis of `real_harmonics` and with the sign of e3nn. The Gaunt
coefficients are integrals of three real harmonics over the sphere,

    G^{l1 l2 l3} = s C^{l1 l2 l3},
    s = sqrt((2l1+1)(2l2+1)(2l3+1)/(4 pi)) |3j(l1 l2 l3; 0 0 0)|,

so a Gaunt product is a Clebsch-Gordan product with one fixed number per path, zero for
paths with odd `l1 + l2 + l3`.
"""

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from math import comb, factorial
from typing import SupportsIndex

import numpy as np
from jaxtyping import Float64

from jaxcore.sphere._checks import check_degree, check_order, frozen


MODULE = "jaxcore.sphere"
SIGNS = tuple(itertools.product((1, -1), repeat=3))


def wigner_3j_squared(
    l1: SupportsIndex,
    l2: SupportsIndex,
    l3: SupportsIndex,
    m1: SupportsIndex,
    m2: SupportsIndex,
    m3: SupportsIndex,
) -> Fraction:
    """Return the square of a Wigner 3j symbol with the sign of the symbol, exactly.

    With the integer `N = sum_t (-1)^t binom(l1+l2-l3, t) binom(l1-l2+l3, l1-m1-t)
    binom(-l1+l2+l3, l2+m2-t)` the square is `N^2 prod_i (l_i+m_i)! (l_i-m_i)! /
    ((l1+l2+l3+1)! (l1+l2-l3)! (l1-l2+l3)! (-l1+l2+l3)!)`.

    Args:
      l1: first degree, an integer of at least 0.
      l2: second degree.
      l3: third degree.
      m1: first order, any integer.
      m2: second order.
      m3: third order.

    Returns:
      A fraction; zero where a selection rule is violated.

    Raises:
      ValueError: if a degree is negative or an argument is no integer.

    Example:
      >>> from jaxcore import sphere
      >>> sphere.wigner_3j_squared(1, 1, 2, 0, 0, 0)
      Fraction(2, 15)

    Racah, Phys. Rev. 62 (1942), equation 16, with factorials gathered in binomials.
    """
    where = f"{MODULE}.wigner_3j_squared"
    degrees = _degrees(where, l1, l2, l3)
    orders = [
        check_order(where, name, m) for name, m in (("m1", m1), ("m2", m2), ("m3", m3))
    ]
    return Fraction(*_wigner_3j_squared(*degrees, *orders))


def clebsch_gordan(
    l1: SupportsIndex, l2: SupportsIndex, l3: SupportsIndex
) -> Float64[np.ndarray, "i j k"]:
    """Return the real coupling tensor of unit Frobenius norm.

    Args:
      l1: first degree, an integer of at least 0.
      l2: second degree.
      l3: third degree.

    Returns:
      `(2 l1 + 1, 2 l2 + 1, 2 l3 + 1)` float64, read-only; zeros unless
      `|l1 - l2| <= l3 <= l1 + l2`. Every entry is the square root of a fraction.

    Raises:
      ValueError: if a degree is no integer of at least 0.

    Example:
      >>> from jaxcore import sphere
      >>> sphere.clebsch_gordan(1, 1, 0)[..., 0].round(4).tolist()
      [[0.5774, 0.0, 0.0], [0.0, 0.5774, 0.0], [0.0, 0.0, 0.5774]]
    """
    return _clebsch_gordan(*_degrees(f"{MODULE}.clebsch_gordan", l1, l2, l3))


def gaunt_coefficients(
    l1: SupportsIndex, l2: SupportsIndex, l3: SupportsIndex
) -> Float64[np.ndarray, "i j k"]:
    """Return the integrals of all products of three harmonics of the given degrees.

    Args:
      l1: first degree, an integer of at least 0.
      l2: second degree.
      l3: third degree.

    Returns:
      `(2 l1 + 1, 2 l2 + 1, 2 l3 + 1)` float64, entry `[l1+m1, l2+m2, l3+m3]` the
      integral of `Y_{l1 m1} Y_{l2 m2} Y_{l3 m3}`; zeros if `l1 + l2 + l3` is odd.

    Raises:
      ValueError: if a degree is no integer of at least 0.

    Example:
      >>> from jaxcore import sphere
      >>> float(sphere.gaunt_coefficients(1, 1, 2)[1, 1, 2].round(6))
      0.252313
    """
    degrees = _degrees(f"{MODULE}.gaunt_coefficients", l1, l2, l3)
    return _gaunt_scale(*degrees) * _clebsch_gordan(*degrees)


def gaunt_scales(
    degree_x: SupportsIndex, degree_y: SupportsIndex, degree_out: SupportsIndex
) -> Float64[np.ndarray, "i j k"]:
    """Return what a Gaunt product multiplies each Clebsch-Gordan path with.

    `sqrt((2l1+1)(2l2+1)(2l3+1)/(4 pi)) |3j(l1 l2 l3; 0 0 0)|`.

    Args:
      degree_x: highest `l1`.
      degree_y: highest `l2`.
      degree_out: highest `l3`.

    Returns:
      `(degree_x + 1, degree_y + 1, degree_out + 1)` float64, entry `[l1, l2, l3]`.

    Raises:
      ValueError: if a degree is no integer of at least 0.

    Example:
      >>> from jaxcore import sphere
      >>> sphere.gaunt_scales(1, 1, 1).round(4).tolist()
      [[[0.2821, 0.0], [0.0, 0.4886]], [[0.0, 0.4886], [0.4886, 0.0]]]
    """
    degrees = _triple(f"{MODULE}.gaunt_scales", degree_x, degree_y, degree_out)
    return _table(_gaunt_scale, degrees)


def vector_gaunt_scales(
    degree_x: SupportsIndex, degree_y: SupportsIndex, degree_out: SupportsIndex
) -> Float64[np.ndarray, "i j k"]:
    """Return what `vector_gaunt_product` multiplies each Clebsch-Gordan path with.

    `(-1)^((l1+l2+l3+1)/2) sqrt(l1(l1+1) l2(l2+1) (2l1+1)(2l2+1)(2l3+1)/(4 pi))
    3j(l1 l2 l3; 1 -1 0)` for odd `l1 + l2 + l3`; zero for even sums.

    Args:
      degree_x: highest `l1`.
      degree_y: highest `l2`.
      degree_out: highest `l3`.

    Returns:
      `(degree_x + 1, degree_y + 1, degree_out + 1)` float64, entry `[l1, l2, l3]`.

    Raises:
      ValueError: if a degree is no integer of at least 0.

    Example:
      >>> from jaxcore import sphere
      >>> float(sphere.vector_gaunt_scales(1, 1, 1)[1, 1, 1].round(4))
      1.1968
    """
    where = f"{MODULE}.vector_gaunt_scales"
    return _table(_vector_scale, _triple(where, degree_x, degree_y, degree_out))


@lru_cache(maxsize=64)
def gaunt_tensor(
    degree_x: int, degree_y: int, degree_out: int
) -> Float64[np.ndarray, "x y z"]:
    """Return all Gaunt coefficients between packed coefficient vectors."""
    shape = [(degree + 1) ** 2 for degree in (degree_x, degree_y, degree_out)]
    out = np.zeros(shape)
    for l1, l2, l3 in _paths(degree_x, degree_y, degree_out):
        if (l1 + l2 + l3) % 2 == 0:
            block = tuple(slice(l * l, (l + 1) ** 2) for l in (l1, l2, l3))
            out[block] = _gaunt_scale(l1, l2, l3) * _clebsch_gordan(l1, l2, l3)
    return frozen(out)


def _paths(
    degree_x: int, degree_y: int, degree_out: int
) -> Iterator[tuple[int, int, int]]:
    for l1 in range(degree_x + 1):
        for l2 in range(degree_y + 1):
            for l3 in range(abs(l1 - l2), min(l1 + l2, degree_out) + 1):
                yield l1, l2, l3


def _degrees(where: str, l1, l2, l3) -> tuple[int, int, int]:
    return (
        check_degree(where, "l1", l1),
        check_degree(where, "l2", l2),
        check_degree(where, "l3", l3),
    )


def _triple(where: str, degree_x, degree_y, degree_out) -> tuple[int, int, int]:
    return (
        check_degree(where, "degree_x", degree_x),
        check_degree(where, "degree_y", degree_y),
        check_degree(where, "degree_out", degree_out),
    )


def _table(scale, degrees: tuple[int, int, int]) -> np.ndarray:
    out = np.zeros([degree + 1 for degree in degrees])
    for path in _paths(*degrees):
        out[path] = scale(*path)
    return out


@lru_cache(maxsize=2**17)
def _wigner_3j_squared(
    l1: int, l2: int, l3: int, m1: int, m2: int, m3: int
) -> tuple[int, int]:
    """Return numerator, with the sign of the symbol, and denominator."""
    inside = abs(m1) <= l1 and abs(m2) <= l2 and abs(m3) <= l3
    if m1 + m2 + m3 or not inside or not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0, 1
    a, b, c = l1 + l2 - l3, l1 - l2 + l3, -l1 + l2 + l3
    first = max(0, l1 - m1 - b, l2 + m2 - c)
    last = min(a, l1 - m1, l2 + m2)
    terms = (
        (-1) ** t * comb(a, t) * comb(b, l1 - m1 - t) * comb(c, l2 + m2 - t)
        for t in range(first, last + 1)
    )
    total = sum(terms)
    pairs = ((l1, m1), (l2, m2), (l3, m3))
    above = math.prod(factorial(l + m) * factorial(l - m) for l, m in pairs)
    below = math.prod(map(factorial, (l1 + l2 + l3 + 1, a, b, c)))
    sign = -1 if ((l1 - l2 - m3) % 2 == 1) == (total > 0) else 1
    return sign * total * total * above, below


@lru_cache(maxsize=4096)
def _clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    out = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    if abs(l1 - l2) <= l3 <= l1 + l2:
        for m1 in range(-l1, l1 + 1):
            for m2 in range(-l2, l2 + 1):
                p, q = abs(m1), abs(m2)
                for r in {p + q, abs(p - q)}:
                    if r <= l3:
                        for m3 in {r, -r}:
                            value = _real_entry((l1, l2, l3), (m1, m2, m3))
                            out[l1 + m1, l2 + m2, l3 + m3] = value
    return frozen(out)


def _real_entry(degrees: tuple[int, int, int], orders: tuple[int, int, int]) -> float:
    """Return one entry of the real coupling tensor.

    A real harmonic is `sum_s i^{k_s} Y_l^{s|m|} / sqrt2` over the signs `s` of its
    order (one term, without the root, for `m = 0`), so an entry is a sum of at most two
    different 3j symbols of equal size with powers of `i`: exact until the root.
    """
    l1, l2, l3 = degrees
    # (-i)^(l1+l2+l3) makes the tensor of the 3j symbols real, with the sign of e3nn.
    common = -(l1 + l2 + l3)
    total, above, below = 0, 0, 1
    for terms in _signed(*map(abs, orders)):
        above, below = _wigner_3j_squared(*degrees, *terms)
        if above:
            powers = sum(map(_power_of_i, orders, terms))
            total += (1, 0, -1, 0)[(common + powers + (2 if above < 0 else 0)) % 4]
    halves = sum(m != 0 for m in orders)
    square = total * total * abs(above) / (below << halves)
    return math.copysign(math.sqrt(square), total)


@lru_cache(maxsize=2**12)
def _signed(p: int, q: int, r: int) -> tuple[tuple[int, int, int], ...]:
    """Return the different triples of signed orders that sum to zero, at most two."""
    signed = {(s * p, t * q, u * r) for s, t, u in SIGNS}
    return tuple(sorted(triple for triple in signed if sum(triple) == 0))


def _power_of_i(m: int, term: int) -> int:
    """Return k in `i^k`, the factor of `Y_l^term` in the real harmonic of order m."""
    if m == 0:
        return 0
    odd = 2 * (m % 2) if term > 0 else 0
    if m > 0:
        return odd
    return odd + (3 if term > 0 else 1)


@lru_cache(maxsize=2**15)
def _gaunt_scale(l1: int, l2: int, l3: int) -> float:
    above, below = _wigner_3j_squared(l1, l2, l3, 0, 0, 0)
    size = (2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1)
    return math.sqrt(size * abs(above) / below / (4 * math.pi))


@lru_cache(maxsize=2**15)
def _vector_scale(l1: int, l2: int, l3: int) -> float:
    if (l1 + l2 + l3) % 2 == 0 or l1 == 0 or l2 == 0:
        return 0.0
    above, below = _wigner_3j_squared(l1, l2, l3, 1, -1, 0)
    size = l1 * (l1 + 1) * l2 * (l2 + 1) * (2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1)
    sign = (-1) ** ((l1 + l2 + l3 + 1) // 2) * (1 if above > 0 else -1)
    return sign * math.sqrt(size * abs(above) / below / (4 * math.pi))
