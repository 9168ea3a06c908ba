"""Values of spherical functions on point sets made for products.

A product of functions that is projected on harmonics needs a quadrature rule exact to
the sum of all degrees, and nothing else of its points. Rules with the symmetry of a
regular solid need about two thirds of the points of a Gauss-Legendre grid: the
octahedron, the icosahedron with and without the dodecahedron (Stroud, Approximate
Calculation of Multiple Integrals, 1971, section 8.6) and Lebedev's rules
(Doklady Math. 59, 1999) to degree 131. Beyond a certain size the separable transforms
of a Gauss-Legendre grid win: their cost grows with one power of the degree less.

All rules contain `-p` with `p`. Even degrees have equal values there and odd degrees
opposite ones, so on large rules a function is held as its even and its odd part on one
half of the points: half the arithmetic.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcore.sphere._checks import degrees_of, frozen, matmul, pad_rank
from jaxcore.sphere.grids import from_grid, gauss_legendre_grid, to_grid
from jaxcore.sphere.harmonics import harmonics_table


# What a function is held as: its values, or its even and odd parts on half the points.
Values = tuple[Array, ...]

LEBEDEV = (7, *range(11, 32, 2), *range(35, 132, 6))
# Degrees of exactness from which on parts and grids are used: by hand, on two cores.
MIN_PARTS = 26
MIN_GRID = 48
# On CPU values beyond the first number are made in blocks of the second, which stay in
# the caches; a block is made anew in the backward pass.
MAX_BYTES = 10 * 2**20
BLOCK_BYTES = 4 * 2**20


def num_values(exact: int) -> int:
    """Return how many numbers a function takes in a product of total degree `exact`."""
    if exact < MIN_GRID:
        return len(rule(exact)[1])
    grid = gauss_legendre_grid(exact)
    return grid.theta.size * grid.phi.size


def sample(x: Float[Array, "*b k"], degree: int, exact: int) -> Values:
    """Return the values of the function with coefficients `x`."""
    if exact >= MIN_GRID:
        grid = gauss_legendre_grid(exact)
        return (to_grid(x, degree, num_theta=grid.theta.size, num_phi=grid.phi.size),)
    tables = _tables(degree, exact)
    if len(tables) == 1:
        return (matmul(x, jnp.asarray(tables[0], x.dtype)),)
    return tuple(
        matmul(x[..., index], jnp.asarray(table, x.dtype))
        for index, table in zip(_parities(degree), tables, strict=True)
    )


def multiply(a: Values, b: Values) -> Values:
    """Return the values of a product."""
    if len(a) == 1:
        return (a[0] * b[0],)
    return a[0] * b[0] + a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def project(values: Values, degree: int, exact: int) -> Float[Array, "*b k"]:
    """Return the coefficients up to `degree`."""
    dtype = values[0].dtype
    if exact >= MIN_GRID:
        return from_grid(values[0], degree)
    _, weights = rule(exact)
    tables = _tables(degree, exact)
    if len(tables) == 1:
        return matmul(values[0], jnp.asarray((tables[0] * weights).T, dtype))
    weights = 2 * weights[: len(weights) // 2]
    parts = [
        matmul(part, jnp.asarray((table * weights).T, dtype))
        for part, table in zip(values, tables, strict=True)
    ]
    back = np.argsort(np.concatenate(_parities(degree))).astype(np.int32)
    return jnp.concatenate(parts, axis=-1)[..., back]


def in_blocks(
    body: Callable[..., Array], arrays: Sequence[Array], width: int
) -> Float[Array, "*b k"]:
    """Return `body(*arrays)`, made block by block where that is faster.

    Args:
      body: a function of arrays `(..., k_i)` that broadcasts over leading axes.
      arrays: its arguments.
      width: numbers that one row of the result needs on the way.
    """
    ndim = max(x.ndim for x in arrays)
    arrays = [pad_rank(x, ndim) for x in arrays]
    shapes = [x.shape[:-1] for x in arrays]
    common = 0
    while common < ndim - 1 and len({shape[common] for shape in shapes}) == 1:
        common += 1
    lead = shapes[0][:common]
    rows = math.prod(lead)
    rest = math.prod(jnp.broadcast_shapes(*(shape[common:] for shape in shapes)))
    size = max(1, width * rest * arrays[0].dtype.itemsize)
    block = max(1, BLOCK_BYTES // size)
    if jax.default_backend() != "cpu" or rows * size <= MAX_BYTES or rows <= block:
        return body(*arrays)
    flat = [x.reshape(rows, *x.shape[common:]) for x in arrays]
    row = jax.checkpoint(lambda parts: body(*parts), prevent_cse=False)
    out = jax.lax.map(row, flat, batch_size=block)
    return out.reshape(*lead, *out.shape[1:])


@lru_cache(maxsize=64)
def rule(exact: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors `(n, 3)` and weights of sum `4 pi`, exact to that degree.

    The second half of the points is the negative of the first.
    """
    if exact <= 3:
        half, weights = np.eye(3), np.full(3, 1 / 6)
    elif exact <= 5:
        half, weights = _icosahedron(), np.full(6, 1 / 12)
    elif exact in (8, 9):
        half = np.concatenate([_icosahedron(), _dodecahedron()])
        weights = np.repeat([5 / 168, 9 / 280], [6, 10])
    elif exact <= LEBEDEV[-1]:
        half, weights = _lebedev(min(n for n in LEBEDEV if n >= exact))
    else:
        half, weights = _upper_half_of_grid(exact)
    points = np.concatenate([half, -half])
    weights = np.concatenate([weights, weights]) * (2 * np.pi / weights.sum())
    return frozen(points), frozen(weights)


