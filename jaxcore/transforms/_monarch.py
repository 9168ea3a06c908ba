"""Stages of the four-step (Monarch) Fourier transform as real matrix products.

A signal of length `N = N_1 ... N_d` is an array of `d` axes. One stage transforms one
axis by a dense matrix, a twiddle product follows, and the frequencies come out with
their digits in the order of the axes, so that nothing is permuted:

    k = k_1 + N_1 (k_2 + N_2 (k_3 + ...)).

Complex numbers are kept as two planes of real numbers on their own axis, in front of
the digits, because matrix units multiply real numbers; real signals then need half of
the first stage, and real results half of the last. `quarter` moves all frequencies by
quarters of one step: with -1, products of spectra wrap around with the factor `i`.
"""

import math
from functools import lru_cache
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxcore.transforms._fast_checks import lift


LARGEST_FACTOR = 2048
BALANCED = 256


class Plan(NamedTuple):
    """What a transform is made of; hashable, so that its constants are cached.

    Attributes:
      factors: the lengths of the axes, `N_1, ..., N_d`.
      quarter: shift of the frequencies in quarters, 0 or -1.
      rows: values of the first digit that are computed; None for all.
      columns: values of the last digit that are computed, where there are several
        digits; None for all.
      precision: of the matrix products.
    """

    factors: tuple[int, ...]
    quarter: int = 0
    rows: tuple[int, ...] | None = None
    columns: tuple[int, ...] | None = None
    precision: jax.lax.Precision = jax.lax.Precision.HIGHEST

    @property
    def length(self) -> int:
        """Number of points."""
        return prod(self.factors)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the spectrum, without the axis of the two planes."""
        kept = list(self.factors)
        if self.columns is not None:
            kept[-1] = len(self.columns)
        if self.rows is not None:
            kept[0] = len(self.rows)
        return tuple(kept)


@lru_cache(maxsize=1024)
def balanced_factors(n: int, order: int | None = None) -> tuple[int, ...] | None:
    """Return at most `order` factors of `n`, or None if one would be too large.

    Without `order`: two, or as many more as bring all of them to 256 or below. Large
    ones come first.
    """
    if order is None:
        found = [balanced_factors(n, order) for order in range(2, 7)]
        fitting = [factors for factors in found if factors is not None]
        small = [factors for factors in fitting if factors[0] <= BALANCED]
        return next(iter(small or fitting), None)
    factors, rest = [], n
    for left in range(order, 1, -1):
        target = rest ** (1 / left)
        divisors = [d for d in range(1, min(rest, LARGEST_FACTOR) + 1) if rest % d == 0]
        factors.append(min(divisors, key=lambda d: abs(math.log(d / target))))
        rest //= factors[-1]
    above_one = sorted((f for f in (*factors, rest) if f > 1), reverse=True)
    largest_first = tuple(above_one) or (1,)
    return largest_first if largest_first[0] <= LARGEST_FACTOR else None


def half_rows(n: int) -> tuple[int, ...]:
    """Return the first digits that determine the spectrum of a real signal."""
    return tuple(range(n // 2 + 1))


def analyze(x: Array, plan: Plan) -> Array:
    """Return the spectrum `(..., 2, k_1, ..., k_d)` of a real signal `(..., m)`.

    The signal continues with zeros to `m = N`; rows that hold only zeros are skipped.
    """
    first, rest = plan.factors[0], plan.length // plan.factors[0]
    used = min(first, -(-x.shape[-1] // rest))
    missing = used * rest - x.shape[-1]
    if missing:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
    x = x.reshape(*x.shape[:-1], used, rest)
    matrix = _constant(_planes(_first(plan)[:, :used]), x.dtype)
    return _later_stages(_einsum("akn,...nq->...akq", matrix, x, plan), plan)


def analyze_complex(planes: Array, plan: Plan) -> Array:
    """Return the spectrum `(..., 2, k_1, ..., k_d)` of planes `(..., 2, N)`."""
    first = plan.factors[0]
    planes = planes.reshape(*planes.shape[:-1], first, plan.length // first)
    matrix = _constant(_blocks(_first(plan)), planes.dtype)
    return _later_stages(_einsum("abkn,...bnq->...akq", matrix, planes, plan), plan)


def synthesize(planes: Array, plan: Plan, length: int, *, hermitian: bool) -> Array:
    """Return the real part, `(..., length)`, of the inverse transform.

    With `hermitian` the plan holds the rows up to `N_1 / 2` of a spectrum with
    `Y[-k] = conj(Y[k])`, and the missing rows are counted by doubling these.
    """
    planes = _earlier_stages(planes, plan)
    used = -(-length // (plan.length // plan.factors[0]))
    matrix = _first(plan)[:, :used] * _row_weights(plan, hermitian)[:, None]
    constant = _constant(_planes(matrix), planes.dtype)
    x = _einsum("akn,...akq->...nq", constant, planes, plan)
    return x.reshape(*x.shape[:-2], -1)[..., :length]


def synthesize_complex(planes: Array, plan: Plan) -> Array:
    """Return the planes `(..., 2, N)` of the inverse transform."""
    planes = _earlier_stages(planes, plan)
    matrix = np.conj(_first(plan)) / plan.length
    constant = _constant(_blocks(matrix.T), planes.dtype)
    x = _einsum("abnk,...bkq->...anq", constant, planes, plan)
    return x.reshape(*x.shape[:-2], -1)


def multiply(a: Array, b: Array, digits: int) -> Array:
    """Return the product of complex numbers in planes, in front of `digits` axes."""
    axis = -digits - 1
    a0, a1 = _plane(a, 0, axis), _plane(a, 1, axis)
    b0, b1 = _plane(b, 0, axis), _plane(b, 1, axis)
    return jnp.concatenate([a0 * b0 - a1 * b1, a0 * b1 + a1 * b0], axis=axis)


def _later_stages(planes: Array, plan: Plan) -> Array:
    done = planes.shape[-2]
    batch = planes.shape[:-3]
    for i in range(1, len(plan.factors)):
        twiddle = _constant(_planes(_twiddle(plan, i - 1)), planes.dtype)
        planes = planes.reshape(*batch, 2, -1, *twiddle.shape[1:])
        planes = multiply(planes, lift(twiddle[:, None], planes.ndim), 3)
        n = plan.factors[i]
        planes = planes.reshape(*batch, 2, done, n, -1)
        matrix = _constant(_blocks(_later(plan, i)), planes.dtype)
        planes = _einsum("abkn,...bpnq->...apkq", matrix, planes, plan)
        done *= planes.shape[-2]
    return planes.reshape(*batch, 2, *plan.shape)


def _earlier_stages(planes: Array, plan: Plan) -> Array:
    batch = planes.shape[: planes.ndim - len(plan.factors) - 1]
    shape = plan.shape
    for i in range(len(plan.factors) - 1, 0, -1):
        before = prod(shape[:i])
        planes = planes.reshape(*batch, 2, before, shape[i], -1)
        matrix = _constant(_blocks(np.conj(_later(plan, i)).T), planes.dtype)
        planes = _einsum("abnk,...bpkq->...apnq", matrix, planes, plan)
        twiddle = np.conj(_twiddle(plan, i - 1))
        planes = planes.reshape(*batch, 2, -1, *twiddle.shape)
        constant = _constant(_planes(twiddle), planes.dtype)
        planes = multiply(planes, lift(constant[:, None], planes.ndim), 3)
    return planes.reshape(*batch, 2, shape[0], plan.length // plan.factors[0])


def _einsum(formula: str, matrix: Array, x: Array, plan: Plan) -> Array:
    return jnp.einsum(formula, matrix, x, precision=plan.precision)


def _plane(a: Array, index: int, axis: int) -> Array:
    return jax.lax.slice_in_dim(a, index, index + 1, axis=a.ndim + axis)


def _constant(value: np.ndarray, dtype: np.dtype) -> Array:
    return jnp.asarray(value, dtype=dtype)


def _planes(matrix: np.ndarray) -> np.ndarray:
    return np.stack([matrix.real, matrix.imag])


def _blocks(matrix: np.ndarray) -> np.ndarray:
    """Return the real `(2, 2, rows, columns)` that acts on planes like `matrix`."""
    re, im = matrix.real, matrix.imag
    return np.stack([np.stack([re, -im]), np.stack([im, re])])


@lru_cache(maxsize=64)
def _first(plan: Plan) -> np.ndarray:
    n = plan.factors[0]
    k = np.arange(n) if plan.rows is None else np.asarray(plan.rows)
    return unit(np.multiply.outer(4 * k + plan.quarter, np.arange(n)), 4 * n)


@lru_cache(maxsize=64)
def _later(plan: Plan, i: int) -> np.ndarray:
    n = plan.factors[i]
    last = i == len(plan.factors) - 1 and plan.columns is not None
    k = np.asarray(plan.columns) if last else np.arange(n)
    return unit(np.multiply.outer(k, np.arange(n)), n)


@lru_cache(maxsize=64)
def _twiddle(plan: Plan, i: int) -> np.ndarray:
    """Return the factors between stages i and i + 1, `(N_i, N_{i+1} ... N_d)`."""
    n, rest = plan.factors[i], prod(plan.factors[i + 1 :])
    k = np.arange(n) if i or plan.rows is None else np.asarray(plan.rows)
    quarter = 0 if i else plan.quarter
    return unit(np.multiply.outer(4 * k + quarter, np.arange(rest)), 4 * n * rest)


def _row_weights(plan: Plan, hermitian: bool) -> np.ndarray:
    n = plan.factors[0]
    rows = np.arange(n) if plan.rows is None else np.asarray(plan.rows)
    alone = (2 * rows) % n == 0
    return np.where(hermitian & ~alone, 2.0, 1.0) / plan.length


def unit(numerator: np.ndarray, denominator: int) -> np.ndarray:
    """Return `exp(-2 pi i numerator / denominator)`, reduced in whole numbers first."""
    angle = 2 * np.pi * (numerator % denominator) / denominator
    return np.cos(angle) - 1j * np.sin(angle)
