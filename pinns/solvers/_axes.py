"""Fixed one-dimensional bases in NumPy: derivatives, orthonormal functions, conditions.

An `Axis` holds the span of a basis (times the envelope of hard conditions) through
functions that are orthonormal under Gauss-Legendre quadrature, ordered from smooth to
oscillating, `psi = phi T`. The values agree with `pinns.factors`, which evaluates the
solution later; they are computed here because these arrays are small and compiling
them costs more than all the rest of a direct solve.

`eliminate` splits the span by linear conditions `E c = g`: `c = P g + N w` with
`E P = 1`, `E N = 0`. The columns of N are orthonormal and graded (column i uses few
functions beyond the i-th), which keeps the rounding errors of the low ones small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcore.sampling import quadrature


# Combinations of random features smaller than this, relative to the largest, are left
# out: their second derivatives are dominated by rounding errors.
CUTOFF = 1e-9
# A condition that depends on the others up to this much is dropped.
DEPENDENT = 1e-10
NO_ENVELOPE = (0.0, 0.0, 0.0)


def basis_jets(
    kind: str,
    s: np.ndarray,
    count: int,
    order: int,
    waves: Any = None,
) -> np.ndarray:
    """Returns derivatives 0 to `order` of the basis functions, (order + 1, n, count).

    Args:
        kind: `chebyshev`, `legendre`, `fourier` or `random_features`.
        s: (n,) points in [-1, 1].
        count: number of functions.
        order: highest derivative, by s.
        waves: frequencies and phases of random features, (count,) each.
    """
    if kind in ("chebyshev", "legendre"):
        return _polynomial_jets(kind, s, count, order)
    if kind == "fourier":
        number = np.arange(count)
        frequencies = np.pi * ((number + 1) // 2)
        phases = np.where(number % 2, np.pi / 2, 0.0)
        phases[0] = np.pi / 2
    else:
        frequencies, phases = waves
    angle = s[:, None] * frequencies + phases
    return np.stack(
        [frequencies**j * np.sin(angle + j * np.pi / 2) for j in range(order + 1)]
    )


def _polynomial_jets(kind: str, s: np.ndarray, count: int, order: int) -> np.ndarray:
    """Differentiates p_{k+1} = a_k s p_k + b_k p_{k-1} as often as asked."""
    out = np.zeros((order + 1, count + 1, len(s)))
    out[0, 0] = 1.0
    out[0, 1] = s
    if order:
        out[1, 1] = 1.0
    for k in range(1, count):
        chebyshev = kind == "chebyshev"
        a, b = (2.0, -1.0) if chebyshev else ((2 * k + 1) / (k + 1), -k / (k + 1))
        for j in range(order + 1):
            lower = j * out[j - 1, k] if j else 0.0
            out[j, k + 1] = a * (s * out[j, k] + lower) + b * out[j, k - 1]
    return out[:, :count].transpose(0, 2, 1)


def envelope_jets(unit: np.ndarray, flags: Sequence[float], order: int) -> np.ndarray:
    """Returns derivatives of the envelope of `pinns.factors`, (order + 1, n).

    Args:
        unit: (n,) points in [0, 1]. flags: (3,) which factors s, s, 1 - s are there.
        order: highest derivative, by the unit coordinate.
    """
    polynomial = np.polynomial.Polynomial([1.0 + 3.0 * flags[0] * flags[2]])
    for flag, factor in zip(flags, ([0, 1], [0, 1], [1, -1]), strict=True):
        if flag:
            polynomial = polynomial * np.polynomial.Polynomial(factor)
    return np.stack([polynomial.deriv(j)(unit) for j in range(order + 1)])


def stretch_jets(s: np.ndarray, stretch: tuple[float, float], order: int) -> np.ndarray:
    """Returns derivatives 0 to `order` of `pinns.factors.stretched`, (order + 1, n).

    Those of `asinh(z)` from the first on follow from
    `(1 + z^2) f^(n+1) + (2 n + 1) z f^(n) + n^2 f^(n-1) = 0` with its derivative f.
    """
    center, sharpness = stretch
    low, high = np.arcsinh(sharpness * (np.array([-1.0, 1.0]) - center))
    z = sharpness * (s - center)
    found = [np.arcsinh(z), 1.0 / np.sqrt(1.0 + z**2)]
    for n in range(order - 1):
        before = n**2 * found[-2] if n else 0.0
        found.append(-((2 * n + 1) * z * found[-1] + before) / (1.0 + z**2))
    scale = 2.0 / (high - low)
    jets = scale * np.stack(found[: order + 1])
    jets[0] -= scale * low + 1.0
    return jets * sharpness ** np.arange(order + 1)[:, None]


def composed(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Returns derivatives of f(g(s)) from those of f at g and of g at s.

    Args:
        outer: (order + 1, n, count). inner: (order + 1, n).
    """
    order = len(inner) - 1
    factorials = np.array([math.factorial(j) for j in range(order + 1)], float)
    change = inner / factorials[:, None]
    change[0] = 0.0
    power = np.zeros_like(inner)
    power[0] = 1.0
    out = np.zeros_like(outer)
    for j in range(order + 1):
        out += outer[j] / factorials[j] * power[:, :, None]
        power = np.stack(
            [
                sum(change[i] * power[m - i] for i in range(m + 1))
                for m in range(order + 1)
            ]
        )
    return out * factorials[:, None, None]


