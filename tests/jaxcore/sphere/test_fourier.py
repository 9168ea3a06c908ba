import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcore import sphere
from jaxcore.sphere import harmonics


def values(series, theta, phi):
    band = series.shape[-1] // 2
    u = np.arange(-band, band + 1)
    left, right = np.exp(1j * np.outer(theta, u)), np.exp(1j * np.outer(phi, u))
    return np.einsum("...uv,tu,tv->...t", series, left, right)


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 12])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_series_has_the_values_of_the_function(x64, rng, degree, batch):
    x = rng.standard_normal((*batch, (degree + 1) ** 2))
    series = sphere.to_fourier(jnp.asarray(x), degree)
    assert series.dtype == jnp.complex128
    t, p = rng.uniform(0, np.pi, 9), rng.uniform(0, 2 * np.pi, 9)
    unit = np.stack([np.sin(t) * np.sin(p), np.cos(t), np.sin(t) * np.cos(p)], -1)
    expected = x @ harmonics.harmonics_table(degree, unit)
    np.testing.assert_allclose(values(series, t, p), expected, atol=1e-12)
    np.testing.assert_allclose(series, np.conj(series[..., ::-1, ::-1]), atol=1e-14)
    back = sphere.from_fourier(series, degree)
    np.testing.assert_allclose(back, x, atol=1e-12)


def test_only_two_columns_for_each_order(x64):
    for l, m in ((3, 2), (4, -3)):
        x = jnp.zeros(25).at[l * l + l + m].set(1.0)
        columns = np.abs(sphere.to_fourier(x, 4)).max(axis=0)
        assert set(np.nonzero(columns > 1e-15)[0] - 4) == {-abs(m), abs(m)}


@pytest.mark.parametrize(("band", "degree"), [(6, 3), (3, 6), (5, 5), (1, 0)])
def test_projection_is_the_integral(x64, rng, band, degree):
    """A product of two functions has a higher band; integrals by a fine grid."""
    x = jnp.asarray(rng.standard_normal((band + 1) ** 2))
    found = sphere.from_fourier(sphere.to_fourier(x, band), degree)
    grid = sphere.to_grid(x, band, num_theta=20, num_phi=40)
    np.testing.assert_allclose(found, sphere.from_grid(grid, degree), atol=1e-12)


def test_gradient_and_float32(rng):
    x = jnp.asarray(rng.standard_normal(16), jnp.float32)
    assert sphere.to_fourier(x, 3).dtype == jnp.complex64
    slope = jax.jit(
        jax.grad(
            lambda x: jnp.sum(sphere.from_fourier(sphere.to_fourier(x, 3), 3) ** 2)
        )
    )(x)
    np.testing.assert_allclose(slope, 2 * x, atol=1e-4)
