import jax.numpy as jnp
import numpy as np
import pytest

from pinns.derivatives import jet, partial


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
