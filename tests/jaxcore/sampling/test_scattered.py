"""Scattered designs: their stratification, their box, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import qmc

from jaxcore import sampling


LOWER, UPPER = np.array([-1.0, 2.0, 0.0]), np.array([1.0, 5.0, 0.5])
DESIGNS = {
    f.__name__: f
    for f in (
        sampling.uniform_points,
        sampling.latin_hypercube,
        sampling.sobol,
        sampling.halton,
    )
}


def cells(points, counts) -> np.ndarray:
    """Number of points in every slice of every axis, (d, n)."""
    unit = (np.asarray(points, np.float64) - LOWER) / (UPPER - LOWER)
    return np.array(
        [
            np.bincount((column * n).astype(int), minlength=n)
            for column, n in zip(unit.T, counts, strict=True)
        ],
        dtype=object,
    )


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_points_lie_in_the_box_and_follow_the_key(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        draw = lambda seed: DESIGNS[name](  # noqa: E731
            jax.random.key(seed), 64, LOWER, UPPER, dtype=dtype
        )
        points = draw(0)
        assert (points.shape, points.dtype) == ((64, 3), jnp.dtype(dtype))
        inside = np.asarray(points)
        assert (inside >= LOWER.astype(dtype)).all()
        assert (inside <= UPPER.astype(dtype)).all()
        assert np.array_equal(points, draw(0))
        assert not np.array_equal(points, draw(1))
        spread = np.ptp(np.asarray(points), axis=0) / (UPPER - LOWER)
        assert (spread > 0.8).all()


@pytest.mark.parametrize("name", ["latin_hypercube", "sobol"])
def test_every_slice_of_every_axis_has_one_point(name, x64):
    points = DESIGNS[name](jax.random.key(3), 32, LOWER, UPPER, dtype="float64")
    assert (cells(points, (32, 32, 32)) == 1).all()
    few = sampling.uniform_points(jax.random.key(3), 32, LOWER, UPPER, dtype="float64")
    assert not (cells(few, (32, 32, 32)) == 1).all()


def test_sobol_points_fill_square_cells(x64):
    points = np.asarray(
        sampling.sobol(jax.random.key(5), 64, LOWER[:2], UPPER[:2], dtype="float64")
    )
    unit = (points - LOWER[:2]) / (UPPER - LOWER)[:2]
    found, counts = np.unique((unit * 8).astype(int), axis=0, return_counts=True)
    assert len(found) == 64
    assert (counts == 1).all()


def test_halton_axes_are_stratified_in_their_primes(x64):
    points = sampling.halton(jax.random.key(1), 2**2 * 3**2 * 5**2, LOWER, UPPER,
                             dtype="float64")  # fmt: skip
    for row, n in zip(cells(points, (4, 9, 25)), (4, 9, 25), strict=True):
        assert (row == 900 // n).all()


@pytest.mark.parametrize("name", ["latin_hypercube", "sobol", "halton"])
def test_designs_are_more_even_than_chance(name):
    unit = (np.zeros(2), np.ones(2))
    even = np.asarray(DESIGNS[name](jax.random.key(0), 128, *unit), np.float64)
    chance = np.asarray(sampling.uniform_points(jax.random.key(0), 128, *unit))
    measured = [qmc.discrepancy(np.float64(p)) for p in (even, chance)]
    assert measured[0] < measured[1]


def test_uniform_points_work_under_jit_and_vmap():
    keys = jax.random.split(jax.random.key(0), 4)
    draw = lambda key: sampling.uniform_points(key, 5, [0.0], [1.0])  # noqa: E731
    many = jax.jit(jax.vmap(draw))(keys)
    np.testing.assert_array_equal(many[2], draw(keys[2]))


KEY = jax.random.key(0)
BAD = [
    ((0, 4, [0.0], [1.0]), {}, TypeError, "`key` must be a typed key"),
    ((KEY, 0, [0.0], [1.0]), {}, ValueError, "`n` must be a positive integer, got 0"),
    ((KEY, True, [0.0], [1.0]), {}, ValueError, "`n` must be a positive integer"),
    ((KEY, 4, [0.0, 0.0], [1.0]), {}, ValueError, "`lower` and `upper` must be finite"),
    ((KEY, 4, [1.0], [1.0]), {}, ValueError, r"lower < upper .* got \[1.0\]"),
    ((KEY, 4, [0.0], [np.inf]), {}, ValueError, "must be finite"),
    ((KEY, 4, [0.0], [1.0]), {"dtype": int}, ValueError, "`dtype` must be floating"),
]


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
def test_bad_input(name, arguments, options, error, message):
    with pytest.raises(error, match=f"jaxcore.sampling.{name}: .*{message}"):
        DESIGNS[name](*arguments, **options)


def test_what_only_some_refuse():
    with pytest.raises(ValueError, match="sobol: `n` must be a power of two, got 12"):
        sampling.sobol(KEY, 12, [0.0], [1.0])
    with pytest.raises(TypeError, match="halton: `key` must be a value, not traced"):
        jax.jit(lambda key: sampling.halton(key, 4, [0.0], [1.0]))(KEY)