def _icosahedron() -> np.ndarray:
    golden = (1 + math.sqrt(5)) / 2
    rows = [np.roll([0.0, 1.0, s * golden], k) for s in (1, -1) for k in range(3)]
    return np.array(rows) / math.hypot(1, golden)


def _dodecahedron() -> np.ndarray:
    golden = (1 + math.sqrt(5)) / 2
    cube = [[1.0, s, t] for s, t in product((1, -1), repeat=2)]
    first = ([0.0, golden, 1 / golden], [0.0, -golden, 1 / golden])
    rows = [np.roll(row, k) for row in first for k in range(3)]
    return np.array([*cube, *rows]) / math.sqrt(3)


def _lebedev(degree: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.integrate import lebedev_rule

    points, weights = lebedev_rule(degree)
    # One of every pair: the last component that is not zero is positive.
    last = np.where(np.abs(points) > 1e-12, np.sign(points), 0)
    sign = last[2] + (last[2] == 0) * (last[1] + (last[1] == 0) * last[0])
    return points.T[sign > 0], weights[sign > 0]


def _upper_half_of_grid(exact: int) -> tuple[np.ndarray, np.ndarray]:
    # With an even number of points on both axes the grid contains -p with p, and no p
    # on the equator.
    grid = gauss_legendre_grid(exact + (2 - exact) % 4 + 1)
    rows = grid.theta.size // 2
    theta, phi = np.meshgrid(grid.theta[:rows], grid.phi, indexing="ij")
    unit = [np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)]
    points = np.stack(unit, axis=-1).reshape(-1, 3)
    return points, np.repeat(grid.weights[:rows], grid.phi.size)


@lru_cache(maxsize=128)
def _tables(degree: int, exact: int) -> tuple[np.ndarray, ...]:
    points, _ = rule(exact)
    if exact < MIN_PARTS:
        return (frozen(harmonics_table(degree, points)),)
    table = harmonics_table(degree, points[: len(points) // 2])
    return tuple(frozen(table[index]) for index in _parities(degree))


@lru_cache(maxsize=64)
def _parities(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the packed places of even and of odd degrees."""
    odd = degrees_of(degree) % 2 == 1
    places = np.arange(odd.size, dtype=np.int32)
    return frozen(places[~odd]), frozen(places[odd])
