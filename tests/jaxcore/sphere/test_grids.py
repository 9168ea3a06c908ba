import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcore import sphere
from jaxcore.sphere import _sampling, grids, harmonics


def points_of(grid):
    t, p = np.meshgrid(grid.theta, grid.phi, indexing="ij")
    unit = [np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)]
    return np.stack(unit, axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("degree", [0, 1, 4, 9, 30])
def test_grid_integrates_up_to_its_degree(degree):
    grid = sphere.gauss_legendre_grid(degree)
    assert grid.theta.size == degree // 2 + 1
    assert grid.phi.size == degree + 1
    table = harmonics.harmonics_table(degree + 2, points_of(grid))
    integrals = table @ np.repeat(grid.weights, grid.phi.size)
    expected = np.zeros_like(integrals)
    expected[0] = np.sqrt(4 * np.pi)
    exact = (degree + 1) ** 2
    np.testing.assert_allclose(integrals[:exact], expected[:exact], atol=1e-12)
    assert np.abs(integrals - expected)[exact:].max() > 1e-3


@pytest.mark.parametrize("degree", [0, 1, 3, 8, 13])
@pytest.mark.parametrize("method", grids.METHODS)
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_there_and_back(x64, rng, degree, method, batch):
    x = jnp.asarray(rng.standard_normal((*batch, (degree + 1) ** 2)))
    values = sphere.to_grid(x, degree, method=method)
    assert values.shape == (*batch, degree + 1, 2 * degree + 1)
    grid = grids._grid(degree + 1, 2 * degree + 1)
    expected = x @ harmonics.harmonics_table(degree, points_of(grid))
    np.testing.assert_allclose(values.reshape(expected.shape), expected, atol=1e-11)
    back = sphere.from_grid(values, degree, method=method)
    np.testing.assert_allclose(back, x, atol=1e-11)


def test_degree_fifty_in_float32(rng):
    x = jnp.asarray(rng.standard_normal(51**2), jnp.float32)
    back = sphere.from_grid(sphere.to_grid(x, 50), 50)
    np.testing.assert_allclose(back, x, atol=2e-4)


@given(seed=st.integers(0, 2**32 - 1))
def test_parseval(seed):
    x = np.random.default_rng(seed).standard_normal(36).astype(np.float32)
    values = np.asarray(_to_grid(x), np.float64)
    weights = grids._grid(6, 11).weights
    norm = np.sum(values**2 * weights[:, None])
    np.testing.assert_allclose(norm, np.sum(x.astype(np.float64) ** 2), rtol=1e-5)


_to_grid = jax.jit(lambda x: sphere.to_grid(x, 5))


@pytest.mark.parametrize("method", ["matmul", "separable"])
def test_adjoint(x64, rng, method):
    """<to_grid(x), v>_weights = <x, from_grid(v)>, and grad is the transpose."""
    x, v = rng.standard_normal(25), rng.standard_normal((6, 11))

    def forward(x):
        return sphere.to_grid(x, 4, num_theta=6, num_phi=11, method=method)

    weights = grids._grid(6, 11).weights[:, None]
    left = np.sum(forward(x) * weights * v)
    right = x @ sphere.from_grid(jnp.asarray(v), 4, method=method)
    np.testing.assert_allclose(left, right, rtol=1e-12)
    (gradient,) = jax.vjp(forward, x)[1](jnp.asarray(weights * v))
    expected = sphere.from_grid(jnp.asarray(v), 4, method=method)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("exact", [*range(34), 40, 48])
def test_rules_of_points(exact):
    points, weights = _sampling.rule(exact)
    table = harmonics.harmonics_table(exact, points)
    expected = np.zeros(len(table))
    expected[0] = np.sqrt(4 * np.pi)
    np.testing.assert_allclose(table @ weights, expected, atol=1e-11)
    half = len(points) // 2
    np.testing.assert_array_equal(points[:half], -points[half:])
    grid = sphere.gauss_legendre_grid(exact)
    assert exact < 4 or len(points) < grid.theta.size * grid.phi.size


@pytest.mark.parametrize("exact", [131, 132, 133, 134, 135])
def test_rules_of_large_degree(exact):
    """Gram matrices of zonal and sectoral harmonics, instead of all harmonics."""
    points, weights = _sampling.rule(exact)
    half = len(points) // 2
    np.testing.assert_array_equal(points[:half], -points[half:])
    table = harmonics.legendre_table(exact // 2, points[:, 1])
    azimuth = np.arctan2(points[:, 0], points[:, 2])
    zonal = table[:, 0]
    sectoral = np.stack(
        [np.sqrt(2) * table[m, m] * np.cos(m * azimuth) for m in range(1, exact // 2)]
    )
    for functions in (zonal, sectoral):
        gram = (functions * weights) @ functions.T
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-11)
