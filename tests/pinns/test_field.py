"""Field algebra: every operation against the same operation on values."""

import jax.numpy as jnp
import numpy as np
import pytest

from pinns import Box
from pinns.derivatives import partial
from pinns.field import Field


BOX = Box(t=(0.0, 1.0), x=(0.0, 1.0))
T = jnp.linspace(0.1, 0.9, 4)[:, None]
X = jnp.linspace(0.2, 0.8, 3)[None, :]


def functions():
    return (
        lambda t, x: jnp.sin(3 * x) * jnp.exp(t) + 2.0,
        lambda t, x: 1.0 + x**2 * t,
    )


@pytest.fixture
def fields(x64):
    def source(unknown, orders):
        return partial(functions()[unknown], orders)(
            T.astype("float64"), X.astype("float64")
        )

    return [Field.unknown(source, BOX, i) for i in range(2)]


def exact(function, orders=(0, 0)):
    return partial(function, orders)(T.astype("float64"), X.astype("float64"))


CASES = {
    "derivative": (lambda u, v, x: u.d("x", 2), lambda u, v, x: exact(u, (0, 2))),
    "mixed": (lambda u, v, x: u.d("x").d("t"), lambda u, v, x: exact(u, (1, 1))),
    "linear": (
        lambda u, v, x: 2 * u - v.d("x") / 4 + 1 - (3 - u),
        lambda u, v, x: 3 * exact(u) - exact(v, (0, 1)) / 4 - 2,
    ),
    "product rule": (
        lambda u, v, x: (u * v).d("x"),
        lambda u, v, x: exact(lambda t, x: u(t, x) * v(t, x), (0, 1)),
    ),
    "power rule": (
        lambda u, v, x: (u**3).d("x", 2),
        lambda u, v, x: exact(lambda t, x: u(t, x) ** 3, (0, 2)),
    ),
    "coordinates left": (
        lambda u, v, x: jnp.sin(x) * u.d("t"),
        lambda u, v, x: jnp.sin(x) * exact(u, (1, 0)),
    ),
    "coordinates right": (
        lambda u, v, x: u * jnp.sin(x) - x,
        lambda u, v, x: exact(u) * jnp.sin(x) - x,
    ),
    "quotient": (lambda u, v, x: u / v, lambda u, v, x: exact(u) / exact(v)),
    "reciprocal": (lambda u, v, x: 1 / v, lambda u, v, x: 1 / exact(v)),
    "jnp": (
        lambda u, v, x: jnp.exp(-u) + jnp.where(x > 0.5, u, v),
        lambda u, v, x: jnp.exp(-exact(u)) + jnp.where(x > 0.5, exact(u), exact(v)),
    ),
    "comparison": (
        lambda u, v, x: jnp.where(u > 2, u, 0.0) + jnp.where(v <= 1.1, 1.0, v),
        lambda u, v, x: (
            jnp.where(exact(u) > 2, exact(u), 0.0)
            + jnp.where(exact(v) <= 1.1, 1.0, exact(v))
        ),
    ),
    "relu": (
        lambda u, v, x: jnp.where((u < v) | (u >= 3.0), u, v),
        lambda u, v, x: jnp.where(
            (exact(u) < exact(v)) | (exact(u) >= 3.0), exact(u), exact(v)
        ),
    ),
    "exponent": (lambda u, v, x: 2**u, lambda u, v, x: 2 ** exact(u)),
    "high power": (
        lambda u, v, x: (u**9).d("x"),
        lambda u, v, x: 9 * exact(u) ** 8 * exact(u, (0, 1)),
    ),
    "NumPy scalar": (
        lambda u, v, x: np.float64(3) * u,
        lambda u, v, x: 3 * exact(u),
    ),
    "abs and sqrt": (
        lambda u, v, x: abs(-u) ** 0.5,
        lambda u, v, x: jnp.sqrt(exact(u)),
    ),
    "constant": (lambda u, v, x: u - u + 2.0, lambda u, v, x: 2.0 + 0 * exact(u)),
    "positive": (lambda u, v, x: +u, lambda u, v, x: exact(u)),
}


@pytest.mark.parametrize("case", CASES)
def test_algebra(fields, case):
    ours, reference = CASES[case]
    u, v = fields
    x = X.astype("float64")
    got = jnp.asarray(ours(u, v, x))
    expected = reference(*functions(), x)
    assert got.shape == (4, 3)
    np.testing.assert_allclose(got, jnp.broadcast_to(expected, (4, 3)), rtol=1e-12)


def test_looks_like_an_array(fields):
    u, _ = fields
    assert (u.shape, u.ndim, u.dtype) == ((4, 3), 2, jnp.float64)
    assert "1 terms" in repr(u)
    assert "values" in repr(u * X)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda u: u.d("z"), "unknown axis 'z', the axes are t, x"),
        (lambda u: u.d("x", 0), "`order` must be a positive integer, got 0"),
        (lambda u: u.d("x", 1.5), "`order` must be a positive integer, got 1.5"),
        (lambda u: (u * X).d("x"), "has values only"),
    ],
)
def test_bad_input(fields, act, message):
    with pytest.raises(ValueError, match=message):
        act(fields[0])
