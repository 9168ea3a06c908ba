import functools
import math

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from jaxcore import sphere
from jaxcore.sphere import harmonics


POLES = [[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [1e-6, 1.0, 0.0], [0.0, -1.0, -1e-6]]


def directions(rng, n=40):
    v = rng.standard_normal((n, 3))
    v[: len(POLES)] = POLES
    v[4:7] = np.eye(3)
    return v


def reference(v, degree):
    """Real combinations of SciPy's complex harmonics, polar axis y."""
    x, y, z = (v / np.linalg.norm(v, axis=-1, keepdims=True)).T
    theta, phi = np.arctan2(np.hypot(x, z), y), np.arctan2(x, z)
    out = []
    for l in range(degree + 1):
        for m in range(-l, l + 1):
            value = (-1) ** m * scipy.special.sph_harm_y(l, abs(m), theta, phi)
            part = value.imag if m < 0 else value.real
            out.append(part * (math.sqrt(2) if m else 1))
    return np.stack(out, axis=-1)


@pytest.mark.parametrize("degree", [0, 1, 2, 7, 10, 11, 50])
def test_against_scipy(x64, rng, degree):
    v = directions(rng)
    expected = reference(v, degree)
    found = sphere.real_harmonics(jnp.asarray(v), degree)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(
        harmonics.harmonics_table(degree, v / np.linalg.norm(v, axis=1)[:, None]).T,
        expected,
        atol=1e-12,
    )


@pytest.mark.parametrize("degree", [3, 10, 30, 50])
def test_float32(rng, degree):
    v = directions(rng, 400).astype(np.float32)
    found = jax.jit(sphere.real_harmonics, static_argnums=1)(v, degree)
    assert found.dtype == jnp.float32
    # Values reach sqrt(101 / (4 pi)) = 2.8.
    error = np.abs(found - reference(v.astype(np.float64), degree)).max()
    assert error < 1e-6 * (degree + 1)


def test_same_as_e3nn(x64, rng):
    v = jnp.asarray(directions(rng))
    irreps = e3nn_jax.Irreps.spherical_harmonics(6)
    theirs = e3nn_jax.spherical_harmonics(
        irreps, v, normalize=True, normalization="integral"
    )
    ours = sphere.real_harmonics(v, 6)
    np.testing.assert_allclose(ours, theirs.array, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
def test_addition_theorem(seed):
    """sum_m Y_lm(u) Y_lm(v) = (2l + 1) / (4 pi) P_l(u . v)."""
    u, v = np.random.default_rng(seed).standard_normal((2, 3))
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    a, b = (harmonics.harmonics_table(12, w[None])[:, 0] for w in (u, v))
    for l in (0, 1, 5, 12):
        block = slice(l * l, (l + 1) ** 2)
        expected = (2 * l + 1) / (4 * np.pi) * scipy.special.eval_legendre(l, u @ v)
        np.testing.assert_allclose(a[block] @ b[block], expected, atol=1e-12)


@pytest.mark.parametrize("degree", [6, 14])
def test_solid_harmonics_are_homogeneous(x64, rng, degree):
    v = jnp.asarray(directions(rng))
    l = np.repeat(np.arange(degree + 1), 2 * np.arange(degree + 1) + 1)
    solid = sphere.real_harmonics(v, degree, normalize=False)
    length = jnp.linalg.norm(v, axis=-1, keepdims=True)
    expected = length ** l[None] * sphere.real_harmonics(v, degree)
    np.testing.assert_allclose(solid, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("degree", [4, 12])
def test_derivatives_also_at_the_poles(x64, rng, degree):
    v = directions(rng, 12)
    function = jax.jit(lambda v: sphere.real_harmonics(v, degree))
    found = jax.vmap(jax.jacrev(function))(jnp.asarray(v))
    step = 1e-6
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        numerical = (function(v + shift) - function(v - shift)) / (2 * step)
        scale = np.abs(numerical).max() + 1
        np.testing.assert_allclose(
            found[..., axis] / scale, numerical / scale, atol=1e-7
        )


@pytest.mark.parametrize("degree", [3, 12])
def test_zero_vector(degree):
    harmonic = jax.jit(functools.partial(sphere.real_harmonics, degree=degree))
    value = harmonic(jnp.zeros(3))
    np.testing.assert_allclose(value[0], 1 / math.sqrt(4 * math.pi), rtol=1e-6)
    assert not np.any(value[1:])
    slope = jax.jacrev(harmonic)(jnp.zeros(3))
    assert not np.any(slope)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_length_does_not_matter(scale):
    v = jnp.array([0.3, -0.4, 0.5])
    found = sphere.real_harmonics(v * scale, 5)
    np.testing.assert_allclose(found, sphere.real_harmonics(v, 5), atol=1e-6)


def test_transformations(rng):
    v = jnp.asarray(rng.standard_normal((4, 5, 3)), jnp.float32)
    for degree in (3, 12):
        harmonic = jax.jit(functools.partial(sphere.real_harmonics, degree=degree))
        whole = harmonic(v)
        assert whole.shape == (4, 5, (degree + 1) ** 2)
        each = jax.vmap(jax.vmap(harmonic))(v)
        np.testing.assert_allclose(whole, each, atol=1e-5)
        out, tangent = jax.jvp(harmonic, (v,), (v,))
        # The direction does not change along the vector.
        np.testing.assert_allclose(tangent, 0, atol=1e-3)
        assert out.shape == tangent.shape
