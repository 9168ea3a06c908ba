import functools

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcore import sphere
from jaxcore.sphere import rotations
from tests.jaxcore.sphere.reference import random_rotation


@pytest.mark.parametrize("degree", [0, 1, 2, 6, 20, 50])
@pytest.mark.parametrize("sign", [1, -1])
def test_acts_on_harmonics(x64, rng, degree, sign):
    rotation = random_rotation(rng, 3, sign=sign)
    v = rng.standard_normal((3, 3))
    matrix = sphere.wigner_d(jnp.asarray(rotation), degree)
    assert matrix.shape == (3, 2 * degree + 1, 2 * degree + 1)

    def harmonics(v):
        return sphere.real_harmonics(jnp.asarray(v), degree)[..., degree**2 :]

    turned = harmonics(np.einsum("bij,bj->bi", rotation, v))
    found = jnp.einsum("bmn,bn->bm", matrix, harmonics(v))
    np.testing.assert_allclose(found, turned, atol=1e-12)
    gram = jnp.einsum("bmn,bkn->bmk", matrix, matrix)
    expected = np.broadcast_to(np.eye(2 * degree + 1), gram.shape)
    np.testing.assert_allclose(gram, expected, atol=1e-12)


def test_float32_at_degree_fifty(rng):
    rotation = random_rotation(rng, 2)
    matrix = sphere.wigner_d(jnp.asarray(rotation, jnp.float32), 50)
    gram = np.einsum("bmn,bkn->bmk", matrix, matrix)
    np.testing.assert_allclose(
        gram, np.broadcast_to(np.eye(101), gram.shape), atol=5e-5
    )


def test_same_as_e3nn(x64, rng):
    rotation = jnp.asarray(random_rotation(rng))
    for l in range(4):
        theirs = e3nn_jax.Irrep(l, 1).D_from_matrix(rotation)
        np.testing.assert_allclose(sphere.wigner_d(rotation, l), theirs, atol=1e-10)


_d4 = jax.jit(lambda r: sphere.wigner_d(r, 4))


@given(seed=st.integers(0, 2**32 - 1), signs=st.tuples(*[st.sampled_from([1, -1])] * 2))
def test_is_a_representation(seed, signs):
    rng = np.random.default_rng(seed)
    a, b = (random_rotation(rng, sign=sign).astype(np.float32) for sign in signs)
    np.testing.assert_allclose(_d4(a @ b), _d4(a) @ _d4(b), atol=5e-6)


@pytest.mark.parametrize("degree", [0, 3, 11])
def test_rotate_moves_the_function(x64, rng, degree):
    """Values at R v of the rotated function are those at v of the first."""
    x = jnp.asarray(rng.standard_normal((2, 3, (degree + 1) ** 2)))
    rotation = jnp.asarray(random_rotation(rng, 2, 1))
    v = jnp.asarray(rng.standard_normal((2, 3, 3)))
    rotate = jax.jit(functools.partial(sphere.rotate, degree=degree))
    turned = rotate(x, rotation)
    moved = jnp.sum(rotation * v[..., None, :], axis=-1)
    left = jnp.sum(turned * sphere.real_harmonics(moved, degree), axis=-1)
    right = jnp.sum(x * sphere.real_harmonics(v, degree), axis=-1)
    np.testing.assert_allclose(left, right, atol=1e-11)
    back = rotate(turned, rotation.swapaxes(-1, -2))
    np.testing.assert_allclose(back, x, atol=1e-12)


def test_leading_axes_broadcast(rng):
    x = jnp.asarray(rng.standard_normal((5, 9)), jnp.float32)
    rotation = jnp.asarray(random_rotation(rng, 4, 1), jnp.float32)
    found = sphere.rotate(x, rotation, 2)
    assert found.shape == (4, 5, 9)
    np.testing.assert_allclose(
        found[2, 3], sphere.rotate(x[3], rotation[2, 0], 2), atol=1e-6
    )


def test_smooth_at_the_identity(x64, rng):
    """Against a finite difference along a turn about each axis."""
    x = jnp.asarray(rng.standard_normal(16))
    for generator in e3nn_jax.Irrep(1, 1).generators():

        @jax.jit
        def turned(t, generator=generator):
            return sphere.rotate(x, jax.scipy.linalg.expm(t * generator), 3)

        _, slope = jax.jvp(turned, (0.0,), (1.0,))
        numerical = (turned(1e-5) - turned(-1e-5)) / 2e-5
        np.testing.assert_allclose(slope, numerical, atol=1e-8)
        assert np.abs(slope).max() > 0.1


@pytest.mark.parametrize("axis", [0, 2])
def test_swap_of_axes(x64, axis):
    order = {0: [1, 0, 2], 2: [0, 2, 1]}[axis]
    matrix = rotations.swap_matrix(5, axis)
    for l in range(6):
        block = slice(l * l, (l + 1) ** 2)
        expected = sphere.wigner_d(jnp.eye(3)[jnp.array(order)], l)
        np.testing.assert_allclose(matrix[block, block], expected, atol=1e-13)
    np.testing.assert_allclose(matrix @ matrix, np.eye(36), atol=1e-13)


def test_turn_about_the_polar_axis(x64, rng):
    x = jnp.asarray(rng.standard_normal((3, 25)))
    angle = rng.uniform(-4, 4, 3)
    c, s, one, zero = np.cos(angle), np.sin(angle), np.ones(3), np.zeros(3)
    matrix = np.array([[c, zero, s], [zero, one, zero], [-s, zero, c]])
    expected = sphere.rotate(x, jnp.asarray(np.moveaxis(matrix, -1, 0)), 4)
    found = rotations.turn(x, jnp.asarray(c), jnp.asarray(s), 4)
    np.testing.assert_allclose(found, expected, atol=1e-12)