@dataclass(frozen=True)
class Axis:
    """The trial functions of one axis.

    kind, count: of the basis. interval: ends. flags: of the envelope. waves: of random
    features. nodes, weights: quadrature, the weights add up to one. transform: T,
    (count, r). tests: (r, n) analysis by the orthonormal functions without envelope,
    quadrature weights included. stretch: center and sharpness of a layer that
    polynomials crowd in, see `stretch_jets`.
    """

    kind: str
    count: int
    interval: tuple[float, float]
    flags: tuple[float, float, float]
    waves: tuple[np.ndarray, np.ndarray] | None
    nodes: np.ndarray
    weights: np.ndarray
    transform: np.ndarray
    tests: np.ndarray
    stretch: tuple[float, float] = (0.0, 0.0)

    @property
    def rank(self) -> int:
        """Number r of orthonormal functions."""
        return self.transform.shape[1]

    def jets(self, x: np.ndarray, order: int) -> np.ndarray:
        """Returns derivatives of the orthonormal functions at x, (order + 1, n, r)."""
        raw = _raw(
            self.kind,
            self.count,
            self.interval,
            self.flags,
            self.waves,
            x,
            order,
            self.stretch,
        )
        return raw @ self.transform

    def analysis(self) -> np.ndarray:
        """Returns (r, n): coefficients of the best approximation of values."""
        return (self.jets(self.nodes, 0)[0] * self.weights[:, None]).T


def make_axis(
    kind: str,
    count: int,
    interval: tuple[float, float],
    flags: Sequence[float] = (0.0, 0.0, 0.0),
    waves: Any = None,
    stretch: tuple[float, float] = (0.0, 0.0),
) -> Axis:
    """Returns the `Axis` of a basis; arguments as there."""
    flags = (float(flags[0]), float(flags[1]), float(flags[2]))
    hard = int(sum(flags))
    if kind in ("chebyshev", "legendre"):
        size = count + hard
    elif kind == "fourier":
        size = int(1.6 * count) + 12 + hard
    else:
        # Enough to integrate the products of the two fastest to rounding.
        size = int(np.abs(waves[0]).max()) + 16 + hard
    rule = _rule(size, interval, stretch)
    transform, plain = _orthonormal(kind, count, interval, flags, waves, rule, stretch)
    nodes, weights = rule
    raw = _raw(kind, count, interval, NO_ENVELOPE, waves, nodes, 0, stretch)[0]
    tests = (raw @ plain * weights[:, None]).T
    return Axis(
        kind, count, interval, flags, waves, nodes, weights, transform, tests, stretch
    )


