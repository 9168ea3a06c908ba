import jax.numpy as jnp
import numpy as np
import pytest

from pinns.derivatives import SERIES, jet, partial, product


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 5])
def test_jet_of_sine(order, x64):
    x = jnp.linspace(-2, 2, 9)
    got = np.stack(jet(jnp.sin, x, order))
    cycle = [np.sin, np.cos, lambda v: -np.sin(v), lambda v: -np.cos(v)]
    expected = np.stack([cycle[k % 4](np.asarray(x)) for k in range(order + 1)])
    np.testing.assert_allclose(got, expected, atol=1e-13)


def test_partial_is_mixed_and_broadcasts(x64):
    def f(x, y):
        return jnp.sin(2 * x) * jnp.exp(3 * y)

    x, y = jnp.linspace(0, 1, 4)[:, None], jnp.linspace(0, 1, 3)[None, :]
    got = partial(f, (2, 1))(x, y)
    np.testing.assert_allclose(got, -4 * 3 * f(x, y), rtol=1e-12)
    assert partial(f, (0, 0))(x, y).shape == (4, 3)


@pytest.mark.parametrize("name", SERIES)
def test_series_are_those_of_nested_derivatives(name, x64):
    """Of f(z(s)) for a polynomial z, to order 5."""

    def z(s):
        return 0.3 + s - 0.5 * s**2 + 0.2 * s**4

    x = jnp.linspace(-1, 1, 7)
    factorials = np.cumprod([1, 1, 2, 3, 4, 5])[:, None]
    inner = list(jnp.stack(jet(z, x, 5)) / factorials)
    found = np.stack(SERIES[name](inner)) * factorials
    function = {"tanh": jnp.tanh, "sin": jnp.sin}[name]
    expected = np.stack(jet(lambda s: function(z(s)), x, 5))
    np.testing.assert_allclose(found, expected, atol=1e-11)


def test_derivatives_of_products(x64):
    x = jnp.linspace(-1, 1, 7)
    found = product(jet(jnp.sin, x, 4), jet(jnp.exp, x, 4))
    expected = jet(lambda s: jnp.sin(s) * jnp.exp(s), x, 4)
    np.testing.assert_allclose(np.stack(found), np.stack(expected), atol=1e-12)
