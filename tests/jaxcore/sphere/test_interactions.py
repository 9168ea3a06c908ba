"""Powers, convolutions and vector products."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcore import sphere
from jaxcore.sphere import convolution
from tests.jaxcore.sphere.reference import coupled, random_rotation


def coefficients(rng, degree, *batch):
    return jnp.asarray(rng.standard_normal((*batch, (degree + 1) ** 2)))


@pytest.mark.parametrize("method", ["auto", "grid", "divide"])
@pytest.mark.parametrize("nu", [1, 2, 3, 5])
@pytest.mark.parametrize(("degree", "degree_out"), [(0, 0), (2, 2), (1, 7)])
def test_power_is_the_repeated_product(x64, rng, method, nu, degree, degree_out):
    x = coefficients(rng, degree, 2)
    found = jax.jit(
        lambda x: sphere.gaunt_power(x, nu, degree, degree_out, method=method)
    )(x)
    expected, band = np.asarray(x), degree
    for _ in range(nu - 1):
        degrees = (band, degree, band + degree)
        scales = sphere.gaunt_scales(*degrees)
        expected, band = coupled(expected, x, degrees, scales), band + degree
    wanted = (degree_out + 1) ** 2
    full = np.zeros((2, max(wanted, (band + 1) ** 2)))
    full[:, : (band + 1) ** 2] = expected
    np.testing.assert_allclose(found, full[:, :wanted], atol=1e-11 * np.abs(full).max())


def test_power_weights_gradient_and_large_degrees(x64, rng):
    x = coefficients(rng, 2, 3)
    u, w = jnp.asarray([1.0, -2.0, 0.5]), jnp.asarray([3.0, 0.5])
    found = sphere.gaunt_power(x, 3, 2, 1, weights=u, weights_out=w)
    scaled = x * u[np.repeat([0, 1, 2], [1, 3, 5])][None]
    expected = sphere.gaunt_power(scaled, 3, 2, 1) * w[np.repeat([0, 1], [1, 3])][None]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    slope = jax.grad(lambda x: sphere.gaunt_power(x, 3, 2, 1)[0, 0])(x)[0]
    # d/dx of the first coefficient of f^3: 3 Y_00 times the coefficients of f^2.
    square = sphere.gaunt_power(x[0], 2, 2, 2)
    np.testing.assert_allclose(slope, 3 * square / np.sqrt(4 * np.pi), rtol=1e-10)
    x = coefficients(rng, 11)
    a, b = (
        jax.jit(lambda x, m=method: sphere.gaunt_power(x, 4, 11, 6, method=m))(x)
        for method in ("grid", "divide")
    )
    np.testing.assert_allclose(a, b, atol=1e-10 * np.abs(a).max())


def edges(rng, *batch):
    v = rng.standard_normal((*batch, 3))
    flat = v.reshape(-1, 3)
    special = [[0.0, 2.0, 0.0], [0.0, -0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -3.0]]
    flat[: len(special)] = special[: len(flat)]
    return jnp.asarray(v)


@pytest.mark.parametrize("method", convolution.METHODS)
@pytest.mark.parametrize(
    "degrees", [(0, 0, 0), (1, 1, 1), (2, 3, 4), (4, 2, 3), (3, 5, 1), (6, 6, 6)]
)
def test_convolution_is_the_product_with_harmonics(x64, rng, degrees, method):
    x, v = coefficients(rng, degrees[0], 6), edges(rng, 6)
    h = jnp.asarray(rng.standard_normal((6, degrees[1] + 1)))
    w = jnp.asarray(rng.standard_normal(degrees[2] + 1))
    y = np.asarray(sphere.real_harmonics(v, degrees[1]))
    repeat, repeat_out = (
        np.repeat(np.arange(degree + 1), 2 * np.arange(degree + 1) + 1)
        for degree in degrees[1:]
    )

    @jax.jit
    def convolution(weights):
        return sphere.gaunt_convolution(
            x, v, *degrees, weights=weights, weights_out=w, method=method
        )

    for weights in (None, h, h[0]):
        filtered = y if weights is None else y * np.asarray(weights)[..., repeat]
        expected = coupled(x, filtered, degrees, sphere.gaunt_scales(*degrees))
        expected = expected * np.asarray(w)[repeat_out]
        found = convolution(weights)
        np.testing.assert_allclose(found, expected, atol=1e-11)


def test_convolution_channels_and_large_degrees(x64, rng):
    degrees = (12, 8, 12)
    x, v = coefficients(rng, 12, 4, 3), edges(rng, 4, 1)
    h = jnp.asarray(rng.standard_normal((4, 3, 9)))
    a, b = (
        jax.jit(
            functools.partial(
                sphere.gaunt_convolution, degree_x=12, degree_filter=8, degree_out=12,
                weights=h, method=method,
            )
        )(x, v)
        for method in ("aligned", "grid")
    )  # fmt: skip
    assert a.shape == (4, 3, 169)
    np.testing.assert_allclose(a, b, atol=1e-10)
    single = sphere.gaunt_convolution(x[1, 2], v[1, 0], *degrees, weights=h[1, 2])
    np.testing.assert_allclose(single, a[1, 2], atol=1e-10)


@pytest.mark.parametrize("method", ["aligned", "grid"])
def test_gradient_of_the_convolution(x64, rng, method):
    x, v = coefficients(rng, 2, 6), edges(rng, 6)[2:]
    x = x[2:]

    @jax.jit
    def loss(v):
        z = sphere.gaunt_convolution(x, v, 2, 2, 2, method=method)
        return jnp.sum(jnp.sin(z))

    found, step = jax.grad(loss)(v), 1e-6 * jnp.eye(v.size).reshape(-1, *v.shape)
    many = jax.jit(jax.vmap(loss))
    numerical = (many(v[None] + step) - many(v[None] - step)) / 2e-6
    np.testing.assert_allclose(found.ravel(), numerical, atol=1e-7)
    poles = jnp.concatenate([edges(rng, 2)] * 2)
    assert np.all(np.isfinite(jax.grad(loss)(poles)))


def test_aligned_frame_needs_no_other_order(x64, rng):
    """On the polar axis order m of the input reaches order m of the result alone."""
    pole = jnp.array([0.0, 1.0, 0.0])
    table = jax.vmap(
        lambda x: sphere.gaunt_convolution(x, pole, 3, 3, 3, method="grid")
    )(jnp.eye(16))
    orders = np.concatenate([np.arange(-l, l + 1) for l in range(4)])
    other = orders[:, None] != orders
    assert np.abs(table[other]).max() < 1e-14
    assert np.abs(table[~other]).max() > 0.1


_convolution = {
    method: jax.jit(
        functools.partial(
            sphere.gaunt_convolution,
            degree_x=2,
            degree_filter=3,
            degree_out=2,
            method=method,
        )
    )
    for method in ("aligned", "grid")
}
_vector = jax.jit(lambda x, y: sphere.vector_gaunt_product(x, y, 2, 2, 3))
_rotate = {
    degree: jax.jit(functools.partial(sphere.rotate, degree=degree))
    for degree in (2, 3)
}


@given(seed=st.integers(0, 2**32 - 1), sign=st.sampled_from([1, -1]))
def test_equivariance(seed, sign):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 9)).astype(np.float32)
    v = rng.standard_normal(3).astype(np.float32)
    rotation = random_rotation(rng, sign=sign).astype(np.float32)
    turned_x, turned_y = _rotate[2](x, rotation), _rotate[2](y, rotation)
    for function in _convolution.values():
        expected = _rotate[2](function(x, v), rotation)
        np.testing.assert_allclose(
            function(turned_x, rotation @ v), expected, atol=1e-4
        )
    # A reflection reverses the sense of a cross product.
    expected = sign * _rotate[3](_vector(x, y), rotation)
    np.testing.assert_allclose(_vector(turned_x, turned_y), expected, atol=1e-4)
    np.testing.assert_allclose(_vector(y, x), -_vector(x, y), atol=1e-5)


@pytest.mark.parametrize("degrees", [(0, 1, 1), (1, 1, 1), (2, 3, 4), (6, 6, 6)])
def test_vector_product_is_all_odd_paths(x64, rng, degrees):
    x, y = coefficients(rng, degrees[0], 3), coefficients(rng, degrees[1], 3)
    expected = coupled(x, y, degrees, sphere.vector_gaunt_scales(*degrees))
    found = jax.jit(lambda x, y: sphere.vector_gaunt_product(x, y, *degrees))(x, y)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_one_times_one_to_one_needs_the_vector_product(x64, rng):
    a, b = rng.standard_normal((2, 3))
    x, y = (jnp.concatenate([jnp.zeros(1), jnp.asarray(v)]) for v in (a, b))
    found = sphere.vector_gaunt_product(x, y, 1, 1, 1)
    np.testing.assert_allclose(found[1:], np.sqrt(3 / (4 * np.pi)) * np.cross(a, b))
    assert abs(found[0]) < 1e-15
    assert np.abs(sphere.gaunt_product(x, y, 1, 1, 1)[1:]).max() < 1e-15


def test_vector_weights(x64, rng):
    x, y = coefficients(rng, 2), coefficients(rng, 2)
    u, v, w = (jnp.asarray(rng.standard_normal(3)) for _ in range(3))
    found = sphere.vector_gaunt_product(
        x, y, 2, 2, 2, weights_x=u, weights_y=v, weights_out=w
    )
    path = u[:, None, None] * v[None, :, None] * w[None, None, :]
    scales = sphere.vector_gaunt_scales(2, 2, 2) * np.asarray(path)
    expected = coupled(x, y, (2, 2, 2), scales)
    np.testing.assert_allclose(found, expected, atol=1e-12)