def _rule(
    size: int, interval: tuple[float, float], stretch: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns Gauss-Legendre nodes, of the stretched coordinate where there is one."""
    a, b = interval
    center, sharpness = stretch
    if not sharpness:
        nodes, weights = quadrature.gauss_legendre(size, a, b)
        return np.asarray(nodes), np.asarray(weights) / (b - a)
    nodes, weights = map(np.asarray, quadrature.gauss_legendre(size, -1.0, 1.0))
    low, high = np.arcsinh(sharpness * (np.array([-1.0, 1.0]) - center))
    angle = low + 0.5 * (high - low) * (nodes + 1.0)
    s = center + np.sinh(angle) / sharpness
    weights = weights * np.cosh(angle)
    return a + 0.5 * (b - a) * (s + 1.0), weights / weights.sum()


def _raw(kind, count, interval, flags, waves, x, order, stretch) -> np.ndarray:
    a, b = interval
    scale = 2.0 / (b - a)
    s = scale * (x - a) - 1.0
    if stretch[1]:
        inner = stretch_jets(s, stretch, order)
        jets = composed(basis_jets(kind, inner[0], count, order, waves), inner)
    else:
        jets = basis_jets(kind, s, count, order, waves)
    jets = jets * scale ** np.arange(order + 1)[:, None, None]
    if not any(flags):
        return jets
    unit = (x - a) / (b - a)
    envelope = envelope_jets(unit, flags, order)
    envelope = envelope / (b - a) ** np.arange(order + 1)[:, None]
    out = np.zeros_like(jets)
    for j in range(order + 1):
        for i in range(j + 1):
            out[j] += math.comb(j, i) * envelope[i][:, None] * jets[j - i]
    return out


def _orthonormal(kind, count, interval, flags, waves, rule, stretch):
    """Returns the transforms with and without the envelope."""
    nodes, weights = rule
    root = np.sqrt(weights)[:, None]
    transforms = []
    for own in (flags, NO_ENVELOPE):
        values = root * _raw(kind, count, interval, own, waves, nodes, 0, stretch)[0]
        if kind == "random_features":
            _, s, vt = np.linalg.svd(values, full_matrices=False)
            keep = s > CUTOFF * s[0]
            transforms.append(vt[keep].T / s[keep])
        else:
            transforms.append(np.linalg.inv(np.linalg.qr(values)[1]))
    rank = min(t.shape[1] for t in transforms)
    return transforms[0][:, :rank], transforms[1][:, :rank]


@dataclass(frozen=True)
class Constraint:
    """What `eliminate` returns.

    mix: (b', b) combines the given rows into independent ones, rows: (b', r) those.
    lift: P, (r, b'). null: N, (r, r - b').
    """

    mix: np.ndarray
    rows: np.ndarray
    lift: np.ndarray
    null: np.ndarray


def eliminate(rows: np.ndarray, sizes: np.ndarray) -> Constraint:
    """Returns the split of a span of r functions by conditions `rows @ c = g`.

    Args:
        rows: (b, r).
        sizes: (b,) magnitude of the parts each row was added up from; a row that is
            rounding noise compared with it is dropped.
    """
    b, r = rows.shape
    scaled = rows / sizes[:, None]
    u, s, _ = np.linalg.svd(scaled, full_matrices=False) if b else (rows, sizes, None)
    keep = s > DEPENDENT
    mix = (u[:, keep].T / sizes) if b else np.zeros((0, 0))
    rows = mix @ rows
    b = rows.shape[0]
    pivots = _pivots(rows)
    others = np.setdiff1d(np.arange(r), pivots)
    inverse = np.linalg.inv(rows[:, pivots])
    raw = np.zeros((r, r - b))
    raw[others, np.arange(r - b)] = 1.0
    raw[pivots] = -inverse @ rows[:, others]
    lift = np.zeros((r, b))
    lift[pivots] = inverse
    return Constraint(mix, rows, lift, np.linalg.qr(raw)[0] if r > b else raw)


def _pivots(rows: np.ndarray) -> np.ndarray:
    """Returns the first columns that are well independent, as many as rows."""
    b, r = rows.shape
    chosen: list[int] = []
    for threshold in (0.1, 1e-3, 1e-8, 0.0):
        chosen = []
        left = rows.copy()
        for j in range(r):
            size = np.linalg.norm(left[:, j])
            if len(chosen) < b and size > threshold * np.linalg.norm(rows[:, j]):
                direction = left[:, j] / size
                left = left - np.outer(direction, direction @ left)
                chosen.append(j)
        if len(chosen) == b:
            break
    return np.asarray(chosen, int)
